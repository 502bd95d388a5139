/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM: memfd-backed blocks with dirty bitmaps (a bit a 4 KiB page and client).
 *
 * RAM bytes are never locked.  Dirty bits are atomic: marking is any thread's, testing and clearing
 * the client's.
 */
#ifndef VMRUN_HW_CORE_RAM_H
#define VMRUN_HW_CORE_RAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAM_PAGE_BITS 12
#define RAM_PAGE_SIZE (1u << RAM_PAGE_BITS)

typedef enum { DIRTY_VGA, DIRTY_MIGRATION, DIRTY_CLIENTS } DirtyClient;

/* What software CPUs have decoded from a page: bit n of lines is its n-th 64 bytes. */
#define RAM_LINE_BITS 6
typedef struct RamCode {
    uint64_t lines;  /* atomic */
    uint32_t stores; /* of data beside code since the last look; a hint */
} RamCode;

typedef struct RamBlock {
    const char *name;
    uint8_t *host;                       /* page-aligned mapping */
    uint64_t size;                       /* multiple of RAM_PAGE_SIZE */
    int fd;                              /* memfd, offset 0 is host[0] */
    unsigned long *dirty[DIRTY_CLIENTS]; /* NULL until a client logs this block */
    RamCode *code;                       /* a page each; NULL until code is decoded; atomic */
} RamBlock;

/* Zeroed memory that costs nothing until touched.  name is not copied.  NULL on error, which says
 * how much was asked and how much the host has. */
RamBlock *ram_new(const char *name, uint64_t size, GError **error);
void ram_free(RamBlock *block);
/* All live blocks, in order of creation (snapshots, `info ramblock`). */
GPtrArray *ram_blocks(void);

/* Allocates the client's bitmap if need be, with all pages dirty. */
void ram_dirty_enable(RamBlock *block, DirtyClient client);
/* Sets the bits of every page in [offset, offset + length) for all clients that log, and tells the
 * watcher of decoded code in there: to be called after a write.  Any thread. */
void ram_mark_dirty(RamBlock *block, uint64_t offset, uint64_t length);
/* Only the bits. */
void ram_mark_bits(RamBlock *block, uint64_t offset, uint64_t length);
/* True if a page in the range is dirty for the client; clears the range. */
bool ram_test_clear_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length);
/* Copies the client's bits of the range, from the page of offset on, into bitmap (bit 0 = first
 * page) and clears them.  Returns true if any was set. */
bool ram_snapshot_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length,
                        unsigned long *bitmap);

/* ---- For software CPUs, which keep decoded code and write to RAM without a call each time ---- */

typedef struct RamWatcher {
    /* Lines of a page that had been marked as code were written and are not marked any more. */
    void (*code_written)(RamBlock *block, uint64_t page, uint64_t lines);
    /* A client is about to take dirty bits: what has been written without a call is to be marked.
     */
    void (*dirty_wanted)(RamBlock *block);
} RamWatcher;
/* Called by any thread, without or with locks. Set once. */
void ram_set_watcher(const RamWatcher *watcher);
/* Marks lines of a page; returns those that were marked before.  Bytes that are read after this
 * call, and then written by anybody who calls ram_mark_dirty(), are told to the watcher. */
uint64_t ram_code_mark(RamBlock *block, uint64_t page, uint64_t lines);
/* Unmarks lines of a page, calling the watcher for those that were marked. */
void ram_code_written(RamBlock *block, uint64_t page, uint64_t lines);
/* The lines of a page that are marked. */
static inline uint64_t ram_code_lines(const RamBlock *block, uint64_t page)
{
    const RamCode *code = __atomic_load_n(&block->code, __ATOMIC_ACQUIRE);
    return code ? __atomic_load_n(&code[page].lines, __ATOMIC_SEQ_CST) : 0;
}
/* The line bits of [offset, offset + length), which lie in one page. */
static inline uint64_t ram_line_mask(uint64_t offset, unsigned length)
{
    unsigned first = (unsigned)(offset & (RAM_PAGE_SIZE - 1)) >> RAM_LINE_BITS;
    unsigned last = (unsigned)((offset + length - 1) & (RAM_PAGE_SIZE - 1)) >> RAM_LINE_BITS;
    return (~0ull >> (63 - last)) & (~0ull << first);
}

#endif
