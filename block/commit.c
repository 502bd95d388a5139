/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Committing an overlay: what it holds is written into its backing file and flushed; only then the
 * overlay forgets it, so that a power cut at any point leaves the guest's data in one of the two.
 */
#include <errno.h>
#include <stdlib.h>

#include "blk.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define COPY_BYTES (2u << 20)

static int copy_data(BlkNode *from, BlkNode *to, uint64_t offset, uint64_t bytes, void *memory)
{
    int ret = 0;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, COPY_BYTES);
        struct iovec iov = {memory, n};
        IoBuf buf = {&iov, 1, 0};
        ret = node_read(from, offset, buf, n);
        if (!ret && iobuf_is_zero(buf, n))
            ret = node_write_zeroes(to, offset, n, ZERO_MAY_UNMAP);
        else if (!ret)
            ret = node_write(to, offset, buf, n);
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int copy_extents(BlkNode *overlay, BlkNode *base)
{
    int ret = 0;
    void *memory = block_alloc(COPY_BYTES);
    if (!memory)
        return -ENOMEM;
    for (uint64_t offset = 0; offset < overlay->size && !ret;) {
        Extent e;
        ret = overlay->fmt->map(overlay, offset, overlay->size - offset, 0, &e);
        if (ret)
            break;
        if (e.kind == EXTENT_ZERO)
            ret = node_write_zeroes(base, offset, e.bytes, ZERO_MAY_UNMAP);
        else if (e.kind != EXTENT_UNALLOCATED)
            ret = copy_data(overlay, base, offset, e.bytes, memory);
        offset += e.bytes;
    }
    free(memory);
    return ret;
}

/* A base that is too small grows. */
static bool fit_base(const BlkNode *overlay, BlkNode *base, GError **error)
{
    return base->size >= overlay->size || node_resize(base, overlay->size, PREALLOC_OFF, error);
}

static bool copy_and_empty(BlkNode *overlay, BlkNode *base, GError **error)
{
    if (!fit_base(overlay, base, error))
        return false;
    int ret = copy_extents(overlay, base);
    if (!ret)
        ret = node_flush(base);
    if (ret)
        return fail_errno(error, -ret, "cannot commit to '%s'; '%s' still has everything",
                          base->name, overlay->name);
    ret = node_discard(overlay, 0, overlay->size, DISCARD_FULLY);
    if (!ret)
        ret = node_flush(overlay);
    return !ret || fail_errno(error, -ret, "all was committed to '%s', but '%s' cannot be emptied",
                              base->name, overlay->name);
}

/* Opens the backing file again in the other way, without its lock: the old node still has it. */
static BlkNode *open_again(BlkNode *old, bool writable, GError **error)
{
    NodeMode mode = old->mode;
    mode.file.writable = writable;
    mode.file.share = true;
    mode.discard = writable;
    return node_open(old->sched, old->name, old->probed ? NULL : old->fmt->name, &mode, error);
}

/* Replaces overlay's backing by node, locked as it should be.  The old one's locks go first. */
static bool swap_backing(BlkNode *overlay, BlkNode *node, GError **error)
{
    BlkNode *old = overlay->backing;
    bool writable = !node->readonly;
    if (!host_file_relock(old->file, false, true, error))
        return false;
    for (BlkNode *n = node; n; n = n->backing) {
        if (host_file_relock(n->file, n == node && writable, false, error))
            continue;
        return host_file_relock(old->file, !old->readonly, false, NULL) && false;
    }
    overlay->backing = node;
    node_abandon(old);
    return true;
}

bool node_commit(BlkNode *overlay, GError **error)
{
    BlkNode *base = open_again(overlay->backing, true, error);
    if (!base)
        return false;
    if (!swap_backing(overlay, base, error)) {
        node_abandon(base);
        return false;
    }
    bool ok = copy_and_empty(overlay, base, error);
    /* The base stays writable if that fails: it serves as well. */
    GError *why = NULL;
    BlkNode *reader = node_flush(base) ? NULL : open_again(base, false, &why);
    if (reader && !swap_backing(overlay, reader, &why))
        node_abandon(reader);
    if (why)
        report_warn("%s", why->message);
    g_clear_error(&why);
    return ok;
}
