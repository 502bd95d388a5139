/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img resize. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/bytes.h"
#include "util/log.h"

static int run_resize(int argc, char **argv);

const Command command_resize = {
    .name = "resize",
    .synopsis = "[--object OBJECT] [--image-opts] [-f FORMAT] [--preallocation=MODE] [-q] "
                "[--shrink] FILE [+|-]SIZE",
    .help = "Changes the size that a guest sees.\n\n"
            "  SIZE                  the new one; with + or - so much more or less\n"
            "  -f FORMAT             do not guess the format\n"
            "  --shrink              allow it to become smaller: what lies behind is lost\n"
            "  --preallocation=MODE  of new room: off (default), metadata, falloc or full\n"
            "  -q                    say nothing but errors\n",
    .run = run_resize,
};

typedef struct ResizeArgs {
    ImgOpen open;
    const char *size;
    Preallocation how;
    bool shrink, quiet;
} ResizeArgs;

static bool new_size(const ResizeArgs *args, const BlkNode *node, uint64_t *size)
{
    char sign = *args->size;
    const char *digits = args->size + (sign == '+' || sign == '-');
    if (!img_parse_size("resize", digits, size))
        return false;
    if (sign == '+')
        *size += node->size;
    else if (sign == '-')
        *size = node->size - MIN(*size, node->size);
    if (*size)
        return true;
    report_error("New image size must be positive");
    return false;
}

static bool check_direction(const ResizeArgs *args, const BlkNode *node, uint64_t size)
{
    if (size >= node->size)
        return true;
    if (args->how != PREALLOC_OFF) {
        report_error("Preallocation can only be used for growing images");
        return false;
    }
    if (args->shrink)
        return true;
    report_error("Use the --shrink option to perform a shrink operation.");
    report_warn("Shrinking an image will delete all data beyond the shrunken image's end. Before "
                "performing such an operation, make sure there is no important data there.");
    return false;
}

static int resize(const ResizeArgs *args, BlkNode *node)
{
    GError *error = NULL;
    uint64_t size;
    if (!new_size(args, node, &size))
        return 1;
    if (size % 512 && node->fmt->alloc) {
        report_error("The new size must be a multiple of 512");
        return 1;
    }
    size = align_up(size, 512);
    if (!check_direction(args, node, size))
        return 1;
    if (!node_resize(node, size, args->how, &error))
        return img_fail(error);
    if (!args->quiet)
        printf("Image resized.\n");
    return 0;
}

enum { OPT_PREALLOCATION = OPT_OWN, OPT_SHRINK };

static bool take_preallocation(const char *text, Preallocation *how)
{
    for (unsigned i = 0; preallocation_words[i]; i++)
        if (!strcmp(text, preallocation_words[i])) {
            *how = (Preallocation)i;
            return true;
        }
    report_error("resize: --preallocation takes off, metadata, falloc or full, not '%s'", text);
    return false;
}

static bool take_option(ResizeArgs *args, int c, const char *value)
{
    switch (c) {
    case OPT_PREALLOCATION:
        return take_preallocation(value, &args->how);
    case OPT_SHRINK:
        return args->shrink = true;
    case 'q':
        return args->quiet = true;
    default:
        return img_open_option(&args->open, c, value);
    }
}

static int run_resize(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS,
        {"preallocation", required_argument, NULL, OPT_PREALLOCATION},
        {"shrink", no_argument, NULL, OPT_SHRINK},
        {0}};
    ResizeArgs args = {.open.mode = {.file = {.writable = true}, .discard = true}};
    GError *error = NULL;
    bool help = argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
    /* The size comes last, and -1G is no option. */
    if (argc >= 3 && !help)
        args.size = argv[--argc];
    int c;
    while ((c = img_getopt(&command_resize, argc, argv, ":f:qh", long_options)) != -1)
        if (!take_option(&args, c, optarg))
            return c != 'h';
    if (argc - optind != 1 || !args.size) {
        report_error("resize: give a file name and a size");
        return 1;
    }
    BlkNode *node = img_open(&args.open, argv[optind], &error);
    if (!node)
        return img_fail(error);
    return img_close(node, resize(&args, node));
}
