/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * End of interrupt for level-triggered IOAPIC pins.
 *
 * KVM tells of it by KVM_EXIT_IOAPIC_EOI.  A KVM that emulates the kernel of the guest in batches
 * may carry out EOI and a HLT that follows in one go and then sleep on the exit, so that the line
 * stays blocked until something else wakes the CPU.  So while the EOI of a level interrupt is
 * outstanding a timer looks, from its second tick on, whether any local APIC still has the vector
 * requested or in service; if none has, the EOI has happened.
 */
#include "kvm_private.h"

#include <string.h>

#include "util/bytes.h"
#include "util/log.h"

enum {
    APIC_ISR = 0x100,
    APIC_IRR = 0x200,
    TICK = 5 * NS_PER_MS,
    TICK_LATE = 1 * NS_PER_MS, /* once an EOI was found to be late */
    TICK_MOST = 1000 * NS_PER_MS,
};

static bool any(const uint32_t bits[8])
{
    for (unsigned i = 0; i < 8; i++)
        if (bits[i])
            return true;
    return false;
}

static void arm(KvmVm *vm, int64_t delay)
{
    vm->eoi_delay = MIN(delay, TICK_MOST);
    timer_arm(&vm->eoi_timer, clock_now(VM_CLOCK_HOST) + vm->eoi_delay);
}

/* Takes the vectors that this CPU still works on out of opaque, a bit map. */
static void still_busy(Vcpu *cpu, void *opaque)
{
    uint32_t *bits = opaque;
    struct kvm_lapic_state lapic;
    if (kvm_ioctl(((KvmCpu *)cpu->engine)->fd, KVM_GET_LAPIC, &lapic) < 0) {
        memset(bits, 0, 8 * sizeof(bits[0]));
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        bits[i] &=
            ~(ld32_le(lapic.regs + APIC_ISR + 16 * i) | ld32_le(lapic.regs + APIC_IRR + 16 * i));
}

/* Main lock held; given up on the way. */
static void find_late(KvmVm *vm)
{
    uint32_t late[8];
    memcpy(late, vm->eoi_suspect, sizeof(late));
    for (unsigned i = 0; i < vm->machine->cpu_count && any(late); i++)
        vcpu_run_on(vm->machine->cpus[i], still_busy, late);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint32_t bit = 1u << vector % 32;
        /* What came meanwhile has taken its bit away. */
        if (!(late[vector / 32] & vm->eoi_suspect[vector / 32] & bit))
            continue;
        log_printf(LOG_KVM, "kvm: the exit for the EOI of vector 0x%02x is late", vector);
        vm->eoi_late = true;
        kvm_eoi(vm, (uint8_t)vector);
    }
}

static void on_tick(void *opaque)
{
    KvmVm *vm = opaque;
    bool running = vm->machine->status == MACHINE_RUNNING;
    if (running && any(vm->eoi_suspect))
        find_late(vm);
    memcpy(vm->eoi_suspect, vm->eoi_waiting, sizeof(vm->eoi_suspect));
    if (any(vm->eoi_waiting) && !timer_armed(&vm->eoi_timer))
        arm(vm, running ? vm->eoi_delay * 2 : TICK_MOST);
}

void kvm_eoi_init(KvmVm *vm)
{
    timer_init(&vm->eoi_timer, vm->machine->loop, VM_CLOCK_HOST, on_tick, vm);
}

void kvm_eoi_fini(KvmVm *vm)
{
    timer_cancel(&vm->eoi_timer);
}

void kvm_eoi_await(KvmVm *vm, uint8_t vector)
{
    uint32_t bit = 1u << vector % 32;
    vm->eoi_waiting[vector / 32] |= bit;
    vm->eoi_suspect[vector / 32] &= ~bit;
    if (vm->eoi_late) {
        vm->eoi_suspect[vector / 32] |= bit;
        arm(vm, TICK_LATE);
    } else if (!timer_armed(&vm->eoi_timer)) {
        arm(vm, TICK);
    }
}

void kvm_eoi(KvmVm *vm, uint8_t vector)
{
    Machine *machine = vm->machine;
    uint32_t bit = 1u << vector % 32;
    log_printf(LOG_INT, "kvm: EOI of vector 0x%02x", vector);
    bool entered = loop_enter(machine->loop);
    vm->eoi_waiting[vector / 32] &= ~bit;
    vm->eoi_suspect[vector / 32] &= ~bit;
    if (machine->ioapic_eoi)
        machine->ioapic_eoi(machine, vector);
    loop_leave(machine->loop, entered);
}
