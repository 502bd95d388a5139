/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event loops: a GMainContext, a heap of nanosecond timers on one timerfd, and one mutex.
 *
 * Every device, chardev, image and connection belongs to exactly one EventLoop.  Its callbacks
 * (file descriptors, timers, bottom halves, register accesses) run with that loop's lock held, and
 * its state may be touched only with the lock held.  The loop gives the lock up only while it
 * waits for events.  The main loop's lock is the machine lock.
 *
 * Lock order: I/O loop -> main loop -> vCPU -> log.  Guest RAM is never locked.
 */
#ifndef VMRUN_UTIL_LOOP_H
#define VMRUN_UTIL_LOOP_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct EventLoop EventLoop;

/* The loop of the main thread; created at first use, never freed. */
EventLoop *loop_main(void);
EventLoop *loop_new(const char *name);
/* No thread may be in loop_run(); sources still registered are dropped. */
void loop_free(EventLoop *loop);
const char *loop_name(const EventLoop *loop);

/* Plain lock and unlock; not recursive. */
void loop_lock(EventLoop *loop);
void loop_unlock(EventLoop *loop);
/* True if the calling thread holds the lock. */
bool loop_locked(const EventLoop *loop);
/* Takes the lock unless this thread has it; returns what loop_leave() needs. */
bool loop_enter(EventLoop *loop);
void loop_leave(EventLoop *loop, bool entered);

/* Waits on a condition variable with the loop's lock, as pthread_cond_wait. */
void loop_cond_wait(EventLoop *loop, pthread_cond_t *cond);
/* The same until a host-clock time (ns); false when that passed. */
bool loop_cond_wait_until(EventLoop *loop, pthread_cond_t *cond, int64_t host_ns);

/* Dispatches events until loop_quit().  Called with the lock held, returns with it held. */
void loop_run(EventLoop *loop);
/* Dispatches what is ready; if block, waits for at least one event first.  Lock held.  Returns
 * true if anything was dispatched.  May be nested inside a callback. */
bool loop_step(EventLoop *loop, bool block);
/* Any thread. */
void loop_quit(EventLoop *loop);
/* Makes a blocked loop_step() return; any thread. */
void loop_wake(EventLoop *loop);

/* ---- File descriptors ---- */
enum {
    LOOP_IN = 1,
    LOOP_PRI = 2,
    LOOP_OUT = 4,
    LOOP_ERR = 8,
    LOOP_HUP = 16
}; /* = POLLIN, POLLOUT, ... */
typedef struct LoopFd LoopFd;
typedef void LoopFdFn(void *opaque, int fd, unsigned revents);

/* Watches fd; events may be 0 and changed later.  ERR and HUP are always reported.  The fd stays
 * the caller's.  Lock held; fn is called with the lock held. */
LoopFd *loop_fd_add(EventLoop *loop, int fd, unsigned events, LoopFdFn *fn, void *opaque);
void loop_fd_set(LoopFd *watch, unsigned events);
/* May be called from the callback itself; NULL is allowed. */
void loop_fd_remove(LoopFd *watch);

/* ---- Libraries with file descriptors and deadlines of their own ---- */
typedef struct LoopPoller LoopPoller;

typedef struct LoopPollerOps {
    /* Before each wait: tells by loop_poller_want() what to wait for; returns for how many ms at
     * most, -1: for ever. */
    int (*prepare)(void *opaque, LoopPoller *poller);
    /* Something came, or the time was up; loop_poller_got() tells what. */
    void (*dispatch)(void *opaque, LoopPoller *poller);
} LoopPollerOps;

/* Lock held, in calls and callbacks. */
LoopPoller *loop_poller_add(EventLoop *loop, const LoopPollerOps *ops, void *opaque);
void loop_poller_remove(LoopPoller *poller);
/* Returns the number to ask loop_poller_got() for. */
int loop_poller_want(LoopPoller *poller, int fd, unsigned events);
unsigned loop_poller_got(const LoopPoller *poller, int number);
/* prepare() would answer differently now; wakes the loop if it waits. */
void loop_poller_changed(LoopPoller *poller);

/* ---- Bottom halves: "call this soon, from the loop" ---- */
typedef struct LoopBh LoopBh;
typedef void LoopFn(void *opaque);

LoopBh *bh_new(EventLoop *loop, LoopFn *fn, void *opaque);
/* Any thread, idempotent until it ran.  What was written before is visible to fn. */
void bh_schedule(LoopBh *bh);
void bh_cancel(LoopBh *bh);
/* Lock held; never runs afterwards.  NULL is allowed. */
void bh_free(LoopBh *bh);
/* One call of fn from the loop; any thread. */
void loop_post(EventLoop *loop, LoopFn *fn, void *opaque);

#endif
