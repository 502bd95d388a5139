/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pool of threads for calls that block: file I/O that the page cache could not answer, and
 * compression.  It grows when all threads are busy, up to 64; an idle thread ends after ten
 * seconds.
 */
#ifndef VMRUN_UTIL_THREADPOOL_H
#define VMRUN_UTIL_THREADPOOL_H

#include "util/coroutine.h"

/* A job; the submitter owns it and keeps it alive until fn was called. */
typedef struct PoolJob PoolJob;
struct PoolJob {
    void (*fn)(PoolJob *job);
    PoolJob *next; /* private */
};

/* Calls job->fn(job) from a thread of the pool, without any lock.  Any thread.  What fn does last
 * is to tell the submitter (co_wake, loop_post): the job may be gone afterwards. */
void pool_submit(PoolJob *job);

/* Calls fn(opaque) in the pool and returns its result; the running coroutine waits meanwhile, and
 * its loop goes on.  Outside a coroutine fn is simply called. */
int co_pool(int (*fn)(void *opaque), void *opaque);

/* Threads alive now, for tests and `info`. */
unsigned pool_threads(void);

#endif
