/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The e1000's transmission: descriptors, checksums, segmentation.  (SDM 3.3 - 3.5.)
 *
 * A packet is looked at when all of its descriptors are there, so nothing of it needs to be kept:
 * its bytes go from the guest's RAM to the peer, by pieces that point at them.  Only the part that
 * changes (headers, checksums, a VLAN tag) is copied.  If the peer has no room, TDH stays at the
 * packet, and the number of segments that went out is all that is remembered.
 */
#include "e1000.h"

#include "util/bytes.h"
#include "util/log.h"

#define PIECES_MAX 1024 /* of a packet in memory */
#define DESCS_MAX  1024 /* of a packet */
#define BUDGET     4096 /* descriptors and frames of one go */
#define HEAD_MAX   258  /* what an 8-bit offset and a checksum there reach */

/* One call of e1000_tx_run(). */
typedef struct Go {
    hwaddr base;
    uint8_t *ring; /* the same in host memory, or NULL */
    unsigned size; /* descriptors of the ring */
    int budget;
    uint32_t causes;
    bool delayed; /* a write-back whose interrupt may wait */
} Go;

typedef struct Packet {
    struct iovec iov[PIECES_MAX];
    int count;
    size_t bytes;
    unsigned descs;
    uint32_t first[4], last[4]; /* descriptors */
} Packet;

/* A frame as it goes out: a copy of its beginning, pieces of the packet, padding. */
typedef struct Frame {
    uint8_t head[HEAD_MAX + ETH_VLAN_BYTES];
    size_t head_bytes, bytes;
    struct iovec iov[PIECES_MAX + 3];
    int count;
} Frame;

typedef enum { TX_DONE, TX_BAD, TX_WAIT } TxResult;

/* ---- The ring ---- */

static void read_desc(E1000 *s, const Go *go, unsigned n, uint32_t desc[4])
{
    uint8_t bytes[DESC_BYTES];
    if (go->ring)
        memcpy(bytes, go->ring + (size_t)n * DESC_BYTES, DESC_BYTES);
    else
        pci_dma_read(&s->pci, go->base + (hwaddr)n * DESC_BYTES, bytes, DESC_BYTES);
    for (unsigned i = 0; i < 4; i++)
        desc[i] = ld32_le(bytes + 4 * i);
}

/* Passes the descriptor at TDH, telling so if it is to (RS, RPS). */
static void finish_desc(E1000 *s, Go *go)
{
    unsigned n = *reg(s, TDH);
    uint32_t desc[4];
    read_desc(s, go, n, desc);
    if (desc[2] & (TX_RS | TX_RPS)) {
        uint8_t status[4];
        st32_le(status, desc[3] | TX_DD);
        pci_dma_write(&s->pci, go->base + (hwaddr)n * DESC_BYTES + DESC_TX_STATUS, status, 4);
        if ((desc[2] & TX_IDE) && *reg(s, TIDV))
            go->delayed = true;
        else
            go->causes |= INT_TXDW;
    }
    *reg(s, TDH) = n + 1 < go->size ? n + 1 : 0;
    go->budget--;
}

static void finish_packet(E1000 *s, Go *go, unsigned descs)
{
    while (descs--)
        finish_desc(s, go);
    s->tx_segments = 0;
}

/* ---- Frames ---- */

/* Appends a part of the packet's bytes to the frame. */
static void add_part(Frame *frame, const Packet *packet, size_t offset, size_t bytes)
{
    for (int i = 0; i < packet->count && bytes; i++) {
        const struct iovec *piece = &packet->iov[i];
        if (offset >= piece->iov_len) {
            offset -= piece->iov_len;
            continue;
        }
        size_t part = MIN(piece->iov_len - offset, bytes);
        frame->iov[frame->count++] = (struct iovec){(uint8_t *)piece->iov_base + offset, part};
        frame->bytes += part;
        bytes -= part;
        offset = 0;
    }
}

static void begin_frame(Frame *frame, const Packet *packet, size_t head_bytes)
{
    frame->head_bytes = nic_gather(packet->iov, packet->count, 0, frame->head, head_bytes);
    frame->iov[0] = (struct iovec){frame->head, frame->head_bytes};
    frame->count = 1;
    frame->bytes = frame->head_bytes;
}

/* Puts the checksum of bytes css to cse (0: the last) at cso. */
static void insert_sum(Frame *frame, unsigned css, unsigned cse, unsigned cso, bool udp)
{
    size_t end = cse ? MIN(cse + 1u, frame->bytes) : frame->bytes;
    if (css >= end || cso + 2u > frame->head_bytes) {
        guest_error("e1000: checksum of bytes %u to %u at %u of a frame of %zu", css, cse, cso,
                    frame->bytes);
        return;
    }
    uint16_t sum = (uint16_t)~nic_sum_iov(frame->iov, frame->count, css, end - css);
    st16_be(frame->head + cso, !sum && udp ? 0xffff : sum);
}

static void insert_sums(const E1000Context *context, Frame *frame, uint32_t options)
{
    if (options & TX_POPTS_IXSM)
        insert_sum(frame, context->ipcss, context->ipcse, context->ipcso, false);
    if (options & TX_POPTS_TXSM)
        insert_sum(frame, context->tucss, context->tucse, context->tucso, !context->tcp);
}

static void insert_tag(E1000 *s, Frame *frame, uint16_t tag)
{
    uint8_t *at = frame->head + ETH_TYPE_AT;
    if (frame->head_bytes < ETH_TYPE_AT)
        return;
    memmove(at + ETH_VLAN_BYTES, at, frame->head_bytes - ETH_TYPE_AT);
    st16_be(at, (uint16_t)*reg(s, VET));
    st16_be(at + 2, tag);
    frame->head_bytes += ETH_VLAN_BYTES;
    frame->bytes += ETH_VLAN_BYTES;
    frame->iov[0].iov_len = frame->head_bytes;
}

static void count_sent(E1000 *s, const struct iovec *iov, int count, size_t bytes)
{
    uint8_t to[NET_MAC_BYTES] = {0};
    uint32_t on_wire = (uint32_t)bytes + ETH_FCS_BYTES;
    nic_gather(iov, count, 0, to, sizeof(to));
    e1000_count(s, TPT);
    e1000_count(s, GPTC);
    e1000_count64(s, TOTL, on_wire);
    e1000_count64(s, GOTCL, on_wire);
    e1000_count_size(s, PTC64, on_wire);
    if (nic_is_broadcast(to))
        e1000_count(s, BPTC);
    else if (to[0] & 1)
        e1000_count(s, MPTC);
}

/* False: the peer has no room. */
static bool put_on_wire(E1000 *s, const struct iovec *iov, int count, size_t bytes)
{
    bool loop = e1000_loops_back(s), link = net_link_up(&s->end);
    if (loop) {
        e1000_loop_frame(s, iov, count, bytes);
    } else if (!net_send(&s->end, iov, count)) {
        s->tx_waits = true;
        return false;
    }
    if (loop || link) /* else it never was on the wire */
        count_sent(s, iov, count, bytes);
    return true;
}

static bool tagged(E1000 *s, const Packet *packet)
{
    return (*reg(s, CTRL) & CTRL_VME) && (packet->last[2] & TX_VLE);
}

static bool send_frame(E1000 *s, const Packet *packet, Frame *frame)
{
    static const uint8_t zeros[ETH_MIN_BYTES];
    if (tagged(s, packet))
        insert_tag(s, frame, (uint16_t)(packet->last[3] >> 16));
    if (frame->bytes < ETH_MIN_BYTES && (*reg(s, TCTL) & TCTL_PSP)) {
        size_t more = ETH_MIN_BYTES - frame->bytes;
        frame->iov[frame->count++] = (struct iovec){(void *)zeros, more};
        frame->bytes += more;
    }
    return put_on_wire(s, frame->iov, frame->count, frame->bytes);
}

/* ---- A packet that is one frame ---- */

static TxResult send_whole(E1000 *s, const Packet *packet)
{
    bool legacy = !(packet->first[2] & TX_DEXT);
    uint32_t options = legacy ? 0 : packet->first[3] & (TX_POPTS_IXSM | TX_POPTS_TXSM);
    bool legacy_sum = legacy && (packet->last[2] & TX_IC);
    Frame frame;

    if (!packet->bytes)
        return TX_DONE;
    if (packet->bytes > NET_FRAME_MAX) {
        guest_error("e1000: a packet of %zu bytes", packet->bytes);
        return TX_BAD;
    }
    if (!options && !legacy_sum && packet->bytes >= ETH_MIN_BYTES && !tagged(s, packet))
        return put_on_wire(s, packet->iov, packet->count, packet->bytes) ? TX_DONE : TX_WAIT;
    begin_frame(&frame, packet, HEAD_MAX);
    add_part(&frame, packet, frame.head_bytes, packet->bytes - frame.head_bytes);
    insert_sums(&s->context, &frame, options);
    if (legacy_sum)
        insert_sum(&frame, packet->last[3] >> 8 & 0xff, 0, packet->last[2] >> 16 & 0xff, false);
    return send_frame(s, packet, &frame) ? TX_DONE : TX_WAIT;
}

/* ---- Segmentation (SDM 3.5) ---- */

/* Adds n to `size` bytes of the header, if they are in it. */
static void add_to(Frame *frame, size_t at, unsigned size, uint32_t n)
{
    if (at + size > frame->head_bytes)
        guest_error("e1000: segmentation with a header of %zu bytes", frame->head_bytes);
    else if (size == 4)
        st32_be(frame->head + at, ld32_be(frame->head + at) + n);
    else
        st16_be(frame->head + at, (uint16_t)(ld16_be(frame->head + at) + n));
}

static void set16(Frame *frame, size_t at, size_t value)
{
    if (at + 2 <= frame->head_bytes)
        st16_be(frame->head + at, (uint16_t)value);
}

/* Makes the prototype header the one of a segment. */
static void patch_header(const E1000Context *c, Frame *frame, uint32_t n, size_t offset, bool last,
                         bool sum)
{
    enum { TCP_FIN_PSH = 0x09 };

    if (c->ip4) {
        set16(frame, c->ipcss + 2u, frame->bytes - c->ipcss);
        add_to(frame, c->ipcss + 4u, 2, n);
    } else {
        set16(frame, c->ipcss + 4u, frame->bytes - c->ipcss - 40);
    }
    if (!c->tcp) {
        set16(frame, c->tucss + 4u, frame->bytes - c->tucss);
    } else {
        add_to(frame, c->tucss + 4u, 4, (uint32_t)offset);
        if (!last && c->tucss + 13u < frame->head_bytes)
            frame->head[c->tucss + 13] &= (uint8_t)~TCP_FIN_PSH;
    }
    /* The driver leaves the sum of the pseudo header there, without the length. */
    if (sum && c->tucso + 2u <= frame->head_bytes) {
        uint8_t *at = frame->head + c->tucso;
        st16_be(at, nic_sum_add(ld16_be(at), (uint16_t)(frame->bytes - c->tucss)));
    }
}

static TxResult send_segments(E1000 *s, Go *go, const Packet *packet)
{
    const E1000Context *c = &s->tso_context;
    uint32_t options = packet->first[3];
    Frame frame;

    if (!c->mss || c->hdrlen < ETH_HEADER_BYTES || packet->bytes < c->hdrlen) {
        guest_error("e1000: segmentation of %zu bytes with a header of %u into parts of %u",
                    packet->bytes, c->hdrlen, c->mss);
        e1000_count(s, TSCTFC);
        return TX_BAD;
    }
    size_t payload = packet->bytes - c->hdrlen;
    if (payload != c->paylen)
        guest_error("e1000: segmentation of %u bytes, but %zu are there", c->paylen, payload);
    size_t offset = (size_t)s->tx_segments * c->mss;
    do {
        size_t part = MIN(c->mss, payload - MIN(offset, payload));
        if (go->budget-- <= 0)
            return TX_WAIT;
        begin_frame(&frame, packet, c->hdrlen);
        add_part(&frame, packet, c->hdrlen + offset, part);
        patch_header(c, &frame, s->tx_segments, offset, offset + part >= payload,
                     options & TX_POPTS_TXSM);
        insert_sums(c, &frame, options);
        if (!send_frame(s, packet, &frame))
            return TX_WAIT;
        s->tx_segments++;
        offset += part;
    } while (offset < payload);
    e1000_count(s, TSCTC);
    return TX_DONE;
}

/* ---- Packets ---- */

static bool is_context(const uint32_t desc[4])
{
    return (desc[2] & TX_DEXT) && (desc[2] >> TX_DTYP_SHIFT & 15) == TX_DTYP_CONTEXT;
}

static void load_context(E1000 *s, const uint32_t desc[4])
{
    E1000Context *c = desc[2] & TX_TSE ? &s->tso_context : &s->context;
    *c = (E1000Context){
        .ipcss = (uint8_t)desc[0],
        .ipcso = (uint8_t)(desc[0] >> 8),
        .ipcse = (uint16_t)(desc[0] >> 16),
        .tucss = (uint8_t)desc[1],
        .tucso = (uint8_t)(desc[1] >> 8),
        .tucse = (uint16_t)(desc[1] >> 16),
        .paylen = desc[2] & TX_LENGTH,
        .tcp = desc[2] & TUCMD_TCP,
        .ip4 = desc[2] & TUCMD_IP,
        .hdrlen = (uint8_t)(desc[3] >> 8),
        .mss = (uint16_t)(desc[3] >> 16),
    };
}

/* The bytes of a descriptor; false if it is none of a packet's. */
static bool add_desc(E1000 *s, Packet *packet, const uint32_t desc[4])
{
    bool extended = desc[2] & TX_DEXT;
    size_t bytes = desc[2] & (extended ? TX_LENGTH : 0xffffu);
    hwaddr addr = desc[0] | (hwaddr)desc[1] << 32;

    if (extended && (desc[2] >> TX_DTYP_SHIFT & 15) != TX_DTYP_DATA) {
        guest_error("e1000: a descriptor of type %u in a packet", desc[2] >> TX_DTYP_SHIFT & 15);
        return false;
    }
    int pieces =
        nic_map(&s->pci, addr, bytes, packet->iov + packet->count, PIECES_MAX - packet->count);
    if (pieces < 0) {
        guest_error("e1000: a packet is to come from 0x%" G_GINT64_MODIFIER "x, %zu bytes", addr,
                    bytes);
        return false;
    }
    packet->count += pieces;
    packet->bytes += bytes;
    return true;
}

/* Collects the packet at TDH. */
static TxResult collect(E1000 *s, const Go *go, Packet *packet)
{
    unsigned n = *reg(s, TDH), tail = *reg(s, TDT);
    bool ok = true, whole = false;

    packet->count = 0;
    packet->bytes = 0;
    packet->descs = 0;
    while (n != tail && packet->descs < DESCS_MAX && !whole) {
        read_desc(s, go, n, packet->last);
        if (!packet->descs)
            memcpy(packet->first, packet->last, sizeof(packet->first));
        ok = ok && add_desc(s, packet, packet->last);
        whole = packet->last[2] & TX_EOP;
        packet->descs++;
        n = n + 1 < go->size ? n + 1 : 0;
    }
    if (whole)
        return ok ? TX_DONE : TX_BAD;
    if (packet->descs < DESCS_MAX && packet->descs + 1 < go->size)
        return TX_WAIT;
    guest_error("e1000: %u descriptors without an end of packet", packet->descs);
    s->tx_skip = true; /* the rest is of this packet, too */
    return TX_BAD;
}

/* Deals with what stands at TDH; false: no more can be done now. */
static bool run_once(E1000 *s, Go *go)
{
    Packet packet;
    uint32_t desc[4];

    read_desc(s, go, *reg(s, TDH), desc);
    if (s->tx_skip) {
        s->tx_skip = !(desc[2] & TX_EOP);
        finish_desc(s, go);
        return true;
    }
    if (is_context(desc)) {
        load_context(s, desc);
        finish_desc(s, go);
        return true;
    }
    TxResult result = collect(s, go, &packet);
    if (result == TX_DONE)
        result = (desc[2] & TX_DEXT) && (desc[2] & TX_TSE) ? send_segments(s, go, &packet)
                                                           : send_whole(s, &packet);
    if (result != TX_WAIT)
        finish_packet(s, go, packet.descs);
    return result != TX_WAIT;
}

static bool prepare(E1000 *s, Go *go)
{
    if (s->tx_busy || s->tx_waits || s->end.stopped || timer_armed(&s->pause) ||
        !(*reg(s, TCTL) & TCTL_EN))
        return false;
    *go = (Go){.base = *reg(s, TDBAL) | (hwaddr)*reg(s, TDBAH) << 32,
               .size = *reg(s, TDLEN) / DESC_BYTES,
               .budget = BUDGET};
    if (!go->size || *reg(s, TDH) == *reg(s, TDT))
        return false;
    if (*reg(s, TDH) >= go->size || *reg(s, TDT) >= go->size) {
        guest_error("e1000: TDH %u and TDT %u in a ring of %u", *reg(s, TDH), *reg(s, TDT),
                    go->size);
        return false;
    }
    uint64_t length = (uint64_t)go->size * DESC_BYTES;
    go->ring = pci_dma_map(&s->pci, go->base, &length, false);
    if (length < (uint64_t)go->size * DESC_BYTES)
        go->ring = NULL;
    return pci_bus_master(&s->pci);
}

static void start_delay(E1000 *s)
{
    int64_t now = clock_now(VM_CLOCK_VIRTUAL);
    timer_arm(&s->tx_delay, now + (int64_t)*reg(s, TIDV) * DELAY_UNIT);
    if (*reg(s, TADV) && !timer_armed(&s->tx_abs))
        timer_arm(&s->tx_abs, now + (int64_t)*reg(s, TADV) * DELAY_UNIT);
}

static unsigned waiting(E1000 *s, const Go *go)
{
    return (*reg(s, TDT) + go->size - *reg(s, TDH)) % go->size;
}

void e1000_tx_run(E1000 *s)
{
    Go go;
    if (!prepare(s, &go))
        return;
    unsigned before = waiting(s, &go), low = (*reg(s, TXDCTL) >> 25) * 8;
    bool more = true;
    s->tx_busy = true;
    while (more && go.budget > 0 && *reg(s, TDH) != *reg(s, TDT))
        more = run_once(s, &go);
    s->tx_busy = false;
    if (go.budget <= 0 && !s->tx_waits)
        bh_schedule(s->tx_bh);
    if (*reg(s, TDH) == *reg(s, TDT))
        go.causes |= INT_TXQE;
    if (low && before >= low && waiting(s, &go) < low)
        go.causes |= INT_TXD_LOW;
    if (go.causes & INT_TXDW) {
        timer_cancel(&s->tx_delay);
        timer_cancel(&s->tx_abs);
    } else if (go.delayed) {
        start_delay(s);
    }
    if (go.causes)
        e1000_cause(s, go.causes);
}

void e1000_tx_pause(E1000 *s, unsigned slots)
{
    if (slots) {
        *reg(s, STATUS) |= STATUS_TXOFF;
        timer_arm(&s->pause, clock_now(VM_CLOCK_VIRTUAL) + (int64_t)slots * PAUSE_UNIT);
    } else if (timer_armed(&s->pause)) {
        timer_cancel(&s->pause);
        *reg(s, STATUS) &= ~(uint32_t)STATUS_TXOFF;
        bh_schedule(s->tx_bh); /* not from within a reception */
    }
}

void e1000_tx_unpause(void *opaque)
{
    E1000 *s = opaque;
    *reg(s, STATUS) &= ~(uint32_t)STATUS_TXOFF;
    e1000_tx_run(s);
}

void e1000_tx_reset(E1000 *s)
{
    s->tx_segments = 0;
    s->tx_skip = false;
}

static const StateField context_fields[] = {
    STATE_U(E1000Context, ipcss, 0),  STATE_U(E1000Context, ipcso, 0),
    STATE_U(E1000Context, tucss, 0),  STATE_U(E1000Context, tucso, 0),
    STATE_U(E1000Context, hdrlen, 0), STATE_U(E1000Context, ipcse, 0),
    STATE_U(E1000Context, tucse, 0),  STATE_U(E1000Context, mss, 0),
    STATE_U(E1000Context, paylen, 0), STATE_U(E1000Context, tcp, 0),
    STATE_U(E1000Context, ip4, 0),    STATE_END,
};
const StateDesc e1000_context_state = {"e1000-context", 1, sizeof(E1000Context), context_fields};
