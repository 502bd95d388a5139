/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PIIX3 ISA bridge: reset values, interrupt routing, reset control. */
#include "hw/registry.h"
#include "test-pci.h"

#define BRIDGE PCI_DEVFN(1, 0)
#define PIRQRC 0x60

static Machine *m;
static Device *bridge;

static void set_up(void)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    bridge = test_device(m, &piix3_class, NULL);
}

static PciDevice *plug(const char *props)
{
    PciDevice *pci = (PciDevice *)test_device(m, &pci_testdev_class, props);
    pci->config[PCI_INTERRUPT_PIN] = 1; /* the test device has no pin of its own */
    pci->reset_config[PCI_INTERRUPT_PIN] = 1;
    return pci;
}

/* As QEMU 7.2's pc machine has them before the firmware runs. */
static void test_reset_values(void)
{
    static const struct {
        unsigned reg;
        uint32_t value;
    } rows[] = {
        {0x00, 0x70008086}, {0x04, 0x02000007}, {0x08, 0x06010000}, {0x0c, 0x00800000},
        {0x2c, 0x11001af4}, {0x3c, 0},          {0x40, 0},          {0x4c, 0x0003004d},
        {0x60, 0x80808080}, {0x64, 0},          {0x68, 0x00000200}, {0x70, 0x00000080},
        {0x74, 0x0c0c0000}, {0x78, 0x00000002}, {0x80, 0},          {0xa0, 0x00000008},
        {0xa8, 0x0000000f}, {0xf8, 0},
    };
    set_up();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_cmphex(cfg_readl(m, BRIDGE, rows[i].reg), ==, rows[i].value);
    cfg_writel(m, BRIDGE, PIRQRC, 0x0b0a0b0a);
    device_reset(bridge);
    g_assert_cmphex(cfg_readl(m, BRIDGE, PIRQRC), ==, 0x80808080);
    test_machine_free(m);
}

static void test_swizzle(void)
{
    TestIrq irq[4] = {{0}};
    set_up();
    for (unsigned i = 0; i < 4; i++) {
        cfg_writeb(m, BRIDGE, PIRQRC + i, (uint8_t)(9 + i));
        test_isa_irq(m, 9 + i, &irq[i]);
    }
    for (unsigned slot = 2; slot < 10; slot++) {
        g_autofree char *props = g_strdup_printf("addr=%x", slot);
        PciDevice *pci = plug(props);
        for (unsigned pin = 0; pin < 4; pin++) {
            pci->config[PCI_INTERRUPT_PIN] = (uint8_t)(pin + 1);
            pci_set_irq(pci, true);
            for (unsigned i = 0; i < 4; i++)
                g_assert_cmpint(irq[i].level, ==, i == ((slot + pin - 1) & 3));
            pci_set_irq(pci, false);
            g_assert_false(irq[(slot + pin - 1) & 3].level);
        }
    }
    test_machine_free(m);
}

static void test_sharing(void)
{
    TestIrq irq10 = {0}, irq11 = {0};
    set_up();
    PciDevice *a = plug("addr=3"), *b = plug("addr=7"), *c = plug("addr=4");
    test_isa_irq(m, 10, &irq10);
    test_isa_irq(m, 11, &irq11);
    /* Slots 3 and 7 share PIRQC, slot 4 has PIRQD; both to line 10, together with an ISA device. */
    cfg_writew(m, BRIDGE, PIRQRC + 2, 0x0a0a);
    IrqLine isa = isa_irq(isa_bus(m), 10);
    pci_set_irq(a, true);
    pci_set_irq(b, true);
    pci_set_irq(c, true);
    irq_raise(&isa);
    pci_set_irq(a, false);
    pci_set_irq(c, false);
    g_assert_true(irq10.level);
    pci_set_irq(b, false);
    g_assert_true(irq10.level);
    irq_lower(&isa);
    g_assert_false(irq10.level);
    g_assert_cmpuint(irq10.rises, ==, 1);
    /* A change of the routing moves a level that stands. */
    pci_set_irq(a, true);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 11);
    g_assert_false(irq10.level);
    g_assert_true(irq11.level);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 0x8b); /* disabled */
    g_assert_false(irq11.level);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 11);
    g_assert_true(irq11.level);
    test_machine_free(m);
}

/* Lines that PIRQRC cannot name: the timer's, the cascade, the FPU's ... */
static void test_reserved_lines(void)
{
    static const uint8_t reserved[] = {0, 1, 2, 8, 13};
    set_up();
    PciDevice *pci = plug("addr=3");
    pci_set_irq(pci, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(reserved); i++) {
        TestIrq irq = {0};
        test_isa_irq(m, reserved[i], &irq);
        cfg_writeb(m, BRIDGE, PIRQRC + 2, reserved[i]);
        g_assert_cmpuint(irq.rises, ==, 0);
        isa_bus(m)->out[reserved[i]] = (IrqLine){0};
    }
    test_machine_free(m);
}

static void test_reset_lowers(void)
{
    TestIrq irq = {0};
    set_up();
    PciDevice *pci = plug("addr=3");
    test_isa_irq(m, 11, &irq);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 11);
    pci_set_irq(pci, true);
    device_reset(bridge);
    device_reset(&pci->dev);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 11);
    unsigned rises = irq.rises;
    pci_set_irq(pci, true);
    g_assert_cmpint(irq.level, ==, true);
    pci_set_irq(pci, false);
    g_assert_false(irq.level);
    g_assert_cmpuint(irq.rises - rises, <=, 1);
    test_machine_free(m);
}

static void test_reset_control(void)
{
    set_up();
    g_assert_cmphex(inb(m, 0xcf9), ==, 0);
    outb(m, 0xcf9, 2);
    g_assert_cmphex(inb(m, 0xcf9), ==, 2);
    g_assert_false(machine_request_pending(m));
    /* A configuration access that passes over 0xcf9 is not a reset. */
    outl(m, 0xcf8, 0x80000600);
    g_assert_false(machine_request_pending(m));
    test_device_state(bridge);
    outb(m, 0xcf9, 6);
    g_assert_true(machine_request_pending(m));
    test_machine_free(m);
}

static void test_state(void)
{
    TestIrq irq = {0};
    set_up();
    PciDevice *pci = plug("addr=3");
    test_isa_irq(m, 11, &irq);
    cfg_writeb(m, BRIDGE, PIRQRC + 2, 11);
    pci_set_irq(pci, true);
    test_device_state(bridge);
    /* The loaded bridge knows who drives the line. */
    g_assert_cmpuint(irq.rises, ==, 1);
    pci_set_irq(pci, false);
    g_assert_false(irq.level);
    test_machine_free(m);
}

static void test_hostile(void)
{
    set_up();
    PciDevice *pci = plug("addr=3");
    pci_set_irq(pci, true);
    cfg_hammer(m, BRIDGE);
    for (unsigned value = 0; value < 256; value++)
        cfg_writel(m, BRIDGE, PIRQRC, value * 0x01010101u);
    device_reset(bridge);
    test_machine_free(m);
}

/* FERR#, IRQ13, port F0h and IGNNE#. */
static void test_coprocessor(void)
{
    TestIrq irq = {0};
    set_up();
    test_isa_irq(m, 13, &irq);
    outb(m, 0xf0, 0); /* no error: nothing to ignore */
    g_assert_false(m->ferr(m, false));
    g_assert_false(irq.level);
    g_assert_false(m->ferr(m, true));
    g_assert_true(irq.level);
    g_assert_false(m->ferr(m, true)); /* asked again */
    test_device_state(bridge);
    g_assert_cmphex(inb(m, 0xf0), ==, 0xff);
    outb(m, 0xf0, 0);
    g_assert_false(irq.level);
    g_assert_true(m->ferr(m, true));
    g_assert_cmpuint(irq.rises, ==, 1);
    g_assert_false(m->ferr(m, false)); /* the last error is gone, and IGNNE# with it */
    g_assert_false(m->ferr(m, true));
    g_assert_cmpuint(irq.rises, ==, 2);
    /* The request stays if the error goes without a word to the port. */
    m->ferr(m, false);
    g_assert_true(irq.level);
    m->ferr(m, true);
    outb(m, 0xf0, 0x55);
    g_assert_true(m->ferr(m, true));
    device_reset(bridge);
    g_assert_false(m->ferr(m, true)); /* neither is up any more */
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piix3/reset-values", test_reset_values);
    g_test_add_func("/piix3/swizzle", test_swizzle);
    g_test_add_func("/piix3/sharing", test_sharing);
    g_test_add_func("/piix3/reserved-lines", test_reserved_lines);
    g_test_add_func("/piix3/reset-lowers", test_reset_lowers);
    g_test_add_func("/piix3/reset-control", test_reset_control);
    g_test_add_func("/piix3/coprocessor", test_coprocessor);
    g_test_add_func("/piix3/state", test_state);
    g_test_add_func("/piix3/hostile", test_hostile);
    return g_test_run();
}
