/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The e1000's reception: filters, rings, checksums, tags, delayed interrupts, flow control. */
#include "test-e1000.h"

#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define MULTICAST "\x01\x00\x5e\x01\x02\x03"
#define STRANGER  "\x52\x54\x00\x00\x00\x01"

static uint8_t got[70000];

/* What descriptor n holds is the frame, with padding, and an FCS unless SECRC is set. */
static void check_frame(unsigned n, size_t bytes, size_t extra)
{
    RxDesc desc = rx_desc(n);
    g_assert_cmphex(desc.status & (RX_DD | RX_EOP), ==, RX_DD | RX_EOP);
    g_assert_cmpuint(desc.length, ==, MAX(bytes, 60) + extra);
    dma_read(&rig.m->mem, RX_BUF + n % 128 * RX_STEP, got, bytes);
    g_assert_cmpmem(got, bytes, rig.frame, bytes);
}

static void test_receive(void)
{
    rig_open(8, 16, RCTL_BAM);
    wr(IMS, INT_RXT0);
    make_frame(rig.frame, 1514, BROADCAST, 0x0806);
    g_assert_true(rx_send(rig.frame, 1514));
    check_frame(0, 1514, 4);
    g_assert_true(irq());
    g_assert_cmphex(rd(ICR), ==, INT_RXT0);
    g_assert_cmpuint(rd(RDH), ==, 1);
    g_assert_true(rx_send(rig.frame, 20)); /* padded */
    check_frame(1, 20, 4);
    for (unsigned i = 20; i < 60; i++)
        g_assert_cmphex(readb(rig.m, RX_BUF + RX_STEP + i), ==, 0);
    g_assert_true(rx_send(rig.frame, 13)); /* less than a header */
    g_assert_cmpuint(rd(RDH), ==, 2);
    wr(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
    g_assert_true(rx_send(rig.frame, 1514));
    check_frame(2, 1514, 0);
    wr(RCTL, RCTL_BAM); /* off: dropped */
    g_assert_true(rx_send(rig.frame, 100));
    g_assert_cmpuint(rd(RDH), ==, 3);
    rig_close();
}

/* Every size of buffers, with frames in one and in many; over the end of the ring. */
static void test_ring(void)
{
    static const uint32_t sizes[] = {0,
                                     1u << 16,
                                     2u << 16,
                                     3u << 16,
                                     RCTL_BSEX | 1u << 16,
                                     RCTL_BSEX | 2u << 16,
                                     RCTL_BSEX | 3u << 16};
    static const unsigned bytes_of[] = {2048, 1024, 512, 256, 16384, 8192, 4096};
    for (unsigned k = 0; k < G_N_ELEMENTS(sizes); k++) {
        rig_open(8, 64, RCTL_BAM | RCTL_LPE | sizes[k]);
        unsigned n = 0;
        for (unsigned frame = 0; frame < 40; frame++) {
            unsigned bytes = 60 + frame * 251, at = 0;
            if (frame % 4 == 3)
                bytes = bytes_of[k] * (frame % 3 + 1) - 4; /* ends with a buffer */
            bytes = MIN(bytes, 9000);
            make_frame(rig.frame, bytes, BROADCAST, 0x0806);
            g_assert_true(rx_send(rig.frame, bytes));
            while (at < bytes + 4) {
                unsigned part = MIN(bytes_of[k], bytes + 4 - at),
                         data = at < bytes ? bytes - at : 0;
                bool last = at + part == bytes + 4;
                g_assert_cmphex(rx_desc(n).status & 3, ==, last ? 3 : 1);
                g_assert_cmpuint(rx_desc(n).length, ==, part);
                data = MIN(data, part);
                dma_read(&rig.m->mem, RX_BUF + n % 128 * RX_STEP, got, data);
                g_assert_cmpmem(got, data, rig.frame + at, data);
                at += part;
                rx_clear(n);
                wr(RDT, n);
                n = (n + 1) % 64;
            }
            g_assert_cmpuint(rd(RDH), ==, n);
        }
        rig_close();
    }
}

static void test_sizes(void)
{
    rig_open(8, 64, RCTL_BAM);
    make_frame(rig.frame, 65536, BROADCAST, 0x0806);
    g_assert_true(rx_send(rig.frame, 1518));
    g_assert_true(rx_send(rig.frame, 1519));
    g_assert_true(rx_send(rig.frame, 65536));
    g_assert_cmpuint(rd(RDH), ==, 1);
    g_assert_cmpuint(rd(ROC), ==, 2);
    wr(RCTL, RCTL_EN | RCTL_BAM | RCTL_LPE);
    g_assert_true(rx_send(rig.frame, 16380));
    g_assert_true(rx_send(rig.frame, 16381));
    g_assert_cmpuint(rd(RDH), ==, 9);
    g_assert_cmpuint(rd(ROC), ==, 1);
    rig_close();
}

/* ---- Filters ---- */

static bool passes(const char *to, bool inexact)
{
    unsigned n = rd(RDH);
    make_frame(rig.frame, 100, to, 0x0806);
    g_assert_true(rx_send(rig.frame, 100));
    if (rd(RDH) == n)
        return false;
    check_frame(n, 100, 4);
    g_assert_cmphex(rx_desc(n).status & RX_PIF, ==, inexact ? RX_PIF : 0);
    rx_clear(n);
    wr(RDT, n);
    return true;
}

static void test_filters(void)
{
    rig_open(8, 8, 0);
    g_assert_true(passes(NIC_BYTES, false));
    g_assert_false(passes(STRANGER, false));
    g_assert_false(passes(BROADCAST, false));
    g_assert_false(passes(MULTICAST, false));
    wr(RCTL, RCTL_EN | RCTL_BAM);
    g_assert_true(passes(BROADCAST, false));
    wr(RCTL, RCTL_EN | RCTL_MPE);
    g_assert_true(passes(MULTICAST, true));
    g_assert_false(passes(STRANGER, true));
    wr(RCTL, RCTL_EN | RCTL_UPE);
    g_assert_true(passes(STRANGER, true));
    g_assert_false(passes(MULTICAST, true));
    /* Another address of the sixteen. */
    wr(RCTL, RCTL_EN);
    wr(RAL0 + 8 * 15, 0x00005452);
    wr(RAH0 + 8 * 15, 0x0100);
    g_assert_false(passes(STRANGER, false)); /* not valid */
    wr(RAH0 + 8 * 15, RAH_AV | 0x0100);
    g_assert_true(passes(STRANGER, false));
    /* The hash, with each of its shifts. */
    static const unsigned shifts[] = {4, 3, 2, 0};
    for (unsigned mo = 0; mo < 4; mo++) {
        unsigned hash = (0x0302u >> shifts[mo]) & 0xfff;
        wr(RCTL, RCTL_EN | mo << RCTL_MO_SHIFT);
        g_assert_false(passes(MULTICAST, true));
        wr(MTA + hash / 32 * 4, 1u << hash % 32);
        g_assert_true(passes(MULTICAST, true));
        wr(MTA + hash / 32 * 4, 0);
    }
    rig_close();
}

static bool vlan_passes(unsigned tag, bool stripped)
{
    unsigned n = rd(RDH);
    make_frame(rig.frame, 100, NIC_BYTES, 0x8100);
    st16_be(rig.frame + 14, (uint16_t)tag);
    g_assert_true(rx_send(rig.frame, 100));
    if (rd(RDH) == n)
        return false;
    if (stripped) {
        g_assert_cmpuint(rx_desc(n).length, ==, 100);
        g_assert_cmphex(rx_desc(n).special, ==, tag);
        dma_read(&rig.m->mem, RX_BUF + n * RX_STEP, got, 96);
        g_assert_cmpmem(got, 12, rig.frame, 12);
        g_assert_cmpmem(got + 12, 84, rig.frame + 16, 84);
    } else {
        check_frame(n, 100, 4);
    }
    g_assert_cmphex(rx_desc(n).status & RX_VP, ==, stripped ? RX_VP : 0);
    rx_clear(n);
    wr(RDT, n);
    return true;
}

static void test_vlan(void)
{
    rig_open(8, 8, 0);
    g_assert_true(vlan_passes(0x2123, false));
    wr(CTRL, rd(CTRL) | CTRL_VME);
    g_assert_true(vlan_passes(0x2123, true));
    wr(RCTL, RCTL_EN | RCTL_VFE);
    g_assert_false(vlan_passes(0x2123, true));
    g_assert_true(passes(NIC_BYTES, false)); /* not tagged */
    wr(VFTA + 0x123 / 32 * 4, 1u << 0x123 % 32);
    g_assert_true(vlan_passes(0x2123, true));
    g_assert_false(vlan_passes(0x2124, true));
    wr(RCTL, RCTL_EN | RCTL_VFE | RCTL_CFIEN);
    g_assert_true(vlan_passes(0x0123, true));
    g_assert_false(vlan_passes(0x1123, true));
    wr(RCTL, RCTL_EN | RCTL_VFE | RCTL_CFIEN | RCTL_CFI);
    g_assert_true(vlan_passes(0x1123, true));
    /* In buffers that the cut falls into the middle of. */
    wr(RCTL, RCTL_EN | 3u << 16);
    make_frame(rig.frame, 500, NIC_BYTES, 0x8100);
    unsigned n = rd(RDH);
    g_assert_true(rx_send(rig.frame, 500));
    g_assert_cmpuint(rx_desc(n).length, ==, 256);
    g_assert_cmpuint(rx_desc((n + 1) % 8).length, ==, 244);
    dma_read(&rig.m->mem, RX_BUF + n * RX_STEP, got, 256);
    dma_read(&rig.m->mem, RX_BUF + (n + 1) % 8 * RX_STEP, got + 256, 240);
    g_assert_cmpmem(got, 12, rig.frame, 12);
    g_assert_cmpmem(got + 12, 484, rig.frame + 16, 484);
    rig_close();
}

/* ---- Checksums ---- */

static uint16_t status_of(size_t bytes)
{
    unsigned n = rd(RDH);
    g_assert_true(rx_send(rig.frame, bytes));
    uint16_t status = rx_desc(n).status;
    g_assert_cmphex(status & 3, ==, 3);
    rx_clear(n);
    wr(RDT, n);
    return status & (RX_IXSM | RX_IPCS | RX_TCPCS | RX_IPE | RX_TCPE);
}

/* A good packet with 101 bytes of data; returns its length. */
static size_t make_packet(bool v6, bool tcp)
{
    uint8_t *f = rig.frame;
    unsigned l4 = v6 ? 54 : 34, header = tcp ? 20 : 8, size = header + 101, sum_at;
    make_frame(f, l4 + size, NIC_BYTES, v6 ? 0x86dd : 0x0800);
    f[14] = v6 ? 0x60 : 0x45;
    st16_be(f + (v6 ? 18 : 16), (uint16_t)(v6 ? size : size + 20));
    if (!v6)
        st16_be(f + 20, 0x4000);
    f[v6 ? 20 : 23] = tcp ? 6 : 17;
    if (!v6) {
        st16_be(f + 24, 0);
        st16_be(f + 24, (uint16_t)~slow_sum(f + 14, 20, 0));
    }
    sum_at = l4 + (tcp ? 16 : 6);
    st16_be(f + sum_at, 0);
    uint32_t pseudo = slow_sum(f + (v6 ? 22 : 26), v6 ? 32 : 8, 0) + size + (tcp ? 6 : 17);
    st16_be(f + sum_at, (uint16_t)~slow_sum(f + l4, size, pseudo));
    return l4 + size;
}

static void test_checksums(void)
{
    rig_open(8, 8, 0);
    size_t bytes = make_packet(false, true);
    unsigned n = rd(RDH);
    wr(RXCSUM, 14); /* none is checked: the sum of it all is told */
    g_assert_cmphex(status_of(bytes), ==, RX_IXSM);
    g_assert_true(rx_send(rig.frame, bytes));
    g_assert_cmphex(rx_desc(n + 1).sum, ==, slow_sum(rig.frame + 14, bytes - 14, 0));
    wr(RXCSUM, RXCSUM_IPOFLD);
    g_assert_cmphex(status_of(bytes), ==, RX_IPCS);
    wr(RXCSUM, RXCSUM_IPOFLD | RXCSUM_TUOFLD);
    for (unsigned kind = 0; kind < 4; kind++) {
        bool v6 = kind & 1, tcp = kind & 2;
        unsigned ip = v6 ? 0 : RX_IPCS;
        bytes = make_packet(v6, tcp);
        g_assert_cmphex(status_of(bytes), ==, ip | RX_TCPCS);
        rig.frame[bytes - 1] ^= 1;
        g_assert_cmphex(status_of(bytes), ==, ip | RX_TCPCS | RX_TCPE);
    }
    bytes = make_packet(false, false);
    rig.frame[24] ^= 1;
    g_assert_cmphex(status_of(bytes), ==, RX_IPCS | RX_IPE | RX_TCPCS);
    bytes = make_packet(false, false);
    st16_be(rig.frame + 40, 0); /* UDP without one */
    g_assert_cmphex(status_of(bytes), ==, RX_IPCS);
    bytes = make_packet(false, true);
    st16_be(rig.frame + 20, 0x2000); /* a fragment: the sum of a part says nothing */
    g_assert_cmphex(status_of(bytes) & ~RX_IPE, ==, RX_IPCS);
    bytes = make_packet(false, true);
    st16_be(rig.frame + 16, 5000); /* longer than it is */
    g_assert_cmphex(status_of(bytes), ==, RX_IXSM);
    bytes = make_packet(false, true);
    rig.frame[14] = 0x4f; /* options */
    g_assert_cmphex(status_of(bytes) & RX_IPCS, ==, RX_IPCS);
    g_assert_cmphex(status_of(40), ==, RX_IXSM);
    make_frame(rig.frame, 100, NIC_BYTES, 0x0806);
    g_assert_cmphex(status_of(100), ==, RX_IXSM);
    rig_close();
}

/* The packet checksum is told whatever else is checked: of what the guest gets, from PCSS on. */
static void test_packet_sum(void)
{
    static const uint32_t offloads[] = {0, RXCSUM_IPOFLD, RXCSUM_TUOFLD,
                                        RXCSUM_IPOFLD | RXCSUM_TUOFLD};
    static const uint8_t starts[] = {0, 5, 12, 14, 33, 34, 35, 60, 255};
    uint8_t seen[400];

    rig_open(8, 8, 0);
    for (unsigned i = 0; i < 2 * 4 * 4 * G_N_ELEMENTS(starts); i++) {
        bool strip = i & 1;
        uint8_t start = starts[i / 32];
        size_t bytes = make_packet(i & 2, i & 4), whole = bytes;
        unsigned n = rd(RDH);
        memcpy(seen, rig.frame, bytes);
        wr(CTRL, strip ? CTRL_VME : 0);
        wr(RXCSUM, offloads[i / 8 % 4] | start);
        if (strip) {
            memmove(rig.frame + 16, rig.frame + 12, bytes - 12);
            st32_be(rig.frame + 12, 0x81000123);
            whole += 4;
        }
        g_assert_true(rx_send(rig.frame, whole));
        uint16_t want = start < bytes ? slow_sum(seen + start, bytes - start, 0) : 0;
        g_assert_cmphex(rx_desc(n).sum, ==, want);
        rx_clear(n);
        wr(RDT, n);
    }
    rig_close();
}

/* ---- Flow control and interrupts ---- */

/* PAUSE frames stop the transmitter if it listens, for slots of 512 ns. */
static void test_pause(void)
{
    uint8_t pause[60] = "\x01\x80\xc2\x00\x00\x01\x52\x55\x0a\x00\x02\x02\x88\x08\x00\x01\x00\x64";

    rig_open(8, 8, RCTL_MPE);
    make_frame(rig.frame, 100, BROADCAST, 0x0800);
    g_assert_true(rx_send(pause, 60)); /* it does not listen; the guest gets it */
    g_assert_cmpuint(rd(RDH), ==, 1);
    tx_simple(100, 0);
    g_assert_cmpuint(fake_count(&rig.net), ==, 1);
    wr(CTRL, rd(CTRL) | CTRL_RFCE);
    wr(RCTL, RCTL_EN | RCTL_MPE | RCTL_DPF);
    g_assert_true(rx_send(pause, 60));
    g_assert_cmpuint(rd(RDH), ==, 1);
    g_assert_cmphex(rd(STATUS) & STATUS_TXOFF, ==, STATUS_TXOFF);
    tx_simple(100, 0);
    vclock_step(100 * 512 - 1);
    g_assert_cmpuint(fake_count(&rig.net), ==, 1);
    test_device_state(rig.dev);
    vclock_step(1);
    g_assert_cmpuint(fake_count(&rig.net), ==, 2);
    g_assert_cmphex(rd(STATUS) & STATUS_TXOFF, ==, 0);
    /* A time of 0 ends it; it may come to the station's own address. */
    g_assert_true(rx_send(pause, 60));
    tx_simple(100, 0);
    memcpy(pause, NIC_BYTES, 6);
    pause[17] = 0;
    g_assert_true(rx_send(pause, 60));
    loop_step(rig.m->loop, false);
    g_assert_cmpuint(fake_count(&rig.net), ==, 3);
    g_assert_cmpuint(rd(XOFFRXC), ==, 3);
    g_assert_cmpuint(rd(XONRXC), ==, 1);
    g_assert_cmpuint(rd(GPRC), ==, 0);
    g_assert_cmpuint(rd(TPR), ==, 4);
    /* Other MAC control frames: only if they are wanted, and then past the filters. */
    pause[15] = 2;
    g_assert_true(rx_send(pause, 60));
    g_assert_cmpuint(rd(RDH), ==, 1);
    wr(RCTL, RCTL_EN | RCTL_PMCF);
    memcpy(pause, "\x01\x80\xc2\x00\x00\x01", 6);
    g_assert_true(rx_send(pause, 60));
    g_assert_cmpuint(rd(RDH), ==, 2);
    g_assert_cmpuint(rd(FCRUC), ==, 2);
    memcpy(pause, STRANGER, 6); /* not for us */
    g_assert_true(rx_send(pause, 60));
    g_assert_cmpuint(rd(RDH), ==, 2);
    g_assert_cmpuint(rd(FCRUC), ==, 0);
    rig_close();
}

static void test_no_room(void)
{
    rig_open(8, 8, RCTL_BAM);
    make_frame(rig.frame, 100, BROADCAST, 0x0806);
    for (unsigned i = 0; i < 7; i++)
        g_assert_true(rx_send(rig.frame, 100));
    g_assert_false(rx_send(rig.frame, 100));
    g_assert_false(rx_send(rig.frame, 100)); /* the same one again */
    g_assert_cmpuint(rd(RNBC), ==, 1);
    g_assert_cmpuint(rd(TPR), ==, 7);
    g_assert_cmpuint(rig.net.writable, ==, 0);
    test_device_state(rig.dev);
    rx_clear(0);
    unsigned before = rig.net.writable;
    g_assert_false(rx_send(rig.frame, 100));
    wr(RDT, 0);
    g_assert_cmpuint(rig.net.writable, ==, before + 1);
    g_assert_true(rx_send(rig.frame, 100));
    g_assert_cmpuint(rd(GPRC), ==, 8);
    g_assert_cmpuint(rd(TPR), ==, 1);
    g_assert_cmpuint(rd(RNBC), ==, 0);
    g_assert_false(rx_send(rig.frame, 100)); /* another */
    g_assert_cmpuint(rd(RNBC), ==, 1);
    /* Not enough for a frame in pieces. */
    wr(RCTL, RCTL_EN | RCTL_BAM | 3u << 16);
    rx_clear(1);
    wr(RDT, 1);
    g_assert_false(rx_send(rig.frame, 500));
    before = rig.net.writable;
    wr(RCTL, RCTL_BAM); /* off: what waits is let go */
    g_assert_cmpuint(rig.net.writable, ==, before + 1);
    g_assert_true(rx_send(rig.frame, 500));
    rig_close();
}

static void test_bad_rings(void)
{
    rig_open(8, 8, RCTL_BAM | RCTL_LPE | 3u << 16);
    make_frame(rig.frame, 5000, BROADCAST, 0x0806);
    g_assert_true(rx_send(rig.frame, 5000)); /* never fits */
    g_assert_cmpuint(rd(MPC), ==, 1);
    g_assert_cmphex(rd(ICR) & INT_RXO, ==, INT_RXO);
    wr(RDH, 9);
    g_assert_true(rx_send(rig.frame, 100));
    wr(RDH, 0);
    wr(RDLEN, 0);
    g_assert_true(rx_send(rig.frame, 100));
    wr(RDLEN, 8 * DESC_BYTES);
    writeq(rig.m, RX_RING, 0x7fff00000000); /* no RAM: the frame is lost, the ring goes on */
    writeq(rig.m, RX_RING + 16, 0);
    writeq(rig.m, RX_RING + 32, UINT64_MAX - 8);
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(rx_send(rig.frame, 100));
    g_assert_cmphex(rx_desc(0).status & rx_desc(1).status & rx_desc(2).status & 3, ==, 3);
    g_assert_true(rx_send(rig.frame, 100));
    check_frame(3, 100, 4);
    cfg_writew(rig.m, DEVFN, PCI_COMMAND, 3); /* no bus mastering */
    g_assert_true(rx_send(rig.frame, 100));
    g_assert_cmpuint(rd(RDH), ==, 4);
    cfg_writew(rig.m, DEVFN, PCI_COMMAND, 7);
    wr(RDBAH, 0x7000);
    g_assert_true(rx_send(rig.frame, 100));
    rig_close();
}

static void test_delays(void)
{
    rig_open(8, 64, RCTL_BAM);
    wr(IMS, INT_RXT0);
    wr(RDTR, 100);
    wr(RADV, 250);
    make_frame(rig.frame, 100, BROADCAST, 0x0806);
    rx_send(rig.frame, 100);
    g_assert_cmphex(rx_desc(0).status & 3, ==, 3); /* the interrupt waits, not the frame */
    g_assert_false(irq());
    vclock_step(102399);
    g_assert_false(irq());
    test_device_state(rig.dev);
    vclock_step(1);
    g_assert_true(irq());
    rd(ICR);
    for (unsigned i = 0; i < 4; i++) {
        rx_send(rig.frame, 100);
        g_assert_false(irq());
        vclock_step(80 * 1024);
    }
    g_assert_true(irq()); /* RADV */
    rd(ICR);
    rx_send(rig.frame, 100);
    wr(RDTR, 100 | RDTR_FPD);
    g_assert_true(irq());
    rd(ICR);
    wr(RSRPD, 200); /* small ones are told at once */
    wr(IMS, INT_SRPD);
    rx_send(rig.frame, 100);
    g_assert_cmphex(rd(ICR), ==, INT_SRPD);
    rig_close();
}

static void test_threshold(void)
{
    for (unsigned rdmts = 0; rdmts < 3; rdmts++) {
        rig_open(8, 64, RCTL_BAM | rdmts << RCTL_RDMTS_SHIFT);
        unsigned low = 64u >> (rdmts + 1);
        make_frame(rig.frame, 100, BROADCAST, 0x0806);
        for (unsigned left = 62; left >= low - 2; left--) {
            rx_send(rig.frame, 100);
            g_assert_cmphex(rd(ICR) & INT_RXDMT0, ==, left == low ? INT_RXDMT0 : 0);
        }
        rig_close();
    }
}

static void test_statistics(void)
{
    static const uint16_t sizes[] = {60, 61, 124, 252, 508, 1020, 1514};
    rig_open(8, 64, RCTL_BAM | RCTL_MPE);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        make_frame(rig.frame, sizes[i], i % 2 ? MULTICAST : BROADCAST, 0x0806);
        rx_send(rig.frame, sizes[i]);
    }
    make_frame(rig.frame, 100, STRANGER, 0x0806); /* "total" ones are all that came */
    rx_send(rig.frame, 100);
    make_frame(rig.frame, 2000, STRANGER, 0x0806); /* too long, but not for us */
    rx_send(rig.frame, 2000);
    make_frame(rig.frame, 2000, BROADCAST, 0x0806);
    rx_send(rig.frame, 2000);
    g_assert_cmpuint(rd(ROC), ==, 1);
    g_assert_cmpuint(rd(GPRC), ==, 7);
    for (unsigned i = 0; i < 6; i++)
        g_assert_cmpuint(rd(PRC64 + 4 * i), ==, i == 5 ? 2 : 1);
    g_assert_cmpuint(rd(BPRC), ==, 4);
    g_assert_cmpuint(rd(MPRC), ==, 3);
    g_assert_cmpuint(rd(TPR), ==, 10);
    g_assert_cmpuint(rd(TPR), ==, 0);
    g_assert_cmpuint(rd(TORL), ==, 60 + 61 + 124 + 252 + 508 + 1020 + 1514 + 4100 + 10 * 4);
    rig_close();
}

void add_rx_tests(void)
{
    g_test_add_func("/e1000/rx/receive", test_receive);
    g_test_add_func("/e1000/rx/ring", test_ring);
    g_test_add_func("/e1000/rx/sizes", test_sizes);
    g_test_add_func("/e1000/rx/filters", test_filters);
    g_test_add_func("/e1000/rx/vlan", test_vlan);
    g_test_add_func("/e1000/rx/checksums", test_checksums);
    g_test_add_func("/e1000/rx/packet-sum", test_packet_sum);
    g_test_add_func("/e1000/rx/pause", test_pause);
    g_test_add_func("/e1000/rx/no-room", test_no_room);
    g_test_add_func("/e1000/rx/bad-rings", test_bad_rings);
    g_test_add_func("/e1000/rx/delays", test_delays);
    g_test_add_func("/e1000/rx/threshold", test_threshold);
    g_test_add_func("/e1000/rx/statistics", test_statistics);
}
