/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal in raw mode, and back on every way out: termios(3), POSIX job control.
 *
 * The settings that were found come back at a normal exit (atexit), before a fatal signal's default
 * action, and while the process is stopped; after SIGCONT the terminal is raw again.  A process in
 * the background leaves the terminal alone: it belongs to the shell then.  What signal handlers
 * touch is set up before they are installed and never freed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "chr_private.h"

static struct termios cooked, raw;   /* what we found; what we use */
static int term_fd = -1;             /* our own, so that it is open to the last */
static volatile sig_atomic_t wanted; /* between term_enter() and term_leave() */
static volatile sig_atomic_t is_raw;

static const int fatal_signals[] = {
    SIGHUP, SIGINT,  SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS,
    SIGFPE, SIGSEGV, SIGTERM, SIGSYS, SIGXCPU, SIGXFSZ,
};
static struct sigaction saved_fatal[G_N_ELEMENTS(fatal_signals)];
static bool took_fatal[G_N_ELEMENTS(fatal_signals)];
static struct sigaction saved_stop, saved_cont;
static bool took_job_signals;

/* ---- Async-signal-safe ---- */

/* A terminal that is not our controlling one (-1) has no job control to respect. */
static bool in_foreground(void)
{
    pid_t group = tcgetpgrp(term_fd);
    return group <= 0 || group == getpgrp();
}

static void set_raw(bool on)
{
    if (is_raw == on || !in_foreground())
        return;
    tcsetattr(term_fd, TCSANOW, on ? &raw : &cooked);
    is_raw = on;
}

void term_fatal_signal(int signo)
{
    if (wanted)
        set_raw(false);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, signo);
    signal(signo, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    raise(signo);
}

static void on_stop(int signo)
{
    int saved_errno = errno;
    struct sigaction ours;
    sigset_t mask, old_mask;

    set_raw(false);
    sigaction(SIGTSTP, NULL, &ours);
    signal(SIGTSTP, SIG_DFL);
    sigemptyset(&mask);
    sigaddset(&mask, SIGTSTP);
    raise(SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &mask, &old_mask); /* stops here until SIGCONT */
    pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    sigaction(SIGTSTP, &ours, NULL);
    errno = saved_errno;
}

static void on_continue(int signo)
{
    int saved_errno = errno;
    /* A shell may have changed the settings, whatever we think of them. */
    is_raw = false;
    if (wanted)
        set_raw(true);
    errno = saved_errno;
}

/* ---- Normal context ---- */

/* Signals that already have a handler keep it: its owner ends in exit() or here. */
static void take_signals(void)
{
    struct sigaction fatal = {.sa_handler = term_fatal_signal};
    sigfillset(&fatal.sa_mask);
    for (unsigned i = 0; i < G_N_ELEMENTS(fatal_signals); i++) {
        sigaction(fatal_signals[i], NULL, &saved_fatal[i]);
        took_fatal[i] = saved_fatal[i].sa_handler == SIG_DFL;
        if (took_fatal[i])
            sigaction(fatal_signals[i], &fatal, NULL);
    }
    sigaction(SIGTSTP, NULL, &saved_stop);
    took_job_signals = saved_stop.sa_handler == SIG_DFL;
    if (took_job_signals) {
        struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
        struct sigaction cont = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
        sigaction(SIGTSTP, &stop, NULL);
        sigaction(SIGCONT, &cont, &saved_cont);
    }
}

static void give_back(int signo, void (*ours)(int), const struct sigaction *saved)
{
    struct sigaction now;
    if (!sigaction(signo, NULL, &now) && now.sa_handler == ours)
        sigaction(signo, saved, NULL);
}

static void give_back_signals(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(fatal_signals); i++)
        if (took_fatal[i])
            give_back(fatal_signals[i], term_fatal_signal, &saved_fatal[i]);
    if (took_job_signals) {
        give_back(SIGTSTP, on_stop, &saved_stop);
        give_back(SIGCONT, on_continue, &saved_cont);
    }
}

/* 8-bit, unbuffered, without echo; output still gets its carriage returns, for messages. */
static void make_raw(bool guest_gets_ctrl_c)
{
    raw = cooked;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag |= OPOST;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (guest_gets_ctrl_c)
        raw.c_lflag &= ~(tcflag_t)ISIG;
    raw.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    raw.c_cflag |= CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
}

void term_enter(int fd, bool guest_gets_ctrl_c)
{
    static bool registered;
    if (wanted || tcgetattr(fd, &cooked) < 0)
        return;
    term_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (term_fd < 0)
        return;
    make_raw(guest_gets_ctrl_c);
    if (!registered)
        atexit(term_leave);
    registered = true;
    take_signals();
    wanted = true;
    set_raw(true);
}

void term_set_signal(bool guest_gets_ctrl_c)
{
    if (!wanted)
        return;
    make_raw(guest_gets_ctrl_c);
    if (is_raw)
        tcsetattr(term_fd, TCSANOW, &raw);
}

void term_leave(void)
{
    if (!wanted)
        return;
    set_raw(false);
    wanted = false;
    give_back_signals();
    close(term_fd);
    term_fd = -1;
}
