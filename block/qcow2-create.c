/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making qcow2 images: header, refcount table, refcount blocks, L1 table, in this order.
 *
 * The header is written last, after a flush, so that a power cut leaves either no image or a whole
 * one (11).
 */
#include <errno.h>
#include <string.h>

#include "luks.h"
#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

const CreateOption qcow2_create_options[] = {
    {"compat", "1.1 (version 3, the default) or 0.10 (version 2)"},
    {"cluster_size", "512 to 2M, a power of two (default 64K)"},
    {"preallocation", "off, metadata, falloc (reserve the space) or full (write it)"},
    {"lazy_refcounts", "on: other programs may keep refcounts in memory"},
    {"refcount_bits", "1 to 64, a power of two (default 16)"},
    {"compression_type", "zlib (default) or zstd"},
    {"extended_l2", "on: clusters (16K and more) are allocated in 32 parts"},
    {"data_file", "another file for the guest's data; it is made if it is missing"},
    {"data_file_raw", "on: the data file stays a raw image that can be read by itself"},
    {"encryption", "off; the old way of encrypting is not safe: see encrypt.format"},
    {"encrypt.format", "luks: the guest's data is encrypted"},
    {"encrypt.key-secret", "ID of the -object secret with the password"},
    {"encrypt.cipher-alg", "aes-128, aes-192 or aes-256 (default)"},
    {"encrypt.cipher-mode", "cbc or xts (default)"},
    {"encrypt.ivgen-alg", "plain, plain64 (default) or essiv"},
    {"encrypt.ivgen-hash-alg", "hash of essiv (sha256)"},
    {"encrypt.hash-alg", "sha1, sha224, sha256 (default), sha384, sha512 or ripemd160"},
    {"encrypt.iter-time", "milliseconds that a try of a password takes (2000)"},
    {NULL, NULL},
};

static const char *const compat_words[] = {"0.10", "v2", "1.1", "v3", NULL};
static const char *const compression_words[] = {"zlib", "zstd", NULL};

typedef struct Plan {
    Qcow2Shape shape;
    uint64_t size;
    uint32_t l1_entries;
    uint64_t table_clusters, block_clusters, l1_clusters; /* in this order behind the header */
    uint64_t crypt_bytes, crypt_clusters;                 /* then the LUKS header */
    LuksSpec luks;
} Plan;

static unsigned log2_of(uint64_t v)
{
    return 63 - (unsigned)__builtin_clzll(v);
}

/* ---- Options ---- */

bool qcow2_read_shape(const Options *o, Qcow2Shape *p, GError **error)
{
    *p = (Qcow2Shape){0};
    unsigned compat = 2;
    uint64_t cluster = 65536, bits = 16;
    if (o &&
        (!options_get_enum(o, "compat", compat_words, &compat, error) ||
         !options_get_size(o, "cluster_size", &cluster, error) ||
         !options_get_enum(o, "preallocation", preallocation_words, &p->preallocation, error) ||
         !options_get_bool(o, "lazy_refcounts", &p->lazy, error) ||
         !options_get_uint(o, "refcount_bits", 1, 64, &bits, error) ||
         !options_get_bool(o, "extended_l2", &p->extended, error) ||
         !options_get_bool(o, "data_file_raw", &p->raw_data, error) ||
         !options_get_enum(o, "compression_type", compression_words, &p->compression, error)))
        return false;
    p->data_file = o ? options_get(o, "data_file") : NULL;
    const char *encryption = o ? options_get(o, "encrypt.format") : NULL;
    if (encryption && strcmp(encryption, "luks"))
        return fail(error, "encrypt.format=%s: only luks images are made", encryption);
    if (!refuse_old_encryption(o, error))
        return false;
    p->luks = encryption;
    if (!is_pow2(cluster) || cluster < 512 || cluster > 2u << 20)
        return fail(error, "cluster_size must be a power of two from 512 to 2M");
    if (!is_pow2(bits))
        return fail(error, "refcount_bits must be a power of two from 1 to 64");
    p->version = compat < 2 ? 2 : 3;
    p->cluster_bits = log2_of(cluster);
    p->refcount_order = log2_of(bits);
    if (p->version < 3 && (bits != 16 || p->lazy || p->compression || p->extended || p->data_file))
        return fail(error, "%s needs compat=1.1",
                    bits != 16       ? "refcount_bits other than 16"
                    : p->lazy        ? "lazy_refcounts=on"
                    : p->compression ? "compression_type=zstd"
                    : p->extended    ? "extended_l2=on"
                                     : "data_file");
    if (p->extended && p->cluster_bits < MIN_EXTENDED_BITS)
        return fail(error, "extended_l2=on needs a cluster_size of at least 16K");
    if (p->raw_data && !p->data_file)
        return fail(error, "data_file_raw=on needs a data_file");
    if (p->raw_data && p->preallocation == PREALLOC_OFF)
        p->preallocation = PREALLOC_METADATA; /* else what is not there would read as zeros */
    return true;
}

/* What the LUKS header takes. */
static bool plan_crypt(Plan *p, const Options *options, GError **error)
{
    if (!p->shape.luks)
        return true;
    if (!luks_spec_read(&p->luks, options, "encrypt.", error))
        return false;
    p->crypt_bytes = luks_spec_payload(&p->luks);
    p->crypt_clusters =
        (p->crypt_bytes + (1ULL << p->shape.cluster_bits) - 1) >> p->shape.cluster_bits;
    return true;
}

static bool plan_tables(Plan *p, GError **error)
{
    uint64_t cluster = 1ULL << p->shape.cluster_bits;
    unsigned reach = 2 * p->shape.cluster_bits - (p->shape.extended ? 4 : 3);
    uint64_t entries = (p->size + (1ULL << reach) - 1) >> reach;
    if (entries > MAX_L1_BYTES / 8)
        return fail(error,
                    "%" PRIu64 " bytes are too many for clusters of %" PRIu64
                    " bytes; use a larger cluster_size",
                    p->size, cluster);
    p->l1_entries = (uint32_t)entries;
    p->l1_clusters = (entries * 8 + cluster - 1) >> p->shape.cluster_bits;
    uint64_t per_block = cluster * 8 >> p->shape.refcount_order;
    uint64_t all, before;
    p->block_clusters = p->table_clusters = 1;
    do {
        before = p->block_clusters;
        all = 1 + p->table_clusters + p->block_clusters + p->l1_clusters + p->crypt_clusters;
        p->block_clusters = (all + per_block - 1) / per_block;
        p->table_clusters = (p->block_clusters * 8 + cluster - 1) >> p->shape.cluster_bits;
    } while (p->block_clusters != before ||
             all != 1 + p->table_clusters + p->block_clusters + p->l1_clusters + p->crypt_clusters);
    return true;
}

/* ---- The header ---- */

/* The image as it will be, as far as its header is concerned. */
static GByteArray *make_header(const Plan *p, const CreateSpec *spec, const char *name,
                               GError **error)
{
    uint64_t cluster = 1ULL << p->shape.cluster_bits;
    Qcow2 q = {.base = {.name = (char *)(uintptr_t)name, .cluster = (unsigned)cluster},
               .cluster_bits = p->shape.cluster_bits,
               .crypt_method = p->shape.luks ? CRYPT_LUKS : CRYPT_NONE,
               .crypt_offset =
                   (1 + p->table_clusters + p->block_clusters + p->l1_clusters) * cluster,
               .crypt_bytes = p->crypt_bytes,
               .compression = p->shape.compression};
    Qcow2Header n = {.version = p->shape.version,
                     .refcount_order = p->shape.refcount_order,
                     .size = p->size,
                     .l1_entries = p->l1_entries,
                     .l1_offset = (1 + p->table_clusters + p->block_clusters) * cluster,
                     .rt_offset = cluster,
                     .rt_clusters = (uint32_t)p->table_clusters,
                     .data_name = p->shape.data_file,
                     .backing_name = spec->backing,
                     .backing_format = spec->backing_format};
    n.incompatible = (p->shape.compression ? INCOMPAT_COMPRESSION : 0) |
                     (p->shape.extended ? INCOMPAT_EXTENDED_L2 : 0) |
                     (p->shape.data_file ? INCOMPAT_DATA_FILE : 0);
    n.compatible = p->shape.lazy ? COMPAT_LAZY : 0;
    n.autoclear = p->shape.raw_data ? AUTOCLEAR_RAW_DATA : 0;
    return qcow2_build_header(&q, &n, error);
}

/* ---- Writing ---- */

static int write_tables(BlkFile *file, const Plan *p)
{
    uint64_t cluster = 1ULL << p->shape.cluster_bits;
    uint64_t all = 1 + p->table_clusters + p->block_clusters + p->l1_clusters + p->crypt_clusters;
    uint64_t table_bytes = p->table_clusters * cluster;
    uint64_t bytes = (p->table_clusters + p->block_clusters) * cluster;
    g_autofree uint8_t *data = g_malloc0(bytes);
    Qcow2 shape = {.refcount_order = p->shape.refcount_order};
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

/* Makes fresh room as long as it is to be, and takes the host's space for it. */
static int fill_room(BlkNode *node, const Alloc *alloc, Preallocation how)
{
    BlkFile *file = alloc->file ? alloc->file : node->file;
    uint64_t bytes = alloc->end - alloc->start;
    int ret = 0;
    if (!alloc->fresh)
        ret = file_zero(file, alloc->host, bytes, false);
    else if (alloc->host + bytes > file->size)
        ret = file_truncate(file, alloc->host + bytes);
    if (!ret && how == PREALLOC_FALLOC && file->ops->reserve) /* else it was written */
        ret = file_reserve(file, alloc->host, bytes);
    for (uint64_t at = 0; how == PREALLOC_FULL && at < bytes && !ret; at += ZEROS_BYTES)
        ret = file_pwrite(file, alloc->host + at, block_zeros, MIN(bytes - at, ZEROS_BYTES));
    return ret;
}

int qcow2_preallocate(BlkNode *node, uint64_t offset, Preallocation how)
{
    int ret = qcow2_balance(node);
    while (offset < node->size && !ret) {
        Extent e;
        Alloc alloc = {0};
        ret = qcow2_map(node, offset, node->size - offset, 0, &e);
        if (!ret && e.kind == EXTENT_DATA && e.in_place) {
            offset += e.bytes;
            continue;
        }
        if (!ret)
            ret = qcow2_alloc(node, offset, node->size - offset, &alloc);
        if (ret)
            break;
        ret = qcow2_link(node, &alloc, fill_room(node, &alloc, how));
        offset = alloc.end;
        if (!ret)
            ret = qcow2_balance(node);
    }
    return ret ? ret : qcow2_flush(node);
}

/* hollow: over a backing file, which shows through. */
static bool preallocate(BlkFile *file, BlkFile *data_file, const Plan *p, bool hollow,
                        GError **error)
{
    NodeMode mode = {.no_backing = true,
                     .borrow = true,
                     .file = {.writable = true},
                     .data_file = data_file,
                     .key_secret = p->shape.luks ? p->luks.secret : NULL};
    BlkNode *node = node_open_file(file, "qcow2", &mode, error);
    if (!node)
        return false;
    qcow2(node)->hollow = hollow;
    int ret = qcow2_preallocate(node, 0, p->shape.preallocation);
    node_abandon(node);
    return !ret || fail_errno(error, -ret, "cannot preallocate '%s'", file->name);
}

/* The file for the guest's data, empty. */
static BlkFile *open_data_file(BlkFile *file, const Plan *p, GError **error)
{
    uint64_t device, inode, other_device, other_inode;
    const char *path = host_file_path(p->shape.data_file);
    BlkFile *data = host_file_create(file->sched, path, error);
    if (!data) {
        fail_prefix(error, "data file of '%s'", file->name);
        return NULL;
    }
    bool same = host_file_identity(file, &device, &inode) &&
                host_file_identity(data, &other_device, &other_inode) && device == other_device &&
                inode == other_inode;
    int ret = same || !data->sparse ? 0 : file_truncate(data, 0);
    if (!ret && !same && data->sparse)
        ret = file_truncate(data, p->size);
    if (!same && !ret)
        return data;
    if (same)
        fail(error, "'%s' cannot be its own data file", file->name);
    else
        fail_errno(error, -ret, "cannot make the data file '%s'", path);
    file_close(data);
    return NULL;
}

static bool create_with_data(BlkFile *file, BlkFile *data_file, const Plan *p,
                             const GByteArray *header, bool hollow, GError **error)
{
    if (!create_begin(file, error))
        return false;
    int ret = write_tables(file, p);
    uint64_t crypt_at = (1 + p->table_clusters + p->block_clusters + p->l1_clusters)
                        << p->shape.cluster_bits;
    if (!ret && p->shape.luks) {
        ret = file_zero(file, crypt_at, p->crypt_clusters << p->shape.cluster_bits, false);
        if (!ret && !luks_create(file, crypt_at, &p->luks, error))
            return false;
        ret = ret ? ret : file_flush(file);
    }
    if (!ret)
        ret = file_pwrite(file, 0, header->data, header->len);
    if (ret)
        return fail_errno(error, -ret, "cannot write '%s'", file->name);
    return p->shape.preallocation == PREALLOC_OFF || preallocate(file, data_file, p, hollow, error);
}

bool qcow2_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    Plan p = {.size = align_up(spec->size, 512)};
    BlkFile *data_file = NULL;
    if (!qcow2_read_shape(spec->options, &p.shape, error) ||
        !plan_crypt(&p, spec->options, error) || !plan_tables(&p, error))
        return false;
    if (spec->backing && p.shape.raw_data)
        return fail(error, "data_file_raw=on and a backing file exclude each other");
    if (spec->backing && p.shape.preallocation != PREALLOC_OFF && !p.shape.extended)
        return fail(error, "Backing file and preallocation can only be used at the same time if "
                           "extended_l2 is on");
    g_autoptr(GByteArray) header = make_header(&p, spec, file->name, error);
    if (!header)
        return false;
    if (p.shape.data_file) {
        data_file = open_data_file(file, &p, error);
        if (!data_file)
            return false;
    }
    bool ok = create_with_data(file, data_file, &p, header, spec->backing, error);
    if (data_file)
        file_close(data_file);
    return ok;
}
