/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 82077AA: the commands that read, write, verify, scan and format (datasheet 5.1 and 6).
 *
 * A job works in runs: as many sectors of one track as come next go between the disk and the buffer
 * in one request, and between the buffer and the host by DMA or byte by byte.  The medium has what
 * an image has: MFM sectors of 512 bytes, numbered from 1, none of them deleted.
 */
#include "fdc82077.h"

#include "util/bytes.h"
#include "util/log.h"

#define SECTOR_CODE 2 /* N: 128 << 2 bytes */
/* A DMA channel that is not ready when data comes gets this long before it is an overrun. */
#define DMA_PATIENCE (100 * NS_PER_MS)
enum { DOR_DMA = 0x08, SPECIFY_NON_DMA = 0x01, DSR_RATE_MASK = 3, VERIFY_EC = 0x80 };
/* Command codes without their option bits. */
enum { CODE_READ_DELETED = 0x0c, CODE_SCAN_LOW = 0x19, CODE_SCAN_HIGH = 0x1d };

static void begin_run(Fdc *fdc);
static void exchange(Fdc *fdc);
static void io_done(Fdc *fdc, int ret);

static unsigned code(const Fdc *fdc)
{
    return fdc->command & 0x1f;
}

static const FloppyFormat *format_of(Fdc *fdc)
{
    return fdc_drive(fdc, fdc->unit)->format;
}

/* Whether the job takes data from the host. */
static bool from_host(const Fdc *fdc)
{
    return fdc->job == FDC_WRITE || fdc->job == FDC_SCAN || fdc->job == FDC_FORMAT;
}

/* ---- Ends ---- */

void fdc_drop_job(Fdc *fdc)
{
    fdc->job = FDC_NO_JOB;
    fdc->retry = false;
    timer_cancel(&fdc->retry_timer);
    timer_cancel(&fdc->dma_timer);
    fdc->host->dma_request(fdc->opaque, false);
}

static void finish(Fdc *fdc, uint8_t st0, uint8_t st1, uint8_t st2)
{
    fdc_drop_job(fdc);
    fdc->fifo[0] = (uint8_t)(fdc->st0 | st0 | fdc->last_head << 2 | fdc->unit);
    fdc->fifo[1] = fdc->st1 | st1;
    fdc->fifo[2] = fdc->st2 | st2;
    fdc->fifo[3] = fdc->cylinder;
    fdc->fifo[4] = fdc->head;
    fdc->fifo[5] = fdc->sector;
    fdc->fifo[6] = SECTOR_CODE;
    fdc_result(fdc, 7, true);
}

static void finish_bad(Fdc *fdc, uint8_t st1, uint8_t st2)
{
    finish(fdc, ST0_ABNORMAL, st1, st2);
}

/* The last sector by EOT is done and no terminal count came.  Without DMA there is none to come. */
static void finish_at_end(Fdc *fdc)
{
    if (fdc->job == FDC_SCAN)
        finish(fdc, 0, 0, ST2_SCAN_NOT);
    else if (fdc->dma && fdc->job != FDC_VERIFY)
        finish_bad(fdc, ST1_END_OF_CYLINDER, 0);
    else
        finish(fdc, 0, 0, 0);
}

/* ---- The request ---- */

static void complete(Fdc *fdc, int ret)
{
    if (fdc->phase == FDC_RESET) {
        fdc_reset_end(fdc);
        return;
    }
    if (!format_of(fdc)) { /* ejected meanwhile */
        finish_bad(fdc, ST1_MISSING_MARK, 0);
        return;
    }
    if (ret < 0) {
        BlkErrorAction action = blk_error_action(fdc->drive[fdc->unit].blk, fdc->io_write, -ret);
        if (action == BLK_ERROR_STOP) {
            fdc->retry = true;
            blk_error_stopped(fdc->drive[fdc->unit].blk, -ret);
            bh_schedule(fdc->stop_bh);
            return;
        }
        if (action == BLK_ERROR_IGNORE)
            ret = 0;
    }
    io_done(fdc, ret);
}

static void request_done(BlkReq *req, int ret)
{
    Fdc *fdc = req->opaque;
    fdc->in_flight = false;
    complete(fdc, ret);
}

/* A request that ends at once may lead to the next: the outermost call makes it, so that a long job
 * needs no stack. */
static void run_requests(Fdc *fdc)
{
    if (fdc->running)
        return;
    fdc->running = true;
    while (fdc->queued) {
        fdc->queued = false;
        fdc->in_flight = true;
        int ret = blk_submit(fdc->io_blk, &fdc->req);
        if (ret == BLK_PENDING)
            break;
        fdc->in_flight = false;
        complete(fdc, ret);
    }
    fdc->running = false;
}

/* Makes the request of the io fields. */
static void submit(Fdc *fdc)
{
    fdc->io_blk = fdc->drive[fdc->unit].blk;
    fdc->phase = FDC_EXECUTE;
    fdc->iov = (struct iovec){fdc->buf + fdc->io_at, fdc->io_bytes};
    fdc->req = (BlkReq){
        .op = fdc->io_write ? BLK_WRITE : BLK_READ,
        .offset = fdc->io_offset,
        .bytes = fdc->io_bytes,
        .iov = &fdc->iov,
        .iov_count = 1,
        .done = request_done,
        .opaque = fdc,
    };
    fdc->queued = true;
    run_requests(fdc);
}

static void move_sectors(Fdc *fdc, bool write, int64_t offset, unsigned sectors, unsigned at)
{
    fdc->io_write = write;
    fdc->io_offset = (uint64_t)offset;
    fdc->io_bytes = (uint16_t)(sectors * FLOPPY_SECTOR);
    fdc->io_at = (uint16_t)at;
    submit(fdc);
}

static void stop_machine(void *opaque)
{
    Fdc *fdc = opaque;
    if (!fdc->retry)
        return;
    machine_pause(fdc->machine, MACHINE_IO_ERROR);
    timer_arm(&fdc->retry_timer, clock_now(VM_CLOCK_VIRTUAL));
}

static void retry(void *opaque)
{
    Fdc *fdc = opaque;
    if (!fdc->retry)
        return;
    fdc->retry = false;
    blk_error_resumed(fdc->drive[fdc->unit].blk);
    submit(fdc);
}

void fdc_wait(Fdc *fdc)
{
    if (fdc->in_flight)
        blk_drain(fdc->io_blk);
}

/* ---- Position ---- */

/* To the sector after the one that was done. */
static void step_sector(Fdc *fdc)
{
    const FloppyFormat *format = format_of(fdc);
    unsigned step = fdc->job == FDC_SCAN ? fdc->step : 1;
    fdc->last_head = fdc->head;
    if (fdc->sector != fdc->eot && fdc->sector + step <= format->sectors) {
        fdc->sector = (uint8_t)(fdc->sector + step);
        return;
    }
    fdc->sector = 1;
    if (!(fdc->command & COMMAND_MT)) {
        fdc->cylinder++;
    } else if (!fdc->head && format->heads == 2) {
        fdc->head = 1;
    } else {
        fdc->head = 0;
        fdc->cylinder++;
    }
}

/* The run is done. */
static void advance(Fdc *fdc)
{
    fdc->left = (uint16_t)(fdc->left - MIN(fdc->run, fdc->left));
    fdc->sector = (uint8_t)(fdc->sector + fdc->run - 1);
    step_sector(fdc);
    bool over_end = !(fdc->command & COMMAND_MT) && fdc->sector == 1;
    if (fdc->tc)
        finish(fdc, 0, 0, 0);
    else if (fdc->left && over_end) /* EOT is more than the track has */
        finish_bad(fdc, ST1_NO_DATA, 0);
    else if (fdc->left)
        begin_run(fdc);
    else
        finish_at_end(fdc);
}

/* Goes to the cylinder that a command names; false if the head is elsewhere and may not move. */
static bool reach_cylinder(Fdc *fdc)
{
    const FloppyDrive *drive = fdc_drive(fdc, fdc->unit);
    if (drive->cylinder == fdc->cylinder)
        return true;
    if (!fdc_implied_seek(fdc))
        return false;
    fdc_seek_to(fdc, fdc->unit, fdc->cylinder);
    return drive->cylinder == fdc->cylinder;
}

/* Sectors of the run that begins at the position, or 0 after telling the guest why there is none.
 */
static unsigned plan_run(Fdc *fdc, int64_t *offset)
{
    const FloppyDrive *drive = fdc_drive(fdc, fdc->unit);
    uint8_t before = drive->cylinder;
    if (!reach_cylinder(fdc)) {
        finish_bad(fdc, ST1_NO_DATA, ST2_WRONG_CYLINDER);
        return 0;
    }
    if (drive->cylinder != before && fdc->run) /* over the end of a cylinder */
        fdc->st0 |= ST0_SEEK_END;
    *offset = floppy_offset(drive, fdc->cylinder, fdc->head, fdc->sector);
    if (*offset < 0) {
        finish_bad(fdc, ST1_NO_DATA, 0);
        return 0;
    }
    unsigned sectors = MIN(fdc->left, FDC_BUFFER_SIZE / FLOPPY_SECTOR);
    unsigned end = MIN(fdc->eot >= fdc->sector ? fdc->eot : 255, drive->format->sectors);
    sectors = MIN(sectors, end - fdc->sector + 1);
    while (floppy_offset(drive, fdc->cylinder, fdc->head, fdc->sector + sectors - 1) < 0)
        sectors--; /* an image that ends early */
    return sectors;
}

static void begin_run(Fdc *fdc)
{
    int64_t offset;
    unsigned sectors = plan_run(fdc, &offset);
    if (!sectors)
        return;
    if (fdc->job == FDC_SCAN || (fdc->job == FDC_WRITE && !fdc->dma))
        sectors = 1;
    fdc->run = (uint8_t)sectors;
    fdc->pos = 0;
    fdc->len = (uint16_t)(sectors * FLOPPY_SECTOR);
    if (from_host(fdc))
        exchange(fdc);
    else
        move_sectors(fdc, false, offset, sectors, 0);
}

/* ---- Data between buffer and host ---- */

static int64_t run_offset(Fdc *fdc)
{
    return floppy_offset(fdc_drive(fdc, fdc->unit), fdc->cylinder, fdc->head, fdc->sector);
}

/* The next sector that FORMAT has to fill. */
static void format_next(Fdc *fdc)
{
    const FloppyDrive *drive = fdc_drive(fdc, fdc->unit);
    while (fdc->format_map) {
        unsigned sector = 1 + (unsigned)__builtin_ctzll(fdc->format_map);
        int64_t offset = floppy_offset(drive, drive->cylinder, fdc->head, sector);
        fdc->format_map &= fdc->format_map - 1;
        if (offset >= 0) {
            move_sectors(fdc, true, offset, 1, 0);
            return;
        }
    }
    finish(fdc, 0, 0, 0);
}

/* The IDs (C, H, R, N) of all sectors are in the buffer. */
static void format_ids_ready(Fdc *fdc)
{
    const FloppyFormat *format = format_of(fdc);
    fdc->format_map = 0;
    for (unsigned at = 0; at + 4 <= fdc->pos; at += 4) {
        unsigned sector = fdc->buf[at + 2];
        if (fdc->buf[at + 3] == SECTOR_CODE && sector && sector <= format->sectors)
            fdc->format_map |= 1ULL << (sector - 1);
        else
            guest_error("fdc: FORMAT of sector %u with size code %u is not possible", sector,
                        fdc->buf[at + 3]);
    }
    memset(fdc->buf, fdc->fifo[5], FLOPPY_SECTOR);
    format_next(fdc);
}

/* The host has taken or given what the window holds, or the terminal count came. */
static void exchanged(Fdc *fdc)
{
    unsigned sectors = (fdc->pos + FLOPPY_SECTOR - 1) / FLOPPY_SECTOR;
    if (fdc->job == FDC_FORMAT) {
        format_ids_ready(fdc);
        return;
    }
    if (!sectors) { /* terminal count before the first byte */
        finish(fdc, 0, 0, 0);
        return;
    }
    fdc->run = (uint8_t)sectors;
    fdc->len = (uint16_t)(sectors * FLOPPY_SECTOR);
    memset(fdc->buf + fdc->pos, 0, sectors * FLOPPY_SECTOR - fdc->pos);
    if (fdc->job == FDC_WRITE)
        move_sectors(fdc, true, run_offset(fdc), sectors, 0);
    else if (fdc->job == FDC_SCAN)
        move_sectors(fdc, false, run_offset(fdc), 1, FLOPPY_SECTOR);
    else
        advance(fdc);
}

/* Moves what the DMA controller takes; the rest waits for it a little. */
static void exchange_dma(Fdc *fdc)
{
    bool to_memory = !from_host(fdc), tc = false;
    fdc->host->dma_request(fdc->opaque, true);
    if (fdc->host->dma_ready(fdc->opaque, to_memory)) {
        uint32_t room = (uint32_t)fdc->len - fdc->pos;
        uint32_t moved =
            fdc->host->dma_transfer(fdc->opaque, fdc->buf + fdc->pos, room, to_memory, &tc);
        fdc->pos = (uint16_t)(fdc->pos + MIN(moved, room));
    }
    if (tc || fdc->pos == fdc->len) {
        fdc->tc = tc;
        timer_cancel(&fdc->dma_timer);
        fdc->host->dma_request(fdc->opaque, false);
        exchanged(fdc);
    } else {
        timer_arm(&fdc->dma_timer, clock_now(VM_CLOCK_VIRTUAL) + DMA_PATIENCE);
    }
}

static void exchange(Fdc *fdc)
{
    if (fdc->dma) {
        fdc->phase = FDC_EXECUTE;
        exchange_dma(fdc);
    } else {
        fdc->phase = FDC_DATA;
        fdc_set_irq(fdc, true);
    }
}

static void dma_patience_over(void *opaque)
{
    Fdc *fdc = opaque;
    if (fdc->host->dma_ready(fdc->opaque, !from_host(fdc)))
        exchange_dma(fdc);
    else
        finish_bad(fdc, ST1_OVERRUN, 0);
}

uint8_t fdc_data_read(Fdc *fdc)
{
    if (from_host(fdc)) {
        guest_error("fdc: FIFO read while the controller wants data");
        return 0;
    }
    uint8_t value = fdc->buf[fdc->pos++];
    if (fdc->pos == fdc->len)
        exchanged(fdc);
    return value;
}

void fdc_data_write(Fdc *fdc, uint8_t value)
{
    if (!from_host(fdc)) {
        guest_error("fdc: FIFO written while the controller has data");
        return;
    }
    fdc->buf[fdc->pos++] = value;
    if (fdc->pos == fdc->len)
        exchanged(fdc);
}

/* ---- SCAN ---- */

/* FFh from the host matches anything. */
static void scan_compare(Fdc *fdc)
{
    const uint8_t *host = fdc->buf, *disk = fdc->buf + FLOPPY_SECTOR;
    bool equal = true, low = true, high = true; /* the disk's byte is */
    for (unsigned i = 0; i < fdc->pos; i++) {
        if (host[i] == 0xff || host[i] == disk[i])
            continue;
        equal = false;
        low &= disk[i] < host[i];
        high &= disk[i] > host[i];
    }
    bool met =
        equal || (code(fdc) == CODE_SCAN_LOW && low) || (code(fdc) == CODE_SCAN_HIGH && high);
    if (met) {
        fdc->last_head = fdc->head;
        finish(fdc, 0, 0, equal ? ST2_SCAN_HIT : 0);
    } else if (fdc->tc) {
        finish(fdc, 0, 0, ST2_SCAN_NOT);
    } else {
        fdc->run = 1;
        fdc->left = (uint16_t)(fdc->left - MIN(fdc->step - 1u, fdc->left - 1u));
        advance(fdc);
    }
}

static void io_done(Fdc *fdc, int ret)
{
    if (ret < 0) {
        fdc->last_head = fdc->head;
        if (fdc->io_write)
            finish(fdc, ST0_ABNORMAL | ST0_EQUIPMENT_CHECK, 0, 0);
        else
            finish_bad(fdc, ST1_DATA_ERROR, ST2_DATA_ERROR);
        return;
    }
    switch (fdc->job) {
    case FDC_READ:
        exchange(fdc);
        break;
    case FDC_SCAN:
        scan_compare(fdc);
        break;
    case FDC_FORMAT:
        format_next(fdc);
        break;
    default:
        advance(fdc);
    }
}

/* ---- Starts ---- */

/* Latches drive and head; false, with the result given, if there is no medium to read at this rate.
 */
static bool select_medium(Fdc *fdc, FdcJob job)
{
    const FloppyDrive *drive;
    fdc->unit = fdc->fifo[1] & 3;
    fdc->head = fdc->last_head = fdc->fifo[1] >> 2 & 1;
    fdc->st0 = fdc->st1 = fdc->st2 = 0;
    fdc->tc = false;
    fdc->run = 0;
    fdc->dma = (fdc->dor & DOR_DMA) && !(fdc->specify[1] & SPECIFY_NON_DMA);
    drive = fdc_drive(fdc, fdc->unit);
    if (!drive || !drive->format || fdc->head >= drive->format->heads ||
        !(fdc->command & COMMAND_MFM) ||
        !(drive->format->rates & 1 << (fdc->dsr & DSR_RATE_MASK))) {
        finish_bad(fdc, ST1_MISSING_MARK, 0);
        return false;
    }
    fdc->job = job;
    if ((job == FDC_WRITE || job == FDC_FORMAT) && floppy_protected(drive)) {
        finish_bad(fdc, ST1_NOT_WRITABLE, 0);
        return false;
    }
    return true;
}

/* Sectors from the first to EOT, on both sides with MT. */
static unsigned count_sectors(Fdc *fdc)
{
    unsigned count = fdc->eot >= fdc->sector ? fdc->eot - fdc->sector + 1u : 0;
    if ((fdc->command & COMMAND_MT) && !fdc->head && format_of(fdc)->heads == 2)
        count += fdc->eot;
    return count;
}

/* fifo: command, HDS and unit, C, H, R, N, EOT, GPL, DTL (VERIFY: SC with EC; SCAN: STP). */
void fdc_start_transfer(Fdc *fdc, FdcJob job)
{
    const uint8_t *fifo = fdc->fifo;
    fdc->cylinder = fifo[2];
    fdc->sector = fifo[4];
    fdc->eot = fdc->last_eot = fifo[6];
    if (!select_medium(fdc, job))
        return;
    fdc->step = fifo[8] == 2 ? 2 : 1;
    fdc->left = (uint16_t)count_sectors(fdc);
    if (job == FDC_VERIFY && (fifo[1] & VERIFY_EC))
        fdc->left = fifo[8];
    if (fifo[3] != fdc->head || fifo[5] != SECTOR_CODE || !fdc->sector || !fdc->left) {
        finish_bad(fdc, ST1_NO_DATA, 0);
        return;
    }
    if (job == FDC_READ && code(fdc) == CODE_READ_DELETED) {
        fdc->st2 |= ST2_CONTROL_MARK; /* every sector has the other mark */
        if (fdc->command & COMMAND_SK) {
            finish_bad(fdc, ST1_END_OF_CYLINDER, 0);
            return;
        }
        fdc->left = 1;
    }
    begin_run(fdc);
}

/* From the index hole on: all sectors up to EOT, whatever R says. */
void fdc_start_read_track(Fdc *fdc)
{
    const uint8_t *fifo = fdc->fifo;
    fdc->cylinder = fifo[2];
    fdc->sector = 1;
    fdc->eot = fdc->last_eot = fifo[6];
    if (!select_medium(fdc, FDC_READ))
        return;
    fdc->left = fdc->eot;
    if (!fdc->left || fifo[5] != SECTOR_CODE) {
        finish_bad(fdc, ST1_NO_DATA, 0);
        return;
    }
    begin_run(fdc);
}

/* fifo: command, HDS and unit, N, SC, GPL, D. */
void fdc_start_format(Fdc *fdc)
{
    const uint8_t *fifo = fdc->fifo;
    fdc->cylinder = fdc->pcn[fdc->fifo[1] & 3];
    fdc->sector = 1;
    fdc->eot = fifo[3];
    if (!select_medium(fdc, FDC_FORMAT))
        return;
    if (fifo[2] != SECTOR_CODE || !fifo[3] || fifo[3] > 64) {
        finish_bad(fdc, ST1_NO_DATA, 0);
        return;
    }
    fdc->pos = 0;
    fdc->len = fifo[3] * 4;
    exchange(fdc);
}

void fdc_read_id(Fdc *fdc)
{
    fdc->cylinder = fdc->pcn[fdc->fifo[1] & 3];
    fdc->sector = 1;
    if (!select_medium(fdc, FDC_NO_JOB))
        return;
    FloppyDrive *drive = fdc_drive(fdc, fdc->unit);
    fdc->cylinder = drive->cylinder;
    if (drive->cylinder >= drive->format->cylinders) { /* nothing is written there */
        finish_bad(fdc, ST1_MISSING_MARK, 0);
        return;
    }
    drive->id = drive->id < drive->format->sectors ? drive->id : 0;
    fdc->sector = ++drive->id;
    finish(fdc, 0, 0, 0);
}

void fdc_medium_changed(Fdc *fdc, unsigned unit)
{
    floppy_medium_changed(&fdc->drive[unit]);
    if (fdc->job != FDC_NO_JOB && fdc->unit == unit && !fdc->in_flight)
        finish_bad(fdc, ST1_MISSING_MARK, 0);
}

/* ---- Life and state ---- */

void fdc_init(Fdc *fdc, Machine *machine, const FdcHost *host, void *opaque)
{
    fdc->machine = machine;
    fdc->host = host;
    fdc->opaque = opaque;
    fdc->buf = g_malloc0(FDC_BUFFER_SIZE);
    fdc->stop_bh = bh_new(machine->loop, stop_machine, fdc);
    timer_init(&fdc->retry_timer, machine->loop, VM_CLOCK_VIRTUAL, retry, fdc);
    timer_init(&fdc->dma_timer, machine->loop, VM_CLOCK_VIRTUAL, dma_patience_over, fdc);
}

void fdc_fini(Fdc *fdc)
{
    if (fdc->in_flight) {
        fdc->phase = FDC_RESET;
        blk_cancel(&fdc->req);
        fdc_wait(fdc);
    }
    fdc_drop_job(fdc);
    bh_free(fdc->stop_bh);
    g_free(fdc->buf);
}

static bool request_valid(const Fdc *fdc)
{
    return fdc->phase == FDC_EXECUTE && fdc->job != FDC_NO_JOB && fdc->io_bytes &&
           fdc->io_bytes % FLOPPY_SECTOR == 0 && fdc->io_at + fdc->io_bytes <= FDC_BUFFER_SIZE;
}

/* What a job relies on: a drive with a medium, a position on it, a window inside the buffer. */
bool fdc_job_valid(const Fdc *fdc)
{
    bool window = fdc->pos <= fdc->len && fdc->len <= FDC_BUFFER_SIZE;
    bool idle = fdc->phase != FDC_DATA && fdc->phase != FDC_EXECUTE && !fdc->retry &&
                !timer_armed(&fdc->dma_timer);
    if (fdc->job == FDC_NO_JOB)
        return idle;
    if (idle || fdc->job >= FDC_JOBS || fdc->unit >= FDC_DRIVES || fdc->head > 1 || !window ||
        !fdc->step || fdc->step > 2)
        return false;
    const FloppyDrive *drive = &fdc->drive[fdc->unit];
    if (!drive->blk || !drive->format || fdc->left > 2 * 255)
        return false;
    bool position = floppy_offset(drive, fdc->cylinder, fdc->head, fdc->sector) >= 0;
    bool run = fdc->run <= FDC_BUFFER_SIZE / FLOPPY_SECTOR &&
               fdc->sector + fdc->run <= drive->format->sectors + 1;
    bool lengths = fdc->job == FDC_FORMAT ? fdc->len <= 256 : fdc->len == fdc->run * FLOPPY_SECTOR;
    if (fdc->job == FDC_SCAN)
        lengths = lengths && fdc->run == 1;
    if (fdc->phase == FDC_DATA && fdc->pos >= fdc->len)
        return false;
    return lengths && run && (position || fdc->job == FDC_FORMAT) &&
           (!fdc->retry || request_valid(fdc));
}
