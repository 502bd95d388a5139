/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CPU's state between KVM and CpuState.
 *
 * Order of a push: the local APIC's base (in SREGS) before its registers, events after whatever
 * could raise one, and the run state last.
 */
#include "kvm_private.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"
#include "util/log.h"

/* ---- Segments ---- */

static void pull_segment(CpuSegment *to, const struct kvm_segment *from)
{
    *to = (CpuSegment){.selector = from->selector,
                       .base = from->base,
                       .limit = from->limit,
                       .unusable = from->unusable};
    to->attr = (uint16_t)(from->type | from->s << 4 | from->dpl << 5 | from->present << 7 |
                          from->avl << 12 | from->l << 13 | from->db << 14 | from->g << 15);
}

static void push_segment(struct kvm_segment *to, const CpuSegment *from)
{
    *to = (struct kvm_segment){
        .selector = from->selector,
        .base = from->base,
        .limit = from->limit,
        .unusable = from->unusable,
        .type = from->attr & ATTR_TYPE,
        .s = (from->attr & ATTR_S) != 0,
        .dpl = (from->attr & ATTR_DPL) >> 5,
        .present = (from->attr & ATTR_P) != 0,
        .avl = (from->attr & ATTR_AVL) != 0,
        .l = (from->attr & ATTR_L) != 0,
        .db = (from->attr & ATTR_DB) != 0,
        .g = (from->attr & ATTR_G) != 0,
    };
}

static void pull_sregs(CpuState *state, const struct kvm_sregs *sregs)
{
    const struct kvm_segment *segments[SEG_COUNT] = {&sregs->es, &sregs->cs, &sregs->ss,
                                                     &sregs->ds, &sregs->fs, &sregs->gs};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        pull_segment(&state->seg[i], segments[i]);
    pull_segment(&state->ldt, &sregs->ldt);
    pull_segment(&state->tr, &sregs->tr);
    state->gdt_base = sregs->gdt.base;
    state->gdt_limit = sregs->gdt.limit;
    state->idt_base = sregs->idt.base;
    state->idt_limit = sregs->idt.limit;
    state->cr0 = sregs->cr0;
    state->cr2 = sregs->cr2;
    state->cr3 = sregs->cr3;
    state->cr4 = sregs->cr4;
    state->cr8 = sregs->cr8;
    state->efer = sregs->efer;
    state->apic_base = sregs->apic_base;
}

static void fill_sregs(struct kvm_sregs *sregs, const CpuState *state)
{
    *sregs = (struct kvm_sregs){
        .gdt = {.base = state->gdt_base, .limit = state->gdt_limit},
        .idt = {.base = state->idt_base, .limit = state->idt_limit},
        .cr0 = state->cr0,
        .cr2 = state->cr2,
        .cr3 = state->cr3,
        .cr4 = state->cr4,
        .cr8 = state->cr8,
        .efer = state->efer,
        .apic_base = state->apic_base,
    };
    struct kvm_segment *segments[SEG_COUNT] = {&sregs->es, &sregs->cs, &sregs->ss,
                                               &sregs->ds, &sregs->fs, &sregs->gs};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        push_segment(segments[i], &state->seg[i]);
    push_segment(&sregs->ldt, &state->ldt);
    push_segment(&sregs->tr, &state->tr);
}

static bool push_sregs(KvmCpu *k, const CpuState *state)
{
    struct kvm_sregs sregs;
    fill_sregs(&sregs, state);
    if (state->interrupt_pending && !state->interrupt_soft)
        sregs.interrupt_bitmap[state->interrupt_vector / 64] |= 1ULL
                                                                << state->interrupt_vector % 64;
    return kvm_ioctl(k->fd, KVM_SET_SREGS, &sregs) >= 0;
}

/* ---- General registers ---- */

static void pull_regs(CpuState *state, const struct kvm_regs *regs)
{
    const uint64_t gpr[16] = {regs->rax, regs->rcx, regs->rdx, regs->rbx, regs->rsp, regs->rbp,
                              regs->rsi, regs->rdi, regs->r8,  regs->r9,  regs->r10, regs->r11,
                              regs->r12, regs->r13, regs->r14, regs->r15};
    memcpy(state->gpr, gpr, sizeof(gpr));
    state->rip = regs->rip;
    state->rflags = regs->rflags;
}

static bool push_regs(KvmCpu *k, const CpuState *state)
{
    const uint64_t *gpr = state->gpr;
    struct kvm_regs regs = {
        .rax = gpr[GPR_RAX],
        .rcx = gpr[GPR_RCX],
        .rdx = gpr[GPR_RDX],
        .rbx = gpr[GPR_RBX],
        .rsp = gpr[GPR_RSP],
        .rbp = gpr[GPR_RBP],
        .rsi = gpr[GPR_RSI],
        .rdi = gpr[GPR_RDI],
        .r8 = gpr[8],
        .r9 = gpr[9],
        .r10 = gpr[10],
        .r11 = gpr[11],
        .r12 = gpr[12],
        .r13 = gpr[13],
        .r14 = gpr[14],
        .r15 = gpr[15],
        .rip = state->rip,
        .rflags = state->rflags,
    };
    return kvm_ioctl(k->fd, KVM_SET_REGS, &regs) >= 0;
}

/* ---- FPU, XCR0, debug registers ---- */

enum {
    XSTATE_BV = 512,   /* offset of the mask of components that are not in their initial state */
    XSTATE_LEGACY = 3, /* x87 and SSE */
};

bool kvm_pull_fpu(KvmCpu *k, CpuState *state)
{
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs = {0};
    G_STATIC_ASSERT(sizeof(xsave) == CPU_XSAVE_MAX);
    if (kvm_ioctl(k->fd, KVM_GET_XSAVE, &xsave) < 0)
        return false;
    /* Components in their initial state are there, too, but not marked: so that who changes a
     * register need not mark it. */
    memcpy(state->xsave, &xsave, sizeof(xsave));
    st64_le(state->xsave + XSTATE_BV, ld64_le(state->xsave + XSTATE_BV) | XSTATE_LEGACY);
    state->xsave_size = sizeof(xsave);
    state->xcr0 = 1;
    if (k->vm->has_xcrs && kvm_ioctl(k->fd, KVM_GET_XCRS, &xcrs) >= 0)
        for (unsigned i = 0; i < xcrs.nr_xcrs; i++)
            if (xcrs.xcrs[i].xcr == 0)
                state->xcr0 = xcrs.xcrs[i].value;
    return true;
}

bool kvm_push_fpu(KvmCpu *k, const CpuState *state)
{
    struct kvm_xsave xsave = {0};
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = state->xcr0}}};
    memcpy(&xsave, state->xsave, MIN(state->xsave_size, sizeof(xsave)));
    if (kvm_ioctl(k->fd, KVM_SET_XSAVE, &xsave) < 0)
        return false;
    if (k->vm->has_xcrs)
        kvm_ioctl(k->fd, KVM_SET_XCRS, &xcrs); /* refused where the model has no XSAVE */
    return true;
}

static void pull_debugregs(KvmCpu *k, CpuState *state)
{
    struct kvm_debugregs regs;
    state->dr[6] = 0xffff0ff0;
    state->dr[7] = 0x400;
    if (!k->vm->has_debugregs || kvm_ioctl(k->fd, KVM_GET_DEBUGREGS, &regs) < 0)
        return;
    memcpy(state->dr, regs.db, sizeof(regs.db));
    state->dr[6] = regs.dr6;
    state->dr[7] = regs.dr7;
}

static void push_debugregs(KvmCpu *k, const CpuState *state)
{
    struct kvm_debugregs regs = {.dr6 = state->dr[6], .dr7 = state->dr[7]};
    memcpy(regs.db, state->dr, sizeof(regs.db));
    if (k->vm->has_debugregs)
        kvm_ioctl(k->fd, KVM_SET_DEBUGREGS, &regs);
}

/* ---- Events and run state ---- */

static bool pull_run_state(KvmCpu *k, CpuState *state)
{
    struct kvm_mp_state mp;
    if (kvm_ioctl(k->fd, KVM_GET_MP_STATE, &mp) < 0)
        return false;
    state->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    state->waiting_sipi =
        mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return true;
}

static bool push_run_state(KvmCpu *k, const CpuState *state)
{
    struct kvm_mp_state mp = {.mp_state = state->waiting_sipi ? KVM_MP_STATE_INIT_RECEIVED
                                          : state->halted     ? KVM_MP_STATE_HALTED
                                                              : KVM_MP_STATE_RUNNABLE};
    return kvm_ioctl(k->fd, KVM_SET_MP_STATE, &mp) >= 0;
}

static bool pull_events(KvmCpu *k, CpuState *state)
{
    struct kvm_vcpu_events events = {0};
    if (kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        return false;
    state->exception_pending = events.exception.injected || events.exception.pending;
    state->exception_vector = events.exception.nr;
    state->exception_has_error = events.exception.has_error_code;
    state->exception_error = events.exception.error_code;
    state->interrupt_pending = events.interrupt.injected;
    state->interrupt_vector = events.interrupt.nr;
    state->interrupt_soft = events.interrupt.soft;
    state->interrupt_shadow = events.interrupt.shadow;
    state->nmi_pending = events.nmi.injected || events.nmi.pending;
    state->nmi_masked = events.nmi.masked;
    state->smm = (events.flags & KVM_VCPUEVENT_VALID_SMM) && events.smi.smm;
    return true;
}

static bool push_events(KvmCpu *k, const CpuState *state)
{
    struct kvm_vcpu_events events = {
        .exception = {.injected = state->exception_pending,
                      .nr = state->exception_vector,
                      .has_error_code = state->exception_has_error,
                      .error_code = state->exception_error},
        .interrupt = {.injected = state->interrupt_pending,
                      .nr = state->interrupt_vector,
                      .soft = state->interrupt_soft,
                      .shadow = state->interrupt_shadow},
        .nmi = {.pending = state->nmi_pending, .masked = state->nmi_masked},
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
    };
    if (k->vm->has_smi) {
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
        events.smi.smm = state->smm;
    }
    return kvm_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &events) >= 0;
}

/* ---- The whole ---- */

bool kvm_pull(Vcpu *cpu, CpuState *state)
{
    KvmCpu *k = cpu->engine;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_lapic_state lapic;
    G_STATIC_ASSERT(sizeof(lapic.regs) == sizeof(state->apic));
    memset(state, 0, sizeof(*state));
    if (kvm_ioctl(k->fd, KVM_GET_REGS, &regs) < 0 || kvm_ioctl(k->fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    pull_regs(state, &regs);
    pull_sregs(state, &sregs);
    if (!pull_run_state(k, state) || !pull_events(k, state) || !kvm_pull_fpu(k, state) ||
        !kvm_pull_msrs(k, state))
        return false;
    pull_debugregs(k, state);
    state->apic_valid = kvm_ioctl(k->fd, KVM_GET_LAPIC, &lapic) >= 0;
    if (state->apic_valid)
        memcpy(state->apic, lapic.regs, sizeof(lapic.regs));
    return true;
}

bool kvm_push(Vcpu *cpu, const CpuState *state)
{
    KvmCpu *k = cpu->engine;
    struct kvm_lapic_state lapic;
    k->fresh = false;
    if (!push_sregs(k, state))
        return false;
    memcpy(lapic.regs, state->apic, sizeof(lapic.regs));
    if (state->apic_valid && kvm_ioctl(k->fd, KVM_SET_LAPIC, &lapic) < 0)
        return false;
    if (!push_regs(k, state) || !kvm_push_fpu(k, state) || !kvm_push_msrs(k, state))
        return false;
    push_debugregs(k, state);
    return push_events(k, state) && push_run_state(k, state);
}

/* ---- What a rescue needs ---- */

bool kvm_pull_core(KvmCpu *k, CpuState *state)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    if (kvm_ioctl(k->fd, KVM_GET_REGS, &regs) < 0 || kvm_ioctl(k->fd, KVM_GET_SREGS, &sregs) < 0 ||
        !pull_events(k, state))
        return false;
    pull_regs(state, &regs);
    pull_sregs(state, &sregs);
    pull_debugregs(k, state);
    state->halted = state->waiting_sipi = false;
    return true;
}

/* Events as KVM has them are not as they were if there were any: setting registers drops some. */
static bool same_events(const CpuState *a, const CpuState *b)
{
    return !a->exception_pending && !a->interrupt_pending && !b->exception_pending &&
           !b->interrupt_pending && a->interrupt_shadow == b->interrupt_shadow &&
           a->nmi_masked == b->nmi_masked && a->smm == b->smm;
}

static bool push_changed_sregs(KvmCpu *k, const CpuState *state, const CpuState *old, bool flush)
{
    enum { CR4_PGE = 1 << 7 };
    struct kvm_sregs before, after;
    fill_sregs(&before, old);
    fill_sregs(&after, state);
    if (flush) {
        /* Another CR4 makes KVM drop its translations. */
        before = after;
        before.cr4 ^= CR4_PGE;
        if (kvm_ioctl(k->fd, KVM_SET_SREGS, &before) < 0)
            return false;
    }
    return !memcmp(&before, &after, sizeof(after)) || kvm_ioctl(k->fd, KVM_SET_SREGS, &after) >= 0;
}

bool kvm_push_core(KvmCpu *k, const CpuState *state, const CpuState *old, bool flush)
{
    if (!push_changed_sregs(k, state, old, flush) || !push_regs(k, state))
        return false;
    if (memcmp(state->dr, old->dr, sizeof(state->dr)))
        push_debugregs(k, state);
    if (!same_events(state, old) && !push_events(k, state))
        return false;
    return !state->halted || push_run_state(k, state);
}

/* A CPU that has not run yet is as KVM made it, all but its signature in RDX. */
void kvm_cpu_reset(Vcpu *cpu)
{
    KvmCpu *k = cpu->engine;
    if (cpu->index == 0)
        kvm_routes_reset(k->vm);
    g_autofree CpuState *state = g_new(CpuState, 1);
    cpu_state_reset(state, cpu->index == 0, cpu->apic_id, k->vm->signature);
    k->run->request_interrupt_window = 0;
    k->run->ready_for_interrupt_injection = 0;
    k->seen = 0;
    if (k->fresh) {
        push_regs(k, state);
        return;
    }
    kvm_reset_msrs(k, state);
    if (!kvm_push(cpu, state))
        report_error("kvm: CPU %u cannot be reset", cpu->index);
}
