/* SPDX-License-Identifier: GPL-2.0-or-later */
/* null, file and pipe back ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chr_private.h"
#include "util/log.h"

/* ---- null ---- */

static const char *const no_keys[] = {NULL};

/* Never connected, so that all output is dropped; the log still gets it. */
static bool null_open(Chardev *chr, const Options *opts, GError **error)
{
    return true;
}

static void null_close(Chardev *chr)
{
}

static size_t null_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    return length;
}

static void null_describe(const Chardev *chr, GString *out)
{
    g_string_append(out, "null");
}

const ChrBackend chr_null_backend = {
    .name = "null",
    .keys = no_keys,
    .size = sizeof(Chardev),
    .open = null_open,
    .close = null_close,
    .write = null_write,
    .describe = null_describe,
};

/* ---- file and pipe: a stream on paths ---- */

typedef struct ChrFile {
    Chardev chr;
    ChrStream stream;
    char *path;
    int reader; /* pipe: our own reading end of the output, -1: none */
} ChrFile;

static void file_ended(Chardev *chr, bool output, int errnum)
{
    ChrFile *f = (ChrFile *)chr;
    if (!output)
        return;
    report_error("%s: writing '%s': %s; further output is dropped", chr->where, f->path,
                 strerror(errnum));
    chr_set_connected(chr, false);
}

static bool need_path(ChrFile *f, const Options *opts, GError **error)
{
    const char *path = options_get(opts, "path");
    f->reader = -1;
    stream_init(&f->stream, &f->chr, file_ended);
    if (!path || !*path)
        return fail(error, "%s: path=PATH is missing", f->chr.where);
    f->path = g_strdup(path);
    return true;
}

static bool file_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrFile *f = (ChrFile *)chr;
    bool append = false;
    int in = -1;

    if (!need_path(f, opts, error) || !options_get_bool(opts, "append", &append, error))
        return false;
    /* O_NONBLOCK: a FIFO without a reader must not hold up the start. */
    int flags = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int out = open(f->path, flags | (append ? O_APPEND : O_TRUNC), 0666);
    if (out < 0 && errno == ENXIO)
        return fail(error, "%s: nobody reads the FIFO '%s'; use the pipe back end", chr->where,
                    f->path);
    if (out < 0)
        return fail_errno(error, errno, "%s: cannot open '%s'", chr->where, f->path);
    const char *in_path = options_get(opts, "input-path");
    if (in_path) {
        in = open(in_path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (in < 0) {
            fail_errno(error, errno, "%s: cannot open input-path '%s'", chr->where, in_path);
            close(out);
            return false;
        }
    }
    stream_start(&f->stream, in, out);
    chr->connected = true;
    return true;
}

static void file_close(Chardev *chr)
{
    ChrFile *f = (ChrFile *)chr;
    stream_stop(&f->stream);
    if (f->reader >= 0)
        close(f->reader);
    f->reader = -1;
    g_clear_pointer(&f->path, g_free);
}

static size_t file_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    return stream_write(&((ChrFile *)chr)->stream, buf, length);
}

static void file_update(Chardev *chr)
{
    stream_update(&((ChrFile *)chr)->stream);
}

static int file_write_fd(Chardev *chr)
{
    return ((ChrFile *)chr)->stream.out;
}

static void file_describe(const Chardev *chr, GString *out)
{
    g_string_append_printf(out, "%s:%s", chr->backend->name, ((const ChrFile *)chr)->path);
}

static const char *const file_keys[] = {"path", "append", "input-path", NULL};
const ChrBackend chr_file_backend = {
    .name = "file",
    .keys = file_keys,
    .size = sizeof(ChrFile),
    .open = file_open,
    .close = file_close,
    .write = file_write,
    .update = file_update,
    .write_fd = file_write_fd,
    .describe = file_describe,
};

/* ---- pipe ---- */

/*
 * PATH.in (what the guest reads) and PATH.out, or PATH both ways.  We keep the far end of each open
 * too: input then never ends when one writer leaves, and output waits in the pipe for a reader that
 * is still to come, up to what the kernel holds (64 KiB).
 */
static int open_fifo(const char *path, int mode)
{
    return open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static bool pipe_open(Chardev *chr, const Options *opts, GError **error)
{
    ChrFile *f = (ChrFile *)chr;
    if (!need_path(f, opts, error))
        return false;
    g_autofree char *in_path = g_strconcat(f->path, ".in", NULL);
    g_autofree char *out_path = g_strconcat(f->path, ".out", NULL);
    int in = open_fifo(in_path, O_RDWR);
    if (in < 0 && errno == ENOENT) {
        int both = open_fifo(f->path, O_RDWR);
        if (both < 0)
            return fail_errno(error, errno, "%s: cannot open '%s' (nor '%s' and '%s')", chr->where,
                              f->path, in_path, out_path);
        stream_start(&f->stream, both, both);
        chr->connected = true;
        return true;
    }
    if (in < 0)
        return fail_errno(error, errno, "%s: cannot open '%s'", chr->where, in_path);
    f->reader = open_fifo(out_path, O_RDONLY);
    int out = f->reader < 0 ? -1 : open_fifo(out_path, O_WRONLY);
    if (out < 0) {
        fail_errno(error, errno, "%s: cannot open '%s'", chr->where, out_path);
        close(in);
        return false;
    }
    stream_start(&f->stream, in, out);
    chr->connected = true;
    return true;
}

/* The pipe is full.  Whether anybody but us reads it shows when our own reading end is away. */
static bool pipe_has_reader(ChrFile *f)
{
    g_autofree char *again = g_strdup_printf("/proc/self/fd/%d", f->stream.out);
    struct pollfd pfd = {.fd = f->stream.out};
    close(f->reader);
    bool read_by_others = poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLERR);
    f->reader = open_fifo(again, O_RDONLY);
    return read_by_others;
}

static size_t pipe_write(Chardev *chr, const uint8_t *buf, size_t length)
{
    ChrFile *f = (ChrFile *)chr;
    size_t taken = stream_write(&f->stream, buf, length);
    if (taken < length && f->reader >= 0 && !pipe_has_reader(f))
        return length;
    return taken;
}

static const char *const pipe_keys[] = {"path", NULL};
const ChrBackend chr_pipe_backend = {
    .name = "pipe",
    .keys = pipe_keys,
    .size = sizeof(ChrFile),
    .open = pipe_open,
    .close = file_close,
    .write = pipe_write,
    .update = file_update,
    .write_fd = file_write_fd,
    .describe = file_describe,
};
