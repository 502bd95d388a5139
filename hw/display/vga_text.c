/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA text modes: characters in plane 0, attributes in plane 1, fonts in plane 2.
 *
 * Each character on the screen has a key of everything that its look depends on, apart from palette
 * and fonts; a refresh draws those whose key changed.
 */
#include "util/bytes.h"
#include "vga_core.h"

/* A run of scan lines that show one row of characters. */
typedef struct Band {
    unsigned index;
    uint32_t addr; /* of the first character, wrapped */
    unsigned y, lines;
    unsigned scan; /* of the first line */
    unsigned pan;
} Band;

/* Key: character 0-7, foreground 8-11, background 12-15, font 16, underline 17, cursor 18. */
enum { KEY_FONT = 1 << 16, KEY_UNDERLINE = 1 << 17, KEY_CURSOR = 1 << 18 };

bool vga_text_load_fonts(VgaCore *s)
{
    const uint8_t *vram = region_ram_ptr(&s->vram);
    bool changed = false;
    for (unsigned n = 0; n < 2; n++) {
        uint8_t now[VGA_FONT_BYTES];
        for (unsigned i = 0; i < VGA_FONT_BYTES; i++)
            now[i] = vram[s->frame.font[n] + i * 4];
        if (memcmp(now, s->fonts[n], sizeof(now)) != 0) {
            memcpy(s->fonts[n], now, sizeof(now));
            changed = true;
        }
    }
    return changed;
}

static uint32_t cell_key(const VgaCore *s, uint32_t addr)
{
    const uint8_t *cell = region_ram_ptr(&s->vram) + addr;
    uint8_t attr = cell[1];
    unsigned fg = attr & 15, bg = attr >> 4;
    if (s->frame.blink) {
        bg &= 7;
        if ((attr & 0x80) && s->cursor.blinked_off)
            fg = bg;
    }
    uint32_t key = cell[0] | fg << 8 | bg << 12;
    if (attr & 8)
        key |= KEY_FONT;
    if ((attr & 7) == 1)
        key |= KEY_UNDERLINE;
    if (addr == s->cursor.addr)
        key |= KEY_CURSOR | s->cursor.first << 19 | s->cursor.last << 24;
    return key;
}

/* The dots of one scan line of a character, leftmost in the highest of cell_dots bits. */
static unsigned cell_dots(const VgaCore *s, uint32_t key, unsigned scan)
{
    const VgaFrame *f = &s->frame;
    uint8_t c = (uint8_t)key;
    bool cursor = (key & KEY_CURSOR) && scan >= s->cursor.first && scan <= s->cursor.last;
    if (cursor || ((key & KEY_UNDERLINE) && scan == f->underline))
        return 0x1ff;
    unsigned dots = s->fonts[key & KEY_FONT ? 1 : 0][c * 32 + (scan & 31)];
    if (f->cell_dots == 8)
        return dots;
    /* The ninth dot continues line drawing characters. */
    return dots << 1 | (f->line_graphics && c >= 0xc0 && c <= 0xdf ? dots & 1 : 0);
}

static void draw_cell(const VgaCore *s, Surface *surface, const Band *band, unsigned column,
                      uint32_t key)
{
    const VgaFrame *f = &s->frame;
    uint32_t fg = s->palette[key >> 8 & 15], bg = s->palette[key >> 12 & 15];
    int left = (int)(column * f->cell_dots) - (int)band->pan;
    for (unsigned i = 0; i < band->lines; i++) {
        unsigned dots = cell_dots(s, key, band->scan + i / f->repeat);
        uint32_t *row = surface->pixels + (size_t)(band->y + i) * (surface->stride / 4);
        for (unsigned d = 0; d < f->cell_dots; d++) {
            int x = (left + (int)d) * (int)f->dots;
            if (x < 0 || x >= (int)f->width)
                continue;
            uint32_t color = dots >> (f->cell_dots - 1 - d) & 1 ? fg : bg;
            row[x] = color;
            if (f->dots == 2)
                row[x + 1] = color;
        }
    }
}

static void draw_band(VgaCore *s, Surface *surface, const Band *band, bool all)
{
    const VgaFrame *f = &s->frame;
    unsigned shown = f->columns + (band->pan ? 1 : 0);
    uint32_t *keys = &s->cells[band->index * (f->columns + 1)];
    unsigned first = UINT_MAX, last = 0;
    for (unsigned c = 0; c < shown; c++) {
        uint32_t key = cell_key(s, (band->addr + c * 4) & (f->wrap - 1));
        if (!all && key == keys[c])
            continue;
        keys[c] = key;
        draw_cell(s, surface, band, c, key);
        first = MIN(first, c);
        last = c;
    }
    if (all || first == UINT_MAX)
        return;
    unsigned dot = first * f->cell_dots;
    unsigned x = (dot > band->pan ? dot - band->pan : 0) * f->dots;
    unsigned end = ((last + 1) * f->cell_dots - band->pan) * f->dots;
    display_update(s->display, x, band->y, MIN(end, f->width) - x, band->lines);
}

/* Room for the keys of every band that the frame can have: rows, and one more on either side of the
 * split. */
static void fit_cells(VgaCore *s)
{
    const VgaFrame *f = &s->frame;
    unsigned bands = f->height / (f->row_scans * f->repeat) + 3;
    unsigned count = bands * (f->columns + 1);
    if (count == s->cell_count)
        return;
    s->cells = g_renew(uint32_t, s->cells, count);
    s->cell_count = count;
}

void vga_text_draw(VgaCore *s, Surface *surface, bool all)
{
    const VgaFrame *f = &s->frame;
    if (all)
        fit_cells(s);
    Band b = {.addr = f->start & (f->wrap - 1), .scan = f->first_scan, .pan = f->pan};
    while (b.y < f->height) {
        unsigned next = MIN(b.y + (f->row_scans - b.scan) * f->repeat, f->height);
        if (b.y < f->split && next > f->split)
            next = f->split;
        b.lines = next - b.y;
        draw_band(s, surface, &b, all);
        b.index++;
        b.y = next;
        b.scan = 0;
        b.addr = (b.addr + f->stride) & (f->wrap - 1);
        if (b.y == f->split) {
            b.addr = 0;
            b.pan = f->pan_below;
        }
    }
    if (all)
        display_update(s->display, 0, 0, f->width, f->height);
}

bool vga_text_cells(VgaCore *s, unsigned *columns, unsigned *rows, const uint16_t **cells,
                    int *cursor)
{
    VgaFrame f;
    vga_frame_compute(s, &f);
    if (f.kind != VGA_TEXT)
        return false;
    const uint8_t *vram = region_ram_ptr(&s->vram);
    *columns = f.columns;
    *rows = MAX(1, f.height / (f.row_scans * f.repeat));
    *cursor = -1;
    s->text_cells = g_renew(uint16_t, s->text_cells, *columns * *rows);
    uint32_t at = (uint32_t)(s->cr[CR_CURSOR_HIGH] << 8 | s->cr[CR_CURSOR_LOW]) * 4;
    bool cursor_on = !(s->cr[CR_CURSOR_START] & 0x20);
    for (unsigned i = 0; i < *columns * *rows; i++) {
        uint32_t addr = f.start + i / *columns * f.stride + i % *columns * 4;
        addr &= f.wrap - 1;
        s->text_cells[i] = ld16_le(vram + addr);
        if (cursor_on && addr == at)
            *cursor = (int)i;
    }
    *cells = s->text_cells;
    return true;
}
