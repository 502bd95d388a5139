/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing JSON. */
#include <inttypes.h>

#include "img.h"

void json_quote(GString *out, const char *value)
{
    g_string_append_c(out, '"');
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", c);
        else if (c < 32)
            g_string_append_printf(out, "\\u%04x", c);
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
