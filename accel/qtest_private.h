/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest engine's two halves: qtest.c speaks the protocol, qtest_link.c moves its bytes. */
#ifndef VMRUN_ACCEL_QTEST_PRIVATE_H
#define VMRUN_ACCEL_QTEST_PRIVATE_H

#include "accel/engine.h"

/* The largest transfer of one command, and with its hexadecimal digits the longest line. */
#define QTEST_TRANSFER_MAX (16u << 20)
#define QTEST_LINE_MAX     (2 * QTEST_TRANSFER_MAX + 256)

typedef struct QtestLink QtestLink;
typedef struct QtestLinkOps {
    /* A whole line without its end; may be changed. */
    void (*line)(void *opaque, char *line);
    /* A peer came (true) or went. */
    void (*opened)(void *opaque, bool open);
} QtestLinkOps;

/* spec: unix:PATH[,server=on|off][,wait=on|off], tcp:HOST:PORT[,...], stdio.  A server that waits
 * blocks until its peer is there. */
QtestLink *qtest_link_open(EventLoop *loop, const char *spec, const QtestLinkOps *ops, void *opaque,
                           GError **error);
void qtest_link_close(QtestLink *link);
/* Queues text for the peer; dropped without one. */
void qtest_link_send(QtestLink *link, const char *text, size_t length);

#endif
