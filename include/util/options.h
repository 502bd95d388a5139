/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option texts: "key=value,flag,key=value" as QEMU writes them, sizes, numbers, and the nearest
 * right word for a wrong one.
 *
 * In values ",," stands for one comma.  A key without "=" is a flag with the value "on", or the
 * implied key's value if it comes first; "nokey" means key=off.
 */
#ifndef VMRUN_UTIL_OPTIONS_H
#define VMRUN_UTIL_OPTIONS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Key and value pairs in the order given; a later pair wins over an earlier one of that key. */
typedef struct Options Options;

/* Parses text.  where names the option in messages ("-drive").  implied is the key that a first
 * word without "=" belongs to, or NULL.  known: NULL-terminated keys, or NULL for any; an unknown
 * key is an error that names it and the nearest known one.  NULL on error. */
Options *options_parse(const char *where, const char *text, const char *implied,
                       const char *const *known, GError **error);
Options *options_new(const char *where);
void options_free(Options *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

/* A copy of text is made. */
void options_set(Options *options, const char *key, const char *text);
void options_remove(Options *options, const char *key);
/* The value's text, owned by options, or NULL. */
const char *options_get(const Options *options, const char *key);
bool options_has(const Options *options, const char *key);
/* The name given to options_parse(). */
const char *options_where(const Options *options);
/* Pair number i in order, false past the end. */
bool options_nth(const Options *options, unsigned i, const char **key, const char **value);

/* Typed readers: true with *out untouched if the key is absent; false with an error that names
 * option and key if the value is bad. */
bool options_get_bool(const Options *options, const char *key, bool *out, GError **error);
bool options_get_uint(const Options *options, const char *key, uint64_t min, uint64_t max,
                      uint64_t *out, GError **error);
bool options_get_size(const Options *options, const char *key, uint64_t *out, GError **error);
/* words: NULL-terminated; *out becomes the index. */
bool options_get_enum(const Options *options, const char *key, const char *const *words,
                      unsigned *out, GError **error);

/* on|yes|true|y, off|no|false|n. */
bool parse_bool(const char *text, bool *out);
/* Decimal, 0x hexadecimal; the whole text must be a number. */
bool parse_uint(const char *text, uint64_t *out);
/* An Ethernet address: six bytes in hexadecimal with ':' or '-' between them. */
bool parse_mac(const char *text, uint8_t out[6]);
/* A number with an optional fraction and suffix b, k, K, M, G, T, P, E (powers of 1024); without a
 * suffix it counts in units of `unit` bytes. */
bool parse_size(const char *text, uint64_t unit, uint64_t *out);
/* "1.5 GiB"; g_free() it. */
char *format_size(uint64_t bytes);
/* "1.5 MiB" in three digits, as qemu-img writes it; g_free() it. */
char *format_size_short(uint64_t bytes);

/* The word nearest to `word` by edit distance, or NULL if none is near (distance > 1 + len/3). */
const char *nearest_word(const char *word, const char *const *words);

/* The members of a JSON object; those of objects and lists in it under dotted keys. */
Options *options_parse_json(const char *text, GError **error);

#endif
