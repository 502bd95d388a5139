/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One flat table in the file with an entry for each block of the disk, as vdi, vhd and vhdx have
 * it: read page by page, changed in memory, and written back behind the data that its entries name.
 */
#ifndef VMRUN_BLOCK_BLOCK_MAP_H
#define VMRUN_BLOCK_BLOCK_MAP_H

#include "block/node.h"
#include "meta-cache.h"
#include "repack.h"

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

/* How the blocks of a table lie in the file. */
typedef struct BlockMapCompact {
    BlockMap *map;
    BlkFile *file;
    uint64_t start;      /* no block lies below */
    uint64_t unit, head; /* bytes that a block takes; those at its begin that are not data */
    uint64_t align;      /* of a block's place, counted in the file: a power of two */
    uint64_t zero_entry; /* of a block that reads as zeros and has no place */
    /* Where the block of an entry lies; false: it has no place. */
    bool (*place)(void *opaque, uint64_t index, uint64_t entry, uint64_t *at);
    uint64_t (*entry)(void *opaque, uint64_t at);
    const Piece *fixed; /* what is no block, and does not lie below start for sure */
    unsigned fixed_count;
    int (*before)(void *opaque); /* as of block_map_commit() */
    void *opaque;
} BlockMapCompact;
/* Drops blocks of zeros, and moves the last ones into gaps: as repack(). (co) */
bool block_map_compact(const BlockMapCompact *c, const NodeProgress *progress, uint64_t *end,
                       GError **error);

#endif
