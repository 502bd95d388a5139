/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: from guest offsets to clusters of the file, through L1 and L2 tables.
 *
 * Numbers in comments are the invariants of docs/qcow2-invariants.md.
 */
#include <errno.h>
#include <string.h>

#include "qcow2.h"
#include "util/bytes.h"

/* ---- Entries ---- */

uint64_t qcow2_page_entry(const MetaPage *page, unsigned index)
{
    return ld64_be(page->data + index * 8);
}

void qcow2_page_set(MetaPage *page, unsigned index, uint64_t entry)
{
    st64_be(page->data + index * 8, entry);
    meta_dirty(page, index * 8, index * 8 + 8);
}

static unsigned page_entries(const Qcow2 *q)
{
    return q->l2.page_bytes / 8;
}

/* What an entry says; *host: the cluster that it refers to, 0 if none (or if it is compressed). */
static ExtentKind entry_kind(uint64_t entry, uint64_t *host)
{
    *host = 0;
    if (entry & ENTRY_COMPRESSED)
        return EXTENT_COMPRESSED;
    *host = entry & ENTRY_OFFSET;
    if (entry & ENTRY_ZERO)
        return EXTENT_ZERO;
    return *host ? EXTENT_DATA : EXTENT_UNALLOCATED;
}

void qcow2_compressed_place(const Qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes)
{
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t sectors = bits_get(entry, shift, q->cluster_bits - 8) + 1;
    *offset = bits_get(entry, 0, shift);
    *bytes = sectors * 512 - (*offset & 511);
}

void qcow2_drop_entry(Qcow2 *q, uint64_t entry)
{
    uint64_t host, offset, bytes;
    if (entry_kind(entry, &host) == EXTENT_COMPRESSED) {
        qcow2_compressed_place(q, entry, &offset, &bytes);
        uint64_t first = offset & ~q->cluster_mask;
        uint64_t last = (offset + bytes - 1) & ~q->cluster_mask;
        qcow2_free_later(q, first, ((last - first) >> q->cluster_bits) + 1);
        node_forget_expanded(&q->base);
    } else if (host & q->cluster_mask) {
        qcow2_bad(q, "cluster offset 0x%" PRIx64 " is not aligned", host);
    } else if (host) {
        qcow2_free_later(q, host, 1);
    }
}

/* ---- Finding L2 tables ---- */

static uint64_t l1_index_of(const Qcow2 *q, uint64_t offset)
{
    return offset >> (q->cluster_bits + q->l2_bits);
}

int qcow2_l2_page(Qcow2 *q, uint64_t offset, unsigned flags, MetaPage **page, unsigned *index)
{
    uint64_t table = q->l1[l1_index_of(q, offset)] & ENTRY_OFFSET;
    uint64_t entry = bits_get(offset >> q->cluster_bits, 0, q->l2_bits);
    if (table & q->cluster_mask)
        return qcow2_bad(q, "L2 table offset 0x%" PRIx64 " is not aligned", table);
    *index = (unsigned)(entry % page_entries(q));
    uint64_t at = table + entry / page_entries(q) * q->l2.page_bytes;
    return flags & MAP_NOWAIT ? meta_get_nowait(&q->l2, at, page) : meta_get(&q->l2, at, page);
}

/* Copies a table that a snapshot uses, too.  Data clusters keep their counts: the snapshot's own
 * references were counted when it was taken.  Nothing in the copy may be written in place unless a
 * write finds out so by itself. */
static int copy_l2_table(Qcow2 *q, uint64_t from, uint64_t to)
{
    for (uint64_t done = 0; done < qcow2_cluster_bytes(q); done += q->l2.page_bytes) {
        MetaPage *old;
        int ret = meta_get(&q->l2, from + done, &old);
        if (ret)
            return ret;
        MetaPage *new = meta_get_zeroed(&q->l2, to + done);
        if (new) {
            for (unsigned i = 0; i < page_entries(q); i++) {
                uint64_t entry = qcow2_page_entry(old, i);
                if (!(entry & ENTRY_COMPRESSED))
                    entry &= ~ENTRY_COPIED;
                st64_be(new->data + i * 8, entry);
            }
            meta_dirty(new, 0, q->l2.page_bytes);
            meta_put(new);
        }
        meta_put(old);
        if (!new)
            return -ENOMEM;
    }
    return 0;
}

/* The file must reach to the table even if nothing is ever linked in it. */
static int begin_l2_table(Qcow2 *q, uint64_t at)
{
    MetaPage *page = meta_get_zeroed(&q->l2, at);
    if (!page)
        return -ENOMEM;
    meta_dirty(page, 0, 8);
    meta_put(page);
    return 0;
}

/* Gives L1 entry number i a table of its own.  The table lock is held. */
static int make_l2_table(Qcow2 *q, uint64_t i)
{
    uint64_t old = q->l1[i] & ENTRY_OFFSET, new, got;
    bool fresh;
    int ret = qcow2_alloc_clusters(q, 1, &new, &got, &fresh);
    if (ret)
        return ret;
    /* Only changed parts of a table are written, so the rest must be zeros in the file (2). */
    if (!fresh)
        ret = file_zero(q->base.file, new, qcow2_cluster_bytes(q), false);
    if (!ret)
        ret = old ? copy_l2_table(q, old, new) : begin_l2_table(q, new);
    if (ret) {
        meta_forget(&q->l2, new, qcow2_cluster_bytes(q));
        qcow2_free_now(q, new, 1);
        return ret;
    }
    qcow2_note_metadata(q, new, qcow2_cluster_bytes(q), true);
    q->l1[i] = new | ENTRY_COPIED;
    if (q->l1_dirty_from == q->l1_dirty_to) {
        q->l1_dirty_from = (uint32_t)i;
        q->l1_dirty_to = (uint32_t)i + 1;
    } else {
        q->l1_dirty_from = MIN(q->l1_dirty_from, (uint32_t)i);
        q->l1_dirty_to = MAX(q->l1_dirty_to, (uint32_t)i + 1);
    }
    if (old)
        qcow2_free_later(q, old, 1);
    return 0;
}

int qcow2_l2_page_own(Qcow2 *q, uint64_t offset, MetaPage **page, unsigned *index)
{
    uint64_t i = l1_index_of(q, offset);
    if (!(q->l1[i] & ENTRY_COPIED) || !(q->l1[i] & ENTRY_OFFSET)) {
        int ret = 0;
        co_mutex_lock(&q->table_lock);
        if (!(q->l1[i] & ENTRY_COPIED) || !(q->l1[i] & ENTRY_OFFSET))
            ret = make_l2_table(q, i);
        co_mutex_unlock(&q->table_lock);
        if (ret)
            return ret;
    }
    return qcow2_l2_page(q, offset, 0, page, index);
}

/* ---- Where ---- */

/* No L2 table, perhaps for a long way. */
static void map_hole(const Qcow2 *q, uint64_t offset, uint64_t bytes, Extent *extent)
{
    uint64_t reach = 1ULL << (q->cluster_bits + q->l2_bits);
    uint64_t end = align_down(offset, reach);
    do {
        end += reach;
    } while (end < offset + bytes && !(q->l1[l1_index_of(q, end)] & ENTRY_OFFSET));
    *extent = (Extent){.kind = EXTENT_UNALLOCATED, .bytes = MIN(bytes, end - offset)};
}

/* Guest data may be overwritten where it is: nobody shares it, and it is no table of the image (9).
 */
static bool may_write(const Qcow2 *q, uint64_t entry, uint64_t host)
{
    return q->metadata && !q->corrupt && (entry & ENTRY_COPIED) &&
           !qcow2_is_metadata(q, host, qcow2_cluster_bytes(q));
}

/* How many entries from index on continue the first one. */
static unsigned map_run(Qcow2 *q, const MetaPage *page, unsigned index, unsigned max,
                        ExtentKind kind, uint64_t host, bool in_place)
{
    unsigned n = 1;
    for (; n < max; n++) {
        uint64_t next, entry = qcow2_page_entry(page, index + n);
        if (entry_kind(entry, &next) != kind)
            break;
        if (kind == EXTENT_DATA && (next != host + ((uint64_t)n << q->cluster_bits) ||
                                    may_write(q, entry, next) != in_place))
            break;
    }
    return n;
}

static int map_entries(Qcow2 *q, const MetaPage *page, unsigned index, uint64_t within,
                       uint64_t bytes, Extent *extent)
{
    uint64_t host, entry = qcow2_page_entry(page, index);
    ExtentKind kind = entry_kind(entry, &host);
    uint64_t clusters = (within + bytes + q->cluster_mask) >> q->cluster_bits;
    unsigned max = (unsigned)MIN(clusters, page_entries(q) - index);
    *extent = (Extent){.kind = kind};
    if (kind == EXTENT_COMPRESSED) {
        qcow2_compressed_place(q, entry, &extent->host, &extent->host_bytes);
        extent->within = within;
        extent->bytes = MIN(bytes, qcow2_cluster_bytes(q) - within);
        return 0;
    }
    if (kind == EXTENT_ZERO && q->version < 3)
        return qcow2_bad(q, "a zero cluster in an image of version 2");
    if (host & q->cluster_mask)
        return qcow2_bad(q, "cluster offset 0x%" PRIx64 " is not aligned", host);
    extent->in_place = kind == EXTENT_DATA && may_write(q, entry, host);
    extent->host = host + within;
    uint64_t n = map_run(q, page, index, max, kind, host, extent->in_place);
    extent->bytes = MIN(bytes, (n << q->cluster_bits) - within);
    return 0;
}

int qcow2_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    if (!(q->l1[l1_index_of(q, offset)] & ENTRY_OFFSET)) {
        map_hole(q, offset, bytes, extent);
        return 0;
    }
    int ret = qcow2_l2_page(q, offset, flags, &page, &index);
    if (ret)
        return ret;
    ret = map_entries(q, page, index, offset & q->cluster_mask, bytes, extent);
    meta_put(page);
    return ret;
}

/* ---- Allocating writes ---- */

/* A zero cluster that has room of its own, from preallocation or an earlier zeroing. */
static bool is_own_room(const Qcow2 *q, uint64_t entry, uint64_t *host)
{
    return entry_kind(entry, host) == EXTENT_ZERO && *host && !(*host & q->cluster_mask) &&
           may_write(q, entry, *host);
}

static bool needs_room(const Qcow2 *q, uint64_t entry)
{
    uint64_t host;
    ExtentKind kind = entry_kind(entry, &host);
    if (kind == EXTENT_ZERO && q->version < 3)
        return false;
    return !is_own_room(q, entry, &host) && !(kind == EXTENT_DATA && may_write(q, entry, host));
}

/* A table in the file that claims its own metadata as guest data. */
static int check_entry(Qcow2 *q, uint64_t entry)
{
    uint64_t host;
    if (entry_kind(entry, &host) == EXTENT_COMPRESSED || !host || !(entry & ENTRY_COPIED))
        return 0;
    if ((host & q->cluster_mask) || qcow2_is_metadata(q, host, qcow2_cluster_bytes(q)))
        return qcow2_corrupt(q, "guest data at 0x%" PRIx64 " lies in the image's own tables", host);
    return 0;
}

/* How many entries can be served by one stretch of room: *host is set if they have it already. */
static unsigned alloc_run(Qcow2 *q, const MetaPage *page, unsigned index, unsigned max,
                          uint64_t *host)
{
    uint64_t next;
    unsigned n = 1;
    if (is_own_room(q, qcow2_page_entry(page, index), host)) {
        while (n < max && is_own_room(q, qcow2_page_entry(page, index + n), &next) &&
               next == *host + ((uint64_t)n << q->cluster_bits))
            n++;
    } else {
        *host = 0;
        while (n < max && needs_room(q, qcow2_page_entry(page, index + n)))
            n++;
    }
    return n;
}

int qcow2_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    uint64_t host, got;
    int ret = qcow2_l2_page_own(q, offset, &page, &index);
    if (ret)
        return ret;
    uint64_t start = offset & ~q->cluster_mask;
    uint64_t wanted = (offset + bytes - start + q->cluster_mask) >> q->cluster_bits;
    uint64_t first = qcow2_page_entry(page, index);
    uint64_t n = alloc_run(q, page, index, (unsigned)MIN(wanted, page_entries(q) - index), &host);
    meta_put(page);
    ret = check_entry(q, first);
    if (ret)
        return ret;
    *alloc = (Alloc){.start = start, .host = host, .reused = host};
    if (!host) {
        ret = qcow2_alloc_clusters(q, n, &alloc->host, &got, &alloc->fresh);
        if (ret)
            return ret;
        n = got;
    }
    alloc->end = start + (n << q->cluster_bits);
    return 0;
}

int qcow2_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    uint64_t clusters = (alloc->end - alloc->start) >> q->cluster_bits;
    if (!ret)
        ret = qcow2_l2_page_own(q, alloc->start, &page, &index);
    if (ret) {
        if (!alloc->reused)
            qcow2_free_now(q, alloc->host, clusters);
        return ret;
    }
    for (unsigned i = 0; i < clusters; i++) {
        uint64_t entry = qcow2_page_entry(page, index + i);
        if (!alloc->reused)
            qcow2_drop_entry(q, entry);
        uint64_t host = alloc->host + ((uint64_t)i << q->cluster_bits);
        qcow2_page_set(page, index + i, host | ENTRY_COPIED);
    }
    meta_put(page);
    return 0;
}

int qcow2_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    uint64_t host;
    int ret = qcow2_alloc_packed(q, in_bytes, &host);
    if (ret)
        return ret;
    uint64_t last = host + in_bytes - 1;
    uint64_t first_cluster = host & ~q->cluster_mask;
    uint64_t clusters = ((last - first_cluster) >> q->cluster_bits) + 1;
    node_forget_expanded(node);
    ret = file_pwrite(node->file, host, in, in_bytes);
    if (!ret)
        ret = qcow2_l2_page_own(q, offset, &page, &index);
    if (ret) {
        qcow2_free_now(q, first_cluster, clusters);
        return ret;
    }
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t sectors = (last >> 9) - (host >> 9);
    qcow2_drop_entry(q, qcow2_page_entry(page, index));
    qcow2_page_set(page, index, host | sectors << shift | ENTRY_COMPRESSED);
    meta_put(page);
    return 0;
}
