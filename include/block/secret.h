/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Passwords of encrypted images: -object secret,id=ID,data=TEXT or file=PATH.  An image names one
 * by its ID.  Main lock.
 */
#ifndef VMRUN_BLOCK_SECRET_H
#define VMRUN_BLOCK_SECRET_H

#include "util/options.h"

#define SECRET_MAX_BYTES (8u << 20)

/* Takes -object's text: "secret,id=sec0,data=letmein", "...,file=key.txt,format=base64",
 * or {"qom-type":"secret",...}.  keyid=ID,iv=TEXT: what it holds is encrypted with that secret.  An
 * error tells what is wrong with it. */
bool secret_add(const char *where, const char *text, GError **error);
/* The same from options that are known to be a secret's. */
bool secret_add_options(const Options *options, GError **error);
/* What the secret holds, and how long it is; NULL with an error if there is none with that ID. */
const void *secret_find(const char *id, size_t *bytes, GError **error);
/* Wipes and forgets one, false if there is none; or all. */
bool secret_remove(const char *id);
void secret_remove_all(void);

#endif
