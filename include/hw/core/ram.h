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

typedef enum { DIRTY_VGA, DIRTY_MIGRATION, DIRTY_CODE, DIRTY_CLIENTS } DirtyClient;

typedef struct RamBlock {
    const char *name;
    uint8_t *host;                       /* page-aligned mapping */
    uint64_t size;                       /* multiple of RAM_PAGE_SIZE */
    int fd;                              /* memfd, offset 0 is host[0] */
    unsigned long *dirty[DIRTY_CLIENTS]; /* NULL until a client logs this block */
} RamBlock;

/* Zeroed memory that costs nothing until touched.  name is not copied.  NULL on error, which says
 * how much was asked and how much the host has. */
RamBlock *ram_new(const char *name, uint64_t size, GError **error);
void ram_free(RamBlock *block);
/* All live blocks, in order of creation (snapshots, `info ramblock`). */
GPtrArray *ram_blocks(void);

/* Allocates the client's bitmap if need be, with all pages dirty. */
void ram_dirty_enable(RamBlock *block, DirtyClient client);
/* Sets the bits of every page in [offset, offset + length) for all clients that log. Any thread. */
void ram_mark_dirty(RamBlock *block, uint64_t offset, uint64_t length);
/* True if a page in the range is dirty for the client; clears the range. */
bool ram_test_clear_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length);
/* Copies the client's bits of the range, from the page of offset on, into bitmap (bit 0 = first
 * page) and clears them.  Returns true if any was set. */
bool ram_snapshot_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length,
                        unsigned long *bitmap);

#endif
