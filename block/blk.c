/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives: opening by -drive's options, the list of them, closing. */
#include "blk.h"

#include <errno.h>
#include <string.h>

#include "util/error.h"
#include "util/log.h"

GPtrArray *blk_all;

/* Keys that belong to the board, which has served them. */
#define BOARD_KEYS "if", "index", "bus", "unit"
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
                                         "backing",
                                         "backing.file",
                                         "backing.file.filename",
                                         "backing.driver",
                                         "l2-cache-size",
                                         "refcount-cache-size",
                                         "key-secret",
                                         "encrypt.key-secret",
                                         BOARD_KEYS,
                                         NULL};
static const char *const media_words[] = {"disk", "cdrom", "floppy", NULL};
static const char *const cache_words[] = {"writeback",  "none",   "writethrough",
                                          "directsync", "unsafe", NULL};
static const char *const aio_words[] = {"threads", "native", NULL};
static const char *const discard_words[] = {"ignore", "off", "unmap", "on", NULL};
static const char *const detect_words[] = {"off", "on", "unmap", NULL};
static const char *const error_words[] = {"report", "ignore", "stop", "enospc", NULL};

static bool check_keys(const Options *opts, GError **error)
{
    const char *key, *value;
    for (unsigned i = 0; options_nth(opts, i, &key, &value); i++) {
        if (g_strv_contains(known_keys, key))
            continue;
        const char *near = nearest_word(key, known_keys);
        return fail(error, "%s: unknown key '%s'%s%s%s", options_where(opts), key,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return true;
}

/* Reads all that does not concern one medium. */
static bool read_options(Blk *blk, const Options *opts, GError **error)
{
    unsigned media = MEDIA_DISK, cache = 0, aio = 0, discard = 0, detect = DETECT_OFF;
    unsigned on_write = ON_ERROR_ENOSPC, on_read = ON_ERROR_REPORT;
    if (!check_keys(opts, error) || !options_get_enum(opts, "media", media_words, &media, error) ||
        !options_get_enum(opts, "cache", cache_words, &cache, error) ||
        !options_get_enum(opts, "aio", aio_words, &aio, error) ||
        !options_get_enum(opts, "discard", discard_words, &discard, error) ||
        !options_get_enum(opts, "detect-zeroes", detect_words, &detect, error) ||
        !options_get_enum(opts, "werror", error_words, &on_write, error) ||
        !options_get_enum(opts, "rerror", error_words, &on_read, error) ||
        !options_get_bool(opts, "readonly", &blk->readonly, error) ||
        !options_get_bool(opts, "read-only", &blk->readonly, error) ||
        !options_get_bool(opts, "snapshot", &blk->snapshot, error))
        return false;
    if (on_read == ON_ERROR_ENOSPC)
        return fail(error, "%s: rerror=enospc makes no sense: reading takes no space",
                    options_where(opts));
    blk->media = (BlkMedia)media;
    blk->readonly |= media == MEDIA_CDROM;
    blk->snapshot &= !blk->readonly;
    blk->direct = cache == 1 || cache == 3;
    blk->write_cache = cache != 2 && cache != 3;
    blk->no_flush = cache == 4;
    blk->native = aio == 1;
    blk->discard = discard >= 2;
    blk->detect_zeroes = (BlkDetectZeroes)detect;
    blk->write_error = (BlkOnError)on_write;
    blk->read_error = (BlkOnError)on_read;
    if (blk->native && !blk->direct)
        return fail(error, "%s: aio=native needs cache=none or cache=directsync",
                    options_where(opts));
    if (detect == DETECT_UNMAP && !blk->discard)
        return fail(error, "%s: detect-zeroes=unmap needs discard=unmap", options_where(opts));
    return true;
}

static bool read_overrides(const Options *opts, NodeMode *mode, GError **error)
{
    static const char *const backing_keys[] = {"backing", "backing.file", "backing.file.filename"};
    for (size_t i = 0; i < G_N_ELEMENTS(backing_keys); i++)
        if (options_has(opts, backing_keys[i]))
            mode->backing = options_get(opts, backing_keys[i]);
    mode->backing_format = options_get(opts, "backing.driver");
    mode->key_secret = options_get(opts, "key-secret");
    if (!mode->key_secret)
        mode->key_secret = options_get(opts, "encrypt.key-secret");
    return options_get_size(opts, "l2-cache-size", &mode->l2_cache, error) &&
           options_get_size(opts, "refcount-cache-size", &mode->refcount_cache, error);
}

/* ---- Media ---- */

/* Puts a temporary qcow2 over image; takes it over. */
static BlkNode *add_overlay(Blk *blk, BlkNode *image, GError **error)
{
    CreateSpec spec = {.size = image->size};
    NodeMode mode = {
        .file = {.writable = true, .no_flush = true}, .no_backing = true, .discard = true};
    BlkNode *overlay = NULL;
    const BlkFormat *qcow2 = format_find("qcow2", error);
    BlkFile *file = qcow2 ? host_file_temporary(blk->sched, error) : NULL;
    if (file && qcow2->create(file, &spec, error))
        overlay = node_open_file(file, "qcow2", &mode, error);
    else
        file_close(file);
    if (!overlay) {
        node_abandon(image);
        return NULL;
    }
    overlay->backing = image;
    overlay->temporary = true;
    return overlay;
}

BlkNode *blk_open_medium(Blk *blk, const char *file, const char *format, bool readonly,
                         const NodeMode *overrides, GError **error)
{
    NodeMode mode = *overrides;
    GError *reason = NULL;
    mode.file = (HostFileMode){.writable = !readonly && !blk->snapshot,
                               .direct = blk->direct,
                               .no_flush = blk->no_flush,
                               .native = blk->native};
    mode.discard = blk->discard;
    BlkNode *node = node_open(blk->sched, file, format, &mode, &reason);
    if (!node) {
        if (mode.file.writable && g_str_has_suffix(reason->message, g_strerror(EACCES)))
            fail(error, "%s (readonly=on opens it for reading, snapshot=on keeps writes apart)",
                 reason->message);
        else
            g_propagate_error(error, g_steal_pointer(&reason));
        g_clear_error(&reason);
        return NULL;
    }
    return blk->snapshot && !readonly ? add_overlay(blk, node, error) : node;
}

void blk_remove_medium(Blk *blk)
{
    blk_drain(blk);
    BlkNode *root = blk->root;
    if (!root)
        return;
    g_autofree char *name = g_strdup(blk_file_name(blk));
    blk->root = NULL;
    int ret = node_close(root);
    if (ret)
        report_error("%s: '%s' could not be written completely: %s", blk->id, name,
                     g_strerror(-ret));
}

/* ---- Opening and closing ---- */

static char *make_id(const Options *opts)
{
    const char *id = options_get(opts, "id");
    if (id)
        return g_strdup(id);
    for (unsigned n = 0;; n++) {
        char *name = g_strdup_printf("drive%u", n);
        if (!blk_find(name))
            return name;
        g_free(name);
    }
}

static void blk_free(Blk *blk)
{
    co_sched_free(blk->sched);
    pthread_cond_destroy(&blk->finished);
    g_free(blk->dev_name);
    g_free(blk->id);
    g_free(blk);
}

static bool open_first_medium(Blk *blk, const Options *opts, GError **error)
{
    NodeMode overrides = {0};
    const char *file = options_get(opts, "file");
    const char *format = options_get(opts, "format");
    if (!format)
        format = options_get(opts, "driver");
    if (!file || !*file) {
        if (blk_is_removable(blk))
            return true;
        return fail(error, "%s: drive '%s' needs file=IMAGE", options_where(opts), blk->id);
    }
    if (!read_overrides(opts, &overrides, error))
        return false;
    blk->root = blk_open_medium(blk, file, format, blk->readonly, &overrides, error);
    return blk->root;
}

Blk *blk_open(const Options *opts, GError **error)
{
    Blk *blk = g_new0(Blk, 1);
    blk->id = make_id(opts);
    blk->loop = loop_main();
    blk->sched = co_sched_new(blk->loop);
    pthread_cond_init(&blk->finished, NULL);
    bool ok = !blk_find(blk->id) ||
              fail(error, "%s: there is a drive '%s' already", options_where(opts), blk->id);
    if (!ok || !read_options(blk, opts, error) || !open_first_medium(blk, opts, error)) {
        blk_free(blk);
        return NULL;
    }
    if (!blk_all)
        blk_all = g_ptr_array_new();
    g_ptr_array_add(blk_all, blk);
    return blk;
}

void blk_close(Blk *blk)
{
    if (!blk)
        return;
    blk_remove_medium(blk);
    g_ptr_array_remove(blk_all, blk);
    blk_free(blk);
}

void blk_close_all(void)
{
    while (blk_all && blk_all->len)
        blk_close(g_ptr_array_index(blk_all, blk_all->len - 1));
    g_clear_pointer(&blk_all, g_ptr_array_unref);
}

/* ---- Finding ---- */

Blk *blk_find(const char *id)
{
    for (unsigned i = 0; blk_all && i < blk_all->len; i++) {
        Blk *blk = g_ptr_array_index(blk_all, i);
        if (!strcmp(blk->id, id))
            return blk;
    }
    return NULL;
}

void *blk_resolve(const char *id, GError **error)
{
    Blk *blk = blk_find(id);
    if (blk)
        return blk;
    g_autoptr(GString) names = g_string_new(NULL);
    for (unsigned i = 0; blk_all && i < blk_all->len; i++)
        g_string_append_printf(
            names, "%s%s", i ? ", " : "; there are: ", ((Blk *)g_ptr_array_index(blk_all, i))->id);
    fail(error, "no drive with id '%s'%s", id, names->str);
    return NULL;
}

void blk_foreach(void (*fn)(Blk *blk, void *opaque), void *opaque)
{
    for (unsigned i = 0; blk_all && i < blk_all->len; i++)
        fn(g_ptr_array_index(blk_all, i), opaque);
}

/* ---- Properties ---- */

const char *blk_id(const Blk *blk)
{
    return blk->id;
}

BlkNode *blk_image(const Blk *blk)
{
    return blk->root && blk->root->temporary ? blk->root->backing : blk->root;
}

const char *blk_file_name(const Blk *blk)
{
    return blk->root ? blk_image(blk)->name : NULL;
}

const char *blk_format_name(const Blk *blk)
{
    return blk->root ? blk_image(blk)->fmt->name : NULL;
}

uint64_t blk_size(const Blk *blk)
{
    return blk->root ? blk->root->size : 0;
}

bool blk_readonly(const Blk *blk)
{
    return blk->readonly || (blk->root && blk->root->readonly);
}

bool blk_is_cdrom(const Blk *blk)
{
    return blk->media == MEDIA_CDROM;
}

bool blk_is_removable(const Blk *blk)
{
    return blk->media != MEDIA_DISK;
}

bool blk_has_medium(const Blk *blk)
{
    return blk->root;
}

bool blk_write_cache(const Blk *blk)
{
    return blk->write_cache;
}

void blk_set_write_cache(Blk *blk, bool on)
{
    blk->write_cache = on;
}

EventLoop *blk_loop(const Blk *blk)
{
    return blk->loop;
}

const BlkStats *blk_stats(const Blk *blk)
{
    return &blk->stats;
}

static BlkErrorAction action_of(BlkOnError on, int error)
{
    switch (on) {
    case ON_ERROR_IGNORE:
        return BLK_ERROR_IGNORE;
    case ON_ERROR_STOP:
        return BLK_ERROR_STOP;
    case ON_ERROR_ENOSPC:
        return error == ENOSPC || error == -ENOSPC ? BLK_ERROR_STOP : BLK_ERROR_REPORT;
    default:
        return BLK_ERROR_REPORT;
    }
}

BlkErrorAction blk_error_action(const Blk *blk, bool write, int error)
{
    return action_of(write ? blk->write_error : blk->read_error, error);
}
