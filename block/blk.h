/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the front end share: blk.c (life), blk-options.c, blk-io.c (requests),
 * blk-throttle.c (limits), blk-back.c (I/O threads), blk-media.c (devices and media), blk-op.c and
 * job*.c (work beside the guest), blk-snapshots.c (of all drives at once), blk-info.c
 * (descriptions).
 *
 * The front belongs to the main loop: the list of requests, limits, statistics, policy.  The nodes
 * (`root`) belong to the loop of `sched`: they are used by requests and by blk_in_back() only.  Who
 * replaces or closes nodes holds requests back (blk_hold()), so that none is under way.  Pointers
 * from node to node change in the front, so that it can follow them: names, formats and read-only
 * marks stay as they are while a node is in the chain.
 */
#ifndef VMRUN_BLOCK_BLK_H
#define VMRUN_BLOCK_BLK_H

#include <pthread.h>

#include "block/block.h"
#include "block/node.h"

#include "chunks.h"

typedef enum { MEDIA_DISK, MEDIA_CDROM, MEDIA_FLOPPY } BlkMedia;
typedef enum { DETECT_OFF, DETECT_ON, DETECT_UNMAP } BlkDetectZeroes;
typedef enum { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC } BlkOnError;

typedef struct BlkBack BlkBack;
typedef struct BlkJob BlkJob;
typedef struct ThrottleGroup ThrottleGroup;

/* Requests that wait, in order. */
typedef struct BlkQueue {
    BlkReq *first, *last;
} BlkQueue;

struct Blk {
    char *id;
    EventLoop *loop; /* the main loop */
    CoSched *front;  /* its scheduler */
    CoSched *sched;  /* of the nodes: front, or the I/O thread's */
    BlkBack *back;   /* NULL: no I/O thread */
    BlkNode *root;   /* NULL: no medium; by blk_set_root() */
    uint64_t size;   /* root's */
    BlkMedia media;
    bool readonly; /* the drive; the medium may be, too */
    bool snapshot; /* root is a temporary overlay over the image */
    bool write_cache, direct, no_flush, native, native_asked, discard;
    BlkDetectZeroes detect_zeroes;
    BlkOnError write_error, read_error;
    BlkStats stats;
    int64_t last_used; /* host clock */

    int io_error;  /* that stopped the machine; 0: none */
    bool share;    /* force-share: no locks */
    bool share_rw; /* others may write the image, too */

    BlkReq *requests;   /* submitted and not done, those that wait included */
    BlkQueue queue[2];  /* those that wait: reads, all others */
    unsigned in_flight; /* those that do not wait */
    unsigned hold;      /* new requests wait */
    unsigned draining;  /* limits are off */
    CoQueue idle;       /* waiting for in_flight, or hold, to be 0 */
    bool settling;      /* being flushed after a stop */
    LoopBh *kick;       /* looks at the queues */
    pthread_cond_t finished;
    ThrottleGroup *group; /* NULL: no limits */

    const char *busy; /* the work under way */
    BlkJob *job;      /* the same, if it is a job */
    Chunks *dirty;    /* gets what the guest writes; NULL: nobody asks */
    /* Called (co, front) before a write to the range starts; NULL: nobody asks. */
    int (*before_write)(Blk *blk, uint64_t offset, uint64_t bytes);
    bool deleted; /* no longer in the list */

    const BlkDevOps *dev_ops;
    void *dev_opaque;
    char *dev_name;
    bool has_device;
    bool tray_open; /* where the device has no tray_open() */
};

extern GPtrArray *blk_all; /* of Blk, in order of creation; NULL before the first */

/* The node that holds the image itself, below a -snapshot overlay. */
BlkNode *blk_image(const Blk *blk);
/* Opens an image as the drive's options say, without putting it in. */
BlkNode *blk_open_medium(Blk *blk, const char *file, const char *format, bool readonly,
                         const NodeMode *overrides, GError **error);
/* Puts it in; NULL: takes it out. */
void blk_set_root(Blk *blk, BlkNode *root);
/* Closes the medium, with requests held or none under way; reports what could not be written. (co)
 */
void blk_remove_medium(Blk *blk);
bool blk_is_removable(const Blk *blk);
bool blk_tray_is_open(const Blk *blk);
/* Takes it from the list. */
void blk_unlist(Blk *blk);
/* Frees a Blk without a medium, job or request. */
void blk_free(Blk *blk);
/* The same if it was deleted and neither its device nor work on it is left. */
void blk_free_if_gone(Blk *blk);

/* ---- blk-options.c ---- */
/* Reads all of -drive's keys that do not concern one medium. */
bool blk_read_options(Blk *blk, const Options *opts, GError **error);
bool blk_read_overrides(const Options *opts, NodeMode *mode, GError **error);
/* Limits by the keys of -drive; *group may stay NULL. */
bool blk_read_limits(const Options *opts, BlkLimits *limits, const char **group, GError **error);

/* ---- blk-io.c ---- */
/* What lives in BlkReq.priv. */
typedef struct ReqState {
    BlkReq *prev, *next; /* in blk->requests */
    BlkReq *queued_next; /* in a queue, or on the way to or from an I/O thread */
    int64_t start;
    int ret;
    bool submitting; /* blk_submit() has not returned */
    bool finished, queued;
    bool sync;      /* a flush belongs to it */
    bool cancelled; /* atomic */
} ReqState;
G_STATIC_ASSERT(sizeof(ReqState) <= sizeof(((BlkReq *)0)->priv));
static inline ReqState *req_state(BlkReq *req)
{
    return (ReqState *)req->priv;
}
void blk_io_init(Blk *blk);
void blk_queue_push(BlkQueue *queue, BlkReq *req);
BlkReq *blk_queue_pop(BlkQueue *queue);
/* Does req: inline (-EAGAIN if it cannot), or whole (co).  Lock of the nodes' loop. */
int blk_run_inline(Blk *blk, BlkReq *req);
int blk_run(Blk *blk, BlkReq *req);
/* A request that did not end inside blk_submit() is done. */
void blk_req_done(BlkReq *req, int ret);
/* New requests wait from now on; returns when none is under way. (co, front) */
void blk_hold(Blk *blk);
/* Returns when no request is left, those included that wait and what their device submits then: for
 * a machine that stands.  False: there was none. (co, front) */
bool blk_wait_idle(Blk *blk);
void blk_release(Blk *blk);
/* Lets one queued request begin, of those that are no reads (write) or are; false: none may. */
bool blk_pump_one(Blk *blk, bool write);
/* Dispatches the loop, or lets another thread do it. */
void blk_wait_for_progress(Blk *blk);

/* ---- blk-throttle.c ---- */
/* Whether a request has to wait for the drive's limits; if not, it is counted. */
bool blk_throttle(Blk *blk, bool write, uint64_t bytes);
/* Joins the group of that name (NULL: the drive's id). */
void blk_join_group(Blk *blk, const char *name);
void blk_leave_group(Blk *blk);
const char *blk_group_name(const Blk *blk);

/* ---- blk-back.c ---- */
BlkBack *blk_back_new(Blk *blk, IoThread *thread);
void blk_back_free(BlkBack *back);
IoThread *blk_back_thread(const BlkBack *back);
/* Sends a request to the I/O thread. */
void blk_back_submit(BlkBack *back, BlkReq *req);
/* Calls fn where the nodes live, in a coroutine unless that is here; returns its result. From a
 * coroutine of the front, or from plain code, which then blocks. */
int blk_in_back(Blk *blk, int (*fn)(void *opaque), void *opaque);
/* Closes nodes that nobody refers to any more, without writing. */
void blk_abandon(Blk *blk, BlkNode *node);

/* ---- blk-op.c ---- */
/* Takes the drive for a work; an error names the one that has it. */
bool blk_take(Blk *blk, const char *what, GError **error);
bool blk_is_free(const Blk *blk, GError **error);
void blk_give(Blk *blk);
/* For the functions that wait: done() is blk_op_done with a BlkOpWait. */
typedef struct BlkOpWait {
    bool done;
    GError *error;
} BlkOpWait;
void blk_op_done(void *opaque, GError *error);
bool blk_op_wait(Blk *blk, BlkOpWait *wait, GError **error);

#endif
