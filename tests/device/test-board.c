/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry and the whole board: every class described completely, the state of all devices at
 * once. */
#include "../lib/board.h"
#include "hw/intc/ioapic.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/timer.h"

static void test_complete(void)
{
    unsigned count = 0;
    for (const DeviceClass *const *at = device_classes; *at; at++, count++) {
        const DeviceClass *cls = *at;
        g_assert_nonnull(cls->desc);
        g_assert_true(device_class_find(cls->name) == cls); /* names are unique */
        g_assert_nonnull(cls->state);
        g_assert_cmpuint(cls->state->size, ==, cls->size);
        g_autofree char *hole = state_check_complete(cls->state);
        g_assert_cmpstr(hole, ==, NULL);
    }
    g_assert_cmpuint(count, >, 20);
}

static void count_class(Device *dev, void *opaque)
{
    GHashTable *seen = opaque;
    g_hash_table_add(seen, (void *)dev->cls);
}

/* Each device of the table is on the board, but for those that only -device brings. */
static void test_parts(void)
{
    Machine *machine = board_new(16 << 20);
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    device_foreach(machine, count_class, seen);
    for (const DeviceClass *const *at = device_classes; *at; at++)
        if (!(*at)->user && *at != &lapic_class)
            g_assert_true(g_hash_table_contains(seen, *at));
    board_free(machine);
}

static void fw_select(Machine *machine, uint16_t key)
{
    uint8_t bytes[] = {(uint8_t)key, (uint8_t)(key >> 8)};
    dispatch_pio(&machine->io, 0x510, true, 2, bytes, 1);
}

static void fw_read(Machine *machine, void *buf, uint64_t length)
{
    dispatch_pio(&machine->io, 0x511, false, 1, buf, length);
}

/* A card's bootindex is in the firmware's boot order, by its place on the bus. */
static void test_boot_order(void)
{
    Machine *machine = board_new(16 << 20);
    uint8_t entry[64];
    char text[128] = "";
    fw_select(machine, 0x19); /* the directory */
    fw_read(machine, entry, 4);
    for (unsigned left = ld32_be(entry); left; left--) {
        fw_read(machine, entry, sizeof(entry));
        if (strcmp((char *)entry + 8, "bootorder"))
            continue;
        g_assert_cmpuint(ld32_be(entry), <, sizeof(text));
        fw_select(machine, ld16_be(entry + 4));
        fw_read(machine, text, ld32_be(entry));
        break;
    }
    g_assert_cmpstr(text, ==, "/pci@i0cf8/ethernet@3/ethernet-phy@0\n");
    board_free(machine);
}

static void out8(Machine *machine, uint16_t port, uint8_t value)
{
    dispatch_pio(&machine->io, port, true, 1, &value, 1);
}

static void init_pic(Machine *machine, uint8_t mask)
{
    out8(machine, 0x20, 0x11);
    out8(machine, 0x21, 0x30);
    out8(machine, 0x21, 4);
    out8(machine, 0x21, 1);
    out8(machine, 0x21, mask);
}

static void start_ticks(Machine *machine)
{
    out8(machine, 0x43, 0x34);
    out8(machine, 0x40, 1193 & 0xff);
    out8(machine, 0x40, 1193 >> 8);
}

/* Ticks that a guest takes from the 8259s in so many periods of the PIT, busy for the first ones.
 */
static unsigned take_ticks(Machine *machine, unsigned periods, unsigned busy)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < periods * 4; i++) {
        vclock_step(NS_PER_MS / 4);
        if (i < busy * 4)
            continue;
        int vector = machine->pic_ack(machine);
        taken += vector == 0x30;
        if (vector == 0x30)
            out8(machine, 0x20, 0x20);
    }
    return taken;
}

/* Ticks of the PIT that come while the one before waits at the 8259 are not lost. */
static void test_ticks(void)
{
    Machine *machine = board_new(16 << 20);
    init_pic(machine, 0xfe);
    start_ticks(machine);
    unsigned taken = take_ticks(machine, 200, 50);
    g_assert_cmpuint(taken, >=, 195);
    g_assert_cmpuint(taken, <=, 201);
    board_free(machine);
}

static bool vector_waits;
static unsigned messages;
static bool msi_waits(const Machine *machine, uint64_t address, uint32_t data)
{
    g_assert_cmphex(address, ==, 0xfee00000);
    g_assert_cmphex(data, ==, 0x41);
    return vector_waits;
}
static void msi_send(Machine *machine, uint64_t address, uint32_t data)
{
    messages++;
}

static void set_pin_2(Machine *machine, uint32_t low)
{
    uint32_t select = 0x10 + 2 * 2;
    as_write(&machine->mem, IOAPIC_BASE, &select, 4);
    as_write(&machine->mem, IOAPIC_BASE + 0x10, &low, 4);
}

/* The same at the IOAPIC; and a tick that has one way open is not held. */
static void test_ticks_ioapic(void)
{
    enum { MASKED = 1 << 16 };
    Machine *machine = board_new(16 << 20);
    machine->hooks.msi_waits = msi_waits;
    machine->hooks.msi_send = msi_send;
    init_pic(machine, 0xff);
    set_pin_2(machine, 0x41);
    start_ticks(machine);
    vector_waits = true;
    messages = 0;
    vclock_step(50 * NS_PER_MS);
    g_assert_cmpuint(messages, ==, 0);
    vector_waits = false;
    vclock_step(150 * NS_PER_MS);
    g_assert_cmpuint(messages, >=, 195);
    g_assert_cmpuint(messages, <=, 201);
    /* The 8259 has its own, and nobody reads it. */
    out8(machine, 0x21, 0xfe);
    messages = 0;
    vclock_step(50 * NS_PER_MS);
    g_assert_cmpuint(messages, >=, 49);
    g_assert_cmpuint(messages, <=, 51);
    /* Masked lines lose edges. */
    out8(machine, 0x21, 0xff);
    set_pin_2(machine, MASKED | 0x41);
    vector_waits = true;
    vclock_step(50 * NS_PER_MS);
    vector_waits = false;
    messages = 0;
    set_pin_2(machine, 0x41);
    vclock_step(50 * NS_PER_MS);
    g_assert_cmpuint(messages, <=, 51);
    board_free(machine);
}

/* Save, go on, load, save: equal. */
static void test_round_trip(void)
{
    Machine *machine = board_new(16 << 20);
    g_autoptr(GByteArray) before = g_byte_array_new();
    g_autoptr(GByteArray) after = g_byte_array_new();
    GError *error = NULL;
    uint8_t count[] = {0x34, 0x56};
    dispatch_pio(&machine->io, 0x43, true, 1, count, 1);
    dispatch_pio(&machine->io, 0x40, true, 1, count, 2);
    vclock_step(123456789);
    machine_save_devices(machine, before);
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    vclock_step(NS_PER_SEC);
    machine_request_reset(machine, RESET_HOST);
    loop_step(machine->loop, false);
    g_assert_cmpuint(machine->resets, ==, 2);
    vclock_set(now);
    machine_load_devices(machine, before->data, before->len, &error);
    g_assert_no_error(error);
    machine_save_devices(machine, after);
    g_assert_cmpmem(before->data, before->len, after->data, after->len);
    board_free(machine);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/board/ticks", test_ticks);
    g_test_add_func("/board/ticks-ioapic", test_ticks_ioapic);
    g_test_add_func("/board/complete", test_complete);
    g_test_add_func("/board/parts", test_parts);
    g_test_add_func("/board/boot-order", test_boot_order);
    g_test_add_func("/board/round-trip", test_round_trip);
    return g_test_run();
}
