/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stackful coroutines.
 *
 * On x86-64 a switch saves the six registers that the System V ABI gives to the callee and changes
 * the stack pointer; elsewhere swapcontext() does the work.  AddressSanitizer and ThreadSanitizer
 * are told of every switch, as each keeps one shadow a stack.
 */
#include "util/coroutine.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define CO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CO_TSAN 1
#endif
#endif

#ifdef CO_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CO_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES (256u << 10)
#define THREAD_POOL 16u /* free coroutines that a thread keeps */
#define GLOBAL_POOL 64u /* and that all threads share */

struct Coroutine {
    CoFn *fn, *after;
    void *opaque;
    CoSched *sched;
    Coroutine *caller; /* who gets control at the next yield; set while running */
    Coroutine *next;   /* in a queue, a ready list or a pool */
    bool ended;
    void *stack; /* mapping: a guard page, then STACK_BYTES; NULL for a thread's own stack */
    size_t guard;
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t context;
#endif
#ifdef CO_ASAN
    void *fake_stack;
    const void *bottom;
    size_t bytes;
#endif
#ifdef CO_TSAN
    void *fiber;
#endif
};

struct CoSched {
    EventLoop *loop;
    LoopBh *bh;
    pthread_mutex_t lock;
    CoQueue woken; /* lock */
};

typedef struct CoThread {
    Coroutine thread;    /* stands for the thread's own stack */
    Coroutine *current;  /* NULL: thread */
    Coroutine *previous; /* whom the last switch left */
    Coroutine *pool;
    unsigned pooled;
} CoThread;

static pthread_mutex_t global_lock = PTHREAD_MUTEX_INITIALIZER;
static Coroutine *global_pool; /* global_lock */
static unsigned global_pooled; /* global_lock */
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

/* ---- Per-thread data ---- */

static void coroutine_destroy(Coroutine *co)
{
#ifdef CO_TSAN
    __tsan_destroy_fiber(co->fiber);
#endif
    munmap(co->stack, co->guard + STACK_BYTES);
    g_free(co);
}

static void thread_exit(void *data)
{
    CoThread *self = data;
    while (self->pool) {
        Coroutine *co = self->pool;
        self->pool = co->next;
        coroutine_destroy(co);
    }
    g_free(self);
}

static void thread_key_init(void)
{
    pthread_key_create(&thread_key, thread_exit);
}

/* Never inlined: a coroutine may change threads in the middle of its caller, where the compiler
 * would feel free to reuse an address that it computed before. */
static __attribute__((noinline)) CoThread *co_thread(void)
{
    static __thread CoThread *cached;
    CoThread *self = cached;
    __asm__ volatile("" : "+r"(self));
    if (G_LIKELY(self))
        return self;
    pthread_once(&thread_once, thread_key_init);
    self = g_new0(CoThread, 1);
#ifdef CO_TSAN
    self->thread.fiber = __tsan_get_current_fiber();
#endif
    pthread_setspecific(thread_key, self);
    cached = self;
    return self;
}

Coroutine *co_self(void)
{
    return co_thread()->current;
}

/* ---- Switching ---- */

#ifdef __x86_64__
void co_switch_stack(void **save, void *to);
__asm__(".text\n"
        ".p2align 4\n"
        ".globl co_switch_stack\n"
        ".hidden co_switch_stack\n"
        ".type co_switch_stack, @function\n"
        "co_switch_stack:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size co_switch_stack, . - co_switch_stack\n");
#endif

/* First thing after every switch, perhaps on another thread: lets ASan know where we are, and
 * learns from it where the stack lies that we left, if it was a thread's own. */
static void co_arrived(Coroutine *self)
{
#ifdef CO_ASAN
    Coroutine *previous = co_thread()->previous;
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &bytes);
    if (!previous->stack) {
        previous->bottom = bottom;
        previous->bytes = bytes;
    }
#endif
}

static void co_switch(Coroutine *from, Coroutine *to)
{
    co_thread()->previous = from;
#ifdef CO_ASAN
    __sanitizer_start_switch_fiber(from->ended ? NULL : &from->fake_stack, to->bottom, to->bytes);
#endif
#ifdef CO_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
#ifdef __x86_64__
    co_switch_stack(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
    co_arrived(from);
}

static void co_return_to_caller(Coroutine *self)
{
    CoThread *thread = co_thread();
    Coroutine *caller = self->caller;
    thread->current = caller == &thread->thread ? NULL : caller;
    co_switch(self, caller);
}

/* The first frame of every coroutine; it never returns. */
static void co_main(void)
{
    Coroutine *self = co_thread()->current;
    co_arrived(self);
    self->fn(self->opaque);
    self->ended = true;
    co_return_to_caller(self);
    g_assert_not_reached();
}

/* Sets the stack up so that the first switch enters co_main(). */
static void co_prepare(Coroutine *co)
{
    char *base = (char *)co->stack + co->guard;
#ifdef __x86_64__
    void **top = (void **)(base + STACK_BYTES);
    memset(top - 8, 0, 8 * sizeof(*top));
    top[-2] = (void *)(uintptr_t)co_main; /* leaves the stack as a call instruction would */
    co->sp = top - 8;
#else
    getcontext(&co->context);
    co->context.uc_stack.ss_sp = base;
    co->context.uc_stack.ss_size = STACK_BYTES;
    co->context.uc_link = NULL;
    makecontext(&co->context, co_main, 0);
#endif
#ifdef CO_ASAN
    /* Frames that the last user never left still poison the stack's shadow. */
    __asan_unpoison_memory_region(base, STACK_BYTES);
    co->fake_stack = NULL;
    co->bottom = base;
    co->bytes = STACK_BYTES;
#endif
}

static Coroutine *coroutine_create(void)
{
    Coroutine *co = g_new0(Coroutine, 1);
    co->guard = (size_t)sysconf(_SC_PAGESIZE);
    co->stack = mmap(NULL, co->guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (co->stack == MAP_FAILED)
        g_error("out of memory for a coroutine's stack");
    mprotect(co->stack, co->guard, PROT_NONE);
#ifdef CO_TSAN
    co->fiber = __tsan_create_fiber(0);
#endif
    return co;
}

static Coroutine *coroutine_get(CoThread *thread)
{
    Coroutine *co = thread->pool;
    if (co) {
        thread->pool = co->next;
        thread->pooled--;
        return co;
    }
    pthread_mutex_lock(&global_lock);
    co = global_pool;
    if (co) {
        global_pool = co->next;
        global_pooled--;
    }
    pthread_mutex_unlock(&global_lock);
    return co ? co : coroutine_create();
}

static void coroutine_put(CoThread *thread, Coroutine *co)
{
    if (thread->pooled < THREAD_POOL) {
        co->next = thread->pool;
        thread->pool = co;
        thread->pooled++;
        return;
    }
    pthread_mutex_lock(&global_lock);
    bool keep = global_pooled < GLOBAL_POOL;
    if (keep) {
        co->next = global_pool;
        global_pool = co;
        global_pooled++;
    }
    pthread_mutex_unlock(&global_lock);
    if (!keep)
        coroutine_destroy(co);
}

/* Runs co until it yields or ends. */
static void co_enter(Coroutine *co)
{
    CoThread *thread = co_thread();
    Coroutine *self = thread->current ? thread->current : &thread->thread;
    co->caller = self;
    thread->current = co;
    co_switch(self, co);
    if (!co->ended)
        return;
    CoFn *after = co->after;
    void *opaque = co->opaque;
    coroutine_put(co_thread(), co);
    if (after)
        after(opaque);
}

void co_start(CoSched *sched, CoFn *fn, CoFn *after, void *opaque)
{
    Coroutine *co = coroutine_get(co_thread());
    co->fn = fn;
    co->after = after;
    co->opaque = opaque;
    co->sched = sched;
    co->ended = false;
    co->next = NULL;
    co_prepare(co);
    co_enter(co);
}

void co_yield (void)
{
    co_return_to_caller(co_self());
}

/* ---- Queues ---- */

static void queue_push(CoQueue *queue, Coroutine *co)
{
    co->next = NULL;
    if (queue->last)
        queue->last->next = co;
    else
        queue->first = co;
    queue->last = co;
}

static Coroutine *queue_pop(CoQueue *queue)
{
    Coroutine *co = queue->first;
    if (co) {
        queue->first = co->next;
        if (!queue->first)
            queue->last = NULL;
    }
    return co;
}

void co_queue_wait(CoQueue *queue)
{
    queue_push(queue, co_self());
    co_yield ();
}

bool co_queue_wake(CoQueue *queue)
{
    Coroutine *co = queue_pop(queue);
    if (co)
        co_wake(co);
    return co;
}

void co_queue_wake_all(CoQueue *queue)
{
    while (co_queue_wake(queue))
        ;
}

void co_mutex_lock(CoMutex *mutex)
{
    if (!mutex->locked) {
        mutex->locked = true;
        return;
    }
    g_return_if_fail(co_self());
    co_queue_wait(&mutex->waiting); /* the holder hands it over locked */
}

void co_mutex_unlock(CoMutex *mutex)
{
    if (!co_queue_wake(&mutex->waiting))
        mutex->locked = false;
}

/* ---- Waking ---- */

/* Runs those that were woken before this round; whoever is woken by them comes with the next. */
void co_sched_run_woken(CoSched *sched)
{
    if (co_self())
        return;
    pthread_mutex_lock(&sched->lock);
    CoQueue round = sched->woken;
    sched->woken = (CoQueue){NULL, NULL};
    pthread_mutex_unlock(&sched->lock);
    Coroutine *co;
    while ((co = queue_pop(&round)))
        co_enter(co);
}

static void co_sched_run(void *opaque)
{
    co_sched_run_woken(opaque);
}

CoSched *co_sched_new(EventLoop *loop)
{
    CoSched *sched = g_new0(CoSched, 1);
    sched->loop = loop;
    sched->bh = bh_new(loop, co_sched_run, sched);
    pthread_mutex_init(&sched->lock, NULL);
    return sched;
}

void co_sched_free(CoSched *sched)
{
    if (!sched)
        return;
    /* The thread that woke the last coroutine may still hold the lock. */
    pthread_mutex_lock(&sched->lock);
    pthread_mutex_unlock(&sched->lock);
    pthread_mutex_destroy(&sched->lock);
    bh_free(sched->bh);
    g_free(sched);
}

EventLoop *co_sched_loop(const CoSched *sched)
{
    return sched->loop;
}

void co_wake(Coroutine *co)
{
    CoSched *sched = co->sched;
    pthread_mutex_lock(&sched->lock);
    queue_push(&sched->woken, co);
    if (sched->woken.first == co)
        bh_schedule(sched->bh);
    pthread_mutex_unlock(&sched->lock);
}
