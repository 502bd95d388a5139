/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exclusive sections: one CPU works while all others stand between two blocks.  So a LOCKed access
 * is atomic where the host cannot make it so: across pages, and in devices; across cache lines,
 * where the host's split lock would stall all of it, or be forbidden.  They are rare.
 *
 * A CPU is `executing` from cpu_run() to its return, but for where it waits here.  Who wants the
 * section becomes its owner, asks all executing CPUs by ATTENTION_STALL, and waits until none is.
 * The owner's `wanted` and a CPU's `executing` are stored before the other's is loaded, each in
 * sequential consistency: a CPU that has not seen `wanted` is seen.
 *
 * Nothing that a CPU holds between blocks keeps the owner from going on: no lock, no RCU section.
 * Inside of a block it may wait for the main lock, whose holders never wait for a CPU without
 * giving it up.
 */
#include "block.h"

static struct {
    GMutex lock;
    GCond parked; /* a CPU executes no longer */
    GCond over;   /* there is no owner any more */
    GPtrArray *cpus;
    const Cpu *owner;
    bool wanted; /* atomic: there is an owner */
} section;

void exclusive_join(Cpu *cpu)
{
    g_mutex_lock(&section.lock);
    if (!section.cpus)
        section.cpus = g_ptr_array_new();
    g_ptr_array_add(section.cpus, cpu);
    g_mutex_unlock(&section.lock);
}

void exclusive_part(Cpu *cpu)
{
    g_mutex_lock(&section.lock);
    g_ptr_array_remove(section.cpus, cpu);
    g_mutex_unlock(&section.lock);
}

static void set_executing(Cpu *cpu, bool executing)
{
    __atomic_store_n(&cpu->executing, executing, __ATOMIC_SEQ_CST);
}

/* With the lock: until there is no owner. */
static void wait_over(Cpu *cpu)
{
    set_executing(cpu, false);
    g_cond_broadcast(&section.parked);
    while (section.owner)
        g_cond_wait(&section.over, &section.lock);
    __atomic_fetch_and(&cpu->attention, ~(uint32_t)ATTENTION_STALL, __ATOMIC_SEQ_CST);
}

void exclusive_park(Cpu *cpu)
{
    fpu_leave(cpu);
    g_mutex_lock(&section.lock);
    wait_over(cpu);
    set_executing(cpu, true);
    g_mutex_unlock(&section.lock);
}

void exclusive_enter(Cpu *cpu)
{
    set_executing(cpu, true);
    if (G_UNLIKELY(__atomic_load_n(&section.wanted, __ATOMIC_SEQ_CST)))
        exclusive_park(cpu);
}

void exclusive_leave(Cpu *cpu)
{
    set_executing(cpu, false);
    if (G_LIKELY(!__atomic_load_n(&section.wanted, __ATOMIC_SEQ_CST)))
        return;
    g_mutex_lock(&section.lock);
    g_cond_broadcast(&section.parked);
    g_mutex_unlock(&section.lock);
}

/* With the lock. */
static bool others_execute(const Cpu *cpu)
{
    for (guint i = 0; i < section.cpus->len; i++) {
        const Cpu *other = g_ptr_array_index(section.cpus, i);
        if (other != cpu && __atomic_load_n(&other->executing, __ATOMIC_SEQ_CST))
            return true;
    }
    return false;
}

void cpu_exclusive_begin(Cpu *cpu)
{
    /* Events that come with a state are delivered while the CPU does not run (context.c). */
    if (!cpu->executing)
        return;
    fpu_leave(cpu);
    g_mutex_lock(&section.lock);
    wait_over(cpu);
    section.owner = cpu;
    cpu->exclusive = true;
    __atomic_store_n(&section.wanted, true, __ATOMIC_SEQ_CST);
    for (guint i = 0; i < section.cpus->len; i++) {
        Cpu *other = g_ptr_array_index(section.cpus, i);
        if (other != cpu && __atomic_load_n(&other->executing, __ATOMIC_SEQ_CST))
            __atomic_fetch_or(&other->attention, ATTENTION_STALL, __ATOMIC_SEQ_CST);
    }
    while (others_execute(cpu))
        g_cond_wait(&section.parked, &section.lock);
    g_mutex_unlock(&section.lock);
}

void cpu_exclusive_end(Cpu *cpu)
{
    if (!cpu->exclusive)
        return;
    g_mutex_lock(&section.lock);
    section.owner = NULL;
    cpu->exclusive = false;
    __atomic_store_n(&section.wanted, false, __ATOMIC_SEQ_CST);
    set_executing(cpu, true);
    g_cond_broadcast(&section.over);
    g_mutex_unlock(&section.lock);
}
