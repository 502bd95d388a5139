/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tap and bridge, in a network namespace that the test makes; without the right to one it skips. */
#include "../lib/packets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/loop.h"
#include "util/timer.h"

#define HOST  IP4(192, 168, 77, 1)
#define GUEST IP4(192, 168, 77, 2)

static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static char *dir;

static bool own_network(void)
{
    int fd;
    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return false;
    fd = open("/dev/net/tun", O_RDWR);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static NetEnd *open_netdev(const char *options, GError **error)
{
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    return net_open(opts, error);
}

static NetEnd *good(const char *options)
{
    g_autoptr(GError) error = NULL;
    NetEnd *end = open_netdev(options, &error);
    g_assert_no_error(error);
    return end;
}

/* Gives the interface an address and lifts it, as an up script would. */
static void lift(const char *name)
{
    struct ifreq request = {0};
    struct sockaddr_in *addr = (struct sockaddr_in *)&request.ifr_addr;
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    g_strlcpy(request.ifr_name, name, sizeof(request.ifr_name));
    addr->sin_family = AF_INET;
    addr->sin_addr.s_addr = htonl(HOST);
    g_assert_cmpint(ioctl(s, SIOCSIFADDR, &request), ==, 0);
    addr->sin_addr.s_addr = htonl(0xffffff00);
    g_assert_cmpint(ioctl(s, SIOCSIFNETMASK, &request), ==, 0);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    g_assert_cmpint(ioctl(s, SIOCSIFFLAGS, &request), ==, 0);
    close(s);
}

static bool is_arp_reply(const Packet *p, const void *opaque)
{
    return p->type == ETH_ARP && p->protocol == 2 && p->src == HOST;
}

static bool is_udp(const Packet *p, const void *opaque)
{
    return p->protocol == PROTO_UDP && p->dst == GUEST;
}

/* The host's kernel at the other end of the cable: ARP and UDP both ways. */
static void talk(Wire *wire)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(777), .sin_addr.s_addr = htonl(HOST)};
    char text[64] = "";
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    wire_send(wire, (Packet){.type = ETH_ARP, .protocol = 1, .dst = HOST});
    Packet p = wire_expect(wire, is_arp_reply, NULL);
    memcpy(wire->router_mac, p.src_mac, 6);

    g_assert_cmpint(bind(s, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);
    wire_send(wire, (Packet){.type = ETH_IP,
                             .protocol = PROTO_UDP,
                             .dst = HOST,
                             .src_port = 888,
                             .dst_port = 777,
                             .data = (const uint8_t *)"up",
                             .length = 2});
    g_assert_cmpint(recv(s, text, sizeof(text), 0), ==, 2);
    g_assert_cmpstr(text, ==, "up");

    addr.sin_addr.s_addr = htonl(GUEST);
    addr.sin_port = htons(888);
    wire->full = true; /* it must wait */
    g_assert_cmpint(sendto(s, "down", 4, 0, (struct sockaddr *)&addr, sizeof(addr)), ==, 4);
    while (!wire->refused)
        loop_step(loop_main(), true);
    wire->full = false;
    net_writable(&wire->end);
    wire_send(wire, (Packet){.type = ETH_ARP, .protocol = 2, .dst = HOST});
    p = wire_expect(wire, is_udp, NULL);
    g_assert_cmpmem(p.data, p.length, "down", 4);
    close(s);
}

static void plug(Wire *wire, NetEnd *end)
{
    wire_open(wire, "w", mac, GUEST);
    g_assert_true(net_connect(&wire->end, end, NULL));
}

static void test_tap(void)
{
    Wire wire;
    plug(&wire, good("tap,id=t,ifname=vmtest0,script=no,downscript=no"));
    lift("vmtest0");
    talk(&wire);
    g_autoptr(GString) text = g_string_new(NULL);
    net_describe_all(text);
    g_assert_nonnull(strstr(text->str, "type=tap,ifname=vmtest0"));
    wire_close(&wire);
    net_close_all();
    g_assert_cmpuint(if_nametoindex("vmtest0"), ==, 0);
}

static void write_script(const char *path, const char *name)
{
    g_autofree char *text = g_strdup_printf("#!/bin/sh\necho %s $1 >>%s/log\n", name, dir);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_chmod(path, 0755);
}

static void test_scripts(void)
{
    g_autofree char *up = g_build_filename(dir, "up", NULL),
                    *down = g_build_filename(dir, "down", NULL);
    g_autofree char *log = g_build_filename(dir, "log", NULL), *text = NULL;
    g_autofree char *options = g_strdup_printf("tap,id=t,script=%s,downscript=%s", up, down);
    g_autoptr(GError) error = NULL;

    write_script(up, "up");
    write_script(down, "down");
    good(options);
    net_close_all();
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "up tap0\ndown tap0\n");

    g_assert_true(g_file_set_contents(up, "#!/bin/sh\nexit 3\n", -1, NULL));
    g_chmod(up, 0755);
    g_assert_null(open_netdev(options, &error));
    g_assert_nonnull(strstr(error->message, "up tap0 failed with status 3"));
    g_unlink(up);
    g_unlink(down);
    g_unlink(log);
}

static void test_fd(void)
{
    struct ifreq request = {.ifr_name = "vmtest1", .ifr_flags = IFF_TAP | IFF_NO_PI};
    g_autoptr(GError) error = NULL;
    Wire wire;
    int fd = open("/dev/net/tun", O_RDWR);

    g_autofree char *options = g_strdup_printf("tap,id=t,fd=%d", fd);
    g_assert_null(open_netdev(options, &error));
    g_assert_nonnull(strstr(error->message, "it is no tap interface"));
    g_assert_cmpint(ioctl(fd, TUNSETIFF, &request), ==, 0);
    plug(&wire, good(options));
    lift("vmtest1");
    talk(&wire);
    wire_close(&wire);
    net_close_all();
}

/* An fd with a header before each frame: it is put there, and left out. */
static void test_fd_header(void)
{
    struct ifreq request = {.ifr_name = "vmtest2", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR);
    Wire wire;

    g_assert_cmpint(ioctl(fd, TUNSETIFF, &request), ==, 0);
    g_autofree char *options = g_strdup_printf("tap,id=t,fd=%d", fd);
    plug(&wire, good(options));
    lift("vmtest2");
    talk(&wire);
    wire_close(&wire);
    net_close_all();
}

/* What this program does as a bridge helper: sends an interface over the socket; one of packets if
 * the bridge is called "bad". */
static int help(const char *fd_arg, const char *br_arg)
{
    bool bad = !strcmp(br_arg, "--br=bad");
    struct ifreq request = {.ifr_name = "vmhelp0",
                            .ifr_flags =
                                bad ? IFF_TUN | IFF_NO_PI : IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR), s = atoi(fd_arg + strlen("--fd="));
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {(void *)"x", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    return ioctl(fd, TUNSETIFF, &request) || sendmsg(s, &message, 0) != 1;
}

static void test_helper(void)
{
    static const char *const forms[] = {"tap,id=t,helper=%s,br=x", "bridge,id=t,helper=%s,br=x"};
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autoptr(GError) error = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        Wire wire;
        char options[PATH_MAX + 64];
        g_autoptr(GString) text = g_string_new(NULL);
        g_snprintf(options, sizeof(options), i ? forms[1] : forms[0], self);
        plug(&wire, good(options));
        lift("vmhelp0");
        talk(&wire);
        net_describe_all(text);
        g_assert_nonnull(strstr(text->str, "ifname=vmhelp0"));
        wire_close(&wire);
        net_close_all();
    }
    g_autofree char *bad = g_strdup_printf("tap,helper=%s,br=bad", self);
    g_assert_null(open_netdev(bad, &error));
    g_assert_nonnull(strstr(error->message, "must be a tap with IFF_NO_PI"));
    g_assert_cmpuint(if_nametoindex("vmhelp0"), ==, 0); /* nothing is left */
}

static void test_bridge(void)
{
    Wire wire;
    g_autoptr(GError) error = NULL;
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    g_assert_null(open_netdev("bridge,id=b,br=vmbr9", &error));
    g_assert_nonnull(strstr(error->message, "there is no bridge 'vmbr9'"));
    if (ioctl(s, SIOCBRADDBR, "vmbr0")) {
        g_test_skip("no bridges here");
        close(s);
        return;
    }
    close(s);
    plug(&wire, good("bridge,id=b,br=vmbr0"));
    lift("vmbr0");
    talk(&wire);
    wire_close(&wire);
    net_close_all();
}

static void test_bad(void)
{
    static const struct {
        const char *options, *error;
    } rows[] = {
        {"tap,ifname=", "ifname=: must have 1 to 15 bytes"},
        {"tap,ifname=0123456789abcdef", "must have 1 to 15 bytes"},
        {"tap,fd=x", "fd=x: must be the number of an open file"},
        {"tap,fd=999", "fd=999: it is no tap interface"},
        {"tap,fd=3,ifname=x", "ifname=x: goes with an interface made here"},
        {"tap,helper=/x,script=/y",
         "script=/y: goes with an interface made here, not with helper="},
        {"tap,helper=/x,fd=3", "helper=/x: one of fd and helper"},
        {"tap,br=br0", "br=br0: goes with helper="},
        {"tap,helper=/bin/true", "/bin/true gave no interface on 'br0'"},
        {"tap,fds=3:4", "fds: vmrun's cards have one queue; give fd="},
        {"tap,queues=2", "queues=2: must be 1"},
        {"tap,vhost=on", "vhost=on: vmrun does not have vhost"},
        {"tap,vnet_hdr=on", "vnet_hdr=on: vmrun's cards do their offloads themselves"},
        {"tap,sndbuf=x,script=no", "sndbuf"},
        {"tap,script=/nowhere", "/nowhere"},
        {"bridge,helper=/nowhere", "/nowhere"},
        {"bridge,helper=/bin/true", "/bin/true gave no interface on 'br0'"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        NetEnd *end = open_netdev(rows[i].options, &error);
        if (end || !strstr(error->message, rows[i].error))
            g_test_message("%s: %s", rows[i].options, error ? error->message : "no error");
        g_assert_null(end);
        g_assert_nonnull(strstr(error->message, rows[i].error));
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && g_str_has_prefix(argv[1], "--fd="))
        return help(argv[1], argv[2]);
    g_test_init(&argc, &argv, NULL);
    if (!own_network()) {
        g_print("1..0 # SKIP no network namespace with /dev/net/tun (be root)\n");
        return 0;
    }
    dir = g_dir_make_tmp("vmrun-tap-XXXXXX", NULL);
    loop_lock(loop_main());
    vclock_start();
    g_test_add_func("/net-tap/tap", test_tap);
    g_test_add_func("/net-tap/scripts", test_scripts);
    g_test_add_func("/net-tap/fd", test_fd);
    g_test_add_func("/net-tap/fd-header", test_fd_header);
    g_test_add_func("/net-tap/helper", test_helper);
    g_test_add_func("/net-tap/bridge", test_bridge);
    g_test_add_func("/net-tap/bad", test_bad);
    int result = g_test_run();
    loop_unlock(loop_main());
    g_rmdir(dir);
    return result;
}
