/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LOCK with ADD, OR, ADC, SBB, AND, SUB, XOR, INC, DEC, NEG, NOT; XCHG, XADD, CMPXCHG, CMPXCHG8B,
 * CMPXCHG16B with and without: the host's LOCKed instruction on the guest's memory.
 *
 * Where that cannot be (a device, two pages) or would hold up all of the host (two cache lines) the
 * parts are done in an exclusive section.
 */
#include "op_common.h"

#define SIZES_ALL(X, ...)                                                                          \
    X(__VA_ARGS__, 8h) X(__VA_ARGS__, 16) X(__VA_ARGS__, 32) X(__VA_ARGS__, 64)
#define ROW(name)                                                                                  \
    {                                                                                              \
        [SIZE_8] = name##_8h, [SIZE_8H] = name##_8h, [SIZE_16] = name##_16, [SIZE_32] = name##_32, \
        [SIZE_64] = name##_64                                                                      \
    }

/* ---- Two operands ---- */

/* op->extra: the second is the immediate. */
#define LOCK2(name, insn, S)                                                                       \
    HANDLER(name##_##S)                                                                            \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        TYPE_##S b = op->extra ? (TYPE_##S)op->imm : GET_REG(S), a;                                \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        uint16_t flags = cpu->flags;                                                               \
        if (G_LIKELY(host)) {                                                                      \
            __asm__ volatile(ASM_CARRY_IN "lock " insn SUFFIX_##S " %[b], %[m]" ASM_FLAGS_OUT      \
                             : [m] "+m"(*host), "+&a"(flags)                                       \
                             : [b] "q"(b)                                                          \
                             : "cc", "memory");                                                    \
            cpu_host_done(cpu);                                                                    \
        } else {                                                                                   \
            cpu_exclusive_begin(cpu);                                                              \
            a = LOAD_##S(at);                                                                      \
            __asm__(ASM_CARRY_IN insn SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                       \
                    : [a] "+&q"(a), "+&a"(flags)                                                   \
                    : [b] "q"(b)                                                                   \
                    : "cc");                                                                       \
            STORE_##S(at, a);                                                                      \
            cpu_exclusive_end(cpu);                                                                \
        }                                                                                          \
        cpu->flags = flags;                                                                        \
        NEXT(cpu, op);                                                                             \
    }
/* clang-format off */
SIZES_ALL(LOCK2, lock_add, "add")
SIZES_ALL(LOCK2, lock_or, "or")
SIZES_ALL(LOCK2, lock_adc, "adc")
SIZES_ALL(LOCK2, lock_sbb, "sbb")
SIZES_ALL(LOCK2, lock_and, "and")
SIZES_ALL(LOCK2, lock_sub, "sub")
SIZES_ALL(LOCK2, lock_xor, "xor")
/* clang-format on */

/* ---- One operand ---- */

#define LOCK1(name, insn, S)                                                                       \
    HANDLER(name##_##S)                                                                            \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        TYPE_##S a;                                                                                \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        uint16_t flags = cpu->flags;                                                               \
        if (G_LIKELY(host)) {                                                                      \
            __asm__ volatile(ASM_FLAGS_IN "lock " insn SUFFIX_##S " %[m]" ASM_FLAGS_OUT            \
                             : [m] "+m"(*host), "+&a"(flags)                                       \
                             :                                                                     \
                             : "cc", "memory");                                                    \
            cpu_host_done(cpu);                                                                    \
        } else {                                                                                   \
            cpu_exclusive_begin(cpu);                                                              \
            a = LOAD_##S(at);                                                                      \
            __asm__(ASM_FLAGS_IN insn SUFFIX_##S " %[a]" ASM_FLAGS_OUT                             \
                    : [a] "+&q"(a), "+&a"(flags)                                                   \
                    :                                                                              \
                    : "cc");                                                                       \
            STORE_##S(at, a);                                                                      \
            cpu_exclusive_end(cpu);                                                                \
        }                                                                                          \
        cpu->flags = flags;                                                                        \
        NEXT(cpu, op);                                                                             \
    }
/* clang-format off */
SIZES_ALL(LOCK1, lock_inc, "inc")
SIZES_ALL(LOCK1, lock_dec, "dec")
SIZES_ALL(LOCK1, lock_neg, "neg")
SIZES_ALL(LOCK1, lock_not, "not")
/* clang-format on */

/* ---- XCHG: with memory it is always locked ---- */

#define EXCHANGE(S)                                                                                \
    HANDLER(xchg_r_##S)                                                                            \
    {                                                                                              \
        TYPE_##S a = GET_REG(S), b = GET_RM(S);                                                    \
        PUT_REG(S, b);                                                                             \
        PUT_RM(S, a);                                                                              \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(xchg_m_##S)                                                                            \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        TYPE_##S a = GET_REG(S), b;                                                                \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        if (G_LIKELY(host)) {                                                                      \
            __asm__ volatile("xchg" SUFFIX_##S " %[a], %[m]"                                       \
                             : [m] "+m"(*host), [a] "+q"(a)                                        \
                             :                                                                     \
                             : "memory");                                                          \
            cpu_host_done(cpu);                                                                    \
            b = a;                                                                                 \
        } else {                                                                                   \
            cpu_exclusive_begin(cpu);                                                              \
            b = LOAD_##S(at);                                                                      \
            STORE_##S(at, a);                                                                      \
            cpu_exclusive_end(cpu);                                                                \
        }                                                                                          \
        PUT_REG(S, b);                                                                             \
        NEXT(cpu, op);                                                                             \
    }
EXCHANGE(8h)
EXCHANGE(16)
EXCHANGE(32)
EXCHANGE(64)

/* ---- XADD ---- */

#define EXCHANGE_ADD(S)                                                                            \
    ALWAYS_INLINE void xadd_host_##S(Cpu *cpu, TYPE_##S *a, TYPE_##S *b)                           \
    {                                                                                              \
        uint16_t flags;                                                                            \
        __asm__("xadd" SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                                      \
                : [a] "+&q"(*a), [b] "+&q"(*b), "=&a"(flags)                                       \
                :                                                                                  \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
    }                                                                                              \
    HANDLER(xadd_r_##S)                                                                            \
    {                                                                                              \
        TYPE_##S a = GET_REG(S), b = GET_RM(S);                                                    \
        xadd_host_##S(cpu, &a, &b);                                                                \
        /* The source first: if both are one register, it gets the sum. */                         \
        PUT_RM(S, b);                                                                              \
        PUT_REG(S, a);                                                                             \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(xadd_m_##S)                                                                            \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        TYPE_##S b = GET_RM(S);                                                                    \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        if (G_LIKELY(host)) {                                                                      \
            uint16_t flags;                                                                        \
            __asm__ volatile("lock xadd" SUFFIX_##S " %[b], %[m]" ASM_FLAGS_OUT                    \
                             : [m] "+m"(*host), [b] "+&q"(b), "=&a"(flags)                         \
                             :                                                                     \
                             : "cc", "memory");                                                    \
            cpu_host_done(cpu);                                                                    \
            cpu->flags = flags;                                                                    \
        } else {                                                                                   \
            cpu_exclusive_begin(cpu);                                                              \
            TYPE_##S a = LOAD_##S(at);                                                             \
            xadd_host_##S(cpu, &a, &b);                                                            \
            STORE_##S(at, a);                                                                      \
            cpu_exclusive_end(cpu);                                                                \
        }                                                                                          \
        PUT_RM(S, b);                                                                              \
        NEXT(cpu, op);                                                                             \
    }
EXCHANGE_ADD(8h)
EXCHANGE_ADD(16)
EXCHANGE_ADD(32)
EXCHANGE_ADD(64)

/* ---- CMPXCHG ---- */

/* The flags are CMP's of the accumulator with the destination. */
#define COMPARE_EXCHANGE(S)                                                                        \
    ALWAYS_INLINE bool equal_##S(Cpu *cpu, TYPE_##S a, TYPE_##S b)                                 \
    {                                                                                              \
        uint16_t flags;                                                                            \
        __asm__("cmp" SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                                       \
                : "=&a"(flags)                                                                     \
                : [a] "q"(a), [b] "q"(b)                                                           \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        return a == b;                                                                             \
    }                                                                                              \
    HANDLER(cmpxchg_r_##S)                                                                         \
    {                                                                                              \
        TYPE_##S old = GET_REG(S);                                                                 \
        if (equal_##S(cpu, GET_##S(GPR_RAX, 0), old)) {                                            \
            TYPE_##S fresh = GET_RM(S);                                                            \
            PUT_REG(S, fresh);                                                                     \
        } else { /* the register is not even zero-extended */                                      \
            PUT_##S(GPR_RAX, 0, old);                                                              \
        }                                                                                          \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(cmpxchg_m_##S)                                                                         \
    {                                                                                              \
        uint64_t at = WRITE_AT(S, EA_ANY);                                                         \
        TYPE_##S expected = GET_##S(GPR_RAX, 0), old = expected, fresh = GET_RM(S);                \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        if (G_LIKELY(host)) {                                                                      \
            __asm__ volatile("lock cmpxchg" SUFFIX_##S " %[fresh], %[m]"                           \
                             : [m] "+m"(*host), "+a"(old)                                          \
                             : [fresh] "q"(fresh)                                                  \
                             : "cc", "memory");                                                    \
            cpu_host_done(cpu);                                                                    \
        } else {                                                                                   \
            cpu_exclusive_begin(cpu);                                                              \
            old = LOAD_##S(at);                                                                    \
            STORE_##S(at, old == expected ? fresh : old);                                          \
            cpu_exclusive_end(cpu);                                                                \
        }                                                                                          \
        if (!equal_##S(cpu, expected, old))                                                        \
            PUT_##S(GPR_RAX, 0, old);                                                              \
        NEXT(cpu, op);                                                                             \
    }
COMPARE_EXCHANGE(8h)
COMPARE_EXCHANGE(16)
COMPARE_EXCHANGE(32)
COMPARE_EXCHANGE(64)

/* ---- CMPXCHG8B, CMPXCHG16B: only ZF changes ---- */

static void set_zero_flag(Cpu *cpu, bool equal)
{
    cpu->flags = (uint16_t)(equal ? cpu->flags | FLAG_ZF : cpu->flags & ~FLAG_ZF);
}

HANDLER(cmpxchg8b)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, 8, ACCESS_WRITE);
    uint64_t expected = cpu->gpr[GPR_RDX] << 32 | (uint32_t)cpu->gpr[GPR_RAX], old = expected;
    uint64_t fresh = cpu->gpr[GPR_RCX] << 32 | (uint32_t)cpu->gpr[GPR_RBX];
    Host_64 *host = lock_at(cpu, op, at, 8);
    if (G_LIKELY(host)) {
        __asm__ volatile("lock cmpxchgq %[fresh], %[m]"
                         : [m] "+m"(*host), "+a"(old)
                         : [fresh] "r"(fresh)
                         : "cc", "memory");
        cpu_host_done(cpu);
    } else {
        cpu_exclusive_begin(cpu);
        old = LOAD_64(at);
        STORE_64(at, old == expected ? fresh : old);
        cpu_exclusive_end(cpu);
    }
    set_zero_flag(cpu, old == expected);
    if (old != expected) {
        cpu->gpr[GPR_RAX] = (uint32_t)old;
        cpu->gpr[GPR_RDX] = old >> 32;
    }
    NEXT(cpu, op);
}

/* Device memory or two pages; the bytes can be written (they have been probed). */
static void cmpxchg16b_parts(Cpu *cpu, const Op *op, uint64_t at, uint64_t old[2])
{
    uint64_t bytes[2];
    cpu_exclusive_begin(cpu);
    cpu_read_bytes(cpu, op, at, bytes, 16);
    bool equal = bytes[0] == old[0] && bytes[1] == old[1];
    memcpy(old, bytes, 16);
    if (equal) {
        bytes[0] = cpu->gpr[GPR_RBX];
        bytes[1] = cpu->gpr[GPR_RCX];
    }
    cpu_write_bytes(cpu, op, at, bytes, 16);
    cpu_exclusive_end(cpu);
}

static void cmpxchg16b_do(Cpu *cpu, const Op *op)
{
    uint64_t at = op_linear(cpu, op, EA_ANY, 16, ACCESS_WRITE);
    if (at & 15)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint64_t old[2] = {cpu->gpr[GPR_RAX], cpu->gpr[GPR_RDX]};
    Host_64 *host = lock_at(cpu, op, at, 16);
    if (G_LIKELY(host)) {
        __asm__ volatile("lock cmpxchg16b %[m]"
                         : [m] "+m"(*(unsigned __int128 *)(void *)host), "+a"(old[0]), "+d"(old[1])
                         : "b"(cpu->gpr[GPR_RBX]), "c"(cpu->gpr[GPR_RCX])
                         : "cc", "memory");
        cpu_host_done(cpu);
    } else {
        cmpxchg16b_parts(cpu, op, at, old);
    }
    bool equal = old[0] == cpu->gpr[GPR_RAX] && old[1] == cpu->gpr[GPR_RDX];
    set_zero_flag(cpu, equal);
    cpu->gpr[GPR_RAX] = old[0];
    cpu->gpr[GPR_RDX] = old[1];
}

HANDLER(cmpxchg16b)
{
    cmpxchg16b_do(cpu, op);
    NEXT(cpu, op);
}

/* ---- Which handler ---- */

static OpFn *const *lock_row(ZydisMnemonic mnemonic)
{
    static OpFn *const rows[][SIZES] = {ROW(lock_add), ROW(lock_or),  ROW(lock_adc), ROW(lock_sbb),
                                        ROW(lock_and), ROW(lock_sub), ROW(lock_xor), ROW(lock_inc),
                                        ROW(lock_dec), ROW(lock_neg), ROW(lock_not)};
    static const ZydisMnemonic mnemonics[] = {
        ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_OR,  ZYDIS_MNEMONIC_ADC, ZYDIS_MNEMONIC_SBB,
        ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_SUB, ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_INC,
        ZYDIS_MNEMONIC_DEC, ZYDIS_MNEMONIC_NEG, ZYDIS_MNEMONIC_NOT};
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (mnemonics[i] == mnemonic)
            return rows[i];
    return NULL;
}

/* Register forms: reg is the first operand, rm the second.  Memory forms: `source` says which of
 * them has the register. */
static bool bind_exchange(const Insn *insn, Op *op, OpFn *const r[SIZES], OpFn *const m[SIZES],
                          bool source_is_rm)
{
    const ZydisDecodedOperand *first = &insn->operands[0], *second = &insn->operands[1];
    if (!insn->has_memory) {
        use_register(op, false, first);
        use_register(op, true, second);
    } else {
        use_register(op, source_is_rm, is_gpr(first) ? first : second);
    }
    SizeTag size = size_tag(first->size, op);
    op->fn = insn->has_memory ? m[size] : r[size];
    return true;
}

bool bind_atomic(Cpu *cpu, const Insn *insn, Op *op)
{
    static OpFn *const xchg_r[SIZES] = ROW(xchg_r), *const xchg_m[SIZES] = ROW(xchg_m),
                       *const xadd_r[SIZES] = ROW(xadd_r), *const xadd_m[SIZES] = ROW(xadd_m),
                       *const cmpxchg_r[SIZES] = ROW(cmpxchg_r),
                       *const cmpxchg_m[SIZES] = ROW(cmpxchg_m);
    op->attr &= (uint8_t) ~(OP_BYTE_HIGH_REG | OP_BYTE_HIGH_RM);
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:
        return bind_exchange(insn, op, xchg_r, xchg_m, false);
    case ZYDIS_MNEMONIC_XADD:
        return bind_exchange(insn, op, xadd_r, xadd_m, true);
    case ZYDIS_MNEMONIC_CMPXCHG:
        return bind_exchange(insn, op, cmpxchg_r, cmpxchg_m, true);
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        op->fn = cmpxchg8b;
        return true;
    case ZYDIS_MNEMONIC_CMPXCHG16B:
        op->fn = cmpxchg16b;
        return true;
    default:
        break;
    }
    OpFn *const *row = op->attr & OP_LOCK ? lock_row(insn->zydis->mnemonic) : NULL;
    if (!row)
        return false;
    op->extra = insn->zydis->operand_count_visible > 1 &&
                insn->operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    if (insn->zydis->operand_count_visible > 1 && !op->extra)
        use_register(op, false, &insn->operands[1]);
    op->fn = row[size_tag(insn->operands[0].size, op)];
    return true;
}
