/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HPET (`hpet_class`): a 100 MHz, 64-bit counter with 3 to 24 comparators at 0xfed00000.
 *
 * The legacy lines pass through it, as in the chipset, so that legacy replacement needs no switch
 * on the board:
 *
 *     input 0: OUT of the PIT   -> output "legacy" 0: ISA IRQ0
 *     input 1: IRQ of the RTC   -> output "legacy" 1: ISA IRQ8
 *
 * While the guest has set LEG_RT_CNF, timers 0 and 1 drive these outputs instead.  Otherwise a
 * timer drives the I/O APIC pin ("gsi") that the guest routes it to, out of those in the property
 * hpet-intcap (pin 2 by default), or sends an MSI (property msi).  Main lock held.
 */
#ifndef VMRUN_HW_TIMER_HPET_H
#define VMRUN_HW_TIMER_HPET_H

#include "hw/core/device.h"

#define HPET_BASE       0xfed00000u
#define HPET_GSIS       32
#define HPET_IN_PIT     0
#define HPET_IN_RTC     1
#define HPET_LEGACY_PIT 0
#define HPET_LEGACY_RTC 1

/* Connect outputs; before the device is realized. */
void hpet_connect(Device *dev, unsigned gsi, IrqLine line);
void hpet_connect_legacy(Device *dev, unsigned n, IrqLine line);

/* Bits 0-31 of the capabilities register, the "event timer block ID" of the ACPI HPET table. */
uint32_t hpet_block_id(Device *dev);

#endif
