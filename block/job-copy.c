/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mirror and backup: copies of a disk in use.
 *
 * mirror copies what is marked, and the guest's writes mark; it may go on for ever.  backup copies
 * the disk as it was when it began: a write of the guest waits until what it overwrites is copied.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "blk-job.h"
#include "util/bytes.h"
#include "util/error.h"

#define FEW_CHUNKS 16               /* so many are copied while the guest waits */
#define IDLE_NS    (50 * NS_PER_MS) /* between two looks of a mirror that has nothing to do */

/* ---- The target ---- */

typedef struct TargetCall {
    BlkJob *job;
    BlkNode *root;
    GError **error;
} TargetCall;

static bool make_target(const TargetCall *c, const char *format, GError **error)
{
    const BlkJob *job = c->job;
    const BlkNode *backing = c->root->backing;
    CreateSpec spec = {.size = c->root->size};
    g_autofree char *path = NULL;
    if (!job->full && backing) {
        path = node_backing_name(backing);
        spec.backing = path;
        spec.backing_format = backing->fmt->name;
    }
    return image_create(c->root->sched, job->file, format, &spec, true, true, error);
}

static int open_target(void *opaque)
{
    TargetCall *c = opaque;
    BlkJob *job = c->job;
    const char *format = job->format ? job->format : c->root->fmt->name;
    NodeMode mode = {.file = c->root->mode.file, .discard = c->root->mode.discard};
    mode.file.writable = true;
    mode.no_backing = job->full;
    if (!job->reuse && !make_target(c, format, c->error))
        return -EINVAL;
    job->target = node_open(c->root->sched, job->file, format, &mode, c->error);
    if (!job->target)
        return -EINVAL;
    if (job->target->size >= c->root->size)
        return 0;
    fail(c->error, "'%s' is smaller than the disk", job->file);
    node_abandon(g_steal_pointer(&job->target));
    return -EINVAL;
}

static int flush_target(void *opaque)
{
    return node_flush(((BlkJob *)opaque)->target);
}

static int close_target(void *opaque)
{
    BlkJob *job = opaque;
    return node_close(g_steal_pointer(&job->target));
}

/* ---- Copying ---- */

typedef struct CopyCall {
    const BlkJob *job;
    BlkNode *from, *to;
    uint64_t offset, bytes;
} CopyCall;

static int write_compressed(BlkNode *to, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
    int ret = 0;
    uint8_t *out = node_alloc_packed(to);
    if (!out)
        return -ENOMEM;
    for (uint64_t at = 0; at < bytes && !ret; at += to->cluster) {
        int n = bytes - at >= to->cluster ? node_compress(to, data + at, out) : -ENOSPC;
        struct iovec iov = {(void *)(uintptr_t)(data + at), MIN(bytes - at, to->cluster)};
        if (n >= 0)
            ret = node_write_compressed(to, offset + at, out, (size_t)n);
        else
            ret = n == -ENOSPC ? node_write(to, offset + at, (IoBuf){&iov, 1, 0}, iov.iov_len) : n;
    }
    free(out);
    return ret;
}

static int copy_in_back(void *opaque)
{
    CopyCall *c = opaque;
    uint8_t *memory = block_alloc(c->bytes);
    struct iovec iov = {memory, c->bytes};
    IoBuf buf = {&iov, 1, 0};
    if (!memory)
        return -ENOMEM;
    int ret = node_read(c->from, c->offset, buf, c->bytes);
    if (!ret && iobuf_is_zero(buf, c->bytes))
        ret = node_write_zeroes(c->to, c->offset, c->bytes, ZERO_MAY_UNMAP);
    else if (!ret && c->job->compress)
        ret = write_compressed(c->to, c->offset, memory, c->bytes);
    else if (!ret)
        ret = node_write(c->to, c->offset, buf, c->bytes);
    free(memory);
    return ret;
}

static int copy_range(BlkJob *job, uint64_t offset, uint64_t bytes)
{
    CopyCall call = {job, job->blk->root, job->target, offset, bytes};
    return blk_in_back(job->blk, copy_in_back, &call);
}

static int mark_all(BlkJob *job, Chunks *todo)
{
    if (!job->full)
        return job_mark_allocated(job, todo);
    chunks_set_all(todo);
    return 0;
}

/* With the guest's requests held: opens the target, and does what begin() does. */
static bool copy_begin(BlkJob *job, void (*begin)(BlkJob *job), GError **error)
{
    Blk *blk = job->blk;
    TargetCall call = {job, blk->root, error};
    job->todo = chunks_new(blk->root->size);
    if (!job->todo)
        return fail_errno(error, ENOMEM, "%s", job->type->name);
    blk_hold(blk);
    bool ok = !blk_in_back(blk, open_target, &call);
    if (ok)
        begin(job);
    blk_release(blk);
    return ok;
}

static bool copy_failed(const BlkJob *job, int ret, GError **error)
{
    return ret == -ECANCELED ? false : fail_errno(error, -ret, "cannot copy to '%s'", job->file);
}

/* ---- mirror ---- */

static void mirror_begin(BlkJob *job)
{
    job->blk->dirty = job->todo;
}

static int mirror_pass(BlkJob *job, bool breathe)
{
    uint64_t chunk = 0, offset, bytes;
    while (job_next_range(job->todo, job->blk->root->size, &chunk, &offset, &bytes)) {
        if (job->abandoned)
            return -ECANCELED;
        int ret = copy_range(job, offset, bytes);
        if (ret)
            return ret;
        job->total = job->offset + bytes + (job->todo->set << CHUNK_BITS);
        if (breathe && !job_breathe(job, bytes))
            return -ECANCELED;
        if (!breathe)
            job->offset += bytes;
    }
    return 0;
}

static int mirror_until_told(BlkJob *job)
{
    int ret = mark_all(job, job->todo);
    while (!ret && !(job->ready && job->completing)) {
        ret = mirror_pass(job, true);
        if (ret)
            break;
        job->ready |= job->todo->set <= FEW_CHUNKS;
        if (!job->todo->set && !job->completing && !job->cancelled)
            job_sleep(job, IDLE_NS);
        if (job->cancelled)
            ret = -ECANCELED;
    }
    return ret;
}

/* Requests are held. */
static bool mirror_settle(BlkJob *job, GError **error)
{
    int ret = mirror_pass(job, false);
    if (!ret)
        ret = blk_in_back(job->blk, flush_target, job);
    if (ret)
        return copy_failed(job, ret, error);
    if (!job->completing)
        return true;
    BlkNode *old = job->blk->root;
    blk_set_root(job->blk, g_steal_pointer(&job->target));
    job->target = old; /* to be closed */
    return true;
}

static bool run_mirror(BlkJob *job, GError **error)
{
    Blk *blk = job->blk;
    if (!copy_begin(job, mirror_begin, error))
        return false;
    int ret = mirror_until_told(job);
    bool ok = !ret || (ret == -ECANCELED && job->ready && !job->abandoned);
    if (!ok)
        copy_failed(job, ret, error);
    blk_hold(blk);
    ok = ok && mirror_settle(job, error);
    blk->dirty = NULL;
    ret = blk_in_back(blk, close_target, job);
    blk_release(blk);
    if (ok && ret)
        return fail_errno(error, -ret, "cannot close '%s'", job->file);
    return ok;
}

static const BlkJobType mirror_job = {"mirror", "drive_mirror", true, run_mirror};

/* ---- backup ---- */

/* Copies those chunks of a range that are still to be copied; whoever comes meanwhile waits. */
static int backup_range(BlkJob *job, uint64_t offset, uint64_t bytes)
{
    uint64_t size = job->blk->root->size;
    uint64_t first = offset >> CHUNK_BITS, end = (offset + bytes + CHUNK_BYTES - 1) >> CHUNK_BITS;
    Track track;
    int ret = 0;
    track_begin(&job->copying, &track, first, end, true);
    for (uint64_t i = first; i < end && i < job->todo->count && !ret; i++) {
        if (!chunks_is_set(job->todo, i))
            continue;
        chunks_clear(job->todo, i);
        uint64_t at = i << CHUNK_BITS, n = MIN(size - at, CHUNK_BYTES);
        ret = copy_range(job, at, n);
        job->offset += n;
    }
    track_end(&job->copying, &track);
    return ret;
}

/* The guest's write goes on whatever becomes of the copy: the backup fails instead. */
static int backup_before_write(Blk *blk, uint64_t offset, uint64_t bytes)
{
    BlkJob *job = blk->job;
    if (job && !job->failed) {
        job->write_error = backup_range(job, offset, bytes);
        job->failed = job->write_error;
    }
    return 0;
}

static void backup_begin(BlkJob *job)
{
    chunks_set_all(job->todo);
    job->total = job->todo->set << CHUNK_BITS;
    job->blk->before_write = backup_before_write;
}

/* What the topmost image does not hold is not to be copied.  Guests may write while that is looked
 * up: such chunks are saved by then and no longer marked, whatever the image says of them now. */
static int backup_skip_unallocated(BlkJob *job)
{
    Chunks *own = chunks_new(job->blk->root->size);
    int ret = own ? job_mark_allocated(job, own) : -ENOMEM;
    for (uint64_t i = 0; !ret && i < own->count; i++)
        if (!chunks_is_set(own, i))
            chunks_clear(job->todo, i);
    job->total = job->offset + (job->todo->set << CHUNK_BITS);
    free(own);
    return ret;
}

static int backup_all(BlkJob *job)
{
    uint64_t chunk = 0;
    int skipped = job->full ? 0 : backup_skip_unallocated(job);
    if (skipped)
        return skipped;
    while ((chunk = chunks_next(job->todo, chunk)) < job->todo->count) {
        uint64_t before = job->offset;
        int ret = backup_range(job, chunk << CHUNK_BITS, CHUNK_BYTES);
        if (!ret)
            ret = job->write_error;
        if (ret)
            return ret;
        uint64_t done = job->offset - before;
        job->offset = before;
        if (!job_breathe(job, done))
            return -ECANCELED;
    }
    return job->write_error;
}

static bool run_backup(BlkJob *job, GError **error)
{
    Blk *blk = job->blk;
    if (!copy_begin(job, backup_begin, error))
        return false;
    int ret = backup_all(job);
    blk_hold(blk);
    blk->before_write = NULL;
    blk_release(blk);
    int closed = blk_in_back(blk, close_target, job);
    if (!ret)
        ret = closed;
    return !ret || copy_failed(job, ret, error);
}

static const BlkJobType backup_job = {"backup", "drive_backup", false, run_backup};

/* ---- Beginning ---- */

static bool start(Blk *blk, const BlkJobType *type, const BlkCopy *copy, BlkOpDone *done,
                  void *opaque, GError **error)
{
    if (!blk_is_free(blk, error))
        return false;
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk->root->temporary && !copy->full)
        return fail(error,
                    "drive '%s' writes to a temporary file (snapshot=on): only a full copy "
                    "(-f) makes sense",
                    blk->id);
    BlkJob job = {.file = g_strdup(copy->file),
                  .format = g_strdup(copy->format),
                  .full = copy->full || !blk->root->backing,
                  .reuse = copy->reuse,
                  .compress = copy->compress,
                  .speed = copy->speed};
    return job_start(blk, type, job, done, opaque, error);
}

bool blk_job_mirror(Blk *blk, const BlkCopy *copy, BlkOpDone *done, void *opaque, GError **error)
{
    return start(blk, &mirror_job, copy, done, opaque, error);
}

bool blk_job_backup(Blk *blk, const BlkCopy *copy, BlkOpDone *done, void *opaque, GError **error)
{
    return start(blk, &backup_job, copy, done, opaque, error);
}
