/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back ends on datagrams (UDP, multicast, Unix): each is a frame.
 *
 * A peer whose queue is full holds the guest's frames up for a tenth of a second; what comes then
 * is lost until it reads again.  In a multicast group, frames go out by a socket of their own, so
 * that those which come back are known by their sender.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"
#include "util/error.h"
#include "util/loop.h"
#include "util/timer.h"

enum { FRAMES_A_TIME = 64 };
#define PAUSE    NS_PER_MS
#define PATIENCE (100 * NS_PER_MS)

typedef struct Dgram {
    NetEnd end;
    NetDgramConfig config;
    int fd;          /* receives */
    int out;         /* sends: fd, or in a group another */
    bool group;      /* multicast */
    bool owns_path;  /* made the local address's file */
    NetAddress self; /* group: who sends from `out` */
    LoopFd *watch;   /* NULL while the NIC has no room */
    Timer pause;     /* until the next attempt to send */
    int64_t stuck;   /* host ns since when the peer takes nothing; 0: it does */
    uint8_t *in;     /* NET_FRAME_MAX bytes */
    size_t waiting;  /* bytes of the frame in it that the NIC has not taken; 0: none */
} Dgram;

/* ---- From the NIC ---- */

static void try_again(void *opaque)
{
    net_writable(&((Dgram *)opaque)->end);
}

static bool dgram_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Dgram *d = end->opaque;
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    int64_t now;

    if (d->config.has_remote) {
        message.msg_name = &d->config.remote.any;
        message.msg_namelen = d->config.remote.length;
    }
    if (sendmsg(d->out, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
        (errno != EAGAIN && errno != ENOBUFS)) {
        d->stuck = 0;
        return true; /* an error: nobody is there; the frame is lost */
    }
    now = clock_now(VM_CLOCK_HOST);
    if (!d->stuck)
        d->stuck = now;
    if (now - d->stuck > PATIENCE)
        return true;
    timer_arm(&d->pause, now + PAUSE);
    return false;
}

/* ---- To the NIC ---- */

static bool is_self(const Dgram *d, const NetAddress *from)
{
    return d->group && from->length == d->self.length && from->v4.sin_port == d->self.v4.sin_port &&
           from->v4.sin_addr.s_addr == d->self.v4.sin_addr.s_addr;
}

static void dgram_event(void *opaque, int fd, unsigned revents)
{
    Dgram *d = opaque;

    for (unsigned i = 0; i < FRAMES_A_TIME; i++) {
        NetAddress from = {.length = sizeof(from.any)};
        ssize_t n = recvfrom(fd, d->in, NET_FRAME_MAX, MSG_DONTWAIT, (struct sockaddr *)&from.any,
                             &from.length);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || is_self(d, &from)) /* an error is the last frame's that was sent */
            continue;
        if (!net_send_buf(&d->end, d->in, (size_t)n)) {
            d->waiting = (size_t)n;
            loop_fd_remove(d->watch);
            d->watch = NULL;
            return;
        }
    }
}

static void dgram_writable(NetEnd *end)
{
    Dgram *d = end->opaque;

    if (d->waiting && !net_send_buf(end, d->in, d->waiting))
        return;
    d->waiting = 0;
    if (!d->watch)
        d->watch = loop_fd_add(loop_main(), d->fd, LOOP_IN, dgram_event, d);
}

/* ---- The end ---- */

static void dgram_describe(NetEnd *end, GString *out)
{
    const Dgram *d = end->opaque;

    if (d->config.has_local) {
        g_string_append(out, "local=");
        net_address_describe(&d->config.local, out);
    }
    if (d->config.has_remote) {
        g_string_append(out, d->config.has_local ? ",remote=" : "remote=");
        net_address_describe(&d->config.remote, out);
    }
    if (!d->config.has_local && !d->config.has_remote)
        g_string_append_printf(out, "fd=%d", d->fd);
}

static void dgram_close(NetEnd *end)
{
    Dgram *d = end->opaque;

    loop_fd_remove(d->watch);
    timer_cancel(&d->pause);
    if (d->out >= 0 && d->out != d->fd)
        close(d->out);
    if (d->fd >= 0) {
        close(d->fd);
        if (d->owns_path)
            unlink(d->config.local.local.sun_path);
    }
    g_free(d->in);
    g_free(d);
}

#define DGRAM_OPS(name)                                                                            \
    {                                                                                              \
        .kind = name, .backend = true, .receive = dgram_receive, .writable = dgram_writable,       \
        .describe = dgram_describe, .close = dgram_close                                           \
    }
static const NetEndOps dgram_ops = DGRAM_OPS("dgram"), socket_ops = DGRAM_OPS("socket");

static bool fail_address(const NetAddress *address, const char *what, GError **error)
{
    int result = errno;
    g_autoptr(GString) text = g_string_new(NULL);
    net_address_describe(address, text);
    return fail_errno(error, result, "%s %s", what, text->str);
}

static int new_socket(int family)
{
    return socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Joins the group; frames go out by a socket whose address is known. */
static bool open_group(Dgram *d, GError **error)
{
    const NetAddress *remote = &d->config.remote;
    int on = 1;
    struct ip_mreq request = {.imr_multiaddr = remote->v4.sin_addr};

    if (d->config.has_local)
        request.imr_interface = d->config.local.v4.sin_addr;
    d->group = true;
    d->fd = new_socket(AF_INET);
    d->out = new_socket(AF_INET);
    setsockopt(d->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(d->fd, (const struct sockaddr *)&remote->any, remote->length) ||
        setsockopt(d->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request)))
        return fail_address(remote, "multicast group", error);
    if (d->config.has_local)
        setsockopt(d->out, IPPROTO_IP, IP_MULTICAST_IF, &request.imr_interface,
                   sizeof(request.imr_interface));
    setsockopt(d->out, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on));
    d->self.length = sizeof(d->self.any);
    if (connect(d->out, (const struct sockaddr *)&remote->any, remote->length) ||
        getsockname(d->out, (struct sockaddr *)&d->self.any, &d->self.length))
        return fail_address(remote, "multicast group", error);
    return true;
}

static bool open_pair(Dgram *d, GError **error)
{
    NetAddress *local = &d->config.local;

    d->fd = d->out = new_socket(local->any.ss_family);
    if (!net_address_free(local, SOCK_DGRAM, error))
        return false;
    if (d->fd < 0 || bind(d->fd, (struct sockaddr *)&local->any, local->length))
        return fail_address(local, "local address", error);
    d->owns_path = local->any.ss_family == AF_UNIX && *local->local.sun_path;
    local->length = sizeof(local->any);
    getsockname(d->fd, (struct sockaddr *)&local->any, &local->length);
    return true;
}

NetEnd *net_dgram_open(const char *id, const NetDgramConfig *config, GError **error)
{
    Dgram *d = g_new0(Dgram, 1);
    bool done = true;

    if (!net_end_init(&d->end, config->legacy ? &socket_ops : &dgram_ops, id, d, error)) {
        g_free(d);
        return NULL;
    }
    d->config = *config;
    d->fd = d->out = config->fd;
    d->in = g_malloc(NET_FRAME_MAX);
    timer_init(&d->pause, loop_main(), VM_CLOCK_HOST, try_again, d);
    if (config->fd >= 0)
        fcntl(config->fd, F_SETFL, fcntl(config->fd, F_GETFL) | O_NONBLOCK);
    else if (config->remote.any.ss_family == AF_INET &&
             IN_MULTICAST(ntohl(config->remote.v4.sin_addr.s_addr)))
        done = open_group(d, error);
    else
        done = open_pair(d, error);
    if (!done) {
        net_close(&d->end);
        return NULL;
    }
    d->watch = loop_fd_add(loop_main(), d->fd, LOOP_IN, dgram_event, d);
    return &d->end;
}
