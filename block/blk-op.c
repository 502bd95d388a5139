/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work on drives beside the guest: eject, change, resize, a new overlay, delete.
 *
 * Each runs as a coroutine of the main loop.  It has the drive to itself (blk_take()), so that no
 * second one can come in between whatever it waits for, and holds requests back while nodes are
 * replaced.
 */
#include <errno.h>

#include "blk.h"
#include "util/error.h"
#include "util/log.h"

bool blk_is_free(const Blk *blk, GError **error)
{
    return !blk->busy || fail(error, "drive '%s' is busy: %s is under way", blk->id, blk->busy);
}

bool blk_take(Blk *blk, const char *what, GError **error)
{
    if (!blk_is_free(blk, error))
        return false;
    blk->busy = what;
    return true;
}

void blk_give(Blk *blk)
{
    blk->busy = NULL;
    pthread_cond_broadcast(&blk->finished);
    loop_wake(blk->loop);
}

const char *blk_busy(const Blk *blk)
{
    return blk->busy;
}

typedef struct BlkWork BlkWork;
struct BlkWork {
    Blk *blk;
    bool (*run)(BlkWork *op, GError **error);
    GError *error;
    BlkOpDone *done;
    void *opaque;
    /* What it is to do. */
    char *file, *format;
    bool readonly, force, reuse;
    uint64_t size;
};

static void op_free(BlkWork *op)
{
    g_free(op->file);
    g_free(op->format);
    g_free(op);
}

static void op_run(void *opaque)
{
    BlkWork *op = opaque;
    op->run(op, &op->error);
}

static void op_ended(void *opaque)
{
    BlkWork *op = opaque;
    Blk *blk = op->blk;
    blk_give(blk);
    blk_free_if_gone(blk);
    op->done(op->opaque, op->error);
    op_free(op);
}

/* Takes over what. */
static void op_start(Blk *blk, const char *name, bool (*run)(BlkWork *op, GError **error),
                     BlkWork what, BlkOpDone *done, void *opaque)
{
    BlkWork *op = g_memdup2(&what, sizeof(what));
    op->blk = blk;
    op->run = run;
    op->done = done;
    op->opaque = opaque;
    if (blk_take(blk, name, &op->error)) {
        co_start(blk->front, op_run, op_ended, op);
        return;
    }
    done(opaque, op->error);
    op_free(op);
}

void blk_op_done(void *opaque, GError *error)
{
    BlkOpWait *wait = opaque;
    wait->error = error;
    wait->done = true;
}

bool blk_op_wait(Blk *blk, BlkOpWait *wait, GError **error)
{
    while (!wait->done)
        blk_wait_for_progress(blk);
    if (!wait->error)
        return true;
    g_propagate_error(error, wait->error);
    return false;
}

/* ---- Eject and change ---- */

static void tell_device(Blk *blk, bool present)
{
    if (blk->dev_ops && blk->dev_ops->medium_changed)
        blk->dev_ops->medium_changed(blk->dev_opaque, blk, present);
}

/* Whether the person may take the medium now; asks the guest for it otherwise. */
static bool release_medium(Blk *blk, bool force, GError **error)
{
    const BlkDevOps *ops = blk->dev_ops;
    if (!blk_is_removable(blk))
        return fail(error, "drive '%s' is not removable", blk->id);
    bool locked = ops && ops->medium_locked && ops->medium_locked(blk->dev_opaque);
    if (!locked || blk_tray_is_open(blk))
        return true;
    if (ops->eject_request)
        ops->eject_request(blk->dev_opaque, blk, force);
    return force || fail(error,
                         "drive '%s' is locked by the guest, which was asked to release it; try "
                         "again, or force it",
                         blk->id);
}

static bool run_eject(BlkWork *op, GError **error)
{
    Blk *blk = op->blk;
    if (!release_medium(blk, op->force, error))
        return false;
    if (!blk->root)
        return true;
    blk_hold(blk);
    blk_remove_medium(blk);
    tell_device(blk, false);
    blk_release(blk);
    return true;
}

void blk_eject_start(Blk *blk, bool force, BlkOpDone *done, void *opaque)
{
    op_start(blk, "eject", run_eject, (BlkWork){.force = force}, done, opaque);
}

bool blk_eject(Blk *blk, bool force, GError **error)
{
    BlkOpWait wait = {0};
    blk_eject_start(blk, force, blk_op_done, &wait);
    return blk_op_wait(blk, &wait, error);
}

static bool run_change(BlkWork *op, GError **error)
{
    Blk *blk = op->blk;
    NodeMode none = {0};
    if (!release_medium(blk, op->force, error))
        return false;
    bool readonly = op->readonly || blk->media == MEDIA_CDROM;
    BlkNode *node = blk_open_medium(blk, op->file, op->format, readonly, &none, error);
    if (!node)
        return false;
    blk_hold(blk);
    blk_remove_medium(blk);
    tell_device(blk, false);
    blk_set_root(blk, node);
    blk->readonly = readonly;
    blk->tray_open = false;
    tell_device(blk, true);
    blk_release(blk);
    return true;
}

void blk_change_start(Blk *blk, const char *file, const char *format, bool readonly, bool force,
                      BlkOpDone *done, void *opaque)
{
    BlkWork op = {
        .file = g_strdup(file), .format = g_strdup(format), .readonly = readonly, .force = force};
    op_start(blk, "change", run_change, op, done, opaque);
}

bool blk_change(Blk *blk, const char *file, const char *format, bool readonly, GError **error)
{
    BlkOpWait wait = {0};
    blk_change_start(blk, file, format, readonly, false, blk_op_done, &wait);
    return blk_op_wait(blk, &wait, error);
}

/* ---- Resize ---- */

typedef struct Resize {
    BlkNode *node;
    uint64_t size;
    GError **error;
} Resize;

static int resize_in_back(void *opaque)
{
    Resize *r = opaque;
    return node_resize(r->node, r->size, PREALLOC_OFF, r->error) ? 0 : -EINVAL;
}

static bool check_resize(const Blk *blk, uint64_t size, GError **error)
{
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk_readonly(blk))
        return fail(error, "drive '%s' is read-only", blk->id);
    if (!size || size % BLK_SECTOR || size > INT64_MAX)
        return fail(error, "the size must be a multiple of %u bytes and more than 0", BLK_SECTOR);
    return true;
}

static bool run_resize(BlkWork *op, GError **error)
{
    Blk *blk = op->blk;
    if (!check_resize(blk, op->size, error))
        return false;
    blk_hold(blk);
    Resize r = {blk->root, op->size, error};
    int ret = blk_in_back(blk, resize_in_back, &r);
    blk->size = blk->root->size;
    if (!ret && blk->dev_ops && blk->dev_ops->resized)
        blk->dev_ops->resized(blk->dev_opaque, blk);
    blk_release(blk);
    return !ret;
}

void blk_resize_start(Blk *blk, uint64_t size, BlkOpDone *done, void *opaque)
{
    op_start(blk, "block_resize", run_resize, (BlkWork){.size = size}, done, opaque);
}

bool blk_resize(Blk *blk, uint64_t size, GError **error)
{
    BlkOpWait wait = {0};
    blk_resize_start(blk, size, blk_op_done, &wait);
    return blk_op_wait(blk, &wait, error);
}

/* ---- A new overlay ---- */

typedef struct Snapshot {
    Blk *blk;
    const BlkWork *op;
    GError **error;
    BlkNode *overlay;
} Snapshot;

/* The overlay as an image of its own; its backing file is put below it afterwards. */
static BlkNode *open_overlay(Blk *blk, const BlkWork *op, GError **error)
{
    const char *format = op->format ? op->format : "qcow2";
    BlkNode *old = blk->root;
    if (!op->reuse) {
        g_autofree char *path = node_backing_name(old);
        CreateSpec spec = {.size = old->size, .backing = path, .backing_format = old->fmt->name};
        if (!image_create(blk->sched, op->file, format, &spec, true, true, error))
            return NULL;
    }
    NodeMode mode = old->mode;
    mode.no_backing = true;
    mode.backing = mode.backing_format = mode.key_secret = mode.backing_key_secret = NULL;
    mode.raw_offset = mode.raw_size = 0;
    BlkNode *node = node_open(blk->sched, op->file, format, &mode, error);
    if (node && node->size < old->size) {
        fail(error, "'%s' is smaller than the disk", op->file);
        node_abandon(node);
        return NULL;
    }
    return node;
}

static int snapshot_in_back(void *opaque)
{
    Snapshot *s = opaque;
    Blk *blk = s->blk;
    BlkNode *old = blk->root;
    int ret = node_flush(old);
    if (ret) {
        fail_errno(s->error, -ret, "cannot flush '%s'", old->name);
        return ret;
    }
    BlkNode *node = open_overlay(blk, s->op, s->error);
    if (!node)
        return -EINVAL;
    ret = node_set_readonly(old);
    if (ret) {
        fail_errno(s->error, -ret, "cannot flush '%s'", old->name);
        node_abandon(node);
        return ret;
    }
    node->backing = old;
    node->mode.no_backing = false;
    s->overlay = node;
    return 0;
}

static bool run_snapshot(BlkWork *op, GError **error)
{
    Blk *blk = op->blk;
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk_readonly(blk))
        return fail(error, "drive '%s' is read-only: there is nothing to keep apart", blk->id);
    if (blk->root->temporary)
        return fail(error, "drive '%s' writes to a temporary file already (snapshot=on)", blk->id);
    Snapshot s = {blk, op, error, NULL};
    blk_hold(blk);
    if (!blk_in_back(blk, snapshot_in_back, &s))
        blk_set_root(blk, s.overlay);
    blk_release(blk);
    return s.overlay;
}

void blk_snapshot_start(Blk *blk, const char *file, const char *format, bool reuse, BlkOpDone *done,
                        void *opaque)
{
    BlkWork op = {.file = g_strdup(file), .format = g_strdup(format), .reuse = reuse};
    op_start(blk, "snapshot_blkdev", run_snapshot, op, done, opaque);
}

bool blk_snapshot(Blk *blk, const char *file, const char *format, bool reuse, GError **error)
{
    BlkOpWait wait = {0};
    blk_snapshot_start(blk, file, format, reuse, blk_op_done, &wait);
    return blk_op_wait(blk, &wait, error);
}

/* ---- Delete ---- */

static bool run_delete(BlkWork *op, GError **error)
{
    Blk *blk = op->blk;
    blk_hold(blk);
    blk_remove_medium(blk);
    if (blk->has_device && blk_is_removable(blk))
        tell_device(blk, false);
    blk_unlist(blk);
    blk_release(blk);
    return true;
}

void blk_delete_start(Blk *blk, BlkOpDone *done, void *opaque)
{
    op_start(blk, "drive_del", run_delete, (BlkWork){0}, done, opaque);
}
