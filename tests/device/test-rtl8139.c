/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: both modes' transmission and reception, registers, timer, EEPROM, counters, state. */
#include "../../hw/net/rtl8139.h"

#include "hw/registry.h"
#include "test-nic.h"

#define DEVFN     PCI_DEVFN(3, 0)
#define MEM       0xfe000000u
#define PORT      0xc100
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define TX_RING   0x10000
#define RX_RING   0x11000
#define TX_BUF    0x20000
#define RX_BUF    0x40000
#define RX_STEP   0x1000

static Machine *m;
static Device *dev;
static FakeNet net;
static uint8_t frame[70000], got[70000];
static unsigned tail; /* of the transmit ring */

static uint16_t rd16(unsigned at)
{
    return readw(m, MEM + at);
}
static uint32_t rd32(unsigned at)
{
    return readl(m, MEM + at);
}
static void wr8(unsigned at, unsigned value)
{
    writeb(m, MEM + at, (uint8_t)value);
}
static void wr16(unsigned at, unsigned value)
{
    writew(m, MEM + at, (uint16_t)value);
}
static void wr32(unsigned at, uint32_t value)
{
    writel(m, MEM + at, value);
}
static bool irq(void)
{
    return ((PciDevice *)dev)->intx_level;
}

static void open_card(void)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    fake_open(&net, "net0");
    dev = test_device(m, &rtl8139_class, "addr=3,romfile=,netdev=net0,mac=" NIC_MAC);
    cfg_writel(m, DEVFN, 0x10, PORT);
    cfg_writel(m, DEVFN, 0x14, MEM);
    cfg_writew(m, DEVFN, PCI_COMMAND, 7);
    wr16(IMR, 0xffff);
    tail = 0;
}

static void open_legacy(uint32_t rcr)
{
    open_card();
    wr32(RBSTART, RX_BUF);
    wr32(RCR, rcr);
    wr8(CR, CR_TE | CR_RE);
}

/* Rings of 8 descriptors. */
static void open_cplus(unsigned cpcr)
{
    open_card();
    wr16(CPCR, CPCR_TE | CPCR_RE | cpcr);
    wr32(TNPDS, TX_RING);
    wr32(RDSAR, RX_RING);
    for (unsigned i = 0; i < 8; i++) {
        writel(m, RX_RING + 16 * i, CP_OWN | (i == 7 ? CP_EOR : 0) | 1536);
        writel(m, RX_RING + 16 * i + 4, 0);
        writeq(m, RX_RING + 16 * i + 8, RX_BUF + i * RX_STEP);
    }
    wr32(RCR, RCR_APM | RCR_AB);
    wr8(CR, CR_TE | CR_RE);
}

static void close_card(void)
{
    test_machine_free(m);
    fake_done(&net);
}

/* ---- Registers ---- */

static void test_registers(void)
{
    open_card();
    g_assert_cmphex(cfg_readl(m, DEVFN, 0), ==, 0x813910ec);
    g_assert_cmphex(cfg_readl(m, DEVFN, 8), ==, 0x02000020);
    g_assert_cmphex(rd32(IDR0), ==, 0x12005452);
    g_assert_cmphex(rd16(IDR0 + 4), ==, 0x5634);
    g_assert_cmphex(rd32(TCR) & 0x7cc00000, ==, 0x74800000);
    g_assert_cmphex(rd32(TSD0), ==, TSD_OWN);
    g_assert_cmphex(rd16(TSAD), ==, 0x000f);
    g_assert_cmphex(inl(m, PORT + IDR0), ==, 0x12005452);
    g_assert_cmphex(readb(m, MEM + CR), ==, CR_BUFE);
    /* CONFIGn need the lock off. */
    wr8(CONFIG4, 0x55);
    g_assert_cmphex(readb(m, MEM + CONFIG4), ==, 0);
    wr8(CR9346, EE_UNLOCK);
    wr8(CONFIG4, 0x55);
    g_assert_cmphex(readb(m, MEM + CONFIG4), ==, 0x55);
    wr8(CR9346, 0);
    /* Bytes of a wider register. */
    wr8(MAR0 + 2, 0x12);
    g_assert_cmphex(rd32(MAR0), ==, 0x00120000);
    wr8(TPPOLL, TPPOLL_FSWINT);
    g_assert_cmphex(rd16(ISR), ==, INT_SW);
    g_assert_true(irq());
    wr16(ISR, INT_SW);
    g_assert_false(irq());
    wr8(CR, CR_RST);
    g_assert_cmphex(readb(m, MEM + CR) & CR_RST, ==, 0);
    g_assert_cmphex(rd16(IMR), ==, 0);
    close_card();
}

static void test_link(void)
{
    open_card();
    g_assert_cmphex(rd16(BMSR) & 0x24, ==, 0x24);
    g_assert_cmphex(readb(m, MEM + MSR) & MSR_LINKB, ==, 0);
    g_assert_true(net_set_link("rtl8139", false, NULL));
    g_assert_cmphex(rd16(ISR), ==, INT_LINK);
    g_assert_cmphex(rd16(BMSR) & 0x24, ==, 0);
    g_assert_cmphex(readb(m, MEM + MSR) & MSR_LINKB, ==, MSR_LINKB);
    g_assert_true(net_set_link("rtl8139", true, NULL));
    g_assert_cmphex(rd16(BMSR) & 0x24, ==, 0x24);
    close_card();
}

static void test_timer(void)
{
    open_card();
    wr32(TIMERINT, 33333);
    wr32(TCTR, 0);
    vclock_step(999000);
    g_assert_cmphex(rd16(ISR), ==, 0);
    g_assert_cmpuint(rd32(TCTR), ==, 33299);
    test_device_state(dev);
    vclock_step(1100);
    g_assert_cmphex(rd16(ISR), ==, INT_TIMEOUT);
    wr32(TIMERINT, 0);
    wr16(ISR, 0xffff);
    vclock_step(200 * NS_PER_SEC);
    g_assert_cmphex(rd16(ISR), ==, 0);
    close_card();
}

static unsigned eeprom_read(unsigned word)
{
    unsigned command = 6 << 6 | word, value = 0;
    wr8(CR9346, EE_PROGRAM);
    for (unsigned i = 9 + 16; i-- > 0;) {
        unsigned bit = i >= 16 && command >> (i - 16) & 1 ? EE_DI : 0;
        wr8(CR9346, EE_PROGRAM | EE_CS | bit);
        wr8(CR9346, EE_PROGRAM | EE_CS | bit | EE_SK);
        if (i < 16)
            value = value << 1 | (readb(m, MEM + CR9346) & EE_DO);
    }
    wr8(CR9346, 0);
    return value;
}

static void test_eeprom(void)
{
    open_card();
    g_assert_cmphex(eeprom_read(0), ==, 0x8129);
    g_assert_cmphex(eeprom_read(1), ==, 0x10ec);
    g_assert_cmphex(eeprom_read(7), ==, 0x5452);
    g_assert_cmphex(eeprom_read(9), ==, 0x5634);
    wr32(IDR0, 0);
    wr8(CR9346, EE_AUTOLOAD);
    g_assert_cmphex(rd32(IDR0), ==, 0x12005452);
    g_assert_cmphex(readb(m, MEM + CR9346) & EE_MODE, ==, 0);
    close_card();
}

/* ---- The four descriptors and the buffer ---- */

static void test_legacy_tx(void)
{
    open_legacy(0);
    for (unsigned i = 0; i < 10; i++) {
        unsigned bytes = 60 + i * 150;
        make_frame(frame, bytes, BROADCAST, 0x0800);
        dma_write(&m->mem, TX_BUF, frame, bytes);
        wr32(TSAD0 + i % 4 * 4, TX_BUF);
        wr32(TSD0 + i % 4 * 4, bytes);
        g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, bytes);
        g_assert_cmpmem(got, bytes, frame, bytes);
        g_assert_cmphex(rd32(TSD0 + i % 4 * 4), ==, TSD_OWN | TSD_TOK | bytes);
        g_assert_cmphex(rd16(ISR), ==, INT_TOK);
        wr16(ISR, INT_TOK);
    }
    g_assert_cmphex(rd16(TSAD), ==, 0xf00f);
    /* In order: the third waits for the second. */
    wr32(TSD0 + 12, 60);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    wr32(TSD0 + 8, 61);
    g_assert_cmpuint(fake_count(&net), ==, 2);
    /* Refused, and saved there. */
    net.full = true;
    wr32(TSD0, 62);
    wr32(TSD0 + 4, 63);
    g_assert_cmpuint(net.refused, ==, 1);
    test_device_state(dev);
    net.full = false;
    net_writable(&net.end);
    loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 4);
    /* Too long, or from nowhere. */
    wr16(ISR, 0xffff);
    wr32(TSD0 + 8, 1793);
    wr32(TSAD0 + 12, 0x7fff0000);
    wr32(TSD0 + 12, 60);
    g_assert_cmpuint(fake_count(&net), ==, 4);
    g_assert_cmphex(rd32(TSD0 + 8) & TSD_TABT, ==, TSD_TABT);
    g_assert_cmphex(rd16(ISR), ==, INT_TER);
    close_card();
}

static void check_buffer(unsigned at, unsigned size, unsigned bytes, bool wraps)
{
    unsigned whole = MAX(bytes, 60) + 4;
    g_assert_cmphex(readw(m, RX_BUF + at), ==, 0x2001);
    g_assert_cmpuint(readw(m, RX_BUF + at + 2), ==, whole);
    for (unsigned i = 0; i < bytes; i++) {
        unsigned place = at + 4 + i;
        got[i] = readb(m, RX_BUF + (wraps ? place % size : place));
    }
    g_assert_cmpmem(got, bytes, frame, bytes);
}

/* All sizes of buffers, over the end or beyond it as RCR.WRAP says. */
static void test_legacy_rx(void)
{
    for (unsigned kind = 0; kind < 8; kind++) {
        unsigned length = kind & 3, size = 8192u << length, at = 0;
        bool wraps = length == 3 || !(kind & 4);
        open_legacy(RCR_AB | length << RCR_RBLEN_SHIFT | (kind & 4 ? RCR_WRAP : 0));
        for (unsigned i = 0; i < 150; i++) {
            unsigned bytes = 40 + i * 97 % 1474, whole = MAX(bytes, 60) + 4;
            make_frame(frame, bytes, BROADCAST, 0x0800);
            g_assert_cmphex(readb(m, MEM + CR) & CR_BUFE, ==, CR_BUFE);
            g_assert_true(net_send_buf(&net.end, frame, bytes));
            g_assert_cmphex(readb(m, MEM + CR) & CR_BUFE, ==, 0);
            check_buffer(at, size, bytes, wraps);
            at = (at + 4 + (whole + 3) / 4 * 4) % size;
            g_assert_cmpuint(rd16(CBR), ==, at & 0xffff);
            wr16(CAPR, at - 16);
        }
        close_card();
    }
}

static void test_legacy_full(void)
{
    unsigned count = 0;
    open_legacy(RCR_AB);
    make_frame(frame, 1514, BROADCAST, 0x0800);
    while (net_send_buf(&net.end, frame, 1514))
        g_assert_cmpuint(++count, <, 20);
    g_assert_cmpuint(count, ==, 5);
    test_device_state(dev);
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    unsigned before = net.writable;
    wr16(CAPR, 1524 - 16);
    g_assert_cmpuint(net.writable, ==, before + 1);
    g_assert_true(net_send_buf(&net.end, frame, 1514));
    wr32(RBSTART, 0x7fff0000); /* no RAM */
    g_assert_true(net_send_buf(&net.end, frame, 1514));
    wr8(CR, CR_TE); /* off */
    g_assert_true(net_send_buf(&net.end, frame, 1514));
    close_card();
}

static bool passes(const char *to)
{
    unsigned before = rd16(CBR);
    make_frame(frame, 100, to, 0x0800);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    unsigned after = rd16(CBR);
    wr16(CAPR, after - 16);
    return before != after;
}

static void test_filters(void)
{
    open_legacy(0);
    g_assert_false(passes(NIC_BYTES));
    wr32(RCR, RCR_APM);
    g_assert_true(passes(NIC_BYTES));
    g_assert_false(passes(BROADCAST));
    g_assert_false(passes("\x52\x54\x00\x00\x00\x01"));
    wr32(RCR, RCR_AB);
    g_assert_true(passes(BROADCAST));
    wr32(RCR, RCR_AAP);
    g_assert_true(passes("\x52\x54\x00\x00\x00\x01"));
    wr32(RCR, RCR_AM);
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x01"));
    wr32(MAR0, 1u << 31); /* the hash of that address is 31 */
    g_assert_true(passes("\x01\x00\x5e\x00\x00\x01"));
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x02"));
    g_assert_true(net_send_buf(&net.end, frame, 65536));
    close_card();
}

/* ---- C+ mode ---- */

static void cp_desc(hwaddr addr, uint32_t opts1, uint32_t opts2)
{
    hwaddr at = TX_RING + tail * 16;
    writeq(m, at + 8, addr);
    writel(m, at + 4, opts2);
    writel(m, at, CP_OWN | opts1 | (tail == 7 ? CP_EOR : 0));
    tail = (tail + 1) % 8;
}

static void test_cplus_tx(void)
{
    open_cplus(0);
    for (unsigned n = 0; n < 100; n++) {
        unsigned bytes = 60 + n * 14, pieces = n % 5 + 1, done = 0, first = tail;
        make_frame(frame, bytes, BROADCAST, 0x0800);
        dma_write(&m->mem, TX_BUF, frame, bytes);
        for (unsigned i = 0; i < pieces; i++) {
            unsigned part = i + 1 == pieces ? bytes - done : 11;
            cp_desc(TX_BUF + done, part | (i ? 0 : CP_FS) | (i + 1 == pieces ? CP_LS : 0), 0);
            done += part;
            if (i + 1 < pieces) { /* not all there */
                wr8(TPPOLL, TPPOLL_NPQ);
                g_assert_cmpuint(fake_count(&net), ==, 0);
            }
        }
        wr8(TPPOLL, TPPOLL_NPQ);
        g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, bytes);
        g_assert_cmpmem(got, bytes, frame, bytes);
        for (unsigned i = 0; i < pieces; i++)
            g_assert_cmphex(readl(m, TX_RING + (first + i) % 8 * 16) & CP_OWN, ==, 0);
        g_assert_cmphex(rd16(ISR), ==, INT_TOK | INT_TDU);
        wr16(ISR, 0xffff);
    }
    /* A tag: bytes as on the wire. */
    cp_desc(TX_BUF, 100 | CP_FS | CP_LS, CP_TAGC | 0x2301);
    wr8(TPPOLL, TPPOLL_NPQ);
    g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, 104);
    g_assert_cmphex(ld32_be(got + 12), ==, 0x81000123);
    /* Refused. */
    net.full = true;
    cp_desc(TX_BUF, 100 | CP_FS | CP_LS, 0);
    wr8(TPPOLL, TPPOLL_NPQ);
    test_device_state(dev);
    net.full = false;
    net_writable(&net.end);
    loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 1);
    /* From nowhere; and a ring without an end. */
    cp_desc(0x7fff0000, 100 | CP_FS | CP_LS, 0);
    wr8(TPPOLL, TPPOLL_NPQ);
    for (unsigned i = 0; i < 8; i++)
        cp_desc(TX_BUF, 100, 0);
    wr8(TPPOLL, TPPOLL_NPQ);
    g_assert_cmpuint(fake_count(&net), ==, 1);
    close_card();
}

/* A packet of IPv4 with TCP or UDP and its lengths; the offset of the data. */
static unsigned make_packet(bool tcp, unsigned payload)
{
    unsigned header = tcp ? 20 : 8;
    make_frame(frame, 34 + header + payload, NIC_BYTES, 0x0800);
    frame[14] = 0x45;
    st16_be(frame + 16, (uint16_t)(20 + header + payload));
    st16_be(frame + 18, 0xfffe);
    st16_be(frame + 20, 0x4000);
    frame[23] = tcp ? 6 : 17;
    if (tcp) {
        st32_be(frame + 38, 0xffffff00);
        frame[46] = 0x50;
        frame[47] = 0x19;
    }
    return 34 + header;
}

static void check_sums(const uint8_t *f, size_t bytes)
{
    g_assert_cmphex(slow_sum(f + 14, 20, 0), ==, 0xffff);
    g_assert_cmphex(
        slow_sum(f + 34, bytes - 34, slow_sum(f + 26, 8, 0) + f[23] + (uint32_t)bytes - 34), ==,
        0xffff);
}

static void test_cplus_checksums(void)
{
    open_cplus(CPCR_RXCHKSUM);
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        unsigned bytes = make_packet(tcp, 201) + 201;
        dma_write(&m->mem, TX_BUF, frame, bytes);
        cp_desc(TX_BUF, bytes | CP_FS | CP_LS | CP_IPCS | (tcp ? CP_TCPCS : CP_UDPCS), 0);
        wr8(TPPOLL, TPPOLL_NPQ);
        g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, bytes);
        check_sums(got, bytes);
        /* And back: good, then bad. */
        unsigned pid = tcp ? 1 : 2, bad = tcp ? 1 << 13 : 1 << 14;
        g_assert_true(net_send_buf(&net.end, got, bytes));
        uint32_t status = readl(m, RX_RING + tcp * 32);
        g_assert_cmphex(status >> 16 & 3, ==, pid);
        g_assert_cmphex(status & 0xe000, ==, 0);
        got[bytes - 1] ^= 1;
        got[24] ^= 1;
        g_assert_true(net_send_buf(&net.end, got, bytes));
        g_assert_cmphex(readl(m, RX_RING + tcp * 32 + 16) & 0xe000, ==, 0x8000 | bad);
    }
    close_card();
}

static void check_segments(unsigned count, unsigned data, unsigned mss, unsigned payload)
{
    static uint8_t want[4096];
    for (unsigned n = 0; n < count; n++) {
        unsigned part = MIN(mss, payload - n * mss);
        g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, data + part);
        check_sums(got, data + part);
        memcpy(want, frame, data);
        memcpy(want + data, frame + data + n * mss, part);
        st16_be(want + 16, (uint16_t)(data - 14 + part));
        st16_be(want + 18, (uint16_t)(0xfffe + n));
        st32_be(want + 38, 0xffffff00 + n * mss);
        want[47] = n + 1 == count ? 0x19 : 0x10;
        memcpy(want + 24, got + 24, 2); /* checked above */
        memcpy(want + 50, got + 50, 2);
        g_assert_cmpmem(got, data + part, want, data + part);
    }
}

static void test_cplus_tso(void)
{
    open_cplus(0);
    unsigned data = make_packet(true, 20000), bytes = data + 20000;
    dma_write(&m->mem, TX_BUF, frame, bytes);
    cp_desc(TX_BUF, 5000 | CP_FS | CP_LGSEN | 1460u << 16, 0);
    cp_desc(TX_BUF + 5000, (bytes - 5000) | CP_LS | CP_LGSEN | 1460u << 16, 0);
    net.take = 5;
    wr8(TPPOLL, TPPOLL_NPQ);
    g_assert_cmpuint(fake_count(&net), ==, 5);
    test_device_state(dev); /* in the middle of it */
    while (loop_step(m->loop, false)) {
    }
    net.full = false;
    net_writable(&net.end);
    g_assert_cmpuint(fake_count(&net), ==, 14);
    check_segments(14, data, 1460, 20000);
    g_assert_cmphex(readl(m, TX_RING) & CP_OWN, ==, 0);
    g_assert_cmphex(readl(m, TX_RING + 16) & CP_OWN, ==, 0);
    wr16(ISR, 0xffff);
    cp_desc(TX_BUF, 1000 | CP_FS | CP_LS | CP_LGSEN, 0);                   /* MSS 0 */
    cp_desc(TX_BUF + 20, 1000 | CP_FS | CP_LS | CP_LGSEN | 100u << 16, 0); /* no TCP */
    wr8(TPPOLL, TPPOLL_NPQ);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    g_assert_cmphex(rd16(ISR) & INT_TER, ==, INT_TER);
    close_card();
}

static void test_cplus_rx(void)
{
    open_cplus(CPCR_RXVLAN);
    make_frame(frame, 1514, BROADCAST, 0x0800);
    for (unsigned n = 0; n < 20; n++) {
        unsigned at = n % 8, bytes = 40 + n * 70;
        make_frame(frame, bytes, BROADCAST, 0x0800);
        g_assert_true(net_send_buf(&net.end, frame, bytes));
        uint32_t status = readl(m, RX_RING + at * 16);
        g_assert_cmphex(status, ==,
                        (at == 7 ? CP_EOR : 0) | CP_FS | CP_LS | 1u << 24 | (MAX(bytes, 60) + 4));
        dma_read(&m->mem, RX_BUF + at * RX_STEP, got, bytes);
        g_assert_cmpmem(got, bytes, frame, bytes);
        writel(m, RX_RING + at * 16, CP_OWN | (at == 7 ? CP_EOR : 0) | 1536);
    }
    make_frame(frame, 100, BROADCAST, 0x8100);
    st16_be(frame + 14, 0x2123);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    g_assert_cmpuint(readl(m, RX_RING + 4 * 16) & 0x1fff, ==, 100);
    g_assert_cmphex(readl(m, RX_RING + 4 * 16 + 4), ==, 0x10000 | 0x2321);
    dma_read(&m->mem, RX_BUF + 4 * RX_STEP, got, 96);
    g_assert_cmpmem(got + 12, 84, frame + 16, 84);
    make_frame(frame, 2000, BROADCAST, 0x0800); /* longer than the buffer: lost */
    g_assert_true(net_send_buf(&net.end, frame, 2000));
    close_card();
}

/* Descriptors come back without a write to the card: it looks for them. */
static void test_cplus_full(void)
{
    open_cplus(0);
    make_frame(frame, 100, BROADCAST, 0x0800);
    for (unsigned n = 0; n < 8; n++)
        g_assert_true(net_send_buf(&net.end, frame, 100));
    wr16(ISR, 0xffff);
    g_assert_false(net_send_buf(&net.end, frame, 100));
    g_assert_cmphex(rd16(ISR), ==, INT_RXOVW);
    test_device_state(dev);
    g_assert_false(net_send_buf(&net.end, frame, 100));
    unsigned before = net.writable;
    vclock_step(NS_PER_MS);
    g_assert_cmpuint(net.writable, ==, before + 1);
    g_assert_false(net_send_buf(&net.end, frame, 100));
    wr16(ISR, 0xffff); /* and when the guest handles interrupts */
    g_assert_cmpuint(net.writable, ==, before + 2);
    writel(m, RX_RING, CP_OWN | 1536);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    vclock_step(NS_PER_SEC);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    close_card();
}

static void test_counters(void)
{
    open_cplus(0);
    make_frame(frame, 100, BROADCAST, 0x0800);
    net_send_buf(&net.end, frame, 100);
    make_frame(frame, 100, NIC_BYTES, 0x0800);
    net_send_buf(&net.end, frame, 100);
    cp_desc(TX_BUF, 100 | CP_FS | CP_LS, 0);
    wr8(TPPOLL, TPPOLL_NPQ);
    wr32(DTCCR + 4, 0);
    wr32(DTCCR, 0x30000 | DTCCR_DUMP);
    g_assert_cmphex(rd32(DTCCR) & DTCCR_DUMP, ==, 0);
    g_assert_cmpuint(readq(m, 0x30000), ==, 1);
    g_assert_cmpuint(readq(m, 0x30008), ==, 2);
    g_assert_cmpuint(readq(m, 0x30028), ==, 1);
    g_assert_cmpuint(readq(m, 0x30030), ==, 1);
    close_card();
}

static void test_loopback(void)
{
    open_legacy(RCR_APM);
    make_frame(frame, 100, NIC_BYTES, 0x0800);
    dma_write(&m->mem, TX_BUF, frame, 100);
    wr32(TCR, TCR_LOOPBACK);
    wr32(TSAD0, TX_BUF);
    wr32(TSD0, 100);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    g_assert_cmphex(rd16(ISR), ==, INT_TOK | INT_ROK);
    g_assert_cmpuint(readw(m, RX_BUF + 2), ==, 104);
    close_card();
}

static void test_hostile(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(11);
    open_cplus(0);
    make_frame(frame, 4096, BROADCAST, 0x0800);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned at = (unsigned)g_rand_int_range(random, 0, 256), how = g_rand_int(random) % 16;
        uint32_t value =
            how & 8 ? g_rand_int(random) : (uint32_t)g_rand_int_range(random, 0, 4 << 20);
        if (how % 4 == 0)
            writel(m, MEM + at, value);
        else if (how % 4 == 1)
            writeb(m, MEM + at, (uint8_t)value);
        else if (how % 4 == 2)
            readl(m, MEM + at);
        else
            net_send_buf(&net.end, frame, value % 4096 + 1);
        if (i % 64 == 0) {
            vclock_step(NS_PER_MS);
            wr8(CR, CR_TE | CR_RE);
            loop_step(m->loop, false);
        }
        while (fake_count(&net))
            g_bytes_unref(g_queue_pop_head(&net.frames));
    }
    test_device_state(dev);
    cfg_hammer(m, DEVFN);
    close_card();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rtl8139/registers", test_registers);
    g_test_add_func("/rtl8139/link", test_link);
    g_test_add_func("/rtl8139/timer", test_timer);
    g_test_add_func("/rtl8139/eeprom", test_eeprom);
    g_test_add_func("/rtl8139/legacy-tx", test_legacy_tx);
    g_test_add_func("/rtl8139/legacy-rx", test_legacy_rx);
    g_test_add_func("/rtl8139/legacy-full", test_legacy_full);
    g_test_add_func("/rtl8139/filters", test_filters);
    g_test_add_func("/rtl8139/cplus-tx", test_cplus_tx);
    g_test_add_func("/rtl8139/cplus-checksums", test_cplus_checksums);
    g_test_add_func("/rtl8139/cplus-tso", test_cplus_tso);
    g_test_add_func("/rtl8139/cplus-rx", test_cplus_rx);
    g_test_add_func("/rtl8139/cplus-full", test_cplus_full);
    g_test_add_func("/rtl8139/counters", test_counters);
    g_test_add_func("/rtl8139/loopback", test_loopback);
    g_test_add_func("/rtl8139/hostile", test_hostile);
    return g_test_run();
}
