/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmrun-img's commands share. */
#ifndef VMRUN_TOOLS_IMG_H
#define VMRUN_TOOLS_IMG_H

#include <getopt.h>

#include "block/node.h"

/* Exit codes of `check`; others end with 0 or 1. */
enum { EXIT_CORRUPT = 2, EXIT_LEAKS = 3, EXIT_NO_CHECK = 63 };

typedef struct Command {
    const char *name;
    const char *synopsis, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} Command;

extern const Command command_create, command_info, command_check, command_convert;

/* The scheduler of the main loop, whose lock is held throughout. */
CoSched *img_sched(void);

/* getopt_long() with messages of our own: -1 at the end, '?' after a message about a bad option,
 * 'h' after the help was shown. long_options holds --help. */
int img_getopt(const Command *command, int argc, char **argv, const char *letters,
               const struct option *long_options);
#define IMG_HELP                                                                                   \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
/* Prints the error with the program's name, frees it; returns 1. */
int img_fail(GError *error);
/* "human" or "json". */
bool img_parse_output(const char *text, bool *json);
/* A cache mode's word into file mode. */
bool img_parse_cache(const char *option, const char *text, HostFileMode *mode);
/* "1.5 MiB", as qemu-img writes it; g_free() it. */
char *img_size(uint64_t bytes);

/* ---- JSON: objects and arrays as they are written, indented by four ---- */
typedef struct Json {
    GString *text;
    int depth;
    bool first; /* nothing stands in the innermost one yet */
} Json;
void json_open(Json *json, const char *key, char bracket);
void json_close(Json *json, char bracket);
void json_text(Json *json, const char *key, const char *value);
void json_number(Json *json, const char *key, int64_t value);
/* value stands as it is: true, 16. */
void json_bare(Json *json, const char *key, const char *value);

#endif
