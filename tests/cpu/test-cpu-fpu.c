/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FPU where random operands do not reach: FXSAVE's and XSAVE's areas (against the host), what
 * CR0, CR4 and the model forbid, devices as operands, x87 pointers, a full cache of stubs.
 */
#include <string.h>

#include "pair.h"
#include "random.h"
#include "util/bytes.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { UD = 6, NM = 7, MF = 16, XM = 19, GP = 13, BP = 3 };
enum { CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_NE = 0x20 };
enum { CR4_OSFXSR = 0x200, CR4_OSXMMEXCPT = 0x400, CR4_OSXSAVE = 0x40000 };

static uint64_t random_state = 0x7654321;

static PairState plain_state(void)
{
    PairState state = {.rip = PAIR_CODE + 0x100};
    for (unsigned i = 0; i < 16; i++)
        state.gpr[i] = PAIR_DATA + 0x1000;
    st16_le(state.xsave, 0x37f);
    st32_le(state.xsave + 24, 0x1f80);
    st64_le(state.xsave + 512, 7);
    return state;
}

/* ---- Areas ---- */

/* Runs the code on both and describes what is not equal. */
static void check_code(Pair *pair, unsigned bits, const PairState *state, const char *name,
                       const void *code, unsigned length)
{
    static PairResult host, guest;
    static uint8_t before[PAIR_DATA_SIZE];
    const PairLeeway leeway = {.flags = 0xcd5, .split = true};
    g_autoptr(GString) text = g_string_new(NULL);
    memcpy(before, pair_data(pair), sizeof(before));
    pair_set_code(pair, 0x100, code, length);
    pair_run_host(pair, bits, state, &host);
    memcpy(pair_data(pair), before, sizeof(before));
    pair_run_guest(pair, bits, state, &guest);
    memcpy(pair_data(pair), before, sizeof(before));
    /* MXCSR_MASK: AMD's bit 17. */
    for (unsigned i = 0; i < PAIR_DATA_SIZE; i += 4)
        if (ld32_le(host.data + i) == 0x2ffff)
            st32_le(host.data + i, 0xffff);
    pair_compare(bits, &host, &guest, &leeway, text);
    if (text->len) {
        g_printerr("# %u bits: %s, eax %x\n%s", bits, name, (unsigned)state->gpr[RAX], text->str);
        g_test_fail();
    }
}

typedef struct Code {
    const char *name;
    uint8_t bytes[4];
    unsigned length;
    bool wide; /* only in 64-bit mode */
} Code;

/* On [rsi]. */
static const Code saves[] = {
    {"fxsave", {0x0f, 0xae, 0x06}, 3, false},
    {"fxsave64", {0x48, 0x0f, 0xae, 0x06}, 4, true},
    {"xsave", {0x0f, 0xae, 0x26}, 3, false},
    {"xsave64", {0x48, 0x0f, 0xae, 0x26}, 4, true},
    {"xsaveopt", {0x0f, 0xae, 0x36}, 3, false},
    {"xsavec", {0x0f, 0xc7, 0x26}, 3, false},
    {"xsavec64", {0x48, 0x0f, 0xc7, 0x26}, 4, true},
};
static const Code restores[] = {
    {"fxrstor", {0x0f, 0xae, 0x0e}, 3, false},
    {"fxrstor64", {0x48, 0x0f, 0xae, 0x0e}, 4, true},
    {"xrstor", {0x0f, 0xae, 0x2e}, 3, false},
    {"xrstor64", {0x48, 0x0f, 0xae, 0x2e}, 4, true},
};

static void random_data(Pair *pair)
{
    for (unsigned i = 0; i < PAIR_DATA_SIZE; i += 16)
        random_vector(&random_state, pair_data(pair) + i);
}

/* Where the area is: mostly aligned and all there. */
static uint64_t area_address(void)
{
    switch (below(&random_state, 12)) {
    case 0:
        return PAIR_DATA + 0x1000 + 8 * below(&random_state, 16);
    case 1:
        return PAIR_DATA + PAIR_DATA_SIZE - 64 * below(&random_state, 14);
    case 2:
        return PAIR_DATA + 0x2000 - 64 * below(&random_state, 14);
    default:
        return PAIR_DATA + 0x1000;
    }
}

static void test_save(gconstpointer data)
{
    unsigned bits = GPOINTER_TO_UINT(data);
    Pair *pair = pair_new("max");
    unsigned rounds = pair_host_runs(pair, bits) ? 200 : 0;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < G_N_ELEMENTS(saves); i++) {
            PairState state = plain_state();
            if (saves[i].wide && bits == 32)
                continue;
            random_xsave(&random_state, state.xsave);
            /* Whether a component that is as it was made is told as in use is the host's affair. */
            for (unsigned k = 0; k < 16; k++)
                state.xsave[160 + k] = state.xsave[576 + k] = 1;
            if (below(&random_state, 4) == 0)
                st64_le(state.xsave + 512, 3);
            random_data(pair);
            state.gpr[RAX] = below(&random_state, 8);
            state.gpr[RDX] = 0;
            state.gpr[RSI] = area_address();
            check_code(pair, bits, &state, saves[i].name, saves[i].bytes, saves[i].length);
        }
    pair_free(pair);
}

/* Makes the area one that could be restored, with few exceptions. */
static void make_area(uint8_t *area, bool compacted)
{
    random_xsave(&random_state, area);
    memset(area + 512, 0, 64);
    st64_le(area + 512, below(&random_state, 8));
    if (compacted)
        st64_le(area + 520, 1ull << 63 | below(&random_state, 8));
    switch (below(&random_state, 12)) {
    case 0:
        st32_le(area + 24, ld32_le(area + 24) | 0x10000);
        break;
    case 1:
        area[512 + below(&random_state, 64)] |= 1 << below(&random_state, 3);
        break;
    case 2:
        area[519] |= 0x40;
        break;
    }
}

static void test_restore(gconstpointer data)
{
    unsigned bits = GPOINTER_TO_UINT(data);
    Pair *pair = pair_new("max");
    unsigned rounds = pair_host_runs(pair, bits) ? 300 : 0;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < G_N_ELEMENTS(restores); i++) {
            PairState state = plain_state();
            if (restores[i].wide && bits == 32)
                continue;
            random_xsave(&random_state, state.xsave);
            random_data(pair);
            state.gpr[RAX] = below(&random_state, 8);
            state.gpr[RDX] = 0;
            state.gpr[RSI] = area_address();
            if (state.gpr[RSI] + PAIR_XSAVE <= PAIR_DATA + PAIR_DATA_SIZE)
                make_area(pair_data(pair) + (state.gpr[RSI] - PAIR_DATA), below(&random_state, 2));
            check_code(pair, bits, &state, restores[i].name, restores[i].bytes, restores[i].length);
        }
    pair_free(pair);
}

/* ---- Which exception ---- */

static int vector_of(Pair *pair, const PairState *state, const void *code, unsigned length,
                     PairResult *result)
{
    static PairResult unused;
    PairResult *to = result ? result : &unused;
    pair_set_code(pair, 0x100, code, length);
    pair_run_guest(pair, 64, state, to);
    return to->vector;
}

#define CODE(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void test_control(void)
{
    static const struct {
        const char *name;
        const uint8_t code[4];
        unsigned length;
        /* With: EM; TS; MP and TS; no OSFXSR; no OSXSAVE. */
        int em, ts, mp_ts, no_fxsr, no_xsave;
    } rows[] = {
        {"fld1", {0xd9, 0xe8}, 2, NM, NM, NM, BP, BP},
        {"fninit", {0xdb, 0xe3}, 2, NM, NM, NM, BP, BP},
        {"fwait", {0x9b}, 1, BP, BP, NM, BP, BP},
        {"pxor mm", {0x0f, 0xef, 0xc0}, 3, UD, NM, NM, BP, BP},
        {"emms", {0x0f, 0x77}, 2, UD, NM, NM, BP, BP},
        {"addps", {0x0f, 0x58, 0xc1}, 3, UD, NM, NM, UD, BP},
        {"pxor xmm", {0x66, 0x0f, 0xef, 0xc1}, 4, UD, NM, NM, UD, BP},
        {"movq2dq", {0xf3, 0x0f, 0xd6, 0xc0}, 4, UD, NM, NM, UD, BP},
        {"vaddps", {0xc5, 0xfc, 0x58, 0xc1}, 4, BP, NM, NM, BP, UD},
        {"vpxor", {0xc5, 0xf9, 0xef, 0xc1}, 4, BP, NM, NM, BP, UD},
        {"vzeroupper", {0xc5, 0xf8, 0x77}, 3, BP, NM, NM, BP, UD},
        {"fxsave", {0x0f, 0xae, 0x06}, 3, NM, NM, NM, BP, BP},
        {"xsave", {0x0f, 0xae, 0x26}, 3, BP, NM, NM, BP, UD},
        {"stmxcsr", {0x0f, 0xae, 0x1e}, 3, UD, NM, NM, UD, BP},
        {"movnti", {0x0f, 0xc3, 0x06}, 3, BP, BP, BP, BP, BP},
        {"prefetchnta", {0x0f, 0x18, 0x06}, 3, BP, BP, BP, BP, BP},
        {"sfence", {0x0f, 0xae, 0xf8}, 3, BP, BP, BP, BP, BP},
    };
    Pair *pair = pair_new("max");
    PairState state = plain_state();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const uint64_t cr0 = PAIR_CR0 & ~CR0_MP, cr4 = PAIR_CR4;
        const struct {
            uint64_t cr0, cr4;
            int vector;
        } tries[] = {
            {cr0 | CR0_EM, cr4, rows[i].em},
            {cr0 | CR0_TS, cr4, rows[i].ts},
            {cr0 | CR0_MP | CR0_TS, cr4, rows[i].mp_ts},
            {cr0, cr4 & ~CR4_OSFXSR, rows[i].no_fxsr},
            {cr0, cr4 & ~CR4_OSXSAVE, rows[i].no_xsave},
            {cr0, cr4, BP},
        };
        for (unsigned k = 0; k < G_N_ELEMENTS(tries); k++) {
            pair_set_control(pair, tries[k].cr0, tries[k].cr4);
            g_test_message("%s, cr0 %x, cr4 %x", rows[i].name, (unsigned)tries[k].cr0,
                           (unsigned)tries[k].cr4);
            int vector = vector_of(pair, &state, rows[i].code, rows[i].length, NULL);
            g_assert_cmpint(vector, ==, tries[k].vector);
        }
    }
    pair_free(pair);
}

/* What a model lacks is undefined. */
static void test_model(void)
{
    static const struct {
        const char *model;
        int x87, sse, avx, xsave;
    } rows[] = {
        {"max", BP, BP, BP, BP},    {"max,-avx", BP, BP, UD, BP}, {"max,-xsave", BP, BP, UD, UD},
        {"qemu64", BP, BP, UD, UD}, {"486", BP, UD, UD, UD},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        Pair *pair = pair_new(rows[i].model);
        PairState state = plain_state();
        g_test_message("%s", rows[i].model);
        g_assert_cmpint(vector_of(pair, &state, CODE(0xd9, 0xe8), NULL), ==, rows[i].x87);
        g_assert_cmpint(vector_of(pair, &state, CODE(0x0f, 0x58, 0xc1), NULL), ==, rows[i].sse);
        g_assert_cmpint(vector_of(pair, &state, CODE(0xc5, 0xf8, 0x58, 0xc1), NULL), ==,
                        rows[i].avx);
        g_assert_cmpint(vector_of(pair, &state, CODE(0x0f, 0xae, 0x26), NULL), ==, rows[i].xsave);
        pair_free(pair);
    }
}

/* ---- Exceptions of arithmetic ---- */

static void test_unmasked(void)
{
    Pair *pair = pair_new("max");
    PairState state = plain_state();
    static PairResult result;
    st64_le(state.xsave + 160, 0x3ff0000000000000); /* xmm0 = 1, xmm1 = 0 */
    st32_le(state.xsave + 24, 0x1f80 & ~0x200);     /* divide by zero */
    g_assert_cmpint(vector_of(pair, &state, CODE(0xf2, 0x0f, 0x5e, 0xc1), &result), ==, XM);
    g_assert_cmphex(ld64_le(result.state.xsave + 160), ==, 0x3ff0000000000000);
    g_assert_cmphex(ld32_le(result.state.xsave + 24), ==, (0x1f80 & ~0x200) | 4);
    pair_set_control(pair, PAIR_CR0, PAIR_CR4 & ~CR4_OSXMMEXCPT);
    g_assert_cmpint(vector_of(pair, &state, CODE(0xf2, 0x0f, 0x5e, 0xc1), &result), ==, UD);
    pair_set_control(pair, PAIR_CR0, PAIR_CR4);
    /* x87: fld1; fldz; fdivp; fnstsw ax; fwait */
    const uint8_t code[] = {0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdf, 0xe0, 0x9b};
    st16_le(state.xsave, 0x37b);
    g_assert_cmpint(vector_of(pair, &state, code, sizeof(code), &result), ==, MF);
    g_assert_cmphex(result.state.rip, ==, PAIR_CODE + 0x100 + 8);
    g_assert_cmphex(result.state.gpr[RAX] & 0x80ff, ==, 0x8084);
    /* Without CR0.NE it is nobody's. */
    pair_set_control(pair, PAIR_CR0 & ~CR0_NE, PAIR_CR4);
    g_assert_cmpint(vector_of(pair, &state, code, sizeof(code), &result), ==, BP);
    g_assert_cmphex(result.state.gpr[RAX] & 0x80ff, ==, 0x8084);
    pair_free(pair);
}

/* FNSTENV tells of the last instruction that was not a control instruction. */
static void test_pointers(void)
{
    Pair *pair = pair_new("max");
    PairState state = plain_state();
    static PairResult result;
    state.gpr[RSI] = PAIR_DATA + 0x2000;
    state.gpr[RDI] = PAIR_DATA + 0x3000;
    /* nop; fld qword [rsi+8]; fnclex; fnstenv [rdi]; fld1; fnsave [rdi+0x100] */
    const uint8_t code[] = {0x90, 0xdd, 0x46, 0x08, 0xdb, 0xe2, 0xd9, 0x37,
                            0xd9, 0xe8, 0xdd, 0xb7, 0x00, 0x01, 0x00, 0x00};
    g_assert_cmpint(vector_of(pair, &state, code, sizeof(code), &result), ==, BP);
    const uint8_t *env = result.data + 0x3000;
    g_assert_cmphex(ld32_le(env), ==, 0xffff037f);
    g_assert_cmphex(ld32_le(env + 8), ==, 0xffff7fff); /* st0, the seventh register, is zero */
    g_assert_cmphex(ld32_le(env + 12), ==, PAIR_CODE + 0x101);
    g_assert_cmphex(ld32_le(env + 16), ==, 0x33 | 0x546 << 16);
    g_assert_cmphex(ld32_le(env + 20), ==, PAIR_DATA + 0x2008);
    env = result.data + 0x3100;
    g_assert_cmphex(ld32_le(env + 12), ==, PAIR_CODE + 0x108);
    g_assert_cmphex(ld32_le(env + 16) >> 16, ==, 0x1e8);
    g_assert_cmphex(ld16_le(env + 28 + 8), ==, 0x3fff);
    g_assert_cmphex(ld16_le(result.state.xsave), ==, 0x37f);
    g_assert_cmphex(result.state.xsave[4], ==, 0);
    pair_free(pair);
}

/* ---- Operands in a device ---- */

/* The x87 stack and MXCSR's flags live through calls of the device, which uses the FPU itself. */
static void test_device(void)
{
    Pair *pair = pair_new("max");
    PairState state = plain_state();
    static PairResult result;
    uint8_t *device = pair_device(pair);
    state.gpr[RSI] = PAIR_DEVICE;
    st64_le(device, 0x4008000000000000); /* 3 */
    st64_le(device + 16, 0x3ff0000000000000);
    /* fld1; movsd xmm0, [rsi+16]; divsd xmm0, [rsi]; fadd qword [rsi]; fld1; fstp qword [rsi+8];
     * movdqu [rsi+32], xmm0; fst qword [rsi+24]; vmovups ymm1, [rsi]; pxor mm7, mm7; stmxcsr
     * [rsi+48] */
    const uint8_t code[] = {0xd9, 0xe8, 0xf2, 0x0f, 0x10, 0x46, 0x10, 0xf2, 0x0f, 0x5e,
                            0x06, 0xdc, 0x06, 0xd9, 0xe8, 0xdd, 0x5e, 0x08, 0xf3, 0x0f,
                            0x7f, 0x46, 0x20, 0xdd, 0x56, 0x18, 0xc5, 0xfc, 0x10, 0x0e,
                            0x0f, 0xef, 0xff, 0x0f, 0xae, 0x5e, 0x30};
    g_assert_cmpint(vector_of(pair, &state, code, sizeof(code), &result), ==, BP);
    g_assert_cmphex(ld64_le(device + 8), ==, 0x3ff0000000000000);
    g_assert_cmphex(ld64_le(device + 24), ==, 0x4010000000000000);
    g_assert_cmphex(ld64_le(device + 32), ==, 0x3fd5555555555555);
    g_assert_cmphex(ld64_le(device + 40), ==, 0);
    g_assert_cmphex(ld32_le(device + 48), ==, 0x1fa0);
    g_assert_cmphex(ld64_le(result.state.xsave + 176), ==, 0x4008000000000000);
    g_assert_cmphex(ld64_le(result.state.xsave + 576 + 24), ==, 0x4010000000000000);
    g_assert_cmphex(result.state.xsave[4], ==, 0xff);
    /* An unmasked exception keeps the store from being made: fld1; fldz; fdivp; fstp dword */
    const uint8_t divide[] = {0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdd, 0x1e};
    st16_le(state.xsave, 0x37b);
    g_assert_cmpint(vector_of(pair, &state, divide, sizeof(divide), &result), ==, MF);
    g_assert_cmphex(ld64_le(device), ==, 0x4008000000000000);
    /* So does an overflow of the store itself: fld tbyte [rdi]; fstp dword [rsi]; fwait */
    const uint8_t narrow[] = {0xdb, 0x2f, 0xd9, 0x1e, 0x9b};
    st16_le(state.xsave, 0x377);
    state.gpr[RDI] = PAIR_DATA;
    st64_le(pair_data(pair), 1ull << 63);
    st16_le(pair_data(pair) + 8, 0x7000);
    g_assert_cmpint(vector_of(pair, &state, narrow, sizeof(narrow), &result), ==, MF);
    g_assert_cmphex(ld64_le(device), ==, 0x4008000000000000);
    pair_free(pair);
}

/* ---- More stubs than there is room for ---- */

static void test_full(void)
{
    Pair *pair = pair_new("max");
    PairState state = plain_state();
    static PairResult result;
    /* pshufd xmm0-7, xmm0-7, imm: 16384 of them, and so with MMX registers. */
    for (unsigned n = 0; n < 32768; n++) {
        uint8_t code[] = {n & 0x4000 ? 0x66 : 0x3e, 0x0f, 0x70, (uint8_t)(0xc0 | (n >> 8 & 0x3f)),
                          (uint8_t)n};
        random_vector(&random_state, state.xsave + 160 + 16 * (n >> 8 & 7));
        const uint8_t *source = state.xsave + 160 + 16 * (n >> 8 & 7);
        g_assert_cmpint(vector_of(pair, &state, code, sizeof(code), &result), ==, BP);
        if (n & 0x4000)
            g_assert_cmphex(ld32_le(result.state.xsave + 160 + 16 * (n >> 11 & 7)), ==,
                            ld32_le(source + 4 * (n & 3)));
    }
    pair_free(pair);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/cpu-fpu/save/64", GUINT_TO_POINTER(64), test_save);
    g_test_add_data_func("/cpu-fpu/save/32", GUINT_TO_POINTER(32), test_save);
    g_test_add_data_func("/cpu-fpu/restore/64", GUINT_TO_POINTER(64), test_restore);
    g_test_add_data_func("/cpu-fpu/restore/32", GUINT_TO_POINTER(32), test_restore);
    g_test_add_func("/cpu-fpu/control", test_control);
    g_test_add_func("/cpu-fpu/model", test_model);
    g_test_add_func("/cpu-fpu/unmasked", test_unmasked);
    g_test_add_func("/cpu-fpu/pointers", test_pointers);
    g_test_add_func("/cpu-fpu/device", test_device);
    g_test_add_func("/cpu-fpu/full", test_full);
    return g_test_run();
}
