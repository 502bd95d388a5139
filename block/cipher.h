/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What encrypted images need of cryptography: AES over sectors of 512 bytes, hashes, PBKDF2, and
 * random bytes.  nettle does the arithmetic.  Any thread, once made.
 */
#ifndef VMRUN_BLOCK_CIPHER_H
#define VMRUN_BLOCK_CIPHER_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIPHER_SECTOR  512u
#define CIPHER_BLOCK   16u
#define CIPHER_KEY_MAX 32u

/* Loads nettle, if it is not yet: before hash_bytes(), hash_run(), hash_pbkdf2() and
 * hash_iterations() are called.  cipher_new() does it by itself. */
bool cipher_load(GError **error);

typedef enum { CIPHER_CBC, CIPHER_XTS } CipherMode;
/* How a sector's number becomes its initialisation vector: 32 bits of it, 64, or 64 encrypted with
 * a hash of the key. */
typedef enum { CIPHER_IV_PLAIN, CIPHER_IV_PLAIN64, CIPHER_IV_ESSIV } CipherIv;

typedef struct Hash Hash;
#define HASH_MAX_BYTES 64
/* "sha256"; NULL if it is unknown. */
const Hash *hash_find(const char *name);
const char *hash_name(const Hash *hash);
size_t hash_bytes(const Hash *hash);
/* Of `first` and `second` behind it. */
void hash_run(const Hash *hash, const void *first, size_t first_bytes, const void *second,
              size_t second_bytes, uint8_t *digest);
void hash_pbkdf2(const Hash *hash, const void *password, size_t password_bytes, const void *salt,
                 size_t salt_bytes, uint32_t iterations, uint8_t *key, size_t key_bytes);
/* What a header may ask for, at most: so long as a hostile image may take to open, but enough for
 * what was made to take minutes. */
#define HASH_MAX_ITERATIONS ((uint32_t)INT32_MAX)
/* Iterations of PBKDF2 that take `ms` milliseconds of this processor's time; at least 1000, and
 * HASH_MAX_ITERATIONS at most. */
uint32_t hash_iterations(const Hash *hash, size_t key_bytes, uint64_t ms);

typedef struct Cipher Cipher;
/* key_bytes: 16, 24 or 32, twice that with XTS (which takes no 24).  hash: for ESSIV, else NULL. */
Cipher *cipher_new(CipherMode mode, CipherIv iv, const Hash *hash, const uint8_t *key,
                   size_t key_bytes, GError **error);
/* Wipes and frees. */
void cipher_free(Cipher *cipher);
/* bytes: a multiple of CIPHER_SECTOR; data is changed in place. */
void cipher_run(const Cipher *cipher, bool encrypt, uint64_t sector, void *data, size_t bytes);

/* Decrypts a text of whole blocks in place with AES-256-CBC and takes off its padding (RFC 5652,
 * 6.3).  False: it has none, the key is wrong. */
bool cipher_unpad_cbc(const uint8_t *key, const uint8_t *vector, uint8_t *data, size_t *bytes,
                      GError **error);

/* From the kernel's generator. */
bool random_bytes(void *data, size_t bytes, GError **error);
/* Overwrites, even if nobody reads it afterwards; for keys and passwords. */
void wipe(void *data, size_t bytes);

#endif
