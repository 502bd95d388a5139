/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM engine's inside.  (Linux Documentation/virt/kvm/api.rst.)
 *
 *   kvm.c       probe, VM, capabilities, the engine's record
 *   slots.c     guest memory: FlatView -> memory slots, dirty log
 *   doorbell.c  ioeventfd, coalesced MMIO
 *   irq.c       MSI, IOAPIC routes, irqfd;  eoi.c  level interrupts' ends
 *   window.c    8259 interrupts
 *   cpuid.c     CPU model -> KVM_SET_CPUID2
 *   run.c       entering the guest, exits, kicks
 *   rescue.c    what KVM cannot execute;  syscall.c  SYSCALL where KVM leaves it half done
 *   debug.c     breakpoints and single step
 *   state.c     registers;  msr.c  model-specific registers
 *   clock.c     kvmclock over a pause
 */
#ifndef VMRUN_ACCEL_KVM_PRIVATE_H
#define VMRUN_ACCEL_KVM_PRIVATE_H

#include <linux/kvm.h>
#include <pthread.h>

#include "accel/engine.h"
#include "util/timer.h"

#define KVM_IOAPIC_PINS 24
#define KVM_UNKNOWN     (-1)

/* Brings a vCPU's thread out of the guest.  These threads take no other signal; a device's system
 * calls on them are restarted (KVM_RUN never is). */
#define KVM_KICK_SIGNAL SIGUSR1

/* One KVM memory slot in use. */
typedef struct KvmSlot {
    uint32_t id, flags;
    hwaddr gpa;
    uint64_t size;
    RamBlock *ram;
    uint64_t offset; /* of gpa in ram */
} KvmSlot;

/* One ioeventfd in use: where the doorbell stands now. */
typedef struct KvmDoorbell {
    hwaddr addr;
    bool io; /* port space */
    Doorbell bell;
} KvmDoorbell;

typedef struct KvmZone {
    hwaddr addr;
    uint64_t size;
} KvmZone;

/* An entry of the GSI routing table beyond the IOAPIC's. */
typedef struct KvmRoute {
    uint64_t address;
    uint32_t data;
    int fd; /* -1: free */
} KvmRoute;

/* An INT3 of the debugger's in guest memory. */
typedef struct KvmPatch {
    uint64_t address, physical;
    uint8_t byte; /* what stood there */
} KvmPatch;

typedef struct KvmVm {
    Machine *machine;
    int fd, vm_fd;
    size_t run_size;
    unsigned max_slots, max_cpus;
    bool has_xcrs, has_debugregs, has_smi, has_ioeventfd_any;
    bool has_clock_control;
    /* Guest memory; main lock. */
    GArray *slots;     /* of KvmSlot, by gpa */
    GArray *slot_free; /* of uint32_t */
    uint32_t slot_next;
    uint64_t slot_updates; /* memory layouts applied so far */
    /* Keeps CPUs out of the guest while slots change. */
    pthread_mutex_t park_lock;
    pthread_cond_t park_changed;
    /* Main lock. */
    GArray *doorbells;                    /* of KvmDoorbell */
    GArray *zones;                        /* of KvmZone: coalesced MMIO */
    struct kvm_coalesced_mmio_ring *ring; /* in CPU 0's mapping; NULL: KVM has none */
    uint32_t ring_size;
    bool flushing;
    /* Interrupt routes; route_lock. */
    pthread_mutex_t route_lock;
    struct {
        uint64_t address;
        uint32_t data;
        bool level; /* a level interrupt was routed: its EOI is wanted */
    } pins[KVM_IOAPIC_PINS];
    GArray *routes;  /* of KvmRoute */
    bool msi_failed; /* reported already */
    GArray *patches; /* of KvmPatch; all CPUs stopped */
    /* Instructions that KVM could not execute; rescue_lock. */
    pthread_mutex_t rescue_lock;
    GHashTable *rescues; /* mnemonic -> KvmRescued */
    bool rescue_told;
    bool exits_on_failure; /* without an #UD that it made up */
    int stray_syscalls;    /* atomic: whether SYSCALL stays in ring 3; KVM_UNKNOWN: not tried yet */
    /* Level interrupts whose EOI is outstanding, bit maps of vectors; main lock. */
    uint32_t eoi_waiting[8], eoi_suspect[8];
    Timer eoi_timer;
    int64_t eoi_delay;
    bool eoi_late;
    /* kvmclock at the last pause. */
    bool clock_valid;
    struct kvm_clock_data clock;
    /* CPUID of CPU 0; the others differ in APIC ids. */
    GArray *cpuid; /* of CpuidEntry */
    uint32_t signature;
    /* The MSRs of a CPU's state, asked of KVM at the first need; msr_lock. */
    pthread_mutex_t msr_lock;
    uint32_t *msr_index;
    unsigned msr_count;
} KvmVm;

typedef struct KvmCpu {
    Vcpu *cpu;
    KvmVm *vm;
    int fd;
    struct kvm_run *run;
    pthread_t tid;
    uint32_t in_guest; /* atomic: between the look at the requests and the exit */
    uint32_t seen;     /* requests that the guest may run with: INTR while its window is awaited */
    bool io_pending;   /* the instruction of the last exit completes at the next entry */
    bool fresh;        /* still as KVM created it */
    struct kvm_guest_debug debug; /* what a debugger wants, as KVM knows it */
    uint64_t fault_entry;         /* syscall.c watches the guest's #PF handler; 0: it does not */
    struct KvmRescue *rescue;     /* rescue.c's own; NULL until the first */
    timer_t kicker;               /* window.c's own, if there is one */
    bool has_kicker;
} KvmCpu;

static inline KvmVm *kvm_vm(const Machine *machine)
{
    return machine->engine;
}

/* kvm.c: ioctl that is tried again when a signal interrupts it; -errno on failure. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_ioctl_value(int fd, unsigned long request, unsigned long value);
int kvm_check(int fd, int capability);
/* Whether the node at path can be used, and if not, why; cpuinfo is /proc/cpuinfo.  Returns an open
 * descriptor or -1. */
int kvm_open(const char *path, const char *cpuinfo, char **why);

/* slots.c */
void kvm_memory_changed(void *opaque, AddressSpace *as, const FlatView *old_view,
                        const FlatView *new_view);
void kvm_dirty_sync(Machine *machine, Region *region);
void kvm_slots_describe(KvmVm *vm, GString *out);

/* doorbell.c: called with the new view of memory or of ports. */
void kvm_doorbells_changed(KvmVm *vm, const FlatView *view, bool io);
void kvm_ports_changed(void *opaque, AddressSpace *as, const FlatView *old_view,
                       const FlatView *new_view);
void kvm_zones_changed(KvmVm *vm, const FlatView *view);
/* Carries out the writes that wait in the coalesced ring.  Any thread; cheap when there are none.
 */
void kvm_flush_coalesced(KvmVm *vm);

/* irq.c */
void kvm_irq_hooks(EngineHooks *hooks);
/* No level pins, no outstanding EOIs: at a machine reset; main lock. */
void kvm_routes_reset(KvmVm *vm);

/* window.c: own thread. */
void kvm_window_init(KvmCpu *k);
void kvm_window_fini(KvmCpu *k);
/* Outside the guest: gives the guest an 8259 interrupt if it can take it, else asks for the exit at
 * which it can. */
void kvm_inject_pic(KvmCpu *k);

/* eoi.c: main lock, but for kvm_eoi(), which takes it. */
void kvm_eoi_init(KvmVm *vm);
void kvm_eoi_fini(KvmVm *vm);
/* A level interrupt was sent. */
void kvm_eoi_await(KvmVm *vm, uint8_t vector);
void kvm_eoi(KvmVm *vm, uint8_t vector);

/* cpuid.c */
bool kvm_cpuid_init(KvmVm *vm, const EngineConfig *config, GError **error);
bool kvm_cpuid_apply(KvmCpu *k, GError **error);

/* run.c */
RunResult kvm_cpu_run(Vcpu *cpu);
void kvm_kick(Vcpu *cpu);
void kvm_thread_init(KvmCpu *k);
/* Keeps all other CPUs out of the guest until kvm_unpark(); main lock. */
void kvm_park(KvmVm *vm);
void kvm_unpark(KvmVm *vm);

/* rescue.c: KVM gave up on an instruction: vmrun's own processor executes it. */
RunResult kvm_rescue(KvmCpu *k);
/* The same, of a state that mend() may change before. */
typedef void KvmMend(KvmCpu *k, CpuState *state);
RunResult kvm_rescue_mended(KvmCpu *k, KvmMend *mend);
void kvm_rescue_fini(KvmCpu *k);
void kvm_rescues_describe(KvmVm *vm, GString *out);
/* Physical memory of a KvmVm, as cpu_state_translate() reads it. */
bool kvm_read_guest(void *vm, uint64_t addr, void *buf, unsigned length);
/* Stops the machine with the CPU's registers; why is a sentence. */
RunResult kvm_give_up(KvmCpu *k, const char *why);

/* syscall.c */
/* After a rescue: keeps watch where the guest handles page faults, if this KVM needs that. */
void kvm_syscall_watch(KvmCpu *k, const CpuState *state);
/* The watched handler was entered: a SYSCALL that went astray is done again, anything else goes on.
 */
RunResult kvm_syscall_exit(KvmCpu *k);

/* native.c: whether a SYSCALL in a guest's ring 3 goes to LSTAR but stays in ring 3. */
bool kvm_strays_in_syscall(void);

/* debug.c */
bool kvm_set_debug(Vcpu *cpu, const DebugState *state);
/* Tells KVM of the debugger's points and of fault_entry. */
bool kvm_apply_debug(KvmCpu *k);
RunResult kvm_debug_exit(KvmCpu *k);
/* Whether KVM failed at an INT3 of the debugger's; then it is told of it. */
bool kvm_debug_failed_int3(KvmCpu *k);

/* state.c */
bool kvm_pull(Vcpu *cpu, CpuState *state);
bool kvm_push(Vcpu *cpu, const CpuState *state);
void kvm_cpu_reset(Vcpu *cpu);
bool kvm_pull_fpu(KvmCpu *k, CpuState *state);
bool kvm_push_fpu(KvmCpu *k, const CpuState *state);
/* What cpu_set_core() takes, of a CPU that runs; pushing what differs from old, and with flush
 * making KVM drop its translations. */
bool kvm_pull_core(KvmCpu *k, CpuState *state);
bool kvm_push_core(KvmCpu *k, const CpuState *state, const CpuState *old, bool flush);

/* msr.c */
/* One, by a CPU's descriptor. */
bool kvm_get_msr(int cpu, uint32_t index, uint64_t *value);
bool kvm_set_msr(int cpu, uint32_t index, uint64_t value);
bool kvm_pull_msrs(KvmCpu *k, CpuState *state);
/* Those that state names; the TSC is not touched. */
bool kvm_pull_some_msrs(KvmCpu *k, CpuState *state);
bool kvm_push_some_msrs(KvmCpu *k, const CpuState *state);
bool kvm_get_tsc(KvmCpu *k, uint64_t *tsc);
bool kvm_push_msrs(KvmCpu *k, const CpuState *state);
void kvm_reset_msrs(KvmCpu *k, CpuState *state);

/* clock.c */
void kvm_pause_changed(Machine *machine, bool paused);
bool kvm_get_clock(Machine *machine, uint64_t *ns);
void kvm_set_clock(Machine *machine, uint64_t ns);

#endif
