/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA: registers, the window with all read and write modes, Bochs VBE, the card's BARs, state. */
#include "test-vga.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/rcu.h"
#include "util/timer.h"

/* ---- Registers ---- */

/* What an index/data pair keeps of 0xff and 0x00. */
static void check_mask(VgaTest *t, uint16_t port, uint8_t index, uint8_t mask)
{
    g_assert_cmphex(get_reg(t, port, index), ==, 0);
    set_reg(t, port, index, 0xff);
    g_assert_cmphex(get_reg(t, port, index), ==, mask);
    set_reg(t, port, index, 0);
    g_assert_cmphex(get_reg(t, port, index), ==, 0);
}

static void test_registers(void)
{
    static const uint8_t sr[] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0};
    static const uint8_t gr[] = {15, 15, 15, 0x1f, 3, 0x7b, 15, 15, 0xff, 0, 0};
    VgaTest t;
    vga_test_start(&t, NULL);
    g_assert_cmphex(inb(t.m, 0x3cc), ==, 0);
    g_assert_cmphex(inb(t.m, 0x3c6), ==, 0xff);
    for (unsigned i = 0; i < G_N_ELEMENTS(sr); i++)
        check_mask(&t, 0x3c4, (uint8_t)i, sr[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(gr); i++)
        check_mask(&t, 0x3ce, (uint8_t)i, gr[i]);
    outb(t.m, 0x3c2, 0xff);
    g_assert_cmphex(inb(t.m, 0x3cc), ==, 0xef);
    for (unsigned i = 0; i < 0x20; i++) {
        if (i != 0x11)
            check_mask(&t, 0x3d4, (uint8_t)i, i < 0x19 ? 0xff : 0);
    }
    outb(t.m, 0x3da, 0xff);
    g_assert_cmphex(inb(t.m, 0x3ca), ==, 0x10);
    vga_test_end(&t);
}

static void test_crtc_ports(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    outb(t.m, 0x3c2, 0); /* monochrome */
    set_reg(&t, 0x3b4, 0x0c, 0x12);
    set_reg(&t, 0x3d4, 0x0c, 0x34);
    g_assert_cmphex(get_reg(&t, 0x3b4, 0x0c), ==, 0x12);
    g_assert_cmphex(inb(t.m, 0x3d5), ==, 0xff);
    outb(t.m, 0x3c2, 1);
    g_assert_cmphex(get_reg(&t, 0x3d4, 0x0c), ==, 0x12);
    g_assert_cmphex(inb(t.m, 0x3b5), ==, 0xff);
    g_assert_cmphex(inb(t.m, 0x3ba), ==, 0xff);

    /* Write protection of 0 to 7; one bit of 7 stays writable. */
    for (uint8_t i = 0; i < 8; i++)
        set_reg(&t, 0x3d4, i, 0xa5);
    set_reg(&t, 0x3d4, 0x11, 0x80);
    for (uint8_t i = 0; i < 8; i++)
        set_reg(&t, 0x3d4, i, 0x5a);
    for (uint8_t i = 0; i < 7; i++)
        g_assert_cmphex(get_reg(&t, 0x3d4, i), ==, 0xa5);
    g_assert_cmphex(get_reg(&t, 0x3d4, 7), ==, 0xb5);
    set_reg(&t, 0x3d4, 8, 0x5a);
    g_assert_cmphex(get_reg(&t, 0x3d4, 8), ==, 0x5a);
    /* The parallel port's range between is not ours. */
    g_assert_cmphex(inb(t.m, 0x3bc), ==, 0xff);
    vga_test_end(&t);
}

static void test_attribute(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    outb(t.m, 0x3c2, 1);
    for (uint8_t i = 0; i < 21; i++)
        set_ar(&t, i, 0xff);
    for (uint8_t i = 0; i < 24; i++) {
        uint8_t want = i < 16 || i == 0x12 ? 0x3f
                       : i == 0x10         ? 0xef
                       : i == 0x11         ? 0xff
                       : i < 21            ? 0x0f
                                           : 0;
        inb(t.m, 0x3da);
        outb(t.m, 0x3c0, i);
        g_assert_cmphex(inb(t.m, 0x3c0), ==, i);
        g_assert_cmphex(inb(t.m, 0x3c1), ==, want);
    }
    /* Without the reset of the flip-flop the next write is data. */
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 3);
    outb(t.m, 0x3c0, 0x11);
    outb(t.m, 0x3c0, 4);
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 3);
    g_assert_cmphex(inb(t.m, 0x3c1), ==, 0x11);
    vga_test_end(&t);
}

static void test_dac(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_dac(&t, 254, 0xff, 0x81, 0x42);
    outb(t.m, 0x3c9, 1); /* goes on with 255 */
    outb(t.m, 0x3c9, 2);
    outb(t.m, 0x3c9, 3);
    g_assert_cmphex(inb(t.m, 0x3c7), ==, 0);
    outb(t.m, 0x3c7, 254);
    g_assert_cmphex(inb(t.m, 0x3c7), ==, 3);
    static const uint8_t want[] = {0x3f, 0x01, 0x02, 1, 2, 3};
    for (unsigned i = 0; i < 6; i++)
        g_assert_cmphex(inb(t.m, 0x3c9), ==, want[i]);
    g_assert_cmphex(inb(t.m, 0x3c9), ==, 0); /* wraps to 0 */
    set_vbe(&t, 4, 0x20);                    /* 8 bits a colour */
    set_dac(&t, 7, 0xff, 0x81, 0x42);
    outb(t.m, 0x3c7, 7);
    g_assert_cmphex(inb(t.m, 0x3c9), ==, 0xff);
    g_assert_cmphex(inb(t.m, 0x3c9), ==, 0x81);
    outb(t.m, 0x3c6, 0x0f);
    g_assert_cmphex(inb(t.m, 0x3c6), ==, 0x0f);
    vga_test_end(&t);
}

/* A second of guest time has 70 frames of 449 lines. */
static void test_retrace(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_3);
    unsigned frames = 0, blank = 0, samples = 0;
    bool was = true;
    for (; clock_now(VM_CLOCK_VIRTUAL) < NS_PER_SEC; samples++) {
        uint8_t status = inb(t.m, 0x3da);
        if (status & 8)
            g_assert_cmphex(status & 1, ==, 1);
        frames += (status & 8) && !was;
        blank += status & 1;
        was = status & 8;
        vclock_step(3001);
    }
    g_assert_cmpuint(frames, >=, 69);
    g_assert_cmpuint(frames, <=, 71);
    /* Displayed: 80 of 100 characters in 400 of 449 lines. */
    g_assert_cmpuint(blank * 100 / samples, >=, 27);
    g_assert_cmpuint(blank * 100 / samples, <=, 30);
    /* Registers that make no sense give no division by zero and still a beam. */
    for (uint8_t i = 0; i < 0x19; i++)
        set_reg(&t, 0x3d4, i, 0);
    unsigned seen = 0;
    for (unsigned i = 0; i < 20000; i++, vclock_step(1000))
        seen |= inb(t.m, 0x3da) & 8 ? 2 : 1;
    g_assert_cmpuint(seen, ==, 3);
    vga_test_end(&t);
}

/* ---- The window: an independent model, bit by bit as the data book's diagrams ---- */

typedef struct Model {
    uint8_t plane[4][256];
    uint8_t latch[4];
    uint8_t set_reset, enable_sr, compare, rotate, function, read_map, write_mode, read_mode,
        dont_care, bit_mask, plane_mask;
} Model;

static bool model_alu(unsigned function, bool data, bool latch)
{
    switch (function) {
    case 1:
        return data && latch;
    case 2:
        return data || latch;
    case 3:
        return data != latch;
    default:
        return data;
    }
}

static bool model_bit(const Model *m, unsigned plane, unsigned bit, uint8_t value)
{
    bool rotated = value >> (bit + m->rotate) % 8 & 1;
    bool latch = m->latch[plane] >> bit & 1;
    bool masked = m->bit_mask >> bit & 1;
    bool sr = m->set_reset >> plane & 1;
    switch (m->write_mode) {
    case 0:
        return masked ? model_alu(m->function, m->enable_sr >> plane & 1 ? sr : rotated, latch)
                      : latch;
    case 1:
        return latch;
    case 2:
        return masked ? model_alu(m->function, value >> plane & 1, latch) : latch;
    default:
        return masked && rotated ? model_alu(m->function, sr, latch) : latch;
    }
}

static void model_write(Model *m, uint8_t addr, uint8_t value)
{
    for (unsigned p = 0; p < 4; p++) {
        uint8_t out = 0;
        for (unsigned bit = 0; bit < 8; bit++)
            out |= (uint8_t)(model_bit(m, p, bit, value) << bit);
        if (m->plane_mask >> p & 1)
            m->plane[p][addr] = out;
    }
}

static uint8_t model_read(Model *m, uint8_t addr)
{
    uint8_t match = 0xff;
    for (unsigned p = 0; p < 4; p++) {
        m->latch[p] = m->plane[p][addr];
        for (unsigned bit = 0; bit < 8; bit++) {
            if ((m->dont_care >> p & 1) && (m->latch[p] >> bit & 1) != (m->compare >> p & 1))
                match &= (uint8_t) ~(1u << bit);
        }
    }
    return m->read_mode ? match : m->latch[m->read_map];
}

static void model_program(VgaTest *t, Model *m)
{
    m->set_reset = (uint8_t)g_test_rand_int_range(0, 16);
    m->enable_sr = (uint8_t)g_test_rand_int_range(0, 16);
    m->compare = (uint8_t)g_test_rand_int_range(0, 16);
    m->rotate = (uint8_t)g_test_rand_int_range(0, 8);
    m->function = (uint8_t)g_test_rand_int_range(0, 4);
    m->read_map = (uint8_t)g_test_rand_int_range(0, 4);
    m->write_mode = (uint8_t)g_test_rand_int_range(0, 4);
    m->read_mode = (uint8_t)g_test_rand_int_range(0, 2);
    m->dont_care = (uint8_t)g_test_rand_int_range(0, 16);
    m->bit_mask = (uint8_t)g_test_rand_int_range(0, 256);
    m->plane_mask = (uint8_t)g_test_rand_int_range(0, 16);
    set_reg(t, 0x3ce, 0, m->set_reset);
    set_reg(t, 0x3ce, 1, m->enable_sr);
    set_reg(t, 0x3ce, 2, m->compare);
    set_reg(t, 0x3ce, 3, (uint8_t)(m->rotate | m->function << 3));
    set_reg(t, 0x3ce, 4, m->read_map);
    set_reg(t, 0x3ce, 5, (uint8_t)(m->write_mode | m->read_mode << 3));
    set_reg(t, 0x3ce, 7, m->dont_care);
    set_reg(t, 0x3ce, 8, m->bit_mask);
    set_reg(t, 0x3c4, 2, m->plane_mask);
}

static void test_planar_modes(void)
{
    VgaTest t;
    Model m = {.bit_mask = 0xff};
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    for (unsigned i = 0; i < 3000; i++) {
        model_program(&t, &m);
        for (unsigned n = 0; n < 8; n++) {
            uint8_t addr = (uint8_t)g_test_rand_int_range(0, 256);
            uint8_t value = (uint8_t)g_test_rand_int_range(0, 256);
            if (g_test_rand_bit()) {
                g_assert_cmphex(readb(t.m, 0xa0000 + addr), ==, model_read(&m, addr));
            } else {
                writeb(t.m, 0xa0000 + addr, value);
                model_write(&m, addr, value);
            }
        }
    }
    /* Memory behind it: plane p of address a is byte a * 4 + p of the linear frame buffer. */
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned p = 0; p < 4; p++)
            g_assert_cmphex(readb(t.m, LFB + a * 4 + p), ==, m.plane[p][a]);
    }
    vga_test_end(&t);
}

static void test_wide_access(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    set_reg(&t, 0x3c4, 2, 1);
    writel(t.m, 0xa0010, 0x44332211);
    g_assert_cmphex(readl(t.m, 0xa0010), ==, 0x44332211);
    g_assert_cmphex(readb(t.m, LFB + 0x12 * 4), ==, 0x33);
    writeq(t.m, 0xa0021, 0x8877665544332211);
    g_assert_cmphex(readw(t.m, 0xa0027), ==, 0x8877);
    vga_test_end(&t);
}

/* GR6 chooses where the card answers. */
static void test_maps(void)
{
    static const struct {
        uint8_t misc;
        uint32_t base, end;
    } maps[] = {
        {0x01, 0xa0000, 0xc0000},
        {0x05, 0xa0000, 0xb0000},
        {0x09, 0xb0000, 0xb8000},
        {0x0d, 0xb8000, 0xc0000},
    };
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    set_reg(&t, 0x3c4, 2, 2);
    set_reg(&t, 0x3ce, 4, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(maps); i++) {
        for (unsigned a = 0; a < 0x20000; a += 4)
            writel(t.m, LFB + a, 0);
        set_reg(&t, 0x3ce, 6, maps[i].misc);
        for (uint32_t at = 0xa0000; at < 0xc0000; at += 0x4000) {
            bool inside = at >= maps[i].base && at < maps[i].end;
            writeb(t.m, at + 5, 0x77);
            g_assert_cmphex(readb(t.m, at + 5), ==, inside ? 0x77 : 0xff);
            if (inside)
                g_assert_cmphex(readb(t.m, LFB + (at + 5 - maps[i].base) * 4 + 1), ==, 0x77);
        }
    }
    vga_test_end(&t);
}

static void test_odd_even(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_3);
    writew(t.m, 0xb8000, 0x1e41);
    writeb(t.m, 0xb8003, 0x4f);
    g_assert_cmphex(readl(t.m, LFB), ==, 0x1e41);
    g_assert_cmphex(readl(t.m, LFB + 4), ==, 0x4f00);
    g_assert_cmphex(readl(t.m, 0xb8000), ==, 0x4f001e41);
    /* The plane mask holds. */
    set_reg(&t, 0x3c4, 2, 1);
    writew(t.m, 0xb8000, 0xabcd);
    g_assert_cmphex(readw(t.m, 0xb8000), ==, 0x1ecd);
    g_assert_cmphex(readb(t.m, 0xa0000), ==, 0xff);
    vga_test_end(&t);
}

static const Region *region_at(VgaTest *t, hwaddr addr, hwaddr *offset)
{
    rcu_read_lock();
    const FlatRange *range = view_find(as_view(&t->m->mem), addr);
    g_assert_nonnull(range);
    const Region *region = range->region;
    *offset = range->offset + addr - range->start;
    rcu_read_unlock();
    return region;
}

/* In chain-4 modes the window is memory: no exits. */
static void test_direct_window(void)
{
    VgaTest t;
    hwaddr offset;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    g_assert_cmpint(region_at(&t, 0xa0000, &offset)->kind, ==, REGION_IO);
    set_mode(&t, &mode_13);
    g_assert_cmpint(region_at(&t, 0xa1234, &offset)->kind, ==, REGION_RAM);
    g_assert_cmphex(offset, ==, 0x1234);
    g_assert_cmpint(region_at(&t, 0xb0000, &offset)->kind, ==, REGION_IO);
    writel(t.m, 0xa0140, 0x04030201);
    g_assert_cmphex(readl(t.m, LFB + 0x140), ==, 0x04030201);
    /* With a plane masked each write must be looked at. */
    set_reg(&t, 0x3c4, 2, 0x0d);
    g_assert_cmpint(region_at(&t, 0xa1234, &offset)->kind, ==, REGION_IO);
    writel(t.m, 0xa0140, 0x14131211);
    g_assert_cmphex(readl(t.m, 0xa0140), ==, 0x14130211);
    set_reg(&t, 0x3c4, 2, 0x0f);
    g_assert_cmpint(region_at(&t, 0xa1234, &offset)->kind, ==, REGION_RAM);
    set_reg(&t, 0x3c4, 4, 0x06); /* unchained */
    g_assert_cmpint(region_at(&t, 0xa1234, &offset)->kind, ==, REGION_IO);
    device_reset(t.dev);
    g_assert_cmpint(region_at(&t, 0xa1234, &offset)->kind, ==, REGION_IO);
    vga_test_end(&t);
}

/* ---- Bochs VBE ---- */

static void test_vbe_registers(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    g_assert_cmphex(get_vbe(&t, 0), ==, 0xb0c5);
    g_assert_cmpuint(get_vbe(&t, 10), ==, 256); /* 16 MiB in units of 64 KiB */
    set_vbe(&t, 0, 0xb0c2);
    g_assert_cmphex(get_vbe(&t, 0), ==, 0xb0c2);
    set_vbe(&t, 0, 0xb0c6);
    g_assert_cmphex(get_vbe(&t, 0), ==, 0xb0c2);
    set_vbe(&t, 4, 2);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 16000);
    g_assert_cmpuint(get_vbe(&t, 2), ==, 12000);
    g_assert_cmpuint(get_vbe(&t, 3), ==, 32);
    g_assert_cmpuint(get_vbe(&t, 11), ==, 0);

    set_vbe_mode(&t, 1024, 768, 16);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 1024);
    g_assert_cmpuint(get_vbe(&t, 6), ==, 1024);
    g_assert_cmpuint(get_vbe(&t, 7), ==, 8192);
    set_vbe(&t, 6, 2048);
    g_assert_cmpuint(get_vbe(&t, 7), ==, 4096);
    set_vbe(&t, 9, 4096 - 768);
    g_assert_cmpuint(get_vbe(&t, 9), ==, 4096 - 768);
    set_vbe(&t, 9, 4096 - 767); /* would show what is not there */
    g_assert_cmpuint(get_vbe(&t, 9), ==, 0);
    set_vbe(&t, 6, 100); /* narrower than the screen */
    g_assert_cmpuint(get_vbe(&t, 6), ==, 1024);
    set_vbe(&t, 3, 17);
    g_assert_cmpuint(get_vbe(&t, 3), ==, 8);
    set_vbe(&t, 1, 0xffff);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 16000);
    set_vbe(&t, 1, 0);
    set_vbe(&t, 2, 0);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 8);
    g_assert_cmpuint(get_vbe(&t, 2), ==, 1);
    vga_test_end(&t);
}

static void test_vbe_banks_and_clear(void)
{
    VgaTest t;
    hwaddr offset;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_3);
    writel(t.m, LFB + 0x4000, 0x55667788);
    writel(t.m, LFB + 640 * 480, 0x11223344); /* beyond the screen */
    set_vbe_mode(&t, 640, 480, 8);
    g_assert_cmphex(readl(t.m, LFB + 0x4000), ==, 0);
    g_assert_cmphex(readl(t.m, LFB + 640 * 480), ==, 0x11223344);
    /* Memory straight in the window, in banks of 64 KiB; there are 256. */
    set_vbe(&t, 5, 3);
    g_assert_cmpint(region_at(&t, 0xa0010, &offset)->kind, ==, REGION_RAM);
    g_assert_cmphex(offset, ==, 0x30010);
    writel(t.m, 0xa0010, 0xcafe);
    g_assert_cmphex(readl(t.m, LFB + 0x30010), ==, 0xcafe);
    set_vbe(&t, 5, 0x1ff);
    g_assert_cmphex(get_vbe(&t, 5), ==, 0xff);
    writeb(t.m, 0xaffff, 0x5a);
    g_assert_cmphex(readb(t.m, LFB + 0xffffff), ==, 0x5a);
    set_vbe(&t, 4, 0);
    g_assert_cmphex(get_vbe(&t, 5), ==, 0);
    set_vbe(&t, 4, 0xc1); /* no clear */
    g_assert_cmphex(readl(t.m, LFB + 0x30010), ==, 0xcafe);
    vga_test_end(&t);
}

static void test_vbe_planar_bank(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_12);
    set_vbe_mode(&t, 1280, 1024, 4); /* 160 bytes a line and plane: 2.5 banks */
    set_reg(&t, 0x3c4, 2, 4);
    set_vbe(&t, 5, 1);
    writeb(t.m, 0xa0007, 0x99);
    g_assert_cmphex(readb(t.m, LFB + 0x10007 * 4 + 2), ==, 0x99);
    set_vbe(&t, 5, 0xffff);
    g_assert_cmphex(get_vbe(&t, 5), ==, 63);
    writeb(t.m, 0xaffff, 0x66);
    g_assert_cmphex(readb(t.m, LFB + 0xfffffe), ==, 0x66);
    vga_test_end(&t);
}

/* ---- The card ---- */

static void test_pci(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    unsigned devfn = PCI_DEVFN(2, 0);
    g_assert_cmphex(pci_config_read(t.bus, devfn, 0, 4), ==, 0x11111234);
    g_assert_cmphex(pci_config_read(t.bus, devfn, 8, 4), ==, 0x03000002);
    g_assert_cmphex(pci_config_read(t.bus, devfn, PCI_BAR0, 4), ==, LFB | 8);
    g_assert_cmphex(pci_config_read(t.bus, devfn, PCI_BAR0 + 8, 4), ==, MMIO);
    g_assert_cmphex(pci_config_read(t.bus, devfn, PCI_INTERRUPT_PIN, 1), ==, 0);
    vga_test_end(&t);

    Machine *m = test_machine_new(1 << 20);
    PciBus *bus = pci_bus_new(m, &m->mem_root, &m->io_root);
    g_autofree char *message = test_device_error(m, &vga_class, "romfile=,vgamem_mb=12");
    g_assert_nonnull(strstr(message, "vgamem_mb=12"));
    pci_bus_free(bus);
    test_machine_free(m);
}

static void test_mmio(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    uint8_t edid[128], sum = 0;
    for (unsigned i = 0; i < 128; i++)
        sum += edid[i] = readb(t.m, MMIO + i);
    g_assert_cmphex(ld64_le(edid), ==, 0x00ffffffffffff00);
    g_assert_cmphex(sum, ==, 0);
    g_assert_cmpuint(edid[56] | (edid[58] & 0xf0) << 4, ==, 1280);
    g_assert_cmpuint(edid[59] | (edid[61] & 0xf0) << 4, ==, 800);
    g_assert_cmphex(readb(t.m, MMIO + 200), ==, 0);
    /* Ports 0x3c0 on at 0x400. */
    writeb(t.m, MMIO + 0x402, 0x23);
    g_assert_cmphex(inb(t.m, 0x3cc), ==, 0x23);
    writew(t.m, MMIO + 0x404, 0x0a02);
    g_assert_cmphex(get_reg(&t, 0x3c4, 2), ==, 0x0a);
    g_assert_cmphex(readb(t.m, MMIO + 0x405), ==, 0x0a);
    /* VBE registers at 0x500. */
    g_assert_cmphex(readw(t.m, MMIO + 0x500), ==, 0xb0c5);
    writew(t.m, MMIO + 0x502, 640);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 640);
    g_assert_cmpuint(readw(t.m, MMIO + 0x514), ==, 256);
    /* The extended area. */
    g_assert_cmphex(readl(t.m, MMIO + 0x600), ==, 8);
    g_assert_cmphex(readl(t.m, MMIO + 0x604), ==, 0x1e1e1e1e);
    writel(t.m, MMIO + 0x604, 0xbebebebe);
    g_assert_cmphex(readl(t.m, MMIO + 0x604), ==, 0xbebebebe);
    writel(t.m, MMIO + 0x604, 0x12345678);
    g_assert_cmphex(readl(t.m, MMIO + 0x604), ==, 0xbebebebe);
    vga_test_end(&t);

    vga_test_start(&t, "romfile=,addr=2,edid=off");
    g_assert_cmphex(readl(t.m, MMIO), ==, 0xffffffff);
    vga_test_end(&t);
}

static void test_state(void)
{
    VgaTest t;
    vga_test_start(&t, NULL);
    set_mode(&t, &mode_13);
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 0x31); /* flip-flop in the middle */
    set_vbe_mode(&t, 800, 600, 16);
    set_vbe(&t, 5, 7);
    inb(t.m, 0x3da);
    outb(t.m, 0x3c0, 0x31);
    test_device_state(t.dev);
    g_assert_cmpuint(get_vbe(&t, 1), ==, 800);
    hwaddr offset;
    g_assert_cmpint(region_at(&t, 0xa0000, &offset)->kind, ==, REGION_RAM);
    g_assert_cmphex(offset, ==, 0x70000);
    refresh(&t);
    assert_size(&t, 800, 600);
    vga_test_end(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vga/registers", test_registers);
    g_test_add_func("/vga/crtc-ports", test_crtc_ports);
    g_test_add_func("/vga/attribute", test_attribute);
    g_test_add_func("/vga/dac", test_dac);
    g_test_add_func("/vga/retrace", test_retrace);
    g_test_add_func("/vga/planar-modes", test_planar_modes);
    g_test_add_func("/vga/wide-access", test_wide_access);
    g_test_add_func("/vga/maps", test_maps);
    g_test_add_func("/vga/odd-even", test_odd_even);
    g_test_add_func("/vga/direct-window", test_direct_window);
    g_test_add_func("/vga/vbe-registers", test_vbe_registers);
    g_test_add_func("/vga/vbe-banks-and-clear", test_vbe_banks_and_clear);
    g_test_add_func("/vga/vbe-planar-bank", test_vbe_planar_bank);
    g_test_add_func("/vga/pci", test_pci);
    g_test_add_func("/vga/mmio", test_mmio);
    g_test_add_func("/vga/state", test_state);
    add_draw_tests();
    add_fuzz_tests();
    return g_test_run();
}
