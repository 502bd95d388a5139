/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions about segment registers, descriptors and descriptor tables.  (Intel SDM vol. 2: MOV,
 * PUSH, POP, LDS.., LLDT, LTR, SLDT, STR, LGDT.., LAR, LSL, VERR, VERW, ARPL, RDFSBASE.., SWAPGS.)
 */
#include "protect.h"

/* #UD where selectors name no descriptors. */
static void need_protected(Cpu *cpu, const Op *op)
{
    if (!in_protected(cpu))
        cpu_fault(cpu, op, EXC_UD);
}

/* CR4.UMIP: what SGDT and its kin say is for the system only. */
static void need_umip(Cpu *cpu, const Op *op)
{
    if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

static uint16_t read_selector(Cpu *cpu, const Op *op, bool memory)
{
    if (!memory)
        return (uint16_t)cpu->gpr[op->rm];
    return cpu_load16(cpu, op, cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_READ));
}
static inline uint16_t operand_selector(Cpu *cpu, const Op *op)
{
    return read_selector(cpu, op, op->extra);
}

/* ---- Segment registers ---- */

/* Ends the loading of a segment register. */
static const Op *loaded(Cpu *cpu, const Op *op, unsigned seg, bool shadows)
{
    /* A second one behind the first does not hold off anything longer (SDM vol. 3, 6.8.3). */
    if (seg == SEG_SS && shadows && op_rip(cpu, op) != cpu->shadowed_rip)
        cpu->interrupt_shadow = SHADOW_SS;
    LEAVE_BEHIND(cpu, op);
}

const Op *op_mov_from_seg_reg(Cpu *cpu, const Op *op)
{
    gpr_write(cpu, op->rm, cpu->seg[op->reg].selector, op->size);
    NEXT(cpu, op);
}

const Op *op_mov_from_seg_mem(Cpu *cpu, const Op *op)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_WRITE);
    cpu_store16(cpu, op, linear, cpu->seg[op->reg].selector);
    NEXT(cpu, op);
}

const Op *op_mov_to_seg_reg(Cpu *cpu, const Op *op)
{
    cpu_load_segment(cpu, op, op->reg, read_selector(cpu, op, false));
    return loaded(cpu, op, op->reg, true);
}

const Op *op_mov_to_seg_mem(Cpu *cpu, const Op *op)
{
    cpu_load_segment(cpu, op, op->reg, read_selector(cpu, op, true));
    return loaded(cpu, op, op->reg, true);
}

/* 32-bit pushes of a selector write its 16 bits only, as processors have done since the Pentium. */
const Op *op_push_seg(Cpu *cpu, const Op *op)
{
    Stack stack = frame_current(cpu, 0);
    uint16_t selector = cpu->seg[op->reg].selector;
    if (op->size == 4) {
        stack.sp = (stack.sp - 2) & stack.mask;
        frame_push(cpu, op, &stack, 2, selector);
    } else {
        frame_push(cpu, op, &stack, op->size, selector);
    }
    frame_commit(cpu, &stack);
    NEXT(cpu, op);
}

const Op *op_pop_seg(Cpu *cpu, const Op *op)
{
    Stack stack = frame_current(cpu, 0);
    uint16_t selector = (uint16_t)frame_peek(cpu, op, &stack, 0, 2);
    cpu_load_segment(cpu, op, op->reg, selector);
    /* POP SS counts SP by the stack that it popped from. */
    stack.sp = (stack.sp + op->size) & stack.mask;
    frame_commit(cpu, &stack);
    return loaded(cpu, op, op->reg, true);
}

/* LDS, LES, LFS, LGS, LSS: op->extra is the segment register. */
const Op *op_load_far(Cpu *cpu, const Op *op)
{
    uint64_t offset;
    uint16_t selector = far_pointer(cpu, op, &offset);
    cpu_load_segment(cpu, op, op->extra, selector);
    gpr_write(cpu, op->reg, offset, op->size);
    return loaded(cpu, op, op->extra, false);
}

/* ---- LDTR, TR ---- */

/* The descriptor of a system segment that LLDT or LTR names. */
static CpuSegment read_system(Cpu *cpu, const Op *op, uint16_t selector, bool tss, Descriptor *out)
{
    uint32_t error = selector_error(selector, 0);
    uint64_t high = 0;
    if ((selector & SEL_TI) || !descriptor_read(cpu, op, selector, out))
        cpu_fault_code(cpu, op, EXC_GP, error);
    unsigned type = attr_system_type(out->attr);
    bool ok = tss ? type == TYPE_TSS32 || (type == TYPE_TSS16 && !in_long(cpu)) : type == TYPE_LDT;
    if (!ok)
        cpu_fault_code(cpu, op, EXC_GP, error);
    if (in_long(cpu) && (!descriptor_read_high(cpu, op, selector, &high) || (high >> 40 & 0x1f)))
        cpu_fault_code(cpu, op, EXC_GP, error);
    if (!(out->attr & ATTR_P))
        cpu_fault_code(cpu, op, EXC_NP, error);
    CpuSegment segment = descriptor_segment(out, selector);
    segment.base |= high << 32;
    if (in_long(cpu) && !canonical(segment.base))
        cpu_fault_code(cpu, op, EXC_GP, error);
    return segment;
}

const Op *op_lldt(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    need_cpl0(cpu, op);
    uint16_t selector = operand_selector(cpu, op);
    if (selector_is_null(selector))
        cpu->ldt = null_segment(selector, 0);
    else
        cpu->ldt = read_system(cpu, op, selector, false, &descriptor);
    NEXT(cpu, op);
}

const Op *op_ltr(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    need_cpl0(cpu, op);
    uint16_t selector = operand_selector(cpu, op);
    if (selector_is_null(selector))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    CpuSegment segment = read_system(cpu, op, selector, true, &descriptor);
    cpu_exclusive_begin(cpu);
    uint64_t byte = cpu_load_system(cpu, op, descriptor.address + 5, 1);
    cpu_store_system(cpu, op, descriptor.address + 5, byte | TYPE_BUSY, 1);
    cpu_exclusive_end(cpu);
    segment.attr |= TYPE_BUSY;
    cpu->tr = segment;
    LEAVE_BEHIND(cpu, op);
}

/* A selector or machine status word to a register in full width, or to 16 bits of memory. */
static void store_word(Cpu *cpu, const Op *op, uint64_t value)
{
    if (op->extra)
        cpu_store16(cpu, op, cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_WRITE),
                    (uint16_t)value);
    else
        gpr_write(cpu, op->rm, value, op->size);
}

const Op *op_sldt(Cpu *cpu, const Op *op)
{
    need_protected(cpu, op);
    need_umip(cpu, op);
    store_word(cpu, op, cpu->ldt.selector);
    NEXT(cpu, op);
}

const Op *op_str(Cpu *cpu, const Op *op)
{
    need_protected(cpu, op);
    need_umip(cpu, op);
    store_word(cpu, op, cpu->tr.selector);
    NEXT(cpu, op);
}

const Op *op_smsw(Cpu *cpu, const Op *op)
{
    need_umip(cpu, op);
    store_word(cpu, op, cpu->cr0);
    NEXT(cpu, op);
}

/* ---- GDTR, IDTR ---- */

static uint64_t read_table(Cpu *cpu, const Op *op, uint16_t *limit)
{
    unsigned width = in_code64(cpu) ? 8 : 4;
    uint8_t bytes[10];
    need_cpl0(cpu, op);
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), width + 2, ACCESS_READ);
    cpu_read_bytes(cpu, op, linear, bytes, width + 2);
    uint64_t base = ldn_le(bytes + 2, width);
    if (width == 8 && !canonical(base))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    *limit = ld16_le(bytes);
    return width == 4 && op->size == 2 ? base & 0xffffff : base;
}

/* All 32 bits of the base are stored whatever the operand size is. */
static void write_table(Cpu *cpu, const Op *op, uint64_t base, uint16_t limit)
{
    unsigned width = in_code64(cpu) ? 8 : 4;
    uint8_t bytes[10];
    need_umip(cpu, op);
    st16_le(bytes, limit);
    stn_le(bytes + 2, width, base);
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), width + 2, ACCESS_WRITE);
    cpu_probe(cpu, op, linear, width + 2, ACCESS_WRITE);
    /* Aligned to 4 bytes, all of it. */
    cpu_write_bytes(cpu, op, linear, bytes, 4);
    cpu_write_bytes(cpu, op, linear + 4, bytes + 4, width - 2);
}

const Op *op_lgdt(Cpu *cpu, const Op *op)
{
    cpu->gdt_base = read_table(cpu, op, &cpu->gdt_limit);
    NEXT(cpu, op);
}

const Op *op_lidt(Cpu *cpu, const Op *op)
{
    cpu->idt_base = read_table(cpu, op, &cpu->idt_limit);
    NEXT(cpu, op);
}

const Op *op_sgdt(Cpu *cpu, const Op *op)
{
    write_table(cpu, op, cpu->gdt_base, cpu->gdt_limit);
    NEXT(cpu, op);
}

const Op *op_sidt(Cpu *cpu, const Op *op)
{
    write_table(cpu, op, cpu->idt_base, cpu->idt_limit);
    NEXT(cpu, op);
}

/* ---- Looking at descriptors ---- */

static void set_zf(Cpu *cpu, bool set)
{
    cpu->flags = (uint16_t)(set ? cpu->flags | FLAG_ZF : cpu->flags & ~FLAG_ZF);
}

/* Reads the operand's descriptor and checks the privilege; false: not visible. types: system types
 * that count, a bit each. */
static bool look_at(Cpu *cpu, const Op *op, uint32_t types, uint16_t selector, Descriptor *out)
{
    uint64_t high;
    if (selector_is_null(selector) || !descriptor_read(cpu, op, selector, out))
        return false;
    if (!(out->attr & ATTR_S)) {
        if (!(types >> (out->attr & ATTR_TYPE) & 1))
            return false;
        if (in_long(cpu) &&
            (!descriptor_read_high(cpu, op, selector, &high) || (high >> 40 & 0x1f)))
            return false;
    }
    if (attr_is_code(out->attr) && (out->attr & TYPE_CONFORMING))
        return true;
    return attr_dpl(out->attr) >= MAX(cpu->cpl, selector & SEL_RPL);
}

const Op *op_lar(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    uint16_t selector = operand_selector(cpu, op);
    /* TSS, LDT, call gates, task gate; in long mode those of them that exist there. */
    bool ok = look_at(cpu, op, in_long(cpu) ? 0x1a04 : 0x1a3e, selector, &descriptor);
    if (ok)
        gpr_write(cpu, op->reg, descriptor.bits >> 32 & 0xf0ff00, op->size);
    set_zf(cpu, ok);
    NEXT(cpu, op);
}

const Op *op_lsl(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    uint16_t selector = operand_selector(cpu, op);
    bool ok = look_at(cpu, op, in_long(cpu) ? 0x0a04 : 0x0a0e, selector, &descriptor);
    if (ok)
        gpr_write(cpu, op->reg, descriptor_segment(&descriptor, 0).limit, op->size);
    set_zf(cpu, ok);
    NEXT(cpu, op);
}

const Op *op_verr(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    bool ok = look_at(cpu, op, 0, operand_selector(cpu, op), &descriptor);
    set_zf(cpu, ok && (!(descriptor.attr & TYPE_CODE) || (descriptor.attr & TYPE_READABLE)));
    NEXT(cpu, op);
}

const Op *op_verw(Cpu *cpu, const Op *op)
{
    Descriptor descriptor;
    need_protected(cpu, op);
    bool ok = look_at(cpu, op, 0, operand_selector(cpu, op), &descriptor);
    set_zf(cpu, ok && attr_is_writable_data(descriptor.attr));
    NEXT(cpu, op);
}

const Op *op_arpl(Cpu *cpu, const Op *op)
{
    need_protected(cpu, op);
    uint16_t selector, rpl = cpu->gpr[op->reg] & SEL_RPL;
    if (op->extra) {
        uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_READ);
        selector = cpu_load16(cpu, op, linear);
    } else {
        selector = (uint16_t)cpu->gpr[op->rm];
    }
    bool raise = (selector & SEL_RPL) < rpl;
    if (raise) {
        selector = (uint16_t)((selector & ~SEL_RPL) | rpl);
        if (op->extra) {
            uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 2, ACCESS_WRITE);
            cpu_store16(cpu, op, linear, selector);
        } else {
            gpr_write(cpu, op->rm, selector, 2);
        }
    }
    set_zf(cpu, raise);
    NEXT(cpu, op);
}

/* ---- Bases in 64-bit mode ---- */

static void need_fsgsbase(Cpu *cpu, const Op *op)
{
    if (!(cpu->cr4 & CR4_FSGSBASE))
        cpu_fault(cpu, op, EXC_UD);
}

const Op *op_read_base(Cpu *cpu, const Op *op)
{
    need_fsgsbase(cpu, op);
    gpr_write(cpu, op->rm, cpu->seg[op->extra].base, op->size);
    NEXT(cpu, op);
}

const Op *op_write_base(Cpu *cpu, const Op *op)
{
    uint64_t base = cpu->gpr[op->rm] & size_mask(op->size);
    need_fsgsbase(cpu, op);
    if (!canonical(base))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    cpu->seg[op->extra].base = base;
    NEXT(cpu, op);
}

const Op *op_swapgs(Cpu *cpu, const Op *op)
{
    need_cpl0(cpu, op);
    uint64_t base = cpu->seg[SEG_GS].base;
    cpu->seg[SEG_GS].base = cpu->kernel_gs_base;
    cpu->kernel_gs_base = base;
    NEXT(cpu, op);
}
