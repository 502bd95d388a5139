/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD: by the host's instruction, whose count is masked
 * as the guest's is.  A count of zero changes no flag, which the host's instruction knows: it gets
 * the guest's flags beforehand.
 */
#include "op_common.h"

#define SHIFT(insn, S)                                                                             \
    ALWAYS_INLINE TYPE_##S insn##_##S(Cpu *cpu, TYPE_##S a, uint8_t count)                         \
    {                                                                                              \
        uint16_t flags = cpu->flags;                                                               \
        __asm__(ASM_FLAGS_IN #insn SUFFIX_##S " %%cl, %[a]" ASM_FLAGS_OUT                          \
                : [a] "+&q"(a), "+&a"(flags)                                                       \
                : "c"(count)                                                                       \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }
#define SHIFT_HANDLERS(insn, S)                                                                    \
    SHIFT(insn, S)                                                                                 \
    HANDLER(insn##_ri_##S)                                                                         \
    {                                                                                              \
        TYPE_##S result = insn##_##S(cpu, GET_REG(S), (uint8_t)op->imm);                           \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(insn##_rc_##S)                                                                         \
    {                                                                                              \
        TYPE_##S result = insn##_##S(cpu, GET_REG(S), (uint8_t)cpu->gpr[GPR_RCX]);                 \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(insn##_m_##S)                                                                          \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        uint8_t count = (uint8_t)(op->extra ? cpu->gpr[GPR_RCX] : op->imm);                        \
        void *host = rmw_at(cpu, op, at, BYTES_##S);                                               \
        TYPE_##S a = RMW_LOAD(S, host, at);                                                        \
        a = insn##_##S(cpu, a, count);                                                             \
        RMW_STORE(S, host, at, a);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
/* clang-format off */
ALL_SIZES(SHIFT_HANDLERS, shl)
ALL_SIZES(SHIFT_HANDLERS, shr)
ALL_SIZES(SHIFT_HANDLERS, sar)
ALL_SIZES(SHIFT_HANDLERS, rol)
ALL_SIZES(SHIFT_HANDLERS, ror)
ALL_SIZES(SHIFT_HANDLERS, rcl)
ALL_SIZES(SHIFT_HANDLERS, rcr)
/* clang-format on */

/* By a count that is known not to be zero shifts need no flags. */
#define SHIFT_KNOWN(insn, S)                                                                       \
    HANDLER(insn##_known_##S)                                                                      \
    {                                                                                              \
        TYPE_##S a = GET_REG(S);                                                                   \
        uint16_t flags;                                                                            \
        __asm__(#insn SUFFIX_##S " %%cl, %[a]" ASM_FLAGS_OUT                                       \
                : [a] "+&q"(a), "=&a"(flags)                                                       \
                : "c"((uint8_t)op->imm)                                                            \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        PUT_REG(S, a);                                                                             \
        NEXT(cpu, op);                                                                             \
    }
/* clang-format off */
ALL_SIZES(SHIFT_KNOWN, shl)
ALL_SIZES(SHIFT_KNOWN, shr)
ALL_SIZES(SHIFT_KNOWN, sar)
/* clang-format on */

/* ---- SHLD, SHRD ---- */

#define DOUBLE_SHIFT(insn, S)                                                                      \
    ALWAYS_INLINE TYPE_##S insn##_##S(Cpu *cpu, TYPE_##S a, TYPE_##S b, uint8_t count)             \
    {                                                                                              \
        uint16_t flags = cpu->flags;                                                               \
        __asm__(ASM_FLAGS_IN #insn SUFFIX_##S " %%cl, %[b], %[a]" ASM_FLAGS_OUT                    \
                : [a] "+&r"(a), "+&a"(flags)                                                       \
                : [b] "r"(b), "c"(count)                                                           \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }                                                                                              \
    HANDLER(insn##_r_##S)                                                                          \
    {                                                                                              \
        uint8_t count = (uint8_t)(op->extra ? cpu->gpr[GPR_RCX] : op->imm);                        \
        TYPE_##S result = insn##_##S(cpu, GET_REG(S), GET_RM(S), count);                           \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(insn##_m_##S)                                                                          \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        uint8_t count = (uint8_t)(op->extra ? cpu->gpr[GPR_RCX] : op->imm);                        \
        void *host = rmw_at(cpu, op, at, BYTES_##S);                                               \
        TYPE_##S a = RMW_LOAD(S, host, at);                                                        \
        a = insn##_##S(cpu, a, GET_RM(S), count);                                                  \
        RMW_STORE(S, host, at, a);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
DOUBLE_SHIFT(shld, 16)
DOUBLE_SHIFT(shld, 32)
DOUBLE_SHIFT(shld, 64)
DOUBLE_SHIFT(shrd, 16)
DOUBLE_SHIFT(shrd, 32)
DOUBLE_SHIFT(shrd, 64)

/* ---- Which handler ---- */

typedef struct ShiftRow {
    OpFn *ri[SIZES], *rc[SIZES], *m[SIZES], *known[SIZES];
} ShiftRow;

#define ROW(name)                                                                                  \
    {                                                                                              \
        BY_SIZE(name##_ri), BY_SIZE(name##_rc), BY_SIZE(name##_m)                                  \
    }
#define ROW_KNOWN(name)                                                                            \
    {                                                                                              \
        BY_SIZE(name##_ri), BY_SIZE(name##_rc), BY_SIZE(name##_m), BY_SIZE(name##_known)           \
    }

static const ShiftRow *shift_row(ZydisMnemonic mnemonic)
{
    static const ShiftRow row_shl = ROW_KNOWN(shl), row_shr = ROW_KNOWN(shr),
                          row_sar = ROW_KNOWN(sar), row_rol = ROW(rol), row_ror = ROW(ror),
                          row_rcl = ROW(rcl), row_rcr = ROW(rcr);
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
        return &row_shl;
    case ZYDIS_MNEMONIC_SHR:
        return &row_shr;
    case ZYDIS_MNEMONIC_SAR:
        return &row_sar;
    case ZYDIS_MNEMONIC_ROL:
        return &row_rol;
    case ZYDIS_MNEMONIC_ROR:
        return &row_ror;
    case ZYDIS_MNEMONIC_RCL:
        return &row_rcl;
    case ZYDIS_MNEMONIC_RCR:
        return &row_rcr;
    default:
        return NULL;
    }
}

static bool bind_double(const Insn *insn, Op *op)
{
    static OpFn *const handlers[2][2][SIZES] = {
        {{[SIZE_16] = shld_r_16, [SIZE_32] = shld_r_32, [SIZE_64] = shld_r_64},
         {[SIZE_16] = shld_m_16, [SIZE_32] = shld_m_32, [SIZE_64] = shld_m_64}},
        {{[SIZE_16] = shrd_r_16, [SIZE_32] = shrd_r_32, [SIZE_64] = shrd_r_64},
         {[SIZE_16] = shrd_m_16, [SIZE_32] = shrd_m_32, [SIZE_64] = shrd_m_64}}};
    if (!insn->has_memory)
        use_register(op, false, &insn->operands[0]);
    use_register(op, true, &insn->operands[1]);
    op->extra = insn->operands[2].type == ZYDIS_OPERAND_TYPE_REGISTER;
    op->fn = handlers[insn->zydis->mnemonic == ZYDIS_MNEMONIC_SHRD][insn->has_memory]
                     [size_tag(insn->operands[0].size, op)];
    return true;
}

bool bind_shift(Cpu *cpu, const Insn *insn, Op *op)
{
    ZydisMnemonic mnemonic = insn->zydis->mnemonic;
    if (mnemonic == ZYDIS_MNEMONIC_SHLD || mnemonic == ZYDIS_MNEMONIC_SHRD)
        return bind_double(insn, op);
    const ShiftRow *row = shift_row(mnemonic);
    if (!row)
        return false;
    bool by_register = insn->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    op->attr &= (uint8_t) ~(OP_BYTE_HIGH_REG | OP_BYTE_HIGH_RM);
    if (!insn->has_memory)
        use_register(op, false, &insn->operands[0]);
    SizeTag size = size_tag(insn->operands[0].size, op);
    unsigned mask = insn->operands[0].size == 64 ? 63 : 31;
    op->extra = by_register;
    if (insn->has_memory)
        op->fn = row->m[size];
    else if (by_register)
        op->fn = row->rc[size];
    else if (row->known[size] && (op->imm & mask))
        op->fn = row->known[size];
    else
        op->fn = row->ri[size];
    return true;
}
