/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8259A interrupt controllers of a PC (`i8259_class`), with the edge/level control
 * registers that the ISA bridge adds.
 *
 *     ports 0x20-0x21, 0xa0-0xa1   master, slave
 *     ports 0x4d0, 0x4d1           ELCR of master, slave
 *     inputs 0-15                  IRQ0 to IRQ15; input 2 goes nowhere (the cascade)
 *
 * The board connects INTR to hooks.pic_intr and sets machine->pic_ack to a call of i8259_ack().
 * Main lock held.
 */
#ifndef VMRUN_HW_INTC_I8259_H
#define VMRUN_HW_INTC_I8259_H

#include "hw/core/device.h"

/* Connects the INTR output of the master.  Before the device is realized. */
void i8259_connect(Device *dev, IrqLine intr);

/* The processor's two INTA cycles: acknowledges the highest request and returns its vector.  With
 * nothing pending that is the vector of IRQ7, or of IRQ15 if the request of the slave went away
 * (datasheet: the "default IR7"). */
int i8259_ack(Device *dev);

/* What would become of an edge at an input now. */
typedef enum {
    PIN_MASKED, /* nothing: it is masked, or its message is no plain edge */
    PIN_FREE,   /* an interrupt */
    PIN_WAITS,  /* it is lost in the one before, which the processor has not taken yet */
} PinState;
PinState i8259_pin_state(Device *dev, unsigned input);

/* The two lines of `info pic`, slave first. */
void pic_describe(Device *dev, GString *out);

#endif
