/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the back end "user" share: a wire to it, a guest's TCP, sockets of the host. */
#ifndef VMRUN_TESTS_UNIT_TEST_NET_USER_H
#define VMRUN_TESTS_UNIT_TEST_NET_USER_H

#include <netinet/in.h>
#include <string.h>

#include "../lib/packets.h"
#include "net/user.h"
#include "util/error.h"
#include "util/loop.h"

#define GUEST  IP4(10, 0, 2, 15)
#define ROUTER IP4(10, 0, 2, 2)

extern const uint8_t guest_mac[6];

/* Opens "user,id=u" with more options, on the wire; learns the router's address.  stop() ends it.
 */
NetEnd *start(Wire *wire, const char *more);
void stop(Wire *wire);
void learn_router(Wire *wire);

/* A connection of the guest's. */
typedef struct Tcp {
    Wire *wire;
    uint32_t peer;
    uint16_t port, peer_port;
    uint32_t seq, ack;
} Tcp;
void tcp_send(Tcp *t, unsigned flags, const char *text);
/* The next segment with these flags. */
Packet tcp_expect(Tcp *t, unsigned flags);
/* From the guest to a server of the host; from a client of the host to the guest. */
void tcp_open(Tcp *t);
void tcp_accept(Tcp *t);

/* What came on a socket of the host, once at least so many bytes are there. */
typedef struct Inbox {
    int fd;
    size_t want, got;
    bool eof;
    char text[4096];
    struct sockaddr_in from;
} Inbox;
void expect_bytes(Inbox *in, const char *text);
/* A client of 127.0.0.1. */
int host_connect(uint16_t port);
/* The port behind the words in the list of forwards. */
uint16_t forwarded_port(NetEnd *end, const char *before);

/* Tests by file. */
void add_guestfwd_tests(void);
void add_ip6_tests(void);

#endif
