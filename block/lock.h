/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locks on image files, understood by QEMU: see lock.c. */
#ifndef VMRUN_BLOCK_LOCK_H
#define VMRUN_BLOCK_LOCK_H

#include <glib.h>
#include <stdbool.h>

/* Locks an open image for reading, or for writing; share: others may write it, too.  The lock goes
 * with the last copy of fd.  False with an error that names the file and the process that has it.
 * File systems without such locks are let pass. */
bool image_lock(int fd, const char *name, bool writable, bool share, GError **error);
/* Gives the lock up. */
void image_unlock(int fd);

#endif
