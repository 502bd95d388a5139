/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE. Segment registers are system.c's. */
#include "op_stack.h"

/* ---- Any stack ---- */

static uint64_t stack_mask(const Cpu *cpu)
{
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return UINT64_MAX;
    return cpu->mode & MODE_STACK32 ? 0xffffffff : 0xffff;
}

static uint64_t stack_linear(Cpu *cpu, const Op *op, uint64_t sp, unsigned size, Access access)
{
    sp &= stack_mask(cpu);
    /* Before a memory operand's rule, which is #GP, has its say. */
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        stack_check_64(cpu, op, sp);
    if (segment_is_flat(cpu, SEG_SS))
        return sp;
    return cpu_linear_checked(cpu, op, SEG_SS, sp, size, access);
}

static void set_sp(Cpu *cpu, uint64_t sp)
{
    uint64_t mask = stack_mask(cpu);
    if (mask == 0xffff)
        PUT_16(GPR_RSP, 0, sp);
    else
        cpu->gpr[GPR_RSP] = sp & mask;
}

static void store_sized(Cpu *cpu, const Op *op, uint64_t at, uint64_t value, unsigned size)
{
    if (size == 2)
        STORE_16(at, (uint16_t)value);
    else if (size == 4)
        STORE_32(at, (uint32_t)value);
    else
        STORE_64(at, value);
}

static uint64_t load_sized(Cpu *cpu, const Op *op, uint64_t at, unsigned size)
{
    return size == 2 ? LOAD_16(at) : size == 4 ? LOAD_32(at) : LOAD_64(at);
}

static void put_sized(Cpu *cpu, unsigned reg, uint64_t value, unsigned size)
{
    if (size == 2)
        PUT_16(reg, 0, value);
    else
        cpu->gpr[reg] = value & size_mask(size);
}

void stack_poke(Cpu *cpu, const Op *op, unsigned below, uint64_t value, unsigned size)
{
    uint64_t sp = cpu->gpr[GPR_RSP] - below - size;
    store_sized(cpu, op, stack_linear(cpu, op, sp, size, ACCESS_WRITE), value, size);
}

void push_any(Cpu *cpu, const Op *op, uint64_t value, unsigned size)
{
    stack_poke(cpu, op, 0, value, size);
    set_sp(cpu, cpu->gpr[GPR_RSP] - size);
}

uint64_t stack_peek(Cpu *cpu, const Op *op, unsigned above, unsigned size)
{
    uint64_t at = stack_linear(cpu, op, cpu->gpr[GPR_RSP] + above, size, ACCESS_READ);
    return load_sized(cpu, op, at, size);
}

void stack_move(Cpu *cpu, int64_t bytes)
{
    set_sp(cpu, cpu->gpr[GPR_RSP] + (uint64_t)bytes);
}

/* ---- PUSH, POP ---- */

HANDLER(push_r_64)
{
    push_64(cpu, op, cpu->gpr[op->reg]);
    NEXT(cpu, op);
}
HANDLER(push_r_32)
{
    push_32(cpu, op, (uint32_t)cpu->gpr[op->reg]);
    NEXT(cpu, op);
}
HANDLER(push_r)
{
    push_any(cpu, op, cpu->gpr[op->reg], op->size);
    NEXT(cpu, op);
}
HANDLER(push_i)
{
    push_any(cpu, op, op->imm, op->size);
    NEXT(cpu, op);
}
HANDLER(push_m)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, op->size, ACCESS_READ);
    push_any(cpu, op, load_sized(cpu, op, at, op->size), op->size);
    NEXT(cpu, op);
}

HANDLER(pop_r_64)
{
    uint64_t sp = cpu->gpr[GPR_RSP], value = LOAD_64(sp);
    cpu->gpr[GPR_RSP] = sp + 8;
    cpu->gpr[op->reg] = value;
    NEXT(cpu, op);
}
HANDLER(pop_r_32)
{
    uint64_t sp = (uint32_t)cpu->gpr[GPR_RSP];
    uint32_t value = LOAD_32(sp);
    cpu->gpr[GPR_RSP] = (uint32_t)(sp + 4);
    cpu->gpr[op->reg] = value;
    NEXT(cpu, op);
}
HANDLER(pop_r)
{
    uint64_t value = stack_peek(cpu, op, 0, op->size);
    stack_move(cpu, op->size);
    put_sized(cpu, op->reg, value, op->size);
    NEXT(cpu, op);
}
/* Where the address has SP in it, it is the new one: bind_stack() has added that to disp. */
HANDLER(pop_m)
{
    uint64_t value = stack_peek(cpu, op, 0, op->size);
    uint64_t at = op_linear(cpu, op, EA_ANY, op->size, ACCESS_WRITE);
    store_sized(cpu, op, at, value, op->size);
    stack_move(cpu, op->size);
    NEXT(cpu, op);
}

HANDLER(pusha)
{
    for (unsigned i = 0; i < 8; i++)
        stack_poke(cpu, op, i * op->size, cpu->gpr[i], op->size);
    stack_move(cpu, -8 * op->size);
    NEXT(cpu, op);
}

static void popa_do(Cpu *cpu, const Op *op)
{
    uint64_t values[8];
    for (unsigned i = 0; i < 8; i++)
        values[7 - i] = stack_peek(cpu, op, i * op->size, op->size);
    for (unsigned i = 0; i < 8; i++)
        if (i != GPR_RSP)
            put_sized(cpu, i, values[i], op->size);
    stack_move(cpu, 8 * op->size);
}
HANDLER(popa)
{
    popa_do(cpu, op);
    NEXT(cpu, op);
}

/* ---- PUSHF, POPF (SDM vol. 2; virtual-8086 mode extensions: vol. 3, 20.3) ---- */

static unsigned iopl_of(const Cpu *cpu)
{
    return (cpu->eflags & EFL_IOPL) >> 12;
}

/* In virtual-8086 mode below IOPL 3: #GP, or with VME and 16 bits IF stands for VIF. */
static bool virtual_if(Cpu *cpu, const Op *op)
{
    if (!(cpu->eflags & EFL_VM) || iopl_of(cpu) == 3)
        return false;
    if (!(cpu->cr4 & CR4_VME) || op->size != 2)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return true;
}

HANDLER(pushf)
{
    uint32_t value = cpu_rflags(cpu) & ~(uint32_t)(EFL_VM | EFL_RF);
    if (virtual_if(cpu, op))
        value = (value & ~(uint32_t)EFL_IF) | EFL_IOPL | (cpu->eflags & EFL_VIF ? EFL_IF : 0);
    push_any(cpu, op, value, op->size);
    NEXT(cpu, op);
}

HANDLER(popf)
{
    uint32_t mask = EFL_ARITH | EFL_TF | EFL_DF | EFL_NT | EFL_AC | EFL_ID;
    uint32_t value = (uint32_t)stack_peek(cpu, op, 0, op->size);
    bool virtualised = virtual_if(cpu, op);
    if (virtualised) {
        if ((value & EFL_TF) || ((value & EFL_IF) && (cpu->eflags & EFL_VIP)))
            cpu_fault_code(cpu, op, EXC_GP, 0);
        value = (value & ~(uint32_t)EFL_VIF) | (value & EFL_IF ? EFL_VIF : 0);
        mask |= EFL_VIF;
    } else if (cpu->cpl <= iopl_of(cpu)) {
        mask |= EFL_IF;
    }
    if (cpu->cpl == 0)
        mask |= EFL_IOPL;
    if (op->size == 2)
        mask &= 0xffff | (virtualised ? EFL_VIF : 0);
    stack_move(cpu, op->size);
    cpu_set_rflags(cpu, value, mask);
    NEXT(cpu, op);
}

/* ---- ENTER, LEAVE ---- */

HANDLER(leave_64)
{
    uint64_t bp = cpu->gpr[GPR_RBP];
    cpu->gpr[GPR_RBP] = LOAD_64(bp);
    cpu->gpr[GPR_RSP] = bp + 8;
    NEXT(cpu, op);
}

HANDLER(leave_any)
{
    uint64_t bp = cpu->gpr[GPR_RBP];
    uint64_t at = stack_linear(cpu, op, bp, op->size, ACCESS_READ);
    uint64_t value = load_sized(cpu, op, at, op->size);
    set_sp(cpu, bp + op->size);
    put_sized(cpu, GPR_RBP, value, op->size);
    NEXT(cpu, op);
}

/* op->imm: bytes of locals; op->extra: nesting level.  That the new top can be written is seen
 * before anything changes. */
HANDLER(enter)
{
    unsigned below = 0, level = op->extra;
    uint64_t bp = cpu->gpr[GPR_RBP];
    stack_poke(cpu, op, below, bp, op->size);
    below += op->size;
    uint64_t frame = cpu->gpr[GPR_RSP] - below;
    for (unsigned i = 1; i < level; i++) {
        bp -= op->size;
        uint64_t at = stack_linear(cpu, op, bp, op->size, ACCESS_READ);
        stack_poke(cpu, op, below, load_sized(cpu, op, at, op->size), op->size);
        below += op->size;
    }
    if (level) {
        stack_poke(cpu, op, below, frame, op->size);
        below += op->size;
    }
    uint64_t top = cpu->gpr[GPR_RSP] - below - op->imm;
    uint64_t linear = stack_linear(cpu, op, top, op->size, ACCESS_WRITE);
    cpu_probe(cpu, op, linear, op->size, ACCESS_WRITE);
    set_sp(cpu, top);
    put_sized(cpu, GPR_RBP, frame & stack_mask(cpu), op->size);
    NEXT(cpu, op);
}

/* ---- Which handler ---- */

static bool bind_push(Cpu *cpu, const Insn *insn, Op *op)
{
    const ZydisDecodedOperand *first = &insn->operands[0];
    if (insn->has_memory) {
        op->fn = push_m;
    } else if (first->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        op->fn = push_i;
    } else if (is_gpr(first)) {
        use_register(op, false, first);
        op->attr |= OP_STACK;
        op->fn = op->size == 8                           ? push_r_64
                 : op->size == 4 && stack_is_flat32(cpu) ? push_r_32
                                                         : push_r;
    } else {
        return false;
    }
    return true;
}

static bool bind_pop(Cpu *cpu, const Insn *insn, Op *op)
{
    const ZydisDecodedOperand *first = &insn->operands[0];
    if (insn->has_memory) {
        if (op->base == GPR_RSP)
            op->disp += op->size;
        op->fn = pop_m;
    } else if (is_gpr(first)) {
        use_register(op, false, first);
        op->attr |= OP_STACK;
        op->fn = op->size == 8                           ? pop_r_64
                 : op->size == 4 && stack_is_flat32(cpu) ? pop_r_32
                                                         : pop_r;
    } else {
        return false;
    }
    return true;
}

static bool bind_enter(const Insn *insn, Op *op)
{
    op->imm = insn->operands[0].imm.value.u & 0xffff;
    op->extra = insn->operands[1].imm.value.u & 31;
    op->attr |= OP_STACK;
    op->fn = enter;
    return true;
}

static OpFn *plain_handler(ZydisMnemonic mnemonic, unsigned size)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
        return pusha;
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
        return popa;
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
        return pushf;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
        return popf;
    case ZYDIS_MNEMONIC_LEAVE:
        return size == 8 ? leave_64 : leave_any;
    default:
        return NULL;
    }
}

bool bind_stack(Cpu *cpu, const Insn *insn, Op *op)
{
    /* Here op->size is the size of what is pushed: in 64-bit code never 4. */
    unsigned size = insn->zydis->operand_width / 8;
    if (insn->code_bits == 64 && size != 2)
        size = 8;
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
        op->size = (uint8_t)size;
        return bind_push(cpu, insn, op);
    case ZYDIS_MNEMONIC_POP:
        op->size = (uint8_t)size;
        return bind_pop(cpu, insn, op);
    case ZYDIS_MNEMONIC_ENTER:
        op->size = (uint8_t)size;
        return bind_enter(insn, op);
    default:
        op->fn = plain_handler(insn->zydis->mnemonic, size);
        if (op->fn) {
            op->size = (uint8_t)size;
            op->attr |= OP_STACK;
        }
        return op->fn != NULL;
    }
}
