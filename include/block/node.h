/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image formats, and the one engine that moves bytes for all of them.
 *
 * A format answers where: map() turns a guest offset into an extent (data at a place in the file,
 * zeros, compressed, or unallocated: see the backing file), alloc() finds room for what has none,
 * link() makes it visible.  block/io.c does the rest: scatter lists, copy on write, zeros,
 * decompression, and the order among requests that overlap.
 *
 * Calls want the lock of the scheduler's loop.  Those marked (co) may wait: they come from a
 * coroutine, or block the caller while nothing else uses the node.
 */
#ifndef VMRUN_BLOCK_NODE_H
#define VMRUN_BLOCK_NODE_H

#include "block/file.h"
#include "util/options.h"

#define NODE_MAX_CHAIN 256 /* backing files below one another */

typedef struct BlkNode BlkNode;
typedef struct BlkFormat BlkFormat;

typedef enum { EXTENT_UNALLOCATED, EXTENT_ZERO, EXTENT_DATA, EXTENT_COMPRESSED } ExtentKind;

typedef struct Extent {
    ExtentKind kind;
    bool in_place;  /* DATA: a write may go there: nobody else shares it */
    uint64_t bytes; /* length from the offset that was asked */
    BlkFile *file;  /* that host counts in; NULL: node->file */
    uint64_t host;  /* DATA: its place in the file; COMPRESSED: where the compressed bytes begin */
    uint64_t host_bytes; /* COMPRESSED: how many there are at most */
    uint64_t within;     /* COMPRESSED: distance of the offset asked from its cluster's begin */
    BlkNode *node;       /* who answered: the node asked, or one of its backing files */
} Extent;

/* Room that a format found for a write. */
typedef struct Alloc {
    uint64_t start, end; /* guest range that the new clusters hold; contains the write's begin */
    BlkFile *file;       /* that host counts in; NULL: node->file */
    uint64_t host;       /* where start lies in the file */
    bool fresh;          /* the room reads as zeros already */
    bool reused; /* it was the guest range's own room before, and stays it if link() fails */
} Alloc;

/* map() */
enum {
    MAP_NOWAIT = 1, /* -EAGAIN rather than waiting for metadata */
    MAP_HOLES = 2,  /* ask the host for holes, too: for copying, not for guests */
};
/* zero(), discard(), node_write_zeroes() */
enum {
    ZERO_MAY_UNMAP = 1, /* may give its space back */
    DISCARD_FULLY = 2,  /* even so that the backing file shows through again: commit */
};

/* What check found; a repair counts what it mended in *_fixed and not in the others. */
typedef struct CheckResult {
    uint64_t corruptions, leaks, check_errors;
    uint64_t corruptions_fixed, leaks_fixed;
    uint64_t image_end, total, allocated, fragmented, compressed;
} CheckResult;
enum { CHECK_FIX_LEAKS = 1, CHECK_FIX_ERRORS = 2 };
/* Gets one line, without a newline. */
typedef void CheckReport(void *opaque, const char *line);

/* One line of `info`: a boolean, a number or a text; or the begin or end of a list or an object of
 * such lines. */
typedef struct NodeDetail {
    const char *key; /* "lazy-refcounts"; NULL in a list */
    bool is_text;
    char *value;  /* "false", "16", "zlib" */
    char bracket; /* '[', '{', ']' or '}': and nothing else; 0: a value */
} NodeDetail;

typedef struct NodeSnapshot {
    char *id, *name;
    uint64_t vm_state_bytes, vm_clock_ns;
    uint32_t date_sec, date_nsec;
    int64_t icount; /* -1: none */
} NodeSnapshot;

/* A persistent dirty bitmap: a bit for each granularity bytes of the guest. */
typedef struct NodeBitmap {
    char *name;
    uint64_t granularity;
    bool enabled;      /* writes are to be recorded in it */
    bool inconsistent; /* its writer did not store it: only to be removed */
    uint64_t flags;    /* as stored, the format's own */
} NodeBitmap;

/* How much room is set aside when an image is made or enlarged. */
typedef enum {
    PREALLOC_OFF,
    PREALLOC_METADATA, /* tables and places, without touching the data */
    PREALLOC_FALLOC,   /* the host reserves the space */
    PREALLOC_FULL,     /* zeros are written */
} Preallocation;
/* "off", "metadata", "falloc", "full", NULL: for options_get_enum(). */
extern const char *const preallocation_words[];

/* Bytes of a file that an image would take: if only what is allocated in the source (or nothing) is
 * stored, and if everything is. */
typedef struct Measure {
    uint64_t required, fully_allocated;
    uint64_t bitmaps; /* of those, for the source's bitmaps; only where has_bitmaps */
    bool has_bitmaps;
} Measure;

/* Long work tells how far it is; false: it ends there with -ECANCELED. NULL: nobody asks. */
typedef struct NodeProgress {
    bool (*tell)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
} NodeProgress;

typedef struct CreateOption {
    const char *name, *help;
} CreateOption;

/* What create() is to make. */
typedef struct CreateSpec {
    uint64_t size;
    const char *backing, *backing_format; /* NULL: none; both or neither */
    const Options *options;               /* -o, checked against the format's table */
} CreateSpec;

struct BlkFormat {
    const char *name;
    size_t node_size; /* of the format's struct, whose first member is a BlkNode */
    const CreateOption *create_options; /* ends with a NULL name; NULL: cannot be created */
    bool backing;                       /* images may have a backing file */
    bool backing_format;                /* and can say of what format it is */
    /* How surely the first bytes are of this format, 0 to 100. */
    int (*probe)(const uint8_t *head, size_t bytes);
    /* Reads the header from node->file and sets size, cluster, backing_name... (co) */
    bool (*open)(BlkNode *node, GError **error);
    /* A writable image was flushed and is about to be closed in order: clears marks. Optional. (co)
     */
    int (*finish)(BlkNode *node);
    /* Frees what open() made; writes nothing. */
    void (*close)(BlkNode *node);
    /* Where [offset, offset + bytes) lies: answers for a first part of it, at least one byte. (co)
     */
    int (*map)(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent);
    /* Room for a first part of a range that map() called not in_place. (co) */
    int (*alloc)(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc);
    /* The room is written (ret 0): point the guest range to it; or it is not: give it back. (co) */
    int (*link)(BlkNode *node, const Alloc *alloc, int ret);
    /* Makes whole clusters (or node->zero_unit) read as zeros; -ENOTSUP: the engine writes zeros
     * where there are none. (co) */
    int (*zero)(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);
    /* Forgets whole clusters (or node->zero_unit, unless DISCARD_FULLY); -ENOTSUP: nothing is done,
     * or not all. (co) */
    int (*discard)(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);
    /* Writes metadata in order, then flushes the file. (co) */
    int (*flush)(BlkNode *node);
    /* Called before each request that may change metadata, without any lock: keeps caches small.
     * (co) */
    int (*balance)(BlkNode *node);
    /* Expands a compressed cluster; in a pool thread. */
    int (*decompress)(const BlkNode *node, const void *in, size_t in_bytes, void *out);
    /* Stores a whole cluster compressed: `in` is the deflated cluster. (co) */
    int (*write_compressed)(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes);
    /* Compresses a cluster into out (capacity: cluster - 1): its length, or -ENOSPC if it does not
     * shrink; in a pool thread. */
    int (*compress)(const BlkNode *node, const void *in, void *out);
    bool (*create)(BlkFile *file, const CreateSpec *spec, GError **error); /* (co) */
    int (*check)(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report,
                 void *opaque); /* (co) */
    /* Number n, false past the end. */
    bool (*detail)(const BlkNode *node, unsigned n, NodeDetail *detail);
    const NodeSnapshot *(*snapshot)(const BlkNode *node, unsigned n);
    bool (*is_dirty)(const BlkNode *node); /* needs a check: not closed in order */
    /*
     * What follows is optional, and called by the node_*() of the same name only: on a writable
     * node (vmstate_read, bitmap and measure also on others), while no request is under way on it.
     * (co)
     */
    bool (*resize)(BlkNode *node, uint64_t size, Preallocation how, GError **error);
    bool (*snapshot_create)(BlkNode *node, const NodeSnapshot *info, GError **error);
    bool (*snapshot_apply)(BlkNode *node, unsigned n, GError **error);
    bool (*snapshot_delete)(BlkNode *node, unsigned n, GError **error);
    int (*vmstate_read)(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
    int (*vmstate_write)(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
    bool (*vmstate_drop)(BlkNode *node, GError **error);
    bool (*change_backing)(BlkNode *node, const char *name, const char *format, GError **error);
    const CreateOption *amend_options;
    bool (*amend)(BlkNode *node, const Options *options, bool force, const NodeProgress *progress,
                  GError **error);
    const NodeBitmap *(*bitmap)(const BlkNode *node, unsigned n);
    bool (*bitmap_add)(BlkNode *node, const char *name, uint64_t granularity, bool enabled,
                       GError **error);
    bool (*bitmap_remove)(BlkNode *node, unsigned n, GError **error);
    bool (*bitmap_enable)(BlkNode *node, unsigned n, bool enabled, GError **error);
    bool (*bitmap_load)(BlkNode *node, unsigned n, uint8_t **bits, GError **error);
    bool (*bitmap_store)(BlkNode *node, unsigned n, const uint8_t *bits, GError **error);
    /* While node->recording: a request is about to change what the guest sees in a range. */
    void (*touched)(BlkNode *node, uint64_t offset, uint64_t bytes);
    bool (*compact)(BlkNode *node, const NodeProgress *progress, GError **error);
    int (*begin_commit)(BlkNode *node, BlkNode *base);
    /* No node is needed: spec is as for create(), source may be NULL. */
    bool (*measure)(const CreateSpec *spec, BlkNode *source, Measure *result, GError **error);
    /* The image's files besides node->file: number n, NULL past the end.  Optional. */
    BlkFile *(*other_file)(const BlkNode *node, unsigned n);
    bool sums_files; /* they count in node_allocated(), as other programs count them */
};

/* How to open. */
typedef struct NodeMode {
    HostFileMode file;
    bool no_backing; /* leave the backing file alone: info, check */
    bool borrow;     /* the file stays the caller's, who closes it */
    bool repair;     /* a damaged image is to be opened all the same: check */
    bool discard;    /* give freed clusters back to the host */
    /* An internal snapshot's contents in place of the current ones, by ID or name: read-only, on a
     * file that is that or borrowed. */
    const char *snapshot;
    /* Borrowed, in place of the external data file that the image names; NULL: what it names. */
    BlkFile *data_file;
    const char *data_name; /* the same by a name, to be opened */
    /* Bytes of metadata cached; 0: the default. */
    uint64_t l2_cache, refcount_cache;
    /* An encrypted image's password: the ID of a secret (block/secret.h); NULL: none is given. */
    const char *key_secret;
    const char *backing_key_secret; /* the same for its backing file */
    bool may_be_locked; /* without it the image opens all the same, but its data is -EACCES: info */
    /* A raw image is a part of its file: offset and, if not 0, size. */
    uint64_t raw_offset, raw_size;
    /* In place of what the image says; NULL: what it says.  backing "" opens none. */
    const char *backing, *backing_format;
} NodeMode;

struct BlkNode {
    const BlkFormat *fmt;
    CoSched *sched;
    BlkFile *file;
    BlkNode *backing; /* NULL: none, or no_backing */
    char *name;
    char *backing_name, *backing_format;   /* as the image says; NULL: none */
    char *key_secret, *backing_key_secret; /* what mode has, kept for whoever opens it anew */
    uint64_t size;                         /* what the guest sees, a multiple of 512 */
    unsigned cluster;                      /* bytes; a power of two */
    unsigned zero_unit; /* fmt->zero() and fmt->discard() take multiples of it; 0: of a cluster */
    bool readonly;
    bool flat; /* this image has no clusters of its own */
    bool encrypted;
    bool garbage;         /* what was never written reads as anything but zeros */
    bool compressed_only; /* it takes no other writes than node_write_compressed() */
    unsigned packed_max;  /* the most that node_compress() makes of a cluster; 0: cluster - 1 */
    bool recording;       /* writes are recorded by fmt->touched() */
    bool probed;          /* nobody said the format */
    bool temporary;       /* an overlay that nobody will see again: -snapshot */
    NodeMode mode;
    Tracker requests;
    struct ExpandedCluster *expanded; /* the last compressed cluster that was read */
};

static inline unsigned node_zero_unit(const BlkNode *node)
{
    return node->zero_unit ? node->zero_unit : node->cluster;
}

/* The file that extent.host counts in. */
static inline BlkFile *extent_file(const Extent *extent)
{
    return extent->file ? extent->file : extent->node->file;
}

/* Options that all formats take when an image is made: about its file. */
extern const CreateOption image_file_options[];

/* NULL-terminated. */
extern const BlkFormat *const block_formats[];
/* NULL with an error that names the nearest right one. */
const BlkFormat *format_find(const char *name, GError **error);
/* The format that the first bytes look like; raw if none. */
const BlkFormat *format_probe(const uint8_t *head, size_t bytes);

/* Opens an image and its backing chain.  format NULL: probe.  NULL with an error. (co) */
BlkNode *node_open(CoSched *sched, const char *name, const char *format, const NodeMode *mode,
                   GError **error);
/* The same on a file that is open; takes it over, even on failure, unless mode->borrow. */
BlkNode *node_open_file(BlkFile *file, const char *format, const NodeMode *mode, GError **error);
/* Bytes that the image takes on disk, without an external data file; -1: only host files tell. */
int64_t node_allocated(const BlkNode *node);
/* Flushes, closes the chain and frees; the result is the flush's. (co) */
int node_close(BlkNode *node);
/* Closes and frees without writing anything: what a power cut leaves. */
void node_abandon(BlkNode *node);
/* A backing file's name as seen from the image that names it; g_free() it. */
char *backing_path(const char *image, const char *backing);
/* What an image in any folder is to call an open one that lies below it; g_free() it. */
char *node_backing_name(const BlkNode *node);

/* Offsets and lengths are multiples of 512 within the node. (co) */
int node_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int node_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int node_write_zeroes(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);
int node_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);
int node_flush(BlkNode *node);
/* Has the host copy data from another image's file, as far as both sides are plain data of host
 * files: returns how many bytes that were, from the begin; the rest is to be read and written,
 * which also tells what is wrong.  (co) */
uint64_t node_copy_from(BlkNode *node, uint64_t offset, BlkNode *from, uint64_t from_offset,
                        uint64_t bytes);
/* Room for what node_compress() makes; free(). */
void *node_alloc_packed(const BlkNode *node);
/* Compresses one whole cluster into out, of node_alloc_packed(): its length, -ENOSPC if it does not
 * shrink, -ENOTSUP if the format has no compression. (co) */
int node_compress(BlkNode *node, const void *data, void *out);
/* Stores what node_compress() made at offset, a multiple of the cluster size. (co) */
int node_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes);
/* Inline, whole or not at all: -EAGAIN if it would have to wait. */
int node_read_nowait(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int node_write_nowait(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
/* Where the guest sees a range: node->fmt->map(), followed down the chain; UNALLOCATED comes out as
 * ZERO. (co) */
int node_resolve(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent);
/* The same for who holds the range exclusively; for writes, aligned to clusters, and after
 * node_balance(). (co) */
int node_read_held(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int node_write_held(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
/* Called before each request that may change metadata, without any range held. (co) */
int node_balance(BlkNode *node);
/* Forgets the expanded cluster: formats call it when they free or reuse compressed room. */
void node_forget_expanded(BlkNode *node);

/*
 * ---- Operations on a whole image ----
 *
 * All wait until no request is under way, and end with what they changed safe in the file, or with
 * the image as it was and an error that names it; -ENOTSUP of a format is an error that says so.
 * A power cut in the middle leaves the image as before or as after, at worst with leaks.  (co)
 */

/* Bytes of the guest's disk.  Smaller: what lies behind is lost, so ask first. Larger: new bytes
 * read as zeros, whatever a longer backing file holds; as anything, if node->garbage. */
bool node_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error);

/* Snapshot number n is node->fmt->snapshot(node, n), where fmt->snapshot is not NULL. */
/* Finds by ID, else by name; *n only if it returns true. Never an error. */
bool node_snapshot_find(const BlkNode *node, const char *id_or_name, unsigned *n);
/* info: id NULL: the next free number; vm_state_bytes: what node_vmstate_write() stored before. */
bool node_snapshot_create(BlkNode *node, const NodeSnapshot *info, GError **error);
/* The guest's disk becomes what it was, its size, too. */
bool node_snapshot_apply(BlkNode *node, const char *id_or_name, GError **error);
/* The first one of that name; not by ID, so that a name that looks like one destroys no other. */
bool node_snapshot_delete(BlkNode *node, const char *name, GError **error);
/* The newest one of that name; false: there is none. */
bool node_snapshot_named(const BlkNode *node, const char *name, unsigned *n);
/* Number n, whatever its name. */
bool node_snapshot_delete_number(BlkNode *node, unsigned n, GError **error);
/* A row of qemu-img's table of snapshots, with a number or "--" in its first column. */
#define NODE_SNAPSHOT_HEADING                                                                      \
    "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n"
void node_snapshot_describe(const NodeSnapshot *s, const char *id, GString *out);
/* The machine's state: a stretch of bytes behind the disk, offset from 0, multiples of 512.  It
 * belongs to the snapshot that is created next; what is there is that of the one applied last. */
int node_vmstate_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int node_vmstate_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
/* Frees what was written since the last snapshot was created or applied, and belongs to none. */
bool node_vmstate_drop(BlkNode *node, GError **error);

/* Writes another backing file's name (NULL or "": none) and format into the image;
 * node->backing stays open as it is.  What the guest sees is the caller's business: rebase. */
bool node_change_backing(BlkNode *node, const char *name, const char *format, GError **error);
/* A commit is about to write to base, over which node lies: node is told, so that it does not take
 * base for one that somebody else changed.  Both are writable; only formats that have begin_commit
 * need that of node. (co) */
int node_begin_commit(BlkNode *node, BlkNode *base);
/* Forgets all that the image holds itself, so that the backing file shows through: commit. */
bool node_make_empty(BlkNode *node, GError **error);
/* Changes creation options, node->fmt->amend_options; force: even if something is lost by it. */
bool node_amend(BlkNode *node, const Options *options, bool force, const NodeProgress *progress,
                GError **error);
/* Makes the file smaller, in place: clusters or blocks move down into free room and the end is cut
 * off; a raw image's zeros become holes. */
bool node_compact(BlkNode *node, const NodeProgress *progress, GError **error);
/* What an image that spec describes would take, filled with what source holds (NULL: nothing is
 * known about its contents). */
bool image_measure(const char *format, const CreateSpec *spec, BlkNode *source, Measure *result,
                   GError **error);

/* Bitmap number n is node->fmt->bitmap(node, n), where fmt->bitmap is not NULL. granularity 0: the
 * default, 64 KiB or a small image's cluster. */
bool node_bitmap_add(BlkNode *node, const char *name, uint64_t granularity, bool enabled,
                     GError **error);
bool node_bitmap_remove(BlkNode *node, const char *name, GError **error);
bool node_bitmap_clear(BlkNode *node, const char *name, GError **error);
bool node_bitmap_enable(BlkNode *node, const char *name, bool enabled, GError **error);
/* Sets the bits in `name` whose ranges have a bit in `source_name` of source. */
bool node_bitmap_merge(BlkNode *node, const char *name, BlkNode *source, const char *source_name,
                       GError **error);

/* ---- Changes of an open chain: no request is under way ---- */

/* Flushes it, clears its marks, and lets others read it. (co) */
int node_set_readonly(BlkNode *node);
/* Opens a node's image again, for writing or for reading; the new node has the locks, and the old
 * one is to be abandoned once it is replaced.  NULL: all is as before. (co) */
BlkNode *node_reopen(BlkNode *node, bool writable, GError **error);

/* The error of who names a backing file and not its format.  Returns false. */
bool fail_backing_format(const char *backing, GError **error);
/* Makes an image file.  Without size, a backing file's is taken: spec is completed.  A backing
 * file's format must be said, and the file must open, unless unchecked. (co) */
bool image_create(CoSched *sched, const char *name, const char *format, CreateSpec *spec,
                  bool has_size, bool unchecked, GError **error);

#endif
