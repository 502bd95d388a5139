/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conversions (CBW, CWD and kin), flag instructions, decimal arithmetic, NOP and PAUSE.
 * (Intel SDM vol. 2.)
 */
#include "op_common.h"

/* ---- Widening the accumulator ---- */

HANDLER(cbw)
{
    PUT_16(GPR_RAX, 0, (int8_t)cpu->gpr[GPR_RAX]);
    NEXT(cpu, op);
}
HANDLER(cwde)
{
    PUT_32(GPR_RAX, 0, (int16_t)cpu->gpr[GPR_RAX]);
    NEXT(cpu, op);
}
HANDLER(cdqe)
{
    cpu->gpr[GPR_RAX] = (uint64_t)(int32_t)cpu->gpr[GPR_RAX];
    NEXT(cpu, op);
}
HANDLER(cwd)
{
    PUT_16(GPR_RDX, 0, (int16_t)cpu->gpr[GPR_RAX] >> 15);
    NEXT(cpu, op);
}
HANDLER(cdq)
{
    PUT_32(GPR_RDX, 0, (int32_t)cpu->gpr[GPR_RAX] >> 31);
    NEXT(cpu, op);
}
HANDLER(cqo)
{
    cpu->gpr[GPR_RDX] = (uint64_t)((int64_t)cpu->gpr[GPR_RAX] >> 63);
    NEXT(cpu, op);
}

/* ---- Flags ---- */

HANDLER(clc)
{
    cpu->flags &= (uint16_t)~FLAG_CF;
    NEXT(cpu, op);
}
HANDLER(stc)
{
    cpu->flags |= FLAG_CF;
    NEXT(cpu, op);
}
HANDLER(cmc)
{
    cpu->flags ^= FLAG_CF;
    NEXT(cpu, op);
}
HANDLER(cld)
{
    cpu->eflags &= ~(uint32_t)EFL_DF;
    NEXT(cpu, op);
}
HANDLER(std)
{
    cpu->eflags |= EFL_DF;
    NEXT(cpu, op);
}
HANDLER(lahf)
{
    uint8_t flags = (uint8_t)(cpu->flags >> 8 & (EFL_SF | EFL_ZF | EFL_AF | EFL_PF | EFL_CF));
    PUT_8h(GPR_RAX, 8, flags | EFL_ONE);
    NEXT(cpu, op);
}
HANDLER(sahf)
{
    uint32_t flags = cpu->gpr[GPR_RAX] >> 8;
    cpu->flags = (uint16_t)((cpu->flags & FLAG_OF) |
                            efl_to_flags(flags & (EFL_SF | EFL_ZF | EFL_AF | EFL_PF | EFL_CF)));
    NEXT(cpu, op);
}
HANDLER(salc)
{
    PUT_8(GPR_RAX, 0, cpu->flags & FLAG_CF ? 0xff : 0);
    NEXT(cpu, op);
}
HANDLER(nop)
{
    NEXT(cpu, op);
}
HANDLER(pause_hint)
{
    __builtin_ia32_pause();
    NEXT(cpu, op);
}

/* ---- Decimal arithmetic ---- */

/* SF, ZF and PF of a byte, with AF and CF; OF stays clear. */
static void set_byte_flags(Cpu *cpu, uint8_t value, bool adjust, bool carry)
{
    cpu->flags = (uint16_t)((value & 0x80 ? FLAG_SF : 0) | (value ? 0 : FLAG_ZF) |
                            (__builtin_parity(value) ? 0 : FLAG_PF) | (adjust ? FLAG_AF : 0) |
                            (carry ? FLAG_CF : 0));
}

HANDLER(aaa)
{
    uint16_t ax = GET_16(GPR_RAX, 0);
    bool adjust = (ax & 15) > 9 || cpu->flags & FLAG_AF;
    if (adjust)
        ax = (uint16_t)(ax + 0x106);
    PUT_16(GPR_RAX, 0, ax & 0xff0f);
    set_byte_flags(cpu, ax & 15, adjust, adjust);
    NEXT(cpu, op);
}
HANDLER(aas)
{
    uint16_t ax = GET_16(GPR_RAX, 0);
    bool adjust = (ax & 15) > 9 || cpu->flags & FLAG_AF;
    if (adjust)
        ax = (uint16_t)(ax - 0x106);
    PUT_16(GPR_RAX, 0, ax & 0xff0f);
    set_byte_flags(cpu, ax & 15, adjust, adjust);
    NEXT(cpu, op);
}
HANDLER(aam)
{
    uint8_t al = GET_8(GPR_RAX, 0), base = (uint8_t)op->imm;
    if (!base)
        cpu_fault(cpu, op, EXC_DE);
    PUT_16(GPR_RAX, 0, (al / base) << 8 | al % base);
    set_byte_flags(cpu, al % base, false, false);
    NEXT(cpu, op);
}
HANDLER(aad)
{
    uint16_t ax = GET_16(GPR_RAX, 0);
    uint8_t al = (uint8_t)(ax + (ax >> 8) * (op->imm & 0xff));
    PUT_16(GPR_RAX, 0, al);
    set_byte_flags(cpu, al, false, false);
    NEXT(cpu, op);
}
HANDLER(daa)
{
    uint8_t old = GET_8(GPR_RAX, 0), al = old;
    bool adjust = (old & 15) > 9 || cpu->flags & FLAG_AF;
    bool carry = old > 0x99 || cpu->flags & FLAG_CF;
    al = (uint8_t)(al + (adjust ? 6 : 0) + (carry ? 0x60 : 0));
    PUT_8(GPR_RAX, 0, al);
    set_byte_flags(cpu, al, adjust, carry);
    NEXT(cpu, op);
}
HANDLER(das)
{
    uint8_t old = GET_8(GPR_RAX, 0), al = old;
    bool adjust = (old & 15) > 9 || cpu->flags & FLAG_AF;
    bool carry = old > 0x99 || cpu->flags & FLAG_CF;
    bool borrow = adjust && (old < 6 || cpu->flags & FLAG_CF);
    al = (uint8_t)(al - (adjust ? 6 : 0) - (carry ? 0x60 : 0));
    PUT_8(GPR_RAX, 0, al);
    set_byte_flags(cpu, al, adjust, carry || borrow);
    NEXT(cpu, op);
}

/* ---- Which handler ---- */

static OpFn *misc_handler(ZydisMnemonic mnemonic)
{
    static const struct {
        ZydisMnemonic mnemonic;
        OpFn *fn;
    } rows[] = {
        {ZYDIS_MNEMONIC_CBW, cbw},   {ZYDIS_MNEMONIC_CWDE, cwde},
        {ZYDIS_MNEMONIC_CDQE, cdqe}, {ZYDIS_MNEMONIC_CWD, cwd},
        {ZYDIS_MNEMONIC_CDQ, cdq},   {ZYDIS_MNEMONIC_CQO, cqo},
        {ZYDIS_MNEMONIC_CLC, clc},   {ZYDIS_MNEMONIC_STC, stc},
        {ZYDIS_MNEMONIC_CMC, cmc},   {ZYDIS_MNEMONIC_CLD, cld},
        {ZYDIS_MNEMONIC_STD, std},   {ZYDIS_MNEMONIC_LAHF, lahf},
        {ZYDIS_MNEMONIC_SAHF, sahf}, {ZYDIS_MNEMONIC_SALC, salc},
        {ZYDIS_MNEMONIC_NOP, nop},   {ZYDIS_MNEMONIC_PAUSE, pause_hint},
        {ZYDIS_MNEMONIC_AAA, aaa},   {ZYDIS_MNEMONIC_AAS, aas},
        {ZYDIS_MNEMONIC_AAM, aam},   {ZYDIS_MNEMONIC_AAD, aad},
        {ZYDIS_MNEMONIC_DAA, daa},   {ZYDIS_MNEMONIC_DAS, das},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].mnemonic == mnemonic)
            return rows[i].fn;
    return NULL;
}

bool bind_misc(Cpu *cpu, const Insn *insn, Op *op)
{
    op->fn = misc_handler(insn->zydis->mnemonic);
    return op->fn != NULL;
}
