/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing JSON. */
#include <inttypes.h>
#include <string.h>

#include "img.h"

#define REPLACEMENT 0xfffdu /* stands for bytes that are no UTF-8 */

/* The character at *at, which moves on.  A sequence that is broken, or says what is no character,
 * counts as one, as far as it goes. */
static gunichar next_character(const char **at)
{
    const char *p = *at;
    unsigned char lead = (unsigned char)*p++;
    gunichar c = g_utf8_get_char_validated(*at, -1);
    if (lead >= 0xc0 && lead < 0xfe)
        for (unsigned more = lead << 1; more & 0x80 && ((unsigned char)*p & 0xc0) == 0x80;
             more <<= 1)
            p++;
    *at = p;
    bool is_noncharacter = (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef);
    return !g_unichar_validate(c) || is_noncharacter ? REPLACEMENT : c;
}

/* \uXXXX, two of them beyond the first 64 Ki. */
static void quote_number(GString *out, gunichar c)
{
    if (c > 0xffff) {
        c -= 0x10000;
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

void json_quote(GString *out, const char *value)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    g_string_append_c(out, '"');
    while (*value) {
        gunichar c = next_character(&value);
        const char *found = c < 0x7f ? strchr(from, (int)c) : NULL;
        if (found)
            g_string_append_printf(out, "\\%c", to[found - from]);
        else if (c < 32 || c >= 0x7f)
            quote_number(out, c);
        else
            g_string_append_c(out, (char)c);
    }
    g_string_append_c(out, '"');
}

/* What stands before a value. */
static void begin(Json *json, const char *key)
{
    if (!json->first)
        g_string_append_c(json->text, ',');
    if (json->depth)
        g_string_append_printf(json->text, "\n%*s", json->depth * 4, "");
    json->first = false;
    if (key) {
        json_quote(json->text, key);
        g_string_append(json->text, ": ");
    }
}

void json_open(Json *json, const char *key, char bracket)
{
    begin(json, key);
    g_string_append_c(json->text, bracket);
    json->depth++;
    json->first = true;
}

void json_close(Json *json, char bracket)
{
    json->depth--;
    if (!json->first)
        g_string_append_printf(json->text, "\n%*s", json->depth * 4, "");
    g_string_append_c(json->text, bracket);
    json->first = false;
}

void json_text(Json *json, const char *key, const char *value)
{
    begin(json, key);
    json_quote(json->text, value);
}

void json_number(Json *json, const char *key, int64_t value)
{
    begin(json, key);
    g_string_append_printf(json->text, "%" PRId64, value);
}

void json_bare(Json *json, const char *key, const char *value)
{
    begin(json, key);
    g_string_append(json->text, value);
}
