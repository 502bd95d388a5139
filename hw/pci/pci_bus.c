/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI bus: slots, configuration accesses, interrupt pins on their way to the board, `info pci`.
 * (PCI Local Bus Specification 3.0, 2.2.6 and 3.2.2.3; class codes: appendix D.) */
#include <inttypes.h>

#include "pci_private.h"
#include "util/error.h"
#include "util/log.h"

static PciBus *root_bus;

PciBus *pci_bus_new(Machine *machine, Region *mem, Region *io)
{
    PciBus *bus = g_new0(PciBus, 1);
    bus->machine = machine;
    bus->mem = mem;
    bus->io = io;
    root_bus = bus;
    return bus;
}

void pci_bus_free(PciBus *bus)
{
    if (root_bus == bus)
        root_bus = NULL;
    for (unsigned devfn = 0; bus && devfn < PCI_DEVFNS; devfn++)
        if (bus->devices[devfn])
            bus->devices[devfn]->bus = NULL;
    g_free(bus);
}

PciBus *pci_bus(Machine *machine)
{
    return root_bus && root_bus->machine == machine ? root_bus : NULL;
}

void pci_bus_set_irq_route(PciBus *bus,
                           void (*route)(void *opaque, unsigned devfn, unsigned pin, bool level),
                           void *opaque)
{
    bus->route = route;
    bus->route_opaque = opaque;
}

Region *pci_bus_memory(PciBus *bus)
{
    return bus->mem;
}

Region *pci_bus_io(PciBus *bus)
{
    return bus->io;
}

void pci_bus_set_reset_control(PciBus *bus, uint8_t (*read)(void *opaque),
                               void (*write)(void *opaque, uint8_t value), void *opaque)
{
    bus->reset_read = read;
    bus->reset_write = write;
    bus->reset_opaque = opaque;
}

uint8_t pci_bus_reset_control_read(PciBus *bus)
{
    return bus->reset_read ? bus->reset_read(bus->reset_opaque) : 0xff;
}

void pci_bus_reset_control_write(PciBus *bus, uint8_t value)
{
    if (bus->reset_write)
        bus->reset_write(bus->reset_opaque, value);
}

/* ---- Slots ---- */

PciDevice *pci_bus_device(PciBus *bus, unsigned devfn)
{
    return devfn < PCI_DEVFNS ? bus->devices[devfn] : NULL;
}

static int free_slot(const PciBus *bus)
{
    for (unsigned slot = 0; slot < PCI_DEVFNS / 8; slot++) {
        bool used = false;
        for (unsigned function = 0; function < 8; function++)
            used |= bus->devices[PCI_DEVFN(slot, function)] != NULL;
        if (!used)
            return PCI_DEVFN(slot, 0);
    }
    return -1;
}

/* Guests look at functions 1 to 7 only if function 0 says that there are more. */
static bool check_functions(PciBus *bus, const PciDevice *pci, unsigned devfn, GError **error)
{
    unsigned slot = PCI_SLOT(devfn);
    const PciDevice *first = bus->devices[PCI_DEVFN(slot, 0)];
    if (PCI_FUNC(devfn) && first && !first->multifunction)
        return fail(error,
                    "%s: addr=%x.%x needs multifunction=on at '%s' in function 0 of that slot",
                    pci->dev.cls->name, slot, PCI_FUNC(devfn), first->dev.id);
    for (unsigned function = 1; !PCI_FUNC(devfn) && !pci->multifunction && function < 8; function++)
        if (bus->devices[PCI_DEVFN(slot, function)])
            return fail(error,
                        "%s: function %x of slot %x is in use, so function 0 needs "
                        "multifunction=on",
                        pci->dev.cls->name, function, slot);
    return true;
}

bool pci_bus_plug(PciBus *bus, PciDevice *pci, int devfn, GError **error)
{
    const char *name = pci->dev.cls->name;
    if (devfn < 0)
        devfn = free_slot(bus);
    if (devfn < 0)
        return fail(error, "%s: all 32 slots of the PCI bus are in use", name);
    if (bus->devices[devfn])
        return fail(error, "%s: addr=%x.%x is in use by '%s'", name, PCI_SLOT(devfn),
                    PCI_FUNC(devfn), bus->devices[devfn]->dev.id);
    if (!check_functions(bus, pci, (unsigned)devfn, error))
        return false;
    bus->devices[devfn] = pci;
    pci->bus = bus;
    pci->devfn = devfn;
    return true;
}

void pci_bus_unplug(PciBus *bus, PciDevice *pci)
{
    if (bus->devices[pci->devfn] == pci)
        bus->devices[pci->devfn] = NULL;
    pci->bus = NULL;
}

/* ---- Configuration accesses ---- */

static bool config_access_ok(unsigned offset, unsigned size)
{
    return size && size <= 4 && offset < PCI_CONFIG_SIZE && size <= PCI_CONFIG_SIZE - offset;
}

uint32_t pci_config_read(PciBus *bus, unsigned devfn, unsigned offset, unsigned size)
{
    PciDevice *pci = pci_bus_device(bus, devfn);
    uint32_t value = (uint32_t)size_mask(size);
    if (pci && config_access_ok(offset, size))
        value = pci_device_config_read(pci, offset, size) & (uint32_t)size_mask(size);
    log_printf(LOG_PCI, "pci: %02x.%x read 0x%02x %u: 0x%x", PCI_SLOT(devfn), PCI_FUNC(devfn),
               offset, size, value);
    return value;
}

void pci_config_write(PciBus *bus, unsigned devfn, unsigned offset, uint32_t value, unsigned size)
{
    PciDevice *pci = pci_bus_device(bus, devfn);
    log_printf(LOG_PCI, "pci: %02x.%x write 0x%02x %u: 0x%x", PCI_SLOT(devfn), PCI_FUNC(devfn),
               offset, size, value);
    if (pci && config_access_ok(offset, size))
        pci_device_config_write(pci, offset, value, size);
}

/* ---- `info pci` ---- */

static const struct {
    uint16_t class_code;
    const char *name;
} class_names[] = {
    {0x0001, "VGA controller"},
    {0x0100, "SCSI controller"},
    {0x0101, "IDE controller"},
    {0x0102, "Floppy controller"},
    {0x0103, "IPI controller"},
    {0x0104, "RAID controller"},
    {0x0106, "SATA controller"},
    {0x0107, "SAS controller"},
    {0x0180, "Storage controller"},
    {0x0200, "Ethernet controller"},
    {0x0201, "Token Ring controller"},
    {0x0202, "FDDI controller"},
    {0x0203, "ATM controller"},
    {0x0280, "Network controller"},
    {0x0300, "VGA controller"},
    {0x0301, "XGA controller"},
    {0x0302, "3D controller"},
    {0x0380, "Display controller"},
    {0x0400, "Video controller"},
    {0x0401, "Audio controller"},
    {0x0402, "Phone"},
    {0x0403, "Audio controller"},
    {0x0480, "Multimedia controller"},
    {0x0500, "RAM controller"},
    {0x0501, "Flash controller"},
    {0x0580, "Memory controller"},
    {0x0600, "Host bridge"},
    {0x0601, "ISA bridge"},
    {0x0602, "EISA bridge"},
    {0x0603, "MC bridge"},
    {0x0604, "PCI bridge"},
    {0x0605, "PCMCIA bridge"},
    {0x0606, "NUBUS bridge"},
    {0x0607, "CARDBUS bridge"},
    {0x0608, "RACEWAY bridge"},
    {0x0680, "Bridge"},
    {0x0700, "Serial port"},
    {0x0701, "Parallel port"},
    {0x0800, "Interrupt controller"},
    {0x0801, "DMA controller"},
    {0x0802, "Timer"},
    {0x0803, "RTC"},
    {0x0900, "Keyboard"},
    {0x0901, "Pen"},
    {0x0902, "Mouse"},
    {0x0a00, "Dock station"},
    {0x0b00, "i386 cpu"},
    {0x0c00, "Firewire controller"},
    {0x0c01, "Access bus controller"},
    {0x0c02, "SSA controller"},
    {0x0c03, "USB controller"},
    {0x0c04, "Fibre channel controller"},
    {0x0c05, "SMBus"},
};

char *pci_class_name(unsigned class_code)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(class_names); i++)
        if (class_names[i].class_code == class_code)
            return g_strdup(class_names[i].name);
    return g_strdup_printf("Class %04u", class_code);
}

/* A BAR that is not mapped shows as ones, as QEMU shows it. */
static void describe_bar(const PciBar *bar, unsigned n, GString *out)
{
    uint64_t first = bar->mapped ? bar->addr : UINT64_MAX;
    uint64_t last = first + bar->size - 1;
    if (bar->io)
        g_string_append_printf(out, "      BAR%u: I/O at 0x%04" PRIx64 " [0x%04" PRIx64 "].\n", n,
                               first, last);
    else
        g_string_append_printf(
            out, "      BAR%u: %d bit%s memory at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n", n,
            bar->wide ? 64 : 32, bar->prefetch ? " prefetchable" : "", first, last);
}

static void describe_device(const PciDevice *pci, GString *out)
{
    g_autofree char *class_name = pci_class_name(pci_get16(pci, PCI_CLASS_DEVICE));
    g_string_append_printf(out,
                           "  Bus %2d, device %3d, function %d:\n    %s: PCI device %04x:%04x\n", 0,
                           PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), class_name,
                           pci_get16(pci, PCI_VENDOR_ID), pci_get16(pci, PCI_DEVICE_ID));
    if (pci_get16(pci, PCI_SUBSYSTEM_VENDOR_ID))
        g_string_append_printf(out, "      PCI subsystem %04x:%04x\n",
                               pci_get16(pci, PCI_SUBSYSTEM_VENDOR_ID),
                               pci_get16(pci, PCI_SUBSYSTEM_ID));
    unsigned pin = pci_get8(pci, PCI_INTERRUPT_PIN);
    if (pin)
        g_string_append_printf(out, "      IRQ %d, pin %c\n", pci_get8(pci, PCI_INTERRUPT_LINE),
                               'A' + pin - 1);
    for (unsigned n = 0; n <= PCI_BARS; n++)
        if (pci->bars[n].region)
            describe_bar(&pci->bars[n], n, out);
    g_string_append_printf(out, "      id \"%s\"\n", pci->dev.id);
}

void pci_bus_describe(PciBus *bus, GString *out)
{
    for (unsigned devfn = 0; devfn < PCI_DEVFNS; devfn++)
        if (bus->devices[devfn])
            describe_device(bus->devices[devfn], out);
}
