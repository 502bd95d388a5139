/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's cache of code: what is written over by the CPU itself, by devices and by other
 * CPUs, and what is mapped anew.
 */
#include "cpu-guest.h"

#include "hw/core/ram.h"
#include "util/bytes.h"

#define AT(program, label) "(" #label " - cpu_code_" #program " + 0x20000)"

/* ---- Code that changes ---- */

/* The very next instruction, in the same block. */
CPU_CODE(smc_next, 64, "movb $5, " AT(smc_next, 1f) "+1\n 1: mov $1, %al\n hlt");
/* A loop whose body changes each time round. */
CPU_CODE(smc_loop, 64,
         "xor %ebx, %ebx\n mov $100, %ecx\n 1: add $1, %ebx\n incb " AT(
             smc_loop, 1b) "+2\n"
                           "dec %ecx\n jnz 1b\n hlt");
/* Data beside the code that runs: in its page, not in its lines. */
CPU_CODE(smc_beside, 64, "mov $100000, %ecx\n 1: incl 0x20800\n dec %ecx\n jnz 1b\n hlt");
/* A string over the instruction that runs it, and what follows. */
CPU_CODE(smc_string, 64,
         "lea 1f(%rip), %rsi\n mov $" AT(smc_string,
                                         0f) ", %edi\n mov $8, %ecx\n"
                                             "0: rep movsb\n mov $1, %al\n hlt\n nop\n nop\n"
                                             "1: nop\n nop\n mov $7, %al\n hlt\n nop\n nop\n nop");

static void test_smc(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, smc_next);
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX] & 0xff, ==, 5);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, smc_loop);
    cpu_guest_complete(guest);
    g_assert_cmpuint(guest->state.gpr[GPR_RBX], ==, 100 * 101 / 2);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, smc_beside);
    cpu_guest_complete(guest);
    g_assert_cmpuint(ld32_le(guest->ram + 0x20800), ==, 100000);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, smc_string);
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX] & 0xff, ==, 7);
    cpu_guest_free(guest);
}

/* A device writes code while the CPU's store to it is under way: seen by the next instruction. */
CPU_CODE(smc_device, 64,
         "mov $3, %ecx\n 0: mov %ecx, 0x2000000\n 1: mov $1, %eax\n add %eax, %ebx\n dec %ecx\n"
         "jnz 0b\n hlt");

static void patch_code(CpuGuest *guest)
{
    uint8_t value = (uint8_t)(10 * guest->mmio_writes);
    uint64_t at = 5 + 7 + 1; /* the immediate of label 1 */
    cpu_guest_load(guest, GUEST_CODE_AT + at, &value, 1);
}

static void test_smc_device(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    guest->on_mmio_write = patch_code;
    CPU_LOAD(guest, smc_device);
    cpu_guest_complete(guest);
    g_assert_cmpuint(guest->state.gpr[GPR_RBX], ==, 10 + 20 + 30);
    cpu_guest_free(guest);
}

/*
 * So much code is written while a store to a device is under way that there is no room to tell of
 * all: LOST pages, called before and behind, each of which adds its number to EDX.  The store's own
 * block goes on to one that it has been linked to and changes each time.
 */
enum { LOST = 300, LOST_AT = 0x400000 };
#define CALL_PAGES                                                                                 \
    "mov $0x400000, %esi\n mov $300, %edi\n"                                                       \
    "0: call *%rsi\n add $0x1000, %esi\n dec %edi\n jnz 0b\n"
CPU_CODE(lost, 64,
         CALL_PAGES "mov $4, %ecx\n 1: mov %ecx, 0x2000000\n incl " AT(
             lost,
             2f) "+1\n jmp 2f\n"
                 ".skip 128\n 2: mov $0, %eax\n add %eax, %ebx\n dec %ecx\n jnz 1b\n" CALL_PAGES
                 "hlt");

static void put_page(CpuGuest *guest, unsigned page, uint8_t number)
{
    const uint8_t code[] = {0x83, 0xc2, number, 0xc3}; /* add $number, %edx; ret */
    cpu_guest_load(guest, LOST_AT + page * 0x1000, code, sizeof(code));
}

static void write_pages(CpuGuest *guest)
{
    for (unsigned i = 0; i < LOST && guest->mmio_writes == 3; i++)
        put_page(guest, i, 2);
}

static void test_mail_lost(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    for (unsigned i = 0; i < LOST; i++)
        put_page(guest, i, 1);
    guest->on_mmio_write = write_pages;
    CPU_LOAD(guest, lost);
    cpu_guest_complete(guest);
    g_assert_cmpuint(guest->state.gpr[GPR_RBX], ==, 1 + 2 + 3 + 4);
    g_assert_cmpuint(guest->state.gpr[GPR_RDX], ==, LOST * 1 + LOST * 2);
    cpu_guest_free(guest);
}

/* ---- Code that is mapped anew ---- */

enum { VECTOR_PF = 14, PF_P = 1, PF_I = 16, PTE_G = 0x100, CR4_PGE = 1 << 7 };
#define PTE_NX (1ull << 63)
/* Two pages of code that follow each other, and what the second may be: two pages, which return
 * their number in EAX. */
enum { FIRST = 0x101000, SECOND = 0x102000, SECOND_INDEX = SECOND >> 12 };
enum { ONE = 0x108000, TWO = 0x10a000, PRESENT = 7 };

static void put_returns(CpuGuest *guest)
{
    static const uint8_t code[] = {0xb8, 1, 0, 0, 0, 0xc3};
    memcpy(guest->ram + ONE, code, sizeof(code));
    memcpy(guest->ram + TWO, code, sizeof(code));
    guest->ram[TWO + 1] = 2;
}

/* Goes from the first page into the second, twice, and again when the second is another one: its
 * entry is in EDX. */
#define CALL_THRICE(entry, tell)                                                                   \
    "call *%rsi\n call *%rsi\n mov %eax, %ebx\n mov %rdx, " entry "\n" tell                        \
    "\n xor %eax, %eax\n call *%rsi\n hlt"
CPU_CODE(anew_invlpg, 64, CALL_THRICE("0x13000 + 0x102 * 8", "invlpg 0x102000"));
CPU_CODE(anew_cr3, 64, CALL_THRICE("0x13000 + 0x102 * 8", "mov %cr3, %rcx\n mov %rcx, %cr3"));
/* The 32-bit tables, and all addresses less the base of the segments. */
CPU_CODE(anew_32, 32,
         "call *%esi\n call *%esi\n mov %eax, %ebx\n mov %edx, 0x15000 + 0x102 * 4(%edi)\n"
         "invlpg 0x102000(%edi)\n xor %eax, %eax\n call *%esi\n hlt");

static void run_anew(CpuGuest *guest, uint64_t entry)
{
    put_returns(guest);
    guest->ram[SECOND - 1] = 0x90;
    guest->state.gpr[GPR_RSI] = SECOND - 1 - guest->state.seg[SEG_CS].base;
    guest->state.gpr[GPR_RDX] = entry;
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpuint(guest->state.gpr[GPR_RBX], ==, 1);
}

static void test_page_end(void)
{
    static const struct {
        uint64_t entry;
        int vector;
        uint64_t error;
    } rows[] = {{TWO | PRESENT, -1, 0},
                {0, VECTOR_PF, PF_I},
                {ONE | PRESENT | PTE_NX, VECTOR_PF, PF_P | PF_I}};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(rows); i++) {
        cpu_guest_reset(guest, GUEST_LONG);
        uint64_t *table = cpu_guest_small_pages(guest);
        table[SECOND_INDEX] = ONE | PRESENT;
        if (i % 2)
            CPU_LOAD(guest, anew_cr3);
        else
            CPU_LOAD(guest, anew_invlpg);
        run_anew(guest, rows[i / 2].entry);
        g_assert_cmpint(cpu_guest_vector(guest), ==, rows[i / 2].vector);
        if (rows[i / 2].vector < 0) {
            g_assert_cmpuint(guest->state.gpr[GPR_RAX], ==, 2);
            continue;
        }
        g_assert_cmphex(guest->state.cr2, ==, SECOND);
        g_assert_cmphex(cpu_guest_frame(guest, 0), ==, rows[i / 2].error);
        g_assert_cmphex(cpu_guest_frame(guest, 1), ==, SECOND);
    }
    cpu_guest_free(guest);
}

/* In 32-bit code, in flat segments and others. */
static void test_page_end_32(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_FLAT32);
    for (unsigned base = 0; base <= 0x1000; base += 0x1000) {
        cpu_guest_reset(guest, GUEST_FLAT32);
        uint32_t *table = cpu_guest_small_pages(guest);
        table[SECOND_INDEX] = ONE | PRESENT;
        CPU_LOAD(guest, anew_32);
        guest->state.seg[SEG_CS].base = guest->state.seg[SEG_DS].base = base;
        guest->state.gpr[GPR_RDI] = -base;
        guest->state.rip -= base;
        run_anew(guest, TWO | PRESENT);
        g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
        g_assert_cmpuint(guest->state.gpr[GPR_RAX], ==, 2);
    }
    cpu_guest_free(guest);
}

/* An instruction across the border of a global page and of one that changes with CR3. */
static void test_global_crossing(void)
{
    static const uint8_t first[] = {0xb8, 1, 0}, second[] = {0, 0, 0xc3};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    table[FIRST >> 12] |= PTE_G;
    table[SECOND_INDEX] = ONE | PRESENT;
    guest->state.cr4 |= CR4_PGE;
    CPU_LOAD(guest, anew_cr3);
    memcpy(guest->ram + SECOND - sizeof(first), first, sizeof(first));
    memcpy(guest->ram + ONE, second, sizeof(second));
    memcpy(guest->ram + TWO, second, sizeof(second));
    guest->ram[TWO] = 2;
    guest->state.gpr[GPR_RSI] = SECOND - sizeof(first);
    guest->state.gpr[GPR_RDX] = TWO | PRESENT;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 1);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 0x20001);
    cpu_guest_free(guest);
}

/*
 * SECOND is mapped anew by an INVLPG right in front of it, as the jump in it was about to be linked
 * to its first instruction.  In ONE there stands JMP *RSI, and at 10h a jump to it; in TWO a return
 * of 2.  In front of it: DEC ECX; JNZ to RET; INVLPG [RDI].
 */
CPU_CODE(link_over, 64,
         "mov $0x20100, %esi\n mov $0x102000, %edi\n mov $2, %ecx\n mov $0x101ff7, %ebx\n"
         "call *%rdi\n call *%rbx\n"
         "movq $0x10a007, 0x13000 + 0x102 * 8\n mov %ebx, %esi\n lea 0x10(%rdi), %ebp\n"
         "call *%rbp\n mov %eax, %edx\n"
         "movq $0x108007, 0x13000 + 0x102 * 8\n invlpg (%rdi)\n mov $0x20100, %esi\n"
         "xor %eax, %eax\n call *%rbp\n hlt");

static void test_link_over_invlpg(void)
{
    static const uint8_t one[0x12] = {0xff, 0xe6, [0x10] = 0xeb, 0xee};
    static const uint8_t before[] = {0xc3, 0x90, 0xff, 0xc9, 0x75, 0xfa, 0x90, 0x0f, 0x01, 0x3f};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    table[SECOND_INDEX] = ONE | PRESENT;
    put_returns(guest);
    memcpy(guest->ram + ONE, one, sizeof(one));
    memcpy(guest->ram + SECOND - sizeof(before), before, sizeof(before));
    guest->ram[0x20100] = 0xc3;
    CPU_LOAD(guest, link_over);
    cpu_guest_complete(guest);
    g_assert_cmpuint(guest->state.gpr[GPR_RDX], ==, 2);
    g_assert_cmpuint(guest->state.gpr[GPR_RAX], ==, 0);
    cpu_guest_free(guest);
}

/* A store to a device maps other RAM where the code is: what is jumped to is in there. */
CPU_CODE(map_device, 64,
         "mov $4, %ecx\n 1: mov %ecx, 0x2000000\n jmp 2f\n 2: mov $1, %eax\n add %eax, %ebx\n"
         "dec %ecx\n jnz 1b\n hlt");
static Region other_code;

static void map_other(CpuGuest *guest)
{
    if (guest->mmio_writes != 3)
        return;
    region_add_overlap(&guest->machine->mem_root, FIRST, &other_code, 1);
    cpu_memory_changed(guest->cpu);
}

static void test_map_device(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    g_assert_true(region_init_ram(&other_code, "other", 0x1000, NULL));
    CPU_LOAD_AT(guest, FIRST, map_device);
    memcpy(region_ram_ptr(&other_code), guest->ram + FIRST, 0x1000);
    region_ram_ptr(&other_code)[5 + 7 + 2 + 1] = 2;
    guest->on_mmio_write = map_other;
    guest->state.rip = FIRST;
    cpu_guest_complete(guest);
    g_assert_cmpuint(guest->state.gpr[GPR_RBX], ==, 1 + 1 + 2 + 2);
    region_remove(&other_code);
    cpu_guest_free(guest);
    region_fini(&other_code);
}

/* ---- Two CPUs ---- */

/* For TSan: what guests do to their memory at the same time is their affair. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:read_part\nrace:write_part\nrace:cpu_load\nrace:cpu_store\nrace:read_code\n";
}

typedef struct Second {
    CpuGuest *guest;
    Vcpu vcpu;
    Cpu *cpu;
    CpuState state;
} Second;

static gpointer second_thread(gpointer opaque)
{
    Second *second = opaque;
    while (cpu_run(second->cpu, 1000000, false) != CPU_RUN_HALTED)
        ;
    return NULL;
}

static void second_start(Second *second, uint64_t rip)
{
    second->state = second->guest->state;
    second->state.rip = rip;
    second->state.gpr[GPR_RSP] = GUEST_STACK - 0x8000;
    second->state.waiting_sipi = false;
    cpu_set_state(second->cpu, &second->state);
}

static void second_new(Second *second, CpuGuest *guest, uint64_t rip)
{
    g_autoptr(GArray) leaves = g_array_new(FALSE, TRUE, sizeof(CpuidEntry));
    second->guest = guest;
    second->vcpu = (Vcpu){.machine = guest->machine, .index = 1, .apic_id = 1, .engine = guest};
    cpu_supported_cpuid(leaves);
    second->cpu = cpu_new(&second->vcpu, &guest->machine->mem, NULL, &guest->machine->io,
                          &cpu_guest_bus, (const CpuidEntry *)(void *)leaves->data, leaves->len);
    second_start(second, rip);
}

static void run_both(CpuGuest *guest, Second *second)
{
    GThread *thread = g_thread_new("second", second_thread, second);
    /* They wait for each other: on a busy host that takes what it takes. */
    g_assert_cmpint(cpu_guest_run(guest, UINT64_MAX), ==, CPU_RUN_HALTED);
    g_thread_join(thread);
    cpu_get_state(second->cpu, &second->state);
}

/* Both add to a counter; they meet in a function that each rewrites for the other. */
CPU_CODE(counting, 64,
         "mov $300000, %ecx\n 1: lock incl 0x200000\n lock xaddq %rax, 0x200040\n dec %ecx\n jnz "
         "1b\n hlt");

static void test_smp_atomics(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    Second second;
    CPU_LOAD(guest, counting);
    second_new(&second, guest, GUEST_CODE_AT);
    run_both(guest, &second);
    g_assert_cmpuint(ld32_le(guest->ram + GUEST_DATA), ==, 600000);
    cpu_free(second.cpu);
    cpu_guest_free(guest);
}

/*
 * The writer puts n into the immediate of a function, then n into a word, and waits for the
 * reader's answer.  The reader sees the word, serialises, calls the function and gives its result.
 */
CPU_CODE(writer, 64,
         "xor %ebx, %ebx\n mov $3000, %ecx\n"
         "1: inc %ebx\n mov %ebx, 0x30001\n mov %ebx, 0x200000\n"
         "2: pause\n cmp %ebx, 0x200080\n jne 2b\n"
         "cmp %ebx, 0x2000c0\n jne 9f\n dec %ecx\n jnz 1b\n mov $1, %esi\n"
         "9: movl $-1, 0x200000\n hlt");
CPU_CODE(reader, 64,
         "xor %edi, %edi\n"
         "1: pause\n mov 0x200000, %edx\n cmp %edi, %edx\n je 1b\n mov %edx, %edi\n"
         "cmp $-1, %edi\n je 9f\n xor %eax, %eax\n cpuid\n mov $0x30000, %ebp\n call *%rbp\n"
         "mov %eax, 0x2000c0\n mov %edi, 0x200080\n jmp 1b\n 9: hlt");

static void test_cross_modifying(void)
{
    static const uint8_t function[] = {0xb8, 0, 0, 0, 0, 0xc3};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    Second second;
    memcpy(guest->ram + 0x30000, function, sizeof(function));
    CPU_LOAD(guest, writer);
    CPU_LOAD_AT(guest, 0x21000, reader);
    second_new(&second, guest, 0x21000);
    run_both(guest, &second);
    g_assert_cmpuint(guest->state.gpr[GPR_RCX], ==, 0);
    g_assert_cmpuint(guest->state.gpr[GPR_RSI], ==, 1);
    cpu_free(second.cpu);
    cpu_guest_free(guest);
}

/*
 * The same by instructions that read and write, while the reader runs the function all the time,
 * out of the page that it is in.  Other CPUs, which stand still, are told of the change behind the
 * reader: that gives it time to decode before the store is made, were it told too early.
 */
#define PATCHER(name, patch)                                                                       \
    CPU_CODE(patch_##name, 64,                                                                     \
             "xor %r9d, %r9d\n mov $30, %r10d\n"                                                   \
             "1: inc %r9d\n" patch "\n mov 0x30001, %r8d\n mov %r9d, 0x200000\n"                   \
             "2: pause\n cmp %r9d, 0x200080\n jne 2b\n"                                            \
             "cmp %r8d, 0x2000c0\n jne 9f\n dec %r10d\n jnz 1b\n"                                  \
             "9: movl $-1, 0x200000\n hlt")
PATCHER(add, "addl $1, 0x30001");
PATCHER(adc, "stc\n adcl $0, 0x30001");
PATCHER(inc, "incl 0x30001");
PATCHER(rcl, "bt $0, %r9d\n rcll $1, 0x30001");
PATCHER(btc, "btcl $3, 0x30001");
PATCHER(shld, "mov %r9d, %eax\n ror $5, %eax\n shldl $5, %eax, 0x30001");
PATCHER(xchg, "mov %r9d, %eax\n xchg %eax, 0x30001");
PATCHER(lock_add, "lock addl $1, 0x30001");
PATCHER(lock_inc, "lock incl 0x30001");
PATCHER(lock_btc, "lock btcl $3, 0x30001");
PATCHER(lock_xadd, "mov $1, %eax\n lock xadd %eax, 0x30001");
PATCHER(lock_cmpxchg, "lea -1(%r9), %eax\n lock cmpxchg %r9d, 0x30001");
PATCHER(lock_cmpxchg8b, "mov 0x30000, %eax\n mov 0x30004, %edx\n lea 0x100(%rax), %ebx\n"
                        "mov %edx, %ecx\n lock cmpxchg8b 0x30000");
PATCHER(lock_cmpxchg16b, "mov 0x30000, %rax\n mov 0x30008, %rdx\n lea 0x100(%rax), %rbx\n"
                         "mov %rdx, %rcx\n lock cmpxchg16b 0x30000");
CPU_CODE(runner, 64,
         "xor %edi, %edi\n mov $0x30000, %ebp\n"
         "1: call *%rbp\n mov 0x200000, %edx\n cmp %edi, %edx\n je 1b\n mov %edx, %edi\n"
         "cmp $-1, %edi\n je 9f\n xor %eax, %eax\n cpuid\n call *%rbp\n"
         "mov %eax, 0x2000c0\n mov %edi, 0x200080\n jmp 1b\n 9: hlt");

typedef struct Patcher {
    const char *name;
    const uint8_t *code, *end;
} Patcher;

/* clang-format off */
#define ROW(name) {#name, cpu_code_patch_##name, cpu_code_patch_##name##_end}
static const Patcher patchers[] = {
    ROW(add), ROW(adc), ROW(inc), ROW(rcl), ROW(btc), ROW(shld), ROW(xchg),
    ROW(lock_add), ROW(lock_inc), ROW(lock_btc), ROW(lock_xadd), ROW(lock_cmpxchg),
    ROW(lock_cmpxchg8b), ROW(lock_cmpxchg16b)
};
#undef ROW
/* clang-format on */

static void check_patcher(Second *second, const Patcher *patcher)
{
    static const uint8_t function[16] = {0xb8, 0, 0, 0, 0, 0xc3}, zeros[0x100];
    CpuGuest *guest = second->guest;
    cpu_guest_reset(guest, GUEST_LONG);
    cpu_guest_load(guest, 0x30000, function, sizeof(function));
    cpu_guest_load(guest, GUEST_DATA, zeros, sizeof(zeros));
    cpu_guest_load(guest, GUEST_CODE_AT, patcher->code, (size_t)(patcher->end - patcher->code));
    CPU_LOAD_AT(guest, 0x30100, runner);
    second_start(second, 0x30100);
    run_both(guest, second);
    g_test_message("%s: %u rounds were not right", patcher->name, (unsigned)guest->state.gpr[10]);
    g_assert_cmpuint(guest->state.gpr[10], ==, 0);
}

static void test_cross_modifying_rmw(void)
{
    enum { OTHERS = 30 };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    Second second, others[OTHERS];
    second_new(&second, guest, 0x30100);
    for (unsigned i = 0; i < OTHERS; i++)
        second_new(&others[i], guest, 0x30100);
    for (unsigned i = 0; i < G_N_ELEMENTS(patchers); i++)
        check_patcher(&second, &patchers[i]);
    for (unsigned i = 0; i < OTHERS; i++)
        cpu_free(others[i].cpu);
    cpu_free(second.cpu);
    cpu_guest_free(guest);
}

/* More code than the cache of blocks has room for, twice. */
static void test_much_code(void)
{
    enum { START = 0x400000, LENGTH = 0x400000 };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    for (unsigned i = 0; i < LENGTH; i += 2)
        st16_le(guest->ram + START + i, 0xc0ff); /* inc eax */
    guest->ram[START + LENGTH] = 0xf4;
    for (unsigned i = 0; i < 2; i++) {
        guest->state.rip = START;
        guest->state.halted = false;
        cpu_guest_complete(guest);
    }
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, LENGTH);
    g_assert_cmphex(guest->state.rip, ==, START + LENGTH + 1);
    cpu_guest_free(guest);
}

/* In a rescue code may change without anybody telling. */
static void test_rescue_code(void)
{
    static const uint8_t code[] = {0xb8, 1, 0, 0, 0, 0xeb, 0xf9}; /* mov $1, %eax; jmp . - 5 */
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    memcpy(guest->ram + GUEST_CODE_AT, code, sizeof(code));
    for (uint8_t i = 1; i < 4; i++) {
        guest->ram[GUEST_CODE_AT + 1] = i;
        cpu_set_state(guest->cpu, &guest->state);
        g_assert_cmpint(cpu_run(guest->cpu, 2, true), ==, CPU_RUN_BUDGET);
        cpu_get_state(guest->cpu, &guest->state);
        g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, i);
        g_assert_cmphex(guest->state.rip, ==, GUEST_CODE_AT);
    }
    cpu_guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-code/smc", test_smc);
    g_test_add_func("/cpu-code/smc-device", test_smc_device);
    g_test_add_func("/cpu-code/mail-lost", test_mail_lost);
    g_test_add_func("/cpu-code/page-end", test_page_end);
    g_test_add_func("/cpu-code/page-end-32", test_page_end_32);
    g_test_add_func("/cpu-code/global-crossing", test_global_crossing);
    g_test_add_func("/cpu-code/link-over-invlpg", test_link_over_invlpg);
    g_test_add_func("/cpu-code/map-device", test_map_device);
    g_test_add_func("/cpu-code/smp-atomics", test_smp_atomics);
    g_test_add_func("/cpu-code/cross-modifying", test_cross_modifying);
    g_test_add_func("/cpu-code/cross-modifying-rmw", test_cross_modifying_rmw);
    g_test_add_func("/cpu-code/much-code", test_much_code);
    g_test_add_func("/cpu-code/rescue-code", test_rescue_code);
    return g_test_run();
}
