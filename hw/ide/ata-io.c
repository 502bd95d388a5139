/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The data side of an ATA drive: its one request at the block layer, and DMA to guest memory.
 *
 * A request that fails under werror=stop (rerror=stop) is kept as io_* fields and made again when
 * the machine goes on: the retry timer runs on the virtual clock, which stands until then.  A DMA
 * transfer is mapped anew from the controller's descriptors, past what is done.
 */
#include <string.h>

#include "ata_private.h"
#include "util/error.h"
#include "util/log.h"

/* What preadv() takes at once. */
#define IOV_LIMIT 1024u

static struct iovec *dma_piece(const AtaDrive *drive, guint i)
{
    return &g_array_index(drive->dma_iov, struct iovec, i);
}

/* ---- The request ---- */

static void mark_written(AtaDrive *drive)
{
    AtaChannel *channel = drive->channel;
    for (unsigned i = 0; i < drive->dma_count; i++) {
        struct iovec *piece = dma_piece(drive, drive->dma_next + i);
        channel->ops->dma_written(channel->opaque, piece->iov_base, piece->iov_len);
    }
}

/* Steps over the pieces of guest memory that the request has filled or read. */
static void dma_advance(AtaDrive *drive)
{
    drive->dma_next += drive->dma_count;
    if (drive->dma_cut) {
        struct iovec *piece = dma_piece(drive, --drive->dma_next);
        piece->iov_base = (uint8_t *)piece->iov_base + piece->iov_len;
        piece->iov_len = drive->dma_cut;
    }
    drive->dma_count = 0;
    drive->dma_cut = 0;
    drive->dma_done += drive->io_bytes;
}

static bool io_writes(const AtaDrive *drive)
{
    return drive->io_op != BLK_READ;
}

static void complete(AtaDrive *drive, int ret)
{
    if (drive->io_dma && drive->dma_to_memory)
        mark_written(drive); /* a failed read may have filled a part */
    if (drive->phase == ATA_RESET) {
        ata_reset_end(drive);
        return;
    }
    if (ret < 0) {
        BlkErrorAction action = blk_error_action(drive->blk, io_writes(drive), -ret);
        if (action == BLK_ERROR_STOP) {
            drive->retry = true;
            blk_error_stopped(drive->blk, -ret);
            bh_schedule(drive->stop_bh);
            return;
        }
        if (action == BLK_ERROR_IGNORE)
            ret = 0;
    }
    if (drive->io_dma && !ret)
        dma_advance(drive);
    drive->ops->io_done(drive, ret);
}

static void request_done(BlkReq *req, int ret)
{
    AtaDrive *drive = req->opaque;
    drive->in_flight = false;
    complete(drive, ret);
}

/* io_done() may submit again: the outermost call makes the request, so that a long run of requests
 * that end at once needs no stack. */
static void run_io(AtaDrive *drive)
{
    if (drive->running)
        return;
    drive->running = true;
    while (drive->queued) {
        drive->queued = false;
        drive->in_flight = true;
        int ret = blk_submit(drive->blk, &drive->req);
        if (ret == BLK_PENDING)
            break;
        drive->in_flight = false;
        complete(drive, ret);
    }
    drive->running = false;
}

static void submit(AtaDrive *drive, const struct iovec *iov, unsigned count)
{
    drive->phase = ATA_BUSY;
    drive->tf.status = ATA_SR_BSY | ATA_SR_DRDY | ATA_SR_DSC;
    drive->req = (BlkReq){
        .op = drive->io_op,
        .flags = drive->io_flags,
        .offset = drive->io_offset,
        .bytes = drive->io_bytes,
        .iov = iov,
        .iov_count = (int)count,
        .done = request_done,
        .opaque = drive,
    };
    drive->queued = true;
    run_io(drive);
}

void ata_submit_buf(AtaDrive *drive, BlkOp op, unsigned flags, uint64_t offset, uint64_t bytes,
                    uint32_t buf_offset)
{
    drive->io_op = op;
    drive->io_flags = flags;
    drive->io_offset = offset;
    drive->io_bytes = bytes;
    drive->io_buf = buf_offset;
    drive->io_dma = false;
    bool data = op == BLK_READ || op == BLK_WRITE;
    drive->buf_iov = (struct iovec){drive->buf + buf_offset, bytes};
    submit(drive, data ? &drive->buf_iov : NULL, data);
}

/* ---- DMA ---- */

void ata_dma_drop(AtaDrive *drive)
{
    g_array_set_size(drive->dma_iov, 0);
    drive->dma_next = 0;
    drive->dma_count = 0;
    drive->dma_cut = 0;
}

void ata_dma_end(AtaDrive *drive)
{
    ata_dma_drop(drive);
    drive->channel->ops->dma_end(drive->channel->opaque);
}

/* Maps what is left of the transfer.  On failure the guest has been told. */
static bool map_transfer(AtaDrive *drive)
{
    AtaChannel *channel = drive->channel;
    ata_dma_drop(drive);
    switch (channel->ops->dma_map(channel->opaque, drive->dma_to_memory, drive->dma_done,
                                  drive->dma_bytes - drive->dma_done, drive->dma_iov)) {
    case ATA_DMA_OK:
        return true;
    case ATA_DMA_SHORT:
        guest_error("ide: %s: DMA descriptors are shorter than the transfer", channel->name);
        ata_dma_drop(drive);
        ata_done_silent(drive);
        return false;
    case ATA_DMA_FAULT:
        guest_error("ide: %s: DMA descriptors lead outside RAM", channel->name);
        ata_dma_drop(drive);
        ata_fail(drive, ATA_ER_ICRC | ATA_ER_ABRT);
        return false;
    case ATA_DMA_OFF:
        break;
    }
    /* What the drive sends reaches nobody; what it would get is not there, so it gets nothing. */
    guest_error("ide: %s: DMA while bus mastering is off", channel->name);
    if (drive->dma_to_memory)
        ata_done(drive);
    else
        ata_fail(drive, ATA_ER_ICRC | ATA_ER_ABRT);
    return false;
}

static void dma_go(AtaDrive *drive)
{
    if (map_transfer(drive))
        drive->ops->dma_ready(drive);
}

void ata_dma_begin(AtaDrive *drive, bool to_memory, uint64_t bytes)
{
    drive->dma_to_memory = to_memory;
    drive->dma_bytes = bytes;
    drive->dma_done = 0;
    drive->phase = ATA_DMA_WAIT;
    drive->tf.status = ATA_SR_DRDY | ATA_SR_DSC | ATA_SR_DRQ;
    if (drive->channel->ops->dma_running(drive->channel->opaque))
        dma_go(drive);
}

void ata_dma_started(AtaChannel *channel)
{
    AtaDrive *drive = channel->drive[channel->selected];
    if (drive && drive->phase == ATA_DMA_WAIT)
        dma_go(drive);
}

bool ata_dma_in_flight(const AtaChannel *channel)
{
    for (unsigned i = 0; i < 2; i++) {
        const AtaDrive *drive = channel->drive[i];
        if (drive && drive->in_flight && drive->io_dma)
            return true;
    }
    return false;
}

void ata_submit_dma(AtaDrive *drive, BlkOp op, unsigned flags, uint64_t offset, uint64_t bytes)
{
    struct iovec *iov = dma_piece(drive, drive->dma_next);
    unsigned count = 0;
    uint64_t sum = 0, cut = 0;
    while (count < IOV_LIMIT && drive->dma_next + count < drive->dma_iov->len && sum < bytes)
        sum += iov[count++].iov_len;
    /* The request ends at a sector, and where the caller says. */
    uint64_t rest = sum > bytes ? sum - bytes : sum % ATA_SECTOR;
    sum -= rest;
    while (rest && rest >= iov[count - 1].iov_len)
        rest -= iov[--count].iov_len;
    if (rest) {
        iov[count - 1].iov_len -= rest;
        cut = rest;
    }
    drive->dma_count = count;
    drive->dma_cut = cut;
    drive->io_op = op;
    drive->io_flags = flags;
    drive->io_offset = offset;
    drive->io_bytes = sum;
    drive->io_dma = true;
    submit(drive, iov, count);
}

void ata_dma_copy(AtaDrive *drive, uint32_t buf_offset, uint32_t length)
{
    AtaChannel *channel = drive->channel;
    while (length && drive->dma_next < drive->dma_iov->len) {
        struct iovec *piece = dma_piece(drive, drive->dma_next);
        uint32_t part = (uint32_t)MIN(length, piece->iov_len);
        if (drive->dma_to_memory) {
            memcpy(piece->iov_base, drive->buf + buf_offset, part);
            channel->ops->dma_written(channel->opaque, piece->iov_base, part);
        } else {
            memcpy(drive->buf + buf_offset, piece->iov_base, part);
        }
        piece->iov_base = (uint8_t *)piece->iov_base + part;
        piece->iov_len -= part;
        drive->dma_next += !piece->iov_len;
        drive->dma_done += part;
        buf_offset += part;
        length -= part;
    }
}

/* ---- Stop and retry ---- */

static void stop_machine(void *opaque)
{
    AtaDrive *drive = opaque;
    if (!drive->retry)
        return;
    machine_pause(drive->machine, MACHINE_IO_ERROR);
    timer_arm(&drive->retry_timer, clock_now(VM_CLOCK_VIRTUAL));
}

static void retry(void *opaque)
{
    AtaDrive *drive = opaque;
    if (!drive->retry)
        return;
    drive->retry = false;
    blk_error_resumed(drive->blk);
    if (!drive->io_dma)
        ata_submit_buf(drive, drive->io_op, drive->io_flags, drive->io_offset, drive->io_bytes,
                       drive->io_buf);
    else if (map_transfer(drive))
        ata_submit_dma(drive, drive->io_op, drive->io_flags, drive->io_offset, drive->io_bytes);
}

/* ---- Life and state ---- */

void ata_drive_init(AtaDrive *drive, Machine *machine, const AtaDriveOps *ops, Blk *blk)
{
    drive->ops = ops;
    drive->machine = machine;
    drive->blk = blk;
    drive->buf = g_malloc0(ATA_BUFFER_SIZE);
    drive->dma_iov = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    drive->stop_bh = bh_new(machine->loop, stop_machine, drive);
    timer_init(&drive->retry_timer, machine->loop, VM_CLOCK_VIRTUAL, retry, drive);
}

void ata_drive_fini(AtaDrive *drive)
{
    if (drive->channel) {
        ata_drive_quiesce(drive);
        drive->channel->drive[drive->unit] = NULL;
        drive->channel = NULL;
    }
    timer_cancel(&drive->retry_timer);
    bh_free(drive->stop_bh);
    g_array_free(drive->dma_iov, TRUE);
    g_free(drive->buf);
}

void ata_drive_wait(AtaDrive *drive)
{
    if (drive->in_flight)
        blk_drain(drive->blk);
}

void ata_drive_pre_save(void *state)
{
    ata_drive_wait(state);
}

bool ata_drive_post_load(void *state, GError **error)
{
    const AtaDrive *drive = state;
    if (drive->phase >= ATA_PHASES)
        return fail(error, "ata-drive: phase is %u", drive->phase);
    if (drive->pos > drive->end || drive->end > ATA_BUFFER_SIZE)
        return fail(error, "ata-drive: pos %u and end %u are not inside the buffer", drive->pos,
                    drive->end);
    bool moving = drive->phase == ATA_PIO_IN || drive->phase == ATA_PIO_OUT;
    if (moving && drive->pos == drive->end)
        return fail(error, "ata-drive: an empty window in the PIO phase");
    if (drive->dma_done > drive->dma_bytes)
        return fail(error, "ata-drive: dma_done is beyond dma_bytes");
    if (!drive->retry)
        return true;
    if (drive->phase != ATA_BUSY || drive->io_op > BLK_WRITE_ZEROES)
        return fail(error, "ata-drive: no request to make again");
    bool data = drive->io_op == BLK_READ || drive->io_op == BLK_WRITE;
    uint64_t room = drive->io_dma ? drive->dma_bytes - drive->dma_done
                                  : ATA_BUFFER_SIZE - MIN(drive->io_buf, ATA_BUFFER_SIZE);
    if (drive->io_dma != (drive->io_dma && data) || (data && drive->io_bytes > room) ||
        (data && (!drive->io_bytes || drive->io_bytes % ATA_SECTOR)))
        return fail(error, "ata-drive: request of %" G_GUINT64_FORMAT " bytes has no buffer",
                    drive->io_bytes);
    return true;
}
