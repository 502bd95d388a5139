/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots of the whole machine, disks and state, inside its qcow2 images. */
#ifndef VMRUN_MONITOR_SAVEVM_H
#define VMRUN_MONITOR_SAVEVM_H

#include "hw/core/machine.h"

/* Called from the main loop when it is over; error NULL: it worked, else to be freed. */
typedef void SavevmDone(void *opaque, GError *error);

/* All three return at once, with the main lock held as before.  The machine stands meanwhile (not
 * for a deletion) and then does what it did before.  name: copied. */
/* name NULL: "vm-" and the time.  One of the same name is replaced. */
void savevm_save(Machine *machine, const char *name, SavevmDone *done, void *opaque);
/* A snapshot of another kind of machine leaves this one as it is; if its memory cannot be read, or
 * a device refuses its state, the disks are as before, but only a reset makes the machine run
 * again.
 */
void savevm_load(Machine *machine, const char *name, SavevmDone *done, void *opaque);
void savevm_delete(Machine *machine, const char *name, SavevmDone *done, void *opaque);
/* Loads and waits, dispatching the main loop (-loadvm). */
bool savevm_load_now(Machine *machine, const char *name, GError **error);

#endif
