/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The classes of all devices, for the registry table and for boards and tests that name one. */
#ifndef VMRUN_HW_REGISTRY_H
#define VMRUN_HW_REGISTRY_H

#include "hw/core/device.h"

/* hw/pc */
extern const DeviceClass pc_board_class; /* "pc": the wiring */
/* hw/intc */
extern const DeviceClass i8259_class;  /* "isa-i8259": the pair */
extern const DeviceClass ioapic_class; /* "ioapic" */
extern const DeviceClass lapic_class;  /* "apic": userspace local APIC, software engines */
/* hw/timer */
extern const DeviceClass i8254_class;    /* "isa-pit" */
extern const DeviceClass hpet_class;     /* "hpet" */
extern const DeviceClass mc146818_class; /* "mc146818rtc" */
/* hw/dma */
extern const DeviceClass i8237_class; /* "i8237": both controllers */
/* hw/char */
extern const DeviceClass isa_serial_class;   /* "isa-serial" */
extern const DeviceClass isa_parallel_class; /* "isa-parallel" */
extern const DeviceClass isa_debugcon_class; /* "isa-debugcon" */
/* hw/input */
extern const DeviceClass i8042_class; /* "i8042": with PS/2 keyboard and mouse */
/* hw/ide, hw/floppy */
extern const DeviceClass piix3_ide_class; /* "piix3-ide" */
extern const DeviceClass ide_hd_class;    /* "ide-hd" */
extern const DeviceClass ide_cd_class;    /* "ide-cd" */
extern const DeviceClass isa_fdc_class;   /* "isa-fdc" */
/* hw/display */
extern const DeviceClass vga_class;   /* "VGA": standard VGA with Bochs VBE on PCI */
extern const DeviceClass e1000_class; /* "e1000": Intel 82540EM */
extern const DeviceClass rtl8139_class;
extern const DeviceClass ne2k_pci_class; /* "ne2k_pci" */
extern const DeviceClass ne2k_isa_class; /* "ne2k_isa" */
/* hw/pci */
extern const DeviceClass i440fx_class;      /* "i440FX": host bridge */
extern const DeviceClass piix3_class;       /* "PIIX3": ISA bridge */
extern const DeviceClass piix4_pm_class;    /* "PIIX4_PM": ACPI power management */
extern const DeviceClass pci_testdev_class; /* "pci-testdev" */
/* hw/misc */
extern const DeviceClass port92_class;         /* "port92" */
extern const DeviceClass pcspk_class;          /* "isa-pcspk" */
extern const DeviceClass isa_debug_exit_class; /* "isa-debug-exit" */
extern const DeviceClass pc_testdev_class;     /* "pc-testdev" */
extern const DeviceClass fw_cfg_class;         /* "fw_cfg" */

#endif
