/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's identification: VESA E-EDID 1.4, base block. */
#ifndef VMRUN_EDID_H
#define VMRUN_EDID_H

#include <glib.h>
#include <stdint.h>

#define EDID_SIZE 128

/* Fills the block of a monitor that prefers width x height at 60 Hz; each at most 4095. */
void edid_fill(uint8_t edid[EDID_SIZE], unsigned width, unsigned height);

#endif
