/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS key slots: splitting the volume's key, sealing it with a password, opening it with one. */
#include <errno.h>
#include <string.h>

#include "luks.h"
#include "util/bytes.h"
#include "util/threadpool.h"

#define SLOT_ACTIVE 0x00ac71f3u
#define SLOT_FREE   0x0000deadu

bool luks_get_slot(const uint8_t *entry, LuksSlot *slot)
{
    uint32_t state = ld32_be(entry);
    slot->active = state == SLOT_ACTIVE;
    slot->iterations = ld32_be(entry + 4);
    memcpy(slot->salt, entry + 8, sizeof(slot->salt));
    slot->offset = ld32_be(entry + 40) * 512ULL;
    slot->stripes = ld32_be(entry + 44);
    return slot->active || state == SLOT_FREE;
}

void luks_put_slot(uint8_t *entry, const LuksSlot *slot)
{
    st32_be(entry, slot->active ? SLOT_ACTIVE : SLOT_FREE);
    st32_be(entry + 4, slot->iterations);
    memcpy(entry + 8, slot->salt, sizeof(slot->salt));
    st32_be(entry + 40, (uint32_t)(slot->offset / 512));
    st32_be(entry + 44, slot->stripes);
}

/* ---- Splitting keys (section 2.4) ---- */

/* Replaces each piece as long as a digest by its hash. */
static void diffuse(const Hash *hash, uint8_t *key, size_t bytes)
{
    uint8_t digest[HASH_MAX_BYTES];
    size_t piece = hash_bytes(hash);
    for (uint32_t i = 0; i * piece < bytes; i++) {
        uint8_t number[4];
        size_t n = MIN(piece, bytes - i * piece);
        st32_be(number, i);
        hash_run(hash, number, sizeof(number), key + i * piece, n, digest);
        memcpy(key + i * piece, digest, n);
    }
    wipe(digest, sizeof(digest));
}

/* The sum of all stripes but the last, into sum. */
static void fold(const Hash *hash, const uint8_t *stripes, uint32_t count, uint8_t *sum,
                 size_t bytes)
{
    memset(sum, 0, bytes);
    for (uint32_t s = 0; s + 1 < count; s++) {
        for (size_t i = 0; i < bytes; i++)
            sum[i] ^= stripes[s * bytes + i];
        diffuse(hash, sum, bytes);
    }
}

/* ---- Opening ---- */

typedef struct Unlock {
    const Luks *l;
    const LuksSlot *slot;
    const void *password;
    size_t password_bytes;
    uint8_t *stripes; /* as they stand in the file, then plain */
    size_t bytes;
    uint8_t *key;
} Unlock;

/* In a pool thread, as it takes seconds: whether the password opens the slot. */
static int try_slot(void *opaque)
{
    Unlock *u = opaque;
    const Luks *l = u->l;
    uint8_t slot_key[LUKS_MAX_KEY], digest[sizeof(l->digest)];
    hash_pbkdf2(l->hash, u->password, u->password_bytes, u->slot->salt, sizeof(u->slot->salt),
                u->slot->iterations, slot_key, l->key_bytes);
    Cipher *cipher = cipher_new(l->mode, l->iv, l->iv_hash, slot_key, l->key_bytes, NULL);
    wipe(slot_key, sizeof(slot_key));
    if (!cipher)
        return -ENOTSUP;
    cipher_run(cipher, false, 0, u->stripes, u->bytes);
    cipher_free(cipher);
    fold(l->hash, u->stripes, u->slot->stripes, u->key, l->key_bytes);
    const uint8_t *last = u->stripes + (size_t)(u->slot->stripes - 1) * l->key_bytes;
    for (unsigned i = 0; i < l->key_bytes; i++)
        u->key[i] ^= last[i];
    hash_pbkdf2(l->hash, u->key, l->key_bytes, l->salt, sizeof(l->salt), l->digest_iterations,
                digest, sizeof(digest));
    return memcmp(digest, l->digest, sizeof(digest)) ? -EACCES : 0;
}

int luks_slot_open(const Luks *l, unsigned slot, BlkFile *file, uint64_t at, const void *password,
                   size_t password_bytes, uint8_t *key)
{
    Unlock u = {l, &l->slots[slot], password, password_bytes, NULL, 0, key};
    u.bytes = align_up((size_t)u.slot->stripes * l->key_bytes, CIPHER_SECTOR);
    u.stripes = block_try_malloc(u.bytes);
    int ret = u.stripes ? file_pread(file, at + u.slot->offset, u.stripes, u.bytes) : -ENOMEM;
    if (!ret)
        ret = co_pool(try_slot, &u);
    if (u.stripes)
        wipe(u.stripes, u.bytes);
    g_free(u.stripes);
    if (ret)
        wipe(key, LUKS_MAX_KEY);
    return ret;
}

/* ---- Sealing ---- */

/* Splits the key so that losing any stripe loses all of it. */
static bool split(LuksSeal *s)
{
    uint8_t sum[LUKS_MAX_KEY];
    uint32_t count = s->slot.stripes, bytes = s->luks->key_bytes;
    uint8_t *last = s->stripes + (size_t)(count - 1) * bytes;
    if (!random_bytes(s->stripes, (size_t)(count - 1) * bytes, s->error))
        return false;
    fold(s->luks->hash, s->stripes, count, sum, bytes);
    for (uint32_t i = 0; i < bytes; i++)
        last[i] = sum[i] ^ s->luks->key[i];
    wipe(sum, sizeof(sum));
    return true;
}

int luks_slot_seal(void *opaque)
{
    LuksSeal *s = opaque;
    const Luks *l = s->luks;
    uint8_t slot_key[LUKS_MAX_KEY];
    s->bytes = align_up((size_t)s->slot.stripes * l->key_bytes, CIPHER_SECTOR);
    s->stripes = g_malloc0(s->bytes);
    if (!random_bytes(s->slot.salt, sizeof(s->slot.salt), s->error) || !split(s))
        return -EINVAL;
    s->slot.iterations = hash_iterations(l->hash, l->key_bytes, s->iter_ms);
    hash_pbkdf2(l->hash, s->password, s->password_bytes, s->slot.salt, sizeof(s->slot.salt),
                s->slot.iterations, slot_key, l->key_bytes);
    Cipher *cipher = cipher_new(l->mode, l->iv, l->iv_hash, slot_key, l->key_bytes, s->error);
    if (cipher)
        cipher_run(cipher, true, 0, s->stripes, s->bytes);
    cipher_free(cipher);
    wipe(slot_key, sizeof(slot_key));
    return cipher ? 0 : -EINVAL;
}

void luks_seal_free(LuksSeal *s)
{
    if (s->stripes)
        wipe(s->stripes, s->bytes);
    g_free(s->stripes);
}
