/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS headers: reading, unlocking, making. */
#include "luks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/secret.h"
#include "formats.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/threadpool.h"

#define SLOT_ACTIVE    0x00ac71f3u
#define SLOT_FREE      0x0000deadu
#define STRIPES        4000u
#define MAX_STRIPES    (1u << 16)
#define MAX_ITERATIONS 100000000u
#define SLOT_ALIGN     4096u
#define AT_CIPHER      8
#define AT_MODE        40
#define AT_HASH        72
#define AT_PAYLOAD     104
#define AT_KEY_BYTES   108
#define AT_DIGEST      112
#define AT_SALT        132
#define AT_ITERATIONS  164
#define AT_UUID        168
#define AT_SLOTS       208
#define SLOT_BYTES     48

static const uint8_t magic[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};

bool luks_probe(const uint8_t *head, size_t bytes)
{
    return bytes >= 8 && !memcmp(head, magic, sizeof(magic)) && ld16_be(head + 6) == 1;
}

/* ---- Reading ---- */

static bool read_mode(Luks *l, const char *name, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, "-", 2);
    const char *vector = parts[0] && parts[1] ? parts[1] : "";
    l->mode = !g_strcmp0(parts[0], "xts") ? CIPHER_XTS : CIPHER_CBC;
    if (g_strcmp0(parts[0], "xts") && g_strcmp0(parts[0], "cbc"))
        return fail(error, "'%s': cipher mode '%s' is not supported, only cbc and xts", name, text);
    if (!strcmp(vector, "plain"))
        l->iv = CIPHER_IV_PLAIN;
    else if (!strcmp(vector, "plain64"))
        l->iv = CIPHER_IV_PLAIN64;
    else if (g_str_has_prefix(vector, "essiv:") && (l->iv_hash = hash_find(vector + 6)))
        l->iv = CIPHER_IV_ESSIV;
    else
        return fail(error, "'%s': vectors '%s' are not supported, only plain, plain64 and essiv",
                    name, vector);
    return true;
}

static bool read_slots(Luks *l, const char *name, const uint8_t *h, uint64_t room, GError **error)
{
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *s = h + AT_SLOTS + i * SLOT_BYTES;
        LuksSlot *slot = &l->slots[i];
        slot->active = ld32_be(s) == SLOT_ACTIVE;
        slot->iterations = ld32_be(s + 4);
        memcpy(slot->salt, s + 8, sizeof(slot->salt));
        slot->offset = ld32_be(s + 40) * 512ULL;
        slot->stripes = ld32_be(s + 44);
        if (!slot->active && ld32_be(s) != SLOT_FREE)
            return fail(error, "'%s': key slot %u is damaged", name, i);
        if (!slot->active)
            continue;
        if (!slot->stripes || slot->stripes > MAX_STRIPES || !slot->iterations ||
            slot->iterations > MAX_ITERATIONS)
            return fail(error, "'%s': key slot %u has %u stripes and %u iterations", name, i,
                        slot->stripes, slot->iterations);
        if (slot->offset < LUKS_HEADER_BYTES ||
            slot->offset + (uint64_t)slot->stripes * l->key_bytes > room)
            return fail(error, "'%s': key slot %u is out of bounds", name, i);
    }
    return true;
}

/* A text field that may fill its place. */
static void take_text(char *to, const uint8_t *from, size_t bytes)
{
    memcpy(to, from, bytes);
    to[bytes] = 0;
}

static bool read_header(Luks *l, BlkFile *file, uint64_t at, GError **error)
{
    uint8_t h[LUKS_HEADER_BYTES];
    char cipher[33], mode[33], hash[33];
    const char *name = file->name;
    if (at > file->size || file->size - at < sizeof(h))
        return fail(error, "'%s' is too short for a LUKS header", name);
    int ret = file_pread(file, at, h, sizeof(h));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", name);
    if (memcmp(h, magic, sizeof(magic)))
        return fail(error, "'%s' has no LUKS header", name);
    if (ld16_be(h + 6) != 1)
        return fail(error, "'%s' is LUKS version %u; 1 is supported", name, ld16_be(h + 6));
    take_text(cipher, h + AT_CIPHER, 32);
    take_text(mode, h + AT_MODE, 32);
    take_text(hash, h + AT_HASH, 32);
    take_text(l->uuid, h + AT_UUID, 40);
    l->payload = ld32_be(h + AT_PAYLOAD) * 512ULL;
    l->key_bytes = ld32_be(h + AT_KEY_BYTES);
    l->digest_iterations = ld32_be(h + AT_ITERATIONS);
    memcpy(l->digest, h + AT_DIGEST, sizeof(l->digest));
    memcpy(l->salt, h + AT_SALT, sizeof(l->salt));
    l->hash = hash_find(hash);
    if (strcmp(cipher, "aes"))
        return fail(error, "'%s': cipher '%s' is not supported, only aes", name, cipher);
    if (!l->hash)
        return fail(error, "'%s': hash '%s' is not supported", name, hash);
    if (!read_mode(l, name, mode, error))
        return false;
    unsigned scale = l->mode == CIPHER_XTS ? 2 : 1;
    if (l->key_bytes != 16 * scale && l->key_bytes != 24 * scale && l->key_bytes != 32 * scale)
        return fail(error, "'%s': a key of %u bytes; 16, 24 and 32 are right", name, l->key_bytes);
    if (!l->digest_iterations || l->digest_iterations > MAX_ITERATIONS)
        return fail(error, "'%s': %u iterations of the digest", name, l->digest_iterations);
    uint64_t room = l->payload ? MIN(l->payload, file->size - at) : file->size - at;
    return read_slots(l, name, h, room, error);
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

/* ---- Unlocking ---- */

typedef struct Unlock {
    Luks *l;
    const LuksSlot *slot;
    const void *password;
    size_t password_bytes;
    uint8_t *stripes; /* as they stand in the file, then plain */
    size_t bytes;
    uint8_t key[LUKS_MAX_KEY];
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

static int unlock_slot(Unlock *u, BlkFile *file, uint64_t at)
{
    u->bytes = align_up((size_t)u->slot->stripes * u->l->key_bytes, CIPHER_SECTOR);
    u->stripes = block_try_malloc(u->bytes);
    int ret = u->stripes ? file_pread(file, at + u->slot->offset, u->stripes, u->bytes) : -ENOMEM;
    if (!ret)
        ret = co_pool(try_slot, u);
    if (u->stripes)
        wipe(u->stripes, u->bytes);
    g_free(u->stripes);
    return ret;
}

static bool unlock(Luks *l, BlkFile *file, uint64_t at, const char *secret, GError **error)
{
    Unlock u = {.l = l};
    if (!cipher_load(error))
        return fail_prefix(error, "'%s'", file->name);
    u.password = secret_find(secret, &u.password_bytes, error);
    if (!u.password)
        return fail_prefix(error, "'%s'", file->name);
    int ret = -EACCES;
    for (unsigned i = 0; i < LUKS_SLOTS && ret == -EACCES; i++) {
        u.slot = &l->slots[i];
        if (u.slot->active)
            ret = unlock_slot(&u, file, at);
    }
    if (!ret)
        l->cipher = cipher_new(l->mode, l->iv, l->iv_hash, u.key, l->key_bytes, error);
    wipe(u.key, sizeof(u.key));
    if (ret == -EACCES)
        return fail(error, "'%s': the password of secret '%s' opens no key slot", file->name,
                    secret);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot unlock it", file->name);
    return l->cipher || fail_prefix(error, "'%s'", file->name);
}

Luks *luks_open(BlkFile *file, uint64_t at, const char *secret, bool may_be_locked,
                const char *option, GError **error)
{
    Luks *l = g_new0(Luks, 1);
    bool ok = read_header(l, file, at, error);
    if (ok && secret)
        ok = unlock(l, file, at, secret, error);
    else if (ok && !may_be_locked)
        ok = fail(error,
                  "'%s' is encrypted: its password is missing (-object secret,id=ID,... and "
                  "%s=ID)",
                  file->name, option);
    if (ok)
        return l;
    luks_free(l);
    return NULL;
}

void luks_free(Luks *luks)
{
    if (luks) {
        cipher_free(luks->cipher);
        g_free(luks);
    }
}

/* ---- Making ---- */

bool luks_spec_read(LuksSpec *spec, const Options *options, const char *prefix, GError **error)
{
    static const char *const ciphers[] = {"aes-128", "aes-192", "aes-256", NULL};
    static const char *const modes[] = {"cbc", "xts", NULL};
    static const char *const vectors[] = {"plain", "plain64", "essiv", NULL};
    unsigned cipher = 2, mode = 1, vector = 1;
    const char *hash = "sha256", *iv_hash = NULL;
    struct {
        const char *key;
        const char *const *words;
        unsigned *value;
    } enums[] = {{"cipher-alg", ciphers, &cipher},
                 {"cipher-mode", modes, &mode},
                 {"ivgen-alg", vectors, &vector}};
    *spec = (LuksSpec){.iter_ms = 2000};
    for (size_t i = 0; options && i < G_N_ELEMENTS(enums); i++) {
        g_autofree char *key = g_strconcat(prefix, enums[i].key, NULL);
        if (!options_get_enum(options, key, enums[i].words, enums[i].value, error))
            return false;
    }
    g_autofree char *hash_key = g_strconcat(prefix, "hash-alg", NULL);
    g_autofree char *iv_key = g_strconcat(prefix, "ivgen-hash-alg", NULL);
    g_autofree char *time_key = g_strconcat(prefix, "iter-time", NULL);
    g_autofree char *secret_key = g_strconcat(prefix, "key-secret", NULL);
    if (options && !options_get_uint(options, time_key, 1, 600000, &spec->iter_ms, error))
        return false;
    if (options && options_has(options, hash_key))
        hash = options_get(options, hash_key);
    if (options)
        iv_hash = options_get(options, iv_key);
    if (!iv_hash && vector == 2)
        iv_hash = "sha256";
    spec->secret = options ? options_get(options, secret_key) : NULL;
    spec->key_bytes = 16 + 8 * cipher;
    spec->mode = mode ? CIPHER_XTS : CIPHER_CBC;
    spec->iv = (CipherIv)vector;
    spec->hash = hash_find(hash);
    spec->iv_hash = iv_hash ? hash_find(iv_hash) : NULL;
    if (!spec->secret)
        return fail(error, "%s is missing: it names the -object secret with the password",
                    secret_key);
    if (!spec->hash || (iv_hash && !spec->iv_hash))
        return fail(error,
                    "hash '%s' is unknown; there are sha1, sha224, sha256, sha384, sha512 "
                    "and ripemd160",
                    spec->hash ? iv_hash : hash);
    if (iv_hash && vector != 2)
        return fail(error, "%s makes sense with essiv only", iv_key);
    if (spec->mode == CIPHER_XTS && (cipher == 1 || vector == 2))
        return fail(error, "xts takes neither aes-192 nor essiv");
    return true;
}

static uint32_t spec_key_bytes(const LuksSpec *spec)
{
    return spec->key_bytes * (spec->mode == CIPHER_XTS ? 2 : 1);
}

static uint64_t slot_room(const LuksSpec *spec)
{
    return align_up((uint64_t)spec_key_bytes(spec) * STRIPES, SLOT_ALIGN);
}

uint64_t luks_spec_payload(const LuksSpec *spec)
{
    return SLOT_ALIGN + LUKS_SLOTS * slot_room(spec);
}

typedef struct Making {
    const LuksSpec *spec;
    const void *password;
    size_t password_bytes;
    uint8_t header[LUKS_HEADER_BYTES];
    uint8_t *slot; /* stripes, encrypted */
    size_t slot_bytes;
    GError **error;
} Making;

static char *mode_text(const LuksSpec *spec)
{
    static const char *const vectors[] = {"plain", "plain64", "essiv:"};
    return g_strconcat(spec->mode == CIPHER_XTS ? "xts-" : "cbc-", vectors[spec->iv],
                       spec->iv == CIPHER_IV_ESSIV ? hash_name(spec->iv_hash) : NULL, NULL);
}

static void describe(Making *m)
{
    const LuksSpec *spec = m->spec;
    uint8_t *h = m->header;
    g_autofree char *mode = mode_text(spec);
    g_autofree char *uuid = g_uuid_string_random();
    memcpy(h, magic, sizeof(magic));
    st16_be(h + 6, 1);
    memcpy(h + AT_CIPHER, "aes", 3);
    memcpy(h + AT_MODE, mode, MIN(strlen(mode), 31));
    memcpy(h + AT_HASH, hash_name(spec->hash), strlen(hash_name(spec->hash)));
    st32_be(h + AT_PAYLOAD, (uint32_t)(luks_spec_payload(spec) / 512));
    st32_be(h + AT_KEY_BYTES, spec_key_bytes(spec));
    memcpy(h + AT_UUID, uuid, MIN(strlen(uuid), 39));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint8_t *s = h + AT_SLOTS + i * SLOT_BYTES;
        st32_be(s, i ? SLOT_FREE : SLOT_ACTIVE);
        st32_be(s + 40, (uint32_t)((SLOT_ALIGN + i * slot_room(spec)) / 512));
        st32_be(s + 44, STRIPES);
    }
}

/* Splits the key so that losing any stripe loses all of it. */
static bool split(Making *m, const uint8_t *key, uint32_t bytes)
{
    uint8_t sum[LUKS_MAX_KEY];
    uint8_t *last = m->slot + (size_t)(STRIPES - 1) * bytes;
    if (!random_bytes(m->slot, (size_t)(STRIPES - 1) * bytes, m->error))
        return false;
    fold(m->spec->hash, m->slot, STRIPES, sum, bytes);
    for (uint32_t i = 0; i < bytes; i++)
        last[i] = sum[i] ^ key[i];
    wipe(sum, sizeof(sum));
    return true;
}

/* In a pool thread: measuring and PBKDF2 take seconds.  -EINVAL: m->error tells. */
static int make_keys(void *opaque)
{
    Making *m = opaque;
    const LuksSpec *spec = m->spec;
    uint8_t *h = m->header, *slot = h + AT_SLOTS;
    uint32_t bytes = spec_key_bytes(spec);
    uint8_t key[LUKS_MAX_KEY], slot_key[LUKS_MAX_KEY];
    if (!random_bytes(key, bytes, m->error) || !random_bytes(h + AT_SALT, 32, m->error) ||
        !random_bytes(slot + 8, 32, m->error) || !split(m, key, bytes))
        return -EINVAL;
    uint32_t iterations = hash_iterations(spec->hash, bytes, spec->iter_ms);
    st32_be(slot + 4, iterations);
    st32_be(h + AT_ITERATIONS, MAX(iterations / 8, 1000));
    hash_pbkdf2(spec->hash, key, bytes, h + AT_SALT, 32, MAX(iterations / 8, 1000), h + AT_DIGEST,
                20);
    hash_pbkdf2(spec->hash, m->password, m->password_bytes, slot + 8, 32, iterations, slot_key,
                bytes);
    Cipher *cipher = cipher_new(spec->mode, spec->iv, spec->iv_hash, slot_key, bytes, m->error);
    if (cipher)
        cipher_run(cipher, true, 0, m->slot, m->slot_bytes);
    cipher_free(cipher);
    wipe(key, sizeof(key));
    wipe(slot_key, sizeof(slot_key));
    return cipher ? 0 : -EINVAL;
}

bool luks_create(BlkFile *file, uint64_t at, const LuksSpec *spec, GError **error)
{
    Making m = {.spec = spec, .error = error};
    if (!cipher_load(error))
        return false;
    m.password = secret_find(spec->secret, &m.password_bytes, error);
    if (!m.password)
        return false;
    describe(&m);
    m.slot_bytes = align_up((size_t)STRIPES * spec_key_bytes(spec), CIPHER_SECTOR);
    m.slot = g_malloc0(m.slot_bytes);
    int ret = co_pool(make_keys, &m);
    if (ret) {
        wipe(m.slot, m.slot_bytes);
        g_free(m.slot);
        return false;
    }
    ret = file_zero(file, at, luks_spec_payload(spec), false);
    if (!ret)
        ret = file_pwrite(file, at + SLOT_ALIGN, m.slot, m.slot_bytes);
    if (!ret)
        ret = file_flush(file);
    if (!ret)
        ret = file_pwrite(file, at, m.header, sizeof(m.header));
    g_free(m.slot);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

/* ---- Info ---- */

static void put_slot(DetailLines *lines, const LuksSlot *slot)
{
    detail_bracket(lines, NULL, '{');
    detail_bool(lines, "active", slot->active);
    if (slot->active)
        detail_number(lines, "iters", slot->iterations);
    detail_number(lines, "key-offset", slot->offset);
    if (slot->active)
        detail_number(lines, "stripes", slot->stripes);
    detail_bracket(lines, NULL, '}');
}

bool luks_detail(const Luks *luks, unsigned n, NodeDetail *d)
{
    static const char *const vectors[] = {"plain", "plain64", "essiv"};
    static const char *const ciphers[] = {"aes-128", "aes-192", "aes-256"};
    unsigned scale = luks->mode == CIPHER_XTS ? 2 : 1;
    DetailLines lines = {.wanted = n, .out = d};
    detail_text(&lines, "ivgen-alg", vectors[luks->iv]);
    detail_text(&lines, "hash-alg", hash_name(luks->hash));
    detail_text(&lines, "cipher-alg", ciphers[luks->key_bytes / scale / 8 - 2]);
    detail_text(&lines, "uuid", luks->uuid);
    if (luks->iv_hash)
        detail_text(&lines, "ivgen-hash-alg", hash_name(luks->iv_hash));
    detail_text(&lines, "cipher-mode", luks->mode == CIPHER_XTS ? "xts" : "cbc");
    detail_bracket(&lines, "slots", '[');
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        put_slot(&lines, &luks->slots[i]);
    detail_bracket(&lines, NULL, ']');
    detail_number(&lines, "payload-offset", luks->payload);
    detail_number(&lines, "master-key-iters", luks->digest_iterations);
    return n < lines.next;
}
