/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about jobs on drives. */
#include "block/job.h"
#include "monitor_private.h"
#include "util/error.h"
#include "util/options.h"

static Blk *find_drive(Monitor *mon, const char *id)
{
    GError *error = NULL;
    Blk *blk = blk_resolve(id, &error);
    if (!blk)
        mon_error(mon, error);
    return blk;
}

/* A job's speed; none if it is not given. */
static bool read_speed(Monitor *mon, const MonValue *value, uint64_t *speed)
{
    *speed = 0;
    if (!value->given || parse_size(value->text, 1 << 20, speed))
        return true;
    monitor_printf(mon, "Error: '%s' is no speed: a number of MiB a second, or with a suffix\n",
                   value->text);
    return false;
}

void mon_block_commit(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    uint64_t speed;
    if (blk && read_speed(mon, &values[1], &speed) &&
        !blk_job_commit(blk, speed, NULL, NULL, &error))
        mon_error(mon, error);
}

void mon_block_stream(Monitor *mon, const MonValue *values)
{
    Blk *blk = find_drive(mon, values[0].text);
    GError *error = NULL;
    uint64_t speed;
    if (blk && read_speed(mon, &values[1], &speed) &&
        !blk_job_stream(blk, values[2].text, speed, NULL, NULL, &error))
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
    if (blk && !blk_job_cancel(blk, values[0].given, &error))
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
    uint64_t speed;
    if (blk && read_speed(mon, &values[1], &speed) && !blk_job_set_speed(blk, speed, &error))
        mon_error(mon, error);
}

void info_block_jobs(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    blk_jobs_describe(out);
    mon_print(mon, out);
}
