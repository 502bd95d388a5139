/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller as boards see it: "isa-fdc" with properties driveA and driveB (links to
 * Blks; a Blk without medium is an empty drive, no Blk is no drive).  Main lock held.
 */
#ifndef VMRUN_HW_FLOPPY_FDC_H
#define VMRUN_HW_FLOPPY_FDC_H

#include "hw/core/device.h"

/* The drive's type as CMOS 10h has it: 0 none, 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M.  unit: 0
 * or 1. */
unsigned fdc_drive_type(Device *fdc, unsigned unit);

#endif
