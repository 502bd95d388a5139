/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pair.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "cpu/cpu.h"
#include "util/bytes.h"

/* Where things are in guest RAM. */
enum {
    RAM_SIZE = 0x40000,
    TABLES = 0x1000, /* PML4, PDPT, two page directories, two page tables */
    GDT = 0x8000,
    IDT = 0x9000,
    TSS = 0xa000,
    STACK = 0xc000, /* grows down */
    HANDLERS = 0xc000,
    SYSTEM = 0x40000000, /* linear, supervisor only: all of the above */
    RAM_CODE = 0x10000,
    RAM_DATA = 0x18000,
    RAM_CONST = 0x20000,
    DEVICE = 0x100000,
    DEVICE_BYTES = 64,
    HANDLER_SIZE = 16,
};
/* Linux's selectors, so that those that are pushed and stored agree. */
enum { KERNEL_CS = 0x10, KERNEL_SS = 0x18, USER_CS32 = 0x23, USER_DS = 0x2b, USER_CS64 = 0x33 };
enum { EFLAGS_KEPT = 0xcd5, EFLAGS_FIXED = 0x202 };

struct Pair {
    Machine *machine;
    Region ram;
    Vcpu vcpu;
    Cpu *cpu;
    Region device;
    uint8_t registers[DEVICE_BYTES];
    uint8_t *host; /* of the RAM */
    uint64_t cr0, cr4;
    void *signal_stack;
};

/* ---- The host ---- */

static struct {
    sigjmp_buf back;
    PairResult *result;
} native;

/* What the entry code reads. */
typedef struct Entry {
    uint64_t gpr[16];
    uint64_t rflags;
    uint64_t target; /* 32 bits: the selector is in the upper half */
} Entry;

static Entry entry __attribute__((used));

__attribute__((noinline, noreturn)) static void enter64(void)
{
    __asm__ volatile("push %0\n\t"
                     "popfq\n\t"
                     "mov entry+0(%%rip), %%rax\n\t"
                     "mov entry+8(%%rip), %%rcx\n\t"
                     "mov entry+16(%%rip), %%rdx\n\t"
                     "mov entry+24(%%rip), %%rbx\n\t"
                     "mov entry+32(%%rip), %%rsp\n\t"
                     "mov entry+40(%%rip), %%rbp\n\t"
                     "mov entry+48(%%rip), %%rsi\n\t"
                     "mov entry+56(%%rip), %%rdi\n\t"
                     "mov entry+64(%%rip), %%r8\n\t"
                     "mov entry+72(%%rip), %%r9\n\t"
                     "mov entry+80(%%rip), %%r10\n\t"
                     "mov entry+88(%%rip), %%r11\n\t"
                     "mov entry+96(%%rip), %%r12\n\t"
                     "mov entry+104(%%rip), %%r13\n\t"
                     "mov entry+112(%%rip), %%r14\n\t"
                     "mov entry+120(%%rip), %%r15\n\t"
                     "jmp *entry+136(%%rip)\n\t"
                     :
                     : "r"(entry.rflags)
                     : "memory");
    __builtin_unreachable();
}

__attribute__((noinline, noreturn)) static void enter32(void)
{
    __asm__ volatile("push %0\n\t"
                     "mov %1, %%ds\n\t"
                     "mov %1, %%es\n\t"
                     "popfq\n\t"
                     "mov entry+0(%%rip), %%rax\n\t"
                     "mov entry+8(%%rip), %%rcx\n\t"
                     "mov entry+16(%%rip), %%rdx\n\t"
                     "mov entry+24(%%rip), %%rbx\n\t"
                     "mov entry+32(%%rip), %%rsp\n\t"
                     "mov entry+40(%%rip), %%rbp\n\t"
                     "mov entry+48(%%rip), %%rsi\n\t"
                     "mov entry+56(%%rip), %%rdi\n\t"
                     "ljmp *entry+136(%%rip)\n\t"
                     :
                     : "r"(entry.rflags), "r"(USER_DS)
                     : "memory");
    __builtin_unreachable();
}

static void on_signal(int number, siginfo_t *info, void *opaque)
{
    static const uint8_t registers[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                          REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                          REG_R12, REG_R13, REG_R14, REG_R15};
    const ucontext_t *context = opaque;
    const greg_t *gregs = context->uc_mcontext.gregs;
    PairResult *result = native.result;
    for (unsigned i = 0; i < 16; i++)
        result->state.gpr[i] = (uint64_t)gregs[registers[i]];
    result->state.rip = (uint64_t)gregs[REG_RIP];
    result->state.rflags = gregs[REG_EFL] & EFLAGS_KEPT;
    result->vector = (int)gregs[REG_TRAPNO];
    result->error = (uint32_t)gregs[REG_ERR];
    result->cr2 = (uint64_t)gregs[REG_CR2];
    memcpy(result->state.xsave, context->uc_mcontext.fpregs, PAIR_XSAVE);
    siglongjmp(native.back, 1);
}

static void catch_signals(Pair *pair)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    enum { STACK_SIZE = 1 << 16 };
    pair->signal_stack = g_malloc(STACK_SIZE);
    stack_t stack = {.ss_sp = pair->signal_stack, .ss_size = STACK_SIZE};
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        struct sigaction action = {.sa_sigaction = on_signal,
                                   .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        sigaction(numbers[i], &action, NULL);
    }
}

static void xrstor(const uint8_t *area)
{
    __asm__ volatile("xrstor64 %0" : : "m"(*(const uint8_t(*)[PAIR_XSAVE])area), "a"(7), "d"(0));
}

/* Puts what a component is initially where the header says that it is that. */
static void fill_initial(uint8_t *area)
{
    uint64_t present = ld64_le(area + 512);
    if (!(present & 1)) {
        memset(area, 0, 24);
        memset(area + 32, 0, 128);
        st16_le(area, 0x37f);
    }
    if (!(present & 2))
        memset(area + 160, 0, 256);
    if (!(present & 4))
        memset(area + 576, 0, 256);
}

void pair_run_host(Pair *pair, unsigned bits, const PairState *state, PairResult *result)
{
    memcpy(entry.gpr, state->gpr, sizeof(entry.gpr));
    entry.rflags = (state->rflags & EFLAGS_KEPT) | EFLAGS_FIXED;
    entry.target = state->rip;
    if (bits == 32) {
        uint16_t selector = USER_CS32;
        memcpy((uint8_t *)&entry.target + 4, &selector, sizeof(selector));
    }
    native.result = result;
    if (!sigsetjmp(native.back, 0)) {
        xrstor(state->xsave);
        if (bits == 32)
            enter32();
        enter64();
    }
    __asm__ volatile("fninit; vzeroall; ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
    fill_initial(result->state.xsave);
    memcpy(result->data, pair_data(pair), PAIR_DATA_SIZE);
}

bool pair_host_runs(Pair *pair, unsigned bits)
{
    enum { TRAP_BREAKPOINT = 3 };
    PairState state = {.rip = PAIR_CODE};
    PairResult result;
    st16_le(state.xsave, 0x37f);
    st32_le(state.xsave + 24, 0x1f80);
    pair_run_host(pair, bits, &state, &result);
    if (result.vector == TRAP_BREAKPOINT)
        return true;
    g_autofree char *text = g_strdup_printf("this host runs no %u-bit code", bits);
    g_test_skip(text);
    return false;
}

/* ---- The guest ---- */

/* There are no threads. */
void vcpu_request(Vcpu *cpu, uint32_t bits)
{
    cpu->requests |= bits;
}

static uint64_t read_tsc(Vcpu *vcpu)
{
    return 0;
}
static void write_tsc(Vcpu *vcpu, uint64_t value)
{
}
static uint64_t device_read(void *opaque, hwaddr offset, unsigned size)
{
    Pair *pair = opaque;
    /* Devices are called with the FPU as C has it. */
    volatile long double one = 1;
    g_assert_true(one + 1 == 2);
    return ldn_le(pair->registers + offset % DEVICE_BYTES, size);
}

static void device_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    Pair *pair = opaque;
    stn_le(pair->registers + offset % DEVICE_BYTES, size, value);
}

static const RegionOps device_ops = {.read = device_read, .write = device_write};
static const CpuBus bus = {.read_tsc = read_tsc, .write_tsc = write_tsc};

static void map(Pair *pair, uint64_t linear, uint64_t physical, uint64_t flags)
{
    enum { PRESENT_ALL = 7 };
    unsigned system = linear >= SYSTEM;
    uint64_t directory = TABLES + (2 + system) * 0x1000, table = TABLES + (4 + system) * 0x1000;
    st64_le(pair->host + TABLES, (TABLES + 0x1000) | PRESENT_ALL);
    st64_le(pair->host + TABLES + 0x1000 + (linear >> 30) * 8, directory | PRESENT_ALL);
    st64_le(pair->host + directory + (linear >> 21 & 511) * 8, table | PRESENT_ALL);
    st64_le(pair->host + table + (linear >> 12 & 511) * 8, physical | flags);
}

static void map_all(Pair *pair)
{
    enum { KERNEL = 0x63, READ = 0x65, WRITE = 0x67 };
    for (unsigned at = 0; at < RAM_CODE; at += 0x1000)
        map(pair, SYSTEM + at, at, KERNEL);
    for (unsigned at = 0; at < PAIR_CODE_SIZE; at += 0x1000)
        map(pair, PAIR_CODE + at, RAM_CODE + at, READ);
    for (unsigned at = 0; at < PAIR_DATA_SIZE; at += 0x1000)
        map(pair, PAIR_DATA + at, RAM_DATA + at, WRITE);
    map(pair, PAIR_CONST, RAM_CONST, READ);
    map(pair, PAIR_DEVICE, DEVICE, WRITE);
}

static void set_tables(Pair *pair)
{
    static const uint64_t gdt[] = {0,
                                   0,
                                   0x00af9b000000ffff,
                                   0x00cf93000000ffff,
                                   0x00cffb000000ffff,
                                   0x00cff3000000ffff,
                                   0x00affb000000ffff};
    memcpy(pair->host + GDT, gdt, sizeof(gdt));
    for (unsigned i = 0; i < 256; i++) {
        uint64_t handler = SYSTEM + HANDLERS + i * HANDLER_SIZE;
        uint64_t kind = i == 3 || i == 4 ? 0xee00 : 0x8e00;
        st64_le(pair->host + IDT + 16 * i,
                (handler & 0xffff) | KERNEL_CS << 16 | kind << 32 | (handler >> 16 & 0xffff) << 48);
        pair->host[HANDLERS + i * HANDLER_SIZE] = 0xf4; /* hlt */
    }
    st64_le(pair->host + TSS + 4, SYSTEM + STACK);
    st16_le(pair->host + TSS + 102, 0x68); /* no bitmap of ports */
    memset(pair->host + RAM_CODE, 0xcc, PAIR_CODE_SIZE);
}

static void map_host(Pair *pair)
{
    static const struct {
        uintptr_t linear;
        unsigned size, offset;
        int protection;
    } parts[] = {
        {PAIR_CODE, PAIR_CODE_SIZE, RAM_CODE, PROT_READ | PROT_EXEC},
        {PAIR_DATA, PAIR_DATA_SIZE, RAM_DATA, PROT_READ | PROT_WRITE},
        {PAIR_CONST, PAIR_CONST_SIZE, RAM_CONST, PROT_READ},
    };
    const unsigned guard = 0x100000;
    void *around = mmap((void *)(uintptr_t)(PAIR_CODE - guard), 0x20000 + 2 * guard, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    g_assert_cmpuint((uintptr_t)around, ==, PAIR_CODE - guard);
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        void *at = mmap((void *)parts[i].linear, parts[i].size, parts[i].protection,
                        MAP_SHARED | MAP_FIXED, pair->ram.ram->fd, parts[i].offset);
        g_assert_cmpuint((uintptr_t)at, ==, parts[i].linear);
    }
}

Pair *pair_new(const char *model)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) supported = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    g_autoptr(GArray) leaves = g_array_new(FALSE, FALSE, sizeof(CpuidEntry));
    g_autoptr(GString) refused = g_string_new(NULL);
    Pair *pair = g_new0(Pair, 1);
    cpu_supported_cpuid(supported);
    CpuModelRequest request = {.text = model,
                               .supported = (const CpuidEntry *)(void *)supported->data,
                               .supported_count = supported->len,
                               .cores = 1};
    cpu_model_build(&request, leaves, refused, &error);
    g_assert_no_error(error);
    pair->machine = machine_new();
    region_init_ram(&pair->ram, "ram", RAM_SIZE, &error);
    g_assert_no_error(error);
    region_add(&pair->machine->mem_root, 0, &pair->ram);
    region_init_io(&pair->device, "device", 0x1000, &device_ops, pair, NULL);
    region_add(&pair->machine->mem_root, DEVICE, &pair->device);
    pair->host = region_ram_ptr(&pair->ram);
    pair->vcpu = (Vcpu){.machine = pair->machine};
    pair->cpu = cpu_new(&pair->vcpu, &pair->machine->mem, NULL, &pair->machine->io, &bus,
                        (const CpuidEntry *)(void *)leaves->data, leaves->len);
    cpu_reset(pair->cpu, false);
    pair_set_control(pair, PAIR_CR0, PAIR_CR4);
    map_all(pair);
    set_tables(pair);
    map_host(pair);
    catch_signals(pair);
    return pair;
}

void pair_free(Pair *pair)
{
    cpu_free(pair->cpu);
    munmap((void *)(uintptr_t)(PAIR_CODE - 0x100000), 0x220000);
    region_fini(&pair->device);
    region_fini(&pair->ram);
    machine_free(pair->machine);
    stack_t stack = {.ss_flags = SS_DISABLE};
    sigaltstack(&stack, NULL);
    g_free(pair->signal_stack);
    g_free(pair);
}

uint8_t *pair_data(Pair *pair)
{
    return pair->host + RAM_DATA;
}

uint8_t *pair_device(Pair *pair)
{
    return pair->registers;
}

uint8_t *pair_const(Pair *pair)
{
    return pair->host + RAM_CONST;
}

void pair_set_control(Pair *pair, uint64_t cr0, uint64_t cr4)
{
    pair->cr0 = cr0;
    pair->cr4 = cr4;
}

void pair_set_code(Pair *pair, unsigned offset, const void *code, unsigned length)
{
    static unsigned dirty_from, dirty_length;
    memset(pair->host + RAM_CODE + dirty_from, 0xcc, dirty_length);
    memcpy(pair->host + RAM_CODE + offset, code, length);
    ram_mark_dirty(pair->ram.ram, RAM_CODE + dirty_from, dirty_length);
    ram_mark_dirty(pair->ram.ram, RAM_CODE + offset, length);
    dirty_from = offset;
    dirty_length = length;
}

static CpuSegment user_segment(uint16_t selector, uint16_t attr)
{
    return (CpuSegment){.selector = selector,
                        .attr = attr,
                        .limit = selector ? UINT32_MAX : 0,
                        .unusable = !selector};
}

static void set_segments(CpuState *guest, unsigned bits)
{
    enum { DATA = 0xc0f3, CODE32 = 0xc0fb, CODE64 = 0xa0fb };
    uint16_t data = bits == 32 ? USER_DS : 0;
    for (unsigned i = 0; i < SEG_COUNT; i++)
        guest->seg[i] = user_segment(0, 0);
    guest->seg[SEG_CS] =
        bits == 32 ? user_segment(USER_CS32, CODE32) : user_segment(USER_CS64, CODE64);
    guest->seg[SEG_SS] = user_segment(USER_DS, DATA);
    guest->seg[SEG_DS] = guest->seg[SEG_ES] = user_segment(data, data ? DATA : 0);
    guest->ldt.unusable = true;
    guest->tr = (CpuSegment){.selector = 0x40, .attr = 0x8b, .base = SYSTEM + TSS, .limit = 0x67};
    guest->gdt_base = SYSTEM + GDT;
    guest->gdt_limit = 0x37;
    guest->idt_base = SYSTEM + IDT;
    guest->idt_limit = 0xfff;
}

static bool has_error(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void read_frame(Pair *pair, const CpuState *guest, PairResult *result)
{
    uint64_t handler = guest->rip - (SYSTEM + HANDLERS);
    if (handler >= 256 * HANDLER_SIZE || guest->gpr[GPR_RSP] - SYSTEM >= STACK)
        return;
    result->vector = (int)(handler / HANDLER_SIZE);
    const uint8_t *frame = pair->host + (guest->gpr[GPR_RSP] - SYSTEM);
    if (has_error((unsigned)result->vector)) {
        result->error = ld32_le(frame);
        frame += 8;
    }
    result->state.rip = ld64_le(frame);
    result->state.rflags = ld32_le(frame + 16) & EFLAGS_KEPT;
    result->state.gpr[GPR_RSP] = ld64_le(frame + 24);
}

void pair_run_guest(Pair *pair, unsigned bits, const PairState *state, PairResult *result)
{
    static CpuState guest;
    memset(&guest, 0, sizeof(guest));
    memcpy(guest.gpr, state->gpr, sizeof(guest.gpr));
    guest.rip = state->rip;
    guest.rflags = (state->rflags & EFLAGS_KEPT) | EFLAGS_FIXED;
    guest.cr0 = pair->cr0;
    guest.cr3 = TABLES;
    guest.cr4 = pair->cr4;
    guest.efer = 0xd01;
    guest.xcr0 = 7;
    guest.dr[6] = 0xffff0ff0;
    guest.dr[7] = 0x400;
    set_segments(&guest, bits);
    memcpy(guest.xsave, state->xsave, PAIR_XSAVE);
    guest.xsave_size = PAIR_XSAVE;
    cpu_set_state(pair->cpu, &guest);
    *result = (PairResult){.vector = -1};
    CpuRun end = cpu_run(pair->cpu, 10000, false);
    cpu_get_state(pair->cpu, &guest);
    memcpy(result->state.gpr, guest.gpr, sizeof(guest.gpr));
    result->state.rip = guest.rip;
    memcpy(result->state.xsave, guest.xsave, PAIR_XSAVE);
    fill_initial(result->state.xsave);
    result->cr2 = guest.cr2;
    if (end == CPU_RUN_HALTED)
        read_frame(pair, &guest, result);
    memcpy(result->data, pair_data(pair), PAIR_DATA_SIZE);
}
