/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to drives.
 *
 * A request that the page cache can serve is done inline, without memory or a coroutine.  Any other
 * runs in a coroutine; one that ends without ever waiting still counts as done at once, so that
 * done() is called only from the loop.
 */
#include <errno.h>

#include "blk.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

#define CHUNK_BYTES (4u << 20) /* between two looks whether the request was cancelled */

/* What lives in BlkReq.priv. */
typedef struct ReqState {
    BlkReq *prev, *next; /* in blk->requests */
    int64_t start;
    int ret;
    bool submitting; /* blk_submit() has not returned */
    bool cancelled, finished;
} ReqState;
G_STATIC_ASSERT(sizeof(ReqState) <= sizeof(((BlkReq *)0)->priv));

static ReqState *req_state(BlkReq *req)
{
    return (ReqState *)req->priv;
}

/* ---- What a request does ---- */

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
    for (uint64_t done = 0; done < req->bytes && !ret; buf = iobuf_skip(buf, CHUNK_BYTES)) {
        uint64_t n = MIN(req->bytes - done, CHUNK_BYTES);
        if (req_state(req)->cancelled)
            return -ECANCELED;
        ret = req->op == BLK_READ ? node_read(blk->root, req->offset + done, buf, n)
                                  : write_chunk(blk, req->offset + done, buf, n);
        done += n;
    }
    return ret;
}

static int run_request(Blk *blk, BlkReq *req)
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
    if (!ret && (!blk->write_cache || (req->flags & BLK_FUA)))
        ret = node_flush(blk->root);
    return ret;
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

static void req_run(void *opaque)
{
    BlkReq *req = opaque;
    req_state(req)->ret = run_request(req->blk, req);
    req_state(req)->finished = true;
}

/* Out of the coroutine again. */
static void req_ended(void *opaque)
{
    BlkReq *req = opaque;
    Blk *blk = req->blk;
    ReqState *state = req_state(req);
    int ret = state->ret;
    req_unlink(blk, req);
    account(blk, req, state->start, ret);
    pthread_cond_broadcast(&blk->finished);
    if (!state->submitting)
        req->done(req, ret);
}

/* Whether a request makes sense; 0 or the errno that it ends with. */
static int check_request(const Blk *blk, const BlkReq *req)
{
    if (!blk->root)
        return -ENOMEDIUM;
    if (req->op == BLK_FLUSH)
        return 0;
    if (((req->offset | req->bytes) & (BLK_SECTOR - 1)) || req->offset > blk->root->size ||
        req->bytes > blk->root->size - req->offset)
        return -EINVAL;
    return req->op != BLK_READ && blk_readonly(blk) ? -EROFS : 0;
}

static int run_inline(Blk *blk, BlkReq *req)
{
    IoBuf buf = {req->iov, req->iov_count, 0};
    if (req->op == BLK_READ)
        return node_read_nowait(blk->root, req->offset, buf, req->bytes);
    if (req->op == BLK_WRITE && blk->write_cache && !(req->flags & BLK_FUA) &&
        blk->detect_zeroes == DETECT_OFF)
        return node_write_nowait(blk->root, req->offset, buf, req->bytes);
    return -EAGAIN;
}

int blk_submit(Blk *blk, BlkReq *req)
{
    int64_t start = clock_now(VM_CLOCK_HOST);
    int ret = check_request(blk, req);
    log_printf(LOG_BLOCK, "%s: %s %" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT "%s", blk->id,
               op_name(req->op), req->offset, req->bytes, ret ? " refused" : "");
    if (!ret)
        ret = run_inline(blk, req);
    if (ret != -EAGAIN) {
        account(blk, req, start, ret);
        return ret;
    }
    ReqState *state = req_state(req);
    req->blk = blk;
    *state = (ReqState){.start = start, .submitting = true};
    req_link(blk, req);
    co_start(blk->sched, req_run, req_ended, req);
    if (state->finished)
        return state->ret;
    state->submitting = false;
    return BLK_PENDING;
}

void blk_cancel(BlkReq *req)
{
    req_state(req)->cancelled = true;
}

/* ---- Waiting ---- */

/* Lets the loop make progress; if another thread runs it, waits for that one to finish a request.
 */
static void wait_for_progress(Blk *blk)
{
    if (!loop_step(blk->loop, true))
        loop_cond_wait_until(blk->loop, &blk->finished, clock_now(VM_CLOCK_HOST) + NS_PER_MS);
}

void blk_drain(Blk *blk)
{
    while (blk->requests)
        wait_for_progress(blk);
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
    while (!call.done)
        wait_for_progress(blk);
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
