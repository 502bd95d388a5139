/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info` subcommands: each asks whoever knows. */
#include "accel/engine.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/pci/pci.h"
#include "monitor_private.h"
#include "ui/input.h"

void info_version(Monitor *mon, const MonValue *values)
{
    monitor_printf(mon, VMRUN_VERSION "\n");
}

void info_status(Monitor *mon, const MonValue *values)
{
    MachineStatus status = mon->machine->status;

    if (status == MACHINE_RUNNING || status == MACHINE_PAUSED)
        monitor_printf(mon, "VM status: %s\n", machine_status_name(status));
    else
        monitor_printf(mon, "VM status: paused (%s)\n", machine_status_name(status));
}

void info_name(Monitor *mon, const MonValue *values)
{
    if (mon->machine->name)
        monitor_printf(mon, "%s\n", mon->machine->name);
}

void info_uuid(Monitor *mon, const MonValue *values)
{
    const uint8_t *u = mon->machine->uuid;
    monitor_printf(mon, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n",
                   u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
                   u[13], u[14], u[15]);
}

void info_history(Monitor *mon, const MonValue *values)
{
    const char *line;
    for (unsigned i = 0; mon->editor && (line = line_editor_history(mon->editor, i)); i++)
        monitor_printf(mon, "%u: '%s'\n", i, line);
}

/* ---- CPUs and engine ---- */

void info_kvm(Monitor *mon, const MonValue *values)
{
    const CpuEngine *engine = machine_engine(mon->machine);
    GString *out = g_string_new(NULL);

    if (!engine || strcmp(engine->name, "kvm"))
        g_string_append(out, "kvm support: disabled\n");
    if (engine && engine->describe)
        engine->describe(mon->machine, out);
    mon_print(mon, out);
}

void info_cpus(Monitor *mon, const MonValue *values)
{
    if (!mon_cpu(mon))
        return;
    for (unsigned i = 0; i < mon->machine->cpu_count; i++) {
        const Vcpu *cpu = mon->machine->cpus[i];
        monitor_printf(mon, "%c CPU #%u: apic_id=%u%s exits=%" G_GUINT64_FORMAT "\n",
                       i == mon->cpu_index ? '*' : ' ', i, cpu->apic_id,
                       __atomic_load_n(&cpu->halted, __ATOMIC_RELAXED) ? " (halted)" : "",
                       __atomic_load_n(&cpu->exits, __ATOMIC_RELAXED));
    }
}

void info_registers(Monitor *mon, const MonValue *values)
{
    unsigned chosen = mon->cpu_index, first = chosen, last = chosen;
    GString *out = g_string_new(NULL);

    if (values[1].given && (!mon->machine->cpus || values[1].number >= mon->machine->cpu_count)) {
        monitor_printf(mon, "CPU#%" G_GUINT64_FORMAT " not available\n", values[1].number);
        first = 1, last = 0;
    } else if (values[0].given) {
        first = 0, last = mon->machine->cpu_count - 1;
    } else if (values[1].given) {
        first = last = (unsigned)values[1].number;
    }
    for (unsigned i = first; i <= last; i++) {
        mon->cpu_index = i;
        g_autofree CpuState *state = mon_cpu_state(mon);
        if (!state)
            break;
        g_string_append_c(out, '\n');
        cpu_state_describe(state, i, mon->machine->a20, values[0].given, out);
    }
    mon->cpu_index = chosen;
    mon_print(mon, out);
}

/* ---- The board ---- */

void info_mtree(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    as_describe(&mon->machine->mem, values[0].given, out);
    as_describe(&mon->machine->io, values[0].given, out);
    mon_print(mon, out);
}

void info_qtree(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    device_describe_tree(mon->machine, out);
    mon_print(mon, out);
}

void info_pci(Monitor *mon, const MonValue *values)
{
    PciBus *bus = pci_bus(mon->machine);
    GString *out = g_string_new(NULL);

    if (bus)
        pci_bus_describe(bus, out);
    else
        g_string_append(out, "this machine has no PCI bus\n");
    mon_print(mon, out);
}

void info_irq(Monitor *mon, const MonValue *values)
{
    monitor_printf(mon, "IRQ statistics:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(mon->machine->irq_count); i++)
        if (mon->machine->irq_count[i])
            monitor_printf(mon, "%2u: %" G_GUINT64_FORMAT "\n", i, mon->machine->irq_count[i]);
}

void info_pic(Monitor *mon, const MonValue *values)
{
    Device *ioapic = device_find_class(mon->machine, "ioapic");
    Device *pic = device_find_class(mon->machine, "isa-i8259");
    GString *out = g_string_new(NULL);

    if (ioapic)
        ioapic_describe(ioapic, out);
    if (pic)
        pic_describe(pic, out);
    if (!ioapic && !pic)
        g_string_append(out, "this machine has no interrupt controller\n");
    mon_print(mon, out);
}

void info_mice(Monitor *mon, const MonValue *values)
{
    bool ps2 = device_find_class(mon->machine, "i8042") != NULL;

    if (ps2)
        monitor_printf(mon, "%c Mouse #0: PS/2 Mouse\n", input_absolute() ? ' ' : '*');
    if (input_absolute())
        monitor_printf(mon, "* Mouse #%d: absolute pointer (absolute)\n", ps2);
    if (!ps2 && !input_absolute())
        monitor_printf(mon, "No mouse devices connected\n");
}

void info_ramblock(Monitor *mon, const MonValue *values)
{
    GPtrArray *blocks = ram_blocks();

    monitor_printf(mon, "%20s %12s\n", "Block Name", "Size");
    for (unsigned i = 0; i < blocks->len; i++) {
        const RamBlock *block = g_ptr_array_index(blocks, i);
        g_autofree char *size = format_size(block->size);
        monitor_printf(mon, "%20s %12s\n", block->name, size);
    }
}

/* ---- Back ends ---- */

void info_chardev(Monitor *mon, const MonValue *values)
{
    GString *out = g_string_new(NULL);
    chr_describe_all(out);
    mon_print(mon, out);
}
