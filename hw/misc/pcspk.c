/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Port 61h, "NMI status and control": 82371SB (PIIX3) datasheet, 2.5.5, and the speaker of the
 * PC/AT, whose tone is OUT of PIT channel 2 while bits 0 and 1 are set.
 */
#include "hw/misc/pcspk.h"

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "hw/timer/i8254.h"
#include "util/error.h"
#include "util/timer.h"

#define SPEAKER_CHANNEL 2
#define REFRESH_TICKS   18 /* PIT ticks from one DRAM refresh to the next */

enum {
    NMISC_GATE = 0x01,
    NMISC_DATA = 0x02,
    NMISC_SERR_OFF = 0x04,
    NMISC_IOCHK_OFF = 0x08,
    NMISC_REFRESH = 0x10,
    NMISC_OUT = 0x20,
    NMISC_SERR = 0x80,
};

typedef struct Pcspk {
    Device dev;
    Region io;
    Device *pit;
    uint8_t control; /* bits 1 to 3; bit 0 is the gate of the PIT */
    bool serr;
} Pcspk;

static uint64_t pcspk_read(void *opaque, hwaddr offset, unsigned size)
{
    Pcspk *s = opaque;
    uint64_t refreshes = ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL), I8254_HZ) / REFRESH_TICKS;
    return s->control | (i8254_gate(s->pit, SPEAKER_CHANNEL) ? NMISC_GATE : 0) |
           (refreshes & 1 ? NMISC_REFRESH : 0) |
           (i8254_out(s->pit, SPEAKER_CHANNEL) ? NMISC_OUT : 0) | (s->serr ? NMISC_SERR : 0);
}

static void pcspk_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Pcspk *s = opaque;
    s->control = value & (NMISC_DATA | NMISC_SERR_OFF | NMISC_IOCHK_OFF);
    if (value & NMISC_SERR_OFF)
        s->serr = false; /* that is also how the status bit is cleared */
    i8254_set_gate(s->pit, SPEAKER_CHANNEL, value & NMISC_GATE);
}

static const RegionOps pcspk_ops = {pcspk_read, pcspk_write, .max_size = 1};

void pcspk_system_error(Device *dev)
{
    Pcspk *s = (Pcspk *)dev;
    if (s->control & NMISC_SERR_OFF || s->serr)
        return;
    s->serr = true;
    if (dev->machine->hooks.nmi)
        dev->machine->hooks.nmi(dev->machine);
}

static bool pcspk_realize(Device *dev, GError **error)
{
    Pcspk *s = (Pcspk *)dev;
    s->pit = device_find_class(dev->machine, i8254_class.name);
    if (!s->pit)
        return fail(error, "isa-pcspk: the speaker needs an isa-pit created before it");
    region_init_io(&s->io, "pcspk", 1, &pcspk_ops, s, NULL);
    isa_map(isa_bus(dev->machine), 0x61, &s->io);
    return true;
}

static void pcspk_unrealize(Device *dev)
{
    region_fini(&((Pcspk *)dev)->io);
}

static const StateField pcspk_fields[] = {
    STATE_HOST(Pcspk, dev),     STATE_HOST(Pcspk, io),       STATE_HOST(Pcspk, pit),
    STATE_U(Pcspk, control, 0), STATE_U(Pcspk, serr, false), STATE_END,
};
static const StateDesc pcspk_state = {"isa-pcspk", 1, sizeof(Pcspk), pcspk_fields};

const DeviceClass pcspk_class = {
    .name = "isa-pcspk",
    .desc = "port 61h: PC speaker and NMI control",
    .bus = BUS_ISA,
    .size = sizeof(Pcspk),
    .state = &pcspk_state,
    .realize = pcspk_realize,
    .unrealize = pcspk_unrealize,
};
