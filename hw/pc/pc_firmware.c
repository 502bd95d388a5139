/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the board tells its firmware: CMOS bytes, fw_cfg items and files, boot order, tables.
 * (SeaBIOS, docs/Runtime_config.md; CMOS layout as the IBM AT and QEMU's pc have it.)
 */
#include <string.h>

#include "hw/floppy/fdc.h"
#include "hw/ide/ide.h"
#include "hw/misc/fw_cfg.h"
#include "hw/pci/pci.h"
#include "hw/timer/mc146818.h"
#include "pc_private.h"
#include "util/bytes.h"
#include "util/error.h"

/* ---- CMOS ---- */

enum {
    CMOS_FLOPPY = 0x10,
    CMOS_DISKS = 0x12,
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEMORY = 0x15,
    CMOS_EXT_MEMORY = 0x17,
    CMOS_DISK_TYPE = 0x19,
    CMOS_DISK_0 = 0x1b,
    CMOS_DISK_1 = 0x24,
    CMOS_EXT_MEMORY_2 = 0x30,
    CMOS_MEMORY_16M = 0x34,
    CMOS_BOOT_2 = 0x38,
    CMOS_TRANSLATION = 0x39,
    CMOS_BOOT = 0x3d,
    CMOS_MEMORY_4G = 0x5b,
    CMOS_CPUS = 0x5f,
};
#define CMOS_TYPE_USER 47
enum { EQUIPMENT_FLOPPY = 1, EQUIPMENT_FPU = 2, EQUIPMENT_PS2 = 4 };
#define BOOT_NO_FLOPPY_CHECK 1

static void cmos16(PcBoard *board, unsigned index, uint64_t value)
{
    mc146818_set_cmos(board->rtc, index, (uint8_t)value);
    mc146818_set_cmos(board->rtc, index + 1, (uint8_t)(value >> 8));
}

static void cmos_memory(PcBoard *board)
{
    uint64_t low = board->low_ram, high = board->config->ram_size - low;
    uint64_t ext = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
    uint64_t above_16m = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0;
    cmos16(board, CMOS_BASE_MEMORY, MIN(low >> 10, 640));
    cmos16(board, CMOS_EXT_MEMORY, MIN(ext, 65535));
    cmos16(board, CMOS_EXT_MEMORY_2, MIN(ext, 65535));
    cmos16(board, CMOS_MEMORY_16M, MIN(above_16m, 65535));
    cmos16(board, CMOS_MEMORY_4G, high >> 16);
    mc146818_set_cmos(board->rtc, CMOS_MEMORY_4G + 2, (uint8_t)(high >> 32));
    mc146818_set_cmos(board->rtc, CMOS_CPUS, (uint8_t)(board->dev.machine->cpu_count - 1));
}

static void cmos_floppies(PcBoard *board)
{
    unsigned a = fdc_drive_type(board->fdc, 0), b = fdc_drive_type(board->fdc, 1);
    unsigned count = (a != 0) + (b != 0);
    uint8_t equipment = EQUIPMENT_FPU | EQUIPMENT_PS2;
    if (count)
        equipment |= (uint8_t)(EQUIPMENT_FLOPPY | (count - 1) << 6);
    mc146818_set_cmos(board->rtc, CMOS_FLOPPY, (uint8_t)(a << 4 | b));
    mc146818_set_cmos(board->rtc, CMOS_EQUIPMENT, equipment);
}

/* Geometry of the first two disks in the AT's "type 47" bytes, and how the BIOS shall translate it.
 */
static void cmos_disks(PcBoard *board)
{
    uint8_t types = 0, translations = 0;
    for (unsigned i = 0; i < PC_IDE_DRIVES; i++) {
        unsigned cylinders, heads, sectors;
        Device *drive = ide_drive_find(board->dev.machine, i < 2 ? "ide.0" : "ide.1", i % 2);
        if (!drive || !ide_drive_geometry(drive, &cylinders, &heads, &sectors))
            continue;
        translations |= (uint8_t)(ide_drive_translation(drive) << 2 * i);
        if (i >= 2)
            continue;
        types |= i ? 0x0f : 0xf0;
        unsigned at = i ? CMOS_DISK_1 : CMOS_DISK_0;
        mc146818_set_cmos(board->rtc, CMOS_DISK_TYPE + i, CMOS_TYPE_USER);
        cmos16(board, at, cylinders);
        mc146818_set_cmos(board->rtc, at + 2, (uint8_t)heads);
        cmos16(board, at + 3, 0xffff); /* no write precompensation */
        mc146818_set_cmos(board->rtc, at + 5, (uint8_t)(0xc0 | (heads > 8) << 3));
        cmos16(board, at + 6, cylinders);
        mc146818_set_cmos(board->rtc, at + 8, (uint8_t)sectors);
    }
    mc146818_set_cmos(board->rtc, CMOS_DISKS, types);
    mc146818_set_cmos(board->rtc, CMOS_TRANSLATION, translations);
}

/* SeaBIOS's numbers for -boot's letters. */
static unsigned boot_code(char letter)
{
    static const char letters[] = "acdn";
    const char *at = letter == 'b' ? letters : letter ? strchr(letters, letter) : NULL;
    return at ? (unsigned)(at - letters) + 1 : 0;
}

void pc_set_boot_order(PcBoard *board, const char *order)
{
    unsigned codes[3] = {0};
    for (unsigned i = 0; i < 3 && order[i]; i++)
        codes[i] = boot_code(order[i]);
    mc146818_set_cmos(board->rtc, CMOS_BOOT, (uint8_t)(codes[1] << 4 | codes[0]));
    mc146818_set_cmos(board->rtc, CMOS_BOOT_2, (uint8_t)(codes[2] << 4 | BOOT_NO_FLOPPY_CHECK));
}

/* ---- Boot order by device: Open Firmware paths, as SeaBIOS builds them ---- */

typedef struct BootEntry {
    int index;
    char *path;
} BootEntry;

static gint by_index(gconstpointer a, gconstpointer b)
{
    return ((const BootEntry *)a)->index - ((const BootEntry *)b)->index;
}

static void boot_entry_clear(gpointer entry)
{
    g_free(((BootEntry *)entry)->path);
}

static void add_boot_entry(GArray *entries, int index, char *path)
{
    BootEntry entry = {index, path};
    g_array_append_val(entries, entry);
}

/* Cards with a bootindex. */
static void add_boot_card(Device *dev, void *opaque)
{
    const PciDevice *pci = (const PciDevice *)dev;
    if (dev->cls->bus != BUS_PCI || !device_find_prop(dev->cls, "bootindex") ||
        pci->bootindex > INT32_MAX)
        return;
    GString *path = g_string_new(NULL);
    g_string_printf(path, "/pci@i0cf8/ethernet@%x", PCI_SLOT(pci->devfn));
    if (PCI_FUNC(pci->devfn))
        g_string_append_printf(path, ",%x", PCI_FUNC(pci->devfn));
    g_string_append(path, "/ethernet-phy@0");
    add_boot_entry(opaque, (int)pci->bootindex, g_string_free(path, FALSE));
}

static bool add_boot_order(PcBoard *board, GError **error)
{
    const PcConfig *config = board->config;
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(BootEntry));
    g_array_set_clear_func(entries, boot_entry_clear);
    if (config->kernel)
        add_boot_entry(entries, -1, g_strdup("/rom@" KERNEL_ROM_FILE));
    for (unsigned i = 0; i < PC_IDE_DRIVES; i++)
        if (config->ide[i].blk && config->ide[i].bootindex >= 0)
            add_boot_entry(entries, config->ide[i].bootindex,
                           g_strdup_printf("/pci@i0cf8/ide@1,1/drive@%u/disk@%u", i / 2, i % 2));
    for (unsigned i = 0; i < PC_FLOPPIES; i++)
        if (config->floppy[i].blk && config->floppy[i].bootindex >= 0)
            add_boot_entry(entries, config->floppy[i].bootindex,
                           g_strdup_printf("/pci@i0cf8/isa@1/fdc@03f0/floppy@%u", i));
    device_foreach(board->dev.machine, add_boot_card, entries);
    g_array_sort(entries, by_index);
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < entries->len; i++)
        g_string_append_printf(text, "%s\n", g_array_index(entries, BootEntry, i).path);
    if (config->boot.strict)
        g_string_append(text, "HALT\n");
    return !text->len ||
           fw_cfg_add_file(board->fw_cfg, "bootorder", text->str, text->len + 1, error);
}

/* ---- fw_cfg ---- */

enum { E820_RAM = 1, E820_RESERVED = 2 };

static void put_e820(GByteArray *map, uint64_t start, uint64_t length, uint32_t type)
{
    uint8_t entry[20];
    st64_le(entry, start);
    st64_le(entry + 8, length);
    st32_le(entry + 16, type);
    g_byte_array_append(map, entry, sizeof(entry));
}

static bool add_memory_map(PcBoard *board, GError **error)
{
    g_autoptr(GByteArray) map = g_byte_array_new();
    put_e820(map, 0, board->low_ram, E820_RAM);
    if (board->config->ram_size > board->low_ram)
        put_e820(map, 1ull << 32, board->config->ram_size - board->low_ram, E820_RAM);
    return fw_cfg_add_file(board->fw_cfg, "etc/e820", map->data, map->len, error);
}

static bool add_boot_times(PcBoard *board, GError **error)
{
    const PcBoot *boot = &board->config->boot;
    uint8_t word[4];
    fw_cfg_add_u16(board->fw_cfg, FW_CFG_BOOT_MENU, boot->menu);
    if (boot->splash_ms >= 0) {
        st16_le(word, (uint16_t)MIN(boot->splash_ms, 0xffff));
        if (!fw_cfg_add_file(board->fw_cfg, "etc/boot-menu-wait", word, 2, error))
            return false;
    }
    /* All ones: do not try again. */
    st32_le(word, boot->reboot_ms >= 0 ? (uint32_t)boot->reboot_ms : UINT32_MAX);
    return fw_cfg_add_file(board->fw_cfg, "etc/boot-fail-wait", word, 4, error);
}

static uint32_t acpi_presence(const PcBoard *board)
{
    const PcConfig *config = board->config;
    uint32_t have = config->no_hpet ? 0 : ACPI_HAVE_HPET;
    for (unsigned i = 0; i < PC_SERIALS; i++)
        have |= config->serial[i] ? ACPI_HAVE_COM1 << i : 0;
    for (unsigned i = 0; i < PC_PARALLELS; i++)
        have |= config->parallel[i] ? ACPI_HAVE_LPT1 << i : 0;
    if (fdc_drive_type(board->fdc, 0) || fdc_drive_type(board->fdc, 1))
        have |= ACPI_HAVE_FDC;
    return have;
}

static bool add_acpi(PcBoard *board, GError **error)
{
    /* Which sleep states the firmware may offer: S3 and S5; the value is the SLP_TYP. */
    static const uint8_t states[6] = {0x80, 0, 0, 0x81, 2, 0x80};
    g_autoptr(GByteArray) rsdp = g_byte_array_new();
    g_autoptr(GByteArray) tables = g_byte_array_new();
    g_autoptr(GByteArray) loader = g_byte_array_new();
    if (board->config->no_acpi)
        return true;
    AcpiConfig acpi = {.cpus = board->dev.machine->cpu_count,
                       .pci_first = (uint32_t)board->low_ram,
                       .have = acpi_presence(board)};
    acpi_build(&acpi, rsdp, tables, loader);
    Device *fw_cfg = board->fw_cfg;
    return fw_cfg_add_file(fw_cfg, "etc/acpi/rsdp", rsdp->data, rsdp->len, error) &&
           fw_cfg_add_file(fw_cfg, "etc/acpi/tables", tables->data, tables->len, error) &&
           fw_cfg_add_file(fw_cfg, "etc/table-loader", loader->data, loader->len, error) &&
           fw_cfg_add_file(fw_cfg, "etc/system-states", states, sizeof(states), error);
}

static bool add_smbios(PcBoard *board, GError **error)
{
    g_autoptr(GByteArray) anchor = g_byte_array_new();
    g_autoptr(GByteArray) tables = g_byte_array_new();
    return smbios_build(board->dev.machine, board->config, board->low_ram, anchor, tables, error) &&
           fw_cfg_add_file(board->fw_cfg, "etc/smbios/smbios-anchor", anchor->data, anchor->len,
                           error) &&
           fw_cfg_add_file(board->fw_cfg, "etc/smbios/smbios-tables", tables->data, tables->len,
                           error);
}

static bool add_user_files(PcBoard *board, GError **error)
{
    GPtrArray *files = board->config->fw_cfg;
    for (guint i = 0; files && i < files->len; i++) {
        const PcFwCfgFile *file = g_ptr_array_index(files, i);
        if (!fw_cfg_add_file(board->fw_cfg, file->name, file->data, file->size, error))
            return fail_prefix(error, "-fw_cfg");
    }
    return true;
}

bool pc_set_rtc(Device *rtc, const PcRtc *config, GError **error)
{
    static const char *const clocks[] = {"rt", "vm", "host"}; /* by VmClock */
    g_autofree char *date = NULL;
    const char *base = config->base == PC_RTC_LOCALTIME ? "localtime" : "utc";
    if (config->base == PC_RTC_DATE) {
        g_autoptr(GDateTime) when = g_date_time_new_from_unix_utc(config->date);
        base = date = g_date_time_format(when, "%Y-%m-%dT%H:%M:%S");
    }
    return device_set_prop(rtc, "base", base, error) &&
           device_set_prop(rtc, "clock", clocks[config->clock], error);
}

bool pc_add_firmware_tables(PcBoard *board, GError **error)
{
    const PcConfig *config = board->config;
    cmos_memory(board);
    cmos_floppies(board);
    cmos_disks(board);
    pc_set_boot_order(board, config->boot.once ? config->boot.once : config->boot.order);
    fw_cfg_add_u16(board->fw_cfg, FW_CFG_NOGRAPHIC, config->vga == PC_VGA_NONE);
    fw_cfg_add_u32(board->fw_cfg, FW_CFG_IRQ0_OVERRIDE, 1);
    return add_memory_map(board, error) && add_boot_times(board, error) &&
           add_boot_order(board, error) && add_acpi(board, error) && add_smbios(board, error) &&
           add_user_files(board, error) &&
           (!config->kernel || kernel_load(board->fw_cfg, config, board->low_ram, error));
}
