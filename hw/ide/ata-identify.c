/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDENTIFY DEVICE data (ATA8-ACS 7.16, table 29) and the words that IDENTIFY PACKET DEVICE shares.
 */
#include "ata-disk.h"
#include "util/bytes.h"

enum { MWDMA_MODES = 0x07, UDMA_MODES = 0x3f }; /* 0 to 2, 0 to 5 */

static void put(uint8_t *data, unsigned word, uint16_t value)
{
    st16_le(data + word * 2, value);
}

void ata_identify_string(uint8_t *data, unsigned word, unsigned words, const char *text)
{
    for (unsigned i = 0; i < words * 2; i++) {
        char c = *text ? *text++ : ' ';
        data[word * 2 + (i ^ 1)] = (uint8_t)c;
    }
}

void ata_identify_checksum(uint8_t *data)
{
    uint8_t sum = 0;
    data[510] = 0xa5;
    for (unsigned i = 0; i < 511; i++)
        sum = (uint8_t)(sum + data[i]);
    data[511] = (uint8_t)-sum;
}

void ata_identify_modes(uint8_t *data, uint8_t mwdma, uint8_t udma)
{
    put(data, 63, (uint16_t)(MWDMA_MODES | (mwdma != 0xff ? 1 << (8 + mwdma) : 0)));
    put(data, 88, (uint16_t)(UDMA_MODES | (udma != 0xff ? 1 << (8 + udma) : 0)));
    put(data, 64, 0x0003); /* PIO modes 3 and 4 */
    put(data, 65, 120);    /* cycle times in ns: multiword DMA least and recommended, */
    put(data, 66, 120);
    put(data, 67, 120); /* PIO without and with IORDY */
    put(data, 68, 120);
}

uint16_t ata_identify_reset_result(unsigned unit)
{
    uint16_t common = 1 << 14 | 1 << 13;  /* valid; 80-conductor cable */
    uint16_t found = 1 << 3 | 1 << 1 | 1; /* passed diagnostics, number by jumper */
    return common | (uint16_t)(unit ? found << 8 : found);
}

bool ata_set_transfer_mode(uint8_t count, uint8_t *pio_mode, uint8_t *mwdma, uint8_t *udma)
{
    unsigned mode = count & 7;
    switch (count >> 3) {
    case 0: /* PIO default mode, with or without IORDY */
        if (mode > 1)
            return false;
        *pio_mode = 0;
        return true;
    case 1: /* PIO flow control mode */
        if (mode > 4)
            return false;
        *pio_mode = (uint8_t)mode;
        return true;
    case 4:
        if (!(MWDMA_MODES >> mode & 1))
            return false;
        *mwdma = (uint8_t)mode;
        *udma = 0xff;
        return true;
    case 8:
        if (!(UDMA_MODES >> mode & 1))
            return false;
        *udma = (uint8_t)mode;
        *mwdma = 0xff;
        return true;
    }
    return false;
}

static void put_geometry(const AtaDisk *disk, uint8_t *data)
{
    const DiskGeometry *g = &disk->geometry;
    uint32_t capacity = g->cylinders * g->heads * g->sectors;
    put(data, 1, (uint16_t)disk->defaults.cylinders);
    put(data, 3, disk->defaults.heads);
    put(data, 6, disk->defaults.sectors);
    put(data, 54, (uint16_t)g->cylinders);
    put(data, 55, g->heads);
    put(data, 56, g->sectors);
    put(data, 57, (uint16_t)capacity);
    put(data, 58, (uint16_t)(capacity >> 16));
    uint32_t lba28 = (uint32_t)MIN(disk->sectors, 0x0fffffff);
    put(data, 60, (uint16_t)lba28);
    put(data, 61, (uint16_t)(lba28 >> 16));
    for (unsigned i = 0; i < 4; i++)
        put(data, 100 + i, (uint16_t)(disk->sectors >> (16 * i)));
}

/* Words 82 to 87: supported and enabled. */
static void put_features(const AtaDisk *disk, uint8_t *data)
{
    uint16_t wwn = disk->identity.wwn ? 1 << 8 : 0;
    uint16_t always82 = 1 << 14 | 1 << 3;           /* NOP, power management */
    uint16_t words83 = 1 << 13 | 1 << 12 | 1 << 10; /* FLUSH EXT, FLUSH, 48-bit */
    uint16_t write_cache = blk_write_cache(disk->ata.blk) ? 1 << 5 : 0;
    uint16_t look_ahead = disk->look_ahead ? 1 << 6 : 0;
    put(data, 82, always82 | 1 << 6 | 1 << 5);
    put(data, 83, 1 << 14 | words83);
    put(data, 84, (uint16_t)(1 << 14 | 1 << 6 | wwn)); /* FUA */
    put(data, 85, (uint16_t)(always82 | write_cache | look_ahead));
    put(data, 86, words83);
    put(data, 87, (uint16_t)(1 << 14 | 1 << 6 | wwn));
    if (wwn) /* most significant word first */
        for (unsigned i = 0; i < 4; i++)
            put(data, 108 + i, (uint16_t)(disk->identity.wwn >> (48 - 16 * i)));
}

void ata_disk_identify(const AtaDisk *disk, uint8_t *data)
{
    memset(data, 0, ATA_SECTOR);
    put(data, 0, 0x0040); /* ATA, fixed */
    ata_identify_string(data, 10, 10, disk->identity.serial);
    ata_identify_string(data, 23, 4, disk->identity.firmware);
    ata_identify_string(data, 27, 20, disk->identity.model);
    put(data, 47, 0x8000 | ATA_MULTIPLE_MAX);
    put(data, 49, 1 << 11 | 1 << 10 | 1 << 9 | 1 << 8); /* IORDY and its control, LBA, DMA */
    put(data, 50, 1 << 14);
    put(data, 51, 0x0200);
    put(data, 53, 0x0007); /* words 54-58, 64-70 and 88 are valid */
    put(data, 59, disk->multiple ? 1 << 8 | disk->multiple : 0);
    put_geometry(disk, data);
    ata_identify_modes(data, disk->mwdma, disk->udma);
    put(data, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8-ACS */
    put_features(disk, data);
    put(data, 93, ata_identify_reset_result(disk->ata.unit));
    put(data, 105, ATA_TRIM_BLOCKS);
    put(data, 106, 1 << 14); /* a logical sector is a physical one */
    put(data, 169, 1);       /* DATA SET MANAGEMENT with TRIM */
    put(data, 217, disk->identity.rotation_rate);
    ata_identify_checksum(data);
}
