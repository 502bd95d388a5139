/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The i440FX host bridge: mechanism #1, RAM's layout, PAM and SMRAM with real contents. */
#include "hw/pci/i440fx.h"
#include "hw/registry.h"
#include "test-pci.h"
#include "util/bytes.h"

#define RAM_SIZE  (64u << 20)
#define BIOS_SIZE 0x40000
#define PAM0      0x59
#define SMRAM     0x72

static Machine *m;
static Device *bridge;
static Region bios, vga;
static uint8_t vga_last;

static uint64_t vga_read(void *opaque, hwaddr offset, unsigned size)
{
    return 0x7a;
}

static void vga_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    vga_last = (uint8_t)value;
}

static const RegionOps vga_ops = {.read = vga_read, .write = vga_write, .max_size = 1};

/* The BIOS's byte at an address in its last 128 KiB under 1 MiB. */
static uint8_t bios_byte(uint32_t addr)
{
    return (uint8_t)(0x80 | (addr >> 12 & 0x7f));
}

static void set_up(const char *props)
{
    m = test_machine_new(RAM_SIZE);
    bridge = test_device(m, &i440fx_class, props);
    g_assert_true(region_init_rom(&bios, "bios", BIOS_SIZE, NULL));
    for (uint32_t i = 0; i < BIOS_SIZE; i++)
        region_ram_ptr(&bios)[i] = bios_byte(0x100000 - BIOS_SIZE + i);
    i440fx_map_bios(bridge, &bios);
    region_init_io(&vga, "vga", 0x20000, &vga_ops, NULL, NULL);
    region_add_overlap(pci_bus_memory(pci_bus(m)), 0xa0000, &vga, 1);
}

static void tear_down(void)
{
    region_fini(&vga);
    device_free(bridge);
    region_fini(&bios);
    test_machine_free(m);
}

static uint8_t *ram(uint32_t addr)
{
    return region_ram_ptr(m->ram) + addr;
}

/* ---- Mechanism #1 ---- */

static void test_reset_values(void)
{
    set_up(NULL);
    g_assert_cmphex(cfg_readl(m, 0, 0x00), ==, 0x12378086);
    g_assert_cmphex(cfg_readl(m, 0, 0x08), ==, 0x06000002);
    g_assert_cmphex(cfg_readl(m, 0, 0x0c), ==, 0);
    g_assert_cmphex(cfg_readl(m, 0, 0x2c), ==, 0x11001af4);
    g_assert_cmphex(cfg_readb(m, 0, 0x57), ==, RAM_SIZE >> 23);
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 2);
    for (unsigned reg = PAM0; reg < PAM0 + 7; reg++)
        g_assert_cmphex(cfg_readb(m, 0, reg), ==, 0);
    tear_down();
}

static uint8_t reset_value;
static unsigned reset_writes;

static uint8_t reset_read(void *opaque)
{
    return reset_value;
}

static void reset_write(void *opaque, uint8_t value)
{
    reset_value = value;
    reset_writes++;
}

static void test_config_address(void)
{
    set_up(NULL);
    outl(m, 0xcf8, 0xffffffff);
    g_assert_cmphex(inl(m, 0xcf8), ==, 0x80fffffc);
    outl(m, 0xcf8, 0x80000000);
    /* Smaller accesses do not reach the register. */
    outb(m, 0xcf8, 0x12);
    outw(m, 0xcf8, 0x3456);
    outb(m, 0xcfb, 0);
    g_assert_cmphex(inl(m, 0xcf8), ==, 0x80000000);
    g_assert_cmphex(inb(m, 0xcf8), ==, 0xff);
    g_assert_cmphex(inw(m, 0xcf8), ==, 0xffff);
    /* Byte 0xcf9 is the south bridge's, and only as a byte. */
    g_assert_cmphex(inb(m, 0xcf9), ==, 0xff);
    pci_bus_set_reset_control(pci_bus(m), reset_read, reset_write, NULL);
    reset_writes = 0;
    outb(m, 0xcf9, 2);
    g_assert_cmphex(inb(m, 0xcf9), ==, 2);
    outl(m, 0xcf8, 0x80000800);
    g_assert_cmphex(inl(m, 0xcf8), ==, 0x80000800);
    g_assert_cmpuint(reset_writes, ==, 1);
    /* The data port in all sizes and at all offsets; silent without the enable bit or on another
     * bus. */
    outl(m, 0xcf8, 0x80000000);
    g_assert_cmphex(inl(m, 0xcfc), ==, 0x12378086);
    g_assert_cmphex(inw(m, 0xcfe), ==, 0x1237);
    g_assert_cmphex(inw(m, 0xcfd), ==, 0x3780);
    g_assert_cmphex(inb(m, 0xcff), ==, 0x12);
    outl(m, 0xcf8, 0);
    g_assert_cmphex(inl(m, 0xcfc), ==, 0xffffffff);
    outl(m, 0xcf8, 0x80010000);
    g_assert_cmphex(inl(m, 0xcfc), ==, 0xffffffff);
    /* Past the end of configuration space. */
    outl(m, 0xcf8, 0x800000fc);
    inl(m, 0xcff);
    inl(m, 0xcfd);
    outl(m, 0xcfe, 0xffffffff);
    tear_down();
}

static void test_hostile(void)
{
    set_up(NULL);
    cfg_hammer(m, 0);
    readl(m, 0xa0000);
    readl(m, 0xc0000);
    writel(m, 0xf0000, 1);
    device_reset(bridge);
    g_assert_cmphex(cfg_readl(m, 0, 0), ==, 0x12378086);
    g_assert_cmphex(readb(m, 0xf0000), ==, bios_byte(0xf0000));
    test_device_state(bridge);
    tear_down();
}

/* ---- Layout ---- */

static void test_below_4g(void)
{
    g_assert_cmphex(i440fx_below_4g(64 << 20), ==, 64 << 20);
    g_assert_cmphex(i440fx_below_4g(0xe0000000 - 4096), ==, 0xe0000000 - 4096);
    g_assert_cmphex(i440fx_below_4g(0xe0000000), ==, 0xc0000000);
    g_assert_cmphex(i440fx_below_4g(1ULL << 40), ==, 0xc0000000);
}

static void test_layout(void)
{
    set_up("below-4g-mem-size=16M");
    g_assert_cmphex(i440fx_ram_below_4g(bridge), ==, 16 << 20);
    writel(m, (16 << 20) - 4, 0x11111111);
    writel(m, 16 << 20, 0x22222222); /* the hole */
    writel(m, 1ULL << 32, 0x33333333);
    writel(m, (1ULL << 32) + (48 << 20) - 4, 0x44444444);
    writel(m, (1ULL << 32) + (48 << 20), 0x55555555);
    g_assert_cmphex(ld32_le(ram((16 << 20) - 4)), ==, 0x11111111);
    g_assert_cmphex(ld32_le(ram(16 << 20)), ==, 0x33333333);
    g_assert_cmphex(ld32_le(ram((64 << 20) - 4)), ==, 0x44444444);
    g_assert_cmphex(readl(m, 16 << 20), ==, 0xffffffff);
    g_assert_cmphex(readl(m, (1ULL << 32) + (48 << 20)), ==, 0xffffffff);
    /* The BIOS below 4 GiB and, its last 128 KiB, below 1 MiB; ROM all the same. */
    writeb(m, 0xffffffff, 0);
    g_assert_cmphex(readb(m, 0xffffffff), ==, bios_byte(0xfffff));
    g_assert_cmphex(readb(m, 0xfffc0000), ==, bios_byte(0xc0000));
    g_assert_cmphex(readb(m, 0xe0000), ==, bios_byte(0xe0000));
    g_assert_cmphex(readb(m, 0xdffff), ==, 0xff);
    tear_down();
}

static void test_bad_layout(void)
{
    static const char *const bad[] = {"below-4g-mem-size=4G", "below-4g-mem-size=64K",
                                      "below-4g-mem-size=1048577b"};
    m = test_machine_new(RAM_SIZE);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_free(test_device_error(m, &i440fx_class, bad[i]));
    test_machine_free(m);
}

/* ---- PAM ---- */

typedef struct Segment {
    uint32_t base, size;
    unsigned reg, shift;
} Segment;

static Segment segment_at(unsigned n)
{
    if (n == 0)
        return (Segment){0xf0000, 0x10000, PAM0, 4};
    return (Segment){0xc0000 + (n - 1) * 0x4000, 0x4000, PAM0 + (n + 1) / 2, n & 1 ? 0 : 4};
}

static void set_mode(const Segment *s, unsigned mode)
{
    uint8_t old = cfg_readb(m, 0, s->reg);
    cfg_writeb(m, 0, s->reg, (uint8_t)((old & ~(3u << s->shift)) | mode << s->shift));
}

static void test_pam(void)
{
    set_up(NULL);
    for (unsigned n = 0; n < 13; n++) {
        Segment s = segment_at(n);
        uint32_t ends[] = {s.base, s.base + s.size - 1};
        for (unsigned i = 0; i < 2; i++) {
            uint32_t at = ends[i];
            uint8_t rom = at >= 0xe0000 ? bios_byte(at) : 0xff;
            *ram(at) = 0x11;
            set_mode(&s, 0); /* PCI for both */
            g_assert_cmphex(readb(m, at), ==, rom);
            writeb(m, at, 0x22);
            g_assert_cmphex(*ram(at), ==, 0x11);
            set_mode(&s, 1); /* read-only RAM */
            g_assert_cmphex(readb(m, at), ==, 0x11);
            writeb(m, at, 0x22);
            g_assert_cmphex(*ram(at), ==, 0x11);
            set_mode(&s, 2); /* reads ROM, writes RAM */
            g_assert_cmphex(readb(m, at), ==, rom);
            writeb(m, at, 0x33);
            g_assert_cmphex(*ram(at), ==, 0x33);
            g_assert_cmphex(readb(m, at), ==, rom);
            set_mode(&s, 3); /* RAM */
            g_assert_cmphex(readb(m, at), ==, 0x33);
            writeb(m, at, 0x44);
            g_assert_cmphex(readb(m, at), ==, 0x44);
            uint32_t neighbour = i ? s.base + s.size : s.base - 1; /* keeps its own mode */
            g_assert_cmphex(readb(m, neighbour), !=, 0x44);
            set_mode(&s, 0);
            *ram(at) = 0;
        }
    }
    tear_down();
}

/* What a BIOS does: copy itself over itself, then run from RAM. */
static void test_shadow(void)
{
    uint8_t buf[0x1000];
    set_up(NULL);
    cfg_writeb(m, 0, PAM0, 0x20);
    for (uint32_t at = 0xf0000; at < 0x100000; at += sizeof(buf)) {
        as_read(&m->mem, at, buf, sizeof(buf));
        as_write(&m->mem, at, buf, sizeof(buf));
    }
    writeq(m, 0xf0008, 0x1122334455667788);
    cfg_writeb(m, 0, PAM0, 0x30);
    g_assert_cmphex(readb(m, 0xfffff), ==, bios_byte(0xfffff));
    g_assert_cmphex(readq(m, 0xf0008), ==, 0x1122334455667788);
    /* Reset brings the ROM back. */
    device_reset(bridge);
    g_assert_cmphex(readb(m, 0xf0008), ==, bios_byte(0xf0008));
    tear_down();
}

/* ---- VGA window and SMRAM ---- */

static void test_smram(void)
{
    AddressSpace smm;
    uint64_t value;
    set_up(NULL);
    as_init(&smm, "smm", i440fx_smm_root(bridge), UINT64_MAX);
    *ram(0xa8000) = 0x5a;
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x7a);
    writeb(m, 0xbffff, 0x99);
    g_assert_cmphex(vga_last, ==, 0x99);
    as_load(&smm, 0xa8000, 1, &value);
    g_assert_cmphex(value, ==, 0x7a);
    /* D_OPEN does nothing without G_SMRAME. */
    cfg_writeb(m, 0, SMRAM, 0x40);
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 0x42);
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x7a);
    cfg_writeb(m, 0, SMRAM, 0x48);
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x5a);
    /* Closed: only system management mode sees it. */
    cfg_writeb(m, 0, SMRAM, 0x08);
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x7a);
    as_load(&smm, 0xa8000, 1, &value);
    g_assert_cmphex(value, ==, 0x5a);
    as_load(&smm, 0xfffff, 1, &value); /* the rest is the same */
    g_assert_cmphex(value, ==, bios_byte(0xfffff));
    /* Locked: closed for good. */
    cfg_writeb(m, 0, SMRAM, 0x58);
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 0x1a);
    cfg_writeb(m, 0, SMRAM, 0x40);
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 0x1a);
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x7a);
    test_device_state(bridge);
    cfg_writeb(m, 0, SMRAM, 0x40); /* the lock survived the snapshot */
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 0x1a);
    device_reset(bridge);
    g_assert_cmphex(cfg_readb(m, 0, SMRAM), ==, 2);
    cfg_writeb(m, 0, SMRAM, 0x48);
    g_assert_cmphex(readb(m, 0xa8000), ==, 0x5a);
    as_fini(&smm);
    tear_down();
}

static void test_state(void)
{
    set_up(NULL);
    cfg_writeb(m, 0, PAM0, 0x30);
    cfg_writeb(m, 0, PAM0 + 1, 0x21);
    outl(m, 0xcf8, 0x80001234);
    writeb(m, 0xf1234, 0x42);
    test_device_state(bridge);
    g_assert_cmphex(inl(m, 0xcf8), ==, 0x80001234);
    g_assert_cmphex(readb(m, 0xf1234), ==, 0x42);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i440fx/reset-values", test_reset_values);
    g_test_add_func("/i440fx/config-address", test_config_address);
    g_test_add_func("/i440fx/hostile", test_hostile);
    g_test_add_func("/i440fx/below-4g", test_below_4g);
    g_test_add_func("/i440fx/layout", test_layout);
    g_test_add_func("/i440fx/bad-layout", test_bad_layout);
    g_test_add_func("/i440fx/pam", test_pam);
    g_test_add_func("/i440fx/shadow", test_shadow);
    g_test_add_func("/i440fx/smram", test_smram);
    g_test_add_func("/i440fx/state", test_state);
    return g_test_run();
}
