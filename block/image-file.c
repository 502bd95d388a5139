/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte stores by name. */
#include "block/file.h"
#include "nbd.h"

BlkFile *image_file_open(CoSched *sched, const char *name, HostFileMode mode, GError **error)
{
    return nbd_is_name(name) ? nbd_open(sched, name, mode.writable, error)
                             : host_file_open(sched, name, mode, error);
}
