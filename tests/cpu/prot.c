/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor, memory and tables of the tests of protection. */
#include "prot.h"

#include "accel/test.h"

/* ---- The bus ---- */

static Prot *current;

static int take_interrupt(Vcpu *vcpu)
{
    int vector = current->interrupt;
    current->interrupt = -1;
    vcpu_take(vcpu, VCPU_REQ_INTR);
    return vector;
}
static uint64_t read_cr8(Vcpu *vcpu)
{
    return current->cr8;
}
static void write_cr8(Vcpu *vcpu, uint64_t value)
{
    current->cr8 = value;
}
static bool apic_msr(Vcpu *vcpu, uint32_t index, bool write, uint64_t *value)
{
    if (index != 0x1b)
        return false;
    if (!write)
        *value = current->apic_base;
    return true;
}
static uint64_t read_tsc(Vcpu *vcpu)
{
    return current->tsc;
}
static void write_tsc(Vcpu *vcpu, uint64_t value)
{
    current->tsc = value;
}

void vcpu_request(Vcpu *cpu, uint32_t bits)
{
    __atomic_fetch_or(&cpu->requests, bits, __ATOMIC_SEQ_CST);
}

static uint64_t port_read(void *opaque, hwaddr offset, unsigned size)
{
    Prot *p = opaque;
    uint32_t value = p->port_next++;
    if (p->port_count < G_N_ELEMENTS(p->port_log)) {
        p->port_log[p->port_count].port = (uint16_t)(0x200 + offset);
        p->port_log[p->port_count].size = (uint8_t)size;
        p->port_log[p->port_count].write = false;
        p->port_log[p->port_count].value = value;
    }
    p->port_count++;
    return value;
}
static void port_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Prot *p = opaque;
    if (p->port_count < G_N_ELEMENTS(p->port_log)) {
        p->port_log[p->port_count].port = (uint16_t)(0x200 + offset);
        p->port_log[p->port_count].size = (uint8_t)size;
        p->port_log[p->port_count].write = true;
        p->port_log[p->port_count].value = (uint32_t)value;
    }
    p->port_count++;
}
static const RegionOps port_ops = {port_read, port_write, .unaligned = true};

/* ---- Life ---- */

static GArray *leaves_of(const char *vendor)
{
    GArray *leaves = g_array_new(FALSE, TRUE, sizeof(CpuidEntry));
    cpu_supported_cpuid(leaves);
    for (guint i = 0; i < leaves->len; i++) {
        CpuidEntry *entry = &g_array_index(leaves, CpuidEntry, i);
        if (entry->leaf == 0 || entry->leaf == 0x80000000) {
            memcpy(&entry->reg[CPUID_EBX], vendor, 4);
            memcpy(&entry->reg[CPUID_EDX], vendor + 4, 4);
            memcpy(&entry->reg[CPUID_ECX], vendor + 8, 4);
        }
    }
    bool has_leaf0 = false;
    for (guint i = 0; i < leaves->len; i++)
        has_leaf0 |= g_array_index(leaves, CpuidEntry, i).leaf == 0;
    if (!has_leaf0) {
        CpuidEntry entry = {.reg = {0xd}};
        memcpy(&entry.reg[CPUID_EBX], vendor, 4);
        memcpy(&entry.reg[CPUID_EDX], vendor + 4, 4);
        memcpy(&entry.reg[CPUID_ECX], vendor + 8, 4);
        g_array_append_val(leaves, entry);
    }
    return leaves;
}

Prot *prot_new_vendor(const char *vendor)
{
    static const CpuBus bus = {take_interrupt, read_cr8, write_cr8, apic_msr,
                               NULL,           read_tsc, write_tsc};
    Prot *p = g_new0(Prot, 1);
    current = p;
    p->machine = test_machine_new(4 << 20);
    p->machine->a20 = true;
    p->ram = region_ram_ptr(p->machine->ram);
    p->interrupt = -1;
    p->apic_base = 0xfee00900;
    p->vcpu.machine = p->machine;
    as_init(&p->smm, "smm", &p->machine->mem_root, UINT64_MAX);
    region_init_io(&p->ports, "test-ports", 0x100, &port_ops, p, NULL);
    region_add(&p->machine->io_root, 0x200, &p->ports);
    g_autoptr(GArray) leaves = leaves_of(vendor);
    p->cpu = cpu_new(&p->vcpu, &p->machine->mem, &p->smm, &p->machine->io, &bus,
                     (const CpuidEntry *)(void *)leaves->data, leaves->len);
    return p;
}

Prot *prot_new(void)
{
    return prot_new_vendor("GenuineIntel");
}

void prot_free(Prot *p)
{
    cpu_free(p->cpu);
    region_fini(&p->ports);
    as_fini(&p->smm);
    test_machine_free(p->machine);
    current = NULL;
    g_free(p);
}

/* ---- Tables ---- */

void prot_descriptor(Prot *p, uint16_t selector, uint32_t base, uint32_t limit, uint16_t attr)
{
    uint8_t *at = p->ram + (selector & 4 ? AT_LDT : AT_GDT) + (selector & ~7u);
    uint32_t units = attr & ATTR_G ? limit >> 12 : limit;
    st64_le(at, (units & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 40 |
                    (uint64_t)(units & 0xf0000) << 32 | (uint64_t)(base >> 24) << 56);
}

static uint64_t gate_bits(unsigned type, unsigned dpl, uint16_t target, uint32_t offset,
                          unsigned parameters)
{
    return (offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)parameters << 32 |
           (uint64_t)(0x80 | dpl << 5 | type) << 40 | (uint64_t)(offset & 0xffff0000) << 32;
}

void prot_gate(Prot *p, uint16_t selector, unsigned type, unsigned dpl, uint16_t target,
               uint32_t offset, unsigned parameters)
{
    st64_le(p->ram + AT_GDT + selector, gate_bits(type, dpl, target, offset, parameters));
    if (p->state.efer & 1 << 10)
        st64_le(p->ram + AT_GDT + selector + 8, 0);
}

void prot_idt(Prot *p, unsigned vector, unsigned type, unsigned dpl, uint16_t target,
              uint32_t offset)
{
    bool wide = p->state.efer & 1 << 10;
    uint8_t *at = p->ram + AT_IDT + vector * (wide ? 16 : 8);
    st64_le(at, gate_bits(type, dpl, target, offset, 0));
    if (wide)
        st64_le(at + 8, 0);
}

void prot_pointer(Prot *p, uint16_t selector, uint32_t offset)
{
    st32_le(p->ram + AT_DATA, offset);
    st16_le(p->ram + AT_DATA + 4, selector);
}

static void fill_gdt(Prot *p)
{
    enum { FLAT = ATTR_G | ATTR_DB | 0x80, FLAT64 = ATTR_G | ATTR_L | 0x80 };
    static const struct {
        uint16_t selector;
        uint32_t base, limit;
        uint16_t attr;
    } rows[] = {
        {SEL_CODE0, 0, UINT32_MAX, FLAT | 0x1b},
        {SEL_DATA0, 0, UINT32_MAX, FLAT | 0x13},
        {SEL_CODE3, 0, UINT32_MAX, FLAT | 0x7b},
        {SEL_DATA3, 0, UINT32_MAX, FLAT | 0x73},
        {SEL_CODE64, 0, UINT32_MAX, FLAT64 | 0x1b},
        {SEL_CODE64_3, 0, UINT32_MAX, FLAT64 | 0x7b},
        {SEL_CODE16, 0, 0xffff, 0x9b},
        {SEL_DATA16, 0, 0xffff, 0x93},
        {SEL_CONFORMING, 0, UINT32_MAX, FLAT | 0x1f},
        {SEL_DOWN, 0, 0x1fff, ATTR_DB | 0x97},
        {SEL_READ_ONLY, 0, UINT32_MAX, FLAT | 0x71},
        {SEL_EXECUTE_ONLY, 0, UINT32_MAX, FLAT | 0x79},
        {SEL_ABSENT, 0, UINT32_MAX, 0x4013 | ATTR_G},
        {SEL_TSS_A, AT_TSS_A, TSS_LIMIT, 0x8b},
        {SEL_TSS_B, AT_TSS_B, 0x67, 0x89},
        {SEL_TSS_16, AT_TSS_16, 0x2b, 0x81},
        {SEL_LDT, AT_LDT, 0x3f, 0x82},
        {SEL_CODE1, 0, UINT32_MAX, FLAT | 0x3b},
        {SEL_DATA1, 0, UINT32_MAX, FLAT | 0x33},
        {SEL_TSS_64, AT_TSS_64, TSS_LIMIT, 0x8b},
        {SEL_SMALL, 0, 0xfff, ATTR_DB | 0xf3},
    };
    memset(p->ram + AT_GDT, 0, 0x100);
    memset(p->ram + AT_LDT, 0, 0x40);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        prot_descriptor(p, rows[i].selector, rows[i].base, rows[i].limit, rows[i].attr);
    prot_descriptor(p, 0x0c, 0, UINT32_MAX, FLAT | 0x13);
}

static void fill_tss(Prot *p)
{
    uint8_t *a = p->ram + AT_TSS_A, *wide = p->ram + AT_TSS_64;
    memset(a, 0, 0x1000);
    st32_le(a + 4, AT_STACK0);
    st32_le(a + 8, SEL_DATA0);
    st32_le(a + 12, AT_STACK1);
    st32_le(a + 16, SEL_DATA1 | 1);
    st16_le(a + 102, TSS_IO_MAP);
    memset(a + TSS_IO_MAP, 0xff, TSS_LIMIT + 1 - TSS_IO_MAP);
    st64_le(wide + 4, AT_STACK0);
    st64_le(wide + 36, AT_IST);
    st16_le(wide + 102, TSS_IO_MAP);
    memset(wide + TSS_IO_MAP, 0xff, TSS_LIMIT + 1 - TSS_IO_MAP);
}

static void fill_idt(Prot *p, ProtMode mode)
{
    bool wide = mode == PROT_64 || mode == PROT_COMPAT;
    for (unsigned vector = 0; vector < 256; vector++) {
        uint32_t handler = AT_HANDLERS + vector * 16;
        memset(p->ram + handler, 0xf4, 16);
        if (mode == PROT_REAL)
            st32_le(p->ram + vector * 4, handler);
        else
            prot_idt(p, vector, 0xe, vector == DONE || vector == 0x30 ? 3 : 0,
                     wide ? SEL_CODE64 : SEL_CODE0, handler);
    }
    /* A vm86 program's own handlers. */
    if (mode == PROT_VM86)
        for (unsigned vector = 0; vector < 256; vector++)
            st32_le(p->ram + vector * 4, AT_CODE + 0x80);
}

/* Everything identity-mapped by 2 MiB pages for everybody. */
static void fill_pages(Prot *p)
{
    uint8_t *at = p->ram + AT_PAGES;
    memset(at, 0, 0x3000);
    st64_le(at, (AT_PAGES + 0x1000) | 7);
    st64_le(at + 0x1000, (AT_PAGES + 0x2000) | 7);
    for (unsigned i = 0; i < 8; i++)
        st64_le(at + 0x2000 + 8 * i, (uint64_t)i << 21 | 0x87);
}

void prot_segment(Prot *p, unsigned seg, uint16_t selector)
{
    uint64_t bits = ld64_le(p->ram + (selector & 4 ? AT_LDT : AT_GDT) + (selector & ~7u));
    CpuSegment *segment = seg < SEG_COUNT    ? &p->state.seg[seg]
                          : seg == SEG_COUNT ? &p->state.tr
                                             : &p->state.ldt;
    uint32_t limit = (uint32_t)((bits & 0xffff) | (bits >> 32 & 0xf0000));
    *segment = (CpuSegment){.selector = selector,
                            .attr = bits >> 40 & 0xf0ff,
                            .base = bits_get(bits, 16, 24) | bits_get(bits, 56, 8) << 24};
    segment->limit = segment->attr & ATTR_G ? limit << 12 | 0xfff : limit;
}

static void real_segments(Prot *p, uint16_t attr)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        p->state.seg[i] = (CpuSegment){.limit = 0xffff, .attr = attr};
}

static void protected_segments(Prot *p, ProtMode mode, unsigned cpl)
{
    static const uint16_t codes[] = {SEL_CODE0, SEL_CODE1, 0, SEL_CODE3};
    static const uint16_t datas[] = {SEL_DATA0, SEL_DATA1, 0, SEL_DATA3};
    uint16_t code = mode == PROT_64 ? (cpl ? SEL_CODE64_3 : SEL_CODE64) : codes[cpl];
    for (unsigned i = 0; i < SEG_COUNT; i++) {
        prot_segment(p, i, i == SEG_CS ? code : datas[cpl]);
        p->state.seg[i].selector |= (uint16_t)cpl;
    }
}

void prot_mode(Prot *p, ProtMode mode, unsigned cpl)
{
    CpuState *state = &p->state;
    bool wide = mode == PROT_64 || mode == PROT_COMPAT;
    memset(state, 0, sizeof(*state));
    cpu_reset(p->cpu, false);
    cpu_get_state(p->cpu, state);
    memset(state->gpr, 0, sizeof(state->gpr));
    state->waiting_sipi = false;
    state->cr0 = mode == PROT_REAL ? 0x10 : wide ? 0x80010011 : 0x11;
    state->cr4 = wide ? 0x220 : 0x200;
    state->cr3 = wide ? AT_PAGES : 0;
    state->efer = wide ? 0xd01 : 0;
    state->gdt_base = AT_GDT;
    state->gdt_limit = GDT_LIMIT;
    state->idt_base = mode == PROT_REAL ? 0 : AT_IDT;
    state->idt_limit = mode == PROT_REAL ? 0x3ff : wide ? 0xfff : 0x7ff;
    state->rip = AT_CODE;
    state->rflags = 2;
    fill_gdt(p);
    fill_tss(p);
    fill_pages(p);
    fill_idt(p, mode);
    prot_segment(p, SEG_COUNT, wide ? SEL_TSS_64 : SEL_TSS_A);
    prot_segment(p, SEG_COUNT + 1, SEL_LDT);
    if (mode == PROT_REAL) {
        real_segments(p, 0x93);
    } else if (mode == PROT_VM86) {
        real_segments(p, 0xf3);
        state->rflags |= FL_VM;
        cpl = 3;
    } else {
        protected_segments(p, mode, cpl);
    }
    state->gpr[GPR_RSP] = cpl == 3 ? AT_STACK3 : cpl == 1 ? AT_STACK1 : AT_STACK0;
    p->port_count = 0;
}

/* ---- Running ---- */

static int where(const Prot *p, CpuRun how)
{
    if (how == CPU_RUN_TRIPLE)
        return PROT_TRIPLE;
    if (how != CPU_RUN_HALTED)
        return PROT_BUDGET;
    uint64_t linear = p->state.rip + p->state.seg[SEG_CS].base;
    if (linear >= AT_HANDLERS && linear < AT_HANDLERS + 256 * 16)
        return (int)(linear - AT_HANDLERS) / 16;
    return PROT_HALT;
}

void prot_go(Prot *p)
{
    p->state.halted = false;
    ram_mark_dirty(p->machine->ram->ram, 0, 0x10000); /* written behind the CPU's back */
    cpu_set_state(p->cpu, &p->state);
    CpuRun how = cpu_run(p->cpu, 1000, false);
    cpu_get_state(p->cpu, &p->state);
    p->ended = where(p, how);
}

void prot_run(Prot *p, const uint8_t *code)
{
    memcpy(p->ram + AT_CODE, code, CODE_MAX);
    prot_go(p);
}

uint32_t prot_ram32(const Prot *p, uint32_t at)
{
    return ld32_le(p->ram + at);
}

void prot_msr(Prot *p, uint32_t index, uint64_t value)
{
    for (unsigned i = 0; i < p->state.msr_count; i++)
        if (p->state.msrs[i].index == index)
            p->state.msrs[i].value = value;
}

uint64_t prot_msr_value(const Prot *p, uint32_t index)
{
    for (unsigned i = 0; i < p->state.msr_count; i++)
        if (p->state.msrs[i].index == index)
            return p->state.msrs[i].value;
    return UINT64_MAX;
}

uint64_t prot_stack(const Prot *p, unsigned n, unsigned size)
{
    uint64_t at = p->state.seg[SEG_SS].base + p->state.gpr[GPR_RSP] + n * size;
    return at + 8 <= 4 << 20 ? ldn_le(p->ram + at, size) : 0xdead;
}

void prot_expect_at(const Prot *p, int vector, int64_t error, int line)
{
    unsigned size = p->state.efer & 1 << 10 ? 8 : 4;
    int64_t found = error < 0 ? -1 : (int64_t)prot_stack(p, 0, size);
    if (p->ended == vector && found == error)
        return;
    g_test_message("line %d: ended %d (error %#" G_GINT64_MODIFIER
                   "x), expected %d (%#" G_GINT64_MODIFIER "x); rip %#" G_GINT64_MODIFIER "x",
                   line, p->ended, found, vector, error, p->state.rip);
    g_test_fail();
}
