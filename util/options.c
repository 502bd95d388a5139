/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option texts ("key=value,flag"), numbers, sizes and the nearest right word.
 *
 * The grammar is that of QEMU's command line: see "-drive" and "-device" in qemu(1).
 */
#include "util/options.h"

#include <string.h>

#include "util/error.h"

typedef struct Pair {
    char *key;
    char *value;
} Pair;

struct Options {
    char *where;
    GArray *pairs; /* of Pair */
};

static void pair_clear(void *data)
{
    Pair *pair = data;
    g_free(pair->key);
    g_free(pair->value);
}

Options *options_new(const char *where)
{
    Options *options = g_new0(Options, 1);
    options->where = g_strdup(where);
    options->pairs = g_array_new(FALSE, FALSE, sizeof(Pair));
    g_array_set_clear_func(options->pairs, pair_clear);
    return options;
}

void options_free(Options *options)
{
    if (!options)
        return;
    g_free(options->where);
    g_array_free(options->pairs, TRUE);
    g_free(options);
}

/* The last pair of that key: it is the one that counts. */
static Pair *find_pair(const Options *options, const char *key)
{
    for (unsigned i = options->pairs->len; i-- > 0;) {
        Pair *pair = &g_array_index(options->pairs, Pair, i);
        if (!strcmp(pair->key, key))
            return pair;
    }
    return NULL;
}

static void append_pair(Options *options, const char *key, const char *value)
{
    Pair pair = {g_strdup(key), g_strdup(value)};
    g_array_append_val(options->pairs, pair);
}

void options_set(Options *options, const char *key, const char *text)
{
    Pair *pair = find_pair(options, key);
    if (!pair) {
        append_pair(options, key, text);
        return;
    }
    char *copy = g_strdup(text); /* text may be the old value */
    g_free(pair->value);
    pair->value = copy;
}

void options_remove(Options *options, const char *key)
{
    for (unsigned i = options->pairs->len; i-- > 0;)
        if (!strcmp(g_array_index(options->pairs, Pair, i).key, key))
            g_array_remove_index(options->pairs, i);
}

const char *options_get(const Options *options, const char *key)
{
    const Pair *pair = find_pair(options, key);
    return pair ? pair->value : NULL;
}

bool options_has(const Options *options, const char *key)
{
    return find_pair(options, key) != NULL;
}

const char *options_where(const Options *options)
{
    return options->where;
}

bool options_nth(const Options *options, unsigned i, const char **key, const char **value)
{
    if (i >= options->pairs->len)
        return false;
    const Pair *pair = &g_array_index(options->pairs, Pair, i);
    *key = pair->key;
    *value = pair->value;
    return true;
}

/* ---- Parsing ---- */

/* Takes a value up to a single comma; returns where it ended, past the comma. */
static const char *take_value(const char *p, GString *out)
{
    for (; *p; p++) {
        if (*p == ',' && *++p != ',')
            return p;
        g_string_append_c(out, *p);
    }
    return p;
}

static bool is_known(const char *key, const char *const *known)
{
    return g_strv_contains(known, key);
}

static bool fail_unknown_key(const char *where, const char *key, const char *const *known,
                             GError **error)
{
    const char *nearest = nearest_word(key, known);
    if (nearest)
        return fail(error, "%s: unknown key '%s'; did you mean '%s'?", where, key, nearest);
    g_autofree char *all = g_strjoinv(", ", (char **)known);
    return fail(error, "%s: unknown key '%s'; there are: %s", where, key, all);
}

/* A word without "=": "key" is key=on, "nokey" is key=off where key is known and nokey is not. */
static bool add_flag(Options *options, const char *word, const char *const *known, GError **error)
{
    if (!known || is_known(word, known)) {
        append_pair(options, word, "on");
        return true;
    }
    if (g_str_has_prefix(word, "no") && is_known(word + 2, known)) {
        append_pair(options, word + 2, "off");
        return true;
    }
    return fail_unknown_key(options->where, word, known, error);
}

static bool parse_pairs(Options *options, const char *text, const char *implied,
                        const char *const *known, GError **error)
{
    g_autoptr(GString) value = g_string_new(NULL);

    for (const char *p = text; *p;) {
        size_t length = strcspn(p, "=,");
        g_autofree char *word = g_strndup(p, length);
        bool first = p == text;

        g_string_truncate(value, 0);
        if (p[length] != '=' && first && implied) {
            p = take_value(p, value);
            append_pair(options, implied, value->str);
            continue;
        }
        if (!length)
            return fail(error, "%s: a key is missing before '%s'", options->where, p);
        p += length;
        if (*p == '=') {
            p = take_value(p + 1, value);
            if (known && !is_known(word, known))
                return fail_unknown_key(options->where, word, known, error);
            append_pair(options, word, value->str);
            continue;
        }
        if (!add_flag(options, word, known, error))
            return false;
        p += *p == ',';
    }
    return true;
}

Options *options_parse(const char *where, const char *text, const char *implied,
                       const char *const *known, GError **error)
{
    g_autoptr(Options) options = options_new(where);
    if (!parse_pairs(options, text, implied, known, error))
        return NULL;
    return g_steal_pointer(&options);
}

/* ---- Typed readers ---- */

static bool fail_value(const Options *options, const char *key, const char *text, GError **error,
                       const char *wanted)
{
    return fail(error, "%s: %s=%s: %s", options->where, key, text, wanted);
}

bool options_get_bool(const Options *options, const char *key, bool *out, GError **error)
{
    const char *text = options_get(options, key);
    if (!text || parse_bool(text, out))
        return true;
    return fail_value(options, key, text, error, "must be on or off");
}

bool options_get_uint(const Options *options, const char *key, uint64_t min, uint64_t max,
                      uint64_t *out, GError **error)
{
    const char *text = options_get(options, key);
    uint64_t value;

    if (!text)
        return true;
    if (!parse_uint(text, &value))
        return fail_value(options, key, text, error, "must be a number");
    if (value < min || value > max)
        return fail(error, "%s: %s=%s: must be from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                    options->where, key, text, min, max);
    *out = value;
    return true;
}

bool options_get_size(const Options *options, const char *key, uint64_t *out, GError **error)
{
    const char *text = options_get(options, key);
    if (!text || parse_size(text, 1, out))
        return true;
    return fail_value(options, key, text, error,
                      "must be a size: a number with an optional k, M, G or T");
}

bool options_get_enum(const Options *options, const char *key, const char *const *words,
                      unsigned *out, GError **error)
{
    const char *text = options_get(options, key);
    if (!text)
        return true;
    for (unsigned i = 0; words[i]; i++) {
        if (!strcmp(words[i], text)) {
            *out = i;
            return true;
        }
    }
    const char *nearest = nearest_word(text, words);
    if (nearest)
        return fail(error, "%s: %s=%s: no such value; did you mean '%s'?", options->where, key,
                    text, nearest);
    g_autofree char *all = g_strjoinv(", ", (char **)words);
    return fail(error, "%s: %s=%s: must be one of %s", options->where, key, text, all);
}

/* ---- Words and numbers ---- */

bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"on", "yes", "true", "y", NULL};
    static const char *const no[] = {"off", "no", "false", "n", NULL};

    if (!g_strv_contains(yes, text) && !g_strv_contains(no, text))
        return false;
    *out = g_strv_contains(yes, text);
    return true;
}

/* Reads digits; false if there is none or the number does not fit. */
static bool take_digits(const char **text, unsigned base, uint64_t *out)
{
    const char *p = *text;
    uint64_t value = 0;

    for (; g_ascii_isxdigit(*p); p++) {
        unsigned digit = (unsigned)g_ascii_xdigit_value(*p);
        if (digit >= base)
            break;
        if (value > (UINT64_MAX - digit) / base)
            return false;
        value = value * base + digit;
    }
    if (p == *text)
        return false;
    *text = p;
    *out = value;
    return true;
}

static bool has_hex_prefix(const char *text)
{
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

bool parse_uint(const char *text, uint64_t *out)
{
    bool hex = has_hex_prefix(text);
    uint64_t value;

    text += hex ? 2 : 0;
    if (!take_digits(&text, hex ? 16 : 10, &value) || *text)
        return false;
    *out = value;
    return true;
}

bool parse_mac(const char *text, uint8_t out[6])
{
    for (unsigned i = 0; i < 6; i++) {
        if (i && *text != ':' && *text != '-')
            return false;
        text += i ? 1 : 0;
        if (!g_ascii_isxdigit(*text))
            return false;
        out[i] = (uint8_t)g_ascii_xdigit_value(*text++);
        if (g_ascii_isxdigit(*text))
            out[i] = (uint8_t)(out[i] << 4 | g_ascii_xdigit_value(*text++));
    }
    return !*text;
}

/* Binary powers by suffix letter; -1: no such suffix. */
static int suffix_bits(char c)
{
    static const char letters[] = "bkmgtpe";
    const char *found = c ? strchr(letters, g_ascii_tolower(c)) : NULL;
    return found ? (int)(found - letters) * 10 : -1;
}

bool parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    uint64_t whole, numerator = 0, denominator = 1;

    if (has_hex_prefix(text)) {
        if (!parse_uint(text, &whole) || (unit && whole > UINT64_MAX / unit))
            return false;
        *out = whole * unit;
        return true;
    }
    if (!take_digits(&text, 10, &whole))
        return false;
    if (*text == '.') {
        const char *start = ++text;
        /* 15 decimals keep numerator * unit below inside 128 bits. */
        if (!take_digits(&text, 10, &numerator) || text - start > 15)
            return false;
        for (const char *p = start; p < text; p++)
            denominator *= 10;
    }
    if (*text) {
        int bits = suffix_bits(*text);
        if (bits < 0 || text[1])
            return false;
        unit = 1ULL << bits;
    }
    unsigned __int128 bytes = (unsigned __int128)whole * unit;
    bytes += (unsigned __int128)numerator * unit / denominator;
    if (bytes > UINT64_MAX)
        return false;
    *out = (uint64_t)bytes;
    return true;
}

char *format_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;

    while (unit + 1 < G_N_ELEMENTS(units) && bytes >> (10 * (unit + 1)))
        unit++;
    double value = (double)bytes / (double)(1ULL << (10 * unit));
    char number[32];
    g_ascii_formatd(number, sizeof(number), "%.2f", value);
    /* "1.50" becomes "1.5" and "10.00" becomes "10". */
    size_t length = strlen(number);
    while (number[length - 1] == '0')
        length--;
    if (number[length - 1] == '.')
        length--;
    return g_strdup_printf("%.*s %s", (int)length, number, units[unit]);
}

char *format_size_short(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%.3g %s", value, units[unit]);
}

/* ---- Nearest word ---- */

#define WORD_MAX 64

/* Edit distance where inserting, dropping or changing a letter and swapping two neighbours cost 1
 * each; letter case does not count.  Both words are at most WORD_MAX long. */
static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned row[3][WORD_MAX + 1];
    unsigned *before = row[0], *above = row[1], *current = row[2];

    for (size_t j = 0; j <= b_length; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        current[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            char x = g_ascii_tolower(a[i - 1]), y = g_ascii_tolower(b[j - 1]);
            unsigned best = above[j - 1] + (x != y);
            best = MIN(best, above[j] + 1);
            best = MIN(best, current[j - 1] + 1);
            if (i > 1 && j > 1 && x == g_ascii_tolower(b[j - 2]) && g_ascii_tolower(a[i - 2]) == y)
                best = MIN(best, before[j - 2] + 1);
            current[j] = best;
        }
        unsigned *spare = before;
        before = above;
        above = current;
        current = spare;
    }
    return above[b_length];
}

const char *nearest_word(const char *word, const char *const *words)
{
    size_t length = strlen(word);
    const char *nearest = NULL;

    if (length > WORD_MAX)
        return NULL;
    unsigned best = 1 + (unsigned)length / 3;
    for (; *words; words++) {
        size_t other = strlen(*words);
        if (other > WORD_MAX)
            continue;
        unsigned distance = edit_distance(word, length, *words, other);
        /* A word of nothing but differences is no match ("ab" for "x"). */
        if (distance >= MAX(length, other))
            continue;
        if (distance < best || (distance == best && !nearest)) {
            best = distance;
            nearest = *words;
        }
    }
    return nearest;
}
