/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The i440FX host bridge ("i440FX", 00:00.0): the machine's memory layout and its PCI root bus.
 * (Intel 82441FX PCI and Memory Controller datasheet, 290549.)
 *
 * Realizing the device takes machine->ram out of wherever it was mapped and lays it out:
 *
 *     0 ... below-4g        RAM
 *       0xa0000 - 0xbffff   PCI (VGA) unless SMRAM is open
 *       0xc0000 - 0xfffff   by the PAM registers: PCI (ROM), RAM, or one to read and one to write
 *     below-4g ... 4 GiB    PCI hole; the BIOS ends at 4 GiB
 *     4 GiB ...             the rest of RAM, then PCI again
 *
 * What no RAM covers is PCI memory space: pci_bus_memory(pci_bus(machine)).  Main lock held.
 */
#ifndef VMRUN_HW_PCI_I440FX_H
#define VMRUN_HW_PCI_I440FX_H

#include "hw/core/machine.h"

/* How much of ram_size QEMU's pc machine puts below 4 GiB: all of it below 3.5 GiB, else 3 GiB. The
 * property "below-4g-mem-size" overrides it. */
uint64_t i440fx_below_4g(uint64_t ram_size);
/* The same for a realized bridge; what is above stands at 4 GiB. */
uint64_t i440fx_ram_below_4g(Device *dev);
/* Puts the BIOS, a ROM region of a multiple of 4 KiB and at most 16 MiB that stays the caller's, in
 * PCI memory so that it ends at 4 GiB, and its last 128 KiB (or all of it) so that they end at 1
 * MiB. Once, on a realized bridge. */
void i440fx_map_bios(Device *dev, Region *bios);
/* What a CPU in system management mode sees: the root for an AddressSpace of its own.  It is the
 * memory of the machine with RAM at 0xa0000 while G_SMRAME is set. */
Region *i440fx_smm_root(Device *dev);

#endif
