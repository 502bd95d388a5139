/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID, the time-stamp counter, HLT, MONITOR and MWAIT, IF and AC, random numbers.  (Intel SDM
 * vol. 2; vol. 3, 20.3 and 20.4 for virtual interrupts.)
 */
#include "protect.h"

#include <string.h>
#include <sys/random.h>

static const CpuidEntry *find_leaf(const Cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
    return cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, leaf, subleaf);
}

bool cpu_is_amd(const Cpu *cpu)
{
    const CpuidEntry *entry = find_leaf(cpu, 0, 0);
    return entry && (!memcmp(&entry->reg[CPUID_EBX], "Auth", 4) ||
                     !memcmp(&entry->reg[CPUID_EBX], "Hygo", 4));
}

unsigned cpu_family(const Cpu *cpu)
{
    const CpuidEntry *entry = find_leaf(cpu, 1, 0);
    uint32_t signature = entry ? entry->reg[CPUID_EAX] : 0;
    unsigned family = signature >> 8 & 0xf;
    return family == 15 ? family + (signature >> 20 & 0xff) : family;
}

/* ---- CPUID ---- */

/* Bytes of the XSAVE area for the components of xcr0. */
static uint32_t xsave_size(const Cpu *cpu)
{
    uint32_t size = 576;
    for (unsigned i = 2; i < 63; i++) {
        const CpuidEntry *entry = cpu->xcr0 >> i & 1 ? find_leaf(cpu, 0xd, i) : NULL;
        if (entry)
            size = MAX(size, entry->reg[CPUID_EBX] + entry->reg[CPUID_EAX]);
    }
    return size;
}

static void set_bit(uint32_t *word, unsigned bit, bool set)
{
    *word = set ? *word | 1u << bit : *word & ~(1u << bit);
}

/* What depends on the state. */
static void adjust(Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t *reg)
{
    enum { APIC_BASE = 0x1b, APIC_ENABLED = 1 << 11, LEAF1_APIC = 9, LEAF1_OSXSAVE = 27 };
    enum { LEAF7_PKU = 3, LEAF7_OSPKE = 4, AMD_APIC = 9, CR4_PKE_BIT = 22 };
    uint64_t apic_base = APIC_ENABLED;
    if (leaf == 1 || leaf == 0x80000001) {
        unsigned bit = LEAF1_APIC;
        fpu_leave(cpu);
        if (cpu->bus.apic_msr)
            cpu->bus.apic_msr(cpu->vcpu, APIC_BASE, false, &apic_base);
        if (!(apic_base & APIC_ENABLED))
            set_bit(&reg[CPUID_EDX], bit, false);
    }
    if (leaf == 1)
        set_bit(&reg[CPUID_ECX], LEAF1_OSXSAVE, cpu->cr4 & CR4_OSXSAVE);
    if (leaf == 7 && subleaf == 0)
        set_bit(&reg[CPUID_ECX], LEAF7_OSPKE,
                (reg[CPUID_ECX] >> LEAF7_PKU & 1) && (cpu->cr4 >> CR4_PKE_BIT & 1));
    if (leaf == 0xd && subleaf < 2 && reg[CPUID_EAX])
        reg[CPUID_EBX] = subleaf == 0 || (reg[CPUID_EAX] & 2) ? xsave_size(cpu) : 0;
}

/* The highest leaf of the range that leaf is in. */
static uint32_t highest_leaf(const Cpu *cpu, uint32_t leaf)
{
    uint32_t range = leaf & 0xffff0000;
    const CpuidEntry *entry =
        find_leaf(cpu, range == 0x80000000 || range == 0x40000000 ? range : 0, 0);
    return entry ? entry->reg[CPUID_EAX] : 0;
}

const Op *op_cpuid(Cpu *cpu, const Op *op)
{
    uint32_t leaf = (uint32_t)cpu->gpr[GPR_RAX], subleaf = (uint32_t)cpu->gpr[GPR_RCX];
    uint32_t reg[4] = {0};
    /* Beyond the end Intel's processors tell the highest basic leaf, AMD's tell zeros. */
    if (leaf > highest_leaf(cpu, leaf) && !cpu_is_amd(cpu) && leaf >> 30 != 1)
        leaf = highest_leaf(cpu, 0);
    const CpuidEntry *entry = find_leaf(cpu, leaf, subleaf);
    if (entry) {
        memcpy(reg, entry->reg, sizeof(reg));
        adjust(cpu, leaf, subleaf, reg);
    }
    cpu->gpr[GPR_RAX] = reg[CPUID_EAX];
    cpu->gpr[GPR_RBX] = reg[CPUID_EBX];
    cpu->gpr[GPR_RCX] = reg[CPUID_ECX];
    cpu->gpr[GPR_RDX] = reg[CPUID_EDX];
    LEAVE_BEHIND(cpu, op);
}

/* ---- Time and counters ---- */

static void read_tsc(Cpu *cpu, const Op *op)
{
    if ((cpu->cr4 & CR4_TSD) && cpu->cpl)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint64_t tsc = cpu->bus.read_tsc(cpu->vcpu);
    cpu->gpr[GPR_RAX] = (uint32_t)tsc;
    cpu->gpr[GPR_RDX] = tsc >> 32;
}

const Op *op_rdtsc(Cpu *cpu, const Op *op)
{
    read_tsc(cpu, op);
    NEXT(cpu, op);
}

const Op *op_rdtscp(Cpu *cpu, const Op *op)
{
    read_tsc(cpu, op);
    cpu->gpr[GPR_RCX] = (uint32_t)cpu->tsc_aux;
    NEXT(cpu, op);
}

const Op *op_rdpid(Cpu *cpu, const Op *op)
{
    gpr_write(cpu, op->rm, (uint32_t)cpu->tsc_aux, op->size);
    NEXT(cpu, op);
}

/* Performance counters never count; those that CPUID does not tell of are there nevertheless. */
const Op *op_rdpmc(Cpu *cpu, const Op *op)
{
    if ((cpu->cpl && !(cpu->cr4 & CR4_PCE)) || (uint32_t)cpu->gpr[GPR_RCX] >= msr_counters(cpu))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    cpu->gpr[GPR_RAX] = cpu->gpr[GPR_RDX] = 0;
    NEXT(cpu, op);
}

/* ---- Waiting ---- */

const Op *op_hlt(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    cpu->halted = true;
    LEAVE_BEHIND(cpu, op);
}

const Op *op_monitor(Cpu *cpu, const Op *op)
{
    if (cpu->cpl)
        cpu_fault(cpu, op, EXC_UD);
    if ((uint32_t)cpu->gpr[GPR_RCX])
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint64_t address = cpu->gpr[GPR_RAX] & op->imm;
    cpu_load8(cpu, op, cpu_linear_checked(cpu, op, op->seg, address, 1, ACCESS_READ));
    NEXT(cpu, op);
}

/* Nobody watches the line: it may have been written to at any moment, so MWAIT ends at once. */
const Op *op_mwait(Cpu *cpu, const Op *op)
{
    if (cpu->cpl)
        cpu_fault(cpu, op, EXC_UD);
    if (cpu->gpr[GPR_RCX] & ~1ull)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    LEAVE_BEHIND(cpu, op);
}

/* ---- IF, VIF, AC ---- */

/* Which flag CLI and STI are about: IF, or VIF with VME or PVI; #GP if neither. */
static uint32_t interrupt_flag(Cpu *cpu, const Op *op)
{
    if (!(cpu->cr0 & CR0_PE) || cpu->cpl <= iopl(cpu))
        return EFL_IF;
    bool virtual = in_vm86(cpu) ? cpu->cr4 & CR4_VME : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI);
    if (!virtual)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return EFL_VIF;
}

const Op *op_cli(Cpu *cpu, const Op *op)
{
    cpu_set_rflags(cpu, 0, interrupt_flag(cpu, op));
    LEAVE_BEHIND(cpu, op);
}

const Op *op_sti(Cpu *cpu, const Op *op)
{
    uint32_t flag = interrupt_flag(cpu, op);
    if (flag == EFL_VIF && (cpu->eflags & EFL_VIP))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (flag == EFL_IF && !(cpu->eflags & EFL_IF))
        cpu->interrupt_shadow = SHADOW_STI;
    cpu_set_rflags(cpu, flag, flag);
    LEAVE_BEHIND(cpu, op);
}

static void set_ac(Cpu *cpu, const Op *op, uint32_t value)
{
    if (cpu->cpl || in_vm86(cpu))
        cpu_fault(cpu, op, EXC_UD);
    cpu_set_rflags(cpu, value, EFL_AC);
}

const Op *op_clac(Cpu *cpu, const Op *op)
{
    set_ac(cpu, op, 0);
    NEXT(cpu, op);
}

const Op *op_stac(Cpu *cpu, const Op *op)
{
    set_ac(cpu, op, EFL_AC);
    NEXT(cpu, op);
}

/* ---- Others ---- */

/* RDRAND, RDSEED. */
const Op *op_random(Cpu *cpu, const Op *op)
{
    uint64_t value = 0;
    bool ok = getrandom(&value, sizeof(value), GRND_NONBLOCK) == sizeof(value);
    gpr_write(cpu, op->rm, ok ? value : 0, op->size);
    cpu->flags = ok ? FLAG_CF : 0;
    NEXT(cpu, op);
}

/* INVD, WBINVD: caches are the host's. */
const Op *op_cache(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    LEAVE_BEHIND(cpu, op);
}
