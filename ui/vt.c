/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal behind text consoles.  (ECMA-48; DEC VT100 user guide.) */
#include <string.h>

#include "console.h"
#include "font.h"

#define DEFAULT_FG 7
#define DEFAULT_BG 0
#define PARAM_MAX  9999

uint16_t *vt_line(const Vt *vt, int y)
{
    unsigned index = (unsigned)((int)(vt->base + vt->total) + y) % vt->total;
    return vt->cells + (size_t)index * vt->columns;
}

static uint16_t blank(const Vt *vt)
{
    return (uint16_t)(' ' | DEFAULT_FG << 8 | vt->bg << 12);
}

static uint16_t attribute(const Vt *vt)
{
    unsigned fg = vt->fg | (vt->bold ? 8 : 0), bg = vt->bg;
    return (uint16_t)(vt->reverse ? bg << 8 | (fg & 7) << 12 : fg << 8 | bg << 12);
}

static void clear(Vt *vt, unsigned y, unsigned x, unsigned count)
{
    uint16_t *line = vt_line(vt, (int)y);
    for (unsigned i = x; i < vt->columns && i < x + count; i++)
        line[i] = blank(vt);
}

static void clear_lines(Vt *vt, unsigned first, unsigned end)
{
    for (unsigned y = first; y < end; y++)
        clear(vt, y, 0, vt->columns);
}

static void move_line(Vt *vt, unsigned to, unsigned from)
{
    memcpy(vt_line(vt, (int)to), vt_line(vt, (int)from), vt->columns * sizeof(uint16_t));
}

/* Moves lines [first, bottom] up by count; what leaves a full screen goes into the history. */
static void scroll_up(Vt *vt, unsigned first, unsigned count)
{
    count = MIN(count, vt->bottom - first + 1);
    if (first == 0 && vt->bottom == vt->rows - 1) {
        vt->base = (vt->base + count) % vt->total;
        vt->history = MIN(vt->history + count, vt->total - vt->rows);
    } else {
        for (unsigned y = first; y + count <= vt->bottom; y++)
            move_line(vt, y, y + count);
    }
    clear_lines(vt, vt->bottom + 1 - count, vt->bottom + 1);
}

static void scroll_down(Vt *vt, unsigned first, unsigned count)
{
    count = MIN(count, vt->bottom - first + 1);
    for (unsigned y = vt->bottom; y >= first + count; y--)
        move_line(vt, y, y - count);
    clear_lines(vt, first, first + count);
}

static void move_to(Vt *vt, unsigned x, unsigned y)
{
    vt->x = MIN(x, vt->columns - 1);
    vt->y = MIN(y, vt->rows - 1);
    vt->wrap_pending = false;
}

static void line_feed(Vt *vt)
{
    vt->wrap_pending = false;
    if (vt->y == vt->bottom)
        scroll_up(vt, vt->top, 1);
    else if (vt->y + 1 < vt->rows)
        vt->y++;
}

static void reverse_line_feed(Vt *vt)
{
    vt->wrap_pending = false;
    if (vt->y == vt->top)
        scroll_down(vt, vt->top, 1);
    else if (vt->y > 0)
        vt->y--;
}

static void put(Vt *vt, uint32_t character)
{
    if (vt->wrap_pending) {
        vt->x = 0;
        line_feed(vt);
    }
    vt_line(vt, (int)vt->y)[vt->x] = cp437_from_unicode(character) | attribute(vt);
    if (vt->x + 1 < vt->columns)
        vt->x++;
    else
        vt->wrap_pending = true;
}

/* ---- Control sequences ---- */

/* Parameter n, or `missing` where it is absent or zero. */
static unsigned param(const Vt *vt, unsigned n, unsigned missing)
{
    return n < vt->param_count && vt->params[n] ? vt->params[n] : missing;
}

static unsigned ansi_color(unsigned n)
{
    return (n & 1) << 2 | (n & 2) | (n & 4) >> 2;
}

static void reset_graphics(Vt *vt)
{
    vt->bold = vt->reverse = false;
    vt->fg = DEFAULT_FG;
    vt->bg = DEFAULT_BG;
}

static void select_graphics(Vt *vt, unsigned n)
{
    if (n == 0)
        reset_graphics(vt);
    else if (n == 1)
        vt->bold = true;
    else if (n == 22)
        vt->bold = false;
    else if (n == 7 || n == 27)
        vt->reverse = n == 7;
    else if (n >= 30 && n <= 37)
        vt->fg = ansi_color(n - 30);
    else if (n >= 40 && n <= 47)
        vt->bg = ansi_color(n - 40);
    else if (n >= 90 && n <= 97)
        vt->fg = ansi_color(n - 90) | 8;
    else if (n >= 100 && n <= 107)
        vt->bg = ansi_color(n - 100) | 8;
    else if (n == 39)
        vt->fg = DEFAULT_FG;
    else if (n == 49)
        vt->bg = DEFAULT_BG;
}

static void erase_display(Vt *vt, unsigned what)
{
    if (what == 0) {
        clear(vt, vt->y, vt->x, vt->columns);
        clear_lines(vt, vt->y + 1, vt->rows);
    } else if (what == 1) {
        clear_lines(vt, 0, vt->y);
        clear(vt, vt->y, 0, vt->x + 1);
    } else if (what == 2) {
        clear_lines(vt, 0, vt->rows);
    } else if (what == 3) {
        vt->history = 0;
    }
}

static void erase_line(Vt *vt, unsigned what)
{
    if (what == 0)
        clear(vt, vt->y, vt->x, vt->columns);
    else if (what == 1)
        clear(vt, vt->y, 0, vt->x + 1);
    else if (what == 2)
        clear(vt, vt->y, 0, vt->columns);
}

/* Inserts (or deletes) count characters at the cursor; the rest of the line makes room. */
static void shift_characters(Vt *vt, unsigned count, bool insert)
{
    uint16_t *at = vt_line(vt, (int)vt->y) + vt->x;
    unsigned rest = vt->columns - vt->x;
    count = MIN(count, rest);
    if (insert) {
        memmove(at + count, at, (rest - count) * sizeof(*at));
        clear(vt, vt->y, vt->x, count);
    } else {
        memmove(at, at + count, (rest - count) * sizeof(*at));
        clear(vt, vt->y, vt->columns - count, count);
    }
}

static void shift_lines(Vt *vt, unsigned count, bool insert)
{
    if (vt->y < vt->top || vt->y > vt->bottom)
        return;
    if (insert) {
        scroll_down(vt, vt->y, count);
    } else {
        /* Deleted lines are not history. */
        unsigned history = vt->history, base = vt->base;
        if (vt->y == 0 && vt->bottom == vt->rows - 1) {
            count = MIN(count, vt->rows);
            for (unsigned y = 0; y + count < vt->rows; y++)
                move_line(vt, y, y + count);
            clear_lines(vt, vt->rows - count, vt->rows);
        } else {
            scroll_up(vt, vt->y, count);
        }
        vt->history = history;
        vt->base = base;
    }
}

static void set_region(Vt *vt)
{
    unsigned top = param(vt, 0, 1) - 1, bottom = param(vt, 1, vt->rows) - 1;
    if (bottom >= vt->rows)
        bottom = vt->rows - 1;
    if (top >= bottom)
        return;
    vt->top = top;
    vt->bottom = bottom;
    move_to(vt, 0, 0);
}

static void report(Vt *vt)
{
    char text[32];
    if (vt->params[0] == 5)
        g_strlcpy(text, "\033[0n", sizeof(text));
    else if (vt->params[0] == 6)
        g_snprintf(text, sizeof(text), "\033[%u;%uR", vt->y + 1, vt->x + 1);
    else
        return;
    if (vt->reply)
        vt->reply(vt->opaque, text);
}

static void move_cursor(Vt *vt, char final)
{
    unsigned n = param(vt, 0, 1);
    switch (final) {
    case 'A':
    case 'F':
        move_to(vt, final == 'F' ? 0 : vt->x, vt->y > n ? vt->y - n : 0);
        break;
    case 'B':
    case 'E':
        move_to(vt, final == 'E' ? 0 : vt->x, vt->y + n);
        break;
    case 'C':
        move_to(vt, vt->x + n, vt->y);
        break;
    case 'D':
        move_to(vt, vt->x > n ? vt->x - n : 0, vt->y);
        break;
    case 'G':
        move_to(vt, n - 1, vt->y);
        break;
    case 'd':
        move_to(vt, vt->x, n - 1);
        break;
    default: /* H, f */
        move_to(vt, param(vt, 1, 1) - 1, n - 1);
        break;
    }
}

static void control_sequence(Vt *vt, char final)
{
    if (vt->private_mode) {
        if (vt->params[0] == 25 && (final == 'h' || final == 'l'))
            vt->cursor_hidden = final == 'l';
        return;
    }
    switch (final) {
    case 'A' ... 'H':
    case 'd':
    case 'f':
        move_cursor(vt, final);
        break;
    case 'J':
        erase_display(vt, vt->params[0]);
        break;
    case 'K':
        erase_line(vt, vt->params[0]);
        break;
    case 'L':
    case 'M':
        shift_lines(vt, param(vt, 0, 1), final == 'L');
        break;
    case '@':
    case 'P':
        shift_characters(vt, param(vt, 0, 1), final == '@');
        break;
    case 'X':
        clear(vt, vt->y, vt->x, param(vt, 0, 1));
        break;
    case 'S':
        scroll_up(vt, vt->top, param(vt, 0, 1));
        break;
    case 'T':
        scroll_down(vt, vt->top, param(vt, 0, 1));
        break;
    case 'm':
        for (unsigned i = 0; i < vt->param_count; i++)
            select_graphics(vt, vt->params[i]);
        break;
    case 'n':
        report(vt);
        break;
    case 'r':
        set_region(vt);
        break;
    case 's':
        vt->saved_x = vt->x;
        vt->saved_y = vt->y;
        break;
    case 'u':
        move_to(vt, vt->saved_x, vt->saved_y);
        break;
    }
}

static void csi_byte(Vt *vt, uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        unsigned *p = &vt->params[vt->param_count - 1];
        *p = MIN(*p * 10 + (byte - '0'), PARAM_MAX);
    } else if (byte == ';') {
        if (vt->param_count < VT_PARAMS)
            vt->params[vt->param_count++] = 0;
    } else if (byte == '?') {
        vt->private_mode = true;
    } else if (byte >= 0x40 && byte <= 0x7e) {
        vt->mode = VT_GROUND;
        control_sequence(vt, (char)byte);
    }
}

static void reset(Vt *vt)
{
    reset_graphics(vt);
    vt->top = 0;
    vt->bottom = vt->rows - 1;
    vt->cursor_hidden = false;
    clear_lines(vt, 0, vt->rows);
    move_to(vt, 0, 0);
}

static void escape_byte(Vt *vt, uint8_t byte)
{
    vt->mode = VT_GROUND;
    switch (byte) {
    case '[':
        vt->mode = VT_CSI;
        memset(vt->params, 0, sizeof(vt->params));
        vt->param_count = 1;
        vt->private_mode = false;
        break;
    case ']':
    case 'P':
    case '_':
    case '^':
        vt->mode = VT_STRING;
        break;
    case '(':
    case ')':
    case '#':
    case '%':
        vt->mode = VT_CHARSET;
        break;
    case 'D':
        line_feed(vt);
        break;
    case 'E':
        vt->x = 0;
        line_feed(vt);
        break;
    case 'M':
        reverse_line_feed(vt);
        break;
    case '7':
        vt->saved_x = vt->x;
        vt->saved_y = vt->y;
        break;
    case '8':
        move_to(vt, vt->saved_x, vt->saved_y);
        break;
    case 'c':
        reset(vt);
        break;
    }
}

/* ---- Text ---- */

static void control(Vt *vt, uint8_t byte)
{
    switch (byte) {
    case '\b':
        move_to(vt, vt->x ? vt->x - 1 : 0, vt->y);
        break;
    case '\t':
        move_to(vt, (vt->x | 7) + 1, vt->y);
        break;
    case '\n':
    case '\v':
    case '\f':
        line_feed(vt);
        break;
    case '\r':
        move_to(vt, 0, vt->y);
        break;
    case 0x18:
    case 0x1a:
        vt->mode = VT_GROUND;
        break;
    case 0x1b:
        vt->mode = vt->mode == VT_STRING ? VT_STRING_ESCAPE : VT_ESCAPE;
        break;
    }
}

static void utf8_byte(Vt *vt, uint8_t byte)
{
    if (byte < 0x80) {
        vt->utf8_left = 0;
        put(vt, byte);
    } else if (byte < 0xc0) {
        if (vt->utf8_left == 0) {
            put(vt, 0xfffd);
            return;
        }
        vt->utf8 = vt->utf8 << 6 | (byte & 0x3f);
        if (--vt->utf8_left == 0)
            put(vt, vt->utf8);
    } else {
        vt->utf8_left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        vt->utf8 = byte & (0x3fu >> vt->utf8_left);
    }
}

static void vt_byte(Vt *vt, uint8_t byte)
{
    if (vt->mode == VT_STRING) {
        if (byte == 0x07)
            vt->mode = VT_GROUND;
        else if (byte == 0x1b)
            vt->mode = VT_STRING_ESCAPE;
        return;
    }
    if (byte < 0x20) {
        control(vt, byte);
        return;
    }
    switch (vt->mode) {
    case VT_ESCAPE:
        escape_byte(vt, byte);
        break;
    case VT_CSI:
        csi_byte(vt, byte);
        break;
    case VT_CHARSET:
    case VT_STRING_ESCAPE:
        vt->mode = VT_GROUND;
        break;
    default:
        if (byte != 0x7f)
            utf8_byte(vt, byte);
        break;
    }
}

void vt_write(Vt *vt, const uint8_t *buf, size_t length)
{
    for (size_t i = 0; i < length; i++)
        vt_byte(vt, buf[i]);
}

void vt_init(Vt *vt, unsigned columns, unsigned rows)
{
    memset(vt, 0, sizeof(*vt));
    vt->columns = columns;
    vt->rows = rows;
    vt->total = rows + VT_SCROLLBACK;
    vt->cells = g_new0(uint16_t, (size_t)vt->total * columns);
    reset(vt);
}

void vt_fini(Vt *vt)
{
    g_free(vt->cells);
}
