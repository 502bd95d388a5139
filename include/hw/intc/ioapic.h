/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O APIC (`ioapic_class`): 24 inputs, each with a redirection entry that turns it into an
 * interrupt message.
 *
 * Inputs are numbered as the chip's pins.  Nothing is swapped inside: a PC wires ISA IRQ0 to pin 2,
 * and it is the board that does so.  A high IrqLine means "asserted", whatever the polarity bit
 * of the entry says: the guest may write and read that bit freely.
 *
 * Messages go out by machine_msi(); each change of an entry is told to hooks.ioapic_route.
 * On realize the device sets machine->ioapic and machine->ioapic_eoi.  Main lock held.
 */
#ifndef VMRUN_HW_INTC_IOAPIC_H
#define VMRUN_HW_INTC_IOAPIC_H

#include "hw/intc/i8259.h"

#define IOAPIC_PINS 24
#define IOAPIC_BASE 0xfec00000u

/* The EOI message of a local APIC: ends the level interrupts with that vector; those whose line is
 * still asserted are sent again. */
void ioapic_eoi(Device *dev, uint8_t vector);

/* What would become of an edge at a pin; PIN_FREE, too, if the engine cannot tell what waits in its
 * local APICs. */
PinState ioapic_pin_state(Device *dev, unsigned pin);

/* Its part of `info pic`. */
void ioapic_describe(Device *dev, GString *out);

#endif
