/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C, a byte at a time. */
#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u

static uint32_t table[256];

static void fill_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
        table[i] = value;
    }
}

uint32_t crc32c_without(const void *data, size_t bytes, size_t skip)
{
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    if (!table[1])
        fill_table();
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = i >= skip && i < skip + 4 ? 0 : p[i];
        crc = crc >> 8 ^ table[(crc ^ byte) & 255];
    }
    return ~crc;
}
