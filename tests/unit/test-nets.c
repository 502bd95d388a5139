/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the command line to networks that carry frames: addresses, -net's hub, a guestfwd that leads
 * to a character device. */
#include "../../main/run.h"
#include "../lib/packets.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hw/registry.h"
#include "util/timer.h"

#define GUEST  IP4(10, 0, 2, 15)
#define ROUTER IP4(10, 0, 2, 2)
#define SERVER IP4(10, 0, 2, 100)

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static char *dir;

/* A card by its properties. */
static const Prop card_props[] = {{.name = "netdev", .kind = PROP_LINK}, {.name = NULL}};
static const DeviceClass card_class = {
    .name = "e1000", .desc = "a card", .bus = BUS_PCI, .user = true, .props = card_props};

const DeviceClass *const device_classes[] = {&card_class, NULL};

const DeviceClass *device_class_find(const char *name)
{
    return strcmp(name, card_class.name) ? NULL : &card_class;
}

/* Opens the networks of a command line, split at blanks. */
static VmConfig *open_nets(const char *line)
{
    g_autofree char *whole = g_strconcat("vmrun ", line, NULL);
    char **argv = g_strsplit(g_intern_string(whole), " ", 0);
    g_autoptr(GError) error = NULL;
    VmConfig *config = config_new();

    for (char **word = argv; *word; word++) {
        char *text = *word;
        *word = (char *)g_intern_string(text);
        g_free(text);
    }
    cli_parse(config, (int)g_strv_length(argv), argv, &error);
    g_assert_no_error(error);
    nets_open(config, &error);
    g_assert_no_error(error);
    g_free(argv);
    return config;
}

static void close_nets(VmConfig *config)
{
    net_close_all();
    chr_close_all();
    config_free(config);
}

static const Options *card(const VmConfig *config, unsigned n)
{
    return g_ptr_array_index(config->board.devices, n);
}

/* ---- Addresses ---- */

static char *mac_of(const char *line, unsigned n)
{
    VmConfig *config = open_nets(line);
    char *mac = g_strdup(options_get(card(config, n), "mac"));
    close_nets(config);
    return mac;
}

static void test_addresses(void)
{
    g_autofree char *a = mac_of("-name one -nic user -nic user", 0);
    g_autofree char *again = mac_of("-name one -nic user -nic user", 0);
    g_autofree char *second = mac_of("-name one -nic user -nic user", 1);
    g_autofree char *other = mac_of("-name two -nic user", 0);
    g_autofree char *given = mac_of("-name one -nic user,mac=52:54:00:00:00:01", 0);

    g_assert_true(g_str_has_prefix(a, "52:54:00:"));
    g_assert_cmpstr(a, ==, again);
    g_assert_cmpstr(a, !=, second);
    g_assert_cmpstr(a, !=, other);
    g_assert_cmpstr(given, ==, "52:54:00:00:00:01");
}

/* The machine's id, without the line's end; without a good one, the host's name. */
static void test_host_identity(void)
{
    g_autofree char *path = g_build_filename(dir, "machine-id", NULL);

    g_assert_true(g_file_set_contents(path, "0123456789abcdef0123456789abcdef\n", -1, NULL));
    g_autofree char *good = nets_host_identity(path);
    g_assert_cmpstr(good, ==, "0123456789abcdef0123456789abcdef");
    g_assert_true(g_file_set_contents(path, "uninitialized\n", -1, NULL));
    g_autofree char *early = nets_host_identity(path);
    g_assert_cmpstr(early, ==, g_get_host_name());
    g_unlink(path);
    g_autofree char *none = nets_host_identity(path);
    g_assert_cmpstr(none, ==, g_get_host_name());
    /* And it counts: what this host gives is what its identity and the name make. */
    g_autofree char *host = nets_host_identity("/etc/machine-id");
    g_autofree char *seed = g_strdup_printf("name one on %s", host);
    g_autofree char *mac = mac_of("-name one -nic user", 0);
    uint8_t want[NET_MAC_BYTES];
    net_default_mac(want, seed, 0);
    g_autofree char *text = g_strdup_printf("52:54:00:%02x:%02x:%02x", want[3], want[4], want[5]);
    g_assert_cmpstr(mac, ==, text);
}

/* ---- Traffic ---- */

static bool is_arp_reply(const Packet *p, const void *opaque)
{
    return p->type == ETH_ARP && p->protocol == 2 && p->src == ROUTER;
}

static void plug(Wire *wire, const VmConfig *config)
{
    NetEnd *end = net_resolve(options_get(card(config, 0), "netdev"), NULL);
    g_assert_nonnull(end);
    wire_open(wire, "wire", guest_mac, GUEST);
    g_assert_true(net_connect(&wire->end, end, NULL));
    wire_send(wire, (Packet){.type = ETH_ARP, .protocol = 1, .dst = ROUTER});
    Packet p = wire_expect(wire, is_arp_reply, NULL);
    memcpy(wire->router_mac, p.src_mac, 6);
}

/* Cards and networks of the older words meet on hub 0. */
static void test_legacy(void)
{
    Wire wire;
    VmConfig *config = open_nets("-net nic,macaddr=52:54:00:12:34:56 -net user");
    g_autoptr(GString) text = g_string_new(NULL);

    plug(&wire, config);
    net_describe_all(text);
    g_assert_true(g_str_has_prefix(text->str, "hub 0\n \\ #net"));
    g_assert_nonnull(strstr(text->str, ": wire: index=0,type=nic"));
    g_assert_nonnull(strstr(text->str, "type=user,net=10.0.2.0"));
    wire_close(&wire);
    close_nets(config);
}

static bool is_tcp(const Packet *p, const void *opaque)
{
    return p->protocol == PROTO_TCP && p->src == SERVER;
}

typedef struct Link {
    Wire wire;
    uint32_t seq, ack, acked;
    int fd; /* the other end of the device */
    size_t got;
} Link;

static void take_answers(Link *link)
{
    Packet p;
    gsize length;
    GBytes *frame;

    while ((frame = g_queue_pop_head(&link->wire.frames))) {
        packet_parse(g_bytes_get_data(frame, &length), length, &p);
        if (is_tcp(&p, NULL) && (p.flags & TCP_ACK))
            link->acked = MAX(link->acked, p.ack);
        g_bytes_unref(frame);
    }
}

static void send_segment(Link *link, unsigned flags, const uint8_t *data, size_t length)
{
    wire_send(&link->wire, (Packet){.type = ETH_IP,
                                    .protocol = PROTO_TCP,
                                    .dst = SERVER,
                                    .src_port = 1000,
                                    .dst_port = 7,
                                    .seq = link->seq,
                                    .ack = link->ack,
                                    .flags = flags,
                                    .window = 60000,
                                    .data = data,
                                    .length = length});
}

static int listen_at(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static size_t read_some(int fd, uint8_t *buf, size_t room)
{
    ssize_t n = recv(fd, buf, room, MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

/* The peer of the device reads late and little; it gets what the guest was told that it got. */
static void test_guestfwd(void)
{
    enum { TOTAL = 3 << 20, SEGMENT = 1400 };
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *line = g_strdup_printf("-nic user,guestfwd=tcp:10.0.2.100:7-unix:%s", path);
    g_autofree uint8_t *data = g_malloc(TOTAL), *got = g_malloc(TOTAL);
    int listener = listen_at(path);
    VmConfig *config = open_nets(line);
    Link link = {.seq = 100, .fd = accept(listener, NULL, NULL)};

    for (size_t i = 0; i < TOTAL; i++)
        data[i] = (uint8_t)(i * 11 / 7);
    plug(&link.wire, config);
    send_segment(&link, TCP_SYN, NULL, 0);
    Packet p = wire_expect(&link.wire, is_tcp, NULL);
    link.ack = p.seq + 1;
    link.acked = ++link.seq;
    uint32_t start = link.seq;
    /* TCP of a simple mind: goes on behind what was acknowledged, again and again. */
    for (unsigned round = 0; link.acked - start < TOTAL || link.got < TOTAL; round++) {
        for (unsigned i = 0; i < 16 && link.acked - start < TOTAL; i++) {
            size_t at = link.acked - start;
            link.seq = link.acked;
            send_segment(&link, TCP_ACK, data + at, MIN(SEGMENT, TOTAL - at));
            loop_step(loop_main(), false);
            take_answers(&link);
        }
        if (round > 400 || link.acked - start >= TOTAL)
            link.got += read_some(link.fd, got + link.got, MIN(20000, TOTAL - link.got));
        g_assert_cmpuint(link.acked - start, <=, link.got + (1 << 20));
        loop_step(loop_main(), false);
    }
    g_assert_cmpmem(got, TOTAL, data, TOTAL);
    wire_close(&link.wire);
    close_nets(config);
    close(link.fd);
    close(listener);
    g_unlink(path);
}

static bool is_open(const Link *link)
{
    char byte;
    return recv(link->fd, &byte, 1, MSG_DONTWAIT) < 0;
}

/* netdev_del, and netdev_add of the same again; what failed leaves nothing behind. */
static void test_guestfwd_again(void)
{
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *good = g_strdup_printf("user,id=u,guestfwd=tcp:10.0.2.100:7-unix:%s", path);
    g_autofree char *bad = g_strdup_printf("user,id=u,guestfwd=tcp:10.0.2.2:7-unix:%s", path);
    int listener = listen_at(path);
    VmConfig *config = open_nets("-nic none");

    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Options) opts = options_parse("-netdev", i == 1 ? bad : good, "type", NULL, NULL);
        NetEnd *end = net_open(opts, &error);
        Link link = {.fd = accept(listener, NULL, NULL)};
        if (i == 1) {
            g_assert_nonnull(strstr(error->message, "the address is the host's"));
        } else {
            g_assert_no_error(error);
            g_assert_true(is_open(&link));
            g_assert_nonnull(chr_find("u.guestfwd.0"));
            net_close(end);
        }
        g_assert_null(chr_find("u.guestfwd.0"));
        g_assert_false(is_open(&link));
        close(link.fd);
    }
    close_nets(config);
    close(listener);
    g_unlink(path);
}

/* One of -chardev's stays when its network goes. */
static void test_guestfwd_chardev(void)
{
    VmConfig *config = open_nets("-nic none");
    g_autoptr(Options) chardev = options_parse("-chardev", "ringbuf,id=r", "backend", NULL, NULL);

    g_assert_nonnull(chr_open_options(chardev, NULL));
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Options) opts = options_parse(
            "-netdev", "user,id=u,guestfwd=tcp:10.0.2.100:7-chardev:r", "type", NULL, NULL);
        NetEnd *end = net_open(opts, &error);
        g_assert_no_error(error);
        net_close(end);
        g_assert_nonnull(chr_find("r"));
    }
    close_nets(config);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmrun-nets-XXXXXX", NULL);
    loop_lock(loop_main());
    vclock_start();
    g_test_add_func("/nets/addresses", test_addresses);
    g_test_add_func("/nets/host-identity", test_host_identity);
    g_test_add_func("/nets/legacy", test_legacy);
    g_test_add_func("/nets/guestfwd", test_guestfwd);
    g_test_add_func("/nets/guestfwd-again", test_guestfwd_again);
    g_test_add_func("/nets/guestfwd-chardev", test_guestfwd_chardev);
    int result = g_test_run();
    loop_unlock(loop_main());
    g_rmdir(dir);
    return result;
}
