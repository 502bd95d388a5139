/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What util/loop.c and util/timer.c share. */
#ifndef VMRUN_UTIL_LOOP_PRIVATE_H
#define VMRUN_UTIL_LOOP_PRIVATE_H

#include <pthread.h>

#include "util/timer.h"

struct EventLoop {
    char *name;
    GMainContext *context;
    pthread_mutex_t lock;
    const void *owner; /* atomic: the address of a thread-local of the thread that holds the lock */
    bool quit;         /* atomic */

    GMutex bh_lock;
    GQueue bh_pending; /* of LoopBh; bh_lock */
    GSource *bh_source;

    GMutex timer_lock;               /* the heaps and programmed; a leaf in the lock order */
    GPtrArray *heap[VM_CLOCK_COUNT]; /* of Timer, index 0 unused */
    int timer_fd;
    int64_t programmed; /* host time that timer_fd is set to; INT64_MAX: none */
    LoopFd *timer_watch;
};

/* Prepares and releases the timer half of a loop. */
void loop_timers_init(EventLoop *loop);
void loop_timers_fini(EventLoop *loop);

#endif
