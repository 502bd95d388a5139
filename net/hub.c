/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hubs: what comes in at one port goes out at all others, each of which leads to a NIC or a back
 * end.  With two ports a refusal is passed on; with more, one slow port must not hold up the rest,
 * so each has a short queue.
 *
 * While a frame is going round, ports refuse others (a back end's answer) until it is done, so a
 * hub is never entered twice.
 */
#include <string.h>

#include "net_private.h"
#include "util/error.h"

enum { PORT_QUEUE_MAX = 256 << 10, HUBS_MAX = 1024 };

typedef struct Hub {
    unsigned number;
    GPtrArray *ports; /* of Port */
    bool busy;
} Hub;

typedef struct Port {
    NetEnd end;
    Hub *hub;
    GQueue queue; /* of GBytes: what the peer had no room for */
    size_t queued;
} Port;

static GPtrArray *hubs; /* of Hub */

static void enqueue(Port *port, const struct iovec *iov, int count, size_t bytes)
{
    if (port->queued + bytes > PORT_QUEUE_MAX) {
        port->end.dropped++;
        return;
    }
    GByteArray *copy = g_byte_array_sized_new((guint)bytes);
    for (int i = 0; i < count; i++)
        g_byte_array_append(copy, iov[i].iov_base, (guint)iov[i].iov_len);
    port->queued += bytes;
    g_queue_push_tail(&port->queue, g_byte_array_free_to_bytes(copy));
}

static void tell_ports(Hub *hub, const Port *but)
{
    for (unsigned i = 0; i < hub->ports->len; i++) {
        Port *port = g_ptr_array_index(hub->ports, i);
        if (port != but)
            net_writable(&port->end);
    }
}

static bool go_round(Hub *hub, Port *from, const struct iovec *iov, int count, size_t bytes)
{
    bool taken = true;

    for (unsigned i = 0; i < hub->ports->len; i++) {
        Port *port = g_ptr_array_index(hub->ports, i);
        if (port == from)
            continue;
        if (g_queue_is_empty(&port->queue) && net_send(&port->end, iov, count))
            continue;
        if (hub->ports->len == 2 && g_queue_is_empty(&port->queue))
            taken = false;
        else
            enqueue(port, iov, count, bytes);
    }
    return taken;
}

static bool port_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Port *from = end->opaque;
    Hub *hub = from->hub;

    if (hub->busy)
        return false;
    hub->busy = true;
    bool taken = go_round(hub, from, iov, count, bytes);
    hub->busy = false;
    tell_ports(hub, from);
    return taken;
}

static void port_writable(NetEnd *end)
{
    Port *port = end->opaque;
    GBytes *frame;

    while ((frame = g_queue_peek_head(&port->queue))) {
        gsize bytes;
        const void *data = g_bytes_get_data(frame, &bytes);
        if (!net_send_buf(end, data, bytes))
            return;
        port->queued -= bytes;
        g_bytes_unref(g_queue_pop_head(&port->queue));
    }
    if (!port->hub->busy)
        tell_ports(port->hub, port);
}

/* Who waited for this port waits for nobody now. */
static void leave_hub(Port *port)
{
    Hub *hub = port->hub;

    g_ptr_array_remove(hub->ports, port);
    if (hub->ports->len) {
        tell_ports(hub, NULL);
        return;
    }
    g_ptr_array_free(hub->ports, TRUE);
    g_ptr_array_remove(hubs, hub);
    g_free(hub);
}

static void port_close(NetEnd *end)
{
    Port *port = end->opaque;
    leave_hub(port);
    g_queue_clear_full(&port->queue, (GDestroyNotify)g_bytes_unref);
    g_free(port);
}

static const NetEndOps port_ops = {
    .kind = "hubport",
    .backend = true,
    .receive = port_receive,
    .writable = port_writable,
    .close = port_close,
};

static Hub *join_hub(unsigned number)
{
    if (!hubs)
        hubs = g_ptr_array_new();
    for (unsigned i = 0; i < hubs->len; i++)
        if (((Hub *)g_ptr_array_index(hubs, i))->number == number)
            return g_ptr_array_index(hubs, i);
    Hub *hub = g_new0(Hub, 1);
    hub->number = number;
    hub->ports = g_ptr_array_new();
    g_ptr_array_add(hubs, hub);
    return hub;
}

static NetEnd *port_open(const char *id, const Options *opts, GError **error)
{
    const char *netdev = options_get(opts, "netdev");
    uint64_t number = 0;
    NetEnd *other = NULL;

    if (!options_has(opts, "hubid"))
        return net_fail_value(opts, "hubid", "the hub's number is missing", error);
    if (!options_get_uint(opts, "hubid", 0, HUBS_MAX - 1, &number, error) ||
        (netdev && !(other = net_resolve(netdev, error))))
        return NULL;
    if (other && other->ops == &port_ops)
        return net_fail_value(opts, "netdev", "it is a port of a hub itself", error);
    Port *port = g_new0(Port, 1);
    if (!net_end_init(&port->end, &port_ops, id, port, error)) {
        g_free(port);
        return NULL;
    }
    g_queue_init(&port->queue);
    port->hub = join_hub((unsigned)number);
    g_ptr_array_add(port->hub->ports, port);
    if (other && !net_connect(&port->end, other, error)) {
        net_close(&port->end);
        return NULL;
    }
    return &port->end;
}

bool net_is_hubport(const NetEnd *end)
{
    return end->ops == &port_ops;
}

void net_hubs_describe(void (*line)(NetEnd *end, const char *indent, GString *out), GString *out)
{
    for (unsigned i = 0; hubs && i < hubs->len; i++) {
        const Hub *hub = g_ptr_array_index(hubs, i);
        g_string_append_printf(out, "hub %u\n", hub->number);
        for (unsigned n = 0; n < hub->ports->len; n++) {
            const Port *port = g_ptr_array_index(hub->ports, n);
            g_autofree char *indent = g_strdup_printf(" \\ %s: ", port->end.id);
            if (port->end.peer)
                line(port->end.peer, indent, out);
            else
                g_string_append_printf(out, " \\ %s\n", port->end.id);
        }
    }
}

static const char *const port_keys[] = {"hubid", "netdev", NULL};

const NetType net_type_hubport = {"hubport", ",hubid=N[,netdev=ID]", port_keys, port_open};
