/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-debugcon. */
#include "chardev-peer.h"
#include "hw/registry.h"

static Machine *m;
static Device *dev;
static int peer;

static void start(const char *props)
{
    m = test_machine_new(1 << 20);
    peer = peer_open("c0");
    dev = test_device(m, &isa_debugcon_class, props);
}

static void stop(void)
{
    test_device_state(dev);
    test_machine_free(m);
    loop_lock(loop_main());
    chr_close_all();
    loop_unlock(loop_main());
    close(peer);
}

static void test_write(void)
{
    start("chardev=c0");
    g_assert_cmphex(inb(m, 0xe9), ==, 0xe9);
    for (const char *p = "SeaBIOS\n"; *p; p++)
        outb(m, 0xe9, (uint8_t)*p);
    peer_expect(peer, "SeaBIOS\n");
    outl(m, 0xe9, 0x64636261); /* one port wide: the rest goes elsewhere */
    peer_expect(peer, "a");
    dispatch_pio(&m->io, 0xe9, true, 1, (char[]){"rep outsb"}, 9);
    peer_expect(peer, "rep outsb");
    stop();
}

static void test_properties(void)
{
    start("chardev=c0,iobase=0x402,readback=0x55");
    g_assert_cmphex(inb(m, 0x402), ==, 0x55);
    g_assert_cmphex(inb(m, 0xe9), ==, 0xff);
    outb(m, 0x402, 'x');
    peer_expect(peer, "x");
    stop();
    m = test_machine_new(1 << 20);
    dev = test_device(m, &isa_debugcon_class, NULL); /* nobody listens */
    outb(m, 0xe9, 'x');
    g_assert_cmphex(inb(m, 0xe9), ==, 0xe9);
    g_autofree char *message = test_device_error(m, &isa_debugcon_class, "chardev=nobody");
    g_assert_nonnull(strstr(message, "nobody"));
    test_machine_free(m);
}

/* A slow peer gets what was written, in order, up to the limit. */
static void test_back_pressure(void)
{
    start("chardev=c0");
    peer_stuff("c0");
    for (unsigned i = 0; i < 1000; i++)
        outb(m, 0xe9, (uint8_t)i);
    g_assert_cmpint(peer_drain(peer), ==, (uint8_t)999);
    peer_stuff("c0");
    for (unsigned i = 0; i < 100000; i++)
        outb(m, 0xe9, i < 16384 ? 'a' : 'b');
    g_assert_cmpint(peer_drain(peer), ==, 'a');
    outb(m, 0xe9, 'c');
    peer_expect(peer, "c");
    peer_stuff("c0");
    outb(m, 0xe9, 'd');
    shutdown(peer, SHUT_RDWR);
    close(peer);
    settle();
    for (unsigned i = 0; i < 100000; i++)
        outb(m, 0xe9, 'e');
    peer = dup(0);
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/debugcon/write", test_write);
    g_test_add_func("/debugcon/properties", test_properties);
    g_test_add_func("/debugcon/back-pressure", test_back_pressure);
    return g_test_run();
}
