/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block nodes: the table of formats, probing, opening a chain of backing files, closing. */
#include "block/node.h"

#include <errno.h>
#include <string.h>

#include "block/blkdebug.h"
#include "block/json-name.h"
#include "formats.h"
#include "nbd.h"
#include "util/bytes.h"
#include "util/error.h"

#define PROBE_BYTES 2048u

const BlkFormat *const block_formats[] = {&raw_format,  &qcow_format, &qcow2_format,
                                          &luks_format, &vdi_format,  &vhdx_format,
                                          &vmdk_format, &vpc_format,  NULL};

const BlkFormat *format_find(const char *name, GError **error)
{
    const char *names[G_N_ELEMENTS(block_formats)] = {NULL};
    for (int i = 0; block_formats[i]; i++) {
        if (!strcmp(block_formats[i]->name, name))
            return block_formats[i];
        names[i] = block_formats[i]->name;
    }
    const char *near = nearest_word(name, names);
    if (near)
        fail(error, "Unknown file format '%s'; did you mean '%s'?", name, near);
    else {
        g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)names);
        fail(error, "Unknown file format '%s'; there are %s", name, all);
    }
    return NULL;
}

const BlkFormat *format_probe(const uint8_t *head, size_t bytes)
{
    const BlkFormat *best = &raw_format;
    int best_score = 0;
    for (int i = 0; block_formats[i]; i++) {
        int score = block_formats[i]->probe ? block_formats[i]->probe(head, bytes) : 0;
        if (score > best_score) {
            best = block_formats[i];
            best_score = score;
        }
    }
    return best;
}

static const BlkFormat *probe_file(BlkFile *file, GError **error)
{
    uint8_t head[PROBE_BYTES];
    size_t bytes = MIN(file->size, sizeof(head));
    int ret = file_pread(file, 0, head, bytes);
    if (!ret)
        return format_probe(head, bytes);
    fail_errno(error, -ret, "cannot read '%s'", file->name);
    return NULL;
}

/* ---- Opening ---- */

/* An image whose backing chain is being opened, and those above it: a file that comes again makes
 * the chain a ring. */
typedef struct Above {
    const struct Above *above;
    const BlkFile *file;
    int depth;
} Above;

static BlkNode *open_named(CoSched *sched, const char *name, const char *format,
                           const NodeMode *mode, const Above *above, GError **error);

char *backing_path(const char *image, const char *backing)
{
    const char *path = host_file_path(backing);
    const char *slash = strrchr(image, '/');
    if (path[0] == '/' || !slash || nbd_is_name(backing) || json_name_is(backing))
        return g_strdup(path);
    return g_strdup_printf("%.*s%s", (int)(slash - image) + 1, image, path);
}

char *node_backing_name(const BlkNode *node)
{
    const NodeMode *mode = &node->mode;
    bool is_file = !nbd_is_name(node->name) && !g_str_has_prefix(node->name, BLKDEBUG_PREFIX);
    g_autofree char *path = is_file ? g_canonicalize_filename(node->name, NULL) : NULL;
    if (path && (mode->raw_offset || mode->raw_size))
        return json_name_of_part(path, mode->raw_offset, mode->raw_size);
    return path ? g_steal_pointer(&path) : g_strdup(node->name);
}

/* "https://host" and the like are no file names; "file:x" and "dir:/x" with a slash
 * before the colon are. */
static bool check_name(const char *name, GError **error)
{
    if (!*name)
        return fail(error, "the image's file name is empty");
    if (g_str_has_prefix(name, "file:") || g_str_has_prefix(name, BLKDEBUG_PREFIX) ||
        nbd_is_name(name) || json_name_is(name))
        return true;
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (!length || name[length] != ':')
        return true;
    return fail(error,
                "'%s': there is no support for '%.*s:' images; for a file with such a name "
                "write './%s'",
                name, (int)length, name, name);
}

static bool open_backing(BlkNode *node, const Above *above, GError **error)
{
    NodeMode mode = {.file = node->mode.file, .key_secret = node->mode.backing_key_secret};
    mode.file.writable = mode.file.no_lock = false;
    const char *name = node->mode.backing ? node->mode.backing : node->backing_name;
    const char *format =
        node->mode.backing_format ? node->mode.backing_format : node->backing_format;
    if (!name || !*name || node->mode.no_backing)
        return true;
    Above here = {above, node->file, above ? above->depth + 1 : 1};
    if (here.depth > NODE_MAX_CHAIN)
        return fail(error, "the backing chain is longer than %d images", NODE_MAX_CHAIN);
    g_autofree char *path = node->mode.backing ? g_strdup(name) : backing_path(node->name, name);
    if (!node->mode.backing && !check_name(name, error))
        return fail_prefix(error, "backing file of '%s'", node->name);
    node->backing = open_named(node->sched, path, format, &mode, &here, error);
    return node->backing || fail_prefix(error, "backing file of '%s'", node->name);
}

static bool is_ring(const BlkFile *file, const Above *above)
{
    for (; above; above = above->above)
        if (host_file_is_same(file, above->file))
            return true;
    return false;
}

static void node_free(BlkNode *node)
{
    node_forget_expanded(node);
    if (!node->mode.borrow)
        file_close(node->file);
    g_free(node->name);
    g_free(node->backing_name);
    g_free(node->backing_format);
    g_free(node->key_secret);
    g_free(node->backing_key_secret);
    g_free(node);
}

static BlkNode *open_file_in_chain(BlkFile *file, const char *format, const NodeMode *mode,
                                   const Above *above, GError **error)
{
    const BlkFormat *fmt = format ? format_find(format, error) : probe_file(file, error);
    if (!fmt) {
        if (!mode->borrow)
            file_close(file);
        return NULL;
    }
    BlkNode *node = g_malloc0(fmt->node_size);
    *node = (BlkNode){.fmt = fmt,
                      .sched = file->sched,
                      .file = file,
                      .name = g_strdup(file->name),
                      .readonly = file->readonly || (mode->borrow && mode->snapshot),
                      .probed = !format,
                      .key_secret = g_strdup(mode->key_secret),
                      .backing_key_secret = g_strdup(mode->backing_key_secret),
                      .mode = *mode};
    node->mode.key_secret = node->key_secret;
    node->mode.backing_key_secret = node->backing_key_secret;
    bool part = mode->raw_offset || mode->raw_size;
    bool opened =
        part && fmt != &raw_format
            ? fail(error, "'%s': offset and size are for raw images, not %s", node->name, fmt->name)
        : mode->snapshot && !fmt->snapshot
            ? fail(error, "'%s': format '%s' has no snapshots", node->name, fmt->name)
            : fmt->open(node, error);
    if (!opened) {
        node_free(node);
        return NULL;
    }
    bool ok = open_backing(node, above, error);
    /* The caller's, and served. */
    node->mode.backing = node->mode.backing_format = NULL;
    node->mode.snapshot = node->mode.data_name = NULL;
    if (ok)
        return node;
    node_abandon(node);
    return NULL;
}

static BlkNode *open_in_chain(CoSched *sched, const char *name, const char *format,
                              const NodeMode *mode, const Above *above, GError **error)
{
    HostFileMode file_mode = mode->file;
    /* A ring would stumble over its own lock before it could be recognised. */
    BlkFile *file = NULL;
    if (above && !nbd_is_name(name)) {
        HostFileMode look = {.share = true};
        file = image_file_open(sched, name, look, error);
        if (!file)
            return NULL;
        bool ring = is_ring(file, above);
        file_close(file);
        if (ring) {
            fail(error, "'%s' is its own backing file: the chain never ends", name);
            return NULL;
        }
    }
    file = image_file_open(sched, name, file_mode, error);
    return file ? open_file_in_chain(file, format, mode, above, error) : NULL;
}

/* The same for a name that may say more than a file. */
static BlkNode *open_named(CoSched *sched, const char *name, const char *format,
                           const NodeMode *mode, const Above *above, GError **error)
{
    JsonName json;
    NodeMode whole = *mode;
    if (!json_name_is(name))
        return open_in_chain(sched, name, format, mode, above, error);
    if (!json_name_parse(name, &json, error))
        return NULL;
    if (json.offset || json.size) {
        whole.raw_offset = json.offset;
        whole.raw_size = json.size;
    }
    if (json.key_secret)
        whole.key_secret = json.key_secret;
    if (json.format)
        format = json.format;
    BlkNode *node = open_in_chain(sched, json.file, format, &whole, above, error);
    json_name_clear(&json);
    return node;
}

BlkNode *node_open(CoSched *sched, const char *name, const char *format, const NodeMode *mode,
                   GError **error)
{
    if (!check_name(name, error))
        return NULL;
    return open_named(sched, name, format, mode, NULL, error);
}

BlkNode *node_open_file(BlkFile *file, const char *format, const NodeMode *mode, GError **error)
{
    return open_file_in_chain(file, format, mode, NULL, error);
}

/* ---- Asking ---- */

int64_t node_allocated(const BlkNode *node)
{
    int64_t bytes = host_file_allocated(node->file);
    for (unsigned n = 0; node->fmt->sums_files; n++) {
        BlkFile *file = node->fmt->other_file(node, n);
        if (!file)
            break;
        int64_t more = host_file_allocated(file);
        bytes = bytes < 0 || more < 0 ? -1 : bytes + more;
    }
    return bytes;
}

/* ---- Closing ---- */

void node_abandon(BlkNode *node)
{
    if (!node)
        return;
    BlkNode *backing = node->backing;
    if (node->fmt->close)
        node->fmt->close(node);
    node_free(node);
    node_abandon(backing);
}

int node_close(BlkNode *node)
{
    if (!node)
        return 0;
    int ret = node->temporary ? 0 : node_flush(node);
    if (!ret && !node->temporary && node->fmt->finish && !node->readonly)
        ret = node->fmt->finish(node);
    node_abandon(node);
    return ret;
}
