/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Restores the terminal: by ui_stop(), at exit(), and on fatal signals with tcsetattr() and write()
 * alone, as POSIX allows in a handler. */
#include "curses_restore.h"

#include <curses.h>
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

static struct {
    volatile sig_atomic_t armed;
    struct termios termios;
    char text[128]; /* colours off, cursor on, leaves the alternate screen */
    size_t length;
} restore;

static void restore_on_signal(int number)
{
    if (restore.armed) {
        restore.armed = 0;
        if (write(STDOUT_FILENO, restore.text, restore.length) < 0)
            restore.length = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &restore.termios);
    }
    raise(number); /* SA_RESETHAND: now it is fatal */
}

void curses_restore(void)
{
    if (!restore.armed)
        return;
    restore.armed = 0;
    endwin();
}

void curses_save_terminal(void)
{
    tcgetattr(STDIN_FILENO, &restore.termios);
}

/* A string capability, or NULL: curses has two ways to say no. */
static const char *capability(const char *name)
{
    const char *text = tigetstr(name);
    return text == (char *)-1 ? NULL : text;
}

void curses_restore_prepare(void)
{
    static const char *const leave[] = {"sgr0", "cnorm", "rmkx", "rmcup"};
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    static bool exit_registered;
    restore.length = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(leave); i++) {
        const char *text = capability(leave[i]);
        if (!text || restore.length + strlen(text) > sizeof(restore.text))
            continue;
        memcpy(restore.text + restore.length, text, strlen(text));
        restore.length += strlen(text);
    }
    struct sigaction action = {.sa_handler = restore_on_signal, .sa_flags = (int)SA_RESETHAND};
    for (unsigned i = 0; i < G_N_ELEMENTS(fatal); i++) {
        struct sigaction old;
        /* Someone who handles the signal already goes on doing so. */
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &action, NULL);
    }
    if (!exit_registered)
        atexit(curses_restore);
    exit_registered = true;
    restore.armed = 1;
}

void curses_set_title(const char *title)
{
    const char *to = capability("tsl"), *from = capability("fsl");
    if (!to || !from)
        return;
    putp(to);
    putp(title);
    putp(from);
    fflush(stdout);
}
