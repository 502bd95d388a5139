/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The old encryption of qcow and qcow2: AES-128 in CBC mode, its key the first 16 bytes of the
 * password, its vectors the numbers of the guest's sectors.  It is weak, and only read.
 *
 * Since a sector's vector depends on where the guest sees it, the view is a byte store in which
 * offsets are the guest's.
 */
#ifndef VMRUN_BLOCK_AES_VIEW_H
#define VMRUN_BLOCK_AES_VIEW_H

#include "block/node.h"

/* Where data really lies, as BlkFormat.map. */
typedef int AesMapFn(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e);

/* Opens the view for the node's password; where it may be locked, *view may be NULL.  False with an
 * error; the node must be read-only. */
bool aes_view_open(BlkNode *node, AesMapFn *map, BlkFile **view, GError **error);
/* What map() answers to others: data lies in the view, or, if that is NULL, cannot be read. */
int aes_view_extent(BlkFile *view, uint64_t offset, Extent *e);

#endif
