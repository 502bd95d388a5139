/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST and INC, DEC, NEG, NOT: the host's own instruction
 * computes result and flags.
 */
#include "op_calc.h"
#include "op_fuse.h"

/* ---- Handlers of two operands ---- */

#define ALU_REGISTER(name, S)                                                                      \
    HANDLER(name##_rr_##S)                                                                         \
    {                                                                                              \
        TYPE_##S result = name##_##S(cpu, GET_REG(S), GET_RM(S));                                  \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(name##_ri_##S)                                                                         \
    {                                                                                              \
        TYPE_##S result = name##_##S(cpu, GET_REG(S), (TYPE_##S)op->imm);                          \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }
#define ALU_LOAD(name, form, S)                                                                    \
    HANDLER(name##_rm_##form##_##S)                                                                \
    {                                                                                              \
        TYPE_##S b = LOAD_##S(READ_AT(S, form));                                                   \
        TYPE_##S result = name##_##S(cpu, GET_REG(S), b);                                          \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }
#define ALU_STORE(name, form, operand, value, S)                                                   \
    HANDLER(name##_##operand##_##form##_##S)                                                       \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, form);                                                           \
        void *host = rmw_at(cpu, op, at, BYTES_##S);                                               \
        TYPE_##S a = RMW_LOAD(S, host, at);                                                        \
        a = name##_##S(cpu, a, (TYPE_##S)(value(S)));                                              \
        RMW_STORE(S, host, at, a);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
#define IMMEDIATE(S) op->imm
#define ALU_FORM(name, form, S)                                                                    \
    ALU_LOAD(name, form, S)                                                                        \
    ALU_STORE(name, form, mr, GET_REG, S)                                                          \
    ALU_STORE(name, form, mi, IMMEDIATE, S)
#define ALU_HANDLERS(name, S)                                                                      \
    ALU_REGISTER(name, S)                                                                          \
    ALU_FORM(name, EA_BASE, S)                                                                     \
    ALU_FORM(name, EA_FULL, S)                                                                     \
    ALU_FORM(name, EA_32, S)                                                                       \
    ALU_FORM(name, EA_ANY, S)

/* clang-format off */
ALL_SIZES(ALU_HANDLERS, add)
ALL_SIZES(ALU_HANDLERS, or)
ALL_SIZES(ALU_HANDLERS, adc)
ALL_SIZES(ALU_HANDLERS, sbb)
ALL_SIZES(ALU_HANDLERS, and)
ALL_SIZES(ALU_HANDLERS, sub)
ALL_SIZES(ALU_HANDLERS, xor)
/* clang-format on */

#define COMPARE_FORM(name, form, S)                                                                \
    HANDLER(name##_rm_##form##_##S)                                                                \
    {                                                                                              \
        name##_##S(cpu, GET_REG(S), LOAD_##S(READ_AT(S, form)));                                   \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(name##_mr_##form##_##S)                                                                \
    {                                                                                              \
        name##_##S(cpu, LOAD_##S(READ_AT(S, form)), GET_REG(S));                                   \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(name##_mi_##form##_##S)                                                                \
    {                                                                                              \
        name##_##S(cpu, LOAD_##S(READ_AT(S, form)), (TYPE_##S)op->imm);                            \
        NEXT(cpu, op);                                                                             \
    }
#define COMPARE_HANDLERS(name, S)                                                                  \
    HANDLER(name##_rr_##S)                                                                         \
    {                                                                                              \
        name##_##S(cpu, GET_REG(S), GET_RM(S));                                                    \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(name##_ri_##S)                                                                         \
    {                                                                                              \
        name##_##S(cpu, GET_REG(S), (TYPE_##S)op->imm);                                            \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    COMPARE_FORM(name, EA_BASE, S)                                                                 \
    COMPARE_FORM(name, EA_FULL, S)                                                                 \
    COMPARE_FORM(name, EA_32, S)                                                                   \
    COMPARE_FORM(name, EA_ANY, S)

/* clang-format off */
ALL_SIZES(COMPARE_HANDLERS, cmp)
ALL_SIZES(COMPARE_HANDLERS, test)
/* clang-format on */

/* ---- Handlers of one operand ---- */

#define UNARY_HANDLERS(name, S)                                                                    \
    HANDLER(name##_r_##S)                                                                          \
    {                                                                                              \
        TYPE_##S result = name##_##S(cpu, GET_REG(S));                                             \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(name##_m_##S)                                                                          \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        void *host = rmw_at(cpu, op, at, BYTES_##S);                                               \
        TYPE_##S a = RMW_LOAD(S, host, at);                                                        \
        a = name##_##S(cpu, a);                                                                    \
        RMW_STORE(S, host, at, a);                                                                 \
        NEXT(cpu, op);                                                                             \
    }

/* clang-format off */
ALL_SIZES(UNARY_HANDLERS, inc)
ALL_SIZES(UNARY_HANDLERS, dec)
ALL_SIZES(UNARY_HANDLERS, neg)
ALL_SIZES(UNARY_HANDLERS, not)
/* clang-format on */

/* ---- Which handler ---- */

typedef struct AluRow {
    OpFn *rr[SIZES], *ri[SIZES];
    OpFn *rm[EA_FORMS][SIZES], *mr[EA_FORMS][SIZES], *mi[EA_FORMS][SIZES];
} AluRow;

#define ALU_ROW(name)                                                                              \
    {                                                                                              \
        BY_SIZE(name##_rr), BY_SIZE(name##_ri), BY_FORM(name##_rm), BY_FORM(name##_mr),            \
            BY_FORM(name##_mi)                                                                     \
    }

static const AluRow *alu_row(ZydisMnemonic mnemonic)
{
    static const AluRow row_add = ALU_ROW(add), row_or = ALU_ROW(or), row_adc = ALU_ROW(adc),
                        row_sbb = ALU_ROW(sbb), row_and = ALU_ROW(and), row_sub = ALU_ROW(sub),
                        row_xor = ALU_ROW(xor), row_cmp = ALU_ROW(cmp), row_test = ALU_ROW(test);
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_ADD:
        return &row_add;
    case ZYDIS_MNEMONIC_OR:
        return &row_or;
    case ZYDIS_MNEMONIC_ADC:
        return &row_adc;
    case ZYDIS_MNEMONIC_SBB:
        return &row_sbb;
    case ZYDIS_MNEMONIC_AND:
        return &row_and;
    case ZYDIS_MNEMONIC_SUB:
        return &row_sub;
    case ZYDIS_MNEMONIC_XOR:
        return &row_xor;
    case ZYDIS_MNEMONIC_CMP:
        return &row_cmp;
    case ZYDIS_MNEMONIC_TEST:
        return &row_test;
    default:
        return NULL;
    }
}

typedef struct UnaryRow {
    OpFn *r[SIZES], *m[SIZES];
} UnaryRow;

static const UnaryRow *unary_row(ZydisMnemonic mnemonic)
{
    static const UnaryRow row_inc = {BY_SIZE(inc_r), BY_SIZE(inc_m)},
                          row_dec = {BY_SIZE(dec_r), BY_SIZE(dec_m)},
                          row_neg = {BY_SIZE(neg_r), BY_SIZE(neg_m)},
                          row_not = {BY_SIZE(not_r), BY_SIZE(not_m)};
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_INC:
        return &row_inc;
    case ZYDIS_MNEMONIC_DEC:
        return &row_dec;
    case ZYDIS_MNEMONIC_NEG:
        return &row_neg;
    case ZYDIS_MNEMONIC_NOT:
        return &row_not;
    default:
        return NULL;
    }
}

bool bind_alu(Cpu *cpu, const Insn *insn, Op *op)
{
    const ZydisDecodedOperand *first = &insn->operands[0], *second = &insn->operands[1];
    const AluRow *row = alu_row(insn->zydis->mnemonic);
    const UnaryRow *unary = row ? NULL : unary_row(insn->zydis->mnemonic);
    if ((!row && !unary) || op->attr & OP_LOCK)
        return false;
    op->attr &= (uint8_t) ~(OP_BYTE_HIGH_REG | OP_BYTE_HIGH_RM);
    if (is_gpr(first))
        use_register(op, false, first);
    else if (row && is_gpr(second))
        use_register(op, false, second);
    if (row && is_gpr(first) && is_gpr(second))
        use_register(op, true, second);
    SizeTag size = size_tag(first->size, op);
    bool immediate = row && second->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (unary)
        op->fn = insn->has_memory ? unary->m[size] : unary->r[size];
    else if (!insn->has_memory)
        op->fn = immediate ? row->ri[size] : row->rr[size];
    else if (!insn->memory_is_destination)
        op->fn = row->rm[ea_form(op)][size];
    else
        op->fn = immediate ? row->mi[ea_form(op)][size] : row->mr[ea_form(op)][size];
    return true;
}

/* ---- For op_fuse.c ---- */

FuseKind fuse_kind(OpFn *fn)
{
#define COMPARE_KINDS(NAME, name, S)                                                               \
    {name##_rr_##S, FUSE_##NAME##_RR_##S}, {name##_ri_##S, FUSE_##NAME##_RI_##S},                  \
    {                                                                                              \
        name##_mi_EA_BASE_##S, FUSE_##NAME##_MI_##S                                                \
    }
#define COUNT_KINDS(S)                                                                             \
    {cmp_rm_EA_BASE_##S, FUSE_CMP_RM_##S}, {cmp_mr_EA_BASE_##S, FUSE_CMP_MR_##S},                  \
        {inc_r_##S, FUSE_INC_##S}, {dec_r_##S, FUSE_DEC_##S}, {add_ri_##S, FUSE_ADD_##S},          \
    {                                                                                              \
        sub_ri_##S, FUSE_SUB_##S                                                                   \
    }
    static const struct {
        OpFn *fn;
        FuseKind kind;
    } kinds[] = {COMPARE_KINDS(CMP, cmp, 8),
                 COMPARE_KINDS(CMP, cmp, 32),
                 COMPARE_KINDS(CMP, cmp, 64),
                 COMPARE_KINDS(TEST, test, 8),
                 COMPARE_KINDS(TEST, test, 32),
                 COMPARE_KINDS(TEST, test, 64),
                 COUNT_KINDS(32),
                 COUNT_KINDS(64)};
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (kinds[i].fn == fn)
            return kinds[i].kind;
    return FUSE_NONE;
}
