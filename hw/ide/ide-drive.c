/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drives as devices: "ide-hd" and "ide-cd" with their properties, and the buses they plug into.
 */
#include <inttypes.h>

#include "hw/ide/ide.h"
#include "hw/registry.h"

#include "atapi.h"
#include "util/error.h"

#define UNIT_ANY 0xff /* the first free one */

/* Common to both. */
typedef struct IdeConfig {
    Blk *blk;
    char *bus;
    uint8_t unit;
    char *serial, *firmware, *model;
    uint64_t wwn;
} IdeConfig;

typedef struct IdeDrive {
    Device dev;
    IdeConfig config;
} IdeDrive;

typedef struct IdeHd {
    IdeDrive ide;
    uint16_t rotation_rate;
    uint32_t cylinders, heads, sectors;
    AtaDisk disk;
} IdeHd;

typedef struct IdeCd {
    IdeDrive ide;
    AtapiCd cd;
} IdeCd;

/* ---- Buses ---- */

static GPtrArray *buses; /* of AtaChannel; there is one machine a process */

void ide_bus_add(AtaChannel *channel)
{
    if (!buses)
        buses = g_ptr_array_new();
    g_ptr_array_add(buses, channel);
}

void ide_bus_remove(AtaChannel *channel)
{
    g_ptr_array_remove(buses, channel);
}

static AtaChannel *find_bus(const char *name)
{
    for (guint i = 0; buses && i < buses->len; i++) {
        AtaChannel *channel = g_ptr_array_index(buses, i);
        if (!strcmp(channel->name, name))
            return channel;
    }
    return NULL;
}

static bool fail_bus(const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; buses && i < buses->len; i++)
        g_string_append_printf(names, "%s%s", i ? ", " : "",
                               ((AtaChannel *)g_ptr_array_index(buses, i))->name);
    return fail(error, "there is no IDE bus '%s'; there are: %s", name,
                names->len ? names->str : "none");
}

/* The place that bus and unit name, or the first free one of what they leave open. */
static bool find_place(const IdeConfig *config, AtaChannel **channel, unsigned *unit,
                       GError **error)
{
    bool any_bus = !config->bus || !*config->bus;
    if (!any_bus && !find_bus(config->bus))
        return fail_bus(config->bus, error);
    for (guint i = 0; buses && i < buses->len; i++) {
        *channel = g_ptr_array_index(buses, i);
        if (!any_bus && strcmp((*channel)->name, config->bus))
            continue;
        for (*unit = 0; *unit < 2; ++*unit)
            if (!(*channel)->drive[*unit] && (config->unit == UNIT_ANY || config->unit == *unit))
                return true;
    }
    if (any_bus)
        return fail(error, "all IDE units are taken");
    if (config->unit == UNIT_ANY)
        return fail(error, "both units of %s are taken", config->bus);
    return fail(error, "unit %u of %s is taken", config->unit, config->bus);
}

/* ---- Common to both ---- */

static bool check_text(const char *name, const char *text, size_t max, GError **error)
{
    if (strlen(text) > max)
        return fail(error, "%s '%s' is longer than %zu characters", name, text, max);
    return true;
}

static unsigned place_number(const AtaChannel *channel, unsigned unit)
{
    guint bus = 0;
    g_ptr_array_find(buses, channel, &bus);
    return bus * 2 + unit;
}

/* The strings that IDENTIFY shows; a serial number is made from the place where none was given. */
static bool make_identity(IdeConfig *config, unsigned place, AtaIdentity *identity, GError **error)
{
    if (!config->serial)
        config->serial = g_strdup_printf("QM%05u", place + 1);
    *identity = (AtaIdentity){.serial = config->serial,
                              .firmware = config->firmware,
                              .model = config->model,
                              .wwn = config->wwn};
    return check_text("serial", config->serial, 20, error) &&
           check_text("ver", config->firmware, 8, error) &&
           check_text("model", config->model, 40, error);
}

/* Finds the place and takes the drive over. */
static bool take_drive(IdeDrive *drive, const BlkDevOps *ops, void *opaque, AtaIdentity *identity,
                       AtaChannel **channel, GError **error)
{
    IdeConfig *config = &drive->config;
    unsigned unit;
    if (!find_place(config, channel, &unit, error) ||
        !make_identity(config, place_number(*channel, unit), identity, error))
        return fail_prefix(error, "%s", drive->dev.cls->name);
    if (config->blk && !blk_attach_device(config->blk, ops, opaque, drive->dev.id, error))
        return fail_prefix(error, "%s", drive->dev.cls->name);
    g_free(config->bus);
    config->bus = g_strdup((*channel)->name);
    config->unit = (uint8_t)unit;
    return true;
}

static void describe_drive(const IdeConfig *config, GString *out)
{
    const Blk *blk = config->blk;
    const char *file = blk ? blk_file_name(blk) : NULL;
    g_string_append_printf(out, "    %s unit %u: %s: %s", config->bus, config->unit,
                           blk ? blk_id(blk) : "no drive", file ? file : "no medium");
    if (file)
        g_string_append_printf(out, " (%s, %" PRIu64 " bytes)", blk_format_name(blk),
                               blk_size(blk));
    g_string_append_c(out, '\n');
}

/* ---- ide-hd ---- */

static bool read_geometry(const IdeHd *hd, DiskGeometry *geometry, GError **error)
{
    if (!hd->cylinders || !hd->heads || !hd->sectors)
        return fail(error, "ide-hd: cyls, heads and secs are to be given together");
    *geometry = (DiskGeometry){hd->cylinders, (uint8_t)hd->heads, (uint8_t)hd->sectors};
    return true;
}

static bool check_disk(const Blk *blk, GError **error)
{
    if (!blk)
        return fail(error, "ide-hd: drive=ID is missing");
    if (!blk_has_medium(blk) || blk_size(blk) < ATA_SECTOR)
        return fail(error, "ide-hd: drive '%s' is empty: a disk needs at least a sector",
                    blk_id(blk));
    if (blk_readonly(blk))
        return fail(error,
                    "ide-hd: drive '%s' is read-only, which IDE disks cannot be: use snapshot=on "
                    "or media=cdrom",
                    blk_id(blk));
    return true;
}

/* The guest sees it at its next IDENTIFY. */
static void ide_hd_resized(void *opaque, Blk *blk)
{
    IdeHd *hd = opaque;
    hd->disk.sectors = MAX(blk_size(blk) / ATA_SECTOR, 1);
}

static bool ide_hd_realize(Device *dev, GError **error)
{
    static const BlkDevOps ops = {.resized = ide_hd_resized};
    IdeHd *hd = (IdeHd *)dev;
    IdeConfig *config = &hd->ide.config;
    bool own = hd->cylinders || hd->heads || hd->sectors;
    DiskGeometry geometry;
    AtaIdentity identity;
    AtaChannel *channel;
    if (!check_disk(config->blk, error) || (own && !read_geometry(hd, &geometry, error)) ||
        !take_drive(&hd->ide, &ops, hd, &identity, &channel, error))
        return false;
    identity.rotation_rate = hd->rotation_rate;
    ata_disk_init(&hd->disk, dev->machine, config->blk, &identity, own ? &geometry : NULL);
    return ata_drive_attach(&hd->disk.ata, channel, config->unit, error);
}

static void ide_hd_reset(Device *dev)
{
    ata_drive_reset(&((IdeHd *)dev)->disk.ata);
}

static void ide_hd_unrealize(Device *dev)
{
    IdeHd *hd = (IdeHd *)dev;
    ata_drive_fini(&hd->disk.ata);
    blk_detach_device(hd->ide.config.blk);
}

static void ide_hd_describe(Device *dev, GString *out)
{
    const IdeHd *hd = (const IdeHd *)dev;
    const DiskGeometry *g = &hd->disk.defaults;
    if (!dev->realized)
        return;
    describe_drive(&hd->ide.config, out);
    g_string_append_printf(out, "    %" PRIu64 " sectors, CHS %u/%u/%u\n", hd->disk.sectors,
                           g->cylinders, g->heads, g->sectors);
}

static const StateField ide_hd_fields[] = {
    STATE_HOST(IdeHd, ide),
    STATE_HOST(IdeHd, rotation_rate),
    STATE_HOST(IdeHd, cylinders),
    STATE_HOST(IdeHd, heads),
    STATE_HOST(IdeHd, sectors),
    STATE_STRUCT(IdeHd, disk, &ata_disk_state),
    STATE_END,
};
static const StateDesc ide_hd_state = {
    .name = "ide-hd", .version = 1, .size = sizeof(IdeHd), .fields = ide_hd_fields};

#define DRIVE_PROPS(S, model_text)                                                                 \
    PROP_FIELD(S, ide.config.blk, "drive", PROP_LINK, .help = "id of the -drive",                  \
               .resolve = blk_resolve),                                                            \
        PROP_FIELD(S, ide.config.bus, "bus", PROP_STRING, .help = "ide.0 or ide.1"),               \
        PROP_FIELD(S, ide.config.unit, "unit", PROP_UINT, .value = UNIT_ANY, .max = UNIT_ANY,      \
                   .help = "0 master, 1 slave, 255 the first free one"),                           \
        PROP_FIELD(S, ide.config.serial, "serial", PROP_STRING, .help = "up to 20 characters"),    \
        PROP_FIELD(S, ide.config.firmware, "ver", PROP_STRING, .text = "1.0",                      \
                   .help = "firmware version, up to 8 characters"),                                \
        PROP_FIELD(S, ide.config.model, "model", PROP_STRING, .text = (model_text),                \
                   .help = "up to 40 characters")

static const Prop ide_hd_props[] = {
    DRIVE_PROPS(IdeHd, "VMRUN HARDDISK"),
    PROP_FIELD(IdeHd, ide.config.wwn, "wwn", PROP_UINT, .help = "world wide name, 0: none"),
    PROP_FIELD(IdeHd, rotation_rate, "rotation_rate", PROP_UINT,
               .help = "0 not told, 1 solid state, else rpm"),
    PROP_FIELD(IdeHd, cylinders, "cyls", PROP_UINT, .max = 65535, .help = "CHS geometry"),
    PROP_FIELD(IdeHd, heads, "heads", PROP_UINT, .max = 16, .help = "CHS geometry"),
    PROP_FIELD(IdeHd, sectors, "secs", PROP_UINT, .max = 255, .help = "CHS geometry"),
    PROP_END,
};

const DeviceClass ide_hd_class = {
    .name = "ide-hd",
    .desc = "IDE hard disk",
    .bus = BUS_IDE,
    .size = sizeof(IdeHd),
    .props = ide_hd_props,
    .state = &ide_hd_state,
    .realize = ide_hd_realize,
    .reset = ide_hd_reset,
    .unrealize = ide_hd_unrealize,
    .describe = ide_hd_describe,
};

/* ---- ide-cd ---- */

static bool ide_cd_realize(Device *dev, GError **error)
{
    IdeCd *cd = (IdeCd *)dev;
    AtaIdentity identity;
    AtaChannel *channel;
    if (!take_drive(&cd->ide, &atapi_blk_ops, &cd->cd, &identity, &channel, error))
        return false;
    atapi_init(&cd->cd, dev->machine, cd->ide.config.blk, &identity);
    return ata_drive_attach(&cd->cd.ata, channel, cd->ide.config.unit, error);
}

static void ide_cd_reset(Device *dev)
{
    ata_drive_reset(&((IdeCd *)dev)->cd.ata);
}

static void ide_cd_unrealize(Device *dev)
{
    IdeCd *cd = (IdeCd *)dev;
    ata_drive_fini(&cd->cd.ata);
    if (cd->ide.config.blk)
        blk_detach_device(cd->ide.config.blk);
}

static void ide_cd_describe(Device *dev, GString *out)
{
    const IdeCd *cd = (const IdeCd *)dev;
    if (!dev->realized)
        return;
    describe_drive(&cd->ide.config, out);
    g_string_append_printf(out, "    tray %s, %s\n", cd->cd.tray_open ? "open" : "closed",
                           cd->cd.locked ? "locked" : "not locked");
}

static const StateField ide_cd_fields[] = {
    STATE_HOST(IdeCd, ide),
    STATE_STRUCT(IdeCd, cd, &atapi_cd_state),
    STATE_END,
};
static const StateDesc ide_cd_state = {
    .name = "ide-cd", .version = 1, .size = sizeof(IdeCd), .fields = ide_cd_fields};

static const Prop ide_cd_props[] = {
    DRIVE_PROPS(IdeCd, "VMRUN DVD-ROM"),
    PROP_END,
};

const DeviceClass ide_cd_class = {
    .name = "ide-cd",
    .desc = "IDE CD and DVD drive",
    .bus = BUS_IDE,
    .size = sizeof(IdeCd),
    .props = ide_cd_props,
    .state = &ide_cd_state,
    .realize = ide_cd_realize,
    .reset = ide_cd_reset,
    .unrealize = ide_cd_unrealize,
    .describe = ide_cd_describe,
};

/* ---- For controllers and boards ---- */

bool ide_drive_add(Device *controller, const char *bus, unsigned unit, Blk *blk, GError **error)
{
    const DeviceClass *cls = blk_is_cdrom(blk) ? &ide_cd_class : &ide_hd_class;
    Device *dev = device_new(controller->machine, controller, cls, NULL);
    IdeConfig *config = &((IdeDrive *)dev)->config;
    config->blk = blk;
    config->bus = g_strdup(bus);
    config->unit = (uint8_t)unit;
    if (device_realize(dev, error))
        return true;
    device_free(dev);
    return false;
}

typedef struct Place {
    const char *bus;
    unsigned unit;
    Device *found;
} Place;

static void match_place(Device *dev, void *opaque)
{
    Place *place = opaque;
    if (!dev->realized || (dev->cls != &ide_hd_class && dev->cls != &ide_cd_class))
        return;
    const IdeConfig *config = &((const IdeDrive *)dev)->config;
    if (config->unit == place->unit && !strcmp(config->bus, place->bus))
        place->found = dev;
}

Device *ide_drive_find(Machine *machine, const char *bus, unsigned unit)
{
    Place place = {bus, unit, NULL};
    device_foreach(machine, match_place, &place);
    return place.found;
}

bool ide_drive_is_cd(const Device *drive)
{
    return drive->cls == &ide_cd_class;
}

bool ide_drive_geometry(const Device *drive, unsigned *cylinders, unsigned *heads,
                        unsigned *sectors)
{
    if (ide_drive_is_cd(drive))
        return false;
    const DiskGeometry *g = &((const IdeHd *)drive)->disk.defaults;
    *cylinders = g->cylinders;
    *heads = g->heads;
    *sectors = g->sectors;
    return true;
}

/* INT 13h has 1024 cylinders; ECHS folds up to 131072 tracks into them by more heads. */
IdeTranslation ide_drive_translation(const Device *drive)
{
    unsigned cylinders, heads, sectors;
    if (!ide_drive_geometry(drive, &cylinders, &heads, &sectors) || cylinders <= 1024)
        return IDE_TRANSLATION_NONE;
    return cylinders * heads <= 131072 ? IDE_TRANSLATION_LARGE : IDE_TRANSLATION_LBA;
}
