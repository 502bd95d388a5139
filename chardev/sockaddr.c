/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of sockets: unix(7), ip(7), ipv6(7), getaddrinfo(3). */
#include "sockaddr.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "util/error.h"

static bool resolve_unix(AddressList *out, const char *where, const char *path, GError **error)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (!*path)
        return fail(error, "%s: path= is empty", where);
    if (strlen(path) >= sizeof(sun.sun_path))
        return fail(error, "%s: path '%s' is too long for a unix socket (%zu bytes at most)", where,
                    path, sizeof(sun.sun_path) - 1);
    memcpy(sun.sun_path, path, strlen(path));
    out->is_unix = true;
    out->count = 1;
    out->list = g_new0(SocketAddress, 1);
    out->list->length = sizeof(sun);
    memcpy(&out->list->addr, &sun, sizeof(sun));
    out->text = g_strdup(path);
    return true;
}

static bool choose_family(const Options *opts, int *family, GError **error)
{
    bool v4 = false, v6 = false;
    if (!options_get_bool(opts, "ipv4", &v4, error) || !options_get_bool(opts, "ipv6", &v6, error))
        return false;
    if (v4 != v6)
        *family = v4 ? AF_INET : AF_INET6;
    else if (options_has(opts, "ipv6") && !v6)
        *family = AF_INET;
    else if (options_has(opts, "ipv4") && !v4)
        *family = AF_INET6;
    return true;
}

static void append_addresses(AddressList *out, const struct addrinfo *found)
{
    for (const struct addrinfo *ai = found; ai; ai = ai->ai_next) {
        out->list = g_renew(SocketAddress, out->list, out->count + 1);
        memcpy(&out->list[out->count].addr, ai->ai_addr, ai->ai_addrlen);
        out->list[out->count++].length = ai->ai_addrlen;
    }
}

static int ipv4_first(const void *a, const void *b)
{
    const SocketAddress *x = a, *y = b;
    return (x->addr.ss_family != AF_INET) - (y->addr.ss_family != AF_INET);
}

static bool resolve_tcp(AddressList *out, const Options *opts, bool passive, GError **error)
{
    const char *where = options_where(opts);
    const char *host = options_get(opts, "host"), *port = options_get(opts, "port");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *found;

    if (!port || !*port)
        return fail(error, "%s: port=PORT is missing", where);
    if (host && !*host)
        host = NULL;
    if (!choose_family(opts, &hints.ai_family, error))
        return false;
    int result = getaddrinfo(host, port, &hints, &found);
    if (result)
        return fail(error, "%s: address '%s:%s': %s", where, host ? host : "", port,
                    gai_strerror(result));
    append_addresses(out, found);
    freeaddrinfo(found);
    /* A server takes the first that works: IPv4, which clients of "localhost" try as well. */
    if (passive)
        qsort(out->list, out->count, sizeof(*out->list), ipv4_first);
    out->any_port = !strcmp(port, "0");
    out->text = g_strdup_printf("%s:%s", host ? host : "", port);
    return true;
}

bool address_list_resolve(AddressList *list, const Options *opts, bool passive, GError **error)
{
    const char *path = options_get(opts, "path");
    const char *where = options_where(opts);
    if (!path)
        return resolve_tcp(list, opts, passive, error);
    if (options_has(opts, "host") || options_has(opts, "port"))
        return fail(error, "%s: path= and host=, port= exclude each other", where);
    return resolve_unix(list, where, path, error);
}

void address_list_clear(AddressList *list)
{
    g_free(list->list);
    g_free(list->text);
    *list = (AddressList){0};
}

char *socket_name(int fd, bool peer)
{
    struct sockaddr_storage ss = {0};
    socklen_t length = sizeof(ss);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    int result = peer ? getpeername(fd, (struct sockaddr *)&ss, &length)
                      : getsockname(fd, (struct sockaddr *)&ss, &length);
    if (result < 0)
        return g_strdup("unknown");
    if (ss.ss_family == AF_UNIX)
        return g_strndup(((struct sockaddr_un *)&ss)->sun_path,
                         sizeof(((struct sockaddr_un *)&ss)->sun_path));
    if (getnameinfo((struct sockaddr *)&ss, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return g_strdup("unknown");
    return g_strdup_printf(ss.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
