/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far long work has come: text as of qemu-img, and a bar behind it on a terminal. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "img.h"
#include "util/timer.h"

#define SHOW_EVERY (100 * NS_PER_MS)
#define BAR_WIDTH  40

static struct {
    bool wanted, quiet, terminal, visible;
    int64_t started, shown;
    double percent;
} progress;

static volatile sig_atomic_t asked;

static void on_signal(int signal)
{
    asked = 1;
}

void progress_listen(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
}

void progress_begin(bool wanted, bool quiet)
{
    progress.wanted = wanted && !quiet;
    progress.quiet = quiet;
    progress.terminal = isatty(STDOUT_FILENO);
    progress.visible = false;
    progress.percent = 0;
    progress.started = progress.shown = clock_now(VM_CLOCK_HOST);
}

static void print_bar(int64_t now)
{
    char bar[BAR_WIDTH + 1];
    int full = (int)(progress.percent * BAR_WIDTH / 100);
    double left = progress.percent > 0 ? (double)(now - progress.started) / (double)NS_PER_SEC *
                                             (100 - progress.percent) / progress.percent
                                       : 0;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[BAR_WIDTH] = 0;
    printf("    (%.2f/100%%) [%s] %u:%02u left \r", progress.percent, bar, (unsigned)(left / 60),
           (unsigned)left % 60);
}

static void print_now(int64_t now)
{
    if (progress.terminal)
        print_bar(now);
    else
        printf("    (%.2f/100%%)\r", progress.percent);
    fflush(stdout);
    progress.shown = now;
    progress.visible = true;
}

void progress_show(uint64_t done, uint64_t all)
{
    int64_t now = clock_now(VM_CLOCK_HOST);
    progress.percent = all ? (double)MIN(done, all) * 100 / (double)all : 100;
    if (asked) {
        asked = 0;
        if (!progress.wanted)
            fprintf(stderr, "    (%.2f/100%%)\n", progress.percent);
    }
    bool by_itself = !progress.quiet && progress.terminal && now - progress.started > NS_PER_SEC;
    if ((progress.wanted || by_itself) && (now - progress.shown >= SHOW_EVERY || !progress.visible))
        print_now(now);
}

void progress_end(bool complete)
{
    if (!progress.wanted && !progress.visible)
        return;
    if (complete) {
        progress.percent = 100;
        print_now(clock_now(VM_CLOCK_HOST));
    }
    printf("\n");
    fflush(stdout);
    progress.visible = progress.wanted = false;
}

bool img_progress_tell(void *opaque, uint64_t done, uint64_t total)
{
    progress_show(done, total);
    return true;
}
