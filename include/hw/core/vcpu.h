/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtual CPU as the rest of the machine sees it.  Engines extend it through `engine`.
 *
 * The thread belongs to accel/vcpu.c.  `requests` is the one word that everybody sets and the
 * thread tests before it enters the guest.
 */
#ifndef VMRUN_HW_CORE_VCPU_H
#define VMRUN_HW_CORE_VCPU_H

#include "hw/core/machine.h"

/* Bits of Vcpu.requests. */
enum {
    VCPU_REQ_INTR = 1 << 0, /* 8259 INTR is high (level: cleared when it drops) */
    VCPU_REQ_NMI = 1 << 1,
    VCPU_REQ_SMI = 1 << 2,
    VCPU_REQ_INIT = 1 << 3,
    VCPU_REQ_SIPI = 1 << 4, /* vector in sipi_vector */
    VCPU_REQ_STOP = 1 << 5, /* pause_all() */
    VCPU_REQ_EXIT = 1 << 6, /* leave the thread */
    VCPU_REQ_WORK = 1 << 7, /* vcpu_run_on() has queued work */
    VCPU_REQ_APIC = 1 << 8, /* userspace LAPIC: a vector may be deliverable */
    VCPU_REQ_PARK = 1 << 9, /* the engine keeps it out of the guest for a moment */
};
/* What the generic thread answers itself; an engine's run() returns when one of them is set. */
#define VCPU_REQ_CONTROL (VCPU_REQ_STOP | VCPU_REQ_EXIT | VCPU_REQ_WORK)

/* Why a CPU stopped for a debugger (RUN_DEBUG). */
typedef enum { STOP_BREAK, STOP_STEP, STOP_WRITE, STOP_READ, STOP_ACCESS } DebugStop;

struct Vcpu {
    Machine *machine;
    unsigned index;
    uint32_t apic_id;
    uint32_t requests; /* atomic */
    /* Requests that do not end this HLT (INTR while IF is clear); set by run() before it returns
     * RUN_HALTED. */
    uint32_t halt_masked;
    uint8_t sipi_vector;
    bool halted;            /* waits in HLT or for a SIPI; atomic */
    bool stopped;           /* outside the guest, acknowledged STOP; main lock */
    bool held;              /* a debugger keeps it stopped while others run; main lock */
    DebugStop debug_stop;   /* of the last RUN_DEBUG */
    uint64_t debug_address; /* of the watchpoint that was hit */
    Device *lapic;          /* userspace local APIC (software engines), or NULL */
    void *engine;           /* the engine's own per-CPU data */
    void *thread;           /* accel/vcpu.c's own */
    uint64_t exits;         /* of this CPU, for `info cpus` */
};

/* Sets request bits and makes the CPU notice: kicks it out of the guest or wakes it from HLT. Any
 * thread. */
void vcpu_request(Vcpu *cpu, uint32_t bits);
/* Clears bits; returns those that were set. */
static inline uint32_t vcpu_take(Vcpu *cpu, uint32_t bits)
{
    return __atomic_fetch_and(&cpu->requests, ~bits, __ATOMIC_ACQ_REL) & bits;
}
static inline bool vcpu_requested(const Vcpu *cpu, uint32_t bits)
{
    return __atomic_load_n(&cpu->requests, __ATOMIC_ACQUIRE) & bits;
}

#endif
