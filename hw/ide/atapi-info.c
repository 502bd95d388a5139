/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the CD/DVD-ROM drive tells about itself and the disc (MMC-5 clauses 5 to 7): mode pages,
 * configuration, table of contents, disc and track information, DVD structures.
 *
 * A disc is one session with one mode 1 data track.  Up to 80 minutes it is a CD-ROM, above a
 * DVD-ROM.
 */
#include "atapi-mmc.h"
#include "util/bytes.h"

enum {
    CD_MAX_SECTORS = 80 * 60 * 75,
    TRACK_DATA = 0x14, /* ADR 1, data track */
    LEAD_OUT = 0xaa,
    PROFILE_NONE = 0,
    PROFILE_CD_ROM = 0x0008,
    PROFILE_DVD_ROM = 0x0010,
};

static void check_field(AtapiCd *cd)
{
    atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

static uint16_t profile(const AtapiCd *cd)
{
    if (!atapi_medium_ready(cd))
        return PROFILE_NONE;
    return atapi_sectors(cd) > CD_MAX_SECTORS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

/* ---- Mode pages ---- */

enum { PAGE_RECOVERY = 0x01, PAGE_CAPABILITIES = 0x2a, PAGE_ALL = 0x3f };
enum { CONTROL_CURRENT, CONTROL_CHANGEABLE, CONTROL_DEFAULT, CONTROL_SAVED };

static uint32_t put_recovery(const AtapiCd *cd, unsigned control, uint8_t *p)
{
    memset(p, 0, 12);
    p[0] = PAGE_RECOVERY;
    p[1] = 10;
    p[2] = control == CONTROL_CHANGEABLE ? 0xff : control == CONTROL_DEFAULT ? 0 : cd->recovery;
    p[3] = control == CONTROL_CHANGEABLE ? 0xff : control == CONTROL_DEFAULT ? 5 : cd->retries;
    return 12;
}

static uint32_t put_capabilities(const AtapiCd *cd, unsigned control, uint8_t *p)
{
    memset(p, 0, 20);
    p[0] = PAGE_CAPABILITIES;
    p[1] = 18;
    if (control == CONTROL_CHANGEABLE)
        return 20;
    p[2] = 0x08;                                      /* reads DVD-ROM */
    p[6] = (uint8_t)(0x29 | (cd->locked ? 0x02 : 0)); /* tray, ejects, locks */
    st16_be(p + 8, CD_MAX_SPEED);
    st16_be(p + 12, ATA_BUFFER_SIZE / 1024);
    st16_be(p + 14, control == CONTROL_DEFAULT ? CD_MAX_SPEED : cd->speed);
    return 20;
}

/* Pages from buf[at] on; returns where they end, or 0 if there is none such. */
static uint32_t put_pages(AtapiCd *cd, unsigned page, unsigned control, uint32_t at)
{
    uint32_t start = at;
    if (page == PAGE_RECOVERY || page == PAGE_ALL)
        at += put_recovery(cd, control, cd->ata.buf + at);
    if (page == PAGE_CAPABILITIES || page == PAGE_ALL)
        at += put_capabilities(cd, control, cd->ata.buf + at);
    return at == start ? 0 : at;
}

static uint8_t medium_type(const AtapiCd *cd)
{
    return cd->tray_open ? 0x71 : atapi_medium_ready(cd) ? 0x01 : 0x70;
}

static void mode_sense(AtapiCd *cd, const uint8_t *packet, uint32_t header, uint32_t allocated)
{
    uint8_t *b = cd->ata.buf;
    unsigned control = packet[2] >> 6;
    if (control == CONTROL_SAVED) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_SAVING_UNSUPPORTED);
        return;
    }
    memset(b, 0, header);
    uint32_t end = put_pages(cd, packet[2] & 0x3f, control, header);
    if (!end) {
        check_field(cd);
        return;
    }
    if (header == 8) {
        st16_be(b, (uint16_t)(end - 2));
        b[2] = medium_type(cd);
    } else {
        b[0] = (uint8_t)(end - 1);
        b[1] = medium_type(cd);
    }
    atapi_reply(cd, end, allocated);
}

void atapi_mode_sense_6(AtapiCd *cd, const uint8_t *packet)
{
    mode_sense(cd, packet, 4, packet[4]);
}

void atapi_mode_sense_10(AtapiCd *cd, const uint8_t *packet)
{
    mode_sense(cd, packet, 8, ld16_be(packet + 7));
}

static void mode_select(AtapiCd *cd, const uint8_t *packet, uint32_t length)
{
    if (!(packet[1] & 0x10) || (packet[1] & 1)) /* pages as in SPC; nothing can be saved */
        check_field(cd);
    else if (length)
        atapi_want_data(cd, length);
    else
        atapi_good(cd);
}

void atapi_mode_select_6(AtapiCd *cd, const uint8_t *packet)
{
    mode_select(cd, packet, packet[4]);
}

void atapi_mode_select_10(AtapiCd *cd, const uint8_t *packet)
{
    mode_select(cd, packet, ld16_be(packet + 7));
}

/* One page of MODE SELECT data: what is not changeable must be as it is. */
static bool page_acceptable(AtapiCd *cd, const uint8_t *page, uint32_t length)
{
    uint8_t current[32], changeable[32];
    uint32_t bytes;
    switch (page[0] & 0x3f) {
    case PAGE_RECOVERY:
        bytes = put_recovery(cd, CONTROL_CURRENT, current);
        put_recovery(cd, CONTROL_CHANGEABLE, changeable);
        break;
    case PAGE_CAPABILITIES:
        bytes = put_capabilities(cd, CONTROL_CURRENT, current);
        put_capabilities(cd, CONTROL_CHANGEABLE, changeable);
        break;
    default:
        return false;
    }
    if (length != bytes)
        return false;
    for (uint32_t i = 2; i < bytes; i++)
        if ((page[i] ^ current[i]) & (uint8_t)~changeable[i])
            return false;
    return true;
}

void atapi_parameters(AtapiCd *cd, uint32_t length)
{
    const uint8_t *b = cd->ata.buf;
    bool six = cd->packet[0] == 0x15;
    uint32_t at = six ? 4 : 8;
    if (length < at) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_PARAMETER_LENGTH);
        return;
    }
    at += six ? b[3] : ld16_be(b + 6); /* block descriptors */
    uint32_t first = at;
    while (at + 2 <= length && at + 2 + b[at + 1] <= length &&
           page_acceptable(cd, b + at, 2u + b[at + 1]))
        at += 2u + b[at + 1];
    if (at != length) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_INVALID_PARAMETER);
        return;
    }
    for (at = first; at < length; at += 2u + b[at + 1]) {
        if ((b[at] & 0x3f) == PAGE_RECOVERY) {
            cd->recovery = b[at + 2];
            cd->retries = b[at + 3];
        }
    }
    atapi_good(cd);
}

/* ---- Capacity and table of contents ---- */

void atapi_read_capacity(AtapiCd *cd, const uint8_t *packet)
{
    uint32_t sectors = atapi_sectors(cd);
    st32_be(cd->ata.buf, sectors ? sectors - 1 : 0);
    st32_be(cd->ata.buf + 4, CD_SECTOR);
    atapi_reply(cd, 8, 8);
}

static void put_address(uint8_t *at, uint32_t lba, bool msf)
{
    if (msf) {
        at[0] = 0;
        cd_msf(at + 1, lba);
    } else {
        st32_be(at, lba);
    }
}

static uint8_t *put_track(uint8_t *at, uint8_t number, uint32_t lba, bool msf)
{
    at[0] = 0;
    at[1] = TRACK_DATA;
    at[2] = number;
    at[3] = 0;
    put_address(at + 4, lba, msf);
    return at + 8;
}

/* Format 2: an entry of the Q sub-channel in the lead-in; p is its PMIN, PSEC, PFRAME. */
static uint8_t *put_point(uint8_t *at, uint8_t point, const uint8_t *p)
{
    memset(at, 0, 8);
    at[0] = 1; /* session */
    at[1] = TRACK_DATA;
    at[3] = point;
    memcpy(at + 8, p, 3);
    return at + 11;
}

static uint8_t *put_full_toc(AtapiCd *cd, uint8_t *at)
{
    static const uint8_t track_one[3] = {1, 0, 0};
    uint8_t msf[3];
    at = put_point(at, 0xa0, track_one); /* first track; CD-DA or CD-ROM format */
    at = put_point(at, 0xa1, track_one); /* last track */
    cd_msf(msf, atapi_sectors(cd));
    at = put_point(at, 0xa2, msf); /* lead-out */
    cd_msf(msf, 0);
    return put_point(at, 1, msf);
}

void atapi_read_toc(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf, *end = b + 4;
    bool msf = packet[1] & 2;
    unsigned format = packet[2] & 15;
    uint8_t start = packet[6];
    if (!format) /* where SFF-8020i had it */
        format = packet[9] >> 6;
    b[2] = b[3] = 1; /* first and last track or session */
    switch (format) {
    case 0:
        if (start > 1 && start != LEAD_OUT) {
            check_field(cd);
            return;
        }
        if (start <= 1)
            end = put_track(end, 1, 0, msf);
        end = put_track(end, LEAD_OUT, atapi_sectors(cd), msf);
        break;
    case 1: /* sessions: the first track of the last one */
        end = put_track(end, 1, 0, msf);
        break;
    case 2:
        end = put_full_toc(cd, end);
        break;
    default:
        check_field(cd);
        return;
    }
    st16_be(b, (uint16_t)(end - b - 2));
    atapi_reply(cd, (uint32_t)(end - b), ld16_be(packet + 7));
}

/* No audio plays; the position is the start of the data track. */
void atapi_read_sub_channel(AtapiCd *cd, const uint8_t *packet)
{
    static const uint8_t lengths[4] = {0, 12, 20, 20};
    uint8_t *b = cd->ata.buf;
    uint8_t format = packet[3], length = 0;
    memset(b, 0, 24);
    b[1] = 0x15; /* no audio status to return */
    if (packet[2] & 0x40) {
        if (format < 1 || format > 3) {
            check_field(cd);
            return;
        }
        length = lengths[format];
        b[3] = length;
        b[4] = format;
        b[5] = TRACK_DATA;
        b[6] = format != 2; /* track; the catalogue number has none */
        b[7] = format == 1; /* index */
        if (format == 1) {
            put_address(b + 8, 0, packet[1] & 2);
            st32_be(b + 12, 0);
        }
    }
    atapi_reply(cd, 4u + length, ld16_be(packet + 7));
}

/* ---- Disc and track ---- */

void atapi_read_disc_information(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    if (packet[1] & 7) { /* only standard disc information */
        check_field(cd);
        return;
    }
    memset(b, 0, 34);
    st16_be(b, 32);
    b[2] = 0x0e;                   /* last session complete, disc complete */
    b[3] = b[4] = b[5] = b[6] = 1; /* first track, sessions, first and last track of the last */
    b[7] = 0x20;                   /* unrestricted use */
    b[8] = profile(cd) == PROFILE_DVD_ROM ? 0xff : 0x00; /* type: undefined, CD-ROM */
    memset(b + 16, 0xff, 8); /* complete: no further lead-in or lead-out */
    atapi_reply(cd, 34, ld16_be(packet + 7));
}

void atapi_read_track_information(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf;
    uint32_t where = ld32_be(packet + 2), sectors = atapi_sectors(cd);
    unsigned kind = packet[1] & 3; /* where is a block address, track or session */
    if (kind == 3 || (kind == 0 && where >= sectors) || (kind && where != 1)) {
        check_field(cd);
        return;
    }
    memset(b, 0, 36);
    st16_be(b, 34);
    b[2] = b[3] = 1; /* track, session */
    b[5] = 0x04;     /* data */
    b[6] = 0x01;     /* mode 1 */
    st32_be(b + 24, sectors);
    atapi_reply(cd, 36, ld16_be(packet + 7));
}

void atapi_read_dvd_structure(AtapiCd *cd, const uint8_t *packet)
{
    static const uint8_t formats[] = {0x00, 0x01, 0x04, 0xff};
    uint8_t *b = cd->ata.buf, format = packet[7];
    uint32_t allocated = ld16_be(packet + 8), length = 4;
    uint32_t sectors = atapi_sectors(cd), first = 0x30000;
    if ((packet[1] & 15) || packet[6] || !memchr(formats, format, sizeof(formats))) {
        check_field(cd);
        return;
    }
    if (profile(cd) != PROFILE_DVD_ROM) {
        atapi_check(cd, SENSE_ILLEGAL_REQUEST, ASC_WRONG_MEDIUM);
        return;
    }
    memset(b, 0, 4 + 2048);
    switch (format) {
    case 0x00: /* physical: DVD-ROM 1.0, 120 mm, one embossed layer */
        b[4] = 0x01;
        b[5] = 0x0f; /* rate not specified */
        b[6] = 0x01;
        st32_be(b + 8, first);
        st32_be(b + 12, first + sectors - 1);
        length += 2048;
        break;
    case 0x01: /* copyright: none */
        length += 4;
        break;
    case 0x04: /* manufacturing */
        length += 2048;
        break;
    default: /* the formats that can be read */
        for (unsigned i = 0; i < sizeof(formats); i++) {
            b[4 + i * 4] = formats[i];
            b[5 + i * 4] = 0x40;
            st16_be(b + 6 + i * 4, formats[i] == 0xff ? 4 + 4 * sizeof(formats)
                                   : formats[i] == 1  ? 8
                                                      : 4 + 2048);
        }
        length += 4 * sizeof(formats);
    }
    st16_be(b, (uint16_t)(length - 2));
    atapi_reply(cd, length, allocated);
}

/* ---- Features and profiles ---- */

typedef struct Feature {
    uint16_t code;
    uint8_t flags; /* version << 2 | persistent << 1 | current */
    uint16_t when; /* current only with a disc of this profile; 1: with any; 0: always */
    uint8_t length;
    uint8_t data[8];
} Feature;

static const Feature features[] = {
    {0x0001, 0x0b, 0, 8, {0, 0, 0, 2, 1}},    /* core, version 2: ATAPI, device busy event */
    {0x0002, 0x07, 0, 4, {2}},                /* morphing: operational change events */
    {0x0003, 0x03, 0, 4, {0x29}},             /* removable medium: tray, ejects, locks */
    {0x0010, 0x00, 1, 8, {0, 0, 8, 0, 0, 1}}, /* random readable: 2048 bytes, blocking 1 */
    {0x001e, 0x08, PROFILE_CD_ROM, 4, {0}},   /* CD read */
    {0x001f, 0x00, PROFILE_DVD_ROM, 0, {0}},  /* DVD read */
    {0x0100, 0x03, 0, 0, {0}},                /* power management */
    {0x0105, 0x03, 0, 0, {0}},                /* timeout */
};

typedef struct FeatureQuery {
    unsigned request; /* 0: all, 1: current ones, 2: only `start` */
    uint16_t start;
} FeatureQuery;

static bool feature_wanted(const FeatureQuery *query, uint16_t code, bool current)
{
    if (query->request == 2)
        return code == query->start;
    return code >= query->start && (current || query->request != 1);
}

static uint8_t *put_profiles(uint8_t *at, uint16_t now)
{
    static const uint16_t profiles[] = {PROFILE_DVD_ROM, PROFILE_CD_ROM};
    st16_be(at, 0x0000);
    at[2] = 0x03;
    at[3] = 8;
    for (unsigned i = 0; i < 2; i++) {
        st16_be(at + 4 + i * 4, profiles[i]);
        at[6 + i * 4] = profiles[i] == now;
        at[7 + i * 4] = 0;
    }
    return at + 12;
}

void atapi_get_configuration(AtapiCd *cd, const uint8_t *packet)
{
    uint8_t *b = cd->ata.buf, *end = b + 8;
    uint16_t now = profile(cd);
    FeatureQuery query = {packet[1] & 3, ld16_be(packet + 2)};
    if (query.request == 3) {
        check_field(cd);
        return;
    }
    memset(b, 0, 8);
    st16_be(b + 6, now);
    if (feature_wanted(&query, 0, true))
        end = put_profiles(end, now);
    for (unsigned i = 0; i < G_N_ELEMENTS(features); i++) {
        const Feature *f = &features[i];
        bool current = !f->when       ? f->flags & 1
                       : f->when == 1 ? now != PROFILE_NONE
                                      : f->when == now;
        if (!feature_wanted(&query, f->code, current))
            continue;
        st16_be(end, f->code);
        end[2] = (uint8_t)((f->flags & 0xfe) | current);
        end[3] = f->length;
        memcpy(end + 4, f->data, f->length);
        end += 4 + f->length;
    }
    st32_be(b, (uint32_t)(end - b - 4));
    atapi_reply(cd, (uint32_t)(end - b), ld16_be(packet + 7));
}
