/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A floppy drive: its medium's format, where its head stands, the disk change line. */
#ifndef VMRUN_HW_FLOPPY_FLOPPY_H
#define VMRUN_HW_FLOPPY_FLOPPY_H

#include "block/block.h"
#include "hw/core/state.h"

#define FLOPPY_SECTOR       512u
#define FLOPPY_CYLINDER_MAX 85 /* where the head stops */

/* Data rate codes of DSR and CCR. */
enum { RATE_500K, RATE_300K, RATE_250K, RATE_1M };

/* CMOS drive types. */
typedef enum {
    FLOPPY_NONE,
    FLOPPY_360K,
    FLOPPY_1200K,
    FLOPPY_720K,
    FLOPPY_1440K,
    FLOPPY_2880K,
} FloppyType;

typedef struct FloppyFormat {
    uint8_t cylinders, heads, sectors; /* of 512 bytes */
    uint8_t rates;                     /* bit mask of data rate codes that read it */
    FloppyType type;                   /* the least drive that takes it */
} FloppyFormat;

typedef struct FloppyDrive {
    Blk *blk;                   /* NULL: no drive */
    const FloppyFormat *format; /* NULL: no medium */
    FloppyType type;

    uint8_t cylinder; /* where the head is */
    uint8_t id;       /* sector whose ID passes next, from 1 */
    bool changed;     /* DSKCHG */
} FloppyDrive;

extern const StateDesc floppy_drive_state;

/* type: FLOPPY_NONE derives it from the medium; 1.44M without one. */
void floppy_init(FloppyDrive *drive, Blk *blk, FloppyType type);
/* Looks at the medium again. */
void floppy_medium_changed(FloppyDrive *drive);
/* Moves the head; a step with a medium in the drive clears DSKCHG. */
void floppy_seek(FloppyDrive *drive, unsigned cylinder);
/* Byte offset of a sector (from 1) of the medium, or -1 if it has none such. */
int64_t floppy_offset(const FloppyDrive *drive, unsigned cylinder, unsigned head, unsigned sector);
bool floppy_protected(const FloppyDrive *drive);

#endif
