/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When KVM gives up on an instruction: vmrun's own processor executes it on KVM's state, and KVM
 * goes on behind it.
 *
 * A rescue costs system calls, so only what an instruction needs is moved: FPU and MSRs when
 * cpu_rescue() asks for them, and back what has changed.  The local APIC stays KVM's; interrupts
 * wait until KVM runs again.  Memory is the same; what is written where a dirty log is kept, the
 * processor marks in the log itself.
 */
#include "kvm_private.h"

#include <inttypes.h>

#include <x86intrin.h>

#include "cpu/cpu.h"
#include "util/log.h"

enum {
    MAX_INSTRUCTION = 15,
    MOST = 4096, /* instructions: interrupts wait for them */
    VECTOR_UD = 6,
};

/* What instructions may need of a state (CPU_PART_MSRS). */
static const uint32_t rescue_msrs[] = {
    0x174,      0x175,      0x176,      /* SYSENTER's CS, ESP, EIP */
    0x277,      0x1d9,                  /* PAT, DEBUGCTL */
    0xc0000081, 0xc0000082, 0xc0000083, /* STAR, LSTAR, CSTAR */
    0xc0000084, 0xc0000102, 0xc0000103, /* FMASK, KERNEL_GS_BASE, TSC_AUX */
};

/* A CPU's. */
struct KvmRescue {
    Cpu *cpu;
    bool fpu, msrs, tsc; /* what of the state is here */
    bool failed;         /* KVM refused a part */
    uint64_t tsc_offset;
    CpuState old, state;
};

/* Of the instructions of one name. */
typedef struct KvmRescued {
    uint64_t rescues, instructions, undefined;
} KvmRescued;

bool kvm_read_guest(void *opaque, uint64_t addr, void *buf, unsigned length)
{
    KvmVm *vm = opaque;
    return dma_read(&vm->machine->mem, addr, buf, length) == MEM_OK;
}

/* "0f 01 ..." from RIP on, as far as it is mapped. */
static void describe_code(KvmVm *vm, const CpuState *state, GString *out)
{
    unsigned bits = cpu_state_code_bits(state);
    uint64_t linear = state->rip + (bits == 64 ? 0 : state->seg[SEG_CS].base);
    for (unsigned i = 0; i < MAX_INSTRUCTION; i++) {
        uint64_t physical;
        uint8_t byte;
        if (!cpu_state_translate(state, linear + i, &physical, kvm_read_guest, vm) ||
            !kvm_read_guest(vm, physical, &byte, 1))
            break;
        g_string_append_printf(out, "%s%02x", i ? " " : "", byte);
    }
    if (!out->len)
        g_string_append(out, "not mapped");
}

RunResult kvm_give_up(KvmCpu *k, const char *why)
{
    g_autofree CpuState *state = g_new(CpuState, 1);
    g_autoptr(GString) code = g_string_new(NULL);
    g_autoptr(GString) registers = g_string_new(NULL);
    k->io_pending = false;
    if (!kvm_pull(k->cpu, state)) {
        report_error("kvm: CPU %u: %s; its registers cannot be read", k->cpu->index, why);
        return RUN_FAILED;
    }
    describe_code(k->vm, state, code);
    cpu_state_describe(state, k->cpu->index, true, true, registers);
    report_error("kvm: CPU %u stopped at %04x:%" PRIx64 ": %s (code: %s)\n%s", k->cpu->index,
                 state->seg[SEG_CS].selector, state->rip, why, code->str, registers->str);
    return RUN_FAILED;
}

/* ---- What the processor asks ---- */

static struct KvmRescue *rescue_of(Vcpu *vcpu)
{
    return ((KvmCpu *)vcpu->engine)->rescue;
}

static int take_interrupt(Vcpu *vcpu)
{
    return -1;
}

static uint64_t read_cr8(Vcpu *vcpu)
{
    return rescue_of(vcpu)->state.cr8;
}

static void write_cr8(Vcpu *vcpu, uint64_t value)
{
    rescue_of(vcpu)->state.cr8 = value;
}

static uint64_t read_tsc(Vcpu *vcpu)
{
    struct KvmRescue *rescue = rescue_of(vcpu);
    uint64_t tsc;
    if (!rescue->tsc && kvm_get_tsc(vcpu->engine, &tsc)) {
        rescue->tsc = true;
        rescue->tsc_offset = tsc - __rdtsc();
    }
    return __rdtsc() + rescue->tsc_offset;
}

/* KVM executes WRMSR itself, always. */
static void write_tsc(Vcpu *vcpu, uint64_t value)
{
    rescue_of(vcpu)->failed = true;
}

static void list_msrs(CpuState *state)
{
    state->msr_count = G_N_ELEMENTS(rescue_msrs);
    for (unsigned i = 0; i < state->msr_count; i++)
        state->msrs[i] = (CpuMsr){rescue_msrs[i], 0};
}

static void fetch(Vcpu *vcpu, CpuPart part)
{
    struct KvmRescue *rescue = rescue_of(vcpu);
    if (part == CPU_PART_FPU) {
        rescue->fpu = kvm_pull_fpu(vcpu->engine, &rescue->old);
        rescue->failed |= !rescue->fpu;
        cpu_set_fpu(rescue->cpu, &rescue->old);
    } else {
        list_msrs(&rescue->old);
        rescue->msrs = kvm_pull_some_msrs(vcpu->engine, &rescue->old);
        rescue->failed |= !rescue->msrs;
        cpu_set_msrs(rescue->cpu, &rescue->old);
    }
}

static const CpuBus bus = {
    .take_interrupt = take_interrupt,
    .read_cr8 = read_cr8,
    .write_cr8 = write_cr8,
    .read_tsc = read_tsc,
    .write_tsc = write_tsc,
    .fetch = fetch,
    .no_a20 = true,
};

/* The features of a leaf, or a leaf that the model does not have at all. */
static void add_leaf(GArray *leaves, const CpuidEntry *more)
{
    for (guint i = 0; i < leaves->len; i++) {
        CpuidEntry *entry = &g_array_index(leaves, CpuidEntry, i);
        if (entry->leaf != more->leaf || (entry->indexed && entry->subleaf != more->subleaf))
            continue;
        if (more->leaf == 1 || more->leaf == 0x80000001) {
            entry->reg[CPUID_ECX] |= more->reg[CPUID_ECX];
            entry->reg[CPUID_EDX] |= more->reg[CPUID_EDX];
        } else if (more->leaf == 7 || more->leaf == 0xd) {
            for (unsigned reg = 0; reg < 4; reg++)
                entry->reg[reg] |= more->reg[reg];
        }
        return;
    }
    g_array_append_vals(leaves, more, 1);
}

/* A guest on the real processor can execute all that it has, whatever CPUID tells; and there are
 * KVMs that do not keep the guest from seeing the host's CPUID. */
static GArray *capabilities(KvmCpu *k)
{
    GArray *leaves = g_array_copy(k->vm->cpuid);
    g_autoptr(GArray) host = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    cpu_supported_cpuid(host);
    for (guint i = 0; i < host->len; i++)
        add_leaf(leaves, &g_array_index(host, CpuidEntry, i));
    cpuid_set_apic_id((CpuidEntry *)(void *)leaves->data, leaves->len, k->cpu->apic_id);
    return leaves;
}

static void create(KvmCpu *k)
{
    Machine *machine = k->vm->machine;
    g_autoptr(GArray) leaves = capabilities(k);
    k->rescue = g_new0(struct KvmRescue, 1);
    k->rescue->cpu = cpu_new(k->cpu, &machine->mem, NULL, &machine->io, &bus,
                             (const CpuidEntry *)(void *)leaves->data, leaves->len);
}

void kvm_rescue_fini(KvmCpu *k)
{
    if (!k->rescue)
        return;
    cpu_free(k->rescue->cpu);
    g_clear_pointer(&k->rescue, g_free);
}

/* ---- Giving the state back ---- */

static bool push_fpu(KvmCpu *k)
{
    struct KvmRescue *rescue = k->rescue;
    cpu_get_fpu(rescue->cpu, &rescue->state);
    return kvm_push_fpu(k, &rescue->state);
}

/* Those of rescue_msrs that are others now. */
static bool push_msrs(KvmCpu *k)
{
    struct KvmRescue *rescue = k->rescue;
    CpuState *state = &rescue->state;
    unsigned changed = 0;
    cpu_get_msrs(rescue->cpu, state);
    for (unsigned i = 0; i < state->msr_count; i++)
        for (unsigned n = 0; n < rescue->old.msr_count; n++)
            if (rescue->old.msrs[n].index == state->msrs[i].index &&
                rescue->old.msrs[n].value != state->msrs[i].value)
                state->msrs[changed++] = state->msrs[i];
    state->msr_count = changed;
    return kvm_push_some_msrs(k, state);
}

static bool push(KvmCpu *k, const CpuRescue *did)
{
    struct KvmRescue *rescue = k->rescue;
    cpu_get_core(rescue->cpu, &rescue->state);
    /* Whether the guest can take an 8259 interrupt is to be asked again. */
    k->run->ready_for_interrupt_injection = 0;
    return !rescue->failed && (!rescue->fpu || push_fpu(k)) && (!rescue->msrs || push_msrs(k)) &&
           kvm_push_core(k, &rescue->state, &rescue->old, did->flushed);
}

/* ---- Counting ---- */

static void tell_once(KvmCpu *k, const char *name)
{
    KvmVm *vm = k->vm;
    g_autoptr(GString) code = g_string_new(NULL);
    if (__atomic_exchange_n(&vm->rescue_told, true, __ATOMIC_RELAXED))
        return;
    describe_code(vm, &k->rescue->old, code);
    report_info("kvm: CPU %u: KVM cannot execute %s (code: %s) here: vmrun's own processor does; "
                "'info kvm' counts such instructions",
                k->cpu->index, name, code->str);
}

static void count(KvmVm *vm, const CpuRescue *did)
{
    pthread_mutex_lock(&vm->rescue_lock);
    KvmRescued *row = g_hash_table_lookup(vm->rescues, did->name);
    if (!row) {
        row = g_new0(KvmRescued, 1);
        g_hash_table_insert(vm->rescues, (gpointer)did->name, row);
    }
    row->rescues++;
    row->instructions += did->instructions;
    row->undefined += did->undefined;
    pthread_mutex_unlock(&vm->rescue_lock);
}

static int by_rescues(gconstpointer a, gconstpointer b, gpointer table)
{
    const KvmRescued *left = g_hash_table_lookup(table, a);
    const KvmRescued *right = g_hash_table_lookup(table, b);
    return left->rescues < right->rescues ? 1 : left->rescues > right->rescues ? -1 : 0;
}

void kvm_rescues_describe(KvmVm *vm, GString *out)
{
    pthread_mutex_lock(&vm->rescue_lock);
    g_autoptr(GList) names = g_hash_table_get_keys(vm->rescues);
    KvmRescued sum = {0};
    names = g_list_sort_with_data(names, by_rescues, vm->rescues);
    g_autoptr(GString) rows = g_string_new(NULL);
    for (const GList *at = names; at; at = at->next) {
        const KvmRescued *row = g_hash_table_lookup(vm->rescues, at->data);
        sum.rescues += row->rescues;
        sum.instructions += row->instructions;
        g_string_append_printf(rows, "  %-12s %" PRIu64 " rescues, %" PRIu64 " instructions",
                               (const char *)at->data, row->rescues, row->instructions);
        if (row->undefined)
            g_string_append_printf(rows, ", %" PRIu64 " times #UD", row->undefined);
        g_string_append_c(rows, '\n');
    }
    pthread_mutex_unlock(&vm->rescue_lock);
    g_string_append_printf(out, "rescues: %" PRIu64 " (%" PRIu64 " instructions)\n%s", sum.rescues,
                           sum.instructions, rows->str);
}

/* ---- A rescue ---- */

static bool pull(KvmCpu *k)
{
    struct KvmRescue *rescue = k->rescue;
    bool failed = k->run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
                  k->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION;
    rescue->fpu = rescue->msrs = rescue->tsc = rescue->failed = false;
    if (!kvm_pull_core(k, &rescue->old))
        return false;
    rescue->state = rescue->old;
    /* KVM's way to say that it gave up; push_core() takes it away. */
    if (failed && !k->vm->exits_on_failure && rescue->old.exception_vector == VECTOR_UD)
        rescue->state.exception_pending = false;
    return true;
}

static RunResult finish(KvmCpu *k, const CpuRescue *did)
{
    if (did->end == CPU_RUN_TRIPLE) {
        log_printf(LOG_RESET, "CPU %u: triple fault", k->cpu->index);
        machine_request_reset(k->vm->machine, RESET_TRIPLE_FAULT);
        return RUN_AGAIN;
    }
    if (!push(k, did))
        return kvm_give_up(k, "KVM does not take back the state after a rescue");
    kvm_syscall_watch(k, &k->rescue->state);
    if (k->debug.control & KVM_GUESTDBG_SINGLESTEP) {
        k->cpu->debug_stop = STOP_STEP;
        return RUN_DEBUG;
    }
    return RUN_AGAIN;
}

RunResult kvm_rescue(KvmCpu *k)
{
    return kvm_rescue_mended(k, NULL);
}

RunResult kvm_rescue_mended(KvmCpu *k, KvmMend *mend)
{
    CpuRescue did;
    bool stepping = k->debug.control & KVM_GUESTDBG_SINGLESTEP;
    if (!k->rescue)
        create(k);
    if (!pull(k))
        return kvm_give_up(k, "KVM cannot execute this instruction");
    if (mend)
        mend(k, &k->rescue->state);
    cpu_memory_changed(k->rescue->cpu);
    cpu_set_core(k->rescue->cpu, &k->rescue->state);
    cpu_rescue(k->rescue->cpu, stepping ? 1 : MOST, &did);
    tell_once(k, did.name);
    count(k->vm, &did);
    log_printf(LOG_KVM, "kvm: CPU %u: %s at %04x:%" PRIx64 ": %" PRIu64 " instructions rescued",
               k->cpu->index, did.name, k->rescue->old.seg[SEG_CS].selector, k->rescue->old.rip,
               did.instructions);
    return finish(k, &did);
}
