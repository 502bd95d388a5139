/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-io: requests.  The asynchronous ones are coroutines that report when they end. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "img-bytes.h"
#include "io.h"
#include "util/bytes.h"
#include "util/timer.h"

#define MAX_LENGTH   2147483136ULL
#define FILL_READ    0xab
#define FILL_WRITE   0xcd
#define MISALIGNMENT 16
#define COPY_BYTES   (1u << 20)

typedef enum { REQ_READ, REQ_WRITE, REQ_ZERO, REQ_COMPRESSED, REQ_DISCARD } RequestKind;

typedef struct Request {
    Io *io;
    const IoCommand *command;
    RequestKind kind;
    bool machine, quiet, dump, fua, unmap, no_fallback, vmstate, check, invalid;
    const char *source; /* -s of write */
    uint64_t pattern, check_from, check_bytes;
    bool has_check_bytes;
    uint64_t offset, bytes;
    struct iovec *iov;
    int iov_count;
    void *memory; /* what iov points into, one stretch */
    uint8_t *data;
    int64_t started, ended;
    int ret;
} Request;

/* ---- Doing it ---- */

static int write_clusters_compressed(BlkNode *node, const Request *r)
{
    uint8_t *cluster = block_alloc(node->cluster), *packed = node_alloc_packed(node);
    int ret = cluster && packed ? 0 : -ENOMEM;
    for (uint64_t done = 0; done < r->bytes && !ret; done += node->cluster) {
        uint64_t n = MIN(r->bytes - done, node->cluster);
        memset(cluster + n, 0, node->cluster - n);
        memcpy(cluster, r->data + done, n);
        int length = node_compress(node, cluster, packed);
        struct iovec iov = {cluster, n};
        if (length == -ENOSPC)
            ret = node_write(node, r->offset + done, (IoBuf){&iov, 1, 0}, n);
        else
            ret = length < 0
                      ? length
                      : node_write_compressed(node, r->offset + done, packed, (size_t)length);
    }
    free(cluster);
    free(packed);
    return ret;
}

/* Whole clusters, or what is left to the end of the image. */
static int do_compressed(BlkNode *node, const Request *r)
{
    if (!node->fmt->compress)
        return -ENOTSUP;
    uint64_t end = r->offset + r->bytes;
    if (r->offset % node->cluster || (end % node->cluster && end != node->size))
        return -EINVAL;
    return write_clusters_compressed(node, r);
}

/* -n: writing the zeros does not count as an answer. */
static int do_zero(BlkNode *node, const Request *r)
{
    unsigned flags = r->unmap ? ZERO_MAY_UNMAP : 0;
    if (!r->no_fallback)
        return bytes_zero(node, r->offset, r->bytes, flags);
    if ((r->offset | r->bytes) % node_zero_unit(node) || !node->fmt->zero)
        return -ENOTSUP;
    if (!node->fmt->alloc)
        return node->file->ops->zero ? node->file->ops->zero(node->file, r->offset, r->bytes,
                                                             r->unmap && node->mode.discard)
                                     : -ENOTSUP;
    return node_write_zeroes(node, r->offset, r->bytes, flags);
}

static int do_vmstate(BlkNode *node, const Request *r, IoBuf buf)
{
    if ((r->offset | r->bytes) & 511)
        return -EINVAL;
    return r->kind == REQ_READ ? node_vmstate_read(node, r->offset, buf, r->bytes)
                               : node_vmstate_write(node, r->offset, buf, r->bytes);
}

static int do_discard(BlkNode *node, const Request *r)
{
    uint64_t start = align_up(r->offset, 512), end = align_down(r->offset + r->bytes, 512);
    return start < end ? node_discard(node, start, end - start, 0) : 0;
}

/* Holds the range's clusters and writes what the image lacks into it, up to the first that it has.
 */
static int pull_up(BlkNode *node, uint64_t start, uint64_t bytes, uint8_t *data)
{
    Track track;
    Extent e;
    int ret = node_balance(node);
    if (ret)
        return ret;
    track_begin(&node->requests, &track, start, start + bytes, true);
    for (uint64_t done = 0; done < bytes && !ret; done += e.bytes) {
        ret = node->fmt->map(node, start + done, bytes - done, 0, &e);
        if (ret || e.kind != EXTENT_UNALLOCATED)
            continue;
        struct iovec iov = {data, e.bytes};
        ret = node_read_held(node, start + done, (IoBuf){&iov, 1, 0}, e.bytes);
        if (!ret)
            ret = node_write_held(node, start + done, (IoBuf){&iov, 1, 0}, e.bytes);
    }
    track_end(&node->requests, &track);
    return ret;
}

/* What was read of the backing file becomes the image's own, in whole clusters. */
static int copy_on_read(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    uint64_t end = MIN(align_up(offset + bytes, node->cluster), node->size);
    if (!node->backing || node->readonly || !bytes)
        return 0;
    uint64_t most = MAX(COPY_BYTES, node->cluster);
    uint8_t *data = block_alloc(most);
    int ret = data ? 0 : -ENOMEM;
    for (uint64_t at = align_down(offset, node->cluster); at < end && !ret; at += most)
        ret = pull_up(node, at, MIN(most, end - at), data);
    free(data);
    return ret;
}

static int perform_read(Request *r, IoBuf buf)
{
    BlkNode *node = r->io->node;
    int ret = r->io->copy_on_read ? copy_on_read(node, r->offset, r->bytes) : 0;
    return ret ? ret : bytes_read(node, r->offset, buf, r->bytes);
}

static int perform(Request *r)
{
    BlkNode *node = r->io->node;
    IoBuf buf = {r->iov, r->iov_count, 0};
    if (r->vmstate)
        return do_vmstate(node, r, buf);
    if (r->offset > node->size || r->bytes > node->size - r->offset)
        return -EIO;
    switch (r->kind) {
    case REQ_READ:
        return perform_read(r, buf);
    case REQ_WRITE:
        return bytes_write(node, r->offset, buf, r->bytes);
    case REQ_ZERO:
        return do_zero(node, r);
    case REQ_COMPRESSED:
        return do_compressed(node, r);
    default:
        return do_discard(node, r);
    }
}

static int perform_timed(void *opaque)
{
    Request *r = opaque;
    r->started = clock_now(VM_CLOCK_HOST);
    r->ret = perform(r);
    if (!r->ret && r->kind != REQ_READ && (r->fua || r->io->how.writethrough))
        r->ret = node_flush(r->io->node);
    r->ended = clock_now(VM_CLOCK_HOST);
    return r->ret;
}

/* ---- Telling about it ---- */

/* Returns 0 or the failure. */
static int check_pattern(const Request *r)
{
    uint64_t n = r->has_check_bytes ? r->check_bytes : r->bytes - r->check_from;
    const uint8_t *from = r->data + r->check_from;
    for (uint64_t i = 0; i < n; i++)
        if (from[i] != (uint8_t)r->pattern) {
            printf("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                   r->offset + r->check_from, n);
            return -EINVAL;
        }
    return 0;
}

static int finish(Request *r)
{
    if (r->ret) {
        bool aio_read = !strcmp(r->command->name, "aio_read");
        printf("%s failed: %s\n", aio_read ? "readv" : r->command->name, g_strerror(-r->ret));
        return r->ret;
    }
    int ret = r->kind == REQ_READ && r->check ? check_pattern(r) : 0;
    if (r->quiet)
        return ret;
    if (r->dump)
        io_dump(r->data, r->offset, r->bytes);
    IoReport report = {.verb = r->kind == REQ_READ      ? "read"
                               : r->kind == REQ_DISCARD ? "discard"
                                                        : "wrote",
                       .offset = r->offset,
                       .bytes = r->bytes,
                       .ns = r->ended - r->started,
                       .machine = r->machine};
    io_print_report(&report);
    return ret;
}

static void request_free(Request *r)
{
    free(r->memory);
    g_free(r->iov);
    g_free(r);
}

static void async_main(void *opaque)
{
    Request *r = opaque;
    perform_timed(r);
    finish(r);
    fflush(stdout);
    r->io->in_flight--;
    request_free(r);
}

/* ---- Taking it ---- */

static int fill_from_file(Request *r)
{
    g_autofree char *text = NULL;
    gsize length;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(r->source, &text, &length, &error)) {
        fprintf(stderr, "%s: %s\n", r->source,
                g_strerror(error->code == G_FILE_ERROR_NOENT ? ENOENT : EIO));
        return -EIO;
    }
    if (!length) {
        fprintf(stderr, "%s: file is empty\n", r->source);
        return -EINVAL;
    }
    for (uint64_t at = 0; at < r->bytes; at += length)
        memcpy(r->data + at, text, MIN(length, r->bytes - at));
    return 0;
}

static int make_buffer(Request *r)
{
    if (r->kind == REQ_ZERO || r->kind == REQ_DISCARD)
        return 0;
    r->memory = block_alloc(r->bytes + MISALIGNMENT);
    if (!r->memory) {
        printf("out of memory\n");
        return -ENOMEM;
    }
    r->data = (uint8_t *)r->memory + (r->io->misalign ? MISALIGNMENT : 0);
    int fill = r->kind == REQ_READ ? FILL_READ : (int)r->pattern;
    memset(r->data, fill, r->bytes);
    uint8_t *at = r->data;
    for (int i = 0; i < r->iov_count; i++) {
        r->iov[i].iov_base = at;
        at += r->iov[i].iov_len;
    }
    return r->source ? fill_from_file(r) : 0;
}

/* off len [len..] */
static bool take_ranges(Request *r, int argc, char **argv, bool many)
{
    int lengths = argc - optind - 1;
    if (lengths < 1 || (lengths > 1 && !many)) {
        io_print_usage(r->command);
        return false;
    }
    if (!io_number(argv[optind], &r->offset))
        return false;
    r->iov = g_new0(struct iovec, (size_t)lengths);
    r->iov_count = lengths;
    for (int i = 0; i < lengths; i++) {
        uint64_t n;
        if (!io_number(argv[optind + 1 + i], &n))
            return false;
        if (n > MAX_LENGTH ||
            (r->kind != REQ_ZERO && r->kind != REQ_DISCARD && r->bytes + n > MAX_LENGTH)) {
            if (r->kind != REQ_ZERO && r->kind != REQ_DISCARD) {
                printf("length cannot exceed %llu without -n, given %s\n", MAX_LENGTH,
                       argv[optind + 1 + i]);
                return false;
            }
        }
        r->iov[i].iov_len = n;
        r->bytes += n;
    }
    return true;
}

static bool take_pattern(const char *text, uint64_t *pattern)
{
    if (parse_uint(text, pattern) && *pattern <= 255)
        return true;
    printf("%s is not a valid pattern byte\n", text);
    return false;
}

static bool take_letter(Request *r, int c, bool reading, bool *has_pattern)
{
    switch (c) {
    case 'P':
        *has_pattern = r->check = true;
        return take_pattern(optarg, &r->pattern);
    case 's':
        if (reading)
            return io_number(optarg, &r->check_from);
        r->source = optarg;
        return true;
    case 'l':
        return r->has_check_bytes = io_number(optarg, &r->check_bytes);
    case 'C':
        return r->machine = true;
    case 'q':
        return r->quiet = true;
    case 'v':
        return r->dump = true;
    case 'f':
        return r->fua = true;
    case 'u':
        return r->unmap = true;
    case 'n':
        return r->no_fallback = true;
    case 'b':
        return r->vmstate = true;
    case 'z':
        r->kind = REQ_ZERO;
        return true;
    case 'c':
        r->kind = REQ_COMPRESSED;
        return true;
    case 'i':
        return r->invalid = true;
    default:
        return c == 'p';
    }
}

static const char *contradiction(const Request *r, bool has_pattern, bool zero, bool compressed)
{
    if (r->vmstate + zero + compressed > 1)
        return "-b, -c and -z cannot be specified at the same time";
    if (r->fua && (r->vmstate || compressed))
        return "-f and -b or -c cannot be specified at the same time";
    if (r->no_fallback && !zero)
        return "-n requires -z to be specified";
    if (r->unmap && !zero)
        return "-u requires -z to be specified";
    if (zero + has_pattern + !!r->source > 1)
        return "Only one of -z, -P, and -s can be specified at the same time";
    return NULL;
}

static bool check_read_range(const Request *r, bool has_pattern)
{
    if (!has_pattern && (r->check_from || r->has_check_bytes)) {
        io_print_usage(r->command);
        return false;
    }
    uint64_t n = r->has_check_bytes ? r->check_bytes : 0;
    if (r->check_from <= r->bytes && n <= r->bytes - r->check_from)
        return true;
    printf("pattern verification range exceeds end of read data\n");
    return false;
}

/* Parses a command's words; NULL after a message. */
static Request *parse(Io *io, RequestKind kind, const char *letters, int argc, char **argv)
{
    Request *r = g_new0(Request, 1);
    bool first = true, has_pattern = false, zero = false, compressed = false, many = true;
    const char *wrong = NULL;
    int c;
    *r = (Request){.io = io,
                   .command = io_find(argv[0]),
                   .kind = kind,
                   .pattern = kind == REQ_WRITE ? FILL_WRITE : 0};
    while ((c = io_getopt(r->command, argc, argv, letters, &first)) != -1) {
        if (!take_letter(r, c, kind == REQ_READ, &has_pattern))
            goto bad;
        zero |= c == 'z';
        compressed |= c == 'c';
    }
    many = r->command->args[strlen(r->command->args) - 1] == ']';
    wrong = kind == REQ_WRITE ? contradiction(r, has_pattern, zero, compressed) : NULL;
    if (wrong) {
        printf("%s\n", wrong);
        goto bad;
    }
    if (take_ranges(r, argc, argv, many && !zero) &&
        (kind != REQ_READ || check_read_range(r, has_pattern)) && !make_buffer(r))
        return r;
bad:
    request_free(r);
    return NULL;
}

static int run_sync(Io *io, RequestKind kind, const char *letters, int argc, char **argv)
{
    Request *r = parse(io, kind, letters, argc, argv);
    if (!r)
        return -EINVAL;
    io_run(perform_timed, r);
    int ret = finish(r);
    request_free(r);
    return ret;
}

static int run_async(Io *io, RequestKind kind, const char *letters, int argc, char **argv)
{
    Request *r = parse(io, kind, letters, argc, argv);
    if (!r)
        return -EINVAL;
    if (r->invalid) { /* counted as one that could not be begun: there is nothing to do */
        request_free(r);
        return 0;
    }
    io->in_flight++;
    co_start(img_sched(), async_main, NULL, r);
    return 0;
}

/* ---- Commands ---- */

static int run_read(Io *io, int argc, char **argv)
{
    return run_sync(io, REQ_READ, "bCl:pP:qs:v", argc, argv);
}

static int run_readv(Io *io, int argc, char **argv)
{
    return run_sync(io, REQ_READ, "CP:qv", argc, argv);
}

static int run_write(Io *io, int argc, char **argv)
{
    return run_sync(io, REQ_WRITE, "bcCfnpP:qs:uz", argc, argv);
}

static int run_writev(Io *io, int argc, char **argv)
{
    return run_sync(io, REQ_WRITE, "CfqP:", argc, argv);
}

static int run_aio_read(Io *io, int argc, char **argv)
{
    return run_async(io, REQ_READ, "CP:iqv", argc, argv);
}

static int run_aio_write(Io *io, int argc, char **argv)
{
    return run_async(io, REQ_WRITE, "CfiP:quz", argc, argv);
}

static int run_aio_flush(Io *io, int argc, char **argv)
{
    io_drain(io);
    return 0;
}

static int run_discard(Io *io, int argc, char **argv)
{
    return run_sync(io, REQ_DISCARD, "Cq", argc, argv);
}

static int flush(void *opaque)
{
    return node_flush(opaque);
}

static int run_flush(Io *io, int argc, char **argv)
{
    int ret = io_run(flush, io->node);
    if (ret)
        printf("flush failed: %s\n", g_strerror(-ret));
    return ret;
}

const IoCommand io_rw_commands[] = {
    {.name = "read",
     .alias = "r",
     .run = run_read,
     .min_args = 2,
     .max_args = -1,
     .args = "[-bCqv] [-P pattern [-s off] [-l len]] off len",
     .what = "reads a number of bytes at a specified offset",
     .help = " -b  of the machine's state, not of the disk\n"
             " -P  each byte must be that; -s, -l: from this byte of the range on, so many\n"
             " -v  show them\n -q  do not say how long it took; -C: say it for programs\n"},
    {.name = "readv",
     .run = run_readv,
     .min_args = 2,
     .max_args = -1,
     .args = "[-Cqv] [-P pattern] off len [len..]",
     .what = "reads a number of bytes at a specified offset",
     .help = " The same into several buffers at once.\n"},
    {.name = "write",
     .alias = "w",
     .run = run_write,
     .min_args = 2,
     .max_args = -1,
     .writes = true,
     .args = "[-bcCfnquz] [-P pattern | -s source_file] off len",
     .what = "writes a number of bytes at a specified offset",
     .help = " -P  what to write (0xcd); -s: a file's contents, again and again\n"
             " -z  zeros, without writing them if there is a cheaper way; -u: space may be given\n"
             "     back; -n: fail if there is none\n"
             " -c  compressed: whole clusters\n -b  the machine's state, not the disk\n"
             " -f  be on stable storage before it returns\n"
             " -q  do not say how long it took; -C: say it for programs\n"},
    {.name = "writev",
     .run = run_writev,
     .min_args = 2,
     .max_args = -1,
     .writes = true,
     .args = "[-Cfq] [-P pattern] off len [len..]",
     .what = "writes a number of bytes at a specified offset",
     .help = " The same out of several buffers at once.\n"},
    {.name = "aio_read",
     .run = run_aio_read,
     .min_args = 2,
     .max_args = -1,
     .args = "[-Ciqv] [-P pattern] off len [len..]",
     .what = "asynchronously reads a number of bytes",
     .help = " Goes on at once; aio_flush waits. Errors that come later are only shown.\n"},
    {.name = "aio_write",
     .run = run_aio_write,
     .min_args = 2,
     .max_args = -1,
     .writes = true,
     .args = "[-Cfiquz] [-P pattern] off len [len..]",
     .what = "asynchronously writes a number of bytes",
     .help = " Goes on at once; aio_flush waits. Errors that come later are only shown.\n"},
    {.name = "aio_flush", .run = run_aio_flush, .what = "completes all outstanding aio requests"},
    {.name = "discard",
     .alias = "d",
     .run = run_discard,
     .min_args = 2,
     .max_args = -1,
     .writes = true,
     .args = "[-Cq] off len",
     .what = "discards a number of bytes at a specified offset"},
    {.name = "flush",
     .alias = "f",
     .run = run_flush,
     .what = "flush all in-core file state to disk"},
    {0}};
