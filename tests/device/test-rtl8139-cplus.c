/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139 in C+ mode: rings, checksums, segmentation, tags, counters. */
#include "test-rtl8139.h"

static unsigned tail; /* of the transmit ring */

/* Rings of 8 descriptors. */
void open_cplus(unsigned cpcr)
{
    open_card();
    tail = 0;
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

/* ---- Transmission ---- */

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

/* Both at once: the tag goes into each segment; and into a packet that fills the buffer. */
static void test_cplus_tso_tag(void)
{
    static const unsigned payloads[] = {3000, 65535 - 54};

    open_cplus(0);
    for (unsigned i = 0; i < G_N_ELEMENTS(payloads); i++) {
        unsigned payload = payloads[i], mss = i ? 2000 : 1000;
        unsigned data = make_packet(true, payload), bytes = data + payload, at = 0;
        if (i) { /* 14 bytes more than an IP packet has: padding behind it */
            st16_be(frame + 16, 65521);
            bytes = 65535;
            payload = 65521 - 40;
        }
        dma_write(&m->mem, TX_BUF, frame, bytes);
        cp_desc(TX_BUF, bytes | CP_FS | CP_LS | CP_LGSEN | mss << 16, CP_TAGC | 0x2301);
        wr8(TPPOLL, TPPOLL_NPQ);
        for (unsigned n = 0; at < payload; n++) {
            unsigned part = MIN(mss, payload - at);
            g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, data + 4 + part);
            g_assert_cmphex(ld32_be(got + 12), ==, 0x81000123);
            g_assert_cmpmem(got + data + 4, part, frame + data + at, part);
            memmove(got + 12, got + 16, data + part - 12);
            check_sums(got, data + part);
            at += part;
        }
        g_assert_cmpuint(fake_count(&net), ==, 0);
    }
    close_card();
}

static void fill_high_ring(hwaddr ring, unsigned bytes, uint32_t opts1)
{
    writeq(m, ring + 8, TX_BUF);
    writel(m, ring + 4, 0);
    writel(m, ring, CP_OWN | CP_EOR | CP_FS | CP_LS | opts1 | bytes);
}

static void count_up_to(unsigned *total, unsigned want)
{
    for (unsigned i = 0; i < 16 && *total < want; i++) {
        loop_step(m->loop, false);
        *total += fake_count(&net);
        g_queue_clear_full(&net.frames, (GDestroyNotify)g_bytes_unref);
    }
    g_assert_cmpuint(*total, ==, want);
}

/* The high ring goes first; a packet of it that is interrupted, by the peer or because one go has
 * its end, is finished before anything else is sent, over a snapshot too. */
static void test_cplus_high_ring(void)
{
    const hwaddr high = 0x12000;

    open_cplus(0);
    wr32(THPDS, high);
    unsigned data = make_packet(true, 20000), bytes = data + 20000;
    dma_write(&m->mem, TX_BUF, frame, bytes);
    fill_high_ring(high, bytes, CP_LGSEN | 1460u << 16);
    cp_desc(TX_BUF, 60 | CP_FS | CP_LS, 0);
    net.take = 5;
    wr8(TPPOLL, TPPOLL_HPQ | TPPOLL_NPQ);
    g_assert_cmpuint(fake_count(&net), ==, 5);
    test_device_state(dev);
    while (loop_step(m->loop, false)) {
    }
    net.full = false;
    net_writable(&net.end);
    g_assert_cmpuint(fake_count(&net), ==, 15);
    check_segments(14, data, 1460, 20000);
    g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, 60);
    g_assert_cmphex(readl(m, high) & CP_OWN, ==, 0);

    /* More segments than one go may send. */
    unsigned total = 0;
    data = make_packet(true, 60000);
    dma_write(&m->mem, TX_BUF, frame, data + 60000);
    fill_high_ring(high, data + 60000, CP_LGSEN | 60u << 16);
    cp_desc(TX_BUF, 60 | CP_FS | CP_LS, 0);
    wr8(TPPOLL, TPPOLL_HPQ | TPPOLL_NPQ);
    g_assert_cmpuint(fake_count(&net), <, 1000);
    count_up_to(&total, 1001);
    g_assert_cmphex(readl(m, high) & CP_OWN, ==, 0);

    /* Taken back in the middle of it: the other ring goes on. */
    dma_write(&m->mem, TX_BUF, frame, make_packet(true, 20000) + 20000);
    fill_high_ring(high, bytes, CP_LGSEN | 1460u << 16);
    cp_desc(TX_BUF, 60 | CP_FS | CP_LS, 0);
    net.take = 2;
    wr8(TPPOLL, TPPOLL_HPQ | TPPOLL_NPQ);
    writel(m, high, CP_EOR);
    net.full = false;
    net_writable(&net.end);
    wr8(TPPOLL, TPPOLL_NPQ);
    total = 0;
    count_up_to(&total, 3);
    close_card();
}

/* Rings of 64 descriptors need no mark of their end; they may lie at 4 GiB, where the lower half of
 * the address is 0. */
static void test_cplus_big_rings(void)
{
    const hwaddr ring = 1ULL << 32;
    Region *high = g_new0(Region, 1);

    open_cplus(0);
    g_assert_true(region_init_ram(high, "high", 1 << 20, NULL));
    region_add(&m->mem_root, ring, high);
    wr8(CR, 0);
    wr32(TNPDS + 4, 1);
    wr32(TNPDS, 0);
    wr32(RDSAR + 4, 1);
    wr32(RDSAR, 0x10000);
    wr8(CR, CR_TE | CR_RE);
    make_frame(frame, 100, BROADCAST, 0x0800);
    for (unsigned n = 0; n < 200; n++) {
        hwaddr tx = ring + n % 64 * 16, rx = ring + 0x10000 + n % 64 * 16;
        frame[50] = (uint8_t)n;
        dma_write(&m->mem, TX_BUF, frame, 100);
        writeq(m, tx + 8, TX_BUF);
        writel(m, tx, CP_OWN | CP_FS | CP_LS | 100);
        wr8(TPPOLL, TPPOLL_NPQ);
        g_assert_cmpuint(fake_pop(&net, got, sizeof(got)), ==, 100);
        g_assert_cmpuint(got[50], ==, n);
        writeq(m, rx + 8, RX_BUF);
        writel(m, rx, CP_OWN | 1536);
        g_assert_true(net_send_buf(&net.end, frame, 100));
        g_assert_cmphex(readl(m, rx), ==, CP_FS | CP_LS | 1u << 24 | 104);
        g_assert_cmpuint(readb(m, RX_BUF + 50), ==, n);
    }
    region_remove(high);
    close_card();
    region_fini(high);
    g_free(high);
}

/* ---- Reception ---- */

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
    make_frame(frame, 2000, BROADCAST, 0x0800); /* longer than the buffer: missed */
    g_assert_true(net_send_buf(&net.end, frame, 2000));
    g_assert_cmpuint(rd32(MPC), ==, 1);
    wr32(MPC, 0x1234);
    g_assert_cmpuint(rd32(MPC), ==, 0);
    close_card();
}

static bool passes(const char *to, uint32_t status)
{
    make_frame(frame, 100, to, 0x0800);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    uint32_t got_status = readl(m, RX_RING);
    wr8(CR, 0);
    writel(m, RX_RING, CP_OWN | 1536);
    wr8(CR, CR_TE | CR_RE); /* from the first descriptor on again */
    if (got_status & CP_OWN)
        return false;
    g_assert_cmphex(got_status & 7u << 24, ==, status);
    return true;
}

static void test_cplus_filters(void)
{
    const uint32_t multicast = 1u << 26, own = 1u << 25, broadcast = 1u << 24;

    open_cplus(0);
    wr32(RCR, 0);
    g_assert_false(passes(NIC_BYTES, 0));
    g_assert_false(passes(BROADCAST, 0));
    wr32(RCR, RCR_APM);
    g_assert_true(passes(NIC_BYTES, own));
    g_assert_false(passes("\x52\x54\x00\x00\x00\x01", 0));
    g_assert_false(passes(BROADCAST, 0));
    wr32(RCR, RCR_AB);
    g_assert_true(passes(BROADCAST, broadcast));
    wr32(RCR, RCR_AM);
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x01", 0));
    wr32(MAR0, 1u << 31); /* the hash of that address is 31 */
    g_assert_true(passes("\x01\x00\x5e\x00\x00\x01", multicast));
    g_assert_false(passes("\x01\x00\x5e\x00\x00\x02", 0));
    wr32(RCR, RCR_AAP);
    g_assert_true(passes("\x52\x54\x00\x00\x00\x01", 0));
    g_assert_true(passes("\x01\x00\x5e\x00\x00\x02", multicast));
    close_card();
}

/* Descriptors come back without a write to the card: it looks for them, ever more rarely; the guest
 * is told once. */
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
    unsigned polls = 0;
    for (unsigned ms = 0; ms < 1000; ms++) {
        unsigned seen = net.writable;
        g_assert_false(net_send_buf(&net.end, frame, 100));
        vclock_step(NS_PER_MS);
        polls += net.writable - seen;
    }
    g_assert_cmpuint(polls, >, 10);
    g_assert_cmpuint(polls, <, 25);
    g_assert_cmphex(rd16(ISR), ==, 0); /* told already */
    g_assert_false(net_send_buf(&net.end, frame, 100));
    writel(m, RX_RING, CP_OWN | 1536);
    wr16(ISR, 0xffff);
    g_assert_true(net_send_buf(&net.end, frame, 100));
    g_assert_cmphex(rd16(ISR), ==, INT_ROK);
    vclock_step(NS_PER_SEC);
    g_assert_cmpint(vclock_next_deadline(), ==, -1);
    g_assert_false(net_send_buf(&net.end, frame, 100)); /* and again from the start */
    g_assert_cmphex(rd16(ISR), ==, INT_ROK | INT_RXOVW);
    before = net.writable;
    vclock_step(NS_PER_MS);
    g_assert_cmpuint(net.writable, ==, before + 1);
    g_assert_cmpuint(rd32(MPC), ==, 0); /* the peer has them still */
    close_card();
}

/* ---- Counters ---- */

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

void add_cplus_tests(void)
{
    g_test_add_func("/rtl8139/cplus-tx", test_cplus_tx);
    g_test_add_func("/rtl8139/cplus-checksums", test_cplus_checksums);
    g_test_add_func("/rtl8139/cplus-tso", test_cplus_tso);
    g_test_add_func("/rtl8139/cplus-tso-tag", test_cplus_tso_tag);
    g_test_add_func("/rtl8139/cplus-high-ring", test_cplus_high_ring);
    g_test_add_func("/rtl8139/cplus-big-rings", test_cplus_big_rings);
    g_test_add_func("/rtl8139/cplus-rx", test_cplus_rx);
    g_test_add_func("/rtl8139/cplus-filters", test_cplus_filters);
    g_test_add_func("/rtl8139/cplus-full", test_cplus_full);
    g_test_add_func("/rtl8139/counters", test_counters);
}
