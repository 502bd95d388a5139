/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev's options: each bad one's line, and what good ones lead to. */
#include <string.h>

#include "net/user.h"
#include "util/error.h"
#include "util/loop.h"

static NetEnd *open_netdev(const char *options, GError **error)
{
    g_autoptr(Options) opts = options_parse("-netdev", options, "type", NULL, NULL);
    g_assert_nonnull(opts);
    return net_open(opts, error);
}

/* The short form. */
static void test_short_rule(void)
{
    static const struct {
        const char *text, *rule, *error;
    } rows[] = {
        {"2222:22", "tcp:127.0.0.1:2222-:22", NULL},
        {"0.0.0.0:80:8080", "tcp:0.0.0.0:80-:8080", NULL},
        {"53:53/udp", "udp:127.0.0.1:53-:53", NULL},
        {"22", NULL, "must be as 2222:22"},
        {"22:22/sctp", NULL, "must be as 2222:22"},
        {"99999:22", NULL, "the host's port '99999' must be a number from 0 to 65535"},
        {"22:0", NULL, "the guest's port '0' must be a number from 1 to 65535"},
        {"22:", NULL, "the guest's port ''"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *rule = net_user_short_rule(rows[i].text, &error);
        g_assert_cmpstr(rule, ==, rows[i].rule);
        g_assert_true(!error == !rows[i].error);
        if (error)
            g_assert_nonnull(strstr(error->message, rows[i].error));
    }
}

/* A stream that never opens. */
static void *no_stream(const char *spec, const char *id, const NetStreamHandlers *handlers,
                       void *opaque, GError **error)
{
    fail(error, "no such stream");
    return NULL;
}

static const NetStreamOps stream_ops = {.open = no_stream};

static void test_options(void)
{
    static const struct {
        const char *options, *error;
    } rows[] = {
        {"id=u", "-netdev: the type of network is missing; there are: user"},
        {"usr,id=u", "there is no network type 'usr'; did you mean 'user'?"},
        {"user,id=u,hostfw=x", "user has no key 'hostfw'; did you mean 'hostfwd'?"},
        {"user,net=10.0.2.0/33", "-netdev: net=10.0.2.0/33: must be as 10.0.2.0/24"},
        {"user,net=10.0.2.0/30", "net=10.0.2.0/30: must be as"},
        {"user,net=10.0.2.0/255.0.255.0", "must be as"},
        {"user,net=x", "must be as"},
        {"user,host=10.0.3.1", "host=10.0.3.1: must be a host's address inside of net="},
        {"user,host=10.0.2.255", "host=10.0.2.255: must be a host's address"},
        {"user,dns=1.2.3", "dns=1.2.3: must be an IPv4 address"},
        {"user,dns=10.0.2.2", "must have addresses of their own"},
        {"user,dhcpstart=10.1.2.3", "dhcpstart="},
        {"user,dhcpstart=10.0.2.2", "dhcpstart=10.0.2.2: it is the host's address"},
        {"user,dhcpstart=10.0.2.3", "dhcpstart=10.0.2.3: it is the name server's address"},
        {"user,host=10.0.2.15", "host=10.0.2.15: it is the guest's address; dhcpstart="},
        {"user,dns=10.0.2.15", "dns=10.0.2.15: it is the guest's address; dhcpstart="},
        {"user,net=10.9.0.0/28,host=10.9.0.4", "host=10.9.0.4: it is the guest's address"},
        {"user,ipv4=off,ipv6=off", "one of ipv4 and ipv6 must be on"},
        {"user,restrict=maybe", "restrict"},
        {"user,ipv6-net=zz/64", "ipv6-net=zz/64: must be as fec0::/64"},
        {"user,ipv6-net=fec0::/200", "must be as fec0::/64"},
        {"user,ipv6-host=fec1::2", "ipv6-host=fec1::2: must be an address inside of ipv6-net="},
        {"user,tftp=/nowhere", "tftp=/nowhere: there is no such directory"},
        {"user,hostname=123456789012345678901234567890123", "must have at most 32 bytes"},
        {"user,smb=/tmp", "smb=/tmp: vmrun does not start a Samba server"},
        {"user,hostfwd=x", "-netdev: hostfwd: 'x' must begin with tcp: or udp:"},
        {"user,hostfwd=sctp::1-:1", "must begin with tcp: or udp:"},
        {"user,hostfwd=tcp::1", "has no '-' before the guest's part"},
        {"user,hostfwd=tcp::x-:1", "the host's port 'x' must be a number"},
        {"user,hostfwd=tcp::1-:0", "the guest's port '0' must be a number from 1"},
        {"user,hostfwd=tcp:1.2.3:1-:1", "the host's address '1.2.3' is none of IPv4"},
        {"user,hostfwd=tcp:[::1]:1-:1", "a guest's address of IPv6 must be given"},
        {"user,hostfwd=tcp:[::1]:1-1.2.3.4:1", "from one IP version to another"},
        {"user,hostfwd=tcp:[::1:1-:1", "must be [ADDRESS]:PORT"},
        {"user,guestfwd=tcp:10.0.2.100:1", "must end with -DEVICE or -cmd:COMMAND"},
        {"user,guestfwd=udp:10.0.2.100:1-cmd:x", "only tcp works"},
        {"user,guestfwd=tcp::1-cmd:x", "an IPv4 address must be given"},
        {"user,guestfwd=tcp:10.0.2.2:1-cmd:x", "the address is the host's"},
        {"user,guestfwd=tcp:10.0.2.100:1-cmd:'", "is no command line"},
        {"user,guestfwd=tcp:10.0.2.100:1-bad", "no such stream"},
    };
    net_user_set_stream_ops(&stream_ops);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        NetEnd *end = open_netdev(rows[i].options, &error);
        if (end || !strstr(error->message, rows[i].error))
            g_test_message("%s: %s", rows[i].options, error ? error->message : "no error");
        g_assert_null(end);
        g_assert_nonnull(strstr(error->message, rows[i].error));
    }
    g_assert_null(net_user_first());
}

static void test_good_options(void)
{
    static const struct {
        const char *options, *text;
    } rows[] = {
        {"user", "net=10.0.2.0,mask=255.255.255.0,restrict=off"},
        {"user,net=192.168.76.0/28,restrict=y",
         "net=192.168.76.0,mask=255.255.255.240,restrict=on"},
        {"user,net=172.16.5.0/255.255.0.0", "net=172.16.0.0,mask=255.255.0.0,"},
        {"user,net=10.9.9.9", "net=10.0.0.0,mask=255.0.0.0"},
        {"user,host=10.0.2.15,dhcpstart=10.0.2.16", "net=10.0.2.0"},
        {"user,ipv6=on", "type=user,restrict=off"},
        {"user,ipv6-net=fd00:1::/48,ipv6-host=fd00:1::99", "net=10.0.2.0"},
        {"user,hostfwd=tcp:[::1]:0-[fec0::15]:22", "net=10.0.2.0"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GString) text = g_string_new(NULL);
        NetEnd *end = open_netdev(rows[i].options, &error);
        g_assert_no_error(error);
        g_assert_true(net_user_first() == end);
        g_assert_true(net_is_user(end));
        net_describe_all(text);
        if (!strstr(text->str, rows[i].text))
            g_test_message("%s", text->str);
        g_assert_nonnull(strstr(text->str, rows[i].text));
        net_close(end);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_lock(loop_main());
    g_test_add_func("/net-options/short-rule", test_short_rule);
    g_test_add_func("/net-options/bad", test_options);
    g_test_add_func("/net-options/good", test_good_options);
    int result = g_test_run();
    loop_unlock(loop_main());
    return result;
}
