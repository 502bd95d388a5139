/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev stream, dgram and the older socket: from options to a stream or datagrams. */
#include <string.h>

#include "stream.h"
#include "util/error.h"
#include "util/timer.h"

#define ADDRESS_KEYS(prefix)                                                                       \
    prefix ".type", prefix ".host", prefix ".port", prefix ".path", prefix ".str",                 \
        prefix ".abstract", prefix ".ipv4", prefix ".ipv6"

static bool is_fd(const Options *opts, const char *key)
{
    return !g_strcmp0(options_get(opts, key), "fd");
}

/* PREFIX.type=fd,PREFIX.str=NUMBER and the keys in with go together, and nothing else does. */
static bool take_fd(const Options *opts, const char *str, const char *const *with, bool listener,
                    int type, int *fd, GError **error)
{
    const char *key, *value;

    if (!options_has(opts, str))
        return fail(error, "%s: %s= is missing", options_where(opts), str);
    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++)
        if (strcmp(key, str) && !g_strv_contains(with, key))
            return fail(error, "%s: %s=%s: a socket that is given by %s= has no use for it",
                        options_where(opts), key, value, str);
    return net_take_fd(opts, str, listener, &type, fd, error);
}

/* ---- stream ---- */

static NetEnd *stream_open(const char *id, const Options *opts, GError **error)
{
    static const char *const with_fd[] = {"type", "id", "server", "addr.type", NULL};
    NetStreamConfig config = {.fd = -1};
    uint64_t seconds = 0, ms = 0;

    if (!options_get_bool(opts, "server", &config.server, error) ||
        !options_get_uint(opts, "reconnect", 0, 86400, &seconds, error) ||
        !options_get_uint(opts, "reconnect-ms", 0, 86400000, &ms, error))
        return NULL;
    config.reconnect_ns = (int64_t)seconds * NS_PER_SEC + (int64_t)ms * NS_PER_MS;
    if (config.server && config.reconnect_ns)
        return net_fail_value(opts, seconds ? "reconnect" : "reconnect-ms",
                              "a server waits for its peer anyway", error);
    bool done =
        is_fd(opts, "addr.type")
            ? take_fd(opts, "addr.str", with_fd, config.server, SOCK_STREAM, &config.fd, error)
            : net_address_options(opts, "addr", config.server, SOCK_STREAM, &config.addresses,
                                  error);
    NetEnd *end = done ? net_stream_open(id, &config, error) : NULL;
    if (done && !end)
        fail_prefix(error, "%s: stream", options_where(opts));
    return end;
}

static const char *const stream_keys[] = {"server", "reconnect", "reconnect-ms",
                                          ADDRESS_KEYS("addr"), NULL};

const NetType net_type_stream = {
    "stream",
    "[,server=on][,reconnect=SECONDS],addr.type=inet,addr.host=HOST,addr.port=PORT"
    " or addr.type=unix,addr.path=PATH or addr.type=fd,addr.str=FD",
    stream_keys,
    stream_open,
};

/* ---- dgram ---- */

static NetEnd *open_dgram(const char *id, const Options *opts, const NetDgramConfig *config,
                          GError **error)
{
    const NetAddress *local = &config->local, *remote = &config->remote;

    if (config->has_remote && config->has_local && local->any.ss_family != remote->any.ss_family) {
        fail(error, "%s: local and remote addresses are of different kinds", options_where(opts));
        return NULL;
    }
    NetEnd *end = net_dgram_open(id, config, error);
    if (!end)
        fail_prefix(error, "%s: %s", options_where(opts), config->legacy ? "socket" : "dgram");
    return end;
}

/* The first address of the family, AF_UNSPEC: of any; or NULL. */
static const NetAddress *of_family(const NetAddresses *all, sa_family_t family)
{
    for (unsigned i = 0; i < all->count; i++)
        if (family == AF_UNSPEC || all->at[i].any.ss_family == family)
            return &all->at[i];
    return NULL;
}

/* Addresses of one kind for both, of IPv4 if that can be, so that machines which name each other
 * choose the same; or else their first. */
static void choose_pair(NetDgramConfig *config, const NetAddresses *locals,
                        const NetAddresses *remotes)
{
    static const sa_family_t families[] = {AF_INET, AF_INET6, AF_UNSPEC};
    const NetAddress *local = NULL, *remote = NULL;

    for (unsigned i = 0; !local || !remote; i++) {
        remote = of_family(remotes, families[i]);
        local = config->has_local ? of_family(locals, families[i]) : remote;
    }
    config->remote = *remote;
    if (config->has_local)
        config->local = *local;
}

static NetEnd *dgram_open(const char *id, const Options *opts, GError **error)
{
    static const char *const with_fd[] = {"type", "id", "local.type", NULL};
    NetDgramConfig config = {.fd = -1};
    NetAddresses locals, remotes;

    if (is_fd(opts, "local.type"))
        return take_fd(opts, "local.str", with_fd, false, SOCK_DGRAM, &config.fd, error)
                   ? open_dgram(id, opts, &config, error)
                   : NULL;
    if (!net_address_options(opts, "remote", false, SOCK_DGRAM, &remotes, error))
        return NULL;
    config.has_remote = true;
    const NetAddress *first = &remotes.at[0];
    bool group = first->any.ss_family == AF_INET && IN_MULTICAST(ntohl(first->v4.sin_addr.s_addr));
    if (options_has(opts, "local.type") || !group) {
        if (!net_address_options(opts, "local", true, SOCK_DGRAM, &locals, error))
            return NULL;
        config.has_local = true;
    }
    choose_pair(&config, &locals, &remotes);
    return open_dgram(id, opts, &config, error);
}

static const char *const dgram_keys[] = {ADDRESS_KEYS("local"), ADDRESS_KEYS("remote"), NULL};

const NetType net_type_dgram = {
    "dgram",
    ",local.type=inet,local.host=ADDR,local.port=PORT,remote.type=inet,remote.host=ADDR,"
    "remote.port=PORT (a multicast group: no local.port) or local.type=unix,local.path=PATH,"
    "remote.type=unix,remote.path=PATH or local.type=fd,local.str=FD",
    dgram_keys,
    dgram_open,
};

/* ---- socket ---- */

static NetEnd *open_stream_socket(const char *id, const Options *opts, const char *key,
                                  GError **error)
{
    NetStreamConfig config = {.fd = -1, .legacy = true, .server = !strcmp(key, "listen")};
    int type = 0;

    if (!strcmp(key, "fd")) {
        if (!net_take_fd(opts, "fd", false, &type, &config.fd, error))
            return NULL;
        if (type == SOCK_DGRAM) {
            NetDgramConfig dgram = {.fd = config.fd, .legacy = true};
            return open_dgram(id, opts, &dgram, error);
        }
    } else if (!net_address_text(options_get(opts, key), config.server, SOCK_STREAM,
                                 &config.addresses.at[0], error)) {
        fail_prefix(error, "%s: %s=%s", options_where(opts), key, options_get(opts, key));
        return NULL;
    }
    config.addresses.count = 1;
    NetEnd *end = net_stream_open(id, &config, error);
    if (!end)
        fail_prefix(error, "%s: %s", options_where(opts), key);
    return end;
}

static bool take_localaddr(const Options *opts, bool udp, NetDgramConfig *config, GError **error)
{
    const char *text = options_get(opts, "localaddr");
    struct in_addr *addr = &config->local.v4.sin_addr;

    if (!text)
        return !udp || fail(error, "%s: udp: localaddr=HOST:PORT is missing", options_where(opts));
    config->has_local = true;
    if (udp)
        return net_address_text(text, true, SOCK_DGRAM, &config->local, error) ||
               fail_prefix(error, "%s: localaddr=%s", options_where(opts), text);
    config->local = (NetAddress){.v4 = {.sin_family = AF_INET}, .length = sizeof(config->local.v4)};
    if (inet_pton(AF_INET, text, addr) != 1)
        return fail(error, "%s: localaddr=%s: must be an IPv4 address", options_where(opts), text);
    return true;
}

static NetEnd *open_dgram_socket(const char *id, const Options *opts, const char *key,
                                 GError **error)
{
    NetDgramConfig config = {.fd = -1, .legacy = true, .has_remote = true};
    bool udp = !strcmp(key, "udp");

    if (!net_address_text(options_get(opts, key), false, SOCK_DGRAM, &config.remote, error)) {
        fail_prefix(error, "%s: %s=%s", options_where(opts), key, options_get(opts, key));
        return NULL;
    }
    bool group = config.remote.any.ss_family == AF_INET &&
                 IN_MULTICAST(ntohl(config.remote.v4.sin_addr.s_addr));
    if (group == udp)
        return net_fail_value(opts, key,
                              udp ? "it is a multicast group: say mcast="
                                  : "must be a multicast group, as 230.0.0.1:1234",
                              error);
    return take_localaddr(opts, udp, &config, error) ? open_dgram(id, opts, &config, error) : NULL;
}

static NetEnd *socket_open(const char *id, const Options *opts, GError **error)
{
    static const char *const kinds[] = {"fd", "listen", "connect", "mcast", "udp"};
    const char *kind = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (!options_has(opts, kinds[i]))
            continue;
        if (kind)
            return net_fail_value(opts, kinds[i], "one of fd, listen, connect, mcast and udp",
                                  error);
        kind = kinds[i];
    }
    if (!kind) {
        fail(error, "%s: socket: one of fd=, listen=, connect=, mcast= and udp= is missing",
             options_where(opts));
        return NULL;
    }
    bool datagrams = !strcmp(kind, "mcast") || !strcmp(kind, "udp");
    if (!datagrams && options_has(opts, "localaddr"))
        return net_fail_value(opts, "localaddr", "goes with mcast= and udp= only", error);
    return datagrams ? open_dgram_socket(id, opts, kind, error)
                     : open_stream_socket(id, opts, kind, error);
}

static const char *const socket_keys[] = {"fd",  "listen",    "connect", "mcast",
                                          "udp", "localaddr", NULL};

const NetType net_type_socket = {
    "socket",
    ",listen=[HOST]:PORT or connect=HOST:PORT or mcast=GROUP:PORT[,localaddr=ADDR]"
    " or udp=HOST:PORT,localaddr=HOST:PORT or fd=FD",
    socket_keys,
    socket_open,
};
