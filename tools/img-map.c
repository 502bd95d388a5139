/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img map: where each part of an image lies. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "img-extent.h"
#include "util/error.h"
#include "util/log.h"

static int run_map(int argc, char **argv);

const Command command_map = {
    .name = "map",
    .synopsis = "[--object OBJECT] [--image-opts] [-f FORMAT] [-s OFFSET] [-l LENGTH] "
                "[--output=human|json] [-U] FILE",
    .help = "Shows where an image and its backing files hold data.\n\n"
            "  -f FORMAT                do not guess the format\n"
            "  -s, --start-offset=OFFSET  begin there\n"
            "  -l, --max-length=LENGTH    show no more than that\n"
            "  --output FORMAT          human (default): data only; or json: all of it\n"
            "  -U                       look even if a program is writing it\n",
    .run = run_map,
};

typedef struct MapArgs {
    ImgOpen open;
    uint64_t start, length;
    bool json, has_length;
} MapArgs;

/* What one line tells. */
typedef struct Part {
    uint64_t start, bytes, host;
    unsigned depth;
    bool present, zero, data, has_host;
    const BlkFile *file;
} Part;

static int look(BlkNode *node, uint64_t start, uint64_t bytes, Part *p)
{
    Extent e;
    unsigned depth;
    int ret = img_extent(node, start, bytes, &e, &depth);
    if (ret)
        return ret;
    *p = (Part){.start = start,
                .bytes = e.bytes,
                .host = e.host,
                .depth = depth,
                .present = e.kind != EXTENT_UNALLOCATED,
                .file = extent_file(&e)};
    p->data = img_extent_is_data(&e);
    p->has_host = img_extent_has_host(&e);
    p->zero = img_extent_is_zero(&e);
    /* Room that was reserved and never written. */
    if (e.node->fmt->alloc && img_file_is_sparse(e.node))
        p->zero |= img_extent_cut_hole(&e);
    p->bytes = e.bytes;
    return 0;
}

static bool continues(const Part *a, const Part *b)
{
    return a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->depth == b->depth && a->file == b->file && a->has_host == b->has_host &&
           (!a->has_host || a->host + a->bytes == b->host);
}

static void print_json(const Part *p, bool first)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           first ? "" : ",\n", p->start, p->bytes, p->depth, p->present ? "true" : "false",
           p->zero ? "true" : "false", p->data ? "true" : "false");
    if (p->has_host)
        printf(", \"offset\": %" PRIu64, p->host);
    printf("}");
}

static bool print_human(const Part *p)
{
    if (!p->data || p->zero)
        return true;
    if (!p->has_host) {
        report_error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", p->start, p->bytes, p->host,
           p->file->name);
    return true;
}

static bool print_part(const MapArgs *args, const Part *p, bool first)
{
    if (!args->json)
        return print_human(p);
    print_json(p, first);
    return true;
}

static int map(const MapArgs *args, BlkNode *node)
{
    Part run = {0};
    bool first = true, ok = true;
    uint64_t end = node->size;
    int ret = 0;
    if (args->has_length)
        end = MIN(end, args->start + args->length);
    printf(args->json ? "[" : "%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    for (uint64_t at = args->start; at < end && ok;) {
        Part p;
        ret = look(node, at, end - at, &p);
        if (ret) {
            report_error("Failed to read image metadata: %s", g_strerror(-ret));
            return 1;
        }
        at += p.bytes;
        if (run.bytes && continues(&run, &p)) {
            run.bytes += p.bytes;
            continue;
        }
        if (run.bytes) {
            ok = print_part(args, &run, first);
            first = false;
        }
        run = p;
    }
    if (run.bytes && ok)
        ok = print_part(args, &run, first);
    if (args->json)
        printf("]\n");
    return !ok;
}

static int run_map(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS,
                                                 IMG_SHARE,
                                                 IMG_OUTPUT,
                                                 {"start-offset", required_argument, NULL, 's'},
                                                 {"max-length", required_argument, NULL, 'l'},
                                                 {0}};
    MapArgs args = {0};
    GError *error = NULL;
    int c;
    while ((c = img_getopt(&command_map, argc, argv, ":f:s:l:Uh", long_options)) != -1) {
        bool ok;
        switch (c) {
        case OPT_OUTPUT:
            ok = img_parse_output(optarg, &args.json);
            break;
        case 's':
            ok = img_parse_size("map: --start-offset", optarg, &args.start);
            break;
        case 'l':
            ok = args.has_length = img_parse_size("map: --max-length", optarg, &args.length);
            break;
        default:
            ok = img_open_option(&args.open, c, optarg);
        }
        if (!ok)
            return c != 'h';
    }
    if (argc - optind != 1) {
        report_error("map: Expecting one image file name");
        return 1;
    }
    BlkNode *node = img_open(&args.open, argv[optind], &error);
    if (!node)
        return img_fail(error);
    return img_close(node, map(&args, node));
}
