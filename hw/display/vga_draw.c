/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA: bringing the surface up to date.
 *
 * A refresh computes frame and palette from the registers.  If they differ from last time
 * everything is drawn; else only lines whose pages of display memory are dirty (characters that
 * changed, in text modes).  A linear mode of 32 bits a pixel is not drawn at all: its surface lies
 * in display memory itself.
 */
#include "vga_core.h"

static void sync_dirty(VgaCore *s, uint32_t length, bool *any)
{
    if (s->machine->hooks.dirty_sync)
        s->machine->hooks.dirty_sync(s->machine, &s->vram);
    *any = ram_snapshot_dirty(s->vram.ram, DIRTY_VGA, 0, length, s->dirty);
}

static bool pages_dirty(const VgaCore *s, uint32_t addr, uint32_t length)
{
    uint32_t last = (addr + length - 1) >> RAM_PAGE_BITS;
    for (uint32_t page = addr >> RAM_PAGE_BITS; page <= last; page++) {
        if (s->dirty[page / (8 * sizeof(long))] >> page % (8 * sizeof(long)) & 1)
            return true;
    }
    return false;
}

/* addr < wrap; the line may run over the end. */
static bool line_dirty(const VgaCore *s, uint32_t addr, uint32_t length)
{
    uint32_t room = s->frame.wrap - addr;
    if (length <= room)
        return pages_dirty(s, addr, length);
    return pages_dirty(s, addr, room) || pages_dirty(s, 0, length - room);
}

static const uint8_t *line_bytes(VgaCore *s, uint32_t addr, uint32_t length)
{
    const uint8_t *vram = region_ram_ptr(&s->vram);
    uint32_t room = s->frame.wrap - addr;
    if (length <= room)
        return vram + addr;
    memcpy(s->bytes, vram + addr, room);
    memcpy(s->bytes + room, vram, length - room);
    return s->bytes;
}

/* Walks the rows of a graphics frame from top to bottom. */
typedef struct Walk {
    uint32_t addr; /* of the row, wrapped */
    unsigned scan, again, y, pan;
} Walk;

static Walk walk_start(const VgaFrame *f)
{
    return (Walk){.addr = f->start & (f->wrap - 1), .scan = f->first_scan, .pan = f->pan};
}

static uint32_t walk_addr(const Walk *w, const VgaFrame *f)
{
    uint32_t addr = w->addr;
    for (unsigned i = 0; i < 2; i++) {
        if (f->row_bit[i])
            addr = (addr & ~f->row_bit[i]) | (w->scan >> i & 1 ? f->row_bit[i] : 0);
    }
    return addr & (f->wrap - 1);
}

static void walk_next(Walk *w, const VgaFrame *f)
{
    if (++w->y == f->split) {
        w->addr = w->scan = w->again = 0;
        w->pan = f->pan_below;
    } else if (++w->again == f->repeat) {
        w->again = 0;
        if (++w->scan == f->row_scans) {
            w->scan = 0;
            w->addr = (w->addr + f->stride) & (f->wrap - 1);
        }
    }
}

static void draw_line(VgaCore *s, uint32_t *out, uint32_t addr, unsigned pan)
{
    const VgaFrame *f = &s->frame;
    VgaLineFn *fn = vga_line_fn(f);
    unsigned count = f->width / f->dots;
    const uint8_t *in = line_bytes(s, addr, vga_line_bytes(f, count + pan));
    if (f->dots == 1 && pan == 0 && count % 8 == 0) {
        fn(s->palette, out, in, count);
        return;
    }
    fn(s->palette, s->line, in, count + pan);
    for (unsigned x = 0; x < f->width; x++)
        out[x] = s->line[x / f->dots + pan];
}

static void draw_graphics(VgaCore *s, Surface *surface, bool all)
{
    const VgaFrame *f = &s->frame;
    unsigned count = f->width / f->dots, first = 0;
    bool in_run = false;
    for (Walk w = walk_start(f); w.y < f->height; walk_next(&w, f)) {
        uint32_t addr = walk_addr(&w, f);
        bool changed = all || line_dirty(s, addr, vga_line_bytes(f, count + w.pan));
        if (changed && !surface->borrowed)
            draw_line(s, surface->pixels + (size_t)w.y * (surface->stride / 4), addr, w.pan);
        if (changed && !in_run)
            first = w.y;
        if (!changed && in_run)
            display_update(s->display, 0, first, f->width, w.y - first);
        in_run = changed;
    }
    if (in_run)
        display_update(s->display, 0, first, f->width, f->height - first);
}

/* Where a frame's pixels stand ready in display memory, or NULL. */
static uint32_t *ready_pixels(const VgaCore *s, const VgaFrame *f)
{
    uint64_t end = f->start + (uint64_t)(f->height - 1) * f->stride + f->width * 4u;
    if (f->kind != VGA_32 || f->big_endian != (G_BYTE_ORDER == G_BIG_ENDIAN) || end > f->wrap ||
        f->start % 4)
        return NULL;
    return (uint32_t *)(void *)(region_ram_ptr(&s->vram) + f->start);
}

/* Gives the display a surface that fits the frame; true if it is a new one. */
static bool fit_surface(VgaCore *s)
{
    const VgaFrame *f = &s->frame;
    const Surface *now = display_surface(s->display);
    uint32_t *ready = ready_pixels(s, f);
    bool same_size = s->shown && now->width == f->width && now->height == f->height;
    if (same_size && (ready ? now->pixels == ready && now->stride == f->stride : !now->borrowed))
        return false;
    display_set_surface(s->display,
                        ready ? surface_new_borrowed(f->width, f->height, f->stride, ready)
                              : surface_new(f->width, f->height));
    s->shown = true;
    return true;
}

static void draw_blank(VgaCore *s)
{
    if (!s->shown)
        return; /* nobody has set a mode yet: the display's own notice stays */
    const Surface *now = display_surface(s->display);
    unsigned width = now->width, height = now->height; /* it goes away with the next line */
    display_set_surface(s->display, surface_new(width, height));
    display_update(s->display, 0, 0, width, height);
}

/* Takes over what the registers ask for; true if all must be drawn. */
static bool take_registers(VgaCore *s)
{
    bool all = s->draw_all;
    VgaFrame f;
    vga_frame_compute(s, &f);
    if (memcmp(&f, &s->frame, sizeof(f)) != 0) {
        memcpy(&s->frame, &f, sizeof(f)); /* padding too: it is compared */
        all = true;
    }
    uint32_t palette[256];
    vga_palette_compute(s, &f, palette);
    if (memcmp(palette, s->palette, sizeof(palette)) != 0) {
        memcpy(s->palette, palette, sizeof(palette));
        all = true;
    }
    s->draw_all = false;
    return all;
}

static void refresh(void *opaque)
{
    VgaCore *s = opaque;
    bool all = take_registers(s), touched;
    if (s->frame.kind == VGA_BLANK) {
        if (all)
            draw_blank(s);
        return;
    }
    all |= fit_surface(s);
    sync_dirty(s, s->frame.wrap, &touched);
    Surface *surface = display_surface(s->display);
    if (s->frame.kind == VGA_TEXT) {
        VgaCursor cursor;
        vga_cursor_compute(s, &cursor);
        bool moved = memcmp(&cursor, &s->cursor, sizeof(cursor)) != 0;
        memcpy(&s->cursor, &cursor, sizeof(cursor));
        if (touched || all)
            all |= vga_text_load_fonts(s);
        if (touched || all || moved)
            vga_text_draw(s, surface, all);
    } else if (touched || all) {
        draw_graphics(s, surface, all);
    }
}

static void invalidate(void *opaque)
{
    VgaCore *s = opaque;
    s->draw_all = true;
}

static bool text(void *opaque, unsigned *columns, unsigned *rows, const uint16_t **cells,
                 int *cursor)
{
    return vga_text_cells(opaque, columns, rows, cells, cursor);
}

const DisplayOps vga_display_ops = {.refresh = refresh, .invalidate = invalidate, .text = text};
