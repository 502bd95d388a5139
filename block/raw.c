/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raw images: the guest's bytes are the file's.  A length that is no multiple of 512 is rounded up.
 */
#include <errno.h>
#include <stdlib.h>

#include "formats.h"
#include "util/bytes.h"
#include "util/error.h"

#define COMPACT_BYTES (1u << 20)
#define HOLE_BYTES    4096u

static bool raw_open(BlkNode *node, GError **error)
{
    uint64_t whole = align_up(MIN(node->file->size, INT64_MAX), 512);
    uint64_t offset = node->mode.raw_offset, size = node->mode.raw_size;
    node->cluster = 512;
    if (node->file->size > INT64_MAX - 511)
        return fail(error, "'%s' is too large", node->name);
    if (offset % 512 || size % 512)
        return fail(error, "'%s': offset and size must be multiples of 512", node->name);
    if (offset > whole || size > whole - offset)
        return fail(error,
                    "'%s': offset %" PRIu64 " and size %" PRIu64
                    " lie outside of the file, which has %" PRIu64 " bytes",
                    node->name, offset, size, node->file->size);
    node->size = size ? size : whole - offset;
    return true;
}

static int raw_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent)
{
    bool data = true;
    offset += node->mode.raw_offset;
    int ret = flags & MAP_HOLES ? file_extent(node->file, offset, &bytes, &data) : 0;
    *extent = (Extent){
        .kind = data ? EXTENT_DATA : EXTENT_ZERO, .in_place = true, .bytes = bytes, .host = offset};
    return ret;
}

static int raw_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    return file_zero(node->file, offset + node->mode.raw_offset, bytes,
                     (flags & ZERO_MAY_UNMAP) && node->mode.discard);
}

static int raw_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    if (flags & DISCARD_FULLY)
        return -ENOTSUP;
    return node->mode.discard ? file_discard(node->file, offset + node->mode.raw_offset, bytes) : 0;
}

static const CreateOption raw_create_options[] = {
    {"preallocation", "off, falloc (reserve the space) or full (write it)"},
    {NULL, NULL},
};

static bool raw_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    uint64_t size = align_up(spec->size, 512);
    Preallocation how;
    if (!read_file_preallocation(spec, &how, error) || !create_begin(file, error))
        return false;
    int ret = preallocate_file(file, 0, size, how);
    return !ret ||
           fail_errno(error, -ret, "cannot make '%s' %" PRIu64 " bytes long", file->name, size);
}

/* ---- Size ---- */

/* New bytes of a file read as zeros; a block device has the size that it has. */
static bool raw_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error)
{
    uint64_t old = node->file->size;
    if (node->mode.raw_offset || node->mode.raw_size)
        return fail(error, "'%s' is a part of a file (offset, size): it cannot be resized",
                    node->name);
    if (how == PREALLOC_METADATA)
        return fail(error, "preallocation=metadata: a raw image has no metadata");
    if (size < old && how != PREALLOC_OFF)
        return fail(error, "'%s': preallocation is for images that grow", node->name);
    if (!node->file->sparse)
        return fail(error, "'%s' is a device: its size is what it is", node->name);
    int ret = preallocate_file(node->file, old, size, how);
    if (!ret)
        ret = file_flush(node->file);
    if (!ret) {
        node->size = size;
        return true;
    }
    if (size > old)
        file_truncate(node->file, old);
    return fail_errno(error, -ret, "cannot make '%s' %" PRIu64 " bytes long", node->name, size);
}

/* ---- Compacting ---- */

/* Gives back the runs of zeros in one piece of data, in units of the host's pages. */
static int punch_zeros(BlkFile *file, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
    int ret = 0;
    for (uint64_t at = 0, zeros; at < bytes && !ret; at += MAX(zeros, HOLE_BYTES)) {
        for (zeros = 0; at + zeros + HOLE_BYTES <= bytes; zeros += HOLE_BYTES)
            if (!buffer_is_zero(data + at + zeros, HOLE_BYTES))
                break;
        if (zeros)
            ret = file->ops->zero(file, offset + at, zeros, true);
    }
    return ret;
}

/* Zeros become holes: what the guest sees is the same at any moment. */
static bool raw_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    BlkFile *file = node->file;
    uint8_t *buffer = block_alloc(COMPACT_BYTES);
    int ret = !buffer ? -ENOMEM : file->ops->zero ? 0 : -ENOTSUP;
    for (uint64_t at = 0; at < file->size && !ret;) {
        bool data = true;
        uint64_t bytes = MIN(file->size - at, COMPACT_BYTES - at % COMPACT_BYTES);
        ret = file_extent(file, at, &bytes, &data);
        if (!ret && data)
            ret = file_pread(file, at, buffer, bytes);
        if (!ret && data)
            ret = punch_zeros(file, at, buffer, bytes);
        at += bytes;
        if (!ret && progress && !progress->tell(progress->opaque, at, file->size))
            ret = -ECANCELED;
    }
    free(buffer);
    if (!ret)
        ret = file_flush(file);
    if (ret == -ENOTSUP)
        return fail(error, "'%s': its file system or device takes no space back", node->name);
    return !ret || fail_errno(error, -ret, "'%s': cannot compact it", node->name);
}

static bool raw_measure(const CreateSpec *spec, BlkNode *source, Measure *result, GError **error)
{
    uint64_t size = align_up(source ? source->size : spec->size, 512);
    *result = (Measure){.required = size, .fully_allocated = size};
    return true;
}

const BlkFormat raw_format = {
    .name = "raw",
    .node_size = sizeof(BlkNode),
    .create_options = raw_create_options,
    .open = raw_open,
    .map = raw_map,
    .zero = raw_zero,
    .discard = raw_discard,
    .create = raw_create,
    .resize = raw_resize,
    .compact = raw_compact,
    .measure = raw_measure,
};
