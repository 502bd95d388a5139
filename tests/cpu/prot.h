/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of protection share: a processor with 4 MiB of flat RAM, tables for all modes, and
 * the running of snippets (prot-code.asm).
 *
 *     Prot *p = prot_new();
 *     prot_mode(p, MODE_PROTECTED32, 3);
 *     p->state.gpr[GPR_RAX] = SEL_DATA0;
 *     PROT_RUN(p, load_ds);
 *     prot_expect(p, EXC_GP, SEL_DATA0);
 *
 * Every vector has a handler that halts, so a run ends in one, in the snippet's own HLT
 * (PROT_HALT), by the budget or in a triple fault.
 */
#ifndef VMRUN_TESTS_CPU_PROT_H
#define VMRUN_TESTS_CPU_PROT_H

#include "cpu/cpu.h"
#include "hw/core/vcpu.h"
#include "util/bytes.h"

/* Where things are in the guest. */
enum {
    AT_GDT = 0x1000,
    AT_LDT = 0x1800,
    AT_IDT = 0x2000,
    AT_TSS_A = 0x3000,
    AT_TSS_B = 0x3400,
    AT_TSS_16 = 0x3600,
    AT_TSS_64 = 0x3800,
    AT_HANDLERS = 0x5000,
    AT_STACK0 = 0x7000,
    AT_CODE = 0x8000,
    AT_STACK3 = 0x9800,
    AT_STACK1 = 0xa000,
    AT_IST = 0xa800,
    AT_DATA = 0xb000,
    AT_PAGES = 0x100000,
    AT_SMBASE = 0x30000,
    CODE_MAX = 256,
    DONE = 0x80, /* the vector by which outer privileges end a snippet */
    TSS_REDIRECT = 0x68,
    TSS_IO_MAP = 0x88,
    TSS_LIMIT = 0x108, /* ports up to 0x3ff */
};

/* Selectors. */
enum {
    SEL_CODE0 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE3 = 0x18,
    SEL_DATA3 = 0x20,
    SEL_CODE64 = 0x28,
    SEL_CODE64_3 = 0x30,
    SEL_CODE16 = 0x38,
    SEL_DATA16 = 0x40,
    SEL_CONFORMING = 0x48,
    SEL_DOWN = 0x50,
    SEL_READ_ONLY = 0x58,
    SEL_EXECUTE_ONLY = 0x60,
    SEL_ABSENT = 0x68,
    SEL_TSS_A = 0x70,
    SEL_TSS_B = 0x80,
    SEL_TSS_16 = 0x88,
    SEL_LDT = 0x90,
    SEL_GATE = 0xa0, /* the tests fill it: 16 bytes */
    SEL_CODE1 = 0xb0,
    SEL_DATA1 = 0xb8,
    SEL_TSS_64 = 0xc0, /* 16 bytes */
    SEL_SMALL = 0xd0,  /* data, limit 0xfff */
    SEL_FREE = 0xd8,
    SEL_CALL64 = 0xe0, /* 16 bytes */
    GDT_LIMIT = 0xff,
};

enum {
    EXC_DE = 0,
    EXC_DB,
    EXC_NMI,
    EXC_BP,
    EXC_OF,
    EXC_BR,
    EXC_UD,
    EXC_NM,
    EXC_DF,
    EXC_TS = 10,
    EXC_NP,
    EXC_SS,
    EXC_GP,
    EXC_PF,
    EXC_AC = 17,
};
enum {
    FL_CF = 1,
    FL_ZF = 1 << 6,
    FL_TF = 1 << 8,
    FL_IF = 1 << 9,
    FL_OF = 1 << 11,
    FL_IOPL = 3 << 12,
    FL_NT = 1 << 14,
    FL_RF = 1 << 16,
    FL_VM = 1 << 17,
    FL_AC = 1 << 18,
    FL_VIF = 1 << 19,
    FL_VIP = 1 << 20,
};

typedef enum { PROT_REAL, PROT_32, PROT_64, PROT_COMPAT, PROT_VM86 } ProtMode;
enum { PROT_HALT = -1, PROT_TRIPLE = -2, PROT_BUDGET = -3 };

typedef struct Prot {
    Machine *machine;
    Vcpu vcpu;
    Cpu *cpu;
    CpuState state; /* before and after a run */
    uint8_t *ram;
    AddressSpace smm;
    Region ports;
    int ended;                    /* vector of the handler that halted, or PROT_* */
    uint64_t tsc, cr8, apic_base; /* of the bus */
    int interrupt;                /* vector to deliver, -1: none */
    unsigned port_count;
    struct {
        uint16_t port;
        uint8_t size;
        bool write;
        uint32_t value;
    } port_log[64];
    uint32_t port_next; /* what the next read gives; counts up */
} Prot;

Prot *prot_new(void);
/* vendor: "GenuineIntel" or "AuthenticAMD" */
Prot *prot_new_vendor(const char *vendor);
void prot_free(Prot *p);

void prot_descriptor(Prot *p, uint16_t selector, uint32_t base, uint32_t limit, uint16_t attr);
void prot_gate(Prot *p, uint16_t selector, unsigned type, unsigned dpl, uint16_t target,
               uint32_t offset, unsigned parameters);
/* IDT entry of the mode last set. */
void prot_idt(Prot *p, unsigned vector, unsigned type, unsigned dpl, uint16_t target,
              uint32_t offset);
/* Sets the far pointer at AT_DATA. */
void prot_pointer(Prot *p, uint16_t selector, uint32_t offset);
/* Fills p->state and the tables for a mode at a privilege. */
void prot_mode(Prot *p, ProtMode mode, unsigned cpl);
/* A segment register of the state from the GDT, unchecked. */
void prot_segment(Prot *p, unsigned seg, uint16_t selector);
/* Runs code at AT_CODE from p->state on. */
void prot_run(Prot *p, const uint8_t *code);
/* Goes on from p->state, at its rip. */
void prot_go(Prot *p);
#define PROT_RUN(p, name)                                                                          \
    do {                                                                                           \
        extern const uint8_t snip_##name[];                                                        \
        prot_run(p, snip_##name);                                                                  \
    } while (0)

uint32_t prot_ram32(const Prot *p, uint32_t at);
/* What an MSR of the state is set to. */
void prot_msr(Prot *p, uint32_t index, uint64_t value);
uint64_t prot_msr_value(const Prot *p, uint32_t index);
/* Slot n of `size` bytes on the stack. */
uint64_t prot_stack(const Prot *p, unsigned n, unsigned size);
/* The run ended in that vector's handler with that error code on top (-1: vector without one);
 * tells line and values if not. */
#define prot_expect(p, vector, error) prot_expect_at(p, vector, error, __LINE__)
void prot_expect_at(const Prot *p, int vector, int64_t error, int line);

/* The other files' tests. */
void prot_add_transfer_tests(void);
void prot_add_task_tests(void);
void prot_add_long_tests(void);
void prot_add_system_tests(void);
void prot_add_debug_tests(void);
void prot_add_stack_tests(void);
void prot_add_fuzz_tests(void);

#endif
