/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which handlers of op_alu.c can be joined with a conditional jump. */
#ifndef VMRUN_CPU_OP_FUSE_H
#define VMRUN_CPU_OP_FUSE_H

#include "cpu_private.h"

#define FUSE_COMPARE(NAME, S) FUSE_##NAME##_RR_##S, FUSE_##NAME##_RI_##S, FUSE_##NAME##_MI_##S
#define FUSE_COUNT(S)                                                                              \
    FUSE_CMP_RM_##S, FUSE_CMP_MR_##S, FUSE_INC_##S, FUSE_DEC_##S, FUSE_ADD_##S, FUSE_SUB_##S
typedef enum {
    FUSE_NONE,
    FUSE_COMPARE(CMP, 8),
    FUSE_COMPARE(CMP, 32),
    FUSE_COMPARE(CMP, 64),
    FUSE_COMPARE(TEST, 8),
    FUSE_COMPARE(TEST, 32),
    FUSE_COMPARE(TEST, 64),
    FUSE_COUNT(32),
    FUSE_COUNT(64),
    FUSE_KINDS
} FuseKind;

/* FUSE_NONE for all others. Memory operands are of EA_BASE. */
FuseKind fuse_kind(OpFn *fn);

#endif
