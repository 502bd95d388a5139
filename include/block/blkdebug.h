/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fault injection: a file that passes everything on to another, and fails what its rules say.
 *
 * An image is opened through it by the name "blkdebug:CONFIG:NAME"; CONFIG is a file of rules, or
 * empty.  The file is as QEMU's: groups [inject-error] and [set-state], lines key = "value".
 *
 *     [inject-error]     event      what must have happened last ("write_aio"); left out: always
 *                        errno      what the request ends with; left out: 5 (EIO)
 *                        iotype     read, write, write-zeroes, discard, flush, block-status;
 *                                   left out: all but block-status
 *                        sector     only requests that touch it, counted in the file
 *                        state      only in this state; left out: in any
 *                        once       the rule is gone after it has failed one request
 *                        immediately  without letting the event loop run first
 *     [set-state]        event, state, new_state: the event changes the state, which is 1 at first
 *
 * An event makes the [inject-error] rules that name it the active ones, in place of those that were
 * active before; an event that no rule names changes nothing.
 */
#ifndef VMRUN_BLOCK_BLKDEBUG_H
#define VMRUN_BLOCK_BLKDEBUG_H

#include "block/file.h"
#include "util/options.h"

/* Filters child, which it takes over, even on failure.  config: NULL or "" for no rules yet. */
BlkFile *blkdebug_open(BlkFile *child, const char *config, GError **error);
#define BLKDEBUG_PREFIX "blkdebug:"
/* Opens "blkdebug:CONFIG:IMAGE". */
BlkFile *blkdebug_open_name(CoSched *sched, const char *name, HostFileMode mode, GError **error);
/* Adds a rule: rule takes the keys above, kind is "inject-error" or "set-state".  An error if file
 * is no such filter, or the rule is bad. */
bool blkdebug_add_rule(BlkFile *file, const char *kind, const Options *rule, GError **error);
/* The next request that comes to the event, by QEMU's name, waits there, and has the tag.  An error
 * if file is no such filter or there is no such event. */
bool blkdebug_break(BlkFile *file, const char *event, const char *tag, GError **error);
/* Drops the breaks of that tag, and lets those go on that wait at one; false: there was none. */
bool blkdebug_remove_break(BlkFile *file, const char *tag);
/* Lets the request that waits with that tag go on; false: none does. */
bool blkdebug_resume(BlkFile *file, const char *tag);
bool blkdebug_is_suspended(const BlkFile *file, const char *tag);
/* Whatever waits goes on, nothing more waits. */
void blkdebug_resume_all(BlkFile *file);
/* Drops all rules; the state is 1 again. */
void blkdebug_clear(BlkFile *file);
/* QEMU's name of an event. */
const char *blkdebug_event_name(BlkEvent event);

#endif
