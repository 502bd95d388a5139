/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 82077AA: registers, seeks, reads and writes by DMA and without, formats, media, delays. */
#include "test-fdc-common.h"

#include <errno.h>

#include "util/timer.h"

/* ---- Registers and commands without data ---- */

static void test_registers(void)
{
    set_up();
    g_assert_cmphex(inb(m, DOR), ==, 0x0c);
    g_assert_cmphex(inb(m, MSR), ==, RQM);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    g_assert_cmphex(inb(m, 0x3f6), ==, 0xff); /* not ours */
    outb(m, TDR, 0xff);
    g_assert_cmphex(inb(m, TDR), ==, 3);
    SEND(0x10);
    g_assert_cmphex(receive(), ==, 0x90);
    SEND(0x18);
    g_assert_cmphex(receive(), ==, 0x41);
    static const uint8_t invalid[] = {0x00, 0x01, 0x0b, 0x1a, 0x1f, 0x33, 0x48, 0xff};
    for (unsigned i = 0; i < sizeof(invalid); i++) {
        SEND(invalid[i]);
        g_assert_cmphex(receive(), ==, 0x80);
        g_assert_cmphex(inb(m, MSR), ==, RQM);
    }
    SEND(0x08); /* nothing to sense */
    g_assert_cmphex(receive(), ==, 0x80);
    SEND(0x03, 0xdf, 0x02);
    SEND(0x13, 0, 0x57, 0x12);
    SEND(0x12, 0x80 | 0x0c | 3);
    SEND(0x94);
    g_assert_cmphex(receive(), ==, 0x10);
    static const uint8_t dump[10] = {0, 0, 0, 0, 0xdf, 0x02, 0, 0x8f, 0x57, 0x12};
    SEND(0x0e);
    for (unsigned i = 0; i < 10; i++)
        g_assert_cmphex(receive(), ==, dump[i]);
    SEND(0x14);
    g_assert_cmphex(receive(), ==, 0);
    inb(m, FIFO); /* there is no byte */
    g_assert_cmphex(inb(m, MSR), ==, RQM);
    tear_down();
}

static void expect_reset_senses(void)
{
    g_assert_true(irq.level);
    for (unsigned unit = 0; unit < 4; unit++) {
        send(0x08);
        g_assert_cmphex(receive(), ==, 0xc0 | unit);
        g_assert_cmphex(receive(), ==, 0);
        g_assert_false(irq.level);
    }
    send(0x08);
    g_assert_cmphex(receive(), ==, 0x80);
}

static void test_reset(void)
{
    set_up();
    seek(0, 5);
    outb(m, DOR, 0x08);
    g_assert_cmphex(inb(m, MSR), ==, 0);
    outb(m, FIFO, 0x10);
    g_assert_false(irq.level);
    outb(m, DOR, 0x0c);
    g_assert_cmphex(inb(m, MSR), ==, RQM);
    expect_reset_senses();
    outb(m, MSR, 0x80); /* DSR resets by itself */
    expect_reset_senses();
    /* In the middle of a command. */
    SEND(0xe6, 0, 0, 0);
    outb(m, DOR, 0x08);
    outb(m, DOR, 0x0c);
    expect_reset_senses();
    /* With polling off there is nothing to sense. */
    SEND(0x13, 0, 0x77, 0);
    SEND(0x94);
    receive();
    outb(m, MSR, 0x80);
    g_assert_false(irq.level);
    SEND(0x14); /* unlocked: a reset brings polling back */
    receive();
    outb(m, MSR, 0x80);
    g_assert_true(irq.level);
    tear_down();
}

static void test_seek(void)
{
    set_up();
    seek(0, 1);
    SEND(0x04, 0);
    g_assert_cmphex(receive(), ==, 0x28);
    seek(0, 0);
    SEND(0x04, 4);
    g_assert_cmphex(receive(), ==, 0x3c);
    seek(0, 79);
    SEND(0x07, 0); /* RECALIBRATE */
    sense(0x20, 0);
    SEND(0x07, 1); /* there is no such drive */
    sense(0x71, 0);
    SEND(0xcf, 0, 10); /* RELATIVE SEEK */
    sense(0x20, 10);
    SEND(0x8f, 0, 4);
    sense(0x20, 6);
    /* Two drives' seeks are told one by one. */
    SEND(0x0f, 1, 3);
    SEND(0x0f, 0, 2);
    g_assert_true(irq.level);
    send(0x08);
    g_assert_cmphex(receive(), ==, 0x20);
    g_assert_cmphex(receive(), ==, 2);
    g_assert_true(irq.level);
    sense(0x21, 3);
    tear_down();
}

static void test_read_id(void)
{
    set_up();
    seek(0, 3);
    SEND(0x4a, 4);
    expect_result(0x04, 0, 0, 3, 1, 2);
    SEND(0x4a, 4); /* the next one under the head */
    expect_result(0x04, 0, 0, 3, 1, 3);
    for (unsigned i = 0; i < 16; i++) {
        uint8_t got[7];
        SEND(0x4a, 4);
        result(got);
    }
    SEND(0x4a, 4);
    expect_result(0x04, 0, 0, 3, 1, 2);
    outb(m, DIR_CCR, RATE_250K); /* CCR: the wrong rate */
    SEND(0x4a, 0);
    expect_result(0x40, 0x01, 0, 3, 0, 1);
    outb(m, DIR_CCR, RATE_500K);
    SEND(0x0a, 0); /* FM */
    expect_result(0x40, 0x01, 0, 3, 0, 1);
    SEND(0x4a, 1); /* no such drive */
    expect_result(0x41, 0x01, 0, 0, 0, 1);
    seek(0, 84); /* beyond the medium */
    SEND(0x4a, 0);
    expect_result(0x40, 0x01, 0, 84, 0, 1);
    tear_down();
}

/* ---- DMA ---- */

static void test_dma_read(void)
{
    set_up();
    program_dma(512, true);
    command(0xe6, 0, 0, 0, 1, 18);
    expect_result(0, 0, 0, 0, 0, 2);
    g_assert_true(pattern_matches(ram(BUFFER), 0, 512));
    /* Across both sides of a cylinder. */
    program_dma(36 * 512, true);
    command(0xe6, 0, 7, 0, 1, 18);
    expect_result(0x04, 0, 0, 8, 0, 1);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(18, 7, 0, 1), 36 * 512));
    /* Without MT one side, and the count says where to stop. */
    program_dma(4 * 512, true);
    command(0x66, 0, 40, 1, 15, 18);
    expect_result(0x04, 0, 0, 41, 1, 1);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(18, 40, 1, 15), 4 * 512));
    /* A count in the middle of a sector. */
    memset(ram(BUFFER), 0xee, 1024);
    program_dma(700, true);
    command(0xe6, 0, 2, 0, 4, 18);
    expect_result(0, 0, 0, 2, 0, 6);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(18, 2, 0, 4), 700));
    g_assert_cmphex(*ram(BUFFER + 700), ==, 0xee);
    /* EOT before the count is out: end of cylinder. */
    program_dma(4096, true);
    command(0x66, 0, 2, 0, 1, 3);
    expect_result(0x40, 0x80, 0, 3, 0, 1);
    tear_down();
}

static void fill(uint8_t *data, size_t bytes, uint8_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(seed + i * 11 + i / 512);
}

static void expect_file(uint64_t at, const uint8_t *want, size_t bytes)
{
    uint8_t *file = g_malloc(bytes);
    blk_drain_all();
    image_read(path, at, file, bytes);
    g_assert_cmpmem(file, bytes, want, bytes);
    g_free(file);
}

static void test_dma_write(void)
{
    set_up();
    fill(ram(BUFFER), 36 * 512, 5);
    program_dma(36 * 512, false);
    command(0xc5, 0, 11, 0, 1, 18);
    expect_result(0x04, 0, 0, 12, 0, 1);
    expect_file(at_chs(18, 11, 0, 1), ram(BUFFER), 36 * 512);
    /* A count in the middle of a sector: the rest is filled with zeros. */
    program_dma(600, false);
    command(0xc5, 0, 5, 1, 3, 18);
    expect_result(0x04, 0, 0, 5, 1, 5);
    uint8_t want[1024] = {0};
    memcpy(want, ram(BUFFER), 600);
    expect_file(at_chs(18, 5, 1, 3), want, 1024);
    program_dma(512, false);
    command(0xc9, 0, 5, 1, 9, 18); /* WRITE DELETED DATA */
    expect_result(0x04, 0, 0, 5, 1, 10);
    expect_file(at_chs(18, 5, 1, 9), ram(BUFFER), 512);
    tear_down();
}

/* The channel is not ready: a little patience, then an overrun. */
static void test_dma_overrun(void)
{
    set_up();
    outb(m, 0x0a, 6); /* masked */
    command(0xe6, 0, 0, 0, 1, 18);
    g_assert_cmphex(inb(m, MSR), ==, CB);
    g_assert_false(irq.level);
    vclock_step(NS_PER_SEC);
    expect_result(0x40, 0x10, 0, 0, 0, 1);
    command(0xe6, 0, 0, 0, 1, 18);
    program_dma(512, true); /* late, but in time */
    vclock_step(NS_PER_SEC);
    expect_result(0, 0, 0, 0, 0, 2);
    g_assert_true(pattern_matches(ram(BUFFER), 0, 512));
    program_dma(512, false); /* the wrong way round */
    command(0xe6, 0, 0, 0, 1, 18);
    vclock_step(NS_PER_SEC);
    expect_result(0x40, 0x10, 0, 0, 0, 1);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    tear_down();
}

/* ---- Without DMA ---- */

static bool wants_byte(void *opaque)
{
    return inb(m, MSR) & RQM;
}

static void test_non_dma(void)
{
    uint8_t *data = g_malloc(40 * 512);
    set_up();
    outb(m, DOR, 0x04);
    command(0xe6, 0, 4, 0, 1, 18);
    for (unsigned i = 0; i < 36 * 512; i++) {
        test_wait(m, wants_byte, NULL);
        g_assert_cmphex(inb(m, MSR), ==, RQM | DIO | NON_DMA | CB);
        g_assert_true(irq.level);
        data[i] = inb(m, FIFO);
    }
    g_assert_true(pattern_matches(data, at_chs(18, 4, 0, 1), 36 * 512));
    expect_result(0x04, 0, 0, 5, 0, 1);
    /* EOT behind the track's end: MT goes on to the next cylinder. */
    command(0xe6, 0, 0, 0, 1, 19);
    for (unsigned i = 0; i < 38 * 512; i++) {
        test_wait(m, wants_byte, NULL);
        data[i] = inb(m, FIFO);
    }
    g_assert_true(pattern_matches(data, 0, 38 * 512));
    expect_result(0x20, 0, 0, 1, 0, 3);
    /* SPECIFY's ND does the same as DOR. */
    outb(m, DOR, 0x0c);
    SEND(0x03, 0xdf, 0x03);
    fill(data, 1024, 3);
    command(0xc5, 0, 9, 1, 17, 18);
    for (unsigned i = 0; i < 1024; i++) {
        test_wait(m, wants_byte, NULL);
        g_assert_cmphex(inb(m, MSR), ==, RQM | NON_DMA | CB);
        outb(m, FIFO, data[i]);
    }
    expect_result(0x04, 0, 0, 10, 0, 1);
    expect_file(at_chs(18, 9, 1, 17), data, 1024);
    g_free(data);
    tear_down();
}

/* ---- Errors ---- */

static void test_errors(void)
{
    set_up();
    program_dma(512, true);
    command(0xe6, 0, 0, 0, 19, 25); /* no such sector */
    expect_result(0x40, 0x04, 0, 0, 0, 19);
    command(0xe6, 0, 0, 0, 0, 18);
    expect_result(0x40, 0x04, 0, 0, 0, 0);
    command(0x66, 0, 0, 0, 5, 4); /* EOT before the first */
    expect_result(0x40, 0x04, 0, 0, 0, 5);
    command(0xe6, 0, 80, 0, 1, 18); /* no such cylinder */
    expect_result(0x40, 0x04, 0, 80, 0, 1);
    command(0xe6, 0, 200, 0, 1, 18); /* the head does not get there */
    expect_result(0x40, 0x04, 0x10, 200, 0, 1);
    SEND(0xe6, 0, 0, 1, 1, 2, 18, 0x1b, 0xff); /* the ID's head is another */
    expect_result(0x40, 0x04, 0, 0, 0, 1);
    SEND(0xe6, 0, 0, 0, 1, 3, 18, 0x1b, 0xff); /* 1024-byte sectors */
    expect_result(0x40, 0x04, 0, 0, 0, 1);
    program_dma(20 * 512, true); /* without MT the track ends before EOT */
    command(0x66, 0, 0, 0, 17, 30);
    expect_result(0x40, 0x04, 0, 1, 0, 1);
    /* Without implied seek the head must be there. */
    SEND(0x13, 0, 0x20, 0);
    program_dma(512, true);
    command(0xe6, 0, 10, 0, 1, 18);
    expect_result(0x40, 0x04, 0x10, 10, 0, 1);
    seek(0, 10);
    command(0xe6, 0, 10, 0, 1, 18);
    expect_result(0, 0, 0, 10, 0, 2);
    /* The image fails. */
    fault_read(EIO, 0, 512);
    fault_write(EIO, 512, 1024);
    seek(0, 0);
    program_dma(1024, true);
    command(0xe6, 0, 0, 0, 1, 18);
    expect_result(0x40, 0x20, 0x20, 0, 0, 1);
    program_dma(512, false);
    command(0xc5, 0, 0, 0, 2, 18);
    expect_result(0x50, 0, 0, 0, 0, 2);
    tear_down();
}

static void test_protected(void)
{
    set_up_with(BYTES_1440K, "media=floppy,format=raw,readonly=on");
    SEND(0x04, 0);
    g_assert_cmphex(receive(), ==, 0x78);
    program_dma(512, false);
    command(0xc5, 0, 0, 0, 1, 18);
    expect_result(0x40, 0x02, 0, 0, 0, 1);
    SEND(0x4d, 0, 2, 18, 0x50, 0xf6);
    expect_result(0x40, 0x02, 0, 0, 0, 1);
    tear_down();
}

static void test_short_image(void)
{
    uint8_t got[7];
    set_up_with(2800 * 512, NULL);
    program_dma(36 * 512, true); /* the image ends in cylinder 77 */
    command(0xe6, 0, 77, 1, 1, 18);
    result(got);
    g_assert_cmphex(got[0], ==, 0x44);
    g_assert_cmphex(got[1], ==, 0x04);
    g_assert_cmpuint(got[5], ==, 11);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(18, 77, 1, 1), 10 * 512));
    tear_down();
}

/* ---- Other data commands ---- */

static void test_verify(void)
{
    set_up();
    command(0xf6, 0, 3, 0, 1, 18);
    expect_result(0x04, 0, 0, 4, 0, 1);
    SEND(0xf6, 0x80, 3, 0, 1, 2, 18, 0x1b, 5); /* EC: five sectors */
    expect_result(0, 0, 0, 3, 0, 6);
    fault_read(EIO, at_chs(18, 3, 0, 4), at_chs(18, 3, 0, 5));
    command(0xf6, 0, 3, 0, 1, 18);
    expect_result(0x40, 0x20, 0x20, 3, 0, 1);
    tear_down();
}

static void test_read_track(void)
{
    set_up();
    program_dma(9 * 512, true);
    command(0x62, 0, 6, 1, 5, 9); /* from the first sector on, whatever R says */
    expect_result(0x04, 0, 0, 7, 1, 1);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(18, 6, 1, 1), 9 * 512));
    tear_down();
}

static void test_read_deleted(void)
{
    set_up();
    program_dma(512, true);
    command(0xcc, 0, 0, 0, 3, 18); /* one sector comes, and its mark is told */
    expect_result(0, 0, 0x40, 0, 0, 4);
    g_assert_true(pattern_matches(ram(BUFFER), 1024, 512));
    command(0xec, 0, 0, 0, 3, 18); /* SK: all are skipped */
    expect_result(0x40, 0x80, 0x40, 0, 0, 3);
    tear_down();
}

static void test_format(void)
{
    uint8_t want[512];
    set_up();
    for (unsigned i = 0; i < 18; i++) {
        const uint8_t id[4] = {33, 1, (uint8_t)(18 - i), 2};
        memcpy(ram(BUFFER + i * 4), id, 4);
    }
    seek(0, 33);
    program_dma(18 * 4, false);
    SEND(0x4d, 4, 2, 18, 0x50, 0xf6);
    uint8_t got[7];
    result(got);
    g_assert_cmphex(got[0], ==, 0x04);
    memset(want, 0xf6, 512);
    for (unsigned r = 1; r <= 18; r++)
        expect_file(at_chs(18, 33, 1, r), want, 512);
    uint8_t other[512];
    image_read(path, at_chs(18, 33, 0, 18), other, 512);
    g_assert_true(pattern_matches(other, at_chs(18, 33, 0, 18), 512));
    /* Without DMA; IDs that the medium cannot have are passed over. */
    outb(m, DOR, 0x04);
    SEND(0x4d, 0, 2, 3, 0x50, 0xe5);
    static const uint8_t ids[12] = {33, 0, 2, 2, 33, 0, 99, 2, 33, 0, 4, 6};
    for (unsigned i = 0; i < 12; i++)
        outb(m, FIFO, ids[i]);
    result(got);
    memset(want, 0xe5, 512);
    expect_file(at_chs(18, 33, 0, 2), want, 512);
    image_read(path, at_chs(18, 33, 0, 4), other, 512);
    g_assert_true(pattern_matches(other, at_chs(18, 33, 0, 4), 512));
    SEND(0x4d, 0, 2, 0, 0x50, 0xe5);
    expect_result(0x40, 0x04, 0, 33, 0, 1);
    tear_down();
}

static void test_scan(void)
{
    set_up();
    program_dma(512, false);
    for (unsigned i = 0; i < 512; i++)
        *ram(BUFFER + i) = i % 5 ? pattern_byte(1024 + i) : 0xff;
    command(0xd1, 0, 0, 0, 3, 18);
    expect_result(0, 0, 0x08, 0, 0, 3);
    memset(ram(BUFFER), 0, 1024);
    program_dma(1024, false);
    command(0x51, 0, 0, 0, 3, 18);
    expect_result(0, 0, 0x04, 0, 0, 4);
    program_dma(8192, false);
    command(0x51, 0, 0, 0, 3, 6); /* up to EOT without a hit */
    expect_result(0, 0, 0x04, 1, 0, 1);
    tear_down();
}

/* ---- Formats and media ---- */

static void test_formats(void)
{
    static const struct {
        unsigned cylinders, heads, sectors;
        uint8_t rate;
        unsigned type;
    } rows[] = {
        {40, 1, 8, RATE_250K, 1},  {40, 1, 9, RATE_250K, 1},  {40, 2, 8, RATE_300K, 1},
        {40, 2, 9, RATE_300K, 1},  {80, 2, 9, RATE_250K, 3},  {80, 2, 15, RATE_500K, 2},
        {80, 2, 18, RATE_500K, 4}, {80, 2, 21, RATE_500K, 4}, {83, 2, 21, RATE_500K, 4},
        {80, 2, 36, RATE_1M, 5},   {80, 2, 48, RATE_1M, 5},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        unsigned c = rows[i].cylinders - 1, heads = rows[i].heads, s = rows[i].sectors;
        set_up_with((uint64_t)rows[i].cylinders * heads * s * 512, NULL);
        g_assert_cmpuint(fdc_drive_type(fdc, 0), ==, rows[i].type);
        g_assert_cmpuint(fdc_drive_type(fdc, 1), ==, 0);
        outb(m, DIR_CCR, rows[i].rate);
        program_dma(512, true);
        command(0xe6, 0, (uint8_t)c, (uint8_t)(heads - 1), (uint8_t)s, (uint8_t)s);
        uint8_t got[7];
        result(got);
        g_assert_cmphex(got[0] & 0xc0, ==, 0);
        uint64_t at = ((c * heads + heads - 1) * s + s - 1) * 512ULL;
        g_assert_true(pattern_matches(ram(BUFFER), at, 512));
        command(0xe6, 0, (uint8_t)c, (uint8_t)(heads - 1), (uint8_t)(s + 1), (uint8_t)(s + 1));
        result(got);
        g_assert_cmphex(got[1], ==, 0x04);
        if (heads == 1) {
            command(0xe6, 0, 0, 1, 1, (uint8_t)s);
            result(got);
            g_assert_cmphex(got[1], ==, 0x01);
        }
        outb(m, DIR_CCR, rows[i].rate == RATE_1M ? RATE_500K : RATE_1M);
        command(0xe6, 0, 0, 0, 1, (uint8_t)s);
        result(got);
        g_assert_cmphex(got[1], ==, 0x01);
        tear_down();
    }
}

static void test_media(void)
{
    GError *error = NULL;
    set_up();
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    seek(0, 0); /* no step, no change */
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    seek(0, 1);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0);
    outb(m, DOR, 0x0d); /* drive B */
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0);
    outb(m, DOR, 0x0c);
    blk_eject(blk, false, &error);
    g_assert_no_error(error);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    seek(0, 2);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    program_dma(512, true);
    command(0xe6, 0, 0, 0, 1, 1);
    expect_result(0x40, 0x01, 0, 0, 0, 1);
    const char *small = image_new("small", 1440 * 512);
    blk_change(blk, small, "raw", false, &error);
    g_assert_no_error(error);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0x80);
    seek(0, 1);
    g_assert_cmphex(inb(m, DIR_CCR), ==, 0);
    outb(m, DIR_CCR, RATE_250K);
    program_dma(512, true);
    command(0xe6, 0, 0, 0, 10, 10);
    expect_result(0x40, 0x04, 0, 0, 0, 10);
    g_assert_cmpuint(fdc_drive_type(fdc, 0), ==, 4); /* the drive is what it was */
    /* Ejected while bytes are being read: the command ends. */
    outb(m, DOR, 0x04);
    command(0xe6, 0, 0, 0, 1, 9);
    test_wait(m, wants_byte, NULL);
    inb(m, FIFO);
    blk_eject(blk, true, &error);
    g_assert_no_error(error);
    expect_result(0x40, 0x01, 0, 0, 0, 1);
    tear_down();
}

static void test_drives(void)
{
    m = test_machine_new(4 << 20);
    drive_open("id=a,media=floppy");
    drive_on("b", image_new("b", 737280), "media=floppy,format=raw");
    set_up_props("driveA=a,driveB=b,fdtypeB=288");
    g_assert_cmpuint(fdc_drive_type(fdc, 0), ==, 4);
    g_assert_cmpuint(fdc_drive_type(fdc, 1), ==, 5);
    g_assert_cmpuint(fdc_drive_type(fdc, 2), ==, 0);
    outb(m, DIR_CCR, RATE_250K);
    program_dma(512, true);
    command(0xe6, 1, 5, 0, 2, 9);
    expect_result(0x01, 0, 0, 5, 0, 3);
    g_assert_true(pattern_matches(ram(BUFFER), at_chs(9, 5, 0, 2), 512));
    SEND(0x4a, 0);
    expect_result(0x40, 0x01, 0, 0, 0, 1);
    g_autoptr(GString) text = g_string_new(NULL);
    device_describe_tree(m, text);
    g_assert_nonnull(strstr(text->str, "floppy B: 2.88M, b: "));
    g_autofree char *twice = test_device_error(m, &isa_fdc_class, "driveA=b");
    g_assert_nonnull(strstr(twice, "'b'"));
    tear_down();
}

/* ---- Delays, stop on error, state ---- */

static void *release_later(void *opaque)
{
    g_usleep(20000);
    fault_hold(false);
    return NULL;
}

static void test_delayed(void)
{
    set_up();
    fault_hold(true);
    program_dma(512, true);
    command(0xe6, 0, 0, 0, 1, 18);
    g_assert_cmphex(inb(m, MSR), ==, CB);
    outb(m, FIFO, 0x55); /* not taken */
    fault_hold(false);
    expect_result(0, 0, 0, 0, 0, 2);
    /* A reset while the disk works ends when the disk has answered. */
    fault_hold(true);
    command(0xe6, 0, 1, 0, 1, 18);
    outb(m, DOR, 0x08);
    outb(m, DOR, 0x0c);
    g_assert_cmphex(inb(m, MSR), ==, 0);
    fault_hold(false);
    test_wait(m, wants_byte, NULL);
    expect_reset_senses();
    /* So does a reset of the machine, and the end. */
    fault_hold(true);
    command(0xe6, 0, 1, 0, 1, 18);
    GThread *thread = g_thread_new("release", release_later, NULL);
    device_reset(fdc);
    g_thread_join(thread);
    g_assert_cmphex(inb(m, MSR), ==, RQM);
    g_assert_cmphex(inb(m, DOR), ==, 0x0c);
    g_assert_false(irq.level);
    fault_hold(true);
    program_dma(512, true);
    command(0xe6, 0, 2, 0, 1, 18);
    thread = g_thread_new("release", release_later, NULL);
    test_device_state(fdc); /* saving waits for it */
    g_thread_join(thread);
    expect_result(0, 0, 0, 2, 0, 2);
    fault_hold(true);
    command(0xe6, 0, 1, 0, 1, 18);
    thread = g_thread_new("release", release_later, NULL);
    tear_down();
    g_thread_join(thread);
}

static bool stopped(void *opaque)
{
    return m->status == MACHINE_IO_ERROR;
}

static void test_stop(void)
{
    GError *error = NULL;
    set_up_with(BYTES_1440K, "media=floppy,format=raw,werror=stop,rerror=stop");
    fill(ram(BUFFER), 1024, 1);
    fault_write(EIO, 0, BYTES_1440K);
    program_dma(1024, false);
    command(0xc5, 0, 20, 0, 5, 18);
    test_wait(m, stopped, NULL);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    machine_save_devices(m, saved);
    device_reset(fdc);
    machine_load_devices(m, saved->data, saved->len, &error);
    g_assert_no_error(error);
    g_assert_cmphex(inb(m, MSR), ==, CB);
    fault_write(0, 0, 0);
    machine_resume(m, &error);
    g_assert_no_error(error);
    vclock_step(1);
    expect_result(0, 0, 0, 20, 0, 7);
    expect_file(at_chs(18, 20, 0, 5), ram(BUFFER), 1024);
    tear_down();
}

static void test_state(void)
{
    GError *error = NULL;
    uint8_t data[1024];
    set_up();
    test_device_state(fdc);
    outb(m, DOR, 0x04);
    command(0xe6, 0, 8, 0, 1, 1);
    for (unsigned i = 0; i < 300; i++) {
        test_wait(m, wants_byte, NULL);
        data[i] = inb(m, FIFO);
    }
    test_device_state(fdc);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    machine_save_devices(m, saved);
    device_reset(fdc);
    machine_load_devices(m, saved->data, saved->len, &error);
    g_assert_no_error(error);
    for (unsigned i = 300; i < 1024; i++) {
        test_wait(m, wants_byte, NULL);
        data[i] = inb(m, FIFO);
    }
    g_assert_true(pattern_matches(data, at_chs(18, 8, 0, 1), 512));
    g_assert_true(pattern_matches(data + 512, at_chs(18, 8, 1, 1), 512));
    expect_result(0x04, 0, 0, 9, 0, 1);
    SEND(0xe6, 1, 2); /* in the middle of a command */
    test_device_state(fdc);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdc/registers", test_registers);
    g_test_add_func("/fdc/reset", test_reset);
    g_test_add_func("/fdc/seek", test_seek);
    g_test_add_func("/fdc/read-id", test_read_id);
    g_test_add_func("/fdc/dma-read", test_dma_read);
    g_test_add_func("/fdc/dma-write", test_dma_write);
    g_test_add_func("/fdc/dma-overrun", test_dma_overrun);
    g_test_add_func("/fdc/non-dma", test_non_dma);
    g_test_add_func("/fdc/errors", test_errors);
    g_test_add_func("/fdc/protected", test_protected);
    g_test_add_func("/fdc/short-image", test_short_image);
    g_test_add_func("/fdc/verify", test_verify);
    g_test_add_func("/fdc/read-track", test_read_track);
    g_test_add_func("/fdc/read-deleted", test_read_deleted);
    g_test_add_func("/fdc/format", test_format);
    g_test_add_func("/fdc/scan", test_scan);
    g_test_add_func("/fdc/formats", test_formats);
    g_test_add_func("/fdc/media", test_media);
    g_test_add_func("/fdc/drives", test_drives);
    g_test_add_func("/fdc/delayed", test_delayed);
    g_test_add_func("/fdc/stop", test_stop);
    g_test_add_func("/fdc/state", test_state);
    return g_test_run();
}
