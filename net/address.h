/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of sockets, as options name them.  Names of hosts are looked up at once. */
#ifndef VMRUN_NET_ADDRESS_H
#define VMRUN_NET_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util/options.h"

typedef struct NetAddress {
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_un local;
    };
    socklen_t length;
} NetAddress;

/* What a name stands for, the best first. */
typedef struct NetAddresses {
    unsigned count; /* at least 1 */
    NetAddress at[8];
} NetAddresses;

/* "HOST:PORT" of IPv4, or "[IPV6]:PORT"; passive: to listen on, where HOST may be left out.  type:
 * SOCK_STREAM or SOCK_DGRAM. */
bool net_address_text(const char *text, bool passive, int type, NetAddress *out, GError **error);
bool net_address_unix(const char *path, bool abstract, NetAddress *out, GError **error);
/* PREFIX.type=inet with .host, .port, .ipv4, .ipv6; or =unix with .path, .abstract. */
bool net_address_options(const Options *opts, const char *prefix, bool passive, int type,
                         NetAddresses *out, GError **error);
/* The key's value as the number of a socket that this process was started with.  type: SOCK_STREAM,
 * which must be connected, or if listener bound and listens then, or SOCK_DGRAM, or in *type 0 for
 * either, which becomes what it is. */
bool net_take_fd(const Options *opts, const char *key, bool listener, int *type, int *fd,
                 GError **error);
/* Before a bind(): takes a socket file away that nobody listens at any more.  An error says that
 * somebody does, or that something else is there. */
bool net_address_free(const NetAddress *address, int type, GError **error);
void net_address_describe(const NetAddress *address, GString *out);

#endif
