/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Standard input and output.
 *
 * O_NONBLOCK is a property of an open file description, and those of 0 and 1 are shared with the
 * shell and whoever else was started from it.  So a terminal or a pipe is opened again through
 * /proc to get a description of our own; only what cannot be (a socket, a terminal of another user)
 * has its flags changed, and changed back.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chr_private.h"
#include "util/log.h"

typedef struct ChrStdio {
    Chardev chr;
    ChrStream stream;
    bool restore[2];
} ChrStdio;

static ChrStdio *the_stdio; /* there is one terminal */
static bool ctrl_c_to_guest;

/* Our own non-blocking descriptor for standard fd 0 or 1; *shared: its flags were changed. */
static int own_descriptor(int fd, bool *shared)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    if (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
        int mode = fd == STDIN_FILENO ? O_RDONLY : O_WRONLY;
        int own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
            return own;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int flags = fcntl(fd, F_GETFL);
    *shared = !S_ISREG(st.st_mode) && flags >= 0 && !(flags & O_NONBLOCK);
    if (*shared)
        set_nonblocking(fd);
    return own;
}

static void stdio_ended(Chardev *chr, bool output, int errnum)
{
    if (output)
        chr_set_connected(chr, false);
}

static bool stdio_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrStdio *s = (ChrStdio *)chr;
    bool to_host = !ctrl_c_to_guest;

    stream_init(&s->stream, chr, stdio_ended);
    if (the_stdio)
        return fail(error, "%s: stdio is already used by chardev '%s'", chr->where,
                    the_stdio->chr.id);
    if (!options_get_bool(opts, "signal", &to_host, error))
        return false;
    int in = own_descriptor(STDIN_FILENO, &s->restore[0]);
    int out = own_descriptor(STDOUT_FILENO, &s->restore[1]);
    stream_start(&s->stream, in, out);
    chr->connected = out >= 0;
    the_stdio = s;
    term_enter(STDIN_FILENO, !to_host);
    return true;
}

static void clear_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static void stdio_close(Chardev *chr)
{
    ChrStdio *s = (ChrStdio *)chr;
    stream_stop(&s->stream);
    if (the_stdio != s)
        return;
    for (int fd = 0; fd < 2; fd++)
        if (s->restore[fd])
            clear_nonblocking(fd);
    term_leave();
    the_stdio = NULL;
}

static size_t stdio_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    return stream_write(&((ChrStdio *)chr)->stream, buf, length);
}

static void stdio_update(Chardev *chr)
{
    stream_update(&((ChrStdio *)chr)->stream);
}

static int stdio_write_fd(Chardev *chr)
{
    return ((ChrStdio *)chr)->stream.out;
}

static void stdio_describe(const Chardev *chr, GString *out)
{
    g_string_append(out, "stdio");
}

void chr_stdio_set_signal(bool guest_gets_ctrl_c)
{
    ctrl_c_to_guest = guest_gets_ctrl_c;
    term_set_signal(guest_gets_ctrl_c);
}

static const char *const stdio_keys[] = {"signal", NULL};
const ChrBackend chr_stdio_backend = {
    .name = "stdio",
    .keys = stdio_keys,
    .size = sizeof(ChrStdio),
    .open = stdio_open,
    .close = stdio_close,
    .write = stdio_write,
    .update = stdio_update,
    .write_fd = stdio_write_fd,
    .describe = stdio_describe,
};
