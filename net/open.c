/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev: the table of back ends, and what their options have in common. */
#include <string.h>

#include "net_private.h"
#include "util/error.h"

static const NetType *const types[] = {
    &net_type_user,   &net_type_tap,   &net_type_bridge,  &net_type_socket,
    &net_type_stream, &net_type_dgram, &net_type_hubport,
};

void *net_fail_value(const Options *opts, const char *key, const char *what, GError **error)
{
    const char *value = options_get(opts, key);
    fail(error, "%s: %s=%s: %s", options_where(opts), key, value ? value : "", what);
    return NULL;
}

const char *const *net_types(void)
{
    static const char *names[G_N_ELEMENTS(types) + 1];
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
        names[i] = types[i]->name;
    return names;
}

void net_describe_types(GString *out)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
        g_string_append_printf(out, "  %s,id=ID%s\n", types[i]->name, types[i]->help);
}

static const NetType *type_named(const char *name)
{
    for (unsigned i = 0; name && i < G_N_ELEMENTS(types); i++)
        if (!strcmp(types[i]->name, name))
            return types[i];
    return NULL;
}

const char *const *net_type_keys(const char *name)
{
    const NetType *type = type_named(name);
    return type ? type->keys : NULL;
}

static const NetType *find_type(const Options *opts, GError **error)
{
    const char *name = options_get(opts, "type"), *where = options_where(opts);

    if (type_named(name))
        return type_named(name);
    g_autofree char *all = g_strjoinv(", ", (char **)net_types());
    const char *nearest = name ? nearest_word(name, net_types()) : NULL;
    if (!name)
        fail(error, "%s: the type of network is missing; there are: %s", where, all);
    else if (nearest)
        fail(error, "%s: there is no network type '%s'; did you mean '%s'?", where, name, nearest);
    else
        fail(error, "%s: there is no network type '%s'; there are: %s", where, name, all);
    return NULL;
}

static bool check_keys(const NetType *type, const Options *opts, GError **error)
{
    const char *key, *value;

    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++) {
        if (!strcmp(key, "type") || !strcmp(key, "id") || g_strv_contains(type->keys, key))
            continue;
        const char *nearest = nearest_word(key, type->keys);
        if (nearest)
            return fail(error, "%s: %s has no key '%s'; did you mean '%s'?", options_where(opts),
                        type->name, key, nearest);
        g_autofree char *all = g_strjoinv(", ", (char **)type->keys);
        return fail(error, "%s: %s has no key '%s'; there are: %s", options_where(opts), type->name,
                    key, all);
    }
    return true;
}

bool net_check(const Options *opts, GError **error)
{
    const NetType *type = find_type(opts, error);
    return type && check_keys(type, opts, error);
}

NetEnd *net_open(const Options *opts, GError **error)
{
    const NetType *type = find_type(opts, error);
    if (!type || !check_keys(type, opts, error))
        return NULL;
    NetEnd *end = type->open(options_get(opts, "id"), opts, error);
    if (!end)
        return NULL;
    net_reconnect(end);
    net_dumps_reconnect(end);
    return end;
}
