/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the integer handlers are made of: registers and memory by operand size, effective addresses
 * by form, conditions.
 *
 * Handlers are instantiated by macros from a size tag S: 8, 16, 32, 64, and 8h, which is 8 where a
 * register may be AH, CH, DH or BH.  A register is always written as a whole 64-bit word: a narrow
 * store followed by a wide load would stall.
 */
#ifndef VMRUN_CPU_OP_COMMON_H
#define VMRUN_CPU_OP_COMMON_H

#include "block.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define HANDLER(name) static const Op *name(Cpu *cpu, const Op *op)

/* ---- Sizes ---- */

/* Indices of handler tables. */
typedef enum { SIZE_8, SIZE_16, SIZE_32, SIZE_64, SIZE_8H, SIZES } SizeTag;

#define TYPE_8    uint8_t
#define TYPE_8h   uint8_t
#define TYPE_16   uint16_t
#define TYPE_32   uint32_t
#define TYPE_64   uint64_t
#define STYPE_8   int8_t
#define STYPE_8h  int8_t
#define STYPE_16  int16_t
#define STYPE_32  int32_t
#define STYPE_64  int64_t
#define BYTES_8   1
#define BYTES_8h  1
#define BYTES_16  2
#define BYTES_32  4
#define BYTES_64  8
#define SUFFIX_8  "b"
#define SUFFIX_8h "b"
#define SUFFIX_16 "w"
#define SUFFIX_32 "l"
#define SUFFIX_64 "q"

/* How far the byte is up in its register. */
#define HIGH_REG(op) ((op)->attr >> 2 & 8)
#define HIGH_RM(op)  ((op)->attr >> 3 & 8)
G_STATIC_ASSERT(OP_BYTE_HIGH_REG >> 2 == 8 && OP_BYTE_HIGH_RM >> 3 == 8);

/* Register n, a byte of it up by h bits. */
#define GET_8(n, h)    ((uint8_t)cpu->gpr[n])
#define GET_8h(n, h)   ((uint8_t)(cpu->gpr[n] >> (h)))
#define GET_16(n, h)   ((uint16_t)cpu->gpr[n])
#define GET_32(n, h)   ((uint32_t)cpu->gpr[n])
#define GET_64(n, h)   (cpu->gpr[n])
#define PUT_8(n, h, v) (cpu->gpr[n] = (cpu->gpr[n] & ~0xffull) | (uint8_t)(v))
#define PUT_8h(n, h, v)                                                                            \
    (cpu->gpr[n] = (cpu->gpr[n] & ~(0xffull << (h))) | (uint64_t)(uint8_t)(v) << (h))
#define PUT_16(n, h, v) (cpu->gpr[n] = (cpu->gpr[n] & ~0xffffull) | (uint16_t)(v))
#define PUT_32(n, h, v) (cpu->gpr[n] = (uint32_t)(v))
#define PUT_64(n, h, v) (cpu->gpr[n] = (v))

#define GET_REG(S)    GET_##S(op->reg, HIGH_REG(op))
#define GET_RM(S)     GET_##S(op->rm, HIGH_RM(op))
#define PUT_REG(S, v) PUT_##S(op->reg, HIGH_REG(op), v)
#define PUT_RM(S, v)  PUT_##S(op->rm, HIGH_RM(op), v)

#define LOAD_8(at)      cpu_load8(cpu, op, at)
#define LOAD_8h(at)     cpu_load8(cpu, op, at)
#define LOAD_16(at)     cpu_load16(cpu, op, at)
#define LOAD_32(at)     cpu_load32(cpu, op, at)
#define LOAD_64(at)     cpu_load64(cpu, op, at)
#define STORE_8(at, v)  cpu_store8(cpu, op, at, v)
#define STORE_8h(at, v) cpu_store8(cpu, op, at, v)
#define STORE_16(at, v) cpu_store16(cpu, op, at, v)
#define STORE_32(at, v) cpu_store32(cpu, op, at, v)
#define STORE_64(at, v) cpu_store64(cpu, op, at, v)

/* ---- Effective addresses ---- */

/* Forms worth code of their own: base and displacement, and base, index and displacement, in flat
 * 64-bit code; anything in flat 32-bit code; the rest. */
typedef enum { EA_BASE, EA_FULL, EA_32, EA_ANY, EA_FORMS } EaForm;

ALWAYS_INLINE uint64_t op_linear(Cpu *cpu, const Op *op, EaForm form, unsigned size, Access access)
{
    uint64_t sum = cpu->gpr[op->base] + (uint64_t)op->disp;
    if (form == EA_BASE)
        return sum;
    if (form == EA_ANY)
        return cpu_linear(cpu, op, op_address(cpu, op), size, access);
    sum += cpu->gpr[op->index] << op->scale;
    return form == EA_32 ? (uint32_t)sum : sum;
}

static inline EaForm ea_form(const Op *op)
{
    if (!(op->attr & OP_FLAT))
        return EA_ANY;
    if (op->address_shift == 32)
        return EA_32;
    if (op->address_shift)
        return EA_ANY;
    return op->index == SLOT_ZERO ? EA_BASE : EA_FULL;
}

/* The addresses of size bytes of a memory operand. */
#define READ_AT(S, form)  op_linear(cpu, op, form, BYTES_##S, ACCESS_READ)
#define WRITE_AT(S, form) op_linear(cpu, op, form, BYTES_##S, ACCESS_WRITE)

/* ---- Read-modify-write ---- */

/* Guest memory on the host, of any alignment. */
typedef uint8_t Host_8 __attribute__((may_alias));
typedef uint8_t Host_8h __attribute__((may_alias));
typedef uint16_t Host_16 __attribute__((may_alias, aligned(1)));
typedef uint32_t Host_32 __attribute__((may_alias, aligned(1)));
typedef uint64_t Host_64 __attribute__((may_alias, aligned(1)));

/* As cpu_host_rmw(): after NULL a load and a store will not fault. */
ALWAYS_INLINE void *rmw_at(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    const TlbEntry *entry = cpu_tlb(cpu, linear);
    if (tlb_hit(entry->write, linear, size))
        return (void *)(linear + entry->delta);
    return cpu_host_rmw_call(cpu, op, linear, size);
}
/* As cpu_host_lock(), and inside a cache line; after NULL as above. */
ALWAYS_INLINE void *lock_at(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    enum { LINE = 64 };
    const TlbEntry *entry = cpu_tlb(cpu, linear);
    void *host = tlb_hit(entry->write, linear, size) ? (void *)(linear + entry->delta)
                                                     : cpu_host_lock_call(cpu, op, linear, size);
    return G_LIKELY((linear & (LINE - 1)) <= LINE - size) ? host : NULL;
}
/* TYPE value = what is at linear; ... RMW_STORE(...). */
#define RMW_LOAD(S, host, at) (G_LIKELY(host) ? *(const volatile Host_##S *)(host) : LOAD_##S(at))
#define RMW_STORE(S, host, at, value)                                                              \
    do {                                                                                           \
        if (G_LIKELY(host))                                                                        \
            *(volatile Host_##S *)(host) = (value);                                                \
        else                                                                                       \
            STORE_##S(at, value);                                                                  \
    } while (0)

/* ---- Conditions: the low four bits of Jcc's opcode ---- */

ALWAYS_INLINE bool flags_hold(unsigned flags, unsigned condition)
{
    unsigned less = (flags >> 15 ^ flags) & 1;
    bool holds;
    switch (condition >> 1) {
    case 0:
        holds = flags & FLAG_OF;
        break;
    case 1:
        holds = flags & FLAG_CF;
        break;
    case 2:
        holds = flags & FLAG_ZF;
        break;
    case 3:
        holds = flags & (FLAG_CF | FLAG_ZF);
        break;
    case 4:
        holds = flags & FLAG_SF;
        break;
    case 5:
        holds = flags & FLAG_PF;
        break;
    case 6:
        holds = less;
        break;
    default:
        holds = less || (flags & FLAG_ZF);
    }
    return holds != (condition & 1);
}

/* X(condition) for all sixteen. */
#define FOR_CONDITIONS(X)                                                                          \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* Restores all arithmetic flags from %ax, as LAHF and SETO left them; %al changes. */
#define ASM_FLAGS_IN  "addb $127, %%al\n\tsahf\n\t"
#define ASM_FLAGS_OUT "\n\tlahf\n\tseto %%al"
/* Only CF from %ax. */
#define ASM_CARRY_IN "btw $8, %%ax\n\t"

/* ---- For binders ---- */

/* The number of an 8-bit register: AH to BH are 4 to 7, and so are SPL to DIL. */
static inline uint8_t gpr8_number(ZydisRegister reg)
{
    if (reg >= ZYDIS_REGISTER_SPL)
        return (uint8_t)(reg - ZYDIS_REGISTER_SPL + 4);
    return (uint8_t)(reg - ZYDIS_REGISTER_AL);
}

/* Sets reg (or with rm: rm) to a general register's number, AH as 0 with its bit in attr set. */
static inline void use_register(Op *op, bool rm, const ZydisDecodedOperand *operand)
{
    ZydisRegister reg = operand->reg.value;
    bool high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
    uint8_t bit = rm ? OP_BYTE_HIGH_RM : OP_BYTE_HIGH_REG;
    uint8_t number = operand->size == 8 ? gpr8_number(reg) : (uint8_t)ZydisRegisterGetId(reg);
    op->attr = (uint8_t)(high ? op->attr | bit : op->attr & ~bit);
    *(rm ? &op->rm : &op->reg) = high ? number - 4 : number;
}

static inline bool is_gpr(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    ZydisRegisterClass class = ZydisRegisterGetClass(operand->reg.value);
    return class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;
}

/* The segment of a DS operand that is not written: DS, or that of a prefix. */
static inline unsigned insn_data_segment(const Insn *insn)
{
    uint64_t attributes = insn->zydis->attributes;
    return attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES   ? SEG_ES
           : attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS ? SEG_CS
           : attributes & ZYDIS_ATTRIB_HAS_SEGMENT_SS ? SEG_SS
           : attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS ? SEG_FS
           : attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS ? SEG_GS
                                                      : SEG_DS;
}

/* Whether accesses through a segment need no check; and the attr bits that say so.  Stores through
 * CS always need one outside of 64-bit mode. */
static inline bool segment_is_flat(const Cpu *cpu, unsigned seg)
{
    return seg < SEG_FS && ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ||
                            ((cpu->mode & MODE_FLAT) && seg != SEG_CS));
}
static inline void op_use_segment(const Cpu *cpu, Op *op, unsigned seg)
{
    op->seg = (uint8_t)seg;
    op->attr &= (uint8_t) ~(OP_FLAT | OP_BASE | OP_STACK);
    if (segment_is_flat(cpu, seg))
        op->attr |= OP_FLAT;
    else if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        op->attr |= OP_BASE;
    if (seg == SEG_SS)
        op->attr |= OP_STACK;
}

/* The index of a mnemonic among sixteen in the order of the opcodes; -1: none of them. */
static inline int condition_in(const ZydisMnemonic *table, ZydisMnemonic mnemonic)
{
    for (int i = 0; i < 16; i++)
        if (table[i] == mnemonic)
            return i;
    return -1;
}

static inline SizeTag size_tag(unsigned bits, const Op *op)
{
    switch (bits) {
    case 8:
        return op->attr & (OP_BYTE_HIGH_REG | OP_BYTE_HIGH_RM) ? SIZE_8H : SIZE_8;
    case 16:
        return SIZE_16;
    case 32:
        return SIZE_32;
    default:
        return SIZE_64;
    }
}

/* ---- Shared between files ---- */

/* What can be done once a block's Ops are all known: fuses with the Op behind; rest: how many
 * instructions of the block come after it. */
void control_finish(Op *op, unsigned rest, bool fuse);
/* X(..., S) for all sizes. */
#define ALL_SIZES(X, ...)                                                                          \
    X(__VA_ARGS__, 8) X(__VA_ARGS__, 8h) X(__VA_ARGS__, 16) X(__VA_ARGS__, 32) X(__VA_ARGS__, 64)
/* A row of a table by SizeTag. */
#define BY_SIZE(name)                                                                              \
    {                                                                                              \
        [SIZE_8] = name##_8, [SIZE_16] = name##_16, [SIZE_32] = name##_32, [SIZE_64] = name##_64,  \
        [SIZE_8H] = name##_8h                                                                      \
    }
/* A table by EaForm and SizeTag. */
#define BY_FORM(name)                                                                              \
    {                                                                                              \
        [EA_BASE] = BY_SIZE(name##_EA_BASE), [EA_FULL] = BY_SIZE(name##_EA_FULL),                  \
        [EA_32] = BY_SIZE(name##_EA_32), [EA_ANY] = BY_SIZE(name##_EA_ANY)                         \
    }
/* bind_integer's parts. */
Binder bind_alu, bind_move, bind_shift, bind_muldiv, bind_bits, bind_atomic, bind_misc;

#endif
