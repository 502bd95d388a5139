/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between local APICs, and from devices to them (Intel SDM vol. 3, 11.6, 11.11, 11.12.10).
 */
#include "lapic_private.h"
#include "util/log.h"

enum { TO_DEST = 0, TO_SELF = 1, TO_ALL = 2, TO_OTHERS = 3 };

typedef struct Message {
    unsigned mode;
    uint8_t vector;
    bool level;
    bool logical;
    bool wide; /* dest has 32 bits */
    uint32_t dest;
    unsigned shorthand;
    const Lapic *sender; /* NULL: a device */
} Message;

uint32_t lapic_x2_ldr(const Lapic *s)
{
    return s->cpu->apic_id >> 4 << 16 | 1u << (s->cpu->apic_id & 15);
}

static bool matches_logical(const Lapic *s, uint32_t dest)
{
    if (lapic_x2(s)) {
        uint32_t ldr = lapic_x2_ldr(s);
        return dest >> 16 == ldr >> 16 && dest & ldr & 0xffff;
    }
    uint32_t ldr = s->ldr >> 24;
    if (s->dfr >> 28 == 0xf) /* flat */
        return dest & ldr;
    bool cluster = dest >> 4 == ldr >> 4 || dest >> 4 == 0xf;
    return cluster && dest & ldr & 0x0f;
}

static bool matches(const Lapic *s, const Message *m)
{
    switch (m->shorthand) {
    case TO_SELF:
        return s == m->sender;
    case TO_ALL:
        return true;
    case TO_OTHERS:
        return s != m->sender;
    }
    if (m->wide ? m->dest == UINT32_MAX : m->dest == 0xff && !m->logical)
        return true;
    return m->logical ? matches_logical(s, m->dest) : m->dest == lapic_id(s);
}

static Lapic *lapic_at(const Machine *machine, unsigned n)
{
    Vcpu *cpu = machine->cpus[n];
    Lapic *s = cpu ? (Lapic *)cpu->lapic : NULL;
    return s && s->base & BASE_ENABLED ? s : NULL;
}

/* The addressed APIC that is least busy takes a lowest-priority message. */
static void deliver_lowest(Machine *machine, const Message *m)
{
    Lapic *best = NULL;
    for (unsigned n = 0; n < machine->cpu_count; n++) {
        Lapic *s = lapic_at(machine, n);
        if (s && s->svr & SVR_ENABLED && matches(s, m) && (!best || lapic_ppr(s) < lapic_ppr(best)))
            best = s;
    }
    if (best)
        lapic_accept(best, MODE_FIXED, m->vector, m->level);
}

static void deliver(Machine *machine, const Message *m)
{
    if (!machine->cpus)
        return;
    if (m->mode == MODE_LOWEST) {
        deliver_lowest(machine, m);
        return;
    }
    for (unsigned n = 0; n < machine->cpu_count; n++) {
        Lapic *s = lapic_at(machine, n);
        if (s && matches(s, m))
            lapic_accept(s, m->mode, m->vector, m->level);
    }
}

/* Interrupts between processors are edges; a level-triggered INIT with level 0 ("INIT level
 * de-assert") only synchronised the arbitration of the old APIC bus. */
void lapic_send(Lapic *s, uint32_t icr, uint32_t dest)
{
    Message m = {
        .mode = icr >> 8 & 7,
        .vector = icr & 0xff,
        .logical = icr >> 11 & 1,
        .wide = lapic_x2(s),
        .dest = dest,
        .shorthand = icr >> 18 & 3,
        .sender = s,
    };
    bool deassert = icr >> 15 & 1 && !(icr >> 14 & 1);
    bool to_self = m.shorthand == TO_SELF || m.shorthand == TO_ALL;
    if (m.mode == MODE_INIT && deassert)
        return;
    if (m.mode <= MODE_LOWEST && m.vector < 16) {
        lapic_error(s, ESR_SEND_ILLEGAL);
        return;
    }
    if (m.mode == 3 || m.mode == MODE_EXTINT || (to_self && m.mode > MODE_LOWEST)) {
        guest_error("apic: invalid ICR 0x%08x", icr);
        return;
    }
    deliver(s->dev.machine, &m);
}

static Message message_of_msi(uint64_t address, uint32_t data)
{
    return (Message){
        .mode = data >> 8 & 7,
        .vector = data & 0xff,
        .level = data >> 15 & 1,
        .logical = address >> 2 & 1,
        .dest = address >> 12 & 0xff,
    };
}

bool lapic_msi_waits(const Machine *machine, uint64_t address, uint32_t data)
{
    Message m = message_of_msi(address, data);
    for (unsigned n = 0; machine->cpus && n < machine->cpu_count; n++) {
        const Lapic *s = lapic_at(machine, n);
        if (s && matches(s, &m) && s->irr[m.vector / 32] >> m.vector % 32 & 1)
            return true;
    }
    return false;
}

void lapic_deliver_msi(Machine *machine, uint64_t address, uint32_t data)
{
    Message m = message_of_msi(address, data);
    bool entered = loop_enter(machine->loop);
    deliver(machine, &m);
    loop_leave(machine->loop, entered);
}
