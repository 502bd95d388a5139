/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts of the 8259 pair, which go to KVM when the guest can take them, and windows that KVM
 * does not see.
 *
 * A KVM that emulates ring 0 may look for interrupts only where it has come to the end of a batch
 * of instructions, a thousand of them perhaps.  A guest that polls with its interrupts off, and
 * lets them in for a moment in each round (BIOS keyboard services under GRUB, say), has the same
 * ends of batches in each round, and the moment is between two of them for ever.  A signal ends a
 * batch anywhere.  So a CPU whose interrupt has waited longer than guests are used to kicks itself
 * until the window is met.
 */
#include "kvm_private.h"

#include <signal.h>
#include <unistd.h>

#include "util/log.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum {
    /* Nothing to KVM, whose own APIC has these; but they must not keep a CPU out of the guest. */
    REQUESTS_OF_SOFT_APIC = VCPU_REQ_INIT | VCPU_REQ_SIPI | VCPU_REQ_APIC,
    PATIENCE_NS = 10000000, /* well below the time between two ticks of a BIOS clock */
    KICK_GAP_NS = 100000,
};

void kvm_window_init(KvmCpu *k)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK_SIGNAL};
    event.sigev_notify_thread_id = gettid();
    k->has_kicker = timer_create(CLOCK_MONOTONIC, &event, &k->kicker) == 0;
}

void kvm_window_fini(KvmCpu *k)
{
    if (k->has_kicker)
        timer_delete(k->kicker);
    k->has_kicker = false;
}

static void await_window(KvmCpu *k, bool await)
{
    if (k->run->request_interrupt_window == await)
        return;
    k->run->request_interrupt_window = await;
    struct itimerspec time = {{0, await ? KICK_GAP_NS : 0}, {0, await ? PATIENCE_NS : 0}};
    if (k->has_kicker)
        timer_settime(k->kicker, 0, &time, NULL);
}

void kvm_inject_pic(KvmCpu *k)
{
    Machine *machine = k->vm->machine;
    if (k->run->ready_for_interrupt_injection && vcpu_requested(k->cpu, VCPU_REQ_INTR)) {
        bool entered = loop_enter(machine->loop);
        int vector = machine->pic_ack ? machine->pic_ack(machine) : -1;
        loop_leave(machine->loop, entered);
        if (vector >= 0) {
            log_printf(LOG_INT, "kvm: 8259 interrupt, vector 0x%02x", (unsigned)vector);
            struct kvm_interrupt interrupt = {.irq = (uint32_t)vector};
            int result = kvm_ioctl(k->fd, KVM_INTERRUPT, &interrupt);
            if (result < 0)
                report_warn("kvm: interrupt vector %d was refused: %s", vector,
                            g_strerror(-result));
            k->run->ready_for_interrupt_injection = 0;
            await_window(k, false);
        }
    }
    k->seen = __atomic_load_n(&k->cpu->requests, __ATOMIC_ACQUIRE) &
              (VCPU_REQ_INTR | REQUESTS_OF_SOFT_APIC);
    await_window(k, (k->seen & VCPU_REQ_INTR) != 0);
}
