/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOV, MOVZX, MOVSX, MOVSXD, LEA, CMOVcc, SETcc, BSWAP, MOVBE, XLAT. */
#include "op_common.h"

/* ---- MOV ---- */

#define MOV_REGISTER(S)                                                                            \
    HANDLER(mov_rr_##S)                                                                            \
    {                                                                                              \
        PUT_REG(S, GET_RM(S));                                                                     \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(mov_ri_##S)                                                                            \
    {                                                                                              \
        PUT_REG(S, (TYPE_##S)op->imm);                                                             \
        NEXT(cpu, op);                                                                             \
    }
#define MOV_FORM(form, S)                                                                          \
    HANDLER(mov_rm_##form##_##S)                                                                   \
    {                                                                                              \
        TYPE_##S value = LOAD_##S(READ_AT(S, form));                                               \
        PUT_REG(S, value);                                                                         \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(mov_mr_##form##_##S)                                                                   \
    {                                                                                              \
        STORE_##S(WRITE_AT(S, form), GET_REG(S));                                                  \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(mov_mi_##form##_##S)                                                                   \
    {                                                                                              \
        STORE_##S(WRITE_AT(S, form), (TYPE_##S)op->imm);                                           \
        NEXT(cpu, op);                                                                             \
    }
MOV_REGISTER(8)
MOV_REGISTER(8h)
MOV_REGISTER(16)
MOV_REGISTER(32)
MOV_REGISTER(64)
/* clang-format off */
ALL_SIZES(MOV_FORM, EA_BASE)
ALL_SIZES(MOV_FORM, EA_FULL)
ALL_SIZES(MOV_FORM, EA_32)
ALL_SIZES(MOV_FORM, EA_ANY)
/* clang-format on */

static bool bind_mov(const Insn *insn, Op *op)
{
    static OpFn *const rr[SIZES] = BY_SIZE(mov_rr), *const ri[SIZES] = BY_SIZE(mov_ri);
    static OpFn *const rm[EA_FORMS][SIZES] = BY_FORM(mov_rm),
                       *const mr[EA_FORMS][SIZES] = BY_FORM(mov_mr),
                       *const mi[EA_FORMS][SIZES] = BY_FORM(mov_mi);
    const ZydisDecodedOperand *first = &insn->operands[0], *second = &insn->operands[1];
    bool immediate = second->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    bool to_register = is_gpr(first), from_register = is_gpr(second);
    /* Segment, control and debug registers are system.c's. */
    if ((!to_register && first->type == ZYDIS_OPERAND_TYPE_REGISTER) ||
        (!from_register && second->type == ZYDIS_OPERAND_TYPE_REGISTER))
        return false;
    if (to_register)
        use_register(op, false, first);
    if (from_register)
        use_register(op, to_register, second);
    SizeTag size = size_tag(first->size, op);
    if (to_register)
        op->fn = immediate ? ri[size] : from_register ? rr[size] : rm[ea_form(op)][size];
    else
        op->fn = immediate ? mi[ea_form(op)][size] : mr[ea_form(op)][size];
    return true;
}

/* ---- MOVZX, MOVSX ---- */

/* From size S to D; K: TYPE for zeros, STYPE for signs. */
#define EXTEND(name, K, D, S)                                                                      \
    HANDLER(name##_rr_##D##_##S)                                                                   \
    {                                                                                              \
        TYPE_##D value = (TYPE_##D)(K##_##S)GET_RM(S);                                             \
        PUT_##D(op->reg, 0, value);                                                                \
        NEXT(cpu, op);                                                                             \
    }
#define EXTEND_FORM(name, K, D, form, S)                                                           \
    HANDLER(name##_rm_##D##_##form##_##S)                                                          \
    {                                                                                              \
        TYPE_##D value = (TYPE_##D)(K##_##S)LOAD_##S(READ_AT(S, form));                            \
        PUT_##D(op->reg, 0, value);                                                                \
        NEXT(cpu, op);                                                                             \
    }
#define EXTEND_SIZE(name, K, D, S)                                                                 \
    EXTEND(name, K, D, S)                                                                          \
    EXTEND_FORM(name, K, D, EA_BASE, S)                                                            \
    EXTEND_FORM(name, K, D, EA_FULL, S)                                                            \
    EXTEND_FORM(name, K, D, EA_32, S)                                                              \
    EXTEND_FORM(name, K, D, EA_ANY, S)
#define EXTEND_ALL(name, K, D)                                                                     \
    EXTEND_SIZE(name, K, D, 8)                                                                     \
    EXTEND(name, K, D, 8h)                                                                         \
    EXTEND_SIZE(name, K, D, 16)                                                                    \
    EXTEND_SIZE(name, K, D, 32)
EXTEND_ALL(movzx, TYPE, 16)
EXTEND_ALL(movzx, TYPE, 32)
EXTEND_ALL(movzx, TYPE, 64)
EXTEND_ALL(movsx, STYPE, 16)
EXTEND_ALL(movsx, STYPE, 32)
EXTEND_ALL(movsx, STYPE, 64)

typedef struct ExtendRow {
    OpFn *rr[SIZES], *rm[EA_FORMS][SIZES]; /* by the source's size */
} ExtendRow;
#define SOURCES(name)                                                                              \
    {                                                                                              \
        [SIZE_8] = name##_8, [SIZE_16] = name##_16, [SIZE_32] = name##_32                          \
    }
#define SOURCES_BY_FORM(name)                                                                      \
    {                                                                                              \
        [EA_BASE] = SOURCES(name##_EA_BASE), [EA_FULL] = SOURCES(name##_EA_FULL),                  \
        [EA_32] = SOURCES(name##_EA_32), [EA_ANY] = SOURCES(name##_EA_ANY)                         \
    }
#define EXTEND_ROW(name, D)                                                                        \
    {                                                                                              \
        .rr = {[SIZE_8] = name##_rr_##D##_8,                                                       \
               [SIZE_8H] = name##_rr_##D##_8h,                                                     \
               [SIZE_16] = name##_rr_##D##_16,                                                     \
               [SIZE_32] = name##_rr_##D##_32},                                                    \
        .rm = SOURCES_BY_FORM(name##_rm_##D)                                                       \
    }

static bool bind_extend(const Insn *insn, Op *op, bool sign)
{
    static const ExtendRow rows[2][SIZES] = {{[SIZE_16] = EXTEND_ROW(movzx, 16),
                                              [SIZE_32] = EXTEND_ROW(movzx, 32),
                                              [SIZE_64] = EXTEND_ROW(movzx, 64)},
                                             {[SIZE_16] = EXTEND_ROW(movsx, 16),
                                              [SIZE_32] = EXTEND_ROW(movsx, 32),
                                              [SIZE_64] = EXTEND_ROW(movsx, 64)}};
    const ZydisDecodedOperand *first = &insn->operands[0], *second = &insn->operands[1];
    use_register(op, false, first);
    const ExtendRow *row = &rows[sign][size_tag(first->size, op)];
    if (is_gpr(second)) {
        use_register(op, true, second);
        op->fn = row->rr[size_tag(second->size, op)];
    } else {
        op->fn = row->rm[ea_form(op)][size_tag(second->size, op)];
    }
    return true;
}

/* ---- LEA ---- */

#define LEA(S)                                                                                     \
    HANDLER(lea_base_##S)                                                                          \
    {                                                                                              \
        PUT_##S(op->reg, 0, (TYPE_##S)(cpu->gpr[op->base] + (uint64_t)op->disp));                  \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(lea_##S)                                                                               \
    {                                                                                              \
        PUT_##S(op->reg, 0, (TYPE_##S)op_address(cpu, op));                                        \
        NEXT(cpu, op);                                                                             \
    }
LEA(16)
LEA(32)
LEA(64)

static bool bind_lea(const Insn *insn, Op *op)
{
    static OpFn *const base[SIZES] = {
        [SIZE_16] = lea_base_16, [SIZE_32] = lea_base_32, [SIZE_64] = lea_base_64};
    static OpFn *const any[SIZES] = {[SIZE_16] = lea_16, [SIZE_32] = lea_32, [SIZE_64] = lea_64};
    use_register(op, false, &insn->operands[0]);
    SizeTag size = size_tag(insn->operands[0].size, op);
    /* The result's cut makes the address's needless. */
    bool simple = op->index == SLOT_ZERO && insn->operands[0].size + op->address_shift <= 64;
    op->fn = simple ? base[size] : any[size];
    return true;
}

/* ---- SETcc, CMOVcc ---- */

#define SETCC(c)                                                                                   \
    HANDLER(setcc_r_##c)                                                                           \
    {                                                                                              \
        PUT_8(op->reg, 0, flags_hold(cpu->flags, c));                                              \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(setcc_any_##c)                                                                         \
    {                                                                                              \
        uint8_t value = flags_hold(cpu->flags, c);                                                 \
        if (op->extra)                                                                             \
            STORE_8(WRITE_AT(8, EA_ANY), value);                                                   \
        else                                                                                       \
            PUT_8h(op->reg, HIGH_REG(op), value);                                                  \
        NEXT(cpu, op);                                                                             \
    }
FOR_CONDITIONS(SETCC)

#define CMOV(c, S)                                                                                 \
    HANDLER(cmov_rr_##c##_##S)                                                                     \
    {                                                                                              \
        TYPE_##S value = flags_hold(cpu->flags, c) ? GET_RM(S) : GET_REG(S);                       \
        PUT_REG(S, value);                                                                         \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(cmov_rm_##c##_##S)                                                                     \
    {                                                                                              \
        TYPE_##S value = LOAD_##S(READ_AT(S, EA_ANY));                                             \
        PUT_REG(S, flags_hold(cpu->flags, c) ? value : GET_REG(S));                                \
        NEXT(cpu, op);                                                                             \
    }
#define CMOVS(c) CMOV(c, 16) CMOV(c, 32) CMOV(c, 64)
FOR_CONDITIONS(CMOVS)

static bool bind_condition(const Insn *insn, Op *op, bool set, unsigned condition)
{
#define ROW(c) {setcc_r_##c, setcc_any_##c},
    static OpFn *const setcc[16][2] = {FOR_CONDITIONS(ROW)};
#undef ROW
#define ROW(c)                                                                                     \
    {{[SIZE_16] = cmov_rr_##c##_16, [SIZE_32] = cmov_rr_##c##_32, [SIZE_64] = cmov_rr_##c##_64},   \
     {[SIZE_16] = cmov_rm_##c##_16, [SIZE_32] = cmov_rm_##c##_32, [SIZE_64] = cmov_rm_##c##_64}},
    static OpFn *const cmov[16][2][SIZES] = {FOR_CONDITIONS(ROW)};
#undef ROW
    if (is_gpr(&insn->operands[0]))
        use_register(op, false, &insn->operands[0]);
    if (set) {
        op->extra = insn->has_memory;
        op->fn = setcc[condition][insn->has_memory || op->attr & OP_BYTE_HIGH_REG];
        return true;
    }
    if (!insn->has_memory)
        use_register(op, true, &insn->operands[1]);
    op->fn = cmov[condition][insn->has_memory][size_tag(insn->operands[0].size, op)];
    return true;
}

/* ---- BSWAP, MOVBE, XLAT ---- */

static uint64_t swap(uint64_t value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - 8 * size);
}

static void put_sized(Cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    if (size == 2)
        PUT_16(reg, 0, value);
    else
        cpu->gpr[reg] = value & size_mask(size);
}

/* Of 16 bits: undefined, zero on most processors. */
HANDLER(bswap)
{
    uint64_t value = op->size == 2 ? 0 : swap(cpu->gpr[op->reg], op->size);
    put_sized(cpu, op->reg, op->size, value);
    NEXT(cpu, op);
}

static uint64_t load_sized(Cpu *cpu, const Op *op, uint64_t at, unsigned size)
{
    return size == 2 ? LOAD_16(at) : size == 4 ? LOAD_32(at) : LOAD_64(at);
}

HANDLER(movbe_load)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, op->size, ACCESS_READ);
    put_sized(cpu, op->reg, op->size, swap(load_sized(cpu, op, at, op->size), op->size));
    NEXT(cpu, op);
}

HANDLER(movbe_store)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, op->size, ACCESS_WRITE);
    uint64_t value = swap(cpu->gpr[op->reg], op->size);
    if (op->size == 2)
        STORE_16(at, (uint16_t)value);
    else if (op->size == 4)
        STORE_32(at, (uint32_t)value);
    else
        STORE_64(at, value);
    NEXT(cpu, op);
}

HANDLER(xlat)
{
    uint64_t address = cpu->gpr[GPR_RBX] + (uint8_t)cpu->gpr[GPR_RAX];
    address = address << op->address_shift >> op->address_shift;
    uint8_t value = LOAD_8(cpu_linear(cpu, op, address, 1, ACCESS_READ));
    PUT_8(GPR_RAX, 0, value);
    NEXT(cpu, op);
}

/* The segment of an instruction's implied DS operand. */
static void use_data_segment(const Cpu *cpu, const Insn *insn, Op *op)
{
    op_use_segment(cpu, op, insn_data_segment(insn));
    op->address_shift = (uint8_t)(64 - insn->zydis->address_width);
}

/* ---- Which handler ---- */

static int condition_of_setcc(ZydisMnemonic mnemonic)
{
    static const ZydisMnemonic setcc[16] = {
        ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
        ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
        ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
        ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE};
    return condition_in(setcc, mnemonic);
}

static int condition_of_cmov(ZydisMnemonic mnemonic)
{
    static const ZydisMnemonic cmov[16] = {
        ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB,  ZYDIS_MNEMONIC_CMOVNB,
        ZYDIS_MNEMONIC_CMOVZ, ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE,
        ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,  ZYDIS_MNEMONIC_CMOVNP,
        ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE};
    return condition_in(cmov, mnemonic);
}

bool bind_move(Cpu *cpu, const Insn *insn, Op *op)
{
    ZydisMnemonic mnemonic = insn->zydis->mnemonic;
    int condition;
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return bind_mov(insn, op);
    case ZYDIS_MNEMONIC_MOVZX:
        return bind_extend(insn, op, false);
    case ZYDIS_MNEMONIC_MOVSX:
        return bind_extend(insn, op, true);
    case ZYDIS_MNEMONIC_MOVSXD:
        /* Without REX.W it is a plain move of 16 or 32 bits. */
        return insn->operands[0].size == insn->operands[1].size || insn->operands[0].size < 64
                   ? bind_mov(insn, op)
                   : bind_extend(insn, op, true);
    case ZYDIS_MNEMONIC_LEA:
        return bind_lea(insn, op);
    case ZYDIS_MNEMONIC_BSWAP:
        use_register(op, false, &insn->operands[0]);
        op->fn = bswap;
        return true;
    case ZYDIS_MNEMONIC_MOVBE:
        op->fn = is_gpr(&insn->operands[0]) ? movbe_load : movbe_store;
        return true;
    case ZYDIS_MNEMONIC_XLAT:
        use_data_segment(cpu, insn, op);
        op->fn = xlat;
        return true;
    default:
        break;
    }
    if ((condition = condition_of_setcc(mnemonic)) >= 0)
        return bind_condition(insn, op, true, (unsigned)condition);
    if ((condition = condition_of_cmov(mnemonic)) >= 0)
        return bind_condition(insn, op, false, (unsigned)condition);
    return false;
}
