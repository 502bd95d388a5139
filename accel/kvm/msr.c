/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers of a CPU's state: those that KVM lists (KVM_GET_MSR_INDEX_LIST), and the
 * memory type ranges, which it does not.  What KVM refuses is skipped, and reported once.
 */
#include "kvm_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/log.h"

enum {
    MSR_TSC = 0x10,
    MSR_MTRR_PHYSBASE0 = 0x200,
    MSR_MTRR_COUNT = 8,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_PAT = 0x277,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_KVM_POLL_CONTROL = 0x4b564d05,
};

static const uint32_t mtrr_fixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                      0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

/* What the processor or its maker sets, and a reset does not change. */
static const uint32_t constant_msrs[] = {
    0x8b,  /* BIOS_SIGN_ID: microcode revision */
    0xce,  /* PLATFORM_INFO */
    0x10a, /* ARCH_CAPABILITIES */
    0x345, /* PERF_CAPABILITIES */
};

/* Values after reset that are not zero. */
static const CpuMsr reset_values[] = {
    {MSR_PAT, 0x0007040600070406},
    {MSR_MISC_ENABLE, 1}, /* fast strings */
    {MSR_KVM_POLL_CONTROL, 1},
};

/* ---- The list ---- */

static bool is_constant(uint32_t index)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(constant_msrs); i++)
        if (constant_msrs[i] == index)
            return true;
    return index >= 0x480 && index <= 0x491; /* what VMX can do */
}

static void add_msr(KvmVm *vm, uint32_t index)
{
    /* The TSC has its own field in CpuState. */
    if (index != MSR_TSC && !is_constant(index) && vm->msr_count < CPU_MSRS_MAX)
        vm->msr_index[vm->msr_count++] = index;
}

static void add_listed(KvmVm *vm)
{
    struct kvm_msr_list probe = {0};
    if (kvm_ioctl(vm->fd, KVM_GET_MSR_INDEX_LIST, &probe) != -E2BIG)
        return;
    g_autofree struct kvm_msr_list *list =
        g_malloc0(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    list->nmsrs = probe.nmsrs;
    if (kvm_ioctl(vm->fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
        return;
    for (uint32_t i = 0; i < list->nmsrs; i++)
        add_msr(vm, list->indices[i]);
}

/* msr_lock held. */
static void list_msrs(KvmVm *vm)
{
    if (vm->msr_index)
        return;
    vm->msr_index = g_new0(uint32_t, CPU_MSRS_MAX);
    for (unsigned i = 0; i < G_N_ELEMENTS(mtrr_fixed); i++)
        add_msr(vm, mtrr_fixed[i]);
    for (unsigned i = 0; i < 2 * MSR_MTRR_COUNT; i++)
        add_msr(vm, MSR_MTRR_PHYSBASE0 + i);
    add_msr(vm, MSR_MTRR_DEF_TYPE);
    add_listed(vm);
}

static void drop_msr(KvmVm *vm, unsigned i)
{
    log_printf(LOG_KVM, "kvm: MSR 0x%x cannot be read: it is left out of the state",
               vm->msr_index[i]);
    memmove(vm->msr_index + i, vm->msr_index + i + 1,
            (vm->msr_count - i - 1) * sizeof(vm->msr_index[0]));
    vm->msr_count--;
}

/* ---- Moving them ---- */

static struct kvm_msrs *buffer_new(unsigned count)
{
    return g_malloc0(sizeof(struct kvm_msrs) + count * sizeof(struct kvm_msr_entry));
}

bool kvm_get_msr(int cpu, uint32_t index, uint64_t *value)
{
    g_autofree struct kvm_msrs *one = buffer_new(1);
    one->nmsrs = 1;
    one->entries[0].index = index;
    int result = kvm_ioctl(cpu, KVM_GET_MSRS, one);
    *value = one->entries[0].data;
    return result == 1;
}

bool kvm_set_msr(int cpu, uint32_t index, uint64_t value)
{
    g_autofree struct kvm_msrs *one = buffer_new(1);
    one->nmsrs = 1;
    one->entries[0].index = index;
    one->entries[0].data = value;
    return kvm_ioctl(cpu, KVM_SET_MSRS, one) == 1;
}

bool kvm_get_tsc(KvmCpu *k, uint64_t *tsc)
{
    return kvm_get_msr(k->fd, MSR_TSC, tsc);
}

bool kvm_pull_msrs(KvmCpu *k, CpuState *state)
{
    KvmVm *vm = k->vm;
    g_autofree struct kvm_msrs *buffer = buffer_new(CPU_MSRS_MAX);
    bool ok = kvm_get_tsc(k, &state->tsc);
    pthread_mutex_lock(&vm->msr_lock);
    list_msrs(vm);
    for (;;) {
        buffer->nmsrs = vm->msr_count;
        for (unsigned i = 0; i < vm->msr_count; i++)
            buffer->entries[i].index = vm->msr_index[i];
        int done = kvm_ioctl(k->fd, KVM_GET_MSRS, buffer);
        if (done < 0 || done == (int)vm->msr_count) {
            ok &= done >= 0;
            break;
        }
        drop_msr(vm, (unsigned)done);
    }
    state->msr_count = vm->msr_count;
    pthread_mutex_unlock(&vm->msr_lock);
    for (unsigned i = 0; i < state->msr_count; i++)
        state->msrs[i] = (CpuMsr){buffer->entries[i].index, buffer->entries[i].data};
    return ok;
}

bool kvm_pull_some_msrs(KvmCpu *k, CpuState *state)
{
    g_autofree struct kvm_msrs *buffer = buffer_new(state->msr_count);
    unsigned kept = 0, next = 0;
    while (next < state->msr_count) {
        buffer->nmsrs = state->msr_count - next;
        for (unsigned i = 0; i < buffer->nmsrs; i++)
            buffer->entries[i].index = state->msrs[next + i].index;
        int done = kvm_ioctl(k->fd, KVM_GET_MSRS, buffer);
        if (done < 0)
            return false;
        for (unsigned i = 0; i < (unsigned)done; i++)
            state->msrs[kept++] = (CpuMsr){buffer->entries[i].index, buffer->entries[i].data};
        /* What KVM does not have is left out. */
        next += (unsigned)done + 1;
    }
    state->msr_count = kept;
    return true;
}

static void report_refused(const CpuMsr *msr)
{
    static GHashTable *reported;
    static GMutex lock;
    g_mutex_lock(&lock);
    if (!reported)
        reported = g_hash_table_new(NULL, NULL);
    if (g_hash_table_add(reported, GUINT_TO_POINTER(msr->index)))
        report_warn("kvm: MSR 0x%x does not take the value 0x%" PRIx64 ": left as it is",
                    msr->index, msr->value);
    g_mutex_unlock(&lock);
}

static bool push_list(KvmCpu *k, const CpuMsr *msrs, unsigned total)
{
    unsigned next = 0;
    g_autofree struct kvm_msrs *buffer = buffer_new(total);
    while (next < total) {
        buffer->nmsrs = total - next;
        for (unsigned i = next; i < total; i++)
            buffer->entries[i - next] =
                (struct kvm_msr_entry){.index = msrs[i].index, .data = msrs[i].value};
        int done = kvm_ioctl(k->fd, KVM_SET_MSRS, buffer);
        if (done < 0)
            return false;
        next += (unsigned)done;
        if (next < total)
            report_refused(&msrs[next++]);
    }
    return true;
}

/* The TSC goes first: the deadline of the APIC timer counts by it. */
bool kvm_push_msrs(KvmCpu *k, const CpuState *state)
{
    unsigned count = MIN(state->msr_count, CPU_MSRS_MAX);
    g_autofree CpuMsr *msrs = g_new(CpuMsr, count + 1);
    msrs[0] = (CpuMsr){MSR_TSC, state->tsc};
    memcpy(msrs + 1, state->msrs, count * sizeof(*msrs));
    return push_list(k, msrs, count + 1);
}

bool kvm_push_some_msrs(KvmCpu *k, const CpuState *state)
{
    return push_list(k, state->msrs, state->msr_count);
}

static uint64_t reset_value(uint32_t index)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(reset_values); i++)
        if (reset_values[i].index == index)
            return reset_values[i].value;
    return 0;
}

void kvm_reset_msrs(KvmCpu *k, CpuState *state)
{
    pthread_mutex_lock(&k->vm->msr_lock);
    list_msrs(k->vm);
    state->msr_count = k->vm->msr_count;
    for (unsigned i = 0; i < state->msr_count; i++)
        state->msrs[i] = (CpuMsr){k->vm->msr_index[i], reset_value(k->vm->msr_index[i])};
    pthread_mutex_unlock(&k->vm->msr_lock);
}
