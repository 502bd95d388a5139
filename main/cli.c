/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walks the command line by the option table. */
#include "config.h"

#include "util/error.h"

static const CliOption *find_option(const char *name)
{
    for (const CliOption *option = cli_options; option->help; option++)
        if (option->name && !strcmp(option->name, name))
            return option;
    return NULL;
}

static const char *nearest_option(const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const CliOption *option = cli_options; option->help; option++)
        if (option->name)
            g_ptr_array_add(names, (char *)option->name);
    g_ptr_array_add(names, NULL);
    return nearest_word(name, (const char *const *)names->pdata);
}

static bool fail_unknown_option(const char *text, const char *name, GError **error)
{
    const char *answer = cli_missing_option(name);
    if (answer)
        return fail(error, "-%s: %s", name, answer);
    const char *nearest = nearest_option(name);
    if (nearest)
        return fail(error, "%s: no such option; did you mean -%s?", text, nearest);
    return fail(error, "%s: no such option; vmrun -help lists them", text);
}

/* What means nothing without something else. */
static bool check_together(const VmConfig *config, GError **error)
{
    if (config->board.initrd && !config->board.kernel)
        return fail(error, "-initrd %s: -kernel is missing", config->board.initrd);
    if (config->board.append && !config->board.kernel)
        return fail(error, "-append %s: -kernel is missing", config->board.append);
    return true;
}

bool cli_parse(VmConfig *config, int argc, char *const *argv, GError **error)
{
    static const CliOption bare_file = {"hda", "FILE", "", cli_disk, 0};

    for (int i = 1; i < argc && !config->answer; i++) {
        const char *text = argv[i], *arg = NULL;
        const CliOption *option = &bare_file;

        if (text[0] == '-') {
            const char *name = text + (text[1] == '-' ? 2 : 1);
            option = find_option(name);
            if (!option)
                return fail_unknown_option(text, name, error);
            if (option->arg) {
                if (i + 1 >= argc)
                    return fail(error, "-%s: an argument is missing: -%s %s", name, name,
                                option->arg);
                arg = argv[++i];
            }
        } else {
            arg = text;
        }
        if (!option->handler(config, option, arg, error))
            return false;
    }
    return config->answer || check_together(config, error);
}

void cli_describe(GString *out)
{
    g_string_append(out, "usage: vmrun [OPTION]... [DISK]\n"
                         "\n"
                         "Starts a PC.  The words are QEMU's; vmrun(1) tells more.\n");
    for (const CliOption *option = cli_options; option->help; option++) {
        if (!option->name) {
            g_string_append_printf(out, "\n%s\n", option->help);
            continue;
        }
        g_autofree char *form = g_strdup_printf("-%s%s%s", option->name, option->arg ? " " : "",
                                                option->arg ? option->arg : "");
        if (strlen(form) < 20)
            g_string_append_printf(out, "  %-19s %s\n", form, option->help);
        else
            g_string_append_printf(out, "  %s\n%22s%s\n", form, "", option->help);
    }
}

bool cli_fail_if_missing(const CliOption *option, const char *word, const char *const *missing,
                         GError **error)
{
    if (!g_strv_contains(missing, word))
        return false;
    fail(error, "-%s %s: vmrun does not have %s yet", option->name, word, word);
    return true;
}

bool cli_fail_word(const CliOption *option, const char *what, const char *word,
                   const char *const *words, GError **error)
{
    const char *nearest = nearest_word(word, words);
    if (nearest)
        return fail(error, "-%s: there is no %s '%s'; did you mean '%s'?", option->name, what, word,
                    nearest);
    g_autofree char *all = g_strjoinv(", ", (char **)words);
    return fail(error, "-%s: there is no %s '%s'; there are: %s", option->name, what, word, all);
}
