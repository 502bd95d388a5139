/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: registers, interrupts, PHY, EEPROM, state, garbage; the driver of the other files. */
#include "test-e1000.h"

#include <unistd.h>

#include "hw/registry.h"

Rig rig;

uint32_t rd(unsigned reg)
{
    return readl(rig.m, MEM + reg);
}

void wr(unsigned reg, uint32_t value)
{
    writel(rig.m, MEM + reg, value);
}

bool irq(void)
{
    return ((PciDevice *)rig.dev)->intx_level;
}

static void open_card(const char *more)
{
    memset(&rig, 0, sizeof(rig));
    rig.m = test_machine_new(RAM_SIZE);
    test_device(rig.m, &i440fx_class, NULL);
    fake_open(&rig.net, "net0");
    g_autofree char *props = g_strdup_printf("addr=3,netdev=net0,mac=" NIC_MAC "%s", more);
    rig.dev = test_device(rig.m, &e1000_class, props);
    cfg_writel(rig.m, DEVFN, 0x10, MEM);
    cfg_writel(rig.m, DEVFN, 0x14, PORT);
    cfg_writew(rig.m, DEVFN, PCI_COMMAND, 7);
}

void rig_open(unsigned tx_size, unsigned rx_size, uint32_t rctl)
{
    open_card(",romfile=");
    rig.tx_size = tx_size;
    rig.rx_size = rx_size;
    wr(TDBAL, TX_RING);
    wr(TDLEN, tx_size * DESC_BYTES);
    wr(TCTL, TCTL_EN | TCTL_PSP);
    for (unsigned i = 0; i < rx_size; i++) {
        writeq(rig.m, RX_RING + i * DESC_BYTES, RX_BUF + i % 128 * RX_STEP);
        rx_clear(i);
    }
    wr(RDBAL, RX_RING);
    wr(RDLEN, rx_size * DESC_BYTES);
    wr(RDT, rx_size - 1);
    wr(RCTL, RCTL_EN | rctl);
}

void rig_close(void)
{
    test_machine_free(rig.m);
    fake_done(&rig.net);
}

void tx_desc(uint64_t addr, uint32_t lower, uint32_t upper)
{
    hwaddr at = TX_RING + rig.tail * DESC_BYTES;
    writeq(rig.m, at, addr);
    writel(rig.m, at + 8, lower);
    writel(rig.m, at + 12, upper);
    rig.tail = (rig.tail + 1) % rig.tx_size;
}

void tx_go(void)
{
    wr(TDT, rig.tail);
}

void tx_context(unsigned ipcss, unsigned ipcso, unsigned ipcse, unsigned tucss, unsigned tucso,
                unsigned tucse, uint32_t lower, uint32_t upper)
{
    tx_desc((uint64_t)(tucss | tucso << 8 | tucse << 16) << 32 | ipcss | ipcso << 8 | ipcse << 16,
            lower | TX_DEXT, upper);
}

void tx_simple(size_t bytes, uint32_t flags)
{
    dma_write(&rig.m->mem, TX_BUF, rig.frame, bytes);
    tx_desc(TX_BUF, (uint32_t)bytes | TX_EOP | flags, 0);
    tx_go();
}

uint32_t tx_status(unsigned n)
{
    return readl(rig.m, TX_RING + n * DESC_BYTES + 12);
}

bool rx_send(const void *frame, size_t bytes)
{
    return net_send_buf(&rig.net.end, frame, bytes);
}

RxDesc rx_desc(unsigned n)
{
    hwaddr at = RX_RING + n * DESC_BYTES;
    return (RxDesc){readw(rig.m, at + 8), readw(rig.m, at + 10), readw(rig.m, at + 12),
                    readw(rig.m, at + 14)};
}

void rx_clear(unsigned n)
{
    writeq(rig.m, RX_RING + n * DESC_BYTES + 8, 0);
}

/* ---- Registers ---- */

static void test_config(void)
{
    rig_open(8, 8, 0);
    g_assert_cmphex(cfg_readl(rig.m, DEVFN, 0), ==, 0x100e8086);
    g_assert_cmphex(cfg_readl(rig.m, DEVFN, 8), ==, 0x02000003);
    g_assert_cmphex(cfg_readb(rig.m, DEVFN, PCI_INTERRUPT_PIN), ==, 1);
    cfg_writel(rig.m, DEVFN, 0x10, 0xffffffff);
    g_assert_cmphex(cfg_readl(rig.m, DEVFN, 0x10), ==, 0xfffe0000);
    cfg_writel(rig.m, DEVFN, 0x14, 0xffffffff);
    g_assert_cmphex(cfg_readl(rig.m, DEVFN, 0x14), ==, 0xffffffc1);
    rig_close();
}

static void test_registers(void)
{
    rig_open(8, 8, 0);
    g_assert_cmphex(rd(RAL0), ==, 0x12005452);
    g_assert_cmphex(rd(RAH0), ==, 0x80005634);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    g_assert_cmphex(rd(VET), ==, 0x8100);
    wr(STATUS, 0xffffffff); /* read-only */
    g_assert_cmphex(rd(STATUS), ==, STATUS_LU | STATUS_FD | 0x280);
    wr(TDLEN, 0xffffffff);
    g_assert_cmphex(rd(TDLEN), ==, 0xfff80);
    wr(MTA + 4 * 127, 0x12345678);
    g_assert_cmphex(rd(MTA + 4 * 127), ==, 0x12345678);
    /* By ports, and the places of the 82542. */
    outl(rig.m, PORT, RDBAL);
    outl(rig.m, PORT + 4, 0x12345678);
    g_assert_cmphex(rd(RDBAL), ==, 0x12345670);
    g_assert_cmphex(rd(0x0110), ==, 0x12345670);
    outl(rig.m, PORT, VET);
    g_assert_cmphex(inl(rig.m, PORT + 4), ==, 0x8100);
    g_assert_cmphex(inl(rig.m, PORT), ==, VET);
    /* A reset of the card. */
    wr(IMS, INT_LSC);
    wr(CTRL, rd(CTRL) | CTRL_RST);
    g_assert_cmphex(rd(RDBAL), ==, 0);
    g_assert_cmphex(rd(IMS), ==, 0);
    g_assert_cmphex(rd(CTRL) & CTRL_RST, ==, 0);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    g_assert_cmphex(rd(RAL0), ==, 0x12005452);
    rig_close();
}

static void test_interrupts(void)
{
    rig_open(8, 8, 0);
    wr(ICS, INT_LSC | INT_RXO);
    g_assert_false(irq());
    wr(IMS, INT_RXO);
    g_assert_true(irq());
    g_assert_cmphex(rd(IMS), ==, INT_RXO);
    wr(IMC, INT_RXO);
    g_assert_false(irq());
    wr(IMS, INT_LSC);
    g_assert_true(irq());
    wr(ICR, INT_LSC);
    g_assert_false(irq());
    g_assert_cmphex(rd(ICR), ==, INT_RXO);
    g_assert_cmphex(rd(ICR), ==, 0);
    rig_close();
}

/* Between two interrupts lie at least ITR units of 256 ns. */
static void test_throttle(void)
{
    rig_open(8, 8, 0);
    wr(ITR, 1000);
    wr(IMS, INT_LSC);
    wr(ICS, INT_LSC);
    g_assert_true(irq()); /* the first comes at once */
    rd(ICR);
    g_assert_false(irq());
    wr(ICS, INT_LSC);
    g_assert_false(irq());
    vclock_step(255999);
    g_assert_false(irq());
    test_device_state(rig.dev);
    vclock_step(1);
    g_assert_true(irq());
    rd(ICR);
    vclock_step(1000000); /* nothing is late: the next comes at once */
    wr(ICS, INT_LSC);
    g_assert_true(irq());
    rig_close();
}

/* ---- EEPROM ---- */

static void eecd(uint32_t pins)
{
    wr(EECD, pins | EECD_REQ | EECD_CS);
    wr(EECD, pins | EECD_REQ | EECD_CS | EECD_SK);
    wr(EECD, pins | EECD_REQ | EECD_CS);
}

static void shift_out(uint32_t bits, unsigned count)
{
    while (count--)
        eecd(bits >> count & 1 ? EECD_DI : 0);
}

static uint16_t microwire_read(unsigned word)
{
    unsigned value = 0;
    shift_out(6 << 6 | word, 9);
    g_assert_cmphex(rd(EECD) & EECD_DO, ==, 0); /* the dummy bit */
    for (unsigned i = 0; i < 16; i++) {
        eecd(0);
        value = value << 1 | (rd(EECD) & EECD_DO ? 1 : 0);
    }
    wr(EECD, EECD_REQ);
    return (uint16_t)value;
}

static uint16_t eerd(unsigned word)
{
    wr(EERD, word << 8 | EERD_START);
    g_assert_cmphex(rd(EERD) & 0xff, ==, EERD_DONE);
    return (uint16_t)(rd(EERD) >> 16);
}

static void test_eeprom(void)
{
    uint16_t sum = 0;
    rig_open(8, 8, 0);
    wr(EECD, EECD_REQ);
    g_assert_cmphex(rd(EECD) & (EECD_GNT | EECD_PRES), ==, EECD_GNT | EECD_PRES);
    for (unsigned i = 0; i < 64; i++) {
        g_assert_cmphex(eerd(i), ==, microwire_read(i));
        sum = (uint16_t)(sum + eerd(i));
    }
    g_assert_cmphex(sum, ==, 0xbaba);
    g_assert_cmphex(eerd(0), ==, 0x5452);
    g_assert_cmphex(eerd(2), ==, 0x5634);
    g_assert_cmphex(eerd(64), ==, 0xffff);
    /* Writing needs EWEN. */
    shift_out(5 << 6 | 7, 9);
    shift_out(0x1234, 16);
    wr(EECD, EECD_REQ);
    g_assert_cmphex(eerd(7), ==, 0);
    shift_out(4 << 6 | 0x30, 9);
    wr(EECD, EECD_REQ);
    shift_out(5 << 6 | 7, 9);
    shift_out(0x1234, 16);
    test_device_state(rig.dev);
    wr(EECD, EECD_REQ);
    g_assert_cmphex(eerd(7), ==, 0x1234);
    shift_out(7 << 6 | 7, 9); /* erase */
    wr(EECD, EECD_REQ);
    g_assert_cmphex(eerd(7), ==, 0xffff);
    shift_out(4 << 6 | 0x10, 9); /* write all */
    shift_out(0x4242, 16);
    wr(EECD, EECD_REQ);
    g_assert_cmphex(eerd(63), ==, 0x4242);
    shift_out(4 << 6, 9); /* lock */
    wr(EECD, EECD_REQ);
    shift_out(4 << 6 | 0x20, 9); /* erase all */
    wr(EECD, EECD_REQ);
    g_assert_cmphex(eerd(63), ==, 0x4242);
    rig_close();
}

/* ---- PHY ---- */

static uint16_t phy_get(unsigned number)
{
    wr(MDIC, MDIC_OP_READ | PHY_ADDRESS << 21 | number << 16);
    g_assert_cmphex(rd(MDIC) & (MDIC_READY | MDIC_E), ==, MDIC_READY);
    return (uint16_t)rd(MDIC);
}

static void phy_set(unsigned number, unsigned value)
{
    wr(MDIC, MDIC_OP_WRITE | PHY_ADDRESS << 21 | number << 16 | value);
}

static void test_phy(void)
{
    rig_open(8, 8, RCTL_BAM);
    g_assert_cmphex(phy_get(PHY_ID1), ==, 0x0141);
    g_assert_cmphex(phy_get(PHY_ID2), ==, 0x0c20);
    g_assert_cmphex(phy_get(PHY_STATUS) & 0x24, ==, 0x24);
    g_assert_cmphex(phy_get(PHY_PSSTAT), ==, PSSTAT_UP);
    wr(MDIC, MDIC_OP_READ | 2 << 21); /* there is no other PHY */
    g_assert_cmphex(rd(MDIC) & MDIC_E, ==, MDIC_E);
    wr(MDIC, MDIC_I | MDIC_OP_READ | PHY_ADDRESS << 21);
    g_assert_cmphex(rd(ICR), ==, INT_MDAC);
    phy_set(PHY_ID1, 0); /* read-only */
    g_assert_cmphex(phy_get(PHY_ID1), ==, 0x0141);
    /* A reset of the PHY: half a second without a link. */
    phy_set(PHY_CTRL, 0x1140 | PHY_CTRL_RESET);
    g_assert_cmphex(phy_get(PHY_CTRL), ==, 0x1140);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, 0);
    g_assert_cmphex(rd(ICR), ==, INT_LSC);
    test_device_state(rig.dev);
    rd(ICR);
    vclock_step(NS_PER_SEC);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    g_assert_cmphex(rd(ICR), ==, INT_LSC);
    phy_set(PHY_CTRL, 0x1140 | PHY_CTRL_POWER_DOWN);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, 0);
    phy_set(PHY_CTRL, 0x1140);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    rig_close();
}

/* The link's status is latched, the partner's abilities are there only with it. */
static void test_phy_link(void)
{
    rig_open(8, 8, 0);
    g_assert_cmphex(phy_get(PHY_LPA), ==, LPA_ALL);
    g_assert_cmphex(phy_get(PHY_GSTATUS), ==, GSTATUS_ALL);
    g_assert_true(net_set_link("e1000", false, NULL));
    g_assert_cmphex(phy_get(PHY_LPA) | phy_get(PHY_GSTATUS) | phy_get(PHY_ANE), ==, 0);
    g_assert_cmphex(phy_get(PHY_PSSTAT), ==, 0);
    g_assert_true(net_set_link("e1000", true, NULL));
    test_device_state(rig.dev);
    g_assert_cmphex(phy_get(PHY_STATUS) & PHY_STATUS_LINK, ==, 0); /* it was down meanwhile */
    g_assert_cmphex(phy_get(PHY_STATUS) & PHY_STATUS_LINK, ==, PHY_STATUS_LINK);
    g_assert_true(net_set_link("e1000", false, NULL));
    g_assert_cmphex(phy_get(PHY_STATUS) & PHY_STATUS_LINK, ==, 0);
    g_assert_true(net_set_link("e1000", true, NULL));
    g_assert_cmphex(phy_get(PHY_STATUS) & PHY_STATUS_LINK, ==, PHY_STATUS_LINK);
    g_assert_cmphex(phy_get(PHY_LPA), ==, LPA_ALL);
    rig_close();
}

static uint32_t mode(void)
{
    return rd(STATUS) & (STATUS_FD | 3 << STATUS_SPEED_SHIFT);
}

/* The mode is what the PHY offers or is set to; the MAC may be forced to another. */
static void test_speed(void)
{
    enum { HALF = 0, FULL = STATUS_FD, S100 = 1 << STATUS_SPEED_SHIFT, S1000 = 2 * S100 };
    rig_open(8, 8, 0);
    g_assert_cmphex(mode(), ==, FULL | S1000);
    phy_set(PHY_GCON, 0x100);
    phy_set(PHY_CTRL, 0x1140 | PHY_CTRL_RESTART);
    vclock_step(NS_PER_SEC);
    g_assert_cmphex(mode(), ==, HALF | S1000);
    phy_set(PHY_GCON, 0);
    phy_set(PHY_ANA, 0x0101);
    phy_set(PHY_CTRL, 0x1140 | PHY_CTRL_RESTART);
    vclock_step(NS_PER_SEC);
    g_assert_cmphex(mode(), ==, FULL | S100);
    g_assert_cmphex(phy_get(PHY_PSSTAT), ==, 0x6c00);
    phy_set(PHY_CTRL, 0); /* no negotiation: 10 Mb/s, half duplex */
    g_assert_cmphex(mode(), ==, HALF);
    phy_set(PHY_CTRL, PHY_CTRL_SPEED_100 | PHY_CTRL_FULL);
    g_assert_cmphex(mode(), ==, FULL | S100);
    wr(CTRL, CTRL_FRCSPD | CTRL_FRCDPX | CTRL_SPEED_1000);
    g_assert_cmphex(mode(), ==, HALF | S1000);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    test_device_state(rig.dev);
    rig_close();
}

static void test_link(void)
{
    rig_open(8, 8, RCTL_BAM);
    wr(IMS, INT_LSC);
    make_frame(rig.frame, 60, "\xff\xff\xff\xff\xff\xff", 0x0806);
    g_assert_true(net_set_link("e1000", false, NULL));
    g_assert_true(irq());
    g_assert_cmphex(rd(ICR), ==, INT_LSC);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, 0);
    g_assert_cmphex(phy_get(PHY_STATUS) & 0x24, ==, 0);
    tx_simple(60, TX_RS);
    g_assert_cmphex(tx_status(0) & TX_DD, ==, TX_DD); /* goes nowhere */
    g_assert_cmpuint(fake_count(&rig.net), ==, 0);
    g_assert_true(net_set_link("e1000", true, NULL));
    g_assert_cmphex(rd(ICR), ==, INT_LSC | INT_TXDW | INT_TXQE);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, STATUS_LU);
    tx_simple(60, TX_RS);
    g_assert_cmpuint(fake_count(&rig.net), ==, 1);
    /* The back end goes. */
    net_disconnect(&rig.net.end);
    g_assert_cmphex(rd(STATUS) & STATUS_LU, ==, 0);
    rig_close();
}

/* ---- All of it ---- */

static void test_props(void)
{
    rig_open(8, 8, 0);
    g_autofree char *taken = test_device_error(rig.m, &e1000_class, "romfile=,netdev=net0");
    g_assert_nonnull(strstr(taken, "in use by 'e1000.0'"));
    g_autofree char *group =
        test_device_error(rig.m, &e1000_class, "romfile=,mac=01:00:5e:00:00:01");
    g_assert_nonnull(strstr(group, "mac"));
    g_autofree char *none = test_device_error(rig.m, &e1000_class, "romfile=,netdev=net1");
    g_assert_nonnull(strstr(none, "net0"));
    /* Their names, as QEMU has them; the first one's is known without its number, too. */
    test_device(rig.m, &e1000_class, "romfile=");
    g_assert_nonnull(net_find("e1000.0"));
    g_assert_nonnull(net_find("e1000.1"));
    g_assert_true(net_set_link("e1000", false, NULL));
    g_assert_true(net_find("e1000.0")->link_down);
    g_assert_false(net_find("e1000.1")->link_down);
    rig_close();
}

/* The option ROM stands behind its BAR. */
static void test_rom(void)
{
    if (access("/usr/lib/ipxe/qemu/efi-e1000.rom", R_OK)) {
        g_test_skip("no option ROM: package ipxe-qemu");
        return;
    }
    open_card("");
    cfg_writel(rig.m, DEVFN, PCI_ROM_ADDRESS, 0xfffff800);
    g_assert_cmphex(cfg_readl(rig.m, DEVFN, PCI_ROM_ADDRESS), !=, 0);
    cfg_writel(rig.m, DEVFN, PCI_ROM_ADDRESS, 0xfd000001);
    g_assert_cmphex(readw(rig.m, 0xfd000000), ==, 0xaa55);
    uint32_t pcir = 0xfd000000 + readw(rig.m, 0xfd000018);
    g_assert_cmphex(readl(rig.m, pcir), ==, 0x52494350); /* "PCIR" */
    g_assert_cmphex(readl(rig.m, pcir + 4), ==, 0x100e8086);
    rig_close();
}

static void test_hostile(void)
{
    static const uint32_t values[] = {0xffffffff, 0, 0x55555555, 0x80000001, 0x10000};
    rig_open(8, 8, RCTL_UPE | RCTL_BAM);
    for (unsigned v = 0; v < G_N_ELEMENTS(values); v++) {
        for (unsigned at = 0; at < MMIO_SIZE; at += 4) {
            wr(at, values[v]);
            rd(at);
        }
        writeb(rig.m, MEM + 3, 0xff);
        writew(rig.m, MEM + TDT + 1, 0xffff);
        readq(rig.m, MEM + ICR);
        rx_send(rig.frame, 60000);
        vclock_step(NS_PER_MS);
        loop_step(rig.m->loop, false);
    }
    test_device_state(rig.dev);
    cfg_hammer(rig.m, DEVFN);
    rig_close();
}

/* While descriptors are under way: to elsewhere, another size, or by a reset of the card. */
static void move_rings(GRand *random)
{
    uint32_t what = g_rand_int(random);
    bool away = what & 1;

    if (what & 2)
        wr(CTRL, (what & 4 ? CTRL_RST : 0) | (what & 8 ? CTRL_PHY_RST : 0));
    wr(TDBAL, away ? what : TX_RING);
    wr(TDBAH, away && what & 16 ? what : 0);
    wr(TDLEN, away ? what % 4096 : rig.tx_size * DESC_BYTES);
    wr(TDH, what & 32 ? what >> 8 & 31 : rd(TDH));
    wr(RDBAL, away ? what / 2 : RX_RING);
    wr(RDLEN, away ? what / 3 % 4096 : rig.rx_size * DESC_BYTES);
    wr(RDH, what & 64 ? what >> 16 & 31 : rd(RDH));
    wr(TCTL, TCTL_EN | (what & TCTL_PSP));
    wr(RCTL, RCTL_EN | what >> 3);
    vclock_step(NS_PER_MS);
}

/* Rings that are right, most of the time, with descriptors that are anything, frames of all sizes,
 * a peer that is full at times, and a link that comes and goes. */
static void test_fuzz(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(3);
    rig_open(16, 16, RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_LPE);
    make_frame(rig.frame, 65536, NIC_BYTES, 0x0800);
    dma_write(&rig.m->mem, TX_BUF, rig.frame, 65536);
    for (unsigned i = 0; i < 30000; i++) {
        uint32_t flags = g_rand_int(random), upper = g_rand_int(random);
        uint32_t bytes = (uint32_t)g_rand_int_range(random, 0, flags & 1 ? 70000 : 300);
        uint64_t addr = flags & 6 ? TX_BUF + bytes % 4096 : g_rand_int(random) % (2 * RAM_SIZE);
        if (flags & TX_DEXT)
            bytes |= (flags >> 8 & 3) << TX_DTYP_SHIFT;
        tx_desc(flags & 8 ? addr : addr | (uint64_t)upper << 32, bytes | (flags & 0xff000000),
                upper);
        if (flags & 16)
            tx_go();
        if (i % 8 == 0)
            rx_send(rig.frame, g_rand_int(random) % 65536 + 1);
        if (i % 16 == 0)
            wr(RDT, g_rand_int(random) % 16);
        if (i % 32 == 0) {
            wr(CTRL, g_rand_int(random) & ~(CTRL_RST | CTRL_PHY_RST));
            wr(RXCSUM, g_rand_int(random));
            wr(RCTL, RCTL_EN | g_rand_int(random));
            rig.net.full = flags & 64;
            rig.net.take = flags >> 8 & 7;
            net_writable(&rig.net.end);
        }
        if (i % 256 == 0)
            net_set_link("e1000", flags & 3, NULL);
        if (i % 512 == 0)
            move_rings(random);
        if (rd(TDH) != rd(TDT))
            loop_step(rig.m->loop, false);
        while (fake_count(&rig.net))
            g_bytes_unref(g_queue_pop_head(&rig.net.frames));
    }
    test_device_state(rig.dev);
    rig_close();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/e1000/config", test_config);
    g_test_add_func("/e1000/registers", test_registers);
    g_test_add_func("/e1000/interrupts", test_interrupts);
    g_test_add_func("/e1000/throttle", test_throttle);
    g_test_add_func("/e1000/eeprom", test_eeprom);
    g_test_add_func("/e1000/phy", test_phy);
    g_test_add_func("/e1000/phy-link", test_phy_link);
    g_test_add_func("/e1000/speed", test_speed);
    g_test_add_func("/e1000/link", test_link);
    g_test_add_func("/e1000/props", test_props);
    g_test_add_func("/e1000/rom", test_rom);
    g_test_add_func("/e1000/hostile", test_hostile);
    g_test_add_func("/e1000/fuzz", test_fuzz);
    add_tx_tests();
    add_rx_tests();
    return g_test_run();
}
