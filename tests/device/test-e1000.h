/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of the e1000 for its tests: registers, rings, descriptors. */
#ifndef VMRUN_TESTS_DEVICE_TEST_E1000_H
#define VMRUN_TESTS_DEVICE_TEST_E1000_H

#include "../../hw/net/e1000_regs.h"
#include "test-nic.h"

#define DEVFN    PCI_DEVFN(3, 0)
#define MEM      0xfe000000u
#define PORT     0xc100
#define TX_RING  0x10000
#define RX_RING  0x20000
#define TX_BUF   0x30000
#define RX_BUF   0x100000
#define RX_STEP  0x4000
#define RAM_SIZE (4u << 20)

typedef struct Rig {
    Machine *m;
    Device *dev;
    FakeNet net;
    unsigned tx_size, rx_size; /* descriptors */
    unsigned tail;             /* TDT */
    uint8_t frame[70000];
} Rig;

extern Rig rig;

/* A card with rings of so many descriptors, the receiver on with these bits of RCTL besides EN. */
void rig_open(unsigned tx_size, unsigned rx_size, uint32_t rctl);
void rig_close(void);
uint32_t rd(unsigned reg);
void wr(unsigned reg, uint32_t value);
bool irq(void);

/* Writes a descriptor at TDT; tx_go() tells the card. */
void tx_desc(uint64_t addr, uint32_t lower, uint32_t upper);
void tx_go(void);
void tx_context(unsigned ipcss, unsigned ipcso, unsigned ipcse, unsigned tucss, unsigned tucso,
                unsigned tucse, uint32_t lower, uint32_t upper);
/* A legacy descriptor for one frame in RAM at TX_BUF. */
void tx_simple(size_t bytes, uint32_t flags);
uint32_t tx_status(unsigned n);

/* Sends a frame to the card; false: it refused. */
bool rx_send(const void *frame, size_t bytes);
typedef struct RxDesc {
    uint16_t length, sum, status, special;
} RxDesc;
RxDesc rx_desc(unsigned n);
/* Gives descriptor n back to the card. */
void rx_clear(unsigned n);

/* Tests by file. */
void add_tx_tests(void);
void add_rx_tests(void);

#endif
