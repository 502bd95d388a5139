/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A processor with flat RAM and nothing else, for tests and benchmarks of cpu/: programs are
 * written in assembly beside the test and end with HLT, as does every exception.
 */
#ifndef TESTS_CPU_CPU_GUEST_H
#define TESTS_CPU_CPU_GUEST_H

#include "cpu/cpu.h"
#include "hw/core/machine.h"
#include "hw/core/vcpu.h"

enum {
    GUEST_RAM = 16 << 20,
    GUEST_GDT = 0x1000,
    GUEST_IDT = 0x2000,
    GUEST_HANDLERS = 0x4000, /* 16 bytes a vector: HLT */
    GUEST_TSS = 0x6000,
    GUEST_STACK0 = 0x9000, /* of privilege 0, when an exception comes from privilege 3 */
    GUEST_TABLES = 0x10000,
    GUEST_CODE_AT = 0x20000, /* where programs stand */
    GUEST_STACK = 0x80000,
    GUEST_DATA = 0x200000,
    GUEST_MMIO = 0x2000000, /* 4 KiB of device memory behind RAM: scratch bytes */
};
/* Selectors. */
enum {
    SEL_CODE64 = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE16 = 0x20,
    SEL_USER_CODE = 0x2b,
    SEL_USER_DATA = 0x33,
    SEL_TSS = 0x40,
};

typedef enum { GUEST_REAL, GUEST_FLAT32, GUEST_LONG } GuestMode;

typedef struct CpuGuest {
    Machine *machine;
    Region mmio;
    Vcpu vcpu;
    Cpu *cpu;
    uint8_t *ram;
    CpuState state; /* after a run */
    int interrupt;  /* the vector that waits, or -1 */
    uint8_t scratch[4096];
    unsigned mmio_reads, mmio_writes;
    void (*on_mmio_write)(struct CpuGuest *guest);
} CpuGuest;

/* Of any CPU whose Vcpu.engine is a CpuGuest. */
extern const CpuBus cpu_guest_bus;

#define CPU_CODE(name, bits, text)                                                                 \
    extern const uint8_t cpu_code_##name[], cpu_code_##name##_end[];                               \
    __asm__(".pushsection .rodata\n.code" #bits "\ncpu_code_" #name ":\n" text "\ncpu_code_" #name \
            "_end:\n.code64\n.popsection\n")
/* Loads a program at an address, or at GUEST_CODE_AT. */
#define CPU_LOAD_AT(guest, address, name)                                                          \
    cpu_guest_load((guest), (address), cpu_code_##name,                                            \
                   (size_t)(cpu_code_##name##_end - cpu_code_##name))
#define CPU_LOAD(guest, name) CPU_LOAD_AT(guest, GUEST_CODE_AT, name)

/* Main lock held from here to cpu_guest_free(). */
CpuGuest *cpu_guest_new(GuestMode mode);
void cpu_guest_free(CpuGuest *guest);
void cpu_guest_load(CpuGuest *guest, uint64_t address, const void *bytes, size_t length);
/* State of a program at its first instruction: registers are guest->state's, which the test may
 * change before cpu_guest_run(). */
void cpu_guest_reset(CpuGuest *guest, GuestMode mode);
/* 4 KiB pages instead of 2 MiB ones in the first 2 MiB; the 512 entries of 8 bytes (GUEST_LONG), or
 * the 1024 of 4 bytes (GUEST_FLAT32: paging goes on). */
void *cpu_guest_small_pages(CpuGuest *guest);
/* As user code. GUEST_LONG only. */
void cpu_guest_user(CpuGuest *guest);
/* Sets guest->state, runs at most `budget` instructions, and gets it. */
CpuRun cpu_guest_run(CpuGuest *guest, uint64_t budget);
/* Goes on from where it is. */
CpuRun cpu_guest_go_on(CpuGuest *guest, uint64_t budget);
/* Runs to HLT; the program must not fault. */
void cpu_guest_complete(CpuGuest *guest);
/* The vector whose handler halted, or -1: the program's own HLT. */
int cpu_guest_vector(const CpuGuest *guest);
/* A word on the stack of the exception's frame: 0 is the lowest. */
uint64_t cpu_guest_frame(const CpuGuest *guest, unsigned index);

#endif
