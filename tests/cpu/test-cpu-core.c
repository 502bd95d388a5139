/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interpreter's integer, string and control instructions, faults, interrupts and debugging: by
 * small programs.  (Memory: test-cpu-memory.c.)
 */
#include "cpu-guest.h"

#include "util/bytes.h"

enum {
    CF = 1,
    PF = 4,
    AF = 0x10,
    ZF = 0x40,
    SF = 0x80,
    TF = 0x100,
    IF = 0x200,
    DF = 0x400,
    OF = 0x800
};
enum { ARITH = CF | PF | AF | ZF | SF | OF };
enum { VECTOR_DE = 0, VECTOR_DB = 1, VECTOR_UD = 6, VECTOR_GP = 13 };

/* Runs a program to its HLT or to an exception. */
static CpuGuest *run_program(GuestMode mode, const uint8_t *code, const uint8_t *end)
{
    CpuGuest *guest = cpu_guest_new(mode);
    cpu_guest_load(guest, GUEST_CODE_AT, code, (size_t)(end - code));
    g_assert_cmpint(cpu_guest_run(guest, 10000000), ==, CPU_RUN_HALTED);
    return guest;
}
#define RUN(mode, name) run_program(mode, cpu_code_##name, cpu_code_##name##_end)

static uint64_t data(const CpuGuest *guest, unsigned index)
{
    return ld64_le(guest->ram + GUEST_DATA + 8 * index);
}

/* ---- Arithmetic ---- */

CPU_CODE(alu, 64,
         "mov $0x7fffffff, %eax\n add $1, %eax\n pushf\n pop %rbx\n" /* OF SF AF PF */
         "mov $-1, %rcx\n add $1, %rcx\n pushf\n pop %rdx\n"         /* CF ZF AF PF */
         "mov $-1, %rsi\n mov %esi, %esi\n"                          /* clears the upper half */
         "mov $0x1122334455667788, %rdi\n mov $0x99aa, %di\n"        /* keeps it */
         "mov $0xff, %r8d\n stc\n adc $0, %r8b\n pushf\n pop %r9\n"  /* a byte wraps */
         "mov $5, %r10d\n sub $7, %r10d\n sbb %r11d, %r11d\n"        /* borrow */
         "stc\n inc %r12d\n setc %r13b\n hlt");                      /* INC keeps CF */

static void test_alu(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, alu);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(gpr[GPR_RAX], ==, 0x80000000);
    g_assert_cmphex(gpr[GPR_RBX] & ARITH, ==, OF | SF | AF | PF);
    g_assert_cmphex(gpr[GPR_RCX], ==, 0);
    g_assert_cmphex(gpr[GPR_RDX] & ARITH, ==, CF | ZF | AF | PF);
    g_assert_cmphex(gpr[GPR_RSI], ==, 0xffffffff);
    g_assert_cmphex(gpr[GPR_RDI], ==, 0x11223344556699aa);
    g_assert_cmphex(gpr[8], ==, 0);
    g_assert_cmphex(gpr[9] & ARITH, ==, CF | ZF | AF | PF);
    g_assert_cmphex(gpr[10], ==, 0xfffffffe);
    g_assert_cmphex(gpr[11], ==, 0xffffffff);
    g_assert_cmphex(gpr[13] & 0xff, ==, 1);
    cpu_guest_free(guest);
}

CPU_CODE(high, 64,
         "mov $0x11223344, %eax\n mov %ah, %bl\n mov %al, %bh\n add %ah, %al\n xchg %bl, %bh\n"
         "mov $0x80, %ch\n shl $1, %ch\n setc %dh\n movzx %ah, %esi\n hlt");

static void test_high_bytes(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, high);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(gpr[GPR_RAX], ==, 0x11223377);
    g_assert_cmphex(gpr[GPR_RBX], ==, 0x3344);
    g_assert_cmphex(gpr[GPR_RCX], ==, 0);
    g_assert_cmphex(gpr[GPR_RDX], ==, 0x100);
    g_assert_cmphex(gpr[GPR_RSI], ==, 0x33);
    cpu_guest_free(guest);
}

CPU_CODE(shifts, 64,
         "mov $0xc5, %eax\n sahf\n mov $0, %ecx\n mov $1, %ebx\n"
         "cmp %ebx, %ecx\n shl %cl, %ebx\n pushf\n pop %rdx\n" /* by zero: CMP's flags */
         "mov $32, %cl\n shr %cl, %ebx\n"                      /* by 32 is by zero */
         "mov $0x8000, %si\n stc\n rcl $1, %si\n setc %dil\n"
         "mov $0x81, %r8b\n mov $9, %cl\n rcr %cl, %r8b\n" /* nine bits round */
         "mov $0x1234, %r9w\n mov $0xabcd, %r10w\n shld $4, %r10w, %r9w\n"
         "mov $-8, %r11\n sar $1, %r11\n hlt");

static void test_shifts(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, shifts);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(gpr[GPR_RBX], ==, 1);
    g_assert_cmphex(gpr[GPR_RDX] & ARITH, ==, CF | SF | PF | AF);
    g_assert_cmphex(gpr[GPR_RSI] & 0xffff, ==, 1);
    g_assert_cmphex(gpr[GPR_RDI] & 0xff, ==, 1);
    g_assert_cmphex(gpr[8] & 0xff, ==, 0x81);
    g_assert_cmphex(gpr[9] & 0xffff, ==, 0x234a);
    g_assert_cmphex(gpr[11], ==, (uint64_t)-4);
    cpu_guest_free(guest);
}

CPU_CODE(muldiv, 64,
         "mov $-1, %rax\n mov $-1, %rcx\n mul %rcx\n mov %rdx, %r8\n mov %rax, %r9\n"
         "mov $-7, %rax\n cqo\n mov $2, %ecx\n idiv %rcx\n mov %rax, %r10\n mov %rdx, %r11\n"
         "mov $0x1234, %ax\n mov $0x100, %bx\n mov $0x13, %bl\n div %bl\n movzx %ax, %r12d\n"
         "imul $-3, %r10, %r13\n mov $0x40000000, %eax\n imul $4, %eax, %eax\n setc %r14b\n hlt");

static void test_muldiv(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, muldiv);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(gpr[8], ==, UINT64_MAX - 1);
    g_assert_cmphex(gpr[9], ==, 1);
    g_assert_cmpint((int64_t)gpr[10], ==, -3);
    g_assert_cmpint((int64_t)gpr[11], ==, -1);
    g_assert_cmphex(gpr[12], ==, (0x1234 % 0x13) << 8 | 0x1234 / 0x13);
    g_assert_cmpint((int64_t)gpr[13], ==, 9);
    g_assert_cmphex(gpr[14] & 0xff, ==, 1);
    cpu_guest_free(guest);
}

CPU_CODE(div_zero, 64, "xor %ecx, %ecx\n mov $5, %eax\n xor %edx, %edx\n div %ecx\n hlt");
CPU_CODE(div_big, 64, "mov $1, %ecx\n mov $5, %eax\n mov $1, %edx\n div %ecx\n hlt");
CPU_CODE(idiv_min, 64, "mov $1, %rax\n ror $1, %rax\n cqo\n mov $-1, %rcx\n idiv %rcx\n hlt");
CPU_CODE(idiv_8, 64, "mov $0x4000, %ax\n mov $64, %cl\n idiv %cl\n hlt");
CPU_CODE(idiv_edge, 64, "mov $-128*64, %ax\n mov $64, %cl\n idiv %cl\n hlt");

/* All of them leave the registers as they were, and rip at the division. */
static void test_divide_errors(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, div_zero);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DE);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, GUEST_CODE_AT + 9);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 5);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, div_big);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DE);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, idiv_min);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DE);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 1ull << 63);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, idiv_8);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DE);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, idiv_edge);
    g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
    g_assert_cmphex(guest->state.gpr[GPR_RAX] & 0xffff, ==, 0x80);
    cpu_guest_free(guest);
}

CPU_CODE(bits, 64,
         "movq $0, 0x200000\n mov $65, %eax\n bts %rax, 0x200000\n" /* in the next quadword */
         "mov $-1, %rcx\n bts %ecx, 0x200000\n"                     /* below the operand */
         "bsf %edx, %esi\n"                                         /* of zero: unchanged */
         "mov $0x00f0, %di\n bsf %di, %bx\n bsr %di, %bp\n"
         "mov $0x0102030405060708, %r8\n bswap %r8\n popcnt %r8, %r9\n"
         "mov $12, %r10d\n blsi %r10d, %r11d\n andn %r8, %r8, %r12\n"
         "mov $0xff00ff, %r13d\n mov $0xabcd, %r14d\n pdep %r13d, %r14d, %r15d\n hlt");

static void test_bits(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    guest->state.gpr[GPR_RSI] = 0x1234;
    CPU_LOAD(guest, bits);
    cpu_guest_complete(guest);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(data(guest, 1), ==, 2);
    g_assert_cmphex(ld32_le(guest->ram + GUEST_DATA - 4), ==, 0x80000000);
    g_assert_cmphex(gpr[GPR_RSI], ==, 0x1234);
    g_assert_cmphex(gpr[GPR_RBX] & 0xffff, ==, 4);
    g_assert_cmphex(gpr[GPR_RBP] & 0xffff, ==, 7);
    g_assert_cmphex(gpr[8], ==, 0x0807060504030201);
    g_assert_cmphex(gpr[9], ==, 13);
    g_assert_cmphex(gpr[11], ==, 4);
    g_assert_cmphex(gpr[12], ==, 0);
    g_assert_cmphex(gpr[15], ==, 0xab00cd);
    cpu_guest_free(guest);
}

CPU_CODE(
    atomic, 64,
    "mov $0x200000, %edi\n movl $5, (%rdi)\n mov $3, %eax\n lock xadd %eax, (%rdi)\n" /* 5, 8 */
    "mov %eax, %ebx\n mov $7, %ecx\n mov $1, %edx\n lock cmpxchg %edx, (%rdi)\n"
    "mov %eax, %esi\n setz %r8b\n mov $8, %eax\n lock cmpxchg %ecx, (%rdi)\n setz %r9b\n"
    "lock incb 4(%rdi)\n lock bts $3, (%rdi)\n setc %r10b\n"
    "mov $0x11, %r11d\n xchg %r11b, (%rdi)\n"
    "movq $0x1111, 16(%rdi)\n movq $0x2222, 24(%rdi)\n mov $0x1111, %eax\n mov $0x2222, %edx\n"
    "mov $0x33, %ebx\n mov $0x44, %ecx\n lock cmpxchg16b 16(%rdi)\n setz %r12b\n"
    "lock cmpxchg8b 8(%rdi)\n setz %r13b\n hlt");

static void test_atomic(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, atomic);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
    g_assert_cmphex(gpr[GPR_RSI], ==, 8);
    g_assert_cmphex(gpr[8] & 0xff, ==, 0);
    g_assert_cmphex(gpr[9] & 0xff, ==, 1);
    g_assert_cmphex(gpr[10] & 0xff, ==, 0);
    g_assert_cmphex(gpr[11] & 0xff, ==, 0xf);
    g_assert_cmphex(data(guest, 0), ==, 0x100000011);
    g_assert_cmphex(gpr[12] & 0xff, ==, 1);
    g_assert_cmphex(data(guest, 2), ==, 0x33);
    g_assert_cmphex(data(guest, 3), ==, 0x44);
    g_assert_cmphex(gpr[13] & 0xff, ==, 0);
    cpu_guest_free(guest);
}

CPU_CODE(bad_16b, 64, "lock cmpxchg16b 0x200008\n hlt");
CPU_CODE(bad_lock, 64, ".byte 0xf0, 0x89, 0xd8\n hlt"); /* lock mov %ebx, %eax */
CPU_CODE(bad_ud, 64, "mov $1, %eax\n ud2\n hlt");
CPU_CODE(too_long, 64, ".fill 15, 1, 0x66\n nop\n hlt");
CPU_CODE(long_enough, 64, ".fill 14, 1, 0x66\n nop\n hlt");

static void test_undefined(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, bad_16b);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_GP);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, bad_lock);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_UD);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, GUEST_CODE_AT);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, bad_ud);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_UD);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, GUEST_CODE_AT + 5);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, too_long);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_GP);
    cpu_guest_free(guest);
    guest = RUN(GUEST_LONG, long_enough);
    g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
    cpu_guest_free(guest);
}

/* ---- Control ---- */

/* The address of a label, which is in the program, when it runs. */
#define AT(program, label) "(" #label " - cpu_code_" #program " + 0x20000)"

CPU_CODE(control, 32,
         "xor %ebx, %ebx\n mov $10, %ecx\n 1: add %ecx, %ebx\n loop 1b\n" /* 55 */
         "jecxz 2f\n hlt\n 2: push $0x1234\n call 3f\n mov %eax, %esi\n pop %edi\n"
         "mov %esp, %ebp\n pusha\n popa\n cmp %esp, %ebp\n jne 9f\n"
         "enter $16, $1\n mov %ebp, %edx\n leave\n"
         "call *" AT(control, 6f) "\n mov $" AT(
             control, 8f) ", %ecx\n jmp *%ecx\n hlt\n"
                          "3: mov 4(%esp), %eax\n ret\n"
                          "6: .long " AT(control, 7f) "\n"
                                                      "7: mov $0x77, %al\n ret $0\n"
                                                      "8: mov $0x99, %ah\n 9: hlt");

static void test_control(void)
{
    CpuGuest *guest = RUN(GUEST_FLAT32, control);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmpint(cpu_guest_vector(guest), ==, -1);
    g_assert_cmphex(gpr[GPR_RBX], ==, 55);
    g_assert_cmphex(gpr[GPR_RSI], ==, 0x1234);
    g_assert_cmphex(gpr[GPR_RDI], ==, 0x1234);
    g_assert_cmphex(gpr[GPR_RDX], ==, GUEST_STACK - 4);
    g_assert_cmphex(gpr[GPR_RBP], ==, GUEST_STACK);
    g_assert_cmphex(gpr[GPR_RSP], ==, GUEST_STACK);
    g_assert_cmphex(gpr[GPR_RAX] & 0xffff, ==, 0x9977);
    cpu_guest_free(guest);
}

CPU_CODE(stack64, 64,
         "push %rsp\n pop %rax\n mov %rsp, %rbx\n sub %rax, %rbx\n" /* PUSH RSP: the old one */
         "pushw $0x55\n popw %cx\n push $-2\n pop %rdx\n push $7\n popq 8(%rsp)\n"
         "mov 8(%rsp), %rsi\n pushq $0x200000\n pop %rdi\n hlt");

static void test_stack(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, stack64);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmphex(gpr[GPR_RBX], ==, 0);
    g_assert_cmphex(gpr[GPR_RCX] & 0xffff, ==, 0x55);
    g_assert_cmphex(gpr[GPR_RDX], ==, (uint64_t)-2);
    g_assert_cmphex(gpr[GPR_RSI], ==, 7);
    g_assert_cmphex(gpr[GPR_RDI], ==, GUEST_DATA);
    cpu_guest_free(guest);
}

/* All sixteen conditions after every comparison of some values, fused and not: bits in rbx, rcx. */
#define CONDITION(cc, n)                                                                           \
    "cmp %esi, %edi\n j" cc " 1f\n jmp 2f\n 1: bts $" #n ", %ebx\n 2:\n"                           \
    "cmp %esi, %edi\n nop\n j" cc " 1f\n jmp 2f\n 1: bts $" #n ", %ecx\n 2:\n"
CPU_CODE(conditions, 64,
         "xor %ebx, %ebx\n xor %ecx, %ecx\n" CONDITION("o", 0) CONDITION("no", 1) CONDITION("b", 2)
             CONDITION("ae", 3) CONDITION("e", 4) CONDITION("ne", 5) CONDITION("be", 6)
                 CONDITION("a", 7) CONDITION("s", 8) CONDITION("ns", 9) CONDITION("p", 10)
                     CONDITION("np", 11) CONDITION("l", 12) CONDITION("ge", 13) CONDITION("le", 14)
                         CONDITION("g", 15) "hlt");

static unsigned conditions_of(int32_t a, int32_t b)
{
    uint32_t ua = (uint32_t)a, ub = (uint32_t)b;
    int64_t wide = (int64_t)a - b;
    bool truths[8] = {wide != (int32_t)wide,
                      ua < ub,
                      a == b,
                      ua <= ub,
                      (int32_t)(ua - ub) < 0,
                      !__builtin_parity((ua - ub) & 0xff),
                      a < b,
                      a <= b};
    unsigned bits = 0;
    for (unsigned i = 0; i < 8; i++)
        bits |= truths[i] ? 1u << 2 * i : 2u << 2 * i;
    return bits;
}

static void test_conditions(void)
{
    static const int32_t values[] = {0, 1, -1, 2, 127, 128, INT32_MAX, INT32_MIN, 0x1234, -0x1234};
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, conditions);
    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++)
        for (unsigned j = 0; j < G_N_ELEMENTS(values); j++) {
            cpu_guest_reset(guest, GUEST_LONG);
            guest->state.gpr[GPR_RDI] = (uint32_t)values[i];
            guest->state.gpr[GPR_RSI] = (uint32_t)values[j];
            cpu_guest_complete(guest);
            unsigned wanted = conditions_of(values[i], values[j]);
            g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, wanted);
            g_assert_cmphex(guest->state.gpr[GPR_RCX], ==, wanted);
        }
    cpu_guest_free(guest);
}

/* ---- Strings ---- */

CPU_CODE(strings, 64,
         "mov $0x200000, %esi\n mov $0x200003, %edi\n mov $13, %ecx\n rep movsb\n" /* repeats */
         "mov $0x200100, %edi\n mov $0x11, %eax\n mov $5, %ecx\n rep stosw\n"
         "mov $0x200100, %edi\n mov $0x20010a, %esi\n mov $3, %ecx\n std\n" /* down */
         "lea 8(%rdi), %rsi\n lea 20(%rdi), %rdi\n rep movsw\n cld\n"
         "mov $0x200200, %edi\n mov $100, %ecx\n mov $'x', %al\n repne scasb\n setz %bl\n mov "
         "%ecx, %r8d\n"
         "mov $0x200200, %esi\n mov $0x200300, %edi\n mov $100, %ecx\n repe cmpsb\n setb %bh\n"
         "mov %ecx, %r9d\n mov $0x200200, %esi\n lodsl\n mov %eax, %r10d\n"
         "xor %ecx, %ecx\n mov $1, %rdi\n rep stosb\n hlt"); /* none: no access */

static void test_strings(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    memcpy(guest->ram + GUEST_DATA, "abc0123456789abcdef", 19);
    memset(guest->ram + GUEST_DATA + 0x200, 'y', 0x200);
    guest->ram[GUEST_DATA + 0x220] = 'x';
    guest->ram[GUEST_DATA + 0x341] = 'z';
    CPU_LOAD(guest, strings);
    cpu_guest_complete(guest);
    const uint64_t *gpr = guest->state.gpr;
    g_assert_cmpint(memcmp(guest->ram + GUEST_DATA, "abcabcabcabcabcadef", 19), ==, 0);
    g_assert_cmphex(ld64_le(guest->ram + GUEST_DATA + 0x100), ==, 0x11001100110011);
    g_assert_cmphex(ld16_le(guest->ram + GUEST_DATA + 0x114), ==, 0x11);
    g_assert_cmphex(ld16_le(guest->ram + GUEST_DATA + 0x110), ==, 0x11);
    g_assert_cmphex(ld16_le(guest->ram + GUEST_DATA + 0x10e), ==, 0);
    g_assert_cmphex(gpr[GPR_RBX] & 0xff, ==, 1);
    g_assert_cmpuint(gpr[8], ==, 100 - 0x21);
    g_assert_cmphex(gpr[GPR_RBX] >> 8 & 0xff, ==, 1); /* 'x' below 'y' */
    g_assert_cmpuint(gpr[9], ==, 100 - 0x21);
    g_assert_cmphex(gpr[10], ==, 0x79797979);
    g_assert_cmphex(gpr[GPR_RDI], ==, 1);
    cpu_guest_free(guest);
}

/* Over the end of a segment, and round 16-bit addresses. */
CPU_CODE(strings16, 16,
         "mov $0x2000, %ax\n mov %ax, %es\n mov $0xfffc, %di\n mov $0x5a, %al\n mov $8, %cx\n"
         "rep stosb\n mov %di, %bx\n mov $0xffff, %di\n stosw\n hlt");

static void test_strings_real(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_REAL);
    cpu_guest_load(guest, 0x30000, cpu_code_strings16,
                   (size_t)(cpu_code_strings16_end - cpu_code_strings16));
    guest->state.seg[SEG_CS].base = 0x30000;
    guest->state.seg[SEG_CS].selector = 0x3000;
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_GP); /* a word at the limit */
    g_assert_cmphex(guest->state.gpr[GPR_RBX] & 0xffff, ==, 4);
    g_assert_cmphex(ld32_le(guest->ram + 0x2fffc), ==, 0x5a5a5a5a);
    g_assert_cmphex(ld32_le(guest->ram + 0x20000), ==, 0x5a5a5a5a);
    g_assert_cmphex(guest->ram[0x20004], ==, 0);
    g_assert_cmphex(guest->state.gpr[GPR_RDI] & 0xffff, ==, 0xffff);
    cpu_guest_free(guest);
}

/* ---- Interrupts, debugging, budget ---- */

CPU_CODE(shadow, 64, "sti\n inc %eax\n inc %eax\n hlt");
CPU_CODE(waiting, 64, "sti\n hlt\n inc %eax\n hlt");
CPU_CODE(endless, 64, "1: inc %eax\n jmp 1b");

static void test_interrupts(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, shadow);
    guest->interrupt = 0x50;
    guest->vcpu.requests = VCPU_REQ_INTR;
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, 0x50);
    /* Behind STI one instruction more, at least. */
    g_assert_cmphex(cpu_guest_frame(guest, 0), >, GUEST_CODE_AT + 1);
    g_assert_cmphex(guest->state.rflags & IF, ==, 0);
    g_assert_cmpuint(guest->vcpu.halt_masked, ==, VCPU_REQ_INTR | VCPU_REQ_APIC);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, waiting);
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmphex(guest->state.rip, ==, GUEST_CODE_AT + 2);
    g_assert_cmpint(cpu_guest_go_on(guest, 1000), ==, CPU_RUN_HALTED);
    guest->vcpu.requests = VCPU_REQ_NMI;
    g_assert_cmpint(cpu_guest_go_on(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, 2);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, GUEST_CODE_AT + 2);
    /* Another NMI waits for IRET. */
    guest->vcpu.requests = VCPU_REQ_NMI;
    g_assert_cmpint(cpu_guest_go_on(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpuint(guest->vcpu.requests, ==, VCPU_REQ_NMI);
    g_assert_true(guest->vcpu.halt_masked & VCPU_REQ_NMI);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, endless);
    g_assert_cmpint(cpu_guest_run(guest, 10000), ==, CPU_RUN_BUDGET);
    g_assert_cmpuint(guest->state.gpr[GPR_RAX], >, 4000);
    g_assert_cmpuint(guest->state.gpr[GPR_RAX], <, 6000);
    guest->vcpu.requests = VCPU_REQ_STOP;
    g_assert_cmpint(cpu_guest_go_on(guest, UINT64_MAX), ==, CPU_RUN_REQUEST);
    cpu_guest_free(guest);
}

static void test_rescue(void)
{
    CpuGuest *guest = cpu_guest_new(GUEST_LONG);
    CPU_LOAD(guest, endless);
    guest->state.rflags |= IF;
    guest->vcpu.requests = VCPU_REQ_INTR;
    guest->interrupt = 0x50;
    cpu_set_state(guest->cpu, &guest->state);
    g_assert_cmpint(cpu_run(guest->cpu, 3, true), ==, CPU_RUN_BUDGET);
    cpu_get_state(guest->cpu, &guest->state);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 2);
    g_assert_cmpint(guest->interrupt, ==, 0x50);
    g_assert_cmpint(cpu_run(guest->cpu, 0, true), ==, CPU_RUN_BUDGET);
    cpu_get_state(guest->cpu, &guest->state);
    g_assert_cmphex(guest->state.rip, ==, GUEST_CODE_AT);
    cpu_guest_free(guest);
}

CPU_CODE(stepping, 64, "pushf\n orl $0x100, (%rsp)\n popf\n inc %eax\n inc %eax\n hlt");
CPU_CODE(watched, 64, "mov $1, %al\n mov %al, 0x200002\n inc %ebx\n inc %ebx\n hlt");

static void test_debugging(void)
{
    CpuGuest *guest = RUN(GUEST_LONG, stepping);
    /* The trap is behind the instruction after POPF. */
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DB);
    g_assert_cmphex(guest->state.gpr[GPR_RAX], ==, 1);
    g_assert_cmphex(guest->state.dr[6] & 0x4000, ==, 0x4000);
    g_assert_cmphex(cpu_guest_frame(guest, 2) & TF, ==, TF);
    g_assert_cmphex(guest->state.rflags & TF, ==, 0);

    cpu_guest_reset(guest, GUEST_LONG);
    CPU_LOAD(guest, watched);
    guest->state.dr[0] = GUEST_DATA;
    guest->state.dr[7] = 0x400 | 1 | 0xdu << 16; /* writes, four bytes */
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DB);
    g_assert_cmphex(guest->state.gpr[GPR_RBX], ==, 0);
    g_assert_cmphex(guest->state.dr[6] & 15, ==, 1);
    g_assert_cmphex(guest->ram[GUEST_DATA + 2], ==, 1);

    cpu_guest_reset(guest, GUEST_LONG);
    guest->state.dr[1] = GUEST_CODE_AT + 2;
    guest->state.dr[7] = 0x400 | 1 << 2;
    guest->ram[GUEST_DATA + 2] = 0;
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_HALTED);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_DB);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, GUEST_CODE_AT + 2);
    g_assert_cmphex(guest->ram[GUEST_DATA + 2], ==, 0);
    g_assert_cmphex(guest->state.dr[6] & 15, ==, 2);
    /* With RF it goes on. */
    cpu_guest_reset(guest, GUEST_LONG);
    guest->state.dr[1] = GUEST_CODE_AT;
    guest->state.dr[7] = 0x400 | 1 << 2;
    guest->state.rflags |= 1 << 16;
    cpu_guest_complete(guest);
    g_assert_cmphex(guest->state.rflags >> 16 & 1, ==, 0);
    cpu_guest_free(guest);
}

/* ---- 16-bit segments ---- */

CPU_CODE(limits, 16, "mov $0xffff, %bx\n mov (%bx), %al\n mov (%bx), %ax\n hlt");

static void test_limits(void)
{
    CpuGuest *guest = RUN(GUEST_REAL, limits);
    g_assert_cmpint(cpu_guest_vector(guest), ==, VECTOR_GP);
    g_assert_cmphex(cpu_guest_frame(guest, 0), ==, 5);
    /* Code that runs into the limit. */
    cpu_guest_reset(guest, GUEST_REAL);
    guest->state.seg[SEG_CS].limit = 0x3;
    g_assert_cmpint(cpu_guest_run(guest, 1000), ==, CPU_RUN_TRIPLE);
    cpu_guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-core/alu", test_alu);
    g_test_add_func("/cpu-core/high-bytes", test_high_bytes);
    g_test_add_func("/cpu-core/shifts", test_shifts);
    g_test_add_func("/cpu-core/muldiv", test_muldiv);
    g_test_add_func("/cpu-core/divide-errors", test_divide_errors);
    g_test_add_func("/cpu-core/bits", test_bits);
    g_test_add_func("/cpu-core/atomic", test_atomic);
    g_test_add_func("/cpu-core/undefined", test_undefined);
    g_test_add_func("/cpu-core/control", test_control);
    g_test_add_func("/cpu-core/stack", test_stack);
    g_test_add_func("/cpu-core/conditions", test_conditions);
    g_test_add_func("/cpu-core/strings", test_strings);
    g_test_add_func("/cpu-core/strings-real", test_strings_real);
    g_test_add_func("/cpu-core/interrupts", test_interrupts);
    g_test_add_func("/cpu-core/rescue", test_rescue);
    g_test_add_func("/cpu-core/debugging", test_debugging);
    g_test_add_func("/cpu-core/limits", test_limits);
    return g_test_run();
}
