/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CD/DVD-ROM drive: packets by PIO and DMA, every command, sense, media, raw sectors. */
#include <errno.h>
#include <string.h>

#include "test-ide-common.h"
#include "util/timer.h"

#define CD_BYTES   (2u << 20)
#define CD_SECTORS (CD_BYTES / 2048)

static IdeHost h;
static const char *path;
static Blk *blk;

static void set_up_with(uint64_t bytes, const char *options)
{
    h.m = test_machine_new(64 << 20);
    path = image_new("cd", bytes);
    blk = drive_on("cd", path, options ? options : "media=cdrom,format=raw");
    ide_setup(&h, "drive2=cd");
    h.channel = 1;
}

static void set_up(void)
{
    set_up_with(CD_BYTES, NULL);
}

static void tear_down(void)
{
    h.channel = 0;
    ide_teardown(&h);
}

static uint8_t *ram(uint32_t at)
{
    return region_ram_ptr(h.m->ram) + at;
}

static void expect_good(void)
{
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    g_assert_true(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 2) & 3, ==, 3);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
}

static size_t command_in(const uint8_t *cdb, unsigned length, uint8_t *data, size_t room)
{
    atapi_packet(&h, cdb, length, 0xfffe, false);
    size_t done = atapi_take(&h, data, room, 0xfffe);
    expect_good();
    return done;
}

#define IN(data, ...)                                                                              \
    command_in((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), data,       \
               sizeof(data))

#define SEND(...)                                                                                  \
    atapi_packet(&h, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}),       \
                 0xfffe, false)

/* CHECK CONDITION, and the sense that REQUEST SENSE then tells. */
static void expect_sense(uint8_t key, uint16_t code)
{
    uint8_t sense[18];
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | ERR);
    g_assert_true(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 2) & 3, ==, 3);
    g_assert_cmphex(ide_in(&h, 1) >> 4, ==, key);
    ide_in(&h, 7);
    g_assert_cmpuint(IN(sense, 0x03, 0, 0, 0, 18), ==, 18);
    g_assert_cmphex(sense[0], ==, 0x70);
    g_assert_cmphex(sense[2], ==, key);
    g_assert_cmphex(ld16_be(sense + 12), ==, code);
}

/* The same, and it is told only once. */
static void expect_check(uint8_t key, uint16_t code)
{
    uint8_t sense[18];
    expect_sense(key, code);
    IN(sense, 0x03, 0, 0, 0, 18);
    g_assert_cmphex(sense[2], ==, 0);
}

/* ---- Transport ---- */

static void test_identify(void)
{
    uint16_t w[256];
    uint8_t sum = 0;
    set_up();
    ide_out(&h, 7, 0xec); /* IDENTIFY DEVICE: the signature and an abort */
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC | ERR);
    g_assert_cmphex(ide_in(&h, 1), ==, 4);
    g_assert_cmphex(ide_in(&h, 4), ==, 0x14);
    g_assert_cmphex(ide_in(&h, 5), ==, 0xeb);
    ide_out(&h, 7, 0xa1);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC | DRQ);
    for (unsigned i = 0; i < 256; i++) {
        w[i] = inw(h.m, 0x170);
        sum = (uint8_t)(sum + w[i] + (w[i] >> 8));
    }
    g_assert_cmphex(sum, ==, 0);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    g_assert_cmphex(w[0], ==, 0x85c0);
    g_assert_cmphex(w[10], ==, 'Q' << 8 | 'M');
    g_assert_cmphex(w[14], ==, ' ' << 8 | ' ');
    g_assert_cmphex(w[27], ==, 'V' << 8 | 'M');
    g_assert_cmphex(w[49], ==, 0x0b00);
    g_assert_cmphex(w[88], ==, 0x203f);
    g_assert_cmphex(w[82] & 0x210, ==, 0x210);
    static const uint8_t plain[] = {0xe0, 0xe1, 0xe7, 0xe5};
    for (unsigned i = 0; i < sizeof(plain); i++) {
        ide_out(&h, 7, plain[i]);
        g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    }
    static const uint8_t aborted[] = {0x00, 0x21, 0x30, 0xc8, 0xca, 0xc4, 0x91, 0x06};
    for (unsigned i = 0; i < sizeof(aborted); i++) {
        ide_out(&h, 7, aborted[i]);
        g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC | ERR);
        g_assert_cmphex(ide_in(&h, 1), ==, 4);
    }
    ide_out(&h, 1, 3);
    ide_out(&h, 2, 0x42);
    ide_out(&h, 7, 0xef);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    ide_out(&h, 7, 0xa1);
    for (unsigned i = 0; i < 256; i++)
        w[i] = inw(h.m, 0x170);
    g_assert_cmphex(w[88], ==, 0x043f);
    tear_down();
}

static void read_10(uint32_t lba, uint16_t count, uint16_t limit, bool dma)
{
    uint8_t cdb[12] = {0x28};
    st32_be(cdb + 2, lba);
    st16_be(cdb + 7, count);
    atapi_packet(&h, cdb, 12, limit, dma);
}

static void test_pio(void)
{
    static const uint16_t limits[] = {2048, 512, 100, 5120, 5121, 0xfffe, 0xffff, 2, 2352};
    uint8_t *data = g_malloc(100 * 2048);
    set_up();
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        unsigned count = limits[i] < 100 ? 2 : 100;
        memset(data, 0, count * 2048);
        read_10(3, (uint16_t)count, limits[i], false);
        g_assert_cmpuint(atapi_take(&h, data, 100 * 2048, limits[i]), ==, count * 2048);
        expect_good();
        g_assert_true(pattern_matches(data, 3 * 2048, count * 2048));
    }
    /* Blocks are of exactly the limit, the last one aside. */
    read_10(0, 5, 4000, false);
    for (unsigned left = 5 * 2048; left; left -= MIN(left, 4000)) {
        ide_wait(&h);
        g_assert_cmpuint(ide_in(&h, 4) | ide_in(&h, 5) << 8, ==, MIN(left, 4000));
        ide_read_data(&h, data, MIN(left, 4000));
    }
    ide_in(&h, 7);
    ide_took_irq(&h);
    /* A limit of 0 is none for a command with data; without data it does not matter. */
    read_10(0, 1, 0, false);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | ERR);
    g_assert_cmphex(ide_in(&h, 1), ==, 4);
    ide_in(&h, 7);
    ide_took_irq(&h);
    atapi_packet(&h, (const uint8_t[]){0}, 1, 0, false);
    expect_good();
    read_10(5, 0, 2048, false);
    expect_good();
    /* An odd length: the last word has a byte to spare. */
    atapi_packet(&h, (const uint8_t[]){0x12, 0, 0, 0, 7}, 5, 0xfffe, false);
    g_assert_cmpuint(atapi_take(&h, data, 8, 7), ==, 7);
    expect_good();
    /* OVERLAP is not supported. */
    ide_out(&h, 1, 2);
    ide_out(&h, 7, 0xa0);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC | ERR);
    g_free(data);
    tear_down();
}

static uint8_t run_dma(uint32_t bytes)
{
    uint32_t prd[2 * 64], n = 0;
    for (uint32_t at = 0; at < bytes; at += 0x8000, n++) {
        prd[n * 2] = DATA_AT + at;
        prd[n * 2 + 1] = MIN(bytes - at, 0x8000) | (at + 0x8000 >= bytes ? EOT : 0);
    }
    ide_prd(&h, prd, n);
    ide_took_irq(&h);
    return ide_run_dma(&h, true);
}

static void test_dma(void)
{
    set_up();
    read_10(7, 500, 0, true);
    g_assert_cmphex(run_dma(500 * 2048), ==, BM_INTR);
    expect_good();
    g_assert_true(pattern_matches(ram(DATA_AT), 7 * 2048, 500 * 2048));
    /* Less data than descriptors. */
    atapi_packet(&h, (const uint8_t[]){0x12, 0, 0, 0, 36}, 5, 0, true);
    g_assert_cmphex(run_dma(4096), ==, BM_INTR | BM_ACTIVE);
    expect_good();
    g_assert_cmpmem(ram(DATA_AT + 8), 8, "VMRUN   ", 8);
    /* No data at all. */
    atapi_packet(&h, (const uint8_t[]){0}, 1, 0, true);
    expect_good();
    /* Raw sectors. */
    atapi_packet(&h, (const uint8_t[]){0xbe, 0, 0, 0, 0, 4, 0, 0, 3, 0xf8}, 10, 0, true);
    g_assert_cmphex(run_dma(3 * 2352), ==, BM_INTR);
    expect_good();
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(pattern_matches(ram(DATA_AT + i * 2352 + 16), (4 + i) * 2048, 2048));
    /* The guest's memory is not there. */
    read_10(0, 1, 0, true);
    const uint32_t bad[] = {0xf0000000, 2048 | EOT};
    ide_prd(&h, bad, 1);
    g_assert_cmphex(ide_run_dma(&h, true), ==, BM_INTR | BM_ERROR);
    tear_down();
}

/* ---- Who are you ---- */

static void test_inquiry(void)
{
    uint8_t d[256];
    set_up();
    g_assert_cmpuint(IN(d, 0x12, 0, 0, 0, 255), ==, 36);
    g_assert_cmphex(d[0], ==, 5);
    g_assert_cmphex(d[1], ==, 0x80);
    g_assert_cmpuint(d[4], ==, 31);
    g_assert_cmpmem(d + 8, 24, "VMRUN   VMRUN DVD-ROM   ", 24);
    g_assert_cmpuint(IN(d, 0x12, 0, 0, 0, 5), ==, 5);
    g_assert_cmpuint(IN(d, 0x12, 1, 0, 0, 255), ==, 6);
    g_assert_cmphex(d[5], ==, 0x80);
    g_assert_cmpuint(IN(d, 0x12, 1, 0x80, 0, 255), ==, 24);
    g_assert_cmpmem(d + 4, 7, "QM00003", 7);
    SEND(0x12, 1, 0x83, 0, 255);
    expect_check(5, 0x2400);
    SEND(0x12, 0, 1, 0, 255);
    expect_check(5, 0x2400);
    tear_down();
}

static void test_mode(void)
{
    uint8_t d[256];
    set_up();
    g_assert_cmpuint(IN(d, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255), ==, 28);
    g_assert_cmpuint(ld16_be(d), ==, 26);
    g_assert_cmphex(d[2], ==, 0x01);
    g_assert_cmphex(d[8], ==, 0x2a);
    g_assert_cmphex(d[14], ==, 0x29);
    g_assert_cmpuint(IN(d, 0x1a, 0, 0x3f, 0, 255), ==, 4 + 12 + 20);
    g_assert_cmpuint(d[0], ==, 35);
    g_assert_cmphex(d[4], ==, 0x01);
    g_assert_cmphex(d[16], ==, 0x2a);
    IN(d, 0x5a, 0, 0x41, 0, 0, 0, 0, 0, 255); /* changeable */
    g_assert_cmphex(d[10], ==, 0xff);
    g_assert_cmphex(d[12], ==, 0);
    SEND(0x5a, 0, 0xc1, 0, 0, 0, 0, 0, 255); /* saved */
    expect_check(5, 0x3900);
    SEND(0x5a, 0, 0x0d, 0, 0, 0, 0, 0, 255);
    expect_check(5, 0x2400);
    /* SET CD SPEED and PREVENT show in the page. */
    SEND(0xbb, 0, 0x05, 0x84);
    expect_good();
    SEND(0x1e, 0, 0, 0, 1);
    expect_good();
    IN(d, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255);
    g_assert_cmphex(ld16_be(d + 8 + 14), ==, 0x0584);
    g_assert_cmphex(d[14], ==, 0x2b);
    tear_down();
}

static void give(const uint8_t *data, unsigned length)
{
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | DRQ);
    g_assert_true(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 2) & 3, ==, 0);
    g_assert_cmpuint(ide_in(&h, 4) | ide_in(&h, 5) << 8, ==, length);
    ide_in(&h, 7);
    ide_write_data(&h, data, length);
}

static void test_mode_select(void)
{
    uint8_t list[20] = {[8] = 0x01, 10, 0x20, 3}, d[64], page_2a[28];
    set_up();
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20);
    give(list, 20);
    expect_good();
    IN(d, 0x5a, 0, 0x01, 0, 0, 0, 0, 0, 64);
    g_assert_cmphex(d[10], ==, 0x20);
    g_assert_cmphex(d[11], ==, 3);
    list[12] = 1; /* not changeable */
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20);
    give(list, 20);
    expect_check(5, 0x2600);
    list[12] = 0;
    list[9] = 200; /* beyond the list */
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20);
    give(list, 20);
    expect_check(5, 0x2600);
    list[9] = 10;
    st16_be(list + 6, 0xffff); /* block descriptors beyond the list */
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20);
    give(list, 20);
    expect_check(5, 0x2600);
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 4);
    give(list, 4);
    expect_check(5, 0x1a00);
    SEND(0x55, 0, 0, 0, 0, 0, 0, 0, 20);
    expect_check(5, 0x2400);
    SEND(0x15, 0x10, 0, 0, 0);
    expect_good();
    /* What MODE SENSE told may be told back. */
    IN(page_2a, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 28);
    page_2a[0] = page_2a[1] = page_2a[2] = 0;
    SEND(0x55, 0x10, 0, 0, 0, 0, 0, 0, 28);
    give(page_2a, 28);
    expect_good();
    /* By DMA. */
    memcpy(ram(DATA_AT), page_2a, 28);
    const uint32_t prd[] = {DATA_AT, 28 | EOT};
    ide_prd(&h, prd, 1);
    atapi_packet(&h, (const uint8_t[]){0x55, 0x10, 0, 0, 0, 0, 0, 0, 28}, 9, 0, true);
    g_assert_cmphex(ide_run_dma(&h, false), ==, BM_INTR);
    expect_good();
    tear_down();
}

static void test_configuration(void)
{
    uint8_t d[512];
    set_up();
    size_t all = IN(d, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);
    g_assert_cmpuint(ld32_be(d), ==, all - 4);
    g_assert_cmphex(ld16_be(d + 6), ==, 0x0008);
    unsigned last = 0, count = 0;
    for (size_t at = 8; at < all; at += 4 + d[at + 3], count++) {
        g_assert_cmpuint(d[at + 3] % 4, ==, 0);
        g_assert_true(!count || ld16_be(d + at) > last);
        last = ld16_be(d + at);
    }
    g_assert_cmpuint(count, ==, 9);
    size_t current = IN(d, 0x46, 1, 0, 0, 0, 0, 0, 2, 0);
    g_assert_cmpuint(current, ==, all - 4); /* without DVD read */
    g_assert_cmpuint(IN(d, 0x46, 2, 0, 0x1e, 0, 0, 0, 2, 0), ==, 16);
    g_assert_cmphex(ld16_be(d + 8), ==, 0x1e);
    g_assert_cmphex(d[10] & 1, ==, 1);
    g_assert_cmpuint(IN(d, 0x46, 2, 0, 0x77, 0, 0, 0, 2, 0), ==, 8);
    SEND(0x46, 3, 0, 0, 0, 0, 0, 2, 0);
    expect_check(5, 0x2400);
    g_assert_cmpuint(IN(d, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 64), ==, 8);
    tear_down();
}

/* ---- The disc ---- */

static void test_toc(void)
{
    uint8_t d[256];
    set_up();
    g_assert_cmpuint(IN(d, 0x25), ==, 8);
    g_assert_cmpuint(ld32_be(d), ==, CD_SECTORS - 1);
    g_assert_cmpuint(ld32_be(d + 4), ==, 2048);
    g_assert_cmpuint(IN(d, 0x43, 0, 0, 0, 0, 0, 0, 1, 0), ==, 20);
    static const uint8_t lba[20] = {0,
                                    18,
                                    1,
                                    1,
                                    0,
                                    0x14,
                                    1,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0x14,
                                    0xaa,
                                    0,
                                    0,
                                    0,
                                    CD_SECTORS >> 8,
                                    CD_SECTORS & 0xff};
    g_assert_cmpmem(d, 20, lba, 20);
    g_assert_cmpuint(IN(d, 0x43, 2, 0, 0, 0, 0, 0xaa, 1, 0), ==, 12);
    static const uint8_t lead_out[12] = {0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 15, 49};
    g_assert_cmpmem(d, 12, lead_out, 12); /* 1024 + 150 frames */
    SEND(0x43, 0, 0, 0, 0, 0, 2, 1, 0);
    expect_check(5, 0x2400);
    g_assert_cmpuint(IN(d, 0x43, 0, 1, 0, 0, 0, 0, 1, 0), ==, 12);
    g_assert_cmphex(d[6], ==, 1);
    /* The same where SFF-8020i had the format. */
    g_assert_cmpuint(IN(d, 0x43, 0, 0, 0, 0, 0, 0, 1, 0, 0x40), ==, 12);
    g_assert_cmpuint(IN(d, 0x43, 2, 2, 0, 0, 0, 0, 1, 0), ==, 4 + 4 * 11);
    static const uint8_t points[4] = {0xa0, 0xa1, 0xa2, 1};
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(d[4 + i * 11 + 3], ==, points[i]);
    g_assert_cmpuint(d[4 + 2 * 11 + 9], ==, 15);
    g_assert_cmpuint(d[4 + 2 * 11 + 10], ==, 49);
    SEND(0x43, 0, 4, 0, 0, 0, 0, 1, 0);
    expect_check(5, 0x2400);
    g_assert_cmpuint(IN(d, 0x51, 0, 0, 0, 0, 0, 0, 1, 0), ==, 34);
    g_assert_cmphex(d[2], ==, 0x0e);
    g_assert_cmpuint(IN(d, 0x52, 1, 0, 0, 0, 1, 0, 1, 0), ==, 36);
    g_assert_cmpuint(ld32_be(d + 24), ==, CD_SECTORS);
    SEND(0x52, 1, 0, 0, 0, 2, 0, 1, 0);
    expect_check(5, 0x2400);
    g_assert_cmpuint(IN(d, 0x42, 0, 0x40, 1, 0, 0, 0, 1, 0), ==, 16);
    g_assert_cmpuint(IN(d, 0x42, 0, 0, 1, 0, 0, 0, 1, 0), ==, 4);
    SEND(0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4); /* not on a CD */
    expect_check(5, 0x3002);
    tear_down();
}

static void test_dvd(void)
{
    uint8_t d[4096];
    const uint64_t sectors = 2000000;
    set_up_with(sectors * 2048, NULL);
    IN(d, 0x46, 0, 0, 0, 0, 0, 0, 2, 0);
    g_assert_cmphex(ld16_be(d + 6), ==, 0x0010);
    g_assert_cmpuint(IN(d, 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4), ==, 2052);
    g_assert_cmphex(ld32_be(d + 8), ==, 0x30000);
    g_assert_cmphex(ld32_be(d + 12), ==, 0x30000 + sectors - 1);
    g_assert_cmpuint(IN(d, 0xad, 0, 0, 0, 0, 0, 0, 1, 8, 4), ==, 8);
    g_assert_cmpuint(IN(d, 0xad, 0, 0, 0, 0, 0, 0, 0xff, 8, 4), ==, 20);
    SEND(0xad, 0, 0, 0, 0, 0, 0, 3, 8, 4);
    expect_check(5, 0x2400);
    SEND(0xad, 0, 0, 0, 0, 0, 1, 0, 8, 4);
    expect_check(5, 0x2400);
    read_10(sectors - 1, 1, 2048, false);
    g_assert_cmpuint(atapi_take(&h, d, 4096, 2048), ==, 2048);
    expect_good();
    tear_down();
}

static void test_ranges(void)
{
    uint8_t d[2048];
    set_up();
    read_10(CD_SECTORS, 1, 2048, false);
    expect_check(5, 0x2100);
    read_10(CD_SECTORS - 1, 2, 2048, false);
    expect_check(5, 0x2100);
    read_10(0xffffffff, 0xffff, 2048, false);
    expect_check(5, 0x2100);
    SEND(0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff);
    expect_check(5, 0x2100);
    SEND(0x2b, 0, 0, 0, CD_SECTORS >> 8, 0);
    expect_check(5, 0x2100);
    SEND(0x2b, 0, 0, 0, 0, 9);
    expect_good();
    g_assert_cmpuint(IN(d, 0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 1), ==, 2048);
    g_assert_true(pattern_matches(d, 9 * 2048, 2048));
    static const uint8_t unknown[] = {0x04, 0x0a, 0x2a, 0x35, 0x45, 0x54, 0xa1, 0xa4, 0xaa, 0xff};
    for (unsigned i = 0; i < sizeof(unknown); i++) {
        SEND(unknown[i]);
        expect_check(5, 0x2000);
    }
    tear_down();
}

/* ---- Raw sectors ---- */

static void test_read_cd(void)
{
    uint8_t d[3 * 2352], whole[2352];
    set_up();
    g_assert_cmpuint(IN(d, 0xbe, 0, 0, 0, 0, 200, 0, 0, 3, 0xf8), ==, 3 * 2352);
    for (unsigned i = 0; i < 3; i++)
        cd_check_raw(d + i * 2352, 200 + i);
    memcpy(whole, d, 2352);
    g_assert_cmpuint(IN(d, 0xbe, 8, 0, 0, 0, 200, 0, 0, 1, 0x10), ==, 2048); /* mode 1 */
    g_assert_cmpmem(d, 2048, whole + 16, 2048);
    g_assert_cmpuint(IN(d, 0xbe, 0, 0, 0, 0, 200, 0, 0, 1, 0x20), ==, 4);
    g_assert_cmpmem(d, 4, whole + 12, 4);
    g_assert_cmpuint(IN(d, 0xbe, 0, 0, 0, 0, 200, 0, 0, 1, 0x18), ==, 2336);
    g_assert_cmpmem(d, 2336, whole + 16, 2336);
    SEND(0xbe, 0, 0, 0, 0, 200, 0, 0, 1, 0);
    expect_good();
    SEND(0xbe, 4, 0, 0, 0, 200, 0, 0, 1, 0x10); /* CD-DA */
    expect_check(5, 0x6400);
    SEND(0xbe, 0, 0, 0, 0, 200, 0, 0, 1, 0x12); /* C2 flags */
    expect_check(5, 0x2400);
    SEND(0xbe, 0, 0, 0, 0, 200, 0, 0, 1, 0x10, 1); /* sub-channel */
    expect_check(5, 0x2400);
    SEND(0xbe, 0, 0, 0, 4, 0, 0, 0, 1, 0x10);
    expect_check(5, 0x2100);
    /* READ CD MSF: 00:02:10 up to 00:02:12. */
    g_assert_cmpuint(IN(d, 0xb9, 0, 0, 0, 2, 10, 0, 2, 12, 0x10), ==, 4096);
    g_assert_true(pattern_matches(d, 10 * 2048, 4096));
    SEND(0xb9, 0, 0, 0, 1, 10, 0, 2, 12, 0x10);
    expect_check(5, 0x2400);
    /* Many raw sectors in blocks of an awkward size. */
    uint8_t *big = g_malloc(100 * 2352);
    atapi_packet(&h, (const uint8_t[]){0xbe, 0, 0, 0, 0, 0, 0, 0, 100, 0xf8}, 10, 3000, false);
    g_assert_cmpuint(atapi_take(&h, big, 100 * 2352, 3000), ==, 100 * 2352);
    expect_good();
    for (unsigned i = 0; i < 100; i += 9)
        cd_check_raw(big + i * 2352, i);
    g_free(big);
    tear_down();
}

/* ---- Tray and media ---- */

static void expect_event(uint8_t event, uint8_t status)
{
    uint8_t d[8];
    g_assert_cmpuint(IN(d, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), ==, 8);
    g_assert_cmphex(d[2], ==, 4);
    g_assert_cmphex(d[4], ==, event);
    g_assert_cmphex(d[5], ==, status);
}

static void test_events(void)
{
    uint8_t d[8];
    set_up();
    SEND(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8);
    expect_check(5, 0x2400);
    g_assert_cmpuint(IN(d, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8), ==, 4);
    g_assert_cmphex(d[2], ==, 0x80);
    g_assert_cmphex(d[3], ==, 0x10);
    expect_event(0, 2);
    tear_down();
}

static void test_tray(void)
{
    set_up();
    SEND(0);
    expect_good();
    SEND(0x1b, 0, 0, 0, 0); /* stop, start: the spindle only */
    expect_good();
    SEND(0x1b, 0, 0, 0, 1);
    expect_good();
    SEND(0x1e, 0, 0, 0, 1);
    expect_good();
    SEND(0x1b, 0, 0, 0, 2);
    expect_check(5, 0x5302);
    /* The person asks; the guest hears of it and lets go. */
    GError *error = NULL;
    g_assert_false(blk_eject(blk, false, &error));
    g_clear_error(&error);
    expect_event(1, 2);
    SEND(0x1e, 0, 0, 0, 0);
    expect_good();
    SEND(0x1b, 0, 0, 0, 2);
    expect_good();
    expect_event(3, 1);
    SEND(0);
    expect_check(2, 0x3a02);
    uint8_t d[64];
    IN(d, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8);
    g_assert_cmphex(d[1] & 0x10, ==, 0x10);
    IN(d, 0x5a, 0, 1, 0, 0, 0, 0, 0, 64);
    g_assert_cmphex(d[2], ==, 0x71);
    IN(d, 0x46, 0, 0, 0, 0, 0, 0, 0, 8);
    g_assert_cmphex(ld16_be(d + 6), ==, 0);
    SEND(0x1b, 0, 0, 0, 3); /* the same medium goes in again */
    expect_good();
    expect_event(2, 2);
    SEND(0);
    expect_good();
    tear_down();
}

static void test_change(void)
{
    uint8_t d[2048];
    GError *error = NULL;
    set_up();
    const char *other = image_new("other", 40 * 2048);
    blk_eject(blk, false, &error);
    g_assert_no_error(error);
    SEND(0);
    expect_check(2, 0x3a02);
    read_10(0, 1, 2048, false);
    expect_check(2, 0x3a02);
    expect_event(3, 1);
    SEND(0x1b, 0, 0, 0, 3); /* the tray closes, empty */
    expect_good();
    SEND(0);
    expect_check(2, 0x3a01);
    SEND(0x43, 0, 0, 0, 0, 0, 0, 1, 0);
    expect_check(2, 0x3a01);
    expect_event(0, 0);

    blk_change(blk, other, "raw", true, &error);
    g_assert_no_error(error);
    expect_event(2, 2);
    g_assert_cmpuint(IN(d, 0x12, 0, 0, 0, 36), ==, 36); /* leaves the attention */
    SEND(0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    expect_sense(2, 0x3a01);
    SEND(0x28, 0, 0, 0, 0, 0, 0, 0, 1);
    expect_check(6, 0x2800);
    IN(d, 0x25);
    g_assert_cmpuint(ld32_be(d), ==, 39);
    /* REQUEST SENSE alone finds it, too. */
    blk_change(blk, path, "raw", true, &error);
    g_assert_no_error(error);
    SEND(0);
    expect_sense(2, 0x3a01);
    IN(d, 0x03, 0, 0, 0, 18);
    g_assert_cmphex(d[2], ==, 6);
    g_assert_cmphex(ld16_be(d + 12), ==, 0x2800);
    SEND(0);
    expect_good();
    tear_down();
}

static void test_empty(void)
{
    uint8_t d[64];
    h.m = test_machine_new(4 << 20);
    drive_open("id=cd,media=cdrom");
    ide_setup(&h, "drive2=cd");
    h.channel = 1;
    SEND(0);
    expect_check(2, 0x3a01);
    SEND(0x25);
    expect_check(2, 0x3a01);
    g_assert_cmpuint(IN(d, 0x46, 0, 0, 0, 0, 0, 0, 0, 64), >, 8);
    g_assert_cmphex(ld16_be(d + 6), ==, 0);
    SEND(0x1b, 0, 0, 0, 2);
    expect_good();
    SEND(0x1b, 0, 0, 0, 3);
    expect_good();
    tear_down();
}

/* ---- Errors, delays, state ---- */

static void test_errors(void)
{
    uint8_t d[16 * 2048];
    set_up();
    fault_read(EIO, 50 * 2048, 51 * 2048);
    read_10(45, 8, 2048, false);
    atapi_take(&h, d, sizeof(d), 2048);
    expect_check(3, 0x1100);
    read_10(45, 8, 0, true);
    run_dma(8 * 2048);
    expect_check(3, 0x1100);
    SEND(0xbe, 0, 0, 0, 0, 50, 0, 0, 1, 0xf8);
    expect_check(3, 0x1100);
    fault_read(0, 0, 0);
    read_10(45, 8, 2048, false);
    g_assert_cmpuint(atapi_take(&h, d, sizeof(d), 2048), ==, 8 * 2048);
    expect_good();
    /* Reset while the disc is being read. */
    fault_hold(true);
    read_10(0, 8, 2048, false);
    g_assert_cmphex(ide_alt(&h) & BSY, ==, BSY);
    ide_out(&h, 7, 0x08);
    g_assert_cmphex(ide_alt(&h), ==, BSY);
    fault_hold(false);
    g_assert_cmphex(ide_wait(&h), ==, 0);
    g_assert_false(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 5), ==, 0xeb);
    /* The medium is taken away while the disc is being read. */
    uint8_t *all = g_malloc(200 * 2048);
    read_10(0, 200, 2048, false);
    GError *error = NULL;
    blk_eject(blk, true, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(atapi_take(&h, all, 200 * 2048, 2048), <, 200 * 2048);
    expect_check(2, 0x3a02);
    g_free(all);
    tear_down();
}

static void test_state(void)
{
    uint8_t d[3 * 2048];
    GError *error = NULL;
    set_up();
    Device *cd = g_ptr_array_index(h.ide->children, 0);
    test_device_state(cd);
    read_10(9, 3, 3000, false);
    ide_wait(&h);
    ide_read_data(&h, d, 1234);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    machine_save_devices(h.m, saved);
    device_reset(h.ide);
    machine_load_devices(h.m, saved->data, saved->len, &error);
    g_assert_no_error(error);
    ide_read_data(&h, d + 1234, 3000 - 1234);
    ide_took_irq(&h);
    ide_in(&h, 7);
    ide_read_data(&h, d + 3000, 3000);
    ide_read_data(&h, d + 6000, 144);
    g_assert_true(pattern_matches(d, 9 * 2048, 3 * 2048));
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    ide_took_irq(&h);
    /* The open tray outlives a reset of the machine; the lock does not. */
    SEND(0x1b, 0, 0, 0, 2);
    expect_good();
    SEND(0x1e, 0, 0, 0, 1);
    expect_good();
    device_reset(h.ide);
    ide_took_irq(&h);
    SEND(0);
    expect_check(2, 0x3a02);
    SEND(0x1b, 0, 0, 0, 3);
    expect_good();
    SEND(0x1b, 0, 0, 0, 2);
    expect_good();
    test_device_state(cd);
    tear_down();
}

/* Random packets, taken and given by PIO and DMA, with media coming and going. */
static void test_fuzz(void)
{
    static const uint8_t known[] = {0x00, 0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25,
                                    0x28, 0x2b, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x52,
                                    0x55, 0x5a, 0xa8, 0xad, 0xb9, 0xbb, 0xbd, 0xbe};
    GRand *rand = g_rand_new_with_seed(99);
    const uint32_t prd[] = {DATA_AT, 0, DATA_AT + 0x10000, 0x8000 | EOT};
    set_up();
    ide_prd(&h, prd, 2);
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t cdb[12];
        for (unsigned i = 0; i < 12; i++)
            cdb[i] = (uint8_t)(g_rand_int(rand) >> (g_rand_int(rand) % 32));
        if (g_rand_int(rand) % 8)
            cdb[0] = known[g_rand_int_range(rand, 0, sizeof(known))];
        if (g_rand_boolean(rand))
            cdb[2] = cdb[3] = cdb[6] = 0;
        bool dma = g_rand_boolean(rand);
        atapi_packet(&h, cdb, 12, (uint16_t)g_rand_int(rand), dma);
        bm_out(&h, 0, dma ? 9 : 0);
        for (unsigned i = 0; i < 40 && ide_wait(&h) & DRQ; i++) {
            uint8_t words[512];
            if (ide_in(&h, 2) & 2)
                dispatch_pio(&h.m->io, 0x170, false, 2, words, 200);
            else
                ide_write_data(&h, cdb, 12);
        }
        bm_out(&h, 0, 0);
        ide_out(&h, 7, 0x08);
        ide_wait(&h);
        ide_took_irq(&h);
        if (round % 1000 == 500)
            blk_eject(blk, true, NULL);
        if (round % 1000 == 999)
            blk_change(blk, path, "raw", true, NULL);
    }
    g_rand_free(rand);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/atapi/identify", test_identify);
    g_test_add_func("/atapi/pio", test_pio);
    g_test_add_func("/atapi/dma", test_dma);
    g_test_add_func("/atapi/inquiry", test_inquiry);
    g_test_add_func("/atapi/mode", test_mode);
    g_test_add_func("/atapi/mode-select", test_mode_select);
    g_test_add_func("/atapi/configuration", test_configuration);
    g_test_add_func("/atapi/toc", test_toc);
    g_test_add_func("/atapi/dvd", test_dvd);
    g_test_add_func("/atapi/ranges", test_ranges);
    g_test_add_func("/atapi/read-cd", test_read_cd);
    g_test_add_func("/atapi/events", test_events);
    g_test_add_func("/atapi/tray", test_tray);
    g_test_add_func("/atapi/change", test_change);
    g_test_add_func("/atapi/empty", test_empty);
    g_test_add_func("/atapi/errors", test_errors);
    g_test_add_func("/atapi/state", test_state);
    g_test_add_func("/atapi/fuzz", test_fuzz);
    return g_test_run();
}
