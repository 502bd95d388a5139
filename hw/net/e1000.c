/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "e1000": Intel's 82540EM Gigabit Ethernet controller: registers and interrupts.  (Intel,
 * PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, chapters 12 to 14.)
 *
 *   BAR 0   128 KiB of registers
 *   BAR 1   64 ports: IOADDR and IODATA lead to the same registers
 *
 * Registers are rows of one table: place, reset value, the bits that a guest can write, and what
 * else a read or write does.
 */
#include "e1000.h"

#include "hw/registry.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define IO_SIZE  64
#define ITR_UNIT 256 /* ns */

#define CLASS_NETWORK 0x020000

enum { IOADDR = 0, IODATA = 4 };

/* ---- Interrupts (SDM 13.4.17 - 13.4.21) ---- */

static void update_irq(E1000 *s)
{
    bool level = *reg(s, ICR) & *reg(s, IMS);
    uint32_t itr = *reg(s, ITR);

    if (level == s->irq_level)
        return;
    if (level && timer_armed(&s->itr_timer))
        return; /* the timer looks again */
    s->irq_level = level;
    pci_set_irq(&s->pci, level);
    if (level && itr)
        timer_arm(&s->itr_timer, clock_now(VM_CLOCK_VIRTUAL) + (int64_t)itr * ITR_UNIT);
}

static void itr_expired(void *opaque)
{
    update_irq(opaque);
}

void e1000_cause(E1000 *s, uint32_t bits)
{
    *reg(s, ICR) |= bits;
    update_irq(s);
}

/* ---- Statistics (SDM 13.7): they stay at their ends and are cleared by reading ---- */

void e1000_count(E1000 *s, unsigned offset)
{
    if (*reg(s, offset) != UINT32_MAX)
        ++*reg(s, offset);
}

void e1000_count64(E1000 *s, unsigned offset, uint32_t n)
{
    uint64_t old = *reg(s, offset) | (uint64_t)*reg(s, offset + 4) << 32;
    uint64_t sum = old + n < old ? UINT64_MAX : old + n;
    *reg(s, offset) = (uint32_t)sum;
    *reg(s, offset + 4) = (uint32_t)(sum >> 32);
}

void e1000_count_size(E1000 *s, unsigned first, size_t bytes)
{
    static const uint16_t ends[] = {64, 127, 255, 511, 1023};
    unsigned n = 0;
    while (n < G_N_ELEMENTS(ends) && bytes > ends[n])
        n++;
    e1000_count(s, first + 4 * n);
}

/* ---- Hooks of registers ---- */

static void reset_registers(E1000 *s);

static uint32_t clear_on_read(E1000 *s, unsigned offset)
{
    uint32_t value = *reg(s, offset);
    *reg(s, offset) = 0;
    return value;
}

/* The upper half of 64 bits: both halves are cleared. */
static uint32_t clear64_on_read(E1000 *s, unsigned offset)
{
    *reg(s, offset - 4) = 0;
    return clear_on_read(s, offset);
}

static uint32_t icr_read(E1000 *s, unsigned offset)
{
    uint32_t value = clear_on_read(s, ICR);
    update_irq(s);
    return value;
}

static void icr_write(E1000 *s, unsigned offset, uint32_t value)
{
    *reg(s, ICR) &= ~value;
    update_irq(s);
}

static void ics_write(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_cause(s, value & INT_ALL);
}

static void ims_write(E1000 *s, unsigned offset, uint32_t value)
{
    *reg(s, IMS) |= value & INT_ALL;
    update_irq(s);
}

static void imc_write(E1000 *s, unsigned offset, uint32_t value)
{
    *reg(s, IMS) &= ~value;
    update_irq(s);
}

static void ctrl_write(E1000 *s, unsigned offset, uint32_t value)
{
    *reg(s, CTRL) = value & ~(CTRL_RST | CTRL_PHY_RST);
    if (value & CTRL_RST)
        reset_registers(s);
    if (value & CTRL_PHY_RST)
        e1000_phy_reset(s);
    e1000_link_update(s);
}

static uint32_t ctrl_dup_read(E1000 *s, unsigned offset)
{
    return *reg(s, CTRL);
}

static void ctrl_ext_write(E1000 *s, unsigned offset, uint32_t value)
{
    if (value & CTRL_EXT_EE_RST)
        e1000_load_address(s);
}

static uint32_t eecd_read(E1000 *s, unsigned offset)
{
    return e1000_eecd_read(s);
}
static void eecd_write(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_eecd_write(s, value);
}
static void eerd_write(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_eerd_write(s, value);
}
static void mdic_write(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_mdic_write(s, value);
}

/* A receiver that is off, or has descriptors again, takes what waited. */
static void rx_changed(E1000 *s, unsigned offset, uint32_t value)
{
    net_writable(&s->end);
}

static void rdtr_write(E1000 *s, unsigned offset, uint32_t value)
{
    if ((value & RDTR_FPD) && timer_armed(&s->rx_delay))
        e1000_rx_timeout(s);
}

static void tx_timeout(void *opaque)
{
    E1000 *s = opaque;
    timer_cancel(&s->tx_delay);
    timer_cancel(&s->tx_abs);
    e1000_cause(s, INT_TXDW);
}

static void tidv_write(E1000 *s, unsigned offset, uint32_t value)
{
    if ((value & TIDV_FPD) && timer_armed(&s->tx_delay))
        tx_timeout(s);
}

static void tx_moved(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_tx_reset(s);
}

static void tx_kick(E1000 *s, unsigned offset, uint32_t value)
{
    e1000_tx_run(s);
}

/* ---- The table ---- */

typedef struct Row {
    uint16_t offset, count; /* registers in a row, 4 bytes each */
    uint32_t reset, mask;   /* mask: bits that a write stores */
    uint32_t (*read)(E1000 *s, unsigned offset);
    void (*write)(E1000 *s, unsigned offset, uint32_t value); /* after the store */
} Row;

#define ALL UINT32_MAX
static const Row rows[] = {
    {CTRL, 1, CTRL_FD | CTRL_SLU | CTRL_SPEED_1000, 0, NULL, ctrl_write},
    {CTRL_DUP, 1, 0, 0, ctrl_dup_read, ctrl_write},
    {STATUS, 1, STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000, 0},
    {EECD, 1, 0x10, EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ, eecd_read, eecd_write},
    {EERD, 1, EERD_DONE, 0, NULL, eerd_write},
    {CTRL_EXT, 1, 0, ~(uint32_t)CTRL_EXT_EE_RST, NULL, ctrl_ext_write},
    {FLA, 1, 0, 0xf},
    {MDIC, 1, MDIC_READY, 0, NULL, mdic_write},
    {FCAL, 1, 0x00c28001, ALL},
    {FCAH, 1, 0x00000100, 0xffff},
    {FCT, 1, 0x00008808, 0xffff},
    {VET, 1, 0x8100, 0xffff},
    {ICR, 1, 0, 0, icr_read, icr_write},
    {ITR, 1, 0, 0xffff},
    {ICS, 1, 0, 0, NULL, ics_write},
    {IMS, 1, 0, 0, NULL, ims_write},
    {IMC, 1, 0, 0, NULL, imc_write},
    {RCTL, 1, 0, 0x07fffffe, NULL, rx_changed},
    {FCTTV, 1, 0, 0xffff},
    {TXCW, 1, 0, ALL},
    {RXCW, 1, 0, 0},
    {TCTL, 1, 0, 0x03fffffa, NULL, tx_kick},
    {TIPG, 1, 0x00602008, 0x3fffffff},
    {TBT, 1, 0, ALL},
    {AIFS, 1, 0, 0xffff},
    {LEDCTL, 1, 0x07068302, ALL},
    {PBA, 1, 0x00100030, 0xffff},
    {FCRTL, 1, 0, 0x8000fff8},
    {FCRTH, 1, 0, 0xfff8},
    {RDFH, 1, 0, 0x1fff},
    {RDFT, 1, 0, 0x1fff},
    {RDFHS, 1, 0, 0x1fff},
    {RDFTS, 1, 0, 0x1fff},
    {RDFPC, 1, 0, 0x1fff},
    {RDBAL, 1, 0, 0xfffffff0},
    {RDBAH, 1, 0, ALL},
    {RDLEN, 1, 0, LENGTH_ALL},
    {RDH, 1, 0, 0xffff},
    {RDT, 1, 0, 0xffff, NULL, rx_changed},
    {RDTR, 1, 0, 0xffff, NULL, rdtr_write},
    {RXDCTL, 1, 0x00010000, 0x013f3f3f},
    {RADV, 1, 0, 0xffff},
    {RSRPD, 1, 0, 0xfff},
    {TXDMAC, 1, 1, 1},
    {TDFH, 1, 0x0600, 0x7ff},
    {TDFT, 1, 0x0600, 0x7ff},
    {TDFHS, 1, 0x0600, 0x1fff},
    {TDFTS, 1, 0x0600, 0x1fff},
    {TDFPC, 1, 0, 0x1fff},
    {TDBAL, 1, 0, 0xfffffff0},
    {TDBAH, 1, 0, ALL, NULL, tx_moved},
    {TDLEN, 1, 0, LENGTH_ALL, NULL, tx_moved},
    {TDH, 1, 0, 0xffff, NULL, tx_moved},
    {TDT, 1, 0, 0xffff, NULL, tx_kick},
    {TIDV, 1, 0, 0xffff, NULL, tidv_write},
    {TXDCTL, 1, 0, 0xff3f3f3f},
    {TADV, 1, 0, 0xffff},
    {TSPMT, 1, 0x01000400, ALL},
    {STATISTICS, (GORCL - STATISTICS) / 4, 0, 0, clear_on_read},
    {GORCL, 1, 0, 0},
    {GORCL + 4, 1, 0, 0, clear64_on_read},
    {GOTCL, 1, 0, 0},
    {GOTCL + 4, 1, 0, 0, clear64_on_read},
    {RNBC - 8, (TORL - RNBC + 8) / 4, 0, 0, clear_on_read},
    {TORL, 1, 0, 0},
    {TORL + 4, 1, 0, 0, clear64_on_read},
    {TOTL, 1, 0, 0},
    {TOTL + 4, 1, 0, 0, clear64_on_read},
    {TPR, (TSCTFC + 4 - TPR) / 4, 0, 0, clear_on_read},
    {RXCSUM, 1, 0, 0x7ff},
    {MTA, MTA_COUNT, 0, ALL},
    {RAL0, 2 * RAR_COUNT, 0, ALL},
    {VFTA, VFTA_COUNT, 0, ALL},
    {WUC, 1, 0, 0x3},
    {WUFC, 1, 0, 0x000f80ff},
    {WUS, 1, 0, 0},
    {MANC, 1, 0, ALL},
    {IPAV, 1, 0, 0x0001000f},
    {IP4AT, 8, 0, ALL},
    {IP6AT, 4, 0, ALL},
    {WUPL, 1, 0, 0},
    {WUPM, 32, 0, 0},
    {FFLT, 8, 0, 0x7ff},
};

static const Row *row_at[REGS_END / 4]; /* made once, from rows */

static void index_rows(void)
{
    if (row_at[CTRL / 4])
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        for (unsigned n = 0; n < rows[i].count; n++)
            row_at[rows[i].offset / 4 + n] = &rows[i];
}

/* Registers that 82542 drivers know by other places (SDM 13.2). */
static unsigned canonical(unsigned offset)
{
    static const struct {
        uint16_t old, now;
    } moved[] = {
        {0x0108, RDTR},  {0x0110, RDBAL}, {0x0114, RDBAH}, {0x0118, RDLEN}, {0x0120, RDH},
        {0x0128, RDT},   {0x0160, FCRTH}, {0x0168, FCRTL}, {0x0420, TDBAL}, {0x0424, TDBAH},
        {0x0428, TDLEN}, {0x0430, TDH},   {0x0438, TDT},   {0x0440, TIDV},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(moved); i++)
        if (moved[i].old == offset)
            return moved[i].now;
    return offset >= 0x0040 && offset < 0x0048 ? RAL0 + (offset & 7) : offset;
}

/* A word of the tables beyond the registers, or NULL.  Only every other word is there. */
static uint32_t *filter_word(E1000 *s, unsigned offset)
{
    unsigned n = (offset & 0x7ff) / 4;
    if ((offset & ~0x7ffu) == FFMT)
        return &s->ffmt[n];
    return (offset & ~0x7ffu) == FFVT ? &s->ffvt[n] : NULL;
}

static uint64_t mmio_read(void *opaque, hwaddr at, unsigned size)
{
    E1000 *s = opaque;
    unsigned offset = (unsigned)at;
    const Row *row = offset < REGS_END ? row_at[offset / 4] : NULL;
    const uint32_t *word = row ? NULL : filter_word(s, offset);

    if (!row && !word && offset < REGS_END && row_at[canonical(offset) / 4]) {
        offset = canonical(offset);
        row = row_at[offset / 4];
    }
    if (row)
        return row->read ? row->read(s, offset) : *reg(s, offset);
    if (!word)
        guest_unimp("e1000: read of a register at 0x%x", offset);
    return word ? *word : 0;
}

static void mmio_write(void *opaque, hwaddr at, uint64_t data, unsigned size)
{
    E1000 *s = opaque;
    uint32_t value = (uint32_t)data;
    unsigned offset = (unsigned)at;
    const Row *row = offset < REGS_END ? row_at[offset / 4] : NULL;
    uint32_t *word = row ? NULL : filter_word(s, offset);

    if (!row && !word && offset < REGS_END && row_at[canonical(offset) / 4]) {
        offset = canonical(offset);
        row = row_at[offset / 4];
    }
    if (word) {
        *word = value;
    } else if (row) {
        *reg(s, offset) = (*reg(s, offset) & ~row->mask) | (value & row->mask);
        if (row->write)
            row->write(s, offset, value);
    } else {
        guest_unimp("e1000: 0x%x to a register at 0x%x", value, offset);
    }
}

static const RegionOps mmio_ops = {mmio_read, mmio_write, 4, 4};

static uint64_t io_read(void *opaque, hwaddr at, unsigned size)
{
    E1000 *s = opaque;
    if (at == IOADDR)
        return s->ioaddr;
    if (at == IODATA && s->ioaddr < MMIO_SIZE)
        return mmio_read(s, s->ioaddr & ~3u, 4);
    return 0;
}

static void io_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    E1000 *s = opaque;
    if (at == IOADDR)
        s->ioaddr = (uint32_t)value & (MMIO_SIZE - 1);
    else if (at == IODATA)
        mmio_write(s, s->ioaddr & ~3u, value, 4);
}

static const RegionOps io_ops = {io_read, io_write, 4, 4};

/* ---- The cable ---- */

static void link_changed(NetEnd *end, bool up)
{
    e1000_link_update(end->opaque);
}

static void writable(NetEnd *end)
{
    E1000 *s = end->opaque;
    s->tx_waits = false;
    if (s->tx_busy)
        bh_schedule(s->tx_bh);
    else
        e1000_tx_run(s);
}

static void describe_end(NetEnd *end, GString *out)
{
    E1000 *s = end->opaque;
    nic_describe("e1000", s->mac, out);
}

static const NetEndOps end_ops = {
    .kind = "nic",
    .receive = e1000_receive,
    .writable = writable,
    .link_changed = link_changed,
    .describe = describe_end,
};

/* ---- Life ---- */

static void cancel_timers(E1000 *s)
{
    timer_cancel(&s->itr_timer);
    timer_cancel(&s->rx_delay);
    timer_cancel(&s->rx_abs);
    timer_cancel(&s->tx_delay);
    timer_cancel(&s->tx_abs);
    timer_cancel(&s->pause);
}

/* What CTRL.RST does: everything but the PHY, its link, and the EEPROM. */
static void reset_registers(E1000 *s)
{
    uint32_t link = *reg(s, STATUS) & STATUS_LU;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        for (unsigned n = 0; n < rows[i].count; n++)
            *reg(s, rows[i].offset + 4 * n) = rows[i].reset;
    *reg(s, STATUS) |= link;
    s->rx_held = false;
    s->context = s->tso_context = (E1000Context){0};
    cancel_timers(s);
    e1000_load_address(s);
    e1000_tx_reset(s);
    update_irq(s);
    net_writable(&s->end); /* what waited is dropped: the receiver is off */
}

static void e1000_reset(Device *dev)
{
    E1000 *s = (E1000 *)dev;
    pci_device_reset(&s->pci);
    e1000_phy_init(s);
    *reg(s, STATUS) = 0; /* without a link, until the PHY says so */
    reset_registers(s);
    e1000_link_update(s);
    *reg(s, ICR) = 0;
}

static void e1000_unrealize(Device *dev)
{
    E1000 *s = (E1000 *)dev;
    nic_close(&s->end, dev);
    cancel_timers(s);
    timer_cancel(&s->an_timer);
    bh_free(s->tx_bh);
    pci_device_fini(&s->pci);
    region_fini(&s->mmio);
    region_fini(&s->io);
}

static void run_bh(void *opaque)
{
    e1000_tx_run(opaque);
}

static bool e1000_realize(Device *dev, GError **error)
{
    E1000 *s = (E1000 *)dev;
    EventLoop *loop = dev->machine->loop;

    index_rows();
    if (!pci_device_init(&s->pci, error))
        return false;
    s->pci.reset_config[PCI_CACHE_LINE_SIZE] = 0x10;
    timer_init(&s->itr_timer, loop, VM_CLOCK_VIRTUAL, itr_expired, s);
    timer_init(&s->rx_delay, loop, VM_CLOCK_VIRTUAL, e1000_rx_timeout, s);
    timer_init(&s->rx_abs, loop, VM_CLOCK_VIRTUAL, e1000_rx_timeout, s);
    timer_init(&s->tx_delay, loop, VM_CLOCK_VIRTUAL, tx_timeout, s);
    timer_init(&s->tx_abs, loop, VM_CLOCK_VIRTUAL, tx_timeout, s);
    timer_init(&s->pause, loop, VM_CLOCK_VIRTUAL, e1000_tx_unpause, s);
    timer_init(&s->an_timer, loop, VM_CLOCK_VIRTUAL, e1000_an_done, s);
    if (!nic_open(&s->end, &end_ops, dev, s->mac, s->netdev, error)) {
        pci_device_fini(&s->pci);
        return false;
    }
    s->tx_bh = bh_new(loop, run_bh, s);
    e1000_eeprom_init(s);
    region_init_io(&s->mmio, "e1000-mmio", MMIO_SIZE, &mmio_ops, s, NULL);
    region_init_io(&s->io, "e1000-io", IO_SIZE, &io_ops, s, NULL);
    pci_set_bar_memory(&s->pci, 0, &s->mmio, false, false);
    pci_set_bar_io(&s->pci, 1, &s->io);
    return true;
}

/* ---- State ---- */

/* Whether the cable is plugged is not the snapshot's to say; what the peer refused is sent again.
 */
static bool post_load(void *state, GError **error)
{
    E1000 *s = state;
    s->ioaddr &= MMIO_SIZE - 1;
    s->tx_waits = false;
    e1000_link_update(s);
    bh_schedule(s->tx_bh);
    net_writable(&s->end);
    return true;
}

static const StateField fields[] = {
    STATE_STRUCT(E1000, pci, &pci_device_state),
    STATE_HOST(E1000, end),
    STATE_HOST(E1000, netdev),
    STATE_HOST(E1000, mac),
    STATE_HOST(E1000, mmio),
    STATE_HOST(E1000, io),
    STATE_HOST(E1000, tx_bh),
    STATE_HOST(E1000, tx_busy),
    STATE_ARRAY_KEEP(E1000, regs, uint32_t), /* reset by the table of registers */
    STATE_ARRAY(E1000, ffmt, uint32_t, 0),
    STATE_ARRAY(E1000, ffvt, uint32_t, 0),
    STATE_U(E1000, ioaddr, 0),
    STATE_ARRAY_KEEP(E1000, phy, uint16_t),
    STATE_STRUCT(E1000, eeprom, &eeprom93_state),
    STATE_U(E1000, irq_level, 0),
    STATE_TIMER(E1000, itr_timer),
    STATE_TIMER(E1000, rx_delay),
    STATE_TIMER(E1000, rx_abs),
    STATE_TIMER(E1000, tx_delay),
    STATE_TIMER(E1000, tx_abs),
    STATE_TIMER(E1000, an_timer),
    STATE_TIMER(E1000, pause),
    STATE_U(E1000, link_failed, 0),
    STATE_U(E1000, rx_held, 0),
    STATE_STRUCT(E1000, context, &e1000_context_state),
    STATE_STRUCT(E1000, tso_context, &e1000_context_state),
    STATE_U(E1000, tx_segments, 0),
    STATE_HOST(E1000, tx_waits), /* the peer's debt outlives a reset, not a snapshot */
    STATE_U(E1000, tx_skip, 0),
    STATE_END,
};
static const StateDesc state = {"e1000", 2, sizeof(E1000), fields, .post_load = post_load};

static const Prop props[] = {
    PCI_DEVICE_PROPS(E1000),
    PCI_BOOT_PROP(E1000),
    NIC_PROPS(E1000),
    PROP_END,
};

static const PciInfo info = {
    .vendor = 0x8086,
    .device = 0x100e,
    .revision = 3,
    .class_code = CLASS_NETWORK,
    .interrupt_pin = 1,
    .rom_file = "efi-e1000.rom",
};

const DeviceClass e1000_class = {
    .name = "e1000",
    .desc = "Intel Gigabit Ethernet",
    .bus = BUS_PCI,
    .user = true,
    .size = sizeof(E1000),
    .props = props,
    .state = &state,
    .realize = e1000_realize,
    .reset = e1000_reset,
    .unrealize = e1000_unrealize,
    .describe = pci_device_describe,
    .bus_info = &info,
};
