/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The back end "user", spoken to with frames: DHCP, DNS, TFTP, TCP and UDP both ways, IPv6, flow
 * control, hostile frames.  It runs in a network of its own, where port 53 is free.
 */
#include "test-net-user.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/bytes.h"

#include "util/loop.h"
#include "util/timer.h"

#define DNS IP4(10, 0, 2, 3)

const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static char *dir;            /* for tftp= */
static bool own_name_server; /* /etc/resolv.conf says 127.0.0.1, whose port 53 is ours */

/* ---- Set-up ---- */

static NetEnd *open_user(const char *options, GError **error)
{
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    g_assert_nonnull(opts);
    return net_open(opts, error);
}

NetEnd *start(Wire *wire, const char *more)
{
    g_autofree char *options = g_strconcat("user,id=u", more, NULL);
    g_autoptr(GError) error = NULL;
    NetEnd *end = open_user(options, &error);

    g_assert_no_error(error);
    wire_open(wire, "w", guest_mac, GUEST);
    g_assert_true(net_connect(&wire->end, end, NULL));
    learn_router(wire);
    return end;
}

void stop(Wire *wire)
{
    wire_close(wire);
    net_close_all();
    g_assert_null(net_find("u"));
}

static bool is_arp_reply(const Packet *p, const void *opaque)
{
    return p->type == ETH_ARP && p->protocol == 2 && p->src == ROUTER;
}

void learn_router(Wire *wire)
{
    wire_send(wire, (Packet){.type = ETH_ARP, .protocol = 1, .dst = ROUTER});
    Packet p = wire_expect(wire, is_arp_reply, NULL);
    g_assert_cmpmem(p.dst_mac, 6, guest_mac, 6);
    memcpy(wire->router_mac, p.src_mac, 6);
}

static bool is_udp_from(const Packet *p, const void *port)
{
    return p->protocol == PROTO_UDP && p->src_port == *(const uint16_t *)port;
}

static bool is_udp_to(const Packet *p, const void *port)
{
    return p->protocol == PROTO_UDP && p->dst_port == *(const uint16_t *)port;
}

static Packet expect_udp(Wire *wire, uint16_t port)
{
    return wire_expect(wire, is_udp_from, &port);
}

static void send_udp(Wire *wire, uint32_t to, uint16_t from_port, uint16_t port, const void *data,
                     size_t length)
{
    wire_send(wire, (Packet){.type = ETH_IP,
                             .protocol = PROTO_UDP,
                             .dst = to,
                             .src_port = from_port,
                             .dst_port = port,
                             .data = data,
                             .length = length});
}

/* A socket of the host on 127.0.0.1; *port 0: any. */
static int host_socket(int type, uint16_t *port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, length), ==, 0);
    if (type == SOCK_STREAM)
        g_assert_cmpint(listen(fd, 5), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&addr, &length), ==, 0);
    *port = ntohs(addr.sin_port);
    return fd;
}

int host_connect(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static bool inbox_full(void *opaque)
{
    Inbox *in = opaque;
    socklen_t length = sizeof(in->from);
    ssize_t n = recvfrom(in->fd, in->text + in->got, sizeof(in->text) - in->got, 0,
                         (struct sockaddr *)&in->from, &length);
    if (n > 0)
        in->got += (size_t)n;
    in->eof = !n;
    return in->got >= in->want || in->eof;
}

static void nothing(void *opaque, int fd, unsigned revents)
{
}

void expect_bytes(Inbox *in, const char *text)
{
    LoopFd *watch = loop_fd_add(loop_main(), in->fd, LOOP_IN, nothing, NULL);
    in->got = 0;
    in->want = strlen(text);
    wire_wait(inbox_full, in);
    loop_fd_remove(watch);
    g_assert_cmpmem(in->text, in->got, text, strlen(text));
}

/* ---- DHCP (RFC 2131), TFTP (RFC 1350), DNS (RFC 1035) ---- */

static const uint8_t *dhcp_option(const Packet *p, uint8_t code)
{
    for (size_t i = 240; i + 1 < p->length && p->data[i] != 255; i += 2u + p->data[i + 1])
        if (p->data[i] == code)
            return p->data + i + 1;
    return NULL;
}

static void send_dhcp(Wire *wire, uint8_t type)
{
    uint8_t m[300] = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef};
    memcpy(m + 28, guest_mac, 6);
    memcpy(m + 236, "\x63\x82\x53\x63\x35\x01", 6);
    m[242] = type;
    memcpy(m + 243, "\x32\x04\x0a\x00\x02\x0f\xff", 7);
    memset(wire->router_mac, 0xff, 6);
    send_udp(wire, 0xffffffff, 68, 67, m, sizeof(m));
}

static void test_dhcp(void)
{
    Wire wire;
    start(&wire,
          ",hostname=guest,domainname=example.org,bootfile=/boot.0,dnssearch=a.b,dnssearch=c");
    for (uint8_t type = 1; type <= 3; type += 2) { /* DISCOVER, REQUEST */
        send_dhcp(&wire, type);
        Packet p = expect_udp(&wire, 67);
        g_assert_cmpuint(p.dst_port, ==, 68);
        g_assert_cmpmem(p.data + 4, 4, "\xde\xad\xbe\xef", 4);
        g_assert_cmpmem(p.data + 16, 4, "\x0a\x00\x02\x0f", 4); /* yiaddr */
        g_assert_cmpstr((const char *)p.data + 108, ==, "/boot.0");
        g_assert_cmpuint(dhcp_option(&p, 53)[1], ==, type == 1 ? 2 : 5); /* OFFER, ACK */
        g_assert_cmpmem(dhcp_option(&p, 1) + 1, 4, "\xff\xff\xff\x00", 4);
        g_assert_cmpmem(dhcp_option(&p, 3) + 1, 4, "\x0a\x00\x02\x02", 4);
        g_assert_cmpmem(dhcp_option(&p, 6) + 1, 4, "\x0a\x00\x02\x03", 4);
        g_assert_cmpmem(dhcp_option(&p, 12), 6, "\x05guest", 6);
        g_assert_cmpmem(dhcp_option(&p, 15), 12,
                        "\x0b"
                        "example.org",
                        12);
        g_assert_nonnull(dhcp_option(&p, 119));
    }
    stop(&wire);

    start(&wire, ",net=10.0.2.0/24,dhcpstart=10.0.2.77,host=10.0.2.2,dns=10.0.2.9");
    send_dhcp(&wire, 1);
    Packet p = expect_udp(&wire, 67);
    g_assert_cmpmem(p.data + 16, 4, "\x0a\x00\x02\x4d", 4);
    g_assert_cmpmem(dhcp_option(&p, 6) + 1, 4, "\x0a\x00\x02\x09", 4);
    stop(&wire);
}

static void test_tftp(void)
{
    Wire wire;
    g_autofree char *path = g_build_filename(dir, "hello", NULL);
    g_autofree char *options = g_strconcat(",tftp=", dir, NULL);

    g_assert_true(g_file_set_contents(path, "hello tftp", -1, NULL));
    start(&wire, options);
    send_udp(&wire, ROUTER, 2000, 69, "\0\1hello\0octet", 14);
    Packet p = expect_udp(&wire, 69);
    g_assert_cmpmem(p.data, p.length, "\0\3\0\1hello tftp", 14);
    send_udp(&wire, ROUTER, 2000, 69, "\0\1../../etc/passwd\0octet", 25);
    p = expect_udp(&wire, 69);
    g_assert_cmpmem(p.data, 4, "\0\5\0\2", 4); /* access violation */
    send_udp(&wire, ROUTER, 2000, 69, "\0\1none\0octet", 13);
    p = expect_udp(&wire, 69);
    g_assert_cmpmem(p.data, 4, "\0\5\0\1", 4); /* not found */
    stop(&wire);
    g_unlink(path);
}

static void test_dns(void)
{
    static const char query[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\4name\4test\0\0\1\0\1";
    Wire wire;
    uint16_t port = 53;

    if (!own_name_server) {
        g_test_skip("no right to a network namespace with a name server of its own");
        return;
    }
    Inbox server = {.fd = host_socket(SOCK_DGRAM, &port)};
    start(&wire, "");
    send_udp(&wire, DNS, 3000, 53, query, sizeof(query) - 1);
    server.want = 1;
    LoopFd *watch = loop_fd_add(loop_main(), server.fd, LOOP_IN, nothing, NULL);
    wire_wait(inbox_full, &server);
    loop_fd_remove(watch);
    g_assert_cmpmem(server.text, server.got, query, sizeof(query) - 1);
    sendto(server.fd, "answer", 6, 0, (struct sockaddr *)&server.from, sizeof(server.from));
    Packet p = expect_udp(&wire, 53);
    g_assert_cmphex(p.src, ==, DNS);
    g_assert_cmpuint(p.dst_port, ==, 3000);
    g_assert_cmpmem(p.data, p.length, "answer", 6);
    stop(&wire);
    close(server.fd);
}

static void test_udp(void)
{
    Wire wire;
    uint16_t port = 0;
    Inbox server = {.fd = host_socket(SOCK_DGRAM, &port)};

    start(&wire, "");
    send_udp(&wire, ROUTER, 4000, port, "to the host", 11);
    expect_bytes(&server, "to the host");
    sendto(server.fd, "back", 4, 0, (struct sockaddr *)&server.from, sizeof(server.from));
    Packet p = expect_udp(&wire, port);
    g_assert_cmphex(p.src, ==, ROUTER);
    g_assert_cmpmem(p.data, p.length, "back", 4);
    stop(&wire);
    close(server.fd);
}

/* ---- Fragments ---- */

/* Sends bytes [from, from + length) of the datagram in a frame made by packet_build(). */
static void send_fragment(Wire *wire, const uint8_t *frame, uint16_t id, size_t from, size_t length,
                          bool more)
{
    enum { IP = 14, HEADER = 20 };
    g_autofree uint8_t *buf = g_malloc(IP + HEADER + length);
    uint8_t *ip = buf + IP;

    memcpy(buf, frame, IP + HEADER);
    memcpy(ip + HEADER, frame + IP + HEADER + from, length);
    st16_be(ip + 2, (uint16_t)(HEADER + length));
    st16_be(ip + 4, id);
    st16_be(ip + 6, (uint16_t)(from / 8 | (more ? 0x2000 : 0)));
    st16_be(ip + 10, 0);
    uint32_t sum = 0;
    for (unsigned i = 0; i < HEADER; i += 2)
        sum += ld16_be(ip + i);
    sum = (sum & 0xffff) + (sum >> 16);
    st16_be(ip + 10, (uint16_t) ~((sum & 0xffff) + (sum >> 16)));
    net_send_buf(&wire->end, buf, IP + HEADER + length);
}

/* A datagram of 6 fragments in any order, some of them twice, among others that never end. */
static void test_fragments(void)
{
    enum { BYTES = 4000, PART = 696, PARTS = 6 };
    static const uint8_t orders[][PARTS + 1] = {
        {0, 1, 2, 3, 4, 5, 5}, {5, 4, 3, 2, 1, 1, 0}, {3, 5, 3, 0, 4, 1, 2}, {5, 0, 5, 1, 2, 3, 4}};
    g_autofree uint8_t *frame = g_malloc0(2 * NET_FRAME_MAX), *data = g_malloc(BYTES);
    uint16_t port = 0;
    Wire wire;
    Inbox server = {.fd = host_socket(SOCK_DGRAM, &port), .want = BYTES};
    Packet p = {.type = ETH_IP,
                .protocol = PROTO_UDP,
                .src = GUEST,
                .dst = ROUTER,
                .src_port = 4000,
                .dst_port = port,
                .data = data,
                .length = BYTES};

    start(&wire, "");
    memcpy(p.src_mac, guest_mac, 6);
    memcpy(p.dst_mac, wire.router_mac, 6);
    for (unsigned n = 0; n < G_N_ELEMENTS(orders); n++) {
        for (unsigned i = 0; i < BYTES; i++)
            data[i] = (uint8_t)(i * 3 / 2 + n);
        size_t whole = packet_build(frame, &p) - 34;
        for (unsigned i = 0; i <= PARTS; i++) {
            size_t from = (size_t)orders[n][i] * PART;
            send_fragment(&wire, frame, (uint16_t)n, from, MIN(PART, whole - from),
                          orders[n][i] < PARTS - 1);
            if (i % 3 == 0) /* another's last one */
                send_fragment(&wire, frame, (uint16_t)(100 + n), 2 * PART, 100, false);
        }
        LoopFd *watch = loop_fd_add(loop_main(), server.fd, LOOP_IN, nothing, NULL);
        server.got = 0;
        wire_wait(inbox_full, &server);
        loop_fd_remove(watch);
        g_assert_cmpmem(server.text, server.got, data, BYTES);
    }
    /* Longer than any datagram is; of odd parts; more behind the last: lost, and nothing else. */
    send_fragment(&wire, frame, 200, 65528, 100, false);
    send_fragment(&wire, frame, 201, 0, 101, true);
    send_fragment(&wire, frame, 202, 0, 800, true);
    send_fragment(&wire, frame, 202, 1600, 800, true);
    send_fragment(&wire, frame, 202, 800, 8, false);
    for (unsigned id = 0; id < 1000; id++)
        send_fragment(&wire, frame, (uint16_t)(1000 + id), 8 * id, 64, id & 1);
    learn_router(&wire);
    stop(&wire);
    close(server.fd);
}

static bool is_icmp(const Packet *p, const void *opaque)
{
    return p->type == ETH_IP && p->protocol == PROTO_ICMP;
}

static void test_icmp(void)
{
    Wire wire;
    uint8_t echo[] = "\x08\0\0\0\1\2\3\4ping";

    start(&wire, "");
    wire_send(
        &wire,
        (Packet){
            .type = ETH_IP, .protocol = PROTO_ICMP, .dst = ROUTER, .data = echo, .length = 12});
    Packet p = wire_expect(&wire, is_icmp, NULL);
    g_assert_cmphex(p.src, ==, ROUTER);
    g_assert_cmpuint(p.data[0], ==, 0);
    g_assert_cmpmem(p.data + 4, p.length - 4, "\1\2\3\4ping", 8);
    stop(&wire);
}

static bool is_icmp6(const Packet *p, const void *type)
{
    return p->type == ETH_IP6 && p->length > 40 && p->data[6] == PROTO_ICMP6 &&
           p->data[40] == *(const uint8_t *)type;
}

/* Whether fec0::15 asks where the router is (RFC 4861), and the router says so. */
static void test_ipv6(void)
{
    static const uint8_t me[16] = {0xfe, 0xc0, [15] = 0x15}, router[16] = {0xfe, 0xc0, [15] = 2};
    uint8_t m[72] = {0x60, [5] = 32, [6] = PROTO_ICMP6, [7] = 255};
    uint8_t advertisement = 136;
    Wire wire;

    start(&wire, "");
    memcpy(m + 8, me, 16);
    memcpy(m + 24, router, 16);
    m[40] = 135; /* neighbour solicitation */
    memcpy(m + 48, router, 16);
    m[64] = m[65] = 1;
    memcpy(m + 66, guest_mac, 6);
    uint32_t sum = 32 + PROTO_ICMP6;
    for (unsigned i = 8; i < sizeof(m); i += 2)
        sum += (uint32_t)m[i] << 8 | m[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    m[42] = (uint8_t)(~sum >> 8);
    m[43] = (uint8_t)~sum;
    wire_send(&wire, (Packet){.type = ETH_IP6, .data = m, .length = sizeof(m)});
    Packet p = wire_expect(&wire, is_icmp6, &advertisement);
    g_assert_cmpmem(p.data + 48, 16, router, 16);
    stop(&wire);
}

/* ---- TCP ---- */

void tcp_send(Tcp *t, unsigned flags, const char *text)
{
    wire_send(t->wire, (Packet){.type = ETH_IP,
                                .protocol = PROTO_TCP,
                                .dst = t->peer,
                                .src_port = t->port,
                                .dst_port = t->peer_port,
                                .seq = t->seq,
                                .ack = t->ack,
                                .flags = flags,
                                .window = 60000,
                                .data = (const uint8_t *)text,
                                .length = strlen(text)});
    t->seq += (uint32_t)strlen(text) + !!(flags & (TCP_SYN | TCP_FIN));
}

static bool is_tcp(const Packet *p, const void *port)
{
    return p->protocol == PROTO_TCP && p->dst_port == *(const uint16_t *)port;
}

Packet tcp_expect(Tcp *t, unsigned flags)
{
    for (;;) {
        Packet p = wire_expect(t->wire, is_tcp, &t->port);
        if ((p.flags & flags) == flags) {
            t->peer_port = p.src_port;
            t->ack = p.seq + (uint32_t)p.length + !!(p.flags & (TCP_SYN | TCP_FIN));
            return p;
        }
    }
}

void tcp_open(Tcp *t)
{
    t->seq = 1000;
    tcp_send(t, TCP_SYN, "");
    tcp_expect(t, TCP_SYN | TCP_ACK);
    tcp_send(t, TCP_ACK, "");
}

void tcp_accept(Tcp *t)
{
    tcp_expect(t, TCP_SYN);
    t->seq = 5000;
    tcp_send(t, TCP_SYN | TCP_ACK, "");
}

static bool accepted(void *opaque)
{
    Inbox *in = opaque;
    int fd = accept4(in->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return false;
    close(in->fd);
    in->fd = fd;
    return true;
}

static void test_tcp_out(void)
{
    Wire wire;
    uint16_t port = 0;
    Inbox server = {.fd = host_socket(SOCK_STREAM, &port)};

    start(&wire, "");
    Tcp t = {&wire, ROUTER, 1234, port};
    tcp_open(&t);
    wire_wait(accepted, &server);
    tcp_send(&t, TCP_ACK | TCP_PSH, "from the guest");
    expect_bytes(&server, "from the guest");
    g_assert_cmpint(write(server.fd, "from the host", 13), ==, 13);
    Packet p = tcp_expect(&t, TCP_PSH);
    g_assert_cmpmem(p.data, p.length, "from the host", 13);
    tcp_send(&t, TCP_ACK | TCP_FIN, "");
    expect_bytes(&server, "");
    g_assert_true(server.eof);
    close(server.fd);
    tcp_expect(&t, TCP_FIN);
    tcp_send(&t, TCP_ACK, "");
    stop(&wire);
}

uint16_t forwarded_port(NetEnd *end, const char *before)
{
    g_autoptr(GString) text = g_string_new(NULL);
    net_user_forwards(end, text);
    const char *at = strstr(text->str, before);
    g_assert_nonnull(at);
    return (uint16_t)strtoul(at + strlen(before), NULL, 10);
}

static void test_hostfwd(void)
{
    Wire wire;
    g_autoptr(GError) error = NULL;
    NetEnd *end = start(&wire, ",hostfwd=tcp:127.0.0.1:0-:22");
    uint16_t port = forwarded_port(end, "tcp 127.0.0.1:");

    Inbox client = {.fd = host_connect(port)};
    Tcp t = {&wire, ROUTER, 22};
    tcp_accept(&t);
    g_assert_cmpint(write(client.fd, "knock", 5), ==, 5);
    Packet p = tcp_expect(&t, TCP_PSH);
    g_assert_cmpmem(p.data, p.length, "knock", 5);
    tcp_send(&t, TCP_ACK | TCP_PSH, "who is there");
    expect_bytes(&client, "who is there");

    GString *text = g_string_new(NULL);
    net_user_describe(end, text);
    g_assert_nonnull(strstr(text->str, "TCP[HOST_FORWARD]"));
    g_assert_nonnull(strstr(text->str, "TCP[ESTABLISHED]"));
    g_string_free(text, TRUE);

    /* At run time. */
    g_autofree char *rule = g_strdup_printf("tcp:127.0.0.1:%u", port);
    g_assert_true(net_user_hostfwd_remove(end, rule, NULL));
    g_assert_false(net_user_hostfwd_remove(end, rule, &error));
    g_assert_nonnull(strstr(error->message, "there is no such forward"));
    g_clear_error(&error);
    g_assert_true(net_user_hostfwd_add(end, "udp:127.0.0.1:0-10.0.2.15:53", NULL));
    uint16_t udp = forwarded_port(end, "udp 127.0.0.1:");
    g_autofree char *taken = g_strdup_printf("udp:127.0.0.1:%u-:54", udp);
    g_assert_false(net_user_hostfwd_add(end, taken, &error));
    g_assert_nonnull(strstr(error->message, "Address already in use"));
    close(client.fd);

    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(udp), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    sendto(fd, "dgram", 5, 0, (struct sockaddr *)&to, sizeof(to));
    p = wire_expect(&wire, is_udp_to, &(uint16_t){53});
    g_assert_cmpmem(p.data, p.length, "dgram", 5);
    close(fd);
    stop(&wire);
}

/* ---- A guest that takes nothing ---- */

typedef struct Pump {
    int fd;
    size_t sent;
} Pump;

/* Writes until the host's socket takes no more. */
static bool pump_blocked(void *opaque)
{
    static const char block[65536];
    Pump *pump = opaque;
    ssize_t n;
    while ((n = write(pump->fd, block, sizeof(block))) > 0)
        pump->sent += (size_t)n;
    return n < 0 && errno == EAGAIN;
}

static void test_flow_control(void)
{
    Wire wire;
    NetEnd *end = start(&wire, ",hostfwd=tcp:127.0.0.1:0-:22");
    Pump pump = {.fd = host_connect(forwarded_port(end, "tcp 127.0.0.1:"))};
    Tcp t = {&wire, ROUTER, 22};
    tcp_accept(&t);
    tcp_send(&t, TCP_ACK, "");

    wire.full = true;
    unsigned before = g_queue_get_length(&wire.frames);
    wire_wait(pump_blocked, &pump);
    for (unsigned i = 0; i < 100; i++) /* and now it would grow */
        loop_step(loop_main(), false);
    g_assert_cmpuint(wire.refused, >, 0);
    g_assert_cmpuint(g_queue_get_length(&wire.frames), ==, before);
    wire.full = false;
    net_writable(&wire.end);
    size_t got = 0;
    while (got < 100000) { /* more than a window: it goes on */
        Packet p = tcp_expect(&t, TCP_ACK);
        got += p.length;
        tcp_send(&t, TCP_ACK, "");
    }
    close(pump.fd);
    stop(&wire);
}

/* Datagrams to a guest that takes none: the queue ends somewhere. */
static void test_flood(void)
{
    Wire wire;
    NetEnd *end = start(&wire, "");
    uint8_t echo[1400] = {8};
    wire.full = true;
    for (unsigned i = 0; i < 3000; i++)
        wire_send(&wire, (Packet){.type = ETH_IP,
                                  .protocol = PROTO_ICMP,
                                  .dst = ROUTER,
                                  .data = echo,
                                  .length = sizeof(echo)});
    g_assert_cmpuint(end->dropped, >, 1000);
    g_assert_cmpuint(end->dropped, <, 3000);
    wire.full = false;
    net_writable(&wire.end);
    g_assert_cmpuint(g_queue_get_length(&wire.frames), ==, 3000 - end->dropped);
    learn_router(&wire);
    stop(&wire);
}

/* ---- restrict ---- */

static void test_restrict(void)
{
    Wire wire;
    uint16_t port = 0;
    Inbox server = {.fd = host_socket(SOCK_DGRAM, &port)};
    start(&wire, ",restrict=on");
    send_udp(&wire, ROUTER, 4000, port, "out", 3);
    send_dhcp(&wire, 1); /* what comes after it proves that it is past */
    expect_udp(&wire, 67);
    loop_step(loop_main(), false);
    g_assert_false((server.want = 1, inbox_full(&server)) && server.got);
    stop(&wire);
    close(server.fd);
}

/* ---- Hostile frames ---- */

static void test_hostile(void)
{
    Wire wire;
    g_autofree uint8_t *buf = g_malloc(NET_FRAME_MAX + 1);
    start(&wire, ",hostfwd=tcp:127.0.0.1:0-:22");

    /* Every length of each kind, with lengths inside that lie. */
    static const uint16_t types[] = {ETH_ARP, ETH_IP, ETH_IP6, 0x88f8, 0x8100, 0};
    for (unsigned t = 0; t < G_N_ELEMENTS(types); t++)
        for (unsigned length = 0; length < 200; length++) {
            memset(buf, 0x45, 200);
            buf[12] = (uint8_t)(types[t] >> 8);
            buf[13] = (uint8_t)types[t];
            net_send_buf(&wire.end, buf, length);
        }
    for (size_t length = 1; length <= NET_FRAME_MAX; length *= 2) {
        memset(buf, 0xff, length);
        if (length > 14)
            memcpy(buf + 12, "\x08\x00\x45\x00\xff\xff", 6);
        net_send_buf(&wire.end, buf, length);
        net_send_buf(&wire.end, buf, length - 1);
    }
    /* Good frames with one byte wrong. */
    g_autoptr(GRand) rand = g_rand_new_with_seed(4);
    Packet good = {.type = ETH_IP,
                   .protocol = PROTO_TCP,
                   .src = GUEST,
                   .dst = ROUTER,
                   .src_port = 1,
                   .dst_port = 1,
                   .flags = TCP_SYN,
                   .window = 100};
    size_t length = packet_build(buf, &good);
    for (unsigned i = 0; i < 5000; i++) {
        g_autofree uint8_t *bad = g_memdup2(buf, length);
        bad[g_rand_int_range(rand, 12, (gint32)length)] = (uint8_t)g_rand_int(rand);
        struct iovec iov[3] = {{bad, 7}, {NULL, 0}, {bad + 7, length - 7}};
        net_send(&wire.end, iov, 3);
        if (!(i % 64))
            loop_step(loop_main(), false);
    }
    learn_router(&wire);
    stop(&wire);
}

/* ---- A network of our own ---- */

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
}

static void leave_host(void)
{
    g_autofree char *path = g_build_filename(dir, "resolv.conf", NULL);

    if (unshare(CLONE_NEWNET | CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS))
        return;
    loopback_up();
    g_assert_true(g_file_set_contents(path, "nameserver 127.0.0.1\n", -1, NULL));
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    own_name_server = !mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-net-XXXXXX", NULL);
    leave_host();
    loop_lock(loop_main());
    vclock_start();
    g_test_add_func("/net-user/dhcp", test_dhcp);
    g_test_add_func("/net-user/tftp", test_tftp);
    g_test_add_func("/net-user/dns", test_dns);
    g_test_add_func("/net-user/udp", test_udp);
    g_test_add_func("/net-user/fragments", test_fragments);
    g_test_add_func("/net-user/icmp", test_icmp);
    g_test_add_func("/net-user/ipv6", test_ipv6);
    g_test_add_func("/net-user/tcp-out", test_tcp_out);
    g_test_add_func("/net-user/hostfwd", test_hostfwd);
    g_test_add_func("/net-user/flow-control", test_flow_control);
    g_test_add_func("/net-user/flood", test_flood);
    g_test_add_func("/net-user/restrict", test_restrict);
    g_test_add_func("/net-user/hostile", test_hostile);
    add_guestfwd_tests();
    add_ip6_tests();
    int result = g_test_run();
    loop_unlock(loop_main());
    return result;
}
