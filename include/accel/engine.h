/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU engines: what runs guest code.  All stand behind one vtable; accel/vcpu.c owns the threads.
 *
 * Names for -accel: kvm, interp (vmrun's own processor), qtest (no CPU, driven over a socket),
 * auto.  Device tests have an engine of their own, in-process (accel/test.h).
 */
#ifndef VMRUN_ACCEL_ENGINE_H
#define VMRUN_ACCEL_ENGINE_H

#include "cpu/model.h"
#include "cpu/state.h"
#include "hw/core/vcpu.h"
#include "util/options.h"

typedef enum {
    RUN_AGAIN,  /* look at requests and enter again */
    RUN_HALTED, /* HLT: wait until something is requested (engines with a userspace LAPIC) */
    RUN_FAILED, /* the engine cannot go on; it has said why; the machine stops */
    RUN_DEBUG,  /* what a debugger waits for; Vcpu.debug_stop tells what; the machine stops */
} RunResult;

/* What a debugger wants to be told of.  Addresses are linear. */
typedef enum { DEBUG_BREAK, DEBUG_HW_BREAK, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS } DebugKind;
typedef struct DebugPoint {
    DebugKind kind;
    uint64_t address, length; /* length of DEBUG_BREAK and DEBUG_HW_BREAK does not matter */
} DebugPoint;
#define DEBUG_POINTS_MAX 1024

typedef struct DebugState {
    const DebugPoint *points; /* the same for all CPUs of a machine */
    unsigned count;
    bool over_break; /* that at the next instruction has been told of: go on over it, if possible */
    bool single_step; /* come back after one instruction, interrupts held off if possible */
} DebugState;

typedef struct EngineConfig {
    const char *cpu_model; /* -cpu text: "qemu64,+avx,-x2apic"; NULL: the default */
    const Options *accel;  /* properties of -accel, or NULL */
    bool one_insn;         /* one instruction at a time, for logs */
} EngineConfig;

typedef struct CpuEngine {
    const char *name;
    const char *desc;
    /* Whether it can be used here; *why (may be NULL) gets a full sentence for the person: what is
     * missing and what to do.  Cheap; leaves nothing open. */
    bool (*probe)(char **why);
    /* Sets up the VM and fills machine->hooks; before devices are created.  machine->cpu_count and
     * ram_size are set. */
    bool (*init)(Machine *machine, const EngineConfig *config, GError **error);
    /* One CPU, from its own thread; all CPUs at once, without the main lock.  cpu->index and
     * apic_id are set. */
    bool (*cpu_init)(Vcpu *cpu, GError **error);
    /* Enters the guest until an exit that the thread must look at.  Called without the main lock.
     * Port and memory exits are handled inside (dispatch_pio, as_read, as_write).  Returns when one
     * of VCPU_REQ_CONTROL is requested, the instruction under way completed.  NULL: an engine
     * without CPU threads. */
    RunResult (*run)(Vcpu *cpu);
    /* Makes run() look at the requests soon; any thread. */
    void (*kick)(Vcpu *cpu);
    /* Copies the CPU's state out or in; CPU stopped, or its own thread.  The software engine's TSC
     * stands while the machine is paused: a state that is pulled, changed in some register and
     * pushed in the same pause leaves it where it is; one with another tsc sets it. */
    bool (*pull)(Vcpu *cpu, CpuState *state);
    bool (*push)(Vcpu *cpu, const CpuState *state);
    /* Power-on state; own thread or stopped. */
    void (*cpu_reset)(Vcpu *cpu);
    /* From its own thread, which then ends.  After a failed cpu_init, too. */
    void (*cpu_fini)(Vcpu *cpu);
    void (*fini)(Machine *machine);
    /* All vCPUs have just stopped (true), or are about to go (false), in turn; a machine begins
     * stopped.  Main lock; any thread.  May be NULL. */
    void (*pause_changed)(Machine *machine, bool paused);
    /* The paravirtual clock that guests of this engine have (kvmclock), ns; it stands while the
     * machine is paused.  What a snapshot keeps.  Paused; NULL: there is none. */
    bool (*get_clock)(Machine *machine, uint64_t *ns);
    void (*set_clock)(Machine *machine, uint64_t ns);
    /* Breakpoints, watchpoints and single step from the next entry on, instead of those before.
     * False: more than it has means for (state is then as without any).  CPU stopped, or its own
     * thread.  NULL: nothing of that. */
    bool (*set_debug)(Vcpu *cpu, const DebugState *state);
    /* `info kvm` and the like; may be NULL. */
    void (*describe)(Machine *machine, GString *out);
} CpuEngine;

extern const CpuEngine kvm_engine, interp_engine, qtest_engine;
/* Whether KVM runs a guest's kernel natively, by a trial of a millisecond; *why: a sentence. */
bool kvm_is_native(char **why);
/* NULL-terminated. */
extern const CpuEngine *const cpu_engines[];
const CpuEngine *engine_find(const char *name);

/* Sets up engine and vCPUs: init, cpu_init for each, threads started but stopped.  Main lock. */
bool vcpus_init(Machine *machine, const CpuEngine *engine, const EngineConfig *config,
                GError **error);
/* Stops the threads and frees everything. */
void vcpus_fini(Machine *machine);
const CpuEngine *machine_engine(Machine *machine);
/* Runs fn(cpu, opaque) in the CPU's thread outside the guest, and waits. Main lock held; it is
 * given up while waiting. */
void vcpu_run_on(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *opaque), void *opaque);
/* The state of a CPU, wherever it is (pauses it shortly).  Main lock. */
bool vcpu_get_state(Vcpu *cpu, CpuState *state);
bool vcpu_set_state(Vcpu *cpu, const CpuState *state);
/* CpuEngine.set_debug for a CPU, wherever it is.  Main lock. */
bool vcpu_set_debug(Vcpu *cpu, const DebugState *state);
/* Who is told, from the main loop, when a CPU came back with RUN_DEBUG; NULL: nobody any more.
 * The machine is paused by then. */
void vcpu_set_debugger(void (*stopped)(Vcpu *cpu));

/* -accel qtest: opens -qtest's connection (unix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,...],
 * stdio) and serves it from the main loop; log_path is -qtest-log's, or NULL.  After devices exist;
 * vcpus_fini() closes it.  Main lock. */
bool qtest_start(Machine *machine, const char *spec, const char *log_path, GError **error);

#endif
