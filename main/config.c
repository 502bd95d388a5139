/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration's defaults and its end. */
#include "config.h"

static void free_options(void *data)
{
    options_free(data);
}

static void free_fw_cfg_file(void *data)
{
    PcFwCfgFile *file = data;
    g_free(file->name);
    g_free(file->data);
    g_free(file);
}

VmConfig *config_new(void)
{
    VmConfig *config = g_new0(VmConfig, 1);

    config->cpus = 1;
    config->accels = g_ptr_array_new_with_free_func(free_options);
    config->drives = g_ptr_array_new_with_free_func(free_options);
    config->devices = g_ptr_array_new_with_free_func(free_options);
    config->netdevs = g_ptr_array_new_with_free_func(free_options);
    config->nics = g_ptr_array_new_with_free_func(free_options);
    config->port_forwards = g_ptr_array_new_with_free_func(g_free);
    config->objects = g_ptr_array_new_with_free_func(free_options);
    config->chardevs = g_ptr_array_new_with_free_func(free_options);
    config->serials = g_ptr_array_new();
    config->parallels = g_ptr_array_new();
    config->monitors = g_ptr_array_new();
    config->mons = g_ptr_array_new_with_free_func(free_options);
    config->debugcons = g_ptr_array_new();
    config->strings = g_string_chunk_new(512);

    config->board = (PcConfig){
        .smp = {.sockets = 1, .cores = 1, .threads = 1},
        .ram_size = DEFAULT_RAM_SIZE,
        .boot = {.order = "cad", .splash_ms = -1, .reboot_ms = -1},
        .vga = PC_VGA_STD,
        .rtc = {.base = PC_RTC_UTC, .clock = VM_CLOCK_WALL},
        .fw_cfg = g_ptr_array_new_with_free_func(free_fw_cfg_file),
        /* The drives' and ports' pseudo-devices do not reach the board: not config->devices. */
        .devices = g_ptr_array_new_with_free_func(free_options),
    };
    return config;
}

void config_free(VmConfig *config)
{
    if (!config)
        return;
    if (config->answer)
        g_string_free(config->answer, TRUE);
    for (unsigned i = 0; i < PC_SMBIOS_TYPES; i++)
        options_free(config->board.smbios[i]);
    g_ptr_array_free(config->board.fw_cfg, TRUE);
    g_ptr_array_free(config->board.devices, TRUE);
    g_ptr_array_free(config->accels, TRUE);
    g_ptr_array_free(config->drives, TRUE);
    g_ptr_array_free(config->devices, TRUE);
    g_ptr_array_free(config->netdevs, TRUE);
    g_ptr_array_free(config->nics, TRUE);
    g_ptr_array_free(config->port_forwards, TRUE);
    g_ptr_array_free(config->objects, TRUE);
    g_ptr_array_free(config->chardevs, TRUE);
    g_ptr_array_free(config->serials, TRUE);
    g_ptr_array_free(config->parallels, TRUE);
    g_ptr_array_free(config->monitors, TRUE);
    g_ptr_array_free(config->mons, TRUE);
    g_ptr_array_free(config->debugcons, TRUE);
    g_string_chunk_free(config->strings);
    g_free(config);
}

const char *config_keep(VmConfig *config, const char *text)
{
    return text ? g_string_chunk_insert(config->strings, text) : NULL;
}
