/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bits: BT, BTS, BTR, BTC, BSF, BSR, TZCNT, LZCNT, POPCNT, CRC32, BMI1, BMI2, ADCX, ADOX.
 */
#include "op_common.h"

/* ---- BT and its kin ---- */

/* A register as bit string, or memory at the byte that holds the bit: the bit is inside. */
#define BIT_VALUE(insn, S)                                                                         \
    ALWAYS_INLINE TYPE_##S insn##_##S(Cpu *cpu, TYPE_##S a, TYPE_##S bit)                          \
    {                                                                                              \
        uint16_t flags = cpu->flags;                                                               \
        __asm__(ASM_FLAGS_IN #insn SUFFIX_##S " %[bit], %[a]" ASM_FLAGS_OUT                        \
                : [a] "+&r"(a), "+&a"(flags)                                                       \
                : [bit] "r"(bit)                                                                   \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        return a;                                                                                  \
    }
/* BT writes no register, not even the upper half of one. */
#define BIT_TEST(insn, S)                                                                          \
    BIT_VALUE(insn, S)                                                                             \
    HANDLER(insn##_r_##S)                                                                          \
    {                                                                                              \
        TYPE_##S bit = op->extra ? GET_RM(S) : (TYPE_##S)op->imm;                                  \
        insn##_##S(cpu, GET_REG(S), bit);                                                          \
        NEXT(cpu, op);                                                                             \
    }
#define BIT_SET(insn, S)                                                                           \
    BIT_VALUE(insn, S)                                                                             \
    HANDLER(insn##_r_##S)                                                                          \
    {                                                                                              \
        TYPE_##S bit = op->extra ? GET_RM(S) : (TYPE_##S)op->imm;                                  \
        TYPE_##S result = insn##_##S(cpu, GET_REG(S), bit);                                        \
        PUT_REG(S, result);                                                                        \
        NEXT(cpu, op);                                                                             \
    }
/* A register's bit number reaches beyond the operand: whole operands up or down. */
#define BIT_ADDRESS(S)                                                                             \
    ALWAYS_INLINE uint64_t bit_address_##S(Cpu *cpu, const Op *op, TYPE_##S *bit, Access access)   \
    {                                                                                              \
        uint64_t address = op_address(cpu, op);                                                    \
        *bit = op->extra ? GET_RM(S) : (TYPE_##S)op->imm;                                          \
        if (op->extra) {                                                                           \
            int64_t units = (STYPE_##S) * bit >> (BYTES_##S == 2 ? 4 : BYTES_##S == 4 ? 5 : 6);    \
            address += (uint64_t)(units * BYTES_##S);                                              \
            address = address << op->address_shift >> op->address_shift;                           \
        }                                                                                          \
        *bit &= 8 * BYTES_##S - 1;                                                                 \
        return cpu_linear(cpu, op, address, BYTES_##S, access);                                    \
    }
#define BIT_CHANGE(insn, S)                                                                        \
    HANDLER(insn##_m_##S)                                                                          \
    {                                                                                              \
        TYPE_##S bit;                                                                              \
        uint64_t at = bit_address_##S(cpu, op, &bit, ACCESS_WRITE);                                \
        void *host = rmw_at(cpu, op, at, BYTES_##S);                                               \
        TYPE_##S a = RMW_LOAD(S, host, at);                                                        \
        a = insn##_##S(cpu, a, bit);                                                               \
        RMW_STORE(S, host, at, a);                                                                 \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(insn##_lock_##S)                                                                       \
    {                                                                                              \
        TYPE_##S bit;                                                                              \
        uint64_t at = bit_address_##S(cpu, op, &bit, ACCESS_WRITE);                                \
        Host_##S *host = lock_at(cpu, op, at, BYTES_##S);                                          \
        if (G_LIKELY(host)) {                                                                      \
            uint16_t flags = cpu->flags;                                                           \
            __asm__ volatile(ASM_FLAGS_IN "lock " #insn SUFFIX_##S " %[bit], %[m]" ASM_FLAGS_OUT   \
                             : [m] "+m"(*host), "+&a"(flags)                                       \
                             : [bit] "r"(bit)                                                      \
                             : "cc", "memory");                                                    \
            cpu->flags = flags;                                                                    \
            cpu_host_done(cpu);                                                                    \
            NEXT(cpu, op);                                                                         \
        }                                                                                          \
        cpu_exclusive_begin(cpu);                                                                  \
        TYPE_##S value = insn##_##S(cpu, LOAD_##S(at), bit);                                       \
        STORE_##S(at, value);                                                                      \
        cpu_exclusive_end(cpu);                                                                    \
        NEXT(cpu, op);                                                                             \
    }
#define BIT_HANDLERS(S)                                                                            \
    BIT_ADDRESS(S)                                                                                 \
    BIT_TEST(bt, S)                                                                                \
    BIT_SET(bts, S)                                                                                \
    BIT_SET(btr, S)                                                                                \
    BIT_SET(btc, S)                                                                                \
    BIT_CHANGE(bts, S)                                                                             \
    BIT_CHANGE(btr, S)                                                                             \
    BIT_CHANGE(btc, S)                                                                             \
    HANDLER(bt_m_##S)                                                                              \
    {                                                                                              \
        TYPE_##S bit;                                                                              \
        uint64_t at = bit_address_##S(cpu, op, &bit, ACCESS_READ);                                 \
        bt_##S(cpu, LOAD_##S(at), bit);                                                            \
        NEXT(cpu, op);                                                                             \
    }
BIT_HANDLERS(16)
BIT_HANDLERS(32)
BIT_HANDLERS(64)

/* ---- BSF, BSR: of zero the destination stays, as processors do ---- */

#define BIT_SCAN(insn, S)                                                                          \
    HANDLER(insn##_##S)                                                                            \
    {                                                                                              \
        TYPE_##S value = op->extra ? LOAD_##S(READ_AT(S, EA_ANY)) : GET_RM(S);                     \
        uint64_t result = cpu->gpr[op->reg];                                                       \
        uint16_t flags = cpu->flags;                                                               \
        TYPE_##S found = (TYPE_##S)result;                                                         \
        __asm__(ASM_FLAGS_IN #insn SUFFIX_##S " %[value], %[found]" ASM_FLAGS_OUT                  \
                : [found] "+&r"(found), "+&a"(flags)                                               \
                : [value] "r"(value)                                                               \
                : "cc");                                                                           \
        cpu->flags = flags;                                                                        \
        if (value)                                                                                 \
            PUT_##S(op->reg, 0, found);                                                            \
        NEXT(cpu, op);                                                                             \
    }
BIT_SCAN(bsf, 16)
BIT_SCAN(bsf, 32)
BIT_SCAN(bsf, 64)
BIT_SCAN(bsr, 16)
BIT_SCAN(bsr, 32)
BIT_SCAN(bsr, 64)

/* ---- What is computed in C: its flags are all defined, or their undefined ones cleared ---- */

static uint64_t source(Cpu *cpu, const Op *op, unsigned size)
{
    if (!op->extra)
        return cpu->gpr[op->rm] & size_mask(size);
    uint64_t at = op_linear(cpu, op, EA_ANY, size, ACCESS_READ);
    return size == 1 ? LOAD_8(at) : size == 2 ? LOAD_16(at) : size == 4 ? LOAD_32(at) : LOAD_64(at);
}

static void put(Cpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
    if (size == 2)
        PUT_16(reg, 0, value);
    else
        cpu->gpr[reg] = value & size_mask(size);
}

/* SF and ZF of a result, CF as told, the others clear. */
static void set_flags(Cpu *cpu, uint64_t result, unsigned size, bool carry)
{
    bool sign = result >> (8 * size - 1) & 1, zero = !(result & size_mask(size));
    cpu->flags = (uint16_t)((sign ? FLAG_SF : 0) | (zero ? FLAG_ZF : 0) | (carry ? FLAG_CF : 0));
}

HANDLER(count_trailing)
{
    uint64_t value = source(cpu, op, op->size);
    uint64_t result = value ? (uint64_t)__builtin_ctzll(value) : 8u * op->size;
    set_flags(cpu, result, op->size, !value);
    put(cpu, op->reg, op->size, result);
    NEXT(cpu, op);
}

HANDLER(count_leading)
{
    uint64_t value = source(cpu, op, op->size);
    uint64_t result =
        value ? (uint64_t)__builtin_clzll(value) - (64 - 8u * op->size) : 8u * op->size;
    set_flags(cpu, result, op->size, !value);
    put(cpu, op->reg, op->size, result);
    NEXT(cpu, op);
}

HANDLER(population)
{
    uint64_t value = source(cpu, op, op->size);
    cpu->flags = value ? 0 : FLAG_ZF;
    put(cpu, op->reg, op->size, (uint64_t)__builtin_popcountll(value));
    NEXT(cpu, op);
}

/* CRC-32C, one bit at a time would be slow: by a table of bytes, made once. */
static uint32_t crc_table[256];

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        crc_table[i] = crc;
    }
}

HANDLER(crc32)
{
    unsigned size = (unsigned)op->imm;
    uint64_t data;
    if (size == 1 && !op->extra)
        data = GET_8h(op->rm, HIGH_RM(op));
    else
        data = source(cpu, op, size);
    uint32_t crc = (uint32_t)cpu->gpr[op->reg];
    for (unsigned i = 0; i < size; i++, data >>= 8)
        crc = crc >> 8 ^ crc_table[(crc ^ data) & 0xff];
    cpu->gpr[op->reg] = crc;
    NEXT(cpu, op);
}

/* ---- BMI1, BMI2: op->imm has the number of the register in VEX.vvvv ---- */

HANDLER(andn)
{
    uint64_t value = source(cpu, op, op->size) & ~cpu->gpr[op->imm];
    set_flags(cpu, value, op->size, false);
    put(cpu, op->reg, op->size, value);
    NEXT(cpu, op);
}

HANDLER(bextr)
{
    uint64_t value = source(cpu, op, op->size), control = cpu->gpr[op->imm];
    unsigned start = control & 0xff, length = control >> 8 & 0xff;
    value = start < 64 ? value >> start : 0;
    if (length < 64)
        value &= (1ull << length) - 1;
    cpu->flags = value ? 0 : FLAG_ZF;
    put(cpu, op->reg, op->size, value);
    NEXT(cpu, op);
}

HANDLER(blsi)
{
    uint64_t value = source(cpu, op, op->size);
    set_flags(cpu, value & -value, op->size, value != 0);
    put(cpu, (unsigned)op->imm, op->size, value & -value);
    NEXT(cpu, op);
}

HANDLER(blsmsk)
{
    uint64_t value = source(cpu, op, op->size), result = value ^ (value - 1);
    set_flags(cpu, result, op->size, !value);
    put(cpu, (unsigned)op->imm, op->size, result);
    NEXT(cpu, op);
}

HANDLER(blsr)
{
    uint64_t value = source(cpu, op, op->size), result = value & (value - 1);
    set_flags(cpu, result, op->size, !value);
    put(cpu, (unsigned)op->imm, op->size, result);
    NEXT(cpu, op);
}

HANDLER(bzhi)
{
    uint64_t value = source(cpu, op, op->size);
    unsigned index = cpu->gpr[op->imm] & 0xff, bits = 8u * op->size;
    if (index < bits)
        value &= (1ull << index) - 1;
    set_flags(cpu, value, op->size, index >= bits);
    put(cpu, op->reg, op->size, value);
    NEXT(cpu, op);
}

HANDLER(mulx)
{
    uint64_t value = source(cpu, op, op->size), factor = cpu->gpr[GPR_RDX] & size_mask(op->size);
    unsigned __int128 product = (unsigned __int128)value * factor;
    /* Where both are the same register, it gets the high half. */
    put(cpu, (unsigned)op->imm, op->size, (uint64_t)product);
    put(cpu, op->reg, op->size, (uint64_t)(product >> 8 * op->size));
    NEXT(cpu, op);
}

HANDLER(pdep)
{
    uint64_t mask = source(cpu, op, op->size), from = cpu->gpr[op->imm], result = 0;
    for (; mask; mask &= mask - 1, from >>= 1)
        result |= from & 1 ? mask & -mask : 0;
    put(cpu, op->reg, op->size, result);
    NEXT(cpu, op);
}

HANDLER(pext)
{
    uint64_t mask = source(cpu, op, op->size), from = cpu->gpr[op->imm], result = 0;
    for (unsigned bit = 0; mask; mask &= mask - 1, bit++)
        result |= (uint64_t)((from & mask & -mask) != 0) << bit;
    put(cpu, op->reg, op->size, result);
    NEXT(cpu, op);
}

HANDLER(rorx)
{
    uint64_t value = source(cpu, op, op->size);
    unsigned bits = 8u * op->size, count = op->imm & (bits - 1);
    put(cpu, op->reg, op->size, count ? value >> count | value << (bits - count) : value);
    NEXT(cpu, op);
}

HANDLER(sarx)
{
    uint64_t value = source(cpu, op, op->size);
    int64_t wide = op->size == 4 ? (int32_t)value : (int64_t)value;
    put(cpu, op->reg, op->size, (uint64_t)(wide >> (cpu->gpr[op->imm] & (8u * op->size - 1))));
    NEXT(cpu, op);
}

HANDLER(shlx)
{
    uint64_t value = source(cpu, op, op->size);
    put(cpu, op->reg, op->size, value << (cpu->gpr[op->imm] & (8u * op->size - 1)));
    NEXT(cpu, op);
}

HANDLER(shrx)
{
    uint64_t value = source(cpu, op, op->size);
    put(cpu, op->reg, op->size, value >> (cpu->gpr[op->imm] & (8u * op->size - 1)));
    NEXT(cpu, op);
}

/* ADCX (CF) and ADOX (OF): op->imm is the flag. */
HANDLER(add_with_flag)
{
    uint64_t value = source(cpu, op, op->size);
    unsigned __int128 sum = (unsigned __int128)value + (cpu->gpr[op->reg] & size_mask(op->size)) +
                            ((cpu->flags & op->imm) != 0);
    bool carry = sum >> 8 * op->size & 1;
    cpu->flags = (uint16_t)((cpu->flags & ~op->imm) | (carry ? op->imm : 0));
    put(cpu, op->reg, op->size, (uint64_t)sum);
    NEXT(cpu, op);
}

/* ---- Which handler ---- */

#define WIDE(name)                                                                                 \
    {                                                                                              \
        [SIZE_16] = name##_16, [SIZE_32] = name##_32, [SIZE_64] = name##_64                        \
    }

static bool bind_bit_test(const Insn *insn, Op *op, unsigned which)
{
    static OpFn *const r[4][SIZES] = {WIDE(bt_r), WIDE(bts_r), WIDE(btr_r), WIDE(btc_r)},
                       *const m[4][SIZES] = {WIDE(bt_m), WIDE(bts_m), WIDE(btr_m), WIDE(btc_m)},
                       *const lock[4][SIZES] = {
                           {NULL}, WIDE(bts_lock), WIDE(btr_lock), WIDE(btc_lock)};
    op->extra = is_gpr(&insn->operands[1]);
    if (op->extra)
        use_register(op, true, &insn->operands[1]);
    if (!insn->has_memory)
        use_register(op, false, &insn->operands[0]);
    SizeTag size = size_tag(insn->operands[0].size, op);
    op->fn = !insn->has_memory    ? r[which][size]
             : op->attr & OP_LOCK ? lock[which][size]
                                  : m[which][size];
    return true;
}

/* reg: the destination; rm or memory: the source that ModRM.rm names; imm: what VEX.vvvv names. */
static bool bind_c(const Insn *insn, Op *op, OpFn *fn)
{
    op->extra = insn->has_memory;
    op->size = (uint8_t)(insn->operands[0].size / 8);
    for (unsigned i = 0; i < insn->zydis->operand_count_visible; i++)
        if (insn->operands[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
            op->imm = (uint64_t)ZydisRegisterGetId(insn->operands[i].reg.value);
    op->fn = fn;
    return true;
}

static bool bind_scan(const Insn *insn, Op *op, OpFn *const handlers[SIZES])
{
    op->extra = insn->has_memory;
    op->fn = handlers[size_tag(insn->operands[0].size, op)];
    return true;
}

static bool bind_crc32(const Insn *insn, Op *op)
{
    static gsize once;
    if (g_once_init_enter(&once)) {
        crc_init();
        g_once_init_leave(&once, 1);
    }
    op->extra = insn->has_memory;
    if (!insn->has_memory)
        use_register(op, true, &insn->operands[1]);
    op->imm = insn->operands[1].size / 8;
    op->fn = crc32;
    return true;
}

static bool bind_add_with_flag(const Insn *insn, Op *op, unsigned flag)
{
    bind_c(insn, op, add_with_flag);
    op->imm = flag;
    return true;
}

static bool bind_bmi(const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_ANDN:
        return bind_c(insn, op, andn);
    case ZYDIS_MNEMONIC_BEXTR:
        return bind_c(insn, op, bextr);
    case ZYDIS_MNEMONIC_BLSI:
        return bind_c(insn, op, blsi);
    case ZYDIS_MNEMONIC_BLSMSK:
        return bind_c(insn, op, blsmsk);
    case ZYDIS_MNEMONIC_BLSR:
        return bind_c(insn, op, blsr);
    case ZYDIS_MNEMONIC_BZHI:
        return bind_c(insn, op, bzhi);
    case ZYDIS_MNEMONIC_MULX:
        return bind_c(insn, op, mulx);
    case ZYDIS_MNEMONIC_PDEP:
        return bind_c(insn, op, pdep);
    case ZYDIS_MNEMONIC_PEXT:
        return bind_c(insn, op, pext);
    case ZYDIS_MNEMONIC_RORX:
        return bind_c(insn, op, rorx);
    case ZYDIS_MNEMONIC_SARX:
        return bind_c(insn, op, sarx);
    case ZYDIS_MNEMONIC_SHLX:
        return bind_c(insn, op, shlx);
    case ZYDIS_MNEMONIC_SHRX:
        return bind_c(insn, op, shrx);
    default:
        return false;
    }
}

bool bind_bits(Cpu *cpu, const Insn *insn, Op *op)
{
    static OpFn *const bsf[SIZES] = WIDE(bsf), *const bsr[SIZES] = WIDE(bsr);
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_BT:
        return bind_bit_test(insn, op, 0);
    case ZYDIS_MNEMONIC_BTS:
        return bind_bit_test(insn, op, 1);
    case ZYDIS_MNEMONIC_BTR:
        return bind_bit_test(insn, op, 2);
    case ZYDIS_MNEMONIC_BTC:
        return bind_bit_test(insn, op, 3);
    case ZYDIS_MNEMONIC_BSF:
        return bind_scan(insn, op, bsf);
    case ZYDIS_MNEMONIC_BSR:
        return bind_scan(insn, op, bsr);
    case ZYDIS_MNEMONIC_TZCNT:
        return bind_c(insn, op, count_trailing);
    case ZYDIS_MNEMONIC_LZCNT:
        return bind_c(insn, op, count_leading);
    case ZYDIS_MNEMONIC_POPCNT:
        return bind_c(insn, op, population);
    case ZYDIS_MNEMONIC_CRC32:
        return bind_crc32(insn, op);
    case ZYDIS_MNEMONIC_ADCX:
        return bind_add_with_flag(insn, op, FLAG_CF);
    case ZYDIS_MNEMONIC_ADOX:
        return bind_add_with_flag(insn, op, FLAG_OF);
    default:
        return bind_bmi(insn, op);
    }
}
