/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet commands of the CD/DVD-ROM drive (MMC-5, SPC-3): dispatch, the mandatory ones,
 * reading, tray and events.  What the drive tells about itself and the disc is in atapi-info.c.
 */
#include "atapi-mmc.h"
#include "util/bytes.h"
#include "util/log.h"

enum {
    NEEDS_MEDIUM = 1,
    DURING_ATTENTION = 2, /* runs while a unit attention waits, and leaves it */
};

typedef struct Command {
    void (*fn)(AtapiCd *cd, const uint8_t *packet);
    unsigned flags;
} Command;

static void check_field(AtapiCd *cd)
{
    atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

/* ---- Status ---- */

static void test_unit_ready(AtapiCd *cd, const uint8_t *packet)
{
    atapi_good(cd);
}

static void request_sense(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    if (!cd->sense_key && cd->change == CD_CHANGE_ATTENTION) {
        cd->sense_key = SENSE_UNIT_ATTENTION;
        cd->sense_code = ASC_MEDIUM_CHANGED;
        cd->change = CD_CHANGE_NONE;
    }
    memset(b, 0, 18);
    b[0] = 0x70; /* current, fixed format */
    b[2] = cd->sense_key;
    b[7] = 10;
    st16_be(b + 12, cd->sense_code);
    cd->sense_key = 0;
    cd->sense_code = 0;
    atapi_reply(cd, 18, packet[4]);
}

static void put_text(uint8_t *at, const char *text, unsigned length)
{
    for (unsigned i = 0; i < length; i++)
        at[i] = *text ? (uint8_t)*text++ : ' ';
}

static void inquiry(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    uint32_t allocated = ld16_be(packet + 3);
    memset(b, 0, 36);
    b[0] = 5;            /* CD/DVD */
    if (packet[1] & 1) { /* vital product data */
        if (packet[2] == 0x00) {
            b[3] = 2;
            b[5] = 0x80;
            atapi_reply(cd, 6, allocated);
        } else if (packet[2] == 0x80) {
            b[3] = 20;
            put_text(b + 4, cd->identity.serial, 20);
            atapi_reply(cd, 24, allocated);
        } else {
            check_field(cd);
        }
        return;
    }
    if (packet[2]) {
        check_field(cd);
        return;
    }
    b[1] = 0x80; /* removable */
    b[3] = 0x21; /* ATAPI 2, response format 1 */
    b[4] = 31;
    put_text(b + 8, "VMRUN", 8);
    put_text(b + 16, cd->identity.model, 16);
    put_text(b + 32, cd->identity.firmware, 4);
    atapi_reply(cd, 36, allocated);
}

/* ---- Reading ---- */

static bool check_range(AtapiCd *cd, uint32_t lba, uint32_t count)
{
    uint32_t sectors = atapi_sectors(cd);
    if (lba < sectors ? count <= sectors - lba : !count && lba == sectors)
        return true;
    atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
    return false;
}

static void read_10(AtapiCd *cd, const uint8_t *packet)
{
    uint32_t lba = ld32_be(packet + 2), count = ld16_be(packet + 7);
    if (check_range(cd, lba, count))
        atapi_send_sectors(cd, lba, count, 0, CD_SECTOR);
}

static void read_12(AtapiCd *cd, const uint8_t *packet)
{
    uint32_t lba = ld32_be(packet + 2), count = ld32_be(packet + 6);
    if (check_range(cd, lba, count))
        atapi_send_sectors(cd, lba, count, 0, CD_SECTOR);
}

/* Every track here is mode 1 data. */
static void read_cd_range(AtapiCd *cd, const uint8_t *packet, uint32_t lba, uint32_t count)
{
    unsigned type = packet[1] >> 2 & 7;
    uint8_t parts = packet[9];
    if (type != 0 && type != 2) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_WRONG_TRACK_MODE);
        return;
    }
    uint16_t bytes = cd_part_bytes(parts);
    if (bytes == 0xffff || (packet[10] & 7)) { /* no C2 flags, no sub-channels */
        check_field(cd);
        return;
    }
    if (check_range(cd, lba, count))
        atapi_send_sectors(cd, lba, count, bytes == CD_SECTOR ? 0 : parts, bytes);
}

static void read_cd(AtapiCd *cd, const uint8_t *packet)
{
    uint32_t count = (uint32_t)packet[6] << 16 | ld16_be(packet + 7);
    read_cd_range(cd, packet, ld32_be(packet + 2), count);
}

static bool from_msf(const uint8_t *msf, uint32_t *lba)
{
    uint32_t frame = (msf[0] * 60u + msf[1]) * 75u + msf[2];
    *lba = frame - 150;
    return msf[1] < 60 && msf[2] < 75 && frame >= 150;
}

static void read_cd_msf(AtapiCd *cd, const uint8_t *packet)
{
    uint32_t start, end;
    if (!from_msf(packet + 3, &start) || !from_msf(packet + 6, &end) || end < start)
        check_field(cd);
    else
        read_cd_range(cd, packet, start, end - start);
}

static void seek_10(AtapiCd *cd, const uint8_t *packet)
{
    if (check_range(cd, ld32_be(packet + 2), 1))
        atapi_good(cd);
}

/* SET CD SPEED: FFFFh is the best there is. */
static void set_cd_speed(AtapiCd *cd, const uint8_t *packet)
{
    cd->speed = MIN(ld16_be(packet + 2), CD_MAX_SPEED);
    atapi_good(cd);
}

/* ---- Tray ---- */

static void move_tray(AtapiCd *cd, bool open)
{
    if (cd->tray_open == open)
        return;
    cd->tray_open = open;
    cd->eject_event = false;
    cd->removal_event = open;
    cd->new_event = !open && cd->ata.blk && blk_has_medium(cd->ata.blk);
    if (cd->ata.blk)
        blk_device_eject(cd->ata.blk, open);
}

static void start_stop_unit(AtapiCd *cd, const uint8_t *packet)
{
    bool power_condition = packet[4] >> 4, load_eject = packet[4] & 2, start = packet[4] & 1;
    if (power_condition || !load_eject) { /* the spindle is always as it should be */
        atapi_good(cd);
        return;
    }
    if (!start && cd->locked && !cd->tray_open) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED);
        return;
    }
    move_tray(cd, !start);
    atapi_good(cd);
}

static void prevent_allow(AtapiCd *cd, const uint8_t *packet)
{
    cd->locked = packet[4] & 1;
    atapi_good(cd);
}

/* ---- GET EVENT STATUS NOTIFICATION, media class only ---- */

enum { EVENT_CLASS_MEDIA = 4 };
enum { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIA, EVENT_REMOVAL };

static uint8_t take_event(AtapiCd *cd)
{
    if (cd->eject_event) {
        cd->eject_event = false;
        return EVENT_EJECT_REQUEST;
    }
    if (cd->removal_event) {
        cd->removal_event = false;
        return EVENT_REMOVAL;
    }
    if (cd->new_event) {
        cd->new_event = false;
        return EVENT_NEW_MEDIA;
    }
    return EVENT_NONE;
}

static void get_event_status(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    uint32_t allocated = ld16_be(packet + 7), length = 4;
    if (!(packet[1] & 1)) { /* asynchronous notification needs overlap */
        check_field(cd);
        return;
    }
    memset(b, 0, 8);
    b[3] = 1 << EVENT_CLASS_MEDIA; /* supported classes */
    if (packet[4] & (1 << EVENT_CLASS_MEDIA)) {
        b[2] = EVENT_CLASS_MEDIA;
        if (allocated > 4) {
            b[4] = take_event(cd);
            b[5] = (uint8_t)((cd->tray_open ? 1 : 0) | (atapi_medium_ready(cd) ? 2 : 0));
            length = 8;
        }
    } else {
        b[2] = 0x80; /* no event available */
    }
    st16_be(b, (uint16_t)(length - 2));
    atapi_reply(cd, length, allocated);
}

static void mechanism_status(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    memset(b, 0, 8);
    b[1] = cd->tray_open ? 0x10 : 0;
    atapi_reply(cd, 8, ld16_be(packet + 8));
}

/* ---- Dispatch ---- */

static const Command commands[256] = {
    [0x00] = {test_unit_ready, NEEDS_MEDIUM},
    [0x03] = {request_sense, DURING_ATTENTION},
    [0x12] = {inquiry, DURING_ATTENTION},
    [0x15] = {atapi_mode_select_6, 0},
    [0x1a] = {atapi_mode_sense_6, 0},
    [0x1b] = {start_stop_unit, 0},
    [0x1e] = {prevent_allow, 0},
    [0x25] = {atapi_read_capacity, NEEDS_MEDIUM},
    [0x28] = {read_10, NEEDS_MEDIUM},
    [0x2b] = {seek_10, NEEDS_MEDIUM},
    [0x42] = {atapi_read_sub_channel, NEEDS_MEDIUM},
    [0x43] = {atapi_read_toc, NEEDS_MEDIUM},
    [0x46] = {atapi_get_configuration, DURING_ATTENTION},
    [0x4a] = {get_event_status, DURING_ATTENTION},
    [0x51] = {atapi_read_disc_information, NEEDS_MEDIUM},
    [0x52] = {atapi_read_track_information, NEEDS_MEDIUM},
    [0x55] = {atapi_mode_select_10, 0},
    [0x5a] = {atapi_mode_sense_10, 0},
    [0xa8] = {read_12, NEEDS_MEDIUM},
    [0xad] = {atapi_read_dvd_structure, NEEDS_MEDIUM},
    [0xb9] = {read_cd_msf, NEEDS_MEDIUM},
    [0xbb] = {set_cd_speed, 0},
    [0xbd] = {mechanism_status, 0},
    [0xbe] = {read_cd, NEEDS_MEDIUM},
};

static void check_no_medium(AtapiCd *cd)
{
    atapi_check(cd, SENSE_NOT_READY, cd->tray_open ? ASC_TRAY_OPEN : ASC_NO_MEDIUM);
}

/* A new medium shows as a drive that was not ready and then wants attention: guests that look only
 * for one of the two see it. */
static bool report_change(AtapiCd *cd)
{
    if (cd->change == CD_CHANGE_NONE || !atapi_medium_ready(cd))
        return false;
    if (cd->change == CD_CHANGE_GONE) {
        cd->change = CD_CHANGE_ATTENTION;
        check_no_medium(cd);
    } else {
        cd->change = CD_CHANGE_NONE;
        atapi_check(cd, SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED);
    }
    return true;
}

void atapi_execute(AtapiCd *cd)
{
    const Command *command = &commands[cd->packet[0]];
    if (!command->fn) {
        log_printf(LOG_BLOCK, "ide: cdrom: packet 0x%02x is not supported", cd->packet[0]);
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE);
        return;
    }
    if (!(command->flags & DURING_ATTENTION) && report_change(cd))
        return;
    if (cd->packet[0] != 0x03) {
        cd->sense_key = 0;
        cd->sense_code = 0;
    }
    if ((command->flags & NEEDS_MEDIUM) && !atapi_medium_ready(cd)) {
        check_no_medium(cd);
        return;
    }
    command->fn(cd, cd->packet);
}
