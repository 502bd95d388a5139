/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of `info` that form lists and objects. */
#include "formats.h"

static bool is_wanted(DetailLines *lines, NodeDetail line)
{
    if (lines->next++ != lines->wanted)
        return false;
    *lines->out = line;
    return true;
}

void detail_bracket(DetailLines *lines, const char *key, char bracket)
{
    is_wanted(lines, (NodeDetail){.key = key, .bracket = bracket});
}

void detail_text(DetailLines *lines, const char *key, const char *value)
{
    if (is_wanted(lines, (NodeDetail){.key = key, .is_text = true}))
        lines->out->value = g_strdup(value);
}

void detail_number(DetailLines *lines, const char *key, uint64_t value)
{
    if (is_wanted(lines, (NodeDetail){.key = key}))
        lines->out->value = g_strdup_printf("%" PRIu64, value);
}

void detail_bool(DetailLines *lines, const char *key, bool value)
{
    if (is_wanted(lines, (NodeDetail){.key = key}))
        lines->out->value = g_strdup(value ? "true" : "false");
}
