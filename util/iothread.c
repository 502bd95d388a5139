/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O threads. */
#include "util/iothread.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/error.h"

struct IoThread {
    char *id;
    EventLoop *loop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t started;
    pid_t tid; /* lock until the thread has started, constant afterwards */
};

static GPtrArray *threads; /* of IoThread */

static void *iothread_main(void *opaque)
{
    IoThread *self = opaque;
    g_autofree char *name = g_strdup_printf("IO %.11s", self->id);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&self->lock);
    self->tid = (pid_t)syscall(SYS_gettid);
    pthread_cond_signal(&self->started);
    pthread_mutex_unlock(&self->lock);
    loop_lock(self->loop);
    loop_run(self->loop);
    loop_unlock(self->loop);
    return NULL;
}

static IoThread *look_up(const char *id)
{
    for (guint i = 0; threads && i < threads->len; i++) {
        IoThread *thread = g_ptr_array_index(threads, i);
        if (!strcmp(thread->id, id))
            return thread;
    }
    return NULL;
}

static void iothread_destroy(IoThread *self)
{
    loop_free(self->loop);
    pthread_cond_destroy(&self->started);
    pthread_mutex_destroy(&self->lock);
    g_free(self->id);
    g_free(self);
}

/* Signals stay with the main thread. */
static int start(IoThread *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&self->thread, NULL, iothread_main, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return err;
    pthread_mutex_lock(&self->lock);
    while (!self->tid)
        pthread_cond_wait(&self->started, &self->lock);
    pthread_mutex_unlock(&self->lock);
    return 0;
}

IoThread *iothread_new(const char *id, GError **error)
{
    if (look_up(id)) {
        fail(error, "there is an iothread '%s' already", id);
        return NULL;
    }
    IoThread *self = g_new0(IoThread, 1);
    self->id = g_strdup(id);
    self->loop = loop_new(id);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->started, NULL);
    int err = start(self);
    if (err) {
        fail_errno(error, err, "cannot start iothread '%s'", id);
        iothread_destroy(self);
        return NULL;
    }
    if (!threads)
        threads = g_ptr_array_new();
    g_ptr_array_add(threads, self);
    return self;
}

void iothread_free(IoThread *self)
{
    if (!self)
        return;
    loop_quit(self->loop);
    pthread_join(self->thread, NULL);
    g_ptr_array_remove(threads, self);
    iothread_destroy(self);
}

void iothread_free_all(void)
{
    while (threads && threads->len)
        iothread_free(g_ptr_array_index(threads, threads->len - 1));
    g_clear_pointer(&threads, g_ptr_array_unref);
}

IoThread *iothread_find(const char *id, GError **error)
{
    IoThread *thread = look_up(id);
    if (thread)
        return thread;
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; threads && i < threads->len; i++)
        g_string_append_printf(names, "%s%s", i ? ", " : "; there are: ",
                               ((IoThread *)g_ptr_array_index(threads, i))->id);
    fail(error, "no iothread with id '%s'%s", id, names->str);
    return NULL;
}

void iothread_foreach(void (*fn)(IoThread *thread, void *opaque), void *opaque)
{
    for (guint i = 0; threads && i < threads->len; i++)
        fn(g_ptr_array_index(threads, i), opaque);
}

EventLoop *iothread_loop(const IoThread *thread)
{
    return thread->loop;
}

const char *iothread_id(const IoThread *thread)
{
    return thread->id;
}

pid_t iothread_tid(const IoThread *thread)
{
    return thread->tid;
}
