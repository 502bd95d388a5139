/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stacks that lead nowhere, and #AC where an operand is not as long as it is aligned. */
#include "prot.h"

#define NOWHERE 0x8000000000000000ull

static void test_not_canonical(void)
{
    Prot *p = prot_new();
#define SNIPPET(name)                                                                              \
    {                                                                                              \
#name, snip_stack_##name                                                                   \
    }
    extern const uint8_t snip_stack_push[], snip_stack_push_memory[], snip_stack_pop[],
        snip_stack_pop_memory[], snip_stack_call[], snip_stack_call_register[],
        snip_stack_call_memory[], snip_stack_ret[], snip_stack_leave[], snip_stack_pushf[],
        snip_stack_popf[], snip_stack_read[], snip_stack_other[];
    const struct {
        const char *name;
        const uint8_t *code;
    } cases[] = {SNIPPET(push),  SNIPPET(push_memory),   SNIPPET(pop),         SNIPPET(pop_memory),
                 SNIPPET(call),  SNIPPET(call_register), SNIPPET(call_memory), SNIPPET(ret),
                 SNIPPET(leave), SNIPPET(pushf),         SNIPPET(popf),        SNIPPET(read)};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].name);
        prot_mode(p, PROT_64, 3);
        st64_le(p->ram + AT_DATA, AT_CODE);
        p->state.gpr[GPR_RSP] = p->state.gpr[GPR_RBP] = NOWHERE;
        p->state.gpr[GPR_RBX] = AT_DATA;
        prot_run(p, cases[i].code);
        prot_expect(p, EXC_SS, 0);
        g_assert_cmphex(prot_stack(p, 1, 8), ==, AT_CODE);
        g_assert_cmphex(prot_stack(p, 4, 8), ==, NOWHERE);
    }
    /* A memory operand's own fault. */
    prot_mode(p, PROT_64, 3);
    p->state.gpr[GPR_RSI] = NOWHERE;
    prot_run(p, snip_stack_other);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

/* ENTER tries the new top of the stack. */
static void test_enter(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.seg[SEG_SS].limit = 0x7fff; /* expands down: valid above */
    p->state.seg[SEG_SS].attr = 0x4097;
    p->state.gpr[GPR_RSP] = 0x9800;
    p->state.gpr[GPR_RBP] = 0x1234;
    extern const uint8_t snip_stack_enter[];
    p->ram[AT_IDT + EXC_SS * 8 + 5] = 0x85; /* a task gate: this stack is of no use */
    st16_le(p->ram + AT_IDT + EXC_SS * 8 + 2, SEL_TSS_B);
    uint8_t *tss = p->ram + AT_TSS_B;
    st32_le(tss + 32, AT_HANDLERS + EXC_SS * 16);
    st32_le(tss + 36, 2);
    st32_le(tss + 40 + 16, AT_STACK0);
    for (unsigned i = 0; i < 6; i++)
        st16_le(tss + 72 + 4 * i, i == 1 ? SEL_CODE0 : SEL_DATA0);
    prot_run(p, snip_stack_enter);
    prot_expect(p, EXC_SS, 0);
    /* The old task is as it was, and to go on with RF (SDM vol. 3, 17.3.1.1). */
    const uint8_t *old = p->ram + AT_TSS_A;
    g_assert_cmphex(ld32_le(old + 40 + 16), ==, 0x9800);
    g_assert_cmphex(ld32_le(old + 40 + 20), ==, 0x1234);
    g_assert_cmphex(ld32_le(old + 36), ==, FL_RF | 2);
    g_assert_cmphex(ld32_le(old + 32), ==, AT_CODE);
    prot_free(p);
}

static void test_alignment(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_align_m80[], snip_align_environment[], snip_align_far[],
        snip_align_far32[], snip_align_string[], snip_align_sgdt[];
    const struct {
        const char *name;
        const uint8_t *code;
        unsigned aligned; /* to so many bytes it goes, to half of that it does not */
    } cases[] = {{"m80", snip_align_m80, 8},    {"environment", snip_align_environment, 4},
                 {"m16:16", snip_align_far, 2}, {"m16:32", snip_align_far32, 4},
                 {"sgdt", snip_align_sgdt, 4},  {"rep movsb", snip_align_string, 1}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (unsigned wrong = 0; wrong < 2; wrong++) {
            g_test_message("%s, wrong %u", cases[i].name, wrong);
            if (wrong && cases[i].aligned == 1)
                continue;
            prot_mode(p, PROT_32, 3);
            memset(p->ram + AT_DATA, 0, 64);
            p->state.cr0 |= 1 << 18;
            p->state.rflags |= FL_AC;
            p->state.gpr[GPR_RCX] = 16;
            p->state.gpr[GPR_RSI] = AT_DATA + 1;
            p->state.gpr[GPR_RDI] = AT_DATA + 0x101;
            p->state.gpr[GPR_RBX] = AT_DATA + cases[i].aligned / (wrong ? 2 : 1);
            prot_run(p, cases[i].code);
            prot_expect(p, wrong ? EXC_AC : DONE, wrong ? 0 : -1);
        }
    }
    prot_free(p);
}

/* In ring 3, on a stack that is not aligned, #AC's own handler cannot be reached: #AC. */
static void test_alignment_for_ever(void)
{
    Prot *p = prot_new();
    for (unsigned aligned = 0; aligned < 2; aligned++) {
        prot_mode(p, PROT_32, 3);
        prot_idt(p, EXC_UD, 0xe, 3, SEL_CODE3 + 3, AT_HANDLERS);
        prot_idt(p, EXC_AC, 0xe, 3, SEL_CODE3 + 3, AT_HANDLERS);
        p->state.cr0 |= 1 << 18;
        p->state.rflags |= FL_AC;
        p->state.gpr[GPR_RSP] = AT_STACK3 - (aligned ? 0 : 1);
        PROT_RUN(p, ud2);
        if (aligned) /* HLT there is not ring 3's */
            prot_expect(p, EXC_GP, 0);
        else
            g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    }
    prot_free(p);
}

void prot_add_stack_tests(void)
{
    g_test_add_func("/cpu/prot/stack/not-canonical", test_not_canonical);
    g_test_add_func("/cpu/prot/stack/enter", test_enter);
    g_test_add_func("/cpu/prot/stack/alignment", test_alignment);
    g_test_add_func("/cpu/prot/stack/alignment-for-ever", test_alignment_for_ever);
}
