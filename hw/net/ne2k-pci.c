/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "ne2k_pci": an NE2000 on PCI, Realtek's RTL8029; BAR 0 has its ports (in 256, as QEMU's). */
#include "dp8390.h"
#include "hw/registry.h"

#define BAR_SIZE 256

typedef struct Ne2kPci {
    PciDevice pci;
    Region bar;
    Dp8390 nic;
} Ne2kPci;

static void set_irq(void *opaque, unsigned n, bool level)
{
    pci_set_irq(opaque, level);
}

static bool realize(Device *dev, GError **error)
{
    Ne2kPci *s = (Ne2kPci *)dev;
    if (!pci_device_init(&s->pci, error))
        return false;
    s->nic.irq = irq_line(set_irq, &s->pci, 0);
    s->nic.rtl8029 = true;
    if (!dp8390_realize(&s->nic, dev, error)) {
        pci_device_fini(&s->pci);
        return false;
    }
    region_init_container(&s->bar, "ne2k-pci", BAR_SIZE);
    region_add(&s->bar, 0, &s->nic.io);
    pci_set_bar_io(&s->pci, 0, &s->bar);
    return true;
}

static void reset(Device *dev)
{
    Ne2kPci *s = (Ne2kPci *)dev;
    pci_device_reset(&s->pci);
    dp8390_reset(&s->nic);
}

static void unrealize(Device *dev)
{
    Ne2kPci *s = (Ne2kPci *)dev;
    pci_device_fini(&s->pci);
    dp8390_unrealize(&s->nic, dev);
    region_fini(&s->bar);
}

static const StateField fields[] = {
    STATE_STRUCT(Ne2kPci, pci, &pci_device_state),
    STATE_HOST(Ne2kPci, bar),
    STATE_STRUCT(Ne2kPci, nic, &dp8390_state),
    STATE_END,
};
static const StateDesc state = {"ne2k_pci", 1, sizeof(Ne2kPci), fields};

static const Prop props[] = {
    PCI_DEVICE_PROPS(Ne2kPci),
    PCI_BOOT_PROP(Ne2kPci),
    DP8390_PROPS(Ne2kPci),
    PROP_END,
};

static const PciInfo info = {
    .vendor = 0x10ec,
    .device = 0x8029,
    .class_code = 0x020000,
    .interrupt_pin = 1,
    .rom_file = "efi-ne2k_pci.rom",
};

const DeviceClass ne2k_pci_class = {
    .name = "ne2k_pci",
    .desc = "NE2000 Ethernet on PCI (RTL8029)",
    .bus = BUS_PCI,
    .user = true,
    .size = sizeof(Ne2kPci),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
