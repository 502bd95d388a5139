/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info block` and `info blockstats`, in QEMU's words. */
#include <errno.h>
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
    g_string_append_printf(out, "    Removable device: %s, tray %s\n",
                           locked ? "locked" : "not locked",
                           blk_tray_is_open(blk) ? "open" : "closed");
}

static void describe_limits(const Blk *blk, GString *out)
{
    BlkLimits l;
    if (!blk_get_limits(blk, &l))
        return;
    g_string_append(out, "    I/O throttling:  ");
    static const char *const names[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};
    for (unsigned half = 0; half < BLK_LIMITS; half += 3) {
        for (unsigned i = half; i < half + 3; i++)
            g_string_append_printf(out, " %s=%" PRIu64, names[i], l.avg[i]);
        for (unsigned i = half; i < half + 3; i++)
            g_string_append_printf(out, " %.*s_max%s=%" PRIu64, half ? 4 : 3, names[i],
                                   names[i] + (half ? 4 : 3), l.max[i]);
    }
    g_string_append_printf(out, " iops_size=%" PRIu64 " group=%s\n", l.iops_size,
                           blk_group_name(blk));
}

/* An image as vmrun-img info tells it, in short. */
static void describe_image(const BlkNode *node, GString *out)
{
    g_autofree char *size = format_size(node->size);
    int64_t taken = host_file_allocated(node->file);
    g_autofree char *disk = taken < 0 ? g_strdup("unavailable") : format_size((uint64_t)taken);
    g_string_append_printf(
        out, "image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
        node->name, node->fmt->name, size, node->size, disk);
    if (node->fmt->alloc)
        g_string_append_printf(out, "cluster_size: %u\n", node->cluster);
    if (node->backing)
        g_string_append_printf(out, "backing file: %s\nbacking file format: %s\n",
                               node->backing->name, node->backing->fmt->name);
}

static void describe_images(const Blk *blk, GString *out)
{
    g_string_append(out, "\nImages:\n");
    for (const BlkNode *n = blk_image(blk); n; n = n->backing) {
        describe_image(n, out);
        if (n->backing)
            g_string_append_c(out, '\n');
    }
}

static void describe_medium_state(const Blk *blk, GString *out)
{
    if (blk->io_error)
        g_string_append_printf(out, "    I/O status:       %s\n",
                               blk->io_error == ENOSPC ? "nospace" : "failed");
    g_string_append_printf(out, "    Cache mode:       %s%s%s\n",
                           blk->write_cache ? "writeback" : "writethrough",
                           blk->direct ? ", direct" : "", blk->no_flush ? ", ignore flushes" : "");
    if (blk->detect_zeroes != DETECT_OFF)
        g_string_append_printf(out, "    Detect zeroes:    %s\n",
                               blk->detect_zeroes == DETECT_UNMAP ? "unmap" : "on");
    if (blk->back)
        g_string_append_printf(out, "    I/O thread:       %s\n", iothread_id(blk_iothread(blk)));
    describe_limits(blk, out);
}

void blk_describe(Blk *blk, bool verbose, GString *out)
{
    if (blk->root)
        describe_medium(blk, out);
    else
        g_string_append_printf(out, "%s: [not inserted]\n", blk->id);
    describe_device(blk, out);
    if (blk->root)
        describe_medium_state(blk, out);
    if (blk->root && verbose)
        describe_images(blk, out);
}

static void describe_stats(Blk *blk, GString *out)
{
    const BlkStats *s = &blk->stats;
    g_string_append_printf(out,
                           "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64
                           " wr_operations=%" PRIu64 " flush_operations=%" PRIu64
                           " wr_total_time_ns=%" PRIu64 " rd_total_time_ns=%" PRIu64
                           " flush_total_time_ns=%" PRIu64 " rd_merged=0 wr_merged=0",
                           blk->id, s->read_bytes, s->write_bytes, s->read_ops, s->write_ops,
                           s->flush_ops, s->write_ns, s->read_ns, s->flush_ns);
    if (blk->last_used)
        g_string_append_printf(out, " idle_time_ns=%" PRId64,
                               clock_now(VM_CLOCK_HOST) - blk->last_used);
    g_string_append_printf(out, " unmap_operations=%" PRIu64 " failed_operations=%" PRIu64 "\n",
                           s->discard_ops, s->failed_ops);
}

void blk_describe_all(GString *out, bool verbose)
{
    for (unsigned i = 0; blk_all && i < blk_all->len; i++) {
        if (i)
            g_string_append_c(out, '\n');
        blk_describe(g_ptr_array_index(blk_all, i), verbose, out);
    }
}

void blk_describe_stats(GString *out)
{
    for (unsigned i = 0; blk_all && i < blk_all->len; i++)
        describe_stats(g_ptr_array_index(blk_all, i), out);
}
