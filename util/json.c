/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON (RFC 8259) made flat options.  Where it comes from is not to be trusted. */
#include <string.h>

#include "util/error.h"
#include "util/options.h"

#define MAX_DEPTH 16 /* objects within one another */

typedef struct Parser {
    const char *at;
    Options *options;
    GString *key; /* "file.server." */
    unsigned depth;
} Parser;

static bool parse_value(Parser *p, GError **error);

static void skip_space(Parser *p)
{
    p->at += strspn(p->at, " \t\r\n");
}

static bool bad(const Parser *p, const char *wanted, GError **error)
{
    return fail(error, "json: expected %s before '%.20s'", wanted, *p->at ? p->at : "the end");
}

static bool take(Parser *p, char c)
{
    skip_space(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

/* XXXX after \u. */
static bool parse_digits(Parser *p, gunichar *value, GError **error)
{
    *value = 0;
    for (int i = 1; i <= 4; i++) {
        int digit = g_ascii_xdigit_value(p->at[i]);
        if (digit < 0)
            return bad(p, "four hexadecimal digits", error);
        *value = *value * 16 + (gunichar)digit;
    }
    p->at += 5;
    return true;
}

/* \uXXXX, or two of them for what is beyond the first 64 Ki. */
static bool parse_unicode(Parser *p, GString *out, GError **error)
{
    gunichar value, low;
    if (!parse_digits(p, &value, error))
        return false;
    if (value >= 0xd800 && value < 0xdc00 && p->at[0] == '\\' && p->at[1] == 'u') {
        p->at++;
        if (!parse_digits(p, &low, error))
            return false;
        value =
            low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((value - 0xd800) << 10) + low - 0xdc00 : 0;
    }
    if (!value || !g_unichar_validate(value))
        return bad(p, "a character", error);
    g_string_append_unichar(out, value);
    return true;
}

static bool parse_escape(Parser *p, GString *out, GError **error)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p->at == 'u')
        return parse_unicode(p, out, error);
    const char *found = *p->at ? strchr(from, *p->at) : NULL;
    if (!found)
        return bad(p, "an escape", error);
    g_string_append_c(out, to[found - from]);
    p->at++;
    return true;
}

static bool parse_string(Parser *p, GString *out, GError **error)
{
    skip_space(p);
    char quote = *p->at;
    if (quote != '"' && quote != '\'')
        return bad(p, "a string", error);
    p->at++;
    while (*p->at && *p->at != quote) {
        if (*p->at == '\\') {
            p->at++;
            if (!parse_escape(p, out, error))
                return false;
        } else {
            g_string_append_c(out, *p->at++);
        }
    }
    if (!*p->at)
        return bad(p, "the end of a string", error);
    p->at++;
    return true;
}

static bool parse_member(Parser *p, unsigned number, bool object, GError **error)
{
    size_t before = p->key->len;
    if (before)
        g_string_append_c(p->key, '.');
    if (!object)
        g_string_append_printf(p->key, "%u", number);
    else if (!parse_string(p, p->key, error))
        return false;
    else if (!take(p, ':'))
        return bad(p, "':'", error);
    bool ok = parse_value(p, error);
    g_string_truncate(p->key, before);
    return ok;
}

static bool parse_members(Parser *p, bool object, GError **error)
{
    char end = object ? '}' : ']';
    if (++p->depth > MAX_DEPTH)
        return fail(error, "json: more than %d levels", MAX_DEPTH);
    for (unsigned n = 0; !take(p, end); n++) {
        if (n && !take(p, ','))
            return bad(p, "','", error);
        if (!parse_member(p, n, object, error))
            return false;
    }
    p->depth--;
    return true;
}

/* true, false, null and numbers; their text is the value, as the command line writes it. */
static bool parse_word(Parser *p, GError **error)
{
    size_t length = strspn(p->at, "abcdefghijklmnopqrstuvwxyz0123456789+-.E");
    g_autofree char *word = g_strndup(p->at, length);
    if (!length)
        return bad(p, "a value", error);
    p->at += length;
    const char *value = !strcmp(word, "true")    ? "on"
                        : !strcmp(word, "false") ? "off"
                        : !strcmp(word, "null")  ? ""
                                                 : word;
    options_set(p->options, p->key->str, value);
    return true;
}

static bool parse_value(Parser *p, GError **error)
{
    if (take(p, '{'))
        return parse_members(p, true, error);
    if (take(p, '['))
        return parse_members(p, false, error);
    if (*p->at != '"' && *p->at != '\'')
        return parse_word(p, error);
    GString *text = g_string_new(NULL);
    bool ok = parse_string(p, text, error);
    if (ok)
        options_set(p->options, p->key->str, text->str);
    g_string_free(text, TRUE);
    return ok;
}

Options *options_parse_json(const char *text, GError **error)
{
    g_autoptr(Options) options = options_new("json");
    Parser p = {.at = text, .options = options, .key = g_string_new(NULL)};
    bool ok = take(&p, '{') ? parse_members(&p, true, error) : bad(&p, "'{'", error);
    skip_space(&p);
    if (ok && *p.at)
        ok = bad(&p, "the end", error);
    g_string_free(p.key, TRUE);
    return ok ? g_steal_pointer(&options) : NULL;
}
