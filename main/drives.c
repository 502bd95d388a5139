/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gives the drives their places on the board and opens them. */
#include "run.h"

#include <stdlib.h>

#include "util/error.h"

static bool is_cdrom(const Options *drive)
{
    return !g_strcmp0(options_get(drive, "media"), "cdrom");
}

static bool is_interface(const Options *drive, const char *name)
{
    const char *interface = options_get(drive, "if");
    return !strcmp(interface ? interface : "ide", name);
}

static unsigned number(const Options *options, const char *key)
{
    uint64_t value = 0;
    options_get_uint(options, key, 0, UINT32_MAX, &value, NULL); /* checked when it was parsed */
    return (unsigned)value;
}

/* The place that the keys name, -1 if they leave it open. */
static int wanted_place(const Options *drive)
{
    if (options_has(drive, "index"))
        return (int)number(drive, "index");
    if (options_has(drive, "bus") || options_has(drive, "unit"))
        return (int)(number(drive, "bus") * 2 + number(drive, "unit"));
    return -1;
}

static bool put(Options **places, unsigned count, Options *drive, int place, GError **error)
{
    if (place < 0) {
        for (place = 0; place < (int)count && places[place];)
            place++;
        if (place == (int)count)
            return fail(error, "%s: all %u places are taken", options_where(drive), count);
    }
    if (place >= (int)count)
        return fail(error, "%s: index=%d: must be from 0 to %u", options_where(drive), place,
                    count - 1);
    if (places[place])
        return fail(error, "%s: place %d is already taken by %s%s%s", options_where(drive), place,
                    options_where(places[place]), options_has(places[place], "file") ? " " : "",
                    options_has(places[place], "file") ? options_get(places[place], "file") : "");
    places[place] = drive;
    return true;
}

/* ---- -device ide-hd, ide-cd, floppy ---- */

static Options *find_loose(DrivePlan *plan, const char *id)
{
    for (unsigned i = 0; i < plan->loose->len; i++) {
        Options *drive = g_ptr_array_index(plan->loose, i);
        if (!g_strcmp0(options_get(drive, "id"), id))
            return g_ptr_array_steal_index(plan->loose, i);
    }
    return NULL;
}

/* "ide.0" or "ide.1"; floppies have one bus. */
static bool read_bus(const Options *device, bool floppy, unsigned *bus, GError **error)
{
    static const char *const ide_buses[] = {"ide.0", "ide.1", NULL};
    static const char *const floppy_buses[] = {"floppy-bus.0", NULL};
    return options_get_enum(device, "bus", floppy ? floppy_buses : ide_buses, bus, error);
}

static bool place_device(DrivePlan *plan, const Options *device, GError **error)
{
    const char *driver = options_get(device, "driver"), *id = options_get(device, "drive");
    bool floppy = !strcmp(driver, "floppy"), cdrom = !strcmp(driver, "ide-cd");
    unsigned bus = 0;
    uint64_t unit = 0, bootindex = 0;
    int place = -1;

    if (!id && !cdrom && !floppy)
        return fail(error, "-device %s: drive=ID is missing, the id of a -drive with if=none",
                    driver);
    if (!read_bus(device, floppy, &bus, error) ||
        !options_get_uint(device, "unit", 0, 1, &unit, error) ||
        !options_get_uint(device, "bootindex", 0, INT32_MAX, &bootindex, error))
        return false;
    if (options_has(device, "bus") || options_has(device, "unit"))
        place = (int)(bus * 2 + unit);
    if (options_has(device, "bus") && !options_has(device, "unit") && !floppy)
        place = plan->ide[bus * 2] ? (int)bus * 2 + 1 : (int)bus * 2;

    Options *drive = id ? find_loose(plan, id) : options_new("-device");
    if (!drive)
        return fail(error, "-device %s: drive=%s: there is no -drive with that id and if=none",
                    driver, id);
    if (options_has(device, "id"))
        options_set(drive, id ? "device-id" : "id", options_get(device, "id"));
    options_set(drive, "media", cdrom ? "cdrom" : "disk");
    if (options_has(device, "serial"))
        options_set(drive, "serial", options_get(device, "serial"));
    static const char *const back_end[] = {"iothread", "share-rw"};
    for (unsigned i = 0; i < G_N_ELEMENTS(back_end); i++)
        if (options_has(device, back_end[i]))
            options_set(drive, back_end[i], options_get(device, back_end[i]));
    if (options_has(device, "bootindex"))
        options_set(drive, "bootindex", options_get(device, "bootindex"));
    if (floppy && options_has(drive, "device-id")) {
        options_free(drive);
        return fail(error, "-device floppy: id= with drive=: a floppy drive has its -drive's id");
    }
    bool placed = floppy ? put(plan->floppy, PC_FLOPPIES, drive, place, error)
                         : put(plan->ide, PC_IDE_DRIVES, drive, place, error);
    if (!placed)
        options_free(drive);
    return placed;
}

static bool place_devices(VmConfig *config, DrivePlan *plan, bool *cd, bool *floppy, GError **error)
{
    while (config->devices->len) {
        g_autoptr(Options) device = g_ptr_array_steal_index(config->devices, 0);
        const char *driver = options_get(device, "driver");
        bool ide = !strcmp(driver, "ide-hd") || !strcmp(driver, "ide-cd");
        if (!ide && strcmp(driver, "floppy")) {
            g_ptr_array_add(config->board.devices, g_steal_pointer(&device));
            continue;
        }
        *cd |= !strcmp(driver, "ide-cd");
        *floppy |= !ide;
        if (!place_device(plan, device, error))
            return false;
    }
    return true;
}

/* ---- The plan ---- */

/* Drives that name their place come first, so that the others find what is left. */
static bool place_drives(VmConfig *config, DrivePlan *plan, GError **error)
{
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < config->drives->len;) {
            Options *drive = g_ptr_array_index(config->drives, i);
            int place = wanted_place(drive);
            if ((place < 0) != (pass == 1)) {
                i++;
                continue;
            }
            if (is_interface(drive, "none"))
                g_ptr_array_add(plan->loose, drive);
            else if (is_interface(drive, "floppy")
                         ? !put(plan->floppy, PC_FLOPPIES, drive, place, error)
                         : !put(plan->ide, PC_IDE_DRIVES, drive, place, error))
                return false;
            g_ptr_array_steal_index(config->drives, i);
        }
    }
    return true;
}

static void name_drive(Options *drive, const char *format, unsigned a, unsigned b)
{
    if (options_has(drive, "id"))
        return;
    g_autofree char *id = g_strdup_printf(format, a, b);
    options_set(drive, "id", id);
}

/* QEMU's ids, which monitors and scripts know. */
static void name_drives(DrivePlan *plan)
{
    for (unsigned i = 0; i < PC_IDE_DRIVES; i++)
        if (plan->ide[i])
            name_drive(plan->ide[i], is_cdrom(plan->ide[i]) ? "ide%u-cd%u" : "ide%u-hd%u", i / 2,
                       i % 2);
    for (unsigned i = 0; i < PC_FLOPPIES; i++)
        if (plan->floppy[i])
            name_drive(plan->floppy[i], "floppy%u", i, 0);
    for (unsigned i = 0; i < plan->loose->len; i++)
        name_drive(g_ptr_array_index(plan->loose, i), "none%u", i, 0);
}

static void free_options(void *data)
{
    options_free(data);
}

bool drives_plan(VmConfig *config, DrivePlan *plan, GError **error)
{
    bool cd = config->nodefaults, floppy = config->nodefaults;

    *plan = (DrivePlan){.loose = g_ptr_array_new_with_free_func(free_options)};
    if (!place_drives(config, plan, error) || !place_devices(config, plan, &cd, &floppy, error))
        return false;
    for (unsigned i = 0; i < PC_IDE_DRIVES; i++)
        cd |= plan->ide[i] && is_cdrom(plan->ide[i]);
    if (!cd && !plan->ide[2]) {
        plan->ide[2] = options_new("CD drive");
        options_set(plan->ide[2], "media", "cdrom");
    }
    if (!floppy && !plan->floppy[0])
        plan->floppy[0] = options_new("floppy drive");
    name_drives(plan);
    return true;
}

void drives_plan_clear(DrivePlan *plan)
{
    for (unsigned i = 0; i < PC_IDE_DRIVES; i++)
        options_free(plan->ide[i]);
    for (unsigned i = 0; i < PC_FLOPPIES; i++)
        options_free(plan->floppy[i]);
    if (plan->loose)
        g_ptr_array_free(plan->loose, TRUE);
    *plan = (DrivePlan){0};
}

/* ---- Opening ---- */

static bool open_drive(VmConfig *config, Options *drive, PcDrive *out, GError **error)
{
    static const char *const places[] = {"if",     "index",     "bus",      "unit",
                                         "serial", "bootindex", "device-id"};

    if (config->snapshot && !is_cdrom(drive) && options_has(drive, "file") &&
        !options_has(drive, "snapshot"))
        options_set(drive, "snapshot", "on");
    out->serial = config_keep(config, options_get(drive, "serial"));
    out->id = config_keep(config, options_get(drive, "device-id"));
    out->bootindex = options_has(drive, "bootindex") ? (int)number(drive, "bootindex") : -1;
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++)
        options_remove(drive, places[i]);
    out->blk = blk_open(drive, error);
    if (out->blk)
        return true;
    /* What is wrong with a key already says whose it is. */
    return error && g_str_has_prefix((*error)->message, options_where(drive))
               ? false
               : fail_prefix(error, "%s", options_where(drive));
}

static bool open_plan(VmConfig *config, DrivePlan *plan, GError **error)
{
    PcDrive loose;

    for (unsigned i = 0; i < PC_IDE_DRIVES; i++)
        if (plan->ide[i] && !open_drive(config, plan->ide[i], &config->board.ide[i], error))
            return false;
    for (unsigned i = 0; i < PC_FLOPPIES; i++) {
        if (!plan->floppy[i])
            continue;
        options_set(plan->floppy[i], "media", "floppy");
        if (!open_drive(config, plan->floppy[i], &config->board.floppy[i], error))
            return false;
    }
    for (unsigned i = 0; i < plan->loose->len; i++)
        if (!open_drive(config, g_ptr_array_index(plan->loose, i), &loose, error))
            return false;
    return true;
}

/* Values that are none are told of when the drive is opened. */
static bool is_on(const Options *drive, const char *key, bool on)
{
    return options_get_bool(drive, key, &on, NULL) && on;
}

/* What may be in other machines at the same time says nothing of this one. */
static bool belongs_to_machine(const VmConfig *config, const Options *drive)
{
    return !is_cdrom(drive) && !is_on(drive, "readonly", false) &&
           !is_on(drive, "snapshot", config->snapshot);
}

static void find_first_disk(VmConfig *config, const DrivePlan *plan)
{
    for (unsigned i = 0; i < PC_IDE_DRIVES && !config->first_disk; i++) {
        const Options *drive = plan->ide[i];
        const char *file = drive ? options_get(drive, "file") : NULL;
        g_autofree char *path =
            file && belongs_to_machine(config, drive) ? realpath(file, NULL) : NULL;
        config->first_disk = config_keep(config, path);
    }
}

bool drives_open(VmConfig *config, GError **error)
{
    DrivePlan plan;
    bool planned = drives_plan(config, &plan, error);
    if (planned)
        find_first_disk(config, &plan);
    bool opened = planned && open_plan(config, &plan, error);
    drives_plan_clear(&plan);
    return opened;
}
