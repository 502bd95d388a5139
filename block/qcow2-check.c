/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: check.  All references are counted and compared with the refcounts: a count that is too
 * high is a leak, one that is too low a corruption.  The words are qemu-img's.
 */
#include "qcow2-check.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "util/bytes.h"

#define MAX_CLUSTERS                                                                               \
    (1ULL << 30) /* that can be checked; counts of what is not used take no memory */
#define MAX_LINES 10000
#define MAX_WORK  (1ULL << 32) /* entries: snapshots may refer to the same tables without end */

/* ---- Reporting ---- */

/* A hostile image has something wrong in every entry: the rest is only counted. */
static void say_args(Check *c, const char *format, va_list args)
{
    if (c->said == MAX_LINES)
        c->report(c->opaque, "... and more, which are only counted");
    if (c->said++ >= MAX_LINES)
        return;
    g_autofree char *line = g_strdup_vprintf(format, args);
    c->report(c->opaque, line);
}

void check_say(Check *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_args(c, format, args);
    va_end(args);
}

void check_error(Check *c, bool mended, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_args(c, format, args);
    va_end(args);
    if (mended)
        c->result->corruptions_fixed++;
    else
        c->result->corruptions++;
}

/* ---- Counting ---- */

static void count(Check *c, uint64_t offset, uint64_t bytes, const char *what)
{
    if (!bytes)
        return;
    uint64_t first = offset >> c->q->cluster_bits;
    uint64_t last = (offset + bytes - 1) >> c->q->cluster_bits;
    if (offset > INT64_MAX - bytes || last >= c->clusters) {
        check_error(c, false, "ERROR: %s at 0x%" PRIx64 " lies behind the end of the file", what,
                    offset);
        c->lost = true;
        last = MIN(last, c->clusters - 1);
    }
    for (uint64_t i = first; i <= last; i++)
        c->counts[i] += c->counts[i] < UINT32_MAX;
}

static int read_words(Check *c, uint64_t offset, uint64_t *table, uint32_t entries)
{
    c->work += entries;
    if (c->work > MAX_WORK)
        return -E2BIG;
    int ret = file_pread(c->q->base.file, offset, table, entries * 8ULL);
    for (uint32_t i = 0; i < entries && !ret; i++)
        table[i] = ld64_be(&table[i]);
    return ret;
}

static void count_compressed(Check *c, uint64_t entry)
{
    uint64_t offset, bytes;
    qcow2_compressed_place(c->q, entry, &offset, &bytes);
    /* The last sector may be cut short by the end of the file. */
    if (offset < c->q->base.file->size)
        bytes = MIN(bytes, c->q->base.file->size - offset);
    count(c, offset, bytes, "a compressed cluster");
}

/* An entry whose place cannot be one.  Zeros that had room lose nothing but that. */
static void mend_place(Check *c, L2Entry *l2)
{
    const Qcow2 *q = c->q;
    bool zeros =
        q->subs > 1 ? !(l2->subs & SUBS_ALLOCATED) : q->version >= 3 && (l2->word & ENTRY_ZERO);
    bool mend = zeros && (c->fix & CHECK_FIX_ERRORS);
    check_error(c, mend,
                "%s offset=%" PRIx64 ": %s cluster is not properly aligned; L2 entry corrupted.",
                mend ? "Repairing" : "ERROR", (uint64_t)(l2->word & ENTRY_OFFSET),
                zeros ? "Preallocated" : "Data");
    if (mend)
        l2->word = q->subs > 1 ? 0 : ENTRY_ZERO;
    c->lost |= !zeros;
}

/* May mend it. */
static void count_l2_entry(Check *c, L2Entry *l2, uint64_t index, bool active)
{
    Qcow2 *q = c->q;
    uint64_t entry = l2->word, host = entry & ENTRY_OFFSET;
    if (entry & ENTRY_COMPRESSED) {
        if (entry & ENTRY_COPIED)
            check_error(c, false, "ERROR: compressed cluster %" PRIu64 " has the copied flag",
                        index);
        count_compressed(c, entry);
        c->result->allocated += active;
        c->result->compressed += active;
        c->result->fragmented += active;
        return;
    }
    if (entry & L2_RESERVED)
        check_error(c, false, "ERROR found l2 entry with reserved bits set: %" PRIx64, entry);
    if ((entry & ENTRY_ZERO) && q->version < 3)
        check_error(c, false,
                    "ERROR: guest cluster %" PRIu64 " is a zero cluster, which version 2 "
                    "does not know",
                    index);
    if (!qcow2_has_host(q, entry) && !l2->subs)
        return;
    if (host & q->cluster_mask) {
        mend_place(c, l2);
        return;
    }
    if (q->subs > 1 && qcow2_entry_fault(q, *l2))
        check_error(c, false, "ERROR: guest cluster %" PRIu64 ": %s", index,
                    qcow2_entry_fault(q, *l2));
    if (!qcow2_has_host(q, entry))
        return;
    if (!q->data_name)
        count(c, host, qcow2_cluster_bytes(q), "a data cluster");
    if (!active)
        return;
    c->result->allocated++;
    c->result->fragmented += c->next_data && host != c->next_data;
    c->next_data = host + qcow2_cluster_bytes(q);
}

/* No cluster, or zeros without room: there is nothing to count. */
static inline bool says_nothing(const Qcow2 *q, uint64_t word)
{
    return !word || (word == ENTRY_ZERO && q->version >= 3 && !q->data_name);
}

/* The entries of an L2 table, `first` the first one's number; those that are mended are written. */
static int count_l2(Check *c, uint64_t at, uint8_t *table, uint64_t first, bool active)
{
    Qcow2 *q = c->q;
    int ret = 0;
    for (uint32_t j = 0; j < 1u << q->l2_bits && !ret; j++) {
        if (q->subs == 1 && says_nothing(q, ld64_be(table + j * 8)))
            continue;
        L2Entry entry = qcow2_table_entry(q, table, j);
        uint64_t word = entry.word;
        if (!word && !entry.subs)
            continue;
        count_l2_entry(c, &entry, first + j, active);
        if (entry.word == word)
            continue;
        qcow2_table_set(q, table, j, entry);
        uint64_t within = (uint64_t)j << q->entry_shift;
        ret = file_pwrite(q->base.file, at + within, table + within, 1u << q->entry_shift);
    }
    return ret;
}

static int count_l1(Check *c, const uint64_t *l1, uint32_t entries, bool active)
{
    Qcow2 *q = c->q;
    uint32_t per_table = 1u << q->l2_bits;
    g_autofree uint8_t *l2 = g_malloc(qcow2_cluster_bytes(q));
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t table = l1[i] & ENTRY_OFFSET;
        if (l1[i] & L1_RESERVED)
            check_error(c, false, "ERROR found L1 entry with reserved bits set: %" PRIx64, l1[i]);
        if (!table)
            continue;
        if (table & q->cluster_mask) {
            check_error(c, false,
                        "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 "
                        "entry corrupted",
                        table);
            c->lost = true;
            continue;
        }
        count(c, table, qcow2_cluster_bytes(q), "an L2 table");
        uint64_t number = table >> q->cluster_bits;
        /* Once is enough for a table that the same L1 table names again. */
        if (number >= c->clusters || (active && c->counts[number] > 1))
            continue;
        c->work += per_table;
        int ret = c->work > MAX_WORK ? -E2BIG
                                     : file_pread(q->base.file, table, l2, qcow2_cluster_bytes(q));
        if (!ret)
            ret = count_l2(c, table, l2, (uint64_t)i * per_table, active);
        if (ret)
            return ret;
    }
    return 0;
}

/* A table that names more snapshots than there are ends behind those that are sound.  One that is
 * not to be found stays: somebody may find it. */
static int settle_snapshots(Check *c)
{
    Qcow2 *q = c->q;
    uint8_t header[12];
    if (!q->snapshots_fault)
        return 0;
    unsigned lost = q->snapshots_claimed - q->snapshot_count;
    bool misplaced = q->snapshots_offset & q->cluster_mask;
    if (misplaced || !(c->fix & CHECK_FIX_ERRORS)) {
        check_error(c, false, "ERROR failed to read the snapshot table: %s", q->snapshots_fault);
        c->lost = true;
        return 0;
    }
    q->snapshots_offset = q->snapshot_count ? q->snapshots_offset : 0;
    st32_be(header, q->snapshot_count);
    st64_be(header + 4, q->snapshots_offset);
    int ret = file_pwrite(q->base.file, H_SNAPSHOTS, header, sizeof(header));
    if (ret)
        return ret;
    check_error(c, true, "Discarding %u overhanging snapshots", lost);
    q->snapshots_claimed = q->snapshot_count;
    g_clear_pointer(&q->snapshots_fault, g_free);
    return 0;
}

static int count_snapshot(Check *c, unsigned n)
{
    Qcow2 *q = c->q;
    const Qcow2Snapshot *s = &q->snapshots[n];
    int ret;
    if (s->incomplete) {
        bool mend = c->fix & CHECK_FIX_ERRORS;
        check_error(c, mend, "%s snapshot table entry %u is incomplete",
                    mend ? "Repairing" : "ERROR", n);
        c->rewrite_snapshots |= mend;
    }
    if (s->fault) {
        check_error(c, false,
                    "ERROR snapshot %s (%s) l1_offset=%#" PRIx64
                    ": %s; snapshot table entry corrupted",
                    s->info.id, s->info.name, s->l1_offset, s->fault);
        c->lost = true;
        return 0;
    }
    c->work += s->l1_entries;
    if (c->work > MAX_WORK)
        return -E2BIG;
    g_autofree uint64_t *l1 = qcow2_read_table(q, s->l1_offset, s->l1_entries, &ret);
    if (!l1)
        return ret;
    count(c, s->l1_offset, s->l1_entries * 8ULL, "a snapshot's L1 table");
    return count_l1(c, l1, s->l1_entries, false);
}

static int count_snapshots(Check *c)
{
    Qcow2 *q = c->q;
    int ret = settle_snapshots(c);
    count(c, q->snapshots_offset, q->snapshots_bytes, "the snapshot table");
    for (unsigned i = 0; i < q->snapshot_count && !ret; i++)
        ret = count_snapshot(c, i);
    return ret;
}

/* A bitmap's table and the clusters that it names. */
static int count_bitmap(Check *c, uint64_t offset, uint32_t entries)
{
    int ret = 0;
    if (entries > MAX_L1_BYTES / 8 || (offset & c->q->cluster_mask)) {
        check_error(c, false, "ERROR: a bitmap's table at 0x%" PRIx64 " is out of bounds", offset);
        return 0;
    }
    g_autofree uint64_t *table = g_new(uint64_t, MAX(entries, 1));
    count(c, offset, entries * 8ULL, "a bitmap's table");
    ret = read_words(c, offset, table, entries);
    for (uint32_t i = 0; i < entries && !ret; i++)
        if (table[i] & ENTRY_OFFSET)
            count(c, table[i] & ENTRY_OFFSET, qcow2_cluster_bytes(c->q), "a bitmap's cluster");
    return ret;
}

static int count_bitmaps(Check *c)
{
    Qcow2 *q = c->q;
    if (!q->has_bitmaps)
        return 0;
    count(c, q->bitmaps_offset, q->bitmaps_bytes, "the bitmap directory");
    uint64_t at = q->bitmaps_offset, end = at + MIN(q->bitmaps_bytes, MAX_SNAPSHOT_BYTES);
    for (uint32_t i = 0; i < q->bitmap_count && at + 24 <= end; i++) {
        uint8_t entry[24];
        int ret = file_pread(q->base.file, at, entry, sizeof(entry));
        if (!ret)
            ret = count_bitmap(c, ld64_be(entry), ld32_be(entry + 8));
        if (ret)
            return ret;
        at += align_up(24ULL + ld16_be(entry + 18) + ld32_be(entry + 20), 8);
    }
    return 0;
}

static void count_refcount_structures(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t cluster = qcow2_cluster_bytes(q);
    count(c, q->rt_offset, q->rt_clusters * cluster, "the refcount table");
    for (uint32_t i = 0; i < q->rt_entries; i++) {
        uint64_t block = q->rt[i] & ENTRY_OFFSET;
        if (!block)
            continue;
        uint64_t number = block >> q->cluster_bits;
        if (q->rt[i] & REFTABLE_RESERVED) {
            check_error(c, c->fix & CHECK_FIX_ERRORS,
                        "ERROR refcount table entry %u has reserved bits set", i);
            c->rebuild = true;
        }
        if ((block & q->cluster_mask) || number >= c->clusters) {
            check_error(c, c->fix & CHECK_FIX_ERRORS, "ERROR refcount block %u is %s", i,
                        block & q->cluster_mask
                            ? "not cluster aligned; refcount table entry corrupted"
                            : "outside image");
            c->rebuild = true;
            continue;
        }
        c->counts[number]++;
        if (c->counts[number] > 1) {
            check_error(c, c->fix & CHECK_FIX_ERRORS, "ERROR refcount block %u refcount=%u", i,
                        c->counts[number]);
            c->rebuild = true;
        }
    }
}

static int count_all(Check *c)
{
    Qcow2 *q = c->q;
    count(c, 0, qcow2_cluster_bytes(q), "the header");
    count(c, q->l1_offset, q->l1_entries * 8ULL, "the L1 table");
    int ret = count_l1(c, q->l1, q->l1_entries, true);
    if (!ret)
        ret = count_snapshots(c);
    if (q->crypt_method == CRYPT_LUKS)
        count(c, q->crypt_offset, MIN(q->crypt_bytes, INT64_MAX), "the LUKS header");
    if (!ret)
        ret = count_bitmaps(c);
    if (!ret)
        count_refcount_structures(c);
    return ret;
}

/* ---- Comparing ---- */

/* One cluster whose count is wrong. */
static void compare_one(Check *c, uint64_t cluster, uint64_t stored, uint64_t found)
{
    bool leak = stored > found;
    bool mend = c->fix & (leak ? CHECK_FIX_LEAKS : CHECK_FIX_ERRORS);
    if (leak && c->lost) {
        /* Who puts the bad entry right finds there what it named. */
        mend = false;
        c->counts[cluster] = (uint32_t)MIN(stored, UINT32_MAX);
    }
    if (mend && !c->rebuild) {
        bool fits = found <= qcow2_refcount_max(c->q);
        mend = fits && !qcow2_count_set(c->q, cluster, found);
        if (!mend && (c->fix & CHECK_FIX_ERRORS))
            c->rebuild = mend = fits;
    }
    check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
              mend   ? "Repairing"
              : leak ? "Leaked"
                     : "ERROR",
              cluster, stored, found);
    if (leak)
        *(mend ? &c->result->leaks_fixed : &c->result->leaks) += 1;
    else
        *(mend ? &c->result->corruptions_fixed : &c->result->corruptions) += 1;
}

/* Sets image_end: `end` clusters are counted, or referred to. */
static void set_image_end(Check *c, uint64_t end)
{
    uint64_t i = c->clusters;
    while (i > end && !c->counts[i - 1])
        i--;
    c->result->image_end = i << c->q->cluster_bits;
}

static int compare_all(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t per_block = 1ULL << q->refblock_bits;
    uint64_t end = 0, same;
    c->all_equal = true;
    for (uint64_t i = 0; i < c->clusters; i++) {
        int ret = qcow2_counts_match(q, i, c->counts + i, c->clusters - i, &same);
        if (ret)
            return ret;
        i += same;
        if (same) {
            i--;
            continue;
        }
        uint64_t block = i >> q->refblock_bits, stored = 0;
        uint64_t at = block < q->rt_entries ? q->rt[block] & ENTRY_OFFSET : 0;
        if (at && !(at & q->cluster_mask)) {
            ret = qcow2_count_get(q, i, &stored);
            if (ret)
                return ret;
        } else if (!(i & (per_block - 1)) && i + per_block <= c->clusters &&
                   buffer_is_zero(c->counts + i, per_block * sizeof(*c->counts))) {
            i += per_block - 1;
            continue;
        }
        if (stored || c->counts[i])
            end = i + 1;
        c->all_equal &= stored == c->counts[i];
        if (stored != c->counts[i])
            compare_one(c, i, stored, c->counts[i]);
    }
    set_image_end(c, end);
    return 0;
}

/* ---- The whole ---- */

static int finish_repair(Check *c)
{
    Qcow2 *q = c->q;
    if (c->lost && c->result->leaks)
        check_say(c, "Leaked clusters are kept: entries that are damaged may have named them");
    int ret = c->rebuild ? check_rebuild_refcounts(c) : qcow2_commit(q, true);
    if (!ret)
        ret = check_copied_flags(c);
    if (!ret)
        ret = file_flush(q->base.file);
    bool whole = !c->result->corruptions && !c->result->check_errors;
    if (!ret && whole && (q->incompatible & (INCOMPAT_DIRTY | INCOMPAT_CORRUPT))) {
        q->incompatible &= ~(INCOMPAT_DIRTY | INCOMPAT_CORRUPT);
        ret = qcow2_write_features(q);
        if (!ret)
            ret = file_flush(q->base.file);
    }
    qcow2_drop_caches(q);
    if (!ret && whole && c->rewrite_snapshots && !qcow2_rewrite_snapshots(q, NULL))
        ret = -EIO;
    return ret;
}

static int run(Check *c)
{
    int ret = count_all(c);
    if (ret)
        return ret;
    if (c->rebuild && !(c->fix & CHECK_FIX_ERRORS))
        c->fix = 0; /* counts in a broken structure are not worth mending */
    ret = compare_all(c);
    if (ret)
        return ret;
    return c->fix ? finish_repair(c) : check_copied_flags(c);
}

int qcow2_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report, void *opaque)
{
    Qcow2 *q = qcow2(node);
    Check c = {.q = q, .result = result, .fix = fix, .report = report, .opaque = opaque};
    if (fix && node->readonly)
        return -EROFS;
    int ret = node->readonly ? 0 : qcow2_commit(q, true);
    if (ret)
        return ret;
    c.clusters = (node->file->size + q->cluster_mask) >> q->cluster_bits;
    if (c.clusters > MAX_CLUSTERS) {
        check_say(&c, "The file has too many clusters to be checked: %" PRIu64, c.clusters);
        result->check_errors++;
        return -EFBIG;
    }
    result->total = (node->size + q->cluster_mask) >> q->cluster_bits;
    c.counts = block_try_malloc0(c.clusters * sizeof(*c.counts));
    ret = c.counts ? run(&c) : -ENOMEM;
    g_free(c.counts);
    if (ret)
        result->check_errors++;
    return ret;
}
