/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte stores by name. */
#include "block/blkdebug.h"
#include "block/file.h"
#include "nbd.h"

static ImageFileOpener *opener;

void image_file_set_opener(ImageFileOpener *fn)
{
    opener = fn;
}

BlkFile *image_file_open(CoSched *sched, const char *name, HostFileMode mode, GError **error)
{
    BlkFile *file = opener ? opener(sched, name, mode) : NULL;
    if (file)
        return file;
    if (g_str_has_prefix(name, BLKDEBUG_PREFIX))
        return blkdebug_open_name(sched, name, mode, error);
    if (nbd_is_name(name))
        return nbd_open(sched, name, mode.writable, error);
    return host_file_open(sched, name, mode, error);
}
