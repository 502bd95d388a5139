/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Debug exceptions in the places where they are held off, late or decided otherwise: MOV SS, INTO,
 * SYSCALL, repeated instructions, branches, SMM. */
#include "prot.h"

enum { SUB = AT_CODE + 0x80, BTF = 2, DEBUGCTL = 0x1d9, BS = 1 << 14 };

static void start(Prot *p)
{
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_TF;
}

/* A step ended behind so many bytes. */
#define expect_step(p, bytes)                                                                      \
    do {                                                                                           \
        prot_expect(p, EXC_DB, -1);                                                                \
        g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + (bytes));                               \
        g_assert_cmphex((p)->state.dr[6] & BS, ==, BS);                                            \
    } while (0)

static void test_stack_segment(void)
{
    Prot *p = prot_new();
    start(p);
    p->state.gpr[GPR_RAX] = SEL_DATA0;
    PROT_RUN(p, step_ss_twice);
    expect_step(p, 4); /* a second MOV SS holds off nothing */
    start(p);
    p->state.gpr[GPR_RBX] = AT_DATA;
    prot_pointer(p, SEL_DATA0, AT_STACK0);
    PROT_RUN(p, step_lss);
    expect_step(p, 3); /* LSS needs no such thing */
    /* Nor does a code breakpoint hit behind MOV SS; it does behind the second. */
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = SEL_DATA0;
    p->state.dr[0] = AT_CODE + 2;
    p->state.dr[7] = 0x402;
    PROT_RUN(p, step_ss);
    prot_expect(p, PROT_HALT, -1);
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = SEL_DATA0;
    p->state.dr[0] = AT_CODE + 4;
    p->state.dr[7] = 0x402;
    PROT_RUN(p, step_ss_twice);
    prot_expect(p, EXC_DB, -1);
    prot_free(p);
}

/* A step over HLT ends the wait, which nothing else would here. */
static void test_hlt(void)
{
    Prot *p = prot_new();
    start(p);
    PROT_RUN(p, hlt);
    expect_step(p, 1);
    g_assert_cmphex(p->state.rip, ==, AT_HANDLERS + EXC_DB * 16 + 1); /* the handler ran */
    prot_free(p);
}

/* Interrupts: behind the first MOV SS none, behind the second one. */
static void test_shadow(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_IF;
    p->state.gpr[GPR_RAX] = SEL_DATA0;
    extern const uint8_t snip_step_ss_twice[];
    memcpy(p->ram + AT_CODE, snip_step_ss_twice, 16);
    cpu_set_state(p->cpu, &p->state);
    cpu_run(p->cpu, 1, false);
    p->interrupt = 0x40;
    p->vcpu.requests = VCPU_REQ_INTR;
    cpu_run(p->cpu, 1000, false);
    cpu_get_state(p->cpu, &p->state);
    g_assert_cmphex(p->state.rip, ==, AT_HANDLERS + 0x40 * 16 + 1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 4);
    p->vcpu.requests = 0;
    prot_free(p);
}

static void test_into(void)
{
    Prot *p = prot_new();
    start(p);
    PROT_RUN(p, step_into);
    expect_step(p, 1);
    start(p);
    p->state.rflags |= FL_OF;
    PROT_RUN(p, step_into);
    prot_expect(p, EXC_OF, -1);
    /* POPF that sets TF: behind the next one. */
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, step_popf);
    expect_step(p, 7);
    prot_free(p);
}

static void run_syscall(Prot *p, uint64_t mask)
{
    extern const uint8_t snip_syscall[], snip_hlt[];
    prot_mode(p, PROT_64, 3);
    prot_msr(p, 0xc0000081, (uint64_t)(SEL_DATA3 - 8) << 48 | (uint64_t)SEL_CODE0 << 32);
    prot_msr(p, 0xc0000082, SUB);
    prot_msr(p, 0xc0000084, mask);
    p->state.rflags |= FL_TF;
    memcpy(p->ram + AT_CODE, snip_syscall, 16);
    memcpy(p->ram + SUB, snip_hlt, 16);
    prot_go(p);
}

static void test_syscall(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_sysret[], snip_done[];
    run_syscall(p, FL_TF);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.rip, ==, SUB + 1);
    g_assert_cmphex(p->state.gpr[11], ==, FL_TF | 2);
    run_syscall(p, 0);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 8), ==, SUB);
    /* SYSRET that sets TF: at once. */
    prot_mode(p, PROT_64, 0);
    prot_msr(p, 0xc0000081, (uint64_t)(SEL_DATA3 - 8) << 48);
    p->state.gpr[GPR_RCX] = SUB;
    p->state.gpr[11] = FL_TF | 2;
    memcpy(p->ram + AT_CODE, snip_sysret, 16);
    memcpy(p->ram + SUB, snip_done, 16);
    prot_go(p);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 8), ==, SUB);
    prot_free(p);
}

static void test_repeated(void)
{
    Prot *p = prot_new();
    /* A trap behind each element; RF but for the last. */
    for (unsigned count = 3; count; count--) {
        start(p);
        p->state.gpr[GPR_RCX] = count;
        p->state.gpr[GPR_RDI] = AT_DATA;
        PROT_RUN(p, step_rep);
        expect_step(p, count > 1 ? 0 : 2);
        g_assert_cmphex(p->state.gpr[GPR_RCX], ==, count - 1);
        g_assert_cmphex(prot_stack(p, 2, 4), ==, FL_TF | 2 | (count > 1 ? FL_RF : 0));
    }
    /* A code breakpoint that was had does not hit at the next element. */
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_RF;
    p->state.gpr[GPR_RCX] = 5;
    p->state.gpr[GPR_RDI] = AT_DATA;
    p->state.dr[0] = AT_CODE;
    p->state.dr[7] = 0x402;
    PROT_RUN(p, step_rep);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0);
    g_assert_false(p->state.rflags & FL_RF);
    /* Nor does it in INS. */
    extern const uint8_t snip_rep_insw[];
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_RF;
    p->state.gpr[GPR_RCX] = 5;
    p->state.gpr[GPR_RDX] = 0x200;
    p->state.gpr[GPR_RDI] = AT_DATA;
    p->state.dr[0] = AT_CODE;
    p->state.dr[7] = 0x402;
    prot_run(p, snip_rep_insw);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmpuint(p->port_count, ==, 5);
    prot_free(p);
}

/* An interrupt in the middle saves RF. */
static void test_repeated_interrupt(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_step_rep[];
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_IF;
    p->state.gpr[GPR_RCX] = 3 * 4096;
    p->state.gpr[GPR_RDI] = AT_DATA;
    memcpy(p->ram + AT_CODE, snip_step_rep, 16);
    cpu_set_state(p->cpu, &p->state);
    cpu_run(p->cpu, 1, false);
    p->interrupt = 0x40;
    p->vcpu.requests = VCPU_REQ_INTR;
    cpu_run(p->cpu, 1000, false);
    cpu_get_state(p->cpu, &p->state);
    g_assert_cmphex(p->state.rip, ==, AT_HANDLERS + 0x40 * 16 + 1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE);
    g_assert_cmphex(prot_stack(p, 2, 4), ==, FL_IF | FL_RF | 2);
    p->vcpu.requests = 0;
    prot_free(p);
}

static void test_branches(void)
{
    Prot *p = prot_new();
    static const struct {
        uint32_t eax;
        unsigned bytes;
    } cases[] = {{0, 9}, {1, 8}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        start(p);
        prot_msr(p, DEBUGCTL, BTF);
        p->state.gpr[GPR_RAX] = cases[i].eax;
        PROT_RUN(p, step_branch);
        expect_step(p, cases[i].bytes);
        g_assert_cmphex(prot_msr_value(p, DEBUGCTL), ==, 0);
    }
    prot_free(p);
}

/* ---- SMM ---- */

/* Counts in the ECX that comes back. */
static void load_handler(Prot *p)
{
    extern const uint8_t snip_smm_count[];
    memcpy(p->ram + AT_SMBASE + 0x8000, snip_smm_count, 16);
}

/* The SMI comes together with the trap: SMM first, which knows nothing of the trap. */
static void test_smi_and_trap(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_step[];
    start(p);
    load_handler(p);
    memcpy(p->ram + AT_CODE, snip_step, 16);
    cpu_set_state(p->cpu, &p->state);
    cpu_run(p->cpu, 1, false);
    p->vcpu.requests = VCPU_REQ_SMI;
    cpu_run(p->cpu, 1000, false);
    cpu_get_state(p->cpu, &p->state);
    g_assert_cmphex(p->state.rip, ==, AT_HANDLERS + EXC_DB * 16 + 1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 1);
    g_assert_cmphex(p->state.dr[6] & BS, ==, BS);
    prot_free(p);
}

/* In SMM one stays latched; before SIPI, too. */
static void test_smi_latched(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_count[];
    prot_mode(p, PROT_32, 0);
    load_handler(p);
    p->state.smm = true;
    p->vcpu.requests = VCPU_REQ_SMI;
    prot_run(p, snip_count);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 2);
    g_assert_true(p->state.smm);
    g_assert_cmphex(p->vcpu.requests, ==, VCPU_REQ_SMI);
    p->vcpu.requests = 0;
    prot_mode(p, PROT_REAL, 0);
    load_handler(p);
    p->ram[AT_CODE] = 0xf4;
    p->state.waiting_sipi = true;
    p->vcpu.requests = VCPU_REQ_SMI;
    prot_go(p);
    g_assert_true(p->state.waiting_sipi);
    g_assert_cmphex(p->vcpu.requests, ==, VCPU_REQ_SMI);
    p->vcpu.requests |= VCPU_REQ_SIPI;
    p->vcpu.sipi_vector = AT_CODE >> 12;
    prot_go(p);
    g_assert_false(p->state.smm);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 1);
    g_assert_cmphex(p->state.rip, ==, 1);
    g_assert_cmphex(p->vcpu.requests, ==, 0);
    prot_free(p);
}

void prot_add_debug_tests(void)
{
    g_test_add_func("/cpu/prot/debug/stack-segment", test_stack_segment);
    g_test_add_func("/cpu/prot/debug/hlt", test_hlt);
    g_test_add_func("/cpu/prot/debug/shadow", test_shadow);
    g_test_add_func("/cpu/prot/debug/into", test_into);
    g_test_add_func("/cpu/prot/debug/syscall", test_syscall);
    g_test_add_func("/cpu/prot/debug/repeated", test_repeated);
    g_test_add_func("/cpu/prot/debug/repeated-interrupt", test_repeated_interrupt);
    g_test_add_func("/cpu/prot/debug/branches", test_branches);
    g_test_add_func("/cpu/prot/debug/smi-and-trap", test_smi_and_trap);
    g_test_add_func("/cpu/prot/debug/smi-latched", test_smi_latched);
}
