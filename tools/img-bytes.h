/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and writing at any byte of an image, not only whole sectors. (co) */
#ifndef VMRUN_TOOLS_IMG_BYTES_H
#define VMRUN_TOOLS_IMG_BYTES_H

#include "block/node.h"

/* The range lies within the node.  Buffers that are sectors already are passed on as they are.  0
 * or a negative errno. */
int bytes_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
/* Reads the sectors of which it writes a part; nobody else may write them meanwhile. */
int bytes_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
/* The same with zeros; flags as node_write_zeroes(). */
int bytes_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);

#endif
