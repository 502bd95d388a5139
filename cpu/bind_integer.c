/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integer instructions: each op_*.c knows its own. */
#include "op_common.h"

bool bind_integer(Cpu *cpu, const Insn *insn, Op *op)
{
    return bind_alu(cpu, insn, op) || bind_move(cpu, insn, op) || bind_shift(cpu, insn, op) ||
           bind_atomic(cpu, insn, op) || bind_bits(cpu, insn, op) || bind_muldiv(cpu, insn, op) ||
           bind_misc(cpu, insn, op);
}
