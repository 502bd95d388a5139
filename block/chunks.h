/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks of a disk that a job has still to copy: a bitmap. */
#ifndef VMRUN_BLOCK_CHUNKS_H
#define VMRUN_BLOCK_CHUNKS_H

#include <stdbool.h>
#include <stdint.h>

#define CHUNK_BITS  16
#define CHUNK_BYTES (1ull << CHUNK_BITS)

typedef struct Chunks {
    uint64_t count; /* of the disk */
    uint64_t set;   /* of those that are marked */
    uint64_t words[];
} Chunks;

/* For a disk of size bytes, none marked; NULL if there is no memory.  free(). */
Chunks *chunks_new(uint64_t size);
/* Marks all that the range touches. */
void chunks_set(Chunks *chunks, uint64_t offset, uint64_t bytes);
void chunks_set_all(Chunks *chunks);
bool chunks_is_set(const Chunks *chunks, uint64_t chunk);
void chunks_clear(Chunks *chunks, uint64_t chunk);
/* The first marked chunk from `chunk` on; count if there is none. */
uint64_t chunks_next(const Chunks *chunks, uint64_t chunk);

#endif
