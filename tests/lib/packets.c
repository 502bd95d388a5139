/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames for tests: RFC 826, 791, 792, 768, 9293. */
#include "packets.h"

#include <string.h>

#include "util/loop.h"
#include "util/timer.h"

#define PATIENCE (60 * NS_PER_SEC)

enum { ETH_HEADER = 14, IP_HEADER = 20, UDP_HEADER = 8, TCP_HEADER = 20, ARP_BYTES = 28 };

static void put16(uint8_t *p, unsigned value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t sum(const uint8_t *p, size_t length, uint32_t start)
{
    for (size_t i = 0; i < length; i++)
        start += i % 2 ? p[i] : (uint32_t)p[i] << 8;
    while (start >> 16)
        start = (start & 0xffff) + (start >> 16);
    return start;
}

/* Of the pseudo header of TCP and UDP. */
static uint32_t pseudo(const Packet *p, size_t length)
{
    uint8_t header[12] = {0};
    put32(header, p->src);
    put32(header + 4, p->dst);
    header[9] = (uint8_t)p->protocol;
    put16(header + 10, (unsigned)length);
    return sum(header, sizeof(header), 0);
}

/* ---- Taking apart ---- */

static void parse_l4(const uint8_t *l4, size_t length, Packet *out)
{
    out->data = l4;
    out->length = length;
    if (out->protocol == PROTO_ICMP) {
        g_assert_cmphex(sum(l4, length, 0), ==, 0xffff);
        return;
    }
    size_t header = out->protocol == PROTO_UDP ? UDP_HEADER : TCP_HEADER;
    if ((out->protocol != PROTO_UDP && out->protocol != PROTO_TCP) || length < header)
        return;
    out->src_port = (uint16_t)get16(l4);
    out->dst_port = (uint16_t)get16(l4 + 2);
    if (out->protocol == PROTO_TCP) {
        out->seq = get32(l4 + 4);
        out->ack = get32(l4 + 8);
        header = (size_t)(l4[12] >> 4) * 4;
        out->flags = l4[13];
        out->window = get16(l4 + 14);
    }
    if (out->protocol == PROTO_TCP || get16(l4 + 6))
        g_assert_cmphex(sum(l4, length, pseudo(out, length)), ==, 0xffff);
    g_assert_cmpuint(header, <=, length);
    out->data = l4 + header;
    out->length = length - header;
}

void packet_parse(const uint8_t *frame, size_t length, Packet *out)
{
    *out = (Packet){0};
    g_assert_cmpuint(length, >=, ETH_HEADER);
    memcpy(out->dst_mac, frame, 6);
    memcpy(out->src_mac, frame + 6, 6);
    out->type = get16(frame + 12);
    const uint8_t *l3 = out->data = frame + ETH_HEADER;
    out->length = length - ETH_HEADER;
    if (out->type == ETH_ARP) {
        g_assert_cmpuint(out->length, >=, ARP_BYTES);
        out->protocol = get16(l3 + 6);
        out->src = get32(l3 + 14);
        out->dst = get32(l3 + 24);
    } else if (out->type == ETH_IP) {
        size_t total = get16(l3 + 2), header = (size_t)(l3[0] & 15) * 4;
        g_assert_cmpuint(out->length, >=, total);
        g_assert_cmphex(sum(l3, header, 0), ==, 0xffff);
        out->protocol = l3[9];
        out->src = get32(l3 + 12);
        out->dst = get32(l3 + 16);
        parse_l4(l3 + header, total - header, out);
    }
}

/* ---- Making ---- */

static size_t build_arp(uint8_t *l3, const Packet *p)
{
    static const uint8_t start[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4 */
    memset(l3, 0, ARP_BYTES);
    memcpy(l3, start, sizeof(start));
    put16(l3 + 6, p->protocol);
    memcpy(l3 + 8, p->src_mac, 6);
    put32(l3 + 14, p->src);
    if (p->protocol == 2)
        memcpy(l3 + 18, p->dst_mac, 6);
    put32(l3 + 24, p->dst);
    return ARP_BYTES;
}

static size_t build_l4(uint8_t *l4, const Packet *p)
{
    size_t header = p->protocol == PROTO_UDP   ? UDP_HEADER
                    : p->protocol == PROTO_TCP ? TCP_HEADER
                                               : 0;
    size_t length = header + p->length, checksum_at = 2;

    memset(l4, 0, header);
    if (p->length)
        memcpy(l4 + header, p->data, p->length);
    if (header) {
        put16(l4, p->src_port);
        put16(l4 + 2, p->dst_port);
    }
    if (p->protocol == PROTO_UDP) {
        put16(l4 + 4, (unsigned)length);
        checksum_at = 6;
    } else if (p->protocol == PROTO_TCP) {
        put32(l4 + 4, p->seq);
        put32(l4 + 8, p->ack);
        l4[12] = TCP_HEADER / 4 << 4;
        l4[13] = (uint8_t)p->flags;
        put16(l4 + 14, p->window);
        checksum_at = 16;
    } else if (p->protocol != PROTO_ICMP) {
        return length;
    }
    put16(l4 + checksum_at, 0);
    put16(l4 + checksum_at, ~sum(l4, length, header ? pseudo(p, length) : 0) & 0xffff);
    return length;
}

size_t packet_build(uint8_t *buf, const Packet *p)
{
    uint8_t *l3 = buf + ETH_HEADER;

    memcpy(buf, p->dst_mac, 6);
    memcpy(buf + 6, p->src_mac, 6);
    put16(buf + 12, p->type);
    if (p->type == ETH_ARP)
        return ETH_HEADER + build_arp(l3, p);
    if (p->type != ETH_IP) {
        memcpy(l3, p->data, p->length);
        return ETH_HEADER + p->length;
    }
    size_t total = IP_HEADER + build_l4(l3 + IP_HEADER, p);
    memset(l3, 0, IP_HEADER);
    l3[0] = 0x45;
    put16(l3 + 2, (unsigned)total);
    l3[8] = 64;
    l3[9] = (uint8_t)p->protocol;
    put32(l3 + 12, p->src);
    put32(l3 + 16, p->dst);
    put16(l3 + 10, ~sum(l3, IP_HEADER, 0) & 0xffff);
    return ETH_HEADER + total;
}

/* ---- The test's NIC ---- */

static bool wire_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Wire *wire = end->opaque;
    GByteArray *frame = g_byte_array_new();

    if (wire->full) {
        wire->refused++;
        g_byte_array_unref(frame);
        return false;
    }
    for (int i = 0; i < count; i++)
        g_byte_array_append(frame, iov[i].iov_base, (guint)iov[i].iov_len);
    g_assert_cmpuint(frame->len, ==, bytes);
    g_queue_push_tail(&wire->frames, g_byte_array_free_to_bytes(frame));
    return true;
}

static void wire_writable(NetEnd *end)
{
    ((Wire *)end->opaque)->writable++;
}

static const NetEndOps wire_ops = {
    .kind = "wire", .receive = wire_receive, .writable = wire_writable};

void wire_open(Wire *wire, const char *id, const uint8_t mac[6], uint32_t ip)
{
    *wire = (Wire){.ip = ip};
    g_assert_true(net_end_init(&wire->end, &wire_ops, id, wire, NULL));
    g_queue_init(&wire->frames);
    memcpy(wire->mac, mac, 6);
    memset(wire->router_mac, 0xff, 6);
}

void wire_close(Wire *wire)
{
    net_end_fini(&wire->end);
    g_queue_clear_full(&wire->frames, (GDestroyNotify)g_bytes_unref);
    g_clear_pointer(&wire->last, g_bytes_unref);
}

void wire_send(Wire *wire, Packet p)
{
    static const uint8_t none[6];
    g_autofree uint8_t *buf = g_malloc(NET_FRAME_MAX);

    memcpy(p.src_mac, wire->mac, 6);
    if (!memcmp(p.dst_mac, none, 6))
        memcpy(p.dst_mac, wire->router_mac, 6);
    if (!p.src)
        p.src = wire->ip;
    net_send_buf(&wire->end, buf, packet_build(buf, &p));
}

static void out_of_patience(void *opaque)
{
    *(bool *)opaque = true;
}

void wire_wait(bool (*done)(void *opaque), void *opaque)
{
    bool late = false;
    Timer timer;

    timer_init(&timer, loop_main(), VM_CLOCK_HOST, out_of_patience, &late);
    timer_arm(&timer, clock_now(VM_CLOCK_HOST) + PATIENCE);
    while (!done(opaque)) {
        g_assert_false(late);
        loop_step(loop_main(), true);
    }
    timer_cancel(&timer);
}

static bool has_frame(void *opaque)
{
    return !g_queue_is_empty(&((Wire *)opaque)->frames);
}

Packet wire_expect(Wire *wire, bool (*match)(const Packet *p, const void *opaque),
                   const void *opaque)
{
    for (;;) {
        Packet p;
        gsize length;
        wire_wait(has_frame, wire);
        g_clear_pointer(&wire->last, g_bytes_unref);
        wire->last = g_queue_pop_head(&wire->frames);
        const uint8_t *frame = g_bytes_get_data(wire->last, &length);
        packet_parse(frame, length, &p);
        if (match(&p, opaque))
            return p;
    }
}
