/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte store that encrypts what is written to another one below it, sector by sector, at the same
 * offsets.  Holes do not read as zeros.
 */
#ifndef VMRUN_BLOCK_CRYPT_FILE_H
#define VMRUN_BLOCK_CRYPT_FILE_H

#include "block/file.h"
#include "cipher.h"

/* Sector 0 of the cipher is the one at first_byte of the file.  Offsets and lengths must be
 * multiples of 512, else -EINVAL.  The cipher and `below` stay the caller's. */
BlkFile *crypt_file_new(BlkFile *below, const Cipher *cipher, uint64_t first_byte);

#endif
