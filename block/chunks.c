/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bitmap of chunks. */
#include "chunks.h"

#include <stdlib.h>

#include <glib.h>

Chunks *chunks_new(uint64_t size)
{
    uint64_t count = (size >> CHUNK_BITS) + !!(size & (CHUNK_BYTES - 1));
    Chunks *chunks = calloc(1, sizeof(Chunks) + (count / 64 + 1) * sizeof(uint64_t));
    if (chunks)
        chunks->count = count;
    return chunks;
}

bool chunks_is_set(const Chunks *chunks, uint64_t chunk)
{
    return chunks->words[chunk / 64] >> chunk % 64 & 1;
}

void chunks_set(Chunks *chunks, uint64_t offset, uint64_t bytes)
{
    if (!bytes)
        return;
    uint64_t last = MIN((offset + bytes - 1) >> CHUNK_BITS, chunks->count - 1);
    for (uint64_t i = offset >> CHUNK_BITS; i <= last && i < chunks->count; i++) {
        chunks->set += !chunks_is_set(chunks, i);
        chunks->words[i / 64] |= 1ull << i % 64;
    }
}

void chunks_set_all(Chunks *chunks)
{
    chunks_set(chunks, 0, chunks->count << CHUNK_BITS);
}

void chunks_clear(Chunks *chunks, uint64_t chunk)
{
    chunks->set -= chunks_is_set(chunks, chunk);
    chunks->words[chunk / 64] &= ~(1ull << chunk % 64);
}

uint64_t chunks_next(const Chunks *chunks, uint64_t chunk)
{
    while (chunk < chunks->count) {
        uint64_t word = chunks->words[chunk / 64] >> chunk % 64;
        if (word)
            return chunk + (uint64_t)__builtin_ctzll(word);
        chunk = (chunk / 64 + 1) * 64;
    }
    return chunks->count;
}
