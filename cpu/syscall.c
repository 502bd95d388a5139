/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT (Intel SDM vol. 2; AMD APM vol. 3 for SYSCALL outside 64-bit
 * mode).  They load fixed segments without looking at descriptors.
 */
#include "protect.h"

enum { FLAT_CODE = ATTR_G | ATTR_P | ATTR_S | TYPE_CODE | TYPE_READABLE | TYPE_ACCESSED };
enum { FLAT_DATA = ATTR_G | ATTR_DB | ATTR_P | ATTR_S | TYPE_WRITABLE | TYPE_ACCESSED };

/* CS and SS flat, at privilege cpl; width: ATTR_L or ATTR_DB. */
static void load_flat(Cpu *cpu, uint16_t cs, uint16_t ss, unsigned cpl, uint16_t width)
{
    uint16_t dpl = (uint16_t)(cpl << 5);
    cpu->seg[SEG_CS] = (CpuSegment){
        .selector = cs, .attr = (uint16_t)(FLAT_CODE | width | dpl), .limit = UINT32_MAX};
    cpu->seg[SEG_SS] =
        (CpuSegment){.selector = ss, .attr = (uint16_t)(FLAT_DATA | dpl), .limit = UINT32_MAX};
    cpu->cpl = (uint8_t)cpl;
}

const Op *op_syscall(Cpu *cpu, const Op *op)
{
    if (!(cpu->efer & EFER_SCE) || !in_protected(cpu) || (!in_code64(cpu) && !cpu_is_amd(cpu)))
        cpu_fault(cpu, op, EXC_UD);
    uint64_t next = op_next_rip(cpu, op);
    uint16_t cs = cpu->star >> 32 & 0xfffc;
    if (in_long(cpu)) {
        bool wide = in_code64(cpu);
        cpu->gpr[GPR_RCX] = wide ? next : (uint32_t)next;
        cpu->gpr[11] = cpu_rflags(cpu) & ~(uint32_t)EFL_RF;
        cpu->rip = wide ? cpu->lstar : cpu->cstar;
        load_flat(cpu, cs, (uint16_t)(cs + 8), 0, ATTR_L);
        cpu_set_rflags(cpu, 0, ((uint32_t)cpu->fmask & ~(uint32_t)EFL_ONE) | EFL_RF);
    } else {
        cpu->gpr[GPR_RCX] = (uint32_t)next;
        cpu->rip = (uint32_t)cpu->star;
        load_flat(cpu, cs, (uint16_t)(cs + 8), 0, ATTR_DB);
        cpu_set_rflags(cpu, 0, EFL_IF | EFL_RF);
    }
    cpu_mode_changed(cpu);
    /* TF as FMASK has left it: none in the system, whose debugger did not ask. */
    cpu_step_behind(cpu, true);
    LEAVE(cpu);
}

const Op *op_sysret(Cpu *cpu, const Op *op)
{
    if (!(cpu->efer & EFER_SCE) || !in_protected(cpu) || (!in_code64(cpu) && !cpu_is_amd(cpu)))
        cpu_fault(cpu, op, EXC_UD);
    need_cpl0(cpu, op);
    uint16_t selector = (uint16_t)(cpu->star >> 48);
    uint16_t ss = (uint16_t)((selector + 8) | 3);
    bool wide = op->size == 8;
    if (wide && !canonical(cpu->gpr[GPR_RCX]))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    bool from64 = in_code64(cpu);
    cpu->rip = wide ? cpu->gpr[GPR_RCX] : (uint32_t)cpu->gpr[GPR_RCX];
    load_flat(cpu, (uint16_t)((wide ? selector + 16 : selector) | 3), ss, 3,
              wide ? ATTR_L : ATTR_DB);
    if (from64)
        cpu_set_rflags(cpu, cpu->gpr[11] & 0x3c7fd7, 0x3c7fd7 | EFL_RF);
    else
        cpu_set_rflags(cpu, EFL_IF, EFL_IF);
    cpu_mode_changed(cpu);
    /* As if the program's SYSCALL had ended just now. */
    cpu_step_behind(cpu, true);
    LEAVE(cpu);
}

static bool has_sysenter(const Cpu *cpu)
{
    return in_protected(cpu) && (cpu->sysenter_cs & 0xfffc);
}

const Op *op_sysenter(Cpu *cpu, const Op *op)
{
    /* vm86 mode may use it, too. */
    if (!(cpu->cr0 & CR0_PE) || !(cpu->sysenter_cs & 0xfffc))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    /* AMD's processors do not have it in long mode. */
    if (in_long(cpu) && cpu_is_amd(cpu))
        cpu_fault(cpu, op, EXC_UD);
    uint16_t cs = cpu->sysenter_cs & 0xfffc;
    bool wide = in_long(cpu);
    cpu_set_rflags(cpu, 0, EFL_VM | EFL_IF | EFL_RF);
    load_flat(cpu, cs, (uint16_t)(cs + 8), 0, wide ? ATTR_L : ATTR_DB);
    cpu->gpr[GPR_RSP] = wide ? cpu->sysenter_esp : (uint32_t)cpu->sysenter_esp;
    cpu->rip = wide ? cpu->sysenter_eip : (uint32_t)cpu->sysenter_eip;
    cpu_mode_changed(cpu);
    LEAVE(cpu);
}

const Op *op_sysexit(Cpu *cpu, const Op *op)
{
    if (!has_sysenter(cpu) || cpu->cpl)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    if (in_long(cpu) && cpu_is_amd(cpu))
        cpu_fault(cpu, op, EXC_UD);
    bool wide = op->size == 8;
    uint64_t rip = cpu->gpr[GPR_RDX], rsp = cpu->gpr[GPR_RCX];
    if (wide && (!canonical(rip) || !canonical(rsp)))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint16_t cs = (uint16_t)((cpu->sysenter_cs & 0xfffc) + (wide ? 32 : 16));
    load_flat(cpu, cs | 3, (uint16_t)((cs + 8) | 3), 3, wide ? ATTR_L : ATTR_DB);
    cpu->gpr[GPR_RSP] = wide ? rsp : (uint32_t)rsp;
    cpu->rip = wide ? rip : (uint32_t)rip;
    cpu_mode_changed(cpu);
    LEAVE(cpu);
}
