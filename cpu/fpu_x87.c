/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x87 control instructions: control and status word, environments, EMMS, WAIT (Intel SDM vol. 1,
 * 8.1 and 8.3.11).
 */
#include "fpu.h"

enum { ENV16 = 14, ENV32 = 28, REGISTERS = 80, FOP_MASK = 0x7ff };

/* Those that begin with FN: pending exceptions do not matter. */
static void check_no_wait(Cpu *cpu, const Op *op)
{
    fpu_check(cpu, op, FP_NEED_X87);
}

/* ---- The stack's registers are kept relative to TOP ---- */

static unsigned top_of(uint16_t status)
{
    return status >> FSW_TOP_SHIFT & 7;
}

/* Sets the status word in cpu->xsave, the registers staying where they are. */
static void set_status(Cpu *cpu, uint16_t status)
{
    uint8_t old[128];
    unsigned shift = (top_of(status) - top_of(ld16_le(cpu->xsave + FX_FSW))) & 7;
    memcpy(old, cpu->xsave + FX_ST, sizeof(old));
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->xsave + FX_ST + 16 * i, old + 16 * ((i + shift) & 7), 16);
    st16_le(cpu->xsave + FX_FSW, status);
}

/* ---- Tag words ---- */

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned tag_of(const uint8_t *reg)
{
    unsigned exponent = ld16_le(reg + 8) & 0x7fff;
    uint64_t mantissa = ld64_le(reg);
    if (exponent == 0)
        return mantissa ? TAG_SPECIAL : TAG_ZERO;
    return exponent == 0x7fff || !(mantissa >> 63) ? TAG_SPECIAL : TAG_VALID;
}

static uint16_t full_tags(const Cpu *cpu)
{
    unsigned top = top_of(ld16_le(cpu->xsave + FX_FSW));
    unsigned tags = 0;
    for (unsigned physical = 0; physical < 8; physical++) {
        unsigned i = (physical - top) & 7;
        unsigned tag = cpu->xsave[FX_FTW] >> physical & 1 ? tag_of(cpu->xsave + FX_ST + 16 * i)
                                                          : (unsigned)TAG_EMPTY;
        tags |= tag << 2 * physical;
    }
    return (uint16_t)tags;
}

static uint8_t short_tags(uint16_t tags)
{
    uint8_t used = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> 2 * i & 3) != TAG_EMPTY)
            used |= (uint8_t)(1 << i);
    return used;
}

/* ---- Environments: 16 or 32 bits, real or protected mode ---- */

static bool real_format(const Cpu *cpu)
{
    return !(cpu->mode & MODE_PROTECTED) || (cpu->mode & MODE_VM86);
}

static void write_environment(const Cpu *cpu, uint8_t *to, unsigned size)
{
    unsigned width = size == ENV16 ? 2 : 4;
    uint32_t ip = (uint32_t)cpu->fpu_ip, dp = (uint32_t)cpu->fpu_dp;
    uint32_t opcode = cpu->fpu_opcode & FOP_MASK;
    uint32_t field[7] = {fpu_fcw(cpu), ld16_le(cpu->xsave + FX_FSW), full_tags(cpu)};
    if (!real_format(cpu)) {
        field[3] = ip;
        field[4] = cpu->fpu_cs | opcode << 16;
        field[5] = dp;
        field[6] = cpu->fpu_ds;
    } else {
        ip += cpu->fpu_cs << 4;
        dp += cpu->fpu_ds << 4;
        field[3] = ip & 0xffff;
        field[4] = width == 2 ? (ip >> 4 & 0xf000) | opcode : (ip >> 4 & 0xffff000) | opcode;
        field[5] = dp & 0xffff;
        field[6] = width == 2 ? dp >> 4 & 0xf000 : dp >> 4 & 0xffff000;
    }
    for (unsigned i = 0; i < 7; i++) {
        /* Unused upper halves read as ones. */
        bool half = i < 3 || i == 6 || (real_format(cpu) && (i == 3 || i == 5));
        if (width == 4 && half && !(real_format(cpu) && i == 6))
            field[i] |= 0xffff0000;
        stn_le(to + i * width, width, field[i]);
    }
}

static void read_environment(Cpu *cpu, const uint8_t *from, unsigned size)
{
    unsigned width = size == ENV16 ? 2 : 4;
    uint32_t field[7];
    for (unsigned i = 0; i < 7; i++)
        field[i] = (uint32_t)ldn_le(from + i * width, width);
    fpu_take_x87(cpu);
    st16_le(cpu->xsave + FX_FCW, (field[0] & 0x1f3f) | 0x40);
    set_status(cpu, (uint16_t)field[1]);
    fpu_normalise_status(cpu);
    cpu->xsave[FX_FTW] = short_tags((uint16_t)field[2]);
    if (!real_format(cpu)) {
        cpu->fpu_ip = field[3];
        cpu->fpu_cs = (uint16_t)field[4];
        cpu->fpu_opcode = width == 4 ? field[4] >> 16 & FOP_MASK : 0;
        cpu->fpu_dp = field[5];
        cpu->fpu_ds = (uint16_t)field[6];
    } else {
        cpu->fpu_ip = (field[3] & 0xffff) | (uint64_t)(field[4] & 0xffff000 & ~0xfffu) << 4;
        cpu->fpu_opcode = field[4] & FOP_MASK;
        cpu->fpu_dp = (field[5] & 0xffff) | (uint64_t)(field[6] & 0xffff000) << 4;
        cpu->fpu_cs = cpu->fpu_ds = 0;
    }
    fpu_errors_changed(cpu);
    fpu_update_ready(cpu);
}

static void initialise(Cpu *cpu)
{
    fpu_take_x87(cpu);
    set_status(cpu, 0);
    st16_le(cpu->xsave + FX_FCW, FCW_DEFAULT);
    cpu->xsave[FX_FTW] = 0;
    cpu->fpu_ip = cpu->fpu_dp = 0;
    cpu->fpu_opcode = cpu->fpu_cs = cpu->fpu_ds = 0;
    fpu_errors_changed(cpu);
    fpu_update_ready(cpu);
}

/* ---- The instructions ---- */

static uint64_t operand(Cpu *cpu, const Op *op, Access access)
{
    return cpu_linear(cpu, op, op_address(cpu, op), op->size, access);
}

const Op *x87_fninit(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    initialise(cpu);
    NEXT(cpu, op);
}

const Op *x87_fnclex(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    if (cpu->fp_live & FP_LIVE_X87)
        __asm__ volatile("fnclex");
    else
        st16_le(cpu->xsave + FX_FSW, ld16_le(cpu->xsave + FX_FSW) & 0x7f00);
    fpu_errors_changed(cpu);
    NEXT(cpu, op);
}

const Op *x87_fnstcw(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    cpu_store16(cpu, op, operand(cpu, op, ACCESS_WRITE), fpu_fcw(cpu));
    NEXT(cpu, op);
}

const Op *x87_fnstsw(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    cpu_store16(cpu, op, operand(cpu, op, ACCESS_WRITE), fpu_status(cpu));
    NEXT(cpu, op);
}

const Op *x87_fnstsw_ax(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    cpu->gpr[GPR_RAX] = (cpu->gpr[GPR_RAX] & ~0xffffull) | fpu_status(cpu);
    NEXT(cpu, op);
}

const Op *x87_fldcw(Cpu *cpu, const Op *op)
{
    fpu_prepare(cpu, op, FP_NEED_X87);
    uint16_t control = cpu_load16(cpu, op, operand(cpu, op, ACCESS_READ));
    fpu_prepare(cpu, op, FP_NEED_X87); /* a device may have been called */
    fpu_load_control(cpu, control);
    NEXT(cpu, op);
}

const Op *x87_fnstenv(Cpu *cpu, const Op *op)
{
    uint8_t buf[ENV32];
    check_no_wait(cpu, op);
    fpu_take_x87(cpu);
    write_environment(cpu, buf, op->size);
    cpu_write_bytes(cpu, op, operand(cpu, op, ACCESS_WRITE), buf, op->size);
    st16_le(cpu->xsave + FX_FCW, fpu_fcw(cpu) | FCW_MASKS);
    fpu_normalise_status(cpu);
    fpu_errors_changed(cpu);
    fpu_update_ready(cpu);
    NEXT(cpu, op);
}

const Op *x87_fldenv(Cpu *cpu, const Op *op)
{
    uint8_t buf[ENV32];
    fpu_prepare(cpu, op, FP_NEED_X87);
    cpu_read_bytes(cpu, op, operand(cpu, op, ACCESS_READ), buf, op->size);
    read_environment(cpu, buf, op->size);
    NEXT(cpu, op);
}

const Op *x87_fnsave(Cpu *cpu, const Op *op)
{
    uint8_t buf[ENV32 + REGISTERS];
    unsigned env = op->size - REGISTERS;
    check_no_wait(cpu, op);
    fpu_take_x87(cpu);
    write_environment(cpu, buf, env);
    for (unsigned i = 0; i < 8; i++)
        memcpy(buf + env + 10 * i, cpu->xsave + FX_ST + 16 * i, 10);
    cpu_write_bytes(cpu, op, operand(cpu, op, ACCESS_WRITE), buf, op->size);
    initialise(cpu);
    NEXT(cpu, op);
}

const Op *x87_frstor(Cpu *cpu, const Op *op)
{
    uint8_t buf[ENV32 + REGISTERS];
    unsigned env = op->size - REGISTERS;
    fpu_prepare(cpu, op, FP_NEED_X87);
    cpu_read_bytes(cpu, op, operand(cpu, op, ACCESS_READ), buf, op->size);
    read_environment(cpu, buf, env);
    memset(cpu->xsave + FX_ST, 0, 128);
    for (unsigned i = 0; i < 8; i++)
        memcpy(cpu->xsave + FX_ST + 16 * i, buf + env + 10 * i, 10);
    NEXT(cpu, op);
}

const Op *x87_fwait(Cpu *cpu, const Op *op)
{
    if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        cpu_fault(cpu, op, EXC_NM);
    fpu_errors_changed(cpu);
    if (fpu_status(cpu) & FSW_ES)
        fpu_raise_error(cpu, op);
    NEXT(cpu, op);
}

/* FENI, FDISI, FSETPM: of the 8087 and 80287, without effect since. */
const Op *x87_nop(Cpu *cpu, const Op *op)
{
    check_no_wait(cpu, op);
    NEXT(cpu, op);
}

const Op *x87_emms(Cpu *cpu, const Op *op)
{
    fpu_prepare(cpu, op, FP_NEED_MMX);
    __asm__ volatile("emms");
    NEXT(cpu, op);
}
