/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Byte stores below the image formats: a host file or block device, or whatever a test puts there
 * (a memory file that fails on demand, a recorder of writes).
 *
 * Calls come from a coroutine, or from plain code while nothing else uses the image (opening,
 * closing, tools); then they simply block.  Lock of the scheduler's loop held.  Results are 0 or a
 * negative errno; a write that failed may have been done in part.
 */
#ifndef VMRUN_BLOCK_FILE_H
#define VMRUN_BLOCK_FILE_H

#include <sys/uio.h>

#include "util/bytes.h"
#include "util/coroutine.h"

typedef struct BlkFile BlkFile;

/* A place in a scatter list: `skip` bytes into iov[0..count). */
typedef struct IoBuf {
    const struct iovec *iov;
    int count;
    uint64_t skip;
} IoBuf;

/* Places in the engine and the formats at which faults can be injected (block/blkdebug.h); the
 * names are QEMU's. */
typedef enum {
    EVENT_NONE,
    EVENT_L1_UPDATE, /* writing a table that is not cached by pages */
    EVENT_L2_LOAD,
    EVENT_L2_UPDATE,
    EVENT_REFBLOCK_LOAD,
    EVENT_REFBLOCK_UPDATE,
    EVENT_READ_AIO,         /* the guest's data, of this image */
    EVENT_READ_BACKING_AIO, /* the same, of a backing file */
    EVENT_READ_COMPRESSED,
    EVENT_WRITE_AIO, /* the guest's data, in place or with what surrounds it */
    EVENT_WRITE_COMPRESSED,
    EVENT_COW_READ,  /* what surrounds data that is written into a new cluster */
    EVENT_COW_WRITE, /* a write that carries such surroundings */
    EVENT_CLUSTER_ALLOC,
    EVENT_FLUSH_TO_OS,   /* a flush of the image begins */
    EVENT_FLUSH_TO_DISK, /* a flush of the file begins */
    EVENT_PWRITEV,       /* any write to the file begins */
    EVENT_PWRITEV_ZERO,  /* the same by zeroing */
    EVENT_PWRITEV_DONE,  /* and ended well */
    EVENT_COUNT
} BlkEvent;

typedef struct BlkFileOps {
    const char *name;
    /* Fill buf with bytes at offset; what lies past the end reads as zeros. */
    int (*read)(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
    /* May extend the file. */
    int (*write)(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
    /* The same without waiting; -EAGAIN if it would wait, with nothing done that matters. Optional.
     */
    int (*read_nowait)(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
    int (*write_nowait)(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
    /* When it returns 0, every write that had returned before it began survives a power cut. */
    int (*flush)(BlkFile *file);
    /* Make the range read as zeros without writing it; -ENOTSUP if that is not cheaper than
     * writing. unmap: give its space back to the host. */
    int (*zero)(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap);
    /* Sets the length. */
    int (*truncate)(BlkFile *file, uint64_t size);
    /* The run of data or of hole that begins at offset: *data says which, *bytes (in: the most that
     * is asked) how long.  Optional: all is data. */
    int (*extent)(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data);
    /* Reserves space for the range without changing what it reads as. Optional. */
    int (*reserve)(BlkFile *file, uint64_t offset, uint64_t bytes);
    /* Copies a range of another file without the bytes passing through this program; -ENOTSUP if it
     * cannot, with perhaps a part done. Optional. */
    int (*copy_from)(BlkFile *file, uint64_t offset, BlkFile *from, uint64_t from_offset,
                     uint64_t bytes);
    /* Something is about to happen: fault injection. Optional. */
    void (*event)(BlkFile *file, BlkEvent event);
    /* Closes without flushing, and frees. */
    void (*close)(BlkFile *file);
} BlkFileOps;

/* Requests under way on ranges of something: an exclusive one waits for all that overlap it, and
 * all wait for an exclusive one. */
typedef struct Track {
    uint64_t start, end;
    bool exclusive;
    CoQueue waiting;
    struct Track *prev, *next;
} Track;
typedef struct Tracker {
    Track *first;
} Tracker;
/* Whether a request on the range would have to wait. */
bool track_busy(const Tracker *tracker, uint64_t start, uint64_t end, bool exclusive);
/* Waits its turn; t lives on the caller's stack until track_end(). */
void track_begin(Tracker *tracker, Track *t, uint64_t start, uint64_t end, bool exclusive);
void track_end(Tracker *tracker, Track *t);

struct BlkFile {
    const BlkFileOps *ops;
    CoSched *sched;
    BlkFile *below; /* the file that this one only filters; NULL: none */
    char *name;
    uint64_t size; /* the end of what is written or being written */
    bool readonly;
    bool fixed;     /* the length cannot change: writes past the end are -ENOSPC */
    bool sparse;    /* what was never written past the end reads as zeros after an extension */
    unsigned align; /* of offsets, lengths and memory that ops accept: 1, or O_DIRECT's */
    Tracker
        writing; /* with align > 1: writes under way, those exclusive that read before they write */
};

static inline IoBuf iobuf_skip(IoBuf buf, uint64_t bytes)
{
    buf.skip += bytes;
    return buf;
}
/* Turns up to `max` pieces of the next `bytes` into dst; returns how many, and in *total their sum.
 */
int iobuf_pieces(IoBuf buf, uint64_t bytes, struct iovec *dst, int max, uint64_t *total);
void iobuf_copy_out(IoBuf buf, const void *from, uint64_t bytes); /* from -> buf */
void iobuf_copy_in(IoBuf buf, void *to, uint64_t bytes);          /* buf -> to */
void iobuf_zero(IoBuf buf, uint64_t bytes);
bool iobuf_is_zero(IoBuf buf, uint64_t bytes);
/* `bytes` zero bytes to write from, bytes <= ZEROS_BYTES. */
#define ZEROS_BYTES (64u << 10)
extern const uint8_t block_zeros[ZEROS_BYTES];

/* What formats call: ops, with alignment, the end of the file and missing ops taken care of. */
int file_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
int file_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
int file_read_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
int file_write_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes);
int file_pread(BlkFile *file, uint64_t offset, void *data, uint64_t bytes);
int file_pwrite(BlkFile *file, uint64_t offset, const void *data, uint64_t bytes);
int file_flush(BlkFile *file);
/* Writes zeros if there is no cheaper way. */
int file_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap);
/* Gives space back; what the range reads as afterwards is undefined.  Never fails for lack of
 * support. */
int file_discard(BlkFile *file, uint64_t offset, uint64_t bytes);
int file_truncate(BlkFile *file, uint64_t size);
int file_extent(BlkFile *file, uint64_t offset, uint64_t *bytes, bool *data);
int file_reserve(BlkFile *file, uint64_t offset, uint64_t bytes);
/* -ENOTSUP, or another error: the range is to be read and written instead. */
int file_copy_from(BlkFile *file, uint64_t offset, BlkFile *from, uint64_t from_offset,
                   uint64_t bytes);
void file_close(BlkFile *file);
static inline void file_event(BlkFile *file, BlkEvent event)
{
    if (file->ops->event)
        file->ops->event(file, event);
}
/* Aligned memory for O_DIRECT (4096); NULL if there is none; free(). */
void *block_alloc(size_t bytes);
/* What an image can make large, and may be missing: as GLib's functions of these names. */
void *block_try_malloc(size_t bytes);
void *block_try_malloc0(size_t bytes);
void *block_try_realloc(void *memory, size_t bytes);
/* For tests: asked before each of these four; false: there is no memory. */
typedef bool BlockAllocHook(size_t bytes);
void block_set_alloc_hook(BlockAllocHook *hook);

typedef struct HostFileMode {
    bool writable;
    bool direct;       /* O_DIRECT: cache=none, directsync */
    bool no_flush;     /* cache=unsafe */
    bool native;       /* libaio; needs direct */
    bool native_asked; /* by the person: an error if the host has it not, else the thread pool */
    bool patient;  /* small buffered writes need not be handed to a thread: nothing else waits */
    bool share_rw; /* others may write it at the same time */
    bool no_lock;  /* the same for this file alone, not for those below: locking=off */
    bool share;    /* take no locks, whoever writes it: info -U */
} HostFileMode;

/* Opens a host file or block device and locks it.  name: a path, or "file:PATH".  NULL with an
 * error that names it, and who holds it if it is locked. */
BlkFile *host_file_open(CoSched *sched, const char *name, HostFileMode mode, GError **error);
/* Opens what an image's name says: a host file, "blkdebug:CONFIG:NAME" (block/blkdebug.h), or an
 * NBD disk (block/nbd.h). */
BlkFile *image_file_open(CoSched *sched, const char *name, HostFileMode mode, GError **error);
/* For tests: opens the names that it knows before anybody else looks at them, NULL for others. */
typedef BlkFile *ImageFileOpener(CoSched *sched, const char *name, HostFileMode mode);
void image_file_set_opener(ImageFileOpener *opener);
/* Creates a file, or opens the one that stands there as it is; locked for writing. */
BlkFile *host_file_create(CoSched *sched, const char *name, GError **error);
/* An empty file in $TMPDIR (or /var/tmp) that vanishes when closed. */
BlkFile *host_file_temporary(CoSched *sched, GError **error);
/* Device and inode, to tell whether two names are one file; false if file is no host file. */
bool host_file_identity(const BlkFile *file, uint64_t *device, uint64_t *inode);
/* Whether both are one host file; false if that is not known. */
bool host_file_is_same(const BlkFile *a, const BlkFile *b);
/* Asks the host's file system for what suits a new, empty image; what it cannot do is no error.
 * nocow: to write in place (btrfs); extent_bytes: to take space in such units (XFS), 0: in its
 * own.  A file that is not empty yet is asked for when it is emptied. */
void host_file_hint(BlkFile *file, bool nocow, uint32_t extent_bytes);
/* Takes its lock anew, for another use or after it was opened with mode.share; drop: gives it up.
 * Only host files have locks. */
bool host_file_relock(BlkFile *file, bool writable, bool drop, GError **error);
/* Reads from any thread, without the lock, while nobody writes there: -ENOTSUP if file is no host
 * file, or one opened with O_DIRECT. */
int host_file_read_anywhere(BlkFile *file, uint64_t offset, void *data, uint64_t bytes);
/* Bytes that it takes on disk; -1: only host files tell. */
int64_t host_file_allocated(const BlkFile *file);
/* The path without "file:"; points into name. */
const char *host_file_path(const char *name);

#endif
