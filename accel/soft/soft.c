/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software engine: guest code run by vmrun's own processor (include/cpu/cpu.h), with a local
 * APIC in userspace for each CPU.
 *
 * The interpreter looks at Vcpu.requests at each block of code, so there is nothing to kick.  The
 * APIC belongs to the main loop: acknowledging an interrupt takes the main lock, testing for one
 * does not.
 */
#include <x86intrin.h>

#include "accel/engine.h"
#include "cpu/cpu.h"
#include "hw/intc/lapic.h"
#include "util/error.h"
#include "util/log.h"
#include "util/timer.h"

/* Instructions between two looks at what only the generic thread serves. */
#define BUDGET 10000000

typedef struct Soft {
    GArray *cpuid; /* of CpuidEntry, for APIC id 0 */
    uint64_t tsc_hz;
    bool one_insn; /* a block has one instruction */
    /* The host's TSC less all pauses.  It stands while the machine is paused, and so do the
     * guest's: what is pulled then may be pushed at any time later.  Changed with all CPUs
     * stopped. */
    uint64_t ticks_lost;
    uint64_t ticks_paused; /* where it stands */
    bool paused;
    uint64_t reset_ticks; /* when the guest's TSCs were last 0: all CPUs' the same */
} Soft;

typedef struct SoftCpu {
    Cpu *cpu;
    uint64_t tsc_offset; /* guest's TSC = ticks() + offset */
    bool halted;         /* by what it ran last */
    bool debugged;       /* there is something that a debugger waits for: */
    bool single_step;    /* or this */
} SoftCpu;

static Cpu *cpu_of(Vcpu *vcpu)
{
    return ((SoftCpu *)vcpu->engine)->cpu;
}

/* ---- What the processor asks ---- */

static int take_interrupt(Vcpu *vcpu)
{
    Machine *machine = vcpu->machine;
    bool entered = loop_enter(machine->loop);
    int vector = lapic_ack(vcpu->lapic);
    if (vector == LAPIC_EXTINT)
        vector = machine->pic_ack ? machine->pic_ack(machine) : -1;
    loop_leave(machine->loop, entered);
    return vector;
}

static uint64_t read_cr8(Vcpu *vcpu)
{
    bool entered = loop_enter(vcpu->machine->loop);
    uint64_t value = lapic_cr8(vcpu->lapic);
    loop_leave(vcpu->machine->loop, entered);
    return value;
}

static void write_cr8(Vcpu *vcpu, uint64_t value)
{
    bool entered = loop_enter(vcpu->machine->loop);
    lapic_set_cr8(vcpu->lapic, (uint8_t)value);
    loop_leave(vcpu->machine->loop, entered);
}

static bool apic_msr(Vcpu *vcpu, uint32_t index, bool write, uint64_t *value)
{
    bool entered = loop_enter(vcpu->machine->loop);
    bool ok = write ? lapic_msr_write(vcpu->lapic, index, *value)
                    : lapic_msr_read(vcpu->lapic, index, value);
    loop_leave(vcpu->machine->loop, entered);
    return ok;
}

static void apic_init(Vcpu *vcpu)
{
    bool entered = loop_enter(vcpu->machine->loop);
    lapic_init(vcpu->lapic);
    loop_leave(vcpu->machine->loop, entered);
}

static uint64_t ticks(const Soft *soft)
{
    return soft->paused ? soft->ticks_paused : __rdtsc() - soft->ticks_lost;
}

static uint64_t read_tsc(Vcpu *vcpu)
{
    return ticks(vcpu->machine->engine) + ((SoftCpu *)vcpu->engine)->tsc_offset;
}

static void write_tsc(Vcpu *vcpu, uint64_t value)
{
    ((SoftCpu *)vcpu->engine)->tsc_offset = value - ticks(vcpu->machine->engine);
    if (!vcpu->lapic)
        return;
    bool entered = loop_enter(vcpu->machine->loop);
    lapic_tsc_changed(vcpu->lapic);
    loop_leave(vcpu->machine->loop, entered);
}

/* The pins of the first processor are wired; IGNNE# is up where nothing is. */
static bool ferr(Vcpu *vcpu, bool level)
{
    Machine *machine = vcpu->machine;
    if (vcpu->index || !machine->ferr)
        return true;
    bool entered = loop_enter(machine->loop);
    bool ignne = machine->ferr(machine, level);
    loop_leave(machine->loop, entered);
    return ignne;
}

static const CpuBus bus = {
    .take_interrupt = take_interrupt,
    .read_cr8 = read_cr8,
    .write_cr8 = write_cr8,
    .apic_msr = apic_msr,
    .apic_init = apic_init,
    .read_tsc = read_tsc,
    .write_tsc = write_tsc,
    .ferr = ferr,
};

/* The APIC's deadline timer: when the guest's TSC shows a value, on the virtual clock. */
static int64_t tsc_to_clock(Vcpu *vcpu, uint64_t tsc)
{
    Soft *soft = vcpu->machine->engine;
    int64_t ticks = (int64_t)(tsc - read_tsc(vcpu));
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    if (ticks <= 0)
        return now;
    return now + (int64_t)MIN(muldiv64((uint64_t)ticks, NS_PER_SEC, soft->tsc_hz), INT64_MAX / 4);
}

/* ---- What the machine asks ---- */

static void pic_intr(Machine *machine, bool level)
{
    lapic_set_lint(machine->cpus[0]->lapic, 0, level);
}

static void nmi(Machine *machine)
{
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        lapic_set_lint(machine->cpus[i]->lapic, 1, true);
        lapic_set_lint(machine->cpus[i]->lapic, 1, false);
    }
}

static void memory_changed(Machine *machine)
{
    for (unsigned i = 0; machine->cpus && i < machine->cpu_count; i++)
        if (machine->cpus[i]->engine && cpu_of(machine->cpus[i]))
            cpu_memory_changed(cpu_of(machine->cpus[i]));
}

static void a20_changed(Machine *machine, bool enabled)
{
    memory_changed(machine);
}

static void view_changed(void *opaque, AddressSpace *as, const FlatView *old_view,
                         const FlatView *new_view)
{
    memory_changed(opaque);
}

/* ---- The engine ---- */

static bool soft_probe(char **why)
{
    return true;
}

/* The host's TSC frequency, against the monotonic clock over two milliseconds. */
static uint64_t measure_tsc(void)
{
    int64_t start = clock_now(VM_CLOCK_HOST), now;
    uint64_t tsc = __rdtsc();
    do {
        now = clock_now(VM_CLOCK_HOST);
    } while (now - start < 2 * NS_PER_MS);
    return muldiv64(__rdtsc() - tsc, NS_PER_SEC, (uint64_t)(now - start));
}

static bool build_cpuid(Machine *machine, const EngineConfig *config, Soft *soft, GError **error)
{
    g_autoptr(GArray) supported = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    g_autoptr(GString) refused = g_string_new(NULL);
    cpu_supported_cpuid(supported);
    CpuModelRequest request = {
        .text = config->cpu_model,
        .fallback = "max",
        .hypervisor = "vmrunvmrun",
        .supported = (const CpuidEntry *)(const void *)supported->data,
        .supported_count = supported->len,
        .cores = machine->cpu_count,
    };
    soft->cpuid = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    if (!cpu_model_build(&request, soft->cpuid, refused, error))
        return false;
    if (refused->len)
        report_warn("-cpu: the software processor has no %s: left out", refused->str);
    return true;
}

static bool has_feature(const Soft *soft, const char *name)
{
    return cpuid_has((const CpuidEntry *)(const void *)soft->cpuid->data, soft->cpuid->len, name);
}

static void soft_fini(Machine *machine)
{
    Soft *soft = machine->engine;
    as_remove_listener(&machine->mem, view_changed, machine);
    /* A local APIC comes with its CPU and knows it: it goes with it, too. */
    for (unsigned i = machine->cpu_count; i-- > 0;)
        device_free(machine->cpus[i]->lapic);
    g_array_free(soft->cpuid, TRUE);
    g_free(soft);
    machine->engine = NULL;
}

static bool soft_init(Machine *machine, const EngineConfig *config, GError **error)
{
    Soft *soft = g_new0(Soft, 1);
    if (!build_cpuid(machine, config, soft, error)) {
        g_array_free(soft->cpuid, TRUE);
        g_free(soft);
        return false;
    }
    soft->tsc_hz = measure_tsc();
    soft->one_insn = config->one_insn;
    soft->paused = true; /* machines begin so, at 0 ticks */
    machine->engine = soft;
    machine->hooks.msi_send = lapic_deliver_msi;
    machine->hooks.msi_waits = lapic_msi_waits;
    machine->hooks.pic_intr = pic_intr;
    machine->hooks.nmi = nmi;
    machine->hooks.has_smm = true;
    machine->hooks.has_long_mode = has_feature(soft, "lm");
    machine->hooks.a20_changed = a20_changed;
    as_add_listener(&machine->mem, view_changed, machine);
    return true;
}

/* The APICs are made in order, all by the first thread that comes. */
static bool create_apics(Machine *machine, GError **error)
{
    const Soft *soft = machine->engine;
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        Vcpu *vcpu = machine->cpus[i];
        if (!vcpu->lapic) {
            vcpu->lapic = lapic_create(vcpu, error);
            if (!vcpu->lapic)
                return false;
            lapic_set_tsc(vcpu->lapic, tsc_to_clock);
            lapic_set_features(vcpu->lapic, has_feature(soft, "x2apic"),
                               has_feature(soft, "tsc-deadline"));
        }
    }
    return true;
}

static bool soft_cpu_init(Vcpu *vcpu, GError **error)
{
    Machine *machine = vcpu->machine;
    Soft *soft = machine->engine;
    SoftCpu *own = g_new0(SoftCpu, 1);
    unsigned count = soft->cpuid->len;
    g_autofree CpuidEntry *leaves = g_memdup2(soft->cpuid->data, count * sizeof(CpuidEntry));
    cpuid_set_apic_id(leaves, count, vcpu->apic_id);
    loop_lock(machine->loop);
    vcpu->engine = own;
    bool ok = create_apics(machine, error);
    loop_unlock(machine->loop);
    if (!ok)
        return false;
    /* A power-on reset asks for the APIC. */
    Cpu *cpu = cpu_new(vcpu, &machine->mem, NULL, &machine->io, &bus, leaves, count);
    cpu_set_one_insn(cpu, soft->one_insn);
    loop_lock(machine->loop);
    own->cpu = cpu;
    loop_unlock(machine->loop);
    return true;
}

static void soft_cpu_fini(Vcpu *vcpu)
{
    SoftCpu *own = vcpu->engine;
    if (!own)
        return;
    loop_lock(vcpu->machine->loop);
    vcpu->engine = NULL;
    loop_unlock(vcpu->machine->loop);
    cpu_free(own->cpu);
    g_free(own);
}

static void soft_cpu_reset(Vcpu *vcpu)
{
    Soft *soft = vcpu->machine->engine;
    cpu_set_smm_memory(cpu_of(vcpu), vcpu->machine->smm);
    cpu_reset(cpu_of(vcpu), false);
    if (vcpu->index == 0)
        soft->reset_ticks = ticks(soft);
    ((SoftCpu *)vcpu->engine)->tsc_offset = -soft->reset_ticks;
}

static void soft_pause_changed(Machine *machine, bool paused)
{
    Soft *soft = machine->engine;
    if (paused)
        soft->ticks_paused = ticks(soft);
    else
        soft->ticks_lost = __rdtsc() - soft->ticks_paused;
    soft->paused = paused;
}

/* ---- Running ---- */

static RunResult debug_stop(Vcpu *vcpu, DebugStop stop)
{
    vcpu->debug_stop = stop;
    return RUN_DEBUG;
}

/* What a debugger waits for, if it has come. */
static bool debugged(Vcpu *vcpu, CpuRun why)
{
    SoftCpu *own = vcpu->engine;
    CpuWatch watch;
    if (cpu_take_watch(own->cpu, &watch)) {
        vcpu->debug_address = watch.address;
        debug_stop(vcpu, !watch.read ? STOP_WRITE : !watch.write ? STOP_READ : STOP_ACCESS);
        return true;
    }
    if (why == CPU_RUN_DEBUG)
        debug_stop(vcpu, STOP_BREAK);
    else if (own->single_step && why == CPU_RUN_BUDGET)
        debug_stop(vcpu, STOP_STEP);
    else
        return false;
    return true;
}

static RunResult soft_run(Vcpu *vcpu)
{
    SoftCpu *own = vcpu->engine;
    bool step = own->single_step;
    if (G_UNLIKELY(step) && machine_request_pending(vcpu->machine))
        return RUN_AGAIN;
    /* The processor parks itself when a device asked for a reset or the end. */
    vcpu_take(vcpu, VCPU_REQ_PARK);
    /* A step is not into the interrupt handlers, unless it is out of HLT. */
    CpuRun why = cpu_run(own->cpu, step ? 1 : BUDGET, step && !own->halted);
    own->halted = why == CPU_RUN_HALTED;
    if (G_UNLIKELY(own->debugged) && debugged(vcpu, why))
        return RUN_DEBUG;
    if (why == CPU_RUN_TRIPLE) {
        log_printf(LOG_RESET, "CPU %u: triple fault", vcpu->index);
        machine_request_reset(vcpu->machine, RESET_TRIPLE_FAULT);
    }
    return why == CPU_RUN_HALTED ? RUN_HALTED : RUN_AGAIN;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static bool soft_set_debug(Vcpu *vcpu, const DebugState *state)
{
    SoftCpu *own = vcpu->engine;
    g_autoptr(GArray) breaks = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autoptr(GArray) watches = g_array_new(FALSE, FALSE, sizeof(CpuWatch));
    for (unsigned i = 0; i < state->count; i++) {
        const DebugPoint *point = &state->points[i];
        CpuWatch watch = {point->address, point->length, point->kind != DEBUG_WRITE,
                          point->kind != DEBUG_READ};
        if (point->kind == DEBUG_BREAK || point->kind == DEBUG_HW_BREAK)
            g_array_append_val(breaks, point->address);
        else
            g_array_append_val(watches, watch);
    }
    bool fits = watches->len <= CPU_WATCHES_MAX;
    if (!fits) {
        g_array_set_size(breaks, 0);
        g_array_set_size(watches, 0);
    }
    g_array_sort(breaks, compare_addresses);
    own->single_step = fits && state->single_step;
    own->debugged = fits && (state->single_step || state->count);
    cpu_set_breaks(own->cpu, (const uint64_t *)(const void *)breaks->data, breaks->len,
                   fits && state->over_break);
    cpu_set_watches(own->cpu, (const CpuWatch *)(const void *)watches->data, watches->len,
                    own->single_step);
    return fits;
}

/* ---- State ---- */

static bool soft_pull(Vcpu *vcpu, CpuState *state)
{
    cpu_get_state(cpu_of(vcpu), state);
    return true;
}

static bool soft_push(Vcpu *vcpu, const CpuState *state)
{
    cpu_set_state(cpu_of(vcpu), state);
    return true;
}

static void soft_describe(Machine *machine, GString *out)
{
    for (unsigned i = 0; i < machine->cpu_count; i++)
        g_string_append_printf(out, "CPU %u: %" G_GUINT64_FORMAT " instructions\n", i,
                               cpu_instructions(cpu_of(machine->cpus[i])));
}

const CpuEngine interp_engine = {
    .name = "interp",
    .desc = "vmrun's own processor, an interpreter: runs everywhere",
    .probe = soft_probe,
    .init = soft_init,
    .cpu_init = soft_cpu_init,
    .run = soft_run,
    .pull = soft_pull,
    .push = soft_push,
    .cpu_reset = soft_cpu_reset,
    .cpu_fini = soft_cpu_fini,
    .fini = soft_fini,
    .pause_changed = soft_pause_changed,
    .set_debug = soft_set_debug,
    .describe = soft_describe,
};
