/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that KVM cannot execute, on a real /dev/kvm; skipped, loudly, where there is none.
 */
#include "kvm-machine.h"

static char *describe(TestGuest *guest)
{
    GString *text = g_string_new(NULL);
    kvm_engine.describe(guest->machine, text);
    return g_string_free(text, FALSE);
}

/* Code in device memory, which no KVM fetches: MOV $0x42, %AL; OUT %AL, $0x10; HLT. */
GUEST_CODE(astray, "mov $0xd000, %ax\n mov %ax, %ds\n"
                   "movl $0x10e642b0, 0\n movb $0xf4, 4\n ljmp $0xd000, $0\n");

static void test_device_memory(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(astray));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 1);
    g_assert_cmphex(guest->told[0], ==, 0x42);
    g_assert_cmpuint(guest->told_size, ==, 1);
    g_assert_cmpuint(guest->mmio_reads, >=, 2);
    g_autofree char *text = describe(guest);
    g_assert_true(g_pattern_match_simple("*rescues: *mov *1 rescues, 1 instructions*", text));
    guest_free(guest);
}

/* FNSTCW from device memory stores to RAM where a dirty log is kept, and to a device. */
GUEST_CODE(dirty, "mov $0xd000, %ax\n mov %ax, %ds\n xor %ax, %ax\n mov %ax, %es\n"
                  "movl $0x233ed926, 0\n movl $0xf410e631, 4\n" /* es fnstcw 0x3123; out; hlt */
                  "ljmp $0xd000, $0\n");

static bool is_dirty(TestGuest *guest, hwaddr page)
{
    return ram_test_clear_dirty(guest->ram.ram, DIRTY_MIGRATION, page, RAM_PAGE_SIZE);
}

static void test_dirty_log(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(dirty));
    Machine *machine = guest->machine;
    region_set_dirty_log(&guest->ram, DIRTY_MIGRATION, true);
    machine->hooks.dirty_sync(machine, &guest->ram);
    ram_test_clear_dirty(guest->ram.ram, DIRTY_MIGRATION, 0, TEST_RAM_SIZE);
    machine_start(machine, true);
    guest_wait_told(guest, 1);
    machine->hooks.dirty_sync(machine, &guest->ram);
    g_assert_true(is_dirty(guest, 0x3000));
    g_assert_false(is_dirty(guest, 0x4000));
    g_assert_cmphex(guest->ram.ram->host[0x3124], !=, 0); /* the control word's upper half */
    guest_free(guest);
}

int main(int argc, char **argv)
{
    char *why = NULL;
    g_test_init(&argc, &argv, NULL);
    if (!kvm_engine.probe(&why)) {
        g_print("1..0 # SKIP %s\n", why);
        g_free(why);
        return 0;
    }
    g_test_add_func("/kvm/rescue/device-memory", test_device_memory);
    g_test_add_func("/kvm/rescue/dirty-log", test_dirty_log);
    return g_test_run();
}
