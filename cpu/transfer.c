/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Far jumps and calls: segments, call gates of 16, 32 and 64 bits, task gates, TSSs.
 * (Intel SDM vol. 2, JMP and CALL; vol. 3, 5.8.)
 */
#include "protect.h"

void commit_code(Cpu *cpu, uint16_t selector, const Descriptor *descriptor, unsigned cpl)
{
    cpu->seg[SEG_CS] = descriptor_segment(descriptor, (uint16_t)((selector & ~SEL_RPL) | cpl));
    cpu->cpl = (uint8_t)cpl;
}

void check_target(Cpu *cpu, const Op *op, const Descriptor *code, uint64_t rip, uint32_t error)
{
    bool wide = in_long(cpu) && (code->attr & ATTR_L);
    bool ok = wide ? canonical(rip) : rip <= descriptor_segment(code, 0).limit;
    if (!ok)
        cpu_fault_code(cpu, op, EXC_GP, error);
}

/* Reads the descriptor of a far pointer; null and beyond the table are #GP. */
static void read_target(Cpu *cpu, const Op *op, uint16_t selector, Descriptor *out)
{
    if (selector_is_null(selector))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (!descriptor_read(cpu, op, selector, out))
        cpu_fault_code(cpu, op, EXC_GP, selector_error(selector, 0));
}

static G_GNUC_NORETURN void bad_selector(Cpu *cpu, const Op *op, unsigned vector, uint16_t selector)
{
    cpu_fault_code(cpu, op, vector, selector_error(selector, 0));
}

/* L and D may not both be set where L means something. */
static bool bad_width(const Cpu *cpu, uint16_t attr)
{
    return in_long(cpu) && (attr & ATTR_L) && (attr & ATTR_DB);
}

/* Direct transfer to a code segment: the privilege stays. */
static void check_code(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *code)
{
    unsigned dpl = attr_dpl(code->attr), rpl = selector & SEL_RPL;
    bool allowed =
        code->attr & TYPE_CONFORMING ? dpl <= cpu->cpl : rpl <= cpu->cpl && dpl == cpu->cpl;
    if (bad_width(cpu, code->attr) || !allowed)
        bad_selector(cpu, op, EXC_GP, selector);
    if (!(code->attr & ATTR_P))
        bad_selector(cpu, op, EXC_NP, selector);
}

/* ---- Gates ---- */

typedef struct CallGate {
    uint16_t selector;
    uint64_t offset;
    unsigned size, parameters; /* bytes of a slot; number of slots to copy */
    Descriptor code;
} CallGate;

/* DPL, RPL and P of a gate or TSS that a far pointer names. */
static void check_gate(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *gate)
{
    unsigned dpl = attr_dpl(gate->attr);
    if (dpl < cpu->cpl || dpl < (selector & SEL_RPL))
        bad_selector(cpu, op, EXC_GP, selector);
    if (!(gate->attr & ATTR_P))
        bad_selector(cpu, op, EXC_NP, selector);
}

/* Reads a call gate and the code segment that it names. jump: the privilege must stay. */
static void read_call_gate(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *gate,
                           bool jump, CallGate *out)
{
    uint64_t high = 0;
    bool wide = in_long(cpu), narrow = attr_system_type(gate->attr) == TYPE_CALL16;
    check_gate(cpu, op, selector, gate);
    if (wide && (!descriptor_read_high(cpu, op, selector, &high) || (high >> 40 & 0x1f)))
        bad_selector(cpu, op, EXC_GP, selector);
    out->size = wide ? 8 : narrow ? 2 : 4;
    out->selector = (uint16_t)(gate->bits >> 16);
    out->parameters = wide ? 0 : gate->bits >> 32 & 0x1f;
    out->offset = (gate->bits & 0xffff) | (narrow ? 0 : gate->bits >> 32 & 0xffff0000) |
                  (wide ? high << 32 : 0);
    read_target(cpu, op, out->selector, &out->code);
    uint16_t attr = out->code.attr;
    unsigned dpl = attr_dpl(attr);
    bool stays = jump && !(attr & TYPE_CONFORMING);
    if (!attr_is_code(attr) || (stays ? dpl != cpu->cpl : dpl > cpu->cpl) ||
        (wide && (attr & (ATTR_L | ATTR_DB)) != ATTR_L))
        bad_selector(cpu, op, EXC_GP, out->selector);
    if (!(attr & ATTR_P))
        bad_selector(cpu, op, EXC_NP, out->selector);
}

/* A task gate or a TSS. */
static void far_task(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *descriptor,
                     TaskCause cause)
{
    check_gate(cpu, op, selector, descriptor);
    uint16_t tss = attr_system_type(descriptor->attr) == TYPE_TASK_GATE
                       ? (uint16_t)(descriptor->bits >> 16)
                       : selector;
    task_switch(cpu, op, tss, cause, 0, op_next_rip(cpu, op), cpu_rflags(cpu));
}

static bool is_call_gate(const Cpu *cpu, unsigned type)
{
    return type == TYPE_CALL32 || (type == TYPE_CALL16 && !in_long(cpu));
}

static bool is_task(const Cpu *cpu, unsigned type)
{
    return !in_long(cpu) && (type == TYPE_TASK_GATE || type == TYPE_TSS16 || type == TYPE_TSS32);
}

/* ---- Jumps ---- */

/* Real and vm86 mode: only the limit is looked at. */
static void check_real_target(Cpu *cpu, const Op *op, uint64_t offset)
{
    uint32_t limit = in_vm86(cpu) ? 0xffff : cpu->seg[SEG_CS].limit;
    if (offset > limit)
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

static void jump_gate(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *descriptor)
{
    CallGate gate;
    read_call_gate(cpu, op, selector, descriptor, true, &gate);
    check_target(cpu, op, &gate.code, gate.offset, 0);
    descriptor_touch(cpu, op, &gate.code);
    commit_code(cpu, gate.selector, &gate.code, cpu->cpl);
    cpu->rip = gate.offset;
}

void far_jump(Cpu *cpu, const Op *op, uint16_t selector, uint64_t offset)
{
    Descriptor descriptor;
    if (!in_protected(cpu)) {
        check_real_target(cpu, op, offset);
        cpu->rip = offset;
        cpu_load_segment_real(cpu, SEG_CS, selector);
        return;
    }
    read_target(cpu, op, selector, &descriptor);
    unsigned type = attr_system_type(descriptor.attr);
    if (attr_is_code(descriptor.attr)) {
        check_code(cpu, op, selector, &descriptor);
        check_target(cpu, op, &descriptor, offset, 0);
        descriptor_touch(cpu, op, &descriptor);
        commit_code(cpu, selector, &descriptor, cpu->cpl);
        cpu->rip = offset;
    } else if (is_call_gate(cpu, type)) {
        jump_gate(cpu, op, selector, &descriptor);
    } else if (is_task(cpu, type)) {
        far_task(cpu, op, selector, &descriptor, TASK_JUMP);
    } else {
        bad_selector(cpu, op, EXC_GP, selector);
    }
    cpu_mode_changed(cpu);
}

/* ---- Calls ---- */

/* Pushes CS and rip on stack, which has room. */
static void push_return(Cpu *cpu, const Op *op, Stack *stack, unsigned size)
{
    frame_push(cpu, op, stack, size, cpu->seg[SEG_CS].selector);
    frame_push(cpu, op, stack, size, op_next_rip(cpu, op));
}

static void call_real(Cpu *cpu, const Op *op, uint16_t selector, uint64_t offset)
{
    Stack stack = frame_current(cpu, 0);
    frame_need(cpu, op, &stack, 2, op->size);
    check_real_target(cpu, op, offset);
    frame_map(cpu, op, &stack, 2 * op->size);
    push_return(cpu, op, &stack, op->size);
    frame_commit(cpu, &stack);
    cpu->rip = offset;
    cpu_load_segment_real(cpu, SEG_CS, selector);
}

/* The privilege stays. */
static void call_same(Cpu *cpu, const Op *op, uint16_t selector, Descriptor *code, uint64_t offset,
                      unsigned size)
{
    Stack stack = frame_current(cpu, 0);
    frame_need(cpu, op, &stack, 2, size);
    check_target(cpu, op, code, offset, 0);
    descriptor_touch(cpu, op, code);
    frame_map(cpu, op, &stack, 2 * size);
    push_return(cpu, op, &stack, size);
    frame_commit(cpu, &stack);
    commit_code(cpu, selector, code, cpu->cpl);
    cpu->rip = offset;
}

/* Reads a gate's parameters from the caller's stack. */
static void read_parameters(Cpu *cpu, const Op *op, const CallGate *gate, uint64_t *values)
{
    Stack outer = frame_current(cpu, 0);
    for (unsigned i = 0; i < gate->parameters; i++)
        values[i] = frame_peek(cpu, op, &outer, i * gate->size, gate->size);
}

static void call_inner(Cpu *cpu, const Op *op, CallGate *gate)
{
    unsigned cpl = attr_dpl(gate->code.attr), size = gate->size;
    uint64_t parameters[31];
    CpuSegment ss = null_segment((uint16_t)cpl, cpl);
    Stack stack =
        in_long(cpu) ? frame_inner64(cpu, op, cpl, 0, 0) : frame_inner(cpu, op, cpl, 0, &ss);
    frame_need(cpu, op, &stack, 4 + gate->parameters, size);
    check_target(cpu, op, &gate->code, gate->offset, 0);
    read_parameters(cpu, op, gate, parameters);
    descriptor_touch(cpu, op, &gate->code);
    frame_map(cpu, op, &stack, (4 + gate->parameters) * size);
    frame_push(cpu, op, &stack, size, cpu->seg[SEG_SS].selector);
    frame_push(cpu, op, &stack, size, cpu->gpr[GPR_RSP]);
    for (unsigned i = gate->parameters; i--;)
        frame_push(cpu, op, &stack, size, parameters[i]);
    push_return(cpu, op, &stack, size);
    commit_code(cpu, gate->selector, &gate->code, cpl);
    cpu->seg[SEG_SS] = ss;
    frame_commit(cpu, &stack);
    cpu->rip = gate->offset;
}

static void call_gate(Cpu *cpu, const Op *op, uint16_t selector, const Descriptor *descriptor)
{
    CallGate gate;
    read_call_gate(cpu, op, selector, descriptor, false, &gate);
    if (!(gate.code.attr & TYPE_CONFORMING) && attr_dpl(gate.code.attr) < cpu->cpl)
        call_inner(cpu, op, &gate);
    else
        call_same(cpu, op, gate.selector, &gate.code, gate.offset, gate.size);
}

void far_call(Cpu *cpu, const Op *op, uint16_t selector, uint64_t offset)
{
    Descriptor descriptor;
    if (!in_protected(cpu)) {
        call_real(cpu, op, selector, offset);
        return;
    }
    read_target(cpu, op, selector, &descriptor);
    unsigned type = attr_system_type(descriptor.attr);
    if (attr_is_code(descriptor.attr)) {
        check_code(cpu, op, selector, &descriptor);
        call_same(cpu, op, selector, &descriptor, offset, op->size);
    } else if (is_call_gate(cpu, type)) {
        call_gate(cpu, op, selector, &descriptor);
    } else if (is_task(cpu, type)) {
        far_task(cpu, op, selector, &descriptor, TASK_CALL);
    } else {
        bad_selector(cpu, op, EXC_GP, selector);
    }
    cpu_mode_changed(cpu);
}

/* ---- Handlers ---- */

uint16_t far_pointer(Cpu *cpu, const Op *op, uint64_t *offset)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), op->size + 2u, ACCESS_READ);
    *offset = load_sized(cpu, op, linear, op->size);
    return cpu_load16(cpu, op, linear + op->size);
}

const Op *op_jmp_far_imm(Cpu *cpu, const Op *op)
{
    far_jump(cpu, op, (uint16_t)op->extra, op->imm);
    LEAVE(cpu);
}

const Op *op_jmp_far_mem(Cpu *cpu, const Op *op)
{
    uint64_t offset;
    uint16_t selector = far_pointer(cpu, op, &offset);
    far_jump(cpu, op, selector, offset);
    LEAVE(cpu);
}

const Op *op_call_far_imm(Cpu *cpu, const Op *op)
{
    far_call(cpu, op, (uint16_t)op->extra, op->imm);
    LEAVE(cpu);
}

const Op *op_call_far_mem(Cpu *cpu, const Op *op)
{
    uint64_t offset;
    uint16_t selector = far_pointer(cpu, op, &offset);
    far_call(cpu, op, selector, offset);
    LEAVE(cpu);
}
