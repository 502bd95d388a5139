/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img: makes, shows, checks and converts disk images, with qemu-img's letters. */
#include "img.h"

#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/log.h"

static const Command *const commands[] = {&command_check, &command_convert, &command_create,
                                          &command_info};
static CoSched *sched;

CoSched *img_sched(void)
{
    return sched;
}

int img_fail(GError *error)
{
    report_error("%s", error->message);
    g_error_free(error);
    return 1;
}

char *img_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%.3g %s", value, units[unit]);
}

static bool bad_word(const char *option, const char *text, const char *const *words)
{
    const char *near = nearest_word(text, words);
    g_autofree char *all = g_strjoinv(", ", (char **)(uintptr_t)words);
    if (near)
        report_error("%s: unknown word '%s'; did you mean '%s'?", option, text, near);
    else
        report_error("%s: unknown word '%s'; it is one of %s", option, text, all);
    return false;
}

bool img_parse_output(const char *text, bool *json)
{
    static const char *const words[] = {"human", "json", NULL};
    *json = !strcmp(text, "json");
    return *json || !strcmp(text, "human") || bad_word("--output", text, words);
}

bool img_parse_cache(const char *option, const char *text, HostFileMode *mode)
{
    static const char *const words[] = {"writeback",  "none",   "writethrough",
                                        "directsync", "unsafe", NULL};
    if (!g_strv_contains(words, text))
        return bad_word(option, text, words);
    mode->direct = !strcmp(text, "none") || !strcmp(text, "directsync");
    mode->no_flush = !strcmp(text, "unsafe");
    return true;
}

static void print_command_help(const Command *command)
{
    printf("usage: %s %s %s\n\n%s", report_program(), command->name, command->synopsis,
           command->help);
}

int img_getopt(const Command *command, int argc, char **argv, const char *letters,
               const struct option *long_options)
{
    opterr = 0;
    int at = optind;
    int c = getopt_long(argc, argv, letters, long_options, NULL);
    if (c == 'h') {
        print_command_help(command);
        return 'h';
    }
    if (c == ':' || (c == '?' && optopt && strchr(letters, optopt)))
        report_error("%s: option '-%c' needs a value", command->name, optopt);
    else if (c == '?' && optopt && optopt < 128)
        report_error("%s: option '-%c' is unknown or not supported; see '%s %s --help'",
                     command->name, optopt, report_program(), command->name);
    else if (c == '?')
        report_error("%s: option '%s' is unknown, not supported or lacks its value; see '%s %s "
                     "--help'",
                     command->name, argv[at < argc ? at : argc - 1], report_program(),
                     command->name);
    return c == ':' ? '?' : c;
}

static void print_help(void)
{
    printf("usage: %s COMMAND [OPTION...] FILE...\n\nCommands:\n", report_program());
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-8s %s\n", commands[i]->name, commands[i]->synopsis);
    printf("\n'%s COMMAND --help' tells more.  Formats:", report_program());
    for (int i = 0; block_formats[i]; i++)
        printf(" %s", block_formats[i]->name);
    printf("\nSizes take k, M, G, T, P and E (powers of 1024).\n");
}

static int run_command(int argc, char **argv)
{
    const char *names[G_N_ELEMENTS(commands) + 1] = {NULL};
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        names[i] = commands[i]->name;
        if (!strcmp(argv[0], commands[i]->name))
            return commands[i]->run(argc, argv);
    }
    const char *near = nearest_word(argv[0], names);
    if (near)
        report_error("unknown command '%s'; did you mean '%s'?", argv[0], near);
    else
        report_error("unknown command '%s'; see '%s --help'", argv[0], report_program());
    return 1;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    report_set_program(slash ? slash + 1 : argv[0]);
    if (argc < 2) {
        report_error("no command given; see '%s --help'", report_program());
        return 1;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help();
        return 0;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("%s version %s\n", report_program(), VMRUN_VERSION);
        return 0;
    }
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    int code = run_command(argc - 1, argv + 1);
    co_sched_free(sched);
    loop_unlock(loop_main());
    if (fflush(stdout) || ferror(stdout)) {
        report_error("cannot write the output");
        return 1;
    }
    return code;
}
