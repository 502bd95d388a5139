/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back ends on a byte stream (TCP or a Unix socket) to another machine: each frame follows its
 * length in four bytes, the first the highest, as QEMU's do.
 *
 * A peer that does not read holds the guest's frames up for a second; what comes then is lost until
 * it reads again.
 */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/timer.h"

enum { LENGTH_BYTES = 4, BUFFER = 4 * NET_FRAME_MAX };
#define PATIENCE NS_PER_SEC

typedef struct Stream {
    NetEnd end;
    NetStreamConfig config;
    int listen_fd, fd;  /* -1: none */
    NetAddress address; /* that it listens at, or is or was last connecting to */
    unsigned tried;     /* of the addresses, by this attempt to connect */
    bool owns_path;     /* made the file that it listens at */
    bool connecting;
    LoopFd *listen_watch, *watch;
    unsigned events;
    Timer retry;    /* the next attempt to connect */
    Timer patience; /* runs while the peer takes nothing */
    bool dropping;  /* ... and has taken nothing for too long */
    bool waiting;   /* the NIC has no room: nothing is read */
    bool pumping;   /* in deliver_frames() */
    uint8_t *in;    /* BUFFER bytes */
    size_t in_start, in_end;
    GByteArray *out; /* the rest of a frame that went out in part */
    NetAddress peer; /* who is connected */
} Stream;

static void stream_event(void *opaque, int fd, unsigned revents);
static void accept_event(void *opaque, int fd, unsigned revents);

/* ---- The connection ---- */

/* What to wait for; nothing at all, and no hang-up either, while the NIC has no room. */
static void watch(Stream *s)
{
    unsigned events =
        (s->waiting || s->connecting ? 0 : LOOP_IN) |
        (s->connecting || s->out->len || timer_armed(&s->patience) || s->dropping ? LOOP_OUT : 0);
    if (s->watch && events == s->events)
        return;
    s->events = events;
    if (s->watch && events) {
        loop_fd_set(s->watch, events);
        return;
    }
    loop_fd_remove(s->watch);
    s->watch = events ? loop_fd_add(loop_main(), s->fd, events, stream_event, s) : NULL;
}

static void listen_again(Stream *s)
{
    if (s->listen_fd >= 0 && !s->listen_watch)
        s->listen_watch = loop_fd_add(loop_main(), s->listen_fd, LOOP_IN, accept_event, s);
}

static void hang_up(Stream *s)
{
    loop_fd_remove(s->watch);
    s->watch = NULL;
    timer_cancel(&s->patience);
    close(s->fd);
    s->fd = -1;
    s->connecting = s->dropping = s->waiting = false;
    s->in_start = s->in_end = 0;
    g_byte_array_set_size(s->out, 0);
}

static void retry_later(Stream *s)
{
    if (s->config.reconnect_ns)
        timer_arm(&s->retry, clock_now(VM_CLOCK_HOST) + s->config.reconnect_ns);
}

static void disconnect(Stream *s)
{
    hang_up(s);
    net_writable(&s->end);
    listen_again(s);
    retry_later(s);
}

static void connected(Stream *s)
{
    int on = 1;
    s->connecting = false;
    s->peer.length = sizeof(s->peer.any);
    getpeername(s->fd, (struct sockaddr *)&s->peer.any, &s->peer.length);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on Unix sockets */
    watch(s);
}

static void accept_event(void *opaque, int fd, unsigned revents)
{
    Stream *s = opaque;
    int new_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (new_fd < 0)
        return;
    loop_fd_remove(s->listen_watch); /* one at a time */
    s->listen_watch = NULL;
    s->fd = new_fd;
    connected(s);
}

/* 0: it is connected, or will be or not; or else the errno. */
static int connect_to(Stream *s, const NetAddress *to)
{
    int fd = socket(to->any.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    s->address = *to;
    if (fd < 0)
        return errno;
    s->fd = fd;
    if (!connect(fd, (const struct sockaddr *)&to->any, to->length)) {
        connected(s);
        return 0;
    }
    int result = errno;
    if (result == EINPROGRESS) {
        s->connecting = true;
        watch(s);
        return 0;
    }
    hang_up(s);
    return result;
}

/* Goes on with the addresses that are left; result is the last one's.  When there are none, it ends
 * this attempt and returns the result of the last. */
static int try_rest(Stream *s, int result)
{
    while (s->tried < s->config.addresses.count)
        if (!(result = connect_to(s, &s->config.addresses.at[s->tried++])))
            return 0;
    retry_later(s);
    return result;
}

static int start_connect(Stream *s)
{
    s->tried = 0;
    return try_rest(s, 0);
}

static void retry(void *opaque)
{
    Stream *s = opaque;
    if (s->fd < 0)
        start_connect(s);
}

static void finish_connect(Stream *s)
{
    int result = 0;
    socklen_t length = sizeof(result);

    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &result, &length);
    if (!result) {
        connected(s);
        return;
    }
    hang_up(s);
    result = try_rest(s, result);
    if (!result || s->config.reconnect_ns)
        return;
    g_autoptr(GString) to = g_string_new(NULL);
    net_address_describe(&s->address, to);
    report_warn("network '%s': %s: %s", s->end.id, to->str, g_strerror(result));
}

/* ---- From the NIC ---- */

static void lose_patience(void *opaque)
{
    Stream *s = opaque;
    s->dropping = true;
    net_writable(&s->end);
}

/* Sends the frame with its length; keeps the rest of one that went in part.  False: none of it
 * went.
 */
static bool send_frame(Stream *s, const struct iovec *iov, int count, size_t bytes)
{
    uint32_t length = GUINT32_TO_BE((uint32_t)bytes);
    struct iovec parts[NET_PIECES_MAX + 1] = {{&length, sizeof(length)}};
    int n = count + 1;

    memcpy(parts + 1, iov, sizeof(*iov) * (size_t)count);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)n};
    ssize_t sent = sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno != EAGAIN; /* a broken connection: stream_event() hears of it, too */
    for (int i = 0; i < n; i++) {
        size_t skip = MIN((size_t)sent, parts[i].iov_len);
        sent -= (ssize_t)skip;
        if (parts[i].iov_len > skip)
            g_byte_array_append(s->out, (uint8_t *)parts[i].iov_base + skip,
                                (guint)(parts[i].iov_len - skip));
    }
    return true;
}

static bool stream_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Stream *s = end->opaque;

    if (s->fd < 0 || s->connecting || s->dropping)
        return true; /* lost */
    bool taken = !s->out->len && send_frame(s, iov, count, bytes);
    if ((!taken || s->out->len) && !timer_armed(&s->patience))
        timer_arm(&s->patience, clock_now(VM_CLOCK_HOST) + PATIENCE);
    watch(s);
    return taken;
}

static void flush(Stream *s)
{
    while (s->out->len) {
        ssize_t n = send(s->fd, s->out->data, s->out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return;
        g_byte_array_remove_range(s->out, 0, (guint)n);
        timer_cancel(&s->patience);
        if (s->out->len)
            timer_arm(&s->patience, clock_now(VM_CLOCK_HOST) + PATIENCE);
    }
    timer_cancel(&s->patience);
    s->dropping = false;
    net_writable(&s->end);
}

/* ---- To the NIC ---- */

/* False: the peer's length is none; the connection is to end. */
static bool deliver_frames(Stream *s)
{
    while (s->in_end - s->in_start >= LENGTH_BYTES) {
        uint32_t length;
        memcpy(&length, s->in + s->in_start, sizeof(length));
        length = GUINT32_FROM_BE(length);
        if (!length || length > NET_FRAME_MAX) {
            report_warn("network '%s': a frame of %u bytes: the peer is no machine's; disconnected",
                        s->end.id, length);
            return false;
        }
        if (s->in_end - s->in_start - LENGTH_BYTES < length)
            break;
        if (!net_send_buf(&s->end, s->in + s->in_start + LENGTH_BYTES, length)) {
            s->waiting = true;
            break;
        }
        s->in_start += LENGTH_BYTES + length;
    }
    if (s->in_start) {
        memmove(s->in, s->in + s->in_start, s->in_end - s->in_start);
        s->in_end -= s->in_start;
        s->in_start = 0;
    }
    return true;
}

/* Not from within itself: the NIC may be told that there is room while it takes a frame. */
static void pump(Stream *s)
{
    if (s->pumping || s->fd < 0)
        return;
    s->pumping = true;
    s->waiting = false;
    bool good = deliver_frames(s);
    s->pumping = false;
    if (good)
        watch(s);
    else
        disconnect(s);
}

static void stream_writable(NetEnd *end)
{
    pump(end->opaque);
}

static void stream_event(void *opaque, int fd, unsigned revents)
{
    Stream *s = opaque;

    if (s->connecting) {
        finish_connect(s);
        return;
    }
    if (revents & LOOP_OUT)
        flush(s);
    if (s->fd == fd && (revents & (LOOP_IN | LOOP_HUP | LOOP_ERR)) && !s->waiting) {
        ssize_t n = recv(fd, s->in + s->in_end, BUFFER - s->in_end, MSG_DONTWAIT);
        if (!n || (n < 0 && errno != EAGAIN)) {
            disconnect(s);
            return;
        }
        s->in_end += n > 0 ? (size_t)n : 0;
        pump(s);
    } else if (s->fd == fd) {
        watch(s);
    }
}

/* ---- The end ---- */

static void stream_describe(NetEnd *end, GString *out)
{
    const Stream *s = end->opaque;
    bool up = s->fd >= 0 && !s->connecting;

    if (up)
        g_string_append(out, "connected to ");
    else
        g_string_append(out, s->listen_fd >= 0 ? "listening on " : "not connected to ");
    net_address_describe(up && s->peer.any.ss_family != AF_UNIX ? &s->peer : &s->address, out);
}

static void stream_close(NetEnd *end)
{
    Stream *s = end->opaque;

    loop_fd_remove(s->watch);
    loop_fd_remove(s->listen_watch);
    timer_cancel(&s->retry);
    timer_cancel(&s->patience);
    if (s->fd >= 0)
        close(s->fd);
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
        if (s->owns_path)
            unlink(s->address.local.sun_path);
    }
    g_byte_array_free(s->out, TRUE);
    g_free(s->in);
    g_free(s);
}

static const NetEndOps stream_ops = {
    .kind = "stream",
    .backend = true,
    .receive = stream_receive,
    .writable = stream_writable,
    .describe = stream_describe,
    .close = stream_close,
};

static const NetEndOps socket_ops = {
    .kind = "socket",
    .backend = true,
    .receive = stream_receive,
    .writable = stream_writable,
    .describe = stream_describe,
    .close = stream_close,
};

static bool fail_address(const Stream *s, int result, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    net_address_describe(&s->address, text);
    return fail_errno(error, result, "%s", text->str);
}

/* Of port 0, or of a socket that is given. */
static void know_address(Stream *s)
{
    s->address.length = sizeof(s->address.any);
    getsockname(s->listen_fd, (struct sockaddr *)&s->address.any, &s->address.length);
}

static bool listen_at(Stream *s, const NetAddress *at, GError **error)
{
    int on = 1, fd = socket(at->any.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    s->address = *at;
    if (fd < 0)
        return fail_address(s, errno, error);
    if (!net_address_free(at, SOCK_STREAM, error)) {
        close(fd);
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&at->any, at->length) || listen(fd, 1)) {
        int result = errno;
        close(fd);
        return fail_address(s, result, error);
    }
    s->listen_fd = fd;
    s->owns_path = at->any.ss_family == AF_UNIX && *at->local.sun_path;
    know_address(s);
    listen_again(s);
    return true;
}

/* At the first of the addresses that can be had. */
static bool start_listen(Stream *s, GError **error)
{
    const NetAddresses *all = &s->config.addresses;

    for (unsigned i = 0; i + 1 < all->count; i++)
        if (listen_at(s, &all->at[i], NULL))
            return true;
    return listen_at(s, &all->at[all->count - 1], error);
}

static bool open_client(Stream *s, GError **error)
{
    int result = start_connect(s);
    return !result || s->config.reconnect_ns || fail_address(s, result, error);
}

/* The one that is given; a file that it is bound to is not ours. */
static void take_socket(Stream *s)
{
    int fd = s->config.fd;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (s->config.server) {
        s->listen_fd = fd;
        know_address(s);
        listen_again(s);
    } else {
        s->fd = fd;
        connected(s);
    }
}

NetEnd *net_stream_open(const char *id, const NetStreamConfig *config, GError **error)
{
    Stream *s = g_new0(Stream, 1);

    if (!net_end_init(&s->end, config->legacy ? &socket_ops : &stream_ops, id, s, error)) {
        g_free(s);
        return NULL;
    }
    s->config = *config;
    s->fd = s->listen_fd = -1;
    s->in = g_malloc(BUFFER);
    s->out = g_byte_array_new();
    timer_init(&s->retry, loop_main(), VM_CLOCK_HOST, retry, s);
    timer_init(&s->patience, loop_main(), VM_CLOCK_HOST, lose_patience, s);
    if (config->fd >= 0) {
        take_socket(s);
    } else if (!(config->server ? start_listen(s, error) : open_client(s, error))) {
        net_close(&s->end);
        return NULL;
    }
    return &s->end;
}
