/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APIC in userspace (`lapic_class`), for CPU engines that do not bring their own: one a
 * Vcpu, xAPIC and x2APIC.  (Intel SDM vol. 3, chapter 11.)
 *
 * How an engine uses it:
 *   - create: lapic_create() for each Vcpu, vCPU 0 first; the memory-mapped page then dispatches
 *     to the APIC of machine->hooks.current(), wherever that has its page
 *   - hooks.msi_send = lapic_deliver_msi (which takes the main lock itself)
 *   - hooks.pic_intr -> lapic_set_lint(vCPU 0's, 0, level); hooks.nmi -> lapic_set_lint(each, 1,
 * pulse)
 *   - VCPU_REQ_APIC stands as long as lapic_has_interrupt(); the engine never clears it. With
 *     interrupts open it calls lapic_ack() and injects the vector, or asks machine->pic_ack for
 *     one on LAPIC_EXTINT
 *   - VCPU_REQ_NMI, _SMI, _INIT, _SIPI arrive as requests; on INIT it calls lapic_init()
 *   - MSRs 0x1b, 0x6e0, 0x800-0x8ff go to lapic_msr_read/write, CR8 to lapic_cr8/lapic_set_cr8
 *
 * All functions want the main lock held, lapic_deliver_msi() aside.
 */
#ifndef VMRUN_HW_INTC_LAPIC_H
#define VMRUN_HW_INTC_LAPIC_H

#include "hw/core/vcpu.h"

#define LAPIC_BASE   0xfee00000u
#define LAPIC_NONE   (-1)
#define LAPIC_EXTINT (-2)

/* Virtual-clock time at which cpu's TSC reaches a value; for the TSC-deadline timer. */
typedef int64_t LapicTscFn(Vcpu *cpu, uint64_t tsc);

/* Creates, realizes and resets the APIC of cpu (index and apic_id are set) and sets cpu->lapic. */
Device *lapic_create(Vcpu *cpu, GError **error);
/* Without one, the TSC counts nanoseconds of the virtual clock. */
void lapic_set_tsc(Device *dev, LapicTscFn *tsc_to_clock);
/* The TSC was set: a deadline comes sooner or later than it seemed.  Main lock held. */
void lapic_tsc_changed(Device *dev);
/* What CPUID promises of x2APIC mode and the TSC-deadline timer; both, unless told otherwise.  What
 * it does not is #GP.  Before the CPU runs. */
void lapic_set_features(Device *dev, bool x2apic, bool deadline);

/* Whether the CPU would be interrupted now, if it lets interrupts in. */
bool lapic_has_interrupt(Device *dev);
/* Takes the interrupt: its vector (now in service), LAPIC_EXTINT, or LAPIC_NONE. */
int lapic_ack(Device *dev);
/* The state after INIT: all registers but APIC ID and IA32_APIC_BASE. */
void lapic_init(Device *dev);

uint8_t lapic_cr8(Device *dev);
void lapic_set_cr8(Device *dev, uint8_t value);
/* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and the x2APIC registers (0x800-0x8ff).  False
 * means #GP: no such register, or a value it does not take. */
bool lapic_msr_read(Device *dev, uint32_t index, uint64_t *value);
bool lapic_msr_write(Device *dev, uint32_t index, uint64_t value);

/* The level of pin LINT0 or LINT1. */
void lapic_set_lint(Device *dev, unsigned pin, bool level);
/* Delivers a message-signalled interrupt to the APICs that it addresses.  Any thread. */
void lapic_deliver_msi(Machine *machine, uint64_t address, uint32_t data);
/* EngineHooks.msi_waits. */
bool lapic_msi_waits(const Machine *machine, uint64_t address, uint32_t data);

/* `info lapic`. */
void lapic_describe(Device *dev, GString *out);

#endif
