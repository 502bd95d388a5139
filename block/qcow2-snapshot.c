/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the table of internal snapshots, which are kept intact. */
#include <errno.h>
#include <string.h>

#include "qcow2.h"
#include "util/bytes.h"
#include "util/error.h"

enum { ENTRY_FIXED = 40 }; /* bytes before the extra data of an entry */

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
    uint8_t extra[24] = {0};
    uint64_t known = MIN(bytes, sizeof(extra));
    if (!take(c, extra, known, error))
        return false;
    if (bytes - known > c->end - c->offset)
        return fail(error, "'%s': a snapshot's extra data is too large", c->q->base.name);
    c->offset += bytes - known;
    if (known >= 8)
        s->info.vm_state_bytes = ld64_be(extra);
    s->disk_size = known >= 16 ? ld64_be(extra + 8) : c->q->base.size;
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
    if (s->l1_entries > MAX_L1_BYTES / 8 || (s->l1_offset & c->q->cluster_mask) ||
        s->l1_offset > INT64_MAX - MAX_L1_BYTES)
        return fail(error, "'%s': a snapshot's L1 table is out of bounds", c->q->base.name);
    if (!take_extra(c, ld32_be(head + 36), s, error))
        return false;
    s->info.id = take_text(c, ld16_be(head + 12), error);
    if (s->info.id)
        s->info.name = take_text(c, ld16_be(head + 14), error);
    return s->info.name;
}

bool qcow2_load_snapshots(Qcow2 *q, uint32_t count, GError **error)
{
    Cursor c = {q, q->snapshots_offset, q->snapshots_offset + MAX_SNAPSHOT_BYTES};
    if (!count)
        return true;
    if (count > MAX_SNAPSHOTS)
        return fail(error, "'%s' claims %u snapshots; %u is the most", q->base.name, count,
                    MAX_SNAPSHOTS);
    if ((q->snapshots_offset & q->cluster_mask) ||
        q->snapshots_offset > INT64_MAX - MAX_SNAPSHOT_BYTES)
        return fail(error, "'%s': the snapshot table is out of bounds", q->base.name);
    /* What the file cannot hold is not worth the memory. */
    if (count * (uint64_t)ENTRY_FIXED > q->base.file->size)
        return fail(error, "'%s': the snapshot table lies behind the end of the file",
                    q->base.name);
    q->snapshots = g_new0(Qcow2Snapshot, count);
    while (q->snapshot_count < count)
        if (!take_snapshot(&c, &q->snapshots[q->snapshot_count++], error))
            return false;
    q->snapshots_bytes = c.offset - q->snapshots_offset;
    return true;
}

void qcow2_free_snapshots(Qcow2 *q)
{
    for (unsigned i = 0; i < q->snapshot_count; i++) {
        g_free(q->snapshots[i].info.id);
        g_free(q->snapshots[i].info.name);
    }
    g_free(q->snapshots);
}
