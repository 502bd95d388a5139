/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about jobs on drives. */
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

void mon_block_commit(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_commit(blk, values[1].number, NULL, NULL, &error))
        mon_error(mon, error);
}

void mon_block_stream(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_stream(blk, values[2].text, values[1].number, NULL, NULL, &error))
        mon_error(mon, error);
}

void mon_drive_mirror(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[2].text);
    BlkCopy copy = {.reuse = values[0].given,
                    .full = values[1].given,
                    .file = values[3].text,
                    .format = values[4].text};
    GError *error = NULL;
    if (blk && !blk_job_mirror(blk, &copy, NULL, NULL, &error))
        mon_error(mon, error);
}

void mon_drive_backup(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[3].text);
    BlkCopy copy = {.reuse = values[0].given,
                    .full = values[1].given,
                    .compress = values[2].given,
                    .file = values[4].text,
                    .format = values[5].text};
    GError *error = NULL;
    if (blk && !blk_job_backup(blk, &copy, NULL, NULL, &error))
        mon_error(mon, error);
}

void mon_block_job_cancel(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[1].text);
    GError *error = NULL;
    if (blk && !blk_job_cancel(blk, &error))
        mon_error(mon, error);
}

void mon_block_job_complete(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_complete(blk, &error))
        mon_error(mon, error);
}

void mon_block_job_pause(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_pause(blk, true, &error))
        mon_error(mon, error);
}

void mon_block_job_resume(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_pause(blk, false, &error))
        mon_error(mon, error);
}

void mon_block_job_set_speed(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    if (blk && !blk_job_set_speed(blk, values[1].number, &error))
        mon_error(mon, error);
}

void info_block_jobs(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    blk_jobs_describe(out);
    mon_print(mon, out);
}
