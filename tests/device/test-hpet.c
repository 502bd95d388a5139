/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HPET against the IA-PC HPET specification 1.0a. */
#include "accel/test.h"
#include "hw/registry.h"
#include "hw/timer/hpet.h"
#include "test-corrupt.h"
#include "util/timer.h"

enum { CAP = 0x000, CONF = 0x010, STATUS = 0x020, COUNTER = 0x0f0 };
#define TN(n, reg) (0x100 + 0x20 * (n) + (reg))
enum { T_CONF = 0, T_COMP = 8, T_FSB = 16 };
enum {
    LEVEL = 0x2,
    ENABLE = 0x4,
    PERIODIC = 0x8,
    VAL_SET = 0x40,
    MODE32 = 0x100,
    ROUTE2 = 2 << 9,
    FSB = 0x4000
};

typedef struct Fixture {
    Machine *m;
    Device *dev;
    TestIrq gsi2, irq0, irq8;
} Fixture;

static void setup(Fixture *f, gconstpointer props)
{
    f->m = test_machine_new(1 << 20);
    f->dev = device_new(f->m, NULL, &hpet_class, NULL);
    if (props) {
        g_assert_true(device_set_prop(f->dev, "msi", "on", NULL));
        g_assert_true(device_set_prop(f->dev, "timers", "5", NULL));
    }
    hpet_connect(f->dev, 2, test_irq(&f->gsi2));
    hpet_connect_legacy(f->dev, HPET_LEGACY_PIT, test_irq(&f->irq0));
    hpet_connect_legacy(f->dev, HPET_LEGACY_RTC, test_irq(&f->irq8));
    g_assert_true(device_realize(f->dev, NULL));
}

static void teardown(Fixture *f, gconstpointer props)
{
    test_machine_free(f->m);
}

static uint64_t get(Fixture *f, hwaddr reg)
{
    return readq(f->m, HPET_BASE + reg);
}

static void set(Fixture *f, hwaddr reg, uint64_t value)
{
    writeq(f->m, HPET_BASE + reg, value);
}

static void ticks(uint64_t n)
{
    vclock_step(n * 10);
}

static void test_registers(Fixture *f, gconstpointer props)
{
    g_assert_cmphex(get(f, CAP), ==, 0x009896808086a201);
    g_assert_cmphex(hpet_block_id(f->dev), ==, 0x8086a201);
    g_assert_cmphex(readl(f->m, HPET_BASE + 4), ==, 10000000); /* femtoseconds */
    g_assert_cmphex(readb(f->m, HPET_BASE + 2), ==, 0x86);
    g_assert_cmphex(get(f, CONF), ==, 0);
    g_assert_cmphex(get(f, COUNTER), ==, 0);
    for (unsigned n = 0; n < 3; n++) {
        g_assert_cmphex(get(f, TN(n, T_CONF)), ==, 0x0000000400000030);
        g_assert_cmphex(get(f, TN(n, T_COMP)), ==, UINT64_MAX);
    }
    set(f, CAP, 0);
    g_assert_cmphex(get(f, CAP), ==, 0x009896808086a201);
    set(f, CONF, UINT64_MAX & ~1ull);
    g_assert_cmphex(get(f, CONF), ==, 2);
    /* Only pin 2 can be routed to, and there is no FSB delivery without msi=on. */
    set(f, TN(0, T_CONF), UINT64_MAX & ~(uint64_t)(31 << 9));
    g_assert_cmphex(get(f, TN(0, T_CONF)), ==, 0x000000040000017e);
    set(f, TN(0, T_CONF), ROUTE2);
    g_assert_cmphex(get(f, TN(0, T_CONF)), ==, 0x0000000400000030 | ROUTE2);
    set(f, TN(0, T_CONF), 20 << 9);
    g_assert_cmphex(get(f, TN(0, T_CONF)), ==, 0x0000000400000030 | ROUTE2);
    g_assert_cmphex(get(f, TN(3, T_CONF)), ==, 0); /* no fourth timer */
    g_assert_cmphex(get(f, 0x3f8), ==, 0);
}

static void test_counter(Fixture *f, gconstpointer props)
{
    ticks(1000);
    g_assert_cmphex(get(f, COUNTER), ==, 0); /* halted */
    set(f, COUNTER, 0xfffffff0);
    set(f, CONF, 1);
    ticks(0x20);
    g_assert_cmphex(get(f, COUNTER), ==, 0x100000010);
    g_assert_cmphex(readl(f->m, HPET_BASE + COUNTER), ==, 0x10);
    g_assert_cmphex(readl(f->m, HPET_BASE + COUNTER + 4), ==, 1);
    set(f, COUNTER, 5); /* ignored while it runs */
    g_assert_cmphex(get(f, COUNTER), ==, 0x100000010);
    set(f, CONF, 0);
    ticks(100);
    g_assert_cmphex(get(f, COUNTER), ==, 0x100000010);
    set(f, CONF, 1);
    ticks(1);
    g_assert_cmphex(get(f, COUNTER), ==, 0x100000011);
    /* Written in halves. */
    set(f, CONF, 0);
    writel(f->m, HPET_BASE + COUNTER, 0x55);
    writel(f->m, HPET_BASE + COUNTER + 4, 0x66);
    g_assert_cmphex(get(f, COUNTER), ==, 0x6600000055);
}

static void test_one_shot(Fixture *f, gconstpointer props)
{
    set(f, CONF, 1);
    set(f, TN(1, T_CONF), ENABLE | ROUTE2);
    set(f, TN(1, T_COMP), 5000);
    ticks(4999);
    g_assert_cmpuint(f->gsi2.rises, ==, 0);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    g_assert_false(f->gsi2.level); /* an edge */
    g_assert_cmphex(get(f, STATUS), ==, 0);
    ticks(1ull << 33);
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    /* A comparator that has just gone by fires at once. */
    set(f, TN(1, T_COMP), get(f, COUNTER) - 10);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 2);
    /* Without its interrupt a timer costs nothing and stays silent. */
    set(f, TN(1, T_CONF), ROUTE2);
    set(f, TN(1, T_COMP), get(f, COUNTER) + 100);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    ticks(1000);
    set(f, TN(1, T_CONF), ENABLE | ROUTE2);
    ticks(1000);
    g_assert_cmpuint(f->gsi2.rises, ==, 2);
    /* The halted counter holds the match back. */
    set(f, TN(1, T_COMP), get(f, COUNTER) + 2000);
    set(f, CONF, 0);
    ticks(100000);
    g_assert_cmpuint(f->gsi2.rises, ==, 2);
    set(f, CONF, 1);
    ticks(2000);
    g_assert_cmpuint(f->gsi2.rises, ==, 3);
}

static void test_32bit(Fixture *f, gconstpointer props)
{
    set(f, COUNTER, 0x5fffff000);
    set(f, CONF, 1);
    set(f, TN(0, T_CONF), ENABLE | ROUTE2 | MODE32);
    set(f, TN(0, T_COMP), 0xffff00001000); /* the upper half does not count */
    g_assert_cmphex(get(f, TN(0, T_COMP)), ==, 0x1000);
    ticks(0x1fff);
    g_assert_cmpuint(f->gsi2.rises, ==, 0);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    ticks(0xffffffff); /* and again when the lower half comes round */
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 2);
    /* One that has just gone by fires at once here, too, and then with each turn. */
    set(f, TN(0, T_COMP), (uint32_t)get(f, COUNTER) - 1);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 3);
    ticks(1ull << 32);
    g_assert_cmpuint(f->gsi2.rises, ==, 4);
}

static void test_periodic(Fixture *f, gconstpointer props)
{
    /* As drivers do: VAL_SET, first value, then the period. */
    set(f, CONF, 1);
    set(f, TN(0, T_CONF), ENABLE | ROUTE2 | PERIODIC | VAL_SET | MODE32);
    writel(f->m, HPET_BASE + TN(0, T_COMP), 10000);
    g_assert_cmphex(get(f, TN(0, T_CONF)) & VAL_SET, ==, 0);
    writel(f->m, HPET_BASE + TN(0, T_COMP), 3000);
    g_assert_cmphex(get(f, TN(0, T_COMP)), ==, 10000);
    ticks(9999);
    g_assert_cmpuint(f->gsi2.rises, ==, 0);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    g_assert_cmphex(get(f, TN(0, T_COMP)), ==, 13000);
    ticks(3000 * 20);
    g_assert_cmpuint(f->gsi2.rises, ==, 21);
    /* Without interrupts the comparator moves on all the same. */
    set(f, TN(0, T_CONF), ROUTE2 | PERIODIC | MODE32);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    ticks(3000 * 7 + 5);
    g_assert_cmphex(get(f, TN(0, T_COMP)), ==, 13000 + 27 * 3000);
    set(f, TN(0, T_CONF), ENABLE | ROUTE2 | PERIODIC | MODE32);
    ticks(2995);
    g_assert_cmpuint(f->gsi2.rises, ==, 22);
    /* Periods that the host slept through merge. */
    vclock_set(clock_now(VM_CLOCK_VIRTUAL) + 30000 * 100);
    vclock_step(0);
    ticks(1);
    g_assert_cmpuint(f->gsi2.rises, ==, 23);
}

static void test_level(Fixture *f, gconstpointer props)
{
    set(f, CONF, 1);
    set(f, TN(2, T_CONF), ENABLE | ROUTE2 | LEVEL);
    set(f, TN(2, T_COMP), 1000);
    ticks(1000);
    g_assert_true(f->gsi2.level);
    g_assert_cmphex(get(f, STATUS), ==, 4);
    set(f, STATUS, 3);
    g_assert_true(f->gsi2.level);
    set(f, STATUS, 4);
    g_assert_false(f->gsi2.level);
    g_assert_cmphex(get(f, STATUS), ==, 0);
    /* Two timers share the line. */
    set(f, TN(1, T_CONF), ENABLE | ROUTE2 | LEVEL);
    set(f, TN(1, T_COMP), 2000);
    set(f, TN(2, T_COMP), 2000);
    ticks(1000);
    g_assert_cmphex(get(f, STATUS), ==, 6);
    set(f, STATUS, 2);
    g_assert_true(f->gsi2.level);
    /* Disabling the interrupt takes it back. */
    set(f, TN(2, T_CONF), ROUTE2 | LEVEL);
    g_assert_false(f->gsi2.level);
    g_assert_cmphex(get(f, STATUS), ==, 0);
    /* So does halting everything. */
    set(f, TN(1, T_COMP), 3000);
    ticks(1000);
    g_assert_true(f->gsi2.level);
    set(f, CONF, 0);
    g_assert_false(f->gsi2.level);
}

static void test_legacy(Fixture *f, gconstpointer props)
{
    IrqLine pit = device_input(f->dev, HPET_IN_PIT), rtc = device_input(f->dev, HPET_IN_RTC);
    irq_raise(&pit);
    g_assert_true(f->irq0.level); /* passes through */
    irq_lower(&pit);
    irq_pulse(&rtc);
    g_assert_cmpuint(f->irq8.rises, ==, 1);
    irq_raise(&rtc);
    set(f, CONF, 3);
    g_assert_false(f->irq8.level); /* cut off */
    irq_pulse(&pit);
    g_assert_cmpuint(f->irq0.rises, ==, 1);
    set(f, TN(0, T_CONF), ENABLE);
    set(f, TN(1, T_CONF), ENABLE | ROUTE2);
    set(f, TN(0, T_COMP), 2000);
    set(f, TN(1, T_COMP), 3000);
    ticks(2000);
    g_assert_cmpuint(f->irq0.rises, ==, 2);
    ticks(1000);
    g_assert_cmpuint(f->irq8.rises, ==, 3);
    g_assert_cmpuint(f->gsi2.rises, ==, 0);
    /* Timer 2 keeps its route. */
    set(f, TN(2, T_CONF), ENABLE | ROUTE2);
    set(f, TN(2, T_COMP), 4000);
    ticks(1000);
    g_assert_cmpuint(f->gsi2.rises, ==, 1);
    set(f, CONF, 1);
    g_assert_true(f->irq8.level); /* the RTC still asserts it */
}

static void test_msi(Fixture *f, gconstpointer props)
{
    uint64_t address;
    uint32_t data;
    g_assert_cmphex(get(f, CAP) & 0xffff, ==, 0xa401);
    g_assert_cmphex(get(f, TN(4, T_CONF)), ==, 0x0000000400008030);
    set(f, CONF, 1);
    set(f, TN(4, T_CONF), ENABLE | FSB | LEVEL);
    set(f, TN(4, T_FSB), 0xfee0100c00004041);
    g_assert_cmphex(get(f, TN(4, T_FSB)), ==, 0xfee0100c00004041);
    set(f, TN(4, T_COMP), 1000);
    ticks(1000);
    g_assert_true(test_msi_pop(f->m, &address, &data));
    g_assert_cmphex(address, ==, 0xfee0100c);
    g_assert_cmphex(data, ==, 0x4041);
    g_assert_cmphex(get(f, STATUS), ==, 0);
    g_assert_cmpuint(f->gsi2.rises, ==, 0);
}

static void test_storm(Fixture *f, gconstpointer props)
{
    set(f, CONF, 1);
    for (uint64_t period = 0; period < 4; period++) {
        set(f, TN(0, T_CONF), ENABLE | ROUTE2 | PERIODIC | VAL_SET);
        set(f, TN(0, T_COMP), get(f, COUNTER) + 1);
        set(f, TN(0, T_COMP), period);
        unsigned before = f->gsi2.rises;
        vclock_step(NS_PER_MS);
        g_assert_cmpuint(f->gsi2.rises - before, <=, 101);
    }
}

static void test_hostile(Fixture *f, gconstpointer props)
{
    GRand *rand = g_rand_new_with_seed(100);
    uint64_t address;
    uint32_t data;
    IrqLine pit = device_input(f->dev, HPET_IN_PIT);
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->dev, rand);
        hwaddr at = HPET_BASE + g_rand_int_range(rand, 0, i & 1 ? 0x400 : 0x160);
        uint64_t value = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
        value >>= g_rand_int_range(rand, 0, 64);
        switch (g_rand_int_range(rand, 0, 8)) {
        case 0:
            writeb(f->m, at, value);
            break;
        case 1:
            writel(f->m, at & ~3ull, value);
            break;
        case 2:
            writew(f->m, at, value);
            break;
        case 3:
            readq(f->m, at & ~7ull);
            break;
        case 4:
            readl(f->m, at);
            break;
        case 5:
            vclock_step(value % 50000);
            irq_set(&pit, value & 1);
            break;
        default:
            writeq(f->m, at & ~7ull, value);
        }
        while (test_msi_pop(f->m, &address, &data))
            ;
    }
    g_rand_free(rand);
    test_device_state(f->dev);
}

static void test_state(Fixture *f, gconstpointer props)
{
    IrqLine pit = device_input(f->dev, HPET_IN_PIT);
    irq_raise(&pit);
    set(f, CONF, 1);
    set(f, TN(0, T_CONF), ENABLE | ROUTE2 | PERIODIC | VAL_SET);
    set(f, TN(0, T_COMP), 1000);
    set(f, TN(1, T_CONF), ENABLE | ROUTE2 | LEVEL);
    set(f, TN(1, T_COMP), 1500);
    ticks(1600);
    test_device_state(f->dev);
    g_assert_cmphex(get(f, STATUS), ==, 2);
    g_assert_cmphex(get(f, COUNTER), ==, 1600);
    set(f, STATUS, 2);
    unsigned before = f->gsi2.rises;
    ticks(400);
    g_assert_cmpuint(f->gsi2.rises - before, ==, 1);
    device_reset(f->dev);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    g_assert_cmphex(get(f, TN(0, T_COMP)), ==, UINT64_MAX);
    g_assert_false(f->gsi2.level);
    g_assert_true(f->irq0.level); /* the PIT's line is not the HPET's to lower */
}

static void test_props(void)
{
    Machine *m = test_machine_new(1 << 20);
    g_autofree char *few = test_device_error(m, &hpet_class, "timers=2");
    g_autofree char *many = test_device_error(m, &hpet_class, "timers=25");
    g_assert_nonnull(strstr(few, "timers"));
    g_assert_nonnull(strstr(many, "24"));
    test_machine_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, props, fn) g_test_add("/hpet/" name, Fixture, props, setup, fn, teardown)
    ADD("registers", NULL, test_registers);
    ADD("counter", NULL, test_counter);
    ADD("one-shot", NULL, test_one_shot);
    ADD("32bit", NULL, test_32bit);
    ADD("periodic", NULL, test_periodic);
    ADD("level", NULL, test_level);
    ADD("legacy", NULL, test_legacy);
    ADD("msi", "msi", test_msi);
    ADD("storm", NULL, test_storm);
    ADD("hostile", NULL, test_hostile);
    ADD("hostile-msi", "msi", test_hostile);
    ADD("state", NULL, test_state);
    g_test_add_func("/hpet/props", test_props);
    return g_test_run();
}
