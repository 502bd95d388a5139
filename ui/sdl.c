/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SDL window, in a module of its own (see ui/start.c).
 *
 * Everything runs in the main loop.  Events arrive at once: the loop watches the connection to the
 * X server; with other servers, whose descriptor SDL does not tell, events are polled for every 10
 * ms while the window has the keyboard.  The screen is looked at every 30 to 250 ms (UiPace).
 *
 * Pixels go through the window's surface, which costs no graphics driver and shows only what
 * changed; SDL_FRAMEBUFFER_ACCELERATION in the environment overrides it.
 */
#include "sdl.h"

#include "util/error.h"

#define POLL_NS (10 * NS_PER_MS)

SdlUi sdl_ui;

static void tick(void *opaque);

/* ---- The shown display ---- */

static void updated(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height)
{
    sdl_ui.changed += (uint64_t)width * height;
    if (!sdl_ui.redraw)
        sdl_draw(x, y, width, height);
}

static void switched(void *opaque, const Surface *surface)
{
    if (!surface) {
        sdl_ui.display = NULL;
        return;
    }
    sdl_ui.redraw = true;
    if (surface->width == sdl_ui.guest_width && surface->height == sdl_ui.guest_height)
        return;
    sdl_ui.guest_width = surface->width;
    sdl_ui.guest_height = surface->height;
    sdl_fit_window();
}

static const DisplayViewer viewer = {.updated = updated, .switched = switched};

void sdl_show(unsigned number)
{
    Display *display = display_nth(number);
    if (!display)
        return;
    if (sdl_ui.display)
        display_remove_viewer(sdl_ui.display, &sdl_ui);
    sdl_ui.display = display;
    sdl_ui.number = number;
    input_release_keys();
    display_add_viewer(display, &viewer, &sdl_ui);
    switched(NULL, display_surface(display));
    /* Input methods compose text for consoles; the guest wants the bare keys. */
    if (display_console(display)) {
        sdl_set_grab(false);
        SDL_StartTextInput();
    } else {
        SDL_StopTextInput();
    }
    sdl_set_title();
    sdl_update_cursor();
    sdl_wake();
}

void sdl_set_title(void)
{
    UiOptions options = {.window_title = sdl_ui.title};
    g_autofree char *name = ui_title(sdl_ui.machine, &options);
    GString *title = g_string_new(name);
    if (sdl_ui.display && sdl_ui.number > 0)
        g_string_append_printf(title, " - %s", display_name(sdl_ui.display));
    if (sdl_ui.grabbed)
        g_string_append(title, " - Press Ctrl-Alt-G to release the mouse");
    SDL_SetWindowTitle(sdl_ui.window, title->str);
    g_string_free(title, TRUE);
}

void sdl_fit_window(void)
{
    Uint32 flags = SDL_GetWindowFlags(sdl_ui.window);
    if (!(flags & (SDL_WINDOW_FULLSCREEN_DESKTOP | SDL_WINDOW_MAXIMIZED)))
        SDL_SetWindowSize(sdl_ui.window, (int)(sdl_ui.guest_width * sdl_ui.zoom),
                          (int)(sdl_ui.guest_height * sdl_ui.zoom));
    sdl_ui.redraw = true;
}

static void status_changed(void *opaque, Machine *machine, MachineStatus status)
{
    if (sdl_ui.active)
        sdl_set_title();
}

/* ---- Events and refresh ---- */

static void pump(void)
{
    SDL_Event event;
    while (sdl_ui.active && SDL_PollEvent(&event))
        sdl_handle(&event);
}

static void connection_ready(void *opaque, int fd, unsigned events)
{
    if (events & (LOOP_ERR | LOOP_HUP))
        loop_fd_set(sdl_ui.connection, 0);
    pump();
}

static void arm(void)
{
    int64_t now = clock_now(VM_CLOCK_HOST), next = sdl_ui.next_refresh;
    if (!sdl_ui.connection && sdl_ui.focused)
        next = MIN(next, now + POLL_NS);
    timer_arm(&sdl_ui.timer, next);
}

void sdl_wake(void)
{
    if (!ui_pace_wake(&sdl_ui.pace))
        return;
    sdl_ui.next_refresh = MIN(sdl_ui.next_refresh, clock_now(VM_CLOCK_HOST) + UI_PACE_MIN / 2);
    arm();
}

static void refresh_window(void)
{
    uint64_t all = 1;
    if (!sdl_ui.display)
        sdl_show(0); /* the screen came late, or another has gone */
    if (sdl_ui.display && !sdl_ui.hidden) {
        display_refresh(sdl_ui.display);
        sdl_present();
        const Surface *surface = display_surface(sdl_ui.display);
        all = (uint64_t)surface->width * surface->height;
    }
    sdl_ui.next_refresh = ui_pace_next(&sdl_ui.pace, sdl_ui.changed, all);
    sdl_ui.changed = 0;
}

static void tick(void *opaque)
{
    pump();
    if (clock_now(VM_CLOCK_HOST) >= sdl_ui.next_refresh) {
        refresh_window();
        pump(); /* showing may have read events from the connection */
    }
    arm();
}

/* ---- Start and stop ---- */

static bool open_window(const UiOptions *options, GError **error)
{
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); /* the main program has its own */
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0");
    SDL_SetHint(SDL_HINT_WINDOWS_DPI_SCALING, "1");
    SDL_SetHint(SDL_HINT_APP_NAME, "vmrun");
    SDL_SetMainReady();
    if (SDL_Init(SDL_INIT_VIDEO) != 0)
        return fail(error, "-display sdl: %s", SDL_GetError());
    Uint32 flags = SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI;
    if (options->full_screen)
        flags |= SDL_WINDOW_FULLSCREEN_DESKTOP;
    sdl_ui.window = SDL_CreateWindow("vmrun", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, 640,
                                     480, flags);
    if (sdl_ui.window)
        return true;
    fail(error, "-display sdl: %s", SDL_GetError());
    SDL_Quit();
    return false;
}

static bool start(Machine *machine, const UiOptions *options, GError **error)
{
    static bool listening;
    if (!open_window(options, error))
        return false;
    sdl_ui.active = true;
    sdl_ui.machine = machine;
    sdl_ui.title = g_strdup(options->window_title);
    sdl_ui.grab_on_hover = options->grab_on_hover;
    sdl_ui.full_screen = options->full_screen;
    sdl_ui.zoom = 1;
    sdl_ui.rects = g_array_new(FALSE, FALSE, sizeof(SDL_Rect));
    timer_init(&sdl_ui.timer, loop_main(), VM_CLOCK_HOST, tick, NULL);
    int fd = sdl_connection_fd(sdl_ui.window);
    if (fd >= 0)
        sdl_ui.connection = loop_fd_add(loop_main(), fd, LOOP_IN, connection_ready, NULL);
    if (!listening)
        machine_add_status_listener(machine, status_changed, NULL);
    listening = true;
    sdl_show(0);
    sdl_set_title();
    timer_arm(&sdl_ui.timer, 0);
    return true;
}

static void stop(void)
{
    sdl_ui.active = false;
    timer_cancel(&sdl_ui.timer);
    loop_fd_remove(sdl_ui.connection);
    if (sdl_ui.display)
        display_remove_viewer(sdl_ui.display, &sdl_ui);
    sdl_draw_fini();
    SDL_DestroyWindow(sdl_ui.window);
    SDL_Quit();
    g_array_free(sdl_ui.rects, TRUE);
    g_free(sdl_ui.title);
    sdl_ui = (SdlUi){0};
}

static const UiBackend backend = {.name = "sdl", .start = start, .stop = stop};

const UiBackend *vmrun_ui_sdl(void);
const UiBackend *vmrun_ui_sdl(void)
{
    return &backend;
}
