/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port 61h (`pcspk_class`): NMI status and control, speaker gate and data.
 *
 *     bit 0  rw  gate of PIT channel 2        bit 4  r  refresh: toggles every 15.085 us
 *     bit 1  rw  speaker data enable          bit 5  r  OUT of PIT channel 2
 *     bit 2  rw  SERR# NMI off                bit 6  r  IOCHK# NMI
 *     bit 3  rw  IOCHK# NMI off               bit 7  r  SERR# NMI
 *
 * It needs the PIT (`isa-pit`) to exist when it is realized.  Main lock held.
 */
#ifndef VMRUN_HW_MISC_PCSPK_H
#define VMRUN_HW_MISC_PCSPK_H

#include "hw/core/device.h"

/* A PCI device asserts SERR#: sets bit 7 and sends an NMI, unless bit 2 is set. */
void pcspk_system_error(Device *dev);

#endif
