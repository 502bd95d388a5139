/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What region.c tells address_space.c. */
#ifndef VMRUN_HW_CORE_AS_PRIVATE_H
#define VMRUN_HW_CORE_AS_PRIVATE_H

#include "hw/core/address_space.h"

/* The tree changed: every address space makes a new view and publishes it if it differs. */
void as_tree_changed(void);
/* A property of the region that is not part of a FlatRange changed (doorbells, coalescing): at the
 * next as_tree_changed() views that hold the region count as different. */
void as_region_changed(Region *region);

/* The device side of one access, of any size and alignment up to 8 bytes inside the region. */
uint64_t region_io_read(const Region *region, hwaddr offset, unsigned size);
void region_io_write(const Region *region, hwaddr offset, uint64_t value, unsigned size);

#endif
