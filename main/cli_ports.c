/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about the screen, keys, ports and monitors. */
#include "config.h"

#include "util/error.h"

bool cli_display(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"type", "full-screen", "grab-on-hover", "gl", NULL};
    static const char *const missing[] = {"gtk",          "vnc",  "cocoa", "spice-app",
                                          "egl-headless", "dbus", NULL};

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new("Displays:\n");
        for (const char *const *type = ui_types(); *type; type++)
            g_string_append_printf(config->answer, "  %s\n", *type);
        return true;
    }
    g_autofree char *first = g_strndup(arg, strcspn(arg, ",="));
    if (cli_fail_if_missing(option, first, missing, error))
        return false;
    g_autoptr(Options) display = options_parse("-display", arg, "type", keys, error);
    if (!display)
        return false;
    const char *type = options_get(display, "type");
    bool gl = false;
    if (type && !g_strv_contains(ui_types(), type))
        return cli_fail_word(option, "display", type, ui_types(), error);
    if (!options_get_bool(display, "full-screen", &config->ui.full_screen, error) ||
        !options_get_bool(display, "grab-on-hover", &config->ui.grab_on_hover, error) ||
        !options_get_bool(display, "gl", &gl, error))
        return false;
    if (gl)
        return fail(error, "-display: gl=on: vmrun does not have it yet");
    if (type)
        config->ui.type = config_keep(config, type);
    return true;
}

bool cli_full_screen(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->ui.full_screen = true;
    return true;
}

bool cli_nographic(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->nographic = true;
    return true;
}

/* One row of short forms; "none" takes a place, too. */
static bool add_port(GPtrArray *ports, unsigned limit, const CliOption *option, const char *arg,
                     GError **error)
{
    if (ports->len == limit)
        return fail(error, "-%s %s: there can be at most %u", option->name, arg, limit);
    g_ptr_array_add(ports, (char *)arg);
    return true;
}

bool cli_serial(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return add_port(config->serials, PC_SERIALS, option, arg, error);
}

bool cli_parallel(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return add_port(config->parallels, PC_PARALLELS, option, arg, error);
}

bool cli_monitor(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return add_port(config->monitors, 8, option, arg, error);
}

bool cli_debugcon(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return add_port(config->debugcons, 1, option, arg, error);
}

bool cli_chardev(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new(NULL);
        chr_describe_backends(config->answer);
        return true;
    }
    g_autoptr(Options) chardev = options_parse("-chardev", arg, "backend", NULL, error);

    if (!chardev)
        return false;
    if (!options_has(chardev, "id"))
        return fail(error, "-chardev %s: id= is missing", arg);
    g_ptr_array_add(config->chardevs, g_steal_pointer(&chardev));
    return true;
}

bool cli_mon(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"chardev", "mode", "id", NULL};
    static const char *const modes[] = {"readline", NULL};
    g_autoptr(Options) mon = options_parse("-mon", arg, "chardev", keys, error);
    unsigned mode;

    if (!mon)
        return false;
    if (!options_has(mon, "chardev"))
        return fail(error, "-mon %s: chardev= is missing", arg);
    if (!g_strcmp0(options_get(mon, "mode"), "control"))
        return fail(error, "-mon: mode=control: vmrun does not have QMP yet");
    if (!options_get_enum(mon, "mode", modes, &mode, error))
        return false;
    g_ptr_array_add(config->mons, g_steal_pointer(&mon));
    return true;
}

bool cli_keyboard(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return fail(error, "-k %s: keys go to the guest by their place, so set the layout in the guest",
                arg);
}
