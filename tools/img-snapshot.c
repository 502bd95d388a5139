/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img snapshot. */
#include <stdio.h>
#include <string.h>

#include "img.h"
#include "util/error.h"
#include "util/log.h"

static int run_snapshot(int argc, char **argv);

const Command command_snapshot = {
    .name = "snapshot",
    .synopsis = "[--object OBJECT] [--image-opts] [-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | "
                "-d SNAPSHOT] FILE",
    .help = "Lists (or without -l, too), makes, applies and deletes an image's internal "
            "snapshots.\n\n"
            "  -l           list them\n"
            "  -c SNAPSHOT  make one of that name\n"
            "  -a SNAPSHOT  put the disk back to one, by ID or name\n"
            "  -d SNAPSHOT  delete one\n"
            "  -q           say nothing but errors\n"
            "  -U           list them even if a program is writing the image\n",
    .run = run_snapshot,
};

void img_print_snapshots(const BlkNode *node)
{
    const NodeSnapshot *s = node->fmt->snapshot ? node->fmt->snapshot(node, 0) : NULL;
    if (!s)
        return;
    g_autoptr(GString) rows = g_string_new("Snapshot list:\n" NODE_SNAPSHOT_HEADING);
    for (unsigned n = 0; (s = node->fmt->snapshot(node, n)); n++)
        node_snapshot_describe(s, s->id, rows);
    fputs(rows->str, stdout);
}

static bool create(BlkNode *node, const char *name, GError **error)
{
    int64_t now = g_get_real_time();
    NodeSnapshot info = {.name = (char *)(uintptr_t)name,
                         .date_sec = (uint32_t)(now / 1000000),
                         .date_nsec = (uint32_t)(now % 1000000) * 1000,
                         .icount = -1};
    return node_snapshot_create(node, &info, error);
}

static int act(BlkNode *node, int action, const char *name)
{
    GError *error = NULL;
    bool ok = true;
    switch (action) {
    case 'c':
        ok = create(node, name, &error) ||
             fail_prefix(&error, "Could not create snapshot '%s'", name);
        break;
    case 'a':
        ok = node_snapshot_apply(node, name, &error) ||
             fail_prefix(&error, "Could not apply snapshot '%s'", name);
        break;
    case 'd':
        ok = node_snapshot_delete(node, name, &error) ||
             fail_prefix(&error, "Could not delete snapshot '%s'", name);
        break;
    default:
        img_print_snapshots(node);
    }
    return ok ? 0 : img_fail(error);
}

static int run_snapshot(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS, IMG_SHARE, {0}};
    ImgOpen open = {.mode = {.no_backing = true, .discard = true}};
    const char *name = NULL;
    int action = 0, c;
    GError *error = NULL;
    while ((c = img_getopt(&command_snapshot, argc, argv, ":la:c:d:f:qUh", long_options)) != -1) {
        if (c == 'l' || c == 'a' || c == 'c' || c == 'd') {
            if (action) {
                report_error("snapshot: only one of -l, -a, -c and -d at a time");
                return 1;
            }
            action = c;
            name = optarg;
        } else if (c != 'q' && !img_open_option(&open, c, optarg)) {
            return c != 'h';
        }
    }
    if (argc - optind != 1) {
        report_error("snapshot: Expecting one image file name");
        return 1;
    }
    open.mode.file.writable = action && action != 'l';
    if (open.mode.file.writable && open.mode.file.share) {
        report_error("snapshot: -U lists only: an image in use must not be changed");
        return 1;
    }
    BlkNode *node = img_open(&open, argv[optind], &error);
    if (!node)
        return img_fail(error);
    return img_close(node, act(node, action, name));
}
