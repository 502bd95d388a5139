/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots of all drives at once: what savevm, loadvm and delvm do to the disks.
 *
 * The machine's state lies in the image of the first drive.  A snapshot by a name that is there
 * already replaces that one only when all drives have the new one: ENOSPC must not cost the old.
 */
#include <errno.h>
#include <string.h>

#include "blk.h"
#include "util/error.h"

struct BlkSnapshots {
    GPtrArray *drives; /* of Blk, written to; the first keeps the machine's state */
    GPtrArray *taken;  /* all that have a medium: they stand, too */
    BlkNode *view;     /* the first as the snapshot has it that is to be loaded, or NULL */
};

static Blk *drive(const BlkSnapshots *s, guint i)
{
    return g_ptr_array_index(s->drives, i);
}

/* Whether a snapshot takes the drive in. */
static bool counts(const Blk *blk)
{
    return blk->root && !blk_readonly(blk);
}

static bool keeps_snapshots(const Blk *blk, bool first, GError **error)
{
    const BlkFormat *fmt = blk->root->fmt;
    return (fmt->snapshot_create && (!first || fmt->vmstate_write)) ||
           fail(error, "drive '%s' is written to, but its format '%s' has no snapshots (qcow2 has)",
                blk->id, fmt->name);
}

static bool take_drives(BlkSnapshots *s, const char *what, GError **error)
{
    for (guint i = 0; blk_all && i < blk_all->len; i++) {
        Blk *blk = g_ptr_array_index(blk_all, i);
        if (!blk->root)
            continue;
        if (counts(blk) && !keeps_snapshots(blk, !s->drives->len, error))
            return false;
        if (!blk_take(blk, what, error))
            return false;
        g_ptr_array_add(s->taken, blk);
        if (counts(blk))
            g_ptr_array_add(s->drives, blk);
    }
    return s->drives->len || fail(error, "there is no drive that could keep a snapshot");
}

BlkSnapshots *blk_snapshots_take(const char *what, GError **error)
{
    BlkSnapshots *s = g_new0(BlkSnapshots, 1);
    s->drives = g_ptr_array_new();
    s->taken = g_ptr_array_new();
    if (take_drives(s, what, error))
        return s;
    blk_snapshots_give(s);
    return NULL;
}

void blk_snapshots_give(BlkSnapshots *s)
{
    if (s->view)
        blk_abandon(drive(s, 0), s->view);
    for (guint i = 0; i < s->taken->len; i++) {
        Blk *blk = g_ptr_array_index(s->taken, i);
        blk_give(blk);
        blk_free_if_gone(blk);
    }
    g_ptr_array_free(s->drives, TRUE);
    g_ptr_array_free(s->taken, TRUE);
    g_free(s);
}

void blk_snapshots_run(BlkSnapshots *s, void (*fn)(void *opaque), void (*after)(void *opaque),
                       void *opaque)
{
    co_start(drive(s, 0)->front, fn, after, opaque);
}

/* While one drive is waited for, a device may have used another. */
static void drain(BlkSnapshots *s)
{
    for (bool waited = true; waited;) {
        waited = false;
        for (guint i = 0; i < s->taken->len; i++)
            waited |= blk_wait_idle(g_ptr_array_index(s->taken, i));
    }
}

void blk_snapshots_hold(BlkSnapshots *s, bool drained)
{
    if (drained)
        drain(s);
    for (guint i = 0; i < s->taken->len; i++)
        blk_hold(g_ptr_array_index(s->taken, i));
}

void blk_snapshots_release(BlkSnapshots *s)
{
    for (guint i = 0; i < s->taken->len; i++)
        blk_release(g_ptr_array_index(s->taken, i));
}

/* ---- The machine's state ---- */

typedef struct StateCall {
    BlkNode *node;
    uint64_t offset, bytes;
    void *data;
} StateCall;

static int write_in_back(void *opaque)
{
    StateCall *c = opaque;
    struct iovec iov = {c->data, c->bytes};
    return node_vmstate_write(c->node, c->offset, (IoBuf){&iov, 1, 0}, c->bytes);
}

static int read_in_back(void *opaque)
{
    StateCall *c = opaque;
    struct iovec iov = {c->data, c->bytes};
    return node_vmstate_read(c->node, c->offset, (IoBuf){&iov, 1, 0}, c->bytes);
}

int blk_snapshots_write(BlkSnapshots *s, uint64_t offset, const void *data, uint64_t bytes)
{
    Blk *blk = drive(s, 0);
    StateCall call = {blk->root, offset, bytes, (void *)(uintptr_t)data};
    return blk_in_back(blk, write_in_back, &call);
}

int blk_snapshots_read(BlkSnapshots *s, uint64_t offset, void *data, uint64_t bytes)
{
    StateCall call = {s->view, offset, bytes, data};
    return blk_in_back(drive(s, 0), read_in_back, &call);
}

static int drop_in_back(void *opaque)
{
    g_autoptr(GError) error = NULL; /* the room stays taken until the next savevm */
    return node_vmstate_drop(opaque, &error) ? 0 : -EIO;
}

void blk_snapshots_drop_state(BlkSnapshots *s)
{
    blk_in_back(drive(s, 0), drop_in_back, drive(s, 0)->root);
}

/* ---- One drive ---- */

typedef struct NodeCall {
    BlkNode *node;
    const char *name;
    const NodeSnapshot *info;
    unsigned keep; /* delete: those from this number on stay */
    GError **error;
} NodeCall;

static int create_in_back(void *opaque)
{
    NodeCall *c = opaque;
    return node_snapshot_create(c->node, c->info, c->error) ? 0 : -EIO;
}

static int apply_in_back(void *opaque)
{
    NodeCall *c = opaque;
    unsigned n;
    if (!node_snapshot_named(c->node, c->name, &n)) {
        fail(c->error, "there is no snapshot '%s'", c->name);
        return -ENOENT;
    }
    g_autofree char *id = g_strdup(c->node->fmt->snapshot(c->node, n)->id);
    return node_snapshot_apply(c->node, id, c->error) ? 0 : -EIO;
}

static unsigned count(const BlkNode *node)
{
    unsigned n = 0;
    while (node->fmt->snapshot(node, n))
        n++;
    return n;
}

/* A new one is always the last. */
static int delete_last_in_back(void *opaque)
{
    NodeCall *c = opaque;
    return node_snapshot_delete_number(c->node, count(c->node) - 1, c->error) ? 0 : -EIO;
}

static int delete_named_in_back(void *opaque)
{
    NodeCall *c = opaque;
    for (unsigned n = 0; n < c->keep;) {
        const NodeSnapshot *info = c->node->fmt->snapshot(c->node, n);
        if (strcmp(info->name, c->name)) {
            n++;
            continue;
        }
        if (!node_snapshot_delete_number(c->node, n, c->error))
            return -EIO;
        c->keep--;
    }
    return 0;
}

static bool call(Blk *blk, int (*fn)(void *opaque), NodeCall what)
{
    what.node = blk->root;
    return !blk_in_back(blk, fn, &what);
}

/* ---- All drives ---- */

static bool create_all(BlkSnapshots *s, NodeSnapshot info, guint *made, GError **error)
{
    for (*made = 0; *made < s->drives->len; ++*made) {
        if (!call(drive(s, *made), create_in_back, (NodeCall){.info = &info, .error = error}))
            return false;
        info.vm_state_bytes = 0;
    }
    return true;
}

bool blk_snapshots_create(BlkSnapshots *s, const char *name, uint64_t state_bytes, int64_t clock_ns,
                          GError **error)
{
    int64_t now = g_get_real_time();
    guint made;
    NodeSnapshot info = {.name = (char *)(uintptr_t)name,
                         .vm_state_bytes = state_bytes,
                         .vm_clock_ns = (uint64_t)clock_ns,
                         .date_sec = (uint32_t)(now / G_USEC_PER_SEC),
                         .date_nsec = (uint32_t)(now % G_USEC_PER_SEC) * 1000,
                         .icount = -1};
    if (!create_all(s, info, &made, error)) {
        while (made--)
            call(drive(s, made), delete_last_in_back, (NodeCall){0});
        return false;
    }
    for (guint i = 0; i < s->drives->len; i++)
        if (!call(drive(s, i), delete_named_in_back,
                  (NodeCall){.name = name, .keep = count(drive(s, i)->root) - 1, .error = error}))
            return fail_prefix(error, "the snapshot is saved, but an older one of its name is not "
                                      "deleted");
    return true;
}

typedef struct ViewCall {
    BlkSnapshots *s;
    const char *id;
    GError **error;
} ViewCall;

static int view_in_back(void *opaque)
{
    ViewCall *c = opaque;
    BlkNode *node = drive(c->s, 0)->root;
    NodeMode mode = {
        .borrow = true, .no_backing = true, .snapshot = c->id, .key_secret = node->key_secret};
    int ret = node_flush(node); /* the view sees what is in the file */
    if (ret)
        fail_errno(c->error, -ret, "cannot flush '%s'", node->name);
    else
        c->s->view = node_open_file(node->file, node->fmt->name, &mode, c->error);
    return c->s->view ? 0 : -EIO;
}

bool blk_snapshots_open(BlkSnapshots *s, const char *name, uint64_t *state_bytes, GError **error)
{
    unsigned n;
    g_autofree char *id = NULL;
    for (guint i = 0; i < s->drives->len; i++) {
        const BlkNode *node = drive(s, i)->root;
        if (!node_snapshot_named(node, name, &n))
            return fail(error, "drive '%s' has no snapshot with the name '%s'", drive(s, i)->id,
                        name);
        if (i)
            continue;
        *state_bytes = node->fmt->snapshot(node, n)->vm_state_bytes;
        id = g_strdup(node->fmt->snapshot(node, n)->id);
    }
    if (!*state_bytes)
        return fail(error,
                    "snapshot '%s' is of the disk only: no machine's state is with it "
                    "('vmrun-img snapshot -a' applies it)",
                    name);
    ViewCall call = {s, id, error};
    return !blk_in_back(drive(s, 0), view_in_back, &call);
}

bool blk_snapshots_apply(BlkSnapshots *s, const char *name, GError **error)
{
    for (guint i = 0; i < s->drives->len; i++) {
        Blk *blk = drive(s, i);
        if (!call(blk, apply_in_back, (NodeCall){.name = name, .error = error}))
            return fail_prefix(error, "drive '%s'", blk->id);
        blk->size = blk->root->size;
        if (blk->dev_ops && blk->dev_ops->resized)
            blk->dev_ops->resized(blk->dev_opaque, blk);
    }
    return true;
}

bool blk_snapshots_delete(BlkSnapshots *s, const char *name, GError **error)
{
    unsigned before = 0, after = 0;
    for (guint i = 0; i < s->drives->len; i++) {
        Blk *blk = drive(s, i);
        unsigned all = count(blk->root);
        before += all;
        if (!call(blk, delete_named_in_back, (NodeCall){.name = name, .keep = all, .error = error}))
            return fail_prefix(error, "drive '%s'", blk->id);
        after += count(blk->root);
    }
    return before != after || fail(error, "no drive has a snapshot with the name '%s'", name);
}

/* ---- The list ---- */

static void info_free(void *opaque)
{
    NodeSnapshot *s = opaque;
    g_free(s->id);
    g_free(s->name);
    g_free(s);
}

/* A drive's, copied where its image is at home: there they come and go. */
typedef struct DriveList {
    Blk *blk;
    GPtrArray *list; /* of NodeSnapshot */
} DriveList;

static int copy_in_back(void *opaque)
{
    DriveList *d = opaque;
    const BlkNode *node = d->blk->root;
    const NodeSnapshot *s;
    for (unsigned n = 0; node->fmt->snapshot && (s = node->fmt->snapshot(node, n)); n++) {
        NodeSnapshot *copy = g_memdup2(s, sizeof(*s));
        copy->id = g_strdup(s->id);
        copy->name = g_strdup(s->name);
        g_ptr_array_add(d->list, copy);
    }
    return 0;
}

static void list_free(void *opaque)
{
    DriveList *d = opaque;
    g_ptr_array_unref(d->list);
}

static GArray *list_drives(void)
{
    GArray *drives = g_array_new(FALSE, FALSE, sizeof(DriveList));
    g_array_set_clear_func(drives, list_free);
    for (guint i = 0; blk_all && i < blk_all->len; i++) {
        DriveList d = {g_ptr_array_index(blk_all, i), NULL};
        if (!counts(d.blk))
            continue;
        d.list = g_ptr_array_new_with_free_func(info_free);
        blk_in_back(d.blk, copy_in_back, &d);
        g_array_append_val(drives, d);
    }
    return drives;
}

static bool has_named(const DriveList *d, const char *name)
{
    for (guint i = 0; i < d->list->len; i++)
        if (!strcmp(((NodeSnapshot *)g_ptr_array_index(d->list, i))->name, name))
            return true;
    return false;
}

/* Whether loadvm can take it: all drives have it. */
static bool is_whole(const GArray *drives, const char *name)
{
    for (guint i = 0; i < drives->len; i++)
        if (!has_named(&g_array_index(drives, DriveList, i), name))
            return false;
    return true;
}

static void describe_rows(const GArray *drives, guint which, bool whole, const char *heading,
                          GString *out)
{
    const GPtrArray *list = g_array_index(drives, DriveList, which).list;
    bool any = false;
    for (guint n = 0; n < list->len; n++) {
        const NodeSnapshot *s = g_ptr_array_index(list, n);
        if (is_whole(drives, s->name) != whole)
            continue;
        if (!any)
            g_string_append_printf(out, "%s\n%s", heading, NODE_SNAPSHOT_HEADING);
        any = true;
        node_snapshot_describe(s, whole ? "--" : s->id, out);
    }
}

void blk_snapshots_describe(GString *out)
{
    g_autoptr(GArray) drives = list_drives();
    gsize before = out->len;
    if (drives->len)
        describe_rows(drives, 0, true, "List of snapshots present on all disks:", out);
    for (guint i = 0; i < drives->len; i++) {
        g_autofree char *heading =
            g_strdup_printf("List of partial (non-loadable) snapshots on '%s':",
                            g_array_index(drives, DriveList, i).blk->id);
        describe_rows(drives, i, false, heading, out);
    }
    if (out->len == before)
        g_string_append(out, "There is no snapshot available.\n");
}
