/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA: what stands on the screen, pixel by pixel, and what a refresh reports as changed. */
#include <string.h>

#include "test-vga.h"
#include "util/timer.h"

/* ---- Text ---- */

/* Writes a glyph into plane 2, as a BIOS does. */
static void load_glyph(VgaTest *t, unsigned font_offset, uint8_t character, const uint8_t rows[16])
{
    uint8_t map = get_reg(t, 0x3c4, 2), mode = get_reg(t, 0x3c4, 4);
    uint8_t gr5 = get_reg(t, 0x3ce, 5), gr6 = get_reg(t, 0x3ce, 6);
    set_reg(t, 0x3c4, 2, 4);
    set_reg(t, 0x3c4, 4, 6);
    set_reg(t, 0x3ce, 5, 0);
    set_reg(t, 0x3ce, 6, 4);
    for (unsigned i = 0; i < 16; i++)
        writeb(t->m, 0xa0000 + font_offset + character * 32 + i, rows[i]);
    set_reg(t, 0x3c4, 2, map);
    set_reg(t, 0x3c4, 4, mode);
    set_reg(t, 0x3ce, 5, gr5);
    set_reg(t, 0x3ce, 6, gr6);
}

static void put_cell(VgaTest *t, unsigned x, unsigned y, uint8_t character, uint8_t attribute)
{
    writew(t->m, 0xb8000 + (y * 80 + x) * 2, (uint16_t)(character | attribute << 8));
}

static const uint8_t glyph_a[16] = {0x81, 0x42, 0x24, 0x18, 0xff, 0, 0xf0, 0x0f, 1, 2, 4, 8};
static const uint8_t glyph_b[16] = {0xff, 0x01, 0xfe, 0x01};

static void start_text(VgaTest *t)
{
    vga_test_start(t, NULL);
    set_mode(t, &mode_3);
    set_reg(t, 0x3d4, 0x0a, 0x20); /* no cursor */
    for (unsigned i = 0; i < 80 * 25; i++)
        writew(t->m, 0xb8000 + i * 2, 0x0720);
    load_glyph(t, 0, 'A', glyph_a);
    load_glyph(t, 0, 0xc4, glyph_b);
    load_glyph(t, 0, 'B', glyph_b);
}

/* The 16 text colours of mode 3, through the palette registers. */
static uint32_t text_color(unsigned n)
{
    return color(mode_3.ar[n]);
}

/* Compares a 9x16 cell with a glyph. */
static void check_cell(VgaTest *t, unsigned x, unsigned y, const uint8_t rows[16], unsigned fg,
                       unsigned bg, bool ninth)
{
    for (unsigned i = 0; i < 16; i++) {
        for (unsigned d = 0; d < 9; d++) {
            bool on = d < 8 ? rows[i] >> (7 - d) & 1 : ninth && (rows[i] & 1);
            assert_pixel(t, x * 9 + d, y * 16 + i, text_color(on ? fg : bg));
        }
    }
}

static void test_text(void)
{
    static const uint8_t empty[16];
    VgaTest t;
    start_text(&t);
    put_cell(&t, 0, 0, 'A', 0x1e);
    put_cell(&t, 79, 24, 'A', 0x70);
    put_cell(&t, 3, 2, 0xc4, 0x07); /* line drawing: the ninth dot follows */
    put_cell(&t, 4, 2, 'B', 0x07);
    refresh(&t);
    assert_size(&t, 720, 400);
    check_cell(&t, 0, 0, glyph_a, 14, 1, false);
    check_cell(&t, 79, 24, glyph_a, 0, 7, false);
    check_cell(&t, 3, 2, glyph_b, 7, 0, true);
    check_cell(&t, 4, 2, glyph_b, 7, 0, false);
    check_cell(&t, 5, 2, empty, 7, 0, false);

    unsigned columns, rows;
    const uint16_t *cells;
    int cursor;
    g_assert_true(display_text(t.display, &columns, &rows, &cells, &cursor));
    g_assert_cmpuint(columns, ==, 80);
    g_assert_cmpuint(rows, ==, 25);
    g_assert_cmphex(cells[0], ==, 0x1e41);
    g_assert_cmphex(cells[24 * 80 + 79], ==, 0x7041);
    g_assert_cmpint(cursor, ==, -1);
    set_reg(&t, 0x3d4, 0x0a, 0x0d);
    set_reg(&t, 0x3d4, 0x0f, 81);
    g_assert_true(display_text(t.display, &columns, &rows, &cells, &cursor));
    g_assert_cmpint(cursor, ==, 81);
    vga_test_end(&t);
}

static void test_text_eight_dots(void)
{
    VgaTest t;
    start_text(&t);
    set_reg(&t, 0x3c4, 1, 1);
    set_ar(&t, 0x13, 0);
    put_cell(&t, 79, 0, 0xc4, 0x1f);
    refresh(&t);
    assert_size(&t, 640, 400);
    for (unsigned d = 0; d < 8; d++)
        assert_pixel(&t, 632 + d, 2, text_color(d < 7 ? 15 : 1));
    /* 40 columns: dots twice as wide. */
    set_reg(&t, 0x3c4, 1, 8);
    set_ar(&t, 0x13, 8);
    set_reg(&t, 0x3d4, 1, 39);
    put_cell(&t, 1, 0, 'A', 0x1f);
    refresh(&t);
    assert_size(&t, 720, 400);
    for (unsigned d = 0; d < 16; d++)
        assert_pixel(&t, 18 + d, 1, text_color(0x42 >> (7 - d / 2) & 1 ? 15 : 1));
    vga_test_end(&t);
}

static void test_second_font(void)
{
    VgaTest t;
    start_text(&t);
    load_glyph(&t, 0x6000, 'A', glyph_b); /* map 5: 24 KiB */
    set_reg(&t, 0x3c4, 3, 0x24);          /* map A = 5, map B = 0 */
    put_cell(&t, 0, 0, 'A', 0x07);
    put_cell(&t, 1, 0, 'A', 0x0f);
    refresh(&t);
    check_cell(&t, 0, 0, glyph_a, 7, 0, false);
    check_cell(&t, 1, 0, glyph_b, 15, 0, false);
    load_glyph(&t, 0x6000, 'A', glyph_a); /* a new font redraws what uses it */
    refresh(&t);
    check_cell(&t, 1, 0, glyph_a, 15, 0, false);
    vga_test_end(&t);
}

static void test_cursor(void)
{
    VgaTest t;
    start_text(&t);
    put_cell(&t, 2, 1, 'A', 0x1e);
    set_reg(&t, 0x3d4, 0x0a, 13);
    set_reg(&t, 0x3d4, 0x0b, 14);
    set_reg(&t, 0x3d4, 0x0f, 82);
    refresh(&t);
    for (unsigned y = 12; y < 16; y++) {
        for (unsigned d = 0; d < 9; d++)
            assert_pixel(&t, 18 + d, 16 + y, text_color(y == 13 || y == 14 ? 14 : 1));
    }
    /* It blinks; only its cell is drawn. */
    vclock_step(230 * NS_PER_MS);
    refresh(&t);
    check_cell(&t, 2, 1, glyph_a, 14, 1, false);
    g_assert_cmpuint(t.updates.count, ==, 1);
    g_assert_cmpuint(t.updates.left, ==, 18);
    g_assert_cmpuint(t.updates.top, ==, 16);
    g_assert_cmpuint(t.updates.right, ==, 27);
    g_assert_cmpuint(t.updates.bottom, ==, 32);
    vclock_step(230 * NS_PER_MS);
    refresh(&t);
    assert_pixel(&t, 18, 16 + 13, text_color(14));
    /* It moves: the old place and the new one are drawn. */
    set_reg(&t, 0x3d4, 0x0f, 85);
    refresh(&t);
    check_cell(&t, 2, 1, glyph_a, 14, 1, false);
    assert_pixel(&t, 45, 16 + 13, text_color(7));
    /* End before start: none. */
    set_reg(&t, 0x3d4, 0x0b, 12);
    refresh(&t);
    assert_pixel(&t, 45, 16 + 13, text_color(0));
    vga_test_end(&t);
}

static void test_blink_and_underline(void)
{
    VgaTest t;
    start_text(&t);
    put_cell(&t, 0, 0, 'A', 0x9e);
    put_cell(&t, 1, 0, 'A', 0x01);
    put_cell(&t, 2, 0, 'A', 0x02);
    set_ar(&t, 0x10, 0x04);
    refresh(&t);
    check_cell(&t, 0, 0, glyph_a, 14, 9, false); /* bright background */
    set_ar(&t, 0x10, 0x0c);
    set_reg(&t, 0x3d4, 0x14, 0x0f);
    refresh(&t);
    check_cell(&t, 0, 0, glyph_a, 14, 1, false);
    for (unsigned d = 0; d < 9; d++) {
        assert_pixel(&t, 9 + d, 15, text_color(1));
        assert_pixel(&t, 18 + d, 15, text_color(0));
    }
    vclock_step(460 * NS_PER_MS);
    refresh(&t);
    g_assert_cmpuint(t.updates.right, ==, 9);
    check_cell(&t, 0, 0, glyph_a, 1, 1, false);
    vga_test_end(&t);
}

/* Smooth scrolling, and a lower part that stays. */
static void test_text_split(void)
{
    VgaTest t;
    start_text(&t);
    for (unsigned y = 0; y < 60; y++) {
        for (unsigned x = 0; x < 80; x++)
            put_cell(&t, x, y, ' ', (uint8_t)(y % 8 << 4));
    }
    put_cell(&t, 80, 9, 'A', 0x1f); /* first of row 10 */
    set_reg(&t, 0x3d4, 0x0d, 10 * 80 & 0xff);
    set_reg(&t, 0x3d4, 0x0c, 10 * 80 >> 8);
    set_reg(&t, 0x3d4, 0x08, 5);    /* five lines are scrolled out */
    set_ar(&t, 0x13, 2);            /* and three dots */
    set_reg(&t, 0x3d4, 0x07, 0x0f); /* line compare 199 */
    set_reg(&t, 0x3d4, 0x09, 0x0f);
    set_reg(&t, 0x3d4, 0x18, 199);
    refresh(&t);
    assert_pixel(&t, 2, 0, text_color(10 % 8 == 2 ? 1 : 0)); /* glyph row 5 is empty */
    assert_pixel(&t, 0, 1, text_color(15));                  /* row 6: 0xf0, three dots gone */
    assert_pixel(&t, 1, 1, text_color(1));
    assert_pixel(&t, 100, 10, text_color(2));
    assert_pixel(&t, 100, 11, text_color(3));
    assert_pixel(&t, 100, 199, text_color((10 + (199 + 5) / 16) % 8));
    assert_pixel(&t, 100, 200, text_color(0)); /* the top of memory */
    assert_pixel(&t, 100, 215, text_color(0));
    assert_pixel(&t, 100, 216, text_color(1));
    assert_pixel(&t, 719, 30, text_color(5)); /* the 81st character, first of the next row */
    /* With the split unpanned the first column starts at the edge again. */
    put_cell(&t, 0, 0, 'A', 0x1f);
    refresh(&t);
    assert_pixel(&t, 0, 206, text_color(15));
    assert_pixel(&t, 1, 206, text_color(1));
    set_ar(&t, 0x10, 0x24);
    refresh(&t);
    assert_pixel(&t, 3, 206, text_color(15));
    assert_pixel(&t, 4, 206, text_color(1));
    vga_test_end(&t);
}

/* ---- Graphics ---- */

static void test_mode_13(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    for (unsigned i = 0; i < 64000; i++)
        writeb(t.m, 0xa0000 + i, (uint8_t)(i * 7 + i / 320));
    refresh(&t);
    assert_size(&t, 640, 400);
    for (unsigned y = 0; y < 400; y += 3) {
        for (unsigned x = 0; x < 640; x++) {
            unsigned i = y / 2 * 320 + x / 2;
            assert_pixel(&t, x, y, color((uint8_t)(i * 7 + i / 320)));
        }
    }
    /* Panning by two dots, start address, colours through the DAC mask. */
    set_ar(&t, 0x13, 4);
    set_reg(&t, 0x3d4, 0x0d, 80); /* one line */
    outb(t.m, 0x3c6, 0x7f);
    refresh(&t);
    for (unsigned x = 0; x < 640; x++) {
        unsigned i = 320 + x / 2 + 2;
        assert_pixel(&t, x, 0, color((uint8_t)(i * 7 + i / 320) & 0x7f));
    }
    vga_test_end(&t);
}

/* 320x240 unchained: four planes, page flips. */
static void test_mode_x(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    set_reg(&t, 0x3c4, 4, 6);
    set_reg(&t, 0x3d4, 0x14, 0);
    set_reg(&t, 0x3d4, 0x17, 0xe3);
    set_reg(&t, 0x3d4, 0x07, 0x3e);
    set_reg(&t, 0x3d4, 0x12, 0xdf);
    for (unsigned plane = 0; plane < 4; plane++) {
        set_reg(&t, 0x3c4, 2, (uint8_t)(1 << plane));
        for (unsigned i = 0; i < 80 * 240; i++) {
            unsigned x = i % 80 * 4 + plane, y = i / 80;
            writeb(t.m, 0xa0000 + i, (uint8_t)(x + y * 3));
            writeb(t.m, 0xa0000 + 0x5000 + i, (uint8_t)(x ^ y));
        }
    }
    refresh(&t);
    assert_size(&t, 640, 480);
    for (unsigned y = 0; y < 480; y += 7) {
        for (unsigned x = 0; x < 640; x += 3)
            assert_pixel(&t, x, y, color((uint8_t)(x / 2 + y / 2 * 3)));
    }
    set_reg(&t, 0x3d4, 0x0c, 0x50);
    refresh(&t);
    for (unsigned y = 0; y < 480; y += 7) {
        for (unsigned x = 0; x < 640; x += 3)
            assert_pixel(&t, x, y, color((uint8_t)(x / 2 ^ y / 2)));
    }
    /* Near the end of the planes the picture goes on at their start. */
    set_reg(&t, 0x3d4, 0x0c, 0xff);
    set_reg(&t, 0x3d4, 0x0d, 0xfe);
    refresh(&t);
    assert_pixel(&t, 4 * 4, 0, color(0));
    assert_pixel(&t, 4 * 4 + 6, 0, color(3));
    vga_test_end(&t);
}

static uint8_t plane_byte(unsigned plane, unsigned addr)
{
    return (uint8_t)((addr * 2654435761u + plane * 40503u) >> 13);
}

static void fill_planes(VgaTest *t, unsigned count)
{
    for (unsigned plane = 0; plane < 4; plane++) {
        set_reg(t, 0x3c4, 2, (uint8_t)(1 << plane));
        for (unsigned i = 0; i < count; i++)
            writeb(t->m, 0xa0000 + i, plane_byte(plane, i));
    }
}

static unsigned planar_color(unsigned addr, unsigned bit)
{
    unsigned value = 0;
    for (unsigned plane = 0; plane < 4; plane++)
        value |= (plane_byte(plane, addr) >> (7 - bit) & 1u) << plane;
    return value;
}

static void test_mode_12(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    fill_planes(&t, 80 * 480);
    refresh(&t);
    assert_size(&t, 640, 480);
    for (unsigned y = 0; y < 480; y += 5) {
        for (unsigned x = 0; x < 640; x++)
            assert_pixel(&t, x, y, color(mode_12.ar[planar_color(y * 80 + x / 8, x % 8)]));
    }
    /* Panning, the split, a plane switched off, the palette's upper half. */
    set_ar(&t, 0x13, 3);
    set_ar(&t, 0x12, 0x0b);
    set_ar(&t, 0x14, 0x04);
    set_reg(&t, 0x3d4, 0x18, 99);
    set_reg(&t, 0x3d4, 0x07, 0x2e);
    set_reg(&t, 0x3d4, 0x09, 0x00);
    set_reg(&t, 0x3d4, 0x0d, 160);
    refresh(&t);
    for (unsigned x = 0; x < 640; x++) {
        unsigned dot = x + 3;
        unsigned upper = planar_color(99 * 80 + 160 + dot / 8, dot % 8) & 0x0b;
        unsigned lower = planar_color(dot / 8, dot % 8) & 0x0b;
        assert_pixel(&t, x, 99, color(mode_12.ar[upper] | 0x40));
        assert_pixel(&t, x, 100, color(mode_12.ar[lower] | 0x40));
    }
    set_ar(&t, 0x10, 0x81); /* bits 4 and 5 from the colour select register */
    set_ar(&t, 0x14, 0x03);
    refresh(&t);
    assert_pixel(&t, 0, 100, color((mode_12.ar[planar_color(0, 3) & 0x0b] & 15) | 0x30));
    vga_test_end(&t);
}

static void test_mode_0d(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_0d);
    fill_planes(&t, 40 * 200);
    refresh(&t);
    assert_size(&t, 640, 400);
    for (unsigned y = 0; y < 400; y += 3) {
        for (unsigned x = 0; x < 640; x++) {
            unsigned dot = x / 2;
            assert_pixel(&t, x, y, color(mode_0d.ar[planar_color(y / 2 * 40 + dot / 8, dot % 8)]));
        }
    }
    vga_test_end(&t);
}

/* CGA: even lines at 0xb8000, odd ones 8 KiB above. */
static void test_cga(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_4);
    for (unsigned i = 0; i < 0x4000; i++)
        writeb(t.m, 0xb8000 + i, plane_byte(0, i));
    refresh(&t);
    assert_size(&t, 640, 400);
    for (unsigned y = 0; y < 200; y++) {
        for (unsigned x = 0; x < 320; x++) {
            unsigned byte = (y & 1) * 0x2000 + y / 2 * 80 + x / 4;
            unsigned value = plane_byte(0, byte) >> (6 - x % 4 * 2) & 3;
            assert_pixel(&t, x * 2 + 1, y * 2 + 1, color(mode_4.ar[value]));
        }
    }
    set_mode(&t, &mode_6);
    for (unsigned i = 0; i < 0x4000; i++)
        writeb(t.m, 0xb8000 + i, plane_byte(1, i));
    refresh(&t);
    assert_size(&t, 640, 400);
    for (unsigned y = 0; y < 200; y++) {
        for (unsigned x = 0; x < 640; x++) {
            unsigned byte = (y & 1) * 0x2000 + y / 2 * 80 + x / 8;
            unsigned value = plane_byte(1, byte) >> (7 - x % 8) & 1;
            assert_pixel(&t, x, y * 2, color(mode_6.ar[value]));
        }
    }
    vga_test_end(&t);
}

/* ---- Linear modes ---- */

static uint32_t widen(uint32_t value, unsigned bits)
{
    return value << (8 - bits) | value >> (2 * bits - 8);
}

static uint32_t linear_color(unsigned bpp, uint32_t raw)
{
    switch (bpp) {
    case 8:
        return color((uint8_t)raw);
    case 15:
        return widen(raw >> 10 & 31, 5) << 16 | widen(raw >> 5 & 31, 5) << 8 | widen(raw & 31, 5);
    case 16:
        return widen(raw >> 11 & 31, 5) << 16 | widen(raw >> 5 & 63, 6) << 8 | widen(raw & 31, 5);
    default:
        return raw & 0xffffff;
    }
}

static void check_linear(uint16_t bpp, bool big_endian)
{
    unsigned bytes = (bpp + 7u) / 8, width = 200, height = 64, virtual = 256;
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    set_vbe_mode(&t, (uint16_t)width, (uint16_t)height, bpp);
    set_vbe(&t, 6, (uint16_t) virtual);
    set_vbe(&t, 8, 3); /* offsets that no alignment fits */
    set_vbe(&t, 9, 5);
    if (big_endian)
        writel(t.m, MMIO + 0x604, 0xbebebebe);
    for (unsigned i = 0; i < virtual * (height + 5) * bytes; i++)
        writeb(t.m, LFB + i, (uint8_t)((i * 2654435761u) >> 11));
    refresh(&t);
    assert_size(&t, width, height);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            uint32_t raw = 0;
            for (unsigned b = 0; b < bytes; b++) {
                unsigned at = ((y + 5) * virtual + x + 3) * bytes + b;
                unsigned shift = big_endian ? (bytes - 1 - b) * 8 : b * 8;
                raw |= (uint32_t)(uint8_t)((at * 2654435761u) >> 11) << shift;
            }
            assert_pixel(&t, x, y, linear_color(bpp, raw));
        }
    }
    vga_test_end(&t);
}

static void test_linear(void)
{
    static const uint16_t depths[] = {8, 15, 16, 24, 32};
    for (unsigned i = 0; i < G_N_ELEMENTS(depths); i++) {
        check_linear(depths[i], false);
        check_linear(depths[i], true);
    }
}

static void test_linear_planar(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    set_vbe_mode(&t, 800, 600, 4);
    fill_planes(&t, 100 * 600);
    set_vbe(&t, 6, 816);
    set_vbe(&t, 8, 11);
    set_vbe(&t, 9, 2);
    refresh(&t);
    assert_size(&t, 800, 600);
    for (unsigned y = 0; y < 500; y += 9) {
        for (unsigned x = 0; x < 800; x++) {
            unsigned dot = x + 11;
            assert_pixel(&t, x, y,
                         color(mode_12.ar[planar_color((y + 2) * 102 + dot / 8, dot % 8)]));
        }
    }
    vga_test_end(&t);
}

/* 32 bits a pixel: the surface is guest memory; flips move it. */
static void test_borrowed(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    set_vbe_mode(&t, 320, 200, 32);
    set_vbe(&t, 6, 640);
    refresh(&t);
    const Surface *surface = display_surface(t.display);
    g_assert_true(surface->borrowed);
    g_assert_cmpuint(surface->stride, ==, 2560);
    writel(t.m, LFB + 2560 * 400 + 4 * 7, 0xff123456);
    set_vbe(&t, 9, 399);
    refresh(&t);
    g_assert_cmpuint(t.updates.switches, ==, 1);
    assert_pixel(&t, 7, 1, 0x123456);
    /* Back to a mode that is drawn: the surface is our own again. */
    set_vbe(&t, 4, 0);
    refresh(&t);
    g_assert_false(display_surface(t.display)->borrowed);
    vga_test_end(&t);
}

/* ---- What changed ---- */

static void test_dirty_lines(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    set_vbe_mode(&t, 1024, 768, 32); /* a line is a page */
    refresh(&t);
    g_assert_cmpuint(t.updates.bottom - t.updates.top, ==, 768);
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 0);
    writeb(t.m, LFB + 4096 * 100 + 8, 1);
    writeb(t.m, LFB + 4096 * 101 + 8, 1);
    writeb(t.m, LFB + 4096 * 500 + 8, 1);
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 2);
    g_assert_cmpuint(t.updates.top, ==, 100);
    g_assert_cmpuint(t.updates.bottom, ==, 501);
    writeb(t.m, LFB + 4096 * 767, 1);
    writeb(t.m, LFB + 4096 * 768, 1); /* below the screen */
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 1);
    g_assert_cmpuint(t.updates.top, ==, 767);
    display_invalidate(t.display);
    refresh(&t);
    g_assert_cmpuint(t.updates.bottom - t.updates.top, ==, 768);

    /* The same for a depth that is drawn: lines of an untouched page keep their pixels. */
    set_vbe_mode(&t, 1024, 768, 16);
    refresh(&t);
    display_surface(t.display)->pixels[1024 * 300] = 0xabcdef;
    writew(t.m, LFB + 2048 * 20, 0xffff);
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 1);
    g_assert_cmpuint(t.updates.top, ==, 20);
    g_assert_cmpuint(t.updates.bottom, ==, 22); /* two lines share the page */
    assert_pixel(&t, 0, 20, 0xffffff);
    assert_pixel(&t, 0, 300, 0xabcdef);
    /* Through the banked window, too. */
    set_vbe(&t, 5, 4);
    writew(t.m, 0xa0000, 0xf800);
    refresh(&t);
    g_assert_cmpuint(t.updates.top, ==, 128);
    assert_pixel(&t, 0, 128, 0xff0000);
    vga_test_end(&t);
}

static void test_dirty_text(void)
{
    VgaTest t;
    start_text(&t);
    refresh(&t);
    g_assert_cmpuint(t.updates.right - t.updates.left, ==, 720);
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 0);
    put_cell(&t, 10, 3, 'A', 0x07);
    put_cell(&t, 12, 3, 'A', 0x07);
    put_cell(&t, 40, 20, ' ', 0x07); /* what stands there already */
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 1);
    g_assert_cmpuint(t.updates.left, ==, 90);
    g_assert_cmpuint(t.updates.right, ==, 117);
    g_assert_cmpuint(t.updates.top, ==, 48);
    g_assert_cmpuint(t.updates.bottom, ==, 64);
    set_dac(&t, mode_3.ar[7], 1, 2, 3); /* a colour: everything */
    refresh(&t);
    g_assert_cmpuint(t.updates.bottom - t.updates.top, ==, 400);
    vga_test_end(&t);
}

static void test_blank(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    refresh(&t);
    assert_size(&t, 640, 480); /* the display's own notice */
    g_assert_cmpuint(t.updates.count, ==, 0);
    set_mode(&t, &mode_3);
    set_ar(&t, 0, 4);
    refresh(&t);
    assert_pixel(&t, 0, 0, color(4));
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 0); /* palette given to the CPU: blank */
    refresh(&t);
    assert_size(&t, 720, 400);
    assert_pixel(&t, 0, 0, 0);
    refresh(&t);
    g_assert_cmpuint(t.updates.count, ==, 0);
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 0x20);
    set_reg(&t, 0x3c4, 1, 0x20);
    refresh(&t);
    assert_pixel(&t, 0, 0, 0);
    set_reg(&t, 0x3c4, 1, 0);
    refresh(&t);
    assert_pixel(&t, 0, 0, color(4));
    vga_test_end(&t);
}

void add_draw_tests(void)
{
    g_test_add_func("/vga/draw/text", test_text);
    g_test_add_func("/vga/draw/text-eight-dots", test_text_eight_dots);
    g_test_add_func("/vga/draw/second-font", test_second_font);
    g_test_add_func("/vga/draw/cursor", test_cursor);
    g_test_add_func("/vga/draw/blink-and-underline", test_blink_and_underline);
    g_test_add_func("/vga/draw/text-split", test_text_split);
    g_test_add_func("/vga/draw/mode-13", test_mode_13);
    g_test_add_func("/vga/draw/mode-x", test_mode_x);
    g_test_add_func("/vga/draw/mode-12", test_mode_12);
    g_test_add_func("/vga/draw/mode-0d", test_mode_0d);
    g_test_add_func("/vga/draw/cga", test_cga);
    g_test_add_func("/vga/draw/linear", test_linear);
    g_test_add_func("/vga/draw/linear-planar", test_linear_planar);
    g_test_add_func("/vga/draw/borrowed", test_borrowed);
    g_test_add_func("/vga/draw/dirty-lines", test_dirty_lines);
    g_test_add_func("/vga/draw/dirty-text", test_dirty_text);
    g_test_add_func("/vga/draw/blank", test_blank);
}
