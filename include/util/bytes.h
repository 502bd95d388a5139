/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unaligned little- and big-endian loads and stores, and small bit helpers. */
#ifndef VMRUN_UTIL_BYTES_H
#define VMRUN_UTIL_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BYTES_ACCESSORS(bits, order, convert_in, convert_out)                                      \
    static inline uint##bits##_t ld##bits##_##order(const void *p)                                 \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof(v));                                                                  \
        return convert_in(v);                                                                      \
    }                                                                                              \
    static inline void st##bits##_##order(void *p, uint##bits##_t v)                               \
    {                                                                                              \
        v = convert_out(v);                                                                        \
        memcpy(p, &v, sizeof(v));                                                                  \
    }
BYTES_ACCESSORS(16, le, le16toh, htole16)
BYTES_ACCESSORS(32, le, le32toh, htole32)
BYTES_ACCESSORS(64, le, le64toh, htole64)
BYTES_ACCESSORS(16, be, be16toh, htobe16)
BYTES_ACCESSORS(32, be, be32toh, htobe32)
BYTES_ACCESSORS(64, be, be64toh, htobe64)
#undef BYTES_ACCESSORS

/* Little-endian load and store of 1, 2, 4 or 8 bytes. */
static inline uint64_t ldn_le(const void *p, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    return le64toh(v);
}
static inline void stn_le(void *p, unsigned size, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, size);
}

/* Whether all bytes are zero: a short look at both ends and the middle refuses most data at once;
 * then memcmp() against itself, shifted, runs at memory speed. */
static inline bool buffer_is_zero(const void *data, size_t bytes)
{
    const uint8_t *p = (const uint8_t *)data;
    if (!bytes)
        return true;
    if (p[0] | p[bytes / 2] | p[bytes - 1])
        return false;
    size_t head = bytes < 64 ? bytes : 64;
    uint8_t any = 0;
    for (size_t i = 0; i < head; i++)
        any |= p[i];
    return !any && (bytes <= 64 || !memcmp(p, p + 64, bytes - 64));
}

/* All-ones in the low size bytes (1 to 8). */
static inline uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
}
/* `length` bits of v from bit `start` on; and v with them replaced. */
static inline uint64_t bits_get(uint64_t v, unsigned start, unsigned length)
{
    return (v >> start) & (length >= 64 ? UINT64_MAX : (1ULL << length) - 1);
}
static inline uint64_t bits_set(uint64_t v, unsigned start, unsigned length, uint64_t field)
{
    uint64_t mask = (length >= 64 ? UINT64_MAX : (1ULL << length) - 1) << start;
    return (v & ~mask) | ((field << start) & mask);
}
static inline bool is_pow2(uint64_t v)
{
    return v && !(v & (v - 1));
}
/* align is a power of two. */
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}
static inline uint8_t to_bcd(unsigned v)
{
    return (uint8_t)((v / 10 % 10) << 4 | v % 10);
}
static inline unsigned from_bcd(uint8_t v)
{
    return (v >> 4) * 10 + (v & 15);
}

#define container_of(ptr, type, member)                                                            \
    ((type *)((char *)(1 ? (ptr) : &((type *)0)->member) - offsetof(type, member)))

#endif
