/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs: life, speed, list. */
#include "blk-job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

/* ---- Points where a job waits ---- */

static void job_kick(BlkJob *job)
{
    Coroutine *co = job->sleeping;
    if (!co)
        return;
    job->sleeping = NULL;
    timer_cancel(&job->timer);
    co_wake(co);
}

static void timer_over(void *opaque)
{
    job_kick(opaque);
}

void job_sleep(BlkJob *job, int64_t ns)
{
    timer_arm(&job->timer, clock_now(VM_CLOCK_HOST) + ns);
    job->sleeping = co_self();
    co_yield ();
}

bool job_breathe(BlkJob *job, uint64_t bytes)
{
    job->offset += bytes;
    int64_t ns = 0;
    if (job->speed && bytes)
        ns = (int64_t)muldiv64(bytes, NS_PER_SEC, job->speed);
    if (!job->cancelled)
        job_sleep(job, ns);
    while (job->paused && !job->cancelled)
        job_sleep(job, NS_PER_SEC);
    return !job->cancelled;
}

/* ---- What is to be copied ---- */

bool job_next_range(Chunks *chunks, uint64_t size, uint64_t *chunk, uint64_t *offset,
                    uint64_t *bytes)
{
    uint64_t first = chunks_next(chunks, *chunk), end = first;
    if (first == chunks->count)
        return false;
    while (end < chunks->count && chunks_is_set(chunks, end) &&
           (end - first) << CHUNK_BITS < JOB_STEP)
        chunks_clear(chunks, end++);
    *chunk = end;
    *offset = first << CHUNK_BITS;
    *bytes = MIN(end << CHUNK_BITS, size) - *offset;
    return true;
}

#define MARK_EXTENTS 1024

typedef struct MarkCall {
    BlkNode *node;
    uint64_t offset; /* in: where to begin; out: where to go on */
    unsigned count;
    struct {
        uint64_t offset, bytes;
    } found[MARK_EXTENTS];
} MarkCall;

static int mark_in_back(void *opaque)
{
    MarkCall *m = opaque;
    BlkNode *node = m->node;
    int ret = 0;
    m->count = 0;
    for (unsigned i = 0; m->offset < node->size && i < MARK_EXTENTS && !ret; i++) {
        Extent e;
        ret = node->fmt->map(node, m->offset, node->size - m->offset, 0, &e);
        if (ret)
            break;
        if (e.kind != EXTENT_UNALLOCATED) {
            m->found[m->count].offset = m->offset;
            m->found[m->count++].bytes = e.bytes;
        }
        m->offset += e.bytes;
    }
    return ret;
}

int job_mark_allocated(BlkJob *job, Chunks *chunks)
{
    MarkCall *m = g_new(MarkCall, 1);
    int ret = 0;
    m->node = job->blk->root;
    m->offset = 0;
    while (!ret && m->offset < m->node->size) {
        ret = blk_in_back(job->blk, mark_in_back, m);
        for (unsigned i = 0; i < m->count; i++)
            chunks_set(chunks, m->found[i].offset, m->found[i].bytes);
        if (!job_breathe(job, 0))
            ret = -ECANCELED;
    }
    g_free(m);
    return ret;
}

/* ---- Life ---- */

static void job_free(BlkJob *job)
{
    timer_cancel(&job->timer);
    g_free(job->file);
    g_free(job->format);
    g_free(job->base);
    free(job->todo);
    g_free(job);
}

static void job_run(void *opaque)
{
    BlkJob *job = opaque;
    if (!job->type->run(job, &job->error) && !job->error)
        fail(&job->error, "%s of drive '%s' was cancelled", job->type->name, job->blk->id);
}

static void report_end(const BlkJob *job)
{
    if (job->error && !job->cancelled)
        report_error("%s of drive '%s': %s", job->type->name, job->blk->id, job->error->message);
}

static void job_ended(void *opaque)
{
    BlkJob *job = opaque;
    Blk *blk = job->blk;
    blk->job = NULL;
    blk_give(blk);
    log_printf(LOG_BLOCK, "%s: %s: %s", blk->id, job->type->name,
               job->error ? job->error->message : "done");
    if (job->done) {
        job->done(job->opaque, job->error);
    } else {
        report_end(job);
        g_clear_error(&job->error);
    }
    job_free(job);
}

bool job_start(Blk *blk, const BlkJobType *type, BlkJob what, BlkOpDone *done, void *opaque,
               GError **error)
{
    BlkJob *job = g_memdup2(&what, sizeof(what));
    job->type = type;
    job->blk = blk;
    job->done = done;
    job->opaque = opaque;
    timer_init(&job->timer, blk->loop, VM_CLOCK_HOST, timer_over, job);
    if (!blk_take(blk, type->busy, error)) {
        job_free(job);
        return false;
    }
    blk->job = job;
    co_start(blk->front, job_run, job_ended, job);
    return true;
}

/* ---- Commands ---- */

static BlkJob *job_of(Blk *blk, GError **error)
{
    if (!blk->job)
        fail(error, "drive '%s' has no job under way", blk->id);
    return blk->job;
}

bool blk_job_cancel(Blk *blk, bool at_once, GError **error)
{
    BlkJob *job = job_of(blk, error);
    if (!job)
        return false;
    job->cancelled = true;
    job->abandoned |= at_once;
    job_kick(job);
    return true;
}

void blk_job_cancel_now(Blk *blk)
{
    if (blk->job)
        blk_job_cancel(blk, false, NULL);
}

bool blk_job_complete(Blk *blk, GError **error)
{
    BlkJob *job = job_of(blk, error);
    if (!job)
        return false;
    if (!job->type->can_complete)
        return fail(error, "a %s completes by itself", job->type->name);
    if (!job->ready)
        return fail(error, "the %s of drive '%s' is not ready to complete", job->type->name,
                    blk->id);
    job->completing = true;
    job_kick(job);
    return true;
}

bool blk_job_pause(Blk *blk, bool on, GError **error)
{
    BlkJob *job = job_of(blk, error);
    if (!job)
        return false;
    if (job->paused == on)
        return fail(error, "the %s of drive '%s' is %s", job->type->name, blk->id,
                    on ? "paused already" : "not paused");
    job->paused = on;
    job_kick(job);
    return true;
}

bool blk_job_set_speed(Blk *blk, uint64_t speed, GError **error)
{
    BlkJob *job = job_of(blk, error);
    if (!job)
        return false;
    job->speed = speed;
    job_kick(job);
    return true;
}

static void describe_job(Blk *blk, void *opaque)
{
    GString *out = opaque;
    const BlkJob *job = blk->job;
    if (!job)
        return;
    if (!strcmp(job->type->name, "stream"))
        g_string_append_printf(out, "Streaming device %s", blk->id);
    else
        g_string_append_printf(out, "Type %s, device %s", job->type->name, blk->id);
    g_string_append_printf(
        out, ": Completed %" PRIu64 " of %" PRIu64 " bytes, speed limit %" PRIu64 " bytes/s%s%s\n",
        job->offset, job->total, job->speed, job->ready ? ", ready" : "",
        job->paused ? ", paused" : "");
}

void blk_jobs_describe(GString *out)
{
    gsize before = out->len;
    blk_foreach(describe_job, out);
    if (out->len == before)
        g_string_append(out, "No active jobs\n");
}
