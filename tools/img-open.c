/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what the command line names. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/blkdebug.h"
#include "block/secret.h"
#include "img-parts.h"
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

static BlkNode *open_parts(const Parts *p, GError **error)
{
    bool debug = p->file_driver && !strcmp(p->file_driver, "blkdebug");
    BlkNode *node = debug ? open_debugged(p, error)
                          : node_open(img_sched(), p->file, p->how.format, &p->how.mode, error);
    if (!node || parts_check_encryption(p, node, error))
        return node;
    node_abandon(node);
    return NULL;
}

static BlkNode *open_options(const ImgOpen *how, const char *name, GError **error)
{
    g_autoptr(Options) options = img_name_options(name, how->image_opts, error);
    g_autoptr(GPtrArray) rules = g_ptr_array_new_with_free_func(free_rule);
    Parts p = {.how = *how, .rules = rules};
    bool ok = options && parts_read(&p, options, error);
    BlkNode *node = ok ? open_parts(&p, error) : NULL;
    parts_clear(&p);
    return node;
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
