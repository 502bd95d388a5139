/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines, their queues and mutexes, and the thread pool under them. */
#include <string.h>
#include <unistd.h>

#include "util/coroutine.h"
#include "util/threadpool.h"

static CoSched *sched;
static GString *trace;

static void run_until(const int *counter, int value)
{
    while (*counter < value)
        loop_step(loop_main(), true);
}

/* ---- Start, yield, wake ---- */

typedef struct Steps {
    Coroutine *co;
    int step;
    bool after;
} Steps;

static void steps_main(void *opaque)
{
    Steps *s = opaque;
    s->co = co_self();
    for (s->step = 1; s->step < 4; s->step++)
        co_yield ();
}

static void steps_after(void *opaque)
{
    g_assert_null(co_self());
    ((Steps *)opaque)->after = true;
}

static void test_steps(void)
{
    Steps s = {0};
    g_assert_null(co_self());
    co_start(sched, steps_main, steps_after, &s);
    g_assert_cmpint(s.step, ==, 1);
    for (int i = 2; i <= 4; i++) {
        g_assert_false(s.after);
        co_wake(s.co);
        g_assert_cmpint(s.step, ==, i - 1); /* never at once */
        run_until(&s.step, i);
    }
    g_assert_true(s.after);
    g_assert_null(co_self());
}

static void deep(int *count, int depth)
{
    volatile char fill[512];
    memset((char *)fill, depth, sizeof(fill));
    if (depth)
        deep(count, depth - 1);
    *count += fill[depth % 512] == (char)depth;
}

static void deep_main(void *opaque)
{
    deep(opaque, 200);
}

static void test_stack(void)
{
    int count = 0;
    co_start(sched, deep_main, NULL, &count);
    g_assert_cmpint(count, ==, 201);
}

/* ---- Nesting: a coroutine that starts others ---- */

static void inner_main(void *opaque)
{
    g_string_append_c(trace, 'i');
    co_wake(co_self());
    co_yield ();
    g_string_append_c(trace, 'I');
}

static void outer_main(void *opaque)
{
    g_string_append_c(trace, 'o');
    co_start(sched, inner_main, NULL, NULL);
    g_string_append_c(trace, 'o');
    co_start(sched, inner_main, NULL, NULL);
    co_wake(co_self());
    co_yield ();
    g_string_append_c(trace, 'O');
    (*(int *)opaque)++;
}

static void test_nested(void)
{
    int ended = 0;
    g_string_truncate(trace, 0);
    co_start(sched, outer_main, NULL, &ended);
    g_assert_cmpstr(trace->str, ==, "oioi");
    run_until(&ended, 1);
    g_assert_cmpstr(trace->str, ==, "oioiIIO");
}

/* ---- Mutex and queue: first come, first served ---- */

static CoMutex mutex;
static int ended, inside;

static void mutex_main(void *opaque)
{
    co_mutex_lock(&mutex);
    g_assert_cmpint(inside++, ==, 0);
    g_string_append_c(trace, *(char *)opaque);
    co_wake(co_self());
    co_yield ();
    inside--;
    co_mutex_unlock(&mutex);
    ended++;
}

static void test_mutex(void)
{
    static char names[] = "abcdefgh";
    g_string_truncate(trace, 0);
    ended = 0;
    for (int i = 0; i < 8; i++)
        co_start(sched, mutex_main, NULL, &names[i]);
    run_until(&ended, 8);
    g_assert_cmpstr(trace->str, ==, names);
    g_assert_false(mutex.locked);
}

/* ---- The pool ---- */

static int square(void *opaque)
{
    int n = *(int *)opaque;
    if (n % 7 == 0)
        usleep(1000);
    return n * n;
}

static void pool_user(void *opaque)
{
    int n = *(int *)opaque;
    for (int i = 0; i < 50; i++)
        g_assert_cmpint(co_pool(square, &n), ==, n * n);
    ended++;
}

static void test_pool(void)
{
    int numbers[100];
    ended = 0;
    for (int i = 0; i < 100; i++) {
        numbers[i] = i;
        co_start(sched, pool_user, NULL, &numbers[i]);
    }
    run_until(&ended, 100);
    g_assert_cmpuint(pool_threads(), >=, 1);
    g_assert_cmpuint(pool_threads(), <=, 64);
    int n = 12;
    g_assert_cmpint(co_pool(square, &n), ==, 144); /* outside a coroutine: a plain call */
}

/* ---- Started by one thread, ended by another ---- */

static gpointer starter(gpointer data)
{
    static int numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 8; i++) {
        loop_lock(loop_main());
        co_start(sched, pool_user, NULL, &numbers[i]);
        loop_unlock(loop_main());
    }
    return NULL;
}

static void test_threads(void)
{
    ended = 0;
    GThread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = g_thread_new("starter", starter, NULL);
    run_until(&ended, 32);
    loop_unlock(loop_main());
    for (int i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    loop_lock(loop_main());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    trace = g_string_new(NULL);
    g_test_add_func("/coroutine/steps", test_steps);
    g_test_add_func("/coroutine/stack", test_stack);
    g_test_add_func("/coroutine/nested", test_nested);
    g_test_add_func("/coroutine/mutex", test_mutex);
    g_test_add_func("/coroutine/pool", test_pool);
    g_test_add_func("/coroutine/threads", test_threads);
    int result = g_test_run();
    co_sched_free(sched);
    g_string_free(trace, TRUE);
    loop_unlock(loop_main());
    return result;
}
