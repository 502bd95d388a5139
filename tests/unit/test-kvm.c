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

/* Interrupts are off but for a moment in each round, always as far from the last exit: a KVM that
 * emulates whole batches does not see it by itself. */
GUEST_CODE(pic_window, "xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
                       "movw $0x200, 0x80\n movw $0, 0x82\n"
                       "mov $0x200, %di\n"
                       "cs movl (window_handler - guest_pic_window), %eax\n movl %eax, (%di)\n"
                       "cs movl (window_handler - guest_pic_window + 4), %eax\n"
                       "movl %eax, 4(%di)\n"
                       "4: in $0x14, %al\n mov $100, %cx\n 5: loop 5b\n"
                       "sti\n nop\n cli\n"
                       "mov $100, %cx\n 6: loop 6b\n jmp 4b\n"
                       "window_handler: mov $3, %al\n out %al, $0x10\n iret\n nop\n nop\n nop\n");

static void test_pic_window(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(pic_window));
    acks = 0;
    guest->machine->pic_ack = pic_ack;
    machine_start(guest->machine, true);
    for (unsigned i = 1; i <= 5; i++) {
        guest->machine->hooks.pic_intr(guest->machine, true);
        guest_wait_told(guest, i);
        g_assert_cmpuint(acks, ==, i);
        g_assert_cmphex(guest->told[i - 1], ==, 3);
    }
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

/* ---- Memory slots under running CPUs ---- */

/* CPU 0 asks for a change of the layout again and again; CPU 1 executes and reads memory that stays
 * where it is, but whose slot comes and goes.  Were the slot missing for a moment, CPU 1 would read
 * ones, or fail to execute. */
GUEST_CODE(layout, "1: out %al, $0x1c\n jmp 1b\n");
GUEST_CODE(reader, "xor %ax, %ax\n mov %ax, %ds\n"
                   "1: mov 0x3000, %eax\n cmp $0x600df00d, %eax\n je 1b\n"
                   "out %eax, $0x10\n 2: cli\n hlt\n jmp 2b\n");

static Region layout_window;

static void change_layout(TestGuest *guest)
{
    region_set_addr(&layout_window, 0x80000 + 0x1000 * (guest->calls % 16));
    region_set_readonly(&layout_window, guest->calls & 16);
}

static bool layout_changed(TestGuest *guest)
{
    return guest->calls > 150 || guest->told_count;
}

/* Puts a stopped CPU at linear address ip in real mode. */
static void start_at(Vcpu *cpu, uint32_t ip)
{
    g_autofree CpuState *state = g_new0(CpuState, 1);
    g_assert_true(vcpu_get_state(cpu, state));
    state->seg[SEG_CS].base = ip & ~0xfffu;
    state->seg[SEG_CS].selector = (uint16_t)((ip & ~0xfffu) >> 4);
    state->rip = ip & 0xfff;
    state->waiting_sipi = state->halted = false;
    g_assert_true(vcpu_set_state(cpu, state));
}

static void test_layout(void)
{
    TestGuest *guest = guest_new(2, NULL, GUEST(layout));
    uint8_t *ram = region_ram_ptr(&guest->ram);
    memcpy(ram + 0x2000, guest_reader, (size_t)(guest_reader_end - guest_reader));
    st32_le(ram + 0x3000, 0x600df00d);
    region_init_alias(&layout_window, "window", &guest->ram, 0x100000, 0x3000);
    region_add_overlap(&guest->machine->mem_root, 0x80000, &layout_window, 1);
    guest->call = change_layout;
    machine_start(guest->machine, false);
    start_at(guest->machine->cpus[1], 0x2000);
    machine_resume(guest->machine, NULL);
    guest_wait(guest, layout_changed);
    for (unsigned i = 0; i < 40; i++) { /* from the main thread, too */
        region_set_enabled(&layout_window, i & 1);
        loop_step(guest->machine->loop, false);
    }
    machine_pause(guest->machine, MACHINE_PAUSED);
    g_assert_cmpuint(guest->told_count, ==, 0);
    g_assert_cmpuint(guest->machine->cpus[1]->exits, >, 0);
    region_remove(&layout_window);
    region_fini(&layout_window);
    guest_free(guest);
}

/* ---- Dirty log ---- */

GUEST_CODE(dirty, "xor %ax, %ax\n mov %ax, %ds\n incb 0x3123\n incb 0x5fff\n"
                  "out %al, $0x10\n 1: cli\n hlt\n jmp 1b\n");

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
    g_assert_true(is_dirty(guest, 0x5000));
    g_assert_false(is_dirty(guest, 0x4000));
    g_assert_false(is_dirty(guest, 0x6000));
    machine->hooks.dirty_sync(machine, &guest->ram);
    g_assert_false(is_dirty(guest, 0x3000));
    /* What was written is not forgotten when logging ends or the slot goes. */
    machine_request_reset(machine, RESET_HOST);
    guest_wait_told(guest, 2);
    region_set_dirty_log(&guest->ram, DIRTY_MIGRATION, false);
    g_assert_true(is_dirty(guest, 0x3000));
    guest_free(guest);
}

/* ---- eventfds and messages ---- */

GUEST_CODE(bell, "mov $7, %al\n out %al, $0x1c\n mov $8, %al\n out %al, $0x1c\n"
                 "out %al, $0x10\n 1: cli\n hlt\n jmp 1b\n");

static void test_doorbell(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(bell));
    uint64_t count = 0;
    int fd = eventfd(0, EFD_NONBLOCK);
    Doorbell bell = {PORT_CALL - PORT_TELL, 1, true, 7, fd};
    region_add_doorbell(&guest->ports, &bell);
    machine_start(guest->machine, true);
    guest_wait_told(guest, 1);
    g_assert_cmpint(read(fd, &count, sizeof(count)), ==, sizeof(count));
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpuint(guest->calls, ==, 1); /* the 8 */
    region_remove_doorbell(&guest->ports, &bell);
    machine_request_reset(guest->machine, RESET_HOST);
    guest_wait_told(guest, 2);
    g_assert_cmpint(read(fd, &count, sizeof(count)), <, 0);
    g_assert_cmpuint(guest->calls, ==, 3);
    guest_free(guest);
    close(fd);
}

/* Vectors 0x40 and 0x41 tell their number and signal EOI to the local APIC, reached through FS, to
 * which the test gives 4 GiB. */
GUEST_CODE(apic, "vectors: jmp vector40\n .align 4\n jmp vector41\n .align 4\n"
                 "vector40: push %eax\n mov $0x40, %al\n jmp eoi\n"
                 "vector41: push %eax\n mov $0x41, %al\n"
                 "eoi: out %al, $0x10\n mov $0xfee000b0, %ebx\n movl $0, %fs:(%ebx)\n"
                 "pop %eax\n iret\n"
                 "apic_start: xor %ax, %ax\n mov %ax, %ss\n mov $0x1000, %sp\n sti\n"
                 "1: hlt\n jmp 1b\n");

static unsigned eois;

static void on_eoi(Machine *machine, uint8_t vector)
{
    g_assert_true(loop_locked(machine->loop));
    g_assert_cmphex(vector, ==, 0x41);
    eois++;
}

static bool one_eoi(TestGuest *guest)
{
    return eois == 1;
}

/* A machine whose CPU sleeps in RAM at 0x2000 with its local APIC on. */
static TestGuest *apic_guest(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(apic));
    Vcpu *cpu = guest->machine->cpus[0];
    uint8_t *ram = region_ram_ptr(&guest->ram);
    size_t length = (size_t)(guest_apic_end - guest_apic);
    g_autofree CpuState *state = g_new0(CpuState, 1);
    memcpy(ram + 0x2000, guest_apic, length);
    st32_le(ram + 0x40 * 4, 0x0200 << 16);
    st32_le(ram + 0x41 * 4, 0x0200 << 16 | 4);
    machine_start(guest->machine, false);
    g_assert_true(vcpu_get_state(cpu, state));
    st32_le(state->apic + 0xf0, 0x1ff);
    state->seg[SEG_FS].limit = UINT32_MAX;
    state->seg[SEG_FS].attr |= ATTR_G;
    g_assert_true(vcpu_set_state(cpu, state));
    start_at(cpu, 0x2000);
    g_assert_true(vcpu_get_state(cpu, state));
    /* apic_start is after four jumps' worth of handlers: find its first instruction. */
    static const uint8_t first[] = {0x31, 0xc0, 0x8e, 0xd0};
    state->rip = (uint64_t)((uint8_t *)memmem(ram + 0x2000, length, first, 4) - (ram + 0x2000));
    g_assert_true(vcpu_set_state(cpu, state));
    machine_resume(guest->machine, NULL);
    return guest;
}

static void test_msi(void)
{
    TestGuest *guest = apic_guest();
    Machine *machine = guest->machine;
    for (unsigned i = 0; i < 10; i++) {
        machine_msi(machine, 0xfee00000, 0x40);
        guest_wait_told(guest, i + 1);
        g_assert_cmphex(guest->told[i], ==, 0x40);
    }
    machine_msi(machine, 0xfee77000, 0x40); /* no such CPU: dropped */

    int fd = eventfd(0, 0);
    uint64_t one = 1;
    int handle = machine->hooks.irqfd_add(machine, fd, 0xfee00000, 0x40);
    g_assert_cmpint(handle, >=, 0);
    g_assert_cmpint(write(fd, &one, 8), ==, 8);
    guest_wait_told(guest, 11);
    machine->hooks.irqfd_set(machine, handle, 0xfee00000, 0x41);
    g_assert_cmpint(write(fd, &one, 8), ==, 8);
    guest_wait_told(guest, 12);
    g_assert_cmphex(guest->told[11], ==, 0x41);
    machine->hooks.irqfd_remove(machine, handle);
    int again = machine->hooks.irqfd_add(machine, fd, 0xfee00000, 0x40);
    g_assert_cmpint(again, ==, handle);
    machine->hooks.irqfd_remove(machine, again);
    close(fd);
    guest_free(guest);
}

/* The EOI of a level interrupt comes back, even when its pin was masked meanwhile. */
static void test_eoi(void)
{
    TestGuest *guest = apic_guest();
    Machine *machine = guest->machine;
    enum { LEVEL_ASSERTED = 0xc000 };
    eois = 0;
    machine->ioapic_eoi = on_eoi;
    machine->hooks.ioapic_route(machine, 10, 0xfee00000, 0x41, false, true);
    machine->hooks.ioapic_route(machine, 10, 0xfee00000, 0x41, true, true);
    machine_msi(machine, 0xfee00000, 0x41 | LEVEL_ASSERTED);
    guest_wait(guest, one_eoi);
    machine_msi(machine, 0xfee00000, 0x40);
    guest_wait_told(guest, 2);
    g_assert_cmpuint(eois, ==, 1);
    machine->hooks.ioapic_route(machine, 10, 0xfee00000, 0x41, false, false);
    machine_msi(machine, 0xfee00000, 0x41);
    guest_wait_told(guest, 3);
    machine_pause(machine, MACHINE_PAUSED);
    g_assert_cmpuint(eois, ==, 1);
    guest_free(guest);
}

/* ---- Bring-up of a second CPU, NMI, CPUID ---- */

GUEST_CODE(nmi, "xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
                "movw $0x2000, 0x8\n movw $0, 0xa\n out %al, $0x14\n"
                "1: cli\n hlt\n jmp 1b\n");
GUEST_CODE(nmi_handler, "mov $0xee, %al\n out %al, $0x10\n iret\n");

static void test_nmi(void)
{
    TestGuest *guest = guest_new(1, NULL, GUEST(nmi));
    memcpy(region_ram_ptr(&guest->ram) + 0x2000, guest_nmi_handler,
           (size_t)(guest_nmi_handler_end - guest_nmi_handler));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 1);
    for (unsigned i = 0; i < 3; i++) {
        guest->machine->hooks.nmi(guest->machine);
        guest_wait_told(guest, 2 + i);
        g_assert_cmphex(guest->told[1 + i], ==, 0xee);
    }
    guest_free(guest);
}

GUEST_CODE(cpuid, "mov $0, %eax\n cpuid\n mov %ebx, %eax\n out %eax, $0x10\n"
                  "mov $0x40000000, %eax\n cpuid\n mov %ebx, %eax\n out %eax, $0x10\n"
                  "mov $1, %eax\n cpuid\n out %eax, $0x10\n mov %ecx, %eax\n out %eax, $0x10\n"
                  "mov $0x0b, %eax\n mov $1, %ecx\n cpuid\n mov %ebx, %eax\n out %eax, $0x10\n"
                  "1: cli\n hlt\n jmp 1b\n");

static void test_cpuid(void)
{
    TestGuest *guest =
        guest_new(2, "qemu64,-x2apic,family=23,model=0x31,vendor=GenuineIntel", GUEST(cpuid));
    machine_start(guest->machine, true);
    guest_wait_told(guest, 5);
    g_assert_cmphex(guest->told[0], ==, 0x756e6547);
    g_assert_cmphex(guest->told[1], ==, 0x4b4d564b);
    g_assert_cmphex(guest->told[2], ==, 0x00830f11);
    g_assert_cmphex(guest->told[3] & (1u << 31 | 1 << 21), ==, 1u << 31);
    g_assert_cmpuint(guest->told[4], ==, 2);
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
    g_test_add_func("/kvm/mmio", test_mmio);
    g_test_add_func("/kvm/coalesced", test_coalesced);
    g_test_add_func("/kvm/rom", test_rom);
    g_test_add_func("/kvm/pic", test_pic);
    g_test_add_func("/kvm/pic-window", test_pic_window);
    g_test_add_func("/kvm/state", test_state);
    g_test_add_func("/kvm/reset", test_reset);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/no-reboot", test_no_reboot);
    g_test_add_func("/kvm/layout", test_layout);
    g_test_add_func("/kvm/dirty-log", test_dirty_log);
    g_test_add_func("/kvm/doorbell", test_doorbell);
    g_test_add_func("/kvm/msi", test_msi);
    g_test_add_func("/kvm/eoi", test_eoi);
    g_test_add_func("/kvm/nmi", test_nmi);
    g_test_add_func("/kvm/cpuid", test_cpuid);
    return g_test_run();
}
