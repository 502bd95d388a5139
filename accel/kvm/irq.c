/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts.  KVM has the local APICs only (KVM_CAP_SPLIT_IRQCHIP); the IOAPIC, the 8259 pair and
 * MSI are vmrun's.
 *
 * The IOAPIC sends its interrupts as MSIs.  KVM learns of its level-triggered pins by a routing
 * table, for one reason: the EOI of such a vector must exit to us (KVM_EXIT_IOAPIC_EOI).  A pin
 * keeps its route while it is masked, since drivers mask a pin between the interrupt and its EOI.
 */
#include "kvm_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/log.h"

enum { MSI_DATA_LEVEL = 1 << 15 };

static void msi_send(Machine *machine, uint64_t address, uint32_t data)
{
    KvmVm *vm = kvm_vm(machine);
    log_printf(LOG_INT, "kvm: message 0x%" PRIx64 " 0x%x", address, data);
    /* Only the IOAPIC sends these, and it does so with the main lock held. */
    if ((data & MSI_DATA_LEVEL) && loop_locked(machine->loop))
        kvm_eoi_await(vm, (uint8_t)data);
    struct kvm_msi msi = {
        .address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
    int result = kvm_ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &msi);
    /* EPERM: there is no such CPU, which is the guest's affair. */
    if (result < 0 && result != -EPERM &&
        !__atomic_exchange_n(&vm->msi_failed, true, __ATOMIC_RELAXED))
        report_warn("kvm: a message-signalled interrupt was refused: %s", g_strerror(-result));
}

/* ---- The routing table; route_lock held ---- */

static struct kvm_irq_routing_entry msi_entry(uint32_t gsi, uint64_t address, uint32_t data)
{
    return (struct kvm_irq_routing_entry){
        .gsi = gsi,
        .type = KVM_IRQ_ROUTING_MSI,
        .u.msi = {.address_lo = (uint32_t)address,
                  .address_hi = (uint32_t)(address >> 32),
                  .data = data},
    };
}

static int set_routes(KvmVm *vm)
{
    unsigned most = KVM_IOAPIC_PINS + vm->routes->len, count = 0;
    g_autofree struct kvm_irq_routing *table =
        g_malloc0(sizeof(*table) + most * sizeof(table->entries[0]));
    for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++)
        if (vm->pins[pin].level)
            table->entries[count++] = msi_entry(pin, vm->pins[pin].address, vm->pins[pin].data);
    for (guint i = 0; i < vm->routes->len; i++) {
        const KvmRoute *route = &g_array_index(vm->routes, KvmRoute, i);
        if (route->fd >= 0)
            table->entries[count++] = msi_entry(KVM_IOAPIC_PINS + i, route->address, route->data);
    }
    table->nr = count;
    int result = kvm_ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, table);
    if (result < 0)
        report_warn("kvm: the table of interrupt routes was refused: %s", g_strerror(-result));
    return result;
}

static void ioapic_route(Machine *machine, unsigned pin, uint64_t address, uint32_t data,
                         bool masked, bool level)
{
    KvmVm *vm = kvm_vm(machine);
    if (masked || pin >= KVM_IOAPIC_PINS)
        return;
    data |= level ? MSI_DATA_LEVEL : 0;
    pthread_mutex_lock(&vm->route_lock);
    bool changed = level != vm->pins[pin].level;
    if (level)
        changed |= vm->pins[pin].address != address || vm->pins[pin].data != data;
    vm->pins[pin].level = level;
    vm->pins[pin].address = address;
    vm->pins[pin].data = data;
    if (changed)
        set_routes(vm);
    pthread_mutex_unlock(&vm->route_lock);
}

void kvm_routes_reset(KvmVm *vm)
{
    pthread_mutex_lock(&vm->route_lock);
    bool changed = false;
    for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
        changed |= vm->pins[pin].level;
        vm->pins[pin].level = false;
    }
    if (changed)
        set_routes(vm);
    pthread_mutex_unlock(&vm->route_lock);
    memset(vm->eoi_waiting, 0, sizeof(vm->eoi_waiting));
    memset(vm->eoi_suspect, 0, sizeof(vm->eoi_suspect));
}

/* ---- irqfd ---- */

static int bind_irqfd(KvmVm *vm, unsigned handle, int fd, bool on)
{
    struct kvm_irqfd args = {.fd = (uint32_t)fd,
                             .gsi = KVM_IOAPIC_PINS + handle,
                             .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};
    return kvm_ioctl(vm->vm_fd, KVM_IRQFD, &args);
}

static unsigned free_route(KvmVm *vm)
{
    for (guint i = 0; i < vm->routes->len; i++)
        if (g_array_index(vm->routes, KvmRoute, i).fd < 0)
            return i;
    g_array_set_size(vm->routes, vm->routes->len + 1);
    return vm->routes->len - 1;
}

static int irqfd_add(Machine *machine, int fd, uint64_t address, uint32_t data)
{
    KvmVm *vm = kvm_vm(machine);
    pthread_mutex_lock(&vm->route_lock);
    unsigned handle = free_route(vm);
    KvmRoute *route = &g_array_index(vm->routes, KvmRoute, handle);
    *route = (KvmRoute){address, data, fd};
    bool ok = set_routes(vm) >= 0 && bind_irqfd(vm, handle, fd, true) >= 0;
    if (!ok)
        route->fd = -1;
    pthread_mutex_unlock(&vm->route_lock);
    return ok ? (int)handle : -1;
}

static void irqfd_set(Machine *machine, int handle, uint64_t address, uint32_t data)
{
    KvmVm *vm = kvm_vm(machine);
    pthread_mutex_lock(&vm->route_lock);
    KvmRoute *route = &g_array_index(vm->routes, KvmRoute, handle);
    if (route->address != address || route->data != data) {
        route->address = address;
        route->data = data;
        set_routes(vm);
    }
    pthread_mutex_unlock(&vm->route_lock);
}

static void irqfd_remove(Machine *machine, int handle)
{
    KvmVm *vm = kvm_vm(machine);
    pthread_mutex_lock(&vm->route_lock);
    KvmRoute *route = &g_array_index(vm->routes, KvmRoute, handle);
    bind_irqfd(vm, (unsigned)handle, route->fd, false);
    route->fd = -1;
    set_routes(vm);
    pthread_mutex_unlock(&vm->route_lock);
}

void kvm_irq_hooks(EngineHooks *hooks)
{
    hooks->msi_send = msi_send;
    hooks->ioapic_route = ioapic_route;
    hooks->irqfd_add = irqfd_add;
    hooks->irqfd_set = irqfd_set;
    hooks->irqfd_remove = irqfd_remove;
}
