/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of drives.  Drives of one group share one Throttle and take turns; time is the guest's, so
 * that requests do not pile up behind a machine that stands.
 */
#include "blk.h"
#include "throttle.h"
#include "util/error.h"
#include "util/timer.h"

struct ThrottleGroup {
    char *name;
    Throttle throttle;
    GPtrArray *members; /* of Blk */
    Timer timer[2];     /* somebody waits: reads, writes */
    unsigned next[2];   /* whose turn it is */
};

static GPtrArray *groups; /* of ThrottleGroup */

/* ---- Requests ---- */

bool blk_throttle(Blk *blk, bool write, uint64_t bytes)
{
    ThrottleGroup *group = blk->group;
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (timer_armed(&group->timer[write]))
        return true;
    int64_t wait = throttle_wait(&group->throttle, write, now);
    if (wait) {
        timer_arm(&group->timer[write], now + wait);
        return true;
    }
    throttle_take(&group->throttle, write, bytes);
    return false;
}

/* One request of each member in turn, until the limits or an empty round stop it. */
static void serve(ThrottleGroup *group, bool write)
{
    bool any = true;
    while (any) {
        any = false;
        for (guint i = 0; i < group->members->len && !timer_armed(&group->timer[write]); i++) {
            group->next[write] = (group->next[write] + 1) % group->members->len;
            any |= blk_pump_one(g_ptr_array_index(group->members, group->next[write]), write);
        }
    }
}

static void serve_reads(void *opaque)
{
    serve(opaque, false);
}

static void serve_writes(void *opaque)
{
    serve(opaque, true);
}

/* ---- Groups ---- */

static ThrottleGroup *group_get(const char *name)
{
    for (guint i = 0; groups && i < groups->len; i++) {
        ThrottleGroup *group = g_ptr_array_index(groups, i);
        if (!strcmp(group->name, name))
            return group;
    }
    ThrottleGroup *group = g_new0(ThrottleGroup, 1);
    group->name = g_strdup(name);
    group->members = g_ptr_array_new();
    timer_init(&group->timer[0], loop_main(), VM_CLOCK_VIRTUAL, serve_reads, group);
    timer_init(&group->timer[1], loop_main(), VM_CLOCK_VIRTUAL, serve_writes, group);
    if (!groups)
        groups = g_ptr_array_new();
    g_ptr_array_add(groups, group);
    return group;
}

void blk_leave_group(Blk *blk)
{
    ThrottleGroup *group = blk->group;
    if (!group)
        return;
    blk->group = NULL;
    g_ptr_array_remove(group->members, blk);
    bh_schedule(blk->kick); /* what waits goes on */
    if (group->members->len)
        return;
    timer_cancel(&group->timer[0]);
    timer_cancel(&group->timer[1]);
    g_ptr_array_free(group->members, TRUE);
    g_free(group->name);
    g_ptr_array_remove(groups, group);
    g_free(group);
    if (!groups->len)
        g_clear_pointer(&groups, g_ptr_array_unref);
}

void blk_join_group(Blk *blk, const char *name)
{
    ThrottleGroup *group = group_get(name ? name : blk->id);
    if (group == blk->group)
        return;
    g_ptr_array_add(group->members, blk);
    blk_leave_group(blk);
    blk->group = group;
}

const char *blk_group_name(const Blk *blk)
{
    return blk->group ? blk->group->name : NULL;
}

/* ---- Setting ---- */

bool blk_set_limits(Blk *blk, const BlkLimits *limits, const char *group, GError **error)
{
    if (!throttle_check(limits, error))
        return false;
    if (!throttle_enabled(limits) && !group) {
        blk_leave_group(blk);
        return true;
    }
    if (group || !blk->group)
        blk_join_group(blk, group);
    ThrottleGroup *g = blk->group;
    throttle_set(&g->throttle, limits, clock_now(VM_CLOCK_VIRTUAL));
    timer_cancel(&g->timer[0]);
    timer_cancel(&g->timer[1]);
    for (guint i = 0; i < g->members->len; i++)
        bh_schedule(((Blk *)g_ptr_array_index(g->members, i))->kick);
    return true;
}

bool blk_get_limits(const Blk *blk, BlkLimits *limits)
{
    if (!blk->group || !throttle_enabled(&blk->group->throttle.limits))
        return false;
    *limits = blk->group->throttle.limits;
    return true;
}
