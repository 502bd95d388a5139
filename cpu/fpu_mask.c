/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that access memory by elements, each only if a mask wants it: gathers, VMASKMOV,
 * MASKMOVDQU.  What the mask leaves out does not fault.  And VZEROUPPER, VZEROALL.
 */
#include "fpu.h"

enum { VECTOR = 32 };

static uint8_t *lane(Cpu *cpu, unsigned reg, unsigned offset)
{
    return offset < 16 ? fpu_xmm(cpu, reg) + offset : fpu_ymm_high(cpu, reg) + offset - 16;
}

static bool selected(Cpu *cpu, unsigned mask, unsigned i, unsigned element)
{
    return *lane(cpu, mask, i * element + element - 1) & 0x80;
}

static uint64_t load_element(Cpu *cpu, const Op *op, uint64_t address, unsigned size)
{
    uint64_t linear = cpu_linear(cpu, op, address, size, ACCESS_READ);
    return size == 8 ? cpu_load64(cpu, op, linear) : cpu_load32(cpu, op, linear);
}

static uint64_t wrap(const Op *op, uint64_t address)
{
    return address << op->address_shift >> op->address_shift;
}

/* Elements are done in order; those that are done stay so when a later one faults, with their bits
 * of the mask cleared (SDM vol. 2, VGATHERDPS). */
const Op *fpu_gather(Cpu *cpu, const Op *op)
{
    GatherForm form;
    memcpy(&form, &op->imm, sizeof(form));
    fpu_check(cpu, op, FP_NEED_AVX);
    uint64_t base = cpu->gpr[op->base] + (uint64_t)op->disp;
    for (unsigned i = 0; i < form.count; i++) {
        uint8_t *mask = lane(cpu, form.mask, i * form.element);
        if (selected(cpu, form.mask, i, form.element)) {
            const uint8_t *index = lane(cpu, form.index, i * form.index_size);
            uint64_t offset =
                form.index_size == 8 ? ld64_le(index) : (uint64_t)(int32_t)ld32_le(index);
            uint64_t address = wrap(op, base + (offset << op->scale));
            uint64_t value = load_element(cpu, op, address, form.element);
            memcpy(lane(cpu, form.destination, i * form.element), &value, form.element);
        }
        memset(mask, 0, form.element);
    }
    for (unsigned i = form.length; i < VECTOR; i++)
        *lane(cpu, form.destination, i) = 0;
    for (unsigned i = 0; i < VECTOR; i++)
        *lane(cpu, form.mask, i) = 0;
    NEXT(cpu, op);
}

/* op->reg: data; op->rm: mask; op->imm: element size; op->size: of the vector. */
static void masked_load(Cpu *cpu, const Op *op)
{
    uint8_t value[VECTOR] = {0};
    uint64_t address = op_address(cpu, op);
    unsigned element = (unsigned)op->imm;
    for (unsigned i = 0; i < op->size / element; i++)
        if (selected(cpu, op->rm, i, element)) {
            uint64_t got = load_element(cpu, op, wrap(op, address + i * element), element);
            memcpy(value + i * element, &got, element);
        }
    memcpy(fpu_xmm(cpu, op->reg), value, 16);
    memcpy(fpu_ymm_high(cpu, op->reg), value + 16, 16);
}

/* All elements are looked at before the first is written. */
static void masked_store(Cpu *cpu, const Op *op)
{
    uint64_t address = op_address(cpu, op);
    unsigned element = (unsigned)op->imm;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < op->size / element; i++) {
            if (!selected(cpu, op->rm, i, element))
                continue;
            uint64_t at = wrap(op, address + i * element);
            uint64_t linear = cpu_linear(cpu, op, at, element, ACCESS_WRITE);
            const uint8_t *value = lane(cpu, op->reg, i * element);
            if (!pass)
                cpu_probe(cpu, op, linear, element, ACCESS_WRITE);
            else if (element == 8)
                cpu_store64(cpu, op, linear, ld64_le(value));
            else
                cpu_store32(cpu, op, linear, ld32_le(value));
        }
}

const Op *fpu_vmaskmov(Cpu *cpu, const Op *op)
{
    fpu_check(cpu, op, FP_NEED_AVX);
    if (op->extra & FP_STORE)
        masked_store(cpu, op);
    else
        masked_load(cpu, op);
    NEXT(cpu, op);
}

/* MMX register n is the n-th of the x87 registers, whatever TOP is. */
static void read_mmx(const Cpu *cpu, unsigned n, uint8_t *to)
{
    unsigned top = ld16_le(cpu->xsave + FX_FSW) >> FSW_TOP_SHIFT & 7;
    memcpy(to, cpu->xsave + FX_ST + 16 * ((n - top) & 7), 8);
}

/* MASKMOVQ, MASKMOVDQU: op->reg: data; op->rm: mask; op->size 8 or 16. */
const Op *fpu_maskmov(Cpu *cpu, const Op *op)
{
    uint8_t data[16], mask[16];
    unsigned need = op->extra >> FP_NEED_SHIFT & 0xff;
    fpu_prepare(cpu, op, need);
    if (need & FP_NEED_MMX) {
        fpu_sync(cpu);
        read_mmx(cpu, op->reg, data);
        read_mmx(cpu, op->rm, mask);
        uint32_t unused; /* any MMX instruction sets TOP and the tags */
        __asm__ volatile("movd %%mm0, %0" : "=r"(unused));
    } else {
        memcpy(data, fpu_xmm(cpu, op->reg), 16);
        memcpy(mask, fpu_xmm(cpu, op->rm), 16);
    }
    uint64_t address = op_address(cpu, op);
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < op->size; i++) {
            if (!(mask[i] & 0x80))
                continue;
            uint64_t linear = cpu_linear(cpu, op, wrap(op, address + i), 1, ACCESS_WRITE);
            if (pass)
                cpu_store8(cpu, op, linear, data[i]);
            else
                cpu_probe(cpu, op, linear, 1, ACCESS_WRITE);
        }
    NEXT(cpu, op);
}

static void zero_upper(Cpu *cpu)
{
    unsigned count = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
    memset(cpu->xsave + XSAVE_YMM, 0, 16 * count);
}

const Op *fpu_vzeroupper(Cpu *cpu, const Op *op)
{
    fpu_check(cpu, op, FP_NEED_AVX);
    zero_upper(cpu);
    NEXT(cpu, op);
}

const Op *fpu_vzeroall(Cpu *cpu, const Op *op)
{
    unsigned count = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
    fpu_check(cpu, op, FP_NEED_AVX);
    zero_upper(cpu);
    memset(cpu->xsave + FX_XMM, 0, 16 * count);
    NEXT(cpu, op);
}
