/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libnbd's functions, found when the library is loaded. */
#ifndef VMRUN_BLOCK_NBD_LIB_H
#define VMRUN_BLOCK_NBD_LIB_H

#include <glib.h>
#include <libnbd.h>
#include <stdbool.h>

#define NBD_CALLS(X)                                                                               \
    X(create)                                                                                      \
    X(close)                                                                                       \
    X(get_error)                                                                                   \
    X(get_errno)                                                                                   \
    X(set_uri_allow_local_file)                                                                    \
    X(add_meta_context)                                                                            \
    X(can_meta_context)                                                                            \
    X(is_read_only)                                                                                \
    X(can_flush)                                                                                   \
    X(can_trim)                                                                                    \
    X(can_zero)                                                                                    \
    X(get_size)                                                                                    \
    X(get_block_size)                                                                              \
    X(poll)                                                                                        \
    X(aio_connect_uri)                                                                             \
    X(aio_pread)                                                                                   \
    X(aio_pwrite)                                                                                  \
    X(aio_flush)                                                                                   \
    X(aio_trim)                                                                                    \
    X(aio_zero)                                                                                    \
    X(aio_block_status)                                                                            \
    X(aio_disconnect)                                                                              \
    X(aio_get_fd)                                                                                  \
    X(aio_get_direction)                                                                           \
    X(aio_notify_read)                                                                             \
    X(aio_notify_write)                                                                            \
    X(aio_is_ready)                                                                                \
    X(aio_is_dead)                                                                                 \
    X(aio_is_closed)                                                                               \
    X(aio_command_completed)

typedef struct NbdLib {
#define X(name) __typeof__(&nbd_##name) name;
    NBD_CALLS(X)
#undef X
} NbdLib;

/* Loads it; NULL with an error if it is not installed. Any thread. */
const NbdLib *nbd_lib(GError **error);

#endif
