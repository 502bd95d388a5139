/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When KVM gives up on a CPU.  kvm_rescue() is the one place for an instruction that KVM does not
 * emulate: whoever can execute it would pull the state here, do so, push it and return RUN_AGAIN.
 */
#include "kvm_private.h"

#include <inttypes.h>

#include "util/log.h"

enum { MAX_INSTRUCTION = 15 };

static bool read_guest(void *opaque, uint64_t addr, void *buf, unsigned length)
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
        if (!cpu_state_translate(state, linear + i, &physical, read_guest, vm) ||
            !read_guest(vm, physical, &byte, 1))
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
    cpu_state_describe(state, k->cpu->index, registers);
    report_error("kvm: CPU %u stopped at %04x:%" PRIx64 ": %s (code: %s)\n%s", k->cpu->index,
                 state->seg[SEG_CS].selector, state->rip, why, code->str, registers->str);
    return RUN_FAILED;
}

RunResult kvm_rescue(KvmCpu *k)
{
    return kvm_give_up(k, "KVM cannot execute this instruction");
}
