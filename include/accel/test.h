/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The in-process test engine: a machine without a CPU, whose script (a device test) reads and
 * writes ports and memory, moves the clock and samples interrupt lines.
 *
 *     Machine *m = test_machine_new(1 << 20);
 *     Device *pit = test_device(m, &i8254_class, NULL);
 *     TestIrq irq = {0};
 *     ...connect test_irq(&irq)...
 *     outb(m, 0x43, 0x34);
 *     vclock_step(1000000);
 *     g_assert_cmpuint(irq.rises, ==, 1);
 *     test_machine_free(m);
 *
 * The calling thread holds the main lock from test_machine_new() to test_machine_free().
 */
#ifndef VMRUN_ACCEL_TEST_H
#define VMRUN_ACCEL_TEST_H

#include "hw/core/isa.h"
#include "hw/core/machine.h"

/* A machine with ram_size bytes of RAM at 0 (up to 3 GiB), an ISA bus whose lines go nowhere, the
 * virtual clock at 0 in manual mode. */
Machine *test_machine_new(uint64_t ram_size);
void test_machine_free(Machine *machine);

/* Creates, sets properties ("key=value,key=value" or NULL), realizes and resets; fails the test on
 * error. */
Device *test_device(Machine *machine, const DeviceClass *cls, const char *props);
/* The same, expecting an error: returns its message (g_free). */
char *test_device_error(Machine *machine, const DeviceClass *cls, const char *props);
/* State completeness, save -> reset -> load -> save equality for one device. */
void test_device_state(Device *dev);

typedef struct TestIrq {
    bool level;
    unsigned rises, falls;
} TestIrq;
/* A line that records into irq. */
IrqLine test_irq(TestIrq *irq);
/* Records ISA line n of the machine's bus. */
void test_isa_irq(Machine *machine, unsigned n, TestIrq *irq);

/* MSIs that devices sent, oldest first; returns false if there is none. */
bool test_msi_pop(Machine *machine, uint64_t *address, uint32_t *data);

uint8_t inb(Machine *machine, uint16_t port);
uint16_t inw(Machine *machine, uint16_t port);
uint32_t inl(Machine *machine, uint16_t port);
void outb(Machine *machine, uint16_t port, uint8_t value);
void outw(Machine *machine, uint16_t port, uint16_t value);
void outl(Machine *machine, uint16_t port, uint32_t value);
uint8_t readb(Machine *machine, hwaddr addr);
uint16_t readw(Machine *machine, hwaddr addr);
uint32_t readl(Machine *machine, hwaddr addr);
uint64_t readq(Machine *machine, hwaddr addr);
void writeb(Machine *machine, hwaddr addr, uint8_t value);
void writew(Machine *machine, hwaddr addr, uint16_t value);
void writel(Machine *machine, hwaddr addr, uint32_t value);
void writeq(Machine *machine, hwaddr addr, uint64_t value);

/* Dispatches host events until cond(opaque) is true; fails the test after 10 s of host time. */
void test_wait(Machine *machine, bool (*cond)(void *opaque), void *opaque);

#endif
