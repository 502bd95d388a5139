/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PC/AT's two 8237A DMA controllers with their page registers: Intel's 8237A datasheet
 * (231466), and the 82371SB (PIIX3) datasheet for the AT's additions.
 *
 *     ports 0x00-0x0f    first controller, channels 0-3, bytes
 *     ports 0xc0-0xdf    second controller, channels 4-7, words; every other port
 *     ports 0x80-0x8f    page registers: address bits 16-23; unused ones keep a byte
 *     ports 0x480-0x48f  high page registers: address bits 24-31
 *
 * Nothing runs by itself: a device moves its data through IsaDmaOps when it has some.  Channel 4
 * is the cascade of the first controller.  Memory-to-memory transfers do not exist in a PC.
 */
#include <string.h>

#include "hw/core/isa.h"
#include "hw/registry.h"
#include "util/bytes.h"
#include "util/log.h"

enum {
    REG_COMMAND = 8,
    REG_REQUEST,
    REG_MASK,
    REG_MODE,
    REG_CLEAR_FF,
    REG_MASTER_CLEAR,
    REG_CLEAR_MASK,
    REG_ALL_MASK
};
enum { COMMAND_MEM_TO_MEM = 0x01, COMMAND_DISABLE = 0x04 };
enum { MODE_VERIFY = 0, MODE_WRITE = 1, MODE_READ = 2 }; /* bits 2-3: write is to memory */
enum { MODE_AUTOINIT = 0x10, MODE_DECREMENT = 0x20, MODE_CASCADE = 0xc0 };

typedef struct DmaChannel {
    uint16_t base_address, base_count;
    uint16_t address, count; /* current */
    uint8_t mode;            /* bits 2-7 */
} DmaChannel;

typedef struct DmaController {
    unsigned shift; /* 0: bytes, 1: words; ports are as far apart */
    DmaChannel channel[4];
    uint8_t command;
    uint8_t mask;    /* a bit a channel */
    uint8_t request; /* by software */
    uint8_t dreq;    /* lines */
    uint8_t reached; /* terminal counts since the last status read */
    bool flip_flop;  /* the next byte of an address or count is the high one */
} DmaController;

typedef struct I8237 {
    Device dev;
    Region io[2], page_io, high_io;
    DmaController controller[2];
    uint8_t page[16], high[16];
} I8237;

/* ---- Registers of one controller ---- */

static void dma_master_clear(DmaController *c)
{
    c->command = c->request = c->reached = 0;
    c->mask = 0x0f;
    c->flip_flop = false;
}

static uint8_t dma_read_byte(DmaController *c, uint16_t value)
{
    bool high = c->flip_flop;
    c->flip_flop = !high;
    return high ? value >> 8 : value;
}

/* Base and current register are written together. */
static void dma_write_byte(DmaController *c, uint16_t *base, uint16_t *current, uint8_t value)
{
    *base = c->flip_flop ? (*base & 0x00ff) | value << 8 : (*base & 0xff00) | value;
    *current = *base;
    c->flip_flop = !c->flip_flop;
}

static uint8_t dma_read_status(DmaController *c)
{
    uint8_t value = c->reached | (c->dreq | c->request) << 4;
    c->reached = 0;
    return value;
}

static uint64_t dma_read_register(void *opaque, hwaddr offset, unsigned size)
{
    DmaController *c = opaque;
    unsigned reg = offset >> c->shift;
    DmaChannel *ch = &c->channel[reg / 2 % 4];
    if (reg < 8)
        return dma_read_byte(c, reg & 1 ? ch->count : ch->address);
    switch (reg) {
    case REG_COMMAND:
        return dma_read_status(c);
    case REG_ALL_MASK:
        return 0xf0 | c->mask;
    case REG_MASTER_CLEAR: /* the temporary register of memory-to-memory transfers */
        return 0;
    }
    guest_error("i8237: read of write-only register 0x%x", reg);
    return 0xff;
}

static uint8_t with_bit(uint8_t set, uint8_t value)
{
    uint8_t bit = 1 << (value & 3);
    return value & 4 ? set | bit : set & ~bit;
}

static void dma_write_register(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    DmaController *c = opaque;
    unsigned reg = offset >> c->shift;
    DmaChannel *ch = &c->channel[reg / 2 % 4];
    if (reg < 8) {
        if (reg & 1)
            dma_write_byte(c, &ch->base_count, &ch->count, value);
        else
            dma_write_byte(c, &ch->base_address, &ch->address, value);
        return;
    }
    switch (reg) {
    case REG_COMMAND:
        c->command = value;
        if (value & COMMAND_MEM_TO_MEM)
            guest_unimp("i8237: memory-to-memory transfer");
        break;
    case REG_REQUEST:
        c->request = with_bit(c->request, value);
        break;
    case REG_MASK:
        c->mask = with_bit(c->mask, value);
        break;
    case REG_MODE:
        c->channel[value & 3].mode = value & ~3;
        break;
    case REG_CLEAR_FF:
        c->flip_flop = false;
        break;
    case REG_MASTER_CLEAR:
        dma_master_clear(c);
        break;
    case REG_CLEAR_MASK:
        c->mask = 0;
        break;
    case REG_ALL_MASK:
        c->mask = value & 0x0f;
        break;
    }
}

static const RegionOps dma_ops = {dma_read_register, dma_write_register, .max_size = 1};

static uint64_t page_read(void *opaque, hwaddr offset, unsigned size)
{
    return ((uint8_t *)opaque)[offset];
}

static void page_write(void *opaque, hwaddr offset, uint64_t value, unsigned size)
{
    ((uint8_t *)opaque)[offset] = value;
}

static const RegionOps page_ops = {page_read, page_write, .max_size = 1};

/* ---- Transfers ---- */

static DmaController *dma_of(I8237 *s, unsigned channel)
{
    return &s->controller[channel / 4 % 2];
}

static DmaChannel *dma_channel(I8237 *s, unsigned channel)
{
    return &dma_of(s, channel)->channel[channel % 4];
}

static void dma_request(void *opaque, unsigned channel, bool level)
{
    DmaController *c = dma_of(opaque, channel);
    c->dreq = with_bit(c->dreq, channel % 4 | (level ? 4 : 0));
}

/* The second controller passes the first one's requests on through channel 4. */
static bool dma_cascade_open(I8237 *s)
{
    DmaController *second = &s->controller[1];
    return !(second->command & COMMAND_DISABLE) && !(second->mask & 1);
}

static bool dma_ready(void *opaque, unsigned channel, bool to_memory)
{
    I8237 *s = opaque;
    DmaController *c = dma_of(s, channel);
    DmaChannel *ch = dma_channel(s, channel);
    unsigned transfer = ch->mode >> 2 & 3;
    if (c->command & COMMAND_DISABLE || c->mask & 1 << channel % 4)
        return false;
    if ((channel < 4 && !dma_cascade_open(s)) || (ch->mode & MODE_CASCADE) == MODE_CASCADE)
        return false;
    return transfer == MODE_VERIFY || transfer == (to_memory ? MODE_WRITE : MODE_READ);
}

/* Where a channel's unit of that (16-bit) address lies in memory. */
static hwaddr dma_address(I8237 *s, unsigned channel, uint16_t address)
{
    static const uint8_t page_of[8] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};
    unsigned n = page_of[channel % 8], shift = dma_of(s, channel)->shift;
    hwaddr page = shift ? s->page[n] & ~1u : s->page[n];
    return (hwaddr)s->high[n] << 24 | page << 16 | (hwaddr)address << shift;
}

/* Moves `units` units between buf and memory; the address stays within its page. */
static void dma_move(I8237 *s, unsigned channel, uint8_t *buf, uint32_t units, bool to_memory)
{
    DmaChannel *ch = dma_channel(s, channel);
    AddressSpace *mem = &s->dev.machine->mem;
    unsigned shift = dma_of(s, channel)->shift;
    while (units) {
        uint32_t run = ch->mode & MODE_DECREMENT ? 1 : MIN(units, 0x10000u - ch->address);
        hwaddr at = dma_address(s, channel, ch->address);
        if ((ch->mode >> 2 & 3) == MODE_VERIFY) {
            if (!to_memory)
                memset(buf, 0xff, run << shift); /* nobody drives the bus */
        } else if (to_memory) {
            dma_write(mem, at, buf, run << shift);
        } else {
            dma_read(mem, at, buf, run << shift);
        }
        ch->address += ch->mode & MODE_DECREMENT ? -1 : (int)run;
        buf += run << shift;
        units -= run;
    }
}

static void dma_reach_terminal_count(DmaController *c, unsigned n)
{
    DmaChannel *ch = &c->channel[n];
    c->reached |= 1 << n;
    c->request &= ~(1 << n);
    if (ch->mode & MODE_AUTOINIT) {
        ch->address = ch->base_address;
        ch->count = ch->base_count;
    } else {
        c->mask |= 1 << n;
    }
}

static uint32_t dma_transfer(void *opaque, unsigned channel, void *buf, uint32_t length,
                             bool to_memory, bool *terminal_count)
{
    I8237 *s = opaque;
    DmaController *c = dma_of(s, channel);
    DmaChannel *ch = dma_channel(s, channel);
    *terminal_count = false;
    if (!dma_ready(s, channel, to_memory))
        return 0;
    uint32_t units = MIN(length >> c->shift, ch->count + 1u);
    dma_move(s, channel, buf, units, to_memory);
    *terminal_count = units == ch->count + 1u;
    ch->count -= units;
    if (*terminal_count)
        dma_reach_terminal_count(c, channel % 4);
    return units << c->shift;
}

static const IsaDmaOps dma_isa_ops = {dma_request, dma_transfer, dma_ready};

/* ---- The device ---- */

static bool i8237_realize(Device *dev, GError **error)
{
    I8237 *s = (I8237 *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    for (unsigned i = 0; i < 2; i++) {
        s->controller[i].shift = i;
        region_init_io(&s->io[i], "dma", 16u << i, &dma_ops, &s->controller[i], NULL);
        isa_map(bus, i ? 0xc0 : 0x00, &s->io[i]);
    }
    region_init_io(&s->page_io, "dma-page", 16, &page_ops, s->page, NULL);
    region_init_io(&s->high_io, "dma-high-page", 16, &page_ops, s->high, NULL);
    isa_map(bus, 0x80, &s->page_io);
    isa_map(bus, 0x480, &s->high_io);
    bus->dma = &dma_isa_ops;
    bus->dma_opaque = s;
    return true;
}

static void i8237_unrealize(Device *dev)
{
    I8237 *s = (I8237 *)dev;
    IsaBus *bus = isa_bus(dev->machine);
    for (unsigned i = 0; i < 2; i++)
        region_fini(&s->io[i]);
    region_fini(&s->page_io);
    region_fini(&s->high_io);
    if (bus) /* the bridge may have gone first */
        bus->dma = bus->dma_opaque = NULL;
}

static const StateField dma_channel_fields[] = {
    STATE_U(DmaChannel, base_address, 0), STATE_U(DmaChannel, base_count, 0),
    STATE_U(DmaChannel, address, 0),      STATE_U(DmaChannel, count, 0),
    STATE_U(DmaChannel, mode, 0),         STATE_END,
};
static const StateDesc dma_channel_state = {"i8237-channel", 1, sizeof(DmaChannel),
                                            dma_channel_fields};

static const StateField dma_controller_fields[] = {
    STATE_HOST(DmaController, shift),
    STATE_STRUCT_ARRAY(DmaController, channel, &dma_channel_state),
    STATE_U(DmaController, command, 0),
    STATE_U(DmaController, mask, 0x0f),
    STATE_U(DmaController, request, 0),
    STATE_U(DmaController, dreq, 0),
    STATE_U(DmaController, reached, 0),
    STATE_U(DmaController, flip_flop, false),
    STATE_END,
};
static const StateDesc dma_controller_state = {"i8237-controller", 1, sizeof(DmaController),
                                               dma_controller_fields};

static const StateField i8237_fields[] = {
    STATE_HOST(I8237, dev),
    STATE_HOST(I8237, io),
    STATE_HOST(I8237, page_io),
    STATE_HOST(I8237, high_io),
    STATE_STRUCT_ARRAY(I8237, controller, &dma_controller_state),
    STATE_BYTES(I8237, page),
    STATE_BYTES(I8237, high),
    STATE_END,
};
static const StateDesc i8237_state = {"i8237", 1, sizeof(I8237), i8237_fields};

const DeviceClass i8237_class = {
    .name = "i8237",
    .desc = "pair of 8237A DMA controllers with page registers",
    .bus = BUS_ISA,
    .size = sizeof(I8237),
    .state = &i8237_state,
    .realize = i8237_realize,
    .unrealize = i8237_unrealize,
};
