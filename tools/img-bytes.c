/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images know sectors; people may name any byte. */
#include "img-bytes.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"

static bool is_aligned(uint64_t offset, uint64_t bytes)
{
    return !((offset | bytes) & 511);
}

int bytes_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (is_aligned(offset, bytes)) {
        int ret = node_read_nowait(node, offset, buf, bytes);
        return ret == -EAGAIN ? node_read(node, offset, buf, bytes) : ret;
    }
    uint64_t start = align_down(offset, 512), end = align_up(offset + bytes, 512);
    uint8_t *data = block_alloc(end - start);
    if (!data)
        return -ENOMEM;
    struct iovec iov = {data, end - start};
    int ret = node_read(node, start, (IoBuf){&iov, 1, 0}, end - start);
    if (!ret)
        iobuf_copy_out(buf, data + (offset - start), bytes);
    free(data);
    return ret;
}

int bytes_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (is_aligned(offset, bytes)) {
        int ret = node_write_nowait(node, offset, buf, bytes);
        return ret == -EAGAIN ? node_write(node, offset, buf, bytes) : ret;
    }
    uint64_t start = align_down(offset, 512), end = align_up(offset + bytes, 512);
    uint8_t *data = block_alloc(end - start);
    if (!data)
        return -ENOMEM;
    struct iovec iov = {data, end - start};
    int ret = node_read(node, start, (IoBuf){&iov, 1, 0}, end - start);
    iobuf_copy_in(buf, data + (offset - start), bytes);
    if (!ret)
        ret = node_write(node, start, (IoBuf){&iov, 1, 0}, end - start);
    free(data);
    return ret;
}

int bytes_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    uint64_t start = align_up(offset, 512), end = align_down(offset + bytes, 512);
    struct iovec zeros = {(void *)(uintptr_t)block_zeros, ZEROS_BYTES};
    IoBuf buf = {&zeros, 1, 0};
    if (start >= end)
        return bytes ? bytes_write(node, offset, buf, MIN(bytes, 1023)) : 0;
    int ret = start > offset ? bytes_write(node, offset, buf, start - offset) : 0;
    if (!ret)
        ret = node_write_zeroes(node, start, end - start, flags);
    if (!ret && offset + bytes > end)
        ret = bytes_write(node, end, buf, offset + bytes - end);
    return ret;
}
