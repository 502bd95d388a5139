/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC against the 82093AA datasheet. */
#include "accel/test.h"
#include "hw/intc/ioapic.h"
#include "hw/registry.h"
#include "test-corrupt.h"

enum { SELECT = 0x00, WINDOW = 0x10, EOI = 0x40 };

typedef struct Route {
    unsigned calls, pin;
    uint64_t address;
    uint32_t data;
    bool masked, level;
} Route;

static Route last_route;

static void record_route(Machine *machine, unsigned pin, uint64_t address, uint32_t data,
                         bool masked, bool level)
{
    last_route = (Route){last_route.calls + 1, pin, address, data, masked, level};
}

typedef struct Fixture {
    Machine *m;
    Device *dev;
    IrqLine pin[IOAPIC_PINS];
} Fixture;

static void setup(Fixture *f, gconstpointer props)
{
    f->m = test_machine_new(1 << 20);
    f->m->hooks.ioapic_route = record_route;
    last_route = (Route){0};
    f->dev = test_device(f->m, &ioapic_class, props);
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        f->pin[n] = device_input(f->dev, n);
}

static void teardown(Fixture *f, gconstpointer props)
{
    uint64_t address;
    uint32_t data;
    g_assert_false(test_msi_pop(f->m, &address, &data)); /* nothing but what was expected */
    test_machine_free(f->m);
}

static uint32_t reg(Fixture *f, uint8_t index)
{
    writel(f->m, IOAPIC_BASE + SELECT, index);
    return readl(f->m, IOAPIC_BASE + WINDOW);
}

static void set_reg(Fixture *f, uint8_t index, uint32_t value)
{
    writel(f->m, IOAPIC_BASE + SELECT, index);
    writel(f->m, IOAPIC_BASE + WINDOW, value);
}

static void set_entry(Fixture *f, unsigned pin, uint64_t entry)
{
    set_reg(f, 0x11 + 2 * pin, entry >> 32);
    set_reg(f, 0x10 + 2 * pin, (uint32_t)entry);
}

static bool remote_irr(Fixture *f, unsigned pin)
{
    return reg(f, 0x10 + 2 * pin) >> 14 & 1;
}

static void expect_msi(Fixture *f, uint64_t address, uint32_t data)
{
    uint64_t got_address = 0;
    uint32_t got_data = 0;
    g_assert_true(test_msi_pop(f->m, &got_address, &got_data));
    g_assert_cmphex(got_address, ==, address);
    g_assert_cmphex(got_data, ==, data);
}

static void expect_none(Fixture *f)
{
    uint64_t address;
    uint32_t data;
    g_assert_false(test_msi_pop(f->m, &address, &data));
}

static void test_registers(Fixture *f, gconstpointer props)
{
    g_assert_cmphex(reg(f, 0), ==, 0);
    g_assert_cmphex(reg(f, 1), ==, 0x00170020);
    g_assert_cmphex(readl(f->m, IOAPIC_BASE + SELECT), ==, 1);
    set_reg(f, 0, 0xffffffff);
    g_assert_cmphex(reg(f, 0), ==, 0x0f000000);
    g_assert_cmphex(reg(f, 2), ==, 0x0f000000); /* arbitration ID follows */
    set_reg(f, 1, 0xffffffff);
    g_assert_cmphex(reg(f, 1), ==, 0x00170020);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        g_assert_cmphex(reg(f, 0x10 + 2 * pin), ==, 0x00010000);
        g_assert_cmphex(reg(f, 0x11 + 2 * pin), ==, 0);
        set_entry(f, pin, 0xffffffffffffffff);
        g_assert_cmphex(reg(f, 0x10 + 2 * pin), ==, 0x0001afff); /* read-only bits stay 0 */
        g_assert_cmphex(reg(f, 0x11 + 2 * pin), ==, 0xff000000);
    }
    /* What is not there. */
    g_assert_cmphex(reg(f, 0x40), ==, 0);
    g_assert_cmphex(reg(f, 0xff), ==, 0);
    set_reg(f, 0x40, 0x12345678);
    g_assert_cmphex(readl(f->m, IOAPIC_BASE + 0x20), ==, 0);
    /* A byte of the window. */
    reg(f, 1);
    g_assert_cmphex(readb(f->m, IOAPIC_BASE + WINDOW + 2), ==, 0x17);
}

static void test_edge(Fixture *f, gconstpointer props)
{
    set_entry(f, 5, 0x0300000000000035);
    irq_raise(&f->pin[5]);
    expect_msi(f, 0xfee03000, 0x35);
    irq_raise(&f->pin[5]); /* no new edge */
    irq_lower(&f->pin[5]);
    expect_none(f);
    irq_raise(&f->pin[5]);
    expect_msi(f, 0xfee03000, 0x35);
    irq_lower(&f->pin[5]);
    /* An edge on a masked pin is lost. */
    set_entry(f, 5, 0x0300000000010035);
    irq_raise(&f->pin[5]);
    set_entry(f, 5, 0x0300000000000035);
    expect_none(f);
    g_assert_false(remote_irr(f, 5));
}

static void test_level(Fixture *f, gconstpointer props)
{
    set_entry(f, 11, 0x000000000000a0b1); /* level, active low, vector 0xb1 */
    irq_raise(&f->pin[11]);               /* raised is asserted, whatever the polarity */
    expect_msi(f, 0xfee00000, 0xc0b1);
    g_assert_true(remote_irr(f, 11));
    irq_lower(&f->pin[11]);
    irq_raise(&f->pin[11]);
    expect_none(f); /* until EOI */
    ioapic_eoi(f->dev, 0xb2);
    expect_none(f);
    ioapic_eoi(f->dev, 0xb1);
    expect_msi(f, 0xfee00000, 0xc0b1); /* still asserted */
    irq_lower(&f->pin[11]);
    f->m->ioapic_eoi(f->m, 0xb1); /* as an engine calls it */
    g_assert_false(remote_irr(f, 11));
    /* A masked level waits for the mask. */
    set_entry(f, 11, 0x00000000000180b1);
    irq_raise(&f->pin[11]);
    expect_none(f);
    set_entry(f, 11, 0x00000000000080b1);
    expect_msi(f, 0xfee00000, 0xc0b1);
    /* Masked while in service: the EOI clears Remote IRR and sends nothing. */
    set_entry(f, 11, 0x00000000000180b1);
    g_assert_true(remote_irr(f, 11));
    ioapic_eoi(f->dev, 0xb1);
    g_assert_false(remote_irr(f, 11));
}

/* Old drivers write edge, then level, to clear Remote IRR. */
static void test_remote_irr_by_trigger(Fixture *f, gconstpointer props)
{
    set_entry(f, 9, 0x8041);
    irq_raise(&f->pin[9]);
    expect_msi(f, 0xfee00000, 0xc041);
    irq_lower(&f->pin[9]);
    set_entry(f, 9, 0x10041);
    g_assert_false(remote_irr(f, 9));
    set_entry(f, 9, 0x8041);
    irq_raise(&f->pin[9]);
    expect_msi(f, 0xfee00000, 0xc041);
    /* A high line whose entry turns from edge to level is served. */
    set_entry(f, 10, 0x42);
    irq_raise(&f->pin[10]);
    expect_msi(f, 0xfee00000, 0x42);
    set_reg(f, 0x10 + 20, 0x8042);
    expect_msi(f, 0xfee00000, 0xc042);
}

static void test_eoi_register(Fixture *f, gconstpointer props)
{
    bool has = !props;
    set_entry(f, 4, 0x8061);
    irq_raise(&f->pin[4]);
    expect_msi(f, 0xfee00000, 0xc061);
    irq_lower(&f->pin[4]);
    writel(f->m, IOAPIC_BASE + EOI, 0x61);
    g_assert_true(remote_irr(f, 4) == !has);
    g_assert_cmphex(reg(f, 1) & 0xff, ==, has ? 0x20 : 0x11);
}

static void test_messages(Fixture *f, gconstpointer props)
{
    set_entry(f, 1, 0xff00000000000980 | 1 << 8); /* lowest priority, logical, all */
    irq_pulse(&f->pin[1]);
    expect_msi(f, 0xfeeff00c, 0x0180);
    set_entry(f, 2, 0x0100000000000400); /* NMI */
    irq_pulse(&f->pin[2]);
    expect_msi(f, 0xfee01000, 0x0400);
    set_entry(f, 0, 0x0000000000000700); /* ExtINT */
    irq_pulse(&f->pin[0]);
    expect_msi(f, 0xfee00000, 0x0700);
}

static void test_routes(Fixture *f, gconstpointer props)
{
    g_assert_cmpuint(last_route.calls, ==, IOAPIC_PINS); /* reset tells all */
    set_reg(f, 0x10 + 2 * 7, 0x8077);
    g_assert_cmpuint(last_route.calls, ==, IOAPIC_PINS + 1);
    g_assert_cmpuint(last_route.pin, ==, 7);
    g_assert_cmphex(last_route.data, ==, 0xc077);
    g_assert_false(last_route.masked);
    g_assert_true(last_route.level);
    set_reg(f, 0x11 + 2 * 7, 0x02000000);
    g_assert_cmphex(last_route.address, ==, 0xfee02000);
    set_reg(f, 0x11 + 2 * 7, 0x02000000);
    g_assert_cmpuint(last_route.calls, ==, IOAPIC_PINS + 2); /* no change, no call */
}

static void test_version(void)
{
    Machine *m = test_machine_new(1 << 20);
    g_autofree char *message = test_device_error(m, &ioapic_class, "version=0x12");
    g_assert_nonnull(strstr(message, "0x12"));
    test_machine_free(m);
}

static void test_hostile(Fixture *f, gconstpointer props)
{
    GRand *rand = g_rand_new_with_seed(82093);
    uint64_t address;
    uint32_t data;
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->dev, rand);
        hwaddr at = IOAPIC_BASE + g_rand_int_range(rand, 0, 0x60);
        uint32_t value = g_rand_int(rand);
        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
            writel(f->m, at & ~3ull, value);
            break;
        case 1:
            writeb(f->m, at, value);
            break;
        case 2:
            writeq(f->m, at, value);
            break;
        case 3:
            readw(f->m, at);
            break;
        case 4:
            irq_set(&f->pin[value % IOAPIC_PINS], value >> 16 & 1);
            break;
        default:
            ioapic_eoi(f->dev, value);
        }
        while (test_msi_pop(f->m, &address, &data))
            g_assert_cmphex(address & ~0xff00cull, ==, 0xfee00000);
    }
    g_rand_free(rand);
    test_device_state(f->dev);
    while (test_msi_pop(f->m, &address, &data))
        ;
}

static void test_state(Fixture *f, gconstpointer props)
{
    set_entry(f, 3, 0x8033);
    irq_raise(&f->pin[3]);
    expect_msi(f, 0xfee00000, 0xc033);
    set_reg(f, 0, 0x05000000);
    test_device_state(f->dev);
    g_assert_true(remote_irr(f, 3));
    g_assert_cmpuint(last_route.pin, ==, IOAPIC_PINS - 1); /* the engine learns the routes */
    ioapic_eoi(f->dev, 0x33);
    expect_msi(f, 0xfee00000, 0xc033); /* the line was saved as high */
    g_autoptr(GString) out = g_string_new(NULL);
    ioapic_describe(f->dev, out);
    g_assert_nonnull(strstr(out->str, "ioapic0: ver=0x20 id=0x05"));
    g_assert_nonnull(strstr(out->str, "pin 3  0x000000000000c033 dest=0 vec=51  active-hi level"));
    g_assert_nonnull(strstr(out->str, "IRR      3\n"));
    g_assert_nonnull(strstr(out->str, "Remote IRR 3\n"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, props, fn) g_test_add("/ioapic/" name, Fixture, props, setup, fn, teardown)
    ADD("registers", NULL, test_registers);
    ADD("edge", NULL, test_edge);
    ADD("level", NULL, test_level);
    ADD("remote-irr-by-trigger", NULL, test_remote_irr_by_trigger);
    ADD("eoi-register", NULL, test_eoi_register);
    ADD("eoi-register-0x11", "version=0x11", test_eoi_register);
    ADD("messages", NULL, test_messages);
    ADD("routes", NULL, test_routes);
    ADD("hostile", NULL, test_hostile);
    ADD("state", NULL, test_state);
    g_test_add_func("/ioapic/version", test_version);
    return g_test_run();
}
