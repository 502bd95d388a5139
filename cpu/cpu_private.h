/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's inside: the processor's struct, decoded operations, memory access, faults.
 *
 * How it runs.  Code is decoded once into Blocks of Ops (decode.c, by Zydis) that are cached by
 * physical address and mode.  An Op names a handler and everything that it needs.  A handler ends
 * with NEXT(), which is a tail call of the next Op's handler in optimised builds and a return to
 * the loop otherwise; or with LEAVE(), which ends the block with cpu->rip set.
 *
 * Precision.  A handler makes all its memory accesses before it changes a register, so that a fault
 * leaves no trace.  Faults leave by longjmp: cpu_fault(cpu, op, ...) sets rip to the Op's own
 * address and never returns.
 *
 * Flags.  The arithmetic flags are kept as the host makes them: `cpu->flags` has what LAHF and SETO
 * give (see FLAG_*), and handlers compute with inline assembly of the very same instruction.  All
 * other bits of RFLAGS are in `cpu->eflags`.
 *
 * Files: run.c (loop, requests), decode.c (blocks), bind_*.c (which handler for which instruction),
 * op_*.c (handlers), mmu.c (TLB), walk.c, space.c (what
 * stays of both over a change of CR3), exclusive.c (LOCK where the host has none), seg.c,
 * stack.c, transfer.c, return.c, task.c, exception.c, interrupt.c, syscall.c (protection),
 * control.c, msr.c, system.c, port.c, smm.c (the system's instructions), context.c (reset,
 * CpuState), rescue.c (for KVM), fpu*.c (x87, MMX, SSE, AVX by the host).
 */
#ifndef VMRUN_CPU_PRIVATE_H
#define VMRUN_CPU_PRIVATE_H

#include <Zydis/Zydis.h>
#include <setjmp.h>
#include <string.h>

#include "cpu/cpu.h"
#include "util/bytes.h"

/* ---- Registers ---- */

/* Slots of cpu->gpr behind the sixteen registers: constants for address arithmetic without
 * branches. */
enum {
    SLOT_ZERO = 16, /* always 0: no base, no index */
    SLOT_RIP = 17,  /* rip at the start of the running block; Op.disp holds the rest */
    SLOT_COUNT = 18,
};

/* cpu->flags: AH of LAHF in bits 8-15, OF in bit 0. */
enum {
    FLAG_OF = 1 << 0,
    FLAG_CF = 1 << 8,
    FLAG_PF = 1 << 10,
    FLAG_AF = 1 << 12,
    FLAG_ZF = 1 << 14,
    FLAG_SF = 1 << 15,
};
/* Bits of RFLAGS (SDM vol. 1, 3.4.3). */
enum {
    EFL_CF = 1 << 0,
    EFL_ONE = 1 << 1,
    EFL_PF = 1 << 2,
    EFL_AF = 1 << 4,
    EFL_ZF = 1 << 6,
    EFL_SF = 1 << 7,
    EFL_TF = 1 << 8,
    EFL_IF = 1 << 9,
    EFL_DF = 1 << 10,
    EFL_OF = 1 << 11,
    EFL_IOPL = 3 << 12,
    EFL_NT = 1 << 14,
    EFL_RF = 1 << 16,
    EFL_VM = 1 << 17,
    EFL_AC = 1 << 18,
    EFL_VIF = 1 << 19,
    EFL_VIP = 1 << 20,
    EFL_ID = 1 << 21,
};
#define EFL_ARITH (EFL_CF | EFL_PF | EFL_AF | EFL_ZF | EFL_SF | EFL_OF)

enum {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
};
#define CR0_PG (1u << 31)
enum {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_PCE = 1 << 8,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
};
/* What holds off interrupts until after the next instruction. */
enum { SHADOW_NONE, SHADOW_STI, SHADOW_SS };
/* Not canonical: no instruction is there. */
#define NO_RIP (1ull << 63)
enum { DEBUGCTL_LBR = 1 << 0, DEBUGCTL_BTF = 1 << 1 };
enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

/* Exceptions (SDM vol. 3, table 6-1). */
enum {
    EXC_DE,
    EXC_DB,
    EXC_NMI,
    EXC_BP,
    EXC_OF,
    EXC_BR,
    EXC_UD,
    EXC_NM,
    EXC_DF,
    EXC_MF_OLD,
    EXC_TS,
    EXC_NP,
    EXC_SS,
    EXC_GP,
    EXC_PF,
    EXC_MF = 16,
    EXC_AC,
    EXC_MC,
    EXC_XM
};

/* ---- The software TLB ---- */

#define TLB_ENTRIES 1024u
#define PAGE_MASK   (~0xfffull)

/*
 * Direct-mapped by linear page.  A tag is the linear page address, or TLB_NONE, which no access
 * matches.  A page that is MMIO, has code (write) or must log its first write has the tag of that
 * access set to TLB_NONE; the slow path finds what it is in the TlbInfo beside it.
 */
#define TLB_NONE UINT64_MAX
typedef struct TlbEntry {
    uint64_t read, write, exec;
    uintptr_t delta; /* host = linear + delta */
} TlbEntry;
/* Which table an access uses: user pages differ in rights, and SMAP turns on EFLAGS.AC. */
enum { TLB_KERNEL, TLB_KERNEL_AC, TLB_USER, TLB_TABLES };

typedef enum { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC } Access;

/* What the slow path knows of a TlbEntry's page (mmu.c). */
typedef struct TlbInfo {
    uint64_t page;     /* linear; TLB_NONE: empty */
    uint64_t physical; /* of the page */
    RamBlock *ram;     /* NULL: MMIO */
    uint64_t offset;   /* of the page in ram */
    uint8_t rights;    /* 1 << Access, for accesses whose translation is complete */
    uint8_t watched;   /* 1 << Access, for which a debugger's watchpoint is on the page */
    bool readonly, logged, large, global;
} TlbInfo;

/* Entries that were filled since the last flush, so that a flush costs what was filled. */
enum { TLB_FILLS = 1024 };
typedef struct TlbFills {
    unsigned count; /* over TLB_FILLS: everything */
    uint16_t slot[TLB_FILLS];
} TlbFills;

/* What is known of an address space's translations (space.c). */
typedef struct Translations {
    TlbEntry tables[TLB_TABLES][TLB_ENTRIES];
    TlbInfo infos[TLB_TABLES][TLB_ENTRIES];
    TlbFills fills[2];        /* not global, global */
    uint64_t large_pages[16]; /* a hash of 2 MiB areas from which larger pages were filled */
    bool huge_pages;          /* 1 GiB pages were filled */
} Translations;
typedef struct Space Space;
enum { SPACES = 8 }; /* that are kept; a PCID each */

/* ---- Decoded code ---- */

typedef struct Op Op;
typedef struct Block Block;
/* Returns the Op to go on with, or NULL to leave the block with cpu->rip set.  An Op's memory stays
 * readable while it runs, whatever it flushes. */
typedef const Op *OpFn(Cpu *cpu, const Op *op);

/* Op.attr */
enum {
    OP_FLAT = 1 << 0,  /* the segment's base is 0 and nothing is to be checked */
    OP_STACK = 1 << 1, /* faults of the memory operand are #SS */
    OP_LOCK = 1 << 2,
    OP_REP = 1 << 3,
    OP_REPNE = 1 << 4,
    OP_BYTE_HIGH_REG = 1 << 5, /* reg is AH..BH: gpr[reg - 4] >> 8 */
    OP_BYTE_HIGH_RM = 1 << 6,
    OP_BASE = 1 << 7, /* FS, GS in 64-bit mode: the base is added, nothing is to be checked */
};

struct Op {
    OpFn *fn;
    int64_t disp; /* of the memory operand; rip-relative: from the block's start */
    uint64_t imm; /* immediate (sign-extended), branch target minus block rip, or handler's own */
    uint8_t base, index, scale; /* gpr slots; scale is a shift */
    uint8_t address_shift;      /* 0, 32 or 48: bits that an effective address loses at the top */
    uint8_t seg;                /* SEG_* */
    uint8_t reg, rm;            /* register numbers in ModRM.reg (or the opcode) and ModRM.rm */
    uint8_t size;               /* operand size in bytes */
    uint8_t length;             /* of the instruction */
    uint8_t attr;
    uint16_t offset;  /* from the block's start */
    uint32_t extra;   /* handler's own */
    const void *data; /* handler's own: a host-code stub, a chained block */
};

/* What a binder gets: the decoded instruction and the Op whose common fields are filled in already.
 */
typedef struct Insn {
    const ZydisDecodedInstruction *zydis;
    const ZydisDecodedOperand *operands; /* all, hidden ones last */
    const uint8_t *bytes;                /* zydis->length bytes */
    bool has_memory;                     /* one explicit operand is memory */
    bool memory_is_destination;
    unsigned code_bits; /* 16, 32, 64 */
} Insn;
/* Chooses a handler: sets op->fn and what else it needs. False: not this binder's instruction. */
typedef bool Binder(Cpu *cpu, const Insn *insn, Op *op);
Binder bind_integer, bind_string, bind_control, bind_system, bind_protected, bind_fpu;
/* Whether the block ends after this instruction (transfers, and what changes the mode). */
bool insn_ends_block(const Insn *insn);

/* Mode of code: part of a block's key. */
enum {
    MODE_CODE16 = 0,
    MODE_CODE32 = 1,
    MODE_CODE64 = 2,
    MODE_CODE_MASK = 3,
    MODE_STACK32 = 1 << 2, /* SS.B */
    MODE_FLAT = 1 << 3,    /* ES, SS, DS, CS: base 0, limit 4 GiB, writable as need be */
    MODE_PROTECTED = 1 << 4,
    MODE_VM86 = 1 << 5,
    MODE_USER = 1 << 6, /* CPL 3 */
    MODE_LONG = 1 << 7, /* EFER.LMA */
    MODE_SLOW = 1 << 8, /* single step or breakpoints: one instruction a block */
};

/* ---- The processor ---- */

enum { CPU_MC_BANKS = 10, CPU_MSR_STORE = 80 };

struct Cpu {
    /* Hot: what handlers touch. */
    uint64_t gpr[SLOT_COUNT];
    uint64_t rip;   /* exact between blocks; inside one, see op_rip() */
    TlbEntry *tlb;  /* the table in force */
    int64_t budget; /* instructions left in this cpu_run(); block entries count it down */
    Vcpu *vcpu;
    uint32_t mode;         /* MODE_*; kept by cpu_mode_changed() */
    uint32_t request_mask; /* which of vcpu->requests can be served now; kept by run.c */
    uint32_t attention;    /* atomic, ATTENTION_*: what other threads want of this CPU's caches */
    uint32_t eflags;       /* RFLAGS without EFL_ARITH, bit 1 set */
    uint16_t flags;        /* FLAG_* */
    uint8_t cpl;
    uint8_t interrupt_shadow; /* SHADOW_*: until after the next instruction */
    uint8_t fp_ready;         /* FP_READY_*: which FP instructions may run without a look */
    uint8_t fp_live;          /* FP_LIVE_*: what of the guest's FP state is in the host's CPU */
    bool ferr, ignne;         /* FERR# as it was told last; IGNNE# while it is up */
    uintptr_t stack_floor;    /* blocks do not chain below: a handler was not tail-called */
    struct JumpEntry *jumps;  /* blocks by linear address (block.h) */
    uint64_t link_target;
    const Op *link_from; /* whose chain the next block that is found goes into, or NULL */
    CpuSegment seg[SEG_COUNT];
    jmp_buf fault_exit;

    /* Protection and paging. */
    CpuSegment ldt, tr;
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, efer, dr[8], xcr0;
    uint64_t pdpte[4];          /* PAE without long mode: loaded with CR3 */
    uint64_t physical_mask;     /* bits of a physical address, A20 included */
    uint64_t physical_reserved; /* bits of a page table entry's address beyond CPUID's width */
    bool halted, waiting_sipi, nmi_masked, smm;
    bool gigabyte_pages; /* of CPUID */
    bool rescue;         /* in cpu_run() for the KVM engine */
    /* DR6 bits that are due as a #DB trap behind the instruction under way (data breakpoints, a
     * task's T bit; BS is run.c's).  Delivering any event clears them. */
    uint32_t debug_pending;
    bool hold_debug;       /* behind MOV SS and POP SS no #DB */
    uint64_t shadowed_rip; /* of the instruction that MOV SS shadows; NO_RIP: none */
    bool refused;          /* take_interrupt() had none just now */
    int64_t slow_budget;   /* the true one while run.c keeps an instruction alone; else 0 */

    /* rescue.c's own. */
    struct {
        bool on;        /* in cpu_rescue() */
        bool started;   /* its first instruction is done */
        bool goes_on;   /* the instruction that was decoded last may follow */
        bool fpu, msrs; /* have been fetched */
        unsigned away;  /* instructions since the last of the kind that is rescued */
        CpuRescue *did;
    } stretch;

    /* The fault that longjmp carries. */
    struct {
        uint8_t vector;
        bool has_error;
        uint32_t error;
    } fault;
    int delivering; /* vector of the exception being delivered, -1: none (double faults) */
    unsigned delivery_faults; /* how many have come in the place of the one before */

    /* MSRs that are just storage or small; others are computed (msr.c). */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux, sysenter_cs, sysenter_esp,
        sysenter_eip, pat, mtrr_def_type, mtrr_base[8], mtrr_mask[8], mtrr_fixed[11], debugctl,
        mcg_status, mcg_ctl, smbase, spec_ctrl, tsc_adjust;
    uint64_t mc_banks[4 * CPU_MC_BANKS]; /* CTL, STATUS, ADDR, MISC of each */
    uint64_t msr_store[CPU_MSR_STORE];   /* msr.c's own: what nobody else looks at */

    /* x87, MMX, SSE, AVX: the XSAVE area in standard format; FXSAVE's image first. */
    uint8_t xsave[CPU_XSAVE_MAX] __attribute__((aligned(64)));
    /* The last x87 instruction and its operand (FOP, FCS in one word: stubs store both). */
    uint16_t fpu_opcode, fpu_cs, fpu_ds;
    uint64_t fpu_ip, fpu_dp;

    Space *space, *spaces[SPACES]; /* the one in force; all of them, the first always there */
    Translations *t;               /* of the one in force */
    uint64_t space_changes;
    uint8_t table; /* TLB_*: the table in force, even while every access is to be checked */
    bool watching, checks_alignment; /* every access is looked at */
    uint64_t paging_key;             /* the paging bits that the tables were filled under */
    struct RamWindow *windows;       /* mmu.c's own: host addresses of page tables */
    /* mmu.c's own: a store through a host pointer, to be told of when it has been made; or NULL. */
    struct {
        RamBlock *ram;
        uint64_t offset;
        unsigned length;
    } untold;

    /* Outside. */
    AddressSpace *mem, *smm_mem, *io;
    CpuBus bus;
    GArray *cpuid;         /* of CpuidEntry */
    uint64_t instructions; /* before this cpu_run() */
    int64_t budget_start;  /* of this cpu_run() */
    struct CodeMail *mail; /* code.c's own: messages from other CPUs */
    bool executing;        /* atomic, exclusive.c's own: in cpu_run() and not waiting */
    bool exclusive;        /* nobody else executes */

    struct BlockCache *blocks;    /* decode.c's own */
    struct CpuDecoders *decoders; /* decode.c's own */
    struct FpuCache *fpu;         /* fpu.c's own: host-code stubs */

    /* watch.c's own: a debugger outside the guest. */
    CpuWatch watches[CPU_WATCHES_MAX];
    unsigned watch_count;
    int watch_met;       /* index, or -1 */
    bool debugged;       /* single instructions */
    bool one_insn;       /* the same for logs */
    GArray *breaks;      /* of uint64_t, ascending */
    uint64_t over_break; /* address + 1 of a breakpoint that is to be passed; or 0 */
    bool debug_changed;  /* since blocks were decoded for what the debugger wants */
    bool single_ops;     /* no two instructions in an Op */
};

/* ---- For handlers ---- */

/* Ends a handler.  Optimised builds chain handlers by tail calls; others come back to the loop, so
 * that the stack stays flat (sanitizers, -O0). */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&    \
    !defined(VMRUN_NO_TAIL_CALLS)
#define CPU_TAIL_CALLS
#define NEXT(cpu, op) return (op)[1].fn((cpu), (op) + 1)
#else
#define NEXT(cpu, op) return (op) + 1
#endif
#define LEAVE(cpu) return NULL

/* The address of the instruction that op is, and of the one behind it. */
static inline uint64_t op_rip(const Cpu *cpu, const Op *op)
{
    return cpu->gpr[SLOT_RIP] + op->offset;
}
static inline uint64_t op_next_rip(const Cpu *cpu, const Op *op)
{
    return cpu->gpr[SLOT_RIP] + op->offset + op->length;
}

/* The effective address of op's memory operand, without segment base. */
static inline uint64_t op_address(const Cpu *cpu, const Op *op)
{
    uint64_t address = cpu->gpr[op->base] + (cpu->gpr[op->index] << op->scale) + (uint64_t)op->disp;
    return address << op->address_shift >> op->address_shift;
}

/* Leaves the handler for good with an exception.  rip becomes the Op's address. */
G_GNUC_NORETURN void cpu_fault(Cpu *cpu, const Op *op, unsigned vector);
G_GNUC_NORETURN void cpu_fault_code(Cpu *cpu, const Op *op, unsigned vector, uint32_t error);

/* Leaves the handler for good, stopped in front of the Op until an interrupt comes. */
G_GNUC_NORETURN void cpu_freeze(Cpu *cpu, const Op *op);

/*
 * Memory.  cpu_linear() adds the segment's base and checks limit, type and canonical form for an
 * access of size bytes, or faults.  The accessors below take linear addresses.
 */
uint64_t cpu_linear_checked(Cpu *cpu, const Op *op, unsigned seg, uint64_t address, unsigned size,
                            Access access);
/* Slow paths: TLB misses, page crossings, MMIO, code pages.  The value is in the low bytes; size is
 * 1, 2, 4 or 8. */
uint64_t cpu_load_slow(Cpu *cpu, const Op *op, uint64_t linear, unsigned size);
void cpu_store_slow(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value, unsigned size);
/* A host pointer for a read-modify-write of size bytes, or NULL if it must be a load and a store
 * (MMIO, page crossing, code).  Faults as a write. */
void *cpu_host_rmw(Cpu *cpu, const Op *op, uint64_t linear, unsigned size);
/* The same for the host's LOCKed instruction, with code, too: cpu_host_done() is to follow.  After
 * NULL the parts are done in an exclusive section. */
void *cpu_host_lock(Cpu *cpu, const Op *op, uint64_t linear, unsigned size);
/* What cpu_host_done() is for. */
void cpu_tell_store(Cpu *cpu);
#ifdef CPU_TAIL_CALLS
/*
 * The same calls through thunks (mmu_thunks.c) that preserve all general registers but rax: so that
 * a handler whose fast path calls nothing needs no frame.  The calls stand in assembly, so cpu/ is
 * compiled with -mno-red-zone.
 */
#define CPU_XMM_CLOBBERS                                                                           \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
static inline uint64_t cpu_linear_call(Cpu *cpu, const Op *op, unsigned seg, uint64_t address,
                                       unsigned size, Access access)
{
    uint64_t result;
    register uint64_t r8 __asm__("r8") = size;
    register uint64_t r9 __asm__("r9") = access;
    __asm__ volatile("call cpu_linear_thunk"
                     : "=a"(result)
                     : "D"(cpu), "S"(op), "d"(seg), "c"(address), "r"(r8), "r"(r9)
                     : "memory", "cc", CPU_XMM_CLOBBERS);
    return result;
}
static inline uint64_t cpu_load_call(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    uint64_t result;
    __asm__ volatile("call cpu_load_thunk"
                     : "=a"(result)
                     : "D"(cpu), "S"(op), "d"(linear), "c"(size)
                     : "memory", "cc", CPU_XMM_CLOBBERS);
    return result;
}
static inline void cpu_store_call(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value,
                                  unsigned size)
{
    register uint64_t r8 __asm__("r8") = size;
    __asm__ volatile("call cpu_store_thunk"
                     :
                     : "D"(cpu), "S"(op), "d"(linear), "c"(value), "r"(r8)
                     : "memory", "cc", "rax", CPU_XMM_CLOBBERS);
}
static inline void *cpu_host_rmw_call(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    void *result;
    __asm__ volatile("call cpu_host_rmw_thunk"
                     : "=a"(result)
                     : "D"(cpu), "S"(op), "d"(linear), "c"(size)
                     : "memory", "cc", CPU_XMM_CLOBBERS);
    return result;
}
static inline void *cpu_host_lock_call(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    void *result;
    __asm__ volatile("call cpu_host_lock_thunk"
                     : "=a"(result)
                     : "D"(cpu), "S"(op), "d"(linear), "c"(size)
                     : "memory", "cc", CPU_XMM_CLOBBERS);
    return result;
}
static inline void cpu_tell_store_call(Cpu *cpu)
{
    __asm__ volatile("call cpu_tell_store_thunk"
                     :
                     : "D"(cpu)
                     : "memory", "cc", "rax", CPU_XMM_CLOBBERS);
}
#else
#define cpu_linear_call     cpu_linear_checked
#define cpu_load_call       cpu_load_slow
#define cpu_store_call      cpu_store_slow
#define cpu_host_rmw_call   cpu_host_rmw
#define cpu_host_lock_call  cpu_host_lock
#define cpu_tell_store_call cpu_tell_store
#endif
static inline uint64_t cpu_linear(Cpu *cpu, const Op *op, uint64_t address, unsigned size,
                                  Access access)
{
    if (G_LIKELY(op->attr & OP_FLAT))
        return address;
    if (op->attr & OP_BASE)
        return address + cpu->seg[op->seg].base;
    return cpu_linear_call(cpu, op, op->seg, address, size, access);
}

/* Checks that [linear, linear + size) could be accessed, faults if not; size up to a page. */
void cpu_probe(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access);
/* Host pointer to linear if the page is plain RAM for this access and the bytes do not cross it,
 * else NULL; faults if not mapped.  For writes the page must not hold decoded code, and
 * cpu_host_done() is to follow. */
void *cpu_host_slow(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access);
/* Any length, any alignment; all or nothing as to faults. */
void cpu_read_bytes(Cpu *cpu, const Op *op, uint64_t linear, void *buf, unsigned length);
void cpu_write_bytes(Cpu *cpu, const Op *op, uint64_t linear, const void *buf, unsigned length);
/* With CPL 0's rights, whatever the CPL is (SDM: implicit supervisor accesses). */
uint64_t cpu_load_system(Cpu *cpu, const Op *op, uint64_t linear, unsigned size);
void cpu_store_system(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value, unsigned size);

static inline TlbEntry *cpu_tlb(const Cpu *cpu, uint64_t linear)
{
    return &cpu->tlb[linear >> 12 & (TLB_ENTRIES - 1)];
}
/* One compare for the page and for crossing it: the entry of a page never has the next one's tag.
 * TLB_NONE has low bits set and matches nothing. */
static inline bool tlb_hit(uint64_t tag, uint64_t linear, unsigned size)
{
    return G_LIKELY(tag == ((linear + size - 1) & PAGE_MASK));
}
#define CPU_ACCESSORS(bits)                                                                        \
    static inline uint##bits##_t cpu_load##bits(Cpu *cpu, const Op *op, uint64_t linear)           \
    {                                                                                              \
        const TlbEntry *entry = cpu_tlb(cpu, linear);                                              \
        uint##bits##_t value;                                                                      \
        if (G_UNLIKELY(!tlb_hit(entry->read, linear, bits / 8)))                                   \
            return (uint##bits##_t)cpu_load_call(cpu, op, linear, bits / 8);                       \
        memcpy(&value, (const void *)(linear + entry->delta), sizeof(value));                      \
        return value;                                                                              \
    }                                                                                              \
    static inline void cpu_store##bits(Cpu *cpu, const Op *op, uint64_t linear,                    \
                                       uint##bits##_t value)                                       \
    {                                                                                              \
        const TlbEntry *entry = cpu_tlb(cpu, linear);                                              \
        if (G_UNLIKELY(!tlb_hit(entry->write, linear, bits / 8)))                                  \
            cpu_store_call(cpu, op, linear, value, bits / 8);                                      \
        else                                                                                       \
            memcpy((void *)(linear + entry->delta), &value, sizeof(value));                        \
    }
CPU_ACCESSORS(8)
CPU_ACCESSORS(16)
CPU_ACCESSORS(32)
CPU_ACCESSORS(64)
#undef CPU_ACCESSORS

static inline void *cpu_host(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access)
{
    const TlbEntry *entry = cpu_tlb(cpu, linear);
    uint64_t tag = access == ACCESS_WRITE ? entry->write : entry->read;
    if (G_UNLIKELY(access == ACCESS_EXEC || !tlb_hit(tag, linear, size)))
        return cpu_host_slow(cpu, op, linear, size, access);
    return (void *)(linear + entry->delta);
}

/* The store has been made: whoever has decoded from its page in the meantime hears of it. */
static inline void cpu_host_done(Cpu *cpu)
{
    if (G_UNLIKELY(cpu->untold.ram))
        cpu_tell_store_call(cpu);
}

/* ---- exclusive.c ---- */
/* Around what must be atomic and the host cannot make so: no other CPU executes.  Faults end it. */
void cpu_exclusive_begin(Cpu *cpu);
void cpu_exclusive_end(Cpu *cpu);

/* ---- mmu.c ---- */
/* Translates with the rights of `user` or supervisor; sets accessed and dirty bits.  Faults. */
uint64_t cpu_translate(Cpu *cpu, const Op *op, uint64_t linear, Access access, bool user);

/* ---- space.c ---- */
/* The CPU's translations of its PCID, without global ones; or, global, all of all PCIDs. */
void cpu_tlb_flush(Cpu *cpu, bool global);
/* Of all PCIDs, without global ones. */
void cpu_tlb_flush_local(Cpu *cpu);
/* A page's of the PCID in force, and global ones of it. */
void cpu_tlb_flush_page(Cpu *cpu, uint64_t linear);
/* A PCID's, without global ones; of one page, if linear is not NULL. */
void cpu_tlb_flush_pcid(Cpu *cpu, uint16_t pcid, const uint64_t *linear);

/* ---- watch.c ---- */
/* An access that a debugger's watchpoint may wait for: one that does is the last of its block. */
void cpu_debugger_looks(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access);
/* 1 << Access, for which there is a watchpoint on the page. */
uint8_t cpu_watched_accesses(const Cpu *cpu, uint64_t page);
/* Whether to stop in front of the next instruction. */
bool cpu_meets_break(Cpu *cpu);
/* Takes back what the instruction that has just faulted met. */
void cpu_drop_watch(Cpu *cpu);
/* Before blocks run, after debug_changed. */
void cpu_debug_changed(Cpu *cpu);

/* ---- system.c ---- */
/* The family of the guest's processor, by CPUID. */
unsigned cpu_family(const Cpu *cpu);

/* ---- rescue.c ---- */
/* In cpu_rescue(): an instruction was decoded; bound: there is a handler. */
void rescue_decoded(Cpu *cpu, const Insn *insn, bool bound);
/* No instruction at all. */
void rescue_undecoded(Cpu *cpu);

/* ---- decode.c, run.c ---- */
/* After an access to a device: if it asked for a reset or a shutdown, nothing more runs. */
static inline void cpu_end_after_device(Cpu *cpu)
{
    const Machine *machine = cpu->vcpu->machine;
    if (machine && !cpu->rescue && G_UNLIKELY(machine_request_pending(machine)))
        vcpu_request(cpu->vcpu, VCPU_REQ_PARK);
}
/* Recomputes cpu->mode and cpu->tlb after a change of CS, SS, CPL, EFLAGS.VM/AC/TF, CR0, CR4, EFER.
 */
void cpu_mode_changed(Cpu *cpu);
/* What a store through a host pointer that is not of cpu_host() or the TLB has to say. */
void cpu_ram_written(Cpu *cpu, RamBlock *ram, uint64_t offset, unsigned length);
/* Drops every block, and the memory of them: none may go on behind the instruction under way. */
void cpu_blocks_flush(Cpu *cpu);

/* ---- Flags and registers ---- */
static inline uint32_t flags_to_efl(uint32_t flags)
{
    return (flags >> 8 & (EFL_SF | EFL_ZF | EFL_AF | EFL_PF | EFL_CF)) | (flags & FLAG_OF) << 11;
}
static inline uint32_t efl_to_flags(uint32_t efl)
{
    return (efl & (EFL_SF | EFL_ZF | EFL_AF | EFL_PF | EFL_CF)) << 8 | (efl >> 11 & 1);
}
/* All of RFLAGS. */
static inline uint32_t cpu_rflags(const Cpu *cpu)
{
    return cpu->eflags | flags_to_efl(cpu->flags);
}
/* Sets the bits of RFLAGS in mask; calls cpu_mode_changed() where it must. */
void cpu_set_rflags(Cpu *cpu, uint32_t value, uint32_t mask);

/* ---- exception.c, seg.c, transfer.c, task.c ---- */
typedef enum {
    EVENT_EXCEPTION,
    EVENT_SOFTWARE /* INT n */,
    EVENT_PRIVILEGED /* INT1 */,
    EVENT_EXTERNAL
} EventKind;
/* Delivers an interrupt or exception through the IDT or the real-mode table.  cpu->rip is what goes
 * on the stack.  May fault itself: double and triple faults are made of that by run.c, by
 * cpu_deliver_fault().  op may be NULL between instructions. */
void cpu_deliver(Cpu *cpu, const Op *op, unsigned vector, EventKind kind, bool has_error,
                 uint32_t error);
/* Delivers cpu->fault, with the rules of SDM vol. 3, table 6-5; false on a triple fault. */
bool cpu_deliver_fault(Cpu *cpu);
/* Loads a data or stack segment register with all checks. */
void cpu_load_segment(Cpu *cpu, const Op *op, unsigned seg, uint16_t selector);
/* Real mode and vm86: base = selector << 4; limits stay (unreal mode) outside vm86. */
void cpu_load_segment_real(Cpu *cpu, unsigned seg, uint16_t selector);
/* For instructions behind which a single-step trap is not decided by TF as it was before: marks one
 * as due if TF is set now. */
void cpu_step_behind(Cpu *cpu, bool branched);
/* SMI and RSM. */
void cpu_enter_smm(Cpu *cpu);
void cpu_init_signal(Cpu *cpu); /* INIT */
void cpu_sipi(Cpu *cpu, uint8_t vector);

/* ---- fpu.c ---- */
void fpu_init(Cpu *cpu);
void fpu_fini(Cpu *cpu);
/* Power-on (INIT leaves the FPU alone). */
void fpu_reset(Cpu *cpu);
/* CpuState.xsave from the CPU, and the CPU from it (XSTATE_BV heeded). */
void fpu_get_state(Cpu *cpu, CpuState *state);
void fpu_set_state(Cpu *cpu, const CpuState *state);
/* The guest's MXCSR and x87 registers may stay in the host's from one instruction to the next.
 * fpu_leave() puts them back: before cpu_run() returns and before code of devices is called. */
void fpu_leave_slow(Cpu *cpu);
static inline void fpu_leave(Cpu *cpu)
{
    if (G_UNLIKELY(cpu->fp_live))
        fpu_leave_slow(cpu);
}
/* CR0, CR4 or XCR0 changed: FP instructions look again. cpu_mode_changed() and XSETBV call it. */
static inline void fpu_mode_changed(Cpu *cpu)
{
    cpu->fp_ready = 0;
}

#endif
