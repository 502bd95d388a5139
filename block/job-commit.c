/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commit: what an overlay holds is written into its backing file and flushed; only then the overlay
 * forgets it, so that a power cut at any point leaves the guest's data in one of the two.
 *
 * The guest goes on meanwhile.  What it writes is marked and copied again; when little is left, its
 * requests wait while the rest is copied and the overlay emptied.  A range that is being copied is
 * held exclusively, aligned to the largest cluster there is, so that nobody reads through the
 * overlay what is moving in the backing file.
 */
#include <errno.h>
#include <stdlib.h>

#include "blk-job.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define FEW_CHUNKS 16         /* so many are copied while the guest waits */
#define MAX_PASSES 16         /* a guest that writes faster than we copy has to wait in the end */
#define HOLD_BYTES (2u << 20) /* the largest cluster */

typedef struct CopyCall {
    BlkNode *overlay;
    uint64_t offset, bytes;
} CopyCall;

static int copy_data(BlkNode *from, BlkNode *to, uint64_t offset, uint64_t bytes, void *memory)
{
    int ret = 0;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, JOB_STEP);
        struct iovec iov = {memory, n};
        IoBuf buf = {&iov, 1, 0};
        ret = node_read_held(from, offset, buf, n);
        if (!ret && iobuf_is_zero(buf, n))
            ret = node_write_zeroes(to, offset, n, ZERO_MAY_UNMAP);
        else if (!ret)
            ret = node_write(to, offset, buf, n);
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int copy_extents(BlkNode *overlay, uint64_t offset, uint64_t end, void *memory)
{
    BlkNode *base = overlay->backing;
    int ret = 0;
    while (offset < end && !ret) {
        Extent e;
        ret = overlay->fmt->map(overlay, offset, end - offset, 0, &e);
        if (ret)
            break;
        if (e.kind == EXTENT_ZERO)
            ret = node_write_zeroes(base, offset, e.bytes, ZERO_MAY_UNMAP);
        else if (e.kind != EXTENT_UNALLOCATED)
            ret = copy_data(overlay, base, offset, e.bytes, memory);
        offset += e.bytes;
    }
    return ret;
}

static int copy_in_back(void *opaque)
{
    CopyCall *c = opaque;
    BlkNode *overlay = c->overlay;
    uint64_t end = c->offset + c->bytes;
    void *memory = block_alloc(JOB_STEP);
    Track track;
    if (!memory)
        return -ENOMEM;
    track_begin(&overlay->requests, &track, align_down(c->offset, HOLD_BYTES),
                align_up(end, HOLD_BYTES), true);
    int ret = copy_extents(overlay, c->offset, end, memory);
    track_end(&overlay->requests, &track);
    free(memory);
    return ret;
}

/* One pass over the marked chunks; breathe: the guest goes on, and the job may be cancelled. */
static int copy_pass(BlkJob *job, Chunks *todo, bool breathe)
{
    Blk *blk = job->blk;
    CopyCall call = {.overlay = blk->root};
    uint64_t chunk = 0;
    while (job_next_range(todo, blk->root->size, &chunk, &call.offset, &call.bytes)) {
        int ret = blk_in_back(blk, copy_in_back, &call);
        if (ret)
            return ret;
        job->total = job->offset + call.bytes + (todo->set << CHUNK_BITS);
        if (breathe && !job_breathe(job, call.bytes))
            return -ECANCELED;
        if (!breathe)
            job->offset += call.bytes;
    }
    return 0;
}

/* ---- Beginning and end ---- */

typedef struct BaseCall {
    BlkNode *overlay, *node; /* node: opened anew */
    GError **error;
} BaseCall;

/* The base grows if it can. */
static bool fit_base(const BlkNode *overlay, BlkNode *base, GError **error)
{
    if (base->size >= overlay->size)
        return true;
    if (!base->fmt->resize)
        return fail(error, "backing file '%s' is smaller than '%s', and its format cannot grow",
                    base->name, overlay->name);
    return node_resize(base, overlay->size, PREALLOC_OFF, error);
}

static int open_base(void *opaque)
{
    BaseCall *c = opaque;
    c->node = node_reopen(c->overlay->backing, true, c->error);
    return c->node ? 0 : -EINVAL;
}

static int close_base(void *opaque)
{
    const BaseCall *c = opaque;
    return node_set_readonly(c->overlay->backing);
}

/* Requests are held. */
static void replace_base(Blk *blk, BlkNode *overlay, BlkNode *node)
{
    BlkNode *old = overlay->backing;
    overlay->backing = node;
    blk_abandon(blk, old);
}

static int prepare_base(void *opaque)
{
    BaseCall *c = opaque;
    int ret = node_begin_commit(c->overlay, c->overlay->backing);
    if (!ret)
        return fit_base(c->overlay, c->overlay->backing, c->error) ? 0 : -EINVAL;
    fail_errno(c->error, -ret, "cannot commit '%s'", c->overlay->name);
    return ret;
}

static int flush_base(void *opaque)
{
    BaseCall *c = opaque;
    return node_flush(c->overlay->backing);
}

static int empty_overlay(void *opaque)
{
    BaseCall *c = opaque;
    if (node_make_empty(c->overlay, c->error))
        return 0;
    fail_prefix(c->error, "all was committed to '%s'", c->overlay->backing->name);
    return -EIO;
}

/* Requests are held: nothing is added any more. */
static bool finish(BlkJob *job, Chunks *todo, GError **error)
{
    Blk *blk = job->blk;
    BlkNode *overlay = blk->root;
    BaseCall call = {.overlay = overlay, .error = error};
    int ret = copy_pass(job, todo, false);
    if (!ret)
        ret = blk_in_back(blk, flush_base, &call);
    if (ret)
        return fail_errno(error, -ret, "cannot commit to '%s'; '%s' still has everything",
                          overlay->backing->name, overlay->name);
    return !blk_in_back(blk, empty_overlay, &call);
}

static bool copy_all(BlkJob *job, Chunks *todo, GError **error)
{
    Blk *blk = job->blk;
    int ret = job_mark_allocated(job, todo);
    for (unsigned pass = 0; !ret && pass < MAX_PASSES && todo->set > FEW_CHUNKS; pass++)
        ret = copy_pass(job, todo, true);
    if (ret == -ECANCELED)
        return false;
    if (ret)
        return fail_errno(error, -ret, "cannot commit to '%s'; '%s' still has everything",
                          blk->root->backing->name, blk->root->name);
    blk_hold(blk);
    bool ok = finish(job, todo, error);
    blk_release(blk);
    return ok;
}

/* With requests held: the base becomes writable, and what the guest writes is marked. */
static bool begin(BlkJob *job, Chunks *todo, GError **error)
{
    Blk *blk = job->blk;
    BaseCall call = {.overlay = blk->root, .error = error};
    if (blk->root->backing->readonly) {
        if (blk_in_back(blk, open_base, &call))
            return false;
        replace_base(blk, blk->root, call.node);
    }
    blk->dirty = todo;
    return !blk_in_back(blk, prepare_base, &call);
}

/* The base is for reading again; it stays writable if that fails: it serves as well, and the next
 * commit takes it as it is. */
static void end(BlkJob *job)
{
    Blk *blk = job->blk;
    BaseCall call = {.overlay = blk->root};
    blk->dirty = NULL;
    if (blk->root->backing->readonly)
        return;
    blk_hold(blk);
    int ret = blk_in_back(blk, close_base, &call);
    if (ret)
        report_warn("'%s' cannot be closed for writing: %s", blk->root->backing->name,
                    g_strerror(-ret));
    blk_release(blk);
}

static bool run_commit(BlkJob *job, GError **error)
{
    Blk *blk = job->blk;
    Chunks *todo = chunks_new(blk->root->size);
    if (!todo)
        return fail_errno(error, ENOMEM, "commit");
    blk_hold(blk);
    bool ok = begin(job, todo, error);
    blk_release(blk);
    if (ok)
        ok = copy_all(job, todo, error);
    end(job);
    free(todo);
    return ok;
}

static const BlkJobType commit_job = {"commit", "commit", false, run_commit};

bool blk_job_commit(Blk *blk, uint64_t speed, BlkOpDone *done, void *opaque, GError **error)
{
    if (!blk_is_free(blk, error))
        return false;
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk->root->readonly)
        return fail(error, "drive '%s' is read-only: there is nothing to commit", blk->id);
    if (!blk->root->backing)
        return fail(error, "'%s' has no backing file to commit to", blk->root->name);
    return job_start(blk, &commit_job, (BlkJob){.speed = speed}, done, opaque, error);
}

bool blk_commit(Blk *blk, GError **error)
{
    BlkOpWait wait = {0};
    return blk_job_commit(blk, 0, blk_op_done, &wait, error) && blk_op_wait(blk, &wait, error);
}
