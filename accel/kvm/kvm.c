/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM engine: probe, VM, capabilities, and the engine's record.
 *
 * Set-up asks KVM for as little as it can: what only snapshots, resets or the monitor want to know
 * (the list of MSRs, say, which takes KVM half a millisecond) is asked when they want it.
 */
#include "kvm_private.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/error.h"
#include "util/log.h"

#define KVM_NODE     "/dev/kvm"
#define CPUINFO_NODE "/proc/cpuinfo"

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int result;
    do {
        result = ioctl(fd, request, arg);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int kvm_ioctl_value(int fd, unsigned long request, unsigned long value)
{
    return kvm_ioctl(fd, request, (void *)value);
}

int kvm_check(int fd, int capability)
{
    int result = kvm_ioctl_value(fd, KVM_CHECK_EXTENSION, (unsigned long)capability);
    return result > 0 ? result : 0;
}

/* ---- Why KVM cannot be used ---- */

static bool cpu_has_virtualization(const char *cpuinfo, const char **vendor)
{
    g_autofree char *text = NULL;
    *vendor = "kvm_intel or kvm_amd";
    if (!g_file_get_contents(cpuinfo, &text, NULL, NULL))
        return false;
    bool vmx = strstr(text, " vmx") != NULL, svm = strstr(text, " svm") != NULL;
    if (vmx || svm)
        *vendor = vmx ? "kvm_intel" : "kvm_amd";
    return vmx || svm;
}

static char *why_missing(const char *path, const char *cpuinfo)
{
    const char *module;
    if (cpu_has_virtualization(cpuinfo, &module))
        return g_strdup_printf("%s does not exist: the kernel module is not loaded (try: sudo "
                               "modprobe %s), or virtualization is disabled in the firmware setup",
                               path, module);
    return g_strdup_printf("%s does not exist, and this processor shows no virtualization (vmx or "
                           "svm): in a virtual machine, turn on nested virtualization for it",
                           path);
}

static char *why_refused(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & S_IRGRP) && (st.st_mode & S_IWGRP)) {
        struct group *group = getgrgid(st.st_gid);
        if (group)
            return g_strdup_printf("%s may be opened only by root and the group %s: join it with "
                                   "'sudo usermod -aG %s %s' and log in again",
                                   path, group->gr_name, group->gr_name, g_get_user_name());
    }
    return g_strdup_printf("%s may not be opened by you: ask for read and write permission on it "
                           "(sudo setfacl -m u:%s:rw %s)",
                           path, g_get_user_name(), path);
}

static char *why_unsupported(const char *path, const char *cpuinfo)
{
    const char *module;
    if (cpu_has_virtualization(cpuinfo, &module))
        return g_strdup_printf("%s stands for no device: virtualization is disabled in the "
                               "firmware setup, or the kernel module %s is not loaded",
                               path, module);
    return g_strdup_printf("%s stands for no device: this processor has no virtualization (vmx or "
                           "svm), or it is hidden from this virtual machine",
                           path);
}

static char *why_not_open(const char *path, const char *cpuinfo, int errnum)
{
    switch (errnum) {
    case ENOENT:
    case ENOTDIR:
        return why_missing(path, cpuinfo);
    case EACCES:
    case EPERM:
        return why_refused(path);
    case ENODEV:
    case ENXIO:
        return why_unsupported(path, cpuinfo);
    case EBUSY:
        return g_strdup_printf("%s is busy: another hypervisor (VirtualBox, VMware) uses the "
                               "processor's virtualization; stop its machines",
                               path);
    default:
        return g_strdup_printf("%s cannot be opened: %s", path, g_strerror(errnum));
    }
}

/* What vmrun cannot do without. */
static const struct {
    int capability;
    const char *name, *linux_version;
} needed[] = {
    {KVM_CAP_SPLIT_IRQCHIP, "the split interrupt controller (KVM_CAP_SPLIT_IRQCHIP)", "4.5"},
    {KVM_CAP_IMMEDIATE_EXIT, "an immediate exit (KVM_CAP_IMMEDIATE_EXIT)", "4.13"},
    {KVM_CAP_READONLY_MEM, "read-only memory (KVM_CAP_READONLY_MEM)", "3.7"},
    {KVM_CAP_SIGNAL_MSI, "message-signalled interrupts (KVM_CAP_SIGNAL_MSI)", "3.5"},
    {KVM_CAP_SET_TSS_ADDR, "a place for its task segment (KVM_CAP_SET_TSS_ADDR)", "2.6.25"},
    {KVM_CAP_MP_STATE, "the state of processors (KVM_CAP_MP_STATE)", "2.6.26"},
    {KVM_CAP_VCPU_EVENTS, "the state of events (KVM_CAP_VCPU_EVENTS)", "2.6.33"},
    {KVM_CAP_XSAVE, "the state of the FPU (KVM_CAP_XSAVE)", "2.6.36"},
};

static char *why_too_old(const char *path, int fd)
{
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return g_strdup_printf("%s does not answer as KVM does", path);
    if (version != KVM_API_VERSION)
        return g_strdup_printf("%s speaks version %d of KVM's interface; vmrun needs version %d",
                               path, version, KVM_API_VERSION);
    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++)
        if (!kvm_check(fd, needed[i].capability))
            return g_strdup_printf("this KVM lacks %s: vmrun needs Linux %s or newer",
                                   needed[i].name, needed[i].linux_version);
    return NULL;
}

int kvm_open(const char *path, const char *cpuinfo, char **why)
{
    char *reason = NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        reason = why_not_open(path, cpuinfo, errno);
    } else if ((reason = why_too_old(path, fd))) {
        close(fd);
        fd = -1;
    }
    if (why)
        *why = reason;
    else
        g_free(reason);
    return fd;
}

static bool kvm_probe(char **why)
{
    int fd = kvm_open(KVM_NODE, CPUINFO_NODE, why);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* ---- The VM ---- */

static bool create_vm(KvmVm *vm, GError **error)
{
    vm->vm_fd = kvm_ioctl_value(vm->fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd == -EBUSY || vm->vm_fd == -ENODEV || vm->vm_fd == -EOPNOTSUPP) {
        g_autofree char *why = why_not_open(KVM_NODE, CPUINFO_NODE, -vm->vm_fd);
        return fail(error, "%s", why);
    }
    if (vm->vm_fd < 0)
        return fail_errno(error, -vm->vm_fd, "KVM cannot create a virtual machine");
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {KVM_IOAPIC_PINS}};
    int result = kvm_ioctl(vm->vm_fd, KVM_ENABLE_CAP, &split);
    if (result < 0)
        return fail_errno(error, -result, "KVM refuses the split interrupt controller");
    return true;
}

/* Intel processors without unrestricted guest run real mode in a task segment and an identity map
 * of KVM's; both stand just below the firmware, where the board has nothing. */
static bool set_vm_addresses(KvmVm *vm, GError **error)
{
    uint64_t identity = 0xfeffc000;
    int result = kvm_check(vm->fd, KVM_CAP_SET_IDENTITY_MAP_ADDR)
                     ? kvm_ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity)
                     : 0;
    if (result >= 0)
        result = kvm_ioctl_value(vm->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)identity + 0x1000);
    if (result < 0)
        return fail_errno(error, -result, "KVM refuses a place for its task segment");
    return true;
}

static void read_capabilities(KvmVm *vm)
{
    int max_cpus = kvm_check(vm->fd, KVM_CAP_MAX_VCPUS);
    vm->has_xcrs = kvm_check(vm->fd, KVM_CAP_XCRS);
    vm->has_debugregs = kvm_check(vm->fd, KVM_CAP_DEBUGREGS);
    vm->has_smi = kvm_check(vm->fd, KVM_CAP_X86_SMM);
    vm->has_ioeventfd_any = kvm_check(vm->fd, KVM_CAP_IOEVENTFD_ANY_LENGTH);
    vm->has_clock_control = kvm_check(vm->fd, KVM_CAP_KVMCLOCK_CTRL);
    vm->max_slots = (unsigned)kvm_check(vm->fd, KVM_CAP_NR_MEMSLOTS);
    /* Above 255 an interrupt's destination no longer fits into a message. */
    vm->max_cpus = (unsigned)CLAMP(max_cpus, 1, 255);
}

/* Asks for an exit, in all privilege levels, when an instruction cannot be emulated (Linux 5.18).
 * Older KVMs have one at level 0 only, and an #UD pending. */
static bool exit_on_failure(KvmVm *vm)
{
#ifdef KVM_CAP_EXIT_ON_EMULATION_FAILURE
    struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
    return kvm_check(vm->fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE) &&
           kvm_ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) >= 0;
#else
    return false;
#endif
}

static KvmVm *vm_new(Machine *machine)
{
    KvmVm *vm = g_new0(KvmVm, 1);
    vm->machine = machine;
    vm->fd = vm->vm_fd = -1;
    vm->stray_syscalls = KVM_UNKNOWN;
    vm->slots = g_array_new(FALSE, FALSE, sizeof(KvmSlot));
    vm->slot_free = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    vm->doorbells = g_array_new(FALSE, FALSE, sizeof(KvmDoorbell));
    vm->zones = g_array_new(FALSE, FALSE, sizeof(KvmZone));
    vm->routes = g_array_new(FALSE, FALSE, sizeof(KvmRoute));
    vm->patches = g_array_new(FALSE, FALSE, sizeof(KvmPatch));
    pthread_mutex_init(&vm->park_lock, NULL);
    pthread_cond_init(&vm->park_changed, NULL);
    pthread_mutex_init(&vm->route_lock, NULL);
    pthread_mutex_init(&vm->msr_lock, NULL);
    pthread_mutex_init(&vm->rescue_lock, NULL);
    vm->rescues = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    machine->engine = vm;
    return vm;
}

static void vm_free(KvmVm *vm)
{
    vm->machine->engine = NULL;
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    if (vm->fd >= 0)
        close(vm->fd);
    g_array_free(vm->slots, TRUE);
    g_array_free(vm->slot_free, TRUE);
    g_array_free(vm->doorbells, TRUE);
    g_array_free(vm->zones, TRUE);
    g_array_free(vm->routes, TRUE);
    g_array_free(vm->patches, TRUE);
    if (vm->cpuid)
        g_array_free(vm->cpuid, TRUE);
    g_free(vm->msr_index);
    pthread_mutex_destroy(&vm->park_lock);
    pthread_cond_destroy(&vm->park_changed);
    pthread_mutex_destroy(&vm->route_lock);
    pthread_mutex_destroy(&vm->msr_lock);
    pthread_mutex_destroy(&vm->rescue_lock);
    g_hash_table_destroy(vm->rescues);
    g_free(vm);
}

static bool vm_init(KvmVm *vm, const EngineConfig *config, GError **error)
{
    g_autofree char *why = NULL;
    vm->fd = kvm_open(KVM_NODE, CPUINFO_NODE, &why);
    if (vm->fd < 0)
        return fail(error, "KVM cannot be used: %s", why);
    if (!create_vm(vm, error) || !set_vm_addresses(vm, error))
        return false;
    read_capabilities(vm);
    if (vm->machine->cpu_count > vm->max_cpus)
        return fail(error, "-smp %u: this KVM runs at most %u CPUs", vm->machine->cpu_count,
                    vm->max_cpus);
    int size = kvm_ioctl_value(vm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (size < (int)sizeof(struct kvm_run))
        return fail(error, "KVM does not say how large a CPU's mapping is");
    vm->run_size = (size_t)size;
    vm->exits_on_failure = exit_on_failure(vm);
    return kvm_cpuid_init(vm, config, error);
}

static bool kvm_init(Machine *machine, const EngineConfig *config, GError **error)
{
    KvmVm *vm = vm_new(machine);
    if (!vm_init(vm, config, error)) {
        vm_free(vm);
        return false;
    }
    kvm_eoi_init(vm);
    kvm_irq_hooks(&machine->hooks);
    machine->hooks.dirty_sync = kvm_dirty_sync;
    as_add_listener(&machine->mem, kvm_memory_changed, vm);
    as_add_listener(&machine->io, kvm_ports_changed, vm);
    return true;
}

static void kvm_fini(Machine *machine)
{
    KvmVm *vm = kvm_vm(machine);
    as_remove_listener(&machine->mem, kvm_memory_changed, vm);
    as_remove_listener(&machine->io, kvm_ports_changed, vm);
    kvm_eoi_fini(vm);
    vm_free(vm);
}

/* ---- CPUs ---- */

static void map_coalesced_ring(KvmCpu *k)
{
    int page = kvm_check(k->vm->fd, KVM_CAP_COALESCED_MMIO);
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    if (page > 0 && ((size_t)page + 1) * page_size <= k->vm->run_size)
        k->vm->ring = (void *)((uint8_t *)k->run + (size_t)page * page_size);
    k->vm->ring_size = (uint32_t)((page_size - sizeof(struct kvm_coalesced_mmio_ring)) /
                                  sizeof(struct kvm_coalesced_mmio));
}

static bool kvm_cpu_init(Vcpu *cpu, GError **error)
{
    KvmCpu *k = g_new0(KvmCpu, 1);
    k->cpu = cpu;
    k->vm = kvm_vm(cpu->machine);
    k->fd = -1;
    k->fresh = true;
    cpu->engine = k;
    kvm_thread_init(k);
    kvm_window_init(k);
    k->fd = kvm_ioctl_value(k->vm->vm_fd, KVM_CREATE_VCPU, cpu->apic_id);
    if (k->fd < 0)
        return fail_errno(error, -k->fd, "KVM cannot create CPU %u", cpu->index);
    void *map = mmap(NULL, k->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    if (map == MAP_FAILED)
        return fail_errno(error, errno, "cannot map the registers of CPU %u", cpu->index);
    k->run = map;
    if (cpu->index == 0)
        map_coalesced_ring(k);
    return kvm_cpuid_apply(k, error);
}

static void kvm_cpu_fini(Vcpu *cpu)
{
    KvmCpu *k = cpu->engine;
    if (cpu->index == 0)
        k->vm->ring = NULL;
    kvm_window_fini(k);
    kvm_rescue_fini(k);
    if (k->run)
        munmap(k->run, k->vm->run_size);
    if (k->fd >= 0)
        close(k->fd);
    g_clear_pointer(&cpu->engine, g_free);
}

static void kvm_describe(Machine *machine, GString *out)
{
    KvmVm *vm = kvm_vm(machine);
    g_string_append(out, "kvm support: enabled\n");
    for (unsigned i = 0; i < machine->cpu_count; i++)
        g_string_append_printf(out, "CPU #%u: %" PRIu64 " exits\n", i,
                               __atomic_load_n(&machine->cpus[i]->exits, __ATOMIC_RELAXED));
    kvm_rescues_describe(vm, out);
    kvm_slots_describe(vm, out);
}

const CpuEngine kvm_engine = {
    .name = "kvm",
    .desc = "the processor itself, through Linux KVM",
    .probe = kvm_probe,
    .init = kvm_init,
    .cpu_init = kvm_cpu_init,
    .run = kvm_cpu_run,
    .kick = kvm_kick,
    .pull = kvm_pull,
    .push = kvm_push,
    .cpu_reset = kvm_cpu_reset,
    .cpu_fini = kvm_cpu_fini,
    .fini = kvm_fini,
    .pause_changed = kvm_pause_changed,
    .get_clock = kvm_get_clock,
    .set_clock = kvm_set_clock,
    .set_debug = kvm_set_debug,
    .describe = kvm_describe,
};
