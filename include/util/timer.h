/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks and timers, in nanoseconds.
 *
 *   VM_CLOCK_HOST     CLOCK_MONOTONIC; always runs.
 *   VM_CLOCK_VIRTUAL  guest time: starts at 0, stands while the machine is paused.  Devices use
 * this. VM_CLOCK_WALL     time of day (CLOCK_REALTIME), for the RTC and for log stamps.
 *
 * In manual mode (test engine, qtest) the virtual clock moves only by vclock_step()/vclock_set().
 */
#ifndef VMRUN_UTIL_TIMER_H
#define VMRUN_UTIL_TIMER_H

#include "util/loop.h"

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS  1000000LL
#define NS_PER_US  1000LL

typedef enum { VM_CLOCK_HOST, VM_CLOCK_VIRTUAL, VM_CLOCK_WALL, VM_CLOCK_COUNT } VmClock;

/* Now; any thread, no lock. */
int64_t clock_now(VmClock clock);

/* Starts and stops guest time; main lock held.  It is stopped at first. */
void vclock_start(void);
void vclock_stop(void);
bool vclock_running(void);
/* Moves guest time to ns (a restored snapshot).  Main lock held, clock stopped or manual. */
void vclock_set(int64_t ns);
/* The same, and timers that are armed stay as far from now as they were: what is no device's, and
 * not of the snapshot, goes on.  Clock stopped. */
void vclock_restore(int64_t ns);
/* Switches manual mode on or off; main lock held, before timers are armed. */
void vclock_set_manual(bool manual);
bool vclock_manual(void);
/* Manual mode: moves on by ns, running each due virtual timer of the main loop at its own time.
 * Returns the new time.  Main lock held. */
int64_t vclock_step(int64_t ns);
/* The earliest virtual deadline of the main loop, or -1. */
int64_t vclock_next_deadline(void);

/* (a * b) / c without overflow of the product, rounded down; c > 0. */
static inline uint64_t muldiv64(uint64_t a, uint64_t b, uint64_t c)
{
    return (uint64_t)((unsigned __int128)a * b / c);
}
/* Ticks of a frequency that fit in ns, and the ns at which a tick begins (rounded up). */
static inline uint64_t ns_to_ticks(int64_t ns, uint64_t hz)
{
    return muldiv64((uint64_t)ns, hz, NS_PER_SEC);
}
static inline int64_t ticks_to_ns(uint64_t ticks, uint64_t hz)
{
    return (int64_t)(((unsigned __int128)ticks * NS_PER_SEC + hz - 1) / hz);
}

typedef void TimerFn(void *opaque);

/* Embedded in its owner.  Fields are private to util/timer.c. */
typedef struct Timer {
    EventLoop *loop;
    TimerFn *fn;
    void *opaque;
    int64_t expires; /* ns of its clock; meaningful while index != 0 */
    unsigned index;  /* 1-based place in the loop's heap; 0: idle */
    VmClock clock;
} Timer;

/* Prepares an idle timer.  fn runs from the loop with its lock held, the timer already idle. */
void timer_init(Timer *timer, EventLoop *loop, VmClock clock, TimerFn *fn, void *opaque);
/* (Re)arms for an absolute time of its clock; a past time fires at once.  Loop lock held. */
void timer_arm(Timer *timer, int64_t expires);
/* Idempotent; also right for a zeroed Timer. */
void timer_cancel(Timer *timer);
static inline bool timer_armed(const Timer *timer)
{
    return timer->index != 0;
}
/* The time it is armed for, or -1. */
static inline int64_t timer_expires(const Timer *timer)
{
    return timer->index ? timer->expires : -1;
}

#endif
