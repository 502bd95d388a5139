/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Garbage as code, in every mode and with garbage in tables, selectors and control registers: it
 * must end in what the manual says, which means here: it must end, and harm nothing.  The seed is
 * GTest's (--seed); the sanitizers' builds are where this bites.
 */
#include "prot.h"

enum { RUNS = 4000, INSNS = 64 };

/* Opcodes of the system and of transfers, which random bytes would seldom make. */
static const char *const opcodes[] = {
    "\x8e",     "\x8c",     "\x9a",     "\xea",     "\xff",     "\xca",     "\xcb",     "\xcc",
    "\xcd",     "\xce",     "\xcf",     "\xf1",     "\xf4",     "\xfa",     "\xfb",     "\x9c",
    "\x9d",     "\xe4",     "\xe5",     "\xe6",     "\xe7",     "\xec",     "\xed",     "\xee",
    "\xef",     "\x6c",     "\x6d",     "\x6e",     "\x6f",     "\x06",     "\x07",     "\x16",
    "\x17",     "\x1e",     "\x1f",     "\x62",     "\x63",     "\xc4",     "\xc5",     "\xc8",
    "\xc9",     "\x0f\x01", "\x0f\x02", "\x0f\x03", "\x0f\x05", "\x0f\x06", "\x0f\x07", "\x0f\x08",
    "\x0f\x09", "\x0f\x20", "\x0f\x21", "\x0f\x22", "\x0f\x23", "\x0f\x30", "\x0f\x31", "\x0f\x32",
    "\x0f\x33", "\x0f\x34", "\x0f\x35", "\x0f\xa0", "\x0f\xa1", "\x0f\xa2", "\x0f\xa8", "\x0f\xa9",
    "\x0f\xaa", "\x0f\xb2", "\x0f\xb4", "\x0f\xb5", "\x0f\xc7",
};

static uint32_t random32(void)
{
    return (uint32_t)g_test_rand_int();
}

static uint64_t random_value(void)
{
    switch (random32() % 6) {
    case 0:
        return random32() % 0x120; /* selectors, small numbers */
    case 1:
        return random32() & 0x3fffff; /* addresses of RAM */
    case 2:
        return 0x80000000ull << random32() % 33;
    case 3:
        return (uint64_t)random32() << 32 | random32();
    case 4:
        return (uint64_t)(int64_t) - (int64_t)(random32() % 64);
    default:
        return random32() % 4 ? AT_DATA + random32() % 64 : 0xc0000080 + random32() % 8;
    }
}

static void put_code(Prot *p)
{
    uint8_t *at = p->ram + AT_CODE;
    for (unsigned i = 0; i < 0x400; i++)
        at[i] = (uint8_t)random32();
    for (unsigned i = 0; i < INSNS; i++) {
        const char *opcode = opcodes[random32() % G_N_ELEMENTS(opcodes)];
        /* "\x0f\x..." rows have two bytes, and none has a zero. */
        memcpy(at, opcode, strlen(opcode));
        at += strlen(opcode) + random32() % 4;
    }
}

static void spoil_tables(Prot *p)
{
    unsigned count = random32() % 24;
    for (unsigned i = 0; i < count; i++) {
        static const struct {
            uint32_t at, size;
        } tables[] = {{AT_GDT, 0x100},   {AT_LDT, 0x40},   {AT_IDT, 0x1000},
                      {AT_TSS_A, 0xa00}, {AT_PAGES, 0x40}, {AT_PAGES + 0x1000, 0x2020},
                      {AT_DATA, 0x40}};
        unsigned t = random32() % G_N_ELEMENTS(tables);
        p->ram[tables[t].at + random32() % tables[t].size] ^= (uint8_t)(1 << random32() % 8);
    }
}

static void spoil_state(Prot *p)
{
    CpuState *state = &p->state;
    for (unsigned i = 0; i < 16; i++)
        if (i != GPR_RSP || !(random32() % 4))
            state->gpr[i] = random_value();
    state->rflags ^= random32() & 0x1f4fd5 & random32();
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = AT_CODE + random32() % 0x100;
    if (!(random32() % 8))
        state->dr[7] = 0x400 | (random32() & 0xffff03ff);
    state->cr4 ^= random32() & random32() & 0x370fff & ~0x20u;
    state->smm = !(random32() % 16);
    p->vcpu.requests =
        random32() & random32() & (VCPU_REQ_INTR | VCPU_REQ_NMI | VCPU_REQ_SMI | VCPU_REQ_SIPI);
    p->interrupt = (int)(random32() % 256);
}

static void test_garbage(void)
{
    static const ProtMode modes[] = {PROT_REAL, PROT_32,     PROT_32,  PROT_64,
                                     PROT_64,   PROT_COMPAT, PROT_VM86};
    Prot *p = prot_new_vendor(random32() & 1 ? "GenuineIntel" : "AuthenticAMD");
    unsigned halts = 0;
    for (unsigned run = 0; run < (g_test_thorough() ? 100 * RUNS : RUNS); run++) {
        ProtMode mode = modes[random32() % G_N_ELEMENTS(modes)];
        prot_mode(p, mode, random32() & 1 && mode != PROT_REAL ? 3 : 0);
        spoil_tables(p);
        spoil_state(p);
        put_code(p);
        prot_go(p);
        halts += p->ended >= PROT_HALT;
        p->vcpu.requests = 0;
    }
    /* Most runs end in a handler or HLT. */
    g_assert_cmpuint(halts, >, 0);
    prot_free(p);
}

void prot_add_fuzz_tests(void)
{
    g_test_add_func("/cpu/prot/garbage", test_garbage);
}
