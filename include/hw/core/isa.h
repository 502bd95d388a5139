/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus: port space, sixteen interrupt lines with any number of drivers each, DMA channels.
 *
 * A line is the OR of its drivers.  One IsaBus a machine; the south bridge creates it.
 */
#ifndef VMRUN_HW_CORE_ISA_H
#define VMRUN_HW_CORE_ISA_H

#include "hw/core/machine.h"

#define ISA_IRQS 16

/* A DMA controller as its clients see it (Intel 8237A; implemented in hw/dma/i8237.c). */
typedef struct IsaDmaOps {
    /* Raises or drops DREQ of a channel. */
    void (*request)(void *opaque, unsigned channel, bool level);
    /* Moves up to length bytes between the device's buf and memory at the channel's current
     * address, in the direction that the channel is programmed for; to_memory must match it.
     * Returns the bytes moved; *terminal_count is set when the channel's count ran out. */
    uint32_t (*transfer)(void *opaque, unsigned channel, void *buf, uint32_t length, bool to_memory,
                         bool *terminal_count);
    /* Whether the channel is unmasked and set up for that direction (verify mode counts as both).
     */
    bool (*ready)(void *opaque, unsigned channel, bool to_memory);
} IsaDmaOps;

typedef struct IsaBus {
    Machine *machine;
    IrqLine out[ISA_IRQS];      /* to the GSI fan-out of the board */
    uint32_t drivers[ISA_IRQS]; /* bit mask of drivers that are high */
    unsigned driver_count[ISA_IRQS];
    const IsaDmaOps *dma;
    void *dma_opaque;
} IsaBus;

/* Prepares a bus for machine; main lock. */
void isa_bus_init(IsaBus *bus, Machine *machine);
/* Makes the bus the machine's; isa_bus(machine) then finds it. */
void isa_bus_register(IsaBus *bus);
IsaBus *isa_bus(Machine *machine);
/* A new driver of line irq (0 to 15): a device connects its output to it once, in realize. At most
 * 32 a line. */
IrqLine isa_irq(IsaBus *bus, unsigned irq);
/* Maps an I/O region at a port; unmap with region_remove(). */
void isa_map(IsaBus *bus, uint16_t port, Region *region);

/* `state` rows of the bus for the bridge's StateDesc: STATE_STRUCT(S, isa, &isa_bus_state). */
extern const StateDesc isa_bus_state;

#endif
