/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img convert: options; img-copy.c moves the data. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "img-copy.h"
#include "img-create.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

static int run_convert(int argc, char **argv);

const Command command_convert = {
    .name = "convert",
    .synopsis = "[-cnpqUW] [-f FORMAT] [-O FORMAT] [-B BACKING [-F FORMAT]] [-o OPTIONS] [-S SIZE] "
                "[-m N] [-t CACHE] [-T CACHE] FILE... OUTPUT",
    .help =
        "Copies an image, or several one after another, into a new one.\n\n"
        "  -f FORMAT   of the input; guessed if you do not say it\n"
        "  -O FORMAT   of the output: raw (default), qcow or qcow2\n"
        "  -o OPTIONS  as of create; '-o help' lists them\n"
        "  -B FILE     the output gets this backing file; only what the input's topmost image\n"
        "              holds itself is copied\n"
        "  -F FORMAT   the backing file's format\n"
        "  -c          compress\n"
        "  -n          the output exists: write into it\n"
        "  -S SIZE     runs of zeros at least this long take no space (4k); 0: none is looked for\n"
        "  -m N        work on N pieces at once, 1 to 64 (8)\n"
        "  -W          write them as they come, not in order\n"
        "  -t CACHE    cache mode of the output (unsafe), -T of the input (writeback)\n"
        "  -p          show progress; also shown if it takes long, on a terminal\n"
        "  -q          show none and say nothing\n"
        "  -U          read the input even if a program is writing it\n",
    .run = run_convert,
};

typedef struct ConvertArgs {
    const char *format, *out_format;
    Options *options;
    CreateSpec spec;
    HostFileMode source_mode, target_mode;
    bool existing, has_size;
    Copy copy;
} ConvertArgs;

/* ---- Images ---- */

static bool open_sources(ConvertArgs *args, char **files, int count, GError **error)
{
    NodeMode mode = {.file = args->source_mode};
    Copy *copy = &args->copy;
    copy->sources = g_ptr_array_new();
    for (int i = 0; i < count; i++) {
        BlkNode *node = node_open(img_sched(), files[i], args->format, &mode, error);
        if (!node)
            return false;
        g_ptr_array_add(copy->sources, node);
        copy->size += node->size;
    }
    return true;
}

static bool open_target(ConvertArgs *args, const char *file, GError **error)
{
    NodeMode mode = {.file = args->target_mode, .discard = true};
    Copy *copy = &args->copy;
    mode.file.writable = true;
    /* What is to be read below it comes from the input; the tool only writes. */
    mode.no_backing = !args->existing;
    copy->target = node_open(img_sched(), file, args->out_format, &mode, error);
    if (!copy->target)
        return false;
    if (copy->target->size < copy->size)
        return fail(error,
                    "'%s' is smaller (%" G_GUINT64_FORMAT
                    " bytes) than the input (%" G_GUINT64_FORMAT " bytes)",
                    file, copy->target->size, copy->size);
    if (copy->compress && !copy->target->fmt->compress)
        return fail(error, "format '%s' has no compression", copy->target->fmt->name);
    copy->target_has_backing = copy->target->backing_name;
    copy->target_is_zero = !args->existing && copy->target->file->sparse;
    return true;
}

static bool prepare(ConvertArgs *args, char **files, int count, GError **error)
{
    const char *out = files[count - 1];
    if (!open_sources(args, files, count - 1, error))
        return false;
    if (args->copy.only_top && args->copy.sources->len > 1)
        return fail(error, "a backing file (-B) and several inputs exclude each other");
    if (!args->existing) {
        if (!create_options_take(args->options, &args->spec, &args->has_size, error))
            return false;
        args->copy.only_top = args->spec.backing;
        if (!args->has_size)
            args->spec.size = args->copy.size;
        if (!image_create(img_sched(), out, args->out_format, &args->spec, true, false, error))
            return false;
    }
    return open_target(args, out, error);
}

static int convert(ConvertArgs *args, char **files, int count)
{
    GError *error = NULL;
    Copy *copy = &args->copy;
    int code = 0;
    if (!prepare(args, files, count, &error)) {
        code = img_fail(error);
    } else if (!copy_run(copy, &error)) {
        code = img_fail(error);
    }
    int ret = copy->target ? node_close(copy->target) : 0;
    if (ret && !code) {
        report_error("'%s' could not be written completely: %s", files[count - 1],
                     g_strerror(-ret));
        code = 1;
    }
    for (unsigned i = 0; copy->sources && i < copy->sources->len; i++)
        node_abandon(g_ptr_array_index(copy->sources, i));
    if (copy->sources)
        g_ptr_array_free(copy->sources, TRUE);
    options_free(args->options);
    return code;
}

/* ---- Options ---- */

static bool parse_workers(const char *text, unsigned *workers)
{
    uint64_t n;
    if (!parse_uint(text, &n) || n < 1 || n > MAX_WORKERS) {
        report_error("convert: -m takes a number from 1 to %u, not '%s'", MAX_WORKERS, text);
        return false;
    }
    *workers = (unsigned)n;
    return true;
}

static bool parse_sparse(const char *text, uint64_t *sparse)
{
    if (parse_size(text, 1, sparse) && !(*sparse % 512) && *sparse <= MAX_SPARSE)
        return true;
    report_error("convert: -S takes a multiple of 512 up to %u MiB, not '%s'", MAX_SPARSE >> 20,
                 text);
    return false;
}

/* One option; false after a message. */
static bool take_option(ConvertArgs *args, int c, const char *value, const char **help)
{
    GError *error = NULL;
    switch (c) {
    case 'f':
        args->format = value;
        return true;
    case 'O':
        args->out_format = value;
        return true;
    case 'B':
        args->spec.backing = value;
        return true;
    case 'F':
        args->spec.backing_format = value;
        return true;
    case 'o':
        if (!strcmp(value, "help") || !strcmp(value, "?"))
            *help = value;
        else if (!create_options_add(&args->options, value, &error))
            return !img_fail(error);
        return true;
    case 'S':
        return parse_sparse(value, &args->copy.sparse);
    case 'm':
        return parse_workers(value, &args->copy.workers);
    case 't':
        return img_parse_cache("-t", value, &args->target_mode);
    case 'T':
        return img_parse_cache("-T", value, &args->source_mode);
    case 'c':
        args->copy.compress = true;
        return true;
    case 'n':
        args->existing = true;
        return true;
    case 'W':
        args->copy.out_of_order = true;
        return true;
    case 'p':
        args->copy.progress = true;
        return true;
    case 'q':
        args->copy.quiet = true;
        return true;
    default:
        args->source_mode.share = c == 'U';
        return true;
    }
}

static int run_convert(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_HELP, {"force-share", no_argument, NULL, 'U'}, {0}};
    ConvertArgs args = {.out_format = "raw",
                        .target_mode = {.no_flush = true},
                        .copy = {.sparse = 4096, .workers = 8}};
    const char *help = NULL;
    int c, code;
    while ((c = img_getopt(&command_convert, argc, argv, ":f:O:B:F:o:S:m:t:T:cnWpqUh",
                           long_options)) != -1)
        if (c == 'h' || c == '?' || !take_option(&args, c, optarg, &help)) {
            options_free(args.options);
            return c != 'h';
        }
    if (help && create_options_help(help, args.out_format, &code))
        return code;
    if (argc - optind < 2) {
        report_error("convert: give an input and an output file");
        return 1;
    }
    if (args.existing && (args.options || args.spec.backing)) {
        report_error("convert: -n writes into an image that exists: -o and -B make no sense");
        return 1;
    }
    return convert(&args, argv + optind, argc - optind);
}
