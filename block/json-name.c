/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names like json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"x"}}, as QEMU
 * writes them into overlays where a plain name says too little (docs/interop: "json:" pseudo
 * protocol; RFC 8259).  They come out of images: nothing in them is to be trusted.
 */
#include "block/json-name.h"

#include <string.h>

#include "block/node.h"
#include "util/error.h"
#include "util/options.h"

/* A member, which then is served; NULL: there is none.  g_free() it. */
static char *take_member(Options *j, const char *prefix, const char *name)
{
    g_autofree char *key = g_strconcat(prefix, name, NULL);
    char *value = g_strdup(options_get(j, key));
    options_remove(j, key);
    return value;
}

static bool take_number(Options *j, const char *name, uint64_t *number, GError **error)
{
    g_autofree char *value = take_member(j, "", name);
    return !value || parse_uint(value, number) || fail(error, "%s: '%s' is no number", name, value);
}

static char *nbd_name(Options *j, const char *prefix, GError **error)
{
    g_autofree char *server = g_strconcat(prefix, "server.", NULL);
    const char *where = prefix;
    g_autofree char *type = take_member(j, server, "type");
    if (type)
        where = server;
    g_autofree char *path = take_member(j, where, "path"), *host = take_member(j, where, "host");
    g_autofree char *port = take_member(j, where, "port"),
                    *export = take_member(j, prefix, "export");
    const char *tail = export ? ":exportname=" : "", *name = export ? export : "";
    if (path && !host)
        return g_strconcat("nbd:unix:", path, tail, name, NULL);
    if (!host || path) {
        fail(error, "an NBD server has a path, or a host and a port");
        return NULL;
    }
    bool v6 = strchr(host, ':');
    return g_strconcat("nbd:", v6 ? "[" : "", host, v6 ? "]" : "", ":", port ? port : "10809", tail,
                       name, NULL);
}

char *json_name_file(Options *j, const char *prefix, GError **error)
{
    g_autofree char *driver = take_member(j, prefix, "driver");
    if (!g_strcmp0(driver, "nbd"))
        return nbd_name(j, prefix, error);
    if (driver && strcmp(driver, "file") && strcmp(driver, "host_device")) {
        fail(error, "%sdriver: there are file, host_device and nbd, not '%s'", prefix, driver);
        return NULL;
    }
    g_autofree char *name = take_member(j, prefix, "filename");
    if (!name || !*name) {
        fail(error, "%sfilename is missing", prefix);
        return NULL;
    }
    return g_strconcat("file:", name, NULL);
}

static bool interpret(Options *j, JsonName *n, GError **error)
{
    const char *driver = options_get(j, "driver"), *key, *value;
    bool is_format = driver && format_find(driver, NULL);
    if (is_format)
        n->format = take_member(j, "", "driver");
    bool nested = is_format || options_has(j, "file.driver") || options_has(j, "file.filename");
    n->file = json_name_file(j, nested ? "file." : "", error);
    if (!n->file || !take_number(j, "offset", &n->offset, error) ||
        !take_number(j, "size", &n->size, error))
        return false;
    n->key_secret = take_member(j, "", "key-secret");
    if (!n->key_secret)
        n->key_secret = take_member(j, "", "encrypt.key-secret");
    return !options_nth(j, 0, &key, &value) || fail(error, "'%s' is unknown or not supported", key);
}

bool json_name_is(const char *name)
{
    return g_str_has_prefix(name, JSON_PREFIX);
}

bool json_name_parse(const char *name, JsonName *n, GError **error)
{
    g_autoptr(Options) j = options_parse_json(name + strlen(JSON_PREFIX), error);
    *n = (JsonName){NULL};
    bool ok = j && interpret(j, n, error);
    if (ok)
        return true;
    json_name_clear(n);
    return fail_prefix(error, "'%s'", name);
}

void json_name_clear(JsonName *n)
{
    g_free(n->file);
    g_free(n->format);
    g_free(n->key_secret);
    *n = (JsonName){NULL};
}

/* ---- Writing ---- */

char *json_name_of_part(const char *path, uint64_t offset, uint64_t size)
{
    GString *text = g_string_new(JSON_PREFIX "{\"driver\":\"raw\",");
    g_string_append_printf(text, "\"offset\":%" G_GUINT64_FORMAT ",", offset);
    if (size)
        g_string_append_printf(text, "\"size\":%" G_GUINT64_FORMAT ",", size);
    g_string_append(text, "\"file\":{\"driver\":\"file\",\"filename\":\"");
    for (; *path; path++)
        if ((unsigned char)*path < ' ')
            g_string_append_printf(text, "\\u%04x", *path);
        else
            g_string_append_printf(text, "%s%c", strchr("\"\\", *path) ? "\\" : "", *path);
    g_string_append(text, "\"}}");
    return g_string_free(text, FALSE);
}
