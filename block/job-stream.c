/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream: what an image takes from its backing files is copied into it, and then it does without
 * them.  A range is held exclusively while it is copied; the guest sees the same before and after,
 * so that nothing has to be copied twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "blk-job.h"
#include "util/bytes.h"
#include "util/error.h"

typedef struct StreamCall {
    BlkNode *root, *base; /* base: NULL, or the first that stays below */
    uint64_t offset, bytes;
    GError **error;
} StreamCall;

static bool is_below(const BlkNode *node, const BlkNode *base)
{
    for (; base; base = base->backing)
        if (base == node)
            return true;
    return false;
}

/* Whether what the extent tells is to be copied: it comes from between root and base.  Zeros that
 * nobody below contradicts need no copy. */
static bool wants_copy(const StreamCall *c, const Extent *e)
{
    if (e->node == c->root || is_below(e->node, c->base))
        return false;
    return e->kind != EXTENT_ZERO || c->base;
}

static int copy_extent(const StreamCall *c, uint64_t offset, uint64_t bytes, void *memory)
{
    int ret = 0;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, JOB_STEP);
        struct iovec iov = {memory, n};
        IoBuf buf = {&iov, 1, 0};
        ret = node_read_held(c->root, offset, buf, n);
        if (!ret)
            ret = node_write_held(c->root, offset, buf, n);
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int stream_in_back(void *opaque)
{
    StreamCall *c = opaque;
    BlkNode *root = c->root;
    uint64_t offset = c->offset, end = offset + c->bytes;
    void *memory = block_alloc(JOB_STEP);
    Track track;
    int ret = memory ? node_balance(root) : -ENOMEM;
    track_begin(&root->requests, &track, align_down(offset, root->cluster),
                align_up(end, root->cluster), true);
    while (offset < end && !ret) {
        Extent e;
        ret = node_resolve(root, offset, end - offset, 0, &e);
        if (ret)
            break;
        if (wants_copy(c, &e))
            ret = copy_extent(c, offset, e.bytes, memory);
        offset += e.bytes;
    }
    track_end(&root->requests, &track);
    free(memory);
    return ret;
}

static int rename_in_back(void *opaque)
{
    StreamCall *c = opaque;
    g_autofree char *path = c->base ? node_backing_name(c->base) : NULL;
    const char *format = c->base ? c->base->fmt->name : NULL;
    return node_change_backing(c->root, path, format, c->error) ? 0 : -EINVAL;
}

/* With requests held: the image does without those that were between it and the base. */
static bool drop_backing(BlkJob *job, StreamCall *c)
{
    BlkNode *first = c->root->backing, *last = first;
    if (first == c->base)
        return true;
    if (blk_in_back(job->blk, rename_in_back, c))
        return false;
    while (last->backing != c->base)
        last = last->backing;
    last->backing = NULL;
    c->root->backing = c->base;
    blk_abandon(job->blk, first);
    return true;
}

static bool run_stream(BlkJob *job, GError **error)
{
    Blk *blk = job->blk;
    StreamCall call = {.root = blk->root, .base = job->target, .error = error};
    job->total = blk->root->size;
    while (call.offset < call.root->size) {
        call.bytes = MIN(call.root->size - call.offset, JOB_STEP);
        int ret = blk_in_back(blk, stream_in_back, &call);
        if (ret)
            return fail_errno(error, -ret, "cannot copy into '%s'", call.root->name);
        if (!job_breathe(job, call.bytes))
            return false;
        call.offset += call.bytes;
    }
    blk_hold(blk);
    bool ok = drop_backing(job, &call);
    blk_release(blk);
    return ok;
}

static const BlkJobType stream_job = {"stream", "block_stream", false, run_stream};

/* The backing file of that name, as the image says it or as it was opened. */
static BlkNode *find_base(BlkNode *root, const char *base, GError **error)
{
    for (BlkNode *node = root; node->backing; node = node->backing)
        if (!strcmp(node->backing->name, base) || !g_strcmp0(node->backing_name, base))
            return node->backing;
    fail(error, "'%s' has no backing file '%s'", root->name, base);
    return NULL;
}

bool blk_job_stream(Blk *blk, const char *base, uint64_t speed, BlkOpDone *done, void *opaque,
                    GError **error)
{
    if (!blk_is_free(blk, error))
        return false;
    BlkNode *root = blk->root, *keep = NULL;
    if (!root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk_readonly(blk))
        return fail(error, "drive '%s' is read-only", blk->id);
    if (root->temporary)
        return fail(error,
                    "drive '%s' writes to a temporary file (snapshot=on), which goes in the "
                    "end",
                    blk->id);
    if (!root->backing)
        return fail(error, "'%s' has no backing file", root->name);
    if (!root->fmt->change_backing)
        return fail(error, "format '%s' cannot give up its backing file", root->fmt->name);
    if (base && !(keep = find_base(root, base, error)))
        return false;
    return job_start(blk, &stream_job, (BlkJob){.speed = speed, .target = keep}, done, opaque,
                     error);
}
