/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine as bytes and back, on both engines; bytes that are damaged, or of another machine. */
#include "accel/snapshot.h"

#include <string.h>
#include <unistd.h>

#include "cpu/state.h"
#include "hw/core/vcpu.h"
#include "kvm-machine.h"
#include "util/bytes.h"
#include "util/timer.h"

/* Counts in a register and in memory, and tells both. */
GUEST_CODE(count, "xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
                  "mov $0x1000, %ecx\n movl $0x2000, 0x500\n movl $0x1234, 0x9000\n"
                  "1: inc %ecx\n incl 0x500\n"
                  "mov %ecx, %eax\n out %eax, $0x10\n mov 0x500, %eax\n out %eax, $0x10\n"
                  "jmp 1b\n");

typedef struct Saved {
    GByteArray *head;
    GArray *runs;
    GByteArray *ram;
} Saved;

static TestGuest *new_guest(const CpuEngine *engine, unsigned cpus)
{
    TestGuest *guest = guest_new_bare(cpus, GUEST(count));
    EngineConfig config = {0};
    GError *error = NULL;
    vcpus_init(guest->machine, engine, &config, &error);
    g_assert_no_error(error);
    return guest;
}

static Saved *save(TestGuest *guest)
{
    GError *error = NULL;
    Saved *s = g_new0(Saved, 1);
    s->head = g_byte_array_new();
    s->ram = g_byte_array_new();
    s->runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
    g_assert_true(snapshot_save(guest->machine, s->head, s->runs, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(s->head->len % SNAPSHOT_ALIGN, ==, 0);
    for (guint i = 0; i < s->runs->len; i++) {
        const SnapshotRun *run = &g_array_index(s->runs, SnapshotRun, i);
        g_byte_array_append(s->ram, run->block->host + run->offset, (guint)run->bytes);
    }
    return s;
}

static void saved_free(Saved *s)
{
    g_byte_array_unref(s->head);
    g_byte_array_unref(s->ram);
    g_array_unref(s->runs);
    g_free(s);
}

/* As monitor/savevm.c does it. */
static bool load(TestGuest *guest, const Saved *s, GError **error)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
    uint64_t length, at = 0;
    if (!snapshot_length(s->head->data, &length, error) ||
        !snapshot_check(guest->machine, s->head->data, s->head->len, runs, error))
        return false;
    snapshot_clear(guest->machine, runs);
    for (guint i = 0; i < runs->len; i++) {
        const SnapshotRun *run = &g_array_index(runs, SnapshotRun, i);
        uint64_t n = at < s->ram->len ? MIN(run->bytes, s->ram->len - at) : 0;
        memcpy(run->block->host + run->offset, s->ram->data + at, n);
        at += n;
    }
    return snapshot_load(guest->machine, s->head->data, s->head->len, error);
}

static void stop(TestGuest *guest)
{
    machine_pause(guest->machine, MACHINE_PAUSED);
}

static void go_on(TestGuest *guest, unsigned values)
{
    GError *error = NULL;
    guest->told_count = 0;
    machine_resume(guest->machine, &error);
    g_assert_no_error(error);
    guest_wait_told(guest, values);
    stop(guest);
}

static void check_round_trip(const CpuEngine *engine)
{
    TestGuest *guest = new_guest(engine, 1);
    GError *error = NULL;
    uint8_t *ram = region_ram_ptr(&guest->ram);
    g_autofree CpuState *before = g_new(CpuState, 1), *after = g_new(CpuState, 1);
    machine_start(guest->machine, true);
    guest_wait_told(guest, 10);
    stop(guest);
    Saved *s = save(guest);
    uint32_t counted = ld32_le(ram + 0x500);
    g_assert_true(vcpu_get_state(guest->machine->cpus[0], before));
    g_assert_cmpuint(s->ram->len, ==, SNAPSHOT_ALIGN + TEST_ROM_SIZE);

    for (unsigned round = 0; round < 3; round++) {
        go_on(guest, 10);
        ram[0x9000] = 0x55;
        ram[0x100000] = 0x66; /* in no run: it is to be zero again */
        g_assert_true(load(guest, s, &error));
        g_assert_no_error(error);
        g_assert_cmphex(ld32_le(ram + 0x500), ==, counted);
        g_assert_cmphex(ld32_le(ram + 0x9000), ==, 0x1234);
        g_assert_cmphex(ram[0x100000], ==, 0);
        g_assert_true(vcpu_get_state(guest->machine->cpus[0], after));
        g_assert_cmpmem(after->gpr, sizeof(after->gpr), before->gpr, sizeof(before->gpr));
        g_assert_cmphex(after->rip, ==, before->rip);
        g_assert_cmphex(after->rflags, ==, before->rflags);
        g_assert_cmphex(after->cr0, ==, before->cr0);
        g_assert_cmpmem(after->xsave, 512, before->xsave, 512);
    }
    go_on(guest, 4);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(guest->told[i] & 0xfff, <=, (counted & 0xfff) + 3);
    saved_free(s);
    guest_free(guest);
}

static void test_interp(void)
{
    check_round_trip(&interp_engine);
}

static void test_kvm(void)
{
    if (access("/dev/kvm", R_OK | W_OK)) {
        g_test_skip("KVM: there is no /dev/kvm that can be used here");
        return;
    }
    check_round_trip(&kvm_engine);
}

static void test_descriptions(void)
{
    g_autofree char *hole = state_check_complete(&cpu_state_desc);
    g_assert_cmpstr(hole, ==, NULL);
}

/* Frozen, the machine neither runs nor resets; what was asked comes after. */
static void test_frozen(void)
{
    TestGuest *guest = new_guest(&interp_engine, 1);
    Machine *machine = guest->machine;
    GError *error = NULL;
    machine_start(machine, true);
    guest_wait_told(guest, 2);
    g_assert_true(machine_freeze(machine, MACHINE_SAVE_VM, &error));
    g_assert_no_error(error);
    uint64_t resets = machine->resets;
    machine_request_reset(machine, RESET_HOST);
    for (unsigned i = 0; i < 5; i++)
        loop_step(machine->loop, false);
    g_assert_cmpuint(machine->resets, ==, resets);
    g_assert_false(machine_resume(machine, &error));
    g_assert_cmpstr(error->message, ==, "a snapshot is being saved");
    g_clear_error(&error);
    g_assert_false(machine_freeze(machine, MACHINE_RESTORE_VM, &error));
    g_clear_error(&error);
    machine_thaw(machine, THAW_SAME);
    g_assert_cmpint(machine->status, ==, MACHINE_RUNNING);
    while (machine->resets == resets)
        loop_step(machine->loop, true);

    g_assert_true(machine_freeze(machine, MACHINE_RESTORE_VM, &error));
    machine_pause(machine, machine->status); /* gdb comes */
    g_assert_cmpint(machine->status, ==, MACHINE_RESTORE_VM);
    machine_thaw(machine, THAW_SAME);
    g_assert_cmpint(machine->status, ==, MACHINE_PAUSED);

    g_assert_true(machine_freeze(machine, MACHINE_RESTORE_VM, &error));
    machine_thaw(machine, THAW_BROKEN);
    g_assert_cmpint(machine->status, ==, MACHINE_INTERNAL_ERROR);
    g_assert_false(machine_resume(machine, NULL));
    g_assert_false(machine_freeze(machine, MACHINE_SAVE_VM, NULL));
    g_assert_true(machine_freeze(machine, MACHINE_RESTORE_VM, NULL));
    machine_thaw(machine, THAW_SAME); /* nothing came of it */
    g_assert_cmpint(machine->status, ==, MACHINE_INTERNAL_ERROR);
    g_assert_true(machine_freeze(machine, MACHINE_RESTORE_VM, NULL));
    machine_pause(machine, MACHINE_PAUSED); /* the monitor's stop */
    resets = machine->resets;
    machine_request_reset(machine, RESET_GUEST); /* the old guest's */
    machine_thaw(machine, THAW_RESTORED);
    g_assert_cmpint(machine->status, ==, MACHINE_PAUSED);
    for (unsigned i = 0; i < 5; i++)
        loop_step(machine->loop, false);
    g_assert_cmpuint(machine->resets, ==, resets);
    guest_free(guest);
}

static void on_timer(void *opaque)
{
    *(bool *)opaque = true;
}

/* A timer that is no device's (a disk's limits, keys that are typed) does not wait for the time
 * that guest time went back by. */
static void test_timers(void)
{
    TestGuest *guest = new_guest(&interp_engine, 1);
    Machine *machine = guest->machine;
    GError *error = NULL;
    bool fired = false;
    Timer timer;
    machine_start(machine, false);
    Saved *s = save(guest);
    vclock_restore(clock_now(VM_CLOCK_VIRTUAL) + 3600 * NS_PER_SEC);
    timer_init(&timer, machine->loop, VM_CLOCK_VIRTUAL, on_timer, &fired);
    timer_arm(&timer, clock_now(VM_CLOCK_VIRTUAL) + NS_PER_MS);
    g_assert_true(load(guest, s, &error));
    g_assert_no_error(error);
    g_assert_cmpint(clock_now(VM_CLOCK_VIRTUAL), <, NS_PER_SEC);
    g_assert_cmpint(timer_expires(&timer), ==, clock_now(VM_CLOCK_VIRTUAL) + NS_PER_MS);
    machine_resume(machine, NULL);
    while (!fired)
        loop_step(machine->loop, true);
    stop(guest);
    saved_free(s);
    guest_free(guest);
}

/* ---- Another machine's ---- */

static void refuse(TestGuest *guest, const Saved *s, const char *part)
{
    GError *error = NULL;
    g_assert_false(load(guest, s, &error));
    g_assert_nonnull(error);
    if (part && !strstr(error->message, part))
        g_error("'%s' is not in '%s'", part, error->message);
    g_clear_error(&error);
}

static void test_other(void)
{
    TestGuest *guest = new_guest(&interp_engine, 2);
    machine_start(guest->machine, false);
    Saved *two = save(guest);
    guest_free(guest);
    guest = new_guest(&interp_engine, 1);
    machine_start(guest->machine, false);
    refuse(guest, two, "saved with 2 CPUs");
    Saved *s = save(guest);
    s->head->data[SNAPSHOT_HEAD + 1] = 'j';
    refuse(guest, s, "saved with -accel jnterp");
    s->head->data[0] = 'Q';
    refuse(guest, s, "not vmrun's");
    saved_free(s);
    CpuState *state = g_new(CpuState, 1);
    g_assert_true(vcpu_get_state(guest->machine->cpus[0], state));
    state->smm = true;
    g_assert_true(vcpu_set_state(guest->machine->cpus[0], state));
    g_free(state);
    s = save(guest);
    refuse(guest, s, "needs -machine smm=on");
    saved_free(s);
    saved_free(two);
    guest_free(guest);
}

/* ---- Damage ---- */

static void test_cut(void)
{
    TestGuest *guest = new_guest(&interp_engine, 1);
    machine_start(guest->machine, false);
    Saved *s = save(guest);
    uint64_t whole = ld64_le(s->head->data + 8);
    for (uint64_t length = 0; length < whole; length += 1 + length / 9) {
        g_autofree uint8_t *copy = g_memdup2(s->head->data, s->head->len);
        g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(SnapshotRun));
        GError *error = NULL;
        st64_le(copy + 8, length);
        /* The devices, at the end, are read later: what is before them must be whole. */
        if (!snapshot_check(guest->machine, copy, s->head->len, runs, &error))
            g_assert_nonnull(error);
        g_clear_error(&error);
    }
    saved_free(s);
    guest_free(guest);
}

static int64_t until;

static bool time_is_over(TestGuest *guest)
{
    return clock_now(VM_CLOCK_HOST) >= until;
}

/* Whatever an image says the processor was like, it executes, faults or shuts down. */
static void test_odd_processor(void)
{
    GRand *random = g_rand_new_with_seed(20080117);
    TestGuest *guest = new_guest(&interp_engine, 1);
    g_autofree CpuState *good = g_new(CpuState, 1), *odd = g_new(CpuState, 1);
    machine_start(guest->machine, true);
    guest_wait_told(guest, 4);
    stop(guest);
    g_assert_true(vcpu_get_state(guest->machine->cpus[0], good));
    for (unsigned round = 0; round < 300; round++) {
        GError *error = NULL;
        *odd = *good;
        for (int n = g_rand_int_range(random, 1, 16); n; n--) {
            gint32 place = g_rand_int_range(random, 0, (gint32)offsetof(CpuState, xsave) + 1024);
            ((uint8_t *)odd)[place] = (uint8_t)g_rand_int(random);
        }
        for (unsigned n = 0; n < odd->msr_count; n++)
            if (!g_rand_int_range(random, 0, 8))
                odd->msrs[n].value = g_rand_int(random);
        odd->smm = false; /* this is refused */
        g_assert_true(vcpu_set_state(guest->machine->cpus[0], odd));
        Saved *s = save(guest);
        g_assert_true(load(guest, s, &error));
        g_assert_no_error(error);
        guest->told_count = 0;
        machine_resume(guest->machine, NULL);
        until = clock_now(VM_CLOCK_HOST) + NS_PER_MS;
        guest_wait(guest, time_is_over);
        stop(guest);
        saved_free(s);
    }
    g_rand_free(random);
    guest_free(guest);
}

static void test_damaged(void)
{
    GRand *random = g_rand_new_with_seed(20080117);
    TestGuest *guest = new_guest(&interp_engine, 1);
    unsigned loaded = 0;
    guest->machine->no_reboot = false;
    machine_start(guest->machine, true);
    guest_wait_told(guest, 4);
    stop(guest);
    Saved *s = save(guest);
    uint64_t whole = ld64_le(s->head->data + 8) + SNAPSHOT_HEAD;
    g_autofree uint8_t *good = g_memdup2(s->head->data, s->head->len);
    for (unsigned round = 0; round < 400; round++) {
        GError *error = NULL;
        memcpy(s->head->data, good, s->head->len);
        for (int n = g_rand_int_range(random, 1, 8); n; n--)
            s->head->data[g_rand_int_range(random, SNAPSHOT_HEAD, (gint32)whole)] =
                (uint8_t)g_rand_int(random);
        if (load(guest, s, &error)) {
            loaded++;
            machine_resume(guest->machine, NULL);
            loop_step(guest->machine->loop, false);
            stop(guest);
        } else {
            g_assert_nonnull(error);
            g_clear_error(&error);
        }
    }
    g_test_message("%u of 400 were loaded", loaded);
    memcpy(s->head->data, good, s->head->len);
    GError *error = NULL;
    g_assert_true(load(guest, s, &error));
    g_assert_no_error(error);
    go_on(guest, 4);
    saved_free(s);
    g_rand_free(random);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/snapshot/descriptions", test_descriptions);
    g_test_add_func("/snapshot/interp", test_interp);
    g_test_add_func("/snapshot/kvm", test_kvm);
    g_test_add_func("/snapshot/frozen", test_frozen);
    g_test_add_func("/snapshot/timers", test_timers);
    g_test_add_func("/snapshot/other", test_other);
    g_test_add_func("/snapshot/cut", test_cut);
    g_test_add_func("/snapshot/damaged", test_damaged);
    g_test_add_func("/snapshot/odd-processor", test_odd_processor);
    return g_test_run();
}
