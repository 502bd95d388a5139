/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "rtl8139": Realtek's RTL8139C+ Fast Ethernet controller: registers, interrupts, timer, EEPROM,
 * PHY.
 *
 * Registers are bytes, reached in units of 1, 2 and 4 by ports (BAR 0) and memory (BAR 1), and rows
 * of one table: place, width, value after reset, writable bits, and what else happens.
 */
#include "rtl8139.h"

#include "hw/registry.h"
#include "util/error.h"
#include "util/log.h"

#define TIMER_HZ  33333333
#define VERSION   0x74800000u /* in TCR: RTL8139C+ */
#define TALLY_MAX 64

typedef struct Row {
    uint8_t offset, size;
    uint32_t reset, mask; /* mask: bits that a write stores */
    uint32_t (*read)(Rtl8139 *s, unsigned offset);
    /* After the store: what was written, zeros in bytes that were not, of which `lanes` tells. */
    void (*write)(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes);
} Row;

static void put(Rtl8139 *s, const Row *row, uint32_t value)
{
    stn_le(s->regs + row->offset, row->size, value & (uint32_t)size_mask(row->size));
}

/* ---- Interrupts ---- */

static void update_irq(Rtl8139 *s)
{
    pci_set_irq(&s->pci, rtl16(s, ISR) & rtl16(s, IMR));
}

void rtl8139_cause(Rtl8139 *s, uint16_t bits)
{
    st16_le(s->regs + ISR, rtl16(s, ISR) | bits);
    update_irq(s);
}

static void isr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    st16_le(s->regs + ISR, (uint16_t)(rtl16(s, ISR) & ~value));
    update_irq(s);
    net_writable(&s->end); /* descriptors of C+ mode come back without a word */
}

static void imr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    update_irq(s);
    net_writable(&s->end);
}

/* ---- The timer ---- */

static uint32_t tctr(const Rtl8139 *s)
{
    return (uint32_t)ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL) - s->timer_base, TIMER_HZ);
}

static void arm_timer(Rtl8139 *s)
{
    uint32_t at = rtl32(s, TIMERINT);
    if (!at) {
        timer_cancel(&s->timer);
        return;
    }
    uint64_t ticks = ns_to_ticks(clock_now(VM_CLOCK_VIRTUAL) - s->timer_base, TIMER_HZ);
    uint32_t left = at - (uint32_t)ticks;
    uint64_t target = ticks + (left ? left : 1ULL << 32);
    timer_arm(&s->timer, s->timer_base + ticks_to_ns(target, TIMER_HZ));
}

static void timer_reached(void *opaque)
{
    Rtl8139 *s = opaque;
    rtl8139_cause(s, INT_TIMEOUT);
    arm_timer(s);
}

static uint32_t tctr_read(Rtl8139 *s, unsigned offset)
{
    return tctr(s);
}

static void tctr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    s->timer_base = clock_now(VM_CLOCK_VIRTUAL);
    arm_timer(s);
}

static void timerint_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    arm_timer(s);
}

/* ---- EEPROM ---- */

static void load_address(Rtl8139 *s)
{
    for (unsigned i = 0; i < NET_MAC_BYTES / 2; i++)
        st16_le(s->regs + IDR0 + 2 * i, s->eeprom.word[7 + i]);
}

static uint32_t cr9346_read(Rtl8139 *s, unsigned offset)
{
    return (s->regs[CR9346] & ~(uint32_t)EE_DO) | eeprom93_out(&s->eeprom);
}

static void cr9346_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    bool program = (value & EE_MODE) == EE_PROGRAM;
    eeprom93_set(&s->eeprom, program && (value & EE_CS), value & EE_SK, value & EE_DI);
    if ((value & EE_MODE) == EE_AUTOLOAD) {
        load_address(s);
        s->regs[CR9346] = 0;
    }
}

static bool unlocked(const Rtl8139 *s)
{
    return (s->regs[CR9346] & EE_MODE) == EE_UNLOCK;
}

/* ---- PHY ---- */

static void bmcr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (value & BMCR_RESET)
        st16_le(s->regs + BMCR, 0x1100);
}

static void link_update(Rtl8139 *s)
{
    bool up = net_link_up(&s->end), was_up = !(s->regs[MSR] & MSR_LINKB);
    uint16_t bits = BMSR_LINK | BMSR_AN_DONE;
    s->regs[MSR] = (uint8_t)((s->regs[MSR] & ~MSR_LINKB) | (up ? 0 : MSR_LINKB));
    st16_le(s->regs + BMSR, (uint16_t)((rtl16(s, BMSR) & ~bits) | (up ? bits : 0)));
    if (up != was_up)
        rtl8139_cause(s, INT_LINK);
}

/* ---- Reception and transmission ---- */

static void rx_changed(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (offset == RDSAR)
        s->cp_rx = 0;
    net_writable(&s->end);
}

static void rbstart_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    st16_le(s->regs + CBR, 0); /* a new buffer is empty */
    st16_le(s->regs + CAPR, 0xfff0);
    net_writable(&s->end);
}

static void reset_chip(Rtl8139 *s);

static void cr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (value & CR_RST)
        reset_chip(s);
    if (value & CR_RE)
        s->cp_rx = 0;
    if (value & CR_TE) {
        s->cp_tx[0] = s->cp_tx[1] = 0;
        s->tx_segments = 0;
    }
    net_writable(&s->end);
    rtl8139_tx_run(s);
}

static uint32_t cr_read(Rtl8139 *s, unsigned offset)
{
    return s->regs[CR] | (rtl8139_rx_empty(s) ? CR_BUFE : 0u);
}

/* Counters of C+ mode go where DTCCR says. */
static void dump_tally(Rtl8139 *s)
{
    const RtlTally *t = &s->tally;
    uint8_t out[TALLY_MAX] = {0};
    st64_le(out, t->tx_ok);
    st64_le(out + 8, t->rx_ok);
    st64_le(out + 16, t->tx_err);
    st32_le(out + 24, t->rx_err);
    st16_le(out + 28, t->missed);
    st16_le(out + 30, t->misaligned);
    st32_le(out + 32, t->tx_one_collision);
    st32_le(out + 36, t->tx_collisions);
    st64_le(out + 40, t->rx_own);
    st64_le(out + 48, t->rx_broadcast);
    st32_le(out + 56, t->rx_multicast);
    st16_le(out + 60, t->tx_aborted);
    st16_le(out + 62, t->tx_underrun);
    hwaddr to = rtl32(s, DTCCR + 4);
    to = to << 32 | (rtl32(s, DTCCR) & ~63u);
    if (pci_dma_write(&s->pci, to, out, sizeof(out)) != MEM_OK)
        guest_error("rtl8139: counters are to go to 0x%" G_GINT64_MODIFIER "x", to);
}

static void tsd_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (s->regs[CPCR] & CPCR_TE) { /* DTCCR stands there */
        stn_le(s->regs + offset, 4, (rtl32(s, offset) & ~lanes) | value);
        if (offset == DTCCR && (value & DTCCR_DUMP)) {
            dump_tally(s);
            s->regs[DTCCR] &= (uint8_t)~DTCCR_DUMP;
        }
        return;
    }
    /* A write starts the transmission, if the host's bit is cleared. */
    uint32_t kept = rtl32(s, offset) & ~(uint32_t)(TSD_TOK | TSD_TUN | TSD_TABT);
    st32_le(s->regs + offset, (kept & ~lanes) | (value & 0x003f3fff));
    rtl8139_tx_run(s);
}

static void tx_ring_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    bool high = offset >= THPDS;
    s->cp_tx[high] = 0;
    if (s->tx_ring == high)
        s->tx_segments = 0;
}

/* CLRABT ends the state of abort.  What was aborted had a descriptor that leads nowhere: sending it
 * again is no use, so the transmitter goes on behind it. */
static void tcr_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (!(value & TCR_CLRABT) || !s->tx_aborted)
        return;
    s->tx_aborted = false;
    rtl8139_tx_run(s);
}

/* OWN, TABT, TUN and TOK of all four. */
static uint32_t tsad_read(Rtl8139 *s, unsigned offset)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t tsd = rtl32(s, TSD0 + 4 * i);
        value |= (tsd & TSD_OWN ? 1u : 0) << i | (tsd & TSD_TABT ? 1u : 0) << (4 + i) |
                 (tsd & TSD_TUN ? 1u : 0) << (8 + i) | (tsd & TSD_TOK ? 1u : 0) << (12 + i);
    }
    return value;
}

static void tppoll_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    if (value & TPPOLL_FSWINT)
        rtl8139_cause(s, INT_SW);
    rtl8139_tx_run(s);
}

static void mpc_write(Rtl8139 *s, unsigned offset, uint32_t value, uint32_t lanes)
{
    st32_le(s->regs + MPC, 0);
}

/* ---- The table ---- */

#define ALL UINT32_MAX
static const Row rows[] = {
    {IDR0, 4, 0, ALL},
    {IDR0 + 4, 2, 0, 0xffff},
    {MAR0, 4, 0, ALL},
    {MAR0 + 4, 4, 0, ALL},
    {TSD0, 4, TSD_OWN, 0, NULL, tsd_write},
    {TSD0 + 4, 4, TSD_OWN, 0, NULL, tsd_write},
    {TSD0 + 8, 4, TSD_OWN, 0, NULL, tsd_write},
    {TSD0 + 12, 4, TSD_OWN, 0, NULL, tsd_write},
    {TSAD0, 4, 0, ALL, NULL, tx_ring_write},
    {TSAD0 + 4, 4, 0, ALL, NULL, tx_ring_write},
    {TSAD0 + 8, 4, 0, ALL, NULL, tx_ring_write},
    {TSAD0 + 12, 4, 0, ALL, NULL, tx_ring_write},
    {RBSTART, 4, 0, ALL, NULL, rbstart_write},
    {ERBCR, 2, 0, 0},
    {ERSR, 1, 0, 0},
    {CR, 1, 0, CR_TE | CR_RE, cr_read, cr_write},
    {CAPR, 2, 0xfff0, 0xffff, NULL, rx_changed},
    {CBR, 2, 0, 0},
    {IMR, 2, 0, INT_ALL, NULL, imr_write},
    {ISR, 2, 0, 0, NULL, isr_write},
    {TCR, 4, VERSION, 0x030f07f0, NULL, tcr_write},
    {RCR, 4, 0, 0x0f00ffff, NULL, rx_changed},
    {TCTR, 4, 0, 0, tctr_read, tctr_write},
    {MPC, 4, 0, 0, NULL, mpc_write},
    {CR9346, 1, 0, EE_MODE | EE_CS | EE_SK | EE_DI, cr9346_read, cr9346_write},
    {CONFIG0, 1, 0, 0},
    {CONFIG1, 1, 0x0c, 0xf3},
    {TIMERINT, 4, 0, ALL, NULL, timerint_write},
    {MSR, 1, MSR_LINKB | 0x10, 0xc0},
    {CONFIG3, 1, 0x01, 0x64},
    {CONFIG4, 1, 0, 0xff},
    {MULINT, 2, 0, 0x0fff},
    {TSAD, 2, 0, 0, tsad_read},
    {BMCR, 2, 0x1100, 0x3100, NULL, bmcr_write},
    {BMSR, 2, 0x7809, 0},
    {ANAR, 2, 0x05e1, 0xffff},
    {ANLPAR, 2, 0x45e1, 0},
    {ANER, 2, 0x0001, 0},
    {NWAYTR, 2, 0, 0xff},
    {CSCR, 2, 0x03c0, 0xffff},
    {PHY1_PARM, 4, 0, ALL},
    {TW_PARM, 4, 0, ALL},
    {CONFIG5, 1, 0, 0x7f},
    {TPPOLL, 1, 0, 0, NULL, tppoll_write},
    {CPCR, 2, 0, 0x007b, NULL, rx_changed},
    {INT_MITIGATE, 2, 0, 0xffff},
    {RDSAR, 4, 0, 0xffffff00, NULL, rx_changed},
    {RDSAR + 4, 4, 0, ALL},
    {ETTHR, 1, 0, 0x3f},
};

static const Row *row_at[RTL_REGS]; /* of each byte; made once, from rows */

static void index_rows(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        for (unsigned n = 0; n < rows[i].size; n++)
            row_at[rows[i].offset + n] = &rows[i];
}

/* CONFIGn and the PHY's control are writable while 9346CR says so; patterns for wake-up are just
 * kept. */
static bool is_locked(const Rtl8139 *s, unsigned at)
{
    bool config = (at >= CONFIG0 && at <= CONFIG1) || at == CONFIG3 || at == CONFIG4 ||
                  at == CONFIG5 || at == BMCR || at == BMCR + 1;
    return config && !unlocked(s);
}

static bool is_pattern(unsigned at)
{
    return at >= CRC0 && at < LSBCRC0 + 8;
}

/* Asks each row once, so that what moves (TCTR) is read in one piece. */
static uint64_t rtl_read(void *opaque, hwaddr at, unsigned size)
{
    Rtl8139 *s = opaque;
    uint64_t value = 0;
    unsigned part;
    for (unsigned i = 0; i < size && at < RTL_REGS; i += part, at += part) {
        const Row *row = row_at[at];
        uint64_t bits = s->regs[at];
        part = 1;
        if (row) {
            bits = row->read ? row->read(s, row->offset) : ldn_le(s->regs + row->offset, row->size);
            bits >>= 8 * (at - row->offset);
            part = MIN(size - i, row->offset + row->size - (unsigned)at);
        }
        value |= (bits & size_mask(part)) << 8 * i;
    }
    return value;
}

/* The part of a write that falls into one row. */
static void write_row(Rtl8139 *s, const Row *row, unsigned at, uint64_t value, unsigned size)
{
    unsigned shift = 8 * (at - row->offset);
    uint32_t lanes = (uint32_t)(size_mask(size) << shift) & (uint32_t)size_mask(row->size);
    uint32_t written = (uint32_t)(value << shift) & lanes;
    uint32_t old = (uint32_t)ldn_le(s->regs + row->offset, row->size);

    if (is_locked(s, at))
        return;
    put(s, row, (old & ~(row->mask & lanes)) | (written & row->mask));
    if (row->write)
        row->write(s, row->offset, written, lanes);
}

static void rtl_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    Rtl8139 *s = opaque;
    while (size && at < RTL_REGS) {
        const Row *row = row_at[at];
        unsigned part = row ? MIN(size, row->offset + row->size - (unsigned)at) : 1;
        if (row)
            write_row(s, row, (unsigned)at, value & size_mask(part), part);
        else if (is_pattern((unsigned)at))
            s->regs[at] = (uint8_t)value;
        else
            guest_unimp("rtl8139: 0x%x to a register at 0x%x", (unsigned)value & 0xff,
                        (unsigned)at);
        at += part;
        size -= part;
        value >>= 8 * part;
    }
}

static const RegionOps rtl_ops = {rtl_read, rtl_write, 1, 4};

/* ---- The cable ---- */

static void link_changed(NetEnd *end, bool up)
{
    link_update(end->opaque);
}

static void writable(NetEnd *end)
{
    Rtl8139 *s = end->opaque;
    s->tx_waits = false;
    if (s->tx_busy)
        bh_schedule(s->tx_bh);
    else
        rtl8139_tx_run(s);
}

static void describe_end(NetEnd *end, GString *out)
{
    Rtl8139 *s = end->opaque;
    nic_describe("rtl8139", s->mac, out);
}

static const NetEndOps end_ops = {
    .kind = "nic",
    .receive = rtl8139_receive,
    .writable = writable,
    .link_changed = link_changed,
    .describe = describe_end,
};

/* ---- Life ---- */

/* CR.RST: all but addresses, EEPROM and link. */
static void reset_chip(Rtl8139 *s)
{
    uint8_t address[NET_MAC_BYTES + 2 + 8], link = s->regs[MSR] & MSR_LINKB;
    uint16_t bmsr = rtl16(s, BMSR);

    memcpy(address, s->regs + IDR0, sizeof(address));
    memset(s->regs, 0, sizeof(s->regs));
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        put(s, &rows[i], rows[i].reset);
    memcpy(s->regs + IDR0, address, sizeof(address));
    s->regs[MSR] = (uint8_t)((s->regs[MSR] & ~MSR_LINKB) | link);
    st16_le(s->regs + BMSR, bmsr);
    s->tx_next = s->cp_tx[0] = s->cp_tx[1] = s->cp_rx = 0;
    s->tx_segments = 0;
    s->tx_ring = s->rx_polls = 0;
    s->tx_aborted = s->rx_full = false;
    s->timer_base = clock_now(VM_CLOCK_VIRTUAL);
    timer_cancel(&s->timer);
    timer_cancel(&s->rx_poll);
    update_irq(s);
}

static void rtl_reset(Device *dev)
{
    Rtl8139 *s = (Rtl8139 *)dev;
    pci_device_reset(&s->pci);
    memset(s->regs, 0, sizeof(s->regs));
    reset_chip(s);
    st16_le(s->regs + BMSR, 0x7809);
    s->regs[MSR] |= MSR_LINKB;
    load_address(s);
    link_update(s);
    st16_le(s->regs + ISR, 0);
    net_writable(&s->end);
}

static void rtl_unrealize(Device *dev)
{
    Rtl8139 *s = (Rtl8139 *)dev;
    nic_close(&s->end, dev);
    timer_cancel(&s->timer);
    timer_cancel(&s->rx_poll);
    bh_free(s->tx_bh);
    pci_device_fini(&s->pci);
    region_fini(&s->io);
    region_fini(&s->mem);
    g_free(s->packet);
}

static void make_eeprom(Rtl8139 *s)
{
    uint16_t *word = s->eeprom.word;
    word[0] = 0x8129;
    word[1] = 0x10ec;
    word[2] = 0x8139;
    for (unsigned i = 0; i < NET_MAC_BYTES / 2; i++)
        word[7 + i] = ld16_le(s->mac + 2 * i);
}

static void run_bh(void *opaque)
{
    rtl8139_tx_run(opaque);
}

static void poll_rx(void *opaque)
{
    Rtl8139 *s = opaque;
    net_writable(&s->end);
}

static bool rtl_realize(Device *dev, GError **error)
{
    Rtl8139 *s = (Rtl8139 *)dev;
    EventLoop *loop = dev->machine->loop;

    index_rows();
    if (!pci_device_init(&s->pci, error))
        return false;
    timer_init(&s->timer, loop, VM_CLOCK_VIRTUAL, timer_reached, s);
    timer_init(&s->rx_poll, loop, VM_CLOCK_VIRTUAL, poll_rx, s);
    if (!nic_open(&s->end, &end_ops, dev, s->mac, s->netdev, error)) {
        pci_device_fini(&s->pci);
        return false;
    }
    s->tx_bh = bh_new(loop, run_bh, s);
    s->packet = g_malloc(NET_FRAME_MAX + ETH_VLAN_BYTES);
    make_eeprom(s);
    region_init_io(&s->io, "rtl8139-io", RTL_REGS, &rtl_ops, s, NULL);
    region_init_io(&s->mem, "rtl8139-mem", RTL_REGS, &rtl_ops, s, NULL);
    pci_set_bar_io(&s->pci, 0, &s->io);
    pci_set_bar_memory(&s->pci, 1, &s->mem, false, false);
    return true;
}

/* ---- State ---- */

static bool post_load(void *state, GError **error)
{
    Rtl8139 *s = state;
    s->tx_next %= 4;
    s->cp_tx[0] %= CP_RING;
    s->cp_tx[1] %= CP_RING;
    s->cp_rx %= CP_RING;
    s->tx_ring %= 2;
    s->rx_polls = MIN(s->rx_polls, POLL_DOUBLINGS);
    s->timer_base = MIN(s->timer_base, clock_now(VM_CLOCK_VIRTUAL));
    s->tx_waits = false;
    link_update(s);
    bh_schedule(s->tx_bh);
    net_writable(&s->end);
    return true;
}

static const StateField tally_fields[] = {
    STATE_U(RtlTally, tx_ok, 0),
    STATE_U(RtlTally, rx_ok, 0),
    STATE_U(RtlTally, tx_err, 0),
    STATE_U(RtlTally, rx_err, 0),
    STATE_U(RtlTally, tx_one_collision, 0),
    STATE_U(RtlTally, tx_collisions, 0),
    STATE_U(RtlTally, rx_own, 0),
    STATE_U(RtlTally, rx_broadcast, 0),
    STATE_U(RtlTally, rx_multicast, 0),
    STATE_U(RtlTally, missed, 0),
    STATE_U(RtlTally, misaligned, 0),
    STATE_U(RtlTally, tx_aborted, 0),
    STATE_U(RtlTally, tx_underrun, 0),
    STATE_END,
};
static const StateDesc tally_state = {"rtl8139-tally", 1, sizeof(RtlTally), tally_fields};

static const StateField fields[] = {
    STATE_STRUCT(Rtl8139, pci, &pci_device_state),
    STATE_HOST(Rtl8139, end),
    STATE_HOST(Rtl8139, netdev),
    STATE_HOST(Rtl8139, mac),
    STATE_HOST(Rtl8139, io),
    STATE_HOST(Rtl8139, mem),
    STATE_HOST(Rtl8139, tx_bh),
    STATE_HOST(Rtl8139, packet),
    STATE_HOST(Rtl8139, tx_busy),
    STATE_BYTES_KEEP(Rtl8139, regs), /* reset by the table of registers */
    STATE_STRUCT(Rtl8139, eeprom, &eeprom93_state),
    STATE_STRUCT(Rtl8139, tally, &tally_state),
    STATE_U(Rtl8139, timer_base, 0),
    STATE_TIMER(Rtl8139, timer),
    STATE_TIMER(Rtl8139, rx_poll),
    STATE_U(Rtl8139, tx_next, 0),
    STATE_ARRAY(Rtl8139, cp_tx, uint8_t, 0),
    STATE_U(Rtl8139, cp_rx, 0),
    STATE_U(Rtl8139, tx_segments, 0),
    STATE_U(Rtl8139, tx_ring, 0),
    STATE_U(Rtl8139, tx_aborted, 0),
    STATE_U(Rtl8139, rx_full, 0),
    STATE_U(Rtl8139, rx_polls, 0),
    STATE_HOST(Rtl8139, tx_waits), /* the peer's debt outlives a reset */
    STATE_END,
};
static const StateDesc state = {"rtl8139", 2, sizeof(Rtl8139), fields, .post_load = post_load};

static const Prop props[] = {
    PCI_DEVICE_PROPS(Rtl8139),
    PCI_BOOT_PROP(Rtl8139),
    NIC_PROPS(Rtl8139),
    PROP_END,
};

static const PciInfo info = {
    .vendor = 0x10ec,
    .device = 0x8139,
    .revision = 0x20,
    .class_code = 0x020000,
    .interrupt_pin = 1,
    .rom_file = "efi-rtl8139.rom",
};

const DeviceClass rtl8139_class = {
    .name = "rtl8139",
    .desc = "Realtek RTL8139C+ Fast Ethernet",
    .bus = BUS_PCI,
    .user = true,
    .size = sizeof(Rtl8139),
    .props = props,
    .state = &state,
    .realize = rtl_realize,
    .reset = rtl_reset,
    .unrealize = rtl_unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
