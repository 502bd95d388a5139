/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The architectural state of an x86 processor, engine-neutral: what pull and push carry, what the
 * monitor prints, what a snapshot holds.  (Intel SDM vol. 1 ch. 3, vol. 3 ch. 2.)
 */
#ifndef VMRUN_CPU_STATE_H
#define VMRUN_CPU_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "hw/core/state.h"

/* Indices of CpuState.gpr; R8 to R15 follow. */
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

typedef struct CpuSegment {
    uint16_t selector;
    /* Access rights as bits 8..23 of a descriptor's second word shifted down by 8: type, S, DPL, P,
     * four zero bits where the limit stands, AVL, L, D/B, G. */
    uint16_t attr;
    uint32_t limit; /* in bytes, granularity applied */
    uint64_t base;
    bool unusable;
} CpuSegment;

/* Bits of CpuSegment.attr. */
enum {
    ATTR_TYPE = 0x000f,
    ATTR_S = 0x0010,
    ATTR_DPL = 0x0060,
    ATTR_P = 0x0080,
    ATTR_AVL = 0x1000,
    ATTR_L = 0x2000,
    ATTR_DB = 0x4000,
    ATTR_G = 0x8000,
};

typedef struct CpuMsr {
    uint32_t index;
    uint64_t value;
} CpuMsr;

#define CPU_MSRS_MAX  256
#define CPU_XSAVE_MAX 4096

typedef struct CpuState {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    CpuSegment seg[SEG_COUNT], ldt, tr;
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    uint64_t dr[8];
    uint64_t xcr0;
    uint64_t tsc;
    /* XSAVE area in standard (not compacted) format; the first 512 bytes are FXSAVE's. */
    uint8_t xsave[CPU_XSAVE_MAX] __attribute__((aligned(64)));
    uint32_t xsave_size; /* bytes in use */
    /* Events under way. */
    bool halted, waiting_sipi;
    bool interrupt_shadow, nmi_pending, nmi_masked, smm;
    bool exception_pending, exception_has_error;
    uint8_t exception_vector;
    uint32_t exception_error;
    bool interrupt_pending; /* injected, not yet delivered */
    uint8_t interrupt_vector;
    bool interrupt_soft;
    /* Local APIC registers, 4 KiB page in the layout of the memory-mapped APIC (every 16 bytes). */
    bool apic_valid;
    uint8_t apic[1024];
    /* Everything else, by MSR number. */
    unsigned msr_count;
    CpuMsr msrs[CPU_MSRS_MAX];
} CpuState;
extern const StateDesc cpu_state_desc;

/* Power-on state (Intel SDM vol. 3, 9.1.1): signature is what RDX holds (CPUID 1, EAX); all but the
 * bootstrap processor wait for a SIPI. No MSRs; the local APIC's id is apic_id. */
void cpu_state_reset(CpuState *state, bool bootstrap, uint32_t apic_id, uint32_t signature);
/* `info registers`: QEMU's layout.  cpu_index is printed first; a20: the level of that gate, which
 * is no processor's.  all: and rows behind it that QEMU does not have. */
void cpu_state_describe(const CpuState *state, unsigned cpu_index, bool a20, bool all,
                        GString *out);
/* Translates a linear address by the guest's page tables; false if not mapped.  read(opaque, addr,
 * buf, length) reads guest-physical memory.  Sets no accessed bits. */
bool cpu_state_translate(const CpuState *state, uint64_t linear, uint64_t *physical,
                         bool (*read)(void *opaque, uint64_t addr, void *buf, unsigned length),
                         void *opaque);
/* 16, 32 or 64: the size of code at CS. */
unsigned cpu_state_code_bits(const CpuState *state);

#endif
