/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VGA: decoding a line of display memory into 32-bit pixels, one function a pixel format. */
#include "util/bytes.h"
#include "vga_core.h"

/* The eight bits of a byte, leftmost first, as eight bytes of 0 or 1. */
static uint64_t spread_bits(uint8_t byte)
{
    uint64_t bits = byte * 0x0101010101010101ULL & 0x0102040810204080ULL;
    return (bits + 0x7f7f7f7f7f7f7f7fULL) >> 7 & 0x0101010101010101ULL;
}

/* Planar: four bytes hold eight pixels; more than count may be written, up to a multiple of 8. */
static void line_planar(const uint32_t *palette, uint32_t *out, const uint8_t *in, unsigned count)
{
    for (unsigned x = 0; x < count; x += 8, in += 4, out += 8) {
        uint64_t pixels = spread_bits(in[0]) | spread_bits(in[1]) << 1 | spread_bits(in[2]) << 2 |
                          spread_bits(in[3]) << 3;
        for (unsigned i = 0; i < 8; i++)
            out[i] = palette[pixels >> i * 8 & 15];
    }
}

/* Interleaved shift: planes 0 and 2 give four pixels of two bits each, then planes 1 and 3. */
static void line_cga(const uint32_t *palette, uint32_t *out, const uint8_t *in, unsigned count)
{
    for (unsigned x = 0; x < count; x += 8, in += 4, out += 8) {
        for (unsigned i = 0; i < 8; i++) {
            unsigned shift = 6 - (i & 3) * 2, plane = i >> 2;
            out[i] = palette[(in[plane] >> shift & 3) | (in[plane + 2] >> shift & 3) << 2];
        }
    }
}

static void line_8(const uint32_t *palette, uint32_t *out, const uint8_t *in, unsigned count)
{
    for (unsigned x = 0; x < count; x++)
        out[x] = palette[in[x]];
}

static uint32_t rgb555(uint32_t v)
{
    uint32_t r = v >> 10 & 31, g = v >> 5 & 31, b = v & 31;
    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}
static uint32_t rgb565(uint32_t v)
{
    uint32_t r = v >> 11 & 31, g = v >> 5 & 63, b = v & 31;
    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}
static uint32_t rgb24_le(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}
static uint32_t rgb24_be(const uint8_t *p)
{
    return p[2] | (uint32_t)p[1] << 8 | (uint32_t)p[0] << 16;
}

#define DIRECT_LINE(name, bytes, pixel)                                                            \
    static void name(const uint32_t *palette, uint32_t *out, const uint8_t *in, unsigned count)    \
    {                                                                                              \
        for (unsigned x = 0; x < count; x++, in += (bytes))                                        \
            out[x] = (pixel);                                                                      \
    }
DIRECT_LINE(line_15_le, 2, rgb555(ld16_le(in)))
DIRECT_LINE(line_15_be, 2, rgb555(ld16_be(in)))
DIRECT_LINE(line_16_le, 2, rgb565(ld16_le(in)))
DIRECT_LINE(line_16_be, 2, rgb565(ld16_be(in)))
DIRECT_LINE(line_24_le, 3, rgb24_le(in))
DIRECT_LINE(line_24_be, 3, rgb24_be(in))
DIRECT_LINE(line_32_le, 4, ld32_le(in) & 0xffffff)
DIRECT_LINE(line_32_be, 4, ld32_be(in) & 0xffffff)

VgaLineFn *vga_line_fn(const VgaFrame *f)
{
    switch (f->kind) {
    case VGA_PLANAR:
        return line_planar;
    case VGA_CGA:
        return line_cga;
    case VGA_15:
        return f->big_endian ? line_15_be : line_15_le;
    case VGA_16:
        return f->big_endian ? line_16_be : line_16_le;
    case VGA_24:
        return f->big_endian ? line_24_be : line_24_le;
    case VGA_32:
        return f->big_endian ? line_32_be : line_32_le;
    default:
        return line_8;
    }
}

unsigned vga_line_bytes(const VgaFrame *f, unsigned count)
{
    switch (f->kind) {
    case VGA_PLANAR:
    case VGA_CGA:
        return (count + 7) / 8 * 4;
    case VGA_15:
    case VGA_16:
        return count * 2;
    case VGA_24:
        return count * 3;
    case VGA_32:
        return count * 4;
    default:
        return count;
    }
}
