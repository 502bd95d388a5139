/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img compact: makes an image's file as small as can be, in place. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "img-extent.h"
#include "util/error.h"
#include "util/log.h"

#define PIECE_BYTES (2u << 20)

static int run_compact(int argc, char **argv);

const Command command_compact = {
    .name = "compact",
    .synopsis = "[--object OBJECT] [--image-opts] [-f FORMAT] [-t CACHE] [-z] [-p] [-q] FILE",
    .help =
        "Moves an image's data down into free room of its file and cuts the end off: of qcow,\n"
        "qcow2, vdi, vhdx, dynamic vpc and monolithicSparse vmdk images.  A power cut in the\n"
        "middle harms nothing.  Zeros of a raw image become holes.\n\n"
        "  -z         also give up clusters that hold only zeros: qcow2; the others' are in any\n"
        "             case, if no backing file would show through\n"
        "  -f FORMAT  do not guess the format\n"
        "  -t CACHE   cache mode, as of -drive; it flushes what must be in order anyhow, so that\n"
        "             writethrough is as writeback, and directsync as none\n"
        "  -p         show progress; also shown if it takes long, on a terminal\n"
        "  -q         say nothing but errors\n",
    .run = run_compact,
};

typedef struct CompactArgs {
    ImgOpen open;
    bool zeros, progress, quiet;
} CompactArgs;

/* ---- Zeros ---- */

static int trim_piece(BlkNode *node, uint64_t offset, uint64_t bytes, uint8_t *data)
{
    struct iovec iov = {data, bytes};
    int ret = node_read(node, offset, (IoBuf){&iov, 1, 0}, bytes);
    for (uint64_t at = 0; at < bytes && !ret;) {
        uint64_t n = MIN(bytes - at, node->cluster), zeros = 0;
        while (at + zeros < bytes && buffer_is_zero(data + at + zeros, n)) {
            zeros += n;
            n = MIN(bytes - at - zeros, node->cluster);
        }
        if (zeros)
            ret = node_write_zeroes(node, offset + at, zeros, ZERO_MAY_UNMAP);
        at += MAX(zeros, n);
    }
    return ret;
}

/* Every cluster of data that reads as zeros becomes one that takes no room. */
static int trim_zeros(BlkNode *node)
{
    uint8_t *data = block_alloc(PIECE_BYTES);
    int ret = data ? 0 : -ENOMEM;
    for (uint64_t at = 0; at < node->size && !ret;) {
        RangeKind kind;
        uint64_t bytes = node->size - at;
        ret = img_range(node, at, &bytes, SCOPE_TOP, &kind);
        bytes = kind == RANGE_DATA ? MIN(bytes, PIECE_BYTES) : bytes;
        if (!ret && kind == RANGE_DATA)
            ret = trim_piece(node, at, bytes, data);
        at += bytes;
        progress_show(at, node->size);
    }
    free(data);
    return ret ? ret : node_flush(node);
}

/* ---- The whole ---- */

static bool compact(const CompactArgs *args, BlkNode *node, GError **error)
{
    NodeProgress tell = {img_progress_tell, NULL};
    /* The others look for zeros in any case.  A format that cannot zero would write them. */
    int ret = args->zeros && node->fmt->discard && node->fmt->zero && node->fmt->alloc
                  ? trim_zeros(node)
                  : 0;
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot look for zeros", node->name);
    return node_compact(node, &tell, error);
}

/* A raw image's file keeps its length. */
static uint64_t taken(const BlkNode *node)
{
    int64_t bytes = node->fmt->alloc ? -1 : node_allocated(node);
    return bytes < 0 ? node->file->size : (uint64_t)bytes;
}

static int compact_file(CompactArgs *args, const char *file)
{
    GError *error = NULL;
    args->open.mode.file.writable = args->open.mode.discard = true;
    BlkNode *node = img_open(&args->open, file, &error);
    if (!node)
        return img_fail(error);
    uint64_t before = taken(node);
    progress_begin(args->progress, args->quiet);
    bool ok = compact(args, node, &error);
    progress_end(ok);
    g_autofree char *old = format_size_short(before), *new = format_size_short(taken(node));
    int code = img_close(node, ok ? 0 : img_fail(error));
    if (!code && !args->quiet)
        printf("Image compacted: %s before, %s now.\n", old, new);
    return code;
}

static bool take_option(CompactArgs *args, int c, const char *value)
{
    switch (c) {
    case 't':
        return img_parse_cache("-t", value, &args->open);
    case 'z':
        return args->zeros = true;
    case 'p':
        return args->progress = true;
    case 'q':
        return args->quiet = true;
    default:
        return img_open_option(&args->open, c, value);
    }
}

static int run_compact(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS, {"zeros", no_argument, NULL, 'z'}, {0}};
    CompactArgs args = {0};
    int c;
    while ((c = img_getopt(&command_compact, argc, argv, ":f:t:zpqh", long_options)) != -1)
        if (!take_option(&args, c, optarg))
            return c != 'h';
    progress_listen();
    if (argc - optind != 1) {
        report_error("compact: Expecting one image file name");
        return 1;
    }
    return compact_file(&args, argv[optind]);
}
