/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's memory: paging and its faults, page borders, devices, dirty logging.
 */
#include "cpu-guest.h"

#include "hw/core/ram.h"
#include "util/bytes.h"

enum { CF = 1, ZF = 0x40 };
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_G = 0x100 };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };
enum { VECTOR_GP = 13, VECTOR_PF = 14, VECTOR_AC = 17 };
#define PTE_NX (1ull << 63)
/* A page below the first 2 MiB that tests map as they like. */
enum { PAGE = 0x101000, PAGE_INDEX = PAGE >> 12 };

static void expect_fault(const CpuGuest *guest, uint64_t cr2, uint32_t error, uint64_t rip)
{
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_PF);
    g_assert_cmphex(guest->state.cr2, ==, cr2);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, error);
    g_assert_cmphex(cpu_guest_frame(guest, 1), ==, rip);
}

/* Runs from the start with the same page tables. */
static void run(CpuGuest *guest)
{
    g_assert_cmpint(cpu_guest_run(guest, 1000000), ==, CPU_RUN_HALTED);
}

/* ---- Permissions ---- */

CPU_CODE(load, 64, "mov 0x101008, %eax\n hlt");
CPU_CODE(store, 64, "mov %eax, 0x101008\n hlt");
CPU_CODE(change, 64, "stc\n adcl $1, 0x101008\n hlt");
CPU_CODE(fetch, 64, "jmp *%rbx\n hlt");

typedef struct FaultCase {
    const char *name;
    uint64_t entry; /* flags of PAGE's entry */
    bool user, read_error, write_error, fetch_error;
    uint32_t read, write, fetch; /* error codes */
} FaultCase;

static void check_access(CpuGuest *guest, uint64_t *table, const FaultCase *row,
                         const uint8_t *code, size_t length, bool faults, uint32_t error,
                         bool fetches)
{
    cpu_guest_reset(guest, GUEST_LONG);
    cpu_guest_small_pages(guest);
    if (row->user)
        cpu_guest_user(guest);
    table[PAGE_INDEX] = PAGE | row->entry;
    guest->state.gpr[GPR_RBX] = PAGE;
    cpu_guest_load(guest, GUEST_CODE_AT, code, length);
    run(guest);
    /* HLT is privileged. */
    int good = row->user ? VECTOR_GP : -1;
    uint64_t first = code == cpu_code_change ? GUEST_CODE_AT + 1 : GUEST_CODE_AT; /* behind STC */
    if (faults)
        expect_fault(guest, fetches ? PAGE : PAGE + 8, error, fetches ? (uint64_t)PAGE : first);
    else if (!fetches)
        g_assert_cmpint(cpu_guest_vector(guest), ==, good);
    else
        g_assert_cmphex(row->user ? cpu_guest_frame(guest, 1) : guest->state.rip - 1, ==, PAGE);
}
#define CODE_OF(name) cpu_code_##name, (size_t)(cpu_code_##name##_end - cpu_code_##name)

static void test_permissions(void)
{
    static const FaultCase rows[] = {
        {"supervisor, all", PTE_P | PTE_W, .user = false},
        {"supervisor, absent", PTE_W, false, true, true, true, 0, PF_W, PF_I},
        {"supervisor, read-only", PTE_P, false, .write_error = true, .write = PF_P | PF_W},
        {"supervisor, no execution", PTE_P | PTE_W | PTE_NX, false, .fetch_error = true,
         .fetch = PF_P | PF_I},
        {"supervisor, reserved bit", PTE_P | PTE_W | 1ull << 51, false, true, true, true,
         PF_P | PF_RSVD, PF_P | PF_RSVD | PF_W, PF_P | PF_RSVD | PF_I},
        {"user, all", PTE_P | PTE_W | PTE_U, true},
        {"user, supervisor's page", PTE_P | PTE_W, true, true, true, true, PF_P | PF_U,
         PF_P | PF_U | PF_W, PF_P | PF_U | PF_I},
        {"user, read-only", PTE_P | PTE_U, true, .write_error = true, .write = PF_P | PF_U | PF_W},
        {"user, absent", 0, true, true, true, true, PF_U, PF_U | PF_W, PF_U | PF_I},
    };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    guest->ram[PAGE] = 0xf4;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const FaultCase *row = &rows[i];
        g_test_message("%s", row->name);
        check_access(guest, table, row, CODE_OF(load), row->read_error, row->read, false);
        check_access(guest, table, row, CODE_OF(store), row->write_error, row->write, false);
        st32_le(guest->ram + PAGE + 8, 5);
        check_access(guest, table, row, CODE_OF(change), row->write_error, row->write, false);
        g_assert_cmphex(ld32_le(guest->ram + PAGE + 8), ==, row->write_error ? 5 : 7);
        /* A fault leaves the flags. */
        if (row->write_error)
            g_assert_cmphex(cpu_guest_frame(guest, 3) & (CF | ZF), ==, 0 | CF);
        check_access(guest, table, row, CODE_OF(fetch), row->fetch_error, row->fetch, true);
    }
    cpu_guest_free(guest);
}

/* Accessed and dirty bits, and that a read does not make a page writable without a dirty bit. */
CPU_CODE(read_write, 64, "mov 0x101000, %eax\n nop\n hlt\n mov %eax, 0x101000\n hlt");

static void test_accessed_dirty(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    CPU_LOAD(guest, read_write);
    run(guest);
    g_assert_cmphex(table[PAGE_INDEX] & (PTE_A | PTE_D), ==, PTE_A);
    guest->state.halted = false;
    run(guest);
    g_assert_cmphex(table[PAGE_INDEX] & (PTE_A | PTE_D), ==, PTE_A | PTE_D);
    g_assert_cmphex(ld64_le(guest->ram + GUEST_TABLES) & PTE_A, ==, PTE_A);
    g_assert_cmphex(ld64_le(guest->ram + GUEST_TABLES + 0x2000) & PTE_A, ==, PTE_A);
    cpu_guest_free(guest);
}

/* INVLPG makes a new entry seen; before it the old one may be used; a global page outlives CR3. */
CPU_CODE(invlpg, 64,
         "mov 0x101000, %eax\n movq $0x102007, 0x13000+0x101*8\n mov 0x101000, %ebx\n"
         "invlpg 0x101000\n mov 0x101000, %ecx\n"
         "movq $0x103107, 0x13000+0x101*8\n mov %cr4, %rdx\n or $0x80, %dl\n mov %rdx, %cr4\n"
         "mov 0x101000, %esi\n movq $0x102007, 0x13000+0x101*8\n mov %cr3, %rdx\n mov %rdx, %cr3\n"
         "mov 0x101000, %edi\n invlpg 0x101000\n mov 0x101000, %ebp\n hlt");

static void test_invlpg(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    cpu_guest_small_pages(guest);
    for (unsigned i = 1; i < 4; i++)
        st32_le(guest->ram + 0x100000 + i * 0x1000, i);
    CPU_LOAD(guest, invlpg);
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 1);
    g_assert_cmphex(guest->state.gpr[GPR_RCX], ==, 2);
    g_assert_cmphex(guest->state.gpr[GPR_RSI], ==, 3);
    g_assert_cmphex(guest->state.gpr[GPR_RDI], ==, 3);
    g_assert_cmphex(guest->state.gpr[GPR_RBP], ==, 2);
    cpu_guest_free(guest);
}

/* INVLPG of a large page drops all that was filled from it. */
CPU_CODE(invlpg_large, 64,
         "mov 0x400000, %eax\n mov 0x5ff000, %ebx\n movq $0x600087, 0x12000+2*8\n"
         "invlpg 0x450000\n mov 0x400000, %ecx\n mov 0x5ff000, %edx\n hlt");

static void test_invlpg_large(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    st32_le(guest->ram + 0x400000, 4);
    st32_le(guest->ram + 0x5ff000, 5);
    st32_le(guest->ram + 0x600000, 6);
    st32_le(guest->ram + 0x7ff000, 7);
    CPU_LOAD(guest, invlpg_large);
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 4);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 5);
    g_assert_cmphex(guest->state.gpr[GPR_RCX], ==, 6);
    g_assert_cmphex(guest->state.gpr[GPR_RDX], ==, 7);
    cpu_guest_free(guest);
}

CPU_CODE(paging32, 32,
         "mov 0x101000, %eax\n mov 0xc00000, %ebx\n movl $1, 0x101000\n mov 0x2000, %edx\n hlt");

static void test_paging_32(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_FLAT32);
    uint32_t *table = cpu_guest_small_pages(guest);
    st32_le(guest->ram + 0x102000, 0x1234);
    st32_le(guest->ram + 0x800000, 0x5678);
    table[PAGE_INDEX] = 0x102000 | PTE_P; /* read-only */
    st32_le(guest->ram + GUEST_TABLES + 0x4000 + 3 * 4, 0x800083);
    CPU_LOAD(guest, paging32);
    run(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 0x1234);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 0x5678);
    expect_fault(guest, PAGE, PF_P | PF_W, GUEST_CODE_AT + 11);
    /* Without WP the supervisor writes where it likes. */
    cpu_guest_reset(guest, GUEST_FLAT32);
    table = cpu_guest_small_pages(guest);
    table[PAGE_INDEX] = 0x102000 | PTE_P;
    guest->state.cr0 &= ~(1ull << 16);
    CPU_LOAD(guest, paging32);
    cpu_guest_complete(guest);
    g_assert_cmphex(ld32_le(guest->ram + 0x102000), ==, 1);
    cpu_guest_free(guest);
}

CPU_CODE(smap, 64, "stac\n mov 0x101000, %eax\n clac\n mov 0x101000, %ebx\n hlt");

static void test_smap_smep(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    for (unsigned i = 0; i < 512; i++)
        table[i] &= ~(uint64_t)PTE_U;
    table[PAGE_INDEX] |= PTE_U;
    guest->state.cr4 |= 1 << 21 | 1 << 20;
    CPU_LOAD(guest, smap);
    run(guest);
    expect_fault(guest, PAGE, PF_P, GUEST_CODE_AT + 13);
    guest->ram[PAGE] = 0xf4;
    cpu_guest_reset(guest, GUEST_LONG);
    table = cpu_guest_small_pages(guest);
    for (unsigned i = 0; i < 512; i++)
        table[i] &= ~(uint64_t)PTE_U;
    table[PAGE_INDEX] |= PTE_U;
    guest->state.cr4 |= 1 << 20;
    guest->state.gpr[GPR_RBX] = PAGE;
    CPU_LOAD(guest, fetch);
    run(guest);
    expect_fault(guest, PAGE, PF_P | PF_I, PAGE);
    cpu_guest_free(guest);
}

/* ---- Page borders ---- */

CPU_CODE(crossing_store, 64, "mov %rax, 0x101ffc\n hlt");
CPU_CODE(crossing_load, 64, "mov 0x101ffc, %rax\n hlt");
CPU_CODE(crossing_push, 64, "mov $0x102004, %esp\n push %rax\n hlt");
CPU_CODE(crossing_lock, 64, "lock addl %eax, 0x101ffe\n hlt");

static void test_crossing(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    table[0x102] = 0x108000 | 7;
    guest->state.gpr[GPR_RAX] = 0x1122334455667788;
    CPU_LOAD(guest, crossing_store);
    cpu_guest_complete(guest);
    g_assert_cmphex(ld32_le(guest->ram + 0x101ffc), ==, 0x55667788);
    g_assert_cmphex(ld32_le(guest->ram + 0x108000), ==, 0x11223344);
    CPU_LOAD(guest, crossing_load);
    guest->state.rip = GUEST_CODE_AT;
    guest->state.halted = false;
    guest->state.gpr[GPR_RAX] = 0;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 0x1122334455667788);
    CPU_LOAD(guest, crossing_lock);
    guest->state.rip = GUEST_CODE_AT;
    guest->state.halted = false;
    guest->state.gpr[GPR_RAX] = 0x10001;
    cpu_guest_complete(guest);
    g_assert_cmphex(ld32_le(guest->ram + 0x101ffc), ==, 0x55677788);
    g_assert_cmphex(ld32_le(guest->ram + 0x108000), ==, 0x11223345);
    cpu_guest_free(guest);
    /* The second page is missing: nothing has happened. */
    guest = cpu_guest_new(GUEST_LONG);
    table = cpu_guest_small_pages(guest);
    table[0x102] = 0;
    guest->state.gpr[GPR_RAX] = UINT64_MAX;
    CPU_LOAD(guest, crossing_store);
    run(guest);
    expect_fault(guest, 0x102000, PF_W, GUEST_CODE_AT);
    g_assert_cmphex(ld32_le(guest->ram + 0x101ffc), ==, 0);
    cpu_guest_free(guest);
}

/* REP MOVS stops exactly at the page, and goes on when there is one. */
CPU_CODE(moving, 64,
         "mov $0x100f80, %esi\n mov $0x104f00, %edi\n mov $100, %ecx\n rep movsl\n hlt");

static void test_string_fault(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    for (unsigned i = 0; i < 400; i++)
        guest->ram[0x100f80 + i] = (uint8_t)(i + 1);
    table[0x105] = 0;
    CPU_LOAD(guest, moving);
    run(guest);
    expect_fault(guest, 0x105000, PF_W, GUEST_CODE_AT + 15);
    g_assert_cmpuint(guest->state.gpr[GPR_RCX], ==, 100 - 64);
    g_assert_cmphex(guest->state.gpr[GPR_RSI], ==, 0x100f80 + 256);
    g_assert_cmphex(guest->state.gpr[GPR_RDI], ==, 0x105000);
    g_assert_cmpint(memcmp(guest->ram + 0x104f00, guest->ram + 0x100f80, 256), ==, 0);
    table[0x105] = 0x109000 | 7;
    guest->state.rip = GUEST_CODE_AT + 15;
    guest->state.gpr[GPR_RSP] = GUEST_STACK;
    guest->state.halted = false;
    cpu_guest_complete(guest);
    g_assert_cmpint(memcmp(guest->ram + 0x109000, guest->ram + 0x101080, 144), ==, 0);
    g_assert_cmpuint(guest->state.gpr[GPR_RCX], ==, 0);
    cpu_guest_free(guest);
}

/* An instruction over a page border needs the second page only for bytes that it has. */
CPU_CODE(inc_add, 64, "inc %eax\n add $0x01020304, %ebx\n hlt");

static void test_code_crossing(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    uint64_t *table = cpu_guest_small_pages(guest);
    table[0x102] = 0x108000 | 7;
    table[0x103] = 0;
    uint64_t start = 0x102000 - 4;
    memcpy(guest->ram + start, cpu_code_inc_add, 4);
    memcpy(guest->ram + 0x108000, cpu_code_inc_add + 4, 5);
    guest->state.rip = start;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 0x01020304);
    /* The half in the second page is written. */
    uint8_t byte = 5;
    cpu_guest_load(guest, 0x108000, &byte, 1);
    guest->state.rip = start;
    guest->state.halted = false;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 0x01020304 + 0x01020305);
    /* Another page behind. */
    memcpy(guest->ram + 0x10a000, guest->ram + 0x108000, 16);
    guest->ram[0x10a000] = 0;
    table[0x102] = 0x10a000 | 7;
    guest->state.gpr[GPR_RBX] = 0;
    guest->state.rip = start;
    guest->state.halted = false;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 0x01020300);
    /* No page behind: the fault is the second instruction's. */
    table[0x102] = 0;
    guest->state.rip = start;
    guest->state.halted = false;
    guest->state.gpr[GPR_RAX] = 0;
    run(guest);
    expect_fault(guest, 0x102000, PF_I, start + 2);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 1);
    /* HLT in the last byte of a page. */
    guest->state.rip = 0x102fff;
    table[0x102] = 0x108000 | 7;
    guest->ram[0x108fff] = 0xf4;
    guest->state.gpr[GPR_RSP] = GUEST_STACK;
    guest->state.halted = false;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.rip, ==, 0x103000);
    cpu_guest_free(guest);
}

CPU_CODE(alignment, 64,
         "pushf\n orl $0x40000, (%rsp)\n popf\n mov 0x101001, %al\n mov 0x101001, %ax\n hlt");

static void test_alignment_check(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    cpu_guest_user(guest);
    guest->state.cr0 |= 1 << 18;
    CPU_LOAD(guest, alignment);
    run(guest);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_AC);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, 0);
    g_assert_cmphex(cpu_guest_frame(guest, 1), ==, GUEST_CODE_AT + 16);
    cpu_guest_free(guest);
}

/* ---- Devices ---- */

CPU_CODE(mmio, 64,
         "mov $0x2000000, %esi\n movl $0x12345678, 4(%rsi)\n addl $1, 4(%rsi)\n"
         "mov 4(%rsi), %rax\n lock incw 4(%rsi)\n movq $-1, 0xffc(%rsi)\n mov 0xffc(%rsi), %rbx\n"
         "mov $0x200000, %edi\n mov $4, %ecx\n rep movsl\n hlt");

static void test_mmio(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, mmio);
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX] & 0xffffffff, ==, 0x12345679);
    g_assert_cmphex(ld32_le(guest->scratch + 4), ==, 0x1234567a);
    g_assert_cmphex(ld32_le(guest->scratch + 0xffc), ==, 0xffffffff);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, UINT64_MAX); /* nothing behind: ones */
    g_assert_cmphex(ld32_le(guest->ram + GUEST_DATA + 4), ==, 0x1234567a);
    cpu_guest_free(guest);
}

/* Code in device memory. */
static void test_code_in_device(void)
{
    static const uint8_t code[] = {0xff, 0xc0, 0xeb, 0x00, 0xff, 0xc0, 0xf4};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    memcpy(guest->scratch, code, sizeof(code));
    guest->state.rip = GUEST_MMIO;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 2);
    g_assert_cmphex(guest->state.rip, ==, GUEST_MMIO + sizeof(code));
    cpu_guest_free(guest);
}

/* ---- Dirty logging ---- */

CPU_CODE(logged, 64, "mov %eax, 0x200000\n mov %eax, 0x200004\n hlt");

static bool taken(CpuGuest *guest, uint64_t offset)
{
    return ram_test_clear_dirty(guest->machine->ram->ram, DIRTY_VGA, offset, RAM_PAGE_SIZE);
}

static void test_dirty_logging(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    region_set_dirty_log(guest->machine->ram, DIRTY_VGA, true);
    cpu_memory_changed(guest->cpu);
    CPU_LOAD(guest, logged);
    taken(guest, GUEST_DATA);
    taken(guest, GUEST_DATA + RAM_PAGE_SIZE);
    g_assert_false(taken(guest, GUEST_DATA));
    cpu_guest_complete(guest);
    g_assert_true(taken(guest, GUEST_DATA));
    /* The page was open for writing until then: it may be told once more, when it is closed. */
    cpu_guest_go_on(guest, 0);
    for (unsigned i = 0; i < 3; i++) {
        guest->state.halted = false;
        guest->state.rip = GUEST_CODE_AT + 7; /* the second store */
        cpu_guest_run(guest, 1000);
        g_assert_true(taken(guest, GUEST_DATA));
    }
    /* No stores: after one more look there is nothing to tell. */
    CPU_LOAD(guest, load);
    guest->state.rip = GUEST_CODE_AT;
    guest->state.halted = false;
    cpu_guest_run(guest, 1000);
    taken(guest, GUEST_DATA);
    g_assert_false(taken(guest, GUEST_DATA));
    g_assert_false(taken(guest, GUEST_DATA + RAM_PAGE_SIZE));
    cpu_guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-memory/permissions", test_permissions);
    g_test_add_func("/cpu-memory/accessed-dirty", test_accessed_dirty);
    g_test_add_func("/cpu-memory/invlpg", test_invlpg);
    g_test_add_func("/cpu-memory/invlpg-large", test_invlpg_large);
    g_test_add_func("/cpu-memory/paging-32", test_paging_32);
    g_test_add_func("/cpu-memory/smap-smep", test_smap_smep);
    g_test_add_func("/cpu-memory/crossing", test_crossing);
    g_test_add_func("/cpu-memory/string-fault", test_string_fault);
    g_test_add_func("/cpu-memory/code-crossing", test_code_crossing);
    g_test_add_func("/cpu-memory/alignment-check", test_alignment_check);
    g_test_add_func("/cpu-memory/mmio", test_mmio);
    g_test_add_func("/cpu-memory/code-in-device", test_code_in_device);
    g_test_add_func("/cpu-memory/dirty-logging", test_dirty_logging);
    return g_test_run();
}
