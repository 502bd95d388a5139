/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks as devices, the monitor and tools see them: a Blk is a named drive; below it stands a chain
 * of block nodes (format, file, backing) that only block/ knows.
 *
 * One call moves data: blk_submit().  Blks belong to the main loop: calls want its lock held, and
 * done() comes from it.  Below, the nodes of a drive may live in an I/O thread (iothread=), which
 * the callers do not notice.
 *
 * Work on a drive that takes a while (eject, change, resize, block/job.h's jobs) runs beside the
 * guest: a function *_start() begins it and tells the end by a call.  A drive does one such work at
 * a time; another is refused.
 */
#ifndef VMRUN_BLOCK_BLOCK_H
#define VMRUN_BLOCK_BLOCK_H

#include <sys/uio.h>

#include "util/iothread.h"
#include "util/options.h"

typedef struct Blk Blk;

#define BLK_SECTOR 512u
/* blk_submit()'s "not yet". */
#define BLK_PENDING 1

typedef enum { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES } BlkOp;
enum {
    BLK_FUA = 1,       /* the write is on stable storage when it completes */
    BLK_MAY_UNMAP = 2, /* WRITE_ZEROES may deallocate */
};

typedef struct BlkReq BlkReq;
/* ret: 0 or a negative errno. */
typedef void BlkDoneFn(BlkReq *req, int ret);

/*
 * A request: the caller owns it, fills the first part and keeps it and the buffers alive until it
 * is done.  offset and bytes are multiples of 512 and lie inside the disk, else -EINVAL.
 */
struct BlkReq {
    BlkOp op;
    unsigned flags;
    uint64_t offset, bytes;
    const struct iovec *iov; /* READ, WRITE: total length == bytes */
    int iov_count;
    BlkDoneFn *done;
    void *opaque;
    /* private to block/ */
    Blk *blk;
    void *priv[6];
};

/* Starts req.  Returns its result (0, negative errno) if it is done already, and then never calls
 * done(); or BLK_PENDING, and calls done() later from the Blk's loop. */
int blk_submit(Blk *blk, BlkReq *req);
/* Stops a pending request as soon as can be; done() still comes (-ECANCELED if nothing was done).
 */
void blk_cancel(BlkReq *req);
/* Waits, dispatching the loop, until no request of the Blk is under way; limits do not hold those
 * that wait back any longer. */
void blk_drain(Blk *blk);
void blk_drain_all(void);
/* Synchronous helpers for set-up and tools: 0 or negative errno. */
int blk_pread(Blk *blk, uint64_t offset, void *buf, uint64_t bytes);
int blk_pwrite(Blk *blk, uint64_t offset, const void *buf, uint64_t bytes);
int blk_flush(Blk *blk);
int blk_flush_all(void);
/* Flushes all drives once what is under way on them is done; does not wait for that.  What goes
 * wrong is reported. */
void blk_settle_all(void);

/*
 * Opens a drive.  opts takes -drive's back-end keys: file, format, id, media (disk, cdrom, floppy),
 * readonly, snapshot, cache (writeback, none, writethrough, directsync, unsafe), aio (threads,
 * native), discard, detect-zeroes, werror, rerror, force-share, throttling, backing overrides, and
 * iothread, the id of an I/O thread.  Without format the image is probed. A cdrom or floppy without
 * file is an empty drive; both are removable.  NULL with an error that names the file.
 */
Blk *blk_open(const Options *opts, GError **error);
/* Whether blk_open() and the board know all keys; an error names the one that they do not. */
bool blk_check_keys(const Options *opts, GError **error);
/* Flushes, closes and frees. */
void blk_close(Blk *blk);
void blk_close_all(void);
Blk *blk_find(const char *id);
/* blk_find() as a PropResolve: "no drive with id 'x'; there are: ide0-hd0, ..." */
void *blk_resolve(const char *id, GError **error);
/* Calls fn for each drive in order of creation. */
void blk_foreach(void (*fn)(Blk *blk, void *opaque), void *opaque);

const char *blk_id(const Blk *blk);
const char *blk_file_name(const Blk *blk);   /* NULL: no medium */
const char *blk_format_name(const Blk *blk); /* "qcow2" */
uint64_t blk_size(const Blk *blk);           /* bytes; 0 without a medium */
bool blk_readonly(const Blk *blk);
bool blk_is_cdrom(const Blk *blk);
bool blk_has_medium(const Blk *blk);
bool blk_write_cache(const Blk *blk); /* false: writethrough */
void blk_set_write_cache(Blk *blk, bool on);
EventLoop *blk_loop(const Blk *blk);
/* The thread that does its I/O; NULL: the main thread. */
IoThread *blk_iothread(const Blk *blk);

/* What a device is told when its drive changes.  Either may be NULL. */
typedef struct BlkDevOps {
    /* The medium came, went or changed (monitor change, eject). */
    void (*medium_changed)(void *opaque, Blk *blk, bool present);
    /* The person asks the guest to release the medium: a locked tray gets an eject request. */
    void (*eject_request)(void *opaque, Blk *blk, bool force);
    /* The medium has another size now. */
    void (*resized)(void *opaque, Blk *blk);
    bool (*tray_open)(void *opaque);
    bool (*medium_locked)(void *opaque);
} BlkDevOps;
/* A drive has one device; an error names the one that has it. name: the device's, for messages. */
bool blk_attach_device(Blk *blk, const BlkDevOps *ops, void *opaque, const char *name,
                       GError **error);
void blk_detach_device(Blk *blk);

/* ---- Work beside the guest ---- */

/* It is over: error NULL, or why it failed (the callee frees it).  Called with the main lock held,
 * perhaps before the function that began the work returns. */
typedef void BlkOpDone(void *opaque, GError *error);

/* Removable drives: a locked tray refuses unless force. */
void blk_eject_start(Blk *blk, bool force, BlkOpDone *done, void *opaque);
/* Puts file in; format NULL: probe.  A medium that is there comes out first. */
void blk_change_start(Blk *blk, const char *file, const char *format, bool readonly, bool force,
                      BlkOpDone *done, void *opaque);
/* Sets the size that the guest sees; shrinking loses what lies behind. */
void blk_resize_start(Blk *blk, uint64_t size, BlkOpDone *done, void *opaque);
/* From now on writes go to a new overlay file on top of the image; reuse: to one that stands there.
 * format NULL: qcow2. */
void blk_snapshot_start(Blk *blk, const char *file, const char *format, bool reuse, BlkOpDone *done,
                        void *opaque);
/* What is under way ("eject", "commit" ...), or NULL. */
const char *blk_busy(const Blk *blk);
/* The same, waiting for the end; the loop goes on meanwhile. */
bool blk_eject(Blk *blk, bool force, GError **error);
bool blk_change(Blk *blk, const char *file, const char *format, bool readonly, GError **error);
bool blk_resize(Blk *blk, uint64_t size, GError **error);
bool blk_snapshot(Blk *blk, const char *file, const char *format, bool reuse, GError **error);
/* Writes a -snapshot overlay's or an overlay image's changes into its backing file: the job of
 * block/job.h, waited for. */
bool blk_commit(Blk *blk, GError **error);
/* The device opens (eject) or closes its tray itself. */
void blk_device_eject(Blk *blk, bool open);
/* Takes the drive from the list and closes its medium: its device sees an empty drive from now on.
 * The Blk itself goes with its device, or at once without one. */
void blk_delete_start(Blk *blk, BlkOpDone *done, void *opaque);

/* ---- Limits on bytes and requests a second ---- */

enum {
    BLK_BPS_TOTAL,
    BLK_BPS_READ,
    BLK_BPS_WRITE,
    BLK_IOPS_TOTAL,
    BLK_IOPS_READ,
    BLK_IOPS_WRITE,
    BLK_LIMITS
};
#define BLK_LIMIT_MAX 1000000000000000ULL

/* 0: none.  max: a burst, for length seconds (at least 1). */
typedef struct BlkLimits {
    uint64_t avg[BLK_LIMITS], max[BLK_LIMITS], length[BLK_LIMITS];
    uint64_t iops_size; /* a request larger than that counts as several; 0: as one */
} BlkLimits;

/* Sets the limits of the drive's group; group: NULL for the one it has, or one of its own. */
bool blk_set_limits(Blk *blk, const BlkLimits *limits, const char *group, GError **error);
/* False: there are none. */
bool blk_get_limits(const Blk *blk, BlkLimits *limits);

/* ---- Errors, statistics, descriptions ---- */

/* Adds a fault to an image that is open through block/blkdebug.h; kind NULL drops them all. */
bool blk_inject(Blk *blk, const char *kind, const Options *rule, GError **error);

typedef struct BlkStats {
    uint64_t read_ops, write_ops, flush_ops, discard_ops;
    uint64_t read_bytes, write_bytes;
    uint64_t read_ns, write_ns, flush_ns;
    uint64_t failed_ops;
} BlkStats;
const BlkStats *blk_stats(const Blk *blk);
/* What a failed request means to the guest: report it, or stop the machine (werror, rerror). */
typedef enum { BLK_ERROR_REPORT, BLK_ERROR_IGNORE, BLK_ERROR_STOP } BlkErrorAction;
BlkErrorAction blk_error_action(const Blk *blk, bool write, int error);
/* The device stopped the machine for an error; it goes on: what `info block` shows as status. */
void blk_error_stopped(Blk *blk, int error);
void blk_error_resumed(Blk *blk);

/*
 * Internal snapshots of all drives that the guest writes to, and the machine's state in the first
 * of them (savevm).  Main loop; functions marked (co): in blk_snapshots_run()'s fn only.
 */
typedef struct BlkSnapshots BlkSnapshots;
/* Takes the drives for `what` ("savevm"); an error names the drive whose image keeps no snapshots,
 * or that is busy. */
BlkSnapshots *blk_snapshots_take(const char *what, GError **error);
/* Gives the drives back and frees it.  Not while fn runs. */
void blk_snapshots_give(BlkSnapshots *s);
/* Runs fn in a coroutine, and after(opaque), outside of it, when that has ended. */
void blk_snapshots_run(BlkSnapshots *s, void (*fn)(void *opaque), void (*after)(void *opaque),
                       void *opaque);
/* Requests of the guest to any drive wait from now on.  drained: when none is left, as a machine
 * that stands wants it. (co) */
void blk_snapshots_hold(BlkSnapshots *s, bool drained);
void blk_snapshots_release(BlkSnapshots *s);
/* The machine's state: bytes at an offset of it, both multiples of 512; negative errno.  Read after
 * blk_snapshots_open(). (co) */
int blk_snapshots_write(BlkSnapshots *s, uint64_t offset, const void *data, uint64_t bytes);
int blk_snapshots_read(BlkSnapshots *s, uint64_t offset, void *data, uint64_t bytes);
/* Gives up the room of a state that was written for nothing, if that is possible. (co) */
void blk_snapshots_drop_state(BlkSnapshots *s);
/* A snapshot in every drive; those of the same name are deleted when all are safe in their files.
 * On error there is none more than before. (co) */
bool blk_snapshots_create(BlkSnapshots *s, const char *name, uint64_t state_bytes, int64_t clock_ns,
                          GError **error);
/* Whether all drives have one by that name (the newest counts), with a machine's state, which can
 * be read from now on; nothing is changed. (co) */
bool blk_snapshots_open(BlkSnapshots *s, const char *name, uint64_t *state_bytes, GError **error);
/* The drives become what they were. (co) */
bool blk_snapshots_apply(BlkSnapshots *s, const char *name, GError **error);
/* Deletes it from all drives that have it; an error if none has. (co) */
bool blk_snapshots_delete(BlkSnapshots *s, const char *name, GError **error);
/* `info snapshots`. */
void blk_snapshots_describe(GString *out);

/* `info block`, `info blockstats`.  verbose: with the images of the backing chain. */
void blk_describe(Blk *blk, bool verbose, GString *out);
void blk_describe_all(GString *out, bool verbose);
void blk_describe_stats(GString *out);

#endif
