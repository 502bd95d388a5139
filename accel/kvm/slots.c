/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory: the RAM ranges of a FlatView become KVM memory slots.
 *
 * A slot cannot be moved, shrunk or made read-only in place: it is deleted and made anew.  Memory
 * that stays mapped must not vanish under a running CPU meanwhile (its access would look like one
 * to a device), so such a change happens with all CPUs parked outside the guest.  Slots end at 1
 * MiB: below it the firmware's shadowing (PAM) changes the layout again and again, and the large
 * slot above, whose page tables are costly to lose, stays as it is.
 */
#include "kvm_private.h"

#include <inttypes.h>
#include <string.h>

#include "util/bytes.h"
#include "util/log.h"

#define SLOT_BORDER (1ULL << 20)
/* Of the code of guests only software engines keep a log. */
#define SLOT_DIRTY_CLIENTS (1u << DIRTY_VGA | 1u << DIRTY_MIGRATION)

/* ---- What a view asks for ---- */

static void want(GArray *wanted, const FlatRange *range, hwaddr start, hwaddr end)
{
    hwaddr first = align_up(start, RAM_PAGE_SIZE), last = align_down(end, RAM_PAGE_SIZE);
    uint64_t offset = range->offset + (first - range->start);
    if (first >= last || offset % RAM_PAGE_SIZE)
        return;
    KvmSlot slot = {.gpa = first, .size = last - first, .ram = range->region->ram};
    slot.offset = offset;
    if (range->readonly)
        slot.flags |= KVM_MEM_READONLY;
    if (range->dirty_clients & SLOT_DIRTY_CLIENTS)
        slot.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    g_array_append_val(wanted, slot);
}

static GArray *wanted_slots(const KvmVm *vm, const FlatView *view)
{
    GArray *wanted = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    for (unsigned i = 0; i < view->count; i++) {
        const FlatRange *range = &view->ranges[i];
        hwaddr end = range->start + range->size;
        if (range->region->kind != REGION_RAM || end < range->start)
            continue;
        if (range->start < SLOT_BORDER && end > SLOT_BORDER) {
            want(wanted, range, range->start, SLOT_BORDER);
            want(wanted, range, SLOT_BORDER, end);
        } else {
            want(wanted, range, range->start, end);
        }
    }
    if (wanted->len > vm->max_slots) {
        report_warn("kvm: %u pieces of memory, but only %u slots: the rest will be slow",
                    wanted->len, vm->max_slots);
        g_array_set_size(wanted, vm->max_slots);
    }
    return wanted;
}

/* ---- Dirty log ---- */

static void mark_bits(const KvmSlot *slot, const uint64_t *bitmap)
{
    uint64_t pages = slot->size >> RAM_PAGE_BITS;
    for (uint64_t page = 0; page < pages;) {
        if (page % 64 == 0 && !bitmap[page / 64]) {
            page += 64;
            continue;
        }
        uint64_t first = page;
        while (page < pages && (bitmap[page / 64] >> page % 64 & 1))
            page++;
        if (page > first)
            ram_mark_dirty(slot->ram, slot->offset + (first << RAM_PAGE_BITS),
                           (page - first) << RAM_PAGE_BITS);
        else
            page++;
    }
}

static void sync_slot(KvmVm *vm, const KvmSlot *slot)
{
    if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
        return;
    uint64_t words = (slot->size >> RAM_PAGE_BITS) / 64 + 1;
    g_autofree uint64_t *bitmap = g_new0(uint64_t, words);
    struct kvm_dirty_log log = {.slot = slot->id, .dirty_bitmap = bitmap};
    if (kvm_ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &log) >= 0)
        mark_bits(slot, bitmap);
}

void kvm_dirty_sync(Machine *machine, Region *region)
{
    KvmVm *vm = kvm_vm(machine);
    kvm_flush_coalesced(vm);
    for (guint i = 0; i < vm->slots->len; i++) {
        const KvmSlot *slot = &g_array_index(vm->slots, KvmSlot, i);
        if (slot->ram == region->ram)
            sync_slot(vm, slot);
    }
}

/* ---- Applying ---- */

static void set_slot(KvmVm *vm, const KvmSlot *slot, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot->id,
        .flags = slot->flags,
        .guest_phys_addr = slot->gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->ram->host + slot->offset,
    };
    log_printf(LOG_KVM, "kvm: slot %u: %" PRIx64 " + %" PRIx64 " flags %x", slot->id, slot->gpa,
               size, slot->flags);
    int result = kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
    if (result >= 0)
        return;
    report_error("kvm: memory slot at 0x%" PRIx64 ", 0x%" PRIx64 " bytes: %s", slot->gpa, size,
                 g_strerror(-result));
    machine_request_shutdown(vm->machine, SHUTDOWN_ERROR);
}

static bool same_place(const KvmSlot *a, const KvmSlot *b)
{
    const uint32_t fixed = ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
    return a->gpa == b->gpa && a->size == b->size && a->ram == b->ram && a->offset == b->offset &&
           (a->flags & fixed) == (b->flags & fixed);
}

static bool overlap(const KvmSlot *a, const KvmSlot *b)
{
    return a->gpa < b->gpa + b->size && b->gpa < a->gpa + a->size;
}

/* The first slot of the sorted array that ends after gpa, or NULL. */
static KvmSlot *slot_at(GArray *slots, hwaddr gpa)
{
    guint lo = 0, hi = slots->len;
    while (lo < hi) {
        guint mid = (lo + hi) / 2;
        const KvmSlot *slot = &g_array_index(slots, KvmSlot, mid);
        if (slot->gpa + slot->size <= gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < slots->len ? &g_array_index(slots, KvmSlot, lo) : NULL;
}

/* The slot of the same place, or NULL. */
static KvmSlot *slot_match(GArray *slots, const KvmSlot *slot)
{
    KvmSlot *found = slot_at(slots, slot->gpa);
    return found && same_place(found, slot) ? found : NULL;
}

/* Whether a slot goes whose memory, or a part of it, stays mapped. */
static bool needs_parking(KvmVm *vm, GArray *wanted)
{
    for (guint i = 0; i < vm->slots->len; i++) {
        const KvmSlot *old = &g_array_index(vm->slots, KvmSlot, i);
        const KvmSlot *next = slot_at(wanted, old->gpa);
        if (next && overlap(old, next) && !same_place(old, next))
            return true;
    }
    return false;
}

static uint32_t slot_id(KvmVm *vm)
{
    if (!vm->slot_free->len)
        return vm->slot_next++;
    uint32_t id = g_array_index(vm->slot_free, uint32_t, vm->slot_free->len - 1);
    g_array_set_size(vm->slot_free, vm->slot_free->len - 1);
    return id;
}

static void remove_slots(KvmVm *vm, GArray *wanted)
{
    for (guint i = 0; i < vm->slots->len; i++) {
        const KvmSlot *old = &g_array_index(vm->slots, KvmSlot, i);
        if (slot_match(wanted, old))
            continue;
        sync_slot(vm, old);
        set_slot(vm, old, 0);
        g_array_append_val(vm->slot_free, old->id);
    }
}

static void add_slots(KvmVm *vm, GArray *wanted)
{
    for (guint i = 0; i < wanted->len; i++) {
        KvmSlot *slot = &g_array_index(wanted, KvmSlot, i);
        const KvmSlot *old = slot_match(vm->slots, slot);
        slot->id = old ? old->id : slot_id(vm);
        if (old && old->flags == slot->flags)
            continue;
        if (old)
            sync_slot(vm, old);
        set_slot(vm, slot, slot->size);
    }
}

void kvm_memory_changed(void *opaque, AddressSpace *as, const FlatView *old_view,
                        const FlatView *new_view)
{
    KvmVm *vm = opaque;
    kvm_flush_coalesced(vm);
    GArray *wanted = wanted_slots(vm, new_view);
    bool park = needs_parking(vm, wanted);
    if (park)
        kvm_park(vm);
    remove_slots(vm, wanted);
    add_slots(vm, wanted);
    if (park)
        kvm_unpark(vm);
    g_array_free(vm->slots, TRUE);
    vm->slots = wanted;
    kvm_zones_changed(vm, new_view);
    kvm_doorbells_changed(vm, new_view, false);
}

void kvm_slots_describe(KvmVm *vm, GString *out)
{
    for (guint i = 0; i < vm->slots->len; i++) {
        const KvmSlot *slot = &g_array_index(vm->slots, KvmSlot, i);
        g_string_append_printf(out,
                               "slot %-3u %016" PRIx64 "-%016" PRIx64 " %s+0x%" PRIx64 "%s%s\n",
                               slot->id, slot->gpa, slot->gpa + slot->size - 1, slot->ram->name,
                               slot->offset, slot->flags & KVM_MEM_READONLY ? " rom" : "",
                               slot->flags & KVM_MEM_LOG_DIRTY_PAGES ? " log" : "");
    }
}
