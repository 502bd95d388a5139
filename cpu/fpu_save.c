/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FXSAVE, XSAVE and their kin (Intel SDM vol. 1, 10.5 and ch. 13), LDMXCSR, STMXCSR.
 *
 * Components beyond AVX (AVX-512's registers) no instruction of the interpreter changes; but KVM's
 * guests may have them, and a rescue has to save and restore them as they are.
 */
#include <cpuid.h>

#include "fpu.h"

enum {
    FX_RESERVED = 416, /* from here on FXSAVE's area is nobody's */
    HEADER_SIZE = 64,
    REX_WIDE = 1, /* Op.imm: pointers of 64 bits */
};
#define COMPACTED (1ull << 63)

/* Registers that there are in this mode. */
static unsigned registers(const Cpu *cpu)
{
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? 16 : 8;
}

/* ---- FXSAVE's image ---- */

static void write_x87(const Cpu *cpu, const Op *op, uint8_t *to)
{
    st16_le(to + FX_FCW, fpu_fcw(cpu));
    st16_le(to + FX_FSW, ld16_le(cpu->xsave + FX_FSW));
    st16_le(to + FX_FTW, cpu->xsave[FX_FTW]);
    st16_le(to + FX_FOP, cpu->fpu_opcode & 0x7ff);
    if (op->imm & REX_WIDE) {
        st64_le(to + FX_FIP, cpu->fpu_ip);
        st64_le(to + FX_FDP, cpu->fpu_dp);
    } else {
        st64_le(to + FX_FIP, (uint32_t)cpu->fpu_ip | (uint64_t)cpu->fpu_cs << 32);
        st64_le(to + FX_FDP, (uint32_t)cpu->fpu_dp | (uint64_t)cpu->fpu_ds << 32);
    }
    memcpy(to + FX_ST, cpu->xsave + FX_ST, 128);
}

static void read_x87(Cpu *cpu, const Op *op, const uint8_t *from)
{
    bool wide = op->imm & REX_WIDE;
    fpu_take_x87(cpu);
    st16_le(cpu->xsave + FX_FCW, (ld16_le(from + FX_FCW) & 0x1f3f) | 0x40);
    st16_le(cpu->xsave + FX_FSW, ld16_le(from + FX_FSW));
    fpu_normalise_status(cpu);
    cpu->xsave[FX_FTW] = from[FX_FTW];
    cpu->fpu_opcode = ld16_le(from + FX_FOP) & 0x7ff;
    cpu->fpu_ip = wide ? ld64_le(from + FX_FIP) : ld32_le(from + FX_FIP);
    cpu->fpu_dp = wide ? ld64_le(from + FX_FDP) : ld32_le(from + FX_FDP);
    cpu->fpu_cs = wide ? 0 : ld16_le(from + FX_FIP + 4);
    cpu->fpu_ds = wide ? 0 : ld16_le(from + FX_FDP + 4);
    memset(cpu->xsave + FX_ST, 0, 128);
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->xsave + FX_ST + 16 * i, from + FX_ST + 16 * i, 10);
    fpu_errors_changed(cpu);
    fpu_update_ready(cpu);
}

static void reset_x87(Cpu *cpu)
{
    fpu_take_x87(cpu);
    memset(cpu->xsave, 0, FX_MXCSR);
    memset(cpu->xsave + FX_ST, 0, 128);
    st16_le(cpu->xsave + FX_FCW, FCW_DEFAULT);
    cpu->fpu_opcode = cpu->fpu_cs = cpu->fpu_ds = 0;
    cpu->fpu_ip = cpu->fpu_dp = 0;
    fpu_errors_changed(cpu);
    fpu_update_ready(cpu);
}

static void set_mxcsr(Cpu *cpu, uint32_t value)
{
    fpu_take_mxcsr(cpu);
    st32_le(cpu->xsave + FX_MXCSR, value);
}

static void check_mxcsr(Cpu *cpu, const Op *op, uint32_t value)
{
    if (value & ~(uint32_t)MXCSR_VALID)
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

static void write_mxcsr(const Cpu *cpu, uint8_t *to)
{
    st32_le(to + FX_MXCSR, fpu_mxcsr(cpu));
    st32_le(to + FX_MXCSR_MASK, MXCSR_VALID);
}

/* The operand of an instruction that wants it aligned. */
static uint64_t aligned(Cpu *cpu, const Op *op, unsigned size, unsigned alignment, Access access)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), size, access);
    if (linear & (alignment - 1))
        cpu_fault_code(cpu, op, EXC_GP, 0);
    return linear;
}

static void check_fxsave(Cpu *cpu, const Op *op)
{
    if (cpu->cr0 & (CR0_EM | CR0_TS))
        cpu_fault(cpu, op, EXC_NM);
}

const Op *fpu_fxsave(Cpu *cpu, const Op *op)
{
    uint8_t buf[FX_RESERVED] = {0};
    check_fxsave(cpu, op);
    uint64_t linear = aligned(cpu, op, FX_SIZE, 16, ACCESS_WRITE);
    unsigned length = FX_XMM + 16 * registers(cpu);
    fpu_sync(cpu);
    write_x87(cpu, op, buf);
    write_mxcsr(cpu, buf);
    memcpy(buf + FX_XMM, cpu->xsave + FX_XMM, length - FX_XMM);
    cpu_probe(cpu, op, linear, FX_SIZE, ACCESS_WRITE);
    cpu_write_bytes(cpu, op, linear, buf, length);
    NEXT(cpu, op);
}

const Op *fpu_fxrstor(Cpu *cpu, const Op *op)
{
    uint8_t buf[FX_SIZE];
    check_fxsave(cpu, op);
    uint64_t linear = aligned(cpu, op, FX_SIZE, 16, ACCESS_READ);
    cpu_read_bytes(cpu, op, linear, buf, FX_SIZE);
    check_mxcsr(cpu, op, ld32_le(buf + FX_MXCSR));
    read_x87(cpu, op, buf);
    set_mxcsr(cpu, ld32_le(buf + FX_MXCSR));
    memcpy(cpu->xsave + FX_XMM, buf + FX_XMM, 16 * registers(cpu));
    NEXT(cpu, op);
}

/* ---- XSAVE ---- */

static void check_xsave(Cpu *cpu, const Op *op)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        cpu_fault(cpu, op, EXC_UD);
    if (cpu->cr0 & CR0_TS)
        cpu_fault(cpu, op, EXC_NM);
}

static uint64_t requested(const Cpu *cpu)
{
    uint64_t mask = (uint32_t)cpu->gpr[GPR_RAX] | cpu->gpr[GPR_RDX] << 32;
    return mask & cpu->xcr0;
}

static bool all_zero(const uint8_t *p, unsigned length)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < length; i += 8)
        any |= ld64_le(p + i);
    return !any;
}

/* ---- Components beyond AVX: bytes of the area, whatever they mean ---- */

enum { FIRST_OTHER = 3, COMPONENTS = 63 };

/* Where a component stands in the standard format; size 0: not in an area of CPU_XSAVE_MAX. */
typedef struct Component {
    uint32_t offset, size;
    bool aligned; /* to 64 bytes in the compacted format */
} Component;

/* The host's layout, which KVM's guests have, too. */
static Component find_component(unsigned i)
{
    enum { LEAF = 0xd, ALIGNED = 2 };
    static const Component avx = {XSAVE_YMM, 256, false};
    uint32_t size = 0, offset = 0, flags = 0, unused;
    if (i == 2)
        return avx;
    if (__get_cpuid_max(0, NULL) >= LEAF)
        __cpuid_count(LEAF, i, size, offset, flags, unused);
    if (!size || offset < XSAVE_SIZE || (uint64_t)offset + size > CPU_XSAVE_MAX)
        return (Component){0};
    return (Component){offset, size, flags & ALIGNED};
}

static uint64_t others(uint64_t mask)
{
    return mask & ~(uint64_t)XSTATE_ALL & ~(1ull << COMPONENTS);
}

/* Where component i of an area that has those of format stands; 0: in the standard format. */
static uint32_t component_offset(uint64_t format, unsigned i)
{
    uint32_t offset = FX_SIZE + HEADER_SIZE;
    if (!format)
        return find_component(i).offset;
    for (unsigned n = 2; n <= i; n++) {
        Component component = format >> n & 1 ? find_component(n) : (Component){0};
        offset = component.aligned ? align_up(offset, 64) : offset;
        if (n < i)
            offset += component.size;
    }
    return offset;
}

uint64_t fpu_others_in_use(const Cpu *cpu)
{
    uint64_t used = 0;
    for (uint64_t left = others(cpu->xcr0); left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        Component component = find_component(i);
        if (!all_zero(cpu->xsave + component.offset, component.size))
            used |= 1ull << i;
    }
    return used;
}

void fpu_set_others(Cpu *cpu, const CpuState *state, uint64_t present)
{
    for (uint64_t left = others(present); left; left &= left - 1) {
        Component component = find_component((unsigned)__builtin_ctzll(left));
        if (component.offset + component.size <= state->xsave_size)
            memcpy(cpu->xsave + component.offset, state->xsave + component.offset, component.size);
    }
}

static void save_others(Cpu *cpu, const Op *op, uint64_t linear, uint64_t mask, uint64_t format)
{
    for (uint64_t left = others(mask); left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        Component component = find_component(i);
        cpu_write_bytes(cpu, op, linear + component_offset(format, i),
                        cpu->xsave + component.offset, component.size);
    }
}

/* Into area, in the standard format: zeros where a component is not present. */
static void load_others(Cpu *cpu, const Op *op, uint64_t linear, uint64_t mask, uint64_t present,
                        uint64_t format, uint8_t *area)
{
    for (uint64_t left = others(mask); left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        Component component = find_component(i);
        if (present >> i & 1)
            cpu_read_bytes(cpu, op, linear + component_offset(format, i), area + component.offset,
                           component.size);
        else
            memset(area + component.offset, 0, component.size);
    }
}

static void take_others(Cpu *cpu, uint64_t mask, const uint8_t *area)
{
    for (uint64_t left = others(mask); left; left &= left - 1) {
        Component component = find_component((unsigned)__builtin_ctzll(left));
        memcpy(cpu->xsave + component.offset, area + component.offset, component.size);
    }
}

/* ---- XSAVE's area ---- */

/* Which components are not as they are initially (XINUSE). */
static uint64_t in_use(const Cpu *cpu)
{
    const uint8_t *area = cpu->xsave;
    uint64_t used = 0;
    if (fpu_fcw(cpu) != FCW_DEFAULT || ld16_le(area + FX_FSW) || area[FX_FTW] ||
        !all_zero(area + FX_ST, 128) || cpu->fpu_ip || cpu->fpu_dp || cpu->fpu_opcode)
        used |= XSTATE_X87;
    if (!all_zero(area + FX_XMM, 256))
        used |= XSTATE_SSE;
    if (!all_zero(area + XSAVE_YMM, 256))
        used |= XSTATE_AVX;
    return used | fpu_others_in_use(cpu);
}

/* Of an area with these components; format: as in component_offset(). */
static unsigned area_size(uint64_t components, uint64_t format)
{
    unsigned size = FX_SIZE + HEADER_SIZE;
    for (uint64_t left = components >> 2 << 2; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        size = MAX(size, component_offset(format, i) + find_component(i).size);
    }
    return size;
}

/* Puts the components of mask into the guest's area; mxcsr: that and its mask as well. */
static void save_components(Cpu *cpu, const Op *op, uint64_t linear, uint64_t mask, uint64_t format,
                            bool mxcsr)
{
    uint8_t buf[FX_RESERVED];
    if (mask & XSTATE_X87) {
        memset(buf, 0, sizeof(buf));
        write_x87(cpu, op, buf);
        cpu_write_bytes(cpu, op, linear, buf, FX_MXCSR);
        cpu_write_bytes(cpu, op, linear + FX_ST, buf + FX_ST, 128);
    }
    if (mxcsr) {
        write_mxcsr(cpu, buf);
        cpu_write_bytes(cpu, op, linear + FX_MXCSR, buf + FX_MXCSR, 8);
    }
    if (mask & XSTATE_SSE)
        cpu_write_bytes(cpu, op, linear + FX_XMM, cpu->xsave + FX_XMM, 16 * registers(cpu));
    if (mask & XSTATE_AVX)
        cpu_write_bytes(cpu, op, linear + XSAVE_YMM, cpu->xsave + XSAVE_YMM, 16 * registers(cpu));
    save_others(cpu, op, linear, mask, format);
}

static const Op *save_standard(Cpu *cpu, const Op *op, bool optimised)
{
    check_xsave(cpu, op);
    uint64_t mask = requested(cpu);
    unsigned size = area_size(mask, 0);
    uint64_t linear = aligned(cpu, op, size, 64, ACCESS_WRITE);
    cpu_probe(cpu, op, linear, size, ACCESS_WRITE);
    fpu_sync(cpu);
    uint64_t used = in_use(cpu);
    uint64_t old = cpu_load64(cpu, op, linear + XSAVE_BV);
    save_components(cpu, op, linear, optimised ? mask & used : mask, 0,
                    mask & (XSTATE_SSE | XSTATE_AVX));
    cpu_store64(cpu, op, linear + XSAVE_BV, (old & ~mask) | (mask & used));
    NEXT(cpu, op);
}

const Op *fpu_xsave(Cpu *cpu, const Op *op)
{
    return save_standard(cpu, op, false);
}

const Op *fpu_xsaveopt(Cpu *cpu, const Op *op)
{
    return save_standard(cpu, op, true);
}

const Op *fpu_xsavec(Cpu *cpu, const Op *op)
{
    uint8_t header[16];
    check_xsave(cpu, op);
    uint64_t mask = requested(cpu);
    unsigned size = area_size(mask, mask | COMPACTED);
    uint64_t linear = aligned(cpu, op, size, 64, ACCESS_WRITE);
    cpu_probe(cpu, op, linear, size, ACCESS_WRITE);
    fpu_sync(cpu);
    uint64_t used = in_use(cpu);
    if (fpu_mxcsr(cpu) != MXCSR_DEFAULT)
        used |= XSTATE_SSE;
    save_components(cpu, op, linear, mask & used, mask | COMPACTED, mask & used & XSTATE_SSE);
    st64_le(header, mask & used);
    st64_le(header + 8, mask | COMPACTED);
    cpu_write_bytes(cpu, op, linear + XSAVE_BV, header, sizeof(header));
    NEXT(cpu, op);
}

/* ---- XRSTOR ---- */

static void check_header(Cpu *cpu, const Op *op, const uint8_t *header)
{
    uint64_t present = ld64_le(header), format = ld64_le(header + 8);
    bool bad = present & ~cpu->xcr0;
    if (!(format & COMPACTED)) {
        bad |= format || ld64_le(header + 16);
    } else {
        bad |= (format & ~COMPACTED & ~cpu->xcr0) || (present & ~format) || !op->extra;
        bad |= !all_zero(header + 16, HEADER_SIZE - 16);
    }
    if (bad)
        cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* Op.extra: the compacted format is known. */
const Op *fpu_xrstor(Cpu *cpu, const Op *op)
{
    uint8_t area[CPU_XSAVE_MAX];
    check_xsave(cpu, op);
    uint64_t mask = requested(cpu);
    unsigned count = registers(cpu);
    uint64_t linear = aligned(cpu, op, FX_SIZE + HEADER_SIZE, 64, ACCESS_READ);
    cpu_read_bytes(cpu, op, linear, area, FX_SIZE + HEADER_SIZE);
    check_header(cpu, op, area + XSAVE_BV);
    uint64_t present = ld64_le(area + XSAVE_BV);
    uint64_t format = ld64_le(area + XSAVE_COMP_BV);
    bool compacted = format & COMPACTED;
    uint32_t mxcsr = ld32_le(area + FX_MXCSR);
    bool has_mxcsr = mask & (compacted ? XSTATE_SSE : XSTATE_SSE | XSTATE_AVX);
    if (compacted && !(present & XSTATE_SSE))
        mxcsr = MXCSR_DEFAULT;
    if (has_mxcsr)
        check_mxcsr(cpu, op, mxcsr);
    if (mask & present & XSTATE_AVX) {
        aligned(cpu, op, XSAVE_SIZE, 64, ACCESS_READ); /* the segment's limit */
        cpu_read_bytes(cpu, op, linear + XSAVE_YMM, area + XSAVE_YMM, XSAVE_SIZE - XSAVE_YMM);
    }
    load_others(cpu, op, linear, mask, present, format, area);
    if (mask & present & XSTATE_X87)
        read_x87(cpu, op, area);
    else if (mask & XSTATE_X87)
        reset_x87(cpu);
    if (has_mxcsr)
        set_mxcsr(cpu, mxcsr);
    if (!(present & XSTATE_SSE))
        memset(area + FX_XMM, 0, 256);
    if (!(present & XSTATE_AVX))
        memset(area + XSAVE_YMM, 0, XSAVE_SIZE - XSAVE_YMM);
    if (mask & XSTATE_SSE)
        memcpy(cpu->xsave + FX_XMM, area + FX_XMM, 16 * count);
    if (mask & XSTATE_AVX)
        memcpy(cpu->xsave + XSAVE_YMM, area + XSAVE_YMM, 16 * count);
    take_others(cpu, mask, area);
    NEXT(cpu, op);
}

/* ---- MXCSR ---- */

const Op *fpu_ldmxcsr(Cpu *cpu, const Op *op)
{
    fpu_check(cpu, op, op->extra >> FP_NEED_SHIFT & 0xff);
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 4, ACCESS_READ);
    uint32_t value = cpu_load32(cpu, op, linear);
    check_mxcsr(cpu, op, value);
    set_mxcsr(cpu, value);
    NEXT(cpu, op);
}

const Op *fpu_stmxcsr(Cpu *cpu, const Op *op)
{
    fpu_check(cpu, op, op->extra >> FP_NEED_SHIFT & 0xff);
    fpu_take_mxcsr(cpu);
    cpu_store32(cpu, op, cpu_linear(cpu, op, op_address(cpu, op), 4, ACCESS_WRITE), fpu_mxcsr(cpu));
    NEXT(cpu, op);
}
