/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of the back end "user", and the addresses that follow from each other. */
#include <string.h>

#include "user_private.h"
#include "util/error.h"

/* Keeps the text as long as the back end. */
static const char *keep(User *user, const char *text)
{
    if (text)
        g_ptr_array_add(user->strings, g_strdup(text));
    return text ? g_ptr_array_index(user->strings, user->strings->len - 1) : NULL;
}

/* ---- IPv4: numbers in host order ---- */

static bool parse_ipv4(const char *text, uint32_t *out)
{
    struct in_addr addr;
    if (inet_pton(AF_INET, text, &addr) != 1)
        return false;
    *out = ntohl(addr.s_addr);
    return true;
}

/* ADDRESS/BITS, ADDRESS/MASK, or ADDRESS with the mask of its class as of old. */
static bool parse_net(const char *text, uint32_t *net, uint32_t *mask)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    uint64_t bits;

    if (!parts[0] || !parse_ipv4(parts[0], net))
        return false;
    if (!parts[1])
        *mask = *net < 0x80000000u ? 0xff000000u : *net < 0xc0000000u ? 0xffff0000u : 0xffffff00u;
    else if (parse_uint(parts[1], &bits) && bits >= 4 && bits <= 28)
        *mask = ~0u << (32 - bits);
    else if (!parse_ipv4(parts[1], mask) || (~*mask & (~*mask + 1)) || *mask > 0xfffffff0u ||
             *mask < 0xf0000000u)
        return false;
    *net &= *mask;
    return true;
}

/* An address in the network, neither its first nor its last.  Without the option: number `host`. */
static bool take_host(const Options *opts, const char *key, uint32_t net, uint32_t mask,
                      uint32_t host, struct in_addr *out, GError **error)
{
    const char *text = options_get(opts, key);
    uint32_t addr = net | (host & ~mask);

    if (text && !parse_ipv4(text, &addr))
        return net_fail_value(opts, key, "must be an IPv4 address", error);
    if ((addr & mask) != net || addr == net || addr == (net | ~mask))
        return net_fail_value(opts, key, "must be a host's address inside of net=", error);
    out->s_addr = htonl(addr);
    return true;
}

/* Names the option that gave the guest's first address to the host or the name server as well. */
static bool fail_guest_address(const SlirpConfig *config, const Options *opts, GError **error)
{
    bool host = config->vdhcp_start.s_addr == config->vhost.s_addr;
    const char *other = host ? "host" : "dns";

    if (options_has(opts, "dhcpstart"))
        return net_fail_value(opts, "dhcpstart",
                              host ? "it is the host's address" : "it is the name server's address",
                              error);
    return net_fail_value(opts, other, "it is the guest's address; dhcpstart= gives it another",
                          error);
}

static bool configure_ipv4(User *user, const Options *opts, GError **error)
{
    SlirpConfig *config = &user->config;
    uint32_t net = 0x0a000200, mask = 0xffffff00;
    const char *text = options_get(opts, "net");

    if (text && !parse_net(text, &net, &mask))
        return net_fail_value(opts, "net", "must be as 10.0.2.0/24, with 4 to 28 bits", error);
    config->vnetwork.s_addr = htonl(net);
    config->vnetmask.s_addr = htonl(mask);
    /* In a small network the guest gets what is free above the name server. */
    uint32_t guest = ~mask > 16 ? 15 : 4;
    if (!take_host(opts, "host", net, mask, 2, &config->vhost, error) ||
        !take_host(opts, "dhcpstart", net, mask, guest, &config->vdhcp_start, error) ||
        !take_host(opts, "dns", net, mask, 3, &config->vnameserver, error))
        return false;
    if (config->vhost.s_addr == config->vnameserver.s_addr)
        return net_fail_value(opts, options_has(opts, "dns") ? "dns" : "host",
                              "name server and host must have addresses of their own", error);
    if (config->vdhcp_start.s_addr == config->vhost.s_addr ||
        config->vdhcp_start.s_addr == config->vnameserver.s_addr)
        return fail_guest_address(config, opts, error);
    user->guest = config->vdhcp_start;
    return true;
}

/* ---- IPv6 ---- */

static bool same_prefix(const struct in6_addr *a, const struct in6_addr *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return !memcmp(a, b, bytes) &&
           (!rest || !((a->s6_addr[bytes] ^ b->s6_addr[bytes]) >> (8 - rest)));
}

static bool take_host6(const Options *opts, const char *key, const SlirpConfig *config,
                       uint8_t host, struct in6_addr *out, GError **error)
{
    const char *text = options_get(opts, key);

    *out = config->vprefix_addr6;
    out->s6_addr[15] |= host;
    if (text && inet_pton(AF_INET6, text, out) != 1)
        return net_fail_value(opts, key, "must be an IPv6 address", error);
    if (!same_prefix(out, &config->vprefix_addr6, config->vprefix_len))
        return net_fail_value(opts, key, "must be an address inside of ipv6-net=", error);
    return true;
}

static bool configure_ipv6(User *user, const Options *opts, GError **error)
{
    SlirpConfig *config = &user->config;
    bool joint = options_has(opts, "ipv6-net");
    const char *key = joint ? "ipv6-net" : "ipv6-prefix";
    const char *text = options_has(opts, key) ? options_get(opts, key) : "fec0::";
    uint64_t bits = 64;
    g_auto(GStrv) parts = g_strsplit(text, "/", joint ? 2 : 1);

    if (joint && (options_has(opts, "ipv6-prefix") || options_has(opts, "ipv6-prefixlen")))
        return net_fail_value(opts, "ipv6-net", "says what ipv6-prefix and ipv6-prefixlen say",
                              error);
    if (!options_get_uint(opts, "ipv6-prefixlen", 0, 126, &bits, error))
        return false;
    if (!parts[0] || inet_pton(AF_INET6, parts[0], &config->vprefix_addr6) != 1 ||
        (parts[1] && (!parse_uint(parts[1], &bits) || bits > 126)))
        return net_fail_value(
            opts, key,
            joint ? "must be as fec0::/64, with up to 126 bits" : "must be an IPv6 address", error);
    config->vprefix_len = (uint8_t)bits;
    return take_host6(opts, "ipv6-host", config, 2, &config->vhost6, error) &&
           take_host6(opts, "ipv6-dns", config, 3, &config->vnameserver6, error);
}

/* One of them asked for alone switches the other off. */
static bool choose_protocols(SlirpConfig *config, const Options *opts, GError **error)
{
    bool ipv4 = true, ipv6 = true;

    if (!options_get_bool(opts, "ipv4", &ipv4, error) ||
        !options_get_bool(opts, "ipv6", &ipv6, error))
        return false;
    if (options_has(opts, "ipv4") && ipv4 && !options_has(opts, "ipv6"))
        ipv6 = false;
    if (options_has(opts, "ipv6") && ipv6 && !options_has(opts, "ipv4"))
        ipv4 = false;
    if (!ipv4 && !ipv6)
        return net_fail_value(opts, options_has(opts, "ipv6") ? "ipv6" : "ipv4",
                              "one of ipv4 and ipv6 must be on", error);
    config->in_enabled = ipv4;
    config->in6_enabled = ipv6;
    return true;
}

/* ---- Names and files ---- */

static bool take_names(User *user, const Options *opts, GError **error)
{
    SlirpConfig *config = &user->config;
    /* What fits in a DHCP or BOOTP reply. */
    static const struct {
        const char *key;
        size_t max;
    } limits[] = {
        {"hostname", 32}, {"domainname", 255}, {"bootfile", 127}, {"tftp-server-name", 255}};

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        const char *text = options_get(opts, limits[i].key);
        g_autofree char *what = g_strdup_printf("must have at most %zu bytes", limits[i].max);
        if (text && strlen(text) > limits[i].max)
            return net_fail_value(opts, limits[i].key, what, error);
    }
    const char *tftp = options_get(opts, "tftp");
    if (tftp && !g_file_test(tftp, G_FILE_TEST_IS_DIR))
        return net_fail_value(opts, "tftp", "there is no such directory", error);
    config->vhostname = keep(user, options_get(opts, "hostname"));
    config->vdomainname = keep(user, options_get(opts, "domainname"));
    config->bootfile = keep(user, options_get(opts, "bootfile"));
    config->tftp_server_name = keep(user, options_get(opts, "tftp-server-name"));
    config->tftp_path = keep(user, tftp);
    return true;
}

static void take_search(User *user, const Options *opts)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    const char *key, *value;

    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++)
        if (!strcmp(key, "dnssearch"))
            g_ptr_array_add(list, (char *)keep(user, value));
    if (!list->len)
        return;
    g_ptr_array_add(list, NULL);
    user->search = (const char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
    user->config.vdnssearch = user->search;
}

bool user_configure(User *user, const Options *opts, GError **error)
{
    bool restricted = false;

    for (unsigned i = 0; i < 2; i++)
        if (options_has(opts, i ? "smbserver" : "smb"))
            return net_fail_value(opts, i ? "smbserver" : "smb",
                                  "vmrun does not start a Samba server; tftp= shows files", error);
    user->config.version = 1;
    if (!choose_protocols(&user->config, opts, error) ||
        !options_get_bool(opts, "restrict", &restricted, error) ||
        !configure_ipv4(user, opts, error) || !configure_ipv6(user, opts, error) ||
        !take_names(user, opts, error))
        return false;
    user->config.restricted = restricted;
    take_search(user, opts);
    return true;
}

void user_config_clear(User *user)
{
    g_clear_pointer(&user->search, g_free);
    g_clear_pointer(&user->strings, g_ptr_array_unref);
}
