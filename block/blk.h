/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the front end share: blk.c (life), blk-io.c (requests), blk-media.c (devices
 * and media), blk-info.c (descriptions). */
#ifndef VMRUN_BLOCK_BLK_H
#define VMRUN_BLOCK_BLK_H

#include <pthread.h>

#include "block/block.h"
#include "block/node.h"

typedef enum { MEDIA_DISK, MEDIA_CDROM, MEDIA_FLOPPY } BlkMedia;
typedef enum { DETECT_OFF, DETECT_ON, DETECT_UNMAP } BlkDetectZeroes;
typedef enum { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC } BlkOnError;

struct Blk {
    char *id;
    EventLoop *loop;
    CoSched *sched;
    BlkNode *root; /* NULL: no medium */
    BlkMedia media;
    bool readonly; /* the drive; the medium may be, too */
    bool snapshot; /* root is a temporary overlay over the image */
    bool write_cache, direct, no_flush, native, discard;
    BlkDetectZeroes detect_zeroes;
    BlkOnError write_error, read_error;
    BlkStats stats;
    int64_t last_used; /* host clock */

    BlkReq *requests; /* under way */
    pthread_cond_t finished;

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
/* Takes the medium out: drains, flushes, closes; reports what could not be written. */
void blk_remove_medium(Blk *blk);
bool blk_is_removable(const Blk *blk);
/* Copies what the overlay holds into its backing file, and empties it.  Nothing else uses it. */
bool node_commit(BlkNode *overlay, GError **error);

#endif
