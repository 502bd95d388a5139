/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The software TLB and the slow paths of memory accesses: misses, page crossings, device memory,
 * pages with decoded code or dirty logging, data breakpoints and alignment checks.
 *
 * While every access has to be looked at (data breakpoints, #AC), cpu->tlb is a table that never
 * hits; the real one is cpu->table.
 */
#include "block.h"

#include "util/rcu.h"

enum {
    RIGHT_READ = 1 << ACCESS_READ,
    RIGHT_WRITE = 1 << ACCESS_WRITE,
    RIGHT_EXEC = 1 << ACCESS_EXEC
};

/* DR7 (SDM vol. 3, 17.2.4): R/W and LEN fields of four bits from bit 16 on. */
enum { DR_EXECUTE, DR_WRITE, DR_IO, DR_ACCESS };

static TlbEntry never[TLB_ENTRIES];

static inline unsigned slot_of(uint64_t linear)
{
    return linear >> 12 & (TLB_ENTRIES - 1);
}

/* ---- Modes ---- */

void mmu_memory_changed(Cpu *cpu)
{
    const Machine *machine = cpu->vcpu->machine;
    bool gated = machine && !machine->a20 && !cpu->bus.no_a20;
    cpu->physical_mask = gated ? ~(1ull << 20) : ~0ull;
    walk_flush_windows(cpu);
    cpu_tlb_flush(cpu, true);
}

static bool watches_data(const Cpu *cpu)
{
    for (unsigned i = 0; i < 4; i++)
        if ((cpu->dr[7] >> 2 * i & 3) && (cpu->dr[7] >> (16 + 4 * i) & 1))
            return true;
    return false;
}

void mmu_mode_changed(Cpu *cpu)
{
    uint64_t key = (cpu->cr0 & (CR0_PG | CR0_WP | CR0_PE)) |
                   (cpu->cr4 & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP)) << 32 |
                   (cpu->efer & (EFER_NXE | EFER_LMA)) | (cpu->smm ? 1u << 2 : 0);
    if (key != cpu->paging_key) {
        if ((key ^ cpu->paging_key) & 1u << 2)
            walk_flush_windows(cpu);
        cpu->paging_key = key;
        cpu_tlb_flush(cpu, true);
    }
    cpu->table = cpu->cpl == 3                                     ? TLB_USER
                 : (cpu->cr4 & CR4_SMAP) && (cpu->eflags & EFL_AC) ? TLB_KERNEL_AC
                                                                   : TLB_KERNEL;
    cpu->watching = watches_data(cpu);
    cpu->checks_alignment =
        cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->eflags & EFL_AC) && (cpu->cr0 & CR0_PE);
    cpu->tlb = cpu->watching || cpu->checks_alignment ? never : cpu->t->tables[cpu->table];
}

void mmu_init(Cpu *cpu)
{
    for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
        never[slot].read = never[slot].write = never[slot].exec = TLB_NONE;
    spaces_init(cpu);
    walk_init(cpu);
}

void mmu_fini(Cpu *cpu)
{
    walk_fini(cpu);
    spaces_fini(cpu);
}

/* ---- Filling ---- */

static void find_memory(Cpu *cpu, TlbInfo *info)
{
    rcu_read_lock();
    const FlatRange *range = view_find(as_view(cpu_memory(cpu)), info->physical);
    uint64_t inside = range ? info->physical - range->start : 0;
    /* A page that is RAM only in part, or not aligned in it, goes the way of devices. */
    if (range && range->region->kind == REGION_RAM && range->size - inside >= RAM_PAGE_SIZE &&
        !((range->offset + inside) & 0xfff)) {
        info->ram = range->region->ram;
        info->offset = range->offset + inside;
        info->readonly = range->readonly;
        info->logged = range->dirty_clients != 0;
    }
    rcu_read_unlock();
}

static uint8_t rights_of(const Cpu *cpu, unsigned table, const Walk *walk)
{
    bool user = table == TLB_USER, smap = table == TLB_KERNEL && (cpu->cr4 & CR4_SMAP);
    uint8_t rights = 0;
    if (user || !walk->user || !smap)
        rights |= RIGHT_READ;
    if (rights && walk->dirty && (walk->writable || (!user && !(cpu->cr0 & CR0_WP))))
        rights |= RIGHT_WRITE;
    if (walk->executable && (user || !walk->user || !(cpu->cr4 & CR4_SMEP)))
        rights |= RIGHT_EXEC;
    return rights;
}

/* Whether stores may go to the page without a call. */
static bool plain_write(const TlbInfo *info)
{
    return (info->rights & RIGHT_WRITE) && info->ram && !info->readonly && !info->logged &&
           !info->watched && !ram_code_lines(info->ram, info->offset >> RAM_PAGE_BITS);
}

static TlbInfo *install(Cpu *cpu, unsigned table, uint64_t linear, const Walk *walk)
{
    unsigned slot = slot_of(linear);
    TlbInfo *info = &cpu->t->infos[table][slot];
    TlbEntry *entry = &cpu->t->tables[table][slot];
    TlbFills *fills = &cpu->t->fills[walk->global];
    *info = (TlbInfo){.page = linear & PAGE_MASK,
                      .physical = walk->physical,
                      .rights = rights_of(cpu, table, walk),
                      .watched = cpu_watched_accesses(cpu, linear & PAGE_MASK),
                      .large = walk->size_bits > 12,
                      .global = walk->global};
    find_memory(cpu, info);
    if (fills->count < TLB_FILLS)
        fills->slot[fills->count] = (uint16_t)(table * TLB_ENTRIES + slot);
    fills->count++;
    if (info->large)
        space_note_large(cpu, linear, walk->size_bits);
    bool readable = info->ram && (info->rights & RIGHT_READ & ~info->watched);
    bool executable = info->ram && (info->rights & RIGHT_EXEC);
    entry->read = readable ? info->page : TLB_NONE;
    entry->exec = executable ? info->page : TLB_NONE;
    entry->write = plain_write(info) ? info->page : TLB_NONE;
    entry->delta = info->ram ? (uintptr_t)info->ram->host + info->offset - info->page : 0;
    return info;
}

static G_GNUC_NORETURN void page_fault(Cpu *cpu, const Op *op, uint64_t linear, uint32_t error)
{
    cpu->cr2 = linear;
    cpu_fault_code(cpu, op, EXC_PF, error);
}

/* The page of linear with the right for access; faults. */
static TlbInfo *lookup(Cpu *cpu, const Op *op, unsigned table, uint64_t linear, Access access)
{
    TlbInfo *info = &cpu->t->infos[table][slot_of(linear)];
    if (info->page == (linear & PAGE_MASK) && (info->rights & 1 << access))
        return info;
    Walk walk;
    bool smap = table == TLB_KERNEL && (cpu->cr4 & CR4_SMAP);
    if (!walk_linear(cpu, linear, access, table == TLB_USER, smap, &walk))
        page_fault(cpu, op, linear, walk.error);
    return install(cpu, table, linear, &walk);
}

/* What an access of the CPU makes of a linear address: 32 bits outside of long mode, canonical in
 * it. */
static uint64_t normalise(Cpu *cpu, const Op *op, uint64_t linear)
{
    if (!(cpu->mode & MODE_LONG))
        return (uint32_t)linear;
    if ((uint64_t)((int64_t)(linear << 16) >> 16) != linear)
        cpu_fault_code(cpu, op, op && (op->attr & OP_STACK) ? EXC_SS : EXC_GP, 0);
    return linear;
}

/* ---- Data breakpoints and alignment ---- */

static void watch(Cpu *cpu, uint64_t linear, unsigned size, Access access)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    for (unsigned i = 0; i < 4; i++) {
        unsigned control = cpu->dr[7] >> (16 + 4 * i) & 15;
        unsigned length = lengths[control >> 2], kind = control & 3;
        uint64_t start = cpu->dr[i] & ~(uint64_t)(length - 1);
        if (!(cpu->dr[7] >> 2 * i & 3) ||
            !(kind == DR_ACCESS || (kind == DR_WRITE && access == ACCESS_WRITE)))
            continue;
        if (linear < start + length && start < linear + size)
            cpu->debug_pending |= 1u << i;
    }
}

/* What an access has to be aligned to for #AC (SDM vol. 3, table 6-7): m80, FPU environments and
 * states, descriptor tables are not as long as they are aligned. */
static unsigned alignment_of(unsigned size)
{
    switch (size) {
    case 14:
    case 94:
        return 2;
    case 6:
    case 28:
    case 108:
        return 4;
    case 10:
        return 8;
    default:
        return is_pow2(size) ? size : 1;
    }
}

static inline void check_access(Cpu *cpu, const Op *op, uint64_t linear, unsigned size,
                                Access access)
{
    if (G_UNLIKELY(cpu->tlb == never)) {
        if (cpu->checks_alignment && (linear & (alignment_of(size) - 1)))
            cpu_fault_code(cpu, op, EXC_AC, 0);
        if (cpu->watching)
            watch(cpu, linear, size, access);
    }
    if (G_UNLIKELY(cpu->watch_count))
        cpu_debugger_looks(cpu, op, linear, size, access);
}

/* ---- Accesses inside a page ---- */

static void after_device(Cpu *cpu)
{
    /* The access may have changed the memory map, or made a device write to RAM. */
    if (__atomic_load_n(&cpu->attention, __ATOMIC_RELAXED))
        cpu_serve_attention(cpu, false);
    cpu_end_after_device(cpu);
}

static inline uint8_t *host_of(const TlbInfo *info, uint64_t linear)
{
    return info->ram->host + info->offset + (linear & 0xfff);
}

static void read_part(Cpu *cpu, const TlbInfo *info, uint64_t linear, void *buf, unsigned length)
{
    if (info->ram) {
        memcpy(buf, host_of(info, linear), length);
        return;
    }
    fpu_leave(cpu);
    as_read(cpu_memory(cpu), info->physical | (linear & 0xfff), buf, length);
    after_device(cpu);
}

/* Lets stores go to a page without a call, unless somebody has to hear of each.  Who marks code in
 * it from now on tells this CPU first (code.c): so that may be done before a store, too. */
static bool open_page(Cpu *cpu, unsigned table, const TlbInfo *info, uint64_t linear)
{
    if (info->watched || ram_code_lines(info->ram, info->offset >> RAM_PAGE_BITS) ||
        (info->logged && !code_open_logged(cpu, info->ram, info->offset)))
        return false;
    cpu->t->tables[table][slot_of(linear)].write = info->page;
    return true;
}

/* A store to a page without a write tag has been made. */
static void written(Cpu *cpu, unsigned table, TlbInfo *info, uint64_t linear, unsigned length)
{
    uint64_t offset = info->offset + (linear & 0xfff);
    cpu_ram_written(cpu, info->ram, offset, length);
    if (info->logged)
        ram_mark_bits(info->ram, offset, length);
    open_page(cpu, table, info, linear);
}

static void write_part(Cpu *cpu, unsigned table, TlbInfo *info, uint64_t linear, const void *buf,
                       unsigned length)
{
    if (info->ram && !info->readonly) {
        memcpy(host_of(info, linear), buf, length);
        written(cpu, table, info, linear, length);
        return;
    }
    fpu_leave(cpu);
    as_write(cpu_memory(cpu), info->physical | (linear & 0xfff), buf, length);
    after_device(cpu);
}

/* ---- Whole accesses ---- */

static inline bool crosses(uint64_t linear, unsigned size)
{
    return (linear & 0xfff) + size > 0x1000;
}

static void probe(Cpu *cpu, const Op *op, unsigned table, uint64_t linear, unsigned size,
                  Access access)
{
    lookup(cpu, op, table, normalise(cpu, op, linear), access);
    for (uint64_t page = (linear & PAGE_MASK) + 0x1000; page < linear + size; page += 0x1000) {
        uint64_t at = normalise(cpu, op, page);
        lookup(cpu, op, table, at, access);
    }
}

static void read_bytes(Cpu *cpu, const Op *op, unsigned table, uint64_t linear, void *buf,
                       unsigned length)
{
    uint8_t *to = buf;
    if (crosses(linear, length))
        probe(cpu, op, table, linear, length, ACCESS_READ);
    while (length) {
        unsigned part = MIN(length, 0x1000 - (unsigned)(linear & 0xfff));
        uint64_t at = normalise(cpu, op, linear);
        read_part(cpu, lookup(cpu, op, table, at, ACCESS_READ), at, to, part);
        to += part;
        linear += part;
        length -= part;
    }
}

static void write_bytes(Cpu *cpu, const Op *op, unsigned table, uint64_t linear, const void *buf,
                        unsigned length)
{
    const uint8_t *from = buf;
    if (crosses(linear, length))
        probe(cpu, op, table, linear, length, ACCESS_WRITE);
    while (length) {
        unsigned part = MIN(length, 0x1000 - (unsigned)(linear & 0xfff));
        uint64_t at = normalise(cpu, op, linear);
        write_part(cpu, table, lookup(cpu, op, table, at, ACCESS_WRITE), at, from, part);
        from += part;
        linear += part;
        length -= part;
    }
}

static uint64_t load(Cpu *cpu, const Op *op, unsigned table, uint64_t linear, unsigned size)
{
    uint64_t value = 0;
    read_bytes(cpu, op, table, linear, &value, size);
    return value;
}

uint64_t cpu_load_slow(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    check_access(cpu, op, linear, size, ACCESS_READ);
    return load(cpu, op, cpu->table, linear, size);
}

void cpu_store_slow(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value, unsigned size)
{
    check_access(cpu, op, linear, size, ACCESS_WRITE);
    write_bytes(cpu, op, cpu->table, linear, &value, size);
}

void cpu_read_bytes(Cpu *cpu, const Op *op, uint64_t linear, void *buf, unsigned length)
{
    check_access(cpu, op, linear, length, ACCESS_READ);
    read_bytes(cpu, op, cpu->table, linear, buf, length);
}

void cpu_write_bytes(Cpu *cpu, const Op *op, uint64_t linear, const void *buf, unsigned length)
{
    check_access(cpu, op, linear, length, ACCESS_WRITE);
    write_bytes(cpu, op, cpu->table, linear, buf, length);
}

uint64_t cpu_load_system(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    return load(cpu, op, TLB_KERNEL, linear, size);
}

void cpu_store_system(Cpu *cpu, const Op *op, uint64_t linear, uint64_t value, unsigned size)
{
    write_bytes(cpu, op, TLB_KERNEL, linear, &value, size);
}

void cpu_probe(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access)
{
    probe(cpu, op, cpu->table, linear, size, access);
}

/* A store to a page that cannot be opened is about to be made, by whoever has asked for a pointer.
 */
static void note_store(Cpu *cpu, const TlbInfo *info, uint64_t linear, unsigned length)
{
    cpu->untold.ram = info->ram;
    cpu->untold.offset = info->offset + (linear & 0xfff);
    cpu->untold.length = length;
}

void cpu_tell_store(Cpu *cpu)
{
    RamBlock *ram = cpu->untold.ram;
    cpu->untold.ram = NULL;
    cpu_ram_written(cpu, ram, cpu->untold.offset, cpu->untold.length);
    ram_mark_bits(ram, cpu->untold.offset, cpu->untold.length);
}

void *cpu_host_slow(Cpu *cpu, const Op *op, uint64_t linear, unsigned size, Access access)
{
    probe(cpu, op, cpu->table, linear, size, access);
    if (crosses(linear, size) || cpu->watching)
        return NULL;
    linear = normalise(cpu, op, linear);
    TlbInfo *info = lookup(cpu, op, cpu->table, linear, access);
    if (!info->ram || info->watched)
        return NULL; /* who is told so comes back with the accesses */
    check_access(cpu, op, linear, size, access);
    if (access == ACCESS_WRITE) {
        if (info->readonly || ram_code_lines(info->ram, info->offset >> RAM_PAGE_BITS))
            return NULL;
        if (!open_page(cpu, cpu->table, info, linear))
            note_store(cpu, info, linear, size);
    }
    return host_of(info, linear);
}

/* The page of a read-modify-write, if it is RAM, and all of it. */
static const TlbInfo *rmw_page(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    check_access(cpu, op, linear, size, ACCESS_WRITE);
    probe(cpu, op, cpu->table, linear, size, ACCESS_WRITE);
    if (G_UNLIKELY(cpu->watch_count))
        cpu_debugger_looks(cpu, op, linear, size, ACCESS_READ);
    if (crosses(linear, size))
        return NULL;
    const TlbInfo *info = lookup(cpu, op, cpu->table, normalise(cpu, op, linear), ACCESS_WRITE);
    return info->ram && !info->readonly ? info : NULL;
}

void *cpu_host_rmw(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    const TlbInfo *info = rmw_page(cpu, op, linear, size);
    return info && open_page(cpu, cpu->table, info, linear) ? host_of(info, linear) : NULL;
}

/* On a page with code or dirty logging the host's atomic instruction has to be done on the RAM
 * itself, too. */
void *cpu_host_lock(Cpu *cpu, const Op *op, uint64_t linear, unsigned size)
{
    const TlbInfo *info = rmw_page(cpu, op, linear, size);
    if (!info)
        return NULL;
    if (!open_page(cpu, cpu->table, info, linear))
        note_store(cpu, info, linear, size);
    return host_of(info, linear);
}

uint64_t cpu_translate(Cpu *cpu, const Op *op, uint64_t linear, Access access, bool user)
{
    Walk walk;
    linear = normalise(cpu, op, linear);
    if (!walk_linear(cpu, linear, access, user, false, &walk))
        page_fault(cpu, op, linear, walk.error);
    return walk.physical | (linear & 0xfff);
}

/* ---- For decode.c and code.c ---- */

uint8_t *mmu_fetch(Cpu *cpu, uint64_t linear, TlbInfo *info)
{
    *info = *lookup(cpu, NULL, cpu->table, linear, ACCESS_EXEC);
    return info->ram ? host_of(info, linear) : NULL;
}

/* What mmu_close_page() looks for. */
typedef struct Closing {
    uintptr_t host;
    bool any;
} Closing;

static void close_page(TlbEntry *entry, const TlbInfo *info, void *opaque)
{
    Closing *closing = opaque;
    if (entry->write + entry->delta != closing->host)
        return;
    entry->write = TLB_NONE;
    closing->any = true;
}

bool mmu_close_page(Cpu *cpu, const RamBlock *ram, uint64_t offset)
{
    Closing closing = {.host = (uintptr_t)ram->host + offset};
    spaces_for_writable(cpu, close_page, &closing);
    return closing.any;
}

static void close_logged(TlbEntry *entry, const TlbInfo *info, void *opaque)
{
    if (info->logged)
        entry->write = TLB_NONE;
}

void mmu_close_logged(Cpu *cpu)
{
    spaces_for_writable(cpu, close_logged, NULL);
}

static void close_any(TlbEntry *entry, const TlbInfo *info, void *opaque)
{
    entry->write = TLB_NONE;
    if (ram_code_lines(info->ram, info->offset >> RAM_PAGE_BITS))
        ram_code_written(info->ram, info->offset >> RAM_PAGE_BITS, UINT64_MAX);
}

void mmu_close_all(Cpu *cpu)
{
    spaces_for_writable(cpu, close_any, NULL);
}
