/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-debug-exit: a write of V to its port ends the machine with process exit code (V << 1) | 1. */
#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/error.h"

typedef struct DebugExit {
    Device dev;
    Region io;
    uint32_t iobase, iosize; /* properties */
} DebugExit;

static uint64_t debug_exit_read(void *opaque, hwaddr offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Machine *machine = ((DebugExit *)opaque)->dev.machine;
    machine->exit_code = (int)((uint32_t)value << 1 | 1);
    machine_request_shutdown(machine, SHUTDOWN_GUEST);
}

static const RegionOps debug_exit_ops = {debug_exit_read, debug_exit_write};

static bool debug_exit_realize(Device *dev, GError **error)
{
    DebugExit *s = (DebugExit *)dev;
    if (s->iobase + s->iosize > 0x10000)
        return fail(error, "isa-debug-exit: iobase + iosize goes past the last port, 0xffff");
    region_init_io(&s->io, "isa-debug-exit", s->iosize, &debug_exit_ops, s, NULL);
    isa_map(isa_bus(dev->machine), s->iobase, &s->io);
    return true;
}

static void debug_exit_unrealize(Device *dev)
{
    region_fini(&((DebugExit *)dev)->io);
}

static const StateField debug_exit_fields[] = {
    STATE_HOST(DebugExit, dev),
    STATE_HOST(DebugExit, io),
    STATE_HOST(DebugExit, iobase),
    STATE_HOST(DebugExit, iosize),
    STATE_END,
};
static const StateDesc debug_exit_state = {"isa-debug-exit", 1, sizeof(DebugExit),
                                           debug_exit_fields};

static const Prop debug_exit_props[] = {
    PROP_FIELD(DebugExit, iobase, "iobase", PROP_UINT, .value = 0x501, .max = 0xffff,
               .help = "first port"),
    PROP_FIELD(DebugExit, iosize, "iosize", PROP_UINT, .value = 2, .min = 1, .max = 0x10000,
               .help = "number of ports"),
    PROP_END,
};

const DeviceClass isa_debug_exit_class = {
    .name = "isa-debug-exit",
    .desc = "ends the machine with an exit code of the guest's choice",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(DebugExit),
    .props = debug_exit_props,
    .state = &debug_exit_state,
    .realize = debug_exit_realize,
    .unrealize = debug_exit_unrealize,
};
