/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be said of a processor's state without an engine: power-on values (Intel SDM vol. 3,
 * table 9-1), the page walk (vol. 3, ch. 4), and `info registers`.
 */
#include "cpu/state.h"

#include <inttypes.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"

enum {
    CR0_PE = 1u << 0,
    CR0_PG = 1u << 31,
    CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5,
    CR4_LA57 = 1u << 12,
    EFER_LME = 1u << 8,
    EFER_LMA = 1u << 10,
    RFLAGS_VM = 1u << 17,
};
enum { PTE_PRESENT = 1, PTE_LARGE = 1 << 7 };
#define PTE_ADDRESS 0x000ffffffffff000ULL

/* ---- Power-on ---- */

static CpuSegment reset_segment(uint16_t attr)
{
    return (CpuSegment){.limit = 0xffff, .attr = attr};
}

/* Registers of the local APIC, by offset in its page (Intel SDM vol. 3, 11.4.7.1). */
static void reset_apic(uint8_t *apic, bool bootstrap, uint32_t apic_id)
{
    enum {
        APIC_ID = 0x20,
        APIC_VERSION = 0x30,
        APIC_DFR = 0xe0,
        APIC_SVR = 0xf0,
        APIC_LVT_TIMER = 0x320,
        APIC_LVT_LINT0 = 0x350,
        APIC_LVT_ERROR = 0x370,
        LVT_MASKED = 1 << 16,
        LVT_EXTINT = 7 << 8,
    };
    st32_le(apic + APIC_ID, apic_id << 24);
    st32_le(apic + APIC_VERSION, 0x50014);
    st32_le(apic + APIC_DFR, 0xffffffff);
    st32_le(apic + APIC_SVR, 0xff);
    for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 0x10)
        st32_le(apic + lvt, LVT_MASKED);
    /* Firmware expects the 8259's interrupts on the bootstrap processor from the start. */
    if (bootstrap)
        st32_le(apic + APIC_LVT_LINT0, LVT_EXTINT);
}

static void reset_fpu(CpuState *state)
{
    enum { FX_FCW = 0, FX_MXCSR = 24, FX_SIZE = 512, XSAVE_HEADER = 64, XSTATE_LEGACY = 3 };
    st16_le(state->xsave + FX_FCW, 0x37f);
    st32_le(state->xsave + FX_MXCSR, 0x1f80);
    st64_le(state->xsave + FX_SIZE, XSTATE_LEGACY);
    state->xsave_size = FX_SIZE + XSAVE_HEADER;
    state->xcr0 = 1;
}

void cpu_state_reset(CpuState *state, bool bootstrap, uint32_t apic_id, uint32_t signature)
{
    memset(state, 0, sizeof(*state));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state->seg[i] = reset_segment(ATTR_P | ATTR_S | 0x3);
    state->seg[SEG_CS] = reset_segment(ATTR_P | ATTR_S | 0xb);
    state->seg[SEG_CS].selector = 0xf000;
    state->seg[SEG_CS].base = 0xffff0000;
    state->ldt = reset_segment(ATTR_P | 0x2);
    state->tr = reset_segment(ATTR_P | 0xb);
    state->gdt_limit = state->idt_limit = 0xffff;
    state->rip = 0xfff0;
    state->rflags = 2;
    state->gpr[GPR_RDX] = signature;
    state->cr0 = 0x60000010;
    state->dr[6] = 0xffff0ff0;
    state->dr[7] = 0x400;
    state->apic_base = 0xfee00000 | 1 << 11 | (bootstrap ? 1 << 8 : 0);
    state->waiting_sipi = !bootstrap;
    reset_fpu(state);
    state->apic_valid = true;
    reset_apic(state->apic, bootstrap, apic_id);
}

/* ---- Code size and page walk ---- */

unsigned cpu_state_code_bits(const CpuState *state)
{
    if (!(state->cr0 & CR0_PE) || (state->rflags & RFLAGS_VM))
        return 16;
    if ((state->efer & EFER_LMA) && (state->seg[SEG_CS].attr & ATTR_L))
        return 64;
    return state->seg[SEG_CS].attr & ATTR_DB ? 32 : 16;
}

typedef struct Walk {
    bool (*read)(void *opaque, uint64_t addr, void *buf, unsigned length);
    void *opaque;
} Walk;

/* One entry of 4 or 8 bytes; false if it cannot be read or is not present. */
static bool walk_entry(const Walk *walk, uint64_t addr, unsigned size, uint64_t *entry)
{
    uint8_t bytes[8];
    if (!walk->read(walk->opaque, addr, bytes, size))
        return false;
    *entry = ldn_le(bytes, size);
    return *entry & PTE_PRESENT;
}

/* Two levels of 4-byte entries, with 4 MiB pages under CR4.PSE (PSE-36 for the upper bits). */
static bool walk_32(const CpuState *state, const Walk *walk, uint32_t linear, uint64_t *physical)
{
    uint64_t entry;
    if (!walk_entry(walk, (state->cr3 & 0xfffff000) + (linear >> 22) * 4, 4, &entry))
        return false;
    if ((state->cr4 & CR4_PSE) && (entry & PTE_LARGE)) {
        *physical = (entry & 0xffc00000) | bits_get(entry, 13, 8) << 32 | (linear & 0x3fffff);
        return true;
    }
    if (!walk_entry(walk, (entry & 0xfffff000) + bits_get(linear, 12, 10) * 4, 4, &entry))
        return false;
    *physical = (entry & 0xfffff000) | (linear & 0xfff);
    return true;
}

/* 8-byte entries from `level` (5: PML5 ... 1: page table) on down, 9 bits of the address each. */
static bool walk_64(const Walk *walk, uint64_t table, unsigned level, uint64_t linear,
                    uint64_t *physical)
{
    uint64_t entry;
    for (;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        if (!walk_entry(walk, table + bits_get(linear, shift, 9) * 8, 8, &entry))
            return false;
        bool large = (entry & PTE_LARGE) && (level == 2 || level == 3);
        if (level == 1 || large) {
            uint64_t offset_mask = (1ULL << shift) - 1;
            *physical = (entry & PTE_ADDRESS & ~offset_mask) | (linear & offset_mask);
            return true;
        }
        table = entry & PTE_ADDRESS;
    }
}

/* Four page-directory pointers in one 32-byte row; they have no large pages. */
static bool walk_pae(const CpuState *state, const Walk *walk, uint32_t linear, uint64_t *physical)
{
    uint64_t entry;
    if (!walk_entry(walk, (state->cr3 & 0xffffffe0) + (linear >> 30) * 8, 8, &entry))
        return false;
    return walk_64(walk, entry & PTE_ADDRESS, 2, linear, physical);
}

bool cpu_state_translate(const CpuState *state, uint64_t linear, uint64_t *physical,
                         bool (*read)(void *opaque, uint64_t addr, void *buf, unsigned length),
                         void *opaque)
{
    Walk walk = {read, opaque};
    if (state->efer & EFER_LMA) {
        unsigned levels = state->cr4 & CR4_LA57 ? 5 : 4;
        unsigned width = 12 + 9 * levels;
        int64_t canonical = (int64_t)(linear << (64 - width)) >> (64 - width);
        return (uint64_t)canonical == linear &&
               walk_64(&walk, state->cr3 & PTE_ADDRESS, levels, linear, physical);
    }
    linear &= 0xffffffff;
    if (!(state->cr0 & CR0_PG)) {
        *physical = linear;
        return true;
    }
    if (state->cr4 & CR4_PAE)
        return walk_pae(state, &walk, (uint32_t)linear, physical);
    return walk_32(state, &walk, (uint32_t)linear, physical);
}

/* ---- info registers ---- */

static void describe_gprs(const CpuState *state, bool wide, GString *out)
{
    static const char names64[16][4] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                        "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const uint8_t order[8] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX,
                                     GPR_RSI, GPR_RDI, GPR_RBP, GPR_RSP};
    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        unsigned reg = i < 8 ? order[i] : i;
        char end = i % 4 == 3 ? '\n' : ' ';
        if (wide)
            g_string_append_printf(out, "%s=%016" PRIx64 "%c", names64[reg], state->gpr[reg], end);
        else
            g_string_append_printf(out, "E%s=%08x%c", names64[reg] + 1, (uint32_t)state->gpr[reg],
                                   end);
    }
}

static void describe_rip(const CpuState *state, bool wide, bool a20, GString *out)
{
    static const struct {
        uint32_t bit;
        char letter;
    } flags[] = {{1 << 11, 'O'}, {1 << 7, 'S'}, {1 << 6, 'Z'}, {1 << 4, 'A'},
                 {1 << 2, 'P'},  {1 << 0, 'C'}, {1 << 10, 'D'}};
    char text[8];
    /* QEMU's order: D first. */
    text[0] = state->rflags & flags[6].bit ? flags[6].letter : '-';
    for (unsigned i = 0; i < 6; i++)
        text[i + 1] = state->rflags & flags[i].bit ? flags[i].letter : '-';
    text[7] = 0;
    unsigned cpl = (state->seg[SEG_SS].attr & ATTR_DPL) >> 5;
    bool halted = state->halted || state->waiting_sipi;
    if (wide)
        g_string_append_printf(out, "RIP=%016" PRIx64 " RFL=%08x", state->rip,
                               (uint32_t)state->rflags);
    else
        g_string_append_printf(out, "EIP=%08x EFL=%08x", (uint32_t)state->rip,
                               (uint32_t)state->rflags);
    g_string_append_printf(out, " [%s] CPL=%u II=%d A20=%d SMM=%d HLT=%d\n", text, cpl,
                           state->interrupt_shadow, a20, state->smm, halted);
}

static void describe_system_type(const CpuSegment *seg, bool long_mode, GString *out)
{
    static const char *const types[2][16] = {
        {"Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16",
         "TrapGate16", "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved",
         "IntGate32", "TrapGate32"},
        {"<hiword>", "Reserved", "LDT", "Reserved", "Reserved", "Reserved", "Reserved", "Reserved",
         "Reserved", "TSS64-avl", "Reserved", "TSS64-busy", "CallGate64", "Reserved", "IntGate64",
         "TrapGate64"}};
    g_string_append(out, types[long_mode][seg->attr & ATTR_TYPE]);
}

static void describe_segment(const CpuState *state, const char *name, const CpuSegment *seg,
                             bool wide, GString *out)
{
    bool long_mode = state->efer & EFER_LMA;
    uint32_t flags = seg->unusable ? 0 : (uint32_t)seg->attr << 8;
    g_string_append_printf(out, "%-3s=%04x ", name, seg->selector);
    g_string_append_printf(out, wide ? "%016" PRIx64 : "%08" PRIx64, seg->base);
    g_string_append_printf(out, " %08x %08x", seg->limit, flags);
    if ((state->cr0 & CR0_PE) && (flags & ATTR_P << 8)) {
        g_string_append_printf(out, " DPL=%u ", (seg->attr & ATTR_DPL) >> 5);
        if (!(seg->attr & ATTR_S)) {
            describe_system_type(seg, long_mode, out);
        } else if (seg->attr & 8) {
            bool cs64 = long_mode && (seg->attr & ATTR_L);
            g_string_append(out, cs64 ? "CS64" : seg->attr & ATTR_DB ? "CS32" : "CS16");
            g_string_append_printf(out, " [%c%c", seg->attr & 4 ? 'C' : '-',
                                   seg->attr & 2 ? 'R' : '-');
        } else {
            g_string_append(out, (seg->attr & ATTR_DB) || long_mode ? "DS  " : "DS16");
            g_string_append_printf(out, " [%c%c", seg->attr & 4 ? 'E' : '-',
                                   seg->attr & 2 ? 'W' : '-');
        }
        if (seg->attr & ATTR_S)
            g_string_append_printf(out, "%c]", seg->attr & 1 ? 'A' : '-');
    }
    g_string_append_c(out, '\n');
}

static void describe_system(const CpuState *state, bool wide, GString *out)
{
    const char *width = wide ? "%s=     %016" PRIx64 " %08x\n" : "%s=     %08" PRIx64 " %08x\n";
    g_string_append_printf(out, width, "GDT", state->gdt_base, state->gdt_limit);
    g_string_append_printf(out, width, "IDT", state->idt_base, state->idt_limit);
    g_string_append_printf(out, "CR0=%08x", (uint32_t)state->cr0);
    const char *cr = wide ? " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n"
                          : " CR2=%08" PRIx64 " CR3=%08" PRIx64 " CR4=%08" PRIx64 "\n";
    g_string_append_printf(out, cr, state->cr2, state->cr3, state->cr4);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(out, wide ? "DR%u=%016" PRIx64 : "DR%u=%08" PRIx64, i, state->dr[i]);
        g_string_append_c(out, i == 3 ? '\n' : ' ');
    }
    g_string_append_printf(out,
                           wide ? "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\n"
                                : "DR6=%08" PRIx64 " DR7=%08" PRIx64 "\n",
                           state->dr[6], state->dr[7]);
    g_string_append_printf(out, "EFER=%016" PRIx64 "\n", state->efer);
}

/* YMM once the guest has enabled them, as QEMU. */
static void describe_vectors(const CpuState *state, GString *out)
{
    enum { FX_XMM = 160, XSAVE_YMM = 576, XCR0_AVX = 1 << 2 };
    const uint8_t *low = state->xsave + FX_XMM, *high = state->xsave + XSAVE_YMM;
    bool ymm = state->xcr0 & XCR0_AVX;
    for (unsigned i = 0; i < 16; i++, low += 16, high += 16) {
        g_string_append_printf(out, "%cMM%02u=", ymm ? 'Y' : 'X', i);
        if (ymm)
            g_string_append_printf(out, "%016" PRIx64 " %016" PRIx64 " ", ld64_le(high + 8),
                                   ld64_le(high));
        g_string_append_printf(out, "%016" PRIx64 " %016" PRIx64 "%c", ld64_le(low + 8),
                               ld64_le(low), ymm || i % 2 ? '\n' : ' ');
    }
}

static void describe_fpu(const CpuState *state, GString *out)
{
    const uint8_t *fx = state->xsave;
    unsigned status = ld16_le(fx + 2);
    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", ld16_le(fx),
                           status, status >> 11 & 7, fx[4], ld32_le(fx + 24));
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, ld64_le(fx + 32 + 16 * i),
                               ld16_le(fx + 40 + 16 * i), i % 2 ? '\n' : ' ');
    describe_vectors(state, out);
}

static void describe_msrs(const CpuState *state, GString *out)
{
    static const struct {
        uint32_t index;
        const char *name;
    } names[] = {
        {0xc0000081, "STAR"},   {0xc0000082, "LSTAR"},     {0xc0000083, "CSTAR"},
        {0xc0000084, "FMASK"},  {0xc0000102, "KERNEL_GS"}, {0xc0000103, "TSC_AUX"},
        {0x174, "SYSENTER_CS"}, {0x175, "SYSENTER_ESP"},   {0x176, "SYSENTER_EIP"},
        {0x277, "PAT"},
    };
    unsigned shown = 0;
    g_string_append_printf(out, "CR8=%" PRIx64 " XCR0=%016" PRIx64 "\n", state->cr8, state->xcr0);
    g_string_append_printf(out, "APIC_BASE=%016" PRIx64 " TSC=%016" PRIx64 "\n", state->apic_base,
                           state->tsc);
    for (unsigned n = 0; n < G_N_ELEMENTS(names); n++)
        for (unsigned i = 0; i < state->msr_count && i < CPU_MSRS_MAX; i++)
            if (state->msrs[i].index == names[n].index)
                g_string_append_printf(out, "%s%s=%016" PRIx64,
                                       shown++ % 3 ? " "
                                       : shown > 1 ? "\n"
                                                   : "",
                                       names[n].name, state->msrs[i].value);
    if (shown)
        g_string_append_c(out, '\n');
}

void cpu_state_describe(const CpuState *state, unsigned cpu_index, bool a20, bool all, GString *out)
{
    static const char *const names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    bool wide = cpu_state_code_bits(state) == 64;
    g_string_append_printf(out, "CPU#%u\n", cpu_index);
    describe_gprs(state, wide, out);
    describe_rip(state, wide, a20, out);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        describe_segment(state, names[i], &state->seg[i], wide, out);
    describe_segment(state, "LDT", &state->ldt, wide, out);
    describe_segment(state, "TR", &state->tr, wide, out);
    describe_system(state, wide, out);
    describe_fpu(state, out);
    if (all)
        describe_msrs(state, out);
}

/* ---- For snapshots ---- */

static const StateField segment_fields[] = {
    STATE_U(CpuSegment, selector, 0), STATE_U(CpuSegment, attr, 0),
    STATE_U(CpuSegment, limit, 0),    STATE_U(CpuSegment, base, 0),
    STATE_U(CpuSegment, unusable, 0), STATE_END,
};
static const StateDesc segment_desc = {"segment", 1, sizeof(CpuSegment), segment_fields};

static const StateField msr_fields[] = {
    STATE_U(CpuMsr, index, 0),
    STATE_U(CpuMsr, value, 0),
    STATE_END,
};
static const StateDesc msr_desc = {"msr", 1, sizeof(CpuMsr), msr_fields};

static bool cpu_post_load(void *opaque, GError **error)
{
    const CpuState *state = opaque;
    return (state->msr_count <= CPU_MSRS_MAX && state->xsave_size <= CPU_XSAVE_MAX) ||
           fail(error, "more MSRs or a larger XSAVE area than a CPU has");
}

static const StateField cpu_fields[] = {
    STATE_ARRAY(CpuState, gpr, uint64_t, 0),
    STATE_U(CpuState, rip, 0),
    STATE_U(CpuState, rflags, 0),
    STATE_STRUCT_ARRAY(CpuState, seg, &segment_desc),
    STATE_STRUCT(CpuState, ldt, &segment_desc),
    STATE_STRUCT(CpuState, tr, &segment_desc),
    STATE_U(CpuState, gdt_base, 0),
    STATE_U(CpuState, idt_base, 0),
    STATE_U(CpuState, gdt_limit, 0),
    STATE_U(CpuState, idt_limit, 0),
    STATE_U(CpuState, cr0, 0),
    STATE_U(CpuState, cr2, 0),
    STATE_U(CpuState, cr3, 0),
    STATE_U(CpuState, cr4, 0),
    STATE_U(CpuState, cr8, 0),
    STATE_U(CpuState, efer, 0),
    STATE_U(CpuState, apic_base, 0),
    STATE_ARRAY(CpuState, dr, uint64_t, 0),
    STATE_U(CpuState, xcr0, 0),
    STATE_U(CpuState, tsc, 0),
    STATE_BYTES(CpuState, xsave),
    STATE_U(CpuState, xsave_size, 0),
    STATE_U(CpuState, halted, 0),
    STATE_U(CpuState, waiting_sipi, 0),
    STATE_U(CpuState, interrupt_shadow, 0),
    STATE_U(CpuState, nmi_pending, 0),
    STATE_U(CpuState, nmi_masked, 0),
    STATE_U(CpuState, smm, 0),
    STATE_U(CpuState, exception_pending, 0),
    STATE_U(CpuState, exception_has_error, 0),
    STATE_U(CpuState, exception_vector, 0),
    STATE_U(CpuState, exception_error, 0),
    STATE_U(CpuState, interrupt_pending, 0),
    STATE_U(CpuState, interrupt_vector, 0),
    STATE_U(CpuState, interrupt_soft, 0),
    STATE_U(CpuState, apic_valid, 0),
    STATE_BYTES(CpuState, apic),
    STATE_U(CpuState, msr_count, 0),
    STATE_STRUCT_ARRAY(CpuState, msrs, &msr_desc),
    STATE_END,
};
const StateDesc cpu_state_desc = {"cpu", 1, sizeof(CpuState), cpu_fields,
                                  .post_load = cpu_post_load};
