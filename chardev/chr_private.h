/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the back ends of chardev/ share.
 *
 * chardev.c keeps the list, the front end and the rules of writing; a back end is a const
 * ChrBackend record; most of them stand on a ChrStream, a pair of non-blocking file descriptors.
 * Nothing here queues output: what the peer does not take stays with the front end, which hears
 * CHR_WRITABLE later, so no peer can make the process grow.
 */
#ifndef VMRUN_CHARDEV_CHR_PRIVATE_H
#define VMRUN_CHARDEV_CHR_PRIVATE_H

#include "chardev/chardev.h"
#include "util/error.h"

typedef struct ChrBackend ChrBackend;

struct Chardev {
    const ChrBackend *backend;
    char *id;
    char *where;                 /* "-serial tcp::4444,server=on", for messages */
    const ChrHandlers *handlers; /* of the front end; NULL: none is attached */
    void *opaque;
    bool connected;   /* somebody is at the other end: else output is dropped */
    bool short_write; /* a front end waits for CHR_WRITABLE */
    bool gave_up;     /* chr_write_all() waited in vain: it does not wait again before that */
    bool closed;
    unsigned refs; /* the list holds one, each running callback another */
    int log_fd;    /* -1: no logfile */
    char *log_path;
    Chardev *base; /* of a mux: what it shares; it holds a reference as long as it lives */
};

/* A back end.  Entries are mandatory unless marked. */
struct ChrBackend {
    const char *name;        /* as in -chardev NAME,... */
    const char *alias;       /* QEMU's other name, or NULL */
    const char *const *keys; /* beside the common ones; NULL-terminated */
    size_t size;             /* of the struct that begins with a Chardev */
    bool (*open)(Chardev *chr, const Options *opts, GError **error);
    /* Also after an open() that failed half-way. */
    void (*close)(Chardev *chr);
    /* Bytes taken; not called without a peer.  After fewer than length it will call
     * chr_writable(). */
    size_t (*write)(Chardev *chr, const uint8_t *buf, size_t length);
    /* The front end came, went or has room: start or stop reading.  May be NULL. */
    void (*update)(Chardev *chr);
    /* What poll(POLLOUT) waits on while write() is short; -1: nothing.  May be NULL. */
    int (*write_fd)(Chardev *chr);
    void (*describe)(const Chardev *chr, GString *out);
    /* The following may be NULL. */
    void (*set_serial)(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                       unsigned stop_bits);
    void (*set_break)(Chardev *chr, bool on);
    bool (*get_modem)(Chardev *chr, unsigned *lines);
    void (*set_modem)(Chardev *chr, bool dtr, bool rts);
};

extern const ChrBackend chr_null_backend, chr_stdio_backend, chr_file_backend, chr_pipe_backend,
    chr_pty_backend, chr_serial_backend, chr_socket_backend, chr_ringbuf_backend, chr_vc_backend,
    chr_mux_backend;

/* ---- chardev.c: for back ends ---- */

/* Makes a chardev of backend and opens it; the id must be free. */
Chardev *chr_create(const ChrBackend *backend, const char *id, const Options *opts, GError **error);
/* Bytes that the front end takes now; 0 without one. */
size_t chr_room(Chardev *chr);
/* Hands input to the front end; length is at most chr_room().  False: the chardev was closed
 * meanwhile and only the caller's reference keeps it. */
bool chr_input(Chardev *chr, const uint8_t *buf, size_t length);
bool chr_event(Chardev *chr, ChrEvent event);
/* The peer came or went; tells the front end if that is news. */
bool chr_set_connected(Chardev *chr, bool connected);
/* After a short write: there is room again. */
void chr_writable(Chardev *chr);
void chr_ref(Chardev *chr);
void chr_unref(Chardev *chr);
/* All chardevs in order of creation, with fn's opaque. */
void chr_foreach(void (*fn)(Chardev *chr, void *opaque), void *opaque);

/* ---- mux.c ---- */
Chardev *chr_mux_create(Chardev *base, const char *id, GError **error);
bool chr_mux_attach(Chardev *chr, const ChrHandlers *handlers, void *opaque, GError **error);
void chr_mux_detach(Chardev *chr, void *opaque);
void chr_mux_accept_input(Chardev *chr, void *opaque);

/* ---- telnet.c ---- */

typedef struct Telnet {
    enum { TELNET_DATA, TELNET_IAC, TELNET_OPTION, TELNET_SB, TELNET_SB_IAC } state;
    uint8_t verb;     /* WILL, WONT, DO or DONT, whose option comes next */
    bool peer_binary; /* the peer sends eight bits clean */
    bool after_cr;
    uint8_t pending[32]; /* our own bytes that must go out before any data */
    size_t pending_length;
} Telnet;

typedef struct ChrStream ChrStream;
/* A fresh connection; a server offers its options. */
void telnet_start(Telnet *telnet, bool server);
/* Takes the commands out of buf; returns the length of the data left.  *breaks counts BREAKs. */
size_t telnet_input(Telnet *telnet, uint8_t *buf, size_t length, unsigned *breaks);
/* As stream_write(), with IAC doubled. */
size_t telnet_write(Telnet *telnet, ChrStream *stream, const uint8_t *buf, size_t length);
/* Sends replies, as far as the peer takes them. */
bool telnet_flush(Telnet *telnet, ChrStream *stream);

/* ---- stream.c ---- */

/* A non-blocking pair of descriptors; in and out may be the same, or -1. */
struct ChrStream {
    Chardev *chr;
    int in, out;
    LoopFd *in_watch, *out_watch;
    bool in_ended; /* end of input: nothing more to read */
    /* Optional: turns raw input into data in place, returns its length (telnet). */
    size_t (*filter)(Chardev *chr, uint8_t *buf, size_t length);
    /* The input ended, or with `output` the output broke.  errnum: why, 0: a plain end. */
    void (*ended)(Chardev *chr, bool output, int errnum);
    /* Optional: the peer hung up while the front end takes no input; what it sent is unread. */
    void (*peer_gone)(Chardev *chr);
};

void stream_init(ChrStream *stream, Chardev *chr,
                 void (*ended)(Chardev *chr, bool output, int errnum));
/* Starts on open non-blocking descriptors, which the stream then owns. */
void stream_start(ChrStream *stream, int in, int out);
/* Stops watching and closes. Idempotent. */
void stream_stop(ChrStream *stream);
static inline bool stream_running(const ChrStream *stream)
{
    return stream->in >= 0 || stream->out >= 0;
}
void stream_update(ChrStream *stream);
size_t stream_write(ChrStream *stream, const uint8_t *buf, size_t length);
/* Tells when out is writable, after a short write. */
void stream_want_write(ChrStream *stream);

void set_nonblocking(int fd);
/* Waits for events while Ctrl-C and kill end the process as if vmrun had no handlers (it has not
 * started yet, so there is nothing to lose). */
void wait_killable(int fd, short events);

/* ---- term.c ---- */

/* Puts the terminal behind fd, if it is one, into raw mode until term_leave(). */
void term_enter(int fd, bool guest_gets_ctrl_c);
void term_set_signal(bool guest_gets_ctrl_c);
void term_leave(void);
/* Ends the process as signo's default does, the terminal restored.  Async-signal-safe. */
void term_fatal_signal(int signo);

#endif
