/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the three parts of the local APIC share: lapic.c (registers, priorities), lapic_timer.c,
 * lapic_bus.c (messages between APICs). */
#ifndef VMRUN_HW_INTC_LAPIC_PRIVATE_H
#define VMRUN_HW_INTC_LAPIC_PRIVATE_H

#include "hw/intc/lapic.h"
#include "util/timer.h"

/* Registers: byte offset in the page / 16 = MSR - 0x800. */
enum {
    APIC_ID = 0x02,
    APIC_VERSION = 0x03,
    APIC_TPR = 0x08,
    APIC_APR = 0x09,
    APIC_PPR = 0x0a,
    APIC_EOI = 0x0b,
    APIC_RRD = 0x0c,
    APIC_LDR = 0x0d,
    APIC_DFR = 0x0e,
    APIC_SVR = 0x0f,
    APIC_ISR = 0x10,
    APIC_TMR = 0x18,
    APIC_IRR = 0x20,
    APIC_ESR = 0x28,
    APIC_ICR = 0x30,
    APIC_ICR_HIGH = 0x31,
    APIC_LVT = 0x32,
    APIC_INITIAL_COUNT = 0x38,
    APIC_CURRENT_COUNT = 0x39,
    APIC_DIVIDE = 0x3e,
    APIC_SELF_IPI = 0x3f,
};

/* The local vector table, in the order of its registers. */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define LVT_DEADLINE   (1u << 18) /* of the timer's: bit 17 with it is reserved */
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL      (1u << 15)
#define LVT_MASKED     (1u << 16)

/* Delivery modes of messages and LVT entries. */
enum {
    MODE_FIXED = 0,
    MODE_LOWEST = 1,
    MODE_SMI = 2,
    MODE_NMI = 4,
    MODE_INIT = 5,
    MODE_SIPI = 6,
    MODE_EXTINT = 7,
};

#define SVR_ENABLED  (1u << 8)
#define BASE_BSP     (1ull << 8)
#define BASE_X2APIC  (1ull << 10)
#define BASE_ENABLED (1ull << 11)

/* Bits of the error status register. */
enum { ESR_SEND_ILLEGAL = 0x20, ESR_RECEIVE_ILLEGAL = 0x40, ESR_ILLEGAL_REGISTER = 0x80 };

typedef struct Lapic {
    Device dev;
    Region io; /* the page */
    Vcpu *cpu;
    LapicTscFn *tsc_to_clock;
    bool no_x2apic, no_deadline; /* what CPUID does not promise */
    uint64_t base;               /* IA32_APIC_BASE */
    uint32_t id;                 /* as xAPIC */
    uint32_t tpr, ldr, dfr, svr;
    uint32_t esr, errors; /* errors: since the last write to ESR */
    uint32_t lvt[LVT_COUNT];
    uint32_t icr, icr_high;
    uint32_t isr[8], tmr[8], irr[8];
    bool lint[2];
    bool extint; /* an ExtINT message waits */
    uint32_t divide, initial_count;
    int64_t count_start; /* virtual time at which the count was initial_count */
    uint64_t deadline;   /* IA32_TSC_DEADLINE; 0: none */
    Timer timer;
} Lapic;

static inline bool lapic_x2(const Lapic *s)
{
    return s->base & BASE_X2APIC;
}

static inline uint32_t lapic_id(const Lapic *s)
{
    return lapic_x2(s) ? s->cpu->apic_id : s->id;
}

/* lapic.c */
/* A message or local interrupt arrives. */
void lapic_accept(Lapic *s, unsigned mode, uint8_t vector, bool level);
/* The same from an entry of the local vector table, unless it is masked. */
void lapic_accept_lvt(Lapic *s, unsigned entry);
void lapic_error(Lapic *s, uint32_t bit);
uint32_t lapic_ppr(const Lapic *s);

/* lapic_timer.c */
void lapic_timer_setup(Lapic *s);
uint32_t lapic_timer_count(const Lapic *s);
void lapic_timer_set_count(Lapic *s, uint32_t value);
void lapic_timer_set_divide(Lapic *s, uint32_t value);
void lapic_timer_set_lvt(Lapic *s, uint32_t value);
uint64_t lapic_timer_deadline(Lapic *s);
void lapic_timer_set_deadline(Lapic *s, uint64_t tsc);
void lapic_timer_tsc_changed(Lapic *s);
bool lapic_timer_deadline_mode(const Lapic *s);

/* lapic_bus.c */
/* Sends what an ICR says; dest is 32 bits wide if the sender is an x2APIC. */
void lapic_send(Lapic *s, uint32_t icr, uint32_t dest);
/* The logical ID of an x2APIC. */
uint32_t lapic_x2_ldr(const Lapic *s);

#endif
