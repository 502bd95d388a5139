/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running FP and SIMD instructions on the host: which may run, whose state is where, exceptions
 * (Intel SDM vol. 1, ch. 8 and 11; vol. 3, 2.5 and ch. 14).
 */
#include "fpu.h"

/* ---- What of the guest's state is in the host's CPU ---- */

/* An image for FXSAVE and FXRSTOR. */
typedef struct FxImage {
    uint8_t bytes[FX_SIZE] __attribute__((aligned(16)));
} FxImage;

#define XMM_CLOBBERS                                                                               \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static inline uint32_t host_mxcsr(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}
static inline void set_host_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" : : "m"(value) : "memory");
}
static inline uint16_t host_status(void)
{
    uint16_t value;
    __asm__ volatile("fnstsw %0" : "=a"(value));
    return value;
}

/* Errors that are to be ignored, as IGNNE# has it while CR0.NE is clear, are all masked in the
 * host.
 */
static inline bool heeds_errors(const Cpu *cpu)
{
    return cpu->cr0 & CR0_NE || (cpu->bus.ferr && !cpu->ignne);
}

static uint16_t with_summary(const Cpu *cpu, uint16_t status)
{
    status &= (uint16_t) ~(FSW_ES | FSW_B);
    if (status & ~fpu_fcw(cpu) & FSW_FLAGS)
        status |= FSW_ES | FSW_B;
    return status;
}

void fpu_normalise_status(Cpu *cpu)
{
    st16_le(cpu->xsave + FX_FSW, with_summary(cpu, ld16_le(cpu->xsave + FX_FSW)));
}

/* The host's x87 state into cpu->xsave. */
static void copy_x87_out(Cpu *cpu)
{
    FxImage image;
    __asm__ volatile("fxsave64 %0" : "=m"(image));
    st16_le(cpu->xsave + FX_FSW, with_summary(cpu, ld16_le(image.bytes + FX_FSW)));
    cpu->xsave[FX_FTW] = image.bytes[FX_FTW];
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->xsave + FX_ST + 16 * i, image.bytes + FX_ST + 16 * i, 10);
}

/* Makes x87 live; false if that would be with an exception pending. */
static bool load_x87(Cpu *cpu)
{
    FxImage image = {{0}};
    fpu_normalise_status(cpu);
    uint16_t fcw = fpu_fcw(cpu), fsw = ld16_le(cpu->xsave + FX_FSW);
    if (heeds_errors(cpu) && (fsw & FSW_ES))
        return false;
    st16_le(image.bytes + FX_FCW, heeds_errors(cpu) ? fcw : fcw | FCW_MASKS);
    st16_le(image.bytes + FX_FSW, fsw & (uint16_t) ~(FSW_ES | FSW_B));
    image.bytes[FX_FTW] = cpu->xsave[FX_FTW];
    memcpy(image.bytes + FX_ST, cpu->xsave + FX_ST, 128);
    st32_le(image.bytes + FX_MXCSR, host_mxcsr());
    __asm__ volatile("fxrstor64 %0" : : "m"(image) : XMM_CLOBBERS);
    cpu->fp_live |= FP_LIVE_X87;
    cpu->fpu->heeds_errors = heeds_errors(cpu);
    return true;
}

static void drop_x87(Cpu *cpu)
{
    __asm__ volatile("fninit");
    cpu->fp_live &= (uint8_t)~FP_LIVE_X87;
}

void fpu_take_x87(Cpu *cpu)
{
    if (!(cpu->fp_live & FP_LIVE_X87))
        return;
    copy_x87_out(cpu);
    drop_x87(cpu);
    fpu_update_ready(cpu);
}

static void copy_mxcsr_out(Cpu *cpu)
{
    st32_le(cpu->xsave + FX_MXCSR, host_mxcsr());
}

void fpu_take_mxcsr(Cpu *cpu)
{
    if (!(cpu->fp_live & FP_LIVE_MXCSR))
        return;
    copy_mxcsr_out(cpu);
    set_host_mxcsr(cpu->fpu->host_mxcsr);
    cpu->fp_live &= (uint8_t)~FP_LIVE_MXCSR;
    fpu_update_ready(cpu);
}

void fpu_leave_slow(Cpu *cpu)
{
    fpu_take_x87(cpu);
    fpu_take_mxcsr(cpu);
}

static void copy_pointers_out(Cpu *cpu)
{
    st16_le(cpu->xsave + FX_FOP, cpu->fpu_opcode & 0x7ff);
    st64_le(cpu->xsave + FX_FIP, cpu->fpu_ip);
    st64_le(cpu->xsave + FX_FDP, cpu->fpu_dp);
}

void fpu_sync(Cpu *cpu)
{
    if (cpu->fp_live & FP_LIVE_X87)
        copy_x87_out(cpu);
    if (cpu->fp_live & FP_LIVE_MXCSR)
        copy_mxcsr_out(cpu);
    copy_pointers_out(cpu);
}

uint16_t fpu_status(Cpu *cpu)
{
    uint16_t status = cpu->fp_live & FP_LIVE_X87 ? host_status() : ld16_le(cpu->xsave + FX_FSW);
    return with_summary(cpu, status);
}

/* An instruction with unmasked exceptions has run: if one is pending, x87 is not live any more. */
static void notice_x87(Cpu *cpu)
{
    if (G_UNLIKELY(host_status() & FSW_ES)) {
        copy_x87_out(cpu);
        drop_x87(cpu);
        fpu_update_ready(cpu);
    }
}

void fpu_load_control(Cpu *cpu, uint16_t control)
{
    uint16_t loaded = heeds_errors(cpu) ? control : control | FCW_MASKS;
    __asm__ volatile("fldcw %1\n\tfnstcw %0" : "=m"(loaded) : "m"(loaded));
    st16_le(cpu->xsave + FX_FCW, (loaded & ~FCW_MASKS) | (control & FCW_MASKS));
    notice_x87(cpu);
    fpu_update_ready(cpu);
}

/* ---- Which instructions may run ---- */

void fpu_update_ready(Cpu *cpu)
{
    bool free = !(cpu->cr0 & CR0_TS);
    bool emulated = cpu->cr0 & CR0_EM;
    bool sse = (cpu->cr4 & CR4_OSFXSR) && !emulated;
    bool avx = (cpu->cr4 & CR4_OSXSAVE) && (cpu->xcr0 & 6) == 6;
    bool math = cpu->fp_live & FP_LIVE_MXCSR;
    bool x87 = (cpu->fp_live & FP_LIVE_X87) && !emulated;
    bool masked = !(~fpu_fcw(cpu) & FCW_MASKS) || !heeds_errors(cpu);
    cpu->fp_ready = 0;
    if (!free)
        return;
    cpu->fp_ready = (x87 && masked ? FP_READY_X87 : 0) | (x87 ? FP_READY_MMX : 0) |
                    (sse ? FP_READY_SSE : 0) | (sse && math ? FP_READY_SSE_MATH : 0) |
                    (sse && x87 ? FP_READY_MMX_SSE : 0) |
                    (sse && x87 && math ? FP_READY_MMX_MATH : 0) | (avx ? FP_READY_AVX : 0) |
                    (avx && math ? FP_READY_AVX_MATH : 0);
}

void fpu_check(Cpu *cpu, const Op *op, unsigned need)
{
    bool emulated = cpu->cr0 & CR0_EM;
    if ((need & FP_NEED_AVX) && (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6))
        cpu_fault(cpu, op, EXC_UD);
    if ((need & FP_NEED_SSE) && (emulated || !(cpu->cr4 & CR4_OSFXSR)))
        cpu_fault(cpu, op, EXC_UD);
    if ((need & FP_NEED_MMX) && emulated)
        cpu_fault(cpu, op, EXC_UD);
    if ((need & FP_NEED_X87) && emulated)
        cpu_fault(cpu, op, EXC_NM);
    if (cpu->cr0 & CR0_TS)
        cpu_fault(cpu, op, EXC_NM);
}

static bool masks_all(uint32_t mxcsr)
{
    return (mxcsr & MXCSR_MASKS) == MXCSR_MASKS;
}

void fpu_prepare(Cpu *cpu, const Op *op, unsigned need)
{
    fpu_check(cpu, op, need);
    fpu_errors_changed(cpu);
    if (cpu->fpu->heeds_errors != heeds_errors(cpu))
        fpu_take_x87(cpu); /* CR0.NE or IGNNE# was changed while it was live */
    if ((need & (FP_NEED_X87 | FP_NEED_MMX)) && !(cpu->fp_live & FP_LIVE_X87) && !load_x87(cpu)) {
        fpu_raise_error(cpu, op);
        load_x87(cpu); /* errors are ignored from here on */
    }
    if ((need & FP_NEED_MATH) && !(cpu->fp_live & FP_LIVE_MXCSR) && masks_all(fpu_mxcsr(cpu))) {
        cpu->fpu->host_mxcsr = host_mxcsr();
        set_host_mxcsr(fpu_mxcsr(cpu));
        cpu->fp_live |= FP_LIVE_MXCSR;
    }
    fpu_update_ready(cpu);
}

/* ---- FERR# and IGNNE# (SDM vol. 1, 8.7.2 and appendix D.2.1) ---- */

/* FERR# falls with the last error, and IGNNE# with it. */
static void lower_ferr(Cpu *cpu)
{
    fpu_leave(cpu);
    cpu->bus.ferr(cpu->vcpu, false);
    cpu->ferr = cpu->ignne = false;
}

static inline bool error_waits(Cpu *cpu)
{
    return (fpu_status(cpu) & FSW_ES) && !(cpu->cr0 & CR0_NE);
}

void fpu_errors_changed(Cpu *cpu)
{
    if (G_UNLIKELY(cpu->ferr) && !error_waits(cpu))
        lower_ferr(cpu);
}

void fpu_raise_error(Cpu *cpu, const Op *op)
{
    if (cpu->cr0 & CR0_NE)
        cpu_fault(cpu, op, EXC_MF);
    if (!cpu->bus.ferr || cpu->ignne)
        return;
    fpu_leave(cpu);
    cpu->ferr = true;
    cpu->ignne = cpu->bus.ferr(cpu->vcpu, true);
    if (!cpu->ignne)
        cpu_freeze(cpu, op);
}

static inline unsigned need_of(const Op *op)
{
    return op->extra >> FP_NEED_SHIFT & 0xff;
}

/* ---- Running a stub and coming back ---- */

static const Op *come_back(Cpu *cpu, const Op *op)
{
    return NULL;
}

void fpu_run_stub(Cpu *cpu, const Op *op, void *host)
{
    Op pair[2] = {*op, {.fn = come_back}};
    ((StubFn *)op->data)(cpu, pair, host);
}

/* Runs the stub on a copy of what it may change, under mxcsr; returns the flags that it raises. */
static uint32_t run_on_copy(Cpu *cpu, const Op *op, void *host, uint32_t mxcsr)
{
    Cpu *copy = cpu->fpu->scratch;
    uint32_t outside = host_mxcsr();
    memcpy(copy->gpr, cpu->gpr, sizeof(copy->gpr));
    memcpy(copy->xsave, cpu->xsave, XSAVE_SIZE);
    copy->flags = cpu->flags;
    set_host_mxcsr((mxcsr & ~(uint32_t)MXCSR_FLAGS) | MXCSR_MASKS);
    fpu_run_stub(copy, op, host);
    uint32_t flags = host_mxcsr() & MXCSR_FLAGS;
    set_host_mxcsr(outside);
    return flags;
}

/* x87 as it was before the stub, but in MMX mode, as the host leaves it after an exception. */
static void enter_mmx(Cpu *cpu)
{
    uint32_t unused;
    load_x87(cpu);
    __asm__ volatile("movd %%mm0, %0" : "=r"(unused));
}

/*
 * SDM vol. 1, 11.5.2: invalid, denormal and divide-by-zero are found before anything is computed;
 * if one of them is unmasked, the others are not looked for.  Unmasked underflow is any tiny
 * result, which flushing to zero shows even if it is exact.
 */
static void careful_math(Cpu *cpu, const Op *op, void *host)
{
    enum { BEFORE = 0x07, UNDERFLOW = 1 << 4 };
    uint32_t mxcsr = fpu_mxcsr(cpu);
    uint32_t unmasked = ~mxcsr >> MXCSR_MASK_SHIFT & MXCSR_FLAGS;
    bool mmx = need_of(op) & FP_NEED_MMX;
    if (mmx)
        copy_x87_out(cpu);
    uint32_t flags = run_on_copy(cpu, op, host, unmasked & UNDERFLOW ? mxcsr & ~MXCSR_FTZ : mxcsr);
    if ((unmasked & UNDERFLOW) && !(flags & BEFORE & unmasked) && !(flags & UNDERFLOW) && !mmx &&
        (run_on_copy(cpu, op, host, mxcsr | MXCSR_FTZ) & UNDERFLOW))
        flags |= UNDERFLOW;
    if (flags & BEFORE & unmasked)
        flags &= BEFORE;
    st32_le(cpu->xsave + FX_MXCSR, mxcsr | flags);
    if (flags & unmasked) {
        if (mmx)
            enter_mmx(cpu);
        cpu_fault(cpu, op, cpu->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
    }
    const Cpu *copy = cpu->fpu->scratch;
    memcpy(cpu->gpr, copy->gpr, sizeof(cpu->gpr));
    memcpy(cpu->xsave + FX_XMM, copy->xsave + FX_XMM, XSAVE_SIZE - FX_XMM);
    cpu->flags = copy->flags;
}

/* Runs op's stub, prepared, whichever exceptions are unmasked. */
static void run(Cpu *cpu, const Op *op, void *host)
{
    if (cpu->fp_ready & (uint8_t)op->extra) {
        fpu_run_stub(cpu, op, host);
    } else if (need_of(op) & FP_NEED_MATH) {
        careful_math(cpu, op, host);
    } else {
        fpu_run_stub(cpu, op, host);
        notice_x87(cpu);
    }
}

/* ---- Handlers ---- */

const Op *fpu_register_slow(Cpu *cpu, const Op *op)
{
    fpu_prepare(cpu, op, need_of(op));
    run(cpu, op, NULL);
    NEXT(cpu, op);
}

static uint64_t operand_linear(Cpu *cpu, const Op *op, Access access)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), op->size, access);
    if (G_UNLIKELY(linear & (op->extra >> FP_ALIGN_SHIFT & 0xff)))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return linear;
}

/* x87 instructions note where their operand is, once it cannot fault any more. */
static inline void note_operand(Cpu *cpu, const Op *op, uint64_t address)
{
    cpu->fpu_dp = address;
    cpu->fpu_ds = cpu->seg[op->seg].selector;
}

/* A load whose operand is not simply in RAM, or that is not known to be allowed. */
static __attribute__((noinline)) const Op *load_slow(Cpu *cpu, const Op *op)
{
    uint8_t buf[64] __attribute__((aligned(64)));
    fpu_prepare(cpu, op, need_of(op));
    uint64_t linear = operand_linear(cpu, op, ACCESS_READ);
    void *host = cpu_host(cpu, op, linear, op->size, ACCESS_READ);
    if (!host) {
        cpu_read_bytes(cpu, op, linear, buf, op->size);
        host = buf;
        /* A device may have been called. */
        fpu_prepare(cpu, op, need_of(op));
    }
    if (need_of(op) & FP_NEED_X87)
        note_operand(cpu, op, op_address(cpu, op));
    run(cpu, op, host);
    NEXT(cpu, op);
}

static __attribute__((noinline)) const Op *store_slow(Cpu *cpu, const Op *op)
{
    enum { UNTOUCHED = 0xa5 };
    uint8_t buf[64] __attribute__((aligned(64)));
    fpu_prepare(cpu, op, need_of(op));
    uint64_t linear = operand_linear(cpu, op, ACCESS_WRITE);
    void *host = cpu_host(cpu, op, linear, op->size, ACCESS_WRITE);
    if (need_of(op) & FP_NEED_X87)
        note_operand(cpu, op, op_address(cpu, op));
    /* An SSE exception keeps the store from being made, so it cannot be made at once. */
    if (host && (!(need_of(op) & FP_NEED_MATH) || cpu->fp_live & FP_LIVE_MXCSR)) {
        run(cpu, op, host);
        cpu_host_done(cpu);
        NEXT(cpu, op);
    }
    memset(buf, UNTOUCHED, sizeof(buf));
    run(cpu, op, buf);
    /* An unmasked x87 exception may have kept the store from being made. */
    bool made = !(need_of(op) & FP_NEED_X87) || cpu->fp_live & FP_LIVE_X87;
    for (unsigned i = 0; i < op->size && !made; i++)
        made = buf[i] != UNTOUCHED;
    if (made)
        cpu_write_bytes(cpu, op, linear, buf, op->size);
    NEXT(cpu, op);
}

/* An operand in RAM goes straight to the stub; without a call, but for segments that are not flat.
 */
ALWAYS_INLINE const Op *access_operand(Cpu *cpu, const Op *op, EaForm form, Access access, bool x87)
{
    OpFn *slow = access == ACCESS_WRITE ? store_slow : load_slow;
    if (G_UNLIKELY(!(cpu->fp_ready & (uint8_t)op->extra)))
        return slow(cpu, op);
    uint64_t linear = op_linear(cpu, op, form, op->size, access);
    const TlbEntry *entry = cpu_tlb(cpu, linear);
    if (G_UNLIKELY(linear & (op->extra >> FP_ALIGN_SHIFT & 0xff)) ||
        !tlb_hit(access == ACCESS_WRITE ? entry->write : entry->read, linear, op->size))
        return slow(cpu, op);
    if (x87)
        note_operand(cpu, op, form == EA_ANY ? op_address(cpu, op) : linear);
    return ((StubFn *)op->data)(cpu, op, (void *)(linear + entry->delta));
}

#define ACCESS_HANDLER(form, access, x87)                                                          \
    static const Op *access_##form##_##access##_##x87(Cpu *cpu, const Op *op)                      \
    {                                                                                              \
        return access_operand(cpu, op, form, access, x87);                                         \
    }
#define ACCESS_HANDLERS(form)                                                                      \
    ACCESS_HANDLER(form, ACCESS_READ, 0)                                                           \
    ACCESS_HANDLER(form, ACCESS_READ, 1)                                                           \
    ACCESS_HANDLER(form, ACCESS_WRITE, 0)                                                          \
    ACCESS_HANDLER(form, ACCESS_WRITE, 1)
ACCESS_HANDLERS(EA_BASE)
ACCESS_HANDLERS(EA_FULL)
ACCESS_HANDLERS(EA_32)
ACCESS_HANDLERS(EA_ANY)

OpFn *fpu_access(EaForm form, bool store, bool x87)
{
#define ROW(form)                                                                                  \
    [form] = {                                                                                     \
        {access_##form##_ACCESS_READ_0, access_##form##_ACCESS_READ_1},                            \
        {access_##form##_ACCESS_WRITE_0, access_##form##_ACCESS_WRITE_1}                           \
    }
    static OpFn *const handlers[EA_FORMS][2][2] = {ROW(EA_BASE), ROW(EA_FULL), ROW(EA_32),
                                                   ROW(EA_ANY)};
#undef ROW
    return handlers[form][store][x87];
}

/* The arena has no room for this instruction's stub: start anew.  Nobody runs a stub now, and no
 * Op that names one survives. */
const Op *fpu_full(Cpu *cpu, const Op *op)
{
    cpu->rip = op_rip(cpu, op);
    cpu_blocks_flush(cpu);
    arena_clear(cpu->fpu->arena);
    LEAVE(cpu);
}

/* ---- The state as a whole ---- */

void fpu_reset(Cpu *cpu)
{
    fpu_leave(cpu);
    cpu->ferr = cpu->ignne = false;
    memset(cpu->xsave, 0, sizeof(cpu->xsave));
    st16_le(cpu->xsave + FX_FCW, 0x40);
    cpu->xsave[FX_FTW] = 0xff;
    st32_le(cpu->xsave + FX_MXCSR, MXCSR_DEFAULT);
    cpu->fpu_opcode = cpu->fpu_cs = cpu->fpu_ds = 0;
    cpu->fpu_ip = cpu->fpu_dp = 0;
    cpu->fp_ready = 0;
}

void fpu_get_state(Cpu *cpu, CpuState *state)
{
    fpu_sync(cpu);
    memcpy(state->xsave, cpu->xsave, sizeof(state->xsave));
    st32_le(state->xsave + FX_MXCSR_MASK, MXCSR_VALID);
    memset(state->xsave + FX_SIZE, 0, 64);
    uint64_t others = fpu_others_in_use(cpu);
    st64_le(state->xsave + XSAVE_BV, cpu->fpu->supported_xcr0 | XSTATE_X87 | XSTATE_SSE | others);
    state->xsave_size = others ? CPU_XSAVE_MAX : XSAVE_SIZE;
}

void fpu_set_state(Cpu *cpu, const CpuState *state)
{
    unsigned size = MIN(state->xsave_size, (unsigned)sizeof(cpu->xsave));
    fpu_leave(cpu);
    fpu_reset(cpu);
    memcpy(cpu->xsave, state->xsave, MIN(size, (unsigned)FX_SIZE));
    uint64_t present = size >= FX_SIZE + 64 ? ld64_le(state->xsave + XSAVE_BV) : XSTATE_ALL;
    if (!(present & XSTATE_X87)) {
        memset(cpu->xsave, 0, FX_MXCSR);
        memset(cpu->xsave + FX_ST, 0, FX_XMM - FX_ST);
        st16_le(cpu->xsave + FX_FCW, FCW_DEFAULT);
    }
    if (!(present & XSTATE_SSE))
        memset(cpu->xsave + FX_XMM, 0, 256);
    if ((present & XSTATE_AVX) && size >= XSAVE_SIZE)
        memcpy(cpu->xsave + XSAVE_YMM, state->xsave + XSAVE_YMM, 256);
    fpu_set_others(cpu, state, present & cpu->xcr0);
    st32_le(cpu->xsave + FX_MXCSR, fpu_mxcsr(cpu) & MXCSR_VALID);
    fpu_normalise_status(cpu);
    cpu->fpu_opcode = ld16_le(cpu->xsave + FX_FOP);
    cpu->fpu_ip = ld64_le(cpu->xsave + FX_FIP);
    cpu->fpu_dp = ld64_le(cpu->xsave + FX_FDP);
}
