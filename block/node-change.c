/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of open nodes: read-only, and writable again. */
#include "block/node.h"
#include "util/error.h"

/* Its files: number 0 is node->file, then those that the format has besides; NULL past the end. */
static BlkFile *file_number(const BlkNode *node, unsigned n)
{
    if (!n)
        return node->file;
    return node->fmt->other_file ? node->fmt->other_file(node, n - 1) : NULL;
}

static bool lock_files(BlkNode *node, bool writable, bool drop, GError **error)
{
    BlkFile *file;
    for (unsigned n = 0; (file = file_number(node, n)); n++)
        if (!host_file_relock(file, writable, drop, error))
            return false;
    return true;
}

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
    BlkFile *file;
    for (unsigned n = 0; (file = file_number(node, n)); n++)
        for (; file; file = file->below)
            file->readonly = true;
    node->mode.file.writable = false;
    /* To fewer locks: that cannot fail. */
    if (!node->mode.file.share)
        lock_files(node, false, false, NULL);
    return 0;
}

/* Gives node the locks that old had. */
static bool move_locks(BlkNode *old, BlkNode *node, bool writable, GError **error)
{
    if (!lock_files(old, false, true, error))
        return false;
    for (BlkNode *n = node; n; n = n->backing) {
        if (!lock_files(n, n == node && writable, false, error))
            return lock_files(old, !old->readonly, false, NULL) && false;
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
