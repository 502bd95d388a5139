/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: writing the header.
 *
 * What a power cut leaves of one sector is the old or the new one, so all that must change together
 * stands in the first 512 bytes: fixed part and extensions.  A backing file's name that does not
 * fit there is written to other sectors than the old one's, and is safe before the first sector
 * names it (12).  Only extensions of other programs that are too long for a sector break this rule.
 */
#include <errno.h>
#include <string.h>

#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

enum { SECTOR = 512, FEATURE_BYTES = 48 };

Qcow2Header qcow2_header_of(const Qcow2 *q)
{
    return (Qcow2Header){.version = q->version,
                         .refcount_order = q->refcount_order,
                         .size = q->base.size,
                         .l1_offset = q->l1_offset,
                         .l1_entries = q->l1_entries,
                         .rt_offset = q->rt_offset,
                         .rt_clusters = q->rt_clusters,
                         .snapshots_offset = q->snapshots_offset,
                         .snapshot_count = q->snapshot_count,
                         .incompatible = q->incompatible,
                         .compatible = q->compatible,
                         .autoclear = q->autoclear,
                         .has_bitmaps = q->has_bitmaps,
                         .bitmap_count = q->bitmap_count,
                         .bitmaps_offset = q->bitmaps_offset,
                         .bitmaps_bytes = q->bitmaps_bytes,
                         .backing_name = q->base.backing_name,
                         .backing_format = q->base.backing_format,
                         .data_name = q->data_name,
                         .backing_at = q->backing_at};
}

/* ---- Extensions ---- */

static void put_extension(GByteArray *h, uint32_t type, const void *data, uint32_t bytes)
{
    uint8_t head[8], padding[8] = {0};
    st32_be(head, type);
    st32_be(head + 4, bytes);
    g_byte_array_append(h, head, 8);
    if (bytes)
        g_byte_array_append(h, data, bytes);
    g_byte_array_append(h, padding, (guint)(align_up(bytes, 8) - bytes));
}

static void put_text(GByteArray *h, uint32_t type, const char *text)
{
    if (text && *text)
        put_extension(h, type, text, (uint32_t)strlen(text));
}

static void put_crypto(GByteArray *h, const Qcow2 *q)
{
    uint8_t data[16];
    if (q->crypt_method != CRYPT_LUKS)
        return;
    st64_be(data, q->crypt_offset);
    st64_be(data + 8, q->crypt_bytes);
    put_extension(h, EXT_CRYPTO, data, sizeof(data));
}

static void put_bitmaps(GByteArray *h, const Qcow2Header *n)
{
    uint8_t data[24] = {0};
    if (!n->has_bitmaps || !n->bitmap_count)
        return;
    st32_be(data, n->bitmap_count);
    st64_be(data + 8, n->bitmaps_bytes);
    st64_be(data + 16, n->bitmaps_offset);
    put_extension(h, EXT_BITMAPS, data, sizeof(data));
}

/* A help to other programs: as many names as there is room for. */
static void put_feature_names(GByteArray *h, uint64_t room)
{
    static const struct {
        uint8_t type, bit;
        char name[46];
    } names[] = {
        {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
        {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},          {2, 1, "raw external data"},
    };
    G_STATIC_ASSERT(sizeof(names[0]) == FEATURE_BYTES);
    uint64_t n = room > 8 ? MIN((room - 8) / FEATURE_BYTES, G_N_ELEMENTS(names)) : 0;
    if (n)
        put_extension(h, EXT_FEATURE_NAMES, names, (uint32_t)(n * FEATURE_BYTES));
}

/* ---- The whole ---- */

static void put_fixed(const Qcow2 *q, const Qcow2Header *n, GByteArray *h)
{
    uint8_t fixed[H_V3_BYTES + 8] = {0};
    uint32_t bytes = n->version >= 3 ? MAX(q->header_bytes, H_V3_BYTES + 8) : H_V2_BYTES;
    st32_be(fixed + H_MAGIC, QCOW_MAGIC);
    st32_be(fixed + H_VERSION, n->version);
    st32_be(fixed + H_CLUSTER_BITS, q->cluster_bits);
    st64_be(fixed + H_SIZE, n->size);
    st32_be(fixed + H_CRYPT_METHOD, q->crypt_method);
    st32_be(fixed + H_L1_SIZE, n->l1_entries);
    st64_be(fixed + H_L1_OFFSET, n->l1_offset);
    st64_be(fixed + H_REFTABLE_OFFSET, n->rt_offset);
    st32_be(fixed + H_REFTABLE_CLUSTERS, n->rt_clusters);
    st32_be(fixed + H_SNAPSHOTS, n->snapshot_count);
    st64_be(fixed + H_SNAPSHOTS_OFFSET, n->snapshot_count ? n->snapshots_offset : 0);
    if (n->version >= 3) {
        st64_be(fixed + H_INCOMPATIBLE, n->incompatible);
        st64_be(fixed + H_COMPATIBLE, n->compatible);
        st64_be(fixed + H_AUTOCLEAR, n->autoclear);
        st32_be(fixed + H_REFCOUNT_ORDER, n->refcount_order);
        st32_be(fixed + H_HEADER_LENGTH, bytes);
        fixed[H_COMPRESSION] = (uint8_t)q->compression;
    }
    g_byte_array_append(h, fixed, MIN(bytes, sizeof(fixed)));
    if (bytes > sizeof(fixed)) /* fields that we do not know */
        g_byte_array_append(h, q->extra_header, (guint)(bytes - sizeof(fixed)));
}

/* Sectors for a name that the old one does not lie in; where there are none, the first ones. */
static uint64_t name_slot(const Qcow2 *q, uint64_t bytes)
{
    uint64_t old = q->backing_at, old_end = old;
    if (q->base.backing_name)
        old_end = align_up(old + strlen(q->base.backing_name), SECTOR);
    if (old_end <= SECTOR || SECTOR + bytes <= align_down(old, SECTOR) ||
        old_end + bytes > qcow2_cluster_bytes(q))
        return SECTOR;
    return old_end;
}

GByteArray *qcow2_build_header(const Qcow2 *q, Qcow2Header *n, GError **error)
{
    GByteArray *h = g_byte_array_new();
    uint64_t name_bytes = n->backing_name ? strlen(n->backing_name) : 0;
    bool same =
        n->backing_name && q->base.backing_name && !strcmp(n->backing_name, q->base.backing_name);
    put_fixed(q, n, h);
    put_text(h, EXT_BACKING_FORMAT, name_bytes ? n->backing_format : NULL);
    put_text(h, EXT_DATA_FILE, n->data_name);
    put_crypto(h, q);
    put_bitmaps(h, n);
    if (q->unknown_extensions)
        g_byte_array_append(h, q->unknown_extensions->data, q->unknown_extensions->len);
    uint64_t room = h->len + 8 < SECTOR ? SECTOR - h->len - 8 : 0;
    bool inside = name_bytes <= room && !(same && n->backing_at >= SECTOR);
    if (n->version >= 3)
        put_feature_names(h, inside ? room - name_bytes : room);
    put_extension(h, EXT_END, NULL, 0);
    if (!name_bytes)
        n->backing_at = 0;
    else if (inside || h->len > SECTOR)
        n->backing_at = h->len;
    else if (!same || n->backing_at < SECTOR)
        n->backing_at = name_slot(q, name_bytes);
    if (name_bytes > 1023 || MAX(n->backing_at + name_bytes, h->len) > qcow2_cluster_bytes(q)) {
        fail(error,
             name_bytes ? "the backing file's name is too long for the header of '%s'"
                        : "there is no room for all of the header of '%s'",
             q->base.name);
        g_byte_array_unref(h);
        return NULL;
    }
    st64_be(h->data + H_BACKING_OFFSET, n->backing_at);
    st32_be(h->data + H_BACKING_SIZE, (uint32_t)name_bytes);
    uint64_t end = MAX(h->len, SECTOR), from = h->len;
    g_byte_array_set_size(h, (guint)MAX(end, n->backing_at + name_bytes));
    memset(h->data + from, 0, h->len - from);
    if (name_bytes)
        memcpy(h->data + n->backing_at, n->backing_name, name_bytes);
    return h;
}

/* Writes the header's first sector back as it was.  If that fails, too, nobody knows what stands in
 * the file: it takes no more writes. */
static void restore(Qcow2 *q, const uint8_t *old)
{
    int ret = file_pwrite(q->base.file, 0, old, SECTOR);
    if (!ret)
        ret = file_flush(q->base.file);
    if (ret)
        q->corrupt = true;
}

int qcow2_switch_header(Qcow2 *q, const GByteArray *h)
{
    uint8_t old[SECTOR];
    BlkFile *file = q->base.file;
    int ret = file_pread(file, 0, old, sizeof(old));
    if (!ret && h->len > SECTOR)
        ret = file_pwrite(file, SECTOR, h->data + SECTOR, h->len - SECTOR);
    if (!ret)
        ret = qcow2_sync(q);
    if (ret)
        return ret;
    ret = file_pwrite(file, 0, h->data, SECTOR);
    if (!ret)
        ret = file_flush(file);
    if (ret)
        restore(q, old);
    return ret;
}
