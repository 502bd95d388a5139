/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RTL8139C+'s reception: one buffer that is a ring of bytes, or the ring of descriptors of C+
 * mode.  A frame is copied once, from the peer's pieces into the guest's memory.
 *
 * A frame without room is refused: the peer keeps it, so it is not missed (MPC), and there is no
 * overflow of a FIFO (FOVW); but the guest hears of its full buffer (RXOVW), once until a frame is
 * taken.  Descriptors come back without a write to the card; while a frame waits for one, the card
 * looks when the guest handles interrupts, and after 1, 2, 4 ... 64 ms.
 */
#include "rtl8139.h"

#include "util/log.h"

#define BUFFER_SLACK 8 /* header and alignment */
#define FRAME_MAX    4096
#define WRAP_ROOM    1536 /* that drivers leave free behind the buffer for RCR.WRAP */
#define POLL         NS_PER_MS

enum { RX_ROK = 0x0001, RX_BAR = 0x2000, RX_PAM = 0x4000, RX_MAR = 0x8000 };
enum { CP_RX_TAVA = 1 << 16, CP_RX_MAR = 1 << 26, CP_RX_PAM = 1 << 25, CP_RX_BAR = 1 << 24 };
enum { CP_PID_TCP = 1 << 16, CP_PID_UDP = 2 << 16, CP_PID_IP = 3 << 16 };
enum { CP_IPF = 1 << 15, CP_UDPF = 1 << 14, CP_TCPF = 1 << 13 };

typedef struct RxFrame {
    const struct iovec *iov;
    int count;
    size_t bytes, cut; /* cut: of the VLAN tag that is left out */
    uint16_t status;   /* of the kinds above */
} RxFrame;

unsigned rtl8139_rx_size(const Rtl8139 *s)
{
    return 8192u << (rtl32(s, RCR) >> RCR_RBLEN_SHIFT & 3);
}

/* Where the guest reads: CAPR stands 16 bytes before it. */
static unsigned read_place(const Rtl8139 *s)
{
    return (rtl16(s, CAPR) + 16u) % rtl8139_rx_size(s);
}

bool rtl8139_rx_empty(const Rtl8139 *s)
{
    return read_place(s) == rtl16(s, CBR) % rtl8139_rx_size(s);
}

/* ---- Filters ---- */

static bool address_passes(Rtl8139 *s, const uint8_t *to, RxFrame *frame)
{
    uint32_t rcr = rtl32(s, RCR);
    if (nic_is_broadcast(to)) {
        frame->status |= RX_BAR;
        return rcr & (RCR_AB | RCR_AAP);
    }
    if (to[0] & 1) {
        unsigned hash = nic_multicast_hash(to);
        frame->status |= RX_MAR;
        return (rcr & RCR_AAP) || ((rcr & RCR_AM) && (s->regs[MAR0 + hash / 8] >> hash % 8 & 1));
    }
    if (memcmp(to, s->regs + IDR0, NET_MAC_BYTES))
        return rcr & RCR_AAP;
    frame->status |= RX_PAM;
    return rcr & (RCR_APM | RCR_AAP);
}

static void count_missed(Rtl8139 *s)
{
    s->tally.missed++;
    st32_le(s->regs + MPC, (rtl32(s, MPC) + 1) & 0xffffff);
}

static bool refuse(Rtl8139 *s)
{
    if (!s->rx_full)
        rtl8139_cause(s, INT_RXOVW);
    s->rx_full = true;
    return false;
}

static void count_received(Rtl8139 *s, const RxFrame *frame)
{
    s->tally.rx_ok++;
    s->tally.rx_broadcast += frame->status & RX_BAR ? 1 : 0;
    s->tally.rx_multicast += frame->status & RX_MAR ? 1 : 0;
    s->tally.rx_own += frame->status & RX_PAM ? 1 : 0;
    s->rx_full = false;
    s->rx_polls = 0;
}

/* Puts the frame, padded and with room for an FCS that nobody looks at, at a place. */
static bool put_frame(Rtl8139 *s, const RxFrame *frame, hwaddr addr, size_t from, size_t bytes)
{
    static const uint8_t zeros[ETH_MIN_BYTES + ETH_FCS_BYTES];
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
    if (bytes > part)
        ok &= pci_dma_write(&s->pci, addr + part, zeros, bytes - part) == MEM_OK;
    return ok;
}

/* ---- The buffer ---- */

static bool to_buffer(Rtl8139 *s, RxFrame *frame)
{
    unsigned size = rtl8139_rx_size(s), at = rtl16(s, CBR) % size;
    size_t whole = MAX(frame->bytes, ETH_MIN_BYTES) + ETH_FCS_BYTES;
    size_t room = (read_place(s) + size - at) % size;
    bool wraps = size == 65536 || !(rtl32(s, RCR) & RCR_WRAP);
    hwaddr base = rtl32(s, RBSTART);
    uint8_t header[4];

    if (room && whole + BUFFER_SLACK >= room)
        return refuse(s);
    if (!wraps && at + sizeof(header) + whole > size + WRAP_ROOM) {
        count_missed(s);
        return true;
    }
    st16_le(header, frame->status | RX_ROK);
    st16_le(header + 2, (uint16_t)whole);
    bool ok = pci_dma_write(&s->pci, base + at, header, sizeof(header)) == MEM_OK;
    at += sizeof(header);
    size_t part = wraps ? MIN(whole, size - at) : whole;
    ok &= put_frame(s, frame, base + at, 0, part);
    if (part < whole)
        ok &= put_frame(s, frame, base, part, whole - part);
    if (!ok)
        guest_error("rtl8139: the receive buffer at 0x%" G_GINT64_MODIFIER "x is not RAM", base);
    st16_le(s->regs + CBR, (uint16_t)((at + align_up(whole, 4)) % size));
    count_received(s, frame);
    rtl8139_cause(s, INT_ROK);
    return true;
}

/* ---- The ring ---- */

/* Bits for what the checksums say. */
static uint32_t check_sums(const RxFrame *frame)
{
    uint8_t head[128];
    NicHeaders headers;
    size_t have = nic_gather(frame->iov, frame->count, 0, head, sizeof(head));

    nic_find_headers(head, have, frame->bytes, &headers);
    if (!headers.ip || headers.v6)
        return 0;
    bool ip_bad = nic_sum(head + headers.ip, (head[headers.ip] & 15) * 4u) != 0xffff;
    uint32_t bits = ip_bad ? CP_IPF : 0;
    if (!headers.l4)
        return bits | CP_PID_IP;
    uint16_t sum = nic_sum_iov(frame->iov, frame->count, headers.l4, headers.l4_bytes);
    bool bad = nic_sum_add(sum, nic_pseudo_sum(head, &headers)) != 0xffff;
    if (headers.tcp)
        return bits | CP_PID_TCP | (bad ? CP_TCPF : 0);
    bool none = have >= headers.l4 + 8u && !ld16_be(head + headers.l4 + 6);
    return bits | CP_PID_UDP | (bad && !none ? CP_UDPF : 0);
}

static uint32_t strip_tag(Rtl8139 *s, RxFrame *frame)
{
    uint8_t tag[ETH_VLAN_BYTES] = {0};
    nic_gather(frame->iov, frame->count, ETH_TYPE_AT, tag, sizeof(tag));
    if (!(s->regs[CPCR] & CPCR_RXVLAN) || ld16_be(tag) != 0x8100 ||
        frame->bytes < ETH_HEADER_BYTES + ETH_VLAN_BYTES)
        return 0;
    frame->cut = ETH_VLAN_BYTES;
    frame->bytes -= ETH_VLAN_BYTES;
    return CP_RX_TAVA | ld16_le(tag + 2);
}

static bool wait_for_desc(Rtl8139 *s)
{
    if (!timer_armed(&s->rx_poll)) {
        timer_arm(&s->rx_poll, clock_now(VM_CLOCK_VIRTUAL) + (POLL << s->rx_polls));
        s->rx_polls = MIN(s->rx_polls + 1, POLL_DOUBLINGS);
    }
    return refuse(s);
}

static bool to_ring(Rtl8139 *s, RxFrame *frame)
{
    hwaddr at = (rtl32(s, RDSAR) | (hwaddr)rtl32(s, RDSAR + 4) << 32) + s->cp_rx * CP_DESC_BYTES;
    uint8_t desc[CP_DESC_BYTES];

    if (pci_dma_read(&s->pci, at, desc, sizeof(desc)) != MEM_OK) {
        guest_error("rtl8139: the receive ring is not RAM");
        count_missed(s);
        return true;
    }
    uint32_t opts1 = ld32_le(desc);
    if (!(opts1 & CP_OWN))
        return wait_for_desc(s);
    uint32_t sums = s->regs[CPCR] & CPCR_RXCHKSUM ? check_sums(frame) : 0;
    uint32_t opts2 = strip_tag(s, frame);
    size_t whole = MAX(frame->bytes, ETH_MIN_BYTES) + ETH_FCS_BYTES;
    if (whole > (opts1 & CP_RX_SIZE)) {
        guest_error("rtl8139: a frame of %zu bytes for a buffer of %u", whole, opts1 & CP_RX_SIZE);
        count_missed(s);
        return true;
    }
    if (!put_frame(s, frame, ld64_le(desc + 8), 0, whole))
        guest_error("rtl8139: a frame is to go to 0x%" G_GINT64_MODIFIER "x", ld64_le(desc + 8));
    uint32_t status = (frame->status & RX_MAR ? CP_RX_MAR : 0) |
                      (frame->status & RX_PAM ? CP_RX_PAM : 0) |
                      (frame->status & RX_BAR ? CP_RX_BAR : 0);
    st32_le(desc, (opts1 & CP_EOR) | CP_FS | CP_LS | status | sums | (uint32_t)whole);
    st32_le(desc + 4, opts2);
    pci_dma_write(&s->pci, at, desc, 8); /* in one piece, OWN with the rest */
    s->cp_rx = opts1 & CP_EOR || s->cp_rx + 1 == CP_RING ? 0 : s->cp_rx + 1;
    timer_cancel(&s->rx_poll);
    count_received(s, frame);
    rtl8139_cause(s, INT_ROK);
    return true;
}

/* ---- A frame ---- */

static bool take_frame(Rtl8139 *s, const struct iovec *iov, int count, size_t bytes)
{
    RxFrame frame = {.iov = iov, .count = count, .bytes = bytes};
    uint8_t to[NET_MAC_BYTES];

    if (!(s->regs[CR] & CR_RE) || !pci_bus_master(&s->pci) || bytes < ETH_HEADER_BYTES ||
        bytes > FRAME_MAX)
        return true;
    nic_gather(iov, count, 0, to, sizeof(to));
    if (!address_passes(s, to, &frame))
        return true;
    return s->regs[CPCR] & CPCR_RE ? to_ring(s, &frame) : to_buffer(s, &frame);
}

void rtl8139_loop_frame(Rtl8139 *s, const void *frame, size_t bytes)
{
    struct iovec iov = {(void *)frame, bytes};
    take_frame(s, &iov, 1, bytes);
}

bool rtl8139_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes)
{
    Rtl8139 *s = end->opaque;
    return (rtl32(s, TCR) & TCR_LOOPBACK) == TCR_LOOPBACK || take_frame(s, iov, count, bytes);
}
