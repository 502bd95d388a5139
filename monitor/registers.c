/* SPDX-License-Identifier: GPL-2.0-or-later */
/* $register in expressions: names as in QEMU's monitor, and both widths' names. */
#include "accel/engine.h"
#include "monitor_private.h"
#include "util/error.h"

#define FIELD(reg_name, field, reg_bits)                                                           \
    {                                                                                              \
        reg_name, offsetof(CpuState, field), sizeof(((CpuState *)0)->field), reg_bits              \
    }
#define GPR(n, name64, name32) FIELD(name64, gpr[n], 64), FIELD(name32, gpr[n], 32)
#define SEGMENT(n, seg_name)                                                                       \
    FIELD(seg_name, seg[n].selector, 16), FIELD(seg_name "_limit", seg[n].limit, 32),              \
        FIELD(seg_name "_base", seg[n].base, 64)

static const struct {
    const char *name;
    size_t offset, size; /* in CpuState */
    unsigned bits;       /* what of it is shown */
} registers[] = {
    GPR(GPR_RAX, "rax", "eax"),
    GPR(GPR_RCX, "rcx", "ecx"),
    GPR(GPR_RDX, "rdx", "edx"),
    GPR(GPR_RBX, "rbx", "ebx"),
    GPR(GPR_RSP, "rsp", "esp"),
    GPR(GPR_RBP, "rbp", "ebp"),
    GPR(GPR_RSI, "rsi", "esi"),
    GPR(GPR_RDI, "rdi", "edi"),
    FIELD("sp", gpr[GPR_RSP], 64),
    FIELD("fp", gpr[GPR_RBP], 64),
    GPR(8, "r8", "r8d"),
    GPR(9, "r9", "r9d"),
    GPR(10, "r10", "r10d"),
    GPR(11, "r11", "r11d"),
    GPR(12, "r12", "r12d"),
    GPR(13, "r13", "r13d"),
    GPR(14, "r14", "r14d"),
    GPR(15, "r15", "r15d"),
    FIELD("rip", rip, 64),
    FIELD("pc", rip, 64),
    FIELD("eip", rip, 32),
    FIELD("rflags", rflags, 64),
    FIELD("eflags", rflags, 32),
    SEGMENT(SEG_ES, "es"),
    SEGMENT(SEG_CS, "cs"),
    SEGMENT(SEG_SS, "ss"),
    SEGMENT(SEG_DS, "ds"),
    SEGMENT(SEG_FS, "fs"),
    SEGMENT(SEG_GS, "gs"),
    FIELD("ldt_base", ldt.base, 64),
    FIELD("tr_base", tr.base, 64),
    FIELD("gdt_base", gdt_base, 64),
    FIELD("gdt_limit", gdt_limit, 16),
    FIELD("idt_base", idt_base, 64),
    FIELD("idt_limit", idt_limit, 16),
    FIELD("cr0", cr0, 64),
    FIELD("cr2", cr2, 64),
    FIELD("cr3", cr3, 64),
    FIELD("cr4", cr4, 64),
    FIELD("cr8", cr8, 64),
    FIELD("efer", efer, 64),
    FIELD("tsc", tsc, 64),
};

static bool unknown_register(const char *name, GError **error)
{
    const char *names[G_N_ELEMENTS(registers) + 1] = {0};

    for (unsigned i = 0; i < G_N_ELEMENTS(registers); i++)
        names[i] = registers[i].name;
    const char *nearest = nearest_word(name, names);
    return fail(error, "unknown register '$%s'%s%s%s", name, nearest ? "; did you mean '$" : "",
                nearest ? nearest : "", nearest ? "'?" : "");
}

bool mon_register(void *opaque, const char *name, uint64_t *value, GError **error)
{
    Monitor *mon = opaque;
    unsigned i = 0;

    while (i < G_N_ELEMENTS(registers) && strcmp(registers[i].name, name))
        i++;
    if (i == G_N_ELEMENTS(registers))
        return unknown_register(name, error);
    const CpuEngine *engine = machine_engine(mon->machine);
    if (!engine || !engine->pull || mon->cpu_index >= mon->machine->cpu_count)
        return fail(error, "this machine's engine has no CPUs, so no $%s", name);
    g_autofree CpuState *state = g_new0(CpuState, 1);
    if (!vcpu_get_state(mon->machine->cpus[mon->cpu_index], state))
        return fail(error, "the engine cannot tell the state of CPU %u", mon->cpu_index);
    *value = 0;
    memcpy(value, (const char *)state + registers[i].offset, registers[i].size);
    if (registers[i].bits < 64)
        *value &= (1ULL << registers[i].bits) - 1;
    return true;
}
