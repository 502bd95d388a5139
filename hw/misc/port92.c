/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port 92h, the PS/2's system control port A: bit 1 is the A20 gate, a rising bit 0 resets.
 *
 * The gate has a second driver, the keyboard controller, so bit 1 reads what the gate really is.
 */
#include "hw/core/isa.h"
#include "hw/registry.h"

enum { PORT92_RESET = 0x01, PORT92_A20 = 0x02 };

typedef struct Port92 {
    Device dev;
    Region io;
    bool fast_reset; /* bit 0 as last written */
    bool a20;        /* the machine's gate, for a snapshot */
} Port92;

static uint64_t port92_read(void *opaque, hwaddr offset, unsigned size)
{
    Port92 *s = opaque;
    return (s->dev.machine->a20 ? PORT92_A20 : 0) | (s->fast_reset ? PORT92_RESET : 0);
}

static void port92_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Port92 *s = opaque;
    bool reset = value & PORT92_RESET;
    machine_set_a20(s->dev.machine, value & PORT92_A20);
    if (reset && !s->fast_reset)
        machine_request_reset(s->dev.machine, RESET_GUEST);
    s->fast_reset = reset;
}

static const RegionOps port92_ops = {port92_read, port92_write, .max_size = 1};

static bool port92_realize(Device *dev, GError **error)
{
    Port92 *s = (Port92 *)dev;
    region_init_io(&s->io, "port92", 1, &port92_ops, s, NULL);
    isa_map(isa_bus(dev->machine), 0x92, &s->io);
    return true;
}

static void port92_unrealize(Device *dev)
{
    region_fini(&((Port92 *)dev)->io);
}

static void port92_pre_save(void *state)
{
    Port92 *s = state;
    s->a20 = s->dev.machine->a20;
}

static bool port92_post_load(void *state, GError **error)
{
    Port92 *s = state;
    machine_set_a20(s->dev.machine, s->a20);
    return true;
}

static const StateField port92_fields[] = {
    STATE_HOST(Port92, dev),
    STATE_HOST(Port92, io),
    STATE_U(Port92, fast_reset, false),
    STATE_U(Port92, a20, true),
    STATE_END,
};
static const StateDesc port92_state = {
    "port92", 1, sizeof(Port92), port92_fields, port92_pre_save, port92_post_load};

const DeviceClass port92_class = {
    .name = "port92",
    .desc = "port 92h: fast A20 gate and reset",
    .bus = BUS_ISA,
    .size = sizeof(Port92),
    .state = &port92_state,
    .realize = port92_realize,
    .unrealize = port92_unrealize,
};
