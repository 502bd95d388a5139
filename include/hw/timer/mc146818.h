/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MC146818 real-time clock with 128 bytes of CMOS RAM (`mc146818_class`) at ports 0x70, 0x71.
 *
 * Properties:
 *     base   what the clock shows at start: "utc", "localtime", "2006-06-17T16:01:21",
 *            "2006-06-17", or "@SECONDS" since 1970
 *     clock  what drives it: "host" (wall clock), "rt" (host clock without jumps), "vm" (guest
 *            time: stands while the machine is paused)
 *
 * Main lock held.
 */
#ifndef VMRUN_HW_TIMER_MC146818_H
#define VMRUN_HW_TIMER_MC146818_H

#include "hw/core/device.h"

#define CMOS_SIZE 128

/* Connects the interrupt output (ISA IRQ8, or input 1 of the HPET).  Before it is realized. */
void mc146818_connect(Device *dev, IrqLine irq);

/* Sets a byte of CMOS RAM (0x0e to 0x7f, not the century), after it is realized. */
void mc146818_set_cmos(Device *dev, unsigned index, uint8_t value);
/* Any byte of CMOS RAM; those of the clock read as of the guest's last look at them. */
uint8_t mc146818_get_cmos(Device *dev, unsigned index);

#endif
