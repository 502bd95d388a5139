/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An ATA hard disk on the ATA core: state and configuration. */
#ifndef VMRUN_HW_IDE_ATA_DISK_H
#define VMRUN_HW_IDE_ATA_DISK_H

#include "hw/ide/ata.h"

/* Sectors in a READ/WRITE MULTIPLE block at most, and after power-on. */
#define ATA_MULTIPLE_MAX 16
/* 512-byte blocks of ranges in one DATA SET MANAGEMENT. */
#define ATA_TRIM_BLOCKS 8

typedef enum {
    DISK_NONE,
    DISK_PIO_READ,
    DISK_PIO_WRITE,
    DISK_DMA_READ,
    DISK_DMA_WRITE,
    DISK_VERIFY,
    DISK_LOCATE, /* after a failed DMA read: looks for the sector at fault */
    DISK_FLUSH,
    DISK_TRIM,
    DISK_DATA, /* the buffer holds IDENTIFY data */
    DISK_JOBS
} DiskJob;

typedef struct DiskGeometry {
    uint32_t cylinders;
    uint8_t heads, sectors;
} DiskGeometry;

/* What IDENTIFY tells; strings belong to the owner. */
typedef struct AtaIdentity {
    const char *serial, *firmware, *model;
    uint64_t wwn;           /* 0: none */
    uint16_t rotation_rate; /* 0: not reported, 1: solid state, else rpm */
} AtaIdentity;

typedef struct AtaDisk {
    AtaDrive ata;
    AtaIdentity identity;
    uint64_t sectors;      /* size of the disk */
    DiskGeometry defaults; /* after power-on */

    DiskGeometry geometry; /* by INITIALIZE DEVICE PARAMETERS */
    uint8_t job;
    bool ext;                       /* the command takes a 48-bit address */
    bool narrow;                    /* after a read error: sector by sector */
    uint8_t multiple;               /* sectors in a block of READ/WRITE MULTIPLE; 0: disabled */
    uint8_t power;                  /* as CHECK POWER MODE returns it */
    bool look_ahead;                /* SET FEATURES AAh, 55h */
    bool keep_settings;             /* SET FEATURES 66h: a software reset keeps settings */
    uint8_t next_power;             /* after the flush under way */
    uint8_t pio_mode, mwdma, udma;  /* mwdma, udma: selected mode, 0xff: none */
    uint8_t block;                  /* sectors in a PIO block of this command */
    uint32_t left;                  /* sectors still to do */
    uint32_t ready;                 /* PIO read: sectors in the buffer from the window on */
    uint32_t trim_count, trim_next; /* ranges in the buffer */
    uint64_t lba;                   /* first of the sectors still to do */
} AtaDisk;

extern const StateDesc ata_disk_state;

/* geometry: NULL derives it from the size. */
void ata_disk_init(AtaDisk *disk, Machine *machine, Blk *blk, const AtaIdentity *identity,
                   const DiskGeometry *geometry);
/* ATA8-ACS 7.16 into 512 bytes. */
void ata_disk_identify(const AtaDisk *disk, uint8_t *data);

/* ---- Shared with ATAPI ---- */
/* text into words, first character in the high byte, padded with spaces. */
void ata_identify_string(uint8_t *data, unsigned word, unsigned words, const char *text);
/* The integrity word (255). */
void ata_identify_checksum(uint8_t *data);
/* Words 63 and 88: supported modes and the selected one. */
void ata_identify_modes(uint8_t *data, uint8_t mwdma, uint8_t udma);
/* SET FEATURES 03h: the transfer mode in count; false if there is none such. */
bool ata_set_transfer_mode(uint8_t count, uint8_t *pio_mode, uint8_t *mwdma, uint8_t *udma);
/* Words 93: how the reset found the drive number and cable. */
uint16_t ata_identify_reset_result(unsigned unit);

#endif
