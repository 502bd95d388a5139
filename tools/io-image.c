/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-io: commands about the image. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "block/blkdebug.h"
#include "img-extent.h"
#include "io.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

/* ---- Opening and closing ---- */

/* -s: a temporary overlay whose backing file is the image. */
static BlkNode *open_overlay(const ImgOpen *how, const char *name, GError **error)
{
    ImgOpen base_how = *how;
    base_how.mode.file.writable = false;
    BlkNode *base = img_open(&base_how, name, error);
    BlkFile *file = base ? host_file_temporary(img_sched(), error) : NULL;
    CreateSpec spec = {.size = base ? base->size : 0};
    NodeMode mode = {.file = {.writable = true, .no_flush = true}, .discard = true};
    BlkNode *node = NULL;
    const BlkFormat *fmt = file ? format_find("qcow2", error) : NULL;
    if (fmt && fmt->create(file, &spec, error))
        node = node_open_file(file, "qcow2", &mode, error);
    else if (file)
        file_close(file);
    if (!node) {
        node_abandon(base);
        return NULL;
    }
    node->backing = base;
    node->backing_name = g_strdup(base->name);
    node->temporary = true;
    return node;
}

bool io_open(Io *io, const char *name, GError **error)
{
    io->how.mode.file.writable = !io->readonly;
    io->node = io->snapshot ? open_overlay(&io->how, name, error) : img_open(&io->how, name, error);
    if (!io->node)
        return false;
    g_autofree char *kept = g_strdup(name);
    g_free(io->name);
    io->name = g_steal_pointer(&kept);
    return true;
}

static int close_node(void *opaque)
{
    return node_close(opaque);
}

int io_close(Io *io)
{
    blkdebug_resume_all(io->node->file);
    io_drain(io);
    int ret = io_run(close_node, io->node);
    io->node = NULL;
    if (ret)
        report_error("'%s' could not be written completely: %s", io->name, g_strerror(-ret));
    return ret;
}

static int run_close(Io *io, int argc, char **argv)
{
    return io_close(io);
}

static bool take_discard(Io *io, const char *text)
{
    io->how.mode.discard = !strcmp(text, "unmap") || !strcmp(text, "on");
    if (io->how.mode.discard || !strcmp(text, "ignore") || !strcmp(text, "off"))
        return true;
    report_error("Invalid discard option: %s", text);
    return false;
}

/* -o: the pairs of --image-opts. */
static char *options_name(const char *options, const char *file)
{
    return file ? g_strdup_printf("%s,file.filename=%s", options, file) : g_strdup(options);
}

static bool take_open_letter(Io *io, int c, const char **options)
{
    switch (c) {
    case 'r':
        return io->readonly = true;
    case 's':
        return io->snapshot = true;
    case 'n':
        return img_parse_cache("-n", "none", &io->how);
    case 't':
        return img_parse_cache("-t", optarg, &io->how);
    case 'd':
        return take_discard(io, optarg);
    case 'k':
        return io->how.mode.file.native = true;
    case 'i':
        return img_parse_aio("-i", optarg, &io->how);
    case 'C':
        return io->copy_on_read = true;
    case 'U':
        return io->how.mode.file.share = true;
    case 'o':
        *options = optarg;
        return true;
    default:
        return false;
    }
}

static int run_open(Io *io, int argc, char **argv)
{
    const char *options = NULL;
    bool first = true;
    GError *error = NULL;
    int c;
    if (io->node) {
        report_error("file open already, try 'help close'");
        return -EEXIST;
    }
    io->how = (ImgOpen){.mode.discard = true};
    io->readonly = io->snapshot = io->copy_on_read = false;
    while ((c = io_getopt(io_find("open"), argc, argv, "rsnkUCt:d:o:i:", &first)) != -1)
        if (!take_open_letter(io, c, &options))
            return -EINVAL;
    if (argc - optind > 1 || (argc == optind && !options)) {
        io_print_usage(io_find("open"));
        return -EINVAL;
    }
    g_autofree char *name = options ? options_name(options, argv[optind]) : g_strdup(argv[optind]);
    io->how.image_opts = options;
    if (io_open(io, name, &error))
        return 0;
    fail_prefix(&error, "can't open");
    img_fail(error);
    return -EINVAL;
}

/* -o: a name becomes a list of options, which the new ones join. */
static void add_options(ImgOpen *how, char **name, const char *options)
{
    g_auto(GStrv) parts = g_strsplit(*name, ",", -1);
    g_autofree char *quoted = g_strjoinv(",,", parts);
    char *all = how->image_opts
                    ? g_strdup_printf("%s,%s", *name, options)
                    : g_strdup_printf("%s%s%sfile.filename=%s,%s", how->format ? "driver=" : "",
                                      how->format ? how->format : "", how->format ? "," : "",
                                      quoted, options);
    g_free(*name);
    *name = all;
    how->image_opts = true;
}

/* The image is closed and opened anew: everything that it takes is in the mode. */
static int run_reopen(Io *io, int argc, char **argv)
{
    bool first = true, readonly = io->readonly;
    ImgOpen how = io->how;
    GError *error = NULL;
    g_autofree char *name = g_strdup(io->name);
    int c;
    while ((c = io_getopt(io_find("reopen"), argc, argv, "rwc:o:", &first)) != -1) {
        if (c == 'r' || c == 'w')
            readonly = c == 'r';
        else if (c == 'o')
            add_options(&how, &name, optarg);
        else if (c != 'c' || !img_parse_cache("-c", optarg, &how))
            return -EINVAL;
    }
    if (optind != argc) {
        io_print_usage(io_find("reopen"));
        return -EINVAL;
    }
    if (io->snapshot) {
        report_error("a temporary overlay cannot be opened again");
        return -EINVAL;
    }
    int ret = io_close(io);
    if (ret)
        return ret;
    io->how = how;
    io->readonly = readonly;
    if (io_open(io, name, &error))
        return 0;
    img_fail(error);
    return -EINVAL;
}

/* ---- What is allocated ---- */

typedef struct Look {
    BlkNode *node;
    uint64_t offset, bytes;
    bool allocated;
} Look;

/* How far, from an offset on, the image itself holds something, or holds nothing. */
static int look(void *opaque)
{
    Look *l = opaque;
    uint64_t at = l->offset, end = l->offset + l->bytes;
    while (at < end) {
        Extent e;
        int ret = l->node->fmt->map(l->node, at, end - at, 0, &e);
        if (ret)
            return ret;
        bool allocated = e.kind != EXTENT_UNALLOCATED;
        if (at > l->offset && allocated != l->allocated)
            break;
        l->allocated = allocated;
        at += e.bytes;
    }
    l->bytes = at - l->offset;
    return 0;
}

static int run_map(Io *io, int argc, char **argv)
{
    BlkNode *node = io->node;
    if (!node->size) {
        printf("Failed to query image length: it is empty\n");
        return -EINVAL;
    }
    for (uint64_t at = 0; at < node->size;) {
        Look l = {.node = node, .offset = at, .bytes = node->size - at};
        int ret = io_run(look, &l);
        if (ret) {
            printf("Failed to get allocation status: %s\n", g_strerror(-ret));
            return ret;
        }
        g_autofree char *bytes = io_size((double)l.bytes), *offset = io_size((double)at);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", bytes,
               l.bytes, l.allocated ? "   " : "not", offset, at);
        at += l.bytes;
    }
    return 0;
}

static int run_alloc(Io *io, int argc, char **argv)
{
    uint64_t start, count = 512, sum = 0;
    if (!io_number(argv[1], &start) || (argc > 2 && !io_number(argv[2], &count)))
        return -EINVAL;
    count = start < io->node->size ? MIN(count, io->node->size - start) : 0;
    for (uint64_t at = start; at < start + count;) {
        Look l = {.node = io->node, .offset = at, .bytes = start + count - at};
        int ret = io_run(look, &l);
        if (ret) {
            printf("is_allocated failed: %s\n", g_strerror(-ret));
            return ret;
        }
        sum += l.allocated ? l.bytes : 0;
        at += l.bytes;
    }
    g_autofree char *offset = io_size((double)start);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, count, offset);
    return 0;
}

/* ---- Size and description ---- */

static int run_length(Io *io, int argc, char **argv)
{
    g_autofree char *size = io_size((double)io->node->size);
    printf("%s\n", size);
    return 0;
}

static int run_info(Io *io, int argc, char **argv)
{
    const BlkNode *node = io->node;
    printf("format name: %s\n", node->fmt->name);
    if (node->fmt->alloc) {
        g_autofree char *cluster = io_size((double)node->cluster);
        printf("cluster size: %s\n", cluster);
    }
    if (node->fmt->vmstate_read) {
        /* Behind the disk, where the next L2 table begins. */
        uint64_t reach = (uint64_t)node->cluster * node->cluster / 8;
        g_autofree char *offset = io_size((double)align_up(node->size, reach));
        printf("vm state offset: %s\n", offset);
    }
    img_print_details(node);
    return 0;
}

typedef struct Resize {
    BlkNode *node;
    uint64_t size;
    Preallocation how;
    GError *error;
} Resize;

static int resize(void *opaque)
{
    Resize *r = opaque;
    return node_resize(r->node, r->size, r->how, &r->error) ? 0 : -EINVAL;
}

static int run_truncate(Io *io, int argc, char **argv)
{
    Resize r = {.node = io->node};
    bool first = true;
    int c;
    while ((c = io_getopt(io_find("truncate"), argc, argv, "m:", &first)) != -1) {
        if (c != 'm')
            return -EINVAL;
        while (preallocation_words[r.how] && strcmp(preallocation_words[r.how], optarg))
            r.how++;
        if (!preallocation_words[r.how]) {
            report_error("-m takes off, metadata, falloc or full, not '%s'", optarg);
            return -EINVAL;
        }
    }
    if (argc - optind != 1) {
        io_print_usage(io_find("truncate"));
        return -EINVAL;
    }
    if (!io_number(argv[optind], &r.size))
        return -EINVAL;
    int ret = io_run(resize, &r);
    if (ret)
        img_fail(r.error);
    return ret;
}

/* ---- Requests that wait ---- */

static int run_break(Io *io, int argc, char **argv)
{
    GError *error = NULL;
    if (blkdebug_break(io->node->file, argv[1], argv[2], &error))
        return 0;
    fail_prefix(&error, "Could not set a breakpoint");
    img_fail(error);
    return -EINVAL;
}

static int run_remove_break(Io *io, int argc, char **argv)
{
    if (blkdebug_remove_break(io->node->file, argv[1]))
        return 0;
    printf("Could not remove a breakpoint: %s\n", g_strerror(ENOENT));
    return -ENOENT;
}

static int run_resume(Io *io, int argc, char **argv)
{
    if (blkdebug_resume(io->node->file, argv[1]))
        return 0;
    printf("Could not resume request: %s\n", g_strerror(ENOENT));
    return -ENOENT;
}

/* Who waits for what cannot come, as no request is under way, would wait for ever. */
static int run_wait_break(Io *io, int argc, char **argv)
{
    while (!blkdebug_is_suspended(io->node->file, argv[1])) {
        if (!io->in_flight) {
            printf("No request is under way that could stop at '%s'\n", argv[1]);
            return -ENOENT;
        }
        loop_step(loop_main(), true);
    }
    return 0;
}

/* ---- Time and signals ---- */

static void wake(void *opaque)
{
    co_wake(opaque);
}

static int sleep_until(void *opaque)
{
    Timer timer;
    timer_init(&timer, loop_main(), VM_CLOCK_HOST, wake, co_self());
    timer_arm(&timer, *(int64_t *)opaque);
    co_yield ();
    timer_cancel(&timer);
    return 0;
}

static int run_sleep(Io *io, int argc, char **argv)
{
    uint64_t ms;
    if (!parse_uint(argv[1], &ms) || ms > INT32_MAX) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    int64_t until = clock_now(VM_CLOCK_HOST) + (int64_t)ms * NS_PER_MS;
    return io_run(sleep_until, &until);
}

static int run_sigraise(Io *io, int argc, char **argv)
{
    uint64_t number;
    if (!parse_uint(argv[1], &number) || number > 64) {
        printf("Parsing error: '%s' is no signal's number\n", argv[1]);
        return -EINVAL;
    }
    fflush(stdout);
    return raise((int)number) ? -EINVAL : 0;
}

static int run_abort(Io *io, int argc, char **argv)
{
    fflush(stdout);
    return raise(SIGABRT) ? -EINVAL : 0;
}

const IoCommand io_image_commands[] = {
    {.name = "open",
     .alias = "o",
     .run = run_open,
     .max_args = -1,
     .without_file = true,
     .args = "[-rsnCkU] [-t cache] [-d discard] [-i aio] [-o options] [path]",
     .what = "open the file specified by path",
     .help =
         " -r  for reading only\n -s  with a temporary overlay, so that the file stays as it is\n"
         " -n  without the host's cache: -t none\n"
         " -C  what is read of a backing file is written into the image\n -k  with libaio: -i "
         "native\n"
         " -U  even if a program is writing it\n"
         " -o  driver=FORMAT and the like, as --image-opts\n"},
    {.name = "close", .alias = "c", .run = run_close, .what = "close the current open file"},
    {.name = "reopen",
     .run = run_reopen,
     .max_args = -1,
     .args = "[-r|-w] [-c cache] [-o options]",
     .what = "reopens an image with new options",
     .help = " -r, -w  for reading only, or for writing, too\n -c  with another cache mode\n"
             " -o  discard=unmap and the like, as --image-opts\n"},
    {.name = "map", .run = run_map, .what = "prints the allocated areas of a file"},
    {.name = "alloc",
     .alias = "s",
     .run = run_alloc,
     .min_args = 1,
     .max_args = 2,
     .args = "offset [count]",
     .what = "checks if offset is allocated in the file"},
    {.name = "length",
     .alias = "l",
     .run = run_length,
     .what = "gets the length of the current file"},
    {.name = "info",
     .alias = "i",
     .run = run_info,
     .what = "prints information about the current file"},
    {.name = "truncate",
     .alias = "t",
     .run = run_truncate,
     .min_args = 1,
     .max_args = 3,
     .writes = true,
     .args = "[-m prealloc_mode] off",
     .what = "truncates the current file at the given offset"},
    {.name = "break",
     .alias = "b",
     .run = run_break,
     .min_args = 2,
     .max_args = 2,
     .args = "event tag",
     .what = "sets a breakpoint on event and tags the stopped request as tag",
     .help = " The image is open through blkdebug; aio_read and aio_write can stop.\n"},
    {.name = "remove_break",
     .run = run_remove_break,
     .min_args = 1,
     .max_args = 1,
     .args = "tag",
     .what = "remove a breakpoint by tag"},
    {.name = "resume",
     .alias = "r",
     .run = run_resume,
     .min_args = 1,
     .max_args = 1,
     .args = "tag",
     .what = "resumes the request tagged as tag"},
    {.name = "wait_break",
     .alias = "wb",
     .run = run_wait_break,
     .min_args = 1,
     .max_args = 1,
     .args = "tag",
     .what = "waits for the suspension of a request"},
    {.name = "sleep",
     .run = run_sleep,
     .min_args = 1,
     .max_args = 1,
     .without_file = true,
     .what = "waits for the given value in milliseconds"},
    {.name = "sigraise",
     .run = run_sigraise,
     .min_args = 1,
     .max_args = 1,
     .without_file = true,
     .args = "signal",
     .what = "raises a signal",
     .help = " 'sigraise 9' ends the program as a crash would: nothing is flushed.\n"},
    {.name = "abort",
     .run = run_abort,
     .without_file = true,
     .what = "simulate a program crash using abort(3)"},
    {0}};
