/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The screen in a terminal (-display curses): text modes as text, a notice for graphics.
 *
 * Keys typed there become keystrokes of a US keyboard.  Alt and a digit, or Escape and at once a
 * digit, choose the screen.  The terminal is given back by ui_stop(), at exit(), and by a handler
 * of fatal signals that uses nothing but tcsetattr() and write().
 */
#define NCURSES_WIDECHAR 1
#include <curses.h>
#undef KEY_PRINT /* curses' Print key; ours is a position */
#include <locale.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "console.h"
#include "curses_restore.h"
#include "font.h"
#include "hw/core/machine.h"
#include "util/error.h"

#define HOLD_MS 10

static struct {
    bool active;
    Machine *machine;
    SCREEN *screen;
    Display *display;
    unsigned number;
    LoopFd *input;
    Timer timer;
    UiPace pace;
    uint64_t changed; /* pixels since the last tick */
    bool draw_all;
    bool bright; /* sixteen foreground colours; else bold stands for bright */
} ui;

/* ---- Drawing ---- */

/* VGA counts blue, green, red; terminals red, green, blue. */
static short terminal_color(unsigned vga)
{
    return (short)((vga & 8) | (vga & 1) << 2 | (vga & 2) | (vga & 4) >> 2);
}

static short pair_number(unsigned fg, unsigned bg)
{
    return (short)(1 + fg * 8 + bg);
}

static void init_colors(void)
{
    if (!has_colors())
        return;
    start_color();
    ui.bright = COLORS >= 16 && COLOR_PAIRS > 128;
    for (unsigned fg = 0; fg < (ui.bright ? 16u : 8u); fg++) {
        for (unsigned bg = 0; bg < 8; bg++)
            init_pair(pair_number(fg, bg), terminal_color(fg), terminal_color(bg));
    }
}

static void draw_cell(int y, int x, uint16_t cell)
{
    unsigned fg = cell >> 8 & 15, bg = cell >> 12 & 7;
    wchar_t text[2] = {(wchar_t)cp437_to_unicode[cell & 0xff], 0};
    attr_t attributes = A_NORMAL;
    short pair = 0;
    if (ui.bright) {
        pair = pair_number(fg, bg);
    } else {
        attributes |= fg & 8 ? A_BOLD : 0;
        if (has_colors())
            pair = pair_number(fg & 7, bg);
        else if (bg == 7)
            attributes |= A_REVERSE;
    }
    if ((cell & 0xff) == 0 || (cell & 0xff) == 0xff)
        text[0] = ' ';
    cchar_t c;
    setcchar(&c, text, attributes, pair, NULL);
    mvadd_wch(y, x, &c);
}

/* First guest row (or column) on a terminal that is too small: the cursor stays in sight. */
static int scroll_offset(int guest, int terminal, int cursor)
{
    if (guest <= terminal || cursor < terminal)
        return 0;
    return MIN(cursor - terminal + 1, guest - terminal);
}

static void draw_text(unsigned columns, unsigned rows, const uint16_t *cells, int cursor)
{
    int width = (int)columns, height = (int)rows;
    int cx = cursor >= 0 ? cursor % width : 0, cy = cursor >= 0 ? cursor / width : 0;
    int skip_x = scroll_offset(width, COLS, cx), skip_y = scroll_offset(height, LINES, cy);
    int left = MAX(0, (COLS - width) / 2), top = MAX(0, (LINES - height) / 2);
    for (int y = 0; y < MIN(height, LINES); y++) {
        for (int x = 0; x < MIN(width, COLS); x++)
            draw_cell(top + y, left + x, cells[(y + skip_y) * width + x + skip_x]);
    }
    curs_set(cursor >= 0);
    move(top + cy - skip_y, left + cx - skip_x);
}

static void draw_notice(void)
{
    const Surface *surface = display_surface(ui.display);
    g_autofree char *notice = g_strdup_printf("%ux%u graphics", surface->width, surface->height);
    erase();
    curs_set(0);
    mvaddstr(LINES / 2, MAX(0, (COLS - (int)strlen(notice)) / 2), notice);
}

static void draw(void)
{
    unsigned columns, rows;
    const uint16_t *cells;
    int cursor;
    if (ui.draw_all)
        erase();
    if (display_text(ui.display, &columns, &rows, &cells, &cursor))
        draw_text(columns, rows, cells, cursor);
    else
        draw_notice();
    ui.draw_all = false;
    refresh();
}

static void updated(void *opaque, unsigned x, unsigned y, unsigned width, unsigned height)
{
    ui.changed += (uint64_t)width * height;
}

static void switched(void *opaque, const Surface *surface)
{
    if (!surface) {
        ui.display = NULL;
        return;
    }
    ui.draw_all = true;
    ui.changed += (uint64_t)surface->width * surface->height;
}

static const DisplayViewer viewer = {.updated = updated, .switched = switched};

static void show(unsigned number)
{
    Display *display = display_nth(number);
    if (!display)
        return;
    if (ui.display)
        display_remove_viewer(ui.display, &ui);
    ui.display = display;
    ui.number = number;
    display_add_viewer(display, &viewer, &ui);
    ui.draw_all = true;
}

static void title_changed(void *opaque, Machine *machine, MachineStatus status)
{
    static const UiOptions none;
    g_autofree char *title = ui_title(machine, &none);
    if (ui.active)
        curses_set_title(title);
}

/* ---- Keys ---- */

static const struct {
    int curses;
    const char *key;
    bool shift;
} special_keys[] = {
    {KEY_UP, "up"},
    {KEY_DOWN, "down"},
    {KEY_LEFT, "left"},
    {KEY_RIGHT, "right"},
    {KEY_HOME, "home"},
    {KEY_END, "end"},
    {KEY_PPAGE, "pgup"},
    {KEY_NPAGE, "pgdn"},
    {KEY_IC, "insert"},
    {KEY_DC, "delete"},
    {KEY_BACKSPACE, "backspace"},
    {KEY_ENTER, "kp_enter"},
    {KEY_BTAB, "tab", true},
    {KEY_SLEFT, "left", true},
    {KEY_SRIGHT, "right", true},
    {KEY_SR, "up", true},
    {KEY_SF, "down", true},
    {KEY_SHOME, "home", true},
    {KEY_SEND, "end", true},
    {KEY_SPREVIOUS, "pgup", true},
    {KEY_SNEXT, "pgdn", true},
    {KEY_SDC, "delete", true},
    {KEY_SIC, "insert", true},
};

/* Fills keys (modifiers first) for a curses function key; returns their number. */
static unsigned function_keys(int code, KeyCode *keys)
{
    /* Terminals number the shifted function keys from 13 on, those with control from 25. */
    if (code >= KEY_F(1) && code <= KEY_F(36)) {
        static const char *const modifiers[] = {NULL, "shift", "ctrl"};
        unsigned n = 0, index = (unsigned)(code - KEY_F(1));
        char name[8];
        g_snprintf(name, sizeof(name), "f%u", index % 12 + 1);
        if (modifiers[index / 12])
            keys[n++] = key_from_name(modifiers[index / 12]);
        keys[n++] = key_from_name(name);
        return n;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(special_keys); i++) {
        if (special_keys[i].curses != code)
            continue;
        unsigned n = 0;
        if (special_keys[i].shift)
            keys[n++] = key_from_name("shift");
        keys[n++] = key_from_name(special_keys[i].key);
        return n;
    }
    return 0;
}

static unsigned character_keys(wint_t c, KeyCode *keys)
{
    const char *name = c == '\r'     ? "ret"
                       : c == '\t'   ? "tab"
                       : c == '\033' ? "esc"
                       : c == 0x7f   ? "backspace"
                                     : NULL;
    if (!name)
        return ui_ascii_keys(c, keys);
    keys[0] = key_from_name(name);
    return 1;
}

static void type_at_console(Console *console, wint_t c, const KeyCode *keys, unsigned count,
                            bool function)
{
    bool shift = count > 1 && keys[0] == key_from_name("shift");
    bool ctrl = count > 1 && keys[0] == key_from_name("ctrl");
    bool text = !function && c >= 0x20 && c != 0x7f;
    if (!text && count && console_key(console, keys[count - 1], shift, ctrl))
        return;
    char utf8[8] = {0};
    g_unichar_to_utf8(c, utf8);
    if (text)
        console_type(console, utf8);
}

static void key_typed(wint_t c, bool function, bool alt)
{
    KeyCode keys[4];
    unsigned count = alt ? 1 : 0;
    keys[0] = key_from_name("alt");
    count += function ? function_keys((int)c, keys + count) : character_keys(c, keys + count);
    Console *console = ui.display ? display_console(ui.display) : NULL;
    if (console && alt)
        console_type(console, "\033"); /* as terminals write Alt */
    if (console)
        type_at_console(console, c, keys, count, function);
    else if (count > (alt ? 1u : 0u))
        input_tap_keys(keys, count, HOLD_MS);
}

/* Escape begins Alt-x in terminals, when the next character is there already. */
static void read_key(wint_t c, bool function)
{
    if (function && c == KEY_RESIZE) {
        ui.draw_all = true;
        return;
    }
    if (!function && c == '\033') {
        wint_t next;
        int kind = get_wch(&next);
        if (kind == OK && next >= '1' && next <= '9') {
            show(next - '1');
            return;
        }
        if (kind != ERR) {
            key_typed(next, kind == KEY_CODE_YES, true);
            return;
        }
    }
    key_typed(c, function, false);
}

static void input_ready(void *opaque, int fd, unsigned events)
{
    wint_t c;
    int kind;
    if (events & (LOOP_HUP | LOOP_ERR)) {
        /* The terminal is gone: so is whoever could look. */
        loop_fd_set(ui.input, 0);
        machine_request_shutdown(ui.machine, SHUTDOWN_HOST);
        return;
    }
    while ((kind = get_wch(&c)) != ERR)
        read_key(c, kind == KEY_CODE_YES);
    ui_pace_wake(&ui.pace);
    timer_arm(&ui.timer, clock_now(VM_CLOCK_HOST) + UI_PACE_MIN);
    if (ui.draw_all && ui.display)
        draw();
}

static void tick(void *opaque)
{
    wint_t c;
    int kind;
    ui.changed = 0;
    if (!ui.display)
        show(0); /* the screen came late, or another has gone */
    /* A new size of the terminal is only told to those who ask for a key. */
    while ((kind = get_wch(&c)) != ERR)
        read_key(c, kind == KEY_CODE_YES);
    uint64_t all = 1;
    if (ui.display) {
        display_refresh(ui.display);
        const Surface *surface = display_surface(ui.display);
        all = (uint64_t)surface->width * surface->height;
        if (ui.changed || ui.draw_all)
            draw();
    }
    timer_arm(&ui.timer, ui_pace_next(&ui.pace, ui.changed, all));
}

/* ---- Start and stop ---- */

static bool start(Machine *machine, const UiOptions *options, GError **error)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return fail(error, "-display curses: standard input and output must be a terminal");
    curses_save_terminal();
    setlocale(LC_CTYPE, "");
    ui.screen = newterm(NULL, stdout, stdin);
    if (!ui.screen)
        return fail(error, "-display curses: terminal type '%s' is not known; set TERM",
                    g_getenv("TERM") ? g_getenv("TERM") : "");
    curses_restore_prepare();
    set_escdelay(25);
    raw();
    noecho();
    nonl();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    init_colors();

    ui.active = true;
    ui.machine = machine;
    show(0);
    timer_init(&ui.timer, loop_main(), VM_CLOCK_HOST, tick, NULL);
    timer_arm(&ui.timer, clock_now(VM_CLOCK_HOST));
    ui.input = loop_fd_add(loop_main(), STDIN_FILENO, LOOP_IN, input_ready, NULL);
    static bool listening;
    if (!listening)
        machine_add_status_listener(machine, title_changed, NULL);
    listening = true;
    return true;
}

static void stop(void)
{
    timer_cancel(&ui.timer);
    loop_fd_remove(ui.input);
    if (ui.display)
        display_remove_viewer(ui.display, &ui);
    curses_restore();
    delscreen(ui.screen);
    memset(&ui, 0, sizeof(ui));
}

const UiBackend ui_curses_backend = {.name = "curses", .start = start, .stop = stop};
