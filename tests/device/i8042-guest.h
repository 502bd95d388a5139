/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest does with the keyboard controller: for its tests and those of keyboard and mouse. */
#ifndef VMRUN_TESTS_DEVICE_I8042_GUEST_H
#define VMRUN_TESTS_DEVICE_I8042_GUEST_H

#include "accel/test.h"
#include "hw/registry.h"
#include "ui/input.h"
#include "util/timer.h"

#define OBF 0x01
#define AUX 0x20

static Machine *m;
static Device *dev;
static TestIrq irq1, irq12;

static inline void start(void)
{
    m = test_machine_new(1 << 20);
    irq1 = irq12 = (TestIrq){0};
    test_isa_irq(m, 1, &irq1);
    test_isa_irq(m, 12, &irq12);
    dev = test_device(m, &i8042_class, NULL);
}

static inline void stop(void)
{
    test_device_state(dev);
    test_machine_free(m);
}

static inline uint8_t status(void)
{
    return inb(m, 0x64);
}

/* The next byte from the controller; the time of a byte on the wire may pass before. */
static inline uint8_t get(void)
{
    if (!(status() & OBF))
        vclock_step(NS_PER_MS);
    g_assert_cmphex(status() & OBF, ==, OBF);
    return inb(m, 0x60);
}

static inline void expect_nothing(void)
{
    vclock_step(20 * NS_PER_MS);
    g_assert_cmphex(status() & OBF, ==, 0);
}

static inline void expect_bytes(const uint8_t *bytes, size_t count, bool aux)
{
    for (size_t i = 0; i < count; i++) {
        if (!(status() & OBF))
            vclock_step(NS_PER_MS);
        g_assert_cmphex(status() & (OBF | AUX), ==, aux ? OBF | AUX : OBF);
        g_assert_cmphex(inb(m, 0x60), ==, bytes[i]);
    }
    expect_nothing();
}

#define EXPECT_KBD(...)                                                                            \
    expect_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), false)
#define EXPECT_AUX(...)                                                                            \
    expect_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), true)

static inline void to_controller(uint8_t command)
{
    outb(m, 0x64, command);
}

static inline void set_mode(uint8_t mode)
{
    outb(m, 0x64, 0x60);
    outb(m, 0x60, mode);
}

static inline void to_keyboard(uint8_t byte)
{
    outb(m, 0x60, byte);
}

static inline void to_mouse(uint8_t byte)
{
    outb(m, 0x64, 0xd4);
    outb(m, 0x60, byte);
}

static inline void key(KeyCode code, bool down)
{
    input_key(code, down);
    input_sync();
}

static inline void tap(KeyCode code)
{
    key(code, true);
    key(code, false);
}

#endif
