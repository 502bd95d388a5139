/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks of decoded code: how they look, how one is entered from another, and what keeps them true.
 *
 * A block is a run of instructions up to an unconditional transfer, a page end, an instruction
 * after which the mode may be another, or BLOCK_OPS.  Conditional branches stay inside: not taken
 * they go on with the next Op.  A block ends in an extra Op that goes on behind its last
 * instruction.
 *
 * Blocks are per CPU, keyed by the host address of their first byte and the mode, so that aliases
 * of RAM share them and changes of the memory map need not drop them.  A dead block (its code was
 * written over) has another mode, which no look-up and no chain matches, and Ops that leave at
 * once: so it may even die while it runs.
 *
 * A page's marked lines (hw/core/ram.h) are a superset of the lines that any CPU has blocks of.
 * Whoever writes to a marked line tells all CPUs by mail, which each reads at its next block entry;
 * the writing CPU drops its own blocks at once.
 */
#ifndef VMRUN_CPU_BLOCK_H
#define VMRUN_CPU_BLOCK_H

#include "cpu_private.h"

enum { BLOCK_OPS = 64 };
#define MODE_DEAD 0x80000000u

enum {
    BLOCK_OWN_STEP = 1 << 0,  /* the handler says itself whether a single-step trap is due */
    BLOCK_LOADS_SS = 1 << 1,  /* no debug trap behind it */
    BLOCK_TRANSFERS = 1 << 2, /* it goes elsewhere, always */
    BLOCK_BREAK = 1 << 3, /* a debugger's breakpoint may be at its beginning: entered by the loop */
};

struct Block {
    uintptr_t host[2]; /* of the first byte; of the page that the last instruction reaches into */
    uint32_t mode;
    uint16_t length; /* in bytes */
    uint16_t count;  /* of instructions */
    uint32_t flags;  /* BLOCK_* */
    uint64_t lines[2];
    Block *hash_next;
    Block *page_next[2];
    Op ops[];
};

/* Blocks by linear address; direct-mapped, a page's entries side by side. */
typedef struct JumpEntry {
    uint64_t pc;
    const Block *block;
} JumpEntry;
enum { JUMP_PAGES = 256, JUMP_PER_PAGE = 64, JUMP_ENTRIES = JUMP_PAGES * JUMP_PER_PAGE };

static inline unsigned jump_page(uint64_t pc)
{
    return (unsigned)(pc >> 12 & (JUMP_PAGES - 1)) * JUMP_PER_PAGE;
}
static inline unsigned jump_slot(uint64_t pc)
{
    return jump_page(pc) | (unsigned)((pc ^ pc >> 6) & (JUMP_PER_PAGE - 1));
}

/* Bits of cpu->attention. */
enum {
    ATTENTION_MAIL = 1 << 0,   /* code.c: code was written, or a page has become code */
    ATTENTION_MEMORY = 1 << 1, /* the memory map or A20 changed */
    ATTENTION_LOGGED = 1 << 2, /* dirty bits were taken: writes are to be marked again */
    ATTENTION_STALL = 1 << 3,  /* exclusive.c: stop between blocks; served by run.c only */
    ATTENTION_WATCH = 1 << 4,  /* watch.c's: cpu->watch_met is for the debugger */
};

/* ---- Going from block to block ---- */

#ifdef CPU_TAIL_CALLS
#define START(cpu, first) return (first)->fn((cpu), (first))
#else
#define START(cpu, first) return (first)
#endif

/* Whether a block may be entered now: nothing is requested, and the stack is where it was. */
static inline bool block_may_enter(Cpu *cpu)
{
    uintptr_t stack;
    __asm__("mov %%rsp, %0" : "=r"(stack));
    uint32_t wanted =
        (__atomic_load_n(&cpu->vcpu->requests, __ATOMIC_RELAXED) & cpu->request_mask) |
        __atomic_load_n(&cpu->attention, __ATOMIC_RELAXED);
    return G_LIKELY(!wanted && cpu->budget >= 0 && stack >= cpu->stack_floor);
}

/* Ends a handler: goes on with block, whose first instruction is at rip. */
#define BLOCK_ENTER(cpu, block, target)                                                            \
    do {                                                                                           \
        const Block *block_ = (block);                                                             \
        (cpu)->budget -= block_->count;                                                            \
        if (!block_may_enter(cpu)) {                                                               \
            (cpu)->budget += block_->count;                                                        \
            (cpu)->rip = (target);                                                                 \
            return NULL;                                                                           \
        }                                                                                          \
        (cpu)->gpr[SLOT_RIP] = (target);                                                           \
        START(cpu, block_->ops);                                                                   \
    } while (0)

/* Ends a handler: a near transfer to rip, whose checks are made.  flat: MODE_FLAT is known to be
 * set, or the code is 64-bit. */
static inline __attribute__((always_inline)) const Op *block_jump(Cpu *cpu, uint64_t rip, bool flat)
{
    uint64_t pc = flat ? rip : (uint32_t)(cpu->seg[SEG_CS].base + rip);
    const JumpEntry *entry = &cpu->jumps[jump_slot(pc)];
    const Block *block = entry->block;
    if (G_LIKELY(entry->pc == pc && block->mode == cpu->mode &&
                 (flat || rip + block->length - 1 <= cpu->seg[SEG_CS].limit)))
        BLOCK_ENTER(cpu, block, rip);
    cpu->rip = rip;
    return NULL;
}

/* Whether chains may lead to it: what is behind its own page border is looked up each time. */
static inline bool block_may_link(const Block *block)
{
    return !block->host[1] && !(block->flags & BLOCK_BREAK);
}

/* Ends a handler: a direct transfer to rip, whose chain is op->data. */
const Op *block_chain(Cpu *cpu, const Op *op, uint64_t rip);
#define BLOCK_CHAIN(cpu, op, target)                                                               \
    do {                                                                                           \
        const Block *chain_ = (op)->data;                                                          \
        uint64_t target_ = (target);                                                               \
        if (G_LIKELY(chain_->mode == (cpu)->mode))                                                 \
            BLOCK_ENTER(cpu, chain_, target_);                                                     \
        return block_chain((cpu), (op), target_);                                                  \
    } while (0)

/* Is in no mode: what empty entries and chains hold. */
extern const Block block_none;

/* ---- code.c: the cache ---- */
void blocks_new(Cpu *cpu);
void blocks_free(Cpu *cpu);
/* The block, or NULL. host: as in Block; the second is asked for only if the block has one. */
Block *blocks_find(Cpu *cpu, uintptr_t host, uint32_t mode, uint64_t pc);
/* Room for a block of BLOCK_OPS; everything may be flushed for it. */
Block *blocks_reserve(Cpu *cpu);
/* Adds the block that has been decoded into the room. */
void blocks_add(Cpu *cpu, Block *block);
/* Where blocks are split from now on: offsets in pages, a bit each. */
enum { PAGE_OFFSET_WORDS = 4096 / 64 };
void blocks_split(Cpu *cpu, const uint64_t offsets[PAGE_OFFSET_WORDS]);
bool blocks_split_at(const Cpu *cpu, unsigned offset);
/* Makes op, which runs, the last of its block. */
void block_end_behind(Cpu *cpu, const Op *op);
/* Before bytes are decoded: [offset, offset + length) of a page of RAM. */
void code_mark(Cpu *cpu, RamBlock *ram, uint64_t offset, unsigned length);
/* Room for one instruction that is not kept (code in device memory). */
Block *blocks_scratch(Cpu *cpu);
/* Serves ATTENTION_MAIL and ATTENTION_LOGGED.  A block that runs (between is false) must not lose
 * its memory: if all are to be dropped, the first stays set, so that no other is entered from it.
 */
void code_read_mail(Cpu *cpu, bool between);
/* A logged page is about to be written without marks: false if it cannot be noted. */
bool code_open_logged(Cpu *cpu, RamBlock *ram, uint64_t offset);
/* Ends that for all pages, marking what may have been written since their bits were taken.  When
 * the CPU stops running, too: an idle one must not keep a display redrawing. */
void code_close_logged(Cpu *cpu);

/* ---- decode.c ---- */
void decode_init(Cpu *cpu);
void decode_fini(Cpu *cpu);
/* The block at cpu->rip.  Faults. */
const Block *block_find(Cpu *cpu);

/* ---- mmu.c ---- */
/* Host address of code at linear; NULL: device memory, *physical says where. Faults. */
uint8_t *mmu_fetch(Cpu *cpu, uint64_t linear, TlbInfo *info);
/* Drops what is written without a call: of that page (true: there was some), or of all logged. */
bool mmu_close_page(Cpu *cpu, const RamBlock *ram, uint64_t offset);
void mmu_close_logged(Cpu *cpu);
/* Drops all that is written without a call, reporting each such page as written code. */
void mmu_close_all(Cpu *cpu);
void mmu_init(Cpu *cpu);
void mmu_fini(Cpu *cpu);
/* The map or A20 changed: forget everything that depends on it. */
void mmu_memory_changed(Cpu *cpu);
/* Flushes if what translations depend on has changed since they were made; chooses the table. */
void mmu_mode_changed(Cpu *cpu);

/* ---- space.c ---- */
void spaces_init(Cpu *cpu);
void spaces_fini(Cpu *cpu);
/* Looks into the translations of a PCID, as they were; mmu_mode_changed() is to follow. */
void space_select(Cpu *cpu, uint16_t pcid);
/* A block is known by its linear address until the TLB drops the page. */
void jumps_add(Cpu *cpu, uint64_t pc, const Block *block, bool global);
/* The blocks are about to go. */
void spaces_forget_blocks(Cpu *cpu);
/* A translation was filled from a page larger than 4 KiB. */
void space_note_large(Cpu *cpu, uint64_t linear, unsigned size_bits);
/* Calls fn for each translation, of all PCIDs, through which stores go without a call. */
void spaces_for_writable(Cpu *cpu, void (*fn)(TlbEntry *entry, const TlbInfo *info, void *opaque),
                         void *opaque);

/* ---- exclusive.c: cpu_new() and cpu_free(); cpu_run() and its end; ATTENTION_STALL ---- */
void exclusive_join(Cpu *cpu);
void exclusive_part(Cpu *cpu);
void exclusive_enter(Cpu *cpu);
void exclusive_leave(Cpu *cpu);
void exclusive_park(Cpu *cpu);

/* What other threads want of the caches: between blocks, or at the end of an instruction. */
void cpu_serve_attention(Cpu *cpu, bool between);

/* ---- walk.c ---- */
typedef struct Walk {
    uint64_t physical;  /* of the 4 KiB page */
    unsigned size_bits; /* of the page that maps it: 12, 21, 22, 30 */
    bool user, writable, executable, dirty, global;
    uint32_t error; /* #PF error code when the walk failed */
} Walk;
/* Walks the page tables; user: with user rights; smap: supervisor data accesses to user pages
 * fault.  Sets accessed and dirty bits. False: walk->error. */
bool walk_linear(Cpu *cpu, uint64_t linear, Access access, bool user, bool smap, Walk *walk);
void walk_init(Cpu *cpu);
void walk_fini(Cpu *cpu);
void walk_flush_windows(Cpu *cpu);
/* The memory that the CPU sees now. */
static inline AddressSpace *cpu_memory(const Cpu *cpu)
{
    return cpu->smm && cpu->smm_mem ? cpu->smm_mem : cpu->mem;
}

#endif
