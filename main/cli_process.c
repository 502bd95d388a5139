/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about the process, the log, and the life of the machine. */
#include "config.h"

#include "util/error.h"
#include "util/log.h"

bool cli_paused(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->paused = true;
    return true;
}

bool cli_load_vm(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->load_vm = arg;
    return true;
}

bool cli_no_reboot(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->no_reboot = true;
    return true;
}

bool cli_no_shutdown(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->no_shutdown = true;
    return true;
}

bool cli_action(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"reboot", "shutdown", NULL};
    static const char *const reboots[] = {"reset", "shutdown", NULL};
    static const char *const shutdowns[] = {"poweroff", "pause", NULL};
    g_autoptr(Options) action = options_parse("-action", arg, NULL, keys, error);
    unsigned reboot = config->no_reboot, shutdown = config->no_shutdown;

    if (!action || !options_get_enum(action, "reboot", reboots, &reboot, error) ||
        !options_get_enum(action, "shutdown", shutdowns, &shutdown, error))
        return false;
    config->no_reboot = reboot;
    config->no_shutdown = shutdown;
    return true;
}

bool cli_pid_file(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->pid_file = arg;
    return true;
}

bool cli_daemonize(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->daemonize = true;
    return true;
}

bool cli_log(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    uint32_t mask = 0;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        config->answer = g_string_new("Log items (comma separated):\n");
        for (const LogName *row = log_names; row->name; row++)
            g_string_append_printf(config->answer, "%-15s %s\n", row->name, row->help);
        return true;
    }
    if (!log_parse_mask(arg, &mask, error))
        return false;
    config->log_mask |= mask;
    return true;
}

bool cli_log_file(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->log_file = arg;
    return true;
}

bool cli_qtest(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->qtest = arg;
    return true;
}

bool cli_qtest_log(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->qtest_log = arg;
    return true;
}

bool cli_nodefaults(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->nodefaults = true;
    return true;
}

/* What it asks for is always so. */
bool cli_no_user_config(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    return true;
}

bool cli_version(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->answer = g_string_new("vmrun version " VMRUN_VERSION "\n");
    return true;
}

bool cli_help(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->answer = g_string_new(NULL);
    cli_describe(config->answer);
    return true;
}

bool cli_gdb(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->gdb = arg ? arg : "tcp::1234";
    return true;
}
