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

#define STRIPES       4000u
#define SLOT_ALIGN    4096u
#define AT_CIPHER     8
#define AT_MODE       40
#define AT_HASH       72
#define AT_PAYLOAD    104
#define AT_KEY_BYTES  108
#define AT_DIGEST     112
#define AT_SALT       132
#define AT_ITERATIONS 164
#define AT_UUID       168

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
        LuksSlot *slot = &l->slots[i];
        if (!luks_get_slot(h + LUKS_AT_SLOTS + i * LUKS_SLOT_BYTES, slot))
            return fail(error, "'%s': key slot %u is damaged", name, i);
        if (!slot->active)
            continue;
        if (!slot->stripes || slot->stripes > LUKS_MAX_STRIPES || !slot->iterations ||
            slot->iterations > HASH_MAX_ITERATIONS)
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
    if (!l->digest_iterations || l->digest_iterations > HASH_MAX_ITERATIONS)
        return fail(error, "'%s': %u iterations of the digest", name, l->digest_iterations);
    uint64_t room = l->payload ? MIN(l->payload, file->size - at) : file->size - at;
    return read_slots(l, name, h, room, error);
}

/* ---- Unlocking ---- */

static bool unlock(Luks *l, BlkFile *file, uint64_t at, const char *secret, GError **error)
{
    size_t bytes;
    if (!cipher_load(error))
        return fail_prefix(error, "'%s'", file->name);
    const void *password = secret_find(secret, &bytes, error);
    if (!password)
        return fail_prefix(error, "'%s'", file->name);
    int ret = -EACCES;
    for (unsigned i = 0; i < LUKS_SLOTS && ret == -EACCES; i++)
        if (l->slots[i].active)
            ret = luks_slot_open(l, i, file, at, password, bytes, l->key);
    if (!ret)
        l->cipher = cipher_new(l->mode, l->iv, l->iv_hash, l->key, l->key_bytes, error);
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
        wipe(luks->key, sizeof(luks->key));
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
    Luks shape;
    LuksSeal slot;
    uint8_t header[LUKS_HEADER_BYTES];
    GError **error;
} Making;

static char *mode_text(const LuksSpec *spec)
{
    static const char *const vectors[] = {"plain", "plain64", "essiv:"};
    return g_strconcat(spec->mode == CIPHER_XTS ? "xts-" : "cbc-", vectors[spec->iv],
                       spec->iv == CIPHER_IV_ESSIV ? hash_name(spec->iv_hash) : NULL, NULL);
}

static void describe(Making *m, const LuksSpec *spec)
{
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
        LuksSlot slot = {.offset = SLOT_ALIGN + i * slot_room(spec), .stripes = STRIPES};
        luks_put_slot(h + LUKS_AT_SLOTS + i * LUKS_SLOT_BYTES, &slot);
    }
}

/* In a pool thread: measuring and PBKDF2 take seconds.  -EINVAL: m->error tells. */
static int make_keys(void *opaque)
{
    Making *m = opaque;
    Luks *l = &m->shape;
    uint8_t *h = m->header;
    if (!random_bytes(l->key, l->key_bytes, m->error) || !random_bytes(h + AT_SALT, 32, m->error) ||
        luks_slot_seal(&m->slot))
        return -EINVAL;
    uint32_t iterations = MAX(m->slot.slot.iterations / 8, 1000);
    st32_be(h + AT_ITERATIONS, iterations);
    hash_pbkdf2(l->hash, l->key, l->key_bytes, h + AT_SALT, 32, iterations, h + AT_DIGEST, 20);
    luks_put_slot(h + LUKS_AT_SLOTS, &m->slot.slot);
    return 0;
}

static int write_image(BlkFile *file, uint64_t at, const LuksSpec *spec, const Making *m)
{
    int ret = file_zero(file, at, luks_spec_payload(spec), false);
    if (!ret)
        ret = file_pwrite(file, at + SLOT_ALIGN, m->slot.stripes, m->slot.bytes);
    if (!ret)
        ret = file_flush(file);
    return ret ? ret : file_pwrite(file, at, m->header, sizeof(m->header));
}

bool luks_create(BlkFile *file, uint64_t at, const LuksSpec *spec, GError **error)
{
    Making m = {.shape = {.mode = spec->mode,
                          .iv = spec->iv,
                          .hash = spec->hash,
                          .iv_hash = spec->iv_hash,
                          .key_bytes = spec_key_bytes(spec)},
                .slot = {.slot = {.active = true, .offset = SLOT_ALIGN, .stripes = STRIPES},
                         .iter_ms = spec->iter_ms,
                         .error = error},
                .error = error};
    m.slot.luks = &m.shape;
    if (!cipher_load(error))
        return false;
    m.slot.password = secret_find(spec->secret, &m.slot.password_bytes, error);
    if (!m.slot.password)
        return false;
    describe(&m, spec);
    int ret = co_pool(make_keys, &m);
    bool made = !ret;
    if (made)
        ret = write_image(file, at, spec, &m);
    wipe(m.shape.key, sizeof(m.shape.key));
    luks_seal_free(&m.slot);
    return made && (!ret || fail_errno(error, -ret, "cannot write '%s'", file->name));
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
