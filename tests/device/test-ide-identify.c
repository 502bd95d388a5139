/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IDENTIFY DEVICE: what it tells, disks of all sizes, properties. */
#include "test-ide-common.h"

#define DISK_BYTES   (8u << 20)
#define DISK_SECTORS (DISK_BYTES / 512)

static IdeHost h;

static void set_up_with(uint64_t bytes, const char *props)
{
    h.m = test_machine_new(4 << 20);
    drive_on("hda", image_new("hda", bytes), NULL);
    ide_setup(&h, NULL);
    g_autofree char *all = g_strdup_printf("drive=hda%s%s", props ? "," : "", props ? props : "");
    test_device(h.m, &ide_hd_class, all);
    ide_select(&h, 0);
}

static void expect_text(const uint16_t *words, unsigned first, unsigned count, const char *text)
{
    g_autofree char *padded = g_strdup_printf("%-*s", (int)count * 2, text);
    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpint(words[first + i] >> 8, ==, padded[i * 2]);
        g_assert_cmpint(words[first + i] & 0xff, ==, padded[i * 2 + 1]);
    }
}

static void test_identify(void)
{
    uint16_t w[256];
    uint8_t sum = 0;
    set_up_with(DISK_BYTES, "serial=abc,ver=v9,wwn=0x5000c50012345678,rotation_rate=1");
    ide_identify(&h, w);
    for (unsigned i = 0; i < 256; i++)
        sum = (uint8_t)(sum + w[i] + (w[i] >> 8));
    g_assert_cmphex(sum, ==, 0);
    g_assert_cmphex(w[255] & 0xff, ==, 0xa5);
    g_assert_cmphex(w[0], ==, 0x0040);
    expect_text(w, 10, 10, "abc");
    expect_text(w, 23, 4, "v9");
    expect_text(w, 27, 20, "VMRUN HARDDISK");
    g_assert_cmpuint(w[1], ==, DISK_SECTORS / 1008);
    g_assert_cmpuint(w[3], ==, 16);
    g_assert_cmpuint(w[6], ==, 63);
    g_assert_cmphex(w[47], ==, 0x8010);
    g_assert_cmphex(w[49], ==, 0x0f00);
    g_assert_cmphex(w[53], ==, 7);
    g_assert_cmpuint(w[57] | w[58] << 16, ==, w[54] * w[55] * w[56]);
    g_assert_cmphex(w[59], ==, 0x0110);
    g_assert_cmpuint(w[60] | w[61] << 16, ==, DISK_SECTORS);
    g_assert_cmpuint(w[100] | w[101] << 16, ==, DISK_SECTORS);
    g_assert_cmphex(w[63], ==, 0x0007);
    g_assert_cmphex(w[88], ==, 0x203f); /* UDMA 5 selected */
    g_assert_cmphex(w[82], ==, 0x4068);
    g_assert_cmphex(w[83], ==, 0x7400);
    g_assert_cmphex(w[84], ==, 0x4140);
    g_assert_cmphex(w[85], ==, 0x4068);
    g_assert_cmphex(w[86], ==, 0x3400);
    g_assert_cmphex(w[93] & 0xe001, ==, 0x6001);
    g_assert_cmphex(w[108], ==, 0x5000);
    g_assert_cmphex(w[111], ==, 0x5678);
    g_assert_cmphex(w[169], ==, 1);
    g_assert_cmphex(w[217], ==, 1);
    ide_teardown(&h);
}

/* Sizes at the limits of CHS and LBA28. */
static void test_identify_sizes(void)
{
    static const struct {
        uint64_t sectors;
        unsigned cylinders, heads, per_track;
        uint32_t lba28;
    } rows[] = {
        {1, 1, 1, 1, 1},
        {100, 1, 1, 63, 100},
        {16383ULL * 1008 + 1, 16383, 16, 63, 16383 * 1008 + 1},
        {0x0fffffff, 16383, 16, 63, 0x0fffffff},
        {0x10000000, 16383, 16, 63, 0x0fffffff},
        {0x123456789, 16383, 16, 63, 0x0fffffff},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint16_t w[256];
        set_up_with(rows[i].sectors * 512, NULL);
        ide_identify(&h, w);
        g_assert_cmpuint(w[1], ==, rows[i].cylinders);
        g_assert_cmpuint(w[3], ==, rows[i].heads);
        g_assert_cmpuint(w[6], ==, rows[i].per_track);
        g_assert_cmpuint(w[60] | (uint32_t)w[61] << 16, ==, rows[i].lba28);
        uint64_t lba48 = w[100] | (uint64_t)w[101] << 16 | (uint64_t)w[102] << 32;
        g_assert_cmpuint(lba48, ==, rows[i].sectors);
        expect_text(w, 10, 10, "QM00001");
        ide_out(&h, 7, 0xf8); /* READ NATIVE MAX ADDRESS */
        ide_expect_ok(&h);
        uint32_t last = ide_in(&h, 3) | ide_in(&h, 4) << 8 | ide_in(&h, 5) << 16 |
                        (uint32_t)(ide_in(&h, 6) & 15) << 24;
        g_assert_cmpuint(last, ==, MIN(rows[i].sectors - 1, 0x0fffffff));
        ide_cmd48(&h, 0x27, 0, 0); /* EXT */
        ide_expect_ok(&h);
        g_assert_cmphex(ide_in(&h, 3), ==, (uint8_t)(rows[i].sectors - 1));
        ide_control(&h, 0x80);
        g_assert_cmphex(ide_in(&h, 4), ==, (uint8_t)((rows[i].sectors - 1) >> 32));
        ide_teardown(&h);
    }
}

static void test_geometry_props(void)
{
    uint16_t w[256];
    set_up_with(DISK_BYTES, "cyls=32,heads=8,secs=64,model=My Disk");
    ide_identify(&h, w);
    g_assert_cmpuint(w[1], ==, 32);
    g_assert_cmpuint(w[3], ==, 8);
    g_assert_cmpuint(w[6], ==, 64);
    expect_text(w, 27, 20, "My Disk");
    ide_teardown(&h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/identify/contents", test_identify);
    g_test_add_func("/identify/sizes", test_identify_sizes);
    g_test_add_func("/identify/geometry", test_geometry_props);
    return g_test_run();
}
