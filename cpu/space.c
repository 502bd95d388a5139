/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces: what is known of translations, and of blocks by linear address, one set a PCID
 * (Intel SDM vol. 3, 4.10).  So a guest that keeps its translations over a change of CR3 keeps them
 * here, too.  The CPU looks into one at a time; a PCID beyond the last takes over the set that was
 * left longest ago.
 *
 * A set's global entries hold for any PCID, so they stay when it changes hands.  What is
 * invalidated by INVLPG concerns them everywhere: for other sets such pages are noted, and dropped
 * when the CPU comes back.
 */
#include "block.h"

enum { STALE_MAX = 32 };

struct Space {
    Translations t;
    JumpEntry jumps[JUMP_ENTRIES];
    TlbFills jump_fills[2];    /* not global, global */
    uint64_t stale[STALE_MAX]; /* pages that were invalidated from another one */
    unsigned stale_count;      /* over STALE_MAX: everything */
    uint16_t pcid;
    uint64_t left; /* when, in changes of the space */
};

static inline unsigned slot_of(uint64_t linear)
{
    return linear >> 12 & (TLB_ENTRIES - 1);
}

/* ---- Blocks by linear address ---- */

static void jumps_clear(JumpEntry *entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        entries[i] = (JumpEntry){0, &block_none};
}

void jumps_add(Cpu *cpu, uint64_t pc, const Block *block, bool global)
{
    unsigned slot = jump_slot(pc);
    TlbFills *fills = &cpu->space->jump_fills[global];
    cpu->jumps[slot] = (JumpEntry){pc, block};
    if (fills->count < TLB_FILLS)
        fills->slot[fills->count] = (uint16_t)slot;
    fills->count++;
}

static void jumps_flush(Space *space, bool global)
{
    TlbFills *fills = space->jump_fills;
    bool any = fills[0].count || fills[1].count;
    if ((global && any) || fills[0].count > TLB_FILLS) {
        jumps_clear(space->jumps, JUMP_ENTRIES);
        fills[1].count = 0;
    } else {
        for (unsigned i = 0; i < fills[0].count; i++)
            jumps_clear(&space->jumps[fills[0].slot[i]], 1);
    }
    fills[0].count = 0;
}

static void jumps_flush_page(Space *space, uint64_t linear)
{
    jumps_clear(&space->jumps[jump_page(linear)], JUMP_PER_PAGE);
    /* An instruction may reach into the page from the one before. */
    jumps_clear(&space->jumps[jump_page(linear - 0x1000)], JUMP_PER_PAGE);
}

void spaces_forget_blocks(Cpu *cpu)
{
    cpu->link_from = NULL;
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++)
        jumps_flush(cpu->spaces[i], true);
}

/* ---- Translations ---- */

static void entry_clear(Space *space, unsigned table, unsigned slot)
{
    TlbEntry *entry = &space->t.tables[table][slot];
    entry->read = entry->write = entry->exec = TLB_NONE;
    space->t.infos[table][slot].page = TLB_NONE;
}

static void clear_all(Space *space)
{
    for (unsigned table = 0; table < TLB_TABLES; table++)
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            entry_clear(space, table, slot);
    space->t.fills[0].count = space->t.fills[1].count = 0;
}

static void clear_filled(Space *space, TlbFills *fills)
{
    for (unsigned i = 0; i < fills->count; i++)
        entry_clear(space, fills->slot[i] / TLB_ENTRIES, fills->slot[i] % TLB_ENTRIES);
    fills->count = 0;
}

static void flush(Space *space, bool global)
{
    TlbFills *fills = space->t.fills;
    if (fills[0].count > TLB_FILLS || (global && fills[1].count > TLB_FILLS)) {
        clear_all(space);
    } else {
        clear_filled(space, &fills[0]);
        if (global)
            clear_filled(space, &fills[1]);
    }
    if (global) {
        memset(space->t.large_pages, 0, sizeof(space->t.large_pages));
        space->t.huge_pages = false;
        space->stale_count = 0;
    }
    jumps_flush(space, global);
}

static inline unsigned area_of(uint64_t linear)
{
    return (linear >> 21 ^ linear >> 31) & 1023;
}

void space_note_large(Cpu *cpu, uint64_t linear, unsigned size_bits)
{
    Translations *t = &cpu->space->t;
    t->huge_pages |= size_bits == 30;
    for (unsigned i = 0; i < (size_bits == 22 ? 2 : 1); i++) {
        unsigned area = area_of(linear ^ (uint64_t)i << 21);
        t->large_pages[area / 64] |= 1ull << area % 64;
    }
}

static void flush_page(Space *space, uint64_t linear)
{
    Translations *t = &space->t;
    unsigned area = area_of(linear);
    /* Pieces of a large page may be anywhere in the tables. */
    if (t->huge_pages) {
        flush(space, true);
        return;
    }
    if (t->large_pages[area / 64] >> area % 64 & 1) {
        for (unsigned table = 0; table < TLB_TABLES; table++)
            for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
                if (t->infos[table][slot].large &&
                    !((t->infos[table][slot].page ^ linear) & ~0x3fffffull))
                    entry_clear(space, table, slot);
        jumps_flush(space, true);
    }
    for (unsigned table = 0; table < TLB_TABLES; table++)
        if (t->infos[table][slot_of(linear)].page == (linear & PAGE_MASK))
            entry_clear(space, table, slot_of(linear));
    jumps_flush_page(space, linear);
}

/* ---- The CPU's ---- */

void cpu_tlb_flush(Cpu *cpu, bool global)
{
    cpu->link_from = NULL;
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++)
        if (global || cpu->spaces[i] == cpu->space)
            flush(cpu->spaces[i], global);
}

void cpu_tlb_flush_local(Cpu *cpu)
{
    cpu->link_from = NULL;
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++)
        flush(cpu->spaces[i], false);
}

static void note_stale(Space *space, uint64_t linear)
{
    if (space->stale_count < STALE_MAX)
        space->stale[space->stale_count] = linear;
    space->stale_count++;
}

void cpu_tlb_flush_page(Cpu *cpu, uint64_t linear)
{
    cpu->link_from = NULL;
    flush_page(cpu->space, linear);
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++)
        if (cpu->spaces[i] != cpu->space)
            note_stale(cpu->spaces[i], linear);
}

static Space *find(const Cpu *cpu, uint16_t pcid)
{
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++)
        if (cpu->spaces[i]->pcid == pcid)
            return cpu->spaces[i];
    return NULL;
}

void cpu_tlb_flush_pcid(Cpu *cpu, uint16_t pcid, const uint64_t *linear)
{
    Space *space = find(cpu, pcid);
    if (!space)
        return;
    if (!linear)
        flush(space, false);
    else if (space == cpu->space)
        flush_page(space, *linear);
    else
        note_stale(space, *linear);
    cpu->link_from = NULL;
}

/* ---- Changing it ---- */

static Space *new_space(void)
{
    Space *space = g_new0(Space, 1);
    clear_all(space);
    jumps_clear(space->jumps, JUMP_ENTRIES);
    return space;
}

/* A set for a PCID that has none. */
static Space *take_over(Cpu *cpu, uint16_t pcid)
{
    Space *oldest = NULL;
    for (unsigned i = 0; i < SPACES; i++) {
        if (!cpu->spaces[i]) {
            cpu->spaces[i] = new_space();
            cpu->spaces[i]->pcid = pcid;
            return cpu->spaces[i];
        }
        if (cpu->spaces[i] != cpu->space && (!oldest || cpu->spaces[i]->left < oldest->left))
            oldest = cpu->spaces[i];
    }
    flush(oldest, false);
    oldest->pcid = pcid;
    return oldest;
}

static void drop_stale(Space *space)
{
    unsigned count = space->stale_count;
    space->stale_count = 0;
    if (count > STALE_MAX)
        flush(space, true);
    else
        for (unsigned i = 0; i < count; i++)
            flush_page(space, space->stale[i]);
}

void space_select(Cpu *cpu, uint16_t pcid)
{
    if (cpu->space->pcid == pcid)
        return;
    Space *space = find(cpu, pcid);
    if (!space)
        space = take_over(cpu, pcid);
    cpu->space->left = ++cpu->space_changes;
    cpu->space = space;
    cpu->t = &space->t;
    cpu->jumps = space->jumps;
    cpu->link_from = NULL;
    drop_stale(space);
}

void spaces_init(Cpu *cpu)
{
    cpu->space = cpu->spaces[0] = new_space();
    cpu->t = &cpu->space->t;
    cpu->jumps = cpu->space->jumps;
}

void spaces_fini(Cpu *cpu)
{
    for (unsigned i = 0; i < SPACES; i++)
        g_free(cpu->spaces[i]);
}

/* ---- Write tags ---- */

/* Calls fn for each entry of all spaces that may be written without a call. */
void spaces_for_writable(Cpu *cpu, void (*fn)(TlbEntry *entry, const TlbInfo *info, void *opaque),
                         void *opaque)
{
    for (unsigned i = 0; i < SPACES && cpu->spaces[i]; i++) {
        Translations *t = &cpu->spaces[i]->t;
        for (unsigned table = 0; table < TLB_TABLES; table++)
            for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
                if (t->tables[table][slot].write != TLB_NONE)
                    fn(&t->tables[table][slot], &t->infos[table][slot], opaque);
    }
}
