/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX4's power management function ("PIIX4_PM", 00:01.3): ACPI registers, SMBus, and the APM
 * ports by which firmware and guest switch ACPI on.
 * (Intel 82371AB PCI-to-ISA/IDE Xcelerator datasheet, 290562, chapters 7 and 11; the GPE block at
 * 0xafe0 is QEMU's.)
 */
#include "acpi_pm.h"
#include "hw/core/isa.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "pm_smbus.h"
#include "util/bytes.h"
#include "util/rcu.h"

#define SCI_IRQ      9
#define PM_SIZE      64
#define GPE_BASE     0xafe0
#define APM_BASE     0xb2
#define SMBUS_BASE   0xb100 /* at reset, as on QEMU; the firmware moves it to 0x700 */
#define ACPI_ENABLE  0xf1
#define ACPI_DISABLE 0xf0

/* Configuration registers. */
enum {
    PMBA = 0x40,      /* power management base address */
    DEVACTB = 0x58,   /* device activity B; bit 25 is APMC_EN */
    DEVRESD = 0x5c,   /* to DEVRESF: which legacy devices there are */
    PMREGMISC = 0x80, /* bit 0: PM registers decoded */
    SMBBA = 0x90,     /* SMBus base address */
    SMBHSTCFG = 0xd2, /* bit 0: SMBus decoded; bits 3:1: its interrupt */
};
enum { APMC_EN = 0x02 }; /* in the top byte of DEVACTB */
enum { SMB_HST_EN = 0x01, SMB_INTRSEL = 0x0e, SMB_INTRSEL_IRQ9 = 0x08 };

typedef struct Piix4Pm {
    PciDevice pci;
    bool smm_enabled; /* property */
    AcpiPm acpi;
    PmSmbus smbus;
    uint8_t apmc, apms;
    IrqLine smbus_line;
    Region pm_io, gpe_io, smbus_io, apm_io;
} Piix4Pm;

/* ---- Ports ---- */

static uint64_t pm_read(void *opaque, hwaddr offset, unsigned size)
{
    return acpi_pm_read(&((Piix4Pm *)opaque)->acpi, (unsigned)offset, size);
}

static void pm_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    acpi_pm_write(&((Piix4Pm *)opaque)->acpi, (unsigned)offset, (uint32_t)value, size);
}

static uint64_t gpe_read(void *opaque, hwaddr offset, unsigned size)
{
    return acpi_gpe_read(&((Piix4Pm *)opaque)->acpi, (unsigned)offset, size);
}

static void gpe_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    acpi_gpe_write(&((Piix4Pm *)opaque)->acpi, (unsigned)offset, (uint32_t)value, size);
}

static void update_smbus_irq(Piix4Pm *s)
{
    bool routed = (s->pci.config[SMBHSTCFG] & SMB_INTRSEL) == SMB_INTRSEL_IRQ9;
    irq_set(&s->smbus_line, routed && pm_smbus_irq(&s->smbus));
}

static uint64_t smbus_read(void *opaque, hwaddr offset, unsigned size)
{
    return pm_smbus_read(&((Piix4Pm *)opaque)->smbus, (unsigned)offset);
}

static void smbus_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Piix4Pm *s = opaque;
    pm_smbus_write(&s->smbus, (unsigned)offset, (uint8_t)value);
    update_smbus_irq(s);
}

static uint64_t apm_read(void *opaque, hwaddr offset, unsigned size)
{
    Piix4Pm *s = opaque;
    return offset ? s->apms : s->apmc;
}

/* A write to APMC raises an SMI.  ACPI mode is switched here and not by the firmware's handler,
 * which an engine without system management mode could not run; QEMU does the same. */
static void write_apmc(Piix4Pm *s, uint8_t value)
{
    Machine *m = s->pci.dev.machine;
    s->apmc = value;
    if (value == ACPI_ENABLE || value == ACPI_DISABLE)
        acpi_pm_set_sci_enable(&s->acpi, value == ACPI_ENABLE);
    else if (s->smm_enabled && (s->pci.config[DEVACTB + 3] & APMC_EN) && m->hooks.smi)
        m->hooks.smi(m);
}

static void apm_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Piix4Pm *s = opaque;
    if (offset)
        s->apms = (uint8_t)value;
    else
        write_apmc(s, (uint8_t)value);
}

static const RegionOps pm_ops = {pm_read, pm_write};
static const RegionOps gpe_ops = {gpe_read, gpe_write};
static const RegionOps smbus_ops = {smbus_read, smbus_write, .max_size = 1};
static const RegionOps apm_ops = {apm_read, apm_write, .max_size = 1};

/* ---- Configuration ---- */

static void place(Region *region, uint16_t base, bool enabled)
{
    region_set_addr(region, base);
    region_set_enabled(region, enabled && base);
}

static void update_ports(Piix4Pm *s)
{
    const uint8_t *config = s->pci.config;
    region_begin();
    place(&s->pm_io, ld16_le(config + PMBA) & 0xffc0, config[PMREGMISC] & 1);
    place(&s->smbus_io, ld16_le(config + SMBBA) & 0xfff0, config[SMBHSTCFG] & SMB_HST_EN);
    region_commit();
}

static void config_written(PciDevice *pci, unsigned offset, unsigned size)
{
    Piix4Pm *s = (Piix4Pm *)pci;
    if (offset < PMBA)
        return;
    update_ports(s);
    update_smbus_irq(s);
}

/* ---- Life ---- */

static void init_reset_config(Piix4Pm *s)
{
    PciDevice *pci = &s->pci;
    st16_le(pci->reset_config + PCI_STATUS, 0x0280);
    pci->reset_config[PMBA] = 1; /* an I/O address */
    st32_le(pci->write_mask + PMBA, 0xffc0);
    st32_le(pci->reset_config + SMBBA, SMBUS_BASE | 1);
    st32_le(pci->write_mask + SMBBA, 0xfff0);
    pci->reset_config[SMBHSTCFG] = SMB_HST_EN | SMB_INTRSEL_IRQ9;
    /* The firmware sets up system management mode unless it finds this done. */
    pci->reset_config[DEVACTB + 3] = s->smm_enabled ? 0 : APMC_EN;
}

static void init_ports(Piix4Pm *s)
{
    Region *io = &s->pci.dev.machine->io_root;
    region_init_io(&s->pm_io, "piix4-pm", PM_SIZE, &pm_ops, s, NULL);
    region_init_io(&s->gpe_io, "acpi-gpe0", ACPI_GPE_SIZE, &gpe_ops, s, NULL);
    region_init_io(&s->smbus_io, "pm-smbus", PM_SMBUS_SIZE, &smbus_ops, s, NULL);
    region_init_io(&s->apm_io, "apm-io", 2, &apm_ops, s, NULL);
    region_set_enabled(&s->pm_io, false);
    region_add(io, 0, &s->pm_io);
    region_add(io, GPE_BASE, &s->gpe_io);
    region_add(io, SMBUS_BASE, &s->smbus_io);
    region_add(io, APM_BASE, &s->apm_io);
}

static void power_button(void *opaque)
{
    acpi_pm_power_button(&((Piix4Pm *)opaque)->acpi);
}

static bool wake_wanted(void *opaque, WakeCause cause)
{
    return cause != WAKE_RTC || acpi_pm_wakes_by_rtc(&((Piix4Pm *)opaque)->acpi);
}

static void woken(void *opaque, WakeCause cause)
{
    acpi_pm_woken(&((Piix4Pm *)opaque)->acpi, cause);
}

static const WakeOps wake_ops = {wake_wanted, woken};

static bool realize(Device *dev, GError **error)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    pci_default_addr(&s->pci, "1.3");
    if (!pci_device_init(&s->pci, error))
        return false;
    s->pci.config_written = config_written;
    init_reset_config(s);
    acpi_pm_init(&s->acpi, dev->machine, isa_irq(isa_bus(dev->machine), SCI_IRQ));
    s->smbus_line = isa_irq(isa_bus(dev->machine), SCI_IRQ);
    init_ports(s);
    machine_set_powerdown(dev->machine, power_button, s);
    machine_set_wake_ops(dev->machine, &wake_ops, s);
    return true;
}

static void unrealize(Device *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    machine_set_powerdown(dev->machine, NULL, NULL);
    machine_set_wake_ops(dev->machine, NULL, NULL);
    region_fini(&s->pm_io);
    region_fini(&s->gpe_io);
    region_fini(&s->smbus_io);
    region_fini(&s->apm_io);
    pci_device_fini(&s->pci);
}

static bool port_used(Machine *machine, uint16_t port)
{
    rcu_read_lock();
    bool used = view_find(as_view(&machine->io), port) != NULL;
    rcu_read_unlock();
    return used;
}

/* DEVRESD to DEVRESF tell the guest which of the legacy devices there are. */
static void set_device_resources(Piix4Pm *s)
{
    Machine *m = s->pci.dev.machine;
    uint8_t *config = s->pci.config;
    config[DEVRESD + 3] = 0x10 | (port_used(m, 0x378) ? 0x80 : 0);
    config[DEVRESD + 7] = 0x60;
    config[DEVRESD + 11] = (port_used(m, 0x3f8) ? 0x08 : 0) | (port_used(m, 0x2f8) ? 0x90 : 0);
}

static void reset(Device *dev)
{
    Piix4Pm *s = (Piix4Pm *)dev;
    pci_device_reset(&s->pci);
    set_device_resources(s);
    acpi_pm_reset(&s->acpi);
    update_ports(s);
    update_smbus_irq(s);
}

static bool post_load(void *state, GError **error)
{
    update_ports(state);
    return true;
}

static const StateField fields[] = {
    STATE_STRUCT(Piix4Pm, pci, &pci_device_state),
    STATE_HOST(Piix4Pm, smm_enabled),
    STATE_STRUCT(Piix4Pm, acpi, &acpi_pm_state),
    STATE_STRUCT(Piix4Pm, smbus, &pm_smbus_state),
    STATE_U(Piix4Pm, apmc, 0),
    STATE_U(Piix4Pm, apms, 0),
    STATE_HOST(Piix4Pm, smbus_line),
    STATE_HOST(Piix4Pm, pm_io),
    STATE_HOST(Piix4Pm, gpe_io),
    STATE_HOST(Piix4Pm, smbus_io),
    STATE_HOST(Piix4Pm, apm_io),
    STATE_END,
};
static const StateDesc state = {"PIIX4_PM", 1, sizeof(Piix4Pm), fields, .post_load = post_load};

static const Prop props[] = {
    PCI_DEVICE_PROPS(Piix4Pm),
    PROP_FIELD(Piix4Pm, smm_enabled, "smm-enabled", PROP_BOOL,
               .help = "the CPU engine has system management mode"),
    PROP_END,
};

static const PciInfo info = {
    .vendor = 0x8086,
    .device = 0x7113,
    .revision = 3,
    .class_code = 0x068000,
    .interrupt_pin = 1,
};

const DeviceClass piix4_pm_class = {
    .name = "PIIX4_PM",
    .desc = "ACPI power management of the PIIX4 south bridge",
    .bus = BUS_PCI,
    .size = sizeof(Piix4Pm),
    .props = props,
    .state = &state,
    .realize = realize,
    .reset = reset,
    .unrealize = unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
