/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 8254 programmable interval timer (`i8254_class`) at ports 0x40-0x43.
 *
 * Channel 0 drives IRQ0; its gate and that of channel 1 are tied high.  The gate and OUT of
 * channel 2 belong to port 61h (hw/misc/pcspk.h).  Main lock held.
 */
#ifndef VMRUN_HW_TIMER_I8254_H
#define VMRUN_HW_TIMER_I8254_H

#include "hw/core/device.h"

#define I8254_HZ       1193182
#define I8254_CHANNELS 3

/* Connects OUT of channel 0 (ISA IRQ0, or input 0 of the HPET).  Before the device is realized. */
void i8254_connect(Device *dev, IrqLine irq);
/* Tells whether the edge of channel 0 before still waits at an interrupt controller, so that
 * another would be lost: with lost_tick_policy=delay it is then held back.  Without one, no edge
 * is. */
typedef bool I8254WaitsFn(void *opaque);
void i8254_connect_waits(Device *dev, I8254WaitsFn *waits, void *opaque);

/* The GATE input of a channel. */
void i8254_set_gate(Device *dev, unsigned channel, bool level);
bool i8254_gate(Device *dev, unsigned channel);
/* The level of a channel's OUT pin at this moment. */
bool i8254_out(Device *dev, unsigned channel);

#endif
