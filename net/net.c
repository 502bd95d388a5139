/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends and what passes between them: see the header. */
#include "net/net.h"

#include <inttypes.h>
#include <string.h>

#include "net_private.h"
#include "util/error.h"
#include "util/log.h"

static GPtrArray *ends; /* of NetEnd, in order of their making */

/* ---- Names ---- */

static NetEnd *find_kind(const char *id, bool backend)
{
    for (unsigned i = 0; ends && i < ends->len; i++) {
        NetEnd *end = g_ptr_array_index(ends, i);
        if (end->ops->backend == backend && !strcmp(end->id, id))
            return end;
    }
    return NULL;
}

NetEnd *net_find(const char *id)
{
    NetEnd *end = find_kind(id, true);
    return end ? end : find_kind(id, false);
}

static char *list_ids(bool nics)
{
    GString *all = g_string_new(NULL);
    for (unsigned i = 0; ends && i < ends->len; i++) {
        NetEnd *end = g_ptr_array_index(ends, i);
        if (end->ops->backend || nics)
            g_string_append_printf(all, "%s%s", all->len ? ", " : "", end->id);
    }
    return g_string_free(all, FALSE);
}

static bool fail_no_end(const char *what, const char *id, bool nics, GError **error)
{
    g_autofree char *all = list_ids(nics);
    if (!*all)
        return fail(error, "there is no %s '%s', nor any other", what, id);
    return fail(error, "there is no %s '%s'; there are: %s", what, id, all);
}

void *net_resolve(const char *id, GError **error)
{
    NetEnd *end = find_kind(id, true);
    if (!end)
        fail_no_end("network", id, false, error);
    return end;
}

void net_foreach(void (*fn)(NetEnd *end, void *opaque), void *opaque)
{
    for (unsigned i = 0; ends && i < ends->len; i++)
        fn(g_ptr_array_index(ends, i), opaque);
}

static char *free_name(const NetEndOps *ops)
{
    for (unsigned n = 0;; n++) {
        char *name = g_strdup_printf("%s.%u", ops->kind, n);
        if (!find_kind(name, ops->backend))
            return name;
        g_free(name);
    }
}

/* ---- Life of an end ---- */

bool net_end_init(NetEnd *end, const NetEndOps *ops, const char *id, void *opaque, GError **error)
{
    if (id && find_kind(id, ops->backend))
        return fail(error, "the id '%s' is taken by another %s", id,
                    ops->backend ? "network" : "network card");
    if (!ends)
        ends = g_ptr_array_new();
    *end = (NetEnd){.ops = ops, .opaque = opaque};
    end->id = id ? g_strdup(id) : free_name(ops);
    g_ptr_array_add(ends, end);
    return true;
}

void net_end_fini(NetEnd *end)
{
    if (!end->id)
        return;
    if (end->peer)
        end->peer->peer_waits = false; /* nobody is to call into what is going away */
    net_disconnect(end);
    while (end->taps && end->taps->len) {
        NetTap *tap = g_ptr_array_remove_index(end->taps, end->taps->len - 1);
        if (tap->end_gone)
            tap->end_gone(tap);
    }
    g_clear_pointer(&end->taps, g_ptr_array_unref);
    g_ptr_array_remove(ends, end);
    g_clear_pointer(&end->id, g_free);
    g_clear_pointer(&end->wanted, g_free);
}

static void link_changed(NetEnd *end)
{
    if (end->ops->link_changed)
        end->ops->link_changed(end, net_link_up(end));
}

bool net_connect(NetEnd *nic, NetEnd *backend, GError **error)
{
    if (backend->peer)
        return fail(error, "the network '%s' is in use by '%s' already", backend->id,
                    backend->peer->id);
    if (nic->peer)
        return fail(error, "'%s' is on the network '%s' already", nic->id, nic->peer->id);
    nic->peer = backend;
    backend->peer = nic;
    g_free(nic->wanted);
    nic->wanted = g_strdup(backend->id);
    link_changed(nic);
    link_changed(backend);
    return true;
}

void net_reconnect(NetEnd *backend)
{
    for (unsigned i = 0; i < ends->len && !backend->peer; i++) {
        NetEnd *end = g_ptr_array_index(ends, i);
        if (!end->peer && !g_strcmp0(end->wanted, backend->id))
            net_connect(end, backend, NULL);
    }
}

void net_disconnect(NetEnd *end)
{
    NetEnd *peer = end->peer;
    if (!peer)
        return;
    end->peer = peer->peer = NULL;
    bool end_waits = peer->peer_waits, peer_waits = end->peer_waits;
    end->peer_waits = peer->peer_waits = false;
    link_changed(peer);
    /* Whoever keeps a frame for a peer may now drop it. */
    if (peer_waits && peer->ops->writable)
        peer->ops->writable(peer);
    if (end_waits && end->ops->writable)
        end->ops->writable(end);
}

/* ---- Frames ---- */

static size_t iov_bytes(const struct iovec *iov, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static void show_taps(const NetEnd *end, const struct iovec *iov, int count, size_t bytes,
                      bool sent)
{
    for (unsigned i = 0; end->taps && i < end->taps->len; i++) {
        NetTap *tap = g_ptr_array_index(end->taps, i);
        tap->frame(tap, iov, count, bytes, sent);
    }
}

static void tell_taps(const NetEnd *end, bool taken)
{
    for (unsigned i = 0; end->taps && i < end->taps->len; i++) {
        NetTap *tap = g_ptr_array_index(end->taps, i);
        if (tap->done)
            tap->done(tap, taken);
    }
}

bool net_link_up(const NetEnd *end)
{
    return end->peer && !end->link_down && !end->peer->link_down;
}

/* Counts first, since an answer may come before receive() returns; takes it back if refused. */
static bool deliver(NetEnd *end, NetEnd *peer, const struct iovec *iov, int count, size_t bytes)
{
    end->tx_frames++, end->tx_bytes += bytes;
    peer->rx_frames++, peer->rx_bytes += bytes;
    bool taken = peer->ops->receive(peer, iov, count, bytes);
    if (!taken) {
        end->tx_frames--, end->tx_bytes -= bytes;
        peer->rx_frames--, peer->rx_bytes -= bytes;
        peer->peer_waits = true;
    }
    return taken;
}

/* A frame in more pieces than system calls take, joined. */
static bool send_joined(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    g_autofree uint8_t *frame = g_malloc(bytes);
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len)
            memcpy(frame + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    return net_send_buf(end, frame, bytes);
}

bool net_send(NetEnd *end, const struct iovec *iov, int count)
{
    NetEnd *peer = end->peer;
    size_t bytes = iov_bytes(iov, count);

    if (!net_link_up(end) || !bytes || bytes > NET_FRAME_MAX) {
        end->dropped++;
        return true;
    }
    if (G_UNLIKELY(peer->stopped)) {
        peer->peer_waits = true;
        return false;
    }
    if (G_UNLIKELY(count > NET_PIECES_MAX))
        return send_joined(end, iov, count, bytes);
    if (G_LIKELY(!end->taps && !peer->taps && !log_on(LOG_NET)))
        return deliver(end, peer, iov, count, bytes);
    show_taps(end, iov, count, bytes, true);
    show_taps(peer, iov, count, bytes, false);
    bool taken = deliver(end, peer, iov, count, bytes);
    tell_taps(end, taken);
    tell_taps(peer, taken);
    log_printf(LOG_NET, "net: %s -> %s: %zu bytes%s", end->id, peer->id, bytes,
               taken ? "" : " have to wait");
    return taken;
}

bool net_send_buf(NetEnd *end, const void *frame, size_t bytes)
{
    struct iovec iov = {(void *)frame, bytes};
    return net_send(end, &iov, 1);
}

void net_writable(NetEnd *end)
{
    if (G_LIKELY(!end->peer_waits) || end->stopped)
        return;
    end->peer_waits = false;
    if (end->peer && end->peer->ops->writable)
        end->peer->ops->writable(end->peer);
}

void net_set_stopped(NetEnd *end, bool stopped)
{
    if (end->stopped == stopped)
        return;
    end->stopped = stopped;
    if (stopped)
        return;
    net_writable(end);
    if (end->peer)
        end->peer->peer_waits = false; /* what it owes is done here */
    if (end->ops->writable)
        end->ops->writable(end);
}

void net_add_tap(NetEnd *end, NetTap *tap)
{
    if (!end->taps)
        end->taps = g_ptr_array_new();
    g_ptr_array_add(end->taps, tap);
}

void net_remove_tap(NetEnd *end, NetTap *tap)
{
    if (!end->taps)
        return;
    g_ptr_array_remove(end->taps, tap);
    if (!end->taps->len)
        g_clear_pointer(&end->taps, g_ptr_array_unref);
}

/* ---- The command line and the monitor ---- */

void net_close(NetEnd *end)
{
    net_end_fini(end);
    end->ops->close(end);
}

void net_close_all(void)
{
    for (unsigned i = ends ? ends->len : 0; i-- > 0;) {
        NetEnd *end = g_ptr_array_index(ends, i);
        if (end->ops->backend)
            net_close(end);
    }
}

bool net_set_link(const char *id, bool up, GError **error)
{
    g_autofree char *first = g_strconcat(id, ".0", NULL);
    NetEnd *end = find_kind(id, false);
    if (!end)
        end = find_kind(id, true);
    if (!end)
        end = find_kind(first, false);
    if (!end)
        return fail_no_end("network or network card", id, true, error);
    if (end->link_down == !up)
        return true;
    end->link_down = !up;
    NetEnd *peer = end->peer;
    link_changed(end);
    if (peer) {
        link_changed(peer);
        net_writable(end);
        net_writable(peer);
    }
    return true;
}

void net_default_mac(uint8_t mac[NET_MAC_BYTES], const char *seed, unsigned n)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t digest[32];
    gsize length = sizeof(digest);

    g_checksum_update(sum, (const guchar *)seed, -1);
    g_checksum_get_digest(sum, digest, &length);
    uint32_t low = ((uint32_t)digest[0] << 16 | (uint32_t)digest[1] << 8 | digest[2]) + n;
    memcpy(mac, "\x52\x54\x00", 3);
    mac[3] = (uint8_t)(low >> 16);
    mac[4] = (uint8_t)(low >> 8);
    mac[5] = (uint8_t)low;
}

static void describe_end(NetEnd *end, const char *indent, GString *out)
{
    g_string_append_printf(out, "%s%s: index=0,type=%s", indent, end->id,
                           end->ops->backend ? end->ops->kind : "nic");
    if (end->ops->describe) {
        g_string_append_c(out, ',');
        end->ops->describe(end, out);
    }
    g_string_append_printf(out, ",rx=%" PRIu64 ",tx=%" PRIu64 ",dropped=%" PRIu64 "%s\n",
                           end->rx_frames, end->tx_frames, end->dropped,
                           end->link_down ? ",link=off" : "");
}

void net_describe_all(GString *out)
{
    net_hubs_describe(describe_end, out);
    for (unsigned i = 0; ends && i < ends->len; i++) {
        NetEnd *end = g_ptr_array_index(ends, i);
        bool below = end->peer && end->ops->backend && !end->peer->ops->backend;
        if (below || net_is_hubport(end) || (end->peer && net_is_hubport(end->peer)))
            continue; /* stands under its NIC, or its hub */
        describe_end(end, "", out);
        if (end->peer && !end->ops->backend)
            describe_end(end->peer, " \\ ", out);
    }
}
