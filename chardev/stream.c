/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte streams on non-blocking file descriptors.
 *
 * A descriptor is watched for input only while the front end has room, and for output only after a
 * short write.  poll() reports a hang-up whether asked or not, so a watch that nobody serves is
 * taken away: else the loop would spin.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "chr_private.h"

#define READ_CHUNK 4096

void stream_init(ChrStream *stream, Chardev *chr,
                 void (*ended)(Chardev *chr, bool output, int errnum))
{
    *stream = (ChrStream){.chr = chr, .in = -1, .out = -1, .ended = ended};
}

void stream_start(ChrStream *stream, int in, int out)
{
    stream->in = in;
    stream->out = out;
    stream->in_ended = false;
}

static void unwatch(LoopFd **watch)
{
    loop_fd_remove(*watch);
    *watch = NULL;
}

void stream_stop(ChrStream *stream)
{
    unwatch(&stream->in_watch);
    unwatch(&stream->out_watch);
    if (stream->in >= 0)
        close(stream->in);
    if (stream->out >= 0 && stream->out != stream->in)
        close(stream->out);
    stream->in = stream->out = -1;
}

/* ---- Input ---- */

static void read_some(ChrStream *stream, size_t room)
{
    uint8_t buf[READ_CHUNK];
    Chardev *chr = stream->chr;
    ssize_t n = read(stream->in, buf, MIN(room, sizeof(buf)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        stream->in_ended = true;
        unwatch(&stream->in_watch);
        stream->ended(chr, false, n < 0 ? errno : 0);
        return;
    }
    size_t length = stream->filter ? stream->filter(chr, buf, (size_t)n) : (size_t)n;
    if (chr_input(chr, buf, length))
        stream_update(stream);
}

static void on_input(void *opaque, int fd, unsigned revents)
{
    ChrStream *stream = opaque;
    Chardev *chr = stream->chr;
    size_t room = chr_room(chr);

    chr_ref(chr);
    if (room) {
        read_some(stream, room);
    } else if (stream->peer_gone && (revents & (POLLRDHUP | LOOP_HUP | LOOP_ERR))) {
        unwatch(&stream->in_watch);
        stream->peer_gone(chr);
    } else {
        stream_update(stream);
    }
    chr_unref(chr);
}

void stream_update(ChrStream *stream)
{
    unsigned events = 0;
    if (stream->in < 0 || stream->in_ended)
        return;
    if (chr_room(stream->chr))
        events = LOOP_IN;
    else if (stream->peer_gone)
        events = POLLRDHUP;
    if (!events)
        unwatch(&stream->in_watch);
    else if (stream->in_watch)
        loop_fd_set(stream->in_watch, events);
    else
        stream->in_watch = loop_fd_add(loop_main(), stream->in, events, on_input, stream);
}

/* ---- Output ---- */

static void on_writable(void *opaque, int fd, unsigned revents)
{
    ChrStream *stream = opaque;
    Chardev *chr = stream->chr;
    chr_ref(chr);
    unwatch(&stream->out_watch);
    chr_writable(chr);
    chr_unref(chr);
}

void stream_want_write(ChrStream *stream)
{
    if (stream->out >= 0 && !stream->out_watch)
        stream->out_watch = loop_fd_add(loop_main(), stream->out, LOOP_OUT, on_writable, stream);
}

size_t stream_write(ChrStream *stream, const uint8_t *buf, size_t length)
{
    size_t done = 0;
    while (done < length && stream->out >= 0) {
        ssize_t n = write(stream->out, buf + done, length - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            stream_want_write(stream);
            return done;
        } else {
            stream->ended(stream->chr, true, n < 0 ? errno : 0);
            return length;
        }
    }
    return length;
}

/* ---- Helpers ---- */

void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void wait_killable(int fd, short events)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction saved[G_N_ELEMENTS(signals)];
    struct sigaction fatal = {.sa_handler = term_fatal_signal};
    sigset_t unblock, saved_mask;

    sigemptyset(&unblock);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaction(signals[i], NULL, &saved[i]);
        if (saved[i].sa_handler == SIG_IGN) /* nohup */
            continue;
        sigaction(signals[i], &fatal, NULL);
        sigaddset(&unblock, signals[i]);
    }
    pthread_sigmask(SIG_UNBLOCK, &unblock, &saved_mask);
    struct pollfd pfd = {.fd = fd, .events = events};
    while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &saved_mask, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &saved[i], NULL);
}
