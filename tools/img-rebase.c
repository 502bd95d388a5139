/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmrun-img rebase: another backing file.  Safe: what the guest would see different below goes into
 * the image first, and is safe there before the name changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img-extent.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define PIECE_BYTES (1u << 20)
#define WORKERS     4

static int run_rebase(int argc, char **argv);

const Command command_rebase = {
    .name = "rebase",
    .synopsis = "[--object OBJECT] [--image-opts] [-U] [-q] [-f FORMAT] [-t CACHE] [-T CACHE] "
                "[-p] [-u] [-b BACKING_FILE -F FORMAT] FILE",
    .help = "Gives an image another backing file (-b '': none).  The guest sees no change: where\n"
            "the two differ the image gets the old contents.\n\n"
            "  -b FILE    the new backing file, -F its format\n"
            "  -u         only change the name: for a file that was moved, or is the same\n"
            "  -f FORMAT  do not guess the format\n"
            "  -t CACHE   cache mode of the image, -T of the backing files\n"
            "  -p         show progress; also shown if it takes long, on a terminal\n"
            "  -q         say nothing but errors\n"
            "  -U         read the backing files even if a program is writing them\n",
    .run = run_rebase,
};

typedef struct Rebase {
    ImgOpen open, backing_open;
    const char *backing, *backing_format;
    bool unsafe, progress, quiet;
    BlkNode *node, *old, *new; /* old and new: backing files; NULL: none */
    CoMutex picking;
    uint64_t next, done;
    int ret;
    const char *failed; /* what failed */
} Rebase;

/* ---- Copying what differs ---- */

typedef struct Piece {
    uint64_t offset, bytes;
    bool below; /* the backing file shows through */
} Piece;

static int pick(Rebase *r, Piece *p)
{
    *p = (Piece){.offset = r->next};
    if (r->next >= r->node->size || r->ret)
        return 0;
    RangeKind kind;
    p->bytes = r->node->size - r->next;
    int ret = img_range(r->node, r->next, &p->bytes, SCOPE_TOP, &kind);
    p->below = kind == RANGE_UNALLOCATED;
    if (p->below) /* whole clusters of the image, so that nobody else writes to the same one */
        p->bytes = MIN(p->bytes, align_down(r->next, PIECE_BYTES) + PIECE_BYTES - r->next);
    r->next += p->bytes;
    return ret;
}

/* What a backing file (or none) shows in a range; *zero: nothing but zeros, data is not filled. */
static int fetch(BlkNode *node, const Piece *p, uint8_t *data, bool *zero)
{
    uint64_t inside = node && p->offset < node->size ? MIN(p->bytes, node->size - p->offset) : 0;
    uint64_t zeros = 0;
    while (zeros < inside) {
        RangeKind kind;
        uint64_t bytes = inside - zeros;
        int ret = img_range(node, p->offset + zeros, &bytes, SCOPE_ALL, &kind);
        if (ret)
            return ret;
        if (kind == RANGE_DATA)
            break;
        zeros += bytes;
    }
    *zero = zeros == inside;
    if (*zero)
        return 0;
    struct iovec iov = {data, inside};
    memset(data + inside, 0, p->bytes - inside);
    return node_read(node, p->offset, (IoBuf){&iov, 1, 0}, inside);
}

/* Writes the clusters of `right` in which `now` is not the same. */
static int write_differences(Rebase *r, const Piece *p, const uint8_t *right, const uint8_t *now)
{
    uint64_t unit = r->node->cluster;
    int ret = 0;
    for (uint64_t at = 0; at < p->bytes && !ret;) {
        uint64_t n = MIN(unit - (p->offset + at) % unit, p->bytes - at);
        struct iovec iov = {(void *)(uintptr_t)(right + at), n};
        if (memcmp(right + at, now + at, n)) {
            ret = buffer_is_zero(right + at, n)
                      ? node_write_zeroes(r->node, p->offset + at, n, 0)
                      : node_write(r->node, p->offset + at, (IoBuf){&iov, 1, 0}, n);
            if (!ret && r->open.writethrough)
                ret = node_flush(r->node);
        }
        at += n;
    }
    return ret;
}

static int rebase_piece(Rebase *r, const Piece *p, uint8_t *a, uint8_t *b)
{
    bool old_zero, new_zero;
    r->failed = "reading the backing files";
    int ret = fetch(r->old, p, a, &old_zero);
    if (!ret)
        ret = fetch(r->new, p, b, &new_zero);
    if (ret || (old_zero && new_zero))
        return ret;
    if (old_zero)
        memset(a, 0, p->bytes);
    if (new_zero)
        memset(b, 0, p->bytes);
    ret = write_differences(r, p, a, b);
    if (ret)
        r->failed = "writing the image";
    return ret;
}

static void worker(void *opaque)
{
    Rebase *r = opaque;
    uint8_t *data = block_alloc(2 * PIECE_BYTES);
    Piece p = {0};
    int ret = data ? 0 : -ENOMEM;
    while (!ret) {
        co_mutex_lock(&r->picking);
        r->failed = "reading the image's tables";
        ret = pick(r, &p);
        co_mutex_unlock(&r->picking);
        if (!ret && !p.bytes)
            break;
        if (!ret && p.below)
            ret = rebase_piece(r, &p, data, data + PIECE_BYTES);
        r->done += p.bytes;
        progress_show(r->done, r->node->size);
    }
    free(data);
    if (ret && !r->ret)
        r->ret = ret;
}

static bool copy_differences(Rebase *r, GError **error)
{
    progress_begin(r->progress, r->quiet);
    img_parallel(WORKERS, worker, r);
    progress_end(!r->ret);
    int ret = r->ret ? r->ret : node_flush(r->node);
    return !ret || fail_errno(error, -ret, "error while %s", r->ret ? r->failed : "writing");
}

/* ---- The command ---- */

/* The new one must not lead back to the image; -u does not look. */
static bool open_new(Rebase *r, GError **error)
{
    if (!*r->backing)
        return true;
    g_autofree char *path = backing_path(r->node->name, r->backing);
    ImgOpen how = r->backing_open;
    how.format = r->backing_format;
    r->new = img_open(&how, path, error);
    if (!r->new)
        return fail_prefix(error, "Could not open new backing file '%s'", r->backing);
    return true;
}

static bool rebase(Rebase *r, GError **error)
{
    if (*r->backing && !r->backing_format)
        return fail_backing_format(r->backing, error);
    if (r->backing_format && !format_find(r->backing_format, error))
        return fail_prefix(error, "Invalid format name: '%s'", r->backing_format);
    if (!r->unsafe) {
        r->old = r->node->backing;
        if (!open_new(r, error) || !copy_differences(r, error))
            return false;
    }
    bool none = !*r->backing;
    return node_change_backing(r->node, none ? NULL : r->backing, none ? NULL : r->backing_format,
                               error);
}

static int rebase_file(Rebase *r, const char *file)
{
    GError *error = NULL;
    r->open.mode.file.writable = true;
    r->open.mode.no_backing = r->unsafe;
    r->node = img_open(&r->open, file, &error);
    if (!r->node)
        return img_fail(error);
    int code = rebase(r, &error) ? 0 : img_fail(error);
    node_abandon(r->new);
    return img_close(r->node, code);
}

static bool take_option(Rebase *r, int c, const char *value)
{
    switch (c) {
    case 'b':
        r->backing = value;
        return true;
    case 'F':
        r->backing_format = value;
        return true;
    case 'u':
        return r->unsafe = true;
    case 't':
        return img_parse_cache("-t", value, &r->open);
    case 'T':
        return img_parse_cache("-T", value, &r->backing_open);
    case 'p':
        return r->progress = true;
    case 'q':
        return r->quiet = true;
    case 'U':
        return r->backing_open.mode.file.share = true;
    default:
        return img_open_option(&r->open, c, value);
    }
}

static int run_rebase(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS, IMG_SHARE, {0}};
    Rebase r = {0};
    int c;
    while ((c = img_getopt(&command_rebase, argc, argv, ":f:F:b:upt:T:qUh", long_options)) != -1)
        if (!take_option(&r, c, optarg))
            return c != 'h';
    progress_listen();
    if (argc - optind != 1) {
        report_error("rebase: Expecting one image file name");
        return 1;
    }
    if (!r.backing && r.unsafe)
        r.backing = "";
    if (!r.backing) {
        report_error("rebase: -b is missing: the new backing file, or '' for none");
        return 1;
    }
    return rebase_file(&r, argv[optind]);
}
