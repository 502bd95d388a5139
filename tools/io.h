/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmrun-io: sends single requests to an image, as qemu-io does.
 *
 *   io.c         the command line and the command loop
 *   io-image.c   commands about the image: open, map, length ...
 *   io-rw.c      read, write and their kin; discard, flush
 *   io-report.c  what they print
 */
#ifndef VMRUN_TOOLS_IO_H
#define VMRUN_TOOLS_IO_H

#include "img.h"

typedef struct Io {
    BlkNode *node; /* NULL: none is open */
    ImgOpen how;   /* as it was opened */
    char *name;
    bool readonly, snapshot, misalign, copy_on_read;
    unsigned in_flight; /* asynchronous requests */
    bool quit;
} Io;

/* Returns 0, or a negative errno after having said what is wrong. */
typedef int IoRun(Io *io, int argc, char **argv);

typedef struct IoCommand {
    const char *name, *alias;
    IoRun *run;
    int min_args, max_args; /* max -1: any number */
    bool without_file;      /* may be used when no file is open */
    bool writes;            /* refused when the file is read-only */
    const char *args, *what, *help;
} IoCommand;

/* End with a row without a name. */
extern const IoCommand io_rw_commands[], io_image_commands[];
/* NULL if there is none of that name. */
const IoCommand *io_find(const char *name);
/* "read [-abCqv] ... -- reads a number of bytes" */
void io_print_usage(const IoCommand *command);
/* Calls fn(opaque) in a coroutine, waits for it with the loop going on, returns its result. */
int io_run(int (*fn)(void *opaque), void *opaque);
/* Waits for all asynchronous requests. */
void io_drain(Io *io);
/* getopt() for a command: begins anew with each; -1 at the end, '?' after a message. */
int io_getopt(const IoCommand *command, int argc, char **argv, const char *letters, bool *first);
/* A number with a suffix; false after a message. */
bool io_number(const char *text, uint64_t *value);

/* ---- io-image.c ---- */
bool io_open(Io *io, const char *name, GError **error);
int io_close(Io *io);

/* ---- io-report.c ---- */
typedef struct IoReport {
    const char *verb; /* "wrote" */
    uint64_t offset, bytes;
    int64_t ns;
    bool machine; /* -C */
} IoReport;
void io_print_report(const IoReport *report);
void io_dump(const uint8_t *data, uint64_t offset, uint64_t bytes);
/* "64 KiB"; g_free() it. */
char *io_size(double value);

#endif
