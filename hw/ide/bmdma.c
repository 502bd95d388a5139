/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bus master IDE engine: registers and the walk of the descriptor table. */
#include "bmdma.h"
#include "util/bytes.h"
#include "util/log.h"

enum { REG_COMMAND = 0, REG_STATUS = 2, REG_TABLE = 4 };
enum { COMMAND_START = 0x01, COMMAND_TO_MEMORY = 0x08 };
enum {
    STATUS_ACTIVE = 0x01,
    STATUS_ERROR = 0x02,
    STATUS_INTERRUPT = 0x04,
    STATUS_CAPABLE = 0x60, /* drives 0 and 1 can do DMA: for software's use */
};
#define DESCRIPTOR_BYTES 8u
#define DESCRIPTORS_MAX  8192u /* the table may not be longer than 64 KiB */
#define DESCRIPTOR_LAST  0x80000000u

static const StateField bmdma_fields[] = {
    STATE_HOST(BmDma, pci),
    STATE_HOST(BmDma, channel),
    STATE_U(BmDma, command, 0),
    STATE_U(BmDma, status, 0),
    STATE_U(BmDma, table, 0),
    STATE_U(BmDma, exhausted, 0),
    STATE_END,
};
const StateDesc bmdma_state = {
    .name = "bmdma", .version = 1, .size = sizeof(BmDma), .fields = bmdma_fields};

void bmdma_init(BmDma *bm, PciDevice *pci, AtaChannel *channel)
{
    bm->pci = pci;
    bm->channel = channel;
}

/* ---- Registers ---- */

uint8_t bmdma_read(const BmDma *bm, unsigned reg)
{
    if (reg == REG_COMMAND)
        return bm->command;
    if (reg == REG_STATUS)
        return bm->status;
    return reg >= REG_TABLE ? (uint8_t)(bm->table >> 8 * (reg - REG_TABLE)) : 0;
}

/* A transfer that is at the block layer when the guest stops the engine still runs to its end, and
 * the engine shows active until then. */
static void write_command(BmDma *bm, uint8_t value)
{
    bool was_on = bm->command & COMMAND_START, on = value & COMMAND_START;
    bm->command = value & (COMMAND_START | COMMAND_TO_MEMORY);
    if (on && !was_on) {
        bm->status |= STATUS_ACTIVE;
        bm->exhausted = false;
        ata_dma_started(bm->channel);
    } else if (!on && !ata_dma_in_flight(bm->channel)) {
        bm->status &= (uint8_t)~STATUS_ACTIVE;
    }
}

void bmdma_write(BmDma *bm, unsigned reg, uint8_t value)
{
    switch (reg) {
    case REG_COMMAND:
        write_command(bm, value);
        break;
    case REG_STATUS:
        bm->status &= (uint8_t) ~(STATUS_CAPABLE | (value & (STATUS_ERROR | STATUS_INTERRUPT)));
        bm->status |= value & STATUS_CAPABLE;
        break;
    case REG_TABLE:
        value &= 0xfc;
        /* fall through */
    case REG_TABLE + 1:
    case REG_TABLE + 2:
    case REG_TABLE + 3:
        bm->table = (uint32_t)bits_set(bm->table, 8 * (reg - REG_TABLE), 8, value);
        break;
    }
}

void bmdma_intrq(BmDma *bm, bool level)
{
    if (level)
        bm->status |= STATUS_INTERRUPT;
}

/* ---- Transfers ---- */

bool bmdma_running(const BmDma *bm)
{
    return bm->status & STATUS_ACTIVE && bm->command & COMMAND_START;
}

static AtaDmaResult stop(BmDma *bm, AtaDmaResult why)
{
    bm->status &= (uint8_t)~STATUS_ACTIVE;
    if (why == ATA_DMA_FAULT)
        bm->status |= STATUS_ERROR;
    return why;
}

/* Guest memory at [addr, addr + length), in as many pieces as it takes. */
static bool map_region(BmDma *bm, uint64_t addr, uint64_t length, bool to_memory, GArray *iov)
{
    while (length) {
        uint64_t part = length;
        void *host = pci_dma_map(bm->pci, addr, &part, to_memory);
        if (!host || !part)
            return false;
        struct iovec piece = {host, part};
        g_array_append_val(iov, piece);
        addr += part;
        length -= part;
    }
    return true;
}

/* A region of 0 bytes means 64 KiB; its address and length are even. */
AtaDmaResult bmdma_map(BmDma *bm, bool to_memory, uint64_t skip, uint64_t bytes, GArray *iov)
{
    if (!pci_bus_master(bm->pci))
        return ATA_DMA_OFF;
    if (to_memory != !!(bm->command & COMMAND_TO_MEMORY))
        guest_error("ide: %s: bus master direction differs from the command's", bm->channel->name);
    bm->exhausted = false;
    for (unsigned n = 0; bytes; n++) {
        uint8_t raw[DESCRIPTOR_BYTES];
        if (n == DESCRIPTORS_MAX)
            return stop(bm, ATA_DMA_SHORT);
        uint64_t at = (uint64_t)bm->table + n * DESCRIPTOR_BYTES;
        if (pci_dma_read(bm->pci, at, raw, sizeof(raw)) != MEM_OK)
            return stop(bm, ATA_DMA_FAULT);
        uint32_t base = ld32_le(raw) & ~1u, flags = ld32_le(raw + 4);
        uint32_t size = flags & 0xfffe ? flags & 0xfffe : 0x10000;
        uint64_t past = MIN(skip, size), take = MIN(bytes, size - past);
        skip -= past;
        bytes -= take;
        if (!map_region(bm, (uint64_t)base + past, take, to_memory, iov))
            return stop(bm, ATA_DMA_FAULT);
        bool last = flags & DESCRIPTOR_LAST;
        if (last && bytes)
            return stop(bm, ATA_DMA_SHORT);
        bm->exhausted = last && past + take == size;
    }
    return ATA_DMA_OK;
}

void bmdma_end(BmDma *bm)
{
    if (bm->exhausted || !(bm->command & COMMAND_START))
        bm->status &= (uint8_t)~STATUS_ACTIVE;
}
