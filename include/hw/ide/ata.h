/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ATA core: a channel (the cable with one or two drives) and what all drives have in common.
 *
 * Follows AT Attachment 8 - ATA/ATAPI Command Set (ATA8-ACS) and ATA8-APT for the parallel
 * transport. The core knows registers, interrupts, PIO and how a drive waits for DMA; a host
 * controller gives it ports, an interrupt line and a way to guest memory (AtaHostOps); a drive
 * model gives it commands (AtaDriveOps: ata-disk.c, atapi.c).
 *
 * A drive has at most one request at the block layer.  A reset never waits for it: the drive stays
 * busy until the request comes back, as a real drive does, so guest memory is not touched after the
 * guest saw BSY clear.  Saving state waits for it.  Main lock held throughout.
 */
#ifndef VMRUN_HW_IDE_ATA_H
#define VMRUN_HW_IDE_ATA_H

#include "block/block.h"
#include "hw/core/machine.h"
#include "util/timer.h"

/* Command block registers, by offset.  Reads of 1 give Error and of 7 Status. */
enum {
    ATA_REG_DATA,
    ATA_REG_FEATURE,
    ATA_REG_COUNT,
    ATA_REG_LBA_LOW,
    ATA_REG_LBA_MID,
    ATA_REG_LBA_HIGH,
    ATA_REG_DEVICE,
    ATA_REG_COMMAND,
    ATA_REG_ERROR = ATA_REG_FEATURE,
    ATA_REG_STATUS = ATA_REG_COMMAND,
};
/* Status register. */
enum {
    ATA_SR_ERR = 0x01,
    ATA_SR_DRQ = 0x08,
    ATA_SR_DSC = 0x10,
    ATA_SR_DF = 0x20,
    ATA_SR_DRDY = 0x40,
    ATA_SR_BSY = 0x80,
};
/* Error register. */
enum {
    ATA_ER_ABRT = 0x04,
    ATA_ER_IDNF = 0x10,
    ATA_ER_UNC = 0x40,
    ATA_ER_ICRC = 0x80,
};
/* Device and Device Control registers. */
enum {
    ATA_DEV_LBA = 0x40,
    ATA_DEV_UNIT = 0x10,
    ATA_CTL_NIEN = 0x02,
    ATA_CTL_SRST = 0x04,
    ATA_CTL_HOB = 0x80,
};

#define ATA_SECTOR         512u
#define ATA_BUFFER_SECTORS 256u
#define ATA_BUFFER_SIZE    (ATA_BUFFER_SECTORS * ATA_SECTOR)

typedef struct AtaChannel AtaChannel;
typedef struct AtaDrive AtaDrive;

typedef enum {
    ATA_DMA_OK,
    ATA_DMA_SHORT, /* the descriptors end before the data: the engine has stopped */
    ATA_DMA_FAULT, /* a descriptor or its memory is not RAM: the engine has stopped with an error */
    ATA_DMA_OFF,   /* the controller may not use the bus */
} AtaDmaResult;

/* A host controller behind a channel.  All are needed. */
typedef struct AtaHostOps {
    /* INTRQ as the host sees it (selected drive, nIEN) changed. */
    void (*intrq)(void *opaque, bool level);
    /* Whether the DMA engine runs: a drive that wants to transfer may begin. */
    bool (*dma_running)(void *opaque);
    /* Appends to iov (of struct iovec) the guest memory of the transfer's bytes [skip, skip +
     * bytes), all of it or nothing. */
    AtaDmaResult (*dma_map)(void *opaque, bool to_memory, uint64_t skip, uint64_t bytes,
                            GArray *iov);
    /* The piece of guest memory at host has been written. */
    void (*dma_written)(void *opaque, const void *host, uint64_t bytes);
    /* The drive's transfer is over; called before the interrupt. */
    void (*dma_end)(void *opaque);
} AtaHostOps;

/* A drive model.  All are needed. */
typedef struct AtaDriveOps {
    bool packet;         /* ATAPI: signature, DEVICE RESET */
    uint8_t idle_status; /* Status after a reset */
    /* Executes a command: the task file is latched, Status is DRDY|DSC, Error 0, INTRQ low. */
    void (*command)(AtaDrive *drive, uint8_t command);
    /* The host has read or written the whole PIO window. */
    void (*pio_done)(AtaDrive *drive);
    /* Guest memory for the transfer of ata_dma_begin() is mapped. */
    void (*dma_ready)(AtaDrive *drive);
    /* A request of ata_submit_*() is done: 0 or negative errno. */
    void (*io_done)(AtaDrive *drive, int ret);
    /* Software reset, DEVICE RESET (hard false), or power-on (hard). */
    void (*reset)(AtaDrive *drive, bool hard);
} AtaDriveOps;

typedef enum {
    ATA_IDLE,
    ATA_PIO_IN,   /* buf[pos, end) goes to the host */
    ATA_PIO_OUT,  /* buf[pos, end) comes from the host */
    ATA_DMA_WAIT, /* wants the DMA engine to run */
    ATA_BUSY,     /* a request is under way, or waits for the machine to go on */
    ATA_RESET,    /* SRST is set, or the request of before the reset is still under way */
    ATA_ASLEEP,   /* only a reset wakes it */
    ATA_PHASES
} AtaPhase;

/* now: as last written; before: what the register held until then (HOB, 48-bit commands). */
typedef struct AtaTaskFile {
    uint8_t now[7], before[7]; /* by ATA_REG_FEATURE ... ATA_REG_DEVICE */
    uint8_t status, error;
} AtaTaskFile;

struct AtaDrive {
    /* Wiring, by ata_drive_init(). */
    const AtaDriveOps *ops;
    Machine *machine;
    Blk *blk; /* NULL: an optical drive that never had a medium */
    AtaChannel *channel;
    unsigned unit;
    LoopBh *stop_bh; /* stops the machine after an error (werror=stop) */
    /* The request at the block layer. */
    BlkReq req;
    struct iovec buf_iov;
    GArray *dma_iov;    /* of struct iovec: the rest of the mapped transfer */
    guint dma_next;     /* first entry not yet done */
    unsigned dma_count; /* entries of the request under way */
    uint64_t dma_cut;   /* bytes of the last of them that wait for the next request */
    bool queued, running, in_flight;

    AtaTaskFile tf;
    uint8_t command;
    bool intrq; /* interrupt pending in this drive */
    uint8_t phase;
    uint32_t pos, end; /* the PIO window */
    uint8_t *buf;      /* ATA_BUFFER_SIZE bytes */
    /* What the request asks for, so that it can be made again after an error or a restore. */
    uint8_t io_op;
    bool io_dma;
    bool retry; /* waits for the machine to go on */
    uint32_t io_flags;
    uint32_t io_buf; /* offset in buf */
    uint64_t io_offset, io_bytes;
    bool dma_to_memory;
    uint64_t dma_bytes, dma_done; /* of the command's whole transfer */
    Timer retry_timer;
};

struct AtaChannel {
    const AtaHostOps *ops;
    void *opaque;
    const char *name; /* "ide.0" */
    AtaDrive *drive[2];

    uint8_t selected; /* 0 or 1 */
    uint8_t control;
    bool intrq;
};

extern const StateDesc ata_channel_state, ata_drive_state;

/* ---- Host controller side ---- */
void ata_channel_init(AtaChannel *channel, const char *name, const AtaHostOps *ops, void *opaque);
/* Takes its drives off. */
void ata_channel_fini(AtaChannel *channel);
/* After state_reset(): the interrupt line low.  Drives are reset as devices of their own. */
void ata_channel_reset(AtaChannel *channel);
/* The data port; size 1, 2 or 4 bytes. */
uint32_t ata_data_read(AtaChannel *channel, unsigned size);
void ata_data_write(AtaChannel *channel, uint32_t value, unsigned size);
/* Command block registers 1 to 7, Alternate Status and Device Control. */
uint8_t ata_read(AtaChannel *channel, unsigned reg);
void ata_write(AtaChannel *channel, unsigned reg, uint8_t value);
uint8_t ata_read_alt_status(AtaChannel *channel);
void ata_write_control(AtaChannel *channel, uint8_t value);
/* The DMA engine was started. */
void ata_dma_started(AtaChannel *channel);
/* Whether a DMA request of one of its drives is at the block layer. */
bool ata_dma_in_flight(const AtaChannel *channel);

/* ---- Drive model side ---- */
/* Prepares drive; blk may be NULL. */
void ata_drive_init(AtaDrive *drive, Machine *machine, const AtaDriveOps *ops, Blk *blk);
/* Cancels and waits for what is under way, leaves the channel, frees. */
void ata_drive_fini(AtaDrive *drive);
/* After state_reset(): waits for what is under way; power-on state. */
void ata_drive_reset(AtaDrive *drive);
/* Waits until its request is done.  A controller's pre_save() calls it for its drives, so that the
 * interrupt of a request that ends now is part of what is saved. */
void ata_drive_wait(AtaDrive *drive);
/* An error if the place is taken. */
bool ata_drive_attach(AtaDrive *drive, AtaChannel *channel, unsigned unit, GError **error);

/* Puts the signature of 9.12 in the task file. */
void ata_set_signature(AtaDrive *drive);
/* Ends a command: Status DRDY|DSC, and an interrupt. */
void ata_done(AtaDrive *drive);
/* The same after a PIO-in command, which ends without one. */
void ata_done_silent(AtaDrive *drive);
/* Ends a command with bits in Error, and an interrupt. */
void ata_fail(AtaDrive *drive, uint8_t error);
/* ata_fail(ATA_ER_ABRT): the command or its parameters are not supported. */
void ata_abort(AtaDrive *drive);
/* Asks the host to move buf[start, start + length); irq: with an interrupt. */
void ata_pio(AtaDrive *drive, bool in, uint32_t start, uint32_t length, bool irq);
/* Reads or writes sectors between the disk and buf[buf_offset...], io_done() follows. */
void ata_submit_buf(AtaDrive *drive, BlkOp op, unsigned flags, uint64_t offset, uint64_t bytes,
                    uint32_t buf_offset);
/* Waits for the DMA engine, then dma_ready() or an error to the guest. */
void ata_dma_begin(AtaDrive *drive, bool to_memory, uint64_t bytes);
/* Reads or writes the next part of the mapped transfer, at most bytes, at a disk offset; both are
 * multiples of 512.  io_done() follows; io_bytes says how much it was. */
void ata_submit_dma(AtaDrive *drive, BlkOp op, unsigned flags, uint64_t offset, uint64_t bytes);
/* Moves length bytes of the mapped transfer to or from buf[buf_offset...]. */
void ata_dma_copy(AtaDrive *drive, uint32_t buf_offset, uint32_t length);
/* The transfer is over, whole or not. */
void ata_dma_end(AtaDrive *drive);

#endif
