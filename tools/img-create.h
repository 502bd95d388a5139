/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o OPTIONS, as create and convert take it. */
#ifndef VMRUN_TOOLS_IMG_CREATE_H
#define VMRUN_TOOLS_IMG_CREATE_H

#include "img.h"

/* Adds the pairs of one -o to *options, which is made if it is NULL. */
bool create_options_add(Options **options, const char *text, GError **error);
/* Moves size and backing file from options to spec, which takes the rest as its options. */
bool create_options_take(Options *options, CreateSpec *spec, bool *has_size, GError **error);
/* Whether "help" or "?" stands among the pairs. */
bool create_options_want_help(const char *text);
/* Prints what format takes; returns the exit code. */
int create_options_help(const char *format);

#endif
