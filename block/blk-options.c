/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -drive's keys as far as they concern the back end. */
#include <string.h>

#include "blk.h"
#include "throttle.h"
#include "util/error.h"

/* ---- Limits ---- */

/* A limit by its name in throttling.*, its old name, and the old name of its burst. */
static const struct {
    const char *name, *old, *old_max;
} limit_keys[BLK_LIMITS] = {
    [BLK_BPS_TOTAL] = {"bps-total", "bps", "bps_max"},
    [BLK_BPS_READ] = {"bps-read", "bps_rd", "bps_rd_max"},
    [BLK_BPS_WRITE] = {"bps-write", "bps_wr", "bps_wr_max"},
    [BLK_IOPS_TOTAL] = {"iops-total", "iops", "iops_max"},
    [BLK_IOPS_READ] = {"iops-read", "iops_rd", "iops_rd_max"},
    [BLK_IOPS_WRITE] = {"iops-write", "iops_wr", "iops_wr_max"},
};
#define PREFIX "throttling."

static bool is_limit_key(const char *key)
{
    static const char *const others[] = {"iops_size", PREFIX "iops-size", "group", PREFIX "group",
                                         NULL};
    bool prefixed = g_str_has_prefix(key, PREFIX);
    if (g_strv_contains(others, key))
        return true;
    for (unsigned i = 0; i < BLK_LIMITS; i++) {
        const char *name = limit_keys[i].name;
        if (!prefixed && (!strcmp(key, limit_keys[i].old) || !strcmp(key, limit_keys[i].old_max)))
            return true;
        if (!prefixed || !g_str_has_prefix(key + strlen(PREFIX), name))
            continue;
        const char *rest = key + strlen(PREFIX) + strlen(name);
        if (!*rest || !strcmp(rest, "-max") || !strcmp(rest, "-max-length"))
            return true;
    }
    return false;
}

/* By the new name, or the old one; there may be none. */
static bool read_limit(const Options *opts, const char *name, const char *suffix, const char *old,
                       uint64_t *value, GError **error)
{
    g_autofree char *key = g_strconcat(PREFIX, name, suffix, NULL);
    if (old && options_has(opts, old) && options_has(opts, key))
        return fail(error, "%s: %s and %s say the same", options_where(opts), old, key);
    const char *given = old && options_has(opts, old) ? old : key;
    return options_get_uint(opts, given, 0, BLK_LIMIT_MAX, value, error);
}

bool blk_read_limits(const Options *opts, BlkLimits *l, const char **group, GError **error)
{
    for (unsigned i = 0; i < BLK_LIMITS; i++)
        if (!read_limit(opts, limit_keys[i].name, "", limit_keys[i].old, &l->avg[i], error) ||
            !read_limit(opts, limit_keys[i].name, "-max", limit_keys[i].old_max, &l->max[i],
                        error) ||
            !read_limit(opts, limit_keys[i].name, "-max-length", NULL, &l->length[i], error))
            return false;
    if (!read_limit(opts, "iops-size", "", "iops_size", &l->iops_size, error))
        return false;
    *group = options_get(opts, options_has(opts, "group") ? "group" : PREFIX "group");
    return throttle_check(l, error) || fail_prefix(error, "%s", options_where(opts));
}

/* ---- All others ---- */

/* Keys that belong to the board, which has served them. */
#define BOARD_KEYS "if", "index", "bus", "unit", "serial"
static const char *const known_keys[] = {"file",
                                         "format",
                                         "driver",
                                         "id",
                                         "media",
                                         "readonly",
                                         "read-only",
                                         "snapshot",
                                         "cache",
                                         "aio",
                                         "discard",
                                         "detect-zeroes",
                                         "werror",
                                         "rerror",
                                         "force-share",
                                         "share-rw",
                                         "iothread",
                                         "backing",
                                         "backing.file",
                                         "backing.file.filename",
                                         "backing.driver",
                                         "l2-cache-size",
                                         "refcount-cache-size",
                                         "key-secret",
                                         "encrypt.key-secret",
                                         "offset",
                                         "size",
                                         "backing.key-secret",
                                         "backing.encrypt.key-secret",
                                         BOARD_KEYS,
                                         NULL};
static const char *const media_words[] = {"disk", "cdrom", "floppy", NULL};
static const char *const cache_words[] = {"writeback",  "none",   "writethrough",
                                          "directsync", "unsafe", NULL};
static const char *const aio_words[] = {"threads", "native", "io_uring", NULL};
static const char *const discard_words[] = {"ignore", "off", "unmap", "on", NULL};
static const char *const detect_words[] = {"off", "on", "unmap", NULL};
static const char *const error_words[] = {"report", "ignore", "stop", "enospc", NULL};

bool blk_check_keys(const Options *opts, GError **error)
{
    const char *key, *value;
    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++) {
        if (g_strv_contains(known_keys, key) || is_limit_key(key))
            continue;
        const char *near = nearest_word(key, known_keys);
        return fail(error, "%s: unknown key '%s'%s%s%s", options_where(opts), key,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return true;
}

/* Reads all that does not concern one medium. */
bool blk_read_options(Blk *blk, const Options *opts, GError **error)
{
    unsigned media = MEDIA_DISK, cache = 0, aio = 0, discard = 0, detect = DETECT_OFF;
    unsigned on_write = ON_ERROR_ENOSPC, on_read = ON_ERROR_REPORT;
    if (!blk_check_keys(opts, error) ||
        !options_get_enum(opts, "media", media_words, &media, error) ||
        !options_get_enum(opts, "cache", cache_words, &cache, error) ||
        !options_get_enum(opts, "aio", aio_words, &aio, error) ||
        !options_get_enum(opts, "discard", discard_words, &discard, error) ||
        !options_get_enum(opts, "detect-zeroes", detect_words, &detect, error) ||
        !options_get_enum(opts, "werror", error_words, &on_write, error) ||
        !options_get_enum(opts, "rerror", error_words, &on_read, error) ||
        !options_get_bool(opts, "readonly", &blk->readonly, error) ||
        !options_get_bool(opts, "read-only", &blk->readonly, error) ||
        !options_get_bool(opts, "snapshot", &blk->snapshot, error) ||
        !options_get_bool(opts, "force-share", &blk->share, error) ||
        !options_get_bool(opts, "share-rw", &blk->share_rw, error))
        return false;
    if (aio == 2)
        return fail(error, "%s: aio=io_uring: vmrun does not have it; native and threads work",
                    options_where(opts));
    if (on_read == ON_ERROR_ENOSPC)
        return fail(error, "%s: rerror=enospc makes no sense: reading takes no space",
                    options_where(opts));
    blk->media = (BlkMedia)media;
    blk->readonly |= media == MEDIA_CDROM;
    blk->snapshot &= !blk->readonly;
    blk->direct = cache == 1 || cache == 3;
    blk->write_cache = cache != 2 && cache != 3;
    blk->no_flush = cache == 4;
    /* What goes past the page cache has nothing to gain from the thread pool. */
    blk->native = aio == 1 || (blk->direct && !options_has(opts, "aio"));
    blk->native_asked = aio == 1;
    blk->discard = discard >= 2;
    blk->detect_zeroes = (BlkDetectZeroes)detect;
    blk->write_error = (BlkOnError)on_write;
    blk->read_error = (BlkOnError)on_read;
    if (blk->native && !blk->direct)
        return fail(error, "%s: aio=native needs cache=none or cache=directsync",
                    options_where(opts));
    if (blk->share && !blk->readonly)
        return fail(error, "%s: force-share=on needs readonly=on", options_where(opts));
    if (detect == DETECT_UNMAP && !blk->discard)
        return fail(error, "%s: detect-zeroes=unmap needs discard=unmap", options_where(opts));
    return true;
}

bool blk_read_overrides(const Options *opts, NodeMode *mode, GError **error)
{
    static const char *const backing_keys[] = {"backing", "backing.file", "backing.file.filename"};
    for (size_t i = 0; i < G_N_ELEMENTS(backing_keys); i++)
        if (options_has(opts, backing_keys[i]))
            mode->backing = options_get(opts, backing_keys[i]);
    mode->backing_format = options_get(opts, "backing.driver");
    mode->key_secret = options_get(opts, "key-secret");
    if (!mode->key_secret)
        mode->key_secret = options_get(opts, "encrypt.key-secret");
    mode->backing_key_secret = options_get(opts, "backing.key-secret");
    if (!mode->backing_key_secret)
        mode->backing_key_secret = options_get(opts, "backing.encrypt.key-secret");
    return options_get_size(opts, "offset", &mode->raw_offset, error) &&
           options_get_size(opts, "size", &mode->raw_size, error) &&
           options_get_size(opts, "l2-cache-size", &mode->l2_cache, error) &&
           options_get_size(opts, "refcount-cache-size", &mode->refcount_cache, error);
}
