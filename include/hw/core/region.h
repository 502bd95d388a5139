/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regions: the tree of what stands where in memory or port space.
 *
 * A region is a container, an I/O window (callbacks), RAM, or an alias of a part of another region.
 * Where regions overlap inside a container the higher priority wins, then the one added later.  An
 * AddressSpace flattens the tree below its root into a FlatView (hw/core/address_space.h).
 *
 * The tree belongs to the main loop: every function here wants the main lock held.  Changes take
 * effect at once, or at the outermost region_commit() of a region_begin()/region_commit() pair.
 */
#ifndef VMRUN_HW_CORE_REGION_H
#define VMRUN_HW_CORE_REGION_H

#include "hw/core/ram.h"
#include "util/loop.h"

typedef uint64_t hwaddr;

/*
 * Callbacks of an I/O region.  They arrive with the lock of the region's loop held.  offset is from
 * the start of the region; size is 1, 2, 4 or 8 bytes.  Values are little-endian numbers in the low
 * `size` bytes; the bus masks what read returns.
 *
 * The bus splits an access wider than max_size into several, lowest address first, and serves one
 * narrower than min_size by an access of min_size at the aligned offset: a read is shifted and cut,
 * a write arrives with the bytes in their lanes and zeroes elsewhere.  So a callback sees only
 * sizes from min_size to max_size, and, unless `unaligned`, only offsets that are multiples of the
 * size (misaligned accesses are split into bytes, or into min_size units).
 *
 * A NULL read returns all ones, a NULL write is dropped.
 */
typedef struct RegionOps {
    uint64_t (*read)(void *opaque, hwaddr offset, unsigned size);
    void (*write)(void *opaque, hwaddr offset, uint64_t value, unsigned size);
    uint8_t min_size; /* 0 means 1 */
    uint8_t max_size; /* 0 means 4 */
    bool unaligned;
} RegionOps;

typedef enum { REGION_CONTAINER, REGION_IO, REGION_RAM, REGION_ALIAS } RegionKind;

typedef struct Region Region;
struct Region {
    /* Private to hw/core; read-only for others. */
    const char *name;
    RegionKind kind;
    bool enabled;
    bool readonly;  /* RAM: writes are dropped (ROM) */
    bool coalesced; /* I/O: writes may be batched by the engine until the next exit */
    int priority;
    uint64_t size;
    hwaddr addr; /* in the parent */
    Region *parent;
    GPtrArray *children; /* of Region, highest priority first */
    const RegionOps *ops;
    void *opaque;
    EventLoop *loop;
    RamBlock *ram;
    Region *target; /* alias */
    hwaddr target_offset;
    unsigned dirty_clients; /* RAM: bit mask of DirtyClient that log it */
    GArray *doorbells;      /* I/O: of Doorbell */
};

/* A write that the engine may turn into an eventfd without an exit (KVM_IOEVENTFD). */
typedef struct Doorbell {
    hwaddr offset;
    unsigned size; /* 1, 2, 4, 8; 0: any size */
    bool match;    /* only when the value equals data */
    uint64_t data;
    int fd; /* eventfd, owned by the caller */
} Doorbell;

/* The size that stands for the whole 64-bit space. */
#define REGION_ALL UINT64_MAX

/* Each init function prepares an enabled region without a parent.  name is not copied.  A region
 * lives inside its owner; region_fini() takes it out of its parent and frees what it holds. */
void region_init_container(Region *region, const char *name, uint64_t size);
/* loop: whose lock guards the callbacks; NULL is the main loop. */
void region_init_io(Region *region, const char *name, uint64_t size, const RegionOps *ops,
                    void *opaque, EventLoop *loop);
/* Allocates size bytes (rounded up to 4 KiB) of zeroed guest RAM. */
bool region_init_ram(Region *region, const char *name, uint64_t size, GError **error);
/* As RAM, but guest writes are dropped; the owner fills region_ram_ptr(). */
bool region_init_rom(Region *region, const char *name, uint64_t size, GError **error);
void region_init_alias(Region *region, const char *name, Region *target, hwaddr offset,
                       uint64_t size);
void region_fini(Region *region);

void region_add(Region *parent, hwaddr addr, Region *child); /* priority 0 */
void region_add_overlap(Region *parent, hwaddr addr, Region *child, int priority);
void region_remove(Region *child); /* no-op without a parent */
void region_set_enabled(Region *region, bool enabled);
void region_set_addr(Region *region, hwaddr addr);
void region_set_size(Region *region, uint64_t size);
void region_set_alias_offset(Region *region, hwaddr offset);
/* RAM and aliases of RAM: writes are dropped. */
void region_set_readonly(Region *region, bool readonly);
void region_set_coalesced(Region *region, bool coalesced);
/* Switches dirty logging of a RAM region for one client (hw/core/ram.h) on or off. */
void region_set_dirty_log(Region *region, DirtyClient client, bool on);
/* The engine writes fd when the guest writes there, if it can; else the write callback is called
 * as ever, so a device must serve both. */
void region_add_doorbell(Region *region, const Doorbell *bell);
void region_remove_doorbell(Region *region, const Doorbell *bell);

/* Batches changes; nests. */
void region_begin(void);
void region_commit(void);

/* Host address of a RAM region's bytes. */
static inline uint8_t *region_ram_ptr(const Region *region)
{
    return region->ram->host;
}

#endif
