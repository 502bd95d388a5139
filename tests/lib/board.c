/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole PC without a CPU, for tests. */
#include "board.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/block.h"
#include "chardev/chardev.h"
#include "hw/pc/pc.h"
#include "net/net.h"
#include "util/timer.h"

#define DISK_SIZE (4u << 20)

static char *temp_file(const char *name, uint64_t size)
{
    g_autofree char *pattern = g_strdup_printf("%s/vmrun-fuzz-%s-XXXXXX", g_get_tmp_dir(), name);
    int fd = mkstemp(pattern);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
        perror(pattern);
        exit(1);
    }
    close(fd);
    return g_steal_pointer(&pattern);
}

static Blk *drive(const char *id, const char *media, const char *file)
{
    GError *error = NULL;
    g_autoptr(Options) options = options_new("-drive");
    options_set(options, "id", id);
    options_set(options, "media", media);
    options_set(options, "format", "raw");
    options_set(options, "file", file);
    Blk *blk = blk_open(options, &error);
    if (!blk) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
    return blk;
}

/* A card of each model, all on one hub: what one sends, the others get. */
static GPtrArray *make_cards(void)
{
    static const char *const models[] = {"e1000", "rtl8139", "ne2k_pci", "ne2k_isa"};
    GError *error = NULL;
    GPtrArray *cards = g_ptr_array_new_with_free_func((GDestroyNotify)options_free);

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        g_autofree char *id = g_strdup_printf("port%u", i);
        g_autoptr(Options) port = options_new("-netdev");
        options_set(port, "type", "hubport");
        options_set(port, "hubid", "0");
        options_set(port, "id", id);
        if (!net_open(port, &error)) {
            fprintf(stderr, "%s\n", error->message);
            exit(1);
        }
        Options *card = options_new("-device");
        options_set(card, "driver", models[i]);
        options_set(card, "netdev", id);
        if (strcmp(models[i], "ne2k_isa"))
            options_set(card, "romfile", ""); /* needs no package */
        if (i == 0)
            options_set(card, "bootindex", "7");
        g_ptr_array_add(cards, card);
    }
    return cards;
}

static PcConfig config; /* the board keeps a pointer to it */

Machine *board_new(uint64_t ram_size)
{
    GError *error = NULL;
    loop_lock(loop_main());
    vclock_set_manual(true);
    Machine *machine = machine_new();
    g_autofree char *disk = temp_file("disk", DISK_SIZE), *cd = temp_file("cd", 1 << 20);
    g_autofree char *floppy = temp_file("floppy", 1440 << 10), *bios = temp_file("bios", 65536);
    config = (PcConfig){.smp = {1, 1, 1},
                        .ram_size = ram_size,
                        .bios = bios,
                        .boot = {.order = "cad", .splash_ms = -1, .reboot_ms = -1},
                        .vga = PC_VGA_STD,
                        .rtc = {.clock = VM_CLOCK_VIRTUAL, .base = PC_RTC_DATE}};
    config.ide[0] = (PcDrive){.blk = drive("hd", "disk", disk), .bootindex = -1};
    config.ide[2] = (PcDrive){.blk = drive("cd", "cdrom", cd), .bootindex = -1};
    config.floppy[0] = (PcDrive){.blk = drive("fd", "floppy", floppy), .bootindex = -1};
    for (unsigned i = 0; i < PC_SERIALS; i++) {
        g_autofree char *id = g_strdup_printf("serial%u", i);
        config.serial[i] = chr_open("-serial", "null", id, &error);
    }
    config.devices = make_cards();
    config.parallel[0] = chr_open("-parallel", "null", "parallel0", &error);
    if (!pc_create(machine, &config, &error)) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
    unlink(disk);
    unlink(cd);
    unlink(floppy);
    unlink(bios);
    machine_start(machine, true);
    return machine;
}

void board_free(Machine *machine)
{
    blk_drain_all();
    machine_free(machine);
    blk_close_all();
    chr_close_all();
    net_close_all();
    g_clear_pointer(&config.devices, g_ptr_array_unref);
    vclock_stop();
    loop_unlock(loop_main());
}
