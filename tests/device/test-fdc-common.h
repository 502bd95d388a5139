/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine with the floppy controller and the 8237, and a floppy host in a few verbs. */
#ifndef VMRUN_TESTS_DEVICE_TEST_FDC_COMMON_H
#define VMRUN_TESTS_DEVICE_TEST_FDC_COMMON_H

#include "hw/floppy/fdc.h"
#include "test-ide-common.h"

enum { DOR = 0x3f2, TDR, MSR, FIFO, DIR_CCR = 0x3f7 };
enum { RQM = 0x80, DIO = 0x40, NON_DMA = 0x20, CB = 0x10 };
enum { RATE_500K, RATE_300K, RATE_250K, RATE_1M };

#define BYTES_1440K (2880u * 512)
#define BUFFER      0x20000u /* guest memory for DMA */

extern Machine *m;
extern Device *fdc;
extern Blk *blk;         /* of set_up_with() */
extern const char *path; /* its file */
extern TestIrq irq;

/* The controller with properties; m stands already. */
void set_up_props(const char *props);
/* Drive A with an image of the pattern; options of its drive, or NULL. */
void set_up_with(uint64_t bytes, const char *options);
void set_up(void);
void tear_down(void);

/* A byte to or from the FIFO, when the main status allows. */
void send(uint8_t byte);
uint8_t receive(void);
void send_all(const uint8_t *bytes, unsigned count);
#define SEND(...) send_all((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
bool has_result(void *opaque);
/* The seven bytes of a result, with the interrupt. */
void result(uint8_t *bytes);
void expect_result(uint8_t st0, uint8_t st1, uint8_t st2, uint8_t c, uint8_t head, uint8_t r);
/* SENSE INTERRUPT STATUS. */
void sense(uint8_t st0, uint8_t pcn);
void seek(unsigned unit, uint8_t cylinder);
/* Channel 2 for count bytes at BUFFER; to memory or from it. */
void program_dma(uint32_t count, bool to_memory);
/* A data command of 512-byte sectors. */
void command(uint8_t code, unsigned unit, uint8_t c, uint8_t head, uint8_t r, uint8_t eot);
uint8_t *ram(uint32_t at);
/* Byte offset of a sector of a two-sided diskette. */
uint64_t at_chs(unsigned spt, unsigned c, unsigned head, unsigned r);

#endif
