/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Leaky buckets.
 *
 * A bucket fills by what requests use and leaks at its limit.  A request may begin while the bucket
 * is not over its size: a tenth of a second's worth, or with a burst `max` for `length` seconds,
 * max * length.  For bursts longer than a second a second bucket, which leaks at max, keeps the
 * burst itself from being faster than max.
 */
#include "throttle.h"

#include <math.h>

#include "util/error.h"
#include "util/timer.h"

#define SLACK 10.0 /* a bucket without bursts holds 1/10 s */

static const char *const names[BLK_LIMITS] = {"bps-total",  "bps-read",  "bps-write",
                                              "iops-total", "iops-read", "iops-write"};

bool throttle_enabled(const BlkLimits *limits)
{
    for (unsigned i = 0; i < BLK_LIMITS; i++)
        if (limits->avg[i])
            return true;
    return false;
}

static bool check_pair(const BlkLimits *l, unsigned first, const char *what, GError **error)
{
    if (l->avg[first] && (l->avg[first + 1] || l->avg[first + 2]))
        return fail(error, "%s of all requests and of reads or writes cannot be limited at once",
                    what);
    if (l->max[first] && (l->max[first + 1] || l->max[first + 2]))
        return fail(error,
                    "bursts of %s of all requests and of reads or writes cannot be allowed "
                    "at once",
                    what);
    return true;
}

bool throttle_check(const BlkLimits *l, GError **error)
{
    if (!check_pair(l, BLK_BPS_TOTAL, "bytes", error) ||
        !check_pair(l, BLK_IOPS_TOTAL, "operations", error))
        return false;
    if (l->iops_size && !l->avg[BLK_IOPS_TOTAL] && !l->avg[BLK_IOPS_READ] &&
        !l->avg[BLK_IOPS_WRITE])
        return fail(error, "iops-size needs a limit of iops");
    for (unsigned i = 0; i < BLK_LIMITS; i++) {
        if (l->avg[i] > BLK_LIMIT_MAX || l->max[i] > BLK_LIMIT_MAX)
            return fail(error, "%s is more than %llu", names[i], BLK_LIMIT_MAX);
        if (l->max[i] && !l->avg[i])
            return fail(error, "%s-max needs %s", names[i], names[i]);
        if (l->max[i] && l->max[i] < l->avg[i])
            return fail(error, "%s-max is less than %s", names[i], names[i]);
        if (l->length[i] > 1 && !l->max[i])
            return fail(error, "%s-max-length needs %s-max", names[i], names[i]);
        if (l->length[i] && l->max[i] > BLK_LIMIT_MAX / l->length[i])
            return fail(error, "%s-max-length is too long for that burst", names[i]);
    }
    return true;
}

void throttle_set(Throttle *t, const BlkLimits *limits, int64_t now)
{
    *t = (Throttle){.limits = *limits, .leaked_at = now};
    for (unsigned i = 0; i < BLK_LIMITS; i++)
        t->limits.length[i] = MAX(t->limits.length[i], 1);
}

static void leak(Throttle *t, int64_t now)
{
    double seconds = (double)MAX(now - t->leaked_at, 0) / NS_PER_SEC;
    t->leaked_at = now;
    for (unsigned i = 0; i < BLK_LIMITS; i++) {
        ThrottleBucket *b = &t->buckets[i];
        b->level = MAX(b->level - (double)t->limits.avg[i] * seconds, 0);
        b->burst = MAX(b->burst - (double)t->limits.max[i] * seconds, 0);
    }
}

/* Seconds until bucket i is down to its size. */
static double bucket_wait(const Throttle *t, unsigned i)
{
    double avg = (double)t->limits.avg[i], max = (double)t->limits.max[i];
    double length = (double)t->limits.length[i];
    double wait = (t->buckets[i].level - (max > 0 ? max * length : avg / SLACK)) / avg;
    if (max > 0 && length > 1)
        wait = MAX(wait, (t->buckets[i].burst - max / SLACK) / max);
    return MAX(wait, 0);
}

int64_t throttle_wait(Throttle *t, bool write, int64_t now)
{
    const unsigned used[] = {BLK_BPS_TOTAL, BLK_IOPS_TOTAL, BLK_BPS_READ + write,
                             BLK_IOPS_READ + write};
    double wait = 0;
    leak(t, now);
    for (unsigned i = 0; i < G_N_ELEMENTS(used); i++)
        if (t->limits.avg[used[i]])
            wait = MAX(wait, bucket_wait(t, used[i]));
    return (int64_t)ceil(wait * NS_PER_SEC);
}

void throttle_take(Throttle *t, bool write, uint64_t bytes)
{
    double size = (double)bytes, operations = 1;
    if (t->limits.iops_size && bytes > t->limits.iops_size)
        operations = size / (double)t->limits.iops_size;
    const unsigned by_bytes[] = {BLK_BPS_TOTAL, BLK_BPS_READ + write};
    const unsigned by_count[] = {BLK_IOPS_TOTAL, BLK_IOPS_READ + write};
    for (unsigned i = 0; i < 2; i++) {
        t->buckets[by_bytes[i]].level += size;
        t->buckets[by_bytes[i]].burst += size;
        t->buckets[by_count[i]].level += operations;
        t->buckets[by_count[i]].burst += operations;
    }
}
