/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to drives.
 *
 * A request that the page cache can serve is done inline, without memory or a coroutine.  Any other
 * runs in a coroutine; one that ends without ever waiting still counts as done at once, so that
 * done() is called only from the loop.
 *
 * Requests wait in the drive's queues while it is held (its nodes are being replaced) and while its
 * limits are reached; reads do not wait for writes.
 */
#include <errno.h>

#include "blk.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

#define SLICE_BYTES (4u << 20) /* between two looks whether the request was cancelled */

/* ---- What a request does ---- */

static bool is_cancelled(BlkReq *req)
{
    return __atomic_load_n(&req_state(req)->cancelled, __ATOMIC_RELAXED);
}

static int write_chunk(Blk *blk, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    if (blk->detect_zeroes != DETECT_OFF && iobuf_is_zero(buf, bytes))
        return node_write_zeroes(blk->root, offset, bytes,
                                 blk->detect_zeroes == DETECT_UNMAP ? ZERO_MAY_UNMAP : 0);
    return node_write(blk->root, offset, buf, bytes);
}

static int transfer(Blk *blk, BlkReq *req)
{
    IoBuf buf = {req->iov, req->iov_count, 0};
    int ret = 0;
    for (uint64_t done = 0; done < req->bytes && !ret; buf = iobuf_skip(buf, SLICE_BYTES)) {
        uint64_t n = MIN(req->bytes - done, SLICE_BYTES);
        if (is_cancelled(req))
            return -ECANCELED;
        ret = req->op == BLK_READ ? node_read(blk->root, req->offset + done, buf, n)
                                  : write_chunk(blk, req->offset + done, buf, n);
        done += n;
    }
    return ret;
}

int blk_run(Blk *blk, BlkReq *req)
{
    int ret = 0;
    switch (req->op) {
    case BLK_READ:
        return transfer(blk, req);
    case BLK_WRITE:
        ret = transfer(blk, req);
        break;
    case BLK_FLUSH:
        return node_flush(blk->root);
    case BLK_DISCARD:
        return node_discard(blk->root, req->offset, req->bytes, 0);
    case BLK_WRITE_ZEROES:
        ret = node_write_zeroes(blk->root, req->offset, req->bytes,
                                req->flags & BLK_MAY_UNMAP ? ZERO_MAY_UNMAP : 0);
        break;
    }
    if (!ret && req_state(req)->sync)
        ret = node_flush(blk->root);
    return ret;
}

int blk_run_inline(Blk *blk, BlkReq *req)
{
    IoBuf buf = {req->iov, req->iov_count, 0};
    if (req->op == BLK_READ)
        return node_read_nowait(blk->root, req->offset, buf, req->bytes);
    if (req->op == BLK_WRITE && !req_state(req)->sync && blk->detect_zeroes == DETECT_OFF)
        return node_write_nowait(blk->root, req->offset, buf, req->bytes);
    return -EAGAIN;
}

/* ---- Counting ---- */

static void account(Blk *blk, const BlkReq *req, int64_t start, int ret)
{
    BlkStats *stats = &blk->stats;
    int64_t now = clock_now(VM_CLOCK_HOST);
    uint64_t ns = (uint64_t)(now - start);
    blk->last_used = now;
    if (ret) {
        stats->failed_ops++;
        return;
    }
    switch (req->op) {
    case BLK_READ:
        stats->read_ops++;
        stats->read_bytes += req->bytes;
        stats->read_ns += ns;
        break;
    case BLK_WRITE:
    case BLK_WRITE_ZEROES:
        stats->write_ops++;
        stats->write_bytes += req->bytes;
        stats->write_ns += ns;
        break;
    case BLK_FLUSH:
        stats->flush_ops++;
        stats->flush_ns += ns;
        break;
    case BLK_DISCARD:
        stats->discard_ops++;
        break;
    }
}

static const char *op_name(BlkOp op)
{
    static const char *const names[] = {"read", "write", "flush", "discard", "write-zeroes"};
    return names[op];
}

static bool changes_data(const BlkReq *req)
{
    return req->op != BLK_READ && req->op != BLK_FLUSH;
}

/* A job copies the disk: it has to copy this once more. */
static void mark_dirty(Blk *blk, const BlkReq *req)
{
    if (blk->dirty && changes_data(req))
        chunks_set(blk->dirty, req->offset, req->bytes);
}

/* ---- Life of a pending request ---- */

static void req_link(Blk *blk, BlkReq *req)
{
    ReqState *state = req_state(req);
    state->next = blk->requests;
    if (state->next)
        req_state(state->next)->prev = req;
    blk->requests = req;
}

static void req_unlink(Blk *blk, BlkReq *req)
{
    ReqState *state = req_state(req);
    if (state->prev)
        req_state(state->prev)->next = state->next;
    else
        blk->requests = state->next;
    if (state->next)
        req_state(state->next)->prev = state->prev;
}

static void leave_flight(Blk *blk)
{
    if (!--blk->in_flight)
        co_queue_wake_all(&blk->idle);
}

/* Counts and forgets it; done() is the caller's. */
static void req_over(BlkReq *req, int ret)
{
    Blk *blk = req->blk;
    req_unlink(blk, req);
    mark_dirty(blk, req);
    account(blk, req, req_state(req)->start, ret);
    leave_flight(blk);
    pthread_cond_broadcast(&blk->finished);
}

void blk_req_done(BlkReq *req, int ret)
{
    req_over(req, ret);
    req->done(req, ret);
}

static void req_run(void *opaque)
{
    BlkReq *req = opaque;
    req_state(req)->ret = blk_run(req->blk, req);
    req_state(req)->finished = true;
}

static int run_in_back(void *opaque)
{
    BlkReq *req = opaque;
    return blk_run(req->blk, req);
}

/* Somebody wants to see what the write is going to replace. */
static void req_run_guarded(void *opaque)
{
    BlkReq *req = opaque;
    Blk *blk = req->blk;
    int ret = blk->before_write ? blk->before_write(blk, req->offset, req->bytes) : 0;
    req_state(req)->ret = ret ? ret : blk_in_back(blk, run_in_back, req);
    req_state(req)->finished = true;
}

/* Out of the coroutine again. */
static void req_ended(void *opaque)
{
    BlkReq *req = opaque;
    int ret = req_state(req)->ret;
    bool submitting = req_state(req)->submitting;
    req_over(req, ret);
    if (!submitting)
        req->done(req, ret);
}

/* Starts a request that is linked.  Its result, without done(), or BLK_PENDING. */
static int req_start(Blk *blk, BlkReq *req)
{
    ReqState *state = req_state(req);
    blk->in_flight++;
    mark_dirty(blk, req);
    if (blk->before_write && changes_data(req)) {
        co_start(blk->front, req_run_guarded, req_ended, req);
    } else if (blk->back) {
        blk_back_submit(blk->back, req);
        return BLK_PENDING;
    } else {
        co_start(blk->sched, req_run, req_ended, req);
    }
    return state->finished ? state->ret : BLK_PENDING;
}

/* ---- Queues ---- */

void blk_queue_push(BlkQueue *queue, BlkReq *req)
{
    req_state(req)->queued_next = NULL;
    if (queue->first)
        req_state(queue->last)->queued_next = req;
    else
        queue->first = req;
    queue->last = req;
}

BlkReq *blk_queue_pop(BlkQueue *queue)
{
    BlkReq *req = queue->first;
    if (req)
        queue->first = req_state(req)->queued_next;
    return req;
}

static bool is_throttled(const BlkReq *req)
{
    return req->op == BLK_READ || req->op == BLK_WRITE || req->op == BLK_WRITE_ZEROES;
}

static bool is_read(const BlkReq *req)
{
    return req->op == BLK_READ;
}

/* Whether req has to queue.  If not, it is counted against the limits. */
static bool must_wait(Blk *blk, const BlkReq *req)
{
    if (blk->hold || blk->queue[!is_read(req)].first)
        return true;
    return blk->group && is_throttled(req) && !blk->draining &&
           blk_throttle(blk, !is_read(req), req->bytes);
}

static void end_queued(Blk *blk, BlkReq *req, int ret)
{
    blk->in_flight++;
    blk_req_done(req, ret);
}

/* Whether a request makes sense; 0 or the errno that it ends with. */
static int check_request(const Blk *blk, const BlkReq *req)
{
    if (!blk->root)
        return -ENOMEDIUM;
    if (req->op == BLK_FLUSH)
        return 0;
    if (((req->offset | req->bytes) & (BLK_SECTOR - 1)) || req->offset > blk->size ||
        req->bytes > blk->size - req->offset)
        return -EINVAL;
    return req->op != BLK_READ && blk_readonly(blk) ? -EROFS : 0;
}

/* The medium may have changed while it waited. */
static void start_queued(Blk *blk, BlkReq *req)
{
    int ret = check_request(blk, req);
    if (ret) {
        end_queued(blk, req, ret);
        return;
    }
    req_state(req)->submitting = true;
    ret = req_start(blk, req);
    if (ret == BLK_PENDING)
        req_state(req)->submitting = false;
    else
        req->done(req, ret);
}

bool blk_pump_one(Blk *blk, bool write)
{
    BlkReq *req = blk->queue[write].first;
    if (!req || (blk->hold && !is_cancelled(req)))
        return false;
    if (!is_cancelled(req) && blk->group && is_throttled(req) && !blk->draining &&
        blk_throttle(blk, write, req->bytes))
        return false;
    blk_queue_pop(&blk->queue[write]);
    req_state(req)->queued = false;
    if (is_cancelled(req))
        end_queued(blk, req, -ECANCELED);
    else
        start_queued(blk, req);
    return true;
}

/* Takes cancelled requests out of the middle of a queue. */
static void reap_cancelled(Blk *blk, bool write)
{
    BlkQueue *queue = &blk->queue[write], keep = {NULL, NULL}, drop = {NULL, NULL};
    BlkReq *req;
    while ((req = blk_queue_pop(queue)))
        blk_queue_push(is_cancelled(req) ? &drop : &keep, req);
    *queue = keep;
    while ((req = blk_queue_pop(&drop))) {
        req_state(req)->queued = false;
        end_queued(blk, req, -ECANCELED);
    }
}

static void pump(void *opaque)
{
    Blk *blk = opaque;
    for (int write = 0; write < 2; write++) {
        reap_cancelled(blk, write);
        while (blk_pump_one(blk, write))
            ;
    }
}

void blk_io_init(Blk *blk)
{
    blk->kick = bh_new(blk->loop, pump, blk);
}

/* ---- Submitting ---- */

static int submit_slow(Blk *blk, BlkReq *req, bool wait, int64_t start)
{
    ReqState *state = req_state(req);
    state->start = start;
    req_link(blk, req);
    if (wait) {
        state->queued = true;
        blk_queue_push(&blk->queue[!is_read(req)], req);
        return BLK_PENDING;
    }
    state->submitting = true;
    int ret = req_start(blk, req);
    if (ret == BLK_PENDING)
        state->submitting = false;
    return ret;
}

int blk_submit(Blk *blk, BlkReq *req)
{
    int64_t start = clock_now(VM_CLOCK_HOST);
    bool wait = blk->hold;
    int ret = wait ? -EAGAIN : check_request(blk, req);
    log_printf(LOG_BLOCK, "%s: %s %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT "%s", blk->id,
               op_name(req->op), req->offset, req->bytes, ret && !wait ? " refused" : "");
    req->blk = blk;
    *req_state(req) = (ReqState){.sync = !blk->write_cache || (req->flags & BLK_FUA)};
    if (!ret) {
        wait = must_wait(blk, req);
        ret = wait || blk->back || blk->before_write ? -EAGAIN : blk_run_inline(blk, req);
    }
    if (ret == -EAGAIN)
        return submit_slow(blk, req, wait, start);
    mark_dirty(blk, req);
    account(blk, req, start, ret);
    return ret;
}

void blk_cancel(BlkReq *req)
{
    __atomic_store_n(&req_state(req)->cancelled, true, __ATOMIC_RELAXED);
    if (req_state(req)->queued)
        bh_schedule(req->blk->kick);
}

/* ---- Waiting ---- */

void blk_hold(Blk *blk)
{
    blk->hold++;
    while (blk->in_flight)
        co_queue_wait(&blk->idle);
}

bool blk_wait_idle(Blk *blk)
{
    if (!blk->requests && !blk->settling)
        return false;
    blk->draining++;
    bh_schedule(blk->kick);
    while (blk->requests || blk->settling)
        co_queue_wait(&blk->idle);
    blk->draining--;
    return true;
}

void blk_release(Blk *blk)
{
    if (--blk->hold)
        return;
    bh_schedule(blk->kick);
    co_queue_wake_all(&blk->idle);
}

/* If another thread runs the loop, waits for that one to finish a request. */
void blk_wait_for_progress(Blk *blk)
{
    if (!loop_step(blk->loop, true))
        loop_cond_wait_until(blk->loop, &blk->finished, clock_now(VM_CLOCK_HOST) + NS_PER_MS);
}

void blk_drain(Blk *blk)
{
    if (!blk->requests)
        return;
    blk->draining++;
    bh_schedule(blk->kick);
    while (blk->requests)
        blk_wait_for_progress(blk);
    blk->draining--;
}

static void drain_one(Blk *blk, void *opaque)
{
    blk_drain(blk);
}

void blk_drain_all(void)
{
    blk_foreach(drain_one, NULL);
}

typedef struct SyncCall {
    bool done;
    int ret;
} SyncCall;

static void sync_done(BlkReq *req, int ret)
{
    SyncCall *call = req->opaque;
    call->ret = ret;
    call->done = true;
}

static int submit_and_wait(Blk *blk, BlkReq *req)
{
    SyncCall call = {0};
    req->done = sync_done;
    req->opaque = &call;
    int ret = blk_submit(blk, req);
    if (ret != BLK_PENDING)
        return ret;
    blk->draining++;
    bh_schedule(blk->kick);
    while (!call.done)
        blk_wait_for_progress(blk);
    blk->draining--;
    return call.ret;
}

int blk_pread(Blk *blk, uint64_t offset, void *buf, uint64_t bytes)
{
    struct iovec iov = {buf, bytes};
    BlkReq req = {.op = BLK_READ, .offset = offset, .bytes = bytes, .iov = &iov, .iov_count = 1};
    return submit_and_wait(blk, &req);
}

int blk_pwrite(Blk *blk, uint64_t offset, const void *buf, uint64_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)buf, bytes};
    BlkReq req = {.op = BLK_WRITE, .offset = offset, .bytes = bytes, .iov = &iov, .iov_count = 1};
    return submit_and_wait(blk, &req);
}

int blk_flush(Blk *blk)
{
    BlkReq req = {.op = BLK_FLUSH};
    return submit_and_wait(blk, &req);
}

static int flush_in_back(void *opaque)
{
    return node_flush(opaque);
}

/* Waits for what the guest has under way, then flushes it. */
static void settle_run(void *opaque)
{
    Blk *blk = opaque;
    while (blk->in_flight || blk->hold)
        co_queue_wait(&blk->idle);
    if (!blk->root)
        return;
    blk->in_flight++;
    int ret = blk_in_back(blk, flush_in_back, blk->root);
    leave_flight(blk);
    if (ret)
        report_error("%s: cannot flush the image: %s", blk->id, g_strerror(-ret));
}

static void settle_ended(void *opaque)
{
    Blk *blk = opaque;
    blk->settling = false;
    co_queue_wake_all(&blk->idle);
    pthread_cond_broadcast(&blk->finished);
    loop_wake(blk->loop);
    blk_free_if_gone(blk);
}

static void settle_one(Blk *blk, void *opaque)
{
    if (!blk->root || blk->settling)
        return;
    blk->settling = true;
    co_start(blk->front, settle_run, settle_ended, blk);
}

void blk_settle_all(void)
{
    blk_foreach(settle_one, NULL);
}

static void flush_one(Blk *blk, void *opaque)
{
    int *first = opaque;
    int ret = blk->root ? blk_flush(blk) : 0;
    if (ret && !*first)
        *first = ret;
}

int blk_flush_all(void)
{
    int first = 0;
    blk_foreach(flush_one, &first);
    return first;
}
