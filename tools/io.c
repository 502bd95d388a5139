/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-io: the command line, and the loop that reads commands. */
#include "io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/log.h"

/* ---- Commands ---- */

static int run_help(Io *io, int argc, char **argv);

static int run_quit(Io *io, int argc, char **argv)
{
    io->quit = true;
    return 0;
}

static const IoCommand basic_commands[] = {{.name = "help",
                                            .alias = "?",
                                            .run = run_help,
                                            .max_args = 1,
                                            .without_file = true,
                                            .args = "[command]",
                                            .what = "help for one or all commands"},
                                           {.name = "quit",
                                            .alias = "q",
                                            .run = run_quit,
                                            .without_file = true,
                                            .what = "exit the program"},
                                           {0}};

static const IoCommand *const tables[] = {io_rw_commands, io_image_commands, basic_commands};

const IoCommand *io_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
        for (const IoCommand *c = tables[i]; c->name; c++)
            if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
                return c;
    return NULL;
}

void io_print_usage(const IoCommand *c)
{
    printf("%s %s%s-- %s\n", c->name, c->args ? c->args : "", c->args ? " " : "", c->what);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const IoCommand *const *)a)->name, (*(const IoCommand *const *)b)->name);
}

static int run_help(Io *io, int argc, char **argv)
{
    if (argc > 1) {
        const IoCommand *c = io_find(argv[1]);
        if (!c) {
            printf("command %s not found\n", argv[1]);
            return -ENOENT;
        }
        io_print_usage(c);
        if (c->help)
            printf("\n%s\n", c->help);
        return 0;
    }
    g_autoptr(GPtrArray) all = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(tables); i++)
        for (const IoCommand *c = tables[i]; c->name; c++)
            g_ptr_array_add(all, (gpointer)(uintptr_t)c);
    qsort(all->pdata, all->len, sizeof(*all->pdata), by_name);
    for (unsigned i = 0; i < all->len; i++)
        io_print_usage(all->pdata[i]);
    printf("\nUse 'help commandname' for extended help.\n");
    return 0;
}

int io_getopt(const IoCommand *command, int argc, char **argv, const char *letters, bool *first)
{
    if (*first)
        optind = 0;
    *first = false;
    opterr = 0;
    int c = getopt(argc, argv, letters);
    if (c == '?') {
        if (strchr(letters, optopt))
            fprintf(stderr, "%s: option requires an argument -- '%c'\n", command->name, optopt);
        else
            fprintf(stderr, "%s: invalid option -- '%c'\n", command->name, optopt);
        io_print_usage(command);
    }
    return c;
}

bool io_number(const char *text, uint64_t *value)
{
    if (parse_size(text, 1, value) && *value <= INT64_MAX)
        return true;
    printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", text);
    return false;
}

static bool check_arguments(const Io *io, const IoCommand *c, int args)
{
    if (!io->node && !c->without_file) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return false;
    }
    if (args >= c->min_args && (c->max_args < 0 || args <= c->max_args)) {
        if (!c->writes || !io->node->readonly)
            return true;
        report_error("Block node is read-only");
        return false;
    }
    if (c->max_args < 0)
        fprintf(stderr, "bad argument count %d to %s, expected at least %d arguments\n", args,
                c->name, c->min_args);
    else if (c->min_args == c->max_args)
        fprintf(stderr, "bad argument count %d to %s, expected %d arguments\n", args, c->name,
                c->min_args);
    else
        fprintf(stderr, "bad argument count %d to %s, expected between %d and %d arguments\n", args,
                c->name, c->min_args, c->max_args);
    return false;
}

static int run_line(Io *io, const char *line)
{
    g_autofree char *copy = g_strstrip(g_strdup(line));
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    char *rest = copy, *word;
    while ((word = strsep(&rest, " \t")))
        if (*word)
            g_ptr_array_add(words, word);
    int argc = (int)words->len;
    g_ptr_array_add(words, NULL);
    if (!argc)
        return 0;
    char **argv = (char **)words->pdata;
    const IoCommand *c = io_find(argv[0]);
    if (!c) {
        fprintf(stderr, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    return check_arguments(io, c, argc - 1) ? c->run(io, argc, argv) : -EINVAL;
}

/* ---- Waiting ---- */

typedef struct Call {
    int (*fn)(void *opaque);
    void *opaque;
    int ret;
} Call;

static void call_main(void *opaque)
{
    Call *call = opaque;
    call->ret = call->fn(call->opaque);
}

int io_run(int (*fn)(void *opaque), void *opaque)
{
    Call call = {fn, opaque, 0};
    img_parallel(1, call_main, &call);
    return call.ret;
}

void io_drain(Io *io)
{
    while (io->in_flight)
        loop_step(loop_main(), true);
}

/* ---- The program ---- */

static const char help[] =
    "Sends single requests to a disk image: for tests and for repairs.\n\n"
    "  -c, --cmd STRING     run a command; '-c help' lists them; without any they are read from\n"
    "                       standard input\n"
    "  -f, --format FMT     of the image; guessed if you do not say it\n"
    "  -r, --read-only      do not write\n"
    "  -s, --snapshot       write into a temporary overlay\n"
    "  -n, --nocache        short for -t none\n"
    "  -t, --cache MODE     cache mode, as of -drive\n"
    "  -m, --misalign       misalign buffers\n"
    "  -C, --copy-on-read   what is read of a backing file is written into the image\n"
    "  -k, --native-aio     short for -i native\n"
    "  -i, --aio MODE       threads, native, or io_uring, which is native here (-t none)\n"
    "  -d, --discard MODE   ignore or unmap\n"
    "  -U, --force-share    open it even if a program is writing it\n"
    "  -T, --trace WHAT     PATTERN of '-d help' of vmrun, or file=FILE: a log of what is done\n"
    "      --image-opts     the file is a list of options\n"
    "      --object OBJECT  a secret\n"
    "  -V, --version        show the version\n";

static bool take_discard(ImgOpen *how, const char *text)
{
    how->mode.discard = !strcmp(text, "unmap") || !strcmp(text, "on");
    if (how->mode.discard || !strcmp(text, "ignore") || !strcmp(text, "off"))
        return true;
    report_error("Invalid discard option: %s; there are ignore and unmap", text);
    return false;
}

static bool take_option(Io *io, int c, const char *value, GPtrArray *commands)
{
    switch (c) {
    case 'c':
        g_ptr_array_add(commands, (gpointer)(uintptr_t)value);
        return true;
    case 'r':
        return io->readonly = true;
    case 's':
        return io->snapshot = true;
    case 'm':
        return io->misalign = true;
    case 'C':
        return io->copy_on_read = true;
    case 'T':
        return img_parse_trace(value);
    case 'n':
        return img_parse_cache("-n", "none", &io->how);
    case 't':
        return img_parse_cache("-t", value, &io->how);
    case 'k':
        return img_parse_aio("-k", "native", &io->how);
    case 'i':
        return img_parse_aio("-i", value, &io->how);
    case 'd':
        return take_discard(&io->how, value);
    default:
        return img_open_option(&io->how, c, value);
    }
}

static int read_commands(Io *io)
{
    char *line = NULL;
    size_t size = 0;
    int ret = 0;
    while (!io->quit) {
        printf("%s> ", report_program());
        fflush(stdout);
        if (getline(&line, &size, stdin) < 0)
            break;
        int one = run_line(io, line);
        ret = one ? one : ret;
    }
    free(line);
    return ret;
}

static int work(Io *io, const char *name, GPtrArray *commands)
{
    GError *error = NULL;
    int ret = 0;
    if (name && !io_open(io, name, &error)) {
        fail_prefix(&error, "can't open%s %s", io->how.image_opts ? "" : " device", name);
        return img_fail(error);
    }
    for (unsigned i = 0; i < commands->len && !io->quit; i++) {
        int one = run_line(io, commands->pdata[i]);
        ret = one ? one : ret;
    }
    if (!commands->len)
        ret = read_commands(io);
    int closed = io->node ? io_close(io) : 0;
    return ret || closed ? 1 : 0;
}

static int run_program(int argc, char **argv)
{
    static const struct option long_options[] = {IMG_OPEN_OPTIONS,
                                                 IMG_SHARE,
                                                 {"cmd", required_argument, NULL, 'c'},
                                                 {"format", required_argument, NULL, 'f'},
                                                 {"read-only", no_argument, NULL, 'r'},
                                                 {"snapshot", no_argument, NULL, 's'},
                                                 {"nocache", no_argument, NULL, 'n'},
                                                 {"cache", required_argument, NULL, 't'},
                                                 {"misalign", no_argument, NULL, 'm'},
                                                 {"copy-on-read", no_argument, NULL, 'C'},
                                                 {"trace", required_argument, NULL, 'T'},
                                                 {"native-aio", no_argument, NULL, 'k'},
                                                 {"aio", required_argument, NULL, 'i'},
                                                 {"discard", required_argument, NULL, 'd'},
                                                 {"version", no_argument, NULL, 'V'},
                                                 {0}};
    static const Command self = {
        .name = "", .synopsis = "[OPTION...] [-c COMMAND...] [FILE]", .help = help};
    g_autoptr(GPtrArray) commands = g_ptr_array_new();
    Io io = {.how.mode.discard = true};
    int c;
    while ((c = img_getopt(&self, argc, argv, ":c:f:rsnt:mCki:d:T:UVh", long_options)) != -1) {
        if (c == 'V') {
            img_print_version();
            return 0;
        }
        if (!take_option(&io, c, optarg, commands))
            return c != 'h';
    }
    if (argc - optind > 1) {
        report_error("give one file name");
        return 1;
    }
    int code = work(&io, argv[optind], commands);
    g_free(io.name);
    return code;
}

int main(int argc, char **argv)
{
    return img_main(argv[0], run_program, argc, argv);
}
