/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmrun's own x86 processor: an interpreter for unmodified guests, 16-bit real mode to 64-bit SMP.
 *
 * One Cpu a Vcpu.  It is driven by its thread without the main lock (accel/soft), or for a few
 * instructions by the KVM engine when KVM cannot emulate one.  It sees the machine through its
 * address spaces and its CpuBus, and others interrupt it through Vcpu.requests.
 */
#ifndef VMRUN_CPU_CPU_H
#define VMRUN_CPU_CPU_H

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/core/vcpu.h"

typedef struct Cpu Cpu;

/* Parts of a CpuState that most instructions have no use for. */
typedef enum { CPU_PART_FPU, CPU_PART_MSRS } CpuPart;

/* What the interpreter asks of its engine.  Called from the CPU's thread, without the main lock. */
typedef struct CpuBus {
    /* The next interrupt vector to deliver (acknowledged), or -1.  Called with interrupts open when
     * VCPU_REQ_INTR or VCPU_REQ_APIC stands. */
    int (*take_interrupt)(Vcpu *vcpu);
    /* CR8 and the MSRs of the local APIC (0x1b, 0x6e0, 0x800-0x8ff); false: #GP. */
    uint64_t (*read_cr8)(Vcpu *vcpu);
    void (*write_cr8)(Vcpu *vcpu, uint64_t value);
    bool (*apic_msr)(Vcpu *vcpu, uint32_t index, bool write, uint64_t *value);
    /* INIT arrived: reset the local APIC. May be NULL. */
    void (*apic_init)(Vcpu *vcpu);
    /* The guest's TSC now (the engine offsets the host's), and setting it.  Between two states that
     * are read and set in one pause of the machine it stands, so that the second need not be told
     * from the first. */
    uint64_t (*read_tsc)(Vcpu *vcpu);
    void (*write_tsc)(Vcpu *vcpu, uint64_t value);
    /* The level of FERR#: an x87 error waits while CR0.NE is clear.  Returns that of IGNNE#: the
     * error does not matter.  NULL: such errors never do. */
    bool (*ferr)(Vcpu *vcpu, bool level);
    /* In cpu_rescue(): before the first instruction that uses the FPU or MSRs.  The engine calls
     * cpu_set_fpu() or cpu_set_msrs().  Engines that do not call cpu_rescue() leave it NULL. */
    void (*fetch)(Vcpu *vcpu, CpuPart part);
    bool no_a20; /* the engine has no A20 gate */
} CpuBus;

typedef enum {
    CPU_RUN_BUDGET,  /* the budget is used up */
    CPU_RUN_REQUEST, /* a request that the engine handles (STOP, EXIT, RESET, WORK) stands */
    CPU_RUN_HALTED,  /* HLT, MWAIT, shutdown of an AP: until something is requested */
    CPU_RUN_TRIPLE,  /* triple fault: the engine resets the machine */
    CPU_RUN_DEBUG,   /* a debugger's: cpu_take_watch() has something, or a breakpoint is next */
} CpuRun;

/* leaves: copied.  smm: the memory seen in system management mode, or NULL (then SMIs are ignored).
 */
Cpu *cpu_new(Vcpu *vcpu, AddressSpace *mem, AddressSpace *smm, AddressSpace *io, const CpuBus *bus,
             const CpuidEntry *leaves, unsigned leaf_count);
void cpu_free(Cpu *cpu);
/* smm of cpu_new() anew.  CPU not running, or own thread. */
void cpu_set_smm_memory(Cpu *cpu, AddressSpace *smm);
/* Power-on (SDM vol. 3, table 10-1), or, with init, what INIT leaves. */
void cpu_reset(Cpu *cpu, bool init);
/* Runs until an exit or about `budget` instructions.  rescue: at least one, at most `budget`, and
 * pending interrupts are left alone. */
CpuRun cpu_run(Cpu *cpu, uint64_t budget, bool rescue);

/* What cpu_rescue() did. */
typedef struct CpuRescue {
    CpuRun end;
    uint64_t instructions; /* at least one */
    const char *name;      /* the first one's mnemonic; a constant */
    bool undefined;        /* it raised #UD because the interpreter does not have it */
    bool flushed;          /* translations were dropped: so must be those of the state's owner */
} CpuRescue;
/* Runs the instruction that another engine cannot execute, on a state that was set by
 * cpu_set_core(), and goes on as long as there are more of its kind: floating point and SIMD, with
 * not too much between them, and that neither stores to memory nor changes the system.  (An engine
 * with shadow page tables has to see every store that may be to one.)  Requests and interrupts are
 * left alone; most is a limit of instructions.  CPU's thread. */
void cpu_rescue(Cpu *cpu, uint64_t most, CpuRescue *did);
/* The state without FPU, MSRs, TSC, NMI, CR8 and the local APIC; events that are pending in it are
 * delivered.  cpu_get_core() leaves the other fields of *state as they are. */
void cpu_set_core(Cpu *cpu, const CpuState *state);
void cpu_get_core(const Cpu *cpu, CpuState *state);
/* xsave and xcr0. */
void cpu_set_fpu(Cpu *cpu, const CpuState *state);
void cpu_get_fpu(Cpu *cpu, CpuState *state);
/* MSRs by number: those of *state only. */
void cpu_set_msrs(Cpu *cpu, const CpuState *state);
void cpu_get_msrs(Cpu *cpu, CpuState *state);

void cpu_get_state(Cpu *cpu, CpuState *state);
void cpu_set_state(Cpu *cpu, const CpuState *state);
/* Memory's layout changed (view_changed), or A20: translations are dropped before the next
 * instruction.  Any thread. */
void cpu_memory_changed(Cpu *cpu);
/* Where the next instruction is: CS's base added. */
uint64_t cpu_linear_pc(const Cpu *cpu);
/* A debugger's breakpoints, linear addresses in ascending order (copied), instead of those before:
 * cpu_run() without rescue comes back in front of them, once before it goes on.  CPU not running,
 * or own thread. */
void cpu_set_breaks(Cpu *cpu, const uint64_t *addresses, unsigned count);
/* A debugger's watchpoint, in linear addresses. */
typedef struct CpuWatch {
    uint64_t address, length;
    bool read, write;
} CpuWatch;
#define CPU_WATCHES_MAX 64
/* Watchpoints instead of those before; the first CPU_WATCHES_MAX.  cpu_run() comes back behind the
 * instruction that met one.  single: cpu_run() with a budget of 1 runs one instruction and not the
 * rest of its block.  CPU not running, or own thread. */
void cpu_set_watches(Cpu *cpu, const CpuWatch *watches, unsigned count, bool single);
/* Blocks of one instruction each: so that -d exec,cpu tells of every one.  CPU not running, or own
 * thread. */
void cpu_set_one_insn(Cpu *cpu, bool one);
/* The watchpoint that was met since the last call, if any. */
bool cpu_take_watch(Cpu *cpu, CpuWatch *watch);
/* Instructions executed so far; any thread, approximate. */
uint64_t cpu_instructions(const Cpu *cpu);
/* The features this host lends to the guest, as CPUID leaves for a model (cpu/model.h filters):
 * what the interpreter implements, minus FP and SIMD sets that the host itself lacks. */
void cpu_supported_cpuid(GArray *leaves /* of CpuidEntry */);

#endif
