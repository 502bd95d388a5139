/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which handler an instruction of the system has: control registers, MSRs, CPUID, interrupt flags,
 * ports.  What the guest's processor does not have (CPUID) is no instruction: #UD.
 */
#include "protect.h"

/* REP in front of INS and OUTS, and REPNE, which does the same. */
static bool is_repeated(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->raw.prefix_count; i++)
        if (insn->zydis->raw.prefixes[i].value == 0xf2 ||
            insn->zydis->raw.prefixes[i].value == 0xf3)
            return true;
    return false;
}

/* ModRM's fields with REX's bits, whatever kind of register they name. */
static void use_modrm(const Insn *insn, Op *op)
{
    op->reg = (uint8_t)(insn->zydis->raw.modrm.reg | insn->zydis->raw.rex.R << 3);
    op->rm = (uint8_t)(insn->zydis->raw.modrm.rm | insn->zydis->raw.rex.B << 3);
}

static bool bind(Op *op, OpFn *fn)
{
    op->fn = fn;
    return true;
}

static uint64_t address_mask(const Insn *insn)
{
    return size_mask(insn->zydis->address_width / 8);
}

static ZydisRegisterClass register_class(const Insn *insn, unsigned operand)
{
    if (insn->zydis->operand_count_visible <= operand ||
        insn->operands[operand].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return ZYDIS_REGCLASS_INVALID;
    return ZydisRegisterGetClass(insn->operands[operand].reg.value);
}

/* ---- MOV to and from CR and DR ---- */

static bool bind_mov(const Insn *insn, Op *op)
{
    ZydisRegisterClass to = register_class(insn, 0), from = register_class(insn, 1);
    OpFn *fn = to == ZYDIS_REGCLASS_CONTROL     ? op_write_cr
               : to == ZYDIS_REGCLASS_DEBUG     ? op_write_dr
               : from == ZYDIS_REGCLASS_CONTROL ? op_read_cr
               : from == ZYDIS_REGCLASS_DEBUG   ? op_read_dr
                                                : NULL;
    if (!fn)
        return false;
    use_modrm(insn, op);
    /* AMD's LOCK MOV CR0 is CR8. */
    if (fn == op_write_cr || fn == op_read_cr)
        op->reg = (uint8_t)ZydisRegisterGetId(insn->operands[fn == op_write_cr ? 0 : 1].reg.value);
    op->size = insn->code_bits == 64 ? 8 : 4;
    return bind(op, fn);
}

/* ---- Ports ---- */

static bool bind_port(const Insn *insn, Op *op, bool in)
{
    const ZydisDecodedOperand *data = &insn->operands[in ? 0 : 1];
    const ZydisDecodedOperand *port = &insn->operands[in ? 1 : 0];
    op->size = (uint8_t)(data->size / 8);
    op->extra = port->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    op->imm = op->extra ? port->imm.value.u & 0xff : 0;
    return bind(op, in ? op_in : op_out);
}

static uint8_t string_segment(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY &&
            operand->mem.segment >= ZYDIS_REGISTER_ES && operand->mem.segment <= ZYDIS_REGISTER_GS)
            return (uint8_t)(operand->mem.segment - ZYDIS_REGISTER_ES);
    }
    return SEG_DS;
}

static bool bind_port_string(const Insn *insn, Op *op, bool in, uint8_t size)
{
    bool rep = is_repeated(insn);
    op->size = size;
    op->seg = in ? SEG_ES : string_segment(insn);
    op->extra = rep ? STRING_REP : 0;
    op->imm = address_mask(insn);
    return bind(op, in ? op_ins : op_outs);
}

/* ---- Others with operands ---- */

static bool bind_register(const Insn *insn, Op *op, OpFn *fn)
{
    use_modrm(insn, op);
    return bind(op, fn);
}

/* SMSW and LMSW: op->extra says that the operand is memory. */
static bool bind_word(const Insn *insn, Op *op, OpFn *fn)
{
    use_modrm(insn, op);
    op->extra = insn->has_memory;
    return bind(op, fn);
}

static bool bind_base(const Insn *insn, Op *op, OpFn *fn, unsigned seg)
{
    use_modrm(insn, op);
    op->extra = seg;
    return bind(op, fn);
}

static bool bind_monitor(const Insn *insn, Op *op)
{
    op->seg = string_segment(insn);
    op->imm = address_mask(insn);
    return bind(op, op_monitor);
}

static bool bind_invpcid(const Insn *insn, Op *op)
{
    use_modrm(insn, op);
    op->size = insn->code_bits == 64 ? 8 : 4;
    return bind(op, op_invpcid);
}

static bool bind_plain(const Cpu *cpu, const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
        return bind(op, op_cli);
    case ZYDIS_MNEMONIC_STI:
        return bind(op, op_sti);
    case ZYDIS_MNEMONIC_HLT:
        return bind(op, op_hlt);
    case ZYDIS_MNEMONIC_CLTS:
        return bind(op, op_clts);
    case ZYDIS_MNEMONIC_CPUID:
        return bind(op, op_cpuid);
    case ZYDIS_MNEMONIC_RDTSC:
        return cpu_feature(cpu, FEATURE_TSC) && bind(op, op_rdtsc);
    case ZYDIS_MNEMONIC_RDTSCP:
        return cpu_feature(cpu, FEATURE_RDTSCP) && bind(op, op_rdtscp);
    case ZYDIS_MNEMONIC_RDPMC:
        return bind(op, op_rdpmc);
    case ZYDIS_MNEMONIC_RDMSR:
        return cpu_feature(cpu, FEATURE_MSR) && bind(op, op_rdmsr);
    case ZYDIS_MNEMONIC_WRMSR:
        return cpu_feature(cpu, FEATURE_MSR) && bind(op, op_wrmsr);
    case ZYDIS_MNEMONIC_MWAIT:
        return cpu_feature(cpu, FEATURE_MONITOR) && bind(op, op_mwait);
    case ZYDIS_MNEMONIC_CLAC:
        return cpu_feature(cpu, FEATURE_SMAP) && bind(op, op_clac);
    case ZYDIS_MNEMONIC_STAC:
        return cpu_feature(cpu, FEATURE_SMAP) && bind(op, op_stac);
    case ZYDIS_MNEMONIC_XGETBV:
        return cpu_feature(cpu, FEATURE_XSAVE) && bind(op, op_xgetbv);
    case ZYDIS_MNEMONIC_XSETBV:
        return cpu_feature(cpu, FEATURE_XSAVE) && bind(op, op_xsetbv);
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
        return bind(op, op_cache);
    default:
        return false;
    }
}

bool bind_system(Cpu *cpu, const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return bind_mov(insn, op);
    case ZYDIS_MNEMONIC_IN:
        return bind_port(insn, op, true);
    case ZYDIS_MNEMONIC_OUT:
        return bind_port(insn, op, false);
    case ZYDIS_MNEMONIC_INSB:
        return bind_port_string(insn, op, true, 1);
    case ZYDIS_MNEMONIC_INSW:
        return bind_port_string(insn, op, true, 2);
    case ZYDIS_MNEMONIC_INSD:
        return bind_port_string(insn, op, true, 4);
    case ZYDIS_MNEMONIC_OUTSB:
        return bind_port_string(insn, op, false, 1);
    case ZYDIS_MNEMONIC_OUTSW:
        return bind_port_string(insn, op, false, 2);
    case ZYDIS_MNEMONIC_OUTSD:
        return bind_port_string(insn, op, false, 4);
    case ZYDIS_MNEMONIC_LMSW:
        return bind_word(insn, op, op_lmsw);
    case ZYDIS_MNEMONIC_SMSW:
        return bind_word(insn, op, op_smsw);
    case ZYDIS_MNEMONIC_INVLPG:
        return bind(op, op_invlpg);
    case ZYDIS_MNEMONIC_INVPCID:
        return cpu_feature(cpu, FEATURE_INVPCID) && bind_invpcid(insn, op);
    case ZYDIS_MNEMONIC_MONITOR:
        return cpu_feature(cpu, FEATURE_MONITOR) && bind_monitor(insn, op);
    case ZYDIS_MNEMONIC_RDRAND:
        return cpu_feature(cpu, FEATURE_RDRAND) && bind_register(insn, op, op_random);
    case ZYDIS_MNEMONIC_RDSEED:
        return cpu_feature(cpu, FEATURE_RDSEED) && bind_register(insn, op, op_random);
    case ZYDIS_MNEMONIC_RDPID:
        op->size = insn->code_bits == 64 ? 8 : 4;
        return cpu_feature(cpu, FEATURE_RDPID) && bind_register(insn, op, op_rdpid);
    case ZYDIS_MNEMONIC_RDFSBASE:
        return bind_base(insn, op, op_read_base, SEG_FS);
    case ZYDIS_MNEMONIC_RDGSBASE:
        return bind_base(insn, op, op_read_base, SEG_GS);
    case ZYDIS_MNEMONIC_WRFSBASE:
        return bind_base(insn, op, op_write_base, SEG_FS);
    case ZYDIS_MNEMONIC_WRGSBASE:
        return bind_base(insn, op, op_write_base, SEG_GS);
    default:
        return bind_plain(cpu, insn, op);
    }
}
