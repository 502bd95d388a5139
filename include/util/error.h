/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors.
 *
 *   setting up   GError **: the message names the option, file or field at fault and says what
 *                would be right.  One line, no full stop, no newline.
 *   I/O          negative errno.
 *   the guest    guest_error() in util/log.h: what a guest did wrong is logged, never fatal.
 *
 * Nothing that a guest, an image or a network peer does may reach abort(), exit() or assert().
 */
#ifndef VMRUN_UTIL_ERROR_H
#define VMRUN_UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define VMRUN_ERROR (vmrun_error_quark())
GQuark vmrun_error_quark(void);

/* Sets *error (if error is not NULL) to a formatted message.  Always returns false, so that a
 * set-up function may end in `return fail(error, "...")`. */
bool fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The same with ": strerror(errnum)" appended; errnum is positive, and the error's code. */
bool fail_errno(GError **error, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* For I/O that went through set-up code: the negative errno of a failure, -EIO if it has none. */
int errno_of(const GError *error);

/* Puts "prefix: " before the message that stands in *error, if any.  Returns false. */
bool fail_prefix(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
