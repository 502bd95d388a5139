/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens serial and parallel ports, other character devices, and monitors. */
#include "run.h"

#include "monitor/monitor.h"
#include "util/error.h"

#define CONSOLE "vc:80Cx24C"

static GPtrArray *wanted;   /* of Chardev that want a monitor: -monitor's, and those of "mon:" */
static GPtrArray *monitors; /* of Monitor */

/* Opens a short form. *chr stays NULL for "none". */
static bool open_port(const char *option, const char *spec, const char *id, unsigned n,
                      Chardev **chr, GError **error)
{
    g_autofree char *name = g_strdup_printf("%s%u", id, n);
    g_autoptr(GError) failure = NULL;

    *chr = chr_open(option, spec, name, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (*chr && g_str_has_prefix(spec, "mon:"))
        g_ptr_array_add(wanted, *chr);
    return true;
}

static bool has_device(const VmConfig *config, const char *driver)
{
    for (unsigned i = 0; i < config->board.devices->len; i++)
        if (!g_strcmp0(options_get(g_ptr_array_index(config->board.devices, i), "driver"), driver))
            return true;
    return false;
}

/* "-serial mon:stdio" says where the monitor is, too. */
static bool has_shared_monitor(const VmConfig *config)
{
    for (unsigned i = 0; i < config->serials->len; i++)
        if (g_str_has_prefix(g_ptr_array_index(config->serials, i), "mon:"))
            return true;
    return false;
}

/* What a PC has where nothing is said: as QEMU, ports and monitor in the window, or with
 * -nographic the serial port and the monitor together on the terminal. */
static void add_defaults(VmConfig *config)
{
    bool serial = !config->serials->len && !has_device(config, "isa-serial");
    bool parallel = !config->parallels->len && !has_device(config, "isa-parallel");
    bool monitor = !config->monitors->len && !config->mons->len && !has_shared_monitor(config);

    if (config->nodefaults)
        return;
    if (config->nographic) {
        if (serial)
            g_ptr_array_add(config->serials, (char *)(monitor ? "mon:stdio" : "stdio"));
        else if (monitor)
            g_ptr_array_add(config->monitors, (char *)"stdio");
        if (parallel)
            g_ptr_array_add(config->parallels, (char *)"null");
        return;
    }
    if (monitor)
        g_ptr_array_add(config->monitors, (char *)CONSOLE);
    if (serial)
        g_ptr_array_add(config->serials, (char *)CONSOLE);
    if (parallel)
        g_ptr_array_add(config->parallels, (char *)CONSOLE);
}

static void add_debugcon(VmConfig *config)
{
    Options *device = options_new("-debugcon");
    options_set(device, "driver", "isa-debugcon");
    options_set(device, "chardev", "debugcon0");
    g_ptr_array_add(config->board.devices, device);
}

static bool open_monitors(VmConfig *config, GError **error)
{
    for (unsigned i = 0; i < config->monitors->len; i++) {
        const char *spec = g_ptr_array_index(config->monitors, i);
        Chardev *chr;
        if (!open_port("-monitor", spec, "compat_monitor", i, &chr, error))
            return false;
        /* "mon:" has nothing to share here, but means the same. */
        if (chr && !g_ptr_array_find(wanted, chr, NULL))
            g_ptr_array_add(wanted, chr);
    }
    return true;
}

static bool open_ports(VmConfig *config, GError **error)
{
    for (unsigned i = 0; i < config->serials->len; i++)
        if (!open_port("-serial", g_ptr_array_index(config->serials, i), "serial", i,
                       &config->board.serial[i], error))
            return false;
    for (unsigned i = 0; i < config->parallels->len; i++)
        if (!open_port("-parallel", g_ptr_array_index(config->parallels, i), "parallel", i,
                       &config->board.parallel[i], error))
            return false;
    for (unsigned i = 0; i < config->debugcons->len; i++) {
        Chardev *chr;
        if (!open_port("-debugcon", g_ptr_array_index(config->debugcons, i), "debugcon", i, &chr,
                       error))
            return false;
        if (chr)
            add_debugcon(config);
    }
    return true;
}

bool ports_open(VmConfig *config, GError **error)
{
    wanted = g_ptr_array_new();
    for (unsigned i = 0; i < config->chardevs->len; i++)
        if (!chr_open_options(g_ptr_array_index(config->chardevs, i), error))
            return false;
    add_defaults(config);
    /* In a window the monitor is the first after the screen, as with QEMU: Ctrl-Alt-2. */
    return open_monitors(config, error) && open_ports(config, error);
}

static bool add_monitor(Machine *machine, Chardev *chr, GError **error)
{
    Monitor *monitor = monitor_new(machine, chr, error);
    if (monitor)
        g_ptr_array_add(monitors, monitor);
    return monitor != NULL;
}

static void close_monitor(void *monitor)
{
    monitor_free(monitor);
}

bool monitors_open(VmConfig *config, Machine *machine, GError **error)
{
    monitors = g_ptr_array_new_with_free_func(close_monitor);
    for (unsigned i = 0; i < wanted->len; i++)
        if (!add_monitor(machine, g_ptr_array_index(wanted, i), error))
            return fail_prefix(error, "-monitor");
    for (unsigned i = 0; i < config->mons->len; i++) {
        const char *id = options_get(g_ptr_array_index(config->mons, i), "chardev");
        Chardev *chr = chr_resolve(id, error);
        if (!chr || !add_monitor(machine, chr, error))
            return fail_prefix(error, "-mon");
    }
    return true;
}

void monitors_close(void)
{
    g_clear_pointer(&monitors, g_ptr_array_unref);
    g_clear_pointer(&wanted, g_ptr_array_unref);
}
