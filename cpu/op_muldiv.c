/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MUL, IMUL, DIV, IDIV: by the host's instruction, after the checks that would make it fault. */
#include "op_common.h"

/* The explicit operand: register or memory (op->extra). */
#define SOURCE(S) (op->extra ? LOAD_##S(READ_AT(S, EA_ANY)) : GET_RM(S))

/* ---- One operand: the product or dividend in DX:AX (AX for bytes) ---- */

/*
 * AX is the accumulator here, so the flags go through another register: SAHF wants them in AH, so
 * they are loaded before the accumulator, which a plain MOV then fills.
 */
#define FLAGS_BEFORE "movzwl %w[flags], %%eax\n\t" ASM_FLAGS_IN "mov %[low], %%rax\n\t"
#define FLAGS_AFTER  "\n\tmov %%rax, %[low]\n\tlahf\n\tseto %%al\n\tmov %%eax, %k[flags]"

#define WIDE(insn, S)                                                                              \
    ALWAYS_INLINE void insn##_host_##S(Cpu *cpu, uint64_t *low, uint64_t *high, TYPE_##S operand)  \
    {                                                                                              \
        uint32_t flags = cpu->flags;                                                               \
        uint64_t a = *low, d = *high;                                                              \
        __asm__(FLAGS_BEFORE #insn SUFFIX_##S " %[operand]" FLAGS_AFTER                            \
                : [low] "+&r"(a), "+&d"(d), [flags] "+&r"(flags)                                   \
                : [operand] "q"(operand)                                                           \
                : "rax", "cc");                                                                    \
        cpu->flags = (uint16_t)flags;                                                              \
        *low = a;                                                                                  \
        *high = d;                                                                                 \
    }
#define WIDE_SIZES(insn) WIDE(insn, 8) WIDE(insn, 16) WIDE(insn, 32) WIDE(insn, 64)
/* clang-format off */
WIDE_SIZES(mul)
WIDE_SIZES(imul)
WIDE_SIZES(div)
WIDE_SIZES(idiv)
/* clang-format on */

#define MULTIPLY(insn, S)                                                                          \
    HANDLER(insn##_##S)                                                                            \
    {                                                                                              \
        uint64_t low = cpu->gpr[GPR_RAX], high = 0;                                                \
        TYPE_##S factor = SOURCE(S);                                                               \
        insn##_host_##S(cpu, &low, &high, factor);                                                 \
        PUT_##S(GPR_RAX, 0, low);                                                                  \
        PUT_##S(GPR_RDX, 0, high);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
#define MULTIPLY_BYTE(insn)                                                                        \
    HANDLER(insn##_8)                                                                              \
    {                                                                                              \
        uint64_t low = cpu->gpr[GPR_RAX], high = 0;                                                \
        uint8_t factor = SOURCE(8h);                                                               \
        insn##_host_8(cpu, &low, &high, factor);                                                   \
        PUT_16(GPR_RAX, 0, low);                                                                   \
        NEXT(cpu, op);                                                                             \
    }
MULTIPLY_BYTE(mul)
MULTIPLY(mul, 16)
MULTIPLY(mul, 32)
MULTIPLY(mul, 64)
MULTIPLY_BYTE(imul)
MULTIPLY(imul, 16)
MULTIPLY(imul, 32)
MULTIPLY(imul, 64)

/* ---- Division: #DE if the quotient does not fit ---- */

static bool divides(uint64_t high, uint64_t divisor)
{
    return high < divisor; /* and so divisor is not zero */
}

static bool divides_signed(int64_t dividend, int64_t divisor, unsigned bits)
{
    /* The host's division must not fault itself. */
    if (!divisor || (divisor == -1 && dividend == INT64_MIN))
        return false;
    int64_t quotient = dividend / divisor, limit = INT64_C(1) << (bits - 1);
    return quotient >= -limit && quotient < limit;
}

static bool divides_signed_128(uint64_t high, uint64_t low, int64_t divisor)
{
    if (!divisor)
        return false;
    if (high == (uint64_t)((int64_t)low >> 63)) /* fits into 64 bits */
        return divisor != -1 || low != 1ull << 63;
    unsigned __int128 dividend = (unsigned __int128)high << 64 | low;
    bool negative = high >> 63, quotient_negative = negative != (divisor < 0);
    unsigned __int128 size = negative ? -dividend : dividend;
    uint64_t by = divisor < 0 ? -(uint64_t)divisor : (uint64_t)divisor;
    return size / by < ((unsigned __int128)1 << 63) + quotient_negative;
}

#define DIVIDE(S)                                                                                  \
    HANDLER(div_##S)                                                                               \
    {                                                                                              \
        uint64_t low = cpu->gpr[GPR_RAX], high = cpu->gpr[GPR_RDX];                                \
        TYPE_##S divisor = SOURCE(S);                                                              \
        if (G_UNLIKELY(!divides((TYPE_##S)high, divisor)))                                         \
            cpu_fault(cpu, op, EXC_DE);                                                            \
        div_host_##S(cpu, &low, &high, divisor);                                                   \
        PUT_##S(GPR_RAX, 0, low);                                                                  \
        PUT_##S(GPR_RDX, 0, high);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
#define DIVIDE_SIGNED(S, fits)                                                                     \
    HANDLER(idiv_##S)                                                                              \
    {                                                                                              \
        uint64_t low = cpu->gpr[GPR_RAX], high = cpu->gpr[GPR_RDX];                                \
        TYPE_##S divisor = SOURCE(S);                                                              \
        if (G_UNLIKELY(!(fits)))                                                                   \
            cpu_fault(cpu, op, EXC_DE);                                                            \
        idiv_host_##S(cpu, &low, &high, divisor);                                                  \
        PUT_##S(GPR_RAX, 0, low);                                                                  \
        PUT_##S(GPR_RDX, 0, high);                                                                 \
        NEXT(cpu, op);                                                                             \
    }
DIVIDE(16)
DIVIDE(32)
DIVIDE(64)
DIVIDE_SIGNED(16,
              divides_signed((int32_t)((uint32_t)high << 16 | (uint16_t)low), (int16_t)divisor, 16))
DIVIDE_SIGNED(32, divides_signed((int64_t)(high << 32 | (uint32_t)low), (int32_t)divisor, 32))
DIVIDE_SIGNED(64, divides_signed_128(high, low, (int64_t)divisor))

HANDLER(div_8)
{
    uint64_t low = cpu->gpr[GPR_RAX], high = 0;
    uint8_t divisor = SOURCE(8h);
    if (!divides((uint8_t)(low >> 8), divisor))
        cpu_fault(cpu, op, EXC_DE);
    div_host_8(cpu, &low, &high, divisor);
    PUT_16(GPR_RAX, 0, low);
    NEXT(cpu, op);
}

HANDLER(idiv_8)
{
    uint64_t low = cpu->gpr[GPR_RAX], high = 0;
    uint8_t divisor = SOURCE(8h);
    if (!divides_signed((int16_t)low, (int8_t)divisor, 8))
        cpu_fault(cpu, op, EXC_DE);
    idiv_host_8(cpu, &low, &high, divisor);
    PUT_16(GPR_RAX, 0, low);
    NEXT(cpu, op);
}

/* ---- IMUL of two and three operands ---- */

#define MULTIPLY_INTO(S)                                                                           \
    ALWAYS_INLINE TYPE_##S multiply_##S(Cpu *cpu, TYPE_##S a, TYPE_##S b)                          \
    {                                                                                              \
        uint16_t flags = cpu->flags;                                                               \
        __asm__(ASM_FLAGS_IN "imul" SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                         \
                : [a] "+&r"(a), "+&a"(flags)                                                       \
                : [b] "r"(b)                                                                       \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }                                                                                              \
    HANDLER(imul_rr_##S)                                                                           \
    {                                                                                              \
        TYPE_##S result = multiply_##S(cpu, GET_REG(S), GET_RM(S));                                \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(imul_rm_##S)                                                                           \
    {                                                                                              \
        TYPE_##S b = LOAD_##S(READ_AT(S, EA_ANY));                                                 \
        TYPE_##S result = multiply_##S(cpu, GET_REG(S), b);                                        \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(imul_i_##S)                                                                            \
    {                                                                                              \
        TYPE_##S a = SOURCE(S);                                                                    \
        TYPE_##S result = multiply_##S(cpu, a, (TYPE_##S)op->imm);                                 \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }
MULTIPLY_INTO(16)
MULTIPLY_INTO(32)
MULTIPLY_INTO(64)

/* ---- Which handler ---- */

#define SIZES_OF(name)                                                                             \
    {                                                                                              \
        [SIZE_8] = name##_8, [SIZE_8H] = name##_8, [SIZE_16] = name##_16, [SIZE_32] = name##_32,   \
        [SIZE_64] = name##_64                                                                      \
    }
#define WIDE_SIZES_OF(name)                                                                        \
    {                                                                                              \
        [SIZE_16] = name##_16, [SIZE_32] = name##_32, [SIZE_64] = name##_64                        \
    }

static bool bind_imul_into(const Insn *insn, Op *op)
{
    static OpFn *const rr[SIZES] = WIDE_SIZES_OF(imul_rr),
                       *const rm[SIZES] = WIDE_SIZES_OF(imul_rm),
                       *const i[SIZES] = WIDE_SIZES_OF(imul_i);
    use_register(op, false, &insn->operands[0]);
    if (!insn->has_memory)
        use_register(op, true, &insn->operands[1]);
    SizeTag size = size_tag(insn->operands[0].size, op);
    if (insn->zydis->operand_count_visible == 3)
        op->fn = i[size];
    else
        op->fn = insn->has_memory ? rm[size] : rr[size];
    return true;
}

bool bind_muldiv(Cpu *cpu, const Insn *insn, Op *op)
{
    static OpFn *const handlers[4][SIZES] = {SIZES_OF(mul), SIZES_OF(imul), SIZES_OF(div),
                                             SIZES_OF(idiv)};
    unsigned which;
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_MUL:
        which = 0;
        break;
    case ZYDIS_MNEMONIC_IMUL:
        which = 1;
        break;
    case ZYDIS_MNEMONIC_DIV:
        which = 2;
        break;
    case ZYDIS_MNEMONIC_IDIV:
        which = 3;
        break;
    default:
        return false;
    }
    op->extra = insn->has_memory;
    op->attr &= (uint8_t) ~(OP_BYTE_HIGH_REG | OP_BYTE_HIGH_RM);
    if (which == 1 && insn->zydis->operand_count_visible > 1)
        return bind_imul_into(insn, op);
    if (!insn->has_memory)
        use_register(op, true, &insn->operands[0]);
    op->fn = handlers[which][size_tag(insn->operands[0].size, op)];
    return true;
}
