/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img check. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_check(int argc, char **argv);

const Command command_check = {
    .name = "check",
    .synopsis = "[--object OBJECT] [--image-opts] [-q] [-f FORMAT] [--output=human|json] "
                "[-r leaks|all] [-T CACHE] [-U] FILE",
    .help =
        "Looks for errors in an image's tables.  Ends with 0 if there are none, 2 if data may be\n"
        "damaged, 3 if only space is lost, 63 if the format has nothing to check, else 1.\n\n"
        "  -r leaks|all     mend lost space, or all that can be mended\n"
        "  -f FORMAT        do not guess the format\n"
        "  --output FORMAT  human (default) or json\n"
        "  -T CACHE         cache mode, as of -drive; it flushes what must be in order anyhow, so "
        "that\n"
        "                   writethrough is as writeback, and directsync as none\n"
        "  -U               look even if a program is writing it\n"
        "  -q               say nothing but errors\n",
    .run = run_check,
};

typedef struct CheckArgs {
    ImgOpen open;
    const char *file;
    unsigned fix;
    bool json, quiet;
} CheckArgs;

static void print_line(void *opaque, const char *line)
{
    const CheckArgs *args = opaque;
    if (!args->quiet)
        fprintf(stderr, "%s\n", line);
}

static void print_plural(uint64_t n, const char *what, const char *meaning)
{
    printf("\n%" PRIu64 " %s found on the image.\n%s\n", n, what, meaning);
}

static void print_human(const CheckResult *r)
{
    if (!(r->corruptions || r->leaks || r->check_errors))
        printf("No errors were found on the image.\n");
    if (r->corruptions)
        print_plural(r->corruptions, "errors were",
                     "Data may be corrupted, or further writes to the image may corrupt it.");
    if (r->leaks)
        print_plural(r->leaks, "leaked clusters were",
                     "This means waste of disk space, but no harm to data.");
    if (r->check_errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", r->check_errors);
    if (r->total && r->allocated)
        printf("%" PRIu64 "/%" PRIu64
               " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed "
               "clusters\n",
               r->allocated, r->total, (double)r->allocated * 100 / (double)r->total,
               (double)r->fragmented * 100 / (double)r->allocated,
               (double)r->compressed * 100 / (double)r->allocated);
    if (r->image_end)
        printf("Image end offset: %" PRIu64 "\n", r->image_end);
}

static void json_nonzero(Json *json, const char *key, uint64_t value)
{
    if (value)
        json_number(json, key, (int64_t)value);
}

static void print_json(const CheckArgs *args, const BlkNode *node, const CheckResult *r,
                       const CheckResult *before)
{
    Json json = {.text = g_string_new(NULL), .first = true};
    json_open(&json, NULL, '{');
    json_nonzero(&json, "image-end-offset", r->image_end);
    json_nonzero(&json, "total-clusters", r->total);
    json_number(&json, "check-errors", (int64_t)r->check_errors);
    json_nonzero(&json, "corruptions", r->corruptions);
    json_nonzero(&json, "leaks", r->leaks);
    json_nonzero(&json, "corruptions-fixed", before->corruptions_fixed);
    json_nonzero(&json, "leaks-fixed", before->leaks_fixed);
    json_nonzero(&json, "allocated-clusters", r->allocated);
    json_nonzero(&json, "fragmented-clusters", r->fragmented);
    json_nonzero(&json, "compressed-clusters", r->compressed);
    json_text(&json, "filename", args->file);
    json_text(&json, "format", node->fmt->name);
    json_close(&json, '}');
    printf("%s\n", json.text->str);
    g_string_free(json.text, TRUE);
}

/* Checks; after a repair checks again what it left. */
static int check(CheckArgs *args, BlkNode *node)
{
    CheckResult first = {0}, second = {0}, *result = &first;
    int ret = node->fmt->check(node, args->fix, &first, print_line, args);
    if (ret) {
        report_error("check of '%s' failed: %s", args->file, g_strerror(-ret));
        return 1;
    }
    if (first.corruptions_fixed || first.leaks_fixed) {
        if (!args->json && !args->quiet)
            printf("The following inconsistencies were found and repaired:\n\n"
                   "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
                   "Double checking the fixed image now...\n",
                   first.leaks_fixed, first.corruptions_fixed);
        result = &second;
        ret = node->fmt->check(node, 0, &second, print_line, args);
        if (ret) {
            report_error("check of '%s' failed: %s", args->file, g_strerror(-ret));
            return 1;
        }
    }
    if (args->json)
        print_json(args, node, result, &first);
    else if (!args->quiet)
        print_human(result);
    return result->check_errors  ? 1
           : result->corruptions ? EXIT_CORRUPT
           : result->leaks       ? EXIT_LEAKS
                                 : 0;
}

static int open_and_check(CheckArgs *args)
{
    GError *error = NULL;
    args->open.mode.no_backing = args->open.mode.repair = true;
    args->open.mode.file.writable = args->fix;
    BlkNode *node = img_open(&args->open, args->file, &error);
    if (!node)
        return img_fail(error);
    int code = EXIT_NO_CHECK;
    if (node->fmt->check)
        code = check(args, node);
    else
        report_error("This image format does not support checks");
    return img_close(node, code);
}

static bool parse_repair(const char *text, unsigned *fix)
{
    if (!strcmp(text, "leaks"))
        *fix = CHECK_FIX_LEAKS;
    else if (!strcmp(text, "all"))
        *fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
    else
        report_error("check: -r takes 'leaks' or 'all', not '%s'", text);
    return *fix;
}

static int run_check(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS, IMG_SHARE, IMG_OUTPUT, {"repair", required_argument, NULL, 'r'}, {0}};
    CheckArgs args = {0};
    int c;
    while ((c = img_getopt(&command_check, argc, argv, ":f:r:T:Uqh", long_options)) != -1) {
        bool ok;
        switch (c) {
        case 'r':
            ok = parse_repair(optarg, &args.fix);
            break;
        case OPT_OUTPUT:
            ok = img_parse_output(optarg, &args.json);
            break;
        case 'T':
            ok = img_parse_cache("-T", optarg, &args.open);
            break;
        case 'q':
            ok = args.quiet = true;
            break;
        default:
            ok = img_open_option(&args.open, c, optarg);
        }
        if (!ok)
            return c != 'h';
    }
    if (argc - optind != 1) {
        report_error("check: Expecting one image file name");
        return 1;
    }
    if (args.open.mode.file.share && args.fix) {
        report_error("check: -U and -r exclude each other: an image in use must not be repaired");
        return 1;
    }
    args.file = argv[optind];
    return open_and_check(&args);
}
