/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli), by which vhdx guards its structures. */
#ifndef VMRUN_BLOCK_CRC32C_H
#define VMRUN_BLOCK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The sum of data, of which the four bytes at `skip` count as zeros. */
uint32_t crc32c_without(const void *data, size_t bytes, size_t skip);

#endif
