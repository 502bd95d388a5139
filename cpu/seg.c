/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Segments: what an access through one may do, and how a segment register is loaded.
 * (Intel SDM vol. 3, ch. 3 and 5.)
 */
#include "protect.h"

/* ---- Accesses ---- */

bool segment_holds(const CpuSegment *segment, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    bool down =
        (segment->attr & (ATTR_S | TYPE_CODE | TYPE_EXPAND_DOWN)) == (ATTR_S | TYPE_EXPAND_DOWN);
    if (!down)
        return last <= segment->limit;
    return offset > segment->limit && last <= (segment->attr & ATTR_DB ? 0xffffffff : 0xffff);
}

static bool type_allows(const CpuSegment *segment, Access access)
{
    switch (access) {
    case ACCESS_WRITE:
        return attr_is_writable_data(segment->attr);
    case ACCESS_READ:
        return !(segment->attr & TYPE_CODE) || (segment->attr & TYPE_READABLE);
    default:
        return true;
    }
}

bool segment_allows(const Cpu *cpu, unsigned seg, uint64_t address, unsigned size, Access access,
                    uint64_t *linear)
{
    const CpuSegment *segment = &cpu->seg[seg];
    if (in_code64(cpu)) {
        *linear = address + (seg >= SEG_FS ? segment->base : 0);
        return canonical(*linear) && canonical(*linear + size - 1);
    }
    *linear = (uint32_t)(segment->base + address);
    if (in_protected(cpu) && (segment->unusable || !type_allows(segment, access)))
        return false;
    return segment_holds(segment, address, size);
}

uint64_t cpu_linear_checked(Cpu *cpu, const Op *op, unsigned seg, uint64_t address, unsigned size,
                            Access access)
{
    uint64_t linear;
    if (G_UNLIKELY(!segment_allows(cpu, seg, address, size, access, &linear)))
        cpu_fault_code(cpu, op, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    return linear;
}

/* ---- Descriptors ---- */

/* Linear address of `size` bytes of a selector's descriptor; false if not inside its table. */
static bool descriptor_address(const Cpu *cpu, uint16_t selector, unsigned skip, unsigned size,
                               uint64_t *address)
{
    uint64_t base = cpu->gdt_base;
    uint32_t limit = cpu->gdt_limit, offset = (selector & ~7u) + skip;
    if (selector & SEL_TI) {
        if (cpu->ldt.unusable)
            return false;
        base = cpu->ldt.base;
        limit = cpu->ldt.limit;
    }
    *address = base + offset;
    return offset + size - 1 <= limit;
}

bool descriptor_read(Cpu *cpu, const Op *op, uint16_t selector, Descriptor *out)
{
    if (!descriptor_address(cpu, selector, 0, 8, &out->address))
        return false;
    out->bits = cpu_load_system(cpu, op, out->address, 8);
    out->attr = out->bits >> 40 & 0xf0ff;
    return true;
}

bool descriptor_read_high(Cpu *cpu, const Op *op, uint16_t selector, uint64_t *bits)
{
    uint64_t address;
    if (!descriptor_address(cpu, selector, 8, 8, &address))
        return false;
    *bits = cpu_load_system(cpu, op, address, 8);
    return true;
}

void descriptor_touch(Cpu *cpu, const Op *op, Descriptor *descriptor)
{
    if (descriptor->attr & TYPE_ACCESSED)
        return;
    descriptor->attr |= TYPE_ACCESSED;
    descriptor->bits |= 1ull << 40;
    cpu_exclusive_begin(cpu);
    uint64_t byte = cpu_load_system(cpu, op, descriptor->address + 5, 1);
    cpu_store_system(cpu, op, descriptor->address + 5, byte | TYPE_ACCESSED, 1);
    cpu_exclusive_end(cpu);
}

CpuSegment descriptor_segment(const Descriptor *descriptor, uint16_t selector)
{
    uint64_t bits = descriptor->bits;
    uint32_t limit = (uint32_t)((bits & 0xffff) | (bits >> 32 & 0xf0000));
    return (CpuSegment){
        .selector = selector,
        .attr = descriptor->attr,
        .limit = descriptor->attr & ATTR_G ? limit << 12 | 0xfff : limit,
        .base = bits_get(bits, 16, 24) | bits_get(bits, 56, 8) << 24,
    };
}

/* ---- Loading ---- */

void cpu_load_segment_real(Cpu *cpu, unsigned seg, uint16_t selector)
{
    CpuSegment *segment = &cpu->seg[seg];
    if (in_vm86(cpu)) {
        *segment = vm86_segment(selector);
    } else {
        /* A register that held a null selector has nothing that could stay. */
        if (segment->unusable)
            *segment = vm86_segment(selector);
        segment->selector = selector;
        segment->base = (uint64_t)selector << 4;
    }
    cpu_mode_changed(cpu);
}

void stack_descriptor(Cpu *cpu, const Op *op, uint16_t selector, unsigned cpl, unsigned fault,
                      uint32_t ext, Descriptor *out)
{
    uint32_t error = selector_error(selector, ext);
    if (selector_is_null(selector))
        cpu_fault_code(cpu, op, fault, ext);
    if (!descriptor_read(cpu, op, selector, out) || (selector & SEL_RPL) != cpl ||
        !attr_is_writable_data(out->attr) || attr_dpl(out->attr) != cpl)
        cpu_fault_code(cpu, op, fault, error);
    if (!(out->attr & ATTR_P))
        cpu_fault_code(cpu, op, EXC_SS, error);
}

static void load_stack(Cpu *cpu, const Op *op, uint16_t selector)
{
    Descriptor descriptor;
    if (selector_is_null(selector)) {
        if (!in_code64(cpu) || cpu->cpl == 3 || (selector & SEL_RPL) != cpu->cpl)
            cpu_fault_code(cpu, op, EXC_GP, 0);
        cpu->seg[SEG_SS] = null_segment(selector, cpu->cpl);
        return;
    }
    stack_descriptor(cpu, op, selector, cpu->cpl, EXC_GP, 0, &descriptor);
    descriptor_touch(cpu, op, &descriptor);
    cpu->seg[SEG_SS] = descriptor_segment(&descriptor, selector);
}

static void load_data(Cpu *cpu, const Op *op, unsigned seg, uint16_t selector)
{
    Descriptor descriptor;
    if (selector_is_null(selector)) {
        cpu->seg[seg] = null_segment(selector, 0);
        return;
    }
    uint32_t error = selector_error(selector, 0);
    if (!descriptor_read(cpu, op, selector, &descriptor))
        cpu_fault_code(cpu, op, EXC_GP, error);
    uint16_t attr = descriptor.attr;
    bool readable = (attr & ATTR_S) && (!(attr & TYPE_CODE) || (attr & TYPE_READABLE));
    bool conforming = attr_is_code(attr) && (attr & TYPE_CONFORMING);
    unsigned asked = MAX(selector & SEL_RPL, cpu->cpl);
    if (!readable || (!conforming && asked > attr_dpl(attr)))
        cpu_fault_code(cpu, op, EXC_GP, error);
    if (!(attr & ATTR_P))
        cpu_fault_code(cpu, op, EXC_NP, error);
    descriptor_touch(cpu, op, &descriptor);
    cpu->seg[seg] = descriptor_segment(&descriptor, selector);
}

void cpu_load_segment(Cpu *cpu, const Op *op, unsigned seg, uint16_t selector)
{
    if (!in_protected(cpu)) {
        cpu_load_segment_real(cpu, seg, selector);
        return;
    }
    if (seg == SEG_SS)
        load_stack(cpu, op, selector);
    else
        load_data(cpu, op, seg, selector);
    cpu_mode_changed(cpu);
}

void segments_drop_privileged(Cpu *cpu, unsigned cpl)
{
    static const uint8_t order[] = {SEG_ES, SEG_FS, SEG_GS, SEG_DS};
    for (unsigned i = 0; i < G_N_ELEMENTS(order); i++) {
        CpuSegment *segment = &cpu->seg[order[i]];
        bool conforming = attr_is_code(segment->attr) && (segment->attr & TYPE_CONFORMING);
        if (!segment->unusable && !conforming && attr_dpl(segment->attr) < cpl)
            *segment = null_segment(0, 0);
    }
}
