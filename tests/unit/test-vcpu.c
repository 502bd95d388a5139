/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vCPU threads with an engine that only pretends: pause, resume, reset, work and requests from
 * several threads at once.  Worth running under TSan: the "guest" touches, without a lock, what the
 * main thread touches while the CPUs are paused.
 */
#include <sched.h>
#include <string.h>

#include "accel/engine.h"
#include "util/timer.h"

enum { CPUS = 4, ROUNDS = 300 };

/* Per CPU; plain fields belong to the CPU's thread, or to the main thread while it is paused. */
typedef struct FakeCpu {
    uint64_t steps, resets, works;
    bool initialized, halt_next;
    uint32_t kicked;  /* atomic */
    uint32_t entries; /* atomic */
    unsigned apic_seen, nmi_seen;
} FakeCpu;

static struct {
    Region device;
    uint64_t accesses; /* main lock */
    uint64_t shared;   /* written by the main thread while paused, read by CPUs */
    unsigned fail_cpu; /* cpu_init of this one fails; CPUS: none */
    unsigned pauses, resumes;
    bool halt;
    bool fail_run; /* atomic */
} fake;

static uint64_t device_read(void *opaque, hwaddr offset, unsigned size)
{
    return ++fake.accesses;
}

static const RegionOps device_ops = {.read = device_read};

static bool fake_init(Machine *machine, const EngineConfig *config, GError **error)
{
    return true;
}

static bool fake_cpu_init(Vcpu *cpu, GError **error)
{
    cpu->engine = g_new0(FakeCpu, 1);
    if (cpu->index != fake.fail_cpu)
        return true;
    g_set_error(error, g_quark_from_static_string("test"), 1, "CPU %u has no mind", cpu->index);
    return false;
}

static RunResult fake_run(Vcpu *cpu)
{
    FakeCpu *state = cpu->engine;
    __atomic_fetch_add(&state->entries, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 50 && !vcpu_requested(cpu, VCPU_REQ_CONTROL); i++) {
        state->steps += 1 + fake.shared * 0;
        if (vcpu_take(cpu, VCPU_REQ_APIC))
            state->apic_seen++;
        if (vcpu_take(cpu, VCPU_REQ_NMI))
            state->nmi_seen++;
        if (i % 10 == 0) {
            uint64_t value;
            as_load(&cpu->machine->mem, 0x1000, 4, &value);
        }
    }
    if (__atomic_load_n(&fake.fail_run, __ATOMIC_RELAXED))
        return RUN_FAILED;
    cpu->halt_masked = VCPU_REQ_INTR;
    return fake.halt ? RUN_HALTED : RUN_AGAIN;
}

static void fake_kick(Vcpu *cpu)
{
    FakeCpu *state = cpu->engine;
    if (state)
        __atomic_fetch_add(&state->kicked, 1, __ATOMIC_RELAXED);
}

static void fake_reset(Vcpu *cpu)
{
    FakeCpu *state = cpu->engine;
    state->resets++;
    state->steps = 0;
}

static bool fake_pull(Vcpu *cpu, CpuState *state)
{
    state->rip = ((FakeCpu *)cpu->engine)->steps;
    return true;
}

static bool fake_push(Vcpu *cpu, const CpuState *state)
{
    ((FakeCpu *)cpu->engine)->steps = state->rip;
    return true;
}

static void fake_cpu_fini(Vcpu *cpu)
{
    g_clear_pointer(&cpu->engine, g_free);
}

static void fake_pause_changed(Machine *machine, bool paused)
{
    for (unsigned i = 0; i < machine->cpu_count; i++)
        g_assert_true(machine->cpus[i]->stopped);
    if (paused)
        fake.pauses++;
    else
        fake.resumes++;
}

static const CpuEngine fake_engine = {
    .name = "fake",
    .desc = "no guest at all",
    .init = fake_init,
    .cpu_init = fake_cpu_init,
    .run = fake_run,
    .kick = fake_kick,
    .pull = fake_pull,
    .push = fake_push,
    .cpu_reset = fake_reset,
    .cpu_fini = fake_cpu_fini,
    .pause_changed = fake_pause_changed,
};

static FakeCpu *fake_cpu(Machine *machine, unsigned i)
{
    return machine->cpus[i]->engine;
}

static Machine *fake_machine(void)
{
    GError *error = NULL;
    EngineConfig config = {0};
    memset(&fake, 0, sizeof(fake));
    fake.fail_cpu = CPUS;
    loop_lock(loop_main());
    Machine *machine = machine_new();
    machine->cpu_count = CPUS;
    region_init_io(&fake.device, "device", 0x1000, &device_ops, NULL, NULL);
    region_add(&machine->mem_root, 0x1000, &fake.device);
    vcpus_init(machine, &fake_engine, &config, &error);
    g_assert_no_error(error);
    return machine;
}

static void fake_machine_free(Machine *machine)
{
    vcpus_fini(machine);
    region_fini(&fake.device);
    machine_free(machine);
    vclock_stop();
    loop_unlock(loop_main());
}

static void let_run(Machine *machine, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        loop_step(machine->loop, false);
        /* A mutex is not fair: without this the CPUs wait for it a long time. */
        loop_unlock(machine->loop);
        sched_yield();
        loop_lock(machine->loop);
    }
}

/* Waits, giving up the main lock, until every CPU has entered its guest again. */
static void wait_entries(Machine *machine)
{
    uint32_t before[CPUS];
    for (unsigned i = 0; i < CPUS; i++)
        before[i] = __atomic_load_n(&fake_cpu(machine, i)->entries, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < CPUS; i++)
        while (__atomic_load_n(&fake_cpu(machine, i)->entries, __ATOMIC_RELAXED) == before[i])
            let_run(machine, 1);
}

/* ---- Tests ---- */

static void test_pause_resume(void)
{
    Machine *machine = fake_machine();
    machine_start(machine, true);
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (round % 3 == 0)
            wait_entries(machine);
        machine_pause(machine, MACHINE_PAUSED);
        uint64_t steps[CPUS];
        for (unsigned i = 0; i < CPUS; i++)
            steps[i] = fake_cpu(machine, i)->steps;
        fake.shared++;
        let_run(machine, 2);
        for (unsigned i = 0; i < CPUS; i++)
            g_assert_cmpuint(fake_cpu(machine, i)->steps, ==, steps[i]);
        g_assert_true(machine_resume(machine, NULL));
    }
    machine_pause(machine, MACHINE_PAUSED);
    g_assert_cmpuint(fake.pauses, ==, ROUNDS + 1);
    g_assert_cmpuint(fake.resumes, ==, ROUNDS + 1);
    g_assert_cmpuint(fake.accesses, >, 0);
    fake_machine_free(machine);
}

static gpointer requester(gpointer opaque)
{
    Machine *machine = opaque;
    for (unsigned i = 0; i < 20 * ROUNDS; i++) {
        vcpu_request(machine->cpus[i % CPUS], i % 2 ? VCPU_REQ_APIC : VCPU_REQ_NMI);
        if (i % 64 == 0)
            machine_request_reset(machine, RESET_HOST);
    }
    return NULL;
}

/* Resets, pauses and requests at the same time. */
static void test_stress(void)
{
    Machine *machine = fake_machine();
    machine_start(machine, true);
    GThread *threads[2];
    for (unsigned i = 0; i < 2; i++)
        threads[i] = g_thread_new("requester", requester, machine);
    for (unsigned round = 0; round < ROUNDS; round++) {
        machine_pause(machine, MACHINE_PAUSED);
        fake.shared++;
        machine_resume(machine, NULL);
        let_run(machine, 1);
        CpuState state;
        g_assert_true(vcpu_get_state(machine->cpus[round % CPUS], &state));
    }
    loop_unlock(machine->loop);
    for (unsigned i = 0; i < 2; i++)
        g_thread_join(threads[i]);
    loop_lock(machine->loop);
    while (machine_request_pending(machine))
        let_run(machine, 1);
    machine_pause(machine, MACHINE_PAUSED);
    g_assert_cmpuint(machine->resets, >, 1);
    for (unsigned i = 0; i < CPUS; i++)
        g_assert_cmpuint(fake_cpu(machine, i)->resets, ==, machine->resets);
    fake_machine_free(machine);
}

/* A CPU in HLT wakes for each request but the masked one, and none is lost. */
static void test_halt(void)
{
    Machine *machine = fake_machine();
    fake.halt = true;
    machine_start(machine, true);
    Vcpu *cpu = machine->cpus[1];
    FakeCpu *state = fake_cpu(machine, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        vcpu_request(cpu, VCPU_REQ_APIC);
        while (vcpu_requested(cpu, VCPU_REQ_APIC))
            let_run(machine, 1);
    }
    while (!__atomic_load_n(&cpu->halted, __ATOMIC_RELAXED))
        let_run(machine, 1);
    uint32_t before = __atomic_load_n(&state->entries, __ATOMIC_RELAXED);
    vcpu_request(cpu, VCPU_REQ_INTR);
    let_run(machine, 50);
    g_assert_cmpuint(__atomic_load_n(&state->entries, __ATOMIC_RELAXED), ==, before);
    machine_pause(machine, MACHINE_PAUSED);
    g_assert_cmpuint(state->apic_seen, >=, ROUNDS);
    fake_machine_free(machine);
}

static void do_work(Vcpu *cpu, void *opaque)
{
    g_assert_true(cpu->machine->hooks.current(cpu->machine) == cpu);
    g_assert_false(loop_locked(cpu->machine->loop));
    ((FakeCpu *)cpu->engine)->works++;
    ++*(unsigned *)opaque;
}

static void test_run_on(void)
{
    Machine *machine = fake_machine();
    unsigned count = 0;
    vcpu_run_on(machine->cpus[2], do_work, &count); /* not yet started */
    machine_start(machine, true);
    for (unsigned i = 0; i < ROUNDS; i++)
        vcpu_run_on(machine->cpus[i % CPUS], do_work, &count);
    machine_pause(machine, MACHINE_PAUSED);
    vcpu_run_on(machine->cpus[3], do_work, &count);
    g_assert_true(machine->cpus[3]->stopped);
    g_assert_cmpuint(count, ==, ROUNDS + 2);
    g_assert_null(machine->hooks.current(machine));
    fake_machine_free(machine);
}

static void test_state(void)
{
    Machine *machine = fake_machine();
    CpuState *state = g_new0(CpuState, 1);
    machine_start(machine, false);
    state->rip = 1000000;
    g_assert_true(vcpu_set_state(machine->cpus[0], state));
    state->rip = 0;
    g_assert_true(vcpu_get_state(machine->cpus[0], state));
    g_assert_cmpuint(state->rip, ==, 1000000);
    g_assert_true(machine_resume(machine, NULL));
    wait_entries(machine);
    g_assert_true(vcpu_get_state(machine->cpus[0], state));
    g_assert_cmpuint(state->rip, >=, 1000000);
    g_free(state);
    fake_machine_free(machine);
}

static void test_failed_run(void)
{
    Machine *machine = fake_machine();
    machine_start(machine, true);
    __atomic_store_n(&fake.fail_run, true, __ATOMIC_RELAXED);
    while (machine->status == MACHINE_RUNNING)
        loop_step(machine->loop, true);
    g_assert_cmpint(machine->status, ==, MACHINE_INTERNAL_ERROR);
    __atomic_store_n(&fake.fail_run, false, __ATOMIC_RELAXED);
    g_assert_false(machine_resume(machine, NULL));
    fake_machine_free(machine);
}

static void test_failed_init(void)
{
    GError *error = NULL;
    EngineConfig config = {0};
    memset(&fake, 0, sizeof(fake));
    fake.fail_cpu = 2;
    loop_lock(loop_main());
    Machine *machine = machine_new();
    machine->cpu_count = CPUS;
    g_assert_false(vcpus_init(machine, &fake_engine, &config, &error));
    g_assert_cmpstr(error->message, ==, "CPU 2 has no mind");
    g_assert_null(machine->cpus);
    g_assert_null(machine->hooks.pause_all);
    g_error_free(error);
    machine_free(machine);
    loop_unlock(loop_main());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vcpu/pause-resume", test_pause_resume);
    g_test_add_func("/vcpu/stress", test_stress);
    g_test_add_func("/vcpu/halt", test_halt);
    g_test_add_func("/vcpu/run-on", test_run_on);
    g_test_add_func("/vcpu/state", test_state);
    g_test_add_func("/vcpu/failed-run", test_failed_run);
    g_test_add_func("/vcpu/failed-init", test_failed_init);
    return g_test_run();
}
