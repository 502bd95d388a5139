/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AES in CBC and XTS (IEEE 1619) over sectors, hashes and PBKDF2 (RFC 8018) on nettle. */
#include "cipher.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "nettle-lib.h"
#include "util/bytes.h"
#include "util/error.h"

#define BLOCK 16u

bool cipher_load(GError **error)
{
    return nettle_load(error);
}

/* ---- Hashes ---- */

typedef union HashState {
    struct hmac_sha1_ctx sha1;
    struct hmac_sha224_ctx sha224;
    struct hmac_sha256_ctx sha256;
    struct hmac_sha384_ctx sha384;
    struct hmac_sha512_ctx sha512;
    struct hmac_ripemd160_ctx ripemd160;
} HashState;

struct Hash {
    const char *name;
    const struct nettle_hash *const *plain; /* once nettle is loaded */
    void (*set_key)(void *state, size_t bytes, const uint8_t *key);
    nettle_hash_update_func *update;
    nettle_hash_digest_func *digest;
};

#define HMAC(kind)                                                                                 \
    static void mac_##kind##_set_key(void *state, size_t bytes, const uint8_t *key)                \
    {                                                                                              \
        nettle_lib.nettle_hmac_##kind##_set_key(state, bytes, key);                                \
    }                                                                                              \
    static void mac_##kind##_update(void *state, size_t bytes, const uint8_t *data)                \
    {                                                                                              \
        nettle_lib.hmac_##kind##_update(state, bytes, data);                                       \
    }                                                                                              \
    static void mac_##kind##_digest(void *state, size_t bytes, uint8_t *digest)                    \
    {                                                                                              \
        nettle_lib.nettle_hmac_##kind##_digest(state, bytes, digest);                              \
    }
HMAC(sha1)
HMAC(sha224)
HMAC(sha256)
HMAC(sha384)
HMAC(sha512)
HMAC(ripemd160)
#undef HMAC

#define HASH(kind)                                                                                 \
    {                                                                                              \
#kind, &nettle_lib.nettle_##kind, mac_##kind##_set_key, mac_##kind##_update,               \
            mac_##kind##_digest                                                                    \
    }
static const Hash hashes[] = {HASH(sha1),   HASH(sha224), HASH(sha256),
                              HASH(sha384), HASH(sha512), HASH(ripemd160)};
#undef HASH

const Hash *hash_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(hashes); i++)
        if (!strcmp(hashes[i].name, name))
            return &hashes[i];
    return NULL;
}

const char *hash_name(const Hash *hash)
{
    return hash->name;
}

size_t hash_bytes(const Hash *hash)
{
    return (*hash->plain)->digest_size;
}

void hash_run(const Hash *hash, const void *first, size_t first_bytes, const void *second,
              size_t second_bytes, uint8_t *digest)
{
    HashState state; /* of the hash alone, which is smaller */
    (*hash->plain)->init(&state);
    (*hash->plain)->update(&state, first_bytes, first);
    (*hash->plain)->update(&state, second_bytes, second);
    (*hash->plain)->digest(&state, (*hash->plain)->digest_size, digest);
    wipe(&state, sizeof(state));
}

void hash_pbkdf2(const Hash *hash, const void *password, size_t password_bytes, const void *salt,
                 size_t salt_bytes, uint32_t iterations, uint8_t *key, size_t key_bytes)
{
    HashState state;
    hash->set_key(&state, password_bytes, password);
    nettle_lib.pbkdf2(&state, hash->update, hash->digest, hash_bytes(hash), iterations, salt_bytes,
                      salt, key_bytes, key);
    wipe(&state, sizeof(state));
}

static uint64_t thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint32_t hash_iterations(const Hash *hash, size_t key_bytes, uint64_t ms)
{
    uint8_t key[128], salt[32] = {0};
    uint64_t n = 4096, took;
    for (;; n *= 2) {
        uint64_t start = thread_ns();
        hash_pbkdf2(hash, "measure", 7, salt, sizeof(salt), (uint32_t)n, key,
                    MIN(key_bytes, sizeof(key)));
        took = thread_ns() - start;
        if (took > 5000000 || n >= 1u << 20)
            break;
    }
    double wanted = (double)n * (double)ms * 1e6 / (double)MAX(took, 1);
    return (uint32_t)CLAMP(wanted, 1000, HASH_MAX_ITERATIONS);
}

/* ---- AES ---- */

typedef union AesKey {
    struct aes128_ctx k128;
    struct aes192_ctx k192;
    struct aes256_ctx k256;
} AesKey;

typedef struct Aes {
    AesKey encrypt_key, decrypt_key;
    nettle_cipher_func *encrypt, *decrypt;
} Aes;

struct Cipher {
    CipherMode mode;
    CipherIv iv;
    Aes data;
    Aes vector; /* XTS: encrypts the vector; ESSIV: makes it */
};

static bool aes_init(Aes *aes, const uint8_t *key, size_t bytes)
{
    switch (bytes) {
    case 16:
        nettle_lib.aes128_set_encrypt_key(&aes->encrypt_key.k128, key);
        nettle_lib.aes128_set_decrypt_key(&aes->decrypt_key.k128, key);
        aes->encrypt = (nettle_cipher_func *)nettle_lib.aes128_encrypt;
        aes->decrypt = (nettle_cipher_func *)nettle_lib.aes128_decrypt;
        return true;
    case 24:
        nettle_lib.aes192_set_encrypt_key(&aes->encrypt_key.k192, key);
        nettle_lib.aes192_set_decrypt_key(&aes->decrypt_key.k192, key);
        aes->encrypt = (nettle_cipher_func *)nettle_lib.aes192_encrypt;
        aes->decrypt = (nettle_cipher_func *)nettle_lib.aes192_decrypt;
        return true;
    case 32:
        nettle_lib.aes256_set_encrypt_key(&aes->encrypt_key.k256, key);
        nettle_lib.aes256_set_decrypt_key(&aes->decrypt_key.k256, key);
        aes->encrypt = (nettle_cipher_func *)nettle_lib.aes256_encrypt;
        aes->decrypt = (nettle_cipher_func *)nettle_lib.aes256_decrypt;
        return true;
    default:
        return false;
    }
}

Cipher *cipher_new(CipherMode mode, CipherIv iv, const Hash *hash, const uint8_t *key,
                   size_t key_bytes, GError **error)
{
    uint8_t digest[HASH_MAX_BYTES];
    if (!cipher_load(error))
        return NULL;
    Cipher *c = g_new0(Cipher, 1);
    c->mode = mode;
    c->iv = iv;
    size_t bytes = mode == CIPHER_XTS ? key_bytes / 2 : key_bytes;
    bool ok = aes_init(&c->data, key, bytes) && !(mode == CIPHER_XTS && bytes == 24);
    if (ok && mode == CIPHER_XTS) {
        ok = aes_init(&c->vector, key + bytes, bytes) && iv != CIPHER_IV_ESSIV;
    } else if (ok && iv == CIPHER_IV_ESSIV) {
        hash_run(hash, key, key_bytes, NULL, 0, digest);
        ok = aes_init(&c->vector, digest, hash_bytes(hash));
        wipe(digest, sizeof(digest));
    }
    if (ok)
        return c;
    cipher_free(c);
    fail(error, "AES has no such combination of mode, vectors and a key of %zu bytes", key_bytes);
    return NULL;
}

void cipher_free(Cipher *cipher)
{
    if (cipher) {
        wipe(cipher, sizeof(*cipher));
        g_free(cipher);
    }
}

static void make_vector(const Cipher *c, uint64_t sector, uint8_t *vector)
{
    memset(vector, 0, BLOCK);
    st64_le(vector, c->iv == CIPHER_IV_PLAIN ? (uint32_t)sector : sector);
    if (c->iv == CIPHER_IV_ESSIV)
        c->vector.encrypt(&c->vector.encrypt_key, BLOCK, vector, vector);
}

/* The vector of each block is that of the one before times x in GF(2^128). */
static void xts_vectors(const Cipher *c, const uint8_t *first, uint64_t *vectors)
{
    uint8_t start[BLOCK];
    c->vector.encrypt(&c->vector.encrypt_key, BLOCK, start, first);
    uint64_t low = ld64_le(start), high = ld64_le(start + 8);
    for (unsigned i = 0; i < CIPHER_SECTOR / 8; i += 2) {
        vectors[i] = htole64(low);
        vectors[i + 1] = htole64(high);
        uint64_t carry = high >> 63;
        high = high << 1 | low >> 63;
        low = low << 1 ^ (carry ? 0x87 : 0);
    }
}

static void xor_words(uint8_t *data, const uint64_t *with)
{
    for (unsigned i = 0; i < CIPHER_SECTOR / 8; i++) {
        uint64_t word;
        memcpy(&word, data + i * 8, 8);
        word ^= with[i];
        memcpy(data + i * 8, &word, 8);
    }
}

static void run_xts(const Cipher *c, bool encrypt, const uint8_t *vector, uint8_t *data)
{
    uint64_t vectors[CIPHER_SECTOR / 8];
    xts_vectors(c, vector, vectors);
    xor_words(data, vectors);
    if (encrypt)
        c->data.encrypt(&c->data.encrypt_key, CIPHER_SECTOR, data, data);
    else
        c->data.decrypt(&c->data.decrypt_key, CIPHER_SECTOR, data, data);
    xor_words(data, vectors);
}

void cipher_run(const Cipher *c, bool encrypt, uint64_t sector, void *data, size_t bytes)
{
    uint8_t vector[BLOCK], *p = data;
    for (size_t done = 0; done < bytes; done += CIPHER_SECTOR, p += CIPHER_SECTOR) {
        make_vector(c, sector++, vector);
        if (c->mode == CIPHER_XTS)
            run_xts(c, encrypt, vector, p);
        else if (encrypt)
            nettle_lib.cbc_encrypt(&c->data.encrypt_key, c->data.encrypt, BLOCK, vector,
                                   CIPHER_SECTOR, p, p);
        else
            nettle_lib.cbc_decrypt(&c->data.decrypt_key, c->data.decrypt, BLOCK, vector,
                                   CIPHER_SECTOR, p, p);
    }
}

bool cipher_unpad_cbc(const uint8_t *key, const uint8_t *vector, uint8_t *data, size_t *bytes,
                      GError **error)
{
    uint8_t iv[BLOCK];
    if (!*bytes || *bytes % BLOCK)
        return fail(error, "what is encrypted are whole blocks of %u bytes", BLOCK);
    Cipher *c = cipher_new(CIPHER_CBC, CIPHER_IV_PLAIN64, NULL, key, CIPHER_KEY_MAX, error);
    if (!c)
        return false;
    memcpy(iv, vector, BLOCK);
    nettle_lib.cbc_decrypt(&c->data.decrypt_key, c->data.decrypt, BLOCK, iv, *bytes, data, data);
    cipher_free(c);
    uint8_t padding = data[*bytes - 1];
    bool ok = padding && padding <= BLOCK;
    for (size_t i = 1; ok && i <= padding; i++)
        ok = data[*bytes - i] == padding;
    if (!ok)
        return fail(error, "its padding is wrong, and so the key, the IV or the data");
    *bytes -= padding;
    return true;
}

/* ---- Helpers ---- */

bool random_bytes(void *data, size_t bytes, GError **error)
{
    for (uint8_t *p = data; bytes;) {
        ssize_t n = getrandom(p, bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(error, errno, "no random numbers");
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

void wipe(void *data, size_t bytes)
{
    explicit_bzero(data, bytes);
}
