/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RTL8139C+'s transmission: four descriptors in registers, or the two rings of C+ mode with
 * checksums and segmentation.
 *
 * A packet is gathered into one buffer when all of it is there, changed there, and sent from there.
 * What the peer refuses stays where it is in the guest's memory and is gathered again.
 */
#include "rtl8139.h"

#include "util/log.h"

#define BUDGET      512 /* packets and segments of one go */
#define LEGACY_MAX  1792
#define MSS_SHIFT   16
#define MSS_MASK    0x7ff
#define TCP_FIN_PSH 0x09

typedef enum { TX_DONE, TX_BAD, TX_WAIT } TxResult;

typedef struct Desc {
    uint32_t opts1, opts2;
    hwaddr addr;
} Desc;

/* False: the peer has no room. */
static bool put_on_wire(Rtl8139 *s, size_t bytes)
{
    if ((rtl32(s, TCR) & TCR_LOOPBACK) == TCR_LOOPBACK) {
        rtl8139_loop_frame(s, s->packet, bytes);
    } else if (!net_send_buf(&s->end, s->packet, bytes)) {
        s->tx_waits = true;
        return false;
    }
    s->tally.tx_ok++;
    return true;
}

/* ---- Four descriptors ---- */

/* Sends the next one; false: it is not ready, or the peer is not. */
static bool send_legacy(Rtl8139 *s)
{
    uint8_t *tsd = s->regs + TSD0 + 4 * s->tx_next;
    uint32_t value = ld32_le(tsd), bytes = value & TSD_SIZE;

    if (value & TSD_OWN)
        return false;
    if (bytes > LEGACY_MAX ||
        pci_dma_read(&s->pci, rtl32(s, TSAD0 + 4 * s->tx_next), s->packet, bytes) != MEM_OK) {
        guest_error("rtl8139: descriptor %u has %u bytes at 0x%x", s->tx_next, bytes,
                    rtl32(s, TSAD0 + 4 * s->tx_next));
        st32_le(tsd, value | TSD_OWN | TSD_TABT);
        s->tally.tx_err++;
        s->tally.tx_aborted++;
        s->tx_aborted = true;
        rtl8139_cause(s, INT_TER);
    } else {
        if (bytes && !put_on_wire(s, bytes))
            return false;
        st32_le(tsd, value | TSD_OWN | TSD_TOK);
        rtl8139_cause(s, INT_TOK);
    }
    s->tx_next = (s->tx_next + 1) % 4;
    return true;
}

/* ---- Rings ---- */

static hwaddr ring_base(const Rtl8139 *s, unsigned ring)
{
    unsigned at = ring ? THPDS : TNPDS;
    return (rtl32(s, at) & ~0xffu) | (hwaddr)rtl32(s, at + 4) << 32;
}

/* An address of 0 says that there is none. */
static bool has_ring(const Rtl8139 *s, unsigned ring)
{
    unsigned at = ring ? THPDS : TNPDS;
    return rtl32(s, at) || rtl32(s, at + 4);
}

static Desc read_desc(Rtl8139 *s, unsigned ring, unsigned n)
{
    uint8_t bytes[CP_DESC_BYTES];
    Desc desc = {0};
    if (pci_dma_read(&s->pci, ring_base(s, ring) + n * CP_DESC_BYTES, bytes, sizeof(bytes)) ==
        MEM_OK)
        desc = (Desc){ld32_le(bytes), ld32_le(bytes + 4), ld64_le(bytes + 8)};
    return desc;
}

static unsigned next_of(unsigned n, const Desc *desc)
{
    return desc->opts1 & CP_EOR || n + 1 == CP_RING ? 0 : n + 1;
}

/* Gathers the packet at the ring's place; *bytes and *descs tell of it. */
static TxResult collect(Rtl8139 *s, unsigned ring, size_t *bytes, unsigned *descs)
{
    unsigned n = s->cp_tx[ring];
    TxResult result = TX_DONE;

    *bytes = 0;
    for (*descs = 0; *descs < CP_RING;) {
        Desc desc = read_desc(s, ring, n);
        size_t part = desc.opts1 & 0xffff;
        if (!(desc.opts1 & CP_OWN))
            return TX_WAIT; /* the rest is to come */
        ++*descs;
        if (*bytes + part > NET_FRAME_MAX ||
            pci_dma_read(&s->pci, desc.addr, s->packet + *bytes, part) != MEM_OK) {
            guest_error("rtl8139: %zu bytes of a packet are at 0x%" G_GINT64_MODIFIER "x", part,
                        desc.addr);
            result = TX_BAD;
        } else {
            *bytes += part;
        }
        if (desc.opts1 & CP_LS)
            return result;
        n = next_of(n, &desc);
    }
    guest_error("rtl8139: a ring without an end of packet");
    return TX_BAD;
}

static void finish(Rtl8139 *s, unsigned ring, unsigned descs)
{
    while (descs--) {
        unsigned n = s->cp_tx[ring];
        Desc desc = read_desc(s, ring, n);
        uint8_t status[4];
        st32_le(status, desc.opts1 & ~(CP_OWN | CP_TX_ERRORS));
        pci_dma_write(&s->pci, ring_base(s, ring) + n * CP_DESC_BYTES, status, sizeof(status));
        s->cp_tx[ring] = (uint8_t)next_of(n, &desc);
    }
    s->tx_segments = 0;
}

/* ---- Checksums: of IPv4, and of TCP or UDP on it, whole with the pseudo header ---- */

static void sum_ip(uint8_t *packet, const NicHeaders *headers)
{
    uint8_t *ip = packet + headers->ip;
    st16_be(ip + 10, 0);
    st16_be(ip + 10, (uint16_t)~nic_sum(ip, (ip[0] & 15) * 4u));
}

static void sum_l4(uint8_t *packet, const NicHeaders *headers)
{
    uint8_t *l4 = packet + headers->l4, *at = l4 + (headers->tcp ? 16 : 6);
    st16_be(at, 0);
    uint16_t sum =
        (uint16_t)~nic_sum_add(nic_sum(l4, headers->l4_bytes), nic_pseudo_sum(packet, headers));
    st16_be(at, !sum && !headers->tcp ? 0xffff : sum);
}

static TxResult send_whole(Rtl8139 *s, const Desc *first, size_t bytes)
{
    NicHeaders headers;

    nic_find_headers(s->packet, bytes, bytes, &headers);
    if (headers.ip && !headers.v6) {
        if (first->opts1 & CP_IPCS)
            sum_ip(s->packet, &headers);
        if (headers.l4 && (first->opts1 & (headers.tcp ? CP_TCPCS : CP_UDPCS)))
            sum_l4(s->packet, &headers);
    }
    return put_on_wire(s, bytes) ? TX_DONE : TX_WAIT;
}

/* ---- Segmentation of TCP on IPv4 ---- */

/* Makes the header before the data one of segment n. */
static void patch_header(uint8_t *packet, NicHeaders headers, const uint8_t *header, size_t data,
                         size_t part, uint32_t n, size_t offset, bool last)
{
    uint8_t *ip = packet + headers.ip, *tcp = packet + headers.l4;
    memcpy(packet, header, data);
    st16_be(ip + 2, (uint16_t)(data - headers.ip + part));
    st16_be(ip + 4, (uint16_t)(ld16_be(ip + 4) + n));
    st32_be(tcp + 4, ld32_be(tcp + 4) + (uint32_t)offset);
    if (!last)
        tcp[13] &= (uint8_t)~TCP_FIN_PSH;
    headers.l4_bytes = (uint16_t)(data - headers.l4 + part);
    sum_ip(packet, &headers);
    sum_l4(packet, &headers);
}

static TxResult send_segments(Rtl8139 *s, const Desc *first, size_t bytes, int *budget)
{
    uint8_t header[256];
    NicHeaders headers;
    size_t mss = first->opts1 >> MSS_SHIFT & MSS_MASK;

    nic_find_headers(s->packet, bytes, bytes, &headers);
    size_t data = headers.l4 ? headers.l4 + (s->packet[headers.l4 + 12] >> 4) * 4u : 0;
    if (!headers.tcp || headers.v6 || !mss || data < headers.l4 + 20u || data > sizeof(header) ||
        data > headers.l4 + (size_t)headers.l4_bytes) {
        guest_error("rtl8139: segmentation of what is not TCP, or into parts of %zu", mss);
        s->tally.tx_err++;
        return TX_BAD;
    }
    size_t total = headers.l4 + headers.l4_bytes - data; /* of data, without padding */
    memcpy(header, s->packet, data);
    size_t offset = s->tx_segments * mss;
    do {
        size_t part = MIN(mss, total - MIN(offset, total));
        if ((*budget)-- <= 0)
            return TX_WAIT;
        memmove(s->packet + data, s->packet + data + offset, offset ? part : 0);
        patch_header(s->packet, headers, header, data, part, s->tx_segments, offset,
                     offset + part >= total);
        if (!put_on_wire(s, data + part))
            return TX_WAIT;
        s->tx_segments++;
        offset += part;
    } while (offset < total);
    return TX_DONE;
}

static void insert_tag(Rtl8139 *s, const Desc *desc, size_t *bytes)
{
    uint8_t *at = s->packet + ETH_TYPE_AT;
    if (!(desc->opts2 & CP_TAGC) || *bytes < ETH_HEADER_BYTES)
        return;
    memmove(at + ETH_VLAN_BYTES, at, *bytes - ETH_TYPE_AT);
    st16_be(at, 0x8100);
    st16_le(at + 2, (uint16_t)desc->opts2); /* stands there as it is on the wire */
    *bytes += ETH_VLAN_BYTES;
}

/* Sends the packet at the ring's place; false: no more can be done now. */
static bool send_from_ring(Rtl8139 *s, unsigned ring, int *budget)
{
    size_t bytes;
    unsigned descs;
    Desc first = read_desc(s, ring, s->cp_tx[ring]);

    TxResult result = collect(s, ring, &bytes, &descs);
    if (result == TX_WAIT) { /* of what was there, the guest took the rest back */
        s->tx_segments = 0;
        return false;
    }
    if (result == TX_DONE && bytes) {
        insert_tag(s, &first, &bytes);
        result = first.opts1 & CP_LGSEN ? send_segments(s, &first, bytes, budget)
                                        : send_whole(s, &first, bytes);
    }
    if (result == TX_WAIT)
        return false;
    finish(s, ring, descs);
    rtl8139_cause(s, result == TX_DONE ? INT_TOK : INT_TER);
    return true;
}

/* ---- A go ---- */

static bool send_next(Rtl8139 *s, int *budget)
{
    if (!(s->regs[CPCR] & CPCR_TE))
        return !s->tx_aborted && send_legacy(s);
    /* A packet of which segments went out is finished first, in whichever ring it is. */
    if (s->tx_segments)
        return send_from_ring(s, s->tx_ring, budget);
    for (unsigned ring = 2; ring-- > 0;) {
        s->tx_ring = (uint8_t)ring;
        if (has_ring(s, ring) && send_from_ring(s, ring, budget))
            return true;
        if (s->tx_segments || s->tx_waits)
            return false;
    }
    return false;
}

void rtl8139_tx_run(Rtl8139 *s)
{
    int budget = BUDGET;
    bool sent = false;

    if (s->tx_busy || s->tx_waits || s->end.stopped || !(s->regs[CR] & CR_TE) ||
        !pci_bus_master(&s->pci))
        return;
    s->tx_busy = true;
    while (budget-- > 0 && send_next(s, &budget))
        sent = true;
    s->tx_busy = false;
    if (budget <= 0 && !s->tx_waits)
        bh_schedule(s->tx_bh);
    else if (sent && !s->tx_waits && (s->regs[CPCR] & CPCR_TE))
        rtl8139_cause(s, INT_TDU);
}
