/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making qcow2 images: header, refcount table, refcount blocks, L1 table, in this order.
 *
 * The header is written last, after a flush, so that a power cut leaves either no image or a whole
 * one (11).
 */
#include <errno.h>
#include <string.h>

#include "qcow2.h"
#include "util/bytes.h"
#include "util/error.h"

const CreateOption qcow2_create_options[] = {
    {"compat", "1.1 (version 3, the default) or 0.10 (version 2)"},
    {"cluster_size", "512 to 2M, a power of two (default 64K)"},
    {"preallocation", "off, metadata, falloc (reserve the space) or full (write it)"},
    {"lazy_refcounts", "on: other programs may keep refcounts in memory"},
    {"refcount_bits", "1 to 64, a power of two (default 16)"},
    {"compression_type", "zlib (default) or zstd"},
    {NULL, NULL},
};

static const char *const compat_words[] = {"0.10", "v2", "1.1", "v3", NULL};
static const char *const compression_words[] = {"zlib", "zstd", NULL};

typedef struct Plan {
    unsigned version, cluster_bits, refcount_order, preallocation, compression;
    bool lazy;
    uint64_t size;
    uint32_t l1_entries;
    uint64_t table_clusters, block_clusters, l1_clusters; /* in this order behind the header */
} Plan;

static unsigned log2_of(uint64_t v)
{
    return 63 - (unsigned)__builtin_clzll(v);
}

/* ---- Options ---- */

static bool read_options(Plan *p, const Options *o, GError **error)
{
    unsigned compat = 2;
    uint64_t cluster = 65536, bits = 16;
    if (o &&
        (!options_get_enum(o, "compat", compat_words, &compat, error) ||
         !options_get_size(o, "cluster_size", &cluster, error) ||
         !options_get_enum(o, "preallocation", preallocation_words, &p->preallocation, error) ||
         !options_get_bool(o, "lazy_refcounts", &p->lazy, error) ||
         !options_get_uint(o, "refcount_bits", 1, 64, &bits, error) ||
         !options_get_enum(o, "compression_type", compression_words, &p->compression, error)))
        return false;
    if (!is_pow2(cluster) || cluster < 512 || cluster > 2u << 20)
        return fail(error, "cluster_size must be a power of two from 512 to 2M");
    if (!is_pow2(bits))
        return fail(error, "refcount_bits must be a power of two from 1 to 64");
    p->version = compat < 2 ? 2 : 3;
    p->cluster_bits = log2_of(cluster);
    p->refcount_order = log2_of(bits);
    if (p->version < 3 && (bits != 16 || p->lazy || p->compression))
        return fail(error, "%s needs compat=1.1",
                    bits != 16 ? "refcount_bits other than 16"
                    : p->lazy  ? "lazy_refcounts=on"
                               : "compression_type=zstd");
    return true;
}

static bool plan_tables(Plan *p, GError **error)
{
    uint64_t cluster = 1ULL << p->cluster_bits;
    unsigned reach = 2 * p->cluster_bits - 3;
    uint64_t entries = (p->size + (1ULL << reach) - 1) >> reach;
    if (entries > MAX_L1_BYTES / 8)
        return fail(error,
                    "%" PRIu64 " bytes are too many for clusters of %" PRIu64
                    " bytes; use a larger cluster_size",
                    p->size, cluster);
    p->l1_entries = (uint32_t)entries;
    p->l1_clusters = (entries * 8 + cluster - 1) >> p->cluster_bits;
    uint64_t per_block = cluster * 8 >> p->refcount_order;
    uint64_t all, before;
    p->block_clusters = p->table_clusters = 1;
    do {
        before = p->block_clusters;
        all = 1 + p->table_clusters + p->block_clusters + p->l1_clusters;
        p->block_clusters = (all + per_block - 1) / per_block;
        p->table_clusters = (p->block_clusters * 8 + cluster - 1) >> p->cluster_bits;
    } while (p->block_clusters != before ||
             all != 1 + p->table_clusters + p->block_clusters + p->l1_clusters);
    return true;
}

/* ---- The header ---- */

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

static void put_feature_names(GByteArray *h)
{
    static const struct {
        uint8_t type, bit;
        char name[46];
    } names[] = {
        {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
        {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},          {2, 1, "raw external data"},
    };
    G_STATIC_ASSERT(sizeof(names[0]) == 48);
    put_extension(h, EXT_FEATURE_NAMES, names, sizeof(names));
}

static GByteArray *make_header(const Plan *p, const CreateSpec *spec)
{
    uint8_t fixed[112] = {0};
    uint64_t cluster = 1ULL << p->cluster_bits;
    uint32_t bytes = p->version >= 3 ? sizeof(fixed) : H_V2_BYTES;
    st32_be(fixed + H_MAGIC, QCOW_MAGIC);
    st32_be(fixed + H_VERSION, p->version);
    st32_be(fixed + H_CLUSTER_BITS, p->cluster_bits);
    st64_be(fixed + H_SIZE, p->size);
    st32_be(fixed + H_L1_SIZE, p->l1_entries);
    st64_be(fixed + H_L1_OFFSET, (1 + p->table_clusters + p->block_clusters) * cluster);
    st64_be(fixed + H_REFTABLE_OFFSET, cluster);
    st32_be(fixed + H_REFTABLE_CLUSTERS, (uint32_t)p->table_clusters);
    if (p->version >= 3) {
        st64_be(fixed + H_INCOMPATIBLE, p->compression ? INCOMPAT_COMPRESSION : 0);
        st64_be(fixed + H_COMPATIBLE, p->lazy ? COMPAT_LAZY : 0);
        st32_be(fixed + H_REFCOUNT_ORDER, p->refcount_order);
        st32_be(fixed + H_HEADER_LENGTH, bytes);
        fixed[H_COMPRESSION] = (uint8_t)p->compression;
    }
    GByteArray *h = g_byte_array_new();
    g_byte_array_append(h, fixed, bytes);
    if (spec->backing && spec->backing_format)
        put_extension(h, EXT_BACKING_FORMAT, spec->backing_format,
                      (uint32_t)strlen(spec->backing_format));
    /* A help to other programs, left out where clusters are too small for it. */
    if (p->version >= 3 && cluster >= 4096)
        put_feature_names(h);
    put_extension(h, EXT_END, NULL, 0);
    if (spec->backing) {
        st64_be(h->data + H_BACKING_OFFSET, h->len);
        st32_be(h->data + H_BACKING_SIZE, (uint32_t)strlen(spec->backing));
        g_byte_array_append(h, (const guint8 *)spec->backing, (guint)strlen(spec->backing));
    }
    return h;
}

/* ---- Writing ---- */

static int write_tables(BlkFile *file, const Plan *p)
{
    uint64_t cluster = 1ULL << p->cluster_bits;
    uint64_t all = 1 + p->table_clusters + p->block_clusters + p->l1_clusters;
    uint64_t table_bytes = p->table_clusters * cluster;
    uint64_t bytes = (p->table_clusters + p->block_clusters) * cluster;
    g_autofree uint8_t *data = g_malloc0(bytes);
    Qcow2 shape = {.refcount_order = p->refcount_order};
    for (uint64_t i = 0; i < p->block_clusters; i++)
        st64_be(data + i * 8, (1 + p->table_clusters + i) * cluster);
    for (uint64_t i = 0; i < all; i++)
        qcow2_refcount_set(&shape, data + table_bytes, i, 1);
    int ret = file_zero(file, 0, cluster, false); /* no header yet */
    if (!ret)
        ret = file_pwrite(file, cluster, data, bytes);
    if (!ret)
        ret = file_zero(file, cluster + bytes, p->l1_clusters * cluster, false);
    return ret ? ret : file_flush(file);
}

/* Gives every guest cluster its room without writing it. */
static int allocate_all(BlkNode *node)
{
    int ret = qcow2_balance(node);
    for (uint64_t offset = 0; offset < node->size && !ret;) {
        Alloc alloc;
        ret = qcow2_alloc(node, offset, node->size - offset, &alloc);
        if (ret)
            break;
        uint64_t bytes = alloc.end - alloc.start;
        if (!alloc.fresh)
            ret = file_zero(node->file, alloc.host, bytes, false);
        else if (alloc.host + bytes > node->file->size)
            ret = file_truncate(node->file, alloc.host + bytes);
        ret = qcow2_link(node, &alloc, ret);
        offset = alloc.end;
        if (!ret)
            ret = qcow2_balance(node);
    }
    return ret ? ret : qcow2_flush(node);
}

static int write_all(BlkNode *node)
{
    int ret = 0;
    for (uint64_t offset = 0; offset < node->size && !ret;) {
        Extent e;
        ret = qcow2_map(node, offset, node->size - offset, 0, &e);
        for (uint64_t at = 0; at < e.bytes && !ret; at += ZEROS_BYTES)
            ret = file_pwrite(node->file, e.host + at, block_zeros, MIN(e.bytes - at, ZEROS_BYTES));
        offset += e.bytes;
    }
    return ret;
}

static bool preallocate(BlkFile *file, const Plan *p, GError **error)
{
    NodeMode mode = {.no_backing = true, .borrow = true, .file = {.writable = true}};
    BlkNode *node = node_open_file(file, "qcow2", &mode, error);
    if (!node)
        return false;
    int ret = allocate_all(node);
    if (!ret && p->preallocation == PREALLOC_FALLOC)
        ret = file_reserve(file, 0, file->size);
    if (!ret && p->preallocation == PREALLOC_FULL)
        ret = write_all(node);
    node_abandon(node);
    return !ret || fail_errno(error, -ret, "cannot preallocate '%s'", file->name);
}

bool qcow2_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    Plan p = {.size = align_up(spec->size, 512)};
    if (!read_options(&p, spec->options, error) || !plan_tables(&p, error))
        return false;
    if (spec->backing && p.preallocation != PREALLOC_OFF)
        return fail(error, "preallocation and a backing file exclude each other");
    g_autoptr(GByteArray) header = make_header(&p, spec);
    if (spec->backing && (strlen(spec->backing) > 1023 || header->len > 1u << p.cluster_bits))
        return fail(error, "the backing file's name is too long for '%s'", file->name);
    if (!create_begin(file, error))
        return false;
    int ret = write_tables(file, &p);
    if (!ret)
        ret = file_pwrite(file, 0, header->data, header->len);
    if (ret)
        return fail_errno(error, -ret, "cannot write '%s'", file->name);
    return p.preallocation == PREALLOC_OFF || preallocate(file, &p, error);
}
