/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives whose nodes live in an I/O thread.
 *
 * Requests go there through a list and a bottom half, and come back the same way, so that neither
 * thread ever takes the other's lock: the I/O thread works while the machine's lock is held, and
 * devices need not know.
 */
#include <errno.h>

#include "blk.h"

struct BlkBack {
    Blk *blk;
    IoThread *thread;
    LoopBh *in_bh, *out_bh; /* of the I/O loop, of the main loop */
    pthread_mutex_t lock;
    BlkQueue in, out; /* lock */
};

/* ---- In the I/O thread ---- */

static void send_back(BlkReq *req)
{
    BlkBack *back = req->blk->back;
    pthread_mutex_lock(&back->lock);
    bool first = !back->out.first;
    blk_queue_push(&back->out, req);
    /* Under the lock: once the front has it, the drive may be closed. */
    if (first)
        bh_schedule(back->out_bh);
    pthread_mutex_unlock(&back->lock);
}

static void req_run(void *opaque)
{
    BlkReq *req = opaque;
    req_state(req)->ret = blk_run(req->blk, req);
}

static void req_ended(void *opaque)
{
    send_back(opaque);
}

static BlkQueue take_all(BlkBack *back, BlkQueue *queue)
{
    pthread_mutex_lock(&back->lock);
    BlkQueue all = *queue;
    *queue = (BlkQueue){NULL, NULL};
    pthread_mutex_unlock(&back->lock);
    return all;
}

static void take_in(void *opaque)
{
    BlkBack *back = opaque;
    Blk *blk = back->blk;
    BlkQueue all = take_all(back, &back->in);
    BlkReq *req;
    while ((req = blk_queue_pop(&all))) {
        int ret = blk_run_inline(blk, req);
        req_state(req)->ret = ret;
        if (ret == -EAGAIN)
            co_start(blk->sched, req_run, req_ended, req);
        else
            send_back(req);
    }
}

/* ---- In the main loop ---- */

void blk_back_submit(BlkBack *back, BlkReq *req)
{
    pthread_mutex_lock(&back->lock);
    bool first = !back->in.first;
    blk_queue_push(&back->in, req);
    pthread_mutex_unlock(&back->lock);
    if (first)
        bh_schedule(back->in_bh);
}

static void take_out(void *opaque)
{
    BlkBack *back = opaque;
    BlkQueue all = take_all(back, &back->out);
    BlkReq *req;
    while ((req = blk_queue_pop(&all)))
        blk_req_done(req, req_state(req)->ret);
}

BlkBack *blk_back_new(Blk *blk, IoThread *thread)
{
    BlkBack *back = g_new0(BlkBack, 1);
    back->blk = blk;
    back->thread = thread;
    back->in_bh = bh_new(iothread_loop(thread), take_in, back);
    back->out_bh = bh_new(blk->loop, take_out, back);
    pthread_mutex_init(&back->lock, NULL);
    return back;
}

/* The last round of in_bh may still be running; a call that the loop makes after it, ends it. */
static int nothing(void *opaque)
{
    return 0;
}

void blk_back_free(BlkBack *back)
{
    if (!back)
        return;
    blk_in_back(back->blk, nothing, NULL);
    bh_free(back->in_bh);
    bh_free(back->out_bh);
    pthread_mutex_lock(&back->lock);
    pthread_mutex_unlock(&back->lock);
    pthread_mutex_destroy(&back->lock);
    g_free(back);
}

IoThread *blk_back_thread(const BlkBack *back)
{
    return back->thread;
}

/* ---- Calls ---- */

typedef struct BackCall {
    Blk *blk;
    int (*fn)(void *opaque);
    void *opaque;
    int ret;
    Coroutine *co;       /* who waits; NULL: plain code */
    bool done;           /* main lock */
    pthread_cond_t cond; /* for plain code */
} BackCall;

static void call_run(void *opaque)
{
    BackCall *call = opaque;
    call->ret = call->fn(call->opaque);
}

static void call_ended(void *opaque)
{
    BackCall *call = opaque;
    if (call->co) {
        co_wake(call->co);
        return;
    }
    EventLoop *main_loop = call->blk->loop;
    loop_lock(main_loop);
    call->done = true;
    pthread_cond_signal(&call->cond);
    loop_unlock(main_loop);
}

static void call_start(void *opaque)
{
    BackCall *call = opaque;
    co_start(call->blk->sched, call_run, call_ended, call);
}

int blk_in_back(Blk *blk, int (*fn)(void *opaque), void *opaque)
{
    if (!blk->back)
        return fn(opaque);
    BackCall call = {.blk = blk, .fn = fn, .opaque = opaque, .co = co_self()};
    EventLoop *loop = iothread_loop(blk->back->thread);
    if (call.co) {
        loop_post(loop, call_start, &call);
        co_yield ();
        return call.ret;
    }
    pthread_cond_init(&call.cond, NULL);
    loop_post(loop, call_start, &call);
    while (!call.done)
        loop_cond_wait(blk->loop, &call.cond);
    pthread_cond_destroy(&call.cond);
    return call.ret;
}

static int abandon(void *opaque)
{
    node_abandon(opaque);
    return 0;
}

void blk_abandon(Blk *blk, BlkNode *node)
{
    blk_in_back(blk, abandon, node);
}
