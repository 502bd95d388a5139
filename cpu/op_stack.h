/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stack of near transfers, PUSH and POP. */
#ifndef VMRUN_CPU_OP_STACK_H
#define VMRUN_CPU_OP_STACK_H

#include "op_common.h"

/* ESP in a flat segment. */
static inline bool stack_is_flat32(const Cpu *cpu)
{
    return (cpu->mode & (MODE_STACK32 | MODE_FLAT)) == (MODE_STACK32 | MODE_FLAT) &&
           (cpu->mode & MODE_CODE_MASK) != MODE_CODE64;
}

/* #SS if RSP does not lead anywhere.  For instructions with a memory operand of their own, whose
 * faults are #GP; all others have OP_STACK. */
ALWAYS_INLINE void stack_check_64(Cpu *cpu, const Op *op, uint64_t sp)
{
    if (G_UNLIKELY((uint64_t)((int64_t)(sp << 16) >> 16) != sp))
        cpu_fault_code(cpu, op, EXC_SS, 0);
}

/* In 64-bit code, and in code with a flat 32-bit stack. */
ALWAYS_INLINE void push_64(Cpu *cpu, const Op *op, uint64_t value)
{
    uint64_t sp = cpu->gpr[GPR_RSP] - 8;
    STORE_64(sp, value);
    cpu->gpr[GPR_RSP] = sp;
}
ALWAYS_INLINE void push_32(Cpu *cpu, const Op *op, uint32_t value)
{
    uint64_t sp = (uint32_t)(cpu->gpr[GPR_RSP] - 4);
    STORE_32(sp, value);
    cpu->gpr[GPR_RSP] = sp;
}

/* On any stack: size is 2, 4 or 8. */
void push_any(Cpu *cpu, const Op *op, uint64_t value, unsigned size);
/* Stores where a push after `below` bytes would; SP stays. */
void stack_poke(Cpu *cpu, const Op *op, unsigned below, uint64_t value, unsigned size);
/* What is at SP + above. */
uint64_t stack_peek(Cpu *cpu, const Op *op, unsigned above, unsigned size);
/* Adds to SP. */
void stack_move(Cpu *cpu, int64_t bytes);

Binder bind_stack;

#endif
