/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The far end of a device's chardev, as one end of a socketpair: for device tests. */
#ifndef VMRUN_TESTS_DEVICE_CHARDEV_PEER_H
#define VMRUN_TESTS_DEVICE_CHARDEV_PEER_H

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accel/test.h"
#include "chardev/chardev.h"

/* Makes chardev `id`; returns the peer's end.  Main lock held. */
static inline int peer_open(const char *id)
{
    GError *error = NULL;
    int fds[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_autoptr(Options) opts = options_new("-chardev");
    g_autofree char *fd = g_strdup_printf("%d", fds[0]);
    options_set(opts, "backend", "socket");
    options_set(opts, "id", id);
    options_set(opts, "fd", fd);
    chr_open_options(opts, &error);
    g_assert_no_error(error);
    return fds[1];
}

static inline void peer_send(int fd, const void *bytes, size_t length)
{
    g_assert_cmpint(send(fd, bytes, length, MSG_NOSIGNAL), ==, length);
}

/* What the device has sent so far. */
static inline size_t peer_received(int fd, void *buf, size_t size)
{
    ssize_t n = recv(fd, buf, size, MSG_DONTWAIT);
    return n < 0 ? 0 : (size_t)n;
}

static inline void peer_expect(int fd, const char *text)
{
    char buf[4096];
    size_t n = peer_received(fd, buf, sizeof(buf));
    g_assert_cmpmem(buf, n, text, strlen(text));
}

/* Dispatches what is ready. */
static inline void settle(void)
{
    unsigned rounds = 0;
    while (loop_step(loop_main(), false))
        g_assert_cmpuint(rounds++, <, 10000);
}

/* Fills the way to the peer, past the device, so that it takes nothing more. */
static inline void peer_stuff(const char *id)
{
    static const char block[65536];
    Chardev *chr = chr_find(id);
    while (chr_write(chr, NULL, block, sizeof(block)) == sizeof(block))
        ;
}

/* Reads until the way is empty; returns the last byte. */
static inline uint8_t peer_drain(int fd)
{
    static uint8_t buf[65536];
    uint8_t last = 0;
    size_t n;
    do {
        while ((n = peer_received(fd, buf, sizeof(buf))))
            last = buf[n - 1];
        settle();
        n = peer_received(fd, buf, sizeof(buf));
        last = n ? buf[n - 1] : last;
    } while (n);
    return last;
}

#endif
