/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Input routing: key and pointer events from windows, terminals, VNC and the monitor to the guest's
 * devices.  Main lock held.
 */
#ifndef VMRUN_UI_INPUT_H
#define VMRUN_UI_INPUT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Keys are named by position, as QEMU's QKeyCode, and numbered by PS/2 set-1 scancode: the low 7
 * bits are the code, KEY_GREY marks an E0 prefix.  Pause and Print are KEY_PAUSE and KEY_PRINT.
 */
typedef uint16_t KeyCode;
#define KEY_GREY  0x80
#define KEY_PAUSE 0x100
#define KEY_PRINT 0x101

/* The code of a QKeyCode name ("ctrl", "a", "ret", "f1", "kp_enter"), 0 if there is none. */
KeyCode key_from_name(const char *name);
const char *key_to_name(KeyCode key); /* or NULL */
/* All names, NULL-terminated (completion). */
const char *const *key_names(void);

typedef enum { BUTTON_LEFT, BUTTON_RIGHT, BUTTON_MIDDLE, BUTTON_SIDE, BUTTON_EXTRA } InputButton;

/* A device that takes input; entries may be NULL.  The last registered with `absolute` is preferred
 * for absolute positions. */
typedef struct InputOps {
    void (*key)(void *opaque, KeyCode key, bool down);
    void (*move)(void *opaque, int dx, int dy, int dz); /* relative; dz: wheel, up is negative */
    void (*position)(void *opaque, unsigned x, unsigned y); /* 0 .. 32767 each */
    void (*button)(void *opaque, InputButton button, bool down);
    /* After a group of events that belong together. */
    void (*sync)(void *opaque);
    bool absolute;
} InputOps;

void input_register(const InputOps *ops, void *opaque);
void input_unregister(void *opaque);

/* A key goes down or up; repeats are passed on as further downs. */
void input_key(KeyCode key, bool down);
/* Lets go of every key that is down (focus lost). */
void input_release_keys(void);
void input_move(int dx, int dy, int dz);
void input_position(unsigned x, unsigned y);
void input_button(InputButton button, bool down);
void input_sync(void);
bool input_absolute(void); /* the guest has an absolute pointer */

/* Types the keys of "ctrl-alt-delete" for hold_ms (0: 100): press in order, release in reverse.
 * Several calls queue up.  An unknown key is an error that names it and the nearest one. */
bool input_send_keys(const char *combination, unsigned hold_ms, GError **error);
/* The same for keys by number (at most 16), from terminals that tell no releases.  Dropped when
 * thousands wait already. */
void input_tap_keys(const KeyCode *keys, unsigned count, unsigned hold_ms);

/* Keyboard LEDs as set by the guest. */
enum { LED_SCROLL = 1, LED_NUM = 2, LED_CAPS = 4 };
void input_set_leds(unsigned leds);
unsigned input_leds(void);
/* Whether the guest has ever set them: if not, they say nothing about its lock keys. */
bool input_leds_known(void);

#endif
