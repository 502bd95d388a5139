/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What jobs share: a coroutine of the front each, with points where it can be slowed down, stopped
 * and cancelled. */
#ifndef VMRUN_BLOCK_BLK_JOB_H
#define VMRUN_BLOCK_BLK_JOB_H

#include "blk.h"
#include "block/job.h"
#include "util/timer.h"

#define JOB_STEP (1u << 20) /* bytes that a job moves at a time, at most */

typedef struct BlkJobType {
    const char *name;                         /* "commit" */
    const char *busy;                         /* what others are told */
    bool can_complete;                        /* waits for blk_job_complete() when it is ready */
    bool (*run)(BlkJob *job, GError **error); /* (co, front) */
} BlkJobType;

struct BlkJob {
    const BlkJobType *type;
    Blk *blk;
    uint64_t speed;         /* bytes a second; 0: no limit */
    uint64_t offset, total; /* bytes done, bytes known so far */
    bool cancelled, paused, ready, completing;
    bool abandoned;      /* cancelled, and nothing more is to be copied */
    Coroutine *sleeping; /* to be woken by job_kick() */
    Timer timer;
    GError *error;
    BlkOpDone *done;
    void *opaque;
    /* What it is to do. */
    char *file, *format, *base;
    bool full, reuse, compress;
    BlkNode *target;
    Chunks *todo;
    Tracker copying; /* backup: chunks on their way */
    bool failed;     /* backup: what the guest overwrote could not be saved */
    int write_error;
};

/* Begins the job that what describes; takes its texts over. */
bool job_start(Blk *blk, const BlkJobType *type, BlkJob what, BlkOpDone *done, void *opaque,
               GError **error);
/* bytes have been done: lets the loop go on, keeps to the speed, waits while the job is paused.
 * False: it was cancelled. */
bool job_breathe(BlkJob *job, uint64_t bytes);
/* Waits for a change of the job, ns at most. */
void job_sleep(BlkJob *job, int64_t ns);
/* Moves up to JOB_STEP bytes of marked chunks from *chunk on: clears the marks, sets *chunk behind
 * them and the range.  False: there are none. */
bool job_next_range(Chunks *chunks, uint64_t size, uint64_t *chunk, uint64_t *offset,
                    uint64_t *bytes);
/* Marks what the topmost image itself holds; requests may be under way. */
int job_mark_allocated(BlkJob *job, Chunks *chunks);
/* Ends the job of a drive that is being closed, if it has one. */
void blk_job_cancel_now(Blk *blk);

#endif
