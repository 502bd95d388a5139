/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "ne2k_isa": Novell's NE2000 on the ISA bus.
 *
 * Ports 0x300 and interrupt 3 are what Novell's cards were delivered with.  Of the lines that a PC
 * has, 3 is free unless there is a second serial port; 5, 10 and 11 are the PCI links', 9 is
 * ACPI's, and the firmware makes those sensitive to levels.
 */
#include "dp8390.h"
#include "hw/core/isa.h"
#include "hw/registry.h"

typedef struct Ne2kIsa {
    Device dev;
    uint32_t iobase, irq_number; /* properties */
    Dp8390 nic;
} Ne2kIsa;

static bool realize(Device *dev, GError **error)
{
    Ne2kIsa *s = (Ne2kIsa *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    s->nic.irq = isa_irq(bus, s->irq_number);
    if (!dp8390_realize(&s->nic, dev, error))
        return false;
    isa_map(bus, (uint16_t)s->iobase, &s->nic.io);
    return true;
}

static void reset(Device *dev)
{
    dp8390_reset(&((Ne2kIsa *)dev)->nic);
}

static void unrealize(Device *dev)
{
    dp8390_unrealize(&((Ne2kIsa *)dev)->nic, dev);
}

static const StateField fields[] = {
    STATE_HOST(Ne2kIsa, dev),
    STATE_HOST(Ne2kIsa, iobase),
    STATE_HOST(Ne2kIsa, irq_number),
    STATE_STRUCT(Ne2kIsa, nic, &dp8390_state),
    STATE_END,
};
static const StateDesc state = {"ne2k_isa", 1, sizeof(Ne2kIsa), fields};

static const Prop props[] = {
    PROP_FIELD(Ne2kIsa, iobase, "iobase", PROP_UINT, .value = 0x300, .max = 0x10000 - DP8390_PORTS,
               .help = "first of its 32 ports"),
    PROP_FIELD(Ne2kIsa, irq_number, "irq", PROP_UINT, .value = 3, .max = ISA_IRQS - 1,
               .help = "interrupt line"),
    DP8390_PROPS(Ne2kIsa),
    PROP_END,
};

const DeviceClass ne2k_isa_class = {
    .name = "ne2k_isa",
    .desc = "NE2000 Ethernet on ISA",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(Ne2kIsa),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
};
