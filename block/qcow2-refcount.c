/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: which clusters of the file are in use.
 *
 * A refcount block that is missing stands for zeros.  A new one is placed at the first cluster of
 * the range that it describes, which is free by definition: so a block always counts itself, and
 * making one never needs another.
 */
#include <errno.h>
#include <string.h>

#include "qcow2.h"
#include "util/bytes.h"

/* ---- Counts of 1 to 64 bits ---- */

uint64_t qcow2_refcount_max(const Qcow2 *q)
{
    return q->refcount_order == 6 ? UINT64_MAX : (1ULL << (1u << q->refcount_order)) - 1;
}

uint64_t qcow2_refcount_get(const Qcow2 *q, const uint8_t *block, uint64_t index)
{
    switch (q->refcount_order) {
    case 3:
        return block[index];
    case 4:
        return ld16_be(block + index * 2);
    case 5:
        return ld32_be(block + index * 4);
    case 6:
        return ld64_be(block + index * 8);
    default: /* 1, 2 or 4 bits, the lowest first */
        return bits_get(block[index << q->refcount_order >> 3],
                        (unsigned)(index << q->refcount_order & 7), 1u << q->refcount_order);
    }
}

void qcow2_refcount_set(const Qcow2 *q, uint8_t *block, uint64_t index, uint64_t value)
{
    uint8_t *byte = &block[index << q->refcount_order >> 3];
    switch (q->refcount_order) {
    case 3:
        *byte = (uint8_t)value;
        break;
    case 4:
        st16_be(byte, (uint16_t)value);
        break;
    case 5:
        st32_be(byte, (uint32_t)value);
        break;
    case 6:
        st64_be(byte, value);
        break;
    default:
        *byte = (uint8_t)bits_set(*byte, (unsigned)(index << q->refcount_order & 7),
                                  1u << q->refcount_order, value);
    }
}

/* ---- Where metadata lies ---- */

static void *cluster_key(uint64_t cluster)
{
    return (void *)(uintptr_t)cluster;
}

void qcow2_note_metadata(Qcow2 *q, uint64_t offset, uint64_t bytes, bool is)
{
    if (!q->metadata || !bytes)
        return;
    for (uint64_t c = offset >> q->cluster_bits; c <= (offset + bytes - 1) >> q->cluster_bits; c++)
        if (is)
            g_hash_table_add(q->metadata, cluster_key(c));
        else
            g_hash_table_remove(q->metadata, cluster_key(c));
}

bool qcow2_is_metadata(const Qcow2 *q, uint64_t offset, uint64_t bytes)
{
    for (uint64_t c = offset >> q->cluster_bits; c <= (offset + bytes - 1) >> q->cluster_bits; c++)
        if (g_hash_table_contains(q->metadata, cluster_key(c)))
            return true;
    return false;
}

/* Counts a table among the metadata, and finds out if two of them overlap. */
static int claim(Qcow2 *q, uint64_t offset, uint64_t bytes, const char *what)
{
    if (!bytes)
        return 0;
    if (offset & q->cluster_mask)
        return qcow2_corrupt(q, "%s at 0x%" PRIx64 " is not aligned", what, offset);
    if (qcow2_is_metadata(q, offset, bytes))
        return qcow2_corrupt(q, "%s at 0x%" PRIx64 " overlaps another table", what, offset);
    qcow2_note_metadata(q, offset, bytes, true);
    return 0;
}

static int claim_all(Qcow2 *q)
{
    uint64_t cluster = qcow2_cluster_bytes(q);
    int ret = claim(q, 0, cluster, "the header");
    if (!ret)
        ret = claim(q, q->l1_offset, q->l1_entries * 8ULL, "the L1 table");
    if (!ret)
        ret = claim(q, q->rt_offset, q->rt_clusters * cluster, "the refcount table");
    if (!ret)
        ret = claim(q, q->snapshots_offset, q->snapshots_bytes, "the snapshot table");
    if (!ret && q->crypt_method == CRYPT_LUKS)
        ret = claim(q, q->crypt_offset, q->crypt_bytes, "the LUKS header");
    if (!ret && q->bitmap_count)
        ret = claim(q, q->bitmaps_offset, q->bitmaps_bytes, "the bitmap directory");
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++)
        ret = claim(q, q->bitmaps[i].table_offset, q->bitmaps[i].table_entries * 8ULL,
                    "a bitmap's table");
    for (unsigned i = 0; i < q->snapshot_count && !ret; i++)
        if (!q->snapshots[i].fault)
            ret = claim(q, q->snapshots[i].l1_offset, q->snapshots[i].l1_entries * 8ULL,
                        "a snapshot's L1 table");
    for (uint32_t i = 0; i < q->rt_entries && !ret; i++)
        if (q->rt[i] & ENTRY_OFFSET)
            ret = claim(q, q->rt[i] & ENTRY_OFFSET, cluster, "a refcount block");
    for (uint32_t i = 0; i < q->l1_entries && !ret; i++)
        if (q->l1[i] & ENTRY_OFFSET)
            ret = claim(q, q->l1[i] & ENTRY_OFFSET, cluster, "an L2 table");
    return ret;
}

int qcow2_claim_metadata(Qcow2 *q)
{
    g_clear_pointer(&q->metadata, g_hash_table_unref);
    q->metadata = g_hash_table_new(g_direct_hash, g_direct_equal);
    int ret = claim_all(q);
    if (ret)
        g_clear_pointer(&q->metadata, g_hash_table_unref);
    return ret;
}

/* What other programs keep in step with the data is out of step from now on (8). */
static int clear_unknown_claims(Qcow2 *q)
{
    uint64_t old = q->autoclear;
    uint64_t kept = AUTOCLEAR_RAW_DATA | (q->has_bitmaps ? AUTOCLEAR_BITMAPS : 0);
    if (!(old & ~kept))
        return 0;
    q->autoclear &= kept;
    int ret = qcow2_write_features(q);
    if (!ret)
        ret = file_flush(q->base.file);
    if (ret)
        q->autoclear = old;
    return ret;
}

int qcow2_begin_writing(Qcow2 *q)
{
    int ret = 0;
    co_mutex_lock(&q->begin_lock);
    if (!q->begun) {
        ret = qcow2_claim_metadata(q);
        if (!ret)
            ret = qcow2_record_bitmaps(q);
        if (!ret)
            ret = clear_unknown_claims(q);
        q->begun = !ret;
    }
    co_mutex_unlock(&q->begin_lock);
    return ret;
}

/* ---- Refcount blocks ---- */

/* The page with the count of a cluster, pinned; *index: its place there.  The block exists. */
static int count_page(Qcow2 *q, uint64_t cluster, MetaPage **page, uint64_t *index)
{
    uint64_t block = cluster >> q->refblock_bits;
    uint64_t per_page = (uint64_t)q->refcounts.page_bytes * 8 >> q->refcount_order;
    uint64_t n = bits_get(cluster, 0, q->refblock_bits);
    uint64_t offset = q->rt[block] & ENTRY_OFFSET;
    if (offset & q->cluster_mask)
        return qcow2_corrupt(q, "refcount block 0x%" PRIx64 " is not aligned", offset);
    *index = n % per_page;
    return meta_get(&q->refcounts, offset + n / per_page * q->refcounts.page_bytes, page);
}

static void count_set(Qcow2 *q, MetaPage *page, uint64_t index, uint64_t value)
{
    uint64_t bit = index << q->refcount_order;
    qcow2_refcount_set(q, page->data, index, value);
    meta_dirty(page, (uint32_t)(bit / 8), (uint32_t)((bit + (1u << q->refcount_order) + 7) / 8));
}

/* Whether what the table says of the block that has the count can be one. */
static bool block_is_broken(const Qcow2 *q, uint64_t cluster)
{
    return q->rt[cluster >> q->refblock_bits] & ENTRY_OFFSET & q->cluster_mask;
}

static bool block_exists(const Qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->refblock_bits;
    return block < q->rt_entries && (q->rt[block] & ENTRY_OFFSET);
}

int qcow2_count_get(Qcow2 *q, uint64_t cluster, uint64_t *count)
{
    MetaPage *page;
    uint64_t index;
    *count = 0;
    if (!block_exists(q, cluster) || block_is_broken(q, cluster))
        return 0;
    int ret = count_page(q, cluster, &page, &index);
    if (ret)
        return ret;
    *count = qcow2_refcount_get(q, page->data, index);
    meta_put(page);
    return 0;
}

int qcow2_counts_match(Qcow2 *q, uint64_t cluster, const uint32_t *found, uint64_t n,
                       uint64_t *same)
{
    MetaPage *page;
    uint64_t index, per_page = (uint64_t)q->refcounts.page_bytes * 8 >> q->refcount_order;
    *same = 0;
    if (!block_exists(q, cluster) || block_is_broken(q, cluster))
        return 0;
    int ret = count_page(q, cluster, &page, &index);
    if (ret)
        return ret;
    uint64_t i = 0, max = MIN(n, per_page - index);
    if (q->refcount_order == 4)
        while (i < max && ld16_be(page->data + (index + i) * 2) == found[i])
            i++;
    else
        while (i < max && qcow2_refcount_get(q, page->data, index + i) == found[i])
            i++;
    meta_put(page);
    *same = i;
    return 0;
}

int qcow2_count_set(Qcow2 *q, uint64_t cluster, uint64_t count)
{
    MetaPage *page;
    uint64_t index;
    if (!block_exists(q, cluster))
        return -ENOENT;
    int ret = count_page(q, cluster, &page, &index);
    if (ret)
        return ret;
    count_set(q, page, index, count);
    meta_put(page);
    return 0;
}

/* Adds delta (1 or -1) to a cluster's count; *count: what it is then. */
static int count_add(Qcow2 *q, uint64_t cluster, int delta, uint64_t *count)
{
    MetaPage *page;
    uint64_t index;
    if (!block_exists(q, cluster))
        return qcow2_bad(q, "cluster 0x%" PRIx64 " is used but not counted",
                         cluster << q->cluster_bits);
    int ret = count_page(q, cluster, &page, &index);
    if (ret)
        return ret;
    uint64_t old = qcow2_refcount_get(q, page->data, index);
    if (delta < 0 ? !old : old == qcow2_refcount_max(q)) {
        meta_put(page);
        return qcow2_bad(q, "the count of cluster 0x%" PRIx64 " is wrong",
                         cluster << q->cluster_bits);
    }
    *count = old + (uint64_t)(int64_t)delta;
    count_set(q, page, index, *count);
    meta_put(page);
    return 0;
}

static bool reads_as_zeros(const Qcow2 *q, uint64_t offset)
{
    return q->base.file->sparse && offset >= q->base.file->size;
}

/* Makes the refcount block for a range of clusters that has none.  The table has an entry for it.
 */
static int make_block(Qcow2 *q, uint64_t block)
{
    uint64_t offset = block << (q->refblock_bits + q->cluster_bits);
    if (offset > ENTRY_OFFSET - qcow2_cluster_bytes(q))
        return -EFBIG;
    if (qcow2_is_metadata(q, offset, qcow2_cluster_bytes(q)))
        return qcow2_corrupt(q, "the image's own tables at 0x%" PRIx64 " are not counted", offset);
    /* Only changed parts of it are written, so the rest must be zeros in the file (2). */
    int ret = reads_as_zeros(q, offset)
                  ? 0
                  : file_zero(q->base.file, offset, qcow2_cluster_bytes(q), false);
    MetaPage *page = ret ? NULL : meta_get_zeroed(&q->refcounts, offset);
    if (!page)
        return ret ? ret : -ENOMEM;
    count_set(q, page, 0, 1);
    meta_put(page);
    qcow2_note_metadata(q, offset, qcow2_cluster_bytes(q), true);
    q->rt[block] = offset;
    if (q->rt_dirty_from == q->rt_dirty_to) {
        q->rt_dirty_from = (uint32_t)block;
        q->rt_dirty_to = (uint32_t)block + 1;
    } else {
        q->rt_dirty_from = MIN(q->rt_dirty_from, (uint32_t)block);
        q->rt_dirty_to = MAX(q->rt_dirty_to, (uint32_t)block + 1);
    }
    return 0;
}

/* ---- A larger refcount table ---- */

/* The new table and the blocks that count it lie behind all that the old one could count. */
typedef struct Growth {
    uint64_t start; /* file offset of table, then blocks */
    uint64_t table_clusters, blocks;
    uint64_t entries;
    uint8_t *data; /* both, as they go to the file */
} Growth;

static bool plan_growth(const Qcow2 *q, Growth *g)
{
    uint64_t per_block = 1ULL << q->refblock_bits, cluster = qcow2_cluster_bytes(q);
    g->start = (uint64_t)q->rt_entries << (q->refblock_bits + q->cluster_bits);
    g->table_clusters = q->rt_clusters + q->rt_clusters / 2 + 1ULL;
    do { /* room for the blocks, too: more of them may take more table */
        g->entries = g->table_clusters * cluster / 8;
        g->blocks = 1;
        while (g->blocks * per_block < g->table_clusters + g->blocks)
            g->blocks++;
    } while (g->entries < q->rt_entries + g->blocks && g->table_clusters++);
    return g->table_clusters * cluster <= MAX_REFTABLE_BYTES &&
           g->start <= ENTRY_OFFSET - ((g->table_clusters + g->blocks) << q->cluster_bits);
}

static void fill_growth(const Qcow2 *q, Growth *g)
{
    uint64_t cluster = qcow2_cluster_bytes(q);
    uint64_t table_bytes = g->table_clusters * cluster;
    g->data = g_malloc0(table_bytes + g->blocks * cluster);
    for (uint32_t i = 0; i < q->rt_entries; i++)
        st64_be(g->data + i * 8ULL, q->rt[i]);
    for (uint64_t i = 0; i < g->blocks; i++)
        st64_be(g->data + (q->rt_entries + i) * 8, g->start + table_bytes + i * cluster);
    for (uint64_t i = 0; i < g->table_clusters + g->blocks; i++)
        qcow2_refcount_set(q, g->data + table_bytes, i, 1);
}

static int write_growth(Qcow2 *q, const Growth *g)
{
    uint8_t header[12];
    uint64_t bytes = (g->table_clusters + g->blocks) << q->cluster_bits;
    int ret = file_pwrite(q->base.file, g->start, g->data, bytes);
    if (!ret)
        ret = file_flush(q->base.file); /* (5) */
    if (ret)
        return ret;
    st64_be(header, g->start);
    st32_be(header + 8, (uint32_t)g->table_clusters);
    ret = file_pwrite(q->base.file, H_REFTABLE_OFFSET, header, sizeof(header));
    if (!ret)
        ret = file_flush(q->base.file);
    return ret;
}

/* The allocation lock is held, so no table entry changes meanwhile. */
static int grow_table(Qcow2 *q)
{
    Growth g;
    if (!plan_growth(q, &g))
        return -EFBIG;
    int ret = qcow2_commit(q, false); /* the new table must not name a block before it is written */
    if (ret)
        return ret;
    fill_growth(q, &g);
    ret = write_growth(q, &g);
    if (!ret) {
        uint64_t cluster = qcow2_cluster_bytes(q);
        uint64_t bytes = (g.table_clusters + g.blocks) * cluster;
        qcow2_note_metadata(q, q->rt_offset, q->rt_clusters * cluster, false);
        qcow2_note_metadata(q, g.start, bytes, true);
        qcow2_free_later(q, q->rt_offset, q->rt_clusters);
        q->rt = g_renew(uint64_t, q->rt, g.entries);
        for (uint64_t i = q->rt_entries; i < g.entries; i++)
            q->rt[i] = ld64_be(g.data + i * 8);
        q->rt_entries = (uint32_t)g.entries;
        q->rt_offset = g.start;
        q->rt_clusters = (uint32_t)g.table_clusters;
    }
    g_free(g.data);
    return ret;
}

/* Sees to it that a cluster's count can be written.  The allocation lock is held. */
static int ensure_block(Qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->refblock_bits;
    int ret = 0;
    while (block >= q->rt_entries && !ret)
        ret = grow_table(q);
    if (!ret && !(q->rt[block] & ENTRY_OFFSET))
        ret = make_block(q, block);
    return ret;
}

/* ---- Allocating ---- */

/* Counts a run of free clusters that begins at or after `cluster` within the page that counts it:
 * *got may be 0. */
static int take_in_page(Qcow2 *q, uint64_t *cluster, uint64_t wanted, uint64_t *got)
{
    MetaPage *page;
    uint64_t index;
    uint64_t per_page = (uint64_t)q->refcounts.page_bytes * 8 >> q->refcount_order;
    int ret = count_page(q, *cluster, &page, &index);
    if (ret)
        return ret;
    *got = 0;
    while (index < per_page && qcow2_refcount_get(q, page->data, index)) {
        index++;
        (*cluster)++;
    }
    while (index < per_page && *got < wanted && !qcow2_refcount_get(q, page->data, index)) {
        uint64_t offset = (*cluster + *got) << q->cluster_bits;
        if (qcow2_is_metadata(q, offset, 1)) {
            ret =
                qcow2_corrupt(q, "the image's own tables at 0x%" PRIx64 " are not counted", offset);
            break;
        }
        index++;
        (*got)++;
    }
    for (uint64_t i = 1; !ret && i <= *got; i++)
        count_set(q, page, index - i, 1);
    meta_put(page);
    return ret;
}

static int find_clusters(Qcow2 *q, uint64_t wanted, uint64_t *offset, uint64_t *got)
{
    int ret = 0;
    *got = 0;
    uint64_t cluster = q->free_hint;
    while (!ret && !*got) {
        if (cluster > ENTRY_OFFSET >> q->cluster_bits)
            return -EFBIG;
        ret = ensure_block(q, cluster);
        if (!ret)
            ret = take_in_page(q, &cluster, wanted, got);
    }
    *offset = cluster << q->cluster_bits;
    if (!ret)
        q->free_hint = cluster + *got;
    return ret;
}

int qcow2_alloc_clusters(Qcow2 *q, uint64_t clusters, uint64_t *offset, uint64_t *got, bool *fresh)
{
    co_mutex_lock(&q->alloc_lock);
    int ret = find_clusters(q, clusters, offset, got);
    co_mutex_unlock(&q->alloc_lock);
    *fresh = !ret && reads_as_zeros(q, *offset);
    return ret;
}

/* Whether the cluster behind the last packed one is free: then it continues it. */
static int take_next(Qcow2 *q, uint64_t cluster, bool *taken)
{
    MetaPage *page;
    uint64_t index;
    *taken = false;
    int ret = ensure_block(q, cluster);
    if (!ret)
        ret = count_page(q, cluster, &page, &index);
    if (ret)
        return ret;
    if (!qcow2_refcount_get(q, page->data, index) &&
        !qcow2_is_metadata(q, cluster << q->cluster_bits, 1)) {
        count_set(q, page, index, 1);
        *taken = true;
    }
    meta_put(page);
    return 0;
}

/* Room behind the last compressed cluster; *offset 0 if there is none. */
static int continue_packed(Qcow2 *q, uint64_t bytes, uint64_t *offset)
{
    uint64_t end = q->packed_end, count = 0;
    uint64_t left = end ? qcow2_cluster_bytes(q) - (end & q->cluster_mask) : 0;
    bool taken = false;
    int ret = 0;
    *offset = 0;
    if (!end)
        return 0;
    if (bytes > left) {
        ret = take_next(q, (end >> q->cluster_bits) + 1, &taken);
        if (ret || !taken)
            return ret;
    }
    /* Another reference to the cluster that the last one ended in, if it can be counted. */
    if (q->packed_end == end)
        ret = qcow2_count_get(q, end >> q->cluster_bits, &count);
    if (!ret && q->packed_end == end && count < qcow2_refcount_max(q))
        ret = count_add(q, end >> q->cluster_bits, 1, &count);
    else
        ret = ret ? ret : -EAGAIN;
    if (!ret)
        *offset = end;
    else if (taken)
        qcow2_free_now(q, (end & ~q->cluster_mask) + qcow2_cluster_bytes(q), 1);
    return ret == -EAGAIN ? 0 : ret;
}

int qcow2_alloc_packed(Qcow2 *q, uint64_t bytes, uint64_t *offset)
{
    uint64_t got;
    co_mutex_lock(&q->alloc_lock);
    int ret = continue_packed(q, bytes, offset);
    if (!ret && !*offset)
        ret = find_clusters(q, 1, offset, &got);
    if (!ret) {
        uint64_t end = *offset + bytes;
        q->packed_end = end & q->cluster_mask ? end : 0;
    }
    co_mutex_unlock(&q->alloc_lock);
    return ret;
}

/* ---- Freeing ---- */

static int free_one(Qcow2 *q, uint64_t cluster)
{
    uint64_t count, offset = cluster << q->cluster_bits;
    int ret = count_add(q, cluster, -1, &count);
    if (ret || count)
        return ret;
    if (q->packed_end >> q->cluster_bits == cluster)
        q->packed_end = 0;
    q->free_hint = MIN(q->free_hint, cluster);
    qcow2_note_metadata(q, offset, qcow2_cluster_bytes(q), false);
    return 0;
}

/* Whether a cluster is about to lose its last reference.  Then it gets no new one: nothing
 * compressed is put into its rest any more. */
static bool is_leaving(Qcow2 *q, uint64_t cluster)
{
    MetaPage *page;
    uint64_t index;
    if (!block_exists(q, cluster) || count_page(q, cluster, &page, &index))
        return false;
    bool last = qcow2_refcount_get(q, page->data, index) == 1 &&
                !qcow2_is_metadata(q, cluster << q->cluster_bits, 1);
    meta_put(page);
    if (last && q->packed_end >> q->cluster_bits == cluster)
        q->packed_end = 0;
    return last;
}

/* Gives space back to the host while its clusters still count as used, so that nobody can get them
 * meanwhile. */
static void discard_run(Qcow2 *q, uint64_t first, uint64_t end)
{
    if (end > first)
        file_discard(q->base.file, first << q->cluster_bits, (end - first) << q->cluster_bits);
}

static void discard_last(Qcow2 *q, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t c = first;
        while (c < end && is_leaving(q, c))
            c++;
        discard_run(q, first, c);
        first = c + 1;
    }
}

int qcow2_free_now(Qcow2 *q, uint64_t offset, uint64_t clusters)
{
    int ret = 0;
    uint64_t first = offset >> q->cluster_bits;
    meta_forget(&q->l2, offset, clusters << q->cluster_bits);
    if (q->base.mode.discard)
        discard_last(q, first, first + clusters);
    for (uint64_t c = first; c < first + clusters; c++) {
        int one = free_one(q, c);
        ret = ret ? ret : one;
    }
    return ret;
}

void qcow2_free_later(Qcow2 *q, uint64_t offset, uint64_t clusters)
{
    GArray *list = q->pending_free;
    if (list->len) {
        PendingFree *last = &g_array_index(list, PendingFree, list->len - 1);
        if (last->offset + (last->clusters << q->cluster_bits) == offset) {
            last->clusters += clusters;
            return;
        }
    }
    PendingFree new = {offset, clusters};
    g_array_append_val(list, new);
}
