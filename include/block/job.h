/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs: long work on a drive while the guest uses it.  A drive has at most one; `info block-jobs`
 * shows them.  Main lock held.
 *
 * Each of the functions that begin a job is false with an error if it cannot begin; then done() is
 * not called.  done (NULL: a failure is reported as an error message) is told the end.  speed:
 * bytes a second, 0 for no limit.
 */
#ifndef VMRUN_BLOCK_JOB_H
#define VMRUN_BLOCK_JOB_H

#include "block/block.h"

/* Writes what the overlay holds into its backing file, then empties it.  What the guest writes
 * meanwhile comes along: in the end its requests wait for a moment, so that the backing file holds
 * the disk as it was at that moment. */
bool blk_job_commit(Blk *blk, uint64_t speed, BlkOpDone *done, void *opaque, GError **error);
/* Copies what the backing files hold into the image, which then does without them; base: those
 * above that file only, NULL for all. */
bool blk_job_stream(Blk *blk, const char *base, uint64_t speed, BlkOpDone *done, void *opaque,
                    GError **error);

typedef struct BlkCopy {
    const char *file, *format; /* format NULL: as the drive's image */
    bool full;                 /* all data; else what the topmost image holds */
    bool reuse;                /* file stands there already */
    bool compress;             /* backup only */
    uint64_t speed;
} BlkCopy;
/* Copies the disk and goes on copying what the guest writes.  Once the job is ready,
 * blk_job_complete() lets the drive go on with the copy in place of its image; cancelling leaves
 * the copy as the disk is at that moment, unless it is to end at once. */
bool blk_job_mirror(Blk *blk, const BlkCopy *copy, BlkOpDone *done, void *opaque, GError **error);
/* Copies the disk as it is now: what the guest overwrites is copied first. */
bool blk_job_backup(Blk *blk, const BlkCopy *copy, BlkOpDone *done, void *opaque, GError **error);

/* All are errors for a drive without a job. */
/* at_once: a mirror that is ready ends, too, without what its copy still lacks. */
bool blk_job_cancel(Blk *blk, bool at_once, GError **error);
bool blk_job_complete(Blk *blk, GError **error);
bool blk_job_pause(Blk *blk, bool on, GError **error);
bool blk_job_set_speed(Blk *blk, uint64_t speed, GError **error);
/* `info block-jobs`: "No active jobs", or a line each. */
void blk_jobs_describe(GString *out);

#endif
