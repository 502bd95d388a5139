/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of open nodes: read-only, and writable again. */
#include "block/node.h"
#include "util/error.h"

int node_set_readonly(BlkNode *node)
{
    if (node->readonly)
        return 0;
    int ret = node_flush(node);
    if (!ret && node->fmt->finish)
        ret = node->fmt->finish(node);
    if (ret)
        return ret;
    node->readonly = true;
    for (BlkFile *file = node->file; file; file = file->below)
        file->readonly = true;
    node->mode.file.writable = false;
    /* To fewer locks: that cannot fail. */
    if (!node->mode.file.share)
        host_file_relock(node->file, false, false, NULL);
    return 0;
}

/* Gives node the locks that old had. */
static bool move_locks(BlkNode *old, BlkNode *node, bool writable, GError **error)
{
    if (!host_file_relock(old->file, false, true, error))
        return false;
    for (BlkNode *n = node; n; n = n->backing) {
        if (!host_file_relock(n->file, n == node && writable, false, error))
            return host_file_relock(old->file, !old->readonly, false, NULL) && false;
        n->mode.file.share = false;
    }
    return true;
}

BlkNode *node_reopen(BlkNode *old, bool writable, GError **error)
{
    NodeMode mode = old->mode;
    mode.file.writable = writable;
    mode.file.share = true; /* the old node still has the locks */
    mode.discard = writable;
    BlkNode *node =
        node_open(old->sched, old->name, old->probed ? NULL : old->fmt->name, &mode, error);
    if (node && !move_locks(old, node, writable, error)) {
        node_abandon(node);
        return NULL;
    }
    return node;
}
