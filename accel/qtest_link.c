/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The byte stream of the qtest engine: a socket (client, or server of one peer at a time) or stdio.
 * A peer that does not read its answers is not served until it does.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qtest_private.h"
#include "util/error.h"
#include "util/log.h"

enum { READ_SIZE = 65536, OUT_HIGH = 1 << 20 };

struct QtestLink {
    EventLoop *loop;
    const QtestLinkOps *ops;
    void *opaque;
    int listen_fd, in_fd, out_fd; /* -1: none */
    LoopFd *listen_watch, *in_watch, *out_watch;
    GString *in, *out;
    gsize scanned; /* bytes of `in` known to hold no end of line */
    char *unlink_path;
};

static void link_update(QtestLink *link);

/* ---- The peer ---- */

static void drop_peer(QtestLink *link)
{
    if (link->in_fd < 0)
        return;
    loop_fd_remove(link->in_watch);
    loop_fd_remove(link->out_watch);
    link->in_watch = link->out_watch = NULL;
    if (link->in_fd > STDERR_FILENO)
        close(link->in_fd);
    link->in_fd = link->out_fd = -1;
    g_string_truncate(link->in, 0);
    g_string_truncate(link->out, 0);
    link->scanned = 0;
    link->ops->opened(link->opaque, false);
    if (link->listen_watch)
        loop_fd_set(link->listen_watch, LOOP_IN);
}

static void flush_out(QtestLink *link)
{
    while (link->out->len && link->out_fd >= 0) {
        ssize_t done =
            link->out_fd == STDOUT_FILENO
                ? write(link->out_fd, link->out->str, link->out->len)
                : send(link->out_fd, link->out->str, link->out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done > 0)
            g_string_erase(link->out, 0, done);
        else if (errno == EINTR)
            continue;
        else
            break; /* full, or gone: the reader finds that out */
    }
}

/* Carries out the lines that are there, as long as the peer reads the answers. */
static void serve_lines(QtestLink *link)
{
    gsize start = 0;
    while (link->out->len < OUT_HIGH) {
        gsize from = MAX(start, link->scanned);
        char *end = memchr(link->in->str + from, '\n', link->in->len - from);
        if (!end) {
            link->scanned = link->in->len;
            break;
        }
        char *line = link->in->str + start;
        *end = 0;
        if (end > line && end[-1] == '\r')
            end[-1] = 0;
        start = (gsize)(end + 1 - link->in->str);
        link->ops->line(link->opaque, line);
    }
    link->scanned -= MIN(link->scanned, start);
    g_string_erase(link->in, 0, (gssize)start);
}

static void on_in(void *opaque, int fd, unsigned revents)
{
    QtestLink *link = opaque;
    g_autofree char *buf = g_malloc(READ_SIZE);
    ssize_t got = read(fd, buf, READ_SIZE);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop_peer(link);
        return;
    }
    g_string_append_len(link->in, buf, got);
    serve_lines(link);
    if (link->scanned > QTEST_LINE_MAX) {
        report_error("qtest: a line of more than %u bytes: the connection is closed",
                     QTEST_LINE_MAX);
        drop_peer(link);
    }
    link_update(link);
}

static void on_out(void *opaque, int fd, unsigned revents)
{
    QtestLink *link = opaque;
    flush_out(link);
    if (link->out->len < OUT_HIGH)
        serve_lines(link);
    link_update(link);
}

/* Watches for what is wanted now. */
static void link_update(QtestLink *link)
{
    if (link->in_fd < 0)
        return;
    flush_out(link);
    loop_fd_set(link->in_watch, link->out->len < OUT_HIGH ? LOOP_IN : 0);
    if (link->out->len && !link->out_watch) {
        link->out_watch = loop_fd_add(link->loop, link->out_fd, LOOP_OUT, on_out, link);
    } else if (!link->out->len && link->out_watch) {
        loop_fd_remove(link->out_watch);
        link->out_watch = NULL;
    }
}

static void take_peer(QtestLink *link, int in_fd, int out_fd)
{
    link->in_fd = in_fd;
    link->out_fd = out_fd;
    link->in_watch = loop_fd_add(link->loop, in_fd, LOOP_IN, on_in, link);
    link->ops->opened(link->opaque, true);
}

void qtest_link_send(QtestLink *link, const char *text, size_t length)
{
    if (link->in_fd < 0)
        return;
    g_string_append_len(link->out, text, (gssize)length);
    link_update(link);
}

/* ---- Opening ---- */

static void on_connection(void *opaque, int fd, unsigned revents)
{
    QtestLink *link = opaque;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        return;
    loop_fd_set(link->listen_watch, 0);
    take_peer(link, peer, peer);
}

static bool serve_on(QtestLink *link, int fd, bool wait, const char *where, GError **error)
{
    if (listen(fd, 1) < 0)
        return fail_errno(error, errno, "-qtest %s: cannot listen", where);
    link->listen_fd = fd;
    link->listen_watch = loop_fd_add(link->loop, fd, wait ? 0 : LOOP_IN, on_connection, link);
    if (!wait)
        return true;
    report_info("-qtest %s: waiting for a connection", where);
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        return fail_errno(error, errno, "-qtest %s: cannot accept a connection", where);
    take_peer(link, peer, peer);
    return true;
}

static bool open_unix(QtestLink *link, const char *path, bool server, bool wait, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return fail(error, "-qtest unix:%s: the path is longer than %zu bytes", path,
                    sizeof(addr.sun_path) - 1);
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server)
        unlink(path);
    if (fd >= 0 && server && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
        link->unlink_path = g_strdup(path);
        return serve_on(link, fd, wait, path, error);
    }
    if (fd >= 0 && !server && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0) {
        take_peer(link, fd, fd);
        return true;
    }
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    return fail_errno(error, errnum, "-qtest unix:%s: cannot %s", path,
                      server ? "make the socket" : "connect");
}

/* One address of a host name: binds or connects; -1 with errno. */
static int try_address(const struct addrinfo *info, bool server)
{
    int on = 1, fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (server)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if ((server ? bind : connect)(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

static bool open_tcp(QtestLink *link, const char *where, bool server, bool wait, GError **error)
{
    const char *colon = strrchr(where, ':');
    if (!colon)
        return fail(error, "-qtest tcp:%s: it is tcp:HOST:PORT", where);
    g_autofree char *host = g_strndup(where, (gsize)(colon - where));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int result = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &list);
    if (result)
        return fail(error, "-qtest tcp:%s: %s", where, gai_strerror(result));
    int fd = -1;
    for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
        fd = try_address(info, server);
    int errnum = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return fail_errno(error, errnum, "-qtest tcp:%s: cannot %s", where,
                          server ? "take the port" : "connect");
    if (server)
        return serve_on(link, fd, wait, where, error);
    take_peer(link, fd, fd);
    return true;
}

static bool open_spec(QtestLink *link, const char *spec, GError **error)
{
    static const char *const known[] = {"path", "server", "wait", NULL};
    if (!strcmp(spec, "stdio")) {
        take_peer(link, STDIN_FILENO, STDOUT_FILENO);
        return true;
    }
    bool is_unix = g_str_has_prefix(spec, "unix:");
    if (!is_unix && !g_str_has_prefix(spec, "tcp:"))
        return fail(error, "-qtest %s: it is unix:PATH, tcp:HOST:PORT or stdio", spec);
    g_autoptr(Options) opts = options_parse("-qtest", strchr(spec, ':') + 1, "path", known, error);
    bool server = false, wait = true;
    if (!opts || !options_get_bool(opts, "server", &server, error) ||
        !options_get_bool(opts, "wait", &wait, error))
        return false;
    const char *path = options_get(opts, "path");
    if (!path || !*path)
        return fail(error, "-qtest %s: the %s is missing", spec, is_unix ? "path" : "address");
    return is_unix ? open_unix(link, path, server, wait, error)
                   : open_tcp(link, path, server, wait, error);
}

QtestLink *qtest_link_open(EventLoop *loop, const char *spec, const QtestLinkOps *ops, void *opaque,
                           GError **error)
{
    QtestLink *link = g_new0(QtestLink, 1);
    *link = (QtestLink){.loop = loop, .ops = ops, .opaque = opaque};
    link->listen_fd = link->in_fd = link->out_fd = -1;
    link->in = g_string_new(NULL);
    link->out = g_string_new(NULL);
    if (open_spec(link, spec, error))
        return link;
    qtest_link_close(link);
    return NULL;
}

void qtest_link_close(QtestLink *link)
{
    if (!link)
        return;
    flush_out(link);
    if (link->listen_watch) {
        loop_fd_remove(link->listen_watch);
        link->listen_watch = NULL;
        close(link->listen_fd);
    }
    drop_peer(link);
    if (link->unlink_path)
        unlink(link->unlink_path);
    g_free(link->unlink_path);
    g_string_free(link->in, TRUE);
    g_string_free(link->out, TRUE);
    g_free(link);
}
