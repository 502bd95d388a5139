/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User networking: libslirp's TCP/IP stack as the back end "user".  The guest sees a network of its
 * own (10.0.2.0/24, fec0::/64) with a router that is the host (.2), a name server (.3) and DHCP;
 * its connections become sockets of the process, so no privilege is needed.
 *
 * Main lock held in all calls.
 */
#ifndef VMRUN_NET_USER_H
#define VMRUN_NET_USER_H

#include "net/net.h"

bool net_is_user(const NetEnd *end);
/* The first "user" back end, or NULL. */
NetEnd *net_user_first(void);

/* Adds a forward: [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT; addresses of IPv6 stand in
 * brackets; host port 0: a free one.  An error names the part at fault. */
bool net_user_hostfwd_add(NetEnd *end, const char *rule, GError **error);
/* Takes it away: [tcp|udp]:[HOSTADDR]:HOSTPORT. */
bool net_user_hostfwd_remove(NetEnd *end, const char *rule, GError **error);
/* The rule of the short form [HOSTADDR:]HOSTPORT:GUESTPORT[/tcp|/udp]; HOSTADDR is 127.0.0.1 if
 * left out.  g_free() it; NULL with an error. */
char *net_user_short_rule(const char *text, GError **error);
/* Its forwards in one line, "tcp 127.0.0.1:2222 -> 10.0.2.15:22, ..."; nothing if there are none.
 */
void net_user_forwards(NetEnd *end, GString *out);
/* `info usernet`: connections and forwards. */
void net_user_describe(NetEnd *end, GString *out);

/* What a byte stream tells whoever opened it. */
typedef struct NetStreamHandlers {
    /* The bytes that receive() may be called with. */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, size_t length);
    /* After a short write: there is room again. */
    void (*writable)(void *opaque);
} NetStreamHandlers;

/* Byte streams for guestfwd=...-DEV; main/ gives those of chardevs. */
typedef struct NetStreamOps {
    /* id: unique.  handlers are valid until close(). */
    void *(*open)(const char *spec, const char *id, const NetStreamHandlers *handlers, void *opaque,
                  GError **error);
    /* Returns the bytes taken; if those are not all, writable() comes. */
    size_t (*write)(void *stream, const void *buf, size_t length);
    /* can_receive() grew. */
    void (*accept_input)(void *stream);
    void (*close)(void *stream);
} NetStreamOps;
void net_user_set_stream_ops(const NetStreamOps *ops);

#endif
