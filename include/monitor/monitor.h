/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor: one Monitor a chardev, all with the same command table.  Main lock held.
 */
#ifndef VMRUN_MONITOR_MONITOR_H
#define VMRUN_MONITOR_MONITOR_H

#include "chardev/chardev.h"
#include "hw/core/machine.h"

typedef struct Monitor Monitor;

/* Opens a monitor with line editing, history and completion on chr. */
Monitor *monitor_new(Machine *machine, Chardev *chr, GError **error);
void monitor_free(Monitor *mon);
void monitor_printf(Monitor *mon, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Runs one command line and returns its output (g_free): tests, window menus. */
char *monitor_run(Machine *machine, const char *line);

#endif
