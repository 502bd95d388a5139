/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-serial and its 16550A: PC16550D datasheet. */
#include "chardev-peer.h"
#include "hw/registry.h"
#include "util/timer.h"

enum { RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR, THR = RBR, FCR = IIR };
#define BASE      0x3f8
#define R(reg)    inb(m, BASE + (reg))
#define W(reg, v) outb(m, BASE + (reg), (v))

static Machine *m;
static Device *dev;
static TestIrq irq;
static int peer;

static void start(void)
{
    m = test_machine_new(1 << 20);
    irq = (TestIrq){0};
    test_isa_irq(m, 4, &irq);
    peer = peer_open("c0");
    dev = test_device(m, &isa_serial_class, "chardev=c0");
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

static void type(const char *text)
{
    peer_send(peer, text, strlen(text));
    settle();
}

static void test_reset_values(void)
{
    start();
    g_assert_cmphex(R(IER), ==, 0);
    g_assert_cmphex(R(IIR), ==, 0x01);
    g_assert_cmphex(R(LCR), ==, 0);
    g_assert_cmphex(R(MCR), ==, 0);
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_cmphex(R(MSR), ==, 0xb0);
    for (unsigned reg = 0; reg < 8; reg++)
        W(reg, 0xff);
    device_reset(dev);
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_cmphex(R(MSR), ==, 0xb0);
    g_assert_cmphex(R(IIR), ==, 0x01);
    g_assert_cmphex(R(IER), ==, 0);
    g_assert_cmphex(R(SCR), ==, 0);
    g_assert_false(irq.level);
    stop();
}

static void test_registers(void)
{
    start();
    W(SCR, 0x5a);
    g_assert_cmphex(R(SCR), ==, 0x5a);
    W(IER, 0xf0);
    g_assert_cmphex(R(IER), ==, 0);
    W(MCR, 0xff);
    g_assert_cmphex(R(MCR), ==, 0x1f);
    W(LCR, 0x83);
    W(0, 0x34);
    W(1, 0x12);
    g_assert_cmphex(R(0), ==, 0x34);
    g_assert_cmphex(R(1), ==, 0x12);
    W(LCR, 0x03);
    g_assert_cmphex(R(LCR), ==, 0x03);
    g_assert_cmphex(R(IER), ==, 0);
    peer_expect(peer, ""); /* the divisor was no data */
    W(LSR, 0);
    W(MSR, 0);
    g_assert_cmphex(R(LSR), ==, 0x60);
    stop();
}

static void test_transmit(void)
{
    start();
    for (const char *p = "Hello\n"; *p; p++) {
        g_assert_cmphex(R(LSR) & 0x60, ==, 0x60);
        W(THR, (uint8_t)*p);
    }
    peer_expect(peer, "Hello\n");
    g_assert_cmpuint(irq.rises, ==, 0);
    stop();
}

/* The empty transmitter interrupts when enabled and after each byte; reading IIR clears it. */
static void test_thre(void)
{
    start();
    W(IER, 0x02);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0x02);
    g_assert_false(irq.level);
    g_assert_cmphex(R(IIR), ==, 0x01);
    W(THR, 'x');
    g_assert_true(irq.level);
    g_assert_cmpuint(irq.rises, ==, 2);
    W(IER, 0);
    g_assert_false(irq.level);
    g_assert_cmphex(R(IIR), ==, 0x01); /* masked, and not cleared by it */
    W(IER, 0x02);
    g_assert_cmphex(R(IIR), ==, 0x02);
    W(IER, 0x02); /* no change: no new interrupt */
    g_assert_false(irq.level);
    stop();
}

static void test_receive(void)
{
    start();
    type("ab");
    g_assert_cmphex(R(LSR), ==, 0x61);
    g_assert_false(irq.level);
    W(IER, 0x01);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0x04);
    g_assert_true(irq.level); /* reading IIR does not clear this one */
    g_assert_cmpint(R(RBR), ==, 'a');
    g_assert_false(irq.level);
    settle();
    g_assert_true(irq.level);
    g_assert_cmpint(R(RBR), ==, 'b');
    settle();
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_cmpint(R(RBR), ==, 'b'); /* nothing new: the old one again */
    stop();
}

static void test_fifo_trigger(void)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    start();
    W(LCR, 0x03);
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *text = g_strnfill(levels[i], 'a');
        W(FCR, (uint8_t)(0x07 | i << 6));
        g_assert_cmphex(R(IIR), ==, 0xc1);
        W(IER, 0x01);
        type(text + 1); /* one less */
        g_assert_false(irq.level);
        type("b");
        g_assert_true(irq.level);
        g_assert_cmphex(R(IIR), ==, 0xc4);
        for (unsigned n = 0; n < levels[i]; n++) {
            g_assert_cmpint(R(RBR), ==, n + 1 < levels[i] ? 'a' : 'b');
            g_assert_false(irq.level);
        }
        W(IER, 0);
    }
    stop();
}

/* Four character times of 10 bits at 9600 baud: 4.1667 ms. */
static void test_timeout(void)
{
    const int64_t four = 4 * 10 * NS_PER_SEC / 9600;
    start();
    W(LCR, 0x03);
    W(FCR, 0xc1);
    W(IER, 0x01);
    type("abc");
    vclock_step(four - 1000);
    g_assert_false(irq.level);
    type("d"); /* starts it again */
    vclock_step(four - 1000);
    g_assert_false(irq.level);
    vclock_step(2000);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0xcc);
    g_assert_cmpint(R(RBR), ==, 'a'); /* a read ends it, and starts the time again */
    g_assert_false(irq.level);
    vclock_step(four + 1000);
    g_assert_cmphex(R(IIR), ==, 0xcc);
    R(RBR), R(RBR), R(RBR);
    g_assert_false(irq.level);
    vclock_step(NS_PER_SEC);
    g_assert_false(irq.level); /* an empty FIFO times nothing */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    stop();
}

/* More than the FIFO takes waits outside: nothing is lost, nothing overruns. */
static void test_flow(void)
{
    GString *all = g_string_new(NULL), *got = g_string_new(NULL);
    for (unsigned i = 0; i < 1000; i++)
        g_string_append_c(all, (char)('a' + i % 26));
    start();
    W(FCR, 0x81);
    type(all->str);
    while (R(LSR) & 1) {
        g_assert_cmphex(R(LSR) & 0x02, ==, 0);
        g_string_append_c(got, (char)R(RBR));
        settle();
    }
    g_assert_cmpstr(got->str, ==, all->str);
    g_string_free(all, TRUE);
    g_string_free(got, TRUE);
    stop();
}

/* Turning the FIFOs on or off, or resetting one, empties it. */
static void test_fifo_control(void)
{
    start();
    W(FCR, 0x01);
    type("abcdefghijklmnop"); /* exactly full */
    g_assert_cmphex(R(LSR) & 1, ==, 1);
    W(FCR, 0x02); /* without the enable bit: FIFOs off, the rest is ignored */
    g_assert_cmphex(R(LSR) & 1, ==, 0);
    g_assert_cmphex(R(IIR), ==, 0x01);
    W(FCR, 0x01);
    type("xyz");
    W(FCR, 0x03);
    g_assert_cmphex(R(LSR) & 1, ==, 0);
    type("w");
    g_assert_cmpint(R(RBR), ==, 'w');
    stop();
}

/* A peer that takes nothing: THRE goes, the FIFO fills, bytes beyond are lost; then all that the
 * FIFO holds arrives, and the interrupt with it. */
static void test_back_pressure(void)
{
    start();
    W(FCR, 0x01);
    W(IER, 0x02);
    R(IIR);
    peer_stuff("c0");
    for (unsigned i = 0; i < 20; i++)
        W(THR, (uint8_t)('A' + i));
    g_assert_cmphex(R(LSR), ==, 0);
    g_assert_false(irq.level);
    test_device_state(dev); /* with a full transmitter */
    g_assert_cmpint(peer_drain(peer), ==, 'A' + 15);
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0xc2);
    /* Without FIFOs there is one place. */
    W(FCR, 0);
    peer_stuff("c0");
    W(THR, '1');
    W(THR, '2');
    g_assert_cmphex(R(LSR), ==, 0);
    g_assert_cmpint(peer_drain(peer), ==, '1');
    /* A reset of the transmitter's FIFO drops what waits. */
    W(FCR, 0x01);
    peer_stuff("c0");
    W(THR, '3');
    W(FCR, 0x05);
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_cmpint(peer_drain(peer), ==, 0);
    stop();
}

/* The peer goes while bytes wait: the guest is not held up for ever. */
static void test_peer_gone(void)
{
    start();
    peer_stuff("c0");
    W(THR, 'x');
    g_assert_cmphex(R(LSR) & 0x60, ==, 0);
    shutdown(peer, SHUT_RDWR);
    close(peer);
    settle();
    g_assert_cmphex(R(LSR) & 0x60, ==, 0x60);
    W(THR, 'y');
    g_assert_cmphex(R(LSR) & 0x60, ==, 0x60);
    peer = dup(0);
    stop();
}

static void test_loopback(void)
{
    start();
    W(FCR, 0xc1);
    W(MCR, 0x10);
    type("outside"); /* waits */
    for (unsigned i = 0; i < 16; i++)
        W(THR, (uint8_t)i);
    g_assert_cmphex(R(LSR), ==, 0x61);
    W(THR, 99); /* overrun: the FIFO keeps what it has */
    g_assert_cmphex(R(LSR), ==, 0x63);
    g_assert_cmphex(R(LSR), ==, 0x61);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(R(RBR), ==, i);
    g_assert_cmphex(R(LSR), ==, 0x60);
    peer_expect(peer, "");
    W(FCR, 0); /* without FIFOs the new byte wins */
    W(THR, 1);
    W(THR, 2);
    g_assert_cmphex(R(LSR), ==, 0x63);
    g_assert_cmpuint(R(RBR), ==, 2);
    W(MCR, 0);
    settle();
    g_assert_cmpint(R(RBR), ==, 'o');
    stop();
}

static void test_modem_lines(void)
{
    static const struct {
        uint8_t mcr, msr;
    } rows[] = {{0x12, 0x10}, {0x11, 0x20}, {0x14, 0x40}, {0x18, 0x80}, {0x1f, 0xf0}};
    start();
    W(IER, 0x08);
    g_assert_false(irq.level);
    W(MCR, 0x10);
    g_assert_cmphex(R(MSR), ==, 0x0b); /* CTS, DSR and DCD went, each told once */
    g_assert_cmphex(R(MSR), ==, 0x00);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        W(MCR, rows[i].mcr);
        uint8_t deltas = (rows[i].msr >> 4) & 0x0b; /* RI tells of its end only */
        g_assert_cmpint(irq.level, ==, deltas != 0);
        if (deltas)
            g_assert_cmphex(R(IIR), ==, 0x00);
        g_assert_cmphex(R(MSR), ==, rows[i].msr | deltas);
        g_assert_false(irq.level);
        W(MCR, 0x10);
        g_assert_cmphex(R(MSR), ==, rows[i].msr >> 4);
    }
    W(MCR, 0);
    g_assert_cmphex(R(MSR) & 0xf0, ==, 0xb0);
    stop();
}

/* Line status over data over transmitter over modem (table II). */
static void test_priorities(void)
{
    start();
    W(MCR, 0x10);
    R(MSR);
    W(MCR, 0x11);
    W(THR, 'a');
    W(THR, 'b'); /* overrun */
    W(IER, 0x0f);
    g_assert_cmphex(R(IIR), ==, 0x06);
    g_assert_cmphex(R(LSR), ==, 0x63);
    g_assert_cmphex(R(IIR), ==, 0x04);
    g_assert_cmpint(R(RBR), ==, 'b');
    g_assert_cmphex(R(IIR), ==, 0x02);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0x00);
    g_assert_cmphex(R(MSR), ==, 0x22);
    g_assert_cmphex(R(IIR), ==, 0x01);
    g_assert_false(irq.level);
    stop();
}

/* A break is a zero byte with its error, told when it is at the top of the FIFO. */
static void test_break(void)
{
    start();
    W(FCR, 0x81);
    W(IER, 0x04);
    W(MCR, 0x10);
    W(THR, 'a');
    W(LCR, 0x40);
    W(LCR, 0x00);
    W(THR, 'b');
    g_assert_false(irq.level);
    g_assert_cmphex(R(LSR), ==, 0xe1); /* somewhere in the FIFO */
    g_assert_cmpint(R(RBR), ==, 'a');
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0xc6);
    g_assert_cmphex(R(LSR), ==, 0xf1);
    g_assert_false(irq.level);
    g_assert_cmphex(R(LSR), ==, 0x61);
    g_assert_cmpint(R(RBR), ==, 0);
    g_assert_cmpint(R(RBR), ==, 'b');
    stop();
}

static void test_break_from_peer(void)
{
    GError *error = NULL;
    int fds[2];
    m = test_machine_new(1 << 20);
    irq = (TestIrq){0};
    test_isa_irq(m, 4, &irq);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_autofree char *text = g_strdup_printf("socket,id=c0,telnet=on,fd=%d", fds[0]);
    g_autoptr(Options) opts = options_parse("-chardev", text, "backend", NULL, &error);
    chr_open_options(opts, &error);
    g_assert_no_error(error);
    peer = fds[1];
    dev = test_device(m, &isa_serial_class, "chardev=c0");
    W(IER, 0x04);
    type("\xff\xf3");
    g_assert_true(irq.level);
    g_assert_cmphex(R(LSR), ==, 0x71);
    g_assert_cmpint(R(RBR), ==, 0);
    stop();
}

static void test_places(void)
{
    static const struct {
        uint16_t base;
        unsigned irq;
    } rows[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};
    m = test_machine_new(1 << 20);
    TestIrq irqs[4] = {0};
    for (unsigned i = 0; i < 4; i++)
        test_device(m, &isa_serial_class, NULL);
    for (unsigned i = 0; i < 4; i++) {
        test_isa_irq(m, rows[i].irq, &irqs[i]);
        outb(m, rows[i].base + SCR, (uint8_t)i);
        outb(m, rows[i].base + IER, 0x02);
        g_assert_true(irqs[i].level);
        outb(m, rows[i].base + IER, 0);
        g_assert_false(irqs[i].level);
    }
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpuint(inb(m, rows[i].base + SCR), ==, i);
    g_autofree char *fifth = test_device_error(m, &isa_serial_class, NULL);
    g_assert_nonnull(strstr(fifth, "iobase"));
    g_autofree char *past = test_device_error(m, &isa_serial_class, "iobase=0xfffc,irq=5");
    g_assert_nonnull(strstr(past, "0xffff"));
    g_autofree char *index = test_device_error(m, &isa_serial_class, "index=4");
    g_assert_nonnull(strstr(index, "index"));
    g_autofree char *nobody = test_device_error(m, &isa_serial_class, "chardev=nobody");
    g_assert_nonnull(strstr(nobody, "nobody"));
    TestIrq five = {0};
    test_isa_irq(m, 5, &five);
    test_device(m, &isa_serial_class, "iobase=0x1000,irq=5");
    outb(m, 0x1000 + IER, 0x02);
    g_assert_true(five.level);
    test_machine_free(m);
}

static void test_shared_chardev(void)
{
    start();
    g_autofree char *message = test_device_error(m, &isa_serial_class, "chardev=c0");
    g_assert_nonnull(strstr(message, "'c0'"));
    /* The port that failed is gone without a trace. */
    g_assert_cmphex(inb(m, 0x2f8 + LSR), ==, 0xff);
    stop();
}

static void test_unconnected(void)
{
    m = test_machine_new(1 << 20);
    dev = test_device(m, &isa_serial_class, NULL);
    W(THR, 'x');
    g_assert_cmphex(R(LSR), ==, 0x60);
    g_assert_cmphex(R(MSR), ==, 0xb0);
    W(LCR, 0x40);
    W(MCR, 0x0f);
    test_device_state(dev);
    test_machine_free(m);
}

/* State in the middle of things: bytes in the FIFO, a running timeout, a told and an untold error.
 */
static void test_state(void)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *error = NULL;
    start();
    W(LCR, 0x83);
    W(0, 1);
    W(LCR, 0x03);
    W(FCR, 0x81);
    W(IER, 0x0f);
    R(IIR);
    W(SCR, 0x77);
    type("abc");
    state_save(dev->cls->state, dev, saved);
    device_reset(dev);
    g_assert_cmphex(R(LSR), ==, 0x60);
    const uint8_t *at = saved->data;
    g_assert_true(state_load(dev->cls->state, dev, &at, at + saved->len, &error));
    g_assert_no_error(error);
    g_assert_cmphex(R(SCR), ==, 0x77);
    vclock_step(NS_PER_MS);
    g_assert_true(irq.level);
    g_assert_cmphex(R(IIR), ==, 0xcc);
    g_assert_cmpint(R(RBR), ==, 'a');
    g_assert_cmpint(R(RBR), ==, 'b');
    g_assert_cmpint(R(RBR), ==, 'c');
    stop();
}

/* Every byte of a state set to all ones: refused or harmless. */
static void test_hostile_state(void)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();
    start();
    state_save(dev->cls->state, dev, saved);
    for (guint i = 0; i < saved->len; i++) {
        g_autofree uint8_t *copy = g_memdup2(saved->data, saved->len);
        const uint8_t *at = copy;
        copy[i] = 0xff;
        if (!state_load(dev->cls->state, dev, &at, copy + saved->len, NULL))
            device_reset(dev);
        for (unsigned reg = 0; reg < 8; reg++)
            R(reg), W(reg, 0xff);
    }
    device_reset(dev);
    stop();
}

static void test_hostile_access(void)
{
    GRand *rand = g_rand_new_with_seed(1);
    start();
    for (unsigned i = 0; i < 200000; i++) {
        uint16_t port = (uint16_t)(BASE - 2 + g_rand_int_range(rand, 0, 12));
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 7)) {
        case 0:
            outb(m, port, (uint8_t)value);
            break;
        case 1:
            outw(m, port, (uint16_t)value);
            break;
        case 2:
            outl(m, port, value);
            break;
        case 3:
            inb(m, port);
            break;
        case 4:
            inw(m, port);
            break;
        case 5:
            inl(m, port);
            break;
        case 6:
            vclock_step(value % NS_PER_MS);
            break;
        }
        if (!(i % 1000))
            type("input");
        if (!(i % 5000))
            peer_drain(peer);
    }
    g_rand_free(rand);
    stop();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/serial/reset-values", test_reset_values);
    g_test_add_func("/serial/registers", test_registers);
    g_test_add_func("/serial/transmit", test_transmit);
    g_test_add_func("/serial/thre", test_thre);
    g_test_add_func("/serial/receive", test_receive);
    g_test_add_func("/serial/fifo-trigger", test_fifo_trigger);
    g_test_add_func("/serial/timeout", test_timeout);
    g_test_add_func("/serial/flow", test_flow);
    g_test_add_func("/serial/fifo-control", test_fifo_control);
    g_test_add_func("/serial/back-pressure", test_back_pressure);
    g_test_add_func("/serial/peer-gone", test_peer_gone);
    g_test_add_func("/serial/loopback", test_loopback);
    g_test_add_func("/serial/modem-lines", test_modem_lines);
    g_test_add_func("/serial/priorities", test_priorities);
    g_test_add_func("/serial/break", test_break);
    g_test_add_func("/serial/break-from-peer", test_break_from_peer);
    g_test_add_func("/serial/places", test_places);
    g_test_add_func("/serial/shared-chardev", test_shared_chardev);
    g_test_add_func("/serial/unconnected", test_unconnected);
    g_test_add_func("/serial/state", test_state);
    g_test_add_func("/serial/hostile-state", test_hostile_state);
    g_test_add_func("/serial/hostile-access", test_hostile_access);
    return g_test_run();
}
