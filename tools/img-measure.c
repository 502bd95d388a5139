/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img measure: what a new image would take. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img-create.h"
#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_measure(int argc, char **argv);

const Command command_measure = {
    .name = "measure",
    .synopsis = "[--output=human|json] [-O FORMAT] [-o OPTIONS] [--size N | [--object OBJECT] "
                "[--image-opts] [-f FORMAT] [-l SNAPSHOT] [-U] FILE]",
    .help = "Tells how large a new image's file would be: filled with another image's data, or\n"
            "empty; and if all of it were written.\n\n"
            "  -O FORMAT        of the new image (raw)\n"
            "  -o OPTIONS       as of create\n"
            "  --size N         bytes that the guest sees, if there is no input\n"
            "  -f FORMAT        of the input; guessed if you do not say it\n"
            "  -l SNAPSHOT      of the input's internal snapshot\n"
            "  --output FORMAT  human (default) or json\n"
            "  -U               look at the input even if a program is writing it\n",
    .run = run_measure,
};

typedef struct MeasureArgs {
    ImgOpen open;
    const char *out_format;
    Options *options;
    uint64_t size;
    bool has_size, json, help;
} MeasureArgs;

static void print_measure(const Measure *m, bool json_output)
{
    if (!json_output) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", m->required,
               m->fully_allocated);
        if (m->has_bitmaps)
            printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
        return;
    }
    Json json = {.text = g_string_new(NULL), .first = true};
    json_open(&json, NULL, '{');
    if (m->has_bitmaps)
        json_number(&json, "bitmaps", (int64_t)m->bitmaps);
    json_number(&json, "required", (int64_t)m->required);
    json_number(&json, "fully-allocated", (int64_t)m->fully_allocated);
    json_close(&json, '}');
    printf("%s\n", json.text->str);
    g_string_free(json.text, TRUE);
}

static int measure(MeasureArgs *args, BlkNode *source)
{
    GError *error = NULL;
    CreateSpec spec = {.size = args->size};
    bool has_size = args->has_size;
    Measure m;
    if (!create_options_take(args->options, &spec, &has_size, &error))
        return img_fail(error);
    if (source)
        spec.size = source->size;
    if (!image_measure(args->out_format, &spec, source, &m, &error))
        return img_fail(error);
    print_measure(&m, args->json);
    return 0;
}

enum { OPT_SIZE = OPT_OWN };

static bool take_option(MeasureArgs *args, int c, const char *value)
{
    GError *error = NULL;
    switch (c) {
    case 'O':
        args->out_format = value;
        return true;
    case 'o':
        if (create_options_want_help(value))
            args->help = true;
        else if (!create_options_add(&args->options, value, &error))
            return !img_fail(error);
        return true;
    case 'l':
        return img_parse_snapshot(value, &args->open);
    case OPT_OUTPUT:
        return img_parse_output(value, &args->json);
    case OPT_SIZE:
        return args->has_size = img_parse_size("measure: --size", value, &args->size);
    default:
        return img_open_option(&args->open, c, value);
    }
}

static int measure_file(MeasureArgs *args, const char *file)
{
    GError *error = NULL;
    if (!file && !args->has_size) {
        report_error("measure: give --size N or one file name");
        return 1;
    }
    if (!file)
        return measure(args, NULL);
    if (args->has_size) {
        report_error("--size N cannot be used together with a filename");
        return 1;
    }
    BlkNode *node = img_open(&args->open, file, &error);
    if (!node)
        return img_fail(error);
    int code = measure(args, node);
    node_abandon(node);
    return code;
}

static int run_measure(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS, IMG_SHARE, IMG_OUTPUT, {"size", required_argument, NULL, OPT_SIZE}, {0}};
    MeasureArgs args = {.out_format = "raw"};
    int c;
    while ((c = img_getopt(&command_measure, argc, argv, ":f:l:O:o:Uh", long_options)) != -1)
        if (!take_option(&args, c, optarg)) {
            options_free(args.options);
            return c != 'h';
        }
    if (args.help) {
        options_free(args.options);
        return create_options_help(args.out_format);
    }
    if (argc - optind > 1) {
        report_error("measure: Expecting one image file name");
        return 1;
    }
    int code = measure_file(&args, argv[optind]);
    options_free(args.options);
    return code;
}
