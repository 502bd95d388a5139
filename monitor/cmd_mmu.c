/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `info mem` and `info tlb`: the guest's page tables, walked from CR3 (Intel SDM vol. 3, ch. 4).
 *
 * The tables are the guest's: they may point at themselves, so the walk counts the tables that it
 * reads and stops.
 */
#include "monitor_private.h"
#include "util/bytes.h"

#define TABLES_MAX (1u << 16)
#define LINES_MAX  (1u << 14)

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_PWT = 1 << 3,
    PTE_PCD = 1 << 4,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX   (1ULL << 63)
#define PTE_ADDR 0x000ffffffffff000ULL

enum { CR0_PG = 1u << 31, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_LA57 = 1 << 12 };
enum { EFER_LMA = 1 << 10 };

typedef struct Walk Walk;
/* One present page: rights are those of all levels together. */
typedef void PageFn(Walk *walk, uint64_t linear, uint64_t size, uint64_t pte, uint64_t rights);

struct Walk {
    Monitor *mon;
    GString *out;
    PageFn *page;
    bool wide; /* 8-byte entries */
    bool pse;
    unsigned levels;
    unsigned tables, lines;
    /* `info mem`: the range that grows. */
    uint64_t start, end, rights;
};

static bool stopped(const Walk *walk)
{
    return walk->tables > TABLES_MAX || walk->lines > LINES_MAX;
}

/* Bits of the linear address below an entry of that level (1: a page table). */
static unsigned level_shift(const Walk *walk, unsigned level)
{
    return 12 + (level - 1) * (walk->wide ? 9 : 10);
}

static bool is_page(const Walk *walk, unsigned level, uint64_t pte)
{
    if (level == 1)
        return true;
    return level <= (walk->wide ? 3 : 2) && (pte & PTE_PS) && (walk->wide || walk->pse);
}

static void walk_table(Walk *walk, unsigned level, uint64_t table, uint64_t linear, uint64_t rights)
{
    unsigned size = walk->wide ? 8 : 4, shift = level_shift(walk, level);
    /* The top table of PAE has four entries, at a 32-byte boundary. */
    unsigned count = walk->wide ? (level == 3 && walk->levels == 3 ? 4 : 512) : 1024;
    g_autofree uint8_t *entries = g_malloc(count * size);

    walk->tables++;
    if (dma_read(&walk->mon->machine->mem, table, entries, count * size) != MEM_OK)
        return;
    for (unsigned i = 0; i < count && !stopped(walk); i++) {
        uint64_t pte = ldn_le(entries + i * size, size), at = linear | (uint64_t)i << shift;
        uint64_t below = rights;
        if (!(pte & PTE_P))
            continue;
        /* PAE's four entries carry no rights. */
        if (!(level == 3 && walk->levels == 3))
            below = rights & pte & (PTE_W | PTE_U);
        below |= (rights | pte) & PTE_NX;
        if (is_page(walk, level, pte))
            walk->page(walk, at, 1ULL << shift, pte, below);
        else
            walk_table(walk, level - 1, pte & PTE_ADDR, at, below);
    }
}

/* Sets the walk up by the CPU's mode and runs it; false if paging is off. */
static bool walk_all(Walk *walk, const CpuState *state)
{
    bool pae = state->cr4 & CR4_PAE, lma = state->efer & EFER_LMA;
    uint64_t mask = lma ? PTE_ADDR : pae ? 0xffffffe0 : 0xfffff000;

    if (!(state->cr0 & CR0_PG)) {
        monitor_printf(walk->mon, "PG disabled\n");
        return false;
    }
    walk->out = g_string_new(NULL);
    walk->wide = pae;
    walk->pse = state->cr4 & CR4_PSE;
    walk->levels = !pae ? 2 : !lma ? 3 : state->cr4 & CR4_LA57 ? 5 : 4;
    walk_table(walk, walk->levels, state->cr3 & mask, 0, PTE_W | PTE_U);
    return true;
}

static void finish(Walk *walk)
{
    if (stopped(walk))
        g_string_append(walk->out, "(there is more: stopped here)\n");
    mon_print(walk->mon, walk->out);
}

/* The upper half of the address space, sign-extended. */
static uint64_t canonical(const Walk *walk, uint64_t linear)
{
    unsigned bits = 12 + 9 * walk->levels;
    if (walk->levels >= 4 && linear >> (bits - 1) & 1)
        linear |= ~0ULL << bits;
    return linear;
}

/* ---- info tlb ---- */

static void tlb_page(Walk *walk, uint64_t linear, uint64_t size, uint64_t pte, uint64_t rights)
{
    uint64_t physical = pte & PTE_ADDR & ~(size - 1);

    /* A 4 MiB page has address bits 32 to 39 in bits 13 to 20 (PSE-36). */
    if (!walk->wide && size > RAM_PAGE_SIZE)
        physical = (pte & 0xffc00000) | bits_get(pte, 13, 8) << 32;
    walk->lines++;
    g_string_append_printf(
        walk->out, "%016" G_GINT64_MODIFIER "x: %016" G_GINT64_MODIFIER "x %c%c%c%c%c%c%c%c%c\n",
        canonical(walk, linear), physical, pte & PTE_NX ? 'X' : '-', pte & PTE_G ? 'G' : '-',
        size > RAM_PAGE_SIZE ? 'P' : '-', pte & PTE_D ? 'D' : '-', pte & PTE_A ? 'A' : '-',
        pte & PTE_PCD ? 'C' : '-', pte & PTE_PWT ? 'T' : '-', pte & PTE_U ? 'U' : '-',
        pte & PTE_W ? 'W' : '-');
}

void info_tlb(Monitor *mon, const MonValue *values)
{
    g_autofree CpuState *state = mon_cpu_state(mon);
    Walk walk = {.mon = mon, .page = tlb_page};

    if (state && walk_all(&walk, state))
        finish(&walk);
}

/* ---- info mem ---- */

static void print_range(Walk *walk)
{
    if (walk->start == walk->end)
        return;
    walk->lines++;
    g_string_append_printf(walk->out,
                           "%016" G_GINT64_MODIFIER "x-%016" G_GINT64_MODIFIER
                           "x %016" G_GINT64_MODIFIER "x %cr%c\n",
                           walk->start, walk->end, walk->end - walk->start,
                           walk->rights & PTE_U ? 'u' : '-', walk->rights & PTE_W ? 'w' : '-');
}

static void mem_page(Walk *walk, uint64_t linear, uint64_t size, uint64_t pte, uint64_t rights)
{
    rights &= PTE_W | PTE_U;
    linear = canonical(walk, linear);
    if (linear != walk->end || rights != walk->rights) {
        print_range(walk);
        walk->start = linear;
        walk->rights = rights;
    }
    walk->end = linear + size;
}

void info_mem(Monitor *mon, const MonValue *values)
{
    g_autofree CpuState *state = mon_cpu_state(mon);
    Walk walk = {.mon = mon, .page = mem_page};

    if (!state || !walk_all(&walk, state))
        return;
    print_range(&walk);
    finish(&walk);
}
