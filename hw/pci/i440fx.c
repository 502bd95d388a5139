/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The i440FX host bridge: configuration mechanism #1, the memory layout, PAM and SMRAM.
 * (Intel 82441FX PCI and Memory Controller datasheet, 290549, chapter 3.)
 */
#include "hw/pci/i440fx.h"

#include "hw/core/address_space.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/options.h"

#define CONFIG_ADDRESS  0xcf8
#define CONFIG_DATA     0xcfc
#define CONFIG_ENABLE   0x80000000u
#define CONFIG_WRITABLE 0x80fffffcu

/* Configuration registers. */
enum {
    DRAM_SIZE = 0x57, /* not Intel's: RAM in units of 8 MiB, where coreboot looks on QEMU */
    PAM0 = 0x59,      /* to PAM6 */
    PAM_COUNT = 7,
    SMRAM = 0x72,
};
enum { PAM_RE = 1, PAM_WE = 2, PAM_MODES = 3 };
enum { C_BASE_SEG = 2, G_SMRAME = 8, D_LCK = 0x10, D_OPEN = 0x40, SMRAM_WRITABLE = 0x78 };

#define PAM_SEGMENTS 13 /* 0xf0000, then twelve of 16 KiB from 0xc0000 on */
#define FOUR_GIB     (1ULL << 32)
#define ONE_MIB      0x100000
#define VGA_BASE     0xa0000
#define VGA_SIZE     0x20000
#define ISA_BIOS_MAX 0x20000

typedef struct I440fx I440fx;

/* One segment's three overlays on RAM; at most one is enabled, none means RAM for all. */
typedef struct PamSegment {
    I440fx *bridge;
    hwaddr base;
    Region pci;        /* neither: reads and writes go to PCI */
    Region read_only;  /* reads from RAM, writes dropped */
    Region write_only; /* reads from PCI, writes to RAM */
} PamSegment;

struct I440fx {
    PciDevice pci;
    uint64_t below_4g; /* property, then the real size */
    uint32_t config_address;
    uint64_t shadow; /* PAM0 (lowest byte) to PAM6 as the guest last set them */
    PciBus *bus;
    Region pci_memory, low_ram, high_ram, vga_window;
    Region smm_root, smm_memory, smm_ram;
    Region config_address_io, config_data_io;
    Region bios_low, empty;
    PamSegment pam[PAM_SEGMENTS];
    AddressSpace pci_space; /* what write-only segments read */
};

uint64_t i440fx_below_4g(uint64_t ram_size)
{
    return ram_size >= 0xe0000000 ? 0xc0000000 : ram_size;
}

/* ---- Configuration mechanism #1 ---- */

static void config_target(const I440fx *s, hwaddr offset, unsigned *devfn, unsigned *reg)
{
    *devfn = s->config_address >> 8 & 0xff;
    *reg = (s->config_address & 0xfc) + (unsigned)offset;
}

static bool config_enabled(const I440fx *s)
{
    return (s->config_address & CONFIG_ENABLE) && !(s->config_address & 0xff0000); /* bus 0 */
}

static uint64_t config_data_read(void *opaque, hwaddr offset, unsigned size)
{
    I440fx *s = opaque;
    unsigned devfn, reg;
    config_target(s, offset, &devfn, &reg);
    return config_enabled(s) ? pci_config_read(s->bus, devfn, reg, size) : UINT64_MAX;
}

static void config_data_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    I440fx *s = opaque;
    unsigned devfn, reg;
    config_target(s, offset, &devfn, &reg);
    if (config_enabled(s))
        pci_config_write(s->bus, devfn, reg, (uint32_t)value, size);
}

/* Only a double word reaches CONFIG_ADDRESS.  Smaller accesses pass on to the bus, where the south
 * bridge answers byte 0xcf9. */
static uint64_t config_address_read(void *opaque, hwaddr offset, unsigned size)
{
    I440fx *s = opaque;
    if (size == 4 && offset == 0)
        return s->config_address;
    if (size == 1 && offset == 1)
        return pci_bus_reset_control_read(s->bus);
    return UINT64_MAX;
}

static void config_address_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    I440fx *s = opaque;
    if (size == 4 && offset == 0)
        s->config_address = (uint32_t)value & CONFIG_WRITABLE;
    else if (size == 1 && offset == 1)
        pci_bus_reset_control_write(s->bus, (uint8_t)value);
}

static const RegionOps config_data_ops = {config_data_read, config_data_write, .unaligned = true};
static const RegionOps config_address_ops = {config_address_read, config_address_write,
                                             .unaligned = true};

/* ---- PAM and SMRAM ---- */

static uint64_t write_only_read(void *opaque, hwaddr offset, unsigned size)
{
    PamSegment *segment = opaque;
    uint64_t value;
    as_load(&segment->bridge->pci_space, segment->base + offset, size, &value);
    return value;
}

static void write_only_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    PamSegment *segment = opaque;
    RamBlock *ram = segment->bridge->pci.dev.machine->ram->ram;
    hwaddr addr = segment->base + offset;
    if (addr + size > ram->size)
        return;
    stn_le(ram->host + addr, size, value);
    ram_mark_dirty(ram, addr, size);
}

static const RegionOps write_only_ops = {write_only_read, write_only_write, .max_size = 8};

static unsigned pam_mode(const I440fx *s, unsigned n)
{
    return s->pci.config[PAM0 + (n + 1) / 2] >> (n & 1 ? 0 : 4) & PAM_MODES;
}

static void update_memory(I440fx *s)
{
    uint8_t smram = s->pci.config[SMRAM];
    region_begin();
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        unsigned mode = pam_mode(s, n);
        region_set_enabled(&s->pam[n].pci, mode == 0);
        region_set_enabled(&s->pam[n].read_only, mode == PAM_RE);
        region_set_enabled(&s->pam[n].write_only, mode == PAM_WE);
    }
    region_set_enabled(&s->vga_window, !(smram & G_SMRAME) || !(smram & D_OPEN));
    region_set_enabled(&s->smm_ram, smram & G_SMRAME);
    region_commit();
}

/* The lock holds until reset, and closes SMRAM. */
static void lock_smram(I440fx *s)
{
    if (!(s->pci.config[SMRAM] & D_LCK))
        return;
    s->pci.config[SMRAM] &= (uint8_t)~D_OPEN;
    s->pci.write_mask[SMRAM] = SMRAM_WRITABLE & (uint8_t) ~(D_LCK | D_OPEN | G_SMRAME);
}

static void config_written(PciDevice *pci, unsigned offset, unsigned size)
{
    I440fx *s = (I440fx *)pci;
    if (offset + size <= PAM0 || offset > SMRAM)
        return;
    lock_smram(s);
    s->shadow = ld64_le(pci->config + PAM0);
    update_memory(s);
}

/* ---- Layout ---- */

static void init_pam(I440fx *s)
{
    Machine *m = s->pci.dev.machine;
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        PamSegment *segment = &s->pam[n];
        uint64_t size = n ? 0x4000 : 0x10000;
        segment->bridge = s;
        segment->base = n ? 0xc0000 + (n - 1) * size : 0xf0000;
        region_init_alias(&segment->pci, "pam-pci", &s->pci_memory, segment->base, size);
        region_init_alias(&segment->read_only, "pam-rom", m->ram, segment->base, size);
        region_set_readonly(&segment->read_only, true);
        region_init_io(&segment->write_only, "pam-write-only", size, &write_only_ops, segment,
                       NULL);
        region_add_overlap(&m->mem_root, segment->base, &segment->pci, 1);
        region_add_overlap(&m->mem_root, segment->base, &segment->read_only, 1);
        region_add_overlap(&m->mem_root, segment->base, &segment->write_only, 1);
    }
}

static void init_smm(I440fx *s)
{
    Machine *m = s->pci.dev.machine;
    region_init_container(&s->smm_root, "smm", REGION_ALL);
    region_init_alias(&s->smm_memory, "smm-memory", &m->mem_root, 0, REGION_ALL);
    region_init_alias(&s->smm_ram, "smram", m->ram, VGA_BASE, VGA_SIZE);
    region_add(&s->smm_root, 0, &s->smm_memory);
    region_add_overlap(&s->smm_root, VGA_BASE, &s->smm_ram, 1);
}

/* PCI answers nothing where no device is: without this, RAM below the overlays would shine through.
 */
static const RegionOps empty_ops = {.max_size = 8};

static void init_memory(I440fx *s)
{
    Machine *m = s->pci.dev.machine;
    region_remove(m->ram);
    region_init_io(&s->empty, "pci-empty", ONE_MIB - VGA_BASE, &empty_ops, s, NULL);
    region_add_overlap(&s->pci_memory, VGA_BASE, &s->empty, -1);
    region_add_overlap(&m->mem_root, 0, &s->pci_memory, -1);
    region_init_alias(&s->low_ram, "ram-below-4g", m->ram, 0, s->below_4g);
    region_add(&m->mem_root, 0, &s->low_ram);
    region_init_alias(&s->high_ram, "ram-above-4g", m->ram, s->below_4g, m->ram_size - s->below_4g);
    if (m->ram_size > s->below_4g)
        region_add(&m->mem_root, FOUR_GIB, &s->high_ram);
    region_init_alias(&s->vga_window, "vga-window", &s->pci_memory, VGA_BASE, VGA_SIZE);
    region_add_overlap(&m->mem_root, VGA_BASE, &s->vga_window, 1);
    init_pam(s);
    init_smm(s);
}

static void init_ports(I440fx *s)
{
    Machine *m = s->pci.dev.machine;
    region_init_io(&s->config_address_io, "pci-conf-idx", 4, &config_address_ops, s, NULL);
    region_init_io(&s->config_data_io, "pci-conf-data", 4, &config_data_ops, s, NULL);
    region_add(&m->io_root, CONFIG_ADDRESS, &s->config_address_io);
    region_add(&m->io_root, CONFIG_DATA, &s->config_data_io);
}

void i440fx_map_bios(Device *dev, Region *bios)
{
    I440fx *s = (I440fx *)dev;
    uint64_t low = MIN(bios->size, ISA_BIOS_MAX);
    region_begin();
    region_add(&s->pci_memory, FOUR_GIB - bios->size, bios);
    region_init_alias(&s->bios_low, "isa-bios", bios, bios->size - low, low);
    region_add_overlap(&s->pci_memory, ONE_MIB - low, &s->bios_low, 1);
    region_commit();
}

Region *i440fx_smm_root(Device *dev)
{
    return &((I440fx *)dev)->smm_root;
}

uint64_t i440fx_ram_below_4g(Device *dev)
{
    return ((I440fx *)dev)->below_4g;
}

/* ---- Life ---- */

static bool check_size(I440fx *s, GError **error)
{
    uint64_t ram_size = s->pci.dev.machine->ram_size;
    if (!s->below_4g)
        s->below_4g = i440fx_below_4g(ram_size);
    if (s->below_4g > 0xe0000000 || s->below_4g < ONE_MIB || s->below_4g & (RAM_PAGE_SIZE - 1)) {
        g_autofree char *size = format_size(s->below_4g);
        return fail(error,
                    "i440FX: %s of RAM below 4 GiB is not a multiple of 4 KiB from 1 MiB to "
                    "3.5 GiB",
                    size);
    }
    s->below_4g = MIN(s->below_4g, ram_size);
    return true;
}

static void fini(Device *dev)
{
    I440fx *s = (I440fx *)dev;
    as_fini(&s->pci_space);
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        region_fini(&s->pam[n].pci);
        region_fini(&s->pam[n].read_only);
        region_fini(&s->pam[n].write_only);
    }
    region_fini(&s->config_address_io);
    region_fini(&s->config_data_io);
    region_fini(&s->bios_low);
    region_fini(&s->empty);
    region_fini(&s->vga_window);
    region_fini(&s->low_ram);
    region_fini(&s->high_ram);
    region_fini(&s->smm_ram);
    region_fini(&s->smm_memory);
    region_fini(&s->smm_root);
    pci_device_fini(&s->pci);
    pci_bus_free(s->bus);
    region_fini(&s->pci_memory);
}

static bool realize(Device *dev, GError **error)
{
    I440fx *s = (I440fx *)dev;
    Machine *m = dev->machine;
    if (!check_size(s, error))
        return false;
    region_init_container(&s->pci_memory, "pci", REGION_ALL);
    s->bus = pci_bus_new(m, &s->pci_memory, &m->io_root);
    pci_default_addr(&s->pci, "0");
    if (!pci_device_init(&s->pci, error)) {
        pci_bus_free(s->bus);
        region_fini(&s->pci_memory);
        return false;
    }
    s->pci.config_written = config_written;
    s->pci.reset_config[DRAM_SIZE] = (uint8_t)MIN(m->ram_size >> 23, 255);
    s->pci.reset_config[SMRAM] = C_BASE_SEG;
    memset(s->pci.write_mask + PAM0 + 1, 0x77, 6);
    s->pci.write_mask[PAM0] = 0x70;
    init_memory(s);
    init_ports(s);
    as_init(&s->pci_space, "pci-memory", &s->pci_memory, UINT64_MAX);
    return true;
}

static void reset(Device *dev)
{
    I440fx *s = (I440fx *)dev;
    s->pci.write_mask[SMRAM] = SMRAM_WRITABLE;
    pci_device_reset(&s->pci);
    /* SeaBIOS finds its way back from S3 by what it left in its shadow RAM. */
    if (dev->machine->waking)
        for (unsigned i = 0; i < PAM_COUNT; i++)
            s->pci.config[PAM0 + i] = (uint8_t)(s->shadow >> 8 * i);
    s->shadow = ld64_le(s->pci.config + PAM0);
    update_memory(s);
}

static bool post_load(void *state, GError **error)
{
    I440fx *s = state;
    s->config_address &= CONFIG_WRITABLE;
    s->shadow = ld64_le(s->pci.config + PAM0);
    s->pci.write_mask[SMRAM] = SMRAM_WRITABLE;
    lock_smram(s);
    update_memory(s);
    return true;
}

static const StateField fields[] = {
    STATE_STRUCT(I440fx, pci, &pci_device_state),
    STATE_HOST(I440fx, below_4g),
    STATE_U(I440fx, config_address, 0),
    STATE_U_KEEP(I440fx, shadow),
    STATE_HOST(I440fx, bus),
    STATE_HOST(I440fx, pci_memory),
    STATE_HOST(I440fx, low_ram),
    STATE_HOST(I440fx, high_ram),
    STATE_HOST(I440fx, vga_window),
    STATE_HOST(I440fx, smm_root),
    STATE_HOST(I440fx, smm_memory),
    STATE_HOST(I440fx, smm_ram),
    STATE_HOST(I440fx, config_address_io),
    STATE_HOST(I440fx, config_data_io),
    STATE_HOST(I440fx, bios_low),
    STATE_HOST(I440fx, empty),
    STATE_HOST(I440fx, pam),
    STATE_HOST(I440fx, pci_space),
    STATE_END,
};
static const StateDesc state = {"i440FX", 1, sizeof(I440fx), fields, .post_load = post_load};

static const Prop props[] = {
    PCI_DEVICE_PROPS(I440fx),
    PROP_FIELD(I440fx, below_4g, "below-4g-mem-size", PROP_SIZE,
               .help = "RAM below 4 GiB; 0: all of it below 3.5 GiB, else 3 GiB"),
    PROP_END,
};

static const PciInfo info = {
    .vendor = 0x8086,
    .device = 0x1237,
    .revision = 2,
    .class_code = 0x060000,
};

const DeviceClass i440fx_class = {
    .name = "i440FX",
    .desc = "Host bridge of the i440FX chip set",
    .bus = BUS_PCI,
    .size = sizeof(I440fx),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = fini,
    .describe = pci_device_describe,
    .bus_info = &info,
};
