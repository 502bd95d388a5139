/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "isa-fdc": the floppy controller of a PC with its two drives, at ports 3F0h, IRQ 6 and DMA 2. */
#include "hw/core/isa.h"
#include "hw/floppy/fdc.h"
#include "hw/registry.h"

#include "fdc82077.h"
#include "util/bytes.h"

#define FDC_PORT    0x3f0
#define FDC_IRQ     6
#define FDC_CHANNEL 2

typedef struct IsaFdc {
    Device dev;
    IsaBus *bus;
    IrqLine irq;
    Region ports, dir; /* 3F2h to 3F5h, 3F7h */
    Blk *blk[FDC_DRIVES];
    int type[FDC_DRIVES];
    bool attached[FDC_DRIVES];
    Fdc fdc;
} IsaFdc;

/* ---- Ports ---- */

static uint64_t ports_read(void *opaque, hwaddr offset, unsigned size)
{
    return fdc_read(opaque, (unsigned)offset + 2);
}

static void ports_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, (unsigned)offset + 2, (uint8_t)value);
}

static uint64_t dir_read(void *opaque, hwaddr offset, unsigned size)
{
    return fdc_read(opaque, 7);
}

static void dir_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, 7, (uint8_t)value);
}

static const RegionOps ports_ops = {ports_read, ports_write, 1, 1, false};
static const RegionOps dir_ops = {dir_read, dir_write, 1, 1, false};

/* ---- What the chip needs ---- */

static void host_irq(void *opaque, bool level)
{
    irq_set(&((IsaFdc *)opaque)->irq, level);
}

static void host_dma_request(void *opaque, bool level)
{
    const IsaBus *bus = ((IsaFdc *)opaque)->bus;
    if (bus->dma)
        bus->dma->request(bus->dma_opaque, FDC_CHANNEL, level);
}

static bool host_dma_ready(void *opaque, bool to_memory)
{
    const IsaBus *bus = ((IsaFdc *)opaque)->bus;
    return bus->dma && bus->dma->ready(bus->dma_opaque, FDC_CHANNEL, to_memory);
}

static uint32_t host_dma_transfer(void *opaque, void *buf, uint32_t length, bool to_memory,
                                  bool *terminal_count)
{
    const IsaBus *bus = ((IsaFdc *)opaque)->bus;
    return bus->dma->transfer(bus->dma_opaque, FDC_CHANNEL, buf, length, to_memory, terminal_count);
}

static const FdcHost host = {host_irq, host_dma_request, host_dma_ready, host_dma_transfer};

static void medium_changed(void *opaque, Blk *blk, bool present)
{
    IsaFdc *isa = opaque;
    for (unsigned i = 0; i < FDC_DRIVES; i++)
        if (isa->blk[i] == blk)
            fdc_medium_changed(&isa->fdc, i);
}

static const BlkDevOps blk_ops = {.medium_changed = medium_changed};

/* ---- Device ---- */

static void detach(IsaFdc *isa)
{
    for (unsigned i = 0; i < FDC_DRIVES; i++)
        if (isa->attached[i])
            blk_detach_device(isa->blk[i]);
}

static bool attach(IsaFdc *isa, GError **error)
{
    static const FloppyType types[] = {FLOPPY_NONE, FLOPPY_1200K, FLOPPY_1440K, FLOPPY_2880K};
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        FloppyDrive *drive = &isa->fdc.drive[i];
        isa->attached[i] =
            isa->blk[i] && blk_attach_device(isa->blk[i], &blk_ops, isa, isa->dev.id, error);
        if (isa->blk[i] && !isa->attached[i]) {
            detach(isa);
            return false;
        }
        floppy_init(drive, isa->blk[i], types[isa->type[i]]);
    }
    return true;
}

static bool isa_fdc_realize(Device *dev, GError **error)
{
    IsaFdc *isa = (IsaFdc *)dev;
    if (!attach(isa, error))
        return false;
    isa->bus = isa_bus(dev->machine);
    isa->irq = isa_irq(isa->bus, FDC_IRQ);
    fdc_init(&isa->fdc, dev->machine, &host, isa);
    region_init_io(&isa->ports, "fdc", 4, &ports_ops, &isa->fdc, NULL);
    region_init_io(&isa->dir, "fdc dir", 1, &dir_ops, &isa->fdc, NULL);
    isa_map(isa->bus, FDC_PORT + 2, &isa->ports);
    isa_map(isa->bus, FDC_PORT + 7, &isa->dir);
    return true;
}

static void isa_fdc_reset(Device *dev)
{
    fdc_reset(&((IsaFdc *)dev)->fdc);
}

static void isa_fdc_unrealize(Device *dev)
{
    IsaFdc *isa = (IsaFdc *)dev;
    region_fini(&isa->ports);
    region_fini(&isa->dir);
    fdc_fini(&isa->fdc);
    detach(isa);
}

static void isa_fdc_describe(Device *dev, GString *out)
{
    static const char *const names[] = {"none", "360K", "1.2M", "720K", "1.44M", "2.88M"};
    const IsaFdc *isa = (const IsaFdc *)dev;
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        const FloppyDrive *drive = &isa->fdc.drive[i];
        const char *file = drive->blk ? blk_file_name(drive->blk) : NULL;
        g_string_append_printf(out, "    floppy %c: %s", 'A' + i, names[drive->type]);
        if (drive->blk)
            g_string_append_printf(out, ", %s: %s", blk_id(drive->blk), file ? file : "no medium");
        if (drive->format)
            g_string_append_printf(out, ", %u/%u/%u", drive->format->cylinders,
                                   drive->format->heads, drive->format->sectors);
        g_string_append_c(out, '\n');
    }
}

unsigned fdc_drive_type(Device *fdc, unsigned unit)
{
    return unit < FDC_DRIVES ? ((IsaFdc *)fdc)->fdc.drive[unit].type : FLOPPY_NONE;
}

static const StateField isa_fdc_fields[] = {
    STATE_HOST(IsaFdc, dev),
    STATE_HOST(IsaFdc, bus),
    STATE_HOST(IsaFdc, irq),
    STATE_HOST(IsaFdc, ports),
    STATE_HOST(IsaFdc, dir),
    STATE_HOST(IsaFdc, blk),
    STATE_HOST(IsaFdc, type),
    STATE_HOST(IsaFdc, attached),
    STATE_STRUCT(IsaFdc, fdc, &fdc_state),
    STATE_END,
};
static const StateDesc isa_fdc_state = {
    .name = "isa-fdc", .version = 1, .size = sizeof(IsaFdc), .fields = isa_fdc_fields};

static const char *const type_words[] = {"auto", "120", "144", "288", NULL};

#define DRIVE(n, letter)                                                                           \
    PROP_FIELD(IsaFdc, blk[n], "drive" letter, PROP_LINK, .help = "id of the -drive",              \
               .resolve = blk_resolve),                                                            \
        PROP_FIELD(IsaFdc, type[n], "fdtype" letter, PROP_ENUM, .words = type_words,               \
                   .help = "the drive's capacity; auto: by the image at start")

static const Prop isa_fdc_props[] = {
    DRIVE(0, "A"),
    DRIVE(1, "B"),
    PROP_END,
};

const DeviceClass isa_fdc_class = {
    .name = "isa-fdc",
    .desc = "floppy disk controller",
    .bus = BUS_ISA,
    .size = sizeof(IsaFdc),
    .props = isa_fdc_props,
    .state = &isa_fdc_state,
    .realize = isa_fdc_realize,
    .reset = isa_fdc_reset,
    .unrealize = isa_fdc_unrealize,
    .describe = isa_fdc_describe,
};
