/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations on a whole image: resize, snapshots, backing file, options, bitmaps.  Here is what all
 * formats share: is the image writable, can its format do that, and does nothing else run
 * meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "block/node.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/options.h"

const char *const preallocation_words[] = {"off", "metadata", "falloc", "full", NULL};

/* Begins an operation that changes the image: waits for all requests, lets none in. */
static bool begin(BlkNode *node, bool supported, const char *what, Track *track, GError **error)
{
    if (!supported)
        return fail(error, "'%s': format '%s' has no %s", node->name, node->fmt->name, what);
    if (node->readonly)
        return fail(error, "'%s' is open for reading only", node->name);
    track_begin(&node->requests, track, 0, UINT64_MAX, true);
    node_forget_expanded(node);
    return true;
}

static bool end(BlkNode *node, Track *track, bool ok)
{
    node_forget_expanded(node);
    track_end(&node->requests, track);
    return ok;
}

/* ---- Size ---- */

bool node_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error)
{
    Track track;
    if (size > INT64_MAX - 511)
        return fail(error, "'%s': %" G_GUINT64_FORMAT " bytes are too many", node->name, size);
    if (!begin(node, node->fmt->resize, "resizing", &track, error))
        return false;
    size = align_up(size, 512);
    bool ok = size == node->size || node->fmt->resize(node, size, how, error);
    return end(node, &track, ok);
}

/* ---- Snapshots ---- */

static bool find_by(const BlkNode *node, bool by_name, const char *text, unsigned *n)
{
    const NodeSnapshot *s;
    for (unsigned i = 0; node->fmt->snapshot && (s = node->fmt->snapshot(node, i)); i++)
        if (!strcmp(by_name ? s->name : s->id, text)) {
            *n = i;
            return true;
        }
    return false;
}

bool node_snapshot_find(const BlkNode *node, const char *id_or_name, unsigned *n)
{
    return find_by(node, false, id_or_name, n) || find_by(node, true, id_or_name, n);
}

static bool find_snapshot(const BlkNode *node, const char *id_or_name, unsigned *n, GError **error)
{
    return node_snapshot_find(node, id_or_name, n) ||
           fail(error, "'%s' has no snapshot '%s'", node->name, id_or_name);
}

static bool find_named(const BlkNode *node, const char *name, unsigned *n, GError **error)
{
    if (find_by(node, true, name, n))
        return true;
    if (!find_by(node, false, name, n))
        return find_snapshot(node, name, n, error);
    return fail(error, "'%s' has no snapshot with the name '%s'; that with this ID is named '%s'",
                node->name, name, node->fmt->snapshot(node, *n)->name);
}

bool node_snapshot_create(BlkNode *node, const NodeSnapshot *info, GError **error)
{
    Track track;
    unsigned n;
    if (info->id && node_snapshot_find(node, info->id, &n))
        return fail(error, "'%s' has a snapshot '%s' already", node->name, info->id);
    if (!begin(node, node->fmt->snapshot_create, "snapshots", &track, error))
        return false;
    return end(node, &track, node->fmt->snapshot_create(node, info, error));
}

bool node_snapshot_apply(BlkNode *node, const char *id_or_name, GError **error)
{
    Track track;
    unsigned n;
    if (!begin(node, node->fmt->snapshot_apply, "snapshots", &track, error))
        return false;
    bool ok =
        find_snapshot(node, id_or_name, &n, error) && node->fmt->snapshot_apply(node, n, error);
    return end(node, &track, ok);
}

bool node_snapshot_named(const BlkNode *node, const char *name, unsigned *n)
{
    const NodeSnapshot *s;
    bool found = false;
    for (unsigned i = 0; node->fmt->snapshot && (s = node->fmt->snapshot(node, i)); i++)
        if (!strcmp(s->name, name)) {
            *n = i;
            found = true;
        }
    return found;
}

bool node_snapshot_delete_number(BlkNode *node, unsigned n, GError **error)
{
    Track track;
    if (!begin(node, node->fmt->snapshot_delete, "snapshots", &track, error))
        return false;
    return end(node, &track, node->fmt->snapshot_delete(node, n, error));
}

bool node_snapshot_delete(BlkNode *node, const char *name, GError **error)
{
    Track track;
    unsigned n;
    if (!begin(node, node->fmt->snapshot_delete, "snapshots", &track, error))
        return false;
    bool ok = find_named(node, name, &n, error) && node->fmt->snapshot_delete(node, n, error);
    return end(node, &track, ok);
}

void node_snapshot_describe(const NodeSnapshot *s, const char *id, GString *out)
{
    char date[32] = "", clock[64], icount[24] = "";
    time_t when = s->date_sec;
    struct tm tm;
    uint64_t seconds = s->vm_clock_ns / 1000000000;
    g_autofree char *size = format_size_short(s->vm_state_bytes);
    if (localtime_r(&when, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02u:%02u.%03u", seconds / 3600,
             (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60),
             (unsigned)(s->vm_clock_ns / 1000000 % 1000));
    if (s->icount >= 0)
        snprintf(icount, sizeof(icount), "%" PRId64, s->icount);
    g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", id, s->name, size, date, clock,
                           icount);
}

int node_vmstate_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    return node->fmt->vmstate_read ? node->fmt->vmstate_read(node, offset, buf, bytes) : -ENOTSUP;
}

int node_vmstate_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (!node->fmt->vmstate_write)
        return -ENOTSUP;
    return node->readonly ? -EROFS : node->fmt->vmstate_write(node, offset, buf, bytes);
}

bool node_vmstate_drop(BlkNode *node, GError **error)
{
    Track track;
    if (!begin(node, node->fmt->vmstate_drop, "snapshots", &track, error))
        return false;
    return end(node, &track, node->fmt->vmstate_drop(node, error));
}

/* ---- Backing file, options, place ---- */

bool node_change_backing(BlkNode *node, const char *name, const char *format, GError **error)
{
    Track track;
    if (!begin(node, node->fmt->change_backing, "backing files that change", &track, error))
        return false;
    return end(node, &track, node->fmt->change_backing(node, name, format, error));
}

int node_begin_commit(BlkNode *node, BlkNode *base)
{
    return node->fmt->begin_commit ? node->fmt->begin_commit(node, base) : 0;
}

bool node_make_empty(BlkNode *node, GError **error)
{
    int ret = node->fmt->backing ? node_discard(node, 0, node->size, DISCARD_FULLY) : -ENOTSUP;
    if (!ret)
        ret = node_flush(node);
    return !ret || fail_errno(error, -ret, "'%s' cannot be emptied", node->name);
}

bool node_amend(BlkNode *node, const Options *options, bool force, const NodeProgress *progress,
                GError **error)
{
    Track track;
    if (!begin(node, node->fmt->amend, "options that can be changed", &track, error))
        return false;
    return end(node, &track, node->fmt->amend(node, options, force, progress, error));
}

bool node_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Track track;
    if (!begin(node, node->fmt->compact, "way to be compacted", &track, error))
        return false;
    return end(node, &track, node->fmt->compact(node, progress, error));
}

bool image_measure(const char *format, const CreateSpec *spec, BlkNode *source, Measure *result,
                   GError **error)
{
    const BlkFormat *fmt = format_find(format, error);
    *result = (Measure){0};
    if (!fmt)
        return false;
    if (!fmt->measure)
        return fail(error, "what an image of format '%s' takes cannot be told before", fmt->name);
    return fmt->measure(spec, source, result, error);
}

/* ---- Bitmaps ---- */

static const NodeBitmap *find_bitmap(const BlkNode *node, const char *name, unsigned *n,
                                     GError **error)
{
    const NodeBitmap *b = NULL;
    for (*n = 0; node->fmt->bitmap && (b = node->fmt->bitmap(node, *n)); ++*n)
        if (!strcmp(b->name, name))
            return b;
    fail(error, "'%s' has no bitmap '%s'", node->name, name);
    return NULL;
}

/* The same for one whose contents count. */
static const NodeBitmap *find_sound(const BlkNode *node, const char *name, unsigned *n,
                                    GError **error)
{
    const NodeBitmap *b = find_bitmap(node, name, n, error);
    if (!b || !b->inconsistent)
        return b;
    fail(error,
         "bitmap '%s' of '%s' was not stored when it was last used, or holds what is not known "
         "here: it can only be removed",
         name, node->name);
    return NULL;
}

static uint64_t default_granularity(const BlkNode *node)
{
    return CLAMP(node->cluster, 4096u, 65536u);
}

bool node_bitmap_add(BlkNode *node, const char *name, uint64_t granularity, bool enabled,
                     GError **error)
{
    Track track;
    unsigned n;
    if (find_bitmap(node, name, &n, NULL))
        return fail(error, "'%s' has a bitmap '%s' already", node->name, name);
    if (!granularity)
        granularity = default_granularity(node);
    if (!is_pow2(granularity) || granularity < 512 || granularity > 1ULL << 31)
        return fail(error, "a bitmap's granularity must be a power of two from 512 to 2G");
    if (!begin(node, node->fmt->bitmap_add, "bitmaps", &track, error))
        return false;
    return end(node, &track, node->fmt->bitmap_add(node, name, granularity, enabled, error));
}

bool node_bitmap_remove(BlkNode *node, const char *name, GError **error)
{
    Track track;
    unsigned n;
    if (!begin(node, node->fmt->bitmap_remove, "bitmaps", &track, error))
        return false;
    bool ok = find_bitmap(node, name, &n, error) && node->fmt->bitmap_remove(node, n, error);
    return end(node, &track, ok);
}

bool node_bitmap_enable(BlkNode *node, const char *name, bool enabled, GError **error)
{
    Track track;
    unsigned n;
    if (!begin(node, node->fmt->bitmap_enable, "bitmaps", &track, error))
        return false;
    const NodeBitmap *b = find_sound(node, name, &n, error);
    bool ok = b && (b->enabled == enabled || node->fmt->bitmap_enable(node, n, enabled, error));
    return end(node, &track, ok);
}

static uint64_t bitmap_bits(const BlkNode *node, const NodeBitmap *b)
{
    return (node->size + b->granularity - 1) / b->granularity;
}

bool node_bitmap_clear(BlkNode *node, const char *name, GError **error)
{
    Track track;
    unsigned n;
    if (!begin(node, node->fmt->bitmap_store, "bitmaps", &track, error))
        return false;
    bool ok = find_sound(node, name, &n, error) && node->fmt->bitmap_store(node, n, NULL, error);
    return end(node, &track, ok);
}

/* Sets all bits that ranges of `from` touch. */
static void merge_bits(uint8_t *to, uint64_t to_grain, uint64_t to_bits, const uint8_t *from,
                       uint64_t from_grain, uint64_t from_bits)
{
    for (uint64_t i = 0; i < from_bits; i++) {
        if (!(from[i / 8] >> i % 8 & 1))
            continue;
        uint64_t last = MIN(((i + 1) * from_grain - 1) / to_grain, to_bits - 1);
        for (uint64_t j = i * from_grain / to_grain; j <= last; j++)
            to[j / 8] |= (uint8_t)(1u << j % 8);
    }
}

static bool merge(BlkNode *node, const char *name, BlkNode *source, const char *source_name,
                  GError **error)
{
    unsigned n, m;
    g_autofree uint8_t *to = NULL, *from = NULL;
    const NodeBitmap *a = find_sound(node, name, &n, error);
    const NodeBitmap *b = a ? find_sound(source, source_name, &m, error) : NULL;
    if (!b)
        return false;
    if (node->size != source->size)
        return fail(error, "'%s' and '%s' are of different sizes: their bitmaps cannot be merged",
                    node->name, source->name);
    if (!node->fmt->bitmap_load(node, n, &to, error) ||
        !source->fmt->bitmap_load(source, m, &from, error))
        return false;
    merge_bits(to, a->granularity, bitmap_bits(node, a), from, b->granularity,
               bitmap_bits(source, b));
    return node->fmt->bitmap_store(node, n, to, error);
}

bool node_bitmap_merge(BlkNode *node, const char *name, BlkNode *source, const char *source_name,
                       GError **error)
{
    Track track;
    if (!begin(node, node->fmt->bitmap_store, "bitmaps", &track, error))
        return false;
    return end(node, &track, merge(node, name, source, source_name, error));
}
