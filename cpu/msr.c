/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers: those that Linux, the BSDs, Windows and DOS extenders touch.  (Intel
 * SDM vol. 4; AMD APM vol. 2, appendix A.)
 *
 * Three kinds: registers with a field of their own in Cpu, rows of a table that are storage or
 * constants, and the local APIC's, which the engine answers.  All others are #GP, logged once.
 */
#include "protect.h"

#include <inttypes.h>

#include "util/log.h"

enum {
    MSR_P5_MC_ADDR = 0x0,
    MSR_P5_MC_TYPE = 0x1,
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_EBL_CR_POWERON = 0x2a,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_BIOS_UPDATE = 0x79,
    MSR_BIOS_SIGN = 0x8b,
    MSR_SMBASE = 0x9e,
    MSR_PERFCTR0 = 0xc1,
    MSR_FSB_FREQ = 0xcd,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRRCAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_FLUSH_CMD = 0x10b,
    MSR_BBL_CR_CTL = 0x119,
    MSR_BBL_CR_CTL3 = 0x11e,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS,
    MSR_MCG_CTL,
    MSR_EVNTSEL0 = 0x186,
    MSR_PERF_STATUS = 0x198,
    MSR_PERF_CTL,
    MSR_CLOCK_MODULATION,
    MSR_THERM_INTERRUPT,
    MSR_THERM_STATUS,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_LASTBRANCH_TOS = 0x1c9,
    MSR_DEBUGCTL = 0x1d9,
    MSR_LASTBRANCH_FROM = 0x1db,
    MSR_MTRR_PHYSBASE0 = 0x200,
    MSR_MTRR_END = 0x210,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400,
    MSR_MC_END = MSR_MC0_CTL + CPU_MC_BANKS * 4,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_X2APIC_END = 0x900,
};
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

enum { MTRRCAP = 0x508, EFER_FFXSR = 1 << 14, FEATURE_CONTROL_LOCKED = 1 };
/* What does not leak here (SDM vol. 4, IA32_ARCH_CAPABILITIES): rights are looked at before data is
 * fetched, and no buffer of a processor is between two of the guest's instructions.  RDCL, L1D at
 * VM entry, MDS, page size changes, TAA, stale data of three kinds, post-barrier RSB, GDS, RFDS. */
#define ARCH_CAPABILITIES                                                                          \
    (1ull << 0 | 1ull << 3 | 1ull << 5 | 1ull << 6 | 1ull << 8 | 7ull << 13 | 1ull << 24 |         \
     1ull << 26 | 1ull << 27)
#define MCG_CAP   (0x100 | CPU_MC_BANKS) /* with MCG_CTL */
#define PAT_RESET 0x0007040600070406ull

/* ---- Storage and constants ---- */

typedef enum { ANY, INTEL, AMD, PENTIUM, P6 } Maker; /* P6: until CPUID told of counters */

typedef struct MsrRow {
    uint32_t index;
    Maker maker;
    uint64_t reset;
    uint64_t writable; /* bits that a write changes; others are ignored */
} MsrRow;

/* In the order of cpu->msr_store. */
static const MsrRow rows[] = {
    {MSR_P5_MC_ADDR, INTEL, 0, 0},
    {MSR_P5_MC_TYPE, INTEL, 0, 0},
    {0x11, PENTIUM, 0, UINT32_MAX}, /* CESR, CTR0, CTR1 */
    {0x12, PENTIUM, 0, 0},
    {0x13, PENTIUM, 0, 0},
    {MSR_PLATFORM_ID, INTEL, 0, 0},
    {MSR_EBL_CR_POWERON, INTEL, 0, UINT32_MAX},
    {MSR_FEATURE_CONTROL, INTEL, FEATURE_CONTROL_LOCKED, 0}, /* and without VMX */
    {MSR_BIOS_UPDATE, INTEL, 0, 0},
    {MSR_BIOS_SIGN, INTEL, 1ull << 32, 0},
    {MSR_BIOS_SIGN, AMD, 0x01000065, 0},
    {MSR_PERFCTR0, P6, 0, 0},
    {MSR_PERFCTR0 + 1, P6, 0, 0},
    {MSR_FSB_FREQ, INTEL, 3, 0},
    {MSR_PLATFORM_INFO, INTEL, 0, 0},
    {MSR_BBL_CR_CTL, INTEL, 0, UINT32_MAX},
    {MSR_BBL_CR_CTL3, INTEL, 0xbe702111, UINT32_MAX}, /* the L2 cache is there and on */
    {MSR_EVNTSEL0, P6, 0, 0},
    {MSR_EVNTSEL0 + 1, P6, 0, 0},
    {MSR_PERF_STATUS, INTEL, 1000 | 4ull << 40, 0},
    {MSR_PERF_CTL, INTEL, 0, 0xffff},
    {MSR_CLOCK_MODULATION, INTEL, 0, 0x1f},
    {MSR_THERM_INTERRUPT, INTEL, 0, 0xffffff},
    {MSR_THERM_STATUS, INTEL, 0, 0},
    {MSR_MISC_ENABLE, INTEL, 0x1801, 1}, /* fast strings; neither BTS nor PEBS */
    {MSR_LASTBRANCH_TOS, INTEL, 0, 0},
    {MSR_LASTBRANCH_FROM, ANY, 0, 0},
    {MSR_LASTBRANCH_FROM + 1, ANY, 0, 0},
    {MSR_LASTBRANCH_FROM + 2, ANY, 0, 0},
    {MSR_LASTBRANCH_FROM + 3, ANY, 0, 0},
    {0x606, INTEL, 0, 0}, /* RAPL: power units, and the energy of package, DRAM, cores, graphics */
    {0x611, INTEL, 0, 0},
    {0x619, INTEL, 0, 0},
    {0x639, INTEL, 0, 0},
    {0x641, INTEL, 0, 0},
    {0xc0010000, AMD, 0, 0}, /* PERF_CTL0 to 3, PERF_CTR0 to 3 */
    {0xc0010001, AMD, 0, 0},
    {0xc0010002, AMD, 0, 0},
    {0xc0010003, AMD, 0, 0},
    {0xc0010004, AMD, 0, 0},
    {0xc0010005, AMD, 0, 0},
    {0xc0010006, AMD, 0, 0},
    {0xc0010007, AMD, 0, 0},
    {0xc0010010, AMD, 0, UINT64_MAX}, /* SYSCFG */
    {0xc0010015, AMD, 0, UINT64_MAX}, /* HWCR */
    {0xc0010016, AMD, 0, UINT64_MAX}, /* IORR base and mask, twice */
    {0xc0010017, AMD, 0, UINT64_MAX},
    {0xc0010018, AMD, 0, UINT64_MAX},
    {0xc0010019, AMD, 0, UINT64_MAX},
    {0xc001001a, AMD, 0, UINT64_MAX}, /* TOP_MEM, TOP_MEM2 */
    {0xc001001d, AMD, 0, UINT64_MAX},
    {0xc001001f, AMD, 0, UINT64_MAX}, /* NB_CFG */
    {0xc0010020, AMD, 0, 0},          /* PATCH_LOADER */
    {0xc0010055, AMD, 0, UINT64_MAX}, /* INT_PENDING */
    {0xc0010058, AMD, 0, 0},          /* MMIO_CONF_BASE */
    {0xc0010061, AMD, 0, 0},          /* P-states: limit, control, status, the first */
    {0xc0010062, AMD, 0, 0},
    {0xc0010063, AMD, 0, 0},
    {0xc0010064, AMD, 0, 0},
    {0xc0010112, AMD, 0, UINT64_MAX}, /* SMM_ADDR, SMM_MASK */
    {0xc0010113, AMD, 0, UINT64_MAX},
    {0xc0010114, AMD, 0x10, 0},       /* VM_CR: SVM is disabled */
    {0xc0011004, AMD, 0, UINT64_MAX}, /* CPUID feature overrides */
    {0xc0011005, AMD, 0, UINT64_MAX},
    {0xc0011020, AMD, 0, UINT64_MAX}, /* LS_CFG, IC_CFG, DC_CFG, BU_CFG */
    {0xc0011021, AMD, 0, UINT64_MAX},
    {0xc0011022, AMD, 0, UINT64_MAX},
    {0xc0011023, AMD, 0, UINT64_MAX},
    {0xc0011029, AMD, 2, UINT64_MAX}, /* DE_CFG: LFENCE serialises */
    {0xc001102a, AMD, 0, UINT64_MAX}, /* BU_CFG2 */
};
G_STATIC_ASSERT(G_N_ELEMENTS(rows) <= CPU_MSR_STORE);

static bool is_p6(const Cpu *cpu)
{
    enum { PERFMON_LEAF = 0xa };
    const CpuidEntry *entry =
        cpuid_find((const CpuidEntry *)(void *)cpu->cpuid->data, cpu->cpuid->len, 0, 0);
    return !cpu_is_amd(cpu) && cpu_family(cpu) == 6 && entry &&
           entry->reg[CPUID_EAX] < PERFMON_LEAF;
}

static bool made_by(const Cpu *cpu, Maker maker)
{
    switch (maker) {
    case INTEL:
        return !cpu_is_amd(cpu);
    case AMD:
        return cpu_is_amd(cpu);
    case PENTIUM:
        return !cpu_is_amd(cpu) && cpu_family(cpu) == 5;
    case P6:
        return is_p6(cpu);
    default:
        return true;
    }
}

unsigned msr_counters(const Cpu *cpu)
{
    if (cpu_is_amd(cpu))
        return cpu_family(cpu) >= 6 ? 4 : 0;
    return is_p6(cpu) || made_by(cpu, PENTIUM) ? 2 : 0;
}

/* The place of a row's value, or NULL. */
static uint64_t *find_row(Cpu *cpu, uint32_t index, const MsrRow **row)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].index != index || !made_by(cpu, rows[i].maker))
            continue;
        *row = &rows[i];
        return &cpu->msr_store[i];
    }
    return NULL;
}

/* ---- Registers with a field ---- */

/* How a field is checked. */
typedef enum { FREE, CANONICAL, LOW32, CHECKED } FieldKind;

typedef struct MsrField {
    uint32_t index;
    uint16_t leaf_bit; /* index into features, 0: always there */
    FieldKind kind;
    size_t offset;
} MsrField;

enum {
    ALWAYS,
    WITH_SEP,
    WITH_SYSCALL,
    WITH_LM,
    WITH_AUX,
    WITH_MTRR,
    WITH_PAT,
    WITH_MCE,
    WITH_SPEC
};

static bool present(const Cpu *cpu, unsigned feature)
{
    switch (feature) {
    case WITH_SEP:
        return cpu_feature(cpu, FEATURE_SEP);
    case WITH_SYSCALL:
        return cpu_feature(cpu, FEATURE_SYSCALL);
    case WITH_LM:
        return cpu_feature(cpu, FEATURE_LM);
    case WITH_AUX:
        return cpu_feature(cpu, FEATURE_RDTSCP) || cpu_feature(cpu, FEATURE_RDPID);
    case WITH_MTRR:
        return cpu_feature(cpu, FEATURE_MTRR);
    case WITH_PAT:
        return cpu_feature(cpu, FEATURE_PAT);
    case WITH_MCE:
        return cpu_feature(cpu, FEATURE_MCE);
    case WITH_SPEC:
        return cpu_feature(cpu, FEATURE_SPEC_CTRL);
    default:
        return true;
    }
}

#define FIELD(index, feature, kind, member)                                                        \
    {                                                                                              \
        index, feature, kind, offsetof(Cpu, member)                                                \
    }
static const MsrField fields[] = {
    FIELD(MSR_SYSENTER_CS, WITH_SEP, LOW32, sysenter_cs),
    FIELD(MSR_SYSENTER_ESP, WITH_SEP, CANONICAL, sysenter_esp),
    FIELD(MSR_SYSENTER_EIP, WITH_SEP, CANONICAL, sysenter_eip),
    FIELD(MSR_STAR, WITH_SYSCALL, FREE, star),
    FIELD(MSR_LSTAR, WITH_LM, CANONICAL, lstar),
    FIELD(MSR_CSTAR, WITH_LM, CANONICAL, cstar),
    FIELD(MSR_FMASK, WITH_LM, LOW32, fmask),
    FIELD(MSR_FS_BASE, WITH_LM, CANONICAL, seg[SEG_FS].base),
    FIELD(MSR_GS_BASE, WITH_LM, CANONICAL, seg[SEG_GS].base),
    FIELD(MSR_KERNEL_GS_BASE, WITH_LM, CANONICAL, kernel_gs_base),
    FIELD(MSR_TSC_AUX, WITH_AUX, LOW32, tsc_aux),
    FIELD(MSR_SPEC_CTRL, WITH_SPEC, CHECKED, spec_ctrl),
    FIELD(MSR_PAT, WITH_PAT, CHECKED, pat),
    FIELD(MSR_DEBUGCTL, ALWAYS, CHECKED, debugctl),
    FIELD(MSR_MTRR_DEF_TYPE, WITH_MTRR, CHECKED, mtrr_def_type),
    FIELD(MSR_MCG_STATUS, WITH_MCE, CHECKED, mcg_status),
    FIELD(MSR_MCG_CTL, WITH_MCE, CHECKED, mcg_ctl),
};
#undef FIELD

static const uint32_t mtrr_fixed[] = {MSR_MTRR_FIX64K,    MSR_MTRR_FIX16K,    MSR_MTRR_FIX16K + 1,
                                      MSR_MTRR_FIX4K,     MSR_MTRR_FIX4K + 1, MSR_MTRR_FIX4K + 2,
                                      MSR_MTRR_FIX4K + 3, MSR_MTRR_FIX4K + 4, MSR_MTRR_FIX4K + 5,
                                      MSR_MTRR_FIX4K + 6, MSR_MTRR_FIX4K + 7};

/* The place of a register that is one of a series, or NULL. */
static uint64_t *find_series(Cpu *cpu, uint32_t index)
{
    if (index >= MSR_MC0_CTL && index < MSR_MC_END)
        return present(cpu, WITH_MCE) ? &cpu->mc_banks[index - MSR_MC0_CTL] : NULL;
    if (!present(cpu, WITH_MTRR))
        return NULL;
    if (index >= MSR_MTRR_PHYSBASE0 && index < MSR_MTRR_END) {
        unsigned i = index - MSR_MTRR_PHYSBASE0;
        return i & 1 ? &cpu->mtrr_mask[i / 2] : &cpu->mtrr_base[i / 2];
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(mtrr_fixed); i++)
        if (mtrr_fixed[i] == index)
            return &cpu->mtrr_fixed[i];
    return NULL;
}

static uint64_t *find_field(Cpu *cpu, uint32_t index, FieldKind *kind)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (fields[i].index != index || !present(cpu, fields[i].leaf_bit))
            continue;
        *kind = fields[i].kind;
        return (uint64_t *)(void *)((char *)cpu + fields[i].offset);
    }
    *kind = CHECKED;
    return find_series(cpu, index);
}

static bool memory_type_ok(uint8_t type, bool pat)
{
    /* UC, WC, WT, WP, WB; PAT has UC-, too. */
    return type == 0 || type == 1 || type == 4 || type == 5 || type == 6 || (pat && type == 7);
}

static bool memory_types_ok(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type_ok((uint8_t)(value >> 8 * i), pat))
            return false;
    return true;
}

/* The rules of registers that are CHECKED. */
static bool value_ok(const Cpu *cpu, uint32_t index, uint64_t value)
{
    uint64_t high = cpu->physical_reserved | 0xfffull << 52;
    switch (index) {
    case MSR_PAT:
        return memory_types_ok(value, true);
    case MSR_MTRR_DEF_TYPE:
        return !(value & ~0xcffull) && memory_type_ok((uint8_t)value, false);
    case MSR_SPEC_CTRL:
        return !(value & ~7ull);
    case MSR_DEBUGCTL:
        /* LBR may be set, but no branch is ever recorded: the record reads as zeros, which it may
         * at any time (SDM vol. 3, 17.4.1: the processor's own exceptions clear the flag). */
        return !(value & ~(uint64_t)(DEBUGCTL_LBR | DEBUGCTL_BTF));
    case MSR_MCG_CTL:
        return value == 0 || value == UINT64_MAX;
    case MSR_MCG_STATUS:
        return !(value & ~0xfull);
    }
    if (index >= MSR_MTRR_PHYSBASE0 && index < MSR_MTRR_END) {
        if (index & 1)
            return !(value & (high | 0x7ff));
        return !(value & (high | 0xf00)) && memory_type_ok((uint8_t)value, false);
    }
    if (index >= MSR_MTRR_FIX64K && index < MSR_MTRR_FIX4K + 8)
        return memory_types_ok(value, false);
    /* Machine checks: all or nothing is enabled, and a status can be cleared only. */
    if (index >= MSR_MC0_CTL && index < MSR_MC_END)
        return (index & 3) == 0 ? value == 0 || value == UINT64_MAX : (index & 3) != 1 || !value;
    return true;
}

static bool store_field(Cpu *cpu, uint32_t index, FieldKind kind, uint64_t *field, uint64_t value)
{
    if (kind == CANONICAL && !canonical(value))
        return false;
    if (kind == CHECKED && !value_ok(cpu, index, value))
        return false;
    *field = kind == LOW32 ? (uint32_t)value : value;
    return true;
}

/* ---- EFER, TSC ---- */

static bool write_efer(Cpu *cpu, uint64_t value)
{
    uint64_t known = (cpu_feature(cpu, FEATURE_SYSCALL) ? EFER_SCE : 0) |
                     (cpu_feature(cpu, FEATURE_LM) ? EFER_LME | EFER_LMA : 0) |
                     (cpu_feature(cpu, FEATURE_NX) ? EFER_NXE : 0) |
                     (cpu_feature(cpu, FEATURE_FXSR_OPT) ? EFER_FFXSR : 0);
    if ((value & ~known) || (((value ^ cpu->efer) & EFER_LME) && (cpu->cr0 & CR0_PG)))
        return false;
    cpu->efer = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
    cpu_mode_changed(cpu);
    return true;
}

/* Setting either moves the other by as much (SDM vol. 3, 17.17.3). */
static void write_tsc(Cpu *cpu, uint64_t value)
{
    cpu->tsc_adjust += value - cpu->bus.read_tsc(cpu->vcpu);
    cpu->bus.write_tsc(cpu->vcpu, value);
}

static void write_tsc_adjust(Cpu *cpu, uint64_t value)
{
    uint64_t delta = value - cpu->tsc_adjust;
    cpu->bus.write_tsc(cpu->vcpu, cpu->bus.read_tsc(cpu->vcpu) + delta);
    cpu->tsc_adjust = value;
}

/* ---- Reading and writing ---- */

static bool is_apic(uint32_t index)
{
    return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
           (index >= MSR_X2APIC && index < MSR_X2APIC_END);
}

static bool apic_access(Cpu *cpu, uint32_t index, bool write, uint64_t *value)
{
    fpu_leave(cpu);
    return cpu_feature(cpu, FEATURE_APIC) && cpu->bus.apic_msr &&
           cpu->bus.apic_msr(cpu->vcpu, index, write, value);
}

static bool msr_read(Cpu *cpu, uint32_t index, uint64_t *value)
{
    const MsrRow *row;
    FieldKind kind;
    const uint64_t *place = find_field(cpu, index, &kind);
    if (!place)
        place = find_row(cpu, index, &row);
    if (place) {
        *value = *place;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        *value = cpu->bus.read_tsc(cpu->vcpu);
        return cpu_feature(cpu, FEATURE_TSC);
    case MSR_TSC_ADJUST:
        *value = cpu->tsc_adjust;
        return cpu_feature(cpu, FEATURE_TSC_ADJUST);
    case MSR_MTRRCAP:
        *value = MTRRCAP;
        return present(cpu, WITH_MTRR);
    case MSR_MCG_CAP:
        *value = MCG_CAP;
        return present(cpu, WITH_MCE);
    case MSR_ARCH_CAPABILITIES:
        *value = ARCH_CAPABILITIES;
        return cpu_feature(cpu, FEATURE_ARCH_CAPS);
    case MSR_EFER:
        *value = cpu->efer;
        return present(cpu, WITH_SYSCALL) || present(cpu, WITH_LM) || cpu_feature(cpu, FEATURE_NX);
    case 0xc0010140: /* OSVW: no errata */
    case 0xc0010141:
        *value = 0;
        return cpu_feature(cpu, FEATURE_OSVW);
    default:
        return is_apic(index) && apic_access(cpu, index, false, value);
    }
}

static bool msr_write(Cpu *cpu, uint32_t index, uint64_t value)
{
    const MsrRow *row;
    FieldKind kind;
    uint64_t *place = find_field(cpu, index, &kind);
    if (place)
        return store_field(cpu, index, kind, place, value);
    place = find_row(cpu, index, &row);
    if (place) {
        if (index == MSR_FEATURE_CONTROL && (*place & FEATURE_CONTROL_LOCKED))
            return false;
        *place = (*place & ~row->writable) | (value & row->writable);
        return true;
    }
    switch (index) {
    case MSR_TSC:
        write_tsc(cpu, value);
        return cpu_feature(cpu, FEATURE_TSC);
    case MSR_TSC_ADJUST:
        if (cpu_feature(cpu, FEATURE_TSC_ADJUST))
            write_tsc_adjust(cpu, value);
        return cpu_feature(cpu, FEATURE_TSC_ADJUST);
    case MSR_PRED_CMD: /* nothing is predicted here */
        return present(cpu, WITH_SPEC) && !(value & ~1ull);
    case MSR_FLUSH_CMD:
        return cpu_feature(cpu, FEATURE_FLUSH_L1D) && !(value & ~1ull);
    case MSR_EFER:
        return write_efer(cpu, value);
    default:
        return is_apic(index) && apic_access(cpu, index, true, &value);
    }
}

/* ---- The instructions ---- */

static void log_unknown(uint32_t index, bool write, uint64_t value)
{
    static GHashTable *seen;
    static GMutex lock;
    if (!log_on(LOG_UNIMP))
        return;
    g_mutex_lock(&lock);
    if (!seen)
        seen = g_hash_table_new(NULL, NULL);
    /* Reads and writes are told apart by a bit that no index in use has. */
    bool new = g_hash_table_add(seen, GUINT_TO_POINTER(index ^ (write ? 1u << 29 : 0)));
    g_mutex_unlock(&lock);
    if (new &&write)
        guest_unimp("cpu: WRMSR 0x%x = 0x%" PRIx64 ": #GP", index, value);
    else if (new)
        guest_unimp("cpu: RDMSR 0x%x: #GP", index);
}

const Op *op_rdmsr(Cpu *cpu, const Op *op)
{
    uint32_t index = (uint32_t)cpu->gpr[GPR_RCX];
    uint64_t value = 0;
    need_cpl0(cpu, op);
    if (!msr_read(cpu, index, &value)) {
        log_unknown(index, false, 0);
        cpu_fault_code(cpu, op, EXC_GP, 0);
    }
    cpu->gpr[GPR_RAX] = (uint32_t)value;
    cpu->gpr[GPR_RDX] = value >> 32;
    NEXT(cpu, op);
}

const Op *op_wrmsr(Cpu *cpu, const Op *op)
{
    uint32_t index = (uint32_t)cpu->gpr[GPR_RCX];
    uint64_t value = cpu->gpr[GPR_RDX] << 32 | (uint32_t)cpu->gpr[GPR_RAX];
    need_cpl0(cpu, op);
    if (!msr_write(cpu, index, value)) {
        log_unknown(index, true, value);
        cpu_fault_code(cpu, op, EXC_GP, 0);
    }
    LEAVE_BEHIND(cpu, op);
}

/* ---- Reset and state ---- */

void msr_reset(Cpu *cpu)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++)
        if (fields[i].index != MSR_FS_BASE && fields[i].index != MSR_GS_BASE)
            *(uint64_t *)(void *)((char *)cpu + fields[i].offset) = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        cpu->msr_store[i] = rows[i].reset;
    memset(cpu->mtrr_base, 0, sizeof(cpu->mtrr_base));
    memset(cpu->mtrr_mask, 0, sizeof(cpu->mtrr_mask));
    memset(cpu->mtrr_fixed, 0, sizeof(cpu->mtrr_fixed));
    memset(cpu->mc_banks, 0, sizeof(cpu->mc_banks));
    cpu->pat = PAT_RESET;
    cpu->mcg_ctl = UINT64_MAX;
    cpu->tsc_adjust = 0;
}

static void put_msr(CpuState *state, uint32_t index, uint64_t value)
{
    if (state->msr_count < CPU_MSRS_MAX)
        state->msrs[state->msr_count++] = (CpuMsr){index, value};
}

void msr_get_state(Cpu *cpu, CpuState *state)
{
    FieldKind kind;
    state->msr_count = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        const uint64_t *place = find_field(cpu, fields[i].index, &kind);
        if (place)
            put_msr(state, fields[i].index, *place);
    }
    for (uint32_t index = MSR_MTRR_PHYSBASE0; index < MSR_MC_END; index++) {
        const uint64_t *place = find_series(cpu, index);
        if (place)
            put_msr(state, index, *place);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].writable && made_by(cpu, rows[i].maker))
            put_msr(state, rows[i].index, cpu->msr_store[i]);
    put_msr(state, MSR_TSC_ADJUST, cpu->tsc_adjust);
    put_msr(state, MSR_SMBASE, cpu->smbase);
}

void msr_set_state(Cpu *cpu, const CpuState *state)
{
    const MsrRow *row;
    FieldKind kind;
    for (unsigned i = 0; i < state->msr_count && i < CPU_MSRS_MAX; i++) {
        uint32_t index = state->msrs[i].index;
        uint64_t *place = find_field(cpu, index, &kind);
        if (index == MSR_TSC_ADJUST)
            place = &cpu->tsc_adjust;
        if (index == MSR_SMBASE)
            place = &cpu->smbase;
        if (!place)
            place = find_row(cpu, index, &row);
        /* A state may be from a file: what WRMSR would not take stays out. */
        if (place && (kind != CHECKED || value_ok(cpu, index, state->msrs[i].value) ||
                      (index >= MSR_MC0_CTL && index < MSR_MC_END)))
            *place = state->msrs[i].value;
    }
}
