/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ATA channel: task file, device selection, interrupts, PIO data port, resets.
 *
 * ATA8-ACS (registers, signatures, EXECUTE DEVICE DIAGNOSTIC) and ATA8-APT (device 0 answering for
 * an absent device 1, software reset, interrupt pending).
 */
#include "hw/ide/ata.h"

#include "ata_private.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

enum { CMD_DEVICE_RESET = 0x08, CMD_DIAGNOSTIC = 0x90 };

static const StateField task_file_fields[] = {
    STATE_BYTES(AtaTaskFile, now),
    STATE_BYTES(AtaTaskFile, before),
    STATE_U(AtaTaskFile, status, 0),
    STATE_U(AtaTaskFile, error, 0),
    STATE_END,
};
static const StateDesc task_file_state = {"ata-task-file", 1, sizeof(AtaTaskFile),
                                          task_file_fields};

static const StateField drive_fields[] = {
    STATE_HOST(AtaDrive, ops),          STATE_HOST(AtaDrive, machine),
    STATE_HOST(AtaDrive, blk),          STATE_HOST(AtaDrive, channel),
    STATE_HOST(AtaDrive, unit),         STATE_HOST(AtaDrive, stop_bh),
    STATE_HOST(AtaDrive, req),          STATE_HOST(AtaDrive, buf_iov),
    STATE_HOST(AtaDrive, dma_iov),      STATE_HOST(AtaDrive, dma_next),
    STATE_HOST(AtaDrive, dma_count),    STATE_HOST(AtaDrive, dma_cut),
    STATE_HOST(AtaDrive, queued),       STATE_HOST(AtaDrive, running),
    STATE_HOST(AtaDrive, in_flight),    STATE_STRUCT(AtaDrive, tf, &task_file_state),
    STATE_U(AtaDrive, command, 0),      STATE_U(AtaDrive, intrq, 0),
    STATE_U(AtaDrive, phase, ATA_IDLE), STATE_U(AtaDrive, pos, 0),
    STATE_U(AtaDrive, end, 0),          STATE_BUFFER(AtaDrive, buf, ATA_BUFFER_SIZE),
    STATE_U(AtaDrive, io_op, 0),        STATE_U(AtaDrive, io_dma, 0),
    STATE_U(AtaDrive, retry, 0),        STATE_U(AtaDrive, io_flags, 0),
    STATE_U(AtaDrive, io_buf, 0),       STATE_U(AtaDrive, io_offset, 0),
    STATE_U(AtaDrive, io_bytes, 0),     STATE_U(AtaDrive, dma_to_memory, 0),
    STATE_U(AtaDrive, dma_bytes, 0),    STATE_U(AtaDrive, dma_done, 0),
    STATE_TIMER(AtaDrive, retry_timer), STATE_END,
};
const StateDesc ata_drive_state = {
    .name = "ata-drive",
    .version = 1,
    .size = sizeof(AtaDrive),
    .fields = drive_fields,
    .pre_save = ata_drive_pre_save,
    .post_load = ata_drive_post_load,
};

static bool channel_post_load(void *state, GError **error)
{
    AtaChannel *channel = state;
    if (channel->selected > 1)
        return fail(error, "ata-channel: selected is %u, not 0 or 1", channel->selected);
    return true;
}

static const StateField channel_fields[] = {
    STATE_HOST(AtaChannel, ops),       STATE_HOST(AtaChannel, opaque),
    STATE_HOST(AtaChannel, name),      STATE_HOST(AtaChannel, drive),
    STATE_U(AtaChannel, selected, 0),  STATE_U(AtaChannel, control, 0),
    STATE_U(AtaChannel, intrq, false), STATE_END,
};
const StateDesc ata_channel_state = {"ata-channel",  1,    sizeof(AtaChannel),
                                     channel_fields, NULL, channel_post_load};

/* ---- Interrupts ---- */

/* INTRQ is the selected drive's pending interrupt, unless nIEN. */
static void update_intrq(AtaChannel *channel)
{
    const AtaDrive *drive = channel->drive[channel->selected];
    bool level = drive && drive->intrq && !(channel->control & ATA_CTL_NIEN);
    if (level == channel->intrq)
        return;
    channel->intrq = level;
    channel->ops->intrq(channel->opaque, level);
}

void ata_set_intrq(AtaDrive *drive, bool level)
{
    drive->intrq = level;
    update_intrq(drive->channel);
}

/* ---- Ends of commands ---- */

static void finish(AtaDrive *drive, uint8_t status, bool irq)
{
    drive->phase = ATA_IDLE;
    drive->tf.status = status;
    if (irq)
        ata_set_intrq(drive, true);
}

void ata_done(AtaDrive *drive)
{
    finish(drive, ATA_SR_DRDY | ATA_SR_DSC, true);
}

void ata_done_silent(AtaDrive *drive)
{
    finish(drive, ATA_SR_DRDY | ATA_SR_DSC, false);
}

void ata_fail(AtaDrive *drive, uint8_t error)
{
    drive->tf.error = error;
    finish(drive, ATA_SR_DRDY | ATA_SR_DSC | ATA_SR_ERR, true);
}

void ata_abort(AtaDrive *drive)
{
    ata_fail(drive, ATA_ER_ABRT);
}

void ata_pio(AtaDrive *drive, bool in, uint32_t start, uint32_t length, bool irq)
{
    drive->pos = start;
    drive->end = start + length;
    drive->phase = in ? ATA_PIO_IN : ATA_PIO_OUT;
    drive->tf.status = ATA_SR_DRDY | ATA_SR_DSC | ATA_SR_DRQ;
    if (irq)
        ata_set_intrq(drive, true);
}

/* ---- Data port ---- */

/* The end of the window, or a drive that does not want data. */
static uint32_t data_read_slow(AtaChannel *channel, AtaDrive *drive, unsigned size)
{
    if (!drive || drive->phase != ATA_PIO_IN) {
        guest_error("ide: %s: data port read without data request", channel->name);
        return 0;
    }
    uint8_t bytes[4] = {0};
    uint32_t length = MIN(drive->end - drive->pos, MAX(size, 2));
    memcpy(bytes, drive->buf + drive->pos, length);
    drive->pos += length;
    if (drive->pos == drive->end)
        drive->ops->pio_done(drive);
    return ld32_le(bytes);
}

uint32_t ata_data_read(AtaChannel *channel, unsigned size)
{
    AtaDrive *drive = channel->drive[channel->selected];
    if (G_LIKELY(drive && drive->phase == ATA_PIO_IN && drive->end - drive->pos > 4)) {
        uint32_t value = ld32_le(drive->buf + drive->pos);
        drive->pos += MAX(size, 2);
        return value;
    }
    return data_read_slow(channel, drive, size);
}

static void data_write_slow(AtaChannel *channel, AtaDrive *drive, uint32_t value, unsigned size)
{
    if (!drive || drive->phase != ATA_PIO_OUT) {
        guest_error("ide: %s: data port write without data request", channel->name);
        return;
    }
    uint8_t bytes[4];
    st32_le(bytes, value);
    uint32_t length = MIN(drive->end - drive->pos, MAX(size, 2));
    memcpy(drive->buf + drive->pos, bytes, length);
    drive->pos += length;
    if (drive->pos == drive->end)
        drive->ops->pio_done(drive);
}

void ata_data_write(AtaChannel *channel, uint32_t value, unsigned size)
{
    AtaDrive *drive = channel->drive[channel->selected];
    if (G_LIKELY(size == 2 && drive && drive->phase == ATA_PIO_OUT &&
                 drive->end - drive->pos > 2)) {
        st16_le(drive->buf + drive->pos, (uint16_t)value);
        drive->pos += 2;
        return;
    }
    data_write_slow(channel, drive, value, size);
}

/* ---- Resets ---- */

void ata_set_signature(AtaDrive *drive)
{
    AtaTaskFile *tf = &drive->tf;
    memset(tf->now, 0, sizeof(tf->now));
    memset(tf->before, 0, sizeof(tf->before));
    tf->now[ATA_REG_COUNT] = 1;
    tf->now[ATA_REG_LBA_LOW] = 1;
    tf->now[ATA_REG_LBA_MID] = drive->ops->packet ? 0x14 : 0;
    tf->now[ATA_REG_LBA_HIGH] = drive->ops->packet ? 0xeb : 0;
}

static void reset_registers(AtaDrive *drive)
{
    ata_set_signature(drive);
    drive->tf.error = 1; /* diagnostic code: device passed */
    drive->tf.status = drive->ops->idle_status;
    drive->phase = ATA_IDLE;
}

static void reset_begin(AtaDrive *drive)
{
    drive->phase = ATA_RESET;
    drive->tf.status = ATA_SR_BSY;
    drive->retry = false;
    timer_cancel(&drive->retry_timer);
    ata_set_intrq(drive, false);
    if (drive->in_flight)
        blk_cancel(&drive->req);
}

void ata_reset_end(AtaDrive *drive)
{
    if (drive->in_flight || (drive->channel->control & ATA_CTL_SRST))
        return;
    ata_dma_drop(drive);
    drive->ops->reset(drive, false);
    reset_registers(drive);
}

void ata_drive_quiesce(AtaDrive *drive)
{
    if (!drive->in_flight)
        return;
    drive->phase = ATA_RESET;
    blk_cancel(&drive->req);
    blk_drain(drive->blk);
}

void ata_drive_reset(AtaDrive *drive)
{
    ata_drive_quiesce(drive);
    ata_dma_drop(drive);
    drive->ops->reset(drive, true);
    reset_registers(drive);
}

void ata_write_control(AtaChannel *channel, uint8_t value)
{
    uint8_t changed = channel->control ^ value;
    channel->control = value;
    if (changed & ATA_CTL_SRST) {
        channel->selected = 0;
        for (unsigned i = 0; i < 2; i++) {
            if (channel->drive[i] && (value & ATA_CTL_SRST))
                reset_begin(channel->drive[i]);
            else if (channel->drive[i])
                ata_reset_end(channel->drive[i]);
        }
    }
    update_intrq(channel);
}

/* ---- Commands ---- */

/* Both drives run their diagnostics; device 0 answers for both. */
static void execute_diagnostic(AtaChannel *channel)
{
    channel->selected = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (channel->drive[i]) {
            channel->drive[i]->intrq = false;
            reset_registers(channel->drive[i]);
        }
    }
    if (channel->drive[0])
        channel->drive[0]->intrq = true;
    update_intrq(channel);
}

static void execute(AtaChannel *channel, AtaDrive *drive, uint8_t command)
{
    if (drive->phase == ATA_RESET || drive->phase == ATA_ASLEEP)
        return;
    if ((drive->tf.status & (ATA_SR_BSY | ATA_SR_DRQ)) &&
        !(command == CMD_DEVICE_RESET && drive->ops->packet)) {
        guest_error("ide: %s: command 0x%02x while device %u is busy", channel->name, command,
                    drive->unit);
        return;
    }
    log_printf(LOG_BLOCK, "ide: %s device %u: command 0x%02x", channel->name, drive->unit, command);
    ata_set_intrq(drive, false);
    if (command == CMD_DEVICE_RESET && drive->ops->packet) {
        reset_begin(drive);
        ata_reset_end(drive);
        return;
    }
    drive->command = command;
    drive->tf.error = 0;
    drive->tf.status = ATA_SR_DRDY | ATA_SR_DSC;
    drive->ops->command(drive, command);
}

/* ---- Registers ---- */

void ata_write(AtaChannel *channel, unsigned reg, uint8_t value)
{
    AtaDrive *drive = channel->drive[channel->selected];
    bool busy = drive && (drive->tf.status & (ATA_SR_BSY | ATA_SR_DRQ));
    channel->control &= (uint8_t)~ATA_CTL_HOB;
    if (reg == ATA_REG_COMMAND) {
        if (value == CMD_DIAGNOSTIC && !busy)
            execute_diagnostic(channel);
        else if (drive)
            execute(channel, drive, value);
        return;
    }
    if (busy)
        return;
    for (unsigned i = 0; i < 2; i++) {
        if (!channel->drive[i])
            continue;
        AtaTaskFile *tf = &channel->drive[i]->tf;
        tf->before[reg] = tf->now[reg];
        tf->now[reg] = value;
    }
    if (reg == ATA_REG_DEVICE) {
        channel->selected = !!(value & ATA_DEV_UNIT);
        update_intrq(channel);
    }
}

/* Device 0 shows its registers for an absent device 1, but 0 as its status; an absent device 0
 * leaves the bus undriven, which reads as 0 here. */
uint8_t ata_read(AtaChannel *channel, unsigned reg)
{
    AtaDrive *drive = channel->drive[channel->selected];
    if (reg == ATA_REG_STATUS) {
        if (!drive)
            return 0;
        if (drive->intrq)
            ata_set_intrq(drive, false);
        return drive->tf.status;
    }
    if (!drive)
        drive = channel->selected ? channel->drive[0] : NULL;
    if (!drive)
        return 0;
    const AtaTaskFile *tf = &drive->tf;
    if (reg == ATA_REG_ERROR)
        return tf->error;
    if (reg == ATA_REG_DEVICE) /* bits 7 and 5 are obsolete and read as ones */
        return (tf->now[reg] & (uint8_t)~ATA_DEV_UNIT) | 0xa0 |
               (channel->selected ? ATA_DEV_UNIT : 0);
    return channel->control & ATA_CTL_HOB ? tf->before[reg] : tf->now[reg];
}

uint8_t ata_read_alt_status(AtaChannel *channel)
{
    AtaDrive *drive = channel->drive[channel->selected];
    return drive ? drive->tf.status : 0;
}

/* ---- Life ---- */

void ata_channel_init(AtaChannel *channel, const char *name, const AtaHostOps *ops, void *opaque)
{
    channel->name = name;
    channel->ops = ops;
    channel->opaque = opaque;
}

void ata_channel_fini(AtaChannel *channel)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!channel->drive[i])
            continue;
        ata_drive_quiesce(channel->drive[i]);
        channel->drive[i]->channel = NULL;
        channel->drive[i] = NULL;
    }
}

void ata_channel_reset(AtaChannel *channel)
{
    channel->ops->intrq(channel->opaque, false);
}

bool ata_drive_attach(AtaDrive *drive, AtaChannel *channel, unsigned unit, GError **error)
{
    if (channel->drive[unit])
        return fail(error, "%s has a unit %u already", channel->name, unit);
    channel->drive[unit] = drive;
    drive->channel = channel;
    drive->unit = unit;
    return true;
}
