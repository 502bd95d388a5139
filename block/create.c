/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creating images: what all formats share. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/json-name.h"
#include "formats.h"
#include "nbd.h"
#include "util/error.h"

bool create_begin(BlkFile *file, GError **error)
{
    int ret = file->sparse ? file_truncate(file, 0) : 0;
    return !ret || fail_errno(error, -ret, "cannot empty '%s'", file->name);
}

int alloc_extend(BlkFile *file, CoMutex *lock, uint64_t end)
{
    if (!file->sparse)
        return 0;
    co_mutex_lock(lock);
    int ret = end > file->size ? file_truncate(file, end) : 0;
    co_mutex_unlock(lock);
    return ret;
}

void create_uuid(uint8_t *uuid)
{
    for (int i = 0; i < 16; i++)
        uuid[i] = (uint8_t)g_random_int();
    uuid[7] = (uint8_t)((uuid[7] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* Every -o option must be one of the format's. */
static bool check_options(const BlkFormat *fmt, const Options *options, GError **error)
{
    const char *key, *value;
    const char *words[40] = {NULL};
    int count = 0;
    for (int i = 0; fmt->create_options[i].name; i++)
        words[count++] = fmt->create_options[i].name;
    for (int i = 0; image_file_options[i].name; i++)
        words[count++] = image_file_options[i].name;
    for (unsigned i = 0; options && options_nth(options, i, &key, &value); i++) {
        if (g_strv_contains(words, key))
            continue;
        const char *near = nearest_word(key, words);
        return fail(error, "Invalid parameter '%s': format '%s' has no option '%s'%s%s%s", key,
                    fmt->name, key, near ? "; did you mean '" : "", near ? near : "",
                    near ? "'?" : "");
    }
    return true;
}

int preallocate_file(BlkFile *file, uint64_t from, uint64_t end, Preallocation how)
{
    int ret = file_truncate(file, end);
    if (!ret && how == PREALLOC_FALLOC && end > from)
        ret = file_reserve(file, from, end - from);
    for (uint64_t at = from; how == PREALLOC_FULL && at < end && !ret; at += ZEROS_BYTES)
        ret = file_pwrite(file, at, block_zeros, MIN(end - at, ZEROS_BYTES));
    return ret;
}

bool read_file_preallocation(const CreateSpec *spec, Preallocation *how, GError **error)
{
    unsigned word = PREALLOC_OFF;
    if (spec->options &&
        !options_get_enum(spec->options, "preallocation", preallocation_words, &word, error))
        return false;
    *how = (Preallocation)word;
    return word != PREALLOC_METADATA ||
           fail(error, "preallocation=metadata: such an image has no metadata of its own; there "
                       "are off, falloc and full");
}

bool refuse_old_encryption(const Options *o, GError **error)
{
    bool on = false;
    return !o || (options_get_bool(o, "encryption", &on, error) &&
                  (!on || fail(error, "encryption=on: images are made with encrypt.format=luks in "
                                      "qcow2, or as format luks; the old way is only read")));
}

/* ---- Options of the file, whatever the format ---- */

const CreateOption image_file_options[] = {
    {"nocow", "on: the host's file system writes in place, where it would copy (btrfs)"},
    {"extent_size_hint", "unit in which the host is to take space, where it can (XFS); 0: its own"},
    {NULL, NULL},
};

static bool take_file_options(BlkFile *file, const Options *o, GError **error)
{
    bool nocow = false;
    uint64_t unit = 0;
    if (!o)
        return true;
    if (!options_get_bool(o, "nocow", &nocow, error) ||
        !options_get_size(o, "extent_size_hint", &unit, error))
        return false;
    if (unit > UINT32_MAX)
        return fail(error, "extent_size_hint must be below 4G");
    host_file_hint(file, nocow, (uint32_t)unit);
    return true;
}

/* ---- Options of formats ---- */

bool amend_check(const BlkNode *node, const Options *options, const CreateOption *known,
                 const CreateOption *at_creation, GError **error)
{
    const char *key, *value;
    const char *words[32] = {NULL};
    for (int i = 0; known[i].name; i++)
        words[i] = known[i].name;
    for (unsigned i = 0; options_nth(options, i, &key, &value); i++) {
        if (g_strv_contains(words, key))
            continue;
        for (int j = 0; at_creation[j].name; j++)
            if (!strcmp(at_creation[j].name, key))
                return fail(error, "'%s': %s cannot be changed any more", node->name, key);
        const char *near = nearest_word(key, words);
        return fail(error, "Invalid parameter '%s': there is no such option to be amended%s%s%s",
                    key, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return true;
}

/* What a guest wrote to a raw disk could look like an image of any format, with files of the host
 * below it: nobody is to guess, and least of all to write down what was guessed. */
bool fail_backing_format(const char *backing, GError **error)
{
    return fail(error,
                "Backing file specified without backing format: say with -F (or backing_fmt=) what "
                "'%s' is",
                backing);
}

/* Whether making name would empty the file that other, maybe "json:", leads to. */
static bool is_same_file(const char *name, const char *other)
{
    JsonName json = {0};
    struct stat x, y;
    if (json_name_is(other) && !json_name_parse(other, &json, NULL))
        return false;
    bool same = !stat(host_file_path(name), &x) &&
                !stat(host_file_path(json.file ? json.file : other), &y) && x.st_dev == y.st_dev &&
                x.st_ino == y.st_ino;
    json_name_clear(&json);
    return same;
}

static bool fail_own_backing(const char *name, GError **error)
{
    return fail(error,
                "%s: Error: Trying to create an image with the same filename as the backing file",
                name);
}

static bool check_backing_is_other(const char *name, const char *backing, GError **error)
{
    g_autofree char *path = backing_path(host_file_path(name), backing);
    bool same = !strcmp(name, backing) || is_same_file(name, path);
    return !same || fail_own_backing(name, error);
}

/* Opens the backing file to see that it is one, and how large. */
static bool look_at_backing(CoSched *sched, const char *name, CreateSpec *spec, bool has_size,
                            bool remembers_format, GError **error)
{
    NodeMode mode = {.file = {.share = true}, .may_be_locked = true};
    g_autofree char *path = backing_path(host_file_path(name), spec->backing);
    const char *format = remembers_format ? spec->backing_format : NULL;
    BlkNode *node = node_open(sched, path, format, &mode, error);
    if (!node)
        return fail_prefix(error, "backing file of '%s'", name);
    if (strcmp(node->fmt->name, spec->backing_format)) {
        fail(error, "'%s' looks like %s, and this format cannot remember that it is %s", path,
             node->fmt->name, spec->backing_format);
        node_abandon(node);
        return false;
    }
    bool ring = false;
    for (const BlkNode *below = node->backing; below; below = below->backing)
        ring |= is_same_file(name, below->name);
    if (!has_size)
        spec->size = node->size;
    node_abandon(node);
    return !ring || fail_own_backing(name, error);
}

bool image_create(CoSched *sched, const char *name, const char *format, CreateSpec *spec,
                  bool has_size, bool unchecked, GError **error)
{
    const BlkFormat *fmt = format_find(format, error);
    if (!fmt)
        return false;
    if (!fmt->create)
        return fail(error, "format '%s' cannot be created", fmt->name);
    if (!check_options(fmt, spec->options, error))
        return false;
    if (spec->backing && !fmt->backing)
        return fail(error, "%s: Backing file not supported for file format '%s'", name, fmt->name);
    if (spec->backing && !spec->backing_format)
        return fail_backing_format(spec->backing, error);
    if (spec->backing && !format_find(spec->backing_format, error))
        return fail_prefix(error, "%s: Parameter 'backing-fmt' does not accept value '%s'", name,
                           spec->backing_format);
    if (spec->backing && !check_backing_is_other(name, spec->backing, error))
        return false;
    if (spec->backing && (!unchecked || !has_size) &&
        !look_at_backing(sched, name, spec, has_size, fmt->backing_format, error))
        return false;
    if (!spec->backing && !has_size)
        return fail(error, "%s: Image creation needs a size parameter", name);
    if (spec->size > INT64_MAX - 511)
        return fail(error, "an image of %" PRIu64 " bytes is too large", spec->size);
    bool remote = nbd_is_name(name), is_new = !remote && access(host_file_path(name), F_OK);
    /* A server's disk is there, as a block device is; it becomes the image. */
    BlkFile *file =
        remote ? nbd_open(sched, name, true, error) : host_file_create(sched, name, error);
    if (!file)
        return false;
    bool ok = take_file_options(file, spec->options, error) && fmt->create(file, spec, error);
    int ret = ok ? file_flush(file) : 0;
    if (ret)
        ok = fail_errno(error, -ret, "cannot write '%s'", name);
    file_close(file);
    if (!ok && is_new)
        unlink(host_file_path(name));
    return ok;
}
