/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about the monitor itself, the machine's life, the log and ring buffers. */
#include "monitor/gdb.h"
#include "monitor_private.h"
#include "util/log.h"

static void describe_table(const MonCommand *table, const char *prefix, GString *out)
{
    for (; table->name; table++)
        mon_command_describe(table, prefix, out);
}

void mon_help(Monitor *mon, const MonValue *values)
{
    const char *name = values[0].text;
    GString *out = g_string_new(NULL);

    if (!name) {
        describe_table(mon_commands, "", out);
        mon_print(mon, out);
        return;
    }
    bool info = g_str_has_prefix(name, "info ");
    name = info ? name + strlen("info ") + strspn(name + strlen("info "), " ") : name;
    const MonCommand *command = mon_command_find(info ? mon_info_commands : mon_commands, name);
    if (!strcmp(name, "info"))
        describe_table(mon_info_commands, "info ", out);
    else if (command)
        mon_command_describe(command, info ? "info " : "", out);
    else
        g_string_append_printf(out, "there is no command '%s%s'\n", info ? "info " : "", name);
    mon_print(mon, out);
}

void mon_info(Monitor *mon, const MonValue *values)
{
    GString *out;

    if (values[0].text) {
        mon_command_run(mon, mon_info_commands, "info ", values[0].text);
        return;
    }
    out = g_string_new(NULL);
    describe_table(mon_info_commands, "info ", out);
    mon_print(mon, out);
}

void mon_version(Monitor *mon, const MonValue *values)
{
    info_version(mon, values);
}

/* ---- Life ---- */

void mon_stop(Monitor *mon, const MonValue *values)
{
    machine_pause(mon->machine, MACHINE_PAUSED);
}

void mon_cont(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    if (!machine_resume(mon->machine, &error))
        mon_error(mon, error);
}

void mon_system_reset(Monitor *mon, const MonValue *values)
{
    machine_request_reset(mon->machine, RESET_HOST);
}

void mon_system_powerdown(Monitor *mon, const MonValue *values)
{
    machine_request_powerdown(mon->machine);
}

void mon_system_wakeup(Monitor *mon, const MonValue *values)
{
    if (mon->machine->status != MACHINE_SUSPENDED)
        monitor_printf(mon, "Error: the guest does not sleep\n");
    machine_request_wakeup(mon->machine, WAKE_OTHER);
}

void mon_quit(Monitor *mon, const MonValue *values)
{
    machine_request_shutdown(mon->machine, SHUTDOWN_HOST);
}

void mon_nmi(Monitor *mon, const MonValue *values)
{
    if (mon->machine->hooks.nmi)
        mon->machine->hooks.nmi(mon->machine);
    else
        monitor_printf(mon, "Error: this machine's engine has no CPUs\n");
}

void mon_boot_set(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    if (!mon->machine->boot_set)
        monitor_printf(mon, "Error: this machine has no boot order\n");
    else if (!mon->machine->boot_set(mon->machine, values[0].text, &error))
        mon_error(mon, error);
}

void mon_set_cpu(Monitor *mon, const MonValue *values)
{
    if (!mon->machine->cpus || values[0].number >= mon->machine->cpu_count)
        monitor_printf(mon, "invalid CPU index\n");
    else
        mon->cpu_index = (unsigned)values[0].number;
}

void mon_gdbserver(Monitor *mon, const MonValue *values)
{
    const char *device = values[0].text ? values[0].text : "tcp::1234";
    GError *error = NULL;
    if (!gdb_open(mon->machine, device, &error))
        mon_error(mon, error);
    else if (strcmp(device, "none"))
        monitor_printf(mon, "Waiting for gdb connection on device '%s'\n", device);
    else
        monitor_printf(mon, "Disabled gdbserver\n");
}

/* ---- Log ---- */

void mon_log(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    uint32_t mask;

    if (!log_parse_mask(values[0].text, &mask, &error)) {
        mon_error(mon, error);
        monitor_printf(mon, "Log items (comma separated):\n%-15s %s\n", "none", "remove all logs");
        for (const LogName *row = log_names; row->name; row++)
            monitor_printf(mon, "%-15s %s\n", row->name, row->help);
        return;
    }
    log_set_mask(mask);
}

void mon_logfile(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    if (!log_set_file(values[0].text, &error))
        mon_error(mon, error);
}

/* ---- Ring buffers ---- */

void mon_ringbuf_read(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    Chardev *chr = chr_resolve(values[0].text, &error);
    size_t size = (size_t)MIN(values[1].number, 1u << 20), taken = 0;

    if (!chr) {
        mon_error(mon, error);
        return;
    }
    g_autofree uint8_t *buf = g_malloc(size + 1);
    if (!chr_ringbuf_read(chr, buf, size, &taken)) {
        monitor_printf(mon, "Error: %s is no ringbuf\n", values[0].text);
        return;
    }
    GString *out = g_string_new(NULL);
    for (size_t i = 0; i < taken; i++) {
        if (buf[i] == '\\')
            g_string_append(out, "\\\\");
        else if ((buf[i] < 0x20 && buf[i] != '\n') || buf[i] >= 0x7f)
            g_string_append_printf(out, "\\u%04X", buf[i]);
        else
            g_string_append_c(out, (char)buf[i]);
    }
    g_string_append_c(out, '\n');
    mon_print(mon, out);
}

void mon_ringbuf_write(Monitor *mon, const MonValue *values)
{
    GError *error = NULL;
    Chardev *chr = chr_resolve(values[0].text, &error);
    size_t taken;

    if (!chr)
        mon_error(mon, error);
    else if (!chr_ringbuf_read(chr, NULL, 0, &taken))
        monitor_printf(mon, "Error: %s is no ringbuf\n", values[0].text);
    else
        chr_write(chr, NULL, values[1].text, strlen(values[1].text));
}
