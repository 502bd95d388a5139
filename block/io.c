/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data path that all formats share: reads through the backing chain, writes in place or into
 * new room with copy on write, zeros, discards, compressed clusters.
 *
 * Overlapping requests: what changes where data lies (allocation, zeroing, discard) is exclusive on
 * its whole clusters.  So nobody reads or writes room in the file that is being given up, and two
 * writes never allocate one cluster twice (invariant 10 of docs/qcow2-invariants.md).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats.h"
#include "util/bytes.h"
#include "util/log.h"
#include "util/threadpool.h"

#define FEW_PIECES 32 /* of a scatter list, kept on the stack */

struct ExpandedCluster {
    const BlkFile *file;
    uint64_t host, host_bytes;
    uint8_t *data;
};

int node_resolve(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent)
{
    for (;;) {
        extent->node = node;
        if (offset >= node->size) { /* a backing file may be shorter than its overlay */
            *extent = (Extent){.kind = EXTENT_ZERO, .bytes = bytes, .node = node};
            return 0;
        }
        bytes = MIN(bytes, node->size - offset);
        int ret = node->fmt->map(node, offset, bytes, flags, extent);
        if (ret)
            return ret;
        extent->node = node;
        bytes = extent->bytes;
        if (extent->kind != EXTENT_UNALLOCATED)
            return 0;
        if (!node->backing) {
            extent->kind = EXTENT_ZERO;
            return 0;
        }
        node = node->backing;
    }
}

/* ---- Compressed clusters ---- */

void node_forget_expanded(BlkNode *node)
{
    if (node->expanded) {
        free(node->expanded->data);
        g_free(node->expanded);
        node->expanded = NULL;
    }
}

static const uint8_t *expanded_find(const BlkNode *node, const Extent *e)
{
    const struct ExpandedCluster *x = node->expanded;
    return x && x->file == extent_file(e) && x->host == e->host && x->host_bytes == e->host_bytes
               ? x->data
               : NULL;
}

typedef struct Expansion {
    const BlkNode *node;
    const void *in;
    size_t in_bytes;
    void *out;
} Expansion;

static int expansion_run(void *opaque)
{
    Expansion *x = opaque;
    return x->node->fmt->decompress(x->node, x->in, x->in_bytes, x->out);
}

/* Leaves the cluster of e in e->node->expanded. */
static int expand(const Extent *e)
{
    BlkNode *node = e->node;
    Expansion x = {.node = node, .in_bytes = e->host_bytes};
    void *in = block_alloc(e->host_bytes);
    x.in = in;
    file_event(node->file, EVENT_READ_COMPRESSED);
    x.out = block_alloc(node->cluster);
    int ret = in && x.out ? file_pread(extent_file(e), e->host, in, e->host_bytes) : -ENOMEM;
    if (!ret)
        ret = co_pool(expansion_run, &x);
    free(in);
    if (ret) {
        free(x.out);
        return ret;
    }
    node_forget_expanded(node);
    node->expanded = g_new(struct ExpandedCluster, 1);
    *node->expanded = (struct ExpandedCluster){extent_file(e), e->host, e->host_bytes, x.out};
    return 0;
}

/* ---- Reading ---- */

static int read_extent(const Extent *e, IoBuf buf, uint64_t bytes, bool wait, BlkEvent event)
{
    const uint8_t *data;
    int ret;
    switch (e->kind) {
    case EXTENT_DATA:
        file_event(e->node->file, event);
        ret = file_read_nowait(extent_file(e), e->host, buf, bytes);
        return ret == -EAGAIN && wait ? file_read(extent_file(e), e->host, buf, bytes) : ret;
    case EXTENT_COMPRESSED:
        data = expanded_find(e->node, e);
        if (!data && !wait)
            return -EAGAIN;
        if (!data) {
            ret = expand(e);
            if (ret)
                return ret;
            data = e->node->expanded->data;
        }
        iobuf_copy_out(buf, data + e->within, bytes);
        return 0;
    default:
        iobuf_zero(buf, bytes);
        return 0;
    }
}

static int read_range(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes, bool wait,
                      BlkEvent event)
{
    int ret = 0;
    while (bytes && !ret) {
        Extent e;
        ret = node_resolve(node, offset, bytes, wait ? 0 : MAP_NOWAIT, &e);
        if (ret)
            break;
        ret =
            read_extent(&e, buf, e.bytes, wait,
                        event == EVENT_READ_AIO && e.node != node ? EVENT_READ_BACKING_AIO : event);
        buf = iobuf_skip(buf, e.bytes);
        offset += e.bytes;
        bytes -= e.bytes;
    }
    return ret;
}

int node_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    Track track;
    track_begin(&node->requests, &track, offset, offset + bytes, false);
    int ret = read_range(node, offset, buf, bytes, true, EVENT_READ_AIO);
    track_end(&node->requests, &track);
    return ret;
}

int node_read_nowait(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    return read_range(node, offset, buf, bytes, false, EVENT_READ_AIO);
}

int node_read_held(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    return read_range(node, offset, buf, bytes, true, EVENT_READ_AIO);
}

/* ---- Writing into new room ---- */

/* What surrounds the written part of a newly allocated range. */
typedef struct Border {
    uint64_t offset, bytes; /* of the guest */
    bool zero;
    uint8_t *copy; /* if not zero */
} Border;

/* Looks what the guest sees in the border now, and fetches it unless it is zeros. */
static int border_load(BlkNode *node, Border *b)
{
    b->zero = true;
    for (uint64_t done = 0; done < b->bytes;) {
        Extent e;
        int ret = node_resolve(node, b->offset + done, b->bytes - done, 0, &e);
        if (ret)
            return ret;
        if (e.kind != EXTENT_ZERO) {
            b->zero = false;
            break;
        }
        done += e.bytes;
    }
    if (b->zero)
        return 0;
    b->copy = block_alloc(b->bytes);
    if (!b->copy)
        return -ENOMEM;
    uint64_t inside = b->offset < node->size ? MIN(b->bytes, node->size - b->offset) : 0;
    struct iovec iov = {b->copy, b->bytes};
    memset(b->copy + inside, 0, b->bytes - inside);
    return read_range(node, b->offset, (IoBuf){&iov, 1, 0}, inside, true, EVENT_COW_READ);
}

static BlkFile *alloc_file(const BlkNode *node, const Alloc *alloc)
{
    return alloc->file ? alloc->file : node->file;
}

/* Adds the border to a write of its neighbour, or zeroes it apart. Returns pieces added to iov, or
 * a negative errno. */
static int border_write(BlkNode *node, const Alloc *alloc, const Border *b, struct iovec *iov)
{
    if (!b->bytes || (b->zero && alloc->fresh))
        return 0;
    if (!b->zero || b->bytes <= ZEROS_BYTES) {
        void *from = b->zero ? (void *)(uintptr_t)block_zeros : b->copy;
        *iov = (struct iovec){from, b->bytes};
        return 1;
    }
    return file_zero(alloc_file(node, alloc), alloc->host + (b->offset - alloc->start), b->bytes,
                     false);
}

/* Head, data and tail in one write. */
static int write_joined(BlkNode *node, const Alloc *alloc, const Border *head, const Border *tail,
                        IoBuf buf, uint64_t bytes)
{
    struct iovec few[FEW_PIECES];
    struct iovec *iov = buf.count + 2 <= FEW_PIECES ? few : g_new(struct iovec, buf.count + 2);
    uint64_t total, host = alloc->host + head->bytes;
    int ret = border_write(node, alloc, head, iov);
    if (ret >= 0) {
        int count = ret;
        if (count)
            host -= head->bytes;
        count += iobuf_pieces(buf, bytes, iov + count, buf.count, &total);
        ret = border_write(node, alloc, tail, iov + count);
        if (ret >= 0) {
            count += ret;
            uint64_t length = 0;
            for (int i = 0; i < count; i++)
                length += iov[i].iov_len;
            file_event(node->file, length > bytes ? EVENT_COW_WRITE : EVENT_WRITE_AIO);
            ret = file_write(alloc_file(node, alloc), host, (IoBuf){iov, count, 0}, length);
        }
    }
    if (iov != few)
        g_free(iov);
    return ret;
}

static int write_new_room(BlkNode *node, const Alloc *alloc, uint64_t offset, IoBuf buf,
                          uint64_t bytes)
{
    Border head = {.offset = alloc->start, .bytes = offset - alloc->start};
    Border tail = {.offset = offset + bytes, .bytes = alloc->end - (offset + bytes)};
    int ret = border_load(node, &head);
    if (!ret)
        ret = border_load(node, &tail);
    if (!ret)
        ret = write_joined(node, alloc, &head, &tail, buf, bytes);
    free(head.copy);
    free(tail.copy);
    return ret;
}

/* The range is held exclusively.  *done: how much of the write that was. */
static int write_allocating(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes,
                            uint64_t *done)
{
    Alloc alloc = {0};
    file_event(node->file, EVENT_CLUSTER_ALLOC);
    int ret = node->fmt->alloc(node, offset, bytes, &alloc);
    if (ret)
        return ret;
    *done = MIN(bytes, alloc.end - offset);
    ret = write_new_room(node, &alloc, offset, buf, *done);
    return node->fmt->link(node, &alloc, ret);
}

/* ---- Writing ---- */

/* As far as it goes without allocating; *bytes counts what is left. */
static int write_in_place(BlkNode *node, uint64_t *offset, IoBuf *buf, uint64_t *bytes,
                          unsigned map_flags)
{
    while (*bytes) {
        Extent e;
        int ret = node->fmt->map(node, *offset, *bytes, map_flags, &e);
        if (ret)
            return ret;
        if (e.kind != EXTENT_DATA || !e.in_place)
            return 0;
        file_event(node->file, EVENT_WRITE_AIO);
        e.node = node;
        ret = file_write_nowait(extent_file(&e), e.host, *buf, e.bytes);
        if (ret == -EAGAIN && !map_flags)
            ret = file_write(extent_file(&e), e.host, *buf, e.bytes);
        if (ret)
            return ret;
        *buf = iobuf_skip(*buf, e.bytes);
        *offset += e.bytes;
        *bytes -= e.bytes;
    }
    return 0;
}

static int write_range_exclusive(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = 0;
    while (!ret) {
        ret = write_in_place(node, &offset, &buf, &bytes, 0);
        if (ret || !bytes)
            break;
        uint64_t done = 0;
        ret = write_allocating(node, offset, buf, bytes, &done);
        buf = iobuf_skip(buf, done);
        offset += done;
        bytes -= done;
    }
    return ret;
}

int node_write_held(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    return write_range_exclusive(node, offset, buf, bytes);
}

static void track_clusters(BlkNode *node, Track *track, uint64_t offset, uint64_t bytes,
                           bool exclusive)
{
    track_begin(&node->requests, track, align_down(offset, node->cluster),
                align_up(offset + bytes, node->cluster), exclusive);
}

static void touch(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    if (node->recording)
        node->fmt->touched(node, offset, bytes);
}

int node_balance(BlkNode *node)
{
    if (node->readonly)
        return -EROFS;
    return node->fmt->balance ? node->fmt->balance(node) : 0;
}

/* A raw image whose format was guessed must not become something else at the next guess: a guest
 * could write itself a header that names any file of the host as its backing file. */
static bool is_disguise(const BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    uint8_t head[512];
    if (offset || !node->probed || node->fmt->probe || bytes < sizeof(head))
        return false;
    iobuf_copy_in(buf, head, sizeof(head));
    return format_probe(head, sizeof(head)) != node->fmt;
}

int node_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    Track track;
    int ret = node_balance(node);
    if (ret)
        return ret;
    if (is_disguise(node, offset, buf, bytes)) {
        report_warn(
            "'%s': a write to sector 0 was refused, as it would make this raw image look like "
            "one of another format; open it with format=raw to allow it",
            node->name);
        return -EPERM;
    }
    touch(node, offset, bytes);
    track_clusters(node, &track, offset, bytes, false);
    ret = write_in_place(node, &offset, &buf, &bytes, 0);
    track_end(&node->requests, &track);
    if (ret || !bytes)
        return ret;
    track_clusters(node, &track, offset, bytes, true);
    ret = write_range_exclusive(node, offset, buf, bytes);
    track_end(&node->requests, &track);
    return ret;
}

int node_write_nowait(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (node->readonly || is_disguise(node, offset, buf, bytes) ||
        track_busy(&node->requests, offset, offset + bytes, false))
        return -EAGAIN;
    touch(node, offset, bytes);
    int ret = write_in_place(node, &offset, &buf, &bytes, MAP_NOWAIT);
    return !ret && bytes ? -EAGAIN : ret;
}

/* ---- Copying by the host ---- */

/* Fills a first part of the range, *done, from where e lies; the range is held exclusively. */
static int copy_extent(BlkNode *node, uint64_t offset, const Extent *e, uint64_t *done)
{
    Extent to = {0};
    Alloc alloc = {0};
    int ret = node->fmt->map(node, offset, e->bytes, 0, &to);
    to.node = node;
    *done = to.bytes;
    if (ret)
        return ret;
    if (to.kind == EXTENT_DATA && to.in_place)
        return file_copy_from(extent_file(&to), to.host, extent_file(e), e->host, to.bytes);
    ret = node->fmt->alloc(node, offset, e->bytes, &alloc);
    if (ret)
        return ret;
    *done = alloc.end - offset;
    if (alloc.start < offset || *done > e->bytes) /* what surrounds it is wanted, too */
        ret = -ENOTSUP;
    else
        ret = file_copy_from(alloc_file(node, &alloc), alloc.host, extent_file(e), e->host, *done);
    return node->fmt->link(node, &alloc, ret);
}

uint64_t node_copy_from(BlkNode *node, uint64_t offset, BlkNode *from, uint64_t from_offset,
                        uint64_t bytes)
{
    Track track, source;
    uint64_t done = 0, part;
    bool guessed = node->probed && !node->fmt->probe; /* sectors must be looked at: is_disguise() */
    if (guessed || node->compressed_only || node_balance(node))
        return 0;
    touch(node, offset, bytes);
    track_begin(&from->requests, &source, from_offset, from_offset + bytes, false);
    track_clusters(node, &track, offset, bytes, true);
    for (int ret = 0; !ret && done < bytes; done += ret ? 0 : part) {
        Extent e;
        ret = node_resolve(from, from_offset + done, bytes - done, 0, &e);
        if (!ret)
            ret = e.kind == EXTENT_DATA ? copy_extent(node, offset + done, &e, &part) : -ENOTSUP;
    }
    track_end(&node->requests, &track);
    track_end(&from->requests, &source);
    return done;
}

/* ---- Zeros and discard ---- */

/* Writes zeros as data; the range is held exclusively. */
static int write_zero_data(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    struct iovec iov[16];
    for (int i = 0; i < 16; i++)
        iov[i] = (struct iovec){(void *)(uintptr_t)block_zeros, ZEROS_BYTES};
    int ret = 0;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, sizeof(iov) / sizeof(iov[0]) * ZEROS_BYTES);
        ret = write_range_exclusive(node, offset, (IoBuf){iov, 16, 0}, n);
        offset += n;
        bytes -= n;
    }
    return ret;
}

/* The same, but only where there are no zeros yet. */
static int write_zero_where_needed(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    int ret = 0;
    while (bytes && !ret) {
        Extent e;
        ret = node_resolve(node, offset, bytes, 0, &e);
        if (ret)
            break;
        if (e.kind != EXTENT_ZERO)
            ret = write_zero_data(node, offset, e.bytes);
        offset += e.bytes;
        bytes -= e.bytes;
    }
    return ret;
}

/* Part of a unit. */
static int zero_part(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    Track track;
    if (!bytes)
        return 0;
    track_clusters(node, &track, offset, bytes, true);
    int ret = write_zero_where_needed(node, offset, bytes);
    track_end(&node->requests, &track);
    return ret;
}

static int zero_units(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    Track track;
    track_clusters(node, &track, offset, bytes, true);
    int ret = node->fmt->zero ? node->fmt->zero(node, offset, bytes, flags) : -ENOTSUP;
    if (ret == -ENOTSUP)
        ret = write_zero_where_needed(node, offset, bytes);
    track_end(&node->requests, &track);
    return ret;
}

/* The whole units in a range; the image's last one counts as whole if the range reaches the end. */
static void whole_units(const BlkNode *node, uint64_t offset, uint64_t bytes, uint64_t unit,
                        uint64_t *start, uint64_t *end)
{
    *start = align_up(offset, unit);
    *end = offset + bytes == node->size ? node->size : align_down(offset + bytes, unit);
}

int node_write_zeroes(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    uint64_t start, end;
    int ret = node_balance(node);
    if (ret)
        return ret;
    touch(node, offset, bytes);
    whole_units(node, offset, bytes, node_zero_unit(node), &start, &end);
    if (start >= end)
        return zero_part(node, offset, bytes);
    ret = zero_part(node, offset, start - offset);
    if (!ret)
        ret = zero_units(node, start, end - start, flags);
    if (!ret)
        ret = zero_part(node, end, offset + bytes - end);
    return ret;
}

int node_zero_held(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    uint64_t start, end;
    whole_units(node, offset, bytes, node_zero_unit(node), &start, &end);
    if (start >= end)
        return write_zero_where_needed(node, offset, bytes);
    int ret = write_zero_where_needed(node, offset, start - offset);
    if (!ret)
        ret = node->fmt->zero ? node->fmt->zero(node, start, end - start, 0) : -ENOTSUP;
    if (ret == -ENOTSUP)
        ret = write_zero_where_needed(node, start, end - start);
    return ret ? ret : write_zero_where_needed(node, end, offset + bytes - end);
}

int node_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    uint64_t start, end;
    int ret = node_balance(node);
    if (ret)
        return ret;
    whole_units(node, offset, bytes, flags & DISCARD_FULLY ? node->cluster : node_zero_unit(node),
                &start, &end);
    if (!node->fmt->discard || start >= end)
        return 0;
    Track track;
    touch(node, start, end - start);
    track_clusters(node, &track, start, end - start, true);
    ret = node->fmt->discard(node, start, end - start, flags);
    track_end(&node->requests, &track);
    return ret == -ENOTSUP && !(flags & DISCARD_FULLY) ? 0 : ret;
}

int node_flush(BlkNode *node)
{
    if (node->readonly)
        return 0;
    file_event(node->file, EVENT_FLUSH_TO_OS);
    return node->fmt->flush ? node->fmt->flush(node) : file_flush(node->file);
}

/* ---- Storing compressed ---- */

typedef struct Compression {
    const BlkNode *node;
    const void *in;
    void *out;
} Compression;

static int compression_run(void *opaque)
{
    Compression *c = opaque;
    return c->node->fmt->compress(c->node, c->in, c->out);
}

void *node_alloc_packed(const BlkNode *node)
{
    return block_alloc(MAX(node->cluster, node->packed_max));
}

int node_compress(BlkNode *node, const void *data, void *out)
{
    Compression c = {.node = node, .in = data, .out = out};
    return node->fmt->compress ? co_pool(compression_run, &c) : -ENOTSUP;
}

int node_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes)
{
    Track track;
    if (!node->fmt->write_compressed)
        return -ENOTSUP;
    if ((offset & (node->cluster - 1)) || offset >= node->size ||
        in_bytes > (node->packed_max ? node->packed_max : node->cluster - 1))
        return -EINVAL;
    int ret = node_balance(node);
    if (ret)
        return ret;
    touch(node, offset, MIN(node->cluster, node->size - offset));
    track_clusters(node, &track, offset, node->cluster, true);
    file_event(node->file, EVENT_WRITE_COMPRESSED);
    ret = node->fmt->write_compressed(node, offset, in, in_bytes);
    track_end(&node->requests, &track);
    return ret;
}
