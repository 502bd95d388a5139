/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor's expressions, with QEMU's grammar:
 *
 *     sum     = logic { ("+" | "-") logic }
 *     logic   = product { ("&" | "|" | "^") product }
 *     product = unary { ("*" | "/" | "%") unary }
 *     unary   = ("+" | "-" | "~") unary | "(" sum ")" | "'" character "'" | "$" register | number
 *
 * Numbers as in C: 10, 0x10, 010.  64 bits, signed division.
 */
#ifndef VMRUN_MONITOR_EXPR_H
#define VMRUN_MONITOR_EXPR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The value of register name, false with an error if there is none. */
typedef bool ExprRegister(void *opaque, const char *name, uint64_t *value, GError **error);

/* Reads an expression at *text and moves *text behind it and the white space after it. */
bool expr_parse(const char **text, ExprRegister *reg, void *opaque, uint64_t *value,
                GError **error);

#endif
