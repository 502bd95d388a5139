/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Long mode: events, IST, returns, gates, system calls, bases, canonical addresses. */
#include "prot.h"

enum { SUB = AT_CODE + 0x80 };

static void run_two(Prot *p, const uint8_t *code, const uint8_t *sub)
{
    memcpy(p->ram + AT_CODE, code, 0x80);
    memcpy(p->ram + SUB, sub, 64);
    prot_go(p);
}
#define RUN_TWO(p, a, b)                                                                           \
    do {                                                                                           \
        extern const uint8_t snip_##a[], snip_##b[];                                               \
        run_two(p, snip_##a, snip_##b);                                                            \
    } while (0)

static void check_stack(const Prot *p, const uint64_t *frame, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        g_assert_cmphex(prot_stack(p, i, 8), ==, frame[i]);
}

static void test_events(void)
{
    Prot *p = prot_new();
    /* From privilege 3. */
    prot_mode(p, PROT_64, 3);
    PROT_RUN(p, int30_user64);
    prot_expect(p, 0x30, -1);
    const uint64_t user[] = {AT_CODE + 2, SEL_CODE64_3 | 3, 2, AT_STACK3, SEL_DATA3 | 3};
    check_stack(p, user, 5);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 40);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, 0);
    /* From privilege 0: SS:RSP are pushed, too, and RSP is aligned. */
    prot_mode(p, PROT_64, 0);
    p->state.gpr[GPR_RSP] = AT_STACK0 - 3;
    PROT_RUN(p, int30_user64);
    prot_expect(p, 0x30, -1);
    const uint64_t kernel[] = {AT_CODE + 2, SEL_CODE64, 2, AT_STACK0 - 3, SEL_DATA0};
    check_stack(p, kernel, 5);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 16 - 40);
    /* IST, without and with change of privilege. */
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        prot_mode(p, PROT_64, cpl);
        p->ram[AT_IDT + 0x30 * 16 + 4] = 1;
        PROT_RUN(p, int30_user64);
        prot_expect(p, 0x30, -1);
        g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_IST - 40);
        g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, cpl ? 0 : SEL_DATA0);
    }
    /* From compatibility mode. */
    prot_mode(p, PROT_COMPAT, 3);
    PROT_RUN(p, int30_user);
    prot_expect(p, 0x30, -1);
    const uint64_t compat[] = {AT_CODE + 2, SEL_CODE3 | 3, 2, AT_STACK3, SEL_DATA3 | 3};
    check_stack(p, compat, 5);
    prot_free(p);
}

static void test_event_faults(void)
{
    Prot *p = prot_new();
    /* Gates of 32-bit code, 16-bit gates, a TSS that ends too soon. */
    prot_mode(p, PROT_64, 0);
    prot_idt(p, 0x30, 0xe, 3, SEL_CODE0, AT_HANDLERS);
    PROT_RUN(p, int30_user64);
    prot_expect(p, EXC_GP, SEL_CODE0);
    prot_mode(p, PROT_64, 0);
    prot_idt(p, 0x30, 0x6, 3, SEL_CODE64, AT_HANDLERS);
    PROT_RUN(p, int30_user64);
    prot_expect(p, EXC_GP, 0x30 * 8 + 2);
    prot_mode(p, PROT_64, 0);
    p->ram[AT_IDT + 0x30 * 16 + 4] = 7;
    p->state.tr.limit = 0x53;
    PROT_RUN(p, int30_user64);
    prot_expect(p, EXC_TS, SEL_TSS_64);
    /* A stack pointer that is not canonical: #SS. */
    prot_mode(p, PROT_64, 0);
    p->ram[AT_IDT + 0x30 * 16 + 4] = 2;
    st64_le(p->ram + AT_TSS_64 + 44, 0x1234567800000000);
    PROT_RUN(p, int30_user64);
    prot_expect(p, EXC_SS, 0);
    prot_free(p);
}

static void test_canonical(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 0);
    p->state.gpr[GPR_RBX] = 0x0000800000000000;
    PROT_RUN(p, noncanonical);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

static void push64(Prot *p, uint64_t value)
{
    p->state.gpr[GPR_RSP] -= 8;
    st64_le(p->ram + p->state.gpr[GPR_RSP], value);
}

static void test_iretq(void)
{
    Prot *p = prot_new();
    static const struct {
        uint64_t rip, cs, ss;
        uint64_t flags;
        int ended;
        int64_t error;
    } cases[] = {
        {SUB, SEL_CODE64_3 | 3, SEL_DATA3 | 3, FL_IF | 2, DONE, -1},
        {SUB, SEL_CODE3 | 3, SEL_DATA3 | 3, 2, DONE, -1}, /* to compatibility mode */
        {SUB, SEL_CODE64, 0, 2, DONE, -1},                /* null SS inside */
        {SUB, SEL_CODE64, SEL_DATA0, 2, DONE, -1},
        {SUB, SEL_CODE64_3 | 3, 0, 2, EXC_GP, 0},
        {SUB, SEL_CODE64_3 | 3, 3, 2, EXC_GP, 0},
        {SUB, SEL_CODE0, 0, 2, EXC_GP, 0}, /* null SS with 32-bit code */
        {0x0000800000000000, SEL_CODE64_3 | 3, SEL_DATA3 | 3, 2, EXC_GP, 0},
        {SUB, SEL_DATA0, SEL_DATA0, 2, EXC_GP, SEL_DATA0},
        {SUB, SEL_CODE64_3 | 3, SEL_DATA0 | 3, 2, EXC_GP, SEL_DATA0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("case %u", i);
        prot_mode(p, PROT_64, 0);
        push64(p, cases[i].ss);
        push64(p, AT_STACK3);
        push64(p, cases[i].flags);
        push64(p, cases[i].cs);
        push64(p, cases[i].rip);
        RUN_TWO(p, iretq, done);
        prot_expect(p, cases[i].ended, cases[i].error);
        if (cases[i].ended == DONE) {
            const uint64_t frame[] = {SUB + 2, cases[i].cs, cases[i].flags, AT_STACK3, cases[i].ss};
            check_stack(p, frame, 5);
        }
    }
    /* NT means nothing good here. */
    prot_mode(p, PROT_64, 0);
    p->state.rflags |= FL_NT;
    PROT_RUN(p, iretq);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

static void test_call_gate(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 3);
    prot_gate(p, SEL_CALL64, 0xc, 3, SEL_CODE64, SUB, 0);
    prot_pointer(p, SEL_CALL64 | 3, 0);
    p->state.gpr[GPR_RBX] = AT_DATA;
    RUN_TWO(p, call_far64, hlt64);
    prot_expect(p, PROT_HALT, -1);
    const uint64_t frame[] = {AT_CODE + 2, SEL_CODE64_3 | 3, AT_STACK3, SEL_DATA3 | 3};
    check_stack(p, frame, 4);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, 0);
    /* To 32-bit code: no. */
    prot_mode(p, PROT_64, 3);
    prot_gate(p, SEL_CALL64, 0xc, 3, SEL_CODE0, SUB, 0);
    prot_pointer(p, SEL_CALL64 | 3, 0);
    p->state.gpr[GPR_RBX] = AT_DATA;
    RUN_TWO(p, call_far64, hlt64);
    prot_expect(p, EXC_GP, SEL_CODE0);
    /* A task gate: no such thing. */
    prot_mode(p, PROT_64, 3);
    prot_gate(p, SEL_CALL64, 0x5, 3, SEL_TSS_B, SUB, 0);
    prot_pointer(p, SEL_CALL64 | 3, 0);
    p->state.gpr[GPR_RBX] = AT_DATA;
    RUN_TWO(p, call_far64, hlt64);
    prot_expect(p, EXC_GP, SEL_CALL64);
    prot_free(p);
}

static void test_syscall(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 3);
    prot_msr(p, 0xc0000081, (uint64_t)(SEL_DATA3 - 8) << 48 | (uint64_t)SEL_CODE0 << 32);
    prot_msr(p, 0xc0000082, SUB);
    prot_msr(p, 0xc0000084, FL_IF);
    p->state.rflags |= FL_IF | FL_CF;
    RUN_TWO(p, syscall, hlt64);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.rip, ==, SUB + 1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, AT_CODE + 2);
    g_assert_cmphex(p->state.gpr[11], ==, FL_IF | FL_CF | 2);
    g_assert_cmphex(p->state.rflags & (FL_IF | FL_CF), ==, FL_CF);
    g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, SEL_CODE0);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, SEL_DATA0);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK3);

    /* STAR's base for SYSRET such that +8 is SS and +16 CS. */
    prot_mode(p, PROT_64, 0);
    prot_msr(p, 0xc0000081, (uint64_t)(SEL_DATA3 - 8) << 48);
    p->state.gpr[GPR_RCX] = SUB;
    p->state.gpr[11] = FL_IF | FL_RF | FL_VM | FL_CF;
    RUN_TWO(p, sysret, done);
    prot_expect(p, DONE, -1);
    const uint64_t frame[] = {SUB + 2, (SEL_DATA3 + 8) | 3, FL_IF | FL_CF | 2, AT_STACK0,
                              SEL_DATA3 | 3};
    check_stack(p, frame, 5);
    prot_mode(p, PROT_64, 0);
    p->state.gpr[GPR_RCX] = 0x0000800000000000;
    PROT_RUN(p, sysret);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_64, 3);
    PROT_RUN(p, sysret);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_64, 3);
    p->state.efer &= ~1ull;
    PROT_RUN(p, syscall);
    prot_expect(p, EXC_UD, -1);
    /* Intel's have it in 64-bit code only. */
    prot_mode(p, PROT_COMPAT, 3);
    extern const uint8_t snip_syscall[];
    prot_run(p, snip_syscall);
    prot_expect(p, EXC_UD, -1);
    prot_free(p);
}

static void test_sysenter(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 3);
    prot_msr(p, 0x174, SEL_CODE0);
    prot_msr(p, 0x175, AT_STACK0);
    prot_msr(p, 0x176, SUB);
    p->state.rflags |= FL_IF;
    RUN_TWO(p, sysenter, hlt);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0);
    g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, SEL_CODE0);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, SEL_DATA0);
    g_assert_false(p->state.rflags & FL_IF);
    prot_mode(p, PROT_32, 0);
    prot_msr(p, 0x174, SEL_CODE0);
    p->state.gpr[GPR_RDX] = SUB;
    p->state.gpr[GPR_RCX] = AT_STACK3;
    RUN_TWO(p, sysexit, done);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, SEL_CODE3 | 3);
    g_assert_cmphex(prot_stack(p, 3, 4), ==, AT_STACK3);
    g_assert_cmphex(prot_stack(p, 4, 4), ==, SEL_DATA3 | 3);
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, sysenter);
    prot_expect(p, EXC_GP, 0); /* no CS */
    prot_free(p);
}

static void test_bases(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 0);
    prot_msr(p, 0xc0000102, AT_DATA);
    st64_le(p->ram + AT_DATA, 0x0123456789abcdef);
    PROT_RUN(p, swapgs);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x0123456789abcdef);
    prot_mode(p, PROT_64, 3);
    PROT_RUN(p, swapgs);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_64, 0);
    PROT_RUN(p, fsbase);
    prot_expect(p, EXC_UD, -1);
    prot_mode(p, PROT_64, 0);
    p->state.cr4 |= 1 << 16;
    p->state.gpr[GPR_RAX] = 0xffff800012345678;
    PROT_RUN(p, fsbase);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0xffff800012345678);
    prot_mode(p, PROT_64, 0);
    p->state.cr4 |= 1 << 16;
    p->state.gpr[GPR_RAX] = 0x8000000000000000;
    PROT_RUN(p, fsbase);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

static void test_smap(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 0);
    /* The kernel's 2 MiB are its own, the next are the user's. */
    st64_le(p->ram + AT_PAGES + 0x2000, 0x83);
    p->state.cr4 |= 1 << 21;
    p->state.gpr[GPR_RBX] = 0x200000;
    st32_le(p->ram + 0x200000, 0x5a5a);
    PROT_RUN(p, smap);
    prot_expect(p, EXC_PF, 1);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x5a5a);
    g_assert_cmphex(p->state.cr2, ==, 0x200000);
    g_assert_cmphex(prot_stack(p, 1, 8), ==, AT_CODE + 8);
    /* SMEP: code in the user's page. */
    prot_mode(p, PROT_64, 0);
    p->state.cr4 |= 1 << 20;
    st64_le(p->ram + AT_PAGES + 0x2000, 0x83);
    p->ram[0x200000] = 0xf4;
    p->state.rip = 0x200000;
    prot_go(p);
    prot_expect(p, EXC_PF, 0x11);
    prot_free(p);
}

static void test_invpcid(void)
{
    Prot *p = prot_new();
    static const struct {
        uint64_t type, pcid, linear;
        int ended;
    } cases[] = {{0, 0, 0x1000, PROT_HALT}, {2, 0, 0, PROT_HALT},   {3, 0, 0, PROT_HALT},
                 {1, 0, 0, PROT_HALT},      {1, 5, 0, EXC_GP}, /* without CR4.PCIDE */
                 {4, 0, 0, EXC_GP},         {2, 0x1000, 0, EXC_GP}, {0, 0, 1ull << 47, EXC_GP}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        prot_mode(p, PROT_64, 0);
        st64_le(p->ram + AT_DATA, cases[i].pcid);
        st64_le(p->ram + AT_DATA + 8, cases[i].linear);
        p->state.gpr[GPR_RAX] = cases[i].type;
        p->state.gpr[GPR_RBX] = AT_DATA;
        PROT_RUN(p, invpcid);
        prot_expect(p, cases[i].ended, cases[i].ended == EXC_GP ? 0 : -1);
    }
    prot_free(p);
}

/* AMD's: SYSCALL in compatibility mode by CSTAR, no SYSENTER in long mode. */
static void test_amd(void)
{
    Prot *p = prot_new_vendor("AuthenticAMD");
    prot_mode(p, PROT_COMPAT, 3);
    prot_msr(p, 0xc0000081, (uint64_t)SEL_CODE0 << 32);
    prot_msr(p, 0xc0000083, SUB);
    RUN_TWO(p, syscall, hlt64);
    prot_expect(p, PROT_HALT, -1);
    g_assert_true(p->state.seg[SEG_CS].attr & ATTR_L);
    prot_mode(p, PROT_COMPAT, 3);
    prot_msr(p, 0x174, SEL_CODE0);
    PROT_RUN(p, sysenter);
    prot_expect(p, EXC_UD, -1);
    prot_free(p);
}

void prot_add_long_tests(void)
{
    g_test_add_func("/cpu/prot/long/events", test_events);
    g_test_add_func("/cpu/prot/long/event-faults", test_event_faults);
    g_test_add_func("/cpu/prot/long/canonical", test_canonical);
    g_test_add_func("/cpu/prot/long/iretq", test_iretq);
    g_test_add_func("/cpu/prot/long/call-gate", test_call_gate);
    g_test_add_func("/cpu/prot/long/syscall", test_syscall);
    g_test_add_func("/cpu/prot/long/sysenter", test_sysenter);
    g_test_add_func("/cpu/prot/long/bases", test_bases);
    g_test_add_func("/cpu/prot/long/smap", test_smap);
    g_test_add_func("/cpu/prot/long/invpcid", test_invpcid);
    g_test_add_func("/cpu/prot/long/amd", test_amd);
}
