/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmrun-img's commands share. */
#ifndef VMRUN_TOOLS_IMG_H
#define VMRUN_TOOLS_IMG_H

#include <getopt.h>

#include "block/node.h"

/* Exit codes of `check`; `compare` has its own; others end with 0 or 1. */
enum { EXIT_CORRUPT = 2, EXIT_LEAKS = 3, EXIT_NO_CHECK = 63 };

typedef struct Command {
    const char *name;
    const char *synopsis, *help;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} Command;

extern const Command command_amend, command_bench, command_bitmap, command_check, command_commit,
    command_compact, command_compare, command_convert, command_create, command_dd, command_info,
    command_map, command_measure, command_rebase, command_resize, command_snapshot;

/* What main() does: names the program, calls run() with the lock, returns the exit code. */
int img_main(const char *program, int (*run)(int argc, char **argv), int argc, char **argv);
/* --version; scripts that call a link named as QEMU's program look for a QEMU that has what they
 * use. */
void img_print_version(void);
/* The scheduler of the main loop, whose lock is held throughout. */
CoSched *img_sched(void);
/* Starts `count` coroutines, worker(opaque) each, and waits until all have ended. */
void img_parallel(unsigned count, CoFn *worker, void *opaque);

/* ---- Options ---- */

/* getopt_long() with messages of our own: -1 at the end, '?' after a message about a bad option,
 * 'h' after the help was shown. long_options holds IMG_HELP. */
int img_getopt(const Command *command, int argc, char **argv, const char *letters,
               const struct option *long_options);
#define IMG_HELP                                                                                   \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
/* Rows of long_options that nearly all commands take; img_open_option() serves them. */
enum { OPT_OBJECT = 256, OPT_IMAGE_OPTS, OPT_OUTPUT, OPT_OWN };
#define IMG_OPEN_OPTIONS                                                                           \
    IMG_HELP, {"object", required_argument, NULL, OPT_OBJECT},                                     \
    {                                                                                              \
        "image-opts", no_argument, NULL, OPT_IMAGE_OPTS                                            \
    }
#define IMG_SHARE                                                                                  \
    {                                                                                              \
        "force-share", no_argument, NULL, 'U'                                                      \
    }
#define IMG_OUTPUT                                                                                 \
    {                                                                                              \
        "output", required_argument, NULL, OPT_OUTPUT                                              \
    }

/* How an image that the command line names is opened. */
typedef struct ImgOpen {
    const char *format; /* -f; NULL: look */
    bool image_opts;    /* the name is a list of options */
    bool writethrough;  /* every write is flushed: the cache mode */
    bool ring;          /* -i io_uring: what is nearest to it */
    /* The snapshot to read, by what is not NULL; mode.snapshot names one by either. */
    const char *snapshot_id, *snapshot_name;
    NodeMode mode;
} ImgOpen;
/* Serves -f, -U, --object and --image-opts: false after a message. */
bool img_open_option(ImgOpen *how, int c, const char *value);
/* Opens a file name, "json:{...}" or (image_opts) "driver=qcow2,file.filename=..."; NULL with an
 * error. */
BlkNode *img_open(const ImgOpen *how, const char *name, GError **error);
/* node_close() with a message; returns code, or 1 if it failed. */
int img_close(BlkNode *node, int code);
/* Takes apart --image-opts' text or what follows "json:" into flat options: "file.filename". */
Options *img_name_options(const char *name, bool image_opts, GError **error);

/* Prints the error with the program's name, frees it; returns 1. */
int img_fail(GError *error);
/* "human" or "json". */
bool img_parse_output(const char *text, bool *json);
/* A cache mode's word; what -t or -T takes. */
bool img_parse_cache(const char *option, const char *text, ImgOpen *how);
/* What -i takes: threads, native, or io_uring, which is libaio with O_DIRECT and threads without.
 */
bool img_parse_aio(const char *option, const char *text, ImgOpen *how);
/* -T, --trace: [enable=]PATTERN, file=FILE, events=FILE.  False after a message. */
bool img_parse_trace(const char *text);
/* A number of bytes, or false after a message that names the option. */
bool img_parse_size(const char *option, const char *text, uint64_t *size);
bool img_parse_number(const char *option, const char *text, uint64_t min, uint64_t max,
                      uint64_t *number);
/* The snapshot that -l names: ID or name, or "snapshot.id=...,snapshot.name=...".  False after a
 * message. */
bool img_parse_snapshot(const char *text, ImgOpen *how);
/* The list of snapshots with its heading; nothing if there are none. */
void img_print_snapshots(const BlkNode *node);
/* What the format tells besides: lists and objects are indented, and what stands in a list has a
 * number for a key. */
void img_print_details(const BlkNode *node);

/* ---- Progress: one work at a time ---- */

/* SIGUSR1 asks from now on: called when the options are read, so that it kills no command that is
 * still opening its images. */
void progress_listen(void);
/* wanted: -p.  Without it, it is shown on a terminal when the work has taken a second, unless
 * quiet; and once for each SIGUSR1, on stderr. */
void progress_begin(bool wanted, bool quiet);
void progress_show(uint64_t done, uint64_t all);
/* The work is done, or given up. */
void progress_end(bool complete);
/* progress_show() as a NodeProgress. */
bool img_progress_tell(void *opaque, uint64_t done, uint64_t total);

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
/* Appends value in quotes to out. */
void json_quote(GString *out, const char *value);

#endif
