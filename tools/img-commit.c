/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmrun-img commit: what an image (and those between) holds goes into a backing file.  The overlay
 * is emptied when all of it is safe there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "img-copy.h"
#include "util/error.h"
#include "util/log.h"

static int run_commit(int argc, char **argv);

const Command command_commit = {
    .name = "commit",
    .synopsis = "[--object OBJECT] [--image-opts] [-q] [-f FORMAT] [-t CACHE] [-b BASE] "
                "[-r RATE] [-d] [-p] FILE",
    .help =
        "Writes an image's changes into its backing file, and empties the image.\n\n"
        "  -b BASE    commit into this file of the backing chain, with all between; implies -d\n"
        "  -d         leave the image as it is\n"
        "  -r RATE    bytes a second at most\n"
        "  -f FORMAT  do not guess the format\n"
        "  -t CACHE   cache mode, as of -drive\n"
        "  -p         show progress; also shown if it takes long, on a terminal\n"
        "  -q         say nothing but errors\n",
    .run = run_commit,
};

typedef struct CommitArgs {
    ImgOpen open;
    const char *base;
    uint64_t rate;
    bool keep, progress, quiet;
} CommitArgs;

/* Whether two names are one file. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !strcmp(a, b) || (!stat(host_file_path(a), &x) && !stat(host_file_path(b), &y) &&
                             x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Opens what is to lie below node, the last of a chain that begins with top. */
static BlkNode *open_below(BlkNode *top, BlkNode *node, const char *name, GError **error)
{
    NodeMode mode = {.no_backing = true};
    BlkNode *below = node_open(node->sched, name, node->backing_format, &mode, error);
    int depth = 0;
    bool ring = false;
    for (const BlkNode *above = top; below && above; above = above->backing) {
        ring |= host_file_is_same(above->file, below->file);
        depth++;
    }
    if (ring)
        fail(error, "'%s' is its own backing file: the chain never ends", name);
    else if (depth > NODE_MAX_CHAIN)
        fail(error, "the backing chain is longer than %d images", NODE_MAX_CHAIN);
    else
        return below;
    node_abandon(below);
    return NULL;
}

/* Opens the image, and those below it as far as the base, which stays closed: its name and format
 * come back.  The chain is linked by hand. */
static BlkNode *open_upper(const CommitArgs *args, const char *file, char **base, char **format,
                           GError **error)
{
    ImgOpen how = args->open;
    how.mode.no_backing = true;
    how.mode.file.writable = !args->keep;
    how.mode.discard = true;
    BlkNode *top = img_open(&how, file, error);
    for (BlkNode *node = top; node; node = node->backing) {
        if (!node->backing_name) {
            if (node == top)
                fail(error, "Image does not have a backing file");
            else
                fail(error, "Did not find '%s' in the backing chain of '%s'", args->base, file);
            break;
        }
        g_autofree char *below = backing_path(node->name, node->backing_name);
        if (!args->base || !strcmp(args->base, node->backing_name) ||
            same_file(args->base, below)) {
            *base = g_steal_pointer(&below);
            *format = g_strdup(node->backing_format);
            return top;
        }
        node->backing = open_below(top, node, below, error);
    }
    node_abandon(top);
    return NULL;
}

static BlkNode *lowest(BlkNode *top)
{
    while (top->backing)
        top = top->backing;
    return top;
}

/* What lies over the base may have to be written even if it keeps all that it holds. */
static bool open_child(BlkNode **top, GError **error)
{
    BlkNode **link = top, *child = lowest(*top);
    if (!child->readonly || !child->fmt->begin_commit)
        return true;
    while (*link != child)
        link = &(*link)->backing;
    BlkNode *again = node_reopen(child, true, error);
    if (!again)
        return false;
    *link = again;
    node_abandon(child);
    return true;
}

static bool fit(const BlkNode *top, BlkNode *base, GError **error)
{
    return base->size >= top->size || node_resize(base, top->size, PREALLOC_OFF, error);
}

static bool copy_down(const CommitArgs *args, BlkNode *top, BlkNode *base, GError **error)
{
    g_autoptr(GPtrArray) sources = g_ptr_array_new();
    g_ptr_array_add(sources, top);
    Copy copy = {.sources = sources,
                 .target = base,
                 .size = top->size,
                 .sparse = 4096,
                 .rate = args->rate,
                 .workers = 8,
                 .scope = SCOPE_CHAIN,
                 .writethrough = args->open.writethrough,
                 .progress = args->progress,
                 .quiet = args->quiet,
                 .target_has_backing = base->backing};
    if (!fit(top, base, error) || !copy_run(&copy, error))
        return false;
    int ret = node_flush(base);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", base->name);
}

static int commit(const CommitArgs *args, BlkNode *top, const char *base_name, const char *format)
{
    GError *error = NULL;
    NodeMode mode = {.file = args->open.mode.file, .discard = true};
    mode.file.writable = true;
    mode.key_secret = top->backing ? NULL : top->backing_key_secret;
    BlkNode *base = node_open(img_sched(), base_name, format, &mode, &error);
    if (!base)
        return img_fail(error);
    int ret = node_begin_commit(lowest(top), base);
    bool ok = !ret || fail_errno(&error, -ret, "cannot commit to '%s'", base->name);
    ok = ok && copy_down(args, top, base, &error);
    int code = img_close(base, ok ? 0 : img_fail(error));
    if (code)
        return code;
    if (!args->keep && !node_make_empty(top, &error))
        return img_fail(error);
    if (!args->quiet)
        printf("Image committed.\n");
    return 0;
}

static int commit_file(CommitArgs *args, const char *file)
{
    GError *error = NULL;
    g_autofree char *base = NULL, *format = NULL;
    BlkNode *top = open_upper(args, file, &base, &format, &error);
    if (!top)
        return img_fail(error);
    bool ok = open_child(&top, &error);
    return img_close(top, ok ? commit(args, top, base, format) : img_fail(error));
}

static bool take_option(CommitArgs *args, int c, const char *value)
{
    switch (c) {
    case 'b':
        args->base = value;
        return args->keep = true;
    case 'd':
        return args->keep = true;
    case 'r':
        return img_parse_size("commit: -r", value, &args->rate);
    case 't':
        return img_parse_cache("-t", value, &args->open);
    case 'p':
        return args->progress = true;
    case 'q':
        return args->quiet = true;
    default:
        return img_open_option(&args->open, c, value);
    }
}

static int run_commit(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS, {0}};
    CommitArgs args = {0};
    int c;
    while ((c = img_getopt(&command_commit, argc, argv, ":f:t:b:r:dpqh", long_options)) != -1)
        if (!take_option(&args, c, optarg))
            return c != 'h';
    progress_listen();
    if (argc - optind != 1) {
        report_error("commit: Expecting one image file name");
        return 1;
    }
    return commit_file(&args, argv[optind]);
}
