/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conventional PCI: bus, devices, configuration space, BARs, INTx, MSI, option ROMs.
 *
 * (PCI Local Bus Specification 3.0.)  Main lock held throughout; pci_dma_* and pci_msi_send may be
 * called from any thread.
 */
#ifndef VMRUN_HW_PCI_PCI_H
#define VMRUN_HW_PCI_PCI_H

#include "hw/core/machine.h"

#define PCI_CONFIG_SIZE           256
#define PCI_BARS                  6
#define PCI_ROM_BAR               6
#define PCI_DEVFN(slot, function) ((slot) << 3 | (function))
#define PCI_SLOT(devfn)           ((devfn) >> 3)
#define PCI_FUNC(devfn)           ((devfn)&7)

/* Offsets in configuration space. */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CLASS_DEVICE = 0x0a,
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_ROM_ADDRESS = 0x30,
    PCI_CAPABILITY_LIST = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};
enum {
    PCI_COMMAND_IO = 1,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_SERR = 0x100,
    PCI_COMMAND_INTX_DISABLE = 0x400,
};

/* Constants of a device class, in DeviceClass.bus_info. */
typedef struct PciInfo {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem; /* 0: 0x1af4, 0x1100 as QEMU's */
    uint8_t revision;
    uint32_t class_code;   /* 24 bits: class, subclass, programming interface */
    uint8_t interrupt_pin; /* 0: none, 1: INTA */
    bool multifunction;
    const char *rom_file; /* default option ROM, searched as firmware; NULL: none */
} PciInfo;

typedef struct PciBus PciBus;
typedef struct PciDevice PciDevice;

typedef struct PciBar {
    Region *region;          /* NULL: none */
    bool io, prefetch, wide; /* wide: 64-bit, takes the next BAR too */
    bool mapped;
    uint64_t size, addr; /* addr: where it is mapped now */
} PciBar;

/* First member of every PCI device's struct. */
struct PciDevice {
    Device dev;
    PciBus *bus;
    int devfn;          /* -1 until plugged: the bus chooses; property "addr" */
    char *addr;         /* property "addr": "SLOT" or "SLOT.FUNC" */
    char *romfile;      /* property "romfile": "" is none */
    bool rombar;        /* property */
    bool multifunction; /* property, or the class's: other functions may share the slot */
    uint32_t bootindex; /* property of what can boot, see PCI_BOOT_PROP; PCI_NO_BOOT: no place */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t write_mask[PCI_CONFIG_SIZE];   /* bits that the guest may change */
    uint8_t clear_mask[PCI_CONFIG_SIZE];   /* bits that the guest clears by writing 1 */
    uint8_t reset_config[PCI_CONFIG_SIZE]; /* what config is set to at reset; a device's realize
                                              adds its own values here, after pci_device_init() */
    PciBar bars[PCI_BARS + 1];
    Region rom;
    uint8_t msi_cap; /* offset of the MSI capability, 0: none */
    uint8_t cap_end; /* first free byte for capabilities */
    bool intx_level; /* what the device drives on its pin */
    bool intx_out;   /* what the bus sees of it: private */
    /* Hooks of the device, set before pci_device_init() returns to its realize; may be NULL.
     * config_written runs after the write took effect. */
    void (*config_written)(PciDevice *pci, unsigned offset, unsigned size);
    uint32_t (*config_read)(PciDevice *pci, unsigned offset, unsigned size, uint32_t value);
};

/* Saves configuration space and pin level; remaps BARs after load.  Every PCI device's table begins
 * with STATE_STRUCT(S, pci, &pci_device_state), which covers the whole PciDevice. */
extern const StateDesc pci_device_state;
/* The properties that every PCI device has: put this row group first in its Prop table.  S's first
 * member is named pci. */
#define PCI_DEVICE_PROPS(S)                                                                        \
    PROP_FIELD(S, pci.addr, "addr", PROP_STRING, .help = "slot or slot.function on the bus"),      \
        PROP_FIELD(S, pci.romfile, "romfile", PROP_STRING, .help = "option ROM; empty: none"),     \
        PROP_FIELD(S, pci.rombar, "rombar", PROP_BOOL, .value = 1, .help = "ROM BAR present"),     \
        PROP_FIELD(S, pci.multifunction, "multifunction", PROP_BOOL,                               \
                   .help = "other functions may share the slot")

/* The property of cards that firmware may boot from: their place in its order.  Without the
 * property the field means nothing. */
#define PCI_NO_BOOT UINT32_MAX
#define PCI_BOOT_PROP(S)                                                                           \
    PROP_FIELD(S, pci.bootindex, "bootindex", PROP_UINT, .value = PCI_NO_BOOT, .max = PCI_NO_BOOT, \
               .help = "place in the boot order")

/*
 * Plugs dev into the machine's root bus from its realize(): fills config space from the class's
 * PciInfo, picks devfn, loads the option ROM.  Call first in realize.  A missing ROM file is an
 * error if the user named it, else a warning.  From offset 0x40 on every bit is writable unless the
 * device clears it in write_mask (as QEMU's devices) or a capability stands there.
 */
bool pci_device_init(PciDevice *pci, GError **error);
/* Takes it off the bus and unmaps its BARs: from unrealize(), and from a realize() that fails after
 * pci_device_init().  Before the device's regions are finished. */
void pci_device_fini(PciDevice *pci);
/* For chips that the board has at a fixed place: "1.3" unless the user gave "addr".  Call before
 * pci_device_init(). */
void pci_default_addr(PciDevice *pci, const char *addr);
/* DeviceClass.describe of PCI devices: class, address, ids and BARs for `info qtree`. */
void pci_device_describe(Device *dev, GString *out);
/* From the device's reset(): config space to reset_config, BARs unmapped, INTx low. */
void pci_device_reset(PciDevice *pci);

/* Declares BAR n; the region's size must be a power of two, at least 16 (memory) or 4 (I/O). */
void pci_set_bar_io(PciDevice *pci, unsigned n, Region *region);
void pci_set_bar_memory(PciDevice *pci, unsigned n, Region *region, bool prefetch, bool wide);
/* Adds a capability of size bytes; returns its offset. */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t size);
/* Adds an MSI capability for 1 << vectors_log2 (0 to 5) messages; wide: 64-bit addresses; maskable:
 * with mask and pending bits for each vector. */
void pci_add_msi(PciDevice *pci, unsigned vectors_log2, bool wide, bool maskable);
/* Sends MSI vector n if the guest enabled MSI; false if it did not (then use INTx).  A vector
 * beyond what the guest allocated wraps into it; a masked one becomes pending. */
bool pci_msi_send(PciDevice *pci, unsigned n);
bool pci_msi_enabled(const PciDevice *pci);
/* Drives the device's interrupt pin. Takes the command register's INTx disable into account. */
void pci_set_irq(PciDevice *pci, bool level);

/* DMA as the device: refused (MEM_UNASSIGNED) while bus mastering is off. */
MemResult pci_dma_read(PciDevice *pci, hwaddr addr, void *buf, uint64_t length);
MemResult pci_dma_write(PciDevice *pci, hwaddr addr, const void *buf, uint64_t length);
void *pci_dma_map(PciDevice *pci, hwaddr addr, uint64_t *length, bool for_write);
void pci_dma_unmap(PciDevice *pci, const void *host, uint64_t written);
bool pci_bus_master(const PciDevice *pci);

/* ---- The bus: used by the host bridge and the board ---- */
/* mem: container for memory BARs; io: the port space container. */
PciBus *pci_bus_new(Machine *machine, Region *mem, Region *io);
void pci_bus_free(PciBus *bus);
PciBus *pci_bus(Machine *machine); /* the root bus, or NULL */
/* route(opaque, devfn, pin 0..3, level): the pins of all slots, as wired on the board. */
void pci_bus_set_irq_route(PciBus *bus,
                           void (*route)(void *opaque, unsigned devfn, unsigned pin, bool level),
                           void *opaque);
PciDevice *pci_bus_device(PciBus *bus, unsigned devfn);
/* The containers given to pci_bus_new(): what a device decodes at fixed addresses (VGA's 0xa0000)
 * goes into the memory one, where the host bridge lets it through. */
Region *pci_bus_memory(PciBus *bus);
Region *pci_bus_io(PciBus *bus);
/* Byte port 0xcf9 lies inside the host bridge's CONFIG_ADDRESS; the south bridge's reset control
 * answers byte accesses there. */
void pci_bus_set_reset_control(PciBus *bus, uint8_t (*read)(void *opaque),
                               void (*write)(void *opaque, uint8_t value), void *opaque);
/* For the host bridge: a byte access at 0xcf9; all ones where nobody answers. */
uint8_t pci_bus_reset_control_read(PciBus *bus);
void pci_bus_reset_control_write(PciBus *bus, uint8_t value);
/* Configuration accesses of 1, 2 or 4 bytes; all ones where there is no device. */
uint32_t pci_config_read(PciBus *bus, unsigned devfn, unsigned offset, unsigned size);
void pci_config_write(PciBus *bus, unsigned devfn, unsigned offset, uint32_t value, unsigned size);
/* `info pci`. */
void pci_bus_describe(PciBus *bus, GString *out);

#endif
