/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Chardevs from the command line: the short form of -serial and -monitor becomes the options of the
 * long form of -chardev, and these choose the back end.
 */
#include <stdio.h>
#include <string.h>

#include "chr_private.h"

static const ChrBackend *const backends[] = {
    &chr_null_backend, &chr_stdio_backend,   &chr_file_backend,
    &chr_pipe_backend, &chr_pty_backend,     &chr_socket_backend,
    &chr_vc_backend,   &chr_ringbuf_backend, &chr_serial_backend,
};

static const char *const common_keys[] = {"backend", "id", "mux", "logfile", "logappend", NULL};

/* ---- The long form ---- */

static const ChrBackend *find_backend(const Options *opts, GError **error)
{
    const char *names[2 * G_N_ELEMENTS(backends) + 1], *where = options_where(opts);
    const char *name = options_get(opts, "backend");
    unsigned count = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(backends); i++) {
        const ChrBackend *b = backends[i];
        if (name && (!strcmp(name, b->name) || !g_strcmp0(name, b->alias)))
            return b;
        names[count++] = b->name;
        if (b->alias)
            names[count++] = b->alias;
    }
    names[count] = NULL;
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    const char *nearest = name ? nearest_word(name, names) : NULL;
    if (!name)
        fail(error, "%s: a back end is missing; there are: %s", where, all);
    else if (nearest)
        fail(error, "%s: there is no back end '%s'; did you mean '%s'?", where, name, nearest);
    else
        fail(error, "%s: there is no back end '%s'; there are: %s", where, name, all);
    return NULL;
}

void chr_describe_backends(GString *out)
{
    g_string_append(out, "Back ends, each with id=, mux=, logfile=, logappend= and:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(backends); i++) {
        g_autofree char *keys = g_strjoinv("=, ", (char **)backends[i]->keys);
        g_string_append_printf(out, "  %-10s%s%s\n", backends[i]->name, keys, *keys ? "=" : "");
    }
}

static bool is_known(const ChrBackend *backend, const char *key)
{
    return g_strv_contains(common_keys, key) || g_strv_contains(backend->keys, key);
}

/* Checks the keys; "nowait", as QEMU's users have written it for years, becomes wait=off. */
static Options *checked_options(const ChrBackend *backend, const Options *given, GError **error)
{
    g_autoptr(Options) opts = options_new(options_where(given));
    const char *key, *value;

    for (unsigned i = 0; options_nth(given, i, &key, &value); i++) {
        if (is_known(backend, key)) {
            options_set(opts, key, value);
        } else if (g_str_has_prefix(key, "no") && is_known(backend, key + 2) &&
                   !strcmp(value, "on")) {
            options_set(opts, key + 2, "off");
        } else {
            const char *nearest = nearest_word(key, backend->keys);
            if (!nearest)
                nearest = nearest_word(key, common_keys);
            fail(error, "%s: back end '%s' has no key '%s'%s%s%s", options_where(given),
                 backend->name, key, nearest ? "; did you mean '" : "", nearest ? nearest : "",
                 nearest ? "'?" : "");
            return NULL;
        }
    }
    return g_steal_pointer(&opts);
}

static Chardev *open_checked(const ChrBackend *backend, const char *id, const Options *opts,
                             GError **error)
{
    bool mux = false;
    if (!options_get_bool(opts, "mux", &mux, error))
        return NULL;
    if (!mux)
        return chr_create(backend, id, opts, error);
    if (chr_find(id)) {
        fail(error, "%s: there is already a chardev called '%s'", options_where(opts), id);
        return NULL;
    }
    g_autofree char *base_id = g_strconcat(id, "-base", NULL);
    Chardev *base = chr_create(backend, base_id, opts, error);
    Chardev *chr = base ? chr_mux_create(base, id, error) : NULL;
    if (base && !chr)
        chr_close(base);
    return chr;
}

Chardev *chr_open_options(const Options *given, GError **error)
{
    const ChrBackend *backend = find_backend(given, error);
    const char *id = options_get(given, "id");
    if (!backend)
        return NULL;
    if (!id || !*id) {
        fail(error, "%s: id=NAME is missing", options_where(given));
        return NULL;
    }
    g_autoptr(Options) opts = checked_options(backend, given, error);
    return opts ? open_checked(backend, id, opts, error) : NULL;
}

/* ---- The short form ---- */

static bool take_word(const char **text, const char *prefix)
{
    if (!g_str_has_prefix(*text, prefix))
        return false;
    *text += strlen(prefix);
    return true;
}

/* Adds "key=value,flag" to opts. */
static bool add_pairs(Options *opts, const char *text, GError **error)
{
    const char *key, *value;
    g_autoptr(Options) more = options_parse(options_where(opts), text, NULL, NULL, error);
    if (!more)
        return false;
    for (unsigned i = 0; options_nth(more, i, &key, &value); i++)
        options_set(opts, key, value);
    return true;
}

/* "[HOST]:PORT[,key=value]", where HOST may be an IPv6 address in brackets. */
static bool split_tcp(Options *opts, const char *text, GError **error)
{
    const char *where = options_where(opts);
    g_autofree char *host = NULL;
    const char *p = text;

    if (*p == '[') {
        const char *end = strchr(p, ']');
        if (!end)
            return fail(error, "%s: ']' is missing", where);
        host = g_strndup(p + 1, (size_t)(end - p) - 1);
        p = end + 1;
    } else {
        size_t length = strcspn(p, ":,");
        host = g_strndup(p, length);
        p += length;
    }
    size_t port_length = *p == ':' ? strcspn(p + 1, ",") : 0;
    if (!port_length)
        return fail(error, "%s: a port is missing; HOST:PORT is wanted", where);
    g_autofree char *port = g_strndup(p + 1, port_length);
    p += 1 + port_length;
    options_set(opts, "backend", "socket");
    options_set(opts, "host", host);
    options_set(opts, "port", port);
    return !*p || add_pairs(opts, p + 1, error);
}

static bool split_unix(Options *opts, const char *text, GError **error)
{
    size_t length = strcspn(text, ",");
    g_autofree char *path = g_strndup(text, length);
    options_set(opts, "backend", "socket");
    options_set(opts, "path", path);
    return !text[length] || add_pairs(opts, text + length + 1, error);
}

/* "WxH" in pixels, or "80Cx25C" in characters. */
static bool split_vc(Options *opts, const char *text, GError **error)
{
    unsigned width, height;
    int end = 0;
    const char *keys[2] = {"width", "height"};

    options_set(opts, "backend", "vc");
    if (sscanf(text, "%uCx%uC%n", &width, &height, &end) == 2 && end && !text[end]) {
        keys[0] = "cols";
        keys[1] = "rows";
    } else if (sscanf(text, "%ux%u%n", &width, &height, &end) != 2 || text[end]) {
        return fail(error, "%s: '%s' is not a size as 800x600 or 80Cx25C", options_where(opts),
                    text);
    }
    g_autofree char *w = g_strdup_printf("%u", width), *h = g_strdup_printf("%u", height);
    options_set(opts, keys[0], w);
    options_set(opts, keys[1], h);
    return true;
}

static void set_path(Options *opts, const char *backend, const char *path)
{
    options_set(opts, "backend", backend);
    options_set(opts, "path", path);
}

static bool split_short(Options *opts, const char *spec, GError **error)
{
    static const char *const words[] = {"stdio", "mon:stdio", "null", "none", "pty",
                                        "vc",    "ringbuf",   "file", "pipe", "unix",
                                        "tcp",   "telnet",    NULL};
    static const char *const plain[] = {"stdio", "null", "pty", "vc", "ringbuf", NULL};

    if (take_word(&spec, "mon:")) {
        options_set(opts, "mux", "on");
        if (!strcmp(spec, "stdio"))
            options_set(opts, "signal", "off");
    }
    if (g_strv_contains(plain, spec)) {
        options_set(opts, "backend", spec);
        return true;
    }
    if (take_word(&spec, "vc:"))
        return split_vc(opts, spec, error);
    if (take_word(&spec, "unix:"))
        return split_unix(opts, spec, error);
    if (take_word(&spec, "tcp:"))
        return split_tcp(opts, spec, error);
    if (take_word(&spec, "telnet:")) {
        options_set(opts, "telnet", "on");
        return split_tcp(opts, spec, error);
    }
    if (take_word(&spec, "file:"))
        set_path(opts, "file", spec);
    else if (take_word(&spec, "pipe:"))
        set_path(opts, "pipe", spec);
    else if (g_str_has_prefix(spec, "/dev/"))
        set_path(opts, "serial", spec);
    else {
        g_autofree char *word = g_strndup(spec, strcspn(spec, ":,"));
        const char *nearest = nearest_word(word, words);
        if (nearest)
            return fail(error, "%s: unknown character device; did you mean '%s'?",
                        options_where(opts), nearest);
        g_autofree char *all = g_strjoinv(", ", (char **)words);
        return fail(error, "%s: unknown character device; there are: %s, /dev/...",
                    options_where(opts), all);
    }
    return true;
}

Chardev *chr_open(const char *where, const char *spec, const char *id, GError **error)
{
    g_autofree char *full = g_strdup_printf("%s %s", where, spec);
    g_autoptr(Options) opts = options_new(full);

    if (!strcmp(spec, "none"))
        return NULL;
    if (g_str_has_prefix(spec, "chardev:")) {
        Chardev *chr = chr_find(spec + strlen("chardev:"));
        if (!chr)
            fail(error, "%s: there is no chardev called '%s'", full, spec + strlen("chardev:"));
        return chr;
    }
    options_set(opts, "id", id);
    return split_short(opts, spec, error) ? chr_open_options(opts, error) : NULL;
}
