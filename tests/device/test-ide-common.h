/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For the tests of disk controllers: images in a temporary folder opened by the real block layer,
 * faults and delays of the host's disk, and an IDE host in a few verbs.
 *
 * The test program replaces libc's preadv() and its kin, which the block layer calls, by versions
 * that fail or wait when asked to.
 */
#ifndef VMRUN_TESTS_DEVICE_TEST_IDE_COMMON_H
#define VMRUN_TESTS_DEVICE_TEST_IDE_COMMON_H

#include "accel/test.h"
#include "block/block.h"
#include "hw/registry.h"
#include "util/bytes.h"

/* ---- Images ---- */
/* Byte i of sector s of every image that image_new() makes. */
uint8_t pattern_byte(uint64_t offset);
bool pattern_matches(const uint8_t *data, uint64_t offset, size_t bytes);
/* A file of the pattern; returns its path, which lives until images_free(). */
const char *image_new(const char *name, uint64_t bytes);
/* Reads the file itself. */
void image_read(const char *path, uint64_t offset, void *buf, size_t bytes);
/* blk_open() with these options; fails the test on error. */
Blk *drive_open(const char *options);
Blk *drive_on(const char *id, const char *path, const char *more);
/* Closes drives and removes files; after test_machine_free(). */
void images_free(void);

/* ---- Faults ---- */
/* Reads (writes) that touch [from, to) of any file fail with error; error 0: none. */
void fault_read(int error, uint64_t from, uint64_t to);
void fault_write(int error, uint64_t from, uint64_t to);
void fault_flush(int error);
/* While on, requests do not end: they wait in a thread. */
void fault_hold(bool on);
unsigned flush_count(void);

/* ---- An IDE host ---- */
typedef struct IdeHost {
    Machine *m;
    Device *ide;
    unsigned channel; /* that the verbs below use */
    TestIrq irq[2];
} IdeHost;

#define PRD_AT  0x10000u  /* where ide_prd() builds its table */
#define DATA_AT 0x100000u /* guest memory for transfers */
#define EOT     0x80000000u

enum { BSY = 0x80, DRDY = 0x40, DF = 0x20, DSC = 0x10, DRQ = 0x08, ERR = 0x01 };
enum { BM_ACTIVE = 1, BM_ERROR = 2, BM_INTR = 4 };

/* i440FX and piix3-ide with these properties ("drive0=a,drive2=cd"), I/O and bus master on. 64 MiB.
 */
void ide_setup(IdeHost *host, const char *props);
void ide_teardown(IdeHost *host);
uint16_t ide_port(const IdeHost *host, unsigned reg);
uint8_t ide_in(IdeHost *host, unsigned reg);
void ide_out(IdeHost *host, unsigned reg, uint8_t value);
uint8_t ide_alt(IdeHost *host);
void ide_control(IdeHost *host, uint8_t value);
void ide_select(IdeHost *host, unsigned unit);
/* Bus master registers of the channel. */
uint8_t bm_in(IdeHost *host, unsigned reg);
void bm_out(IdeHost *host, unsigned reg, uint8_t value);
/* The channel's interrupt came since the last call. */
bool ide_took_irq(IdeHost *host);

/* LBA28 and LBA48 commands on the selected unit. */
void ide_cmd28(IdeHost *host, uint8_t command, uint32_t lba, uint8_t count);
void ide_cmd48(IdeHost *host, uint8_t command, uint64_t lba, uint16_t count);
/* Waits until BSY is clear; returns Status, read through Alternate Status. */
uint8_t ide_wait(IdeHost *host);
/* Reads or writes words at the data port. */
void ide_read_data(IdeHost *host, void *buf, size_t bytes);
void ide_write_data(IdeHost *host, const void *buf, size_t bytes);
/* The table of count (address, length | flags) pairs in guest memory, and BMIDTP. */
void ide_prd(IdeHost *host, const uint32_t *pairs, unsigned count);
/* Starts the engine, waits for the drive, stops it; returns BMISTA of before the stop. */
uint8_t ide_run_dma(IdeHost *host, bool to_memory);

/* IDENTIFY DEVICE into 256 words, with its interrupt. */
void ide_identify(IdeHost *host, uint16_t *words);
/* The command ends well and interrupts. */
void ide_expect_ok(IdeHost *host);

/* ---- Packets ---- */
/* Sends a packet (zeros behind length); the drive then has data, is done, or works. */
void atapi_packet(IdeHost *host, const uint8_t *cdb, unsigned length, uint16_t limit, bool dma);
/* Takes data by PIO in blocks of up to limit; returns how much came before the end. */
size_t atapi_take(IdeHost *host, uint8_t *data, size_t room, uint16_t limit);
/* All 2352 bytes of the mode 1 sector that holds the pattern: header, EDC, parity. */
void cd_check_raw(const uint8_t *sector, uint32_t lba);

/* count random accesses of every size at these ports. */
void fuzz_ports(Machine *m, const uint16_t *ports, unsigned port_count, unsigned count,
                unsigned seed);

#endif
