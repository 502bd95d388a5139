/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks of NBD servers, as byte stores: nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[:exportname=
 * NAME], and URIs (nbd://HOST[:PORT]/NAME, nbd+unix:///NAME?socket=PATH, nbds://...).
 *
 * libnbd speaks the protocol.  It is loaded with the first such disk, so that no other machine pays
 * for it.  A server that dies costs the requests under way, which end with -EIO; the next one
 * connects anew.  One that answers no request at all for a minute counts as dead; while a flush is
 * under way, ten minutes.  If what was written before may be lost with the server, flushes fail
 * from then on.
 */
#ifndef VMRUN_BLOCK_NBD_H
#define VMRUN_BLOCK_NBD_H

#include "block/file.h"

/* Whether the name is of an NBD disk. */
bool nbd_is_name(const char *name);
/* The URI for such a name; NULL with an error that says what is wrong with it; g_free() it. */
char *nbd_uri(const char *name, GError **error);
/* Connects; waits up to ten seconds. */
BlkFile *nbd_open(CoSched *sched, const char *name, bool writable, GError **error);

#endif
