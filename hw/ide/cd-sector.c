/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mode 1 sectors as they stand on a CD-ROM: sync, header, user data, EDC, and the P and Q parity of
 * the Reed-Solomon product code (ECMA-130 clauses 14 and 22, annex A and B).
 */
#include "atapi.h"
#include "util/bytes.h"

enum {
    SYNC = 0,
    HEADER = 12,
    USER = 16,
    EDC = 2064,
    ZERO = 2068,
    PARITY_P = 2076,
    PARITY_Q = 2248,
};
/* READ CD byte 9: which parts. */
enum { PART_SYNC = 0x80, PART_HEADERS = 0x60, PART_HEADER = 0x20, PART_USER = 0x10, PART_EDC = 8 };

uint16_t cd_part_bytes(uint8_t parts)
{
    if (parts & 7) /* C2 error flags, reserved */
        return 0xffff;
    return (uint16_t)((parts & PART_SYNC ? 12 : 0) + (parts & PART_HEADER ? 4 : 0) +
                      (parts & PART_USER ? CD_SECTOR : 0) + (parts & PART_EDC ? 288 : 0));
}

void cd_msf(uint8_t msf[3], uint32_t lba)
{
    uint32_t frame = lba + 150;
    msf[0] = (uint8_t)(frame / 75 / 60);
    msf[1] = (uint8_t)(frame / 75 % 60);
    msf[2] = (uint8_t)(frame % 75);
}

/* CRC with (x^16 + x^15 + x^2 + 1)(x^16 + x^2 + x + 1), least significant bit first. */
static uint32_t edc(const uint8_t *data, size_t length)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xd8018001u : 0);
    }
    return crc;
}

/* Multiplication by the primitive element of GF(2^8) over x^8 + x^4 + x^3 + x^2 + 1. */
static uint8_t times_alpha(uint8_t v)
{
    return (uint8_t)(v << 1 ^ (v & 0x80 ? 0x1d : 0));
}

/* Division by (1 + alpha): found by trial, 256 values at most. */
static uint8_t over_one_plus_alpha(uint8_t v)
{
    unsigned candidate = 0;
    while ((uint8_t)(candidate ^ times_alpha((uint8_t)candidate)) != v)
        candidate++;
    return (uint8_t)candidate;
}

/*
 * Two parity bytes for each vector, so that the sum of its bytes and the sum of its bytes times
 * alpha^position are zero.  Byte `minor` of vector `major` stands at (major >> 1) * major_step +
 * (major & 1) + minor * minor_step in 16-bit words from the header on, modulo the size of the area.
 */
static void parity(const uint8_t *area, unsigned majors, unsigned minors, unsigned major_step,
                   unsigned minor_step, uint8_t *out)
{
    unsigned size = majors * minors;
    for (unsigned major = 0; major < majors; major++) {
        unsigned at = (major >> 1) * major_step + (major & 1);
        uint8_t sum = 0, weighted = 0;
        for (unsigned minor = 0; minor < minors; minor++) {
            uint8_t v = area[at];
            at += minor_step;
            at = at >= size ? at - size : at;
            sum ^= v;
            weighted = times_alpha((uint8_t)(weighted ^ v));
        }
        /* weighted = sum of v * alpha^(minors - minor); solve for the two parity bytes. */
        uint8_t first = over_one_plus_alpha((uint8_t)(times_alpha(weighted) ^ sum));
        out[major] = first;
        out[major + majors] = first ^ sum;
    }
}

static void build_sector(uint8_t *s, uint32_t lba, const uint8_t *user)
{
    memset(s, 0, CD_RAW_SECTOR);
    memset(s + SYNC + 1, 0xff, 10);
    uint8_t msf[3];
    cd_msf(msf, lba);
    for (unsigned i = 0; i < 3; i++)
        s[HEADER + i] = to_bcd(msf[i]);
    s[HEADER + 3] = 1; /* mode */
    memcpy(s + USER, user, CD_SECTOR);
    st32_le(s + EDC, edc(s, EDC));
    parity(s + HEADER, 86, 24, 2, 86, s + PARITY_P);
    parity(s + HEADER, 52, 43, 86, 88, s + PARITY_Q);
}

static uint8_t *put(uint8_t *out, const uint8_t *from, uint32_t length)
{
    memcpy(out, from, length);
    return out + length;
}

uint32_t cd_build_parts(uint8_t *out, uint8_t parts, uint32_t lba, const uint8_t *user)
{
    uint8_t sector[CD_RAW_SECTOR], *end = out;
    build_sector(sector, lba, user);
    if (parts & PART_SYNC)
        end = put(end, sector + SYNC, 12);
    if (parts & PART_HEADER)
        end = put(end, sector + HEADER, 4);
    if (parts & PART_USER)
        end = put(end, sector + USER, CD_SECTOR);
    if (parts & PART_EDC)
        end = put(end, sector + EDC, 288);
    return (uint32_t)(end - out);
}
