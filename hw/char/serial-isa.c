/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-serial: COM1 to COM4, a 16550A each at the PC's places (IBM PC/AT Technical Reference). */
#include "hw/char/uart16550.h"
#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/error.h"

#define AUTO      UINT32_MAX
#define MAX_INDEX 4

typedef struct IsaSerial {
    Device dev;
    Uart uart;
    Region io;
    uint32_t index, iobase, irq_number; /* properties */
    void *chr;
} IsaSerial;

static uint64_t serial_read(void *opaque, hwaddr offset, unsigned size)
{
    return uart_read(opaque, (unsigned)offset);
}

static void serial_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    uart_write(opaque, (unsigned)offset, (uint8_t)value);
}

static const RegionOps serial_ops = {serial_read, serial_write, .max_size = 1};

static void count_serial(Device *dev, void *opaque)
{
    if (dev->cls == &isa_serial_class && dev->realized)
        ++*(uint32_t *)opaque;
}

/* What is not set comes from the index, and the index from the ports that there already are. */
static bool choose_place(IsaSerial *s, GError **error)
{
    static const uint16_t bases[MAX_INDEX] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[MAX_INDEX] = {4, 3, 4, 3};
    bool placed = s->iobase != AUTO && s->irq_number != AUTO;

    if (s->index == AUTO) {
        s->index = 0;
        device_foreach(s->dev.machine, count_serial, &s->index);
    }
    if (s->index >= MAX_INDEX && !placed)
        return fail(error,
                    "isa-serial: there are only %d places; iobase= and irq= must say where "
                    "number %u goes",
                    MAX_INDEX, s->index + 1);
    if (s->iobase == AUTO)
        s->iobase = bases[s->index];
    if (s->irq_number == AUTO)
        s->irq_number = irqs[s->index];
    if (s->iobase + UART_REGS > 0x10000)
        return fail(error, "isa-serial: iobase=0x%x: its %d ports go past 0xffff", s->iobase,
                    UART_REGS);
    return true;
}

static bool serial_realize(Device *dev, GError **error)
{
    IsaSerial *s = (IsaSerial *)dev;
    if (!choose_place(s, error))
        return false;
    s->uart.irq = isa_irq(isa_bus(dev->machine), s->irq_number);
    if (!uart_init(&s->uart, "isa-serial", s->chr, error))
        return false;
    region_init_io(&s->io, "serial", UART_REGS, &serial_ops, &s->uart, NULL);
    isa_map(isa_bus(dev->machine), (uint16_t)s->iobase, &s->io);
    return true;
}

static void serial_reset(Device *dev)
{
    uart_reset(&((IsaSerial *)dev)->uart);
}

static void serial_unrealize(Device *dev)
{
    IsaSerial *s = (IsaSerial *)dev;
    uart_fini(&s->uart);
    region_fini(&s->io);
}

static const StateField serial_fields[] = {
    STATE_HOST(IsaSerial, dev),    STATE_STRUCT(IsaSerial, uart, &uart_state),
    STATE_HOST(IsaSerial, io),     STATE_HOST(IsaSerial, index),
    STATE_HOST(IsaSerial, iobase), STATE_HOST(IsaSerial, irq_number),
    STATE_HOST(IsaSerial, chr),    STATE_END,
};
static const StateDesc serial_state = {"isa-serial", 1, sizeof(IsaSerial), serial_fields};

static const Prop serial_props[] = {
    PROP_FIELD(IsaSerial, index, "index", PROP_UINT, .value = AUTO, .max = MAX_INDEX - 1,
               .help = "0 to 3: COM1 to COM4; the next free one if not given"),
    PROP_FIELD(IsaSerial, iobase, "iobase", PROP_UINT, .value = AUTO, .max = 0xffff,
               .help = "first of its 8 ports; by the index if not given"),
    PROP_FIELD(IsaSerial, irq_number, "irq", PROP_UINT, .value = AUTO, .max = ISA_IRQS - 1,
               .help = "interrupt line; by the index if not given"),
    PROP_FIELD(IsaSerial, chr, "chardev", PROP_LINK, .resolve = chr_resolve,
               .help = "what its pins are connected to"),
    PROP_END,
};

const DeviceClass isa_serial_class = {
    .name = "isa-serial",
    .desc = "serial port (16550A)",
    .bus = BUS_ISA,
    .user = true,
    .size = sizeof(IsaSerial),
    .props = serial_props,
    .state = &serial_state,
    .realize = serial_realize,
    .reset = serial_reset,
    .unrealize = serial_unrealize,
};
