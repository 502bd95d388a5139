/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PACKET interface of the CD/DVD-ROM drive: how packets come in and data goes out
 * (ATA8-ACS 7.23 and SFF-8020i): by PIO in blocks of the byte count limit, or by DMA.
 */
#include "atapi.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

/* Interrupt reason, in the count register. */
enum { REASON_COMMAND = 1, REASON_IN = 2 };
enum { FEATURE_DMA = 1, FEATURE_OVERLAP = 2 };

#define PACKET_BYTES 12u

static bool cd_post_load(void *state, GError **error);

static const StateField cd_fields[] = {
    STATE_STRUCT(AtapiCd, ata, &ata_drive_state),
    STATE_HOST(AtapiCd, identity),
    STATE_U(AtapiCd, stage, CD_IDLE),
    STATE_U(AtapiCd, dma, 0),
    STATE_BYTES(AtapiCd, packet),
    STATE_U(AtapiCd, limit, 0),
    STATE_U(AtapiCd, todo, 0),
    STATE_U(AtapiCd, head, 0),
    STATE_U(AtapiCd, tail, 0),
    STATE_U(AtapiCd, chunk, 0),
    STATE_U(AtapiCd, offset, 0),
    STATE_U(AtapiCd, fetch_left, 0),
    STATE_U(AtapiCd, parts, 0),
    STATE_U(AtapiCd, part_bytes, 0),
    STATE_U(AtapiCd, sense_key, 0),
    STATE_U(AtapiCd, sense_code, 0),
    STATE_U(AtapiCd, change, CD_CHANGE_NONE),
    STATE_U_KEEP(AtapiCd, tray_open),
    STATE_U(AtapiCd, locked, 0),
    STATE_U(AtapiCd, eject_event, 0),
    STATE_U(AtapiCd, new_event, 0),
    STATE_U(AtapiCd, removal_event, 0),
    STATE_U(AtapiCd, recovery, 0),
    STATE_U(AtapiCd, retries, 5),
    STATE_U(AtapiCd, speed, 10800),
    STATE_U(AtapiCd, pio_mode, 4),
    STATE_U(AtapiCd, mwdma, 0xff),
    STATE_U(AtapiCd, udma, 5),
    STATE_END,
};
const StateDesc atapi_cd_state = {"atapi-cd", 1, sizeof(AtapiCd), cd_fields, NULL, cd_post_load};

static AtapiCd *cd_of(AtaDrive *drive)
{
    return container_of(drive, AtapiCd, ata);
}

bool atapi_medium_ready(const AtapiCd *cd)
{
    return cd->ata.blk && !cd->tray_open && blk_has_medium(cd->ata.blk);
}

uint32_t atapi_sectors(const AtapiCd *cd)
{
    if (!cd->ata.blk || !blk_has_medium(cd->ata.blk))
        return 0;
    return (uint32_t)MIN(blk_size(cd->ata.blk) / CD_SECTOR, UINT32_MAX);
}

/* ---- Ends ---- */

void atapi_good(AtapiCd *cd)
{
    cd->stage = CD_IDLE;
    cd->ata.tf.now[ATA_REG_COUNT] = REASON_COMMAND | REASON_IN;
    ata_done(&cd->ata);
}

void atapi_check(AtapiCd *cd, uint8_t key, uint16_t code)
{
    cd->stage = CD_IDLE;
    cd->sense_key = key;
    cd->sense_code = code;
    cd->ata.tf.now[ATA_REG_COUNT] = REASON_COMMAND | REASON_IN;
    ata_fail(&cd->ata, (uint8_t)(key << 4));
}

/* ---- The medium ---- */

/* Sectors in parts are read one by one to the buffer's end and built from there. */
#define RAW_AT (ATA_BUFFER_SIZE - CD_SECTOR)

/* Brings more bytes behind those in the buffer. */
static void fetch(AtapiCd *cd)
{
    AtaDrive *drive = &cd->ata;
    memmove(drive->buf, drive->buf + cd->head, cd->tail - cd->head);
    cd->tail -= cd->head;
    cd->head = 0;
    uint64_t room = (ATA_BUFFER_SIZE - cd->tail) & ~(CD_SECTOR - 1);
    if (cd->parts)
        ata_submit_buf(drive, BLK_READ, 0, cd->offset, CD_SECTOR, RAW_AT);
    else
        ata_submit_buf(drive, BLK_READ, 0, cd->offset, MIN(cd->fetch_left, room), cd->tail);
}

static void fetched(AtapiCd *cd)
{
    AtaDrive *drive = &cd->ata;
    if (cd->parts)
        cd->tail += cd_build_parts(drive->buf + cd->tail, cd->parts,
                                   (uint32_t)(cd->offset / CD_SECTOR), drive->buf + RAW_AT);
    else
        cd->tail += (uint32_t)drive->io_bytes;
    cd->offset += drive->io_bytes;
    cd->fetch_left -= drive->io_bytes;
}

/* ---- Data to the host ---- */

static uint32_t pio_chunk(const AtapiCd *cd)
{
    uint64_t limit = cd->limit;
    if (limit < cd->todo)
        limit &= ~1u; /* only the last block may be odd */
    return (uint32_t)MIN(limit, cd->todo);
}

static void pio_next(AtapiCd *cd)
{
    AtaDrive *drive = &cd->ata;
    if (!cd->todo) {
        atapi_good(cd);
        return;
    }
    uint32_t chunk = pio_chunk(cd);
    if (cd->tail - cd->head < chunk) {
        fetch(cd);
        return;
    }
    cd->chunk = chunk;
    drive->tf.now[ATA_REG_COUNT] = REASON_IN;
    drive->tf.now[ATA_REG_LBA_MID] = (uint8_t)chunk;
    drive->tf.now[ATA_REG_LBA_HIGH] = (uint8_t)(chunk >> 8);
    ata_pio(drive, true, cd->head, chunk, true);
}

static void dma_next(AtapiCd *cd)
{
    AtaDrive *drive = &cd->ata;
    if (cd->tail > cd->head) {
        ata_dma_copy(drive, cd->head, cd->tail - cd->head);
        cd->todo -= cd->tail - cd->head;
        cd->head = cd->tail = 0;
    }
    if (!cd->todo) {
        ata_dma_end(drive);
        atapi_good(cd);
    } else if (cd->parts) {
        fetch(cd);
    } else {
        ata_submit_dma(drive, BLK_READ, 0, cd->offset, cd->fetch_left);
    }
}

/* todo bytes, of which [head, tail) are in the buffer, go to the host. */
static void send(AtapiCd *cd)
{
    AtaDrive *drive = &cd->ata;
    cd->stage = CD_DATA_IN;
    if (!cd->todo) {
        atapi_good(cd);
    } else if (cd->dma) {
        drive->tf.now[ATA_REG_COUNT] = REASON_IN;
        ata_dma_begin(drive, true, cd->todo);
    } else if (pio_chunk(cd)) {
        pio_next(cd);
    } else {
        guest_error("ide: cdrom: byte count limit 0 with a command that moves data");
        cd->stage = CD_IDLE;
        ata_abort(drive);
    }
}

void atapi_reply(AtapiCd *cd, uint32_t length, uint32_t allocated)
{
    cd->todo = MIN(length, allocated);
    cd->head = 0;
    cd->tail = (uint32_t)cd->todo;
    cd->fetch_left = 0;
    cd->parts = 0;
    send(cd);
}

void atapi_send_sectors(AtapiCd *cd, uint32_t lba, uint32_t count, uint8_t parts,
                        uint32_t part_bytes)
{
    cd->todo = (uint64_t)count * part_bytes;
    cd->head = cd->tail = 0;
    cd->offset = (uint64_t)lba * CD_SECTOR;
    cd->fetch_left = (uint64_t)count * CD_SECTOR;
    cd->parts = parts;
    cd->part_bytes = (uint16_t)part_bytes;
    send(cd);
}

void atapi_want_data(AtapiCd *cd, uint32_t length)
{
    AtaDrive *drive = &cd->ata;
    cd->stage = CD_DATA_OUT;
    cd->chunk = length;
    drive->tf.now[ATA_REG_COUNT] = 0;
    if (cd->dma) {
        ata_dma_begin(drive, false, length);
        return;
    }
    drive->tf.now[ATA_REG_LBA_MID] = (uint8_t)length;
    drive->tf.now[ATA_REG_LBA_HIGH] = (uint8_t)(length >> 8);
    ata_pio(drive, false, 0, length, true);
}

/* ---- Drive model ---- */

static void cd_dma_ready(AtaDrive *drive)
{
    AtapiCd *cd = cd_of(drive);
    if (cd->stage == CD_DATA_OUT) {
        ata_dma_copy(drive, 0, cd->chunk);
        ata_dma_end(drive);
        atapi_parameters(cd, cd->chunk);
    } else {
        dma_next(cd);
    }
}

static void cd_io_done(AtaDrive *drive, int ret)
{
    AtapiCd *cd = cd_of(drive);
    if (ret < 0) {
        if (cd->dma)
            ata_dma_end(drive);
        if (atapi_medium_ready(cd))
            atapi_check(cd, SENSE_MEDIUM_ERROR, ASC_READ_ERROR);
        else
            atapi_check(cd, SENSE_NOT_READY, cd->tray_open ? ASC_TRAY_OPEN : ASC_NO_MEDIUM);
        return;
    }
    if (drive->io_dma) {
        cd->offset += drive->io_bytes;
        cd->fetch_left -= drive->io_bytes;
        cd->todo -= drive->io_bytes;
    } else {
        fetched(cd);
    }
    if (cd->dma)
        dma_next(cd);
    else
        pio_next(cd);
}

static void cd_pio_done(AtaDrive *drive)
{
    AtapiCd *cd = cd_of(drive);
    switch (cd->stage) {
    case CD_PACKET:
        memcpy(cd->packet, drive->buf, PACKET_BYTES);
        log_printf(LOG_BLOCK, "ide: cdrom: packet 0x%02x", cd->packet[0]);
        atapi_execute(cd);
        break;
    case CD_DATA_IN:
        cd->head += cd->chunk;
        cd->todo -= cd->chunk;
        pio_next(cd);
        break;
    case CD_DATA_OUT:
        atapi_parameters(cd, cd->chunk);
        break;
    default:
        cd->stage = CD_IDLE;
        ata_done_silent(drive);
    }
}

static void cmd_packet(AtapiCd *cd)
{
    AtaTaskFile *tf = &cd->ata.tf;
    if (tf->now[ATA_REG_FEATURE] & FEATURE_OVERLAP) {
        ata_abort(&cd->ata);
        return;
    }
    cd->dma = tf->now[ATA_REG_FEATURE] & FEATURE_DMA;
    cd->limit = (uint16_t)(tf->now[ATA_REG_LBA_HIGH] << 8 | tf->now[ATA_REG_LBA_MID]);
    cd->limit = MIN(cd->limit, 0xfffe);
    cd->stage = CD_PACKET;
    tf->now[ATA_REG_COUNT] = REASON_COMMAND;
    ata_pio(&cd->ata, false, 0, PACKET_BYTES, false);
}

static void cmd_identify(AtapiCd *cd)
{
    atapi_identify(cd, cd->ata.buf);
    cd->stage = CD_IDENTIFY;
    ata_pio(&cd->ata, true, 0, ATA_SECTOR, true);
}

static void cmd_set_features(AtapiCd *cd)
{
    const AtaTaskFile *tf = &cd->ata.tf;
    if (tf->now[ATA_REG_FEATURE] == 0x03 &&
        ata_set_transfer_mode(tf->now[ATA_REG_COUNT], &cd->pio_mode, &cd->mwdma, &cd->udma))
        ata_done(&cd->ata);
    else
        ata_abort(&cd->ata);
}

static void cd_command(AtaDrive *drive, uint8_t command)
{
    AtapiCd *cd = cd_of(drive);
    uint8_t device;
    cd->stage = CD_IDLE;
    switch (command) {
    case 0x20: /* READ SECTORS, IDENTIFY DEVICE: the signature tells what is here */
    case 0xec:
        device = drive->tf.now[ATA_REG_DEVICE];
        ata_set_signature(drive);
        drive->tf.now[ATA_REG_DEVICE] = device;
        ata_abort(drive);
        break;
    case 0xa0:
        cmd_packet(cd);
        break;
    case 0xa1:
        cmd_identify(cd);
        break;
    case 0xef:
        cmd_set_features(cd);
        break;
    case 0xe5: /* CHECK POWER MODE */
        drive->tf.now[ATA_REG_COUNT] = 0xff;
        ata_done(drive);
        break;
    case 0xe0: /* STANDBY IMMEDIATE, IDLE IMMEDIATE, FLUSH CACHE: nothing to bring away */
    case 0xe1:
    case 0xe7:
        ata_done(drive);
        break;
    case 0xe6: /* SLEEP */
        ata_done(drive);
        drive->phase = ATA_ASLEEP;
        break;
    default:
        ata_abort(drive);
    }
}

static void cd_reset(AtaDrive *drive, bool hard)
{
    AtapiCd *cd = cd_of(drive);
    cd->stage = CD_IDLE;
    if (!hard) {
        cd->sense_key = 0;
        cd->sense_code = 0;
    }
}

static const AtaDriveOps cd_ops = {
    .packet = true,
    .idle_status = 0, /* DRDY comes with the first command */
    .command = cd_command,
    .pio_done = cd_pio_done,
    .dma_ready = cd_dma_ready,
    .io_done = cd_io_done,
    .reset = cd_reset,
};

void atapi_init(AtapiCd *cd, Machine *machine, Blk *blk, const AtaIdentity *identity)
{
    ata_drive_init(&cd->ata, machine, &cd_ops, blk);
    cd->identity = *identity;
}

/* ---- What happens to the drive from outside ---- */

static void medium_changed(void *opaque, Blk *blk, bool present)
{
    AtapiCd *cd = opaque;
    cd->tray_open = !present;
    cd->eject_event = false;
    cd->new_event = present;
    cd->removal_event = !present;
    cd->change = present ? CD_CHANGE_GONE : CD_CHANGE_NONE;
}

static void eject_request(void *opaque, Blk *blk, bool force)
{
    AtapiCd *cd = opaque;
    cd->eject_event = true;
    if (force)
        cd->locked = false;
}

static bool tray_open(void *opaque)
{
    return ((AtapiCd *)opaque)->tray_open;
}

static bool medium_locked(void *opaque)
{
    return ((AtapiCd *)opaque)->locked;
}

const BlkDevOps atapi_blk_ops = {.medium_changed = medium_changed,
                                 .eject_request = eject_request,
                                 .tray_open = tray_open,
                                 .medium_locked = medium_locked};

/* ---- IDENTIFY PACKET DEVICE (ATA8-ACS 7.17) ---- */

void atapi_identify(const AtapiCd *cd, uint8_t *data)
{
    memset(data, 0, ATA_SECTOR);
    /* PACKET set, CD/DVD, removable, DRQ within 50 us, 12-byte packets */
    st16_le(data, 2 << 14 | 5 << 8 | 1 << 7 | 2 << 5);
    ata_identify_string(data, 10, 10, cd->identity.serial);
    ata_identify_string(data, 23, 4, cd->identity.firmware);
    ata_identify_string(data, 27, 20, cd->identity.model);
    st16_le(data + 49 * 2, 1 << 11 | 1 << 9 | 1 << 8); /* IORDY, LBA, DMA */
    st16_le(data + 50 * 2, 1 << 14);
    st16_le(data + 53 * 2, 0x0006); /* words 64-70 and 88 are valid */
    ata_identify_modes(data, cd->mwdma, cd->udma);
    st16_le(data + 80 * 2, 0x01f0);
    /* DEVICE RESET, PACKET, power management, removable medium by GET EVENT STATUS */
    st16_le(data + 82 * 2, 1 << 9 | 1 << 4 | 1 << 3);
    st16_le(data + 83 * 2, 1 << 14 | 1 << 12);
    st16_le(data + 84 * 2, 1 << 14);
    st16_le(data + 85 * 2, 1 << 9 | 1 << 4 | 1 << 3);
    st16_le(data + 86 * 2, 1 << 12);
    st16_le(data + 87 * 2, 1 << 14);
    st16_le(data + 93 * 2, ata_identify_reset_result(cd->ata.unit));
    ata_identify_checksum(data);
}

/* ---- Loaded state ---- */

static bool amounts_valid(const AtapiCd *cd)
{
    uint64_t size = (uint64_t)UINT32_MAX * CD_SECTOR;
    uint64_t sectors = cd->fetch_left / CD_SECTOR;
    if (cd->head > cd->tail || cd->tail > ATA_BUFFER_SIZE || cd->chunk > ATA_BUFFER_SIZE ||
        cd->offset > size || cd->fetch_left > size - cd->offset)
        return false;
    if (cd->parts && (cd->part_bytes != cd_part_bytes(cd->parts) || !cd->part_bytes ||
                      cd->fetch_left % CD_SECTOR || cd->offset % CD_SECTOR))
        return false;
    if (cd->fetch_left % ATA_SECTOR || cd->offset % ATA_SECTOR)
        return false;
    uint64_t coming = cd->parts ? sectors * cd->part_bytes : cd->fetch_left;
    return cd->todo == (cd->tail - cd->head) + coming;
}

static bool stage_valid(const AtapiCd *cd)
{
    const AtaDrive *drive = &cd->ata;
    bool in = cd->stage == CD_DATA_IN;
    switch (drive->phase) {
    case ATA_PIO_IN:
        if (in)
            return cd->chunk && cd->chunk <= cd->tail - cd->head && cd->limit &&
                   drive->end == cd->head + cd->chunk;
        return cd->stage == CD_IDENTIFY;
    case ATA_PIO_OUT:
        return (cd->stage == CD_PACKET && drive->end == PACKET_BYTES) ||
               (cd->stage == CD_DATA_OUT && drive->end == cd->chunk);
    case ATA_DMA_WAIT:
        return cd->dma && drive->dma_to_memory == in && !drive->dma_done &&
               (in ? drive->dma_bytes == cd->todo && cd->todo
                   : cd->stage == CD_DATA_OUT && drive->dma_bytes == cd->chunk && cd->chunk);
    default:
        break;
    }
    if (!drive->retry)
        return true;
    if (!in || drive->io_op != BLK_READ || drive->io_offset != cd->offset ||
        drive->io_bytes > cd->fetch_left)
        return false;
    if (drive->io_dma)
        return cd->dma && !cd->parts && cd->head == cd->tail && drive->dma_to_memory &&
               drive->dma_bytes - drive->dma_done == cd->todo;
    if (cd->parts)
        return cd->limit <= 0xfffe && drive->io_bytes == CD_SECTOR && drive->io_buf == RAW_AT &&
               cd->tail <= RAW_AT - CD_RAW_SECTOR;
    return !cd->dma && cd->limit && !cd->head && drive->io_buf == cd->tail;
}

static bool cd_post_load(void *state, GError **error)
{
    AtapiCd *cd = state;
    if (cd->stage >= CD_STAGES || cd->change >= CD_CHANGES || (cd->udma > 5 && cd->udma != 0xff) ||
        (cd->mwdma > 2 && cd->mwdma != 0xff))
        return fail(error, "atapi-cd: stage, change or transfer mode is not possible");
    if (cd->stage == CD_DATA_IN && !amounts_valid(cd))
        return fail(error, "atapi-cd: amounts of data do not agree");
    if (!stage_valid(cd))
        return fail(error, "atapi-cd: phase %u does not belong to stage %u", cd->ata.phase,
                    cd->stage);
    return true;
}
