/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far returns and IRET in all modes, to vm86 mode, 64-bit code and outer privilege included.
 * (Intel SDM vol. 2, RET and IRET; vol. 3, 20.3.1 for VME.)
 */
#include "protect.h"

/* What comes off the stack. */
typedef struct Return {
    uint64_t rip;
    uint16_t cs;
    uint32_t flags;
    bool has_flags, pops_stack; /* IRET; SS:RSP come, too */
    uint64_t rsp;
    uint16_t ss;
    unsigned drop; /* bytes of parameters */
} Return;

static G_GNUC_NORETURN void bad_selector(Cpu *cpu, const Op *op, unsigned vector, uint16_t selector)
{
    cpu_fault_code(cpu, op, vector, selector_error(selector, 0));
}

/* ---- Code and stack segments ---- */

static void read_code(Cpu *cpu, const Op *op, uint16_t selector, Descriptor *code)
{
    unsigned rpl = selector & SEL_RPL;
    if (selector_is_null(selector))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (!descriptor_read(cpu, op, selector, code) || rpl < cpu->cpl || !attr_is_code(code->attr))
        bad_selector(cpu, op, EXC_GP, selector);
    unsigned dpl = attr_dpl(code->attr);
    bool both = in_long(cpu) && (code->attr & ATTR_L) && (code->attr & ATTR_DB);
    if (both || (code->attr & TYPE_CONFORMING ? dpl > rpl : dpl != rpl))
        bad_selector(cpu, op, EXC_GP, selector);
    if (!(code->attr & ATTR_P))
        bad_selector(cpu, op, EXC_NP, selector);
}

static CpuSegment read_stack(Cpu *cpu, const Op *op, uint16_t selector, unsigned cpl,
                             const Descriptor *code)
{
    Descriptor descriptor;
    if (selector_is_null(selector)) {
        bool wide = in_long(cpu) && (code->attr & ATTR_L);
        if (!wide || cpl == 3 || (selector & SEL_RPL) != cpl)
            cpu_fault_code(cpu, op, EXC_GP, 0);
        return null_segment(selector, cpl);
    }
    stack_descriptor(cpu, op, selector, cpl, EXC_GP, 0, &descriptor);
    descriptor_touch(cpu, op, &descriptor);
    return descriptor_segment(&descriptor, selector);
}

/* ---- Flags ---- */

/* The bits that IRET may change. */
static uint32_t iret_mask(const Cpu *cpu, unsigned size)
{
    uint32_t mask = EFL_ARITH | EFL_TF | EFL_DF | EFL_NT;
    if (size != 2)
        mask |= EFL_RF | EFL_AC | EFL_ID;
    if (cpu->cpl <= iopl(cpu))
        mask |= EFL_IF;
    if (cpu->cpl == 0)
        mask |= EFL_IOPL | (size != 2 ? EFL_VIF | EFL_VIP : 0);
    return mask;
}

/* ---- Protected mode ---- */

/* RSP of the outer stack: as wide as its segment. */
static void commit_outer_stack(Cpu *cpu, const CpuSegment *ss, bool wide, uint64_t rsp)
{
    Stack stack = {.sp = rsp, .mask = wide ? UINT64_MAX : ss->attr & ATTR_DB ? 0xffffffff : 0xffff};
    cpu->seg[SEG_SS] = *ss;
    frame_commit(cpu, &stack);
}

/* All of a return but what is popped: RET and IRET to protected and long mode. stack: as it is
 * behind CS:RIP (and the flags and SS:RSP). */
static void return_protected(Cpu *cpu, const Op *op, const Return *ret, Stack *stack)
{
    Descriptor code;
    CpuSegment ss;
    read_code(cpu, op, ret->cs, &code);
    unsigned cpl = ret->cs & SEL_RPL;
    bool wide = in_long(cpu) && (code.attr & ATTR_L), outer = cpl > cpu->cpl;
    bool loads_stack = outer || ret->pops_stack;
    if (loads_stack)
        ss = read_stack(cpu, op, ret->ss, cpl, &code);
    check_target(cpu, op, &code, ret->rip, 0);
    descriptor_touch(cpu, op, &code);
    uint32_t mask = iret_mask(cpu, op->size);
    commit_code(cpu, ret->cs, &code, cpl);
    cpu->rip = ret->rip;
    if (loads_stack) {
        commit_outer_stack(cpu, &ss, wide, ret->rsp + ret->drop);
    } else {
        stack->sp += ret->drop;
        frame_commit(cpu, stack);
    }
    if (ret->has_flags)
        cpu_set_rflags(cpu, ret->flags, mask);
    if (outer)
        segments_drop_privileged(cpu, cpl);
    cpu_mode_changed(cpu);
}

/* ---- RET ---- */

static void ret_real(Cpu *cpu, const Op *op)
{
    Stack stack = frame_current(cpu, 0);
    uint64_t rip = frame_pop(cpu, op, &stack, op->size);
    uint16_t selector = (uint16_t)frame_pop(cpu, op, &stack, op->size);
    if (rip > (in_vm86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    stack.sp += op->imm;
    frame_commit(cpu, &stack);
    cpu->rip = rip;
    cpu_load_segment_real(cpu, SEG_CS, selector);
}

const Op *op_ret_far(Cpu *cpu, const Op *op)
{
    if (!in_protected(cpu)) {
        ret_real(cpu, op);
        LEAVE(cpu);
    }
    Stack stack = frame_current(cpu, 0);
    Return ret = {.drop = (unsigned)op->imm};
    ret.rip = frame_pop(cpu, op, &stack, op->size);
    ret.cs = (uint16_t)frame_pop(cpu, op, &stack, op->size);
    if ((ret.cs & SEL_RPL) > cpu->cpl) {
        ret.rsp = frame_peek(cpu, op, &stack, ret.drop, op->size);
        ret.ss = (uint16_t)frame_peek(cpu, op, &stack, ret.drop + op->size, op->size);
    }
    return_protected(cpu, op, &ret, &stack);
    LEAVE(cpu);
}

/* ---- IRET in real and vm86 mode ---- */

/* CR4.VME with IOPL below 3: IF stands for VIF. */
static void iret_virtual_flags(Cpu *cpu, const Op *op, uint32_t flags)
{
    if ((flags & EFL_TF) || ((flags & EFL_IF) && (cpu->eflags & EFL_VIP)))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (flags & EFL_IF)
        flags |= EFL_VIF;
    cpu_set_rflags(cpu, flags, EFL_ARITH | EFL_TF | EFL_DF | EFL_NT | EFL_VIF);
}

static void iret_real(Cpu *cpu, const Op *op)
{
    bool virtual = in_vm86(cpu) && iopl(cpu) != 3;
    if (virtual && (!(cpu->cr4 & CR4_VME) || op->size != 2))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    Stack stack = frame_current(cpu, 0);
    uint64_t rip = frame_pop(cpu, op, &stack, op->size);
    uint16_t selector = (uint16_t)frame_pop(cpu, op, &stack, op->size);
    uint32_t flags = (uint32_t)frame_pop(cpu, op, &stack, op->size);
    if (rip > (in_vm86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (virtual) {
        iret_virtual_flags(cpu, op, flags);
    } else {
        uint32_t mask = EFL_ARITH | EFL_TF | EFL_IF | EFL_DF | EFL_NT;
        mask |= in_vm86(cpu) ? 0 : EFL_IOPL;
        mask |= op->size == 2 ? 0 : EFL_RF | EFL_AC | EFL_ID;
        cpu_set_rflags(cpu, flags, mask);
    }
    frame_commit(cpu, &stack);
    cpu->rip = rip;
    cpu_load_segment_real(cpu, SEG_CS, selector);
}

/* ---- IRET in protected mode ---- */

static void iret_vm86(Cpu *cpu, const Op *op, const Return *ret, Stack *stack)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t selectors[4];
    uint32_t esp = (uint32_t)frame_pop(cpu, op, stack, 4);
    uint16_t ss = (uint16_t)frame_pop(cpu, op, stack, 4);
    for (unsigned i = 0; i < 4; i++)
        selectors[i] = (uint16_t)frame_pop(cpu, op, stack, 4);
    if (ret->rip > 0xffff)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    for (unsigned i = 0; i < 4; i++)
        cpu->seg[order[i]] = vm86_segment(selectors[i]);
    cpu->seg[SEG_CS] = vm86_segment(ret->cs);
    cpu->seg[SEG_SS] = vm86_segment(ss);
    cpu->gpr[GPR_RSP] = esp;
    cpu->rip = ret->rip;
    cpu->cpl = 3;
    cpu_set_rflags(cpu, ret->flags,
                   EFL_ARITH | EFL_TF | EFL_IF | EFL_DF | EFL_IOPL | EFL_NT | EFL_RF | EFL_VM |
                       EFL_AC | EFL_VIF | EFL_VIP | EFL_ID);
    cpu_mode_changed(cpu);
}

static void iret_task(Cpu *cpu, const Op *op)
{
    uint16_t link = (uint16_t)cpu_load_system(cpu, op, cpu->tr.base, 2);
    task_switch(cpu, op, link, TASK_RETURN, 0, op_next_rip(cpu, op), cpu_rflags(cpu));
    cpu_mode_changed(cpu);
}

static void iret_protected(Cpu *cpu, const Op *op)
{
    if (cpu->eflags & EFL_NT) {
        if (in_long(cpu))
            cpu_fault_code(cpu, op, EXC_GP, 0);
        iret_task(cpu, op);
        return;
    }
    Stack stack = frame_current(cpu, 0);
    Return ret = {.has_flags = true};
    ret.rip = frame_pop(cpu, op, &stack, op->size);
    ret.cs = (uint16_t)frame_pop(cpu, op, &stack, op->size);
    ret.flags = (uint32_t)frame_pop(cpu, op, &stack, op->size);
    if ((ret.flags & EFL_VM) && op->size == 4 && !cpu->cpl && !in_long(cpu)) {
        iret_vm86(cpu, op, &ret, &stack);
        return;
    }
    ret.pops_stack = in_code64(cpu) || (ret.cs & SEL_RPL) > cpu->cpl;
    if (ret.pops_stack) {
        ret.rsp = frame_pop(cpu, op, &stack, op->size);
        ret.ss = (uint16_t)frame_pop(cpu, op, &stack, op->size);
    }
    return_protected(cpu, op, &ret, &stack);
}

const Op *op_iret(Cpu *cpu, const Op *op)
{
    /* Even if it faults (SDM vol. 3, 6.7.1). */
    cpu->nmi_masked = false;
    if (in_protected(cpu))
        iret_protected(cpu, op);
    else
        iret_real(cpu, op);
    cpu_mode_changed(cpu);
    LEAVE(cpu);
}
