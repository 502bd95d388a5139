/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of sockets: QEMU's "host:port", and "KEY.type=inet,KEY.host=..." */
#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"

static bool resolve(const char *host, const char *port, bool passive, int family, int type,
                    NetAddresses *out, GError **error)
{
    struct addrinfo hints = {.ai_family = family,
                             .ai_socktype = type,
                             .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    struct addrinfo *list;
    uint64_t number;

    out->count = 0;
    if (!parse_uint(port, &number) || number > 65535)
        return fail(error, "port '%s' must be a number up to 65535", port);
    int code = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (code)
        return fail(error, "host '%s': %s", host, gai_strerror(code));
    for (const struct addrinfo *i = list; i && out->count < G_N_ELEMENTS(out->at); i = i->ai_next) {
        NetAddress *address = &out->at[out->count++];
        *address = (NetAddress){.length = i->ai_addrlen};
        memcpy(&address->any, i->ai_addr, i->ai_addrlen);
    }
    freeaddrinfo(list);
    return true;
}

bool net_address_text(const char *text, bool passive, int type, NetAddress *out, GError **error)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *host = colon ? g_strndup(text, (size_t)(colon - text)) : NULL;
    NetAddresses all;

    if (!colon)
        return fail(error, "must be as HOST:PORT");
    size_t length = strlen(host);
    bool bracket = length >= 2 && host[0] == '[' && host[length - 1] == ']';
    if (bracket) {
        memmove(host, host + 1, length - 2);
        host[length - 2] = 0;
    }
    if (!resolve(host, colon + 1, passive, bracket ? AF_INET6 : AF_INET, type, &all, error))
        return false;
    *out = all.at[0];
    return true;
}

bool net_address_unix(const char *path, bool abstract, NetAddress *out, GError **error)
{
    size_t length = strlen(path) + (abstract ? 1 : 0);

    if (!*path || length >= sizeof(out->local.sun_path))
        return fail(error, "path '%s' must have 1 to %zu bytes", path,
                    sizeof(out->local.sun_path) - 2);
    *out = (NetAddress){.local = {.sun_family = AF_UNIX}};
    memcpy(out->local.sun_path + (abstract ? 1 : 0), path, strlen(path));
    out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
    return true;
}

static const char *get(const Options *opts, const char *prefix, const char *key, GString *name)
{
    g_string_printf(name, "%s.%s", prefix, key);
    return options_get(opts, name->str);
}

bool net_address_options(const Options *opts, const char *prefix, bool passive, int type,
                         NetAddresses *out, GError **error)
{
    g_autoptr(GString) name = g_string_new(NULL);
    const char *kind = get(opts, prefix, "type", name), *port;
    bool abstract = false, ipv4 = true, ipv6 = true, done;

    if (!kind)
        return fail(error, "%s: %s.type= is missing: inet, unix or fd", options_where(opts),
                    prefix);
    if (!strcmp(kind, "unix")) {
        const char *path = get(opts, prefix, "path", name);
        if (!path)
            return fail(error, "%s: %s.path= is missing", options_where(opts), prefix);
        g_string_printf(name, "%s.abstract", prefix);
        done = options_get_bool(opts, name->str, &abstract, error) &&
               net_address_unix(path, abstract, &out->at[0], error);
        out->count = 1;
    } else if (!strcmp(kind, "inet")) {
        const char *host = get(opts, prefix, "host", name);
        if (!(port = get(opts, prefix, "port", name)))
            port = passive ? "0" : NULL;
        if (!port || (!host && !passive))
            return fail(error, "%s: %s.%s= is missing", options_where(opts), prefix,
                        port ? "host" : "port");
        g_string_printf(name, "%s.ipv4", prefix);
        if (!options_get_bool(opts, name->str, &ipv4, error))
            return false;
        g_string_printf(name, "%s.ipv6", prefix);
        if (!options_get_bool(opts, name->str, &ipv6, error))
            return false;
        done = resolve(host ? host : "", port, passive,
                       !ipv6   ? AF_INET
                       : !ipv4 ? AF_INET6
                               : AF_UNSPEC,
                       type, out, error);
    } else {
        return fail(error, "%s: %s.type=%s: must be inet, unix or fd", options_where(opts), prefix,
                    kind);
    }
    return done || fail_prefix(error, "%s: %s", options_where(opts), prefix);
}

bool net_take_fd(const Options *opts, const char *key, bool listener, int *type, int *fd,
                 GError **error)
{
    const char *text = options_get(opts, key);
    struct sockaddr_storage peer;
    uint64_t number;
    int got;
    socklen_t length = sizeof(got), peer_length = sizeof(peer);

    if (!parse_uint(text, &number) || number > INT_MAX)
        return fail(error, "%s: %s=%s: must be the number of an open file", options_where(opts),
                    key, text);
    if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &got, &length))
        return fail_errno(error, errno, "%s: %s=%s: it is no open socket", options_where(opts), key,
                          text);
    if (*type ? got != *type : got != SOCK_STREAM && got != SOCK_DGRAM)
        return fail(error, "%s: %s=%s: must be a socket of %s", options_where(opts), key, text,
                    *type == SOCK_STREAM  ? "streams"
                    : *type == SOCK_DGRAM ? "datagrams"
                                          : "streams or datagrams");
    if (listener && listen((int)number, 1))
        return fail(error, "%s: %s=%s: must be a socket that can listen", options_where(opts), key,
                    text);
    if (!listener && got == SOCK_STREAM &&
        getpeername((int)number, (struct sockaddr *)&peer, &peer_length))
        return fail(error, "%s: %s=%s: must be a connected socket", options_where(opts), key, text);
    *type = got;
    *fd = (int)number;
    return true;
}

bool net_address_free(const NetAddress *address, int type, GError **error)
{
    const char *path = address->local.sun_path;
    struct stat st;

    if (address->any.ss_family != AF_UNIX || !*path || lstat(path, &st))
        return true; /* bind() says what is wrong */
    if (!S_ISSOCK(st.st_mode))
        return fail(error, "'%s' exists and is not a socket", path);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)&address->any, address->length) &&
                errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    if (!dead)
        return fail(error, "another process listens on '%s'", path);
    return !unlink(path) || fail_errno(error, errno, "%s", path);
}

void net_address_describe(const NetAddress *address, GString *out)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (address->any.ss_family == AF_UNIX)
        g_string_append_printf(out, "unix:%s%s", *address->local.sun_path ? "" : "@",
                               address->local.sun_path + !*address->local.sun_path);
    else if (!getnameinfo((const struct sockaddr *)&address->any, address->length, host,
                          sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
        g_string_append_printf(out, address->any.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                               port);
}
