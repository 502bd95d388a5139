/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDE drives as devices: what boards and controllers see.
 *
 * A controller ("piix3-ide") has channels named ide.0 and ide.1; drives are devices of their own,
 * "ide-hd" and "ide-cd", with the controller as parent, that plug into a channel by their
 * properties bus and unit.  A controller makes one for each drive that its properties drive0 to
 * drive3 link to (index = bus * 2 + unit).  A board that wants more than the defaults creates the
 * devices itself, on the realized controller, and sets their properties.  Main lock held.
 */
#ifndef VMRUN_HW_IDE_IDE_H
#define VMRUN_HW_IDE_IDE_H

#include "hw/ide/ata.h"

/* The drive at a place of bus "ide.0" or "ide.1", or NULL. */
Device *ide_drive_find(Machine *machine, const char *bus, unsigned unit);
bool ide_drive_is_cd(const Device *drive);
/* A hard disk's geometry after power-on, for CMOS; false for a CD-ROM drive. */
bool ide_drive_geometry(const Device *drive, unsigned *cylinders, unsigned *heads,
                        unsigned *sectors);
/* The BIOS translation for CMOS 39h, two bits a drive. */
typedef enum {
    IDE_TRANSLATION_NONE,
    IDE_TRANSLATION_LBA,
    IDE_TRANSLATION_LARGE,
} IdeTranslation;
IdeTranslation ide_drive_translation(const Device *drive);

/* For controllers: creates and realizes a drive with default properties on a channel: ide-cd for a
 * CD-ROM Blk, else ide-hd. */
bool ide_drive_add(Device *controller, const char *bus, unsigned unit, Blk *blk, GError **error);
/* For controllers: makes a channel known under its name, until it is removed. */
void ide_bus_add(AtaChannel *channel);
void ide_bus_remove(AtaChannel *channel);

#endif
