/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables (ACPI Specification 3.0b, chapter 5; HPET table: IA-PC HPET
 * Specification 1.0a, 3.2.4) and the script by which firmware places and links them.
 *
 * The fixed hardware is in dsdt.asl; an SSDT made here tells it what the command line decided.
 */
#include <string.h>

#include "dsdt.hex"
#include "hw/intc/ioapic.h"
#include "hw/timer/hpet.h"
#include "pc_private.h"
#include "util/bytes.h"

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define HEADER_SIZE 36

static void put(GByteArray *out, uint64_t value, unsigned size)
{
    uint8_t buf[8];
    stn_le(buf, size, value);
    g_byte_array_append(out, buf, size);
}

static void put_text(GByteArray *out, const char *text, unsigned length)
{
    char buf[64] = {0};
    memcpy(buf, text, MIN(strlen(text), length));
    g_byte_array_append(out, (const uint8_t *)buf, length);
}

static void put_zeroes(GByteArray *out, unsigned length)
{
    while (length--)
        put(out, 0, 1);
}

/* ---- The loader's commands: 128 bytes each (QEMU docs/specs, "fw_cfg table loader") ---- */

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define LOADER_NAME    56
#define LOADER_COMMAND 128

static void pad_command(GByteArray *loader)
{
    put_zeroes(loader, (LOADER_COMMAND - loader->len % LOADER_COMMAND) % LOADER_COMMAND);
}

static void loader_allocate(GByteArray *loader, const char *file, unsigned align, unsigned zone)
{
    put(loader, LOADER_ALLOCATE, 4);
    put_text(loader, file, LOADER_NAME);
    put(loader, align, 4);
    put(loader, zone, 1);
    pad_command(loader);
}

/* The u32 at offset of file is relative to the tables' start; firmware adds the address. */
static void loader_pointer(GByteArray *loader, const char *file, uint32_t offset)
{
    put(loader, LOADER_ADD_POINTER, 4);
    put_text(loader, file, LOADER_NAME);
    put_text(loader, TABLES_FILE, LOADER_NAME);
    put(loader, offset, 4);
    put(loader, 4, 1);
    pad_command(loader);
}

static void loader_checksum(GByteArray *loader, const char *file, uint32_t at, uint32_t start,
                            uint32_t length)
{
    put(loader, LOADER_ADD_CHECKSUM, 4);
    put_text(loader, file, LOADER_NAME);
    put(loader, at, 4);
    put(loader, start, 4);
    put(loader, length, 4);
    pad_command(loader);
}

/* ---- Tables ---- */

static uint32_t table_begin(GByteArray *out, const char *signature, unsigned revision)
{
    uint32_t start = out->len;
    put_text(out, signature, 4);
    put(out, 0, 4); /* length: table_end() */
    put(out, revision, 1);
    put(out, 0, 1); /* checksum: firmware */
    put_text(out, "VMRUN", 6);
    put_text(out, "VMRUNPC", 8);
    put(out, 1, 4);
    put_text(out, "VMRN", 4);
    put(out, 1, 4);
    return start;
}

static void table_end(GByteArray *out, GByteArray *loader, uint32_t start)
{
    st32_le(out->data + start + 4, out->len - start);
    loader_checksum(loader, TABLES_FILE, start + 9, start, out->len - start);
}

static uint32_t build_facs(GByteArray *out)
{
    uint32_t start = out->len;
    put_text(out, "FACS", 4);
    put(out, 64, 4);
    put_zeroes(out, 56);
    return start;
}

static uint32_t build_dsdt(GByteArray *out)
{
    uint32_t start = out->len;
    g_byte_array_append(out, dsdt_aml_code, sizeof(dsdt_aml_code));
    return start;
}

/* ---- SSDT: a little AML (ACPI 3.0b, chapter 19) ---- */

enum { AML_NAME = 0x08, AML_DWORD = 0x0c, AML_SCOPE = 0x10, AML_EXT = 0x5b, AML_PROCESSOR = 0x83 };

static void aml_name_dword(GByteArray *out, const char *name, uint32_t value)
{
    put(out, AML_NAME, 1);
    put_text(out, name, 4);
    put(out, AML_DWORD, 1);
    put(out, value, 4);
}

static void aml_processor(GByteArray *out, unsigned index)
{
    g_autofree char *name = g_strdup_printf("C%03X", index);
    put(out, AML_EXT, 1);
    put(out, AML_PROCESSOR, 1);
    put(out, 1 + 4 + 1 + 4 + 1, 1); /* package length, itself included */
    put_text(out, name, 4);
    put(out, index, 1);
    put(out, 0, 4); /* no processor block */
    put(out, 0, 1);
}

static uint32_t build_ssdt(GByteArray *out, GByteArray *loader, const AcpiConfig *config)
{
    uint32_t start = table_begin(out, "SSDT", 1);
    g_autoptr(GByteArray) body = g_byte_array_new();
    put_text(body, "\\_SB_", 5);
    aml_name_dword(body, "PMIN", config->pci_first);
    aml_name_dword(body, "PMAX", PCI_WINDOW_LAST);
    aml_name_dword(body, "HAVE", config->have);
    for (unsigned i = 0; i < config->cpus; i++)
        aml_processor(body, i);
    put(out, AML_SCOPE, 1);
    uint32_t length = body->len + 2; /* two bytes of length hold up to 4095 */
    put(out, 0x40 | (length & 15), 1);
    put(out, length >> 4, 1);
    g_byte_array_append(out, body->data, body->len);
    table_end(out, loader, start);
    return start;
}

/* Generic address structure: a register in port space. */
static void put_port(GByteArray *out, unsigned bits, uint64_t address)
{
    put(out, 1, 1);
    put(out, bits, 1);
    put(out, 0, 1);
    put(out, bits == 8 ? 1 : bits == 16 ? 2 : 3, 1);
    put(out, address, 8);
}

/* Bits of the FADT's flags. */
enum {
    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_NO_SLEEP_BUTTON = 1 << 5,
    FADT_FIX_RTC = 1 << 6,
    FADT_RESET_REG = 1 << 10,
};

/* Ports and values of the PIIX4 (hw/pci/piix4_pm.c) and of PIIX3's reset control. */
enum {
    PM_BASE = 0x600,
    GPE_BASE = 0xafe0,
    SMI_COMMAND = 0xb2,
    ACPI_ENABLE = 0xf1,
    ACPI_DISABLE = 0xf0,
    SCI_IRQ = 9,
    RESET_PORT = 0xcf9,
    RESET_VALUE = 0x0e,
};

static uint32_t build_fadt(GByteArray *out, GByteArray *loader, uint32_t facs, uint32_t dsdt)
{
    uint32_t start = table_begin(out, "FACP", 3);
    put(out, facs, 4);
    put(out, dsdt, 4);
    put(out, 0, 1); /* reserved */
    put(out, 1, 1); /* preferred profile: desktop */
    put(out, SCI_IRQ, 2);
    put(out, SMI_COMMAND, 4);
    put(out, ACPI_ENABLE, 1);
    put(out, ACPI_DISABLE, 1);
    put(out, 0, 2); /* no S4BIOS, no P-states */
    put(out, PM_BASE, 4);
    put(out, 0, 4); /* PM1b event */
    put(out, PM_BASE + 4, 4);
    put(out, 0, 4); /* PM1b control */
    put(out, 0, 4); /* PM2 control */
    put(out, PM_BASE + 8, 4);
    put(out, GPE_BASE, 4);
    put(out, 0, 4);     /* GPE1 */
    put(out, 4, 1);     /* PM1 event length */
    put(out, 2, 1);     /* PM1 control */
    put(out, 0, 1);     /* PM2 */
    put(out, 4, 1);     /* PM timer */
    put(out, 4, 1);     /* GPE0 */
    put(out, 0, 3);     /* GPE1 length, GPE1 base, no _CST */
    put(out, 0xfff, 2); /* C2 latency: none */
    put(out, 0xfff, 2); /* C3 */
    put_zeroes(out, 4); /* flush size and stride */
    put(out, 0, 2);     /* duty cycle */
    put(out, 0, 1);     /* RTC day alarm */
    put(out, 0, 1);     /* RTC month alarm */
    put(out, 0x32, 1);  /* RTC century */
    put(out, 3, 2);     /* boot flags: ISA devices, 8042 */
    put(out, 0, 1);
    put(out, FADT_WBINVD | FADT_PROC_C1 | FADT_NO_SLEEP_BUTTON | FADT_FIX_RTC | FADT_RESET_REG, 4);
    put_port(out, 8, RESET_PORT);
    put(out, RESET_VALUE, 1);
    put_zeroes(out, 3);
    put_zeroes(out, 16); /* the 32-bit pointers above are used */
    put_port(out, 32, PM_BASE);
    put_zeroes(out, 12);
    put_port(out, 16, PM_BASE + 4);
    put_zeroes(out, 24);
    put_port(out, 32, PM_BASE + 8);
    put_port(out, 32, GPE_BASE);
    put_zeroes(out, 12);
    loader_pointer(loader, TABLES_FILE, start + HEADER_SIZE);
    loader_pointer(loader, TABLES_FILE, start + HEADER_SIZE + 4);
    table_end(out, loader, start);
    return start;
}

enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_LAPIC_NMI = 4 };
enum { MADT_BUS_DEFAULT = 0, MADT_HIGH_LEVEL = 0xd };

static void madt_override(GByteArray *out, unsigned irq, unsigned gsi, unsigned flags)
{
    put(out, MADT_OVERRIDE, 1);
    put(out, 10, 1);
    put(out, 0, 1); /* ISA */
    put(out, irq, 1);
    put(out, gsi, 4);
    put(out, flags, 2);
}

static uint32_t build_madt(GByteArray *out, GByteArray *loader, const AcpiConfig *config)
{
    static const uint8_t level_irqs[] = {5, 9, 10, 11}; /* PCI links and SCI */
    uint32_t start = table_begin(out, "APIC", 1);
    put(out, LAPIC_BASE, 4);
    put(out, 1, 4); /* a PC/AT 8259 pair is there, too */
    for (unsigned i = 0; i < config->cpus; i++) {
        put(out, MADT_LAPIC, 1);
        put(out, 8, 1);
        put(out, i, 1);
        put(out, config->apic_ids ? config->apic_ids[i] : i, 1);
        put(out, 1, 4);
    }
    put(out, MADT_IOAPIC, 1);
    put(out, 12, 1);
    put(out, 0, 2);
    put(out, IOAPIC_BASE, 4);
    put(out, 0, 4);
    madt_override(out, 0, 2, MADT_BUS_DEFAULT); /* the PIT is on pin 2 */
    for (unsigned i = 0; i < G_N_ELEMENTS(level_irqs); i++)
        madt_override(out, level_irqs[i], level_irqs[i], MADT_HIGH_LEVEL);
    put(out, MADT_LAPIC_NMI, 1);
    put(out, 6, 1);
    put(out, 0xff, 1); /* all processors */
    put(out, 0, 2);
    put(out, 1, 1); /* LINT1 */
    table_end(out, loader, start);
    return start;
}

static uint32_t build_hpet(GByteArray *out, GByteArray *loader)
{
    uint32_t start = table_begin(out, "HPET", 1);
    put(out, 0x8086a201, 4); /* revision 1, three 64-bit comparators, legacy replacement */
    put(out, 0, 4);          /* memory, register bits left open */
    put(out, HPET_BASE, 8);
    put(out, 0, 1);
    put(out, 0, 2);
    put(out, 0, 1);
    table_end(out, loader, start);
    return start;
}

/* The tables start at multiples of 8; FACS comes first, because it wants 64. */
static void align(GByteArray *out)
{
    put_zeroes(out, (8 - out->len % 8) % 8);
}

void acpi_build(const AcpiConfig *config, GByteArray *rsdp, GByteArray *tables, GByteArray *loader)
{
    uint32_t roots[4];
    unsigned count = 0;
    loader_allocate(loader, TABLES_FILE, 64, ZONE_HIGH);
    loader_allocate(loader, RSDP_FILE, 16, ZONE_FSEG);
    uint32_t facs = build_facs(tables);
    uint32_t dsdt = build_dsdt(tables);
    align(tables);
    roots[count++] = build_fadt(tables, loader, facs, dsdt);
    align(tables);
    roots[count++] = build_ssdt(tables, loader, config);
    align(tables);
    roots[count++] = build_madt(tables, loader, config);
    align(tables);
    if (config->have & ACPI_HAVE_HPET)
        roots[count++] = build_hpet(tables, loader);
    align(tables);

    uint32_t rsdt = table_begin(tables, "RSDT", 1);
    for (unsigned i = 0; i < count; i++) {
        loader_pointer(loader, TABLES_FILE, tables->len);
        put(tables, roots[i], 4);
    }
    table_end(tables, loader, rsdt);

    put_text(rsdp, "RSD PTR ", 8);
    put(rsdp, 0, 1); /* checksum */
    put_text(rsdp, "VMRUN", 6);
    put(rsdp, 0, 1); /* ACPI 1.0: 20 bytes */
    loader_pointer(loader, RSDP_FILE, rsdp->len);
    put(rsdp, rsdt, 4);
    loader_checksum(loader, RSDP_FILE, 8, 0, rsdp->len);
}
