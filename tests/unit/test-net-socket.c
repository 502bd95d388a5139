/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream, dgram, socket and hubs between two NICs of a test: frames, refusals, hostile peers. */
#include "../lib/packets.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netdb.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/loop.h"
#include "util/timer.h"

static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static char *dir;

static NetEnd *open_netdev(const char *options)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    NetEnd *end = net_open(opts, &error);
    g_assert_no_error(error);
    return end;
}

/* A wire on a back end; %s in options is the test's folder. */
static void plug(Wire *wire, const char *id, const char *options)
{
    g_auto(GStrv) parts = g_strsplit(options, "%s", 0);
    g_autofree char *where = g_strjoinv(dir, parts);
    g_autofree char *all = g_strdup_printf("%s,id=%s", where, id);
    NetEnd *end = open_netdev(all);
    wire_open(wire, id, mac, 0);
    g_assert_true(net_connect(&wire->end, end, NULL));
}

static void unplug(Wire *a, Wire *b)
{
    wire_close(a);
    wire_close(b);
    net_close_all();
}

/* The text with the number in the mark's place. */
static char *put_number(const char *text, const char *mark, unsigned number)
{
    g_autofree char *digits = g_strdup_printf("%u", number);
    g_auto(GStrv) parts = g_strsplit(text, mark, 0);
    return g_strjoinv(digits, parts);
}

static bool any(void *opaque)
{
    return !g_queue_is_empty(&((Wire *)opaque)->frames);
}

static GBytes *take(Wire *wire)
{
    wire_wait(any, wire);
    return g_queue_pop_head(&wire->frames);
}

static void expect(Wire *wire, const void *data, size_t length)
{
    GBytes *frame = take(wire);
    gsize got;
    const void *bytes = g_bytes_get_data(frame, &got);
    g_assert_cmpmem(bytes, got, data, length);
    g_bytes_unref(frame);
}

static char *described(void)
{
    GString *text = g_string_new(NULL);
    net_describe_all(text);
    return g_string_free(text, FALSE);
}

static bool says_connected(void *opaque)
{
    g_autofree char *text = described();
    return strstr(text, "connected to") && !strstr(text, "not connected") &&
           !strstr(text, "listening");
}

/* Frames of all sizes both ways, in pieces. */
static void exchange_sizes(Wire *a, Wire *b, size_t largest)
{
    g_autofree uint8_t *buf = g_malloc(NET_FRAME_MAX);
    for (size_t i = 0; i < NET_FRAME_MAX; i++)
        buf[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t length = 1; length <= largest; length = length * 3 + 1) {
        struct iovec iov[3] = {
            {buf, length / 2}, {NULL, 0}, {buf + length / 2, length - length / 2}};
        g_assert_true(net_send(&a->end, iov, 3));
        expect(b, buf, length);
        g_assert_true(net_send_buf(&b->end, buf, length));
        expect(a, buf, length);
    }
}

/* The same, and frames that must wait for room. */
static void exchange(Wire *a, Wire *b, size_t largest)
{
    exchange_sizes(a, b, largest);
    b->full = true;
    unsigned refused = b->refused;
    g_assert_true(net_send_buf(&a->end, "first", 5));
    g_assert_true(net_send_buf(&a->end, "second", 6));
    for (unsigned i = 0; b->refused == refused && i < 1000; i++)
        loop_step(loop_main(), true);
    for (unsigned i = 0; i < 20; i++)
        loop_step(loop_main(), false);
    g_assert_cmpuint(b->refused, ==, refused + 1); /* it is not asked again and again */
    b->full = false;
    net_writable(&b->end);
    expect(b, "first", 5);
    expect(b, "second", 6);
}

/* ---- stream ---- */

static void test_stream_unix(void)
{
    Wire a, b;
    plug(&a, "a", "stream,server=on,addr.type=unix,addr.path=%s/s");
    g_assert_true(net_send_buf(&a.end, "nobody", 6)); /* lost */
    plug(&b, "b", "stream,addr.type=unix,addr.path=%s/s");
    wire_wait(says_connected, NULL);
    exchange(&a, &b, NET_FRAME_MAX);
    unplug(&a, &b);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* The port that `info network` shows of a listener. */
static unsigned listening_port(void)
{
    g_autofree char *text = described();
    const char *at = strstr(text, "listening on ");
    g_assert_nonnull(at);
    const char *comma = strchr(at, ',');
    return (unsigned)strtoul(g_strrstr_len(at, comma - at, ":") + 1, NULL, 10);
}

static void test_stream_inet(void)
{
    Wire a, b;
    plug(&a, "a", "socket,listen=127.0.0.1:0");
    g_autofree char *to = g_strdup_printf("socket,connect=127.0.0.1:%u", listening_port());
    plug(&b, "b", to);
    wire_wait(says_connected, NULL);
    exchange(&a, &b, 20000);
    unplug(&a, &b);
}

typedef int GetAddrInfo(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* A host whose own name has both kinds of addresses, that of IPv6 first. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out)
{
    GetAddrInfo *real = (GetAddrInfo *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (g_strcmp0(host, "localhost"))
        return real(host, port, hints, out);
    struct addrinfo v4 = *hints, v6 = *hints;
    v4.ai_family = AF_INET;
    v6.ai_family = AF_INET6;
    *out = NULL;
    int code = hints->ai_family == AF_INET ? 0 : real("::1", port, &v6, out);
    if (code || hints->ai_family == AF_INET6)
        return code;
    return real("127.0.0.1", port, &v4, *out ? &(*out)->ai_next : out);
}

/* Both find each other by the host's name, whichever address it is. */
static void test_names(void)
{
    static const struct {
        const char *server, *client;
    } rows[] = {
        {"socket,listen=:0", "socket,connect=localhost:%u"},
        {"socket,listen=localhost:0", "socket,connect=localhost:%u"},
        {"socket,listen=localhost:0", "stream,addr.type=inet,addr.host=localhost,addr.port=%u"},
        {"stream,server=on,addr.type=inet,addr.host=127.0.0.1",
         "stream,addr.type=inet,addr.host=localhost,addr.port=%u"},
        {"stream,server=on,addr.type=inet,addr.host=localhost",
         "stream,addr.type=inet,addr.host=localhost,addr.port=%u"},
        {"stream,server=on,addr.type=inet,addr.host=localhost,addr.ipv6=off",
         "socket,connect=localhost:%u"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Wire a, b;
        plug(&a, "a", rows[i].server);
        g_autofree char *client = put_number(rows[i].client, "%u", listening_port());
        plug(&b, "b", client);
        wire_wait(says_connected, NULL);
        exchange_sizes(&a, &b, 2000);
        unplug(&a, &b);
    }
}

/* The address that was tried last is told, and by `info network`, too. */
static void test_nobody_listens(void)
{
    Wire b;
    g_autofree char *path = g_build_filename(dir, "stderr", NULL), *said = NULL;
    int other = socket(AF_INET, SOCK_STREAM, 0), kept = dup(2);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);

    g_assert_cmpint(bind(other, (struct sockaddr *)&addr, length), ==, 0); /* nobody else's port */
    getsockname(other, (struct sockaddr *)&addr, &length);
    g_autofree char *where = g_strdup_printf("127.0.0.1:%u", ntohs(addr.sin_port));
    g_autofree char *line = g_strdup_printf("network 'b': %s: Connection refused", where);
    g_autofree char *to = g_strdup_printf(
        "stream,id=b,addr.type=inet,addr.host=localhost,addr.port=%u", ntohs(addr.sin_port));
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    dup2(fd, 2);
    g_autoptr(Options) opts = options_parse("-netdev", to, "type", NULL, NULL);
    g_autoptr(GError) error = NULL;
    NetEnd *end = net_open(opts, &error);
    for (unsigned i = 0; end && i < 1000 && !lseek(fd, 0, SEEK_END); i++)
        loop_step(loop_main(), true);
    dup2(kept, 2);
    close(fd);
    close(kept);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(path, &said, NULL, NULL));
    g_assert_nonnull(strstr(said, line));
    wire_open(&b, "b", mac, 0);
    g_assert_true(net_connect(&b.end, end, NULL));
    g_autofree char *text = described();
    g_assert_nonnull(strstr(text, "not connected to 127.0.0.1:"));
    wire_close(&b);
    net_close_all();
    close(other);
    g_unlink(path);
}

static bool got_b(void *opaque)
{
    Wire *const *pair = opaque;
    net_send_buf(&pair[0]->end, "again", 5);
    return any(pair[1]);
}

/* The server goes and comes back; the client tries again. */
static void test_reconnect(void)
{
    Wire a, b;
    plug(&b, "b", "stream,reconnect-ms=5,addr.type=unix,addr.path=%s/r");
    for (unsigned i = 0; i < 2; i++) {
        plug(&a, "a", "stream,server=on,addr.type=unix,addr.path=%s/r");
        Wire *pair[2] = {&a, &b};
        wire_wait(got_b, pair);
        expect(&b, "again", 5);
        g_queue_clear_full(&b.frames, (GDestroyNotify)g_bytes_unref);
        NetEnd *end = net_find("a");
        wire_close(&a);
        net_close(end);
    }
    wire_close(&b);
    net_close_all();
}

/* A client goes on trying when there was no descriptor for an attempt. */
static void test_no_descriptors(void)
{
    enum { LIMIT = 64 };
    struct rlimit kept, low;
    int fds[LIMIT];
    unsigned count = 0;
    Wire a, b;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &kept), ==, 0);
    low = (struct rlimit){LIMIT, kept.rlim_max};
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
    plug(&b, "b", "stream,reconnect-ms=1,addr.type=unix,addr.path=%s/n");
    while (count < LIMIT && (fds[count] = dup(0)) >= 0)
        count++;
    int64_t end = clock_now(VM_CLOCK_HOST) + 20 * NS_PER_MS;
    while (clock_now(VM_CLOCK_HOST) < end)
        loop_step(loop_main(), false);
    while (count)
        close(fds[--count]);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &kept), ==, 0);
    plug(&a, "a", "stream,server=on,addr.type=unix,addr.path=%s/n");
    Wire *pair[2] = {&a, &b};
    wire_wait(got_b, pair);
    unplug(&a, &b);
}

static bool says_listening(void *opaque)
{
    g_autofree char *text = described();
    return strstr(text, "listening on unix:");
}

/* A server's socket that was made for it; its file stays. */
static void test_listener_fd(void)
{
    g_autofree char *path = g_build_filename(dir, "l", NULL);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_autofree char *server = g_strdup_printf("stream,server=on,addr.type=fd,addr.str=%d", fd);
    Wire a, b;

    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    plug(&a, "a", server);
    for (unsigned i = 0; i < 2; i++) {
        wire_wait(says_listening, NULL);
        plug(&b, "b", "stream,addr.type=unix,addr.path=%s/l");
        wire_wait(says_connected, NULL);
        exchange_sizes(&a, &b, 2000);
        NetEnd *end = net_find("b");
        wire_close(&b);
        net_close(end);
    }
    wire_close(&a);
    net_close_all();
    g_assert_cmpint(g_unlink(path), ==, 0);
}

static bool sees_eof(void *opaque)
{
    char byte;
    return recv(*(int *)opaque, &byte, 1, MSG_DONTWAIT) == 0;
}

static void nothing(void *opaque, int fd, unsigned revents)
{
}

/* Lengths that are none end the connection; the server waits for the next. */
static void test_hostile_stream(void)
{
    static const struct {
        const char *bytes;
        size_t length;
    } rows[] = {{"\0\0\0\0", 4}, {"\xff\xff\xff\xff", 4}, {"\0\1\0\1xxx", 7}, {"\0\0", 2}};
    Wire a;
    g_autofree char *path = g_build_filename(dir, "h", NULL);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    plug(&a, "a", "stream,server=on,addr.type=unix,addr.path=%s/h");
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
        g_assert_cmpint(write(fd, "\0\0\0\4good", 8), ==, 8);
        g_assert_cmpint(write(fd, rows[i].bytes, rows[i].length), ==, (gssize)rows[i].length);
        if (rows[i].length == 2)
            shutdown(fd, SHUT_WR); /* in the middle of a length */
        expect(&a, "good", 4);
        LoopFd *watch = loop_fd_add(loop_main(), fd, LOOP_IN, nothing, NULL);
        wire_wait(sees_eof, &fd);
        loop_fd_remove(watch);
        close(fd);
    }
    g_assert_cmpuint(g_queue_get_length(&a.frames), ==, 0);
    wire_close(&a);
    net_close_all();
}

/* A peer that never reads: the guest waits for a moment, then goes on without it. */
static void test_deaf_peer(void)
{
    int pair[2];
    Wire a;
    static uint8_t frame[60000];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    g_autofree char *options = g_strdup_printf("stream,addr.type=fd,addr.str=%d", pair[0]);
    plug(&a, "a", options);
    while (net_send_buf(&a.end, frame, sizeof(frame)))
        g_assert_cmpuint(a.end.tx_frames, <, 1000);
    g_assert_cmpuint(a.writable, ==, 0);
    while (!a.writable)
        loop_step(loop_main(), true);
    for (unsigned i = 0; i < 1000; i++)
        g_assert_true(net_send_buf(&a.end, frame, sizeof(frame)));
    close(pair[1]);
    wire_close(&a);
    net_close_all();
}

/* ---- dgram ---- */

static void test_dgram_unix(void)
{
    Wire a, b;
    plug(&a, "a", "dgram,local.type=unix,local.path=%s/a,remote.type=unix,remote.path=%s/b");
    g_assert_true(net_send_buf(&a.end, "nobody", 6)); /* lost */
    plug(&b, "b", "dgram,local.type=unix,local.path=%s/b,remote.type=unix,remote.path=%s/a");
    exchange(&a, &b, 40000);

    /* It is there and reads nothing. */
    b.full = true;
    for (unsigned i = 0; i < 2000 && net_send_buf(&a.end, "x", 1); i++) {
    }
    while (!a.writable || !net_send_buf(&a.end, "x", 1))
        loop_step(loop_main(), true);
    unplug(&a, &b);
}

static uint16_t free_udp_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, length), ==, 0);
    getsockname(fd, (struct sockaddr *)&addr, &length);
    close(fd);
    return ntohs(addr.sin_port);
}

static void test_dgram_inet(void)
{
    Wire a, b;
    uint16_t port[2] = {free_udp_port(), free_udp_port()};
    g_autofree char *older =
        g_strdup_printf("socket,udp=127.0.0.1:%u,localaddr=127.0.0.1:%u", port[1], port[0]);
    g_autofree char *newer =
        g_strdup_printf("dgram,local.type=inet,local.host=127.0.0.1,local.port=%u,"
                        "remote.type=inet,remote.host=127.0.0.1,remote.port=%u",
                        port[1], port[0]);
    plug(&a, "a", older);
    plug(&b, "b", newer);
    exchange(&a, &b, 40000);
    unplug(&a, &b);
}

/* Names of both kinds: what one may be, the other is. */
static void test_dgram_names(void)
{
    static const char *const rows[][2] = {
        {"socket,udp=localhost:%2,localaddr=:%1", "socket,udp=localhost:%1,localaddr=localhost:%2"},
        {"dgram,local.type=inet,local.host=127.0.0.1,local.port=%1,remote.type=inet,"
         "remote.host=localhost,remote.port=%2",
         "dgram,local.type=inet,local.port=%2,remote.type=inet,remote.host=localhost,"
         "remote.port=%1"},
        {"dgram,local.type=inet,local.host=localhost,local.port=%1,remote.type=inet,"
         "remote.host=localhost,remote.port=%2",
         "dgram,local.type=inet,local.host=localhost,local.port=%2,remote.type=inet,"
         "remote.host=127.0.0.1,remote.port=%1"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Wire wires[2];
        uint16_t port[2] = {free_udp_port(), free_udp_port()};
        for (unsigned n = 0; n < 2; n++) {
            g_autofree char *half = put_number(rows[i][n], "%1", port[0]);
            g_autofree char *options = put_number(half, "%2", port[1]);
            plug(&wires[n], n ? "b" : "a", options);
        }
        exchange_sizes(&wires[0], &wires[1], 2000);
        unplug(&wires[0], &wires[1]);
    }
}

/* Everybody but the sender hears it. */
static void test_multicast(void)
{
    Wire a, b, c;
    g_autoptr(GError) error = NULL;
    g_autofree char *text =
        g_strdup_printf("socket,mcast=230.0.0.1:%u,localaddr=127.0.0.1,id=a", free_udp_port());
    g_autoptr(Options) opts = options_parse("-netdev", text, "type", NULL, NULL);
    Wire *wires[] = {&a, &b, &c};
    static const char *const ids[] = {"a", "b", "c"};

    for (unsigned i = 0; i < 3; i++) {
        options_set(opts, "id", ids[i]);
        NetEnd *end = net_open(opts, &error);
        if (!end) {
            g_autofree char *why = g_strdup_printf("no multicast here: %s", error->message);
            g_test_skip(why);
            net_close_all();
            return;
        }
        wire_open(wires[i], ids[i], mac, 0);
        g_assert_true(net_connect(&wires[i]->end, end, NULL));
    }
    g_assert_true(net_send_buf(&a.end, "to all", 6));
    expect(&b, "to all", 6);
    expect(&c, "to all", 6);
    g_assert_true(net_send_buf(&b.end, "back", 4));
    expect(&a, "back", 4); /* the first that it hears */
    expect(&c, "back", 4);
    wire_close(&c);
    unplug(&a, &b);
}

/* ---- Hubs ---- */

static void test_hub(void)
{
    Wire a, b, c;
    plug(&a, "a", "hubport,hubid=3");
    plug(&b, "b", "hubport,hubid=3");
    exchange_sizes(&a, &b, NET_FRAME_MAX);

    /* Two ports: a refusal comes back to the sender. */
    b.full = true;
    g_assert_false(net_send_buf(&a.end, "x", 1));
    b.full = false;
    net_writable(&b.end);
    g_assert_cmpuint(a.writable, ==, 1);

    /* Three: the slow one does not hold up the other, and its queue ends somewhere. */
    plug(&c, "c", "hubport,hubid=3");
    static uint8_t frame[1000];
    c.full = true;
    for (unsigned i = 0; i < 1000; i++)
        g_assert_true(net_send_buf(&a.end, frame, sizeof(frame)));
    g_assert_cmpuint(g_queue_get_length(&b.frames), ==, 1000);
    c.full = false;
    net_writable(&c.end);
    unsigned got = g_queue_get_length(&c.frames);
    g_assert_cmpuint(got, >, 100);
    g_assert_cmpuint(got, <, 300);
    g_assert_cmpuint(g_queue_get_length(&a.frames), ==, 0); /* its own do not come back */
    wire_close(&c);
    unplug(&a, &b);
}

/* A port goes that a sender waited for. */
static void test_hub_port_goes(void)
{
    Wire a, b;
    plug(&a, "a", "hubport,hubid=0");
    plug(&b, "b", "hubport,hubid=0");
    b.full = true;
    g_assert_false(net_send_buf(&a.end, "x", 1));
    net_close(net_find("b"));
    g_assert_cmpuint(a.writable, ==, 1);
    g_assert_true(net_send_buf(&a.end, "x", 1));
    unplug(&a, &b);
}

static bool is_arp_reply(const Packet *p, const void *opaque)
{
    return p->type == ETH_ARP && p->protocol == 2;
}

/* A back end that answers at once is not let into the hub again before it is done. */
static void test_hub_user(void)
{
    Wire a, b;
    g_autoptr(GError) error = NULL;
    plug(&a, "a", "hubport,hubid=0");
    plug(&b, "b", "hubport,hubid=0");
    open_netdev("user,id=u");
    open_netdev("hubport,hubid=0,netdev=u,id=p");
    a.ip = b.ip = IP4(10, 0, 2, 15);
    for (unsigned i = 0; i < 3; i++) {
        wire_send(&a, (Packet){.type = ETH_ARP, .protocol = 1, .dst = IP4(10, 0, 2, 2)});
        wire_expect(&a, is_arp_reply, NULL);
        wire_expect(&b, is_arp_reply, NULL);
    }
    g_autoptr(Options) bad =
        options_parse("-netdev", "hubport,hubid=1,netdev=a,id=q", "type", NULL, NULL);
    g_assert_null(net_open(bad, &error));
    g_assert_nonnull(strstr(error->message, "netdev=a: it is a port of a hub itself"));
    unplug(&a, &b);
}

/* ---- Options ---- */

static void expect_error(const char *options, const char *part)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    g_assert_null(net_open(opts, &error));
    if (!strstr(error->message, part))
        g_test_message("%s: %s", options, error->message);
    g_assert_nonnull(strstr(error->message, part));
    g_assert_null(strchr(error->message, '\n'));
}

/* A descriptor of another kind than the network's would spin at its end, or say nothing. */
static void test_fd_kinds(void)
{
    static const struct {
        const char *options;
        int type;
        const char *error;
    } rows[] = {
        {"dgram,local.type=fd,local.str=%d", SOCK_STREAM, "must be a socket of datagrams"},
        {"dgram,local.type=fd,local.str=%d", SOCK_SEQPACKET, "must be a socket of datagrams"},
        {"stream,addr.type=fd,addr.str=%d", SOCK_DGRAM, "must be a socket of streams"},
        {"stream,addr.type=fd,addr.str=%d", SOCK_SEQPACKET, "must be a socket of streams"},
        {"stream,server=on,addr.type=fd,addr.str=%d", SOCK_STREAM,
         "must be a socket that can listen"},
        {"socket,fd=%d", SOCK_SEQPACKET, "must be a socket of streams or datagrams"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        int pair[2];
        g_assert_cmpint(socketpair(AF_UNIX, rows[i].type, 0, pair), ==, 0);
        g_auto(GStrv) parts = g_strsplit(rows[i].options, "%d", 0);
        g_autofree char *options = g_strdup_printf("%s%d", parts[0], pair[0]);
        expect_error(options, rows[i].error);
        close(pair[0]);
        close(pair[1]);
    }
    int alone = socket(AF_INET, SOCK_STREAM, 0);
    g_autofree char *options = g_strdup_printf("stream,addr.type=fd,addr.str=%d", alone);
    expect_error(options, "must be a connected socket");
    close(alone);
}

/* A file of ours that nobody listens at is replaced, and nothing else. */
static void test_paths(void)
{
    static const char *const forms[] = {
        "stream,id=s,server=on,addr.type=unix,addr.path=%s",
        "dgram,id=s,local.type=unix,local.path=%s,remote.type=unix,remote.path=/x"};
    g_autofree char *path = g_build_filename(dir, "path", NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_auto(GStrv) parts = g_strsplit(forms[i], "%s", 0);
        g_autofree char *options = g_strjoinv(path, parts), *text = NULL;
        int type = i ? SOCK_DGRAM : SOCK_STREAM;
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));

        g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
        expect_error(options, "path' exists and is not a socket");
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_assert_cmpstr(text, ==, "precious");
        g_unlink(path);

        int other = socket(AF_UNIX, type, 0);
        g_assert_cmpint(bind(other, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
        g_assert_true(type == SOCK_DGRAM || !listen(other, 1));
        expect_error(options, "another process listens on '");
        g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
        close(other); /* its file stays */
        open_netdev(options);
        net_close_all();
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
}

static void test_bad(void)
{
    static const struct {
        const char *options, *error;
    } rows[] = {
        {"socket", "one of fd=, listen=, connect=, mcast= and udp= is missing"},
        {"socket,listen=:1,connect=a:1", "connect=a:1: one of fd, listen, connect, mcast and udp"},
        {"socket,listen=1", "listen=1: must be as HOST:PORT"},
        {"socket,connect=127.0.0.1:99999", "port '99999' must be a number"},
        {"socket,udp=127.0.0.1:1", "localaddr=HOST:PORT is missing"},
        {"socket,udp=230.0.0.1:1,localaddr=:1", "say mcast="},
        {"socket,mcast=127.0.0.1:1", "must be a multicast group"},
        {"socket,mcast=230.0.0.1:1,localaddr=x", "localaddr=x: must be an IPv4 address"},
        {"socket,listen=:1,localaddr=1.2.3.4", "goes with mcast= and udp= only"},
        {"socket,fd=x", "fd=x: must be the number of an open file"},
        {"socket,fd=999", "fd=999: it is no open socket"},
        {"socket,connect=127.0.0.1:1,bogus=1", "has no key 'bogus'"},
        {"stream,server=on", "addr.type= is missing"},
        {"stream,addr.type=tcp", "addr.type=tcp: must be inet, unix or fd"},
        {"stream,addr.type=inet,addr.host=a", "addr.port= is missing"},
        {"stream,addr.type=unix", "addr.path= is missing"},
        {"stream,addr.type=fd", "addr.str= is missing"},
        {"stream,addr.type=unix,addr.path=/nowhere/s", "unix:/nowhere/s: No such file"},
        {"stream,server=on,addr.type=unix,addr.path=/nowhere/s", "unix:/nowhere/s: No such file"},
        {"stream,server=on,reconnect=1,addr.type=unix,addr.path=x", "a server waits"},
        {"stream,reconnect=1,addr.type=fd,addr.str=0",
         "reconnect=1: a socket that is given by addr.str= has no use for it"},
        {"stream,addr.type=fd,addr.str=0,addr.port=1", "addr.port=1: a socket that is given"},
        {"dgram,local.type=fd,local.str=0,remote.type=inet", "remote.type=inet: a socket that is"},
        {"dgram,local.type=fd,local.str=0,local.port=1", "local.port=1: a socket that is given"},
        {"dgram,local.type=inet,local.port=1", "remote.type= is missing"},
        {"dgram,remote.type=unix,remote.path=x", "local.type= is missing"},
        {"dgram,local.type=inet,local.port=0,remote.type=unix,remote.path=x", "different kinds"},
        {"dgram,local.type=unix,local.path=/nowhere/s,remote.type=unix,remote.path=x",
         "local address unix:/nowhere/s"},
        {"hubport", "hubid=: the hub's number is missing"},
        {"hubport,hubid=x", "hubid"},
        {"hubport,hubid=1,netdev=none", "there is no network 'none'"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Options) opts = options_parse("-netdev", rows[i].options, "type", NULL, NULL);
        NetEnd *end = net_open(opts, &error);
        if (end || !strstr(error->message, rows[i].error))
            g_test_message("%s: %s", rows[i].options, error ? error->message : "no error");
        g_assert_null(end);
        g_assert_nonnull(strstr(error->message, rows[i].error));
        g_assert_null(strchr(error->message, '\n'));
    }
    g_autofree char *text = described();
    g_assert_cmpstr(text, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-net-XXXXXX", NULL);
    loop_lock(loop_main());
    vclock_start();
    g_test_add_func("/net-socket/stream-unix", test_stream_unix);
    g_test_add_func("/net-socket/stream-inet", test_stream_inet);
    g_test_add_func("/net-socket/names", test_names);
    g_test_add_func("/net-socket/nobody-listens", test_nobody_listens);
    g_test_add_func("/net-socket/reconnect", test_reconnect);
    g_test_add_func("/net-socket/no-descriptors", test_no_descriptors);
    g_test_add_func("/net-socket/listener-fd", test_listener_fd);
    g_test_add_func("/net-socket/hostile-stream", test_hostile_stream);
    g_test_add_func("/net-socket/deaf-peer", test_deaf_peer);
    g_test_add_func("/net-socket/dgram-unix", test_dgram_unix);
    g_test_add_func("/net-socket/dgram-inet", test_dgram_inet);
    g_test_add_func("/net-socket/dgram-names", test_dgram_names);
    g_test_add_func("/net-socket/multicast", test_multicast);
    g_test_add_func("/net-socket/hub", test_hub);
    g_test_add_func("/net-socket/hub-port-goes", test_hub_port_goes);
    g_test_add_func("/net-socket/hub-user", test_hub_user);
    g_test_add_func("/net-socket/fd-kinds", test_fd_kinds);
    g_test_add_func("/net-socket/paths", test_paths);
    g_test_add_func("/net-socket/bad", test_bad);
    int result = g_test_run();
    loop_unlock(loop_main());
    g_rmdir(dir);
    return result;
}
