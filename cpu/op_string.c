/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MOVS, STOS, LODS, CMPS, SCAS, alone and repeated. (Intel SDM vol. 2; INS and OUTS are
 * system.c's.)
 *
 * A repetition goes in runs of elements that stay inside a page on both sides, on host memory where
 * there is; else by single elements.  Registers are brought up to date after each run, so that a
 * fault or an interrupt finds the instruction restartable.
 */
#include "op_common.h"

/* ---- Registers: addresses and counts have the address size ---- */

static inline uint64_t cut(const Op *op, uint64_t value)
{
    return value << op->address_shift >> op->address_shift;
}

static inline void set_cut(Cpu *cpu, const Op *op, unsigned reg, uint64_t value)
{
    if (op->address_shift == 48)
        PUT_16(reg, 0, value);
    else
        cpu->gpr[reg] = cut(op, value);
}

static inline void advance(Cpu *cpu, const Op *op, unsigned reg, int64_t bytes)
{
    set_cut(cpu, op, reg, cpu->gpr[reg] + (uint64_t)bytes);
}

static inline int64_t step(const Cpu *cpu, const Op *op)
{
    return cpu->eflags & EFL_DF ? -(int64_t)op->size : op->size;
}

static inline uint64_t source_at(Cpu *cpu, const Op *op, unsigned length)
{
    return cpu_linear(cpu, op, cut(op, cpu->gpr[GPR_RSI]), length, ACCESS_READ);
}

static inline uint64_t target_at(Cpu *cpu, const Op *op, unsigned length, Access access)
{
    uint64_t address = cut(op, cpu->gpr[GPR_RDI]);
    if (segment_is_flat(cpu, SEG_ES))
        return address;
    return cpu_linear_checked(cpu, op, SEG_ES, address, length, access);
}

/* ---- Elements ---- */

static uint64_t load_element(Cpu *cpu, const Op *op, uint64_t at)
{
    switch (op->size) {
    case 1:
        return LOAD_8(at);
    case 2:
        return LOAD_16(at);
    case 4:
        return LOAD_32(at);
    default:
        return LOAD_64(at);
    }
}

static void store_element(Cpu *cpu, const Op *op, uint64_t at, uint64_t value)
{
    switch (op->size) {
    case 1:
        STORE_8(at, (uint8_t)value);
        break;
    case 2:
        STORE_16(at, (uint16_t)value);
        break;
    case 4:
        STORE_32(at, (uint32_t)value);
        break;
    default:
        STORE_64(at, value);
    }
}

/* The flags of CMP. */
static void compare(Cpu *cpu, unsigned size, uint64_t a, uint64_t b)
{
    uint16_t flags;
    unsigned up = 64 - 8 * size;
    /* With the operands at the top all but PF and AF come out right; those are of the low byte. */
    __asm__("cmp %[b], %[a]" ASM_FLAGS_OUT
            : "=&a"(flags)
            : [a] "r"(a << up), [b] "r"(b << up)
            : "cc");
    if (size < 8) {
        uint16_t low;
        __asm__("cmpb %[b], %[a]" ASM_FLAGS_OUT
                : "=&a"(low)
                : [a] "q"((uint8_t)a), [b] "q"((uint8_t)b)
                : "cc");
        flags = (uint16_t)((flags & ~(FLAG_PF | FLAG_AF)) | (low & (FLAG_PF | FLAG_AF)));
    }
    cpu->flags = flags;
}

static void one_movs(Cpu *cpu, const Op *op)
{
    uint64_t value = load_element(cpu, op, source_at(cpu, op, op->size));
    store_element(cpu, op, target_at(cpu, op, op->size, ACCESS_WRITE), value);
    advance(cpu, op, GPR_RSI, step(cpu, op));
    advance(cpu, op, GPR_RDI, step(cpu, op));
}

static void one_stos(Cpu *cpu, const Op *op)
{
    store_element(cpu, op, target_at(cpu, op, op->size, ACCESS_WRITE), cpu->gpr[GPR_RAX]);
    advance(cpu, op, GPR_RDI, step(cpu, op));
}

static void one_lods(Cpu *cpu, const Op *op)
{
    uint64_t value = load_element(cpu, op, source_at(cpu, op, op->size));
    if (op->size == 1)
        PUT_8(GPR_RAX, 0, value);
    else if (op->size == 2)
        PUT_16(GPR_RAX, 0, value);
    else
        cpu->gpr[GPR_RAX] = value;
    advance(cpu, op, GPR_RSI, step(cpu, op));
}

static void one_cmps(Cpu *cpu, const Op *op)
{
    uint64_t a = load_element(cpu, op, source_at(cpu, op, op->size));
    uint64_t b = load_element(cpu, op, target_at(cpu, op, op->size, ACCESS_READ));
    compare(cpu, op->size, a, b);
    advance(cpu, op, GPR_RSI, step(cpu, op));
    advance(cpu, op, GPR_RDI, step(cpu, op));
}

static void one_scas(Cpu *cpu, const Op *op)
{
    uint64_t b = load_element(cpu, op, target_at(cpu, op, op->size, ACCESS_READ));
    compare(cpu, op->size, cpu->gpr[GPR_RAX] & size_mask(op->size), b);
    advance(cpu, op, GPR_RDI, step(cpu, op));
}

/* ---- Runs ---- */

/* Bytes from an address on, upwards, that lie in one page, in the segment, and do not wrap. */
static uint64_t room(const Cpu *cpu, const Op *op, unsigned reg, unsigned seg)
{
    uint64_t address = cut(op, cpu->gpr[reg]), bytes = 0x1000;
    uint64_t left = (UINT64_MAX >> op->address_shift) - address;
    const CpuSegment *segment = &cpu->seg[seg];
    uint64_t base = segment_is_flat(cpu, seg) ? 0 : segment->base;
    bytes = MIN(bytes - ((base + address) & 0xfff), left + 1 ? left + 1 : UINT64_MAX);
    if (segment_is_flat(cpu, seg) || (cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return bytes;
    bool expands_down = (segment->attr & (ATTR_S | 0xc)) == (ATTR_S | 4);
    if (segment->unusable || expands_down || address > segment->limit)
        return 0;
    return MIN(bytes, segment->limit - address + 1);
}

/* How many elements a run at both addresses can have; 0: a single one is to be tried. */
static uint64_t run_length(const Cpu *cpu, const Op *op, uint64_t count, bool source, bool target)
{
    if ((cpu->eflags & EFL_DF) || cpu->checks_alignment)
        return 0;
    uint64_t bytes = 0x1000;
    if (source)
        bytes = MIN(bytes, room(cpu, op, GPR_RSI, op->seg));
    if (target)
        bytes = MIN(bytes, room(cpu, op, GPR_RDI, SEG_ES));
    return MIN(count, bytes / op->size);
}

/* Upwards, an element after the other: what overlaps repeats. */
static void host_move(uint8_t *to, const uint8_t *from, uint64_t count, unsigned size)
{
    uint64_t bytes = count * size;
    if (to >= from + bytes || to <= from) {
        memmove(to, from, bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i += size) {
        uint64_t value = 0;
        memcpy(&value, from + i, size);
        memcpy(to + i, &value, size);
    }
}

static void host_fill(uint8_t *to, uint64_t value, uint64_t count, unsigned size)
{
    switch (size) {
    case 1:
        memset(to, (uint8_t)value, count);
        break;
    case 2:
        for (uint64_t i = 0; i < count; i++)
            ((Host_16 *)(void *)to)[i] = (uint16_t)value;
        break;
    case 4:
        for (uint64_t i = 0; i < count; i++)
            ((Host_32 *)(void *)to)[i] = (uint32_t)value;
        break;
    default:
        for (uint64_t i = 0; i < count; i++)
            ((Host_64 *)(void *)to)[i] = value;
    }
}

/* Each does up to count elements, at least one; returns how many. */
typedef uint64_t Run(Cpu *cpu, const Op *op, uint64_t count);

static uint64_t run_movs(Cpu *cpu, const Op *op, uint64_t count)
{
    uint64_t run = run_length(cpu, op, count, true, true);
    unsigned bytes = (unsigned)run * op->size;
    if (run > 1) {
        const uint8_t *from = cpu_host(cpu, op, source_at(cpu, op, bytes), bytes, ACCESS_READ);
        uint8_t *to =
            cpu_host(cpu, op, target_at(cpu, op, bytes, ACCESS_WRITE), bytes, ACCESS_WRITE);
        if (from && to) {
            host_move(to, from, run, op->size);
            cpu_host_done(cpu);
            advance(cpu, op, GPR_RSI, bytes);
            advance(cpu, op, GPR_RDI, bytes);
            return run;
        }
    }
    one_movs(cpu, op);
    return 1;
}

static uint64_t run_stos(Cpu *cpu, const Op *op, uint64_t count)
{
    uint64_t run = run_length(cpu, op, count, false, true);
    unsigned bytes = (unsigned)run * op->size;
    if (run > 1) {
        uint8_t *to =
            cpu_host(cpu, op, target_at(cpu, op, bytes, ACCESS_WRITE), bytes, ACCESS_WRITE);
        if (to) {
            host_fill(to, cpu->gpr[GPR_RAX], run, op->size);
            cpu_host_done(cpu);
            advance(cpu, op, GPR_RDI, bytes);
            return run;
        }
    }
    one_stos(cpu, op);
    return 1;
}

static uint64_t run_lods(Cpu *cpu, const Op *op, uint64_t count)
{
    one_lods(cpu, op);
    return 1;
}

/* How many elements until the first pair that ends the repetition, that one included. */
static uint64_t host_search(const uint8_t *a, unsigned a_step, const uint8_t *b, uint64_t count,
                            unsigned size, bool until_equal)
{
    for (uint64_t i = 0; i < count; i++)
        if ((memcmp(a + i * a_step, b + i * size, size) == 0) == until_equal)
            return i + 1;
    return count;
}

static uint64_t run_cmps(Cpu *cpu, const Op *op, uint64_t count)
{
    uint64_t run = run_length(cpu, op, count, true, true);
    unsigned bytes = (unsigned)run * op->size;
    if (run > 2) {
        const uint8_t *a = cpu_host(cpu, op, source_at(cpu, op, bytes), bytes, ACCESS_READ);
        const uint8_t *b =
            cpu_host(cpu, op, target_at(cpu, op, bytes, ACCESS_READ), bytes, ACCESS_READ);
        if (a && b) {
            run = host_search(a, op->size, b, run, op->size, op->attr & OP_REPNE);
            /* The last pair is compared for its flags. */
            advance(cpu, op, GPR_RSI, (int64_t)((run - 1) * op->size));
            advance(cpu, op, GPR_RDI, (int64_t)((run - 1) * op->size));
            one_cmps(cpu, op);
            return run;
        }
    }
    one_cmps(cpu, op);
    return 1;
}

static uint64_t run_scas(Cpu *cpu, const Op *op, uint64_t count)
{
    uint64_t run = run_length(cpu, op, count, false, true);
    unsigned bytes = (unsigned)run * op->size;
    if (run > 2) {
        const uint8_t *b =
            cpu_host(cpu, op, target_at(cpu, op, bytes, ACCESS_READ), bytes, ACCESS_READ);
        if (b) {
            const uint8_t *a = (const uint8_t *)&cpu->gpr[GPR_RAX];
            run = host_search(a, 0, b, run, op->size, op->attr & OP_REPNE);
            advance(cpu, op, GPR_RDI, (int64_t)((run - 1) * op->size));
            one_scas(cpu, op);
            return run;
        }
    }
    one_scas(cpu, op);
    return 1;
}

/* ---- Repetition ---- */

/* Whether the repetition has to stop for a while, at an instruction boundary. */
static bool must_pause(Cpu *cpu)
{
    return cpu->mode & MODE_SLOW || --cpu->budget < 0 ||
           (__atomic_load_n(&cpu->vcpu->requests, __ATOMIC_RELAXED) & cpu->request_mask) ||
           __atomic_load_n(&cpu->attention, __ATOMIC_RELAXED);
}

/* True: done; false: to be gone on with, after a look at what is requested. */
static bool repeat(Cpu *cpu, const Op *op, Run *run, bool compares)
{
    uint64_t count = cut(op, cpu->gpr[GPR_RCX]);
    while (count) {
        /* Single steps, breakpoints and rescues see every element. */
        count -= run(cpu, op, cpu->mode & MODE_SLOW ? 1 : count);
        set_cut(cpu, op, GPR_RCX, count);
        if (compares && ((cpu->flags & FLAG_ZF) != 0) == ((op->attr & OP_REPNE) != 0))
            return true;
        if (count && must_pause(cpu)) {
            /* The code breakpoint was had: interrupts save that (SDM vol. 3, 17.3.1.1). */
            cpu->eflags |= EFL_RF;
            return false;
        }
    }
    return true;
}

#define STRING(name, compares)                                                                     \
    HANDLER(name)                                                                                  \
    {                                                                                              \
        one_##name(cpu, op);                                                                       \
        NEXT(cpu, op);                                                                             \
    }                                                                                              \
    HANDLER(rep_##name)                                                                            \
    {                                                                                              \
        if (repeat(cpu, op, run_##name, compares))                                                 \
            NEXT(cpu, op);                                                                         \
        cpu->rip = op_rip(cpu, op);                                                                \
        LEAVE(cpu);                                                                                \
    }
STRING(movs, false)
STRING(stos, false)
STRING(lods, false)
STRING(cmps, true)
STRING(scas, true)

/* ---- Which handler ---- */

typedef enum { NONE, MOVS, STOS, LODS, CMPS, SCAS } Kind;

static Kind kind_of(ZydisMnemonic mnemonic, uint8_t *size)
{
#define KIND(name, letter, bytes)                                                                  \
    case ZYDIS_MNEMONIC_##name##letter:                                                            \
        *size = bytes;                                                                             \
        return name;
#define KINDS(name) KIND(name, B, 1) KIND(name, W, 2) KIND(name, D, 4) KIND(name, Q, 8)
    switch (mnemonic) {
        KINDS(MOVS)
        KINDS(STOS)
        KINDS(LODS)
        KINDS(CMPS)
        KINDS(SCAS)
    default:
        return NONE;
    }
}

/* The last of F2 and F3, whichever the instruction accepts by the books. */
static uint8_t repeat_prefix(const ZydisDecodedInstruction *zydis)
{
    for (unsigned i = zydis->raw.prefix_count; i-- > 0;)
        if ((zydis->raw.prefixes[i].value & 0xfe) == 0xf2)
            return zydis->raw.prefixes[i].value == 0xf3 ? OP_REP : OP_REPNE;
    return 0;
}

bool bind_string(Cpu *cpu, const Insn *insn, Op *op)
{
    static OpFn *const handlers[][2] = {[MOVS] = {movs, rep_movs},
                                        [STOS] = {stos, rep_stos},
                                        [LODS] = {lods, rep_lods},
                                        [CMPS] = {cmps, rep_cmps},
                                        [SCAS] = {scas, rep_scas}};
    Kind kind = kind_of(insn->zydis->mnemonic, &op->size);
    /* SSE2's MOVSD and CMPSD have the same names. */
    if (kind == NONE || insn->zydis->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return false;
    uint8_t prefix = repeat_prefix(insn->zydis);
    op->attr = (uint8_t)((op->attr & ~(OP_REP | OP_REPNE)) | prefix);
    op_use_segment(cpu, op, insn_data_segment(insn));
    op->address_shift = (uint8_t)(64 - insn->zydis->address_width);
    op->fn = handlers[kind][prefix != 0];
    return true;
}
