/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The e1000's parts: registers and interrupts (e1000.c), transmission (e1000_tx.c), reception
 * (e1000_rx.c), PHY and EEPROM (e1000_phy.c). */
#ifndef VMRUN_HW_NET_E1000_H
#define VMRUN_HW_NET_E1000_H

#include "e1000_regs.h"
#include "eeprom93.h"
#include "nic.h"
#include "util/timer.h"

/* A context descriptor (SDM 3.3.6). */
typedef struct E1000Context {
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
    uint16_t ipcse, tucse, mss;
    uint32_t paylen;
    bool tcp, ip4;
} E1000Context;

typedef struct E1000 {
    PciDevice pci;
    NetEnd end;
    NetEnd *netdev;             /* property */
    uint8_t mac[NET_MAC_BYTES]; /* property */
    Region mmio, io;
    LoopBh *tx_bh; /* more to send than one go may */
    bool tx_busy;  /* inside of net_send(), which may call back */

    uint32_t regs[REGS_END / 4];
    uint32_t ffmt[FILTER_WORDS], ffvt[FILTER_WORDS];
    uint32_t ioaddr;
    uint16_t phy[PHY_REGS];
    Eeprom93 eeprom;
    bool irq_level;
    Timer itr_timer;                   /* no interrupt before it expires */
    Timer rx_delay, rx_abs;            /* RDTR, RADV */
    Timer tx_delay, tx_abs;            /* TIDV, TADV */
    Timer an_timer;                    /* auto-negotiation is on */
    Timer pause;                       /* the peer wants no frames */
    bool link_failed;                  /* since the PHY's status was read */
    bool rx_held;                      /* the peer keeps a frame that was counted (RNBC) */
    E1000Context context, tso_context; /* for checksums, for segmentation */
    uint32_t tx_segments;              /* of the packet at TDH that went out already */
    bool tx_waits;                     /* the peer is to call writable() */
    bool tx_skip;                      /* drops descriptors up to an EOP */
} E1000;

static inline uint32_t *reg(E1000 *s, unsigned offset)
{
    return &s->regs[offset / 4];
}

/* ---- e1000.c ---- */
/* Sets bits of ICR. */
void e1000_cause(E1000 *s, uint32_t bits);
/* Adds to a statistics register, which stays at its end; to one of 64 bits. */
void e1000_count(E1000 *s, unsigned offset);
void e1000_count64(E1000 *s, unsigned offset, uint32_t n);
/* One of the six counters by size from PRC64 or PTC64 on. */
void e1000_count_size(E1000 *s, unsigned first, size_t bytes);

/* ---- e1000_tx.c ---- */
/* Sends what stands between TDH and TDT. */
void e1000_tx_run(E1000 *s);
/* Sends nothing for so many slots; 0: goes on (IEEE 802.3, annex 31B). */
void e1000_tx_pause(E1000 *s, unsigned slots);
void e1000_tx_unpause(void *opaque);
/* Forgets the packet at TDH: the guest moved TDH or reset the card. */
void e1000_tx_reset(E1000 *s);
extern const StateDesc e1000_context_state;

/* ---- e1000_rx.c ---- */
bool e1000_receive(NetEnd *end, const struct iovec *iov, int count, size_t bytes);
/* What is sent while the card loops back. */
void e1000_loop_frame(E1000 *s, const struct iovec *iov, int count, size_t bytes);
/* RDTR or RADV ran out. */
void e1000_rx_timeout(void *opaque);

/* ---- e1000_phy.c ---- */
void e1000_phy_init(E1000 *s);
void e1000_phy_reset(E1000 *s);
/* The cable or auto-negotiation changed. */
void e1000_link_update(E1000 *s);
void e1000_an_done(void *opaque);
void e1000_mdic_write(E1000 *s, uint32_t value);
uint32_t e1000_eecd_read(E1000 *s);
void e1000_eecd_write(E1000 *s, uint32_t value);
void e1000_eerd_write(E1000 *s, uint32_t value);
void e1000_eeprom_init(E1000 *s);
/* The address in the EEPROM to RAL0 and RAH0. */
void e1000_load_address(E1000 *s);
bool e1000_loops_back(const E1000 *s);

#endif
