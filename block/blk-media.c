/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives and their devices: attaching, eject, change; commit. */
#include <errno.h>

#include "blk.h"
#include "util/error.h"
#include "util/log.h"

bool blk_attach_device(Blk *blk, const BlkDevOps *ops, void *opaque, const char *name,
                       GError **error)
{
    if (blk->has_device)
        return fail(error, "drive '%s' belongs to device '%s' already", blk->id, blk->dev_name);
    blk->has_device = true;
    blk->dev_ops = ops;
    blk->dev_opaque = opaque;
    blk->dev_name = g_strdup(name);
    return true;
}

void blk_detach_device(Blk *blk)
{
    blk_drain(blk);
    blk->has_device = false;
    blk->dev_ops = NULL;
    blk->dev_opaque = NULL;
    g_clear_pointer(&blk->dev_name, g_free);
}

static void tell_device(Blk *blk, bool present)
{
    if (blk->dev_ops && blk->dev_ops->medium_changed)
        blk->dev_ops->medium_changed(blk->dev_opaque, blk, present);
}

static bool tray_is_open(const Blk *blk)
{
    return blk->dev_ops && blk->dev_ops->tray_open ? blk->dev_ops->tray_open(blk->dev_opaque)
                                                   : blk->tray_open;
}

/* Whether the person may take the medium now; asks the guest for it otherwise. */
static bool release_medium(Blk *blk, bool force, GError **error)
{
    const BlkDevOps *ops = blk->dev_ops;
    if (!blk_is_removable(blk))
        return fail(error, "drive '%s' is not removable", blk->id);
    bool locked = ops && ops->medium_locked && ops->medium_locked(blk->dev_opaque);
    if (!locked || tray_is_open(blk))
        return true;
    if (ops->eject_request)
        ops->eject_request(blk->dev_opaque, blk, force);
    return force || fail(error,
                         "drive '%s' is locked by the guest, which was asked to release it; try "
                         "again, or force it",
                         blk->id);
}

bool blk_eject(Blk *blk, bool force, GError **error)
{
    if (!release_medium(blk, force, error))
        return false;
    if (blk->root) {
        blk_remove_medium(blk);
        tell_device(blk, false);
    }
    return true;
}

bool blk_change(Blk *blk, const char *file, const char *format, bool readonly, GError **error)
{
    NodeMode none = {0};
    if (!release_medium(blk, false, error))
        return false;
    readonly |= blk->media == MEDIA_CDROM;
    BlkNode *node = blk_open_medium(blk, file, format, readonly, &none, error);
    if (!node)
        return false;
    blk_remove_medium(blk);
    tell_device(blk, false);
    blk->root = node;
    blk->readonly = readonly;
    blk->tray_open = false;
    tell_device(blk, true);
    return true;
}

void blk_device_eject(Blk *blk, bool open)
{
    blk->tray_open = open;
    log_printf(LOG_BLOCK, "%s: the guest %s the tray", blk->id, open ? "opened" : "closed");
}

bool blk_commit(Blk *blk, GError **error)
{
    if (!blk->root)
        return fail(error, "drive '%s' has no medium", blk->id);
    if (blk->root->readonly)
        return fail(error, "drive '%s' is read-only: there is nothing to commit", blk->id);
    if (!blk->root->backing)
        return fail(error, "'%s' has no backing file to commit to", blk->root->name);
    blk_drain(blk);
    return node_commit(blk->root, error);
}
