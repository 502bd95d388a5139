/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What user interfaces are to ui_start(), and what they share. */
#ifndef VMRUN_UI_BACKEND_H
#define VMRUN_UI_BACKEND_H

#include "ui/display.h"
#include "ui/input.h"
#include "util/timer.h"

typedef struct UiBackend {
    const char *name;
    bool (*start)(Machine *machine, const UiOptions *options, GError **error);
    void (*stop)(void); /* called once after a start() that succeeded */
} UiBackend;

extern const UiBackend ui_curses_backend;
/* Lives in a module that is loaded when it is wanted, so that a headless vmrun has no SDL. */
#define UI_SDL_MODULE "vmrun-ui-sdl.so"
#define UI_SDL_SYMBOL "vmrun_ui_sdl"
typedef const UiBackend *UiModuleFn(void);

/*
 * When to look at the screen again: every 30 ms while it changes or the person types, less and less
 * often down to every 250 ms while nothing but a cursor blinks, so that an idle guest costs next to
 * nothing.
 */
typedef struct UiPace {
    int64_t interval;
    int64_t awake_until;
} UiPace;
#define UI_PACE_MIN (30 * NS_PER_MS)
#define UI_PACE_MAX (250 * NS_PER_MS)

/* The person did something: what follows should be seen at once.  True if it had slowed down: then
 * the timer is to be armed anew. */
bool ui_pace_wake(UiPace *pace);
/* After a refresh in which `changed` of `all` pixels changed: the time of the next. */
int64_t ui_pace_next(UiPace *pace, uint64_t changed, uint64_t all);

/* The keys that type an ASCII character on a US keyboard, shift or control first: 1 or 2; 0 if
 * there are none. */
unsigned ui_ascii_keys(unsigned character, KeyCode keys[2]);

/* "vmrun", the machine's name, and its state if it does not run (g_free). */
char *ui_title(const Machine *machine, const UiOptions *options);

#endif
