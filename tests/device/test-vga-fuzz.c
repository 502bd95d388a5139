/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA under a hostile guest: random registers, then a refresh.  Under the sanitizers every read
 * outside display memory or the line buffers ends the test.
 */
#include "test-vga.h"
#include "util/timer.h"

static const uint16_t vga_ports[] = {0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3c6, 0x3c8, 0x3c9, 0x3ce,
                                     0x3cf, 0x3d4, 0x3d5, 0x3b4, 0x3b5, 0x3da, 0x3ba};

static unsigned pick(GRand *rand, unsigned limit)
{
    return (unsigned)g_rand_int_range(rand, 0, (gint32)limit);
}

/* Extremes more often than anything else. */
static uint16_t nasty(GRand *rand)
{
    static const uint16_t values[] = {0, 1, 7, 8, 0xff, 0x100, 640, 16000, 16001, 0x7fff, 0xffff};
    return pick(rand, 3) ? values[pick(rand, G_N_ELEMENTS(values))] : (uint16_t)g_rand_int(rand);
}

static void poke(VgaTest *t, GRand *rand)
{
    uint32_t r = g_rand_int(rand);
    switch (r & 7) {
    case 0:
        set_vbe(t, (uint16_t)pick(rand, 12), nasty(rand));
        break;
    case 1:
        set_vbe(t, 3, (uint16_t[]){4, 8, 15, 16, 24, 32}[pick(rand, 6)]);
        break;
    case 2:
        writel(t->m, 0xa0000 + (r >> 8 & 0x1fffc), r);
        readl(t->m, 0xa0000 + (r >> 4 & 0x1ffff));
        break;
    case 3:
        writel(t->m, MMIO + (r >> 8 & 0xffc), r >> 3);
        break;
    default:
        outw(t->m, vga_ports[pick(rand, G_N_ELEMENTS(vga_ports))], (uint16_t)(r >> 8));
        break;
    }
}

static void fuzz(const char *props, unsigned rounds)
{
    VgaTest t;
    vga_test_start(&t, props);
    GRand *rand = g_rand_new_with_seed(20240607);
    for (unsigned i = 0; i < rounds; i++) {
        if (pick(rand, 50) == 0)
            set_mode(&t, (const Mode *[]){&mode_3, &mode_4, &mode_12, &mode_13}[pick(rand, 4)]);
        for (unsigned n = pick(rand, 20); n > 0; n--)
            poke(&t, rand);
        /* Small pictures are quick: hostile heights are tried now and then. */
        if (pick(rand, 16))
            set_vbe(&t, 2, (uint16_t)pick(rand, 50));
        if (pick(rand, 4)) {
            inb(t.m, 0x3da);
            inb(t.m, 0x3ba);
            outb(t.m, 0x3c0, 0x20);
        }
        vclock_step(NS_PER_MS * pick(rand, 300));
        refresh(&t);
        unsigned columns, rows;
        const uint16_t *cells;
        int cursor;
        if (display_text(t.display, &columns, &rows, &cells, &cursor))
            g_assert_cmpint(cursor, <, (int)(columns * rows));
    }
    test_device_state(t.dev);
    g_rand_free(rand);
    vga_test_end(&t);
}

static void test_fuzz(void)
{
    fuzz("romfile=,addr=2", 3000);
}

static void test_fuzz_small(void)
{
    fuzz("romfile=,addr=2,vgamem_mb=1", 3000);
}

void add_fuzz_tests(void)
{
    g_test_add_func("/vga/fuzz", test_fuzz);
    g_test_add_func("/vga/fuzz-small-memory", test_fuzz_small);
}
