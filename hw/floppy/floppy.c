/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Floppy drives and the formats of PC diskettes, told apart by the size of the image. */
#include "floppy.h"

#include "util/error.h"
#include "util/log.h"

#define R(rate) (1 << (rate))

/* The first of a size is the one that is taken; the rest of the order does not matter. */
static const FloppyFormat formats[] = {
    {80, 2, 18, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 36, R(RATE_1M), FLOPPY_2880K},
    {80, 2, 15, R(RATE_500K), FLOPPY_1200K},
    {80, 2, 9, R(RATE_250K), FLOPPY_720K},
    {40, 2, 9, R(RATE_300K) | R(RATE_250K), FLOPPY_360K},
    {40, 2, 8, R(RATE_300K) | R(RATE_250K), FLOPPY_360K},
    {40, 1, 9, R(RATE_300K) | R(RATE_250K), FLOPPY_360K},
    {40, 1, 8, R(RATE_300K) | R(RATE_250K), FLOPPY_360K},
    /* larger than life */
    {80, 2, 20, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 21, R(RATE_500K), FLOPPY_1440K},
    {82, 2, 21, R(RATE_500K), FLOPPY_1440K},
    {83, 2, 21, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 22, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 23, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 24, R(RATE_500K), FLOPPY_1440K},
    {80, 2, 39, R(RATE_1M), FLOPPY_2880K},
    {80, 2, 40, R(RATE_1M), FLOPPY_2880K},
    {80, 2, 44, R(RATE_1M), FLOPPY_2880K},
    {80, 2, 48, R(RATE_1M), FLOPPY_2880K},
    {80, 2, 10, R(RATE_250K), FLOPPY_720K},
    {82, 2, 10, R(RATE_250K), FLOPPY_720K},
    {83, 2, 10, R(RATE_250K), FLOPPY_720K},
    {80, 2, 13, R(RATE_250K), FLOPPY_720K},
    {80, 2, 14, R(RATE_250K), FLOPPY_720K},
};

static const StateField drive_fields[] = {
    STATE_HOST(FloppyDrive, blk),
    STATE_HOST(FloppyDrive, format),
    STATE_HOST(FloppyDrive, type),
    STATE_U(FloppyDrive, cylinder, 0),
    STATE_U(FloppyDrive, id, 1),
    STATE_U(FloppyDrive, changed, 1),
    STATE_END,
};

static bool drive_post_load(void *state, GError **error)
{
    const FloppyDrive *drive = state;
    if (drive->cylinder > FLOPPY_CYLINDER_MAX)
        return fail(error, "floppy: the head cannot be at cylinder %u", drive->cylinder);
    return true;
}

const StateDesc floppy_drive_state = {
    .name = "floppy",
    .version = 1,
    .size = sizeof(FloppyDrive),
    .fields = drive_fields,
    .post_load = drive_post_load,
};

static uint64_t format_bytes(const FloppyFormat *format)
{
    return (uint64_t)format->cylinders * format->heads * format->sectors * FLOPPY_SECTOR;
}

/* The format of that size; else the smallest common one that holds it; else the largest. */
static const FloppyFormat *find_format(uint64_t size)
{
    static const uint8_t common[] = {7, 6, 5, 4, 3, 2, 0, 1}; /* by size */
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
        if (format_bytes(&formats[i]) == size)
            return &formats[i];
    for (size_t i = 0; i < G_N_ELEMENTS(common); i++)
        if (format_bytes(&formats[common[i]]) >= size)
            return &formats[common[i]];
    return &formats[1];
}

static void look(FloppyDrive *drive)
{
    drive->format = NULL;
    if (!drive->blk || !blk_has_medium(drive->blk))
        return;
    uint64_t size = blk_size(drive->blk);
    drive->format = find_format(size);
    uint64_t bytes = format_bytes(drive->format);
    if (bytes < size)
        report_warn("floppy '%s': %" G_GUINT64_FORMAT " bytes are more than a diskette has; the "
                    "guest sees the first %" G_GUINT64_FORMAT,
                    blk_id(drive->blk), size, bytes);
    else if (bytes > size)
        log_printf(LOG_BLOCK,
                   "fdc: %s: the image ends before the format's %" G_GUINT64_FORMAT " bytes",
                   blk_id(drive->blk), bytes);
}

void floppy_init(FloppyDrive *drive, Blk *blk, FloppyType type)
{
    drive->blk = blk;
    look(drive);
    if (!blk)
        drive->type = FLOPPY_NONE;
    else if (type != FLOPPY_NONE)
        drive->type = type;
    else
        drive->type = drive->format ? drive->format->type : FLOPPY_1440K;
}

void floppy_medium_changed(FloppyDrive *drive)
{
    drive->changed = true;
    look(drive);
}

void floppy_seek(FloppyDrive *drive, unsigned cylinder)
{
    cylinder = MIN(cylinder, FLOPPY_CYLINDER_MAX);
    if (cylinder != drive->cylinder && drive->format)
        drive->changed = false;
    drive->cylinder = (uint8_t)cylinder;
}

int64_t floppy_offset(const FloppyDrive *drive, unsigned cylinder, unsigned head, unsigned sector)
{
    const FloppyFormat *f = drive->format;
    if (!f || cylinder >= f->cylinders || head >= f->heads || !sector || sector > f->sectors)
        return -1;
    uint64_t at =
        ((uint64_t)(cylinder * f->heads + head) * f->sectors + sector - 1) * FLOPPY_SECTOR;
    return at + FLOPPY_SECTOR <= blk_size(drive->blk) ? (int64_t)at : -1;
}

bool floppy_protected(const FloppyDrive *drive)
{
    return drive->blk && blk_has_medium(drive->blk) && blk_readonly(drive->blk);
}
