/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cached pages of image tables. */
#include "meta-cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#ifdef BLOCK_STRESS
#define MIN_PAGES 2u
#else
#define MIN_PAGES 8u
#endif
#define EVICT_LOOKS 32 /* pages looked at for one to evict */
#define WRITE_UNIT  512u

static void *key_of(uint64_t offset)
{
    return (void *)(uintptr_t)offset;
}

void meta_init(MetaCache *cache, BlkFile *file, unsigned page_bytes, uint64_t max_bytes)
{
    *cache = (MetaCache){.file = file, .page_bytes = page_bytes};
#ifdef BLOCK_STRESS
    max_bytes = 0;
#endif
    cache->max_pages = (unsigned)CLAMP(max_bytes / page_bytes, MIN_PAGES, 1u << 20);
    cache->pages = g_hash_table_new(g_direct_hash, g_direct_equal);
}

/* ---- The list of pages, newest first ---- */

static void page_unlink(MetaPage *page)
{
    MetaCache *cache = page->cache;
    *(page->prev ? &page->prev->next : &cache->newest) = page->next;
    *(page->next ? &page->next->prev : &cache->oldest) = page->prev;
}

static void page_link(MetaPage *page)
{
    MetaCache *cache = page->cache;
    page->prev = NULL;
    page->next = cache->newest;
    *(page->next ? &page->next->prev : &cache->oldest) = page;
    cache->newest = page;
}

static MetaPage *page_find(MetaCache *cache, uint64_t offset)
{
    return g_hash_table_lookup(cache->pages, key_of(offset));
}

static void page_free(MetaPage *page)
{
    free(page->data);
    g_free(page);
}

static void page_forget(MetaPage *page)
{
    MetaCache *cache = page->cache;
    g_hash_table_remove(cache->pages, key_of(page->offset));
    page_unlink(page);
    cache->count--;
    cache->dirty -= page->dirty_to != 0;
}

static void page_drop(MetaPage *page)
{
    page_forget(page);
    page_free(page);
}

static void evict(MetaCache *cache)
{
    MetaPage *page = cache->oldest;
    for (int i = 0; i < EVICT_LOOKS && page && cache->count >= cache->max_pages; i++) {
        MetaPage *newer = page->prev;
        if (!page->pins && !page->dirty_to)
            page_drop(page);
        page = newer;
    }
}

static MetaPage *page_new(MetaCache *cache, uint64_t offset)
{
    evict(cache);
    MetaPage *page = g_new0(MetaPage, 1);
    page->offset = offset;
    page->cache = cache;
    page->data = block_alloc(cache->page_bytes);
    if (!page->data) {
        g_free(page);
        return NULL;
    }
    g_hash_table_insert(cache->pages, key_of(offset), page);
    page_link(page);
    cache->count++;
    return page;
}

void meta_drop_all(MetaCache *cache)
{
    while (cache->newest) {
        MetaPage *page = cache->newest;
        page_forget(page);
        page->orphan = page->pins; /* whoever has it frees it */
        if (!page->pins)
            page_free(page);
    }
}

void meta_fini(MetaCache *cache)
{
    meta_drop_all(cache);
    g_clear_pointer(&cache->pages, g_hash_table_unref);
}

/* ---- Getting pages ---- */

static MetaPage *page_use(MetaPage *page)
{
    page->pins++;
    if (page->prev) {
        page_unlink(page);
        page_link(page);
    }
    return page;
}

int meta_get(MetaCache *cache, uint64_t offset, MetaPage **out)
{
    MetaPage *page;
    while ((page = page_find(cache, offset)) && page->loading)
        co_queue_wait(&page->waiting);
    if (page) {
        *out = page_use(page);
        return 0;
    }
    page = page_new(cache, offset);
    if (!page)
        return -ENOMEM;
    page->loading = true;
    page->pins = 1;
    file_event(cache->file, cache->load);
    int ret = file_pread(cache->file, offset, page->data, cache->page_bytes);
    page->loading = false;
    co_queue_wake_all(&page->waiting);
    if (ret) {
        if (page->orphan)
            page_free(page);
        else
            page_drop(page);
        return ret;
    }
    *out = page;
    return 0;
}

int meta_get_nowait(MetaCache *cache, uint64_t offset, MetaPage **out)
{
    MetaPage *page = page_find(cache, offset);
    if (page && page->loading)
        return -EAGAIN;
    if (!page) {
        page = page_new(cache, offset);
        if (!page)
            return -EAGAIN;
        struct iovec iov = {page->data, cache->page_bytes};
        if (file_read_nowait(cache->file, offset, (IoBuf){&iov, 1, 0}, cache->page_bytes)) {
            page_drop(page);
            return -EAGAIN;
        }
    }
    *out = page_use(page);
    return 0;
}

MetaPage *meta_get_zeroed(MetaCache *cache, uint64_t offset)
{
    MetaPage *page = page_find(cache, offset);
    if (!page)
        page = page_new(cache, offset);
    if (!page)
        return NULL;
    memset(page->data, 0, cache->page_bytes);
    return page_use(page);
}

void meta_put(MetaPage *page)
{
    if (!--page->pins && page->orphan)
        page_free(page);
}

void meta_dirty(MetaPage *page, uint32_t from, uint32_t to)
{
    if (!page->dirty_to) {
        page->cache->dirty++;
        page->dirty_from = from;
        page->dirty_to = to;
        return;
    }
    page->dirty_from = MIN(page->dirty_from, from);
    page->dirty_to = MAX(page->dirty_to, to);
}

void meta_forget(MetaCache *cache, uint64_t offset, uint64_t bytes)
{
    uint64_t end = offset + bytes;
    for (offset = align_down(offset, cache->page_bytes); offset < end;
         offset += cache->page_bytes) {
        MetaPage *page;
        while ((page = page_find(cache, offset)) && page->loading)
            co_queue_wait(&page->waiting);
        if (page && !page->pins)
            page_drop(page);
    }
}

bool meta_crowded(const MetaCache *cache)
{
    return cache->dirty > cache->max_pages / 2 || (cache->count > cache->max_pages && cache->dirty);
}

/* ---- Writing back ---- */

void meta_collect(MetaCache *cache, GArray *writes)
{
    for (MetaPage *page = cache->newest; page && cache->dirty; page = page->next) {
        if (!page->dirty_to)
            continue;
        uint32_t from = (uint32_t)align_down(page->dirty_from, WRITE_UNIT);
        uint32_t to = (uint32_t)align_up(page->dirty_to, WRITE_UNIT);
        MetaWrite write = {.page = page, .offset = page->offset + from, .bytes = to - from};
        write.copy = g_memdup2(page->data + from, write.bytes);
        page->pins++;
        page->dirty_from = page->dirty_to = 0;
        cache->dirty--;
        g_array_append_val(writes, write);
    }
}

int meta_write(BlkFile *file, const GArray *writes)
{
    int ret = 0;
    for (unsigned i = 0; i < writes->len && !ret; i++) {
        const MetaWrite *write = &g_array_index(writes, MetaWrite, i);
        file_event(file, write->page ? write->page->cache->update : EVENT_L1_UPDATE);
        ret = file_pwrite(file, write->offset, write->copy, write->bytes);
    }
    return ret;
}

void meta_release(GArray *writes, bool written)
{
    for (unsigned i = 0; i < writes->len; i++) {
        MetaWrite *write = &g_array_index(writes, MetaWrite, i);
        MetaPage *page = write->page;
        if (page && !written && !page->orphan) {
            uint32_t from = (uint32_t)(write->offset - page->offset);
            meta_dirty(page, from, from + write->bytes);
        }
        if (page)
            meta_put(page);
        g_free(write->copy);
    }
    g_array_free(writes, TRUE);
}
