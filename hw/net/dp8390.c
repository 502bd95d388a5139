/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DP8390 on an NE2000 board.  (DP8390D data sheet; sections by its headings.)
 *
 * The board's memory is 16 KiB of PROM space, where the address stands with each byte doubled, and
 * 32 KiB of RAM behind it, in pages of 256 bytes.  The guest reaches both by remote DMA through the
 * data port; the chip keeps received frames in a ring of pages from PSTART to PSTOP.
 *
 * A frame without room in the ring is refused, and the peer keeps it: the ring does not overflow
 * (OVW), nothing is missed (CNTR2).  Both tell of what is lost for good.
 */
#include "dp8390.h"

#include "util/bytes.h"
#include "util/log.h"

#define PAGE       256u
#define RAM_START  0x4000u
#define MEM_SIZE   0xc000u
#define RX_HEADER  4u    /* status, next page, length */
#define FRAME_MAX  1518u /* with FCS, as the chip's receiver has it */
#define RETELL     (50 * NS_PER_US)
#define DATA_PORT  0x10
#define RESET_PORT 0x18

enum { CR_STOP = 1, CR_TXP = 4, CR_DMA_READ = 8, CR_DMA_WRITE = 0x10 };
enum { CR_SEND_PACKET = 0x18, CR_DMA_ABORT = 0x20, CR_DMA = 0x38, CR_PAGE_SHIFT = 6 };
enum {
    ISR_PRX = 0x01,
    ISR_PTX = 0x02,
    ISR_OVW = 0x10,
    ISR_CNT = 0x20,
    ISR_RDC = 0x40,
    ISR_RST = 0x80,
};
enum { RCR_AR = 2, RCR_AB = 4, RCR_AM = 8, RCR_PRO = 0x10, RCR_MON = 0x20 };
enum { DCR_WTS = 1 };
enum { TCR_LOOPBACK = 0x06 };
enum { RSR_PRX = 1, RSR_MPA = 0x10, RSR_PHY = 0x20 };
enum { TSR_PTX = 1 };
enum { COUNT_MISSED = 2 };
enum { CONFIG_LINK = 0x40, CONFIG_FULL = 0x40 }; /* of CONFIG2 and CONFIG3: link, full duplex */

static void update_irq(Dp8390 *s)
{
    irq_set(&s->irq, s->isr & s->imr & ~ISR_RST);
}

static void cause(Dp8390 *s, uint8_t bits)
{
    s->isr |= bits;
    update_irq(s);
}

/* Without STP and STA a command leaves the chip as it is, and what is not stopped was started. */
static bool running(const Dp8390 *s)
{
    return !(s->cr & CR_STOP);
}

/* ---- The board's memory ---- */

static uint8_t mem_read(const Dp8390 *s, unsigned at)
{
    return at < 32 || (at >= RAM_START && at < MEM_SIZE) ? s->mem[at] : 0xff;
}

static void mem_write(Dp8390 *s, unsigned at, uint8_t value)
{
    if (at >= RAM_START && at < MEM_SIZE)
        s->mem[at] = value;
}

/* ---- Remote DMA ---- */

/* One byte passed: the address wraps at the ring's end. */
static void remote_next(Dp8390 *s)
{
    if (++s->rsar == s->pstop * PAGE)
        s->rsar = (uint16_t)(s->pstart * PAGE);
    if (--s->rbcr == 0)
        cause(s, ISR_RDC);
}

/* The bytes that an access of the data port moves: with DCR.WTS at least a word passes, though the
 * guest sees only a byte of it. */
static unsigned data_width(const Dp8390 *s, unsigned size)
{
    return MAX(size, s->dcr & DCR_WTS ? 2u : 1u);
}

static uint64_t data_read(Dp8390 *s, unsigned size)
{
    unsigned width = data_width(s, size), i = 0;
    uint64_t value = 0;
    for (; i < width && s->rbcr; i++) {
        value |= (uint64_t)mem_read(s, s->rsar) << 8 * i;
        remote_next(s);
    }
    return i ? value & size_mask(size) : size_mask(size);
}

static void data_write(Dp8390 *s, uint64_t value, unsigned size)
{
    unsigned width = data_width(s, size);
    for (unsigned i = 0; i < width && s->rbcr; i++) {
        if (i < size)
            mem_write(s, s->rsar, (uint8_t)(value >> 8 * i));
        remote_next(s);
    }
}

/* "Send packet": a remote read of the frame at BNRY. */
static void send_packet_command(Dp8390 *s)
{
    unsigned at = s->bnry * PAGE;
    s->rsar = (uint16_t)at;
    s->rbcr = (uint16_t)(mem_read(s, at + 2) | mem_read(s, at + 3) << 8);
}

/* ---- Reception ---- */

static bool address_passes(const Dp8390 *s, const uint8_t *to)
{
    if (s->rcr & RCR_PRO)
        return true;
    if (nic_is_broadcast(to))
        return s->rcr & RCR_AB;
    if (!(to[0] & 1))
        return !memcmp(to, s->par, NET_MAC_BYTES);
    unsigned hash = nic_multicast_hash(to);
    return (s->rcr & RCR_AM) && (s->mar[hash / 8] >> hash % 8 & 1);
}

static bool ring_ok(const Dp8390 *s)
{
    return s->pstart < s->pstop && s->curr >= s->pstart && s->curr < s->pstop;
}

/* Pages between CURR and BNRY; the same page means that all are free, so it is never reached. */
static unsigned free_pages(const Dp8390 *s)
{
    unsigned size = s->pstop - s->pstart;
    if (s->curr < s->bnry)
        return MIN(size, (unsigned)(s->bnry - s->curr));
    return size - MIN(size, (unsigned)(s->curr - s->bnry));
}

static unsigned pages_of(size_t bytes)
{
    return (unsigned)(MAX(bytes, ETH_MIN_BYTES) + ETH_FCS_BYTES + RX_HEADER + PAGE - 1) / PAGE;
}

/* Puts bytes at a place of the ring, over its end where that is; returns the place behind. */
static unsigned ring_put(Dp8390 *s, unsigned at, const struct iovec *iov, int count, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        size_t part = MIN(bytes - done, s->pstop * PAGE - at);
        if (at >= RAM_START && at + part <= MEM_SIZE)
            nic_gather(iov, count, done, s->mem + at, part);
        done += part;
        at += (unsigned)part;
        if (at == s->pstop * PAGE)
            at = s->pstart * PAGE;
    }
    return at;
}

static void store(Dp8390 *s, const struct iovec *iov, int count, size_t bytes, bool group)
{
    static const uint8_t zeros[ETH_MIN_BYTES + ETH_FCS_BYTES];
    size_t whole = MAX(bytes, ETH_MIN_BYTES) + ETH_FCS_BYTES;
    unsigned next = s->curr + pages_of(bytes);
    if (next >= s->pstop)
        next -= s->pstop - s->pstart;
    s->rsr = RSR_PRX | (group ? RSR_PHY : 0);
    uint8_t header[RX_HEADER] = {s->rsr, (uint8_t)next};
    st16_le(header + 2, (uint16_t)(whole + RX_HEADER));
    struct iovec head = {header, RX_HEADER}, tail = {(void *)zeros, whole - bytes};
    unsigned at = ring_put(s, s->curr * PAGE, &head, 1, RX_HEADER);
    at = ring_put(s, at, iov, count, bytes);
    ring_put(s, at, &tail, 1, whole - bytes);
    s->curr = (uint8_t)next;
    s->clda = (uint16_t)(next * PAGE);
    cause(s, ISR_PRX);
}

static void miss(Dp8390 *s)
{
    s->rsr |= RSR_MPA;
    s->cntr[COUNT_MISSED] += s->cntr[COUNT_MISSED] < 0xc0;
    if (s->cntr[COUNT_MISSED] & 0x80)
        cause(s, ISR_CNT);
}

/* False: the ring is full, and will be told of when it is not. */
static bool take_frame(Dp8390 *s, const struct iovec *iov, int count, size_t bytes)
{
    uint8_t to[NET_MAC_BYTES];
    if (bytes < ETH_HEADER_BYTES || bytes + ETH_FCS_BYTES > FRAME_MAX)
        return true;
    nic_gather(iov, count, 0, to, sizeof(to));
    if (!address_passes(s, to))
        return true;
    if (s->rcr & RCR_MON) {
        miss(s);
        return true;
    }
    if (!ring_ok(s) || pages_of(bytes) >= (unsigned)(s->pstop - s->pstart)) {
        guest_error("ne2k: page %u of a ring from %u to %u", s->curr, s->pstart, s->pstop);
        miss(s);
        cause(s, ISR_OVW);
        return true;
    }
    if (pages_of(bytes) >= free_pages(s)) {
        cause(s, ISR_PRX); /* of those before it: see acknowledge() */
        return false;
    }
    store(s, iov, count, bytes, to[0] & 1);
    return true;
}

static bool receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Dp8390 *s = end->opaque;
    return !running(s) || (s->tcr & TCR_LOOPBACK) || take_frame(s, iov, count, bytes);
}

/* ---- Transmission ---- */

/* The frame may lie in the ring that it goes to. */
static void loop_frame(Dp8390 *s, unsigned at)
{
    g_autofree uint8_t *frame = g_memdup2(s->mem + at, s->tbcr);
    struct iovec iov = {frame, s->tbcr};
    if (take_frame(s, &iov, 1, s->tbcr))
        return;
    miss(s);
    cause(s, ISR_OVW);
}

/* False: the peer has no room. */
static bool put_on_wire(Dp8390 *s, unsigned at)
{
    if (!s->tbcr || at < RAM_START || at + s->tbcr > MEM_SIZE)
        guest_error("ne2k: a frame of %u bytes at 0x%x is not in the card's memory", s->tbcr, at);
    else if (s->tcr & TCR_LOOPBACK)
        loop_frame(s, at);
    else
        s->tx_waits = !net_send_buf(&s->end, s->mem + at, s->tbcr);
    return !s->tx_waits;
}

static void transmit(Dp8390 *s)
{
    if (s->tx_busy || s->tx_waits || s->end.stopped)
        return;
    s->tx_busy = true;
    bool gone = put_on_wire(s, s->tpsr * PAGE);
    s->tx_busy = false;
    if (!gone)
        return; /* TXP stays */
    s->tsr = TSR_PTX;
    s->cr &= (uint8_t)~CR_TXP;
    cause(s, ISR_PTX);
}

static void writable(NetEnd *end)
{
    Dp8390 *s = end->opaque;
    s->tx_waits = false;
    if (running(s) && (s->cr & CR_TXP))
        transmit(s);
}

/* ---- Registers ---- */

static void write_command(Dp8390 *s, uint8_t value)
{
    uint8_t pending = s->cr & CR_TXP; /* can be set, not cleared */
    s->cr = value | pending;
    if (value & CR_STOP) {
        s->isr |= ISR_RST;
        s->cr &= (uint8_t)~CR_TXP;
        net_writable(&s->end); /* what waited is dropped */
        return;
    }
    s->isr &= (uint8_t)~ISR_RST;
    if ((value & CR_DMA) == CR_SEND_PACKET)
        send_packet_command(s);
    else if ((value & (CR_DMA_READ | CR_DMA_WRITE)) && !s->rbcr)
        cause(s, ISR_RDC);
    if ((value & CR_TXP) && !pending)
        transmit(s);
}

static void set_byte(uint16_t *reg, bool high, uint8_t value)
{
    *reg = high ? (uint16_t)((*reg & 0xff) | value << 8) : (uint16_t)((*reg & 0xff00) | value);
}

/* Whether there is something in the ring: BNRY stands at the next frame to be read, or a page
 * before it. */
static bool unread(const Dp8390 *s)
{
    unsigned next = s->bnry + 1u >= s->pstop ? s->pstart : s->bnry + 1u;
    return running(s) && ring_ok(s) && s->bnry != s->curr && next != s->curr;
}

/* Drivers take some frames out of the ring, and acknowledge then.  The sender may have nothing more
 * to tell while it waits; so what is in the ring is told again.  Not at once: there are drivers
 * that acknowledge until nothing is left to be. */
static void acknowledge(Dp8390 *s, uint8_t value)
{
    s->isr &= (uint8_t) ~(value & ~ISR_RST);
    update_irq(s);
    if ((value & ISR_PRX) && unread(s) && !timer_armed(&s->retell))
        timer_arm(&s->retell, clock_now(VM_CLOCK_VIRTUAL) + RETELL);
}

static void tell_again(void *opaque)
{
    Dp8390 *s = opaque;
    if (unread(s))
        cause(s, ISR_PRX);
}

/* Page 0 is what it is only when written. */
static void write_page0(Dp8390 *s, unsigned at, uint8_t value)
{
    switch (at) {
    case 1:
        s->pstart = value;
        break;
    case 2:
        s->pstop = value;
        break;
    case 3:
        s->bnry = value;
        net_writable(&s->end);
        break;
    case 4:
        s->tpsr = value;
        break;
    case 5:
    case 6:
        set_byte(&s->tbcr, at == 6, value);
        break;
    case 7:
        acknowledge(s, value);
        break;
    case 8:
    case 9:
        set_byte(&s->rsar, at == 9, value);
        break;
    case 10:
    case 11:
        set_byte(&s->rbcr, at == 11, value);
        break;
    case 12:
        s->rcr = value;
        break;
    case 13:
        s->tcr = value;
        break;
    case 14:
        s->dcr = value;
        break;
    case 15:
        s->imr = value & 0x7f;
        update_irq(s);
    }
}

static void write_page1(Dp8390 *s, unsigned at, uint8_t value)
{
    if (at < 7) {
        s->par[at - 1] = value;
    } else if (at == 7) {
        s->curr = value;
        net_writable(&s->end);
    } else {
        s->mar[at - 8] = value;
    }
}

static uint8_t read_counter(Dp8390 *s, unsigned n)
{
    uint8_t value = s->cntr[n];
    s->cntr[n] = 0;
    return value;
}

static uint8_t read_page0(Dp8390 *s, unsigned at)
{
    switch (at) {
    case 1:
        return (uint8_t)s->clda;
    case 2:
        return (uint8_t)(s->clda >> 8);
    case 3:
        return s->bnry;
    case 4:
        return s->tsr;
    case 5:
        return s->ncr;
    case 7:
        return s->isr;
    case 8:
        return (uint8_t)s->rsar;
    case 9:
        return (uint8_t)(s->rsar >> 8);
    case 10:
        return 0x50; /* where the RTL8029 says what it is: "PC" */
    case 11:
        return 0x43;
    case 12:
        return s->rsr;
    case 13:
    case 14:
    case 15:
        return read_counter(s, at - 13);
    }
    return 0;
}

static uint8_t read_page1(const Dp8390 *s, unsigned at)
{
    if (at == 7)
        return s->curr;
    return at < 7 ? s->par[at - 1] : s->mar[at - 8];
}

/* Page 2 shows what page 0 was given. */
static uint8_t read_page2(const Dp8390 *s, unsigned at)
{
    const uint8_t values[16] = {
        [1] = s->pstart,      [2] = s->pstop,       [4] = s->tpsr,        [12] = 0xc0 | s->rcr,
        [13] = 0xe0 | s->tcr, [14] = 0x80 | s->dcr, [15] = 0x80 | s->imr,
    };
    return values[at];
}

/* Page 3 is Realtek's: configuration, writable while 9346CR says so, and an identification. */
static uint8_t read_page3(const Dp8390 *s, unsigned at)
{
    const uint8_t values[16] = {
        [1] = s->cr9346, [5] = s->config2, [6] = s->config3, [14] = 0x29, [15] = 0x80,
    };
    return s->rtl8029 ? values[at] : 0;
}

static void write_page3(Dp8390 *s, unsigned at, uint8_t value)
{
    bool open = (s->cr9346 & 0xc0) == 0xc0;
    if (at == 1)
        s->cr9346 = value & 0xce;
    else if (at == 5 && open)
        s->config2 = value;
    else if (at == 6 && open)
        s->config3 = value;
    else
        guest_error("ne2k: register %u of page 3 is not for writing%s", at,
                    at == 5 || at == 6 ? " without 9346CR" : "");
}

static uint8_t read_register(Dp8390 *s, unsigned at)
{
    unsigned page = s->cr >> CR_PAGE_SHIFT;
    if (at == 0)
        return s->cr;
    if (page == 0)
        return read_page0(s, at);
    if (page == 1)
        return read_page1(s, at);
    return page == 2 ? read_page2(s, at) : read_page3(s, at);
}

static void write_register(Dp8390 *s, unsigned at, uint8_t value)
{
    unsigned page = s->cr >> CR_PAGE_SHIFT;
    if (at == 0)
        write_command(s, value);
    else if (page == 0)
        write_page0(s, at, value);
    else if (page == 1)
        write_page1(s, at, value);
    else if (page == 3 && s->rtl8029)
        write_page3(s, at, value);
    else
        guest_error("ne2k: register %u of page %u is not for writing", at, page);
}

static void chip_reset(Dp8390 *s)
{
    s->cr = CR_STOP | CR_DMA_ABORT;
    s->isr = ISR_RST;
    s->imr = 0;
    timer_cancel(&s->retell);
    update_irq(s);
    net_writable(&s->end);
}

static uint64_t port_read(void *opaque, hwaddr at, unsigned size)
{
    Dp8390 *s = opaque;
    if (at >= RESET_PORT) {
        chip_reset(s);
        return 0;
    }
    if (at >= DATA_PORT)
        return data_read(s, size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_register(s, (unsigned)at + i) << 8 * i;
    return value;
}

static void port_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    Dp8390 *s = opaque;
    if (at >= RESET_PORT)
        return; /* the end of a reset */
    if (at >= DATA_PORT) {
        data_write(s, value, size);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        write_register(s, (unsigned)at + i, (uint8_t)(value >> 8 * i));
}

static const RegionOps port_ops = {port_read, port_write, 1, 4};

/* ---- Life ---- */

static void describe_end(NetEnd *end, GString *out)
{
    Dp8390 *s = end->opaque;
    nic_describe(s->rtl8029 ? "ne2k_pci" : "ne2k_isa", s->mac, out);
}

static const NetEndOps end_ops = {
    .kind = "nic",
    .receive = receive,
    .writable = writable,
    .describe = describe_end,
};

/* The PROM, of the address that the guest knows: each byte of it twice, as a 16-bit bus sees it,
 * then the mark of a 16-bit board. */
static void make_prom(Dp8390 *s)
{
    for (unsigned i = 0; i < 16; i++) {
        uint8_t value = i < NET_MAC_BYTES ? s->address[i] : i >= 14 ? 0x57 : 0;
        s->mem[2 * i] = s->mem[2 * i + 1] = value;
    }
}

static void run_bh(void *opaque)
{
    writable(&((Dp8390 *)opaque)->end);
}

bool dp8390_realize(Dp8390 *s, Device *dev, GError **error)
{
    if (!nic_open(&s->end, &end_ops, dev, s->mac, s->netdev, error))
        return false;
    s->end.opaque = s;
    s->mem = g_malloc0(MEM_SIZE);
    memcpy(s->address, s->mac, sizeof(s->address));
    s->tx_bh = bh_new(dev->machine->loop, run_bh, s);
    timer_init(&s->retell, dev->machine->loop, VM_CLOCK_VIRTUAL, tell_again, s);
    region_init_io(&s->io, dev->cls->name, DP8390_PORTS, &port_ops, s, NULL);
    return true;
}

void dp8390_reset(Dp8390 *s)
{
    make_prom(s);
    chip_reset(s);
}

void dp8390_unrealize(Dp8390 *s, Device *dev)
{
    nic_close(&s->end, dev);
    timer_cancel(&s->retell);
    bh_free(s->tx_bh);
    region_fini(&s->io);
    g_free(s->mem);
}

/* A frame that the peer refused is sent again. */
static bool post_load(void *state, GError **error)
{
    Dp8390 *s = state;
    update_irq(s);
    bh_schedule(s->tx_bh);
    net_writable(&s->end);
    return true;
}

static const StateField fields[] = {
    STATE_HOST(Dp8390, end),
    STATE_HOST(Dp8390, netdev),
    STATE_HOST(Dp8390, mac),
    STATE_HOST(Dp8390, irq),
    STATE_HOST(Dp8390, io),
    STATE_HOST(Dp8390, tx_bh),
    STATE_HOST(Dp8390, rtl8029),
    STATE_TIMER(Dp8390, retell),
    STATE_BYTES_KEEP(Dp8390, address),
    STATE_U(Dp8390, cr9346, 0),
    STATE_U(Dp8390, config2, CONFIG_LINK),
    STATE_U(Dp8390, config3, CONFIG_FULL),
    STATE_U(Dp8390, cr, CR_STOP | CR_DMA_ABORT),
    STATE_U(Dp8390, isr, ISR_RST),
    STATE_U(Dp8390, imr, 0),
    STATE_U(Dp8390, dcr, 0),
    STATE_U(Dp8390, tcr, 0),
    STATE_U(Dp8390, rcr, 0),
    STATE_U(Dp8390, tsr, 0),
    STATE_U(Dp8390, rsr, 0),
    STATE_U(Dp8390, pstart, 0),
    STATE_U(Dp8390, pstop, 0),
    STATE_U(Dp8390, bnry, 0),
    STATE_U(Dp8390, curr, 0),
    STATE_U(Dp8390, tpsr, 0),
    STATE_U(Dp8390, ncr, 0),
    STATE_ARRAY(Dp8390, cntr, uint8_t, 0),
    STATE_BYTES(Dp8390, par),
    STATE_BYTES(Dp8390, mar),
    STATE_U(Dp8390, tbcr, 0),
    STATE_U(Dp8390, rsar, 0),
    STATE_U(Dp8390, rbcr, 0),
    STATE_U(Dp8390, clda, 0),
    STATE_HOST(Dp8390, tx_busy),
    STATE_HOST(Dp8390, tx_waits), /* the peer's debt outlives a reset */
    STATE_BUFFER(Dp8390, mem, MEM_SIZE),
    STATE_END,
};
const StateDesc dp8390_state = {"dp8390", 2, sizeof(Dp8390), fields, .post_load = post_load};
