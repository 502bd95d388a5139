/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two CPUs on two threads: LOCK, and code that one writes and the other runs.  Under TSan, too. */
#include "cpu-guest.h"

#include <string.h>

#include "util/bytes.h"

/* What guests do to their memory at the same time is their affair. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:read_part\nrace:write_part\nrace:cpu_load\nrace:cpu_store\n";
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

static void second_new(Second *second, CpuGuest *guest, uint64_t rip)
{
    g_autoptr(GArray) leaves = g_array_new(FALSE, TRUE, sizeof(CpuidEntry));
    second->guest = guest;
    second->vcpu = (Vcpu){.machine = guest->machine, .index = 1, .apic_id = 1, .engine = guest};
    cpu_supported_cpuid(leaves);
    second->cpu = cpu_new(&second->vcpu, &guest->machine->mem, NULL, &guest->machine->io,
                          &cpu_guest_bus, (const CpuidEntry *)(void *)leaves->data, leaves->len);
    second->state = guest->state;
    second->state.rip = rip;
    second->state.gpr[GPR_RSP] = GUEST_STACK - 0x8000;
    second->state.waiting_sipi = false;
    cpu_set_state(second->cpu, &second->state);
}

static void run_both(CpuGuest *guest, Second *second)
{
    GThread *thread = g_thread_new("second", second_thread, second);
    /* They wait for each other: on a busy host that takes what it takes. */
    g_assert_cmpint(cpu_guest_run(guest, UINT64_MAX), ==, CPU_RUN_HALTED);
    g_thread_join(thread);
    cpu_get_state(second->cpu, &second->state);
    cpu_free(second->cpu);
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
    cpu_guest_load(guest, 0x21000, CPU_CODE_OF(reader));
    second_new(&second, guest, 0x21000);
    run_both(guest, &second);
    g_assert_cmpuint(guest->state.gpr[GPR_RCX], ==, 0);
    g_assert_cmpuint(guest->state.gpr[GPR_RSI], ==, 1);
    cpu_guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu-smp/atomics", test_smp_atomics);
    g_test_add_func("/cpu-smp/cross-modifying", test_cross_modifying);
    return g_test_run();
}
