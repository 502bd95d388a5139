/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info block` and `info blockstats`, in QEMU's words. */
#include <inttypes.h>

#include "blk.h"
#include "util/timer.h"

static void describe_medium(Blk *blk, GString *out)
{
    BlkNode *image = blk_image(blk);
    unsigned depth = 0;
    for (BlkNode *n = image; n->backing; n = n->backing)
        depth++;
    g_string_append_printf(out, "%s: %s (%s%s)\n", blk->id, image->name, image->fmt->name,
                           blk_readonly(blk) ? ", read-only" : "");
    if (blk->root->temporary)
        g_string_append(out, "    Snapshot:         writes go to a temporary file\n");
    if (image->backing)
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %u)\n",
                               image->backing->name, depth);
}

static void describe_device(Blk *blk, GString *out)
{
    const BlkDevOps *ops = blk->dev_ops;
    if (blk->has_device)
        g_string_append_printf(out, "    Attached to:      %s\n", blk->dev_name);
    if (!blk_is_removable(blk))
        return;
    bool locked = ops && ops->medium_locked && ops->medium_locked(blk->dev_opaque);
    bool open = ops && ops->tray_open ? ops->tray_open(blk->dev_opaque) : blk->tray_open;
    g_string_append_printf(out, "    Removable device: %s, tray %s\n",
                           locked ? "locked" : "not locked", open ? "open" : "closed");
}

void blk_describe(Blk *blk, GString *out)
{
    if (blk->root)
        describe_medium(blk, out);
    else
        g_string_append_printf(out, "%s: [not inserted]\n", blk->id);
    describe_device(blk, out);
    if (blk->root)
        g_string_append_printf(
            out, "    Cache mode:       %s%s%s\n", blk->write_cache ? "writeback" : "writethrough",
            blk->direct ? ", direct" : "", blk->no_flush ? ", ignore flushes" : "");
    if (blk->root && blk->detect_zeroes != DETECT_OFF)
        g_string_append_printf(out, "    Detect zeroes:    %s\n",
                               blk->detect_zeroes == DETECT_UNMAP ? "unmap" : "on");
}

static void describe_stats(Blk *blk, GString *out)
{
    const BlkStats *s = &blk->stats;
    g_string_append_printf(
        out,
        "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
        " wr_operations=%" PRIu64 " flush_operations=%" PRIu64 " unmap_operations=%" PRIu64
        " wr_total_time_ns=%" PRIu64 " rd_total_time_ns=%" PRIu64 " flush_total_time_ns=%" PRIu64
        " failed_operations=%" PRIu64,
        blk->id, s->read_bytes, s->write_bytes, s->read_ops, s->write_ops, s->flush_ops,
        s->discard_ops, s->write_ns, s->read_ns, s->flush_ns, s->failed_ops);
    if (blk->last_used)
        g_string_append_printf(out, " idle_time_ns=%" PRId64,
                               clock_now(VM_CLOCK_HOST) - blk->last_used);
    g_string_append_c(out, '\n');
}

void blk_describe_all(GString *out, bool stats)
{
    for (unsigned i = 0; blk_all && i < blk_all->len; i++) {
        if (i && !stats)
            g_string_append_c(out, '\n');
        if (stats)
            describe_stats(g_ptr_array_index(blk_all, i), out);
        else
            blk_describe(g_ptr_array_index(blk_all, i), out);
    }
}
