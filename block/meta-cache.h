/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages of an image's tables, cached and written back by whoever knows the right order.
 *
 * A page is pinned from get to put, and only across points that cannot yield, except while it
 * loads. Dirty pages are never evicted: the cache grows past its limit until the format writes back
 * (meta_crowded() says when).  Writing back works on copies taken at one moment (meta_collect()),
 * so changes made meanwhile wait for the next round and order is kept by the rounds.
 */
#ifndef VMRUN_BLOCK_META_CACHE_H
#define VMRUN_BLOCK_META_CACHE_H

#include "block/file.h"

typedef struct MetaCache MetaCache;

typedef struct MetaPage {
    uint64_t offset; /* in the file */
    uint8_t *data;
    MetaCache *cache;
    unsigned pins;
    bool loading;
    bool orphan;                   /* out of the cache; freed by the last who has it pinned */
    uint32_t dirty_from, dirty_to; /* bytes; equal: clean */
    CoQueue waiting;               /* for the load */
    struct MetaPage *prev, *next;  /* least recently used last */
} MetaPage;

struct MetaCache {
    BlkFile *file;
    unsigned page_bytes;   /* a power of two */
    BlkEvent load, update; /* for fault injection; may be set after meta_init() */
    unsigned max_pages;
    GHashTable *pages; /* offset -> MetaPage */
    MetaPage *newest, *oldest;
    unsigned count, dirty;
};

void meta_init(MetaCache *cache, BlkFile *file, unsigned page_bytes, uint64_t max_bytes);
void meta_fini(MetaCache *cache);
/* Forgets all pages, whoever has them pinned. */
void meta_drop_all(MetaCache *cache);

/* The page at offset (a multiple of the page size), pinned. (co) */
int meta_get(MetaCache *cache, uint64_t offset, MetaPage **page);
/* The same without waiting: -EAGAIN if it must be read and the host has it not at hand. */
int meta_get_nowait(MetaCache *cache, uint64_t offset, MetaPage **page);
/* A page that is known to be all zeros in the file; pinned. */
MetaPage *meta_get_zeroed(MetaCache *cache, uint64_t offset);
void meta_put(MetaPage *page);
/* Bytes [from, to) of a pinned page were changed. */
void meta_dirty(MetaPage *page, uint32_t from, uint32_t to);
/* Drops what is cached of a range that was freed; waits for loads under way. (co) */
void meta_forget(MetaCache *cache, uint64_t offset, uint64_t bytes);
bool meta_crowded(const MetaCache *cache);

/* A change to be written, as it was when it was collected. */
typedef struct MetaWrite {
    MetaPage *page; /* pinned; NULL: not of a cache */
    uint64_t offset;
    uint32_t bytes;
    uint8_t *copy;
} MetaWrite;

/* Moves all dirty ranges into writes (of MetaWrite) and counts them clean. */
void meta_collect(MetaCache *cache, GArray *writes);
/* Writes them all; they stay in the list. (co) */
int meta_write(BlkFile *file, const GArray *writes);
/* Frees the list; written false: its pages are dirty again. */
void meta_release(GArray *writes, bool written);

#endif
