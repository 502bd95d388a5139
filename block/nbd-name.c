/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of NBD disks: QEMU's old ones become URIs. */
#include <string.h>

#include "nbd.h"
#include "util/error.h"

static const char *const schemes[] = {"nbd:", "nbds:", "nbd+unix:", "nbds+unix:"};

bool nbd_is_name(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++)
        if (g_str_has_prefix(name, schemes[i]))
            return true;
    return false;
}

static bool take_unix(const char *path, const char *export, char **uri, GError **error)
{
    if (!*path)
        return fail(error, "the socket's path is missing");
    g_autofree char *escaped_path = g_uri_escape_string(path, "/", FALSE);
    g_autofree char *escaped = g_uri_escape_string(export, "/", FALSE);
    *uri = g_strdup_printf("nbd+unix:///%s?socket=%s", escaped, escaped_path);
    return true;
}

static bool take_tcp(const char *address, const char *export, char **uri, GError **error)
{
    const char *colon = strrchr(address, ':');
    if (!colon || colon == address)
        return fail(error, "the server's host or port is missing");
    size_t host = (size_t)(colon - address);
    if (address[0] != '[' && memchr(address, ':', host))
        return fail(error, "an IPv6 address stands in brackets");
    guint64 port;
    if (!g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL))
        return fail(error, "'%s' is no port", colon + 1);
    g_autofree char *escaped = g_uri_escape_string(export, "/", FALSE);
    *uri = g_strdup_printf("nbd://%.*s:%u/%s", (int)host, address, (unsigned)port, escaped);
    return true;
}

char *nbd_uri(const char *name, GError **error)
{
    static const char export_key[] = ":exportname=";
    if (!g_str_has_prefix(name, "nbd:") || g_str_has_prefix(name, "nbd://"))
        return g_strdup(name);
    const char *rest = name + strlen("nbd:"), *export = strstr(rest, export_key);
    g_autofree char *address = export ? g_strndup(rest, (size_t)(export - rest)) : g_strdup(rest);
    char *uri = NULL;
    export = export ? export + strlen(export_key) : "";
    bool ok = g_str_has_prefix(address, "unix:") ? take_unix(address + 5, export, &uri, error)
                                                 : take_tcp(address, export, &uri, error);
    if (!ok)
        fail_prefix(error, "'%s'", name);
    return uri;
}
