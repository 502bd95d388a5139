/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a debugger outside the guest wants of the processor: breakpoints, watchpoints and single
 * instructions, at no cost to code and pages that have none.
 *
 * Breakpoints.  A block ends in front of an instruction with one (at its offset in any page: blocks
 * do not know under which linear address they run), and one that begins there is entered from
 * run.c's loop only, which looks.
 *
 * A debugger takes its points away whenever the guest stops and sets them again before it runs, so
 * blocks are looked at only then.
 *
 * Watchpoints.  A page that has one gets no tag in the TLB for such accesses; the slow path looks.
 * An access that meets one makes its instruction the last of the block.
 */
#include <stdlib.h>

#include "block.h"

uint64_t cpu_linear_pc(const Cpu *cpu)
{
    uint64_t pc = cpu->rip + cpu->seg[SEG_CS].base;
    return (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? cpu->rip : (uint32_t)pc;
}

/* ---- Breakpoints ---- */

void cpu_set_breaks(Cpu *cpu, const uint64_t *addresses, unsigned count)
{
    if (cpu->breaks->len == count &&
        (!count || !memcmp(cpu->breaks->data, addresses, count * sizeof(*addresses))))
        return;
    g_array_set_size(cpu->breaks, 0);
    g_array_append_vals(cpu->breaks, addresses, count);
    cpu->debug_changed = true;
}

static int compare_addresses(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

bool cpu_meets_break(Cpu *cpu)
{
    uint64_t pc = cpu_linear_pc(cpu);
    bool again = cpu->break_met == pc + 1;
    cpu->break_met = 0;
    if (again || !bsearch(&pc, cpu->breaks->data, cpu->breaks->len, sizeof(pc), compare_addresses))
        return false;
    cpu->break_met = pc + 1;
    return true;
}

void cpu_debug_changed(Cpu *cpu)
{
    uint64_t offsets[PAGE_OFFSET_WORDS] = {0};
    bool single_ops = cpu->watch_count;
    for (unsigned i = 0; i < cpu->breaks->len; i++) {
        unsigned offset = g_array_index(cpu->breaks, uint64_t, i) & 0xfff;
        offsets[offset / 64] |= 1ull << offset % 64;
    }
    blocks_split(cpu, offsets);
    if (cpu->single_ops != single_ops)
        cpu_blocks_flush(cpu);
    cpu->single_ops = single_ops;
    cpu->debug_changed = false;
}

/* ---- Watchpoints ---- */

static void set_met(Cpu *cpu, int watch)
{
    cpu->watch_met = watch;
    if (watch < 0)
        __atomic_fetch_and(&cpu->attention, ~ATTENTION_WATCH, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_or(&cpu->attention, ATTENTION_WATCH, __ATOMIC_SEQ_CST);
}

void cpu_set_watches(Cpu *cpu, const CpuWatch *watches, unsigned count, bool single)
{
    bool had = cpu->watch_count;
    cpu->watch_count = MIN(count, CPU_WATCHES_MAX);
    for (unsigned i = 0; i < cpu->watch_count; i++)
        cpu->watches[i] = watches[i];
    if (had || cpu->watch_count)
        cpu_tlb_flush(cpu, true);
    cpu->debug_changed |= had != (cpu->watch_count != 0);
    set_met(cpu, -1);
    cpu->debugged = single;
    cpu_mode_changed(cpu);
}

uint8_t cpu_watched_accesses(const Cpu *cpu, uint64_t page)
{
    uint8_t accesses = 0;
    for (unsigned i = 0; i < cpu->watch_count; i++) {
        const CpuWatch *watch = &cpu->watches[i];
        if (page <= watch->address + (watch->length - 1) && watch->address <= page + 0xfff)
            accesses |=
                (watch->read ? 1 << ACCESS_READ : 0) | (watch->write ? 1 << ACCESS_WRITE : 0);
    }
    return accesses;
}

bool cpu_take_watch(Cpu *cpu, CpuWatch *watch)
{
    if (cpu->watch_met < 0)
        return false;
    *watch = cpu->watches[cpu->watch_met];
    set_met(cpu, -1);
    return true;
}

void cpu_drop_watch(Cpu *cpu)
{
    if (cpu->watch_met >= 0)
        set_met(cpu, -1);
}

void cpu_debugger_looks(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access)
{
    int met = -1;
    for (unsigned i = 0; i < cpu->watch_count; i++) {
        const CpuWatch *watch = &cpu->watches[i];
        if ((access == ACCESS_WRITE ? watch->write : watch->read) &&
            linear <= watch->address + (watch->length - 1) && watch->address <= linear + (size - 1))
            met = (int)i;
    }
    if (met < 0)
        return;
    set_met(cpu, met);
    if (op)
        block_end_behind(cpu, op);
}

void cpu_set_one_insn(Cpu *cpu, bool one)
{
    cpu->one_insn = one;
    cpu_mode_changed(cpu);
}
