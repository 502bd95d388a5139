/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Executable memory for the FPU's stubs: one memfd, mapped once to write and once to run, so that
 * no page is ever both.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fpu.h"

enum { ARENA_SIZE = 2 << 20, SLOTS = 1 << 15, CODE_ALIGN = 16, HEADER = 2 };

struct FpuArena {
    uint8_t *write;
    const uint8_t *run;
    unsigned used, count;
    uint32_t slots[SLOTS]; /* by hash: offset of the code, 0: none */
};

static int arena_file(void)
{
    /* Since Linux 6.3 a memfd says whether it may be executed; before, the flag is an error. */
    const unsigned executable = 0x10;
    int fd = memfd_create("fpu", MFD_CLOEXEC | executable);
    return fd >= 0 ? fd : memfd_create("fpu", MFD_CLOEXEC);
}

FpuArena *arena_new(void)
{
    int fd = arena_file();
    if (fd < 0)
        return NULL;
    void *write = MAP_FAILED, *run = MAP_FAILED;
    if (!ftruncate(fd, ARENA_SIZE)) {
        write = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        run = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (write == MAP_FAILED || run == MAP_FAILED) {
        if (write != MAP_FAILED)
            munmap(write, ARENA_SIZE);
        if (run != MAP_FAILED)
            munmap(run, ARENA_SIZE);
        return NULL;
    }
    FpuArena *arena = g_new0(FpuArena, 1);
    arena->write = write;
    arena->run = run;
    arena->used = CODE_ALIGN;
    return arena;
}

void arena_free(FpuArena *arena)
{
    if (!arena)
        return;
    munmap(arena->write, ARENA_SIZE);
    munmap((void *)arena->run, ARENA_SIZE);
    g_free(arena);
}

void arena_clear(FpuArena *arena)
{
    memset(arena->slots, 0, sizeof(arena->slots));
    arena->used = CODE_ALIGN;
    arena->count = 0;
}

static uint32_t hash_of(const uint8_t *code, unsigned length)
{
    uint64_t hash = length;
    for (unsigned i = 0; i < length; i++)
        hash = (hash ^ code[i]) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(hash >> 40);
}

/* Each piece has its length in front of it. */
const uint8_t *arena_code(FpuArena *arena, const uint8_t *code, unsigned length)
{
    unsigned slot = hash_of(code, length) % SLOTS;
    for (; arena->slots[slot]; slot = (slot + 1) % SLOTS) {
        const uint8_t *there = arena->write + arena->slots[slot];
        if (ld16_le(there - HEADER) == length && !memcmp(there, code, length))
            return arena->run + arena->slots[slot];
    }
    unsigned start = (arena->used + HEADER + CODE_ALIGN - 1) & ~(CODE_ALIGN - 1u);
    if (start + length > ARENA_SIZE || arena->count >= SLOTS * 3 / 4)
        return NULL;
    st16_le(arena->write + start - HEADER, (uint16_t)length);
    memcpy(arena->write + start, code, length);
    arena->used = start + length;
    arena->count++;
    arena->slots[slot] = start;
    return arena->run + start;
}
