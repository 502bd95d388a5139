/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pty and host serial back ends, and stdio on a terminal: raw while used, restored on every way
 * out. The terminal is a pseudo-terminal; vmrun's side is this program again, in a child process.
 */
#include "test-chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char *self;

/* ---- pty ---- */

static char *pty_path(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    chr_describe_all(out);
    const char *path = strstr(out->str, "pty:");
    g_assert_nonnull(path);
    path += strlen("pty:");
    return g_strndup(path, strcspn(path, "\n"));
}

static void expect_text(int fd, const char *text)
{
    char buf[256];
    size_t got = 0;
    while (got < strlen(text)) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        g_assert_cmpint(poll(&pfd, 1, 10000), ==, 1);
        ssize_t n = read(fd, buf + got, strlen(text) - got);
        g_assert_cmpint(n, >, 0);
        got += (size_t)n;
    }
    g_assert_cmpmem(buf, got, text, strlen(text));
}

static void test_pty(void)
{
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short("pty", "p");
    g_autofree char *path = pty_path();

    front_attach(&f, chr);
    settle(); /* without a peer the loop rests */
    g_assert_cmpuint(chr_write(chr, &f, "nobody", 6), ==, 6);
    for (unsigned round = 1; round <= 3; round++) {
        int fd = open(path, O_RDWR | O_NOCTTY);
        g_assert_cmpint(fd, >=, 0);
        WAIT_UNTIL(f.opened == round);
        chr_write_all(chr, &f, "a\nb\r\n", 5);
        expect_text(fd, "a\nb\r\n"); /* raw: nothing is translated */
        g_string_truncate(f.got, 0);
        g_assert_cmpint(write(fd, "\3\r\n\x80", 4), ==, 4);
        WAIT_UNTIL(f.got->len == 4);
        g_assert_cmpstr(f.got->str, ==, "\3\r\n\x80");
        close(fd);
        WAIT_UNTIL(f.closed == round);
        settle();
    }
    chr_close(chr);
    front_free(&f);
}

/* Writes until the pty takes no more.  The kernel moves what it took on to the reader's side when
 * it comes to it, and then there is room again. */
static void fill_pty(Chardev *chr, Front *f)
{
    static char block[4096];
    unsigned writable, written = 0;
    do {
        writable = f->writable;
        while (chr_write(chr, f, block, sizeof(block)) == sizeof(block))
            g_assert_cmpuint(written++, <, 1000);
        settle();
    } while (f->writable != writable);
}

/* A peer that reads nothing makes writes short; when it goes, they are dropped. */
static void test_pty_slow(void)
{
    char block[4096] = {0};
    Front f = front_new(UNLIMITED);
    Chardev *chr = open_short("pty", "p");
    g_autofree char *path = pty_path();

    front_attach(&f, chr);
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    WAIT_UNTIL(f.opened == 1);
    fill_pty(chr, &f);
    unsigned writable = f.writable;
    /* The kernel gives room back by its own blocks. */
    while (f.writable == writable)
        if (read(fd, block, sizeof(block)) < 0)
            WAIT_UNTIL(f.writable > writable);
        else
            settle();
    close(fd);
    WAIT_UNTIL(f.closed == 1);
    g_assert_cmpuint(chr_write(chr, &f, block, sizeof(block)), ==, sizeof(block));
    chr_close(chr);
    front_free(&f);
}

/* ---- serial: the slave of a pty stands for the port ---- */

static int open_terminal(char **path)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    g_assert_cmpint(master, >=, 0);
    g_assert_cmpint(grantpt(master), ==, 0);
    g_assert_cmpint(unlockpt(master), ==, 0);
    *path = g_strdup(ptsname(master));
    return master;
}

static void test_serial(void)
{
    g_autofree char *path = NULL;
    Front f = front_new(UNLIMITED);
    struct termios tio;
    unsigned lines;
    int master = open_terminal(&path);
    Chardev *chr = open_short(path, "p");

    front_attach(&f, chr);
    g_assert_cmpuint(f.opened, ==, 1);
    chr_write(chr, &f, "out\n", 4);
    expect_text(master, "out\n");
    g_assert_cmpint(write(master, "in\r", 3), ==, 3);
    WAIT_UNTIL(f.got->len == 3);
    g_assert_cmpstr(f.got->str, ==, "in\r");
    chr_set_serial(chr, 19200, 8, 'O', 2);
    g_assert_cmpint(tcgetattr(master, &tio), ==, 0);
    g_assert_cmpint(cfgetospeed(&tio), ==, B19200);
    g_assert_cmpuint(tio.c_cflag & CSTOPB, ==, CSTOPB);
    chr_set_serial(chr, 9500, 8, 'N', 1); /* the nearest that there is */
    g_assert_cmpint(tcgetattr(master, &tio), ==, 0);
    g_assert_cmpint(cfgetospeed(&tio), ==, B9600);
    g_assert_cmpuint(tio.c_cflag & CSTOPB, ==, 0);
    chr_set_serial(chr, 9600, 99, '?', 9);
    chr_set_break(chr, true);
    chr_set_break(chr, false);
    g_assert_false(chr_get_modem(chr, &lines)); /* a pty has none */
    chr_set_modem(chr, true, true);
    close(master); /* unplugged */
    WAIT_UNTIL(f.closed == 1);
    g_assert_cmpuint(chr_write(chr, &f, "x", 1), ==, 1);
    chr_close(chr);
    front_free(&f);
}

/* ---- stdio: the child ---- */

static Chardev *child_chr;

/* What the "guest" is told to do, one key each; anything else is echoed in brackets. */
static void child_receive(void *opaque, const uint8_t *buf, size_t length)
{
    char text[8];
    switch (*buf) {
    case 'q':
        exit(0);
    case 'c':
        chr_close_all();
        exit(0);
    case 'a':
        abort();
    case 's':
        raise(SIGSEGV);
        break;
    case 'g':
        chr_stdio_set_signal(true);
        break;
    case 'z':
        raise(SIGTSTP);
        break;
    }
    g_snprintf(text, sizeof(text), "[%02x]", *buf);
    chr_write_all(child_chr, NULL, text, strlen(text));
}

static size_t child_can_receive(void *opaque)
{
    return 1;
}

static int child_main(const char *spec)
{
    static const ChrHandlers handlers = {child_can_receive, child_receive, NULL};
    signal(SIGSEGV, SIG_DFL); /* not the sanitizers' */
    loop_lock(loop_main());
    child_chr = chr_open("-serial", spec, "serial0", NULL);
    chr_attach(child_chr, &handlers, NULL, NULL);
    chr_write_all(child_chr, NULL, "ready", 5);
    loop_run(loop_main());
    return 1;
}

/* ---- stdio: the parent ---- */

typedef struct Child {
    pid_t pid;
    int master, slave;
} Child;

/* Runs this program on a terminal of its own.  No core file of what is made to crash. */
static Child spawn(const char *spec)
{
    g_autofree char *path = NULL;
    Child child = {.master = open_terminal(&path)};
    child.slave = open(path, O_RDWR | O_NOCTTY);
    child.pid = fork();
    if (!child.pid) {
        setsid();
        int fd = open(path, O_RDWR);
        dup2(fd, 0);
        dup2(fd, 1);
        execl(self, self, "--child", spec, NULL);
        _exit(127);
    }
    expect_text(child.master, "ready");
    return child;
}

static void finish(Child *child, int *status)
{
    g_assert_cmpint(waitpid(child->pid, status, 0), ==, child->pid);
    close(child->master);
    close(child->slave);
}

static struct termios settings(int fd)
{
    struct termios tio;
    g_assert_cmpint(tcgetattr(fd, &tio), ==, 0);
    return tio;
}

static bool is_cooked(int fd)
{
    struct termios tio = settings(fd);
    return (tio.c_lflag & ICANON) && (tio.c_lflag & ECHO) && (tio.c_lflag & ISIG) &&
           (tio.c_iflag & ICRNL);
}

static bool is_raw(int fd)
{
    struct termios tio = settings(fd);
    return !(tio.c_lflag & (ICANON | ECHO)) && !(tio.c_iflag & ICRNL);
}

static void test_stdio_io(void)
{
    int status;
    Child child = spawn("stdio");
    g_assert_true(is_raw(child.slave));
    g_assert_true(settings(child.slave).c_lflag & ISIG);
    g_assert_cmpint(write(child.master, "\r\x7f", 2), ==, 2);
    expect_text(child.master, "[0d][7f]");
    g_assert_cmpint(write(child.master, "g", 1), ==, 1); /* Ctrl-C to the guest from now on */
    expect_text(child.master, "[67]");
    g_assert_false(settings(child.slave).c_lflag & ISIG);
    g_assert_cmpint(write(child.master, "\3q", 2), ==, 2);
    expect_text(child.master, "[03]");
    g_assert_cmpint(waitpid(child.pid, &status, 0), ==, child.pid);
    g_assert_true(WIFEXITED(status));
    g_assert_true(is_cooked(child.slave));
    close(child.master);
    close(child.slave);
}

/* Each way out gives the terminal back. */
static void test_stdio_exits(void)
{
    static const struct {
        const char *key;
        int kill_with, signal;
    } rows[] = {
        {"q", 0, 0},          {"c", 0, 0},
        {"a", 0, SIGABRT},    {"s", 0, SIGSEGV},
        {"\3", 0, SIGINT},    {"", SIGTERM, SIGTERM},
        {"", SIGHUP, SIGHUP}, {"", SIGQUIT, SIGQUIT},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Child child = spawn("stdio");
        int status;
        g_assert_true(is_raw(child.slave));
        if (*rows[i].key)
            g_assert_cmpint(write(child.master, rows[i].key, 1), ==, 1);
        else
            kill(child.pid, rows[i].kill_with);
        g_assert_cmpint(waitpid(child.pid, &status, 0), ==, child.pid);
        g_assert_cmpint(WIFSIGNALED(status) ? WTERMSIG(status) : 0, ==, rows[i].signal);
        g_assert_true(is_cooked(child.slave));
        close(child.master);
        close(child.slave);
    }
}

/* mon:stdio gives Ctrl-C to the guest; Ctrl-A is the mux's. */
static void test_stdio_mux(void)
{
    int status;
    Child child = spawn("mon:stdio");
    g_assert_false(settings(child.slave).c_lflag & ISIG);
    g_assert_cmpint(write(child.master, "\3\1\1q", 4), ==, 4);
    expect_text(child.master, "[03][01]");
    finish(&child, &status);
    g_assert_true(WIFEXITED(status));
}

/* A small shell for job control: runs `spec` in the foreground, reports each stop through `report`
 * and puts it in the foreground again when told through `orders`. */
static void job_shell(const char *path, const char *spec, int report, int orders)
{
    int status;
    char order;
    setsid();
    int fd = open(path, O_RDWR);
    signal(SIGTTOU, SIG_IGN);
    dup2(fd, 0);
    dup2(fd, 1);
    pid_t job = fork();
    if (!job) {
        setpgid(0, 0);
        tcsetpgrp(0, getpid());
        signal(SIGTTOU, SIG_DFL);
        execl(self, self, "--child", spec, NULL);
        _exit(127);
    }
    while (waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status)) {
        tcsetpgrp(0, getpid());
        if (write(report, "S", 1) != 1 || read(orders, &order, 1) != 1)
            _exit(1);
        tcsetpgrp(0, job);
        kill(job, SIGCONT);
    }
    _exit(WIFEXITED(status) ? 0 : 1);
}

static void test_stdio_stop(void)
{
    g_autofree char *path = NULL;
    int report[2], orders[2], status;
    char byte;
    Child child = {.master = open_terminal(&path)};
    child.slave = open(path, O_RDWR | O_NOCTTY);
    g_assert_cmpint(pipe(report) | pipe(orders), ==, 0);
    child.pid = fork();
    if (!child.pid)
        job_shell(path, "stdio", report[1], orders[0]);
    expect_text(child.master, "ready");
    for (unsigned round = 0; round < 3; round++) {
        g_assert_true(is_raw(child.slave));
        /* Ctrl-Z from the keyboard, and a stop that the program gives itself. */
        g_assert_cmpint(write(child.master, round & 1 ? "z" : "\x1a", 1), ==, 1);
        g_assert_cmpint(read(report[0], &byte, 1), ==, 1);
        g_assert_true(is_cooked(child.slave));
        g_assert_cmpint(write(orders[1], "c", 1), ==, 1);
        while (!is_raw(child.slave))
            g_thread_yield();
        if (round & 1)
            expect_text(child.master, "[7a]");
        g_assert_cmpint(write(child.master, "x", 1), ==, 1);
        expect_text(child.master, "[78]");
    }
    g_assert_cmpint(write(child.master, "q", 1), ==, 1);
    g_assert_cmpint(waitpid(child.pid, &status, 0), ==, child.pid);
    g_assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
    g_assert_true(is_cooked(child.slave));
    close(child.master);
    close(child.slave);
    for (unsigned i = 0; i < 2; i++) {
        close(report[i]);
        close(orders[i]);
    }
}

/* The flags of the terminal's shared description are not touched. */
static void test_stdio_flags(void)
{
    int status;
    Child child = spawn("stdio");
    g_autofree char *info = g_strdup_printf("/proc/%d/fdinfo/0", child.pid);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(info, &text, NULL, NULL));
    const char *flags = strstr(text, "flags:");
    g_assert_nonnull(flags);
    g_assert_cmpuint(strtoul(flags + strlen("flags:"), NULL, 8) & O_NONBLOCK, ==, 0);
    g_assert_cmpint(write(child.master, "q", 1), ==, 1);
    finish(&child, &status);
}

static void test_stdio_twice(void)
{
    GError *error = NULL;
    Chardev *chr = open_short("stdio", "one");
    g_assert_null(chr_open("-monitor", "stdio", "two", &error));
    g_assert_nonnull(strstr(error->message, "'one'"));
    g_clear_error(&error);
    chr_close(chr);
    chr = open_short("stdio", "two");
    chr_close(chr);
}

int main(int argc, char **argv)
{
    self = argv[0];
    /* Whoever runs the tests may ignore them: nohup, a shell for what it runs in the background. */
    signal(SIGHUP, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    if (argc == 3 && !strcmp(argv[1], "--child"))
        return child_main(argv[2]);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tty/pty", test_pty);
    g_test_add_func("/tty/pty-slow", test_pty_slow);
    g_test_add_func("/tty/serial", test_serial);
    g_test_add_func("/tty/stdio/io", test_stdio_io);
    g_test_add_func("/tty/stdio/exits", test_stdio_exits);
    g_test_add_func("/tty/stdio/mux", test_stdio_mux);
    g_test_add_func("/tty/stdio/stop", test_stdio_stop);
    g_test_add_func("/tty/stdio/flags", test_stdio_flags);
    g_test_add_func("/tty/stdio/twice", test_stdio_twice);
    return run_tests();
}
