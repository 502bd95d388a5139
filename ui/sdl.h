/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SDL window, shared by its files: sdl.c (life, refresh), sdl_draw.c (pixels), sdl_input.c. */
#ifndef VMRUN_UI_SDL_H
#define VMRUN_UI_SDL_H

#include <SDL.h>

#include "backend.h"
#include "console.h"
#include "hw/core/machine.h"

typedef struct SdlUi {
    bool active;
    Machine *machine;
    char *title; /* -name, or NULL */
    bool grab_on_hover;
    SDL_Window *window;
    Display *display; /* the screen that is shown; NULL: none is there */
    unsigned number;  /* its place: Ctrl-Alt-1 is 0 */
    unsigned guest_width, guest_height;

    /* Drawing.  All in pixels of the window's surface. */
    SDL_Surface *canvas; /* of our own where the window's pixels have another format, else NULL */
    int width, height;   /* of the surface that the layout was made for */
    SDL_Rect view;       /* where the guest's picture stands */
    unsigned *columns;   /* guest column of each of view.w columns */
    GArray *rects;       /* of SDL_Rect: drawn, not yet shown */
    bool redraw;         /* everything, borders too */

    /* Refresh. */
    Timer timer;
    UiPace pace;
    int64_t next_refresh;
    uint64_t changed;   /* guest pixels since the last refresh */
    LoopFd *connection; /* to the X server; NULL: events must be polled for */
    bool hidden, focused;

    /* Input. */
    unsigned zoom;
    bool full_screen, grabbed;
    bool swallowed[SDL_NUM_SCANCODES]; /* went down as a hot key */
} SdlUi;

extern SdlUi sdl_ui;

/* sdl.c */
void sdl_show(unsigned number);
void sdl_set_title(void);
/* The window gets the size of the guest's screen times zoom, unless it fills the screen. */
void sdl_fit_window(void);
/* Something happened that the person will want to see the effect of. */
void sdl_wake(void);

/* sdl_draw.c */
/* Draws a rectangle of the guest's screen; it is shown by the next sdl_present(). */
void sdl_draw(unsigned x, unsigned y, unsigned width, unsigned height);
void sdl_present(void);
void sdl_draw_fini(void);
/* Window coordinates (points) to 0 ... 32767 of the guest's picture. */
void sdl_guest_position(int x, int y, unsigned *guest_x, unsigned *guest_y);

/* sdl_input.c */
void sdl_handle(const SDL_Event *event);
void sdl_set_grab(bool grab);
void sdl_update_cursor(void);

/* sdl_x11.c: apart because Xlib has its own Display and KeyCode.  -1: not an X window. */
int sdl_connection_fd(SDL_Window *window);

#endif
