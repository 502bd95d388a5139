/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The telnet protocol as far as a serial console needs it: RFC 854 (commands), RFC 855 (options),
 * RFC 856 (binary), RFC 857 (echo), RFC 858 (suppress go-ahead).
 */
#include <string.h>

#include "chr_private.h"

enum {
    IAC = 255,
    DONT = 254,
    DO = 253,
    WONT = 252,
    WILL = 251,
    SB = 250,
    BREAK = 243,
    SE = 240,
    OPT_BINARY = 0,
    OPT_ECHO = 1,
    OPT_SGA = 3,
};

/* A reply that does not fit is not given: the peer floods us. */
static void queue(Telnet *telnet, uint8_t verb, uint8_t option)
{
    if (telnet->pending_length + 3 > sizeof(telnet->pending))
        return;
    uint8_t *p = telnet->pending + telnet->pending_length;
    p[0] = IAC;
    p[1] = verb;
    p[2] = option;
    telnet->pending_length += 3;
}

void telnet_start(Telnet *telnet, bool server)
{
    *telnet = (Telnet){0};
    if (!server)
        return;
    queue(telnet, WILL, OPT_ECHO);
    queue(telnet, WILL, OPT_SGA);
    queue(telnet, WILL, OPT_BINARY);
    queue(telnet, DO, OPT_BINARY);
}

/* What we have offered needs no answer; anything else is refused. */
static void take_option(Telnet *telnet, uint8_t option)
{
    switch (telnet->verb) {
    case WILL:
        if (option == OPT_BINARY)
            telnet->peer_binary = true;
        else if (option != OPT_SGA)
            queue(telnet, DONT, option);
        break;
    case WONT:
        if (option == OPT_BINARY)
            telnet->peer_binary = false;
        break;
    case DO:
        if (option != OPT_ECHO && option != OPT_SGA && option != OPT_BINARY)
            queue(telnet, WONT, option);
        break;
    }
}

/* True if the byte is data. */
static bool take_byte(Telnet *telnet, uint8_t byte, unsigned *breaks)
{
    bool was_cr = telnet->after_cr;
    switch (telnet->state) {
    case TELNET_DATA:
        if (byte == IAC) {
            telnet->state = TELNET_IAC;
            return false;
        }
        telnet->after_cr = byte == '\r';
        return !(was_cr && byte == 0 && !telnet->peer_binary);
    case TELNET_IAC:
        telnet->state = TELNET_DATA;
        if (byte == IAC)
            return true;
        if (byte == BREAK)
            ++*breaks;
        if (byte == SB)
            telnet->state = TELNET_SB;
        if (byte >= WILL && byte <= DONT) {
            telnet->verb = byte;
            telnet->state = TELNET_OPTION;
        }
        return false;
    case TELNET_OPTION:
        take_option(telnet, byte);
        telnet->state = TELNET_DATA;
        return false;
    case TELNET_SB:
        if (byte == IAC)
            telnet->state = TELNET_SB_IAC;
        return false;
    case TELNET_SB_IAC:
        telnet->state = byte == SE ? TELNET_DATA : TELNET_SB;
        return false;
    }
    return false;
}

size_t telnet_input(Telnet *telnet, uint8_t *buf, size_t length, unsigned *breaks)
{
    size_t out = 0;
    for (size_t i = 0; i < length; i++)
        if (take_byte(telnet, buf[i], breaks))
            buf[out++] = buf[i];
    return out;
}

bool telnet_flush(Telnet *telnet, ChrStream *stream)
{
    if (!telnet->pending_length)
        return true;
    size_t taken = stream_write(stream, telnet->pending, telnet->pending_length);
    telnet->pending_length -= taken;
    memmove(telnet->pending, telnet->pending + taken, telnet->pending_length);
    return !telnet->pending_length;
}

/* A lone IAC of ours in the stream is impossible: its double waits in `pending`. */
static size_t write_iac(Telnet *telnet, ChrStream *stream)
{
    telnet->pending[0] = telnet->pending[1] = IAC;
    telnet->pending_length = 2;
    telnet_flush(telnet, stream);
    if (telnet->pending_length < 2)
        return 1;
    telnet->pending_length = 0;
    return 0;
}

size_t telnet_write(Telnet *telnet, ChrStream *stream, const uint8_t *buf, size_t length)
{
    size_t done = 0;
    while (done < length && telnet_flush(telnet, stream)) {
        const uint8_t *iac = memchr(buf + done, IAC, length - done);
        size_t run = iac ? (size_t)(iac - buf) - done : length - done;
        size_t taken = run ? stream_write(stream, buf + done, run) : write_iac(telnet, stream);
        done += taken;
        if (taken < MAX(run, 1))
            break;
    }
    return done;
}
