/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 82077AA under random accesses, random commands and damaged snapshots. */
#include "test-fdc-common.h"

#include "util/timer.h"

static const uint16_t ports[] = {0x3f0, 0x3f1, 0x3f2, 0x3f3, 0x3f4, 0x3f5,
                                 0x3f5, 0x3f5, 0x3f5, 0x3f7, 0x0a,  0x0b};

static void test_fuzz(void)
{
    set_up();
    program_dma(0x10000, true);
    fuzz_ports(m, ports, G_N_ELEMENTS(ports), 300000, 3);
    blk_drain_all();
    outb(m, DOR, 0x08);
    outb(m, DOR, 0x0c);
    g_assert_cmphex(inb(m, MSR), ==, RQM);
    tear_down();
}

/* Random commands that make sense so far that they move data. */
static void test_fuzz_commands(void)
{
    static const uint8_t codes[] = {0xe6, 0x66, 0xc5, 0x45, 0xf6, 0x62, 0xcc, 0xc9,
                                    0xd1, 0xd9, 0xdd, 0x4d, 0x4a, 0x0f, 0xcf, 0x8f};
    GRand *rand = g_rand_new_with_seed(5);
    set_up();
    for (unsigned round = 0; round < 20000; round++) {
        outb(m, DOR, g_rand_boolean(rand) ? 0x0c : 0x04);
        program_dma((uint32_t)g_rand_int_range(rand, 1, 0x10000), g_rand_boolean(rand));
        uint8_t bytes[9];
        for (unsigned i = 0; i < 9; i++)
            bytes[i] = (uint8_t)(g_rand_int(rand) >> (g_rand_int(rand) % 32));
        bytes[0] = codes[g_rand_int_range(rand, 0, sizeof(codes))];
        if (g_rand_int(rand) % 4) {
            bytes[3] = bytes[1] >> 2 & 1;
            bytes[5] = 2;
        }
        for (unsigned i = 0; i < 9 && inb(m, MSR) == (i ? RQM | CB : RQM); i++)
            outb(m, FIFO, bytes[i]);
        for (unsigned i = 0; i < 3000; i++) {
            uint8_t msr = inb(m, MSR);
            if (msr == RQM)
                break;
            if (!(msr & RQM))
                vclock_step(NS_PER_SEC);
            if (!(msr & RQM))
                blk_drain_all();
            else if (msr & DIO)
                inb(m, FIFO);
            else
                outb(m, FIFO, (uint8_t)i);
        }
        outb(m, MSR, 0x80);
        if (round % 2000 == 1000)
            blk_eject(blk, true, NULL);
        if (round % 2000 == 1999)
            blk_change(blk, path, "raw", false, NULL);
    }
    g_rand_free(rand);
    tear_down();
}

static void test_state_hostile(void)
{
    GRand *rand = g_rand_new_with_seed(11);
    set_up();
    for (unsigned round = 0; round < 4000; round++) {
        g_autoptr(GByteArray) saved = g_byte_array_new();
        GError *error = NULL;
        if (round % 4 == 0) {
            device_reset(fdc);
            outb(m, DOR, round & 8 ? 0x04 : 0x0c);
            command(round & 16 ? 0xe6 : 0xc5, 0, 3, 0, 2, 18);
        }
        state_save(fdc->cls->state, fdc, saved);
        for (int k = g_rand_int_range(rand, 1, 3); k; k--) {
            gint32 at = g_rand_int_range(rand, 0, 2000);
            at = at < 1300 ? at : (gint32)saved->len - 2000 + at;
            saved->data[at] = (uint8_t)(g_rand_int(rand) >> (g_rand_int(rand) % 32));
        }
        const uint8_t *at = saved->data;
        if (!state_load(fdc->cls->state, fdc, &at, at + saved->len, &error)) {
            g_assert_nonnull(error);
            g_clear_error(&error);
            device_reset(fdc);
        }
        fuzz_ports(m, ports, G_N_ELEMENTS(ports), 100, round);
    }
    g_rand_free(rand);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fdc/fuzz/ports", test_fuzz);
    g_test_add_func("/fdc/fuzz/commands", test_fuzz_commands);
    g_test_add_func("/fdc/fuzz/state", test_state_hostile);
    return g_test_run();
}
