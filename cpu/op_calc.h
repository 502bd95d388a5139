/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic by the host's own instructions: name_S(cpu, a, b) sets cpu->flags. */
#ifndef VMRUN_CPU_OP_CALC_H
#define VMRUN_CPU_OP_CALC_H

#include "op_common.h"

#define CALC2(name, S, pre, insn)                                                                  \
    ALWAYS_INLINE TYPE_##S name##_##S(Cpu *cpu, TYPE_##S a, TYPE_##S b)                            \
    {                                                                                              \
        uint16_t flags = pre[0] ? cpu->flags : 0;                                                  \
        if (pre[0])                                                                                \
            __asm__(pre insn SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                                \
                    : [a] "+&q"(a), "+&a"(flags)                                                   \
                    : [b] "q"(b)                                                                   \
                    : "cc");                                                                       \
        else                                                                                       \
            __asm__(insn SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                                    \
                    : [a] "+&q"(a), "=&a"(flags)                                                   \
                    : [b] "q"(b)                                                                   \
                    : "cc");                                                                       \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }
#define CALC1(name, S, pre, insn)                                                                  \
    ALWAYS_INLINE TYPE_##S name##_##S(Cpu *cpu, TYPE_##S a)                                        \
    {                                                                                              \
        uint16_t flags = cpu->flags;                                                               \
        __asm__(pre insn SUFFIX_##S " %[a]" ASM_FLAGS_OUT : [a] "+&q"(a), "+&a"(flags) : : "cc");  \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }
#define CALC2_OF(name, pre, insn, S) CALC2(name, S, pre, insn)
#define CALC1_OF(name, pre, insn, S) CALC1(name, S, pre, insn)
/* clang-format off */
ALL_SIZES(CALC2_OF, add, "", "add")
ALL_SIZES(CALC2_OF, or, "", "or")
ALL_SIZES(CALC2_OF, adc, ASM_CARRY_IN, "adc")
ALL_SIZES(CALC2_OF, sbb, ASM_CARRY_IN, "sbb")
ALL_SIZES(CALC2_OF, and, "", "and")
ALL_SIZES(CALC2_OF, sub, "", "sub")
ALL_SIZES(CALC2_OF, xor, "", "xor")
ALL_SIZES(CALC1_OF, inc, ASM_CARRY_IN, "inc")
ALL_SIZES(CALC1_OF, dec, ASM_CARRY_IN, "dec")
ALL_SIZES(CALC1_OF, neg, "", "neg")
/* clang-format on */

#define CALC_NOT(S)                                                                                \
    ALWAYS_INLINE TYPE_##S not_##S(Cpu *cpu, TYPE_##S a)                                           \
    {                                                                                              \
        return (TYPE_##S) ~a;                                                                      \
    }
/* clang-format off */
CALC_NOT(8)
CALC_NOT(8h)
CALC_NOT(16)
CALC_NOT(32)
CALC_NOT(64)
/* clang-format on */

/* Comparisons have no result. */
#define COMPARE(name, insn, S)                                                                     \
    ALWAYS_INLINE void name##_##S(Cpu *cpu, TYPE_##S a, TYPE_##S b)                                \
    {                                                                                              \
        uint16_t flags;                                                                            \
        __asm__(insn SUFFIX_##S " %[b], %[a]" ASM_FLAGS_OUT                                        \
                : "=&a"(flags)                                                                     \
                : [a] "q"(a), [b] "q"(b)                                                           \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
    }
/* clang-format off */
ALL_SIZES(COMPARE, cmp, "cmp")
ALL_SIZES(COMPARE, test, "test")
/* clang-format on */

#endif
