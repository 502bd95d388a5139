/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK images: where grains lie, new grains, info.
 *
 * Order: a grain reaches the file before the table entries that name it, a new table before its
 * directory entry.
 */
#include "vmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

/* ---- Where ---- */

static VmdkExtent *extent_at(const Vmdk *v, uint64_t offset)
{
    unsigned low = 0, high = v->count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (offset < v->extents[middle].start)
            high = middle;
        else
            low = middle;
    }
    return &v->extents[low];
}

/* The page with a grain's entry in the table that lies at sector `table`. */
static int table_page(VmdkExtent *x, uint32_t table, uint64_t grain, unsigned flags,
                      MetaPage **page, uint32_t *at)
{
    uint64_t byte = grain % x->table_entries * 4;
    uint64_t start = table * 512ULL + align_down(byte, x->tables.page_bytes);
    *at = (uint32_t)(byte % x->tables.page_bytes);
    return flags & MAP_NOWAIT ? meta_get_nowait(&x->tables, start, page)
                              : meta_get(&x->tables, start, page);
}

static ExtentKind kind_of(const VmdkExtent *x, uint32_t entry)
{
    if (!entry)
        return EXTENT_UNALLOCATED;
    if (entry == VMDK_ENTRY_ZERO && x->zero_grains)
        return EXTENT_ZERO;
    return x->compressed ? EXTENT_COMPRESSED : EXTENT_DATA;
}

/* Whether the n-th entry after `first` goes on where that began. */
static bool goes_on(const VmdkExtent *x, uint32_t first, uint32_t entry, uint64_t n)
{
    ExtentKind kind = kind_of(x, first);
    if (kind == EXTENT_DATA)
        return entry == first + n * (x->grain / 512) && entry > first;
    return kind != EXTENT_COMPRESSED && kind_of(x, entry) == kind;
}

static int map_sparse(Vmdk *v, VmdkExtent *x, uint64_t offset, unsigned flags, Extent *e)
{
    uint64_t grain = offset / x->grain, within = offset % x->grain;
    uint64_t reach = (uint64_t)x->grain * x->table_entries;
    uint32_t table = x->directory[offset / reach], at;
    MetaPage *page;
    e->kind = EXTENT_UNALLOCATED;
    if (!table) {
        e->bytes = MIN(e->bytes, reach - offset % reach);
        return 0;
    }
    int ret = table_page(x, table, grain, flags, &page, &at);
    if (ret)
        return ret;
    uint32_t entry = ld32_le(page->data + at);
    uint64_t max = (x->tables.page_bytes - at) / 4, n = 1;
    while (n < max && n * x->grain - within < e->bytes &&
           goes_on(x, entry, ld32_le(page->data + at + n * 4), n))
        n++;
    meta_put(page);
    e->kind = kind_of(x, entry);
    e->bytes = MIN(e->bytes, n * x->grain - within);
    if (e->kind == EXTENT_DATA || e->kind == EXTENT_COMPRESSED) {
        e->host = entry * 512ULL;
        if (e->host < x->first_data)
            return -EIO;
    }
    if (e->kind == EXTENT_DATA) {
        e->host += within;
        e->in_place = v->cid_changed;
    } else if (e->kind == EXTENT_COMPRESSED) {
        e->within = within;
        e->host_bytes = VMDK_MARKER_BYTES + compressBound(x->grain);
    }
    return 0;
}

static int map_flat(Vmdk *v, VmdkExtent *x, uint64_t offset, unsigned flags, Extent *e)
{
    bool data = true;
    int ret = 0;
    if (flags & MAP_HOLES)
        ret = file_extent(x->file, x->offset + offset, &e->bytes, &data);
    e->kind = data ? EXTENT_DATA : EXTENT_ZERO;
    e->host = x->offset + offset;
    e->in_place = v->cid_changed;
    return ret;
}

/* What is not here is the parent's, but only if that is still as it was when the child was made. */
static int check_parent(Vmdk *v)
{
    BlkNode *parent = v->base.backing;
    if (v->parent_checked || !parent || parent->fmt != &vmdk_format)
        return 0;
    if (vmdk(parent)->cid != v->parent_cid) {
        if (!v->parent_told)
            report_error("'%s': its parent '%s' was changed since (content ID %08x, not %08x)",
                         v->base.name, parent->name, vmdk(parent)->cid, v->parent_cid);
        v->parent_told = true;
        return -EINVAL;
    }
    v->parent_checked = true;
    return 0;
}

static int vmdk_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    Vmdk *v = vmdk(node);
    VmdkExtent *x = extent_at(v, offset);
    uint64_t inside = offset - x->start;
    *e = (Extent){.kind = EXTENT_ZERO, .bytes = MIN(bytes, x->bytes - inside), .file = x->file};
    if (!x->file)
        return 0;
    if (x->flat)
        return map_flat(v, x, inside, flags, e);
    int ret = map_sparse(v, x, inside, flags, e);
    return ret || e->kind != EXTENT_UNALLOCATED ? ret : check_parent(v);
}

/* ---- Tables ---- */

/* Points entry i of one directory to a new table of free entries. */
static int add_table(VmdkExtent *x, uint32_t *directory, uint64_t directory_at, uint64_t i)
{
    uint64_t bytes = x->table_entries * 4ULL, at = x->end;
    uint8_t entry[4];
    if (at / 512 > UINT32_MAX)
        return -EFBIG;
    x->end = at + align_up(bytes, x->compressed ? 512 : x->grain);
    int ret = file_zero(x->file, at, bytes, false);
    if (!ret)
        ret = file_flush(x->file);
    st32_le(entry, (uint32_t)(at / 512));
    if (!ret)
        ret = file_pwrite(x->file, directory_at + i * 4, entry, sizeof(entry));
    if (!ret)
        directory[i] = (uint32_t)(at / 512);
    return ret;
}

static int own_table(Vmdk *v, VmdkExtent *x, uint64_t i)
{
    int ret = 0;
    co_mutex_lock(&v->table_lock);
    if (x->redundant && !x->redundant[i])
        ret = add_table(x, x->redundant, x->redundant_at, i);
    if (!ret && !x->directory[i])
        ret = add_table(x, x->directory, x->directory_at, i);
    co_mutex_unlock(&v->table_lock);
    return ret;
}

static int set_in_table(VmdkExtent *x, uint32_t table, uint64_t grain, uint32_t entry)
{
    MetaPage *page;
    uint32_t at;
    int ret = table_page(x, table, grain, 0, &page, &at);
    if (ret)
        return ret;
    st32_le(page->data + at, entry);
    meta_dirty(page, at, at + 4);
    meta_put(page);
    return 0;
}

int vmdk_put_entry(VmdkExtent *x, uint64_t offset, uint32_t entry)
{
    uint64_t grain = offset / x->grain, i = grain / x->table_entries;
    int ret = 0;
    if (x->redundant && x->redundant[i])
        ret = set_in_table(x, x->redundant[i], grain, entry);
    return ret ? ret : set_in_table(x, x->directory[i], grain, entry);
}

/* offset counts from the extent's begin. */
static int set_entry(Vmdk *v, VmdkExtent *x, uint64_t offset, uint32_t entry)
{
    int ret = own_table(v, x, offset / x->grain / x->table_entries);
    return ret ? ret : vmdk_put_entry(x, offset, entry);
}

/* ---- Writing ---- */

static int vmdk_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Vmdk *v = vmdk(node);
    VmdkExtent *x = extent_at(v, offset);
    Extent e;
    if (!x->file || x->flat || x->compressed)
        return -ENOTSUP;
    uint64_t start = x->start + align_down(offset - x->start, x->grain);
    uint64_t end = MIN(align_up(offset + bytes - x->start, x->grain), align_up(x->bytes, x->grain));
    int ret = vmdk_map(node, start, MIN(x->start + end, x->start + x->bytes) - start, 0, &e);
    if (ret)
        return ret;
    end = align_up(start + e.bytes - x->start, x->grain) + x->start;
    if ((x->end + end - start) / 512 > UINT32_MAX)
        return -EFBIG;
    *alloc = (Alloc){.start = start, .end = end, .file = x->file, .host = x->end};
    alloc->fresh = x->file->sparse && alloc->host >= x->file->size;
    x->end += end - start;
    return 0;
}

static int vmdk_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Vmdk *v = vmdk(node);
    VmdkExtent *x = extent_at(v, alloc->start);
    for (uint64_t at = alloc->start; at < alloc->end && !ret; at += x->grain)
        ret = set_entry(v, x, at - x->start, (uint32_t)((alloc->host + (at - alloc->start)) / 512));
    return ret;
}

/* Flat parts of the range, or whole grains where the image knows grains of zeros. */
static int vmdk_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Vmdk *v = vmdk(node);
    VmdkExtent *x = extent_at(v, offset);
    uint64_t inside = offset - x->start;
    if (!x->file || bytes > x->bytes - inside || (!x->flat && (!x->zero_grains || x->compressed)))
        return -ENOTSUP;
    if (x->flat)
        return file_zero(x->file, x->offset + inside, bytes,
                         (flags & ZERO_MAY_UNMAP) && node->mode.discard);
    int ret = 0;
    for (uint64_t at = inside; at < inside + bytes && !ret; at += x->grain)
        ret = set_entry(v, x, at, VMDK_ENTRY_ZERO);
    return ret;
}

static int vmdk_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes)
{
    Vmdk *v = vmdk(node);
    VmdkExtent *x = extent_at(v, offset);
    if (!x->compressed || node->cluster != x->grain)
        return -ENOTSUP;
    uint64_t at = x->end, room = align_up(in_bytes + VMDK_MARKER_BYTES, 512);
    if (at / 512 > UINT32_MAX)
        return -EFBIG;
    g_autofree uint8_t *record = g_malloc0(room);
    unsigned head = x->markers ? VMDK_MARKER_BYTES : 0;
    st64_le(record, (offset - x->start) / 512);
    st32_le(record + 8, (uint32_t)in_bytes);
    memcpy(record + head, in, in_bytes);
    x->end += room;
    int ret = file_pwrite(x->file, at, record, room);
    return ret ? ret : set_entry(v, x, offset - x->start, (uint32_t)(at / 512));
}

/* ---- Order ---- */

static int commit_extent(VmdkExtent *x, bool durable)
{
    GArray *writes = g_array_new(FALSE, FALSE, sizeof(MetaWrite));
    if (x->tables.pages)
        meta_collect(&x->tables, writes);
    int ret = writes->len ? file_flush(x->file) : 0; /* (3) */
    if (!ret)
        ret = meta_write(x->file, writes);
    if (!ret && durable)
        ret = file_flush(x->file);
    meta_release(writes, !ret);
    return ret;
}

int vmdk_commit(Vmdk *v, bool durable)
{
    int ret = 0;
    co_mutex_lock(&v->commit_lock);
    for (unsigned i = 0; i < v->count && !ret; i++)
        if (v->extents[i].file)
            ret = commit_extent(&v->extents[i], durable);
    co_mutex_unlock(&v->commit_lock);
    return ret;
}

static int vmdk_flush(BlkNode *node)
{
    int ret = vmdk_commit(vmdk(node), true);
    return ret ? ret : file_flush(node->file);
}

static int vmdk_balance(BlkNode *node)
{
    Vmdk *v = vmdk(node);
    bool crowded = false;
    int ret = vmdk_change_cid(v);
    for (unsigned i = 0; i < v->count; i++)
        crowded |= v->extents[i].tables.pages && meta_crowded(&v->extents[i].tables);
    return !ret && crowded ? vmdk_commit(v, false) : ret;
}

/* ---- Compression ---- */

static int vmdk_decompress(const BlkNode *node, const void *in, size_t in_bytes, void *out)
{
    const Vmdk *v = vmdk(node);
    const uint8_t *data = in;
    uLongf length = node->cluster;
    bool markers = v->extents[0].markers; /* all are alike, or nobody asks */
    for (unsigned i = 1; i < v->count; i++)
        if (v->extents[i].compressed)
            markers = v->extents[i].markers;
    if (markers) {
        uint32_t bytes = ld32_le(data + 8);
        if (bytes > in_bytes - VMDK_MARKER_BYTES)
            return -EIO;
        data += VMDK_MARKER_BYTES;
        in_bytes = bytes;
    }
    memset(out, 0, length); /* the last grain may be shorter */
    int result = uncompress(out, &length, data, in_bytes);
    return result == Z_OK && length ? 0 : -EIO;
}

static int vmdk_compress(const BlkNode *node, const void *in, void *out)
{
    uLongf length = node->packed_max;
    if (!node->compressed_only)
        return -ENOTSUP;
    return compress(out, &length, in, node->cluster) == Z_OK ? (int)length : -EIO;
}

/* ---- Info ---- */

static void put_extent(DetailLines *lines, const VmdkExtent *x)
{
    detail_bracket(lines, NULL, '{');
    if (x->compressed)
        detail_bool(lines, "compressed", true);
    detail_number(lines, "virtual-size", x->bytes);
    detail_text(lines, "filename", x->file ? x->file->name : "");
    if (x->directory)
        detail_number(lines, "cluster-size", x->grain);
    detail_text(lines, "format", x->type);
    detail_bracket(lines, NULL, '}');
}

static bool vmdk_detail(const BlkNode *node, unsigned n, NodeDetail *d)
{
    const Vmdk *v = vmdk(node);
    DetailLines lines = {.wanted = n, .out = d};
    detail_number(&lines, "cid", v->cid);
    detail_number(&lines, "parent-cid", v->parent_cid);
    detail_text(&lines, "create-type", v->create_type ? v->create_type : "");
    detail_bracket(&lines, "extents", '[');
    for (unsigned i = 0; i < v->count; i++)
        put_extent(&lines, &v->extents[i]);
    detail_bracket(&lines, NULL, ']');
    return n < lines.next;
}

static BlkFile *vmdk_other_file(const BlkNode *node, unsigned n)
{
    const Vmdk *v = vmdk(node);
    for (unsigned i = 0; i < v->count; i++)
        if (v->extents[i].owned && v->extents[i].file && !n--)
            return v->extents[i].file;
    return NULL;
}

const BlkFormat vmdk_format = {
    .name = "vmdk",
    .node_size = sizeof(Vmdk),
    .create_options = vmdk_create_options,
    .backing = true,
    .backing_format = true,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .close = vmdk_close,
    .map = vmdk_map,
    .alloc = vmdk_alloc,
    .link = vmdk_link,
    .zero = vmdk_zero,
    .flush = vmdk_flush,
    .balance = vmdk_balance,
    .decompress = vmdk_decompress,
    .write_compressed = vmdk_write_compressed,
    .compress = vmdk_compress,
    .create = vmdk_create,
    .check = vmdk_check,
    .compact = vmdk_compact,
    .begin_commit = vmdk_begin_commit,
    .detail = vmdk_detail,
    .other_file = vmdk_other_file,
    .sums_files = true,
};
