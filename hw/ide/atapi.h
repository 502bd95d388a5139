/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CD/DVD-ROM drive with the PACKET interface on the ATA core: state, and what the transport
 * (atapi.c) offers to the commands (atapi-mmc.c). */
#ifndef VMRUN_HW_IDE_ATAPI_H
#define VMRUN_HW_IDE_ATAPI_H

#include "ata-disk.h"

#define CD_SECTOR     2048u
#define CD_RAW_SECTOR 2352u

typedef enum {
    CD_IDLE,
    CD_PACKET,   /* the 12 bytes of the packet come in */
    CD_DATA_IN,  /* data goes to the host */
    CD_DATA_OUT, /* parameter data comes from the host */
    CD_IDENTIFY,
    CD_STAGES
} CdStage;

/* What medium_changed leaves for the guest to notice, one step a command. */
typedef enum {
    CD_CHANGE_NONE,
    CD_CHANGE_ATTENTION, /* next: UNIT ATTENTION, medium may have changed */
    CD_CHANGE_GONE,      /* next: NOT READY, as if the tray had just been open */
    CD_CHANGES
} CdChange;

/* Sense keys, and additional sense code << 8 | qualifier (SPC-3 annex D, MMC-5 annex F). */
enum {
    SENSE_NOT_READY = 2,
    SENSE_MEDIUM_ERROR = 3,
    SENSE_ILLEGAL_REQUEST = 5,
    SENSE_UNIT_ATTENTION = 6,
    ASC_READ_ERROR = 0x1100,
    ASC_PARAMETER_LENGTH = 0x1a00,
    ASC_INVALID_OPCODE = 0x2000,
    ASC_LBA_OUT_OF_RANGE = 0x2100,
    ASC_INVALID_FIELD = 0x2400,
    ASC_INVALID_PARAMETER = 0x2600,
    ASC_MEDIUM_CHANGED = 0x2800,
    ASC_WRONG_MEDIUM = 0x3002,
    ASC_SAVING_UNSUPPORTED = 0x3900,
    ASC_NO_MEDIUM = 0x3a01, /* tray closed */
    ASC_TRAY_OPEN = 0x3a02,
    ASC_REMOVAL_PREVENTED = 0x5302,
    ASC_WRONG_TRACK_MODE = 0x6400,
};

typedef struct AtapiCd {
    AtaDrive ata;
    AtaIdentity identity;

    uint8_t stage;
    bool dma;
    uint8_t packet[12];
    uint16_t limit;      /* bytes in one PIO block */
    uint64_t todo;       /* bytes that the host still gets */
    uint32_t head, tail; /* those of them in the buffer */
    uint32_t chunk;      /* those of them in the PIO window */
    uint64_t offset;     /* of the next byte to fetch from the medium */
    uint64_t fetch_left; /* bytes still to fetch */
    uint8_t parts;       /* READ CD: what of each sector; 0: user data only, as it is */
    uint16_t part_bytes; /* bytes that the host gets of each sector */
    uint8_t sense_key;
    uint16_t sense_code;
    uint8_t change;
    bool tray_open, locked;
    bool eject_event, new_event, removal_event; /* for GET EVENT STATUS NOTIFICATION */
    uint8_t recovery, retries;                  /* mode page 01h */
    uint16_t speed;                             /* kB/s */
    uint8_t pio_mode, mwdma, udma;
} AtapiCd;

extern const StateDesc atapi_cd_state;

/* blk may be NULL. */
void atapi_init(AtapiCd *cd, Machine *machine, Blk *blk, const AtaIdentity *identity);
extern const BlkDevOps atapi_blk_ops; /* opaque: the AtapiCd */
void atapi_identify(const AtapiCd *cd, uint8_t *data);

/* ---- Commands ---- */
void atapi_execute(AtapiCd *cd);
/* The parameter data of atapi_want_data() stands in buf[0, length). */
void atapi_parameters(AtapiCd *cd, uint32_t length);

/* ---- Transport ---- */
bool atapi_medium_ready(const AtapiCd *cd);
/* 2048-byte sectors on the medium. */
uint32_t atapi_sectors(const AtapiCd *cd);
/* Ends the command: GOOD. */
void atapi_good(AtapiCd *cd);
/* Ends it with CHECK CONDITION. */
void atapi_check(AtapiCd *cd, uint8_t key, uint16_t code);
/* Sends min(length, allocated) bytes of buf. */
void atapi_reply(AtapiCd *cd, uint32_t length, uint32_t allocated);
/* Sends count sectors from lba, part_bytes of each; parts as in READ CD byte 9. */
void atapi_send_sectors(AtapiCd *cd, uint32_t lba, uint32_t count, uint8_t parts,
                        uint32_t part_bytes);
/* Gets length bytes (up to the buffer's size) from the host. */
void atapi_want_data(AtapiCd *cd, uint32_t length);

/* ---- Raw sectors (cd-sector.c) ---- */
/* Bytes that READ CD's main channel selection (byte 9) takes of a mode 1 sector, or 0xffff if it is
 * no legal one. */
uint16_t cd_part_bytes(uint8_t parts);
/* Builds those parts of the mode 1 sector at lba from its 2048 bytes of user data; returns their
 * length.  ECMA-130 clauses 14 and 22 and annex A. */
uint32_t cd_build_parts(uint8_t *out, uint8_t parts, uint32_t lba, const uint8_t *user);
/* Minute, second, frame of lba (two seconds of pause first). */
void cd_msf(uint8_t msf[3], uint32_t lba);

#endif
