/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time-stamp counter of the software engine: 0 at power-on and at a reset, standing while the
 * machine is paused, whoever paused it, and where a debugger leaves it.
 */
#include "kvm-machine.h"

/* Tells the bits of the TSC from UNIT on in one value, and calls the test, over and over. */
enum { UNIT = 20 };
GUEST_CODE(tell, "1: rdtsc\n"
                 "shrd $20, %edx, %eax\n"
                 "mov $0x10, %dx\n"
                 "out %eax, %dx\n"
                 "mov $0x1c, %dx\n"
                 "out %al, %dx\n"
                 "jmp 1b\n");

static TestGuest *new_guest(void)
{
    TestGuest *guest = guest_new_bare(2, GUEST(tell));
    EngineConfig config = {0};
    GError *error = NULL;
    vcpus_init(guest->machine, &interp_engine, &config, &error);
    g_assert_no_error(error);
    return guest;
}

/* What the CPU's TSC shows; the machine is paused, so it shows the same a while later. */
static uint64_t standing(TestGuest *guest, unsigned cpu)
{
    g_autofree CpuState *state = g_new(CpuState, 1);
    uint64_t values[3];
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(vcpu_get_state(guest->machine->cpus[cpu], state));
        values[i] = state->tsc;
    }
    g_assert_cmpuint(values[1], ==, values[0]);
    g_assert_cmpuint(values[2], ==, values[0]);
    return values[0];
}

/* The last TSC that the guest itself saw, in units. */
static uint64_t seen(const TestGuest *guest)
{
    g_assert_cmpuint(guest->told_count, >, 0);
    return guest->told[guest->told_count - 1];
}

/* By itself. */
static bool has_stopped(TestGuest *guest)
{
    return !guest->call && guest->machine->cpus[0]->stopped && guest->machine->cpus[1]->stopped;
}

/* Runs until the guest has seen its TSC, and pauses. */
static void run_on(TestGuest *guest)
{
    GError *error = NULL;
    guest->told_count = 0;
    machine_resume(guest->machine, &error);
    g_assert_no_error(error);
    guest_wait_told(guest, 1);
    machine_pause(guest->machine, MACHINE_PAUSED);
}

static void test_power_on(void)
{
    TestGuest *guest = new_guest();
    machine_start(guest->machine, false);
    g_assert_cmpuint(standing(guest, 0), ==, 0);
    g_assert_cmpuint(standing(guest, 1), ==, 0);
    run_on(guest);
    uint64_t end = standing(guest, 0);
    g_assert_cmpuint(guest->told[0], <=, end >> UNIT);
    g_assert_cmpuint(seen(guest), <=, end >> UNIT);
    g_assert_cmpuint(standing(guest, 1), ==, end);
    guest_free(guest);
}

/* The pause is no time for the guest, and a state that is pushed back changes nothing. */
static void test_pause(void)
{
    TestGuest *guest = new_guest();
    g_autofree CpuState *state = g_new(CpuState, 1);
    machine_start(guest->machine, false);
    run_on(guest);
    uint64_t before = standing(guest, 0);
    vcpu_get_state(guest->machine->cpus[0], state);
    standing(guest, 0);
    state->gpr[GPR_RBX] = 1;
    g_assert_true(vcpu_set_state(guest->machine->cpus[0], state));
    g_assert_cmpuint(standing(guest, 0), ==, before);
    run_on(guest);
    g_assert_cmpuint(seen(guest), >=, before >> UNIT);
    g_assert_cmpuint(seen(guest), <=, standing(guest, 0) >> UNIT);
    /* A state from elsewhere has its own. */
    vcpu_get_state(guest->machine->cpus[0], state);
    state->tsc = 1ull << 50;
    g_assert_true(vcpu_set_state(guest->machine->cpus[0], state));
    g_assert_cmpuint(standing(guest, 0), ==, 1ull << 50);
    run_on(guest);
    g_assert_cmpuint(seen(guest), >=, 1ull << 50 >> UNIT);
    guest_free(guest);
}

static void pause_from_inside(TestGuest *guest)
{
    guest->call = NULL;
    machine_pause(guest->machine, MACHINE_PAUSED);
}

static void test_pause_by_cpu(void)
{
    TestGuest *guest = new_guest();
    guest->call = pause_from_inside;
    machine_start(guest->machine, true);
    guest_wait(guest, has_stopped);
    uint64_t before = standing(guest, 0);
    g_assert_cmpuint(seen(guest), <=, before >> UNIT);
    run_on(guest);
    g_assert_cmpuint(seen(guest), >=, before >> UNIT);
    g_assert_cmpuint(seen(guest), <=, standing(guest, 0) >> UNIT);
    guest_free(guest);
}

static bool was_reset(TestGuest *guest)
{
    return guest->machine->resets >= 2;
}

static void test_reset(void)
{
    TestGuest *guest = new_guest();
    machine_start(guest->machine, false);
    run_on(guest);
    g_assert_cmpuint(standing(guest, 0), >, 0);
    machine_request_reset(guest->machine, RESET_HOST);
    guest_wait(guest, was_reset);
    g_assert_cmpuint(standing(guest, 0), ==, 0);
    g_assert_cmpuint(standing(guest, 1), ==, 0);
    run_on(guest);
    g_assert_cmpuint(seen(guest), <=, standing(guest, 0) >> UNIT);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/soft-tsc/power-on", test_power_on);
    g_test_add_func("/soft-tsc/pause", test_pause);
    g_test_add_func("/soft-tsc/pause-by-cpu", test_pause_by_cpu);
    g_test_add_func("/soft-tsc/reset", test_reset);
    return g_test_run();
}
