/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the VGA tests share: a card on a bus, standard modes, a viewer that records updates. */
#ifndef TEST_VGA_H
#define TEST_VGA_H

#include "accel/test.h"
#include "hw/pci/pci.h"
#include "ui/display.h"

#define LFB  0xe0000000u
#define MMIO 0xe8000000u

typedef struct Updates {
    unsigned count, switches;
    unsigned left, top, right, bottom; /* of the union, right and bottom exclusive */
} Updates;

typedef struct VgaTest {
    Machine *m;
    PciBus *bus;
    Device *dev;
    Display *display;
    Updates updates;
} VgaTest;

void vga_test_start(VgaTest *t, const char *props);
void vga_test_end(VgaTest *t);

/* Index and data in one word. */
void set_reg(VgaTest *t, uint16_t port, uint8_t index, uint8_t value);
uint8_t get_reg(VgaTest *t, uint16_t port, uint8_t index);
void set_ar(VgaTest *t, uint8_t index, uint8_t value);
void set_dac(VgaTest *t, uint8_t index, uint8_t r, uint8_t g, uint8_t b);
void set_vbe(VgaTest *t, uint16_t index, uint16_t value);
uint16_t get_vbe(VgaTest *t, uint16_t index);

/* The registers of a BIOS mode. */
typedef struct Mode {
    uint8_t misc;
    uint8_t sr[4]; /* 1 to 4 */
    uint8_t cr[25];
    uint8_t gr[9];
    uint8_t ar[21];
} Mode;
extern const Mode mode_3, mode_4, mode_6, mode_0d, mode_12, mode_13;
/* Programs it, with a DAC where entry i is color(i), and leaves the CRT controller unprotected. */
void set_mode(VgaTest *t, const Mode *mode);
/* What DAC entry i looks like on the screen. */
uint32_t color(unsigned i);
void set_vbe_mode(VgaTest *t, uint16_t width, uint16_t height, uint16_t bpp);

/* Refreshes and forgets earlier updates. */
void refresh(VgaTest *t);
uint32_t pixel(VgaTest *t, unsigned x, unsigned y);
#define assert_size(t, w, h)                                                                       \
    do {                                                                                           \
        g_assert_cmpuint(display_surface((t)->display)->width, ==, w);                             \
        g_assert_cmpuint(display_surface((t)->display)->height, ==, h);                            \
    } while (0)
#define assert_pixel(t, x, y, value) g_assert_cmphex(pixel(t, x, y), ==, value)

/* test-vga-draw.c, test-vga-fuzz.c */
void add_draw_tests(void);
void add_fuzz_tests(void);

#endif
