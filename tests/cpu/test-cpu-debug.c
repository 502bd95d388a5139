/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a debugger outside the guest wants of the interpreter: breakpoints and watchpoints in blocks
 * that are decoded and chained already, at no cost to other code. */
#include "cpu-guest.h"

#include "util/bytes.h"

enum { CODE = GUEST_CODE_AT, IF = 1 << 9, PLENTY = 100000, VECTOR_PF = 14 };
/* A page below the first 2 MiB that tests map as they like. */
enum { PAGE = 0x101000, PAGE_INDEX = PAGE >> 12 };

#define SET_BREAKS(guest, ...)                                                                     \
    do {                                                                                           \
        const uint64_t breaks_[] = {__VA_ARGS__};                                                  \
        cpu_set_breaks((guest)->cpu, breaks_, G_N_ELEMENTS(breaks_));                              \
    } while (0)

static void expect_break(CpuGuest *guest, uint64_t budget, uint64_t rip)
{
    CpuWatch watch;
    g_assert_cmpint(cpu_guest_go_on(guest, budget), ==, CPU_RUN_DEBUG);
    g_assert_false(cpu_take_watch(guest->cpu, &watch));
    g_assert_cmphex(guest->state.rip, ==, rip);
}

static void expect_watch(CpuGuest *guest, uint64_t address, uint64_t rip)
{
    CpuWatch watch;
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_DEBUG);
    g_assert_true(cpu_take_watch(guest->cpu, &watch));
    g_assert_cmphex(watch.address, ==, address);
    g_assert_cmphex(guest->state.rip, ==, rip);
    g_assert_false(cpu_take_watch(guest->cpu, &watch));
}

static void start(CpuGuest *guest)
{
    cpu_guest_reset(guest, GUEST_LONG);
    cpu_set_state(guest->cpu, &guest->state);
}

/* At 2, 4, 6 and 8: additions; at 10 a branch back; HLT at 12. */
CPU_CODE(adds, 64,
         "inc %eax\n inc %eax\n inc %eax\n inc %eax\n dec %ecx\n jnz cpu_code_adds\n hlt");
enum { ADDS_HALT = CODE + 12 };

static void test_breaks(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, adds);
    guest->state.gpr[GPR_RCX] = 1000;
    cpu_guest_complete(guest); /* the blocks are chained */
    guest->state.rip = CODE;
    guest->state.halted = false;
    guest->state.gpr[GPR_RCX] = 3;
    guest->state.gpr[GPR_RAX] = 0;
    cpu_set_state(guest->cpu, &guest->state);
    SET_BREAKS(guest, CODE + 4);
    for (unsigned round = 0; round < 3; round++) {
        expect_break(guest, PLENTY, CODE + 4);
        g_assert_cmpuint(guest->state.gpr[GPR_RAX], ==, round * 4 + 2);
    }
    SET_BREAKS(guest, CODE + 2, CODE + 6); /* neither is met any more */
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_DEBUG);
    g_assert_cmphex(guest->state.rip, ==, CODE + 6);
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    g_assert_cmphex(guest->state.rip, ==, ADDS_HALT + 1);
    /* Both ends of a block, and the target of its branch. */
    start(guest);
    guest->state.gpr[GPR_RCX] = 2;
    cpu_set_state(guest->cpu, &guest->state);
    SET_BREAKS(guest, CODE, CODE + 10, ADDS_HALT);
    expect_break(guest, PLENTY, CODE);
    expect_break(guest, PLENTY, CODE + 10);
    expect_break(guest, PLENTY, CODE);
    expect_break(guest, PLENTY, CODE + 10);
    expect_break(guest, PLENTY, ADDS_HALT);
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    /* Where no instruction begins there is none; gone ones are forgotten. */
    start(guest);
    SET_BREAKS(guest, CODE + 1, CODE + 3);
    guest->state.gpr[GPR_RCX] = 5;
    cpu_guest_complete(guest);
    cpu_set_breaks(guest->cpu, NULL, 0);
    start(guest);
    guest->state.gpr[GPR_RCX] = 5;
    cpu_guest_complete(guest);
    cpu_guest_free(guest);
}

/* Breakpoints elsewhere, and on the same place of another page, leave blocks whole or nearly so: a
 * budget of one runs a block. */
static void test_cost(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CpuWatch watch = {PAGE, 8, true, true};
    CPU_LOAD(guest, adds);
    SET_BREAKS(guest, 0x12345678);
    cpu_set_watches(guest->cpu, &watch, 1, false);
    g_assert_cmpint(cpu_guest_run(guest, 1), ==, CPU_RUN_BUDGET);
    g_assert_cmpuint(guest->state.gpr[GPR_RAX], >=, 4);
    start(guest);
    SET_BREAKS(guest, 0x7000000 + 8);
    g_assert_cmpint(cpu_guest_run(guest, 1), ==, CPU_RUN_BUDGET);
    g_assert_cmpuint(guest->state.gpr[GPR_RAX], >=, 4);
    cpu_guest_free(guest);
}

/* The first instruction of an interrupt's handler. */
static void test_break_handler(void)
{
    enum { VECTOR = 0x50, HANDLER = GUEST_HANDLERS + VECTOR * 16 };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, adds);
    SET_BREAKS(guest, HANDLER);
    guest->state.rflags |= IF;
    guest->interrupt = VECTOR;
    vcpu_request(&guest->vcpu, VCPU_REQ_INTR);
    cpu_set_state(guest->cpu, &guest->state);
    expect_break(guest, PLENTY, HANDLER);
    guest->vcpu.requests = 0;
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    cpu_guest_free(guest);
}

/* An instruction over a page's end, and in a segment with a base. */
static void test_break_places(void)
{
    static const uint8_t code[] = {0xb8, 1, 2, 3, 4, 0xff, 0xc0, 0xf4}; /* mov; inc; hlt */
    static const uint8_t real[] = {0x40, 0x40, 0xf4};
    enum { START = 0x21ffe };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    cpu_guest_load(guest, START, code, sizeof(code));
    for (unsigned turn = 0; turn < 2; turn++) {
        guest->state.rip = START;
        cpu_set_state(guest->cpu, &guest->state);
        SET_BREAKS(guest, START, START + 5, START + 7);
        expect_break(guest, PLENTY, START);
        expect_break(guest, PLENTY, START + 5);
        expect_break(guest, PLENTY, START + 7);
        g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 0x4030202);
        cpu_guest_reset(guest, GUEST_LONG);
    }
    cpu_guest_reset(guest, GUEST_REAL);
    cpu_guest_load(guest, GUEST_CODE_AT, real, sizeof(real));
    cpu_set_state(guest->cpu, &guest->state);
    SET_BREAKS(guest, guest->state.seg[SEG_CS].base + 1);
    expect_break(guest, PLENTY, 1);
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    cpu_guest_free(guest);
}

CPU_CODE(stores, 64,
         "mov %eax, 0x200000\n"      /* 7 bytes */
         "mov %al, 0x200010\n"       /* 14 */
         "cmpl $0, 0x200020\n"       /* 22: fused with the jump */
         "jne 1f\n"                  /* 24 */
         "nop\n"                     /* 25 */
         "lock incl 0x200030\n"      /* 33 */
         "mov $0x200040, %edi\n"     /* 38 */
         "mov $8, %ecx\n"            /* 43 */
         "rep stosb\n"               /* 45 */
         "mov %rsp, %rbx\n"          /* 48 */
         "call 1f\n"                 /* 53 */
         "1: movq %xmm0, 0x200050\n" /* 62 */
         "movq $-1, 0x200ffc\n"      /* 74: over the page's end */
         "hlt");

static void watch_at(CpuGuest *guest, uint64_t address, uint64_t length, bool read, bool write)
{
    CpuWatch watch = {address, length, read, write};
    cpu_set_watches(guest->cpu, &watch, 1, false);
    start(guest);
}

static void test_watches(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, stores);
    cpu_guest_complete(guest);
    for (unsigned turn = 0; turn < 2; turn++) {
        watch_at(guest, GUEST_DATA, 1, false, true);
        expect_watch(guest, GUEST_DATA, CODE + 7);
        g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
        watch_at(guest, GUEST_DATA + 0x10, 4, true, true);
        expect_watch(guest, GUEST_DATA + 0x10, CODE + 14);
        watch_at(guest, GUEST_DATA + 0x23, 1, true, false);
        expect_watch(guest, GUEST_DATA + 0x23, CODE + 22);
        watch_at(guest, GUEST_DATA + 0x30, 4, true, false); /* RMW reads */
        expect_watch(guest, GUEST_DATA + 0x30, CODE + 33);
        watch_at(guest, GUEST_DATA + 0x30, 4, false, true);
        expect_watch(guest, GUEST_DATA + 0x30, CODE + 33);
        watch_at(guest, GUEST_DATA + 0x44, 1, false, true); /* in front of the next element */
        expect_watch(guest, GUEST_DATA + 0x44, CODE + 43);
        g_assert_cmpuint(guest->state.gpr[GPR_RCX], ==, 3);
        watch_at(guest, GUEST_STACK - 8, 8, false, true); /* the last of its block */
        expect_watch(guest, GUEST_STACK - 8, CODE + 53);
        watch_at(guest, GUEST_DATA + 0x57, 1, false, true);
        expect_watch(guest, GUEST_DATA + 0x57, CODE + 62);
        watch_at(guest, GUEST_DATA + 0x1003, 1, false, true);
        expect_watch(guest, GUEST_DATA + 0x1003, CODE + 74);
        watch_at(guest, GUEST_DATA + 0xffb, 1, true, true); /* beside all of them */
        g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
        watch_at(guest, GUEST_DATA + 0x10, 1, true, false); /* a write only */
        g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
        cpu_set_watches(guest->cpu, NULL, 0, false);
        start(guest);
        g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    }
    cpu_guest_free(guest);
}

/* Accesses that fault are none; watched are linear addresses, the last ones, too. */
CPU_CODE(faults, 64, "mov %eax, 0x101000\n hlt");

static void test_watch_faults(void)
{
    enum { PRESENT = 1, WRITABLE = 2 };
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CpuWatch watch = {PAGE, 4, false, true}, high = {UINT64_MAX - 3, 4, true, true};
    CpuWatch taken;
    uint64_t *table = cpu_guest_small_pages(guest);
    CPU_LOAD(guest, faults);
    cpu_set_watches(guest->cpu, &watch, 1, false);
    table[PAGE_INDEX] = PAGE | PRESENT;
    g_assert_cmpint(cpu_guest_run(guest, PLENTY), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_PF);
    g_assert_false(cpu_take_watch(guest->cpu, &taken)); /* the access was not made */
    cpu_guest_reset(guest, GUEST_LONG);
    table = cpu_guest_small_pages(guest);
    table[PAGE_INDEX] = (PAGE + 0x1000) | PRESENT | WRITABLE;
    cpu_set_state(guest->cpu, &guest->state);
    expect_watch(guest, PAGE, CODE + 7);
    cpu_set_watches(guest->cpu, &high, 1, false);
    start(guest);
    g_assert_cmpint(cpu_guest_go_on(guest, PLENTY), ==, CPU_RUN_HALTED);
    cpu_guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/debug/breaks", test_breaks);
    g_test_add_func("/cpu/debug/cost", test_cost);
    g_test_add_func("/cpu/debug/break-handler", test_break_handler);
    g_test_add_func("/cpu/debug/break-places", test_break_places);
    g_test_add_func("/cpu/debug/watches", test_watches);
    g_test_add_func("/cpu/debug/watch-faults", test_watch_faults);
    return g_test_run();
}
