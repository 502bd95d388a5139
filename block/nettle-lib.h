/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nettle's functions, found when the library is loaded: with the first key. */
#ifndef VMRUN_BLOCK_NETTLE_LIB_H
#define VMRUN_BLOCK_NETTLE_LIB_H

#include <glib.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/hmac.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <stdbool.h>

/* The library's headers rename each function, so that lib->aes128_encrypt is one of these, too. */
#define NETTLE_AES(X, bits)                                                                        \
    X(nettle_aes##bits##_set_encrypt_key)                                                          \
    X(nettle_aes##bits##_set_decrypt_key)                                                          \
    X(nettle_aes##bits##_encrypt)                                                                  \
    X(nettle_aes##bits##_decrypt)
#define NETTLE_HMAC(X, kind) X(nettle_hmac_##kind##_set_key) X(nettle_hmac_##kind##_digest)
/* The shorter hashes share this with the longer ones. */
#define NETTLE_UPDATE(X)                                                                           \
    X(nettle_hmac_sha1_update)                                                                     \
    X(nettle_hmac_sha256_update)                                                                   \
    X(nettle_hmac_sha512_update)                                                                   \
    X(nettle_hmac_ripemd160_update)
#define NETTLE_CALLS(X)                                                                            \
    NETTLE_AES(X, 128)                                                                             \
    NETTLE_AES(X, 192)                                                                             \
    NETTLE_AES(X, 256)                                                                             \
    NETTLE_HMAC(X, sha1)                                                                           \
    NETTLE_HMAC(X, sha224)                                                                         \
    NETTLE_HMAC(X, sha256)                                                                         \
    NETTLE_HMAC(X, sha384)                                                                         \
    NETTLE_HMAC(X, sha512)                                                                         \
    NETTLE_HMAC(X, ripemd160)                                                                      \
    NETTLE_UPDATE(X)                                                                               \
    X(nettle_cbc_encrypt)                                                                          \
    X(nettle_cbc_decrypt)                                                                          \
    X(nettle_pbkdf2)                                                                               \
    X(nettle_sha1)                                                                                 \
    X(nettle_sha224)                                                                               \
    X(nettle_sha256)                                                                               \
    X(nettle_sha384)                                                                               \
    X(nettle_sha512)                                                                               \
    X(nettle_ripemd160)

typedef struct NettleLib {
#define X(name) __typeof__(&name) name;
    NETTLE_CALLS(X)
#undef X
} NettleLib;

/* Filled by nettle_load(). */
extern NettleLib nettle_lib;
/* Loads it once; false with an error if it is not installed. Any thread. */
bool nettle_load(GError **error);

#endif
