/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor's life: creation, the loop over blocks, faults, and what is looked at between
 * instructions, in the order of SDM vol. 3, table 6-2.
 *
 * Blocks chain to each other and come back here when something is requested, when the budget is
 * used up, and behind instructions after which the mode may be another.
 */
#include "block.h"

#include <inttypes.h>
#include <stdlib.h>

#include "util/log.h"

enum {
    DR6_BS = 1 << 14,
    STACK_ROOM = 64 << 10, /* of handlers that are not tail-called */
};

/* ---- Faults ---- */

/* What longjmp() carries. */
enum { EXIT_FAULT = 1, EXIT_FROZEN = 2 };

static G_GNUC_NORETURN void leave(Cpu *cpu, const Op *op, int how)
{
    if (op) {
        uint64_t rip = op_rip(cpu, op);
        cpu->rip = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? rip : (uint32_t)rip;
    }
    cpu_exclusive_end(cpu);
    longjmp(cpu->fault_exit, how);
}

void cpu_fault(Cpu *cpu, const Op *op, unsigned vector)
{
    cpu->fault.vector = (uint8_t)vector;
    cpu->fault.has_error = false;
    cpu->fault.error = 0;
    leave(cpu, op, EXIT_FAULT);
}

void cpu_fault_code(Cpu *cpu, const Op *op, unsigned vector, uint32_t error)
{
    cpu->fault.vector = (uint8_t)vector;
    cpu->fault.has_error = true;
    cpu->fault.error = error;
    leave(cpu, op, EXIT_FAULT);
}

void cpu_freeze(Cpu *cpu, const Op *op)
{
    cpu->halted = true;
    leave(cpu, op, EXIT_FROZEN);
}

/* ---- Mode and flags ---- */

static bool is_flat_data(const CpuSegment *segment)
{
    enum { WRITABLE = ATTR_S | 2, TYPE = ATTR_S | 0xe };
    return !segment->base && segment->limit == UINT32_MAX && !segment->unusable &&
           (segment->attr & TYPE) == WRITABLE;
}

static bool is_flat_code(const CpuSegment *segment)
{
    enum { READABLE = ATTR_S | 0xa, TYPE = ATTR_S | 0xa };
    return !segment->base && segment->limit == UINT32_MAX && (segment->attr & TYPE) == READABLE;
}

static uint32_t code_mode(const Cpu *cpu)
{
    if ((cpu->efer & EFER_LMA) && (cpu->seg[SEG_CS].attr & ATTR_L))
        return MODE_CODE64 | MODE_FLAT;
    uint32_t mode = MODE_CODE16;
    if ((cpu->seg[SEG_CS].attr & ATTR_DB) && !(cpu->eflags & EFL_VM))
        mode = MODE_CODE32;
    if (cpu->seg[SEG_SS].attr & ATTR_DB)
        mode |= MODE_STACK32;
    if (is_flat_code(&cpu->seg[SEG_CS]) && is_flat_data(&cpu->seg[SEG_SS]) &&
        is_flat_data(&cpu->seg[SEG_DS]) && is_flat_data(&cpu->seg[SEG_ES]))
        mode |= MODE_FLAT;
    return mode;
}

void cpu_mode_changed(Cpu *cpu)
{
    uint32_t mode = code_mode(cpu);
    mode |= cpu->cr0 & CR0_PE ? MODE_PROTECTED : 0;
    mode |= cpu->eflags & EFL_VM ? MODE_VM86 : 0;
    mode |= cpu->cpl == 3 ? MODE_USER : 0;
    mode |= cpu->efer & EFER_LMA ? MODE_LONG : 0;
    if ((cpu->eflags & EFL_TF) || (cpu->dr[7] & 0xff) || cpu->rescue || cpu->debugged ||
        cpu->one_insn)
        mode |= MODE_SLOW;
    cpu->mode = mode;
    mmu_mode_changed(cpu);
    fpu_mode_changed(cpu);
}

void cpu_set_rflags(Cpu *cpu, uint32_t value, uint32_t mask)
{
    uint32_t arithmetic = mask & EFL_ARITH, others = mask & ~(uint32_t)EFL_ARITH;
    uint32_t old = cpu->eflags;
    if (arithmetic)
        cpu->flags =
            (uint16_t)efl_to_flags((flags_to_efl(cpu->flags) & ~arithmetic) | (value & arithmetic));
    cpu->eflags = (old & ~others) | (value & others) | EFL_ONE;
    if ((old ^ cpu->eflags) & (EFL_TF | EFL_VM | EFL_AC))
        cpu_mode_changed(cpu);
}

/* ---- Between instructions ---- */

void cpu_serve_attention(Cpu *cpu, bool between)
{
    uint32_t wanted = __atomic_load_n(&cpu->attention, __ATOMIC_ACQUIRE);
    if (wanted & ATTENTION_MEMORY) {
        /* From a block that runs chains lead to what was mapped before: it is left by that bit. */
        if (between)
            __atomic_fetch_and(&cpu->attention, ~ATTENTION_MEMORY, __ATOMIC_SEQ_CST);
        mmu_memory_changed(cpu);
    }
    if (wanted & (ATTENTION_MAIL | ATTENTION_LOGGED))
        code_read_mail(cpu, between);
}

void cpu_step_behind(Cpu *cpu, bool branched)
{
    if ((cpu->eflags & EFL_TF) && (branched || !(cpu->debugctl & DEBUGCTL_BTF)))
        cpu->debug_pending |= DR6_BS;
}

/* Debug exceptions of the instruction before: #DB as a trap. */
static void debug_trap(Cpu *cpu)
{
    uint32_t pending = cpu->debug_pending;
    if (!pending || cpu->hold_debug)
        return;
    cpu->debug_pending = 0;
    cpu->dr[6] |= pending;
    cpu->halted = false;
    cpu_fault(cpu, NULL, EXC_DB);
}

/* Instruction breakpoints: #DB before the instruction, unless RF says that it was had. */
static void code_breakpoints(Cpu *cpu)
{
    bool wide = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64;
    uint64_t linear = wide ? cpu->rip : (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
    uint32_t hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if ((cpu->dr[7] >> 2 * i & 3) && !(cpu->dr[7] >> (16 + 4 * i) & 15) && cpu->dr[i] == linear)
            hits |= 1u << i;
    if (!hits || (cpu->eflags & EFL_RF))
        return;
    cpu->dr[6] |= hits;
    cpu_fault(cpu, NULL, EXC_DB);
}

/* Which requests block entries look for. */
static uint32_t servable(const Cpu *cpu)
{
    if (cpu->rescue)
        return 0;
    uint32_t mask = VCPU_REQ_CONTROL | VCPU_REQ_PARK | VCPU_REQ_SIPI;
    if (!cpu->smm)
        mask |= VCPU_REQ_SMI | VCPU_REQ_INIT;
    if (!cpu->nmi_masked)
        mask |= VCPU_REQ_NMI;
    if (cpu->eflags & EFL_IF)
        mask |= VCPU_REQ_INTR | VCPU_REQ_APIC;
    return mask;
}

/* SMI, INIT and SIPI.  An SMI stays latched in SMM, before SIPI and behind MOV SS. */
static void serve_signals(Cpu *cpu, uint32_t requests)
{
    bool smi = !cpu->smm && !cpu->waiting_sipi && !cpu->hold_debug;
    if ((requests & VCPU_REQ_SMI) && smi && vcpu_take(cpu->vcpu, VCPU_REQ_SMI))
        cpu_enter_smm(cpu);
    if ((requests & VCPU_REQ_INIT) && !cpu->smm && vcpu_take(cpu->vcpu, VCPU_REQ_INIT))
        cpu_init_signal(cpu);
    if ((requests & VCPU_REQ_SIPI) && vcpu_take(cpu->vcpu, VCPU_REQ_SIPI) && cpu->waiting_sipi)
        cpu_sipi(cpu, cpu->vcpu->sipi_vector);
}

/* NMI and interrupts, where they are not held off. */
static void serve_interrupts(Cpu *cpu, uint32_t requests)
{
    if ((requests & VCPU_REQ_NMI) && !cpu->nmi_masked && vcpu_take(cpu->vcpu, VCPU_REQ_NMI)) {
        cpu->halted = false;
        cpu->nmi_masked = true;
        cpu_deliver(cpu, NULL, EXC_NMI, EVENT_EXTERNAL, false, 0);
        return;
    }
    if (!(requests & (VCPU_REQ_INTR | VCPU_REQ_APIC)) || !(cpu->eflags & EFL_IF))
        return;
    fpu_leave(cpu);
    vcpu_take(cpu->vcpu, VCPU_REQ_APIC);
    int vector = cpu->bus.take_interrupt(cpu->vcpu);
    cpu->refused = vector < 0;
    if (vector < 0)
        return;
    cpu->halted = false;
    cpu_deliver(cpu, NULL, (unsigned)vector, EVENT_EXTERNAL, false, 0);
}

/* What does not end this wait. */
static void set_halt_mask(Cpu *cpu)
{
    uint32_t mask = 0;
    if (cpu->waiting_sipi)
        mask = ~(uint32_t)(VCPU_REQ_CONTROL | VCPU_REQ_PARK | VCPU_REQ_SIPI | VCPU_REQ_INIT);
    else if (!(cpu->eflags & EFL_IF))
        mask = VCPU_REQ_INTR | VCPU_REQ_APIC;
    else if (cpu->refused)
        mask = VCPU_REQ_INTR;
    mask |= cpu->nmi_masked ? VCPU_REQ_NMI : 0;
    mask |= cpu->smm ? VCPU_REQ_SMI | VCPU_REQ_INIT : 0;
    cpu->vcpu->halt_masked = mask;
}

/* Whether the CPU goes on; else *why. */
static bool serve(Cpu *cpu, CpuRun *why)
{
    if (__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED)) {
        cpu_serve_attention(cpu, true);
        if (__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED) & ATTENTION_STALL)
            exclusive_park(cpu);
    }
    cpu->request_mask = servable(cpu);
    uint32_t requests =
        __atomic_load_n(&cpu->vcpu->requests, __ATOMIC_ACQUIRE) & (cpu->rescue ? 0 : ~0u);
    if (requests & (VCPU_REQ_CONTROL | VCPU_REQ_PARK)) {
        *why = CPU_RUN_REQUEST;
        return false;
    }
    if (G_UNLIKELY(requests & (VCPU_REQ_SMI | VCPU_REQ_INIT | VCPU_REQ_SIPI)))
        serve_signals(cpu, requests);
    if (G_UNLIKELY(cpu->debug_pending))
        debug_trap(cpu);
    cpu->refused = false;
    if (G_UNLIKELY(requests) && !cpu->interrupt_shadow && !cpu->waiting_sipi)
        serve_interrupts(cpu, requests);
    if (G_UNLIKELY(cpu->halted || cpu->waiting_sipi)) {
        set_halt_mask(cpu);
        *why = CPU_RUN_HALTED;
        return false;
    }
    cpu->request_mask = servable(cpu);
    return true;
}

/* ---- The loop ---- */

static inline void run_block(Cpu *cpu, const Block *block)
{
    cpu->gpr[SLOT_RIP] = cpu->rip;
    cpu->budget -= block->count;
    for (const Op *op = block->ops; op;)
        op = op->fn(cpu, op);
}

/* ---- -d exec ---- */

static void log_block(const Cpu *cpu, const Block *block)
{
    static const uint8_t bits[] = {16, 32, 64};
    if (!log_on(LOG_EXEC))
        return;
    g_autoptr(GString) line = g_string_new(NULL);
    g_string_printf(line, "exec: CPU %u: %04x:%" PRIx64 " %u bits, %u instructions",
                    cpu->vcpu->index, cpu->seg[SEG_CS].selector, cpu->rip,
                    bits[cpu->mode & MODE_CODE_MASK], block->count);
    if (log_on(LOG_CPU)) {
        g_string_append_printf(line, ", flags %x,", cpu_rflags(cpu));
        for (unsigned i = 0; i < 16; i++)
            g_string_append_printf(line, " %" PRIx64, cpu->gpr[i]);
    }
    log_write("%s", line->str);
}

/* A block, and none behind it. */
static void run_logged(Cpu *cpu)
{
    const Block *block = block_find(cpu);
    cpu->eflags &= ~(uint32_t)EFL_RF;
    int64_t budget = cpu->budget;
    log_block(cpu, block);
    cpu->budget = block->count;
    cpu->slow_budget = budget;
    run_block(cpu, block);
    cpu->budget = budget - block->count;
    cpu->slow_budget = 0;
}

/* Whether the block of one instruction that began at rip went elsewhere. */
static bool has_branched(const Cpu *cpu, const Block *block, uint64_t rip)
{
    uint64_t next = rip + block->length;
    if ((block->mode & MODE_CODE_MASK) != MODE_CODE64)
        next = (uint32_t)next;
    return block->flags & BLOCK_TRANSFERS || cpu->rip != next;
}

/* One instruction, with what debugging wants to know of it.  behind_ss: no code breakpoint hits
 * there, and a second MOV SS holds off nothing (SDM vol. 3, 6.8.3). */
static void run_slowly(Cpu *cpu, bool behind_ss)
{
    if ((cpu->dr[7] & 0xff) && !behind_ss)
        code_breakpoints(cpu);
    const Block *block = block_find(cpu);
    if (cpu->stretch.on && cpu->stretch.started && !cpu->stretch.goes_on) {
        cpu->budget_start -= cpu->budget;
        cpu->budget = 0;
        return;
    }
    cpu->stretch.started = true;
    log_block(cpu, block);
    bool holds = (block->flags & BLOCK_LOADS_SS) && !behind_ss;
    bool steps = (cpu->eflags & EFL_TF) && !holds && !(block->flags & BLOCK_OWN_STEP);
    uint64_t rip = cpu->rip;
    cpu->eflags &= ~(uint32_t)EFL_RF;
    /* The budget keeps it from going on to another block. */
    int64_t budget = cpu->budget;
    cpu->budget = block->count;
    cpu->slow_budget = budget;
    run_block(cpu, block);
    cpu->budget = budget - 1;
    cpu->slow_budget = 0;
    if (steps && (!(cpu->debugctl & DEBUGCTL_BTF) || has_branched(cpu, block, rip)))
        cpu->debug_pending |= DR6_BS;
    cpu->hold_debug = holds;
}

/* Whether a request waits that could be served. */
static bool wanted(const Cpu *cpu)
{
    return __atomic_load_n(&cpu->vcpu->requests, __ATOMIC_RELAXED) & cpu->request_mask;
}

static CpuRun loop(Cpu *cpu)
{
    CpuRun why;
    while (cpu->budget > 0) {
        if (G_UNLIKELY(cpu->watch_met >= 0))
            return CPU_RUN_DEBUG;
        if (!serve(cpu, &why))
            return why;
        if (G_UNLIKELY(cpu->breaks->len) && !cpu->rescue && cpu_meets_break(cpu))
            return CPU_RUN_DEBUG;
        bool shadow = cpu->interrupt_shadow, behind_ss = cpu->hold_debug;
        if (shadow && cpu->stretch.on && cpu->stretch.started)
            return CPU_RUN_BUDGET;
        cpu->shadowed_rip = cpu->interrupt_shadow == SHADOW_SS ? cpu->rip : NO_RIP;
        cpu->interrupt_shadow = SHADOW_NONE;
        cpu->hold_debug = false;
        if (G_UNLIKELY(cpu->mode & MODE_SLOW)) {
            run_slowly(cpu, behind_ss);
        } else if (G_UNLIKELY(shadow) && wanted(cpu)) {
            /* "sti; nop; cli": the interrupt comes behind the one instruction. */
            cpu->mode |= MODE_SLOW;
            run_slowly(cpu, behind_ss);
            cpu_mode_changed(cpu);
        } else if (log_on(LOG_EXEC)) {
            run_logged(cpu);
        } else {
            const Block *block = block_find(cpu);
            cpu->eflags &= ~(uint32_t)EFL_RF;
            run_block(cpu, block);
        }
    }
    return CPU_RUN_BUDGET;
}

/* A fault has come from anywhere below cpu_run(). */
static void caught(Cpu *cpu)
{
    if (cpu->slow_budget) {
        cpu->budget = cpu->slow_budget;
        cpu->slow_budget = 0;
    }
    cpu->budget--;
    if (cpu->stretch.on) {
        cpu->budget_start -= cpu->budget;
        cpu->budget = 0;
    }
    cpu_drop_watch(cpu);
    /* block_find() may have been on its way with another mode. */
    if (cpu->mode & MODE_SLOW)
        cpu_mode_changed(cpu);
}

static CpuRun run(Cpu *cpu)
{
    int how = setjmp(cpu->fault_exit);
    if (how) {
        caught(cpu);
        if (how == EXIT_FAULT && !cpu_deliver_fault(cpu))
            return CPU_RUN_TRIPLE;
    }
    CpuRun why = loop(cpu);
    /* The state goes to somebody else, and it has no place for a trap that is due. */
    if (cpu->stretch.on && cpu->debug_pending)
        debug_trap(cpu);
    return why;
}

CpuRun cpu_run(Cpu *cpu, uint64_t budget, bool rescue)
{
    uint64_t most = rescue ? MAX(budget, 1) : budget;
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
    cpu->stack_floor = stack > STACK_ROOM ? stack - STACK_ROOM : 0;
    cpu->budget = cpu->budget_start = (int64_t)MIN(most, (uint64_t)INT64_MAX / 2);
    cpu->slow_budget = 0;
    if (cpu->rescue != rescue) {
        cpu->rescue = rescue;
        cpu_mode_changed(cpu);
    }
    if (rescue)
        cpu->over_break = 0;
    if (G_UNLIKELY(cpu->debug_changed) && !rescue && !cpu->debugged)
        cpu_debug_changed(cpu);
    exclusive_enter(cpu);
    CpuRun why = run(cpu);
    fpu_leave(cpu);
    exclusive_leave(cpu);
    code_close_logged(cpu);
    uint64_t done = (uint64_t)MAX(cpu->budget_start - cpu->budget, 0);
    __atomic_store_n(&cpu->instructions, cpu->instructions + done, __ATOMIC_RELAXED);
    return why;
}

uint64_t cpu_instructions(const Cpu *cpu)
{
    return __atomic_load_n(&cpu->instructions, __ATOMIC_RELAXED);
}

void cpu_memory_changed(Cpu *cpu)
{
    __atomic_fetch_or(&cpu->attention, ATTENTION_MEMORY, __ATOMIC_SEQ_CST);
}

/* ---- Life ---- */

static const CpuidEntry *leaf(const Cpu *cpu, uint32_t number)
{
    return cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, number, 0);
}

static void read_features(Cpu *cpu)
{
    enum { DEFAULT_WIDTH = 36, PAGE_1GB = 1 << 26 };
    const CpuidEntry *sizes = leaf(cpu, 0x80000008), *extended = leaf(cpu, 0x80000001);
    unsigned width = sizes ? sizes->reg[CPUID_EAX] & 0xff : 0;
    if (width < 32 || width > 52)
        width = DEFAULT_WIDTH;
    cpu->physical_reserved = 0x000fffffffffffffull & ~((1ull << width) - 1);
    cpu->gigabyte_pages = extended && (extended->reg[CPUID_EDX] & PAGE_1GB);
}

Cpu *cpu_new(Vcpu *vcpu, AddressSpace *mem, AddressSpace *smm, AddressSpace *io, const CpuBus *bus,
             const CpuidEntry *leaves, unsigned leaf_count)
{
    Cpu *cpu = NULL;
    if (posix_memalign((void **)&cpu, 64, sizeof(*cpu)))
        g_error("cannot allocate a CPU");
    memset(cpu, 0, sizeof(*cpu));
    cpu->vcpu = vcpu;
    cpu->mem = mem;
    cpu->smm_mem = smm;
    cpu->io = io;
    cpu->bus = *bus;
    cpu->cpuid = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    g_array_append_vals(cpu->cpuid, leaves, leaf_count);
    cpu->breaks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    cpu->delivering = cpu->watch_met = -1;
    read_features(cpu);
    blocks_new(cpu);
    mmu_init(cpu);
    decode_init(cpu);
    fpu_init(cpu);
    mmu_memory_changed(cpu);
    exclusive_join(cpu);
    cpu_reset(cpu, false);
    return cpu;
}

void cpu_set_smm_memory(Cpu *cpu, AddressSpace *smm)
{
    cpu->smm_mem = smm;
    mmu_memory_changed(cpu);
}

void cpu_free(Cpu *cpu)
{
    if (!cpu)
        return;
    exclusive_part(cpu);
    fpu_fini(cpu);
    decode_fini(cpu);
    mmu_fini(cpu);
    blocks_free(cpu);
    g_array_free(cpu->breaks, TRUE);
    g_array_free(cpu->cpuid, TRUE);
    free(cpu);
}
