/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: persistent dirty bitmaps.
 *
 * A bitmap that is enabled ("auto") records writes.  Before the first write of any kind it is
 * marked in use in the file (8): should we not come to store it, nobody takes it for complete. When
 * the image is closed it is stored, and the mark goes, in one step (qcow2-change.h).  One that is
 * disabled stays as it is.
 */
#include <errno.h>
#include <string.h>

#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

enum { ENTRY_FIXED = 24, TYPE_DIRTY = 1, MIN_GRAIN_BITS = 9, MAX_GRAIN_BITS = 31 };
enum { FLAG_IN_USE = 1, FLAG_AUTO = 2, FLAG_COMPATIBLE = 4 };

#define MAX_BITMAPS     65535u
#define MAX_DIRECTORY   (16u << 20)
#define MAX_BYTES       (64u << 20) /* of one bitmap in memory */
#define MAX_ALL_BYTES   (256u << 20)
#define ENTRY_ALL_ONES  1ULL
#define TABLE_OFFSET(e) ((e)&ENTRY_OFFSET)

/* ---- The directory ---- */

static void set_flags(Qcow2Bitmap *b, uint32_t flags)
{
    b->info.flags = flags;
    b->info.enabled = flags & FLAG_AUTO;
    b->info.inconsistent = flags & FLAG_IN_USE;
}

void qcow2_free_bitmap(Qcow2Bitmap *b)
{
    g_free(b->info.name);
    g_free(b->bits);
    if (b->extra)
        g_bytes_unref(b->extra);
}

void qcow2_free_bitmaps(Qcow2 *q)
{
    for (unsigned i = 0; q->bitmaps && i < q->bitmap_count; i++)
        qcow2_free_bitmap(&q->bitmaps[i]);
    g_clear_pointer(&q->bitmaps, g_free);
}

/* One entry of the directory; bytes: how much is left of it.  Returns its length, 0 if it is bad.
 */
static uint64_t unpack(const Qcow2 *q, const uint8_t *d, uint64_t bytes, Qcow2Bitmap *b)
{
    if (bytes < ENTRY_FIXED)
        return 0;
    uint32_t extra = ld32_be(d + 20), name = ld16_be(d + 18);
    uint64_t length = align_up((uint64_t)ENTRY_FIXED + extra + name, 8);
    b->table_offset = ld64_be(d);
    b->table_entries = ld32_be(d + 8);
    if (length > bytes || !name || (b->table_offset & q->cluster_mask) || d[16] != TYPE_DIRTY ||
        d[17] < MIN_GRAIN_BITS || d[17] > MAX_GRAIN_BITS || b->table_entries > MAX_L1_BYTES / 8 ||
        b->table_offset > INT64_MAX - MAX_L1_BYTES)
        return 0;
    set_flags(b, ld32_be(d + 12));
    b->info.granularity = 1ULL << d[17];
    b->info.name = g_strndup((const char *)d + ENTRY_FIXED + extra, name);
    b->extra = extra ? g_bytes_new(d + ENTRY_FIXED, extra) : NULL;
    /* What we do not know may change what its bits mean. */
    if (extra && !(b->info.flags & FLAG_COMPATIBLE))
        b->info.inconsistent = true;
    return length;
}

bool qcow2_load_bitmaps(Qcow2 *q, GError **error)
{
    const char *name = q->base.name;
    uint32_t count = q->bitmap_count;
    uint64_t bytes = q->bitmaps_bytes, at = 0;
    if (!q->has_bitmaps || !count) {
        q->has_bitmaps = false;
        q->bitmap_count = 0;
        return true;
    }
    if (count > MAX_BITMAPS || bytes > MAX_DIRECTORY || count * (uint64_t)ENTRY_FIXED > bytes ||
        (q->bitmaps_offset & q->cluster_mask) || q->bitmaps_offset > q->base.file->size ||
        bytes > q->base.file->size - q->bitmaps_offset)
        return fail(error, "'%s': the bitmap directory is out of bounds", name);
    g_autofree uint8_t *directory = block_try_malloc(bytes);
    int ret = directory ? file_pread(q->base.file, q->bitmaps_offset, directory, bytes) : -ENOMEM;
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read the bitmap directory", name);
    q->bitmaps = g_new0(Qcow2Bitmap, count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t length = unpack(q, directory + at, bytes - at, &q->bitmaps[i]);
        if (!length)
            return fail(error, "'%s': entry %u of the bitmap directory is wrong", name, i);
        q->bitmaps[i].flags_at = q->bitmaps_offset + at + 12;
        at += length;
    }
    return true;
}

static GByteArray *pack_directory(Qcow2Bitmap *list, unsigned count)
{
    GByteArray *d = g_byte_array_new();
    for (unsigned i = 0; i < count; i++) {
        const Qcow2Bitmap *b = &list[i];
        uint8_t head[ENTRY_FIXED] = {0}, padding[8] = {0};
        gsize extra_bytes = 0;
        const void *extra = b->extra ? g_bytes_get_data(b->extra, &extra_bytes) : NULL;
        list[i].flags_at = d->len + 12; /* to be moved when the place is known */
        st64_be(head, b->table_offset);
        st32_be(head + 8, b->table_entries);
        st32_be(head + 12, (uint32_t)b->info.flags);
        head[16] = TYPE_DIRTY;
        head[17] = (uint8_t)(63 - __builtin_clzll(b->info.granularity));
        st16_be(head + 18, (uint16_t)strlen(b->info.name));
        st32_be(head + 20, (uint32_t)extra_bytes);
        g_byte_array_append(d, head, sizeof(head));
        if (extra_bytes)
            g_byte_array_append(d, extra, (guint)extra_bytes);
        g_byte_array_append(d, (const guint8 *)b->info.name, (guint)strlen(b->info.name));
        g_byte_array_append(d, padding, (guint)(align_up(d->len, 8) - d->len));
    }
    return d;
}

/* ---- Contents ---- */

/* Memory for a bitmap of a disk: whole clusters of it. */
static uint64_t bitmap_bytes(const Qcow2 *q, const Qcow2Bitmap *b, uint64_t size)
{
    uint64_t bits = (size + b->info.granularity - 1) / b->info.granularity;
    return align_up((bits + 7) / 8, qcow2_cluster_bytes(q));
}

/* Reads what the file holds into new memory. (co) */
static int load_bits(Qcow2 *q, const Qcow2Bitmap *b, uint8_t **bits)
{
    uint64_t bytes = bitmap_bytes(q, b, q->base.size), cluster = qcow2_cluster_bytes(q);
    int ret;
    *bits = NULL;
    if (bytes > MAX_BYTES)
        return -EFBIG;
    if (b->table_entries != bytes / cluster)
        return qcow2_bad(q, "bitmap '%s' is not of the disk's size", b->info.name);
    g_autofree uint64_t *table = qcow2_read_table(q, b->table_offset, b->table_entries, &ret);
    g_autofree uint8_t *data = block_try_malloc0(MAX(bytes, 1));
    if (!table || !data)
        return ret ? ret : -ENOMEM;
    for (uint32_t i = 0; i < b->table_entries && !ret; i++) {
        uint64_t at = TABLE_OFFSET(table[i]);
        if (at & q->cluster_mask)
            ret = qcow2_bad(q, "a cluster of bitmap '%s' is not aligned", b->info.name);
        else if (at)
            ret = file_pread(q->base.file, at, data + i * cluster, cluster);
        else if (table[i] & ENTRY_ALL_ONES)
            memset(data + i * cluster, 0xff, cluster);
    }
    if (!ret)
        *bits = g_steal_pointer(&data);
    return ret;
}

/* Gives up a bitmap's table and clusters. */
static int drop_bits(Change *c, const Qcow2Bitmap *b)
{
    int ret;
    g_autofree uint64_t *table = qcow2_read_table(c->q, b->table_offset, b->table_entries, &ret);
    for (uint32_t i = 0; table && i < b->table_entries && !ret; i++)
        if (TABLE_OFFSET(table[i]))
            ret = change_count(c, TABLE_OFFSET(table[i]), 1, -1);
    return ret ? ret : change_count(c, b->table_offset, b->table_entries * 8ULL, -1);
}

/* Writes them; bits NULL: all zeros. */
static int write_bits(Change *c, Qcow2Bitmap *b, const uint8_t *bits)
{
    uint64_t cluster = qcow2_cluster_bytes(c->q);
    uint64_t entries = bitmap_bytes(c->q, b, c->header.size) / cluster;
    if (entries > MAX_L1_BYTES / 8)
        return -EFBIG;
    g_autofree uint64_t *table = g_new0(uint64_t, MAX(entries, 1));
    int ret = 0;
    for (uint64_t i = 0; bits && i < entries && !ret; i++)
        if (!buffer_is_zero(bits + i * cluster, cluster))
            ret = change_write_bytes(c, bits + i * cluster, cluster, &table[i]);
    b->table_entries = (uint32_t)entries;
    return ret ? ret : change_write_words(c, table, b->table_entries, &b->table_offset);
}

/* ---- Changes ---- */

static Qcow2Bitmap *copy_list(const Qcow2 *q, unsigned more)
{
    Qcow2Bitmap *list = g_new0(Qcow2Bitmap, q->bitmap_count + more + 1);
    if (q->bitmap_count)
        memcpy(list, q->bitmaps, q->bitmap_count * sizeof(*list));
    return list;
}

/* The directory is to hold list, whose entries belong to the image when the change is done. */
static int put_directory(Change *c, Qcow2Bitmap *list, unsigned count)
{
    const Qcow2 *q = c->q;
    g_autoptr(GByteArray) d = pack_directory(list, count);
    int ret = 0;
    if (q->bitmap_count)
        ret = change_count(c, q->bitmaps_offset, q->bitmaps_bytes, -1);
    if (!ret)
        ret = d->len > MAX_DIRECTORY
                  ? -EFBIG
                  : change_write_bytes(c, d->data, d->len, &c->header.bitmaps_offset);
    for (unsigned i = 0; i < count; i++)
        list[i].flags_at += c->header.bitmaps_offset;
    c->header.bitmaps_bytes = d->len;
    c->header.bitmap_count = count;
    c->header.has_bitmaps = count;
    c->header.autoclear &= ~AUTOCLEAR_BITMAPS;
    if (count)
        c->header.autoclear |= AUTOCLEAR_BITMAPS;
    c->bitmaps = list;
    return ret;
}

/* What resize does to the bits: those behind the new end go, new ones are 0. */
static int resize_bits(Change *c, Qcow2Bitmap *b)
{
    const Qcow2 *q = c->q;
    uint64_t old = bitmap_bytes(q, b, q->base.size), new = bitmap_bytes(q, b, c->header.size);
    uint64_t bits = (c->header.size + b->info.granularity - 1) / b->info.granularity;
    g_autofree uint8_t *data = NULL;
    int ret = new > MAX_BYTES ? -EFBIG : 0;
    if (!ret && !b->bits)
        ret = load_bits(c->q, b, &data);
    if (ret)
        return ret;
    uint8_t *to = g_malloc0(MAX(new, 1));
    memcpy(to, b->bits ? b->bits : data, MIN(old, new));
    for (uint64_t i = bits; i < MIN(align_up(bits, 8), new * 8); i++)
        to[i / 8] &= (uint8_t) ~(1u << i % 8);
    if (bits / 8 + 1 < new)
        memset(to + (bits + 7) / 8, 0, new - (bits + 7) / 8);
    ret = drop_bits(c, b);
    if (!ret)
        ret = write_bits(c, b, to);
    if (b->bits && !ret)
        b->new_bits = to;
    else
        g_free(to);
    return ret;
}

int change_resize_bitmaps(Change *c)
{
    const Qcow2 *q = c->q;
    int ret = 0;
    if (!q->bitmap_count)
        return 0;
    Qcow2Bitmap *list = copy_list(q, 0);
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++)
        ret = resize_bits(c, &list[i]);
    int put = put_directory(c, list, q->bitmap_count);
    return ret ? ret : put;
}

/* Whether a bitmap's table or one of its clusters lies in or behind cluster `end`. */
static int lies_behind(Qcow2 *q, const Qcow2Bitmap *b, uint64_t end, bool *behind)
{
    int ret;
    uint64_t limit = end << q->cluster_bits;
    g_autofree uint64_t *table = qcow2_read_table(q, b->table_offset, b->table_entries, &ret);
    *behind = b->table_offset + b->table_entries * 8ULL > limit;
    for (uint32_t i = 0; table && i < b->table_entries; i++)
        *behind |= TABLE_OFFSET(table[i]) >= limit;
    return ret;
}

/* One that is inconsistent stays: nobody knows what it is. */
static int move_bitmap(Change *c, Qcow2Bitmap *b, uint64_t end, bool *any)
{
    bool behind;
    g_autofree uint8_t *data = NULL;
    if (b->info.inconsistent)
        return 0;
    int ret = lies_behind(c->q, b, end, &behind);
    if (ret || !behind)
        return ret;
    *any = true;
    ret = load_bits(c->q, b, &data);
    if (!ret)
        ret = drop_bits(c, b);
    return ret ? ret : write_bits(c, b, data);
}

int change_move_bitmaps(Change *c, uint64_t end)
{
    const Qcow2 *q = c->q;
    bool any = q->bitmaps_offset + q->bitmaps_bytes > end << q->cluster_bits;
    int ret = 0;
    if (!q->bitmap_count)
        return 0;
    Qcow2Bitmap *list = copy_list(q, 0);
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++)
        ret = move_bitmap(c, &list[i], end, &any);
    if (!ret && any)
        return put_directory(c, list, q->bitmap_count);
    g_free(list);
    return ret;
}

bool qcow2_bitmap_add(BlkNode *node, const char *name, uint64_t granularity, bool enabled,
                      GError **error)
{
    Qcow2 *q = qcow2(node);
    Change c;
    if (q->version < 3)
        return fail(error, "'%s': bitmaps need compat=1.1", node->name);
    if (!*name || strlen(name) > 1023)
        return fail(error, "a bitmap's name has 1 to 1023 bytes");
    if (q->bitmap_count >= MAX_BITMAPS)
        return fail(error, "'%s' has %u bitmaps already", node->name, q->bitmap_count);
    Qcow2Bitmap new = {.info = {.granularity = granularity}};
    if (bitmap_bytes(q, &new, node->size) > MAX_BYTES)
        return fail(error, "'%s' is too large for a bitmap of this granularity", node->name);
    if (!change_begin(&c, q, error))
        return false;
    Qcow2Bitmap *list = copy_list(q, 1);
    /* An enabled one is in use from the moment that it is there. */
    set_flags(&new, enabled ? FLAG_AUTO | FLAG_IN_USE : 0);
    new.info.inconsistent = false;
    new.info.name = g_strdup(name);
    int ret = write_bits(&c, &new, NULL);
    list[q->bitmap_count] = new;
    int put = put_directory(&c, list, q->bitmap_count + 1);
    bool ok = change_end(&c, ret ? ret : put, "add a bitmap", error);
    if (!ok)
        qcow2_free_bitmap(&new);
    else if (enabled)
        qcow2_record_bitmaps(q);
    return ok;
}

bool qcow2_bitmap_remove(BlkNode *node, unsigned n, GError **error)
{
    Qcow2 *q = qcow2(node);
    Change c;
    if (!change_begin(&c, q, error))
        return false;
    Qcow2Bitmap gone = q->bitmaps[n];
    Qcow2Bitmap *list = copy_list(q, 0);
    memmove(list + n, list + n + 1, (q->bitmap_count - n - 1) * sizeof(*list));
    int ret = drop_bits(&c, &gone);
    int put = put_directory(&c, list, q->bitmap_count - 1);
    bool ok = change_end(&c, ret ? ret : put, "remove the bitmap", error);
    if (!ok)
        return false;
    qcow2_free_bitmap(&gone);
    qcow2_record_bitmaps(q);
    return true;
}

/* Stores bits (NULL: zeros) and flags of bitmap n. */
static bool store(Qcow2 *q, unsigned n, const uint8_t *bits, uint32_t flags, GError **error)
{
    Change c;
    if (!change_begin(&c, q, error))
        return false;
    Qcow2Bitmap *list = copy_list(q, 0);
    int ret = drop_bits(&c, &list[n]);
    if (!ret)
        ret = write_bits(&c, &list[n], bits);
    list[n].info.flags = flags;
    int put = put_directory(&c, list, q->bitmap_count);
    return change_end(&c, ret ? ret : put, "store the bitmap", error);
}

bool qcow2_bitmap_store(BlkNode *node, unsigned n, const uint8_t *bits, GError **error)
{
    Qcow2 *q = qcow2(node);
    int ret = qcow2_balance(node); /* it is in use from here on, if it is enabled */
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot be changed", node->name);
    uint32_t flags = (uint32_t)q->bitmaps[n].info.flags;
    if (bitmap_bytes(q, &q->bitmaps[n], node->size) > MAX_BYTES)
        return fail(error, "'%s': bitmap '%s' is too large", node->name, q->bitmaps[n].info.name);
    uint64_t bytes = bitmap_bytes(q, &q->bitmaps[n], node->size);
    g_autofree uint8_t *padded = g_malloc0(MAX(bytes, 1));
    if (bits)
        memcpy(padded, bits, bytes);
    if (!store(q, n, padded, flags, error))
        return false;
    Qcow2Bitmap *b = &q->bitmaps[n];
    if (b->bits)
        memcpy(b->bits, padded, bytes);
    return true;
}

bool qcow2_bitmap_load(BlkNode *node, unsigned n, uint8_t **bits, GError **error)
{
    Qcow2 *q = qcow2(node);
    const Qcow2Bitmap *b = &q->bitmaps[n];
    if (b->bits) {
        *bits = g_memdup2(b->bits, bitmap_bytes(q, b, node->size));
        return true;
    }
    int ret = load_bits(q, b, bits);
    return !ret ||
           fail_errno(error, -ret, "'%s': cannot read bitmap '%s'", node->name, b->info.name);
}

bool qcow2_bitmap_enable(BlkNode *node, unsigned n, bool enabled, GError **error)
{
    Qcow2 *q = qcow2(node);
    g_autofree uint8_t *bits = NULL;
    int ret = qcow2_balance(node);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot be changed", node->name);
    if (!qcow2_bitmap_load(node, n, &bits, error))
        return false;
    uint32_t flags = (uint32_t)q->bitmaps[n].info.flags & ~(uint32_t)(FLAG_AUTO | FLAG_IN_USE);
    if (!store(q, n, bits, flags | (enabled ? FLAG_AUTO | FLAG_IN_USE : 0), error))
        return false;
    Qcow2Bitmap *b = &q->bitmaps[n];
    b->info.enabled = enabled;
    g_clear_pointer(&b->bits, g_free);
    qcow2_record_bitmaps(q);
    return true;
}

const NodeBitmap *qcow2_bitmap(const BlkNode *node, unsigned n)
{
    const Qcow2 *q = qcow2(node);
    return n < q->bitmap_count ? &q->bitmaps[n].info : NULL;
}

/* ---- Recording ---- */

/* Takes into memory those that will record and do not yet. */
static int load_enabled(Qcow2 *q)
{
    int ret = 0;
    uint64_t total = 0;
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++) {
        Qcow2Bitmap *b = &q->bitmaps[i];
        if (!b->info.enabled || b->info.inconsistent)
            continue;
        total += bitmap_bytes(q, b, q->base.size);
        if (b->bits)
            continue;
        ret = total > MAX_ALL_BYTES ? -EFBIG : load_bits(q, b, &b->bits);
        b->changed = false;
        if (ret == -EFBIG || ret == -EIO) { /* nobody will store it */
            b->info.inconsistent = true;
            ret = 0;
        }
    }
    return ret;
}

static bool needs_mark(const Qcow2Bitmap *b)
{
    return b->info.enabled && !(b->info.flags & FLAG_IN_USE);
}

static int write_flags(Qcow2 *q, const Qcow2Bitmap *b, uint64_t flags)
{
    uint8_t bytes[4];
    st32_be(bytes, (uint32_t)flags);
    return file_pwrite(q->base.file, b->flags_at, bytes, sizeof(bytes));
}

/* In memory a mark stands when it is safe in the file. */
static int mark_enabled(Qcow2 *q)
{
    bool any = false;
    int ret = 0;
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++) {
        const Qcow2Bitmap *b = &q->bitmaps[i];
        any |= needs_mark(b);
        if (needs_mark(b))
            ret = write_flags(q, b, b->info.flags | FLAG_IN_USE);
    }
    if (!ret && any)
        ret = file_flush(q->base.file);
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++)
        if (needs_mark(&q->bitmaps[i]))
            q->bitmaps[i].info.flags |= FLAG_IN_USE;
    return ret;
}

int qcow2_record_bitmaps(Qcow2 *q)
{
    int ret = load_enabled(q);
    if (!ret)
        ret = mark_enabled(q);
    q->base.recording = false;
    for (unsigned i = 0; i < q->bitmap_count; i++) {
        Qcow2Bitmap *b = &q->bitmaps[i];
        if (needs_mark(b)) /* that failed: it is as in the file, and to be read again */
            g_clear_pointer(&b->bits, g_free);
        q->base.recording |= b->bits != NULL;
    }
    return ret;
}

void qcow2_touched(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    Qcow2 *q = qcow2(node);
    for (unsigned i = 0; i < q->bitmap_count && bytes; i++) {
        Qcow2Bitmap *b = &q->bitmaps[i];
        if (!b->bits)
            continue;
        b->changed = true;
        uint64_t last = (offset + bytes - 1) / b->info.granularity;
        for (uint64_t bit = offset / b->info.granularity; bit <= last; bit++)
            b->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
}

/* Whoever writes after all marks them again first. */
static void end_recording(Qcow2 *q)
{
    for (unsigned i = 0; i < q->bitmap_count; i++)
        g_clear_pointer(&q->bitmaps[i].bits, g_free);
    q->base.recording = false;
    q->begun = false;
}

/* Nothing was written since they were read: they stay where they are, and the image keeps its
 * length.  If that fails, nobody knows which marks the file still has. */
static int unmark_bitmaps(Qcow2 *q)
{
    int ret = 0;
    q->begun = false;
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++) {
        Qcow2Bitmap *b = &q->bitmaps[i];
        if (!b->bits)
            continue;
        b->info.flags &= ~(uint64_t)FLAG_IN_USE;
        ret = write_flags(q, b, b->info.flags);
    }
    if (!ret)
        ret = file_flush(q->base.file);
    if (!ret)
        end_recording(q);
    return ret;
}

int qcow2_store_bitmaps(Qcow2 *q)
{
    Change c;
    bool changed = false;
    g_autoptr(GError) error = NULL;
    if (!q->base.recording || q->corrupt)
        return 0;
    for (unsigned i = 0; i < q->bitmap_count; i++)
        changed |= q->bitmaps[i].bits && q->bitmaps[i].changed;
    if (!changed)
        return unmark_bitmaps(q);
    if (!change_begin(&c, q, &error))
        return errno_of(error);
    Qcow2Bitmap *list = copy_list(q, 0);
    int ret = 0;
    for (unsigned i = 0; i < q->bitmap_count && !ret; i++) {
        Qcow2Bitmap *b = &list[i];
        if (!b->bits)
            continue;
        b->info.flags &= ~(uint64_t)FLAG_IN_USE;
        ret = drop_bits(&c, b);
        if (!ret)
            ret = write_bits(&c, b, b->bits);
    }
    int put = put_directory(&c, list, q->bitmap_count);
    if (!change_end(&c, ret ? ret : put, "store its bitmaps", &error))
        return errno_of(error);
    end_recording(q);
    return 0;
}
