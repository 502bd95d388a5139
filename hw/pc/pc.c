/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC: an i440FX/PIIX machine, the same that QEMU calls "pc".
 *
 * pc_create() is the parts list.  Interrupts go like this:
 *
 *     ISA devices, PCI links ──► ISA lines (PIIX3) ──► gsi_set() ──► 8259 pair ──► INTR of CPU 0
 *                                                          └───────► IOAPIC ─────► messages (MSI)
 *     PIT, RTC ──► HPET (legacy replacement) ──► ISA lines 0 and 8
 */
#include "hw/pc/pc.h"

#include "hw/core/firmware.h"
#include "hw/core/isa.h"
#include "hw/ide/ide.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/pci.h"
#include "hw/registry.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "pc_private.h"
#include "util/error.h"

#define BIOS_FILE     "bios-256k.bin"
#define BIOS_SIZE_MAX (16u << 20)

/* The shutdown status byte of the AT's CMOS RAM, and QEMU's value for waking up from S3. */
#define CMOS_SHUTDOWN        0x0f
#define CMOS_SHUTDOWN_RESUME 0xfe

/* ---- The board's own wiring: ISA lines and HPET outputs to the two interrupt controllers ---- */

static void gsi_update(PcBoard *board, unsigned pin, uint32_t before)
{
    uint32_t now = board->isa_lines | board->hpet_lines;
    if ((now ^ before) >> pin & 1) {
        bool level = now >> pin & 1;
        if (level)
            board->dev.machine->irq_count[pin]++;
        irq_set(&board->ioapic_pins[pin], level);
    }
}

static void set_bit(uint32_t *word, unsigned n, bool level)
{
    *word = level ? *word | 1u << n : *word & ~(1u << n);
}

/* ISA line n: to the 8259s as it is; to the IOAPIC with line 0 on pin 2 (the MADT says so). */
static void isa_line_set(void *opaque, unsigned n, bool level)
{
    PcBoard *board = opaque;
    unsigned pin = n == 0 ? 2 : n;
    uint32_t before = board->isa_lines | board->hpet_lines;
    if (n != 2) {
        irq_set(&board->pic_pins[n], level);
        set_bit(&board->isa_lines, pin, level);
        gsi_update(board, pin, before);
    }
}

/* The HPET's routed outputs reach the IOAPIC only. */
static void hpet_line_set(void *opaque, unsigned n, bool level)
{
    PcBoard *board = opaque;
    uint32_t before = board->isa_lines | board->hpet_lines;
    set_bit(&board->hpet_lines, n, level);
    gsi_update(board, n, before);
}

/* The clock's interrupt output: its alarm may wake the guest, wherever else it is led. */
static void rtc_line_set(void *opaque, unsigned n, bool level)
{
    PcBoard *board = opaque;
    if (level)
        machine_request_wakeup(board->dev.machine, WAKE_RTC);
    irq_set(&board->rtc_out, level);
}

static void pic_intr(void *opaque, unsigned n, bool level)
{
    Machine *machine = opaque;
    if (machine->hooks.pic_intr)
        machine->hooks.pic_intr(machine, level);
}

/* Whether a tick of the PIT would be lost: the one before waits wherever line 0 leads. */
static bool tick_waits(void *opaque)
{
    PcBoard *board = opaque;
    PinState pic = i8259_pin_state(board->pic, 0);
    PinState ioapic = ioapic_pin_state(board->dev.machine->ioapic, 2);
    return pic != PIN_FREE && ioapic != PIN_FREE && (pic == PIN_WAITS || ioapic == PIN_WAITS);
}

static int pic_ack(Machine *machine)
{
    PcBoard *board = machine->board;
    return i8259_ack(board->pic);
}

/* The monitor's boot_set. */
static bool boot_set(Machine *machine, const char *order, GError **error)
{
    size_t length = strlen(order);
    if (!length || length > 3 || strspn(order, "abcdn") != length)
        return fail(error, "boot order '%s': must be one to three letters of a, c, d, n", order);
    pc_set_boot_order(machine->board, order);
    return true;
}

/* A guest that sleeps wakes up in the firmware, which looks into CMOS RAM for why it was reset. */
static void status_changed(void *opaque, Machine *machine, MachineStatus status)
{
    PcBoard *board = opaque;
    if (status == MACHINE_SUSPENDED)
        mc146818_set_cmos(board->rtc, CMOS_SHUTDOWN, CMOS_SHUTDOWN_RESUME);
}

/* After the first boot -boot once= no longer holds. */
static void board_reset(Device *dev)
{
    PcBoard *board = (PcBoard *)dev;
    if (board->config->boot.once && dev->machine->resets == 1)
        pc_set_boot_order(board, board->config->boot.order);
}

static const StateField board_fields[] = {
    STATE_HOST(PcBoard, dev),
    STATE_HOST(PcBoard, config),
    STATE_HOST(PcBoard, pic),
    STATE_HOST(PcBoard, rtc),
    STATE_HOST(PcBoard, fdc),
    STATE_HOST(PcBoard, fw_cfg),
    STATE_HOST(PcBoard, low_ram),
    STATE_HOST(PcBoard, bios),
    STATE_HOST(PcBoard, rtc_out),
    STATE_HOST(PcBoard, smm),
    STATE_HOST(PcBoard, pic_pins),
    STATE_HOST(PcBoard, ioapic_pins),
    STATE_U(PcBoard, isa_lines, 0),
    STATE_U(PcBoard, hpet_lines, 0),
    STATE_END,
};
static const StateDesc board_state = {"pc", 1, sizeof(PcBoard), board_fields, NULL, NULL};

static void board_unrealize(Device *dev)
{
    if (dev->machine->smm == &((PcBoard *)dev)->smm) {
        as_fini(dev->machine->smm);
        dev->machine->smm = NULL;
    }
    region_fini(&((PcBoard *)dev)->bios);
}

const DeviceClass pc_board_class = {
    .name = "pc",
    .desc = "the main board's wiring",
    .size = sizeof(PcBoard),
    .state = &board_state,
    .reset = board_reset,
    .unrealize = board_unrealize,
};

/* ---- Parts ---- */

/* A part without connections that the board has to make. */
static Device *add(PcBoard *board, const DeviceClass *cls, GError **error)
{
    return device_create(board->dev.machine, NULL, cls, error);
}

/* The same for parts that want connections or properties first: realize them afterwards. */
static Device *prepare(PcBoard *board, const DeviceClass *cls)
{
    return device_new(board->dev.machine, NULL, cls, NULL);
}

static bool add_power_management(PcBoard *board, GError **error)
{
    Device *pm = prepare(board, &piix4_pm_class);
    return (!board->config->smm || device_set_prop(pm, "smm-enabled", "on", error)) &&
           device_realize(pm, error);
}

static bool add_smm(PcBoard *board, Device *bridge, GError **error)
{
    Machine *machine = board->dev.machine;
    if (!board->config->smm)
        return true;
    if (!machine->hooks.has_smm)
        return fail(error, "-machine smm=on: only '-accel interp' has system management mode");
    as_init(&board->smm, "smm", i440fx_smm_root(bridge), UINT64_MAX);
    machine->smm = &board->smm;
    return true;
}

static bool add_bridges(PcBoard *board, GError **error)
{
    Device *bridge = add(board, &i440fx_class, error);
    if (!bridge)
        return false;
    board->low_ram = i440fx_ram_below_4g(bridge);
    if (!add_smm(board, bridge, error) || !add(board, &piix3_class, error))
        return false;
    IsaBus *isa = isa_bus(board->dev.machine);
    for (unsigned n = 0; n < ISA_IRQS; n++)
        isa->out[n] = irq_line(isa_line_set, board, n);

    uint64_t size;
    const char *name = board->config->bios ? board->config->bios : BIOS_FILE;
    g_autofree uint8_t *bios = firmware_load(name, BIOS_SIZE_MAX, &size, error);
    if (!bios || !region_init_rom(&board->bios, "bios", size, error))
        return fail_prefix(error, "-bios");
    /* The last byte of the file is the last before 4 GiB. */
    uint64_t room = board->bios.size;
    memcpy(region_ram_ptr(&board->bios) + room - size, bios, size);
    i440fx_map_bios(bridge, &board->bios);
    return true;
}

static bool add_interrupt_controllers(PcBoard *board, GError **error)
{
    Machine *machine = board->dev.machine;
    board->pic = prepare(board, &i8259_class);
    i8259_connect(board->pic, irq_line(pic_intr, machine, 0));
    machine->pic_ack = pic_ack;
    machine->boot_set = boot_set;
    if (!device_realize(board->pic, error))
        return false;
    Device *ioapic = add(board, &ioapic_class, error);
    if (!ioapic)
        return false;
    for (unsigned n = 0; n < ISA_IRQS; n++)
        board->pic_pins[n] = device_input(board->pic, n);
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        board->ioapic_pins[n] = device_input(ioapic, n);
    return true;
}

static bool add_timers(PcBoard *board, GError **error)
{
    IsaBus *isa = isa_bus(board->dev.machine);
    Device *pit = prepare(board, &i8254_class);
    board->rtc = prepare(board, &mc146818_class);
    i8254_connect_waits(pit, tick_waits, board);
    if (!pc_set_rtc(board->rtc, &board->config->rtc, error))
        return false;
    if (board->config->no_hpet) {
        i8254_connect(pit, isa_irq(isa, 0));
        board->rtc_out = isa_irq(isa, 8);
    } else {
        Device *hpet = prepare(board, &hpet_class);
        for (unsigned n = 0; n < IOAPIC_PINS; n++)
            hpet_connect(hpet, n, irq_line(hpet_line_set, board, n));
        hpet_connect_legacy(hpet, HPET_LEGACY_PIT, isa_irq(isa, 0));
        hpet_connect_legacy(hpet, HPET_LEGACY_RTC, isa_irq(isa, 8));
        if (!device_realize(hpet, error))
            return false;
        i8254_connect(pit, device_input(hpet, HPET_IN_PIT));
        board->rtc_out = device_input(hpet, HPET_IN_RTC);
    }
    mc146818_connect(board->rtc, irq_line(rtc_line_set, board, 0));
    machine_add_status_listener(board->dev.machine, status_changed, board);
    return device_realize(pit, error) && device_realize(board->rtc, error) &&
           add(board, &pcspk_class, error);
}

static bool add_port(PcBoard *board, const DeviceClass *cls, unsigned index, Chardev *chr,
                     GError **error)
{
    g_autofree char *number = g_strdup_printf("%u", index);
    Device *port = prepare(board, cls);
    device_set_link(port, "chardev", chr);
    return device_set_prop(port, "index", number, error) && device_realize(port, error);
}

static bool add_super_io(PcBoard *board, GError **error)
{
    const PcConfig *config = board->config;
    if (!add(board, &i8237_class, error) || !add(board, &i8042_class, error) ||
        !add(board, &port92_class, error))
        return false;
    for (unsigned i = 0; i < PC_SERIALS; i++)
        if (config->serial[i] && !add_port(board, &isa_serial_class, i, config->serial[i], error))
            return false;
    for (unsigned i = 0; i < PC_PARALLELS; i++)
        if (config->parallel[i] &&
            !add_port(board, &isa_parallel_class, i, config->parallel[i], error))
            return false;
    board->fdc = prepare(board, &isa_fdc_class);
    device_set_link(board->fdc, "driveA", config->floppy[0].blk);
    device_set_link(board->fdc, "driveB", config->floppy[1].blk);
    return device_realize(board->fdc, error);
}

static bool add_ide_drive(PcBoard *board, Device *controller, unsigned index, GError **error)
{
    const PcDrive *drive = &board->config->ide[index];
    const DeviceClass *cls = blk_is_cdrom(drive->blk) ? &ide_cd_class : &ide_hd_class;
    Device *dev = device_new(board->dev.machine, controller, cls, drive->id);
    device_set_link(dev, "drive", drive->blk);
    return device_set_prop(dev, "bus", index < 2 ? "ide.0" : "ide.1", error) &&
           device_set_prop(dev, "unit", index % 2 ? "1" : "0", error) &&
           (!drive->serial || device_set_prop(dev, "serial", drive->serial, error)) &&
           device_realize(dev, error);
}

static bool add_ide(PcBoard *board, GError **error)
{
    Device *controller = add(board, &piix3_ide_class, error);
    for (unsigned i = 0; controller && i < PC_IDE_DRIVES; i++)
        if (board->config->ide[i].blk && !add_ide_drive(board, controller, i, error))
            return false;
    return controller != NULL;
}

static bool add_option(PcBoard *board, const Options *options, GError **error)
{
    const DeviceClass *cls = device_class_find(options_get(options, "driver"));
    const char *id = options_get(options, "id"), *key, *value;
    if (!cls || !cls->user)
        return fail(error, "-device: '%s' cannot be added to this machine",
                    options_get(options, "driver"));
    if (id && device_find(board->dev.machine, id))
        return fail(error, "-device %s: there is already a device with the id '%s'", cls->name, id);
    Device *dev = device_new(board->dev.machine, NULL, cls, id);
    for (unsigned i = 0; options_nth(options, i, &key, &value); i++)
        if (strcmp(key, "driver") && strcmp(key, "id") && !device_set_prop(dev, key, value, error))
            return fail_prefix(error, "-device");
    return device_realize(dev, error) || fail_prefix(error, "-device %s", cls->name);
}

static bool add_options(PcBoard *board, GError **error)
{
    GPtrArray *devices = board->config->devices;
    for (guint i = 0; devices && i < devices->len; i++)
        if (!add_option(board, g_ptr_array_index(devices, i), error))
            return false;
    return true;
}

static bool build(PcBoard *board, GError **error)
{
    return device_realize(&board->dev, error) && add_bridges(board, error) &&
           add_interrupt_controllers(board, error) && add_timers(board, error) &&
           add_super_io(board, error) && add_ide(board, error) &&
           add_power_management(board, error) &&
           (board->config->vga == PC_VGA_NONE || add(board, &vga_class, error)) &&
           (board->fw_cfg = add(board, &fw_cfg_class, error)) && add_options(board, error) &&
           pc_add_firmware_tables(board, error);
}

bool pc_create(Machine *machine, const PcConfig *config, GError **error)
{
    machine->ram = g_new0(Region, 1);
    machine->ram_size = config->ram_size;
    if (!region_init_ram(machine->ram, "pc.ram", config->ram_size, error))
        return fail_prefix(error, "-m");
    PcBoard *board = (PcBoard *)device_new(machine, NULL, &pc_board_class, NULL);
    board->config = config;
    machine->board = board;
    region_begin();
    bool ok = build(board, error);
    region_commit();
    return ok;
}
