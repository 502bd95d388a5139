/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Socket chardevs: unix and tcp, server and client, telnet, slow and dead peers. */
#include "test-chardev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char *dir;

/* ---- Peers ---- */

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    return sun;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un sun = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    return fd;
}

static int listen_unix(const char *path)
{
    struct sockaddr_un sun = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    g_assert_cmpint(listen(fd, 4), ==, 0);
    return fd;
}

static int connect_tcp(unsigned port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), ==, 0);
    return fd;
}

static char *description(void)
{
    GString *out = g_string_new(NULL);
    chr_describe_all(out);
    return g_string_free(out, FALSE);
}

/* The port in "...tcp:127.0.0.1:PORT,server=on". */
static unsigned described_port(void)
{
    g_autofree char *text = description();
    const char *p = strstr(text, "127.0.0.1:");
    g_assert_nonnull(p);
    return (unsigned)strtoul(p + strlen("127.0.0.1:"), NULL, 10);
}

static void send_text(int fd, const char *text)
{
    g_assert_cmpint(send(fd, text, strlen(text), MSG_NOSIGNAL), ==, strlen(text));
}

static void expect_bytes(int fd, const void *wanted, size_t length)
{
    uint8_t buf[256];
    size_t got = 0;
    g_assert_cmpuint(length, <=, sizeof(buf));
    while (got < length) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        g_assert_cmpint(poll(&pfd, 1, 10000), ==, 1);
        ssize_t n = recv(fd, buf + got, length - got, 0);
        g_assert_cmpint(n, >, 0);
        got += (size_t)n;
    }
    g_assert_cmpmem(buf, got, wanted, length);
}

static void expect_text(int fd, const char *text)
{
    expect_bytes(fd, text, strlen(text));
}

/* ---- Servers ---- */

static void test_unix_server(void)
{
    g_autofree char *path = g_build_filename(dir, "server", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server,nowait", path);
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short(spec, "s");

    front_attach(&f, chr);
    g_assert_cmpuint(chr_write(chr, &f, "nobody", 6), ==, 6); /* dropped */
    g_autofree char *before = description();
    g_autofree char *wanted = g_strdup_printf("s: filename=disconnected:unix:%s,server=on\n", path);
    g_assert_cmpstr(before, ==, wanted);
    for (unsigned round = 1; round <= 3; round++) {
        int fd = connect_unix(path);
        WAIT_UNTIL(f.opened == round);
        chr_write_all(chr, &f, "hello", 5);
        expect_text(fd, "hello");
        g_string_truncate(f.got, 0);
        send_text(fd, "world");
        WAIT_UNTIL(f.got->len == 5);
        g_assert_cmpstr(f.got->str, ==, "world");
        close(fd);
        WAIT_UNTIL(f.closed == round);
    }
    chr_close(chr);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    front_free(&f);
}

/* A second client is served when the first has gone. */
static void test_queue(void)
{
    g_autofree char *path = g_build_filename(dir, "queue", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short(spec, "s");

    front_attach(&f, chr);
    int first = connect_unix(path);
    WAIT_UNTIL(f.opened == 1);
    int second = connect_unix(path);
    settle();
    chr_write(chr, &f, "1", 1);
    expect_text(first, "1");
    close(first);
    WAIT_UNTIL(f.opened == 2);
    chr_write(chr, &f, "2", 1);
    expect_text(second, "2");
    close(second);
    chr_close(chr);
    front_free(&f);
}

/* The guest reads nothing; a client that wrote and left must not keep out the next one, but what it
 * wrote stays readable until then. */
static void test_gone_unread(void)
{
    g_autofree char *path = g_build_filename(dir, "gone", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    Front f = front_new(0);
    Chardev *chr = open_short(spec, "s");

    front_attach(&f, chr);
    int fd = connect_unix(path);
    WAIT_UNTIL(f.opened == 1);
    send_text(fd, "first");
    close(fd);
    settle(); /* comes to rest, although the hang-up stays */
    front_room(&f, chr, UNLIMITED);
    WAIT_UNTIL(f.closed == 1);
    g_assert_cmpstr(f.got->str, ==, "first");

    f.room = 0;
    fd = connect_unix(path);
    WAIT_UNTIL(f.opened == 2);
    chr_accept_input(chr, &f);
    send_text(fd, "second");
    close(fd);
    settle();
    fd = connect_unix(path);
    WAIT_UNTIL(f.opened == 3);
    send_text(fd, "third");
    front_room(&f, chr, UNLIMITED);
    WAIT_UNTIL(f.got->len >= 10);
    g_assert_cmpstr(f.got->str, ==, "firstthird");
    close(fd);
    chr_close(chr);
    front_free(&f);
}

static void test_stale(void)
{
    g_autofree char *path = g_build_filename(dir, "stale", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,server=on,wait=off", path);
    int other = listen_unix(path);

    assert_fails(spec, "another process listens");
    close(other); /* its file stays */
    Chardev *chr = open_short(spec, "s");
    chr_close(chr);
    g_assert_true(g_file_set_contents(path, "precious", -1, NULL));
    assert_fails(spec, "not a socket");
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    g_unlink(path);
}

/* wait=on: open does not return before somebody connects. */
static gpointer connect_thread(gpointer path)
{
    int fd = -1;
    while (fd < 0) {
        struct sockaddr_un sun = unix_address(path);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
            close(fd);
            fd = -1;
            g_thread_yield();
        }
    }
    return GINT_TO_POINTER(fd);
}

static void test_wait(void)
{
    g_autofree char *path = g_build_filename(dir, "wait", NULL);
    g_autofree char *text = g_strdup_printf("socket,id=s,path=%s,server=on", path);
    Front f = front_new(UNLIMITED);
    GThread *thread = g_thread_new("connect", connect_thread, path);
    Chardev *chr = open_long(text);
    int fd = GPOINTER_TO_INT(g_thread_join(thread));

    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 1);
    close(fd);
    chr_close(chr);
    front_free(&f);
}

static void test_tcp_server(void)
{
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short("tcp:127.0.0.1:0,server=on,wait=off,nodelay=on", "s");

    front_attach(&f, chr);
    int fd = connect_tcp(described_port());
    WAIT_UNTIL(f.opened == 1);
    g_autofree char *text = description();
    g_assert_true(g_str_has_prefix(text, "s: filename=tcp:127.0.0.1:"));
    g_assert_nonnull(strstr(text, ",server=on <-> 127.0.0.1:"));
    chr_write(chr, &f, "hello", 5);
    expect_text(fd, "hello");
    send_text(fd, "world");
    WAIT_UNTIL(f.got->len == 5);
    struct linger linger = {1, 0}; /* a reset instead of a polite end */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
    WAIT_UNTIL(f.closed == 1);
    g_assert_cmpuint(chr_write(chr, &f, "nobody", 6), ==, 6);
    chr_close(chr);
    front_free(&f);
}

/* The same guest that reads nothing, with TCP, where a close is no hang-up to poll(). */
static void test_tcp_gone_unread(void)
{
    Front f = front_new(0);
    Chardev *chr = open_short("tcp:127.0.0.1:0,server=on,wait=off", "s");
    unsigned port = described_port();

    front_attach(&f, chr);
    int fd = connect_tcp(port);
    WAIT_UNTIL(f.opened == 1);
    send_text(fd, "x");
    close(fd);
    fd = connect_tcp(port);
    WAIT_UNTIL(f.opened == 2);
    close(fd);
    chr_close(chr);
    front_free(&f);
}

/* ---- Clients ---- */

static void test_client(void)
{
    g_autofree char *path = g_build_filename(dir, "client", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s", path);
    Front f = front_new(UNLIMITED);

    assert_fails(spec, "cannot connect to");
    int listener = listen_unix(path);
    Chardev *chr = open_short(spec, "c");
    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 1);
    int fd = accept(listener, NULL, NULL);
    chr_write(chr, &f, "hello", 5);
    expect_text(fd, "hello");
    close(fd);
    WAIT_UNTIL(f.closed == 1);
    settle();
    g_assert_cmpuint(chr_write(chr, &f, "nobody", 6), ==, 6);
    chr_close(chr);
    close(listener);
    g_unlink(path);
    front_free(&f);
}

static void test_tcp_refused(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: surely refused */
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t length = sizeof(sin);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sin, &length), ==, 0);
    g_autofree char *spec = g_strdup_printf("tcp:127.0.0.1:%u", ntohs(sin.sin_port));
    assert_fails(spec, "Connection refused");
    close(fd);
}

static void test_reconnect(void)
{
    g_autofree char *path = g_build_filename(dir, "again", NULL);
    g_autofree char *spec = g_strdup_printf("unix:%s,reconnect=1", path);
    g_autofree char *bad = g_strdup_printf("unix:%s,server=on,reconnect=1", path);
    Front f = front_new(UNLIMITED);

    assert_fails(bad, "reconnect");
    Chardev *chr = open_short(spec, "c"); /* nobody listens yet: not an error */
    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 0);
    int listener = listen_unix(path);
    WAIT_UNTIL(f.opened == 1);
    close(accept(listener, NULL, NULL));
    WAIT_UNTIL(f.closed == 1);
    WAIT_UNTIL(f.opened == 2);
    int fd = accept(listener, NULL, NULL);
    chr_write(chr, &f, "again", 5);
    expect_text(fd, "again");
    close(fd);
    close(listener);
    chr_close(chr);
    g_unlink(path);
    front_free(&f);
}

/* ---- fd=, flow control ---- */

static Chardev *open_pair(int *peer)
{
    int fds[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_autofree char *text = g_strdup_printf("socket,id=p,fd=%d", fds[0]);
    *peer = fds[1];
    return open_long(text);
}

static void test_fd(void)
{
    g_autofree char *path = g_build_filename(dir, "fd", NULL);
    int listener = listen_unix(path), peer;
    g_autofree char *text = g_strdup_printf("socket,id=s,fd=%d,server=on,wait=off", listener);
    g_autofree char *wrong = g_strdup_printf("socket,id=s,fd=%d", listener);
    Front f = front_new(UNLIMITED);

    assert_long_fails("socket,id=s,fd=999", "fd=999 is not a socket");
    assert_long_fails(wrong, "server=on is wanted");
    Chardev *chr = open_long(text);
    front_attach(&f, chr);
    int fd = connect_unix(path);
    WAIT_UNTIL(f.opened == 1);
    close(fd);
    chr_close(chr);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS)); /* not ours to remove */
    g_unlink(path);

    chr = open_pair(&peer);
    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 2);
    chr_close(chr);
    close(peer);
    front_free(&f);
}

static void test_back_pressure(void)
{
    static uint8_t block[1 << 16], sink[1 << 16];
    int peer;
    Front f = front_new(5);
    Chardev *chr = open_pair(&peer);
    size_t sent = 0, received = 0, n;

    front_attach(&f, chr);
    /* Input: never more than there is room for. */
    send_text(peer, "0123456789");
    WAIT_UNTIL(f.got->len == 5);
    settle();
    g_assert_cmpuint(f.got->len, ==, 5);
    front_room(&f, chr, 5);
    WAIT_UNTIL(f.got->len == 10);
    g_assert_cmpstr(f.got->str, ==, "0123456789");

    /* Output: short when the peer does not read, and a call when it does. */
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (uint8_t)(i * 7);
    while ((n = chr_write(chr, &f, block, sizeof(block))) == sizeof(block))
        sent += n;
    sent += n;
    g_assert_cmpuint(chr_write(chr, &f, block, 1), ==, 0);
    settle();
    g_assert_cmpuint(f.writable, ==, 0);
    while (received < sent) {
        ssize_t got = recv(peer, sink, sizeof(sink), MSG_DONTWAIT);
        g_assert_cmpint(got, >, 0);
        for (ssize_t i = 0; i < got; i++)
            g_assert_cmpuint(sink[i], ==, (uint8_t)((received + (size_t)i) % sizeof(block) * 7));
        received += (size_t)got;
    }
    WAIT_UNTIL(f.writable == 1);
    g_assert_cmpuint(chr_write(chr, &f, block, 1), ==, 1);
    settle();
    g_assert_cmpuint(f.writable, ==, 1);

    /* The peer goes while a front end waits: it is told, and output is dropped from then on. */
    while (chr_write(chr, &f, block, sizeof(block)) == sizeof(block))
        ;
    close(peer);
    WAIT_UNTIL(f.writable == 2);
    g_assert_cmpuint(chr_write(chr, &f, block, sizeof(block)), ==, sizeof(block));
    g_assert_cmpuint(f.closed, ==, 1);
    chr_close(chr);
    front_free(&f);
}

/* chr_write_all() waits a second for a stuck peer, once. */
static void test_write_all(void)
{
    static uint8_t block[1 << 22];
    int peer;
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_pair(&peer);

    front_attach(&f, chr);
    int64_t start = clock_now(VM_CLOCK_HOST);
    chr_write_all(chr, &f, block, sizeof(block));
    int64_t first = clock_now(VM_CLOCK_HOST) - start;
    g_assert_cmpint(first, >=, NS_PER_SEC * 9 / 10);
    g_assert_cmpint(first, <, 5 * NS_PER_SEC);
    start = clock_now(VM_CLOCK_HOST);
    for (unsigned i = 0; i < 10; i++)
        chr_write_all(chr, &f, block, sizeof(block));
    g_assert_cmpint(clock_now(VM_CLOCK_HOST) - start, <, NS_PER_SEC / 2);
    chr_close(chr);
    close(peer);
    front_free(&f);
}

/* ---- A front end that closes its chardev from a callback ---- */

static Chardev *doomed;

static void close_on_receive(void *opaque, const uint8_t *buf, size_t length)
{
    chr_close(doomed);
}

static void close_on_event(void *opaque, ChrEvent event)
{
    if (event == CHR_CLOSED)
        chr_close(doomed);
}

static void test_close_in_callback(void)
{
    static const ChrHandlers handlers = {front_can_receive, close_on_receive, close_on_event};
    Front f = front_new(UNLIMITED);
    int peer;

    doomed = open_pair(&peer);
    g_assert_true(chr_attach(doomed, &handlers, &f, NULL));
    send_text(peer, "x");
    WAIT_UNTIL(!chr_find("p"));
    close(peer);
    doomed = open_pair(&peer);
    g_assert_true(chr_attach(doomed, &handlers, &f, NULL));
    close(peer);
    WAIT_UNTIL(!chr_find("p"));
    doomed = open_pair(&peer);
    g_assert_true(chr_attach(doomed, &handlers, &f, NULL));
    close(peer);
    g_assert_cmpuint(chr_write(doomed, &f, "x", 1), ==, 1); /* EPIPE, closed inside the write */
    g_assert_null(chr_find("p"));
    front_free(&f);
}

/* ---- Telnet ---- */

static void test_telnet(void)
{
    static const uint8_t offers[] = {255, 251, 1, 255, 251, 3, 255, 251, 0, 255, 253, 0};
    static const uint8_t input[] = {
        'a',  255, 255, 'b',                      /* a doubled IAC is data */
        255,  253, 1,   255,  253, 3,             /* DO what was offered: no answer */
        255,  253, 24,  255,  251, 31,            /* DO, WILL what we have not: refused */
        255,  250, 24,  1,    255, 255, 255, 240, /* a subnegotiation is skipped */
        '\r', 0,   'c',                           /* CR NUL is CR while not binary */
        255,  243,                                /* BREAK */
        255,  251, 0,   '\r', 0,   'd',           /* now binary: NUL is data */
    };
    static const uint8_t refusals[] = {255, 252, 24, 255, 254, 31};
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short("telnet:127.0.0.1:0,server=on,wait=off", "t");

    front_attach(&f, chr);
    int fd = connect_tcp(described_port());
    WAIT_UNTIL(f.opened == 1);
    expect_bytes(fd, offers, sizeof(offers));
    for (unsigned i = 0; i < sizeof(input); i++) /* in the smallest pieces */
        g_assert_cmpint(send(fd, input + i, 1, MSG_NOSIGNAL), ==, 1);
    WAIT_UNTIL(f.got->len == 8);
    settle();
    g_assert_cmpmem(f.got->str, f.got->len,
                    "a\xff"
                    "b\rc\r\0d",
                    8);
    g_assert_cmpuint(f.breaks, ==, 1);
    expect_bytes(fd, refusals, sizeof(refusals));
    g_assert_cmpuint(chr_write(chr, &f, "x\xff\xffy", 4), ==, 4);
    expect_bytes(fd, "x\xff\xff\xff\xffy", 6);
    close(fd);
    chr_close(chr);
    front_free(&f);
}

/* Doubled IACs through a full socket: the stream stays in step. */
static void test_telnet_full(void)
{
    static uint8_t ones[4096], sink[1 << 16];
    int fds[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_autofree char *text = g_strdup_printf("socket,id=t,telnet=on,fd=%d", fds[0]);
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_long(text);
    size_t sent = 0, received = 0, n;

    front_attach(&f, chr);
    memset(ones, 255, sizeof(ones));
    while ((n = chr_write(chr, &f, ones, sizeof(ones))) == sizeof(ones))
        sent += n;
    sent += n;
    while (chr_write(chr, &f, "e", 1) == 0) {
        ssize_t got = recv(fds[1], sink, sizeof(sink), MSG_DONTWAIT);
        g_assert_cmpint(got, >, 0);
        received += (size_t)got;
    }
    ssize_t got;
    while ((got = recv(fds[1], sink, sizeof(sink), MSG_DONTWAIT)) > 0) {
        received += (size_t)got;
        g_assert_cmpuint(sink[got - 1], ==, received == 2 * sent + 1 ? 'e' : 255);
    }
    g_assert_cmpuint(received, ==, 2 * sent + 1);
    close(fds[1]);
    chr_close(chr);
    front_free(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-chardev-XXXXXX", NULL);
    g_test_add_func("/socket/unix-server", test_unix_server);
    g_test_add_func("/socket/queue", test_queue);
    g_test_add_func("/socket/gone-unread", test_gone_unread);
    g_test_add_func("/socket/stale", test_stale);
    g_test_add_func("/socket/wait", test_wait);
    g_test_add_func("/socket/tcp-server", test_tcp_server);
    g_test_add_func("/socket/tcp-gone-unread", test_tcp_gone_unread);
    g_test_add_func("/socket/client", test_client);
    g_test_add_func("/socket/tcp-refused", test_tcp_refused);
    g_test_add_func("/socket/reconnect", test_reconnect);
    g_test_add_func("/socket/fd", test_fd);
    g_test_add_func("/socket/back-pressure", test_back_pressure);
    g_test_add_func("/socket/write-all", test_write_all);
    g_test_add_func("/socket/close-in-callback", test_close_in_callback);
    g_test_add_func("/socket/telnet", test_telnet);
    g_test_add_func("/socket/telnet-full", test_telnet_full);
    int result = run_tests();
    g_rmdir(dir);
    g_free(dir);
    return result;
}
