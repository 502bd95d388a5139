/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Control and debug registers, XCR0, and the invalidation of translations.  (Intel SDM vol. 3, 2.5,
 * 2.6, 4.1, 4.10, 17.2; vol. 2, MOV to and from CR and DR.)
 */
#include "block.h"
#include "protect.h"

enum {
    CR3_PCID = 0xfff,
    DR6_BD = 1 << 13,
    DR7_GD = 1 << 13,
};
#define CR3_NO_FLUSH (1ull << 63)
#define CR0_KNOWN                                                                                  \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD |     \
     (uint64_t)CR0_PG)
#define DR6_FIXED 0xffff0ff0u
#define DR6_BITS  0xe00fu
#define DR7_FIXED 0x400u
#define DR7_BITS  0xffff2fffu

static G_GNUC_NORETURN void gp(Cpu *cpu, const Op *op)
{
    cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* ---- What is allowed ---- */

static uint64_t cr4_bits(const Cpu *cpu)
{
    static const struct {
        uint32_t leaf;
        uint8_t reg, bit;
        uint32_t bits;
    } rows[] = {
        {FEATURE_VME, CR4_VME | CR4_PVI},
        {FEATURE_TSC, CR4_TSD},
        {FEATURE_DE, CR4_DE},
        {FEATURE_PSE, CR4_PSE},
        {FEATURE_PAE, CR4_PAE},
        {FEATURE_MCE, CR4_MCE},
        {FEATURE_PGE, CR4_PGE},
        {FEATURE_FXSR, CR4_OSFXSR},
        {FEATURE_SSE, CR4_OSXMMEXCPT},
        {FEATURE_UMIP, CR4_UMIP},
        {FEATURE_FSGSBASE, CR4_FSGSBASE},
        {FEATURE_PCID, CR4_PCIDE},
        {FEATURE_XSAVE, CR4_OSXSAVE},
        {FEATURE_SMEP, CR4_SMEP},
        {FEATURE_SMAP, CR4_SMAP},
    };
    uint64_t bits = cpu_family(cpu) >= 6 || cpu_feature(cpu, FEATURE_MMX) ? CR4_PCE : 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (cpu_feature(cpu, rows[i].leaf, rows[i].reg, rows[i].bit))
            bits |= rows[i].bits;
    return bits;
}

/* Whether paging reads PAE's pointers with these registers. */
static bool uses_pdptes(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

bool control_valid(const Cpu *cpu, uint64_t cr0, uint64_t cr4)
{
    if ((cr0 >> 32) || ((cr0 & CR0_PG) && !(cr0 & CR0_PE)) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
        return false;
    return !(cr4 & ~cr4_bits(cpu));
}

/* Reads PAE's four pointers; false if a present one has reserved bits set. */
static bool load_pdptes(Cpu *cpu, uint64_t cr3)
{
    uint64_t entries[4];
    for (unsigned i = 0; i < 4; i++) {
        uint64_t address = ((cr3 & 0xffffffe0) + i * 8) & cpu->physical_mask;
        if (as_load(cpu_memory(cpu), address, 8, &entries[i]) != MEM_OK)
            entries[i] = 0;
        if ((entries[i] & 1) && (entries[i] & (0x1e6 | cpu->physical_reserved | 0xfffull << 52)))
            return false;
    }
    memcpy(cpu->pdpte, entries, sizeof(entries));
    return true;
}

/* ---- CR0 ---- */

static void write_cr0(Cpu *cpu, const Op *op, uint64_t value)
{
    uint64_t old = cpu->cr0, efer = cpu->efer;
    if (!control_valid(cpu, value, 0))
        gp(cpu, op);
    value = (value & CR0_KNOWN) | CR0_ET;
    if ((value & CR0_PG) && !(old & CR0_PG) && (efer & EFER_LME)) {
        bool tss16 = attr_system_type(cpu->tr.attr) == (TYPE_TSS16 | TYPE_BUSY);
        if (!(cpu->cr4 & CR4_PAE) || (cpu->seg[SEG_CS].attr & ATTR_L) || tss16)
            gp(cpu, op);
        efer |= EFER_LMA;
    }
    if (!(value & CR0_PG) && (old & CR0_PG)) {
        if (in_code64(cpu) || (cpu->cr4 & CR4_PCIDE))
            gp(cpu, op);
        efer &= ~(uint64_t)EFER_LMA;
    }
    bool reload = (value ^ old) & (CR0_PG | CR0_CD | CR0_NW);
    if (reload && uses_pdptes(value, cpu->cr4, efer) && !load_pdptes(cpu, cpu->cr3))
        gp(cpu, op);
    cpu->cr0 = value;
    cpu->efer = efer;
    if (!(value & CR0_PE))
        cpu->cpl = 0;
    cpu_mode_changed(cpu);
}

const Op *op_lmsw(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    uint64_t value =
        op->extra ? cpu_load16(cpu, op, cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_READ))
                  : cpu->gpr[op->rm];
    /* PE can be set, not cleared. */
    write_cr0(cpu, op, (cpu->cr0 & ~0xeull) | (value & 0xf));
    LEAVE_BEHIND(cpu, op);
}

const Op *op_clts(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    cpu->cr0 &= ~(uint64_t)CR0_TS;
    cpu_mode_changed(cpu);
    LEAVE_BEHIND(cpu, op);
}

/* ---- CR3, CR4, CR8 ---- */

static uint16_t pcid_of(uint64_t cr3, uint64_t cr4)
{
    return cr4 & CR4_PCIDE ? cr3 & CR3_PCID : 0;
}

void control_select_space(Cpu *cpu)
{
    space_select(cpu, pcid_of(cpu->cr3, cpu->cr4));
    mmu_mode_changed(cpu);
}

bool control_load_cr3(Cpu *cpu, uint64_t value)
{
    if (uses_pdptes(cpu->cr0, cpu->cr4, cpu->efer) && !load_pdptes(cpu, value))
        return false;
    cpu->cr3 = value;
    control_select_space(cpu);
    cpu_tlb_flush(cpu, false);
    return true;
}

/* In a rescue others have translations, too. */
static void note_flush(Cpu *cpu)
{
    if (cpu->stretch.on)
        cpu->stretch.did->flushed = true;
}

static void write_cr3(Cpu *cpu, const Op *op, uint64_t value)
{
    bool keep = false;
    if (cpu->cr4 & CR4_PCIDE) {
        keep = value & CR3_NO_FLUSH;
        value &= ~CR3_NO_FLUSH;
    }
    if (in_long(cpu) && (value & (cpu->physical_reserved | 0xfffull << 52)))
        gp(cpu, op);
    note_flush(cpu);
    if (keep) { /* there are no pointers of PAE's with PCIDs */
        cpu->cr3 = value;
        control_select_space(cpu);
    } else if (!control_load_cr3(cpu, value)) {
        gp(cpu, op);
    }
}

static void write_cr4(Cpu *cpu, const Op *op, uint64_t value)
{
    uint64_t changed = value ^ cpu->cr4;
    if ((value & ~cr4_bits(cpu)) || (in_long(cpu) && !(value & CR4_PAE)))
        gp(cpu, op);
    if ((changed & value & CR4_PCIDE) && (!in_long(cpu) || (cpu->cr3 & CR3_PCID)))
        gp(cpu, op);
    bool reload = changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP);
    if (reload && uses_pdptes(cpu->cr0, value, cpu->efer) && !load_pdptes(cpu, cpu->cr3))
        gp(cpu, op);
    cpu->cr4 = value;
    if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
        cpu_tlb_flush(cpu, true);
    control_select_space(cpu);
    cpu_mode_changed(cpu);
}

static void write_cr8(Cpu *cpu, const Op *op, uint64_t value)
{
    if (value & ~0xfull)
        gp(cpu, op);
    fpu_leave(cpu);
    cpu->bus.write_cr8(cpu->vcpu, value);
}

const Op *op_read_cr(Cpu *cpu, const Op *op)
{
    uint64_t value = 0;
    need_cpl0(cpu, op);
    switch (op->reg) {
    case 0:
        value = cpu->cr0;
        break;
    case 2:
        value = cpu->cr2;
        break;
    case 3:
        value = cpu->cr3;
        break;
    case 4:
        value = cpu->cr4;
        break;
    case 8:
        fpu_leave(cpu);
        value = cpu->bus.read_cr8(cpu->vcpu);
        break;
    default:
        cpu_fault(cpu, op, EXC_UD);
    }
    gpr_write(cpu, op->rm, value, op->size);
    NEXT(cpu, op);
}

const Op *op_write_cr(Cpu *cpu, const Op *op)
{
    uint64_t value = cpu->gpr[op->rm] & size_mask(op->size);
    need_cpl0(cpu, op);
    switch (op->reg) {
    case 0:
        write_cr0(cpu, op, value);
        break;
    case 2:
        cpu->cr2 = value;
        break;
    case 3:
        write_cr3(cpu, op, value);
        break;
    case 4:
        write_cr4(cpu, op, value);
        break;
    case 8:
        write_cr8(cpu, op, value);
        break;
    default:
        cpu_fault(cpu, op, EXC_UD);
    }
    LEAVE_BEHIND(cpu, op);
}

/* ---- Debug registers ---- */

/* The checks that reading and writing share; DR4 and DR5 are names of DR6 and DR7. */
static unsigned debug_register(Cpu *cpu, const Op *op)
{
    unsigned reg = op->reg;
    if (reg > 7 || ((reg == 4 || reg == 5) && (cpu->cr4 & CR4_DE)))
        cpu_fault(cpu, op, EXC_UD);
    need_cpl0(cpu, op);
    if (cpu->dr[7] & DR7_GD) {
        cpu->dr[6] |= DR6_BD;
        cpu->eflags |= EFL_RF; /* of the pushed flags: it is a fault */
        cpu_fault(cpu, op, EXC_DB);
    }
    return reg == 4 || reg == 5 ? reg + 2 : reg;
}

const Op *op_read_dr(Cpu *cpu, const Op *op)
{
    unsigned reg = debug_register(cpu, op);
    gpr_write(cpu, op->rm, cpu->dr[reg], op->size);
    NEXT(cpu, op);
}

const Op *op_write_dr(Cpu *cpu, const Op *op)
{
    unsigned reg = debug_register(cpu, op);
    uint64_t value = cpu->gpr[op->rm] & size_mask(op->size);
    if (reg >= 6 && value >> 32)
        gp(cpu, op);
    if (reg == 6)
        value = (value & DR6_BITS) | DR6_FIXED;
    else if (reg == 7)
        value = (value & DR7_BITS) | DR7_FIXED;
    cpu->dr[reg] = value;
    cpu_mode_changed(cpu);
    LEAVE_BEHIND(cpu, op);
}

/* ---- Translations ---- */

const Op *op_invlpg(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    uint64_t linear = op_address(cpu, op);
    if (!in_code64(cpu))
        linear = (uint32_t)(linear + cpu->seg[op->seg].base);
    else if (op->seg >= SEG_FS)
        linear += cpu->seg[op->seg].base;
    if (canonical(linear))
        cpu_tlb_flush_page(cpu, linear);
    note_flush(cpu);
    LEAVE_BEHIND(cpu, op);
}

const Op *op_invpcid(Cpu *cpu, const Op *op)
{
    enum { ONE_ADDRESS, ONE_PCID, ALL, ALL_BUT_GLOBAL };
    need_cpl0(cpu, op);
    uint64_t type = cpu->gpr[op->reg] & size_mask(op->size);
    uint64_t at = cpu_linear(cpu, op, op_address(cpu, op), 16, ACCESS_READ);
    uint8_t bytes[16];
    cpu_read_bytes(cpu, op, at, bytes, sizeof(bytes));
    uint64_t pcid = ld64_le(bytes), linear = ld64_le(bytes + 8);
    bool uses_pcid = type == ONE_ADDRESS || type == ONE_PCID;
    if (type > ALL_BUT_GLOBAL || pcid >> 12 || (uses_pcid && pcid && !(cpu->cr4 & CR4_PCIDE)) ||
        (type == ONE_ADDRESS && !canonical(linear)))
        gp(cpu, op);
    if (uses_pcid)
        cpu_tlb_flush_pcid(cpu, (uint16_t)pcid, type == ONE_ADDRESS ? &linear : NULL);
    else if (type == ALL)
        cpu_tlb_flush(cpu, true);
    else
        cpu_tlb_flush_local(cpu);
    note_flush(cpu);
    LEAVE_BEHIND(cpu, op);
}

/* ---- XCR0 ---- */

enum { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };

static void need_osxsave(Cpu *cpu, const Op *op)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        cpu_fault(cpu, op, EXC_UD);
}

static const CpuidEntry *find_leaf(const Cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    return cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, leaf, subleaf);
}

const Op *op_xgetbv(Cpu *cpu, const Op *op)
{
    need_osxsave(cpu, op);
    uint32_t index = (uint32_t)cpu->gpr[GPR_RCX];
    const CpuidEntry *entry = find_leaf(cpu, 0xd, 1);
    bool in_use = index == 1 && entry && (entry->reg[CPUID_EAX] & 4);
    /* Register 1 may tell of more components than are really in use. */
    if (index && !in_use)
        gp(cpu, op);
    cpu->gpr[GPR_RAX] = (uint32_t)cpu->xcr0;
    cpu->gpr[GPR_RDX] = cpu->xcr0 >> 32;
    NEXT(cpu, op);
}

const Op *op_xsetbv(Cpu *cpu, const Op *op)
{
    need_osxsave(cpu, op);
    need_cpl0(cpu, op);
    uint64_t value = (cpu->gpr[GPR_RDX] << 32) | (uint32_t)cpu->gpr[GPR_RAX];
    const CpuidEntry *entry = find_leaf(cpu, 0xd, 0);
    uint64_t known = entry ? entry->reg[CPUID_EAX] | (uint64_t)entry->reg[CPUID_EDX] << 32 : 3;
    bool ok = !(uint32_t)cpu->gpr[GPR_RCX] && (value & XCR0_X87) && !(value & ~known) &&
              (!(value & XCR0_AVX) || (value & XCR0_SSE));
    if (!ok)
        gp(cpu, op);
    cpu->xcr0 = value;
    cpu_mode_changed(cpu);
    LEAVE_BEHIND(cpu, op);
}
