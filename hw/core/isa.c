/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ISA bus: OR-ed interrupt lines. */
#include "hw/core/isa.h"

#include "util/error.h"

static IsaBus *the_bus;

static void driver_set(void *opaque, unsigned n, bool level)
{
    IsaBus *bus = opaque;
    unsigned irq = n / 32;
    uint32_t bit = 1u << n % 32;
    bool before = bus->drivers[irq] != 0;
    bus->drivers[irq] = level ? bus->drivers[irq] | bit : bus->drivers[irq] & ~bit;
    bool after = bus->drivers[irq] != 0;
    if (before != after)
        irq_set(&bus->out[irq], after);
}

void isa_bus_init(IsaBus *bus, Machine *machine)
{
    *bus = (IsaBus){.machine = machine};
}

void isa_bus_register(IsaBus *bus)
{
    the_bus = bus;
}

IsaBus *isa_bus(Machine *machine)
{
    return the_bus && the_bus->machine == machine ? the_bus : NULL;
}

IrqLine isa_irq(IsaBus *bus, unsigned irq)
{
    if (irq >= ISA_IRQS || bus->driver_count[irq] >= 32)
        return (IrqLine){0};
    return irq_line(driver_set, bus, irq * 32 + bus->driver_count[irq]++);
}

void isa_map(IsaBus *bus, uint16_t port, Region *region)
{
    region_add_overlap(&bus->machine->io_root, port, region, 1);
}

/* A loaded level reaches the interrupt controllers through their own states, not by a new edge. */
static const StateField isa_bus_fields[] = {
    STATE_HOST(IsaBus, machine),
    STATE_HOST(IsaBus, out),
    STATE_ARRAY(IsaBus, drivers, uint32_t, 0),
    STATE_HOST(IsaBus, driver_count),
    STATE_HOST(IsaBus, dma),
    STATE_HOST(IsaBus, dma_opaque),
    STATE_END,
};
const StateDesc isa_bus_state = {"isa-bus", 1, sizeof(IsaBus), isa_bus_fields};
