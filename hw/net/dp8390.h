/* SPDX-License-Identifier: GPL-2.0-or-later */
/* National's DP8390 network interface controller with 32 KiB of buffer memory, as an NE2000 board
 * has it: the part without a bus.  (National Semiconductor, DP8390D/NS32490D NIC data sheet, 1995.)
 */
#ifndef VMRUN_HW_NET_DP8390_H
#define VMRUN_HW_NET_DP8390_H

#include "hw/core/irq.h"
#include "nic.h"
#include "util/timer.h"

#define DP8390_PORTS 32 /* 16 registers, the data port, the reset port */

typedef struct Dp8390 {
    NetEnd end;
    NetEnd *netdev;             /* property */
    uint8_t mac[NET_MAC_BYTES]; /* property */
    IrqLine irq;
    Region io;
    LoopBh *tx_bh; /* sends what a snapshot held */
    bool rtl8029;  /* with Realtek's page of registers */
    Timer retell;  /* of frames that stayed in the ring */

    uint8_t address[NET_MAC_BYTES]; /* in the PROM: mac, or a snapshot's */
    uint8_t cr9346, config2, config3;

    uint8_t cr, isr, imr, dcr, tcr, rcr, tsr, rsr;
    uint8_t pstart, pstop, bnry, curr, tpsr;
    uint8_t ncr, cntr[3];
    uint8_t par[NET_MAC_BYTES], mar[8];
    uint16_t tbcr, rsar, rbcr, clda;
    bool tx_busy;  /* inside of net_send_buf(), which may call back */
    bool tx_waits; /* the peer is to call writable() */
    uint8_t *mem;  /* of the board: PROM at 0, RAM from 0x4000 on */
} Dp8390;

/* The properties of cards with one; S's is named nic. */
#define DP8390_PROPS(S)                                                                            \
    PROP_FIELD(S, nic.mac, "mac", PROP_MAC, .help = "address of the card"),                        \
        PROP_FIELD(S, nic.netdev, "netdev", PROP_LINK, .resolve = net_resolve,                     \
                   .help = "id of the -netdev that it is on")

/* Opens the end; the ports are in s->io then, for the bus to map.  irq and rtl8029 are set
 * by the caller. */
bool dp8390_realize(Dp8390 *s, Device *dev, GError **error);
void dp8390_reset(Dp8390 *s);
void dp8390_unrealize(Dp8390 *s, Device *dev);
extern const StateDesc dp8390_state;

#endif
