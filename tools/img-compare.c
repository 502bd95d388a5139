/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmrun-img compare.  Workers take pieces in order, so that the lowest difference is known when all
 * that were taken are done.  Pieces are small enough for the processor's cache.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img-bytes.h"
#include "img-extent.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/threadpool.h"

#define PIECE_BYTES (128u << 10)
#define PLAIN_BYTES (4u << 20)
#define WORKERS     4

/* Exit codes. */
enum { SAME, DIFFERENT, CANNOT_OPEN, CANNOT_MAP, CANNOT_READ };

static int run_compare(int argc, char **argv);

const Command command_compare = {
    .name = "compare",
    .synopsis = "[--object OBJECT] [--image-opts] [-f FORMAT] [-F FORMAT] [-T CACHE] [-p] [-q] "
                "[-s] [-U] FILE1 FILE2",
    .help =
        "Tells whether a guest would see the same in two images.  Ends with 0 if so, 1 if not,\n"
        "2 if an image cannot be opened, 3 if its tables and 4 if its data cannot be read.\n\n"
        "  -f FORMAT  of the first image, -F of the second; guessed if you do not say it\n"
        "  -s         strict: sizes and what is allocated must be the same, too\n"
        "  -T CACHE   cache mode, as of -drive\n"
        "  -p         show progress; also shown if it takes long, on a terminal\n"
        "  -q         say nothing but errors\n"
        "  -U         read them even if a program is writing them\n",
    .run = run_compare,
};

typedef enum { NO_DIFFERENCE, DIFFERENT_DATA, DIFFERENT_STATUS } Difference;

typedef struct Compare {
    BlkNode *node[2];
    const char *name[2];
    uint64_t common, all; /* sizes: the smaller and the larger */
    bool strict, quiet, progress;
    CoMutex picking;
    uint64_t next, done;
    Difference difference;
    uint64_t at; /* the lowest difference */
    int code;    /* of an error */
} Compare;

/* What one image says about a piece. */
typedef struct Side {
    bool zero, data, present, has_host;
} Side;

typedef struct Piece {
    uint64_t offset, bytes;
    bool zero[2];
    /* Where plain data lies; file NULL: it is not plain. */
    BlkFile *file[2];
    uint64_t host[2];
} Piece;

static void note(Compare *c, Difference difference, uint64_t at)
{
    if (c->difference && c->at <= at)
        return;
    c->difference = difference;
    c->at = at;
}

/* ---- Picking ---- */

/* What the image says; it reads as zeros behind its end. */
static int look(Compare *c, int which, Piece *p, Side *side)
{
    Extent e;
    unsigned depth;
    BlkNode *node = c->node[which];
    if (p->offset >= node->size) {
        *side = (Side){.zero = true};
        return 0;
    }
    int ret = img_extent(node, p->offset, p->bytes, &e, &depth);
    if (ret) {
        report_error("Error while getting block status of '%s' at offset %" PRIu64 ": %s",
                     c->name[which], p->offset, g_strerror(-ret));
        c->code = CANNOT_MAP;
        return ret;
    }
    *side = (Side){.zero = img_extent_is_zero(&e),
                   .data = img_extent_is_data(&e),
                   .present = e.kind != EXTENT_UNALLOCATED,
                   .has_host = img_extent_has_host(&e)};
    if (e.node->fmt->alloc && img_extent_cut_hole(&e))
        side->zero = true;
    p->file[which] = e.kind == EXTENT_DATA ? extent_file(&e) : NULL;
    p->host[which] = e.host;
    p->bytes = e.bytes;
    return 0;
}

/* Takes the next piece, both sides of which are of one kind; one of no bytes at the end. */
static int pick(Compare *c, Piece *p)
{
    Side side[2];
    *p = (Piece){.offset = c->next};
    if (c->next >= c->all || c->code || (c->difference && c->at <= c->next))
        return 0;
    p->bytes = c->next < c->common ? c->common - c->next : c->all - c->next;
    int ret = look(c, 0, p, &side[0]);
    if (!ret)
        ret = look(c, 1, p, &side[1]);
    if (ret)
        return ret;
    for (int i = 0; i < 2; i++)
        p->zero[i] = side[i].zero;
    if (c->strict && memcmp(&side[0], &side[1], sizeof(Side)))
        note(c, DIFFERENT_STATUS, p->offset);
    bool plain = (p->zero[0] || p->file[0]) && (p->zero[1] || p->file[1]);
    uint64_t most = plain ? PLAIN_BYTES : PIECE_BYTES;
    if (!p->zero[0] || !p->zero[1])
        p->bytes = MIN(p->bytes, align_down(p->offset, most) + most - p->offset);
    c->next += p->bytes;
    return 0;
}

/* ---- Comparing ---- */

typedef struct Data {
    const uint8_t *a, *b; /* b NULL: zeros */
    uint64_t bytes;
    uint64_t same; /* sectors' bytes that are equal */
} Data;

static void compare_data(Data *d)
{
    d->same = d->bytes;
    if (d->b ? !memcmp(d->a, d->b, d->bytes) : buffer_is_zero(d->a, d->bytes))
        return;
    uint64_t at = 0;
    while (d->b ? !memcmp(d->a + at, d->b + at, 512) : buffer_is_zero(d->a + at, 512))
        at += 512;
    d->same = at;
}

static int fetch(Compare *c, int which, const Piece *p, void *data)
{
    struct iovec iov = {data, p->bytes};
    int ret = bytes_read(c->node[which], p->offset, (IoBuf){&iov, 1, 0}, p->bytes);
    if (ret && !c->code) {
        report_error("Error while reading offset %" PRIu64 " of %s: %s", p->offset, c->name[which],
                     g_strerror(-ret));
        c->code = CANNOT_READ;
    }
    return ret;
}

/* Plain data of host files is read and compared by a thread of the pool, so that several processors
 * have work. */
typedef struct PlainJob {
    const Piece *piece;
    uint8_t *a, *b;
    uint64_t same;
} PlainJob;

static int compare_plain(void *opaque)
{
    PlainJob *job = opaque;
    const Piece *p = job->piece;
    int first = p->zero[0] ? 1 : 0;
    bool one = p->zero[0] || p->zero[1];
    for (job->same = 0; job->same < p->bytes;) {
        Data d = {.a = job->a, .b = one ? NULL : job->b};
        d.bytes = MIN(p->bytes - job->same, PIECE_BYTES);
        int ret =
            host_file_read_anywhere(p->file[first], p->host[first] + job->same, job->a, d.bytes);
        if (!ret && !one)
            ret = host_file_read_anywhere(p->file[1], p->host[1] + job->same, job->b, d.bytes);
        if (ret)
            return ret;
        compare_data(&d);
        job->same += d.same;
        if (d.same < d.bytes)
            break;
    }
    return 0;
}

/* What is not plain after all, or cannot be read, is left to the patient way. */
static bool try_plain(Compare *c, const Piece *p, uint8_t *a, uint8_t *b)
{
    PlainJob job = {p, a, b, 0};
    if ((!p->zero[0] && !p->file[0]) || (!p->zero[1] && !p->file[1]) ||
        co_pool(compare_plain, &job))
        return false;
    if (job.same < p->bytes)
        note(c, DIFFERENT_DATA, p->offset + job.same);
    return true;
}

static int compare_whole(Compare *c, const Piece *p, uint8_t *a, uint8_t *b)
{
    int ret = 0;
    if (!p->zero[0])
        ret = fetch(c, 0, p, a);
    if (!ret && !p->zero[1])
        ret = fetch(c, 1, p, p->zero[0] ? a : b);
    if (ret)
        return ret;
    Data d = {.a = a, .b = p->zero[0] || p->zero[1] ? NULL : b, .bytes = p->bytes};
    compare_data(&d);
    if (d.same < d.bytes)
        note(c, DIFFERENT_DATA, p->offset + d.same);
    return 0;
}

static int compare_piece(Compare *c, const Piece *p, uint8_t *a, uint8_t *b)
{
    if ((p->zero[0] && p->zero[1]) || try_plain(c, p, a, b))
        return 0;
    int ret = 0;
    for (uint64_t done = 0; done < p->bytes && !ret; done += PIECE_BYTES) {
        Piece part = *p;
        part.offset += done;
        part.bytes = MIN(p->bytes - done, PIECE_BYTES);
        ret = compare_whole(c, &part, a, b);
    }
    return ret;
}

static void worker(void *opaque)
{
    Compare *c = opaque;
    uint8_t *data = block_alloc(2 * PIECE_BYTES);
    Piece p = {.bytes = data ? 1 : 0};
    if (!data) {
        report_error("out of memory");
        c->code = CANNOT_READ;
    }
    while (p.bytes) {
        co_mutex_lock(&c->picking);
        int ret = pick(c, &p);
        co_mutex_unlock(&c->picking);
        if (!ret && p.bytes)
            ret = compare_piece(c, &p, data, data + PIECE_BYTES);
        if (ret)
            break;
        c->done += p.bytes;
        progress_show(c->done, c->all);
    }
    free(data);
}

static void say(const Compare *c, const char *text)
{
    if (!c->quiet)
        printf("%s\n", text);
}

static int compare(Compare *c)
{
    uint64_t a = c->node[0]->size, b = c->node[1]->size;
    c->common = MIN(a, b);
    c->all = MAX(a, b);
    if (c->strict && a != b) {
        say(c, "Strict mode: Image size mismatch!");
        return DIFFERENT;
    }
    progress_begin(c->progress, c->quiet);
    img_parallel(WORKERS, worker, c);
    progress_end(!c->code && !c->difference);
    if (c->code)
        return c->code;
    if (a != b && (!c->difference || c->at >= c->common))
        say(c, "Warning: Image size mismatch!");
    if (!c->difference)
        say(c, "Images are identical.");
    else if (!c->quiet)
        printf(c->difference == DIFFERENT_DATA ? "Content mismatch at offset %" PRIu64 "!\n"
                                               : "Strict mode: Offset %" PRIu64
                                                 " block status mismatch!\n",
               c->at);
    return c->difference ? DIFFERENT : SAME;
}

static int open_and_compare(Compare *c, const ImgOpen *how)
{
    GError *error = NULL;
    int code = CANNOT_OPEN;
    c->node[0] = img_open(&how[0], c->name[0], &error);
    if (c->node[0])
        c->node[1] = img_open(&how[1], c->name[1], &error);
    if (error)
        img_fail(error);
    else
        code = compare(c);
    node_abandon(c->node[0]);
    node_abandon(c->node[1]);
    return code;
}

static int run_compare(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS, IMG_SHARE, {0}};
    ImgOpen how[2] = {0};
    Compare compare = {0};
    const char *second = NULL;
    int c;
    while ((c = img_getopt(&command_compare, argc, argv, ":f:F:T:pqsUh", long_options)) != -1) {
        bool ok = true;
        switch (c) {
        case 'F':
            second = optarg;
            break;
        case 'T':
            ok = img_parse_cache("-T", optarg, &how[0]);
            break;
        case 'p':
            compare.progress = true;
            break;
        case 'q':
            compare.quiet = true;
            break;
        case 's':
            compare.strict = true;
            break;
        default:
            ok = img_open_option(&how[0], c, optarg);
        }
        if (!ok)
            return c == 'h' ? 0 : CANNOT_OPEN;
    }
    progress_listen();
    if (argc - optind != 2) {
        report_error("compare: Expecting two image file names");
        return DIFFERENT;
    }
    how[1] = how[0];
    how[1].format = second;
    for (int i = 0; i < 2; i++)
        compare.name[i] = argv[optind + i];
    return open_and_compare(&compare, how);
}
