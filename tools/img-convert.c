/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img convert: options; img-copy.c moves the data. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "img-copy.h"
#include "img-create.h"
#include "util/error.h"
#include "util/log.h"

#define MAX_ASKED 16 /* workers that -m takes */

static int run_convert(int argc, char **argv);

const Command command_convert = {
    .name = "convert",
    .synopsis =
        "[--object OBJECT] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps "
        "[--skip-broken-bitmaps]] [-cCnpqUW] [-f FORMAT] [-O FORMAT] [-B BACKING -F FORMAT] "
        "[-o OPTIONS] [-l SNAPSHOT] [-S SIZE] [-r RATE] [-m N] [-t CACHE] [-T CACHE] [--salvage] "
        "FILE... OUTPUT",
    .help =
        "Copies an image, or several one after another, into a new one.\n\n"
        "  -f FORMAT   of the input; guessed if you do not say it\n"
        "  -O FORMAT   of the output (raw)\n"
        "  -o OPTIONS  as of create; '-o help' lists them\n"
        "  -B FILE     the output gets this backing file; only what the input's topmost image\n"
        "              holds itself is copied; with -n: the output has it already\n"
        "  -F FORMAT   the backing file's format\n"
        "  -c          compress, on all processors\n"
        "  -C          have the host copy data by itself, where it can: file systems that share\n"
        "              blocks need no room for it; neither -c nor -S\n"
        "  -n          the output exists: write into it\n"
        "  -l SNAPSHOT  copy an internal snapshot, by ID or name\n"
        "  -S SIZE     runs of zeros at least this long take no space (4k); 0: none is looked for\n"
        "  -m N        work on N pieces at once, 1 to 16 (8; more with -c on many processors)\n"
        "  -W          write them as they come, not in order\n"
        "  -r RATE     bytes a second at most\n"
        "  -t CACHE    cache mode of the output (unsafe), -T of the input (writeback)\n"
        "  --target-is-zero   with -n: the output reads as zeros already\n"
        "  --target-image-opts  the output is a list of options; needs -n\n"
        "  --bitmaps   copy the input's persistent bitmaps, too; --skip-broken-bitmaps leaves out\n"
        "              those that were not stored\n"
        "  --salvage   what cannot be read becomes zeros, with a warning\n"
        "  -p          show progress; also shown if it takes long, on a terminal\n"
        "  -q          show none and say nothing\n"
        "  -U          read the input even if a program is writing it\n",
    .run = run_convert,
};

typedef struct ConvertArgs {
    ImgOpen source, target; /* target.format: -O */
    Options *options;
    CreateSpec spec;
    bool existing, has_size, target_is_zero, bitmaps, skip_broken, workers_given, sparse_given;
    Copy copy;
} ConvertArgs;

/* ---- Images ---- */

static bool open_sources(ConvertArgs *args, char **files, int count, GError **error)
{
    Copy *copy = &args->copy;
    copy->sources = g_ptr_array_new();
    for (int i = 0; i < count; i++) {
        BlkNode *node = img_open(&args->source, files[i], error);
        if (!node)
            return false;
        g_ptr_array_add(copy->sources, node);
        copy->size += node->size;
    }
    return true;
}

static bool check_target(const Copy *copy, const char *file, GError **error)
{
    if (copy->target->size < copy->size)
        return fail(error,
                    "output file is smaller than input file: '%s' has %" G_GUINT64_FORMAT
                    " bytes, the input %" G_GUINT64_FORMAT,
                    file, copy->target->size, copy->size);
    if (copy->compress && !copy->target->fmt->compress)
        return fail(error, "Compression not supported for this file format: '%s'",
                    copy->target->fmt->name);
    return true;
}

/* The secret that a new image was locked with. */
static const char *created_secret(const Options *options)
{
    if (!options)
        return NULL;
    const char *secret = options_get(options, "key-secret");
    return secret ? secret : options_get(options, "encrypt.key-secret");
}

static bool open_target(ConvertArgs *args, const char *file, GError **error)
{
    ImgOpen how = args->target;
    Copy *copy = &args->copy;
    how.mode.file.writable = how.mode.discard = true;
    /* What is to be read below it comes from the input; the tool only writes. */
    how.mode.no_backing = !args->existing;
    how.mode.key_secret = created_secret(args->options);
    copy->target = img_open(&how, file, error);
    if (!copy->target || !check_target(copy, file, error))
        return false;
    copy->writethrough = how.writethrough;
    copy->compress |= copy->target->compressed_only;
    copy->target_has_backing = copy->target->backing_name || args->spec.backing;
    if (args->target_is_zero && copy->target_has_backing)
        return fail(error, "Cannot use --target-is-zero when the destination image has a backing "
                           "file");
    copy->target_is_zero = args->existing ? args->target_is_zero
                                          : copy->target->file->sparse && !copy->target->garbage;
    return true;
}

static bool check_inputs(ConvertArgs *args, GError **error)
{
    const Copy *copy = &args->copy;
    const BlkNode *first = g_ptr_array_index(copy->sources, 0);
    if (copy->scope == SCOPE_TOP && copy->sources->len > 1)
        return fail(error, "a backing file (-B) and several inputs exclude each other");
    if (args->bitmaps && copy->sources->len > 1)
        return fail(error, "--bitmaps and several inputs exclude each other");
    if (args->bitmaps && !first->fmt->bitmap)
        return fail(error, "--bitmaps: format '%s' of the input has no bitmaps", first->fmt->name);
    return true;
}

static bool prepare(ConvertArgs *args, char **files, int count, GError **error)
{
    const char *out = files[count - 1];
    if (!open_sources(args, files, count - 1, error))
        return false;
    if (!create_options_take(args->options, &args->spec, &args->has_size, error))
        return false;
    if (args->spec.backing)
        args->copy.scope = SCOPE_TOP;
    if (!check_inputs(args, error))
        return false;
    if (!args->existing) {
        if (args->has_size && args->spec.size < args->copy.size)
            report_warn("size=%" G_GUINT64_FORMAT " is less than the input has: the output gets "
                        "all its %" G_GUINT64_FORMAT " bytes",
                        args->spec.size, args->copy.size);
        args->spec.size = MAX(args->spec.size, args->copy.size);
        if (!image_create(img_sched(), out, args->target.format, &args->spec, true, false, error))
            return false;
    }
    return open_target(args, out, error);
}

/* The bitmaps that make sense; a broken one is an error unless it may be skipped. */
static bool copy_bitmaps(const ConvertArgs *args, GError **error)
{
    BlkNode *from = g_ptr_array_index(args->copy.sources, 0), *to = args->copy.target;
    const NodeBitmap *b;
    for (unsigned n = 0; (b = from->fmt->bitmap(from, n)); n++) {
        if (b->inconsistent && args->skip_broken) {
            report_warn("Skipping inconsistent bitmap '%s'", b->name);
            continue;
        }
        if (!node_bitmap_add(to, b->name, b->granularity, b->enabled, error) ||
            !node_bitmap_merge(to, b->name, from, b->name, error))
            return fail_prefix(error, "Failed to populate bitmap %s", b->name);
    }
    return true;
}

static int convert(ConvertArgs *args, char **files, int count)
{
    GError *error = NULL;
    Copy *copy = &args->copy;
    bool ok = prepare(args, files, count, &error) && copy_run(copy, &error) &&
              (!args->bitmaps || copy_bitmaps(args, &error));
    int code = img_close(copy->target, ok ? 0 : img_fail(error));
    for (unsigned i = 0; copy->sources && i < copy->sources->len; i++)
        node_abandon(g_ptr_array_index(copy->sources, i));
    if (copy->sources)
        g_ptr_array_free(copy->sources, TRUE);
    return code;
}

/* ---- Options ---- */

static bool parse_sparse(const char *text, uint64_t *sparse)
{
    if (parse_size(text, 1, sparse) && !(*sparse % 512) && *sparse <= MAX_SPARSE)
        return true;
    report_error("convert: -S takes a multiple of 512 up to %u MiB, not '%s'", MAX_SPARSE >> 20,
                 text);
    return false;
}

static bool parse_workers(ConvertArgs *args, const char *text)
{
    uint64_t n;
    args->workers_given = img_parse_number("convert: -m", text, 1, MAX_ASKED, &n);
    args->copy.workers = (unsigned)n;
    return args->workers_given;
}

enum { OPT_TARGET_OPTS = OPT_OWN, OPT_TARGET_ZERO, OPT_BITMAPS, OPT_SKIP_BROKEN, OPT_SALVAGE };

static bool take_long_option(ConvertArgs *args, int c, const char *value)
{
    switch (c) {
    case OPT_TARGET_OPTS:
        return args->target.image_opts = true;
    case OPT_TARGET_ZERO:
        return args->target_is_zero = true;
    case OPT_BITMAPS:
        return args->bitmaps = true;
    case OPT_SKIP_BROKEN:
        return args->skip_broken = true;
    case OPT_SALVAGE:
        return args->copy.salvage = true;
    default:
        return img_open_option(&args->source, c, value);
    }
}

/* One option; false after a message. */
static bool take_option(ConvertArgs *args, int c, const char *value, bool *help)
{
    GError *error = NULL;
    switch (c) {
    case 'O':
        args->target.format = value;
        return true;
    case 'B':
        args->spec.backing = value;
        return true;
    case 'F':
        args->spec.backing_format = value;
        return true;
    case 'o':
        if (create_options_want_help(value))
            *help = true;
        else if (!create_options_add(&args->options, value, &error))
            return !img_fail(error);
        return true;
    case 'l':
        return img_parse_snapshot(value, &args->source);
    case 'S':
        return args->sparse_given = parse_sparse(value, &args->copy.sparse);
    case 'm':
        return parse_workers(args, value);
    case 'r':
        return img_parse_size("convert: -r", value, &args->copy.rate);
    case 't':
        return img_parse_cache("-t", value, &args->target);
    case 'T':
        return img_parse_cache("-T", value, &args->source);
    case 'c':
        return args->copy.compress = true;
    case 'C':
        return args->copy.offload = true;
    case 'n':
        return args->existing = true;
    case 'W':
        return args->copy.out_of_order = true;
    case 'p':
        return args->copy.progress = true;
    case 'q':
        return args->copy.quiet = true;
    default:
        return take_long_option(args, c, value);
    }
}

static const char *contradiction(const ConvertArgs *args)
{
    if (args->existing && args->options)
        return "-o has no effect when skipping image creation (-n)";
    if (args->target.image_opts && !args->existing)
        return "--target-image-opts requires use of -n flag";
    if (args->target_is_zero && !args->existing)
        return "--target-is-zero requires use of -n flag";
    if (args->skip_broken && !args->bitmaps)
        return "Use of --skip-broken-bitmaps requires --bitmaps";
    if (args->copy.offload && args->copy.compress)
        return "Cannot enable copy offloading when -c is used";
    if (args->copy.offload && args->sparse_given)
        return "Cannot enable copy offloading when -S is used";
    if (args->copy.offload && args->copy.salvage)
        return "Cannot use copy offloading in salvaging mode";
    return NULL;
}

static int convert_files(ConvertArgs *args, bool help, char **files, int count)
{
    if (help)
        return create_options_help(args->target.format);
    if (count < 2) {
        report_error("convert: give an input and an output file");
        return 1;
    }
    const char *wrong = contradiction(args);
    if (wrong) {
        report_error("%s", wrong);
        return 1;
    }
    if (args->copy.compress && !args->workers_given)
        args->copy.workers = CLAMP(2 * g_get_num_processors(), args->copy.workers, MAX_WORKERS);
    return convert(args, files, count);
}

static int run_convert(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS,
        IMG_SHARE,
        {"target-image-opts", no_argument, NULL, OPT_TARGET_OPTS},
        {"target-is-zero", no_argument, NULL, OPT_TARGET_ZERO},
        {"bitmaps", no_argument, NULL, OPT_BITMAPS},
        {"skip-broken-bitmaps", no_argument, NULL, OPT_SKIP_BROKEN},
        {"salvage", no_argument, NULL, OPT_SALVAGE},
        {0}};
    ConvertArgs args = {.target = {.format = "raw", .mode.file.no_flush = true},
                        .copy = {.sparse = 4096, .workers = 8}};
    bool help = false;
    int c;
    while ((c = img_getopt(&command_convert, argc, argv, ":f:O:B:F:o:l:S:m:r:t:T:cCnWpqUh",
                           long_options)) != -1)
        if (!take_option(&args, c, optarg, &help)) {
            options_free(args.options);
            return c != 'h';
        }
    progress_listen();
    int code = convert_files(&args, help, argv + optind, argc - optind);
    options_free(args.options);
    return code;
}
