/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-parallel: LPT1 to LPT3, the standard parallel port with a printer at it; IEEE 1284 (SPP,
 * "compatibility mode") and the IBM PC/AT Technical Reference.
 *
 * The printer takes a byte at nStrobe's falling edge, is busy for 5 us, and acknowledges with a
 * pulse on nAck of another 5 us, whose end interrupts.  If the chardev takes no more, the printer
 * stays busy.  The pulses are read off the clock: no timer runs unless the guest wants interrupts.
 */
#include "chardev/chardev.h"
#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

#define AUTO      UINT32_MAX
#define MAX_INDEX 3
#define PORTS     3 /* at 0x3bc the next but one belongs to the VGA */

enum { REG_DATA, REG_STATUS, REG_CONTROL };
/* Status: the levels of the pins, BUSY inverted. */
enum {
    STATUS_NOT_BUSY = 0x80,
    STATUS_NACK = 0x40,
    STATUS_SELECT = 0x10,
    STATUS_NERROR = 0x08,
    STATUS_UNUSED = 0x07,
};
/* Control: STROBE, AUTOFD and SELECT_IN are inverted on their pins. */
enum {
    CONTROL_STROBE = 0x01,
    CONTROL_NINIT = 0x04,
    CONTROL_SELECT_IN = 0x08,
    CONTROL_IRQ = 0x10,
    CONTROL_INPUT = 0x20,
    CONTROL_UNUSED = 0xc0,
};

#define BUSY_NS (5 * NS_PER_US)
#define ACK_NS  (5 * NS_PER_US)

typedef struct IsaParallel {
    Device dev;
    Region io;
    uint32_t index, iobase, irq_number; /* properties */
    void *chr;
    IrqLine irq;
    uint8_t data, control;
    uint8_t latched; /* the byte in the printer */
    bool waiting;    /* `latched` is not yet taken by the chardev */
    bool sending;    /* inside chr_write() */
    bool irq_pending;
    uint64_t taken_at; /* guest time of the last byte + 1; 0: none */
    Timer ack;         /* the end of the acknowledge pulse */
} IsaParallel;

static void update_irq(IsaParallel *p)
{
    irq_set(&p->irq, p->irq_pending && (p->control & CONTROL_IRQ));
}

/* ---- The printer ---- */

static int64_t since_taken(const IsaParallel *p)
{
    return clock_now(VM_CLOCK_VIRTUAL) - (int64_t)(p->taken_at - 1);
}

static void arm_ack(IsaParallel *p)
{
    if (p->taken_at && (p->control & CONTROL_IRQ) && since_taken(p) < BUSY_NS + ACK_NS)
        timer_arm(&p->ack, (int64_t)(p->taken_at - 1) + BUSY_NS + ACK_NS);
}

static void send_latched(IsaParallel *p)
{
    if (!p->waiting || p->sending)
        return;
    p->sending = true;
    bool taken = !p->chr || chr_write(p->chr, p, &p->latched, 1) == 1;
    p->sending = false;
    if (!taken)
        return;
    p->waiting = false;
    p->taken_at = (uint64_t)clock_now(VM_CLOCK_VIRTUAL) + 1;
    arm_ack(p);
}

static bool busy(const IsaParallel *p)
{
    return p->waiting || (p->taken_at && since_taken(p) < BUSY_NS + ACK_NS);
}

static void ack_ended(void *opaque)
{
    IsaParallel *p = opaque;
    p->irq_pending = true;
    update_irq(p);
}

static uint8_t status(const IsaParallel *p)
{
    uint8_t value = STATUS_SELECT | STATUS_NERROR | STATUS_UNUSED | STATUS_NACK;
    if (!busy(p))
        return value | STATUS_NOT_BUSY;
    if (!p->waiting && since_taken(p) >= BUSY_NS)
        value &= (uint8_t)~STATUS_NACK;
    return value;
}

/* ---- Registers ---- */

static uint64_t parallel_read(void *opaque, hwaddr offset, unsigned size)
{
    IsaParallel *p = opaque;
    switch (offset) {
    case REG_DATA: /* the port's own latch, unless it listens to lines that nobody drives */
        return p->control & CONTROL_INPUT ? 0xff : p->data;
    case REG_STATUS:
        p->irq_pending = false;
        update_irq(p);
        return status(p);
    default:
        return p->control | CONTROL_UNUSED;
    }
}

static void write_control(IsaParallel *p, uint8_t value)
{
    uint8_t risen = value & (uint8_t)~p->control;
    p->control = value & (uint8_t)~CONTROL_UNUSED;
    if (!(value & CONTROL_NINIT)) { /* the printer is reset: it forgets its byte */
        p->waiting = false;
        p->taken_at = 0;
        timer_cancel(&p->ack);
    } else if ((risen & CONTROL_STROBE) && (value & CONTROL_SELECT_IN)) {
        if (busy(p)) {
            guest_error("isa-parallel: a byte is strobed into a busy printer and lost");
        } else {
            p->latched = p->data;
            p->waiting = true;
            send_latched(p);
        }
    }
    if (!(value & CONTROL_IRQ))
        p->irq_pending = false;
    else if (risen & CONTROL_IRQ)
        arm_ack(p);
    update_irq(p);
}

static void parallel_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    IsaParallel *p = opaque;
    if (offset == REG_DATA)
        p->data = (uint8_t)value;
    else if (offset == REG_CONTROL)
        write_control(p, (uint8_t)value);
    else
        guest_error("isa-parallel: the status register is read-only");
}

static const RegionOps parallel_ops = {parallel_read, parallel_write, .max_size = 1};

/* ---- Life ---- */

static void parallel_event(void *opaque, ChrEvent event)
{
    if (event == CHR_WRITABLE || event == CHR_CLOSED)
        send_latched(opaque);
}

static const ChrHandlers parallel_handlers = {.event = parallel_event};

static void count_parallel(Device *dev, void *opaque)
{
    if (dev->cls == &isa_parallel_class && dev->realized)
        ++*(uint32_t *)opaque;
}

static bool choose_place(IsaParallel *p, GError **error)
{
    static const uint16_t bases[MAX_INDEX] = {0x378, 0x278, 0x3bc};
    if (p->index == AUTO) {
        p->index = 0;
        device_foreach(p->dev.machine, count_parallel, &p->index);
    }
    if (p->index >= MAX_INDEX && p->iobase == AUTO)
        return fail(error,
                    "isa-parallel: there are only %d places; iobase= must say where number "
                    "%u goes",
                    MAX_INDEX, p->index + 1);
    if (p->iobase == AUTO)
        p->iobase = bases[p->index];
    if (p->iobase + PORTS > 0x10000)
        return fail(error, "isa-parallel: iobase=0x%x: its %d ports go past 0xffff", p->iobase,
                    PORTS);
    return true;
}

static bool parallel_realize(Device *dev, GError **error)
{
    IsaParallel *p = (IsaParallel *)dev;
    if (!choose_place(p, error))
        return false;
    timer_init(&p->ack, loop_main(), VM_CLOCK_VIRTUAL, ack_ended, p);
    p->irq = isa_irq(isa_bus(dev->machine), p->irq_number);
    if (p->chr && !chr_attach(p->chr, &parallel_handlers, p, error)) {
        p->chr = NULL;
        return false;
    }
    region_init_io(&p->io, "parallel", PORTS, &parallel_ops, p, NULL);
    isa_map(isa_bus(dev->machine), (uint16_t)p->iobase, &p->io);
    return true;
}

static void parallel_reset(Device *dev)
{
    update_irq((IsaParallel *)dev);
}

static void parallel_unrealize(Device *dev)
{
    IsaParallel *p = (IsaParallel *)dev;
    timer_cancel(&p->ack);
    if (p->chr)
        chr_detach(p->chr, p);
    region_fini(&p->io);
}

static bool parallel_post_load(void *state, GError **error)
{
    IsaParallel *p = state;
    if (p->taken_at > (uint64_t)clock_now(VM_CLOCK_VIRTUAL) + 1)
        return fail(error, "isa-parallel: taken_at lies in the future");
    send_latched(p);
    return true;
}

static const StateField parallel_fields[] = {
    STATE_HOST(IsaParallel, dev),
    STATE_HOST(IsaParallel, io),
    STATE_HOST(IsaParallel, index),
    STATE_HOST(IsaParallel, iobase),
    STATE_HOST(IsaParallel, irq_number),
    STATE_HOST(IsaParallel, chr),
    STATE_HOST(IsaParallel, irq),
    STATE_U(IsaParallel, data, 0),
    STATE_U(IsaParallel, control, CONTROL_NINIT | CONTROL_SELECT_IN),
    STATE_U(IsaParallel, latched, 0),
    STATE_U(IsaParallel, waiting, 0),
    STATE_HOST(IsaParallel, sending),
    STATE_U(IsaParallel, irq_pending, 0),
    STATE_U(IsaParallel, taken_at, 0),
    STATE_TIMER(IsaParallel, ack),
    STATE_END,
};
static const StateDesc parallel_state = {
    .name = "isa-parallel",
    .version = 1,
    .size = sizeof(IsaParallel),
    .fields = parallel_fields,
    .post_load = parallel_post_load,
};

static const Prop parallel_props[] = {
    PROP_FIELD(IsaParallel, index, "index", PROP_UINT, .value = AUTO, .max = MAX_INDEX - 1,
               .help = "0 to 2: LPT1 to LPT3; the next free one if not given"),
    PROP_FIELD(IsaParallel, iobase, "iobase", PROP_UINT, .value = AUTO, .max = 0xffff,
               .help = "first of its ports; by the index if not given"),
    PROP_FIELD(IsaParallel, irq_number, "irq", PROP_UINT, .value = 7, .max = ISA_IRQS - 1,
               .help = "interrupt line"),
    PROP_FIELD(IsaParallel, chr, "chardev", PROP_LINK, .resolve = chr_resolve,
               .help = "the printer: where bytes go"),
    PROP_END,
};

const DeviceClass isa_parallel_class = {
    .name = "isa-parallel",
    .desc = "parallel port (SPP) with a printer",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(IsaParallel),
    .props = parallel_props,
    .state = &parallel_state,
    .realize = parallel_realize,
    .reset = parallel_reset,
    .unrealize = parallel_unrealize,
};
