/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making GErrors. */
#include "util/error.h"

#include <errno.h>

G_DEFINE_QUARK(vmrun - error, vmrun_error)

bool fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error)
        *error = g_error_new_valist(VMRUN_ERROR, 0, format, args);
    va_end(args);
    return false;
}

bool fail_errno(GError **error, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error) {
        g_autofree char *text = g_strdup_vprintf(format, args);
        *error = g_error_new(VMRUN_ERROR, errnum, "%s: %s", text, g_strerror(errnum));
    }
    va_end(args);
    return false;
}

int errno_of(const GError *error)
{
    return error->code ? -error->code : -EIO;
}

bool fail_prefix(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (error && *error) {
        g_autofree char *prefix = g_strdup_vprintf(format, args);
        g_prefix_error(error, "%s: ", prefix);
    }
    va_end(args);
    return false;
}
