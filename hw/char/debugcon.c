/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-debugcon: the port of Bochs and QEMU that firmware writes its messages to.  A read gives
 * 0xe9, by which a guest knows that somebody listens.
 *
 * The port has no way to say "wait"; what a slow peer does not take is kept, up to a limit.
 */
#include "chardev/chardev.h"
#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/error.h"
#include "util/log.h"

#define QUEUE_SIZE 16384

typedef struct Debugcon {
    Device dev;
    Region io;
    uint32_t iobase, readback; /* properties */
    void *chr;
    /* Not state: these bytes have left the guest. */
    uint8_t *queue;
    size_t queued;
    bool sending;
} Debugcon;

static void send_queue(Debugcon *d)
{
    if (!d->queued || d->sending)
        return;
    d->sending = true;
    size_t taken = chr_write(d->chr, d, d->queue, d->queued);
    d->sending = false;
    d->queued -= taken;
    memmove(d->queue, d->queue + taken, d->queued);
}

static uint64_t debugcon_read(void *opaque, hwaddr offset, unsigned size)
{
    return ((Debugcon *)opaque)->readback;
}

static void debugcon_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Debugcon *d = opaque;
    if (!d->chr)
        return;
    if (d->queued == QUEUE_SIZE) {
        guest_error("isa-debugcon: the peer is too slow; a byte is lost");
        return;
    }
    d->queue[d->queued++] = (uint8_t)value;
    if (d->queued == 1) /* else CHR_WRITABLE is on its way */
        send_queue(d);
}

static const RegionOps debugcon_ops = {debugcon_read, debugcon_write, .max_size = 1};

static void debugcon_event(void *opaque, ChrEvent event)
{
    if (event == CHR_WRITABLE || event == CHR_CLOSED)
        send_queue(opaque);
}

static const ChrHandlers debugcon_handlers = {.event = debugcon_event};

static bool debugcon_realize(Device *dev, GError **error)
{
    Debugcon *d = (Debugcon *)dev;
    if (d->chr && !chr_attach(d->chr, &debugcon_handlers, d, error)) {
        d->chr = NULL;
        return false;
    }
    d->queue = g_malloc(QUEUE_SIZE);
    region_init_io(&d->io, "debugcon", 1, &debugcon_ops, d, NULL);
    isa_map(isa_bus(dev->machine), (uint16_t)d->iobase, &d->io);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    Debugcon *d = (Debugcon *)dev;
    if (d->chr)
        chr_detach(d->chr, d);
    region_fini(&d->io);
    g_free(d->queue);
}

static const StateField debugcon_fields[] = {
    STATE_HOST(Debugcon, dev),      STATE_HOST(Debugcon, io),      STATE_HOST(Debugcon, iobase),
    STATE_HOST(Debugcon, readback), STATE_HOST(Debugcon, chr),     STATE_HOST(Debugcon, queue),
    STATE_HOST(Debugcon, queued),   STATE_HOST(Debugcon, sending), STATE_END,
};
static const StateDesc debugcon_state = {"isa-debugcon", 1, sizeof(Debugcon), debugcon_fields};

static const Prop debugcon_props[] = {
    PROP_FIELD(Debugcon, iobase, "iobase", PROP_UINT, .value = 0xe9, .max = 0xffff,
               .help = "its port"),
    PROP_FIELD(Debugcon, readback, "readback", PROP_UINT, .value = 0xe9, .max = 0xff,
               .help = "what a read gives"),
    PROP_FIELD(Debugcon, chr, "chardev", PROP_LINK, .resolve = chr_resolve,
               .help = "where bytes go"),
    PROP_END,
};

const DeviceClass isa_debugcon_class = {
    .name = "isa-debugcon",
    .desc = "debug console port",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(Debugcon),
    .props = debugcon_props,
    .state = &debugcon_state,
    .realize = debugcon_realize,
    .unrealize = debugcon_unrealize,
};
