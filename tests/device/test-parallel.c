/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-parallel: IEEE 1284 compatibility mode. */
#include "chardev-peer.h"
#include "hw/registry.h"
#include "util/timer.h"

enum { DATA, STATUS, CONTROL };
#define BASE         0x378
#define R(reg)       inb(m, BASE + (reg))
#define W(reg, v)    outb(m, BASE + (reg), (v))
#define READY        0xdf
#define BUSY         0x5f
#define ACK          0x1f
#define IDLE_CONTROL 0x0c

static Machine *m;
static Device *dev;
static TestIrq irq;
static int peer;

static void start(void)
{
    m = test_machine_new(1 << 20);
    irq = (TestIrq){0};
    test_isa_irq(m, 7, &irq);
    peer = peer_open("c0");
    dev = test_device(m, &isa_parallel_class, "chardev=c0");
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

static void strobe(uint8_t byte, uint8_t control)
{
    W(DATA, byte);
    W(CONTROL, control | 1);
    W(CONTROL, control);
}

static void test_reset_values(void)
{
    start();
    g_assert_cmphex(R(DATA), ==, 0);
    g_assert_cmphex(R(STATUS), ==, READY);
    g_assert_cmphex(R(CONTROL), ==, 0xcc);
    g_assert_cmphex(inb(m, BASE + 3), ==, 0xff); /* no EPP */
    W(DATA, 0x5a);
    W(CONTROL, 0x1e);
    device_reset(dev);
    g_assert_cmphex(R(DATA), ==, 0);
    g_assert_cmphex(R(CONTROL), ==, 0xcc);
    stop();
}

static void test_registers(void)
{
    start();
    W(DATA, 0x5a);
    g_assert_cmphex(R(DATA), ==, 0x5a);
    W(CONTROL, 0x2c); /* listening: nobody drives the lines */
    g_assert_cmphex(R(DATA), ==, 0xff);
    W(CONTROL, 0x0c);
    g_assert_cmphex(R(DATA), ==, 0x5a);
    W(STATUS, 0xff);
    g_assert_cmphex(R(STATUS), ==, READY);
    peer_expect(peer, "");
    stop();
}

/* A byte, then busy for 5 us, acknowledge for 5 us. */
static void test_print(void)
{
    start();
    strobe('A', IDLE_CONTROL);
    peer_expect(peer, "A");
    g_assert_cmphex(R(STATUS), ==, BUSY);
    strobe('B', IDLE_CONTROL); /* too early: lost */
    peer_expect(peer, "");
    vclock_step(5 * NS_PER_US);
    g_assert_cmphex(R(STATUS), ==, ACK);
    vclock_step(5 * NS_PER_US);
    g_assert_cmphex(R(STATUS), ==, READY);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    W(CONTROL, IDLE_CONTROL | 1);
    W(CONTROL, IDLE_CONTROL | 1); /* the edge counts, not the level */
    peer_expect(peer, "B");
    g_assert_cmpuint(irq.rises, ==, 0);
    stop();
}

static void test_interrupt(void)
{
    start();
    W(CONTROL, IDLE_CONTROL | 0x10);
    for (unsigned i = 1; i <= 3; i++) {
        strobe('x', IDLE_CONTROL | 0x10);
        vclock_step(9 * NS_PER_US);
        g_assert_cmpuint(irq.rises, ==, i - 1);
        vclock_step(2 * NS_PER_US);
        g_assert_cmpuint(irq.rises, ==, i);
        g_assert_true(irq.level);
        g_assert_cmphex(R(STATUS), ==, READY); /* reading takes it back */
        g_assert_false(irq.level);
    }
    strobe('x', IDLE_CONTROL);
    W(CONTROL, IDLE_CONTROL | 0x10); /* enabled while the byte is under way */
    vclock_step(20 * NS_PER_US);
    g_assert_true(irq.level);
    W(CONTROL, IDLE_CONTROL);
    g_assert_false(irq.level);
    W(CONTROL, IDLE_CONTROL | 0x10);
    g_assert_false(irq.level);
    stop();
}

/* Not selected, or held in reset: the printer takes nothing; nInit ends a byte under way. */
static void test_select(void)
{
    start();
    strobe('x', 0x04);
    strobe('x', 0x08);
    peer_expect(peer, "");
    strobe('y', IDLE_CONTROL | 0x10);
    W(CONTROL, 0x18);
    g_assert_cmphex(R(STATUS), ==, READY);
    vclock_step(NS_PER_MS);
    g_assert_cmpuint(irq.rises, ==, 0);
    stop();
}

static void test_back_pressure(void)
{
    start();
    peer_stuff("c0");
    strobe('z', IDLE_CONTROL | 0x10);
    vclock_step(NS_PER_SEC);
    g_assert_cmphex(R(STATUS), ==, BUSY);
    g_assert_cmpuint(irq.rises, ==, 0);
    test_device_state(dev);
    g_assert_cmpint(peer_drain(peer), ==, 'z');
    vclock_step(10 * NS_PER_US);
    g_assert_cmphex(R(STATUS), ==, READY);
    g_assert_cmpuint(irq.rises, ==, 1);
    peer_stuff("c0");
    strobe('z', IDLE_CONTROL);
    shutdown(peer, SHUT_RDWR);
    close(peer);
    settle();
    vclock_step(10 * NS_PER_US);
    g_assert_cmphex(R(STATUS), ==, READY);
    peer = dup(0);
    stop();
}

static void test_places(void)
{
    static const uint16_t bases[] = {0x378, 0x278, 0x3bc};
    m = test_machine_new(1 << 20);
    for (unsigned i = 0; i < 3; i++)
        test_device(m, &isa_parallel_class, NULL);
    for (unsigned i = 0; i < 3; i++)
        outb(m, bases[i], (uint8_t)(i + 1));
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpuint(inb(m, bases[i]), ==, i + 1);
    outb(m, 0x37a, 0x0d); /* without a chardev a printer that throws all away */
    g_assert_cmphex(inb(m, 0x379), ==, BUSY);
    g_autofree char *fourth = test_device_error(m, &isa_parallel_class, NULL);
    g_assert_nonnull(strstr(fourth, "iobase"));
    g_autofree char *past = test_device_error(m, &isa_parallel_class, "iobase=0xffff");
    g_assert_nonnull(strstr(past, "0xffff"));
    test_machine_free(m);
}

static void test_hostile_access(void)
{
    GRand *rand = g_rand_new_with_seed(1);
    start();
    for (unsigned i = 0; i < 100000; i++) {
        uint16_t port = (uint16_t)(BASE - 2 + g_rand_int_range(rand, 0, 8));
        uint32_t value = g_rand_int(rand);
        unsigned what = (unsigned)g_rand_int_range(rand, 0, 5);
        if (what == 0)
            outb(m, port, (uint8_t)value);
        else if (what == 1)
            outw(m, port, (uint16_t)value);
        else if (what == 2)
            outl(m, port, value);
        else if (what == 3)
            inl(m, port);
        else
            vclock_step(value % 20000);
        if (!(i % 5000))
            peer_drain(peer);
    }
    g_rand_free(rand);
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parallel/reset-values", test_reset_values);
    g_test_add_func("/parallel/registers", test_registers);
    g_test_add_func("/parallel/print", test_print);
    g_test_add_func("/parallel/interrupt", test_interrupt);
    g_test_add_func("/parallel/select", test_select);
    g_test_add_func("/parallel/back-pressure", test_back_pressure);
    g_test_add_func("/parallel/places", test_places);
    g_test_add_func("/parallel/hostile-access", test_hostile_access);
    return g_test_run();
}
