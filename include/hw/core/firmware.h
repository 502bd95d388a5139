/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding firmware: SeaBIOS, VGA BIOS and option ROMs in the distribution's packages. */
#ifndef VMRUN_HW_CORE_FIRMWARE_H
#define VMRUN_HW_CORE_FIRMWARE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Adds a directory to the front of the search path (-L); several are searched in order given. */
void firmware_add_path(const char *dir);
/* The full path (g_free) of a firmware file: `name` itself if it has a slash, else the first hit in
 * the -L directories and the configured path.  NULL with an error that names the package to
 * install. */
char *firmware_find(const char *name, GError **error);
/* Its contents (g_free), at most max_size bytes. */
uint8_t *firmware_load(const char *name, uint64_t max_size, uint64_t *size, GError **error);
/* The search path as text, one directory a line (-L help). */
void firmware_describe_path(GString *out);

#endif
