/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The e1000's reception: filters, descriptors, checksums, delayed interrupts.  (SDM 3.2, 13.4.22 -
 * 13.4.32, 13.5, 13.6.)
 *
 * A frame is copied once, from the peer's pieces into the guest's buffers.  A frame for which there
 * are no descriptors is refused: the peer keeps it until the guest moves RDT.
 */
#include "e1000.h"

#include "util/bytes.h"
#include "util/log.h"

#define HEAD_BYTES  128   /* of a frame, enough for the headers that are looked at */
#define FRAME_SHORT 1522  /* with FCS and VLAN tag; more needs RCTL.LPE */
#define FRAME_LONG  16384 /* the packet buffer takes no more */

typedef struct RxFrame {
    const struct iovec *iov;
    int count;
    size_t bytes; /* as it goes to the guest: without the FCS and a VLAN tag that is stripped */
    size_t cut;   /* bytes of the tag that is left out, at ETH_TYPE_AT */
    uint8_t head[HEAD_BYTES];
    size_t have;
    uint32_t status; /* status and errors of the descriptor */
    uint16_t sum, tag;
} RxFrame;

/* ---- Filters (SDM 13.5) ---- */

static bool address_matches(E1000 *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < RAR_COUNT; i++) {
        uint32_t low = *reg(s, RAL0 + 8 * i), high = *reg(s, RAH0 + 8 * i);
        if ((high & RAH_AV) && low == ld32_le(mac) && (high & 0xffff) == ld16_le(mac + 4))
            return true;
    }
    return false;
}

static bool hash_matches(E1000 *s, const uint8_t *mac)
{
    static const uint8_t shifts[] = {4, 3, 2, 0};
    unsigned hash = ld16_le(mac + 4) >> shifts[*reg(s, RCTL) >> RCTL_MO_SHIFT & 3] & 0xfff;
    return *reg(s, MTA + hash / 32 * 4) >> hash % 32 & 1;
}

/* Whether the destination is one of this card's; sets PIF where that is not sure. */
static bool address_passes(E1000 *s, RxFrame *frame)
{
    uint32_t rctl = *reg(s, RCTL);
    const uint8_t *mac = frame->head;

    if (address_matches(s, mac) || (nic_is_broadcast(mac) && (rctl & RCTL_BAM)))
        return true;
    frame->status |= RX_PIF;
    if (rctl & (mac[0] & 1 ? RCTL_MPE : RCTL_UPE))
        return true;
    return (mac[0] & 1) && !nic_is_broadcast(mac) && hash_matches(s, mac);
}

static bool is_tagged(E1000 *s, const RxFrame *frame)
{
    return ld16_be(frame->head + ETH_TYPE_AT) == *reg(s, VET);
}

static bool vlan_passes(E1000 *s, const RxFrame *frame)
{
    uint32_t rctl = *reg(s, RCTL);
    uint16_t tag = ld16_be(frame->head + ETH_TYPE_AT + 2);

    if (!(rctl & RCTL_VFE) || !is_tagged(s, frame))
        return true;
    if ((rctl & RCTL_CFIEN) && !(tag & 0x1000) != !(rctl & RCTL_CFI))
        return false;
    return *reg(s, VFTA + (tag >> 5 & 0x7f) * 4) >> (tag & 31) & 1;
}

static bool size_passes(E1000 *s, const RxFrame *frame)
{
    size_t max = *reg(s, RCTL) & RCTL_LPE ? FRAME_LONG : FRAME_SHORT;
    if (frame->bytes + ETH_FCS_BYTES <= max)
        return true;
    e1000_count(s, ROC);
    return false;
}

/* ---- MAC control frames (SDM 8.5, 13.4.22) ---- */

typedef enum { FRAME_PLAIN, FRAME_PAUSE, FRAME_CONTROL } FrameKind;

/* They have their type and go to an address of their own, or to the station's first. */
static FrameKind kind_of(E1000 *s, const RxFrame *frame)
{
    uint32_t low = ld32_le(frame->head), high = ld16_le(frame->head + 4);
    if (ld16_be(frame->head + ETH_TYPE_AT) != *reg(s, FCT) ||
        ((low != *reg(s, FCAL) || high != *reg(s, FCAH)) &&
         (low != *reg(s, RAL0) || high != (*reg(s, RAH0) & 0xffff))))
        return FRAME_PLAIN;
    return ld16_be(frame->head + ETH_HEADER_BYTES) == 1 ? FRAME_PAUSE : FRAME_CONTROL;
}

static void take_pause(E1000 *s, const RxFrame *frame)
{
    unsigned slots = ld16_be(frame->head + ETH_HEADER_BYTES + 2);
    e1000_count(s, slots ? XOFFRXC : XONRXC);
    if (*reg(s, CTRL) & CTRL_RFCE)
        e1000_tx_pause(s, slots);
}

/* ---- Checksums (SDM 3.2.9, 13.4.33) ---- */

static void check_ip(const uint8_t *head, const NicHeaders *headers, RxFrame *frame)
{
    unsigned bytes = (head[headers->ip] & 15) * 4u;
    frame->status |= RX_IPCS;
    if (nic_sum(head + headers->ip, bytes) != 0xffff)
        frame->status |= RX_IPE;
}

/* The sum of TCP or UDP in *sum; false: it has none. */
static bool check_l4(const NicHeaders *headers, const uint8_t *head, RxFrame *frame, uint16_t *sum)
{
    unsigned at = headers->l4;
    if (!headers->tcp && frame->have >= at + 8u && !ld16_be(head + at + 6))
        return false; /* UDP without a checksum */
    *sum = nic_sum_iov(frame->iov, frame->count, at, headers->l4_bytes);
    frame->status |= RX_TCPCS;
    if (nic_sum_add(*sum, nic_pseudo_sum(head, headers)) != 0xffff)
        frame->status |= RX_TCPE;
    return true;
}

typedef struct Sum {
    uint16_t sum;
    size_t bytes;
} Sum;

static void add_sum(Sum *total, uint16_t sum, size_t bytes)
{
    total->sum = nic_sum_add(total->sum, total->bytes & 1 ? __builtin_bswap16(sum) : sum);
    total->bytes += bytes;
}

static void add_part(Sum *total, const RxFrame *frame, size_t from, size_t to)
{
    if (from < to)
        add_sum(total, nic_sum_iov(frame->iov, frame->count, from, to - from), to - from);
}

/* "Packet checksum": of what the guest gets, from PCSS on; it is always told.  What is known of it,
 * the sum of so many bytes at l4, is not added up again. */
static uint16_t packet_sum(const RxFrame *frame, size_t start, size_t l4, size_t known,
                           uint16_t l4_sum)
{
    size_t end = frame->bytes + frame->cut;
    Sum total = {0};

    if (frame->cut) {
        add_part(&total, frame, start, ETH_TYPE_AT);
        start = MAX(start, ETH_TYPE_AT) + frame->cut;
    }
    if (known && l4 >= start) {
        add_part(&total, frame, start, l4);
        add_sum(&total, l4_sum, known);
        start = l4 + known;
    }
    add_part(&total, frame, start, end);
    return total.sum;
}

static void checksums(E1000 *s, RxFrame *frame)
{
    uint32_t rxcsum = *reg(s, RXCSUM);
    size_t bytes = frame->bytes + frame->cut, known = 0;
    NicHeaders headers = {0};
    uint16_t sum = 0;

    if (rxcsum & (RXCSUM_IPOFLD | RXCSUM_TUOFLD))
        nic_find_headers(frame->head, frame->have, bytes, &headers);
    if (headers.ip && !headers.v6 && (rxcsum & RXCSUM_IPOFLD))
        check_ip(frame->head, &headers, frame);
    if (headers.l4 && (rxcsum & RXCSUM_TUOFLD) && check_l4(&headers, frame->head, frame, &sum))
        known = headers.l4_bytes;
    if (!(frame->status & (RX_IPCS | RX_TCPCS)))
        frame->status |= RX_IXSM;
    frame->sum = packet_sum(frame, rxcsum & RXCSUM_PCSS, headers.l4, known, sum);
}

/* ---- Descriptors ---- */

static size_t buffer_size(uint32_t rctl)
{
    unsigned size = rctl >> RCTL_BSIZE_SHIFT & 3;
    return (rctl & RCTL_BSEX) && size ? 32768u >> size : 2048u >> size;
}

static unsigned free_descs(E1000 *s, unsigned size)
{
    return (*reg(s, RDT) + size - *reg(s, RDH)) % size;
}

/* Puts [from, from + bytes) of what the guest is to see at addr. */
static bool put_bytes(E1000 *s, const RxFrame *frame, hwaddr addr, size_t from, size_t bytes)
{
    bool ok = true;
    if (frame->cut && from < ETH_TYPE_AT) {
        size_t part = MIN(bytes, ETH_TYPE_AT - from);
        ok = nic_scatter(&s->pci, addr, frame->iov, frame->count, from, part);
        addr += part;
        from += part;
        bytes -= part;
    }
    size_t part = from < frame->bytes ? MIN(bytes, frame->bytes - from) : 0;
    ok &= nic_scatter(&s->pci, addr, frame->iov, frame->count, from + frame->cut, part);
    if (bytes > part) { /* padding and an FCS that nobody looks at */
        static const uint8_t zeros[ETH_MIN_BYTES + ETH_FCS_BYTES];
        ok &= pci_dma_write(&s->pci, addr + part, zeros, bytes - part) == MEM_OK;
    }
    return ok;
}

/* Fills the descriptor at RDH and passes it. */
static void fill_desc(E1000 *s, const RxFrame *frame, unsigned size, size_t from, size_t bytes,
                      bool last)
{
    unsigned n = *reg(s, RDH);
    hwaddr at = (*reg(s, RDBAL) | (hwaddr)*reg(s, RDBAH) << 32) + (hwaddr)n * DESC_BYTES;
    uint8_t desc[DESC_BYTES];

    pci_dma_read(&s->pci, at, desc, sizeof(desc));
    hwaddr addr = ld64_le(desc);
    if (!addr) /* 82542's way to say: none */
        guest_error("e1000: receive descriptor %u has no buffer", n);
    else if (!put_bytes(s, frame, addr, from, bytes))
        guest_error("e1000: a frame is to go to 0x%" G_GINT64_MODIFIER "x", addr);
    st16_le(desc + 8, (uint16_t)bytes);
    st16_le(desc + 10, frame->sum);
    st16_le(desc + 12, (uint16_t)(RX_DD | (last ? RX_EOP | frame->status : 0)));
    st16_le(desc + 14, last ? frame->tag : 0);
    /* In one piece: a CPU that polls sees the status with all that belongs to it. */
    pci_dma_write(&s->pci, at + DESC_RX_STATUS, desc + DESC_RX_STATUS, 8);
    *reg(s, RDH) = n + 1 < size ? n + 1 : 0;
}

/* ---- Interrupts ---- */

void e1000_rx_timeout(void *opaque)
{
    E1000 *s = opaque;
    timer_cancel(&s->rx_delay);
    timer_cancel(&s->rx_abs);
    e1000_cause(s, INT_RXT0);
}

static void tell_guest(E1000 *s, size_t bytes, unsigned size, unsigned before)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    uint32_t causes = 0;

    unsigned low = size >> ((*reg(s, RCTL) >> RCTL_RDMTS_SHIFT & 3) + 1);
    if (before > low && free_descs(s, size) <= low)
        causes |= INT_RXDMT0;
    if (bytes <= *reg(s, RSRPD))
        causes |= INT_SRPD;
    if (!*reg(s, RDTR)) {
        causes |= INT_RXT0;
    } else {
        timer_arm(&s->rx_delay, now + (int64_t)*reg(s, RDTR) * DELAY_UNIT);
        if (*reg(s, RADV) && !timer_armed(&s->rx_abs))
            timer_arm(&s->rx_abs, now + (int64_t)*reg(s, RADV) * DELAY_UNIT);
    }
    if (causes)
        e1000_cause(s, causes);
}

/* Frames that pass; PAUSE frames are not among them. */
static void count_received(E1000 *s, const RxFrame *frame, size_t on_wire)
{
    if (kind_of(s, frame) == FRAME_PAUSE)
        return;
    e1000_count(s, GPRC);
    e1000_count64(s, GORCL, (uint32_t)on_wire);
    e1000_count_size(s, PRC64, on_wire);
    if (nic_is_broadcast(frame->head))
        e1000_count(s, BPRC);
    else if (frame->head[0] & 1)
        e1000_count(s, MPRC);
}

/* ---- A frame ---- */

static bool passes(E1000 *s, RxFrame *frame)
{
    FrameKind kind = kind_of(s, frame);

    if (kind == FRAME_CONTROL) {
        e1000_count(s, FCRUC);
        return *reg(s, RCTL) & RCTL_PMCF;
    }
    return !(kind == FRAME_PAUSE && (*reg(s, RCTL) & RCTL_DPF)) && address_passes(s, frame) &&
           vlan_passes(s, frame) && size_passes(s, frame);
}

static void strip_tag(E1000 *s, RxFrame *frame)
{
    if (!(*reg(s, CTRL) & CTRL_VME) || !is_tagged(s, frame) ||
        frame->bytes < ETH_HEADER_BYTES + ETH_VLAN_BYTES)
        return;
    frame->tag = ld16_be(frame->head + ETH_TYPE_AT + 2);
    frame->status |= RX_VP;
    frame->cut = ETH_VLAN_BYTES;
    frame->bytes -= ETH_VLAN_BYTES;
}

/* False: there is no room for it now. */
static bool deliver(E1000 *s, RxFrame *frame)
{
    size_t buffer = buffer_size(*reg(s, RCTL)), on_wire = MAX(frame->bytes, ETH_MIN_BYTES) + 4;
    unsigned size = *reg(s, RDLEN) / DESC_BYTES;

    strip_tag(s, frame);
    size_t bytes = MAX(frame->bytes, ETH_MIN_BYTES - frame->cut);
    bytes += *reg(s, RCTL) & RCTL_SECRC ? 0 : ETH_FCS_BYTES;
    unsigned needed = (unsigned)((bytes + buffer - 1) / buffer);
    if (*reg(s, RDH) >= size || *reg(s, RDT) >= size || needed >= size) {
        guest_error("e1000: RDH %u and RDT %u in a ring of %u", *reg(s, RDH), *reg(s, RDT), size);
        e1000_count(s, MPC);
        e1000_cause(s, INT_RXO);
        return true;
    }
    unsigned before = free_descs(s, size);
    if (before < needed)
        return false;
    checksums(s, frame);
    for (size_t from = 0; from < bytes; from += buffer)
        fill_desc(s, frame, size, from, MIN(buffer, bytes - from), from + buffer >= bytes);
    count_received(s, frame, on_wire);
    tell_guest(s, on_wire, size, before);
    return true;
}

/* False: there is no room for it now. */
static bool look_at(E1000 *s, RxFrame *frame)
{
    if (frame->bytes < ETH_HEADER_BYTES) {
        e1000_count(s, RUC);
        return true;
    }
    memset(frame->head, 0, ETH_HEADER_BYTES + ETH_VLAN_BYTES);
    frame->have = nic_gather(frame->iov, frame->count, 0, frame->head, HEAD_BYTES);
    /* What the peer had to keep was looked at when it came first. */
    if (!s->rx_held && kind_of(s, frame) == FRAME_PAUSE)
        take_pause(s, frame);
    return !passes(s, frame) || deliver(s, frame);
}

/* Every frame is counted (TPR, TOR), whatever becomes of it, when that is known; one that has to
 * wait is a lack of buffers (RNBC), once. */
static bool take_frame(E1000 *s, const struct iovec *iov, int count, size_t bytes)
{
    RxFrame frame = {.iov = iov, .count = count, .bytes = bytes};

    if (!(*reg(s, RCTL) & RCTL_EN) || !pci_bus_master(&s->pci)) {
        s->rx_held = false;
        return true;
    }
    bool taken = look_at(s, &frame);
    if (taken) {
        e1000_count(s, TPR);
        e1000_count64(s, TORL, (uint32_t)MAX(bytes, ETH_MIN_BYTES) + ETH_FCS_BYTES);
    } else if (!s->rx_held) {
        e1000_count(s, RNBC);
    }
    s->rx_held = !taken;
    return taken;
}

/* The card has a frame in itself before it stores it: the guest's buffers for both may overlap. */
void e1000_loop_frame(E1000 *s, const struct iovec *iov, int count, size_t bytes)
{
    g_autofree uint8_t *frame = g_malloc(bytes);
    struct iovec whole = {frame, nic_gather(iov, count, 0, frame, bytes)};
    if (take_frame(s, &whole, 1, bytes))
        return;
    s->rx_held = false; /* nobody keeps it */
    e1000_count(s, MPC);
    e1000_cause(s, INT_RXO);
}

bool e1000_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    E1000 *s = end->opaque;
    return !(*reg(s, STATUS) & STATUS_LU) || e1000_loops_back(s) ||
           take_frame(s, iov, count, bytes);
}
