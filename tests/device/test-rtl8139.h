/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of the rtl8139 for its tests. */
#ifndef VMRUN_TESTS_DEVICE_TEST_RTL8139_H
#define VMRUN_TESTS_DEVICE_TEST_RTL8139_H

#include "../../hw/net/rtl8139.h"
#include "test-nic.h"

#define DEVFN     PCI_DEVFN(3, 0)
#define MEM       0xfe000000u
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define TX_RING   0x10000
#define RX_RING   0x11000
#define TX_BUF    0x20000
#define RX_BUF    0x40000
#define RX_STEP   0x1000

extern Machine *m;
extern Device *dev;
extern FakeNet net;
extern uint8_t frame[70000], got[70000];

uint16_t rd16(unsigned at);
uint32_t rd32(unsigned at);
void wr8(unsigned at, unsigned value);
void wr16(unsigned at, unsigned value);
void wr32(unsigned at, uint32_t value);

/* A card with all interrupts on, neither receiving nor sending. */
void open_card(void);
void close_card(void);
/* The same in C+ mode, with more bits of CPCR and rings of 8 descriptors, on. */
void open_cplus(unsigned cpcr);

void add_cplus_tests(void);

#endif
