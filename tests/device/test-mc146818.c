/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 against its datasheet.  clock=vm makes its time the test's. */
#include <time.h>

#include "accel/test.h"
#include "hw/registry.h"
#include "hw/timer/mc146818.h"
#include "test-corrupt.h"
#include "util/bytes.h"
#include "util/timer.h"

enum { A = 0x0a, B = 0x0b, C = 0x0c, D = 0x0d, CENTURY = 0x32 };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 0x04, H24 = 0x02 };
enum { IRQF = 0x80, PF = 0x40, AF = 0x20, UF = 0x10 };

typedef struct Fixture {
    Machine *m;
    Device *rtc;
    TestIrq irq;
} Fixture;

static void setup(Fixture *f, gconstpointer base)
{
    f->m = test_machine_new(1 << 20);
    f->rtc = device_new(f->m, NULL, &mc146818_class, NULL);
    g_assert_true(device_set_prop(f->rtc, "clock", "vm", NULL));
    g_assert_true(device_set_prop(f->rtc, "base", base, NULL));
    mc146818_connect(f->rtc, test_irq(&f->irq));
    g_assert_true(device_realize(f->rtc, NULL));
}

static void teardown(Fixture *f, gconstpointer base)
{
    test_machine_free(f->m);
}

static uint8_t get(Fixture *f, uint8_t index)
{
    outb(f->m, 0x70, index);
    return inb(f->m, 0x71);
}

static void set(Fixture *f, uint8_t index, uint8_t value)
{
    outb(f->m, 0x70, index);
    outb(f->m, 0x71, value);
}

/* "2026-11-22 20:05:09 1": date, time and weekday as the registers show them, in hexadecimal. */
static void expect_time(Fixture *f, const char *wanted)
{
    g_autofree char *got =
        g_strdup_printf("%02x%02x-%02x-%02x %02x:%02x:%02x %x", get(f, CENTURY), get(f, 9),
                        get(f, 8), get(f, 7), get(f, 4), get(f, 2), get(f, 0), get(f, 6));
    g_assert_cmpstr(got, ==, wanted);
}

static void seconds(double n)
{
    vclock_step((int64_t)(n * NS_PER_SEC));
}

static void test_reset_values(Fixture *f, gconstpointer base)
{
    g_assert_cmphex(get(f, A), ==, 0x26);
    g_assert_cmphex(get(f, B), ==, H24);
    g_assert_cmphex(get(f, C), ==, 0);
    g_assert_cmphex(get(f, D), ==, 0x80);
    g_assert_cmphex(inb(f->m, 0x70), ==, 0xff);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    expect_time(f, "2006-06-17 16:01:21 7");
    seconds(3600);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    expect_time(f, "2006-06-17 17:01:21 7");
}

static void test_calendar(Fixture *f, gconstpointer base)
{
    expect_time(f, "2024-02-28 23:59:58 4");
    seconds(2);
    expect_time(f, "2024-02-29 00:00:00 5"); /* a leap year */
    seconds(86400);
    expect_time(f, "2024-03-01 00:00:00 6");
    seconds(86400.0 * 305 + 86399);
    expect_time(f, "2024-12-31 23:59:59 3");
    seconds(1);
    expect_time(f, "2025-01-01 00:00:00 4");
}

/* Every day from 1970 to 2200 against the C library. */
static void test_every_day(Fixture *f, gconstpointer base)
{
    expect_time(f, "1970-01-01 00:00:00 5");
    for (int day = 0; day < 84000; day += 13) {
        time_t now = (time_t)day * 86400 + 12345;
        struct tm tm;
        vclock_set(now * NS_PER_SEC);
        gmtime_r(&now, &tm);
        g_autofree char *wanted =
            g_strdup_printf("%04d-%02d-%02d %02d:%02d:%02d %d", tm.tm_year + 1900, tm.tm_mon + 1,
                            tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, tm.tm_wday + 1);
        expect_time(f, wanted);
    }
}

static void test_formats(Fixture *f, gconstpointer base)
{
    set(f, B, H24 | DM);
    expect_time(f, "1406-06-11 10:01:15 7");
    set(f, B, 0); /* 12 h, BCD */
    expect_time(f, "2006-06-17 84:01:21 7");
    seconds(8 * 3600);
    expect_time(f, "2006-06-18 12:01:21 1"); /* midnight is 12 am */
    seconds(12 * 3600);
    expect_time(f, "2006-06-18 92:01:21 1"); /* noon is 12 pm */
    set(f, 4, 0x12);
    set(f, B, H24);
    expect_time(f, "2006-06-18 00:01:21 1");
    set(f, B, DM);
    set(f, 4, 0x8b);
    set(f, B, H24);
    expect_time(f, "2006-06-18 23:01:21 1");
}

static void test_set(Fixture *f, gconstpointer base)
{
    seconds(0.25);
    set(f, B, SET | UIE | H24);
    g_assert_cmphex(get(f, B), ==, SET | H24); /* SET clears UIE */
    seconds(100);
    expect_time(f, "2006-06-17 16:01:21 7"); /* stands */
    set(f, 9, 0x99);
    set(f, 8, 0x12);
    set(f, 7, 0x31);
    set(f, CENTURY, 0x19);
    set(f, 4, 0x23);
    set(f, 2, 0x59);
    set(f, 0, 0x59);
    g_assert_cmphex(get(f, 0), ==, 0x59);
    set(f, B, H24);
    expect_time(f, "1999-12-31 23:59:59 6");
    seconds(0.76);
    expect_time(f, "2000-01-01 00:00:00 7"); /* the divider ran on */
    /* While it runs a register may be written, too. */
    set(f, 2, 0x34);
    expect_time(f, "2000-01-01 00:34:00 7");
    set(f, 0x37, 0x21); /* the PS/2's century byte is the same one */
    expect_time(f, "2100-01-01 00:34:00 6");
    g_assert_cmphex(get(f, 0x37), ==, 0x21);
}

static void test_divider_reset(Fixture *f, gconstpointer base)
{
    seconds(0.9);
    set(f, A, 0x76);
    seconds(10);
    expect_time(f, "2006-06-17 16:01:21 7");
    g_assert_cmphex(get(f, C), ==, PF); /* from before the reset */
    g_assert_cmphex(get(f, C), ==, 0);
    set(f, A, 0x26);
    seconds(0.499);
    expect_time(f, "2006-06-17 16:01:21 7");
    seconds(0.002);
    expect_time(f, "2006-06-17 16:01:22 7"); /* half a second after the release */
}

static void test_uip(Fixture *f, gconstpointer base)
{
    g_assert_cmphex(get(f, A), ==, 0x26);
    vclock_step(NS_PER_SEC - 245000);
    g_assert_cmphex(get(f, A), ==, 0x26);
    vclock_step(1000);
    g_assert_cmphex(get(f, A), ==, 0xa6);
    set(f, A, 0xff & ~0x70); /* UIP is read-only; the rate is not */
    vclock_step(245000);
    g_assert_cmphex(get(f, A), ==, 0x0f);
    set(f, B, SET | H24);
    vclock_step(NS_PER_SEC - 1000);
    g_assert_cmphex(get(f, A) & 0x80, ==, 0);
}

static void test_update_interrupt(Fixture *f, gconstpointer base)
{
    seconds(0.5);
    get(f, C);
    set(f, B, UIE | H24);
    seconds(0.499);
    g_assert_false(f->irq.level);
    seconds(0.001);
    g_assert_true(f->irq.level);
    g_assert_cmphex(get(f, 0), ==, 0x22);
    g_assert_cmpint(vclock_next_deadline(), ==, -1); /* nobody has looked yet */
    seconds(3);
    g_assert_cmpuint(f->irq.rises, ==, 1);
    g_assert_cmphex(get(f, C) & ~PF, ==, IRQF | UF);
    g_assert_false(f->irq.level);
    g_assert_cmphex(get(f, C), ==, 0);
    for (int i = 0; i < 10; i++) {
        seconds(1);
        g_assert_cmphex(get(f, C) & ~PF, ==, IRQF | UF);
    }
    g_assert_cmpuint(f->irq.rises, ==, 11);
    /* Disabled, the flag comes without an interrupt; enabling it then interrupts. */
    set(f, B, H24);
    seconds(1);
    g_assert_false(f->irq.level);
    set(f, B, UIE | H24);
    g_assert_true(f->irq.level);
}

static void test_periodic(Fixture *f, gconstpointer base)
{
    static const struct {
        uint8_t rate;
        unsigned hz;
    } rates[] = {{1, 256}, {2, 128}, {3, 8192}, {6, 1024}, {8, 256}, {13, 8}, {15, 2}};
    for (unsigned i = 0; i < G_N_ELEMENTS(rates); i++) {
        set(f, B, H24);
        set(f, A, 0x20 | rates[i].rate);
        get(f, C);
        set(f, B, PIE | H24);
        unsigned before = f->irq.rises, steps = 1000000 / 50;
        for (unsigned step = 0; step < steps; step++) {
            vclock_step(50 * NS_PER_US);
            if (f->irq.level)
                g_assert_cmphex(get(f, C) & ~UF, ==, IRQF | PF);
        }
        g_assert_cmpuint(f->irq.rises - before, >=, rates[i].hz - 1);
        g_assert_cmpuint(f->irq.rises - before, <=, rates[i].hz);
    }
    set(f, A, 0x20); /* rate 0: none */
    get(f, C);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    set(f, A, 0x66); /* divider held */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static void set_alarm(Fixture *f, uint8_t hour, uint8_t minute, uint8_t second)
{
    set(f, 5, hour);
    set(f, 3, minute);
    set(f, 1, second);
    get(f, C);
}

static void expect_alarm_in(Fixture *f, int64_t in)
{
    g_assert_false(f->irq.level);
    seconds(in - 0.001);
    g_assert_false(f->irq.level);
    seconds(0.002);
    g_assert_true(f->irq.level);
    g_assert_cmphex(get(f, C) & (IRQF | AF), ==, IRQF | AF);
    vclock_step(-(NS_PER_MS) + NS_PER_SEC); /* on the second again, one later */
}

static void test_alarm(Fixture *f, gconstpointer base)
{
    set(f, B, AIE | H24); /* 16:01:21 */
    set_alarm(f, 0x16, 0x02, 0x00);
    expect_alarm_in(f, 39); /* now 16:02:01 */
    set_alarm(f, 0xff, 0xc0, 0x30);
    expect_alarm_in(f, 29); /* :31 */
    expect_alarm_in(f, 59); /* each minute; now 16:03:31 */
    set_alarm(f, 0xff, 0x00, 0x00);
    expect_alarm_in(f, 56 * 60 + 29); /* 17:00:01 */
    set_alarm(f, 0xff, 0xff, 0xff);
    expect_alarm_in(f, 1); /* each second; 17:00:03 */
    set_alarm(f, 0x17, 0x00, 0x00);
    expect_alarm_in(f, 86400 - 3); /* tomorrow; 17:00:01 */
    set(f, B, AIE);                /* 12 h */
    set_alarm(f, 0x85, 0x30, 0x00);
    expect_alarm_in(f, 29 * 60 + 59);
    set(f, B, AIE | H24); /* 17:30:01 */
    set_alarm(f, 0x18, 0x10, 0x00);
    expect_alarm_in(f, 39 * 60 + 59);
    set(f, B, AIE);
    /* Times that never come. */
    set_alarm(f, 0x71, 0x00, 0x00);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    set_alarm(f, 0xff, 0xff, 0x77);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    seconds(200000);
    g_assert_cmphex(get(f, C) & AF, ==, 0);
}

/* Flags show without any interrupt enabled. */
static void test_polled(Fixture *f, gconstpointer base)
{
    set_alarm(f, 0x16, 0x02, 0x00);
    seconds(38.9);
    g_assert_cmphex(get(f, C), ==, PF | UF);
    seconds(0.2);
    g_assert_cmphex(get(f, C), ==, PF | UF | AF);
    seconds(60);
    g_assert_cmphex(get(f, C), ==, PF | UF);
    vclock_step(1000);
    g_assert_cmphex(get(f, C), ==, 0);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static void test_cmos(Fixture *f, gconstpointer base)
{
    for (unsigned i = 0x0e; i < CMOS_SIZE; i++)
        if (i != CENTURY && i != 0x37)
            set(f, i, i ^ 0x5a);
    mc146818_set_cmos(f->rtc, 0x10, 0x44);
    device_reset(f->rtc);
    for (unsigned i = 0x0e; i < CMOS_SIZE; i++)
        if (i != CENTURY && i != 0x37)
            g_assert_cmphex(get(f, i), ==, i == 0x10 ? 0x44 : i ^ 0x5a);
    g_assert_cmphex(mc146818_get_cmos(f->rtc, 0x20), ==, 0x7a);
    g_assert_cmphex(get(f, 0x80 | 0x20), ==, 0x7a); /* bit 7 is no part of the index */
    set(f, D, 0);
    g_assert_cmphex(get(f, D), ==, 0x80);
}

static void test_reset(Fixture *f, gconstpointer base)
{
    seconds(0.5);
    set(f, B, PIE | AIE | UIE | 0x08 | DM | H24);
    seconds(1);
    g_assert_true(f->irq.level);
    device_reset(f->rtc);
    g_assert_false(f->irq.level);
    g_assert_cmphex(get(f, B), ==, DM | H24);
    g_assert_cmphex(get(f, C), ==, 0);
    g_assert_cmphex(get(f, 0), ==, 22); /* time goes on */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static int64_t shown_seconds(Machine *m)
{
    struct tm tm = {0};
    uint8_t v[10];
    for (unsigned i = 0; i < 10; i++) {
        outb(m, 0x70, i);
        v[i] = inb(m, 0x71);
    }
    tm.tm_year = 100 + from_bcd(v[9]);
    tm.tm_mon = from_bcd(v[8]) - 1;
    tm.tm_mday = from_bcd(v[7]);
    tm.tm_hour = from_bcd(v[4]);
    tm.tm_min = from_bcd(v[2]);
    tm.tm_sec = from_bcd(v[0]);
    return timegm(&tm);
}

static void test_base(void)
{
    static const char *const bad[] = {"base=",
                                      "base=2006",
                                      "base=2006-13-01",
                                      "base=2023-02-29",
                                      "base=2006-06-17T25:00:00",
                                      "base=@x",
                                      "base=tomorrow",
                                      "clock=sun",
                                      "base=2006-06-17T10:00:00Z"};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Machine *m = test_machine_new(1 << 20);
        g_autofree char *message = test_device_error(m, &mc146818_class, bad[i]);
        g_assert_nonnull(strstr(message, "mc146818rtc"));
        test_machine_free(m);
    }
    Machine *m = test_machine_new(1 << 20);
    test_device(m, &mc146818_class, NULL); /* utc, host */
    g_assert_cmpint(ABS(shown_seconds(m) - time(NULL)), <=, 1);
    test_machine_free(m);

    g_setenv("TZ", "XYZ-5", true);
    tzset();
    m = test_machine_new(1 << 20);
    test_device(m, &mc146818_class, "base=localtime,clock=vm");
    g_assert_cmpint(ABS(shown_seconds(m) - time(NULL) - 5 * 3600), <=, 1);
    test_machine_free(m);

    m = test_machine_new(1 << 20);
    test_device(m, &mc146818_class, "base=@1234567890,clock=rt");
    g_assert_cmpint(ABS(shown_seconds(m) - 1234567890), <=, 1);
    test_machine_free(m);
}

static void test_hostile(Fixture *f, gconstpointer base)
{
    GRand *rand = g_rand_new_with_seed(146818);
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->rtc, rand);
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            outw(f->m, 0x70, value);
            break;
        case 1:
            inl(f->m, 0x70);
            break;
        case 2:
            vclock_step((int64_t)value << (value & 7));
            break;
        case 3:
            get(f, value % CMOS_SIZE);
            break;
        default:
            set(f, value >> 8 & 1 ? value % CMOS_SIZE : value % 14, value >> 16);
        }
    }
    g_rand_free(rand);
    test_device_state(f->rtc);
    /* It can be set right again. */
    set(f, A, 0x26);
    set(f, B, SET | H24);
    set(f, CENTURY, 0x20);
    set(f, 9, 0x26);
    set(f, 8, 0x11);
    set(f, 7, 0x22);
    set(f, 4, 0x20);
    set(f, 2, 0x05);
    set(f, 0, 0x09);
    set(f, B, H24);
    expect_time(f, "2026-11-22 20:05:09 1");
}

static void test_state(Fixture *f, gconstpointer base)
{
    seconds(0.5);
    set(f, 4, 0x20);
    set(f, B, UIE | H24);
    get(f, C);
    test_device_state(f->rtc);
    expect_time(f, "2006-06-17 20:01:21 7");
    seconds(0.5);
    g_assert_true(f->irq.level);
    test_device_state(f->rtc);
    g_assert_cmphex(get(f, C) & UF, ==, UF);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *date = "2006-06-17T16:01:21";
#define ADD(name, base, fn) g_test_add("/mc146818/" name, Fixture, base, setup, fn, teardown)
    ADD("reset-values", date, test_reset_values);
    ADD("calendar", "2024-02-28T23:59:58", test_calendar);
    ADD("every-day", "1970-01-01", test_every_day);
    ADD("formats", date, test_formats);
    ADD("set", date, test_set);
    ADD("divider-reset", date, test_divider_reset);
    ADD("uip", date, test_uip);
    ADD("update-interrupt", date, test_update_interrupt);
    ADD("periodic", date, test_periodic);
    ADD("alarm", date, test_alarm);
    ADD("polled", date, test_polled);
    ADD("cmos", date, test_cmos);
    ADD("reset", date, test_reset);
    ADD("hostile", date, test_hostile);
    ADD("state", date, test_state);
    g_test_add_func("/mc146818/base", test_base);
    return g_test_run();
}
