/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One piece of user-mode code run twice: by the host CPU itself and by the interpreter, from the
 * same registers and memory at the same addresses.
 *
 * The guest's RAM is mapped into this process where the guest's page tables have it, so pointers in
 * registers mean the same to both.  The code ends in some exception, which the host tells by a
 * signal and the guest by its interrupt table.
 */
#ifndef VMRUN_TESTS_CPU_PAIR_H
#define VMRUN_TESTS_CPU_PAIR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    PAIR_CODE = 0x20000000,  /* linear: two pages of INT3, read-only to the code itself */
    PAIR_CODE_SIZE = 0x2000, /* then a page that is not present */
    PAIR_DATA = 0x20008000,  /* four pages to read and write, not present before and behind */
    PAIR_DATA_SIZE = 0x4000,
    PAIR_CONST = 0x20010000, /* a page to read, not present before and behind */
    PAIR_CONST_SIZE = 0x1000,
    PAIR_DEVICE = 0x20014000, /* a page of a device that keeps what is written; of the guest only */
    PAIR_XSAVE = 832,
};

typedef struct PairState {
    uint64_t gpr[16];
    uint64_t rip;
    uint32_t rflags; /* CF PF AF ZF SF DF OF */
    /* Standard format; the header says which components there are. */
    uint8_t xsave[PAIR_XSAVE] __attribute__((aligned(64)));
} PairState;

typedef struct PairResult {
    PairState state;
    int vector; /* of the exception that ended it; -1: none */
    uint32_t error;
    uint64_t cr2; /* of #PF */
    uint8_t data[PAIR_DATA_SIZE];
} PairResult;

typedef struct Pair Pair;
/* bits: 32 or 64. model: of -cpu. */
Pair *pair_new(const char *model);
void pair_free(Pair *pair);
/* The bytes at PAIR_DATA and PAIR_CONST. */
uint8_t *pair_data(Pair *pair);
uint8_t *pair_const(Pair *pair);
/* What the device holds: 64 bytes, repeated. */
uint8_t *pair_device(Pair *pair);
/* Puts code at PAIR_CODE + offset; all else there is INT3. */
void pair_set_code(Pair *pair, unsigned offset, const void *code, unsigned length);
/* Whether the host runs such code at all: some hypervisors give their guests no 32-bit segments.
 * If not, the test that runs now is marked as skipped. */
bool pair_host_runs(Pair *pair, unsigned bits);
/* Runs from state by the host; memory is changed. */
void pair_run_host(Pair *pair, unsigned bits, const PairState *state, PairResult *result);
/* The same by the interpreter. */
void pair_run_guest(Pair *pair, unsigned bits, const PairState *state, PairResult *result);
/* What the two need not agree in. */
typedef struct PairLeeway {
    uint32_t flags; /* of RFLAGS: those that are compared */
    bool steps;     /* computes in several steps: which SSE exceptions come together is open */
    bool split;     /* makes several accesses, in an order of the processor's own: CR2 is open */
} PairLeeway;
/* Describes the differences, one a line; nothing if there is none. */
void pair_compare(unsigned bits, const PairResult *host, const PairResult *guest,
                  const PairLeeway *leeway, GString *text);
/* Control registers of the guest from now on. */
void pair_set_control(Pair *pair, uint64_t cr0, uint64_t cr4);
enum { PAIR_CR0 = 0x80050033, PAIR_CR4 = 0x40620 };

#endif
