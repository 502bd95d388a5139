/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy disk controller 82077AA in AT mode: chip core (Intel 82077AA datasheet, order 290166).
 *
 * fdc82077.c has the registers, the phases of a command and the commands that move no data;
 * fdc-data.c the ones that do.  Seeks take no time.  Two values after power-on are as on QEMU and
 * not as in the datasheet: the chip is out of reset (DOR 0Ch) at 500 kbit/s, and implied seek is
 * on.
 */
#ifndef VMRUN_HW_FLOPPY_FDC82077_H
#define VMRUN_HW_FLOPPY_FDC82077_H

#include "floppy.h"
#include "hw/core/machine.h"
#include "util/timer.h"

#define FDC_UNITS       4 /* that the chip can name; two have drives */
#define FDC_DRIVES      2
#define FDC_BUFFER_SIZE (64 * FLOPPY_SECTOR)

/* Main status register. */
enum { MSR_RQM = 0x80, MSR_DIO = 0x40, MSR_NON_DMA = 0x20, MSR_BUSY = 0x10 };
/* Status registers 0 to 3. */
enum {
    ST0_ABNORMAL = 0x40,
    ST0_INVALID = 0x80,
    ST0_READY_CHANGED = 0xc0,
    ST0_SEEK_END = 0x20,
    ST0_EQUIPMENT_CHECK = 0x10,
    ST1_END_OF_CYLINDER = 0x80,
    ST1_DATA_ERROR = 0x20,
    ST1_OVERRUN = 0x10,
    ST1_NO_DATA = 0x04,
    ST1_NOT_WRITABLE = 0x02,
    ST1_MISSING_MARK = 0x01,
    ST2_CONTROL_MARK = 0x40,
    ST2_DATA_ERROR = 0x20,
    ST2_WRONG_CYLINDER = 0x10,
    ST2_SCAN_HIT = 0x08,
    ST2_SCAN_NOT = 0x04,
    ST3_PROTECTED = 0x40,
    ST3_READY = 0x20,
    ST3_TRACK_0 = 0x10,
    ST3_TWO_SIDES = 0x08,
};
/* First byte of a data command. */
enum { COMMAND_MT = 0x80, COMMAND_MFM = 0x40, COMMAND_SK = 0x20 };

typedef enum {
    FDC_COMMAND, /* takes command and parameter bytes */
    FDC_EXECUTE, /* works, or waits for DMA or the disk */
    FDC_DATA,    /* non-DMA: the host moves bytes */
    FDC_RESULT,
    FDC_RESET, /* held in reset, or waits for the request of before it */
    FDC_PHASES
} FdcPhase;

typedef enum { FDC_NO_JOB, FDC_READ, FDC_WRITE, FDC_VERIFY, FDC_SCAN, FDC_FORMAT, FDC_JOBS } FdcJob;

typedef struct Fdc Fdc;

/* What the chip needs of its surroundings. */
typedef struct FdcHost {
    void (*irq)(void *opaque, bool level);
    /* DREQ. */
    void (*dma_request)(void *opaque, bool level);
    /* As IsaDmaOps, for the chip's channel. */
    bool (*dma_ready)(void *opaque, bool to_memory);
    uint32_t (*dma_transfer)(void *opaque, void *buf, uint32_t length, bool to_memory,
                             bool *terminal_count);
} FdcHost;

struct Fdc {
    Machine *machine;
    const FdcHost *host;
    void *opaque;
    LoopBh *stop_bh;
    BlkReq req;
    struct iovec iov;
    Blk *io_blk; /* whose request it is */
    bool queued, running, in_flight;

    FloppyDrive drive[FDC_DRIVES];
    uint8_t dor, tdr, dsr;
    uint8_t phase;
    bool irq;
    /* Command phase: fifo[0, filled) of `wanted`; result phase: fifo[next, filled). */
    uint8_t fifo[16], filled, wanted, next;
    uint8_t pcn[FDC_UNITS];
    uint8_t seek_status[FDC_UNITS]; /* ST0 for SENSE INTERRUPT STATUS; 0: none */
    uint8_t reset_senses;           /* statuses that a reset left to be sensed */
    uint8_t specify[2];
    uint8_t config, precompensation;
    uint8_t perpendicular;
    bool lock;
    uint8_t last_eot;
    /* The data command under way. */
    uint8_t job;
    uint8_t command;
    uint8_t unit, head, cylinder, sector; /* sector that comes next */
    uint8_t last_head;                    /* head of the last sector that was done */
    uint8_t eot, step;                    /* step: of SCAN */
    uint8_t st0, st1, st2;
    bool dma, tc;
    uint16_t left;       /* sectors to go by EOT */
    uint8_t run;         /* sectors in the buffer */
    uint16_t pos, len;   /* window of the buffer that host and chip exchange */
    uint64_t format_map; /* FORMAT: sectors still to be filled, bit 0 is sector 1 */
    uint8_t *buf;
    /* The request, so that it can be made again. */
    bool retry;
    bool io_write;
    uint16_t io_at, io_bytes; /* in buf */
    uint64_t io_offset;       /* on the medium */
    Timer retry_timer, dma_timer;
};

extern const StateDesc fdc_state;

/* The drives are initialised by the caller. */
void fdc_init(Fdc *fdc, Machine *machine, const FdcHost *host, void *opaque);
void fdc_fini(Fdc *fdc);
/* After state_reset(). */
void fdc_reset(Fdc *fdc);
/* Waits for the request under way. */
void fdc_wait(Fdc *fdc);
/* The drive has another medium, or none. */
void fdc_medium_changed(Fdc *fdc, unsigned unit);
/* Registers 2 (DOR) to 5 (FIFO) and 7 (DIR, CCR). */
uint8_t fdc_read(Fdc *fdc, unsigned reg);
void fdc_write(Fdc *fdc, unsigned reg, uint8_t value);

/* ---- Between the two halves ---- */
void fdc_set_irq(Fdc *fdc, bool level);
/* Result phase with count bytes in fifo; irq: with an interrupt. */
void fdc_result(Fdc *fdc, unsigned count, bool irq);
/* A drive's head and the chip's idea of it. */
FloppyDrive *fdc_drive(Fdc *fdc, unsigned unit); /* NULL: none there */
void fdc_seek_to(Fdc *fdc, unsigned unit, unsigned cylinder);
bool fdc_implied_seek(const Fdc *fdc);
/* Ends a reset unless the chip is held in it or a request is under way. */
void fdc_reset_end(Fdc *fdc);
/* Commands that read, write, verify, scan and format; parameters are in fifo. */
void fdc_start_transfer(Fdc *fdc, FdcJob job);
void fdc_start_read_track(Fdc *fdc);
void fdc_start_format(Fdc *fdc);
void fdc_read_id(Fdc *fdc);
/* Non-DMA data. */
uint8_t fdc_data_read(Fdc *fdc);
void fdc_data_write(Fdc *fdc, uint8_t value);
/* Stops the job without a result. */
void fdc_drop_job(Fdc *fdc);
/* Part of the state's checks. */
bool fdc_job_valid(const Fdc *fdc);

#endif
