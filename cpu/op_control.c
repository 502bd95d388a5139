/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near JMP, CALL, RET, Jcc, LOOP and kin, JCXZ. Far transfers are transfer.c's. */
#include "op_branch.h"
#include "op_stack.h"

/* ---- Jcc ---- */

#define JCC(c)                                                                                     \
    HANDLER(jcc_flat_##c)                                                                          \
    {                                                                                              \
        if (flags_hold(cpu->flags, c))                                                             \
            TAKE_FLAT(cpu, op);                                                                    \
        NEXT(cpu, op);                                                                             \
    }
FOR_CONDITIONS(JCC)

#define NAME(c) jcc_flat_##c,
OpFn *const jcc_flat[16] = {FOR_CONDITIONS(NAME)};
#undef NAME

static const Op *take_any(Cpu *cpu, const Op *op)
{
    uint64_t target = BRANCH_TARGET(cpu, op);
    check_target(cpu, op, target);
    cpu->budget += op->extra;
    return jump_to(cpu, target);
}

HANDLER(jcc_any)
{
    if (flags_hold(cpu->flags, op->reg))
        return take_any(cpu, op);
    NEXT(cpu, op);
}

/* ---- LOOP, JCXZ: the counter has the address size ---- */

static uint64_t counter(const Cpu *cpu, const Op *op)
{
    return cpu->gpr[GPR_RCX] << op->address_shift >> op->address_shift;
}

HANDLER(loop)
{
    uint64_t count = (counter(cpu, op) - 1) << op->address_shift >> op->address_shift;
    bool wanted = op->reg == 0 || (op->reg == 1) == ((cpu->flags & FLAG_ZF) != 0);
    if (count && wanted)
        check_target(cpu, op, BRANCH_TARGET(cpu, op));
    if (op->address_shift == 48)
        PUT_16(GPR_RCX, 0, count);
    else
        cpu->gpr[GPR_RCX] = count;
    if (!count || !wanted)
        NEXT(cpu, op);
    if (cpu->mode & MODE_FLAT)
        TAKE_FLAT(cpu, op);
    return take_any(cpu, op);
}

HANDLER(jcxz)
{
    if (!counter(cpu, op))
        return take_any(cpu, op);
    NEXT(cpu, op);
}

/* ---- JMP ---- */

HANDLER(jmp_flat)
{
    BLOCK_CHAIN(cpu, op, BRANCH_TARGET(cpu, op));
}

HANDLER(jmp_any)
{
    return take_any(cpu, op);
}

static uint64_t load_target(Cpu *cpu, const Op *op)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, op->size, ACCESS_READ);
    return op->size == 2 ? LOAD_16(at) : op->size == 4 ? LOAD_32(at) : LOAD_64(at);
}

HANDLER(jmp_r)
{
    uint64_t target = cpu->gpr[op->rm] & (uint64_t)op->imm;
    check_target(cpu, op, target);
    return jump_to(cpu, target);
}

HANDLER(jmp_m)
{
    uint64_t target = load_target(cpu, op);
    check_target(cpu, op, target);
    return jump_to(cpu, target);
}

/* The same in 64-bit code, with a memory operand of EA_FULL. */
HANDLER(jmp_r_64)
{
    uint64_t target = cpu->gpr[op->rm];
    check_target_64(cpu, op, target);
    return block_jump(cpu, target, true);
}

HANDLER(jmp_m_64)
{
    uint64_t target = LOAD_64(READ_AT(64, EA_FULL));
    check_target_64(cpu, op, target);
    return block_jump(cpu, target, true);
}

/* ---- CALL, RET ---- */

HANDLER(call_64)
{
    push_64(cpu, op, op_next_rip(cpu, op));
    BLOCK_CHAIN(cpu, op, cpu->gpr[SLOT_RIP] + op->imm);
}

HANDLER(call_32)
{
    push_32(cpu, op, (uint32_t)op_next_rip(cpu, op));
    BLOCK_CHAIN(cpu, op, (uint32_t)(cpu->gpr[SLOT_RIP] + op->imm));
}

HANDLER(call_any)
{
    uint64_t target = BRANCH_TARGET(cpu, op);
    check_target(cpu, op, target);
    push_any(cpu, op, op_next_rip(cpu, op), op->size);
    return jump_to(cpu, target);
}

HANDLER(call_r)
{
    uint64_t target = cpu->gpr[op->rm] & (uint64_t)op->imm;
    check_target(cpu, op, target);
    push_any(cpu, op, op_next_rip(cpu, op), op->size);
    return jump_to(cpu, target);
}

HANDLER(call_m)
{
    uint64_t target = load_target(cpu, op);
    check_target(cpu, op, target);
    push_any(cpu, op, op_next_rip(cpu, op), op->size);
    return jump_to(cpu, target);
}

HANDLER(call_r_64)
{
    uint64_t target = cpu->gpr[op->rm];
    check_target_64(cpu, op, target);
    push_64(cpu, op, op_next_rip(cpu, op));
    return block_jump(cpu, target, true);
}

HANDLER(call_m_64)
{
    uint64_t target = LOAD_64(READ_AT(64, EA_FULL));
    check_target_64(cpu, op, target);
    stack_check_64(cpu, op, cpu->gpr[GPR_RSP] - 8);
    push_64(cpu, op, op_next_rip(cpu, op));
    return block_jump(cpu, target, true);
}

HANDLER(ret_64)
{
    uint64_t sp = cpu->gpr[GPR_RSP], target = LOAD_64(sp);
    check_target_64(cpu, op, target);
    cpu->gpr[GPR_RSP] = sp + 8 + op->imm;
    return block_jump(cpu, target, true);
}

HANDLER(ret_32)
{
    uint32_t sp = (uint32_t)cpu->gpr[GPR_RSP];
    uint64_t target = LOAD_32((uint64_t)sp);
    cpu->gpr[GPR_RSP] = (uint32_t)(sp + 4 + op->imm);
    return block_jump(cpu, target, true);
}

HANDLER(ret_any)
{
    uint64_t target = stack_peek(cpu, op, 0, op->size);
    check_target(cpu, op, target);
    stack_move(cpu, (int64_t)(op->size + op->imm));
    return jump_to(cpu, target);
}

/* ---- Which handler ---- */

static bool flat_code(const Cpu *cpu, const Op *op)
{
    return (cpu->mode & MODE_FLAT) && op->size != 2;
}

static bool bind_jump(Cpu *cpu, const Insn *insn, Op *op, OpFn *flat, OpFn *any, OpFn *r, OpFn *m)
{
    if (insn->zydis->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    /* In 64-bit code there is no other size than 64 bits. */
    op->size = code64(cpu) ? 8 : insn->zydis->operand_width / 8;
    if (insn->operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        op->disp = (int64_t)size_mask(op->size);
        op->fn = flat_code(cpu, op) ? flat : any;
    } else if (insn->has_memory) {
        op->fn = m;
    } else {
        op->imm = size_mask(op->size);
        op->fn = r;
    }
    return true;
}

static bool bind_loop(Cpu *cpu, const Insn *insn, Op *op, OpFn *fn, uint8_t kind)
{
    op->size = code64(cpu) ? 8 : insn->zydis->operand_width / 8;
    op->disp = (int64_t)size_mask(op->size);
    op->address_shift = (uint8_t)(64 - insn->zydis->address_width);
    op->reg = kind;
    op->fn = fn;
    return true;
}

static bool bind_jcc(Cpu *cpu, const Insn *insn, Op *op, unsigned condition)
{
    op->reg = (uint8_t)condition;
    return bind_jump(cpu, insn, op, jcc_flat[condition], jcc_any, NULL, NULL);
}

static int condition_of_jcc(ZydisMnemonic mnemonic)
{
    static const ZydisMnemonic jcc[16] = {
        ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_JB,  ZYDIS_MNEMONIC_JNB,
        ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE,
        ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_JP,  ZYDIS_MNEMONIC_JNP,
        ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_JNLE};
    return condition_in(jcc, mnemonic);
}

static bool bind_jmp(Cpu *cpu, const Insn *insn, Op *op)
{
    bool simple = code64(cpu) && (ea_form(op) == EA_BASE || ea_form(op) == EA_FULL);
    return bind_jump(cpu, insn, op, jmp_flat, jmp_any, code64(cpu) ? jmp_r_64 : jmp_r,
                     simple ? jmp_m_64 : jmp_m);
}

static bool bind_call(Cpu *cpu, const Insn *insn, Op *op)
{
    OpFn *flat = code64(cpu) ? call_64 : stack_is_flat32(cpu) ? call_32 : call_any;
    bool simple = code64(cpu) && (ea_form(op) == EA_BASE || ea_form(op) == EA_FULL);
    op->attr |= insn->has_memory ? 0 : OP_STACK;
    return bind_jump(cpu, insn, op, flat, call_any, code64(cpu) ? call_r_64 : call_r,
                     simple ? call_m_64 : call_m);
}

static bool bind_ret(Cpu *cpu, const Insn *insn, Op *op)
{
    if (insn->zydis->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    op->size = code64(cpu) ? 8 : insn->zydis->operand_width / 8;
    op->imm &= 0xffff;
    op->attr |= OP_STACK;
    op->fn = code64(cpu)                                                      ? ret_64
             : op->size == 4 && stack_is_flat32(cpu) && cpu->mode & MODE_FLAT ? ret_32
                                                                              : ret_any;
    return true;
}

bool bind_control(Cpu *cpu, const Insn *insn, Op *op)
{
    ZydisMnemonic mnemonic = insn->zydis->mnemonic;
    int condition = condition_of_jcc(mnemonic);
    if (condition >= 0)
        return bind_jcc(cpu, insn, op, (unsigned)condition);
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
        return bind_jmp(cpu, insn, op);
    case ZYDIS_MNEMONIC_CALL:
        return bind_call(cpu, insn, op);
    case ZYDIS_MNEMONIC_RET:
        return bind_ret(cpu, insn, op);
    case ZYDIS_MNEMONIC_LOOP:
        return bind_loop(cpu, insn, op, loop, 0);
    case ZYDIS_MNEMONIC_LOOPE:
        return bind_loop(cpu, insn, op, loop, 1);
    case ZYDIS_MNEMONIC_LOOPNE:
        return bind_loop(cpu, insn, op, loop, 2);
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
        return bind_loop(cpu, insn, op, jcxz, 0);
    default:
        return bind_stack(cpu, insn, op);
    }
}

void control_finish(Op *op, unsigned rest, bool fuse)
{
    if (op->fn == jcc_any || op->fn == loop || op->fn == jcxz)
        op->extra = rest;
    for (unsigned i = 0; i < 16; i++)
        if (op->fn == jcc_flat[i])
            op->extra = rest;
    if (!fuse || !rest || op[1].fn != jcc_flat[op[1].reg & 15])
        return;
    OpFn *fused = fused_handler(op, op[1].reg);
    if (fused)
        op->fn = fused;
}
