/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The userspace local APIC: what CPUID promises of it, IA32_APIC_BASE moving its page (Intel SDM
 * vol. 3, 11.4.4 and 11.4.5), and deadlines that are missed or moved (11.5.4.1). */
#include "accel/test.h"
#include "hw/intc/lapic.h"
#include "util/timer.h"

#define CPUS 3

enum { ID = 0x20, VERSION = 0x30, EOI = 0xb0, LDR = 0xd0, SVR = 0xf0, LVT_TIMER = 0x320 };
enum { MASKED = 1 << 16, DEADLINE = 2 << 17, MSR_BASE = 0x1b, MSR_DEADLINE = 0x6e0, X2 = 0x800 };

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
    current = &f->cpu[n];
}

static uint32_t get(Fixture *f, unsigned reg)
{
    return readl(f->m, LAPIC_BASE + reg);
}

static void set(Fixture *f, unsigned reg, uint32_t value)
{
    writel(f->m, LAPIC_BASE + reg, value);
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

static void setup(Fixture *f, gconstpointer data)
{
    f->m = test_machine_new(1 << 20);
    f->m->hooks.current = current_cpu;
    f->m->cpu_count = CPUS;
    f->m->cpus = g_new0(Vcpu *, CPUS);
    for (unsigned n = 0; n < CPUS; n++) {
        f->cpu[n] = (Vcpu){.machine = f->m, .index = n, .apic_id = n};
        f->m->cpus[n] = &f->cpu[n];
        f->apic[n] = lapic_create(&f->cpu[n], NULL);
        g_assert_nonnull(f->apic[n]);
        on(f, n);
        set(f, SVR, 0x1ff);
    }
    on(f, 0);
}

static void teardown(Fixture *f, gconstpointer data)
{
    test_machine_free(f->m);
}

/* A processor without x2APIC and TSC deadline has no such registers. */
static void test_features(Fixture *f, gconstpointer data)
{
    uint64_t value;
    lapic_set_features(f->apic[0], false, false);
    g_assert_false(wrmsr(f, 0, MSR_BASE, 0xfee00d00));
    g_assert_cmphex(rdmsr(f, 0, MSR_BASE), ==, 0xfee00900);
    g_assert_false(lapic_msr_read(f->apic[0], X2 + 2, &value));
    g_assert_false(lapic_msr_read(f->apic[0], MSR_DEADLINE, &value));
    g_assert_false(wrmsr(f, 0, MSR_DEADLINE, 1));
    set(f, LVT_TIMER, DEADLINE | 0x42);
    g_assert_cmphex(get(f, LVT_TIMER), ==, 0x42);
    lapic_set_features(f->apic[1], true, false);
    g_assert_true(wrmsr(f, 1, MSR_BASE, 0xfee00c00));
    g_assert_false(wrmsr(f, 1, X2 + LVT_TIMER / 16, 1ull << 32));
    g_assert_false(wrmsr(f, 1, MSR_DEADLINE, 1));
}

/* Each processor has its page where it put it, and nobody else's. */
static void test_move(Fixture *f, gconstpointer data)
{
    enum { ELSEWHERE = 0xfe000000, IN_RAM = 0x80000 };
    set(f, LDR, 0x11000000);
    writel(f->m, IN_RAM + LDR, 0x12345678);
    g_assert_true(wrmsr(f, 0, MSR_BASE, ELSEWHERE | 0x900));
    g_assert_cmphex(rdmsr(f, 0, MSR_BASE), ==, ELSEWHERE | 0x900);
    g_assert_cmphex(readl(f->m, ELSEWHERE + LDR), ==, 0x11000000);
    g_assert_cmphex(get(f, VERSION), ==, 0);
    on(f, 1);
    g_assert_cmphex(get(f, VERSION), ==, 0x50014);
    g_assert_cmphex(readl(f->m, ELSEWHERE + VERSION), ==, 0);
    writel(f->m, ELSEWHERE + LDR, 0);
    on(f, 0);
    g_assert_cmphex(readl(f->m, ELSEWHERE + LDR), ==, 0x11000000);
    on(f, 1);
    g_assert_true(wrmsr(f, 1, MSR_BASE, ELSEWHERE | 0x800));
    g_assert_cmphex(readl(f->m, ELSEWHERE + ID), ==, 1 << 24);
    /* Over RAM, which comes back. */
    on(f, 0);
    g_assert_true(wrmsr(f, 0, MSR_BASE, IN_RAM | 0x900));
    g_assert_cmphex(readl(f->m, IN_RAM + LDR), ==, 0x11000000);
    test_device_state(f->apic[0]);
    g_assert_true(wrmsr(f, 0, MSR_BASE, LAPIC_BASE | 0x900));
    g_assert_cmphex(readl(f->m, IN_RAM + LDR), ==, 0x12345678);
    g_assert_cmphex(get(f, LDR), ==, 0x11000000);
    on(f, 1);
    g_assert_cmphex(readl(f->m, ELSEWHERE + ID), ==, 1 << 24);
    on(f, 2);
    g_assert_cmphex(get(f, ID), ==, 2 << 24);
    for (unsigned n = 0; n < CPUS; n++)
        device_reset(f->apic[n]);
    on(f, 1);
    g_assert_cmphex(get(f, ID), ==, 1 << 24);
    on(f, 0);
    g_assert_cmphex(get(f, ID), ==, 0);
}

/* Whether the first CPU was interrupted, with that vector; ends it. */
static bool took(Fixture *f, int vector)
{
    if (!lapic_has_interrupt(f->apic[0]))
        return false;
    g_assert_cmpint(lapic_ack(f->apic[0]), ==, vector);
    set(f, EOI, 0);
    return true;
}

/* What passes while it is masked is over; what is still to come is not. */
static void test_masked_deadline(Fixture *f, gconstpointer data)
{
    set(f, LVT_TIMER, DEADLINE | 0x42);
    wrmsr(f, 0, MSR_DEADLINE, 5000);
    set(f, LVT_TIMER, DEADLINE | MASKED | 0x42);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    vclock_step(4000);
    set(f, LVT_TIMER, DEADLINE | 0x42);
    vclock_step(1000);
    g_assert_true(took(f, 0x42));
    for (unsigned reads = 0; reads < 2; reads++) {
        wrmsr(f, 0, MSR_DEADLINE, 10000 * (reads + 1));
        set(f, LVT_TIMER, DEADLINE | MASKED | 0x42);
        vclock_step(9000);
        if (reads)
            g_assert_cmpuint(rdmsr(f, 0, MSR_DEADLINE), ==, 0);
        set(f, LVT_TIMER, DEADLINE | 0x42);
        vclock_step(0);
        g_assert_false(took(f, 0x42));
        g_assert_cmpuint(rdmsr(f, 0, MSR_DEADLINE), ==, 0);
    }
}

static int64_t tsc_at_2ghz(Vcpu *cpu, uint64_t tsc)
{
    return (int64_t)(tsc / 2);
}

/* The same, after a guest has set its TSC forward by 10,000. */
static int64_t tsc_set_forward(Vcpu *cpu, uint64_t tsc)
{
    return tsc < 10000 ? 0 : (int64_t)((tsc - 10000) / 2);
}

static void test_tsc_changed(Fixture *f, gconstpointer data)
{
    lapic_set_tsc(f->apic[0], tsc_at_2ghz);
    set(f, LVT_TIMER, DEADLINE | 0x42);
    wrmsr(f, 0, MSR_DEADLINE, 20000);
    vclock_step(4000);
    g_assert_false(took(f, 0x42));
    lapic_set_tsc(f->apic[0], tsc_set_forward); /* 18,000 now */
    lapic_tsc_changed(f->apic[0]);
    vclock_step(999);
    g_assert_false(took(f, 0x42));
    vclock_step(1);
    g_assert_true(took(f, 0x42));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/lapic-base/" name, Fixture, NULL, setup, fn, teardown)
    ADD("features", test_features);
    ADD("move", test_move);
    ADD("masked-deadline", test_masked_deadline);
    ADD("tsc-changed", test_tsc_changed);
    return g_test_run();
}
