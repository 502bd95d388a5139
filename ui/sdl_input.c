/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keys, mouse and window events.  Keys go to the guest by position; its own layout gives them
 * meaning.  Ctrl-Alt with G, F, a digit, +, - or 0 is the window's.
 */
#include "sdl.h"

#define ZOOM_MAX 8

/* USB HID usages (SDL's scancodes) to positions. */
static const KeyCode key_codes[SDL_NUM_SCANCODES] = {
    [SDL_SCANCODE_A] = 0x1e,
    [SDL_SCANCODE_B] = 0x30,
    [SDL_SCANCODE_C] = 0x2e,
    [SDL_SCANCODE_D] = 0x20,
    [SDL_SCANCODE_E] = 0x12,
    [SDL_SCANCODE_F] = 0x21,
    [SDL_SCANCODE_G] = 0x22,
    [SDL_SCANCODE_H] = 0x23,
    [SDL_SCANCODE_I] = 0x17,
    [SDL_SCANCODE_J] = 0x24,
    [SDL_SCANCODE_K] = 0x25,
    [SDL_SCANCODE_L] = 0x26,
    [SDL_SCANCODE_M] = 0x32,
    [SDL_SCANCODE_N] = 0x31,
    [SDL_SCANCODE_O] = 0x18,
    [SDL_SCANCODE_P] = 0x19,
    [SDL_SCANCODE_Q] = 0x10,
    [SDL_SCANCODE_R] = 0x13,
    [SDL_SCANCODE_S] = 0x1f,
    [SDL_SCANCODE_T] = 0x14,
    [SDL_SCANCODE_U] = 0x16,
    [SDL_SCANCODE_V] = 0x2f,
    [SDL_SCANCODE_W] = 0x11,
    [SDL_SCANCODE_X] = 0x2d,
    [SDL_SCANCODE_Y] = 0x15,
    [SDL_SCANCODE_Z] = 0x2c,
    [SDL_SCANCODE_1] = 0x02,
    [SDL_SCANCODE_2] = 0x03,
    [SDL_SCANCODE_3] = 0x04,
    [SDL_SCANCODE_4] = 0x05,
    [SDL_SCANCODE_5] = 0x06,
    [SDL_SCANCODE_6] = 0x07,
    [SDL_SCANCODE_7] = 0x08,
    [SDL_SCANCODE_8] = 0x09,
    [SDL_SCANCODE_9] = 0x0a,
    [SDL_SCANCODE_0] = 0x0b,
    [SDL_SCANCODE_RETURN] = 0x1c,
    [SDL_SCANCODE_ESCAPE] = 0x01,
    [SDL_SCANCODE_BACKSPACE] = 0x0e,
    [SDL_SCANCODE_TAB] = 0x0f,
    [SDL_SCANCODE_SPACE] = 0x39,
    [SDL_SCANCODE_MINUS] = 0x0c,
    [SDL_SCANCODE_EQUALS] = 0x0d,
    [SDL_SCANCODE_LEFTBRACKET] = 0x1a,
    [SDL_SCANCODE_RIGHTBRACKET] = 0x1b,
    [SDL_SCANCODE_BACKSLASH] = 0x2b,
    [SDL_SCANCODE_NONUSHASH] = 0x2b,
    [SDL_SCANCODE_SEMICOLON] = 0x27,
    [SDL_SCANCODE_APOSTROPHE] = 0x28,
    [SDL_SCANCODE_GRAVE] = 0x29,
    [SDL_SCANCODE_COMMA] = 0x33,
    [SDL_SCANCODE_PERIOD] = 0x34,
    [SDL_SCANCODE_SLASH] = 0x35,
    [SDL_SCANCODE_CAPSLOCK] = 0x3a,
    [SDL_SCANCODE_F1] = 0x3b,
    [SDL_SCANCODE_F2] = 0x3c,
    [SDL_SCANCODE_F3] = 0x3d,
    [SDL_SCANCODE_F4] = 0x3e,
    [SDL_SCANCODE_F5] = 0x3f,
    [SDL_SCANCODE_F6] = 0x40,
    [SDL_SCANCODE_F7] = 0x41,
    [SDL_SCANCODE_F8] = 0x42,
    [SDL_SCANCODE_F9] = 0x43,
    [SDL_SCANCODE_F10] = 0x44,
    [SDL_SCANCODE_F11] = 0x57,
    [SDL_SCANCODE_F12] = 0x58,
    [SDL_SCANCODE_F13] = 0x5d,
    [SDL_SCANCODE_F14] = 0x5e,
    [SDL_SCANCODE_F15] = 0x5f,
    [SDL_SCANCODE_PRINTSCREEN] = KEY_PRINT,
    [SDL_SCANCODE_SCROLLLOCK] = 0x46,
    [SDL_SCANCODE_PAUSE] = KEY_PAUSE,
    [SDL_SCANCODE_INSERT] = KEY_GREY | 0x52,
    [SDL_SCANCODE_HOME] = KEY_GREY | 0x47,
    [SDL_SCANCODE_PAGEUP] = KEY_GREY | 0x49,
    [SDL_SCANCODE_DELETE] = KEY_GREY | 0x53,
    [SDL_SCANCODE_END] = KEY_GREY | 0x4f,
    [SDL_SCANCODE_PAGEDOWN] = KEY_GREY | 0x51,
    [SDL_SCANCODE_RIGHT] = KEY_GREY | 0x4d,
    [SDL_SCANCODE_LEFT] = KEY_GREY | 0x4b,
    [SDL_SCANCODE_DOWN] = KEY_GREY | 0x50,
    [SDL_SCANCODE_UP] = KEY_GREY | 0x48,
    [SDL_SCANCODE_NUMLOCKCLEAR] = 0x45,
    [SDL_SCANCODE_KP_DIVIDE] = KEY_GREY | 0x35,
    [SDL_SCANCODE_KP_MULTIPLY] = 0x37,
    [SDL_SCANCODE_KP_MINUS] = 0x4a,
    [SDL_SCANCODE_KP_PLUS] = 0x4e,
    [SDL_SCANCODE_KP_ENTER] = KEY_GREY | 0x1c,
    [SDL_SCANCODE_KP_1] = 0x4f,
    [SDL_SCANCODE_KP_2] = 0x50,
    [SDL_SCANCODE_KP_3] = 0x51,
    [SDL_SCANCODE_KP_4] = 0x4b,
    [SDL_SCANCODE_KP_5] = 0x4c,
    [SDL_SCANCODE_KP_6] = 0x4d,
    [SDL_SCANCODE_KP_7] = 0x47,
    [SDL_SCANCODE_KP_8] = 0x48,
    [SDL_SCANCODE_KP_9] = 0x49,
    [SDL_SCANCODE_KP_0] = 0x52,
    [SDL_SCANCODE_KP_PERIOD] = 0x53,
    [SDL_SCANCODE_KP_EQUALS] = 0x59,
    [SDL_SCANCODE_KP_COMMA] = 0x7e,
    [SDL_SCANCODE_NONUSBACKSLASH] = 0x56,
    [SDL_SCANCODE_APPLICATION] = KEY_GREY | 0x5d,
    [SDL_SCANCODE_INTERNATIONAL1] = 0x73,
    [SDL_SCANCODE_INTERNATIONAL2] = 0x70,
    [SDL_SCANCODE_INTERNATIONAL3] = 0x7d,
    [SDL_SCANCODE_INTERNATIONAL4] = 0x79,
    [SDL_SCANCODE_INTERNATIONAL5] = 0x7b,
    [SDL_SCANCODE_LANG1] = 0x72,
    [SDL_SCANCODE_LANG2] = 0x71,
    [SDL_SCANCODE_SYSREQ] = 0x54,
    [SDL_SCANCODE_LCTRL] = 0x1d,
    [SDL_SCANCODE_LSHIFT] = 0x2a,
    [SDL_SCANCODE_LALT] = 0x38,
    [SDL_SCANCODE_LGUI] = KEY_GREY | 0x5b,
    [SDL_SCANCODE_RCTRL] = KEY_GREY | 0x1d,
    [SDL_SCANCODE_RSHIFT] = 0x36,
    [SDL_SCANCODE_RALT] = KEY_GREY | 0x38,
    [SDL_SCANCODE_MODE] = KEY_GREY | 0x38,
    [SDL_SCANCODE_RGUI] = KEY_GREY | 0x5c,
    [SDL_SCANCODE_MUTE] = KEY_GREY | 0x20,
    [SDL_SCANCODE_VOLUMEUP] = KEY_GREY | 0x30,
    [SDL_SCANCODE_VOLUMEDOWN] = KEY_GREY | 0x2e,
    [SDL_SCANCODE_AUDIONEXT] = KEY_GREY | 0x19,
    [SDL_SCANCODE_AUDIOPREV] = KEY_GREY | 0x10,
    [SDL_SCANCODE_AUDIOSTOP] = KEY_GREY | 0x24,
    [SDL_SCANCODE_AUDIOPLAY] = KEY_GREY | 0x22,
    [SDL_SCANCODE_CALCULATOR] = KEY_GREY | 0x21,
    [SDL_SCANCODE_MAIL] = KEY_GREY | 0x6c,
};

static Console *shown_console(void)
{
    return sdl_ui.display ? display_console(sdl_ui.display) : NULL;
}

/* ---- Grab ---- */

void sdl_update_cursor(void)
{
    /* The guest draws a pointer of its own where it has one. */
    bool own = sdl_ui.grabbed || (input_absolute() && !shown_console());
    SDL_ShowCursor(own ? SDL_DISABLE : SDL_ENABLE);
}

void sdl_set_grab(bool grab)
{
    if (grab == sdl_ui.grabbed || (grab && shown_console()))
        return;
    sdl_ui.grabbed = grab;
    SDL_SetWindowMouseGrab(sdl_ui.window, grab);
    SDL_SetWindowKeyboardGrab(sdl_ui.window, grab);
    SDL_SetRelativeMouseMode(grab && !input_absolute());
    sdl_update_cursor();
    sdl_set_title();
}

/* ---- Keys ---- */

static void set_full_screen(bool on)
{
    sdl_ui.full_screen = on;
    SDL_SetWindowFullscreen(sdl_ui.window, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    sdl_ui.redraw = true;
    if (!on)
        sdl_fit_window();
}

static void set_zoom(unsigned zoom)
{
    sdl_ui.zoom = CLAMP(zoom, 1, ZOOM_MAX);
    sdl_fit_window();
}

/* Ctrl-Alt and this key: true if it is the window's. */
static bool hot_key(SDL_Scancode code)
{
    switch (code) {
    case SDL_SCANCODE_G:
        sdl_set_grab(!sdl_ui.grabbed);
        return true;
    case SDL_SCANCODE_F:
        set_full_screen(!sdl_ui.full_screen);
        return true;
    case SDL_SCANCODE_1 ... SDL_SCANCODE_9:
        sdl_show(code - SDL_SCANCODE_1);
        return true;
    case SDL_SCANCODE_EQUALS:
    case SDL_SCANCODE_KP_PLUS:
        set_zoom(sdl_ui.zoom + 1);
        return true;
    case SDL_SCANCODE_MINUS:
    case SDL_SCANCODE_KP_MINUS:
        set_zoom(sdl_ui.zoom - 1);
        return true;
    case SDL_SCANCODE_0:
    case SDL_SCANCODE_KP_0:
        set_zoom(1);
        return true;
    default:
        return false;
    }
}

static void key(const SDL_KeyboardEvent *event)
{
    SDL_Scancode code = event->keysym.scancode;
    Uint16 mod = event->keysym.mod;
    bool down = event->type == SDL_KEYDOWN;
    if ((unsigned)code >= SDL_NUM_SCANCODES)
        return;
    if (sdl_ui.swallowed[code]) {
        sdl_ui.swallowed[code] = down;
        return;
    }
    if (down && !event->repeat && (mod & KMOD_CTRL) && (mod & KMOD_LALT) && hot_key(code)) {
        sdl_ui.swallowed[code] = true;
        return;
    }
    Console *console = shown_console();
    if (!console) {
        input_key(key_codes[code], down);
        input_sync();
    } else if (down) {
        console_key(console, key_codes[code], mod & KMOD_SHIFT, mod & KMOD_CTRL);
    }
}

static void text(const SDL_TextInputEvent *event)
{
    Console *console = shown_console();
    if (console && !(SDL_GetModState() & (KMOD_CTRL | KMOD_LALT)))
        console_type(console, event->text);
}

/* The person's lock keys may have changed while another window had the keyboard. */
static void sync_locks(void)
{
    static const struct {
        Uint16 mod;
        unsigned led;
        SDL_Scancode code;
    } locks[] = {{KMOD_NUM, LED_NUM, SDL_SCANCODE_NUMLOCKCLEAR},
                 {KMOD_CAPS, LED_CAPS, SDL_SCANCODE_CAPSLOCK}};
    if (!input_leds_known())
        return; /* the guest does not say how it has them */
    for (unsigned i = 0; i < G_N_ELEMENTS(locks); i++) {
        bool here = SDL_GetModState() & locks[i].mod, there = input_leds() & locks[i].led;
        if (here != there)
            input_tap_keys(&key_codes[locks[i].code], 1, 10);
    }
}

/* ---- Mouse ---- */

static void motion(const SDL_MouseMotionEvent *event)
{
    if (shown_console())
        return;
    if (input_absolute()) {
        unsigned x, y;
        sdl_guest_position(event->x, event->y, &x, &y);
        input_position(x, y);
    } else if (sdl_ui.grabbed) {
        input_move(event->xrel, event->yrel, 0);
    }
    input_sync();
}

static void button(const SDL_MouseButtonEvent *event)
{
    static const InputButton buttons[] = {
        [SDL_BUTTON_LEFT] = BUTTON_LEFT,   [SDL_BUTTON_MIDDLE] = BUTTON_MIDDLE,
        [SDL_BUTTON_RIGHT] = BUTTON_RIGHT, [SDL_BUTTON_X1] = BUTTON_SIDE,
        [SDL_BUTTON_X2] = BUTTON_EXTRA,
    };
    bool down = event->type == SDL_MOUSEBUTTONDOWN;
    if (shown_console() || event->button == 0 || event->button >= G_N_ELEMENTS(buttons))
        return;
    if (!input_absolute() && !sdl_ui.grabbed) {
        /* A guest with a relative mouse gets it by a click; that click is not its own. */
        if (!down && event->button == SDL_BUTTON_LEFT)
            sdl_set_grab(true);
        return;
    }
    input_button(buttons[event->button], down);
    input_sync();
}

static void wheel(const SDL_MouseWheelEvent *event)
{
    int up = event->direction == SDL_MOUSEWHEEL_FLIPPED ? -event->y : event->y;
    if (shown_console()) {
        console_scroll(shown_console(), up * 3);
    } else if (input_absolute() || sdl_ui.grabbed) {
        input_move(0, 0, -up);
        input_sync();
    }
}

/* ---- The window ---- */

static void window_event(const SDL_WindowEvent *event)
{
    switch (event->event) {
    case SDL_WINDOWEVENT_SIZE_CHANGED:
        /* The person's own size lasts when the guest changes its mode. */
        if (!sdl_ui.full_screen && sdl_ui.guest_width)
            sdl_ui.zoom = CLAMP((unsigned)event->data1 / sdl_ui.guest_width, 1, ZOOM_MAX);
        sdl_ui.redraw = true;
        break;
    case SDL_WINDOWEVENT_EXPOSED:
        sdl_ui.redraw = true;
        break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED:
        sdl_ui.hidden = true;
        break;
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED:
    case SDL_WINDOWEVENT_MAXIMIZED:
        sdl_ui.hidden = false;
        sdl_ui.redraw = true;
        break;
    case SDL_WINDOWEVENT_FOCUS_GAINED:
        sdl_ui.focused = true;
        sync_locks();
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        sdl_ui.focused = false;
        sdl_set_grab(false);
        input_release_keys();
        memset(sdl_ui.swallowed, 0, sizeof(sdl_ui.swallowed));
        break;
    case SDL_WINDOWEVENT_ENTER:
        sdl_update_cursor();
        if (sdl_ui.grab_on_hover && !input_absolute())
            sdl_set_grab(true);
        break;
    case SDL_WINDOWEVENT_CLOSE:
        machine_request_shutdown(sdl_ui.machine, SHUTDOWN_HOST);
        break;
    }
}

void sdl_handle(const SDL_Event *event)
{
    switch (event->type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        key(&event->key);
        break;
    case SDL_TEXTINPUT:
        text(&event->text);
        break;
    case SDL_MOUSEMOTION:
        motion(&event->motion);
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        button(&event->button);
        break;
    case SDL_MOUSEWHEEL:
        wheel(&event->wheel);
        break;
    case SDL_WINDOWEVENT:
        window_event(&event->window);
        break;
    case SDL_QUIT:
        machine_request_shutdown(sdl_ui.machine, SHUTDOWN_HOST);
        break;
    default:
        return;
    }
    sdl_wake();
}
