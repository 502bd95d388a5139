/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control and debug registers, MSRs, CPUID, ports, SMM, INIT, interrupts, the state as a whole. */
#include "prot.h"

/* ---- Control registers ---- */

static void test_cr0(void)
{
    Prot *p = prot_new();
    static const struct {
        uint32_t value;
        int ended;
    } cases[] = {{0x11, PROT_HALT},       {0x31, PROT_HALT},
                 {0x80000010, EXC_GP}, /* PG without PE */
                 {0x20000011, EXC_GP}, /* NW without CD */
                 {0x60000011, PROT_HALT}, {0x0000003f, PROT_HALT}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        prot_mode(p, PROT_32, 0);
        p->state.gpr[GPR_RAX] = cases[i].value;
        PROT_RUN(p, write_cr0);
        prot_expect(p, cases[i].ended, cases[i].ended == EXC_GP ? 0 : -1);
        if (cases[i].ended == PROT_HALT)
            g_assert_cmphex(p->state.gpr[GPR_RCX], ==, cases[i].value | 0x10);
    }
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, write_cr0);
    prot_expect(p, EXC_GP, 0);
    /* Long mode enabled, paging without PAE. */
    prot_mode(p, PROT_32, 0);
    p->state.efer = 0x100;
    p->state.gpr[GPR_RAX] = 0x80000011;
    PROT_RUN(p, write_cr0);
    prot_expect(p, EXC_GP, 0);
    /* LMSW sets PE, but does not clear it. */
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0x0e;
    PROT_RUN(p, lmsw);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0x1f);
    prot_mode(p, PROT_32, 0);
    p->state.cr0 |= 8;
    PROT_RUN(p, clts);
    g_assert_cmphex(p->state.cr0, ==, 0x11);
    prot_free(p);
}

static void test_cr4(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0x6f8;
    PROT_RUN(p, write_cr4);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0x6f8);
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 1 << 15;
    PROT_RUN(p, write_cr4);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 1 << 17; /* PCIDE outside of long mode */
    PROT_RUN(p, write_cr4);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_COMPAT, 0);
    p->state.gpr[GPR_RAX] = 0x200; /* PAE may not go */
    PROT_RUN(p, write_cr4);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

/* ---- Debug ---- */

static void test_debug_registers(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0xffffffff & ~(1u << 13);
    PROT_RUN(p, write_dr7);
    g_assert_cmphex(p->state.dr[7], ==, 0xffff0fff);
    /* General detection: the access faults, and the handler may have them. */
    prot_mode(p, PROT_32, 0);
    p->state.dr[7] = 0x2400;
    PROT_RUN(p, write_dr7);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(p->state.dr[6] & 0x2000, ==, 0x2000);
    g_assert_cmphex(p->state.dr[7], ==, 0x400);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE);
    prot_mode(p, PROT_32, 0);
    p->state.cr4 |= 8;
    PROT_RUN(p, read_dr4);
    prot_expect(p, EXC_UD, -1);
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, read_dr4);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0xffff0ff0);
    prot_mode(p, PROT_64, 0);
    p->state.gpr[GPR_RAX] = 1ull << 32;
    PROT_RUN(p, write_dr6_64);
    prot_expect(p, EXC_GP, 0);
    prot_free(p);
}

static void test_single_step(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_TF;
    PROT_RUN(p, step);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 1);
    g_assert_cmphex(prot_stack(p, 2, 4), ==, FL_TF | 2);
    g_assert_cmphex(p->state.dr[6], ==, 0xffff4ff0);
    g_assert_false(p->state.rflags & FL_TF);
    /* Not behind a MOV SS. */
    prot_mode(p, PROT_32, 0);
    p->state.rflags |= FL_TF;
    p->state.gpr[GPR_RAX] = SEL_DATA0;
    PROT_RUN(p, step_ss);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 3);
    prot_free(p);
}

static void test_breakpoints(void)
{
    Prot *p = prot_new();
    /* Execution: a fault; RF skips it once. */
    prot_mode(p, PROT_32, 0);
    p->state.dr[1] = AT_CODE + 1;
    p->state.dr[7] = 0x404;
    PROT_RUN(p, step);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 1);
    g_assert_cmphex(p->state.dr[6] & 0xf, ==, 2);
    prot_mode(p, PROT_32, 0);
    p->state.dr[1] = AT_CODE;
    p->state.dr[7] = 0x404;
    p->state.rflags |= FL_RF;
    PROT_RUN(p, step);
    prot_expect(p, PROT_HALT, -1);
    g_assert_false(p->state.rflags & FL_RF);
    /* A write of four bytes: a trap behind it. */
    prot_mode(p, PROT_32, 0);
    p->state.dr[0] = AT_DATA;
    p->state.dr[7] = 0xd0401;
    p->state.gpr[GPR_RBX] = AT_DATA + 2;
    PROT_RUN(p, watch);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 5);
    g_assert_cmphex(p->state.dr[6] & 0xf, ==, 1);
    /* A port. */
    prot_mode(p, PROT_32, 0);
    p->state.cr4 |= 8;
    p->state.dr[3] = 0x210;
    p->state.dr[7] = 0x20000440;
    p->state.gpr[GPR_RDX] = 0x210;
    PROT_RUN(p, io_watch);
    prot_expect(p, EXC_DB, -1);
    g_assert_cmphex(prot_stack(p, 0, 4), ==, AT_CODE + 1);
    g_assert_cmphex(p->state.dr[6] & 0xf, ==, 8);
    prot_free(p);
}

/* ---- MSRs, CPUID ---- */

static bool wrmsr(Prot *p, uint32_t index, uint64_t value, uint64_t *back)
{
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RCX] = index;
    p->state.gpr[GPR_RAX] = (uint32_t)value;
    p->state.gpr[GPR_RDX] = value >> 32;
    PROT_RUN(p, wrmsr);
    *back = p->state.gpr[GPR_RAX] | p->state.gpr[GPR_RDX] << 32;
    if (p->ended == EXC_GP)
        g_assert_cmphex(prot_stack(p, 0, 4), ==, 0);
    else
        g_assert_cmpint(p->ended, ==, PROT_HALT);
    return p->ended == PROT_HALT;
}

static bool has_arch_capabilities(void)
{
    g_autoptr(GArray) leaves = g_array_new(FALSE, TRUE, sizeof(CpuidEntry));
    cpu_supported_cpuid(leaves);
    return cpuid_has((const CpuidEntry *)(void *)leaves->data, leaves->len, "arch-capabilities");
}

static void test_msrs(void)
{
    static const struct {
        uint32_t index;
        uint64_t value;
        bool ok;
    } cases[] = {
        {0xc0000080, 0x901, true},
        {0xc0000080, 0x1000, false}, /* SVME */
        {0xc0000082, 0xffff800000001000, true},
        {0xc0000082, 0x0000800000000000, false},
        {0xc0000084, 0x47700, true},
        {0xc0000101, 0xffff888000000000, true},
        {0x174, 0x10, true},
        {0x277, 0x0007010600070106, true},
        {0x277, 0x0207040600070406, false},
        {0x2ff, 0xc06, true},
        {0x2ff, 0x1000, false},
        {0x200, 0xc0000006, true},
        {0x200, 0xc0000002, false},
        {0x201, 0xffc0000800, true},
        {0x201, 0xffc0000001, false},
        {0x268, 0x0606060606060606, true},
        {0x268, 0x0606060606060603, false},
        {0x400, UINT64_MAX, true},
        {0x401, 0, true},
        {0x401, 1, false},
        {0x199, 0x1234, true},
        {0x1a0, 0x1801, true},
        {0xdeadbeef, 0, false},
        {0x3a, 5, false},  /* FEATURE_CONTROL is locked */
        {0x186, 0, false}, /* CPUID tells of no counters */
        {0xc1, 0, false},
        {0x10a, 0, false}, /* ARCH_CAPABILITIES is read-only */
        {0x3b, 0x100, true},
        {0xfe, 0, false}, /* MTRRCAP is read-only */
    };
    Prot *p = prot_new();
    uint64_t back;
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("MSR %#x", cases[i].index);
        bool ok = wrmsr(p, cases[i].index, cases[i].value, &back);
        g_assert_cmpint(ok, ==, cases[i].ok);
        if (ok)
            g_assert_cmphex(back, ==, cases[i].value);
    }
    /* Meltdown and what came after it: not here. */
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RCX] = 0x10a;
    PROT_RUN(p, rdmsr);
    if (has_arch_capabilities())
        g_assert_cmphex(p->state.gpr[GPR_RAX] & 1, ==, 1);
    else
        prot_expect(p, EXC_GP, 0);
    /* TSC and its adjustment move together. */
    p->tsc = 1000;
    g_assert_true(wrmsr(p, 0x10, 5000, &back));
    g_assert_cmphex(p->tsc, ==, 5000);
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, rdmsr);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RCX] = 0x1b;
    PROT_RUN(p, rdmsr);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0xfee00900);
    prot_free(p);
}

/* Every MSR number of the ranges that guests probe is answered or #GP, and read back in the state.
 */
static void test_msr_sweep(void)
{
    Prot *p = prot_new();
    static const uint32_t starts[] = {0, 0x400, 0x600, 0xc0000080, 0xc0010000, 0xc0011000};
    for (unsigned s = 0; s < G_N_ELEMENTS(starts); s++)
        for (unsigned i = 0; i < 0x140; i++) {
            prot_mode(p, PROT_32, 0);
            p->state.gpr[GPR_RCX] = starts[s] + i;
            PROT_RUN(p, rdmsr);
            g_assert_true(p->ended == PROT_HALT || p->ended == EXC_GP);
        }
    prot_free(p);
}

static void test_cpuid(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0;
    PROT_RUN(p, cpuid);
    g_assert_cmphex(p->state.gpr[GPR_RBX], ==, 0x756e6547);
    uint32_t top = (uint32_t)p->state.gpr[GPR_RAX];
    /* OSXSAVE follows CR4. */
    for (unsigned on = 0; on < 2; on++) {
        prot_mode(p, PROT_32, 0);
        p->state.cr4 |= on << 18;
        p->state.gpr[GPR_RAX] = 1;
        PROT_RUN(p, cpuid);
        g_assert_cmpuint(p->state.gpr[GPR_RCX] >> 27 & 1, ==, on);
    }
    /* Beyond the end: the last leaf. */
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = top;
    p->state.gpr[GPR_RCX] = 0;
    PROT_RUN(p, cpuid);
    uint64_t last = p->state.gpr[GPR_RAX];
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = top + 0x100;
    p->state.gpr[GPR_RCX] = 0;
    PROT_RUN(p, cpuid);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, last);
    prot_free(p);
}

static void test_xcr0(void)
{
    Prot *p = prot_new();
    static const struct {
        uint32_t value;
        int ended;
    } cases[] = {{3, PROT_HALT}, {1, PROT_HALT}, {2, EXC_GP},
                 {0, EXC_GP},    {5, EXC_GP},    {0x80000003, EXC_GP}};
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 3;
    PROT_RUN(p, xsetbv);
    prot_expect(p, EXC_UD, -1);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        prot_mode(p, PROT_32, 0);
        p->state.cr4 |= 1 << 18;
        p->state.gpr[GPR_RAX] = cases[i].value;
        PROT_RUN(p, xsetbv);
        prot_expect(p, cases[i].ended, cases[i].ended == EXC_GP ? 0 : -1);
        if (cases[i].ended == PROT_HALT)
            g_assert_cmphex(p->state.xcr0, ==, cases[i].value);
    }
    prot_free(p);
}

static void test_time_and_random(void)
{
    Prot *p = prot_new();
    p->tsc = 0x123456789abc;
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, rdtsc);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x56789abc);
    g_assert_cmphex(p->state.gpr[GPR_RDX], ==, 0x1234);
    prot_mode(p, PROT_32, 3);
    p->state.cr4 |= 4;
    PROT_RUN(p, rdtsc);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_64, 0);
    PROT_RUN(p, rdrand);
    uint64_t first = p->state.gpr[GPR_RAX];
    g_assert_cmpuint(p->state.gpr[GPR_RCX] & 1, ==, 1);
    prot_mode(p, PROT_64, 0);
    PROT_RUN(p, rdrand);
    g_assert_cmphex(p->state.gpr[GPR_RAX], !=, first);
    prot_free(p);
}

/* ---- Interrupts ---- */

static void test_interrupt_window(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->interrupt = 0x40;
    p->vcpu.requests = VCPU_REQ_INTR;
    PROT_RUN(p, sti_nop);
    prot_expect(p, 0x40, -1);
    /* STI holds it off for one instruction; blocks may go on to their end. */
    g_assert_cmpuint(p->state.gpr[GPR_RCX], >=, 1);
    g_assert_cmphex(prot_stack(p, 0, 4), >=, AT_CODE + 2);
    /* An NMI masks the next until IRET. */
    prot_mode(p, PROT_32, 0);
    p->vcpu.requests = VCPU_REQ_NMI;
    PROT_RUN(p, step);
    prot_expect(p, EXC_NMI, -1);
    g_assert_true(p->state.nmi_masked);
    p->vcpu.requests = 0;
    prot_mode(p, PROT_32, 3);
    PROT_RUN(p, user_cli);
    prot_expect(p, EXC_GP, 0);
    prot_mode(p, PROT_32, 3);
    p->state.rflags |= FL_IOPL | FL_IF;
    PROT_RUN(p, user_cli);
    prot_expect(p, DONE, -1);
    g_assert_false(prot_stack(p, 2, 4) & FL_IF);
    /* PVI: VIF for IF. */
    prot_mode(p, PROT_32, 3);
    p->state.cr4 |= 2;
    p->state.rflags |= FL_VIF | FL_IF;
    PROT_RUN(p, user_cli);
    prot_expect(p, DONE, -1);
    g_assert_cmphex(prot_stack(p, 2, 4) & (FL_VIF | FL_IF), ==, FL_IF);
    prot_free(p);
}

/* ---- Ports ---- */

static void test_ports(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RAX] = 0x11223344;
    p->state.gpr[GPR_RDX] = 0x220;
    p->port_next = 0xa0b0c0d0;
    PROT_RUN(p, in_out);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmpuint(p->port_count, ==, 6);
    static const uint32_t values[] = {0x44, 0x3344, 0x11223344};
    static const uint8_t sizes[] = {1, 2, 4};
    for (unsigned i = 0; i < 6; i++) {
        g_assert_cmpuint(p->port_log[i].size, ==, sizes[i % 3]);
        g_assert_cmpint(p->port_log[i].write, ==, i < 3);
        if (i < 3)
            g_assert_cmphex(p->port_log[i].value, ==, values[i]);
    }
    g_assert_cmphex(p->state.gpr[GPR_RBX] & 0xff, ==, 0xd0);
    g_assert_cmphex(p->state.gpr[GPR_RCX] & 0xffff, ==, 0xc0d1);
    g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0xa0b0c0d2);
    prot_free(p);
}

static void test_port_map(void)
{
    Prot *p = prot_new();
    static const struct {
        uint16_t port;
        uint32_t clear; /* the one port that is allowed; four from it on with wide */
        bool wide, wide_map;
        bool ok;
    } cases[] = {
        {0x220, 0x220, false, false, true}, {0x221, 0x220, false, false, false},
        {0x220, 0x220, true, false, false}, {0x220, 0x220, true, true, true},
        {0x26, 0x26, true, true, true}, /* over a byte's border */
        {0x3f8, 0x3f8, false, false, true}, {0x400, 0x3ff, false, false, false},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("case %u", i);
        prot_mode(p, PROT_32, 3);
        for (unsigned b = 0; b < (cases[i].wide_map ? 4 : 1); b++) {
            unsigned bit = cases[i].clear + b;
            p->ram[AT_TSS_A + TSS_IO_MAP + bit / 8] &= (uint8_t) ~(1 << bit % 8);
        }
        p->state.gpr[GPR_RDX] = cases[i].port;
        if (cases[i].wide)
            PROT_RUN(p, out_user32);
        else
            PROT_RUN(p, out_user);
        prot_expect(p, cases[i].ok ? DONE : EXC_GP, cases[i].ok ? -1 : 0);
    }
    /* IOPL 3 needs no map; a 16-bit TSS has none. */
    prot_mode(p, PROT_32, 3);
    p->state.rflags |= FL_IOPL;
    p->state.gpr[GPR_RDX] = 0x220;
    PROT_RUN(p, out_user);
    prot_expect(p, DONE, -1);
    prot_free(p);
}

static void test_port_strings(void)
{
    Prot *p = prot_new();
    /* Over a page's border, in two runs. */
    prot_mode(p, PROT_32, 0);
    p->state.gpr[GPR_RDI] = 0xbff0;
    p->state.gpr[GPR_RCX] = 16;
    p->state.gpr[GPR_RDX] = 0x220;
    p->port_next = 1;
    PROT_RUN(p, rep_insw);
    prot_expect(p, PROT_HALT, -1);
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(ld16_le(p->ram + 0xbff0 + 2 * i), ==, i + 1);
    g_assert_cmphex(p->state.gpr[GPR_RDI], ==, 0xc010);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0);

    /* The segment's end comes after four: they are done, the fifth faults, and it can go on. */
    prot_mode(p, PROT_32, 0);
    prot_segment(p, SEG_DS, SEL_SMALL);
    for (unsigned i = 0; i < 4; i++)
        st32_le(p->ram + 0xff0 + 4 * i, 0x1000 + i);
    p->state.gpr[GPR_RSI] = 0xff0;
    p->state.gpr[GPR_RCX] = 10;
    p->state.gpr[GPR_RDX] = 0x220;
    PROT_RUN(p, rep_outsd);
    prot_expect(p, EXC_GP, 0);
    g_assert_cmpuint(p->port_count, ==, 4);
    g_assert_cmphex(p->port_log[3].value, ==, 0x1003);
    g_assert_cmphex(p->state.gpr[GPR_RSI], ==, 0x1000);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 6);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);

    prot_mode(p, PROT_32, 0);
    memcpy(p->ram + AT_DATA, "\1\2\3\4", 4);
    p->state.gpr[GPR_RSI] = AT_DATA + 3;
    p->state.gpr[GPR_RCX] = 4;
    p->state.gpr[GPR_RDX] = 0x220;
    PROT_RUN(p, rep_outsb_down);
    prot_expect(p, PROT_HALT, -1);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpuint(p->port_log[i].value, ==, 4 - i);
    g_assert_cmphex(p->state.gpr[GPR_RSI], ==, AT_DATA - 1);

    /* DI wraps in 16 bits and leaves the upper half alone. */
    prot_mode(p, PROT_REAL, 0);
    p->state.seg[SEG_ES].base = 0x20000;
    p->state.gpr[GPR_RDI] = 0xabcdfffe;
    p->state.gpr[GPR_RCX] = 0x12340004;
    p->state.gpr[GPR_RDX] = 0x220;
    p->port_next = 0x41;
    PROT_RUN(p, rep_insb16);
    prot_expect(p, PROT_HALT, -1);
    g_assert_cmphex(p->state.gpr[GPR_RDI], ==, 0xabcd0002);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 0x12340000);
    g_assert_cmpuint(p->ram[0x2ffff], ==, 0x42);
    g_assert_cmpuint(p->ram[0x20000], ==, 0x43);
    prot_free(p);
}

/* A page that is not there: INS takes nothing from the port. */
static void test_port_page_fault(void)
{
    Prot *p = prot_new();
    extern const uint8_t snip_rep_insw[];
    prot_mode(p, PROT_COMPAT, 0);
    st64_le(p->ram + AT_PAGES + 0x2008, 0x200082); /* not present */
    p->state.gpr[GPR_RDI] = 0x1ffffc;
    p->state.gpr[GPR_RCX] = 8;
    p->state.gpr[GPR_RDX] = 0x220;
    prot_run(p, snip_rep_insw);
    prot_expect(p, EXC_PF, 2);
    g_assert_cmphex(p->state.cr2, ==, 0x200000);
    g_assert_cmpuint(p->port_count, ==, 2);
    g_assert_cmphex(p->state.gpr[GPR_RCX], ==, 6);
    g_assert_cmphex(prot_stack(p, 1, 8), ==, AT_CODE);
    prot_free(p);
}

/* ---- SMM, INIT ---- */

static void test_smm(void)
{
    Prot *p = prot_new();
    for (unsigned wide = 0; wide < 2; wide++) {
        prot_mode(p, wide ? PROT_64 : PROT_32, wide ? 0 : 3);
        extern const uint8_t snip_smm_handler[], snip_count[], snip_done[];
        memcpy(p->ram + AT_SMBASE + 0x8000, snip_smm_handler, 64);
        p->state.gpr[GPR_RAX] = 0x40000;
        p->state.gpr[GPR_RBX] = 0x7777777700000000ull * wide + 0xbbbb;
        p->state.rflags |= FL_CF;
        p->vcpu.requests = VCPU_REQ_SMI;
        prot_run(p, wide ? snip_count : snip_done);
        prot_expect(p, wide ? PROT_HALT : DONE, -1);
        /* All registers are what they were, and the base has moved. */
        g_assert_cmphex(p->state.gpr[GPR_RAX], ==, 0x40000);
        g_assert_cmphex(p->state.gpr[GPR_RBX], ==, 0x7777777700000000ull * wide + 0xbbbb);
        g_assert_false(p->state.smm);
        g_assert_false(p->state.nmi_masked);
        const uint8_t *map = p->ram + AT_SMBASE + 0x8000;
        g_assert_cmphex(ld32_le(map + 0x7efc), ==, 0x20064);
        g_assert_cmphex(ld32_le(map + 0x7f00), ==, 0x40000);
        g_assert_cmphex(ld64_le(map + 0x7ff8), ==, 0x40000);
        g_assert_cmphex(ld64_le(map + 0x7f78), ==, AT_CODE);
        g_assert_cmphex(ld16_le(map + 0x7e10), ==, wide ? SEL_CODE64 : SEL_CODE3 | 3);
        g_assert_cmphex(ld64_le(map + 0x7ed0) & 0x500, ==, wide ? 0x500 : 0);
        g_assert_cmphex(ld32_le(map + 0x7f58) & 1, ==, 1);
        bool moved = false;
        for (unsigned i = 0; i < p->state.msr_count; i++)
            moved |= p->state.msrs[i].index == 0x9e && p->state.msrs[i].value == 0x40000;
        g_assert_true(moved);
    }
    /* RSM elsewhere is undefined. */
    p->vcpu.requests = 0;
    prot_mode(p, PROT_32, 0);
    PROT_RUN(p, rsm);
    prot_expect(p, EXC_UD, -1);
    prot_free(p);
}

/* What an SMI handler may put into the map and the processor cannot take: shutdown. */
static void test_bad_rsm(void)
{
    Prot *p = prot_new();
    static const struct {
        uint16_t offset;
        uint64_t value;
    } cases[] = {{0x7f58, 0x80000010}, {0x7f48, 1ull << 40}, {0x7ed0, 0x500}};
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        prot_mode(p, PROT_REAL, 0);
        p->state.smm = true;
        uint8_t *map = p->ram + AT_SMBASE + 0x8000;
        memset(map + 0x7e00, 0, 0x200);
        st64_le(map + 0x7f58, 0x10);
        st64_le(map + cases[i].offset, cases[i].value);
        extern const uint8_t snip_rsm[];
        prot_run(p, snip_rsm);
        g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    }
    prot_free(p);
}

/* A processor that has no memory for it, but is told to be in the mode. */
static void test_rsm_alone(void)
{
    Prot *p = prot_new();
    cpu_set_smm_memory(p->cpu, NULL);
    prot_mode(p, PROT_REAL, 0);
    p->state.smm = true;
    memset(p->ram + AT_SMBASE + 0xfe00, 0xff, 0x200);
    PROT_RUN(p, rsm);
    g_assert_cmpint(p->ended, ==, PROT_TRIPLE);
    prot_free(p);
}

static void test_init(void)
{
    Prot *p = prot_new();
    p->apic_base = 0xfee00800; /* not the bootstrap processor: it waits */
    prot_mode(p, PROT_64, 0);
    p->state.xsave[160] = 0x77; /* XMM0 outlives INIT */
    st64_le(p->state.xsave + 512, 3);
    p->vcpu.requests = VCPU_REQ_INIT;
    PROT_RUN(p, hlt);
    g_assert_cmphex(p->state.rip, ==, 0xfff0);
    g_assert_cmphex(p->state.seg[SEG_CS].base, ==, 0xffff0000);
    g_assert_cmphex(p->state.efer, ==, 0);
    g_assert_cmphex(p->state.cr0, ==, 0x10);
    g_assert_cmphex(p->state.xsave[160], ==, 0x77);
    g_assert_true(p->state.waiting_sipi);
    /* An NMI does not wake it, a SIPI does. */
    p->vcpu.requests = VCPU_REQ_NMI;
    prot_go(p);
    g_assert_true(p->state.waiting_sipi);
    p->state.nmi_pending = false;
    p->vcpu.requests = VCPU_REQ_SIPI;
    p->vcpu.sipi_vector = AT_CODE >> 12;
    prot_go(p);
    g_assert_cmphex(p->state.seg[SEG_CS].selector, ==, AT_CODE >> 4);
    g_assert_cmphex(p->state.seg[SEG_CS].base, ==, AT_CODE);
    g_assert_cmphex(p->state.rip, ==, 1);
    g_assert_false(p->state.waiting_sipi);
    prot_free(p);
}

static void test_state(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_64, 3);
    for (unsigned i = 0; i < 16; i++)
        p->state.gpr[i] = 0x1111111111111111ull * i;
    p->state.rflags = 0x3202d7;
    p->state.dr[0] = 0x1234;
    p->state.nmi_masked = p->state.interrupt_shadow = true;
    p->state.cr2 = 0xdead;
    for (unsigned i = 0; i < p->state.msr_count; i++)
        if (p->state.msrs[i].index == 0xc0000102)
            p->state.msrs[i].value = 0xffff888000000000;
    cpu_set_state(p->cpu, &p->state);
    g_autofree CpuState *back = g_new(CpuState, 1);
    cpu_get_state(p->cpu, back);
    g_assert_cmpmem(&p->state, offsetof(CpuState, xsave), back, offsetof(CpuState, xsave));
    g_assert_cmpuint(back->msr_count, ==, p->state.msr_count);
    g_assert_cmpmem(p->state.msrs, sizeof(CpuMsr) * back->msr_count, back->msrs,
                    sizeof(CpuMsr) * back->msr_count);
    g_assert_true(back->nmi_masked);
    g_assert_true(back->interrupt_shadow);
    prot_free(p);
}

/* What another engine was about to deliver comes first. */
static void test_pending_events(void)
{
    Prot *p = prot_new();
    prot_mode(p, PROT_32, 3);
    p->state.exception_pending = p->state.exception_has_error = true;
    p->state.exception_vector = EXC_GP;
    p->state.exception_error = 0x1234;
    PROT_RUN(p, done);
    prot_expect(p, EXC_GP, 0x1234);
    g_assert_cmphex(prot_stack(p, 1, 4), ==, AT_CODE);
    prot_mode(p, PROT_32, 0);
    p->state.interrupt_pending = true;
    p->state.interrupt_vector = 0x41;
    p->ram[AT_IDT + 0x41 * 8 + 5] &= 0x7f;
    PROT_RUN(p, hlt);
    prot_expect(p, EXC_NP, 0x41 * 8 + 3);
    prot_free(p);
}

void prot_add_system_tests(void)
{
    g_test_add_func("/cpu/prot/pending-events", test_pending_events);
    g_test_add_func("/cpu/prot/cr0", test_cr0);
    g_test_add_func("/cpu/prot/cr4", test_cr4);
    g_test_add_func("/cpu/prot/debug-registers", test_debug_registers);
    g_test_add_func("/cpu/prot/single-step", test_single_step);
    g_test_add_func("/cpu/prot/breakpoints", test_breakpoints);
    g_test_add_func("/cpu/prot/msrs", test_msrs);
    g_test_add_func("/cpu/prot/msr-sweep", test_msr_sweep);
    g_test_add_func("/cpu/prot/cpuid", test_cpuid);
    g_test_add_func("/cpu/prot/xcr0", test_xcr0);
    g_test_add_func("/cpu/prot/time-and-random", test_time_and_random);
    g_test_add_func("/cpu/prot/interrupt-window", test_interrupt_window);
    g_test_add_func("/cpu/prot/ports", test_ports);
    g_test_add_func("/cpu/prot/port-map", test_port_map);
    g_test_add_func("/cpu/prot/port-strings", test_port_strings);
    g_test_add_func("/cpu/prot/port-page-fault", test_port_page_fault);
    g_test_add_func("/cpu/prot/smm", test_smm);
    g_test_add_func("/cpu/prot/bad-rsm", test_bad_rsm);
    g_test_add_func("/cpu/prot/rsm-alone", test_rsm_alone);
    g_test_add_func("/cpu/prot/init", test_init);
    g_test_add_func("/cpu/prot/state", test_state);
}
