/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: zeroing and discarding whole clusters. */
#include <errno.h>

#include "qcow2.h"
#include "util/bytes.h"

/* What an entry becomes; the same entry if it stays. */
typedef uint64_t ChangeFn(const Qcow2 *q, uint64_t entry, unsigned flags);

/* It may have been left closed (check), or put there by nobody but us (-snapshot). */
static bool has_backing(const Qcow2 *q)
{
    return q->base.backing || q->base.backing_name;
}

/* Without a backing file a cluster that is not there reads as zeros, too. */
static uint64_t zero_entry(const Qcow2 *q, uint64_t entry, unsigned flags)
{
    uint64_t host = entry & ENTRY_COMPRESSED ? 0 : entry & ENTRY_OFFSET;
    bool own = host && (entry & ENTRY_COPIED);
    if (!(entry & ENTRY_COMPRESSED) && (entry & ENTRY_ZERO) && (!host || !(flags & ZERO_MAY_UNMAP)))
        return entry;
    if (!entry && !has_backing(q))
        return entry;
    if (q->version < 3)
        return 0;
    return own && !(flags & ZERO_MAY_UNMAP) ? entry | ENTRY_ZERO : ENTRY_ZERO;
}

static uint64_t discard_entry(const Qcow2 *q, uint64_t entry, unsigned flags)
{
    bool allocated = (entry & ENTRY_COMPRESSED) || (entry & ENTRY_OFFSET);
    if (flags & DISCARD_FULLY)
        return 0;
    if (!allocated)
        return entry;
    return q->version >= 3 ? ENTRY_ZERO : 0;
}

static int change_page(Qcow2 *q, uint64_t offset, uint64_t *clusters, unsigned flags,
                       ChangeFn *change)
{
    MetaPage *page;
    unsigned index;
    int ret = qcow2_l2_page_own(q, offset, &page, &index);
    if (ret)
        return ret;
    *clusters = MIN(*clusters, q->l2.page_bytes / 8 - index);
    for (unsigned i = index; i < index + *clusters; i++) {
        uint64_t old = qcow2_page_entry(page, i);
        uint64_t new = change(q, old, flags);
        if (new == old)
            continue;
        bool keeps_room = (new &ENTRY_OFFSET) != 0;
        qcow2_page_set(page, i, new);
        if (!keeps_room)
            qcow2_drop_entry(q, old);
    }
    meta_put(page);
    return 0;
}

/* Calls change on every entry of the range.  Where no table is, all entries are 0; if those change,
 * tables are made. */
static int change_range(Qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags, ChangeFn *change)
{
    uint64_t end = align_up(offset + bytes, qcow2_cluster_bytes(q));
    uint64_t reach = 1ULL << (q->cluster_bits + q->l2_bits);
    while (offset < end) {
        uint64_t clusters = (end - offset) >> q->cluster_bits;
        bool table = q->l1[offset / reach] & ENTRY_OFFSET;
        if (!table && !change(q, 0, flags)) {
            offset = align_down(offset, reach) + reach;
            continue;
        }
        int ret = change_page(q, offset, &clusters, flags, change);
        if (!ret)
            ret = qcow2_balance(&q->base);
        if (ret)
            return ret;
        offset += clusters << q->cluster_bits;
    }
    return 0;
}

int qcow2_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Qcow2 *q = qcow2(node);
    if (q->version < 3 && has_backing(q))
        return -ENOTSUP;
    return change_range(q, offset, bytes, flags, zero_entry);
}

int qcow2_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Qcow2 *q = qcow2(node);
    if (!(flags & DISCARD_FULLY) && !node->mode.discard)
        return 0;
    if (!(flags & DISCARD_FULLY) && q->version < 3 && has_backing(q))
        return -ENOTSUP;
    return change_range(q, offset, bytes, flags, discard_entry);
}
