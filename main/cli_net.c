/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -nic, -netdev, the older -net, and -p: each becomes back ends (config->netdevs) and cards
 * (config->nics, as -device's); main/nets.c opens them.
 */
#include "config.h"

#include "hw/registry.h"
#include "net/user.h"
#include "util/error.h"

#define DEFAULT_MODEL "e1000"

/* ---- Models: devices with a "netdev" ---- */

bool cli_is_nic(const char *driver)
{
    const DeviceClass *cls = device_class_find(driver);
    for (const Prop *prop = cls ? cls->props : NULL; prop && prop->name; prop++)
        if (!strcmp(prop->name, "netdev"))
            return cls->user;
    return false;
}

static const char **models(void)
{
    GPtrArray *names = g_ptr_array_new();
    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if (cli_is_nic((*cls)->name))
            g_ptr_array_add(names, (char *)(*cls)->name);
    g_ptr_array_add(names, NULL);
    return (const char **)g_ptr_array_free(names, FALSE);
}

static bool is_help(const char *text)
{
    return text && (!strcmp(text, "help") || !strcmp(text, "?"));
}

static bool show_models(VmConfig *config)
{
    config->answer = g_string_new("Supported NIC models:\n");
    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if (cli_is_nic((*cls)->name))
            g_string_append_printf(config->answer, "%-12s %s%s\n", (*cls)->name, (*cls)->desc,
                                   strcmp((*cls)->name, DEFAULT_MODEL) ? "" : " (default)");
    return true;
}

static bool show_types(VmConfig *config)
{
    config->answer = g_string_new("Available netdev backend types:\n");
    net_describe_types(config->answer);
    return true;
}

/* ---- Cards ---- */

bool cli_check_mac(const Options *options, const char *key, GError **error)
{
    const char *text = options_get(options, key);
    uint8_t b[NET_MAC_BYTES];

    if (!text)
        return true;
    if (!parse_mac(text, b))
        return fail(error, "%s: %s=%s: must be as 52:54:00:12:34:56", options_where(options), key,
                    text);
    if (b[0] & 1)
        return fail(error, "%s: %s=%s: it is for a group of cards; the first byte must be even",
                    options_where(options), key, text);
    return true;
}

/* Adds a card by its keys model, mac or macaddr, addr and name, on the back end called netdev. */
static bool add_nic(VmConfig *config, const CliOption *option, const Options *keys,
                    const char *netdev, GError **error)
{
    const char *model = options_get(keys, "model");
    g_autofree const char **names = models();
    g_autofree char *where = g_strconcat("-", option->name, NULL);

    if (!model)
        model = DEFAULT_MODEL;
    if (!g_strv_contains(names, model))
        return cli_fail_word(option, "card model", model, names, error);
    if (!cli_check_mac(keys, "mac", error) || !cli_check_mac(keys, "macaddr", error))
        return false;
    Options *device = options_new(where);
    options_set(device, "driver", model);
    if (netdev)
        options_set(device, "netdev", netdev);
    static const char *const from[] = {"mac", "macaddr", "addr", "name"};
    static const char *const to[] = {"mac", "mac", "addr", "id"};
    for (unsigned i = 0; i < G_N_ELEMENTS(from); i++)
        if (options_has(keys, from[i]))
            options_set(device, to[i], options_get(keys, from[i]));
    g_ptr_array_add(config->nics, device);
    return true;
}

/* ---- -netdev ---- */

bool cli_netdev(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (is_help(arg))
        return show_types(config);
    g_autoptr(Options) netdev = options_parse("-netdev", arg, "type", NULL, error);
    if (!netdev || !net_check(netdev, error))
        return false;
    if (!options_has(netdev, "id"))
        return fail(error, "-netdev %s: id= is missing", arg);
    g_ptr_array_add(config->netdevs, g_steal_pointer(&netdev));
    return true;
}

/* ---- -nic ---- */

static const char *const nic_keys[] = {"model", "mac", "macaddr", "addr", "name", NULL};

/* The options of a back end and those in `more` together: one that is in neither is an error. */
static Options *parse_with(const char *where, const char *arg, const char *type,
                           const char *const *more, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_ptr_array_add(keys, (char *)"type");
    g_ptr_array_add(keys, (char *)"id");
    for (const char *const *key = net_type_keys(type); key && *key; key++)
        g_ptr_array_add(keys, (char *)*key);
    for (; more && *more; more++)
        g_ptr_array_add(keys, (char *)*more);
    g_ptr_array_add(keys, NULL);
    return options_parse(where, arg, "type", (const char *const *)keys->pdata, error);
}

bool cli_nic(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->net_chosen = true;
    if (!strcmp(arg, "none"))
        return true;
    if (is_help(arg))
        return show_types(config);
    g_autoptr(Options) any = options_parse("-nic", arg, "type", NULL, error);
    if (!any)
        return false;
    if (is_help(options_get(any, "model")))
        return show_models(config);
    const char *type = options_has(any, "type") ? options_get(any, "type") : "user";
    if (!strcmp(type, "none"))
        return fail(error, "-nic %s: 'none' goes with nothing else", arg);
    if (!net_type_keys(type)) {
        g_autofree const char **names = models();
        if (g_strv_contains(names, type))
            return fail(error, "-nic %s: a card is named by model=%s", arg, type);
        return cli_fail_word(option, "network type", type, net_types(), error);
    }
    g_autoptr(Options) nic = parse_with("-nic", arg, type, nic_keys, error);
    if (!nic)
        return false;
    if (!options_has(nic, "id")) {
        g_autofree char *id = g_strdup_printf("#nic%u", config->netdevs->len);
        options_set(nic, "id", id);
    }
    if (!add_nic(config, option, nic, options_get(nic, "id"), error))
        return false;
    for (unsigned i = 0; nic_keys[i]; i++)
        options_remove(nic, nic_keys[i]);
    options_set(nic, "type", type);
    g_ptr_array_add(config->netdevs, g_steal_pointer(&nic));
    return true;
}

/* ---- -net: cards and back ends meet on hub 0 ---- */

/* A new port of the hub; netdev: a back end that goes there, or NULL. Returns its id. */
static const char *add_port(VmConfig *config, const char *netdev)
{
    Options *port = options_new("-net");
    g_autofree char *id = g_strdup_printf("#net%u", config->netdevs->len);

    options_set(port, "type", "hubport");
    options_set(port, "hubid", "0");
    options_set(port, "id", id);
    if (netdev)
        options_set(port, "netdev", netdev);
    g_ptr_array_add(config->netdevs, port);
    return options_get(port, "id");
}

static bool net_nic(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"type",    "netdev", "model", "mac",
                                       "macaddr", "addr",   "name",  NULL};
    g_autoptr(Options) nic = options_parse("-net", arg, "type", keys, error);

    if (!nic)
        return false;
    if (is_help(options_get(nic, "model")))
        return show_models(config);
    if (!add_nic(config, option, nic, options_get(nic, "netdev"), error))
        return false;
    if (!options_has(nic, "netdev"))
        options_set(g_ptr_array_index(config->nics, config->nics->len - 1), "netdev",
                    add_port(config, NULL));
    return true;
}

bool cli_net(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->net_chosen = true;
    if (!strcmp(arg, "none"))
        return true;
    if (is_help(arg))
        return show_types(config);
    g_autoptr(Options) any = options_parse("-net", arg, "type", NULL, error);
    if (!any)
        return false;
    const char *type = options_has(any, "type") ? options_get(any, "type") : "";
    if (!strcmp(type, "nic"))
        return net_nic(config, option, arg, error);
    if (!net_type_keys(type)) {
        g_autoptr(GPtrArray) words = g_ptr_array_new();
        g_ptr_array_add(words, (char *)"nic");
        for (const char *const *name = net_types(); *name; name++)
            g_ptr_array_add(words, (char *)*name);
        g_ptr_array_add(words, NULL);
        return cli_fail_word(option, "network type", type, (const char *const *)words->pdata,
                             error);
    }
    static const char *const name_key[] = {"name", NULL};
    g_autoptr(Options) net = parse_with("-net", arg, type, name_key, error);
    if (!net)
        return false;
    g_autofree char *id = g_strdup_printf("#net%u", config->netdevs->len);
    if (options_has(net, "name"))
        options_set(net, "id", options_get(net, "name"));
    else if (!options_has(net, "id"))
        options_set(net, "id", id);
    options_remove(net, "name");
    g_ptr_array_add(config->netdevs, net);
    add_port(config, options_get(net, "id"));
    g_steal_pointer(&net);
    return true;
}

/* ---- -p ---- */

bool cli_port_forward(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    char *rule = net_user_short_rule(arg, error);
    if (!rule)
        return fail_prefix(error, "-p %s", arg);
    g_ptr_array_add(config->port_forwards, rule);
    return true;
}

/* What a PC has where nothing is said, if there is such a card. */
bool cli_default_net(VmConfig *config, GError **error)
{
    static const CliOption nic = {.name = "nic"};

    if (config->net_chosen || config->nodefaults || config->netdevs->len ||
        !cli_is_nic(DEFAULT_MODEL))
        return true;
    return cli_nic(config, &nic, "user", error);
}
