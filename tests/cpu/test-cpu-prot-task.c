/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hardware task switches (SDM vol. 3, ch. 7). */
#include "prot.h"

enum { BODY = AT_CODE + 0x80, STACK_B = 0xc800 };

/* Task B: 32 bits, at BODY. */
static void fill_b(Prot *p, uint32_t flags)
{
    uint8_t *b = p->ram + AT_TSS_B;
    memset(b, 0, 104);
    st32_le(b + 32, BODY);
    st32_le(b + 36, flags | 2);
    for (unsigned i = 0; i < 8; i++)
        st32_le(b + 40 + 4 * i, 0xb0b00000 + i);
    st32_le(b + 56, STACK_B);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        st16_le(b + 72 + 4 * i, i == SEG_CS ? SEL_CODE0 : SEL_DATA0);
    st16_le(b + 96, SEL_LDT);
}

static void fill_16(Prot *p)
{
    uint8_t *c = p->ram + AT_TSS_16;
    memset(c, 0, 44);
    st16_le(c + 14, BODY);
    st16_le(c + 16, 2);
    st16_le(c + 26, STACK_B);
    for (unsigned i = 0; i < 4; i++)
        st16_le(c + 34 + 2 * i, i == SEG_CS ? SEL_CODE0 : SEL_DATA0);
}

static void setup(Prot *p)
{
    prot_mode(p, PROT_32, 0);
    fill_b(p, 0);
    fill_16(p);
    for (unsigned i = 0; i < 8; i++)
        if (i != GPR_RSP)
            p->state.gpr[i] = 0xa0a00000 + i;
}

static void run_two(Prot *p, const uint8_t *code, const uint8_t *body)
{
    memcpy(p->ram + AT_CODE, code, 0x80);
    memcpy(p->ram + BODY, body, 64);
    prot_go(p);
}
#define RUN_TWO(p, a, b)                                                                           \
    do {                                                                                           \
        extern const uint8_t snip_##a[], snip_##b[];                                               \
        run_two(p, snip_##a, snip_##b);                                                            \
    } while (0)

static unsigned type_of(const Prot *p, uint16_t selector)
{
    return p->ram[AT_GDT + selector + 5] & 15;
}

static void test_jump(void)
{
    Prot *p = prot_new();
    setup(p);
    prot_pointer(p, SEL_TSS_B, 0);
    RUN_TWO(p, jmp_task, task_body);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0x7a5c);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0xb0b00000);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, STACK_B);
    g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_B);
    g_assert_cmphex(p->state.ldt.base, ==, AT_LDT);
    g_assert_cmphex(type_of(p, SEL_TSS_A), ==, 9);
    g_assert_cmphex(type_of(p, SEL_TSS_B), ==, 11);
    g_assert_false(p->state.rflags & FL_NT);
    g_assert_true(p->state.cr0 & 8); /* TS */
    /* What was saved. */
    g_assert_cmphex(prot_ram32(p, AT_TSS_A + 32), ==, AT_CODE + 6);
    g_assert_cmphex(prot_ram32(p, AT_TSS_A + 40), ==, 0xa0a00000);
    g_assert_cmphex(prot_ram32(p, AT_TSS_A + 56), ==, AT_STACK0);
    g_assert_cmphex(prot_ram32(p, AT_TSS_A + 76), ==, SEL_CODE0);
    prot_free(p);
}

static void test_call(void)
{
    Prot *p = prot_new();
    setup(p);
    prot_pointer(p, SEL_TSS_B, 0);
    RUN_TWO(p, call_task, task_body);
    prot_expect(p, PROT_HALT, -1);
    g_assert_true(p->state.rflags & FL_NT);
    g_assert_cmphex(type_of(p, SEL_TSS_A), ==, 11);
    g_assert_cmphex(type_of(p, SEL_TSS_B), ==, 11);
    g_assert_cmphex(prot_ram32(p, AT_TSS_B), ==, SEL_TSS_A);
    /* IRET goes back. */
    setup(p);
    prot_pointer(p, SEL_TSS_B, 0);
    RUN_TWO(p, call_task, task_iret);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RDX], ==, 0x600d);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0xa0a00000);
    g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_A);
    g_assert_false(p->state.rflags & FL_NT);
    g_assert_cmphex(type_of(p, SEL_TSS_A), ==, 11);
    g_assert_cmphex(type_of(p, SEL_TSS_B), ==, 9);
    g_assert_cmphex(prot_ram32(p, AT_TSS_B + 36) & FL_NT, ==, 0);
    g_assert_cmphex(prot_ram32(p, AT_TSS_B + 44), ==, 0x7a5c); /* B's ECX */
    prot_free(p);
}

static void test_16(void)
{
    Prot *p = prot_new();
    setup(p);
    prot_pointer(p, SEL_TSS_16, 0);
    RUN_TWO(p, call_task, task_iret);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RDX], ==, 0x600d);
    g_assert_cmphex(ld16_le(p->ram + AT_TSS_16), ==, SEL_TSS_A);
    g_assert_cmphex(ld16_le(p->ram + AT_TSS_16 + 20), ==, 0x7a5c);
    g_assert_cmphex(ld16_le(p->ram + AT_TSS_16 + 14), ==, BODY + 6);
    g_assert_cmphex(type_of(p, SEL_TSS_16), ==, 1);
    prot_free(p);
}

static void test_gates(void)
{
    Prot *p = prot_new();
    /* By INT from privilege 3, by a fault with an error code, by a call. */
    setup(p);
    prot_idt(p, 0x30, 5, 3, SEL_TSS_B, 0);
    RUN_TWO(p, int30, task_iret);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_A);

    setup(p);
    prot_idt(p, EXC_GP, 5, 0, SEL_TSS_B, 0);
    p->state.gpr[GPR_RAX] = 0x100;
    RUN_TWO(p, load_ds, task_body);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_B);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, STACK_B - 4);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, 0x100);
    g_assert_cmphex(prot_ram32(p, AT_TSS_A + 32), ==, AT_CODE);

    setup(p);
    prot_gate(p, SEL_GATE, 5, 3, SEL_TSS_B, 0, 0);
    prot_pointer(p, SEL_GATE, 0);
    RUN_TWO(p, call_task, task_iret);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RDX], ==, 0x600d);
    prot_free(p);
}

static void test_faults(void)
{
    Prot *p = prot_new();
    static const struct {
        const char *what;
        uint16_t limit, attr;
        int ended;
        int64_t error;
    } cases[] = {
        {"busy", 0x67, 0x8b, EXC_GP, SEL_TSS_B},
        {"absent", 0x67, 0x09, EXC_NP, SEL_TSS_B},
        {"short", 0x66, 0x89, EXC_TS, SEL_TSS_B},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].what);
        setup(p);
        prot_descriptor(p, SEL_TSS_B, AT_TSS_B, cases[i].limit, cases[i].attr);
        prot_pointer(p, SEL_TSS_B, 0);
        RUN_TWO(p, jmp_task, task_body);
        prot_expect(p, cases[i].ended, cases[i].error);
        g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_A);
        g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
    }
    /* Segments of the new task: faults in it. */
    static const struct {
        unsigned offset;
        uint16_t selector;
        int ended;
        int64_t error;
    } segments[] = {{84, SEL_ABSENT, EXC_NP, SEL_ABSENT}, /* DS */
                    {88, SEL_EXECUTE_ONLY, EXC_TS, SEL_EXECUTE_ONLY},
                    {96, SEL_DATA0, EXC_TS, SEL_DATA0}}; /* LDT */
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++) {
        g_test_message("segment %u", i);
        setup(p);
        /* The handler has a stack only if SS is loaded: give it a task of its own otherwise. */
        prot_idt(p, (unsigned)segments[i].ended, 5, 0, SEL_TSS_16, 0);
        prot_pointer(p, SEL_TSS_B, 0);
        st16_le(p->ram + AT_TSS_B + segments[i].offset, segments[i].selector);
        RUN_TWO(p, jmp_task, task_body);
        prot_expect(p, PROT_HALT, -1);
        g_assert_cmphex(p->state.tr.selector, ==, SEL_TSS_16);
        g_assert_cmphex(ld16_le(p->ram + STACK_B - 2), ==, segments[i].error);
        g_assert_cmphex(ld16_le(p->ram + AT_TSS_16), ==, SEL_TSS_B);
        g_assert_cmphex(prot_ram32(p, AT_TSS_B + 32), ==, BODY);
    }
    /* IRET with NT and a back link to no busy TSS. */
    setup(p);
    p->state.rflags |= FL_NT;
    st16_le(p->ram + AT_TSS_A, SEL_TSS_B);
    PROT_RUN(p, iretd);
    prot_expect(p, EXC_TS, SEL_TSS_B);
    prot_free(p);
}

/* To vm86 code, and the T bit. */
static void test_vm86_and_trap(void)
{
    Prot *p = prot_new();
    setup(p);
    fill_b(p, FL_VM | FL_IOPL);
    st16_le(p->ram + AT_TSS_B + 76, 0x800); /* CS */
    st32_le(p->ram + AT_TSS_B + 32, 0x80);
    st16_le(p->ram + AT_TSS_B + 84, 0xb00); /* DS */
    st16_le(p->ram + AT_TSS_B + 80, 0);     /* SS */
    st32_le(p->ram + AT_TSS_B + 4, AT_STACK0);
    st32_le(p->ram + AT_TSS_B + 8, SEL_DATA0);
    prot_pointer(p, SEL_TSS_B, 0);
    RUN_TWO(p, jmp_task, vm86_segments);
    prot_expect(p, 0x30, -1);
    g_assert_cmphex(p->state.gpr[GPR_RAX] & 0xffff, ==, 0xb00);

    setup(p);
    st16_le(p->ram + AT_TSS_B + 100, 1);
    prot_pointer(p, SEL_TSS_B, 0);
    RUN_TWO(p, jmp_task, task_body);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(p->state.dr[6] & 0xf00f, ==, 0x8000);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, BODY);
    prot_free(p);
}

void prot_add_task_tests(void)
{
    g_test_add_func("/cpu/prot/task/jump", test_jump);
    g_test_add_func("/cpu/prot/task/call", test_call);
    g_test_add_func("/cpu/prot/task/16", test_16);
    g_test_add_func("/cpu/prot/task/gates", test_gates);
    g_test_add_func("/cpu/prot/task/faults", test_faults);
    g_test_add_func("/cpu/prot/task/vm86-and-trap", test_vm86_and_trap);
}
