/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The back end "user" over IPv6: router advertisement, DHCPv6, neighbours, UDP and TCP both ways.
 */
#include "test-net-user.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/bytes.h"

enum { HEADER = 40, TCP_BYTES = 20, UDP_BYTES = 8 };
enum { ROUTER_SOLICIT = 133, ROUTER_ADVERT = 134, NEIGHBOUR_SOLICIT = 135, NEIGHBOUR_ADVERT = 136 };

static const uint8_t me[16] = {0xfe, 0xc0, [15] = 0x15}, link_local[16] = {0xfe, 0x80, [15] = 0x15};
static const uint8_t router[16] = {0xfe, 0xc0, [15] = 2}, name_server[16] = {0xfe, 0xc0, [15] = 3};
static const uint8_t all_routers[16] = {0xff, 2, [15] = 2};
static const uint8_t all_dhcp[16] = {0xff, 2, [13] = 1, [15] = 2}; /* ff02::1:2 */

static uint16_t sum(const uint8_t *at, size_t bytes, uint32_t total)
{
    for (size_t i = 0; i < bytes; i++)
        total += i & 1 ? at[i] : (uint32_t)at[i] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

static uint16_t l4_sum(const uint8_t *ip, size_t bytes)
{
    return sum(ip + HEADER, bytes, (uint32_t)(sum(ip + 8, 32, 0) + bytes + ip[6]));
}

/* Sends a header and data of TCP, UDP or ICMPv6, whose checksum is put at sum_at. */
static void send6(Wire *wire, const uint8_t from[16], const uint8_t to[16], uint8_t protocol,
                  const void *l4, size_t bytes, size_t sum_at)
{
    g_autofree uint8_t *ip = g_malloc0(HEADER + bytes);

    ip[0] = 0x60;
    st16_be(ip + 4, (uint16_t)bytes);
    ip[6] = protocol;
    ip[7] = 255;
    memcpy(ip + 8, from, 16);
    memcpy(ip + 24, to, 16);
    memcpy(ip + HEADER, l4, bytes);
    st16_be(ip + HEADER + sum_at, (uint16_t)~l4_sum(ip, bytes));
    wire_send(wire, (Packet){.type = ETH_IP6, .data = ip, .length = HEADER + bytes});
}

typedef struct Want {
    uint8_t protocol;
    uint16_t what; /* the type of ICMPv6, or the port that it goes to */
} Want;

static bool is_wanted(const Packet *p, const void *opaque)
{
    const Want *want = opaque;
    if (p->type != ETH_IP6 || p->length < HEADER + UDP_BYTES || p->data[6] != want->protocol)
        return false;
    g_assert_cmphex(l4_sum(p->data, ld16_be(p->data + 4)), ==, 0xffff);
    return want->what ==
           (want->protocol == PROTO_ICMP6 ? p->data[HEADER] : ld16_be(p->data + HEADER + 2));
}

/* The packet, whole. */
static Packet expect6(Wire *wire, uint8_t protocol, uint16_t what)
{
    Want want = {protocol, what};
    return wire_expect(wire, is_wanted, &want);
}

/* The option of an ICMPv6 message, which is so long without options, or NULL. */
static const uint8_t *icmp_option(const Packet *p, size_t start, uint8_t type)
{
    for (size_t at = HEADER + start; at + 2 <= p->length && p->data[at + 1];
         at += p->data[at + 1] * 8u)
        if (p->data[at] == type)
            return p->data + at;
    return NULL;
}

/* Tells slirp who has the address when it asks. */
static void answer_neighbour(Wire *wire, const uint8_t address[16])
{
    uint8_t m[32] = {NEIGHBOUR_ADVERT, [4] = 0x60, [24] = 2, [25] = 1};
    Packet p = expect6(wire, PROTO_ICMP6, NEIGHBOUR_SOLICIT);
    uint8_t asker[16];

    g_assert_cmpmem(p.data + HEADER + 8, 16, address, 16);
    memcpy(asker, p.data + 8, 16);
    memcpy(m + 8, address, 16);
    memcpy(m + 26, guest_mac, 6);
    send6(wire, address, asker, PROTO_ICMP6, m, sizeof(m), 2);
}

/* ---- Configuration ---- */

static void test_router(void)
{
    uint8_t m[16] = {ROUTER_SOLICIT, [8] = 1, [9] = 1};
    Wire wire;

    start(&wire, "");
    memcpy(m + 10, guest_mac, 6);
    send6(&wire, link_local, all_routers, PROTO_ICMP6, m, sizeof(m), 2);
    Packet p = expect6(&wire, PROTO_ICMP6, ROUTER_ADVERT);
    const uint8_t *prefix = icmp_option(&p, 16, 3), *dns = icmp_option(&p, 16, 25);
    g_assert_nonnull(prefix);
    g_assert_cmpuint(prefix[2], ==, 64);
    g_assert_cmphex(prefix[3] & 0x40, ==, 0x40); /* addresses may be made of it */
    g_assert_cmpmem(prefix + 16, 2, "\xfe\xc0", 2);
    if (dns) /* only if the host has a name server of IPv6 */
        g_assert_cmpmem(dns + 8, 16, name_server, 16);
    g_assert_nonnull(icmp_option(&p, 16, 1)); /* its own address */
    stop(&wire);

    start(&wire, ",ipv6-net=fd12:3456::/48,ipv6-host=fd12:3456::99");
    send6(&wire, link_local, all_routers, PROTO_ICMP6, m, sizeof(m), 2);
    p = expect6(&wire, PROTO_ICMP6, ROUTER_ADVERT);
    prefix = icmp_option(&p, 16, 3);
    g_assert_cmpuint(prefix[2], ==, 48);
    g_assert_cmpmem(prefix + 16, 4, "\xfd\x12\x34\x56", 4);
    stop(&wire);
}

/* DHCPv6's "information request" (RFC 8415, 18.2.6): a reply to the same transaction. */
static void test_dhcp(void)
{
    static const uint8_t ask[] = {0x02, 0x22, 0x02, 0x23, 0, 34, 0, 0, /* ports; length; sum */
                                  11,   0x12, 0x34, 0x56,              /* transaction */
                                  0,    1,    0,    10,   0, 3,  0, 1, 0x52, 0x54, 0,
                                  0x12, 0x34, 0x56, 0,    6, 0,  4, 0, 23,   0,    59};
    Wire wire;

    start(&wire, "");
    g_assert_cmpuint(sizeof(ask), ==, 34);
    send6(&wire, link_local, all_dhcp, PROTO_UDP, ask, sizeof(ask), 6);
    answer_neighbour(&wire, link_local);
    Packet p = expect6(&wire, PROTO_UDP, 546);
    g_assert_cmpmem(p.data + HEADER + UDP_BYTES, 4, "\x07\x12\x34\x56", 4); /* REPLY */
    stop(&wire);
}

static void count_message(const char *domain, GLogLevelFlags level, const char *message,
                          void *count)
{
    ++*(unsigned *)count;
}

/* An echo to somewhere else is not answered; what slirp says of it is not for the terminal. */
static void test_echo_outside(void)
{
    unsigned messages = 0;
    GLogFunc usual = g_log_set_default_handler(count_message, &messages);
    GLogLevelFlags fatal = g_log_set_always_fatal(G_LOG_FATAL_MASK);
    static const uint8_t outside[16] = {0x20, 1, [15] = 1};
    uint8_t m[12] = {128, [8] = 'p', 'i', 'n', 'g'};
    Wire wire;

    start(&wire, "");
    send6(&wire, me, outside, PROTO_ICMP6, m, sizeof(m), 2);
    send6(&wire, me, router, PROTO_ICMP6, m, sizeof(m), 2);
    answer_neighbour(&wire, me);
    Packet p = expect6(&wire, PROTO_ICMP6, 129);
    g_assert_cmpmem(p.data + 8, 16, router, 16);
    stop(&wire);
    g_log_set_default_handler(usual, NULL);
    g_log_set_always_fatal(fatal);
    g_assert_cmpuint(messages, ==, 0);
}

/* ---- UDP and TCP ---- */

/* A socket of the host on ::1, or -1 where there is no IPv6. */
static int host_socket6(int type, uint16_t *port)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, length)) {
        g_test_skip("no IPv6 on this host");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    g_assert_true(type == SOCK_DGRAM || !listen(fd, 1));
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &length), ==, 0);
    *port = ntohs(addr.sin6_port);
    return fd;
}

static void nothing(void *opaque, int fd, unsigned revents)
{
}

typedef struct Heard {
    int fd;
    char text[64];
    ssize_t length;
    struct sockaddr_in6 from;
} Heard;

static bool heard(void *opaque)
{
    Heard *h = opaque;
    socklen_t length = sizeof(h->from);
    h->length = recvfrom(h->fd, h->text, sizeof(h->text), MSG_DONTWAIT, (struct sockaddr *)&h->from,
                         &length);
    return h->length >= 0;
}

static void hear(Heard *h, const char *text)
{
    LoopFd *watch = loop_fd_add(loop_main(), h->fd, LOOP_IN, nothing, NULL);
    wire_wait(heard, h);
    loop_fd_remove(watch);
    g_assert_cmpmem(h->text, (size_t)h->length, text, strlen(text));
}

static void test_udp(void)
{
    uint8_t m[UDP_BYTES + 5] = {0x12, 0x34, 0, 0, 0, UDP_BYTES + 5, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    uint16_t port = 0;
    Wire wire;
    Heard server = {.fd = host_socket6(SOCK_DGRAM, &port)};

    if (server.fd < 0)
        return;
    start(&wire, "");
    st16_be(m + 2, port);
    send6(&wire, me, router, PROTO_UDP, m, sizeof(m), 6);
    hear(&server, "hello");
    sendto(server.fd, "back", 4, 0, (struct sockaddr *)&server.from, sizeof(server.from));
    answer_neighbour(&wire, me);
    Packet p = expect6(&wire, PROTO_UDP, 0x1234);
    g_assert_cmpmem(p.data + 8, 16, router, 16);
    g_assert_cmpmem(p.data + HEADER + UDP_BYTES, 4, "back", 4);
    stop(&wire);
    close(server.fd);
}

typedef struct Tcp6 {
    Wire *wire;
    uint16_t port, peer_port;
    uint32_t seq, ack;
    uint8_t peer[16];
} Tcp6;

static void tcp6_send(Tcp6 *t, uint8_t flags, const char *text)
{
    uint8_t m[TCP_BYTES + 64] = {[12] = 0x50, [13] = flags, [14] = 0xf0};
    st16_be(m, t->port);
    st16_be(m + 2, t->peer_port);
    st32_be(m + 4, t->seq);
    st32_be(m + 8, t->ack);
    memcpy(m + TCP_BYTES, text, strlen(text));
    send6(t->wire, me, t->peer, PROTO_TCP, m, TCP_BYTES + strlen(text), 16);
    t->seq += (uint32_t)strlen(text) + !!(flags & (TCP_SYN | TCP_FIN));
}

/* The next segment with these flags; *text is its data. */
static size_t tcp6_expect(Tcp6 *t, uint8_t flags, const uint8_t **text)
{
    for (;;) {
        Packet p = expect6(t->wire, PROTO_TCP, t->port);
        const uint8_t *tcp = p.data + HEADER;
        size_t head = (tcp[12] >> 4) * 4u, bytes = ld16_be(p.data + 4) - head;
        if ((tcp[13] & flags) != flags)
            continue;
        memcpy(t->peer, p.data + 8, 16);
        t->peer_port = ld16_be(tcp);
        t->ack = ld32_be(tcp + 4) + (uint32_t)bytes + !!(tcp[13] & (TCP_SYN | TCP_FIN));
        *text = tcp + head;
        return bytes;
    }
}

static bool connection(void *opaque)
{
    Heard *h = opaque;
    int fd = accept4(h->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return false;
    close(h->fd);
    h->fd = fd;
    return true;
}

static void test_tcp_out(void)
{
    uint16_t port = 0;
    const uint8_t *text;
    Wire wire;
    Heard server = {.fd = host_socket6(SOCK_STREAM, &port)};

    if (server.fd < 0)
        return;
    start(&wire, "");
    Tcp6 t = {&wire, .port = 1234, .peer_port = port, .seq = 1000};
    memcpy(t.peer, router, 16);
    tcp6_send(&t, TCP_SYN, "");
    answer_neighbour(&wire, me);
    tcp6_expect(&t, TCP_SYN | TCP_ACK, &text);
    tcp6_send(&t, TCP_ACK, "");
    wire_wait(connection, &server);
    tcp6_send(&t, TCP_ACK | TCP_PSH, "from the guest");
    hear(&server, "from the guest");
    g_assert_cmpint(write(server.fd, "from the host", 13), ==, 13);
    size_t bytes = tcp6_expect(&t, TCP_PSH, &text);
    g_assert_cmpmem(text, bytes, "from the host", 13);
    tcp6_send(&t, TCP_ACK | TCP_FIN, "");
    hear(&server, ""); /* its end */
    close(server.fd);
    tcp6_expect(&t, TCP_FIN, &text);
    stop(&wire);
}

static void test_hostfwd(void)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    uint16_t port = 0;
    const uint8_t *text;
    Wire wire;
    int probe = host_socket6(SOCK_STREAM, &port);

    if (probe < 0)
        return;
    close(probe);
    NetEnd *end = start(&wire, ",hostfwd=tcp:[::1]:0-[fec0::15]:22");
    addr.sin6_port = htons(forwarded_port(end, "tcp [::1]:"));
    Heard client = {.fd = socket(AF_INET6, SOCK_STREAM, 0)};
    g_assert_cmpint(connect(client.fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    answer_neighbour(&wire, me);
    Tcp6 t = {&wire, .port = 22, .seq = 5000};
    tcp6_expect(&t, TCP_SYN, &text);
    tcp6_send(&t, TCP_SYN | TCP_ACK, "");
    g_assert_cmpint(write(client.fd, "knock", 5), ==, 5);
    size_t bytes = tcp6_expect(&t, TCP_PSH, &text);
    g_assert_cmpmem(text, bytes, "knock", 5);
    tcp6_send(&t, TCP_ACK | TCP_PSH, "who is there");
    hear(&client, "who is there");
    close(client.fd);
    g_autofree char *rule = g_strdup_printf("tcp:[::1]:%u", ntohs(addr.sin6_port));
    g_assert_true(net_user_hostfwd_remove(end, rule, NULL));
    stop(&wire);
}

void add_ip6_tests(void)
{
    g_test_add_func("/net-user/ip6/router", test_router);
    g_test_add_func("/net-user/ip6/dhcp", test_dhcp);
    g_test_add_func("/net-user/ip6/echo-outside", test_echo_outside);
    g_test_add_func("/net-user/ip6/udp", test_udp);
    g_test_add_func("/net-user/ip6/tcp-out", test_tcp_out);
    g_test_add_func("/net-user/ip6/hostfwd", test_hostfwd);
}
