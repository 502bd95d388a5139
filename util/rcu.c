/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Epoch-based deferred freeing.
 *
 * A reader stores the global epoch in its thread's record when it enters, 0 when it leaves.
 * Retiring raises the global epoch and stamps the data with the new value: whoever entered with a
 * smaller epoch may still see it; whoever entered later loads the new pointer.  The reader's store
 * is sequentially consistent, so it cannot sink below the pointer loads of the section.
 */
#include "util/rcu.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Reader {
    uint64_t epoch; /* atomic; 0: outside */
    unsigned nest;
    bool used;
    struct Reader *next;
} Reader;

typedef struct Retired {
    void *data;
    GDestroyNotify free_fn;
    uint64_t epoch;
} Retired;

static GMutex rcu_lock;
static uint64_t global_epoch = 1;
static Reader *readers; /* records are never freed, only reused */
static GQueue retired = G_QUEUE_INIT;
static unsigned retired_count; /* atomic: a cheap look before taking the lock */

static void reader_release(gpointer data)
{
    Reader *reader = data;
    g_mutex_lock(&rcu_lock);
    reader->used = false;
    g_mutex_unlock(&rcu_lock);
}

static GPrivate reader_key = G_PRIVATE_INIT(reader_release);
static __thread Reader *this_reader;

static Reader *reader_claim(void)
{
    g_mutex_lock(&rcu_lock);
    Reader *reader = readers;
    while (reader && reader->used)
        reader = reader->next;
    if (!reader) {
        reader = g_new0(Reader, 1);
        reader->next = readers;
        readers = reader;
    }
    reader->used = true;
    g_mutex_unlock(&rcu_lock);
    g_private_set(&reader_key, reader);
    this_reader = reader;
    return reader;
}

void rcu_read_lock(void)
{
    Reader *reader = this_reader ? this_reader : reader_claim();
    if (reader->nest++ == 0)
        __atomic_store_n(&reader->epoch, __atomic_load_n(&global_epoch, __ATOMIC_SEQ_CST),
                         __ATOMIC_SEQ_CST);
}

void rcu_read_unlock(void)
{
    Reader *reader = this_reader;
    if (--reader->nest == 0)
        __atomic_store_n(&reader->epoch, 0, __ATOMIC_RELEASE);
}

/* rcu_lock held. */
static uint64_t oldest_reader(void)
{
    uint64_t oldest = UINT64_MAX;
    for (Reader *reader = readers; reader; reader = reader->next) {
        uint64_t epoch = __atomic_load_n(&reader->epoch, __ATOMIC_SEQ_CST);
        if (epoch && epoch < oldest)
            oldest = epoch;
    }
    return oldest;
}

void rcu_reclaim(void)
{
    if (!__atomic_load_n(&retired_count, __ATOMIC_RELAXED))
        return;
    GQueue ready = G_QUEUE_INIT;
    g_mutex_lock(&rcu_lock);
    uint64_t oldest = oldest_reader();
    Retired *item;
    while ((item = g_queue_peek_head(&retired)) && item->epoch <= oldest)
        g_queue_push_tail(&ready, g_queue_pop_head(&retired));
    __atomic_store_n(&retired_count, g_queue_get_length(&retired), __ATOMIC_RELAXED);
    g_mutex_unlock(&rcu_lock);
    while ((item = g_queue_pop_head(&ready))) {
        item->free_fn(item->data);
        g_free(item);
    }
}

void rcu_free_later(void *data, GDestroyNotify free_fn)
{
    Retired *item = g_new(Retired, 1);
    item->data = data;
    item->free_fn = free_fn;
    g_mutex_lock(&rcu_lock);
    item->epoch = __atomic_add_fetch(&global_epoch, 1, __ATOMIC_SEQ_CST);
    g_queue_push_tail(&retired, item);
    __atomic_store_n(&retired_count, g_queue_get_length(&retired), __ATOMIC_RELAXED);
    g_mutex_unlock(&rcu_lock);
    rcu_reclaim();
}
