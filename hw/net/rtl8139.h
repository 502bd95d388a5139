/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RTL8139C+'s parts: registers and timer (rtl8139.c), transmission (rtl8139_tx.c), reception
 * (rtl8139_rx.c).  (Realtek, RTL8139C(L)+ data sheet, 2002; names of registers are its own.)
 */
#ifndef VMRUN_HW_NET_RTL8139_H
#define VMRUN_HW_NET_RTL8139_H

#include "eeprom93.h"
#include "nic.h"
#include "util/bytes.h"
#include "util/timer.h"

/* ---- Registers: offsets ---- */
enum {
    IDR0 = 0x00,
    MAR0 = 0x08,
    TSD0 = 0x10,  /* four, 4 bytes each */
    DTCCR = 0x10, /* in C+ mode */
    TSAD0 = 0x20, /* four */
    TNPDS = 0x20, /* in C+ mode */
    THPDS = 0x28,
    RBSTART = 0x30,
    ERBCR = 0x34,
    ERSR = 0x36,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    MPC = 0x4c,
    CR9346 = 0x50,
    CONFIG0 = 0x51,
    CONFIG1 = 0x52,
    TIMERINT = 0x54,
    MSR = 0x58,
    CONFIG3 = 0x59,
    CONFIG4 = 0x5a,
    MULINT = 0x5c,
    TSAD = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    ANAR = 0x66,
    ANLPAR = 0x68,
    ANER = 0x6a,
    NWAYTR = 0x70,
    CSCR = 0x74,
    PHY1_PARM = 0x78,
    TW_PARM = 0x7c,
    CRC0 = 0x84,
    WAKEUP0 = 0x8c,
    LSBCRC0 = 0xcc,
    CONFIG5 = 0xd8,
    TPPOLL = 0xd9,
    CPCR = 0xe0,
    INT_MITIGATE = 0xe2,
    RDSAR = 0xe4,
    ETTHR = 0xec,
    RTL_REGS = 0x100,
};
enum { CR_BUFE = 1, CR_TE = 4, CR_RE = 8, CR_RST = 0x10 };
enum {
    INT_ROK = 0x0001,
    INT_TOK = 0x0004,
    INT_TER = 0x0008,
    INT_RXOVW = 0x0010, /* the buffer is full; in C+ mode: no descriptor */
    INT_LINK = 0x0020,
    INT_TDU = 0x0080,
    INT_SW = 0x0100,
    INT_TIMEOUT = 0x4000,
    INT_ALL = 0xe1ff,
};
enum { TSD_SIZE = 0x1fff, TSD_OWN = 1 << 13, TSD_TUN = 1 << 14, TSD_TOK = 1 << 15 };
#define TSD_TABT 0x40000000u
enum { TCR_CLRABT = 1, TCR_LOOPBACK = 3 << 17 };
enum { RCR_AAP = 1, RCR_APM = 2, RCR_AM = 4, RCR_AB = 8, RCR_WRAP = 0x80, RCR_RBLEN_SHIFT = 11 };
enum { EE_DO = 1, EE_DI = 2, EE_SK = 4, EE_CS = 8, EE_MODE = 0xc0, EE_AUTOLOAD = 0x40 };
enum { EE_PROGRAM = 0x80, EE_UNLOCK = 0xc0 };
enum { MSR_LINKB = 4 };
enum { BMCR_RESET = 0x8000, BMCR_RESTART = 0x0200 };
enum { BMSR_LINK = 4, BMSR_AN_DONE = 0x20 };
enum { TPPOLL_FSWINT = 1, TPPOLL_NPQ = 0x40, TPPOLL_HPQ = 0x80 };
enum { CPCR_TE = 1, CPCR_RE = 2, CPCR_RXCHKSUM = 0x20, CPCR_RXVLAN = 0x40 };
enum { DTCCR_DUMP = 8 };

/* ---- Descriptors of C+ mode ---- */
#define CP_OWN 0x80000000u
enum { CP_EOR = 1 << 30, CP_FS = 1 << 29, CP_LS = 1 << 28, CP_LGSEN = 1 << 27 };
enum { CP_IPCS = 1 << 18, CP_UDPCS = 1 << 17, CP_TCPCS = 1 << 16, CP_TAGC = 1 << 17 };
enum { CP_TX_ERRORS = 1 << 25 | 0xf << 20, CP_RX_SIZE = 0x1fff };
enum { CP_DESC_BYTES = 16, CP_RING = 64 };

/* The counters that DTCCR dumps, in its order. */
typedef struct RtlTally {
    uint64_t tx_ok, rx_ok, tx_err;
    uint32_t rx_err, tx_one_collision, tx_collisions;
    uint64_t rx_own, rx_broadcast;
    uint32_t rx_multicast;
    uint16_t missed, misaligned, tx_aborted, tx_underrun;
} RtlTally;

typedef struct Rtl8139 {
    PciDevice pci;
    NetEnd end;
    NetEnd *netdev;             /* property */
    uint8_t mac[NET_MAC_BYTES]; /* property */
    Region io, mem;
    LoopBh *tx_bh;
    uint8_t *packet; /* NET_FRAME_MAX bytes and a tag: what is being sent */
    bool tx_busy;

    uint8_t regs[RTL_REGS];
    Eeprom93 eeprom;
    RtlTally tally;
    int64_t timer_base; /* when TCTR was 0 */
    Timer timer;        /* TCTR reaches TIMERINT */
    Timer rx_poll;      /* looks for descriptors of C+ mode */
    uint8_t tx_next;    /* of the four */
    uint8_t cp_tx[2];   /* descriptors of the normal and the high ring */
    uint8_t cp_rx;
    uint32_t tx_segments; /* of a packet in a ring that went out already */
    uint8_t tx_ring;      /* ... in the normal (0) or the high (1) one */
    bool tx_aborted;      /* nothing is sent until TCR.CLRABT */
    bool rx_full;         /* a frame was refused, the guest told, none taken since */
    uint8_t rx_polls;     /* that found no descriptor: each doubles the time to the next */
    bool tx_waits;        /* the peer is to call writable() */
} Rtl8139;

static inline uint16_t rtl16(const Rtl8139 *s, unsigned at)
{
    return ld16_le(s->regs + at);
}
static inline uint32_t rtl32(const Rtl8139 *s, unsigned at)
{
    return ld32_le(s->regs + at);
}

enum { POLL_DOUBLINGS = 6 };

/* rtl8139.c: sets bits of ISR. */
void rtl8139_cause(Rtl8139 *s, uint16_t bits);

/* rtl8139_tx.c: sends what is ready, in the mode that is on. */
void rtl8139_tx_run(Rtl8139 *s);

/* rtl8139_rx.c */
bool rtl8139_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes);
/* What is sent while the card loops back. */
void rtl8139_loop_frame(Rtl8139 *s, const void *frame, size_t bytes);
/* Bytes of the receive buffer, and whether nothing is in it. */
unsigned rtl8139_rx_size(const Rtl8139 *s);
bool rtl8139_rx_empty(const Rtl8139 *s);

#endif
