/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about networks. */
#include <string.h>

#include "monitor_private.h"
#include "net/user.h"
#include "util/error.h"

void info_network(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    net_describe_all(out);
    if (!out->len)
        g_string_append(out, "there are no network cards\n");
    mon_print(mon, out);
}

static void describe_user(NetEnd *end, void *opaque)
{
    if (!net_is_user(end))
        return;
    g_string_append_printf(opaque, "%s:\n", end->id);
    net_user_describe(end, opaque);
}

void info_usernet(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    net_foreach(describe_user, out);
    mon_print(mon, out);
}

void mon_set_link(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    bool up;

    if (!parse_bool(values[1].text, &up))
        fail(&error, "set_link: '%s': must be on or off", values[1].text);
    else
        net_set_link(values[0].text, up, &error);
    if (error)
        mon_error(mon, error);
}

/* Ports that were asked for as "a free one" come out only now. */
static void announce(Monitor *mon, NetEnd *end)
{
    g_autoptr(GString) forwards = g_string_new(NULL);

    if (net_is_user(end))
        net_user_forwards(end, forwards);
    if (!forwards->len)
        return;
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "network '%s' forwards %s\n", end->id, forwards->str);
    mon_print(mon, out);
}

static void list_types(Monitor *mon)
{
    GString *out = g_string_new("Available netdev backend types:\n");
    net_describe_types(out);
    mon_print(mon, out);
}

void mon_netdev_add(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    NetEnd *end = NULL;

    if (!strcmp(values[0].text, "help") || !strcmp(values[0].text, "?")) {
        list_types(mon);
        return;
    }
    g_autoptr(Options) opts = options_parse("netdev_add", values[0].text, "type", NULL, &error);

    if (opts && !options_has(opts, "id"))
        fail(&error, "netdev_add %s: id= is missing", values[0].text);
    else if (opts)
        end = net_open(opts, &error);
    if (error)
        mon_error(mon, error);
    if (end)
        announce(mon, end);
}

void mon_netdev_del(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    NetEnd *end = net_resolve(values[0].text, &error);

    if (end)
        net_close(end);
    else
        mon_error(mon, error);
}

/* The back end that the first word names if there are two, else the first one; *rule is the last
 * word. */
static NetEnd *user_and_rule(const MonValue *values, const char **rule, GError **error)
{
    const char *id = values[1].given ? values[0].text : NULL;
    NetEnd *end = id ? net_resolve(id, error) : net_user_first();

    *rule = id ? values[1].text : values[0].text;
    if (end && net_is_user(end))
        return end;
    if (end)
        fail(error, "'%s' is no user network", id);
    else if (!id)
        fail(error, "there is no user network");
    return NULL;
}

void mon_hostfwd_add(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    const char *rule;
    NetEnd *end = user_and_rule(values, &rule, &error);

    if (!end || !net_user_hostfwd_add(end, rule, &error))
        mon_error(mon, error);
}

void mon_hostfwd_remove(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    const char *rule;
    NetEnd *end = user_and_rule(values, &rule, &error);

    if (!end || !net_user_hostfwd_remove(end, rule, &error))
        mon_error(mon, error);
}
