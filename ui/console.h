/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text consoles: what a `vc` chardev (monitor, serial port in the window) shows, as a Display.
 *
 * vt.c is the terminal: cells, cursor, escape sequences.  console.c draws it and takes the keys.
 * Main lock held.
 */
#ifndef VMRUN_UI_CONSOLE_H
#define VMRUN_UI_CONSOLE_H

#include "chardev/chardev.h"
#include "ui/display.h"
#include "ui/input.h"

/* ---- The terminal (ECMA-48 with DEC's private extensions, as far as line editors, firmware and
 * boot loaders use them) ---- */
#define VT_PARAMS     8
#define VT_SCROLLBACK 1000

typedef enum { VT_GROUND, VT_ESCAPE, VT_CHARSET, VT_CSI, VT_STRING, VT_STRING_ESCAPE } VtMode;

typedef struct Vt {
    unsigned columns, rows;
    uint16_t *cells; /* ring of total lines: character | attribute << 8, as VGA's */
    unsigned total;
    unsigned base;    /* ring index of the screen's first line */
    unsigned history; /* lines above it that hold text */
    unsigned x, y, saved_x, saved_y;
    unsigned top, bottom; /* scrolling region, lines, bottom included */
    bool wrap_pending;    /* the last column was written: the next character wraps first */
    bool cursor_hidden;
    bool bold, reverse;
    unsigned fg, bg; /* VGA colours */
    VtMode mode;
    unsigned params[VT_PARAMS], param_count;
    bool private_mode;
    uint32_t utf8;
    unsigned utf8_left;
    /* Replies to status requests, as if typed. */
    void (*reply)(void *opaque, const char *text);
    void *opaque;
} Vt;

void vt_init(Vt *vt, unsigned columns, unsigned rows);
void vt_fini(Vt *vt);
void vt_write(Vt *vt, const uint8_t *buf, size_t length);
/* Line y of the screen; negative: history. */
uint16_t *vt_line(const Vt *vt, int y);

/* ---- Consoles ---- */
typedef struct Console Console;

/* For chr_set_vc_ops(). */
extern const ChrVcOps console_vc_ops;

/* Text typed by the person, UTF-8. */
void console_type(Console *console, const char *text);
/* A key that makes no text: cursor keys, enter, control characters, paging through the history.
 * False if it means nothing here. */
bool console_key(Console *console, KeyCode key, bool shift, bool ctrl);
/* Scrolls back by lines (negative: towards the newest). */
void console_scroll(Console *console, int lines);

/* ---- display.c ---- */
Display *display_new_console(const char *name, const DisplayOps *ops, void *opaque);
/* The Console behind a display, or NULL. */
void *display_console(Display *display);

#endif
