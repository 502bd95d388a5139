/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PIIX3 IDE: task file, selection, resets, interrupts, bus master engine, state, hostile accesses.
 */
#include <errno.h>
#include <string.h>

#include "hw/ide/ide.h"
#include "hw/pci/pci.h"
#include "test-ide-common.h"
#include "util/timer.h"

#define DISK_BYTES (8u << 20)

static IdeHost h;

static void set_up(void)
{
    h.m = test_machine_new(64 << 20);
    drive_on("hda", image_new("hda", DISK_BYTES), NULL);
    drive_on("hdb", image_new("hdb", DISK_BYTES), NULL);
    drive_on("cd", image_new("cd", 1 << 20), "media=cdrom,format=raw");
    ide_setup(&h, "drive0=hda,drive1=hdb,drive2=cd");
}

static uint32_t config_read(unsigned reg)
{
    outl(h.m, 0xcf8, 0x80000000u | PCI_DEVFN(1, 1) << 8 | reg);
    return inl(h.m, 0xcfc);
}

static void config_writeb(unsigned reg, uint8_t value)
{
    outl(h.m, 0xcf8, 0x80000000u | PCI_DEVFN(1, 1) << 8 | (reg & 0xfc));
    outb(h.m, (uint16_t)(0xcfc + (reg & 3)), value);
}

static void test_config(void)
{
    set_up();
    g_assert_cmphex(config_read(0x00), ==, 0x70108086);
    g_assert_cmphex(config_read(0x08), ==, 0x01018000);
    g_assert_cmphex(config_read(0x04) >> 16, ==, 0x0280);
    g_assert_cmphex(config_read(0x20), ==, 0xc001);
    g_assert_cmphex(config_read(0x3c), ==, 0);
    g_assert_cmphex(config_read(0x40), ==, 0x80008000);
    /* IDETIM: timing bits are kept, bit 15 decodes the ports. */
    config_writeb(0x40, 0x77);
    config_writeb(0x41, 0xff);
    g_assert_cmphex(config_read(0x40), ==, 0x8000f377);
    g_assert_cmphex(ide_alt(&h), ==, 0x50);
    config_writeb(0x41, 0x33);
    g_assert_cmphex(ide_alt(&h), ==, 0xff);
    g_assert_cmphex(ide_in(&h, 2), ==, 0xff);
    h.channel = 1;
    g_assert_cmphex(ide_in(&h, 4), ==, 0x14);
    h.channel = 0;
    device_reset(h.ide);
    g_assert_cmphex(ide_alt(&h), ==, 0x50);
    g_assert_cmphex(config_read(0x20), ==, 0x0001);
    ide_teardown(&h);
}

static void expect_signature(unsigned unit, bool packet)
{
    ide_out(&h, 6, (uint8_t)(unit << 4));
    g_assert_cmphex(ide_in(&h, 1), ==, 1);
    g_assert_cmphex(ide_in(&h, 2), ==, 1);
    g_assert_cmphex(ide_in(&h, 3), ==, 1);
    g_assert_cmphex(ide_in(&h, 4), ==, packet ? 0x14 : 0);
    g_assert_cmphex(ide_in(&h, 5), ==, packet ? 0xeb : 0);
    g_assert_cmphex(ide_alt(&h), ==, packet ? 0 : DRDY | DSC);
}

static void scribble(void)
{
    for (unsigned reg = 2; reg < 6; reg++)
        ide_out(&h, reg, 0x5a);
}

static void test_signatures(void)
{
    set_up();
    expect_signature(0, false);
    expect_signature(1, false);
    g_assert_cmphex(ide_in(&h, 6) & 0x10, ==, 0x10);
    scribble();
    ide_control(&h, 0x04);
    g_assert_cmphex(ide_alt(&h) & BSY, ==, BSY);
    ide_control(&h, 0);
    g_assert_cmphex(ide_in(&h, 6) & 0x1f, ==, 0);
    expect_signature(0, false);
    expect_signature(1, false);
    h.channel = 1;
    scribble();
    ide_control(&h, 0x04);
    ide_control(&h, 0);
    expect_signature(0, true);
    /* DEVICE RESET: only for packet devices, even while DRQ is set. */
    ide_out(&h, 7, 0xa0);
    g_assert_cmphex(ide_alt(&h) & DRQ, ==, DRQ);
    ide_out(&h, 7, 0x08);
    expect_signature(0, true);
    h.channel = 0;
    ide_out(&h, 7, 0x08);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC | ERR);
    ide_teardown(&h);
}

static void test_selection(void)
{
    h.m = test_machine_new(4 << 20);
    drive_on("hda", image_new("hda", DISK_BYTES), NULL);
    drive_on("hdd", image_new("hdd", DISK_BYTES), NULL);
    ide_setup(&h, "drive0=hda,drive3=hdd");
    /* Device 0 answers for the absent device 1, with status 0. */
    ide_out(&h, 6, 0xa0);
    scribble();
    ide_out(&h, 6, 0xb0);
    g_assert_cmphex(ide_in(&h, 7), ==, 0);
    g_assert_cmphex(ide_alt(&h), ==, 0);
    g_assert_cmphex(ide_in(&h, 3), ==, 0x5a);
    g_assert_cmphex(ide_in(&h, 6), ==, 0xb0);
    ide_out(&h, 7, 0xec);
    ide_read_data(&h, (uint8_t[8]){0}, 8);
    ide_out(&h, 6, 0xa0);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    /* Without device 0 nobody answers for it. */
    h.channel = 1;
    ide_out(&h, 6, 0xa0);
    scribble();
    g_assert_cmphex(ide_in(&h, 7), ==, 0);
    g_assert_cmphex(ide_in(&h, 3), ==, 0);
    ide_out(&h, 6, 0xb0);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    g_assert_cmphex(ide_in(&h, 3), ==, 0x5a);
    ide_teardown(&h);

    h.channel = 0;
    h.m = test_machine_new(4 << 20);
    ide_setup(&h, NULL); /* nothing on the cable */
    ide_out(&h, 6, 0xa0);
    scribble();
    for (unsigned reg = 1; reg < 8; reg++)
        g_assert_cmphex(ide_in(&h, reg), ==, 0);
    ide_out(&h, 7, 0xe7);
    ide_out(&h, 7, 0x90);
    ide_control(&h, 4);
    ide_control(&h, 0);
    g_assert_false(ide_took_irq(&h));
    ide_teardown(&h);
}

static void test_diagnostic(void)
{
    set_up();
    ide_out(&h, 6, 0x10);
    scribble();
    ide_out(&h, 7, 0x90);
    g_assert_true(ide_took_irq(&h));
    g_assert_cmphex(ide_in(&h, 6) & 0x10, ==, 0);
    expect_signature(0, false);
    expect_signature(1, false);
    ide_teardown(&h);
}

static void test_interrupts(void)
{
    set_up();
    ide_out(&h, 7, 0xec);
    g_assert_true(h.irq[0].level);
    ide_alt(&h); /* does not clear it */
    g_assert_true(h.irq[0].level);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC | DRQ);
    g_assert_false(h.irq[0].level);
    ide_read_data(&h, (uint8_t[512]){0}, 512);
    g_assert_false(h.irq[0].level);
    g_assert_cmpuint(h.irq[0].rises, ==, 1);
    /* nIEN hides a pending interrupt, and shows it again. */
    ide_control(&h, 0x02);
    ide_out(&h, 7, 0xe7);
    ide_wait(&h);
    g_assert_false(h.irq[0].level);
    ide_control(&h, 0);
    g_assert_true(h.irq[0].level);
    /* So does selecting the other drive. */
    ide_select(&h, 1);
    g_assert_false(h.irq[0].level);
    ide_select(&h, 0);
    g_assert_true(h.irq[0].level);
    /* A command clears it. */
    ide_out(&h, 7, 0xec);
    g_assert_cmpuint(h.irq[0].falls, ==, 3);
    g_assert_false(h.irq[1].level);
    ide_control(&h, 0x04);
    g_assert_false(h.irq[0].level);
    ide_teardown(&h);
}

/* 48-bit commands read registers twice deep; HOB shows the depth. */
static void test_hob(void)
{
    set_up();
    for (unsigned reg = 2; reg < 6; reg++) {
        ide_out(&h, reg, (uint8_t)(0x10 + reg));
        ide_out(&h, reg, (uint8_t)(0x20 + reg));
        g_assert_cmphex(ide_in(&h, reg), ==, 0x20 + reg);
        ide_control(&h, 0x80);
        g_assert_cmphex(ide_in(&h, reg), ==, 0x10 + reg);
        ide_out(&h, 1, 0); /* any write clears HOB */
        g_assert_cmphex(ide_in(&h, reg), ==, 0x20 + reg);
    }
    /* Both drives hear writes. */
    ide_out(&h, 6, 0x10);
    g_assert_cmphex(ide_in(&h, 2), ==, 0x22);
    /* A 16-bit access is two registers. */
    outw(h.m, 0x1f2, 0xbbaa);
    g_assert_cmphex(ide_in(&h, 2), ==, 0xaa);
    g_assert_cmphex(ide_in(&h, 3), ==, 0xbb);
    g_assert_cmphex(inw(h.m, 0x1f2), ==, 0xbbaa);
    /* While DRQ is set, writes are not heard. */
    ide_out(&h, 7, 0xec);
    ide_out(&h, 2, 0x77);
    g_assert_cmphex(ide_in(&h, 2), ==, 0xaa);
    ide_teardown(&h);
}

/* The data port in 8, 16 and 32 bits gives the same stream of words. */
static void test_data_port(void)
{
    uint8_t want[512], got[512];
    set_up();
    ide_out(&h, 7, 0xec);
    ide_read_data(&h, want, 512);
    ide_out(&h, 7, 0xec);
    for (unsigned i = 0; i < 512; i += 4)
        st32_le(got + i, inl(h.m, 0x1f0));
    g_assert_cmpmem(got, 512, want, 512);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    ide_out(&h, 7, 0xec);
    for (unsigned i = 0; i < 512; i += 2)
        g_assert_cmphex(inb(h.m, 0x1f0), ==, want[i]);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    g_assert_cmphex(inw(h.m, 0x1f0), ==, 0);
    /* A string instruction. */
    ide_out(&h, 7, 0xec);
    dispatch_pio(&h.m->io, 0x1f0, false, 2, got, 256);
    g_assert_cmpmem(got, 512, want, 512);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    ide_teardown(&h);
}

/* ---- Bus master ---- */

static void test_bm_registers(void)
{
    set_up();
    g_assert_cmphex(bm_in(&h, 0), ==, 0);
    g_assert_cmphex(bm_in(&h, 2), ==, 0);
    outl(h.m, 0xc004, 0x12345677);
    g_assert_cmphex(inl(h.m, 0xc004), ==, 0x12345674);
    bm_out(&h, 0, 0xfe);
    g_assert_cmphex(bm_in(&h, 0), ==, 0x08);
    bm_out(&h, 2, 0xff);
    g_assert_cmphex(bm_in(&h, 2), ==, 0x60);
    ide_out(&h, 7, 0xe7);
    ide_wait(&h);
    g_assert_cmphex(bm_in(&h, 2), ==, 0x60 | BM_INTR);
    bm_out(&h, 2, 0x60); /* written as 0 it stays */
    g_assert_cmphex(bm_in(&h, 2), ==, 0x60 | BM_INTR);
    bm_out(&h, 2, 0x24);
    g_assert_cmphex(bm_in(&h, 2), ==, 0x20);
    g_assert_cmphex(inl(h.m, 0xc008), ==, 0);
    h.channel = 1;
    g_assert_cmphex(bm_in(&h, 2), ==, 0);
    ide_teardown(&h);
}

static uint8_t read_dma(const uint32_t *pairs, unsigned count, uint8_t sectors)
{
    ide_prd(&h, pairs, count);
    ide_cmd28(&h, 0xc8, 0, sectors);
    return ide_run_dma(&h, true);
}

static const uint8_t *ram(uint32_t at)
{
    return region_ram_ptr(h.m->ram) + at;
}

/* What the bus master specification says of descriptors and transfer sizes. */
static void test_bm_sizes(void)
{
    set_up();
    for (uint32_t size = 0; size < 0x10000; size += 254) {
        const uint32_t prd[] = {DATA_AT, size | EOT};
        uint32_t bytes = size ? size : 0x10000;
        uint8_t status = read_dma(prd, 1, 16);
        uint8_t want = bytes < 8192 ? 0 : bytes == 8192 ? BM_INTR : BM_INTR | BM_ACTIVE;
        g_assert_cmphex(status, ==, want);
        g_assert_cmpint(ide_took_irq(&h), ==, want != 0);
        g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
        if (bytes >= 8192)
            g_assert_true(pattern_matches(ram(DATA_AT), 0, 8192));
        memset((void *)ram(DATA_AT), 0xee, 8192 + 4);
    }
    const uint32_t exact[] = {DATA_AT, 8192 | EOT};
    g_assert_cmphex(read_dma(exact, 1, 16), ==, BM_INTR);
    g_assert_cmphex(*ram(DATA_AT + 8192), ==, 0xee);
    const uint32_t no_end[] = {DATA_AT, 8192};
    g_assert_cmphex(read_dma(no_end, 1, 16), ==, BM_INTR | BM_ACTIVE);
    ide_teardown(&h);
}

static void test_bm_scatter(void)
{
    uint32_t prd[2 * 600];
    set_up();
    /* 1024 sectors in odd pieces, some as small as two bytes, most at odd places. */
    uint32_t left = 256 * 512, at = DATA_AT;
    unsigned n = 0;
    for (unsigned i = 0; left; i++) {
        uint32_t piece = i % 3 == 0 ? 2 : i % 3 == 1 ? 510 : 1022;
        piece = MIN(piece, left);
        prd[n * 2] = at | (i & 1); /* bit 0 is not part of the address */
        prd[n * 2 + 1] = piece;
        left -= piece;
        at += piece;
        n++;
    }
    prd[n * 2 - 1] |= EOT;
    g_assert_cmphex(read_dma(prd, n, 0), ==, BM_INTR);
    g_assert_true(pattern_matches(ram(DATA_AT), 0, 256 * 512));
    /* More pieces than one host call takes. */
    uint8_t *table = region_ram_ptr(h.m->ram) + PRD_AT;
    for (unsigned i = 0; i < 8192; i++) {
        st32_le(table + i * 8, DATA_AT + i * 4);
        st32_le(table + i * 8 + 4, i == 8191 ? 4 | EOT : 4);
    }
    memset((void *)ram(DATA_AT), 0, 32768);
    ide_cmd28(&h, 0xc8, 1, 64);
    g_assert_cmphex(ide_run_dma(&h, true), ==, BM_INTR);
    g_assert_true(pattern_matches(ram(DATA_AT), 512, 32768));
    ide_teardown(&h);
}

static void test_bm_hostile(void)
{
    set_up();
    const uint32_t no_ram[] = {0xe0000000, 512 | EOT};
    g_assert_cmphex(read_dma(no_ram, 1, 1), ==, BM_INTR | BM_ERROR);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC | ERR);
    g_assert_cmphex(ide_in(&h, 1) & 0x04, ==, 0x04);
    /* The end of RAM in the middle of a descriptor. */
    const uint32_t over[] = {(64u << 20) - 512, 1024 | EOT};
    g_assert_cmphex(read_dma(over, 1, 2), ==, BM_INTR | BM_ERROR);
    const uint32_t last[] = {(64u << 20) - 512, 512 | EOT};
    g_assert_cmphex(read_dma(last, 1, 1), ==, BM_INTR);
    /* The table itself outside RAM, and at the very end of the address space. */
    outl(h.m, 0xc004, 0xfffffff8);
    ide_cmd28(&h, 0xc8, 0, 1);
    g_assert_cmphex(ide_run_dma(&h, true), ==, BM_INTR | BM_ERROR);
    outl(h.m, 0xc004, 0xf0000000);
    ide_cmd28(&h, 0xca, 0, 1);
    g_assert_cmphex(ide_run_dma(&h, false), ==, BM_INTR | BM_ERROR);
    /* The engine was started before the command. */
    const uint32_t good[] = {DATA_AT, 512 | EOT};
    ide_prd(&h, good, 1);
    bm_out(&h, 2, BM_ERROR | BM_INTR);
    bm_out(&h, 0, 9);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_ACTIVE);
    ide_cmd28(&h, 0xc8, 3, 1);
    ide_wait(&h);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_INTR);
    g_assert_true(pattern_matches(ram(DATA_AT), 3 * 512, 512));
    bm_out(&h, 0, 0);
    /* A command whose DMA never starts leaves with a reset. */
    ide_cmd28(&h, 0xc8, 0, 1);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC | DRQ);
    ide_out(&h, 7, 0xec);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC | DRQ);
    ide_control(&h, 4);
    ide_control(&h, 0);
    expect_signature(0, false);
    bm_out(&h, 2, BM_ERROR | BM_INTR);
    bm_out(&h, 0, 9);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_ACTIVE);
    ide_teardown(&h);
}

static void test_bm_off(void)
{
    uint8_t before[512], after[512];
    const char *path = NULL;
    const uint32_t prd[] = {DATA_AT, 512 | EOT};
    h.m = test_machine_new(64 << 20);
    path = image_new("hda", DISK_BYTES);
    drive_on("hda", path, NULL);
    ide_setup(&h, "drive0=hda");
    image_read(path, 0, before, 512);
    config_writeb(PCI_COMMAND, PCI_COMMAND_IO);
    memset((void *)ram(DATA_AT), 0xee, 512);
    g_assert_cmphex(read_dma(prd, 1, 1), ==, BM_INTR | BM_ACTIVE);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);
    g_assert_cmphex(*ram(DATA_AT), ==, 0xee);
    ide_cmd28(&h, 0xca, 0, 1);
    ide_run_dma(&h, false);
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC | ERR);
    image_read(path, 0, after, 512);
    g_assert_cmpmem(before, 512, after, 512);
    ide_teardown(&h);
}

/* ---- Requests that take their time ---- */

static void start_held_read(void)
{
    const uint32_t prd[] = {DATA_AT, 4096 | EOT};
    memset((void *)ram(DATA_AT), 0xee, 4096);
    ide_prd(&h, prd, 1);
    bm_out(&h, 2, BM_ERROR | BM_INTR);
    fault_hold(true);
    ide_cmd28(&h, 0xc8, 8, 8);
    bm_out(&h, 0, 9);
    g_assert_cmphex(ide_alt(&h) & BSY, ==, BSY);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_ACTIVE);
    g_assert_false(h.irq[0].level);
}

static void test_delayed(void)
{
    set_up();
    start_held_read();
    ide_out(&h, 2, 0x33); /* not heard */
    ide_out(&h, 7, 0xec);
    fault_hold(false);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_INTR);
    g_assert_true(h.irq[0].level);
    g_assert_true(pattern_matches(ram(DATA_AT), 8 * 512, 4096));
    bm_out(&h, 0, 0);
    ide_in(&h, 7);
    /* Stopped in the middle: active until the disk has answered. */
    start_held_read();
    bm_out(&h, 0, 0);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_ACTIVE);
    fault_hold(false);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_INTR);
    ide_in(&h, 7);
    /* A software reset in the middle: busy until the disk has answered, then the signature. */
    start_held_read();
    ide_control(&h, 4);
    ide_control(&h, 0);
    g_assert_cmphex(ide_alt(&h), ==, BSY);
    fault_hold(false);
    g_assert_cmphex(ide_wait(&h), ==, DRDY | DSC);
    expect_signature(0, false);
    g_assert_false(h.irq[0].level);
    /* And with SRST held longer than the request. */
    start_held_read();
    ide_control(&h, 4);
    fault_hold(false);
    blk_drain_all();
    g_assert_cmphex(ide_alt(&h), ==, BSY);
    ide_control(&h, 0);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    ide_teardown(&h);
}

static void *release_later(void *opaque)
{
    g_usleep(20000);
    fault_hold(false);
    return NULL;
}

/* A machine reset, the end of the machine and a save wait for the request. */
static void test_reset_in_flight(void)
{
    set_up();
    start_held_read();
    GThread *thread = g_thread_new("release", release_later, NULL);
    device_reset(h.ide);
    g_thread_join(thread);
    expect_signature(0, false);
    g_assert_cmphex(h.irq[0].level, ==, false);
    outl(h.m, 0xcf8, 0x80000904);
    outl(h.m, 0xcfc, 5);
    outl(h.m, 0xcf8, 0x80000920);
    outl(h.m, 0xcfc, 0xc000);
    start_held_read();
    thread = g_thread_new("release", release_later, NULL);
    ide_teardown(&h);
    g_thread_join(thread);
}

/* ---- State ---- */

static GByteArray *save_all(void)
{
    GByteArray *out = g_byte_array_new();
    machine_save_devices(h.m, out);
    return out;
}

static void load_all(GByteArray *data)
{
    GError *error = NULL;
    machine_load_devices(h.m, data->data, data->len, &error);
    g_assert_no_error(error);
}

static void test_state_tables(void)
{
    set_up();
    ide_out(&h, 7, 0xec);
    inw(h.m, 0x1f0);
    test_device_state(h.ide);
    for (guint i = 0; i < h.ide->children->len; i++)
        test_device_state(g_ptr_array_index(h.ide->children, i));
    g_assert_cmpuint(h.ide->children->len, ==, 3);
    ide_teardown(&h);
}

/* In the middle of a PIO read, and with a DMA request at the disk (which ends before the save). */
static void test_state_running(void)
{
    uint8_t data[1024];
    set_up();
    ide_cmd28(&h, 0x20, 2, 2);
    ide_wait(&h);
    ide_read_data(&h, data, 100);
    g_autoptr(GByteArray) saved = save_all();
    device_reset(h.ide);
    load_all(saved);
    g_assert_true(h.irq[0].level);
    ide_read_data(&h, data + 100, 924);
    g_assert_true(pattern_matches(data, 1024, 1024));
    g_assert_cmphex(ide_in(&h, 7), ==, DRDY | DSC);

    start_held_read();
    GThread *thread = g_thread_new("release", release_later, NULL);
    g_autoptr(GByteArray) in_flight = save_all();
    g_thread_join(thread);
    device_reset(h.ide);
    load_all(in_flight);
    g_assert_cmphex(ide_alt(&h), ==, DRDY | DSC);
    g_assert_cmphex(bm_in(&h, 2), ==, BM_INTR);
    g_assert_true(pattern_matches(ram(DATA_AT), 8 * 512, 4096));
    ide_teardown(&h);
}

/* Overwrites one byte of a record, outside the long buffer in its middle. */
static void corrupt(GByteArray *saved, GRand *rand)
{
    gint32 at = g_rand_int_range(rand, 0, 3000);
    if (at >= 1500)
        at = (gint32)saved->len - 3000 + at;
    saved->data[at] =
        g_rand_boolean(rand) ? (uint8_t)g_rand_int(rand) : (uint8_t)g_rand_int_range(rand, 0, 9);
}

/* Random bytes in a saved record are refused or harmless. */
static void test_state_hostile(void)
{
    static const uint16_t ports[] = {0x1f0, 0x1f1, 0x1f2, 0x1f6,  0x1f7, 0x3f6,
                                     0x170, 0x177, 0x376, 0xc000, 0xc002};
    GRand *rand = g_rand_new_with_seed(7);
    unsigned taken = 0;
    set_up();
    for (unsigned round = 0; round < 1500; round++) {
        for (guint i = 0; i < h.ide->children->len; i++) {
            Device *dev = g_ptr_array_index(h.ide->children, i);
            g_autoptr(GByteArray) saved = g_byte_array_new();
            GError *error = NULL;
            state_save(dev->cls->state, dev, saved);
            for (int k = g_rand_int_range(rand, 1, 4); k; k--)
                corrupt(saved, rand);
            const uint8_t *at = saved->data;
            if (state_load(dev->cls->state, dev, &at, at + saved->len, &error)) {
                taken++;
                continue;
            }
            g_assert_nonnull(error);
            g_clear_error(&error);
            device_reset(dev);
        }
        fuzz_ports(h.m, ports, G_N_ELEMENTS(ports), 100, round);
    }
    g_assert_cmpuint(taken, >, 500);
    g_rand_free(rand);
    ide_teardown(&h);
}

/* ---- Devices ---- */

static void test_devices(void)
{
    h.m = test_machine_new(4 << 20);
    drive_on("hda", image_new("hda", DISK_BYTES), NULL);
    drive_on("ro", image_new("ro", DISK_BYTES), "format=raw,readonly=on");
    drive_on("tiny", image_new("tiny", 0), NULL);
    drive_open("id=empty,media=cdrom");
    g_autofree char *no_bus = test_device_error(h.m, &ide_hd_class, "drive=hda");
    g_assert_nonnull(strstr(no_bus, "ide-hd"));
    ide_setup(&h, NULL);
    g_autofree char *no_drive = test_device_error(h.m, &ide_hd_class, NULL);
    g_assert_nonnull(strstr(no_drive, "drive"));
    g_autofree char *readonly = test_device_error(h.m, &ide_hd_class, "drive=ro");
    g_assert_nonnull(strstr(readonly, "read-only"));
    g_autofree char *tiny = test_device_error(h.m, &ide_hd_class, "drive=tiny");
    g_assert_nonnull(strstr(tiny, "empty"));
    g_autofree char *bus = test_device_error(h.m, &ide_hd_class, "drive=hda,bus=ide.7");
    g_assert_nonnull(strstr(bus, "ide.0, ide.1"));
    g_autofree char *serial =
        test_device_error(h.m, &ide_hd_class, "drive=hda,serial=123456789012345678901");
    g_assert_nonnull(strstr(serial, "20"));
    g_autofree char *chs = test_device_error(h.m, &ide_hd_class, "drive=hda,cyls=5");
    g_assert_nonnull(strstr(chs, "secs"));

    Device *hd = test_device(h.m, &ide_hd_class, "drive=hda,bus=ide.1,unit=1,serial=S");
    Device *cd = test_device(h.m, &ide_cd_class, "drive=empty");
    g_assert_true(ide_drive_find(h.m, "ide.1", 1) == hd);
    g_assert_true(ide_drive_find(h.m, "ide.0", 0) == cd);
    g_assert_null(ide_drive_find(h.m, "ide.0", 1));
    g_assert_true(ide_drive_is_cd(cd));
    unsigned c, heads, s;
    g_assert_false(ide_drive_geometry(cd, &c, &heads, &s));
    g_assert_true(ide_drive_geometry(hd, &c, &heads, &s));
    g_assert_cmpuint(c, ==, DISK_BYTES / 512 / 1008);
    g_assert_cmpuint(ide_drive_translation(hd), ==, IDE_TRANSLATION_NONE);
    g_autofree char *taken = test_device_error(h.m, &ide_cd_class, "bus=ide.1,unit=1");
    g_assert_nonnull(strstr(taken, "taken"));
    g_autofree char *twice = test_device_error(h.m, &ide_hd_class, "drive=hda");
    g_assert_nonnull(strstr(twice, "hda"));
    test_device(h.m, &ide_cd_class, NULL); /* a drive without a Blk */
    g_autoptr(GString) text = g_string_new(NULL);
    device_describe_tree(h.m, text);
    g_assert_nonnull(strstr(text->str, "ide.1 unit 1: hda: "));
    g_assert_nonnull(strstr(text->str, "no medium"));
    ide_teardown(&h);
}

static void test_fuzz(void)
{
    static const uint16_t ports[] = {0x1f0,  0x1f1,  0x1f2,  0x1f3, 0x1f4,  0x1f5,  0x1f6,
                                     0x1f7,  0x3f6,  0x170,  0x171, 0x172,  0x173,  0x174,
                                     0x175,  0x176,  0x177,  0x376, 0xc000, 0xc002, 0xc004,
                                     0xc008, 0xc00a, 0xc00c, 0x1f0, 0x1f7,  0x170,  0x177};
    set_up();
    fuzz_ports(h.m, ports, G_N_ELEMENTS(ports), 300000, 1);
    /* It still works. */
    blk_drain_all();
    for (h.channel = 0; h.channel < 2; h.channel++) {
        ide_control(&h, 4);
        ide_control(&h, 0);
        ide_wait(&h);
        expect_signature(0, h.channel);
    }
    h.channel = 0;
    ide_teardown(&h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ide/config", test_config);
    g_test_add_func("/ide/signatures", test_signatures);
    g_test_add_func("/ide/selection", test_selection);
    g_test_add_func("/ide/diagnostic", test_diagnostic);
    g_test_add_func("/ide/interrupts", test_interrupts);
    g_test_add_func("/ide/hob", test_hob);
    g_test_add_func("/ide/data-port", test_data_port);
    g_test_add_func("/ide/bm/registers", test_bm_registers);
    g_test_add_func("/ide/bm/sizes", test_bm_sizes);
    g_test_add_func("/ide/bm/scatter", test_bm_scatter);
    g_test_add_func("/ide/bm/hostile", test_bm_hostile);
    g_test_add_func("/ide/bm/off", test_bm_off);
    g_test_add_func("/ide/delayed", test_delayed);
    g_test_add_func("/ide/reset-in-flight", test_reset_in_flight);
    g_test_add_func("/ide/state/tables", test_state_tables);
    g_test_add_func("/ide/state/running", test_state_running);
    g_test_add_func("/ide/state/hostile", test_state_hostile);
    g_test_add_func("/ide/devices", test_devices);
    g_test_add_func("/ide/fuzz", test_fuzz);
    return g_test_run();
}
