/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The KVM engine on a real /dev/kvm; skipped, loudly, where there is none. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kvm-machine.h"
#include "util/bytes.h"

/* ---- Ports, single and by string ---- */

GUEST_CODE(ports, "mov $0x11, %al\n out %al, $0x10\n"
                  "mov $0x2222, %ax\n out %ax, $0x10\n"
                  "mov $0x33333333, %eax\n out %eax, $0x10\n"
                  "xor %ax, %ax\n mov %ax, %es\n mov %ax, %ds\n"
                  "mov $0x14, %dx\n mov $0x500, %di\n mov $40, %cx\n cld\n rep insb\n"
                  "mov $0x500, %si\n mov $40, %cx\n rep outsb\n"
                  "mov $0x600, %di\n mov $4, %cx\n mov $0x11, %dx\n rep insl\n"
                  "mov 0x60c, %eax\n out %eax, $0x10\n"
                  "cli\n hlt\n");

static void test_ports(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(ports));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 44);
    g_assert_cmphex(guest->told[0], ==, 0x11);
    g_assert_cmphex(guest->told[1], ==, 0x2222);
    g_assert_cmphex(guest->told[2], ==, 0x33333333);
    for (unsigned i = 0; i < 40; i++)
        g_assert_cmphex(guest->told[3 + i], ==, 'a' + i % 26);
    g_assert_cmphex(guest->told[43], ==, 0x12345678);
    guest_free(guest);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    char *why = NULL;
    if (!kvm_engine.probe(&why)) {
        g_print("1..0 # SKIP no usable KVM: %s\n", why);
        g_printerr("test-kvm SKIPPED: %s\n", why);
        g_free(why);
        return 0;
    }
    g_test_add_func("/kvm/ports", test_ports);
    return g_test_run();
}
