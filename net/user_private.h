/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the back end "user" share. */
#ifndef VMRUN_NET_USER_PRIVATE_H
#define VMRUN_NET_USER_PRIVATE_H

#include <slirp/libslirp.h>

#include "net/user.h"
#include "net_private.h"
#include "util/loop.h"

typedef struct User {
    NetEnd end;
    Slirp *slirp; /* NULL until the first frame or forward */
    SlirpConfig config;
    GPtrArray *strings;   /* what config points to */
    const char **search;  /* dnssearch, NULL-terminated, or NULL */
    struct in_addr guest; /* where forwards without an address go */
    LoopPoller *poller;
    bool inside;                     /* in slirp_input(): it is not to be entered again */
    LoopBh *again;                   /* tells a peer that was refused for that */
    GQueue queue;                    /* of GBytes: frames that the NIC had no room for */
    size_t queued;                   /* bytes in it */
    GPtrArray *forwards;             /* of Forward */
    GPtrArray *guest_forwards;       /* of GuestForward */
    struct UserFragments *fragments; /* of datagrams under way, or NULL */
    unsigned full_forwards;          /* those of them that take nothing now */
} User;

/* ---- user.c ---- */

/* Makes the stack, if it is not there yet. */
bool user_start(User *user, GError **error);

/* ---- user_config.c ---- */

/* Fills user->config by the options; an error names the option. */
bool user_configure(User *user, const Options *opts, GError **error);
void user_config_clear(User *user);

/* ---- user_fragment.c ---- */

/* Whether it is a part of an IPv4 datagram. */
bool user_is_fragment(const uint8_t *frame, size_t bytes);
/* Keeps it; the whole frame, valid until the next call, with its size in *bytes if it was the last
 * that was missing; else NULL. */
const uint8_t *user_reassemble(User *user, const uint8_t *frame, size_t *bytes);

/* ---- user_forward.c ---- */

bool user_add_forwards(User *user, const Options *opts, GError **error);
/* Rooms in connections may have grown. */
void user_poke_guest_forwards(User *user);
/* What becomes of a frame of the guest's that is data for a stream without room: it waits for
 * net_writable(), or is lost, as TCP will send it again.  All others pass. */
typedef enum { FRAME_PASSES, FRAME_WAITS, FRAME_IS_LOST } FrameFate;
FrameFate user_judge_frame(User *user, const uint8_t *frame, size_t bytes);
void user_free_forwards(User *user);

#endif
