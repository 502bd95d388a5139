/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SYSCALL on a KVM that leaves it half done.
 *
 * Where ring 3 alone runs on the processor, there are KVMs whose SYSCALL sets RIP, RCX, R11 and
 * RFLAGS and then stays in ring 3.  A kernel's entry lies in a page that ring 3 may not execute, so
 * what the guest gets is a page fault at LSTAR.  A breakpoint of KVM's own at the guest's page
 * fault handler shows it to us before the guest sees it: the exception is undone, and vmrun's own
 * processor does the SYSCALL again.  All other page faults lose the handler's first instruction to
 * that processor, too, as KVM would meet the breakpoint again.
 *
 * Which handler that is, is looked at after each rescue: a kernel on such a KVM needs rescues by
 * the hundred before it has a user.  (AMD APM vol. 3, SYSCALL; Intel SDM vol. 3, 6.14.)
 */
#include "kvm_private.h"

#include "util/bytes.h"
#include "util/log.h"

enum { VECTOR_PF = 14, GATE_SIZE = 16, EFER_SCE = 1 };
enum { MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };
enum { PF_USER = 4, FLAGS_ONE = 2, FLAGS_RF = 1 << 16, RPL = 3, SYSCALL_SIZE = 2 };

/* What the processor pushed, upwards from RSP. */
typedef struct Frame {
    uint64_t error, rip, cs, rflags, rsp, ss;
} Frame;

static bool read_linear(KvmCpu *k, const CpuState *state, uint64_t linear, void *buf, unsigned size)
{
    enum { PAGE = 4096 };
    uint8_t *to = buf;
    while (size) {
        unsigned length = MIN(size, (unsigned)(PAGE - linear % PAGE));
        uint64_t physical;
        if (!cpu_state_translate(state, linear, &physical, kvm_read_guest, k->vm) ||
            !kvm_read_guest(k->vm, physical, to, length))
            return false;
        linear += length;
        to += length;
        size -= length;
    }
    return true;
}

/* ---- The watch ---- */

static bool strays(KvmVm *vm)
{
    int known = __atomic_load_n(&vm->stray_syscalls, __ATOMIC_RELAXED);
    if (known == KVM_UNKNOWN) {
        known = kvm_strays_in_syscall();
        __atomic_store_n(&vm->stray_syscalls, known, __ATOMIC_RELAXED);
    }
    return known;
}

/* Where the guest's 64-bit interrupt table has its page fault handler, or 0. */
static uint64_t find_handler(KvmCpu *k, const CpuState *state)
{
    uint8_t gate[GATE_SIZE];
    if (!(state->efer & EFER_SCE) || state->idt_limit < (VECTOR_PF + 1) * GATE_SIZE - 1 ||
        !read_linear(k, state, state->idt_base + VECTOR_PF * GATE_SIZE, gate, sizeof(gate)))
        return 0;
    return ld16_le(gate) | (uint64_t)ld16_le(gate + 6) << 16 | (uint64_t)ld32_le(gate + 8) << 32;
}

void kvm_syscall_watch(KvmCpu *k, const CpuState *state)
{
    if (!strays(k->vm))
        return;
    uint64_t handler = find_handler(k, state);
    if (handler == k->fault_entry)
        return;
    k->fault_entry = handler;
    if (!kvm_apply_debug(k))
        report_error("kvm: CPU %u: this KVM leaves SYSCALL in ring 3 and takes no breakpoint: the "
                     "guest's system calls will fail",
                     k->cpu->index);
}

/* ---- The exit ---- */

/* Ring 3 cannot clear IF, which every kernel masks: a mere jump to LSTAR does not pass for it. */
static bool is_stray(KvmCpu *k, const CpuState *state, const Frame *frame)
{
    uint64_t lstar, fmask;
    uint8_t code[SYSCALL_SIZE];
    if (!(frame->error & PF_USER) || (frame->cs & RPL) != RPL || frame->rip != state->cr2)
        return false;
    if (!kvm_get_msr(k->fd, MSR_LSTAR, &lstar) || lstar != frame->rip ||
        !kvm_get_msr(k->fd, MSR_FMASK, &fmask))
        return false;
    uint64_t flags = (state->gpr[11] & ~fmask) | FLAGS_ONE;
    return !((frame->rflags ^ flags) & ~(uint64_t)FLAGS_RF) &&
           read_linear(k, state, state->gpr[GPR_RCX] - SYSCALL_SIZE, code, sizeof(code)) &&
           code[0] == 0x0f && code[1] == 0x05;
}

static CpuSegment user_segment(uint64_t selector, uint16_t attr)
{
    return (CpuSegment){.selector = (uint16_t)selector,
                        .limit = UINT32_MAX,
                        .attr = attr | ATTR_S | ATTR_P | ATTR_G | ATTR_DPL};
}

/* Makes the state the one before a SYSCALL, if the exception is one that went astray. */
static void undo(KvmCpu *k, CpuState *state)
{
    enum { CODE = 11, DATA = 3 };
    uint64_t words[6];
    if (!read_linear(k, state, state->gpr[GPR_RSP], words, sizeof(words)))
        return;
    Frame frame = {words[0], words[1], words[2], words[3], words[4], words[5]};
    if (!is_stray(k, state, &frame))
        return;
    state->rip = state->gpr[GPR_RCX] - SYSCALL_SIZE;
    state->rflags = state->gpr[11];
    state->gpr[GPR_RSP] = frame.rsp;
    state->seg[SEG_CS] = user_segment(frame.cs, CODE | ATTR_L);
    state->seg[SEG_SS] = user_segment(frame.ss, DATA | ATTR_DB);
}

RunResult kvm_syscall_exit(KvmCpu *k)
{
    return kvm_rescue_mended(k, undo);
}
