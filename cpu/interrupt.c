/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INT n, INT1, INT3, INTO and BOUND; INT n in vm86 mode with CR4.VME (Intel SDM vol. 3, 20.3.3).
 */
#include "protect.h"

/* The program's own handler, at the real-mode table of its address space. */
static void interrupt_in_program(Cpu *cpu, const Op *op, uint8_t vector)
{
    uint32_t flags = cpu_rflags(cpu);
    bool virtual = iopl(cpu) != 3;
    uint16_t rip = cpu_load16(cpu, op, vector * 4u);
    uint16_t selector = cpu_load16(cpu, op, vector * 4u + 2);
    Stack stack = frame_current(cpu, 0);
    if (virtual) {
        flags = (flags | EFL_IOPL) & ~(uint32_t)EFL_IF;
        flags |= flags & EFL_VIF ? EFL_IF : 0;
    }
    frame_need(cpu, op, &stack, 3, 2);
    frame_map(cpu, op, &stack, 6);
    frame_push(cpu, op, &stack, 2, flags);
    frame_push(cpu, op, &stack, 2, cpu->seg[SEG_CS].selector);
    frame_push(cpu, op, &stack, 2, op_next_rip(cpu, op));
    frame_commit(cpu, &stack);
    cpu->rip = rip;
    cpu->seg[SEG_CS] = vm86_segment(selector);
    cpu_set_rflags(cpu, 0, EFL_TF | EFL_NT | (virtual ? EFL_VIF : EFL_IF));
    cpu_mode_changed(cpu);
}

/* True if CR4.VME sent it to the program's own handler. */
static bool vm86_interrupt(Cpu *cpu, const Op *op, uint8_t vector)
{
    if ((cpu->cr4 & CR4_VME) && tss_redirects(cpu, op, vector)) {
        interrupt_in_program(cpu, op, vector);
        return true;
    }
    if (iopl(cpu) != 3)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return false;
}

static const Op *interrupt(Cpu *cpu, const Op *op, unsigned vector, EventKind kind)
{
    rip_behind(cpu, op);
    cpu_deliver(cpu, op, vector, kind, false, 0);
    LEAVE(cpu);
}

const Op *op_int(Cpu *cpu, const Op *op)
{
    uint8_t vector = (uint8_t)op->imm;
    if (in_vm86(cpu) && vm86_interrupt(cpu, op, vector))
        LEAVE(cpu);
    return interrupt(cpu, op, vector, EVENT_SOFTWARE);
}

const Op *op_int1(Cpu *cpu, const Op *op)
{
    return interrupt(cpu, op, EXC_DB, EVENT_PRIVILEGED);
}

const Op *op_int3(Cpu *cpu, const Op *op)
{
    return interrupt(cpu, op, EXC_BP, EVENT_SOFTWARE);
}

const Op *op_into(Cpu *cpu, const Op *op)
{
    if (cpu->flags & FLAG_OF)
        return interrupt(cpu, op, EXC_OF, EVENT_SOFTWARE);
    cpu_step_behind(cpu, false);
    LEAVE_BEHIND(cpu, op);
}

const Op *op_bound(Cpu *cpu, const Op *op)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 2u * op->size, ACCESS_READ);
    uint64_t low = load_sized(cpu, op, linear, op->size);
    uint64_t high = load_sized(cpu, op, linear + op->size, op->size);
    bool outside;
    if (op->size == 2) {
        int16_t index = (int16_t)cpu->gpr[op->reg];
        outside = index < (int16_t)low || index > (int16_t)high;
    } else {
        int32_t index = (int32_t)cpu->gpr[op->reg];
        outside = index < (int32_t)low || index > (int32_t)high;
    }
    if (outside)
        cpu_fault(cpu, op, EXC_BR);
    NEXT(cpu, op);
}
