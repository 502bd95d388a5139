/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guestfwd: to a command, to a byte stream, to one that is slow. */
#include "test-net-user.h"

static void test_guestfwd_command(void)
{
    Wire wire;
    start(&wire, ",guestfwd=tcp:10.0.2.100:7-cmd:cat");
    Tcp t = {&wire, IP4(10, 0, 2, 100), 1234, 7};
    tcp_open(&t);
    tcp_send(&t, TCP_ACK | TCP_PSH, "echo");
    Packet p = tcp_expect(&t, TCP_PSH);
    g_assert_cmpmem(p.data, p.length, "echo", 4);
    stop(&wire);
}

static struct {
    GString *written;
    size_t room; /* takes so much more */
    const NetStreamHandlers *handlers;
    void *opaque;
    unsigned closed, accepts;
} stream;

static void *stream_open(const char *spec, const char *id, const NetStreamHandlers *handlers,
                         void *opaque, GError **error)
{
    if (strcmp(spec, "fake")) {
        fail(error, "no such stream");
        return NULL;
    }
    stream.written = g_string_new(NULL);
    stream.room = G_MAXSIZE;
    stream.handlers = handlers;
    stream.opaque = opaque;
    return &stream;
}

static size_t stream_write(void *s, const void *buf, size_t length)
{
    size_t part = MIN(length, stream.room);
    g_string_append_len(stream.written, buf, (gssize)part);
    stream.room -= part;
    return part;
}

static void stream_accept(void *s)
{
    stream.accepts++;
}

static void stream_close(void *s)
{
    stream.closed++;
    g_string_free(stream.written, TRUE);
}

static const NetStreamOps stream_ops = {stream_open, stream_write, stream_accept, stream_close};

static void test_guestfwd_stream(void)
{
    Wire wire;
    net_user_set_stream_ops(&stream_ops);
    start(&wire, ",guestfwd=tcp:10.0.2.100:7-fake");
    g_assert_cmpuint(stream.handlers->can_receive(stream.opaque), ==, 0); /* nobody connected */
    Tcp t = {&wire, IP4(10, 0, 2, 100), 1234, 7};
    tcp_open(&t);
    tcp_send(&t, TCP_ACK | TCP_PSH, "to the stream");
    g_assert_cmpstr(stream.written->str, ==, "to the stream");
    loop_step(loop_main(), false);
    g_assert_cmpuint(stream.accepts, >, 0);
    g_assert_cmpuint(stream.handlers->can_receive(stream.opaque), >, 9);
    stream.handlers->receive(stream.opaque, (const uint8_t *)"and back", 8);
    Packet p = tcp_expect(&t, TCP_PSH);
    g_assert_cmpmem(p.data, p.length, "and back", 8);
    stop(&wire);
    g_assert_cmpuint(stream.closed, ==, 1);
}

/* Sends bytes start, start + 1 ... as one segment; false: it has to wait. */
static bool send_numbered(Tcp *t, size_t start, size_t length)
{
    g_autofree uint8_t *buf = g_malloc(NET_FRAME_MAX), *data = g_malloc(length);
    Packet p = {.type = ETH_IP,
                .protocol = PROTO_TCP,
                .src = GUEST,
                .dst = t->peer,
                .src_port = t->port,
                .dst_port = t->peer_port,
                .seq = t->seq,
                .ack = t->ack,
                .flags = TCP_ACK | TCP_PSH,
                .window = 60000,
                .data = data,
                .length = length};
    memcpy(p.src_mac, guest_mac, 6);
    memcpy(p.dst_mac, t->wire->router_mac, 6);
    for (size_t i = 0; i < length; i++)
        data[i] = (uint8_t)((start + i) * 7 / 5);
    if (!net_send_buf(&t->wire->end, buf, packet_build(buf, &p)))
        return false;
    t->seq += (uint32_t)length;
    return true;
}

static bool went_on(void *opaque)
{
    return ((Wire *)opaque)->writable;
}

/* A stream that takes little at a time gets every byte that was acknowledged, and the queue before
 * it has an end; one that takes nothing stops neither the guest's other traffic nor its own. */
static void test_guestfwd_slow(void)
{
    enum { SEGMENT = 1400, LIMIT = 1 << 20 };
    Wire wire;
    size_t sent = 0;

    net_user_set_stream_ops(&stream_ops);
    start(&wire, ",guestfwd=tcp:10.0.2.100:7-fake,guestfwd=tcp:10.0.2.101:7-cmd:cat");
    Tcp t = {&wire, IP4(10, 0, 2, 100), 1234, 7};
    tcp_open(&t);
    stream.room = 1000;
    for (; send_numbered(&t, sent, SEGMENT); sent += SEGMENT)
        g_assert_cmpuint(sent, <, LIMIT);
    g_assert_cmpuint(sent, >, 65536);
    tcp_send(&t, TCP_ACK, ""); /* without data: passes, and shows that the last was not taken */
    while (tcp_expect(&t, TCP_ACK).ack != t.seq) {
    }
    g_assert_cmpuint(stream.written->len, ==, 1000);

    /* A little room, and the frame that waited goes; three times the queue passes so. */
    for (unsigned rounds = 0; sent < 3 * LIMIT; rounds++) {
        g_assert_cmpuint(rounds, <, 100000);
        wire.writable = 0;
        stream.room = 1 + rounds * 97 % 3000;
        stream.handlers->writable(stream.opaque);
        while (wire.writable && send_numbered(&t, sent, SEGMENT))
            sent += SEGMENT;
    }
    /* None for a tenth of a second: frames are lost, not acknowledged; others get through. */
    while (send_numbered(&t, sent, SEGMENT))
        sent += SEGMENT;
    wire.writable = 0;
    wire_wait(went_on, &wire);
    Tcp lost = t;
    g_assert_true(send_numbered(&lost, sent, SEGMENT));
    tcp_send(&t, TCP_ACK, "");
    while (tcp_expect(&t, TCP_ACK).ack != t.seq) {
    }
    learn_router(&wire);
    Tcp other = {&wire, IP4(10, 0, 2, 101), 1235, 7};
    tcp_open(&other);
    /* TCP sends it again, when there is room. */
    stream.room = G_MAXSIZE;
    stream.handlers->writable(stream.opaque);
    g_assert_true(send_numbered(&t, sent, SEGMENT));
    sent += SEGMENT;
    g_assert_cmpuint(stream.written->len, ==, sent);
    for (size_t i = 0; i < sent; i++)
        g_assert_cmphex((uint8_t)stream.written->str[i], ==, (uint8_t)(i * 7 / 5));
    stop(&wire);
}

void add_guestfwd_tests(void)
{
    g_test_add_func("/net-user/guestfwd-command", test_guestfwd_command);
    g_test_add_func("/net-user/guestfwd-stream", test_guestfwd_stream);
    g_test_add_func("/net-user/guestfwd-slow", test_guestfwd_slow);
}
