/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmrun-img: makes, shows, checks and converts disk images, with qemu-img's letters. */
#include "img.h"

#include <stdio.h>
#include <string.h>

#include "util/error.h"
#include "util/log.h"

static const Command *const commands[] = {
    &command_amend,   &command_bench,   &command_bitmap,  &command_check,
    &command_commit,  &command_compact, &command_compare, &command_convert,
    &command_create,  &command_dd,      &command_info,    &command_map,
    &command_measure, &command_rebase,  &command_resize,  &command_snapshot,
};
static void print_help(void)
{
    printf("usage: %s [-T TRACE] COMMAND [OPTION...] FILE...\n\nCommands:\n", report_program());
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-8s %s\n", commands[i]->name, commands[i]->synopsis);
    printf("\n'%s COMMAND --help' tells more.\n\nSupported formats:", report_program());
    for (int i = 0; block_formats[i]; i++)
        printf(" %s", block_formats[i]->name);
    printf("\n\n-T, --trace [enable=]PATTERN[,file=FILE][,events=FILE] logs what is done to files: "
           "'block'.");
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
        report_error("Command not found: %s; did you mean '%s'?", argv[0], near);
    else
        report_error("Command not found: %s; see '%s --help'", argv[0], report_program());
    return 1;
}

/* Options before the command; how many words they take, or -1 after a message. */
static int take_global(int argc, char **argv)
{
    int at = 1;
    for (; at < argc && (!strcmp(argv[at], "-T") || g_str_has_prefix(argv[at], "--trace")); at++) {
        const char *value = strchr(argv[at], '=');
        if (!strcmp(argv[at], "-T") || !strcmp(argv[at], "--trace"))
            value = argv[++at];
        else if (argv[at][strlen("--trace")] == '=')
            value++;
        else
            break;
        if (!value) {
            report_error("--trace lacks its value: a pattern, or file=FILE");
            return -1;
        }
        if (!img_parse_trace(value))
            return -1;
    }
    return at - 1;
}

static int run_program(int argc, char **argv)
{
    int taken = take_global(argc, argv);
    if (taken < 0)
        return 1;
    argc -= taken;
    argv += taken;
    if (argc < 2) {
        report_error("no command given; see '%s --help'", report_program());
        return 1;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help();
        return 0;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        img_print_version();
        return 0;
    }
    return run_command(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    return img_main(argv[0], run_program, argc, argv);
}
