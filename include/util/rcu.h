/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Deferred freeing for data that is published whole and read without a lock (FlatViews).
 *
 * A reader brackets its use with rcu_read_lock()/rcu_read_unlock(); the pair costs two stores,
 * nests, and may be held across a device callback.  A writer publishes the new pointer with a
 * release store and hands the old one to rcu_free_later(), which frees it once every thread that
 * was inside a read section at that moment has left it.  No call ever waits.
 */
#ifndef VMRUN_UTIL_RCU_H
#define VMRUN_UTIL_RCU_H

#include <glib.h>

void rcu_read_lock(void);
void rcu_read_unlock(void);
/* Calls free_fn(data) later, from a thread that calls rcu_free_later() or rcu_reclaim(). */
void rcu_free_later(void *data, GDestroyNotify free_fn);
/* Frees what can be freed now; called by the event loops when they are about to wait. */
void rcu_reclaim(void);

#endif
