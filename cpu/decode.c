/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From guest code to Blocks: fetch, decoding by Zydis, the fields that all Ops have, where blocks
 * end.  What an instruction does is chosen by the binders.
 *
 * Fetches are precise: the page behind is touched only when the instruction needs bytes of it; an
 * instruction that crosses a page border has a block of its own.
 */
#include "block.h"
#include "op_branch.h"

enum { INSN_MAX = 15 };

/* ---- The decoders ---- */

enum { DECODE_64, DECODE_LONG32, DECODE_LONG16, DECODE_32, DECODE_16, DECODE_REAL, DECODE_COUNT };

struct CpuDecoders {
    ZydisDecoder decoder[DECODE_COUNT];
    bool missing[ZYDIS_ISA_SET_MAX_VALUE + 1]; /* of the CPU's model: #UD */
    bool no_cmpxchg8b, no_lahf64;              /* which are in sets with others */
};

static const struct {
    ZydisMachineMode machine;
    ZydisStackWidth stack;
} decoder_modes[DECODE_COUNT] = {
    [DECODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    [DECODE_LONG32] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
    [DECODE_LONG16] = {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
    [DECODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    [DECODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    [DECODE_REAL] = {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
};

/* Instructions that came later than the 486: CPUID's names of them, one of which is enough, and the
 * family from which on they are there without. */
static const struct {
    ZydisISASet set;
    const char *features;
    unsigned family;
} isa_features[] = {
    {ZYDIS_ISA_SET_CMOV, "cmov", 0},
    {ZYDIS_ISA_SET_CMPXCHG16B, "cx16", 0},
    {ZYDIS_ISA_SET_POPCNT, "popcnt", 0},
    {ZYDIS_ISA_SET_BMI1, "bmi1", 0},
    {ZYDIS_ISA_SET_BMI2, "bmi2", 0},
    {ZYDIS_ISA_SET_MOVBE, "movbe", 0},
    {ZYDIS_ISA_SET_ADOX_ADCX, "adx", 0},
    {ZYDIS_ISA_SET_SSE42, "sse4.2", 0},
    {ZYDIS_ISA_SET_FAT_NOP, "", 6},
    {ZYDIS_ISA_SET_SSE_PREFETCH, "sse mmxext", 6},
    {ZYDIS_ISA_SET_PREFETCH_NOP, "3dnowprefetch 3dnow", 6},
    {ZYDIS_ISA_SET_PREFETCHWT1, "3dnowprefetch 3dnow", 6},
    {ZYDIS_ISA_SET_RDPMC, "mmx", 6},
};

static bool has(const Cpu *cpu, const char *feature)
{
    return cpuid_has((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, feature);
}

static bool has_any(const Cpu *cpu, const char *features)
{
    g_auto(GStrv) list = g_strsplit(features, " ", -1);
    for (char **feature = list; *feature; feature++)
        if (has(cpu, *feature))
            return true;
    return false;
}

void decode_init(Cpu *cpu)
{
    struct CpuDecoders *all = cpu->decoders = g_new0(struct CpuDecoders, 1);
    for (unsigned i = 0; i < DECODE_COUNT; i++) {
        ZydisDecoder *decoder = &all->decoder[i];
        ZydisDecoderInit(decoder, decoder_modes[i].machine, decoder_modes[i].stack);
        /* What the CPU does not have it decodes as its forebears: NOP, BSR, BSF, WBINVD. */
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT, has(cpu, "abm"));
        ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT, has(cpu, "bmi1"));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(isa_features); i++)
        all->missing[isa_features[i].set] =
            !has_any(cpu, isa_features[i].features) &&
            (!isa_features[i].family || cpu_family(cpu) < isa_features[i].family);
    all->no_cmpxchg8b = !has(cpu, "cx8");
    all->no_lahf64 = !has(cpu, "lahf-lm");
}

void decode_fini(Cpu *cpu)
{
    g_free(cpu->decoders);
}

static const ZydisDecoder *decoder_of(const Cpu *cpu)
{
    unsigned bits = cpu->mode & MODE_CODE_MASK;
    unsigned which = bits == MODE_CODE64                                      ? DECODE_64
                     : cpu->mode & MODE_LONG && bits == MODE_CODE32           ? DECODE_LONG32
                     : cpu->mode & MODE_LONG                                  ? DECODE_LONG16
                     : bits == MODE_CODE32                                    ? DECODE_32
                     : cpu->mode & MODE_PROTECTED && !(cpu->mode & MODE_VM86) ? DECODE_16
                                                                              : DECODE_REAL;
    return &cpu->decoders->decoder[which];
}

/* ---- Ops that stand for no instruction ---- */

/* Behind the last instruction of a block that simply goes on. */
static const Op *op_continue(Cpu *cpu, const Op *op)
{
    BLOCK_CHAIN(cpu, op, op_rip(cpu, op));
}

/* The same at a page's end.  The page behind may be mapped anew at any time, and it is the table of
 * jumps that is told so, not chains. */
static const Op *op_next_page(Cpu *cpu, const Op *op)
{
    return jump_to(cpu, op_rip(cpu, op));
}

/* Behind an instruction after which the mode or pending events are to be looked at. */
static const Op *op_leave(Cpu *cpu, const Op *op)
{
    cpu->rip = op_rip(cpu, op);
    LEAVE(cpu);
}

static const Op *op_undefined(Cpu *cpu, const Op *op)
{
    cpu_fault(cpu, op, EXC_UD);
}

static const Op *op_too_long(Cpu *cpu, const Op *op)
{
    cpu_fault_code(cpu, op, EXC_GP, 0);
}

/* ---- What all Ops have ---- */

static uint8_t slot_of_register(ZydisRegister reg)
{
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return (uint8_t)ZydisRegisterGetId(reg);
    case ZYDIS_REGCLASS_IP:
        return SLOT_RIP;
    default: /* none, or a vector register of a gather */
        return SLOT_ZERO;
    }
}

static void fill_memory(const Cpu *cpu, const Insn *insn, const ZydisDecodedOperand *operand,
                        Op *op)
{
    static const uint8_t shifts[] = {[1] = 0, [2] = 1, [4] = 2, [8] = 3};
    op->base = slot_of_register(operand->mem.base);
    op->index = slot_of_register(operand->mem.index);
    op->scale = operand->mem.scale <= 8 ? shifts[operand->mem.scale] : 0;
    op->disp = operand->mem.disp.value;
    if (op->base == SLOT_RIP)
        op->disp += op->offset + op->length;
    /* With a 32-bit address and REX.B, Zydis 4.0 takes "no base" of a SIB byte for R13D. */
    const ZydisDecodedInstructionRaw *raw = &insn->zydis->raw;
    if (insn->zydis->address_width == 32 && raw->modrm.mod == 0 && raw->modrm.rm == 4 &&
        raw->sib.base == 5 && op->base == 13) {
        op->base = SLOT_ZERO;
        op->disp = raw->disp.value;
    }
    op->address_shift = (uint8_t)(64 - insn->zydis->address_width);
    bool known =
        operand->mem.segment >= ZYDIS_REGISTER_ES && operand->mem.segment <= ZYDIS_REGISTER_GS;
    op_use_segment(cpu, op, known ? (unsigned)(operand->mem.segment - ZYDIS_REGISTER_ES) : SEG_DS);
}

static bool high_byte(ZydisRegister reg)
{
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static void fill_register(const ZydisDecodedOperand *operand, Op *op)
{
    int id = ZydisRegisterGetId(operand->reg.value);
    uint8_t number = id < 0 ? 0 : (uint8_t)id;
    /* Zydis counts AH to BH as 4 to 7 and SPL to DIL as 8 and so on. */
    if (ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_GPR8)
        number = gpr8_number(operand->reg.value);
    if (operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        op->rm = number;
        op->attr |= high_byte(operand->reg.value) ? OP_BYTE_HIGH_RM : 0;
    } else if (operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ||
               operand->encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
        op->reg = number;
        op->attr |= high_byte(operand->reg.value) ? OP_BYTE_HIGH_REG : 0;
    }
}

static void fill_common(const Cpu *cpu, Insn *insn, Op *op)
{
    const ZydisDecodedInstruction *zydis = insn->zydis;
    bool immediate = false;
    op->length = zydis->length;
    op->size = zydis->operand_width / 8;
    op->base = op->index = SLOT_ZERO;
    op->seg = SEG_DS;
    if (zydis->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        op->attr |= OP_LOCK;
    if (zydis->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
        op->attr |= OP_REP;
    if (zydis->attributes & ZYDIS_ATTRIB_HAS_REPNE)
        op->attr |= OP_REPNE;
    for (unsigned i = 0; i < zydis->operand_count; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        bool visible = operand->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN;
        if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && visible)
            fill_register(operand, op);
        if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && visible && !insn->has_memory) {
            insn->has_memory = true;
            insn->memory_is_destination = i == 0;
            fill_memory(cpu, insn, operand, op);
        }
        if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && !immediate) {
            immediate = true;
            op->imm = operand->imm.value.u;
            if (operand->imm.is_relative)
                op->imm += op->offset + op->length;
        }
    }
}

/* ---- Where blocks end ---- */

static bool touches_system_register(const Insn *insn)
{
    for (unsigned i = 0; i < insn->zydis->operand_count_visible; i++) {
        const ZydisDecodedOperand *operand = &insn->operands[i];
        if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegisterClass class = ZydisRegisterGetClass(operand->reg.value);
        if (class == ZYDIS_REGCLASS_CONTROL || class == ZYDIS_REGCLASS_DEBUG)
            return true;
        if (class == ZYDIS_REGCLASS_SEGMENT && (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            return true;
    }
    return false;
}

/* After these the next instruction is elsewhere, always. */
static bool transfers(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
        return true;
    default:
        return false;
    }
}

/* After these the mode, translations, or what is pending may be different. */
static bool changes_mode(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_INVPCID:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_MWAIT:
    case ZYDIS_MNEMONIC_OUT:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSD:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_WBINVD:
    case ZYDIS_MNEMONIC_WRMSR:
    case ZYDIS_MNEMONIC_XSETBV:
        return true;
    default:
        return false;
    }
}

bool insn_ends_block(const Insn *insn)
{
    return transfers(insn->zydis->mnemonic) || changes_mode(insn->zydis->mnemonic) ||
           touches_system_register(insn);
}

static uint32_t flags_of_end(const Insn *insn)
{
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSRET:
        return BLOCK_OWN_STEP;
    case ZYDIS_MNEMONIC_HLT:
        return 0;
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_POP:
        return insn->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                       insn->operands[0].reg.value == ZYDIS_REGISTER_SS
                   ? BLOCK_LOADS_SS
                   : 0;
    default:
        return transfers(insn->zydis->mnemonic) ? BLOCK_TRANSFERS : 0;
    }
}

/* ---- Decoding a block ---- */

/* Whether the CPU's model is older than the instruction. */
static bool is_missing(const Cpu *cpu, const Insn *insn)
{
    const struct CpuDecoders *all = cpu->decoders;
    switch (insn->zydis->mnemonic) {
    case ZYDIS_MNEMONIC_CMPXCHG8B:
        return all->no_cmpxchg8b;
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_SAHF:
        return all->no_lahf64 && insn->code_bits == 64;
    case ZYDIS_MNEMONIC_NOP: /* hints of the Pentium Pro */
        return insn->zydis->opcode_map == ZYDIS_OPCODE_MAP_0F &&
               (all->missing[ZYDIS_ISA_SET_FAT_NOP] || all->missing[insn->zydis->meta.isa_set]);
    default:
        return all->missing[insn->zydis->meta.isa_set];
    }
}

static bool bind(Cpu *cpu, const Insn *insn, Op *op)
{
    if (is_missing(cpu, insn))
        return false;
    return bind_integer(cpu, insn, op) || bind_control(cpu, insn, op) ||
           bind_string(cpu, insn, op) || bind_system(cpu, insn, op) ||
           bind_protected(cpu, insn, op) || bind_fpu(cpu, insn, op);
}

/* One instruction from bytes into op; returns whether the block ends with it. */
static bool decode_one(Cpu *cpu, Block *block, Op *op, const uint8_t *bytes, ZyanStatus status,
                       const ZydisDecodedInstruction *zydis, const ZydisDecodedOperand *operands)
{
    static const unsigned code_bits[] = {16, 32, 64};
    *op = (Op){.offset = block->length, .data = &block_none};
    block->count++;
    if (!ZYAN_SUCCESS(status)) {
        if (cpu->stretch.on)
            rescue_undecoded(cpu);
        op->fn = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? op_too_long : op_undefined;
        op->length = 1;
        block->length++;
        return true;
    }
    Insn insn = {.zydis = zydis,
                 .operands = operands,
                 .bytes = bytes,
                 .code_bits = code_bits[cpu->mode & MODE_CODE_MASK]};
    fill_common(cpu, &insn, op);
    block->length += zydis->length;
    bool bound = bind(cpu, &insn, op);
    if (G_UNLIKELY(cpu->stretch.on))
        rescue_decoded(cpu, &insn, bound);
    if (!bound) {
        op->fn = op_undefined;
        return true;
    }
    block->flags = flags_of_end(&insn);
    return insn_ends_block(&insn);
}

/* The Op behind the last instruction, and what can be said only now. */
static void finish(const Cpu *cpu, Block *block, bool leave)
{
    Op *last = &block->ops[block->count];
    bool page_ends = !((block->host[0] + block->length) & 0xfff);
    *last = (Op){.fn = leave       ? op_leave
                       : page_ends ? op_next_page
                                   : op_continue,
                 .data = &block_none,
                 .offset = block->length,
                 .base = SLOT_ZERO,
                 .index = SLOT_ZERO};
    if (blocks_split_at(cpu, block->host[0] & 0xfff))
        block->flags |= BLOCK_BREAK;
    for (unsigned i = 0; i < block->count; i++)
        control_finish(&block->ops[i], block->count - 1 - i, !cpu->single_ops);
}

/* Code bytes and where they are. */
typedef struct Fetch {
    uint64_t pc;   /* linear, of the block's start */
    TlbInfo page;  /* of it */
    uint8_t *host; /* of the block's start; NULL: device memory */
} Fetch;

static uint64_t next_page(const Cpu *cpu, uint64_t pc)
{
    uint64_t next = (pc & PAGE_MASK) + 0x1000;
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? next : (uint32_t)next;
}

static void read_code(Cpu *cpu, const TlbInfo *page, unsigned offset, uint8_t *to, unsigned length)
{
    if (page->ram) {
        if (!cpu->rescue)
            code_mark(cpu, page->ram, page->offset + offset, length);
        memcpy(to, page->ram->host + page->offset + offset, length);
    } else {
        fpu_leave(cpu);
        as_read(cpu_memory(cpu), page->physical + offset, to, length);
    }
}

/* A block of one instruction, which may reach into the next page or be in device memory.  In a
 * rescue nothing is kept: KVM lets the guest write to its code unseen. */
static Block *decode_single(Cpu *cpu, const Fetch *fetch)
{
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t bytes[INSN_MAX];
    unsigned offset = fetch->pc & 0xfff, room = MIN(INSN_MAX, 0x1000 - offset), length = room;
    TlbInfo next = {.page = TLB_NONE};
    read_code(cpu, &fetch->page, offset, bytes, room);
    ZyanStatus status = ZydisDecoderDecodeFull(decoder_of(cpu), bytes, length, &zydis, operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA && room < INSN_MAX) {
        mmu_fetch(cpu, next_page(cpu, fetch->pc), &next);
        read_code(cpu, &next, 0, bytes + room, INSN_MAX - room);
        length = INSN_MAX;
        status = ZydisDecoderDecodeFull(decoder_of(cpu), bytes, length, &zydis, operands);
    }
    bool keep = fetch->host && !cpu->rescue && (next.page == TLB_NONE || next.ram);
    Block *block = keep ? blocks_reserve(cpu) : blocks_scratch(cpu);
    bool ends = decode_one(cpu, block, block->ops, bytes, status, &zydis, operands);
    block->mode = cpu->mode;
    block->host[0] = (uintptr_t)fetch->host;
    finish(cpu, block, ends || !keep);
    if (!keep)
        return block;
    block->lines[0] = ram_line_mask(offset, room);
    if (next.page != TLB_NONE) {
        block->host[1] = (uintptr_t)next.ram->host + next.offset;
        block->lines[1] = ram_line_mask(0, INSN_MAX - room);
        if (block->host[1] == (block->host[0] & PAGE_MASK)) /* mapped twice */
            block->lines[0] |= block->lines[1];
    }
    blocks_add(cpu, block);
    return block;
}

static Block *decode_block(Cpu *cpu, const Fetch *fetch)
{
    const ZydisDecoder *decoder = decoder_of(cpu);
    unsigned limit = cpu->mode & MODE_SLOW ? 1 : BLOCK_OPS;
    unsigned offset = fetch->pc & 0xfff, marked = offset;
    bool ends = false;
    Block *block = blocks_reserve(cpu);
    block->host[0] = (uintptr_t)fetch->host;
    block->mode = cpu->mode;
    while (!ends && block->count < limit && offset < 0x1000) {
        if (block->count && blocks_split_at(cpu, offset))
            break;
        ZydisDecodedInstruction zydis;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        uint8_t bytes[INSN_MAX];
        unsigned room = MIN(INSN_MAX, 0x1000 - offset);
        read_code(cpu, &fetch->page, offset, bytes, room);
        ZyanStatus status = ZydisDecoderDecodeFull(decoder, bytes, room, &zydis, operands);
        if (status == ZYDIS_STATUS_NO_MORE_DATA && room < INSN_MAX) {
            if (!block->count)
                return decode_single(cpu, fetch);
            break;
        }
        marked = offset + room;
        ends = decode_one(cpu, block, &block->ops[block->count], bytes, status, &zydis, operands);
        offset = (unsigned)(fetch->pc & 0xfff) + block->length;
    }
    block->lines[0] = ram_line_mask(fetch->pc, marked - (unsigned)(fetch->pc & 0xfff));
    finish(cpu, block, ends || (cpu->mode & MODE_SLOW));
    blocks_add(cpu, block);
    return block;
}

/* ---- Finding the block to run ---- */

static void link_block(Cpu *cpu, uint64_t pc, const Block *block)
{
    /* block_chain() has seen that the target is in the branch's page; a flush clears link_from. */
    if (cpu->link_from && (cpu->mode & MODE_FLAT) && cpu->link_target == pc &&
        block_may_link(block))
        ((Op *)cpu->link_from)->data = block;
    cpu->link_from = NULL;
}

static uint64_t code_linear(Cpu *cpu)
{
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64) {
        if ((uint64_t)((int64_t)(cpu->rip << 16) >> 16) != cpu->rip)
            cpu_fault_code(cpu, NULL, EXC_GP, 0);
        return cpu->rip;
    }
    cpu->rip = (uint32_t)cpu->rip;
    if (cpu->rip > cpu->seg[SEG_CS].limit)
        cpu_fault_code(cpu, NULL, EXC_GP, 0);
    return (uint32_t)(cpu->seg[SEG_CS].base + cpu->rip);
}

static const Block *find_at(Cpu *cpu, uint64_t pc)
{
    const JumpEntry *entry = &cpu->jumps[jump_slot(pc)];
    if (entry->pc == pc && entry->block->mode == cpu->mode && !cpu->rescue)
        return entry->block;
    Fetch fetch = {.pc = pc};
    fetch.host = mmu_fetch(cpu, pc, &fetch.page);
    if (!fetch.host || cpu->rescue)
        return decode_single(cpu, &fetch);
    Block *block = blocks_find(cpu, (uintptr_t)fetch.host, cpu->mode, pc);
    if (!block)
        block = decode_block(cpu, &fetch);
    /* Reading the bytes may have dropped the translation; then the block runs once. */
    if (block->mode == cpu->mode && fetch.page.ram && !(block->flags & BLOCK_BREAK))
        jumps_add(cpu, pc, block, fetch.page.global && !block->host[1]);
    return block;
}

const Block *block_find(Cpu *cpu)
{
    uint64_t pc = code_linear(cpu);
    const Block *block = find_at(cpu, pc);
    bool wide = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64;
    if (!wide && G_UNLIKELY(cpu->rip + block->length - 1 > cpu->seg[SEG_CS].limit)) {
        /* The segment ends in the block: one instruction at a time. */
        uint32_t mode = cpu->mode;
        cpu->mode |= MODE_SLOW;
        block = find_at(cpu, pc);
        cpu->mode = mode;
        if (cpu->rip + block->length - 1 > cpu->seg[SEG_CS].limit)
            cpu_fault_code(cpu, NULL, EXC_GP, 0);
    }
    link_block(cpu, pc, block);
    return block;
}
