/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE function of the PIIX3 south bridge: two channels at their legacy ports and interrupts,
 * with a bus master engine each (Intel 82371SB datasheet, 2.3 and 2.7).
 *
 * Two things are as on QEMU and not as in the datasheet, since firmware and test suites rely on
 * them: the legacy ports do not need the command register's I/O bit, and both channels are decoded
 * (IDETIM bit 15) from reset on.
 */
#include "hw/core/isa.h"
#include "hw/ide/ide.h"
#include "hw/registry.h"

#include "bmdma.h"
#include "util/bytes.h"

#define CHANNELS 2
enum {
    IDETIM = 0x40, /* a 16-bit register for each channel */
    SIDETIM = 0x44,
    IDETIM_DECODE = 0x80, /* of the high byte: bit 15 */
};

typedef struct Piix3Ide {
    PciDevice pci;
    AtaChannel channel[CHANNELS];
    BmDma bm[CHANNELS];
    Region command[CHANNELS], control[CHANNELS], bmdma;
    IrqLine irq[CHANNELS];
    Blk *drive[CHANNELS * 2];
} Piix3Ide;

/* ---- Ports ---- */

static uint64_t command_read(void *opaque, hwaddr offset, unsigned size)
{
    AtaChannel *channel = opaque;
    if (G_LIKELY(offset == ATA_REG_DATA))
        return ata_data_read(channel, size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)ata_read(channel, (unsigned)offset + i) << 8 * i;
    return value;
}

static void command_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    AtaChannel *channel = opaque;
    if (offset == ATA_REG_DATA) {
        ata_data_write(channel, (uint32_t)value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        ata_write(channel, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
}

static uint64_t control_read(void *opaque, hwaddr offset, unsigned size)
{
    return ata_read_alt_status(opaque);
}

static void control_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    ata_write_control(opaque, (uint8_t)value);
}

static uint64_t bm_read(void *opaque, hwaddr offset, unsigned size)
{
    Piix3Ide *ide = opaque;
    return bmdma_read(&ide->bm[offset >> 3], offset & 7);
}

static void bm_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Piix3Ide *ide = opaque;
    bmdma_write(&ide->bm[offset >> 3], offset & 7, (uint8_t)value);
}

static const RegionOps command_ops = {command_read, command_write, 1, 4, false};
static const RegionOps control_ops = {control_read, control_write, 1, 1, false};
static const RegionOps bm_ops = {bm_read, bm_write, 1, 1, false};

/* ---- What a channel asks of its host ---- */

static Piix3Ide *ide_of(BmDma *bm)
{
    return container_of(bm->pci, Piix3Ide, pci);
}

static void host_intrq(void *opaque, bool level)
{
    BmDma *bm = opaque;
    Piix3Ide *ide = ide_of(bm);
    bmdma_intrq(bm, level);
    irq_set(&ide->irq[bm - ide->bm], level);
}

static bool host_dma_running(void *opaque)
{
    return bmdma_running(opaque);
}

static AtaDmaResult host_dma_map(void *opaque, bool to_memory, uint64_t skip, uint64_t bytes,
                                 GArray *iov)
{
    return bmdma_map(opaque, to_memory, skip, bytes, iov);
}

static void host_dma_written(void *opaque, const void *host, uint64_t bytes)
{
    BmDma *bm = opaque;
    pci_dma_unmap(bm->pci, host, bytes);
}

static void host_dma_end(void *opaque)
{
    bmdma_end(opaque);
}

static const AtaHostOps host_ops = {host_intrq, host_dma_running, host_dma_map, host_dma_written,
                                    host_dma_end};

/* ---- Configuration ---- */

static void update_decode(Piix3Ide *ide)
{
    region_begin();
    for (unsigned i = 0; i < CHANNELS; i++) {
        bool on = ide->pci.config[IDETIM + 1 + i * 2] & IDETIM_DECODE;
        region_set_enabled(&ide->command[i], on);
        region_set_enabled(&ide->control[i], on);
    }
    region_commit();
}

static void config_written(PciDevice *pci, unsigned offset, unsigned size)
{
    if (offset < SIDETIM && offset + size > IDETIM)
        update_decode(container_of(pci, Piix3Ide, pci));
}

static void init_config(PciDevice *pci)
{
    pci->config[PCI_STATUS] = pci->reset_config[PCI_STATUS] = 0x80;         /* fast back-to-back */
    pci->config[PCI_STATUS + 1] = pci->reset_config[PCI_STATUS + 1] = 0x02; /* medium DEVSEL */
    for (unsigned i = 0; i < CHANNELS; i++) {
        pci->write_mask[IDETIM + i * 2] = 0xff;
        pci->write_mask[IDETIM + 1 + i * 2] = 0xf3;
        pci->config[IDETIM + 1 + i * 2] = IDETIM_DECODE;
        pci->reset_config[IDETIM + 1 + i * 2] = IDETIM_DECODE;
    }
    pci->write_mask[SIDETIM] = 0xff;
    pci->config_written = config_written;
}

/* ---- Device ---- */

static const char *const names[CHANNELS] = {"ide.0", "ide.1"};

static void map_channel(Piix3Ide *ide, unsigned n)
{
    static const uint16_t command[CHANNELS] = {0x1f0, 0x170}, control[CHANNELS] = {0x3f6, 0x376};
    IsaBus *isa = isa_bus(ide->pci.dev.machine);
    AtaChannel *channel = &ide->channel[n];
    ata_channel_init(channel, names[n], &host_ops, &ide->bm[n]);
    bmdma_init(&ide->bm[n], &ide->pci, channel);
    ide->irq[n] = isa_irq(isa, 14 + n);
    region_init_io(&ide->command[n], names[n], 8, &command_ops, channel, NULL);
    region_init_io(&ide->control[n], "ide control", 1, &control_ops, channel, NULL);
    isa_map(isa, command[n], &ide->command[n]);
    isa_map(isa, control[n], &ide->control[n]);
    ide_bus_add(channel);
}

static void take_down(Piix3Ide *ide)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        ide_bus_remove(&ide->channel[i]);
        ata_channel_fini(&ide->channel[i]);
        region_fini(&ide->command[i]);
        region_fini(&ide->control[i]);
    }
    pci_device_fini(&ide->pci);
    region_fini(&ide->bmdma);
}

static bool piix3_ide_realize(Device *dev, GError **error)
{
    Piix3Ide *ide = (Piix3Ide *)dev;
    pci_default_addr(&ide->pci, "1.1");
    if (!pci_device_init(&ide->pci, error))
        return false;
    init_config(&ide->pci);
    region_init_io(&ide->bmdma, "ide bus master", 16, &bm_ops, ide, NULL);
    pci_set_bar_io(&ide->pci, 4, &ide->bmdma);
    for (unsigned i = 0; i < CHANNELS; i++)
        map_channel(ide, i);
    for (unsigned i = 0; i < CHANNELS * 2; i++) {
        if (ide->drive[i] && !ide_drive_add(dev, names[i / 2], i % 2, ide->drive[i], error)) {
            while (dev->children->len)
                device_free(g_ptr_array_index(dev->children, 0));
            take_down(ide);
            return false;
        }
    }
    return true;
}

static void piix3_ide_reset(Device *dev)
{
    Piix3Ide *ide = (Piix3Ide *)dev;
    pci_device_reset(&ide->pci);
    update_decode(ide);
    for (unsigned i = 0; i < CHANNELS; i++)
        ata_channel_reset(&ide->channel[i]);
}

static void piix3_ide_unrealize(Device *dev)
{
    take_down((Piix3Ide *)dev);
}

static void piix3_ide_pre_save(void *state)
{
    Piix3Ide *ide = state;
    for (unsigned i = 0; i < CHANNELS; i++)
        for (unsigned unit = 0; unit < 2; unit++)
            if (ide->channel[i].drive[unit])
                ata_drive_wait(ide->channel[i].drive[unit]);
}

static bool piix3_ide_post_load(void *state, GError **error)
{
    Piix3Ide *ide = state;
    update_decode(ide);
    for (unsigned i = 0; i < CHANNELS; i++)
        irq_set(&ide->irq[i], ide->channel[i].intrq);
    return true;
}

static const StateField piix3_ide_fields[] = {
    STATE_STRUCT(Piix3Ide, pci, &pci_device_state),
    STATE_STRUCT_ARRAY(Piix3Ide, channel, &ata_channel_state),
    STATE_STRUCT_ARRAY(Piix3Ide, bm, &bmdma_state),
    STATE_HOST(Piix3Ide, command),
    STATE_HOST(Piix3Ide, control),
    STATE_HOST(Piix3Ide, bmdma),
    STATE_HOST(Piix3Ide, irq),
    STATE_HOST(Piix3Ide, drive),
    STATE_END,
};
static const StateDesc piix3_ide_state = {
    .name = "piix3-ide",
    .version = 1,
    .size = sizeof(Piix3Ide),
    .fields = piix3_ide_fields,
    .pre_save = piix3_ide_pre_save,
    .post_load = piix3_ide_post_load,
};

#define DRIVE(n, what)                                                                             \
    PROP_FIELD(Piix3Ide, drive[n], "drive" #n, PROP_LINK, .help = what, .resolve = blk_resolve)

static const Prop piix3_ide_props[] = {
    PCI_DEVICE_PROPS(Piix3Ide),   DRIVE(0, "primary master"),  DRIVE(1, "primary slave"),
    DRIVE(2, "secondary master"), DRIVE(3, "secondary slave"), PROP_END,
};

static const PciInfo piix3_ide_info = {
    .vendor = 0x8086,
    .device = 0x7010,
    .class_code = 0x010180,
};

const DeviceClass piix3_ide_class = {
    .name = "piix3-ide",
    .desc = "PIIX3 IDE controller",
    .bus = BUS_PCI,
    .size = sizeof(Piix3Ide),
    .props = piix3_ide_props,
    .state = &piix3_ide_state,
    .realize = piix3_ide_realize,
    .reset = piix3_ide_reset,
    .unrealize = piix3_ide_unrealize,
    .describe = pci_device_describe,
    .bus_info = &piix3_ide_info,
};
