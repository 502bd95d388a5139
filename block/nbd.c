/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NBD disks: requests, completions, and connecting anew. */
#include "nbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd-lib.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "util/threadpool.h"
#include "util/timer.h"

#define PIECE_BYTES     (2u << 20)  /* of one request; servers take at least 32 MiB */
#define ZERO_BYTES      (32u << 20) /* some servers write them out */
#define STATUS_BYTES    (1u << 30)
#define CONNECT_NS      (10 * NS_PER_SEC)
#define REPLY_NS        (60 * NS_PER_SEC)  /* a server that is silent for so long is dead */
#define FLUSH_NS        (600 * NS_PER_SEC) /* unless it has a cache to write back */
#define RETRY_NS        NS_PER_SEC         /* between attempts to connect */
#define CONTEXT         "base:allocation"
#define MAX_ALIGN_BYTES 4096

typedef struct NbdFile {
    BlkFile base;
    const NbdLib *lib;
    struct nbd_handle *handle; /* NULL: not connected */
    LoopFd *watch;
    char *uri;
    struct NbdCall *calls; /* under way */
    Timer timeout;
    int64_t heard; /* when the server last answered, or was asked while nothing was under way */
    bool connecting;
    CoQueue waiting; /* for the connection */
    int64_t last_attempt;
    bool no_zero, no_trim, no_flush, no_status;
    CoMutex flush_lock;        /* of two flushes at once, a server may let only one fail */
    uint64_t written, flushed; /* count changes, as of a host file */
    int flush_error;
} NbdFile;

typedef struct NbdCall {
    int64_t cookie;
    bool flush;
    int ret;
    bool done;
    Coroutine *waiter;
    struct NbdCall *next;
} NbdCall;

static NbdFile *nbd(const BlkFile *file)
{
    return container_of(file, NbdFile, base);
}

static int64_t now(void)
{
    return clock_now(VM_CLOCK_HOST);
}

/* ---- Connecting ---- */

typedef struct Connection {
    const NbdLib *lib;
    const char *uri;
    struct nbd_handle *handle;
    char *reason;
} Connection;

static bool is_gone(const NbdLib *lib, struct nbd_handle *handle)
{
    return lib->aio_is_dead(handle) || lib->aio_is_closed(handle);
}

/* In a pool thread: names are resolved and options negotiated, which may take as long as it likes
 * up to the limit. */
static int connect_run(void *opaque)
{
    Connection *c = opaque;
    const NbdLib *lib = c->lib;
    int64_t end = now() + CONNECT_NS;
    c->handle = lib->create();
    bool ok = c->handle && !lib->set_uri_allow_local_file(c->handle, false) &&
              !lib->add_meta_context(c->handle, CONTEXT) &&
              !lib->aio_connect_uri(c->handle, c->uri);
    while (ok && !lib->aio_is_ready(c->handle)) {
        int64_t left = (end - now()) / NS_PER_MS;
        if (left <= 0) {
            c->reason = g_strdup("the server does not answer");
            ok = false;
        } else {
            ok = lib->poll(c->handle, (int)MIN(left, 1000)) >= 0 && !is_gone(lib, c->handle);
        }
    }
    if (ok)
        return 0;
    if (!c->reason)
        c->reason = g_strdup(lib->get_error());
    lib->close(c->handle);
    c->handle = NULL;
    return -EIO;
}

static void on_event(void *opaque, int fd, unsigned revents);

static unsigned wanted_events(const NbdFile *n)
{
    unsigned direction = n->lib->aio_get_direction(n->handle);
    return (direction & LIBNBD_AIO_DIRECTION_READ ? LOOP_IN : 0) |
           (direction & LIBNBD_AIO_DIRECTION_WRITE ? LOOP_OUT : 0);
}

static void adopt(NbdFile *n, struct nbd_handle *handle)
{
    const NbdLib *lib = n->lib;
    n->handle = handle;
    n->no_zero = lib->can_zero(handle) <= 0;
    n->no_trim = lib->can_trim(handle) <= 0;
    n->no_flush = lib->can_flush(handle) <= 0;
    n->no_status = lib->can_meta_context(handle, CONTEXT) <= 0;
    n->watch = loop_fd_add(co_sched_loop(n->base.sched), lib->aio_get_fd(handle), wanted_events(n),
                           on_event, n);
}

static void drop(NbdFile *n)
{
    loop_fd_remove(n->watch);
    n->watch = NULL;
    if (n->handle)
        n->lib->close(n->handle);
    n->handle = NULL;
    if (n->written != n->flushed && !n->flush_error) {
        report_warn("'%s': the connection is lost, and what was written last may be, too",
                    n->base.name);
        n->flush_error = -EIO;
    }
}

static int reconnect(NbdFile *n)
{
    Connection c = {.lib = n->lib, .uri = n->uri};
    if (n->last_attempt && now() - n->last_attempt < RETRY_NS)
        return -EIO;
    n->connecting = true;
    int ret = co_pool(connect_run, &c);
    n->connecting = false;
    n->last_attempt = now();
    g_free(c.reason);
    if (!ret && (uint64_t)n->lib->get_size(c.handle) != n->base.size) {
        report_warn("'%s': the server has a disk of another size now", n->base.name);
        n->lib->close(c.handle);
        ret = -EIO;
    }
    if (!ret)
        adopt(n, c.handle);
    co_queue_wake_all(&n->waiting);
    return ret;
}

static int ensure_connected(NbdFile *n)
{
    while (n->connecting)
        co_queue_wait(&n->waiting);
    if (n->handle && is_gone(n->lib, n->handle) && !n->calls)
        drop(n);
    return n->handle ? 0 : reconnect(n);
}

/* ---- Completion ---- */

static void finish(NbdCall *call, int ret)
{
    call->ret = ret;
    call->done = true;
    if (call->waiter)
        co_wake(call->waiter);
}

static int error_of(const NbdLib *lib)
{
    int error = lib->get_errno();
    return error == ENOSPC || error == EPERM || error == EINVAL || error == ENOMEM ||
                   error == ENOTSUP
               ? -error
               : -EIO;
}

/* When a silent server is given up.  One that flushes may leave everything else waiting, too. */
static int64_t deadline(const NbdFile *n)
{
    bool flush = false;
    for (const NbdCall *call = n->calls; call; call = call->next)
        flush |= call->flush;
    return n->heard + (flush ? FLUSH_NS : REPLY_NS);
}

static void arm_timeout(NbdFile *n)
{
    if (n->calls)
        timer_arm(&n->timeout, deadline(n));
    else
        timer_cancel(&n->timeout);
}

/* Ends what the server has answered, or everything if it is gone. */
static void retire(NbdFile *n)
{
    bool gone = is_gone(n->lib, n->handle);
    for (NbdCall **link = &n->calls; *link;) {
        NbdCall *call = *link;
        int state = n->lib->aio_command_completed(n->handle, (uint64_t)call->cookie);
        if (!state && !gone) {
            link = &call->next;
            continue;
        }
        *link = call->next;
        n->heard = now();
        finish(call, state > 0 ? 0 : gone ? -EIO : error_of(n->lib));
    }
    arm_timeout(n);
    if (gone)
        drop(n);
    else
        loop_fd_set(n->watch, wanted_events(n));
}

static void on_event(void *opaque, int fd, unsigned revents)
{
    NbdFile *n = opaque;
    unsigned direction = n->lib->aio_get_direction(n->handle);
    bool in = revents & (LOOP_IN | LOOP_ERR | LOOP_HUP);
    if (in && direction & LIBNBD_AIO_DIRECTION_READ)
        n->lib->aio_notify_read(n->handle);
    else if (revents & (LOOP_OUT | LOOP_ERR | LOOP_HUP) && direction & LIBNBD_AIO_DIRECTION_WRITE)
        n->lib->aio_notify_write(n->handle);
    retire(n);
}

static void on_timeout(void *opaque)
{
    NbdFile *n = opaque;
    report_warn("'%s': the server is silent; the connection is given up", n->base.name);
    while (n->calls) {
        NbdCall *call = n->calls;
        n->calls = call->next;
        finish(call, -EIO);
    }
    drop(n);
}

/* ---- Requests ---- */

typedef enum { NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_ZERO, NBD_STATUS } NbdKind;

typedef struct NbdRequest {
    NbdKind kind;
    uint64_t offset, bytes;
    void *data;
    uint32_t flags;
    /* STATUS: the first run */
    uint32_t run_bytes, run_flags;
} NbdRequest;

static int take_status(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                       size_t count, int *error)
{
    NbdRequest *r = opaque;
    if (!strcmp(context, CONTEXT) && count >= 2 && offset == r->offset) {
        r->run_bytes = entries[0];
        r->run_flags = entries[1];
    }
    return 0;
}

static int64_t start(NbdFile *n, NbdRequest *r)
{
    const NbdLib *lib = n->lib;
    nbd_completion_callback none = NBD_NULL_COMPLETION;
    nbd_extent_callback status = {.callback = take_status, .user_data = r};
    switch (r->kind) {
    case NBD_READ:
        return lib->aio_pread(n->handle, r->data, r->bytes, r->offset, none, 0);
    case NBD_WRITE:
        return lib->aio_pwrite(n->handle, r->data, r->bytes, r->offset, none, 0);
    case NBD_FLUSH:
        return lib->aio_flush(n->handle, none, 0);
    case NBD_TRIM:
        return lib->aio_trim(n->handle, r->bytes, r->offset, none, 0);
    case NBD_ZERO:
        return lib->aio_zero(n->handle, r->bytes, r->offset, none, r->flags);
    default:
        return lib->aio_block_status(n->handle, r->bytes, r->offset, status, none,
                                     LIBNBD_CMD_FLAG_REQ_ONE);
    }
}

/* Outside a coroutine nothing else runs: the socket is served right here. */
static void wait_here(NbdFile *n, const NbdCall *call)
{
    while (!call->done) {
        if (now() >= deadline(n)) {
            on_timeout(n);
            return;
        }
        n->lib->poll(n->handle, 1000);
        retire(n);
    }
}

static int run(NbdFile *n, NbdRequest *r)
{
    int ret = ensure_connected(n);
    if (ret)
        return ret;
    NbdCall call = {.flush = r->kind == NBD_FLUSH};
    call.cookie = start(n, r);
    if (call.cookie < 0) {
        ret = error_of(n->lib);
        if (is_gone(n->lib, n->handle))
            retire(n);
        return ret;
    }
    if (!n->calls)
        n->heard = now();
    call.next = n->calls;
    n->calls = &call;
    retire(n);
    if (!call.done && co_self()) {
        call.waiter = co_self();
        co_yield ();
    } else {
        wait_here(n, &call);
    }
    return call.ret;
}

/* ---- The byte store ---- */

/* One piece at a time through a buffer of its own, unless the caller's is in one piece. */
static int move(NbdFile *n, NbdKind kind, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    uint8_t *bounce = NULL;
    int ret = 0;
    while (bytes && !ret) {
        struct iovec piece;
        uint64_t length, want = MIN(bytes, PIECE_BYTES);
        int pieces = iobuf_pieces(buf, want, &piece, 1, &length);
        bool direct = pieces == 1 && length == want;
        if (!direct && !bounce && !(bounce = block_alloc(want)))
            return -ENOMEM;
        NbdRequest r = {kind, offset, want, direct ? piece.iov_base : bounce, 0, 0, 0};
        if (!direct && kind == NBD_WRITE)
            iobuf_copy_in(buf, bounce, want);
        ret = run(n, &r);
        if (!ret && !direct && kind == NBD_READ)
            iobuf_copy_out(buf, bounce, want);
        buf = iobuf_skip(buf, want);
        offset += want;
        bytes -= want;
    }
    free(bounce);
    return ret;
}

/* What lies past the end of the disk reads as zeros. */
static int store_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    uint64_t inside = offset < file->size ? MIN(bytes, file->size - offset) : 0;
    iobuf_zero(iobuf_skip(buf, inside), bytes - inside);
    return inside ? move(nbd(file), NBD_READ, offset, buf, inside) : 0;
}

static int store_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    NbdFile *n = nbd(file);
    int ret = move(n, NBD_WRITE, offset, buf, bytes);
    n->written++;
    return ret;
}

static int store_flush(BlkFile *file)
{
    NbdFile *n = nbd(file);
    NbdRequest r = {.kind = NBD_FLUSH};
    uint64_t wanted = n->written;
    co_mutex_lock(&n->flush_lock);
    uint64_t upto = n->written;
    if (!n->flush_error && !n->no_flush && n->flushed < wanted) {
        int ret = run(n, &r);
        if (ret)
            n->flush_error = ret; /* what was to be written may be gone */
        else
            n->flushed = upto;
    }
    int ret = n->flush_error;
    co_mutex_unlock(&n->flush_lock);
    return ret;
}

static int store_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap)
{
    NbdFile *n = nbd(file);
    int ret = 0;
    if (n->no_zero)
        return -ENOTSUP;
    while (bytes && !ret) {
        NbdRequest r = {.kind = NBD_ZERO,
                        .offset = offset,
                        .bytes = MIN(bytes, ZERO_BYTES),
                        .flags = unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE};
        ret = run(n, &r);
        offset += r.bytes;
        bytes -= r.bytes;
    }
    n->written++;
    return ret;
}

static int store_truncate(BlkFile *file, uint64_t size)
{
    return size <= file->size ? 0 : -ENOSPC;
}

static int store_extent(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data)
{
    NbdFile *n = nbd(file);
    NbdRequest r = {.kind = NBD_STATUS, .offset = offset, .bytes = MIN(*bytes, STATUS_BYTES)};
    *data = true;
    if (n->no_status || run(n, &r) || !r.run_bytes)
        return 0; /* cannot tell */
    *data = !(r.run_flags & LIBNBD_STATE_ZERO);
    *bytes = MIN(*bytes, r.run_bytes);
    return 0;
}

static void nbd_close_file(BlkFile *file)
{
    NbdFile *n = nbd(file);
    timer_cancel(&n->timeout);
    if (n->handle && !is_gone(n->lib, n->handle))
        n->lib->aio_disconnect(n->handle, 0);
    n->flushed = n->written; /* whoever closes has flushed, or does not care */
    drop(n);
    g_free(n->uri);
    g_free(file->name);
    g_free(n);
}

static const BlkFileOps nbd_ops = {
    .name = "nbd",
    .read = store_read,
    .write = store_write,
    .flush = store_flush,
    .zero = store_zero,
    .truncate = store_truncate,
    .extent = store_extent,
    .close = nbd_close_file,
};

static bool describe(NbdFile *n, bool writable, GError **error)
{
    BlkFile *file = &n->base;
    int64_t size = n->lib->get_size(n->handle);
    int64_t align = n->lib->get_block_size(n->handle, LIBNBD_SIZE_MINIMUM);
    if (size < 0)
        return fail(error, "'%s': the server does not tell the disk's size", file->name);
    if (writable && n->lib->is_read_only(n->handle) > 0)
        return fail(error, "'%s': the server lets nobody write it; open it read-only", file->name);
    if (align > 1 && (!is_pow2((uint64_t)align) || align > MAX_ALIGN_BYTES))
        return fail(error, "'%s': the server wants blocks of %" G_GINT64_FORMAT " bytes",
                    file->name, align);
    file->size = (uint64_t)size;
    file->align = align > 1 ? (unsigned)align : 1;
    file->readonly = !writable;
    file->fixed = true;
    return true;
}

BlkFile *nbd_open(CoSched *sched, const char *name, bool writable, GError **error)
{
    const NbdLib *lib = nbd_lib(error);
    g_autofree char *uri = lib ? nbd_uri(name, error) : NULL;
    if (!uri)
        return NULL;
    Connection c = {.lib = lib, .uri = uri};
    if (co_pool(connect_run, &c)) {
        fail(error, "cannot connect to '%s': %s", name, c.reason);
        g_free(c.reason);
        return NULL;
    }
    NbdFile *n = g_new0(NbdFile, 1);
    n->base = (BlkFile){.ops = &nbd_ops, .sched = sched, .name = g_strdup(name), .align = 1};
    n->lib = lib;
    n->uri = g_steal_pointer(&uri);
    timer_init(&n->timeout, co_sched_loop(sched), VM_CLOCK_HOST, on_timeout, n);
    adopt(n, c.handle);
    if (describe(n, writable, error))
        return &n->base;
    nbd_close_file(&n->base);
    return NULL;
}
