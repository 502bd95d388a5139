/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clocks, and a binary heap of timers a clock on one timerfd a loop.
 *
 * The timerfd is only ever moved to an earlier time: a cancelled or postponed head costs one early
 * wake-up instead of a system call at each change.
 */
#include "util/timer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "loop_private.h"

/* ---- Clocks ---- */

/* Written with the main lock held; read by anyone under the sequence count. */
static struct {
    unsigned sequence;
    bool running, manual;
    int64_t base; /* running: virtual = host + base; else virtual = base */
} vclock;

static GMutex loops_lock;
static GPtrArray *loops; /* of EventLoop */

static int64_t host_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static int64_t wall_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static bool vclock_moves(void)
{
    return __atomic_load_n(&vclock.running, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&vclock.manual, __ATOMIC_RELAXED);
}

static int64_t virtual_now(void)
{
    for (;;) {
        unsigned before = __atomic_load_n(&vclock.sequence, __ATOMIC_ACQUIRE);
        bool moves = vclock_moves();
        int64_t base = __atomic_load_n(&vclock.base, __ATOMIC_RELAXED);
        int64_t now = moves ? host_now() + base : base;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && __atomic_load_n(&vclock.sequence, __ATOMIC_RELAXED) == before)
            return now;
    }
}

int64_t clock_now(VmClock clock)
{
    switch (clock) {
    case VM_CLOCK_VIRTUAL:
        return virtual_now();
    case VM_CLOCK_WALL:
        return wall_now();
    default:
        return host_now();
    }
}

static void vclock_update(bool running, bool manual, int64_t now)
{
    int64_t base = running && !manual ? now - host_now() : now;
    __atomic_store_n(&vclock.sequence, vclock.sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&vclock.running, running, __ATOMIC_RELAXED);
    __atomic_store_n(&vclock.manual, manual, __ATOMIC_RELAXED);
    __atomic_store_n(&vclock.base, base, __ATOMIC_RELAXED);
    __atomic_store_n(&vclock.sequence, vclock.sequence + 1, __ATOMIC_RELEASE);
}

/* ---- The heap: heap[1] is the earliest; timer_lock held ---- */

static Timer *heap_at(GPtrArray *heap, unsigned i)
{
    return g_ptr_array_index(heap, i);
}

static void heap_put(GPtrArray *heap, unsigned i, Timer *timer)
{
    g_ptr_array_index(heap, i) = timer;
    timer->index = i;
}

static void heap_sift(GPtrArray *heap, unsigned i, Timer *timer)
{
    while (i > 1 && heap_at(heap, i / 2)->expires > timer->expires) {
        heap_put(heap, i, heap_at(heap, i / 2));
        i /= 2;
    }
    for (unsigned child; (child = 2 * i) < heap->len; i = child) {
        if (child + 1 < heap->len &&
            heap_at(heap, child + 1)->expires < heap_at(heap, child)->expires)
            child++;
        if (heap_at(heap, child)->expires >= timer->expires)
            break;
        heap_put(heap, i, heap_at(heap, child));
    }
    heap_put(heap, i, timer);
}

static void heap_insert(GPtrArray *heap, Timer *timer)
{
    g_ptr_array_add(heap, timer);
    heap_sift(heap, heap->len - 1, timer);
}

static void heap_remove(GPtrArray *heap, Timer *timer)
{
    unsigned i = timer->index;
    Timer *last = heap_at(heap, heap->len - 1);
    g_ptr_array_set_size(heap, (int)heap->len - 1);
    timer->index = 0;
    if (last != timer)
        heap_sift(heap, i, last);
}

static Timer *heap_first(GPtrArray *heap)
{
    return heap->len > 1 ? heap_at(heap, 1) : NULL;
}

/* ---- The timerfd ---- */

/* Host time at which a clock shows `expires`; INT64_MAX if it stands still. */
static int64_t host_deadline(VmClock clock, int64_t expires)
{
    if (clock == VM_CLOCK_HOST)
        return expires;
    if (clock == VM_CLOCK_VIRTUAL && !vclock_moves())
        return INT64_MAX;
    int64_t delta = expires - clock_now(clock);
    return host_now() + MAX(delta, 0);
}

/* timer_lock held. */
static void program(EventLoop *loop, int64_t deadline)
{
    if (deadline >= loop->programmed)
        return;
    deadline = MAX(deadline, 1); /* zero would disarm */
    struct itimerspec spec = {.it_value = {deadline / NS_PER_SEC, deadline % NS_PER_SEC}};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
    loop->programmed = deadline;
}

static void program_all(EventLoop *loop)
{
    for (int clock = 0; clock < VM_CLOCK_COUNT; clock++) {
        Timer *first = heap_first(loop->heap[clock]);
        if (first)
            program(loop, host_deadline(clock, first->expires));
    }
}

static Timer *pop_due(EventLoop *loop, VmClock clock, int64_t now)
{
    g_mutex_lock(&loop->timer_lock);
    Timer *timer = heap_first(loop->heap[clock]);
    if (timer && timer->expires <= now)
        heap_remove(loop->heap[clock], timer);
    else
        timer = NULL;
    g_mutex_unlock(&loop->timer_lock);
    return timer;
}

/* A timer that always re-arms itself in the past must not keep the loop from its other events. */
#define TIMERS_PER_ROUND 64

static void timers_run(void *opaque, int fd, unsigned revents)
{
    EventLoop *loop = opaque;
    uint64_t count;
    g_mutex_lock(&loop->timer_lock);
    if (read(fd, &count, sizeof(count)) < 0) {
        g_mutex_unlock(&loop->timer_lock);
        return; /* a nested loop_step() was faster */
    }
    loop->programmed = INT64_MAX;
    g_mutex_unlock(&loop->timer_lock);
    for (int clock = 0; clock < VM_CLOCK_COUNT; clock++) {
        if (clock == VM_CLOCK_VIRTUAL && !vclock_moves())
            continue;
        int64_t now = clock_now(clock);
        Timer *timer;
        for (unsigned n = 0; n < TIMERS_PER_ROUND && (timer = pop_due(loop, clock, now)); n++)
            timer->fn(timer->opaque);
    }
    g_mutex_lock(&loop->timer_lock);
    program_all(loop);
    g_mutex_unlock(&loop->timer_lock);
}

void loop_timers_init(EventLoop *loop)
{
    g_mutex_init(&loop->timer_lock);
    for (int clock = 0; clock < VM_CLOCK_COUNT; clock++) {
        loop->heap[clock] = g_ptr_array_new();
        g_ptr_array_add(loop->heap[clock], NULL);
    }
    loop->programmed = INT64_MAX;
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd < 0)
        g_error("timerfd_create: %s", g_strerror(errno)); /* out of fds at start: nothing runs */
    loop->timer_watch = loop_fd_add(loop, loop->timer_fd, LOOP_IN, timers_run, loop);
    g_mutex_lock(&loops_lock);
    if (!loops)
        loops = g_ptr_array_new();
    g_ptr_array_add(loops, loop);
    g_mutex_unlock(&loops_lock);
}

void loop_timers_fini(EventLoop *loop)
{
    g_mutex_lock(&loops_lock);
    g_ptr_array_remove(loops, loop);
    g_mutex_unlock(&loops_lock);
    loop_fd_remove(loop->timer_watch);
    close(loop->timer_fd);
    for (int clock = 0; clock < VM_CLOCK_COUNT; clock++)
        g_ptr_array_free(loop->heap[clock], TRUE);
    g_mutex_clear(&loop->timer_lock);
}

/* ---- Timers ---- */

void timer_init(Timer *timer, EventLoop *loop, VmClock clock, TimerFn *fn, void *opaque)
{
    *timer = (Timer){.loop = loop, .fn = fn, .opaque = opaque, .clock = clock};
}

void timer_arm(Timer *timer, int64_t expires)
{
    EventLoop *loop = timer->loop;
    GPtrArray *heap = loop->heap[timer->clock];
    g_mutex_lock(&loop->timer_lock);
    timer->expires = expires;
    if (timer->index)
        heap_sift(heap, timer->index, timer);
    else
        heap_insert(heap, timer);
    if (timer->index == 1)
        program(loop, host_deadline(timer->clock, expires));
    g_mutex_unlock(&loop->timer_lock);
}

void timer_cancel(Timer *timer)
{
    if (!timer->loop)
        return;
    g_mutex_lock(&timer->loop->timer_lock);
    if (timer->index)
        heap_remove(timer->loop->heap[timer->clock], timer);
    g_mutex_unlock(&timer->loop->timer_lock);
}

/* ---- Guest time ---- */

void vclock_start(void)
{
    if (vclock.running)
        return;
    vclock_update(true, vclock.manual, virtual_now());
    g_mutex_lock(&loops_lock);
    for (unsigned i = 0; loops && i < loops->len; i++) {
        EventLoop *loop = g_ptr_array_index(loops, i);
        g_mutex_lock(&loop->timer_lock);
        program_all(loop);
        g_mutex_unlock(&loop->timer_lock);
    }
    g_mutex_unlock(&loops_lock);
}

void vclock_stop(void)
{
    if (vclock.running)
        vclock_update(false, vclock.manual, virtual_now());
}

static void move_timers(EventLoop *loop, int64_t by)
{
    g_mutex_lock(&loop->timer_lock);
    GPtrArray *heap = loop->heap[VM_CLOCK_VIRTUAL];
    for (unsigned i = 1; i < heap->len; i++) /* all by the same: their order stays */
        heap_at(heap, i)->expires += by;
    g_mutex_unlock(&loop->timer_lock);
}

void vclock_restore(int64_t ns)
{
    int64_t by = ns - virtual_now();
    vclock_set(ns);
    g_mutex_lock(&loops_lock);
    for (unsigned i = 0; loops && i < loops->len; i++)
        move_timers(g_ptr_array_index(loops, i), by);
    g_mutex_unlock(&loops_lock);
}

bool vclock_running(void)
{
    return __atomic_load_n(&vclock.running, __ATOMIC_RELAXED);
}

void vclock_set(int64_t ns)
{
    vclock_update(vclock.running, vclock.manual, ns);
}

void vclock_set_manual(bool manual)
{
    vclock_update(vclock.running, manual, virtual_now());
}

bool vclock_manual(void)
{
    return __atomic_load_n(&vclock.manual, __ATOMIC_RELAXED);
}

int64_t vclock_next_deadline(void)
{
    EventLoop *loop = loop_main();
    g_mutex_lock(&loop->timer_lock);
    Timer *first = heap_first(loop->heap[VM_CLOCK_VIRTUAL]);
    int64_t deadline = first ? first->expires : -1;
    g_mutex_unlock(&loop->timer_lock);
    return deadline;
}

int64_t vclock_step(int64_t ns)
{
    int64_t end = virtual_now() + ns;
    int64_t deadline;
    while ((deadline = vclock_next_deadline()) >= 0 && deadline <= end) {
        if (deadline > virtual_now())
            vclock_set(deadline);
        Timer *timer = pop_due(loop_main(), VM_CLOCK_VIRTUAL, virtual_now());
        if (timer)
            timer->fn(timer->opaque);
    }
    vclock_set(end);
    return end;
}
