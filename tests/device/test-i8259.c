/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259A pair against its datasheet: initialisation, priorities, EOI, modes, ELCR, cascade. */
#include "accel/test.h"
#include "hw/intc/i8259.h"
#include "hw/registry.h"
#include "test-corrupt.h"

enum { MASTER = 0x20, SLAVE = 0xa0, ELCR = 0x4d0 };

typedef struct Fixture {
    Machine *m;
    Device *pic;
    TestIrq intr;
    IrqLine irq[16];
} Fixture;

static void init_chip(Fixture *f, uint16_t port, uint8_t base, uint8_t icw4)
{
    outb(f->m, port, 0x11);
    outb(f->m, port + 1, base);
    outb(f->m, port + 1, port == MASTER ? 0x04 : 0x02);
    outb(f->m, port + 1, icw4);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->m = test_machine_new(1 << 20);
    f->pic = device_new(f->m, NULL, &i8259_class, NULL);
    i8259_connect(f->pic, test_irq(&f->intr));
    g_assert_true(device_realize(f->pic, NULL));
    for (unsigned n = 0; n < 16; n++)
        f->irq[n] = device_input(f->pic, n);
    init_chip(f, MASTER, 0x20, 0x01);
    init_chip(f, SLAVE, 0x28, 0x01);
}

static void teardown(Fixture *f, gconstpointer data)
{
    test_machine_free(f->m);
}

static void pulse(Fixture *f, unsigned n)
{
    irq_pulse(&f->irq[n]);
}

static uint8_t read_isr(Fixture *f, uint16_t port)
{
    outb(f->m, port, 0x0b);
    return inb(f->m, port);
}

static uint8_t read_irr(Fixture *f, uint16_t port)
{
    outb(f->m, port, 0x0a);
    return inb(f->m, port);
}

static void test_init(Fixture *f, gconstpointer data)
{
    outb(f->m, MASTER + 1, 0x5a);
    g_assert_cmphex(inb(f->m, MASTER + 1), ==, 0x5a);
    pulse(f, 1);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x02); /* IRR is the default */
    read_isr(f, MASTER);
    /* ICW1 clears masks, edge latches and the choice of ISR. */
    outb(f->m, MASTER, 0x11);
    g_assert_cmphex(inb(f->m, MASTER + 1), ==, 0x00);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x00);
    /* It ends all modes: rotation, special mask, automatic EOI, special fully nested. */
    init_chip(f, MASTER, 0x20, 0x13);
    outb(f->m, MASTER, 0x80);
    outb(f->m, MASTER, 0xc2);
    outb(f->m, MASTER, 0x68);
    outb(f->m, MASTER, 0x10);
    outb(f->m, MASTER + 1, 0x20);
    outb(f->m, MASTER + 1, 0x04);
    pulse(f, 0);
    pulse(f, 3);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x20);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x01);
    outb(f->m, MASTER + 1, 0x01);
    g_assert_false(f->intr.level);
    /* The vector's low bits do not count. */
    outb(f->m, MASTER, 0x11);
    outb(f->m, MASTER + 1, 0x4f);
    outb(f->m, MASTER + 1, 0x04);
    outb(f->m, MASTER + 1, 0x01);
    pulse(f, 5);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x4d);
}

static void test_init_without_icw4(Fixture *f, gconstpointer data)
{
    outb(f->m, MASTER, 0x10);
    outb(f->m, MASTER + 1, 0x30);
    outb(f->m, MASTER + 1, 0x04);
    outb(f->m, MASTER + 1, 0xfe); /* already OCW1 */
    g_assert_cmphex(inb(f->m, MASTER + 1), ==, 0xfe);
    /* Single: no ICW3, and IR2 is an input without a slave behind it. */
    outb(f->m, MASTER, 0x13);
    outb(f->m, MASTER + 1, 0x30);
    outb(f->m, MASTER + 1, 0x01);
    outb(f->m, MASTER + 1, 0xa5);
    g_assert_cmphex(inb(f->m, MASTER + 1), ==, 0xa5);
    outb(f->m, MASTER + 1, 0x00);
    pulse(f, 8);
    g_assert_false(f->intr.level);
}

static void test_ack_and_eoi(Fixture *f, gconstpointer data)
{
    pulse(f, 4);
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x24);
    g_assert_false(f->intr.level);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x10);
    g_assert_cmphex(read_irr(f, MASTER), ==, 0x00);
    /* Lower and equal priority wait; higher interrupts. */
    pulse(f, 4);
    pulse(f, 6);
    g_assert_false(f->intr.level);
    pulse(f, 1);
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x21);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x12);
    outb(f->m, MASTER, 0x20); /* ends the highest */
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x10);
    outb(f->m, MASTER, 0x64); /* specific */
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x24);
    outb(f->m, MASTER, 0x20);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x26);
    outb(f->m, MASTER, 0x20);
    outb(f->m, MASTER, 0x20); /* nothing to end */
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x00);
}

static void test_mask(Fixture *f, gconstpointer data)
{
    outb(f->m, MASTER + 1, 0x08);
    pulse(f, 3);
    g_assert_false(f->intr.level);
    g_assert_cmphex(read_irr(f, MASTER), ==, 0x08); /* latched behind the mask */
    outb(f->m, MASTER + 1, 0x00);
    g_assert_true(f->intr.level);
    outb(f->m, MASTER + 1, 0x08);
    g_assert_false(f->intr.level);
}

static void test_cascade(Fixture *f, gconstpointer data)
{
    pulse(f, 12);
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2c);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x04);
    g_assert_cmphex(read_isr(f, SLAVE), ==, 0x10);
    /* Input 2 of the device is the cascade: not connected. */
    irq_raise(&f->irq[2]);
    g_assert_cmphex(read_irr(f, MASTER), ==, 0x00);
    /* A higher one of the slave waits for the master's EOI of IR2 ... */
    pulse(f, 9);
    g_assert_false(f->intr.level);
    outb(f->m, MASTER, 0x20);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x29);
    outb(f->m, SLAVE, 0x20);
    outb(f->m, MASTER, 0x20);
    g_assert_cmphex(read_isr(f, SLAVE), ==, 0x10);
    /* ... and one that came during the service of the first is not lost with it. */
    pulse(f, 13);
    outb(f->m, SLAVE, 0x20);
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2d);
    /* IRQ3 ranks below the whole slave. */
    outb(f->m, SLAVE, 0x20);
    outb(f->m, MASTER, 0x20);
    pulse(f, 3);
    pulse(f, 15);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2f);
}

static void test_special_fully_nested(Fixture *f, gconstpointer data)
{
    init_chip(f, MASTER, 0x20, 0x11);
    pulse(f, 12);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2c);
    pulse(f, 9); /* the slave's higher request passes although IR2 is in service */
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x29);
    pulse(f, 14);
    pulse(f, 4);
    g_assert_false(f->intr.level); /* lower ones do not */
}

static void test_auto_eoi(Fixture *f, gconstpointer data)
{
    init_chip(f, MASTER, 0x20, 0x03);
    pulse(f, 5);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x25);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x00);
    /* Rotation in automatic EOI mode: what was served goes last. */
    outb(f->m, MASTER, 0x80);
    pulse(f, 0);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x20);
    pulse(f, 0);
    pulse(f, 7);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x27);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x20);
    outb(f->m, MASTER, 0x00);
    pulse(f, 6);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x26); /* no longer rotates */
    pulse(f, 1);
    pulse(f, 0);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x21);
}

static void test_rotation(Fixture *f, gconstpointer data)
{
    outb(f->m, MASTER, 0xc3); /* set priority: IR3 lowest, IR4 highest */
    pulse(f, 0);
    pulse(f, 4);
    pulse(f, 3);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x24);
    outb(f->m, MASTER, 0xa0); /* rotate on non-specific EOI: IR4 lowest */
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x20);
    outb(f->m, MASTER, 0xe0); /* rotate on specific EOI of IR0 */
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x00);
    pulse(f, 0);
    pulse(f, 1);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x21);
    outb(f->m, MASTER, 0x40); /* no operation */
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x02);
}

static void test_special_mask(Fixture *f, gconstpointer data)
{
    pulse(f, 3);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x23);
    pulse(f, 6);
    g_assert_false(f->intr.level);
    outb(f->m, MASTER + 1, 0x08);
    outb(f->m, MASTER, 0x68); /* set special mask mode: a masked ISR bit holds nobody back */
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x26);
    outb(f->m, MASTER, 0x20); /* non-specific EOI skips the masked one */
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x08);
    outb(f->m, MASTER, 0x20);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x08);
    outb(f->m, MASTER, 0x08); /* ESMM clear: unchanged */
    pulse(f, 6);
    g_assert_true(f->intr.level);
    outb(f->m, MASTER, 0x48);
    g_assert_false(f->intr.level);
}

static void test_poll(Fixture *f, gconstpointer data)
{
    outb(f->m, MASTER, 0x0c);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x00);
    pulse(f, 5);
    outb(f->m, MASTER, 0x0c);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x85);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x20);
    g_assert_false(f->intr.level);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x20); /* one read only */
    pulse(f, 0);
    outb(f->m, MASTER, 0x0c);
    g_assert_cmphex(inb(f->m, MASTER), ==, 0x80);
    pulse(f, 10);
    outb(f->m, SLAVE, 0x0c);
    g_assert_cmphex(inb(f->m, SLAVE + 1), ==, 0x82); /* any read of the chip */
}

static void test_spurious(Fixture *f, gconstpointer data)
{
    outb(f->m, ELCR, 0x20);
    outb(f->m, ELCR + 1, 0x02);
    irq_raise(&f->irq[5]);
    g_assert_true(f->intr.level);
    irq_lower(&f->irq[5]);
    g_assert_false(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x27);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x00); /* a spurious IRQ7 sets no ISR bit */

    /* The slave has passed its request on when it goes away: IRQ15, in service at the master. */
    irq_raise(&f->irq[9]);
    irq_lower(&f->irq[9]);
    g_assert_true(f->intr.level);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2f);
    g_assert_cmphex(read_isr(f, SLAVE), ==, 0x00);
    g_assert_cmphex(read_isr(f, MASTER), ==, 0x04);
}

static void test_elcr(Fixture *f, gconstpointer data)
{
    outb(f->m, ELCR, 0xff);
    outb(f->m, ELCR + 1, 0xff);
    g_assert_cmphex(inb(f->m, ELCR), ==, 0xf8); /* IRQ0-2, 8 and 13 stay edges */
    g_assert_cmphex(inb(f->m, ELCR + 1), ==, 0xde);
    irq_raise(&f->irq[11]);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2b);
    outb(f->m, SLAVE, 0x20);
    outb(f->m, MASTER, 0x20);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x2b); /* still asserted */
    irq_lower(&f->irq[11]);
    outb(f->m, SLAVE, 0x20);
    outb(f->m, MASTER, 0x20);
    g_assert_false(f->intr.level);
    /* A line that is high when it becomes level-triggered requests; back to edge it does not. */
    outb(f->m, ELCR, 0x00);
    irq_raise(&f->irq[7]);
    i8259_ack(f->pic);
    outb(f->m, MASTER, 0x20);
    g_assert_false(f->intr.level);
    outb(f->m, ELCR, 0x80);
    g_assert_true(f->intr.level);
    outb(f->m, ELCR, 0x00);
    g_assert_false(f->intr.level);
    /* After ICW1 a level is still seen, an edge must come anew. */
    outb(f->m, ELCR, 0x80);
    irq_raise(&f->irq[6]);
    init_chip(f, MASTER, 0x20, 0x01);
    g_assert_cmphex(read_irr(f, MASTER), ==, 0x80);
}

static void test_edges(Fixture *f, gconstpointer data)
{
    irq_raise(&f->irq[4]);
    irq_raise(&f->irq[4]); /* no new edge */
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x24);
    outb(f->m, MASTER, 0x20);
    g_assert_false(f->intr.level);
    irq_lower(&f->irq[4]);
    irq_raise(&f->irq[4]);
    g_assert_true(f->intr.level);
}

static void test_reset(Fixture *f, gconstpointer data)
{
    outb(f->m, ELCR, 0x20);
    irq_raise(&f->irq[5]);
    outb(f->m, MASTER + 1, 0xaa);
    device_reset(f->pic);
    g_assert_false(f->intr.level);
    g_assert_cmphex(inb(f->m, MASTER + 1), ==, 0x00);
    g_assert_cmphex(inb(f->m, ELCR), ==, 0x00);
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x07);
}

static void test_hostile(Fixture *f, gconstpointer data)
{
    static const uint16_t ports[] = {MASTER, MASTER + 1, SLAVE, SLAVE + 1, ELCR, ELCR + 1};
    GRand *rand = g_rand_new_with_seed(8259);
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->pic, rand);
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 7)) {
        case 0:
            outb(f->m, port, value);
            break;
        case 1:
            outw(f->m, port, value);
            break;
        case 2:
            outl(f->m, port, value);
            break;
        case 3:
            inl(f->m, port);
            break;
        case 4:
            irq_set(&f->irq[value & 15], value & 16);
            break;
        default:
            g_assert_cmpuint(i8259_ack(f->pic), <, 256);
        }
    }
    g_rand_free(rand);
    test_device_state(f->pic);
}

static void test_state(Fixture *f, gconstpointer data)
{
    outb(f->m, ELCR, 0x20);
    pulse(f, 3);
    pulse(f, 12);
    i8259_ack(f->pic);
    pulse(f, 0);
    outb(f->m, SLAVE + 1, 0x55);
    test_device_state(f->pic);
    g_assert_true(f->intr.level); /* the output follows a loaded state */
    g_assert_cmphex(i8259_ack(f->pic), ==, 0x20);
}

static void test_describe(Fixture *f, gconstpointer data)
{
    g_autoptr(GString) out = g_string_new(NULL);
    outb(f->m, MASTER + 1, 0xb8);
    pulse(f, 4);
    pic_describe(f->pic, out);
    g_assert_nonnull(strstr(out->str, "pic0: irr=10 imr=b8 isr=00 hprio=0 irq_base=20 rr_sel=0"));
    g_assert_nonnull(strstr(out->str, "pic1: irr=00"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/i8259/" name, Fixture, NULL, setup, fn, teardown)
    ADD("init", test_init);
    ADD("init-without-icw4", test_init_without_icw4);
    ADD("ack-and-eoi", test_ack_and_eoi);
    ADD("mask", test_mask);
    ADD("cascade", test_cascade);
    ADD("special-fully-nested", test_special_fully_nested);
    ADD("auto-eoi", test_auto_eoi);
    ADD("rotation", test_rotation);
    ADD("special-mask", test_special_mask);
    ADD("poll", test_poll);
    ADD("spurious", test_spurious);
    ADD("elcr", test_elcr);
    ADD("edges", test_edges);
    ADD("reset", test_reset);
    ADD("hostile", test_hostile);
    ADD("state", test_state);
    ADD("describe", test_describe);
    return g_test_run();
}
