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

#define LUKS_MAX_STRIPES (1u << 16)
#define LUKS_AT_SLOTS    208 /* in the header: LUKS_SLOTS entries */
#define LUKS_SLOT_BYTES  48

typedef struct LuksSlot {
    bool active;
    uint32_t iterations, stripes;
    uint8_t salt[32];
    uint64_t offset; /* bytes from the header's begin */
} LuksSlot;

typedef struct Luks {
    Cipher *cipher;            /* NULL: locked */
    uint8_t key[LUKS_MAX_KEY]; /* the volume's; nothing while it is locked */
    uint64_t payload;          /* where data begins, from the header's begin */
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

/* ---- Key slots ---- */

/* A slot's entry in the header; false: it is neither active nor free. */
bool luks_get_slot(const uint8_t *entry, LuksSlot *slot);
void luks_put_slot(uint8_t *entry, const LuksSlot *slot);
/* The volume's key, if the password opens the slot: 0, -EACCES if it does not, or another errno.
 * nettle is loaded. (co) */
int luks_slot_open(const Luks *l, unsigned slot, BlkFile *file, uint64_t at, const void *password,
                   size_t password_bytes, uint8_t *key);
/* What a slot is to hold. */
typedef struct LuksSeal {
    const Luks *luks; /* key and hashes */
    LuksSlot slot;    /* place and stripes; gets salt and iterations */
    const void *password;
    size_t password_bytes;
    uint64_t iter_ms; /* that a try of the password is to take */
    uint8_t *stripes; /* made: what to write at the slot's place */
    size_t bytes;
    GError **error;
} LuksSeal;
/* Makes it, in a pool thread, as it takes seconds: 0, or -EINVAL with *error. */
int luks_slot_seal(void *seal);
void luks_seal_free(LuksSeal *seal);
extern const CreateOption luks_amend_options[];
/* Puts a password into a slot, or takes one out: options as of luks_amend_options, each behind
 * `prefix`.  The header and its slots take `room` bytes at `at`.  force: even if nobody can unlock
 * the image any more.  A power cut leaves the slots before or after, those apart that are forced
 * to be overwritten. (co) */
bool luks_amend(Luks *l, BlkFile *file, uint64_t at, uint64_t room, const Options *options,
                const char *prefix, bool force, GError **error);

/* Lines of `info`: number n of them, false past the end. */
bool luks_detail(const Luks *luks, unsigned n, NodeDetail *d);

#endif
