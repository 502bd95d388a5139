/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System management mode: SMI and RSM with the AMD64 state save map (AMD APM vol. 2, table 10-1),
 * which firmware for QEMU's machines knows.
 */
#include "block.h"
#include "protect.h"

#include <inttypes.h>

#include "util/log.h"

/* Offsets from SMBASE + 0x8000. */
enum {
    SAVE_SEG = 0x7e00, /* ES, CS, SS, DS, FS, GS, 16 bytes each */
    SAVE_GDTR = 0x7e60,
    SAVE_LDTR = 0x7e70,
    SAVE_IDTR = 0x7e80,
    SAVE_TR = 0x7e90,
    SAVE_IO_RESTART = 0x7ec8,
    SAVE_HALT_RESTART = 0x7ec9,
    SAVE_NMI_MASK = 0x7eca,
    SAVE_SHADOW = 0x7ecb, /* reserved there; interrupts held off by STI or MOV SS */
    SAVE_DEBUG = 0x7ecc,  /* reserved there; bits of DR6 of a debug trap that is due */
    SAVE_EFER = 0x7ed0,
    SAVE_REVISION = 0x7efc,
    SAVE_SMBASE = 0x7f00,
    SAVE_CR4 = 0x7f48,
    SAVE_CR3 = 0x7f50,
    SAVE_CR0 = 0x7f58,
    SAVE_DR7 = 0x7f60,
    SAVE_DR6 = 0x7f68,
    SAVE_RFLAGS = 0x7f70,
    SAVE_RIP = 0x7f78,
    SAVE_RAX = 0x7ff8, /* the others downwards in their order */
    MAP_START = 0x7e00,
    MAP_SIZE = 0x200,
};
enum { DR6_TRAPS = 0xc00f };
enum { REVISION = 0x20064, SMI_ENTRY = 0x8000 };

/* The map's bytes, by the offsets above. */
typedef struct SaveMap {
    uint8_t bytes[MAP_SIZE];
} SaveMap;

static inline uint8_t *at(SaveMap *map, unsigned offset)
{
    return map->bytes + (offset - MAP_START);
}

/* ---- Saving ---- */

static void save_segment(SaveMap *map, unsigned offset, const CpuSegment *segment)
{
    st16_le(at(map, offset), segment->selector);
    st16_le(at(map, offset + 2),
            segment->unusable ? segment->attr & ~(unsigned)ATTR_P : segment->attr);
    st32_le(at(map, offset + 4), segment->limit);
    st64_le(at(map, offset + 8), segment->base);
}

static void save_state(const Cpu *cpu, SaveMap *map)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        save_segment(map, SAVE_SEG + 16 * i, &cpu->seg[i]);
    save_segment(map, SAVE_LDTR, &cpu->ldt);
    save_segment(map, SAVE_TR, &cpu->tr);
    st32_le(at(map, SAVE_GDTR + 4), cpu->gdt_limit);
    st64_le(at(map, SAVE_GDTR + 8), cpu->gdt_base);
    st32_le(at(map, SAVE_IDTR + 4), cpu->idt_limit);
    st64_le(at(map, SAVE_IDTR + 8), cpu->idt_base);
    *at(map, SAVE_HALT_RESTART) = cpu->halted;
    *at(map, SAVE_NMI_MASK) = cpu->nmi_masked;
    *at(map, SAVE_SHADOW) = cpu->interrupt_shadow;
    st16_le(at(map, SAVE_DEBUG), (uint16_t)cpu->debug_pending);
    st64_le(at(map, SAVE_EFER), cpu->efer);
    st32_le(at(map, SAVE_REVISION), REVISION);
    st32_le(at(map, SAVE_SMBASE), (uint32_t)cpu->smbase);
    st64_le(at(map, SAVE_CR4), cpu->cr4);
    st64_le(at(map, SAVE_CR3), cpu->cr3);
    st64_le(at(map, SAVE_CR0), cpu->cr0);
    st64_le(at(map, SAVE_DR7), cpu->dr[7]);
    st64_le(at(map, SAVE_DR6), cpu->dr[6]);
    st64_le(at(map, SAVE_RFLAGS), cpu_rflags(cpu));
    st64_le(at(map, SAVE_RIP), cpu->rip);
    for (unsigned i = 0; i < 16; i++)
        st64_le(at(map, SAVE_RAX - 8 * i), cpu->gpr[i]);
}

static void enter(Cpu *cpu)
{
    enum { BIG = 0x93 };
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu->seg[i] = (CpuSegment){.attr = BIG | ATTR_G, .limit = UINT32_MAX};
    cpu->seg[SEG_CS].selector = (uint16_t)(cpu->smbase >> 4);
    cpu->seg[SEG_CS].base = cpu->smbase;
    cpu->rip = SMI_ENTRY;
    cpu->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    cpu->cr4 = 0;
    cpu->efer = 0;
    cpu->eflags = EFL_ONE;
    cpu->flags = 0;
    cpu->dr[7] = 0x400;
    cpu->cpl = 0;
    cpu->halted = false;
    cpu->nmi_masked = true;
    cpu->interrupt_shadow = SHADOW_NONE;
    cpu->debug_pending = 0;
    cpu->smm = true;
    control_select_space(cpu);
    cpu_mode_changed(cpu);
}

void cpu_enter_smm(Cpu *cpu)
{
    SaveMap map = {0};
    if (!cpu->smm_mem)
        return;
    log_printf(LOG_INT, "int: CPU %u: SMI at %04x:%" PRIx64, cpu->vcpu->index,
               cpu->seg[SEG_CS].selector, cpu->rip);
    /* The state goes where an SMI handler alone sees it. */
    fpu_leave(cpu);
    save_state(cpu, &map);
    as_write(cpu->smm_mem, cpu->smbase + SMI_ENTRY + MAP_START, map.bytes, sizeof(map.bytes));
    enter(cpu);
}

/* ---- Restoring ---- */

static CpuSegment restore_segment(SaveMap *map, unsigned offset)
{
    CpuSegment segment = {.selector = ld16_le(at(map, offset)),
                          .attr = ld16_le(at(map, offset + 2)) & 0xf0ff,
                          .limit = ld32_le(at(map, offset + 4)),
                          .base = ld64_le(at(map, offset + 8))};
    segment.unusable = !(segment.attr & ATTR_P);
    return segment;
}

static bool restorable(const Cpu *cpu, SaveMap *map)
{
    uint64_t cr0 = ld64_le(at(map, SAVE_CR0)), cr4 = ld64_le(at(map, SAVE_CR4));
    uint64_t efer = ld64_le(at(map, SAVE_EFER));
    bool wide = (efer & EFER_LME) && (cr0 & CR0_PG);
    return control_valid(cpu, cr0, cr4) && (!wide || (cr4 & CR4_PAE)) &&
           !(efer & EFER_LMA) == !wide;
}

static void restore_registers(Cpu *cpu, SaveMap *map)
{
    uint32_t flags = (uint32_t)ld64_le(at(map, SAVE_RFLAGS));
    for (unsigned i = 0; i < 16; i++)
        cpu->gpr[i] = ld64_le(at(map, SAVE_RAX - 8 * i));
    cpu->rip = ld64_le(at(map, SAVE_RIP));
    cpu->eflags = (flags & 0x3f7fd7 & ~(uint32_t)EFL_ARITH) | EFL_ONE;
    cpu->flags = (uint16_t)efl_to_flags(flags);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        cpu->seg[i] = restore_segment(map, SAVE_SEG + 16 * i);
    cpu->ldt = restore_segment(map, SAVE_LDTR);
    cpu->tr = restore_segment(map, SAVE_TR);
    cpu->gdt_limit = (uint16_t)ld32_le(at(map, SAVE_GDTR + 4));
    cpu->gdt_base = ld64_le(at(map, SAVE_GDTR + 8));
    cpu->idt_limit = (uint16_t)ld32_le(at(map, SAVE_IDTR + 4));
    cpu->idt_base = ld64_le(at(map, SAVE_IDTR + 8));
    cpu->dr[6] = (ld64_le(at(map, SAVE_DR6)) & 0xe00f) | 0xffff0ff0;
    cpu->dr[7] = (ld64_le(at(map, SAVE_DR7)) & 0xffff2fff) | 0x400;
}

static void restore_control(Cpu *cpu, SaveMap *map)
{
    cpu->cr0 = ld64_le(at(map, SAVE_CR0)) | CR0_ET;
    cpu->cr4 = ld64_le(at(map, SAVE_CR4));
    cpu->efer = ld64_le(at(map, SAVE_EFER)) &
                (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | 1 << 14 /* FFXSR */);
    cpu->cpl = in_vm86(cpu) ? 3 : cpu->cr0 & CR0_PE ? attr_dpl(cpu->seg[SEG_SS].attr) : 0;
    cpu->smm = false;
    /* Now memory is the system's again, and so are PAE's pointers. */
    cpu_mode_changed(cpu);
    if (!control_load_cr3(cpu, ld64_le(at(map, SAVE_CR3))))
        cpu_shutdown(cpu, NULL);
}

const Op *op_rsm(Cpu *cpu, const Op *op)
{
    SaveMap map;
    if (!cpu->smm)
        cpu_fault(cpu, op, EXC_UD);
    if (as_read(cpu_memory(cpu), cpu->smbase + SMI_ENTRY + MAP_START, map.bytes,
                sizeof(map.bytes)) != MEM_OK ||
        !restorable(cpu, &map))
        cpu_shutdown(cpu, op);
    restore_registers(cpu, &map);
    cpu->halted = *at(&map, SAVE_HALT_RESTART) & 1;
    cpu->nmi_masked = *at(&map, SAVE_NMI_MASK) & 1;
    uint8_t shadow = *at(&map, SAVE_SHADOW);
    cpu->interrupt_shadow = shadow <= SHADOW_SS ? shadow : SHADOW_NONE;
    cpu->debug_pending = ld16_le(at(&map, SAVE_DEBUG)) & DR6_TRAPS;
    if (ld32_le(at(&map, SAVE_REVISION)) & 0x20000)
        cpu->smbase = ld32_le(at(&map, SAVE_SMBASE));
    restore_control(cpu, &map);
    cpu_mode_changed(cpu);
    LEAVE(cpu);
}
