/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Delivery of interrupts and exceptions: real mode's table, the gates of protected and long mode,
 * task gates, stack switches, IST; double and triple faults.  (Intel SDM vol. 3, ch. 6; 20.1.4,
 * 20.2, 20.3.3 for real and vm86 mode; vol. 2, INT n.)
 */
#include "protect.h"

#include <inttypes.h>

#include "util/log.h"

enum { ERROR_IDT = 2 };

typedef struct Event {
    unsigned vector;
    bool software; /* INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint32_t error;
    uint32_t ext;   /* the EXT bit of error codes: not the program's own INT */
    uint32_t flags; /* to be pushed */
} Event;

typedef struct Gate {
    unsigned type;
    uint16_t selector;
    uint64_t offset;
    unsigned ist;
    unsigned size; /* bytes of a slot on the stack */
    bool trap;     /* IF stays */
} Gate;

/* ---- Common ---- */

/* RF of the pushed flags: set by faults, so that an instruction breakpoint does not hit again
 * (SDM vol. 3, 17.3.1.1). */
static uint32_t pushed_flags(const Cpu *cpu, unsigned vector, EventKind kind)
{
    static const uint32_t faults = 1u << EXC_DE | 1u << EXC_BR | 1u << EXC_UD | 1u << EXC_NM |
                                   1u << EXC_TS | 1u << EXC_NP | 1u << EXC_SS | 1u << EXC_GP |
                                   1u << EXC_PF | 1u << EXC_MF | 1u << EXC_AC | 1u << EXC_XM |
                                   1u << EXC_MF_OLD;
    bool fault = kind == EVENT_EXCEPTION && vector < 32 && (faults >> vector & 1);
    return cpu_rflags(cpu) | (fault ? EFL_RF : 0);
}

static void log_event(const Cpu *cpu, unsigned vector, EventKind kind, bool has_error,
                      uint32_t error)
{
    static const char *const kinds[] = {"exception", "INT", "INT1", "interrupt"};
    if (!log_on(LOG_INT))
        return;
    char text[24] = "";
    if (has_error)
        g_snprintf(text, sizeof(text), " error %04x", error);
    log_write("int: CPU %u: %s %02x%s cpl %u at %04x:%" PRIx64 " sp %04x:%" PRIx64 " ax %" PRIx64
              " cr2 %" PRIx64,
              cpu->vcpu->index, kinds[kind], vector, text, cpu->cpl, cpu->seg[SEG_CS].selector,
              cpu->rip, cpu->seg[SEG_SS].selector, cpu->gpr[GPR_RSP], cpu->gpr[GPR_RAX], cpu->cr2);
}

/* The flags in the handler. */
static void enter_flags(Cpu *cpu, bool trap)
{
    cpu->eflags &= ~(uint32_t)(EFL_TF | EFL_NT | EFL_RF | EFL_VM | (trap ? 0 : EFL_IF));
}

/* ---- Real mode ---- */

static void deliver_real(Cpu *cpu, const Op *op, const Event *event)
{
    if (event->vector * 4 + 3 > cpu->idt_limit)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    uint32_t target = (uint32_t)cpu_load_system(cpu, op, cpu->idt_base + event->vector * 4, 4);
    uint16_t rip = (uint16_t)target;
    Stack stack = frame_current(cpu, 0);
    frame_need(cpu, op, &stack, 3, 2);
    if (rip > cpu->seg[SEG_CS].limit)
        cpu_fault_code(cpu, op, EXC_GP, 0);
    frame_map(cpu, op, &stack, 6);
    frame_push(cpu, op, &stack, 2, event->flags);
    frame_push(cpu, op, &stack, 2, cpu->seg[SEG_CS].selector);
    frame_push(cpu, op, &stack, 2, cpu->rip);
    frame_commit(cpu, &stack);
    cpu->rip = rip;
    cpu->eflags &= ~(uint32_t)(EFL_TF | EFL_IF | EFL_RF | EFL_AC);
    cpu_load_segment_real(cpu, SEG_CS, (uint16_t)(target >> 16));
}

/* ---- Gates ---- */

static G_GNUC_NORETURN void bad_gate(Cpu *cpu, const Op *op, unsigned vector, const Event *event)
{
    cpu_fault_code(cpu, op, vector, event->vector * 8 | ERROR_IDT | event->ext);
}

static bool gate_type_ok(const Cpu *cpu, unsigned type)
{
    if (type == TYPE_INT32 || type == TYPE_TRAP32)
        return true;
    return !in_long(cpu) && (type == TYPE_INT16 || type == TYPE_TRAP16 || type == TYPE_TASK_GATE);
}

static void read_gate(Cpu *cpu, const Op *op, const Event *event, Gate *gate)
{
    bool wide = in_long(cpu);
    unsigned size = wide ? 16 : 8;
    if (event->vector * size + size - 1 > cpu->idt_limit)
        bad_gate(cpu, op, EXC_GP, event);
    uint64_t address = cpu->idt_base + event->vector * size;
    uint64_t low = cpu_load_system(cpu, op, address, 8);
    uint64_t high = wide ? cpu_load_system(cpu, op, address + 8, 8) : 0;
    uint16_t attr = low >> 40 & 0xff;
    gate->type = attr_system_type(attr);
    if (!gate_type_ok(cpu, gate->type) || (event->software && attr_dpl(attr) < cpu->cpl))
        bad_gate(cpu, op, EXC_GP, event);
    if (!(attr & ATTR_P))
        bad_gate(cpu, op, EXC_NP, event);
    bool narrow = gate->type == TYPE_INT16 || gate->type == TYPE_TRAP16;
    gate->selector = (uint16_t)(low >> 16);
    gate->offset = (low & 0xffff) | (narrow ? 0 : low >> 32 & 0xffff0000) | high << 32;
    gate->ist = wide ? low >> 32 & 7 : 0;
    gate->size = wide ? 8 : narrow ? 2 : 4;
    gate->trap = gate->type & 1;
}

static void read_code(Cpu *cpu, const Op *op, const Event *event, const Gate *gate,
                      Descriptor *code)
{
    uint32_t error = selector_error(gate->selector, event->ext);
    if (selector_is_null(gate->selector))
        cpu_fault_code(cpu, op, EXC_GP, event->ext);
    if (!descriptor_read(cpu, op, gate->selector, code) || !attr_is_code(code->attr) ||
        attr_dpl(code->attr) > cpu->cpl)
        cpu_fault_code(cpu, op, EXC_GP, error);
    if (in_long(cpu) && (code->attr & (ATTR_L | ATTR_DB)) != ATTR_L)
        cpu_fault_code(cpu, op, EXC_GP, error);
    if (!(code->attr & ATTR_P))
        cpu_fault_code(cpu, op, EXC_NP, error);
    /* From vm86 mode only to privilege 0 proper. */
    if (in_vm86(cpu) && ((code->attr & TYPE_CONFORMING) || attr_dpl(code->attr)))
        cpu_fault_code(cpu, op, EXC_GP, error);
}

static Stack choose_stack(Cpu *cpu, const Op *op, const Event *event, const Gate *gate,
                          unsigned cpl, CpuSegment *ss)
{
    bool inner = cpl < cpu->cpl;
    if (in_long(cpu)) {
        Stack stack = inner || gate->ist ? frame_inner64(cpu, op, cpl, gate->ist, event->ext)
                                         : frame_current(cpu, event->ext);
        if (inner)
            *ss = null_segment((uint16_t)cpl, cpl);
        stack.flat = true;
        stack.mask = UINT64_MAX;
        stack.sp = (inner || gate->ist ? stack.sp : cpu->gpr[GPR_RSP]) & ~15ull;
        return stack;
    }
    return inner ? frame_inner(cpu, op, cpl, event->ext, ss) : frame_current(cpu, event->ext);
}

static void push_frame(Cpu *cpu, const Op *op, const Event *event, Stack *stack, unsigned size,
                       bool with_stack)
{
    static const uint8_t data_segments[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    if (in_vm86(cpu))
        for (unsigned i = 0; i < 4; i++)
            frame_push(cpu, op, stack, size, cpu->seg[data_segments[i]].selector);
    if (with_stack) {
        frame_push(cpu, op, stack, size, cpu->seg[SEG_SS].selector);
        frame_push(cpu, op, stack, size, cpu->gpr[GPR_RSP]);
    }
    frame_push(cpu, op, stack, size, event->flags);
    frame_push(cpu, op, stack, size, cpu->seg[SEG_CS].selector);
    frame_push(cpu, op, stack, size, cpu->rip);
    if (event->has_error)
        frame_push(cpu, op, stack, size, event->error);
}

static void leave_vm86(Cpu *cpu)
{
    static const uint8_t data_segments[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < 4; i++)
        cpu->seg[data_segments[i]] = null_segment(0, 0);
}

/* An event through an interrupt or trap gate. */
static void enter_gate(Cpu *cpu, const Op *op, const Event *event, const Gate *gate)
{
    Descriptor code;
    CpuSegment ss = cpu->seg[SEG_SS];
    read_code(cpu, op, event, gate, &code);
    unsigned cpl = code.attr & TYPE_CONFORMING ? cpu->cpl : attr_dpl(code.attr);
    bool inner = cpl < cpu->cpl, with_stack = inner || in_long(cpu);
    Stack stack = choose_stack(cpu, op, event, gate, cpl, &ss);
    unsigned slots = 3 + (with_stack ? 2 : 0) + (in_vm86(cpu) ? 4 : 0) + event->has_error;
    frame_need(cpu, op, &stack, slots, gate->size);
    check_target(cpu, op, &code, gate->offset, event->ext);
    descriptor_touch(cpu, op, &code);
    frame_map(cpu, op, &stack, slots * gate->size);
    push_frame(cpu, op, event, &stack, gate->size, with_stack);
    if (in_vm86(cpu))
        leave_vm86(cpu);
    commit_code(cpu, gate->selector, &code, cpl);
    cpu->seg[SEG_SS] = ss;
    frame_commit(cpu, &stack);
    cpu->rip = gate->offset;
    enter_flags(cpu, gate->trap);
    cpu_mode_changed(cpu);
}

static void deliver_protected(Cpu *cpu, const Op *op, const Event *event)
{
    Gate gate;
    read_gate(cpu, op, event, &gate);
    if (gate.type != TYPE_TASK_GATE) {
        enter_gate(cpu, op, event, &gate);
        return;
    }
    task_switch(cpu, op, gate.selector, TASK_EVENT, event->ext, cpu->rip, event->flags);
    if (event->has_error)
        task_push_error(cpu, event->error);
    cpu_mode_changed(cpu);
}

/* ---- Entry ---- */

void cpu_deliver(Cpu *cpu, const Op *op, unsigned vector, EventKind kind, bool has_error,
                 uint32_t error)
{
    log_event(cpu, vector, kind, has_error, error);
    Event event = {.vector = vector,
                   .software = kind == EVENT_SOFTWARE,
                   .has_error = has_error,
                   .error = error,
                   .ext = kind != EVENT_SOFTWARE,
                   .flags = pushed_flags(cpu, vector, kind)};
    cpu->delivering = kind == EVENT_EXCEPTION ? (int)vector : -1;
    cpu->debug_pending = 0;
    if (cpu->cr0 & CR0_PE)
        deliver_protected(cpu, op, &event);
    else
        deliver_real(cpu, op, &event);
    if (vector == EXC_DB && kind == EVENT_EXCEPTION) {
        cpu->dr[7] &= ~(1ull << 13); /* GD: the handler may use the debug registers */
        cpu->debugctl &= ~(uint64_t)(DEBUGCTL_LBR | DEBUGCTL_BTF); /* SDM vol. 3, 17.4.3, 17.4.4 */
    }
    cpu->delivering = -1;
    cpu->interrupt_shadow = SHADOW_NONE;
}

/* ---- Faults during delivery (SDM vol. 3, table 6-5) ---- */

static bool is_contributory(unsigned vector)
{
    return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP);
}

enum { SHUTDOWN = 256 };

/* What the two make: EXC_DF, SHUTDOWN, or the second. */
static unsigned combine(int first, unsigned second)
{
    bool serious = is_contributory(second) || second == EXC_PF;
    if (first == EXC_DF && serious)
        return SHUTDOWN;
    if (first == EXC_PF && serious)
        return EXC_DF;
    if (first >= 0 && is_contributory((unsigned)first) && is_contributory(second))
        return EXC_DF;
    return second;
}

/* In a row, until one of them reaches its handler. */
enum { MOST_DELIVERY_FAULTS = 16 };

/*
 * Benign exceptions make no double fault: #AC whose handler runs in ring 3, on the very stack that
 * is not aligned, follows itself.  A real processor is at that for ever, deaf to all but RESET
 * (CVE-2015-5307); this one shuts down.
 */
bool cpu_deliver_fault(Cpu *cpu)
{
    unsigned vector = combine(cpu->delivering, cpu->fault.vector);
    cpu->delivery_faults = cpu->delivering >= 0 ? cpu->delivery_faults + 1 : 0;
    if (vector == SHUTDOWN || cpu->delivery_faults > MOST_DELIVERY_FAULTS) {
        log_printf(LOG_INT, "int: CPU %u: triple fault at %04x:%" PRIx64, cpu->vcpu->index,
                   cpu->seg[SEG_CS].selector, cpu->rip);
        cpu->delivering = -1;
        return false;
    }
    if (vector != cpu->fault.vector)
        cpu_deliver(cpu, NULL, EXC_DF, EVENT_EXCEPTION, true, 0);
    else
        cpu_deliver(cpu, NULL, vector, EVENT_EXCEPTION, cpu->fault.has_error, cpu->fault.error);
    return true;
}

void cpu_shutdown(Cpu *cpu, const Op *op)
{
    cpu->delivering = EXC_DF;
    cpu_fault_code(cpu, op, EXC_GP, 0);
}
