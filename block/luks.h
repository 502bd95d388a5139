/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS, version 1 ("LUKS On-Disk Format Specification 1.2.3"): a header with eight key slots.  A
 * slot holds the volume's key, split into thousands of stripes and encrypted with a key that comes
 * from a password.
 *
 * It stands at the begin of an image of its own (format luks), or somewhere in a qcow2 file.
 */
#ifndef VMRUN_BLOCK_LUKS_H
#define VMRUN_BLOCK_LUKS_H

#include "block/file.h"
#include "block/node.h"
#include "cipher.h"

#define LUKS_SLOTS        8
#define LUKS_HEADER_BYTES 592u
#define LUKS_MAX_KEY      64u

typedef struct LuksSlot {
    bool active;
    uint32_t iterations, stripes;
    uint8_t salt[32];
    uint64_t offset; /* bytes from the header's begin */
} LuksSlot;

typedef struct Luks {
    Cipher *cipher;   /* NULL: locked */
    uint64_t payload; /* where data begins, from the header's begin */
    uint32_t key_bytes, digest_iterations;
    uint8_t digest[20], salt[32];
    LuksSlot slots[LUKS_SLOTS];
    CipherMode mode;
    CipherIv iv;
    const Hash *hash, *iv_hash;
    char uuid[41];
} Luks;

/* The first bytes of a LUKS header of version 1. */
bool luks_probe(const uint8_t *head, size_t bytes);
/* Reads the header at `at` and unlocks it with the secret; secret NULL: leaves it locked, if locked
 * is allowed, else an error that names `option` ("key-secret"), which is missing.  NULL on error.
 * (co) */
Luks *luks_open(BlkFile *file, uint64_t at, const char *secret, bool may_be_locked,
                const char *option, GError **error);
void luks_free(Luks *luks);

/* What a new header is to be: options as of create, each behind `prefix` ("encrypt."). */
typedef struct LuksSpec {
    const char *secret;
    unsigned key_bytes; /* of the cipher alone: 16, 24, 32 */
    CipherMode mode;
    CipherIv iv;
    const Hash *hash, *iv_hash;
    uint64_t iter_ms;
} LuksSpec;
bool luks_spec_read(LuksSpec *spec, const Options *options, const char *prefix, GError **error);
/* Bytes that the header and the slots of such an image take: where its payload begins. */
uint64_t luks_spec_payload(const LuksSpec *spec);
/* Writes header and first slot at `at`; data may follow at luks_spec_payload().  The header comes
 * last.  (co) */
bool luks_create(BlkFile *file, uint64_t at, const LuksSpec *spec, GError **error);

/* Lines of `info`: number n of them, false past the end. */
bool luks_detail(const Luks *luks, unsigned n, NodeDetail *d);

#endif
