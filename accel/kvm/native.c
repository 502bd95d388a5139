/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether KVM runs a guest's kernel on the processor.  There are hosts (virtual machines inside
 * virtual machines, without nested hardware support) whose KVM has only ring 3 run by the
 * processor and emulates all else, one instruction after another.
 */
#include "kvm_private.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/timer.h"

/* A loop of 2 instructions at ring 0.  Natively it takes a microsecond and an exit; emulated, some
 * microseconds an instruction. */
enum { ROUNDS = 1000, TRIES = 2, SLOW_NS = 60 * ROUNDS * 2 };
/* The guest's memory: code and three page tables. */
enum { CODE = 0x1000, PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, MEMORY = 0x4000 };

typedef struct Trial {
    int kvm, vm, cpu;
    size_t run_size;
    struct kvm_run *run;
    uint8_t *memory; /* from CODE on */
} Trial;

static bool set_up(Trial *t, const uint8_t *code, size_t code_size)
{
    t->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (t->kvm < 0)
        return false;
    t->vm = kvm_ioctl_value(t->kvm, KVM_CREATE_VM, 0);
    if (t->vm < 0)
        return false;
    kvm_ioctl_value(t->vm, KVM_SET_TSS_ADDR, 0xfeffd000);
    t->cpu = kvm_ioctl_value(t->vm, KVM_CREATE_VCPU, 0);
    int size = kvm_ioctl_value(t->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (t->cpu < 0 || size < (int)sizeof(*t->run))
        return false;
    t->run_size = (size_t)size;
    t->run = mmap(NULL, t->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu, 0);
    t->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->run == MAP_FAILED || t->memory == MAP_FAILED)
        return false;
    memcpy(t->memory, code, code_size);
    struct kvm_userspace_memory_region slot = {
        .guest_phys_addr = CODE, .memory_size = MEMORY, .userspace_addr = (uintptr_t)t->memory};
    return kvm_ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &slot) >= 0;
}

static void tear_down(Trial *t)
{
    if (t->run != MAP_FAILED)
        munmap(t->run, t->run_size);
    if (t->memory != MAP_FAILED)
        munmap(t->memory, MEMORY);
    if (t->cpu >= 0)
        close(t->cpu);
    if (t->vm >= 0)
        close(t->vm);
    if (t->kvm >= 0)
        close(t->kvm);
}

static const Trial nothing = {
    .kvm = -1, .vm = -1, .cpu = -1, .run = MAP_FAILED, .memory = MAP_FAILED};

/* ---- Ring 0 ---- */

/* Flat 32-bit protected mode. */
static bool set_registers(Trial *t)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = CODE, .rcx = ROUNDS, .rflags = 2};
    if (kvm_ioctl(t->cpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    struct kvm_segment flat = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
    sregs.cs = flat;
    flat.type = 3;
    flat.selector = 16;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
    sregs.cr0 |= 1;
    return kvm_ioctl(t->cpu, KVM_SET_SREGS, &sregs) >= 0 &&
           kvm_ioctl(t->cpu, KVM_SET_REGS, &regs) >= 0;
}

/* Nanoseconds of the fastest round, or -1. */
static int64_t measure(Trial *t)
{
    static const uint8_t code[] = {0x49, 0x75, 0xfd, 0xf4}; /* dec ecx; jnz; hlt */
    int64_t best = -1;
    if (!set_up(t, code, sizeof(code)))
        return -1;
    for (unsigned i = 0; i < TRIES && (best < 0 || best > SLOW_NS); i++) {
        if (!set_registers(t))
            return -1;
        int64_t start = clock_now(VM_CLOCK_HOST);
        if (kvm_ioctl_value(t->cpu, KVM_RUN, 0) < 0 || t->run->exit_reason != KVM_EXIT_HLT)
            return -1;
        int64_t taken = clock_now(VM_CLOCK_HOST) - start;
        best = best < 0 ? taken : MIN(best, taken);
    }
    return best;
}

bool kvm_is_native(char **why)
{
    Trial t = nothing;
    int64_t taken = measure(&t);
    bool opened = t.kvm >= 0;
    tear_down(&t);
    if (!opened)
        return true; /* probe() tells better what is wrong */
    if (taken >= 0 && taken <= SLOW_NS)
        return true;
    *why = taken < 0 ? g_strdup("this machine's KVM cannot run a loop of a kernel's")
                     : g_strdup_printf("this machine's KVM takes %" G_GINT64_FORMAT
                                       " ns for each instruction of a guest's kernel",
                                       taken / (ROUNDS * 2));
    return false;
}

/* ---- SYSCALL ---- */

enum { MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084, FLAGS_IF = 0x200 };
enum { ENTRY = 0x10, KERNEL_CS = 0x08, USER_CS32 = 0x23, USER_SS = 0x2b, USER_CS = 0x33 };

/* 64-bit mode in ring 3, everything mapped for the user. */
static bool set_user_mode(Trial *t)
{
    enum { PE = 1, PG = 1u << 31, PAE = 1 << 5, SCE = 1, LME = 1 << 8, LMA = 1 << 10 };
    enum { TABLE = 7, LARGE_PAGE = 0x87 };
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = CODE, .rflags = 2};
    st64_le(t->memory + PML4 - CODE, PDPT | TABLE);
    st64_le(t->memory + PDPT - CODE, PD | TABLE);
    st64_le(t->memory + PD - CODE, LARGE_PAGE);
    if (kvm_ioctl(t->cpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    sregs.cs = (struct kvm_segment){.limit = 0xffffffff,
                                    .selector = USER_CS,
                                    .type = 11,
                                    .present = 1,
                                    .dpl = 3,
                                    .l = 1,
                                    .s = 1,
                                    .g = 1};
    sregs.ss = sregs.cs;
    sregs.ss.selector = USER_SS;
    sregs.ss.type = 3;
    sregs.ss.l = 0;
    sregs.ss.db = 1;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    sregs.cr0 |= PE | PG;
    sregs.cr3 = PML4;
    sregs.cr4 |= PAE;
    sregs.efer |= SCE | LME | LMA;
    return kvm_ioctl(t->cpu, KVM_SET_SREGS, &sregs) >= 0 &&
           kvm_ioctl(t->cpu, KVM_SET_REGS, &regs) >= 0 &&
           kvm_set_msr(t->cpu, MSR_STAR, (uint64_t)USER_CS32 << 48 | (uint64_t)KERNEL_CS << 32) &&
           kvm_set_msr(t->cpu, MSR_LSTAR, CODE + ENTRY) && kvm_set_msr(t->cpu, MSR_FMASK, FLAGS_IF);
}

bool kvm_strays_in_syscall(void)
{
    static const uint8_t code[ENTRY + 1] = {0x0f, 0x05, [ENTRY] = 0xf4}; /* syscall; hlt */
    Trial t = nothing;
    bool strays = set_up(&t, code, sizeof(code)) && set_user_mode(&t) &&
                  kvm_ioctl_value(t.cpu, KVM_RUN, 0) >= 0 && t.run->exit_reason != KVM_EXIT_HLT;
    tear_down(&t);
    return strays;
}
