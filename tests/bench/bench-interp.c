/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest instructions per second of the interpreter, for a few loops in 64-bit code. */
#include "../cpu/cpu-guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* Dependent adds and a branch. */
CPU_CODE(adds, 64,
         "mov $20000000, %ecx\n"
         "1: add %rcx, %rax\n xor %rax, %rdx\n lea 1(%rdx,%rax), %rbx\n add $3, %rsi\n"
         "dec %ecx\n jnz 1b\n hlt");

/* CRC-32 by bits over 4 KiB. */
CPU_CODE(crc, 64,
         "mov $400, %r9d\n"
         "0: mov $0x200000, %esi\n mov $4096, %r8d\n mov $-1, %eax\n"
         "1: movzbl (%rsi), %edx\n inc %rsi\n xor %edx, %eax\n mov $8, %ecx\n"
         "2: mov %eax, %edx\n shr %eax\n and $1, %edx\n neg %edx\n and $0xedb88320, %edx\n"
         "xor %edx, %eax\n dec %ecx\n jnz 2b\n"
         "dec %r8d\n jnz 1b\n dec %r9d\n jnz 0b\n hlt");

/* The sieve over 256 KiB. */
CPU_CODE(sieve, 64,
         "mov $20, %r9d\n"
         "0: mov $0x200000, %edi\n mov $262144, %ecx\n"
         "1: movb $1, (%rdi)\n inc %rdi\n dec %ecx\n jnz 1b\n"
         "mov $2, %ebx\n"
         "2: cmpb $0, 0x200000(%rbx)\n je 4f\n lea (%rbx,%rbx), %rdi\n cmp $262144, %rdi\n jae 4f\n"
         "3: movb $0, 0x200000(%rdi)\n add %rbx, %rdi\n cmp $262144, %rdi\n jb 3b\n"
         "4: inc %ebx\n cmp $262144, %ebx\n jb 2b\n"
         "dec %r9d\n jnz 0b\n hlt");

/* A copy by 8 bytes, 64 KiB each time. */
CPU_CODE(
    copy, 64,
    "mov $1500, %r9d\n"
    "0: mov $0x200000, %esi\n mov $0x300000, %edi\n mov $8192, %ecx\n"
    "1: mov (%rsi), %rax\n mov %rax, (%rdi)\n add $8, %rsi\n add $8, %rdi\n dec %ecx\n jnz 1b\n"
    "dec %r9d\n jnz 0b\n hlt");

/* Naive Fibonacci numbers: calls, returns, pushes. */
CPU_CODE(fib, 64,
         "mov $30, %edi\n call fib_entry\n hlt\n"
         "fib_entry: cmp $2, %edi\n jae 1f\n mov %edi, %eax\n ret\n"
         "1: push %rbx\n mov %edi, %ebx\n lea -1(%rbx), %edi\n call fib_entry\n push %rax\n"
         "lea -2(%rbx), %edi\n call fib_entry\n pop %rdx\n add %edx, %eax\n pop %rbx\n ret");

/* A chain of pointers with a store beside, and indirect calls through a table. */
CPU_CODE(dispatch, 64,
         "lea 2f(%rip), %rax\n mov %rax, 0x200000\n lea 3f(%rip), %rax\n mov %rax, 0x200008\n"
         "lea 4f(%rip), %rax\n mov %rax, 0x200010\n lea 2f(%rip), %rax\n mov %rax, 0x200018\n"
         "mov $8000000, %ecx\n xor %esi, %esi\n"
         "1: mov %ecx, %edx\n and $3, %edx\n jmp *0x200000(,%rdx,8)\n"
         "2: add $1, %rsi\n dec %ecx\n jnz 1b\n hlt\n"
         "3: add $2, %rsi\n dec %ecx\n jnz 1b\n hlt\n"
         "4: xor %rcx, %rsi\n dec %ecx\n jnz 1b\n hlt");

CPU_CODE(stos, 64,
         "mov $20000, %r9d\n"
         "0: mov $0x200000, %edi\n mov $8192, %ecx\n rep stosq\n dec %r9d\n jnz 0b\n hlt");

typedef struct Loop {
    const char *name;
    const uint8_t *code, *end;
} Loop;
#define LOOP(name)                                                                                 \
    {                                                                                              \
#name, cpu_code_##name, cpu_code_##name##_end                                              \
    }

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(void)
{
    static const Loop loops[] = {LOOP(adds), LOOP(crc),      LOOP(sieve), LOOP(copy),
                                 LOOP(fib),  LOOP(dispatch), LOOP(stos)};
    for (unsigned i = 0; i < G_N_ELEMENTS(loops); i++) {
        CpuGuest *guest = cpu_guest_new(GUEST_LONG);
        cpu_guest_load(guest, GUEST_CODE_AT, loops[i].code, (size_t)(loops[i].end - loops[i].code));
        cpu_guest_run(guest, 1000); /* so that the code is decoded */
        uint64_t before = cpu_instructions(guest->cpu);
        double start = seconds();
        CpuRun why = cpu_guest_go_on(guest, UINT64_MAX);
        double time = seconds() - start;
        uint64_t count = cpu_instructions(guest->cpu) - before;
        printf("%-10s %6.0f MIPS  (%.3f s, %" PRIu64 " M)%s\n", loops[i].name,
               (double)count / time * 1e-6, time, count / 1000000,
               why == CPU_RUN_HALTED && cpu_guest_vector(guest) < 0 ? "" : "  did not end well");
        cpu_guest_free(guest);
    }
    return 0;
}
