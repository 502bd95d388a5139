/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which handler for which x87, MMX, SSE and AVX instruction (Intel SDM vol. 2; exception classes of
 * 2.4 and tables 23-4 to 23-9 of vol. 3).
 */
#include "fpu.h"
#include "util/log.h"

/* ---- What the CPU has ---- */

static const struct {
    ZydisISASet set;
    const char *features; /* all of them, with spaces between */
} isa_features[] = {
    {ZYDIS_ISA_SET_X87, "fpu"},
    {ZYDIS_ISA_SET_FCMOV, "fpu cmov"},
    {ZYDIS_ISA_SET_PPRO, "fpu cmov"}, /* FCOMI */
    {ZYDIS_ISA_SET_PENTIUMMMX, "mmx"},
    {ZYDIS_ISA_SET_SSE, "sse"},
    {ZYDIS_ISA_SET_SSEMXCSR, "sse"},
    {ZYDIS_ISA_SET_SSE_PREFETCH, ""},
    {ZYDIS_ISA_SET_PREFETCH_NOP, ""},
    {ZYDIS_ISA_SET_PREFETCHWT1, ""},
    {ZYDIS_ISA_SET_SSE2, "sse2"},
    {ZYDIS_ISA_SET_SSE2MMX, "sse2 mmx"},
    {ZYDIS_ISA_SET_SSE3, "pni"},
    {ZYDIS_ISA_SET_SSE3X87, "pni fpu"},
    {ZYDIS_ISA_SET_SSSE3, "ssse3"},
    {ZYDIS_ISA_SET_SSSE3MMX, "ssse3 mmx"},
    {ZYDIS_ISA_SET_SSE4, "sse4.1"},
    {ZYDIS_ISA_SET_SSE42, "sse4.2"},
    {ZYDIS_ISA_SET_AES, "aes"},
    {ZYDIS_ISA_SET_PCLMULQDQ, "pclmulqdq"},
    {ZYDIS_ISA_SET_SHA, "sha-ni"},
    {ZYDIS_ISA_SET_GFNI, "gfni"},
    {ZYDIS_ISA_SET_AVX, "avx"},
    {ZYDIS_ISA_SET_AVX2, "avx2"},
    {ZYDIS_ISA_SET_AVX2GATHER, "avx2"},
    {ZYDIS_ISA_SET_AVXAES, "avx aes pclmulqdq"},
    {ZYDIS_ISA_SET_AVX_GFNI, "avx gfni"},
    {ZYDIS_ISA_SET_AVX_VNNI, "avx-vnni"},
    {ZYDIS_ISA_SET_VAES, "vaes"},
    {ZYDIS_ISA_SET_VPCLMULQDQ, "vpclmulqdq"},
    {ZYDIS_ISA_SET_F16C, "f16c"},
    {ZYDIS_ISA_SET_FMA, "fma"},
    {ZYDIS_ISA_SET_FXSAVE, "fxsr"},
    {ZYDIS_ISA_SET_FXSAVE64, "fxsr"},
    {ZYDIS_ISA_SET_XSAVE, "xsave"},
    {ZYDIS_ISA_SET_XSAVEOPT, "xsaveopt"},
    {ZYDIS_ISA_SET_XSAVEC, "xsavec"},
    {ZYDIS_ISA_SET_CLFSH, "clflush"},
    {ZYDIS_ISA_SET_CLFLUSHOPT, "clflushopt"},
    {ZYDIS_ISA_SET_CLWB, "clwb"},
};

static bool has_all(GArray *leaves, const char *features)
{
    g_auto(GStrv) list = g_strsplit(features, " ", -1);
    for (char **name = list; *name; name++)
        if (**name && !cpuid_has((const CpuidEntry *)(void *)leaves->data, leaves->len, *name))
            return false;
    return true;
}

void fpu_init(Cpu *cpu)
{
    struct FpuCache *cache = cpu->fpu = g_new0(struct FpuCache, 1);
    g_autoptr(GArray) host = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    cpu_supported_cpuid(host);
    for (unsigned i = 0; i < G_N_ELEMENTS(isa_features); i++)
        cache->has[isa_features[i].set] = has_all(cpu->cpuid, isa_features[i].features) &&
                                          has_all(host, isa_features[i].features);
    const CpuidEntry *xsave =
        cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, 0xd, 0);
    cache->supported_xcr0 = xsave ? xsave->reg[CPUID_EAX] & XSTATE_ALL : 0;
    /* Stubs use no more of a Cpu than this. */
    cache->scratch = g_aligned_alloc0(1, offsetof(Cpu, space), 64);
}

void fpu_fini(Cpu *cpu)
{
    if (!cpu->fpu)
        return;
    arena_free(cpu->fpu->arena);
    g_aligned_free(cpu->fpu->scratch);
    g_free(cpu->fpu);
    cpu->fpu = NULL;
}

static FpuArena *arena_of(Cpu *cpu)
{
    struct FpuCache *cache = cpu->fpu;
    if (!cache->arena && !cache->no_arena) {
        cache->arena = arena_new();
        cache->no_arena = !cache->arena;
        if (cache->no_arena)
            report_error("the host forbids executable memory: the guest's floating-point and SIMD "
                         "instructions are undefined");
    }
    return cache->arena;
}

/* ---- Properties of an instruction ---- */

static const ZydisDecodedOperand *memory_operand(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++)
        if (insn->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return &insn->operands[i];
    return NULL;
}

static bool uses_class(const Insn *insn, ZydisRegisterClass class)
{
    for (unsigned i = 0; i < insn->zydis->operand_count; i++)
        if (insn->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(insn->operands[i].reg.value) == class)
            return true;
    return false;
}

static bool is_vex(const Insn *insn)
{
    return insn->zydis->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/* Whether MXCSR has a part in it: exceptions, rounding or denormals. */
static bool heeds_mxcsr(const Insn *insn)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_CVTPI2PS:
    case ZYDIS_MNEMONIC_CVTPI2PD:
    case ZYDIS_MNEMONIC_CVTPS2PI:
    case ZYDIS_MNEMONIC_CVTTPS2PI:
    case ZYDIS_MNEMONIC_CVTPD2PI:
    case ZYDIS_MNEMONIC_CVTTPD2PI:
    case ZYDIS_MNEMONIC_RCPPS:
    case ZYDIS_MNEMONIC_RCPSS:
    case ZYDIS_MNEMONIC_RSQRTPS:
    case ZYDIS_MNEMONIC_RSQRTSS:
    case ZYDIS_MNEMONIC_VRCPPS:
    case ZYDIS_MNEMONIC_VRCPSS:
    case ZYDIS_MNEMONIC_VRSQRTPS:
    case ZYDIS_MNEMONIC_VRSQRTSS:
        return true;
    default:
        break;
    }
    switch (insn->zydis->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE3:
    case ZYDIS_EXCEPTION_CLASS_AVX2:
    case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11:
        return true;
    default:
        return false;
    }
}

static unsigned needs(const Insn *insn)
{
    bool mmx = uses_class(insn, ZYDIS_REGCLASS_MMX);
    bool math = heeds_mxcsr(insn);
    bool vector =
        uses_class(insn, ZYDIS_REGCLASS_XMM) || uses_class(insn, ZYDIS_REGCLASS_YMM) || math;
    return (mmx ? FP_NEED_MMX : 0) | (math ? FP_NEED_MATH : 0) |
           (!vector        ? 0
            : is_vex(insn) ? FP_NEED_AVX
                           : FP_NEED_SSE);
}

static uint8_t ready_bit(unsigned need)
{
    bool math = need & FP_NEED_MATH;
    if (need & FP_NEED_X87)
        return FP_READY_X87;
    if (need & FP_NEED_AVX)
        return math ? FP_READY_AVX_MATH : FP_READY_AVX;
    if (need & FP_NEED_MMX)
        return !(need & FP_NEED_SSE) ? FP_READY_MMX : math ? FP_READY_MMX_MATH : FP_READY_MMX_SSE;
    return math ? FP_READY_SSE_MATH : FP_READY_SSE;
}

/* Bits of its memory operand's address that must be clear. */
static unsigned alignment(const Insn *insn, unsigned size)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return 0;
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return size - 1;
    default:
        return !is_vex(insn) && size == 16 ? 15 : 0;
    }
}

static void set_extra(Op *op, unsigned need, unsigned align, unsigned more)
{
    op->extra = ready_bit(need) | align << FP_ALIGN_SHIFT | need << FP_NEED_SHIFT | more;
}

/* ---- Instructions that the host runs ---- */

static bool bind_stub(Cpu *cpu, const Insn *insn, Op *op, unsigned need)
{
    const ZydisDecodedOperand *memory = insn->has_memory ? memory_operand(insn) : NULL;
    unsigned size = memory ? memory->size / 8 : 0;
    FpuArena *arena = arena_of(cpu);
    if (!arena)
        return false;
    StubCode code;
    stub_generate(insn, ready_bit(need), &code);
    const uint8_t *address = arena_code(arena, code.bytes, code.length);
    if (!address) {
        op->fn = fpu_full;
        return true;
    }
    op->data = address + code.body;
    op->size = (uint8_t)size;
    if (!memory) {
        /* Generated code is called as a function: there is no other way to say so. */
        memcpy(&op->fn, &address, sizeof(op->fn));
        set_extra(op, need, 0, FP_NO_MEMORY);
        return true;
    }
    bool store = !(memory->actions & ZYDIS_OPERAND_ACTION_MASK_READ);
    set_extra(op, need, alignment(insn, size), store ? FP_STORE : 0);
    op->fn = fpu_access(ea_form(op), store, need & FP_NEED_X87);
    return true;
}

static bool bind_x87(Cpu *cpu, const Insn *insn, Op *op)
{
    static const struct {
        ZydisMnemonic mnemonic;
        OpFn *fn;
    } controls[] = {
        {ZYDIS_MNEMONIC_FNINIT, x87_fninit},     {ZYDIS_MNEMONIC_FNCLEX, x87_fnclex},
        {ZYDIS_MNEMONIC_FNSTCW, x87_fnstcw},     {ZYDIS_MNEMONIC_FLDCW, x87_fldcw},
        {ZYDIS_MNEMONIC_FNSTENV, x87_fnstenv},   {ZYDIS_MNEMONIC_FLDENV, x87_fldenv},
        {ZYDIS_MNEMONIC_FNSAVE, x87_fnsave},     {ZYDIS_MNEMONIC_FRSTOR, x87_frstor},
        {ZYDIS_MNEMONIC_FWAIT, x87_fwait},       {ZYDIS_MNEMONIC_FENI8087_NOP, x87_nop},
        {ZYDIS_MNEMONIC_FDISI8087_NOP, x87_nop}, {ZYDIS_MNEMONIC_FSETPM287_NOP, x87_nop},
        {ZYDIS_MNEMONIC_FNSTSW, x87_fnstsw},
    };
    const ZydisDecodedOperand *memory = memory_operand(insn);
    for (unsigned i = 0; i < G_N_ELEMENTS(controls); i++) {
        if (insn->zydis->mnemonic != controls[i].mnemonic)
            continue;
        op->fn = controls[i].fn;
        if (memory)
            op->size = (uint8_t)(memory->size / 8);
        else if (op->fn == x87_fnstsw)
            op->fn = x87_fnstsw_ax;
        return true;
    }
    return bind_stub(cpu, insn, op, FP_NEED_X87);
}

/* ---- Instructions in C ---- */

static const Op *op_nop(Cpu *cpu, const Op *op)
{
    NEXT(cpu, op);
}

static const Op *op_sfence(Cpu *cpu, const Op *op)
{
    __asm__ volatile("sfence" : : : "memory");
    NEXT(cpu, op);
}

static const Op *op_lfence(Cpu *cpu, const Op *op)
{
    __asm__ volatile("lfence" : : : "memory");
    NEXT(cpu, op);
}

static const Op *op_mfence(Cpu *cpu, const Op *op)
{
    __asm__ volatile("mfence" : : : "memory");
    NEXT(cpu, op);
}

/* A cache line is checked as a byte is that is loaded. */
static const Op *op_clflush(Cpu *cpu, const Op *op)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 1, ACCESS_READ);
    cpu_probe(cpu, op, linear, 1, ACCESS_READ);
    NEXT(cpu, op);
}

static const Op *op_movnti32(Cpu *cpu, const Op *op)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 4, ACCESS_WRITE);
    cpu_store32(cpu, op, linear, (uint32_t)cpu->gpr[op->reg]);
    NEXT(cpu, op);
}

static const Op *op_movnti64(Cpu *cpu, const Op *op)
{
    uint64_t linear = cpu_linear(cpu, op, op_address(cpu, op), 8, ACCESS_WRITE);
    cpu_store64(cpu, op, linear, cpu->gpr[op->reg]);
    NEXT(cpu, op);
}

static unsigned register_number(const ZydisDecodedOperand *operand)
{
    return (unsigned)ZydisRegisterGetId(operand->reg.value) & 15;
}

/* MASKMOVQ and MASKMOVDQU name no memory operand: it is at rDI. */
static bool bind_maskmov(Cpu *cpu, const Insn *insn, Op *op)
{
    const ZydisDecodedOperand *memory = memory_operand(insn);
    unsigned need = needs(insn);
    op->fn = fpu_maskmov;
    op->base = GPR_RDI;
    op->address_shift = (uint8_t)(64 - insn->zydis->address_width);
    op_use_segment(cpu, op, (unsigned)(memory->mem.segment - ZYDIS_REGISTER_ES));
    op->reg = (uint8_t)register_number(&insn->operands[0]);
    op->rm = (uint8_t)register_number(&insn->operands[1]);
    op->size = (uint8_t)(memory->size / 8);
    set_extra(op, need, 0, 0);
    return true;
}

static bool bind_vmaskmov(const Insn *insn, Op *op, unsigned element)
{
    bool store = insn->operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    op->fn = fpu_vmaskmov;
    op->reg = (uint8_t)register_number(&insn->operands[store ? 2 : 0]);
    op->rm = (uint8_t)register_number(&insn->operands[1]);
    op->size = (uint8_t)(memory_operand(insn)->size / 8);
    op->imm = element;
    op->extra = store ? FP_STORE : 0;
    return true;
}

static bool bind_gather(const Insn *insn, Op *op, unsigned element, unsigned index_size)
{
    const ZydisDecodedOperand *memory = memory_operand(insn);
    bool wide_index = ZydisRegisterGetClass(memory->mem.index) == ZYDIS_REGCLASS_YMM;
    unsigned width = insn->operands[0].size / 8;
    unsigned count = MIN(width / element, (wide_index ? 32 : 16) / index_size);
    GatherForm form = {
        .destination = (uint8_t)register_number(&insn->operands[0]),
        .mask = (uint8_t)register_number(&insn->operands[2]),
        .index = (uint8_t)ZydisRegisterGetId(memory->mem.index),
        .element = (uint8_t)element,
        .index_size = (uint8_t)index_size,
        .count = (uint8_t)count,
        .length = (uint8_t)(count * element),
    };
    G_STATIC_ASSERT(sizeof(form) <= sizeof(op->imm));
    op->fn = fpu_gather;
    op->imm = 0;
    memcpy(&op->imm, &form, sizeof(form));
    return true;
}

static bool bind_save(Cpu *cpu, const Insn *insn, Op *op, OpFn *fn)
{
    op->fn = fn;
    op->imm = insn->zydis->attributes & ZYDIS_ATTRIB_HAS_REX && insn->zydis->raw.rex.W;
    op->extra = cpu->fpu->has[ZYDIS_ISA_SET_XSAVEC];
    return true;
}

static bool bind_fn(Op *op, OpFn *fn)
{
    op->fn = fn;
    return true;
}

static bool bind_mxcsr(const Insn *insn, Op *op, OpFn *fn)
{
    op->fn = fn;
    set_extra(op, is_vex(insn) ? FP_NEED_AVX : FP_NEED_SSE, 0, 0);
    return true;
}

static bool bind_special(Cpu *cpu, const Insn *insn, Op *op)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
    case ZYDIS_MNEMONIC_PREFETCHWT1:
        return bind_fn(op, op_nop);
    case ZYDIS_MNEMONIC_SFENCE:
        return bind_fn(op, op_sfence);
    case ZYDIS_MNEMONIC_LFENCE:
        return bind_fn(op, op_lfence);
    case ZYDIS_MNEMONIC_MFENCE:
        return bind_fn(op, op_mfence);
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
        return bind_fn(op, op_clflush);
    case ZYDIS_MNEMONIC_MOVNTI:
        return bind_fn(op, insn->operands[1].size == 64 ? op_movnti64 : op_movnti32);
    case ZYDIS_MNEMONIC_EMMS:
        return bind_fn(op, x87_emms);
    case ZYDIS_MNEMONIC_VZEROUPPER:
        return bind_fn(op, fpu_vzeroupper);
    case ZYDIS_MNEMONIC_VZEROALL:
        return bind_fn(op, fpu_vzeroall);
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
        return bind_save(cpu, insn, op, fpu_fxsave);
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
        return bind_save(cpu, insn, op, fpu_fxrstor);
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
        return bind_save(cpu, insn, op, fpu_xsave);
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
        return bind_save(cpu, insn, op, fpu_xsaveopt);
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
        return bind_save(cpu, insn, op, fpu_xsavec);
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
        return bind_save(cpu, insn, op, fpu_xrstor);
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
        return bind_mxcsr(insn, op, fpu_ldmxcsr);
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        return bind_mxcsr(insn, op, fpu_stmxcsr);
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        return bind_maskmov(cpu, insn, op);
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
        return bind_vmaskmov(insn, op, 4);
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return bind_vmaskmov(insn, op, 8);
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD:
        return bind_gather(insn, op, 4, 4);
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
        return bind_gather(insn, op, 4, 8);
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
        return bind_gather(insn, op, 8, 4);
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        return bind_gather(insn, op, 8, 8);
    default:
        return false;
    }
}

static bool is_x87(const ZydisDecodedInstruction *zydis)
{
    return (zydis->opcode & 0xf8) == 0xd8 || zydis->mnemonic == ZYDIS_MNEMONIC_FWAIT;
}

bool bind_fpu(Cpu *cpu, const Insn *insn, Op *op)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    bool vex = is_vex(insn);
    bool real = !(cpu->mode & MODE_PROTECTED) || (cpu->mode & MODE_VM86);
    if (!cpu->fpu->has[zydis->meta.isa_set] || (vex && real) ||
        (!vex && zydis->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY))
        return false;
    if (bind_special(cpu, insn, op))
        return true;
    if (!vex && zydis->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
        return is_x87(zydis) && bind_x87(cpu, insn, op);
    unsigned need = needs(insn);
    /* What is left has vector registers; anything else is not of the FPU. */
    return need && bind_stub(cpu, insn, op, need);
}
