/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives and their devices. */
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
    blk_free_if_gone(blk);
}

bool blk_tray_is_open(const Blk *blk)
{
    return blk->dev_ops && blk->dev_ops->tray_open ? blk->dev_ops->tray_open(blk->dev_opaque)
                                                   : blk->tray_open;
}

void blk_device_eject(Blk *blk, bool open)
{
    blk->tray_open = open;
    log_printf(LOG_BLOCK, "%s: the guest %s the tray", blk->id, open ? "opened" : "closed");
}
