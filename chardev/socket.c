/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix and TCP sockets, as server or client, plain or telnet.
 *
 * A server serves one peer at a time; the next waits in the kernel's backlog.  A client with
 * reconnect=N tries again N seconds after it lost, or did not get, its connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chr_private.h"
#include "sockaddr.h"
#include "util/log.h"
#include "util/timer.h"

#define ACCEPT_RETRY NS_PER_SEC /* after accept() ran out of descriptors or memory */

typedef struct ChrSocket {
    Chardev chr;
    ChrStream stream;
    Telnet telnet;
    bool server, wait, use_telnet, nodelay;
    uint64_t reconnect; /* seconds, 0: never */
    AddressList addresses;
    unsigned next_address;
    int listen_fd, connect_fd;
    LoopFd *listen_watch, *connect_watch;
    Timer timer;       /* the next attempt to connect or accept */
    bool peer_gone;    /* hung up, while the front end has not read all it sent */
    char *unlink_path; /* of the socket that we made in the file system */
    struct stat unlink_stat;
    char *local, *peer; /* names for people */
} ChrSocket;

static void start_listening(ChrSocket *s);
static void start_connecting(ChrSocket *s);

static const char *protocol(const ChrSocket *s)
{
    if (s->addresses.is_unix)
        return "unix";
    return s->use_telnet ? "telnet" : "tcp";
}

/* ---- A connection ---- */

static void connection_made(ChrSocket *s, int fd)
{
    int one = 1;
    if (s->nodelay && !s->addresses.is_unix)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    stream_start(&s->stream, fd, fd);
    s->peer_gone = false;
    g_free(s->peer);
    s->peer = socket_name(fd, true);
    if (!s->server) {
        g_free(s->local);
        s->local = socket_name(fd, false);
    }
    loop_fd_remove(s->listen_watch);
    s->listen_watch = NULL;
    if (s->use_telnet) {
        telnet_start(&s->telnet, s->server);
        telnet_flush(&s->telnet, &s->stream);
    }
    if (stream_running(&s->stream) && chr_set_connected(&s->chr, true))
        stream_update(&s->stream);
}

/* What comes next when there is no connection: accept one, or make one later. */
static void connection_lost(ChrSocket *s)
{
    stream_stop(&s->stream);
    s->peer_gone = false;
    if (!chr_set_connected(&s->chr, false) || stream_running(&s->stream))
        return;
    if (s->listen_fd >= 0)
        start_listening(s);
    else if (s->reconnect)
        timer_arm(&s->timer, clock_now(VM_CLOCK_HOST) + (int64_t)s->reconnect * NS_PER_SEC);
}

static void socket_ended(Chardev *chr, bool output, int errnum)
{
    connection_lost((ChrSocket *)chr);
}

/* The rest of what it sent stays readable, until somebody else knocks. */
static void socket_peer_gone(Chardev *chr)
{
    ChrSocket *s = (ChrSocket *)chr;
    s->peer_gone = true;
    if (s->listen_fd >= 0)
        start_listening(s);
}

static size_t socket_filter(Chardev *chr, uint8_t *buf, size_t length)
{
    ChrSocket *s = (ChrSocket *)chr;
    unsigned breaks = 0;
    if (!s->use_telnet)
        return length;
    length = telnet_input(&s->telnet, buf, length, &breaks);
    telnet_flush(&s->telnet, &s->stream);
    if (breaks && !chr_event(chr, CHR_BREAK))
        return 0;
    return length;
}

static size_t socket_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    ChrSocket *s = (ChrSocket *)chr;
    if (s->use_telnet)
        return telnet_write(&s->telnet, &s->stream, buf, length);
    return stream_write(&s->stream, buf, length);
}

static void socket_update(Chardev *chr)
{
    stream_update(&((ChrSocket *)chr)->stream);
}

static int socket_write_fd(Chardev *chr)
{
    return ((ChrSocket *)chr)->stream.out;
}

/* ---- Server ---- */

static void take_client(ChrSocket *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        loop_fd_remove(s->listen_watch);
        s->listen_watch = NULL;
        timer_arm(&s->timer, clock_now(VM_CLOCK_HOST) + ACCEPT_RETRY);
        return;
    }
    if (s->peer_gone) {
        stream_stop(&s->stream);
        s->peer_gone = false;
        if (!chr_set_connected(&s->chr, false)) {
            close(fd);
            return;
        }
    }
    connection_made(s, fd);
}

static void on_client(void *opaque, int fd, unsigned revents)
{
    ChrSocket *s = opaque;
    chr_ref(&s->chr);
    if (!stream_running(&s->stream) || s->peer_gone)
        take_client(s);
    chr_unref(&s->chr);
}

static void start_listening(ChrSocket *s)
{
    if (!s->listen_watch)
        s->listen_watch = loop_fd_add(loop_main(), s->listen_fd, LOOP_IN, on_client, s);
}

/* A socket file whose server is gone is ours to replace; anything else is not. */
static bool remove_stale(ChrSocket *s, const SocketAddress *address, GError **error)
{
    const char *path = s->addresses.text;
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return fail(error, "%s: '%s' exists and is not a socket", s->chr.where, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -1 : connect(fd, (const void *)&address->addr, address->length);
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    if (!result || errnum != ECONNREFUSED)
        return fail(error, "%s: another process listens on '%s'", s->chr.where, path);
    if (unlink(path) < 0)
        return fail_errno(error, errno, "%s: cannot replace '%s'", s->chr.where, path);
    return true;
}

static bool bind_address(ChrSocket *s, int fd, const SocketAddress *address, GError **error)
{
    int one = 1;
    bool is_unix = s->addresses.is_unix;
    if (!is_unix)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    int result = bind(fd, (const void *)&address->addr, address->length);
    if (result < 0 && errno == EADDRINUSE && is_unix) {
        if (!remove_stale(s, address, error))
            return false;
        result = bind(fd, (const void *)&address->addr, address->length);
    }
    if (result < 0)
        return fail_errno(error, errno, "%s: cannot listen on '%s'", s->chr.where,
                          s->addresses.text);
    if (is_unix && !stat(s->addresses.text, &s->unlink_stat))
        s->unlink_path = g_strdup(s->addresses.text);
    if (listen(fd, 1) < 0)
        return fail_errno(error, errno, "%s: cannot listen on '%s'", s->chr.where,
                          s->addresses.text);
    return true;
}

/* Listens on the first address that can be bound; the error is that of the last. */
static bool open_listener(ChrSocket *s, GError **error)
{
    for (unsigned i = 0; i < s->addresses.count; i++) {
        const SocketAddress *address = &s->addresses.list[i];
        int fd = socket(address->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        g_clear_error(error);
        if (fd < 0) {
            fail_errno(error, errno, "%s: cannot make a socket", s->chr.where);
        } else if (bind_address(s, fd, address, error)) {
            s->listen_fd = fd;
            return true;
        } else {
            close(fd);
        }
    }
    return false;
}

static bool start_server(ChrSocket *s, GError **error)
{
    if (s->listen_fd < 0 && !open_listener(s, error))
        return false;
    s->local = socket_name(s->listen_fd, false);
    if (s->wait)
        report_info("%s: waiting for a connection on: %s:%s,server=on", s->chr.id, protocol(s),
                    s->local);
    else if (s->addresses.any_port)
        report_info("%s: listening on %s:%s", s->chr.id, protocol(s), s->local);
    while (s->wait && !stream_running(&s->stream)) {
        wait_killable(s->listen_fd, POLLIN);
        take_client(s);
    }
    if (!stream_running(&s->stream))
        start_listening(s);
    return true;
}

/* ---- Client ---- */

static int connect_result(int fd)
{
    int errnum = 0;
    socklen_t length = sizeof(errnum);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &length) < 0 ? errno : errnum;
}

/* A socket with a connection under way; *errnum: 0 made, EINPROGRESS, or why not (then -1). */
static int begin_connect(const SocketAddress *address, int *errnum)
{
    int fd = socket(address->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -1 : connect(fd, (const void *)&address->addr, address->length);
    *errnum = result < 0 ? errno : 0;
    if (fd >= 0 && *errnum && *errnum != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool connect_now(ChrSocket *s, GError **error)
{
    int errnum = 0;
    for (unsigned i = 0; i < s->addresses.count; i++) {
        int fd = begin_connect(&s->addresses.list[i], &errnum);
        if (fd >= 0 && errnum) {
            wait_killable(fd, POLLOUT);
            errnum = connect_result(fd);
        }
        if (fd >= 0 && !errnum) {
            connection_made(s, fd);
            return true;
        }
        if (fd >= 0)
            close(fd);
    }
    return fail_errno(error, errnum, "%s: cannot connect to '%s'", s->chr.where, s->addresses.text);
}

static void attempt_done(ChrSocket *s, int fd, int errnum)
{
    if (fd >= 0 && !errnum) {
        connection_made(s, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    timer_arm(&s->timer, clock_now(VM_CLOCK_HOST) + (int64_t)s->reconnect * NS_PER_SEC);
}

static void on_connected(void *opaque, int fd, unsigned revents)
{
    ChrSocket *s = opaque;
    chr_ref(&s->chr);
    loop_fd_remove(s->connect_watch);
    s->connect_watch = NULL;
    s->connect_fd = -1;
    attempt_done(s, fd, connect_result(fd));
    chr_unref(&s->chr);
}

static void start_connecting(ChrSocket *s)
{
    int errnum;
    int fd = begin_connect(&s->addresses.list[s->next_address++ % s->addresses.count], &errnum);
    if (errnum != EINPROGRESS) {
        attempt_done(s, fd, errnum);
        return;
    }
    s->connect_fd = fd;
    s->connect_watch = loop_fd_add(loop_main(), fd, LOOP_OUT, on_connected, s);
}

static void on_timer(void *opaque)
{
    ChrSocket *s = opaque;
    chr_ref(&s->chr);
    if (s->listen_fd >= 0)
        start_listening(s);
    else if (!stream_running(&s->stream))
        start_connecting(s);
    chr_unref(&s->chr);
}

/* ---- Opening ---- */

static bool read_options(ChrSocket *s, const Options *opts, GError **error)
{
    bool delay = true, wait = true;
    if (!options_get_bool(opts, "server", &s->server, error) ||
        !options_get_bool(opts, "wait", &wait, error) ||
        !options_get_bool(opts, "telnet", &s->use_telnet, error) ||
        !options_get_bool(opts, "delay", &delay, error))
        return false;
    s->nodelay = !delay;
    if (!options_get_bool(opts, "nodelay", &s->nodelay, error) ||
        !options_get_uint(opts, "reconnect", 0, 86400, &s->reconnect, error))
        return false;
    s->wait = s->server && wait;
    if (!s->server && options_has(opts, "wait"))
        return fail(error, "%s: wait= is for servers; server=on is missing", s->chr.where);
    if (s->server && s->reconnect)
        return fail(error, "%s: reconnect= is for clients; a server waits by itself", s->chr.where);
    return true;
}

/* fd=N: a connected or listening socket that the parent process made. */
static bool open_fd(ChrSocket *s, const Options *opts, GError **error)
{
    uint64_t fd = 0;
    int listening = 0, domain = 0;
    socklen_t length = sizeof(int);

    if (!options_get_uint(opts, "fd", 0, INT_MAX, &fd, error))
        return false;
    if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 ||
        getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
        return fail_errno(error, errno, "%s: fd=%d is not a socket", s->chr.where, (int)fd);
    if (s->server != !!listening)
        return fail(error, "%s: fd=%d is %slistening; server=%s is wanted", s->chr.where, (int)fd,
                    listening ? "" : "not ", listening ? "on" : "off");
    if (s->reconnect)
        return fail(error, "%s: reconnect= needs an address instead of fd=", s->chr.where);
    s->addresses.is_unix = domain == AF_UNIX;
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    set_nonblocking((int)fd);
    if (s->server) {
        s->listen_fd = (int)fd;
        return start_server(s, error);
    }
    connection_made(s, (int)fd);
    return true;
}

static bool socket_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrSocket *s = (ChrSocket *)chr;

    stream_init(&s->stream, chr, socket_ended);
    s->stream.peer_gone = socket_peer_gone;
    s->stream.filter = socket_filter;
    s->listen_fd = s->connect_fd = -1;
    timer_init(&s->timer, loop_main(), VM_CLOCK_HOST, on_timer, s);
    if (!read_options(s, opts, error))
        return false;
    if (options_has(opts, "fd"))
        return open_fd(s, opts, error);
    if (!address_list_resolve(&s->addresses, opts, s->server, error))
        return false;
    if (s->server)
        return start_server(s, error);
    if (!s->reconnect)
        return connect_now(s, error);
    start_connecting(s);
    return true;
}

static void socket_close(Chardev *chr)
{
    ChrSocket *s = (ChrSocket *)chr;
    struct stat st;

    timer_cancel(&s->timer);
    stream_stop(&s->stream);
    loop_fd_remove(s->listen_watch);
    loop_fd_remove(s->connect_watch);
    s->listen_watch = s->connect_watch = NULL;
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->connect_fd >= 0)
        close(s->connect_fd);
    s->listen_fd = s->connect_fd = -1;
    if (s->unlink_path && !stat(s->unlink_path, &st) && st.st_ino == s->unlink_stat.st_ino &&
        st.st_dev == s->unlink_stat.st_dev)
        unlink(s->unlink_path);
    g_clear_pointer(&s->unlink_path, g_free);
    address_list_clear(&s->addresses);
    g_clear_pointer(&s->local, g_free);
    g_clear_pointer(&s->peer, g_free);
}

static void socket_describe(const Chardev *chr, GString *out)
{
    const ChrSocket *s = (const ChrSocket *)chr;
    const char *here = s->server ? s->local : s->addresses.text;
    if (!here)
        here = s->local ? s->local : "fd";
    if (!chr->connected)
        g_string_append(out, "disconnected:");
    g_string_append_printf(out, "%s:%s%s", protocol(s), here, s->server ? ",server=on" : "");
    if (chr->connected && !s->addresses.is_unix)
        g_string_append_printf(out, " <-> %s", s->peer);
}

static const char *const socket_keys[] = {
    "path",   "host",    "port",  "ipv4",      "ipv6", "server", "wait",
    "telnet", "nodelay", "delay", "reconnect", "fd",   NULL,
};
const ChrBackend chr_socket_backend = {
    .name = "socket",
    .keys = socket_keys,
    .size = sizeof(ChrSocket),
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .update = socket_update,
    .write_fd = socket_write_fd,
    .describe = socket_describe,
};
