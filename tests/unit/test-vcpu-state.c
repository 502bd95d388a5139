/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CpuState: power-on values, the page walk in each mode, code size, `info registers`. */
#include <string.h>

#include "cpu/state.h"
#include "util/bytes.h"

enum {
    CR0_PE = 1u << 0,
    CR0_PG = 1u << 31,
    CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5,
    CR4_LA57 = 1u << 12,
    EFER_LMA = 1u << 10,
    P = 1,
    PS = 1 << 7,
    MEMORY = 0x10000,
};

static uint8_t memory[MEMORY];
static CpuState state;

static bool read_memory(void *opaque, uint64_t addr, void *buf, unsigned length)
{
    g_assert_true(opaque == memory);
    if (addr > MEMORY - length)
        return false;
    memcpy(buf, memory + addr, length);
    return true;
}

static void start(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr3)
{
    memset(memory, 0, sizeof(memory));
    cpu_state_reset(&state, true, 0, 0);
    state.cr0 = cr0;
    state.cr4 = cr4;
    state.efer = efer;
    state.cr3 = cr3;
}

static void expect(uint64_t linear, uint64_t physical)
{
    uint64_t result = 0;
    g_assert_true(cpu_state_translate(&state, linear, &result, read_memory, memory));
    g_assert_cmphex(result, ==, physical);
}

static void expect_unmapped(uint64_t linear)
{
    uint64_t result;
    g_assert_false(cpu_state_translate(&state, linear, &result, read_memory, memory));
}

static void test_no_paging(void)
{
    start(CR0_PE, 0, 0, 0);
    expect(0x12345678, 0x12345678);
    expect(0x112345678, 0x12345678); /* addresses wrap at 4 GiB */
}

static void test_32bit(void)
{
    start(CR0_PE | CR0_PG, 0, 0, 0x1018); /* the low bits of CR3 are flags */
    st32_le(memory + 0x1000 + 4 * 1, 0x2000 | P);
    st32_le(memory + 0x2000 + 4 * 3, 0xabcde000 | P | 0xfe0);
    st32_le(memory + 0x2000 + 4 * 4, 0xabcde000); /* not present */
    st32_le(memory + 0x1000 + 4 * 2, 0x00800000 | P | PS);
    expect(0x00403123, 0xabcde123);
    expect_unmapped(0x00404000);
    expect_unmapped(0);
    /* Without CR4.PSE the bit means nothing: a table at 8 MiB, which is not there. */
    expect_unmapped(0x00812345);
    state.cr4 = CR4_PSE;
    expect(0x00812345, 0x00812345);
    st32_le(memory + 0x1000 + 4 * 2, 0x00c00000 | 0x5 << 13 | P | PS); /* PSE-36 */
    expect(0x00812345, 0x500c12345);
}

static void test_pae(void)
{
    start(CR0_PE | CR0_PG, CR4_PAE, 0, 0x1020);
    st64_le(memory + 0x1020 + 8 * 3, 0x2000 | P);
    st64_le(memory + 0x2000 + 8 * 1, 0x3000 | P);
    st64_le(memory + 0x3000 + 8 * 5, 0x8000001234567000 | P); /* NX is not address */
    st64_le(memory + 0x2000 + 8 * 2, 0x0000000f80000000 | P | PS);
    expect(0xc0205abc, 0x1234567abc);
    expect(0xc0412345, 0xf80012345);
    expect_unmapped(0x00000000);
    expect_unmapped(0xc0206000);
}

static void test_long_mode(void)
{
    start(CR0_PE | CR0_PG, CR4_PAE, EFER_LMA, 0x1000);
    st64_le(memory + 0x1000 + 8 * 511, 0x2000 | P);
    st64_le(memory + 0x1000 + 8 * 0, 0x2000 | P);
    st64_le(memory + 0x2000 + 8 * 510, 0x3000 | P);
    st64_le(memory + 0x3000 + 8 * 8, 0x4000 | P);
    st64_le(memory + 0x4000 + 8 * 1, 0x5000 | P);
    st64_le(memory + 0x3000 + 8 * 9, 0x0000000040200000 | P | PS | 0x1000); /* 2 MiB, PAT bit */
    st64_le(memory + 0x2000 + 8 * 1, 0x0000000080000000 | P | PS);          /* 1 GiB */
    expect(0xffffffff81001234, 0x5234);
    expect(0xffffffff81234567, 0x40234567);
    expect(0x0000000052345678, 0x92345678);
    expect_unmapped(0xffffffff80000000);
    expect_unmapped(0x0000ff8001000000); /* not canonical */
    expect_unmapped(0x7fff81001234);
}

static void test_la57(void)
{
    start(CR0_PE | CR0_PG, CR4_PAE | CR4_LA57, EFER_LMA, 0x1000);
    st64_le(memory + 0x1000 + 8 * 1, 0x2000 | P);
    st64_le(memory + 0x2000 + 8 * 0, 0x3000 | P);
    st64_le(memory + 0x3000 + 8 * 0, 0x0000000040000000 | P | PS);
    expect(0x0001000000000123, 0x40000123);
    expect_unmapped(0x0000000000000123);
}

/* Tables that point out of memory, or at themselves, end in an answer. */
static void test_hostile_tables(void)
{
    start(CR0_PE | CR0_PG, CR4_PAE, EFER_LMA, 0x000ffffffffff000);
    expect_unmapped(0);
    start(CR0_PE | CR0_PG, CR4_PAE, EFER_LMA, 0x1000);
    for (unsigned i = 0; i < 512; i++)
        st64_le(memory + 0x1000 + 8 * i, 0x1000 | P);
    expect(0, 0x1000);
    expect(0xfffffffffffff000, 0x1000);
}

static void test_code_bits(void)
{
    start(0, 0, 0, 0);
    g_assert_cmpuint(cpu_state_code_bits(&state), ==, 16);
    state.cr0 = CR0_PE;
    g_assert_cmpuint(cpu_state_code_bits(&state), ==, 16);
    state.seg[SEG_CS].attr |= ATTR_DB;
    g_assert_cmpuint(cpu_state_code_bits(&state), ==, 32);
    state.rflags |= 1 << 17; /* virtual 8086 */
    g_assert_cmpuint(cpu_state_code_bits(&state), ==, 16);
    state.rflags = 2;
    state.efer = EFER_LMA;
    state.seg[SEG_CS].attr = (state.seg[SEG_CS].attr & ~ATTR_DB) | ATTR_L;
    g_assert_cmpuint(cpu_state_code_bits(&state), ==, 64);
}

static void test_reset(void)
{
    cpu_state_reset(&state, true, 0, 0x12345);
    g_assert_cmphex(state.rip, ==, 0xfff0);
    g_assert_cmphex(state.seg[SEG_CS].base, ==, 0xffff0000);
    g_assert_cmphex(state.gpr[GPR_RDX], ==, 0x12345);
    g_assert_cmphex(state.cr0, ==, 0x60000010);
    g_assert_false(state.waiting_sipi);
    g_assert_cmphex(ld32_le(state.apic + 0x350), ==, 0x700);
    cpu_state_reset(&state, false, 5, 0);
    g_assert_true(state.waiting_sipi);
    g_assert_cmphex(state.apic_base, ==, 0xfee00800);
    g_assert_cmphex(ld32_le(state.apic + 0x20), ==, 5u << 24);
    g_assert_cmphex(ld32_le(state.apic + 0x350), ==, 0x10000);
}

/* The lines that scripts look for in QEMU's output. */
static void test_describe(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    cpu_state_reset(&state, true, 0, 0x633);
    state.rflags = 0x446;
    cpu_state_describe(&state, 0, true, false, out);
    g_assert_true(g_str_has_prefix(out->str, "CPU#0\n"
                                             "EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000633\n"
                                             "ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000\n"
                                             "EIP=0000fff0 EFL=00000446 [D--Z-P-] CPL=0 II=0 A20=1 "
                                             "SMM=0 HLT=0\n"
                                             "ES =0000 00000000 0000ffff 00009300\n"
                                             "CS =f000 ffff0000 0000ffff 00009b00\n"));
    g_assert_nonnull(strstr(out->str, "GDT=     00000000 0000ffff\n"));
    g_assert_nonnull(strstr(out->str, "CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000\n"));
    g_assert_nonnull(strstr(out->str, "FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\n"));
    g_assert_nonnull(strstr(out->str, "EFER=0000000000000000\n"));
    g_assert_nonnull(strstr(out->str, "XMM15=0000000000000000 0000000000000000\n"));
    g_assert_null(strstr(out->str, "XCR0"));
    g_string_truncate(out, 0);
    state.xcr0 = 7;
    st64_le(state.xsave + 160 + 16, 0x1111);
    st64_le(state.xsave + 576 + 24, 0x4444);
    state.cr8 = 5;
    state.msr_count = 5;
    state.msrs[0] = (CpuMsr){0x174, 0x10};
    state.msrs[1] = (CpuMsr){0xc0000082, 0xffffffff81000000};
    state.msrs[2] = (CpuMsr){0xc0000102, 0x7777};
    state.msrs[3] = (CpuMsr){0x1234, 0x9999};
    state.msrs[4] = (CpuMsr){0x277, 0x7040600070406};
    state.cr0 |= CR0_PE;
    state.efer = EFER_LMA;
    state.seg[SEG_CS].attr |= ATTR_L;
    state.gpr[15] = 0xfedcba9876543210;
    cpu_state_describe(&state, 3, false, true, out);
    g_assert_true(g_str_has_prefix(out->str, "CPU#3\nRAX=0000000000000000 RBX="));
    g_assert_nonnull(strstr(out->str, "R15=fedcba9876543210\nRIP=000000000000fff0 RFL=00000446"));
    g_assert_nonnull(strstr(out->str, " A20=0 "));
    g_assert_nonnull(strstr(out->str, "YMM01=0000000000004444 0000000000000000 0000000000000000 "
                                      "0000000000001111\n"));
    g_assert_null(strstr(out->str, "XMM"));
    g_assert_nonnull(
        strstr(out->str, "CR8=5 XCR0=0000000000000007\nAPIC_BASE=00000000fee00900 TSC="));
    g_assert_true(g_str_has_suffix(out->str, "\nLSTAR=ffffffff81000000 KERNEL_GS=0000000000007777 "
                                             "SYSENTER_CS=0000000000000010\n"
                                             "PAT=0007040600070406\n"));
    g_assert_nonnull(strstr(out->str, "DPL=0 CS64 [-RA]\n"));
    g_assert_nonnull(strstr(out->str, "DPL=0 TSS64-busy\n"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-state/no-paging", test_no_paging);
    g_test_add_func("/cpu-state/32bit", test_32bit);
    g_test_add_func("/cpu-state/pae", test_pae);
    g_test_add_func("/cpu-state/long-mode", test_long_mode);
    g_test_add_func("/cpu-state/la57", test_la57);
    g_test_add_func("/cpu-state/hostile-tables", test_hostile_tables);
    g_test_add_func("/cpu-state/code-bits", test_code_bits);
    g_test_add_func("/cpu-state/reset", test_reset);
    g_test_add_func("/cpu-state/describe", test_describe);
    return g_test_run();
}
