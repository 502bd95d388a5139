/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the board share. */
#ifndef VMRUN_HW_PC_PRIVATE_H
#define VMRUN_HW_PC_PRIVATE_H

#include "hw/core/isa.h"
#include "hw/intc/ioapic.h"
#include "hw/pc/pc.h"

/* The board itself: the wires between ISA lines, HPET and the interrupt controllers. */
typedef struct PcBoard {
    Device dev;
    const PcConfig *config;
    Device *pic, *rtc, *fdc, *fw_cfg;
    uint64_t low_ram; /* end of RAM below 4 GiB */
    Region bios;
    IrqLine rtc_out;  /* where the clock's interrupt goes */
    AddressSpace smm; /* with -machine smm=on */
    IrqLine pic_pins[ISA_IRQS], ioapic_pins[IOAPIC_PINS];
    uint32_t isa_lines, hpet_lines; /* levels by IOAPIC pin */
} PcBoard;

/* -boot's order letters into CMOS. */
void pc_set_boot_order(PcBoard *board, const char *order);
/* -rtc into the clock's properties, before it is realized. */
bool pc_set_rtc(Device *rtc, const PcRtc *config, GError **error);
/* CMOS, fw_cfg, ACPI, SMBIOS, boot order, kernel; after all devices. */
bool pc_add_firmware_tables(PcBoard *board, GError **error);

/* Where firmware may place BARs below 4 GiB: from the end of low RAM to the IOAPIC. */
#define PCI_WINDOW_LAST 0xfebfffffu
#define LAPIC_BASE      0xfee00000u

/* What the board has, as its ACPI tables tell it.  Bits are those of dsdt.asl. */
enum {
    ACPI_HAVE_COM1 = 0x001, /* and the next three bits: COM2 to COM4 */
    ACPI_HAVE_LPT1 = 0x010, /* and the next two */
    ACPI_HAVE_FDC = 0x080,
    ACPI_HAVE_HPET = 0x100,
};
typedef struct AcpiConfig {
    unsigned cpus; /* local APIC ids 0 to cpus - 1, or apic_ids */
    const uint32_t *apic_ids;
    uint32_t pci_first; /* first byte of the memory window */
    uint32_t have;      /* ACPI_HAVE_* */
} AcpiConfig;

/*
 * Builds the ACPI tables (ACPI 3.0, for the sake of old guests) for firmware that follows the
 * table-loader script of fw_cfg: rsdp -> "etc/acpi/rsdp", tables -> "etc/acpi/tables", loader ->
 * "etc/table-loader".  The arrays are appended to.
 */
void acpi_build(const AcpiConfig *config, GByteArray *rsdp, GByteArray *tables, GByteArray *loader);

/*
 * Builds SMBIOS 2.8 tables: anchor -> "etc/smbios/smbios-anchor", tables ->
 * "etc/smbios/smbios-tables".  Firmware fills in the address and the checksums.
 */
bool smbios_build(Machine *machine, const PcConfig *config, uint64_t low_ram, GByteArray *anchor,
                  GByteArray *tables, GError **error);

#define KERNEL_ROM_FILE "genroms/vmrunboot.bin"
/* -kernel: reads and checks the files, gives them to fw_cfg and adds the boot ROM that starts them
 * (hw/pc/bootrom.S).  low_ram: end of RAM below 4 GiB. */
bool kernel_load(Device *fw_cfg, const PcConfig *config, uint64_t low_ram, GError **error);

/*
 * The pieces that bootrom.S copies to guest memory before it jumps.  Private to kernel*.c.
 * The arrays are given to fw_cfg.
 */
typedef struct KernelImage {
    uint32_t kernel_addr, initrd_addr, setup_addr, cmdline_addr;
    GBytes *kernel, *initrd, *setup, *cmdline; /* any but setup may be NULL */
    uint32_t entry; /* 32-bit entry; 0: real mode at setup_addr + 0x200 */
} KernelImage;

/* Maps a whole file; option names it in messages. */
GBytes *kernel_read_file(const char *option, const char *path, GError **error);
/* Reads config->initrd and places it as high as may be below `limit` (its last byte) and the end of
 * low RAM; an error if it does not fit above floor. */
bool kernel_load_initrd(const PcConfig *config, uint64_t low_ram, uint64_t limit, uint64_t floor,
                        KernelImage *image, GError **error);

/* kernel_elf.c: each kind's check, and its loader, which fills image. */
bool elf_recognise(GBytes *file);
bool multiboot_recognise(GBytes *file);
bool pvh_load(GBytes *file, const PcConfig *config, uint64_t low_ram, KernelImage *image,
              GError **error);
bool multiboot_load(GBytes *file, const PcConfig *config, uint64_t low_ram, KernelImage *image,
                    GError **error);

/* What bootrom.S finds at setup_addr before a 32-bit entry: little-endian words in this order. */
typedef struct BootInfo {
    uint32_t eax, ebx; /* registers at entry */
    uint32_t map_addr; /* where the E820 map goes, 24 bytes an entry */
    uint32_t map_skip; /* bytes of an entry before the 20 of E820 (multiboot: 4, filled with 20) */
    uint32_t count_addr; /* where the number of entries goes, times count_unit */
    uint32_t count_unit;
    uint32_t lower_addr; /* where int 12h's KiB go, or 0 */
    uint32_t map_max;    /* entries that fit */
} BootInfo;

#endif
