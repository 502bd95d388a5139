/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two halves of the ATA core share: ata.c (registers) and ata-io.c (data). */
#ifndef VMRUN_HW_IDE_ATA_PRIVATE_H
#define VMRUN_HW_IDE_ATA_PRIVATE_H

#include "hw/ide/ata.h"

/* Sets the drive's pending interrupt. */
void ata_set_intrq(AtaDrive *drive, bool level);
/* Ends a reset, unless SRST is still set or a request under way. */
void ata_reset_end(AtaDrive *drive);
/* Waits for the request under way and drops its result. */
void ata_drive_quiesce(AtaDrive *drive);
/* Of ata_drive_state. */
void ata_drive_pre_save(void *state);
bool ata_drive_post_load(void *state, GError **error);
/* Forgets a mapped transfer. */
void ata_dma_drop(AtaDrive *drive);

#endif
