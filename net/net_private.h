/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What back ends share: their table and helpers for options. */
#ifndef VMRUN_NET_PRIVATE_H
#define VMRUN_NET_PRIVATE_H

#include "net/net.h"

/* A type of -netdev. */
typedef struct NetType {
    const char *name;
    const char *help;        /* its form, for -netdev help */
    const char *const *keys; /* besides type and id; NULL-terminated */
    NetEnd *(*open)(const char *id, const Options *opts, GError **error);
} NetType;

extern const NetType net_type_user, net_type_tap, net_type_bridge, net_type_socket, net_type_stream,
    net_type_dgram, net_type_hubport;

/* ---- net.c ---- */

/* Connects a new back end to whoever had one of that id. */
void net_reconnect(NetEnd *backend);

/* ---- dump.c ---- */

/* The dumps of one of that id that was closed go on with it. */
void net_dumps_reconnect(NetEnd *backend);

/* ---- hub.c ---- */

bool net_is_hubport(const NetEnd *end);
/* Each hub, and below it by line() what is at its ports. */
void net_hubs_describe(void (*line)(NetEnd *end, const char *indent, GString *out), GString *out);

/* ---- open.c ---- */

/* "WHERE: key=value: WHAT"; returns NULL. */
void *net_fail_value(const Options *opts, const char *key, const char *what, GError **error);

#endif
