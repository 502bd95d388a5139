/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: the order in which metadata reaches the file.  Numbers are those of
 * docs/qcow2-invariants.md.
 *
 * All changes are made in memory first.  A commit takes a copy of everything that is dirty at one
 * moment, and writes it in an order in which every prefix is a consistent image, at worst with
 * leaks:
 *
 *     refcount blocks                         (data was written before it was linked)
 *     - flush, if the refcount table changed  (2)
 *     refcount table
 *     - flush                                 (1, 3)
 *     L2 tables
 *     - flush, if the L1 table changed        (2)
 *     L1 table
 *     - flush                                 (4, 7)
 *     in memory: what these tables gave up becomes free
 *
 * Changes made while a commit waits go into the next one.
 */
#include <errno.h>
#include <string.h>

#include "qcow2.h"
#include "util/bytes.h"

typedef struct Batch {
    GArray *refcounts, *reftable, *l2, *l1; /* of MetaWrite */
    uint32_t rt_from, rt_to, l1_from, l1_to;
    GArray *frees; /* of PendingFree */
} Batch;

/* Turns entries [from, to) of a table in memory into one write. */
static GArray *collect_table(const uint64_t *table, uint64_t offset, uint32_t from, uint32_t to)
{
    GArray *writes = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    if (from == to)
        return writes;
    MetaWrite write = {.offset = offset + from * 8ULL, .bytes = (to - from) * 8};
    write.copy = g_malloc(write.bytes);
    for (uint32_t i = from; i < to; i++)
        st64_be(write.copy + (i - from) * 8, table[i]);
    g_array_append_val(writes, write);
    return writes;
}

/* Nothing else runs here: the batch is the state of one moment. */
static void collect(Qcow2 *q, Batch *b)
{
    *b = (Batch){.rt_from = q->rt_dirty_from,
                 .rt_to = q->rt_dirty_to,
                 .l1_from = q->l1_dirty_from,
                 .l1_to = q->l1_dirty_to};
    b->refcounts = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    b->l2 = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    meta_collect(&q->refcounts, b->refcounts);
    meta_collect(&q->l2, b->l2);
    b->reftable = collect_table(q->rt, q->rt_offset, b->rt_from, b->rt_to);
    b->l1 = collect_table(q->l1, q->l1_offset, b->l1_from, b->l1_to);
    q->rt_dirty_from = q->rt_dirty_to = q->l1_dirty_from = q->l1_dirty_to = 0;
    b->frees = q->pending_free;
    q->pending_free = g_array_new(FALSE, FALSE, sizeof(PendingFree));
}

int qcow2_sync(Qcow2 *q)
{
    int ret = q->data_file ? file_flush(q->data_file) : 0;
    return ret ? ret : file_flush(q->base.file);
}

static int flush_and_write(Qcow2 *q, const GArray *writes)
{
    int ret = writes->len ? qcow2_sync(q) : 0;
    return ret ? ret : meta_write(q->base.file, writes);
}

static int write_in_order(Qcow2 *q, const Batch *b, bool durable)
{
    int ret = meta_write(q->base.file, b->refcounts);
    if (!ret)
        ret = flush_and_write(q, b->reftable);
    if (!ret)
        ret = flush_and_write(q, b->l2);
    if (!ret)
        ret = flush_and_write(q, b->l1);
    if (!ret && (durable || b->frees->len))
        ret = qcow2_sync(q);
    return ret;
}

static void widen(uint32_t *from, uint32_t *to, uint32_t old_from, uint32_t old_to)
{
    if (old_from == old_to)
        return;
    bool empty = *from == *to;
    *from = empty ? old_from : MIN(*from, old_from);
    *to = empty ? old_to : MAX(*to, old_to);
}

/* Nothing of a batch that failed counts as written: the next commit does it all again. */
static void put_back(Qcow2 *q, const Batch *b)
{
    widen(&q->rt_dirty_from, &q->rt_dirty_to, b->rt_from, b->rt_to);
    widen(&q->l1_dirty_from, &q->l1_dirty_to, b->l1_from, b->l1_to);
    g_array_prepend_vals(q->pending_free, b->frees->data, b->frees->len);
}

static void free_pending(Qcow2 *q, const GArray *frees)
{
    for (unsigned i = 0; i < frees->len; i++) {
        const PendingFree *f = &g_array_index(frees, PendingFree, i);
        /* If a count cannot be read the clusters leak, which is all right. */
        qcow2_free_now(q, f->offset, f->clusters);
    }
}

int qcow2_commit(Qcow2 *q, bool durable)
{
    Batch b;
    co_mutex_lock(&q->commit_lock);
    collect(q, &b);
    int ret = write_in_order(q, &b, durable);
    if (ret)
        put_back(q, &b);
    meta_release(b.refcounts, !ret);
    meta_release(b.reftable, !ret);
    meta_release(b.l2, !ret);
    meta_release(b.l1, !ret);
    if (!ret)
        free_pending(q, b.frees);
    g_array_free(b.frees, TRUE);
    co_mutex_unlock(&q->commit_lock);
    return ret;
}

int qcow2_flush(BlkNode *node)
{
    return qcow2_commit(qcow2(node), true);
}

/* What the last commit freed is not written yet; left so, it would leak. */
int qcow2_finish(BlkNode *node)
{
    Qcow2 *q = qcow2(node);
    int ret = qcow2_store_bitmaps(q);
    return !ret && q->refcounts.dirty ? qcow2_commit(q, true) : ret;
}

int qcow2_balance(BlkNode *node)
{
    Qcow2 *q = qcow2(node);
    int ret = q->corrupt ? -EIO : 0;
    if (!ret && !q->begun)
        ret = qcow2_begin_writing(q);
    if (!ret && (meta_crowded(&q->l2) || meta_crowded(&q->refcounts)))
        ret = qcow2_commit(q, false);
    return ret;
}

void qcow2_drop_caches(Qcow2 *q)
{
    meta_drop_all(&q->l2);
    meta_drop_all(&q->refcounts);
}
