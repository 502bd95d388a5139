/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Breakpoints, watchpoints and single step by KVM_SET_GUEST_DEBUG.  (Linux
 * Documentation/virt/kvm/api.rst, 4.87; Intel SDM vol. 3, 17.2.)
 *
 * Points go into the processor's four debug registers, watchpoints and hardware breakpoints first.
 * Breakpoints that find none free are INT3 instructions in the guest's memory.  Where SYSCALL goes
 * astray (syscall.c) the last register is not the debugger's.
 */
#include "kvm_private.h"

#include "util/log.h"

enum { DR6_STEP = 1 << 14, DR7_ONE = 1 << 10, INT3 = 0xcc, VECTOR_DB = 1, VECTOR_BP = 3 };
enum { REGISTERS = 4 };

/* ---- INT3 in memory ---- */

static KvmPatch *find_patch(KvmVm *vm, uint64_t address)
{
    for (unsigned i = 0; i < vm->patches->len; i++) {
        KvmPatch *patch = &g_array_index(vm->patches, KvmPatch, i);
        if (patch->address == address)
            return patch;
    }
    return NULL;
}

/* Breakpoints may stand in firmware, too, which the guest cannot write. */
static bool write_code(AddressSpace *mem, uint64_t physical, uint8_t byte)
{
    uint64_t length = 1;
    if (dma_write(mem, physical, &byte, 1) == MEM_OK)
        return true;
    uint8_t *host = dma_map(mem, physical, &length, false);
    if (!host)
        return false;
    *host = byte;
    dma_unmap(mem, host, 0);
    return true;
}

static bool add_patch(KvmCpu *k, uint64_t address)
{
    AddressSpace *mem = &k->vm->machine->mem;
    KvmPatch patch = {.address = address};
    if (find_patch(k->vm, address))
        return true;
    g_autofree CpuState *state = g_new0(CpuState, 1);
    if (!kvm_pull(k->cpu, state) ||
        !cpu_state_translate(state, address, &patch.physical, kvm_read_guest, k->vm) ||
        dma_read(mem, patch.physical, &patch.byte, 1) != MEM_OK ||
        !write_code(mem, patch.physical, INT3))
        return false;
    g_array_append_val(k->vm->patches, patch);
    return true;
}

static void remove_patch(KvmVm *vm, unsigned i)
{
    const KvmPatch *patch = &g_array_index(vm->patches, KvmPatch, i);
    uint8_t byte;
    /* The guest may have loaded something else there. */
    if (dma_read(&vm->machine->mem, patch->physical, &byte, 1) == MEM_OK && byte == INT3)
        write_code(&vm->machine->mem, patch->physical, patch->byte);
    g_array_remove_index_fast(vm->patches, i);
}

/* ---- Debug registers ---- */

typedef struct Plan {
    struct kvm_guest_debug debug;
    unsigned registers, used;
    uint64_t int3[DEBUG_POINTS_MAX];
    unsigned int3_count;
} Plan;

static void set_register(struct kvm_guest_debug *debug, unsigned n, uint64_t address,
                         unsigned length, unsigned type)
{
    static const uint8_t lengths[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
    debug->control |= KVM_GUESTDBG_USE_HW_BP;
    debug->arch.debugreg[n] = address;
    debug->arch.debugreg[7] |=
        DR7_ONE | 2ULL << n * 2 | (uint64_t)(type | lengths[length] << 2) << (16 + n * 4);
}

static bool take_register(Plan *plan, uint64_t address, unsigned length, unsigned type)
{
    if (plan->used == plan->registers)
        return false;
    set_register(&plan->debug, plan->used++, address, length, type);
    return true;
}

/* Debug registers watch 1, 2, 4 or 8 aligned bytes; other ranges take several. */
static bool watch(Plan *plan, const DebugPoint *point)
{
    unsigned type = point->kind == DEBUG_WRITE ? 1 : 3;
    uint64_t address = point->address, left = point->length;
    while (left) {
        unsigned length = 8;
        while (length > left || address % length)
            length /= 2;
        if (!take_register(plan, address, length, type))
            return false;
        address += length;
        left -= length;
    }
    return true;
}

static bool make_plan(Plan *plan, const DebugState *state)
{
    plan->debug.control = state->single_step ? KVM_GUESTDBG_SINGLESTEP : 0;
    for (unsigned i = 0; i < state->count; i++) {
        const DebugPoint *point = &state->points[i];
        if (point->kind == DEBUG_HW_BREAK ? !take_register(plan, point->address, 1, 0)
                                          : point->kind != DEBUG_BREAK && !watch(plan, point))
            return false;
    }
    for (unsigned i = 0; i < state->count && i < DEBUG_POINTS_MAX; i++)
        if (state->points[i].kind == DEBUG_BREAK &&
            !take_register(plan, state->points[i].address, 1, 0)) {
            plan->debug.control |= KVM_GUESTDBG_USE_SW_BP;
            plan->int3[plan->int3_count++] = state->points[i].address;
        }
    if (plan->debug.control)
        plan->debug.control |= KVM_GUESTDBG_ENABLE;
    return true;
}

static bool wanted(const Plan *plan, uint64_t address)
{
    for (unsigned i = 0; i < plan->int3_count; i++)
        if (plan->int3[i] == address)
            return true;
    return false;
}

static bool carry_out(KvmCpu *k, Plan *plan)
{
    KvmVm *vm = k->vm;
    for (unsigned i = vm->patches->len; i-- > 0;)
        if (!wanted(plan, g_array_index(vm->patches, KvmPatch, i).address))
            remove_patch(vm, i);
    for (unsigned i = 0; i < plan->int3_count; i++)
        if (!add_patch(k, plan->int3[i]))
            return false;
#ifdef KVM_GUESTDBG_BLOCKIRQ
    if (plan->debug.control & KVM_GUESTDBG_SINGLESTEP &&
        kvm_check(vm->fd, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ)
        plan->debug.control |= KVM_GUESTDBG_BLOCKIRQ;
#endif
    k->debug = plan->debug;
    return kvm_apply_debug(k);
}

bool kvm_apply_debug(KvmCpu *k)
{
    struct kvm_guest_debug debug = k->debug;
    if (k->fault_entry) {
        set_register(&debug, REGISTERS - 1, k->fault_entry, 1, 0);
        debug.control |= KVM_GUESTDBG_ENABLE;
    }
    return kvm_ioctl(k->fd, KVM_SET_GUEST_DEBUG, &debug) >= 0;
}

static Plan *plan_new(KvmCpu *k)
{
    Plan *plan = g_new0(Plan, 1);
    bool strays = __atomic_load_n(&k->vm->stray_syscalls, __ATOMIC_RELAXED) > 0;
    plan->registers = strays ? REGISTERS - 1 : REGISTERS;
    return plan;
}

bool kvm_set_debug(Vcpu *cpu, const DebugState *state)
{
    KvmCpu *k = cpu->engine;
    g_autofree Plan *plan = plan_new(k);
    if (make_plan(plan, state) && carry_out(k, plan))
        return true;
    memset(plan, 0, sizeof(*plan));
    carry_out(k, plan);
    return false;
}

/* ---- The exit ---- */

static RunResult stop(KvmCpu *k, DebugStop why, uint64_t address)
{
    k->cpu->debug_stop = why;
    k->cpu->debug_address = address;
    return RUN_DEBUG;
}

/* An exception that the guest made for itself. */
static RunResult give_back(KvmCpu *k, unsigned vector)
{
    struct kvm_vcpu_events events;
    if (kvm_ioctl(k->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
        return kvm_give_up(k, "the state of its events cannot be read");
    events.exception.injected = 1;
    events.exception.nr = (uint8_t)vector;
    events.exception.has_error_code = 0;
    if (kvm_ioctl(k->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
        return kvm_give_up(k, "a debug exception cannot be given back to the guest");
    return RUN_AGAIN;
}

RunResult kvm_debug_exit(KvmCpu *k)
{
    const struct kvm_debug_exit_arch *exit = &k->run->debug.arch;
    if (exit->exception == VECTOR_BP)
        return find_patch(k->vm, exit->pc) ? stop(k, STOP_BREAK, exit->pc)
                                           : give_back(k, VECTOR_BP);
    if (k->debug.control & KVM_GUESTDBG_USE_HW_BP)
        for (unsigned n = 0; n < REGISTERS; n++) {
            uint64_t dr7 = k->debug.arch.debugreg[7];
            if (!(exit->dr6 & 1u << n) || !(dr7 & 2ULL << n * 2))
                continue;
            unsigned type = dr7 >> (16 + n * 4) & 3;
            return stop(k,
                        type == 0   ? STOP_BREAK
                        : type == 1 ? STOP_WRITE
                                    : STOP_ACCESS,
                        k->debug.arch.debugreg[n]);
        }
    if (k->debug.control & KVM_GUESTDBG_SINGLESTEP && exit->dr6 & DR6_STEP)
        return stop(k, STOP_STEP, 0);
    if (k->fault_entry && exit->pc == k->fault_entry && exit->dr6 & 1u << (REGISTERS - 1))
        return kvm_syscall_exit(k);
    return give_back(k, VECTOR_DB);
}

/* There are hosts whose KVM emulates all of ring 0 and has no INT3. */
bool kvm_debug_failed_int3(KvmCpu *k)
{
    if (!k->vm->patches->len)
        return false;
    g_autofree CpuState *state = g_new0(CpuState, 1);
    if (!kvm_pull(k->cpu, state))
        return false;
    uint64_t linear = state->rip + (cpu_state_code_bits(state) == 64 ? 0 : state->seg[SEG_CS].base);
    if (!find_patch(k->vm, linear))
        return false;
    stop(k, STOP_BREAK, linear);
    return true;
}
