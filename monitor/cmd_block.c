/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about drives and their media. */
#include "block/block.h"
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

void mon_eject(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[1].text);
    GError *error = NULL;
    if (blk && !blk_eject(blk, values[0].given, &error))
        mon_error(mon, error);
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
    if (!read_mode(values[4].text, &readonly, &error) ||
        (values[1].given && blk_has_medium(blk) && !blk_eject(blk, true, &error)) ||
        !blk_change(blk, file, format, readonly, &error))
        mon_error(mon, error);
}

/* ---- commit ---- */

static void commit_drive(Blk *blk, void *opaque)
{
    Monitor *mon = opaque;
    GError *error = NULL;
    if (blk_has_medium(blk) && !blk_readonly(blk) && !blk_commit(blk, &error))
        mon_error(mon, error);
}

void mon_commit(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;

    if (!strcmp(values[0].text, "all")) {
        blk_foreach(commit_drive, mon);
        return;
    }
    Blk *blk = find_drive(mon, values[0].text);
    if (blk && !blk_commit(blk, &error))
        mon_error(mon, error);
}
