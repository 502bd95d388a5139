/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img dd: a part of an image into a new one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img-bytes.h"
#include "img-copy.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define CHUNK (1u << 20)

static int run_dd(int argc, char **argv);

const Command command_dd = {
    .name = "dd",
    .synopsis = "[--object OBJECT] [--image-opts] [-U] [-f FORMAT] [-O FORMAT] [bs=BYTES] "
                "[count=N] [skip=N] if=FILE of=FILE",
    .help = "Copies a part of an image into a new one.\n\n"
            "  -f FORMAT  of the input; guessed if you do not say it\n"
            "  -O FORMAT  of the output (raw)\n"
            "  bs=BYTES   size of a block (512)\n"
            "  count=N    copy N blocks, not all\n"
            "  skip=N     leave out N blocks at the beginning\n"
            "  if=FILE    the input\n"
            "  of=FILE    the output\n"
            "  -U         read the input even if a program is writing it\n",
    .run = run_dd,
};

typedef struct Dd {
    ImgOpen open;
    const char *in, *out, *out_format;
    uint64_t block, count, skip;
    bool has_count;
    uint64_t start, size; /* bytes */
} Dd;

/* Where the input is not in step with the output's sectors. */
static int copy_bytes(const Dd *dd, BlkNode *in, BlkNode *out)
{
    uint8_t *data = block_alloc(CHUNK);
    int ret = data ? 0 : -ENOMEM;
    for (uint64_t at = 0; at < dd->size && !ret; at += CHUNK) {
        uint64_t n = MIN(dd->size - at, CHUNK), padded = align_up(n, 512);
        struct iovec iov = {data, padded};
        IoBuf buf = {&iov, 1, 0};
        memset(data, 0, padded);
        ret = bytes_read(in, dd->start + at, buf, n);
        if (!ret && !buffer_is_zero(data, padded))
            ret = node_write(out, at, buf, padded);
    }
    free(data);
    return ret;
}

static bool copy_image(const Dd *dd, BlkNode *in, BlkNode *out, GError **error)
{
    if ((dd->start | dd->size) & 511) {
        int ret = copy_bytes(dd, in, out);
        return !ret || fail_errno(error, -ret, "cannot copy '%s' to '%s'", dd->in, dd->out);
    }
    g_autoptr(GPtrArray) sources = g_ptr_array_new();
    g_ptr_array_add(sources, in);
    Copy copy = {.sources = sources,
                 .target = out,
                 .start = dd->start,
                 .size = dd->size,
                 .sparse = 4096,
                 .workers = 8,
                 .target_is_zero = out->file->sparse};
    return copy_run(&copy, error);
}

static int dd_images(Dd *dd, BlkNode *in)
{
    GError *error = NULL;
    ImgOpen target = {.format = dd->out_format, .mode.file = {.writable = true, .no_flush = true}};
    uint64_t all = dd->has_count ? MIN(in->size, dd->start + dd->size) : in->size;
    if (dd->start > in->size) {
        report_error("%s: cannot skip to specified offset", dd->in);
        all = dd->start;
    }
    dd->size = all - dd->start;
    CreateSpec spec = {.size = align_up(dd->size, 512)};
    if (!image_create(img_sched(), dd->out, dd->out_format, &spec, true, false, &error))
        return img_fail(error);
    BlkNode *out = img_open(&target, dd->out, &error);
    if (!out)
        return img_fail(error);
    int code = copy_image(dd, in, out, &error) ? 0 : img_fail(error);
    return img_close(out, code);
}

/* ---- Operands ---- */

static bool take_number(const char *what, const char *text, uint64_t most, uint64_t *number)
{
    if (parse_size(text, 1, number) && *number <= most)
        return true;
    report_error("invalid number: '%s' (%s)", text, what);
    return false;
}

static bool take_operand(Dd *dd, const char *text)
{
    const char *value = strchr(text, '=');
    g_autofree char *key = value ? g_strndup(text, (size_t)(value - text)) : g_strdup(text);
    value = value ? value + 1 : "";
    if (!strcmp(key, "if"))
        dd->in = value;
    else if (!strcmp(key, "of"))
        dd->out = value;
    else if (!strcmp(key, "count"))
        return dd->has_count = take_number("count", value, INT64_MAX, &dd->count);
    else if (!strcmp(key, "skip"))
        return take_number("skip", value, INT64_MAX, &dd->skip);
    else if (strcmp(key, "bs"))
        return report_error("unrecognized operand %s", key), false;
    else if (!take_number("bs", value, INT64_MAX, &dd->block))
        return false;
    else if (!dd->block || dd->block > INT32_MAX)
        return report_error("Invalid bs specified. Must be between 1 and 2147483647."), false;
    return true;
}

static bool settle(Dd *dd)
{
    if (!dd->in || !dd->out) {
        report_error("Must specify both input and output files");
        return false;
    }
    if (dd->skip > INT64_MAX / dd->block || dd->count > INT64_MAX / dd->block ||
        dd->skip * dd->block > INT64_MAX - dd->count * dd->block) {
        report_error("dd: skip and count lead beyond all images");
        return false;
    }
    dd->start = dd->skip * dd->block;
    dd->size = dd->count * dd->block;
    return true;
}

static int run_dd(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS, IMG_SHARE, {0}};
    Dd dd = {.out_format = "raw", .block = 512};
    GError *error = NULL;
    int c;
    while ((c = img_getopt(&command_dd, argc, argv, ":f:O:Uh", long_options)) != -1) {
        if (c == 'O')
            dd.out_format = optarg;
        else if (!img_open_option(&dd.open, c, optarg))
            return c != 'h';
    }
    progress_listen();
    for (int i = optind; i < argc; i++)
        if (!take_operand(&dd, argv[i]))
            return 1;
    if (!settle(&dd))
        return 1;
    BlkNode *in = img_open(&dd.open, dd.in, &error);
    if (!in)
        return img_fail(error);
    int code = dd_images(&dd, in);
    node_abandon(in);
    return code;
}
