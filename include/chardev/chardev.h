/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: byte streams between a guest's port (or a monitor) and the outside: stdio,
 * file, null, pty, unix and tcp sockets, pipe, ring buffer, virtual console, and a mux that shares
 * one back end between several front ends (Ctrl-A c switches, Ctrl-A x quits, Ctrl-A h helps).
 *
 * A Chardev belongs to the main loop; main lock held.
 */
#ifndef VMRUN_CHARDEV_CHARDEV_H
#define VMRUN_CHARDEV_CHARDEV_H

#include "util/loop.h"
#include "util/options.h"

typedef struct Chardev Chardev;

typedef enum {
    CHR_OPENED, /* a peer connected */
    CHR_CLOSED,
    CHR_BREAK,
    CHR_MUX_IN, /* this front end got the focus of the mux */
    CHR_MUX_OUT,
    CHR_WRITABLE, /* after a short chr_write(): there is room again */
} ChrEvent;

/* One front end (a UART, a monitor). */
typedef struct ChrHandlers {
    /* Bytes that the front end can take now; 0 stops reading until chr_accept_input(). */
    size_t (*can_receive)(void *opaque);
    void (*receive)(void *opaque, const uint8_t *buf, size_t length);
    void (*event)(void *opaque, ChrEvent event);
} ChrHandlers;

/*
 * Opens a chardev from QEMU's short form: "stdio", "mon:stdio" (mux), "null", "none" (returns NULL
 * without an error), "file:PATH", "pipe:PATH", "pty", "vc[:WxH]",
 * "unix:PATH[,server=on][,wait=off]", "tcp:[HOST]:PORT[,server=on][,wait=off][,nodelay=on]",
 * "telnet:...", "ringbuf", "chardev:ID", or a device path ("/dev/ttyS0").  id: its name, unique.
 * where: the option, for messages.
 */
Chardev *chr_open(const char *where, const char *spec, const char *id, GError **error);
/* From -chardev's long form: backend,id=ID,key=value... */
Chardev *chr_open_options(const Options *opts, GError **error);
void chr_close(Chardev *chr);
/* Restores the terminal too; safe at any time in normal context. */
void chr_close_all(void);
Chardev *chr_find(const char *id);
void *chr_resolve(const char *id, GError **error); /* PropResolve */
const char *chr_id(const Chardev *chr);
bool chr_is_mux(const Chardev *chr);

/* Attaches a front end; a mux takes up to 4, others one.  An error says who has it. */
bool chr_attach(Chardev *chr, const ChrHandlers *handlers, void *opaque, GError **error);
void chr_detach(Chardev *chr, void *opaque);
/* Writes; returns the bytes taken, fewer when the peer is slow (CHR_WRITABLE follows).  Without a
 * peer everything is taken and dropped. */
size_t chr_write(Chardev *chr, void *opaque, const void *buf, size_t length);
/* Writes all, waiting up to a second for a slow peer; for monitors and panics. */
void chr_write_all(Chardev *chr, void *opaque, const void *buf, size_t length);
/* The front end has room again. */
void chr_accept_input(Chardev *chr, void *opaque);
/* Line parameters of a real serial port, and modem lines; ignored elsewhere. */
void chr_set_serial(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                    unsigned stop_bits);
void chr_set_break(Chardev *chr, bool on);
/* Modem lines of a real serial port: CHR_MODEM_* bits of its inputs, and its two outputs.  False if
 * the chardev has none. */
enum { CHR_MODEM_CTS = 1, CHR_MODEM_DSR = 2, CHR_MODEM_RI = 4, CHR_MODEM_DCD = 8 };
bool chr_get_modem(Chardev *chr, unsigned *lines);
void chr_set_modem(Chardev *chr, bool dtr, bool rts);
/* stdio: Ctrl-C goes to the guest (true) or ends vmrun. */
void chr_stdio_set_signal(bool guest_gets_ctrl_c);

/* Gives a mux's input to one of its front ends; at first the first attached has it. */
void chr_mux_focus(Chardev *chr, void *opaque);
/* What a mux does on Ctrl-A x and Ctrl-A s; a NULL entry: the key says that it can not. */
typedef struct ChrMuxActions {
    void (*quit)(void *opaque);
    void (*commit)(void *opaque); /* writes -snapshot data back to the images */
} ChrMuxActions;
void chr_mux_set_actions(const ChrMuxActions *actions, void *opaque);

/* Takes up to length of the oldest bytes out of a ringbuf; false if chr is none. */
bool chr_ringbuf_read(Chardev *chr, void *buf, size_t length, size_t *taken);

/* A listener for "vc" chardevs: ui/ creates text consoles.  Returns an opaque console whose output
 * goes through write(). NULL: vc acts as null. */
typedef struct ChrVcOps {
    void *(*create)(Chardev *chr, unsigned columns, unsigned rows);
    void (*write)(void *console, const uint8_t *buf, size_t length);
    void (*destroy)(void *console);
} ChrVcOps;
void chr_set_vc_ops(const ChrVcOps *ops);
/* Input typed into a vc. */
void chr_vc_input(Chardev *chr, const uint8_t *buf, size_t length);

/* `-chardev help`: the back ends and their options. */
void chr_describe_backends(GString *out);
/* `info chardev`. */
void chr_describe_all(GString *out);

#endif
