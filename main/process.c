/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process: background, process-id file, signals. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"

static int parent_fd = -1; /* -daemonize: the parent reads one byte from it when we are ready */
static char *pid_path;
static int pid_fd = -1;

/* ---- -daemonize ---- */

static bool uses_stdio(const GPtrArray *specs)
{
    for (unsigned i = 0; i < specs->len; i++) {
        const char *spec = g_ptr_array_index(specs, i);
        if (!strcmp(spec, "stdio") || !strcmp(spec, "mon:stdio"))
            return true;
    }
    return false;
}

/* Nothing that needs the terminal goes along. */
static bool check_background(const VmConfig *config, GError **error)
{
    bool chardev = false;

    for (unsigned i = 0; i < config->chardevs->len; i++)
        chardev |=
            !g_strcmp0(options_get(g_ptr_array_index(config->chardevs, i), "backend"), "stdio");
    if (config->nographic)
        return fail(error, "-daemonize: -nographic needs the terminal; say -display none instead");
    if (!g_strcmp0(config->ui.type, "curses"))
        return fail(error, "-daemonize: -display curses needs the terminal");
    if (chardev || uses_stdio(config->serials) || uses_stdio(config->parallels) ||
        uses_stdio(config->monitors) || uses_stdio(config->debugcons))
        return fail(error, "-daemonize: stdio needs the terminal; say unix: or pty, for instance");
    return true;
}

/* Until the child is ready or gone. */
static void wait_and_leave(int fd, pid_t child)
{
    char byte;
    ssize_t got;
    int status = 0;

    do
        got = read(fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(0);
    /* The child has told why on stderr, which it still shares. */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

static bool go_to_background(GError **error)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno(error, errno, "-daemonize: pipe");
    pid_t child = fork();
    if (child < 0)
        return fail_errno(error, errno, "-daemonize: fork");
    if (child) {
        close(fds[1]);
        wait_and_leave(fds[0], child);
    }
    close(fds[0]);
    parent_fd = fds[1];
    setsid();
    return true;
}

/* Takes the process from its terminal and directory; the log stays where -D sent it. */
static void detach(void)
{
    int null_fd = open("/dev/null", O_RDWR);

    if (chdir("/") < 0)
        report_warn("-daemonize: cannot change to /: %s", g_strerror(errno));
    for (int fd = 0; null_fd >= 0 && fd <= 2; fd++)
        dup2(null_fd, fd);
    if (null_fd > 2)
        close(null_fd);
}

void process_ready(const VmConfig *config)
{
    if (parent_fd < 0)
        return;
    detach();
    if (write(parent_fd, "", 1) < 0)
        report_warn("-daemonize: the parent has gone");
    close(parent_fd);
    parent_fd = -1;
}

/* ---- -pidfile ---- */

/* The file is locked as long as we live, so that a second vmrun does not take it over. */
static bool write_pid_file(const char *path, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char text[32];

    pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (pid_fd < 0)
        return fail_errno(error, errno, "-pidfile %s", path);
    if (fcntl(pid_fd, F_SETLK, &lock) < 0) {
        close(pid_fd);
        pid_fd = -1;
        return fail(error, "-pidfile %s: another process uses it", path);
    }
    int length = g_snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(pid_fd, 0) < 0 || write(pid_fd, text, (size_t)length) != length)
        return fail_errno(error, errno, "-pidfile %s", path);
    pid_path = realpath(path, NULL); /* -daemonize changes the directory */
    return true;
}

void process_end(void)
{
    if (pid_path)
        unlink(pid_path);
    free(pid_path);
    pid_path = NULL;
    if (pid_fd >= 0)
        close(pid_fd);
    pid_fd = -1;
}

/* ---- Signals ---- */

static const int end_signals[] = {SIGINT, SIGTERM, SIGHUP};
static int signal_fd = -1;
static volatile sig_atomic_t signal_taken;

/* The first asks the main loop, which flushes the disks; who sends a second one does not want to
 * wait for that.  Whoever changed the terminal puts it back on SIGABRT. */
static void on_signal(int signo)
{
    uint64_t one = 1;

    if (signal_taken) {
        prctl(PR_SET_DUMPABLE, 0);
        raise(SIGABRT);
    }
    signal_taken = signo;
    if (write(signal_fd, &one, sizeof(one)) < 0)
        _exit(128 + signo);
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    for (unsigned i = 0; i < G_N_ELEMENTS(end_signals); i++) {
        struct sigaction old;
        /* nohup and shells with jobs in the background ignore some for us. */
        if (!sigaction(end_signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(end_signals[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

static void signal_ready(void *opaque, int fd, unsigned revents)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    report_info("ending on signal %d (%s)", (int)signal_taken, strsignal(signal_taken));
    machine_request_shutdown(opaque, SHUTDOWN_HOST);
}

void process_watch_signals(Machine *machine)
{
    loop_fd_add(loop_main(), signal_fd, LOOP_IN, signal_ready, machine);
}

bool process_begin(const VmConfig *config, GError **error)
{
    if (config->daemonize && (!check_background(config, error) || !go_to_background(error)))
        return false;
    if (config->pid_file && !write_pid_file(config->pid_file, error))
        return false;
    if (config->process_name)
        prctl(PR_SET_NAME, config->process_name);
    take_signals();
    return true;
}
