/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of sockets: from options, and as text for people. */
#ifndef VMRUN_CHARDEV_SOCKADDR_H
#define VMRUN_CHARDEV_SOCKADDR_H

#include <sys/socket.h>

#include "util/options.h"

typedef struct SocketAddress {
    struct sockaddr_storage addr;
    socklen_t length;
} SocketAddress;

typedef struct AddressList {
    SocketAddress *list;
    unsigned count; /* at least 1 once resolved */
    bool is_unix, any_port;
    char *text; /* PATH or HOST:PORT, as it was given */
} AddressList;

/* From path=, or host= and port=, ipv4=, ipv6=.  May ask a name server, and wait for it.  passive:
 * to listen on. */
bool address_list_resolve(AddressList *list, const Options *opts, bool passive, GError **error);
void address_list_clear(AddressList *list);

/* The address of a socket or of its peer: PATH, HOST:PORT or [HOST]:PORT. g_free() it. */
char *socket_name(int fd, bool peer);

#endif
