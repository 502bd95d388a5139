/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of protection and system instructions share: descriptors, stacks, handlers.
 * (Intel SDM vol. 3, ch. 3, 5, 6, 7; instruction pages of vol. 2.)
 *
 * The order of every transfer: read and check all descriptors, compute where the stacks are, check
 * room and addresses, store, and only then change registers.  What has been stored when a fault
 * comes lies below the stack pointer.
 */
#ifndef VMRUN_CPU_PROTECT_H
#define VMRUN_CPU_PROTECT_H

#include "cpu_private.h"

/* ---- Modes and features ---- */

static inline bool in_vm86(const Cpu *cpu)
{
    return cpu->eflags & EFL_VM;
}
/* Selectors name descriptors. */
static inline bool in_protected(const Cpu *cpu)
{
    return (cpu->cr0 & CR0_PE) && !in_vm86(cpu);
}
static inline bool in_long(const Cpu *cpu)
{
    return cpu->efer & EFER_LMA;
}
static inline bool in_code64(const Cpu *cpu)
{
    return in_long(cpu) && (cpu->seg[SEG_CS].attr & ATTR_L);
}
static inline unsigned iopl(const Cpu *cpu)
{
    return (cpu->eflags & EFL_IOPL) >> 12;
}
static inline bool canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}
/* A bit of CPUID(leaf, 0). */
static inline bool cpu_feature(const Cpu *cpu, uint32_t leaf, unsigned reg, unsigned bit)
{
    const CpuidEntry *entry =
        cpuid_find((const CpuidEntry *)cpu->cpuid->data, cpu->cpuid->len, leaf, 0);
    return entry && entry->reg[reg] >> bit & 1;
}
#define FEATURE_VME        1, CPUID_EDX, 1
#define FEATURE_DE         1, CPUID_EDX, 2
#define FEATURE_PSE        1, CPUID_EDX, 3
#define FEATURE_TSC        1, CPUID_EDX, 4
#define FEATURE_MSR        1, CPUID_EDX, 5
#define FEATURE_PAE        1, CPUID_EDX, 6
#define FEATURE_MCE        1, CPUID_EDX, 7
#define FEATURE_APIC       1, CPUID_EDX, 9
#define FEATURE_SEP        1, CPUID_EDX, 11
#define FEATURE_MTRR       1, CPUID_EDX, 12
#define FEATURE_PGE        1, CPUID_EDX, 13
#define FEATURE_PAT        1, CPUID_EDX, 16
#define FEATURE_MMX        1, CPUID_EDX, 23
#define FEATURE_FXSR       1, CPUID_EDX, 24
#define FEATURE_SSE        1, CPUID_EDX, 25
#define FEATURE_MONITOR    1, CPUID_ECX, 3
#define FEATURE_PCID       1, CPUID_ECX, 17
#define FEATURE_XSAVE      1, CPUID_ECX, 26
#define FEATURE_RDRAND     1, CPUID_ECX, 30
#define FEATURE_FSGSBASE   7, CPUID_EBX, 0
#define FEATURE_TSC_ADJUST 7, CPUID_EBX, 1
#define FEATURE_SMEP       7, CPUID_EBX, 7
#define FEATURE_INVPCID    7, CPUID_EBX, 10
#define FEATURE_RDSEED     7, CPUID_EBX, 18
#define FEATURE_SMAP       7, CPUID_EBX, 20
#define FEATURE_UMIP       7, CPUID_ECX, 2
#define FEATURE_RDPID      7, CPUID_ECX, 22
#define FEATURE_SPEC_CTRL  7, CPUID_EDX, 26
#define FEATURE_FLUSH_L1D  7, CPUID_EDX, 28
#define FEATURE_ARCH_CAPS  7, CPUID_EDX, 29
#define FEATURE_SYSCALL    0x80000001, CPUID_EDX, 11
#define FEATURE_NX         0x80000001, CPUID_EDX, 20
#define FEATURE_FXSR_OPT   0x80000001, CPUID_EDX, 25
#define FEATURE_RDTSCP     0x80000001, CPUID_EDX, 27
#define FEATURE_LM         0x80000001, CPUID_EDX, 29
#define FEATURE_OSVW       0x80000001, CPUID_ECX, 9
/* The guest's processor is AMD's, where the makers differ. */
bool cpu_is_amd(const Cpu *cpu);

/* Puts rip behind op, for handlers that leave the block. */
static inline void rip_behind(Cpu *cpu, const Op *op)
{
    uint64_t next = op_next_rip(cpu, op);
    cpu->rip = in_code64(cpu) ? next : (uint32_t)next;
}
/* Ends a handler after which the mode may be another. */
#define LEAVE_BEHIND(cpu, op)                                                                      \
    do {                                                                                           \
        rip_behind((cpu), (op));                                                                   \
        return NULL;                                                                               \
    } while (0)

/* Writes a general register of size 2, 4 or 8 bytes as an instruction does. */
static inline void gpr_write(Cpu *cpu, unsigned reg, uint64_t value, unsigned size)
{
    if (size == 2)
        cpu->gpr[reg] = (cpu->gpr[reg] & ~0xffffull) | (value & 0xffff);
    else
        cpu->gpr[reg] = value & size_mask(size);
}
static inline uint64_t load_sized(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    switch (size) {
    case 1:
        return cpu_load8(cpu, op, linear);
    case 2:
        return cpu_load16(cpu, op, linear);
    case 4:
        return cpu_load32(cpu, op, linear);
    default:
        return cpu_load64(cpu, op, linear);
    }
}
static inline void store_sized(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value,
                               unsigned size)
{
    switch (size) {
    case 1:
        cpu_store8(cpu, op, linear, (uint8_t)value);
        break;
    case 2:
        cpu_store16(cpu, op, linear, (uint16_t)value);
        break;
    case 4:
        cpu_store32(cpu, op, linear, (uint32_t)value);
        break;
    default:
        cpu_store64(cpu, op, linear, value);
    }
}
/* #GP(0) unless CPL is 0. */
static inline void need_cpl0(Cpu *cpu, const Op *op)
{
    if (G_UNLIKELY(cpu->cpl))
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* ---- seg.c: descriptors ---- */

enum { SEL_RPL = 3, SEL_TI = 4 };
/* Types of system descriptors (SDM vol. 3, table 3-2). */
enum {
    TYPE_TSS16 = 1,
    TYPE_LDT = 2,
    TYPE_CALL16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_INT16 = 6,
    TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9,
    TYPE_CALL32 = 12,
    TYPE_INT32 = 14,
    TYPE_TRAP32 = 15,
    TYPE_BUSY = 2, /* of a TSS */
};
/* Bits of the type of code and data segments (table 3-1). */
enum {
    TYPE_ACCESSED = 1,
    TYPE_WRITABLE = 2,
    TYPE_READABLE = 2,
    TYPE_EXPAND_DOWN = 4,
    TYPE_CONFORMING = 4,
    TYPE_CODE = 8,
};

typedef struct Descriptor {
    uint64_t bits;    /* its first eight bytes */
    uint64_t address; /* linear */
    uint16_t attr;    /* as CpuSegment.attr */
} Descriptor;

static inline unsigned attr_dpl(uint16_t attr)
{
    return (attr & ATTR_DPL) >> 5;
}
static inline bool attr_is_code(uint16_t attr)
{
    return (attr & ATTR_S) && (attr & TYPE_CODE);
}
static inline bool attr_is_writable_data(uint16_t attr)
{
    return (attr & ATTR_S) && !(attr & TYPE_CODE) && (attr & TYPE_WRITABLE);
}
/* The type of a system descriptor, 0 (which none has) for code and data. */
static inline unsigned attr_system_type(uint16_t attr)
{
    return attr & ATTR_S ? 0 : attr & ATTR_TYPE;
}
static inline bool selector_is_null(uint16_t selector)
{
    return !(selector & ~SEL_RPL);
}

/* False if the selector lies beyond its table. May fault. */
bool descriptor_read(Cpu *cpu, const Op *op, uint16_t selector, Descriptor *out);
/* The second half of a 16-byte descriptor of long mode; false if it lies beyond the table. */
bool descriptor_read_high(Cpu *cpu, const Op *op, uint16_t selector, uint64_t *bits);
/* Sets the accessed bit in memory, if it is clear. May fault. */
void descriptor_touch(Cpu *cpu, const Op *op, Descriptor *descriptor);
CpuSegment descriptor_segment(const Descriptor *descriptor, uint16_t selector);
/* An error code of a selector. */
static inline uint32_t selector_error(uint16_t selector, uint32_t ext)
{
    return (selector & ~SEL_RPL) | ext;
}
/* A segment register with a null selector. */
static inline CpuSegment null_segment(uint16_t selector, unsigned dpl)
{
    return (CpuSegment){
        .selector = selector, .attr = (uint16_t)(dpl << 5), .limit = 0, .unusable = true};
}
/* What vm86 mode makes of a selector. */
static inline CpuSegment vm86_segment(uint16_t selector)
{
    return (CpuSegment){.selector = selector,
                        .attr = ATTR_P | 3 << 5 | ATTR_S | TYPE_WRITABLE | TYPE_ACCESSED,
                        .limit = 0xffff,
                        .base = (uint64_t)selector << 4};
}
/* Whether [offset, offset + size) is inside the segment. */
bool segment_holds(const CpuSegment *segment, uint64_t offset, unsigned size);
/* Whether an access of size bytes at address is allowed; *linear is where. */
bool segment_allows(const Cpu *cpu, unsigned seg, uint64_t address, unsigned size, Access access,
                    uint64_t *linear);
/* Outer privilege: DS, ES, FS, GS that the new CPL must not see become null. */
void segments_drop_privileged(Cpu *cpu, unsigned cpl);
/* The checks of loading SS for privilege cpl: #fault(selector | ext), #SS if it is not present. */
void stack_descriptor(Cpu *cpu, const Op *op, uint16_t selector, unsigned cpl, unsigned fault,
                      uint32_t ext, Descriptor *out);

/* ---- stack.c ---- */

typedef struct Stack {
    CpuSegment segment;
    uint64_t sp, mask; /* the bits of rsp that take part */
    bool flat;         /* 64-bit: no segment */
    bool inner;        /* of the privilege to come: with CPL 0's rights */
    uint32_t error;    /* of #SS */
} Stack;

/* The stack as it is. */
Stack frame_current(const Cpu *cpu, uint32_t error);
/* An inner privilege's stack: from the 32- or 16-bit TSS, #TS or #SS if it is not right; from the
 * 64-bit TSS (ist: 1 to 7, or 0 for cpl's). */
Stack frame_inner(Cpu *cpu, const Op *op, unsigned cpl, uint32_t ext, CpuSegment *ss);
Stack frame_inner64(Cpu *cpu, const Op *op, unsigned cpl, unsigned ist, uint32_t ext);
/* Room for count pushes of size bytes, and pages behind it; #SS or #PF if not. */
void frame_need(Cpu *cpu, const Op *op, const Stack *stack, unsigned count, unsigned size);
void frame_map(Cpu *cpu, const Op *op, const Stack *stack, unsigned bytes);
void frame_push(Cpu *cpu, const Op *op, Stack *stack, unsigned size, uint64_t value);
uint64_t frame_pop(Cpu *cpu, const Op *op, Stack *stack, unsigned size);
/* Reads at sp + offset without popping. */
uint64_t frame_peek(Cpu *cpu, const Op *op, const Stack *stack, uint64_t offset, unsigned size);
/* Writes sp back to RSP, as much of it as the stack's width has. */
void frame_commit(Cpu *cpu, const Stack *stack);

/* ---- transfer.c, return.c, task.c, exception.c ---- */

/* Loads CS from a checked descriptor at privilege cpl. */
void commit_code(Cpu *cpu, uint16_t selector, const Descriptor *descriptor, unsigned cpl);
/* #GP(error) if rip is not inside the code segment. */
void check_target(Cpu *cpu, const Op *op, const Descriptor *code, uint64_t rip, uint32_t error);
void far_jump(Cpu *cpu, const Op *op, uint16_t selector, uint64_t offset);
/* Reads op's memory operand m16:16, m16:32 or m16:64; returns the selector. */
uint16_t far_pointer(Cpu *cpu, const Op *op, uint64_t *offset);
void far_call(Cpu *cpu, const Op *op, uint16_t selector, uint64_t offset);
/* A hardware task switch: jump, CALL, IRET (back link), an interrupt through a task gate.
 * next_rip, flags: what is saved of the old task. */
typedef enum { TASK_JUMP, TASK_CALL, TASK_RETURN, TASK_EVENT } TaskCause;
void task_switch(Cpu *cpu, const Op *op, uint16_t selector, TaskCause cause, uint32_t ext,
                 uint64_t next_rip, uint32_t flags);
/* The error code of an exception goes to the new task's stack. */
void task_push_error(Cpu *cpu, uint32_t error);
/* Shuts the processor down: a triple fault. */
G_GNUC_NORETURN void cpu_shutdown(Cpu *cpu, const Op *op);

/* ---- control.c ---- */
/* Loads CR3, PAE's pointers included (false: reserved bits are set in those, nothing changed). */
bool control_load_cr3(Cpu *cpu, uint64_t value);
/* Goes over to the translations of the PCID that CR3 and CR4 name. */
void control_select_space(Cpu *cpu);
/* What RSM and state loads need: bits of CR0 and CR4 that the processor takes. */
bool control_valid(const Cpu *cpu, uint64_t cr0, uint64_t cr4);

/* ---- msr.c ---- */
/* How many performance counters the model has by its family alone.  Those of CPUID leaf 0xa it does
 * not have. */
unsigned msr_counters(const Cpu *cpu);
void msr_reset(Cpu *cpu); /* power-on; INIT leaves MSRs alone */
void msr_get_state(Cpu *cpu, CpuState *state);
void msr_set_state(Cpu *cpu, const CpuState *state);

/* ---- port.c ---- */
/* Whether the TSS's interrupt redirection map sends INT vector to the vm86 program.  #GP if the TSS
 * has no map. */
bool tss_redirects(Cpu *cpu, const Op *op, uint8_t vector);

/* ---- Handlers, by file ---- */
/* seg_ops.c */
OpFn op_mov_from_seg_reg, op_mov_from_seg_mem, op_mov_to_seg_reg, op_mov_to_seg_mem, op_push_seg,
    op_pop_seg, op_load_far, op_lldt, op_ltr, op_sldt, op_str, op_lgdt, op_lidt, op_sgdt, op_sidt,
    op_lar, op_lsl, op_verr, op_verw, op_arpl, op_read_base, op_write_base, op_swapgs;
/* transfer.c, return.c, syscall.c */
OpFn op_jmp_far_imm, op_jmp_far_mem, op_call_far_imm, op_call_far_mem, op_ret_far, op_iret, op_int,
    op_int1, op_int3, op_into, op_bound, op_syscall, op_sysret, op_sysenter, op_sysexit, op_rsm;
/* control.c */
OpFn op_read_cr, op_write_cr, op_read_dr, op_write_dr, op_lmsw, op_smsw, op_clts, op_invlpg,
    op_invpcid, op_xgetbv, op_xsetbv;
/* system.c */
OpFn op_cpuid, op_rdtsc, op_rdtscp, op_rdpid, op_rdpmc, op_hlt, op_monitor, op_mwait, op_cli,
    op_sti, op_clac, op_stac, op_random, op_cache;
/* msr.c */
OpFn op_rdmsr, op_wrmsr;
/* port.c */
OpFn op_in, op_out, op_ins, op_outs;

/* Bits of Op.extra of op_ins and op_outs. */
enum { STRING_REP = 1 << 0 };

#endif
