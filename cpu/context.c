/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor's state as a whole: power-on, INIT, SIPI, and to and from CpuState.  (Intel SDM
 * vol. 3, 9.1 and 8.4.)
 */
#include "protect.h"

#include <inttypes.h>

#include "util/log.h"

enum { MSR_APIC_BASE = 0x1b };
#define APIC_BASE_BSP 0x100ull

static bool is_bootstrap(const Cpu *cpu)
{
    uint64_t base = 0;
    if (!cpu->bus.apic_msr || !cpu->bus.apic_msr(cpu->vcpu, MSR_APIC_BASE, false, &base))
        return cpu->vcpu->index == 0;
    return base & APIC_BASE_BSP;
}

static uint32_t signature(const Cpu *cpu)
{
    const CpuidEntry *entry =
        cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, 1, 0);
    return entry ? entry->reg[CPUID_EAX] : 0;
}

/* ---- Reset ---- */

/* What power-on and INIT have in common. */
static void load_registers(Cpu *cpu, const CpuState *state)
{
    memcpy(cpu->gpr, state->gpr, sizeof(state->gpr));
    cpu->gpr[SLOT_ZERO] = 0;
    cpu->rip = state->rip;
    cpu->eflags = ((uint32_t)state->rflags & 0x3f7fd7 & ~(uint32_t)EFL_ARITH) | EFL_ONE;
    cpu->flags = (uint16_t)efl_to_flags((uint32_t)state->rflags);
    memcpy(cpu->seg, state->seg, sizeof(cpu->seg));
    cpu->ldt = state->ldt;
    cpu->tr = state->tr;
    cpu->gdt_base = state->gdt_base;
    cpu->idt_base = state->idt_base;
    cpu->gdt_limit = state->gdt_limit;
    cpu->idt_limit = state->idt_limit;
    cpu->cr0 = state->cr0;
    cpu->cr2 = state->cr2;
    cpu->cr3 = state->cr3;
    cpu->cr4 = state->cr4;
    cpu->efer = state->efer;
    memcpy(cpu->dr, state->dr, sizeof(cpu->dr));
    cpu->halted = state->halted;
    cpu->waiting_sipi = state->waiting_sipi;
    cpu->interrupt_shadow = state->interrupt_shadow ? SHADOW_STI : SHADOW_NONE;
    cpu->hold_debug = false;
    cpu->nmi_masked = state->nmi_masked;
    cpu->smm = state->smm;
    cpu->delivering = -1;
    cpu->debug_pending = 0;
}

/* Everything that is derived from the registers. */
static void registers_changed(Cpu *cpu)
{
    bool protected = cpu->cr0 & CR0_PE;
    cpu->cpl = !protected ? 0 : in_vm86(cpu) ? 3 : attr_dpl(cpu->seg[SEG_SS].attr);
    cpu_tlb_flush(cpu, true);
    control_select_space(cpu);
    cpu_mode_changed(cpu);
}

void cpu_reset(Cpu *cpu, bool init)
{
    enum { CACHE_BITS = CR0_CD | CR0_NW };
    g_autofree CpuState *state = g_new(CpuState, 1);
    uint64_t cache = cpu->cr0 & CACHE_BITS;
    fpu_leave(cpu);
    log_printf(LOG_RESET, "cpu: CPU %u: %s at %04x:%" PRIx64, cpu->vcpu->index,
               init ? "INIT" : "reset", cpu->seg[SEG_CS].selector, cpu->rip);
    cpu_state_reset(state, is_bootstrap(cpu), cpu->vcpu->apic_id, signature(cpu));
    if (init)
        state->cr0 = (state->cr0 & ~(uint64_t)CACHE_BITS) | cache;
    load_registers(cpu, state);
    cpu->xcr0 = init ? cpu->xcr0 : 1;
    if (!init) {
        cpu->smbase = 0x30000;
        msr_reset(cpu);
        fpu_reset(cpu);
    }
    registers_changed(cpu);
}

void cpu_init_signal(Cpu *cpu)
{
    cpu_reset(cpu, true);
    if (cpu->bus.apic_init)
        cpu->bus.apic_init(cpu->vcpu);
}

void cpu_sipi(Cpu *cpu, uint8_t vector)
{
    cpu->seg[SEG_CS].selector = (uint16_t)(vector << 8);
    cpu->seg[SEG_CS].base = (uint64_t)vector << 12;
    cpu->rip = 0;
    cpu->waiting_sipi = false;
    cpu->halted = false;
    cpu_mode_changed(cpu);
}

/* ---- CpuState ---- */

void cpu_get_core(const Cpu *cpu, CpuState *state)
{
    memcpy(state->gpr, cpu->gpr, sizeof(state->gpr));
    state->rip = cpu->rip;
    state->rflags = cpu_rflags(cpu);
    memcpy(state->seg, cpu->seg, sizeof(state->seg));
    state->ldt = cpu->ldt;
    state->tr = cpu->tr;
    state->gdt_base = cpu->gdt_base;
    state->idt_base = cpu->idt_base;
    state->gdt_limit = cpu->gdt_limit;
    state->idt_limit = cpu->idt_limit;
    state->cr0 = cpu->cr0;
    state->cr2 = cpu->cr2;
    state->cr3 = cpu->cr3;
    state->cr4 = cpu->cr4;
    state->efer = cpu->efer;
    memcpy(state->dr, cpu->dr, sizeof(state->dr));
    state->halted = cpu->halted;
    state->waiting_sipi = cpu->waiting_sipi;
    state->interrupt_shadow = cpu->interrupt_shadow;
    state->nmi_masked = cpu->nmi_masked;
    state->smm = cpu->smm;
    state->exception_pending = state->interrupt_pending = false;
}

void cpu_get_fpu(Cpu *cpu, CpuState *state)
{
    state->xcr0 = cpu->xcr0;
    fpu_get_state(cpu, state);
    fpu_leave(cpu);
}

void cpu_get_msrs(Cpu *cpu, CpuState *state)
{
    msr_get_state(cpu, state);
}

void cpu_get_state(Cpu *cpu, CpuState *state)
{
    memset(state, 0, sizeof(*state));
    cpu_get_core(cpu, state);
    cpu_get_fpu(cpu, state);
    cpu_get_msrs(cpu, state);
    state->tsc = cpu->bus.read_tsc(cpu->vcpu);
    state->nmi_pending = vcpu_requested(cpu->vcpu, VCPU_REQ_NMI);
    if (cpu->bus.read_cr8)
        state->cr8 = cpu->bus.read_cr8(cpu->vcpu);
    if (cpu->bus.apic_msr)
        cpu->bus.apic_msr(cpu->vcpu, MSR_APIC_BASE, false, &state->apic_base);
}

/* Another engine was about to deliver an event: it is delivered before anything runs. */
static void deliver_pending(Cpu *cpu, const CpuState *state)
{
    if (setjmp(cpu->fault_exit)) {
        /* No handler to be reached: as after a triple fault, the processor does nothing more. */
        if (!cpu_deliver_fault(cpu))
            cpu->halted = true;
        return;
    }
    if (state->exception_pending)
        cpu_deliver(cpu, NULL, state->exception_vector, EVENT_EXCEPTION, state->exception_has_error,
                    state->exception_error);
    else
        cpu_deliver(cpu, NULL, state->interrupt_vector,
                    state->interrupt_soft ? EVENT_SOFTWARE : EVENT_EXTERNAL, false, 0);
}

void cpu_set_fpu(Cpu *cpu, const CpuState *state)
{
    cpu->xcr0 = state->xcr0 | 1;
    fpu_set_state(cpu, state);
    fpu_mode_changed(cpu);
}

void cpu_set_msrs(Cpu *cpu, const CpuState *state)
{
    msr_set_state(cpu, state);
}

void cpu_set_core(Cpu *cpu, const CpuState *state)
{
    load_registers(cpu, state);
    registers_changed(cpu);
    /* Pointers with reserved bits set could not have been loaded: then no page is present. */
    if (!control_load_cr3(cpu, cpu->cr3))
        memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
    if (state->exception_pending || state->interrupt_pending)
        deliver_pending(cpu, state);
}

void cpu_set_state(Cpu *cpu, const CpuState *state)
{
    /* MSRs come first: events are delivered last. */
    cpu_set_fpu(cpu, state);
    cpu_set_msrs(cpu, state);
    cpu->bus.write_tsc(cpu->vcpu, state->tsc);
    if (state->nmi_pending)
        vcpu_request(cpu->vcpu, VCPU_REQ_NMI);
    cpu_set_core(cpu, state);
}
