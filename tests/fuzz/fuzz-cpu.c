/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Garbage as code in every mode and in SMM, with garbage in tables, registers and the FPU; signals
 * come and code changes while it runs.
 *
 *   fuzz-cpu [SECONDS [SEED [RUN]]]  runs for so long, or a fixed number of runs with 0; the seed
 * is printed, and with RUN only that one is made again (TAP) with libFuzzer (-Dfuzzers=true)  one
 * run from the input
 *
 * Each run's generator begins with the seed and the run's number, so that the last number printed
 * before a crash leads to it.  Success is to be alive at the end; the sanitizers see the rest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../cpu/prot.h"
#include "util/timer.h"

enum { RUNS = 3000, CODE_SIZE = 0x400, TELL_EVERY = 5 };

/* ---- Where choices come from ---- */

typedef struct Source {
    const uint8_t *at, *end; /* libFuzzer's input, or */
    GRand *random;
} Source;

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

static uint64_t value_of(Source *source)
{
    uint64_t wide = (uint64_t)take(source) << 32;
    switch (take(source) % 8) {
    case 0:
        return take(source) % 0x120; /* selectors, small numbers */
    case 1:
        return 0x80000000ull << take(source) % 33;
    case 2:
        return wide | take(source);
    case 3:
        return (uint64_t)(int64_t) - (int64_t)(take(source) % 64);
    case 4:
        return 0xc0000080 + take(source) % 8; /* MSRs */
    case 5:
        return (AT_DATA + 0x1000 - take(source) % 32); /* a page's end */
    default:
        return take(source) & 0x3fffff & ~(take(source) & 0x3f); /* RAM, often aligned */
    }
}

/* ---- Instructions: each returns the bytes that it has put ---- */

static unsigned put_prefixes(Source *source, uint8_t *at)
{
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64,
                                       0x65, 0x66, 0x40, 0x48, 0x41, 0x44, 0x4c, 0x4f, 0x48, 0x66};
    unsigned count = take(source) % 16;
    count = count < 9 ? 0 : count < 13 ? 1 : count < 15 ? 2 : 1 + take(source) % 14;
    for (unsigned i = 0; i < count; i++)
        at[i] = prefixes[take(source) % G_N_ELEMENTS(prefixes)];
    return count;
}

static unsigned put_opcode(Source *source, uint8_t *at)
{
    unsigned n = 0;
    switch (take(source) % 8) {
    case 0:
        at[n++] = 0x0f;
        at[n++] = take(source) & 1 ? 0x38 : 0x3a;
        break;
    case 1: /* VEX with two bytes, with three */
        at[n++] = 0xc5;
        at[n++] = (uint8_t)take(source);
        break;
    case 2:
        at[n++] = 0xc4;
        at[n++] = (uint8_t)((take(source) & 0xe0) | (1 + take(source) % 3));
        at[n++] = (uint8_t)take(source);
        break;
    case 3:
    case 4:
        at[n++] = 0x0f;
        break;
    case 5: /* x87 */
        at[n++] = (uint8_t)(0xd8 + take(source) % 8);
        return n;
    default:
        break;
    }
    at[n++] = (uint8_t)take(source);
    return n;
}

static void put_code(Source *source, uint8_t *at)
{
    uint8_t bytes[CODE_SIZE + 64];
    for (unsigned i = 0; i < sizeof(bytes); i += 4)
        st32_le(bytes + i, take(source));
    for (unsigned i = 0; i < CODE_SIZE;) {
        if (take(source) % 16 == 0) {
            i += take(source) % 8; /* bytes as they are */
            continue;
        }
        i += put_prefixes(source, bytes + i);
        i += put_opcode(source, bytes + i);
        /* ModRM with a register, or an address of RAM. */
        bytes[i++] = (uint8_t)take(source);
        i += take(source) % 3;
    }
    memcpy(at, bytes, CODE_SIZE);
}

/* ---- State ---- */

static void spoil_tables(Source *source, Prot *p)
{
    static const struct {
        uint32_t at, size;
    } tables[] = {
        {AT_GDT, 0x100},   {AT_LDT, 0x40},   {AT_IDT, 0x1000},
        {AT_TSS_A, 0xa00}, {AT_PAGES, 0x40}, {AT_PAGES + 0x1000, 0x2020},
        {AT_DATA, 0x40},
    };
    for (unsigned i = take(source) % 24; i; i--) {
        unsigned t = take(source) % G_N_ELEMENTS(tables);
        p->ram[tables[t].at + take(source) % tables[t].size] ^= (uint8_t)(1 << take(source) % 8);
    }
}

static void spoil_fpu(Source *source, CpuState *state)
{
    enum { FCW = 0, FSW = 2, FTW = 4, MXCSR = 24, REGISTERS = 32, LEGACY = 416, YMM = 576 };
    if (take(source) % 4 == 0)
        return;
    for (unsigned i = REGISTERS; i < LEGACY; i += 4)
        st32_le(state->xsave + i, take(source));
    for (unsigned i = YMM; i < YMM + 256; i += 4)
        st32_le(state->xsave + i, take(source));
    st16_le(state->xsave + FCW, (uint16_t)(take(source) & take(source)));
    st16_le(state->xsave + FSW, (uint16_t)(take(source) & take(source)));
    state->xsave[FTW] = (uint8_t)take(source);
    st32_le(state->xsave + MXCSR, take(source) & 1 ? 0x1f80 : take(source) & 0xffff);
    state->xcr0 = take(source) % 4 ? 7 : 1 | (take(source) & 6);
}

static void spoil_state(Source *source, Prot *p)
{
    CpuState *state = &p->state;
    for (unsigned i = 0; i < 16; i++)
        if (i != GPR_RSP || !(take(source) % 4))
            state->gpr[i] = value_of(source);
    state->rflags ^= take(source) & 0x1f4fd5 & take(source);
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = AT_CODE + take(source) % CODE_SIZE;
    if (!(take(source) % 8))
        state->dr[7] = 0x400 | (take(source) & 0xffff03ff);
    if (take(source) % 4)
        state->cr0 = (state->cr0 & ~0xcull) | 0x22; /* the FPU is there */
    else
        state->cr0 ^= take(source) & 0x4002e;
    state->cr4 |= 0x40600;
    state->cr4 ^= take(source) & take(source) & 0x370fff & ~0x20u;
    state->smm = !(take(source) % 16);
    p->vcpu.requests =
        take(source) & take(source) & (VCPU_REQ_INTR | VCPU_REQ_NMI | VCPU_REQ_SMI | VCPU_REQ_SIPI);
    p->interrupt = (int)(take(source) % 256);
    spoil_fpu(source, state);
}

/* ---- A run ---- */

/* An SMI's handler: garbage, in which RSM is found now and then. */
static void put_handler(Source *source, uint8_t *at)
{
    put_code(source, at);
    for (unsigned i = take(source) % 32; i < CODE_SIZE - 2; i += 2 + take(source) % 64) {
        at[i] = 0x0f;
        at[i + 1] = 0xaa;
    }
}

/* As another CPU or a device would: bytes of code that the CPU may have decoded. */
static void change_code(Source *source, Prot *p)
{
    uint8_t bytes[8];
    unsigned length = 1 + take(source) % sizeof(bytes);
    for (unsigned i = 0; i < length; i++)
        bytes[i] = (uint8_t)take(source);
    dma_write(&p->machine->mem, AT_CODE + take(source) % CODE_SIZE, bytes, length);
}

/* Runs for a while, with new requests.  In SMM an SMI must wait. */
static bool run_slice(Source *source, Prot *p)
{
    enum { SIGNALS = VCPU_REQ_INTR | VCPU_REQ_NMI | VCPU_REQ_SMI | VCPU_REQ_SIPI };
    p->interrupt = (int)(take(source) % 256);
    uint32_t requests = take(source) & take(source) & SIGNALS;
    vcpu_request(&p->vcpu, requests);
    cpu_get_core(p->cpu, &p->state);
    bool waits = p->state.smm && (requests & VCPU_REQ_SMI);
    CpuRun why = cpu_run(p->cpu, waits ? 1 : 1 + take(source) % 200, false);
    if (waits && !(p->vcpu.requests & VCPU_REQ_SMI))
        g_error("an SMI was taken in SMM");
    if (!(take(source) % 4))
        change_code(source, p);
    return why != CPU_RUN_TRIPLE;
}

static void run(Source *source, Prot *p)
{
    static const ProtMode modes[] = {PROT_REAL, PROT_32,     PROT_32,  PROT_64,
                                     PROT_64,   PROT_COMPAT, PROT_VM86};
    ProtMode mode = modes[take(source) % G_N_ELEMENTS(modes)];
    prot_mode(p, mode, take(source) & 1 && mode != PROT_REAL ? 3 : 0);
    spoil_tables(source, p);
    spoil_state(source, p);
    put_code(source, p->ram + AT_CODE);
    put_handler(source, p->ram + AT_SMBASE + 0x8000);
    prot_go(p);
    for (unsigned slices = take(source) % 16; slices && run_slice(source, p); slices--)
        continue;
    p->vcpu.requests = 0;
}

#ifdef VMRUN_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Prot *p;
    if (!p)
        p = prot_new();
    Source source = {data, data + size, NULL};
    run(&source, p);
    return 0;
}
#else
int main(int argc, char **argv)
{
    int64_t seconds = argc > 1 ? strtol(argv[1], NULL, 0) : 0;
    uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1, number = 0;
    Source source = {.random = g_rand_new_with_seed(seed)};
    int64_t start = g_get_monotonic_time(), told = start;
    printf("1..1\n# seed %u\n", seed);
    fflush(stdout);
    Prot *p = prot_new_vendor(seed & 1 ? "GenuineIntel" : "AuthenticAMD");
    for (int64_t now = start; seconds ? now < start + seconds * G_USEC_PER_SEC : number < RUNS;
         now = g_get_monotonic_time(), number++) {
        if (seconds && now > told + TELL_EVERY * G_USEC_PER_SEC) {
            printf("# run %u\n", number);
            fflush(stdout);
            told = now;
        }
        run(&source, p);
    }
    printf("# %u runs, %" PRIu64 " instructions\n", number, cpu_instructions(p->cpu));
    prot_free(p);
    g_rand_free(source.random);
    printf("ok 1 the processor survives\n");
    return 0;
}
#endif
