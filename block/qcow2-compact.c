/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: making the file as short as what it holds.
 *
 * A pass copies what lies behind the end that the file could have into free clusters before it, and
 * writes the tables that name them anew; all in one step (qcow2-change.h).  What a pass gives up is
 * free for the next one.
 *
 * Each pass writes all refcounts to another place, and tables, so one that has little else to move
 * can make the file longer.  Such a pass is made only if the next one will make the file shorter
 * than it ever was; else it is the end.
 */
#include <errno.h>
#include <stdlib.h>

#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

#define MAX_PASSES 16

typedef struct Compact {
    Change c;
    const NodeProgress *progress;
    uint64_t end;       /* number of clusters that are in use: where the file could end */
    GHashTable *places; /* cluster number -> its new one: of data and of L2 tables */
    GHashTable *packed; /* L2 entry of a compressed cluster -> its new one (both allocated) */
    uint64_t pack_at;   /* room left for compressed clusters: [pack_at, pack_end) */
    uint64_t pack_end;
    uint8_t *data; /* memory of two clusters and a sector */
    uint64_t moved, to_move;
    uint64_t tables; /* clusters of tables that are not refcounts: no more than that */
} Compact;

/* What passes know of those before. */
typedef struct Course {
    const NodeProgress *progress;
    uint64_t shortest; /* clusters that the file had at least */
    bool detour;       /* a pass made it longer since */
    bool last, done;
} Course;

static void *key_of(uint64_t n)
{
    return (void *)(uintptr_t)n;
}

static int tell(Compact *k)
{
    const NodeProgress *p = k->progress;
    k->moved++;
    return p && !p->tell(p->opaque, MIN(k->moved, k->to_move), k->to_move) ? -ECANCELED : 0;
}

/* A free cluster below another one; 0: none.  It does not count yet. */
static int find_below(Compact *k, uint64_t cluster, uint64_t *place)
{
    uint64_t offset;
    int ret = change_alloc(&k->c, 1, &offset);
    if (ret)
        return ret;
    *place = offset >> k->c.q->cluster_bits;
    k->c.counts[*place] = 0;
    if (*place >= cluster) {
        k->c.hint = MIN(k->c.hint, *place);
        *place = 0;
    }
    return 0;
}

/* What encrypted clusters hold depends on where they lie. */
static BlkFile *data_of(const Qcow2 *q)
{
    return q->data ? q->data : q->base.file;
}

/* ---- Data ---- */

/* A reference to a data cluster becomes one to its new place. */
static int move_data(Compact *k, uint64_t *word)
{
    Qcow2 *q = k->c.q;
    uint64_t host = *word & ENTRY_OFFSET, cluster = host >> q->cluster_bits, place;
    if (q->data_name || !host || cluster < k->end)
        return 0;
    gpointer found;
    int ret = 0;
    if (g_hash_table_lookup_extended(k->places, key_of(cluster), NULL, &found)) {
        place = (uint64_t)(uintptr_t)found;
    } else {
        ret = find_below(k, cluster, &place);
        if (!ret && place) {
            uint64_t bytes = qcow2_cluster_bytes(q);
            ret = file_pread(data_of(q), host, k->data, bytes);
            if (!ret)
                ret = file_pwrite(data_of(q), place << q->cluster_bits, k->data, bytes);
        }
        g_hash_table_insert(k->places, key_of(cluster), key_of(place));
        if (!ret)
            ret = tell(k);
    }
    if (ret || !place)
        return ret;
    ret = change_count(&k->c, host, 1, -1);
    k->c.counts[place]++;
    *word = (*word & ~ENTRY_OFFSET) | place << q->cluster_bits;
    return ret;
}

/* ---- Compressed clusters ---- */

/* What was put into the cluster counts for it from now on. */
static void close_packed(Compact *k)
{
    if (k->pack_end)
        k->c.counts[(k->pack_end - 1) >> k->c.q->cluster_bits]--;
    k->pack_at = k->pack_end = 0;
}

/* Copies one into room for such. *new 0: it stays. */
static int repack(Compact *k, uint64_t word, uint64_t *new)
{
    Qcow2 *q = k->c.q;
    uint64_t offset, bytes, cluster = qcow2_cluster_bytes(q), place;
    qcow2_compressed_place(q, word, &offset, &bytes);
    *new = 0;
    if (bytes > cluster || offset >= q->base.file->size)
        return 0;
    bytes = MIN(bytes, q->base.file->size - offset);
    uint64_t room = align_up(bytes, 512);
    if (room > k->pack_end - k->pack_at) {
        close_packed(k);
        int ret = find_below(k, offset >> q->cluster_bits, &place);
        if (ret || !place)
            return ret;
        k->pack_at = place << q->cluster_bits;
        k->pack_end = k->pack_at + cluster;
        k->c.counts[place]++; /* our own, given up at the end */
    }
    int ret = file_pread(q->base.file, offset, k->data, bytes);
    if (!ret)
        ret = file_pwrite(q->base.file, k->pack_at, k->data, bytes);
    unsigned shift = 62 - (q->cluster_bits - 8);
    *new = k->pack_at | (room / 512 - 1) << shift | ENTRY_COMPRESSED;
    /* Small counts cannot tell how many share a cluster. */
    k->pack_at = q->refcount_order > 3 ? k->pack_at + room : k->pack_end;
    return ret;
}

static int move_compressed(Compact *k, uint64_t *word)
{
    Qcow2 *q = k->c.q;
    uint64_t offset, bytes, new;
    int ret = 0;
    qcow2_compressed_place(q, *word, &offset, &bytes);
    if ((offset + bytes - 1) >> q->cluster_bits < k->end)
        return 0;
    const uint64_t *known = g_hash_table_lookup(k->packed, word);
    if (known) {
        new = *known;
    } else {
        ret = repack(k, *word, &new);
        g_hash_table_insert(k->packed, g_memdup2(word, 8), g_memdup2(&new, 8));
        if (!ret)
            ret = tell(k);
    }
    if (ret || !new)
        return ret;
    ret = change_count_entry(&k->c, *word, -1);
    qcow2_compressed_place(q, new, &offset, &bytes);
    k->c.counts[offset >> q->cluster_bits]++;
    *word = new;
    return ret;
}

/* ---- Tables ---- */

/* An L1 entry: what its table names, then the table itself. */
static int move_table(Compact *k, uint64_t *l1_entry, uint8_t *table, bool *changed)
{
    Qcow2 *q = k->c.q;
    uint64_t old = *l1_entry & ENTRY_OFFSET, cluster = old >> q->cluster_bits;
    bool dirty = cluster >= k->end;
    int ret = change_read_table(&k->c, *l1_entry, table);
    k->tables++;
    for (unsigned i = 0; i < 1u << q->l2_bits && !ret; i++) {
        L2Entry entry = qcow2_table_entry(q, table, i), before = entry;
        ret = entry.word & ENTRY_COMPRESSED ? move_compressed(k, &entry.word)
                                            : move_data(k, &entry.word);
        dirty |= entry.word != before.word;
        qcow2_table_set(q, table, i, entry);
    }
    if (ret || !dirty)
        return ret;
    *changed = true;
    uint64_t flag = *l1_entry & ENTRY_COPIED;
    uint64_t place = (uint64_t)(uintptr_t)g_hash_table_lookup(k->places, key_of(cluster));
    if (place) {
        k->c.counts[place]++;
        *l1_entry = place << q->cluster_bits | flag;
    } else {
        ret = change_write_table(&k->c, table, l1_entry);
        *l1_entry = (*l1_entry & ENTRY_OFFSET) | flag;
        place = (*l1_entry & ENTRY_OFFSET) >> q->cluster_bits;
        g_hash_table_insert(k->places, key_of(cluster), key_of(place));
    }
    return ret ? ret : change_count(&k->c, old, 1, -1);
}

static uint64_t clusters_of(const Compact *k, uint64_t bytes)
{
    return (bytes + k->c.q->cluster_mask) >> k->c.q->cluster_bits;
}

static int move_l1(Compact *k, uint64_t *l1, uint32_t entries, bool *changed)
{
    int ret = 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(k->c.q));
    k->tables += clusters_of(k, entries * 8ULL);
    for (uint32_t i = 0; i < entries && !ret; i++)
        if (l1[i] & ENTRY_OFFSET)
            ret = move_table(k, &l1[i], table, changed);
    return ret;
}

static bool lies_behind(const Compact *k, uint64_t offset, uint64_t bytes)
{
    return bytes && (offset + bytes - 1) >> k->c.q->cluster_bits >= k->end;
}

static int move_snapshot(Compact *k, Qcow2Snapshot *s, bool *any)
{
    int ret;
    bool changed = lies_behind(k, s->l1_offset, s->l1_entries * 8ULL);
    g_autofree uint64_t *l1 = qcow2_snapshot_l1(k->c.q, s, &ret);
    if (!ret)
        ret = move_l1(k, l1, s->l1_entries, &changed);
    if (ret || !changed)
        return ret;
    *any = true;
    ret = change_count(&k->c, s->l1_offset, s->l1_entries * 8ULL, -1);
    return ret ? ret : change_write_words(&k->c, l1, s->l1_entries, &s->l1_offset);
}

static int move_all(Compact *k)
{
    Qcow2 *q = k->c.q;
    bool changed = lies_behind(k, q->l1_offset, q->l1_entries * 8ULL);
    bool snapshots = lies_behind(k, q->snapshots_offset, q->snapshots_bytes);
    int ret = move_l1(k, k->c.l1, q->l1_entries, &changed);
    k->c.new_l1 = changed;
    Qcow2Snapshot *list = g_memdup2(q->snapshots, q->snapshot_count * sizeof(*q->snapshots));
    for (unsigned i = 0; i < q->snapshot_count && !ret; i++)
        ret = move_snapshot(k, &list[i], &snapshots);
    if (snapshots)
        k->c.snapshots = list;
    else
        g_free(list);
    if (!ret)
        ret = change_move_bitmaps(&k->c, k->end);
    close_packed(k);
    return ret;
}

/* ---- Passes ---- */

static void count_used(Compact *k)
{
    for (uint64_t i = 0; i < k->c.clusters; i++)
        k->end += k->c.counts[i] != 0;
    for (uint64_t i = k->end; i < k->c.clusters; i++)
        k->to_move += k->c.counts[i] != 0;
}

/* The lists of snapshots and bitmaps, and all bits. */
static uint64_t clusters_of_lists(const Compact *k)
{
    const Qcow2 *q = k->c.q;
    uint64_t n = clusters_of(k, q->snapshots_bytes) + clusters_of(k, q->bitmaps_bytes);
    for (unsigned i = 0; i < q->bitmap_count; i++)
        n += q->bitmaps[i].table_entries + clusters_of(k, q->bitmaps[i].table_entries * 8ULL);
    return n;
}

static void set_goal(Compact *k, Course *course)
{
    uint64_t end = MIN(change_end_of(&k->c), clusters_of(k, k->c.q->base.file->size));
    course->detour &= end >= course->shortest;
    course->shortest = MIN(course->shortest, end);
    k->c.must_end_below = end;
}

static bool run_pass(Qcow2 *q, Course *course, GError **error)
{
    Compact k = {.progress = course->progress};
    if (!change_begin(&k.c, q, error))
        return false;
    count_used(&k);
    set_goal(&k, course);
    bool idle = !k.to_move;
    k.places = g_hash_table_new(g_direct_hash, g_direct_equal);
    k.packed = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    k.data = block_alloc(2 * qcow2_cluster_bytes(q) + 512);
    int ret = idle ? -ECANCELED : !k.data ? -ENOMEM : move_all(&k);
    if (!course->detour && !course->last)
        k.c.next_tables = k.tables + clusters_of_lists(&k);
    GError *why = NULL;
    bool ok = change_end(&k.c, ret, "compact it", &why);
    free(k.data);
    g_hash_table_unref(k.places);
    g_hash_table_unref(k.packed);
    course->done = idle || k.c.pointless;
    if (course->done)
        g_clear_error(&why);
    if (why)
        g_propagate_error(error, why);
    return ok || course->done;
}

bool qcow2_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Qcow2 *q = qcow2(node);
    Course course = {.progress = progress, .shortest = UINT64_MAX};
    if (q->locked || q->crypt_method == CRYPT_AES)
        return fail(error, "'%s' is encrypted, and locked", node->name);
    for (int pass = 1; pass <= MAX_PASSES && !course.done; pass++) {
        uint64_t before = node->file->size; /* perhaps no whole clusters */
        course.last = pass == MAX_PASSES;
        if (!run_pass(q, &course, error))
            return false;
        int ret = qcow2_trim(q);
        if (!ret && course.done && node->file->sparse && node->file->size > before)
            ret = file_truncate(node->file, before);
        if (ret)
            return fail_errno(error, -ret, "'%s': cannot cut its end off", node->name);
        course.detour |= node->file->size >= before;
    }
    return true;
}
