/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hardware task switches between TSSs of 16 and 32 bits.  (Intel SDM vol. 3, ch. 7.)
 *
 * Up to the loading of TR everything that can fault has been tried in the old task.  From there on
 * faults belong to the new one: its registers are in place, its selectors without descriptors.
 */
#include "protect.h"

#include <inttypes.h>

#include "util/log.h"

/* Offsets in the two kinds of TSS (figures 7-2 and 7-10). */
enum {
    TSS_LINK = 0,
    TSS32_CR3 = 28,
    TSS32_EIP = 32,
    TSS32_FLAGS = 36,
    TSS32_GPR = 40,
    TSS32_SEG = 72,
    TSS32_LDT = 96,
    TSS32_TRAP = 100,
    TSS32_SIZE = 104,
    TSS16_IP = 14,
    TSS16_FLAGS = 16,
    TSS16_GPR = 18,
    TSS16_SEG = 34,
    TSS16_LDT = 42,
    TSS16_SIZE = 44,
};

typedef struct Tss {
    uint16_t selector;
    Descriptor descriptor;
    CpuSegment segment;
    bool wide; /* 32 bits */
    uint8_t image[TSS32_SIZE];
} Tss;

/* The registers of the task to come. */
typedef struct TaskState {
    uint32_t cr3, eip, flags, gpr[8];
    uint16_t seg[SEG_COUNT], ldt;
    bool trap;
} TaskState;

/* ---- Memory ---- */

/* Both ends may be written, and so may what lies between: a TSS is smaller than a page. */
static void map_tss(Cpu *cpu, const Op *op, const CpuSegment *segment, unsigned size)
{
    cpu_translate(cpu, op, segment->base, ACCESS_WRITE, false);
    cpu_translate(cpu, op, segment->base + size - 1, ACCESS_WRITE, false);
}

static void read_image(Cpu *cpu, const Op *op, Tss *tss)
{
    unsigned size = tss->wide ? TSS32_SIZE : TSS16_SIZE;
    map_tss(cpu, op, &tss->segment, size);
    for (unsigned i = 0; i < size; i += 4)
        st32_le(tss->image + i,
                (uint32_t)cpu_load_system(cpu, op, (uint32_t)(tss->segment.base + i), 4));
}

/* Finds the new TSS and checks it. */
static void read_tss(Cpu *cpu, const Op *op, uint16_t selector, TaskCause cause, uint32_t ext,
                     Tss *tss)
{
    unsigned vector = cause == TASK_RETURN ? EXC_TS : EXC_GP;
    uint32_t error = selector_error(selector, ext);
    if ((selector & SEL_TI) || !descriptor_read(cpu, op, selector, &tss->descriptor))
        cpu_fault_code(cpu, op, vector, error);
    uint16_t attr = tss->descriptor.attr;
    unsigned type = attr_system_type(attr), busy = cause == TASK_RETURN ? TYPE_BUSY : 0;
    if (type != (TYPE_TSS16 | busy) && type != (TYPE_TSS32 | busy))
        cpu_fault_code(cpu, op, vector, error);
    if (!(attr & ATTR_P))
        cpu_fault_code(cpu, op, EXC_NP, error);
    tss->selector = selector;
    tss->wide = type & 8;
    tss->segment = descriptor_segment(&tss->descriptor, selector);
    if (tss->segment.limit < (tss->wide ? TSS32_SIZE : TSS16_SIZE) - 1u)
        cpu_fault_code(cpu, op, EXC_TS, error);
    read_image(cpu, op, tss);
}

/* LOCKed, as processors do it: a CPU may look at the same descriptor. */
static void set_busy(Cpu *cpu, const Op *op, uint64_t address, bool busy)
{
    cpu_exclusive_begin(cpu);
    uint64_t byte = cpu_load_system(cpu, op, address + 5, 1);
    cpu_store_system(cpu, op, address + 5, busy ? byte | TYPE_BUSY : byte & ~(uint64_t)TYPE_BUSY,
                     1);
    cpu_exclusive_end(cpu);
}

/* ---- The old task ---- */

static void save_task(Cpu *cpu, const Op *op, uint32_t flags, uint64_t eip)
{
    bool wide = attr_system_type(cpu->tr.attr) & 8;
    unsigned size = wide ? 4 : 2;
    uint64_t base = cpu->tr.base;
    cpu_store_system(cpu, op, base + (wide ? TSS32_EIP : TSS16_IP), eip & size_mask(size), size);
    cpu_store_system(cpu, op, base + (wide ? TSS32_FLAGS : TSS16_FLAGS), flags & size_mask(size),
                     size);
    for (unsigned i = 0; i < 8; i++)
        cpu_store_system(cpu, op, base + (wide ? TSS32_GPR : TSS16_GPR) + i * size,
                         cpu->gpr[i] & size_mask(size), size);
    for (unsigned i = 0; i < (wide ? SEG_COUNT : SEG_FS); i++)
        cpu_store_system(cpu, op, base + (wide ? TSS32_SEG : TSS16_SEG) + i * size,
                         cpu->seg[i].selector, 2);
}

/* ---- The new task ---- */

static TaskState parse_tss(const Tss *tss)
{
    TaskState state = {0};
    const uint8_t *image = tss->image;
    if (tss->wide) {
        state.cr3 = ld32_le(image + TSS32_CR3);
        state.eip = ld32_le(image + TSS32_EIP);
        state.flags = ld32_le(image + TSS32_FLAGS);
        state.ldt = ld16_le(image + TSS32_LDT);
        state.trap = image[TSS32_TRAP] & 1;
        for (unsigned i = 0; i < 8; i++)
            state.gpr[i] = ld32_le(image + TSS32_GPR + 4 * i);
        for (unsigned i = 0; i < SEG_COUNT; i++)
            state.seg[i] = ld16_le(image + TSS32_SEG + 4 * i);
    } else {
        state.eip = ld16_le(image + TSS16_IP);
        state.flags = ld16_le(image + TSS16_FLAGS);
        state.ldt = ld16_le(image + TSS16_LDT);
        for (unsigned i = 0; i < 8; i++)
            state.gpr[i] = ld16_le(image + TSS16_GPR + 2 * i);
        for (unsigned i = 0; i < SEG_FS; i++)
            state.seg[i] = ld16_le(image + TSS16_SEG + 2 * i);
    }
    return state;
}

/* All registers, segments as selectors only. */
static void load_registers(Cpu *cpu, const Tss *tss, const TaskState *state)
{
    if (tss->wide && (cpu->cr0 & CR0_PG) && !control_load_cr3(cpu, state->cr3))
        cpu_fault_code(cpu, NULL, EXC_TS, selector_error(tss->selector, 0));
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = state->gpr[i];
    cpu->rip = state->eip;
    cpu->eflags = (state->flags & 0x3f7fd7 & ~(uint32_t)EFL_ARITH) | EFL_ONE;
    cpu->flags = (uint16_t)efl_to_flags(state->flags);
    bool vm86 = in_vm86(cpu);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu->seg[i] = vm86 ? vm86_segment(state->seg[i]) : null_segment(state->seg[i], 0);
    cpu->cpl = vm86 ? 3 : state->seg[SEG_CS] & SEL_RPL;
    cpu->ldt = null_segment(state->ldt, 0);
    cpu->dr[7] &= ~0x155ull; /* local breakpoints */
    cpu->debug_pending |= state->trap ? 1u << 15 : 0;
    cpu_mode_changed(cpu);
}

static G_GNUC_NORETURN void bad_segment(Cpu *cpu, unsigned vector, uint16_t selector)
{
    cpu_fault_code(cpu, NULL, vector, selector_error(selector, 0));
}

static void load_ldt(Cpu *cpu, uint16_t selector)
{
    Descriptor descriptor;
    if (selector_is_null(selector))
        return;
    if ((selector & SEL_TI) || !descriptor_read(cpu, NULL, selector, &descriptor) ||
        attr_system_type(descriptor.attr) != TYPE_LDT || !(descriptor.attr & ATTR_P))
        bad_segment(cpu, EXC_TS, selector);
    cpu->ldt = descriptor_segment(&descriptor, selector);
}

static void load_code(Cpu *cpu, uint16_t selector)
{
    Descriptor code;
    if (selector_is_null(selector) || !descriptor_read(cpu, NULL, selector, &code) ||
        !attr_is_code(code.attr))
        bad_segment(cpu, EXC_TS, selector);
    unsigned dpl = attr_dpl(code.attr), rpl = selector & SEL_RPL;
    if (code.attr & TYPE_CONFORMING ? dpl > rpl : dpl != rpl)
        bad_segment(cpu, EXC_TS, selector);
    if (!(code.attr & ATTR_P))
        bad_segment(cpu, EXC_NP, selector);
    descriptor_touch(cpu, NULL, &code);
    commit_code(cpu, selector, &code, rpl);
}

static void load_stack(Cpu *cpu, uint16_t selector)
{
    Descriptor descriptor;
    stack_descriptor(cpu, NULL, selector, cpu->cpl, EXC_TS, 0, &descriptor);
    descriptor_touch(cpu, NULL, &descriptor);
    cpu->seg[SEG_SS] = descriptor_segment(&descriptor, selector);
}

static void load_data(Cpu *cpu, unsigned seg, uint16_t selector)
{
    Descriptor data;
    if (selector_is_null(selector))
        return;
    if (!descriptor_read(cpu, NULL, selector, &data))
        bad_segment(cpu, EXC_TS, selector);
    bool conforming = attr_is_code(data.attr) && (data.attr & TYPE_CONFORMING);
    bool readable =
        (data.attr & ATTR_S) && (!(data.attr & TYPE_CODE) || (data.attr & TYPE_READABLE));
    unsigned asked = MAX(cpu->cpl, selector & SEL_RPL);
    if (!readable || (!conforming && attr_dpl(data.attr) < asked))
        bad_segment(cpu, EXC_TS, selector);
    if (!(data.attr & ATTR_P))
        bad_segment(cpu, EXC_NP, selector);
    descriptor_touch(cpu, NULL, &data);
    cpu->seg[seg] = descriptor_segment(&data, selector);
}

static void load_segments(Cpu *cpu, const TaskState *state)
{
    static const uint8_t data_segments[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    load_ldt(cpu, state->ldt);
    if (!in_vm86(cpu)) {
        load_code(cpu, state->seg[SEG_CS]);
        load_stack(cpu, state->seg[SEG_SS]);
        for (unsigned i = 0; i < 4; i++)
            load_data(cpu, data_segments[i], state->seg[data_segments[i]]);
    }
    cpu_mode_changed(cpu);
    if (state->eip > cpu->seg[SEG_CS].limit)
        cpu_fault_code(cpu, NULL, EXC_GP, 0);
}

/* ---- The switch ---- */

void task_switch(Cpu *cpu, const Op *op, uint16_t selector, TaskCause cause, uint32_t ext,
                 uint64_t next_rip, uint32_t flags)
{
    Tss tss;
    bool nests = cause == TASK_CALL || cause == TASK_EVENT;
    bool old_wide = attr_system_type(cpu->tr.attr) & 8;
    uint64_t old_descriptor = cpu->gdt_base + (cpu->tr.selector & ~7u);
    read_tss(cpu, op, selector, cause, ext, &tss);
    log_printf(LOG_INT, "int: CPU %u: task %04x to %04x", cpu->vcpu->index, cpu->tr.selector,
               selector);
    /* What will be written, before anything is. */
    map_tss(cpu, op, &cpu->tr, old_wide ? TSS32_SIZE : TSS16_SIZE);
    cpu_translate(cpu, op, old_descriptor + 5, ACCESS_WRITE, false);
    cpu_translate(cpu, op, tss.descriptor.address + 5, ACCESS_WRITE, false);

    if (cause == TASK_JUMP || cause == TASK_RETURN)
        set_busy(cpu, op, old_descriptor, false);
    if (cause == TASK_RETURN)
        flags &= ~(uint32_t)EFL_NT;
    save_task(cpu, op, flags, next_rip);
    /* A task may switch to itself by IRET or a jump: what was saved is what is loaded. */
    if (tss.segment.base == cpu->tr.base)
        read_image(cpu, op, &tss);
    if (nests)
        cpu_store_system(cpu, op, tss.segment.base + TSS_LINK, cpu->tr.selector, 2);
    if (cause != TASK_RETURN)
        set_busy(cpu, op, tss.descriptor.address, true);
    TaskState state = parse_tss(&tss);
    if (nests)
        state.flags |= EFL_NT;
    cpu->tr = tss.segment;
    cpu->tr.attr |= TYPE_BUSY;
    cpu->cr0 |= CR0_TS;
    load_registers(cpu, &tss, &state);
    load_segments(cpu, &state);
}

void task_push_error(Cpu *cpu, uint32_t error)
{
    unsigned size = attr_system_type(cpu->tr.attr) & 8 ? 4 : 2;
    Stack stack = frame_current(cpu, 0);
    frame_push(cpu, NULL, &stack, size, error);
    frame_commit(cpu, &stack);
}
