/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC board: i440FX and PIIX3 with everything that belongs to them, as QEMU's machine "pc".
 *
 * PcConfig is the board's whole input: main/ fills it from the command line with back ends (drives,
 * chardevs) that are already open; the board creates chips and wires them.  All pointers stay the
 * caller's and must live as long as the machine.  Main lock held.
 */
#ifndef VMRUN_HW_PC_PC_H
#define VMRUN_HW_PC_PC_H

#include "block/block.h"
#include "chardev/chardev.h"
#include "hw/core/machine.h"
#include "util/timer.h"

#define PC_IDE_DRIVES   4 /* primary master, primary slave, secondary master, secondary slave */
#define PC_FLOPPIES     2
#define PC_SERIALS      4 /* COM1 0x3f8/4, COM2 0x2f8/3, COM3 0x3e8/4, COM4 0x2e8/3 */
#define PC_PARALLELS    3 /* LPT1 0x378/7, LPT2 0x278/5, LPT3 0x3bc/5 */
#define PC_CPUS_MAX     255
#define PC_SMBIOS_TYPES 18
#define PC_RAM_MIN      (1ULL << 20)
#define PC_RAM_MAX      (1ULL << 40)

/* -smp: cpus = sockets * cores * threads; every field at least 1.  The machine's cpu_count says how
 * many there are. */
typedef struct PcTopology {
    unsigned sockets, cores, threads;
} PcTopology;

typedef struct PcDrive {
    Blk *blk;           /* NULL: no drive.  A Blk without medium is a drive without medium */
    const char *id;     /* of the device, for the monitor, or NULL: made from its class */
    const char *serial; /* as IDENTIFY shows it, or NULL: the default, QM0000n */
    int bootindex;      /* place in firmware's boot order, -1: none */
} PcDrive;

/* -boot.  Letters: a, b floppy; c disk; d CD; n network. */
typedef struct PcBoot {
    const char *order; /* "cad", never NULL */
    const char *once;  /* order until the first reset, or NULL */
    bool menu;         /* firmware's boot menu */
    int splash_ms;     /* how long the menu prompt or splash stands, -1: firmware's default */
    int reboot_ms;     /* wait before a reboot when nothing boots, -1: do not */
    bool strict;       /* boot only what has a bootindex */
} PcBoot;

typedef enum { PC_RTC_UTC, PC_RTC_LOCALTIME, PC_RTC_DATE } PcRtcBase;

/* -rtc */
typedef struct PcRtc {
    PcRtcBase base;
    int64_t date;  /* PC_RTC_DATE: what the clock shows at start, as seconds since 1970 */
    VmClock clock; /* what drives it: VM_CLOCK_WALL ("host"), VM_CLOCK_HOST ("rt") or
                      VM_CLOCK_VIRTUAL ("vm") */
} PcRtc;

typedef enum { PC_VGA_NONE, PC_VGA_STD } PcVga;

/* -fw_cfg: a file that the guest sees under that name ("opt/..."). */
typedef struct PcFwCfgFile {
    char *name;
    uint8_t *data;
    size_t size;
} PcFwCfgFile;

typedef struct PcConfig {
    PcTopology smp;
    uint64_t ram_size; /* bytes, a multiple of 4 KiB, PC_RAM_MIN to PC_RAM_MAX */

    const char *bios;   /* firmware file, or NULL: bios-256k.bin */
    const char *kernel; /* bzImage, multiboot or PVH/ELF file, or NULL */
    const char *initrd; /* or NULL; multiboot: modules "FILE ARGS,FILE ARGS" */
    const char *append; /* command line of the kernel, or NULL */
    PcBoot boot;

    PcDrive ide[PC_IDE_DRIVES];
    PcDrive floppy[PC_FLOPPIES];
    Chardev *serial[PC_SERIALS];     /* NULL: no such port */
    Chardev *parallel[PC_PARALLELS]; /* NULL: no such port */
    PcVga vga;
    PcRtc rtc;

    bool no_acpi, no_hpet;
    bool smm; /* system management mode; the engine must have it */
    /* Index is the structure type; NULL: defaults.  Keys as -smbios has them, already checked:
     *   0   vendor, version, date, release, uefi
     *   1   manufacturer, product, version, serial, uuid, sku, family
     *   2   manufacturer, product, version, serial, asset, location
     *   3   manufacturer, version, serial, asset, sku
     *   4   sock_pfx, manufacturer, version, serial, asset, part, max-speed, current-speed
     *   11  value (may come several times: options_nth())
     *   17  loc_pfx, bank, manufacturer, serial, asset, part, speed */
    Options *smbios[PC_SMBIOS_TYPES];
    GPtrArray *fw_cfg; /* of PcFwCfgFile; may be NULL */
    /* -device, of Options: "driver" (a user-creatable class, already checked), "id", and the
     * properties.  Created in order after the board's own devices; may be NULL. */
    GPtrArray *devices;
} PcConfig;

/*
 * Builds the board on a machine whose engine is up (machine->hooks, cpu_count, ram_size, name and
 * uuid set): RAM, chips, firmware, tables, then config->devices.  Everything is reset by
 * machine_start().  On error the machine is to be freed.
 */
bool pc_create(Machine *machine, const PcConfig *config, GError **error);

#endif
