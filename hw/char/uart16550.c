/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A UART: PC16550D datasheet, sections 8.1 to 8.11; register names are its own.
 *
 * A byte leaves in the instant that it is written and the transmitter is empty again at once: no
 * guest can tell this from a very fast line (the interrupt of an empty transmitter comes all the
 * same), and pacing by the baud rate would cost a timer a byte and make 9600 baud as slow as it is.
 * When the chardev takes no more, bytes wait in the transmitter as behind a line that is held up.
 * Reception is not paced either; the chardev hands over only what has room, so an overrun happens
 * only in loopback.
 *
 * As in QEMU, MCR.OUT2 does not gate the interrupt line, and CTS, DSR and DCD of anything but a
 * host serial port are always on: what runs there runs here.
 */
#include "hw/char/uart16550.h"

#include "util/error.h"
#include "util/log.h"

enum { REG_RBR_THR, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum { IER_ERBFI = 0x01, IER_ETBEI = 0x02, IER_ELSI = 0x04, IER_EDSSI = 0x08 };
enum {
    IIR_MODEM = 0x00,
    IIR_NONE = 0x01,
    IIR_THRE = 0x02,
    IIR_DATA = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0,
};
enum { FCR_ENABLE = 0x01, FCR_RX_RESET = 0x02, FCR_TX_RESET = 0x04, FCR_KEPT = 0xc9 };
enum { LCR_WLS = 0x03, LCR_STB = 0x04, LCR_PEN = 0x08, LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum {
    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_KEPT = 0x1f,
};
enum {
    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_FIFO_ERROR = 0x80,
};
enum { MSR_DELTAS = 0x0f, MSR_TERI = 0x04, MSR_RI = 0x40, MSR_LINES = 0xf0 };

#define BASE_BAUD        115200
#define TIMEOUT_CHARS    4
#define MODEM_POLL       (10 * NS_PER_MS)
#define UNCONNECTED_LINE (CHR_MODEM_CTS | CHR_MODEM_DSR | CHR_MODEM_DCD)

static bool fifo_mode(const Uart *uart)
{
    return uart->fcr & FCR_ENABLE;
}

static unsigned fifo_size(const Uart *uart)
{
    return fifo_mode(uart) ? UART_FIFO : 1;
}

static unsigned trigger_level(const Uart *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return fifo_mode(uart) ? levels[uart->fcr >> 6] : 1;
}

/* ---- Interrupts (8.6.3) ---- */

static uint8_t pending_interrupt(const Uart *uart)
{
    if ((uart->ier & IER_ELSI) && uart->lsr_errors)
        return IIR_LINE;
    if ((uart->ier & IER_ERBFI) && uart->rx_count >= trigger_level(uart))
        return IIR_DATA;
    if ((uart->ier & IER_ERBFI) && uart->timeout_pending)
        return IIR_TIMEOUT;
    if ((uart->ier & IER_ETBEI) && uart->thre_pending)
        return IIR_THRE;
    if ((uart->ier & IER_EDSSI) && (uart->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(Uart *uart)
{
    irq_set(&uart->irq, pending_interrupt(uart) != IIR_NONE);
}

/* ---- The line ---- */

/* A divisor of 0 is no rate at all; the fastest stands in for it. */
static unsigned divisor(const Uart *uart)
{
    return uart->divisor ? uart->divisor : 1;
}

static int64_t char_time(const Uart *uart)
{
    unsigned bits =
        1 + 5 + (uart->lcr & LCR_WLS) + !!(uart->lcr & LCR_PEN) + 1 + !!(uart->lcr & LCR_STB);
    return ticks_to_ns((uint64_t)bits * divisor(uart), BASE_BAUD);
}

static void set_line(Uart *uart)
{
    static const char parities[] = {'O', 'E', 'M', 'S'}; /* by EPS and stick parity */
    char parity = uart->lcr & LCR_PEN ? parities[uart->lcr >> 4 & 3] : 'N';
    if (uart->chr)
        chr_set_serial(uart->chr, BASE_BAUD / divisor(uart), 5u + (uart->lcr & LCR_WLS), parity,
                       uart->lcr & LCR_STB ? 2 : 1);
}

/* ---- Reception ---- */

/* LSR shows the errors of a byte when that is the next to be read (8.6.4). */
static void reveal_errors(Uart *uart)
{
    if (!uart->rx_count)
        return;
    uart->lsr_errors |= uart->rx_error[uart->rx_head];
    uart->rx_error[uart->rx_head] = 0;
}

/* The timeout runs while bytes wait that do not yet interrupt by their number. */
static void restart_timeout(Uart *uart)
{
    if (fifo_mode(uart) && uart->rx_count && uart->rx_count < trigger_level(uart))
        timer_arm(&uart->timeout, clock_now(VM_CLOCK_VIRTUAL) + TIMEOUT_CHARS * char_time(uart));
    else
        timer_cancel(&uart->timeout);
}

static void timeout_expired(void *opaque)
{
    Uart *uart = opaque;
    uart->timeout_pending = uart->rx_count != 0;
    update_irq(uart);
}

/* A byte comes out of the receiver's shift register.  A full FIFO keeps what it has; without FIFOs
 * the new byte takes the place of the old one (8.6.4, OE). */
static void receive_byte(Uart *uart, uint8_t byte, uint8_t error)
{
    if (uart->rx_count == fifo_size(uart)) {
        uart->lsr_errors |= LSR_OE;
        if (fifo_mode(uart))
            return;
        uart->rx_count = 0;
    }
    unsigned place = (uart->rx_head + uart->rx_count++) % UART_FIFO;
    uart->rx[place] = byte;
    uart->rx_error[place] = error;
    reveal_errors(uart);
}

static void received(Uart *uart)
{
    restart_timeout(uart);
    update_irq(uart);
}

static void clear_rx(Uart *uart)
{
    uart->rx_count = 0;
    for (unsigned i = 0; i < UART_FIFO; i++)
        uart->rx_error[i] = 0;
    uart->timeout_pending = false;
    timer_cancel(&uart->timeout);
}

static void accept_more(Uart *uart)
{
    if (uart->chr)
        chr_accept_input(uart->chr, uart);
}

static uint8_t read_rbr(Uart *uart)
{
    if (!uart->rx_count)
        return uart->rbr;
    uart->rbr = uart->rx[uart->rx_head];
    uart->rx_head = (uart->rx_head + 1) % UART_FIFO;
    uart->rx_count--;
    uart->timeout_pending = false;
    reveal_errors(uart);
    received(uart);
    accept_more(uart);
    return uart->rbr;
}

/* In loopback the receiver is cut off from its pin: what comes waits outside. */
static size_t can_receive(void *opaque)
{
    const Uart *uart = opaque;
    return uart->mcr & MCR_LOOP ? 0 : fifo_size(uart) - uart->rx_count;
}

static void receive(void *opaque, const uint8_t *buf, size_t length)
{
    Uart *uart = opaque;
    for (size_t i = 0; i < length; i++)
        receive_byte(uart, buf[i], 0);
    received(uart);
}

/* ---- Transmission ---- */

/* Sends what the line takes.  Writing may tell us at once that the peer has gone: `sending` keeps
 * that call from sending the same bytes again. */
static void transmit(Uart *uart)
{
    if (!uart->tx_count || uart->sending)
        return;
    while (uart->tx_count) {
        size_t run = MIN(uart->tx_count, UART_FIFO - uart->tx_head), sent = run;
        const uint8_t *bytes = uart->tx + uart->tx_head;
        if (uart->mcr & MCR_LOOP) {
            for (size_t i = 0; i < run; i++)
                receive_byte(uart, bytes[i], 0);
            received(uart);
        } else if (uart->chr) {
            uart->sending = true;
            sent = chr_write(uart->chr, uart, bytes, run);
            uart->sending = false;
        }
        uart->tx_head = (uint8_t)((uart->tx_head + sent) % UART_FIFO);
        uart->tx_count -= (uint8_t)sent;
        if (sent < run)
            return;
    }
    uart->thre_pending = true;
    update_irq(uart);
}

static void write_thr(Uart *uart, uint8_t byte)
{
    if (uart->tx_count == fifo_size(uart)) {
        guest_error("%s: a byte is written to a full transmitter and lost", uart->name);
        return;
    }
    uart->tx[(uart->tx_head + uart->tx_count++) % UART_FIFO] = byte;
    uart->thre_pending = false;
    update_irq(uart);
    transmit(uart);
}

static void chr_event_seen(void *opaque, ChrEvent event)
{
    Uart *uart = opaque;
    if (event == CHR_WRITABLE || event == CHR_CLOSED) {
        transmit(uart);
    } else if (event == CHR_BREAK && can_receive(uart)) {
        receive_byte(uart, 0, LSR_BI);
        received(uart);
    }
}

/* ---- Modem lines ---- */

/* Inputs as MSR's upper bits; in loopback they are the outputs (8.6.7). */
static uint8_t modem_inputs(const Uart *uart)
{
    unsigned lines = UNCONNECTED_LINE;
    if (uart->mcr & MCR_LOOP)
        return (uint8_t)((uart->mcr & MCR_RTS ? 0x10 : 0) | (uart->mcr & MCR_DTR ? 0x20 : 0) |
                         (uart->mcr & MCR_OUT1 ? 0x40 : 0) | (uart->mcr & MCR_OUT2 ? 0x80 : 0));
    if (uart->chr)
        chr_get_modem(uart->chr, &lines);
    return (uint8_t)(lines << 4);
}

static void update_modem(Uart *uart)
{
    uint8_t now = modem_inputs(uart);
    uint8_t changed = (uart->msr ^ now) & MSR_LINES;
    if (now & MSR_RI) /* only the end of a ring is told */
        changed &= (uint8_t)~MSR_RI;
    uart->msr = now | (uart->msr & MSR_DELTAS) | changed >> 4;
    update_irq(uart);
}

/* A host port does not call us when its lines change. */
static void poll_modem(void *opaque)
{
    Uart *uart = opaque;
    unsigned lines;
    if (!uart->chr || !(uart->ier & IER_EDSSI) || !chr_get_modem(uart->chr, &lines))
        return;
    update_modem(uart);
    timer_arm(&uart->modem_poll, clock_now(VM_CLOCK_VIRTUAL) + MODEM_POLL);
}

static uint8_t read_msr(Uart *uart)
{
    if (!(uart->mcr & MCR_LOOP))
        update_modem(uart);
    uint8_t value = uart->msr;
    uart->msr &= MSR_LINES;
    update_irq(uart);
    return value;
}

/* ---- Registers ---- */

static uint8_t read_iir(Uart *uart)
{
    uint8_t id = pending_interrupt(uart);
    if (id == IIR_THRE) {
        uart->thre_pending = false;
        update_irq(uart);
    }
    return id | (fifo_mode(uart) ? IIR_FIFO : 0);
}

static uint8_t read_lsr(Uart *uart)
{
    uint8_t value = uart->lsr_errors | (uart->rx_count ? LSR_DR : 0);
    bool error = uart->lsr_errors & ~LSR_OE;
    for (unsigned i = 0; i < uart->rx_count; i++)
        error |= uart->rx_error[(uart->rx_head + i) % UART_FIFO] != 0;
    if (fifo_mode(uart) && error)
        value |= LSR_FIFO_ERROR;
    if (!uart->tx_count)
        value |= LSR_THRE | LSR_TEMT;
    uart->lsr_errors = 0;
    update_irq(uart);
    return value;
}

uint8_t uart_read(Uart *uart, unsigned reg)
{
    bool dlab = uart->lcr & LCR_DLAB;
    switch (reg) {
    case REG_RBR_THR:
        return dlab ? (uint8_t)uart->divisor : read_rbr(uart);
    case REG_IER:
        return dlab ? uart->divisor >> 8 : uart->ier;
    case REG_IIR_FCR:
        return read_iir(uart);
    case REG_LCR:
        return uart->lcr;
    case REG_MCR:
        return uart->mcr;
    case REG_LSR:
        return read_lsr(uart);
    case REG_MSR:
        return read_msr(uart);
    case REG_SCR:
        return uart->scr;
    }
    return 0xff;
}

/* Enabling the transmitter's interrupt while it is empty raises it at once (8.6.5). */
static void write_ier(Uart *uart, uint8_t value)
{
    uint8_t risen = value & (uint8_t)~uart->ier;
    uart->ier = value & 0x0f;
    if ((risen & IER_ETBEI) && !uart->tx_count)
        uart->thre_pending = true;
    if (risen & IER_EDSSI)
        poll_modem(uart);
    update_irq(uart);
}

static void write_fcr(Uart *uart, uint8_t value)
{
    bool toggled = (value ^ uart->fcr) & FCR_ENABLE;
    bool on = value & FCR_ENABLE;
    if (toggled || (on && (value & FCR_RX_RESET)))
        clear_rx(uart);
    if ((toggled || (on && (value & FCR_TX_RESET))) && uart->tx_count) {
        uart->tx_count = 0;
        uart->thre_pending = true;
    }
    /* The other bits are taken only together with the enable bit (8.6.2). */
    uart->fcr = on ? value & FCR_KEPT : 0;
    received(uart);
    accept_more(uart);
}

static void write_lcr(Uart *uart, uint8_t value)
{
    uint8_t changed = value ^ uart->lcr;
    uart->lcr = value;
    if (changed & (uint8_t) ~(LCR_BREAK | LCR_DLAB))
        set_line(uart);
    if (!(changed & LCR_BREAK))
        return;
    if (uart->mcr & MCR_LOOP) {
        if (value & LCR_BREAK)
            receive_byte(uart, 0, LSR_BI);
        received(uart);
    } else if (uart->chr) {
        chr_set_break(uart->chr, value & LCR_BREAK);
    }
}

static void write_mcr(Uart *uart, uint8_t value)
{
    uint8_t changed = (value ^ uart->mcr) & MCR_KEPT;
    bool loop = value & MCR_LOOP;
    uart->mcr = value & MCR_KEPT;
    if (uart->chr && !loop && (changed & (MCR_DTR | MCR_RTS | MCR_LOOP)))
        chr_set_modem(uart->chr, value & MCR_DTR, value & MCR_RTS);
    update_modem(uart);
    if (!(changed & MCR_LOOP))
        return;
    transmit(uart);
    if (!loop)
        accept_more(uart);
}

static void write_divisor(Uart *uart, uint16_t value)
{
    if (uart->divisor == value)
        return;
    uart->divisor = value;
    set_line(uart);
}

void uart_write(Uart *uart, unsigned reg, uint8_t value)
{
    bool dlab = uart->lcr & LCR_DLAB;
    switch (reg) {
    case REG_RBR_THR:
        if (dlab)
            write_divisor(uart, (uart->divisor & 0xff00) | value);
        else
            write_thr(uart, value);
        break;
    case REG_IER:
        if (dlab)
            write_divisor(uart, (uint16_t)((uart->divisor & 0xff) | value << 8));
        else
            write_ier(uart, value);
        break;
    case REG_IIR_FCR:
        write_fcr(uart, value);
        break;
    case REG_LCR:
        write_lcr(uart, value);
        break;
    case REG_MCR:
        write_mcr(uart, value);
        break;
    case REG_SCR:
        uart->scr = value;
        break;
    default: /* LSR and MSR: for the factory's test (8.6.4) */
        guest_error("%s: register %u is read-only", uart->name, reg);
        break;
    }
}

/* ---- Life ---- */

static const ChrHandlers handlers = {can_receive, receive, chr_event_seen};

bool uart_init(Uart *uart, const char *name, Chardev *chr, GError **error)
{
    uart->name = name;
    timer_init(&uart->timeout, loop_main(), VM_CLOCK_VIRTUAL, timeout_expired, uart);
    timer_init(&uart->modem_poll, loop_main(), VM_CLOCK_VIRTUAL, poll_modem, uart);
    if (chr && !chr_attach(chr, &handlers, uart, error))
        return false;
    uart->chr = chr;
    return true;
}

void uart_fini(Uart *uart)
{
    timer_cancel(&uart->timeout);
    timer_cancel(&uart->modem_poll);
    if (uart->chr)
        chr_detach(uart->chr, uart);
    uart->chr = NULL;
}

void uart_reset(Uart *uart)
{
    uart->msr = modem_inputs(uart);
    set_line(uart);
    update_irq(uart);
    accept_more(uart);
}

static bool uart_post_load(void *state, GError **error)
{
    Uart *uart = state;
    unsigned size = fifo_size(uart);
    if (uart->rx_count > size || uart->tx_count > size || uart->rx_head >= UART_FIFO ||
        uart->tx_head >= UART_FIFO)
        return fail(error, "uart16550: a FIFO of %u bytes holds %u and %u", size, uart->rx_count,
                    uart->tx_count);
    uart->ier &= 0x0f;
    uart->fcr &= FCR_KEPT;
    uart->mcr &= MCR_KEPT;
    set_line(uart);
    transmit(uart);
    accept_more(uart);
    return true;
}

static const StateField uart_fields[] = {
    STATE_HOST(Uart, name),
    STATE_HOST(Uart, chr),
    STATE_HOST(Uart, irq),
    STATE_HOST(Uart, sending),
    STATE_U(Uart, ier, 0),
    STATE_U(Uart, fcr, 0),
    STATE_U(Uart, lcr, 0),
    STATE_U(Uart, mcr, 0),
    STATE_U(Uart, msr, 0),
    STATE_U(Uart, scr, 0),
    STATE_U(Uart, lsr_errors, 0),
    STATE_U(Uart, rbr, 0),
    STATE_U(Uart, divisor, 12),
    STATE_BYTES(Uart, rx),
    STATE_BYTES(Uart, rx_error),
    STATE_U(Uart, rx_head, 0),
    STATE_U(Uart, rx_count, 0),
    STATE_BYTES(Uart, tx),
    STATE_U(Uart, tx_head, 0),
    STATE_U(Uart, tx_count, 0),
    STATE_U(Uart, thre_pending, 0),
    STATE_U(Uart, timeout_pending, 0),
    STATE_TIMER(Uart, timeout),
    STATE_TIMER(Uart, modem_poll),
    STATE_END,
};
const StateDesc uart_state = {
    .name = "uart16550",
    .version = 1,
    .size = sizeof(Uart),
    .fields = uart_fields,
    .post_load = uart_post_load,
};
