/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stacks of far transfers and events: where they are, whether there is room, pushing and popping.
 * (Intel SDM vol. 3, 5.8.5, 6.14.) */
#include "protect.h"

static uint64_t mask_of(const CpuSegment *segment)
{
    return segment->attr & ATTR_DB ? 0xffffffff : 0xffff;
}

Stack frame_current(const Cpu *cpu, uint32_t error)
{
    Stack stack = {.segment = cpu->seg[SEG_SS], .flat = in_code64(cpu), .error = error};
    stack.mask = stack.flat ? UINT64_MAX : mask_of(&stack.segment);
    stack.sp = cpu->gpr[GPR_RSP] & stack.mask;
    return stack;
}

/* ---- From the TSS ---- */

static void need_tss(Cpu *cpu, const Op *op, uint32_t last, uint32_t ext)
{
    if (last > cpu->tr.limit || cpu->tr.unusable)
        cpu_fault_code(cpu, op, EXC_TS, selector_error(cpu->tr.selector, ext));
}

Stack frame_inner(Cpu *cpu, const Op *op, unsigned cpl, uint32_t ext, CpuSegment *ss)
{
    uint16_t selector;
    uint64_t sp;
    if (attr_system_type(cpu->tr.attr) & 8) {
        uint32_t offset = cpl * 8 + 4;
        need_tss(cpu, op, offset + 5, ext);
        sp = cpu_load_system(cpu, op, cpu->tr.base + offset, 4);
        selector = (uint16_t)cpu_load_system(cpu, op, cpu->tr.base + offset + 4, 2);
    } else {
        uint32_t offset = cpl * 4 + 2;
        need_tss(cpu, op, offset + 3, ext);
        sp = cpu_load_system(cpu, op, cpu->tr.base + offset, 2);
        selector = (uint16_t)cpu_load_system(cpu, op, cpu->tr.base + offset + 2, 2);
    }
    Descriptor descriptor;
    stack_descriptor(cpu, op, selector, cpl, EXC_TS, ext, &descriptor);
    descriptor_touch(cpu, op, &descriptor);
    *ss = descriptor_segment(&descriptor, selector);
    uint64_t mask = mask_of(ss);
    return (Stack){.segment = *ss,
                   .sp = sp & mask,
                   .mask = mask,
                   .inner = true,
                   .error = selector_error(selector, ext)};
}

Stack frame_inner64(Cpu *cpu, const Op *op, unsigned cpl, unsigned ist, uint32_t ext)
{
    uint32_t offset = ist ? 28 + ist * 8 : 4 + cpl * 8;
    need_tss(cpu, op, offset + 7, ext);
    return (Stack){.sp = cpu_load_system(cpu, op, cpu->tr.base + offset, 8),
                   .mask = UINT64_MAX,
                   .flat = true,
                   .inner = true,
                   .error = ext};
}

/* ---- Access ---- */

static uint64_t address_of(Cpu *cpu, const Op *op, const Stack *stack, uint64_t sp, unsigned size)
{
    bool ok = stack->flat ? canonical(sp) && canonical(sp + size - 1)
                          : segment_holds(&stack->segment, sp, size);
    if (G_UNLIKELY(!ok))
        cpu_fault_code(cpu, op, EXC_SS, stack->error);
    return stack->flat ? sp : (uint32_t)(stack->segment.base + sp);
}

void frame_need(Cpu *cpu, const Op *op, const Stack *stack, unsigned count, unsigned size)
{
    uint64_t sp = stack->sp;
    while (count--) {
        sp = (sp - size) & stack->mask;
        address_of(cpu, op, stack, sp, size);
    }
}

static void map_byte(Cpu *cpu, const Op *op, const Stack *stack, uint64_t sp)
{
    uint64_t linear = address_of(cpu, op, stack, sp & stack->mask, 1);
    if (stack->inner)
        cpu_translate(cpu, op, linear, ACCESS_WRITE, false);
    else
        cpu_probe(cpu, op, linear, 1, ACCESS_WRITE);
}

void frame_map(Cpu *cpu, const Op *op, const Stack *stack, unsigned bytes)
{
    uint64_t base = stack->flat ? 0 : stack->segment.base;
    uint64_t first = stack->sp - bytes, last = stack->sp - 1;
    /* A frame inside one page is stored as a whole or faults at its first push. */
    if (!(((first + base) ^ (last + base)) >> 12))
        return;
    map_byte(cpu, op, stack, first);
    map_byte(cpu, op, stack, last);
}

void frame_push(Cpu *cpu, const Op *op, Stack *stack, unsigned size, uint64_t value)
{
    uint64_t sp = (stack->sp - size) & stack->mask;
    uint64_t linear = address_of(cpu, op, stack, sp, size);
    value &= size_mask(size);
    if (stack->inner)
        cpu_store_system(cpu, op, linear, value, size);
    else
        store_sized(cpu, op, linear, value, size);
    stack->sp = sp;
}

uint64_t frame_peek(Cpu *cpu, const Op *op, const Stack *stack, uint64_t offset, unsigned size)
{
    uint64_t linear = address_of(cpu, op, stack, (stack->sp + offset) & stack->mask, size);
    return load_sized(cpu, op, linear, size);
}

uint64_t frame_pop(Cpu *cpu, const Op *op, Stack *stack, unsigned size)
{
    uint64_t value = frame_peek(cpu, op, stack, 0, size);
    stack->sp = (stack->sp + size) & stack->mask;
    return value;
}

void frame_commit(Cpu *cpu, const Stack *stack)
{
    uint64_t sp = stack->sp & stack->mask;
    if (stack->mask == 0xffff)
        cpu->gpr[GPR_RSP] = (cpu->gpr[GPR_RSP] & ~0xffffull) | sp;
    else
        cpu->gpr[GPR_RSP] = sp;
}
