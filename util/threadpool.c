/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread pool: one queue, one condition, threads that come and go. */
#include "util/threadpool.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define MAX_THREADS  64u
#define IDLE_SECONDS 10

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static PoolJob *first, **last = &first; /* lock */
static unsigned queued;                 /* lock: jobs in the queue */
static unsigned threads, idle;          /* lock */

/* Waits for a job; NULL when the thread has been idle for too long.  Called with the lock held. */
static PoolJob *next_job(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    idle++;
    while (!first)
        if (pthread_cond_clockwait(&more, &lock, CLOCK_MONOTONIC, &until) && !first)
            break;
    idle--;
    PoolJob *job = first;
    if (job) {
        first = job->next;
        if (!first)
            last = &first;
        queued--;
    }
    return job;
}

static void *pool_main(void *opaque)
{
    PoolJob *job;
    pthread_mutex_lock(&lock);
    while ((job = next_job())) {
        pthread_mutex_unlock(&lock);
        job->fn(job);
        pthread_mutex_lock(&lock);
    }
    threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Signals stay with the main thread.  Called with the lock held. */
static void start_thread(void)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t thread;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!pthread_create(&thread, &attr, pool_main, NULL))
        threads++;
    else if (!threads)
        g_error("cannot start a thread for disk I/O");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

void pool_submit(PoolJob *job)
{
    job->next = NULL;
    pthread_mutex_lock(&lock);
    *last = job;
    last = &job->next;
    queued++;
    if (queued > idle && threads < MAX_THREADS)
        start_thread();
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&more);
}

unsigned pool_threads(void)
{
    pthread_mutex_lock(&lock);
    unsigned count = threads;
    pthread_mutex_unlock(&lock);
    return count;
}

/* ---- For coroutines ---- */

typedef struct CoJob {
    PoolJob job;
    int (*fn)(void *opaque);
    void *opaque;
    int result;
    Coroutine *co;
} CoJob;

static void co_job_run(PoolJob *base)
{
    CoJob *job = (CoJob *)base;
    job->result = job->fn(job->opaque);
    co_wake(job->co);
}

int co_pool(int (*fn)(void *opaque), void *opaque)
{
    Coroutine *self = co_self();
    if (!self)
        return fn(opaque);
    CoJob job = {.job = {.fn = co_job_run}, .fn = fn, .opaque = opaque, .co = self};
    pool_submit(&job.job);
    co_yield ();
    return job.result;
}
