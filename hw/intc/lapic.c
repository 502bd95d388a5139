/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APIC: register file, priorities, local vector table (Intel SDM vol. 3, chapter 11).
 *
 * It behaves as a Pentium 4's and later: version 0x14, six LVT entries, no arbitration.
 *
 * The page is where IA32_APIC_BASE has it, for each processor by itself.  Only one liberty: RAM
 * below a page that was moved is hidden from the other processors, too; they read 0.
 */
#include <inttypes.h>

#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#include "lapic_private.h"

#define VERSION      (0x14 | (LVT_COUNT - 1) << 16)
#define MSR_BASE     0x01b
#define MSR_DEADLINE 0x6e0
#define MSR_X2       0x800
#define BASE_MASK    UINT64_C(0xfffffff000) /* 40 bits of address */

/* ---- Vectors ---- */

static bool vector_test(const uint32_t *set, uint8_t vector)
{
    return set[vector / 32] >> vector % 32 & 1;
}

static void vector_set(uint32_t *set, uint8_t vector, bool on)
{
    uint32_t bit = 1u << vector % 32;
    set[vector / 32] = on ? set[vector / 32] | bit : set[vector / 32] & ~bit;
}

/* The highest vector in a set, or -1. */
static int vector_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return -1;
}

/* ---- What the CPU sees ---- */

uint32_t lapic_ppr(const Lapic *s)
{
    int serving = vector_highest(s->isr);
    uint32_t serving_class = serving < 0 ? 0 : serving & 0xf0;
    return (s->tpr & 0xf0) >= serving_class ? s->tpr : serving_class;
}

/* The vector that may interrupt now, or -1. */
static int lapic_deliverable(const Lapic *s)
{
    int vector = vector_highest(s->irr);
    return vector >= 0 && (vector & 0xf0u) > (lapic_ppr(s) & 0xf0) ? vector : -1;
}

static bool lint_is_extint(const Lapic *s)
{
    uint32_t lvt = s->lvt[LVT_LINT0];
    return !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == MODE_EXTINT;
}

/* With the APIC switched off, LINT0 is the INTR pin of old. */
static bool lapic_extint_pending(const Lapic *s)
{
    if (!(s->base & BASE_ENABLED))
        return s->lint[0];
    return s->extint || (s->lint[0] && lint_is_extint(s));
}

bool lapic_has_interrupt(Device *dev)
{
    Lapic *s = (Lapic *)dev;
    return lapic_extint_pending(s) || (s->base & BASE_ENABLED && lapic_deliverable(s) >= 0);
}

static void lapic_update(Lapic *s)
{
    if (!lapic_has_interrupt(&s->dev))
        vcpu_take(s->cpu, VCPU_REQ_APIC);
    else if (!vcpu_requested(s->cpu, VCPU_REQ_APIC))
        vcpu_request(s->cpu, VCPU_REQ_APIC);
}

int lapic_ack(Device *dev)
{
    Lapic *s = (Lapic *)dev;
    int vector = s->base & BASE_ENABLED ? lapic_deliverable(s) : -1;
    if (vector >= 0) {
        vector_set(s->irr, vector, false);
        vector_set(s->isr, vector, true);
    } else if (lapic_extint_pending(s)) {
        s->extint = false;
        vector = LAPIC_EXTINT;
    } else {
        vector = LAPIC_NONE;
    }
    lapic_update(s);
    return vector;
}

uint8_t lapic_cr8(Device *dev)
{
    return ((Lapic *)dev)->tpr >> 4;
}

void lapic_set_cr8(Device *dev, uint8_t value)
{
    Lapic *s = (Lapic *)dev;
    s->tpr = (value & 15) << 4;
    lapic_update(s);
}

/* ---- What arrives ---- */

static void lapic_accept_vector(Lapic *s, uint8_t vector, bool level)
{
    if (!(s->svr & SVR_ENABLED))
        return;
    if (vector < 16) {
        lapic_error(s, ESR_RECEIVE_ILLEGAL);
        return;
    }
    vector_set(s->irr, vector, true);
    vector_set(s->tmr, vector, level);
    lapic_update(s);
}

void lapic_accept(Lapic *s, unsigned mode, uint8_t vector, bool level)
{
    switch (mode) {
    case MODE_FIXED:
    case MODE_LOWEST:
        lapic_accept_vector(s, vector, level);
        break;
    case MODE_SMI:
        vcpu_request(s->cpu, VCPU_REQ_SMI);
        break;
    case MODE_NMI:
        vcpu_request(s->cpu, VCPU_REQ_NMI);
        break;
    case MODE_INIT:
        vcpu_request(s->cpu, VCPU_REQ_INIT);
        break;
    case MODE_SIPI:
        s->cpu->sipi_vector = vector;
        vcpu_request(s->cpu, VCPU_REQ_SIPI);
        break;
    case MODE_EXTINT:
        s->extint = true;
        lapic_update(s);
        break;
    default:
        guest_error("apic: message with reserved delivery mode %u", mode);
    }
}

void lapic_accept_lvt(Lapic *s, unsigned entry)
{
    uint32_t lvt = s->lvt[entry];
    bool fixed_only = entry == LVT_TIMER || entry == LVT_ERROR;
    if (lvt & LVT_MASKED)
        return;
    bool level = entry == LVT_LINT0 && lvt & LVT_LEVEL;
    lapic_accept(s, fixed_only ? MODE_FIXED : lvt >> 8 & 7, lvt, level);
}

/* Each kind of error interrupts once until ESR is written: so an error entry with an illegal vector
 * ends here and not in a recursion. */
void lapic_error(Lapic *s, uint32_t bit)
{
    if (s->errors & bit)
        return;
    s->errors |= bit;
    lapic_accept_lvt(s, LVT_ERROR);
}

/* LINT0 as a level-triggered fixed interrupt: sent while the pin is high and nothing in service. */
static bool lint_is_level(const Lapic *s)
{
    uint32_t lvt = s->lvt[LVT_LINT0];
    return lvt & LVT_LEVEL && (lvt >> 8 & 7) == MODE_FIXED;
}

static void lint_serve_level(Lapic *s)
{
    uint32_t *lvt = &s->lvt[LVT_LINT0];
    if (!lint_is_level(s) || !s->lint[0] || *lvt & (LVT_MASKED | LVT_REMOTE_IRR))
        return;
    *lvt |= LVT_REMOTE_IRR;
    lapic_accept_lvt(s, LVT_LINT0);
}

void lapic_set_lint(Device *dev, unsigned pin, bool level)
{
    Lapic *s = (Lapic *)dev;
    unsigned entry = LVT_LINT0 + pin;
    bool rises = level && !s->lint[pin];
    s->lint[pin] = level;
    if (pin == 1 && !(s->base & BASE_ENABLED)) {
        if (rises)
            vcpu_request(s->cpu, VCPU_REQ_NMI); /* the NMI pin of old */
    } else if (pin == 0 && (lint_is_level(s) || lint_is_extint(s))) {
        lint_serve_level(s); /* an ExtINT is read from the pin */
    } else if (rises && s->base & BASE_ENABLED) {
        lapic_accept_lvt(s, entry);
    }
    lapic_update(s);
}

static void lapic_eoi(Lapic *s)
{
    Machine *machine = s->dev.machine;
    int vector = vector_highest(s->isr);
    if (vector < 0)
        return;
    vector_set(s->isr, vector, false);
    if (vector_test(s->tmr, vector)) {
        if (lint_is_level(s) && (s->lvt[LVT_LINT0] & 0xff) == (uint32_t)vector) {
            s->lvt[LVT_LINT0] &= ~LVT_REMOTE_IRR;
            lint_serve_level(s);
        }
        if (machine->ioapic_eoi)
            machine->ioapic_eoi(machine, vector);
    }
    lapic_update(s);
}

/* ---- Registers ---- */

/* False where there is no readable register. */
static bool lapic_read_register(Lapic *s, unsigned reg, uint32_t *value)
{
    switch (reg) {
    case APIC_ID:
        *value = lapic_x2(s) ? s->cpu->apic_id : s->id << 24;
        return true;
    case APIC_VERSION:
        *value = VERSION;
        return true;
    case APIC_TPR:
        *value = s->tpr;
        return true;
    case APIC_PPR:
        *value = lapic_ppr(s);
        return true;
    case APIC_LDR:
        *value = lapic_x2(s) ? lapic_x2_ldr(s) : s->ldr;
        return true;
    case APIC_APR:
    case APIC_RRD:
        *value = 0;
        return !lapic_x2(s);
    case APIC_DFR:
        *value = s->dfr;
        return !lapic_x2(s);
    case APIC_SVR:
        *value = s->svr;
        return true;
    case APIC_ISR ... APIC_ISR + 7:
        *value = s->isr[reg - APIC_ISR];
        return true;
    case APIC_TMR ... APIC_TMR + 7:
        *value = s->tmr[reg - APIC_TMR];
        return true;
    case APIC_IRR ... APIC_IRR + 7:
        *value = s->irr[reg - APIC_IRR];
        return true;
    case APIC_ESR:
        *value = s->esr;
        return true;
    case APIC_ICR:
        *value = s->icr;
        return true;
    case APIC_ICR_HIGH:
        *value = s->icr_high;
        return !lapic_x2(s);
    case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
        *value = s->lvt[reg - APIC_LVT];
        return true;
    case APIC_INITIAL_COUNT:
        *value = s->initial_count;
        return true;
    case APIC_CURRENT_COUNT:
        *value = lapic_timer_count(s);
        return true;
    case APIC_DIVIDE:
        *value = s->divide;
        return true;
    }
    return false;
}

static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERFORMANCE] = 0x000107ff,
    [LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff,   [LVT_ERROR] = 0x000100ff,
};

static void lapic_write_lvt(Lapic *s, unsigned entry, uint32_t value)
{
    value &= lvt_writable[entry];
    if (entry == LVT_TIMER && s->no_deadline)
        value &= ~LVT_DEADLINE;
    if (!(s->svr & SVR_ENABLED))
        value |= LVT_MASKED;
    if (entry == LVT_TIMER) {
        lapic_timer_set_lvt(s, value);
        return;
    }
    if (value & LVT_LEVEL)
        value |= s->lvt[entry] & LVT_REMOTE_IRR;
    s->lvt[entry] = value;
    if (entry == LVT_LINT0)
        lint_serve_level(s);
}

/* Software-disabling the APIC masks all local interrupts (11.4.7.2). */
static void lapic_write_svr(Lapic *s, uint32_t value)
{
    s->svr = value & (lapic_x2(s) ? 0x1ff : 0x3ff);
    if (!(s->svr & SVR_ENABLED))
        for (unsigned entry = 0; entry < LVT_COUNT; entry++)
            lapic_write_lvt(s, entry, s->lvt[entry]);
}

/* False where there is no writable register. */
static bool lapic_write_register(Lapic *s, unsigned reg, uint32_t value)
{
    switch (reg) {
    case APIC_TPR:
        s->tpr = value & 0xff;
        break;
    case APIC_EOI:
        lapic_eoi(s);
        break;
    case APIC_SVR:
        lapic_write_svr(s, value);
        break;
    case APIC_ESR:
        s->esr = s->errors;
        s->errors = 0;
        break;
    case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
        lapic_write_lvt(s, reg - APIC_LVT, value);
        break;
    case APIC_INITIAL_COUNT:
        lapic_timer_set_count(s, value);
        break;
    case APIC_DIVIDE:
        lapic_timer_set_divide(s, value);
        break;
    default:
        return false;
    }
    lapic_update(s);
    return true;
}

/* What only the memory-mapped APIC has, or has otherwise. */
static bool lapic_write_xapic(Lapic *s, unsigned reg, uint32_t value)
{
    switch (reg) {
    case APIC_ID:
        s->id = value >> 24;
        return true;
    case APIC_LDR:
        s->ldr = value & 0xff000000;
        return true;
    case APIC_DFR:
        s->dfr = value | 0x0fffffff;
        return true;
    case APIC_ICR:
        s->icr = value & 0xccfff;
        lapic_send(s, s->icr, s->icr_high >> 24);
        return true;
    case APIC_ICR_HIGH:
        s->icr_high = value & 0xff000000;
        return true;
    }
    return lapic_write_register(s, reg, value);
}

/* ---- The page in memory ---- */

static Lapic *lapic_current(Machine *machine)
{
    Vcpu *cpu = machine->hooks.current ? machine->hooks.current(machine) : NULL;
    if (!cpu)
        cpu = machine->cpus[0]; /* the monitor looks */
    return (Lapic *)cpu->lapic;
}

static hwaddr lapic_page(const Lapic *s)
{
    return s->base & BASE_MASK;
}

/* The APIC that answers an access to the page of an owner, or NULL. */
static Lapic *lapic_for_access(const Lapic *owner, hwaddr offset, unsigned size)
{
    Lapic *s = lapic_current(owner->dev.machine);
    if (!s || !(s->base & BASE_ENABLED) || lapic_x2(s) || lapic_page(s) != lapic_page(owner))
        return NULL;
    if (size == 4 && !(offset & 15))
        return s;
    guest_error("apic: access of %u bytes at 0x%03x: registers take aligned double words", size,
                (unsigned)offset);
    return NULL;
}

static uint64_t lapic_page_read(void *opaque, hwaddr offset, unsigned size)
{
    Lapic *s = lapic_for_access(opaque, offset, size);
    uint32_t value = 0;
    if (!s)
        return 0;
    if (!lapic_read_register(s, offset / 16, &value))
        lapic_error(s, ESR_ILLEGAL_REGISTER);
    return value;
}

static void lapic_page_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Lapic *s = lapic_for_access(opaque, offset, size);
    unsigned reg = offset / 16;
    uint32_t read_only;
    if (s && !lapic_write_xapic(s, reg, value) && !lapic_read_register(s, reg, &read_only))
        lapic_error(s, ESR_ILLEGAL_REGISTER);
}

static const RegionOps lapic_ops = {lapic_page_read, lapic_page_write, .max_size = 4};

/* Where several APICs have their page, that of the first stands for all. */
static bool lapic_page_is_first(const Lapic *s)
{
    const Machine *machine = s->dev.machine;
    for (unsigned n = 0; n < s->cpu->index; n++) {
        const Lapic *other = machine->cpus[n] ? (const Lapic *)machine->cpus[n]->lapic : NULL;
        if (other && lapic_page(other) == lapic_page(s))
            return false;
    }
    return true;
}

static void lapic_place_pages(Machine *machine)
{
    region_begin();
    for (unsigned n = 0; machine->cpus && n < machine->cpu_count; n++) {
        Lapic *s = machine->cpus[n] ? (Lapic *)machine->cpus[n]->lapic : NULL;
        if (!s)
            continue;
        region_set_addr(&s->io, lapic_page(s));
        region_set_enabled(&s->io, lapic_page_is_first(s));
    }
    region_commit();
}

static void lapic_set_base(Lapic *s, uint64_t base)
{
    hwaddr before = lapic_page(s);
    s->base = base;
    if (lapic_page(s) != before)
        lapic_place_pages(s->dev.machine);
}

/* ---- MSRs ---- */

static bool x2_read(Lapic *s, unsigned reg, uint64_t *value)
{
    uint32_t low;
    if (!lapic_x2(s) || !lapic_read_register(s, reg, &low))
        return false;
    *value = reg == APIC_ICR ? (uint64_t)s->icr_high << 32 | low : low;
    return true;
}

/* Reserved bits fault (11.12.1.2). */
static bool x2_takes(unsigned reg, uint64_t value)
{
    switch (reg) {
    case APIC_EOI:
    case APIC_ESR:
        return value == 0;
    case APIC_TPR:
    case APIC_SELF_IPI:
        return value <= 0xff;
    case APIC_SVR:
        return value <= 0x1ff;
    case APIC_DIVIDE:
        return !(value & ~0x0bull);
    case APIC_ICR:
        return !(value & 0xfff33000);
    case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
        return !(value & ~(uint64_t)(lvt_writable[reg - APIC_LVT] | 1 << 12 | LVT_REMOTE_IRR));
    }
    return value <= UINT32_MAX;
}

static bool x2_write(Lapic *s, unsigned reg, uint64_t value)
{
    if (!lapic_x2(s) || !x2_takes(reg, value))
        return false;
    switch (reg) {
    case APIC_ICR:
        s->icr = (uint32_t)value;
        s->icr_high = value >> 32;
        lapic_send(s, s->icr, s->icr_high);
        return true;
    case APIC_SELF_IPI:
        lapic_send(s, 1u << 18 | (uint32_t)value, 0);
        return true;
    }
    return lapic_write_register(s, reg, (uint32_t)value);
}

static bool mode_change_is_legal(uint64_t from, uint64_t to)
{
    const uint64_t x2 = BASE_ENABLED | BASE_X2APIC;
    if (to == BASE_X2APIC)
        return false;
    return !(from == 0 && to == x2) && !(from == x2 && to == BASE_ENABLED);
}

/* Off, xAPIC, x2APIC: which way leads where is figure 11-27 of the SDM. */
static bool lapic_write_base(Lapic *s, uint64_t value)
{
    const uint64_t modes = BASE_ENABLED | BASE_X2APIC;
    uint64_t from = s->base & modes, to = value & modes;
    if (value & ~(BASE_MASK | modes | BASE_BSP) || !mode_change_is_legal(from, to))
        return false;
    if (to & BASE_X2APIC && s->no_x2apic)
        return false;
    lapic_set_base(s, (value & ~BASE_BSP) | (s->base & BASE_BSP));
    if (to == 0 && from != 0)
        lapic_init(&s->dev);
    lapic_update(s);
    return true;
}

bool lapic_msr_read(Device *dev, uint32_t index, uint64_t *value)
{
    Lapic *s = (Lapic *)dev;
    switch (index) {
    case MSR_BASE:
        *value = s->base;
        return true;
    case MSR_DEADLINE:
        *value = lapic_timer_deadline(s);
        return !s->no_deadline;
    }
    return index >= MSR_X2 && x2_read(s, index - MSR_X2, value);
}

bool lapic_msr_write(Device *dev, uint32_t index, uint64_t value)
{
    Lapic *s = (Lapic *)dev;
    switch (index) {
    case MSR_BASE:
        return lapic_write_base(s, value);
    case MSR_DEADLINE:
        if (!s->no_deadline)
            lapic_timer_set_deadline(s, value);
        return !s->no_deadline;
    }
    return index >= MSR_X2 && x2_write(s, index - MSR_X2, value);
}

/* ---- Describe ---- */

static const char *const mode_names[] = {"Fixed", "LowPri", "SMI",  "...",
                                         "NMI",   "INIT",   "SIPI", "ExtINT"};

static void describe_lvt(const Lapic *s, unsigned entry, const char *name, GString *out)
{
    static const char *const timer_modes[] = {"one-shot", "periodic", "tsc-deadline", "..."};
    uint32_t lvt = s->lvt[entry];
    g_string_append_printf(out, "%s\t 0x%08x active-%s %-5s  %-6s %-12s  %-6s (vec %u)\n", name,
                           lvt, lvt >> 13 & 1 ? "lo" : "hi", lvt & LVT_LEVEL ? "level" : "edge",
                           lvt & LVT_MASKED ? "masked" : "",
                           entry == LVT_TIMER ? timer_modes[lvt >> 17 & 3] : "",
                           entry == LVT_TIMER ? "Fixed" : mode_names[lvt >> 8 & 7], lvt & 0xff);
}

static void describe_vectors(const Lapic *s, const char *name, const uint32_t *set, GString *out)
{
    g_string_append_printf(out, "%s\t", name);
    for (unsigned vector = 0; vector < 256; vector++)
        if (vector_test(set, vector))
            g_string_append_printf(out, " %u%s", vector,
                                   vector_test(s->tmr, vector) ? "(level)" : "");
    g_string_append(out, vector_highest(set) < 0 ? " (none)\n" : "\n");
}

void lapic_describe(Device *dev, GString *out)
{
    static const char *const shorthands[] = {"no-shorthand", "self", "all-self", "all"};
    const Lapic *s = (const Lapic *)dev;
    g_string_append_printf(out, "dumping local APIC state for CPU %u\n\n", s->cpu->index);
    describe_lvt(s, LVT_LINT0, "LVT0", out);
    describe_lvt(s, LVT_LINT1, "LVT1", out);
    describe_lvt(s, LVT_PERFORMANCE, "LVTPC", out);
    describe_lvt(s, LVT_ERROR, "LVTERR", out);
    describe_lvt(s, LVT_THERMAL, "LVTTHMR", out);
    describe_lvt(s, LVT_TIMER, "LVTT", out);
    g_string_append_printf(out, "Timer\t DCR=0x%x initial_count = %u current_count = %u\n",
                           s->divide, s->initial_count, lapic_timer_count(s));
    g_string_append_printf(out, "SPIV\t 0x%08x APIC %s, spurious vec %u\n", s->svr,
                           s->svr & SVR_ENABLED ? "enabled" : "disabled", s->svr & 0xff);
    g_string_append_printf(out, "ICR\t 0x%08x %s %s %s\n", s->icr, mode_names[s->icr >> 8 & 7],
                           s->icr >> 11 & 1 ? "logical" : "physical", shorthands[s->icr >> 18 & 3]);
    g_string_append_printf(out, "ICR2\t 0x%08x\nESR\t 0x%08x\n", s->icr_high, s->esr);
    describe_vectors(s, "ISR", s->isr, out);
    describe_vectors(s, "IRR", s->irr, out);
    g_string_append_printf(out, "\nTPR 0x%02x DFR 0x%02x LDR 0x%02x PPR 0x%02x\n", s->tpr,
                           s->dfr >> 28, s->ldr >> 24, lapic_ppr(s));
}

/* ---- The device ---- */

Device *lapic_create(Vcpu *cpu, GError **error)
{
    Device *dev = device_new(cpu->machine, NULL, &lapic_class, NULL);
    ((Lapic *)dev)->cpu = cpu;
    if (!device_realize(dev, error)) {
        device_free(dev);
        return NULL;
    }
    cpu->lapic = dev;
    return dev;
}

void lapic_set_tsc(Device *dev, LapicTscFn *tsc_to_clock)
{
    ((Lapic *)dev)->tsc_to_clock = tsc_to_clock;
}

void lapic_tsc_changed(Device *dev)
{
    lapic_timer_tsc_changed((Lapic *)dev);
}

void lapic_set_features(Device *dev, bool x2apic, bool deadline)
{
    ((Lapic *)dev)->no_x2apic = !x2apic;
    ((Lapic *)dev)->no_deadline = !deadline;
}

static bool lapic_realize(Device *dev, GError **error)
{
    Lapic *s = (Lapic *)dev;
    if (!s->cpu)
        return fail(error, "apic: a local APIC belongs to a processor and comes with it");
    lapic_timer_setup(s);
    region_init_io(&s->io, "apic", 0x1000, &lapic_ops, s, NULL);
    region_set_enabled(&s->io, s->cpu->index == 0);
    region_add_overlap(&dev->machine->mem_root, LAPIC_BASE, &s->io, 2);
    return true;
}

static void lapic_reset(Device *dev)
{
    Lapic *s = (Lapic *)dev;
    lapic_set_base(s, LAPIC_BASE | BASE_ENABLED | (s->cpu->index == 0 ? BASE_BSP : 0));
    s->id = s->cpu->apic_id & 0xff;
    /* Real ones come up masked and off, with the pins wired straight through; here the firmware
     * need not set up "virtual wire mode" first, as on other virtual machines. */
    if (s->cpu->index == 0)
        s->lvt[LVT_LINT0] = MODE_EXTINT << 8;
    lapic_update(s);
}

static void lapic_unrealize(Device *dev)
{
    Lapic *s = (Lapic *)dev;
    region_fini(&s->io);
    if (s->cpu->lapic == dev)
        s->cpu->lapic = NULL;
}

static bool lapic_post_load(void *state, GError **error)
{
    Lapic *s = state;
    s->id &= 0xff;
    s->divide &= 0x0b;
    s->count_start = CLAMP(s->count_start, -(1LL << 40), INT64_MAX / 4);
    if ((s->base & (BASE_ENABLED | BASE_X2APIC)) == BASE_X2APIC)
        return fail(error, "apic: base 0x%" PRIx64 " enables x2APIC without APIC", s->base);
    if (s->base & BASE_X2APIC && s->no_x2apic)
        return fail(error, "apic: base 0x%" PRIx64 " enables x2APIC, which this CPU lacks",
                    s->base);
    lapic_place_pages(s->dev.machine);
    lapic_update(s);
    return true;
}

static const StateField lapic_fields[] = {
    STATE_HOST(Lapic, dev),
    STATE_HOST(Lapic, io),
    STATE_HOST(Lapic, cpu),
    STATE_HOST(Lapic, tsc_to_clock),
    STATE_HOST(Lapic, no_x2apic),
    STATE_HOST(Lapic, no_deadline),
    STATE_U_KEEP(Lapic, base), /* INIT keeps both */
    STATE_U_KEEP(Lapic, id),
    STATE_U(Lapic, tpr, 0),
    STATE_U(Lapic, ldr, 0),
    STATE_U(Lapic, dfr, UINT32_MAX),
    STATE_U(Lapic, svr, 0xff),
    STATE_U(Lapic, esr, 0),
    STATE_U(Lapic, errors, 0),
    STATE_ARRAY(Lapic, lvt, uint32_t, LVT_MASKED),
    STATE_U(Lapic, icr, 0),
    STATE_U(Lapic, icr_high, 0),
    STATE_ARRAY(Lapic, isr, uint32_t, 0),
    STATE_ARRAY(Lapic, tmr, uint32_t, 0),
    STATE_ARRAY(Lapic, irr, uint32_t, 0),
    STATE_ARRAY_KEEP(Lapic, lint, bool), /* the pins */
    STATE_U(Lapic, extint, false),
    STATE_U(Lapic, divide, 0),
    STATE_U(Lapic, initial_count, 0),
    STATE_U(Lapic, count_start, 0),
    STATE_U(Lapic, deadline, 0),
    STATE_TIMER(Lapic, timer),
    STATE_END,
};
static const StateDesc lapic_state = {"apic", 1, sizeof(Lapic), lapic_fields,
                                      .post_load = lapic_post_load};

void lapic_init(Device *dev)
{
    state_reset(&lapic_state, dev);
    lapic_update((Lapic *)dev);
}

const DeviceClass lapic_class = {
    .name = "apic",
    .desc = "local APIC (software engines)",
    .size = sizeof(Lapic),
    .state = &lapic_state,
    .realize = lapic_realize,
    .reset = lapic_reset,
    .unrealize = lapic_unrealize,
};
