/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "VGA": the VGA core on a PCI card, as QEMU's standard VGA.
 *
 *   BAR 0   display memory
 *   BAR 2   4 KiB: EDID at 0, ports 0x3c0 - 0x3df at 0x400, VBE registers at 0x500 (two bytes
 * each), at 0x600 the size of the extended area and the byte order of the frame buffer
 *
 * The legacy ports and the window at 0xa0000 answer whatever the command register says, as firmware
 * and guests of this board expect.
 */
#include "edid.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "vga_core.h"

typedef struct PciVga {
    PciDevice pci;
    VgaCore vga;
    Region mmio, mmio_edid, mmio_ports, mmio_vbe, mmio_ext;
    uint8_t edid[EDID_SIZE];
    uint32_t vgamem_mb;
    uint32_t xres, yres;
    bool has_edid;
} PciVga;

static uint64_t edid_read(void *opaque, hwaddr offset, unsigned size)
{
    const PciVga *s = opaque;
    return offset < EDID_SIZE ? s->edid[offset] : 0;
}
static const RegionOps edid_ops = {.read = edid_read, .max_size = 1};

static uint64_t mmio_vbe_read(void *opaque, hwaddr offset, unsigned size)
{
    PciVga *s = opaque;
    return vbe_read(&s->vga, (unsigned)offset / 2);
}
static void mmio_vbe_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    PciVga *s = opaque;
    vbe_write(&s->vga, (unsigned)offset / 2, (uint16_t)value);
}
static const RegionOps mmio_vbe_ops = {
    .read = mmio_vbe_read, .write = mmio_vbe_write, .min_size = 2, .max_size = 2};

enum { EXT_SIZE = 0, EXT_BYTE_ORDER = 4, EXT_LENGTH = 8 };
#define EXT_LITTLE 0x1e1e1e1eu
#define EXT_BIG    0xbebebebeu

static uint64_t ext_read(void *opaque, hwaddr offset, unsigned size)
{
    const PciVga *s = opaque;
    if (offset == EXT_SIZE)
        return EXT_LENGTH;
    return s->vga.big_endian ? EXT_BIG : EXT_LITTLE;
}
static void ext_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    PciVga *s = opaque;
    if (offset == EXT_BYTE_ORDER && value == EXT_LITTLE)
        s->vga.big_endian = false;
    if (offset == EXT_BYTE_ORDER && value == EXT_BIG)
        s->vga.big_endian = true;
}
static const RegionOps ext_ops = {
    .read = ext_read, .write = ext_write, .min_size = 4, .max_size = 4};

static void init_mmio(PciVga *s)
{
    region_init_container(&s->mmio, "vga.mmio", 0x1000);
    if (s->has_edid) {
        edid_fill(s->edid, s->xres, s->yres);
        region_init_io(&s->mmio_edid, "vga.edid", 0x400, &edid_ops, s, NULL);
        region_add(&s->mmio, 0, &s->mmio_edid);
    }
    region_init_alias(&s->mmio_ports, "vga.mmio.ports", &s->vga.ports, 0x10, 0x20);
    region_add(&s->mmio, 0x400, &s->mmio_ports);
    region_init_io(&s->mmio_vbe, "vga.mmio.vbe", (VBE_VIDEO_MEMORY_64K + 1) * 2, &mmio_vbe_ops, s,
                   NULL);
    region_add(&s->mmio, 0x500, &s->mmio_vbe);
    region_init_io(&s->mmio_ext, "vga.mmio.ext", EXT_LENGTH, &ext_ops, s, NULL);
    region_add(&s->mmio, 0x600, &s->mmio_ext);
}

static bool realize(Device *dev, GError **error)
{
    PciVga *s = (PciVga *)dev;
    if (!is_pow2(s->vgamem_mb))
        return fail(error, "VGA: vgamem_mb=%u is not a power of two (1, 2, 4 ... 256)",
                    s->vgamem_mb);
    if (!pci_device_init(&s->pci, error))
        return false;
    if (!vga_core_init(&s->vga, dev->machine, s->vgamem_mb << 20, error)) {
        pci_device_fini(&s->pci);
        return false;
    }
    init_mmio(s);
    pci_set_bar_memory(&s->pci, 0, &s->vga.vram, true, false);
    pci_set_bar_memory(&s->pci, 2, &s->mmio, false, false);
    vga_core_map(&s->vga, pci_bus_memory(s->pci.bus), pci_bus_io(s->pci.bus));
    return true;
}

static void reset(Device *dev)
{
    PciVga *s = (PciVga *)dev;
    pci_device_reset(&s->pci);
    vga_core_reset(&s->vga);
}

static void unrealize(Device *dev)
{
    PciVga *s = (PciVga *)dev;
    pci_device_fini(&s->pci);
    region_begin();
    region_fini(&s->mmio_ext);
    region_fini(&s->mmio_vbe);
    region_fini(&s->mmio_ports);
    if (s->has_edid)
        region_fini(&s->mmio_edid);
    region_fini(&s->mmio);
    region_commit();
    vga_core_fini(&s->vga);
}

static const StateField fields[] = {
    STATE_STRUCT(PciVga, pci, &pci_device_state),
    STATE_STRUCT(PciVga, vga, &vga_core_state),
    STATE_HOST(PciVga, mmio),
    STATE_HOST(PciVga, mmio_edid),
    STATE_HOST(PciVga, mmio_ports),
    STATE_HOST(PciVga, mmio_vbe),
    STATE_HOST(PciVga, mmio_ext),
    STATE_HOST(PciVga, edid),
    STATE_HOST(PciVga, vgamem_mb),
    STATE_HOST(PciVga, xres),
    STATE_HOST(PciVga, yres),
    STATE_HOST(PciVga, has_edid),
    STATE_END,
};
static const StateDesc state = {"VGA", 1, sizeof(PciVga), fields};

static const Prop props[] = {
    PCI_DEVICE_PROPS(PciVga),
    PROP_FIELD(PciVga, vgamem_mb, "vgamem_mb", PROP_UINT, .value = 16, .min = 1, .max = 256,
               .help = "display memory in MiB, a power of two"),
    PROP_FIELD(PciVga, has_edid, "edid", PROP_BOOL, .value = 1,
               .help = "the monitor identifies itself"),
    PROP_FIELD(PciVga, xres, "xres", PROP_UINT, .value = 1280, .min = 320, .max = 4088,
               .help = "preferred width that the monitor tells"),
    PROP_FIELD(PciVga, yres, "yres", PROP_UINT, .value = 800, .min = 200, .max = 4088,
               .help = "preferred height that the monitor tells"),
    PROP_END,
};

/* Revision 2 tells drivers of the extended area in BAR 2. */
static const PciInfo pci_info = {.vendor = 0x1234,
                                 .device = 0x1111,
                                 .revision = 2,
                                 .class_code = 0x030000,
                                 .rom_file = "vgabios-stdvga.bin"};

const DeviceClass vga_class = {
    .name = "VGA",
    .desc = "standard VGA with Bochs VBE linear modes",
    .bus = BUS_PCI,
    .user = true,
    .size = sizeof(PciVga),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
    .bus_info = &pci_info,
};
