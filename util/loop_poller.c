/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that polls by itself as one source of a loop. */
#include "loop_private.h"
#include "util/timer.h"

struct LoopPoller {
    GSource source; /* must be first: GLib allocates and frees it */
    EventLoop *loop;
    const LoopPollerOps *ops;
    void *opaque;
    GPtrArray *fds;   /* of GPollFD; the first `wanted` are in the source */
    unsigned wanted;  /* since prepare() began */
    unsigned watched; /* how many are in the source */
    int64_t deadline; /* host ns, or -1 */
    bool prepared;    /* and nothing has changed since */
};

static void unwatch_from(LoopPoller *poller, unsigned first)
{
    while (poller->watched > first)
        g_source_remove_poll(&poller->source, g_ptr_array_index(poller->fds, --poller->watched));
}

int loop_poller_want(LoopPoller *poller, int fd, unsigned events)
{
    unsigned n = poller->wanted++;

    if (n == poller->fds->len)
        g_ptr_array_add(poller->fds, g_new0(GPollFD, 1));
    GPollFD *slot = g_ptr_array_index(poller->fds, n);
    if (n < poller->watched && slot->fd != fd)
        unwatch_from(poller, n); /* the order matters to GLib: anew from here */
    slot->fd = fd;
    slot->events = (gushort)(events | LOOP_ERR | LOOP_HUP);
    if (n >= poller->watched) {
        g_source_add_poll(&poller->source, slot);
        poller->watched++;
    }
    return (int)n;
}

unsigned loop_poller_got(const LoopPoller *poller, int number)
{
    const GPollFD *slot = g_ptr_array_index(poller->fds, (guint)number);
    return slot->revents;
}

void loop_poller_changed(LoopPoller *poller)
{
    if (!poller->prepared)
        return;
    poller->prepared = false;
    loop_wake(poller->loop);
}

static gboolean poller_prepare(GSource *source, gint *timeout)
{
    LoopPoller *poller = (LoopPoller *)source;

    poller->wanted = 0;
    *timeout = poller->ops->prepare(poller->opaque, poller);
    unwatch_from(poller, poller->wanted);
    for (unsigned i = 0; i < poller->wanted; i++)
        ((GPollFD *)g_ptr_array_index(poller->fds, i))->revents = 0;
    poller->deadline = *timeout < 0 ? -1 : clock_now(VM_CLOCK_HOST) + (int64_t)*timeout * NS_PER_MS;
    poller->prepared = true;
    return *timeout == 0;
}

static gboolean poller_check(GSource *source)
{
    const LoopPoller *poller = (LoopPoller *)source;

    for (unsigned i = 0; i < poller->watched; i++)
        if (loop_poller_got(poller, (int)i))
            return TRUE;
    return poller->deadline >= 0 && clock_now(VM_CLOCK_HOST) >= poller->deadline;
}

static gboolean poller_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    LoopPoller *poller = (LoopPoller *)source;
    poller->prepared = false; /* the loop does not wait: nobody need wake it */
    poller->ops->dispatch(poller->opaque, poller);
    return G_SOURCE_CONTINUE;
}

static void poller_finalize(GSource *source)
{
    g_ptr_array_free(((LoopPoller *)source)->fds, TRUE);
}

static GSourceFuncs poller_funcs = {
    .prepare = poller_prepare,
    .check = poller_check,
    .dispatch = poller_dispatch,
    .finalize = poller_finalize,
};

LoopPoller *loop_poller_add(EventLoop *loop, const LoopPollerOps *ops, void *opaque)
{
    LoopPoller *poller = (LoopPoller *)g_source_new(&poller_funcs, sizeof(LoopPoller));
    poller->loop = loop;
    poller->ops = ops;
    poller->opaque = opaque;
    poller->fds = g_ptr_array_new_with_free_func(g_free);
    g_source_attach(&poller->source, loop->context);
    loop_wake(loop);
    return poller;
}

void loop_poller_remove(LoopPoller *poller)
{
    if (!poller)
        return;
    unwatch_from(poller, 0);
    g_source_destroy(&poller->source);
    g_source_unref(&poller->source);
}
