/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A back end for tests of network cards: keeps what comes, refuses when told to. */
#ifndef VMRUN_TESTS_DEVICE_TEST_NIC_H
#define VMRUN_TESTS_DEVICE_TEST_NIC_H

#include <string.h>

#include "net/net.h"
#include "test-pci.h"
#include "util/bytes.h"
#include "util/timer.h"

#define NIC_MAC      "52:54:00:12:34:56"
#define NIC_BYTES    "\x52\x54\x00\x12\x34\x56"
#define NIC_ETH_SIZE 14

typedef struct FakeNet {
    NetEnd end;
    GQueue frames; /* of GBytes */
    bool full;
    bool eager; /* tells of room, once, while it takes a frame */
    unsigned refused, writable;
    unsigned take;   /* refuses after so many more; 0: no limit */
    int most_pieces; /* of a frame */
} FakeNet;

static inline bool fake_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    FakeNet *net = end->opaque;
    GByteArray *all = g_byte_array_new();
    net->most_pieces = MAX(net->most_pieces, count);
    if (net->full) {
        net->refused++;
        g_byte_array_unref(all);
        return false;
    }
    for (int i = 0; i < count; i++)
        g_byte_array_append(all, iov[i].iov_base, (guint)iov[i].iov_len);
    g_assert_cmpuint(all->len, ==, bytes);
    g_queue_push_tail(&net->frames, g_byte_array_free_to_bytes(all));
    if (net->eager) {
        net->eager = false;
        end->peer->ops->writable(end->peer);
    }
    if (net->take && --net->take == 0)
        net->full = true;
    return true;
}
static inline void fake_writable(NetEnd *end)
{
    ((FakeNet *)end->opaque)->writable++;
}
static inline void fake_close(NetEnd *end)
{
}

static const NetEndOps fake_ops = {.kind = "fake",
                                   .backend = true,
                                   .receive = fake_receive,
                                   .writable = fake_writable,
                                   .close = fake_close};

static inline void fake_open(FakeNet *net, const char *id)
{
    memset(net, 0, sizeof(*net));
    g_queue_init(&net->frames);
    g_assert_true(net_end_init(&net->end, &fake_ops, id, net, NULL));
}
static inline void fake_done(FakeNet *net)
{
    g_queue_clear_full(&net->frames, (GDestroyNotify)g_bytes_unref);
    net_end_fini(&net->end);
}
/* The oldest frame: its bytes are copied to buf; fails the test without one. */
static inline size_t fake_pop(FakeNet *net, uint8_t *buf, size_t room)
{
    gsize size;
    GBytes *bytes = g_queue_pop_head(&net->frames);
    g_assert_nonnull(bytes);
    const void *data = g_bytes_get_data(bytes, &size);
    g_assert_cmpuint(size, <=, room);
    memcpy(buf, data, size);
    g_bytes_unref(bytes);
    return size;
}
static inline unsigned fake_count(FakeNet *net)
{
    return g_queue_get_length(&net->frames);
}

/* A frame with a pattern behind the header. */
static inline void make_frame(uint8_t *buf, size_t bytes, const char *to, unsigned type)
{
    memcpy(buf, to, 6);
    memcpy(buf + 6, "\x52\x55\x0a\x00\x02\x02", 6);
    st16_be(buf + 12, (uint16_t)type);
    for (size_t i = NIC_ETH_SIZE; i < bytes; i++)
        buf[i] = (uint8_t)(i * 7 + i / 256);
}

/* The plain way to an Internet checksum, to compare with: not folded into a complement. */
static inline uint16_t slow_sum(const uint8_t *at, size_t bytes, uint32_t sum)
{
    for (size_t i = 0; i < bytes; i++)
        sum += i & 1 ? at[i] : (uint32_t)at[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

#endif
