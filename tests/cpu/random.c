/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "random.h"

#include <glib.h>
#include <string.h>

#include "pair.h"
#include "util/bytes.h"

uint64_t next_random(Random *r)
{
    *r ^= *r << 13;
    *r ^= *r >> 7;
    *r ^= *r << 17;
    return *r * 0x2545f4914f6cdd1dull;
}

unsigned below(Random *r, unsigned limit)
{
    return (unsigned)((next_random(r) >> 33) % limit);
}

uint64_t random_integer(Random *r)
{
    static const uint64_t some[] = {0,
                                    1,
                                    ~0ull,
                                    0x7f,
                                    0x80,
                                    0xff,
                                    0x7fff,
                                    0x8000,
                                    0xffff,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x7fffffffffffffff,
                                    0x8000000000000000};
    switch (below(r, 4)) {
    case 0:
        return some[below(r, G_N_ELEMENTS(some))];
    case 1:
        return next_random(r) & 0xff;
    default:
        return next_random(r);
    }
}

static uint32_t random_float(Random *r)
{
    static const uint32_t some[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                    0xff800000, 0x7fc00000, 0x7fa00000, 0x00000001, 0x007fffff,
                                    0x00800000, 0x7f7fffff, 0x4effffff, 0x4f000000, 0x40490fdb,
                                    0x3f000000, 0x3fc00000, 0x80000001};
    return below(r, 3) ? some[below(r, G_N_ELEMENTS(some))] : (uint32_t)next_random(r);
}

static uint64_t random_double(Random *r)
{
    static const uint64_t some[] = {0,
                                    1ull << 63,
                                    0x3ff0000000000000,
                                    0xbff0000000000000,
                                    0x7ff0000000000000,
                                    0xfffull << 52,
                                    0x7ff8000000000000,
                                    0x7ff4000000000000,
                                    1,
                                    0x000fffffffffffff,
                                    0x0010000000000000,
                                    0x7fefffffffffffff,
                                    0x41dfffffffc00000,
                                    0x41e0000000000000,
                                    0x400921fb54442d18,
                                    0x3fe0000000000000,
                                    0x43e0000000000000,
                                    0x3ff8000000000000};
    return below(r, 3) ? some[below(r, G_N_ELEMENTS(some))] : next_random(r);
}

/* Sixteen bytes of one kind. */
void random_vector(Random *r, uint8_t *to)
{
    unsigned kind = below(r, 4);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value = kind == 0   ? random_integer(r)
                         : kind == 1 ? random_double(r)
                         : kind == 2 ? random_float(r) | (uint64_t)random_float(r) << 32
                                     : next_random(r);
        st64_le(to + 8 * i, value);
    }
}

void random_x87(Random *r, uint8_t *to)
{
    static const uint16_t exponents[] = {0,      0,      1,      0x3fff, 0x3ffe, 0x4000, 0x401e,
                                         0x403e, 0x43fe, 0x3c01, 0x3f81, 0x7ffe, 0x7fff, 0x7fff};
    uint64_t mantissa = next_random(r) | (below(r, 16) ? 1ull << 63 : 0);
    uint16_t exponent = exponents[below(r, G_N_ELEMENTS(exponents))];
    if (below(r, 2))
        mantissa &= 0xffff000000000000;
    if (below(r, 4) == 0)
        mantissa = exponent ? 1ull << 63 : 0;
    if (below(r, 4) == 0)
        exponent = (uint16_t)(0x3ff0 + below(r, 64));
    memset(to, 0, 16);
    st64_le(to, mantissa);
    st16_le(to + 8, (uint16_t)(exponent | below(r, 2) << 15));
}

void random_xsave(Random *r, uint8_t *area)
{
    bool unmask_x87 = below(r, 8) == 0, unmask_sse = below(r, 8) == 0;
    memset(area, 0, PAIR_XSAVE);
    unsigned control = 0x40 | below(r, 4) << 8 | below(r, 4) << 10;
    st16_le(area, (uint16_t)(control | (unmask_x87 ? below(r, 64) : 0x3f)));
    unsigned flags = unmask_x87 && below(r, 4) ? 0 : below(r, 64);
    if (below(r, 8) == 0)
        flags |= 0x40;
    unsigned status = below(r, 8) << 11 | (next_random(r) & 0x4700) | flags;
    if (flags & ~(unsigned)ld16_le(area) & 0x3f)
        status |= 0x8080;
    st16_le(area + 2, (uint16_t)status);
    area[4] = below(r, 4) ? (uint8_t)next_random(r) : 0xff;
    uint32_t mxcsr = (uint32_t)(next_random(r) & 0xe07f);
    if (below(r, 2))
        mxcsr &= 0x3f;
    if (unmask_sse && below(r, 2))
        mxcsr &= ~0x3fu;
    mxcsr |= unmask_sse ? below(r, 64) << 7 : 0x1f80;
    st32_le(area + 24, mxcsr);
    for (unsigned i = 0; i < 8; i++)
        random_x87(r, area + 32 + 16 * i);
    for (unsigned i = 0; i < 16; i++) {
        random_vector(r, area + 160 + 16 * i);
        random_vector(r, area + 576 + 16 * i);
    }
    st64_le(area + 512, 7);
}
