/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux native asynchronous I/O (libaio).  io_submit() does not wait only if the file is open with
 * O_DIRECT; completions ring an eventfd that the loop watches.
 *
 * A disk with a deep queue completes while those go on whose requests it completed before.  So what
 * came meanwhile is looked for, which costs no system call, before the loop has its turn again.
 */
#include "aio.h"

#include <errno.h>
#include <libaio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/error.h"

#define MAX_EVENTS 128
/* Up to so many under way, each is submitted at once; then so many in one call. */
#define FEW_EVENTS 4
#define MAX_ROUNDS 8 /* then others have their turn */

struct Aio {
    CoSched *sched;
    io_context_t context;
    int event_fd;
    LoopFd *watch;
    LoopBh *submit; /* runs when all that is ready had its turn */
    struct iocb *ready[FEW_EVENTS];
    unsigned ready_count;
    unsigned in_flight; /* with those that are ready */
    CoQueue full;       /* waiting for one of MAX_EVENTS */
    bool *freed;        /* set by aio_free(); not NULL in aio_complete() */
};

typedef struct AioCall {
    struct iocb iocb;
    Coroutine *co;
    int64_t result;
} AioCall;

/* Wakes those whose requests are done; false: none is. */
static bool reap(Aio *aio)
{
    struct io_event events[MAX_EVENTS];
    struct timespec now = {0, 0};
    int done = io_getevents(aio->context, 0, MAX_EVENTS, events, &now);
    for (int i = 0; i < done; i++) {
        AioCall *call = container_of(events[i].obj, AioCall, iocb);
        call->result = (int64_t)events[i].res;
        aio->in_flight--;
        co_wake(call->co);
        co_queue_wake(&aio->full);
    }
    return done > 0;
}

/* What came up in one turn of the loop goes to the kernel in few calls: not in one, as the disk is
 * to begin with some while others come.  What it does not take ends with the reason. */
static void submit_ready(void *opaque)
{
    Aio *aio = opaque;
    for (unsigned from = 0; from < aio->ready_count;) {
        int ret = io_submit(aio->context, aio->ready_count - from, aio->ready + from);
        if (ret > 0) {
            from += (unsigned)ret;
            continue;
        }
        AioCall *call = container_of(aio->ready[from++], AioCall, iocb);
        call->result = ret < 0 ? ret : -EAGAIN;
        aio->in_flight--;
        co_wake(call->co);
        co_queue_wake(&aio->full);
    }
    aio->ready_count = 0;
}

static void aio_complete(void *opaque, int fd, unsigned revents)
{
    Aio *aio = opaque;
    uint64_t count;
    bool freed = false;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    aio->freed = &freed;
    for (unsigned round = 0; round < MAX_ROUNDS && reap(aio); round++) {
        co_sched_run_woken(aio->sched);
        if (freed)
            return;
        submit_ready(aio);
    }
    aio->freed = NULL;
}

Aio *aio_new(CoSched *sched, GError **error)
{
    EventLoop *loop = co_sched_loop(sched);
    Aio *aio = g_new0(Aio, 1);
    aio->sched = sched;
    int ret = io_setup(MAX_EVENTS, &aio->context);
    if (ret) {
        fail_errno(error, -ret, "aio=native: io_setup failed (see /proc/sys/fs/aio-max-nr)");
        g_free(aio);
        return NULL;
    }
    aio->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (aio->event_fd < 0) {
        fail_errno(error, errno, "aio=native: eventfd failed");
        io_destroy(aio->context);
        g_free(aio);
        return NULL;
    }
    aio->watch = loop_fd_add(loop, aio->event_fd, LOOP_IN, aio_complete, aio);
    aio->submit = bh_new(loop, submit_ready, aio);
    return aio;
}

void aio_free(Aio *aio)
{
    if (!aio)
        return;
    if (aio->freed)
        *aio->freed = true;
    loop_fd_remove(aio->watch);
    bh_free(aio->submit);
    close(aio->event_fd);
    io_destroy(aio->context);
    g_free(aio);
}

int64_t aio_io(Aio *aio, int fd, bool write, const struct iovec *iov, int count, uint64_t offset)
{
    AioCall call = {.co = co_self()};
    struct iocb *list = &call.iocb;
    if (write)
        io_prep_pwritev(list, fd, iov, count, (long long)offset);
    else
        io_prep_preadv(list, fd, iov, count, (long long)offset);
    io_set_eventfd(list, aio->event_fd);
    while (aio->in_flight >= MAX_EVENTS)
        co_queue_wait(&aio->full);
    if (aio->in_flight++ >= FEW_EVENTS || aio->ready_count) {
        aio->ready[aio->ready_count++] = list;
        if (aio->ready_count == FEW_EVENTS)
            submit_ready(aio);
        else if (!aio->freed)
            bh_schedule(aio->submit);
        co_yield ();
        return call.result;
    }
    int ret = io_submit(aio->context, 1, &list);
    if (ret == 1) {
        co_yield ();
        return call.result;
    }
    aio->in_flight--;
    return ret < 0 ? ret : -EAGAIN;
}
