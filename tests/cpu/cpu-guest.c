/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The processor of cpu-guest.h. */
#include "cpu-guest.h"

#include "accel/test.h"
#include "util/bytes.h"

enum { CR0_PE = 1, CR0_WP = 1 << 16, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_OSFXSR = 3 << 9 };
enum { EFER_SCE = 1, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };
enum { PAGE_RW = 7, PAGE_LARGE = 0x80 };

/* The engine's part that the CPU calls. */
void vcpu_request(Vcpu *cpu, uint32_t bits)
{
    __atomic_fetch_or(&cpu->requests, bits, __ATOMIC_SEQ_CST);
}

static int take_interrupt(Vcpu *vcpu)
{
    CpuGuest *guest = vcpu->engine;
    int vector = guest->interrupt;
    guest->interrupt = -1;
    vcpu_take(vcpu, VCPU_REQ_INTR);
    return vector;
}

static uint64_t read_cr8(Vcpu *vcpu)
{
    return 0;
}

static void write_cr8(Vcpu *vcpu, uint64_t value)
{
}

static bool apic_msr(Vcpu *vcpu, uint32_t index, bool write, uint64_t *value)
{
    if (index != 0x1b || write)
        return false;
    *value = 0xfee00900;
    return true;
}

static uint64_t read_tsc(Vcpu *vcpu)
{
    return __builtin_ia32_rdtsc();
}

static void write_tsc(Vcpu *vcpu, uint64_t value)
{
}

const CpuBus cpu_guest_bus = {take_interrupt, read_cr8, write_cr8, apic_msr,
                              NULL,           read_tsc, write_tsc};

static uint64_t mmio_read(void *opaque, hwaddr offset, unsigned size)
{
    CpuGuest *guest = opaque;
    guest->mmio_reads++;
    return ldn_le(guest->scratch + offset, size);
}

static void mmio_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    CpuGuest *guest = opaque;
    guest->mmio_writes++;
    stn_le(guest->scratch + offset, size, value);
    if (guest->on_mmio_write)
        guest->on_mmio_write(guest);
}

static const RegionOps mmio_ops = {mmio_read, mmio_write, .max_size = 8, .unaligned = true};

/* ---- Tables ---- */

static void put_descriptors(CpuGuest *guest)
{
    static const uint64_t gdt[] = {
        [SEL_CODE64 / 8] = 0x00af9b000000ffff,
        [SEL_DATA / 8] = 0x00cf93000000ffff,
        [SEL_CODE32 / 8] = 0x00cf9b000000ffff,
        [SEL_CODE16 / 8] = 0x00009b000000ffff,
        [SEL_USER_CODE / 8] = 0x00affb000000ffff,
        [SEL_USER_DATA / 8] = 0x00cff3000000ffff,
        [SEL_TSS / 8] = 0x00008b0000000067 | (uint64_t)GUEST_TSS << 16,
    };
    memcpy(guest->ram + GUEST_GDT, gdt, sizeof(gdt));
}

static void put_interrupts(CpuGuest *guest, GuestMode mode)
{
    for (unsigned vector = 0; vector < 256; vector++) {
        uint32_t handler = GUEST_HANDLERS + vector * 16;
        guest->ram[handler] = 0xf4;
        uint64_t gate = (handler & 0xffff) | 0x8e0000000000ull | (uint64_t)(handler >> 16) << 48;
        if (mode == GUEST_REAL) {
            st32_le(guest->ram + vector * 4, handler);
        } else if (mode == GUEST_FLAT32) {
            st64_le(guest->ram + GUEST_IDT + vector * 8, gate | SEL_CODE32 << 16);
        } else {
            st64_le(guest->ram + GUEST_IDT + vector * 16, gate | SEL_CODE64 << 16);
            st64_le(guest->ram + GUEST_IDT + vector * 16 + 8, 0);
        }
    }
}

static void put_tables(CpuGuest *guest)
{
    uint8_t *tables = guest->ram + GUEST_TABLES;
    st64_le(tables, (GUEST_TABLES + 0x1000) | PAGE_RW);
    st64_le(tables + 0x1000, (GUEST_TABLES + 0x2000) | PAGE_RW);
    for (unsigned i = 0; i < 512; i++)
        st64_le(tables + 0x2000 + 8 * i, (uint64_t)i << 21 | PAGE_LARGE | PAGE_RW);
    st64_le(guest->ram + GUEST_TSS + 4, GUEST_STACK0);
}

void *cpu_guest_small_pages(CpuGuest *guest)
{
    uint8_t *tables = guest->ram + GUEST_TABLES;
    if (guest->state.efer & EFER_LMA) {
        st64_le(tables + 0x2000, (GUEST_TABLES + 0x3000) | PAGE_RW);
        for (unsigned i = 0; i < 512; i++)
            st64_le(tables + 0x3000 + 8 * i, (uint64_t)i << 12 | PAGE_RW);
        return tables + 0x3000;
    }
    for (unsigned i = 0; i < 1024; i++) {
        st32_le(tables + 0x4000 + 4 * i, i << 22 | PAGE_LARGE | PAGE_RW);
        st32_le(tables + 0x5000 + 4 * i, i << 12 | PAGE_RW);
    }
    st32_le(tables + 0x4000, (GUEST_TABLES + 0x5000) | PAGE_RW);
    guest->state.cr3 = GUEST_TABLES + 0x4000;
    guest->state.cr0 |= 1u << 31 | CR0_WP;
    guest->state.cr4 |= CR4_PSE;
    return tables + 0x5000;
}

/* ---- Life ---- */

static void set_segments(CpuState *state, GuestMode mode)
{
    CpuSegment data = {.selector = SEL_DATA, .attr = 0xc093, .limit = UINT32_MAX};
    CpuSegment code64 = {.selector = SEL_CODE64, .attr = 0xa09b, .limit = UINT32_MAX};
    CpuSegment code32 = {.selector = SEL_CODE32, .attr = 0xc09b, .limit = UINT32_MAX};
    if (mode == GUEST_REAL)
        data = (CpuSegment){.attr = 0x93, .limit = 0xffff};
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state->seg[i] = data;
    if (mode != GUEST_REAL)
        state->seg[SEG_CS] = mode == GUEST_LONG ? code64 : code32;
    else
        state->seg[SEG_CS] = (CpuSegment){
            .selector = GUEST_CODE_AT >> 4, .base = GUEST_CODE_AT, .attr = 0x9b, .limit = 0xffff};
    state->tr = (CpuSegment){.selector = SEL_TSS, .base = GUEST_TSS, .limit = 0x67, .attr = 0x8b};
}

void cpu_guest_reset(CpuGuest *guest, GuestMode mode)
{
    CpuState *state = &guest->state;
    cpu_state_reset(state, true, 0, 0);
    set_segments(state, mode);
    put_descriptors(guest);
    put_interrupts(guest, mode);
    put_tables(guest);
    state->gdt_base = GUEST_GDT;
    state->gdt_limit = SEL_TSS + 15;
    state->idt_base = mode == GUEST_REAL ? 0 : GUEST_IDT;
    state->idt_limit = 0xfff;
    state->rip = mode == GUEST_REAL ? 0 : GUEST_CODE_AT;
    state->gpr[GPR_RSP] = mode == GUEST_REAL ? 0x8000 : GUEST_STACK;
    state->gpr[GPR_RDX] = 0;
    state->cr0 = mode == GUEST_REAL ? 0x10 : 0x10 | CR0_PE;
    state->cr4 = CR4_OSFXSR;
    if (mode == GUEST_LONG) {
        state->cr0 |= 1u << 31 | CR0_WP;
        state->cr3 = GUEST_TABLES;
        state->cr4 |= CR4_PAE;
        state->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    }
    guest->interrupt = -1;
    guest->vcpu.requests = 0;
}

void cpu_guest_user(CpuGuest *guest)
{
    CpuState *state = &guest->state;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        state->seg[i] =
            (CpuSegment){.selector = SEL_USER_DATA, .attr = 0xc0f3, .limit = UINT32_MAX};
    state->seg[SEG_CS] =
        (CpuSegment){.selector = SEL_USER_CODE, .attr = 0xa0fb, .limit = UINT32_MAX};
}

CpuGuest *cpu_guest_new(GuestMode mode)
{
    CpuGuest *guest = g_new0(CpuGuest, 1);
    g_autoptr(GArray) leaves = g_array_new(FALSE, TRUE, sizeof(CpuidEntry));
    guest->machine = test_machine_new(GUEST_RAM);
    guest->ram = region_ram_ptr(guest->machine->ram);
    region_init_io(&guest->mmio, "scratch", sizeof(guest->scratch), &mmio_ops, guest, NULL);
    region_add(&guest->machine->mem_root, GUEST_MMIO, &guest->mmio);
    guest->vcpu.machine = guest->machine;
    guest->vcpu.engine = guest;
    cpu_supported_cpuid(leaves);
    guest->cpu = cpu_new(&guest->vcpu, &guest->machine->mem, NULL, &guest->machine->io,
                         &cpu_guest_bus, (const CpuidEntry *)(void *)leaves->data, leaves->len);
    cpu_guest_reset(guest, mode);
    return guest;
}

void cpu_guest_free(CpuGuest *guest)
{
    cpu_free(guest->cpu);
    region_fini(&guest->mmio);
    test_machine_free(guest->machine);
    g_free(guest);
}

void cpu_guest_load(CpuGuest *guest, uint64_t address, const void *bytes, size_t length)
{
    /* As a device would: so that decoded code is dropped. */
    dma_write(&guest->machine->mem, address, bytes, length);
}

/* ---- Running ---- */

CpuRun cpu_guest_go_on(CpuGuest *guest, uint64_t budget)
{
    loop_unlock(guest->machine->loop);
    CpuRun why = cpu_run(guest->cpu, budget, false);
    loop_lock(guest->machine->loop);
    cpu_get_state(guest->cpu, &guest->state);
    return why;
}

CpuRun cpu_guest_run(CpuGuest *guest, uint64_t budget)
{
    cpu_set_state(guest->cpu, &guest->state);
    return cpu_guest_go_on(guest, budget);
}

int cpu_guest_vector(const CpuGuest *guest)
{
    uint64_t rip = guest->state.rip + guest->state.seg[SEG_CS].base - GUEST_HANDLERS;
    return rip < 256 * 16 ? (int)(rip / 16) : -1;
}

void cpu_guest_complete(CpuGuest *guest)
{
    g_assert_cmpint(cpu_guest_run(guest, 100000000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
}

uint64_t cpu_guest_frame(const CpuGuest *guest, unsigned index)
{
    unsigned size = guest->state.efer & EFER_LMA ? 8 : guest->state.cr0 & CR0_PE ? 4 : 2;
    uint64_t at = guest->state.seg[SEG_SS].base + guest->state.gpr[GPR_RSP] + index * size;
    g_assert_cmpuint(at + size, <=, GUEST_RAM);
    return ldn_le(guest->ram + at, size);
}
