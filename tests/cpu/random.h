/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random operands: mostly those at the edges of things. */
#ifndef VMRUN_TESTS_CPU_RANDOM_H
#define VMRUN_TESTS_CPU_RANDOM_H

#include <stdint.h>

typedef uint64_t Random; /* not 0 */
uint64_t next_random(Random *r);
unsigned below(Random *r, unsigned limit);
uint64_t random_integer(Random *r);
/* Sixteen bytes of one kind: integers, floats, doubles, anything. */
void random_vector(Random *r, uint8_t *to);
/* Ten bytes of an x87 register and six zeroes. */
void random_x87(Random *r, uint8_t *to);
/* An XSAVE area (PAIR_XSAVE): sometimes with exceptions unmasked or pending. */
void random_xsave(Random *r, uint8_t *area);

#endif
