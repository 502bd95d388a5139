/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a debugger outside the guest wants of the processor: watchpoints and single instructions. */
#include "block.h"

uint64_t cpu_linear_pc(const Cpu *cpu)
{
    uint64_t pc = cpu->rip + cpu->seg[SEG_CS].base;
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? cpu->rip : (uint32_t)pc;
}

void cpu_set_watches(Cpu *cpu, const CpuWatch *watches, unsigned count, bool single)
{
    cpu->watch_count = MIN(count, CPU_WATCHES_MAX);
    for (unsigned i = 0; i < cpu->watch_count; i++)
        cpu->watches[i] = watches[i];
    cpu->watch_met = -1;
    cpu->debugged = single;
    cpu_mode_changed(cpu);
}

bool cpu_take_watch(Cpu *cpu, CpuWatch *watch)
{
    if (cpu->watch_met < 0)
        return false;
    *watch = cpu->watches[cpu->watch_met];
    cpu->watch_met = -1;
    return true;
}

void cpu_debugger_looks(Cpu *cpu, uint64_t linear, unsigned size, Access access)
{
    for (unsigned i = 0; i < cpu->watch_count; i++) {
        const CpuWatch *watch = &cpu->watches[i];
        if ((access == ACCESS_WRITE ? watch->write : watch->read) &&
            linear < watch->address + watch->length && watch->address < linear + size)
            cpu->watch_met = (int)i;
    }
}

void cpu_set_one_insn(Cpu *cpu, bool one)
{
    cpu->one_insn = one;
    cpu_mode_changed(cpu);
}
