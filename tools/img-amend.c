/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img amend. */
#include <stdio.h>
#include <string.h>

#include "img-create.h"
#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_amend(int argc, char **argv);

const Command command_amend = {
    .name = "amend",
    .synopsis = "[--object OBJECT] [--image-opts] [-p] [-q] [-f FORMAT] [-t CACHE] [--force] "
                "-o OPTIONS FILE",
    .help =
        "Changes what was said when an image was made.\n\n"
        "  -o OPTIONS  key=value,...; '-o help' lists them for a format\n"
        "  -f FORMAT   do not guess the format\n"
        "  --force     even if something is lost by it\n"
        "  -t CACHE    cache mode, as of -drive; it flushes what must be in order anyhow, so that\n"
        "              writethrough is as writeback, and directsync as none\n"
        "  -p          show progress; also shown if it takes long, on a terminal\n"
        "  -q          say nothing but errors\n",
    .run = run_amend,
};

typedef struct AmendArgs {
    ImgOpen open;
    Options *options;
    bool help, progress, quiet, force;
} AmendArgs;

static int print_options(const BlkFormat *fmt)
{
    if (!fmt->amend_options) {
        report_error("format '%s' has no options that can be changed", fmt->name);
        return 1;
    }
    printf("Amend options for '%s':\n", fmt->name);
    for (const CreateOption *o = fmt->amend_options; o->name; o++)
        printf("  %-22s %s\n", o->name, o->help);
    return 0;
}

static int amend(const AmendArgs *args, BlkNode *node)
{
    GError *error = NULL;
    NodeProgress tell = {img_progress_tell, NULL};
    progress_begin(args->progress, args->quiet);
    bool ok = node_amend(node, args->options, args->force, &tell, &error);
    progress_end(ok);
    return ok ? 0 : img_fail(error);
}

static int amend_file(AmendArgs *args, const char *file)
{
    GError *error = NULL;
    if (args->help && args->open.format) {
        const BlkFormat *fmt = format_find(args->open.format, &error);
        return fmt ? print_options(fmt) : img_fail(error);
    }
    if (!file) {
        report_error("amend: Expecting one image file name");
        return 1;
    }
    args->open.mode.file.writable = !args->help;
    BlkNode *node = img_open(&args->open, file, &error);
    if (!node)
        return img_fail(error);
    return img_close(node, args->help ? print_options(node->fmt) : amend(args, node));
}

enum { OPT_FORCE = OPT_OWN };

static bool take_option(AmendArgs *args, int c, const char *value)
{
    GError *error = NULL;
    switch (c) {
    case 'o':
        if (create_options_want_help(value))
            return args->help = true;
        return create_options_add(&args->options, value, &error) || !img_fail(error);
    case 't':
        return img_parse_cache("-t", value, &args->open);
    case 'p':
        return args->progress = true;
    case 'q':
        return args->quiet = true;
    case OPT_FORCE:
        return args->force = true;
    default:
        return img_open_option(&args->open, c, value);
    }
}

static int run_amend(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS, {"force", no_argument, NULL, OPT_FORCE}, {0}};
    AmendArgs args = {0};
    int code = 1, c;
    while ((c = img_getopt(&command_amend, argc, argv, ":o:f:t:pqh", long_options)) != -1)
        if (!take_option(&args, c, optarg)) {
            options_free(args.options);
            return c != 'h';
        }
    progress_listen();
    if (!args.options && !args.help)
        report_error("Must specify options (-o)");
    else if (argc - optind > 1)
        report_error("amend: Expecting one image file name");
    else
        code = amend_file(&args, argv[optind]);
    options_free(args.options);
    return code;
}
