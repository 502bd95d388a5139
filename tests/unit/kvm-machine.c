/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine of kvm-machine.h. */
#include "kvm-machine.h"

#include <string.h>

#include "util/timer.h"

static uint64_t ports_read(void *opaque, hwaddr offset, unsigned size)
{
    TestGuest *guest = opaque;
    if (offset + PORT_TELL == PORT_STRING)
        return 'a' + guest->next++ % 26;
    return 0x12345678;
}

static void ports_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    TestGuest *guest = opaque;
    switch (offset + PORT_TELL) {
    case PORT_TELL:
    case PORT_STRING:
        if (guest->told_count < G_N_ELEMENTS(guest->told))
            guest->told[guest->told_count++] = (uint32_t)value;
        guest->told_size = size;
        break;
    case PORT_RESET:
        guest->told_count++;
        machine_request_reset(guest->machine, RESET_GUEST);
        break;
    case PORT_CALL:
        guest->calls++;
        if (guest->call)
            guest->call(guest);
        break;
    }
}

static const RegionOps ports_ops = {ports_read, ports_write, .unaligned = true};

static uint64_t mmio_read(void *opaque, hwaddr offset, unsigned size)
{
    TestGuest *guest = opaque;
    uint64_t value = 0;
    memcpy(&value, guest->scratch + offset, size);
    guest->mmio_reads++;
    return value;
}

static void mmio_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    TestGuest *guest = opaque;
    memcpy(guest->scratch + offset, &value, size);
    guest->mmio_writes++;
}

static const RegionOps mmio_ops = {mmio_read, mmio_write};

TestGuest *guest_new_bare(unsigned cpus, const uint8_t *code, size_t length)
{
    static const uint8_t reset_vector[] = {0xe9, 0x0d, 0x00}; /* jmp 0x10000 */
    GError *error = NULL;
    TestGuest *guest = g_new0(TestGuest, 1);
    loop_lock(loop_main());
    Machine *machine = guest->machine = machine_new();
    machine->cpu_count = cpus;
    machine->ram_size = TEST_RAM_SIZE;
    region_init_ram(&guest->ram, "ram", TEST_RAM_SIZE, &error);
    g_assert_no_error(error);
    region_init_rom(&guest->rom, "rom", TEST_ROM_SIZE, &error);
    g_assert_no_error(error);
    memset(region_ram_ptr(&guest->rom), 0xf4, TEST_ROM_SIZE);
    memcpy(region_ram_ptr(&guest->rom), code, length);
    memcpy(region_ram_ptr(&guest->rom) + 0xfff0, reset_vector, sizeof(reset_vector));
    region_init_io(&guest->ports, "test-ports", PORT_CALL + 4 - PORT_TELL, &ports_ops, guest, NULL);
    region_init_io(&guest->mmio, "test-mmio", sizeof(guest->scratch), &mmio_ops, guest, NULL);
    region_begin();
    region_add(&machine->mem_root, 0, &guest->ram);
    region_add_overlap(&machine->mem_root, TEST_MMIO, &guest->mmio, 1);
    region_add(&machine->mem_root, 0xffff0000, &guest->rom);
    region_add(&machine->io_root, PORT_TELL, &guest->ports);
    region_commit();
    return guest;
}

TestGuest *guest_new(unsigned cpus, const char *cpu_model, const uint8_t *code, size_t length)
{
    TestGuest *guest = guest_new_bare(cpus, code, length);
    EngineConfig config = {.cpu_model = cpu_model};
    GError *error = NULL;
    vcpus_init(guest->machine, &kvm_engine, &config, &error);
    g_assert_no_error(error);
    return guest;
}

void guest_free(TestGuest *guest)
{
    if (guest->machine->status == MACHINE_RUNNING)
        machine_pause(guest->machine, MACHINE_PAUSED);
    vcpus_fini(guest->machine);
    region_fini(&guest->ports);
    region_fini(&guest->mmio);
    region_fini(&guest->rom);
    region_fini(&guest->ram);
    machine_free(guest->machine);
    g_free(guest);
    loop_unlock(loop_main());
}

static void on_tick(void *opaque)
{
    Timer *timer = opaque;
    timer_arm(timer, clock_now(VM_CLOCK_HOST) + NS_PER_MS);
}

void guest_wait(TestGuest *guest, bool (*cond)(TestGuest *guest))
{
    int64_t end = clock_now(VM_CLOCK_HOST) + 60 * NS_PER_SEC;
    Timer tick;
    timer_init(&tick, guest->machine->loop, VM_CLOCK_HOST, on_tick, &tick);
    timer_arm(&tick, clock_now(VM_CLOCK_HOST) + NS_PER_MS);
    while (!cond(guest)) {
        g_assert_cmpint(clock_now(VM_CLOCK_HOST), <, end);
        loop_step(guest->machine->loop, true);
    }
    timer_cancel(&tick);
}

static unsigned wanted;

static bool told_enough(TestGuest *guest)
{
    return guest->told_count >= wanted;
}

void guest_wait_told(TestGuest *guest, unsigned count)
{
    wanted = count;
    guest_wait(guest, told_enough);
}
