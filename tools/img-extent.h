/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an image's data lies, as map, compare, measure, rebase and convert ask it. */
#ifndef VMRUN_TOOLS_IMG_EXTENT_H
#define VMRUN_TOOLS_IMG_EXTENT_H

#include "img.h"

/* Follows the chain down to who knows of a first part of [offset, offset + bytes), within the node:
 * extent->node, `depth` images below node.  UNALLOCATED is left only at the bottom, or where a
 * backing file is shorter than its overlay.  Holes of the host file count as zeros in raw images
 * only.  0 or a negative errno. */
int img_extent(BlkNode *node, uint64_t offset, uint64_t bytes, Extent *extent, unsigned *depth);
/* What such an extent means: reads as zeros; is stored; has a place in a file. */
bool img_extent_is_zero(const Extent *extent);
bool img_extent_is_data(const Extent *extent);
bool img_extent_has_host(const Extent *extent);
/* DATA whose place in the file begins with a hole (or data) is cut to that; true: it is a hole. */
bool img_extent_cut_hole(Extent *extent);
/* Whether the host stores clearly less of the file than it is long. */
bool img_file_is_sparse(const BlkNode *node);

typedef enum { RANGE_UNALLOCATED, RANGE_ZERO, RANGE_DATA } RangeKind;
typedef enum {
    SCOPE_ALL,   /* what the guest sees: nothing is UNALLOCATED */
    SCOPE_TOP,   /* the image alone, without its backing file */
    SCOPE_CHAIN, /* the open chain; UNALLOCATED is what nobody in it knows of */
} RangeScope;
/* The kind of a first part of the range, *bytes, whole sectors; holes of the host's count as zeros.
 */
int img_range(BlkNode *node, uint64_t offset, uint64_t *bytes, RangeScope scope, RangeKind *kind);

#endif
