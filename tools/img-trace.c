/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -T, --trace: what QEMU calls events are categories here. */
#include <string.h>

#include "img.h"
#include "util/error.h"
#include "util/log.h"

static uint32_t mask;

/* The categories that a pattern with * and ? means; a "-" before it takes them away. */
static bool take_pattern(const char *text)
{
    bool off = *text == '-';
    uint32_t bits = 0;
    for (const LogName *n = log_names; n->name; n++)
        if (g_pattern_match_simple(text + off, n->name))
            bits |= n->bit;
    mask = off ? mask & ~bits : mask | bits;
    log_set_mask(mask);
    if (bits)
        return true;
    GString *all = g_string_new(NULL);
    for (const LogName *n = log_names; n->name; n++)
        g_string_append_printf(all, "%s%s", all->len ? ", " : "", n->name);
    report_error("--trace: '%s' fits nothing that is traced; there are %s", text, all->str);
    g_string_free(all, TRUE);
    return false;
}

/* A file of patterns, one a line. */
static bool take_file(const char *path)
{
    g_autofree char *text = NULL;
    GError *error = NULL;
    if (!g_file_get_contents(path, &text, NULL, &error)) {
        fail_prefix(&error, "--trace");
        return !img_fail(error);
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++)
        if (*g_strstrip(lines[i]) && *lines[i] != '#' && !take_pattern(lines[i]))
            return false;
    return true;
}

bool img_parse_trace(const char *text)
{
    static const char *const keys[] = {"enable", "events", "file", NULL};
    GError *error = NULL;
    if (!strcmp(text, "help") || !strcmp(text, "?")) {
        for (const LogName *n = log_names; n->name; n++)
            report_info("%-12s %s", n->name, n->help);
        return false;
    }
    g_autoptr(Options) o = options_parse("--trace", text, "enable", keys, &error);
    if (!o || !log_set_file(options_get(o, "file"), &error))
        return !img_fail(error);
    return (!options_has(o, "enable") || take_pattern(options_get(o, "enable"))) &&
           (!options_has(o, "events") || take_file(options_get(o, "events")));
}
