/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far transfers, gates, events and their returns in 32-bit protected mode, and vm86 mode. */
#include "prot.h"

enum { SUB = AT_CODE + 0x80 };

/* Copies a snippet, and another at SUB, and runs. */
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

/* ---- Jumps and calls ---- */

typedef struct FarCase {
    unsigned cpl;
    uint16_t selector;
    uint32_t offset;
    int ended; /* PROT_HALT: at the target */
    int64_t error;
} FarCase;

static const FarCase jump_cases[] = {
    {0, SEL_CODE0, SUB, PROT_HALT, -1},
    {0, SEL_CODE16, SUB, PROT_HALT, -1},
    {0, SEL_CONFORMING, SUB, PROT_HALT, -1},
    {0, 0, SUB, EXC_GP, 0},
    {0, 3, SUB, EXC_GP, 0},
    {0, 0x100, SUB, EXC_GP, 0x100},
    {0, SEL_CODE3, SUB, EXC_GP, SEL_CODE3},
    {0, SEL_CODE0 | 3, SUB, EXC_GP, SEL_CODE0},
    {0, SEL_DATA0, SUB, EXC_GP, SEL_DATA0},
    {0, SEL_LDT, SUB, EXC_GP, SEL_LDT},
    {0, SEL_CODE16, 0x10000, EXC_GP, 0},
    {0, SEL_FREE, SUB, EXC_NP, SEL_FREE}, /* absent code */
    {3, SEL_CODE0, SUB, EXC_GP, SEL_CODE0},
};

static void test_jumps(void)
{
    Prot *p = prot_new();
    for (unsigned call = 0; call < 2; call++)
        for (unsigned i = 0; i < G_N_ELEMENTS(jump_cases); i++) {
            const FarCase *c = &jump_cases[i];
            g_test_message("%s case %u", call ? "call" : "jump", i);
            prot_mode(p, PROT_32, c->cpl);
            prot_descriptor(p, SEL_FREE, 0, UINT32_MAX, ATTR_G | ATTR_DB | 0x1b);
            prot_pointer(p, c->selector, c->offset);
            if (call)
                RUN_TWO(p, call_far, hlt);
            else
                RUN_TWO(p, jmp_far, hlt);
            prot_expect(p, c->ended, c->error);
            if (c->ended != PROT_HALT)
                continue;
            g_assert_cmphex(p->state.rip, ==, SUB + 1);
            g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, c->selector);
            g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - (call ? 8 : 0));
            if (call) {
                g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 6);
                g_assert_cmphex(prot_stack(p, 1, 4), ==, SEL_CODE0);
            }
        }
    /* A conforming segment from outside keeps the privilege. */
    prot_mode(p, PROT_32, 3);
    prot_pointer(p, SEL_CONFORMING, SUB);
    RUN_TWO(p, jmp_far, done);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, SEL_CONFORMING | 3);
    prot_free(p);
}

/* ---- Call gates ---- */

static void test_call_gate(void)
{
    Prot *p = prot_new();
    /* Two parameters go to privilege 0's stack. */
    prot_mode(p, PROT_32, 3);
    prot_gate(p, SEL_GATE, 0xc, 3, SEL_CODE0, SUB, 2);
    prot_pointer(p, SEL_GATE | 3, 0xdeadbeef);
    RUN_TWO(p, call_far_user, hlt);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 24);
    static const uint32_t frame[] = {AT_CODE + 16, SEL_CODE3 | 3, 0x22222222,
                                     0x11111111,   AT_STACK3 - 8, SEL_DATA3 | 3};
    for (unsigned i = 0; i < G_N_ELEMENTS(frame); i++)
        g_assert_cmphex(prot_stack(p, i, 4), ==, frame[i]);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, SEL_DATA0);
    g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, SEL_CODE0);

    /* RETF 8 frees them on both stacks, and DS of privilege 0 does not come along. */
    prot_mode(p, PROT_32, 3);
    prot_gate(p, SEL_GATE, 0xc, 3, SEL_CODE0, SUB, 2);
    prot_pointer(p, SEL_GATE | 3, 0);
    RUN_TWO(p, call_far_user, gate_return);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(prot_stack(p, 3, 4), ==, AT_STACK3);
    g_assert_cmphex(prot_stack(p, 4, 4), ==, SEL_DATA3 | 3);
    prot_free(p);
}

static void test_call_gate_16(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 3);
    prot_gate(p, SEL_GATE, 0x4, 3, SEL_CODE0, 0xffff0000 | SUB, 4);
    prot_pointer(p, SEL_GATE | 3, 0);
    RUN_TWO(p, call_far_user, hlt);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.rip, ==, SUB + 1); /* sixteen bits of the offset count */
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 16);
    static const uint16_t frame[] = {AT_CODE + 16, SEL_CODE3 | 3, 0x2222,       0x2222,
                                     0x1111,       0x1111,        AT_STACK3 - 8};
    for (unsigned i = 0; i < G_N_ELEMENTS(frame); i++)
        g_assert_cmphex(prot_stack(p, i, 2), ==, frame[i]);
    prot_free(p);
}

static void test_call_gate_faults(void)
{
    Prot *p = prot_new();
    static const struct {
        const char *what;
        unsigned dpl;
        uint16_t target, ss;
        bool absent, absent_ss;
        int ended;
        int64_t error;
    } cases[] = {
        {"gate's DPL", 0, SEL_CODE0, SEL_DATA0, false, false, EXC_GP, SEL_GATE},
        {"absent gate", 3, SEL_CODE0, SEL_DATA0, true, false, EXC_NP, SEL_GATE},
        {"null target", 3, 0, SEL_DATA0, false, false, EXC_GP, 0},
        {"data target", 3, SEL_DATA0, SEL_DATA0, false, false, EXC_GP, SEL_DATA0},
        {"target beyond", 3, 0x100, SEL_DATA0, false, false, EXC_GP, 0x100},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].what);
        prot_mode(p, PROT_32, 3);
        prot_gate(p, SEL_GATE, 0xc, cases[i].dpl, cases[i].target, SUB, 0);
        if (cases[i].absent)
            p->ram[AT_GDT + SEL_GATE + 5] &= 0x7f;
        prot_pointer(p, SEL_GATE | 3, 0);
        RUN_TWO(p, call_far, hlt);
        prot_expect(p, cases[i].ended, cases[i].error);
        g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE); /* restartable */
    }
    /* To privilege 1, whose stack is bad in several ways. */
    static const struct {
        uint16_t ss;
        int ended;
        int64_t error;
    } stacks[] = {{SEL_DATA1 | 1, PROT_HALT, -1}, {0, EXC_TS, 0},
                  {SEL_DATA1, EXC_TS, SEL_DATA1}, {SEL_DATA0 | 1, EXC_TS, SEL_DATA0},
                  {0x101, EXC_TS, 0x100},         {SEL_FREE | 1, EXC_SS, SEL_FREE}};
    for (unsigned i = 0; i < G_N_ELEMENTS(stacks); i++) {
        prot_mode(p, PROT_32, 3);
        prot_gate(p, SEL_GATE, 0xc, 3, SEL_CODE1, SUB, 0);
        prot_descriptor(p, SEL_FREE, 0, UINT32_MAX, ATTR_G | ATTR_DB | 0x33);
        st16_le(p->ram + AT_TSS_A + 16, stacks[i].ss);
        prot_pointer(p, SEL_GATE | 3, 0);
        RUN_TWO(p, call_far, done);
        prot_expect(p, stacks[i].ended == PROT_HALT ? DONE : stacks[i].ended, stacks[i].error);
    }
    /* A jump may not change the privilege. */
    prot_mode(p, PROT_32, 3);
    prot_gate(p, SEL_GATE, 0xc, 3, SEL_CODE0, SUB, 0);
    prot_pointer(p, SEL_GATE | 3, 0);
    PROT_RUN(p, jmp_far);
    prot_expect(p, EXC_GP, SEL_CODE0);
    prot_free(p);
}

/* ---- RETF, IRET ---- */

static void push32(Prot *p, uint32_t value)
{
    p->state.gpr[GPR_RSP] -= 4;
    st32_le(p->ram + p->state.gpr[GPR_RSP], value);
}

static void test_returns(void)
{
    Prot *p = prot_new();
    static const struct {
        uint16_t cs, ss;
        uint32_t eip;
        int ended;
        int64_t error;
    } cases[] = {
        {SEL_CODE3 | 3, SEL_DATA3 | 3, SUB, DONE, -1},
        {SEL_CODE0, SEL_DATA3 | 3, SUB, DONE, -1},
        {0, 0, SUB, EXC_GP, 0},
        {SEL_CODE3, 0, SUB, EXC_GP, SEL_CODE3},     /* RPL is not DPL */
        {SEL_DATA3 | 3, 0, SUB, EXC_GP, SEL_DATA3}, /* not code */
        {SEL_CODE3 | 3, 0, SUB, EXC_GP, 0},         /* null stack */
        {SEL_CODE3 | 3, SEL_DATA0, SUB, EXC_GP, SEL_DATA0},
        {SEL_CODE3 | 3, SEL_DATA3, SUB, EXC_GP, SEL_DATA3},
        {SEL_CODE3 | 3, SEL_READ_ONLY | 3, SUB, EXC_GP, SEL_READ_ONLY},
        {SEL_FREE | 3, SEL_DATA3 | 3, SUB, EXC_NP, SEL_FREE},
        {SEL_CODE16, 0, 0x12345, EXC_GP, 0},
    };
    for (unsigned iret = 0; iret < 2; iret++)
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
            g_test_message("%s case %u", iret ? "iret" : "retf", i);
            prot_mode(p, PROT_32, 0);
            prot_descriptor(p, SEL_FREE, 0, UINT32_MAX, ATTR_G | ATTR_DB | 0x7b);
            push32(p, cases[i].ss);
            push32(p, AT_STACK3);
            if (iret)
                push32(p, FL_IF | FL_CF | 2);
            push32(p, cases[i].cs);
            push32(p, cases[i].eip);
            uint64_t rsp = p->state.gpr[GPR_RSP];
            if (iret)
                RUN_TWO(p, iretd, done);
            else
                RUN_TWO(p, retf, done);
            prot_expect(p, cases[i].ended, cases[i].error);
            if (cases[i].ended != DONE) {
                g_assert_cmphex(p->state.gpr[GPR_RSP], ==, rsp - 16);
                g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
            } else if (cases[i].cs & 3) {
                /* What privilege 3 must not see is gone. */
                g_assert_cmphex(p->state.seg[SEG_DS].selector, ==, 0);
                g_assert_true(p->state.seg[SEG_DS].unusable);
                g_assert_cmphex(prot_stack(p, 2, 4) & (FL_IF | FL_CF), ==,
                                iret ? FL_IF | FL_CF : 0);
                g_assert_cmphex(prot_stack(p, 3, 4), ==, AT_STACK3);
            }
        }
    prot_free(p);
}

/* What privilege 3 can change of the flags by IRET. */
static void test_iret_flags(void)
{
    Prot *p = prot_new();
    for (unsigned iopl = 0; iopl <= 3; iopl += 3) {
        prot_mode(p, PROT_32, 3);
        p->state.rflags |= iopl << 12;
        push32(p, FL_IOPL | FL_IF | FL_CF | FL_AC | FL_VIP | FL_VIF | FL_VM | 2);
        push32(p, SEL_CODE3 | 3);
        push32(p, SUB);
        RUN_TWO(p, iretd, done);
        prot_expect(p, DONE, -1);
        uint32_t expected = FL_CF | FL_AC | 2 | iopl << 12 | (iopl ? FL_IF : 0);
        g_assert_cmphex(prot_stack(p, 2, 4), ==, expected);
    }
    prot_free(p);
}

/* ---- Interrupts ---- */

static void test_interrupt_frame(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 3);
    p->state.rflags |= FL_IF | FL_AC;
    PROT_RUN(p, int30_user);
    prot_expect(p, 0x30, -1);
    static const uint32_t frame[] = {AT_CODE + 2, SEL_CODE3 | 3, FL_IF | FL_AC | 2, AT_STACK3,
                                     SEL_DATA3 | 3};
    for (unsigned i = 0; i < G_N_ELEMENTS(frame); i++)
        g_assert_cmphex(prot_stack(p, i, 4), ==, frame[i]);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, SEL_DATA0);
    g_assert_false(p->state.rflags & FL_IF);
    g_assert_cmphex(p->state.seg[SEG_DS].selector, ==, SEL_DATA3 | 3); /* DS stays */

    /* A trap gate leaves IF alone; a 16-bit gate pushes words. */
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_IF;
    prot_idt(p, 0x30, 0x7, 3, SEL_CODE0, AT_HANDLERS + 0x300);
    PROT_RUN(p, int30);
    prot_expect(p, 0x30, -1);
    g_assert_true(p->state.rflags & FL_IF);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 6);
    g_assert_cmphex(prot_stack(p, 1, 2), ==, SEL_CODE0);

    /* And back. */
    prot_mode(p, PROT_32, 3);
    prot_idt(p, 0x30, 0xe, 3, SEL_CODE0, SUB);
    RUN_TWO(p, int30_user, iretd);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(prot_stack(p, 3, 4), ==, AT_STACK3);
    prot_free(p);
}

static void test_interrupt_faults(void)
{
    Prot *p = prot_new();
    static const struct {
        const char *what;
        unsigned cpl, type, dpl;
        uint16_t target;
        bool absent;
        int ended;
        int64_t error;
    } cases[] = {
        {"DPL", 3, 0xe, 0, SEL_CODE0, false, EXC_GP, 0x30 * 8 + 2},
        {"absent", 3, 0xe, 3, SEL_CODE0, true, EXC_NP, 0x30 * 8 + 2},
        {"type", 3, 0xc, 3, SEL_CODE0, false, EXC_GP, 0x30 * 8 + 2},
        {"null", 3, 0xe, 3, 0, false, EXC_GP, 0},
        {"data", 3, 0xe, 3, SEL_DATA0, false, EXC_GP, SEL_DATA0},
        {"beyond", 3, 0xe, 3, 0x100, false, EXC_GP, 0x100},
        {"outwards", 0, 0xe, 3, SEL_CODE3, false, EXC_GP, SEL_CODE3},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].what);
        prot_mode(p, PROT_32, cases[i].cpl);
        prot_idt(p, 0x30, cases[i].type, cases[i].dpl, cases[i].target, SUB);
        if (cases[i].absent)
            p->ram[AT_IDT + 0x30 * 8 + 5] &= 0x7f;
        PROT_RUN(p, int30_user);
        prot_expect(p, cases[i].ended, cases[i].error);
        g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
    }
    /* Beyond the table, for the program and for the processor: EXT tells. */
    prot_mode(p, PROT_32, 0);
    p->state.idt_limit = 0x30 * 8 - 1;
    PROT_RUN(p, int30);
    prot_expect(p, EXC_GP, 0x30 * 8 + 2);
    prot_mode(p, PROT_32, 0);
    p->state.idt_limit = 0x30 * 8 - 1;
    p->state.rflags |= FL_IF;
    p->interrupt = 0x40;
    p->vcpu.requests = VCPU_REQ_INTR;
    PROT_RUN(p, hlt);
    prot_expect(p, EXC_GP, 0x40 * 8 + 3);
    prot_free(p);
}

static void test_double_fault(void)
{
    Prot *p = prot_new();
    /* #UD whose gate is absent is #NP; #GP whose gate is absent is #DF; then shutdown. */
    prot_mode(p, PROT_32, 0);
    p->ram[AT_IDT + EXC_UD * 8 + 5] &= 0x7f;
    PROT_RUN(p, ud2);
    prot_expect(p, EXC_NP, EXC_UD * 8 + 3);
    prot_mode(p, PROT_32, 0);
    p->ram[AT_IDT + EXC_DE * 8 + 5] &= 0x7f;
    PROT_RUN(p, div);
    prot_expect(p, EXC_DF, 0);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE + 2);
    prot_mode(p, PROT_32, 0);
    p->ram[AT_IDT + EXC_DE * 8 + 5] &= 0x7f;
    p->ram[AT_IDT + EXC_DF * 8 + 5] &= 0x7f;
    PROT_RUN(p, div);
    g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    prot_free(p);
}

static void test_small_interrupts(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, int3);
    prot_expect(p, EXC_BP, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 1);
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, int3);
    prot_expect(p, EXC_GP, EXC_BP * 8 + 2);
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, into);
    prot_expect(p, EXC_OF, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 5);
    static const int32_t values[] = {-5, 10, -6, 11};
    for (unsigned i = 0; i < 4; i++) {
        prot_mode(p, PROT_32, 0);
        st32_le(p->ram + AT_DATA, (uint32_t)-5);
        st32_le(p->ram + AT_DATA + 4, 10);
        p->state.gpr[GPR_RAX] = (uint32_t)values[i];
        PROT_RUN(p, bound);
        prot_expect(p, i < 2 ? PROT_HALT : EXC_BR, -1);
    }
    prot_free(p);
}

/* ---- vm86 ---- */

static void test_vm86_entry(void)
{
    Prot *p = prot_new();
    /* IRETD to vm86 mode, whose INT 30h comes back to privilege 0. */
    prot_mode(p, PROT_32, 0);
    static const uint32_t frame[] = {
        0xb00, 0xaaaa, 0x900, 0x800, 0, AT_STACK3, FL_VM | FL_IOPL | 2, AT_CODE >> 4, 0x80};
    static const uint32_t selectors[] = {0x5555, 0xaaaa, 0xb00, 0x800};
    push32(p, selectors[0]); /* GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP */
    push32(p, selectors[1]);
    push32(p, selectors[2]);
    push32(p, selectors[3]);
    push32(p, 0);
    for (unsigned i = 5; i < G_N_ELEMENTS(frame); i++)
        push32(p, frame[i]);
    st16_le(p->ram + 0xb000, 0xbeef);
    RUN_TWO(p, iretd, vm86_segments);
    prot_expect(p, 0x30, -1);
    g_assert_cmphex(p->state.gpr[GPR_RAX] & 0xffff, ==, 0xb00);
    g_assert_cmphex(p->state.gpr[GPR_RBX] & 0xffff, ==, 0xbeef);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 36);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE >> 4);
    g_assert_cmphex(prot_stack(p, 2, 4), ==, FL_VM | FL_IOPL | 2);
    g_assert_cmphex(prot_stack(p, 3, 4), ==, AT_STACK3);
    g_assert_cmphex(prot_stack(p, 5, 4), ==, selectors[3]);
    g_assert_cmphex(prot_stack(p, 6, 4), ==, selectors[2]);
    g_assert_cmphex(prot_stack(p, 7, 4), ==, selectors[1]);
    g_assert_cmphex(prot_stack(p, 8, 4), ==, selectors[0]);
    g_assert_true(p->state.seg[SEG_DS].unusable);
    g_assert_false(p->state.rflags & FL_VM);
    prot_free(p);
}

static void test_vm86_interrupts(void)
{
    Prot *p = prot_new();
    /* Below IOPL 3, INT n is the monitor's. */
    prot_mode(p, PROT_VM86, 3);
    RUN_TWO(p, vm86_int, vm86_handler);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_VM86, 3);
    p->state.rflags |= FL_IOPL;
    RUN_TWO(p, vm86_int, vm86_handler);
    prot_expect(p, EXC_GP, 0x21 * 8 + 2); /* that gate's DPL is 0 */
    /* VME with a clear bit: the program's handler, with VIF for IF; HLT ends in #GP. */
    for (unsigned iopl = 0; iopl <= 3; iopl += 3) {
        prot_mode(p, PROT_VM86, 3);
        p->state.cr4 |= 1;
        p->state.rflags |= iopl << 12 | FL_VIF | FL_IF;
        p->ram[AT_TSS_A + TSS_REDIRECT + 4] = 0xfd; /* vectors 20h-27h but 21h */
        RUN_TWO(p, vm86_int, vm86_handler);
        prot_expect(p, EXC_GP, 0);
        g_assert_cmphex(p->state.gpr[GPR_RCX] & 0xffff, ==, 0x1234);
        g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE + 2);
        g_assert_cmphex(prot_stack(p, 3, 4) & (FL_VIF | FL_IF), ==, FL_VIF | FL_IF);
    }
    /* With the bit set: as without VME. */
    prot_mode(p, PROT_VM86, 3);
    p->state.cr4 |= 1;
    p->ram[AT_TSS_A + TSS_REDIRECT + 4] = 0x02;
    RUN_TWO(p, vm86_int, vm86_handler);
    prot_expect(p, EXC_GP, 0);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
    prot_free(p);
}

static void test_vm86_flags(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_VM86, 3);
    PROT_RUN(p, vm86_flags);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_VM86, 3);
    p->state.cr4 |= 1;
    memset(p->ram + AT_TSS_A + TSS_REDIRECT, 0xff, 32);
    PROT_RUN(p, vm86_flags);
    prot_expect(p, EXC_GP, 0); /* by INT 30h */
    g_assert_cmphex(p->state.gpr[GPR_RAX] & 0xffff, ==, FL_IOPL | FL_IF | 2);
    g_assert_cmphex(p->state.gpr[GPR_RBX] & 0xffff, ==, FL_IOPL | 2);
    g_assert_cmphex(prot_stack(p, 3, 4) & FL_IF, ==, 0); /* IF itself was not touched */
    /* An interrupt waits: STI tells the monitor. */
    prot_mode(p, PROT_VM86, 3);
    p->state.cr4 |= 1;
    p->state.rflags |= FL_VIP;
    PROT_RUN(p, vm86_flags);
    prot_expect(p, EXC_GP, 0);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
    /* IOPL 3: the real one. */
    prot_mode(p, PROT_VM86, 3);
    p->state.rflags |= FL_IOPL;
    PROT_RUN(p, vm86_flags);
    prot_expect(p, 0x30, -1);
    g_assert_cmphex(p->state.gpr[GPR_RAX] & 0xffff, ==, FL_IOPL | FL_IF | 2);
    prot_free(p);
}

static void test_vm86_ports(void)
{
    Prot *p = prot_new();
    /* The map counts whatever IOPL is. */
    prot_mode(p, PROT_VM86, 3);
    p->state.rflags |= FL_IOPL;
    p->state.gpr[GPR_RDX] = 0x234;
    PROT_RUN(p, vm86_out);
    prot_expect(p, EXC_GP, 0);
    g_assert_cmpuint(p->port_count, ==, 0);
    prot_mode(p, PROT_VM86, 3);
    p->state.rflags |= FL_IOPL;
    p->state.gpr[GPR_RDX] = 0x234;
    p->ram[AT_TSS_A + TSS_IO_MAP + 0x234 / 8] &= ~(1 << 4);
    PROT_RUN(p, vm86_out);
    prot_expect(p, 0x30, -1);
    g_assert_cmpuint(p->port_count, ==, 1);
    prot_free(p);
}

void prot_add_transfer_tests(void)
{
    g_test_add_func("/cpu/prot/jumps", test_jumps);
    g_test_add_func("/cpu/prot/call-gate", test_call_gate);
    g_test_add_func("/cpu/prot/call-gate-16", test_call_gate_16);
    g_test_add_func("/cpu/prot/call-gate-faults", test_call_gate_faults);
    g_test_add_func("/cpu/prot/returns", test_returns);
    g_test_add_func("/cpu/prot/iret-flags", test_iret_flags);
    g_test_add_func("/cpu/prot/interrupt-frame", test_interrupt_frame);
    g_test_add_func("/cpu/prot/interrupt-faults", test_interrupt_faults);
    g_test_add_func("/cpu/prot/double-fault", test_double_fault);
    g_test_add_func("/cpu/prot/small-interrupts", test_small_interrupts);
    g_test_add_func("/cpu/prot/vm86-entry", test_vm86_entry);
    g_test_add_func("/cpu/prot/vm86-interrupts", test_vm86_interrupts);
    g_test_add_func("/cpu/prot/vm86-flags", test_vm86_flags);
    g_test_add_func("/cpu/prot/vm86-ports", test_vm86_ports);
}
