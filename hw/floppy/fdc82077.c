/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 82077AA: registers, phases, and the commands that move no data. */
#include "fdc82077.h"

#include "util/error.h"
#include "util/log.h"

enum { REG_DOR = 2, REG_TDR = 3, REG_MSR = 4, REG_DSR = 4, REG_FIFO = 5, REG_DIR = 7, REG_CCR = 7 };
enum { DOR_UNIT = 0x03, DOR_RUN = 0x04, DOR_RESET_VALUE = 0x0c };
enum { DSR_RESET = 0x80, DSR_RATE = 0x03 };
enum { DIR_CHANGED = 0x80 };
/* CONFIGURE: implied seek, FIFO off, polling off. */
enum { CONFIG_EIS = 0x40, CONFIG_EFIFO = 0x20, CONFIG_NO_POLL = 0x10 };
#define CONFIG_DEFAULT (CONFIG_EIS | CONFIG_EFIFO)
enum { PERPENDICULAR_OW = 0x80, PERPENDICULAR_UNITS = 0x3c };

static bool state_post_load(void *state, GError **error);

static void state_pre_save(void *state)
{
    fdc_wait(state);
}

static const StateField fdc_fields[] = {
    STATE_HOST(Fdc, machine),
    STATE_HOST(Fdc, host),
    STATE_HOST(Fdc, opaque),
    STATE_HOST(Fdc, stop_bh),
    STATE_HOST(Fdc, req),
    STATE_HOST(Fdc, iov),
    STATE_HOST(Fdc, io_blk),
    STATE_HOST(Fdc, queued),
    STATE_HOST(Fdc, running),
    STATE_HOST(Fdc, in_flight),
    STATE_STRUCT_ARRAY(Fdc, drive, &floppy_drive_state),
    STATE_U(Fdc, dor, DOR_RESET_VALUE),
    STATE_U(Fdc, tdr, 0),
    STATE_U(Fdc, dsr, RATE_500K),
    STATE_U(Fdc, phase, FDC_COMMAND),
    STATE_U(Fdc, irq, 0),
    STATE_BYTES(Fdc, fifo),
    STATE_U(Fdc, filled, 0),
    STATE_U(Fdc, wanted, 1),
    STATE_U(Fdc, next, 0),
    STATE_ARRAY(Fdc, pcn, uint8_t, 0),
    STATE_ARRAY(Fdc, seek_status, uint8_t, 0),
    STATE_U(Fdc, reset_senses, 0),
    STATE_BYTES(Fdc, specify),
    STATE_U(Fdc, config, CONFIG_DEFAULT),
    STATE_U(Fdc, precompensation, 0),
    STATE_U(Fdc, perpendicular, 0),
    STATE_U(Fdc, lock, 0),
    STATE_U(Fdc, last_eot, 0),
    STATE_U(Fdc, job, FDC_NO_JOB),
    STATE_U(Fdc, command, 0),
    STATE_U(Fdc, unit, 0),
    STATE_U(Fdc, head, 0),
    STATE_U(Fdc, cylinder, 0),
    STATE_U(Fdc, sector, 0),
    STATE_U(Fdc, last_head, 0),
    STATE_U(Fdc, eot, 0),
    STATE_U(Fdc, step, 0),
    STATE_U(Fdc, st0, 0),
    STATE_U(Fdc, st1, 0),
    STATE_U(Fdc, st2, 0),
    STATE_U(Fdc, dma, 0),
    STATE_U(Fdc, tc, 0),
    STATE_U(Fdc, left, 0),
    STATE_U(Fdc, run, 0),
    STATE_U(Fdc, pos, 0),
    STATE_U(Fdc, len, 0),
    STATE_U(Fdc, format_map, 0),
    STATE_BUFFER(Fdc, buf, FDC_BUFFER_SIZE),
    STATE_U(Fdc, retry, 0),
    STATE_U(Fdc, io_write, 0),
    STATE_U(Fdc, io_at, 0),
    STATE_U(Fdc, io_bytes, 0),
    STATE_U(Fdc, io_offset, 0),
    STATE_TIMER(Fdc, retry_timer),
    STATE_TIMER(Fdc, dma_timer),
    STATE_END,
};
const StateDesc fdc_state = {
    .name = "i82077",
    .version = 1,
    .size = sizeof(Fdc),
    .fields = fdc_fields,
    .pre_save = state_pre_save,
    .post_load = state_post_load,
};

/* ---- Helpers ---- */

void fdc_set_irq(Fdc *fdc, bool level)
{
    if (fdc->irq == level)
        return;
    fdc->irq = level;
    fdc->host->irq(fdc->opaque, level);
}

FloppyDrive *fdc_drive(Fdc *fdc, unsigned unit)
{
    return unit < FDC_DRIVES && fdc->drive[unit].blk ? &fdc->drive[unit] : NULL;
}

bool fdc_implied_seek(const Fdc *fdc)
{
    return fdc->config & CONFIG_EIS;
}

void fdc_seek_to(Fdc *fdc, unsigned unit, unsigned cylinder)
{
    FloppyDrive *drive = fdc_drive(fdc, unit);
    fdc->pcn[unit] = (uint8_t)cylinder;
    if (drive)
        floppy_seek(drive, cylinder);
}

static void to_command_phase(Fdc *fdc)
{
    fdc->phase = FDC_COMMAND;
    fdc->filled = 0;
    fdc->wanted = 1;
}

void fdc_result(Fdc *fdc, unsigned count, bool irq)
{
    fdc->phase = FDC_RESULT;
    fdc->next = 0;
    fdc->filled = (uint8_t)count;
    if (irq)
        fdc_set_irq(fdc, true);
}

static void result_byte(Fdc *fdc, uint8_t byte)
{
    fdc->fifo[0] = byte;
    fdc_result(fdc, 1, false);
}

/* ---- Commands without data ---- */

static void cmd_invalid(Fdc *fdc)
{
    guest_error("fdc: command 0x%02x is unknown", fdc->fifo[0]);
    result_byte(fdc, ST0_INVALID);
}

static void cmd_specify(Fdc *fdc)
{
    fdc->specify[0] = fdc->fifo[1];
    fdc->specify[1] = fdc->fifo[2];
    to_command_phase(fdc);
}

static void cmd_sense_drive(Fdc *fdc)
{
    unsigned unit = fdc->fifo[1] & 3;
    const FloppyDrive *drive = fdc_drive(fdc, unit);
    uint8_t st3 = (fdc->fifo[1] & 7) | ST3_READY | ST3_TWO_SIDES;
    if (drive && !drive->cylinder)
        st3 |= ST3_TRACK_0;
    if (drive && floppy_protected(drive))
        st3 |= ST3_PROTECTED;
    result_byte(fdc, st3);
}

static void seek_done(Fdc *fdc, unsigned unit, uint8_t status)
{
    fdc->seek_status[unit] = (uint8_t)(status | unit);
    to_command_phase(fdc);
    fdc_set_irq(fdc, true);
}

/* Without a drive, track 0 never shows. */
static void cmd_recalibrate(Fdc *fdc)
{
    unsigned unit = fdc->fifo[1] & 3;
    bool there = fdc_drive(fdc, unit);
    fdc_seek_to(fdc, unit, 0);
    seek_done(fdc, unit, there ? ST0_SEEK_END : ST0_ABNORMAL | ST0_SEEK_END | ST0_EQUIPMENT_CHECK);
}

static void cmd_seek(Fdc *fdc)
{
    unsigned unit = fdc->fifo[1] & 3;
    fdc_seek_to(fdc, unit, fdc->fifo[2]);
    seek_done(fdc, unit, ST0_SEEK_END);
}

/* DIR (bit 6 of the command) set: towards higher cylinders. */
static void cmd_relative_seek(Fdc *fdc)
{
    unsigned unit = fdc->fifo[1] & 3;
    int steps = fdc->fifo[0] & 0x40 ? fdc->fifo[2] : -fdc->fifo[2];
    FloppyDrive *drive = fdc_drive(fdc, unit);
    if (drive)
        floppy_seek(drive, (unsigned)CLAMP(drive->cylinder + steps, 0, FLOPPY_CYLINDER_MAX));
    fdc->pcn[unit] = (uint8_t)(fdc->pcn[unit] + steps);
    seek_done(fdc, unit, ST0_SEEK_END);
}

static bool take_seek_status(Fdc *fdc)
{
    for (unsigned unit = 0; unit < FDC_UNITS; unit++) {
        if (!fdc->seek_status[unit])
            continue;
        fdc->fifo[0] = fdc->seek_status[unit];
        fdc->fifo[1] = fdc->pcn[unit];
        fdc->seek_status[unit] = 0;
        return true;
    }
    return false;
}

static bool seek_status_waits(const Fdc *fdc)
{
    for (unsigned unit = 0; unit < FDC_UNITS; unit++)
        if (fdc->seek_status[unit])
            return true;
    return false;
}

static void cmd_sense_interrupt(Fdc *fdc)
{
    if (fdc->reset_senses) {
        unsigned unit = FDC_UNITS - fdc->reset_senses--;
        fdc->fifo[0] = (uint8_t)(ST0_READY_CHANGED | unit);
        fdc->fifo[1] = fdc->pcn[unit];
    } else if (!take_seek_status(fdc)) {
        result_byte(fdc, ST0_INVALID);
        return;
    }
    fdc_set_irq(fdc, seek_status_waits(fdc) && !fdc->reset_senses);
    fdc_result(fdc, 2, false);
}

static void cmd_version(Fdc *fdc)
{
    result_byte(fdc, 0x90);
}

static void cmd_part_id(Fdc *fdc)
{
    result_byte(fdc, 0x41);
}

static void cmd_dumpreg(Fdc *fdc)
{
    for (unsigned unit = 0; unit < FDC_UNITS; unit++)
        fdc->fifo[unit] = fdc->pcn[unit];
    fdc->fifo[4] = fdc->specify[0];
    fdc->fifo[5] = fdc->specify[1];
    fdc->fifo[6] = fdc->last_eot;
    fdc->fifo[7] = (uint8_t)(fdc->lock << 7 | (fdc->perpendicular & 0x3f));
    fdc->fifo[8] = fdc->config;
    fdc->fifo[9] = fdc->precompensation;
    fdc_result(fdc, 10, false);
}

/* The bits of the drives change only with OW. */
static void cmd_perpendicular(Fdc *fdc)
{
    uint8_t mask = fdc->fifo[1] & PERPENDICULAR_OW ? 0x3f : 0x3f & ~PERPENDICULAR_UNITS;
    fdc->perpendicular = (uint8_t)((fdc->perpendicular & ~mask) | (fdc->fifo[1] & mask));
    to_command_phase(fdc);
}

static void cmd_configure(Fdc *fdc)
{
    fdc->config = fdc->fifo[2] & 0x7f;
    fdc->precompensation = fdc->fifo[3];
    to_command_phase(fdc);
}

static void cmd_lock(Fdc *fdc)
{
    fdc->lock = fdc->fifo[0] & 0x80;
    result_byte(fdc, fdc->lock ? 0x10 : 0);
}

static void cmd_read(Fdc *fdc)
{
    fdc_start_transfer(fdc, FDC_READ);
}

static void cmd_write(Fdc *fdc)
{
    fdc_start_transfer(fdc, FDC_WRITE);
}

static void cmd_verify(Fdc *fdc)
{
    fdc_start_transfer(fdc, FDC_VERIFY);
}

static void cmd_scan(Fdc *fdc)
{
    fdc_start_transfer(fdc, FDC_SCAN);
}

typedef struct Command {
    uint8_t mask, code, parameters;
    void (*fn)(Fdc *fdc);
} Command;

/* Bits outside mask are MT, MFM, SK and the like. */
static const Command commands[] = {
    {0x1f, 0x06, 8, cmd_read},             /* READ DATA */
    {0x3f, 0x05, 8, cmd_write},            /* WRITE DATA */
    {0xff, 0x08, 0, cmd_sense_interrupt},  /* SENSE INTERRUPT STATUS */
    {0xff, 0x0f, 2, cmd_seek},             /* SEEK */
    {0xff, 0x07, 1, cmd_recalibrate},      /* RECALIBRATE */
    {0xbf, 0x0a, 1, fdc_read_id},          /* READ ID */
    {0xff, 0x03, 2, cmd_specify},          /* SPECIFY */
    {0xff, 0x04, 1, cmd_sense_drive},      /* SENSE DRIVE STATUS */
    {0xbf, 0x0d, 5, fdc_start_format},     /* FORMAT TRACK */
    {0x1f, 0x0c, 8, cmd_read},             /* READ DELETED DATA */
    {0x3f, 0x09, 8, cmd_write},            /* WRITE DELETED DATA */
    {0x9f, 0x02, 8, fdc_start_read_track}, /* READ TRACK */
    {0x1f, 0x16, 8, cmd_verify},           /* VERIFY */
    {0x1f, 0x11, 8, cmd_scan},             /* SCAN EQUAL */
    {0x1f, 0x19, 8, cmd_scan},             /* SCAN LOW OR EQUAL */
    {0x1f, 0x1d, 8, cmd_scan},             /* SCAN HIGH OR EQUAL */
    {0xbf, 0x8f, 2, cmd_relative_seek},    /* RELATIVE SEEK */
    {0xff, 0x10, 0, cmd_version},          /* VERSION */
    {0xff, 0x0e, 0, cmd_dumpreg},          /* DUMPREG */
    {0xff, 0x12, 1, cmd_perpendicular},    /* PERPENDICULAR MODE */
    {0xff, 0x13, 3, cmd_configure},        /* CONFIGURE */
    {0x7f, 0x14, 0, cmd_lock},             /* LOCK */
    {0xff, 0x18, 0, cmd_part_id},          /* PART ID */
    {0x00, 0x00, 0, cmd_invalid},          /* all others */
};

static const Command *find_command(uint8_t byte)
{
    const Command *command = commands;
    while ((byte & command->mask) != command->code)
        command++;
    return command;
}

/* ---- FIFO ---- */

static void command_byte(Fdc *fdc, uint8_t value)
{
    fdc->fifo[fdc->filled++] = value;
    const Command *command = find_command(fdc->fifo[0]);
    if (fdc->filled == 1) {
        fdc->wanted = 1 + command->parameters;
        fdc->command = value;
    }
    if (fdc->filled < fdc->wanted)
        return;
    log_printf(LOG_BLOCK, "fdc: command 0x%02x %02x %02x %02x %02x", fdc->fifo[0], fdc->fifo[1],
               fdc->fifo[2], fdc->fifo[3], fdc->fifo[4]);
    command->fn(fdc);
}

static void fifo_write(Fdc *fdc, uint8_t value)
{
    switch (fdc->phase) {
    case FDC_COMMAND:
        command_byte(fdc, value);
        break;
    case FDC_DATA:
        fdc_data_write(fdc, value);
        break;
    default:
        guest_error("fdc: byte 0x%02x written while the controller does not take one", value);
    }
}

static uint8_t fifo_read(Fdc *fdc)
{
    if (fdc->phase == FDC_DATA)
        return fdc_data_read(fdc);
    if (fdc->phase != FDC_RESULT) {
        guest_error("fdc: FIFO read while the controller has no byte");
        return 0;
    }
    uint8_t value = fdc->fifo[fdc->next++];
    if (fdc->next == fdc->filled) {
        fdc_set_irq(fdc, seek_status_waits(fdc));
        to_command_phase(fdc);
    }
    return value;
}

static uint8_t main_status(const Fdc *fdc)
{
    bool to_host = fdc->job == FDC_READ;
    switch (fdc->phase) {
    case FDC_COMMAND:
        return MSR_RQM | (fdc->filled ? MSR_BUSY : 0);
    case FDC_EXECUTE:
        return MSR_BUSY;
    case FDC_DATA:
        return MSR_RQM | MSR_BUSY | MSR_NON_DMA | (to_host ? MSR_DIO : 0);
    case FDC_RESULT:
        return MSR_RQM | MSR_BUSY | MSR_DIO;
    default:
        return 0;
    }
}

/* ---- Reset ---- */

static void reset_begin(Fdc *fdc)
{
    fdc_drop_job(fdc);
    fdc->phase = FDC_RESET;
    fdc->reset_senses = 0;
    memset(fdc->seek_status, 0, sizeof(fdc->seek_status));
    fdc_set_irq(fdc, false);
    if (fdc->in_flight)
        blk_cancel(&fdc->req);
}

/* What SPECIFY, PERPENDICULAR and, under LOCK, CONFIGURE set outlives a reset by DOR or DSR. */
void fdc_reset_end(Fdc *fdc)
{
    if (fdc->in_flight || !(fdc->dor & DOR_RUN))
        return;
    if (!fdc->lock) {
        fdc->config = (fdc->config & CONFIG_EIS) | CONFIG_EFIFO;
        fdc->precompensation = 0;
    }
    fdc->perpendicular &= PERPENDICULAR_UNITS;
    memset(fdc->pcn, 0, sizeof(fdc->pcn));
    to_command_phase(fdc);
    if (!(fdc->config & CONFIG_NO_POLL)) {
        fdc->reset_senses = FDC_UNITS;
        fdc_set_irq(fdc, true);
    }
}

void fdc_reset(Fdc *fdc)
{
    if (fdc->in_flight) {
        fdc->phase = FDC_RESET;
        fdc->dor &= (uint8_t)~DOR_RUN;
        blk_cancel(&fdc->req);
        fdc_wait(fdc);
        fdc->dor = DOR_RESET_VALUE;
    }
    fdc->host->dma_request(fdc->opaque, false);
    fdc->host->irq(fdc->opaque, false);
    to_command_phase(fdc);
}

static void write_dor(Fdc *fdc, uint8_t value)
{
    uint8_t changed = fdc->dor ^ value;
    fdc->dor = value;
    if (!(changed & DOR_RUN))
        return;
    if (value & DOR_RUN)
        fdc_reset_end(fdc);
    else
        reset_begin(fdc);
}

static void write_dsr(Fdc *fdc, uint8_t value)
{
    fdc->dsr = value & (uint8_t)~DSR_RESET;
    if (value & DSR_RESET) {
        reset_begin(fdc);
        fdc_reset_end(fdc);
    }
}

/* ---- Registers ---- */

uint8_t fdc_read(Fdc *fdc, unsigned reg)
{
    const FloppyDrive *drive;
    switch (reg) {
    case REG_DOR:
        return fdc->dor;
    case REG_TDR:
        return fdc->tdr;
    case REG_MSR:
        return main_status(fdc);
    case REG_FIFO:
        return fifo_read(fdc);
    case REG_DIR:
        drive = fdc_drive(fdc, fdc->dor & DOR_UNIT);
        return drive && (drive->changed || !drive->format) ? DIR_CHANGED : 0;
    default:
        return 0xff;
    }
}

void fdc_write(Fdc *fdc, unsigned reg, uint8_t value)
{
    switch (reg) {
    case REG_DOR:
        write_dor(fdc, value);
        break;
    case REG_TDR:
        fdc->tdr = value & 3;
        break;
    case REG_DSR:
        write_dsr(fdc, value);
        break;
    case REG_FIFO:
        fifo_write(fdc, value);
        break;
    case REG_CCR:
        fdc->dsr = (uint8_t)((fdc->dsr & ~DSR_RATE) | (value & DSR_RATE));
        break;
    default:
        break;
    }
}

/* ---- Loaded state ---- */

static bool state_post_load(void *state, GError **error)
{
    const Fdc *fdc = state;
    bool fifo = fdc->filled <= sizeof(fdc->fifo) && fdc->wanted <= sizeof(fdc->fifo);
    if (fdc->phase == FDC_COMMAND)
        fifo = fifo && fdc->filled < fdc->wanted &&
               (!fdc->filled || fdc->wanted == 1 + find_command(fdc->fifo[0])->parameters);
    if (fdc->phase == FDC_RESULT)
        fifo = fifo && fdc->next < fdc->filled;
    if (fdc->phase >= FDC_PHASES || !fifo || fdc->reset_senses > FDC_UNITS)
        return fail(error, "i82077: phase %u with %u of %u bytes is not possible", fdc->phase,
                    fdc->filled, fdc->wanted);
    if (!fdc_job_valid(fdc))
        return fail(error, "i82077: job %u is not possible", fdc->job);
    fdc->host->irq(fdc->opaque, fdc->irq);
    return true;
}
