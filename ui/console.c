/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text consoles: a terminal as a Display, fed by a `vc` chardev. */
#include "console.h"

#include <string.h>

#include "font.h"

#define COLUMNS     80
#define ROWS        25
#define COLUMNS_MAX 400
#define ROWS_MAX    200

struct Console {
    Vt vt;
    Chardev *chr;
    Display *display;
    unsigned back;   /* lines scrolled back */
    uint32_t *drawn; /* cell | cursor << 16, for each cell of the surface */
    bool draw_all;
    uint16_t *text;   /* for the text op */
    GString *replies; /* not yet given to the chardev */
    LoopBh *reply_bh;
};

static const uint32_t colors[16] = {
    0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa,
    0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
};

static bool cursor_shown(const Console *c)
{
    return c->back == 0 && !c->vt.cursor_hidden;
}

static void draw_row(Console *c, unsigned y)
{
    const uint16_t *cells = vt_line(&c->vt, (int)y - (int)c->back);
    Surface *surface = display_surface(c->display);
    unsigned first = UINT_MAX, last = 0;
    for (unsigned x = 0; x < c->vt.columns; x++) {
        bool cursor = cursor_shown(c) && x == c->vt.x && y == c->vt.y;
        uint32_t key = cells[x] | (uint32_t)cursor << 16;
        uint32_t *drawn = &c->drawn[y * c->vt.columns + x];
        if (*drawn == key && !c->draw_all)
            continue;
        *drawn = key;
        uint32_t fg = colors[cells[x] >> 8 & 15], bg = colors[cells[x] >> 12];
        font_draw(surface, x * FONT_WIDTH, y * FONT_HEIGHT, (uint8_t)cells[x], cursor ? bg : fg,
                  cursor ? fg : bg);
        first = MIN(first, x);
        last = x;
    }
    if (first != UINT_MAX)
        display_update(c->display, first * FONT_WIDTH, y * FONT_HEIGHT,
                       (last - first + 1) * FONT_WIDTH, FONT_HEIGHT);
}

static void refresh(void *opaque)
{
    Console *c = opaque;
    for (unsigned y = 0; y < c->vt.rows; y++)
        draw_row(c, y);
    c->draw_all = false;
}

static void invalidate(void *opaque)
{
    Console *c = opaque;
    c->draw_all = true;
}

static bool text(void *opaque, unsigned *columns, unsigned *rows, const uint16_t **cells,
                 int *cursor)
{
    Console *c = opaque;
    *columns = c->vt.columns;
    *rows = c->vt.rows;
    for (unsigned y = 0; y < c->vt.rows; y++)
        memcpy(c->text + y * c->vt.columns, vt_line(&c->vt, (int)y - (int)c->back),
               c->vt.columns * sizeof(uint16_t));
    *cells = c->text;
    *cursor = cursor_shown(c) ? (int)(c->vt.y * c->vt.columns + c->vt.x) : -1;
    return true;
}

static const DisplayOps console_ops = {.refresh = refresh, .invalidate = invalidate, .text = text};

/* ---- Input ---- */

void console_scroll(Console *c, int lines)
{
    int back = (int)c->back + lines;
    c->back = (unsigned)CLAMP(back, 0, (int)c->vt.history);
}

void console_type(Console *c, const char *typed)
{
    c->back = 0;
    chr_vc_input(c->chr, (const uint8_t *)typed, strlen(typed));
}

/* The front end is just writing: it must not be called back from inside. */
static void reply(void *opaque, const char *answer)
{
    Console *c = opaque;
    g_string_append(c->replies, answer);
    bh_schedule(c->reply_bh);
}

static void send_replies(void *opaque)
{
    Console *c = opaque;
    g_autofree char *answer = g_string_free(c->replies, FALSE);
    c->replies = g_string_new(NULL);
    chr_vc_input(c->chr, (const uint8_t *)answer, strlen(answer));
}

bool console_key(Console *c, KeyCode key, bool shift, bool ctrl)
{
    static const struct {
        const char *key, *text;
    } sequences[] = {
        {"ret", "\r"},         {"kp_enter", "\r"}, {"backspace", "\177"}, {"tab", "\t"},
        {"esc", "\033"},       {"up", "\033[A"},   {"down", "\033[B"},    {"right", "\033[C"},
        {"left", "\033[D"},    {"home", "\033[H"}, {"end", "\033[F"},     {"insert", "\033[2~"},
        {"delete", "\033[3~"},
    };
    const char *name = key_to_name(key);
    int page = (int)c->vt.rows / 2;
    if (!name)
        return false;
    if (strcmp(name, "pgup") == 0 || strcmp(name, "pgdn") == 0) {
        console_scroll(c, name[2] == 'u' ? page : -page);
        return true;
    }
    if (ctrl && !name[1] && g_ascii_isalpha(name[0])) {
        console_type(c, (const char[]){(char)(name[0] & 0x1f), 0});
        return true;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(sequences); i++) {
        if (strcmp(name, sequences[i].key) == 0) {
            console_type(c, sequences[i].text);
            return true;
        }
    }
    return false;
}

/* ---- The chardev's side ---- */

static void *vc_create(Chardev *chr, unsigned columns, unsigned rows)
{
    Console *c = g_new0(Console, 1);
    vt_init(&c->vt, columns ? MIN(columns, COLUMNS_MAX) : COLUMNS,
            rows ? MIN(rows, ROWS_MAX) : ROWS);
    c->vt.reply = reply;
    c->vt.opaque = c;
    c->chr = chr;
    c->replies = g_string_new(NULL);
    c->reply_bh = bh_new(loop_main(), send_replies, c);
    c->drawn = g_new0(uint32_t, c->vt.columns * c->vt.rows);
    c->text = g_new0(uint16_t, c->vt.columns * c->vt.rows);
    c->draw_all = true;
    c->display = display_new_console(chr_id(chr), &console_ops, c);
    display_set_surface(c->display,
                        surface_new(c->vt.columns * FONT_WIDTH, c->vt.rows * FONT_HEIGHT));
    return c;
}

static void vc_write(void *console, const uint8_t *buf, size_t length)
{
    Console *c = console;
    unsigned base = c->vt.base;
    vt_write(&c->vt, buf, length);
    /* Who reads the history goes on seeing the same lines. */
    if (c->back)
        console_scroll(c, (int)((c->vt.base + c->vt.total - base) % c->vt.total));
}

static void vc_destroy(void *console)
{
    Console *c = console;
    display_free(c->display);
    bh_free(c->reply_bh);
    g_string_free(c->replies, TRUE);
    vt_fini(&c->vt);
    g_free(c->drawn);
    g_free(c->text);
    g_free(c);
}

const ChrVcOps console_vc_ops = {.create = vc_create, .write = vc_write, .destroy = vc_destroy};
