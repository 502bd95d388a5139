/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One channel of a bus master IDE controller: the engine that moves an ATA channel's data through
 * physical region descriptors (Programming Interface for Bus Master IDE Controller, revision 1.0;
 * Intel 82371SB (PIIX3) datasheet, 2.7).
 */
#ifndef VMRUN_HW_IDE_BMDMA_H
#define VMRUN_HW_IDE_BMDMA_H

#include "hw/ide/ata.h"
#include "hw/pci/pci.h"

typedef struct BmDma {
    PciDevice *pci;
    AtaChannel *channel;

    uint8_t command; /* BMICOM */
    uint8_t status;  /* BMISTA */
    uint32_t table;  /* BMIDTP */
    bool exhausted;  /* the transfer ends where the descriptors do */
} BmDma;

extern const StateDesc bmdma_state;

void bmdma_init(BmDma *bm, PciDevice *pci, AtaChannel *channel);
/* Registers 0 to 7 of the channel, a byte at a time. */
uint8_t bmdma_read(const BmDma *bm, unsigned reg);
void bmdma_write(BmDma *bm, unsigned reg, uint8_t value);
/* INTRQ of the channel changed. */
void bmdma_intrq(BmDma *bm, bool level);
/* For the controller's AtaHostOps. */
bool bmdma_running(const BmDma *bm);
AtaDmaResult bmdma_map(BmDma *bm, bool to_memory, uint64_t skip, uint64_t bytes, GArray *iov);
void bmdma_end(BmDma *bm);

#endif
