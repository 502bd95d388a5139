/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that name disks: all become sets of -drive's keys. */
#include "config.h"

#include "util/error.h"

static const char *const interfaces[] = {"ide", "floppy", "none", NULL};
static const char *const missing_interfaces[] = {"virtio", "scsi", "sd", "pflash",
                                                 "mtd",    "xen",  NULL};
static const char *const media[] = {"disk", "cdrom", NULL};

static Options *add_drive(VmConfig *config, const CliOption *option, const char *file,
                          const char *interface, const char *medium)
{
    g_autofree char *where = g_strconcat("-", option->name, NULL);
    g_autofree char *index = g_strdup_printf("%d", option->n);
    Options *drive = options_new(where);

    options_set(drive, "file", file);
    options_set(drive, "if", interface);
    options_set(drive, "index", index);
    options_set(drive, "media", medium);
    g_ptr_array_add(config->drives, drive);
    return drive;
}

bool cli_disk(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    add_drive(config, option, arg, "ide", "disk");
    return true;
}

bool cli_cdrom(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    add_drive(config, option, arg, "ide", "cdrom");
    return true;
}

bool cli_floppy(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    add_drive(config, option, arg, "floppy", "disk");
    return true;
}

bool cli_snapshot(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    config->snapshot = true;
    return true;
}

bool cli_drive(VmConfig *config, const CliOption *option, const char *arg, GError **error)
{
    g_autoptr(Options) drive = options_parse("-drive", arg, NULL, NULL, error);
    unsigned choice = 0;
    uint64_t number;
    bool flag;

    if (!drive || !blk_check_keys(drive, error))
        return false;
    const char *interface = options_get(drive, "if");
    if (interface && g_strv_contains(missing_interfaces, interface))
        return fail(error, "-drive: if=%s: vmrun does not have it yet; ide, floppy and none work",
                    interface);
    if (!options_get_enum(drive, "if", interfaces, &choice, error) ||
        !options_get_enum(drive, "media", media, &choice, error) ||
        !options_get_uint(drive, "index", 0, PC_IDE_DRIVES - 1, &number, error) ||
        !options_get_uint(drive, "bus", 0, 1, &number, error) ||
        !options_get_uint(drive, "unit", 0, 1, &number, error) ||
        !options_get_bool(drive, "snapshot", &flag, error) ||
        !options_get_bool(drive, "readonly", &flag, error) ||
        !options_get_bool(drive, "read-only", &flag, error))
        return false;
    if (options_has(drive, "index") && (options_has(drive, "bus") || options_has(drive, "unit")))
        return fail(error, "-drive: index=%s says the same as bus and unit: give one of them",
                    options_get(drive, "index"));
    if (options_has(drive, "read-only")) {
        options_set(drive, "readonly", options_get(drive, "read-only"));
        options_remove(drive, "read-only");
    }
    g_ptr_array_add(config->drives, g_steal_pointer(&drive));
    return true;
}
