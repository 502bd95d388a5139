/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Generates stubs: host code around one guest instruction (Intel SDM vol. 2, ch. 2 for encodings).
 *
 * In a stub rdi is the Cpu, rsi the Op, rdx the host address of the memory operand.  XMM, YMM and
 * MMX registers keep their numbers; general registers are renumbered to those below, or stay where
 * an instruction has them by nature (PCMPESTRI and its like).
 */
#include "fpu.h"

enum { RAX, RCX, RDX, RDI = 7, R8, HOST_REG, HOST_RM };
enum { REX = 0x40, REX_B = 1, REX_R = 4, REX_W = 8 };

static void put(StubCode *code, unsigned byte)
{
    if (code->length < STUB_MAX)
        code->bytes[code->length++] = (uint8_t)byte;
}

static void put32(StubCode *code, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        put(code, value >> 8 * i & 0xff);
}

static void put64(StubCode *code, uint64_t value)
{
    put32(code, (uint32_t)value);
    put32(code, (uint32_t)(value >> 32));
}

/* ModRM and displacement of [rdi + offset]. */
static void put_field(StubCode *code, unsigned reg, size_t offset)
{
    put(code, 0x80 | (reg & 7) << 3 | RDI);
    put32(code, (uint32_t)offset);
}

/* An instruction of 64 bits (wide) or less between a general register and a field of the Cpu. */
static void put_gpr(StubCode *code, bool wide, unsigned opcode, unsigned reg, size_t offset)
{
    unsigned rex = (wide ? REX_W : 0) | (reg >= 8 ? REX_R : 0);
    if (rex)
        put(code, REX | rex);
    put(code, opcode);
    put_field(code, reg, offset);
}

enum { OP_LOAD = 0x8b, OP_STORE = 0x89 };

static size_t gpr_offset(unsigned n)
{
    return offsetof(Cpu, gpr) + 8 * n;
}
static size_t xmm_offset(unsigned n)
{
    return offsetof(Cpu, xsave) + FX_XMM + 16 * n;
}
static size_t ymm_high_offset(unsigned n)
{
    return offsetof(Cpu, xsave) + XSAVE_YMM + 16 * n;
}

/* MOVUPS between an XMM register and the Cpu. */
static void put_movups(StubCode *code, unsigned opcode, unsigned xmm, size_t offset)
{
    if (xmm >= 8)
        put(code, REX | REX_R);
    put(code, 0x0f);
    put(code, opcode);
    put_field(code, xmm, offset);
}

/* The same by VEX: of 128 bits. */
static void put_vmovups(StubCode *code, unsigned opcode, unsigned xmm, size_t offset)
{
    put(code, 0xc5);
    put(code, (xmm < 8 ? 0x80 : 0) | 0x78);
    put(code, opcode);
    put_field(code, xmm, offset);
}

/* VINSERTF128 ymm, ymm, [rdi + offset], 1 and VEXTRACTF128 [rdi + offset], ymm, 1. */
static void put_high(StubCode *code, bool load, unsigned ymm, size_t offset)
{
    put(code, 0xc4);
    put(code, (ymm < 8 ? 0x80 : 0) | 0x63);
    put(code, 0x05 | (load ? (~ymm & 15) << 3 : 0x78));
    put(code, load ? 0x18 : 0x19);
    put_field(code, ymm, offset);
    put(code, 1);
}

enum { MOVUPS_LOAD = 0x10, MOVUPS_STORE = 0x11 };

/* ---- Operands ---- */

static bool is_xmm(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    ZydisRegisterClass class = ZydisRegisterGetClass(operand->reg.value);
    return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM;
}

static bool is_ymm(const ZydisDecodedOperand *operand)
{
    return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_YMM;
}

static bool is_wide_gpr(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    ZydisRegisterClass class = ZydisRegisterGetClass(operand->reg.value);
    return class == ZYDIS_REGCLASS_GPR32 || class == ZYDIS_REGCLASS_GPR64;
}

static unsigned id_of(const ZydisDecodedOperand *operand)
{
    return (unsigned)ZydisRegisterGetId(operand->reg.value) & 15;
}

/* The host's register for a general register operand. */
static unsigned host_gpr(const ZydisDecodedOperand *operand)
{
    switch (operand->encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        return HOST_REG;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        return HOST_RM;
    default:
        return id_of(operand);
    }
}

static bool reads(const ZydisDecodedOperand *operand)
{
    return operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
}
static bool writes(const ZydisDecodedOperand *operand)
{
    return operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

static bool is_vex(const Insn *insn)
{
    return insn->zydis->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

static bool has_implied_gpr(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++)
        if (is_wide_gpr(&insn->operands[i]) && host_gpr(&insn->operands[i]) < HOST_REG)
            return true;
    return false;
}

/* ---- The instruction itself ---- */

typedef struct Encoding {
    unsigned reg, rm, vvvv, is4; /* register numbers */
    bool memory;
} Encoding;

static Encoding find_encoding(const Insn *insn)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    Encoding e = {.reg = zydis->raw.modrm.reg & 7, .rm = zydis->raw.modrm.rm & 7};
    if (insn->has_memory) {
        e.memory = true;
        e.rm = has_implied_gpr(insn) ? R8 : RDX;
    }
    for (unsigned i = 0; i < zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER ||
            ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_X87)
            continue;
        unsigned number = is_wide_gpr(operand) ? host_gpr(operand) : id_of(operand);
        switch (operand->encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG:
            e.reg = number;
            break;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM:
            e.rm = number;
            break;
        case ZYDIS_OPERAND_ENCODING_NDSNDD:
            e.vvvv = number;
            break;
        case ZYDIS_OPERAND_ENCODING_IS4:
            e.is4 = number;
            break;
        default:
            break;
        }
    }
    return e;
}

static void put_immediates(StubCode *code, const Insn *insn, const Encoding *e)
{
    for (unsigned i = 0; i < 2; i++) {
        if (insn->zydis->raw.imm[i].size != 8)
            continue;
        unsigned value = insn->zydis->raw.imm[i].value.u & 0xff;
        for (unsigned k = 0; k < insn->zydis->operand_count; k++)
            if (insn->operands[k].encoding == ZYDIS_OPERAND_ENCODING_IS4)
                value = (value & 0xf) | e->is4 << 4;
        put(code, value);
    }
}

static void put_modrm(StubCode *code, const Encoding *e)
{
    put(code, (e->memory ? 0 : 0xc0) | (e->reg & 7) << 3 | (e->rm & 7));
}

static void put_legacy(StubCode *code, const Insn *insn, const Encoding *e)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    for (unsigned i = 0; i < zydis->raw.prefix_count; i++)
        if (zydis->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            put(code, zydis->raw.prefixes[i].value);
    unsigned rex = (e->reg >= 8 ? REX_R : 0) | (e->rm >= 8 ? REX_B : 0);
    if (zydis->attributes & ZYDIS_ATTRIB_HAS_REX && zydis->raw.rex.W)
        rex |= REX_W;
    bool x87 = zydis->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
    if (rex && !x87)
        put(code, REX | rex);
    if (!x87)
        put(code, 0x0f);
    if (zydis->opcode_map == ZYDIS_OPCODE_MAP_0F38)
        put(code, 0x38);
    if (zydis->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        put(code, 0x3a);
    put(code, zydis->opcode);
    put_modrm(code, e);
    put_immediates(code, insn, e);
}

/* Instructions in which VEX.W is the width of an integer; outside of 64-bit mode it is ignored. */
static bool w_is_integer_width(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSS2SI:
    case ZYDIS_MNEMONIC_VCVTTSS2SI:
    case ZYDIS_MNEMONIC_VCVTSD2SI:
    case ZYDIS_MNEMONIC_VCVTTSD2SI:
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VPINSRD:
    case ZYDIS_MNEMONIC_VPEXTRD:
    case ZYDIS_MNEMONIC_VPCMPESTRI:
    case ZYDIS_MNEMONIC_VPCMPESTRM:
        return true;
    default:
        return false;
    }
}

static void put_vex(StubCode *code, const Insn *insn, const Encoding *e)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    unsigned w =
        zydis->raw.vex.W && !(insn->code_bits != 64 && w_is_integer_width(zydis->mnemonic));
    put(code, 0xc4);
    put(code, (e->reg < 8 ? 0x80 : 0) | 0x40 | (e->rm < 8 ? 0x20 : 0) | zydis->opcode_map);
    put(code, w << 7 | (~e->vvvv & 15) << 3 | (unsigned)zydis->raw.vex.L << 2 | zydis->raw.vex.pp);
    put(code, zydis->opcode);
    put_modrm(code, e);
    put_immediates(code, insn, e);
}

/* ---- What is around it ---- */

/* Whether the register is an operand as a YMM register, too. */
static bool also_wide(const Insn *insn, unsigned n)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++)
        if (is_ymm(&insn->operands[i]) && reads(&insn->operands[i]) &&
            id_of(&insn->operands[i]) == n)
            return true;
    return false;
}

static void put_loads(StubCode *code, const Insn *insn)
{
    bool vex = is_vex(insn);
    if (insn->has_memory && has_implied_gpr(insn)) { /* mov r8, rdx */
        put(code, REX | REX_W | REX_B);
        put(code, 0x89);
        put(code, 0xc0 | RDX << 3 | (R8 & 7));
    }
    for (unsigned i = 0; i < insn->zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        if (is_wide_gpr(operand) && reads(operand))
            put_gpr(code, true, OP_LOAD, host_gpr(operand), gpr_offset(id_of(operand)));
        if (!is_xmm(operand))
            continue;
        unsigned n = id_of(operand);
        /* Most legacy instructions keep a part of their destination. */
        if (!vex) {
            put_movups(code, MOVUPS_LOAD, n, xmm_offset(n));
        } else if (reads(operand) && (is_ymm(operand) || !also_wide(insn, n))) {
            put_vmovups(code, MOVUPS_LOAD, n, xmm_offset(n));
            if (is_ymm(operand))
                put_high(code, true, n, ymm_high_offset(n));
        }
    }
}

static void put_stores(StubCode *code, const Insn *insn)
{
    bool vex = is_vex(insn), wide = false;
    for (unsigned i = 0; i < insn->zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        wide |= is_ymm(operand);
        if (!writes(operand))
            continue;
        if (is_wide_gpr(operand))
            put_gpr(code, true, OP_STORE, host_gpr(operand), gpr_offset(id_of(operand)));
        if (!is_xmm(operand))
            continue;
        unsigned n = id_of(operand);
        if (!vex) {
            put_movups(code, MOVUPS_STORE, n, xmm_offset(n));
            continue;
        }
        put_vmovups(code, MOVUPS_STORE, n, xmm_offset(n));
        put_high(code, false, n, ymm_high_offset(n));
    }
    if (wide) { /* vzeroupper: legacy SSE code behind would be slow */
        put(code, 0xc5);
        put(code, 0xf8);
        put(code, 0x77);
    }
}

/* From cpu->flags into the host's: by way of ax, as lahf and seto put them there. */
static void put_load_flags(StubCode *code)
{
    put(code, 0x0f); /* movzx eax, word [rdi + flags] */
    put(code, 0xb7);
    put_field(code, RAX, offsetof(Cpu, flags));
    put(code, 0x04); /* add al, 0x7f: overflows if al is 1 */
    put(code, 0x7f);
    put(code, 0x9e); /* sahf */
}

static void put_store_flags(StubCode *code)
{
    put(code, 0x9f); /* lahf */
    put(code, 0x0f); /* seto al */
    put(code, 0x90);
    put(code, 0xc0);
    put(code, 0x66);
    put_gpr(code, false, OP_STORE, RAX, offsetof(Cpu, flags));
}

/* FIP, FOP and FCS of an x87 instruction that is not a control instruction. */
static void put_x87_pointers(StubCode *code, const Insn *insn)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    const uint8_t modrm = insn->bytes[zydis->raw.modrm.offset];
    put(code, 0x0f); /* movzx eax, word [rsi + offset] */
    put(code, 0xb7);
    put(code, 0x46);
    put(code, offsetof(Op, offset));
    put_gpr(code, true, 0x03, RAX, gpr_offset(SLOT_RIP)); /* add rax, [rdi + rip] */
    put_gpr(code, true, OP_STORE, RAX, offsetof(Cpu, fpu_ip));
    put(code, 0x0f); /* movzx eax, word [rdi + cs] */
    put(code, 0xb7);
    put_field(code, RAX, offsetof(Cpu, seg) + SEG_CS * sizeof(CpuSegment));
    put(code, 0xc1); /* shl eax, 16 */
    put(code, 0xe0);
    put(code, 16);
    put(code, 0x0d); /* or eax, fop */
    put32(code, (zydis->opcode & 7u) << 8 | modrm);
    put_gpr(code, false, OP_STORE, RAX, offsetof(Cpu, fpu_opcode));
}

/* Goes on with the next Op, as NEXT() does. */
static void put_next(StubCode *code)
{
    G_STATIC_ASSERT(sizeof(Op) < 128 && offsetof(Op, fn) < 128 && offsetof(Op, offset) < 128);
#ifdef CPU_TAIL_CALLS
    put(code, 0x48); /* add rsi, sizeof(Op) */
    put(code, 0x83);
    put(code, 0xc6);
    put(code, sizeof(Op));
    put(code, 0xff); /* jmp [rsi + fn] */
    put(code, 0x66);
    put(code, offsetof(Op, fn));
#else
    put(code, 0x48); /* lea rax, [rsi + sizeof(Op)] */
    put(code, 0x8d);
    put(code, 0x46);
    put(code, sizeof(Op));
    put(code, 0xc3); /* ret */
#endif
}

static bool is_x87(const Insn *insn)
{
    return insn->zydis->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
           insn->zydis->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
}

void stub_generate(const Insn *insn, uint8_t ready, StubCode *code)
{
    G_STATIC_ASSERT(offsetof(CpuSegment, selector) == 0);
    G_STATIC_ASSERT(offsetof(Cpu, fpu_cs) == offsetof(Cpu, fpu_opcode) + 2);
    G_STATIC_ASSERT(offsetof(Cpu, fpu_opcode) % 4 == 0);
    const ZydisAccessedFlags *flags = insn->zydis->cpu_flags;
    bool reads_flags = flags && flags->tested & EFL_ARITH;
    bool writes_flags =
        flags && (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & EFL_ARITH;
    Encoding encoding = find_encoding(insn);
    unsigned check = 0;
    code->length = 0;
    if (!insn->has_memory) {
        put(code, 0xf6); /* test byte [rdi + fp_ready], ready */
        put_field(code, 0, offsetof(Cpu, fp_ready));
        put(code, ready);
        put(code, 0x0f); /* jz, patched below */
        put(code, 0x84);
        put32(code, 0);
        check = code->length;
    }
    code->body = check;
    if (is_x87(insn))
        put_x87_pointers(code, insn);
    /* An unmasked x87 exception keeps EFLAGS, so they are there to be kept. */
    if (reads_flags || (writes_flags && is_x87(insn)))
        put_load_flags(code);
    put_loads(code, insn);
    if (is_vex(insn))
        put_vex(code, insn, &encoding);
    else
        put_legacy(code, insn, &encoding);
    if (writes_flags)
        put_store_flags(code);
    put_stores(code, insn);
    put_next(code);
    if (check) {
        st32_le(code->bytes + check - 4, code->length - check);
        put(code, 0x48); /* mov rax, fpu_register_slow */
        put(code, 0xb8);
        put64(code, (uintptr_t)fpu_register_slow);
        put(code, 0xff); /* jmp rax */
        put(code, 0xe0);
    }
}
