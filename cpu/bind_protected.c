/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which handler an instruction of protection has: far transfers, segment registers, descriptors. */
#include "protect.h"

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

/* The segment register that an operand is, or -1. */
static int segment_operand(const Insn *insn, unsigned operand)
{
    if (operand >= insn->zydis->operand_count ||
        insn->operands[operand].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return -1;
    ZydisRegister reg = insn->operands[operand].reg.value;
    return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_SEGMENT ? (int)(reg - ZYDIS_REGISTER_ES)
                                                                : -1;
}

/* ---- Segment registers ---- */

static bool bind_mov(const Insn *insn, Op *op)
{
    int to = segment_operand(insn, 0), from = segment_operand(insn, 1);
    if (to < 0 && from < 0)
        return false;
    use_modrm(insn, op);
    op->reg = (uint8_t)(to >= 0 ? to : from);
    if (to >= 0)
        return bind(op, insn->has_memory ? op_mov_to_seg_mem : op_mov_to_seg_reg);
    return bind(op, insn->has_memory ? op_mov_from_seg_mem : op_mov_from_seg_reg);
}

static bool bind_push_pop(const Insn *insn, Op *op, OpFn *fn)
{
    int seg = segment_operand(insn, 0);
    if (seg < 0)
        return false;
    op->reg = (uint8_t)seg;
    /* 66h counts in 64-bit code, too: two or eight bytes. */
    if (insn->code_bits == 64)
        op->size = insn->zydis->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 8;
    return bind(op, fn);
}

static bool bind_load_far(const Insn *insn, Op *op, unsigned seg)
{
    use_modrm(insn, op);
    op->extra = seg;
    return insn->has_memory && bind(op, op_load_far);
}

/* ---- Far transfers ---- */

static bool bind_far(const Insn *insn, Op *op, bool call)
{
    if (insn->zydis->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        return false;
    if (insn->has_memory)
        return bind(op, call ? op_call_far_mem : op_jmp_far_mem);
    op->imm = insn->operands[0].ptr.offset;
    op->extra = insn->operands[0].ptr.segment;
    return bind(op, call ? op_call_far_imm : op_jmp_far_imm);
}

static bool bind_ret(const Insn *insn, Op *op)
{
    if (insn->zydis->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        return false;
    bool drops = insn->zydis->operand_count_visible > 0 &&
                 insn->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    op->imm = drops ? insn->operands[0].imm.value.u & 0xffff : 0;
    return bind(op, op_ret_far);
}

static bool bind_iret(Op *op, uint8_t size)
{
    op->size = size;
    return bind(op, op_iret);
}

/* ---- Descriptors ---- */

/* Instructions with a selector or word in r/m: op->extra says that it is memory. */
static bool bind_selector(const Insn *insn, Op *op, OpFn *fn)
{
    use_modrm(insn, op);
    op->extra = insn->has_memory;
    return bind(op, fn);
}

static bool bind_descriptor(const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_LLDT:
        return bind_selector(insn, op, op_lldt);
    case ZYDIS_MNEMONIC_LTR:
        return bind_selector(insn, op, op_ltr);
    case ZYDIS_MNEMONIC_SLDT:
        return bind_selector(insn, op, op_sldt);
    case ZYDIS_MNEMONIC_STR:
        return bind_selector(insn, op, op_str);
    case ZYDIS_MNEMONIC_LAR:
        return bind_selector(insn, op, op_lar);
    case ZYDIS_MNEMONIC_LSL:
        return bind_selector(insn, op, op_lsl);
    case ZYDIS_MNEMONIC_VERR:
        return bind_selector(insn, op, op_verr);
    case ZYDIS_MNEMONIC_VERW:
        return bind_selector(insn, op, op_verw);
    case ZYDIS_MNEMONIC_ARPL:
        return bind_selector(insn, op, op_arpl);
    case ZYDIS_MNEMONIC_LGDT:
        return bind(op, op_lgdt);
    case ZYDIS_MNEMONIC_LIDT:
        return bind(op, op_lidt);
    case ZYDIS_MNEMONIC_SGDT:
        return bind(op, op_sgdt);
    case ZYDIS_MNEMONIC_SIDT:
        return bind(op, op_sidt);
    default:
        return false;
    }
}

/* ---- Calls of the system ---- */

static bool bind_call(const Cpu *cpu, const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_INT:
        return bind(op, op_int);
    case ZYDIS_MNEMONIC_INT1:
        return bind(op, op_int1);
    case ZYDIS_MNEMONIC_INT3:
        return bind(op, op_int3);
    case ZYDIS_MNEMONIC_INTO:
        return bind(op, op_into);
    case ZYDIS_MNEMONIC_BOUND:
        use_modrm(insn, op);
        return bind(op, op_bound);
    case ZYDIS_MNEMONIC_IRET:
        return bind_iret(op, 2);
    case ZYDIS_MNEMONIC_IRETD:
        return bind_iret(op, 4);
    case ZYDIS_MNEMONIC_IRETQ:
        return bind_iret(op, 8);
    case ZYDIS_MNEMONIC_RSM:
        return bind(op, op_rsm);
    case ZYDIS_MNEMONIC_SWAPGS:
        return bind(op, op_swapgs);
    case ZYDIS_MNEMONIC_SYSCALL:
        return cpu_feature(cpu, FEATURE_SYSCALL) && bind(op, op_syscall);
    case ZYDIS_MNEMONIC_SYSRET:
        op->size = insn->zydis->raw.rex.W ? 8 : 4;
        return cpu_feature(cpu, FEATURE_SYSCALL) && bind(op, op_sysret);
    case ZYDIS_MNEMONIC_SYSENTER:
        return cpu_feature(cpu, FEATURE_SEP) && bind(op, op_sysenter);
    case ZYDIS_MNEMONIC_SYSEXIT:
        op->size = insn->zydis->raw.rex.W ? 8 : 4;
        return cpu_feature(cpu, FEATURE_SEP) && bind(op, op_sysexit);
    default:
        return bind_descriptor(insn, op);
    }
}

bool bind_protected(Cpu *cpu, const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return bind_mov(insn, op);
    case ZYDIS_MNEMONIC_PUSH:
        return bind_push_pop(insn, op, op_push_seg);
    case ZYDIS_MNEMONIC_POP:
        return bind_push_pop(insn, op, op_pop_seg);
    case ZYDIS_MNEMONIC_LDS:
        return bind_load_far(insn, op, SEG_DS);
    case ZYDIS_MNEMONIC_LES:
        return bind_load_far(insn, op, SEG_ES);
    case ZYDIS_MNEMONIC_LFS:
        return bind_load_far(insn, op, SEG_FS);
    case ZYDIS_MNEMONIC_LGS:
        return bind_load_far(insn, op, SEG_GS);
    case ZYDIS_MNEMONIC_LSS:
        return bind_load_far(insn, op, SEG_SS);
    case ZYDIS_MNEMONIC_JMP:
        return bind_far(insn, op, false);
    case ZYDIS_MNEMONIC_CALL:
        return bind_far(insn, op, true);
    case ZYDIS_MNEMONIC_RET:
        return bind_ret(insn, op);
    default:
        return bind_call(cpu, insn, op);
    }
}
