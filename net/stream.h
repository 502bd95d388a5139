/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back ends on streams and datagrams, as "stream", "dgram" and "socket" open them. */
#ifndef VMRUN_NET_STREAM_H
#define VMRUN_NET_STREAM_H

#include "address.h"
#include "net_private.h"

typedef struct NetStreamConfig {
    int fd; /* a connected socket, a server's one that listens, or -1 */
    bool server;
    bool legacy;            /* "socket" */
    int64_t reconnect_ns;   /* a client's pause between attempts; 0: none after the first */
    NetAddresses addresses; /* tried in turn */
} NetStreamConfig;

NetEnd *net_stream_open(const char *id, const NetStreamConfig *config, GError **error);

typedef struct NetDgramConfig {
    int fd; /* a socket, or -1 */
    bool legacy;
    bool has_local, has_remote;
    NetAddress local, remote; /* remote may be a multicast group: then local is the interface's */
} NetDgramConfig;

NetEnd *net_dgram_open(const char *id, const NetDgramConfig *config, GError **error);

#endif
