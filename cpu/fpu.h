/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FPU's inside (fpu*.c, bind_fpu.c).
 *
 * x87, MMX, SSE and AVX instructions are run by the host itself.  A stub is a piece of generated
 * code that does all of an OpFn: it loads the operand registers from the Cpu, runs the guest's
 * instruction with its memory operand replaced by [rdx], puts the results back and goes on with the
 * next Op.  Stubs are per CPU and shared by all instructions that need the same code.
 *
 * Of the guest's state, XMM and YMM registers are always in cpu->xsave.  MXCSR and the x87
 * registers stay in the host's between instructions (FP_LIVE_*) until fpu_leave(), or until
 * somebody looks at them (fpu_sync()).  MXCSR is live only while it masks all exceptions; otherwise
 * fpu_careful() runs each instruction on a copy of the state.  x87 is live with the guest's own
 * control word, but never with an exception pending: that is always seen behind the instruction
 * that caused it.
 *
 * The control word in cpu->xsave is right even while x87 is live, and so is MXCSR but for its
 * sticky flags.
 */
#ifndef VMRUN_CPU_FPU_H
#define VMRUN_CPU_FPU_H

#include "cpu_private.h"
#include "op_common.h"

/* cpu->fp_live */
enum { FP_LIVE_X87 = 1 << 0, FP_LIVE_MXCSR = 1 << 1 };

/* What an instruction needs: bits of Op.extra from FP_NEED_SHIFT on. */
enum {
    FP_NEED_X87 = 1 << 0, /* a waiting x87 instruction */
    FP_NEED_MMX = 1 << 1,
    FP_NEED_SSE = 1 << 2,
    FP_NEED_AVX = 1 << 3,
    FP_NEED_MATH = 1 << 4, /* MXCSR matters */
};
/* cpu->fp_ready, and bits 0 to 7 of Op.extra: the combinations that there are. */
enum {
    FP_READY_X87 = 1 << 0,
    FP_READY_MMX = 1 << 1,
    FP_READY_SSE = 1 << 2,
    FP_READY_SSE_MATH = 1 << 3,
    FP_READY_MMX_SSE = 1 << 4,
    FP_READY_MMX_MATH = 1 << 5,
    FP_READY_AVX = 1 << 6,
    FP_READY_AVX_MATH = 1 << 7,
};
/* Op.extra */
enum {
    FP_ALIGN_SHIFT = 8, /* bits of a linear address that must be clear, or #GP */
    FP_NEED_SHIFT = 16,
    FP_STORE = 1 << 24,
    FP_NO_MEMORY = 1 << 25,
};

/* The XSAVE area (SDM vol. 1, 13.4). */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_ST = 32,
    FX_XMM = 160,
    FX_SIZE = 512,
    XSAVE_BV = 512,
    XSAVE_COMP_BV = 520,
    XSAVE_YMM = 576,
    XSAVE_SIZE = 832,
};
enum { XSTATE_X87 = 1, XSTATE_SSE = 2, XSTATE_AVX = 4, XSTATE_ALL = 7 };

enum {
    FCW_MASKS = 0x3f,
    FCW_DEFAULT = 0x37f,
    FSW_FLAGS = 0x3f,
    FSW_ES = 1 << 7,
    FSW_B = 1 << 15,
    FSW_TOP_SHIFT = 11,
};
enum {
    MXCSR_FLAGS = 0x3f,
    MXCSR_MASKS = 0x1f80,
    MXCSR_MASK_SHIFT = 7,
    MXCSR_FTZ = 1 << 15,
    MXCSR_VALID = 0xffff,
    MXCSR_DEFAULT = 0x1f80,
};

static inline uint16_t fpu_fcw(const Cpu *cpu)
{
    return ld16_le(cpu->xsave + FX_FCW);
}
static inline uint32_t fpu_mxcsr(const Cpu *cpu)
{
    return ld32_le(cpu->xsave + FX_MXCSR);
}

/* ---- fpu_arena.c: executable memory ---- */
typedef struct FpuArena FpuArena;
/* NULL: the host forbids it. */
FpuArena *arena_new(void);
void arena_free(FpuArena *arena);
/* Forgets all code. */
void arena_clear(FpuArena *arena);
/* The address of such code in the arena, put there if need be; NULL: full. */
const uint8_t *arena_code(FpuArena *arena, const uint8_t *code, unsigned length);

/* ---- fpu_stub.c ---- */
enum { STUB_MAX = 256 };
typedef struct StubCode {
    uint8_t bytes[STUB_MAX];
    unsigned length;
    unsigned body; /* where the code begins that does not look at fp_ready */
} StubCode;
/* Generates the code for an instruction.  Without memory operand it begins with a look at fp_ready
 * for the bit ready, going to fpu_register_slow(). */
void stub_generate(const Insn *insn, uint8_t ready, StubCode *code);
typedef const Op *StubFn(Cpu *cpu, const Op *op, void *host);

/* ---- fpu.c ---- */
struct FpuCache {
    FpuArena *arena;
    bool no_arena; /* could not be had */
    bool has[ZYDIS_ISA_SET_MAX_VALUE + 1];
    bool heeds_errors;   /* when x87 was made live */
    uint32_t host_mxcsr; /* while FP_LIVE_MXCSR */
    uint64_t supported_xcr0;
    /* A Cpu up to its TLB: where fpu_careful() runs stubs. */
    Cpu *scratch;
};

/* Faults unless such instructions may be used now; makes live what they need. */
void fpu_prepare(Cpu *cpu, const Op *op, unsigned need);
/* Only the checks of CR0, CR4, XCR0. */
void fpu_check(Cpu *cpu, const Op *op, unsigned need);
/* cpu->xsave becomes true in full; what is live stays so. */
void fpu_sync(Cpu *cpu);
/* As fpu_sync(), and x87 (MXCSR) is in cpu->xsave only, to be changed there. */
void fpu_take_x87(Cpu *cpu);
void fpu_take_mxcsr(Cpu *cpu);
/* The status word as the guest sees it. */
uint16_t fpu_status(Cpu *cpu);
/* FSW.ES and B follow from the flags and the control word: after both were put into cpu->xsave. */
void fpu_normalise_status(Cpu *cpu);
/* A waiting instruction finds FSW.ES set: #MF; or FERR# and stop until an interrupt.  Returns if
 * the error is to be ignored. */
void fpu_raise_error(Cpu *cpu, const Op *op);
/* FSW.ES may have been cleared. */
void fpu_errors_changed(Cpu *cpu);
/* Recomputes cpu->fp_ready. */
void fpu_update_ready(Cpu *cpu);
/* Loads the host's control word and sees whether that makes an exception pending. */
void fpu_load_control(Cpu *cpu, uint16_t control);
/* Runs op's stub and returns here. */
void fpu_run_stub(Cpu *cpu, const Op *op, void *host);
/* The handler of an instruction with a memory operand and a stub. */
OpFn *fpu_access(EaForm form, bool store, bool x87);
OpFn fpu_register_slow, fpu_full;

/* ---- fpu_x87.c: control instructions ---- */
OpFn x87_fninit, x87_fnclex, x87_fnstcw, x87_fnstsw, x87_fnstsw_ax, x87_fldcw, x87_fnstenv,
    x87_fldenv, x87_fnsave, x87_frstor, x87_fwait, x87_nop, x87_emms;

/* ---- fpu_save.c ---- */
OpFn fpu_fxsave, fpu_fxrstor, fpu_xsave, fpu_xsaveopt, fpu_xsavec, fpu_xrstor, fpu_ldmxcsr,
    fpu_stmxcsr;

/* Components beyond AVX: which are in use, and those that are present in a state into the CPU. */
uint64_t fpu_others_in_use(const Cpu *cpu);
void fpu_set_others(Cpu *cpu, const CpuState *state, uint64_t present);

/* ---- fpu_mask.c: accesses whose elements are done or not by a mask ---- */
OpFn fpu_gather, fpu_maskmov, fpu_vmaskmov, fpu_vzeroupper, fpu_vzeroall;
/* Op.imm of a gather. */
typedef struct GatherForm {
    uint8_t destination, mask, index;
    uint8_t element, index_size; /* in bytes */
    uint8_t count, length;       /* elements; bytes of the destination that are not cleared */
} GatherForm;

static inline uint8_t *fpu_xmm(Cpu *cpu, unsigned n)
{
    return cpu->xsave + FX_XMM + 16 * n;
}
static inline uint8_t *fpu_ymm_high(Cpu *cpu, unsigned n)
{
    return cpu->xsave + XSAVE_YMM + 16 * n;
}

#endif
