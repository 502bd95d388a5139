/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pty: a pseudo-terminal for another program; serial: a serial port of the host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "chr_private.h"
#include "util/log.h"
#include "util/timer.h"

typedef struct ChrTty {
    Chardev chr;
    ChrStream stream;
    char *path;
    /* pty */
    int master;  /* ours; the stream has a duplicate of it while somebody has the slave open */
    int inotify; /* tells when the slave is opened; -1: the timer looks instead */
    LoopFd *opened_watch;
    Timer timer;
    /* serial */
    struct termios saved;
    bool have_saved;
} ChrTty;

static size_t tty_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    return stream_write(&((ChrTty *)chr)->stream, buf, length);
}

static void tty_update(Chardev *chr)
{
    stream_update(&((ChrTty *)chr)->stream);
}

static int tty_write_fd(Chardev *chr)
{
    return ((ChrTty *)chr)->stream.out;
}

/* ---- pty ---- */

/*
 * A master without an open slave reports a hang-up for ever, and says nothing when that ends.  So
 * the descriptor is watched only while the slave is open, and inotify tells of its opening; where
 * the host has no inotify instance left, a look each second does.
 */
#define PTY_LOOK_INTERVAL NS_PER_SEC

static bool slave_open(const ChrTty *t)
{
    struct pollfd pfd = {.fd = t->master, .events = POLLOUT};
    return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

static void pty_wait_for_slave(ChrTty *t)
{
    if (t->inotify < 0)
        timer_arm(&t->timer, clock_now(VM_CLOCK_HOST) + PTY_LOOK_INTERVAL);
}

static void pty_look(ChrTty *t)
{
    if (stream_running(&t->stream))
        return;
    int own = slave_open(t) ? fcntl(t->master, F_DUPFD_CLOEXEC, 3) : -1;
    if (own < 0) {
        pty_wait_for_slave(t);
        return;
    }
    stream_start(&t->stream, own, own);
    if (chr_set_connected(&t->chr, true))
        stream_update(&t->stream);
}

static void pty_timer(void *opaque)
{
    ChrTty *t = opaque;
    chr_ref(&t->chr);
    pty_look(t);
    chr_unref(&t->chr);
}

static void pty_slave_opened(void *opaque, int fd, unsigned revents)
{
    uint8_t events[4096];
    while (read(fd, events, sizeof(events)) > 0)
        ;
    pty_timer(opaque);
}

static void pty_disconnect(ChrTty *t)
{
    stream_stop(&t->stream);
    if (!chr_set_connected(&t->chr, false))
        return;
    pty_wait_for_slave(t);
    /* Opened again between the hang-up and now? */
    pty_look(t);
}

static void pty_ended(Chardev *chr, bool output, int errnum)
{
    pty_disconnect((ChrTty *)chr);
}

static void pty_peer_gone(Chardev *chr)
{
    pty_disconnect((ChrTty *)chr);
}

static void make_raw(struct termios *tio)
{
    cfmakeraw(tio);
    tio->c_cc[VMIN] = 1;
    tio->c_cc[VTIME] = 0;
}

/* Opens and closes the slave once: it gets its settings, and the master its hang-up state. */
static bool pty_prepare_slave(ChrTty *t, GError **error)
{
    struct termios tio;
    int slave = open(t->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &tio) < 0) {
        fail_errno(error, errno, "%s: cannot open '%s'", t->chr.where, t->path);
        if (slave >= 0)
            close(slave);
        return false;
    }
    make_raw(&tio);
    tcsetattr(slave, TCSANOW, &tio);
    close(slave);
    return true;
}

static bool pty_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrTty *t = (ChrTty *)chr;
    char name[64];

    stream_init(&t->stream, chr, pty_ended);
    t->stream.peer_gone = pty_peer_gone;
    t->inotify = -1;
    timer_init(&t->timer, loop_main(), VM_CLOCK_HOST, pty_timer, t);
    t->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (t->master < 0 || grantpt(t->master) || unlockpt(t->master) ||
        ptsname_r(t->master, name, sizeof(name)))
        return fail_errno(error, errno, "%s: cannot make a pseudo-terminal", chr->where);
    t->path = g_strdup(name);
    if (!pty_prepare_slave(t, error))
        return false;
    t->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (t->inotify >= 0 && inotify_add_watch(t->inotify, t->path, IN_OPEN) < 0) {
        close(t->inotify);
        t->inotify = -1;
    }
    if (t->inotify >= 0)
        t->opened_watch = loop_fd_add(loop_main(), t->inotify, LOOP_IN, pty_slave_opened, t);
    pty_wait_for_slave(t);
    report_info("char device redirected to %s (label %s)", t->path, chr->id);
    return true;
}

static void pty_close(Chardev *chr)
{
    ChrTty *t = (ChrTty *)chr;
    timer_cancel(&t->timer);
    loop_fd_remove(t->opened_watch);
    t->opened_watch = NULL;
    if (t->inotify >= 0)
        close(t->inotify);
    stream_stop(&t->stream);
    if (t->master >= 0)
        close(t->master);
    t->inotify = t->master = -1;
    g_clear_pointer(&t->path, g_free);
}

static void pty_describe(const Chardev *chr, GString *out)
{
    g_string_append_printf(out, "pty:%s", ((const ChrTty *)chr)->path);
}

static const char *const pty_keys[] = {NULL};
const ChrBackend chr_pty_backend = {
    .name = "pty",
    .keys = pty_keys,
    .size = sizeof(ChrTty),
    .open = pty_open,
    .close = pty_close,
    .write = tty_write,
    .update = tty_update,
    .write_fd = tty_write_fd,
    .describe = pty_describe,
};

/* ---- serial: the host's port ---- */

static void serial_ended(Chardev *chr, bool output, int errnum)
{
    stream_stop(&((ChrTty *)chr)->stream); /* unplugged */
    chr_set_connected(chr, false);
}

static bool serial_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrTty *t = (ChrTty *)chr;
    struct termios tio;

    stream_init(&t->stream, chr, serial_ended);
    t->path = g_strdup(options_get(opts, "path"));
    if (!t->path)
        return fail(error, "%s: path=DEVICE is missing", chr->where);
    int fd = open(t->path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(error, errno, "%s: cannot open '%s'", chr->where, t->path);
    stream_start(&t->stream, fd, fd);
    if (tcgetattr(fd, &t->saved) < 0)
        return fail(error, "%s: '%s' is not a serial port", chr->where, t->path);
    t->have_saved = true;
    tio = t->saved;
    make_raw(&tio);
    tio.c_cflag |= CLOCAL | CREAD;
    if (tcsetattr(fd, TCSANOW, &tio) < 0)
        return fail_errno(error, errno, "%s: cannot set up '%s'", chr->where, t->path);
    chr->connected = true;
    return true;
}

static void serial_close(Chardev *chr)
{
    ChrTty *t = (ChrTty *)chr;
    if (t->have_saved && t->stream.in >= 0)
        tcsetattr(t->stream.in, TCSANOW, &t->saved);
    stream_stop(&t->stream);
    g_clear_pointer(&t->path, g_free);
}

/* The standard rate nearest to baud. */
static speed_t nearest_speed(unsigned baud)
{
    static const struct {
        unsigned baud;
        speed_t code;
    } speeds[] = {
        {50, B50},       {75, B75},         {110, B110},       {134, B134},       {150, B150},
        {200, B200},     {300, B300},       {600, B600},       {1200, B1200},     {1800, B1800},
        {2400, B2400},   {4800, B4800},     {9600, B9600},     {19200, B19200},   {38400, B38400},
        {57600, B57600}, {115200, B115200}, {230400, B230400}, {460800, B460800}, {921600, B921600},
    };
    unsigned best = 0;
    for (unsigned i = 1; i < G_N_ELEMENTS(speeds); i++)
        if (abs((int)speeds[i].baud - (int)baud) < abs((int)speeds[best].baud - (int)baud))
            best = i;
    return speeds[best].code;
}

static void serial_set_serial(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                              unsigned stop_bits)
{
    static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};
    struct termios tio;
    int fd = ((ChrTty *)chr)->stream.in;
    if (fd < 0 || data_bits < 5 || data_bits > 8 || tcgetattr(fd, &tio) < 0)
        return;
    cfsetspeed(&tio, nearest_speed(baud));
    tio.c_cflag &= ~(tcflag_t)(CSIZE | PARENB | PARODD | CSTOPB | CMSPAR);
    tio.c_cflag |= sizes[data_bits - 5] | (stop_bits > 1 ? CSTOPB : 0);
    switch (parity) {
    case 'E':
        tio.c_cflag |= PARENB;
        break;
    case 'O':
        tio.c_cflag |= PARENB | PARODD;
        break;
    case 'M':
        tio.c_cflag |= PARENB | PARODD | CMSPAR;
        break;
    case 'S':
        tio.c_cflag |= PARENB | CMSPAR;
        break;
    }
    tcsetattr(fd, TCSANOW, &tio);
}

static void serial_set_break(Chardev *chr, bool on)
{
    int fd = ((ChrTty *)chr)->stream.in;
    if (fd >= 0)
        ioctl(fd, on ? TIOCSBRK : TIOCCBRK);
}

static bool serial_get_modem(Chardev *chr, unsigned *lines)
{
    int fd = ((ChrTty *)chr)->stream.in, host;
    if (fd < 0 || ioctl(fd, TIOCMGET, &host) < 0)
        return false;
    *lines = (host & TIOCM_CTS ? CHR_MODEM_CTS : 0) | (host & TIOCM_DSR ? CHR_MODEM_DSR : 0) |
             (host & TIOCM_RI ? CHR_MODEM_RI : 0) | (host & TIOCM_CD ? CHR_MODEM_DCD : 0);
    return true;
}

static void serial_set_modem(Chardev *chr, bool dtr, bool rts)
{
    int fd = ((ChrTty *)chr)->stream.in, host;
    if (fd < 0 || ioctl(fd, TIOCMGET, &host) < 0)
        return;
    host &= ~(TIOCM_DTR | TIOCM_RTS);
    host |= (dtr ? TIOCM_DTR : 0) | (rts ? TIOCM_RTS : 0);
    ioctl(fd, TIOCMSET, &host);
}

static void serial_describe(const Chardev *chr, GString *out)
{
    g_string_append_printf(out, "serial:%s", ((const ChrTty *)chr)->path);
}

static const char *const serial_keys[] = {"path", NULL};
const ChrBackend chr_serial_backend = {
    .name = "serial",
    .alias = "tty",
    .keys = serial_keys,
    .size = sizeof(ChrTty),
    .open = serial_open,
    .close = serial_close,
    .write = tty_write,
    .update = tty_update,
    .write_fd = tty_write_fd,
    .describe = serial_describe,
    .set_serial = serial_set_serial,
    .set_break = serial_set_break,
    .get_modem = serial_get_modem,
    .set_modem = serial_set_modem,
};
