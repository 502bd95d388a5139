/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX4's SMBus host controller with nothing on its bus: every transaction ends at once with a
 * device error.  (Intel 82371AB datasheet, 290562, 7.3; registers 11.2.)  Main lock held.
 */
#ifndef VMRUN_HW_PCI_PM_SMBUS_H
#define VMRUN_HW_PCI_PM_SMBUS_H

#include "hw/core/irq.h"
#include "hw/core/state.h"

#define PM_SMBUS_SIZE 16

typedef struct PmSmbus {
    uint8_t sts, cnt, cmd, addr, data[2];
    uint8_t block[32];
    uint8_t index; /* next byte of block */
} PmSmbus;

extern const StateDesc pm_smbus_state;

/* Byte registers, offset below PM_SMBUS_SIZE. */
uint8_t pm_smbus_read(PmSmbus *bus, unsigned offset);
void pm_smbus_write(PmSmbus *bus, unsigned offset, uint8_t value);
/* Whether it asks for its interrupt. */
bool pm_smbus_irq(const PmSmbus *bus);

#endif
