/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache of decoded blocks, and what happens when code is written (block.h tells the rules).
 *
 * Between CPUs.  A CPU that decodes from a page first marks the lines, then reads the bytes.  A CPU
 * may write to a page without a look at the marks only through a write tag in its TLB, which it
 * makes only while no line is marked.  So when a page gets its first mark, the others are told;
 * each drops its write tag at its next block entry, and if it had one it may have written in the
 * meantime, so it reports the whole page as written.  The window in which a CPU can run what has
 * just been written over is thus one block of the writer's; a guest that synchronises as the SDM
 * asks (vol. 3, 8.1.3: a serialising instruction after the flag was seen) is long past it.
 *
 * Any other store looks at the marks, and tells of itself, when it has been made: what is decoded
 * between a look before and the store would be stale for good, with nobody to tell.
 */
#include "block.h"

#include <sys/mman.h>

enum {
    ARENA_SIZE = 32 << 20,
    HASH_SIZE = 1 << 15,
    PAGE_HASH_SIZE = 1 << 12,
    MAIL_SIZE = 256,
    OPEN_SIZE = 256, /* a screen's worth of pages */
};

/* The blocks of a page of RAM. */
typedef struct CodePage {
    uintptr_t host;
    struct CodePage *next;
    Block *blocks;
} CodePage;

struct BlockCache {
    uint8_t *arena;
    size_t used;
    Block *hash[HASH_SIZE];
    CodePage *pages[PAGE_HASH_SIZE];
    uint64_t split[PAGE_OFFSET_WORDS];
    uint64_t scratch[(sizeof(Block) + 3 * sizeof(Op)) / 8];
};

typedef struct Message {
    RamBlock *ram;
    uint64_t page;
    uint64_t lines; /* that were written; 0: the page has become code */
} Message;

struct CodeMail {
    GMutex lock;
    unsigned count;
    bool code_lost, pages_lost; /* there was no room for a message of that kind */
    Message messages[MAIL_SIZE];
    /* Logged pages that this CPU may write without marks. */
    unsigned open_count;
    struct {
        RamBlock *ram;
        uint64_t offset;
    } open[OPEN_SIZE];
};

const Block block_none = {.mode = MODE_DEAD};

/* All CPUs of the process; the lock is never held while another but a mail's is taken. */
static GMutex cpus_lock;
static GPtrArray *cpus;

/* ---- Blocks ---- */

static inline unsigned hash_of(uintptr_t host, uint32_t mode)
{
    uint64_t mixed = (host ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(mixed >> 49);
}
G_STATIC_ASSERT(HASH_SIZE == 1 << (64 - 49));

static inline CodePage **page_bucket(struct BlockCache *cache, uintptr_t host)
{
    return &cache->pages[(host >> 12 ^ host >> 24) & (PAGE_HASH_SIZE - 1)];
}

Block *blocks_find(Cpu *cpu, uintptr_t host, uint32_t mode, uint64_t pc)
{
    for (Block *block = cpu->blocks->hash[hash_of(host, mode)]; block; block = block->hash_next) {
        if (block->host[0] != host || block->mode != mode)
            continue;
        TlbInfo info;
        uint64_t next = (pc & PAGE_MASK) + 0x1000;
        if ((mode & MODE_CODE_MASK) != MODE_CODE64)
            next = (uint32_t)next;
        if (!block->host[1] || (uintptr_t)mmu_fetch(cpu, next, &info) == block->host[1])
            return block;
    }
    return NULL;
}

Block *blocks_reserve(Cpu *cpu)
{
    struct BlockCache *cache = cpu->blocks;
    size_t most = sizeof(Block) + (BLOCK_OPS + 1) * sizeof(Op) + 2 * sizeof(CodePage);
    if (cache->used + most > ARENA_SIZE)
        cpu_blocks_flush(cpu);
    Block *block = (Block *)(cache->arena + cache->used);
    memset(block, 0, sizeof(*block));
    return block;
}

Block *blocks_scratch(Cpu *cpu)
{
    memset(cpu->blocks->scratch, 0, sizeof(cpu->blocks->scratch));
    cpu->link_from = NULL; /* it may be in there */
    return (Block *)cpu->blocks->scratch;
}

static void *arena_take(struct BlockCache *cache, size_t size)
{
    void *memory = cache->arena + cache->used;
    cache->used += (size + 15) & ~(size_t)15;
    return memory;
}

static void page_add(struct BlockCache *cache, Block *block, unsigned half)
{
    uintptr_t host = block->host[half] & PAGE_MASK;
    CodePage **bucket = page_bucket(cache, host), *page = *bucket;
    while (page && page->host != host)
        page = page->next;
    if (!page) {
        page = arena_take(cache, sizeof(*page));
        *page = (CodePage){.host = host, .next = *bucket};
        *bucket = page;
    }
    block->page_next[half] = page->blocks;
    page->blocks = block;
}

void blocks_add(Cpu *cpu, Block *block)
{
    struct BlockCache *cache = cpu->blocks;
    unsigned bucket = hash_of(block->host[0], block->mode);
    arena_take(cache, sizeof(*block) + (block->count + 1u) * sizeof(Op));
    block->hash_next = cache->hash[bucket];
    cache->hash[bucket] = block;
    page_add(cache, block, 0);
    if (block->host[1])
        page_add(cache, block, 1);
}

/* Leaves a block that died while it ran. */
static const Op *op_stale(Cpu *cpu, const Op *op)
{
    cpu->rip = op_rip(cpu, op);
    LEAVE(cpu);
}

static void block_kill(Cpu *cpu, Block *block)
{
    Block **link = &cpu->blocks->hash[hash_of(block->host[0], block->mode)];
    while (*link && *link != block)
        link = &(*link)->hash_next;
    if (*link)
        *link = block->hash_next;
    block->mode = MODE_DEAD;
    for (unsigned i = 0; i <= block->count; i++)
        block->ops[i].fn = op_stale;
}

/* The place in a block's page list where the list goes on: of its first or second page. */
static unsigned half_of(const Block *block, uintptr_t page)
{
    return (block->host[0] & PAGE_MASK) == page ? 0 : 1;
}

static void page_drop(Cpu *cpu, uintptr_t host, uint64_t lines)
{
    CodePage *page = *page_bucket(cpu->blocks, host);
    while (page && page->host != host)
        page = page->next;
    if (!page)
        return;
    Block **link = &page->blocks;
    while (*link) {
        Block *block = *link;
        unsigned half = half_of(block, host);
        if (block->mode != MODE_DEAD && (block->lines[half] & lines))
            block_kill(cpu, block);
        if (block->mode == MODE_DEAD)
            *link = block->page_next[half];
        else
            link = &block->page_next[half];
    }
}

/* ---- For a debugger ---- */

bool blocks_split_at(const Cpu *cpu, unsigned offset)
{
    return cpu->blocks->split[offset / 64] >> offset % 64 & 1;
}

/* Whether a bit of first to last is set. */
static bool any_offset(const uint64_t *offsets, unsigned first, unsigned last)
{
    while (first <= last && first < 64 * PAGE_OFFSET_WORDS) {
        uint64_t word = offsets[first / 64] >> first % 64;
        if (word)
            return first + (unsigned)__builtin_ctzll(word) <= last;
        first = (first | 63) + 1;
    }
    return false;
}

static void split_page(Cpu *cpu, const CodePage *page, const uint64_t *changed)
{
    Block *next;
    for (Block *block = page->blocks; block; block = next) {
        unsigned half = half_of(block, page->host), start = block->host[0] & 0xfff;
        next = block->page_next[half];
        if (!half && block->mode != MODE_DEAD && any_offset(changed, start, start + block->length))
            block_kill(cpu, block);
    }
}

void blocks_split(Cpu *cpu, const uint64_t offsets[PAGE_OFFSET_WORDS])
{
    struct BlockCache *cache = cpu->blocks;
    uint64_t changed[PAGE_OFFSET_WORDS];
    for (unsigned i = 0; i < PAGE_OFFSET_WORDS; i++)
        changed[i] = cache->split[i] ^ offsets[i];
    memcpy(cache->split, offsets, sizeof(cache->split));
    for (unsigned i = 0; i < PAGE_HASH_SIZE; i++)
        for (const CodePage *page = cache->pages[i]; page; page = page->next)
            split_page(cpu, page, changed);
}

void block_end_behind(Cpu *cpu, const Op *op)
{
    while (op->offset)
        op--;
    block_kill(cpu, (Block *)((uintptr_t)op - offsetof(Block, ops)));
}

void cpu_blocks_flush(Cpu *cpu)
{
    struct BlockCache *cache = cpu->blocks;
    memset(cache->hash, 0, sizeof(cache->hash));
    memset(cache->pages, 0, sizeof(cache->pages));
    cache->used = 0;
    spaces_forget_blocks(cpu);
}

/* ---- Chains ---- */

const Op *block_chain(Cpu *cpu, const Op *op, uint64_t rip)
{
    bool flat = cpu->mode & MODE_FLAT;
    const JumpEntry *entry = &cpu->jumps[jump_slot(rip)];
    /* Inside a page the target is the same wherever the page is mapped; in segments that are not
     * flat, IP may wrap. */
    bool near = flat && !((op_rip(cpu, op) ^ rip) & PAGE_MASK);
    if (near && entry->pc == rip && entry->block->mode == cpu->mode && block_may_link(entry->block))
        ((Op *)op)->data = entry->block;
    cpu->link_from = near ? op : NULL;
    cpu->link_target = rip;
    return block_jump(cpu, rip, flat);
}

/* ---- Mail ---- */

static void mail_put(Cpu *cpu, RamBlock *ram, uint64_t page, uint64_t lines)
{
    struct CodeMail *mail = cpu->mail;
    g_mutex_lock(&mail->lock);
    Message *last = mail->count ? &mail->messages[mail->count - 1] : NULL;
    if (last && last->ram == ram && last->page == page && last->lines && lines)
        last->lines |= lines;
    else if (mail->count < MAIL_SIZE)
        mail->messages[mail->count++] = (Message){ram, page, lines};
    else if (lines)
        mail->code_lost = true;
    else
        mail->pages_lost = true;
    __atomic_fetch_or(&cpu->attention, ATTENTION_MAIL, __ATOMIC_SEQ_CST);
    g_mutex_unlock(&mail->lock);
}

static __thread Cpu *writing; /* drops its blocks itself, at once */

static void tell_others(const Cpu *but, RamBlock *ram, uint64_t page, uint64_t lines)
{
    g_mutex_lock(&cpus_lock);
    for (guint i = 0; cpus && i < cpus->len; i++)
        if (g_ptr_array_index(cpus, i) != but)
            mail_put(g_ptr_array_index(cpus, i), ram, page, lines);
    g_mutex_unlock(&cpus_lock);
}

static void on_code_written(RamBlock *ram, uint64_t page, uint64_t lines)
{
    if (writing)
        page_drop(writing, (uintptr_t)ram->host + (page << RAM_PAGE_BITS), lines);
    tell_others(writing, ram, page, lines);
}

static void on_dirty_wanted(RamBlock *ram)
{
    g_mutex_lock(&cpus_lock);
    for (guint i = 0; cpus && i < cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(cpus, i);
        g_mutex_lock(&cpu->mail->lock);
        for (unsigned n = 0; n < cpu->mail->open_count; n++)
            if (cpu->mail->open[n].ram == ram) {
                ram_mark_bits(ram, cpu->mail->open[n].offset, RAM_PAGE_SIZE);
                __atomic_fetch_or(&cpu->attention, ATTENTION_LOGGED, __ATOMIC_SEQ_CST);
            }
        g_mutex_unlock(&cpu->mail->lock);
    }
    g_mutex_unlock(&cpus_lock);
}

bool code_open_logged(Cpu *cpu, RamBlock *ram, uint64_t offset)
{
    struct CodeMail *mail = cpu->mail;
    g_mutex_lock(&mail->lock);
    bool room = mail->open_count < OPEN_SIZE;
    if (room) {
        mail->open[mail->open_count].ram = ram;
        mail->open[mail->open_count++].offset = offset;
    }
    g_mutex_unlock(&mail->lock);
    return room;
}

void code_close_logged(Cpu *cpu)
{
    struct CodeMail *mail = cpu->mail;
    __atomic_fetch_and(&cpu->attention, ~ATTENTION_LOGGED, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&mail->open_count, __ATOMIC_RELAXED))
        return;
    mmu_close_logged(cpu);
    g_mutex_lock(&mail->lock);
    for (unsigned n = 0; n < mail->open_count; n++)
        ram_mark_bits(mail->open[n].ram, mail->open[n].offset, RAM_PAGE_SIZE);
    mail->open_count = 0;
    g_mutex_unlock(&mail->lock);
}

static void read_message(Cpu *cpu, const Message *message)
{
    uint64_t offset = message->page << RAM_PAGE_BITS;
    if (message->lines)
        page_drop(cpu, (uintptr_t)message->ram->host + offset, message->lines);
    else if (mmu_close_page(cpu, message->ram, offset))
        ram_code_written(message->ram, message->page, UINT64_MAX);
}

void code_read_mail(Cpu *cpu, bool between)
{
    struct CodeMail *mail = cpu->mail;
    Message messages[MAIL_SIZE];
    g_mutex_lock(&mail->lock);
    unsigned count = mail->count;
    bool flush = mail->code_lost && between, pages_lost = mail->pages_lost;
    memcpy(messages, mail->messages, count * sizeof(*messages));
    mail->count = 0;
    mail->code_lost &= !between;
    mail->pages_lost = false;
    if (!mail->code_lost)
        __atomic_fetch_and(&cpu->attention, ~ATTENTION_MAIL, __ATOMIC_SEQ_CST);
    g_mutex_unlock(&mail->lock);
    Cpu *outer = writing;
    writing = cpu;
    for (unsigned i = 0; i < count; i++)
        read_message(cpu, &messages[i]);
    if (flush)
        cpu_blocks_flush(cpu);
    if (pages_lost)
        mmu_close_all(cpu);
    writing = outer;
    if (__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED) & ATTENTION_LOGGED)
        code_close_logged(cpu);
}

/* ---- Marks ---- */

void code_mark(Cpu *cpu, RamBlock *ram, uint64_t offset, unsigned length)
{
    uint64_t page = offset >> RAM_PAGE_BITS;
    if (ram_code_mark(ram, page, ram_line_mask(offset, length)))
        return;
    mmu_close_page(cpu, ram, offset & PAGE_MASK);
    tell_others(cpu, ram, page, 0);
}

/* Data that is often written beside code costs a slow store each: after that many the page's blocks
 * are dropped, and are decoded again if they still live. */
enum { STORES_BESIDE_CODE = 4096 };

void cpu_ram_written(Cpu *cpu, RamBlock *ram, uint64_t offset, unsigned length)
{
    uint64_t page = offset >> RAM_PAGE_BITS, mask = ram_line_mask(offset, length);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint64_t lines = ram_code_lines(ram, page);
    if (!lines)
        return;
    RamCode *code = &ram->code[page];
    if (!(lines & mask)) {
        uint32_t stores = __atomic_load_n(&code->stores, __ATOMIC_RELAXED) + 1;
        bool enough = stores >= STORES_BESIDE_CODE;
        __atomic_store_n(&code->stores, enough ? 0 : stores, __ATOMIC_RELAXED);
        if (!enough)
            return;
        mask = UINT64_MAX;
    }
    Cpu *outer = writing;
    writing = cpu;
    ram_code_written(ram, page, mask);
    writing = outer;
}

/* ---- Life ---- */

void blocks_new(Cpu *cpu)
{
    static const RamWatcher watcher = {on_code_written, on_dirty_wanted};
    cpu->blocks = g_new0(struct BlockCache, 1);
    cpu->blocks->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cpu->blocks->arena == MAP_FAILED)
        g_error("cannot map %u bytes for decoded code", ARENA_SIZE);
    cpu->mail = g_new0(struct CodeMail, 1);
    g_mutex_init(&cpu->mail->lock);
    g_mutex_lock(&cpus_lock);
    if (!cpus)
        cpus = g_ptr_array_new();
    g_ptr_array_add(cpus, cpu);
    g_mutex_unlock(&cpus_lock);
    ram_set_watcher(&watcher);
}

void blocks_free(Cpu *cpu)
{
    g_mutex_lock(&cpus_lock);
    g_ptr_array_remove(cpus, cpu);
    g_mutex_unlock(&cpus_lock);
    munmap(cpu->blocks->arena, ARENA_SIZE);
    g_mutex_clear(&cpu->mail->lock);
    g_free(cpu->mail);
    g_free(cpu->blocks);
}
