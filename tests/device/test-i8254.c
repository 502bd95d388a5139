/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 against its datasheet, all modes in ticks of 1.193182 MHz, and port 61h on top of it. */
#include "accel/test.h"
#include "hw/misc/pcspk.h"
#include "hw/registry.h"
#include "hw/timer/i8254.h"
#include "test-corrupt.h"
#include "util/timer.h"

enum { CONTROL = 0x43, PORT_B = 0x61 };

typedef struct Fixture {
    Machine *m;
    Device *pit, *spk;
    TestIrq irq;
    int64_t zero; /* tick that ticks_to() counts from */
} Fixture;

static void setup(Fixture *f, gconstpointer props)
{
    f->m = test_machine_new(1 << 20);
    f->pit = device_new(f->m, NULL, &i8254_class, NULL);
    if (props)
        g_assert_true(device_set_prop(f->pit, "lost_tick_policy", props, NULL));
    i8254_connect(f->pit, test_irq(&f->irq));
    g_assert_true(device_realize(f->pit, NULL));
    f->spk = test_device(f->m, &pcspk_class, NULL);
}

static void teardown(Fixture *f, gconstpointer props)
{
    test_machine_free(f->m);
}

/* Moves the clock to the start of a tick, counted from the last mark(). */
static void ticks_to(Fixture *f, int64_t tick)
{
    vclock_step(ticks_to_ns(f->zero + tick, I8254_HZ) - clock_now(VM_CLOCK_VIRTUAL));
}

/* From here on ticks are counted. */
static void mark(Fixture *f)
{
    f->zero = ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL), I8254_HZ);
}

static void program(Fixture *f, unsigned channel, unsigned mode, uint16_t count)
{
    outb(f->m, CONTROL, channel << 6 | 0x30 | mode << 1);
    outb(f->m, 0x40 + channel, count);
    outb(f->m, 0x40 + channel, count >> 8);
    mark(f);
}

static void gate(Fixture *f, bool level)
{
    outb(f->m, PORT_B, level);
}

static bool out2(Fixture *f)
{
    return inb(f->m, PORT_B) >> 5 & 1;
}

static uint16_t count(Fixture *f, unsigned channel)
{
    outb(f->m, CONTROL, channel << 6);
    uint8_t low = inb(f->m, 0x40 + channel);
    return inb(f->m, 0x40 + channel) << 8 | low;
}

static uint8_t status(Fixture *f, unsigned channel)
{
    outb(f->m, CONTROL, 0xe0 | 2 << channel);
    return inb(f->m, 0x40 + channel);
}

static void expect(Fixture *f, int64_t tick, bool level, uint16_t value)
{
    ticks_to(f, tick);
    g_assert_cmpint(out2(f), ==, level);
    g_assert_cmpuint(count(f, 2), ==, value);
}

static void test_idle(Fixture *f, gconstpointer props)
{
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    vclock_step(NS_PER_SEC);
    g_assert_cmpuint(f->irq.rises, ==, 0);
    program(f, 1, 2, 18); /* channels 1 and 2 never need a timer */
    program(f, 2, 3, 1000);
    gate(f, true);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    program(f, 0, 0, 100);
    g_assert_cmpint(vclock_next_deadline(), >, 0);
    vclock_step(NS_PER_SEC);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static void test_mode0(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 2, 0, 100);
    expect(f, 0, false, 100);
    expect(f, 40, false, 60);
    expect(f, 99, false, 1);
    expect(f, 100, true, 0);
    expect(f, 101, true, 0xffff); /* counts on */
    expect(f, 100 + 65536 + 7, true, 0xfff9);
    /* The gate stops the count and lets it go on. */
    program(f, 2, 0, 100);
    ticks_to(f, 30);
    gate(f, false);
    expect(f, 5000, false, 70);
    gate(f, true);
    mark(f);
    expect(f, 69, false, 1);
    expect(f, 70, true, 0);
    /* A new count: its first byte stops, its second starts. */
    outb(f->m, 0x42, 10);
    ticks_to(f, 200);
    g_assert_false(out2(f));
    ticks_to(f, 300);
    outb(f->m, 0x42, 0);
    mark(f);
    expect(f, 9, false, 1);
    expect(f, 10, true, 0);
}

static void test_mode1(Fixture *f, gconstpointer props)
{
    program(f, 2, 1, 50);
    ticks_to(f, 100);
    g_assert_true(out2(f)); /* nothing before a trigger */
    gate(f, true);
    mark(f);
    expect(f, 0, false, 50);
    expect(f, 49, false, 1);
    expect(f, 50, true, 0);
    gate(f, false);
    gate(f, true);
    mark(f);
    expect(f, 20, false, 30);
    gate(f, false); /* does not stop it */
    expect(f, 30, false, 20);
    gate(f, true); /* retriggers */
    mark(f);
    expect(f, 49, false, 1);
    /* A new count waits for the next trigger. */
    outb(f->m, 0x42, 10);
    outb(f->m, 0x42, 0);
    g_assert_cmphex(status(f, 2) & 0x40, ==, 0x40);
    expect(f, 50, true, 0);
    gate(f, false);
    gate(f, true);
    mark(f);
    g_assert_cmphex(status(f, 2) & 0x40, ==, 0);
    expect(f, 9, false, 1);
    expect(f, 10, true, 0);
}

static void test_mode2(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 2, 2, 10);
    for (int cycle = 0; cycle < 3; cycle++) {
        expect(f, cycle * 10 + 0, true, 10);
        expect(f, cycle * 10 + 8, true, 2);
        expect(f, cycle * 10 + 9, false, 1);
    }
    /* A new count is taken at the end of the cycle. */
    ticks_to(f, 33);
    outb(f->m, 0x42, 4);
    outb(f->m, 0x42, 0);
    g_assert_cmphex(status(f, 2) & 0x40, ==, 0x40);
    expect(f, 39, false, 1);
    expect(f, 40, true, 4);
    g_assert_cmphex(status(f, 2) & 0x40, ==, 0);
    expect(f, 43, false, 1);
    expect(f, 44, true, 4);
    /* Gate low: OUT high at once, and a new start. */
    ticks_to(f, 47);
    g_assert_false(out2(f));
    gate(f, false);
    g_assert_true(out2(f));
    ticks_to(f, 100);
    gate(f, true);
    mark(f);
    expect(f, 0, true, 4);
    expect(f, 3, false, 1);
}

static void test_mode3(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 2, 3, 10);
    expect(f, 0, true, 10);
    expect(f, 4, true, 2);
    expect(f, 5, false, 10);
    expect(f, 9, false, 2);
    expect(f, 10, true, 10);
    /* Odd: high for one tick more than low. */
    program(f, 2, 3, 5);
    expect(f, 0, true, 4);
    expect(f, 2, true, 0);
    expect(f, 3, false, 4);
    expect(f, 4, false, 2);
    expect(f, 5, true, 4);
    /* A new count is taken at the end of the half cycle. */
    program(f, 2, 3, 100);
    ticks_to(f, 20);
    outb(f->m, 0x42, 6);
    outb(f->m, 0x42, 0);
    expect(f, 49, true, 2);
    expect(f, 50, false, 6);
    expect(f, 52, false, 2);
    expect(f, 53, true, 6);
    expect(f, 56, false, 6);
    program(f, 2, 3, 100);
    ticks_to(f, 70);
    outb(f->m, 0x42, 6);
    outb(f->m, 0x42, 0);
    expect(f, 99, false, 2);
    expect(f, 100, true, 6);
    expect(f, 103, false, 6);
}

static void test_mode4(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 2, 4, 20);
    expect(f, 19, true, 1);
    expect(f, 20, false, 0);
    expect(f, 21, true, 0xffff);
    expect(f, 20 + 65536, true, 0); /* strobes once */
    program(f, 2, 4, 20);
    ticks_to(f, 5);
    gate(f, false);
    ticks_to(f, 500);
    gate(f, true);
    mark(f);
    expect(f, 14, true, 1);
    expect(f, 15, false, 0);
}

static void test_mode5(Fixture *f, gconstpointer props)
{
    program(f, 2, 5, 20);
    ticks_to(f, 1000);
    g_assert_true(out2(f));
    gate(f, true);
    mark(f);
    expect(f, 19, true, 1);
    expect(f, 20, false, 0);
    expect(f, 21, true, 0xffff);
    gate(f, false);
    gate(f, true);
    mark(f);
    expect(f, 20, false, 0);
}

static void test_bcd(Fixture *f, gconstpointer props)
{
    gate(f, true);
    outb(f->m, CONTROL, 0xb1); /* channel 2, mode 0, BCD */
    outb(f->m, 0x42, 0x34);
    outb(f->m, 0x42, 0x12);
    mark(f);
    expect(f, 0, false, 0x1234);
    expect(f, 35, false, 0x1199);
    expect(f, 1234, true, 0);
    expect(f, 1235, true, 0x9999);
    outb(f->m, CONTROL, 0xb5); /* mode 2: 0 stands for 10000 */
    outb(f->m, 0x42, 0);
    outb(f->m, 0x42, 0);
    mark(f);
    expect(f, 1, true, 0x9999);
    expect(f, 9999, false, 1);
    program(f, 2, 2, 0); /* and for 65536 in binary */
    expect(f, 0, true, 0);
    expect(f, 65535, false, 1);
}

static void test_access_modes(Fixture *f, gconstpointer props)
{
    gate(f, true);
    outb(f->m, CONTROL, 0x90); /* low byte only */
    outb(f->m, 0x42, 0x80);
    mark(f);
    ticks_to(f, 1);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x7f);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x7f);
    outb(f->m, CONTROL, 0xa0); /* high byte only */
    outb(f->m, 0x42, 0x80);
    mark(f);
    ticks_to(f, 1);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x7f);
    g_assert_cmphex(status(f, 2), ==, 0x20);
    /* A control word forgets a half-written count. */
    outb(f->m, CONTROL, 0xb0);
    outb(f->m, 0x42, 0x11);
    program(f, 2, 0, 0x2233);
    expect(f, 0, false, 0x2233);
    /* Bit 2 of modes 2 and 3 does not matter. */
    outb(f->m, CONTROL, 0xbc);
    g_assert_cmphex(status(f, 2) & 0x0e, ==, 0x04);
    g_assert_cmphex(inb(f->m, CONTROL), ==, 0);
}

static void test_latch(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 2, 0, 0x5000);
    ticks_to(f, 0x10);
    outb(f->m, CONTROL, 0x80);
    ticks_to(f, 0x1000);
    outb(f->m, CONTROL, 0x80); /* ignored: one is latched */
    g_assert_cmphex(inb(f->m, 0x42), ==, 0xf0);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x4f);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x00);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x40);
    /* Read-back: count and status of two channels at once; the status comes first. */
    program(f, 1, 2, 0x0300);
    ticks_to(f, 1);
    outb(f->m, CONTROL, 0xcc);
    ticks_to(f, 0x20);
    g_assert_cmphex(inb(f->m, 0x41), ==, 0xb4);
    g_assert_cmphex(inb(f->m, 0x41), ==, 0xff);
    g_assert_cmphex(inb(f->m, 0x41), ==, 0x02);
    g_assert_cmphex(inb(f->m, 0x42), ==, 0x30);
    /* Count only. */
    outb(f->m, CONTROL, 0xd4);
    g_assert_cmphex(inb(f->m, 0x41), ==, 0xe0);
}

static void test_status(Fixture *f, gconstpointer props)
{
    outb(f->m, CONTROL, 0xb8); /* mode 4: OUT is high without a count */
    g_assert_cmphex(status(f, 2), ==, 0xf8);
    outb(f->m, CONTROL, 0xb0);
    g_assert_cmphex(status(f, 2), ==, 0x70);
    outb(f->m, 0x42, 1);
    outb(f->m, 0x42, 0);
    g_assert_cmphex(status(f, 2), ==, 0x30); /* loaded */
}

static void test_irq0(Fixture *f, gconstpointer props)
{
    program(f, 0, 2, 11932); /* 100 Hz */
    unsigned before = f->irq.rises;
    for (int i = 1; i <= 50; i++) {
        ticks_to(f, i * 11932 - 1);
        g_assert_cmpuint(f->irq.rises - before, ==, i - 1);
        ticks_to(f, i * 11932);
        g_assert_cmpuint(f->irq.rises - before, ==, i);
    }
    g_assert_false(f->irq.level); /* pulses */
    /* A new count takes over at the end of the cycle, without a lost or an early edge. */
    outb(f->m, 0x40, 100);
    outb(f->m, 0x40, 0);
    ticks_to(f, 51 * 11932 + 250);
    g_assert_cmpuint(f->irq.rises - before, ==, 50 + 3);
    program(f, 0, 3, 1000);
    before = f->irq.rises;
    ticks_to(f, 10000);
    g_assert_cmpuint(f->irq.rises - before, ==, 10);
    /* In mode 3 the half cycle under way ends first. */
    program(f, 0, 3, 10000);
    outb(f->m, 0x40, 1000 & 0xff);
    outb(f->m, 0x40, 1000 >> 8);
    before = f->irq.rises;
    ticks_to(f, 5499);
    g_assert_cmpuint(f->irq.rises - before, ==, 0);
    ticks_to(f, 5500);
    g_assert_cmpuint(f->irq.rises - before, ==, 1);
    ticks_to(f, 6500);
    g_assert_cmpuint(f->irq.rises - before, ==, 2);
    /* Mode 0: low with the control word, once up, and silence. */
    program(f, 0, 0, 500);
    g_assert_false(f->irq.level);
    before = f->irq.rises;
    ticks_to(f, 499);
    g_assert_false(f->irq.level);
    ticks_to(f, 500);
    g_assert_true(f->irq.level);
    vclock_step(NS_PER_SEC);
    g_assert_cmpuint(f->irq.rises - before, ==, 1);
    /* Mode 4: a strobe. */
    program(f, 0, 4, 500);
    before = f->irq.rises;
    ticks_to(f, 500);
    g_assert_cmpuint(f->irq.rises - before, ==, 0);
    ticks_to(f, 501);
    g_assert_cmpuint(f->irq.rises - before, ==, 1);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

/* The host sleeps for 100 periods: with "delay" they follow at twice the rate, with "discard" they
 * are gone. */
static void test_late(Fixture *f, gconstpointer props)
{
    program(f, 0, 2, 1193);
    int64_t period = ticks_to_ns(1193, I8254_HZ);
    vclock_step(10 * period);
    unsigned before = f->irq.rises;
    vclock_set(clock_now(VM_CLOCK_VIRTUAL) + 100 * period);
    vclock_step(0);
    g_assert_cmpuint(f->irq.rises - before, ==, 1);
    vclock_step(200 * period);
    if (!g_strcmp0(props, "discard")) {
        g_assert_cmpuint(f->irq.rises - before, <=, 202);
        return;
    }
    g_assert_cmpuint(f->irq.rises - before, >=, 299);
    g_assert_cmpuint(f->irq.rises - before, <=, 301);
    before = f->irq.rises;
    vclock_step(100 * period); /* level again */
    g_assert_cmpuint(f->irq.rises - before, >=, 99);
    g_assert_cmpuint(f->irq.rises - before, <=, 101);
    /* A lag of more than a second is written off. */
    before = f->irq.rises;
    vclock_set(clock_now(VM_CLOCK_VIRTUAL) + 3 * NS_PER_SEC);
    vclock_step(10 * period);
    g_assert_cmpuint(f->irq.rises - before, <=, 12);
}

typedef struct Guest {
    bool waits;
    unsigned asked;
} Guest;

static bool edge_waits(void *opaque)
{
    Guest *guest = opaque;
    guest->asked++;
    return guest->waits;
}

/* The guest does not take an edge: the next one is held, and none is lost once it does. */
static void test_waits(Fixture *f, gconstpointer props)
{
    Guest guest = {0};
    i8254_connect_waits(f->pit, edge_waits, &guest);
    program(f, 0, 2, 1193);
    int64_t period = ticks_to_ns(1193, I8254_HZ);
    vclock_step(10 * period);
    unsigned before = f->irq.rises;
    g_assert_cmpuint(guest.asked, ==, g_strcmp0(props, "discard") ? before : 0);
    guest.waits = true;
    vclock_step(100 * period);
    if (!g_strcmp0(props, "discard")) {
        g_assert_cmpuint(f->irq.rises - before, ==, 100);
        return;
    }
    g_assert_cmpuint(f->irq.rises, ==, before);
    g_assert_cmpuint(guest.asked, <=, before + 202); /* twice a period */
    test_device_state(f->pit);
    guest.waits = false;
    vclock_step(200 * period);
    g_assert_cmpuint(f->irq.rises - before, >=, 299);
    g_assert_cmpuint(f->irq.rises - before, <=, 301);
    /* Of one that takes none for long the last second's are kept. */
    guest.waits = true;
    vclock_step(NS_PER_SEC);
    vclock_step(9 * NS_PER_SEC);
    guest.waits = false;
    before = f->irq.rises;
    vclock_step(3000 * period);
    g_assert_cmpuint(f->irq.rises - before, >=, 3990);
    g_assert_cmpuint(f->irq.rises - before, <=, 4010);
    /* An output that is no tick is not held. */
    guest.waits = true;
    program(f, 0, 0, 100);
    before = f->irq.rises;
    vclock_step(period);
    g_assert_cmpuint(f->irq.rises - before, ==, 1);
}

/* Counts of a few ticks cannot flood the host. */
static void test_storm(Fixture *f, gconstpointer props)
{
    static const uint16_t counts[] = {1, 2, 3, 5};
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++)
        for (unsigned mode = 0; mode < 8; mode++) {
            program(f, 0, mode, counts[i]);
            unsigned before = f->irq.rises;
            vclock_step(NS_PER_MS);
            g_assert_cmpuint(f->irq.rises - before, <=, 101);
        }
}

static void test_speaker(Fixture *f, gconstpointer props)
{
    g_assert_cmphex(inb(f->m, PORT_B) & 0xcf, ==, 0);
    outb(f->m, PORT_B, 0xff);
    g_assert_cmphex(inb(f->m, PORT_B) & 0xcf, ==, 0x0f); /* status bits cannot be written */
    g_assert_true(i8254_gate(f->pit, 2));
    outb(f->m, PORT_B, 0x02);
    g_assert_cmphex(inb(f->m, PORT_B) & 0xcf, ==, 0x02);
    g_assert_false(i8254_gate(f->pit, 2));
    /* The refresh bit toggles every 18 ticks. */
    mark(f);
    unsigned toggles = 0;
    bool last = inb(f->m, PORT_B) & 0x10;
    for (int i = 1; i <= 1800; i++) {
        ticks_to(f, i);
        bool now = inb(f->m, PORT_B) & 0x10;
        toggles += now != last;
        last = now;
    }
    g_assert_cmpuint(toggles, ==, 100);
}

static unsigned nmis;
static void count_nmi(Machine *machine)
{
    nmis++;
}

static void test_system_error(Fixture *f, gconstpointer props)
{
    f->m->hooks.nmi = count_nmi;
    nmis = 0;
    outb(f->m, PORT_B, 0x04);
    pcspk_system_error(f->spk);
    g_assert_cmpuint(nmis, ==, 0);
    outb(f->m, PORT_B, 0x00);
    pcspk_system_error(f->spk);
    pcspk_system_error(f->spk);
    g_assert_cmpuint(nmis, ==, 1);
    g_assert_cmphex(inb(f->m, PORT_B) & 0x80, ==, 0x80);
    outb(f->m, PORT_B, 0x00);
    g_assert_cmphex(inb(f->m, PORT_B) & 0x80, ==, 0x80);
    outb(f->m, PORT_B, 0x04);
    g_assert_cmphex(inb(f->m, PORT_B) & 0x80, ==, 0x00);
}

static void test_speaker_needs_pit(void)
{
    Machine *m = test_machine_new(1 << 20);
    g_autofree char *message = test_device_error(m, &pcspk_class, NULL);
    g_assert_nonnull(strstr(message, "isa-pit"));
    test_machine_free(m);
}

static void test_hostile(Fixture *f, gconstpointer props)
{
    static const uint16_t ports[] = {0x40, 0x41, 0x42, CONTROL, PORT_B};
    GRand *rand = g_rand_new_with_seed(8254);
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->pit, rand);
        uint16_t port = ports[g_rand_int_range(rand, 0, G_N_ELEMENTS(ports))];
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
            outl(f->m, port, value);
            break;
        case 1:
            inl(f->m, port);
            break;
        case 2:
            vclock_step(value % 20000);
            break;
        case 3:
            inb(f->m, port);
            break;
        default:
            outb(f->m, port, value);
        }
    }
    g_rand_free(rand);
    test_device_state(f->pit);
    test_device_state(f->spk);
}

static void test_state(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 0, 2, 1000);
    program(f, 2, 3, 100);
    outb(f->m, 0x42, 0x20); /* half a count */
    ticks_to(f, 333);
    outb(f->m, CONTROL, 0x00);
    unsigned before = f->irq.rises;
    test_device_state(f->pit);
    g_assert_cmphex(inb(f->m, 0x40) | inb(f->m, 0x40) << 8, ==, 667);
    ticks_to(f, 3000);
    g_assert_cmpuint(f->irq.rises - before, ==, 3);
    outb(f->m, 0x42, 0x00);
    ticks_to(f, 3064);
    g_assert_cmpuint(count(f, 2), <=, 32);
}

static void test_reset(Fixture *f, gconstpointer props)
{
    gate(f, true);
    program(f, 0, 3, 1000);
    device_reset(f->pit);
    device_reset(f->spk);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    g_assert_false(f->irq.level);
    g_assert_false(i8254_gate(f->pit, 2));
    g_assert_true(i8254_gate(f->pit, 0));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, props, fn) g_test_add("/i8254/" name, Fixture, props, setup, fn, teardown)
    ADD("idle", NULL, test_idle);
    ADD("mode0", NULL, test_mode0);
    ADD("mode1", NULL, test_mode1);
    ADD("mode2", NULL, test_mode2);
    ADD("mode3", NULL, test_mode3);
    ADD("mode4", NULL, test_mode4);
    ADD("mode5", NULL, test_mode5);
    ADD("bcd", NULL, test_bcd);
    ADD("access-modes", NULL, test_access_modes);
    ADD("latch", NULL, test_latch);
    ADD("status", NULL, test_status);
    ADD("irq0", NULL, test_irq0);
    ADD("late/delay", NULL, test_late);
    ADD("late/discard", "discard", test_late);
    ADD("waits/delay", NULL, test_waits);
    ADD("waits/discard", "discard", test_waits);
    ADD("storm", NULL, test_storm);
    ADD("hostile", NULL, test_hostile);
    ADD("state", NULL, test_state);
    ADD("reset", NULL, test_reset);
    ADD("speaker/bits", NULL, test_speaker);
    ADD("speaker/system-error", NULL, test_system_error);
    g_test_add_func("/i8254/speaker/needs-pit", test_speaker_needs_pit);
    return g_test_run();
}
