/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes that need no exit of their own: doorbells that become ioeventfds, and coalesced MMIO,
 * which KVM collects in a ring until the next exit.
 */
#include "kvm_private.h"

#include <inttypes.h>
#include <string.h>

#include "util/log.h"

/* ---- ioeventfd ---- */

static bool same_doorbell(const KvmDoorbell *a, const KvmDoorbell *b)
{
    return a->addr == b->addr && a->io == b->io && a->bell.size == b->bell.size &&
           a->bell.match == b->bell.match && a->bell.fd == b->bell.fd &&
           (!a->bell.match || a->bell.data == b->bell.data);
}

static bool set_doorbell(KvmVm *vm, const KvmDoorbell *door, bool on)
{
    struct kvm_ioeventfd args = {
        .addr = door->addr,
        .len = door->bell.size,
        .fd = door->bell.fd,
        .datamatch = door->bell.data,
        .flags = (door->io ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
                 (door->bell.match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u) |
                 (on ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    int result = kvm_ioctl(vm->vm_fd, KVM_IOEVENTFD, &args);
    log_printf(LOG_KVM, "kvm: doorbell at %s %" PRIx64 " %s: %s", door->io ? "port" : "address",
               door->addr, on ? "on" : "off", g_strerror(MAX(0, -result)));
    return result >= 0;
}

static void want_doorbells(KvmVm *vm, const FlatRange *range, bool io, GArray *wanted)
{
    const GArray *bells = range->region->doorbells;
    for (guint i = 0; bells && i < bells->len; i++) {
        KvmDoorbell door = {.io = io, .bell = g_array_index(bells, Doorbell, i)};
        if (door.bell.offset < range->offset || door.bell.offset - range->offset >= range->size ||
            (!door.bell.size && !vm->has_ioeventfd_any))
            continue;
        door.addr = range->start + (door.bell.offset - range->offset);
        g_array_append_val(wanted, door);
    }
}

static bool has_doorbell(const GArray *doors, const KvmDoorbell *door)
{
    for (guint i = 0; i < doors->len; i++)
        if (same_doorbell(&g_array_index(doors, KvmDoorbell, i), door))
            return true;
    return false;
}

void kvm_doorbells_changed(KvmVm *vm, const FlatView *view, bool io)
{
    g_autoptr(GArray) wanted = g_array_new(FALSE, FALSE, sizeof(KvmDoorbell));
    for (unsigned i = 0; i < view->count; i++)
        if (view->ranges[i].region->kind == REGION_IO)
            want_doorbells(vm, &view->ranges[i], io, wanted);
    for (guint i = vm->doorbells->len; i-- > 0;) {
        const KvmDoorbell *door = &g_array_index(vm->doorbells, KvmDoorbell, i);
        if (door->io != io || has_doorbell(wanted, door))
            continue;
        set_doorbell(vm, door, false);
        g_array_remove_index_fast(vm->doorbells, i);
    }
    for (guint i = 0; i < wanted->len; i++) {
        const KvmDoorbell *door = &g_array_index(wanted, KvmDoorbell, i);
        /* Where KVM refuses, the device's write callback serves. */
        if (!has_doorbell(vm->doorbells, door) && set_doorbell(vm, door, true))
            g_array_append_vals(vm->doorbells, door, 1);
    }
}

void kvm_ports_changed(void *opaque, AddressSpace *as, const FlatView *old_view,
                       const FlatView *new_view)
{
    kvm_doorbells_changed(opaque, new_view, true);
}

/* ---- Coalesced MMIO ---- */

static bool set_zone(KvmVm *vm, const KvmZone *zone, bool on)
{
    struct kvm_coalesced_mmio_zone args = {.addr = zone->addr, .size = (uint32_t)zone->size};
    return kvm_ioctl(vm->vm_fd, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO,
                     &args) >= 0;
}

static bool has_zone(const GArray *zones, const KvmZone *zone)
{
    for (guint i = 0; i < zones->len; i++)
        if (!memcmp(&g_array_index(zones, KvmZone, i), zone, sizeof(*zone)))
            return true;
    return false;
}

/* Only regions of the main loop: the ring is emptied under its lock. */
static GArray *wanted_zones(const KvmVm *vm, const FlatView *view)
{
    GArray *wanted = g_array_new(FALSE, FALSE, sizeof(KvmZone));
    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];
        if (range->region->kind != REGION_IO || !range->region->coalesced ||
            range->region->loop != vm->machine->loop || range->size > UINT32_MAX)
            continue;
        KvmZone zone = {range->start, range->size};
        g_array_append_val(wanted, zone);
    }
    return wanted;
}

void kvm_zones_changed(KvmVm *vm, const FlatView *view)
{
    GArray *wanted = wanted_zones(vm, view);
    for (guint i = 0; i < vm->zones->len; i++) {
        const KvmZone *zone = &g_array_index(vm->zones, KvmZone, i);
        if (!has_zone(wanted, zone))
            set_zone(vm, zone, false);
    }
    for (guint i = wanted->len; i-- > 0;) {
        const KvmZone *zone = &g_array_index(wanted, KvmZone, i);
        if (!has_zone(vm->zones, zone) && !set_zone(vm, zone, true))
            g_array_remove_index_fast(wanted, i);
    }
    g_array_free(vm->zones, TRUE);
    vm->zones = wanted;
}

/* The ring is KVM's to fill (`last`) and ours to empty (`first`), under the main lock.  A write may
 * come back here through the device (a change of the layout, a look at the dirty log): the outer
 * call goes on then.  No more than a full ring is served at once, for other CPUs may go on filling.
 */
void kvm_flush_coalesced(KvmVm *vm)
{
    struct kvm_coalesced_mmio_ring *ring = vm->ring;
    if (!ring || __atomic_load_n(&ring->first, __ATOMIC_RELAXED) ==
                     __atomic_load_n(&ring->last, __ATOMIC_RELAXED))
        return;
    EventLoop *loop = vm->machine->loop;
    bool entered = loop_enter(loop);
    if (!vm->flushing) {
        vm->flushing = true;
        for (uint32_t i = 0; i < vm->ring_size; i++) {
            uint32_t first = ring->first;
            if (first >= vm->ring_size || first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
                break;
            struct kvm_coalesced_mmio entry = ring->coalesced_mmio[first];
            __atomic_store_n(&ring->first, (first + 1) % vm->ring_size, __ATOMIC_RELEASE);
            as_write(&vm->machine->mem, entry.phys_addr, entry.data,
                     MIN(entry.len, sizeof(entry.data)));
        }
        vm->flushing = false;
    }
    loop_leave(loop, entered);
}
