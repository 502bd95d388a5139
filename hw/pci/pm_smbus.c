/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PIIX4's SMBus host controller.  (Intel 82371AB datasheet, 290562, 11.2.) */
#include "pm_smbus.h"

#include "util/log.h"

enum {
    SMBHSTSTS = 0x00,
    SMBHSTCNT = 0x02,
    SMBHSTCMD = 0x03,
    SMBHSTADD = 0x04,
    SMBHSTDAT0 = 0x05,
    SMBHSTDAT1 = 0x06,
    SMBBLKDAT = 0x07,
};
enum { STS_INTER = 0x02, STS_DEV_ERR = 0x04, STS_BUS_ERR = 0x08, STS_FAILED = 0x10 };
enum { CNT_INTEREN = 0x01, CNT_KILL = 0x02, CNT_START = 0x40, CNT_READABLE = 0x1f };

#define STS_ALL (STS_INTER | STS_DEV_ERR | STS_BUS_ERR | STS_FAILED)

uint8_t pm_smbus_read(PmSmbus *bus, unsigned offset)
{
    switch (offset) {
    case SMBHSTSTS:
        return bus->sts;
    case SMBHSTCNT:
        bus->index = 0; /* a read of the control register rewinds the block buffer */
        return bus->cnt & CNT_READABLE;
    case SMBHSTCMD:
        return bus->cmd;
    case SMBHSTADD:
        return bus->addr;
    case SMBHSTDAT0:
    case SMBHSTDAT1:
        return bus->data[offset - SMBHSTDAT0];
    case SMBBLKDAT:
        return bus->block[bus->index++ % sizeof(bus->block)];
    default:
        guest_unimp("smbus: read of register 0x%02x", offset);
        return 0;
    }
}

static void write_control(PmSmbus *bus, uint8_t value)
{
    bus->cnt = value & CNT_READABLE;
    if (value & CNT_KILL)
        bus->sts |= STS_FAILED;
    else if (value & CNT_START)
        bus->sts |= STS_DEV_ERR; /* nobody acknowledges the address */
}

void pm_smbus_write(PmSmbus *bus, unsigned offset, uint8_t value)
{
    switch (offset) {
    case SMBHSTSTS:
        bus->sts &= (uint8_t)~value;
        bus->index = 0;
        break;
    case SMBHSTCNT:
        write_control(bus, value);
        break;
    case SMBHSTCMD:
        bus->cmd = value;
        break;
    case SMBHSTADD:
        bus->addr = value;
        break;
    case SMBHSTDAT0:
    case SMBHSTDAT1:
        bus->data[offset - SMBHSTDAT0] = value;
        break;
    case SMBBLKDAT:
        bus->block[bus->index++ % sizeof(bus->block)] = value;
        break;
    default:
        guest_unimp("smbus: write of 0x%02x to register 0x%02x", value, offset);
    }
}

bool pm_smbus_irq(const PmSmbus *bus)
{
    return (bus->cnt & CNT_INTEREN) && (bus->sts & STS_ALL);
}

static const StateField fields[] = {
    STATE_U(PmSmbus, sts, 0),   STATE_U(PmSmbus, cnt, 0),
    STATE_U(PmSmbus, cmd, 0),   STATE_U(PmSmbus, addr, 0),
    STATE_BYTES(PmSmbus, data), STATE_BYTES(PmSmbus, block),
    STATE_U(PmSmbus, index, 0), STATE_END,
};
const StateDesc pm_smbus_state = {"pm-smbus", 1, sizeof(PmSmbus), fields};
