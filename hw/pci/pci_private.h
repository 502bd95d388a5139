/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the PCI core: the bus, and the MSI part of a configuration write. */
#ifndef VMRUN_HW_PCI_PCI_PRIVATE_H
#define VMRUN_HW_PCI_PCI_PRIVATE_H

#include "hw/pci/pci.h"
#include "util/bytes.h"

#define PCI_DEVFNS 256

struct PciBus {
    Machine *machine;
    Region *mem, *io;
    PciDevice *devices[PCI_DEVFNS];
    void (*route)(void *opaque, unsigned devfn, unsigned pin, bool level);
    void *route_opaque;
    uint8_t (*reset_read)(void *opaque);
    void (*reset_write)(void *opaque, uint8_t value);
    void *reset_opaque;
};

/* Configuration bytes may be read by any thread (bus mastering, MSI) while the guest writes them.
 */
static inline uint8_t pci_get8(const PciDevice *pci, unsigned at)
{
    return __atomic_load_n(&pci->config[at], __ATOMIC_RELAXED);
}
static inline uint16_t pci_get16(const PciDevice *pci, unsigned at)
{
    return (uint16_t)(pci_get8(pci, at) | pci_get8(pci, at + 1) << 8);
}
static inline uint32_t pci_get32(const PciDevice *pci, unsigned at)
{
    return pci_get16(pci, at) | (uint32_t)pci_get16(pci, at + 2) << 16;
}
static inline void pci_put8(PciDevice *pci, unsigned at, uint8_t value)
{
    __atomic_store_n(&pci->config[at], value, __ATOMIC_RELAXED);
}

/* Where BAR n stands in configuration space. */
static inline unsigned pci_bar_offset(unsigned n)
{
    return n == PCI_ROM_BAR ? PCI_ROM_ADDRESS : PCI_BAR0 + 4 * n;
}

/* pci.c: a device's part of pci_config_read() and pci_config_write(); offset + size <= 256. */
uint32_t pci_device_config_read(PciDevice *pci, unsigned offset, unsigned size);
void pci_device_config_write(PciDevice *pci, unsigned offset, uint32_t value, unsigned size);
/* pci_msi.c: sends what a write to the mask bits set free. */
void pci_msi_config_written(PciDevice *pci);

/* pci_bus.c: gives pci its place, at devfn or, with -1, in the first free slot. */
bool pci_bus_plug(PciBus *bus, PciDevice *pci, int devfn, GError **error);
void pci_bus_unplug(PciBus *bus, PciDevice *pci);
/* pci_bus.c: "VGA controller", or "Class 0255"; g_free() it. */
char *pci_class_name(unsigned class_code);

#endif
