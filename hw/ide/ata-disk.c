/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ATA hard disk: commands of the General, 48-bit Address, Power Management and Write Cache
 * feature sets and DATA SET MANAGEMENT (ATA8-ACS clause 7), CHS translation of ATA/ATAPI-5.
 *
 * Reads by PIO fetch up to 256 sectors at once into the drive's buffer and hand them out block by
 * block; writes by PIO go to the disk block by block; DMA moves between disk and guest memory
 * without a copy.
 */
#include "ata-disk.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

enum { POWER_STANDBY = 0x00, POWER_ACTIVE = 0xff };

static bool disk_post_load(void *state, GError **error);

static const StateField geometry_fields[] = {
    STATE_U_KEEP(DiskGeometry, cylinders),
    STATE_U_KEEP(DiskGeometry, heads),
    STATE_U_KEEP(DiskGeometry, sectors),
    STATE_END,
};
static const StateDesc geometry_state = {"ata-geometry",  1,    sizeof(DiskGeometry),
                                         geometry_fields, NULL, NULL};

static const StateField disk_fields[] = {
    STATE_STRUCT(AtaDisk, ata, &ata_drive_state),
    STATE_HOST(AtaDisk, identity),
    STATE_HOST(AtaDisk, sectors),
    STATE_HOST(AtaDisk, defaults),
    STATE_STRUCT(AtaDisk, geometry, &geometry_state),
    STATE_U(AtaDisk, job, DISK_NONE),
    STATE_U(AtaDisk, ext, 0),
    STATE_U(AtaDisk, narrow, 0),
    STATE_U(AtaDisk, multiple, ATA_MULTIPLE_MAX),
    STATE_U(AtaDisk, power, POWER_ACTIVE),
    STATE_U(AtaDisk, look_ahead, 1),
    STATE_U(AtaDisk, keep_settings, 0),
    STATE_U(AtaDisk, next_power, POWER_ACTIVE),
    STATE_U(AtaDisk, pio_mode, 4),
    STATE_U(AtaDisk, mwdma, 0xff),
    STATE_U(AtaDisk, udma, 5),
    STATE_U(AtaDisk, block, 1),
    STATE_U(AtaDisk, left, 0),
    STATE_U(AtaDisk, ready, 0),
    STATE_U(AtaDisk, trim_count, 0),
    STATE_U(AtaDisk, trim_next, 0),
    STATE_U(AtaDisk, lba, 0),
    STATE_END,
};
const StateDesc ata_disk_state = {"ata-disk",  1,    sizeof(AtaDisk),
                                  disk_fields, NULL, disk_post_load};

static AtaDisk *disk_of(AtaDrive *drive)
{
    return container_of(drive, AtaDisk, ata);
}

/* ---- Addresses ---- */

/* Sectors that the current CHS translation reaches are cylinder, head, sector (from 1). */
static bool chs_to_lba(const AtaDisk *disk, uint64_t *lba)
{
    const uint8_t *now = disk->ata.tf.now;
    const DiskGeometry *g = &disk->geometry;
    uint32_t cylinder = (uint32_t)now[ATA_REG_LBA_HIGH] << 8 | now[ATA_REG_LBA_MID];
    uint32_t head = now[ATA_REG_DEVICE] & 15, sector = now[ATA_REG_LBA_LOW];
    if (cylinder >= g->cylinders || head >= g->heads || !sector || sector > g->sectors)
        return false;
    *lba = ((uint64_t)cylinder * g->heads + head) * g->sectors + sector - 1;
    return true;
}

static bool get_lba(const AtaDisk *disk, bool ext, uint64_t *lba)
{
    const uint8_t *now = disk->ata.tf.now, *before = disk->ata.tf.before;
    uint64_t low24 =
        (uint64_t)now[ATA_REG_LBA_HIGH] << 16 | now[ATA_REG_LBA_MID] << 8 | now[ATA_REG_LBA_LOW];
    if (ext) {
        *lba = (uint64_t)before[ATA_REG_LBA_HIGH] << 40 | (uint64_t)before[ATA_REG_LBA_MID] << 32 |
               (uint64_t)before[ATA_REG_LBA_LOW] << 24 | low24;
        return true;
    }
    if (!(now[ATA_REG_DEVICE] & ATA_DEV_LBA))
        return chs_to_lba(disk, lba);
    *lba = (uint64_t)(now[ATA_REG_DEVICE] & 15) << 24 | low24;
    return true;
}

/* Shows a sector's address in the task file, in the form that the command used. */
static void put_lba(AtaDisk *disk, uint64_t lba)
{
    uint8_t *now = disk->ata.tf.now, *before = disk->ata.tf.before;
    const DiskGeometry *g = &disk->geometry;
    if (!disk->ext && !(now[ATA_REG_DEVICE] & ATA_DEV_LBA)) {
        uint64_t track = lba / g->sectors;
        uint64_t cylinder = track / g->heads;
        now[ATA_REG_LBA_LOW] = (uint8_t)(lba % g->sectors + 1);
        now[ATA_REG_LBA_MID] = (uint8_t)cylinder;
        now[ATA_REG_LBA_HIGH] = (uint8_t)(cylinder >> 8);
        now[ATA_REG_DEVICE] = (uint8_t)((now[ATA_REG_DEVICE] & 0xf0) | track % g->heads);
        return;
    }
    now[ATA_REG_LBA_LOW] = (uint8_t)lba;
    now[ATA_REG_LBA_MID] = (uint8_t)(lba >> 8);
    now[ATA_REG_LBA_HIGH] = (uint8_t)(lba >> 16);
    if (disk->ext) {
        before[ATA_REG_LBA_LOW] = (uint8_t)(lba >> 24);
        before[ATA_REG_LBA_MID] = (uint8_t)(lba >> 32);
        before[ATA_REG_LBA_HIGH] = (uint8_t)(lba >> 40);
    } else {
        now[ATA_REG_DEVICE] = (uint8_t)((now[ATA_REG_DEVICE] & 0xf0) | (lba >> 24 & 15));
    }
}

static void fail_at(AtaDisk *disk, uint64_t lba, uint8_t error)
{
    disk->job = DISK_NONE;
    put_lba(disk, lba);
    ata_fail(&disk->ata, error);
}

/* Takes address and count of a media command; on failure the guest has been told. */
static bool take_address(AtaDisk *disk, bool ext)
{
    const uint8_t *now = disk->ata.tf.now, *before = disk->ata.tf.before;
    uint64_t lba;
    disk->ext = ext;
    disk->narrow = false;
    disk->ready = 0;
    disk->left =
        ext ? (uint32_t)before[ATA_REG_COUNT] << 8 | now[ATA_REG_COUNT] : now[ATA_REG_COUNT];
    if (!disk->left)
        disk->left = ext ? 65536 : 256;
    if (!get_lba(disk, ext, &lba) || lba >= disk->sectors || disk->left > disk->sectors - lba) {
        ata_fail(&disk->ata, ATA_ER_IDNF);
        return false;
    }
    disk->lba = lba;
    disk->power = POWER_ACTIVE;
    return true;
}

/* ---- PIO ---- */

static uint32_t block_sectors(const AtaDisk *disk)
{
    return MIN(disk->block, disk->left);
}

/* Fills the buffer from its start, `ready` sectors of which are there already. */
static void read_more(AtaDisk *disk)
{
    uint32_t sectors = disk->narrow ? 1 : MIN(disk->left, ATA_BUFFER_SECTORS);
    ata_submit_buf(&disk->ata, BLK_READ, 0, (disk->lba + disk->ready) * ATA_SECTOR,
                   (uint64_t)sectors * ATA_SECTOR, disk->ready * ATA_SECTOR);
}

static void pio_read_io_done(AtaDisk *disk, int ret)
{
    uint32_t sectors = (uint32_t)(disk->ata.io_bytes / ATA_SECTOR);
    if (ret < 0 && disk->narrow) {
        fail_at(disk, disk->lba + disk->ready, ATA_ER_UNC);
        return;
    }
    if (ret < 0) {
        disk->narrow = true;
        read_more(disk);
        return;
    }
    disk->ready += sectors;
    if (disk->ready < block_sectors(disk))
        read_more(disk);
    else
        ata_pio(&disk->ata, true, 0, block_sectors(disk) * ATA_SECTOR, true);
}

static void pio_read_block_done(AtaDisk *disk)
{
    uint32_t sectors = block_sectors(disk);
    disk->lba += sectors;
    disk->left -= sectors;
    disk->ready -= sectors;
    if (!disk->left) {
        disk->job = DISK_NONE;
        put_lba(disk, disk->lba - 1);
        ata_done_silent(&disk->ata);
    } else if (disk->ready) {
        ata_pio(&disk->ata, true, disk->ata.end, block_sectors(disk) * ATA_SECTOR, true);
    } else {
        read_more(disk);
    }
}

static void pio_write_io_done(AtaDisk *disk, int ret)
{
    uint32_t sectors = block_sectors(disk);
    if (ret < 0) {
        fail_at(disk, disk->lba, ATA_ER_ABRT);
        return;
    }
    disk->lba += sectors;
    disk->left -= sectors;
    if (disk->left) {
        ata_pio(&disk->ata, false, 0, block_sectors(disk) * ATA_SECTOR, true);
        return;
    }
    disk->job = DISK_NONE;
    put_lba(disk, disk->lba - 1);
    ata_done(&disk->ata);
}

static unsigned fua_flag(const AtaDisk *disk)
{
    return disk->ata.command == 0x3d || disk->ata.command == 0xce ? BLK_FUA : 0;
}

static void start_pio(AtaDisk *disk, bool ext, bool write, uint8_t block)
{
    if (!block) { /* READ MULTIPLE while SET MULTIPLE has disabled it */
        ata_abort(&disk->ata);
        return;
    }
    if (!take_address(disk, ext))
        return;
    disk->block = block;
    disk->job = write ? DISK_PIO_WRITE : DISK_PIO_READ;
    if (write)
        ata_pio(&disk->ata, false, 0, block_sectors(disk) * ATA_SECTOR, false);
    else
        read_more(disk);
}

/* ---- DMA ---- */

static void start_dma(AtaDisk *disk, bool ext, bool write)
{
    if (!take_address(disk, ext))
        return;
    disk->job = write ? DISK_DMA_WRITE : DISK_DMA_READ;
    ata_dma_begin(&disk->ata, !write, (uint64_t)disk->left * ATA_SECTOR);
}

static void dma_next_part(AtaDisk *disk)
{
    bool write = disk->job == DISK_DMA_WRITE;
    ata_submit_dma(&disk->ata, write ? BLK_WRITE : BLK_READ, write ? fua_flag(disk) : 0,
                   disk->lba * ATA_SECTOR, (uint64_t)disk->left * ATA_SECTOR);
}

static void dma_io_done(AtaDisk *disk, int ret)
{
    uint32_t sectors = (uint32_t)(disk->ata.io_bytes / ATA_SECTOR);
    if (ret < 0) {
        ata_dma_end(&disk->ata);
        if (disk->job == DISK_DMA_WRITE) {
            fail_at(disk, disk->lba, ATA_ER_ABRT);
            return;
        }
        disk->job = DISK_LOCATE;
        disk->narrow = true;
        disk->left = sectors;
        read_more(disk);
        return;
    }
    disk->lba += sectors;
    disk->left -= MIN(sectors, disk->left);
    if (disk->left) {
        dma_next_part(disk);
        return;
    }
    disk->job = DISK_NONE;
    put_lba(disk, disk->lba - 1);
    ata_dma_end(&disk->ata);
    ata_done(&disk->ata);
}

/* ---- VERIFY ---- */

static void start_verify(AtaDisk *disk, bool ext)
{
    if (!take_address(disk, ext))
        return;
    disk->job = DISK_VERIFY;
    read_more(disk);
}

static void verify_io_done(AtaDisk *disk, int ret)
{
    uint32_t sectors = (uint32_t)(disk->ata.io_bytes / ATA_SECTOR);
    if (ret < 0 && disk->narrow) {
        fail_at(disk, disk->lba, ATA_ER_UNC);
        return;
    }
    if (ret < 0) {
        disk->narrow = true;
    } else {
        disk->lba += sectors;
        disk->left -= MIN(sectors, disk->left);
    }
    if (disk->left) {
        read_more(disk);
    } else if (disk->job == DISK_LOCATE) { /* the error went away, the data did not arrive */
        fail_at(disk, disk->lba - 1, ATA_ER_UNC);
    } else {
        disk->job = DISK_NONE;
        put_lba(disk, disk->lba - 1);
        ata_done(&disk->ata);
    }
}

/* ---- FLUSH and power ---- */

/* Power transitions flush first: what the guest believes to be on the medium is. */
static void start_flush(AtaDisk *disk, uint8_t next_power)
{
    disk->job = DISK_FLUSH;
    disk->next_power = next_power;
    ata_submit_buf(&disk->ata, BLK_FLUSH, 0, 0, 0, 0);
}

static bool is_sleep(uint8_t command)
{
    return command == 0x99 || command == 0xe6;
}

static void flush_io_done(AtaDisk *disk, int ret)
{
    disk->job = DISK_NONE;
    if (ret < 0) {
        ata_abort(&disk->ata);
        return;
    }
    disk->power = disk->next_power;
    ata_done(&disk->ata);
    if (is_sleep(disk->ata.command))
        disk->ata.phase = ATA_ASLEEP;
}

/* ---- DATA SET MANAGEMENT ---- */

static void start_trim(AtaDisk *disk)
{
    const AtaTaskFile *tf = &disk->ata.tf;
    unsigned blocks = (unsigned)tf->before[ATA_REG_COUNT] << 8 | tf->now[ATA_REG_COUNT];
    if (!(tf->now[ATA_REG_FEATURE] & 1) || !blocks || blocks > ATA_TRIM_BLOCKS) {
        ata_abort(&disk->ata);
        return;
    }
    disk->job = DISK_TRIM;
    disk->trim_count = blocks * ATA_SECTOR / 8;
    ata_dma_begin(&disk->ata, false, blocks * ATA_SECTOR);
}

/* An entry: 48 bits of LBA, 16 bits of count; count 0 is no range. */
static void trim_range(const AtaDisk *disk, uint32_t n, uint64_t *lba, uint64_t *count)
{
    uint64_t entry = ld64_le(disk->ata.buf + n * 8);
    *lba = bits_get(entry, 0, 48);
    *count = entry >> 48;
}

static void trim_next_range(AtaDisk *disk)
{
    uint64_t lba = 0, count = 0;
    while (disk->trim_next < disk->trim_count && !count)
        trim_range(disk, disk->trim_next++, &lba, &count);
    if (count) {
        ata_submit_buf(&disk->ata, BLK_DISCARD, 0, lba * ATA_SECTOR, count * ATA_SECTOR, 0);
        return;
    }
    disk->job = DISK_NONE;
    ata_done(&disk->ata);
}

/* All ranges are checked before the first is dropped. */
static void trim_data_ready(AtaDisk *disk)
{
    ata_dma_copy(&disk->ata, 0, disk->trim_count * 8);
    ata_dma_end(&disk->ata);
    for (uint32_t i = 0; i < disk->trim_count; i++) {
        uint64_t lba, count;
        trim_range(disk, i, &lba, &count);
        if (count && (lba >= disk->sectors || count > disk->sectors - lba)) {
            disk->job = DISK_NONE;
            ata_abort(&disk->ata);
            return;
        }
    }
    disk->trim_next = 0;
    trim_next_range(disk);
}

static void trim_io_done(AtaDisk *disk, int ret)
{
    if (ret < 0 && ret != -ENOTSUP) {
        disk->job = DISK_NONE;
        ata_abort(&disk->ata);
        return;
    }
    trim_next_range(disk);
}

/* ---- Other commands ---- */

static void cmd_identify(AtaDisk *disk)
{
    ata_disk_identify(disk, disk->ata.buf);
    disk->job = DISK_DATA;
    ata_pio(&disk->ata, true, 0, ATA_SECTOR, true);
}

static void cmd_set_features(AtaDisk *disk)
{
    const AtaTaskFile *tf = &disk->ata.tf;
    switch (tf->now[ATA_REG_FEATURE]) {
    case 0x02:
        blk_set_write_cache(disk->ata.blk, true);
        break;
    case 0x82:
        blk_set_write_cache(disk->ata.blk, false);
        start_flush(disk, disk->power);
        return;
    case 0x03:
        if (!ata_set_transfer_mode(tf->now[ATA_REG_COUNT], &disk->pio_mode, &disk->mwdma,
                                   &disk->udma)) {
            ata_abort(&disk->ata);
            return;
        }
        break;
    case 0x55:
    case 0xaa:
        disk->look_ahead = tf->now[ATA_REG_FEATURE] == 0xaa;
        break;
    case 0x66:
    case 0xcc:
        disk->keep_settings = tf->now[ATA_REG_FEATURE] == 0x66;
        break;
    default:
        ata_abort(&disk->ata);
        return;
    }
    ata_done(&disk->ata);
}

static void cmd_set_multiple(AtaDisk *disk)
{
    uint8_t count = disk->ata.tf.now[ATA_REG_COUNT];
    if (count > ATA_MULTIPLE_MAX || (count && !is_pow2(count))) {
        ata_abort(&disk->ata);
        return;
    }
    disk->multiple = count;
    ata_done(&disk->ata);
}

static void cmd_initialize_parameters(AtaDisk *disk)
{
    const uint8_t *now = disk->ata.tf.now;
    uint8_t heads = (now[ATA_REG_DEVICE] & 15) + 1, sectors = now[ATA_REG_COUNT];
    if (!sectors) {
        ata_abort(&disk->ata);
        return;
    }
    uint64_t cylinders = disk->sectors / ((uint32_t)heads * sectors);
    disk->geometry = (DiskGeometry){(uint32_t)CLAMP(cylinders, 1, 65535), heads, sectors};
    ata_done(&disk->ata);
}

static void cmd_native_max(AtaDisk *disk, bool ext)
{
    uint64_t last = disk->sectors - 1;
    disk->ext = ext;
    put_lba(disk, ext ? last : MIN(last, 0x0fffffff));
    ata_done(&disk->ata);
}

static void cmd_seek(AtaDisk *disk)
{
    uint64_t lba;
    if (get_lba(disk, false, &lba) && lba < disk->sectors)
        ata_done(&disk->ata);
    else
        ata_fail(&disk->ata, ATA_ER_IDNF);
}

static void cmd_check_power(AtaDisk *disk)
{
    disk->ata.tf.now[ATA_REG_COUNT] = disk->power;
    ata_done(&disk->ata);
}

static void cmd_idle(AtaDisk *disk)
{
    disk->power = POWER_ACTIVE;
    ata_done(&disk->ata);
}

/* A packet command on a disk: the signature tells the host what it is talking to. */
static void cmd_identify_packet(AtaDisk *disk)
{
    uint8_t device = disk->ata.tf.now[ATA_REG_DEVICE];
    ata_set_signature(&disk->ata);
    disk->ata.tf.now[ATA_REG_DEVICE] = device;
    ata_abort(&disk->ata);
}

static void disk_command(AtaDrive *drive, uint8_t command)
{
    AtaDisk *disk = disk_of(drive);
    switch (command) {
    case 0x06: /* DATA SET MANAGEMENT */
        start_trim(disk);
        break;
    case 0x10 ... 0x1f: /* RECALIBRATE */
        ata_done(drive);
        break;
    case 0x20: /* READ SECTORS */
    case 0x21:
        start_pio(disk, false, false, 1);
        break;
    case 0x24: /* READ SECTORS EXT */
        start_pio(disk, true, false, 1);
        break;
    case 0x25: /* READ DMA EXT */
        start_dma(disk, true, false);
        break;
    case 0x27: /* READ NATIVE MAX ADDRESS EXT */
        cmd_native_max(disk, true);
        break;
    case 0x29: /* READ MULTIPLE EXT */
        start_pio(disk, true, false, disk->multiple);
        break;
    case 0x30: /* WRITE SECTORS */
    case 0x31:
        start_pio(disk, false, true, 1);
        break;
    case 0x34: /* WRITE SECTORS EXT */
        start_pio(disk, true, true, 1);
        break;
    case 0x35: /* WRITE DMA EXT */
    case 0x3d: /* WRITE DMA FUA EXT */
        start_dma(disk, true, true);
        break;
    case 0x39: /* WRITE MULTIPLE EXT */
    case 0xce: /* WRITE MULTIPLE FUA EXT */
        start_pio(disk, true, true, disk->multiple);
        break;
    case 0x40: /* READ VERIFY SECTORS */
    case 0x41:
        start_verify(disk, false);
        break;
    case 0x42: /* READ VERIFY SECTORS EXT */
        start_verify(disk, true);
        break;
    case 0x70 ... 0x7f: /* SEEK */
        cmd_seek(disk);
        break;
    case 0x91: /* INITIALIZE DEVICE PARAMETERS */
        cmd_initialize_parameters(disk);
        break;
    case 0x94: /* STANDBY IMMEDIATE, STANDBY, SLEEP, and their old codes */
    case 0x96:
    case 0x99:
    case 0xe0:
    case 0xe2:
    case 0xe6:
        start_flush(disk, POWER_STANDBY);
        break;
    case 0x95: /* IDLE IMMEDIATE, IDLE, and their old codes */
    case 0x97:
    case 0xe1:
    case 0xe3:
        cmd_idle(disk);
        break;
    case 0x98: /* CHECK POWER MODE */
    case 0xe5:
        cmd_check_power(disk);
        break;
    case 0xa0: /* PACKET, IDENTIFY PACKET DEVICE */
    case 0xa1:
        cmd_identify_packet(disk);
        break;
    case 0xc4: /* READ MULTIPLE */
        start_pio(disk, false, false, disk->multiple);
        break;
    case 0xc5: /* WRITE MULTIPLE */
        start_pio(disk, false, true, disk->multiple);
        break;
    case 0xc6: /* SET MULTIPLE MODE */
        cmd_set_multiple(disk);
        break;
    case 0xc8: /* READ DMA */
    case 0xc9:
        start_dma(disk, false, false);
        break;
    case 0xca: /* WRITE DMA */
    case 0xcb:
        start_dma(disk, false, true);
        break;
    case 0xe7: /* FLUSH CACHE */
    case 0xea: /* FLUSH CACHE EXT */
        start_flush(disk, disk->power);
        break;
    case 0xec: /* IDENTIFY DEVICE */
        cmd_identify(disk);
        break;
    case 0xef: /* SET FEATURES */
        cmd_set_features(disk);
        break;
    case 0xf8: /* READ NATIVE MAX ADDRESS */
        cmd_native_max(disk, false);
        break;
    default: /* NOP (00h) among them, which always ends so */
        log_printf(LOG_BLOCK, "ide: disk: command 0x%02x is not supported", command);
        ata_abort(drive);
    }
}

/* ---- Drive model ---- */

static void disk_pio_done(AtaDrive *drive)
{
    AtaDisk *disk = disk_of(drive);
    if (disk->job == DISK_PIO_READ) {
        pio_read_block_done(disk);
    } else if (disk->job == DISK_PIO_WRITE) {
        ata_submit_buf(drive, BLK_WRITE, fua_flag(disk), disk->lba * ATA_SECTOR, drive->end, 0);
    } else {
        disk->job = DISK_NONE;
        ata_done_silent(drive);
    }
}

static void disk_dma_ready(AtaDrive *drive)
{
    AtaDisk *disk = disk_of(drive);
    if (disk->job == DISK_TRIM)
        trim_data_ready(disk);
    else
        dma_next_part(disk);
}

static void disk_io_done(AtaDrive *drive, int ret)
{
    static void (*const done[DISK_JOBS])(AtaDisk *, int) = {
        [DISK_PIO_READ] = pio_read_io_done, [DISK_PIO_WRITE] = pio_write_io_done,
        [DISK_DMA_READ] = dma_io_done,      [DISK_DMA_WRITE] = dma_io_done,
        [DISK_VERIFY] = verify_io_done,     [DISK_LOCATE] = verify_io_done,
        [DISK_FLUSH] = flush_io_done,       [DISK_TRIM] = trim_io_done,
    };
    AtaDisk *disk = disk_of(drive);
    done[disk->job](disk, ret);
}

static void disk_reset(AtaDrive *drive, bool hard)
{
    AtaDisk *disk = disk_of(drive);
    disk->job = DISK_NONE;
    disk->power = POWER_ACTIVE;
    if (!hard && disk->keep_settings)
        return;
    disk->multiple = ATA_MULTIPLE_MAX;
    disk->look_ahead = true;
    disk->geometry = disk->defaults;
}

static const AtaDriveOps disk_ops = {
    .packet = false,
    .idle_status = ATA_SR_DRDY | ATA_SR_DSC,
    .command = disk_command,
    .pio_done = disk_pio_done,
    .dma_ready = disk_dma_ready,
    .io_done = disk_io_done,
    .reset = disk_reset,
};

/* 16 heads of 63 sectors, up to the 16383 cylinders that IDENTIFY may show (ATA/ATAPI-5 C.3). */
static DiskGeometry default_geometry(uint64_t sectors)
{
    if (sectors < 16 * 63) {
        uint8_t track = (uint8_t)MIN(sectors, 63);
        return (DiskGeometry){(uint32_t)(sectors / track), 1, track};
    }
    return (DiskGeometry){(uint32_t)MIN(sectors / (16 * 63), 16383), 16, 63};
}

void ata_disk_init(AtaDisk *disk, Machine *machine, Blk *blk, const AtaIdentity *identity,
                   const DiskGeometry *geometry)
{
    ata_drive_init(&disk->ata, machine, &disk_ops, blk);
    disk->identity = *identity;
    disk->sectors = blk_size(blk) / ATA_SECTOR;
    disk->defaults = geometry ? *geometry : default_geometry(disk->sectors);
    disk->geometry = disk->defaults;
}

/* ---- Loaded state ---- */

static bool settings_valid(const AtaDisk *disk)
{
    const DiskGeometry *g = &disk->geometry;
    return g->heads && g->heads <= 16 && g->sectors && g->cylinders <= 65535 &&
           disk->multiple <= ATA_MULTIPLE_MAX && disk->block && disk->block <= ATA_MULTIPLE_MAX &&
           (disk->udma <= 5 || disk->udma == 0xff) && (disk->mwdma <= 2 || disk->mwdma == 0xff);
}

static bool job_valid(const AtaDisk *disk)
{
    return disk->job < DISK_JOBS && disk->left <= 65536 && disk->lba <= disk->sectors &&
           disk->left <= disk->sectors - disk->lba && disk->ready <= ATA_BUFFER_SECTORS &&
           disk->ready <= disk->left && disk->trim_count <= ATA_TRIM_BLOCKS * ATA_SECTOR / 8;
}

/* The PIO window lies where the job would have put it. */
static bool window_valid(const AtaDisk *disk)
{
    const AtaDrive *drive = &disk->ata;
    uint32_t block = block_sectors(disk) * ATA_SECTOR;
    switch (disk->job) {
    case DISK_PIO_READ:
        return drive->phase == ATA_PIO_IN && disk->ready >= block_sectors(disk) &&
               drive->end >= block &&
               drive->end - block + disk->ready * ATA_SECTOR <= ATA_BUFFER_SIZE;
    case DISK_PIO_WRITE:
        return drive->phase == ATA_PIO_OUT && block && drive->end == block;
    case DISK_DATA:
        return drive->phase == ATA_PIO_IN;
    default:
        return false;
    }
}

static bool dma_valid(const AtaDisk *disk)
{
    const AtaDrive *drive = &disk->ata;
    uint64_t left = drive->dma_bytes - drive->dma_done;
    if (disk->job == DISK_TRIM)
        return !drive->dma_to_memory && disk->trim_count && left == disk->trim_count * 8;
    return (disk->job == DISK_DMA_READ || disk->job == DISK_DMA_WRITE) && disk->left &&
           drive->dma_to_memory == (disk->job == DISK_DMA_READ) &&
           left == (uint64_t)disk->left * ATA_SECTOR;
}

/* The request to make again is one that the job makes. */
static bool retry_valid(const AtaDisk *disk)
{
    const AtaDrive *drive = &disk->ata;
    uint64_t sectors = drive->io_bytes / ATA_SECTOR;
    switch (disk->job) {
    case DISK_PIO_READ:
        return drive->io_op == BLK_READ && !drive->io_dma &&
               drive->io_buf == disk->ready * ATA_SECTOR && sectors <= disk->left - disk->ready;
    case DISK_VERIFY:
    case DISK_LOCATE:
        return drive->io_op == BLK_READ && !drive->io_dma && sectors <= disk->left;
    case DISK_PIO_WRITE:
        return drive->io_op == BLK_WRITE && !drive->io_dma && sectors == block_sectors(disk);
    case DISK_DMA_READ:
        return drive->io_op == BLK_READ && drive->io_dma && dma_valid(disk);
    case DISK_DMA_WRITE:
        return drive->io_op == BLK_WRITE && drive->io_dma && dma_valid(disk);
    case DISK_FLUSH:
        return drive->io_op == BLK_FLUSH;
    case DISK_TRIM:
        return drive->io_op == BLK_DISCARD;
    default:
        return false;
    }
}

static bool disk_post_load(void *state, GError **error)
{
    const AtaDisk *disk = state;
    const AtaDrive *drive = &disk->ata;
    if (!settings_valid(disk))
        return fail(error, "ata-disk: geometry, multiple, block or transfer mode is not possible");
    if (!job_valid(disk))
        return fail(error, "ata-disk: job %u, %u sectors at %" G_GUINT64_FORMAT " are not possible",
                    disk->job, disk->left, disk->lba);
    bool window = drive->phase == ATA_PIO_IN || drive->phase == ATA_PIO_OUT;
    if ((window && !window_valid(disk)) || (drive->phase == ATA_DMA_WAIT && !dma_valid(disk)) ||
        (drive->retry && !retry_valid(disk)))
        return fail(error, "ata-disk: phase %u does not belong to job %u", drive->phase, disk->job);
    return true;
}
