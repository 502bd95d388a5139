/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU accesses through an address space: RAM directly, devices under their loop's lock. */
#include "hw/core/address_space.h"

#include <inttypes.h>

#include "as_private.h"
#include "util/bytes.h"
#include "util/log.h"
#include "util/rcu.h"

/* ---- One access to a device, cut to the sizes it takes ---- */

static unsigned min_size(const RegionOps *ops)
{
    return ops->min_size ? ops->min_size : 1;
}

static unsigned max_size(const RegionOps *ops)
{
    return ops->max_size ? ops->max_size : 4;
}

static bool fits(const RegionOps *ops, hwaddr offset, unsigned size)
{
    return size >= min_size(ops) && size <= max_size(ops) && is_pow2(size) &&
           (ops->unaligned || !(offset & (size - 1)));
}

/* The size of the parts that an access which does not fit is cut into. */
static unsigned part_size(const RegionOps *ops, hwaddr offset, unsigned size)
{
    unsigned part = min_size(ops);
    while (part * 2 <= MIN(size, max_size(ops)) &&
           (ops->unaligned || !((offset | size) & (part * 2 - 1))))
        part *= 2;
    return part;
}

static uint64_t call_read(const Region *region, hwaddr offset, unsigned size)
{
    const RegionOps *ops = region->ops;
    return (ops->read ? ops->read(region->opaque, offset, size) : UINT64_MAX) & size_mask(size);
}

static void call_write(const Region *region, hwaddr offset, uint64_t value, unsigned size)
{
    if (region->ops->write)
        region->ops->write(region->opaque, offset, value & size_mask(size), size);
}

uint64_t region_io_read(const Region *region, hwaddr offset, unsigned size)
{
    const RegionOps *ops = region->ops;
    if (fits(ops, offset, size))
        return call_read(region, offset, size);
    unsigned part = part_size(ops, offset, size);
    hwaddr at = ops->unaligned && size >= part ? offset : align_down(offset, part);
    uint64_t value = 0;
    for (; at < offset + size; at += part) {
        uint64_t piece = call_read(region, at, part);
        if (at >= offset)
            value |= at - offset < 8 ? piece << 8 * (at - offset) : 0;
        else
            value |= piece >> 8 * (offset - at);
    }
    return value & size_mask(size);
}

void region_io_write(const Region *region, hwaddr offset, uint64_t value, unsigned size)
{
    const RegionOps *ops = region->ops;
    if (fits(ops, offset, size)) {
        call_write(region, offset, value, size);
        return;
    }
    unsigned part = part_size(ops, offset, size);
    hwaddr at = ops->unaligned && size >= part ? offset : align_down(offset, part);
    value &= size_mask(size);
    for (; at < offset + size; at += part) {
        uint64_t piece = at >= offset ? value >> 8 * (at - offset) : value << 8 * (offset - at);
        call_write(region, at, piece, part);
    }
}

static uint64_t device_read(const Region *region, hwaddr offset, unsigned size)
{
    bool entered = loop_enter(region->loop);
    uint64_t value = region_io_read(region, offset, size);
    loop_leave(region->loop, entered);
    return value;
}

static void device_write(const Region *region, hwaddr offset, uint64_t value, unsigned size)
{
    bool entered = loop_enter(region->loop);
    region_io_write(region, offset, value, size);
    loop_leave(region->loop, entered);
}

/* ---- RAM: naturally aligned accesses are single, as a guest's atomics expect ---- */

static void ram_copy(void *to, const void *from, uint64_t length)
{
    uintptr_t both = (uintptr_t)to | (uintptr_t)from;
    if (length == 4 && !(both & 3))
        __atomic_store_n((uint32_t *)to, __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (length == 8 && !(both & 7))
        __atomic_store_n((uint64_t *)to, __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else if (length == 2 && !(both & 1))
        __atomic_store_n((uint16_t *)to, __atomic_load_n((const uint16_t *)from, __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    else
        memcpy(to, from, length);
}

static void ram_write(const FlatRange *range, hwaddr offset, const void *buf, uint64_t length)
{
    if (range->readonly)
        return;
    ram_copy(range->region->ram->host + offset, buf, length);
    if (range->dirty_clients || __atomic_load_n(&range->region->ram->code, __ATOMIC_RELAXED))
        ram_mark_dirty(range->region->ram, offset, length);
}

/* ---- Ranges ---- */

/* How far an access at addr goes before something else begins, at most length. */
static uint64_t gap_length(const FlatView *view, hwaddr addr, uint64_t length)
{
    for (unsigned i = 0; i < view->count; i++)
        if (view->ranges[i].start > addr)
            return MIN(length, view->ranges[i].start - addr);
    return length;
}

/* The largest power of two up to 8 that is at most length. */
static unsigned access_size(uint64_t length)
{
    return length >= 8 ? 8 : length >= 4 ? 4 : length >= 2 ? 2 : 1;
}

static void log_access(const AddressSpace *as, bool write, hwaddr addr, unsigned size,
                       uint64_t value)
{
    log_printf(as->width == 0xffff ? LOG_PIO : LOG_MMIO, "%s %s %0*" PRIx64 " %u: %" PRIx64,
               as->name, write ? "write" : "read", as->width == 0xffff ? 4 : 8, addr, size, value);
}

static MemResult unassigned(const AddressSpace *as, bool write, hwaddr addr, uint64_t length)
{
    log_guest(LOG_UNASSIGNED, "%s: %s of %" PRIu64 " bytes at 0x%" PRIx64 ": nothing is there",
              as->name, write ? "write" : "read", length, addr);
    return MEM_UNASSIGNED;
}

MemResult as_read(AddressSpace *as, hwaddr addr, void *buf, uint64_t length)
{
    MemResult result = MEM_OK;
    uint8_t *to = buf;
    rcu_read_lock();
    const FlatView *view = as_view(as);
    while (length) {
        addr &= as->width;
        const FlatRange *range = view_find(view, addr);
        uint64_t part = length;
        if (!range) {
            part = gap_length(view, addr, length);
            memset(to, 0xff, part);
            result = unassigned(as, false, addr, part);
        } else {
            hwaddr offset = addr - range->start + range->offset;
            part = MIN(length, range->size - (addr - range->start));
            if (range->region->kind == REGION_RAM) {
                ram_copy(to, range->region->ram->host + offset, part);
            } else {
                part = access_size(part);
                uint64_t value = device_read(range->region, offset, (unsigned)part);
                stn_le(to, (unsigned)part, value);
                log_access(as, false, addr, (unsigned)part, value);
            }
        }
        to += part;
        addr += part;
        length -= part;
    }
    rcu_read_unlock();
    return result;
}

MemResult as_write(AddressSpace *as, hwaddr addr, const void *buf, uint64_t length)
{
    MemResult result = MEM_OK;
    const uint8_t *from = buf;
    rcu_read_lock();
    const FlatView *view = as_view(as);
    while (length) {
        addr &= as->width;
        const FlatRange *range = view_find(view, addr);
        uint64_t part = length;
        if (!range) {
            part = gap_length(view, addr, length);
            result = unassigned(as, true, addr, part);
        } else {
            hwaddr offset = addr - range->start + range->offset;
            part = MIN(length, range->size - (addr - range->start));
            if (range->region->kind == REGION_RAM) {
                ram_write(range, offset, from, part);
            } else {
                part = access_size(part);
                uint64_t value = ldn_le(from, (unsigned)part);
                log_access(as, true, addr, (unsigned)part, value);
                device_write(range->region, offset, value, (unsigned)part);
            }
        }
        from += part;
        addr += part;
        length -= part;
    }
    rcu_read_unlock();
    return result;
}

MemResult as_load(AddressSpace *as, hwaddr addr, unsigned size, uint64_t *value)
{
    uint8_t buf[8] __attribute__((aligned(8)));
    MemResult result = as_read(as, addr, buf, size);
    *value = ldn_le(buf, size);
    return result;
}

MemResult as_store(AddressSpace *as, hwaddr addr, unsigned size, uint64_t value)
{
    uint8_t buf[8] __attribute__((aligned(8)));
    stn_le(buf, size, value);
    return as_write(as, addr, buf, size);
}

/* ---- Ports ---- */

/* The elements of one port access lie in one device: one look-up and one lock for the whole string.
 */
static void pio_device(AddressSpace *io, const FlatRange *range, uint16_t port, bool write,
                       unsigned size, uint8_t *data, uint64_t count)
{
    const Region *region = range->region;
    hwaddr offset = port - range->start + range->offset;
    bool entered = loop_enter(region->loop);
    for (; count--; data += size) {
        if (write) {
            uint64_t value = ldn_le(data, size);
            log_access(io, true, port, size, value);
            region_io_write(region, offset, value, size);
        } else {
            uint64_t value = region_io_read(region, offset, size);
            stn_le(data, size, value);
            log_access(io, false, port, size, value);
        }
    }
    loop_leave(region->loop, entered);
}

void dispatch_pio(AddressSpace *io, uint16_t port, bool write, unsigned size, void *data,
                  uint64_t count)
{
    uint8_t *at = data;
    rcu_read_lock();
    const FlatRange *range = view_find(as_view(io), port);
    if (range && range->region->kind == REGION_IO && port - range->start + size <= range->size) {
        pio_device(io, range, port, write, size, at, count);
    } else {
        for (; count--; at += size) {
            if (write)
                as_write(io, port, at, size);
            else
                as_read(io, port, at, size);
        }
    }
    rcu_read_unlock();
}
