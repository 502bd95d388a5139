/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O threads: a thread that runs an EventLoop of its own (-object iothread,id=NAME).
 *
 * Created and freed by the main thread; the list belongs to it.
 */
#ifndef VMRUN_UTIL_IOTHREAD_H
#define VMRUN_UTIL_IOTHREAD_H

#include <sys/types.h>

#include "util/loop.h"

typedef struct IoThread IoThread;

/* Starts one.  NULL with an error if the id is taken or the host has no thread left. */
IoThread *iothread_new(const char *id, GError **error);
/* Ends the thread; nothing of its loop may be left. */
void iothread_free(IoThread *thread);
void iothread_free_all(void);
/* NULL with an error that names those that there are. */
IoThread *iothread_find(const char *id, GError **error);
/* Calls fn for each in order of creation. */
void iothread_foreach(void (*fn)(IoThread *thread, void *opaque), void *opaque);

EventLoop *iothread_loop(const IoThread *thread);
const char *iothread_id(const IoThread *thread);
pid_t iothread_tid(const IoThread *thread);

#endif
