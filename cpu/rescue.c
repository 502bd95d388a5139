/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A few instructions for another engine that cannot execute them (cpu_rescue() in cpu/cpu.h): how
 * far a stretch goes, and what of the owner's state it needs.
 */
#include "fpu.h"

/* Instructions between two that are worth rescuing. */
enum { MOST_AWAY = 32 };

static bool stores(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++)
        if (insn->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (insn->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            return true;
    return false;
}

/* Registers, loads and near branches. */
static bool is_harmless(const Insn *insn)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    bool near = zydis->meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT ||
                zydis->meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR;
    bool plain = near || !insn_ends_block(insn);
    return plain && !stores(insn) && zydis->meta.category != ZYDIS_CATEGORY_SYSTEM;
}

static bool uses_msrs(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_RDMSR:
    case ZYDIS_MNEMONIC_WRMSR:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_RSM:
        return true;
    default:
        return false;
    }
}

static void fetch(Cpu *cpu, bool *fetched, CpuPart part)
{
    if (!*fetched)
        cpu->bus.fetch(cpu->vcpu, part);
    *fetched = true;
}

static void begin(Cpu *cpu, const char *name, bool floating)
{
    cpu->stretch.did->name = name;
    cpu->stretch.away = floating ? 0 : MOST_AWAY;
}

void rescue_undecoded(Cpu *cpu)
{
    cpu->stretch.goes_on = false;
    if (!cpu->stretch.started)
        begin(cpu, "(bad)", false);
}

void rescue_decoded(Cpu *cpu, const Insn *insn, bool bound)
{
    ZydisMnemonic mnemonic = insn->zydis->mnemonic;
    bool floating = bound && cpu->fpu->has[insn->zydis->meta.isa_set];
    if (!cpu->stretch.started) {
        begin(cpu, ZydisMnemonicGetString(mnemonic), floating);
        cpu->stretch.did->undefined = !bound;
    }
    if (floating)
        cpu->stretch.away = 0;
    else
        cpu->stretch.away++;
    cpu->stretch.goes_on =
        floating || (bound && cpu->stretch.away <= MOST_AWAY && is_harmless(insn));
    if (cpu->stretch.started && !cpu->stretch.goes_on)
        return;
    if (floating)
        fetch(cpu, &cpu->stretch.fpu, CPU_PART_FPU);
    if (bound && uses_msrs(mnemonic))
        fetch(cpu, &cpu->stretch.msrs, CPU_PART_MSRS);
}

void cpu_rescue(Cpu *cpu, uint64_t most, CpuRescue *did)
{
    uint64_t before = cpu->instructions;
    *did = (CpuRescue){.name = "(not fetched)"};
    cpu->stretch.on = true;
    cpu->stretch.started = cpu->stretch.fpu = cpu->stretch.msrs = false;
    cpu->stretch.did = did;
    did->end = cpu_run(cpu, most, true);
    did->instructions = MAX(cpu->instructions - before, 1);
    cpu->stretch.on = false;
    cpu->stretch.did = NULL;
}
