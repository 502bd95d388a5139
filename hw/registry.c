/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every device class of vmrun, by name.  To add a device, add its line here. */
#include "hw/registry.h"

#include <string.h>

const DeviceClass *const device_classes[] = {
    /* the board */
    &pc_board_class,
    &i440fx_class,
    &piix3_class,
    &piix4_pm_class,
    &i8259_class,
    &ioapic_class,
    &lapic_class,
    &i8254_class,
    &hpet_class,
    &mc146818_class,
    &i8237_class,
    &i8042_class,
    &port92_class,
    &pcspk_class,
    &fw_cfg_class,
    /* ports */
    &isa_serial_class,
    &isa_parallel_class,
    /* disks */
    &piix3_ide_class,
    &ide_hd_class,
    &ide_cd_class,
    &isa_fdc_class,
    /* screens */
    &vga_class,
    /* networks */
    &e1000_class,
    &rtl8139_class,
    &ne2k_pci_class,
    &ne2k_isa_class,
    /* for tests and debugging */
    &isa_debugcon_class,
    &isa_debug_exit_class,
    &pc_testdev_class,
    &pci_testdev_class,
    NULL,
};

/* Names that a class has besides its own. */
static const struct {
    const char *alias, *name;
} aliases[] = {{"e1000-82540em", "e1000"}};

const DeviceClass *device_class_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (!strcmp(aliases[i].alias, name))
            name = aliases[i].name;
    for (const DeviceClass *const *cls = device_classes; *cls; cls++)
        if (!strcmp((*cls)->name, name))
            return *cls;
    return NULL;
}
