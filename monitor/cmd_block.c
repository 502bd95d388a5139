/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about drives and their media. */
#include "block/block.h"
#include "block/job.h"
#include "monitor_private.h"
#include "util/error.h"

static Blk *find_drive(Monitor *mon, const char *id)
{
    GError *error = NULL;
    Blk *blk = blk_resolve(id, &error);
    if (!blk)
        mon_error(mon, error);
    return blk;
}

/* A BlkOpDone for the command that waits for it. */
static void op_done(void *opaque, GError *error)
{
    mon_wait_end(opaque, error);
}

void mon_eject(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[1].text);
    if (blk)
        blk_eject_start(blk, values[0].given, op_done, mon_wait_begin(mon));
}

/* "retain" keeps the drive as it is. */
static bool read_mode(const char *mode, bool *readonly, GError **error)
{
    if (!mode || !strcmp(mode, "retain"))
        return true;
    if (strcmp(mode, "read-only") && strcmp(mode, "read-write"))
        return fail(error, "read-only-mode must be retain, read-only or read-write, not '%s'",
                    mode);
    *readonly = !strcmp(mode, "read-only");
    return true;
}

void mon_change(Monitor *mon, const MonValue *values)
{
    const char *device = values[0].text, *file = values[2].text, *format = values[3].text;
    GError *error = NULL;

    if (!strcmp(device, "vnc")) {
        monitor_printf(mon, "Error: vmrun does not have VNC yet\n");
        return;
    }
    Blk *blk = find_drive(mon, device);
    if (!blk)
        return;
    bool readonly = blk_has_medium(blk) ? blk_readonly(blk) : blk_is_cdrom(blk);
    if (!read_mode(values[4].text, &readonly, &error))
        mon_error(mon, error);
    else
        blk_change_start(blk, file, format, readonly, values[1].given, op_done,
                         mon_wait_begin(mon));
}

void mon_block_resize(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    uint64_t size;
    if (!blk)
        return;
    if (!parse_size(values[1].text, 1 << 20, &size))
        monitor_printf(mon, "Error: '%s' is no size: a number of MiB, or with a suffix\n",
                       values[1].text);
    else
        blk_resize_start(blk, size, op_done, mon_wait_begin(mon));
}

void mon_snapshot_blkdev(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[1].text);
    if (blk)
        blk_snapshot_start(blk, values[2].text, values[3].text, values[0].given, op_done,
                           mon_wait_begin(mon));
}

void mon_block_set_io_throttle(Monitor *mon, const MonValue *values)
{
    static const unsigned order[] = {BLK_BPS_TOTAL,  BLK_BPS_READ,  BLK_BPS_WRITE,
                                     BLK_IOPS_TOTAL, BLK_IOPS_READ, BLK_IOPS_WRITE};
    Blk *blk = find_drive(mon, values[0].text);
    BlkLimits limits = {0};
    GError *error = NULL;
    for (unsigned i = 0; i < BLK_LIMITS; i++)
        limits.avg[order[i]] = values[1 + i].number;
    if (blk && !blk_set_limits(blk, &limits, NULL, &error))
        mon_error(mon, error);
}

/* ---- commit ---- */

typedef struct CommitAll {
    MonWait *wait;
    GError *first; /* that went wrong */
    unsigned running;
} CommitAll;

static void commit_ended(CommitAll *all, GError *error)
{
    if (error && !all->first)
        all->first = g_steal_pointer(&error);
    g_clear_error(&error);
    if (--all->running)
        return;
    mon_wait_end(all->wait, all->first);
    g_free(all);
}

static void commit_done(void *opaque, GError *error)
{
    commit_ended(opaque, error);
}

static void commit_drive(Blk *blk, void *opaque)
{
    CommitAll *all = opaque;
    GError *error = NULL;
    if (!blk_has_medium(blk) || blk_readonly(blk))
        return;
    all->running++;
    if (!blk_job_commit(blk, 0, commit_done, all, &error))
        commit_ended(all, error);
}

void mon_commit(Monitor *mon, const MonValue *values)
{
    bool every = !strcmp(values[0].text, "all");
    Blk *blk = every ? NULL : find_drive(mon, values[0].text);
    GError *error = NULL;

    if (every) {
        CommitAll *all = g_new0(CommitAll, 1);
        all->wait = mon_wait_begin(mon);
        all->running = 1;
        blk_foreach(commit_drive, all);
        commit_ended(all, NULL);
    } else if (blk) {
        MonWait *wait = mon_wait_begin(mon);
        if (!blk_job_commit(blk, 0, op_done, wait, &error))
            mon_wait_end(wait, error);
    }
}

/* ---- Drives come and go ---- */

/* QEMU's first argument is a place on a bus, which if=none has not: "0" or "dummy". */
void mon_drive_add(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    g_autoptr(Options) options = options_parse("drive_add", values[1].text, NULL, NULL, &error);
    if (options && g_strcmp0(options_get(options, "if"), "none"))
        fail(&error, "drive_add: only if=none can be added while the guest runs");
    else if (options && !blk_open(options, &error))
        fail_prefix(&error, "cannot add the drive");
    if (error)
        mon_error(mon, error);
    else
        monitor_printf(mon, "OK\n");
}

void mon_drive_del(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    if (blk)
        blk_delete_start(blk, op_done, mon_wait_begin(mon));
}

/* ---- info ---- */

void info_block(Monitor *mon, const MonValue *values)
{
    Blk *blk = values[1].text ? find_drive(mon, values[1].text) : NULL;
    GString *out = g_string_new(NULL);

    if (blk)
        blk_describe(blk, values[0].given, out);
    else if (!values[1].text)
        blk_describe_all(out, values[0].given);
    mon_print(mon, out);
}

void info_blockstats(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    blk_describe_stats(out);
    mon_print(mon, out);
}

static void describe_thread(IoThread *thread, void *opaque)
{
    g_string_append_printf(opaque, "%s:\n  thread_id=%d\n", iothread_id(thread),
                           (int)iothread_tid(thread));
}

void info_iothreads(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    iothread_foreach(describe_thread, out);
    mon_print(mon, out);
}
