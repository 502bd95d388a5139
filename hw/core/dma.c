/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device accesses to guest RAM.  A device never reaches another device's registers from here. */
#include "hw/core/address_space.h"
#include "util/bytes.h"
#include "util/rcu.h"

/* RAM at addr as a host pointer, *length cut to what is contiguous; NULL and *length cut to the
 * next RAM if there is none.  Inside rcu_read_lock(). */
static uint8_t *ram_at(AddressSpace *as, hwaddr addr, uint64_t *length, bool for_write,
                       const FlatRange **found)
{
    const FlatView *view = as_view(as);
    const FlatRange *range = view_find(view, addr);
    *length = MIN(*length, UINT64_MAX - addr);
    if (!range) {
        for (unsigned i = 0; i < view->count; i++)
            if (view->ranges[i].start > addr) {
                *length = MIN(*length, view->ranges[i].start - addr);
                break;
            }
        return NULL;
    }
    *length = MIN(*length, range->size - (addr - range->start));
    if (range->region->kind != REGION_RAM || (for_write && range->readonly))
        return NULL;
    *found = range;
    return range->region->ram->host + range->offset + (addr - range->start);
}

typedef enum { READ, WRITE, FILL } Direction;

static MemResult move(AddressSpace *as, hwaddr addr, uint8_t *buf, uint8_t byte, uint64_t length,
                      Direction direction)
{
    MemResult result = MEM_OK;
    rcu_read_lock();
    while (length) {
        const FlatRange *range = NULL;
        uint64_t part = length;
        uint8_t *host = ram_at(as, addr, &part, direction != READ, &range);
        if (!part) { /* the very last byte of the space */
            result = MEM_UNASSIGNED;
            break;
        }
        if (!host)
            result = MEM_UNASSIGNED;
        if (direction == READ) {
            if (host)
                memcpy(buf, host, part);
            else
                memset(buf, 0xff, part);
        } else if (host) {
            if (direction == WRITE)
                memcpy(host, buf, part);
            else
                memset(host, byte, part);
            ram_mark_dirty(range->region->ram, (uint64_t)(host - range->region->ram->host), part);
        }
        if (buf)
            buf += part;
        addr += part;
        length -= part;
    }
    rcu_read_unlock();
    return result;
}

MemResult dma_read(AddressSpace *as, hwaddr addr, void *buf, uint64_t length)
{
    return move(as, addr, buf, 0, length, READ);
}

MemResult dma_write(AddressSpace *as, hwaddr addr, const void *buf, uint64_t length)
{
    return move(as, addr, (uint8_t *)buf, 0, length, WRITE);
}

MemResult dma_fill(AddressSpace *as, hwaddr addr, uint8_t byte, uint64_t length)
{
    return move(as, addr, NULL, byte, length, FILL);
}

#define DMA_ACCESSORS(bits)                                                                        \
    uint##bits##_t dma_read##bits(AddressSpace *as, hwaddr addr)                                   \
    {                                                                                              \
        uint##bits##_t value = UINT##bits##_MAX;                                                   \
        dma_read(as, addr, &value, sizeof(value));                                                 \
        return le##bits##toh(value);                                                               \
    }                                                                                              \
    void dma_write##bits(AddressSpace *as, hwaddr addr, uint##bits##_t value)                      \
    {                                                                                              \
        value = htole##bits(value);                                                                \
        dma_write(as, addr, &value, sizeof(value));                                                \
    }
DMA_ACCESSORS(16)
DMA_ACCESSORS(32)
DMA_ACCESSORS(64)

void *dma_map(AddressSpace *as, hwaddr addr, uint64_t *length, bool for_write)
{
    const FlatRange *range;
    rcu_read_lock();
    void *host = ram_at(as, addr, length, for_write, &range);
    rcu_read_unlock();
    return host;
}

void dma_unmap(AddressSpace *as, const void *host, uint64_t written)
{
    GPtrArray *blocks = ram_blocks();
    const uint8_t *at = host;
    for (guint i = 0; written && i < blocks->len; i++) {
        RamBlock *block = g_ptr_array_index(blocks, i);
        if (at >= block->host && at < block->host + block->size) {
            ram_mark_dirty(block, (uint64_t)(at - block->host), written);
            return;
        }
    }
}
