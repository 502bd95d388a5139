/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: changes of a whole image in one step.  qcow2-change.h has the idea. */
#include "qcow2-change.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"

#define MAX_CLUSTERS (1ULL << 30) /* of a file */
#define SLACK        (1ULL << 20) /* clusters that may be counted by mistake behind a file's end */

/* ---- Counts ---- */

static bool was_used(const Change *c, uint64_t cluster)
{
    return c->used[cluster / 8] >> cluster % 8 & 1;
}

/* Arrays that are large from the first take memory only where something is counted. */
static int begin_counts(Change *c, uint64_t clusters)
{
    uint64_t room = align_up(clusters + clusters / 8 + 64, 8);
    if (clusters > MAX_CLUSTERS)
        return -EFBIG;
    c->counts = block_try_malloc0(room * sizeof(*c->counts));
    c->used = block_try_malloc0(room / 8);
    if (!c->counts || !c->used)
        return -ENOMEM;
    c->clusters = room;
    return 0;
}

static int reach(Change *c, uint64_t clusters)
{
    if (clusters <= c->clusters)
        return 0;
    if (clusters > MAX_CLUSTERS + MAX_CLUSTERS / 8)
        return -EFBIG;
    uint64_t more = align_up(MAX(clusters, c->clusters + c->clusters / 8 + 64), 8);
    uint32_t *counts = block_try_realloc(c->counts, more * sizeof(*c->counts));
    if (!counts)
        return -ENOMEM;
    c->counts = counts;
    uint8_t *used = block_try_realloc(c->used, more / 8);
    if (!used)
        return -ENOMEM;
    c->used = used;
    memset(c->counts + c->clusters, 0, (more - c->clusters) * sizeof(*counts));
    memset(c->used + c->clusters / 8, 0, (more - c->clusters) / 8);
    c->clusters = more;
    return 0;
}

static int load_block(Change *c, uint64_t offset, uint64_t first, uint8_t *block)
{
    Qcow2 *q = c->q;
    uint64_t per_block = 1ULL << q->refblock_bits;
    int ret = offset & q->cluster_mask
                  ? -EIO
                  : file_pread(q->base.file, offset, block, qcow2_cluster_bytes(q));
    for (uint64_t i = 0; i < per_block && !ret; i++) {
        uint64_t count = qcow2_refcount_get(q, block, i), n = first + i;
        if (!count)
            continue;
        /* What lies far behind the file's end is counted by mistake. */
        if (n > (q->base.file->size >> q->cluster_bits) + SLACK || count > INT32_MAX)
            return -EIO;
        ret = reach(c, n + 1);
        if (!ret) {
            c->counts[n] = (uint32_t)count;
            c->used[n / 8] |= (uint8_t)(1u << n % 8);
        }
    }
    return ret;
}

static int load_counts(Change *c)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *block = g_malloc(qcow2_cluster_bytes(q));
    int ret = begin_counts(c, (q->base.file->size >> q->cluster_bits) + 1);
    for (uint32_t i = 0; i < q->rt_entries && !ret; i++)
        if (q->rt[i] & ENTRY_OFFSET)
            ret = load_block(c, q->rt[i] & ENTRY_OFFSET, (uint64_t)i << q->refblock_bits, block);
    return ret;
}

static void clear(Change *c)
{
    g_free(c->counts);
    g_free(c->used);
    g_free(c->l1);
    g_free(c->rt);
    g_free(c->snapshots);
    for (unsigned i = 0; c->bitmaps && i < c->header.bitmap_count; i++)
        g_free(c->bitmaps[i].new_bits);
    g_free(c->bitmaps);
}

bool change_begin(Change *c, Qcow2 *q, GError **error)
{
    *c = (Change){.q = q};
    int ret = qcow2_balance(&q->base);
    if (!ret)
        ret = qcow2_commit(q, true);
    if (!ret && q->refcounts.dirty) /* what the first one gave up */
        ret = qcow2_commit(q, true);
    if (!ret)
        ret = load_counts(c);
    if (ret) {
        clear(c);
        return fail_errno(error, -ret, "'%s': cannot read its reference counts", q->base.name);
    }
    c->header = qcow2_header_of(q);
    c->l1 = g_memdup2(q->l1, MAX(q->l1_entries, 1) * 8ULL);
    return true;
}

int change_count(Change *c, uint64_t offset, uint64_t bytes, int delta)
{
    uint64_t first = offset >> c->q->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> c->q->cluster_bits;
    if (!bytes)
        return 0;
    if (offset > INT64_MAX - bytes || last >= c->clusters)
        return qcow2_bad(c->q, "0x%" PRIx64 " lies behind the end of the file", offset);
    for (uint64_t i = first; i <= last; i++) {
        if (!was_used(c, i) || !c->counts[i] || c->counts[i] == INT32_MAX)
            return qcow2_bad(c->q, "the count of cluster 0x%" PRIx64 " is wrong",
                             i << c->q->cluster_bits);
        c->counts[i] += (uint32_t)delta;
        if (!c->counts[i])
            c->hint = MIN(c->hint, i);
    }
    return 0;
}

int change_count_entry(Change *c, uint64_t word, int delta)
{
    const Qcow2 *q = c->q;
    uint64_t offset, bytes;
    if (word & ENTRY_COMPRESSED) {
        qcow2_compressed_place(q, word, &offset, &bytes);
        /* The last sector may be cut short by the end of the file. */
        if (offset < q->base.file->size)
            bytes = MIN(bytes, q->base.file->size - offset);
        return change_count(c, offset, bytes, delta);
    }
    if (q->data_name || !(word & ENTRY_OFFSET))
        return 0;
    return change_count(c, word & ENTRY_OFFSET, 1, delta);
}

int change_count_table(Change *c, const uint8_t *table, int delta)
{
    int ret = 0;
    for (unsigned i = 0; i < 1u << c->q->l2_bits && !ret; i++) {
        L2Entry entry = qcow2_table_entry(c->q, table, i);
        if (qcow2_entry_fault(c->q, entry))
            return qcow2_bad(c->q, "%s: 0x%" PRIx64, qcow2_entry_fault(c->q, entry), entry.word);
        ret = change_count_entry(c, entry.word, delta);
    }
    return ret;
}

/* ---- Allocating ---- */

static bool is_free(const Change *c, uint64_t cluster)
{
    return cluster >= c->clusters || (!c->counts[cluster] && !was_used(c, cluster));
}

int change_alloc(Change *c, uint64_t clusters, uint64_t *offset)
{
    uint64_t first = c->hint, n = 0;
    while (n < clusters) {
        if (is_free(c, first + n)) {
            n++;
        } else {
            first += n + 1;
            n = 0;
        }
    }
    int ret = reach(c, first + clusters);
    if (ret)
        return ret;
    *offset = first << c->q->cluster_bits;
    if (qcow2_is_metadata(c->q, *offset, clusters << c->q->cluster_bits))
        return qcow2_corrupt(c->q, "the image's own tables at 0x%" PRIx64 " are not counted",
                             *offset);
    for (uint64_t i = 0; i < clusters; i++)
        c->counts[first + i] = 1;
    if (clusters == 1)
        c->hint = first + 1;
    return 0;
}

uint64_t change_end_of(const Change *c)
{
    uint64_t end = c->clusters;
    while (end && !c->counts[end - 1])
        end--;
    return end;
}

/* ---- Tables ---- */

int change_read_table(Change *c, uint64_t l1_entry, uint8_t *table)
{
    uint64_t offset = l1_entry & ENTRY_OFFSET;
    if (offset & c->q->cluster_mask)
        return qcow2_bad(c->q, "L2 table offset 0x%" PRIx64 " is not aligned", offset);
    return file_pread(c->q->base.file, offset, table, qcow2_cluster_bytes(c->q));
}

int change_write_table(Change *c, const uint8_t *table, uint64_t *l1_entry)
{
    uint64_t offset;
    int ret = change_alloc(c, 1, &offset);
    if (!ret)
        ret = file_pwrite(c->q->base.file, offset, table, qcow2_cluster_bytes(c->q));
    *l1_entry = offset | ENTRY_COPIED;
    return ret;
}

int change_drop_l1_entry(Change *c, uint64_t l1_entry)
{
    if (!(l1_entry & ENTRY_OFFSET))
        return 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(c->q));
    int ret = change_read_table(c, l1_entry, table);
    if (!ret)
        ret = change_count_table(c, table, -1);
    return ret ? ret : change_count(c, l1_entry & ENTRY_OFFSET, 1, -1);
}

int change_write_bytes(Change *c, const void *data, uint64_t bytes, uint64_t *offset)
{
    uint64_t cluster = qcow2_cluster_bytes(c->q), whole = align_up(bytes, cluster);
    *offset = 0;
    if (!bytes)
        return 0;
    int ret = change_alloc(c, whole / cluster, offset);
    if (ret)
        return ret;
    g_autofree uint8_t *padded = block_try_malloc0(whole);
    if (!padded)
        return -ENOMEM;
    memcpy(padded, data, bytes);
    return file_pwrite(c->q->base.file, *offset, padded, whole);
}

int change_write_words(Change *c, const uint64_t *words, uint32_t count, uint64_t *offset)
{
    g_autofree uint8_t *data = g_malloc(MAX(count, 1) * 8ULL);
    for (uint32_t i = 0; i < count; i++)
        st64_be(data + i * 8ULL, words[i]);
    return change_write_bytes(c, data, count * 8ULL, offset);
}

bool change_l1_size(Change *c, uint64_t entries, GError **error)
{
    uint32_t old = c->header.l1_entries;
    if (entries > MAX_L1_BYTES / 8)
        return fail(error, "'%s': this is too large for clusters of %u bytes", c->q->base.name,
                    c->q->base.cluster);
    c->l1 = g_renew(uint64_t, c->l1, MAX(entries, 1));
    for (uint64_t i = old; i < entries; i++)
        c->l1[i] = 0;
    c->header.l1_entries = (uint32_t)entries;
    c->new_l1 = true;
    return true;
}

/* ---- Refcounts ---- */

/* The new refcount blocks, a place for each range of clusters; 0: all of its counts are 0. */
typedef struct Blocks {
    uint64_t *place;
    uint64_t count;
    unsigned bits; /* of the number of counts in one */
} Blocks;

static bool block_is_empty(const Change *c, const Blocks *b, uint64_t n)
{
    uint64_t from = n << b->bits, to = MIN((n + 1) << b->bits, c->clusters);
    return from >= to || buffer_is_zero(c->counts + from, (to - from) * sizeof(*c->counts));
}

/* Finds places until all clusters that are counted, those of the blocks too, have a block. */
static int place_blocks(Change *c, Blocks *b)
{
    int ret = 0;
    for (bool more = true; more && !ret;) {
        more = false;
        uint64_t needed = ((c->clusters - 1) >> b->bits) + 1;
        if (needed > b->count) {
            b->place = g_renew(uint64_t, b->place, needed);
            memset(b->place + b->count, 0, (needed - b->count) * 8);
            b->count = needed;
        }
        for (uint64_t i = 0; i < needed && !ret; i++)
            if (!b->place[i] && !block_is_empty(c, b, i)) {
                ret = change_alloc(c, 1, &b->place[i]);
                more = true;
            }
    }
    return ret;
}

/* And the table that names them; its own clusters may take blocks. */
static int place_table(Change *c, Blocks *b)
{
    uint64_t cluster = qcow2_cluster_bytes(c->q);
    c->header.rt_clusters = 0;
    for (;;) {
        int ret = place_blocks(c, b);
        if (ret)
            return ret;
        uint64_t last = b->count;
        while (last > 1 && !b->place[last - 1])
            last--;
        uint64_t needed = (last * 8 + cluster - 1) / cluster;
        if (needed <= c->header.rt_clusters)
            return 0;
        if (needed * cluster > MAX_REFTABLE_BYTES)
            return -EFBIG;
        for (uint32_t i = 0; i < c->header.rt_clusters; i++) /* too small: to be found anew */
            c->counts[(c->header.rt_offset >> c->q->cluster_bits) + i] = 0;
        c->header.rt_clusters = (uint32_t)needed;
        ret = change_alloc(c, needed, &c->header.rt_offset);
        if (ret)
            return ret;
    }
}

static int write_blocks(Change *c, const Blocks *b)
{
    Qcow2 shape = {.refcount_order = c->header.refcount_order};
    uint64_t max = qcow2_refcount_max(&shape);
    g_autofree uint8_t *block = g_malloc(qcow2_cluster_bytes(c->q));
    for (uint64_t n = 0; n < b->count; n++) {
        if (!b->place[n])
            continue;
        memset(block, 0, qcow2_cluster_bytes(c->q));
        uint64_t from = n << b->bits, to = MIN((n + 1) << b->bits, c->clusters);
        for (uint64_t i = from; i < to; i++) {
            if (c->counts[i] > max)
                return -ERANGE;
            qcow2_refcount_set(&shape, block, i - from, c->counts[i]);
        }
        int ret = file_pwrite(c->q->base.file, b->place[n], block, qcow2_cluster_bytes(c->q));
        if (ret)
            return ret;
    }
    return 0;
}

static int drop_old_refcounts(Change *c)
{
    Qcow2 *q = c->q;
    int ret = change_count(c, q->rt_offset, (uint64_t)q->rt_clusters << q->cluster_bits, -1);
    for (uint32_t i = 0; i < q->rt_entries && !ret; i++)
        if (q->rt[i] & ENTRY_OFFSET)
            ret = change_count(c, q->rt[i] & ENTRY_OFFSET, 1, -1);
    return ret;
}

static int write_refcounts(Change *c)
{
    Blocks b = {.bits = c->q->cluster_bits + 3 - c->header.refcount_order};
    int ret = drop_old_refcounts(c);
    if (!ret)
        ret = place_table(c, &b);
    if (!ret)
        ret = write_blocks(c, &b);
    if (!ret) {
        c->rt_entries = (uint32_t)(((uint64_t)c->header.rt_clusters << c->q->cluster_bits) / 8);
        c->rt = g_new0(uint64_t, c->rt_entries);
        memcpy(c->rt, b.place, MIN(b.count, c->rt_entries) * 8);
        g_autofree uint8_t *data = g_malloc(c->rt_entries * 8ULL);
        for (uint32_t i = 0; i < c->rt_entries; i++)
            st64_be(data + i * 8ULL, c->rt[i]);
        ret = file_pwrite(c->q->base.file, c->header.rt_offset, data, c->rt_entries * 8ULL);
    }
    g_free(b.place);
    return ret;
}

/* ---- Where the file ends ---- */

static void count_new_refcounts(Change *c, int delta)
{
    unsigned bits = c->q->cluster_bits;
    for (uint32_t i = 0; i < c->rt_entries; i++)
        if (c->rt[i])
            c->counts[c->rt[i] >> bits] += (uint32_t)delta;
    for (uint32_t i = 0; i < c->header.rt_clusters; i++)
        c->counts[(c->header.rt_offset >> bits) + i] += (uint32_t)delta;
}

static uint64_t first_free(const Change *c, uint64_t from, uint64_t clusters)
{
    for (uint64_t n = 0, at = from;; at++) {
        n = at < c->clusters && c->counts[at] ? 0 : n + 1;
        if (n == clusters)
            return at + 1 - clusters;
    }
}

/* Whether the next change makes the file end below `limit` for sure.  The place of the old counts,
 * which this change must not take, is free for it. */
static bool next_ends_below(Change *c, uint64_t limit)
{
    uint64_t used = 0, blocks = 0, behind = 0, at = 0, table = c->header.rt_clusters;
    for (uint64_t i = 0; i < c->clusters; i++)
        used += c->counts[i] != 0;
    for (uint32_t i = 0; i < c->rt_entries; i++)
        blocks += c->rt[i] != 0;
    count_new_refcounts(c, -1);
    for (uint64_t i = used; i < c->clusters; i++)
        behind += c->counts[i] != 0;
    uint64_t end = change_end_of(c);
    count_new_refcounts(c, 1);
    if (behind) { /* room in one piece is taken from its begin, in whatever order */
        at = behind + c->next_tables + blocks + table;
        return first_free(c, 0, at) + at < limit;
    }
    for (uint64_t i = 0; i < blocks; i++)
        at = first_free(c, at, 1) + 1;
    return MAX(end, first_free(c, at, table) + table) < limit;
}

static bool is_pointless(Change *c)
{
    uint64_t limit = c->must_end_below;
    c->pointless =
        limit && change_end_of(c) >= limit && !(c->next_tables && next_ends_below(c, limit));
    return c->pointless;
}

/* ---- The end ---- */

static int write_snapshots(Change *c)
{
    Qcow2 *q = c->q;
    g_autoptr(GByteArray) table = qcow2_pack_snapshots(c->snapshots, c->header.snapshot_count);
    if (table->len > MAX_SNAPSHOT_BYTES)
        return -EFBIG;
    int ret = q->snapshot_count ? change_count(c, q->snapshots_offset, q->snapshots_bytes, -1) : 0;
    c->snapshots_bytes = table->len;
    return ret ? ret : change_write_bytes(c, table->data, table->len, &c->header.snapshots_offset);
}

/* What the header says now holds in memory, too. */
static void adopt(Change *c)
{
    Qcow2 *q = c->q;
    const Qcow2Header *h = &c->header;
    qcow2_drop_caches(q);
    q->version = h->version;
    q->refcount_order = h->refcount_order;
    q->refblock_bits = q->cluster_bits + 3 - h->refcount_order;
    q->header_bytes = h->version >= 3 ? MAX(q->header_bytes, H_V3_BYTES + 8) : H_V2_BYTES;
    q->base.size = h->size;
    q->l1_offset = h->l1_offset;
    q->l1_entries = h->l1_entries;
    q->rt_offset = h->rt_offset;
    q->rt_clusters = h->rt_clusters;
    q->rt_entries = c->rt_entries;
    q->incompatible = h->incompatible;
    q->compatible = h->compatible;
    q->autoclear = h->autoclear;
    q->backing_at = h->backing_at;
    q->has_bitmaps = h->has_bitmaps;
    q->bitmap_count = h->bitmap_count;
    q->bitmaps_offset = h->bitmaps_offset;
    q->bitmaps_bytes = h->bitmaps_bytes;
    if (c->bitmaps) {
        g_free(q->bitmaps);
        q->bitmaps = g_steal_pointer(&c->bitmaps);
        for (unsigned i = 0; i < q->bitmap_count; i++)
            if (q->bitmaps[i].new_bits) {
                g_free(q->bitmaps[i].bits);
                q->bitmaps[i].bits = g_steal_pointer(&q->bitmaps[i].new_bits);
                q->bitmaps[i].changed = true;
            }
    }
    if (c->snapshots) {
        g_free(q->snapshots);
        q->snapshots = g_steal_pointer(&c->snapshots);
        q->snapshot_count = h->snapshot_count;
        q->snapshots_offset = h->snapshots_offset;
        q->snapshots_bytes = c->snapshots_bytes;
    }
    g_free(q->l1);
    g_free(q->rt);
    q->l1 = g_steal_pointer(&c->l1);
    q->rt = g_steal_pointer(&c->rt);
    q->free_hint = q->packed_end = 0;
    q->l1_dirty_from = q->l1_dirty_to = q->rt_dirty_from = q->rt_dirty_to = 0;
    qcow2_claim_metadata(q); /* what is wrong now is said, and keeps it from being written */
}

static int finish(Change *c, GError **error)
{
    Qcow2 *q = c->q;
    int ret =
        c->new_l1 && !c->keep_old_l1 ? change_count(c, q->l1_offset, q->l1_entries * 8ULL, -1) : 0;
    if (!ret && c->new_l1)
        ret = change_write_words(c, c->l1, c->header.l1_entries, &c->header.l1_offset);
    if (!ret && c->snapshots)
        ret = write_snapshots(c);
    if (!ret)
        ret = write_refcounts(c);
    if (!ret && is_pointless(c))
        ret = -ECANCELED;
    if (ret)
        return ret;
    g_autoptr(GByteArray) h = qcow2_build_header(q, &c->header, error);
    ret = h ? qcow2_switch_header(q, h) : -EINVAL;
    if (!ret)
        adopt(c);
    return ret;
}

bool change_end(Change *c, int ret, const char *what, GError **error)
{
    GError *why = NULL;
    if (!ret)
        ret = finish(c, &why);
    clear(c);
    if (!ret)
        return true;
    if (why) {
        g_propagate_error(error, why);
        return false;
    }
    if (ret == -ERANGE)
        return fail(error, "'%s': its reference counts of %u bits are too small to %s",
                    c->q->base.name, 1u << c->header.refcount_order, what);
    return fail_errno(error, -ret, "'%s': cannot %s", c->q->base.name, what);
}
