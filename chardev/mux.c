/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mux: several front ends share one chardev, as QEMU's "mon:stdio".
 *
 * All of them write to it; input goes to the one that has the focus.  Ctrl-A is the key that the
 * mux takes for itself.  Input waits in a ring for each front end, so that Ctrl-A is seen while a
 * guest does not read; when the ring is full the base is not read either.
 */
#include <string.h>
#include <time.h>

#include "chr_private.h"
#include "util/timer.h"

#define MUX_FRONT_ENDS 4
#define MUX_RING       4096 /* a power of two */
#define MUX_KEY        0x01 /* Ctrl-A */

typedef struct MuxFront {
    const ChrHandlers *handlers; /* NULL: a free place */
    void *opaque;
    uint8_t *ring;
    unsigned in, out; /* bytes ever put in and taken out */
} MuxFront;

typedef struct ChrMux {
    Chardev chr;
    MuxFront fronts[MUX_FRONT_ENDS];
    unsigned focus;
    bool escaped;    /* Ctrl-A was typed */
    bool timestamps; /* before each line of output */
    bool line_start;
    int64_t epoch;  /* host time of the first stamp; 0: none yet */
    char stamp[24]; /* that is not yet written */
    size_t stamp_length;
} ChrMux;

static const ChrMuxActions *mux_actions;
static void *mux_actions_opaque;

void chr_mux_set_actions(const ChrMuxActions *actions, void *opaque)
{
    mux_actions = actions;
    mux_actions_opaque = opaque;
}

static void front_event(MuxFront *front, ChrEvent event)
{
    if (front->handlers && front->handlers->event)
        front->handlers->event(front->opaque, event);
}

static void all_fronts(ChrMux *mux, ChrEvent event)
{
    for (unsigned i = 0; i < MUX_FRONT_ENDS && !mux->chr.closed; i++)
        front_event(&mux->fronts[i], event);
}

static MuxFront *find_front(ChrMux *mux, void *opaque)
{
    for (unsigned i = 0; i < MUX_FRONT_ENDS; i++)
        if (mux->fronts[i].handlers && mux->fronts[i].opaque == opaque)
            return &mux->fronts[i];
    return NULL;
}

/* ---- Input ---- */

static size_t ring_room(const MuxFront *front)
{
    return front->ring ? MUX_RING - (front->in - front->out) : 0;
}

/* Gives a front end what waits for it, as far as it takes it. */
static void drain(ChrMux *mux, MuxFront *front)
{
    while (!mux->chr.closed && front->handlers && front->in != front->out) {
        const ChrHandlers *h = front->handlers;
        size_t start = front->out & (MUX_RING - 1);
        size_t n = MIN(front->in - front->out, MUX_RING - start);
        uint8_t chunk[256];

        n = MIN(n, sizeof(chunk));
        if (h->can_receive && h->receive)
            n = MIN(n, h->can_receive(front->opaque));
        if (!n)
            return;
        memcpy(chunk, front->ring + start, n);
        front->out += (unsigned)n;
        if (h->can_receive && h->receive)
            h->receive(front->opaque, chunk, n);
    }
}

static void say(ChrMux *mux, const char *text)
{
    chr_write_all(mux->chr.base, mux, text, strlen(text));
}

static void set_focus(ChrMux *mux, unsigned n)
{
    if (n == mux->focus || !mux->fronts[n].handlers)
        return;
    unsigned old = mux->focus;
    mux->focus = n;
    front_event(&mux->fronts[old], CHR_MUX_OUT);
    front_event(&mux->fronts[n], CHR_MUX_IN);
}

static void next_focus(ChrMux *mux)
{
    for (unsigned i = 1; i < MUX_FRONT_ENDS; i++) {
        unsigned n = (mux->focus + i) % MUX_FRONT_ENDS;
        if (mux->fronts[n].handlers) {
            set_focus(mux, n);
            return;
        }
    }
}

static void help(ChrMux *mux)
{
    say(mux, "\r\n"
             "Ctrl-A h    this help\r\n"
             "Ctrl-A x    exit vmrun\r\n"
             "Ctrl-A s    save -snapshot data back to the disk images\r\n"
             "Ctrl-A t    time stamps on the output on or off\r\n"
             "Ctrl-A b    send a break\r\n"
             "Ctrl-A c    switch between the guest's console and the monitor\r\n"
             "Ctrl-A Ctrl-A  send Ctrl-A\r\n");
}

static void act(ChrMux *mux, void (*action)(void *), const char *missing)
{
    if (action)
        action(mux_actions_opaque);
    else
        say(mux, missing);
}

/* The key after Ctrl-A; true if it is to be passed on. */
static bool command(ChrMux *mux, uint8_t key)
{
    switch (key) {
    case MUX_KEY:
        return true;
    case 'h':
    case '?':
        help(mux);
        break;
    case 'x':
        say(mux, "vmrun: terminated by Ctrl-A x\r\n");
        act(mux, mux_actions ? mux_actions->quit : NULL, "Ctrl-A x can do nothing here\r\n");
        break;
    case 's':
        act(mux, mux_actions ? mux_actions->commit : NULL, "Ctrl-A s can do nothing here\r\n");
        break;
    case 'b':
        front_event(&mux->fronts[mux->focus], CHR_BREAK);
        break;
    case 'c':
        next_focus(mux);
        break;
    case 't':
        mux->timestamps = !mux->timestamps;
        mux->line_start = false;
        break;
    }
    return false;
}

static void take_byte(ChrMux *mux, uint8_t byte)
{
    MuxFront *front = &mux->fronts[mux->focus];
    if (mux->escaped) {
        mux->escaped = false;
        if (!command(mux, byte))
            return;
    } else if (byte == MUX_KEY) {
        mux->escaped = true;
        return;
    }
    if (ring_room(front))
        front->ring[front->in++ & (MUX_RING - 1)] = byte;
}

static size_t mux_can_receive(void *opaque)
{
    ChrMux *mux = opaque;
    return ring_room(&mux->fronts[mux->focus]);
}

static void mux_receive(void *opaque, const uint8_t *buf, size_t length)
{
    ChrMux *mux = opaque;
    chr_ref(&mux->chr);
    for (size_t i = 0; i < length && !mux->chr.closed; i++)
        take_byte(mux, buf[i]);
    for (unsigned i = 0; i < MUX_FRONT_ENDS; i++)
        drain(mux, &mux->fronts[i]);
    chr_unref(&mux->chr);
}

static void mux_event(void *opaque, ChrEvent event)
{
    ChrMux *mux = opaque;
    chr_ref(&mux->chr);
    if (event == CHR_OPENED || event == CHR_CLOSED)
        mux->chr.connected = event == CHR_OPENED;
    if (event == CHR_WRITABLE)
        mux->chr.short_write = mux->chr.gave_up = false;
    if (event == CHR_BREAK)
        front_event(&mux->fronts[mux->focus], event);
    else
        all_fronts(mux, event);
    chr_unref(&mux->chr);
}

static const ChrHandlers mux_handlers = {mux_can_receive, mux_receive, mux_event};

/* ---- Output ---- */

/* Makes the stamp "[hh:mm:ss.mmm] ", counted from the first one. */
static void make_stamp(ChrMux *mux)
{
    int64_t now = clock_now(VM_CLOCK_HOST);
    if (!mux->epoch)
        mux->epoch = now;
    int64_t ms = (now - mux->epoch) / NS_PER_MS;
    mux->stamp_length = (size_t)g_snprintf(mux->stamp, sizeof(mux->stamp), "[%02d:%02d:%02d.%03d] ",
                                           (int)(ms / 3600000 % 100), (int)(ms / 60000 % 60),
                                           (int)(ms / 1000 % 60), (int)(ms % 1000));
    mux->line_start = false;
}

static bool flush_stamp(ChrMux *mux)
{
    size_t taken = chr_write(mux->chr.base, mux, mux->stamp, mux->stamp_length);
    mux->stamp_length -= taken;
    memmove(mux->stamp, mux->stamp + taken, mux->stamp_length);
    return !mux->stamp_length;
}

static size_t write_stamped(ChrMux *mux, const uint8_t *buf, size_t length)
{
    size_t done = 0;
    while (done < length) {
        if (mux->line_start)
            make_stamp(mux);
        if (!flush_stamp(mux))
            break;
        const uint8_t *end = memchr(buf + done, '\n', length - done);
        size_t line = end ? (size_t)(end - buf) + 1 - done : length - done;
        size_t taken = chr_write(mux->chr.base, mux, buf + done, line);
        done += taken;
        if (taken < line)
            break;
        mux->line_start = end != NULL;
    }
    return done;
}

static size_t mux_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    ChrMux *mux = (ChrMux *)chr;
    if (mux->timestamps || mux->stamp_length)
        return write_stamped(mux, buf, length);
    return chr_write(mux->chr.base, mux, buf, length);
}

static int mux_write_fd(Chardev *chr)
{
    Chardev *base = chr->base;
    return base->closed || !base->backend->write_fd ? -1 : base->backend->write_fd(base);
}

/* ---- Front ends ---- */

bool chr_mux_attach(Chardev *chr, const ChrHandlers *handlers, void *opaque, GError **error)
{
    ChrMux *mux = (ChrMux *)chr;
    unsigned n = 0, others = 0;

    while (n < MUX_FRONT_ENDS && mux->fronts[n].handlers)
        n++;
    if (n == MUX_FRONT_ENDS)
        return fail(error, "chardev '%s' already has %d users", chr->id, MUX_FRONT_ENDS);
    for (unsigned i = 0; i < MUX_FRONT_ENDS; i++)
        others += mux->fronts[i].handlers != NULL;
    mux->fronts[n] = (MuxFront){handlers, opaque, g_malloc(MUX_RING), 0, 0};
    chr_ref(chr);
    if (!others)
        mux->focus = n;
    if (chr->connected)
        front_event(&mux->fronts[n], CHR_OPENED);
    front_event(&mux->fronts[n], mux->focus == n ? CHR_MUX_IN : CHR_MUX_OUT);
    chr_accept_input(mux->chr.base, mux);
    chr_unref(chr);
    return true;
}

void chr_mux_detach(Chardev *chr, void *opaque)
{
    ChrMux *mux = (ChrMux *)chr;
    MuxFront *front = find_front(mux, opaque);
    if (!front)
        return;
    g_free(front->ring);
    *front = (MuxFront){0};
    if (front == &mux->fronts[mux->focus])
        next_focus(mux);
    chr_accept_input(mux->chr.base, mux);
}

void chr_mux_accept_input(Chardev *chr, void *opaque)
{
    ChrMux *mux = (ChrMux *)chr;
    MuxFront *front = find_front(mux, opaque);
    if (!front || chr->closed)
        return;
    chr_ref(chr);
    drain(mux, front);
    chr_accept_input(mux->chr.base, mux);
    chr_unref(chr);
}

void chr_mux_focus(Chardev *chr, void *opaque)
{
    ChrMux *mux = (ChrMux *)chr;
    MuxFront *front = chr_is_mux(chr) ? find_front(mux, opaque) : NULL;
    if (front)
        set_focus(mux, (unsigned)(front - mux->fronts));
}

/* ---- Life ---- */

Chardev *chr_mux_create(Chardev *base, const char *id, GError **error)
{
    g_autoptr(Options) opts = options_new(base->where);
    Chardev *chr = chr_create(&chr_mux_backend, id, opts, error);
    ChrMux *mux = (ChrMux *)chr;
    if (!chr)
        return NULL;
    mux->chr.base = base;
    chr_ref(base);
    if (!chr_attach(base, &mux_handlers, mux, error)) {
        chr_close(chr);
        return NULL;
    }
    return chr;
}

static bool mux_open(Chardev *chr, const Options *opts, GError **error)
{
    return true;
}

static void mux_close(Chardev *chr)
{
    ChrMux *mux = (ChrMux *)chr;
    for (unsigned i = 0; i < MUX_FRONT_ENDS; i++) {
        g_free(mux->fronts[i].ring);
        mux->fronts[i] = (MuxFront){0};
    }
    chr_close(chr->base);
}

static void mux_describe(const Chardev *chr, GString *out)
{
    g_string_append(out, "mux");
}

static void mux_set_serial(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                           unsigned stop_bits)
{
    chr_set_serial(chr->base, baud, data_bits, parity, stop_bits);
}

static void mux_set_break(Chardev *chr, bool on)
{
    chr_set_break(chr->base, on);
}

static bool mux_get_modem(Chardev *chr, unsigned *lines)
{
    return chr_get_modem(chr->base, lines);
}

static void mux_set_modem(Chardev *chr, bool dtr, bool rts)
{
    chr_set_modem(chr->base, dtr, rts);
}

static const char *const mux_keys[] = {NULL};
const ChrBackend chr_mux_backend = {
    .name = "mux",
    .keys = mux_keys,
    .size = sizeof(ChrMux),
    .open = mux_open,
    .close = mux_close,
    .write = mux_write,
    .write_fd = mux_write_fd,
    .describe = mux_describe,
    .set_serial = mux_set_serial,
    .set_break = mux_set_break,
    .get_modem = mux_get_modem,
    .set_modem = mux_set_modem,
};
