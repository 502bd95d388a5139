/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stackful coroutines: code that waits for I/O without blocking its thread.
 *
 * A coroutine belongs to a CoSched, which belongs to an EventLoop.  It runs only while its thread
 * holds that loop's lock, so coroutines of one loop never run at the same time; between two points
 * that may yield, no other coroutine of the loop and no callback runs.  It may be started by one
 * thread (a vCPU that wrote a register) and go on in another (the loop's): code in a coroutine must
 * not keep the address of a thread-local (errno included) across a yield.
 *
 * Only block/ and migration use them.  Stacks are 256 KiB with a guard page, and pooled.
 */
#ifndef VMRUN_UTIL_COROUTINE_H
#define VMRUN_UTIL_COROUTINE_H

#include "util/loop.h"

typedef struct Coroutine Coroutine;
typedef struct CoSched CoSched;
typedef void CoFn(void *opaque);

/* Lock of the loop held for both; at the end no coroutine may be left. */
CoSched *co_sched_new(EventLoop *loop);
void co_sched_free(CoSched *sched);
EventLoop *co_sched_loop(const CoSched *sched);
/* Runs those that were woken now and not in the loop's next turn.  From the loop; inside of a
 * coroutine it does nothing, and they keep their turn. */
void co_sched_run_woken(CoSched *sched);

/* Runs fn(opaque) on a stack of its own, at once, until it first yields or ends.  When it has
 * ended, after(opaque) is called on the stack of whoever ran it last; after may be NULL.  Loop lock
 * held. */
void co_start(CoSched *sched, CoFn *fn, CoFn *after, void *opaque);
/* The running coroutine, or NULL outside of any. */
Coroutine *co_self(void);
/* Gives control back to whoever started or resumed the running coroutine, until co_wake(). */
void co_yield (void);
/* Lets a coroutine that yields, or is about to, go on: later, from its loop.  Any thread; once for
 * each yield. */
void co_wake(Coroutine *co);

/* Coroutines that wait, first come first served.  A zeroed CoQueue is empty. */
typedef struct CoQueue {
    Coroutine *first, *last;
} CoQueue;
void co_queue_wait(CoQueue *queue);
/* Wakes the first; false if nobody waits. */
bool co_queue_wake(CoQueue *queue);
void co_queue_wake_all(CoQueue *queue);

/* A lock among coroutines of one loop; handed over in order.  A zeroed CoMutex is free.  Outside a
 * coroutine it must be free: nothing else can run then. */
typedef struct CoMutex {
    bool locked;
    CoQueue waiting;
} CoMutex;
void co_mutex_lock(CoMutex *mutex);
void co_mutex_unlock(CoMutex *mutex);

#endif
