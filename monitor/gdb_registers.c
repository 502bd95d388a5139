/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers as gdb knows them: org.gnu.gdb.i386.core, .sse, .avx and .segments, and the
 * system's behind them.  (gdb manual, G.5.7; Intel SDM vol. 1, 10.5.1 and 13.4 for the XSAVE area.)
 *
 * One table serves both widths; the description that gdb reads is made of the very rows that its
 * numbers count.
 */
#include "gdb_private.h"
#include "util/bytes.h"

typedef enum {
    IN_STATE,  /* size bytes at offset of CpuState */
    IN_XSAVE,  /* size bytes at offset of the XSAVE area; index: the component's bit */
    X87_TAGS,  /* FXSAVE has them abridged */
    X87_FIELD, /* 16 bits there, 32 here; index: bits that are kept */
    X87_HIGH,  /* upper half of a 64-bit pointer: the selector of 32-bit code */
    IN_MSR,    /* index: its number */
} Place;

typedef struct Register {
    char name[12];
    const char *type;
    const char *feature;
    Place place;
    unsigned size;
    unsigned offset;
    uint32_t index;
} Register;

/* FXSAVE's image. */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_FIP = 8,
    FX_FDP = 16,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    XSAVE_BV = 512,
    XSAVE_YMMH = 576,
};
enum { BV_X87 = 0, BV_SSE = 1, BV_AVX = 2 };
#define MSR_KERNEL_GS_BASE 0xc0000102u

static const char CORE[] = "org.gnu.gdb.i386.core", SSE[] = "org.gnu.gdb.i386.sse",
                  AVX[] = "org.gnu.gdb.i386.avx", SEGMENTS[] = "org.gnu.gdb.i386.segments",
                  SYSTEM[] = "org.vmrun.system";

static struct {
    GArray *registers; /* of Register */
    GString *xml;
} tables[2]; /* i386, x86-64 */

/* ---- The table ---- */

static void add(GArray *table, const char *feature, const char *name, const char *type, Place place,
                unsigned size, size_t offset, uint32_t index)
{
    Register row = {.type = type,
                    .feature = feature,
                    .place = place,
                    .size = size,
                    .offset = (unsigned)offset,
                    .index = index};
    g_strlcpy(row.name, name, sizeof(row.name));
    g_array_append_val(table, row);
}

static void add_numbered(GArray *table, const char *feature, const char *form, unsigned count,
                         const char *type, unsigned size, size_t offset, uint32_t index)
{
    for (unsigned i = 0; i < count; i++) {
        char name[12] = "";
        char *at = name;
        for (const char *c = form; *c; c++)
            if (*c == '#')
                at += g_snprintf(at, 4, "%u", i);
            else
                *at++ = *c;
        *at = 0;
        add(table, feature, name, type, IN_XSAVE, size, offset + i * 16, index);
    }
}

static void add_general(GArray *table, bool wide)
{
    static const char *const names64[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const uint8_t order64[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI, GPR_RDI,
                                      GPR_RBP, GPR_RSP, 8,       9,       10,      11,
                                      12,      13,      14,      15};
    static const char *const names32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    static const char *const segments[] = {"cs", "ss", "ds", "es", "fs", "gs"};
    static const uint8_t segment_order[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < (wide ? 16u : 8u); i++) {
        unsigned n = wide ? order64[i] : i;
        const char *name = wide ? names64[i] : names32[i];
        const char *type = n == GPR_RSP || n == GPR_RBP ? "data_ptr" : wide ? "int64" : "int32";
        add(table, CORE, name, type, IN_STATE, wide ? 8 : 4, offsetof(CpuState, gpr) + n * 8, 0);
    }
    add(table, CORE, wide ? "rip" : "eip", "code_ptr", IN_STATE, wide ? 8 : 4,
        offsetof(CpuState, rip), 0);
    add(table, CORE, "eflags", "i386_eflags", IN_STATE, 4, offsetof(CpuState, rflags), 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++)
        add(table, CORE, segments[i], "int32", IN_STATE, 4,
            offsetof(CpuState, seg) + segment_order[i] * sizeof(CpuSegment), 0);
}

static void add_x87(GArray *table)
{
    add_numbered(table, CORE, "st#", 8, "i387_ext", 10, FX_ST, BV_X87);
    add(table, CORE, "fctrl", "int", X87_FIELD, 4, FX_FCW, 0xffff);
    add(table, CORE, "fstat", "int", X87_FIELD, 4, FX_FSW, 0xffff);
    add(table, CORE, "ftag", "int", X87_TAGS, 4, FX_FTW, 0);
    add(table, CORE, "fiseg", "int", X87_HIGH, 4, FX_FIP, 0);
    add(table, CORE, "fioff", "int", IN_XSAVE, 4, FX_FIP, BV_X87);
    add(table, CORE, "foseg", "int", X87_HIGH, 4, FX_FDP, 0);
    add(table, CORE, "fooff", "int", IN_XSAVE, 4, FX_FDP, BV_X87);
    add(table, CORE, "fop", "int", X87_FIELD, 4, FX_FOP, 0x7ff);
}

static void add_system(GArray *table, bool wide)
{
    const char *feature = wide ? SEGMENTS : SYSTEM, *type = wide ? "int64" : "int32";
    unsigned size = wide ? 8 : 4;
    const size_t segment = sizeof(CpuSegment), base = offsetof(CpuSegment, base);
    add(table, feature, "fs_base", type, IN_STATE, size,
        offsetof(CpuState, seg) + SEG_FS * segment + base, 0);
    add(table, feature, "gs_base", type, IN_STATE, size,
        offsetof(CpuState, seg) + SEG_GS * segment + base, 0);
    if (wide)
        add(table, SYSTEM, "k_gs_base", type, IN_MSR, 8, 0, MSR_KERNEL_GS_BASE);
    add(table, SYSTEM, "cs_base", type, IN_STATE, size,
        offsetof(CpuState, seg) + SEG_CS * segment + base, 0);
    add(table, SYSTEM, "ss_base", type, IN_STATE, size,
        offsetof(CpuState, seg) + SEG_SS * segment + base, 0);
    add(table, SYSTEM, "cr0", type, IN_STATE, size, offsetof(CpuState, cr0), 0);
    add(table, SYSTEM, "cr2", type, IN_STATE, size, offsetof(CpuState, cr2), 0);
    add(table, SYSTEM, "cr3", type, IN_STATE, size, offsetof(CpuState, cr3), 0);
    add(table, SYSTEM, "cr4", type, IN_STATE, size, offsetof(CpuState, cr4), 0);
    add(table, SYSTEM, "cr8", type, IN_STATE, size, offsetof(CpuState, cr8), 0);
    add(table, SYSTEM, "efer", type, IN_STATE, size, offsetof(CpuState, efer), 0);
}

static const GArray *registers(bool wide)
{
    GArray *table = tables[wide].registers;
    if (table)
        return table;
    unsigned vectors = wide ? 16 : 8;
    table = g_array_new(FALSE, FALSE, sizeof(Register));
    add_general(table, wide);
    add_x87(table);
    add_numbered(table, SSE, "xmm#", vectors, "vec128", 16, FX_XMM, BV_SSE);
    add(table, SSE, "mxcsr", "i386_mxcsr", IN_XSAVE, 4, FX_MXCSR, BV_SSE);
    add_numbered(table, AVX, "ymm#h", vectors, "uint128", 16, XSAVE_YMMH, BV_AVX);
    add_system(table, wide);
    return tables[wide].registers = table;
}

static const Register *find(bool wide, unsigned number)
{
    const GArray *table = registers(wide);
    return number < table->len ? &g_array_index(table, Register, number) : NULL;
}

unsigned gdb_register_count(bool wide)
{
    return registers(wide)->len;
}

unsigned gdb_register_size(bool wide, unsigned number)
{
    const Register *row = find(wide, number);
    return row ? row->size : 0;
}

/* ---- x87 tags ---- */

/* SDM vol. 1, 8.1.7: 0 valid, 1 zero, 2 special, 3 empty; by physical register. */
static unsigned full_tags(const uint8_t *fx)
{
    unsigned top = ld16_le(fx + FX_FSW) >> 11 & 7, tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = fx + FX_ST + ((i - top) & 7) * 16;
        uint64_t mantissa = ld64_le(st);
        unsigned exponent = ld16_le(st + 8) & 0x7fff, tag = 2;
        if (!(fx[FX_FTW] & 1u << i))
            tag = 3;
        else if (!exponent && !mantissa)
            tag = 1;
        else if (exponent && exponent != 0x7fff && mantissa >> 63)
            tag = 0;
        tags |= tag << i * 2;
    }
    return tags;
}

static uint8_t abridged_tags(unsigned tags)
{
    unsigned result = 0;
    for (unsigned i = 0; i < 8; i++)
        result |= (unsigned)((tags >> i * 2 & 3) != 3) << i;
    return (uint8_t)result;
}

/* ---- Values ---- */

static uint64_t *find_msr(CpuState *state, uint32_t index)
{
    for (unsigned i = 0; i < state->msr_count && i < CPU_MSRS_MAX; i++)
        if (state->msrs[i].index == index)
            return &state->msrs[i].value;
    return NULL;
}

static uint64_t read_small(const CpuState *state, const Register *row)
{
    const uint8_t *fx = state->xsave;
    switch (row->place) {
    case X87_TAGS:
        return full_tags(fx);
    case X87_FIELD:
        return ld16_le(fx + row->offset) & row->index;
    case X87_HIGH:
        return ld16_le(fx + row->offset + 4);
    default: {
        const uint64_t *msr = find_msr((CpuState *)state, row->index);
        return msr ? *msr : 0;
    }
    }
}

static unsigned selector_segment(const Register *row)
{
    return (unsigned)((row->offset - offsetof(CpuState, seg)) / sizeof(CpuSegment));
}

static bool is_selector(const Register *row)
{
    return row->place == IN_STATE && row->feature == CORE &&
           row->offset >= offsetof(CpuState, seg) && selector_segment(row) < SEG_COUNT;
}

bool gdb_register_read(bool wide, const CpuState *state, unsigned number, GString *out)
{
    const Register *row = find(wide, number);
    uint8_t bytes[16] = {0};
    if (!row)
        return false;
    if (is_selector(row))
        st16_le(bytes, state->seg[selector_segment(row)].selector);
    else if (row->place == IN_STATE)
        memcpy(bytes, (const uint8_t *)state + row->offset, row->size);
    else if (row->place == IN_XSAVE)
        memcpy(bytes, state->xsave + row->offset, row->size);
    else
        st64_le(bytes, read_small(state, row));
    gdb_append_bytes(out, bytes, row->size);
    return true;
}

static void write_small(CpuState *state, const Register *row, uint64_t value)
{
    uint8_t *fx = state->xsave;
    uint64_t *msr;
    switch (row->place) {
    case X87_TAGS:
        fx[FX_FTW] = abridged_tags((unsigned)value);
        break;
    case X87_FIELD:
        st16_le(fx + row->offset, (uint16_t)(value & row->index));
        break;
    case X87_HIGH:
        st16_le(fx + row->offset + 4, (uint16_t)value);
        break;
    default:
        msr = find_msr(state, row->index);
        if (msr)
            *msr = value;
        return;
    }
    state->xsave[XSAVE_BV] |= 1u << BV_X87;
}

/* A selector alone, as a mov in real mode would set it; elsewhere its descriptor stays. */
static void write_selector(CpuState *state, unsigned seg, uint16_t selector)
{
    state->seg[seg].selector = selector;
    if (!(state->cr0 & 1) || state->rflags & 1u << 17)
        state->seg[seg].base = (uint64_t)selector << 4;
}

void gdb_register_write(bool wide, CpuState *state, unsigned number, const uint8_t *value)
{
    const Register *row = find(wide, number);
    uint8_t bytes[16] = {0};
    if (!row)
        return;
    memcpy(bytes, value, row->size);
    if (row->place == IN_XSAVE) {
        memcpy(state->xsave + row->offset, value, row->size);
        state->xsave[XSAVE_BV] |= 1u << row->index;
    } else if (row->place != IN_STATE) {
        write_small(state, row, ld64_le(bytes));
    } else if (is_selector(row)) {
        write_selector(state, selector_segment(row), ld16_le(bytes));
    } else {
        /* In 32-bit mode upper halves are zero. */
        uint64_t number64 = ld64_le(bytes);
        memcpy((uint8_t *)state + row->offset, &number64, 8);
    }
}

/* ---- The description ---- */

/* One row a flag: name, bit. */
typedef struct Flag {
    const char *name;
    unsigned bit;
} Flag;
static const Flag eflags[] = {{"CF", 0},   {"", 1},    {"PF", 2},  {"AF", 4},  {"ZF", 6},
                              {"SF", 7},   {"TF", 8},  {"IF", 9},  {"DF", 10}, {"OF", 11},
                              {"NT", 14},  {"RF", 16}, {"VM", 17}, {"AC", 18}, {"VIF", 19},
                              {"VIP", 20}, {"ID", 21}};
static const Flag mxcsr[] = {{"IE", 0},  {"DE", 1},  {"ZE", 2},  {"OE", 3}, {"UE", 4},
                             {"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8}, {"ZM", 9},
                             {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}};

static void append_flags(GString *xml, const char *id, const Flag *flags, unsigned count)
{
    g_string_append_printf(xml, "<flags id=\"%s\" size=\"4\">", id);
    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(xml, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", flags[i].name,
                               flags[i].bit, flags[i].bit);
    g_string_append(xml, "</flags>");
}

static void append_vectors(GString *xml)
{
    static const struct {
        const char *id, *type, *field;
        unsigned count;
    } vectors[] = {{"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
                   {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
                   {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2}};
    for (unsigned i = 0; i < G_N_ELEMENTS(vectors); i++)
        g_string_append_printf(xml, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", vectors[i].id,
                               vectors[i].type, vectors[i].count);
    g_string_append(xml, "<union id=\"vec128\">");
    for (unsigned i = 0; i < G_N_ELEMENTS(vectors); i++)
        g_string_append_printf(xml, "<field name=\"%s\" type=\"%s\"/>", vectors[i].field,
                               vectors[i].id);
    g_string_append(xml, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void append_types(GString *xml, const char *feature)
{
    if (feature == CORE)
        append_flags(xml, "i386_eflags", eflags, G_N_ELEMENTS(eflags));
    if (feature != SSE)
        return;
    append_vectors(xml);
    append_flags(xml, "i386_mxcsr", mxcsr, G_N_ELEMENTS(mxcsr));
}

const char *gdb_target_xml(bool wide)
{
    if (tables[wide].xml)
        return tables[wide].xml->str;
    const GArray *table = registers(wide);
    GString *xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                                "<target version=\"1.0\">");
    const char *feature = NULL;
    g_string_append_printf(xml, "<architecture>i386%s</architecture>", wide ? ":x86-64" : "");
    for (unsigned i = 0; i < table->len; i++) {
        const Register *row = &g_array_index(table, Register, i);
        if (row->feature != feature) {
            g_string_append_printf(xml, "%s<feature name=\"%s\">", feature ? "</feature>" : "",
                                   row->feature);
            feature = row->feature;
            append_types(xml, feature);
        }
        g_string_append_printf(xml, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"%s/>",
                               row->name, row->size * 8, row->type, i,
                               row->place >= X87_TAGS && row->place <= X87_HIGH ? " group=\"float\""
                                                                                : "");
    }
    g_string_append(xml, "</feature></target>");
    tables[wide].xml = xml;
    return xml->str;
}

void gdb_registers_free(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        g_clear_pointer(&tables[i].registers, g_array_unref);
        if (tables[i].xml)
            g_string_free(g_steal_pointer(&tables[i].xml), TRUE);
    }
}
