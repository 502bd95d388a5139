/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames of ARP, IPv4, ICMP, UDP and TCP for tests: made, and taken apart with checksums checked.
 */
#ifndef VMRUN_TESTS_PACKETS_H
#define VMRUN_TESTS_PACKETS_H

#include "net/net.h"

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

enum { ETH_ARP = 0x0806, ETH_IP = 0x0800, ETH_IP6 = 0x86dd };
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

/* What a frame says; fields of layers that it has not are 0. */
typedef struct Packet {
    uint8_t dst_mac[6], src_mac[6];
    unsigned type;     /* of Ethernet */
    unsigned protocol; /* of IP; for ARP the operation */
    uint32_t src, dst; /* IPv4, host order */
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    unsigned flags, window;
    const uint8_t *data; /* of the innermost layer */
    size_t length;
} Packet;

/* Fails the test if a checksum is wrong. */
void packet_parse(const uint8_t *frame, size_t length, Packet *out);
/* Makes a frame of p in buf (room for NET_FRAME_MAX); returns its length. */
size_t packet_build(uint8_t *buf, const Packet *p);

/* A NIC of a test: keeps what comes until it is asked for. */
typedef struct Wire {
    NetEnd end;
    GQueue frames; /* of GBytes */
    bool full;     /* refuses */
    unsigned refused, writable;
    uint8_t mac[6], router_mac[6];
    uint32_t ip;
    GBytes *last; /* what wire_expect() gave */
} Wire;

void wire_open(Wire *wire, const char *id, const uint8_t mac[6], uint32_t ip);
void wire_close(Wire *wire);
/* Fills in the source's addresses, and the router's as destination where there is none. */
void wire_send(Wire *wire, Packet p);
/* Runs the main loop until a frame came for which match() holds; others are dropped.  Fails the
 * test after some seconds. */
Packet wire_expect(Wire *wire, bool (*match)(const Packet *p, const void *opaque),
                   const void *opaque);
/* Runs the loop until done() holds; fails the test after some seconds. */
void wire_wait(bool (*done)(void *opaque), void *opaque);

#endif
