/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow, version 1: copy on write without refcounts or snapshots.
 *
 *   header, backing file name, L1 table, then L2 tables and clusters as they are first written.
 *
 * New tables and clusters are taken from the end of the file, and only compacting gives any back.
 * Order: data reaches the file before the L2 entry that names it, an L2 table before its L1 entry
 * (invariants 3 and 2 of docs/qcow2-invariants.md).
 */
#include <errno.h>
#include <string.h>

#include "aes-view.h"
#include "formats.h"
#include "meta-cache.h"
#include "repack.h"
#include "util/bytes.h"
#include "util/error.h"

#define QCOW_MAGIC       0x514649fbu
#define HEADER_BYTES     48u
#define ENTRY_COMPRESSED (1ULL << 63)
#define MAX_L1_ENTRIES   (8u << 20)
#define PAGE_BYTES       (4u << 10)
#define CACHE_BYTES      (16u << 20)

typedef struct Qcow {
    BlkNode base;
    unsigned cluster_bits, l2_bits;
    uint64_t l1_offset, *l1, backing_name_at;
    uint32_t l1_entries, l1_dirty_from, l1_dirty_to, backing_name_bytes;
    uint64_t end; /* where the next table or cluster may lie */
    MetaCache l2;
    CoMutex table_lock, commit_lock;
    bool encrypted;
    BlkFile *plain; /* what decrypts; NULL: not encrypted, or locked */
} Qcow;

static Qcow *qcow(const BlkNode *node)
{
    return (Qcow *)(uintptr_t)node;
}

static int map_stored(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e);

static uint64_t l1_end(const Qcow *q)
{
    return q->l1_offset + q->l1_entries * 8ULL;
}

/* ---- Opening ---- */

static bool read_backing_name(Qcow *q, const uint8_t *h, GError **error)
{
    uint64_t offset = ld64_be(h + 8);
    uint32_t bytes = ld32_be(h + 16);
    if (!offset || !bytes)
        return true;
    if (bytes > 1023 || offset > q->base.file->size)
        return fail(error, "'%s': the backing file's name lies outside the header", q->base.name);
    q->backing_name_at = offset;
    q->backing_name_bytes = bytes;
    q->base.backing_name = g_malloc0(bytes + 1);
    int ret = file_pread(q->base.file, offset, q->base.backing_name, bytes);
    return !ret || fail_errno(error, -ret, "cannot read '%s'", q->base.name);
}

static bool read_header(Qcow *q, const uint8_t *h, GError **error)
{
    const char *name = q->base.name;
    uint32_t crypt = ld32_be(h + 36);
    q->base.size = ld64_be(h + 24);
    q->cluster_bits = h[32];
    q->l2_bits = h[33];
    q->l1_offset = ld64_be(h + 40);
    if (ld32_be(h) != QCOW_MAGIC || ld32_be(h + 4) != 1)
        return fail(error, "'%s' is no qcow image of version 1", name);
    if (q->cluster_bits < 9 || q->cluster_bits > 16)
        return fail(error, "'%s': clusters of 2^%u bytes; 2^9 to 2^16 are right", name,
                    q->cluster_bits);
    if (q->l2_bits < 6 || q->l2_bits > 13)
        return fail(error, "'%s': L2 tables of 2^%u entries; 2^6 to 2^13 are right", name,
                    q->l2_bits);
    if (crypt > 1)
        return fail(error, "'%s' is encrypted in an unknown way (method %u)", name, crypt);
    q->encrypted = crypt;
    unsigned reach = q->cluster_bits + q->l2_bits;
    if (q->base.size < 1 || q->base.size >> reach >= MAX_L1_ENTRIES)
        return fail(error, "'%s' claims to be %" PRIu64 " bytes large", name, q->base.size);
    q->base.size = align_up(q->base.size, 512);
    q->base.cluster = 1u << q->cluster_bits;
    q->l1_entries = (uint32_t)((q->base.size + (1ULL << reach) - 1) >> reach);
    if (q->l1_offset < HEADER_BYTES || q->l1_offset > q->base.file->size)
        return fail(error, "'%s': the L1 table is out of bounds", name);
    return read_backing_name(q, h, error);
}

static bool read_l1(Qcow *q, GError **error)
{
    q->l1 = block_try_malloc(q->l1_entries * 8ULL);
    int ret = q->l1 ? file_pread(q->base.file, q->l1_offset, q->l1, q->l1_entries * 8ULL) : -ENOMEM;
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read the L1 table", q->base.name);
    for (uint32_t i = 0; i < q->l1_entries; i++)
        q->l1[i] = ld64_be(&q->l1[i]);
    return true;
}

/* Room is taken behind all that is named, as far as its last cluster or table reaches: a file may
 * end within it.  No file holds a table that is left out here. */
static void find_end(Qcow *q)
{
    uint64_t bytes = 8ULL << q->l2_bits, most = INT64_MAX - bytes - q->base.cluster;
    q->end = MAX(q->base.file->size, l1_end(q));
    for (uint32_t i = 0; i < q->l1_entries; i++)
        if (q->l1[i] && q->l1[i] <= most)
            q->end = MAX(q->end, q->l1[i] + bytes);
    q->end = align_up(q->end, q->base.cluster);
}

static void qcow_close(BlkNode *node)
{
    if (qcow(node)->plain)
        file_close(qcow(node)->plain);
    meta_fini(&qcow(node)->l2);
    g_free(qcow(node)->l1);
}

static bool qcow_open(BlkNode *node, GError **error)
{
    Qcow *q = qcow(node);
    uint8_t h[HEADER_BYTES];
    if (node->file->size < HEADER_BYTES)
        return fail(error, "'%s' is too short for a qcow image", node->name);
    int ret = file_pread(node->file, 0, h, sizeof(h));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", node->name);
    if (!read_header(q, h, error) ||
        (q->encrypted && !aes_view_open(node, map_stored, &q->plain, error)) ||
        !read_l1(q, error)) {
        if (q->plain)
            file_close(q->plain);
        g_free(q->l1);
        return false;
    }
    unsigned page = MIN(8u << q->l2_bits, PAGE_BYTES);
    meta_init(&q->l2, node->file, page, node->mode.l2_cache ? node->mode.l2_cache : CACHE_BYTES);
    find_end(q);
    return true;
}

static int qcow_probe(const uint8_t *head, size_t bytes)
{
    return bytes >= 8 && ld32_be(head) == QCOW_MAGIC && ld32_be(head + 4) == 1 ? 100 : 0;
}

/* ---- Where ---- */

static uint64_t l1_index_of(const Qcow *q, uint64_t offset)
{
    return offset >> (q->cluster_bits + q->l2_bits);
}

/* The page with the entry for offset, pinned.  The table exists.  A table may lie anywhere in the
 * file, so pages are counted from its own begin. */
static int l2_page(Qcow *q, uint64_t offset, unsigned flags, MetaPage **page, unsigned *index)
{
    uint64_t entry = bits_get(offset >> q->cluster_bits, 0, q->l2_bits);
    uint64_t at = q->l1[l1_index_of(q, offset)] + entry * 8 / q->l2.page_bytes * q->l2.page_bytes;
    *index = (unsigned)(entry % (q->l2.page_bytes / 8));
    return flags & MAP_NOWAIT ? meta_get_nowait(&q->l2, at, page) : meta_get(&q->l2, at, page);
}

static uint64_t entry_at(const MetaPage *page, unsigned index)
{
    return ld64_be(page->data + index * 8);
}

static void map_entry(const Qcow *q, const MetaPage *page, unsigned index, uint64_t within,
                      uint64_t bytes, Extent *e)
{
    uint64_t entry = entry_at(page, index);
    unsigned max = q->l2.page_bytes / 8 - index, n = 1;
    *e = (Extent){.kind = entry ? EXTENT_DATA : EXTENT_UNALLOCATED, .in_place = entry};
    if (entry & ENTRY_COMPRESSED) {
        unsigned shift = 63 - q->cluster_bits;
        *e = (Extent){.kind = EXTENT_COMPRESSED,
                      .host = bits_get(entry, 0, shift),
                      .host_bytes = bits_get(entry, shift, q->cluster_bits),
                      .within = within};
        max = 1;
    } else if (entry) {
        e->host = entry + within;
    }
    while (n < max && (n << q->cluster_bits) - within < bytes &&
           entry_at(page, index + n) == (entry ? entry + ((uint64_t)n << q->cluster_bits) : 0))
        n++;
    e->bytes = MIN(bytes, ((uint64_t)n << q->cluster_bits) - within);
}

/* Where data is stored, encrypted or not. */
static int map_stored(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    Qcow *q = qcow(node);
    uint64_t i = l1_index_of(q, offset), reach = 1ULL << (q->cluster_bits + q->l2_bits);
    MetaPage *page;
    unsigned index;
    if (!q->l1[i]) {
        *e = (Extent){.kind = EXTENT_UNALLOCATED, .bytes = MIN(bytes, (i + 1) * reach - offset)};
        return 0;
    }
    int ret = l2_page(q, offset, flags, &page, &index);
    if (ret)
        return ret;
    map_entry(q, page, index, offset & (node->cluster - 1), bytes, e);
    meta_put(page);
    /* Data in the header or the L1 table would change the image under itself. */
    if (e->kind == EXTENT_DATA && e->host < l1_end(q))
        return -EIO;
    return 0;
}

static int qcow_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    int ret = map_stored(node, offset, bytes, flags, e);
    return ret || !qcow(node)->encrypted ? ret : aes_view_extent(qcow(node)->plain, offset, e);
}

/* ---- Writing ---- */

static uint64_t take_room(Qcow *q, uint64_t bytes, uint64_t align)
{
    uint64_t at = align_up(q->end, align);
    q->end = at + bytes;
    return at;
}

static void set_l1(Qcow *q, uint64_t i, uint64_t at)
{
    bool clean = q->l1_dirty_from == q->l1_dirty_to;
    q->l1[i] = at;
    q->l1_dirty_from = clean ? (uint32_t)i : MIN(q->l1_dirty_from, (uint32_t)i);
    q->l1_dirty_to = clean ? (uint32_t)i + 1 : MAX(q->l1_dirty_to, (uint32_t)i + 1);
}

/* Zeroes all of it, also where the file ends before: only what changes of a table is written later,
 * and room that the file does not reach counts as free for the next who opens the image. */
static int own_table(Qcow *q, uint64_t offset)
{
    uint64_t i = l1_index_of(q, offset), bytes = 8ULL << q->l2_bits;
    int ret = 0;
    co_mutex_lock(&q->table_lock);
    if (!q->l1[i]) {
        uint64_t at = take_room(q, bytes, q->base.cluster);
        ret = file_zero(q->base.file, at, bytes, false);
        if (!ret)
            set_l1(q, i, at);
    }
    co_mutex_unlock(&q->table_lock);
    return ret;
}

static int set_entry(Qcow *q, uint64_t offset, uint64_t entry)
{
    MetaPage *page;
    unsigned index;
    int ret = own_table(q, offset);
    if (!ret)
        ret = l2_page(q, offset, 0, &page, &index);
    if (ret)
        return ret;
    st64_be(page->data + index * 8, entry);
    meta_dirty(page, index * 8, index * 8 + 8);
    meta_put(page);
    return 0;
}

/* As many clusters in a row as lack room of their own.  None is "fresh": each is written to its
 * end, so that the file ends behind it, where the next who opens the image takes room. */
static int qcow_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Qcow *q = qcow(node);
    Extent e;
    uint64_t start = align_down(offset, node->cluster);
    uint64_t end =
        MIN(align_up(offset + bytes, node->cluster), align_up(node->size, node->cluster));
    int ret = qcow_map(node, start, MIN(end, node->size) - start, 0, &e);
    if (ret)
        return ret;
    end = align_up(start + e.bytes, node->cluster);
    *alloc = (Alloc){.start = start, .end = end};
    alloc->host = take_room(q, end - start, node->cluster);
    return 0;
}

static int qcow_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Qcow *q = qcow(node);
    for (uint64_t at = alloc->start; at < alloc->end && !ret; at += node->cluster)
        ret = set_entry(q, at, alloc->host + (at - alloc->start));
    return ret;
}

static int qcow_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes)
{
    Qcow *q = qcow(node);
    uint64_t at = take_room(q, in_bytes, 1);
    int ret = file_pwrite(node->file, at, in, in_bytes);
    if (!ret)
        ret = set_entry(q, offset,
                        at | (uint64_t)in_bytes << (63 - q->cluster_bits) | ENTRY_COMPRESSED);
    return ret;
}

/* ---- Order ---- */

static int write_l1(Qcow *q, uint32_t from, uint32_t to)
{
    if (from == to)
        return 0;
    g_autofree uint8_t *copy = g_malloc((to - from) * 8);
    for (uint32_t i = from; i < to; i++)
        st64_be(copy + (i - from) * 8, q->l1[i]);
    int ret = file_flush(q->base.file); /* (2) */
    return ret ? ret : file_pwrite(q->base.file, q->l1_offset + from * 8ULL, copy, (to - from) * 8);
}

static int commit(Qcow *q, bool durable)
{
    GArray *writes = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    co_mutex_lock(&q->commit_lock);
    uint32_t from = q->l1_dirty_from, to = q->l1_dirty_to;
    q->l1_dirty_from = q->l1_dirty_to = 0;
    meta_collect(&q->l2, writes);
    int ret = writes->len ? file_flush(q->base.file) : 0; /* (3) */
    if (!ret)
        ret = meta_write(q->base.file, writes);
    if (!ret)
        ret = write_l1(q, from, to);
    if (!ret && durable)
        ret = file_flush(q->base.file);
    if (ret && from != to) {
        bool clean = q->l1_dirty_from == q->l1_dirty_to;
        q->l1_dirty_from = clean ? from : MIN(from, q->l1_dirty_from);
        q->l1_dirty_to = clean ? to : MAX(to, q->l1_dirty_to);
    }
    meta_release(writes, !ret);
    co_mutex_unlock(&q->commit_lock);
    return ret;
}

static int qcow_flush(BlkNode *node)
{
    return commit(qcow(node), true);
}

static int qcow_balance(BlkNode *node)
{
    return meta_crowded(&qcow(node)->l2) ? commit(qcow(node), false) : 0;
}

/* Only the whole image can be forgotten: its tables are, and then the rest of the file. */
static int qcow_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Qcow *q = qcow(node);
    if (!(flags & DISCARD_FULLY) || offset || bytes < node->size)
        return -ENOTSUP;
    int ret = commit(q, true);
    if (ret)
        return ret;
    memset(q->l1, 0, q->l1_entries * 8ULL);
    ret = write_l1(q, 0, q->l1_entries);
    if (!ret)
        ret = file_flush(node->file);
    if (ret)
        return ret;
    meta_drop_all(&q->l2);
    q->end = l1_end(q);
    node_forget_expanded(node);
    return node->file->sparse ? file_truncate(node->file, q->end) : 0;
}

/* ---- Compression ---- */

static int qcow_decompress(const BlkNode *node, const void *in, size_t in_bytes, void *out)
{
    return inflate_cluster(in, in_bytes, out, node->cluster);
}

static int qcow_compress(const BlkNode *node, const void *in, void *out)
{
    return deflate_cluster(in, node->cluster, out, node->cluster - 1);
}

/* ---- Compacting ---- */

static bool list_entry(Qcow *q, Pieces *pieces, uint64_t index, uint64_t entry, GError **error)
{
    unsigned shift = 63 - q->cluster_bits;
    Piece piece = {.at = entry, .bytes = q->base.cluster, .index = index, .kind = PIECE_DATA};
    if (entry & ENTRY_COMPRESSED) {
        piece.at = bits_get(entry, 0, shift);
        piece.bytes = bits_get(entry, shift, q->cluster_bits);
        piece.kind = PIECE_PACKED;
        if (!piece.bytes)
            return fail(error, "'%s': the cluster at 0x%" PRIx64 " is 0 bytes long", q->base.name,
                        piece.at);
    }
    return pieces_add(pieces, piece, error);
}

static bool list_table(Qcow *q, Pieces *pieces, uint32_t i, uint8_t *table, GError **error)
{
    int ret = file_pread(q->base.file, q->l1[i], table, 8ULL << q->l2_bits);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read an L2 table", q->base.name);
    for (uint64_t n = 0; n < 1u << q->l2_bits; n++) {
        uint64_t entry = ld64_be(table + n * 8);
        if (entry && !list_entry(q, pieces, (uint64_t)i << q->l2_bits | n, entry, error))
            return false;
    }
    return true;
}

/* The backing file's name may stand anywhere. */
static bool list_name(Qcow *q, Pieces *pieces, GError **error)
{
    uint64_t from = MAX(q->backing_name_at, l1_end(q));
    uint64_t end = q->backing_name_at + q->backing_name_bytes;
    return from >= end || pieces_add(pieces, (Piece){.at = from, .bytes = end - from}, error);
}

/* Tables are read when none overlaps another: so there are no more entries than the file holds. */
static bool compact_list(void *opaque, Pieces *pieces, GError **error)
{
    Qcow *q = opaque;
    uint64_t bytes = 8ULL << q->l2_bits;
    bool ok = list_name(q, pieces, error);
    for (uint32_t i = 0; i < q->l1_entries && ok; i++) {
        if (q->l1[i] % 8) /* a power cut might tear an entry */
            return fail(error, "'%s': L2 table %u lies at 0x%" PRIx64 ", not at a multiple of 8",
                        q->base.name, i, q->l1[i]);
        Piece table = {.at = q->l1[i], .bytes = bytes, .index = i, .kind = PIECE_TABLE};
        ok = !q->l1[i] || pieces_add(pieces, table, error);
    }
    ok = ok && pieces_check(pieces, error);
    g_autofree uint8_t *table = g_malloc(bytes);
    for (uint32_t i = 0; i < q->l1_entries && ok; i++)
        ok = !q->l1[i] || list_table(q, pieces, i, table, error);
    return ok;
}

static int compact_name(void *opaque, const Piece *piece, uint64_t at)
{
    Qcow *q = opaque;
    if (piece->kind == PIECE_TABLE) {
        meta_drop_all(&q->l2); /* all clean: pages of a place that others may get */
        set_l1(q, piece->index, at);
        return 0;
    }
    uint64_t packed = piece->bytes << (63 - q->cluster_bits) | ENTRY_COMPRESSED;
    return set_entry(q, (uint64_t)piece->index << q->cluster_bits,
                     at && piece->kind == PIECE_PACKED ? at | packed : at);
}

static int compact_commit(void *opaque)
{
    return commit(opaque, true);
}

static bool packed_zeros(void *opaque, const uint8_t *data, uint64_t bytes)
{
    const Qcow *q = opaque;
    g_autofree uint8_t *out = g_malloc(q->base.cluster);
    return !inflate_cluster(data, bytes, out, q->base.cluster) &&
           buffer_is_zero(out, q->base.cluster);
}

/* What is no piece is nobody's: there are no other records of what is in use.  Over a backing file
 * zeros must stay, as no entry says "zeros". */
static bool qcow_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Qcow *q = qcow(node);
    bool alone = !node->backing && !node->backing_name;
    Repack r = {
        .file = node->file,
        .start = align_up(l1_end(q), 512),
        .align = {[PIECE_TABLE] = node->cluster, [PIECE_DATA] = node->cluster, [PIECE_PACKED] = 1},
        .drop_zeros = {[PIECE_TABLE] = true, [PIECE_DATA] = alone, [PIECE_PACKED] = alone},
        .list = compact_list,
        .name = compact_name,
        .commit = compact_commit,
        .packed_zeros = packed_zeros,
        .opaque = q};
    uint64_t end;
    if (!repack(&r, progress, &end, error))
        return false;
    int ret = node->file->sparse && end < node->file->size ? file_truncate(node->file, end) : 0;
    q->end = end;
    return !ret || fail_errno(error, -ret, "'%s': cannot cut its end off", node->name);
}

/* ---- Creating ---- */

static const CreateOption qcow_create_options[] = {
    {"encryption", "off; the old way of encrypting is not safe"},
    {NULL, NULL},
};

static bool qcow_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    uint8_t h[HEADER_BYTES] = {0};
    uint64_t size = align_up(spec->size, 512);
    size_t name_bytes = spec->backing ? strlen(spec->backing) : 0;
    unsigned cluster_bits = spec->backing ? 9 : 12, l2_bits = spec->backing ? 12 : 9;
    uint64_t l1_offset = align_up(HEADER_BYTES + name_bytes, 8);
    uint64_t reach = 1ULL << (cluster_bits + l2_bits);
    uint64_t entries = (size + reach - 1) / reach;
    if (!size)
        return fail(error, "a qcow image cannot be empty");
    if (entries > MAX_L1_ENTRIES)
        return fail(error, "%" PRIu64 " bytes are too many for a qcow image", size);
    if (name_bytes > 1023)
        return fail(error, "the backing file's name is too long for '%s'", file->name);
    if (!refuse_old_encryption(spec->options, error) || !create_begin(file, error))
        return false;
    st32_be(h, QCOW_MAGIC);
    st32_be(h + 4, 1);
    if (spec->backing) {
        st64_be(h + 8, HEADER_BYTES);
        st32_be(h + 16, (uint32_t)name_bytes);
    }
    st64_be(h + 24, size);
    h[32] = (uint8_t)cluster_bits;
    h[33] = (uint8_t)l2_bits;
    st64_be(h + 40, l1_offset);
    int ret = file_zero(file, 0, align_up(l1_offset + entries * 8, 512), false);
    if (!ret && name_bytes)
        ret = file_pwrite(file, HEADER_BYTES, spec->backing, name_bytes);
    if (!ret)
        ret = file_flush(file);
    if (!ret)
        ret = file_pwrite(file, 0, h, sizeof(h));
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

const BlkFormat qcow_format = {
    .name = "qcow",
    .node_size = sizeof(Qcow),
    .create_options = qcow_create_options,
    .backing = true,
    .probe = qcow_probe,
    .open = qcow_open,
    .close = qcow_close,
    .map = qcow_map,
    .alloc = qcow_alloc,
    .link = qcow_link,
    .discard = qcow_discard,
    .flush = qcow_flush,
    .balance = qcow_balance,
    .decompress = qcow_decompress,
    .write_compressed = qcow_write_compressed,
    .compress = qcow_compress,
    .create = qcow_create,
    .compact = qcow_compact,
};
