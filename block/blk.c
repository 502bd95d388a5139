/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives: opening by -drive's options, the list of them, closing. */
#include "blk.h"

#include <errno.h>
#include <string.h>

#include "blk-job.h"
#include "block/blkdebug.h"
#include "util/error.h"
#include "util/log.h"

GPtrArray *blk_all;

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

static BlkNode *open_medium(Blk *blk, const char *file, const char *format, bool readonly,
                            const NodeMode *overrides, GError **error)
{
    NodeMode mode = *overrides;
    GError *reason = NULL;
    mode.file = (HostFileMode){.writable = !readonly && !blk->snapshot,
                               .direct = blk->direct,
                               .no_flush = blk->no_flush,
                               .native = blk->native,
                               .native_asked = blk->native_asked,
                               .share_rw = blk->share_rw,
                               .share = blk->share};
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
    if (blk->share_rw && node->fmt->alloc && !node->readonly) {
        fail(error,
             "'%s': share-rw=on is for raw images: two writers would destroy one of format "
             "'%s'",
             node->name, node->fmt->name);
        node_abandon(node);
        return NULL;
    }
    return blk->snapshot && !readonly ? add_overlay(blk, node, error) : node;
}

typedef struct MediumCall {
    Blk *blk;
    const char *file, *format;
    bool readonly;
    const NodeMode *overrides;
    GError **error;
    BlkNode *node;
} MediumCall;

static int open_in_back(void *opaque)
{
    MediumCall *c = opaque;
    c->node = open_medium(c->blk, c->file, c->format, c->readonly, c->overrides, c->error);
    return 0;
}

BlkNode *blk_open_medium(Blk *blk, const char *file, const char *format, bool readonly,
                         const NodeMode *overrides, GError **error)
{
    MediumCall call = {blk, file, format, readonly, overrides, error, NULL};
    blk_in_back(blk, open_in_back, &call);
    return call.node;
}

static int close_in_back(void *opaque)
{
    return node_close(opaque);
}

void blk_set_root(Blk *blk, BlkNode *root)
{
    blk->root = root;
    blk->size = root ? root->size : 0;
}

void blk_remove_medium(Blk *blk)
{
    BlkNode *root = blk->root;
    if (!root)
        return;
    g_autofree char *name = g_strdup(blk_file_name(blk));
    blk_set_root(blk, NULL);
    int ret = blk_in_back(blk, close_in_back, root);
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

void blk_free(Blk *blk)
{
    blk_leave_group(blk);
    if (blk->back) {
        blk_back_free(blk->back);
        co_sched_free(blk->sched);
    }
    co_sched_free(blk->front);
    bh_free(blk->kick);
    pthread_cond_destroy(&blk->finished);
    g_free(blk->dev_name);
    g_free(blk->id);
    g_free(blk);
}

void blk_free_if_gone(Blk *blk)
{
    if (blk->deleted && !blk->has_device && !blk->busy && !blk->settling)
        blk_free(blk);
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
    if (!blk_read_overrides(opts, &overrides, error))
        return false;
    blk_set_root(blk, blk_open_medium(blk, file, format, blk->readonly, &overrides, error));
    return blk->root;
}

/* Where its nodes are going to live. */
static bool choose_thread(Blk *blk, const Options *opts, GError **error)
{
    const char *id = options_get(opts, "iothread");
    IoThread *thread = id ? iothread_find(id, error) : NULL;
    if (id && !thread)
        return fail_prefix(error, "%s", options_where(opts));
    if (thread) {
        blk->sched = co_sched_new(iothread_loop(thread));
        blk->back = blk_back_new(blk, thread);
    }
    return true;
}

static bool open_all(Blk *blk, const Options *opts, GError **error)
{
    BlkLimits limits = {0};
    const char *group = NULL;
    if (blk_find(blk->id))
        return fail(error, "%s: there is a drive '%s' already", options_where(opts), blk->id);
    return blk_read_options(blk, opts, error) && blk_read_limits(opts, &limits, &group, error) &&
           choose_thread(blk, opts, error) && open_first_medium(blk, opts, error) &&
           blk_set_limits(blk, &limits, group, error);
}

Blk *blk_open(const Options *opts, GError **error)
{
    Blk *blk = g_new0(Blk, 1);
    blk->id = make_id(opts);
    blk->loop = loop_main();
    blk->front = blk->sched = co_sched_new(blk->loop);
    pthread_cond_init(&blk->finished, NULL);
    blk_io_init(blk);
    if (!open_all(blk, opts, error)) {
        blk_free(blk);
        return NULL;
    }
    if (!blk_all)
        blk_all = g_ptr_array_new();
    g_ptr_array_add(blk_all, blk);
    return blk;
}

void blk_unlist(Blk *blk)
{
    blk->deleted = true;
    g_ptr_array_remove(blk_all, blk);
}

void blk_close(Blk *blk)
{
    if (!blk)
        return;
    blk_job_cancel_now(blk);
    while (blk->busy)
        blk_wait_for_progress(blk);
    blk_drain(blk);
    while (blk->settling)
        blk_wait_for_progress(blk);
    blk_remove_medium(blk);
    blk_unlist(blk);
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
    return blk->size;
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

IoThread *blk_iothread(const Blk *blk)
{
    return blk->back ? blk_back_thread(blk->back) : NULL;
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

void blk_error_stopped(Blk *blk, int error)
{
    blk->io_error = error;
}

void blk_error_resumed(Blk *blk)
{
    blk->io_error = 0;
}

typedef struct InjectCall {
    BlkFile *file;
    const char *kind;
    const Options *rule;
    GError **error;
} InjectCall;

static int inject_in_back(void *opaque)
{
    InjectCall *c = opaque;
    if (c->kind)
        return blkdebug_add_rule(c->file, c->kind, c->rule, c->error) ? 0 : -EINVAL;
    blkdebug_clear(c->file);
    return 0;
}

bool blk_inject(Blk *blk, const char *kind, const Options *rule, GError **error)
{
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    InjectCall call = {blk_image(blk)->file, kind, rule, error};
    return !blk_in_back(blk, inject_in_back, &call);
}
