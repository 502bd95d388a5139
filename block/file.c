/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte stores, the part that all kinds share: scatter lists, alignment for O_DIRECT, the order
 * among overlapping requests, and what to do where an operation is missing.
 */
#include "block/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/log.h"

#define MEMORY_ALIGN 4096u
#define BOUNCE_BYTES (1u << 20) /* the most that one bounce buffer takes */

const uint8_t block_zeros[ZEROS_BYTES] __attribute__((aligned(4096)));

/* ---- Scatter lists ---- */

int iobuf_pieces(IoBuf buf, uint64_t bytes, struct iovec *dst, int max, uint64_t *total)
{
    int count = 0;
    *total = 0;
    for (int i = 0; i < buf.count && *total < bytes && count < max; i++) {
        if (buf.skip >= buf.iov[i].iov_len) {
            buf.skip -= buf.iov[i].iov_len;
            continue;
        }
        uint64_t length = MIN(buf.iov[i].iov_len - buf.skip, bytes - *total);
        dst[count++] = (struct iovec){(char *)buf.iov[i].iov_base + buf.skip, length};
        *total += length;
        buf.skip = 0;
    }
    return count;
}

/* Calls fn on each contiguous piece, until it returns false. */
static bool iobuf_each(IoBuf buf, uint64_t bytes, bool (*fn)(void *piece, size_t n, void *opaque),
                       void *opaque)
{
    for (int i = 0; i < buf.count && bytes; i++) {
        if (buf.skip >= buf.iov[i].iov_len) {
            buf.skip -= buf.iov[i].iov_len;
            continue;
        }
        uint64_t length = MIN(buf.iov[i].iov_len - buf.skip, bytes);
        if (!fn((char *)buf.iov[i].iov_base + buf.skip, length, opaque))
            return false;
        bytes -= length;
        buf.skip = 0;
    }
    return true;
}

static bool piece_from(void *piece, size_t n, void *opaque)
{
    const uint8_t **from = opaque;
    memcpy(piece, *from, n);
    *from += n;
    return true;
}

static bool piece_to(void *piece, size_t n, void *opaque)
{
    uint8_t **to = opaque;
    memcpy(*to, piece, n);
    *to += n;
    return true;
}

static bool piece_zero(void *piece, size_t n, void *opaque)
{
    memset(piece, 0, n);
    return true;
}

static bool piece_is_zero(void *piece, size_t n, void *opaque)
{
    return buffer_is_zero(piece, n);
}

static bool piece_is_aligned(void *piece, size_t n, void *opaque)
{
    unsigned align = *(unsigned *)opaque;
    return !(((uintptr_t)piece | n) & (align - 1));
}

void iobuf_copy_out(IoBuf buf, const void *from, uint64_t bytes)
{
    iobuf_each(buf, bytes, piece_from, &from);
}

void iobuf_copy_in(IoBuf buf, void *to, uint64_t bytes)
{
    iobuf_each(buf, bytes, piece_to, &to);
}

void iobuf_zero(IoBuf buf, uint64_t bytes)
{
    iobuf_each(buf, bytes, piece_zero, NULL);
}

bool iobuf_is_zero(IoBuf buf, uint64_t bytes)
{
    return iobuf_each(buf, bytes, piece_is_zero, NULL);
}

static BlockAllocHook *alloc_hook;

void block_set_alloc_hook(BlockAllocHook *hook)
{
    alloc_hook = hook;
}

static bool may_alloc(size_t bytes)
{
    return !alloc_hook || alloc_hook(bytes);
}

void *block_try_malloc(size_t bytes)
{
    return may_alloc(bytes) ? g_try_malloc(bytes) : NULL;
}

void *block_try_malloc0(size_t bytes)
{
    return may_alloc(bytes) ? g_try_malloc0(bytes) : NULL;
}

void *block_try_realloc(void *memory, size_t bytes)
{
    return may_alloc(bytes) ? g_try_realloc(memory, bytes) : NULL;
}

void *block_alloc(size_t bytes)
{
    void *memory;
    if (!may_alloc(bytes))
        return NULL;
    if (posix_memalign(&memory, MEMORY_ALIGN, MAX(bytes, 1)))
        return NULL;
    return memory;
}

/* ---- Order among overlapping requests ---- */

/* The list is by age, the newest first: whoever came before in conflict, whether it runs or waits
 * itself, goes first.  So nobody is overtaken for ever. */
static Track *find_conflict(Track *from, uint64_t start, uint64_t end, bool exclusive)
{
    for (Track *t = from; t; t = t->next)
        if (t->start < end && start < t->end && (exclusive || t->exclusive))
            return t;
    return NULL;
}

bool track_busy(const Tracker *tracker, uint64_t start, uint64_t end, bool exclusive)
{
    return find_conflict(tracker->first, start, end, exclusive);
}

void track_begin(Tracker *tracker, Track *t, uint64_t start, uint64_t end, bool exclusive)
{
    Track *other;
    *t = (Track){.start = start, .end = end, .exclusive = exclusive, .next = tracker->first};
    if (t->next)
        t->next->prev = t;
    tracker->first = t;
    while ((other = find_conflict(t->next, start, end, exclusive)))
        co_queue_wait(&other->waiting);
}

void track_end(Tracker *tracker, Track *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        tracker->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    co_queue_wake_all(&t->waiting);
}

/* ---- Alignment ---- */

static bool is_aligned(const BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    unsigned align = file->align;
    return align == 1 ||
           (!((offset | bytes) & (align - 1)) && iobuf_each(buf, bytes, piece_is_aligned, &align));
}

static int bounce_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = 0;
    size_t capacity = MIN(align_up(bytes, file->align) + file->align, BOUNCE_BYTES);
    uint8_t *bounce = block_alloc(capacity);
    if (!bounce)
        return -ENOMEM;
    while (bytes && !ret) {
        uint64_t start = align_down(offset, file->align);
        uint64_t n = MIN(bytes, capacity - (offset - start));
        uint64_t length = align_up(offset + n, file->align) - start;
        struct iovec iov = {bounce, length};
        ret = file->ops->read(file, start, (IoBuf){&iov, 1, 0}, length);
        if (!ret)
            iobuf_copy_out(buf, bounce + (offset - start), n);
        buf.skip += n;
        offset += n;
        bytes -= n;
    }
    free(bounce);
    return ret;
}

static int bounce_write_piece(BlkFile *file, uint8_t *bounce, uint64_t offset, IoBuf buf,
                              uint64_t bytes)
{
    uint64_t start = align_down(offset, file->align);
    uint64_t length = align_up(offset + bytes, file->align) - start;
    struct iovec iov = {bounce, length};
    IoBuf whole = {&iov, 1, 0};
    bool partial = start != offset || length != bytes;
    Track track;
    track_begin(&file->writing, &track, start, start + length, partial);
    int ret = partial ? file->ops->read(file, start, whole, length) : 0;
    if (!ret) {
        iobuf_copy_in(buf, bounce + (offset - start), bytes);
        ret = file->ops->write(file, start, whole, length);
    }
    track_end(&file->writing, &track);
    return ret;
}

static int bounce_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = 0;
    size_t capacity = MIN(align_up(bytes, file->align) + file->align, BOUNCE_BYTES);
    uint8_t *bounce = block_alloc(capacity);
    if (!bounce)
        return -ENOMEM;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, capacity - (offset & (file->align - 1)));
        ret = bounce_write_piece(file, bounce, offset, buf, n);
        buf.skip += n;
        offset += n;
        bytes -= n;
    }
    free(bounce);
    return ret;
}

/* ---- What formats call ---- */

/* Offsets come from images: their sum must not wrap, nor reach what the kernel calls negative. */
static bool range_ok(uint64_t offset, uint64_t bytes)
{
    return bytes <= INT64_MAX && offset <= INT64_MAX - bytes;
}

/* What a write to the range would fail with, whatever becomes of it. */
static int may_write(const BlkFile *file, uint64_t offset, uint64_t bytes)
{
    if (!range_ok(offset, bytes))
        return -EFBIG;
    if (file->readonly)
        return -EROFS;
    return file->fixed && bytes && offset + bytes > file->size ? -ENOSPC : 0;
}

/* What is asked of the files that lie at the bottom, a line each. */
static void trace(const BlkFile *file, const char *what, uint64_t offset, uint64_t bytes)
{
    if (!file->below)
        log_printf(LOG_BLOCK, "%s: %s %" PRIu64 "+%" PRIu64, file->name, what, offset, bytes);
}

int file_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    trace(file, "read", offset, bytes);
    if (!range_ok(offset, bytes))
        return -EINVAL;
    if (!bytes)
        return 0;
    if (is_aligned(file, offset, buf, bytes))
        return file->ops->read(file, offset, buf, bytes);
    return bounce_read(file, offset, buf, bytes);
}

static int write_aligned(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (file->align == 1)
        return file->ops->write(file, offset, buf, bytes);
    if (!is_aligned(file, offset, buf, bytes))
        return bounce_write(file, offset, buf, bytes);
    Track track;
    track_begin(&file->writing, &track, offset, offset + bytes, false);
    int ret = file->ops->write(file, offset, buf, bytes);
    track_end(&file->writing, &track);
    return ret;
}

int file_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = may_write(file, offset, bytes);
    if (ret || !bytes)
        return ret;
    trace(file, "write", offset, bytes);
    file->size = MAX(file->size, offset + bytes);
    file_event(file, EVENT_PWRITEV);
    ret = write_aligned(file, offset, buf, bytes);
    if (!ret)
        file_event(file, EVENT_PWRITEV_DONE);
    return ret;
}

int file_read_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (!file->ops->read_nowait || file->align > 1 || !range_ok(offset, bytes))
        return -EAGAIN;
    int ret = file->ops->read_nowait(file, offset, buf, bytes);
    if (!ret)
        trace(file, "read", offset, bytes);
    return ret;
}

int file_write_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (!file->ops->write_nowait || file->align > 1 || may_write(file, offset, bytes))
        return -EAGAIN;
    int ret = file->ops->write_nowait(file, offset, buf, bytes);
    if (!ret)
        trace(file, "write", offset, bytes);
    if (!ret)
        file->size = MAX(file->size, offset + bytes);
    return ret;
}

int file_pread(BlkFile *file, uint64_t offset, void *data, uint64_t bytes)
{
    struct iovec iov = {data, bytes};
    IoBuf buf = {&iov, 1, 0};
    int ret = file_read_nowait(file, offset, buf, bytes);
    return ret == -EAGAIN ? file_read(file, offset, buf, bytes) : ret;
}

int file_pwrite(BlkFile *file, uint64_t offset, const void *data, uint64_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    return file_write(file, offset, (IoBuf){&iov, 1, 0}, bytes);
}

int file_flush(BlkFile *file)
{
    if (file->readonly)
        return 0;
    trace(file, "flush", 0, 0);
    file_event(file, EVENT_FLUSH_TO_DISK);
    return file->ops->flush(file);
}

static int write_zeros(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    while (bytes) {
        struct iovec iov[16];
        uint64_t n = 0;
        int count = 0;
        while (count < 16 && n < bytes) {
            uint64_t piece = MIN(bytes - n, ZEROS_BYTES);
            iov[count++] = (struct iovec){(void *)(uintptr_t)block_zeros, piece};
            n += piece;
        }
        int ret = file_write(file, offset, (IoBuf){iov, count, 0}, n);
        if (ret)
            return ret;
        offset += n;
        bytes -= n;
    }
    return 0;
}

int file_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap)
{
    int ret = may_write(file, offset, bytes);
    if (ret || !bytes)
        return ret;
    trace(file, unmap ? "discard" : "zero", offset, bytes);
    if (file->ops->zero && !((offset | bytes) & (file->align - 1))) {
        file_event(file, EVENT_PWRITEV_ZERO);
        Track track;
        track_begin(&file->writing, &track, offset, offset + bytes, false);
        ret = file->ops->zero(file, offset, bytes, unmap);
        track_end(&file->writing, &track);
        if (!ret)
            file->size = MAX(file->size, offset + bytes);
        if (ret != -ENOTSUP)
            return ret;
    }
    return write_zeros(file, offset, bytes);
}

int file_discard(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    if (file->readonly || !range_ok(offset, bytes) || !file->ops->zero)
        return 0;
    uint64_t end = MIN(align_down(offset + bytes, file->align), file->size);
    offset = align_up(offset, file->align);
    if (offset >= end)
        return 0;
    int ret = file->ops->zero(file, offset, end - offset, true);
    return ret == -ENOTSUP ? 0 : ret;
}

int file_truncate(BlkFile *file, uint64_t size)
{
    if (file->readonly)
        return -EROFS;
    int ret = file->ops->truncate(file, size);
    if (!ret)
        file->size = size;
    return ret;
}

int file_extent(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data)
{
    if (offset >= file->size) {
        *data = false;
        return 0;
    }
    *bytes = MIN(*bytes, file->size - offset);
    *data = true;
    return file->ops->extent ? file->ops->extent(file, offset, bytes, data) : 0;
}

int file_reserve(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    if (file->readonly)
        return -EROFS;
    int ret = file->ops->reserve ? file->ops->reserve(file, offset, bytes) : -ENOTSUP;
    if (!ret)
        file->size = MAX(file->size, offset + bytes);
    return ret;
}

int file_copy_from(BlkFile *file, uint64_t offset, BlkFile *from, uint64_t from_offset,
                   uint64_t bytes)
{
    int ret = range_ok(from_offset, bytes) ? may_write(file, offset, bytes) : -EFBIG;
    if (ret)
        return ret;
    if (!file->ops->copy_from || file->align > 1 || from->align > 1)
        return -ENOTSUP;
    file->size = MAX(file->size, offset + bytes);
    file_event(file, EVENT_PWRITEV);
    ret = file->ops->copy_from(file, offset, from, from_offset, bytes);
    if (!ret)
        file_event(file, EVENT_PWRITEV_DONE);
    return ret;
}

void file_close(BlkFile *file)
{
    if (file)
        file->ops->close(file);
}
