/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX3 PCI-to-ISA bridge ("PIIX3", 00:01.0): the ISA bus, routing of the PCI interrupt pins to
 * ISA lines, the reset control register, and the coprocessor's errors.
 * (Intel 82371SB PCI ISA IDE Xcelerator datasheet, 290550, chapter 2.)
 */
#include "hw/core/isa.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"

#define PIRQS 4

/* Configuration registers. */
enum {
    IORT = 0x4c,   /* ISA I/O recovery timer */
    XBCS = 0x4e,   /* X-bus chip select */
    PIRQRC = 0x60, /* PIRQRC[A:D] */
    TOM = 0x69,    /* top of memory */
    MBIRQ = 0x70,  /* motherboard IRQ route control 0 */
    MBDMA = 0x76,  /* motherboard DMA control 0 and 1 */
    PCSC = 0x78,   /* programmable chip select */
    SMICNTL = 0xa0,
    FTMR = 0xa8, /* fast off timer */
};
enum { PIRQ_DISABLED = 0x80, PIRQ_IRQ = 0x0f };
/* ISA lines that PIRQRC may name; the others are the system's own. */
#define ROUTABLE 0xdef8u

/* Coprocessor error register. */
enum { CPER = 0xf0, COPROCESSOR_IRQ = 13 };

/* Reset control register, port 0xcf9. */
enum { RCR_HARD = 2, RCR_RESET = 4 };

typedef struct Piix3 {
    PciDevice pci;
    IsaBus isa;
    IrqLine lines[ISA_IRQS];
    uint32_t pirq_pins[PIRQS][8]; /* the functions that drive each PIRQ, a bit a devfn */
    uint16_t isa_out;             /* the ISA lines that PIRQs hold high */
    uint8_t rcr;
    Region cper;
    IrqLine error_irq;
    bool ferr, ignne; /* levels of the processor's FERR# and IGNNE# */
} Piix3;

/* ---- Interrupts ---- */

static bool pirq_level(const Piix3 *s, unsigned pirq)
{
    uint32_t any = 0;
    for (unsigned i = 0; i < 8; i++)
        any |= s->pirq_pins[pirq][i];
    return any;
}

static uint16_t wanted_lines(const Piix3 *s)
{
    uint16_t wanted = 0;
    for (unsigned pirq = 0; pirq < PIRQS; pirq++) {
        uint8_t route = s->pci.config[PIRQRC + pirq];
        if (!(route & PIRQ_DISABLED) && pirq_level(s, pirq))
            wanted |= (uint16_t)(1u << (route & PIRQ_IRQ));
    }
    return wanted & ROUTABLE;
}

static void update_lines(Piix3 *s)
{
    uint16_t wanted = wanted_lines(s);
    uint16_t changed = wanted ^ s->isa_out;
    s->isa_out = wanted;
    for (unsigned irq = 0; irq < ISA_IRQS; irq++)
        if (changed >> irq & 1)
            irq_set(&s->lines[irq], wanted >> irq & 1);
}

/* The board wires the pins of neighbouring slots to PIRQs in turn, as QEMU's: slot 1's INTA to A.
 */
static void route(void *opaque, unsigned devfn, unsigned pin, bool level)
{
    Piix3 *s = opaque;
    unsigned pirq = (PCI_SLOT(devfn) + pin - 1) & (PIRQS - 1);
    uint32_t *word = &s->pirq_pins[pirq][devfn / 32 & 7];
    uint32_t bit = 1u << devfn % 32;
    *word = level ? *word | bit : *word & ~bit;
    update_lines(s);
}

static void config_written(PciDevice *pci, unsigned offset, unsigned size)
{
    if (offset < PIRQRC + PIRQS && offset + size > PIRQRC)
        update_lines((Piix3 *)pci);
}

/* ---- Reset control ---- */

static uint8_t rcr_read(void *opaque)
{
    return ((Piix3 *)opaque)->rcr;
}

static void rcr_write(void *opaque, uint8_t value)
{
    Piix3 *s = opaque;
    s->rcr = value & RCR_HARD;
    if (value & RCR_RESET)
        machine_request_reset(s->pci.dev.machine, RESET_GUEST);
}

/* ---- Coprocessor errors (290550, 2.5.5.1 and 4.6) ---- */

/* IRQ13 rises with FERR# and stays until the guest writes the register, which raises IGNNE# for as
 * long as FERR# is up. */
static bool set_ferr(Machine *machine, bool level)
{
    Piix3 *s = machine->coprocessor;
    if (level && !s->ferr)
        irq_raise(&s->error_irq);
    s->ferr = level;
    s->ignne &= level;
    return s->ignne;
}

static void cper_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Piix3 *s = opaque;
    irq_lower(&s->error_irq);
    s->ignne = s->ferr;
}

static uint64_t cper_read(void *opaque, hwaddr offset, unsigned size)
{
    return 0xff; /* it is write-only */
}

static const RegionOps cper_ops = {cper_read, cper_write, .max_size = 1};

/* ---- Life ---- */

static void init_reset_config(Piix3 *s)
{
    uint8_t *config = s->pci.reset_config;
    config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    config[PCI_STATUS + 1] = 0x02; /* medium DEVSEL# timing */
    config[IORT] = 0x4d;
    config[XBCS] = 0x03;
    memset(config + PIRQRC, PIRQ_DISABLED, PIRQS);
    config[TOM] = 0x02;
    config[MBIRQ] = 0x80;
    config[MBDMA] = 0x0c;
    config[MBDMA + 1] = 0x0c;
    config[PCSC] = 0x02;
    config[SMICNTL] = 0x08;
    config[FTMR] = 0x0f;
}

static bool realize(Device *dev, GError **error)
{
    Piix3 *s = (Piix3 *)dev;
    pci_default_addr(&s->pci, "1.0");
    if (!pci_device_init(&s->pci, error))
        return false;
    s->pci.config_written = config_written;
    init_reset_config(s);
    isa_bus_init(&s->isa, dev->machine);
    isa_bus_register(&s->isa);
    for (unsigned irq = 0; irq < ISA_IRQS; irq++)
        if (ROUTABLE >> irq & 1)
            s->lines[irq] = isa_irq(&s->isa, irq);
    s->error_irq = isa_irq(&s->isa, COPROCESSOR_IRQ);
    region_init_io(&s->cper, "coprocessor-error", 1, &cper_ops, s, NULL);
    isa_map(&s->isa, CPER, &s->cper);
    dev->machine->coprocessor = s;
    dev->machine->ferr = set_ferr;
    pci_bus_set_irq_route(s->pci.bus, route, s);
    pci_bus_set_reset_control(s->pci.bus, rcr_read, rcr_write, s);
    return true;
}

static void unrealize(Device *dev)
{
    Piix3 *s = (Piix3 *)dev;
    if (s->pci.bus) {
        pci_bus_set_irq_route(s->pci.bus, NULL, NULL);
        pci_bus_set_reset_control(s->pci.bus, NULL, NULL, NULL);
    }
    if (dev->machine->coprocessor == s) {
        dev->machine->ferr = NULL;
        dev->machine->coprocessor = NULL;
        region_fini(&s->cper);
    }
    pci_device_fini(&s->pci);
    if (isa_bus(dev->machine) == &s->isa)
        isa_bus_register(NULL);
}

static void reset(Device *dev)
{
    pci_device_reset(&((Piix3 *)dev)->pci);
}

static const StateField fields[] = {
    STATE_STRUCT(Piix3, pci, &pci_device_state),
    STATE_STRUCT(Piix3, isa, &isa_bus_state),
    STATE_HOST(Piix3, lines),
    STATE_ARRAY(Piix3, pirq_pins, uint32_t, 0),
    STATE_U(Piix3, isa_out, 0),
    STATE_U(Piix3, rcr, 0),
    STATE_HOST(Piix3, cper),
    STATE_HOST(Piix3, error_irq),
    STATE_U(Piix3, ferr, false),
    STATE_U(Piix3, ignne, false),
    STATE_END,
};
static const StateDesc state = {"PIIX3", 1, sizeof(Piix3), fields};

static const Prop props[] = {PCI_DEVICE_PROPS(Piix3), PROP_END};

static const PciInfo info = {
    .vendor = 0x8086,
    .device = 0x7000,
    .class_code = 0x060100,
    .multifunction = true,
};

const DeviceClass piix3_class = {
    .name = "PIIX3",
    .desc = "PCI-to-ISA bridge of the PIIX3 south bridge",
    .bus = BUS_PCI,
    .size = sizeof(Piix3),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
