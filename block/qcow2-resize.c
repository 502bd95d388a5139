/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: another size.
 *
 * Larger: whatever might show in the new range is zeroed behind the disk's end first; then the
 * header tells the new size.  Smaller: tables and size change in one step (qcow2-change.h).
 */
#include <errno.h>

#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

/* ---- Larger ---- */

/* Whether L1 entries behind the disk hold something: a VM state that was applied. */
static bool has_state(const Qcow2 *q)
{
    for (uint64_t i = qcow2_l1_needed(q, q->base.size); i < q->l1_entries; i++)
        if (q->l1[i])
            return true;
    return false;
}

static bool reach_size(Qcow2 *q, uint64_t size, GError **error)
{
    Change c;
    int ret = 0;
    uint64_t needed = qcow2_l1_needed(q, size);
    if (needed <= q->l1_entries && !has_state(q))
        return true;
    if (!change_begin(&c, q, error))
        return false;
    for (uint64_t i = qcow2_l1_needed(q, q->base.size); i < q->l1_entries && !ret; i++) {
        ret = change_drop_l1_entry(&c, c.l1[i]);
        c.l1[i] = 0;
    }
    GError *why = NULL;
    if (!ret && !change_l1_size(&c, MAX(needed, q->l1_entries), &why))
        ret = -EFBIG;
    bool ok = change_end(&c, ret, "make its L1 table larger", why ? NULL : error);
    if (why)
        g_propagate_error(error, why);
    return ok;
}

/* How far entries behind the old end may hold something, or the backing file shines through. */
static uint64_t end_of_doubt(const Qcow2 *q, uint64_t size)
{
    const BlkNode *node = &q->base;
    uint64_t tables = qcow2_l1_needed(q, node->size) << (q->cluster_bits + q->l2_bits);
    if (node->backing)
        return MIN(size, MAX(tables, node->backing->size));
    return node->backing_name ? size : MIN(size, tables);
}

/* Bitmaps change with the size, in one step. */
static bool write_size_and_bitmaps(Qcow2 *q, uint64_t size, GError **error)
{
    Change c;
    if (!change_begin(&c, q, error))
        return false;
    c.header.size = size;
    int ret = change_resize_bitmaps(&c);
    return change_end(&c, ret, "enlarge it", error);
}

static bool write_size(Qcow2 *q, uint64_t size, GError **error)
{
    Qcow2Header n = qcow2_header_of(q);
    n.size = size;
    if (q->bitmap_count)
        return write_size_and_bitmaps(q, size, error);
    g_autoptr(GByteArray) h = qcow2_build_header(q, &n, error);
    if (!h)
        return false;
    int ret = qcow2_switch_header(q, h);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot enlarge it", q->base.name);
    q->backing_at = n.backing_at;
    q->base.size = size;
    return true;
}

/* Behind the old end: zeros, and room if it is asked for. */
static int prepare(Qcow2 *q, uint64_t old, uint64_t size, Preallocation how)
{
    BlkNode *node = &q->base;
    uint64_t end = end_of_doubt(q, size);
    node->size = size;
    int ret = qcow2_balance(node);
    if (!ret && q->data_file && q->data_file->sparse)
        ret = file_truncate(q->data_file, MAX(q->data_file->size, size));
    if (!ret && end > old)
        ret = node_zero_held(node, old, end - old);
    if (!ret && how != PREALLOC_OFF)
        ret = qcow2_preallocate(node, old, how);
    if (!ret)
        ret = qcow2_commit(q, true);
    return ret;
}

static bool grow(Qcow2 *q, uint64_t size, Preallocation how, GError **error)
{
    uint64_t old = q->base.size, first = align_up(old, q->base.cluster);
    if (!reach_size(q, size, error))
        return false;
    int ret = prepare(q, old, size, how);
    q->base.size = old;
    if (!ret && write_size(q, size, error))
        return true;
    /* What was prepared is not needed; if that fails, too, it stays invisible. */
    q->base.size = size;
    if (first < size && !q->corrupt)
        qcow2_discard(&q->base, first, size - first, DISCARD_FULLY);
    q->base.size = old;
    return ret ? fail_errno(error, -ret, "'%s': cannot enlarge it", q->base.name) : false;
}

/* ---- Smaller ---- */

/* The table that the new end lies in loses the entries behind it. */
static int cut_table(Change *c, uint64_t *l1_entry, unsigned from)
{
    const Qcow2 *q = c->q;
    if (!(*l1_entry & ENTRY_OFFSET))
        return 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(q));
    int ret = change_read_table(c, *l1_entry, table);
    for (unsigned i = 0; i < 1u << q->l2_bits && !ret; i++) {
        L2Entry entry = qcow2_table_entry(q, table, i);
        uint64_t host = entry.word & ENTRY_OFFSET;
        if (i >= from) {
            ret = change_count_entry(c, entry.word, -1);
            entry = (L2Entry){0, 0};
        } else if (!(entry.word & ENTRY_COMPRESSED) && host && !q->data_name &&
                   (host >> q->cluster_bits >= c->clusters ||
                    c->counts[host >> q->cluster_bits] != 1)) {
            entry.word &= ~ENTRY_COPIED; /* it was shared with a snapshot's table, or wrong */
        }
        qcow2_table_set(q, table, i, entry);
    }
    if (!ret)
        ret = change_count(c, *l1_entry & ENTRY_OFFSET, 1, -1);
    return ret ? ret : change_write_table(c, table, l1_entry);
}

static bool shrink(Qcow2 *q, uint64_t size, GError **error)
{
    Change c;
    int ret = 0;
    uint64_t needed = qcow2_l1_needed(q, size);
    if (!change_begin(&c, q, error))
        return false;
    for (uint64_t i = needed; i < q->l1_entries && !ret; i++)
        ret = change_drop_l1_entry(&c, c.l1[i]);
    uint64_t clusters = (size + q->cluster_mask) >> q->cluster_bits;
    unsigned from = (unsigned)bits_get(clusters, 0, q->l2_bits);
    if (!ret && from)
        ret = cut_table(&c, &c.l1[needed - 1], from);
    c.header.size = size;
    if (!ret)
        ret = change_resize_bitmaps(&c);
    change_l1_size(&c, needed, NULL);
    if (!change_end(&c, ret, "make it smaller", error))
        return false;
    if (q->data_file && q->data_file->sparse)
        file_truncate(q->data_file, size);
    qcow2_trim(q); /* what remains is only longer than it need be */
    return true;
}

int qcow2_trim(Qcow2 *q)
{
    uint64_t clusters = (q->base.file->size + q->cluster_mask) >> q->cluster_bits, count = 0;
    if (!q->base.file->sparse)
        return 0;
    while (clusters && !count) {
        int ret = qcow2_count_get(q, clusters - 1, &count);
        if (ret)
            return ret;
        clusters -= !count;
    }
    uint64_t end = clusters << q->cluster_bits;
    return clusters && end < q->base.file->size ? file_truncate(q->base.file, end) : 0;
}

bool qcow2_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error)
{
    Qcow2 *q = qcow2(node);
    if (q->version < 3 && q->snapshot_count)
        return fail(error,
                    "'%s': snapshots in an image of version 2 do not know their size, so it "
                    "cannot change; amend it to compat=1.1 first",
                    node->name);
    if (q->data_name && !q->data_file)
        return fail(error, "'%s': its data file is not open", node->name);
    for (unsigned i = 0; i < q->bitmap_count; i++)
        if (q->bitmaps[i].info.inconsistent)
            return fail(error, "'%s': bitmap '%s' was not stored properly; remove it first",
                        node->name, q->bitmaps[i].info.name);
    if (size < node->size && how != PREALLOC_OFF)
        return fail(error, "'%s': preallocation is for images that grow", node->name);
    return size < node->size ? shrink(q, size, error) : grow(q, size, how, error);
}
