/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends: names, who hears what, refused frames, links, taps. */
#include "net/net.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

typedef struct Peer {
    NetEnd end;
    bool full, answer;
    unsigned received, writable, link_calls, closed;
    bool link;
    size_t last_bytes;
    uint8_t last[256];
} Peer;

static bool peer_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Peer *p = end->opaque;
    if (p->full)
        return false;
    p->received++;
    p->last_bytes = bytes;
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        size_t n = MIN(iov[i].iov_len, sizeof(p->last) - at);
        if (n)
            memcpy(p->last + at, iov[i].iov_base, n);
        at += n;
    }
    if (p->answer)
        net_send_buf(end, "answer", 6);
    return true;
}

static void peer_writable(NetEnd *end)
{
    ((Peer *)end->opaque)->writable++;
}

static void peer_link(NetEnd *end, bool up)
{
    Peer *p = end->opaque;
    p->link_calls++;
    p->link = up;
}

static void peer_close(NetEnd *end)
{
    ((Peer *)end->opaque)->closed++;
}

static void peer_describe(NetEnd *end, GString *out)
{
    g_string_append(out, "model=test");
}

static const NetEndOps nic_ops = {
    .kind = "nic",
    .receive = peer_receive,
    .writable = peer_writable,
    .link_changed = peer_link,
    .describe = peer_describe,
};
static const NetEndOps backend_ops = {
    .kind = "user",
    .backend = true,
    .receive = peer_receive,
    .writable = peer_writable,
    .link_changed = peer_link,
    .close = peer_close,
};

static void start(Peer *nic, Peer *backend)
{
    *nic = *backend = (Peer){0};
    g_assert_true(net_end_init(&nic->end, &nic_ops, "n0", nic, NULL));
    g_assert_true(net_end_init(&backend->end, &backend_ops, "n0", backend, NULL));
    g_assert_true(net_connect(&nic->end, &backend->end, NULL));
}

static void stop(Peer *nic, Peer *backend)
{
    net_end_fini(&nic->end);
    net_close_all();
    g_assert_cmpuint(backend->closed, ==, 1);
    g_assert_null(net_find("n0"));
}

static void test_names(void)
{
    Peer a, b, c = {0};
    g_autoptr(GError) error = NULL;

    g_assert_null(net_resolve("n0", &error));
    g_assert_cmpstr(error->message, ==, "there is no network 'n0', nor any other");
    g_clear_error(&error);
    start(&a, &b);
    g_assert_true(net_find("n0") == &b.end);
    g_assert_true(net_resolve("n0", NULL) == &b.end);
    g_assert_null(net_resolve("n1", &error));
    g_assert_cmpstr(error->message, ==, "there is no network 'n1'; there are: n0");
    g_clear_error(&error);
    g_assert_false(net_end_init(&c.end, &backend_ops, "n0", &c, &error));
    g_assert_cmpstr(error->message, ==, "the id 'n0' is taken by another network");
    g_clear_error(&error);

    g_assert_true(net_end_init(&c.end, &nic_ops, NULL, &c, NULL));
    g_assert_cmpstr(c.end.id, ==, "nic.0");
    g_assert_false(net_connect(&c.end, &b.end, &error));
    g_assert_cmpstr(error->message, ==, "the network 'n0' is in use by 'n0' already");
    g_clear_error(&error);
    net_end_fini(&c.end);
    net_end_fini(&c.end); /* does nothing */
    stop(&a, &b);
}

static void test_frames(void)
{
    Peer a, b;
    start(&a, &b);
    struct iovec iov[3] = {{(void *)"ab", 2}, {NULL, 0}, {(void *)"cde", 3}};
    g_assert_true(net_send(&a.end, iov, 3));
    g_assert_cmpuint(b.received, ==, 1);
    g_assert_cmpmem(b.last, b.last_bytes, "abcde", 5);
    g_assert_true(net_send_buf(&b.end, "xyz", 3));
    g_assert_cmpmem(a.last, a.last_bytes, "xyz", 3);
    g_assert_cmpuint(a.end.tx_frames, ==, 1);
    g_assert_cmpuint(a.end.rx_bytes, ==, 3);

    /* Nothing, and more than anybody takes. */
    g_autofree uint8_t *big = g_malloc0(NET_FRAME_MAX + 1);
    g_assert_true(net_send_buf(&a.end, big, 0));
    g_assert_true(net_send_buf(&a.end, big, NET_FRAME_MAX + 1));
    g_assert_cmpuint(b.received, ==, 1);
    g_assert_cmpuint(a.end.dropped, ==, 2);
    g_assert_true(net_send_buf(&a.end, big, NET_FRAME_MAX));
    g_assert_cmpuint(b.received, ==, 2);

    GString *text = g_string_new(NULL);
    net_describe_all(text);
    g_assert_cmpstr(text->str, ==,
                    "n0: index=0,type=nic,model=test,rx=1,tx=2,dropped=2\n"
                    " \\ n0: index=0,type=user,rx=2,tx=1,dropped=0\n");
    g_string_free(text, TRUE);
    stop(&a, &b);
}

static void test_refusal(void)
{
    Peer a, b;
    start(&a, &b);
    a.full = true;
    net_writable(&a.end); /* nobody waits */
    g_assert_cmpuint(b.writable, ==, 0);
    g_assert_false(net_send_buf(&b.end, "1", 1));
    g_assert_false(net_send_buf(&b.end, "1", 1));
    g_assert_cmpuint(b.end.tx_frames, ==, 0);
    g_assert_cmpuint(a.end.rx_bytes, ==, 0);
    a.full = false;
    net_writable(&a.end);
    net_writable(&a.end);
    g_assert_cmpuint(b.writable, ==, 1);

    /* A sender that waits is let go when the link, or the peer, goes. */
    a.full = true;
    g_assert_false(net_send_buf(&b.end, "1", 1));
    g_assert_true(net_set_link("n0", false, NULL));
    g_assert_cmpuint(b.writable, ==, 2);
    g_assert_true(net_send_buf(&b.end, "1", 1));
    g_assert_cmpuint(b.end.dropped, ==, 1);
    g_assert_true(net_set_link("n0", true, NULL));
    g_assert_false(net_send_buf(&b.end, "1", 1));
    net_end_fini(&a.end);
    g_assert_cmpuint(b.writable, ==, 3);
    g_assert_true(net_send_buf(&b.end, "1", 1));
    net_close_all();
}

/* A card that goes on is told of room once, though its peer owed it that before. */
static void test_goes_on(void)
{
    Peer a, b;
    start(&a, &b);
    b.full = true;
    g_assert_false(net_send_buf(&a.end, "1", 1));
    net_set_stopped(&a.end, true);
    g_assert_false(net_send_buf(&b.end, "1", 1));
    b.full = false;
    net_set_stopped(&a.end, false);
    g_assert_cmpuint(a.writable, ==, 1);
    g_assert_cmpuint(b.writable, ==, 1);
    g_assert_true(net_send_buf(&a.end, "1", 1));
    net_writable(&b.end);
    g_assert_cmpuint(a.writable, ==, 1);
    stop(&a, &b);
}

static void test_link(void)
{
    Peer a, b;
    g_autoptr(GError) error = NULL;
    start(&a, &b);
    g_assert_true(a.link);
    g_assert_cmpuint(a.link_calls, ==, 1);
    g_assert_false(net_set_link("n9", false, &error));
    g_assert_cmpstr(error->message, ==,
                    "there is no network or network card 'n9'; there are: n0, n0");
    g_assert_true(net_set_link("n0", false, NULL));
    g_assert_true(net_set_link("n0", false, NULL)); /* no change, no call */
    g_assert_cmpuint(a.link_calls, ==, 2);
    g_assert_false(a.link);
    g_assert_false(net_link_up(&b.end));
    net_disconnect(&a.end);
    g_assert_true(net_set_link("n0", true, NULL));
    g_assert_false(net_link_up(&a.end)); /* no cable */
    stop(&a, &b);
}

typedef struct Seen {
    NetTap tap;
    GString *text;
    unsigned gone;
} Seen;

static void seen_frame(NetTap *tap, const struct iovec *iov, int count, size_t bytes, bool sent)
{
    g_string_append_printf(((Seen *)tap)->text, "%s%.*s ", sent ? ">" : "<", (int)bytes,
                           (char *)iov[0].iov_base);
}

static void seen_done(NetTap *tap, bool taken)
{
    g_string_append(((Seen *)tap)->text, taken ? "ok " : "no ");
}

static void seen_gone(NetTap *tap)
{
    ((Seen *)tap)->gone++;
}

static void test_taps(void)
{
    Peer a, b;
    Seen seen = {{seen_frame, seen_done, seen_gone}, g_string_new(NULL), 0};
    start(&a, &b);
    net_add_tap(&b.end, &seen.tap);
    b.answer = true;
    net_send_buf(&a.end, "ask", 3);
    a.full = true;
    net_send_buf(&b.end, "no", 2);
    g_assert_cmpstr(seen.text->str, ==, "<ask >answer ok ok >no no ");
    net_remove_tap(&b.end, &seen.tap);
    net_send_buf(&a.end, "ask", 3);
    g_assert_cmpstr(seen.text->str, ==, "<ask >answer ok ok >no no ");
    net_add_tap(&b.end, &seen.tap);
    stop(&a, &b);
    g_assert_cmpuint(seen.gone, ==, 1);
    g_string_free(seen.text, TRUE);
}

/* ---- filter-dump ---- */

static uint32_t word(const char *file, size_t at)
{
    uint32_t value;
    memcpy(&value, file + at, 4);
    return value;
}

static void test_dump(void)
{
    Peer a, b;
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "vmrun-dump-XXXXXX", NULL);
    g_autofree char *file = NULL;
    gsize size;

    close(g_mkstemp(path));
    start(&a, &b);
    NetDump *dump = net_dump_open(&b.end, path, 4, NULL);
    g_assert_nonnull(dump);
    b.answer = true;
    struct iovec iov[2] = {{(void *)"ab", 2}, {(void *)"cdef", 4}};
    net_send(&a.end, iov, 2);
    a.full = true;
    b.answer = false;
    net_send_buf(&b.end, "refused", 7);
    a.full = false;
    net_send_buf(&b.end, "x", 1);
    net_dump_close(dump);
    net_send_buf(&b.end, "unseen", 6);
    stop(&a, &b);

    g_assert_true(g_file_get_contents(path, &file, &size, NULL));
    g_assert_cmpuint(size, ==, 24 + (16 + 4) * 2 + 16 + 1);
    g_assert_cmphex(word(file, 0), ==, 0xa1b2c3d4);
    g_assert_cmpuint(word(file, 4), ==, 2 | 4 << 16);
    g_assert_cmpuint(word(file, 16), ==, 4); /* snaplen */
    g_assert_cmpuint(word(file, 20), ==, 1); /* Ethernet */
    g_assert_cmpuint(word(file, 24 + 8), ==, 4);
    g_assert_cmpuint(word(file, 24 + 12), ==, 6);
    g_assert_cmpmem(file + 24 + 16, 4, "abcd", 4);
    g_assert_cmpmem(file + 44 + 16, 4, "answ", 4);
    g_assert_cmpuint(word(file, 64 + 8), ==, 1);
    g_assert_cmpint(file[64 + 16], ==, 'x');
    g_unlink(path);
}

/* netdev_del and netdev_add of the same id: it goes on with the new one. */
static void test_dump_goes_on(void)
{
    Peer a = {0};
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "vmrun-dump-XXXXXX", NULL);
    g_autofree char *file = NULL;
    gsize size;
    NetDump *dump = NULL;
    static const char *const ids[] = {"u", "other", "u"};

    close(g_mkstemp(path));
    g_assert_true(net_end_init(&a.end, &nic_ops, "n0", &a, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *text = g_strdup_printf("hubport,hubid=0,id=%s", ids[i]);
        g_autoptr(Options) opts = options_parse("-netdev", text, "type", NULL, NULL);
        NetEnd *end = net_open(opts, NULL);
        g_assert_nonnull(end);
        if (!a.end.peer)
            g_assert_true(net_connect(&a.end, end, NULL));
        if (!dump)
            dump = net_dump_open(end, path, 100, NULL);
        g_assert_true(net_send_buf(&a.end, ids[i], strlen(ids[i])));
        net_close(end);
    }
    net_dump_close(dump);
    net_end_fini(&a.end);
    g_assert_true(g_file_get_contents(path, &file, &size, NULL));
    g_assert_cmpuint(size, ==, 24 + 2 * (16 + 1));
    g_unlink(path);
}

/* A full disk, and an end that is closed before its dump. */
static void test_dump_ends(void)
{
    Peer a, b;
    g_autoptr(GError) error = NULL;

    start(&a, &b);
    g_assert_null(net_dump_open(&b.end, "/nowhere/at/all", 100, &error));
    g_assert_cmpstr(error->message, ==, "file=/nowhere/at/all: No such file or directory");
    g_clear_error(&error);
    g_assert_null(net_dump_open(&b.end, "/dev/full", 100, &error));
    g_assert_nonnull(strstr(error->message, "No space"));
    NetDump *dump = net_dump_open(&b.end, "/dev/null", 100, NULL);
    net_send_buf(&a.end, "x", 1);
    stop(&a, &b);
    net_dump_close(dump);
}

static void test_mac(void)
{
    uint8_t a[6], b[6], c[6];
    net_default_mac(a, "one", 0);
    net_default_mac(b, "one", 1);
    net_default_mac(c, "two", 0);
    g_assert_cmpmem(a, 3, "\x52\x54\x00", 3);
    g_assert_cmpuint(((a[3] << 16 | a[4] << 8 | a[5]) + 1) & 0xffffff, ==,
                     (unsigned)(b[3] << 16 | b[4] << 8 | b[5]));
    g_assert_cmpint(memcmp(a, c, 6), !=, 0);
    net_default_mac(b, "one", 0);
    g_assert_cmpmem(a, 6, b, 6);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/net/names", test_names);
    g_test_add_func("/net/frames", test_frames);
    g_test_add_func("/net/refusal", test_refusal);
    g_test_add_func("/net/goes-on", test_goes_on);
    g_test_add_func("/net/link", test_link);
    g_test_add_func("/net/taps", test_taps);
    g_test_add_func("/net/dump", test_dump);
    g_test_add_func("/net/dump-goes-on", test_dump_goes_on);
    g_test_add_func("/net/dump-ends", test_dump_ends);
    g_test_add_func("/net/mac", test_mac);
    return g_test_run();
}
