/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces: a region tree flattened into an immutable FlatView that readers use without a
 * lock, and the accesses made through it.
 */
#ifndef VMRUN_HW_CORE_ADDRESS_SPACE_H
#define VMRUN_HW_CORE_ADDRESS_SPACE_H

#include "hw/core/region.h"

typedef struct FlatRange {
    hwaddr start;
    uint64_t size;
    Region *region; /* of kind REGION_RAM or REGION_IO */
    hwaddr offset;  /* of start in region */
    bool readonly;  /* RAM only */
    unsigned dirty_clients;
} FlatRange;

/* Sorted by start, without overlaps. */
typedef struct FlatView {
    unsigned count;
    FlatRange ranges[];
} FlatView;

typedef struct AddressSpace AddressSpace;

/* Called with the main lock held when a new view has been published; both views are valid during
 * the call.  The first call of a listener has an empty old view. */
typedef void ViewChangedFn(void *opaque, AddressSpace *as, const FlatView *old_view,
                           const FlatView *new_view);

struct AddressSpace {
    const char *name;
    Region *root;
    FlatView *view;    /* atomic; read it through as_view() inside rcu_read_lock() */
    uint64_t width;    /* mask of valid address bits: 0xffff for ports */
    GArray *listeners; /* private */
};

typedef enum { MEM_OK, MEM_UNASSIGNED } MemResult;

/* root stays the caller's. width_mask: 0xffff for ports, UINT64_MAX for memory. Main lock held. */
void as_init(AddressSpace *as, const char *name, Region *root, uint64_t width_mask);
void as_fini(AddressSpace *as);
void as_add_listener(AddressSpace *as, ViewChangedFn *fn, void *opaque);
void as_remove_listener(AddressSpace *as, ViewChangedFn *fn, void *opaque);

/* The current view; valid until rcu_read_unlock(). */
static inline const FlatView *as_view(const AddressSpace *as)
{
    return __atomic_load_n(&as->view, __ATOMIC_ACQUIRE);
}
/* The range that holds addr, or NULL. */
const FlatRange *view_find(const FlatView *view, hwaddr addr);

/* A CPU's access: RAM, or device callbacks under their loop's lock, split at range borders and to
 * the sizes devices take.  Where nothing answers, reads give all ones.  Any thread. */
MemResult as_read(AddressSpace *as, hwaddr addr, void *buf, uint64_t length);
MemResult as_write(AddressSpace *as, hwaddr addr, const void *buf, uint64_t length);
/* One access of 1, 2, 4 or 8 bytes. */
MemResult as_load(AddressSpace *as, hwaddr addr, unsigned size, uint64_t *value);
MemResult as_store(AddressSpace *as, hwaddr addr, unsigned size, uint64_t value);

/*
 * A device's access (DMA): RAM only.  It never calls a device, so no register access can be
 * re-entered from one.  Bytes that are not RAM read as ones, writes to them are dropped, and the
 * call returns MEM_UNASSIGNED.  Any thread, no lock needed.
 */
MemResult dma_read(AddressSpace *as, hwaddr addr, void *buf, uint64_t length);
MemResult dma_write(AddressSpace *as, hwaddr addr, const void *buf, uint64_t length);
MemResult dma_fill(AddressSpace *as, hwaddr addr, uint8_t byte, uint64_t length);
uint16_t dma_read16(AddressSpace *as, hwaddr addr); /* little-endian; ones where there is no RAM */
uint32_t dma_read32(AddressSpace *as, hwaddr addr);
uint64_t dma_read64(AddressSpace *as, hwaddr addr);
void dma_write16(AddressSpace *as, hwaddr addr, uint16_t value);
void dma_write32(AddressSpace *as, hwaddr addr, uint32_t value);
void dma_write64(AddressSpace *as, hwaddr addr, uint64_t value);

/*
 * Host pointer to as much of guest RAM [addr, addr + *length) as is contiguous; *length is cut to
 * it.  NULL if addr is not RAM (or is ROM and for_write).  The pointer stays valid: RAM blocks live
 * as long as the machine.  After writing, the caller tells dma_unmap() how many bytes it wrote.
 */
void *dma_map(AddressSpace *as, hwaddr addr, uint64_t *length, bool for_write);
void dma_unmap(AddressSpace *as, const void *host, uint64_t written);

/*
 * Port I/O of a CPU, for all engines, string instructions included: count elements of size bytes
 * (1, 2, 4) at one port, to or from data, which advances by size for each element.
 */
void dispatch_pio(AddressSpace *io, uint16_t port, bool write, unsigned size, void *data,
                  uint64_t count);

/* `info mtree`: the tree below the root, or with flat the current view. */
void as_describe(AddressSpace *as, bool flat, GString *out);

#endif
