/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In place of nbd.c where libnbd's header was missing. */
#include "nbd.h"
#include "util/error.h"

BlkFile *nbd_open(CoSched *sched, const char *name, bool writable, GError **error)
{
    fail(error, "'%s': this vmrun was built without NBD (libnbd-dev was missing)", name);
    return NULL;
}
