/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What KVM offers of CPUID, and the CPU model made of it. */
#include "kvm_private.h"

#include <cpuid.h>
#include <errno.h>

#include "cpu/model.h"
#include "util/error.h"
#include "util/log.h"

enum {
    FIRST_GUESS = 128,
    MOST_ENTRIES = 4096,
    ECX_TSC_DEADLINE = 1u << 24,
    ECX_OSXSAVE = 1u << 27, /* follows the guest's CR4 */
};

/* KVM_GET_SUPPORTED_CPUID takes KVM a while: once is enough. */
static struct kvm_cpuid2 *get_supported(KvmVm *vm, GError **error)
{
    for (uint32_t size = FIRST_GUESS; size <= MOST_ENTRIES; size *= 2) {
        struct kvm_cpuid2 *list = g_malloc0(sizeof(*list) + size * sizeof(list->entries[0]));
        list->nent = size;
        int result = kvm_ioctl(vm->fd, KVM_GET_SUPPORTED_CPUID, list);
        if (result >= 0)
            return list;
        g_free(list);
        if (result != -E2BIG) {
            fail_errno(error, -result, "KVM does not say what processor it offers");
            break;
        }
    }
    return NULL;
}

/* The processor's name, which some KVMs leave out. */
static void fill_brand(CpuidEntry *entry)
{
    uint32_t *reg = entry->reg;
    if (entry->leaf < 0x80000002 || entry->leaf > 0x80000004 || reg[CPUID_EAX])
        return;
    __get_cpuid(entry->leaf, &reg[CPUID_EAX], &reg[CPUID_EBX], &reg[CPUID_ECX], &reg[CPUID_EDX]);
}

static GArray *supported_entries(KvmVm *vm, GError **error)
{
    g_autofree struct kvm_cpuid2 *list = get_supported(vm, error);
    if (!list)
        return NULL;
    GArray *entries = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    bool deadline = kvm_check(vm->fd, KVM_CAP_TSC_DEADLINE_TIMER);
    for (uint32_t i = 0; i < list->nent; i++) {
        const struct kvm_cpuid_entry2 *from = &list->entries[i];
        CpuidEntry entry = {from->function,
                            from->index,
                            (from->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0,
                            {from->eax, from->ebx, from->ecx, from->edx}};
        if (entry.leaf == 1) {
            entry.reg[CPUID_ECX] &= ~ECX_OSXSAVE;
            entry.reg[CPUID_ECX] |= deadline ? ECX_TSC_DEADLINE : 0;
        }
        fill_brand(&entry);
        g_array_append_val(entries, entry);
    }
    return entries;
}

bool kvm_cpuid_init(KvmVm *vm, const EngineConfig *config, GError **error)
{
    g_autoptr(GArray) supported = supported_entries(vm, error);
    if (!supported)
        return false;
    g_autoptr(GString) refused = g_string_new(NULL);
    CpuModelRequest request = {
        .text = config->cpu_model,
        .fallback = "host",
        .supported = (const CpuidEntry *)(const void *)supported->data,
        .supported_count = supported->len,
        .cores = vm->machine->cpu_count,
        .hypervisor = "KVMKVMKVM",
    };
    vm->cpuid = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    if (!cpu_model_build(&request, vm->cpuid, refused, error))
        return false;
    if (refused->len)
        report_warn("-cpu: KVM has no %s on this host: left out", refused->str);
    const CpuidEntry *entries = (const CpuidEntry *)(const void *)vm->cpuid->data;
    const CpuidEntry *one = cpuid_find(entries, vm->cpuid->len, 1, 0);
    vm->signature = one->reg[CPUID_EAX];
    vm->machine->hooks.has_long_mode = cpuid_has(entries, vm->cpuid->len, "lm");
    return true;
}

bool kvm_cpuid_apply(KvmCpu *k, GError **error)
{
    unsigned count = k->vm->cpuid->len;
    g_autofree CpuidEntry *entries = g_memdup2(k->vm->cpuid->data, count * sizeof(CpuidEntry));
    cpuid_set_apic_id(entries, count, k->cpu->apic_id);
    g_autofree struct kvm_cpuid2 *list =
        g_malloc0(sizeof(*list) + count * sizeof(list->entries[0]));
    list->nent = count;
    for (unsigned i = 0; i < count; i++)
        list->entries[i] = (struct kvm_cpuid_entry2){
            .function = entries[i].leaf,
            .index = entries[i].subleaf,
            .flags = entries[i].indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = entries[i].reg[CPUID_EAX],
            .ebx = entries[i].reg[CPUID_EBX],
            .ecx = entries[i].reg[CPUID_ECX],
            .edx = entries[i].reg[CPUID_EDX],
        };
    int result = kvm_ioctl(k->fd, KVM_SET_CPUID2, list);
    if (result < 0)
        return fail_errno(error, -result, "KVM refuses the processor model of CPU %u",
                          k->cpu->index);
    return true;
}
