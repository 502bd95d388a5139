/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: repairing what check found: refcounts written anew, COPIED flags set right. */
#include <errno.h>
#include <string.h>

#include "qcow2-check.h"
#include "util/bytes.h"

/* ---- Refcounts from scratch ---- */

typedef struct Rebuild {
    uint64_t start; /* first cluster of the new structures: table, then blocks */
    uint64_t table_clusters, blocks, used;
    uint8_t *table, *block;
} Rebuild;

/* The old structures count for nothing any more. */
static void uncount_old(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t first = q->rt_offset >> q->cluster_bits;
    for (uint64_t i = first; i < first + q->rt_clusters && i < c->clusters; i++)
        c->counts[i] -= c->counts[i] > 0;
    for (uint32_t i = 0; i < q->rt_entries; i++) {
        uint64_t block = q->rt[i] & ENTRY_OFFSET, number = block >> q->cluster_bits;
        if (block && !(block & q->cluster_mask) && number < c->clusters)
            c->counts[number] -= c->counts[number] > 0;
    }
}

static uint32_t new_count(const Check *c, const Rebuild *r, uint64_t cluster)
{
    if (cluster < c->clusters)
        return c->counts[cluster];
    return cluster >= r->start && cluster < r->start + r->table_clusters + r->used;
}

static bool block_is_empty(const Check *c, const Rebuild *r, uint64_t b)
{
    uint64_t per_block = 1ULL << c->q->refblock_bits;
    for (uint64_t i = b * per_block; i < (b + 1) * per_block; i++)
        if (new_count(c, r, i))
            return false;
    return true;
}

/* How many blocks are needed depends on the room that they themselves take. */
static void plan(const Check *c, Rebuild *r)
{
    const Qcow2 *q = c->q;
    uint64_t cluster = qcow2_cluster_bytes(q), before;
    r->start = c->clusters;
    r->used = 1;
    do {
        before = r->used;
        uint64_t all = r->start + r->table_clusters + r->used;
        r->blocks = (all + (1ULL << q->refblock_bits) - 1) >> q->refblock_bits;
        r->table_clusters = (r->blocks * 8 + cluster - 1) / cluster;
        r->used = 0;
        for (uint64_t b = 0; b < r->blocks; b++)
            r->used += !block_is_empty(c, r, b);
        r->used = MAX(r->used, before); /* only grows, so it ends */
    } while (r->used != before);
}

static int write_blocks(Check *c, Rebuild *r)
{
    Qcow2 *q = c->q;
    uint64_t per_block = 1ULL << q->refblock_bits, cluster = qcow2_cluster_bytes(q);
    uint64_t at = (r->start + r->table_clusters) * cluster;
    for (uint64_t b = 0; b < r->blocks; b++) {
        if (block_is_empty(c, r, b))
            continue;
        memset(r->block, 0, cluster);
        for (uint64_t i = 0; i < per_block; i++)
            qcow2_refcount_set(q, r->block, i, new_count(c, r, b * per_block + i));
        int ret = file_pwrite(q->base.file, at, r->block, cluster);
        if (ret)
            return ret;
        st64_be(r->table + b * 8, at);
        at += cluster;
    }
    return file_pwrite(q->base.file, r->start * cluster, r->table, r->table_clusters * cluster);
}

static int switch_tables(Qcow2 *q, const Rebuild *r)
{
    uint8_t header[12];
    st64_be(header, r->start << q->cluster_bits);
    st32_be(header + 8, (uint32_t)r->table_clusters);
    int ret = file_flush(q->base.file);
    if (!ret)
        ret = file_pwrite(q->base.file, H_REFTABLE_OFFSET, header, sizeof(header));
    if (!ret)
        ret = file_flush(q->base.file);
    if (ret)
        return ret;
    q->rt_offset = r->start << q->cluster_bits;
    q->rt_clusters = (uint32_t)r->table_clusters;
    qcow2_drop_caches(q);
    return qcow2_load_reftable(q);
}

static void keep(Check *c, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to && i < c->clusters; i++)
        c->counts[i] = MAX(c->counts[i], 1);
}

/* Entries that are damaged may name clusters whose counts are not to be found, either. */
static void keep_uncounted(Check *c)
{
    const Qcow2 *q = c->q;
    if (!q->rt_entries)
        keep(c, 0, c->clusters);
    for (uint64_t i = 0; i < q->rt_entries; i++) {
        uint64_t block = q->rt[i] & ENTRY_OFFSET;
        if (block & q->cluster_mask || block >> q->cluster_bits >= c->clusters)
            keep(c, i << q->refblock_bits, (i + 1) << q->refblock_bits);
    }
}

int check_rebuild_refcounts(Check *c)
{
    Qcow2 *q = c->q;
    Rebuild r = {.table_clusters = 1};
    check_say(c, "Rebuilding refcount structure");
    uncount_old(c);
    if (c->lost)
        keep_uncounted(c);
    plan(c, &r);
    if (r.table_clusters << q->cluster_bits > MAX_REFTABLE_BYTES)
        return -EFBIG;
    for (uint64_t i = 0; i < c->clusters; i++)
        if (c->counts[i] > qcow2_refcount_max(q))
            return -ERANGE;
    r.table = g_malloc0(r.table_clusters << q->cluster_bits);
    r.block = g_malloc(qcow2_cluster_bytes(q));
    int ret = write_blocks(c, &r);
    if (!ret)
        ret = switch_tables(q, &r);
    g_free(r.table);
    g_free(r.block);
    return ret;
}

/* ---- COPIED flags ---- */

/* What the flag should be; an entry that cannot be judged keeps it. */
static bool flag_is_wrong(Check *c, uint64_t entry, bool *right)
{
    uint64_t count, host = entry & ENTRY_OFFSET, number = host >> c->q->cluster_bits;
    if ((host & c->q->cluster_mask) || number >= c->clusters)
        return false;
    if (c->all_equal)
        count = c->counts[number];
    else if (qcow2_count_get(c->q, number, &count))
        return false;
    *right = count == 1;
    return *right != !!(entry & ENTRY_COPIED);
}

static uint64_t set_flag(uint64_t entry, bool on)
{
    return on ? entry | ENTRY_COPIED : entry & ~ENTRY_COPIED;
}

static int check_l2_flags(Check *c, uint64_t table, uint8_t *l2)
{
    Qcow2 *q = c->q;
    bool right, changed = false;
    int ret = file_pread(q->base.file, table, l2, qcow2_cluster_bytes(q));
    if (ret)
        return ret;
    for (uint32_t i = 0; i < 1u << q->l2_bits; i++) {
        if (q->subs == 1 && !(ld64_be(l2 + i * 8) & ENTRY_OFFSET))
            continue;
        L2Entry l2_entry = qcow2_table_entry(q, l2, i);
        uint64_t entry = l2_entry.word;
        if ((entry & ENTRY_COMPRESSED) || !(entry & ENTRY_OFFSET) || q->data_name ||
            !flag_is_wrong(c, entry, &right))
            continue;
        bool mend = c->fix & CHECK_FIX_ERRORS;
        check_error(c, mend, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount%s1",
                    mend ? "Repairing" : "ERROR", entry, right ? "=" : "!=");
        l2_entry.word = set_flag(entry, right);
        qcow2_table_set(q, l2, i, l2_entry);
        changed |= mend;
    }
    return changed ? file_pwrite(q->base.file, table, l2, qcow2_cluster_bytes(q)) : 0;
}

/* A table that several entries name is looked at once. */
static bool seen_before(const Check *c, GHashTable *seen, uint64_t table)
{
    uint64_t number = table >> c->q->cluster_bits;
    if (number >= c->clusters)
        return true;
    return c->counts[number] > 1 && !g_hash_table_add(seen, (void *)(uintptr_t)number);
}

int check_copied_flags(Check *c)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *l2 = g_malloc(qcow2_cluster_bytes(q));
    g_autoptr(GHashTable) seen = g_hash_table_new(g_direct_hash, g_direct_equal);
    int ret = 0;
    for (uint32_t i = 0; i < q->l1_entries && !ret; i++) {
        uint64_t table = q->l1[i] & ENTRY_OFFSET;
        bool right;
        if (!table || (table & q->cluster_mask))
            continue;
        if (flag_is_wrong(c, q->l1[i], &right)) {
            bool mend = c->fix & CHECK_FIX_ERRORS;
            check_error(c, mend,
                        "%s OFLAG_COPIED L2 cluster: l1_index=%u l1_entry=%" PRIx64 " refcount%s1",
                        mend ? "Repairing" : "ERROR", i, q->l1[i], right ? "=" : "!=");
            if (mend) {
                uint8_t entry[8];
                q->l1[i] = set_flag(q->l1[i], right);
                st64_be(entry, q->l1[i]);
                ret = file_pwrite(q->base.file, q->l1_offset + i * 8ULL, entry, 8);
            }
        }
        if (!ret && !seen_before(c, seen, table))
            ret = check_l2_flags(c, table, l2);
    }
    return ret;
}
