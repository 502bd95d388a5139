/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O APIC: Intel 82093AA (datasheet 290566), and the EOI register that version 0x20 adds.
 *
 * An edge on a masked pin is lost, as the datasheet says (3.2.4, mask).  A level pin sends while
 * its line is asserted and Remote IRR is clear; Remote IRR is set by sending and cleared by the
 * EOI.
 */
#include "hw/intc/ioapic.h"

#include <inttypes.h>

#include "hw/core/machine.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

/* Memory-mapped registers. */
enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
/* What IOREGSEL selects. */
enum { IOAPICID = 0x00, IOAPICVER = 0x01, IOAPICARB = 0x02, IOREDTBL = 0x10 };

/* A redirection entry. */
#define ENTRY_VECTOR        0xffull
#define ENTRY_MODE_SHIFT    8
#define ENTRY_LOGICAL_SHIFT 11
#define ENTRY_LOWACTIVE     (1ull << 13)
#define ENTRY_REMOTE_IRR    (1ull << 14)
#define ENTRY_LEVEL         (1ull << 15)
#define ENTRY_MASKED        (1ull << 16)
#define ENTRY_DEST_SHIFT    56
#define ENTRY_WRITABLE      0xff0000000001afffull /* not Delivery Status and Remote IRR */

enum { MODE_LOWEST = 1 };

typedef struct Ioapic {
    Device dev;
    Region io;
    uint8_t version; /* property */
    uint8_t select;
    uint8_t id;
    uint32_t lines; /* levels of the inputs */
    uint64_t entry[IOAPIC_PINS];
} Ioapic;

static unsigned entry_mode(uint64_t entry)
{
    return entry >> ENTRY_MODE_SHIFT & 7;
}

/* The message of an entry, in MSI form (Intel SDM vol. 3, 11.11). */
static uint64_t entry_address(uint64_t entry)
{
    uint64_t hint = entry_mode(entry) == MODE_LOWEST;
    return 0xfee00000 | entry >> ENTRY_DEST_SHIFT << 12 | hint << 3 |
           (entry >> ENTRY_LOGICAL_SHIFT & 1) << 2;
}

static uint32_t entry_data(uint64_t entry)
{
    uint32_t level = entry & ENTRY_LEVEL ? 1u << 15 | 1u << 14 : 0;
    return level | entry_mode(entry) << 8 | (entry & ENTRY_VECTOR);
}

static void ioapic_send(Ioapic *s, unsigned pin)
{
    machine_msi(s->dev.machine, entry_address(s->entry[pin]), entry_data(s->entry[pin]));
}

/* Sends a level interrupt if it is due. */
static void ioapic_serve_level(Ioapic *s, unsigned pin)
{
    uint64_t entry = s->entry[pin];
    bool due = entry & ENTRY_LEVEL && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR));
    if (!due || !(s->lines & 1u << pin))
        return;
    s->entry[pin] |= ENTRY_REMOTE_IRR;
    ioapic_send(s, pin);
}

static void ioapic_input(void *opaque, unsigned pin, bool level)
{
    Ioapic *s = opaque;
    uint32_t bit = 1u << pin;
    bool rises = level && !(s->lines & bit);
    s->lines = level ? s->lines | bit : s->lines & ~bit;
    if (rises && !(s->entry[pin] & (ENTRY_LEVEL | ENTRY_MASKED)))
        ioapic_send(s, pin);
    ioapic_serve_level(s, pin);
}

void ioapic_eoi(Device *dev, uint8_t vector)
{
    Ioapic *s = (Ioapic *)dev;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = s->entry[pin];
        if ((entry & ENTRY_VECTOR) != vector || !(entry & ENTRY_REMOTE_IRR))
            continue;
        s->entry[pin] &= ~ENTRY_REMOTE_IRR;
        ioapic_serve_level(s, pin);
    }
}

PinState ioapic_pin_state(Device *dev, unsigned pin)
{
    const Machine *machine = dev->machine;
    uint64_t entry = ((const Ioapic *)dev)->entry[pin];
    if (entry & (ENTRY_MASKED | ENTRY_LEVEL) || entry_mode(entry) > MODE_LOWEST)
        return PIN_MASKED;
    bool waits = machine->hooks.msi_waits &&
                 machine->hooks.msi_waits(machine, entry_address(entry), entry_data(entry));
    return waits ? PIN_WAITS : PIN_FREE;
}

static void ioapic_machine_eoi(Machine *machine, uint8_t vector)
{
    ioapic_eoi(machine->ioapic, vector);
}

/* ---- Registers ---- */

static void ioapic_tell_route(Ioapic *s, unsigned pin)
{
    Machine *machine = s->dev.machine;
    uint64_t entry = s->entry[pin];
    if (machine->hooks.ioapic_route)
        machine->hooks.ioapic_route(machine, pin, entry_address(entry), entry_data(entry),
                                    entry & ENTRY_MASKED, entry & ENTRY_LEVEL);
}

static void ioapic_write_entry(Ioapic *s, unsigned pin, unsigned half, uint32_t value)
{
    uint64_t written = bits_set(s->entry[pin], half * 32, 32, value);
    uint64_t entry = (s->entry[pin] & ~ENTRY_WRITABLE) | (written & ENTRY_WRITABLE);
    /* To edge and back to level is how drivers of version 0x11 clear a stuck Remote IRR. */
    if (!(entry & ENTRY_LEVEL))
        entry &= ~ENTRY_REMOTE_IRR;
    if (entry == s->entry[pin])
        return;
    s->entry[pin] = entry;
    ioapic_tell_route(s, pin);
    ioapic_serve_level(s, pin);
}

static uint32_t ioapic_read_window(Ioapic *s)
{
    unsigned pin = (s->select - IOREDTBL) / 2;
    switch (s->select) {
    case IOAPICID:
    case IOAPICARB:
        return (uint32_t)s->id << 24;
    case IOAPICVER:
        return s->version | (IOAPIC_PINS - 1) << 16;
    }
    if (s->select >= IOREDTBL && pin < IOAPIC_PINS)
        return s->entry[pin] >> (s->select & 1) * 32;
    guest_error("ioapic: read of register 0x%02x, which does not exist", s->select);
    return 0;
}

static void ioapic_write_window(Ioapic *s, uint32_t value)
{
    unsigned pin = (s->select - IOREDTBL) / 2;
    if (s->select == IOAPICID)
        s->id = value >> 24 & 15;
    else if (s->select >= IOREDTBL && pin < IOAPIC_PINS)
        ioapic_write_entry(s, pin, s->select & 1, value);
    else
        guest_error("ioapic: write of 0x%08x to register 0x%02x", value, s->select);
}

static uint64_t ioapic_read(void *opaque, hwaddr offset, unsigned size)
{
    Ioapic *s = opaque;
    switch (offset) {
    case IOREGSEL:
        return s->select;
    case IOWIN:
        return ioapic_read_window(s);
    }
    return 0;
}

static void ioapic_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Ioapic *s = opaque;
    switch (offset) {
    case IOREGSEL:
        s->select = value;
        break;
    case IOWIN:
        ioapic_write_window(s, value);
        break;
    case IOEOI:
        if (s->version >= 0x20)
            ioapic_eoi(&s->dev, value);
        break;
    }
}

/* Only aligned double words are defined; narrower reads get their part of one. */
static const RegionOps ioapic_ops = {ioapic_read, ioapic_write, .min_size = 4, .max_size = 4};

/* ---- The device ---- */

static void describe_pins(GString *out, const char *title, uint32_t pins)
{
    g_string_append_printf(out, "  %-8s", title);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (pins & 1u << pin)
            g_string_append_printf(out, " %u", pin);
    g_string_append(out, pins ? "\n" : " (none)\n");
}

void ioapic_describe(Device *dev, GString *out)
{
    static const char *const modes[] = {"fixed", "lowest", "smi", "...",
                                        "nmi",   "init",   "...", "extINT"};
    Ioapic *s = (Ioapic *)dev;
    uint32_t requests = 0, remote = 0;
    g_string_append_printf(out, "ioapic0: ver=0x%x id=0x%02x sel=0x%02x", s->version, s->id,
                           s->select);
    if (s->select >= IOREDTBL)
        g_string_append_printf(out, " (redir[%u])", (s->select - IOREDTBL) / 2);
    g_string_append_c(out, '\n');
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t e = s->entry[pin];
        if (e & ENTRY_LEVEL)
            requests |= s->lines & 1u << pin;
        if (e & ENTRY_REMOTE_IRR)
            remote |= 1u << pin;
        g_string_append_printf(
            out, "  pin %-2u 0x%016" PRIx64 " dest=%x vec=%-3u %s %-5s %-6s %-6s %s\n", pin, e,
            (unsigned)(e >> ENTRY_DEST_SHIFT), (unsigned)(e & ENTRY_VECTOR),
            e & ENTRY_LOWACTIVE ? "active-lo" : "active-hi", e & ENTRY_LEVEL ? "level" : "edge",
            e & ENTRY_MASKED ? "masked" : "", modes[entry_mode(e)],
            e >> ENTRY_LOGICAL_SHIFT & 1 ? "logical" : "physical");
    }
    describe_pins(out, "IRR", requests);
    describe_pins(out, "Remote IRR", remote);
}

static bool ioapic_realize(Device *dev, GError **error)
{
    Ioapic *s = (Ioapic *)dev;
    if (s->version != 0x11 && s->version != 0x20)
        return fail(error, "ioapic: version 0x%x does not exist: it is 0x11 or 0x20", s->version);
    region_init_io(&s->io, "ioapic", 0x1000, &ioapic_ops, s, NULL);
    region_add_overlap(&dev->machine->mem_root, IOAPIC_BASE, &s->io, 1);
    device_init_inputs(dev, ioapic_input, IOAPIC_PINS);
    dev->machine->ioapic = dev;
    dev->machine->ioapic_eoi = ioapic_machine_eoi;
    return true;
}

static void ioapic_tell_routes(Ioapic *s)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic_tell_route(s, pin);
}

static void ioapic_reset(Device *dev)
{
    ioapic_tell_routes((Ioapic *)dev);
}

static void ioapic_unrealize(Device *dev)
{
    region_fini(&((Ioapic *)dev)->io);
    dev->machine->ioapic = NULL;
    dev->machine->ioapic_eoi = NULL;
}

static bool ioapic_post_load(void *state, GError **error)
{
    Ioapic *s = state;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        s->entry[pin] &= ENTRY_WRITABLE | ENTRY_REMOTE_IRR;
    ioapic_tell_routes(s);
    return true;
}

static const StateField ioapic_fields[] = {
    STATE_HOST(Ioapic, dev),
    STATE_HOST(Ioapic, io),
    STATE_HOST(Ioapic, version),
    STATE_U(Ioapic, select, 0),
    STATE_U(Ioapic, id, 0),
    STATE_U(Ioapic, lines, 0),
    STATE_ARRAY(Ioapic, entry, uint64_t, ENTRY_MASKED),
    STATE_END,
};
static const StateDesc ioapic_state = {"ioapic", 1, sizeof(Ioapic), ioapic_fields,
                                       .post_load = ioapic_post_load};

static const Prop ioapic_props[] = {
    PROP_FIELD(Ioapic, version, "version", PROP_UINT, .value = 0x20, .min = 0x11, .max = 0x20,
               .help = "0x11 (82093AA), or 0x20 with the EOI register"),
    PROP_END,
};

const DeviceClass ioapic_class = {
    .name = "ioapic",
    .desc = "I/O APIC with 24 pins",
    .size = sizeof(Ioapic),
    .props = ioapic_props,
    .state = &ioapic_state,
    .realize = ioapic_realize,
    .reset = ioapic_reset,
    .unrealize = ioapic_unrealize,
};
