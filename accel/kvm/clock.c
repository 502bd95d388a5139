/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmclock over a pause: it stands while the CPUs are stopped, as the virtual clock does, and the
 * guest is told that it was stopped, so that its watchdogs do not count the pause.
 */
#include "kvm_private.h"

void kvm_pause_changed(Machine *machine, bool paused)
{
    KvmVm *vm = kvm_vm(machine);
    if (paused) {
        kvm_flush_coalesced(vm);
        vm->clock_valid = kvm_ioctl(vm->vm_fd, KVM_GET_CLOCK, &vm->clock) >= 0;
        return;
    }
    if (!vm->clock_valid)
        return;
    vm->clock_valid = false;
    struct kvm_clock_data clock = {.clock = vm->clock.clock};
    kvm_ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock);
    /* Refused by a CPU whose guest does not use kvmclock. */
    for (unsigned i = 0; vm->has_clock_control && i < machine->cpu_count; i++)
        kvm_ioctl_value(((KvmCpu *)machine->cpus[i]->engine)->fd, KVM_KVMCLOCK_CTRL, 0);
}

bool kvm_get_clock(Machine *machine, uint64_t *ns)
{
    const KvmVm *vm = kvm_vm(machine);
    *ns = vm->clock.clock;
    return vm->clock_valid;
}

void kvm_set_clock(Machine *machine, uint64_t ns)
{
    KvmVm *vm = kvm_vm(machine);
    vm->clock.clock = ns;
    vm->clock_valid = true;
}
