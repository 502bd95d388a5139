/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks under fire from whoever is at the other end: a stream and datagrams with a hostile peer,
 * user mode with a hostile guest; the card has no room at times.
 *
 *   fuzz-net [OPERATIONS [SEED]]     random operations from a seed, which is printed (TAP)
 *   with libFuzzer (-Dfuzzers=true)  operations from the input
 *
 * Success is to be alive at the end, and that good frames pass then; the sanitizers see the rest.
 * User mode runs in a network of its own, where that is allowed, else with restrict=on.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/user.h"
#include "util/bytes.h"
#include "util/loop.h"
#include "util/timer.h"

#define OPERATIONS 200000

/* ---- Where operations come from: bytes ---- */

typedef struct Source {
    const uint8_t *at, *end; /* libFuzzer's input, or */
    GRand *random;           /* a generator without end */
} Source;

static bool dry(const Source *source)
{
    return !source->random && source->at >= source->end;
}

static uint32_t take(Source *source)
{
    if (source->random)
        return g_rand_int(source->random);
    uint8_t buf[4] = {0};
    size_t left = (size_t)(source->end - source->at);
    memcpy(buf, source->at, MIN(left, 4));
    source->at += MIN(left, 4);
    return ld32_le(buf);
}

/* ---- A card, and what the networks lead to ---- */

typedef struct Net {
    NetEnd card;
    bool full;
    uint64_t frames, last_bytes;
    int peer; /* the other end of the sockets; -1: closed */
} Net;

enum { STREAM, DGRAM, USER, NETS };
static Net nets[NETS];
static const char *const names[NETS] = {"stream", "dgram", "user"};
static bool own_network;

static bool card_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Net *net = end->opaque;
    if (net->full)
        return false;
    net->frames++;
    net->last_bytes = bytes;
    return true;
}

static const NetEndOps card_ops = {.kind = "card", .receive = card_receive};

static void open_net(unsigned n)
{
    static const char *const forms[NETS] = {"stream,id=stream,addr.type=fd,addr.str=%d",
                                            "dgram,id=dgram,local.type=fd,local.str=%d",
                                            "user,id=user,restrict=on"};
    Net *net = &nets[n];
    int pair[2] = {-1, -1};
    GError *error = NULL;

    if (n != USER &&
        socketpair(AF_UNIX, (n == STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0, pair))
        abort();
    g_auto(GStrv) parts = g_strsplit(forms[n], "%d", 0);
    g_autofree char *with_fd = g_strdup_printf("%s%d", parts[0], pair[0]);
    g_autoptr(Options) opts =
        options_parse("-netdev", n == USER ? (own_network ? "user,id=user" : forms[n]) : with_fd,
                      "type", NULL, NULL);
    NetEnd *end = net_open(opts, &error);
    if (!end)
        g_error("%s", error->message);
    net->peer = pair[1];
    net->full = false;
    if (!net->card.id && !net_end_init(&net->card, &card_ops, NULL, net, NULL))
        abort();
    if (!net->card.peer && !net_connect(&net->card, end, NULL))
        abort();
}

static void close_net(unsigned n)
{
    net_close(net_find(names[n]));
    if (nets[n].peer >= 0)
        close(nets[n].peer);
}

/* ---- Frames and bytes ---- */

static uint8_t buf[2 * NET_FRAME_MAX];

static void fill(Source *source, size_t from, size_t to)
{
    uint32_t seed = take(source) | 1;
    for (size_t i = from; i < to; i++)
        buf[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
}

/* Lengths of all kinds: mostly small, sometimes at the limits. */
static size_t length_of(Source *source)
{
    static const uint32_t edges[] = {
        0, 1, 13, 14, 60, 1514, 65535, NET_FRAME_MAX, NET_FRAME_MAX + 1};
    uint32_t choice = take(source);
    if (choice % 8 == 0)
        return edges[choice / 8 % G_N_ELEMENTS(edges)];
    return choice / 8 % (choice % 8 == 1 ? 20000 : 200);
}

/* Bytes to the stream: frames that are right, that lie about their length, and no frames. */
static void hostile_stream(Source *source, Net *net)
{
    size_t length = length_of(source);
    uint32_t how = take(source), told = how % 16 ? (uint32_t)length : take(source);

    fill(source, 4, 4 + MIN(length, 256));
    st32_be(buf, told);
    size_t bytes = how >> 4 & 31 ? length + 4 : (how >> 16) % (length + 5);
    size_t skip = how >> 9 & 31 ? 0 : how >> 14 & 3;
    if (send(net->peer, buf + skip, MIN(bytes, sizeof(buf) - 4), MSG_NOSIGNAL) < 0 &&
        how >> 26 == 0)
        shutdown(net->peer, SHUT_RDWR);
}

static void hostile_datagram(Source *source, Net *net)
{
    size_t length = length_of(source);
    fill(source, 0, MIN(length, 256));
    send(net->peer, buf, length, MSG_NOSIGNAL);
}

static uint16_t sum(const uint8_t *at, size_t bytes, uint32_t total)
{
    for (size_t i = 0; i < bytes; i++)
        total += i & 1 ? at[i] : (uint32_t)at[i] << 8;
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)total;
}

/* A frame that slirp looks into: right headers and checksums around anything, then some of it made
 * wrong. */
static size_t guest_frame(Source *source)
{
    static const uint8_t protocols[] = {1, 6, 17, 58, 0, 44};
    static const uint16_t ports[] = {67, 69, 547, 53, 68, 1234, 0, 7};
    uint32_t how = take(source);
    bool v6 = how & 1;
    size_t header = v6 ? 40 : 20, data = how >> 8 & (how & 2 ? 63 : 1023), at = 14 + header;
    uint8_t *ip = buf + 14, *l4 = buf + at;

    fill(source, 0, at + 20 + data);
    memcpy(buf, "\x52\x55\x0a\x00\x02\x02\x52\x54\x00\x12\x34\x56", 12);
    st16_be(buf + 12, how % 32 == 31 ? 0x0806 : v6 ? 0x86dd : 0x0800);
    uint8_t protocol = protocols[take(source) % G_N_ELEMENTS(protocols)];
    if (v6) {
        st32_be(ip, 0x60000000);
        st16_be(ip + 4, (uint16_t)(20 + data));
        ip[6] = protocol;
        ip[7] = 255;
        memset(ip + 8, 0, 32);
        st16_be(ip + 8, 0xfec0);
        ip[23] = 0x15;
        st16_be(ip + 24, how & 4 ? 0xfec0 : 0xff02);
        ip[39] = how >> 4 & 3;
    } else {
        st16_be(ip, 0x4500);
        st16_be(ip + 2, (uint16_t)(40 + data));
        st16_be(ip + 6, how & 4 && how & 8 ? (uint16_t)how : 0);
        ip[8] = 64;
        ip[9] = protocol;
        st32_be(ip + 12, 0x0a00020f);
        st32_be(ip + 16, how % 16 == 15 ? 0xffffffff : 0x0a000200 + (how >> 4 & 7));
        st16_be(ip + 10, 0);
        st16_be(ip + 10, (uint16_t)~sum(ip, 20, 0));
    }
    st16_be(l4, ports[how >> 20 & 7]);
    st16_be(l4 + 2, ports[how >> 24 & 7]);
    size_t sum_at = protocol == 6 ? 16 : protocol == 17 ? 6 : 2;
    if (protocol == 6)
        l4[12] = 0x50 | (how & 7);
    if (protocol == 17)
        st16_be(l4 + 4, (uint16_t)(20 + data));
    if (protocol == 58)
        l4[0] = (uint8_t)(128 + (how >> 20 & 15));
    st16_be(l4 + sum_at, 0);
    uint32_t pseudo =
        protocol == 1 ? 0
                      : (uint32_t)(sum(ip + (v6 ? 8 : 12), v6 ? 32 : 8, 0) + protocol + 20 + data);
    st16_be(l4 + sum_at, (uint16_t)~sum(l4, 20 + data, pseudo));
    for (uint32_t wrong = take(source) % 8; wrong > 5; wrong--)
        buf[12 + take(source) % (at + 8)] = (uint8_t)take(source);
    return at + 20 + data;
}

static void hostile_guest(Source *source, Net *net)
{
    size_t bytes = take(source) % 16 ? guest_frame(source) : length_of(source);
    struct iovec iov[2] = {{buf, bytes / 3}, {buf + bytes / 3, bytes - bytes / 3}};
    net_send(&net->card, iov, 2);
}

static void operate(Source *source)
{
    uint32_t choice = take(source);
    unsigned n = choice % NETS;
    Net *net = &nets[n];

    switch (choice / NETS % 16) {
    case 0:
        net->full = !net->full;
        if (!net->full)
            net_writable(&net->card);
        break;
    case 1:
        loop_step(loop_main(), false);
        break;
    case 2:
        fill(source, 0, 100);
        net_send_buf(&net->card, buf, choice >> 16);
        break;
    case 3: /* the peer reads */
        while (net->peer >= 0 && recv(net->peer, buf, sizeof(buf), MSG_DONTWAIT) > 0) {
        }
        break;
    case 4:
        vclock_step(choice >> 8);
        net_set_link(names[n], choice >> 31 || choice >> 30 & 1, NULL);
        break;
    case 5:
        if (choice >> 8 & (n == STREAM ? 3 : 63))
            break;
        close_net(n); /* and its card gets a new one */
        open_net(n);
        break;
    default:
        if (n == STREAM)
            hostile_stream(source, net);
        else if (n == DGRAM)
            hostile_datagram(source, net);
        else
            hostile_guest(source, net);
    }
    if (choice >> 28 == 0)
        loop_step(loop_main(), false);
}

static void set_up(void)
{
    own_network = !unshare(CLONE_NEWNET) || !unshare(CLONE_NEWUSER | CLONE_NEWNET);
    loop_lock(loop_main());
    vclock_set_manual(true);
    vclock_start();
    for (unsigned n = 0; n < NETS; n++)
        open_net(n);
}

#ifdef VMRUN_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        set_up();
    ready = true;
    Source source = {data, data + size, NULL};
    while (!dry(&source))
        operate(&source);
    return 0;
}
#else
/* New networks, on which a good frame of each kind is taken. */
static bool good_frames_pass(void)
{
    static const uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34,
                                    0x56, 8,    6,    0,    1,    8,    0,    6,    4, 0,    1,
                                    0x52, 0x54, 0,    0x12, 0x34, 0x56, 10,   0,    2, 15,   0,
                                    0,    0,    0,    0,    0,    10,   0,    2,    2};
    bool good = true;

    for (unsigned n = 0; n < NETS; n++) {
        net_set_link(names[n], true, NULL);
        close_net(n);
        open_net(n);
        Net *net = &nets[n];
        uint64_t before = net->frames;
        memcpy(buf,
               "\0\0\0\x07"
               "good\0\0\0",
               11);
        if (n == USER)
            net_send_buf(&net->card, arp, sizeof(arp));
        else
            good &= send(net->peer, n == STREAM ? buf : buf + 4, n == STREAM ? 11 : 7, 0) > 0;
        for (unsigned i = 0; i < 10 && net->frames == before; i++)
            loop_step(loop_main(), false);
        good &= net->frames == before + 1 && (n == USER || net->last_bytes == 7);
    }
    return good;
}

int main(int argc, char **argv)
{
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : OPERATIONS;
    uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1;
    printf("1..1\n# %lu operations, seed %u\n", count, seed);
    fflush(stdout);
    set_up();
    Source source = {.random = g_rand_new_with_seed(seed)};
    for (unsigned long i = 0; i < count && !dry(&source); i++)
        operate(&source);
    for (unsigned n = 0; n < NETS; n++)
        printf("# %s: %lu frames came\n", names[n], (unsigned long)nets[n].frames);
    bool good = good_frames_pass();
    for (unsigned n = 0; n < NETS; n++) {
        close_net(n);
        net_end_fini(&nets[n].card);
    }
    g_rand_free(source.random);
    printf("%s 1 good frames pass afterwards\n", good ? "ok" : "not ok");
    return !good;
}
#endif
