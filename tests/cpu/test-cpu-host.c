/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter against the host's own CPU: every instruction of user mode that both have, each
 * encoding several times with random operands, in 64-bit and 32-bit mode.
 *
 * CPU_HOST_SEED chooses another course, CPU_HOST_ROUNDS how often each encoding is tried.
 */
#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

#include "pair.h"
#include "random.h"
#include "util/bytes.h"

enum { INSN_MAX = 15, MISMATCHES_SHOWN = 40 };
enum { FLAGS_ALL = 0xcd5 };
/* Bit 16 is reserved; bit 17 is AMD's, which the interpreter does not have. */
enum { MXCSR_TRIED = 0x1ffff };
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

typedef struct Stream {
    Pair *pair;
    unsigned bits;
    ZydisDecoder decoder;
    Random random;
    bool inside; /* processors differ in how they fault: no operand of it does */
    PairLeeway leeway;
    unsigned cases, faults, mismatches;
} Stream;

/* ---- Which instructions ---- */

static bool excluded(const ZydisDecodedInstruction *zydis)
{
    switch (zydis->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_XGETBV:
    /* The kernel emulates them under UMIP. */
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_SMSW:
    /* What they say depends on descriptors. */
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    /* Have tests of their own. */
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
        return true;
    default:
        return false;
    }
}

static bool known_set(ZydisISASet set)
{
    static const ZydisISASet sets[] = {
        ZYDIS_ISA_SET_I86,           ZYDIS_ISA_SET_I186,         ZYDIS_ISA_SET_I286REAL,
        ZYDIS_ISA_SET_I286PROTECTED, ZYDIS_ISA_SET_I386,         ZYDIS_ISA_SET_I486,
        ZYDIS_ISA_SET_I486REAL,      ZYDIS_ISA_SET_PENTIUMREAL,  ZYDIS_ISA_SET_PPRO,
        ZYDIS_ISA_SET_FAT_NOP,       ZYDIS_ISA_SET_PREFETCH_NOP, ZYDIS_ISA_SET_LONGMODE,
        ZYDIS_ISA_SET_LAHF,          ZYDIS_ISA_SET_CMOV,         ZYDIS_ISA_SET_CMPXCHG16B,
        ZYDIS_ISA_SET_POPCNT,        ZYDIS_ISA_SET_LZCNT,        ZYDIS_ISA_SET_BMI1,
        ZYDIS_ISA_SET_BMI2,          ZYDIS_ISA_SET_MOVBE,        ZYDIS_ISA_SET_ADOX_ADCX,
        ZYDIS_ISA_SET_PAUSE,         ZYDIS_ISA_SET_CLFSH,        ZYDIS_ISA_SET_CLFLUSHOPT,
        ZYDIS_ISA_SET_CLWB,          ZYDIS_ISA_SET_X87,          ZYDIS_ISA_SET_FCMOV,
        ZYDIS_ISA_SET_PENTIUMMMX,    ZYDIS_ISA_SET_SSE,          ZYDIS_ISA_SET_SSEMXCSR,
        ZYDIS_ISA_SET_SSE_PREFETCH,  ZYDIS_ISA_SET_SSE2,         ZYDIS_ISA_SET_SSE2MMX,
        ZYDIS_ISA_SET_SSE3,          ZYDIS_ISA_SET_SSE3X87,      ZYDIS_ISA_SET_SSSE3,
        ZYDIS_ISA_SET_SSSE3MMX,      ZYDIS_ISA_SET_SSE4,         ZYDIS_ISA_SET_SSE42,
        ZYDIS_ISA_SET_AES,           ZYDIS_ISA_SET_PCLMULQDQ,    ZYDIS_ISA_SET_SHA,
        ZYDIS_ISA_SET_GFNI,          ZYDIS_ISA_SET_AVX,          ZYDIS_ISA_SET_AVX2,
        ZYDIS_ISA_SET_AVX2GATHER,    ZYDIS_ISA_SET_AVXAES,       ZYDIS_ISA_SET_AVX_GFNI,
        ZYDIS_ISA_SET_VAES,          ZYDIS_ISA_SET_VPCLMULQDQ,   ZYDIS_ISA_SET_F16C,
        ZYDIS_ISA_SET_FMA,
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(sets); i++)
        if (sets[i] == set)
            return true;
    return false;
}

/* A case: one instruction and where it starts. */
typedef struct Case {
    uint8_t bytes[INSN_MAX];
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    PairState state;
    unsigned offset; /* of the code */
} Case;

static bool uses_register(const Case *c, ZydisRegisterClass class)
{
    for (unsigned i = 0; i < c->zydis.operand_count; i++)
        if (c->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(c->operands[i].reg.value) == class)
            return true;
    return false;
}

static bool far_transfer(const Case *c)
{
    return c->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
           c->operands[0].type == ZYDIS_OPERAND_TYPE_POINTER;
}

static bool usable(Stream *s, const Case *c)
{
    const ZydisDecodedInstruction *zydis = &c->zydis;
    if (zydis->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        zydis->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return false;
    if (!known_set(zydis->meta.isa_set) || excluded(zydis) || far_transfer(c) ||
        uses_register(c, ZYDIS_REGCLASS_SEGMENT))
        return false;
    /* Whether F3 with REX.B before 90 is PAUSE is each processor's own matter. */
    if (zydis->mnemonic == ZYDIS_MNEMONIC_PAUSE && zydis->attributes & ZYDIS_ATTRIB_HAS_REX)
        return false;
    for (unsigned i = 0; i < zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &c->operands[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        if (operand->mem.segment == ZYDIS_REGISTER_FS || operand->mem.segment == ZYDIS_REGISTER_GS)
            return false;
        if (zydis->address_width == 16)
            return false;
    }
    /* AMD's processors heed an operand size prefix in 64-bit mode, Intel's do not. */
    if (zydis->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
        zydis->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
        return false;
    /* Some processors let REP and REPNE choose the condition of LOOPcc, as the 8086 did. */
    if (zydis->mnemonic == ZYDIS_MNEMONIC_LOOPE || zydis->mnemonic == ZYDIS_MNEMONIC_LOOPNE)
        for (unsigned i = 0; i < zydis->raw.prefix_count; i++)
            if ((zydis->raw.prefixes[i].value & 0xfe) == 0xf2)
                return false;
    /* What has a register for memory is undefined to some. */
    if (zydis->meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP && zydis->raw.modrm.mod == 3)
        return false;
    /* So is an integer width that there is not. */
    if (s->bits == 32 && zydis->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && zydis->raw.vex.W &&
        (zydis->mnemonic == ZYDIS_MNEMONIC_VPINSRD || zydis->mnemonic == ZYDIS_MNEMONIC_VPEXTRD))
        return false;
    /* A transfer goes to code. */
    if (zydis->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && !c->operands[0].imm.is_relative &&
        c->operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    return true;
}

/* ---- Operands ---- */

static int gpr_number(ZydisRegister reg)
{
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return ZydisRegisterGetId(reg);
    default:
        return -1;
    }
}

/* Somewhere for an operand of size bytes: mostly in the data, sometimes over an edge of it. */
static uint64_t choose_address(Stream *s, unsigned size)
{
    unsigned align = below(&s->random, 4) || s->inside ? 64 : 1;
    switch (s->inside ? 4 : below(&s->random, 24)) {
    case 0: /* behind the end, or over it */
        return PAIR_DATA + PAIR_DATA_SIZE - below(&s->random, size + 1);
    case 1:
        return PAIR_DATA - below(&s->random, size + 1);
    case 2:
        return PAIR_CONST + 0x400 + below(&s->random, 64);
    case 3: /* over a page border inside */
        return PAIR_DATA + 0x1000 - below(&s->random, size + 1);
    default:
        return PAIR_DATA + 0x1800 + below(&s->random, 0x200) / align * align;
    }
}

/* Vector registers that are indices become small. */
static void set_indices(Stream *s, Case *c, const ZydisDecodedOperand *operand)
{
    unsigned n = (unsigned)ZydisRegisterGetId(operand->mem.index);
    bool wide = false;
    switch (c->zydis.mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        wide = true;
        break;
    default:
        break;
    }
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *to = c->state.xsave + (i < 4 ? 160 : 576 - 16) + 16 * n + 4 * i;
        int32_t value = (int32_t)below(&s->random, 512) - 256;
        if (below(&s->random, 32) == 0)
            value = 100000; /* not present: a fault in the middle */
        st32_le(to, wide && i % 2 ? (uint32_t)(ld32_le(to - 4) >> 31 ? -1 : 0) : (uint32_t)value);
    }
}

static bool is_bit_string(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_BT || mnemonic == ZYDIS_MNEMONIC_BTS ||
           mnemonic == ZYDIS_MNEMONIC_BTR || mnemonic == ZYDIS_MNEMONIC_BTC;
}

static bool is_load_mxcsr(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_LDMXCSR || mnemonic == ZYDIS_MNEMONIC_VLDMXCSR;
}

/* Changes registers (or the displacement) so that the operand is where it should be. */
static bool place_operand(Stream *s, Case *c, const ZydisDecodedOperand *operand)
{
    uint64_t *gpr = c->state.gpr;
    unsigned size = MAX(operand->size / 8, 1);
    uint64_t target = choose_address(s, size);
    if (is_load_mxcsr(c->zydis.mnemonic) && target - PAIR_DATA <= PAIR_DATA_SIZE - 4)
        st32_le(pair_data(s->pair) + (target - PAIR_DATA), next_random(&s->random) & MXCSR_TRIED);
    int base = gpr_number(operand->mem.base), index = gpr_number(operand->mem.index);
    uint64_t disp = (uint64_t)operand->mem.disp.value;
    unsigned disp_size = c->zydis.raw.disp.size, disp_offset = c->zydis.raw.disp.offset;
    bool rip = operand->mem.base == ZYDIS_REGISTER_RIP || operand->mem.base == ZYDIS_REGISTER_EIP;
    if (ZydisRegisterGetClass(operand->mem.index) == ZYDIS_REGCLASS_XMM ||
        ZydisRegisterGetClass(operand->mem.index) == ZYDIS_REGCLASS_YMM) {
        set_indices(s, c, operand);
        target = PAIR_DATA + 0x2000 + below(&s->random, 64);
        index = -1;
    }
    if (is_bit_string(c->zydis.mnemonic) && c->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        int bit = gpr_number(c->operands[1].reg.value);
        if (bit < 0 || bit == base || bit == index)
            return false;
        gpr[bit] = (uint64_t)((int64_t)below(&s->random, 2048) - 1024);
    }
    if (c->zydis.mnemonic == ZYDIS_MNEMONIC_XLAT) {
        gpr[RBX] = target - (gpr[RAX] & 0xff);
        return true;
    }
    if (base < 0 && index < 0) {
        uint64_t value = target;
        if (rip)
            value = target - (c->state.rip + c->zydis.length);
        if (disp_size != 32)
            return disp_size == 64 && (st64_le(c->bytes + disp_offset, target), true);
        st32_le(c->bytes + disp_offset, (uint32_t)value);
        return true;
    }
    if (base < 0) {
        unsigned scale = MAX(operand->mem.scale, 1);
        if (disp_size != 32)
            return false;
        gpr[index] = below(&s->random, 1000);
        st32_le(c->bytes + disp_offset, (uint32_t)(target - gpr[index] * scale));
        return true;
    }
    if (base == index) {
        if (s->inside)
            return false;
        gpr[base] = (target - disp) / (1u + operand->mem.scale);
        return true;
    }
    gpr[base] = target - disp - (index < 0 ? 0 : gpr[index] * operand->mem.scale);
    if (c->zydis.address_width == 32 && below(&s->random, 2))
        gpr[base] = (uint32_t)gpr[base];
    return true;
}

/* Gives the instruction something sensible to work on. */
static void place_integers(Stream *s, Case *c)
{
    uint64_t *gpr = c->state.gpr;
    switch (c->zydis.mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        if (below(&s->random, 4))
            gpr[RDX] = below(&s->random, 2) ? 0 : ~0ull;
        break;
    default:
        break;
    }
    if (c->zydis.attributes &
        (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
        gpr[RCX] = c->zydis.address_width == 32 && s->bits == 64
                       ? (next_random(&s->random) & ~0xffffffffull) | below(&s->random, 40)
                       : below(&s->random, 40);
}

/* Where a relative branch, a return or an indirect jump may go. */
static bool place_branch(Stream *s, Case *c)
{
    const ZydisDecodedOperand *first = &c->operands[0];
    uint64_t target;
    do /* not into the instruction itself */
        target = PAIR_CODE + below(&s->random, PAIR_CODE_SIZE);
    while (target - (c->state.rip - INSN_MAX) < 2 * INSN_MAX);
    if (c->zydis.mnemonic == ZYDIS_MNEMONIC_ENTER) {
        c->bytes[c->zydis.raw.imm[0].offset + 1] = 0;
        return true;
    }
    if (c->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE)
        return true;
    if (first->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        int n = gpr_number(first->reg.value);
        if (n < 0 || n == RSP)
            return false;
        c->state.gpr[n] = target;
        return true;
    }
    if (c->zydis.raw.imm[0].size == 8)
        c->bytes[c->zydis.raw.imm[0].offset] =
            (uint8_t)(below(&s->random, 2) ? below(&s->random, 128) : 0x80 + below(&s->random, 96));
    else
        st32_le(c->bytes + c->zydis.raw.imm[0].offset,
                (uint32_t)(target - (c->state.rip + c->zydis.length)));
    return true;
}

/* ---- Comparing ---- */

/* Runs both and says whether they agree; flags: those that are defined. */
static bool agree(Stream *s, const PairState *state, const uint8_t *code, unsigned length,
                  unsigned offset, uint32_t flags, GString *text)
{
    static PairResult host, guest;
    static uint8_t before[PAIR_DATA_SIZE];
    memcpy(before, pair_data(s->pair), sizeof(before));
    pair_set_code(s->pair, offset, code, length);
    pair_run_host(s->pair, s->bits, state, &host);
    memcpy(pair_data(s->pair), before, sizeof(before));
    pair_run_guest(s->pair, s->bits, state, &guest);
    memcpy(pair_data(s->pair), before, sizeof(before));
    s->leeway.flags = flags;
    pair_compare(s->bits, &host, &guest, &s->leeway, text);
    s->cases++;
    s->faults += host.vector != 3;
    return !text->len;
}

static void show(Stream *s, const Case *c, const GString *differences, uint64_t seed)
{
    ZydisFormatter formatter;
    char text[128] = "?";
    if (s->mismatches++ >= MISMATCHES_SHOWN)
        return;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterFormatInstruction(&formatter, &c->zydis, c->operands,
                                    c->zydis.operand_count_visible, text, sizeof(text),
                                    c->state.rip, NULL);
    g_autoptr(GString) bytes = g_string_new(NULL);
    for (unsigned i = 0; i < c->zydis.length; i++)
        g_string_append_printf(bytes, "%02x ", c->bytes[i]);
    g_printerr("# %u bits, state %" G_GINT64_MODIFIER
               "x: %s (%s) fcw %04x mxcsr %04x flags %x rcx %" G_GINT64_MODIFIER "x\n%s",
               s->bits, seed, text, bytes->str, ld16_le(c->state.xsave),
               ld32_le(c->state.xsave + 24), c->state.rflags, c->state.gpr[RCX], differences->str);
}

/* ---- One case ---- */

static uint32_t defined_flags(const Case *c)
{
    uint32_t undefined = c->zydis.cpu_flags ? c->zydis.cpu_flags->undefined : 0;
    return FLAGS_ALL & ~undefined;
}

static bool prepare(Stream *s, Case *c)
{
    c->offset = below(&s->random, 8) ? 0x800 + below(&s->random, 64)
                                     : 0x1000 - below(&s->random, c->zydis.length);
    c->state.rip = PAIR_CODE + c->offset;
    for (unsigned i = 0; i < 16; i++)
        c->state.gpr[i] = random_integer(&s->random);
    c->state.gpr[RSP] = PAIR_DATA + 0x1400 + 8 * below(&s->random, 64);
    if (below(&s->random, 4))
        c->state.gpr[RBP] = PAIR_DATA + 0x1800 + below(&s->random, 256);
    else
        c->state.gpr[RBP] |= 0x100000;
    c->state.rflags = (uint32_t)next_random(&s->random) & FLAGS_ALL;
    if (below(&s->random, 4))
        c->state.rflags &= ~0x400u;
    random_xsave(&s->random, c->state.xsave);
    place_integers(s, c);
    for (unsigned i = 0; i < c->zydis.operand_count; i++)
        if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            !place_operand(s, c, &c->operands[i]))
            return false;
    return place_branch(s, c);
}

/* The data changes little from case to case. */
static void stir_data(Stream *s)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = below(&s->random, 2) ? 0x1800 + below(&s->random, 0x240) / 16 * 16
                                           : below(&s->random, PAIR_DATA_SIZE / 16) * 16;
        random_vector(&s->random, pair_data(s->pair) + at);
    }
    random_x87(&s->random, pair_data(s->pair) + 0x1800 + below(&s->random, 0x240) / 16 * 16);
}

static bool has_several_accesses(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_CMPSB || mnemonic == ZYDIS_MNEMONIC_CMPSW ||
           mnemonic == ZYDIS_MNEMONIC_CMPSD || mnemonic == ZYDIS_MNEMONIC_CMPSQ ||
           mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
           mnemonic == ZYDIS_MNEMONIC_FLDENV || mnemonic == ZYDIS_MNEMONIC_FNSTENV ||
           mnemonic == ZYDIS_MNEMONIC_FNSAVE || mnemonic == ZYDIS_MNEMONIC_FRSTOR;
}

static bool has_several_steps(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_DPPS || mnemonic == ZYDIS_MNEMONIC_DPPD ||
           mnemonic == ZYDIS_MNEMONIC_VDPPS || mnemonic == ZYDIS_MNEMONIC_VDPPD;
}

static bool faults_differ(const Case *c)
{
    if (c->zydis.meta.isa_set == ZYDIS_ISA_SET_SHA)
        return true; /* for alignment, or not */
    switch (c->zydis.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ: /* for bytes that the mask leaves out, or not */
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_POPA: /* before or after registers are loaded */
    case ZYDIS_MNEMONIC_POPAD:
        return true;
    case ZYDIS_MNEMONIC_MOVSXD: /* reads two or four bytes */
        return c->zydis.operand_width == 16;
    default:
        return false;
    }
}

static void try_case(Stream *s, Case *c)
{
    uint64_t seed = s->random;
    g_autoptr(GString) text = g_string_new(NULL);
    stir_data(s);
    s->inside = faults_differ(c);
    s->leeway.steps = has_several_steps(c->zydis.mnemonic);
    s->leeway.split = has_several_accesses(c->zydis.mnemonic);
    if (!prepare(s, c))
        return;
    if (!agree(s, &c->state, c->bytes, c->zydis.length, c->offset, defined_flags(c), text))
        show(s, c, text, seed);
}

static bool decode(Stream *s, Case *c)
{
    return ZYAN_SUCCESS(
               ZydisDecoderDecodeFull(&s->decoder, c->bytes, INSN_MAX, &c->zydis, c->operands)) &&
           usable(s, c);
}

static void random_tail(Stream *s, Case *c, unsigned n)
{
    for (; n < INSN_MAX; n++)
        c->bytes[n] = (uint8_t)next_random(&s->random);
}

/* ---- All encodings ---- */

static void legacy_opcode(Stream *s, unsigned map, unsigned opcode, unsigned rounds)
{
    static const uint8_t mandatory[] = {0, 0x66, 0xf3, 0xf2};
    static Case c;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned prefix = 0; prefix < 4; prefix++) {
            unsigned n = 0;
            if (mandatory[prefix])
                c.bytes[n++] = mandatory[prefix];
            if (below(&s->random, 16) == 0)
                c.bytes[n++] = 0x67;
            if (below(&s->random, 32) == 0)
                c.bytes[n++] = 0xf0;
            if (s->bits == 64 && below(&s->random, 2))
                c.bytes[n++] = (uint8_t)(0x40 | below(&s->random, 16));
            if (map)
                c.bytes[n++] = 0x0f;
            if (map > 1)
                c.bytes[n++] = map == 2 ? 0x38 : 0x3a;
            c.bytes[n++] = (uint8_t)opcode;
            random_tail(s, &c, n);
            if (below(&s->random, 2))
                c.bytes[n] |= 0xc0;
            if (decode(s, &c))
                try_case(s, &c);
        }
}

static void vex_opcode(Stream *s, unsigned map, unsigned opcode, unsigned rounds)
{
    static Case c;
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned form = 0; form < 16; form++) {
            unsigned pp = form & 3, l = form >> 2 & 1, w = form >> 3;
            unsigned rxb = s->bits == 64 ? below(&s->random, 8) : below(&s->random, 2) | 6;
            unsigned vvvv = below(&s->random, 3) ? below(&s->random, 16) : 15;
            c.bytes[0] = 0xc4;
            c.bytes[1] = (uint8_t)(rxb << 5 | map);
            c.bytes[2] = (uint8_t)(w << 7 | vvvv << 3 | l << 2 | pp);
            c.bytes[3] = (uint8_t)opcode;
            random_tail(s, &c, 4);
            if (below(&s->random, 2))
                c.bytes[4] |= 0xc0;
            if (decode(s, &c))
                try_case(s, &c);
        }
}

/* ---- Several instructions in a row ---- */

enum { STREAM_INSNS = 8 };

/* A random x87, MMX, SSE or AVX instruction on registers or a fixed address, put at *c's rip. */
static bool random_fp(Stream *s, Case *c)
{
    unsigned kind = below(&s->random, 32) ? below(&s->random, 3) : 3, n = 0;
    random_tail(s, c, 0);
    if (kind == 0) {
        c->bytes[n++] = (uint8_t)(0xd8 + below(&s->random, 8));
    } else if (kind == 1) {
        static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3};
        if (below(&s->random, 4))
            c->bytes[n++] = prefixes[below(&s->random, 3)];
        c->bytes[n++] = 0x0f;
        c->bytes[n++] = (uint8_t)(0x50 + below(&s->random, 0xb0));
    } else if (kind == 2) {
        c->bytes[n++] = 0xc5;
        c->bytes[n++] = (uint8_t)(0xc0 | below(&s->random, 64));
        c->bytes[n++] = (uint8_t)(0x50 + below(&s->random, 0xb0));
    } else {
        c->bytes[n++] = 0x0f;
        c->bytes[n++] = 0xae; /* LDMXCSR, STMXCSR */
        c->bytes[n] = (uint8_t)(0x10 | below(&s->random, 2) << 3);
    }
    c->bytes[n] =
        (uint8_t)(below(&s->random, 2) && kind < 3 ? c->bytes[n] | 0xc0 : (c->bytes[n] & 0x38) | 5);
    if (!decode(s, c) || c->zydis.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
        return false;
    switch (c->zydis.meta.isa_set) {
    case ZYDIS_ISA_SET_X87:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_AVX:
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_SSEMXCSR:
        break;
    default:
        return false;
    }
    s->inside |= faults_differ(c);
    s->leeway.steps |= has_several_steps(c->zydis.mnemonic);
    s->leeway.split |= has_several_accesses(c->zydis.mnemonic);
    for (unsigned i = 0; i < c->zydis.operand_count; i++)
        if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            !place_operand(s, c, &c->operands[i]))
            return false;
    return true;
}

static void try_stream(Stream *s)
{
    static Case c;
    PairState state;
    uint8_t code[STREAM_INSNS * INSN_MAX];
    unsigned length = 0;
    uint64_t seed = s->random;
    g_autoptr(GString) text = g_string_new(NULL);
    stir_data(s);
    s->inside = below(&s->random, 8);
    s->leeway.split = s->leeway.steps = false;
    memset(&c, 0, sizeof(c));
    c.offset = 0x800;
    random_xsave(&s->random, c.state.xsave);
    for (unsigned i = 0; i < 16; i++)
        c.state.gpr[i] = random_integer(&s->random);
    c.state.gpr[RSP] = PAIR_DATA + 0x1400;
    c.state.gpr[RDI] = PAIR_DATA + 0x1500;
    state = c.state;
    for (unsigned i = 0; i < STREAM_INSNS; i++) {
        c.state.rip = PAIR_CODE + c.offset + length;
        while (!random_fp(s, &c))
            continue;
        memcpy(code + length, c.bytes, c.zydis.length);
        length += c.zydis.length;
    }
    memcpy(state.gpr, c.state.gpr, sizeof(state.gpr));
    state.rip = PAIR_CODE + c.offset;
    if (!agree(s, &state, code, length, c.offset, defined_flags(&c), text)) {
        c.state.rip = state.rip;
        show(s, &c, text, seed);
    }
}

static unsigned rounds(void)
{
    const char *text = g_getenv("CPU_HOST_ROUNDS");
    return text ? (unsigned)atoi(text) : 6;
}

/* False if there is nothing to compare with. */
static bool start(Stream *s, unsigned bits)
{
    const char *seed = g_getenv("CPU_HOST_SEED");
    *s = (Stream){.bits = bits, .random = seed ? g_ascii_strtoull(seed, NULL, 0) : 0x1234567};
    s->pair = pair_new("max");
    if (!pair_host_runs(s->pair, bits)) {
        pair_free(s->pair);
        return false;
    }
    ZydisDecoderInit(&s->decoder,
                     bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                     bits == 64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
    for (unsigned i = 0; i < PAIR_CONST_SIZE; i += 16)
        random_vector(&s->random, pair_const(s->pair) + i);
    g_test_message("seed 0x%" G_GINT64_MODIFIER "x", s->random);
    return true;
}

static void finish(Stream *s)
{
    g_test_message("%u cases, %u of them faulted, %u mismatches", s->cases, s->faults,
                   s->mismatches);
    pair_free(s->pair);
    g_assert_cmpuint(s->cases, >, 1000);
    if (s->mismatches)
        g_test_fail();
}

static void test_legacy(gconstpointer bits)
{
    Stream s;
    if (!start(&s, GPOINTER_TO_UINT(bits)))
        return;
    for (unsigned map = 0; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            legacy_opcode(&s, map, opcode, rounds() * (map < 2 ? 4 : 2));
    finish(&s);
}

static void test_x87(gconstpointer bits)
{
    Stream s;
    if (!start(&s, GPOINTER_TO_UINT(bits)))
        return;
    for (unsigned opcode = 0xd8; opcode < 0xe0; opcode++)
        legacy_opcode(&s, 0, opcode, rounds() * 100);
    finish(&s);
}

static void test_vex(gconstpointer bits)
{
    Stream s;
    if (!start(&s, GPOINTER_TO_UINT(bits)))
        return;
    for (unsigned map = 1; map < 4; map++)
        for (unsigned opcode = 0; opcode < 256; opcode++)
            vex_opcode(&s, map, opcode, rounds());
    finish(&s);
}

static void test_streams(gconstpointer bits)
{
    Stream s;
    if (!start(&s, GPOINTER_TO_UINT(bits)))
        return;
    for (unsigned i = 0; i < rounds() * 3000; i++)
        try_stream(&s);
    finish(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/cpu-host/64/legacy", GUINT_TO_POINTER(64), test_legacy);
    g_test_add_data_func("/cpu-host/64/x87", GUINT_TO_POINTER(64), test_x87);
    g_test_add_data_func("/cpu-host/64/vex", GUINT_TO_POINTER(64), test_vex);
    g_test_add_data_func("/cpu-host/64/streams", GUINT_TO_POINTER(64), test_streams);
    g_test_add_data_func("/cpu-host/32/streams", GUINT_TO_POINTER(32), test_streams);
    g_test_add_data_func("/cpu-host/32/legacy", GUINT_TO_POINTER(32), test_legacy);
    g_test_add_data_func("/cpu-host/32/x87", GUINT_TO_POINTER(32), test_x87);
    g_test_add_data_func("/cpu-host/32/vex", GUINT_TO_POINTER(32), test_vex);
    return g_test_run();
}
