/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The e1000's transmission: every descriptor type, rings, checksums, segmentation, flow control. */
#include "test-e1000.h"

#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define DATA_DESC (TX_DEXT | TX_DTYP_DATA << TX_DTYP_SHIFT)

static uint8_t got[70000];

/* ---- Legacy ---- */

static void test_legacy(void)
{
    rig_open(8, 8, 0);
    wr(IMS, INT_TXDW);
    make_frame(rig.frame, 200, BROADCAST, 0x0800);
    tx_simple(200, TX_RS);
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 200);
    g_assert_cmpmem(got, 200, rig.frame, 200);
    g_assert_cmphex(tx_status(0), ==, TX_DD);
    g_assert_cmpuint(rd(TDH), ==, 1);
    g_assert_true(irq());
    g_assert_cmphex(rd(ICR), ==, INT_TXDW | INT_TXQE);
    tx_simple(200, 0); /* without RS nothing is written back */
    g_assert_cmphex(tx_status(1), ==, 0);
    g_assert_cmphex(rd(ICR), ==, INT_TXQE);
    /* Short frames are padded by zeros if PSP is set. */
    tx_simple(20, 0);
    fake_pop(&rig.net, got, sizeof(got));
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 60);
    g_assert_cmpmem(got, 20, rig.frame, 20);
    for (unsigned i = 20; i < 60; i++)
        g_assert_cmphex(got[i], ==, 0);
    wr(TCTL, TCTL_EN);
    tx_simple(20, 0);
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 20);
    tx_simple(0, TX_RS); /* nothing to send, but done */
    g_assert_cmphex(tx_status(4), ==, TX_DD);
    g_assert_cmpuint(fake_count(&rig.net), ==, 0);
    rig_close();
}

/* A checksum from CSS to the end at CSO. */
static void test_legacy_sum(void)
{
    rig_open(8, 8, 0);
    make_frame(rig.frame, 1001, BROADCAST, 0x0800);
    dma_write(&rig.m->mem, TX_BUF, rig.frame, 1001);
    tx_desc(TX_BUF, 1001 | TX_EOP | TX_IC | 50 << 16, 35 << 8);
    tx_go();
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 1001);
    st16_be(rig.frame + 50, (uint16_t)~slow_sum(rig.frame + 35, 1001 - 35, 0));
    g_assert_cmpmem(got, 1001, rig.frame, 1001);
    /* An offset beyond the frame: the frame goes as it is. */
    tx_desc(TX_BUF, 60 | TX_EOP | TX_IC | 59 << 16, 35 << 8);
    tx_desc(TX_BUF, 60 | TX_EOP | TX_IC | 50 << 16, 60 << 8);
    tx_go();
    dma_read(&rig.m->mem, TX_BUF, rig.frame, 60);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 60);
        g_assert_cmpmem(got, 60, rig.frame, 60);
    }
    rig_close();
}

/* ---- Rings ---- */

static void test_ring(void)
{
    rig_open(16, 8, 0);
    /* Frames in 1 to 5 pieces, over the ring's end many times. */
    for (unsigned n = 0, pieces = 1; n < 200; n++, pieces = pieces % 5 + 1) {
        unsigned bytes = 60 + n * 37, done = 0;
        make_frame(rig.frame, bytes, BROADCAST, 0x0800);
        dma_write(&rig.m->mem, TX_BUF, rig.frame, bytes);
        for (unsigned i = 0; i < pieces; i++) {
            unsigned part = i + 1 == pieces ? bytes - done : i * 13; /* some of them empty */
            tx_desc(TX_BUF + done, part | (i + 1 == pieces ? TX_EOP | TX_RS : 0), 0);
            done += part;
            if (i + 1 < pieces) {
                tx_go(); /* a packet that is not all there waits */
                g_assert_cmpuint(fake_count(&rig.net), ==, 0);
            }
        }
        tx_go();
        g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, bytes);
        g_assert_cmpmem(got, bytes, rig.frame, bytes);
        g_assert_cmpuint(rd(TDH), ==, rig.tail);
    }
    g_assert_cmpuint(rd(TPT), ==, 200);
    rig_close();
}

static void test_largest_ring(void)
{
    rig_open(8, 8, 0);
    wr(TDLEN, 0xfff80);
    wr(TDBAL, 0x100000);
    rig.tx_size = 0xfff80 / DESC_BYTES;
    make_frame(rig.frame, 60, BROADCAST, 0x0800);
    dma_write(&rig.m->mem, TX_BUF, rig.frame, 60);
    for (unsigned i = 0; i < 1000; i++) {
        writeq(rig.m, 0x100000 + i * DESC_BYTES, TX_BUF);
        writeq(rig.m, 0x100000 + i * DESC_BYTES + 8, 60 | TX_EOP);
    }
    wr(TDT, 1000);
    g_assert_cmpuint(fake_count(&rig.net), ==, 1000);
    rig_close();
}

static void run_out(void)
{
    for (unsigned i = 0; i < 200 && rd(TDH) != rd(TDT); i++)
        loop_step(rig.m->loop, false);
}

static void test_bad_rings(void)
{
    rig_open(64, 8, 0);
    make_frame(rig.frame, 100, BROADCAST, 0x0800);
    wr(TDT, 64); /* beyond the ring */
    wr(TDT, 65535);
    g_assert_cmpuint(rd(TDH), ==, 0);
    wr(TDT, 0);
    /* From where there is no RAM: dropped, but done. */
    tx_desc(0x7fff0000, 100 | TX_EOP | TX_RS, 0);
    tx_desc(UINT64_MAX - 10, 100 | TX_EOP | TX_RS, 0);
    tx_desc(RAM_SIZE - 50, 100 | TX_EOP | TX_RS, 0);
    tx_go();
    g_assert_cmphex(tx_status(0) & tx_status(1) & tx_status(2), ==, TX_DD);
    g_assert_cmpuint(fake_count(&rig.net), ==, 0);
    /* A descriptor of a type that is none. */
    tx_desc(TX_BUF, 100 | TX_EOP | TX_RS | TX_DEXT | 7 << TX_DTYP_SHIFT, 0);
    tx_simple(100, TX_RS);
    g_assert_cmpuint(fake_count(&rig.net), ==, 1);
    /* A packet of more than a frame may have. */
    tx_desc(0x100000, 0xfffff | TX_EOP | DATA_DESC, 0);
    tx_simple(100, TX_RS);
    g_assert_cmpuint(fake_count(&rig.net), ==, 2);
    /* A full ring without an end of packet: dropped up to the end that comes. */
    for (unsigned i = 0; i < 63; i++)
        tx_desc(TX_BUF, 100, 0);
    tx_go();
    g_assert_cmpuint(rd(TDH), ==, rig.tail);
    tx_simple(100, 0);
    g_assert_cmpuint(fake_count(&rig.net), ==, 2);
    tx_simple(100, 0);
    g_assert_cmpuint(fake_count(&rig.net), ==, 3);
    /* Without bus mastering nothing moves. */
    cfg_writew(rig.m, DEVFN, PCI_COMMAND, 3);
    tx_simple(100, 0);
    g_assert_cmpuint(rd(TDH), !=, rig.tail);
    cfg_writew(rig.m, DEVFN, PCI_COMMAND, 7);
    tx_go();
    g_assert_cmpuint(fake_count(&rig.net), ==, 4);
    /* The ring itself is nowhere. */
    wr(TDBAH, 0x7000);
    wr(TDT, 5);
    run_out();
    g_assert_cmpuint(rd(TDH), ==, 5); /* passed, as descriptors of no type */
    g_assert_cmpuint(fake_count(&rig.net), ==, 4);
    rig_close();
}

/* A frame in more pieces than a system call takes reaches the peer whole. */
static void test_pieces(void)
{
    enum { PIECES = 1000 };
    rig_open(1024, 8, 0);
    make_frame(rig.frame, 3 * PIECES, BROADCAST, 0x0800);
    dma_write(&rig.m->mem, TX_BUF, rig.frame, 3 * PIECES);
    for (unsigned i = 0; i < PIECES; i++)
        tx_desc(TX_BUF + 3 * i, 3 | (i + 1 == PIECES ? TX_EOP : 0), 0);
    rig.net.full = true;
    tx_go();
    g_assert_cmpuint(rd(TDH), ==, 0);
    rig.net.full = false;
    net_writable(&rig.net.end);
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 3 * PIECES);
    g_assert_cmpmem(got, 3 * PIECES, rig.frame, 3 * PIECES);
    g_assert_cmpint(rig.net.most_pieces, <=, NET_PIECES_MAX);
    rig_close();
}

/* ---- Checksums and tags of data descriptors ---- */

/* A frame of IPv4 or IPv6 with TCP or UDP; returns the offset of the latter. */
static unsigned make_packet(bool v6, bool tcp, size_t payload)
{
    uint8_t *f = rig.frame;
    unsigned ip = 14, l4 = ip + (v6 ? 40 : 20), data = l4 + (tcp ? 20 : 8);
    make_frame(f, data + payload, "\x52\x55\x0a\x00\x02\x02", v6 ? 0x86dd : 0x0800);
    if (v6) {
        f[ip] = 0x60;
        st16_be(f + ip + 4, 0);
        f[ip + 6] = tcp ? 6 : 17;
    } else {
        f[ip] = 0x45;
        st16_be(f + ip + 2, 0);
        st16_be(f + ip + 4, 0xfffe); /* the identification wraps */
        f[ip + 9] = tcp ? 6 : 17;
        st16_be(f + ip + 10, 0);
    }
    if (tcp) {
        st32_be(f + l4 + 4, 0xffffff00); /* so does the sequence number */
        f[l4 + 12] = 0x50;
        f[l4 + 13] = 0x19; /* ACK, PSH, FIN */
    }
    return l4;
}

static uint32_t pseudo(const uint8_t *f, bool v6, bool tcp)
{
    uint32_t sum = slow_sum(f + (v6 ? 22 : 26), v6 ? 32 : 8, 0);
    return sum + (tcp ? 6 : 17);
}

static void test_checksums(void)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        bool v6 = kind & 1, tcp = kind & 2;
        rig_open(8, 8, 0);
        unsigned l4 = make_packet(v6, tcp, 333), sum_at = l4 + (tcp ? 16 : 6);
        unsigned bytes = l4 + (tcp ? 20 : 8) + 333;
        st16_be(rig.frame + sum_at, slow_sum(NULL, 0, pseudo(rig.frame, v6, tcp) + (bytes - l4)));
        dma_write(&rig.m->mem, TX_BUF, rig.frame, bytes);
        tx_context(14, 24, l4 - 1, l4, sum_at, 0, tcp ? TUCMD_TCP : 0, 0);
        tx_desc(TX_BUF, 71 | DATA_DESC, TX_POPTS_TXSM | (v6 ? 0 : TX_POPTS_IXSM));
        tx_desc(TX_BUF + 71, (bytes - 71) | TX_EOP | TX_RS | DATA_DESC, 0);
        tx_go();
        g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, bytes);
        if (!v6)
            g_assert_cmphex(slow_sum(got + 14, 20, 0), ==, 0xffff);
        g_assert_cmphex(slow_sum(got + l4, bytes - l4, pseudo(got, v6, tcp) + (bytes - l4)), ==,
                        0xffff);
        /* Nothing but the sums has changed. */
        st16_be(got + sum_at, ld16_be(rig.frame + sum_at));
        if (!v6)
            st16_be(got + 24, 0);
        g_assert_cmpmem(got, bytes, rig.frame, bytes);
        rig_close();
    }
}

static void test_vlan(void)
{
    rig_open(8, 8, 0);
    make_frame(rig.frame, 300, BROADCAST, 0x0800);
    dma_write(&rig.m->mem, TX_BUF, rig.frame, 300);
    tx_desc(TX_BUF, 300 | TX_EOP | TX_VLE, 0x6123u << 16); /* VME is off */
    tx_go();
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 300);
    wr(CTRL, rd(CTRL) | CTRL_VME);
    wr(VET, 0x88a8);
    tx_desc(TX_BUF, 300 | TX_EOP | TX_VLE, 0x6123u << 16);
    tx_desc(TX_BUF, 300 | TX_EOP | TX_VLE | DATA_DESC, 0x2001u << 16);
    tx_go();
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 304);
    g_assert_cmpmem(got, 12, rig.frame, 12);
    g_assert_cmphex(ld32_be(got + 12), ==, 0x88a86123);
    g_assert_cmpmem(got + 16, 288, rig.frame + 12, 288);
    g_assert_cmpuint(fake_pop(&rig.net, got, sizeof(got)), ==, 304);
    g_assert_cmphex(ld32_be(got + 12), ==, 0x88a82001);
    rig_close();
}

/* ---- Segmentation ---- */

/* Checks frame n of `count`, byte by byte against one made by hand. */
static void check_segment(bool v6, bool tcp, unsigned l4, size_t mss, size_t payload, unsigned n)
{
    static uint8_t want[70000];
    unsigned header = l4 + (tcp ? 20 : 8);
    size_t part = MIN(mss, payload - n * mss), bytes = header + part;
    unsigned sum_at = l4 + (tcp ? 16 : 6);

    memcpy(want, rig.frame, header);
    memcpy(want + header, rig.frame + header + n * mss, part);
    if (v6) {
        st16_be(want + 18, (uint16_t)(bytes - 54));
    } else {
        st16_be(want + 16, (uint16_t)(bytes - 14));
        st16_be(want + 18, (uint16_t)(0xfffe + n));
        st16_be(want + 24, (uint16_t)~slow_sum(want + 14, 20, 0));
    }
    if (tcp) {
        st32_be(want + l4 + 4, (uint32_t)(0xffffff00 + n * mss));
        want[l4 + 13] = n * mss + part == payload ? 0x19 : 0x10;
    } else {
        st16_be(want + l4 + 4, (uint16_t)(bytes - l4));
    }
    st16_be(want + sum_at, 0);
    uint16_t sum =
        (uint16_t)~slow_sum(want + l4, bytes - l4, pseudo(want, v6, tcp) + (uint32_t)(bytes - l4));
    st16_be(want + sum_at, sum ? sum : 0xffff);
    if (tcp && !sum)
        st16_be(want + sum_at, 0);
    size_t length = fake_pop(&rig.net, got, sizeof(got));
    g_assert_cmpuint(length, ==, MAX(bytes, 60));
    g_assert_cmpmem(got, bytes, want, bytes);
}

static void queue_tso(bool v6, bool tcp, unsigned l4, size_t mss, size_t payload, unsigned pieces)
{
    unsigned header = l4 + (tcp ? 20 : 8), sum_at = l4 + (tcp ? 16 : 6);
    size_t bytes = header + payload, step = bytes / pieces, done = 0;

    st16_be(rig.frame + sum_at, slow_sum(NULL, 0, pseudo(rig.frame, v6, tcp)));
    dma_write(&rig.m->mem, TX_BUF, rig.frame, bytes);
    tx_context(14, 24, l4 - 1, l4, sum_at, 0,
               TX_TSE | (uint32_t)payload | (tcp ? TUCMD_TCP : 0) | (v6 ? 0 : TUCMD_IP),
               header << 8 | (uint32_t)mss << 16);
    for (unsigned i = 0; i < pieces; i++) {
        size_t part = i + 1 == pieces ? bytes - done : step;
        tx_desc(TX_BUF + done,
                (uint32_t)part | DATA_DESC | TX_TSE | (i + 1 == pieces ? TX_EOP | TX_RS : 0),
                i ? 0 : TX_POPTS_TXSM | (v6 ? 0 : TX_POPTS_IXSM));
        done += part;
    }
}

static void test_tso(void)
{
    static const size_t payloads[] = {0, 1, 1460, 1461, 5000, 64000};
    for (unsigned kind = 0; kind < 4 * G_N_ELEMENTS(payloads); kind++) {
        bool v6 = kind & 1, tcp = kind & 2;
        size_t payload = payloads[kind / 4], mss = kind % 3 ? 1460 : 333;
        rig_open(32, 8, 0);
        unsigned l4 = make_packet(v6, tcp, payload);
        queue_tso(v6, tcp, l4, mss, payload, payload > 100 ? 7 : 1);
        tx_go();
        unsigned count = payload ? (unsigned)((payload + mss - 1) / mss) : 1;
        g_assert_cmpuint(fake_count(&rig.net), ==, count);
        for (unsigned n = 0; n < count; n++)
            check_segment(v6, tcp, l4, mss, payload, n);
        g_assert_cmpuint(rd(TDH), ==, rig.tail);
        g_assert_cmpuint(rd(TSCTC), ==, 1);
        g_assert_cmpuint(rd(TPT), ==, count);
        rig_close();
    }
}

static void test_bad_tso(void)
{
    rig_open(16, 8, 0);
    unsigned l4 = make_packet(false, true, 3000);
    queue_tso(false, true, l4, 0, 3000, 1); /* MSS 0 */
    tx_context(14, 24, 33, 34, 50, 0, TX_TSE | TUCMD_TCP | 3000, 5 << 8 | 1000u << 16);
    tx_desc(TX_BUF, 3054 | DATA_DESC | TX_TSE | TX_EOP, TX_POPTS_TXSM); /* no room for headers */
    tx_context(14, 24, 33, 34, 50, 0, TX_TSE | TUCMD_TCP | 3000, 200 << 8 | 1000u << 16);
    tx_desc(TX_BUF, 100 | DATA_DESC | TX_TSE | TX_EOP, TX_POPTS_TXSM); /* shorter than its header */
    tx_go();
    g_assert_cmpuint(rd(TDH), ==, rig.tail);
    g_assert_cmpuint(fake_count(&rig.net), ==, 0);
    g_assert_cmpuint(rd(TSCTFC), ==, 3);
    g_assert_cmpuint(rd(TSCTFC), ==, 0);
    /* Offsets beyond the header. */
    tx_context(250, 251, 0, 252, 253, 0, TX_TSE | TUCMD_TCP | TUCMD_IP | 3000,
               54 << 8 | 1000u << 16);
    tx_desc(TX_BUF, 3054 | DATA_DESC | TX_TSE | TX_EOP, TX_POPTS_TXSM | TX_POPTS_IXSM);
    tx_go();
    g_assert_cmpuint(fake_count(&rig.net), ==, 3);
    /* A million segments: in goes of some thousands. */
    tx_context(14, 24, 33, 34, 50, 0, TX_TSE | TUCMD_TCP | 20000, 54 << 8 | 1u << 16);
    tx_desc(0x100000, 20054 | DATA_DESC | TX_TSE | TX_EOP, 0);
    tx_go();
    g_assert_cmpuint(rd(TDH), !=, rig.tail);
    test_device_state(rig.dev);
    run_out();
    g_assert_cmpuint(rd(TDH), ==, rig.tail);
    g_assert_cmpuint(fake_count(&rig.net), ==, 20003);
    rig_close();
}

/* ---- Flow control ---- */

static void test_refused(void)
{
    rig_open(16, 8, 0);
    make_frame(rig.frame, 100, BROADCAST, 0x0800);
    rig.net.full = true;
    tx_simple(100, TX_RS);
    tx_simple(100, TX_RS);
    g_assert_cmpuint(rig.net.refused, ==, 1); /* it does not ask again and again */
    g_assert_cmpuint(rd(TDH), ==, 0);
    g_assert_cmphex(tx_status(0), ==, 0);
    test_device_state(rig.dev);
    rig.net.full = false;
    net_writable(&rig.net.end);
    loop_step(rig.m->loop, false);
    g_assert_cmpuint(fake_count(&rig.net), ==, 2);
    g_assert_cmphex(tx_status(1), ==, TX_DD);
    g_assert_cmpuint(rd(TPT), ==, 2);
    rig_close();
}

/* In the middle of a segmentation, with the state saved there. */
static void test_refused_tso(void)
{
    rig_open(16, 8, 0);
    unsigned l4 = make_packet(false, true, 10000);
    queue_tso(false, true, l4, 1000, 10000, 3);
    rig.net.take = 4;
    tx_go();
    g_assert_cmpuint(fake_count(&rig.net), ==, 4);
    g_assert_cmpuint(rig.net.refused, ==, 1);
    test_device_state(rig.dev);
    while (loop_step(rig.m->loop, false)) {
    }
    rig.net.full = false;
    net_writable(&rig.net.end);
    g_assert_cmpuint(fake_count(&rig.net), ==, 10);
    for (unsigned n = 0; n < 10; n++)
        check_segment(false, true, l4, 1000, 10000, n);
    g_assert_cmpuint(rd(TPT), ==, 10);
    rig_close();
}

/* ---- Delayed interrupts, loopback, statistics ---- */

static void test_delays(void)
{
    rig_open(16, 8, 0);
    wr(IMS, INT_TXDW);
    wr(TIDV, 100);
    wr(TADV, 250);
    make_frame(rig.frame, 100, BROADCAST, 0x0800);
    tx_simple(100, TX_RS | TX_IDE);
    g_assert_false(irq());
    g_assert_cmphex(tx_status(0), ==, TX_DD);
    vclock_step(102399);
    g_assert_false(irq());
    test_device_state(rig.dev);
    vclock_step(1);
    g_assert_true(irq());
    rd(ICR);
    /* More packets put it off, up to TADV. */
    for (unsigned i = 0; i < 4; i++) {
        tx_simple(100, TX_RS | TX_IDE);
        g_assert_false(irq());
        vclock_step(80 * 1024);
    }
    g_assert_true(irq());
    rd(ICR);
    tx_simple(100, TX_RS | TX_IDE);
    wr(TIDV, 100 | TIDV_FPD); /* flush */
    g_assert_true(irq());
    rd(ICR);
    tx_simple(100, TX_RS); /* one that may not wait */
    g_assert_true(irq());
    rig_close();
}

static void test_low(void)
{
    rig_open(32, 8, 0);
    wr(TXDCTL, 2u << 25); /* 16 descriptors */
    make_frame(rig.frame, 100, BROADCAST, 0x0800);
    tx_simple(100, 0);
    g_assert_cmphex(rd(ICR) & INT_TXD_LOW, ==, 0);
    for (unsigned i = 0; i < 20; i++)
        tx_desc(TX_BUF, 100 | TX_EOP, 0);
    tx_go();
    g_assert_cmphex(rd(ICR) & INT_TXD_LOW, ==, INT_TXD_LOW);
    rig_close();
}

static void test_loopback(void)
{
    rig_open(8, 8, RCTL_UPE | RCTL_LBM_MAC);
    make_frame(rig.frame, 100, NIC_BYTES, 0x0800);
    tx_simple(100, TX_RS);
    g_assert_cmpuint(fake_count(&rig.net), ==, 0);
    g_assert_cmphex(rx_desc(0).status & 0xff, ==, RX_DD | RX_EOP | RX_IXSM);
    g_assert_cmpuint(rx_desc(0).length, ==, 104);
    g_assert_true(rx_send(rig.frame, 100)); /* the cable is cut off */
    g_assert_cmphex(rx_desc(1).status, ==, 0);
    rig_close();
}

/* The guest's buffers for both directions overlap: it gets what it sent. */
static void test_loopback_overlap(void)
{
    rig_open(8, 8, RCTL_UPE | RCTL_LBM_MAC);
    make_frame(rig.frame, 1000, NIC_BYTES, 0x0800);
    writeq(rig.m, RX_RING, TX_BUF + 10);
    tx_simple(1000, 0);
    dma_read(&rig.m->mem, TX_BUF + 10, got, 1000);
    g_assert_cmpmem(got, 1000, rig.frame, 1000);
    /* Where there is no room, it is lost. */
    wr(RDT, rd(RDH));
    tx_simple(1000, 0);
    g_assert_cmpuint(rd(MPC), ==, 1);
    g_assert_cmphex(rd(ICR) & INT_RXO, ==, INT_RXO);
    g_assert_cmpuint(rd(TDH), ==, rig.tail);
    rig_close();
}

static void test_statistics(void)
{
    static const uint16_t sizes[] = {60, 61, 123, 124, 251, 252, 507, 508, 1019, 1020, 1518};
    static const uint8_t counts[] = {1, 2, 2, 2, 2, 2};
    uint64_t octets = 0;
    rig_open(32, 8, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        make_frame(rig.frame, sizes[i], i % 3 ? "\x01\x00\x5e\x00\x00\x01" : BROADCAST, 0x0800);
        tx_simple(sizes[i], 0);
        octets += sizes[i] + 4u;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++)
        g_assert_cmpuint(rd(PTC64 + 4 * i), ==, counts[i]);
    g_assert_cmpuint(rd(BPTC), ==, 4);
    g_assert_cmpuint(rd(MPTC), ==, 7);
    g_assert_cmpuint(rd(GPTC), ==, 11);
    g_assert_cmpuint(rd(GPTC), ==, 0); /* cleared */
    g_assert_cmpuint(rd(GOTCL), ==, octets);
    g_assert_cmpuint(rd(GOTCL), ==, octets); /* until the upper half is read */
    g_assert_cmpuint(rd(GOTCL + 4), ==, 0);
    g_assert_cmpuint(rd(GOTCL), ==, 0);
    g_assert_cmpuint(rd(TOTL), ==, octets);
    /* Without a link nothing is on the wire. */
    g_assert_true(net_set_link("e1000", false, NULL));
    tx_simple(100, 0);
    g_assert_cmpuint(rd(TDH), ==, rig.tail);
    g_assert_cmpuint(rd(TPT), ==, 11);
    g_assert_cmpuint(rd(GPTC), ==, 0);
    rig_close();
}

void add_tx_tests(void)
{
    g_test_add_func("/e1000/tx/legacy", test_legacy);
    g_test_add_func("/e1000/tx/legacy-sum", test_legacy_sum);
    g_test_add_func("/e1000/tx/ring", test_ring);
    g_test_add_func("/e1000/tx/largest-ring", test_largest_ring);
    g_test_add_func("/e1000/tx/bad-rings", test_bad_rings);
    g_test_add_func("/e1000/tx/checksums", test_checksums);
    g_test_add_func("/e1000/tx/vlan", test_vlan);
    g_test_add_func("/e1000/tx/tso", test_tso);
    g_test_add_func("/e1000/tx/bad-tso", test_bad_tso);
    g_test_add_func("/e1000/tx/refused", test_refused);
    g_test_add_func("/e1000/tx/refused-tso", test_refused_tso);
    g_test_add_func("/e1000/tx/delays", test_delays);
    g_test_add_func("/e1000/tx/low", test_low);
    g_test_add_func("/e1000/tx/loopback", test_loopback);
    g_test_add_func("/e1000/tx/loopback-overlap", test_loopback_overlap);
    g_test_add_func("/e1000/tx/pieces", test_pieces);
    g_test_add_func("/e1000/tx/statistics", test_statistics);
}
