/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o OPTIONS, as create and convert take it. */
#ifndef VMRUN_TOOLS_IMG_CREATE_H
#define VMRUN_TOOLS_IMG_CREATE_H

#include "img.h"

/* Adds the pairs of one -o to *options, which is made if it is NULL. */
bool create_options_add(Options **options, const char *text, GError **error);
/* Moves size and backing file from options to spec, which takes the rest as its options. */
bool create_options_take(Options *options, CreateSpec *spec, bool *has_size, GError **error);
/* If text asks for help, prints what format takes. */
bool create_options_help(const char *text, const char *format, int *code);

#endif
