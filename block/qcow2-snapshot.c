/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: internal snapshots.
 *
 * A snapshot is an L1 table of its own.  Each path from an L1 table to a cluster counts: a data
 * cluster has as many references as there are L1 tables that it can be reached from.  To create one
 * is to leave the tables to it and give the active image copies of the L2 tables; all in one step,
 * as qcow2-change.h tells.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

enum {
    ENTRY_FIXED = 40, /* bytes before the extra data of an entry */
    EXTRA_KNOWN = 24,
    MAX_EXTRA = 1024, /* of what we do not know */
};

typedef struct Cursor {
    Qcow2 *q;
    uint64_t offset, end;
} Cursor;

static bool take(Cursor *c, void *data, uint64_t bytes, GError **error)
{
    if (bytes > c->end - c->offset)
        return fail(error, "'%s': the snapshot table is larger than %u MiB", c->q->base.name,
                    MAX_SNAPSHOT_BYTES >> 20);
    int ret = file_pread(c->q->base.file, c->offset, data, bytes);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read the snapshot table", c->q->base.name);
    c->offset += bytes;
    return true;
}

static char *take_text(Cursor *c, uint16_t bytes, GError **error)
{
    char *text = g_malloc0(bytes + 1u);
    if (take(c, text, bytes, error))
        return text;
    g_free(text);
    return NULL;
}

static bool take_extra(Cursor *c, uint32_t bytes, Qcow2Snapshot *s, GError **error)
{
    uint8_t extra[EXTRA_KNOWN] = {0};
    uint32_t known = MIN(bytes, sizeof(extra));
    if (!take(c, extra, known, error))
        return false;
    if (bytes - known > MAX_EXTRA)
        return fail(error, "'%s': a snapshot's extra data is too large", c->q->base.name);
    if (bytes > known) {
        uint8_t *rest = g_malloc(bytes - known);
        s->extra = g_bytes_new_take(rest, bytes - known);
        if (!take(c, rest, bytes - known, error))
            return false;
    }
    if (known >= 8)
        s->info.vm_state_bytes = ld64_be(extra);
    s->incomplete = known < 16 && c->q->version >= 3;
    s->disk_size = known >= 16 ? align_up(ld64_be(extra + 8), 512) : c->q->base.size;
    s->info.icount = known >= 24 ? (int64_t)ld64_be(extra + 16) : -1;
    return true;
}

static bool take_snapshot(Cursor *c, Qcow2Snapshot *s, GError **error)
{
    uint8_t head[ENTRY_FIXED];
    c->offset = align_up(c->offset, 8);
    if (!take(c, head, sizeof(head), error))
        return false;
    s->l1_offset = ld64_be(head);
    s->l1_entries = ld32_be(head + 8);
    s->info.date_sec = ld32_be(head + 16);
    s->info.date_nsec = ld32_be(head + 20);
    s->info.vm_clock_ns = ld64_be(head + 24);
    s->info.vm_state_bytes = ld32_be(head + 32);
    if (s->l1_entries > MAX_L1_BYTES / 8)
        s->fault = "L1 table is too large";
    else if (s->l1_offset & c->q->cluster_mask)
        s->fault = "L1 table is not cluster aligned";
    else if (s->l1_offset > INT64_MAX - MAX_L1_BYTES)
        s->fault = "L1 table is out of bounds";
    if (!ld16_be(head + 12) && !ld16_be(head + 14))
        return fail(error, "'%s': the snapshot table ends too soon", c->q->base.name);
    if (!take_extra(c, ld32_be(head + 36), s, error))
        return false;
    s->info.id = take_text(c, ld16_be(head + 12), error);
    if (s->info.id)
        s->info.name = take_text(c, ld16_be(head + 14), error);
    return s->info.name;
}

static void free_snapshot(Qcow2Snapshot *s)
{
    g_free(s->info.id);
    g_free(s->info.name);
    if (s->extra)
        g_bytes_unref(s->extra);
}

/* Those that come before something is wrong stay. */
static bool take_snapshots(Qcow2 *q, uint32_t count, GError **error)
{
    uint64_t size = q->base.file->size;
    Cursor c = {q, q->snapshots_offset, q->snapshots_offset + MAX_SNAPSHOT_BYTES};
    if ((q->snapshots_offset & q->cluster_mask) ||
        q->snapshots_offset > INT64_MAX - MAX_SNAPSHOT_BYTES)
        return fail(error, "'%s': the snapshot table is out of bounds", q->base.name);
    if (!q->snapshots_offset)
        return fail(error, "'%s' claims %u snapshots, and has no table of them", q->base.name,
                    count);
    /* What the file cannot hold is not worth the memory. */
    uint64_t most = (size - MIN(size, q->snapshots_offset)) / ENTRY_FIXED;
    most = MIN(most, MAX_SNAPSHOTS);
    q->snapshots = g_new0(Qcow2Snapshot, MIN(count, most) + 1);
    while (q->snapshot_count < MIN(count, most)) {
        Qcow2Snapshot s = {.l1_offset = 0};
        if (!take_snapshot(&c, &s, error)) {
            free_snapshot(&s);
            return false;
        }
        q->snapshots[q->snapshot_count++] = s;
        q->snapshots_bytes = c.offset - q->snapshots_offset;
    }
    if (count > MAX_SNAPSHOTS)
        return fail(error, "'%s' claims %u snapshots; %u is the most", q->base.name, count,
                    MAX_SNAPSHOTS);
    return count <= most ||
           fail(error, "'%s': the snapshot table lies behind the end of the file", q->base.name);
}

bool qcow2_load_snapshots(Qcow2 *q, uint32_t count, GError **error)
{
    GError *why = NULL;
    q->snapshots_claimed = count;
    if (!count || take_snapshots(q, count, &why))
        return true;
    /* The guest's data is there all the same. */
    if (q->base.readonly || q->base.mode.repair) {
        q->snapshots_fault = g_strdup(why->message);
        report_warn("%s; %u of %u snapshots are left out", why->message, count - q->snapshot_count,
                    count);
        g_error_free(why);
        return true;
    }
    g_propagate_error(error, why);
    return false;
}

void qcow2_free_snapshots(Qcow2 *q)
{
    for (unsigned i = 0; i < q->snapshot_count; i++)
        free_snapshot(&q->snapshots[i]);
    g_free(q->snapshots);
    g_free(q->snapshots_fault);
}

uint64_t *qcow2_snapshot_l1(Qcow2 *q, const Qcow2Snapshot *s, int *ret)
{
    if (!s->fault)
        return qcow2_read_table(q, s->l1_offset, s->l1_entries, ret);
    *ret = qcow2_bad(q, "snapshot %s (%s): %s", s->info.id, s->info.name, s->fault);
    return NULL;
}

/* ---- Writing the table ---- */

static void pack_snapshot(GByteArray *table, const Qcow2Snapshot *s)
{
    uint8_t head[ENTRY_FIXED + EXTRA_KNOWN] = {0}, padding[8] = {0};
    gsize extra_bytes = 0;
    const void *extra = s->extra ? g_bytes_get_data(s->extra, &extra_bytes) : NULL;
    st64_be(head, s->l1_offset);
    st32_be(head + 8, s->l1_entries);
    st16_be(head + 12, (uint16_t)strlen(s->info.id));
    st16_be(head + 14, (uint16_t)strlen(s->info.name));
    st32_be(head + 16, s->info.date_sec);
    st32_be(head + 20, s->info.date_nsec);
    st64_be(head + 24, s->info.vm_clock_ns);
    st32_be(head + 32, (uint32_t)MIN(s->info.vm_state_bytes, UINT32_MAX));
    st32_be(head + 36, EXTRA_KNOWN + (uint32_t)extra_bytes);
    st64_be(head + ENTRY_FIXED, s->info.vm_state_bytes);
    st64_be(head + ENTRY_FIXED + 8, s->disk_size);
    st64_be(head + ENTRY_FIXED + 16, (uint64_t)s->info.icount);
    g_byte_array_append(table, padding, (guint)(align_up(table->len, 8) - table->len));
    g_byte_array_append(table, head, sizeof(head));
    if (extra_bytes)
        g_byte_array_append(table, extra, (guint)extra_bytes);
    g_byte_array_append(table, (const guint8 *)s->info.id, (guint)strlen(s->info.id));
    g_byte_array_append(table, (const guint8 *)s->info.name, (guint)strlen(s->info.name));
}

GByteArray *qcow2_pack_snapshots(const Qcow2Snapshot *snapshots, unsigned count)
{
    GByteArray *table = g_byte_array_new();
    for (unsigned i = 0; i < count; i++)
        pack_snapshot(table, &snapshots[i]);
    return table;
}

/* ---- VM state ---- */

static uint64_t table_reach(const Qcow2 *q)
{
    return 1ULL << (q->cluster_bits + q->l2_bits);
}

uint64_t qcow2_vmstate_offset(const Qcow2 *q)
{
    return qcow2_l1_needed(q, q->base.size) * table_reach(q);
}

static int read_state(BlkNode *node, uint64_t at, IoBuf buf, uint64_t bytes)
{
    int ret = 0;
    while (bytes && !ret) {
        Extent e;
        ret = qcow2_map(node, at, bytes, 0, &e);
        if (ret)
            break;
        e.node = node;
        if (e.kind == EXTENT_DATA)
            ret = file_read(extent_file(&e), e.host, buf, e.bytes);
        else if (e.kind == EXTENT_COMPRESSED) /* nobody writes that */
            ret = -EIO;
        else
            iobuf_zero(buf, e.bytes);
        buf = iobuf_skip(buf, e.bytes);
        at += e.bytes;
        bytes -= e.bytes;
    }
    return ret;
}

int qcow2_vmstate_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    Track track;
    Qcow2 *q = qcow2(node);
    uint64_t end = q->l1_entries * table_reach(q), begin = qcow2_vmstate_offset(q);
    if (begin >= end || offset > end - begin || bytes > end - begin - offset)
        return -EINVAL;
    track_begin(&node->requests, &track, begin, end, false);
    int ret = read_state(node, begin + offset, buf, bytes);
    track_end(&node->requests, &track);
    return ret;
}

/* Room in the L1 table: it grows by more than is asked, since a state is written piece by piece. */
static int reach_state(Qcow2 *q, uint64_t end)
{
    Change c;
    g_autoptr(GError) why = NULL;
    uint64_t entries = qcow2_l1_needed(q, end);
    if (entries <= q->l1_entries)
        return 0;
    if (entries > MAX_L1_BYTES / 8)
        return -EFBIG;
    if (!change_begin(&c, q, &why))
        return errno_of(why);
    change_l1_size(&c, MIN(entries + entries / 8 + 4, MAX_L1_BYTES / 8), NULL);
    return change_end(&c, 0, "make room for the VM state", &why) ? 0 : errno_of(why);
}

/* Whole clusters from memory. */
static int write_clusters(BlkNode *node, uint64_t at, const uint8_t *data, uint64_t bytes)
{
    int ret = 0;
    while (bytes && !ret) {
        Extent e;
        uint64_t n;
        ret = qcow2_map(node, at, bytes, 0, &e);
        if (ret)
            break;
        if (e.kind == EXTENT_DATA && e.in_place) {
            n = e.bytes;
            ret = file_pwrite(e.file ? e.file : node->file, e.host, data, n);
        } else {
            Alloc alloc = {0};
            ret = qcow2_alloc(node, at, bytes, &alloc);
            if (ret)
                break;
            n = MIN(bytes, alloc.end - at);
            ret = file_pwrite(alloc.file ? alloc.file : node->file, alloc.host, data, n);
            ret = qcow2_link(node, &alloc, ret);
        }
        if (!ret)
            ret = qcow2_balance(node);
        at += n;
        data += n;
        bytes -= n;
    }
    return ret;
}

/* What does not fill its clusters is put together in memory. */
static int write_parts(BlkNode *node, uint64_t at, IoBuf buf, uint64_t bytes)
{
    uint64_t cluster = node->cluster, piece = MAX(cluster, 1u << 20);
    int ret = 0;
    uint8_t *data = block_alloc(piece);
    if (!data)
        return -ENOMEM;
    while (bytes && !ret) {
        uint64_t start = align_down(at, cluster), within = at - start;
        uint64_t n = MIN(bytes, piece - within);
        uint64_t whole = align_up(within + n, cluster);
        struct iovec iov = {data, whole};
        if (within || n < whole)
            ret = read_state(node, start, (IoBuf){&iov, 1, 0}, whole);
        if (!ret) {
            iobuf_copy_in(buf, data + within, n);
            ret = write_clusters(node, start, data, whole);
        }
        buf = iobuf_skip(buf, n);
        at += n;
        bytes -= n;
    }
    free(data);
    return ret;
}

/* Whole clusters go as they lie in memory: a machine's RAM is not copied. */
static int write_state(BlkNode *node, uint64_t at, IoBuf buf, uint64_t bytes)
{
    struct iovec piece;
    uint64_t whole = 0;
    int ret = qcow2_balance(node);
    if (!ret && !(at % node->cluster) && iobuf_pieces(buf, bytes, &piece, 1, &whole)) {
        whole = align_down(whole, node->cluster);
        ret = write_clusters(node, at, piece.iov_base, whole);
    }
    if (ret || whole == bytes)
        return ret;
    return write_parts(node, at + whole, iobuf_skip(buf, whole), bytes - whole);
}

int qcow2_vmstate_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    Track track;
    Qcow2 *q = qcow2(node);
    uint64_t begin = qcow2_vmstate_offset(q);
    if (q->data_name)
        return -ENOTSUP;
    if (bytes > INT64_MAX - begin || offset > INT64_MAX - begin - bytes)
        return -EFBIG;
    track_begin(&node->requests, &track, 0, UINT64_MAX, true);
    int ret = reach_state(q, begin + offset + bytes);
    if (!ret)
        ret = write_state(node, begin + offset, buf, bytes);
    track_end(&node->requests, &track);
    return ret;
}

/* In place, as a guest discards: there may be no room for anything new. */
bool qcow2_vmstate_drop(BlkNode *node, GError **error)
{
    Qcow2 *q = qcow2(node);
    uint64_t size = node->size, end = q->l1_entries * table_reach(q);
    uint64_t begin = qcow2_vmstate_offset(q);
    if (begin >= end)
        return true;
    node->size = end;
    int ret = qcow2_discard(node, begin, end - begin, DISCARD_FULLY);
    node->size = size;
    if (!ret)
        ret = qcow2_flush(node);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot drop the VM state", node->name);
    qcow2_trim(q); /* what remains is only longer than it need be */
    return true;
}

/* ---- What the operations share ---- */

/* A copy of a table for the active image: it shares all clusters with a snapshot, so none may be
 * written in place. */
static int copy_for_active(Change *c, uint64_t *l1_entry, uint8_t *table)
{
    int ret = change_read_table(c, *l1_entry, table);
    if (!ret)
        ret = change_count_table(c, table, 1);
    for (unsigned i = 0; i < 1u << c->q->l2_bits && !ret; i++) {
        L2Entry entry = qcow2_table_entry(c->q, table, i);
        if (!(entry.word & ENTRY_COMPRESSED))
            entry.word &= ~ENTRY_COPIED;
        qcow2_table_set(c->q, table, i, entry);
    }
    return ret ? ret : change_write_table(c, table, l1_entry);
}

static int share_active(Change *c, uint32_t entries)
{
    int ret = 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(c->q));
    for (uint32_t i = 0; i < entries && !ret; i++)
        if (c->l1[i] & ENTRY_OFFSET)
            ret = copy_for_active(c, &c->l1[i], table);
    return ret;
}

static bool no_data_file(const Qcow2 *q, GError **error)
{
    return !q->data_name ||
           fail(error, "'%s': an image with an external data file cannot have snapshots",
                q->base.name);
}

/* ---- Create ---- */

static char *next_id(const Qcow2 *q)
{
    uint64_t id, last = 0;
    for (unsigned i = 0; i < q->snapshot_count; i++)
        if (parse_uint(q->snapshots[i].info.id, &id) && id < UINT32_MAX)
            last = MAX(last, id);
    return g_strdup_printf("%" PRIu64, last + 1);
}

bool qcow2_snapshot_create(BlkNode *node, const NodeSnapshot *info, GError **error)
{
    Qcow2 *q = qcow2(node);
    Change c;
    unsigned n = q->snapshot_count;
    if (!no_data_file(q, error))
        return false;
    if (n >= MAX_SNAPSHOTS)
        return fail(error, "'%s' has %u snapshots already", node->name, n);
    if ((info->id && strlen(info->id) > UINT16_MAX) || strlen(info->name) > UINT16_MAX)
        return fail(error, "a snapshot's name must be shorter than 64 KiB");
    if (!change_begin(&c, q, error))
        return false;
    Qcow2Snapshot new = {.info = *info,
                         .l1_offset = q->l1_offset,
                         .l1_entries = q->l1_entries,
                         .disk_size = node->size};
    new.info.id = info->id ? g_strdup(info->id) : next_id(q);
    new.info.name = g_strdup(info->name);
    c.snapshots = g_new(Qcow2Snapshot, n + 1);
    if (n)
        memcpy(c.snapshots, q->snapshots, n * sizeof(new));
    c.snapshots[n] = new;
    c.header.snapshot_count = n + 1;
    /* The VM state is the snapshot's alone. */
    uint32_t disk = (uint32_t)qcow2_l1_needed(q, node->size);
    int ret = share_active(&c, MIN(disk, q->l1_entries));
    c.keep_old_l1 = true;
    if (!change_l1_size(&c, MIN(disk, q->l1_entries), error))
        ret = -EFBIG; /* never: it is no larger than before */
    bool ok = change_end(&c, ret, "create a snapshot", error);
    if (!ok)
        free_snapshot(&new);
    return ok;
}

/* ---- Apply ---- */

static int drop_active(Change *c)
{
    int ret = 0;
    for (uint32_t i = 0; i < c->q->l1_entries && !ret; i++)
        ret = change_drop_l1_entry(c, c->l1[i]);
    return ret;
}

bool qcow2_snapshot_apply(BlkNode *node, unsigned n, GError **error)
{
    Qcow2 *q = qcow2(node);
    const Qcow2Snapshot *s = &q->snapshots[n];
    Change c;
    int ret = 0;
    if (!no_data_file(q, error))
        return false;
    if (s->disk_size > INT64_MAX - q->cluster_mask - 511 ||
        qcow2_l1_needed(q, s->disk_size) > MAX_L1_BYTES / 8)
        return fail(error, "'%s': snapshot '%s' is of an impossible size", node->name,
                    s->info.name);
    uint64_t *l1 = qcow2_snapshot_l1(q, s, &ret);
    if (!l1)
        return fail_errno(error, -ret, "'%s': cannot read a snapshot's tables", node->name);
    if (!change_begin(&c, q, error)) {
        g_free(l1);
        return false;
    }
    /* First the new references, so that nothing that stays counts as free in between. */
    uint64_t *old = c.l1;
    c.l1 = l1;
    ret = share_active(&c, s->l1_entries);
    c.l1 = old;
    if (!ret)
        ret = drop_active(&c);
    g_free(old);
    c.l1 = l1;
    c.header.l1_entries = s->l1_entries;
    c.header.size = s->disk_size;
    c.new_l1 = true;
    if (!ret && !change_l1_size(&c, MAX(s->l1_entries, qcow2_l1_needed(q, s->disk_size)), NULL))
        ret = -EFBIG;
    if (!ret && s->disk_size != node->size)
        ret = change_resize_bitmaps(&c);
    bool ok = change_end(&c, ret, "apply the snapshot", error);
    if (ok && node->recording) /* anything may be different now */
        qcow2_touched(node, 0, node->size);
    return ok;
}

/* ---- Delete ---- */

static int drop_snapshot(Change *c, const Qcow2Snapshot *s)
{
    int ret;
    if (s->fault) {
        report_warn("'%s': what snapshot '%s' held is not known (%s): check -r leaks frees it",
                    c->q->base.name, s->info.name, s->fault);
        return 0;
    }
    g_autofree uint64_t *l1 = qcow2_read_table(c->q, s->l1_offset, s->l1_entries, &ret);
    for (uint32_t i = 0; l1 && i < s->l1_entries && !ret; i++)
        ret = change_drop_l1_entry(c, l1[i]);
    return ret ? ret : change_count(c, s->l1_offset, s->l1_entries * 8ULL, -1);
}

/* Sets COPIED where an entry is the only reference left.  True if something changed. */
static bool claim_copied(Change *c, uint8_t *table)
{
    bool changed = false;
    for (unsigned i = 0; i < 1u << c->q->l2_bits; i++) {
        L2Entry entry = qcow2_table_entry(c->q, table, i);
        uint64_t host = entry.word & ENTRY_OFFSET;
        if ((entry.word & (ENTRY_COMPRESSED | ENTRY_COPIED)) || !host)
            continue;
        if (host >> c->q->cluster_bits >= c->clusters || c->counts[host >> c->q->cluster_bits] != 1)
            continue;
        entry.word |= ENTRY_COPIED;
        qcow2_table_set(c->q, table, i, entry);
        changed = true;
    }
    return changed;
}

/* The active image's tables after references were taken away; a table that changes moves. */
static int claim_active(Change *c)
{
    int ret = 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(c->q));
    for (uint32_t i = 0; i < c->header.l1_entries && !ret; i++) {
        uint64_t offset = c->l1[i] & ENTRY_OFFSET, cluster = offset >> c->q->cluster_bits;
        if (!offset)
            continue;
        /* What others share is shared with all its clusters. */
        if (cluster >= c->clusters || c->counts[cluster] != 1)
            continue;
        ret = change_read_table(c, c->l1[i], table);
        if (!ret && claim_copied(c, table)) {
            ret = change_count(c, offset, 1, -1);
            if (!ret)
                ret = change_write_table(c, table, &c->l1[i]);
            c->new_l1 = true;
        } else if (!(c->l1[i] & ENTRY_COPIED)) {
            c->l1[i] |= ENTRY_COPIED;
            c->new_l1 = true;
        }
    }
    return ret;
}

bool qcow2_snapshot_delete(BlkNode *node, unsigned n, GError **error)
{
    Qcow2 *q = qcow2(node);
    Change c;
    if (!change_begin(&c, q, error))
        return false;
    Qcow2Snapshot gone = q->snapshots[n];
    unsigned left = q->snapshot_count - 1;
    c.snapshots = g_new(Qcow2Snapshot, left + 1);
    memcpy(c.snapshots, q->snapshots, n * sizeof(gone));
    memcpy(c.snapshots + n, q->snapshots + n + 1, (left - n) * sizeof(gone));
    c.header.snapshot_count = left;
    int ret = drop_snapshot(&c, &gone);
    if (!ret)
        ret = claim_active(&c);
    bool ok = change_end(&c, ret, "delete the snapshot", error);
    if (ok)
        free_snapshot(&gone);
    return ok;
}

/* ---- Repair ---- */

bool qcow2_rewrite_snapshots(Qcow2 *q, GError **error)
{
    Change c;
    if (!change_begin(&c, q, error))
        return false;
    c.snapshots = g_memdup2(q->snapshots, (q->snapshot_count + 1) * sizeof(*q->snapshots));
    for (unsigned i = 0; i < q->snapshot_count; i++)
        c.snapshots[i].incomplete = false;
    return change_end(&c, 0, "write the snapshot table anew", error);
}
