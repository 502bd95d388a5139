/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ATA disk: every command, PIO and DMA against the image file, errors. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test-ide-common.h"
#include "util/timer.h"

#define DISK_BYTES   (8u << 20)
#define DISK_SECTORS (DISK_BYTES / 512)

static IdeHost h;
static const char *path;
static Blk *blk;
static Device *disk;

static void set_up_with(uint64_t bytes, const char *options, const char *props)
{
    h.m = test_machine_new(64 << 20);
    path = image_new("hda", bytes);
    blk = drive_on("hda", path, options);
    ide_setup(&h, NULL);
    g_autofree char *all = g_strdup_printf("drive=hda%s%s", props ? "," : "", props ? props : "");
    disk = test_device(h.m, &ide_hd_class, all);
    ide_select(&h, 0);
}

static void set_up(void)
{
    set_up_with(DISK_BYTES, NULL, NULL);
}

static uint8_t *ram(uint32_t at)
{
    return region_ram_ptr(h.m->ram) + at;
}

static void expect_error(uint8_t error)
{
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | ERR);
    g_assert_true(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 1), ==, error);
    ide_in(&h, 7);
}

/* ---- PIO ---- */

/* Reads count sectors by a PIO command that is under way, `block` sectors a time. */
static void take_pio(uint8_t *data, unsigned count, unsigned block)
{
    for (unsigned done = 0; done < count;) {
        unsigned n = MIN(block, count - done);
        g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | DRQ);
        g_assert_true(ide_took_irq(&h));
        ide_in(&h, 7);
        ide_read_data(&h, data + done * 512, n * 512);
        done += n;
    }
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    g_assert_false(ide_took_irq(&h));
}

static void give_pio(const uint8_t *data, unsigned count, unsigned block)
{
    for (unsigned done = 0; done < count;) {
        unsigned n = MIN(block, count - done);
        g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | DRQ);
        g_assert_cmpint(ide_took_irq(&h), ==, done != 0);
        ide_in(&h, 7);
        ide_write_data(&h, data + done * 512, n * 512);
        done += n;
    }
    ide_expect_ok(&h);
}

static void test_pio_read(void)
{
    uint8_t *data = g_malloc(600 * 512);
    set_up();
    ide_cmd28(&h, 0x20, 5, 1);
    take_pio(data, 1, 1);
    g_assert_true(pattern_matches(data, 5 * 512, 512));
    ide_cmd28(&h, 0x21, 0, 0); /* 256 */
    take_pio(data, 256, 1);
    g_assert_true(pattern_matches(data, 0, 256 * 512));
    ide_cmd48(&h, 0x24, 7, 600);
    take_pio(data, 600, 1);
    g_assert_true(pattern_matches(data, 7 * 512, 600 * 512));
    ide_cmd28(&h, 0xc4, 3, 37); /* READ MULTIPLE: 16, 16, 5 */
    take_pio(data, 37, 16);
    g_assert_true(pattern_matches(data, 3 * 512, 37 * 512));
    ide_cmd48(&h, 0x29, 9, 600);
    take_pio(data, 600, 16);
    g_assert_true(pattern_matches(data, 9 * 512, 600 * 512));
    /* After the command the address is that of the last sector. */
    g_assert_cmphex(ide_in(&h, 3), ==, (9 + 599) & 0xff);
    g_assert_cmphex(ide_in(&h, 4), ==, (9 + 599) >> 8);
    g_free(data);
    ide_teardown(&h);
}

static void fill(uint8_t *data, size_t bytes, uint8_t seed)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(seed + i * 13 + i / 512);
}

static void expect_file(const uint8_t *data, uint64_t lba, unsigned count)
{
    g_autofree uint8_t *file = g_malloc(count * 512);
    image_read(path, lba * 512, file, count * 512);
    g_assert_cmpmem(file, count * 512, data, count * 512);
}

static void test_pio_write(void)
{
    uint8_t *data = g_malloc(300 * 512);
    set_up();
    fill(data, 300 * 512, 1);
    ide_cmd28(&h, 0x30, 11, 1);
    give_pio(data, 1, 1);
    expect_file(data, 11, 1);
    ide_cmd48(&h, 0x34, 20, 300);
    give_pio(data, 300, 1);
    expect_file(data, 20, 300);
    fill(data, 300 * 512, 9);
    ide_cmd28(&h, 0xc5, 1000, 37);
    give_pio(data, 37, 16);
    expect_file(data, 1000, 37);
    ide_cmd48(&h, 0x39, 2000, 300);
    give_pio(data, 300, 16);
    expect_file(data, 2000, 300);
    unsigned before = flush_count();
    ide_cmd48(&h, 0xce, 3000, 4); /* FUA: on the disk when it ends */
    give_pio(data, 4, 16);
    expect_file(data, 3000, 4);
    g_assert_cmpuint(flush_count(), >, before);
    g_free(data);
    ide_teardown(&h);
}

static void test_multiple(void)
{
    uint16_t w[256];
    uint8_t data[8 * 512];
    static const uint8_t bad[] = {3, 17, 32, 128, 255};
    set_up();
    for (unsigned i = 0; i < sizeof(bad); i++) {
        ide_cmd28(&h, 0xc6, 0, bad[i]);
        expect_error(0x04);
    }
    ide_cmd28(&h, 0xc6, 0, 4);
    ide_expect_ok(&h);
    ide_identify(&h, w);
    g_assert_cmphex(w[59], ==, 0x0104);
    ide_cmd28(&h, 0xc4, 0, 6);
    take_pio(data, 6, 4);
    ide_cmd28(&h, 0xc6, 0, 0); /* disables */
    ide_expect_ok(&h);
    ide_identify(&h, w);
    g_assert_cmphex(w[59], ==, 0);
    ide_cmd28(&h, 0xc4, 0, 6);
    expect_error(0x04);
    ide_cmd28(&h, 0xc5, 0, 6);
    expect_error(0x04);
    /* A reset brings the default back, unless told to keep settings. */
    ide_control(&h, 4);
    ide_control(&h, 0);
    ide_identify(&h, w);
    g_assert_cmphex(w[59], ==, 0x0110);
    ide_out(&h, 1, 0x66);
    ide_out(&h, 7, 0xef);
    ide_expect_ok(&h);
    ide_cmd28(&h, 0xc6, 0, 2);
    ide_expect_ok(&h);
    ide_control(&h, 4);
    ide_control(&h, 0);
    ide_identify(&h, w);
    g_assert_cmphex(w[59], ==, 0x0102);
    ide_teardown(&h);
}

/* ---- Addresses ---- */

static void chs(uint8_t command, unsigned c, unsigned head, unsigned s, uint8_t count)
{
    ide_out(&h, 2, count);
    ide_out(&h, 3, (uint8_t)s);
    ide_out(&h, 4, (uint8_t)c);
    ide_out(&h, 5, (uint8_t)(c >> 8));
    ide_out(&h, 6, (uint8_t)(0xa0 | head));
    ide_out(&h, 7, command);
}

static void test_chs(void)
{
    uint8_t data[512 * 4];
    uint16_t w[256];
    set_up();
    chs(0x20, 0, 0, 1, 1);
    take_pio(data, 1, 1);
    g_assert_true(pattern_matches(data, 0, 512));
    chs(0x20, 2, 15, 62, 4); /* over the end of a track and cylinder */
    take_pio(data, 4, 1);
    g_assert_true(pattern_matches(data, ((2 * 16 + 15) * 63 + 61) * 512, 2048));
    g_assert_cmpuint(ide_in(&h, 3), ==, 2);
    g_assert_cmpuint(ide_in(&h, 4), ==, 3);
    g_assert_cmphex(ide_in(&h, 6), ==, 0xa0);
    chs(0x20, 0, 0, 0, 1); /* there is no sector 0 */
    expect_error(0x10);
    chs(0x20, 0, 0, 64, 1);
    expect_error(0x10);
    chs(0x20, DISK_SECTORS / 1008, 0, 1, 1);
    expect_error(0x10);
    /* Another translation. */
    chs(0x91, 0, 7, 0, 32);
    ide_expect_ok(&h);
    ide_identify(&h, w);
    g_assert_cmpuint(w[54], ==, DISK_SECTORS / 256);
    g_assert_cmpuint(w[55], ==, 8);
    g_assert_cmpuint(w[56], ==, 32);
    g_assert_cmpuint(w[1], ==, DISK_SECTORS / 1008);
    chs(0x20, 3, 7, 32, 1);
    take_pio(data, 1, 1);
    g_assert_true(pattern_matches(data, ((3 * 8 + 7) * 32 + 31) * 512, 512));
    chs(0x20, 3, 8, 1, 1);
    expect_error(0x10);
    chs(0x91, 0, 7, 0, 0);
    expect_error(0x04);
    chs(0x70, 3, 7, 32, 0); /* SEEK */
    ide_expect_ok(&h);
    chs(0x70, 3, 7, 33, 0);
    expect_error(0x10);
    chs(0x10, 0, 0, 0, 0); /* RECALIBRATE */
    ide_expect_ok(&h);
    ide_teardown(&h);
}

static void test_range(void)
{
    uint8_t data[512];
    set_up();
    ide_cmd28(&h, 0x20, DISK_SECTORS - 1, 1);
    take_pio(data, 1, 1);
    static const uint8_t commands28[] = {0x20, 0x30, 0x40, 0xc4, 0xc5, 0xc8, 0xca};
    static const uint8_t commands48[] = {0x24, 0x34, 0x42, 0x29, 0x39, 0x25, 0x35, 0x3d, 0xce};
    for (unsigned i = 0; i < sizeof(commands28); i++) {
        ide_cmd28(&h, commands28[i], DISK_SECTORS, 1);
        expect_error(0x10);
        ide_cmd28(&h, commands28[i], DISK_SECTORS - 1, 2);
        expect_error(0x10);
        ide_cmd28(&h, commands28[i], DISK_SECTORS - 255, 0);
        expect_error(0x10);
    }
    for (unsigned i = 0; i < sizeof(commands48); i++) {
        ide_cmd48(&h, commands48[i], 0xffffffffffff, 1);
        expect_error(0x10);
        ide_cmd48(&h, commands48[i], DISK_SECTORS - 100, 0);
        expect_error(0x10);
    }
    ide_teardown(&h);
}

/* A disk behind LBA28, read and written at its end. */
static void test_lba48_far(void)
{
    uint8_t data[1024], want[1024];
    const uint64_t lba = 0x223456789;
    const uint32_t prd[] = {DATA_AT, 1024 | EOT};
    set_up_with((lba + 2) * 512, NULL, NULL);
    fill(want, 1024, 77);
    ide_cmd48(&h, 0x34, lba, 2);
    give_pio(want, 2, 1);
    expect_file(want, lba, 2);
    ide_cmd48(&h, 0x24, lba, 2);
    take_pio(data, 2, 1);
    g_assert_cmpmem(data, 1024, want, 1024);
    ide_prd(&h, prd, 1);
    ide_cmd48(&h, 0x25, lba, 2);
    g_assert_cmphex(ide_run_dma(&h, true), ==, BM_INTR);
    g_assert_cmpmem(ram(DATA_AT), 1024, want, 1024);
    ide_control(&h, 0x80);
    g_assert_cmphex(ide_in(&h, 3), ==, 0x23);
    g_assert_cmphex(ide_in(&h, 4), ==, 0x02);
    ide_teardown(&h);
}

/* ---- DMA ---- */

static uint8_t dma(uint8_t command, uint64_t lba, uint16_t count, bool ext, bool to_memory)
{
    uint32_t bytes = (count ? count : ext ? 65536u : 256u) * 512, n = 0;
    uint32_t prd[2 * 512];
    for (uint32_t at = 0; at < bytes; at += 0x10000, n++) {
        prd[n * 2] = DATA_AT + at;
        prd[n * 2 + 1] = (MIN(bytes - at, 0x10000u) & 0xffff) | (at + 0x10000 >= bytes ? EOT : 0);
    }
    ide_prd(&h, prd, n);
    if (ext)
        ide_cmd48(&h, command, lba, count);
    else
        ide_cmd28(&h, command, (uint32_t)lba, (uint8_t)count);
    ide_took_irq(&h);
    return ide_run_dma(&h, to_memory);
}

static void test_dma(void)
{
    set_up();
    g_assert_cmphex(dma(0xc8, 100, 0, false, true), ==, BM_INTR);
    ide_expect_ok(&h);
    g_assert_true(pattern_matches(ram(DATA_AT), 100 * 512, 256 * 512));
    g_assert_cmphex(dma(0x25, 3, 4096, true, true), ==, BM_INTR);
    ide_expect_ok(&h);
    g_assert_true(pattern_matches(ram(DATA_AT), 3 * 512, 4096 * 512));
    fill(ram(DATA_AT), 256 * 512, 3);
    g_assert_cmphex(dma(0xcb, 50, 0, false, false), ==, BM_INTR);
    ide_expect_ok(&h);
    expect_file(ram(DATA_AT), 50, 256);
    fill(ram(DATA_AT), 1000 * 512, 4);
    g_assert_cmphex(dma(0x35, 5000, 1000, true, false), ==, BM_INTR);
    ide_expect_ok(&h);
    expect_file(ram(DATA_AT), 5000, 1000);
    unsigned before = flush_count();
    fill(ram(DATA_AT), 512, 5);
    g_assert_cmphex(dma(0x3d, 7, 1, true, false), ==, BM_INTR);
    expect_file(ram(DATA_AT), 7, 1);
    g_assert_cmpuint(flush_count(), ==, before + 1);
    ide_teardown(&h);
}

/* The longest transfer there is: 65536 sectors. */
static void test_dma_longest(void)
{
    set_up_with(40u << 20, NULL, NULL);
    fill(ram(DATA_AT), 32 << 20, 6);
    g_assert_cmphex(dma(0x35, 1, 0, true, false), ==, BM_INTR);
    expect_file(ram(DATA_AT), 1, 65536);
    g_autofree uint8_t *copy = g_memdup2(ram(DATA_AT), 32 << 20);
    memset(ram(DATA_AT), 0, 32 << 20);
    g_assert_cmphex(dma(0x25, 1, 0, true, true), ==, BM_INTR);
    g_assert_cmpint(memcmp(ram(DATA_AT), copy, 32 << 20), ==, 0);
    ide_teardown(&h);
}

/* Written through qcow2, closed, opened and read back. */
static void test_qcow2(void)
{
    g_autofree char *folder = g_dir_make_tmp("vmrun-qcow2-XXXXXX", NULL);
    g_autofree char *image = g_build_filename(folder, "disk.qcow2", NULL);
    g_autofree char *command = g_strdup_printf("qemu-img create -q -f qcow2 %s 64M", image);
    int status = 1;
    if (!g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) || status) {
        remove(folder);
        g_test_skip("qemu-img is not installed");
        return;
    }
    for (unsigned round = 0; round < 2; round++) {
        h.m = test_machine_new(64 << 20);
        blk = drive_on("hda", image, "format=qcow2");
        ide_setup(&h, "drive0=hda");
        if (!round) {
            fill(ram(DATA_AT), 1000 * 512, 8);
            g_assert_cmphex(dma(0x35, 777, 1000, true, false), ==, BM_INTR);
            ide_out(&h, 7, 0xe7);
            ide_wait(&h);
        } else {
            g_autofree uint8_t *want = g_malloc(1002 * 512);
            memset(want, 0, 1002 * 512);
            fill(want + 512, 1000 * 512, 8);
            memset(ram(DATA_AT), 0xee, 1002 * 512);
            g_assert_cmphex(dma(0x25, 776, 1002, true, true), ==, BM_INTR);
            g_assert_cmpmem(ram(DATA_AT), 1002 * 512, want, 1002 * 512);
        }
        ide_teardown(&h);
    }
    g_autofree char *check = g_strdup_printf("qemu-img check -q %s", image);
    g_assert_true(g_spawn_command_line_sync(check, NULL, NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    remove(image);
    remove(folder);
}

/* ---- Other commands ---- */

static void test_flush(void)
{
    set_up();
    uint8_t data[512];
    fill(data, 512, 1);
    static const uint8_t commands[] = {0xe7, 0xea, 0xe0, 0xe2, 0x94, 0x96};
    for (unsigned i = 0; i < sizeof(commands); i++) {
        ide_cmd28(&h, 0x30, 1, 1);
        give_pio(data, 1, 1);
        unsigned before = flush_count();
        fault_hold(true);
        ide_out(&h, 7, commands[i]);
        g_assert_cmphex(ide_alt(&h), ==, BSY | DRDY | DSC);
        g_assert_false(ide_took_irq(&h));
        fault_hold(false);
        ide_expect_ok(&h);
        g_assert_cmpuint(flush_count(), ==, before + 1);
    }
    ide_cmd28(&h, 0x30, 1, 1);
    give_pio(data, 1, 1);
    fault_flush(EIO);
    ide_out(&h, 7, 0xe7);
    expect_error(0x04);
    ide_teardown(&h);
}

static void features(uint8_t feature, uint8_t count)
{
    ide_out(&h, 1, feature);
    ide_out(&h, 2, count);
    ide_out(&h, 7, 0xef);
}

static void test_features(void)
{
    uint16_t w[256];
    static const struct {
        uint8_t mode;
        bool ok;
        uint16_t word63, word88;
    } modes[] = {
        {0x00, true, 0x0007, 0x203f},  {0x01, true, 0x0007, 0x203f},  {0x02, false, 0x0007, 0x203f},
        {0x0c, true, 0x0007, 0x203f},  {0x0d, false, 0x0007, 0x203f}, {0x20, true, 0x0107, 0x003f},
        {0x22, true, 0x0407, 0x003f},  {0x23, false, 0x0407, 0x003f}, {0x45, true, 0x0007, 0x203f},
        {0x46, false, 0x0007, 0x203f}, {0x40, true, 0x0007, 0x013f},  {0x80, false, 0x0007, 0x013f},
    };
    set_up();
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        features(0x03, modes[i].mode);
        if (modes[i].ok)
            ide_expect_ok(&h);
        else
            expect_error(0x04);
        ide_identify(&h, w);
        g_assert_cmphex(w[63], ==, modes[i].word63);
        g_assert_cmphex(w[88], ==, modes[i].word88);
    }
    features(0x82, 0); /* write cache off */
    ide_expect_ok(&h);
    g_assert_false(blk_write_cache(blk));
    ide_identify(&h, w);
    g_assert_cmphex(w[85] & 0x20, ==, 0);
    unsigned before = flush_count();
    uint8_t data[512] = {1};
    ide_cmd28(&h, 0x30, 1, 1);
    give_pio(data, 1, 1);
    g_assert_cmpuint(flush_count(), ==, before + 1);
    features(0x02, 0);
    ide_expect_ok(&h);
    g_assert_true(blk_write_cache(blk));
    ide_identify(&h, w);
    g_assert_cmphex(w[85] & 0x20, ==, 0x20);
    features(0x55, 0); /* look-ahead off and on */
    ide_expect_ok(&h);
    ide_identify(&h, w);
    g_assert_cmphex(w[85] & 0x40, ==, 0);
    features(0xaa, 0);
    ide_expect_ok(&h);
    features(0x05, 1); /* advanced power management */
    expect_error(0x04);
    ide_teardown(&h);
}

static uint8_t power_mode(void)
{
    ide_out(&h, 2, 0x55);
    ide_out(&h, 7, 0xe5);
    ide_expect_ok(&h);
    return ide_in(&h, 2);
}

static void test_power(void)
{
    uint8_t data[512];
    set_up();
    g_assert_cmphex(power_mode(), ==, 0xff);
    ide_out(&h, 7, 0xe0);
    ide_expect_ok(&h);
    g_assert_cmphex(power_mode(), ==, 0);
    ide_cmd28(&h, 0x20, 0, 1);
    take_pio(data, 1, 1);
    g_assert_cmphex(power_mode(), ==, 0xff);
    ide_out(&h, 7, 0xe2);
    ide_expect_ok(&h);
    ide_out(&h, 7, 0xe1);
    ide_expect_ok(&h);
    g_assert_cmphex(power_mode(), ==, 0xff);
    ide_out(&h, 7, 0xe6); /* SLEEP: only a reset wakes it */
    ide_expect_ok(&h);
    ide_out(&h, 7, 0xec);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    g_assert_false(ide_took_irq(&h));
    ide_control(&h, 4);
    ide_control(&h, 0);
    g_assert_cmphex(power_mode(), ==, 0xff);
    ide_teardown(&h);
}

static void test_verify(void)
{
    set_up();
    ide_cmd28(&h, 0x40, 10, 0);
    ide_expect_ok(&h);
    ide_cmd48(&h, 0x42, 0, 16384);
    ide_expect_ok(&h);
    fault_read(EIO, 700 * 512, 701 * 512);
    ide_cmd48(&h, 0x42, 500, 1000);
    expect_error(0x40);
    g_assert_cmpuint(ide_in(&h, 3) | ide_in(&h, 4) << 8, ==, 700);
    ide_teardown(&h);
}

static uint8_t trim(unsigned blocks, uint8_t feature)
{
    const uint32_t prd[] = {DATA_AT, (blocks * 512) | EOT};
    ide_prd(&h, prd, 1);
    ide_out(&h, 1, feature);
    ide_cmd48(&h, 0x06, 0, (uint16_t)blocks);
    ide_took_irq(&h);
    return ide_run_dma(&h, false);
}

static void trim_entry(unsigned n, uint64_t lba, uint64_t count)
{
    st64_le(ram(DATA_AT) + n * 8, count << 48 | lba);
}

static void test_trim(void)
{
    uint8_t data[512];
    set_up_with(DISK_BYTES, "format=raw,discard=unmap", NULL);
    memset(ram(DATA_AT), 0, 4096);
    trim_entry(0, 8, 8);
    trim_entry(2, 256, 256);
    trim_entry(63, 1024, 16);
    g_assert_cmphex(trim(1, 1), ==, BM_INTR);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    image_read(path, 300 * 512, data, 512);
    for (unsigned i = 0; i < 512; i++)
        g_assert_cmphex(data[i], ==, 0);
    image_read(path, 7 * 512, data, 512);
    g_assert_true(pattern_matches(data, 7 * 512, 512));
    image_read(path, 512 * 512, data, 512);
    g_assert_true(pattern_matches(data, 512 * 512, 512));
    /* One bad range, and nothing is dropped. */
    memset(ram(DATA_AT), 0, 4096);
    trim_entry(0, 2048, 64);
    trim_entry(500, DISK_SECTORS - 1, 2);
    g_assert_cmphex(trim(8, 1), ==, BM_INTR);
    expect_error(0x04);
    image_read(path, 2048 * 512, data, 512);
    g_assert_true(pattern_matches(data, 2048 * 512, 512));
    ide_out(&h, 1, 0); /* not TRIM */
    ide_cmd48(&h, 0x06, 0, 1);
    expect_error(0x04);
    ide_out(&h, 1, 1);
    ide_cmd48(&h, 0x06, 0, 9); /* more than word 105 says */
    expect_error(0x04);
    ide_teardown(&h);
}

/* What is not there is aborted: every other code, NOP among them. */
static void test_unknown(void)
{
    static const uint8_t known[] = {
        0x06, 0x20, 0x21, 0x24, 0x25, 0x27, 0x29, 0x30, 0x31, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x41,
        0x42, 0x90, 0x91, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0xc4, 0xc5, 0xc6, 0xc8, 0xc9, 0xca,
        0xcb, 0xce, 0xe0, 0xe1, 0xe2, 0xe3, 0xe5, 0xe6, 0xe7, 0xea, 0xec, 0xef, 0xf8};
    set_up();
    for (unsigned code = 0; code < 256; code++) {
        if (memchr(known, (int)code, sizeof(known)) || (code & 0xf0) == 0x10 ||
            (code & 0xf0) == 0x70)
            continue;
        ide_out(&h, 7, (uint8_t)code);
        expect_error(0x04);
    }
    ide_out(&h, 7, 0xa1); /* leaves the signature */
    g_assert_cmphex(ide_in(&h, 4), ==, 0);
    g_assert_cmphex(ide_in(&h, 2), ==, 1);
    ide_teardown(&h);
}

/* ---- Errors of the host's disk ---- */

static void test_read_errors(void)
{
    uint8_t data[64 * 512];
    set_up();
    fault_read(EIO, 30 * 512, 31 * 512);
    /* By PIO the sectors before the bad one arrive. */
    ide_cmd28(&h, 0x20, 20, 32);
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | DRQ);
        ide_read_data(&h, data, 512);
        g_assert_true(pattern_matches(data, (20 + i) * 512, 512));
    }
    expect_error(0x40);
    g_assert_cmpuint(ide_in(&h, 3), ==, 30);
    ide_cmd28(&h, 0xc4, 15, 32); /* by blocks of 16 the second fails */
    expect_error(0x40);
    g_assert_cmpuint(ide_in(&h, 3), ==, 30);
    /* DMA names the sector, too. */
    g_assert_cmphex(dma(0xc8, 0, 64, false, true) & BM_INTR, ==, BM_INTR);
    expect_error(0x40);
    g_assert_cmpuint(ide_in(&h, 3), ==, 30);
    fault_read(0, 0, 0);
    g_assert_cmphex(dma(0xc8, 0, 64, false, true), ==, BM_INTR);
    ide_expect_ok(&h);
    ide_teardown(&h);
}

static void test_write_errors(void)
{
    uint8_t data[4 * 512] = {0};
    set_up();
    fault_write(EIO, 12 * 512, 13 * 512);
    ide_cmd28(&h, 0x30, 11, 2);
    ide_wait(&h);
    ide_write_data(&h, data, 512);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC | DRQ);
    ide_in(&h, 7);
    ide_took_irq(&h);
    ide_write_data(&h, data, 512);
    expect_error(0x04);
    g_assert_cmpuint(ide_in(&h, 3), ==, 12);
    expect_file(data, 11, 1);
    dma(0xca, 10, 8, false, false);
    expect_error(0x04);
    ide_teardown(&h);
}

static bool stopped(void *opaque)
{
    return h.m->status == MACHINE_IO_ERROR;
}

static void reset_all(void)
{
    device_reset(h.ide);
    device_reset(disk);
}

static void go_on(void)
{
    GError *error = NULL;
    machine_resume(h.m, &error);
    g_assert_no_error(error);
    vclock_step(1);
}

/* werror=stop, rerror=stop: the machine stops, and the request is made again when it goes on. */
static void test_stop(void)
{
    set_up_with(DISK_BYTES, "format=raw,werror=stop,rerror=stop", NULL);
    fill(ram(DATA_AT), 8 * 512, 9);
    const uint32_t prd[] = {DATA_AT, 4096 | EOT};
    ide_prd(&h, prd, 1);
    fault_write(EIO, 0, DISK_BYTES);
    ide_cmd28(&h, 0xca, 40, 8);
    bm_out(&h, 0, 1);
    test_wait(h.m, stopped, NULL);
    g_assert_cmphex(ide_alt(&h) & BSY, ==, BSY);
    /* Saved and restored, it still knows what it was doing. */
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *error = NULL;
    machine_save_devices(h.m, saved);
    reset_all();
    machine_load_devices(h.m, saved->data, saved->len, &error);
    g_assert_no_error(error);
    g_assert_cmphex(ide_alt(&h) & BSY, ==, BSY);
    go_on(); /* fails again */
    test_wait(h.m, stopped, NULL);
    fault_write(0, 0, 0);
    go_on();
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_INTR);
    expect_file(ram(DATA_AT), 40, 8);
    bm_out(&h, 0, 0);
    ide_took_irq(&h);

    fault_read(EIO, 0, DISK_BYTES);
    ide_cmd28(&h, 0x20, 41, 2);
    test_wait(h.m, stopped, NULL);
    fault_read(0, 0, 0);
    go_on();
    uint8_t data[1024];
    take_pio(data, 2, 1);
    g_assert_cmpmem(data, 1024, ram(DATA_AT + 512), 1024);

    fault_flush(EIO);
    uint8_t one[512] = {0};
    ide_cmd28(&h, 0x30, 1, 1);
    give_pio(one, 1, 1);
    ide_out(&h, 7, 0xe7);
    test_wait(h.m, stopped, NULL);
    /* A reset forgets it. */
    reset_all();
    fault_flush(0);
    go_on();
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    ide_teardown(&h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/disk/pio-read", test_pio_read);
    g_test_add_func("/disk/pio-write", test_pio_write);
    g_test_add_func("/disk/multiple", test_multiple);
    g_test_add_func("/disk/chs", test_chs);
    g_test_add_func("/disk/range", test_range);
    g_test_add_func("/disk/lba48-far", test_lba48_far);
    g_test_add_func("/disk/dma", test_dma);
    g_test_add_func("/disk/dma-longest", test_dma_longest);
    g_test_add_func("/disk/qcow2", test_qcow2);
    g_test_add_func("/disk/flush", test_flush);
    g_test_add_func("/disk/features", test_features);
    g_test_add_func("/disk/power", test_power);
    g_test_add_func("/disk/verify", test_verify);
    g_test_add_func("/disk/trim", test_trim);
    g_test_add_func("/disk/unknown", test_unknown);
    g_test_add_func("/disk/read-errors", test_read_errors);
    g_test_add_func("/disk/write-errors", test_write_errors);
    g_test_add_func("/disk/stop", test_stop);
    return g_test_run();
}
