/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: zeroing and discarding clusters and subclusters. */
#include <errno.h>

#include "qcow2.h"
#include "util/bytes.h"

/* What an entry becomes; the same entry if it stays.  subs: a bit for each subcluster that is
 * meant, SUBS_ALLOCATED: the whole cluster. */
typedef L2Entry ChangeFn(const Qcow2 *q, L2Entry entry, uint64_t subs, unsigned flags);

/* It may have been left closed (check), or put there by nobody but us (-snapshot). */
static bool has_backing(const Qcow2 *q)
{
    return q->base.backing || q->base.backing_name;
}

/* All of a cluster reads as zeros; word: its place, or 0. */
static L2Entry all_zeros(const Qcow2 *q, uint64_t word)
{
    return q->subs > 1 ? (L2Entry){word, SUBS_ZERO} : (L2Entry){word | ENTRY_ZERO, 0};
}

static bool same(L2Entry a, L2Entry b)
{
    return a.word == b.word && a.subs == b.subs;
}

static bool is_empty(L2Entry entry)
{
    return !entry.word && !entry.subs;
}

/* Part of a cluster reads as zeros; it is given up if it may be and has no data any more. */
static L2Entry zero_subs(L2Entry entry, uint64_t subs, bool give_up)
{
    entry.subs = (entry.subs & ~subs) | subs << SUBCLUSTERS;
    if (give_up && !(entry.subs & SUBS_ALLOCATED))
        entry.word = 0;
    return entry;
}

/* Without a backing file a cluster that is not there reads as zeros, too. */
static L2Entry zero_entry(const Qcow2 *q, L2Entry entry, uint64_t subs, unsigned flags)
{
    bool host = qcow2_has_host(q, entry.word);
    bool own = host && (entry.word & ENTRY_COPIED);
    /* A data file's clusters have their one place anyway. */
    bool keep = own && (q->data_name || !(flags & ZERO_MAY_UNMAP));
    if (is_empty(entry) && !has_backing(q))
        return entry;
    if (q->version < 3)
        return (L2Entry){0, 0};
    if (subs != SUBS_ALLOCATED)
        return zero_subs(entry, subs, !q->data_name && (flags & ZERO_MAY_UNMAP));
    return all_zeros(q, keep ? entry.word & (ENTRY_OFFSET | ENTRY_COPIED) : 0);
}

static L2Entry discard_entry(const Qcow2 *q, L2Entry entry, uint64_t subs, unsigned flags)
{
    bool allocated = (entry.word & ENTRY_COMPRESSED) || qcow2_has_host(q, entry.word);
    if (flags & DISCARD_FULLY)
        return (L2Entry){0, 0};
    if (!allocated)
        return entry;
    if (subs != SUBS_ALLOCATED)
        return zero_subs(entry, subs, true);
    return q->version >= 3 ? all_zeros(q, 0) : (L2Entry){0, 0};
}

static void change_entry(Qcow2 *q, MetaPage *page, unsigned index, uint64_t subs, unsigned flags,
                         ChangeFn *change)
{
    L2Entry old = qcow2_page_entry(q, page, index);
    L2Entry new = change(q, old, subs, flags);
    if (same(new, old))
        return;
    qcow2_page_set(q, page, index, new);
    if (qcow2_has_host(q, new.word))
        return;
    qcow2_drop_entry(q, old.word);
    /* What a commit forgets must be readable until the table is safe (4). */
    if (q->data_name && !(flags & DISCARD_FULLY) && qcow2_has_host(q, old.word))
        file_discard(q->data_file, old.word & ENTRY_OFFSET, qcow2_cluster_bytes(q));
}

/* The subclusters of a cluster from `from` to `to`, as bits. */
static uint64_t subs_between(const Qcow2 *q, uint64_t from, uint64_t to)
{
    if (to - from == qcow2_cluster_bytes(q))
        return SUBS_ALLOCATED;
    unsigned first = (unsigned)(from >> q->sub_bits), end = (unsigned)(to >> q->sub_bits);
    return bits_get(SUBS_ALLOCATED, 0, end - first) << first;
}

/* *offset: where to go on.  -ENOTSUP: all but parts of compressed clusters was done. */
static int change_page(Qcow2 *q, uint64_t *offset, uint64_t end, unsigned flags, ChangeFn *change)
{
    MetaPage *page;
    unsigned index;
    int ret = qcow2_l2_page_own(q, *offset, &page, &index);
    if (ret)
        return ret;
    for (; *offset < end && index < qcow2_page_entries(q); index++) {
        uint64_t from = *offset & q->cluster_mask;
        uint64_t to = MIN(qcow2_cluster_bytes(q), from + (end - *offset));
        uint64_t subs = subs_between(q, from, to);
        bool packed = qcow2_page_entry(q, page, index).word & ENTRY_COMPRESSED;
        if (packed && subs != SUBS_ALLOCATED)
            ret = -ENOTSUP;
        else
            change_entry(q, page, index, subs, flags, change);
        *offset += to - from;
    }
    meta_put(page);
    return ret;
}

/* Calls change on every entry of the range.  Where no table is, all entries are 0; if those change,
 * tables are made. */
static int change_range(Qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags, ChangeFn *change)
{
    uint64_t end = offset + bytes;
    uint64_t reach = 1ULL << (q->cluster_bits + q->l2_bits);
    int refused = 0;
    if (end == q->base.size)
        end = align_up(end, qcow2_cluster_bytes(q));
    while (offset < end) {
        bool table = q->l1[offset / reach] & ENTRY_OFFSET;
        if (!table && is_empty(change(q, (L2Entry){0, 0}, SUBS_ALLOCATED, flags))) {
            offset = align_down(offset, reach) + reach;
            continue;
        }
        int ret = change_page(q, &offset, end, flags, change);
        if (ret == -ENOTSUP)
            refused = ret;
        if (!ret || ret == -ENOTSUP)
            ret = qcow2_balance(&q->base);
        if (ret)
            return ret;
    }
    return refused;
}

int qcow2_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Qcow2 *q = qcow2(node);
    if (q->version < 3 && has_backing(q))
        return -ENOTSUP;
    if (q->data_name && !q->data_file)
        return -ENOMEDIUM;
    if (q->autoclear & AUTOCLEAR_RAW_DATA) { /* the data file is a raw image of its own */
        int ret = file_zero(q->data_file, offset, bytes, flags & ZERO_MAY_UNMAP);
        if (ret)
            return ret;
    }
    return change_range(q, offset, bytes, flags, zero_entry);
}

int qcow2_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Qcow2 *q = qcow2(node);
    if (!(flags & DISCARD_FULLY) && !node->mode.discard)
        return 0;
    if (!(flags & DISCARD_FULLY) && q->version < 3 && has_backing(q))
        return -ENOTSUP;
    if (q->data_name && !q->data_file)
        return -ENOMEDIUM;
    if (q->autoclear & AUTOCLEAR_RAW_DATA) /* what can be read there must stay what it is */
        return flags & DISCARD_FULLY ? -ENOTSUP : 0;
    return change_range(q, offset, bytes, flags, discard_entry);
}
