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

/* ---- Device memory ---- */

GUEST_CODE(mmio, "mov $0xd000, %ax\n mov %ax, %ds\n mov %ax, %es\n"
                 "movl $0x11223344, 0x10\n movw $0x5566, 0x20\n movb $0x77, 0x30\n"
                 "addl $1, 0x10\n"
                 "mov 0x10, %eax\n out %eax, $0x10\n"
                 "mov 0x20, %ax\n out %ax, $0x10\n"
                 "mov 0x30, %al\n out %al, $0x10\n"
                 "cld\n mov $0x40, %di\n mov $8, %cx\n mov $0x5a, %al\n rep stosb\n"
                 "mov 0x44, %eax\n out %eax, $0x10\n"
                 "cli\n hlt\n");

static void test_mmio(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(mmio));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 4);
    g_assert_cmphex(guest->told[0], ==, 0x11223345);
    g_assert_cmphex(guest->told[1], ==, 0x5566);
    g_assert_cmphex(guest->told[2], ==, 0x77);
    g_assert_cmphex(guest->told[3], ==, 0x5a5a5a5a);
    g_assert_cmpuint(guest->mmio_writes, >=, 5);
    guest_free(guest);
}

/* The same with writes collected in KVM's ring: nothing may be lost or come late. */
static void test_coalesced(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(mmio));
    region_set_coalesced(&guest->mmio, true);
    machine_start(guest->machine, true);
    guest_wait_told(guest, 4);
    g_assert_cmphex(guest->told[0], ==, 0x11223345);
    g_assert_cmphex(guest->told[3], ==, 0x5a5a5a5a);
    guest_free(guest);
}

/* ---- Read-only memory ---- */

GUEST_CODE(rom, "mov $0xf000, %ax\n mov %ax, %ds\n"
                "mov 0x100, %eax\n out %eax, $0x10\n"
                "movl $0, 0x100\n mov 0x100, %eax\n out %eax, $0x10\n cli\n hlt\n");

static void test_rom(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(rom));
    Region alias;
    region_init_alias(&alias, "rom-low", &guest->rom, 0, TEST_ROM_SIZE);
    region_add_overlap(&guest->machine->mem_root, 0xf0000, &alias, 1);
    st32_le(region_ram_ptr(&guest->rom) + 0x100, 0xcafebabe);
    machine_start(guest->machine, true);
    guest_wait_told(guest, 2);
    g_assert_cmphex(guest->told[0], ==, 0xcafebabe);
    g_assert_cmphex(guest->told[1], ==, 0xcafebabe);
    region_remove(&alias);
    region_fini(&alias);
    guest_free(guest);
}

/* ---- 8259 interrupts ---- */

GUEST_CODE(pic, "xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
                "movw $0x200, 0x80\n movw $0, 0x82\n" /* vector 0x20 -> 0000:0200 */
                "mov $0xf000, %ax\n mov %ax, %es\n"
                "xor %si, %si\n mov $0x200, %di\n"
                "cs movl (handler - guest_pic), %eax\n movl %eax, (%di)\n"
                "cs movl (handler - guest_pic + 4), %eax\n movl %eax, 4(%di)\n"
                "mov $1, %al\n out %al, $0x10\n"
                "mov $200, %cx\n 3: loop 3b\n" /* with IF clear nothing may come */
                "mov $2, %al\n out %al, $0x10\n"
                "sti\n 1: hlt\n jmp 1b\n"
                "handler: mov $3, %al\n out %al, $0x10\n iret\n nop\n nop\n nop\n");

static unsigned acks;

static int pic_ack(Machine *machine)
{
    g_assert_true(loop_locked(machine->loop));
    acks++;
    machine->hooks.pic_intr(machine, false);
    return 0x20;
}

static void test_pic(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(pic));
    Machine *machine = guest->machine;
    acks = 0;
    machine->pic_ack = pic_ack;
    machine_start(machine, false);
    machine->hooks.pic_intr(machine, true);
    machine_resume(machine, NULL);
    guest_wait_told(guest, 3);
    for (unsigned i = 0; i < 20; i++) {
        g_assert_cmpuint(acks, ==, i + 1);
        g_assert_cmphex(guest->told[2 + i], ==, 3);
        machine->hooks.pic_intr(machine, true); /* wakes it from HLT */
        guest_wait_told(guest, 4 + i);
    }
    g_assert_cmphex(guest->told[0], ==, 1);
    g_assert_cmphex(guest->told[1], ==, 2);
    guest_free(guest);
}

/* ---- State ---- */

GUEST_CODE(count, "mov $0x1234, %bx\n 1: out %al, $0x10\n inc %ecx\n jmp 1b\n");

static void test_state(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(count));
    g_autofree CpuState *state = g_new0(CpuState, 1), *again = g_new0(CpuState, 1);
    Vcpu *cpu = guest->machine->cpus[0];
    machine_start(guest->machine, false);
    g_assert_true(vcpu_get_state(cpu, state));
    g_assert_cmphex(state->rip, ==, 0xfff0);
    g_assert_cmphex(state->seg[SEG_CS].base, ==, 0xffff0000);
    g_assert_cmphex(state->cr0, ==, 0x60000010);
    g_assert_cmphex(state->apic_base, ==, 0xfee00900);
    g_assert_false(state->waiting_sipi);
    g_assert_cmpuint(state->msr_count, >, 40);
    machine_resume(guest->machine, NULL);
    guest_wait_told(guest, 10);
    g_assert_true(vcpu_get_state(cpu, state)); /* while it runs */
    g_assert_cmphex(state->gpr[GPR_RBX], ==, 0x1234);
    machine_pause(guest->machine, MACHINE_PAUSED);
    g_assert_true(vcpu_get_state(cpu, state));
    /* Each OUT is complete: RCX has counted all but perhaps the last. */
    g_assert_cmpuint(guest->told_count - state->gpr[GPR_RCX], <=, 1);

    state->gpr[GPR_RSI] = 0xdeadbeef;
    state->dr[0] = 0x12345;
    st32_le(state->xsave + 160, 0x55aa55aa); /* XMM0 */
    state->seg[SEG_FS].base = 0x7000;
    state->seg[SEG_FS].selector = 0x700;
    g_assert_true(vcpu_set_state(cpu, state));
    g_assert_true(vcpu_get_state(cpu, again));
    g_assert_cmphex(again->gpr[GPR_RSI], ==, 0xdeadbeef);
    g_assert_cmphex(again->dr[0], ==, 0x12345);
    g_assert_cmphex(ld32_le(again->xsave + 160), ==, 0x55aa55aa);
    g_assert_cmpmem(again->gpr, sizeof(again->gpr), state->gpr, sizeof(state->gpr));
    g_assert_cmpmem(&again->seg[SEG_FS].base, 8, &state->seg[SEG_FS].base, 8);
    g_assert_cmphex(again->rip, ==, state->rip);
    g_assert_cmpmem(again->apic, 0x380, state->apic, 0x380);
    g_assert_cmpuint(again->msr_count, ==, state->msr_count);

    unsigned told = guest->told_count;
    machine_resume(guest->machine, NULL);
    guest_wait_told(guest, told + 10);
    guest_free(guest);
}

/* ---- Resets ---- */

GUEST_CODE(reset, "mov $0x7777, %bx\n mov $0x1000, %dx\n xor %ax, %ax\n mov %ax, %ds\n"
                  "incl 0x500\n mov 0x500, %eax\n out %eax, $0x14\n"
                  "cmp $6, %eax\n jae 1f\n out %al, $0x18\n 1: cli\n hlt\n jmp 1b\n");

static bool reset_thrice(TestGuest *guest)
{
    return guest->machine->resets >= 6;
}

/* The OUT that asks for the reset must not complete into the new state. */
static void test_reset(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(reset));
    g_autofree CpuState *state = g_new0(CpuState, 1);
    machine_start(guest->machine, true);
    guest_wait(guest, reset_thrice);
    machine_pause(guest->machine, MACHINE_PAUSED);
    machine_request_reset(guest->machine, RESET_HOST);
    while (machine_request_pending(guest->machine))
        loop_step(guest->machine->loop, true);
    g_assert_true(vcpu_get_state(guest->machine->cpus[0], state));
    g_assert_cmphex(state->rip, ==, 0xfff0);
    g_assert_cmphex(state->gpr[GPR_RBX], ==, 0);
    g_assert_cmphex(state->gpr[GPR_RDX], !=, 0x1000);
    g_assert_cmphex(state->seg[SEG_CS].selector, ==, 0xf000);
    g_assert_cmphex(state->rflags, ==, 2);
    g_assert_cmphex(ld32_le(state->apic + 0x350), ==, 0x700);
    g_assert_false(state->halted);
    guest_free(guest);
}

GUEST_CODE(triple, "xor %ax, %ax\n mov %ax, %ds\n incl 0x500\n mov 0x500, %eax\n"
                   "out %eax, $0x10\n cmp $4, %eax\n jae 1f\n"
                   "movw $0, 0x600\n movl $0, 0x602\n lidtw 0x600\n mov %cr0, %eax\n or $1, %al\n "
                   "mov %eax, %cr0\n mov $0x50, %ax\n mov %ax, %ds\n"
                   "1: cli\n hlt\n jmp 1b\n");

static void test_triple_fault(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(triple));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 4);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpuint(guest->told[i], ==, i + 1);
    g_assert_cmpuint(guest->machine->resets, ==, 4);
    guest_free(guest);
}

static bool is_shutdown(TestGuest *guest)
{
    return guest->machine->status == MACHINE_SHUTDOWN;
}

static void test_no_reboot(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(reset));
    guest->machine->no_reboot = true;
    machine_start(guest->machine, true);
    guest_wait(guest, is_shutdown);
    g_assert_cmpuint(guest->machine->resets, ==, 1);
    guest_free(guest);
}

/* ---- What KVM cannot execute ---- */

/* Code in device memory. */
GUEST_CODE(astray, "ljmp $0xd000, $0\n");

static bool has_failed(TestGuest *guest)
{
    return guest->machine->status == MACHINE_INTERNAL_ERROR;
}

static void test_internal_error(void)
{
    if (g_test_subprocess()) {
        TestGuest *guest = guest_new(1, NULL, GUEST(astray));
        machine_start(guest->machine, true);
        guest_wait(guest, has_failed);
        guest_free(guest);
        return;
    }
    g_test_trap_subprocess(NULL, 20 * G_USEC_PER_SEC, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr(
        "*CPU 0 stopped at d000:0*cannot execute*EAX=*EIP=00000000*CS =d000*");
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
    g_test_add_func("/kvm/mmio", test_mmio);
    g_test_add_func("/kvm/coalesced", test_coalesced);
    g_test_add_func("/kvm/rom", test_rom);
    g_test_add_func("/kvm/pic", test_pic);
    g_test_add_func("/kvm/state", test_state);
    g_test_add_func("/kvm/reset", test_reset);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/no-reboot", test_no_reboot);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    return g_test_run();
}
