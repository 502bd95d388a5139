/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: from guest offsets to clusters of the file, through L1 and L2 tables.
 *
 * Numbers in comments are the invariants of docs/qcow2-invariants.md.
 */
#include <errno.h>
#include <string.h>

#include "aes-view.h"
#include "qcow2.h"
#include "util/bytes.h"

/* ---- Entries ---- */

L2Entry qcow2_table_entry(const Qcow2 *q, const void *table, unsigned index)
{
    const uint8_t *at = (const uint8_t *)table + ((size_t)index << q->entry_shift);
    return (L2Entry){ld64_be(at), q->subs > 1 ? ld64_be(at + 8) : 0};
}

void qcow2_table_set(const Qcow2 *q, void *table, unsigned index, L2Entry entry)
{
    uint8_t *at = (uint8_t *)table + ((size_t)index << q->entry_shift);
    st64_be(at, entry.word);
    if (q->subs > 1)
        st64_be(at + 8, entry.subs);
}

L2Entry qcow2_page_entry(const Qcow2 *q, const MetaPage *page, unsigned index)
{
    return qcow2_table_entry(q, page->data, index);
}

void qcow2_page_set(const Qcow2 *q, MetaPage *page, unsigned index, L2Entry entry)
{
    qcow2_table_set(q, page->data, index, entry);
    meta_dirty(page, index << q->entry_shift, (index + 1) << q->entry_shift);
}

unsigned qcow2_page_entries(const Qcow2 *q)
{
    return q->l2.page_bytes >> q->entry_shift;
}

bool qcow2_has_host(const Qcow2 *q, uint64_t word)
{
    if (word & ENTRY_COMPRESSED)
        return false;
    /* The first cluster of a data file is a place like others. */
    return (word & ENTRY_OFFSET) || (q->data_name && (word & ENTRY_COPIED));
}

ExtentKind qcow2_sub_kind(const Qcow2 *q, L2Entry entry, unsigned sub)
{
    if (entry.word & ENTRY_COMPRESSED)
        return EXTENT_COMPRESSED;
    if (q->subs > 1) {
        if (entry.subs >> sub & 1ULL << 32)
            return EXTENT_ZERO;
        return entry.subs >> sub & 1 ? EXTENT_DATA : EXTENT_UNALLOCATED;
    }
    if (entry.word & ENTRY_ZERO)
        return EXTENT_ZERO;
    return qcow2_has_host(q, entry.word) ? EXTENT_DATA : EXTENT_UNALLOCATED;
}

const char *qcow2_entry_fault(const Qcow2 *q, L2Entry entry)
{
    if (entry.word & ENTRY_COMPRESSED)
        return q->data_name ? "a compressed cluster in an image with a data file" : NULL;
    if (entry.word & ENTRY_OFFSET & q->cluster_mask)
        return "a cluster offset that is not aligned";
    if (q->subs == 1)
        return (entry.word & ENTRY_ZERO) && q->version < 3
                   ? "a zero cluster in an image of version 2"
                   : NULL;
    if ((entry.subs & SUBS_ALLOCATED) && !qcow2_has_host(q, entry.word))
        return "subclusters without a cluster";
    return entry.subs & entry.subs >> 32 & SUBS_ALLOCATED ? "subclusters both data and zeros"
                                                          : NULL;
}

void qcow2_compressed_place(const Qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes)
{
    unsigned shift = 62 - (q->cluster_bits - 8);
    uint64_t sectors = bits_get(entry, shift, q->cluster_bits - 8) + 1;
    *offset = bits_get(entry, 0, shift);
    *bytes = sectors * 512 - (*offset & 511);
}

void qcow2_drop_entry(Qcow2 *q, uint64_t word)
{
    uint64_t host = word & ENTRY_OFFSET, offset, bytes;
    if (word & ENTRY_COMPRESSED) {
        qcow2_compressed_place(q, word, &offset, &bytes);
        uint64_t first = offset & ~q->cluster_mask;
        uint64_t last = (offset + bytes - 1) & ~q->cluster_mask;
        qcow2_free_later(q, first, ((last - first) >> q->cluster_bits) + 1);
        node_forget_expanded(&q->base);
    } else if (host & q->cluster_mask) {
        qcow2_bad(q, "cluster offset 0x%" PRIx64 " is not aligned", host);
    } else if (host && !q->data_name) { /* room in a data file is not counted */
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
    *index = (unsigned)(entry % qcow2_page_entries(q));
    uint64_t at = table + entry / qcow2_page_entries(q) * q->l2.page_bytes;
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
            for (unsigned i = 0; i < qcow2_page_entries(q); i++) {
                L2Entry entry = qcow2_page_entry(q, old, i);
                if (!(entry.word & ENTRY_COMPRESSED))
                    entry.word &= ~ENTRY_COPIED;
                qcow2_table_set(q, new->data, i, entry);
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
    if (ret) { /* not at once: a commit may be writing the part that is done */
        qcow2_free_later(q, new, 1);
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
static bool may_write(const Qcow2 *q, uint64_t word)
{
    if (!q->begun || q->corrupt || !(word & ENTRY_COPIED))
        return false;
    return q->data_name || !qcow2_is_metadata(q, word & ENTRY_OFFSET, qcow2_cluster_bytes(q));
}

/* A walk through the subclusters of a page, in the guest's order. */
typedef struct Walk {
    const Qcow2 *q;
    const MetaPage *page;
    unsigned index, sub;
    L2Entry entry;
} Walk;

static Walk walk_begin(const Qcow2 *q, const MetaPage *page, unsigned index, uint64_t within)
{
    return (Walk){q, page, index, (unsigned)(within >> q->sub_bits),
                  qcow2_page_entry(q, page, index)};
}

/* False at the end of the page. */
static bool walk_next(Walk *w)
{
    if (++w->sub < w->q->subs)
        return true;
    if (++w->index == qcow2_page_entries(w->q))
        return false;
    w->sub = 0;
    w->entry = qcow2_page_entry(w->q, w->page, w->index);
    return true;
}

static uint64_t walk_host(const Walk *w)
{
    return (w->entry.word & ENTRY_OFFSET) + ((uint64_t)w->sub << w->q->sub_bits);
}

/* How many bytes, from the subcluster at w on, continue it: at least `bytes` if there are so many.
 */
static uint64_t map_run(Walk w, uint64_t bytes, ExtentKind kind, bool placed, bool in_place)
{
    const Qcow2 *q = w.q;
    uint64_t sub = 1ULL << q->sub_bits, run = sub, host = walk_host(&w);
    for (; run < bytes && walk_next(&w); run += sub) {
        if (qcow2_sub_kind(q, w.entry, w.sub) != kind)
            break;
        if (kind == EXTENT_ZERO && placed != qcow2_has_host(q, w.entry.word))
            break;
        if (placed && walk_host(&w) != host + run)
            break;
        if (kind == EXTENT_DATA && !w.sub && may_write(q, w.entry.word) != in_place)
            break;
        if (q->subs > 1 && !w.sub && qcow2_entry_fault(q, w.entry))
            break;
    }
    return run;
}

static int map_entries(Qcow2 *q, const MetaPage *page, unsigned index, uint64_t within,
                       uint64_t bytes, Extent *extent)
{
    Walk w = walk_begin(q, page, index, within);
    ExtentKind kind = qcow2_sub_kind(q, w.entry, w.sub);
    const char *fault = qcow2_entry_fault(q, w.entry);
    *extent = (Extent){.kind = kind};
    if (fault)
        return qcow2_bad(q, "%s: 0x%" PRIx64, fault, w.entry.word);
    if (kind == EXTENT_COMPRESSED) {
        qcow2_compressed_place(q, w.entry.word, &extent->host, &extent->host_bytes);
        extent->within = within;
        extent->bytes = MIN(bytes, qcow2_cluster_bytes(q) - within);
        return 0;
    }
    /* Zeros may have room of their own, from preallocation or an earlier write. */
    bool placed = kind == EXTENT_DATA || (kind == EXTENT_ZERO && qcow2_has_host(q, w.entry.word));
    if (placed) {
        extent->host = (w.entry.word & ENTRY_OFFSET) + within;
        extent->file = q->crypt_method == CRYPT_AES ? q->data_file : q->data;
    }
    if (kind == EXTENT_DATA) {
        extent->in_place = may_write(q, w.entry.word);
        if (q->data_name && !q->data_file)
            return -ENOMEDIUM;
    }
    uint64_t ahead = within & ((1ULL << q->sub_bits) - 1);
    extent->bytes = MIN(bytes, map_run(w, ahead + bytes, kind, placed, extent->in_place) - ahead);
    return 0;
}

int qcow2_map_raw(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent)
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

int qcow2_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent)
{
    const Qcow2 *q = qcow2(node);
    int ret = qcow2_map_raw(node, offset, bytes, flags, extent);
    if (ret || !q->crypt_method)
        return ret;
    if (q->crypt_method == CRYPT_AES)
        return aes_view_extent(q->data, offset, extent);
    return q->locked && extent->kind == EXTENT_DATA ? -EACCES : 0;
}

/* ---- Allocating writes ---- */

/* A subcluster without data in a cluster of our own: from preallocation or an earlier zeroing, or
 * its neighbours were written. */
static bool is_own_room(const Walk *w)
{
    return qcow2_has_host(w->q, w->entry.word) && may_write(w->q, w->entry.word) &&
           qcow2_sub_kind(w->q, w->entry, w->sub) != EXTENT_DATA;
}

/* The whole cluster needs another place. */
static bool needs_room(const Qcow2 *q, uint64_t word)
{
    return !qcow2_has_host(q, word) || !may_write(q, word);
}

/* Nothing of it would be lost if its cluster moved. */
static bool holds_no_data(const Qcow2 *q, L2Entry entry)
{
    return q->subs > 1 && !(entry.word & ENTRY_COMPRESSED) && !(entry.subs & SUBS_ALLOCATED);
}

/* A table in the file that claims its own metadata as guest data. */
static int check_entry(Qcow2 *q, L2Entry entry)
{
    const char *fault = qcow2_entry_fault(q, entry);
    uint64_t host = entry.word & ENTRY_OFFSET;
    if (fault)
        return qcow2_corrupt(q, "%s: 0x%" PRIx64, fault, entry.word);
    if (q->data_name || !qcow2_has_host(q, entry.word) || !(entry.word & ENTRY_COPIED))
        return 0;
    if (qcow2_is_metadata(q, host, qcow2_cluster_bytes(q)))
        return qcow2_corrupt(q, "guest data at 0x%" PRIx64 " lies in the image's own tables", host);
    return 0;
}

/* A stretch of subclusters that have a place but no data, up to `end` of the guest. */
static void plan_reuse(Walk w, uint64_t end, Alloc *alloc)
{
    uint64_t sub = 1ULL << w.q->sub_bits, run = sub;
    alloc->host = walk_host(&w);
    alloc->reused = true;
    while (alloc->start + run < end && walk_next(&w) && is_own_room(&w) &&
           walk_host(&w) == alloc->host + run)
        run += sub;
    alloc->end = alloc->start + run;
}

/* Clusters that need a new place.  Where a cluster holds data, all of it moves; else only the
 * subclusters that are written have any. */
static void plan_new(Walk w, uint64_t end, Alloc *alloc)
{
    const Qcow2 *q = w.q;
    uint64_t cluster = qcow2_cluster_bytes(q), at = alloc->start & ~q->cluster_mask;
    if (!holds_no_data(q, w.entry))
        alloc->start = at;
    bool partial = holds_no_data(q, w.entry);
    for (at += cluster; at < end; at += cluster) {
        if (++w.index == qcow2_page_entries(q))
            break;
        w.entry = qcow2_page_entry(q, w.page, w.index);
        if (!needs_room(q, w.entry.word) || qcow2_entry_fault(q, w.entry))
            break;
        partial = holds_no_data(q, w.entry);
    }
    alloc->end = partial ? MIN(at, align_up(end, 1ULL << q->sub_bits)) : at;
}

/* The place for what plan_new() found, or a first part of it. */
static int take_room(Qcow2 *q, Alloc *alloc)
{
    uint64_t first = alloc->start & ~q->cluster_mask, got;
    uint64_t clusters = (alloc->end - first + q->cluster_mask) >> q->cluster_bits;
    if (q->data_name) {
        alloc->host = alloc->start; /* where other programs expect it, too */
        alloc->fresh = !q->luks && q->data_file->sparse && first >= q->data_file->size;
        return 0;
    }
    int ret = qcow2_alloc_clusters(q, clusters, &alloc->host, &got, &alloc->fresh);
    if (ret)
        return ret;
    alloc->fresh &= !q->luks; /* zeros in the file are anything for the guest */
    alloc->end = MIN(alloc->end, first + (got << q->cluster_bits));
    alloc->host += alloc->start - first;
    return 0;
}

int qcow2_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    if (q->data_name && !q->data_file)
        return -ENOMEDIUM;
    if (q->locked || q->crypt_method == CRYPT_AES)
        return -EACCES;
    int ret = qcow2_l2_page_own(q, offset, &page, &index);
    if (ret)
        return ret;
    Walk w = walk_begin(q, page, index, offset & q->cluster_mask);
    *alloc = (Alloc){.start = align_down(offset, 1ULL << q->sub_bits), .file = q->data};
    if (is_own_room(&w))
        plan_reuse(w, offset + bytes, alloc);
    else
        plan_new(w, offset + bytes, alloc);
    meta_put(page);
    ret = check_entry(q, w.entry);
    return ret || alloc->reused ? ret : take_room(q, alloc);
}

/* The subclusters of the cluster at `at` that the room holds, as bits. */
static uint64_t covered_subs(const Qcow2 *q, const Alloc *alloc, uint64_t at)
{
    uint64_t from = alloc->start > at ? (alloc->start - at) >> q->sub_bits : 0;
    uint64_t to = MIN(alloc->end - at, qcow2_cluster_bytes(q)) >> q->sub_bits;
    return bits_get(SUBS_ALLOCATED, 0, (unsigned)(to - from)) << from;
}

static void link_cluster(Qcow2 *q, const Alloc *alloc, uint64_t at, MetaPage *page, unsigned index)
{
    L2Entry old = qcow2_page_entry(q, page, index);
    L2Entry new = {((alloc->host - alloc->start + at) & ENTRY_OFFSET) | ENTRY_COPIED, 0};
    if (q->subs > 1) {
        uint64_t covered = covered_subs(q, alloc, at);
        new.subs = (alloc->reused ? old.subs : old.subs & SUBS_ZERO) & ~(covered << 32);
        if (old.word & ENTRY_COMPRESSED)
            new.subs = 0;
        new.subs |= q->hollow ? 0 : covered;
    }
    /* A data file's clusters do not move. */
    if (!alloc->reused && !(q->data_name && qcow2_has_host(q, old.word)))
        qcow2_drop_entry(q, old.word);
    qcow2_page_set(q, page, index, new);
}

int qcow2_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    uint64_t first = alloc->start & ~q->cluster_mask;
    uint64_t clusters = (alloc->end - first + q->cluster_mask) >> q->cluster_bits;
    if (!ret)
        ret = qcow2_l2_page_own(q, alloc->start, &page, &index);
    if (ret) {
        if (!alloc->reused && !q->data_name)
            qcow2_free_now(q, alloc->host & ~q->cluster_mask, clusters);
        return ret;
    }
    for (unsigned i = 0; i < clusters; i++)
        link_cluster(q, alloc, first + ((uint64_t)i << q->cluster_bits), page, index + i);
    meta_put(page);
    return 0;
}

int qcow2_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes)
{
    Qcow2 *q = qcow2(node);
    MetaPage *page;
    unsigned index;
    uint64_t host;
    if (q->data_name || q->crypt_method)
        return -ENOTSUP;
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
    qcow2_drop_entry(q, qcow2_page_entry(q, page, index).word);
    qcow2_page_set(q, page, index, (L2Entry){host | sectors << shift | ENTRY_COMPRESSED, 0});
    meta_put(page);
    return 0;
}
