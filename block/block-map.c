/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A flat table of blocks. */
#include "block-map.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"

#define PAGE_BYTES  4096u
#define CACHE_BYTES (16u << 20)
#define SCAN_BYTES  (1u << 20)

void block_map_init(BlockMap *map, BlkFile *file, const NodeMode *mode)
{
    meta_init(&map->cache, file, PAGE_BYTES, mode->l2_cache ? mode->l2_cache : CACHE_BYTES);
}

void block_map_fini(BlockMap *map)
{
    if (map->cache.pages)
        meta_fini(&map->cache);
}

uint64_t block_map_bytes(const BlockMap *map)
{
    return align_up(map->entries * map->entry_bytes, 512);
}

static uint64_t load_entry(const BlockMap *map, const uint8_t *p)
{
    if (map->entry_bytes == 8)
        return map->big_endian ? ld64_be(p) : ld64_le(p);
    return map->big_endian ? ld32_be(p) : ld32_le(p);
}

static void store_entry(const BlockMap *map, uint8_t *p, uint64_t entry)
{
    if (map->entry_bytes == 8)
        map->big_endian ? st64_be(p, entry) : st64_le(p, entry);
    else
        map->big_endian ? st32_be(p, (uint32_t)entry) : st32_le(p, (uint32_t)entry);
}

/* Pages are counted from the table's begin, which may lie anywhere. */
static int get_page(BlockMap *map, uint64_t index, unsigned flags, MetaPage **page, uint32_t *at)
{
    uint64_t byte = index * map->entry_bytes;
    uint64_t start = map->offset + align_down(byte, PAGE_BYTES);
    *at = (uint32_t)(byte % PAGE_BYTES);
    return flags & MAP_NOWAIT ? meta_get_nowait(&map->cache, start, page)
                              : meta_get(&map->cache, start, page);
}

int block_map_get(BlockMap *map, uint64_t index, unsigned flags, uint64_t *entry)
{
    MetaPage *page;
    uint32_t at;
    int ret = get_page(map, index, flags, &page, &at);
    if (ret)
        return ret;
    *entry = load_entry(map, page->data + at);
    meta_put(page);
    return 0;
}

int block_map_set(BlockMap *map, uint64_t index, uint64_t entry)
{
    MetaPage *page;
    uint32_t at;
    int ret = get_page(map, index, 0, &page, &at);
    if (ret)
        return ret;
    store_entry(map, page->data + at, entry);
    meta_dirty(page, at, at + map->entry_bytes);
    meta_put(page);
    return 0;
}

int block_map_commit(BlockMap *map, int (*before)(void *opaque), void *opaque, bool durable)
{
    GArray *writes = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    BlkFile *file = map->cache.file;
    co_mutex_lock(&map->commit_lock);
    meta_collect(&map->cache, writes);
    int ret = writes->len && before ? before(opaque) : 0;
    if (!ret && writes->len)
        ret = file_flush(file); /* (3): data before the entry that names it */
    if (!ret)
        ret = meta_write(file, writes);
    if (!ret && durable)
        ret = file_flush(file);
    meta_release(writes, !ret);
    co_mutex_unlock(&map->commit_lock);
    return ret;
}

int block_map_scan(BlockMap *map, int (*fn)(uint64_t index, uint64_t entry, void *opaque),
                   void *opaque)
{
    uint64_t per_read = SCAN_BYTES / map->entry_bytes;
    uint8_t *buffer = block_alloc(SCAN_BYTES);
    int ret = buffer ? 0 : -ENOMEM;
    for (uint64_t index = 0; index < map->entries && !ret; index += per_read) {
        uint64_t n = MIN(per_read, map->entries - index);
        ret = file_pread(map->cache.file, map->offset + index * map->entry_bytes, buffer,
                         n * map->entry_bytes);
        for (uint64_t i = 0; i < n && !ret; i++)
            ret = fn(index + i, load_entry(map, buffer + i * map->entry_bytes), opaque);
    }
    free(buffer);
    return ret;
}
