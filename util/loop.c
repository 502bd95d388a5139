/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event loops on GMainContext, with the lock given up only around poll(). */
#include "util/loop.h"

#include <errno.h>
#include <time.h>

#include "loop_private.h"
#include "util/rcu.h"

struct LoopFd {
    GSource source; /* must be first: GLib allocates and frees it */
    gpointer tag;
    int fd;
    LoopFdFn *fn;
    void *opaque;
};

struct LoopBh {
    EventLoop *loop;
    LoopFn *fn;
    void *opaque;
    bool scheduled; /* bh_lock */
    bool queued;    /* bh_lock: in bh_pending */
    bool once, freed;
};

typedef struct BhSource {
    GSource source;
    EventLoop *loop;
} BhSource;

static __thread char thread_mark; /* its address tells threads apart */

/* ---- The lock ---- */

void loop_lock(EventLoop *loop)
{
    pthread_mutex_lock(&loop->lock);
    __atomic_store_n(&loop->owner, &thread_mark, __ATOMIC_RELAXED);
}

void loop_unlock(EventLoop *loop)
{
    __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&loop->lock);
}

/* Only this thread ever stores its own mark, so a relaxed look cannot mistake another's. */
bool loop_locked(const EventLoop *loop)
{
    return __atomic_load_n(&loop->owner, __ATOMIC_RELAXED) == &thread_mark;
}

bool loop_enter(EventLoop *loop)
{
    if (loop_locked(loop))
        return false;
    loop_lock(loop);
    return true;
}

void loop_leave(EventLoop *loop, bool entered)
{
    if (entered)
        loop_unlock(loop);
}

/* ---- Bottom halves ---- */

static gboolean bh_source_prepare(GSource *source, gint *timeout)
{
    EventLoop *loop = ((BhSource *)source)->loop;
    *timeout = -1;
    g_mutex_lock(&loop->bh_lock);
    bool ready = !g_queue_is_empty(&loop->bh_pending);
    g_mutex_unlock(&loop->bh_lock);
    return ready;
}

static gboolean bh_source_check(GSource *source)
{
    gint timeout;
    return bh_source_prepare(source, &timeout);
}

static LoopBh *bh_pop(EventLoop *loop, bool *run)
{
    g_mutex_lock(&loop->bh_lock);
    LoopBh *bh = g_queue_pop_head(&loop->bh_pending);
    if (bh) {
        *run = bh->scheduled;
        bh->scheduled = bh->queued = false;
    }
    g_mutex_unlock(&loop->bh_lock);
    return bh;
}

/* Runs as many as were queued at the start: one that schedules itself waits for the next round. */
static gboolean bh_source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    EventLoop *loop = ((BhSource *)source)->loop;
    g_mutex_lock(&loop->bh_lock);
    unsigned count = g_queue_get_length(&loop->bh_pending);
    g_mutex_unlock(&loop->bh_lock);
    bool run;
    LoopBh *bh;
    while (count-- && (bh = bh_pop(loop, &run))) {
        bool release = bh->freed || bh->once;
        if (run)
            bh->fn(bh->opaque);
        if (release)
            g_free(bh);
    }
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs bh_source_funcs = {
    .prepare = bh_source_prepare,
    .check = bh_source_check,
    .dispatch = bh_source_dispatch,
};

LoopBh *bh_new(EventLoop *loop, LoopFn *fn, void *opaque)
{
    LoopBh *bh = g_new0(LoopBh, 1);
    *bh = (LoopBh){.loop = loop, .fn = fn, .opaque = opaque};
    return bh;
}

void bh_schedule(LoopBh *bh)
{
    EventLoop *loop = bh->loop;
    bool wake = false;
    g_mutex_lock(&loop->bh_lock);
    bh->scheduled = true;
    if (!bh->queued) {
        bh->queued = true;
        wake = g_queue_is_empty(&loop->bh_pending);
        g_queue_push_tail(&loop->bh_pending, bh);
    }
    g_mutex_unlock(&loop->bh_lock);
    if (wake)
        g_main_context_wakeup(loop->context);
}

void bh_cancel(LoopBh *bh)
{
    g_mutex_lock(&bh->loop->bh_lock);
    bh->scheduled = false;
    g_mutex_unlock(&bh->loop->bh_lock);
}

void bh_free(LoopBh *bh)
{
    if (!bh)
        return;
    g_mutex_lock(&bh->loop->bh_lock);
    bool queued = bh->queued;
    bh->scheduled = false;
    bh->freed = true;
    g_mutex_unlock(&bh->loop->bh_lock);
    if (!queued)
        g_free(bh);
}

void loop_post(EventLoop *loop, LoopFn *fn, void *opaque)
{
    LoopBh *bh = bh_new(loop, fn, opaque);
    bh->once = true;
    bh_schedule(bh);
}

/* ---- File descriptors ---- */

static gboolean fd_source_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    LoopFd *watch = (LoopFd *)source;
    unsigned revents = g_source_query_unix_fd(source, watch->tag);
    if (revents)
        watch->fn(watch->opaque, watch->fd, revents);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs fd_source_funcs = {.dispatch = fd_source_dispatch};

static GIOCondition fd_condition(unsigned events)
{
    return (GIOCondition)(events | G_IO_ERR | G_IO_HUP);
}

LoopFd *loop_fd_add(EventLoop *loop, int fd, unsigned events, LoopFdFn *fn, void *opaque)
{
    LoopFd *watch = (LoopFd *)g_source_new(&fd_source_funcs, sizeof(LoopFd));
    watch->fd = fd;
    watch->fn = fn;
    watch->opaque = opaque;
    watch->tag = g_source_add_unix_fd(&watch->source, fd, fd_condition(events));
    g_source_set_can_recurse(&watch->source, TRUE);
    g_source_attach(&watch->source, loop->context);
    return watch;
}

void loop_fd_set(LoopFd *watch, unsigned events)
{
    g_source_modify_unix_fd(&watch->source, watch->tag, fd_condition(events));
}

void loop_fd_remove(LoopFd *watch)
{
    if (!watch)
        return;
    g_source_destroy(&watch->source);
    g_source_unref(&watch->source);
}

/* ---- The loop ---- */

static EventLoop *loop_new_on(const char *name, GMainContext *context)
{
    EventLoop *loop = g_new0(EventLoop, 1);
    loop->name = g_strdup(name);
    loop->context = context;
    pthread_mutex_init(&loop->lock, NULL);
    g_mutex_init(&loop->bh_lock);
    g_queue_init(&loop->bh_pending);
    loop->bh_source = g_source_new(&bh_source_funcs, sizeof(BhSource));
    ((BhSource *)loop->bh_source)->loop = loop;
    g_source_set_can_recurse(loop->bh_source, TRUE);
    g_source_attach(loop->bh_source, context);
    loop_timers_init(loop);
    return loop;
}

EventLoop *loop_main(void)
{
    static EventLoop *main_loop;
    static gsize once;
    if (g_once_init_enter(&once)) {
        main_loop = loop_new_on("main", g_main_context_ref(g_main_context_default()));
        g_once_init_leave(&once, 1);
    }
    return main_loop;
}

EventLoop *loop_new(const char *name)
{
    return loop_new_on(name, g_main_context_new());
}

void loop_free(EventLoop *loop)
{
    loop_timers_fini(loop);
    LoopBh *bh;
    bool run;
    while ((bh = bh_pop(loop, &run)))
        if (bh->once || bh->freed)
            g_free(bh);
    g_source_destroy(loop->bh_source);
    g_source_unref(loop->bh_source);
    g_main_context_unref(loop->context);
    g_mutex_clear(&loop->bh_lock);
    pthread_mutex_destroy(&loop->lock);
    g_free(loop->name);
    g_free(loop);
}

const char *loop_name(const EventLoop *loop)
{
    return loop->name;
}

void loop_cond_wait(EventLoop *loop, pthread_cond_t *cond)
{
    __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELAXED);
    pthread_cond_wait(cond, &loop->lock);
    __atomic_store_n(&loop->owner, &thread_mark, __ATOMIC_RELAXED);
}

bool loop_cond_wait_until(EventLoop *loop, pthread_cond_t *cond, int64_t host_ns)
{
    struct timespec until = {host_ns / NS_PER_SEC, host_ns % NS_PER_SEC};
    __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELAXED);
    int result = pthread_cond_clockwait(cond, &loop->lock, CLOCK_MONOTONIC, &until);
    __atomic_store_n(&loop->owner, &thread_mark, __ATOMIC_RELAXED);
    return result != ETIMEDOUT;
}

#define MAX_STACK_FDS 64

bool loop_step(EventLoop *loop, bool block)
{
    GPollFD stack_fds[MAX_STACK_FDS];
    g_autofree GPollFD *heap_fds = NULL;
    GPollFD *fds = stack_fds;
    gint priority, timeout, capacity = MAX_STACK_FDS;

    if (!g_main_context_acquire(loop->context))
        return false;
    g_main_context_prepare(loop->context, &priority);
    gint count;
    while ((count = g_main_context_query(loop->context, priority, &timeout, fds, capacity)) >
           capacity) {
        g_free(heap_fds);
        capacity = count;
        fds = heap_fds = g_new(GPollFD, capacity);
    }
    rcu_reclaim();
    loop_unlock(loop);
    g_poll(fds, (guint)count, block ? timeout : 0);
    loop_lock(loop);
    bool ready = g_main_context_check(loop->context, priority, fds, count);
    if (ready)
        g_main_context_dispatch(loop->context);
    g_main_context_release(loop->context);
    return ready;
}

void loop_run(EventLoop *loop)
{
    while (!__atomic_exchange_n(&loop->quit, false, __ATOMIC_ACQ_REL))
        loop_step(loop, true);
}

void loop_quit(EventLoop *loop)
{
    __atomic_store_n(&loop->quit, true, __ATOMIC_RELEASE);
    g_main_context_wakeup(loop->context);
}

void loop_wake(EventLoop *loop)
{
    g_main_context_wakeup(loop->context);
}
