/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Tab offers. */
#include <dirent.h>
#include <sys/stat.h>

#include "block/block.h"
#include "command.h"
#include "monitor_private.h"
#include "net/net.h"
#include "ui/input.h"
#include "util/log.h"

static void offer(GPtrArray *words, const char *typed, const char *word)
{
    if (g_str_has_prefix(word, typed))
        g_ptr_array_add(words, g_strdup(word));
}

static void offer_commands(GPtrArray *words, const char *typed, const MonCommand *table)
{
    g_auto(GStrv) names = mon_command_names(table);
    for (char **name = names; *name; name++)
        offer(words, typed, *name);
}

static void offer_all(GPtrArray *words, const char *typed, const char *const *list)
{
    for (; list && *list; list++)
        offer(words, typed, *list);
}

typedef struct Offer {
    GPtrArray *words;
    const char *typed;
} Offer;

static void offer_drive(Blk *blk, void *opaque)
{
    const Offer *state = opaque;
    offer(state->words, state->typed, blk_id(blk));
}

static void offer_end(NetEnd *end, void *opaque)
{
    const Offer *state = opaque;
    offer(state->words, state->typed, end->id);
}

/* Names in the typed directory; directories get a slash. */
static void offer_files(GPtrArray *words, const char *typed)
{
    const char *slash = strrchr(typed, '/');
    g_autofree char *prefix = g_strndup(typed, slash ? (size_t)(slash + 1 - typed) : 0);
    const char *start = slash ? slash + 1 : typed;
    DIR *dir = opendir(slash ? prefix : ".");
    struct dirent *entry;

    while (dir && words->len < 256 && (entry = readdir(dir))) {
        if (!g_str_has_prefix(entry->d_name, start) || (entry->d_name[0] == '.' && *start != '.'))
            continue;
        g_autofree char *path = g_strconcat(prefix, entry->d_name, NULL);
        struct stat status;
        bool is_dir = !stat(path, &status) && S_ISDIR(status.st_mode);
        g_ptr_array_add(words, g_strconcat(path, is_dir ? "/" : "", NULL));
    }
    if (dir)
        closedir(dir);
}

/* The last of the keys in "ctrl-alt-del", or of the items in "int,pio". */
static void offer_last_part(GPtrArray *words, const char *typed, char separator,
                            const char *const *list)
{
    const char *last = strrchr(typed, separator);
    g_autofree char *before = g_strndup(typed, last ? (size_t)(last + 1 - typed) : 0);

    for (; *list; list++) {
        g_autofree char *word = g_strconcat(before, *list, NULL);
        offer(words, typed, word);
    }
}

static void offer_log_items(GPtrArray *words, const char *typed)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const LogName *row = log_names; row->name; row++)
        g_ptr_array_add(names, (char *)row->name);
    g_ptr_array_add(names, (char *)"none");
    g_ptr_array_add(names, NULL);
    offer_last_part(words, typed, ',', (const char *const *)names->pdata);
}

static void offer_argument(const MonArg *arg, const char *typed, GPtrArray *words)
{
    Offer state = {words, typed};

    switch (arg->kind) {
    case ARG_WORD:
        offer_all(words, typed, arg->words);
        break;
    case ARG_FILE:
        offer_files(words, typed);
        break;
    case ARG_DRIVE:
        blk_foreach(offer_drive, &state);
        break;
    case ARG_NET:
        net_foreach(offer_end, &state);
        break;
    case ARG_KEYS:
        offer_last_part(words, typed, '-', key_names());
        break;
    case ARG_LOG:
        offer_log_items(words, typed);
        break;
    default:
        break;
    }
}

/* The row's argument number n, flags and formats aside. */
static const MonArg *nth_argument(const MonCommand *command, unsigned n)
{
    for (unsigned i = 0; i < MON_ARGS_MAX && command->args[i].kind; i++) {
        if (command->args[i].kind == ARG_FLAG || command->args[i].kind == ARG_FORMAT)
            continue;
        if (!n--)
            return &command->args[i];
    }
    return NULL;
}

static void complete_in(const MonCommand *table, char **parts, unsigned count, const char *typed,
                        GPtrArray *words)
{
    if (!count) {
        offer_commands(words, typed, table);
        return;
    }
    const MonCommand *command = mon_command_find(table, parts[0]);
    if (!command)
        return;
    unsigned position = 0;
    for (unsigned i = 1; i < count; i++)
        position += parts[i][0] != '-' && parts[i][0] != '/';
    const MonArg *arg = nth_argument(command, position);
    const MonArg *first = nth_argument(command, 0);
    if (first && first->kind == ARG_INFO)
        complete_in(mon_info_commands, parts + 1, count - 1, typed, words);
    else if (first && first->kind == ARG_COMMAND)
        offer_commands(words, typed, position ? mon_info_commands : mon_commands);
    else if (arg)
        offer_argument(arg, typed, words);
}

size_t mon_complete(void *opaque, const char *text, GPtrArray *words)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
    const char *p = text;

    for (;;) {
        p += strspn(p, " \t");
        size_t length = strcspn(p, " \t");
        if (!p[length]) {
            complete_in(mon_commands, (char **)parts->pdata, parts->len, p, words);
            return (size_t)(p - text);
        }
        g_ptr_array_add(parts, g_strndup(p, length));
        p += length;
    }
}
