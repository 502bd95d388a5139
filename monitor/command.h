/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Monitor commands: one const row each, from which the parser, the help and the completion work.
 */
#ifndef VMRUN_MONITOR_COMMAND_H
#define VMRUN_MONITOR_COMMAND_H

#include "monitor/monitor.h"

/* What an argument is: how it is read, and how Tab completes it. */
typedef enum {
    ARG_NONE,
    ARG_WORD,    /* text */
    ARG_FILE,    /* text: a file name */
    ARG_DRIVE,   /* text: id of a drive */
    ARG_CHARDEV, /* text: id of a chardev */
    ARG_NET,     /* text: id of a network or of its card */
    ARG_KEYS,    /* text: "ctrl-alt-delete" */
    ARG_LOG,     /* text: log items */
    ARG_COMMAND, /* text: the name of a command, the rest too */
    ARG_INFO,    /* text: a subcommand of info with its arguments, the rest */
    ARG_FLAG,    /* given: "-f"; name is the letter */
    ARG_FORMAT,  /* format: "/8xb" right after the command */
    ARG_EXPR,    /* number: an expression */
} MonArgKind;

typedef struct MonArg {
    const char *name;
    MonArgKind kind;
    bool optional;            /* flags and formats always are */
    const char *const *words; /* of ARG_WORD: what Tab offers, NULL-terminated; or NULL */
} MonArg;

/* "/COUNT FORMAT SIZE" */
typedef struct MonFormat {
    unsigned count;
    char letter;   /* x, d, u, o, c, i */
    unsigned size; /* bytes: 1, 2, 4, 8 */
} MonFormat;

/* An argument as it was given; unset ones are all zero. */
typedef struct MonValue {
    bool given;
    char *text;
    uint64_t number;
    MonFormat format;
} MonValue;

#define MON_ARGS_MAX 7

typedef struct MonCommand {
    const char *name; /* "quit|q" */
    MonArg args[MON_ARGS_MAX];
    const char *help; /* one line */
    /* values as in args. */
    void (*run)(Monitor *mon, const MonValue *values);
} MonCommand;

/* The tables; each ends with a row without a name. */
extern const MonCommand mon_commands[];
extern const MonCommand mon_info_commands[];

/* Finds a row by name or alias. */
const MonCommand *mon_command_find(const MonCommand *table, const char *name);
/* Names and aliases, NULL-terminated; g_strfreev(). */
char **mon_command_names(const MonCommand *table);
/* Parses and runs a line; what is wrong is told on mon.  prefix: "" or "info ". */
void mon_command_run(Monitor *mon, const MonCommand *table, const char *prefix, const char *line);
/* "change device filename [format] -- help". */
void mon_command_describe(const MonCommand *command, const char *prefix, GString *out);
/* LineEditorOps.complete. */
size_t mon_complete(void *opaque, const char *text, GPtrArray *words);

#endif
