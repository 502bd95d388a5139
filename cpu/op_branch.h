/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Near transfers: how handlers end with one.
 *
 * A direct branch has its target, less the block's rip, in op->imm, and what masks the sum in
 * op->disp: so that one handler does for 32- and 64-bit code.  A conditional one has in op->extra
 * how many instructions of the block lie behind it: they were counted when the block was entered.
 */
#ifndef VMRUN_CPU_OP_BRANCH_H
#define VMRUN_CPU_OP_BRANCH_H

#include "op_common.h"

static inline bool code64(const Cpu *cpu)
{
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64;
}

/* Where a direct branch goes. */
#define BRANCH_TARGET(cpu, op) (((cpu)->gpr[SLOT_RIP] + (op)->imm) & (uint64_t)(op)->disp)

/* Ends a handler: takes a direct branch in flat code. */
#define TAKE_FLAT(cpu, op)                                                                         \
    do {                                                                                           \
        (cpu)->budget += (op)->extra;                                                              \
        BLOCK_CHAIN(cpu, op, BRANCH_TARGET(cpu, op));                                              \
    } while (0)

/* Ends a handler: any near transfer whose target is checked already. */
static inline const Op *jump_to(Cpu *cpu, uint64_t rip)
{
    if (cpu->mode & MODE_FLAT)
        return block_jump(cpu, rip, true);
    return block_jump(cpu, rip, false);
}

/* Faults if a near transfer cannot go there. */
static inline void check_target_64(Cpu *cpu, const Op *op, uint64_t rip)
{
    if (G_UNLIKELY((uint64_t)((int64_t)(rip << 16) >> 16) != rip))
        cpu_fault_code(cpu, op, EXC_GP, 0);
}
static inline void check_target(Cpu *cpu, const Op *op, uint64_t rip)
{
    if (code64(cpu))
        check_target_64(cpu, op, rip);
    else if (G_UNLIKELY(rip > cpu->seg[SEG_CS].limit))
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* Conditional jumps of flat code by condition: what op_fuse.c joins to a comparison. */
extern OpFn *const jcc_flat[16];
/* The handler for op and the conditional jump behind it in one, or NULL. */
OpFn *fused_handler(const Op *op, unsigned condition);

#endif
