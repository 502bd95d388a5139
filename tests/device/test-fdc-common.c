/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A floppy host for the tests of the 82077AA. */
#include "test-fdc-common.h"

Machine *m;
Device *fdc;
Blk *blk;
const char *path;
TestIrq irq;

void set_up_props(const char *props)
{
    irq = (TestIrq){0};
    test_isa_irq(m, 6, &irq);
    test_device(m, &i8237_class, NULL);
    outb(m, 0xda, 0); /* DMA controllers: master clear, and the cascade open */
    outb(m, 0x0d, 0);
    outb(m, 0xd6, 0xc0);
    outb(m, 0xd4, 0);
    fdc = test_device(m, &isa_fdc_class, props);
}

void set_up_with(uint64_t bytes, const char *options)
{
    m = test_machine_new(4 << 20);
    path = image_new("fd", bytes);
    blk = drive_on("fd", path, options ? options : "media=floppy,format=raw");
    set_up_props("driveA=fd");
}

void set_up(void)
{
    set_up_with(BYTES_1440K, NULL);
}

void tear_down(void)
{
    test_machine_free(m);
    images_free();
}

void send(uint8_t byte)
{
    uint8_t msr = inb(m, MSR);
    g_assert_cmphex(msr & (RQM | DIO), ==, RQM);
    outb(m, FIFO, byte);
}

uint8_t receive(void)
{
    uint8_t msr = inb(m, MSR);
    g_assert_cmphex(msr & (RQM | DIO | CB), ==, RQM | DIO | CB);
    return inb(m, FIFO);
}

void send_all(const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        send(bytes[i]);
}
bool has_result(void *opaque)
{
    return (inb(m, MSR) & (RQM | DIO)) == (RQM | DIO);
}

/* The seven bytes of a result, with the interrupt. */
void result(uint8_t *bytes)
{
    test_wait(m, has_result, NULL);
    g_assert_true(irq.level);
    for (unsigned i = 0; i < 7; i++)
        bytes[i] = receive();
    g_assert_false(irq.level);
    g_assert_cmphex(inb(m, MSR), ==, RQM);
}

void expect_result(uint8_t st0, uint8_t st1, uint8_t st2, uint8_t c, uint8_t head, uint8_t r)
{
    uint8_t got[7];
    const uint8_t want[7] = {st0, st1, st2, c, head, r, 2};
    result(got);
    g_assert_cmpmem(got, 7, want, 7);
}

void sense(uint8_t st0, uint8_t pcn)
{
    g_assert_true(irq.level);
    send(0x08);
    g_assert_cmphex(receive(), ==, st0);
    g_assert_cmphex(receive(), ==, pcn);
    g_assert_false(irq.level);
}

void seek(unsigned unit, uint8_t cylinder)
{
    SEND(0x0f, unit, cylinder);
    sense((uint8_t)(0x20 | unit), cylinder);
}

/* Channel 2 for count bytes at BUFFER; to memory or from it. */
void program_dma(uint32_t count, bool to_memory)
{
    outb(m, 0x0a, 6);
    outb(m, 0x0c, 0);
    outb(m, 0x0b, to_memory ? 0x46 : 0x4a);
    outb(m, 0x04, (uint8_t)BUFFER);
    outb(m, 0x04, (uint8_t)(BUFFER >> 8));
    outb(m, 0x81, (uint8_t)(BUFFER >> 16));
    outb(m, 0x05, (uint8_t)(count - 1));
    outb(m, 0x05, (uint8_t)((count - 1) >> 8));
    outb(m, 0x0a, 2);
}

uint8_t *ram(uint32_t at)
{
    return region_ram_ptr(m->ram) + at;
}

void command(uint8_t code, unsigned unit, uint8_t c, uint8_t head, uint8_t r, uint8_t eot)
{
    SEND(code, (uint8_t)(head << 2 | unit), c, head, r, 2, eot, 0x1b, 0xff);
}

uint64_t at_chs(unsigned spt, unsigned c, unsigned head, unsigned r)
{
    return ((c * 2 + head) * spt + r - 1) * 512ULL;
}
