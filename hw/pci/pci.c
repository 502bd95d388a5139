/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI device's configuration space, BARs, interrupt pin, bus mastering and option ROM.
 * (PCI Local Bus Specification 3.0, chapter 6.)
 */
#include <inttypes.h>

#include "hw/core/firmware.h"
#include "pci_private.h"
#include "util/error.h"
#include "util/log.h"

#define BAR_UNMAPPED UINT64_MAX
#define BAR_IO_BITS  3u /* low bits of an I/O BAR that are not address */
#define BAR_IO       1u
#define BAR_WIDE     4u
#define BAR_PREFETCH 8u
#define ROM_ENABLE   1u
#define ROM_SIZE_MAX (16u << 20)
/* x86 has 52 physical address bits; a BAR beyond them can be reached by nobody. */
#define MEMORY_LIMIT    (1ULL << 52)
#define STATUS_INTX     0x08 /* low byte of STATUS */
#define STATUS_CAP_LIST 0x10
#define MULTIFUNCTION   0x80

/* ---- BARs ---- */

static uint64_t bar_register(const PciDevice *pci, unsigned n)
{
    unsigned at = pci_bar_offset(n);
    uint64_t value = pci_get32(pci, at);
    return pci->bars[n].wide ? value | (uint64_t)pci_get32(pci, at + 4) << 32 : value;
}

/* Where the guest's settings put BAR n, or BAR_UNMAPPED.  Address 0 and an end at 4 GiB are what a
 * guest leaves there before and while it sizes BARs: as on QEMU they map nothing. */
static uint64_t bar_wanted(const PciDevice *pci, unsigned n)
{
    const PciBar *bar = &pci->bars[n];
    uint64_t value = bar_register(pci, n);
    uint64_t addr = value & ~(bar->size - 1);
    uint64_t last = addr + bar->size - 1;
    if (!(pci_get8(pci, PCI_COMMAND) & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return BAR_UNMAPPED;
    if (n == PCI_ROM_BAR && !(value & ROM_ENABLE))
        return BAR_UNMAPPED;
    if (!addr || last <= addr || last == UINT32_MAX)
        return BAR_UNMAPPED;
    if (last >= (bar->io ? 0x10000 : bar->wide ? MEMORY_LIMIT : 1ULL << 32))
        return BAR_UNMAPPED;
    return addr;
}

static void update_bar(PciDevice *pci, unsigned n)
{
    PciBar *bar = &pci->bars[n];
    uint64_t addr = bar_wanted(pci, n);
    bool mapped = addr != BAR_UNMAPPED;
    if (bar->mapped == mapped && (!mapped || bar->addr == addr))
        return;
    if (bar->mapped)
        region_remove(bar->region);
    bar->mapped = mapped;
    bar->addr = mapped ? addr : 0;
    if (mapped)
        region_add_overlap(bar->io ? pci->bus->io : pci->bus->mem, addr, bar->region, 1);
    log_printf(LOG_PCI, "pci: %02x.%x BAR%u %s 0x%" PRIx64, PCI_SLOT(pci->devfn),
               PCI_FUNC(pci->devfn), n, mapped ? "mapped at" : "unmapped,", bar->addr);
}

static void update_bars(PciDevice *pci)
{
    region_begin();
    for (unsigned n = 0; n <= PCI_BARS; n++)
        if (pci->bars[n].region)
            update_bar(pci, n);
    region_commit();
}

/* A constant bit pattern of the device: now and after each reset. */
static void set_default(PciDevice *pci, unsigned at, uint64_t value, unsigned size)
{
    stn_le(pci->config + at, size, value);
    stn_le(pci->reset_config + at, size, value);
}

static void set_bar(PciDevice *pci, unsigned n, const PciBar *bar, uint32_t type)
{
    unsigned at = pci_bar_offset(n);
    unsigned bytes = bar->wide ? 8 : 4;
    uint64_t writable = ~(bar->size - 1) | (n == PCI_ROM_BAR ? ROM_ENABLE : 0);
    pci->bars[n] = *bar;
    set_default(pci, at, type, bytes);
    stn_le(pci->write_mask + at, bytes, writable);
}

void pci_set_bar_io(PciDevice *pci, unsigned n, Region *region)
{
    g_return_if_fail(n < PCI_BARS && is_pow2(region->size) && region->size > BAR_IO_BITS);
    set_bar(pci, n, &(PciBar){.region = region, .io = true, .size = region->size}, BAR_IO);
}

void pci_set_bar_memory(PciDevice *pci, unsigned n, Region *region, bool prefetch, bool wide)
{
    g_return_if_fail(n + wide < PCI_BARS && is_pow2(region->size) && region->size >= 16);
    PciBar bar = {.region = region, .prefetch = prefetch, .wide = wide, .size = region->size};
    set_bar(pci, n, &bar, (prefetch ? BAR_PREFETCH : 0) | (wide ? BAR_WIDE : 0));
}

/* ---- Option ROM ---- */

/* Firmware passes over a ROM that names another device, and distributions' ROM for the ne2k_pci
 * names none: a class's own ROM is told which device it is for (PCI Firmware
 * Specification 3.0, 5.1.2), and its sum kept. */
static void name_device(const PciDevice *pci, uint8_t *rom, size_t length)
{
    enum { SUM = 6, DATA = 0x18, VENDOR = 4, DATA_SIZE = 0x18 };
    if (length < DATA + 2 || rom[0] != 0x55 || rom[1] != 0xaa)
        return;
    size_t data = ld16_le(rom + DATA);
    if (data + DATA_SIZE > length || data <= SUM || memcmp(rom + data, "PCIR", 4) != 0)
        return;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t *byte = rom + data + VENDOR + i, right = pci->config[PCI_VENDOR_ID + i];
        rom[SUM] += *byte - right;
        *byte = right;
    }
}

static bool load_rom(PciDevice *pci, const char *file, GError **error)
{
    uint64_t length, size = 2048; /* the smallest that a ROM BAR can tell */
    g_autofree uint8_t *bytes = firmware_load(file, ROM_SIZE_MAX, &length, error);
    if (!bytes)
        return false;
    while (size < length)
        size *= 2;
    if (!region_init_rom(&pci->rom, pci->dev.cls->name, MAX(size, RAM_PAGE_SIZE), error))
        return false;
    if (!pci->romfile)
        name_device(pci, bytes, length);
    memcpy(region_ram_ptr(&pci->rom), bytes, length);
    PciBar bar = {.region = &pci->rom, .size = pci->rom.size};
    set_bar(pci, PCI_ROM_BAR, &bar, 0);
    return true;
}

static bool init_rom(PciDevice *pci, const PciInfo *info, GError **error)
{
    const char *file = pci->romfile ? pci->romfile : info->rom_file;
    GError *missing = NULL;
    if (!file || !*file || !pci->rombar || load_rom(pci, file, &missing))
        return true;
    fail_prefix(&missing, "%s: romfile", pci->dev.cls->name);
    if (pci->romfile) {
        g_propagate_error(error, missing);
        return false;
    }
    report_warn("%s", missing->message);
    g_error_free(missing);
    return true;
}

/* ---- Life ---- */

void pci_default_addr(PciDevice *pci, const char *addr)
{
    if (!pci->addr)
        pci->addr = g_strdup(addr);
}

/* "SLOT" or "SLOT.FUNC", hexadecimal as QEMU reads it; -1 without one. */
static bool parse_addr(const PciDevice *pci, int *devfn, GError **error)
{
    *devfn = -1;
    if (!pci->addr || !*pci->addr)
        return true;
    char *end = pci->addr;
    uint64_t slot = g_ascii_isxdigit(*end) ? g_ascii_strtoull(end, &end, 16) : UINT64_MAX;
    uint64_t function = 0;
    if (*end == '.' && g_ascii_isxdigit(end[1]))
        function = g_ascii_strtoull(end + 1, &end, 16);
    if (*end || slot > 31 || function > 7)
        return fail(error, "%s: addr=%s is not SLOT or SLOT.FUNC (00 to 1f, 0 to 7, hexadecimal)",
                    pci->dev.cls->name, pci->addr);
    *devfn = (int)PCI_DEVFN(slot, function);
    return true;
}

static void init_masks(PciDevice *pci)
{
    memset(pci->write_mask, 0, 0x40);
    memset(pci->write_mask + 0x40, 0xff, PCI_CONFIG_SIZE - 0x40);
    st16_le(pci->write_mask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                                               PCI_COMMAND_MASTER | PCI_COMMAND_SERR |
                                               PCI_COMMAND_INTX_DISABLE);
    pci->write_mask[PCI_CACHE_LINE_SIZE] = 0xff;
    pci->write_mask[PCI_INTERRUPT_LINE] = 0xff;
    /* Parity, abort and system error bits. */
    st16_le(pci->clear_mask + PCI_STATUS, 0xf900);
}

static void init_config(PciDevice *pci, const PciInfo *info)
{
    pci->multifunction |= info->multifunction;
    pci->cap_end = 0x40;
    set_default(pci, PCI_VENDOR_ID, info->vendor, 2);
    set_default(pci, PCI_DEVICE_ID, info->device, 2);
    set_default(pci, PCI_REVISION, info->revision, 1);
    set_default(pci, PCI_CLASS_PROG, info->class_code, 3);
    set_default(pci, PCI_HEADER_TYPE, pci->multifunction ? MULTIFUNCTION : 0, 1);
    bool own = info->subsystem_vendor != 0;
    set_default(pci, PCI_SUBSYSTEM_VENDOR_ID, own ? info->subsystem_vendor : 0x1af4, 2);
    set_default(pci, PCI_SUBSYSTEM_ID, own ? info->subsystem : 0x1100, 2);
    set_default(pci, PCI_INTERRUPT_PIN, info->interrupt_pin, 1);
}

bool pci_device_init(PciDevice *pci, GError **error)
{
    const PciInfo *info = pci->dev.cls->bus_info;
    PciBus *bus = pci_bus(pci->dev.machine);
    int devfn;
    if (!bus)
        return fail(error, "%s: the machine has no PCI bus", pci->dev.cls->name);
    if (!parse_addr(pci, &devfn, error))
        return false;
    init_masks(pci);
    init_config(pci, info);
    if (!pci_bus_plug(bus, pci, devfn, error))
        return false;
    if (init_rom(pci, info, error))
        return true;
    pci_device_fini(pci);
    return false;
}

void pci_device_fini(PciDevice *pci)
{
    pci_set_irq(pci, false);
    for (unsigned n = 0; n <= PCI_BARS; n++)
        if (pci->bars[n].mapped)
            region_remove(pci->bars[n].region);
    memset(pci->bars, 0, sizeof(pci->bars));
    region_fini(&pci->rom);
    if (pci->bus)
        pci_bus_unplug(pci->bus, pci);
}

void pci_device_reset(PciDevice *pci)
{
    pci_set_irq(pci, false);
    for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++)
        pci_put8(pci, at, pci->reset_config[at]);
    update_bars(pci);
}

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t size)
{
    unsigned at = align_up(pci->cap_end, 4);
    g_return_val_if_fail(at >= 0x40 && at + size <= PCI_CONFIG_SIZE, 0);
    set_default(pci, at, id, 1);
    set_default(pci, at + 1, pci->reset_config[PCI_CAPABILITY_LIST], 1);
    set_default(pci, PCI_CAPABILITY_LIST, at, 1);
    set_default(pci, PCI_STATUS, pci->reset_config[PCI_STATUS] | STATUS_CAP_LIST, 1);
    memset(pci->write_mask + at, 0, size);
    pci->cap_end = (uint8_t)(at + size);
    return (uint8_t)at;
}

/* ---- Interrupt pin ---- */

static void update_intx(PciDevice *pci)
{
    unsigned pin = pci_get8(pci, PCI_INTERRUPT_PIN);
    bool level = pci->intx_level && !(pci_get16(pci, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
    if (level == pci->intx_out || !pin)
        return;
    pci->intx_out = level;
    if (pci->bus && pci->bus->route)
        pci->bus->route(pci->bus->route_opaque, (unsigned)pci->devfn, (pin - 1) & 3, level);
}

void pci_set_irq(PciDevice *pci, bool level)
{
    uint8_t status = pci_get8(pci, PCI_STATUS);
    pci->intx_level = level;
    pci_put8(pci, PCI_STATUS, level ? status | STATUS_INTX : status & ~STATUS_INTX);
    update_intx(pci);
}

/* ---- Configuration space ---- */

uint32_t pci_device_config_read(PciDevice *pci, unsigned offset, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)pci_get8(pci, offset + i) << 8 * i;
    return pci->config_read ? pci->config_read(pci, offset, size, value) : value;
}

static bool touches(unsigned offset, unsigned size, unsigned from, unsigned length)
{
    return offset < from + length && from < offset + size;
}

void pci_device_config_write(PciDevice *pci, unsigned offset, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++) {
        unsigned at = offset + i;
        uint8_t byte = (uint8_t)(value >> 8 * i);
        uint8_t mask = pci->write_mask[at];
        uint8_t now = (uint8_t)((pci_get8(pci, at) & ~mask) | (byte & mask));
        pci_put8(pci, at, now & (uint8_t) ~(byte & pci->clear_mask[at]));
    }
    if (touches(offset, size, PCI_COMMAND, 2) || touches(offset, size, PCI_BAR0, 4 * PCI_BARS) ||
        touches(offset, size, PCI_ROM_ADDRESS, 4))
        update_bars(pci);
    if (touches(offset, size, PCI_COMMAND, 2))
        update_intx(pci);
    pci_msi_config_written(pci);
    if (pci->config_written)
        pci->config_written(pci, offset, size);
}

/* ---- Bus mastering ---- */

bool pci_bus_master(const PciDevice *pci)
{
    return pci_get8(pci, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

static bool may_master(const PciDevice *pci)
{
    if (pci_bus_master(pci))
        return true;
    guest_error("%s: DMA while the guest has bus mastering off", pci->dev.id);
    return false;
}

MemResult pci_dma_read(PciDevice *pci, hwaddr addr, void *buf, uint64_t length)
{
    if (may_master(pci))
        return dma_read(&pci->dev.machine->mem, addr, buf, length);
    memset(buf, 0xff, length);
    return MEM_UNASSIGNED;
}

MemResult pci_dma_write(PciDevice *pci, hwaddr addr, const void *buf, uint64_t length)
{
    return may_master(pci) ? dma_write(&pci->dev.machine->mem, addr, buf, length) : MEM_UNASSIGNED;
}

void *pci_dma_map(PciDevice *pci, hwaddr addr, uint64_t *length, bool for_write)
{
    return may_master(pci) ? dma_map(&pci->dev.machine->mem, addr, length, for_write) : NULL;
}

void pci_dma_unmap(PciDevice *pci, const void *host, uint64_t written)
{
    dma_unmap(&pci->dev.machine->mem, host, written);
}

/* ---- State ---- */

/* A snapshot cannot change what kind of device this is: bits of the header and of the MSI flags
 * that the guest cannot write come from the device, the interrupt status bit from the saved level.
 */
static bool post_load(void *state, GError **error)
{
    PciDevice *pci = state;
    for (unsigned at = 0; at < PCI_CONFIG_SIZE; at++) {
        bool fixed = at < 0x40 || (pci->msi_cap && touches(at, 1, pci->msi_cap, 4));
        uint8_t mask = pci->write_mask[at] | pci->clear_mask[at];
        if (fixed)
            pci->config[at] = (uint8_t)((pci->config[at] & mask) | (pci->reset_config[at] & ~mask));
    }
    if (pci->intx_level)
        pci->config[PCI_STATUS] |= STATUS_INTX;
    update_bars(pci);
    return true;
}

static const StateField pci_device_fields[] = {
    STATE_HOST(PciDevice, dev),
    STATE_HOST(PciDevice, bus),
    STATE_HOST(PciDevice, devfn),
    STATE_HOST(PciDevice, addr),
    STATE_HOST(PciDevice, romfile),
    STATE_HOST(PciDevice, rombar),
    STATE_HOST(PciDevice, multifunction),
    STATE_HOST(PciDevice, bootindex),
    STATE_BYTES_KEEP(PciDevice, config),
    STATE_HOST(PciDevice, write_mask),
    STATE_HOST(PciDevice, clear_mask),
    STATE_HOST(PciDevice, reset_config),
    STATE_HOST(PciDevice, bars),
    STATE_HOST(PciDevice, rom),
    STATE_HOST(PciDevice, msi_cap),
    STATE_HOST(PciDevice, cap_end),
    /* Kept: pci_device_reset() lowers the pin, which the bus must hear of. */
    STATE_U_KEEP(PciDevice, intx_level),
    STATE_U_KEEP(PciDevice, intx_out),
    STATE_HOST(PciDevice, config_written),
    STATE_HOST(PciDevice, config_read),
    STATE_END,
};
const StateDesc pci_device_state = {
    "pci-device", 1, sizeof(PciDevice), pci_device_fields, .post_load = post_load,
};

/* ---- `info qtree` ---- */

void pci_device_describe(Device *dev, GString *out)
{
    const PciDevice *pci = (const PciDevice *)dev;
    g_autofree char *class_name = pci_class_name(pci_get16(pci, PCI_CLASS_DEVICE));
    g_string_append_printf(
        out, "    class %s, addr %02x:%02x.%x, pci id %04x:%04x (sub %04x:%04x)\n", class_name, 0,
        PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), pci_get16(pci, PCI_VENDOR_ID),
        pci_get16(pci, PCI_DEVICE_ID), pci_get16(pci, PCI_SUBSYSTEM_VENDOR_ID),
        pci_get16(pci, PCI_SUBSYSTEM_ID));
    for (unsigned n = 0; n <= PCI_BARS; n++) {
        const PciBar *bar = &pci->bars[n];
        if (bar->region)
            g_string_append_printf(out, "    bar %u: %s at 0x%" PRIx64 " [0x%" PRIx64 "]\n", n,
                                   bar->io ? "i/o" : "mem", bar->mapped ? bar->addr : UINT64_MAX,
                                   bar->mapped ? bar->addr + bar->size - 1 : bar->size - 1);
    }
}
