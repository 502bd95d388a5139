/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ethernet between two symmetric peers: a NIC and a back end (user, tap, bridge, socket ...), or
 * two ports of a hub.  What one end sends, the other end receives.
 *
 * Nobody queues for anybody else: a receiver that has no room says so, the sender keeps the frame
 * (a NIC: in the guest's ring; a back end: in its socket) and is told by writable() when to go on.
 * So a slow guest never makes the process grow, and a dead back end never stops the guest: an end
 * without a peer, or with its link down, takes everything and drops it.
 *
 * A frame starts at the destination address and has no FCS; 1 to NET_FRAME_MAX bytes.  Receivers
 * pad and check lengths themselves: a peer is hostile.  All ends belong to the main loop; its lock
 * is held in every call and callback.
 */
#ifndef VMRUN_NET_NET_H
#define VMRUN_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/options.h"

#define NET_FRAME_MAX  (64u << 10)
#define NET_PIECES_MAX 64 /* of a frame, as receivers get it */
#define NET_MAC_BYTES  6

typedef struct NetEnd NetEnd;

typedef struct NetEndOps {
    const char *kind; /* "user", "tap", "nic": `info network` */
    bool backend;     /* false: a NIC */
    /* A frame from the peer: true: taken (or dropped for good); false: no room now, the sender
     * keeps it and net_writable(end) will be called.  iov is valid during the call only, and has at
     * most NET_PIECES_MAX pieces. */
    bool (*receive)(NetEnd *end, const struct iovec *iov, int count, size_t bytes);
    /* The peer, who refused a frame, has room again.  May be NULL. */
    void (*writable)(NetEnd *end);
    /* The link went up or down (set_link, or the peer went). May be NULL. */
    void (*link_changed)(NetEnd *end, bool up);
    /* The rest of a line of `info network`. May be NULL. */
    void (*describe)(NetEnd *end, GString *out);
    /* Frees a back end's own part, the end included (NICs: NULL); it is disconnected by then. */
    void (*close)(NetEnd *end);
} NetEndOps;

/* An end; embed it as the first member, or reach the owner by opaque. */
struct NetEnd {
    const NetEndOps *ops;
    void *opaque;
    char *id; /* unique among back ends: -netdev's id; a NIC's device id */
    NetEnd *peer;
    char *wanted;    /* the id of the back end that it was connected to: see net_open() */
    bool link_down;  /* by set_link */
    bool stopped;    /* a NIC whose guest stands: see net_set_stopped() */
    bool peer_waits; /* this end refused a frame: net_writable() is owed */
    GPtrArray *taps; /* NetTap: see net_add_tap(); NULL: none */
    /* dropped: of those that this end sent. */
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes, dropped;
};

/* ---- For NICs and back ends ---- */

/* Makes an end known under id; without one (NULL) it is named kind.N.  A NIC and a back end may
 * have the same id.  An error says that the id is taken. */
bool net_end_init(NetEnd *end, const NetEndOps *ops, const char *id, void *opaque, GError **error);
/* Disconnects it and forgets it; a second call does nothing. */
void net_end_fini(NetEnd *end);
/* Connects a NIC (or a hub's port) to a back end; an error names the NIC that has it already. */
bool net_connect(NetEnd *nic, NetEnd *backend, GError **error);
void net_disconnect(NetEnd *end);
/* Sends a frame to the peer: true: gone (delivered or dropped); false: the peer has no room: keep
 * it, writable() comes. */
bool net_send(NetEnd *end, const struct iovec *iov, int count);
bool net_send_buf(NetEnd *end, const void *frame, size_t bytes);
/* This end has room again: calls the peer's writable() if a frame was refused; cheap otherwise. */
void net_writable(NetEnd *end);
/* A NIC's guest stands still, or goes on: meanwhile what comes for it is refused, before anything
 * of it is seen, and the NIC must send nothing.  When it goes on, both ends are told by writable().
 */
void net_set_stopped(NetEnd *end, bool stopped);
/* A peer, and nobody's set_link off: what a PHY reports. */
bool net_link_up(const NetEnd *end);

/* Somebody who sees what passes an end, in both directions (filter-dump).  frame() comes before the
 * receiver has it, so that its answer is seen after it; done() tells whether it was taken: if not,
 * nothing happened and the frame will come again. */
typedef struct NetTap {
    void (*frame)(struct NetTap *tap, const struct iovec *iov, int count, size_t bytes, bool sent);
    void (*done)(struct NetTap *tap, bool taken);
    void (*end_gone)(struct NetTap *tap); /* the end is closed; the tap is off it already */
} NetTap;
void net_add_tap(NetEnd *end, NetTap *tap);
void net_remove_tap(NetEnd *end, NetTap *tap);

/* filter-dump: writes what passes an end to a pcap file (link type Ethernet, times of the host),
 * each frame cut to maxlen bytes, until net_dump_close(); when the end is closed it waits for
 * net_open() of the same id.  A file that cannot be written on (full, a pipe whose reader is slow)
 * ends the dump with a warning. */
typedef struct NetDump NetDump;
NetDump *net_dump_open(NetEnd *end, const char *path, uint32_t maxlen, GError **error);
void net_dump_close(NetDump *dump);

/* ---- For the command line and the monitor ---- */

/* The types of -netdev, NULL-terminated, and their forms for -netdev help. */
const char *const *net_types(void);
void net_describe_types(GString *out);
/* A type's keys besides type and id, NULL-terminated; NULL: there is no such type. */
const char *const *net_type_keys(const char *type);
/* Checks type and keys, not values. */
bool net_check(const Options *opts, GError **error);
/* Opens a back end from -netdev's options: type,id=ID,key=value...: user, tap, bridge, socket,
 * dgram, stream, hubport.  NULL with an error that names the option.  A NIC whose back end of that
 * id was closed is connected to it, and a dump of it goes on: netdev_del and netdev_add change the
 * network under a card. */
NetEnd *net_open(const Options *opts, GError **error);
/* Disconnects and closes a back end. */
void net_close(NetEnd *end);
void net_close_all(void);
/* The back end with that id, or else the NIC, or NULL. */
NetEnd *net_find(const char *id);
/* net_find() of a back end as a PropResolve ("netdev" property of NICs): an error lists what there
 * is. */
void *net_resolve(const char *id, GError **error);
/* In order of their making; fn may not make or close any. */
void net_foreach(void (*fn)(NetEnd *end, void *opaque), void *opaque);
/* set_link ID on|off: of the NIC with that id, or else the back end, or else the NIC ID.0. */
bool net_set_link(const char *id, bool up, GError **error);
/* A MAC address for NIC number n of this VM: QEMU's 52:54:00 with three bytes drawn from seed (the
 * VM's name, its first disk ...), counting up with n. */
void net_default_mac(uint8_t mac[NET_MAC_BYTES], const char *seed, unsigned n);
/* `info network`. */
void net_describe_all(GString *out);

#endif
