/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back end "user": libslirp between a NIC and the host's sockets.
 *
 * Frames go into slirp when the NIC sends them, and out of it from there or from the main loop, so
 * one may answer the other: slirp is never entered twice, a frame that comes meanwhile is refused
 * for a moment.  What the NIC has no room for waits in a short queue; while it does, sockets are
 * not read, so that their peers wait, too.
 */
#include <string.h>

#include "user_private.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

/* A guest that takes nothing: the rest is lost, as on any network. */
enum { QUEUE_MAX = 1 << 20 };
/* What it asks for when it is idle. */
enum { SLIRP_IDLE_MS = 1000 };

/* ---- From slirp to the NIC ---- */

static ssize_t send_packet(const void *buf, size_t length, void *opaque)
{
    User *user = opaque;

    if (g_queue_is_empty(&user->queue) && net_send_buf(&user->end, buf, length))
        return (ssize_t)length;
    if (user->queued + length > QUEUE_MAX) {
        user->end.dropped++;
        return (ssize_t)length;
    }
    user->queued += length;
    g_queue_push_tail(&user->queue, g_bytes_new(buf, length));
    return (ssize_t)length;
}

static void user_writable(NetEnd *end)
{
    User *user = end->opaque;
    GBytes *frame;

    while ((frame = g_queue_peek_head(&user->queue))) {
        gsize length;
        const void *data = g_bytes_get_data(frame, &length);
        if (!net_send_buf(end, data, length))
            return;
        user->queued -= length;
        g_bytes_unref(g_queue_pop_head(&user->queue));
    }
    if (user->poller)
        loop_poller_changed(user->poller); /* sockets are read again */
}

/* ---- What slirp asks of us ---- */

static void slirp_guest_error(const char *msg, void *opaque)
{
    guest_error("user network: %s", msg);
}

/* What it logs by GLib is what guests do, too: not for the terminal, and never fatal. */
static void slirp_log(const char *domain, GLogLevelFlags level, const char *message, void *opaque)
{
    guest_error("user network: %s", message);
}

static int64_t slirp_clock(void *opaque)
{
    return clock_now(VM_CLOCK_VIRTUAL);
}

typedef struct SlirpTimer {
    Timer timer;
    User *user;
    SlirpTimerCb cb;
    void *opaque;
} SlirpTimer;

static void timer_expired(void *opaque)
{
    SlirpTimer *timer = opaque;
    timer->user->inside = true;
    timer->cb(timer->opaque);
    timer->user->inside = false;
}

static void *slirp_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    SlirpTimer *timer = g_new0(SlirpTimer, 1);
    *timer = (SlirpTimer){.user = opaque, .cb = cb, .opaque = cb_opaque};
    timer_init(&timer->timer, loop_main(), VM_CLOCK_VIRTUAL, timer_expired, timer);
    return timer;
}

static void slirp_timer_free(void *timer, void *opaque)
{
    timer_cancel(&((SlirpTimer *)timer)->timer);
    g_free(timer);
}

static void slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    timer_arm(&((SlirpTimer *)timer)->timer, expire_ms * NS_PER_MS);
}

static void slirp_fd_changed(int fd, void *opaque)
{
}

static void slirp_notify(void *opaque)
{
    User *user = opaque;
    if (user->poller)
        loop_poller_changed(user->poller);
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = slirp_guest_error,
    .clock_get_ns = slirp_clock,
    .timer_new = slirp_timer_new,
    .timer_free = slirp_timer_free,
    .timer_mod = slirp_timer_mod,
    .register_poll_fd = slirp_fd_changed, /* prepare() names them all each time */
    .unregister_poll_fd = slirp_fd_changed,
    .notify = slirp_notify,
};

/* ---- Its sockets in the main loop ---- */

/* A bit there, a bit here. */
static const struct {
    int slirp;
    unsigned loop;
} event_bits[] = {
    {SLIRP_POLL_IN, LOOP_IN},   {SLIRP_POLL_PRI, LOOP_PRI}, {SLIRP_POLL_OUT, LOOP_OUT},
    {SLIRP_POLL_ERR, LOOP_ERR}, {SLIRP_POLL_HUP, LOOP_HUP},
};

static int add_poll(int fd, int events, void *opaque)
{
    User *user = opaque;
    unsigned wanted = 0;

    if (!g_queue_is_empty(&user->queue)) {
        events &= ~(SLIRP_POLL_IN | SLIRP_POLL_PRI | SLIRP_POLL_HUP);
        if (!(events & SLIRP_POLL_OUT))
            return -1; /* its hang-up would keep the loop busy */
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(event_bits); i++)
        if (events & event_bits[i].slirp)
            wanted |= event_bits[i].loop;
    return loop_poller_want(user->poller, fd, wanted);
}

static int get_revents(int index, void *opaque)
{
    User *user = opaque;
    int revents = 0;
    if (index < 0)
        return 0;
    unsigned got = loop_poller_got(user->poller, index);
    for (unsigned i = 0; i < G_N_ELEMENTS(event_bits); i++)
        if (got & event_bits[i].loop)
            revents |= event_bits[i].slirp;
    return revents;
}

static int user_prepare(void *opaque, LoopPoller *poller)
{
    User *user = opaque;
    uint32_t timeout = UINT32_MAX;

    user_poke_guest_forwards(user);
    slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
    /* It never asks for more than a second, when it has nothing to do; and its clock stands while
     * the guest does. */
    return timeout >= SLIRP_IDLE_MS || !vclock_running() ? -1 : (int)timeout;
}

static void user_dispatch(void *opaque, LoopPoller *poller)
{
    User *user = opaque;
    user->inside = true;
    slirp_pollfds_poll(user->slirp, 0, get_revents, user);
    user->inside = false;
}

static const LoopPollerOps poller_ops = {user_prepare, user_dispatch};

bool user_start(User *user, GError **error)
{
    if (user->slirp)
        return true;
    g_log_set_handler("Slirp", G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL | G_LOG_FLAG_RECURSION,
                      slirp_log, NULL);
    user->slirp = slirp_new(&user->config, &callbacks, user);
    if (!user->slirp)
        return fail(error, "libslirp %s does not start", slirp_version_string());
    user->poller = loop_poller_add(loop_main(), &poller_ops, user);
    return true;
}

/* ---- From the NIC to slirp ---- */

static void enter_again(void *opaque)
{
    net_writable(&((User *)opaque)->end);
}

/* Whether the frame may tell slirp who has an address: ARP, or ICMPv6. */
static bool names_neighbour(const uint8_t *frame, size_t bytes)
{
    enum { TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd, NEXT_HEADER_AT = 14 + 6 };
    if (bytes <= NEXT_HEADER_AT)
        return false;
    unsigned type = ld16_be(frame + 12);
    return type == TYPE_ARP || (type == TYPE_IP6 && frame[NEXT_HEADER_AT] == IPPROTO_ICMPV6);
}

static bool user_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    static uint8_t whole[NET_FRAME_MAX];
    User *user = end->opaque;
    const uint8_t *frame = iov[0].iov_base;

    if (user->inside) {
        bh_schedule(user->again);
        return false;
    }
    if (!user->slirp && !user_start(user, NULL))
        return true;
    if (count > 1) {
        size_t at = 0;
        for (int i = 0; i < count; i++) {
            if (iov[i].iov_len)
                memcpy(whole + at, iov[i].iov_base, iov[i].iov_len);
            at += iov[i].iov_len;
        }
        frame = whole;
    }
    if (G_UNLIKELY(user->full_forwards)) {
        FrameFate fate = user_judge_frame(user, frame, bytes);
        end->dropped += fate == FRAME_IS_LOST;
        if (fate != FRAME_PASSES)
            return fate == FRAME_IS_LOST;
    }
    if (G_UNLIKELY(user_is_fragment(frame, bytes)) &&
        !(frame = user_reassemble(user, frame, &bytes)))
        return true;
    user->inside = true;
    slirp_input(user->slirp, frame, (int)bytes);
    /* What waits for a neighbour it sends only when it is polled, and the next time may be long. */
    if (G_UNLIKELY(names_neighbour(frame, bytes)))
        slirp_pollfds_poll(user->slirp, 1, NULL, NULL);
    user->inside = false;
    loop_poller_changed(user->poller);
    return true;
}

/* ---- The end ---- */

static void user_describe(NetEnd *end, GString *out)
{
    const User *user = end->opaque;
    char net[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];

    if (user->config.in_enabled)
        g_string_append_printf(out, "net=%s,mask=%s,",
                               inet_ntop(AF_INET, &user->config.vnetwork, net, sizeof(net)),
                               inet_ntop(AF_INET, &user->config.vnetmask, mask, sizeof(mask)));
    g_string_append_printf(out, "restrict=%s", user->config.restricted ? "on" : "off");
}

static void user_close(NetEnd *end)
{
    User *user = end->opaque;

    loop_poller_remove(user->poller);
    user->poller = NULL;
    user_free_forwards(user);
    if (user->slirp)
        slirp_cleanup(user->slirp);
    bh_free(user->again);
    g_free(user->fragments);
    g_queue_clear_full(&user->queue, (GDestroyNotify)g_bytes_unref);
    user_config_clear(user);
    g_free(user);
}

static const NetEndOps user_ops = {
    .kind = "user",
    .backend = true,
    .receive = user_receive,
    .writable = user_writable,
    .describe = user_describe,
    .close = user_close,
};

bool net_is_user(const NetEnd *end)
{
    return end->ops == &user_ops;
}

static void take_first(NetEnd *end, void *opaque)
{
    NetEnd **first = opaque;
    if (!*first && net_is_user(end))
        *first = end;
}

NetEnd *net_user_first(void)
{
    NetEnd *first = NULL;
    net_foreach(take_first, &first);
    return first;
}

static NetEnd *user_open(const char *id, const Options *opts, GError **error)
{
    User *user = g_new0(User, 1);

    user->strings = g_ptr_array_new_with_free_func(g_free);
    if (!user_configure(user, opts, error) ||
        !net_end_init(&user->end, &user_ops, id, user, error)) {
        user_config_clear(user);
        g_free(user);
        return NULL;
    }
    user->again = bh_new(loop_main(), enter_again, user);
    g_queue_init(&user->queue);
    if (!user_add_forwards(user, opts, error)) {
        net_close(&user->end);
        return NULL;
    }
    return &user->end;
}

static const char *const user_keys[] = {"ipv4",
                                        "net",
                                        "host",
                                        "ipv6",
                                        "ipv6-net",
                                        "ipv6-prefix",
                                        "ipv6-host",
                                        "restrict",
                                        "ipv6-prefixlen",
                                        "hostname",
                                        "dhcpstart",
                                        "dns",
                                        "ipv6-dns",
                                        "dnssearch",
                                        "domainname",
                                        "tftp",
                                        "tftp-server-name",
                                        "bootfile",
                                        "hostfwd",
                                        "guestfwd",
                                        "smb",
                                        "smbserver",
                                        NULL};

const NetType net_type_user = {
    "user",
    "[,net=ADDR/BITS][,host=ADDR][,dhcpstart=ADDR][,dns=ADDR][,hostname=NAME][,domainname=NAME]"
    "[,dnssearch=NAME]...[,restrict=on][,ipv4=off][,ipv6=off][,ipv6-net=ADDR/BITS][,ipv6-host=ADDR]"
    "[,ipv6-dns=ADDR][,tftp=DIR][,bootfile=FILE][,tftp-server-name=NAME]"
    "[,hostfwd=[tcp|udp]:[ADDR]:PORT-[ADDR]:PORT]...[,guestfwd=[tcp]:ADDR:PORT-DEV|cmd:COMMAND]...",
    user_keys,
    user_open,
};
