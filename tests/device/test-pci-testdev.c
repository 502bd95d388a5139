/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pci-testdev: the tests of both BARs, doorbells in place of an engine's ioeventfds, MSI. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/registry.h"
#include "test-pci.h"

#define DEVFN PCI_DEVFN(4, 0)
#define MEM   0xfe000000u
#define PORT  0xc100
#define MSI   0x40

static Machine *m;
static Device *dev;

static void set_up(const char *props)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    dev = test_device(m, &pci_testdev_class, props);
    cfg_writel(m, DEVFN, 0x10, MEM);
    cfg_writel(m, DEVFN, 0x14, PORT);
    cfg_writew(m, DEVFN, PCI_COMMAND, 7);
}

/* The only doorbell on the region behind an address, or NULL. */
static const Doorbell *bell_at(AddressSpace *as, hwaddr addr)
{
    const Region *region = view_find(as_view(as), addr)->region;
    g_assert_true(!region->doorbells || region->doorbells->len <= 1);
    return region->doorbells && region->doorbells->len
               ? &g_array_index(region->doorbells, Doorbell, 0)
               : NULL;
}

static uint32_t port_count(void)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < 4; i++)
        count |= (uint32_t)inb(m, (uint16_t)(PORT + 12 + i)) << 8 * i;
    return count;
}

static void test_config(void)
{
    set_up("addr=4");
    g_assert_cmphex(cfg_readl(m, DEVFN, 0), ==, 0x00051b36);
    g_assert_cmphex(cfg_readl(m, DEVFN, 8), ==, 0x00ff0000);
    g_assert_cmphex(cfg_readb(m, DEVFN, PCI_INTERRUPT_PIN), ==, 0);
    g_assert_cmphex(cfg_readb(m, DEVFN, PCI_CAPABILITY_LIST), ==, 0);
    cfg_writel(m, DEVFN, 0x10, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, DEVFN, 0x10), ==, 0xfffff000);
    cfg_writel(m, DEVFN, 0x14, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, DEVFN, 0x14), ==, 0xffffff01);
    test_machine_free(m);
}

static void test_memory(void)
{
    set_up("addr=4");
    g_assert_cmphex(readl(m, MEM), ==, 0); /* no test runs */
    writeb(m, MEM, 0);
    g_assert_cmphex(readl(m, MEM), ==, 0x0100);
    g_assert_cmphex(readl(m, MEM + 4), ==, 0x800);
    g_assert_cmphex(readl(m, MEM + 8), ==, 0xfa);
    g_assert_cmphex(readl(m, MEM + 12), ==, 0);
    g_assert_cmphex(readl(m, MEM + 16), ==, 0x6f696d6d); /* "mmio" */
    writeb(m, MEM + 0x800, 0xfa);
    writeb(m, MEM + 0x800, 0xfb); /* other data */
    writeb(m, MEM + 0x801, 0xfa); /* another place */
    g_assert_cmphex(readl(m, MEM + 12), ==, 1);
    writeb(m, MEM, 1);
    g_assert_cmphex(readl(m, MEM + 4), ==, 0x801);
    g_assert_cmphex(readl(m, MEM + 12), ==, 0);
    writeb(m, MEM + 0x801, 0);
    writeb(m, MEM + 0x801, 0xce);
    g_assert_cmphex(readl(m, MEM + 12), ==, 2);
    writeb(m, MEM, 3); /* there is no fourth test */
    g_assert_cmphex(readl(m, MEM + 4), ==, 0);
    test_machine_free(m);
}

static void test_doorbells(void)
{
    set_up("addr=4");
    g_assert_null(bell_at(&m->io, PORT));
    outb(m, PORT, 0);
    g_assert_null(bell_at(&m->io, PORT));
    outb(m, PORT, 1);
    const Doorbell *bell = bell_at(&m->io, PORT);
    g_assert_nonnull(bell);
    g_assert_cmphex(bell->offset, ==, 0x84);
    g_assert_cmpuint(bell->size, ==, 1);
    g_assert_false(bell->match);
    outb(m, PORT, 2);
    bell = bell_at(&m->io, PORT);
    g_assert_cmphex(bell->offset, ==, 0x85);
    g_assert_true(bell->match);
    g_assert_cmphex(bell->data, ==, 0xfa);
    /* What an engine does for the guest's writes; one comes by an exit. */
    g_assert_cmpint(eventfd_write(bell->fd, 5), ==, 0);
    outb(m, PORT + 0x85, 0xfa);
    g_assert_cmpuint(port_count(), ==, 6);
    /* The memory BAR's tests take its place. */
    writeb(m, MEM, 1);
    g_assert_null(bell_at(&m->io, PORT));
    g_assert_nonnull(bell_at(&m->mem, MEM));
    device_reset(dev);
    cfg_writew(m, DEVFN, PCI_COMMAND, 7);
    cfg_writel(m, DEVFN, 0x10, MEM);
    g_assert_null(bell_at(&m->mem, MEM));
    test_machine_free(m);
}

static void test_msi(void)
{
    uint64_t address;
    uint32_t data;
    set_up("addr=4,msi=on");
    g_assert_cmphex(cfg_readw(m, DEVFN, MSI), ==, 0x0005);
    cfg_writel(m, DEVFN, MSI + 4, 0xfee00000);
    cfg_writew(m, DEVFN, MSI + 12, 0x4042);
    cfg_writew(m, DEVFN, MSI + 2, 1);
    outb(m, PORT, 1);
    outb(m, PORT + 0x84, 0);
    g_assert_true(test_msi_pop(m, &address, &data));
    g_assert_cmphex(data, ==, 0x4042);
    /* The same by a doorbell: the loop sees the event. */
    g_assert_cmpint(eventfd_write(bell_at(&m->io, PORT)->fd, 1), ==, 0);
    loop_step(m->loop, true);
    g_assert_true(test_msi_pop(m, &address, &data));
    g_assert_cmphex(address, ==, 0xfee00000);
    g_assert_false(test_msi_pop(m, &address, &data));
    g_assert_cmpuint(port_count(), ==, 2);
    test_machine_free(m);
}

static void test_membar(void)
{
    set_up("addr=4,membar=8G");
    cfg_writel(m, DEVFN, 0x18, 0xffffffff);
    cfg_writel(m, DEVFN, 0x1c, 0xffffffff);
    g_assert_cmphex(cfg_readl(m, DEVFN, 0x18), ==, 0x0000000c);
    g_assert_cmphex(cfg_readl(m, DEVFN, 0x1c), ==, 0xfffffffe);
    cfg_writel(m, DEVFN, 0x18, 0);
    cfg_writel(m, DEVFN, 0x1c, 0x20);
    writeq(m, 0x2100000000, 1);
    g_assert_cmphex(readl(m, 0x2100000000), ==, 0xffffffff);
    g_free(test_device_error(m, &pci_testdev_class, "membar=3M"));
    test_machine_free(m);
}

static void test_state(void)
{
    set_up("addr=4,msi=on");
    outb(m, PORT, 2);
    outb(m, PORT + 0x85, 0xfa);
    test_device_state(dev);
    g_assert_cmpuint(port_count(), ==, 1);
    const Doorbell *bell = bell_at(&m->io, PORT);
    g_assert_nonnull(bell);
    g_assert_cmphex(bell->offset, ==, 0x85);
    test_machine_free(m);
}

static void test_hostile(void)
{
    set_up("addr=4");
    for (unsigned test = 0; test < 256; test++) {
        outb(m, PORT, (uint8_t)test);
        for (unsigned i = 0; i < 256; i++) {
            outl(m, (uint16_t)(PORT + i), 0xfafafafa);
            inl(m, (uint16_t)(PORT + i));
        }
        writeb(m, MEM, (uint8_t)test);
        for (unsigned i = 0; i < 4096; i += 61) {
            writeq(m, MEM + i, UINT64_MAX);
            readq(m, MEM + i);
        }
    }
    cfg_hammer(m, DEVFN);
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci-testdev/config", test_config);
    g_test_add_func("/pci-testdev/memory", test_memory);
    g_test_add_func("/pci-testdev/doorbells", test_doorbells);
    g_test_add_func("/pci-testdev/msi", test_msi);
    g_test_add_func("/pci-testdev/membar", test_membar);
    g_test_add_func("/pci-testdev/state", test_state);
    g_test_add_func("/pci-testdev/hostile", test_hostile);
    return g_test_run();
}
