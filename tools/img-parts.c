/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in json:{...} and --image-opts. */
#include "img-parts.h"

#include <string.h>

#include "block/json-name.h"
#include "util/error.h"

/* ---- Values ---- */

static bool take_flag(const char *key, const char *value, bool *flag, GError **error)
{
    return parse_bool(value, flag) || fail(error, "%s=%s: must be on or off", key, value);
}

static bool take_bytes(const char *key, const char *value, uint64_t *bytes, GError **error)
{
    return parse_size(value, 1, bytes) || fail(error, "%s=%s: is no size", key, value);
}

static bool take_word(const char *key, const char *value, const char *const *words, unsigned *word,
                      GError **error)
{
    for (*word = 0; words[*word]; ++*word)
        if (!strcmp(words[*word], value))
            return true;
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)words);
    return fail(error, "%s=%s: must be one of %s", key, value, all);
}

static bool take_name(const char *key, const char *value, GError **error)
{
    bool ok = g_ascii_isalpha(*value);
    for (const char *c = value; *c; c++)
        ok = ok && (g_ascii_isalnum(*c) || strchr("-._", *c));
    return ok || fail(error, "%s=%s: Invalid node-name: '%s'", key, value, value);
}

/* ---- Keys without effect ---- */

/* What QEMU tunes by them is arranged otherwise here, or is as the image says; a wrong value is
 * refused all the same.  words NULL: a size. */
typedef struct IdleKey {
    const char *key;
    const char *const *words;
} IdleKey;
static const char *const flag_words[] = {"on", "off", "yes", "no", "true", "false", "y", "n", NULL};
static const char *const overlap_words[] = {"none", "constant", "cached", "all", NULL};
static const IdleKey idle_keys[] = {
    {"lazy-refcounts", flag_words},
    {"pass-discard-request", flag_words},
    {"pass-discard-snapshot", flag_words},
    {"pass-discard-other", flag_words},
    {"overlap-check", overlap_words},
    {"overlap-check.template", overlap_words},
    {"overlap-check.main-header", flag_words},
    {"overlap-check.active-l1", flag_words},
    {"overlap-check.active-l2", flag_words},
    {"overlap-check.refcount-table", flag_words},
    {"overlap-check.refcount-block", flag_words},
    {"overlap-check.snapshot-table", flag_words},
    {"overlap-check.inactive-l1", flag_words},
    {"overlap-check.inactive-l2", flag_words},
    {"overlap-check.bitmap-directory", flag_words},
    {"cache-clean-interval", NULL},
    {"l2-cache-entry-size", NULL},
    {"file.drop-cache", flag_words},
};

static const IdleKey *find_idle(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(idle_keys); i++)
        if (!strcmp(idle_keys[i].key, key))
            return &idle_keys[i];
    return NULL;
}

static bool take_idle(const IdleKey *idle, const char *value, GError **error)
{
    uint64_t number;
    unsigned word;
    return idle->words ? take_word(idle->key, value, idle->words, &word, error)
                       : take_bytes(idle->key, value, &number, error);
}

/* ---- Pairs ---- */

static bool take_discard(const char *value, NodeMode *mode, GError **error)
{
    mode->discard = !strcmp(value, "unmap") || !strcmp(value, "on");
    if (mode->discard || !strcmp(value, "ignore") || !strcmp(value, "off"))
        return true;
    return fail(error, "discard=%s: must be unmap or ignore", value);
}

/* "inject-error.0.event": one key of a rule. */
static bool take_rule(Parts *p, const char *key, const char *value, GError **error)
{
    const char *number = strchr(key, '.') + 1, *last = strchr(number, '.');
    if (!last || !last[1])
        return fail(error, "file.%s: the form is file.inject-error.NUMBER.KEY", key);
    g_autofree char *where = g_strndup(key, (gsize)(last - key));
    Options *rule = NULL;
    for (unsigned i = 0; i < p->rules->len && !rule; i++)
        if (!strcmp(options_where(p->rules->pdata[i]), where))
            rule = p->rules->pdata[i];
    if (!rule) {
        rule = options_new(where);
        g_ptr_array_add(p->rules, rule);
    }
    options_set(rule, last + 1, value);
    return true;
}

/* Keys whose values are texts; NULL if key is none of them. */
static const char **text_of(Parts *p, const char *key)
{
    const struct {
        const char *key;
        const char **text;
    } texts[] = {{"driver", &p->driver},
                 {"file.driver", &p->file_driver},
                 {"filename", &p->file},
                 {"file.filename", &p->file},
                 {"file.image.filename", &p->file},
                 {"file.image", &p->file},
                 {"file.config", &p->config},
                 {"backing", &p->how.mode.backing},
                 {"backing.file.filename", &p->how.mode.backing},
                 {"backing.driver", &p->how.mode.backing_format},
                 {"data-file.filename", &p->how.mode.data_name},
                 {"key-secret", &p->how.mode.key_secret},
                 {"encrypt.key-secret", &p->how.mode.key_secret},
                 {"encrypt.format", &p->encryption},
                 {"backing.key-secret", &p->how.mode.backing_key_secret},
                 {"backing.encrypt.key-secret", &p->how.mode.backing_key_secret},
                 {"backing.encrypt.format", &p->backing_encryption}};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        if (!strcmp(texts[i].key, key))
            return texts[i].text;
    return NULL;
}

/* Keys whose values are sizes. */
static uint64_t *size_of(Parts *p, const char *key)
{
    const struct {
        const char *key;
        uint64_t *size;
    } sizes[] = {{"offset", &p->how.mode.raw_offset},
                 {"size", &p->how.mode.raw_size},
                 {"l2-cache-size", &p->how.mode.l2_cache},
                 {"refcount-cache-size", &p->how.mode.refcount_cache},
                 {"cache-size", &p->cache}};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        if (!strcmp(sizes[i].key, key))
            return sizes[i].size;
    return NULL;
}

/* locking=on asks for locks that not every host has; all that vmrun runs on have them. */
static bool take_locking(Parts *p, const char *value, GError **error)
{
    static const char *const words[] = {"on", "auto", "off", NULL};
    unsigned word;
    if (!take_word("locking", value, words, &word, error))
        return false;
    p->how.mode.file.no_lock = word == 2;
    return true;
}

static bool take_aio(Parts *p, const char *value, GError **error)
{
    static const char *const words[] = {"threads", "native", "io_uring", NULL};
    unsigned word;
    if (!take_word("aio", value, words, &word, error))
        return false;
    p->how.mode.file.native = word == 1;
    p->how.ring = word == 2;
    return true;
}

static bool take_read_only(const Parts *p, const char *key, const char *value, GError **error)
{
    bool on;
    return take_flag(key, value, &on, error) &&
           (!on || !p->how.mode.file.writable ||
            fail(error, "read-only=on: the command is going to write the image"));
}

/* Zeros are looked for by convert, whatever is said here. */
static bool take_detect(Parts *p, const char *key, const char *value, GError **error)
{
    static const char *const words[] = {"off", "on", "unmap", NULL};
    unsigned word;
    if (!take_word(key, value, words, &word, error))
        return false;
    p->detect_unmap = word == 2;
    return true;
}

/* Keys of the image and, with `file.` before them, of its file. */
static bool take_common(Parts *p, const char *key, const char *own, const char *value,
                        GError **error)
{
    NodeMode *mode = &p->how.mode;
    bool flag;
    if (!strcmp(own, "cache.direct"))
        return take_flag(key, value, &mode->file.direct, error);
    if (!strcmp(own, "cache.no-flush"))
        return take_flag(key, value, &mode->file.no_flush, error);
    if (!strcmp(own, "discard"))
        return take_discard(value, mode, error);
    if (!strcmp(own, "force-share"))
        return take_flag(key, value, &mode->file.share, error);
    if (!strcmp(own, "read-only"))
        return take_read_only(p, key, value, error);
    if (!strcmp(own, "auto-read-only"))
        return take_flag(key, value, &flag, error);
    if (!strcmp(own, "detect-zeroes"))
        return take_detect(p, key, value, error);
    if (!strcmp(own, "locking"))
        return take_locking(p, value, error);
    if (!strcmp(own, "aio"))
        return take_aio(p, value, error);
    if (!strcmp(own, "node-name"))
        return take_name(key, value, error);
    return fail(error, "'%s' is unknown or not supported", key);
}

/* One pair; `file.` before a key of the file's own is left out. */
static bool take_pair(Parts *p, const char *key, const char *value, GError **error)
{
    static const char *const files[] = {"file.image.driver", "backing.file.driver",
                                        "data-file.driver", NULL};
    const char **text = text_of(p, key);
    uint64_t *size = size_of(p, key);
    const IdleKey *idle = find_idle(key);
    if (text)
        *text = value;
    else if (size)
        return take_bytes(key, value, size, error);
    else if (idle)
        return take_idle(idle, value, error);
    else if (g_str_has_prefix(key, "file.inject-error.") ||
             g_str_has_prefix(key, "file.set-state."))
        return take_rule(p, key + strlen("file."), value, error);
    else if (g_strv_contains(files, key))
        return !strcmp(value, "file") || fail(error, "%s=%s: there is 'file'", key, value);
    else
        return take_common(p, key, g_str_has_prefix(key, "file.") ? key + 5 : key, value, error);
    return true;
}

/* ---- The whole ---- */

/* If the members with a prefix are an NBD disk's: its name, and they are served.  False: they are
 * wrong. */
static bool take_remote(Options *options, const char *prefix, char **name, GError **error)
{
    g_autofree char *key = g_strconcat(prefix, "driver", NULL);
    if (g_strcmp0(options_get(options, key), "nbd"))
        return true;
    *name = json_name_file(options, prefix, error);
    return *name;
}

static bool take_remotes(Parts *p, Options *options, GError **error)
{
    bool bare = !g_strcmp0(options_get(options, "driver"), "nbd");
    if (!take_remote(options, bare ? "" : "file.", &p->remote, error) ||
        !take_remote(options, "backing.file.", &p->remote_backing, error))
        return false;
    if (p->remote)
        p->file = p->remote;
    if (p->remote_backing)
        p->how.mode.backing = p->remote_backing;
    if (bare)
        p->driver = "raw";
    return true;
}

/* The driver of a file system or device is raw to us: the bytes as they are. */
static bool settle_driver(Parts *p, GError **error)
{
    static const char *const plain[] = {"file", "host_device", NULL};
    if (!p->file)
        return fail(error, "the image's file name (file.filename) is missing");
    bool debug = p->file_driver && !strcmp(p->file_driver, "blkdebug");
    if (!debug && (p->config || p->rules->len))
        return fail(error, "file.config, file.inject-error and file.set-state are blkdebug's: "
                           "file.driver=blkdebug is missing");
    if (p->file_driver && !debug && !g_strv_contains(plain, p->file_driver))
        return fail(error, "file.driver=%s: there are 'file', 'host_device', 'nbd' and 'blkdebug'",
                    p->file_driver);
    if (p->driver)
        p->how.format = g_strv_contains(plain, p->driver) ? "raw" : p->driver;
    return true;
}

/* cache-size is that of both caches; the one that is not said gets the rest. */
static bool settle_caches(Parts *p, GError **error)
{
    uint64_t *l2 = &p->how.mode.l2_cache, *refcount = &p->how.mode.refcount_cache;
    if (!p->cache)
        return true;
    if (*l2 && *refcount)
        return fail(error, "cache-size, l2-cache-size and refcount-cache-size may not be set at "
                           "the same time");
    if (*l2 > p->cache || *refcount > p->cache)
        return fail(error, "l2-cache-size and refcount-cache-size may not exceed cache-size");
    if (*l2)
        *refcount = p->cache - *l2;
    else
        *l2 = p->cache - *refcount;
    return true;
}

static bool settle_modes(Parts *p, GError **error)
{
    static const char *const methods[] = {"luks", "aes", NULL};
    HostFileMode *file = &p->how.mode.file;
    unsigned word;
    if (file->native && !file->direct)
        return fail(error, "aio=native was specified, but it requires cache.direct=on");
    file->native |= p->how.ring && file->direct;
    if (p->detect_unmap && !p->how.mode.discard)
        return fail(error, "detect-zeroes=unmap needs discard=unmap");
    return (!p->encryption || take_word("encrypt.format", p->encryption, methods, &word, error)) &&
           (!p->backing_encryption ||
            take_word("backing.encrypt.format", p->backing_encryption, methods, &word, error));
}

bool parts_read(Parts *p, Options *options, GError **error)
{
    const char *key, *value;
    if (!take_remotes(p, options, error))
        return false;
    for (unsigned i = 0; options_nth(options, i, &key, &value); i++)
        if (!take_pair(p, key, value, error))
            return false;
    return settle_driver(p, error) && settle_caches(p, error) && settle_modes(p, error);
}

void parts_clear(Parts *p)
{
    g_clear_pointer(&p->remote, g_free);
    g_clear_pointer(&p->remote_backing, g_free);
}

/* ---- What the image has ---- */

/* "luks" or "aes"; NULL: the image is not encrypted. */
static const char *encryption_of(const BlkNode *node)
{
    NodeDetail d;
    bool luks = false;
    for (unsigned n = 0; node->fmt->detail && node->fmt->detail(node, n, &d); n++) {
        luks |= !d.bracket && !g_strcmp0(d.key, "format") && !strcmp(d.value, "luks");
        g_free(d.value);
    }
    return !node->encrypted ? NULL : luks ? "luks" : "aes";
}

static bool check_one(const char *wanted, const BlkNode *node, GError **error)
{
    const char *found = wanted && node ? encryption_of(node) : NULL;
    if (!wanted || !node || !g_strcmp0(wanted, found))
        return true;
    if (found)
        return fail(error, "'%s': Header reported '%s' encryption format but options specify '%s'",
                    node->name, found, wanted);
    return fail(error, "'%s': No encryption in image header, but options specified format '%s'",
                node->name, wanted);
}

bool parts_check_encryption(const Parts *p, const BlkNode *node, GError **error)
{
    return check_one(p->encryption, node, error) &&
           check_one(p->backing_encryption, node->backing, error);
}
