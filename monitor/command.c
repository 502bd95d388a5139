/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads command lines by the tables' rows, and describes the rows. */
#include "command.h"

#include "expr.h"
#include "monitor_private.h"
#include "util/error.h"

/* Whether name is one of "a|b". */
static bool has_name(const char *names, const char *name)
{
    g_auto(GStrv) parts = g_strsplit(names, "|", 0);
    return g_strv_contains((const char *const *)parts, name);
}

const MonCommand *mon_command_find(const MonCommand *table, const char *name)
{
    for (; table->name; table++)
        if (has_name(table->name, name))
            return table;
    return NULL;
}

char **mon_command_names(const MonCommand *table)
{
    g_autoptr(GString) all = g_string_new(NULL);
    for (; table->name; table++)
        g_string_append_printf(all, "%s%s", all->len ? "|" : "", table->name);
    return g_strsplit(all->str, "|", 0);
}

void mon_command_describe(const MonCommand *command, const char *prefix, GString *out)
{
    g_string_append_printf(out, "%s%s", prefix, command->name);
    for (unsigned i = 0; i < MON_ARGS_MAX && command->args[i].kind; i++) {
        const MonArg *arg = &command->args[i];
        if (arg->kind == ARG_FLAG)
            g_string_append_printf(out, " [-%s]", arg->name);
        else if (arg->kind == ARG_FORMAT)
            g_string_append(out, " /fmt");
        else if (arg->optional)
            g_string_append_printf(out, " [%s]", arg->name);
        else
            g_string_append_printf(out, " %s", arg->name);
    }
    g_string_append_printf(out, " -- %s\n", command->help);
}

/* ---- Reading arguments ---- */

static const char *skip_space(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

/* A word, or a text in double quotes with \n \r \" \\. NULL if a quote is not closed. */
static char *take_word(const char **text)
{
    g_autoptr(GString) word = g_string_new(NULL);
    const char *p = *text;

    if (*p != '"') {
        size_t length = strcspn(p, " \t");
        *text = skip_space(p + length);
        return g_strndup(p, length);
    }
    for (p++; *p && *p != '"'; p++) {
        char c = *p;
        if (c == '\\' && p[1]) {
            c = *++p;
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
        g_string_append_c(word, c);
    }
    if (!*p)
        return NULL;
    *text = skip_space(p + 1);
    return g_strdup(word->str);
}

/* "/8xb": a count, then format and size letters in any order. */
static bool take_format(const char **text, MonFormat *format, GError **error)
{
    const char *p = *text + 1;

    format->count = 0;
    for (; g_ascii_isdigit(*p); p++) {
        format->count = format->count * 10 + (unsigned)(*p - '0');
        if (format->count > 1 << 16)
            return fail(error, "the count is too large");
    }
    if (p == *text + 1)
        format->count = 1;
    for (; *p && *p != ' ' && *p != '\t'; p++) {
        static const char sizes[] = "bhwg", letters[] = "xduoci";
        const char *size = strchr(sizes, *p);
        if (size)
            format->size = 1u << (size - sizes);
        else if (strchr(letters, *p))
            format->letter = *p;
        else
            return fail(error, "invalid char in format: '%c'; there are x d u o c i and b h w g",
                        *p);
    }
    *text = skip_space(p);
    return true;
}

static bool take_argument(Monitor *mon, const MonArg *arg, const char **text, MonValue *value,
                          GError **error)
{
    const char *p = *text;

    switch (arg->kind) {
    case ARG_FORMAT:
        value->format = mon->format;
        value->format.count = 1;
        value->given = *p == '/';
        return !value->given || take_format(text, &value->format, error);
    case ARG_FLAG:
        value->given = p[0] == '-' && p[1] == arg->name[0] && (!p[2] || p[2] == ' ');
        if (value->given)
            *text = skip_space(p + 2);
        return true;
    default:
        break;
    }
    if (!*p) {
        return arg->optional || fail(error, "%s is missing", arg->name);
    }
    value->given = true;
    if (arg->kind == ARG_EXPR)
        return expr_parse(text, mon_register, mon, &value->number, error);
    if (arg->kind == ARG_INFO || arg->kind == ARG_COMMAND) {
        value->text = g_strchomp(g_strdup(p));
        *text = p + strlen(p);
        return true;
    }
    value->text = take_word(text);
    return value->text || fail(error, "a quote is not closed");
}

static bool take_arguments(Monitor *mon, const MonCommand *command, const char *text,
                           MonValue *values, GError **error)
{
    for (unsigned i = 0; i < MON_ARGS_MAX && command->args[i].kind; i++)
        if (!take_argument(mon, &command->args[i], &text, &values[i], error))
            return false;
    return !*text || fail(error, "extraneous characters at the end of line: '%s'", text);
}

static void tell_unknown(Monitor *mon, const MonCommand *table, const char *prefix,
                         const char *name)
{
    g_auto(GStrv) names = mon_command_names(table);
    const char *nearest = nearest_word(name, (const char *const *)names);

    if (nearest)
        monitor_printf(mon, "unknown command: '%s%s'; did you mean '%s%s'?\n", prefix, name, prefix,
                       nearest);
    else
        monitor_printf(mon, "unknown command: '%s%s'; 'help%s%s' lists them\n", prefix, name,
                       *prefix ? " " : "", *prefix ? "info" : "");
}

void mon_command_run(Monitor *mon, const MonCommand *table, const char *prefix, const char *line)
{
    const char *p = skip_space(line);
    size_t length = strcspn(p, " \t/");
    g_autofree char *name = g_strndup(p, length);
    g_autoptr(GError) error = NULL;
    MonValue values[MON_ARGS_MAX] = {0};

    p = skip_space(p + length);
    if (!length && !*p)
        return;
    const MonCommand *command = mon_command_find(table, name);
    if (!command) {
        tell_unknown(mon, table, prefix, name);
        return;
    }
    if (take_arguments(mon, command, p, values, &error))
        command->run(mon, values);
    else
        monitor_printf(mon, "%s%s: %s\nTry \"help %s%s\" for more information\n", prefix, name,
                       error->message, prefix, name);
    for (unsigned i = 0; i < MON_ARGS_MAX; i++)
        g_free(values[i].text);
}
