/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A comparison or count and the conditional jump behind it, in one handler.  The jump's Op keeps
 * its place: faults are the first's, and the chain stands in the second.
 */
#include "op_fuse.h"
#include "op_branch.h"
#include "op_calc.h"

#define JUMP_IF(c)                                                                                 \
    do {                                                                                           \
        const Op *jump = op + 1;                                                                   \
        if (flags_hold(cpu->flags, c))                                                             \
            TAKE_FLAT(cpu, jump);                                                                  \
        NEXT(cpu, jump);                                                                           \
    } while (0)

/* ---- CMP, TEST ---- */

#define COMPARE_JUMP(name, S, c)                                                                   \
    HANDLER(name##_rr_##S##_##c)                                                                   \
    {                                                                                              \
        name##_##S(cpu, GET_REG(S), GET_RM(S));                                                    \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(name##_ri_##S##_##c)                                                                   \
    {                                                                                              \
        name##_##S(cpu, GET_REG(S), (TYPE_##S)op->imm);                                            \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(name##_mi_##S##_##c)                                                                   \
    {                                                                                              \
        name##_##S(cpu, LOAD_##S(READ_AT(S, EA_BASE)), (TYPE_##S)op->imm);                         \
        JUMP_IF(c);                                                                                \
    }
#define COMPARE_8(c)  COMPARE_JUMP(cmp, 8, c) COMPARE_JUMP(test, 8, c)
#define COMPARE_32(c) COMPARE_JUMP(cmp, 32, c) COMPARE_JUMP(test, 32, c)
#define COMPARE_64(c) COMPARE_JUMP(cmp, 64, c) COMPARE_JUMP(test, 64, c)
/* clang-format off */
FOR_CONDITIONS(COMPARE_8)
FOR_CONDITIONS(COMPARE_32)
FOR_CONDITIONS(COMPARE_64)
/* clang-format on */

/* CMP of a register and memory. */
#define COMPARE_MEMORY(S, c)                                                                       \
    HANDLER(cmp_rm_##S##_##c)                                                                      \
    {                                                                                              \
        cmp_##S(cpu, GET_REG(S), LOAD_##S(READ_AT(S, EA_BASE)));                                   \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(cmp_mr_##S##_##c)                                                                      \
    {                                                                                              \
        cmp_##S(cpu, LOAD_##S(READ_AT(S, EA_BASE)), GET_REG(S));                                   \
        JUMP_IF(c);                                                                                \
    }
#define COMPARE_MEMORY_32(c) COMPARE_MEMORY(32, c)
#define COMPARE_MEMORY_64(c) COMPARE_MEMORY(64, c)
/* clang-format off */
FOR_CONDITIONS(COMPARE_MEMORY_32)
FOR_CONDITIONS(COMPARE_MEMORY_64)
/* clang-format on */

/* ---- Counting ---- */

#define COUNT_JUMP(S, c)                                                                           \
    HANDLER(inc_r_##S##_##c)                                                                       \
    {                                                                                              \
        TYPE_##S result = inc_##S(cpu, GET_REG(S));                                                \
        PUT_REG(S, result);                                                                        \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(dec_r_##S##_##c)                                                                       \
    {                                                                                              \
        TYPE_##S result = dec_##S(cpu, GET_REG(S));                                                \
        PUT_REG(S, result);                                                                        \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(add_ri_##S##_##c)                                                                      \
    {                                                                                              \
        TYPE_##S result = add_##S(cpu, GET_REG(S), (TYPE_##S)op->imm);                             \
        PUT_REG(S, result);                                                                        \
        JUMP_IF(c);                                                                                \
    }                                                                                              \
    HANDLER(sub_ri_##S##_##c)                                                                      \
    {                                                                                              \
        TYPE_##S result = sub_##S(cpu, GET_REG(S), (TYPE_##S)op->imm);                             \
        PUT_REG(S, result);                                                                        \
        JUMP_IF(c);                                                                                \
    }
#define COUNT_32(c) COUNT_JUMP(32, c)
#define COUNT_64(c) COUNT_JUMP(64, c)
/* clang-format off */
FOR_CONDITIONS(COUNT_32)
FOR_CONDITIONS(COUNT_64)
/* clang-format on */

/* ---- Which handler ---- */

#define ENTRIES_1(name)                                                                            \
    {                                                                                              \
        name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8,  \
            name##_9, name##_10, name##_11, name##_12, name##_13, name##_14, name##_15             \
    }

static OpFn *const handlers[FUSE_KINDS][16] = {
    [FUSE_NONE] = {NULL},
#define COMPARE_ROWS(NAME, name, S)                                                                \
    [FUSE_##NAME##_RR_##S] = ENTRIES_1(name##_rr_##S),                                             \
    [FUSE_##NAME##_RI_##S] = ENTRIES_1(name##_ri_##S),                                             \
    [FUSE_##NAME##_MI_##S] = ENTRIES_1(name##_mi_##S)
    COMPARE_ROWS(CMP, cmp, 8),
    COMPARE_ROWS(CMP, cmp, 32),
    COMPARE_ROWS(CMP, cmp, 64),
    COMPARE_ROWS(TEST, test, 8),
    COMPARE_ROWS(TEST, test, 32),
    COMPARE_ROWS(TEST, test, 64),
#define MEMORY_ROWS(S)                                                                             \
    [FUSE_CMP_RM_##S] = ENTRIES_1(cmp_rm_##S), [FUSE_CMP_MR_##S] = ENTRIES_1(cmp_mr_##S)
    MEMORY_ROWS(32),
    MEMORY_ROWS(64),
#define COUNT_ROWS(S)                                                                              \
    [FUSE_INC_##S] = ENTRIES_1(inc_r_##S), [FUSE_DEC_##S] = ENTRIES_1(dec_r_##S),                  \
    [FUSE_ADD_##S] = ENTRIES_1(add_ri_##S), [FUSE_SUB_##S] = ENTRIES_1(sub_ri_##S)
    COUNT_ROWS(32),
    COUNT_ROWS(64),
};

OpFn *fused_handler(const Op *op, unsigned condition)
{
    return handlers[fuse_kind(op->fn)][condition];
}
