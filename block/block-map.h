/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One flat table in the file with an entry for each block of the disk, as vdi, vhd and vhdx have
 * it: read page by page, changed in memory, and written back behind the data that its entries name.
 */
#ifndef VMRUN_BLOCK_BLOCK_MAP_H
#define VMRUN_BLOCK_BLOCK_MAP_H

#include "block/node.h"
#include "meta-cache.h"

typedef struct BlockMap {
    MetaCache cache;
    uint64_t offset, entries; /* where the table begins, a multiple of 512; its length */
    unsigned entry_bytes;     /* 4 or 8 */
    bool big_endian;
    CoMutex commit_lock;
} BlockMap;

/* offset, entries, entry_bytes and big_endian are set.  The rest of the table's last sector belongs
 * to it. */
void block_map_init(BlockMap *map, BlkFile *file, const NodeMode *mode);
void block_map_fini(BlockMap *map);
/* Bytes from the table's begin to the end of its last sector. */
uint64_t block_map_bytes(const BlockMap *map);
/* One entry; flags: MAP_NOWAIT.  index < entries. (co) */
int block_map_get(BlockMap *map, uint64_t index, unsigned flags, uint64_t *entry);
int block_map_set(BlockMap *map, uint64_t index, uint64_t entry);
/* Writes what changed, after `before` (which may be NULL) and a flush; durable: and flushes. (co)
 */
int block_map_commit(BlockMap *map, int (*before)(void *opaque), void *opaque, bool durable);
/* Calls fn for each entry in order, reading the table in large pieces past the cache; stops at what
 * is not 0, which it returns.  Nothing may have been set. (co) */
int block_map_scan(BlockMap *map, int (*fn)(uint64_t index, uint64_t entry, void *opaque),
                   void *opaque);

#endif
