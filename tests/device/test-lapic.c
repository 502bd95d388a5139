/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The userspace local APIC against the Intel SDM, chapter 11, with four CPUs that only take notes.
 */
#include "accel/test.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/registry.h"
#include "test-corrupt.h"
#include "util/timer.h"

#define CPUS 4

/* Register offsets. */
enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR2 = 0x310,
    LVT_TIMER = 0x320,
    LVT_LINT0 = 0x350,
    LVT_LINT1 = 0x360,
    LVT_ERROR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0,
};
enum { SELF = 1 << 18, ALL = 2 << 18, OTHERS = 3 << 18, LOGICAL = 1 << 11, ASSERT = 1 << 14 };
enum {
    MODE_LOWEST = 1 << 8,
    MODE_SMI = 2 << 8,
    MODE_NMI = 4 << 8,
    MODE_INIT = 5 << 8,
    MODE_SIPI = 6 << 8,
    MODE_EXTINT = 7 << 8
};
enum { MASKED = 1 << 16, PERIODIC = 1 << 17, DEADLINE = 2 << 17 };
enum { MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0, X2 = 0x800 };

typedef struct Fixture {
    Machine *m;
    Vcpu cpu[CPUS];
    Device *apic[CPUS];
} Fixture;

static Vcpu *current;
static Vcpu *current_cpu(Machine *machine)
{
    return current;
}

/* What accel/vcpu.c has for real machines. */
void vcpu_request(Vcpu *cpu, uint32_t bits)
{
    cpu->requests |= bits;
}

static void on(Fixture *f, unsigned n)
{
    current = n < CPUS ? &f->cpu[n] : NULL;
}

static uint32_t get(Fixture *f, unsigned reg)
{
    return readl(f->m, LAPIC_BASE + reg);
}

static void set(Fixture *f, unsigned reg, uint32_t value)
{
    writel(f->m, LAPIC_BASE + reg, value);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->m = test_machine_new(1 << 20);
    f->m->hooks.current = current_cpu;
    f->m->hooks.msi_send = lapic_deliver_msi;
    f->m->cpu_count = CPUS;
    f->m->cpus = g_new0(Vcpu *, CPUS);
    for (unsigned n = 0; n < CPUS; n++) {
        f->cpu[n] = (Vcpu){.machine = f->m, .index = n, .apic_id = n};
        f->m->cpus[n] = &f->cpu[n];
        f->apic[n] = lapic_create(&f->cpu[n], NULL);
        g_assert_nonnull(f->apic[n]);
        g_assert_true(f->cpu[n].lapic == f->apic[n]);
        on(f, n);
        if (!data)
            set(f, SVR, 0x1ff);
    }
    on(f, 0);
}

static void teardown(Fixture *f, gconstpointer data)
{
    test_machine_free(f->m);
}

static int ack(Fixture *f, unsigned n)
{
    return lapic_ack(f->apic[n]);
}

static bool pending(Fixture *f, unsigned n)
{
    bool has = lapic_has_interrupt(f->apic[n]);
    g_assert_cmpint(!!(f->cpu[n].requests & VCPU_REQ_APIC), ==, has);
    return has;
}

/* Which CPUs were interrupted with vector, as a mask; takes and ends it. */
static unsigned took(Fixture *f, int vector)
{
    unsigned mask = 0;
    for (unsigned n = 0; n < CPUS; n++) {
        if (!pending(f, n))
            continue;
        g_assert_cmpint(ack(f, n), ==, vector);
        on(f, n);
        set(f, EOI, 0);
        mask |= 1u << n;
    }
    on(f, 0);
    return mask;
}

/* Which CPUs have that request. */
static unsigned requested(Fixture *f, uint32_t bit)
{
    unsigned mask = 0;
    for (unsigned n = 0; n < CPUS; n++)
        if (vcpu_take(&f->cpu[n], bit))
            mask |= 1u << n;
    return mask;
}

static void test_reset_values(Fixture *f, gconstpointer data)
{
    uint64_t base;
    for (unsigned n = 0; n < CPUS; n++) {
        on(f, n);
        g_assert_cmphex(get(f, ID), ==, n << 24);
        g_assert_cmphex(get(f, VERSION), ==, 0x00050014);
        g_assert_cmphex(get(f, SVR), ==, 0xff);
        g_assert_cmphex(get(f, DFR), ==, 0xffffffff);
        for (unsigned reg = LVT_TIMER; reg <= LVT_ERROR; reg += 16)
            /* The boot processor hears the 8259 from the start, as QEMU's. */
            g_assert_cmphex(get(f, reg), ==, reg == LVT_LINT0 && n == 0 ? 0x700 : MASKED);
        static const unsigned zero[] = {TPR, PPR, LDR,  ISR,     TMR,     IRR,
                                        ESR, ICR, ICR2, INITIAL, CURRENT, DIVIDE};
        for (unsigned i = 0; i < G_N_ELEMENTS(zero); i++)
            g_assert_cmphex(get(f, zero[i]), ==, 0);
        g_assert_true(lapic_msr_read(f->apic[n], MSR_BASE, &base));
        g_assert_cmphex(base, ==, n ? 0xfee00800 : 0xfee00900);
    }
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static void test_writable_bits(Fixture *f, gconstpointer data)
{
    static const struct {
        unsigned reg;
        uint32_t ones;
    } rows[] = {
        {TPR, 0xff},
        {LDR, 0xff000000},
        {DFR, 0xffffffff},
        {SVR, 0x3ff},
        {LVT_TIMER, 0x700ff},
        {LVT_TIMER + 16, 0x107ff},
        {LVT_TIMER + 32, 0x107ff},
        {LVT_LINT0, 0x1a7ff},
        {LVT_LINT1, 0x1a7ff},
        {LVT_ERROR, 0x100ff},
        {ICR2, 0xff000000},
        {DIVIDE, 0x0b},
        {VERSION, 0x50014},
        {PPR, 0xff},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        set(f, rows[i].reg, 0xffffffff);
        g_assert_cmphex(get(f, rows[i].reg), ==, rows[i].ones);
    }
    set(f, DFR, 0);
    g_assert_cmphex(get(f, DFR), ==, 0x0fffffff);
    /* Disabled by SVR, all of the local vector table is masked and stays so. */
    set(f, LVT_ERROR, 0x45);
    set(f, SVR, 0xff);
    g_assert_cmphex(get(f, LVT_ERROR), ==, MASKED | 0x45);
    set(f, LVT_ERROR, 0x46);
    g_assert_cmphex(get(f, LVT_ERROR), ==, MASKED | 0x46);
    /* The rest of the page, and accesses of other sizes. */
    g_assert_cmphex(get(f, 0x400), ==, 0);
    g_assert_cmphex(readb(f->m, LAPIC_BASE + VERSION), ==, 0);
    g_assert_cmphex(readl(f->m, LAPIC_BASE + VERSION + 4), ==, 0);
}

static void test_priorities(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(ack(f, 0), ==, LAPIC_NONE);
    set(f, ICR, SELF | 0x41);
    set(f, ICR, SELF | 0x83);
    set(f, ICR, SELF | 0x85);
    g_assert_cmphex(get(f, IRR + 0x20), ==, 0x02);
    g_assert_cmphex(get(f, IRR + 0x40), ==, 0x28);
    g_assert_true(pending(f, 0));
    g_assert_cmphex(ack(f, 0), ==, 0x85);
    g_assert_cmphex(get(f, ISR + 0x40), ==, 0x20);
    g_assert_cmphex(get(f, IRR + 0x40), ==, 0x08);
    g_assert_cmphex(get(f, PPR), ==, 0x80);
    g_assert_false(pending(f, 0)); /* same class waits */
    g_assert_cmpint(ack(f, 0), ==, LAPIC_NONE);
    set(f, ICR, SELF | 0x91);
    g_assert_cmphex(ack(f, 0), ==, 0x91);
    set(f, EOI, 0);
    g_assert_cmphex(get(f, PPR), ==, 0x80);
    g_assert_false(pending(f, 0));
    set(f, EOI, 0);
    g_assert_cmphex(ack(f, 0), ==, 0x83);
    /* TPR, and CR8 as its upper half. */
    set(f, TPR, 0x95);
    g_assert_cmphex(get(f, PPR), ==, 0x95);
    set(f, EOI, 0);
    g_assert_false(pending(f, 0));
    g_assert_cmphex(lapic_cr8(f->apic[0]), ==, 9);
    lapic_set_cr8(f->apic[0], 4);
    g_assert_cmphex(get(f, TPR), ==, 0x40);
    g_assert_false(pending(f, 0));
    lapic_set_cr8(f->apic[0], 3);
    g_assert_cmphex(ack(f, 0), ==, 0x41);
    set(f, EOI, 0);
    set(f, EOI, 0); /* nothing in service */
    g_assert_cmphex(get(f, PPR), ==, 0x30);
}

static void test_destinations(Fixture *f, gconstpointer data)
{
    static const struct {
        uint32_t icr;
        uint8_t dest;
        unsigned who;
    } physical[] = {{0, 0, 1},    {0, 2, 4},    {0, 9, 0},      {0, 0xff, 15},
                    {SELF, 3, 1}, {ALL, 0, 15}, {OTHERS, 0, 14}};
    for (unsigned i = 0; i < G_N_ELEMENTS(physical); i++) {
        set(f, ICR2, (uint32_t)physical[i].dest << 24);
        set(f, ICR, physical[i].icr | 0x50);
        g_assert_cmphex(took(f, 0x50), ==, physical[i].who);
    }
    /* Flat: one bit a CPU. */
    for (unsigned n = 0; n < CPUS; n++) {
        on(f, n);
        set(f, LDR, 1u << (24 + n));
    }
    on(f, 1);
    set(f, ICR2, 0x0d000000);
    set(f, ICR, LOGICAL | 0x51);
    g_assert_cmphex(took(f, 0x51), ==, 0x0d);
    /* Cluster: cluster number, and a bit in it. */
    for (unsigned n = 0; n < CPUS; n++) {
        on(f, n);
        set(f, DFR, 0);
        set(f, LDR, (uint32_t)((n / 2) << 4 | 1 << n % 2) << 24);
    }
    on(f, 0);
    set(f, ICR2, 0x13000000);
    set(f, ICR, LOGICAL | 0x52);
    g_assert_cmphex(took(f, 0x52), ==, 0x0c);
    set(f, ICR2, 0xf1000000); /* all clusters */
    set(f, ICR, LOGICAL | 0x53);
    g_assert_cmphex(took(f, 0x53), ==, 0x05);
    /* A new ID takes effect. */
    set(f, ID, 0x07000000);
    on(f, 1);
    set(f, ICR2, 0x07000000);
    set(f, ICR, 0x54);
    g_assert_cmphex(took(f, 0x54), ==, 0x01);
}

static void test_lowest_priority(Fixture *f, gconstpointer data)
{
    static const uint8_t tpr[CPUS] = {0x50, 0x20, 0x60, 0x30};
    for (unsigned n = 0; n < CPUS; n++) {
        on(f, n);
        set(f, TPR, tpr[n]);
        set(f, LDR, 1u << (24 + n));
    }
    lapic_deliver_msi(f->m, 0xfeeff00c, 0x1a1); /* logical, all */
    g_assert_cmphex(took(f, 0xa1), ==, 2);
    lapic_deliver_msi(f->m, 0xfee0d00c, 0x1a1); /* not CPU 1 */
    g_assert_cmphex(took(f, 0xa1), ==, 8);
    on(f, 3);
    set(f, SVR, 0xff); /* disabled ones take no part */
    lapic_deliver_msi(f->m, 0xfee0d00c, 0x1a1);
    g_assert_cmphex(took(f, 0xa1), ==, 1);
    lapic_deliver_msi(f->m, 0xfee0800c, 0x1a1);
    g_assert_cmphex(took(f, 0xa1), ==, 0);
}

static void test_ipi_modes(Fixture *f, gconstpointer data)
{
    set(f, ICR, OTHERS | MODE_INIT | ASSERT);
    g_assert_cmphex(requested(f, VCPU_REQ_INIT), ==, 14);
    set(f, ICR, OTHERS | MODE_INIT | 1 << 15); /* de-assert: of no effect */
    g_assert_cmphex(requested(f, VCPU_REQ_INIT), ==, 0);
    set(f, ICR, OTHERS | MODE_INIT | ASSERT | 1 << 15);
    g_assert_cmphex(requested(f, VCPU_REQ_INIT), ==, 14);
    set(f, ICR2, 0x02000000);
    set(f, ICR, MODE_SIPI | 0x9a);
    g_assert_cmphex(requested(f, VCPU_REQ_SIPI), ==, 4);
    g_assert_cmphex(f->cpu[2].sipi_vector, ==, 0x9a);
    set(f, ICR, MODE_NMI);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 4);
    set(f, ICR, MODE_SMI);
    g_assert_cmphex(requested(f, VCPU_REQ_SMI), ==, 4);
    /* Not to oneself, and no reserved modes. */
    set(f, ICR, SELF | MODE_NMI);
    set(f, ICR, ALL | MODE_INIT | ASSERT);
    set(f, ICR, MODE_EXTINT);
    set(f, ICR, 3 << 8 | 0x50);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI | VCPU_REQ_INIT | VCPU_REQ_APIC), ==, 0);
    /* NMI reaches an APIC that is disabled by SVR, a vector does not. */
    on(f, 2);
    set(f, SVR, 0xff);
    on(f, 0);
    set(f, ICR, MODE_NMI);
    set(f, ICR, 0x60);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 4);
    g_assert_cmphex(took(f, 0x60), ==, 0);
}

static void test_errors(Fixture *f, gconstpointer data)
{
    set(f, LVT_ERROR, 0x70);
    set(f, ICR, SELF | 0x10); /* the lowest legal one */
    g_assert_cmpint(ack(f, 0), ==, 0x10);
    set(f, EOI, 0);
    set(f, ICR, SELF | 0x0f);
    g_assert_cmphex(get(f, ESR), ==, 0); /* until written */
    set(f, ESR, 0);
    g_assert_cmphex(get(f, ESR), ==, 0x20);
    g_assert_cmphex(took(f, 0x70), ==, 1);
    lapic_deliver_msi(f->m, 0xfee00000, 0x03);
    lapic_deliver_msi(f->m, 0xfee00000, 0x03);
    g_assert_cmphex(took(f, 0x70), ==, 1);
    get(f, 0x3f0);
    set(f, 0x000, 0);
    set(f, ESR, 0);
    g_assert_cmphex(get(f, ESR), ==, 0xc0);
    g_assert_cmphex(took(f, 0x70), ==, 1);
    set(f, ESR, 0);
    g_assert_cmphex(get(f, ESR), ==, 0);
    /* An illegal vector for the error interrupt itself. */
    set(f, LVT_ERROR, 0x05);
    set(f, ICR, SELF | 0x01);
    set(f, ESR, 0);
    g_assert_cmphex(get(f, ESR), ==, 0x60);
    g_assert_false(pending(f, 0));
}

static void test_msi_level(Fixture *f, gconstpointer data)
{
    Device *ioapic = test_device(f->m, &ioapic_class, NULL);
    IrqLine pin = device_input(ioapic, 9);
    writel(f->m, IOAPIC_BASE, 0x10 + 18 + 1);
    writel(f->m, IOAPIC_BASE + 0x10, 0x03000000);
    writel(f->m, IOAPIC_BASE, 0x10 + 18);
    writel(f->m, IOAPIC_BASE + 0x10, 0x8000 | 0x62);
    irq_raise(&pin);
    on(f, 3);
    g_assert_cmphex(get(f, TMR + 0x30), ==, 0x04);
    g_assert_cmphex(ack(f, 3), ==, 0x62);
    set(f, EOI, 0); /* is broadcast; the line is still high */
    g_assert_cmphex(ack(f, 3), ==, 0x62);
    irq_lower(&pin);
    set(f, EOI, 0);
    g_assert_cmpint(ack(f, 3), ==, LAPIC_NONE);
    set(f, ICR, SELF | 0x62);
    g_assert_cmphex(get(f, TMR + 0x30), ==, 0);
    g_assert_cmphex(ack(f, 3), ==, 0x62);
}

static void test_lint(Fixture *f, gconstpointer data)
{
    /* ExtINT on LINT0, as SeaBIOS sets it: the 8259 speaks. */
    lapic_set_lint(f->apic[0], 0, true);
    g_assert_true(pending(f, 0)); /* as it is after reset, on the boot processor */
    set(f, LVT_LINT0, MASKED);
    g_assert_false(pending(f, 0));
    set(f, LVT_LINT0, 0x8700);
    g_assert_true(pending(f, 0));
    set(f, ICR, SELF | 0x31);
    g_assert_cmphex(ack(f, 0), ==, 0x31);
    g_assert_cmpint(ack(f, 0), ==, LAPIC_EXTINT);
    g_assert_true(pending(f, 0)); /* as long as the pin is high */
    lapic_set_lint(f->apic[0], 0, false);
    g_assert_false(pending(f, 0));
    set(f, EOI, 0);
    /* A fixed edge. */
    set(f, LVT_LINT0, 0x44);
    lapic_set_lint(f->apic[0], 0, true);
    lapic_set_lint(f->apic[0], 0, true);
    g_assert_cmphex(took(f, 0x44), ==, 1);
    lapic_set_lint(f->apic[0], 0, true);
    lapic_set_lint(f->apic[0], 0, false);
    g_assert_cmphex(took(f, 0x44), ==, 0);
    /* A fixed level: with Remote IRR, again after EOI while high. */
    set(f, LVT_LINT0, 0x8000 | 0x45);
    lapic_set_lint(f->apic[0], 0, true);
    g_assert_cmphex(get(f, LVT_LINT0), ==, 0xc045);
    g_assert_cmphex(took(f, 0x45), ==, 1);
    g_assert_cmphex(ack(f, 0), ==, 0x45);
    lapic_set_lint(f->apic[0], 0, false);
    set(f, EOI, 0);
    g_assert_cmphex(get(f, LVT_LINT0), ==, 0x8045);
    g_assert_false(pending(f, 0));
    /* NMI on LINT1. */
    set(f, LVT_LINT1, 0x400);
    lapic_set_lint(f->apic[0], 1, true);
    lapic_set_lint(f->apic[0], 1, false);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 1);
    set(f, LVT_LINT1, 0x10400);
    lapic_set_lint(f->apic[0], 1, true);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 0);
    /* An ExtINT message waits until taken. */
    lapic_deliver_msi(f->m, 0xfee00000, MODE_EXTINT);
    g_assert_cmpint(ack(f, 0), ==, LAPIC_EXTINT);
    g_assert_cmpint(ack(f, 0), ==, LAPIC_NONE);
}

static void test_one_shot(Fixture *f, gconstpointer data)
{
    static const struct {
        uint8_t divide;
        unsigned by;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    set(f, LVT_TIMER, 0x40);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        set(f, DIVIDE, rows[i].divide);
        set(f, INITIAL, 100000);
        vclock_step(40000 * rows[i].by);
        g_assert_cmpuint(get(f, CURRENT), ==, 60000);
        g_assert_cmpuint(get(f, INITIAL), ==, 100000);
        vclock_step(60000 * rows[i].by - 1);
        g_assert_cmphex(took(f, 0x40), ==, 0);
        vclock_step(1);
        g_assert_cmphex(took(f, 0x40), ==, 1);
        g_assert_cmpuint(get(f, CURRENT), ==, 0);
        g_assert_cmpint(vclock_next_deadline(), ==, -1);
    }
    set(f, INITIAL, 1000000);
    set(f, INITIAL, 0); /* stops it */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    /* A new divider goes on from the current count. */
    set(f, INITIAL, 1000);
    vclock_step(400);
    set(f, DIVIDE, 0);
    g_assert_cmpuint(get(f, CURRENT), ==, 600);
    vclock_step(100);
    g_assert_cmpuint(get(f, CURRENT), ==, 550);
    /* Masked it counts silently. */
    set(f, LVT_TIMER, MASKED | 0x40);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    vclock_step(10000);
    set(f, LVT_TIMER, 0x40);
    vclock_step(10000);
    g_assert_cmphex(took(f, 0x40), ==, 0);
}

static void test_periodic_timer(Fixture *f, gconstpointer data)
{
    unsigned count = 0;
    set(f, DIVIDE, 11);
    set(f, LVT_TIMER, PERIODIC | 0x41);
    set(f, INITIAL, 1000000);
    for (int i = 0; i < 100; i++) {
        vclock_step(NS_PER_MS / 10);
        count += took(f, 0x41);
    }
    g_assert_cmpuint(count, ==, 10);
    vclock_step(NS_PER_MS / 4);
    g_assert_cmpuint(get(f, CURRENT), ==, 750000);
    set(f, INITIAL, 1); /* a period of a nanosecond does not occupy the host */
    for (int i = 0; i < 10; i++)
        vclock_step(NS_PER_MS);
    g_assert_cmphex(took(f, 0x41), ==, 1);
    set(f, INITIAL, 0);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static int64_t tsc_at_2ghz(Vcpu *cpu, uint64_t tsc)
{
    return (int64_t)(tsc / 2);
}

static void test_deadline_timer(Fixture *f, gconstpointer data)
{
    uint64_t value;
    g_assert_true(lapic_msr_write(f->apic[0], MSR_DEADLINE, 5000));
    g_assert_true(lapic_msr_read(f->apic[0], MSR_DEADLINE, &value));
    g_assert_cmpuint(value, ==, 0); /* not in this mode */
    set(f, LVT_TIMER, DEADLINE | 0x42);
    g_assert_true(lapic_msr_write(f->apic[0], MSR_DEADLINE, 5000));
    set(f, INITIAL, 77); /* ignored */
    g_assert_cmpuint(get(f, CURRENT), ==, 0);
    vclock_step(4999);
    g_assert_cmphex(took(f, 0x42), ==, 0);
    vclock_step(1);
    g_assert_cmphex(took(f, 0x42), ==, 1);
    lapic_msr_read(f->apic[0], MSR_DEADLINE, &value);
    g_assert_cmpuint(value, ==, 0);
    lapic_set_tsc(f->apic[0], tsc_at_2ghz);
    lapic_msr_write(f->apic[0], MSR_DEADLINE, 20000);
    vclock_step(5000);
    g_assert_cmphex(took(f, 0x42), ==, 1);
    lapic_msr_write(f->apic[0], MSR_DEADLINE, 1); /* the past: at once */
    vclock_step(0);
    g_assert_cmphex(took(f, 0x42), ==, 1);
    lapic_msr_write(f->apic[0], MSR_DEADLINE, UINT64_MAX);
    lapic_msr_write(f->apic[0], MSR_DEADLINE, 0);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    lapic_msr_write(f->apic[0], MSR_DEADLINE, 1 << 20);
    set(f, LVT_TIMER, 0x42); /* leaving the mode disarms */
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
}

static bool wrmsr(Fixture *f, unsigned n, uint32_t index, uint64_t value)
{
    return lapic_msr_write(f->apic[n], index, value);
}

static uint64_t rdmsr(Fixture *f, unsigned n, uint32_t index)
{
    uint64_t value = 0;
    g_assert_true(lapic_msr_read(f->apic[n], index, &value));
    return value;
}

static void test_base(Fixture *f, gconstpointer data)
{
    g_assert_false(wrmsr(f, 0, MSR_BASE, 0xfee00400)); /* x2APIC without APIC */
    g_assert_false(wrmsr(f, 0, MSR_BASE, 0xfee00801)); /* reserved bits */
    g_assert_false(wrmsr(f, 0, MSR_BASE, 1ull << 40 | 0xfee00800));
    g_assert_true(wrmsr(f, 0, MSR_BASE, 0xfee00d00));
    g_assert_false(wrmsr(f, 0, MSR_BASE, 0xfee00900)); /* x2APIC to xAPIC */
    g_assert_true(wrmsr(f, 0, MSR_BASE, 0xfee00000));
    g_assert_cmphex(rdmsr(f, 0, MSR_BASE), ==, 0xfee00100); /* BSP is read-only */
    g_assert_false(wrmsr(f, 0, MSR_BASE, 0xfee00c00));      /* off to x2APIC */
    /* Off: no page, no messages; the INTR and NMI pins of old. */
    g_assert_cmphex(get(f, VERSION), ==, 0);
    lapic_deliver_msi(f->m, 0xfee00000, 0x50);
    g_assert_false(pending(f, 0));
    lapic_set_lint(f->apic[0], 0, true);
    g_assert_cmpint(ack(f, 0), ==, LAPIC_EXTINT);
    lapic_set_lint(f->apic[0], 0, false);
    g_assert_false(pending(f, 0));
    lapic_set_lint(f->apic[0], 1, true);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 1);
    g_assert_true(wrmsr(f, 0, MSR_BASE, 0xfee00900));
    g_assert_cmphex(get(f, SVR), ==, 0xff); /* reset by switching it off */
}

static void enter_x2apic(Fixture *f)
{
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(wrmsr(f, n, MSR_BASE, 0xfee00c00));
}

static void test_x2apic(Fixture *f, gconstpointer data)
{
    uint64_t value;
    g_assert_false(lapic_msr_read(f->apic[0], X2 + 0x02, &value)); /* not yet */
    f->cpu[3].apic_id = 0x123;
    enter_x2apic(f);
    g_assert_cmphex(get(f, VERSION), ==, 0); /* the page is gone */
    g_assert_cmphex(rdmsr(f, 3, X2 + 0x02), ==, 0x123);
    g_assert_cmphex(rdmsr(f, 3, X2 + 0x0d), ==, 0x120008);
    g_assert_cmphex(rdmsr(f, 3, X2 + 0x03), ==, 0x50014);
    /* What does not exist or takes no such value. */
    static const struct {
        uint32_t index;
        uint64_t value;
    } bad[] = {{0x02, 0},          {0x03, 0}, {0x0d, 0},     {0x0e, 0},       {0x31, 0},
               {0x09, 0},          {0x0b, 1}, {0x08, 0x100}, {0x0f, 0x200},   {0x28, 1},
               {0x32, 1 << 20},    {0x3e, 4}, {0x3f, 0x100}, {0x30, 1 << 16}, {0x30, 1 << 12},
               {0x38, 1ull << 32}, {0x39, 0}, {0x2f, 0},     {0x40, 0},       {0xff, 0}};
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(wrmsr(f, 0, X2 + bad[i].index, bad[i].value));
    static const uint8_t unreadable[] = {0x00, 0x09, 0x0b, 0x0e, 0x2f, 0x31, 0x3f, 0x40, 0xff};
    for (unsigned i = 0; i < G_N_ELEMENTS(unreadable); i++)
        g_assert_false(lapic_msr_read(f->apic[0], X2 + unreadable[i], &value));
    static const uint8_t readable[] = {0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x10, 0x17,
                                       0x18, 0x1f, 0x20, 0x27, 0x28, 0x30, 0x32, 0x33,
                                       0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3e};
    for (unsigned i = 0; i < G_N_ELEMENTS(readable); i++)
        g_assert_true(lapic_msr_read(f->apic[0], X2 + readable[i], &value));
    g_assert_true(wrmsr(f, 0, X2 + 0x0f, 0x1fe));
    g_assert_cmphex(rdmsr(f, 0, X2 + 0x0f), ==, 0x1fe);
    /* ICR is one 64-bit register. */
    g_assert_true(wrmsr(f, 0, X2 + 0x30, 0x123ull << 32 | 0x55));
    g_assert_cmphex(rdmsr(f, 0, X2 + 0x30), ==, 0x123ull << 32 | 0x55);
    g_assert_cmphex(ack(f, 3), ==, 0x55);
    g_assert_true(wrmsr(f, 3, X2 + 0x0b, 0));
    g_assert_cmphex(rdmsr(f, 3, X2 + 0x12), ==, 0);
    /* Logical: cluster and mask. */
    wrmsr(f, 0, X2 + 0x30, 0x120008ull << 32 | LOGICAL | 0x56);
    g_assert_cmphex(ack(f, 3), ==, 0x56);
    wrmsr(f, 3, X2 + 0x0b, 0);
    wrmsr(f, 3, X2 + 0x30, 0x000006ull << 32 | LOGICAL | 0x57);
    g_assert_cmphex(ack(f, 0), ==, LAPIC_NONE);
    g_assert_cmphex(ack(f, 1), ==, 0x57);
    g_assert_cmphex(ack(f, 2), ==, 0x57);
    wrmsr(f, 0, X2 + 0x30, 0xffffffffull << 32 | MODE_NMI);
    g_assert_cmphex(requested(f, VCPU_REQ_NMI), ==, 15);
    /* Self IPI. */
    g_assert_true(wrmsr(f, 2, X2 + 0x3f, 0x71));
    g_assert_cmphex(ack(f, 2), ==, 0x71);
    /* MSIs still address eight bits. */
    lapic_deliver_msi(f->m, 0xfee01000, 0x81);
    g_assert_cmphex(ack(f, 1), ==, 0x81);
}

static void test_init(Fixture *f, gconstpointer data)
{
    on(f, 1);
    set(f, ID, 0x05000000);
    set(f, TPR, 0x10);
    set(f, LVT_TIMER, PERIODIC | 0x40);
    set(f, INITIAL, 1000);
    set(f, ICR, SELF | 0x99);
    lapic_init(f->apic[1]);
    g_assert_false(pending(f, 1));
    g_assert_cmphex(get(f, ID), ==, 0x05000000);
    g_assert_cmphex(get(f, SVR), ==, 0xff);
    g_assert_cmphex(get(f, TPR), ==, 0);
    g_assert_cmphex(get(f, IRR + 0x40), ==, 0);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    g_assert_cmphex(rdmsr(f, 1, MSR_BASE), ==, 0xfee00800);
}

static void test_hostile(Fixture *f, gconstpointer data)
{
    GRand *rand = g_rand_new_with_seed(11);
    for (int i = 0; i < 100000; i++) {
        unsigned n = g_rand_int_range(rand, 0, CPUS);
        uint32_t value = g_rand_int(rand), reg = g_rand_int_range(rand, 0, 0x420);
        on(f, n);
        if (i % 50 == 49)
            load_corrupt(f->apic[n], rand);
        switch (g_rand_int_range(rand, 0, 10)) {
        case 0:
            writeb(f->m, LAPIC_BASE + reg, value);
            break;
        case 1:
            readq(f->m, LAPIC_BASE + reg);
            break;
        case 2:
            get(f, reg & ~15u);
            break;
        case 3:
            wrmsr(f, n, X2 + reg % 0x100, value);
            break;
        case 4:
            lapic_set_lint(f->apic[n], value & 1, value & 2);
            break;
        case 5:
            lapic_deliver_msi(f->m, 0xfee00000 | (value & 0xffff0), value >> 16);
            break;
        case 6:
            vclock_step(value % 10000);
            break;
        case 7:
            ack(f, n);
            break;
        default:
            set(f, reg & ~15u, value);
        }
        if (i % 1000 == 0)
            wrmsr(f, n, MSR_BASE, 0xfee00000 | (value & 0xc00));
        pending(f, n);
    }
    g_rand_free(rand);
    for (unsigned n = 0; n < CPUS; n++)
        test_device_state(f->apic[n]);
}

static void test_state(Fixture *f, gconstpointer data)
{
    on(f, 1);
    set(f, LVT_TIMER, PERIODIC | 0x40);
    set(f, DIVIDE, 11);
    set(f, INITIAL, 100000);
    set(f, ICR, SELF | 0x99);
    set(f, ICR, SELF | 0xa9);
    ack(f, 1);
    vclock_step(30000);
    test_device_state(f->apic[1]);
    g_assert_cmpuint(get(f, CURRENT), ==, 70000);
    set(f, EOI, 0);
    g_assert_cmphex(ack(f, 1), ==, 0x99);
    set(f, EOI, 0);
    vclock_step(70000);
    g_assert_cmphex(ack(f, 1), ==, 0x40);
    g_autoptr(GString) out = g_string_new(NULL);
    lapic_describe(f->apic[1], out);
    g_assert_nonnull(strstr(out->str, "local APIC state for CPU 1"));
    g_assert_nonnull(strstr(out->str, "LVTT\t 0x00020040 active-hi edge"));
    g_assert_nonnull(strstr(out->str, "initial_count = 100000 current_count = 100000"));
    g_assert_nonnull(strstr(out->str, "ISR\t 64\n"));
}

static void test_needs_cpu(void)
{
    Machine *m = test_machine_new(1 << 20);
    g_autofree char *message = test_device_error(m, &lapic_class, NULL);
    g_assert_nonnull(strstr(message, "processor"));
    lapic_deliver_msi(m, 0xfee00000, 0x30); /* nobody there */
    test_machine_free(m);
}

/* What waits already: a message to it would be lost. */
static void test_waits(Fixture *f, gconstpointer data)
{
    const uint64_t second = 0xfee01000, everybody = 0xfeeff000;
    g_assert_false(lapic_msi_waits(f->m, second, 0x61));
    lapic_deliver_msi(f->m, second, 0x61);
    g_assert_true(lapic_msi_waits(f->m, second, 0x61));
    g_assert_true(lapic_msi_waits(f->m, everybody, 0x61));
    g_assert_false(lapic_msi_waits(f->m, second, 0x62));
    g_assert_false(lapic_msi_waits(f->m, 0xfee00000, 0x61));
    g_assert_cmpint(ack(f, 1), ==, 0x61);
    g_assert_false(lapic_msi_waits(f->m, second, 0x61)); /* in service is taken */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, data, fn) g_test_add("/lapic/" name, Fixture, data, setup, fn, teardown)
    ADD("reset-values", "disabled", test_reset_values);
    ADD("writable-bits", NULL, test_writable_bits);
    ADD("priorities", NULL, test_priorities);
    ADD("destinations", NULL, test_destinations);
    ADD("lowest-priority", NULL, test_lowest_priority);
    ADD("ipi-modes", NULL, test_ipi_modes);
    ADD("errors", NULL, test_errors);
    ADD("msi-level", NULL, test_msi_level);
    ADD("lint", NULL, test_lint);
    ADD("timer/one-shot", NULL, test_one_shot);
    ADD("timer/periodic", NULL, test_periodic_timer);
    ADD("timer/deadline", NULL, test_deadline_timer);
    ADD("base", NULL, test_base);
    ADD("x2apic", NULL, test_x2apic);
    ADD("init", NULL, test_init);
    ADD("hostile", NULL, test_hostile);
    ADD("state", NULL, test_state);
    ADD("waits", NULL, test_waits);
    g_test_add_func("/lapic/needs-cpu", test_needs_cpu);
    return g_test_run();
}
