/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A UART as a chip: eight byte-wide registers, one interrupt line, a chardev on its pins.
 * Texas Instruments/National PC16550D datasheet.
 *
 * Bus glue (hw/char/serial-isa.c) maps the registers and owns the Uart.  Main lock held.
 */
#ifndef VMRUN_HW_CHAR_UART16550_H
#define VMRUN_HW_CHAR_UART16550_H

#include "chardev/chardev.h"
#include "hw/core/irq.h"
#include "hw/core/state.h"
#include "util/timer.h"

#define UART_FIFO 16
#define UART_REGS 8

typedef struct Uart {
    const char *name; /* for guest_error() */
    Chardev *chr;     /* NULL: nothing is connected */
    IrqLine irq;
    bool sending; /* inside chr_write() */
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t lsr_errors; /* OE, PE, FE, BI as LSR shows them until it is read */
    uint8_t rbr;        /* last byte read */
    uint16_t divisor;
    uint8_t rx[UART_FIFO], rx_error[UART_FIFO]; /* without FIFOs only one place is used */
    uint8_t rx_head, rx_count;
    uint8_t tx[UART_FIFO];
    uint8_t tx_head, tx_count;
    bool thre_pending;    /* the transmitter ran empty and IIR has not told yet */
    bool timeout_pending; /* bytes lie in the FIFO, and nothing happened for four character times */
    Timer timeout;
    Timer modem_poll; /* only with a host port that has modem lines */
} Uart;

extern const StateDesc uart_state;

/* Attaches chr (may be NULL) and prepares the timers; irq is connected before. */
bool uart_init(Uart *uart, const char *name, Chardev *chr, GError **error);
void uart_fini(Uart *uart);
/* After state_reset(). */
void uart_reset(Uart *uart);
/* reg: 0 to 7. */
uint8_t uart_read(Uart *uart, unsigned reg);
void uart_write(Uart *uart, unsigned reg, uint8_t value);

#endif
