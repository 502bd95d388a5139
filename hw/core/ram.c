/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM blocks and their dirty bitmaps. */
#include "hw/core/ram.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/bytes.h"
#include "util/error.h"
#include "util/options.h"

#define LONG_BITS (8 * sizeof(unsigned long))
#define HUGE_PAGE (2ull << 20)

static GPtrArray *blocks;

GPtrArray *ram_blocks(void)
{
    if (!blocks)
        blocks = g_ptr_array_new();
    return blocks;
}

static bool fail_memory(GError **error, const char *name, uint64_t size, int errnum)
{
    g_autofree char *asked = format_size(size);
    g_autofree char *have =
        format_size((uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    return fail_errno(error, errnum,
                      "cannot allocate %s for '%s' (this host has %s); try a smaller -m", asked,
                      name, have);
}

/* Maps the memfd so that guest-physical 2 MiB borders can be host huge pages. */
static uint8_t *map_aligned(int fd, uint64_t size)
{
    uint64_t align = size >= HUGE_PAGE ? HUGE_PAGE : RAM_PAGE_SIZE;
    if (size > SIZE_MAX / 2) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    uint8_t *area =
        mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return MAP_FAILED;
    uint8_t *start = (uint8_t *)align_up((uintptr_t)area, align);
    uint8_t *end = start + size;
    if (mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) ==
        MAP_FAILED) {
        int errnum = errno;
        munmap(area, size + align);
        errno = errnum;
        return MAP_FAILED;
    }
    if (start > area)
        munmap(area, (size_t)(start - area));
    if (area + size + align > end)
        munmap(end, (size_t)(area + size + align - end));
    return start;
}

RamBlock *ram_new(const char *name, uint64_t size, GError **error)
{
    size = align_up(size, RAM_PAGE_SIZE);
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) {
        fail_memory(error, name, size, errno);
        return NULL;
    }
    uint8_t *host = MAP_FAILED;
    if (size > INT64_MAX)
        errno = ENOMEM;
    else if (ftruncate(fd, (off_t)size) == 0)
        host = map_aligned(fd, size);
    if (host == MAP_FAILED) {
        fail_memory(error, name, size, errno);
        close(fd);
        return NULL;
    }
    madvise(host, size, MADV_DONTDUMP);
    RamBlock *block = g_new0(RamBlock, 1);
    *block = (RamBlock){.name = name, .host = host, .size = size, .fd = fd};
    g_ptr_array_add(ram_blocks(), block);
    return block;
}

void ram_free(RamBlock *block)
{
    if (!block)
        return;
    g_ptr_array_remove(ram_blocks(), block);
    munmap(block->host, block->size);
    close(block->fd);
    for (int client = 0; client < DIRTY_CLIENTS; client++)
        g_free(block->dirty[client]);
    g_free(block->code);
    g_free(block);
}

/* ---- Decoded code ---- */

static const RamWatcher *watcher; /* atomic */

void ram_set_watcher(const RamWatcher *new_watcher)
{
    __atomic_store_n(&watcher, new_watcher, __ATOMIC_RELEASE);
}

static RamCode *code_map(RamBlock *block)
{
    RamCode *map = __atomic_load_n(&block->code, __ATOMIC_ACQUIRE), *none = NULL;
    if (map)
        return map;
    map = g_new0(RamCode, block->size >> RAM_PAGE_BITS);
    if (__atomic_compare_exchange_n(&block->code, &none, map, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return map;
    g_free(map);
    return none;
}

uint64_t ram_code_mark(RamBlock *block, uint64_t page, uint64_t lines)
{
    RamCode *code = &code_map(block)[page];
    uint64_t marked = __atomic_load_n(&code->lines, __ATOMIC_ACQUIRE);
    if ((marked & lines) == lines)
        return marked;
    return __atomic_fetch_or(&code->lines, lines, __ATOMIC_SEQ_CST);
}

void ram_code_written(RamBlock *block, uint64_t page, uint64_t lines)
{
    RamCode *code = &__atomic_load_n(&block->code, __ATOMIC_ACQUIRE)[page];
    if (!(__atomic_load_n(&code->lines, __ATOMIC_SEQ_CST) & lines))
        return;
    lines &= __atomic_fetch_and(&code->lines, ~lines, __ATOMIC_SEQ_CST);
    const RamWatcher *told = __atomic_load_n(&watcher, __ATOMIC_ACQUIRE);
    if (lines && told)
        told->code_written(block, page, lines);
}

static void range_written(RamBlock *block, uint64_t offset, uint64_t length)
{
    /* The bytes are to be seen by who marks lines after this look at them. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    while (length) {
        uint64_t part = MIN(length, RAM_PAGE_SIZE - (offset & (RAM_PAGE_SIZE - 1)));
        ram_code_written(block, offset >> RAM_PAGE_BITS, ram_line_mask(offset, (unsigned)part));
        offset += part;
        length -= part;
    }
}

static void dirty_wanted(RamBlock *block)
{
    const RamWatcher *asked = __atomic_load_n(&watcher, __ATOMIC_ACQUIRE);
    if (asked)
        asked->dirty_wanted(block);
}

/* ---- Dirty bits ---- */

void ram_dirty_enable(RamBlock *block, DirtyClient client)
{
    uint64_t pages = block->size >> RAM_PAGE_BITS;
    size_t words = (pages + LONG_BITS - 1) / LONG_BITS;
    if (block->dirty[client])
        return;
    unsigned long *bits = g_new(unsigned long, words);
    memset(bits, 0xff, words * sizeof(*bits));
    __atomic_store_n(&block->dirty[client], bits, __ATOMIC_RELEASE);
}

/* First and one-past-last page of a byte range, cut to the block. */
static bool page_range(const RamBlock *block, uint64_t offset, uint64_t length, uint64_t *first,
                       uint64_t *end)
{
    if (!length || offset >= block->size)
        return false;
    length = MIN(length, block->size - offset);
    *first = offset >> RAM_PAGE_BITS;
    *end = ((offset + length - 1) >> RAM_PAGE_BITS) + 1;
    return true;
}

void ram_mark_bits(RamBlock *block, uint64_t offset, uint64_t length)
{
    uint64_t first, end;
    if (!page_range(block, offset, length, &first, &end))
        return;
    for (int client = 0; client < DIRTY_CLIENTS; client++) {
        unsigned long *bits = __atomic_load_n(&block->dirty[client], __ATOMIC_ACQUIRE);
        for (uint64_t page = first; bits && page < end; page++) {
            unsigned long bit = 1UL << page % LONG_BITS;
            if (!(__atomic_load_n(&bits[page / LONG_BITS], __ATOMIC_RELAXED) & bit))
                __atomic_fetch_or(&bits[page / LONG_BITS], bit, __ATOMIC_RELEASE);
        }
    }
}

void ram_mark_dirty(RamBlock *block, uint64_t offset, uint64_t length)
{
    if (offset < block->size && __atomic_load_n(&block->code, __ATOMIC_ACQUIRE))
        range_written(block, offset, MIN(length, block->size - offset));
    ram_mark_bits(block, offset, length);
}

/* Clears the bit of a page; returns whether it was set. */
static bool take_page(unsigned long *bits, uint64_t page)
{
    unsigned long bit = 1UL << page % LONG_BITS;
    unsigned long *word = &bits[page / LONG_BITS];
    return (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) &&
           (__atomic_fetch_and(word, ~bit, __ATOMIC_ACQ_REL) & bit);
}

bool ram_test_clear_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length)
{
    uint64_t first, end;
    bool any = false;
    if (!block->dirty[client] || !page_range(block, offset, length, &first, &end))
        return false;
    dirty_wanted(block);
    for (uint64_t page = first; page < end; page++)
        any |= take_page(block->dirty[client], page);
    return any;
}

bool ram_snapshot_dirty(RamBlock *block, DirtyClient client, uint64_t offset, uint64_t length,
                        unsigned long *bitmap)
{
    uint64_t first, end;
    bool any = false;
    if (!block->dirty[client] || !page_range(block, offset, length, &first, &end))
        return false;
    dirty_wanted(block);
    for (uint64_t page = first; page < end; page++) {
        uint64_t n = page - first;
        unsigned long bit = 1UL << n % LONG_BITS;
        bool set = take_page(block->dirty[client], page);
        bitmap[n / LONG_BITS] = set ? bitmap[n / LONG_BITS] | bit : bitmap[n / LONG_BITS] & ~bit;
        any |= set;
    }
    return any;
}
