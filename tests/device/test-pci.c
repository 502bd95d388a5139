/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI core, by a device of the test's own: configuration space, BARs, pins, MSI, DMA, ROM. */
#include "test-pci.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "hw/registry.h"
#include "util/bytes.h"

/* ---- A device with a BAR of each kind ---- */

typedef struct Toy {
    PciDevice pci;
    uint8_t registers[16];
    Region memory, ports, wide;
} Toy;

static uint64_t toy_read(void *opaque, hwaddr offset, unsigned size)
{
    return ldn_le(((Toy *)opaque)->registers + (offset & 8), size);
}

static void toy_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    stn_le(((Toy *)opaque)->registers + (offset & 8), size, value);
}

static const RegionOps toy_ops = {.read = toy_read, .write = toy_write};

static bool toy_realize(Device *dev, GError **error)
{
    Toy *s = (Toy *)dev;
    if (!pci_device_init(&s->pci, error))
        return false;
    region_init_io(&s->memory, "toy-mem", 0x1000, &toy_ops, s, NULL);
    region_init_io(&s->ports, "toy-io", 0x20, &toy_ops, s, NULL);
    region_init_io(&s->wide, "toy-wide", 1 << 20, &toy_ops, s, NULL);
    pci_set_bar_memory(&s->pci, 0, &s->memory, false, false);
    pci_set_bar_io(&s->pci, 1, &s->ports);
    pci_set_bar_memory(&s->pci, 2, &s->wide, true, true);
    pci_add_capability(&s->pci, 0x09, 8);
    pci_add_msi(&s->pci, 2, true, true);
    return true;
}

static void toy_reset(Device *dev)
{
    pci_device_reset((PciDevice *)dev);
}

static void toy_unrealize(Device *dev)
{
    Toy *s = (Toy *)dev;
    pci_device_fini(&s->pci);
    region_fini(&s->memory);
    region_fini(&s->ports);
    region_fini(&s->wide);
}

static const StateField toy_fields[] = {
    STATE_STRUCT(Toy, pci, &pci_device_state),
    STATE_BYTES(Toy, registers),
    STATE_HOST(Toy, memory),
    STATE_HOST(Toy, ports),
    STATE_HOST(Toy, wide),
    STATE_END,
};
static const StateDesc toy_state = {"toy", 1, sizeof(Toy), toy_fields};
static const Prop toy_props[] = {PCI_DEVICE_PROPS(Toy), PROP_END};
static const PciInfo toy_info = {
    .vendor = 0x1234,
    .device = 0x5678,
    .revision = 9,
    .class_code = 0x020000,
    .interrupt_pin = 1,
};
static const DeviceClass toy_class = {
    .name = "toy",
    .desc = "toy",
    .bus = BUS_PCI,
    .size = sizeof(Toy),
    .props = toy_props,
    .state = &toy_state,
    .realize = toy_realize,
    .reset = toy_reset,
    .unrealize = toy_unrealize,
    .bus_info = &toy_info,
};

#define SLOT3 PCI_DEVFN(3, 0)
#define MSI   0x48 /* the toy's second capability */

static Machine *m;
static Toy *toy;

static void set_up(const char *props)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    toy = (Toy *)test_device(m, &toy_class, props);
}

static void command(uint16_t value)
{
    cfg_writew(m, SLOT3, PCI_COMMAND, value);
}

/* ---- Tests ---- */

static void test_header(void)
{
    set_up("addr=3");
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_VENDOR_ID), ==, 0x56781234);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_COMMAND), ==, 0x00100000);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_REVISION), ==, 0x02000009);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_SUBSYSTEM_VENDOR_ID), ==, 0x11001af4);
    g_assert_cmphex(cfg_readb(m, SLOT3, PCI_CAPABILITY_LIST), ==, MSI);
    g_assert_cmphex(cfg_readw(m, SLOT3, MSI), ==, 0x4005);
    g_assert_cmphex(cfg_readw(m, SLOT3, 0x40), ==, 0x0009);
    g_assert_cmphex(cfg_readb(m, SLOT3, PCI_INTERRUPT_PIN), ==, 1);
    /* What a guest may change, and what not. */
    command(0xffff);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_COMMAND), ==, 0x0507);
    cfg_writel(m, SLOT3, PCI_VENDOR_ID, 0);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_VENDOR_ID), ==, 0x56781234);
    cfg_writeb(m, SLOT3, PCI_INTERRUPT_LINE, 11);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_INTERRUPT_LINE), ==, 0x010b);
    cfg_writeb(m, SLOT3, 0x90, 0x5a);
    g_assert_cmphex(cfg_readb(m, SLOT3, 0x90), ==, 0x5a);
    device_reset(&toy->pci.dev);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_COMMAND), ==, 0);
    g_assert_cmphex(cfg_readb(m, SLOT3, 0x90), ==, 0);
    /* Where there is no device. */
    g_assert_cmphex(cfg_readl(m, PCI_DEVFN(4, 0), 0), ==, 0xffffffff);
    g_assert_cmphex(cfg_readb(m, PCI_DEVFN(31, 7), 0xff), ==, 0xff);
    test_machine_free(m);
}

static void test_bar_size(void)
{
    set_up("addr=3");
    static const struct {
        unsigned reg;
        uint32_t at_reset, sized;
    } rows[] = {
        {0x10, 0, 0xfffff000}, {0x14, 1, 0xffffffe1}, {0x18, 0xc, 0xfff0000c},
        {0x1c, 0, 0xffffffff}, {0x20, 0, 0},          {0x30, 0, 0},
    };
    command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_assert_cmphex(cfg_readl(m, SLOT3, rows[i].reg), ==, rows[i].at_reset);
        cfg_writel(m, SLOT3, rows[i].reg, 0xffffffff);
        g_assert_cmphex(cfg_readl(m, SLOT3, rows[i].reg), ==, rows[i].sized);
    }
    for (unsigned n = 0; n < 3; n++)
        g_assert_false(toy->pci.bars[n].mapped);
    test_machine_free(m);
}

static void test_bar_map(void)
{
    set_up("addr=3");
    stn_le(toy->registers, 4, 0x11223344);
    cfg_writel(m, SLOT3, 0x10, 0xfe000000);
    cfg_writel(m, SLOT3, 0x14, 0xc000);
    g_assert_cmphex(readl(m, 0xfe000000), ==, 0xffffffff); /* decoding is still off */
    command(PCI_COMMAND_MEMORY);
    g_assert_cmphex(readl(m, 0xfe000000), ==, 0x11223344);
    g_assert_cmphex(inl(m, 0xc000), ==, 0xffffffff);
    command(PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    g_assert_cmphex(inl(m, 0xc000), ==, 0x11223344);
    outl(m, 0xc008, 0xdeadbeef);
    g_assert_cmphex(readl(m, 0xfe000008), ==, 0xdeadbeef);
    /* A byte write moves it. */
    cfg_writeb(m, SLOT3, 0x13, 0xfd);
    g_assert_cmphex(readl(m, 0xfe000000), ==, 0xffffffff);
    g_assert_cmphex(readl(m, 0xfd000000), ==, 0x11223344);
    /* 64 bits: above 4 GiB. */
    cfg_writel(m, SLOT3, 0x18, 0x00100000);
    cfg_writel(m, SLOT3, 0x1c, 0x00000080);
    g_assert_cmphex(readl(m, 0x8000100000), ==, 0x11223344);
    command(0);
    g_assert_cmphex(readl(m, 0xfd000000), ==, 0xffffffff);
    g_assert_cmphex(readl(m, 0x8000100000), ==, 0xffffffff);
    g_assert_cmphex(inl(m, 0xc000), ==, 0xffffffff);
    test_machine_free(m);
}

/* Addresses at which a BAR would hide RAM, wrap or leave the address space. */
static void test_bar_hostile(void)
{
    set_up("addr=3");
    command(PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    writel(m, 0x100000, 0x600d600d);
    cfg_writel(m, SLOT3, 0x10, 0x100000);
    g_assert_cmphex(readl(m, 0x100000), ==, 0x600d600d);
    static const uint32_t low[] = {0, 0xfffff000, 0xfff00000, 0x10, 0xdeadbeef};
    static const uint32_t high[] = {0, 0xffffffff, 0x80000000, 0x00100000, 0x000fffff};
    for (unsigned i = 0; i < G_N_ELEMENTS(low); i++) {
        cfg_writel(m, SLOT3, 0x10, low[i]);
        cfg_writel(m, SLOT3, 0x14, low[i]);
        for (unsigned j = 0; j < G_N_ELEMENTS(high); j++) {
            cfg_writel(m, SLOT3, 0x18, low[i]);
            cfg_writel(m, SLOT3, 0x1c, high[j]);
            readl(m, 0xfffffffc);
            readl(m, (uint64_t)high[j] << 32 | low[i]);
            g_assert_cmpuint(toy->pci.bars[2].addr, <, 1ULL << 52);
        }
    }
    g_assert_cmphex(readl(m, 0x100000), ==, 0x600d600d);
    cfg_hammer(m, SLOT3);
    device_reset(&toy->pci.dev);
    g_assert_cmphex(cfg_readl(m, SLOT3, 0), ==, 0x56781234);
    test_machine_free(m);
}

typedef struct Pin {
    unsigned devfn, pin, calls;
    bool level;
} Pin;

static void record_pin(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    Pin *p = opaque;
    *p = (Pin){devfn, pin, p->calls + 1, level};
}

static void test_intx(void)
{
    Pin pin = {0};
    set_up("addr=3");
    pci_bus_set_irq_route(pci_bus(m), record_pin, &pin);
    pci_set_irq(&toy->pci, true);
    pci_set_irq(&toy->pci, true);
    g_assert_cmpuint(pin.calls, ==, 1);
    g_assert_cmpuint(pin.devfn, ==, SLOT3);
    g_assert_cmpuint(pin.pin, ==, 0);
    g_assert_true(pin.level);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_STATUS) & 8, ==, 8);
    /* The disable bit hides the pin from the bus, not the status bit from the guest. */
    command(PCI_COMMAND_INTX_DISABLE);
    g_assert_false(pin.level);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_STATUS) & 8, ==, 8);
    command(0);
    g_assert_true(pin.level);
    cfg_writew(m, SLOT3, PCI_STATUS, 0xffff);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_STATUS) & 8, ==, 8);
    test_device_state(&toy->pci.dev);
    device_reset(&toy->pci.dev);
    g_assert_false(pin.level);
    g_assert_cmphex(cfg_readw(m, SLOT3, PCI_STATUS) & 8, ==, 0);
    test_machine_free(m);
}

static void expect_msi(uint64_t address, uint32_t data)
{
    uint64_t got_address;
    uint32_t got_data;
    g_assert_true(test_msi_pop(m, &got_address, &got_data));
    g_assert_cmphex(got_address, ==, address);
    g_assert_cmphex(got_data, ==, data);
    g_assert_false(test_msi_pop(m, &got_address, &got_data));
}

static void expect_no_msi(void)
{
    uint64_t address;
    uint32_t data;
    g_assert_false(test_msi_pop(m, &address, &data));
}

static void test_msi(void)
{
    set_up("addr=3");
    g_assert_cmphex(cfg_readw(m, SLOT3, MSI + 2), ==, 0x0184); /* 64 bits, masks, 4 vectors */
    g_assert_false(pci_msi_send(&toy->pci, 0));
    cfg_writel(m, SLOT3, MSI + 4, 0xfee01003);
    cfg_writel(m, SLOT3, MSI + 8, 1);
    cfg_writew(m, SLOT3, MSI + 12, 0x4031);
    cfg_writew(m, SLOT3, MSI + 2, 0x0001);
    g_assert_true(pci_msi_enabled(&toy->pci));
    /* A message is a memory write: without bus mastering it goes nowhere. */
    g_assert_true(pci_msi_send(&toy->pci, 0));
    expect_no_msi();
    command(PCI_COMMAND_MASTER);
    g_assert_true(pci_msi_send(&toy->pci, 0));
    expect_msi(0x1fee01000, 0x4031);
    /* One vector allocated: all share it. */
    g_assert_true(pci_msi_send(&toy->pci, 3));
    expect_msi(0x1fee01000, 0x4031);
    /* Four, though the guest claims 128. */
    cfg_writew(m, SLOT3, MSI + 2, 0x0071);
    g_assert_true(pci_msi_send(&toy->pci, 3));
    expect_msi(0x1fee01000, 0x4033);
    g_assert_true(pci_msi_send(&toy->pci, 77));
    expect_msi(0x1fee01000, 0x4031);
    test_machine_free(m);
}

static void test_msi_mask(void)
{
    set_up("addr=3");
    command(PCI_COMMAND_MASTER);
    cfg_writel(m, SLOT3, MSI + 4, 0xfee00000);
    cfg_writew(m, SLOT3, MSI + 12, 0x40);
    cfg_writew(m, SLOT3, MSI + 2, 0x0021);
    cfg_writel(m, SLOT3, MSI + 16, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, SLOT3, MSI + 16), ==, 0xf);
    pci_msi_send(&toy->pci, 2);
    pci_msi_send(&toy->pci, 2);
    expect_no_msi();
    g_assert_cmphex(cfg_readl(m, SLOT3, MSI + 20), ==, 4);
    cfg_writel(m, SLOT3, MSI + 20, 0); /* read-only */
    test_device_state(&toy->pci.dev);
    cfg_writel(m, SLOT3, MSI + 16, 0xb);
    expect_msi(0xfee00000, 0x42);
    g_assert_cmphex(cfg_readl(m, SLOT3, MSI + 20), ==, 0);
    test_machine_free(m);
}

static void test_dma(void)
{
    uint8_t buf[4] = {1, 2, 3, 4};
    uint64_t length = 4;
    set_up("addr=3");
    g_assert_cmpint(pci_dma_write(&toy->pci, 0x1000, buf, 4), ==, MEM_UNASSIGNED);
    g_assert_cmphex(readl(m, 0x1000), ==, 0);
    g_assert_null(pci_dma_map(&toy->pci, 0x1000, &length, true));
    g_assert_cmpint(pci_dma_read(&toy->pci, 0x1000, buf, 4), ==, MEM_UNASSIGNED);
    g_assert_cmphex(ld32_le(buf), ==, 0xffffffff);
    command(PCI_COMMAND_MASTER);
    st32_le(buf, 0x04030201);
    g_assert_cmpint(pci_dma_write(&toy->pci, 0x1000, buf, 4), ==, MEM_OK);
    g_assert_cmphex(readl(m, 0x1000), ==, 0x04030201);
    uint8_t *host = pci_dma_map(&toy->pci, 0x1000, &length, true);
    g_assert_nonnull(host);
    g_assert_cmphex(ld32_le(host), ==, 0x04030201);
    pci_dma_unmap(&toy->pci, host, 4);
    /* Into a device's own registers, and nowhere. */
    cfg_writel(m, SLOT3, 0x10, 0xfe000000);
    command(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    g_assert_cmpint(pci_dma_write(&toy->pci, 0xfe000000, buf, 4), ==, MEM_UNASSIGNED);
    g_assert_cmphex(readl(m, 0xfe000000), ==, 0);
    g_assert_cmpint(pci_dma_write(&toy->pci, UINT64_MAX - 1, buf, 4), ==, MEM_UNASSIGNED);
    test_machine_free(m);
}

static void test_slots(void)
{
    set_up(NULL);
    g_assert_cmpint(toy->pci.devfn, ==, PCI_DEVFN(1, 0)); /* the first that is free */
    char *message = test_device_error(m, &toy_class, "addr=1");
    g_assert_cmpstr(message, ==, "toy: addr=1.0 is in use by 'toy'");
    g_free(message);
    message = test_device_error(m, &toy_class, "addr=1.2");
    g_assert_nonnull(strstr(message, "multifunction=on"));
    g_free(message);
    static const char *const bad[] = {"addr=20", "addr=1.8", "addr=x",
                                      "addr=-1", "addr=1.",  "addr=1.0.0"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_free(test_device_error(m, &toy_class, bad[i]));
    Toy *first = (Toy *)test_device(m, &toy_class, "addr=1f.0,multifunction=on");
    Toy *second = (Toy *)test_device(m, &toy_class, "addr=0x1f.7");
    g_assert_cmphex(cfg_readb(m, PCI_DEVFN(31, 0), PCI_HEADER_TYPE), ==, 0x80);
    g_assert_cmphex(cfg_readl(m, PCI_DEVFN(31, 7), 0), ==, 0x56781234);
    device_free(&second->pci.dev);
    g_assert_cmphex(cfg_readl(m, PCI_DEVFN(31, 7), 0), ==, 0xffffffff);
    device_free(&first->pci.dev);
    /* All 32 slots, and one more. */
    for (unsigned slot = 2; slot < 32; slot++)
        test_device(m, &toy_class, NULL);
    g_free(test_device_error(m, &toy_class, NULL));
    test_machine_free(m);
}

static void test_no_bus(void)
{
    m = test_machine_new(1 << 20);
    char *message = test_device_error(m, &toy_class, NULL);
    g_assert_cmpstr(message, ==, "toy: the machine has no PCI bus");
    g_free(message);
    test_machine_free(m);
}

static void test_rom(void)
{
    uint8_t image[5000];
    g_autofree char *path = g_strdup_printf("%s/vmrun-rom-%d", g_get_tmp_dir(), (int)getpid());
    for (unsigned i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(i * 7);
    g_assert_true(g_file_set_contents(path, (const char *)image, sizeof(image), NULL));
    g_autofree char *props = g_strdup_printf("addr=3,romfile=%s", path);
    set_up(props);
    cfg_writel(m, SLOT3, PCI_ROM_ADDRESS, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_ROM_ADDRESS), ==, 0xffffe001); /* 8 KiB */
    command(PCI_COMMAND_MEMORY);
    cfg_writel(m, SLOT3, PCI_ROM_ADDRESS, 0xfeb00000);
    g_assert_cmphex(readb(m, 0xfeb00001), ==, 0xff); /* its own enable bit is off */
    cfg_writel(m, SLOT3, PCI_ROM_ADDRESS, 0xfeb00001);
    for (unsigned i = 0; i < sizeof(image); i += 499)
        g_assert_cmphex(readb(m, 0xfeb00000 + i), ==, image[i]);
    writeb(m, 0xfeb00001, 0x55);
    g_assert_cmphex(readb(m, 0xfeb00001), ==, 7);
    test_machine_free(m);

    g_autofree char *no_bar = g_strdup_printf("addr=3,rombar=off,romfile=%s", path);
    set_up(no_bar);
    cfg_writel(m, SLOT3, PCI_ROM_ADDRESS, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, SLOT3, PCI_ROM_ADDRESS), ==, 0);
    char *message = test_device_error(m, &toy_class, "romfile=/nonexistent/rom");
    g_assert_nonnull(strstr(message, "toy: romfile"));
    g_free(message);
    g_assert_null(pci_bus_device(pci_bus(m), PCI_DEVFN(1, 0)));
    test_machine_free(m);
    g_unlink(path);
}

static void test_state(void)
{
    set_up("addr=3");
    command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    cfg_writel(m, SLOT3, 0x10, 0xfe000000);
    test_device_state(&toy->pci.dev);
    g_assert_true(toy->pci.bars[0].mapped); /* the round trip reset it and mapped it again */
    g_assert_cmphex(readl(m, 0xfe000000), ==, 0);
    /* A snapshot cannot turn it into another device. */
    g_autoptr(GByteArray) saved = g_byte_array_new();
    memset(toy->pci.config, 0xff, 64);
    toy->pci.config[MSI + 2] = 0xff;
    state_save(&toy_state, toy, saved);
    const uint8_t *at = saved->data;
    g_assert_true(state_load(&toy_state, toy, &at, at + saved->len, NULL));
    g_assert_cmphex(cfg_readl(m, SLOT3, 0), ==, 0x56781234);
    g_assert_cmphex(cfg_readl(m, SLOT3, 0x18), ==, 0xfff0000c);
    g_assert_cmphex(cfg_readb(m, SLOT3, MSI + 2), ==, 0xf5);
    test_machine_free(m);
}

static void test_info(void)
{
    set_up("addr=3");
    command(PCI_COMMAND_MEMORY);
    cfg_writel(m, SLOT3, 0x10, 0xfe000000);
    cfg_writeb(m, SLOT3, PCI_INTERRUPT_LINE, 11);
    g_autoptr(GString) out = g_string_new(NULL);
    pci_bus_describe(pci_bus(m), out);
    g_assert_cmpstr(out->str, ==,
                    "  Bus  0, device   0, function 0:\n"
                    "    Host bridge: PCI device 8086:1237\n"
                    "      PCI subsystem 1af4:1100\n"
                    "      id \"i440FX\"\n"
                    "  Bus  0, device   3, function 0:\n"
                    "    Ethernet controller: PCI device 1234:5678\n"
                    "      PCI subsystem 1af4:1100\n"
                    "      IRQ 11, pin A\n"
                    "      BAR0: 32 bit memory at 0xfe000000 [0xfe000fff].\n"
                    "      BAR1: I/O at 0xffffffffffffffff [0x001e].\n"
                    "      BAR2: 64 bit prefetchable memory at 0xffffffffffffffff [0x000ffffe].\n"
                    "      id \"toy\"\n");
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/header", test_header);
    g_test_add_func("/pci/bar/size", test_bar_size);
    g_test_add_func("/pci/bar/map", test_bar_map);
    g_test_add_func("/pci/bar/hostile", test_bar_hostile);
    g_test_add_func("/pci/intx", test_intx);
    g_test_add_func("/pci/msi/send", test_msi);
    g_test_add_func("/pci/msi/mask", test_msi_mask);
    g_test_add_func("/pci/dma", test_dma);
    g_test_add_func("/pci/slots", test_slots);
    g_test_add_func("/pci/no-bus", test_no_bus);
    g_test_add_func("/pci/rom", test_rom);
    g_test_add_func("/pci/state", test_state);
    g_test_add_func("/pci/info", test_info);
    return g_test_run();
}
