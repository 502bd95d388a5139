/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software CPU's protection (Intel SDM vol. 3, ch. 2-7, 17, 20, 34): this file has real mode,
 * segments and descriptors; test-cpu-prot-*.c the rest.
 */
#include "prot.h"

/* ---- Real mode ---- */

static void test_real(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_REAL, 0);
    p->state.seg[SEG_SS].base = 0;
    PROT_RUN(p, real_int);
    prot_expect(p, 0x21, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0 - 6);
    g_assert_cmphex(prot_stack(p, 0, 2), ==, AT_CODE + 3); /* IP behind INT, CS, flags with IF */
    g_assert_cmphex(prot_stack(p, 1, 2), ==, 0);
    g_assert_cmphex(prot_stack(p, 2, 2), ==, FL_IF | 2);
    g_assert_false(p->state.rflags & FL_IF);

    prot_mode(p, PROT_REAL, 0);
    PROT_RUN(p, real_iret);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0);

    prot_mode(p, PROT_REAL, 0);
    PROT_RUN(p, real_far);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RBX], ==, AT_STACK0 - 4);
    g_assert_cmphex(p->state.gpr[GPR_RDX], ==, AT_STACK0);
    prot_free(p);
}

static void test_real_limits(void)
{
    Prot *p = prot_new();
    /* A word across the segment's end. */
    prot_mode(p, PROT_REAL, 0);
    p->state.gpr[GPR_RBX] = 0xffff;
    PROT_RUN(p, limit16);
    prot_expect(p, EXC_GP, -1);
    g_assert_cmphex(prot_stack(p, 0, 2), ==, AT_CODE);
    /* A vector beyond the table's limit: #GP, whose vector is there. */
    prot_mode(p, PROT_REAL, 0);
    p->state.idt_limit = 0x7f;
    PROT_RUN(p, real_int);
    prot_expect(p, EXC_GP, -1);
    /* Without that either: double fault; without anything: shutdown. */
    prot_mode(p, PROT_REAL, 0);
    p->state.idt_limit = 8 * 4 + 3;
    PROT_RUN(p, real_int);
    prot_expect(p, EXC_DF, -1);
    prot_mode(p, PROT_REAL, 0);
    p->state.idt_limit = 0;
    PROT_RUN(p, real_int);
    g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    /* SP = 1 has no room for a word: #SS has none either, nor #DF. */
    prot_mode(p, PROT_REAL, 0);
    p->state.gpr[GPR_RSP] = 1;
    PROT_RUN(p, real_int);
    g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    prot_free(p);
}

static void set_table(Prot *p, uint32_t base, uint16_t limit)
{
    st16_le(p->ram + AT_DATA, limit);
    st32_le(p->ram + AT_DATA + 2, base);
}

static void test_unreal(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_REAL, 0);
    set_table(p, AT_GDT, GDT_LIMIT);
    PROT_RUN(p, unreal);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSI], ==, 0x12345678);
    g_assert_cmphex(prot_ram32(p, 0x200000), ==, 0x12345678);
    g_assert_cmphex(p->state.seg[SEG_DS].limit, ==, UINT32_MAX);
    prot_free(p);
}

static void test_to_long(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_REAL, 0);
    set_table(p, AT_GDT, GDT_LIMIT);
    PROT_RUN(p, to_long);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[8], ==, 0x123456789abcdef0);
    g_assert_cmphex(p->state.gpr[GPR_RBX], ==, 0x500); /* LME and LMA */
    g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, SEL_CODE64);
    prot_free(p);
}

/* ---- Loading segment registers ---- */

typedef struct LoadCase {
    unsigned cpl;
    uint16_t selector;
    int ended;
    int64_t error;
} LoadCase;

static const LoadCase ds_cases[] = {
    {0, SEL_DATA0, PROT_HALT, -1},
    {0, 3, PROT_HALT, -1}, /* null, whatever its RPL */
    {0, SEL_DATA3 | 3, PROT_HALT, -1},
    {0, SEL_READ_ONLY, PROT_HALT, -1},
    {0, SEL_CODE0, PROT_HALT, -1},
    {0, SEL_CONFORMING | 3, PROT_HALT, -1},
    {0, SEL_EXECUTE_ONLY, EXC_GP, SEL_EXECUTE_ONLY},
    {0, SEL_DATA0 | 3, EXC_GP, SEL_DATA0},
    {0, SEL_ABSENT, EXC_NP, SEL_ABSENT},
    {0, SEL_TSS_B, EXC_GP, SEL_TSS_B},
    {0, 0x100, EXC_GP, 0x100},
    {0, 0xfffb, EXC_GP, 0xfff8},
    {0, 0x0c, PROT_HALT, -1}, /* LDT */
    {0, 0x44, EXC_GP, 0x44},  /* beyond the LDT, TI in the error code */
    {3, SEL_DATA3 | 3, DONE, -1},
    {3, SEL_DATA3, DONE, -1},
    {3, SEL_DATA0, EXC_GP, SEL_DATA0},
    {3, SEL_CODE3, DONE, -1},
    {3, SEL_CONFORMING, DONE, -1},
    {3, 0, DONE, -1},
};

static void test_load_ds(void)
{
    Prot *p = prot_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(ds_cases); i++) {
        const LoadCase *c = &ds_cases[i];
        g_test_message("case %u: selector %#x", i, c->selector);
        prot_mode(p, PROT_32, c->cpl);
        p->state.gpr[GPR_RAX] = c->selector;
        uint16_t before = p->state.seg[SEG_DS].selector;
        if (c->cpl)
            PROT_RUN(p, load_ds_user);
        else
            PROT_RUN(p, load_ds);
        prot_expect(p, c->ended, c->error);
        bool loaded = c->ended == PROT_HALT || c->ended == DONE;
        g_assert_cmphex(p->state.seg[SEG_DS].selector, ==, loaded ? c->selector : before);
    }
    prot_free(p);
}

static const LoadCase ss_cases[] = {
    {0, SEL_DATA0, PROT_HALT, -1},
    {0, 0, EXC_GP, 0},
    {0, 3, EXC_GP, 0},
    {0, SEL_DATA0 | 3, EXC_GP, SEL_DATA0},
    {0, SEL_DATA3, EXC_GP, SEL_DATA3},
    {0, SEL_READ_ONLY, EXC_GP, SEL_READ_ONLY},
    {0, SEL_CODE0, EXC_GP, SEL_CODE0},
    {0, SEL_ABSENT, EXC_SS, SEL_ABSENT},
    {0, 0x100, EXC_GP, 0x100},
    {0, SEL_DATA16, PROT_HALT, -1},
};

static void test_load_ss(void)
{
    Prot *p = prot_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(ss_cases); i++) {
        const LoadCase *c = &ss_cases[i];
        g_test_message("case %u: selector %#x", i, c->selector);
        prot_mode(p, PROT_32, c->cpl);
        p->state.gpr[GPR_RAX] = c->selector;
        PROT_RUN(p, load_ss);
        prot_expect(p, c->ended, c->error);
    }
    prot_free(p);
}

static void test_accessed(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    prot_descriptor(p, SEL_FREE, 0x1000, 0xfff, ATTR_DB | 0x92);
    p->state.gpr[GPR_RAX] = SEL_FREE;
    PROT_RUN(p, load_ds);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->ram[AT_GDT + SEL_FREE + 5], ==, 0x93);
    g_assert_cmphex(p->state.seg[SEG_DS].attr & 0xff, ==, 0x93);
    g_assert_cmphex(p->state.seg[SEG_DS].base, ==, 0x1000);
    prot_free(p);
}

/* ---- Accesses ---- */

typedef struct AccessCase {
    uint16_t selector;
    uint32_t address; /* of four bytes */
    bool write;
    int ended;
} AccessCase;

static const AccessCase access_cases[] = {
    {SEL_SMALL, 0xffc, false, PROT_HALT},
    {SEL_SMALL, 0xffd, false, EXC_GP},
    {SEL_SMALL, 0x1000, true, EXC_GP},
    {SEL_SMALL, 0xfffffffe, false, EXC_GP},
    {SEL_DOWN, 0x1fff, false, EXC_GP},
    {SEL_DOWN, 0x2000, false, PROT_HALT},
    {SEL_DOWN, 0x3ffffc, true, PROT_HALT},
    {SEL_READ_ONLY, 0xb000, false, PROT_HALT},
    {SEL_READ_ONLY, 0xb000, true, EXC_GP},
    {SEL_CODE0, 0xb000, false, PROT_HALT},
    {SEL_CODE0, 0xb000, true, EXC_GP},
    {0, 0xb000, false, EXC_GP},
    {0, 0xb000, true, EXC_GP},
};

static void test_accesses(void)
{
    Prot *p = prot_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(access_cases); i++) {
        const AccessCase *c = &access_cases[i];
        g_test_message("case %u: %#x:%#x", i, c->selector, c->address);
        prot_mode(p, PROT_32, 0);
        p->state.gpr[GPR_RAX] = c->selector;
        p->state.gpr[GPR_RBX] = c->address;
        p->state.gpr[GPR_RCX] = 0xf4f4f4f4;
        if (c->write)
            PROT_RUN(p, load_write);
        else
            PROT_RUN(p, load_read);
        prot_expect(p, c->ended, c->ended == PROT_HALT ? -1 : 0);
    }
    prot_free(p);
}

static void test_stack_segment(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    st32_le(p->ram + AT_DATA, 0x6f00);
    st16_le(p->ram + AT_DATA + 4, SEL_DATA16);
    p->state.gpr[GPR_RBX] = AT_DATA;
    PROT_RUN(p, lss);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, 0x6f00);
    g_assert_cmphex(p->state.seg[SEG_SS].selector, ==, SEL_DATA16);

    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, pushpop); /* 4 bytes of DS, 2 of zero; out come 2 and 4 */
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RSP], ==, AT_STACK0);
    g_assert_cmphex(p->state.seg[SEG_ES].selector, ==, SEL_DATA0);
    prot_free(p);
}

/* ---- Looking at descriptors ---- */

typedef struct LookCase {
    unsigned cpl;
    uint16_t selector;
    bool lar, lsl, verr, verw;
    uint32_t limit;
} LookCase;

static const LookCase look_cases[] = {
    {0, SEL_DATA0, true, true, true, true, UINT32_MAX},
    {0, SEL_SMALL, true, true, true, true, 0xfff},
    {0, SEL_READ_ONLY, true, true, true, false, UINT32_MAX},
    {0, SEL_EXECUTE_ONLY, true, true, false, false, UINT32_MAX},
    {0, SEL_CODE0, true, true, true, false, UINT32_MAX},
    {0, SEL_ABSENT, true, true, true, true, UINT32_MAX},
    {0, SEL_TSS_B, true, true, false, false, 0x67},
    {0, SEL_LDT, true, true, false, false, 0x3f},
    {0, SEL_GATE, true, false, false, false, 0},
    {0, 0, false, false, false, false, 0},
    {0, 0x100, false, false, false, false, 0},
    {0, SEL_DATA0 | 3, false, false, false, false, 0},
    {0, SEL_CONFORMING | 3, true, true, true, false, UINT32_MAX},
};

static void test_looks(void)
{
    Prot *p = prot_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(look_cases); i++) {
        const LookCase *c = &look_cases[i];
        g_test_message("case %u: %#x", i, c->selector);
        prot_mode(p, PROT_32, 0);
        prot_gate(p, SEL_GATE, 0xc, 0, SEL_CODE0, AT_CODE, 0);
        p->state.gpr[GPR_RAX] = c->selector;
        PROT_RUN(p, lar);
        prot_expect(p, PROT_HALT, -1);
        g_assert_cmpuint(p->state.gpr[GPR_RBX] & 1, ==, c->lar);
        uint32_t rights = prot_ram32(p, AT_GDT + c->selector % 0x100 + 4) & 0xf0ff00;
        if (c->lar && c->selector < 0x100 && !(c->selector & 3))
            g_assert_cmphex(p->state.gpr[GPR_RCX], ==, rights);
        p->state.rip = AT_CODE;
        PROT_RUN(p, lsl);
        g_assert_cmpuint(p->state.gpr[GPR_RBX] & 1, ==, c->lsl);
        if (c->lsl)
            g_assert_cmphex(p->state.gpr[GPR_RCX], ==, c->limit);
        p->state.rip = AT_CODE;
        PROT_RUN(p, verr);
        g_assert_cmpuint(p->state.gpr[GPR_RBX] & 1, ==, c->verr);
        p->state.rip = AT_CODE;
        PROT_RUN(p, verw);
        g_assert_cmpuint(p->state.gpr[GPR_RBX] & 1, ==, c->verw);
    }
    prot_free(p);
}

static void test_arpl(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0x12340008;
    p->state.gpr[GPR_RCX] = 0x23;
    PROT_RUN(p, arpl);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x1234000b);
    g_assert_cmphex(p->state.gpr[GPR_RBX] & 0xff, ==, 1);
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0x0b;
    p->state.gpr[GPR_RCX] = 0x22;
    PROT_RUN(p, arpl);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x0b);
    g_assert_cmphex(p->state.gpr[GPR_RBX] & 0xff, ==, 0);
    prot_free(p);
}

/* ---- LDTR, TR, GDTR ---- */

static void test_system_registers(void)
{
    Prot *p = prot_new();
    static const struct {
        uint16_t selector;
        int ended;
        int64_t error;
    } ldts[] = {{SEL_LDT, PROT_HALT, -1},
                {0, PROT_HALT, -1},
                {SEL_DATA0, EXC_GP, SEL_DATA0},
                {0x0c, EXC_GP, 0x0c},
                {0x100, EXC_GP, 0x100}},
      tsss[] = {{SEL_TSS_B, PROT_HALT, -1},
                {0, EXC_GP, 0},
                {SEL_TSS_A, EXC_GP, SEL_TSS_A}, /* busy */
                {SEL_LDT, EXC_GP, SEL_LDT},
                {SEL_TSS_16, PROT_HALT, -1}};
    for (unsigned i = 0; i < G_N_ELEMENTS(ldts); i++) {
        prot_mode(p, PROT_32, 0);
        p->state.gpr[GPR_RAX] = ldts[i].selector;
        PROT_RUN(p, lldt);
        prot_expect(p, ldts[i].ended, ldts[i].error);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(tsss); i++) {
        prot_mode(p, PROT_32, 0);
        p->state.gpr[GPR_RAX] = tsss[i].selector;
        PROT_RUN(p, ltr);
        prot_expect(p, tsss[i].ended, tsss[i].error);
        if (tsss[i].ended == PROT_HALT) {
            g_assert_cmphex(p->state.gpr[GPR_RCX], ==, tsss[i].selector);
            g_assert_cmphex(p->ram[AT_GDT + tsss[i].selector + 5] & 2, ==, 2); /* busy now */
        }
    }
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, ltr);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_VM86, 3);
    PROT_RUN(p, lldt);
    prot_expect(p, EXC_UD, -1);
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, sgdt);
    g_assert_cmphex(prot_ram32(p, 0xb100) & 0xffff, ==, GDT_LIMIT);
    g_assert_cmphex(prot_ram32(p, 0xb102), ==, AT_GDT);
    g_assert_cmphex(prot_ram32(p, 0xb112), ==, AT_IDT);
    prot_free(p);
}

static void test_umip(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, umip);
    prot_expect(p, DONE, -1);
    prot_mode(p, PROT_32, 3);
    p->state.cr4 |= 1 << 11;
    PROT_RUN(p, umip);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    g_test_add_func("/cpu/prot/real", test_real);
    g_test_add_func("/cpu/prot/real-limits", test_real_limits);
    g_test_add_func("/cpu/prot/unreal", test_unreal);
    g_test_add_func("/cpu/prot/to-long", test_to_long);
    g_test_add_func("/cpu/prot/load-ds", test_load_ds);
    g_test_add_func("/cpu/prot/load-ss", test_load_ss);
    g_test_add_func("/cpu/prot/accessed", test_accessed);
    g_test_add_func("/cpu/prot/accesses", test_accesses);
    g_test_add_func("/cpu/prot/stack-segment", test_stack_segment);
    g_test_add_func("/cpu/prot/looks", test_looks);
    g_test_add_func("/cpu/prot/arpl", test_arpl);
    g_test_add_func("/cpu/prot/system-registers", test_system_registers);
    g_test_add_func("/cpu/prot/umip", test_umip);
    prot_add_transfer_tests();
    prot_add_task_tests();
    prot_add_long_tests();
    prot_add_system_tests();
    prot_add_debug_tests();
    prot_add_stack_tests();
    prot_add_fuzz_tests();
    return g_test_run();
}
