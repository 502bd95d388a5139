/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entering the guest, and what it comes back with.
 *
 * Kicks.  Who wants something of a CPU sets a bit in `requests`, then reads `in_guest`, and if that
 * is set sends the thread a signal.  The thread sets `in_guest`, then reads `requests`, then
 * enters. Both sides are sequentially consistent, so a request is seen before the entry or a signal
 * comes. A signal that arrives between the look and KVM_RUN is not lost, either: its handler sets
 * immediate_exit, with which KVM_RUN comes back at once.  The thread clears immediate_exit after
 * KVM_RUN and looks at `requests` again before the next one.
 *
 * Parking.  While memory slots change, no CPU may be in the guest, but the main lock cannot be
 * given up (the change comes from a device callback).  So PARK is requested, and the changer waits
 * until `in_guest` is clear everywhere: a CPU that handles an exit, or waits for the main lock to
 * do so, is outside and cannot enter before PARK is gone.
 */
#include "kvm_private.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "util/log.h"

static __thread struct kvm_run *volatile this_run;

/* ---- Kicks ---- */

static void on_kick(int signum)
{
    struct kvm_run *run = this_run;
    if (run)
        __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

void kvm_thread_init(KvmCpu *k)
{
    struct sigaction action = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(KVM_KICK_SIGNAL, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, KVM_KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    k->tid = pthread_self();
}

void kvm_kick(Vcpu *cpu)
{
    KvmCpu *k = cpu->engine;
    if (k && __atomic_load_n(&k->in_guest, __ATOMIC_SEQ_CST))
        pthread_kill(k->tid, KVM_KICK_SIGNAL);
}

/* ---- Parking ---- */

static void leave_guest(KvmCpu *k)
{
    __atomic_store_n(&k->in_guest, 0, __ATOMIC_SEQ_CST);
    if (!G_UNLIKELY(__atomic_load_n(&k->cpu->requests, __ATOMIC_SEQ_CST) & VCPU_REQ_PARK))
        return;
    pthread_mutex_lock(&k->vm->park_lock);
    pthread_cond_broadcast(&k->vm->park_changed);
    pthread_mutex_unlock(&k->vm->park_lock);
}

static void wait_unparked(KvmCpu *k)
{
    pthread_mutex_lock(&k->vm->park_lock);
    while (vcpu_requested(k->cpu, VCPU_REQ_PARK))
        pthread_cond_wait(&k->vm->park_changed, &k->vm->park_lock);
    pthread_mutex_unlock(&k->vm->park_lock);
}

static KvmCpu *other_cpu(KvmVm *vm, unsigned i)
{
    Vcpu *cpu = vm->machine->cpus[i];
    return cpu->engine && !pthread_equal(((KvmCpu *)cpu->engine)->tid, pthread_self()) ? cpu->engine
                                                                                       : NULL;
}

void kvm_park(KvmVm *vm)
{
    unsigned count = vm->machine->cpus ? vm->machine->cpu_count : 0;
    for (unsigned i = 0; i < count; i++)
        if (other_cpu(vm, i))
            vcpu_request(vm->machine->cpus[i], VCPU_REQ_PARK);
    pthread_mutex_lock(&vm->park_lock);
    for (unsigned i = 0; i < count; i++) {
        KvmCpu *k = other_cpu(vm, i);
        while (k && __atomic_load_n(&k->in_guest, __ATOMIC_SEQ_CST))
            pthread_cond_wait(&vm->park_changed, &vm->park_lock);
    }
    pthread_mutex_unlock(&vm->park_lock);
}

void kvm_unpark(KvmVm *vm)
{
    unsigned count = vm->machine->cpus ? vm->machine->cpu_count : 0;
    pthread_mutex_lock(&vm->park_lock);
    for (unsigned i = 0; i < count; i++)
        vcpu_take(vm->machine->cpus[i], VCPU_REQ_PARK);
    pthread_cond_broadcast(&vm->park_changed);
    pthread_mutex_unlock(&vm->park_lock);
}

/* ---- Exits ---- */

static RunResult on_system_event(KvmCpu *k)
{
    Machine *machine = k->vm->machine;
    switch (k->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        machine_request_shutdown(machine, SHUTDOWN_GUEST);
        return RUN_AGAIN;
    case KVM_SYSTEM_EVENT_RESET:
        machine_request_reset(machine, RESET_GUEST);
        return RUN_AGAIN;
    default:
        return kvm_give_up(k, "the guest reported that it crashed");
    }
}

static RunResult on_entry_failure(KvmCpu *k)
{
    g_autofree char *why =
        g_strdup_printf("the processor refused the guest's state (hardware reason 0x%llx)",
                        (unsigned long long)k->run->fail_entry.hardware_entry_failure_reason);
    return kvm_give_up(k, why);
}

static RunResult on_internal_error(KvmCpu *k)
{
    static const char *const causes[] = {"", "emulation failed", "two events at once",
                                         "an exit while an event was delivered",
                                         "an unknown exit reason"};
    uint32_t cause = k->run->internal.suberror;
    if (cause == KVM_INTERNAL_ERROR_EMULATION)
        return kvm_debug_failed_int3(k) ? RUN_DEBUG : kvm_rescue(k);
    if (cause == KVM_INTERNAL_ERROR_DELIVERY_EV)
        return kvm_rescue(k);
    g_autofree char *why =
        g_strdup_printf("KVM reports an internal error: %s (%u)",
                        cause < G_N_ELEMENTS(causes) ? causes[cause] : "of an unknown kind", cause);
    return kvm_give_up(k, why);
}

static void on_mmio(KvmCpu *k)
{
    struct kvm_run *run = k->run;
    AddressSpace *mem = &k->vm->machine->mem;
    uint32_t length = MIN(run->mmio.len, sizeof(run->mmio.data));
    if (run->mmio.is_write)
        as_write(mem, run->mmio.phys_addr, run->mmio.data, length);
    else
        as_read(mem, run->mmio.phys_addr, run->mmio.data, length);
    k->io_pending = true;
}

static RunResult handle_exit(KvmCpu *k)
{
    struct kvm_run *run = k->run;
    kvm_flush_coalesced(k->vm);
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        dispatch_pio(&k->vm->machine->io, run->io.port, run->io.direction == KVM_EXIT_IO_OUT,
                     run->io.size, (uint8_t *)run + run->io.data_offset, run->io.count);
        k->io_pending = true;
        return RUN_AGAIN;
    case KVM_EXIT_MMIO:
        on_mmio(k);
        return RUN_AGAIN;
    case KVM_EXIT_IOAPIC_EOI:
        kvm_eoi(k->vm, run->eoi.vector);
        return RUN_AGAIN;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        kvm_inject_pic(k);
        return RUN_AGAIN;
    case KVM_EXIT_INTR:
        return RUN_AGAIN;
    case KVM_EXIT_SHUTDOWN:
        log_printf(LOG_RESET, "CPU %u: triple fault", k->cpu->index);
        machine_request_reset(k->vm->machine, RESET_TRIPLE_FAULT);
        return RUN_AGAIN;
    case KVM_EXIT_HYPERCALL:
        run->hypercall.ret = (uint64_t)-1000; /* KVM_ENOSYS: none is offered */
        k->io_pending = true;
        return RUN_AGAIN;
    case KVM_EXIT_SYSTEM_EVENT:
        return on_system_event(k);
    case KVM_EXIT_FAIL_ENTRY:
        return on_entry_failure(k);
    case KVM_EXIT_INTERNAL_ERROR:
        return on_internal_error(k);
    case KVM_EXIT_DEBUG:
        return kvm_debug_exit(k);
    default: {
        g_autofree char *why = g_strdup_printf(
            "KVM came back with exit reason %u, which vmrun does not know", run->exit_reason);
        return kvm_give_up(k, why);
    }
    }
}

/* KVM_RUN itself failed; errnum is positive. */
static RunResult on_run_error(KvmCpu *k, int errnum)
{
    if (errnum == EINTR || errnum == EAGAIN)
        return RUN_AGAIN;
    g_autofree char *why = g_strdup_printf("KVM_RUN failed: %s", g_strerror(errnum));
    return kvm_give_up(k, why);
}

/* ---- The loop ---- */

/*
 * An instruction that accessed a device is only half done when KVM_RUN returns: the next KVM_RUN
 * completes it.  Before the CPU's state is looked at, or reset, that must happen, or the completion
 * would spoil the new state.  With immediate_exit KVM completes and goes no further.
 */
static RunResult complete_io(KvmCpu *k)
{
    RunResult result = RUN_AGAIN;
    while (k->io_pending && result == RUN_AGAIN) {
        __atomic_store_n(&k->in_guest, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&k->cpu->requests, __ATOMIC_SEQ_CST) & VCPU_REQ_PARK) {
            leave_guest(k);
            wait_unparked(k);
            continue;
        }
        k->io_pending = false;
        __atomic_store_n(&k->run->immediate_exit, 1, __ATOMIC_RELAXED);
        int failed = ioctl(k->fd, KVM_RUN, 0) < 0 ? errno : 0;
        leave_guest(k);
        result = failed ? on_run_error(k, failed) : handle_exit(k);
    }
    __atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_RELAXED);
    return result;
}

/* Answers the requests that keep the CPU out of the guest; false if run() has to return. */
static bool serve_requests(KvmCpu *k)
{
    Vcpu *cpu = k->cpu;
    if (vcpu_requested(cpu, VCPU_REQ_PARK))
        wait_unparked(k);
    if (vcpu_requested(cpu, VCPU_REQ_CONTROL))
        return false;
    if (vcpu_take(cpu, VCPU_REQ_NMI))
        kvm_ioctl_value(k->fd, KVM_NMI, 0);
    if (vcpu_take(cpu, VCPU_REQ_SMI) && k->vm->has_smi)
        kvm_ioctl_value(k->fd, KVM_SMI, 0);
    kvm_inject_pic(k);
    return true;
}

RunResult kvm_cpu_run(Vcpu *cpu)
{
    KvmCpu *k = cpu->engine;
    RunResult result = RUN_AGAIN;
    this_run = k->run;
    k->fresh = false;
    do {
        __atomic_store_n(&k->in_guest, 1, __ATOMIC_SEQ_CST);
        if (G_UNLIKELY(__atomic_load_n(&cpu->requests, __ATOMIC_SEQ_CST) != k->seen)) {
            leave_guest(k);
            if (!serve_requests(k))
                return complete_io(k);
            continue;
        }
        k->io_pending = false;
        int failed = ioctl(k->fd, KVM_RUN, 0) < 0 ? errno : 0;
        leave_guest(k);
        __atomic_store_n(&cpu->exits, cpu->exits + 1, __ATOMIC_RELAXED);
        if (G_UNLIKELY(failed)) {
            __atomic_store_n(&k->run->immediate_exit, 0, __ATOMIC_RELAXED);
            result = on_run_error(k, failed);
            if (k->seen & VCPU_REQ_INTR)
                kvm_inject_pic(k);
        } else {
            result = handle_exit(k);
        }
    } while (result == RUN_AGAIN && !machine_request_pending(cpu->machine));
    RunResult completed = complete_io(k);
    return result == RUN_AGAIN ? completed : result;
}
