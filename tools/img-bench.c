/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img bench: how fast requests come back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img-bytes.h"
#include "img.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

#define MAX_DEPTH  4096
#define MAX_BUFFER (256u << 20)

static int run_bench(int argc, char **argv);

const Command command_bench = {
    .name = "bench",
    .synopsis =
        "[--object OBJECT] [--image-opts] [-c COUNT] [-d DEPTH] [-f FORMAT] [-o OFFSET] "
        "[-s BUFFER] [-S STEP] [-w] [--flush-interval=N] [--no-drain] [--pattern=BYTE] [-t CACHE] "
        "[-i threads|native|io_uring] [-n] [-q] [-U] FILE",
    .help = "Sends requests to an image one after another and says how long they took.\n\n"
            "  -c COUNT           requests (75000)\n"
            "  -d DEPTH           at once (64)\n"
            "  -s BUFFER          bytes of each (4k)\n"
            "  -o OFFSET          of the first (0)\n"
            "  -S STEP            from one to the next (as -s); at the end it begins anew\n"
            "  -w                 write; what is in the image is lost\n"
            "  --pattern=BYTE     what to write (0)\n"
            "  --flush-interval=N  flush after each N writes\n"
            "  --no-drain         do not wait for writes under way before a flush\n"
            "  -t CACHE           cache mode, as of -drive\n"
            "  -i MODE            how O_DIRECT I/O is done: threads, native (-n), or io_uring, "
            "which is\n"
            "                     native here\n"
            "  -q                 say nothing but errors\n"
            "  -U                 read even if a program is writing it\n",
    .run = run_bench,
};

typedef struct Bench {
    ImgOpen open;
    uint64_t count, depth, buffer, step, offset, pattern, flush_every;
    bool write, no_drain, quiet;
    BlkNode *node;
    uint64_t next;          /* offset of the next request */
    uint64_t left, started; /* requests */
    unsigned active;        /* requests under way */
    bool flushing;          /* nobody begins a request: a flush waits for all */
    CoQueue idle;           /* workers that wait for the flush, or it for them */
    int ret;
} Bench;

static uint64_t take_offset(Bench *b)
{
    uint64_t at = b->next;
    b->next += b->step;
    if (b->next + b->buffer > b->node->size)
        b->next = b->node->size ? b->next % b->node->size : 0;
    if (b->next + b->buffer > b->node->size)
        b->next = 0;
    return at;
}

static int one_request(Bench *b, uint8_t *data)
{
    uint64_t at = take_offset(b);
    struct iovec iov = {data, b->buffer};
    IoBuf buf = {&iov, 1, 0};
    if (!b->write)
        return bytes_read(b->node, at, buf, b->buffer);
    int ret = bytes_write(b->node, at, buf, b->buffer);
    return !ret && b->open.writethrough ? node_flush(b->node) : ret;
}

/* After each flush_every requests one worker flushes; the others wait unless --no-drain. */
static int maybe_flush(Bench *b)
{
    if (!b->flush_every || b->started % b->flush_every)
        return 0;
    b->flushing = !b->no_drain;
    while (b->flushing && b->active)
        co_queue_wait(&b->idle);
    int ret = node_flush(b->node);
    b->flushing = false;
    co_queue_wake_all(&b->idle);
    return ret;
}

static void worker(void *opaque)
{
    Bench *b = opaque;
    uint8_t *data = block_alloc(b->buffer);
    if (data)
        memset(data, (int)b->pattern, b->buffer);
    else
        b->ret = -ENOMEM;
    while (!b->ret) {
        while (b->flushing)
            co_queue_wait(&b->idle);
        if (!b->left)
            break;
        b->left--;
        b->started++;
        b->active++;
        int ret = one_request(b, data);
        b->active--;
        if (b->flushing && !b->active)
            co_queue_wake_all(&b->idle);
        if (!ret)
            ret = maybe_flush(b);
        if (ret && !b->ret)
            b->ret = ret;
    }
    free(data);
}

static int bench(Bench *b)
{
    if (b->offset + b->buffer > b->node->size) {
        report_error("bench: the image is too small: %" PRIu64 " bytes", b->node->size);
        return 1;
    }
    b->left = b->count;
    b->next = b->offset;
    if (!b->quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
               " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
               b->count, b->write ? "write" : "read", b->buffer, b->depth, b->offset, b->step);
        if (b->flush_every)
            printf("Sending flush every %" PRIu64 " requests\n", b->flush_every);
        fflush(stdout);
    }
    int64_t begin = clock_now(VM_CLOCK_HOST);
    img_parallel((unsigned)b->depth, worker, b);
    int64_t end = clock_now(VM_CLOCK_HOST);
    if (b->ret) {
        report_error("Failed request: %s", g_strerror(-b->ret));
        return 1;
    }
    if (!b->quiet)
        printf("Run completed in %3.3f seconds.\n", (double)(end - begin) / (double)NS_PER_SEC);
    return 0;
}

enum { OPT_FLUSH = OPT_OWN, OPT_NO_DRAIN, OPT_PATTERN };

static bool take_option(Bench *b, int c, const char *value)
{
    switch (c) {
    case 'c':
        return img_parse_number("bench: -c", value, 1, INT32_MAX, &b->count);
    case 'd':
        return img_parse_number("bench: -d", value, 1, MAX_DEPTH, &b->depth);
    case 's':
        if (!img_parse_size("bench: -s", value, &b->buffer))
            return false;
        if (b->buffer && b->buffer <= MAX_BUFFER)
            return true;
        report_error("bench: -s takes a size up to %u MiB, not '%s'", MAX_BUFFER >> 20, value);
        return false;
    case 'S':
        return img_parse_size("bench: -S", value, &b->step);
    case 'o':
        return img_parse_size("bench: -o", value, &b->offset);
    case 't':
        return img_parse_cache("-t", value, &b->open);
    case 'i':
        return img_parse_aio("-i", value, &b->open);
    case 'n':
        b->open.mode.file.native = true;
        return true;
    case 'w':
        return b->write = true;
    case 'q':
        return b->quiet = true;
    case OPT_FLUSH:
        return img_parse_number("bench: --flush-interval", value, 0, INT32_MAX, &b->flush_every);
    case OPT_NO_DRAIN:
        return b->no_drain = true;
    case OPT_PATTERN:
        return img_parse_number("bench: --pattern", value, 0, 255, &b->pattern);
    default:
        return img_open_option(&b->open, c, value);
    }
}

static bool check_options(Bench *b)
{
    if (b->flush_every && !b->write)
        report_error("bench: --flush-interval is only available in write tests (-w)");
    else if (b->flush_every && b->flush_every < b->depth)
        report_error("Flush interval can't be smaller than depth");
    else if (b->write && b->open.mode.file.share)
        report_error("bench: -U and -w exclude each other: an image in use must not be written");
    else
        return true;
    return false;
}

static int run_bench(int argc, char **argv)
{
    static const struct option long_options[] = {
        IMG_OPEN_OPTIONS,
        IMG_SHARE,
        {"flush-interval", required_argument, NULL, OPT_FLUSH},
        {"no-drain", no_argument, NULL, OPT_NO_DRAIN},
        {"pattern", required_argument, NULL, OPT_PATTERN},
        {0}};
    Bench b = {.count = 75000, .depth = 64, .buffer = 4096};
    GError *error = NULL;
    int c;
    while ((c = img_getopt(&command_bench, argc, argv, ":c:d:f:o:s:S:t:i:nwqUh", long_options)) !=
           -1)
        if (!take_option(&b, c, optarg))
            return c != 'h';
    if (argc - optind != 1) {
        report_error("bench: Expecting one image file name");
        return 1;
    }
    if (!check_options(&b))
        return 1;
    b.step = b.step ? b.step : b.buffer;
    b.open.mode.file.writable = b.write;
    b.node = img_open(&b.open, argv[optind], &error);
    if (!b.node)
        return img_fail(error);
    return img_close(b.node, bench(&b));
}
