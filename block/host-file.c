/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host files and block devices.
 *
 * Measured: a read that the page cache can answer costs less than a microsecond inline with
 * RWF_NOWAIT; whatever would wait goes to the thread pool, or with O_DIRECT to libaio if asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "aio.h"
#include "block/file.h"
#include "lock.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/threadpool.h"

#define MAX_PIECES    64 /* of a scatter list, in one system call */
#define PATIENT_BYTES (64u << 10)
#define INLINE_BYTES  (256u << 10)
#define COPY_BYTES    (1ULL << 30) /* in one system call */

typedef struct HostFile {
    BlkFile base;
    int fd;
    bool device;
    bool no_flush, patient, share_rw;
    bool in_memory; /* tmpfs: nothing waits, though it does not know RWF_NOWAIT */
    bool no_read_nowait, no_write_nowait; /* the file system does not know RWF_NOWAIT */
    bool no_punch, no_zero_range;
    bool hint_nocow;
    uint32_t hint_extent;
    Aio *aio;
    /* The last run of data or of hole that the host told, while nothing is written: it is dear to
     * find out where one ends. */
    struct {
        uint64_t start, end, written;
        bool data;
    } run;
    CoMutex flush_lock;
    uint64_t written, flushed; /* count changes; a flush without any is free */
    int flush_error;           /* a flush failed once: what was to be written may be gone */
} HostFile;

static const BlkFileOps host_file_ops;

static HostFile *host(const BlkFile *file)
{
    return container_of(file, HostFile, base);
}

/* ---- Reading and writing ---- */

typedef struct HostIo {
    HostFile *file;
    bool write;
    uint64_t offset;
    struct iovec iov[MAX_PIECES];
    int count;
} HostIo;

/* Moves all bytes of io; runs in a pool thread. */
static int host_io_run(void *opaque)
{
    HostIo *io = opaque;
    struct iovec *iov = io->iov;
    int count = io->count;
    while (count) {
        ssize_t n = io->write ? pwritev(io->file->fd, iov, count, (off_t)io->offset)
                              : preadv(io->file->fd, iov, count, (off_t)io->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (!n && io->write)
            return -ENOSPC;
        size_t done = (size_t)n;
        io->offset += done;
        while (count && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            count--;
        }
        if (count) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
        /* The end of the file; O_DIRECT tells it by a length that is none of its own. */
        if (!io->write && (!done || done & (io->file->base.align - 1))) {
            for (int i = 0; i < count; i++)
                memset(iov[i].iov_base, 0, iov[i].iov_len);
            return 0;
        }
    }
    return 0;
}

int host_file_read_anywhere(BlkFile *file, uint64_t offset, void *data, uint64_t bytes)
{
    if (file->ops != &host_file_ops || file->align > 1)
        return -ENOTSUP;
    HostIo io = {.file = host(file), .offset = offset, .iov = {{data, bytes}}, .count = 1};
    return host_io_run(&io);
}

static int host_io_submit(HostIo *io, uint64_t bytes)
{
    if (io->file->aio && co_self()) {
        int64_t n = aio_io(io->file->aio, io->file->fd, io->write, io->iov, io->count, io->offset);
        if (n == (int64_t)bytes)
            return 0;
        if (n < 0 && n != -EAGAIN)
            return (int)n;
        /* short, as at the end of a file: once more from its beginning, patiently */
    }
    /* A page cache takes a small write sooner than a thread takes the job. */
    if (io->write && io->file->patient && bytes <= PATIENT_BYTES)
        return host_io_run(io);
    return co_pool(host_io_run, io);
}

static int host_io(BlkFile *file, bool write, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    HostIo io = {.file = host(file), .write = write};
    int ret = 0;
    while (bytes && !ret) {
        uint64_t n;
        io.count = iobuf_pieces(buf, bytes, io.iov, MAX_PIECES, &n);
        io.offset = offset;
        if (!io.count)
            return -EINVAL;
        ret = host_io_submit(&io, n);
        buf = iobuf_skip(buf, n);
        offset += n;
        bytes -= n;
    }
    return ret;
}

static int host_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    return host_io(file, false, offset, buf, bytes);
}

static int host_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    int ret = host_io(file, true, offset, buf, bytes);
    host(file)->written++;
    return ret;
}

static int host_io_inline(HostFile *h, bool write, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    HostIo io = {.file = h, .write = write, .offset = offset};
    uint64_t n;
    io.count = iobuf_pieces(buf, bytes, io.iov, MAX_PIECES, &n);
    if (n != bytes)
        return -EAGAIN;
    h->written += write;
    return host_io_run(&io);
}

static int host_read_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    HostFile *h = host(file);
    struct iovec iov[MAX_PIECES];
    uint64_t total;
    if (h->patient && bytes > INLINE_BYTES)
        return -EAGAIN; /* worth a thread: the others of a tool's workers go on meanwhile */
    if (h->in_memory && h->patient)
        return host_io_inline(h, false, offset, buf, bytes);
    if (h->no_read_nowait)
        return -EAGAIN;
    int count = iobuf_pieces(buf, bytes, iov, MAX_PIECES, &total);
    if (total != bytes)
        return -EAGAIN;
    ssize_t n = preadv2(h->fd, iov, count, (off_t)offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        h->no_read_nowait = true;
    return n == (ssize_t)bytes ? 0 : -EAGAIN;
}

static int host_write_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    HostFile *h = host(file);
    struct iovec iov[MAX_PIECES];
    uint64_t total;
    if (h->patient && bytes <= PATIENT_BYTES)
        return host_io_inline(h, true, offset, buf, bytes);
    if (h->no_write_nowait)
        return -EAGAIN;
    int count = iobuf_pieces(buf, bytes, iov, MAX_PIECES, &total);
    if (total != bytes)
        return -EAGAIN;
    ssize_t n = pwritev2(h->fd, iov, count, (off_t)offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        h->no_write_nowait = true;
    if (n > 0)
        h->written++;
    return n == (ssize_t)bytes ? 0 : -EAGAIN;
}

/* ---- Flushing ---- */

static int host_flush_run(void *opaque)
{
    HostFile *h = opaque;
    return fdatasync(h->fd) ? -errno : 0;
}

/* When fdatasync() fails, the kernel drops the pages that it could not write and forgets that it
 * did: a second call would succeed without the data being there.  So the failure sticks, and only
 * one call runs at a time: of two, only one would fail.  Whoever waited may be done by then. */
static int host_flush(BlkFile *file)
{
    HostFile *h = host(file);
    uint64_t wanted = h->written;
    if (h->no_flush)
        return 0;
    co_mutex_lock(&h->flush_lock);
    uint64_t upto = h->written;
    if (!h->flush_error && h->flushed < wanted) {
        h->flush_error = co_pool(host_flush_run, h);
        if (!h->flush_error)
            h->flushed = upto;
    }
    int ret = h->flush_error;
    co_mutex_unlock(&h->flush_lock);
    return ret;
}

/* ---- Zeros, space and length ---- */

typedef struct HostFallocate {
    int fd, mode;
    uint64_t offset, bytes;
} HostFallocate;

static int host_fallocate_run(void *opaque)
{
    HostFallocate *f = opaque;
    int ret;
    do {
        ret = fallocate(f->fd, f->mode, (off_t)f->offset, (off_t)f->bytes);
    } while (ret && errno == EINTR);
    if (!ret)
        return 0;
    bool unsupported = errno == EOPNOTSUPP || errno == ENODEV || errno == ENOSYS || errno == EINVAL;
    return unsupported ? -ENOTSUP : -errno;
}

static int host_fallocate(HostFile *h, int mode, uint64_t offset, uint64_t bytes)
{
    HostFallocate f = {h->fd, mode, offset, bytes};
    int ret = co_pool(host_fallocate_run, &f);
    h->written++;
    return ret;
}

static int host_punch(HostFile *h, uint64_t offset, uint64_t bytes)
{
    if (h->no_punch)
        return -ENOTSUP;
    int ret = host_fallocate(h, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
    if (ret == -ENOTSUP)
        h->no_punch = true;
    return ret;
}

/* Punching does not extend a file.  Its length must not be set, either: a write of another thread
 * may just have made it longer than it is known to be. */
static int host_reach(HostFile *h, uint64_t end)
{
    struct stat st;
    if (h->device || h->no_punch || fstat(h->fd, &st) || (uint64_t)st.st_size >= end)
        return 0;
    return host_fallocate(h, 0, end - 1, 1);
}

static int host_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap)
{
    HostFile *h = host(file);
    if (unmap) {
        int ret = host_reach(h, offset + bytes);
        if (!ret)
            ret = host_punch(h, offset, bytes);
        if (ret != -ENOTSUP)
            return ret;
    }
    if (h->no_zero_range)
        return -ENOTSUP;
    int mode = FALLOC_FL_ZERO_RANGE | (h->device ? FALLOC_FL_KEEP_SIZE : 0);
    int ret = host_fallocate(h, mode, offset, bytes);
    if (ret == -ENOTSUP)
        h->no_zero_range = true;
    return ret;
}

static int host_reserve(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    return host_fallocate(host(file), 0, offset, bytes);
}

typedef struct HostCopy {
    int to, from;
    off_t to_offset, from_offset;
    uint64_t bytes;
} HostCopy;

static int host_copy_run(void *opaque)
{
    HostCopy *c = opaque;
    while (c->bytes) {
        ssize_t n = copy_file_range(c->from, &c->from_offset, c->to, &c->to_offset,
                                    MIN(c->bytes, COPY_BYTES), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* the end of the source: what is behind it reads as zeros */
            return n ? -errno : -ENOTSUP;
        c->bytes -= (uint64_t)n;
    }
    return 0;
}

static int host_copy_from(BlkFile *file, uint64_t offset, BlkFile *from, uint64_t from_offset,
                          uint64_t bytes)
{
    HostFile *h = host(file);
    if (from->ops != &host_file_ops)
        return -ENOTSUP;
    HostCopy copy = {h->fd, host(from)->fd, (off_t)offset, (off_t)from_offset, bytes};
    int ret = co_pool(host_copy_run, &copy);
    h->written++;
    return ret;
}

/* File systems take these marks while a file is empty only. */
static void apply_hints(const HostFile *h)
{
    int flags;
    struct fsxattr attributes;
    if (h->hint_nocow && !ioctl(h->fd, FS_IOC_GETFLAGS, &flags)) {
        flags |= FS_NOCOW_FL;
        ioctl(h->fd, FS_IOC_SETFLAGS, &flags);
    }
    if (h->hint_extent && !ioctl(h->fd, FS_IOC_FSGETXATTR, &attributes)) {
        attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attributes.fsx_extsize = h->hint_extent;
        ioctl(h->fd, FS_IOC_FSSETXATTR, &attributes);
    }
}

static int host_truncate(BlkFile *file, uint64_t size)
{
    HostFile *h = host(file);
    if (h->device)
        return size <= file->size ? 0 : -ENOSPC;
    if (ftruncate(h->fd, (off_t)size))
        return -errno;
    if (!size)
        apply_hints(h);
    h->written++;
    return 0;
}

static int host_extent(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data)
{
    HostFile *h = host(file);
    *data = true;
    if (h->device)
        return 0;
    if (h->run.written == h->written && offset >= h->run.start && offset < h->run.end) {
        *data = h->run.data;
        *bytes = MIN(*bytes, h->run.end - offset);
        return 0;
    }
    off_t start = lseek(h->fd, (off_t)offset, SEEK_DATA);
    if (start < 0 && errno != ENXIO)
        return 0; /* cannot tell */
    *data = start == (off_t)offset;
    off_t end = *data ? lseek(h->fd, (off_t)offset, SEEK_HOLE) : start;
    if (end > (off_t)offset) {
        h->run.start = offset;
        h->run.end = (uint64_t)end;
        h->run.written = h->written;
        h->run.data = *data;
        *bytes = MIN(*bytes, (uint64_t)end - offset);
    }
    return 0;
}

static void host_close(BlkFile *file)
{
    HostFile *h = host(file);
    aio_free(h->aio);
    close(h->fd);
    g_free(file->name);
    g_free(h);
}

static const BlkFileOps host_file_ops = {
    .name = "file",
    .read = host_read,
    .write = host_write,
    .read_nowait = host_read_nowait,
    .write_nowait = host_write_nowait,
    .flush = host_flush,
    .zero = host_zero,
    .truncate = host_truncate,
    .extent = host_extent,
    .reserve = host_reserve,
    .copy_from = host_copy_from,
    .close = host_close,
};

/* ---- Opening ---- */

const char *host_file_path(const char *name)
{
    return g_str_has_prefix(name, "file:") ? name + 5 : name;
}

/* The host file under filters; NULL: there is none. */
static HostFile *host_under(const BlkFile *file)
{
    while (file->below)
        file = file->below;
    return file->ops == &host_file_ops ? host(file) : NULL;
}

bool host_file_identity(const BlkFile *file, uint64_t *device, uint64_t *inode)
{
    const HostFile *h = host_under(file);
    struct stat st;
    if (!h || fstat(h->fd, &st))
        return false;
    *device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    *inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
    return true;
}

bool host_file_is_same(const BlkFile *a, const BlkFile *b)
{
    uint64_t device, inode, other_device, other_inode;
    return host_file_identity(a, &device, &inode) &&
           host_file_identity(b, &other_device, &other_inode) && device == other_device &&
           inode == other_inode;
}

void host_file_hint(BlkFile *file, bool nocow, uint32_t extent_bytes)
{
    HostFile *h = host_under(file);
    if (!h || h->device)
        return;
    h->hint_nocow = nocow;
    h->hint_extent = extent_bytes;
    if (!file->size)
        apply_hints(h);
}

int64_t host_file_allocated(const BlkFile *file)
{
    const HostFile *h = host_under(file);
    struct stat st;
    if (!h || fstat(h->fd, &st))
        return -1;
    return (int64_t)st.st_blocks * 512;
}

bool host_file_relock(BlkFile *file, bool writable, bool drop, GError **error)
{
    const HostFile *h = host_under(file);
    if (!h)
        return true;
    image_unlock(h->fd);
    return drop || image_lock(h->fd, file->name, writable, h->share_rw, error);
}

/* The smallest unit that an O_DIRECT read accepts; the device does not always tell. */
static unsigned probe_alignment(int fd)
{
    void *memory = block_alloc(4096);
    unsigned align = 512;
    if (memory)
        while (align < 4096 && pread(fd, (char *)memory + (align & 4095), align, align) < 0 &&
               errno == EINVAL)
            align *= 2;
    free(memory);
    return align;
}

/* Looks what fd is; sets size, device and alignment. */
static bool host_file_inspect(HostFile *h, bool direct, GError **error)
{
    BlkFile *file = &h->base;
    struct stat st;
    if (fstat(h->fd, &st))
        return fail_errno(error, errno, "cannot examine '%s'", file->name);
    if (S_ISDIR(st.st_mode))
        return fail(error, "'%s' is a directory, not a disk image", file->name);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(error, "'%s' is neither a file nor a block device", file->name);
    struct statfs fs;
    h->device = S_ISBLK(st.st_mode);
    h->in_memory = !h->device && !fstatfs(h->fd, &fs) && fs.f_type == TMPFS_MAGIC;
    file->size = (uint64_t)st.st_size;
    file->sparse = !h->device;
    file->fixed = h->device;
    file->align = direct ? probe_alignment(h->fd) : 1;
    if (h->device && ioctl(h->fd, BLKGETSIZE64, &file->size))
        return fail_errno(error, errno, "cannot tell the size of '%s'", file->name);
    return true;
}

/* A file that may not grow (ulimit -f) is an error of the request, not the end of the program. */
static void survive_file_limit(void)
{
    struct sigaction old;
    if (!sigaction(SIGXFSZ, NULL, &old) && old.sa_handler == SIG_DFL)
        signal(SIGXFSZ, SIG_IGN);
}

static HostFile *host_file_new(CoSched *sched, const char *path, int fd, bool writable)
{
    HostFile *h = g_new0(HostFile, 1);
    survive_file_limit();
    h->base = (BlkFile){.ops = &host_file_ops,
                        .sched = sched,
                        .name = g_strdup(path),
                        .readonly = !writable,
                        .align = 1};
    h->fd = fd;
    return h;
}

/* Opening a FIFO or a tape would wait; O_NONBLOCK means nothing to files and disks. */
static int open_path(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

BlkFile *host_file_open(CoSched *sched, const char *name, HostFileMode mode, GError **error)
{
    const char *path = host_file_path(name);
    if (mode.native && !mode.direct) {
        fail(error, "'%s': aio=native needs cache=none or cache=directsync", path);
        return NULL;
    }
    int fd = open_path(path, (mode.writable ? O_RDWR : O_RDONLY) | (mode.direct ? O_DIRECT : 0));
    if (fd < 0) {
        if (errno == EINVAL && mode.direct)
            fail(error,
                 "Could not open '%s': its file system has no O_DIRECT; use another cache mode",
                 path);
        else
            fail_errno(error, errno, "Could not open '%s'", path);
        return NULL;
    }
    HostFile *h = host_file_new(sched, path, fd, mode.writable);
    h->no_flush = mode.no_flush;
    h->share_rw = mode.share_rw;
    h->patient = mode.patient && !mode.direct;
    bool ok =
        host_file_inspect(h, mode.direct, error) &&
        (mode.share || mode.no_lock || image_lock(fd, path, mode.writable, mode.share_rw, error));
    if (ok && mode.native) {
        h->aio = aio_new(sched, mode.native_asked ? error : NULL);
        ok = h->aio || !mode.native_asked;
    }
    if (ok)
        return &h->base;
    host_close(&h->base);
    return NULL;
}

BlkFile *host_file_create(CoSched *sched, const char *name, GError **error)
{
    const char *path = host_file_path(name);
    int fd = open_path(path, O_RDWR | O_CREAT);
    if (fd < 0) {
        fail_errno(error, errno, "Could not create '%s'", path);
        return NULL;
    }
    HostFile *h = host_file_new(sched, path, fd, true);
    if (host_file_inspect(h, false, error) && image_lock(fd, path, true, false, error))
        return &h->base;
    host_close(&h->base);
    return NULL;
}

BlkFile *host_file_temporary(CoSched *sched, GError **error)
{
    const char *dir = g_getenv("TMPDIR");
    dir = dir && *dir ? dir : "/var/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        g_autofree char *path = g_build_filename(dir, "vmrun.XXXXXX", NULL);
        fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0) {
            fail_errno(error, errno, "cannot create a temporary file in '%s' (TMPDIR)", dir);
            return NULL;
        }
        unlink(path);
    }
    HostFile *h = host_file_new(sched, "(temporary)", fd, true);
    h->base.sparse = true;
    return &h->base;
}
