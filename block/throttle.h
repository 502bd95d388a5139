/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits on bytes and requests a second: leaky buckets, six of them as QEMU has (all, reads, writes
 * by bytes and by requests).  Pure arithmetic: the caller brings the time.
 */
#ifndef VMRUN_BLOCK_THROTTLE_H
#define VMRUN_BLOCK_THROTTLE_H

#include "block/block.h"

typedef struct ThrottleBucket {
    double level, burst;
} ThrottleBucket;

typedef struct Throttle {
    BlkLimits limits;
    ThrottleBucket buckets[BLK_LIMITS];
    int64_t leaked_at; /* ns */
} Throttle;

/* An error if a burst stands without its limit, or below it. */
bool throttle_check(const BlkLimits *limits, GError **error);
bool throttle_enabled(const BlkLimits *limits);
/* Sets limits; the buckets are empty. */
void throttle_set(Throttle *throttle, const BlkLimits *limits, int64_t now);
/* 0: the request may begin now.  Else the ns until it may be asked again. */
int64_t throttle_wait(Throttle *throttle, bool write, int64_t now);
/* The request begins. */
void throttle_take(Throttle *throttle, bool write, uint64_t bytes);

#endif
