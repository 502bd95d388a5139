/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: both modes' transmission and reception, registers, timer, EEPROM, counters, state. */
#include "test-rtl8139.h"

#include "hw/registry.h"

#define PORT 0xc100

Machine *m;
Device *dev;
FakeNet net;
uint8_t frame[70000], got[70000];

uint16_t rd16(unsigned at)
{
    return readw(m, MEM + at);
}
uint32_t rd32(unsigned at)
{
    return readl(m, MEM + at);
}
void wr8(unsigned at, unsigned value)
{
    writeb(m, MEM + at, (uint8_t)value);
}
void wr16(unsigned at, unsigned value)
{
    writew(m, MEM + at, (uint16_t)value);
}
void wr32(unsigned at, uint32_t value)
{
    writel(m, MEM + at, value);
}
static bool irq(void)
{
    return ((PciDevice *)dev)->intx_level;
}

void open_card(void)
{
    m = test_machine_new(4 << 20);
    test_device(m, &i440fx_class, NULL);
    fake_open(&net, "net0");
    dev = test_device(m, &rtl8139_class, "addr=3,romfile=,netdev=net0,mac=" NIC_MAC);
    cfg_writel(m, DEVFN, 0x10, PORT);
    cfg_writel(m, DEVFN, 0x14, MEM);
    cfg_writew(m, DEVFN, PCI_COMMAND, 7);
    wr16(IMR, 0xffff);
}

static void open_legacy(uint32_t rcr)
{
    open_card();
    wr32(RBSTART, RX_BUF);
    wr32(RCR, rcr);
    wr8(CR, CR_TE | CR_RE);
}

void close_card(void)
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

/* The counter moves while it is read, and is read whole. */
static void test_timer_whole(void)
{
    uint32_t last = 0;
    open_card();
    vclock_set_manual(false);
    wr32(TCTR, 0);
    for (unsigned i = 0; i < 300000; i++) {
        uint32_t now = rd32(TCTR);
        if (now < last)
            g_error("0x%x after 0x%x", now, last);
        last = now;
    }
    vclock_set_manual(true);
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
    close_card();
}

/* Too long, or from nowhere: aborted, and nothing is sent until the guest clears that. */
static void test_legacy_abort(void)
{
    open_legacy(0);
    wr32(TSD0, 1793);
    g_assert_cmphex(rd32(TSD0) & (TSD_OWN | TSD_TABT), ==, TSD_OWN | TSD_TABT);
    g_assert_cmphex(rd16(ISR), ==, INT_TER);
    wr32(TSAD0 + 4, TX_BUF);
    wr32(TSD0 + 4, 60);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    test_device_state(dev);
    wr32(TCR, 0x700);
    loop_step(m->loop, false);
    g_assert_cmpuint(fake_count(&net), ==, 0);
    wr32(TCR, 0x700 | TCR_CLRABT);
    g_assert_cmphex(rd32(TCR) & TCR_CLRABT, ==, 0);
    g_assert_cmpuint(fake_count(&net), ==, 1);
    wr32(TSAD0 + 8, 0x7fff0000);
    wr32(TSD0 + 8, 60);
    g_assert_cmphex(rd32(TSD0 + 8) & TSD_TABT, ==, TSD_TABT);
    wr8(CR, CR_RST); /* clears it, too */
    wr8(CR, CR_TE);
    wr32(TSAD0, TX_BUF);
    wr32(TSD0, 60);
    g_assert_cmpuint(fake_count(&net), ==, 2);
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

/* Frames that are read at once, until the next goes to that place; each has 8 bytes more there. */
static void fill_to(unsigned at)
{
    while (rd16(CBR) < at) {
        unsigned left = at - rd16(CBR), step = left > 1400 ? 1000 : left;
        make_frame(frame, step - 8, BROADCAST, 0x0800);
        g_assert_true(net_send_buf(&net.end, frame, step - 8));
        wr16(CAPR, rd16(CBR) - 16u);
    }
    g_assert_cmpuint(rd16(CBR), ==, at);
}

/* Behind the buffer, no more is written than drivers leave free there: 1.5 KiB. */
static void test_wrap_room(void)
{
    enum { SIZE = 8192, ROOM = 1536 };
    static const struct {
        unsigned at, bytes;
        bool fits;
    } rows[] = {{SIZE - 4, 1514, true},          {SIZE - 4, ROOM - 4, true},
                {SIZE - 4, ROOM - 3, false},     {SIZE - 4, 4096, false},
                {SIZE - 2000, 1996, true},       {SIZE - 2000, 4096, false},
                {SIZE - 4104 + ROOM, 4096, true}};
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        open_legacy(RCR_AB | RCR_WRAP);
        fill_to(rows[i].at);
        make_frame(frame, rows[i].bytes, BROADCAST, 0x0800);
        g_assert_true(net_send_buf(&net.end, frame, rows[i].bytes));
        g_assert_cmpuint(rd32(MPC), ==, rows[i].fits ? 0 : 1);
        g_assert_cmphex(readb(m, MEM + CR) & CR_BUFE, ==, rows[i].fits ? 0 : CR_BUFE);
        if (rows[i].fits)
            check_buffer(rows[i].at, SIZE, rows[i].bytes, false);
        for (unsigned past = 0; past < 4096; past++)
            g_assert_cmphex(readb(m, RX_BUF + SIZE + ROOM + past), ==, 0);
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
    g_assert_cmphex(rd16(ISR), ==, INT_ROK | INT_RXOVW);
    wr16(ISR, 0xffff);
    test_device_state(dev);
    g_assert_false(net_send_buf(&net.end, frame, 1514));
    g_assert_cmphex(rd16(ISR), ==, 0); /* told once */
    g_assert_cmpuint(rd32(MPC), ==, 0);
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
        if (i % 100 == 0) {
            net.take = g_rand_int(random) % 8;
            net.full = g_rand_int(random) % 4 == 0;
            net_writable(&net.end);
        }
        if (i % 500 == 0)
            net_set_link("rtl8139", g_rand_int(random) % 4, NULL);
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
    g_test_add_func("/rtl8139/timer-whole", test_timer_whole);
    g_test_add_func("/rtl8139/eeprom", test_eeprom);
    g_test_add_func("/rtl8139/legacy-tx", test_legacy_tx);
    g_test_add_func("/rtl8139/legacy-abort", test_legacy_abort);
    g_test_add_func("/rtl8139/legacy-rx", test_legacy_rx);
    g_test_add_func("/rtl8139/wrap-room", test_wrap_room);
    g_test_add_func("/rtl8139/legacy-full", test_legacy_full);
    g_test_add_func("/rtl8139/filters", test_filters);
    g_test_add_func("/rtl8139/loopback", test_loopback);
    g_test_add_func("/rtl8139/hostile", test_hostile);
    add_cplus_tests();
    return g_test_run();
}
