/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of character devices, their front ends, and writing to them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "chr_private.h"
#include "util/log.h"
#include "util/timer.h"

#define WRITE_ALL_PATIENCE NS_PER_SEC

static GPtrArray *chardevs; /* of Chardev, in order of creation */

/* ---- Life ---- */

void chr_ref(Chardev *chr)
{
    chr->refs++;
}

void chr_unref(Chardev *chr)
{
    if (--chr->refs)
        return;
    if (chr->base)
        chr_unref(chr->base);
    if (chr->log_fd >= 0)
        close(chr->log_fd);
    g_free(chr->log_path);
    g_free(chr->id);
    g_free(chr->where);
    g_free(chr);
}

/* A write to a peer that is gone must be an error, not the end of the process. */
static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (!sigaction(SIGPIPE, NULL, &action) && action.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static bool open_log(Chardev *chr, const Options *opts, GError **error)
{
    bool append = false;
    const char *path = options_get(opts, "logfile");
    if (!options_get_bool(opts, "logappend", &append, error))
        return false;
    if (!path) {
        if (options_has(opts, "logappend"))
            return fail(error, "%s: logappend= needs logfile=PATH", chr->where);
        return true;
    }
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC);
    chr->log_fd = open(path, flags, 0666);
    if (chr->log_fd < 0)
        return fail_errno(error, errno, "%s: cannot open logfile '%s'", chr->where, path);
    chr->log_path = g_strdup(path);
    return true;
}

Chardev *chr_create(const ChrBackend *backend, const char *id, const Options *opts, GError **error)
{
    const char *where = options_where(opts);
    if (chr_find(id)) {
        fail(error, "%s: there is already a chardev called '%s'", where, id);
        return NULL;
    }
    ignore_sigpipe();
    Chardev *chr = g_malloc0(backend->size);
    chr->backend = backend;
    chr->id = g_strdup(id);
    chr->where = g_strdup(where);
    chr->refs = 1;
    chr->log_fd = -1;
    if (!backend->open(chr, opts, error) || !open_log(chr, opts, error)) {
        backend->close(chr);
        chr_unref(chr);
        return NULL;
    }
    if (!chardevs)
        chardevs = g_ptr_array_new();
    g_ptr_array_add(chardevs, chr);
    return chr;
}

void chr_close(Chardev *chr)
{
    if (!chr || chr->closed)
        return;
    chr->closed = true;
    chr->handlers = NULL;
    g_ptr_array_remove(chardevs, chr);
    chr->backend->close(chr);
    chr_unref(chr);
}

void chr_close_all(void)
{
    /* From the end: a mux stands behind its base and closes it itself. */
    while (chardevs && chardevs->len)
        chr_close(g_ptr_array_index(chardevs, chardevs->len - 1));
    term_leave();
}

Chardev *chr_find(const char *id)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(chardevs, i);
        if (!strcmp(chr->id, id))
            return chr;
    }
    return NULL;
}

void *chr_resolve(const char *id, GError **error)
{
    Chardev *chr = chr_find(id);
    if (!chr)
        fail(error, "there is no chardev called '%s'", id);
    return chr;
}

const char *chr_id(const Chardev *chr)
{
    return chr->id;
}

bool chr_is_mux(const Chardev *chr)
{
    return chr->backend == &chr_mux_backend;
}

void chr_foreach(void (*fn)(Chardev *chr, void *opaque), void *opaque)
{
    for (unsigned i = 0; chardevs && i < chardevs->len; i++)
        fn(g_ptr_array_index(chardevs, i), opaque);
}

/* ---- Front ends ---- */

static void update(Chardev *chr)
{
    if (!chr->closed && chr->backend->update)
        chr->backend->update(chr);
}

bool chr_attach(Chardev *chr, const ChrHandlers *handlers, void *opaque, GError **error)
{
    if (chr_is_mux(chr))
        return chr_mux_attach(chr, handlers, opaque, error);
    if (chr->handlers)
        return fail(error,
                    "chardev '%s' is already in use by another device or monitor (mux=on would "
                    "share it)",
                    chr->id);
    chr->handlers = handlers;
    chr->opaque = opaque;
    chr_ref(chr);
    if (chr->connected)
        chr_event(chr, CHR_OPENED);
    update(chr);
    chr_unref(chr);
    return true;
}

void chr_detach(Chardev *chr, void *opaque)
{
    if (chr_is_mux(chr)) {
        chr_mux_detach(chr, opaque);
    } else if (chr->handlers && chr->opaque == opaque) {
        chr->handlers = NULL;
        update(chr);
    }
}

void chr_accept_input(Chardev *chr, void *opaque)
{
    if (chr_is_mux(chr))
        chr_mux_accept_input(chr, opaque);
    else
        update(chr);
}

size_t chr_room(Chardev *chr)
{
    if (!chr->handlers || !chr->handlers->receive || !chr->handlers->can_receive)
        return 0;
    return chr->handlers->can_receive(chr->opaque);
}

bool chr_input(Chardev *chr, const uint8_t *buf, size_t length)
{
    if (!chr->closed && length && chr->handlers && chr->handlers->receive)
        chr->handlers->receive(chr->opaque, buf, length);
    return !chr->closed;
}

bool chr_event(Chardev *chr, ChrEvent event)
{
    if (!chr->closed && chr->handlers && chr->handlers->event)
        chr->handlers->event(chr->opaque, event);
    return !chr->closed;
}

bool chr_set_connected(Chardev *chr, bool connected)
{
    if (chr->connected == connected)
        return !chr->closed;
    chr->connected = connected;
    chr->gave_up = false;
    if (!connected && chr->short_write) {
        /* What the front end still holds is now dropped as fast as it offers it. */
        chr->short_write = false;
        if (!chr_event(chr, CHR_WRITABLE))
            return false;
    }
    return chr_event(chr, connected ? CHR_OPENED : CHR_CLOSED);
}

void chr_writable(Chardev *chr)
{
    chr->gave_up = false;
    if (!chr->short_write)
        return;
    chr->short_write = false;
    chr_event(chr, CHR_WRITABLE);
}

/* ---- Output ---- */

static void write_log(Chardev *chr, const uint8_t *buf, size_t length)
{
    while (chr->log_fd >= 0 && length) {
        ssize_t n = write(chr->log_fd, buf, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            report_error("%s: logfile '%s': %s; logging ends here", chr->where, chr->log_path,
                         strerror(errno));
            close(chr->log_fd);
            chr->log_fd = -1;
            return;
        }
        buf += n;
        length -= (size_t)n;
    }
}

size_t chr_write(Chardev *chr, void *opaque, const void *buf, size_t length)
{
    size_t taken = length;
    if (!length || chr->closed)
        return length;
    chr_ref(chr);
    if (chr->connected)
        taken = chr->backend->write(chr, buf, length);
    /* The peer may have gone in the middle: nobody is left to wait for. */
    if (!chr->connected)
        taken = length;
    chr->short_write = taken < length;
    if (!chr->short_write)
        chr->gave_up = false;
    write_log(chr, buf, taken);
    chr_unref(chr);
    return taken;
}

/* False when the deadline passed. */
static bool wait_writable(Chardev *chr, int64_t deadline)
{
    int fd = chr->backend->write_fd ? chr->backend->write_fd(chr) : -1;
    int64_t left = deadline - clock_now(VM_CLOCK_HOST);
    if (fd < 0 || left <= 0)
        return false;
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    int result = poll(&pfd, 1, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
    return result > 0 || (result < 0 && errno == EINTR);
}

void chr_write_all(Chardev *chr, void *opaque, const void *buf, size_t length)
{
    const uint8_t *p = buf;
    int64_t deadline = 0;

    chr_ref(chr);
    while (length && !chr->closed) {
        bool gave_up = chr->gave_up;
        size_t taken = chr_write(chr, opaque, p, length);
        p += taken;
        length -= taken;
        if (!length)
            break;
        if (taken || !deadline)
            deadline = clock_now(VM_CLOCK_HOST) + WRITE_ALL_PATIENCE;
        if (gave_up || !wait_writable(chr, deadline)) {
            chr->gave_up = true;
            break;
        }
    }
    chr_unref(chr);
}

/* ---- The rest ---- */

void chr_set_serial(Chardev *chr, unsigned baud, unsigned data_bits, char parity,
                    unsigned stop_bits)
{
    if (!chr->closed && chr->backend->set_serial)
        chr->backend->set_serial(chr, baud, data_bits, parity, stop_bits);
}

void chr_set_break(Chardev *chr, bool on)
{
    if (!chr->closed && chr->backend->set_break)
        chr->backend->set_break(chr, on);
}

bool chr_get_modem(Chardev *chr, unsigned *lines)
{
    return !chr->closed && chr->backend->get_modem && chr->backend->get_modem(chr, lines);
}

void chr_set_modem(Chardev *chr, bool dtr, bool rts)
{
    if (!chr->closed && chr->backend->set_modem)
        chr->backend->set_modem(chr, dtr, rts);
}

static void describe_one(Chardev *chr, void *opaque)
{
    GString *out = opaque;
    g_string_append_printf(out, "%s: filename=", chr->id);
    chr->backend->describe(chr, out);
    g_string_append_c(out, '\n');
}

void chr_describe_all(GString *out)
{
    chr_foreach(describe_one, out);
}
