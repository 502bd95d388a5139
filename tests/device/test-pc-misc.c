/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The small ones of a PC: port 92h, isa-debug-exit, pc-testdev. */
#include <string.h>

#include "accel/test.h"
#include "hw/registry.h"

static void test_port92_a20(void)
{
    Machine *m = test_machine_new(1 << 20);
    Device *dev = test_device(m, &port92_class, NULL);
    g_assert_cmphex(inb(m, 0x92), ==, 0x02);
    outb(m, 0x92, 0x00);
    g_assert_false(m->a20);
    g_assert_cmphex(inb(m, 0x92), ==, 0x00);
    outb(m, 0x92, 0xfe); /* the other bits do nothing */
    g_assert_true(m->a20);
    g_assert_cmphex(inb(m, 0x92), ==, 0x02);
    machine_set_a20(m, false); /* by the keyboard controller */
    g_assert_cmphex(inb(m, 0x92), ==, 0x00);
    test_device_state(dev);
    g_assert_false(m->a20);
    g_assert_false(machine_request_pending(m));
    test_machine_free(m);
}

static void test_port92_reset(void)
{
    Machine *m = test_machine_new(1 << 20);
    Device *dev = test_device(m, &port92_class, NULL);
    outb(m, 0x92, 0x02);
    g_assert_false(machine_request_pending(m));
    outb(m, 0x92, 0x03);
    g_assert_true(machine_request_pending(m));
    g_assert_cmphex(inb(m, 0x92), ==, 0x03);
    m->reset_pending = 0;
    outb(m, 0x92, 0x03); /* only a rising bit resets */
    g_assert_false(machine_request_pending(m));
    device_reset(dev);
    outb(m, 0x92, 0x01);
    g_assert_true(machine_request_pending(m));
    test_machine_free(m);
}

static void test_debug_exit(void)
{
    static const struct {
        uint32_t value;
        int code;
    } rows[] = {{0, 1}, {1, 3}, {0x10, 0x21}, {0x7f, 0xff}};
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Machine *m = test_machine_new(1 << 20);
        Device *dev = test_device(m, &isa_debug_exit_class, NULL);
        g_assert_cmphex(inb(m, 0x501), ==, 0);
        g_assert_false(machine_request_pending(m));
        outb(m, 0x501, rows[i].value);
        g_assert_true(machine_request_pending(m));
        g_assert_cmpint(m->exit_code, ==, rows[i].code);
        test_device_state(dev);
        test_machine_free(m);
    }
    /* As kvm-unit-tests have it. */
    Machine *m = test_machine_new(1 << 20);
    test_device(m, &isa_debug_exit_class, "iobase=0xf4,iosize=0x4");
    outl(m, 0xf4, 0x21);
    g_assert_cmpint(m->exit_code, ==, 0x43);
    test_machine_free(m);

    m = test_machine_new(1 << 20);
    g_autofree char *past = test_device_error(m, &isa_debug_exit_class, "iobase=0xffff");
    g_autofree char *none = test_device_error(m, &isa_debug_exit_class, "iosize=0");
    g_assert_nonnull(strstr(past, "iobase"));
    g_assert_nonnull(strstr(none, "iosize"));
    test_machine_free(m);
}

static void test_testdev_storage(void)
{
    Machine *m = test_machine_new(1 << 20);
    Device *dev = test_device(m, &pc_testdev_class, NULL);
    outl(m, 0xe0, 0x12345678);
    g_assert_cmphex(inl(m, 0xe0), ==, 0x12345678);
    g_assert_cmphex(inw(m, 0xe2), ==, 0x1234);
    g_assert_cmphex(inb(m, 0xe1), ==, 0x56);
    g_assert_cmphex(inl(m, 0xe8), ==, 0x12345678); /* byte by byte */
    outw(m, 0xe9, 0xbeef);
    g_assert_cmphex(inl(m, 0xe0), ==, 0x12beef78);
    test_device_state(dev);
    g_assert_cmphex(inl(m, 0xe0), ==, 0x12beef78);
    test_machine_free(m);
}

static void test_testdev_memory(void)
{
    Machine *m = test_machine_new(1 << 20);
    Device *dev = test_device(m, &pc_testdev_class, NULL);
    writeq(m, 0xff000000, 0x1122334455667788);
    g_assert_cmphex(readq(m, 0xff000000), ==, 0x1122334455667788);
    g_assert_cmphex(readb(m, 0xff000003), ==, 0x55);
    writew(m, 0xff00fffe, 0xabcd);
    g_assert_cmphex(readw(m, 0xff00fffe), ==, 0xabcd);
    g_assert_cmphex(readl(m, 0xff00fffd), ==, 0xffabcd00); /* past the end there is nothing */
    for (hwaddr at = 0xff000100; at < 0xff000140; at++)
        writel(m, at, (uint32_t)at);
    g_assert_cmphex(readl(m, 0xff00013f), ==, 0xff00013f);
    test_device_state(dev);
    test_machine_free(m);
}

static void test_testdev_irq(void)
{
    Machine *m = test_machine_new(1 << 20);
    TestIrq irq[16] = {0};
    for (unsigned n = 0; n < 16; n++)
        test_isa_irq(m, n, &irq[n]);
    Device *dev = test_device(m, &pc_testdev_class, NULL);
    for (unsigned n = 0; n < 24; n++)
        outb(m, 0x2000 + n, 1);
    for (unsigned n = 0; n < 16; n++)
        g_assert_true(irq[n].level);
    outb(m, 0x2005, 0);
    g_assert_false(irq[5].level);
    g_assert_true(irq[6].level);
    device_reset(dev);
    g_assert_false(irq[6].level);
    test_machine_free(m);
}

static void test_testdev_flush(void)
{
    Machine *m = test_machine_new(1 << 20);
    test_device(m, &pc_testdev_class, NULL);
    writel(m, 0x5000, 0xfeedface);
    outl(m, 0xe4, 0x5123);
    g_assert_cmphex(readl(m, 0x5000), ==, 0xfeedface); /* the bytes survive */
    outl(m, 0xe4, 0xffffffff);                         /* no RAM there */
    outl(m, 0xe4, 0x00100000);
    outb(m, 0xe4, 1);
    outw(m, 0xe6, 0xffff);
    g_assert_cmphex(inl(m, 0xe4), ==, 0xffffffff);
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pc-misc/port92/a20", test_port92_a20);
    g_test_add_func("/pc-misc/port92/reset", test_port92_reset);
    g_test_add_func("/pc-misc/debug-exit", test_debug_exit);
    g_test_add_func("/pc-misc/testdev/storage", test_testdev_storage);
    g_test_add_func("/pc-misc/testdev/memory", test_testdev_memory);
    g_test_add_func("/pc-misc/testdev/irq", test_testdev_irq);
    g_test_add_func("/pc-misc/testdev/flush", test_testdev_flush);
    return g_test_run();
}
