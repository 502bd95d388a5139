/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Screens: what a display adapter draws and where windows, terminals and screenshots get it.
 *
 * A Display is one screen with a current Surface.  The adapter (VGA) registers it with ops; every
 * viewer (window, VNC, screendump) registers a DisplayViewer.  Main lock held throughout.
 */
#ifndef VMRUN_UI_DISPLAY_H
#define VMRUN_UI_DISPLAY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Pixels: 32 bits each, 0x00RRGGBB in host order (PIXMAN_x8r8g8b8). */
typedef struct Surface {
    unsigned width, height;
    unsigned stride; /* bytes */
    uint32_t *pixels;
    bool borrowed; /* pixels belong to guest RAM */
} Surface;

Surface *surface_new(unsigned width, unsigned height);
/* Over memory that stays the caller's. */
Surface *surface_new_borrowed(unsigned width, unsigned height, unsigned stride, void *pixels);
void surface_free(Surface *surface);

typedef struct Display Display;

/* The adapter's side. */
typedef struct DisplayOps {
    /* Brings the surface up to date and calls display_update() for what changed. Called by viewers
     * at their refresh rate, and before a screenshot. */
    void (*refresh)(void *opaque);
    /* Redraw everything at the next refresh. */
    void (*invalidate)(void *opaque);
    /* Text mode: fills cells (character | attribute << 8, VGA order), returns true; false in
     * graphics modes.  *cursor is y * columns + x, or -1.  The cells belong to the adapter until
     * the next call. */
    bool (*text)(void *opaque, unsigned *columns, unsigned *rows, const uint16_t **cells,
                 int *cursor);
} DisplayOps;

/* A viewer's side; entries may be NULL. */
typedef struct DisplayViewer {
    void (*updated)(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height);
    /* New size or memory; NULL: the display goes away, forget it. */
    void (*switched)(void *opaque, const Surface *surface);
} DisplayViewer;

/* name: "vga", "monitor"...  Displays are numbered in order of creation, adapters
 * before text consoles: Ctrl-Alt-1 is number 0. */
Display *display_new(const char *name, const DisplayOps *ops, void *opaque);
void display_free(Display *display);
Display *display_nth(unsigned n); /* NULL past the end */
const char *display_name(const Display *display);
/* The adapter shows another surface; the old one is freed.  Takes ownership. */
void display_set_surface(Display *display, Surface *surface);
Surface *display_surface(Display *display); /* never NULL: a "no signal" surface at first */
void display_update(Display *display, unsigned x, unsigned y, unsigned width, unsigned height);
void display_refresh(Display *display);
void display_invalidate(Display *display);
bool display_text(Display *display, unsigned *columns, unsigned *rows, const uint16_t **cells,
                  int *cursor);
void display_add_viewer(Display *display, const DisplayViewer *viewer, void *opaque);
void display_remove_viewer(Display *display, void *opaque);

/* Writes the screen as it is now: PNG, or PPM for a name ending in .ppm. */
bool display_screendump(Display *display, const char *path, GError **error);

/* ---- User interfaces ---- */
typedef struct UiOptions {
    const char *type; /* "sdl", "curses", "none", NULL: choose */
    bool full_screen;
    bool grab_on_hover;
    const char *window_title; /* -name */
} UiOptions;

typedef struct Machine Machine;
/* Starts the chosen user interface; with type NULL: SDL when DISPLAY or WAYLAND_DISPLAY is set,
 * else the text screen in the terminal if stdout is one, else none.  Says in one line which
 * fallback was taken. */
bool ui_start(Machine *machine, const UiOptions *options, GError **error);
/* Restores the terminal, closes windows; idempotent. */
void ui_stop(void);
/* Names for -display help. */
const char *const *ui_types(void);

#endif
