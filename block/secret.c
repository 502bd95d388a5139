/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Passwords of encrypted images. */
#include "block/secret.h"

#include <errno.h>
#include <string.h>

#include "cipher.h"
#include "util/error.h"

typedef struct Secret {
    void *data;
    size_t bytes;
} Secret;

static GHashTable *secrets; /* ID -> Secret */

static void secret_free(void *opaque)
{
    Secret *s = opaque;
    wipe(s->data, s->bytes);
    g_free(s->data);
    g_free(s);
}

static bool load_file(Secret *s, const char *path, GError **error)
{
    char *text;
    gsize bytes;
    GError *reason = NULL;
    if (!g_file_get_contents(path, &text, &bytes, &reason)) {
        fail(error, "cannot read the secret '%s': %s", path, reason->message);
        g_error_free(reason);
        return false;
    }
    s->data = text;
    s->bytes = bytes;
    return bytes <= SECRET_MAX_BYTES ||
           fail(error, "the secret '%s' is longer than %u MiB", path, SECRET_MAX_BYTES >> 20);
}

static bool decode(Secret *s, const char *id, GError **error)
{
    gsize bytes;
    g_autofree char *text = g_strndup(s->data, s->bytes);
    g_strstrip(text);
    size_t length = strlen(text);
    bool ok =
        length && length % 4 == 0 &&
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") == length;
    if (ok) {
        guchar *decoded = g_base64_decode(text, &bytes);
        wipe(s->data, s->bytes);
        g_free(s->data);
        s->data = decoded;
        s->bytes = bytes;
    }
    wipe(text, length);
    return ok || fail(error, "secret '%s' is no base64 text", id);
}

/* What another secret, of 32 bytes, encrypted with AES-256-CBC: iv is base64 text. */
static bool decrypt(Secret *s, const Options *options, const char *id, GError **error)
{
    const char *iv = options_get(options, "iv"), *keyid = options_get(options, "keyid");
    size_t key_bytes;
    const void *key = secret_find(keyid, &key_bytes, error);
    if (!key)
        return fail_prefix(error, "keyid of secret '%s'", id);
    if (!iv)
        return fail(error, "secret '%s': IV is required to decrypt it (iv=)", id);
    Secret vector = {g_strdup(iv), strlen(iv)};
    bool ok = decode(&vector, id, error);
    if (ok && (vector.bytes != CIPHER_BLOCK || key_bytes != CIPHER_KEY_MAX))
        ok = fail(error, "secret '%s': an IV has %u bytes and a key %u, not %zu and %zu", id,
                  CIPHER_BLOCK, CIPHER_KEY_MAX, vector.bytes, key_bytes);
    ok = ok && cipher_unpad_cbc(key, vector.data, s->data, &s->bytes, error);
    g_free(vector.data);
    return ok || fail_prefix(error, "secret '%s'", id);
}

static Secret *make(const Options *options, const char *id, GError **error)
{
    static const char *const formats[] = {"raw", "base64", NULL};
    const char *data = options_get(options, "data"), *file = options_get(options, "file");
    unsigned format = 0;
    Secret *s = g_new0(Secret, 1);
    bool ok = options_get_enum(options, "format", formats, &format, error);
    if (ok && !data == !file)
        ok = fail(error, "secret '%s' takes either data=TEXT or file=PATH", id);
    if (ok && data) {
        s->data = g_strdup(data);
        s->bytes = strlen(data);
    } else if (ok) {
        ok = load_file(s, file, error);
    }
    if (ok && format)
        ok = decode(s, id, error);
    if (ok && options_has(options, "keyid"))
        ok = decrypt(s, options, id, error);
    if (ok)
        return s;
    secret_free(s);
    return NULL;
}

bool secret_add_options(const Options *options, GError **error)
{
    const char *id = options_get(options, "id");
    if (!id || !*id)
        return fail(error, "a secret needs id=NAME");
    if (!secrets)
        secrets = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, secret_free);
    if (g_hash_table_contains(secrets, id))
        return fail(error, "there is a secret '%s' already", id);
    Secret *s = make(options, id, error);
    if (s)
        g_hash_table_insert(secrets, g_strdup(id), s);
    return s != NULL;
}

static bool check_keys(const Options *options, GError **error)
{
    static const char *const keys[] = {"qom-type", "id",    "data", "file",
                                       "format",   "keyid", "iv",   NULL};
    const char *key, *value;
    for (unsigned i = 0; options_nth(options, i, &key, &value); i++)
        if (!g_strv_contains(keys, key))
            return fail(error, "%s: a secret has no key '%s'", options_where(options), key);
    return true;
}

bool secret_add(const char *where, const char *text, GError **error)
{
    g_autoptr(Options) options = *text == '{' ? options_parse_json(text, error)
                                              : options_parse(where, text, "qom-type", NULL, error);
    if (!options)
        return false;
    const char *type = options_get(options, "qom-type");
    if (type && g_str_has_prefix(type, "tls-creds-"))
        return fail(error,
                    "%s: objects of type '%s' are not supported; name an NBD disk over TLS "
                    "nbds://HOST/NAME?tls-certificates=DIR",
                    where, type);
    if (!type || strcmp(type, "secret"))
        return fail(error, "%s: objects of type '%s' are unknown; there is 'secret'", where,
                    type ? type : "");
    return (check_keys(options, error) && secret_add_options(options, error)) ||
           fail_prefix(error, "%s", where);
}

const void *secret_find(const char *id, size_t *bytes, GError **error)
{
    const Secret *s = secrets ? g_hash_table_lookup(secrets, id) : NULL;
    if (!s) {
        fail(error, "no secret with id '%s'; give -object secret,id=%s,file=PATH", id, id);
        return NULL;
    }
    *bytes = s->bytes;
    return s->data;
}

bool secret_remove(const char *id)
{
    return secrets && g_hash_table_remove(secrets, id);
}

void secret_remove_all(void)
{
    g_clear_pointer(&secrets, g_hash_table_unref);
}
