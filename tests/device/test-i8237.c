/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8237A pair: registers, transfers of bytes and words, page registers, masks and modes. */
#include <string.h>

#include "accel/test.h"
#include "hw/registry.h"
#include "test-corrupt.h"

/* Registers of the first controller; the second has them at 0xc0, two ports apart. */
enum { COMMAND = 8, REQUEST, MASK, MODE, CLEAR_FF, MASTER_CLEAR, CLEAR_MASK, ALL_MASK };
enum { AUTOINIT = 0x10, DECREMENT = 0x20, SINGLE = 0x40, TO_MEMORY = 0x04, FROM_MEMORY = 0x08 };

typedef struct Fixture {
    Machine *m;
    Device *dev;
    IsaBus *bus;
} Fixture;

static const uint16_t page_port[8] = {0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a};

static void out_reg(Fixture *f, unsigned controller, unsigned reg, uint8_t value)
{
    outb(f->m, controller ? 0xc0 + 2 * reg : reg, value);
}

static uint8_t in_reg(Fixture *f, unsigned controller, unsigned reg)
{
    return inb(f->m, controller ? 0xc0 + 2 * reg : reg);
}

static void program(Fixture *f, unsigned channel, uint8_t mode, uint8_t page, uint16_t address,
                    uint16_t count)
{
    unsigned c = channel / 4, n = channel % 4;
    out_reg(f, c, MASK, 4 | n);
    out_reg(f, c, CLEAR_FF, 0);
    out_reg(f, c, MODE, mode | n);
    out_reg(f, c, 2 * n, address);
    out_reg(f, c, 2 * n, address >> 8);
    out_reg(f, c, 2 * n + 1, count);
    out_reg(f, c, 2 * n + 1, count >> 8);
    outb(f->m, page_port[channel], page);
    out_reg(f, c, MASK, n);
}

static uint16_t current(Fixture *f, unsigned channel, bool count)
{
    unsigned c = channel / 4, reg = 2 * (channel % 4) + count;
    out_reg(f, c, CLEAR_FF, 0);
    uint8_t low = in_reg(f, c, reg);
    return in_reg(f, c, reg) << 8 | low;
}

static uint32_t transfer(Fixture *f, unsigned channel, void *buf, uint32_t length, bool to_memory,
                         bool *tc)
{
    return f->bus->dma->transfer(f->bus->dma_opaque, channel, buf, length, to_memory, tc);
}

static bool ready(Fixture *f, unsigned channel, bool to_memory)
{
    return f->bus->dma->ready(f->bus->dma_opaque, channel, to_memory);
}

static void setup(Fixture *f, gconstpointer data)
{
    f->m = test_machine_new(32 << 20);
    f->dev = test_device(f->m, &i8237_class, NULL);
    f->bus = isa_bus(f->m);
    out_reg(f, 1, MODE, 0xc0); /* the cascade */
    out_reg(f, 1, MASK, 0);
}

static void teardown(Fixture *f, gconstpointer data)
{
    test_machine_free(f->m);
}

static void test_reset_values(Fixture *f, gconstpointer data)
{
    device_reset(f->dev);
    for (unsigned channel = 0; channel < 8; channel++) {
        g_assert_cmphex(current(f, channel, false), ==, 0);
        g_assert_cmphex(current(f, channel, true), ==, 0);
        g_assert_false(ready(f, channel, true));
    }
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK), ==, 0xff);
    g_assert_cmphex(in_reg(f, 1, ALL_MASK), ==, 0xff);
}

static void test_registers(Fixture *f, gconstpointer data)
{
    for (unsigned channel = 0; channel < 8; channel++)
        program(f, channel, SINGLE, channel, 0x1000 + channel, 0x2000 + channel);
    for (unsigned channel = 0; channel < 8; channel++) {
        g_assert_cmphex(current(f, channel, false), ==, 0x1000 + channel);
        g_assert_cmphex(current(f, channel, true), ==, 0x2000 + channel);
        g_assert_cmphex(inb(f->m, page_port[channel]), ==, channel);
    }
    /* The flip-flop is one for all channels, and master clear resets it. */
    out_reg(f, 0, CLEAR_FF, 0);
    out_reg(f, 0, 0, 0x34);
    out_reg(f, 0, MASTER_CLEAR, 0);
    out_reg(f, 0, 0, 0x78);
    out_reg(f, 0, 0, 0x56);
    g_assert_cmphex(current(f, 0, false), ==, 0x5678);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK), ==, 0xff);
    out_reg(f, 0, CLEAR_MASK, 0);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK), ==, 0xf0);
    out_reg(f, 0, ALL_MASK, 0x05);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK), ==, 0xf5);
    out_reg(f, 0, MASK, 0x07);
    out_reg(f, 0, MASK, 0x00);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK), ==, 0xfc);
    /* Page registers without a channel keep what is written; 80h is the POST port. */
    for (uint16_t port = 0x80; port < 0x90; port++)
        outb(f->m, port, port ^ 0xff);
    for (uint16_t port = 0x80; port < 0x90; port++)
        g_assert_cmphex(inb(f->m, port), ==, (uint8_t)(port ^ 0xff));
}

static void test_to_memory(Fixture *f, gconstpointer data)
{
    uint8_t buf[600];
    bool tc;
    for (unsigned i = 0; i < sizeof(buf); i++)
        buf[i] = i * 7;
    program(f, 2, SINGLE | TO_MEMORY, 0x12, 0x3456, 511);
    g_assert_true(ready(f, 2, true));
    g_assert_false(ready(f, 2, false));
    g_assert_cmpuint(transfer(f, 2, buf, 200, true, &tc), ==, 200);
    g_assert_false(tc);
    g_assert_cmphex(current(f, 2, false), ==, 0x3456 + 200);
    g_assert_cmphex(current(f, 2, true), ==, 311);
    g_assert_cmpuint(transfer(f, 2, buf + 200, 400, true, &tc), ==, 312);
    g_assert_true(tc);
    g_assert_cmpmem(region_ram_ptr(f->m->ram) + 0x123456, 512, buf, 512);
    g_assert_cmphex(readb(f->m, 0x123456 + 512), ==, 0);
    g_assert_cmphex(current(f, 2, true), ==, 0xffff);
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x04); /* status: TC of channel 2, until read */
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x00);
    g_assert_cmphex(in_reg(f, 0, ALL_MASK) & 4, ==, 4); /* masked by TC */
    g_assert_cmpuint(transfer(f, 2, buf, 1, true, &tc), ==, 0);
    g_assert_false(tc);
}

static void test_from_memory(Fixture *f, gconstpointer data)
{
    uint8_t buf[16];
    bool tc;
    memcpy(region_ram_ptr(f->m->ram) + 0x70010, "0123456789abcdef", 16);
    program(f, 1, SINGLE | FROM_MEMORY, 0x07, 0x0010, 15);
    g_assert_cmpuint(transfer(f, 1, buf, 16, false, &tc), ==, 16);
    g_assert_true(tc);
    g_assert_cmpmem(buf, 16, "0123456789abcdef", 16);
    /* Downwards. */
    program(f, 1, SINGLE | FROM_MEMORY | DECREMENT, 0x07, 0x001f, 15);
    g_assert_cmpuint(transfer(f, 1, buf, 16, false, &tc), ==, 16);
    g_assert_cmpmem(buf, 16, "fedcba9876543210", 16);
    g_assert_cmphex(current(f, 1, false), ==, 0x000f);
}

static void test_words(Fixture *f, gconstpointer data)
{
    uint8_t buf[64];
    bool tc;
    memset(buf, 0xa5, sizeof(buf));
    program(f, 5, SINGLE | TO_MEMORY, 0x03, 0x8001, 9); /* page bit 0 does not count */
    g_assert_cmpuint(transfer(f, 5, buf, 7, true, &tc), ==, 6);
    g_assert_cmphex(current(f, 5, false), ==, 0x8004);
    g_assert_cmpuint(transfer(f, 5, buf, sizeof(buf), true, &tc), ==, 14);
    g_assert_true(tc);
    g_assert_cmphex(readb(f->m, 0x30001), ==, 0);
    g_assert_cmpmem(region_ram_ptr(f->m->ram) + 0x30002, 20, buf, 20);
    g_assert_cmphex(readb(f->m, 0x30002 + 20), ==, 0);
    g_assert_cmphex(in_reg(f, 1, COMMAND), ==, 0x02);
}

/* The address wraps inside its page; the high page register reaches above 16 MiB. */
static void test_pages(Fixture *f, gconstpointer data)
{
    uint8_t buf[4] = {1, 2, 3, 4};
    bool tc;
    program(f, 3, SINGLE | TO_MEMORY, 0x05, 0xfffe, 3);
    g_assert_cmpuint(transfer(f, 3, buf, 4, true, &tc), ==, 4);
    g_assert_cmphex(readw(f->m, 0x5fffe), ==, 0x0201);
    g_assert_cmphex(readw(f->m, 0x50000), ==, 0x0403);
    g_assert_cmphex(readw(f->m, 0x60000), ==, 0);
    outb(f->m, 0x482, 0x01);
    g_assert_cmphex(inb(f->m, 0x482), ==, 0x01);
    program(f, 3, SINGLE | TO_MEMORY, 0x05, 0x0000, 3);
    transfer(f, 3, buf, 4, true, &tc);
    g_assert_cmphex(readl(f->m, 0x1050000), ==, 0x04030201);
    /* Memory that is not there. */
    outb(f->m, 0x482, 0xfe);
    program(f, 3, SINGLE | FROM_MEMORY, 0xe0, 0x0000, 3);
    g_assert_cmpuint(transfer(f, 3, buf, 4, false, &tc), ==, 4);
    g_assert_cmphex(buf[0], ==, 0xff);
}

static void test_autoinit(Fixture *f, gconstpointer data)
{
    uint8_t buf[100];
    bool tc;
    program(f, 1, SINGLE | AUTOINIT | FROM_MEMORY, 0x01, 0x2000, 99);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpuint(transfer(f, 1, buf, 60, false, &tc), ==, 60);
        g_assert_false(tc);
        g_assert_cmpuint(transfer(f, 1, buf, 60, false, &tc), ==, 40);
        g_assert_true(tc);
        g_assert_cmphex(current(f, 1, false), ==, 0x2000);
        g_assert_cmphex(current(f, 1, true), ==, 99);
        g_assert_true(ready(f, 1, false));
        g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x02);
    }
}

static void test_verify(Fixture *f, gconstpointer data)
{
    uint8_t buf[4] = {1, 2, 3, 4};
    bool tc;
    program(f, 2, SINGLE, 0x01, 0x0000, 3);
    g_assert_true(ready(f, 2, true));
    g_assert_true(ready(f, 2, false));
    g_assert_cmpuint(transfer(f, 2, buf, 4, true, &tc), ==, 4);
    g_assert_true(tc);
    g_assert_cmphex(readl(f->m, 0x10000), ==, 0); /* nothing moved */
}

static void test_gates(Fixture *f, gconstpointer data)
{
    program(f, 2, SINGLE | TO_MEMORY, 0, 0, 0xffff);
    g_assert_true(ready(f, 2, true));
    out_reg(f, 0, COMMAND, 0x04); /* controller disabled */
    g_assert_false(ready(f, 2, true));
    out_reg(f, 0, COMMAND, 0x00);
    out_reg(f, 1, MASK, 4); /* the cascade is masked */
    g_assert_false(ready(f, 2, true));
    out_reg(f, 1, MASK, 0);
    g_assert_true(ready(f, 2, true));
    out_reg(f, 0, MODE, 0xc0 | TO_MEMORY | 2); /* cascade mode moves nothing */
    g_assert_false(ready(f, 2, true));
    g_assert_false(ready(f, 4, true));
}

static void test_status(Fixture *f, gconstpointer data)
{
    f->bus->dma->request(f->bus->dma_opaque, 3, true);
    f->bus->dma->request(f->bus->dma_opaque, 5, true);
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x80);
    g_assert_cmphex(in_reg(f, 1, COMMAND), ==, 0x20);
    f->bus->dma->request(f->bus->dma_opaque, 3, false);
    out_reg(f, 0, REQUEST, 4 | 1);
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x20);
    out_reg(f, 0, REQUEST, 1);
    g_assert_cmphex(in_reg(f, 0, COMMAND), ==, 0x00);
}

static void test_hostile(Fixture *f, gconstpointer data)
{
    GRand *rand = g_rand_new_with_seed(8237);
    g_autofree uint8_t *buf = g_malloc(0x20000);
    bool tc;
    for (int i = 0; i < 100000; i++) {
        if (i % 50 == 49)
            load_corrupt(f->dev, rand);
        static const uint16_t bases[] = {0x00, 0xc0, 0x80, 0x480};
        uint32_t value = g_rand_int(rand);
        uint16_t port = bases[value & 3] + (value >> 2) % ((value & 3) == 1 ? 0x20 : 0x10);
        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
            outl(f->m, port, value >> 8);
            break;
        case 1:
            inl(f->m, port);
            break;
        case 2:
            inb(f->m, port);
            break;
        case 3:
            if (i % 16 == 0)
                g_assert_cmpuint(transfer(f, value & 7, buf, value >> 8 & 0x1ffff, value & 8, &tc),
                                 <=, value >> 8 & 0x1ffff);
            break;
        default:
            outb(f->m, port, value >> 8);
        }
    }
    g_rand_free(rand);
    test_device_state(f->dev);
}

static void test_state(Fixture *f, gconstpointer data)
{
    uint8_t buf[10] = {0};
    bool tc;
    program(f, 2, SINGLE | AUTOINIT | TO_MEMORY, 0x12, 0x3456, 511);
    transfer(f, 2, buf, 10, true, &tc);
    outb(f->m, 0x481, 0x01);
    test_device_state(f->dev);
    g_assert_cmphex(current(f, 2, false), ==, 0x3456 + 10);
    g_assert_cmphex(inb(f->m, 0x481), ==, 0x01);
    g_assert_true(ready(f, 2, true));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/i8237/" name, Fixture, NULL, setup, fn, teardown)
    ADD("reset-values", test_reset_values);
    ADD("registers", test_registers);
    ADD("to-memory", test_to_memory);
    ADD("from-memory", test_from_memory);
    ADD("words", test_words);
    ADD("pages", test_pages);
    ADD("autoinit", test_autoinit);
    ADD("verify", test_verify);
    ADD("gates", test_gates);
    ADD("status", test_status);
    ADD("hostile", test_hostile);
    ADD("state", test_state);
    return g_test_run();
}
