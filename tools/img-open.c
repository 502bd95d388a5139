/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what the command line names. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/blkdebug.h"
#include "block/secret.h"
#include "img.h"
#include "util/error.h"
#include "util/log.h"

/* ---- Words and numbers ---- */

static bool bad_word(const char *option, const char *text, const char *const *words)
{
    const char *near = nearest_word(text, words);
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)words);
    if (near)
        report_error("%s: unknown word '%s'; did you mean '%s'?", option, text, near);
    else
        report_error("%s: unknown word '%s'; it is one of %s", option, text, all);
    return false;
}

bool img_parse_output(const char *text, bool *json)
{
    static const char *const words[] = {"human", "json", NULL};
    *json = !strcmp(text, "json");
    return *json || !strcmp(text, "human") || bad_word("--output", text, words);
}

bool img_parse_cache(const char *option, const char *text, ImgOpen *how)
{
    static const char *const words[] = {"writeback",  "none",   "writethrough",
                                        "directsync", "unsafe", NULL};
    if (!strcmp(text, "off"))
        text = "none";
    if (!g_strv_contains(words, text)) {
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)words);
        report_error("Invalid cache option: %s; %s takes one of %s", text, option, all);
        return false;
    }
    how->mode.file.direct = !strcmp(text, "none") || !strcmp(text, "directsync");
    how->mode.file.no_flush = !strcmp(text, "unsafe");
    how->writethrough = !strcmp(text, "writethrough") || !strcmp(text, "directsync");
    return true;
}

bool img_parse_aio(const char *option, const char *text, ImgOpen *how)
{
    static const char *const words[] = {"threads", "native", "io_uring", NULL};
    how->mode.file.native = !strcmp(text, "native");
    how->ring = !strcmp(text, "io_uring");
    return g_strv_contains(words, text) || bad_word(option, text, words);
}

bool img_parse_size(const char *option, const char *text, uint64_t *size)
{
    if (parse_size(text, 1, size) && *size <= INT64_MAX)
        return true;
    report_error("%s: '%s' is no size; write bytes, or use k, M, G, T, P or E", option, text);
    return false;
}

bool img_parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
                      uint64_t *number)
{
    if (parse_uint(text, number) && *number >= min && *number <= max)
        return true;
    report_error("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'", option, min, max,
                 text);
    return false;
}

bool img_parse_snapshot(const char *text, ImgOpen *how)
{
    static const char *const keys[] = {"snapshot.id", "snapshot.name", NULL};
    GError *error = NULL;
    if (!*text) {
        report_error("-l takes a snapshot's ID or name, or snapshot.id=ID,snapshot.name=NAME");
        return false;
    }
    if (!g_str_has_prefix(text, "snapshot.")) {
        how->mode.snapshot = text;
        return true;
    }
    g_autoptr(Options) options = options_parse("-l", text, NULL, keys, &error);
    if (!options)
        return !img_fail(error);
    how->snapshot_id = g_intern_string(options_get(options, keys[0]));
    how->snapshot_name = g_intern_string(options_get(options, keys[1]));
    return true;
}

/* ---- Names ---- */

/* The parts of a name that is a list of options. */
typedef struct Parts {
    ImgOpen how;
    const char *driver, *file_driver, *file;
    const char *config; /* of blkdebug */
    GPtrArray *rules;   /* of blkdebug: Options, whose name is the kind, a dot and a number */
} Parts;

static bool take_flag(const char *key, const char *value, bool *flag, GError **error)
{
    return parse_bool(value, flag) || fail(error, "%s=%s: must be on or off", key, value);
}

static bool take_bytes(const char *key, const char *value, uint64_t *bytes, GError **error)
{
    return parse_size(value, 1, bytes) || fail(error, "%s=%s: is no size", key, value);
}

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

/* One pair; `file.` before a key of the file's own is left out. */
static bool take_pair(Parts *p, const char *key, const char *value, GError **error)
{
    NodeMode *mode = &p->how.mode;
    bool of_file = g_str_has_prefix(key, "file.");
    const char *own = of_file ? key + 5 : key;
    bool flag;
    if (!strcmp(key, "driver"))
        p->driver = value;
    else if (!strcmp(key, "file.driver"))
        p->file_driver = value;
    else if (!strcmp(own, "filename") || !strcmp(key, "file.image.filename") ||
             !strcmp(key, "file.image"))
        p->file = value;
    else if (!strcmp(key, "file.config"))
        p->config = value;
    else if (g_str_has_prefix(key, "file.inject-error.") ||
             g_str_has_prefix(key, "file.set-state."))
        return take_rule(p, own, value, error);
    else if (!strcmp(key, "file.image.driver"))
        return !strcmp(value, "file") || fail(error, "%s=%s: there is 'file'", key, value);
    else if (!strcmp(own, "cache.direct"))
        return take_flag(key, value, &mode->file.direct, error);
    else if (!strcmp(own, "cache.no-flush"))
        return take_flag(key, value, &mode->file.no_flush, error);
    else if (!strcmp(own, "discard"))
        return take_discard(value, mode, error);
    else if (!strcmp(own, "force-share"))
        return take_flag(key, value, &mode->file.share, error);
    else if (!strcmp(own, "read-only"))
        return take_flag(key, value, &flag, error) &&
               (!flag || !mode->file.writable ||
                fail(error, "read-only=on: the command is going to write the image"));
    else if (!strcmp(key, "backing.file.filename") || !strcmp(key, "backing"))
        mode->backing = value;
    else if (!strcmp(key, "data-file.filename"))
        mode->data_name = value;
    else if (!strcmp(key, "key-secret") || !strcmp(key, "encrypt.key-secret"))
        mode->key_secret = value;
    else if (!strcmp(key, "backing.key-secret") || !strcmp(key, "backing.encrypt.key-secret"))
        mode->backing_key_secret = value;
    else if (!strcmp(key, "offset"))
        return take_bytes(key, value, &mode->raw_offset, error);
    else if (!strcmp(key, "size"))
        return take_bytes(key, value, &mode->raw_size, error);
    else if (!strcmp(key, "backing.driver"))
        mode->backing_format = value;
    else if ((strcmp(key, "backing.file.driver") && strcmp(key, "data-file.driver")) ||
             strcmp(value, "file"))
        return fail(error, "'%s' is unknown or not supported", key);
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
        return fail(error,
                    "file.driver=%s: there are 'file', 'host_device' and "
                    "'blkdebug'",
                    p->file_driver);
    if (p->driver)
        p->how.format = g_strv_contains(plain, p->driver) ? "raw" : p->driver;
    return true;
}

/* Opens the image to see which snapshot fits both ID and name. */
static const char *find_snapshot(const ImgOpen *how, const char *name, GError **error)
{
    ImgOpen plain = *how;
    const NodeSnapshot *s;
    const char *found = NULL;
    plain.snapshot_id = plain.snapshot_name = NULL;
    plain.mode.no_backing = true;
    BlkNode *node = img_open(&plain, name, error);
    if (!node)
        return NULL;
    for (unsigned i = 0; !found && node->fmt->snapshot && (s = node->fmt->snapshot(node, i)); i++)
        if ((!how->snapshot_id || !strcmp(s->id, how->snapshot_id)) &&
            (!how->snapshot_name || !strcmp(s->name, how->snapshot_name)))
            found = g_intern_string(s->id);
    node_abandon(node);
    if (!found)
        fail(error, "'%s' has no snapshot with%s%s%s%s%s", name, how->snapshot_id ? " ID " : "",
             how->snapshot_id ? how->snapshot_id : "",
             how->snapshot_id && how->snapshot_name ? " and" : "",
             how->snapshot_name ? " name " : "", how->snapshot_name ? how->snapshot_name : "");
    return found;
}

/* The file below a filter that fails requests; the rules hold from the beginning. */
static BlkNode *open_debugged(const Parts *p, GError **error)
{
    BlkFile *file = image_file_open(img_sched(), p->file, p->how.mode.file, error);
    if (file)
        file = blkdebug_open(file, p->config, error);
    for (unsigned i = 0; file && i < p->rules->len; i++) {
        Options *rule = p->rules->pdata[i];
        g_autofree char *kind = g_strdup(options_where(rule));
        *strchr(kind, '.') = 0;
        if (!blkdebug_add_rule(file, kind, rule, error)) {
            file_close(file);
            return NULL;
        }
    }
    return file ? node_open_file(file, p->how.format, &p->how.mode, error) : NULL;
}

static void free_rule(void *rule)
{
    options_free(rule);
}

static BlkNode *open_options(const ImgOpen *how, const char *name, GError **error)
{
    const char *key, *value;
    g_autoptr(Options) options = img_name_options(name, how->image_opts, error);
    g_autoptr(GPtrArray) rules = g_ptr_array_new_with_free_func(free_rule);
    Parts p = {.how = *how, .rules = rules};
    bool ok = options;
    for (unsigned i = 0; ok && options_nth(options, i, &key, &value); i++)
        ok = take_pair(&p, key, value, error);
    if (!ok || !settle_driver(&p, error))
        return NULL;
    if (p.file_driver && !strcmp(p.file_driver, "blkdebug"))
        return open_debugged(&p, error);
    return node_open(img_sched(), p.file, p.how.format, &p.how.mode, error);
}

static BlkNode *open_named(const ImgOpen *how, const char *name, GError **error)
{
    ImgOpen tool = *how;
    tool.mode.file.patient = true;
    tool.mode.file.native |= how->ring && how->mode.file.direct;
    if (how->snapshot_id || how->snapshot_name) {
        tool.mode.snapshot = find_snapshot(how, name, error);
        if (!tool.mode.snapshot)
            return NULL;
    }
    if (how->image_opts || g_str_has_prefix(name, "json:"))
        return open_options(&tool, name, error);
    return node_open(img_sched(), name, how->format, &tool.mode, error);
}

BlkNode *img_open(const ImgOpen *how, const char *name, GError **error)
{
    GError *reason = NULL;
    BlkNode *node = open_named(how, name, &reason);
    if (node)
        return node;
    bool told = g_str_has_prefix(reason->message, "Could not open");
    fail(error, "%s%s%s%s", told ? "" : "Could not open '", told ? "" : name,
         told ? "" : "': ", reason->message);
    g_error_free(reason);
    return NULL;
}

int img_close(BlkNode *node, int code)
{
    if (!node)
        return code;
    g_autofree char *name = g_strdup(node->name);
    int ret = node_close(node);
    if (ret)
        report_error("'%s' could not be written completely: %s", name, g_strerror(-ret));
    return ret ? 1 : code;
}

/* ---- Options ---- */

static void print_command_help(const Command *command)
{
    printf("usage: %s%s%s %s\n\n%s", report_program(), *command->name ? " " : "", command->name,
           command->synopsis, command->help);
}

int img_getopt(const Command *command, int argc, char **argv, const char *letters,
               const struct option *long_options)
{
    opterr = 0;
    int at = optind;
    const char *name = *command->name ? command->name : report_program();
    int c = getopt_long(argc, argv, letters, long_options, NULL);
    if (c == 'h') {
        print_command_help(command);
        return 'h';
    }
    const char *word = argv[at < argc ? at : argc - 1];
    bool letter = optopt > 0 && optopt < OPT_OBJECT;
    if (letter && (c == ':' || (c == '?' && strchr(letters, optopt))))
        report_error("%s: option '-%c' needs a value", name, optopt);
    else if (letter && c == '?')
        report_error("%s: unrecognized option '-%c'; see '%s%s%s --help'", name, optopt,
                     report_program(), *command->name ? " " : "", command->name);
    else if (c == '?' || c == ':')
        report_error("%s: unrecognized option '%s', or its value is missing; see '%s%s%s --help'",
                     name, word, report_program(), *command->name ? " " : "", command->name);
    return c == ':' ? '?' : c;
}

bool img_open_option(ImgOpen *how, int c, const char *value)
{
    GError *error = NULL;
    switch (c) {
    case 'f':
        how->format = value;
        return true;
    case 'U':
        how->mode.file.share = true;
        return true;
    case OPT_IMAGE_OPTS:
        how->image_opts = true;
        return true;
    case OPT_OBJECT:
        return secret_add("--object", value, &error) || !img_fail(error);
    default: /* img_getopt() said what is wrong */
        return false;
    }
}
