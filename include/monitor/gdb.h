/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger for the guest's processors: gdb's remote serial protocol on a chardev.  Main lock
 * held.
 */
#ifndef VMRUN_MONITOR_GDB_H
#define VMRUN_MONITOR_GDB_H

#include "chardev/chardev.h"
#include "hw/core/machine.h"

/*
 * -gdb: "tcp:[HOST]:PORT", "unix:PATH" (which wait for gdb in the background unless the words
 * behind say otherwise), "stdio", a chardev's short form, or "none".  An open one is closed first.
 * The engine is up.
 */
bool gdb_open(Machine *machine, const char *spec, GError **error);
/* Tells gdb that the guest is gone. */
void gdb_close(void);

#endif
