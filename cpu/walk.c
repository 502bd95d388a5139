/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page walks (Intel SDM vol. 3, ch. 4): 32-bit with PSE and PSE-36, PAE, 4-level; permissions,
 * reserved bits, accessed and dirty flags.
 *
 * A walk first reads all levels, then checks, then sets the flags by compare-and-swap on the very
 * entries that it read; if one has changed the walk starts over.
 */
#include "block.h"

#include <inttypes.h>

#include "util/log.h"
#include "util/rcu.h"

enum {
    PTE_P = 1 << 0,
    PTE_W = 1 << 1,
    PTE_U = 1 << 2,
    PTE_A = 1 << 5,
    PTE_D = 1 << 6,
    PTE_PS = 1 << 7,
    PTE_G = 1 << 8,
};
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

enum { PF_P = 1 << 0, PF_W = 1 << 1, PF_U = 1 << 2, PF_RSVD = 1 << 3, PF_I = 1 << 4 };

enum { WINDOWS = 64, LEVELS_MAX = 4 };

/* Pages that hold page tables, by physical address. */
typedef struct RamWindow {
    uint64_t physical; /* TLB_NONE: empty */
    uint8_t *host;     /* NULL: not RAM that can be written */
    RamBlock *ram;
    uint64_t offset;
    bool logged;
} RamWindow;

typedef struct Level {
    uint64_t entry, address;
    unsigned size; /* of an entry: 4 or 8 */
} Level;

typedef struct Path {
    Level level[LEVELS_MAX];
    unsigned count;
    uint64_t reserved; /* bits that must be clear in the entry read last */
} Path;

void walk_init(Cpu *cpu)
{
    cpu->windows = g_new0(RamWindow, WINDOWS);
    walk_flush_windows(cpu);
}

void walk_fini(Cpu *cpu)
{
    g_free(cpu->windows);
}

void walk_flush_windows(Cpu *cpu)
{
    for (unsigned i = 0; i < WINDOWS; i++)
        cpu->windows[i].physical = TLB_NONE;
}

/* ---- Entries in memory ---- */

static const RamWindow *window_of(Cpu *cpu, uint64_t address)
{
    uint64_t page = address & PAGE_MASK;
    RamWindow *window = &cpu->windows[page >> 12 & (WINDOWS - 1)];
    if (window->physical == page)
        return window;
    *window = (RamWindow){.physical = page};
    rcu_read_lock();
    const FlatRange *range = view_find(as_view(cpu_memory(cpu)), page);
    uint64_t inside = range ? page - range->start : 0;
    if (range && range->region->kind == REGION_RAM && !range->readonly &&
        range->size - inside >= RAM_PAGE_SIZE && !((range->offset + inside) & 0xfff)) {
        window->ram = range->region->ram;
        window->offset = range->offset + inside;
        window->host = window->ram->host + window->offset;
        window->logged = range->dirty_clients != 0;
    }
    rcu_read_unlock();
    return window;
}

static uint64_t entry_read(Cpu *cpu, uint64_t address, unsigned size)
{
    const RamWindow *window = window_of(cpu, address);
    uint64_t value = 0;
    if (window->host) {
        const uint8_t *at = window->host + (address & 0xfff);
        return size == 4 ? __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED)
                         : __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
    }
    fpu_leave(cpu);
    as_load(cpu_memory(cpu), address, size, &value);
    return value;
}

/* Sets bits in an entry; false if it is not any more what was read.  Tables in ROM or a device keep
 * their flags as they are. */
static bool entry_set(Cpu *cpu, const Level *level, uint64_t bits)
{
    const RamWindow *window = window_of(cpu, level->address);
    if (!window->host)
        return true;
    uint8_t *at = window->host + (level->address & 0xfff);
    uint64_t old = level->entry;
    uint32_t old32 = (uint32_t)old;
    bool done = level->size == 4
                    ? __atomic_compare_exchange_n((uint32_t *)at, &old32, old32 | (uint32_t)bits,
                                                  false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
                    : __atomic_compare_exchange_n((uint64_t *)at, &old, old | bits, false,
                                                  __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    if (done) {
        cpu_ram_written(cpu, window->ram, window->offset + (level->address & 0xfff), level->size);
        if (window->logged)
            ram_mark_bits(window->ram, window->offset, 1);
    }
    return done;
}

/* ---- The three kinds of tables ---- */

/* Reads the next level; false if it is not present or has reserved bits set. */
static bool descend(Cpu *cpu, Path *path, uint64_t address, unsigned size, Walk *walk)
{
    Level *level = &path->level[path->count++];
    level->address = address & cpu->physical_mask;
    level->size = size;
    level->entry = entry_read(cpu, level->address, size);
    if (!(level->entry & PTE_P))
        return false;
    walk->user &= (level->entry & PTE_U) != 0;
    walk->writable &= (level->entry & PTE_W) != 0;
    walk->executable &= !(level->entry & PTE_NX);
    if (level->entry & path->reserved) {
        walk->error = PF_P | PF_RSVD;
        return false;
    }
    return true;
}

static bool reserved(Walk *walk, uint64_t bits)
{
    if (bits)
        walk->error = PF_P | PF_RSVD;
    return bits != 0;
}

static bool walk_32(Cpu *cpu, uint32_t linear, Path *path, Walk *walk)
{
    uint64_t address = (cpu->cr3 & 0xfffff000) + (linear >> 22) * 4;
    if (!descend(cpu, path, address, 4, walk))
        return false;
    uint64_t entry = path->level[0].entry;
    if ((cpu->cr4 & CR4_PSE) && (entry & PTE_PS)) {
        uint64_t high = bits_get(entry, 13, 8) << 32;
        if (reserved(walk, (entry & 1 << 21) | (high & cpu->physical_reserved)))
            return false;
        walk->physical = (entry & 0xffc00000) | high | (linear & 0x3ff000);
        walk->size_bits = 22;
        return true;
    }
    address = (entry & 0xfffff000) + bits_get(linear, 12, 10) * 4;
    if (!descend(cpu, path, address, 4, walk))
        return false;
    walk->physical = path->level[1].entry & 0xfffff000;
    walk->size_bits = 12;
    return true;
}

/* 8-byte entries from table on down: at first the one that linear's bits [shift, shift + 9) choose.
 */
static bool walk_64(Cpu *cpu, uint64_t table, unsigned shift, uint64_t linear, Path *path,
                    Walk *walk)
{
    path->reserved = cpu->physical_reserved | (cpu->efer & EFER_NXE ? 0 : PTE_NX);
    /* PAE has no bits above 51 but NX, whether or not in use. */
    if (!(cpu->efer & EFER_LMA))
        path->reserved |= 0x7ff0000000000000ull;
    for (;; shift -= 9) {
        uint64_t base = path->reserved;
        if (shift == 39 || (shift == 30 && !cpu->gigabyte_pages))
            path->reserved |= PTE_PS;
        if (!descend(cpu, path, table + bits_get(linear, shift, 9) * 8, 8, walk))
            return false;
        path->reserved = base;
        uint64_t entry = path->level[path->count - 1].entry;
        if (shift == 12 || (entry & PTE_PS)) {
            uint64_t mask = (1ull << shift) - 1;
            /* Bit 12 of a large page's entry is PAT. */
            if (reserved(walk, shift > 12 ? entry & mask & ~0x1fffull : 0))
                return false;
            walk->physical = (entry & PTE_ADDRESS & ~mask) | (linear & mask & PAGE_MASK);
            walk->size_bits = shift;
            return true;
        }
        table = entry & PTE_ADDRESS;
    }
}

static bool walk_tables(Cpu *cpu, uint64_t linear, Path *path, Walk *walk)
{
    if (cpu->efer & EFER_LMA)
        return walk_64(cpu, cpu->cr3 & PTE_ADDRESS, 39, linear, path, walk);
    if (!(cpu->cr4 & CR4_PAE))
        return walk_32(cpu, (uint32_t)linear, path, walk);
    uint64_t pointer = cpu->pdpte[linear >> 30 & 3];
    return (pointer & PTE_P) && walk_64(cpu, pointer & PTE_ADDRESS, 21, linear, path, walk);
}

/* ---- Permissions ---- */

static bool permitted(const Cpu *cpu, Access access, bool user, bool smap, const Walk *walk)
{
    if (user && !walk->user)
        return false;
    if (access == ACCESS_EXEC)
        return walk->executable && (user || !walk->user || !(cpu->cr4 & CR4_SMEP));
    if (!user && walk->user && smap)
        return false;
    return access == ACCESS_READ || walk->writable || (!user && !(cpu->cr0 & CR0_WP));
}

static bool set_flags(Cpu *cpu, const Path *path, Access access, Walk *walk)
{
    for (unsigned i = 0; i < path->count; i++) {
        const Level *level = &path->level[i];
        uint64_t bits = PTE_A;
        if (i == path->count - 1 && access == ACCESS_WRITE)
            bits |= PTE_D;
        if ((level->entry & bits) != bits && !entry_set(cpu, level, bits))
            return false;
    }
    return true;
}

static bool walk_paged(Cpu *cpu, uint64_t linear, Access access, bool user, bool smap, Walk *walk)
{
    for (;;) {
        Path path = {.count = 0};
        *walk = (Walk){.user = true, .writable = true, .executable = true};
        bool ok = walk_tables(cpu, linear, &path, walk);
        if (ok && !permitted(cpu, access, user, smap, walk)) {
            walk->error = PF_P;
            ok = false;
        }
        if (!ok) {
            bool fetch =
                access == ACCESS_EXEC &&
                ((cpu->cr4 & CR4_SMEP) || ((cpu->efer & EFER_NXE) && (cpu->cr4 & CR4_PAE)));
            walk->error |=
                (access == ACCESS_WRITE ? PF_W : 0) | (user ? PF_U : 0) | (fetch ? PF_I : 0);
            return false;
        }
        if (!set_flags(cpu, &path, access, walk))
            continue;
        uint64_t leaf = path.level[path.count - 1].entry;
        walk->dirty = access == ACCESS_WRITE || (leaf & PTE_D);
        walk->global = (leaf & PTE_G) && (cpu->cr4 & CR4_PGE);
        walk->physical &= cpu->physical_mask;
        return true;
    }
}

static void log_walk(const Cpu *cpu, uint64_t linear, Access access, bool user, const Walk *walk,
                     bool ok)
{
    static const char *const names[] = {"read", "write", "fetch"};
    if (ok)
        log_write("mmu: CPU %u: %s %" PRIx64 " (%s) -> %" PRIx64 ", a page of %u KiB: %s%s%s%s",
                  cpu->vcpu->index, names[access], linear, user ? "user" : "system",
                  walk->physical | (linear & 0xfff), 1u << (walk->size_bits - 10),
                  walk->user ? "u" : "-", walk->writable ? "w" : "-", walk->executable ? "x" : "-",
                  walk->global ? "g" : "-");
    else
        log_write("mmu: CPU %u: %s %" PRIx64 " (%s): page fault, error %x", cpu->vcpu->index,
                  names[access], linear, user ? "user" : "system", walk->error);
}

bool walk_linear(Cpu *cpu, uint64_t linear, Access access, bool user, bool smap, Walk *walk)
{
    if (!(cpu->cr0 & CR0_PG)) {
        *walk = (Walk){.physical = linear & PAGE_MASK & cpu->physical_mask,
                       .size_bits = 12,
                       .writable = true,
                       .executable = true,
                       .dirty = true};
        return true;
    }
    bool ok = walk_paged(cpu, linear, access, user, smap, walk);
    if (log_on(LOG_MMU))
        log_walk(cpu, linear, access, user, walk, ok);
    return ok;
}
