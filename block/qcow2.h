/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2, versions 2 and 3 (QEMU docs/interop/qcow2.txt): what its files share.
 *
 *   qcow2.c           header, opening and closing
 *   qcow2-cluster.c   guest offset -> where: L1 and L2 tables
 *   qcow2-refcount.c  which clusters of the file are free
 *   qcow2-commit.c    the order in which metadata reaches the file: docs/qcow2-invariants.md
 *   qcow2-check.c     check and repair
 *   qcow2-create.c    making one
 *   qcow2-header.c    the header written anew
 *   qcow2-change.c    changes of the whole image in one step; by it qcow2-snapshot.c,
 *                     qcow2-resize.c, qcow2-amend.c, qcow2-compact.c
 *   qcow2-bitmap.c    persistent bitmaps
 */
#ifndef VMRUN_BLOCK_QCOW2_H
#define VMRUN_BLOCK_QCOW2_H

#include "formats.h"
#include "meta-cache.h"

#define QCOW_MAGIC 0x514649fbu /* "QFI\xfb" */

/* Header fields, big-endian. */
enum {
    H_MAGIC = 0,
    H_VERSION = 4,
    H_BACKING_OFFSET = 8,
    H_BACKING_SIZE = 16,
    H_CLUSTER_BITS = 20,
    H_SIZE = 24,
    H_CRYPT_METHOD = 32,
    H_L1_SIZE = 36,
    H_L1_OFFSET = 40,
    H_REFTABLE_OFFSET = 48,
    H_REFTABLE_CLUSTERS = 56,
    H_SNAPSHOTS = 60,
    H_SNAPSHOTS_OFFSET = 64,
    H_V2_BYTES = 72,
    H_INCOMPATIBLE = 72,
    H_COMPATIBLE = 80,
    H_AUTOCLEAR = 88,
    H_REFCOUNT_ORDER = 96,
    H_HEADER_LENGTH = 100,
    H_COMPRESSION = 104,
    H_V3_BYTES = 104,
};

#define INCOMPAT_DIRTY       (1ULL << 0)
#define INCOMPAT_CORRUPT     (1ULL << 1)
#define INCOMPAT_DATA_FILE   (1ULL << 2)
#define INCOMPAT_COMPRESSION (1ULL << 3)
#define INCOMPAT_EXTENDED_L2 (1ULL << 4)
#define COMPAT_LAZY          (1ULL << 0)
#define AUTOCLEAR_BITMAPS    (1ULL << 0)
#define AUTOCLEAR_RAW_DATA   (1ULL << 1)

/* Header extensions. */
enum {
    EXT_END = 0,
    EXT_BACKING_FORMAT = 0xe2792aca,
    EXT_FEATURE_NAMES = 0x6803f857,
    EXT_BITMAPS = 0x23852875,
    EXT_CRYPTO = 0x0537be77,
    EXT_DATA_FILE = 0x44415441,
};
enum { CRYPT_NONE, CRYPT_AES, CRYPT_LUKS };

/* L1 and L2 entries. */
#define ENTRY_COPIED     (1ULL << 63) /* refcount is 1: may be written in place */
#define ENTRY_COMPRESSED (1ULL << 62)
#define ENTRY_ZERO       1ULL /* version 3, L2 only */
#define ENTRY_OFFSET     0x00fffffffffffe00ULL
/* The second word of an entry with subclusters. */
#define SUBS_ALLOCATED 0x00000000ffffffffULL
#define SUBS_ZERO      0xffffffff00000000ULL

/* What must be 0 in entries of the L1, L2 (not compressed) and refcount table. */
#define L1_RESERVED       0x7f000000000001ffULL
#define L2_RESERVED       0x3f000000000001feULL
#define REFTABLE_RESERVED 0x00000000000001ffULL

#define SUBCLUSTERS          32u
#define MIN_CLUSTER_BITS     9
#define MIN_EXTENDED_BITS    14
#define MAX_CLUSTER_BITS     21
#define MAX_L1_BYTES         (32u << 20)
#define MAX_REFTABLE_BYTES   (8u << 20)
#define MAX_SNAPSHOTS        65536u
#define MAX_SNAPSHOT_BYTES   (64u << 20)
#define META_PAGE_BYTES      (16u << 10)
#define L2_CACHE_BYTES       (32u << 20)
#define REFCOUNT_CACHE_BYTES (4u << 20)

typedef struct Qcow2Snapshot {
    NodeSnapshot info;
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t disk_size;
    GBytes *extra;     /* data that we do not know, behind the known; NULL: none */
    bool incomplete;   /* its entry is shorter than version 3 asks for */
    const char *fault; /* why its tables cannot be used; NULL: they can */
} Qcow2Snapshot;

typedef struct Qcow2Bitmap {
    NodeBitmap info;
    uint64_t table_offset;
    uint32_t table_entries;
    uint64_t flags_at; /* where in the file its flags lie */
    GBytes *extra;     /* NULL: none */
    bool changed;      /* bits are others than those in the file */
    uint8_t *bits;     /* while it records: whole clusters of it; else NULL */
    uint8_t *new_bits; /* to replace bits when a change is done */
} Qcow2Bitmap;

/* Clusters whose last reference was taken out of a table in memory; they are free only when that
 * table is safe in the file (invariant 4). */
typedef struct PendingFree {
    uint64_t offset, clusters;
} PendingFree;

typedef struct Qcow2 {
    BlkNode base;
    unsigned version, cluster_bits, refcount_order;
    unsigned l2_bits;       /* entries in an L2 table, as a power of two */
    unsigned entry_shift;   /* an entry has 8 bytes, or 16 with subclusters: 3 or 4 */
    unsigned subs;          /* subclusters in a cluster: 1, or 32 */
    unsigned sub_bits;      /* their size as a power of two */
    unsigned refblock_bits; /* refcounts in a refcount block */
    uint64_t cluster_mask;
    uint64_t incompatible, compatible, autoclear;
    uint32_t header_bytes;
    uint8_t *extra_header;          /* fields behind those that we know */
    GByteArray *unknown_extensions; /* as they are in the file, to be kept; NULL: none */
    uint32_t crypt_method;
    uint64_t backing_at;  /* where in the file the backing file's name lies */
    unsigned compression; /* 0 zlib, 1 zstd */

    char *data_name;    /* the external data file's, as the image says */
    BlkFile *data_file; /* external; NULL: guest data lies in base.file */
    BlkFile *data;      /* where extents lie: data_file, or what decrypts; NULL: base.file */
    bool locked;        /* encrypted, and nobody gave the password */
    uint64_t crypt_offset, crypt_bytes; /* the LUKS header's place in the file */
    struct Luks *luks;                  /* NULL: no LUKS */

    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t *l1; /* host order, as the next commit will write it */
    uint32_t l1_dirty_from, l1_dirty_to;
    uint64_t rt_offset; /* the refcount table */
    uint32_t rt_clusters;
    uint64_t *rt;
    uint32_t rt_entries;
    uint32_t rt_dirty_from, rt_dirty_to;

    uint64_t snapshots_offset, snapshots_bytes;
    Qcow2Snapshot *snapshots;
    unsigned snapshot_count;
    uint32_t snapshots_claimed; /* by the header */
    char
        *snapshots_fault; /* why there are fewer: for reading and repair only; NULL: all are here */
    bool has_bitmaps;
    uint64_t bitmaps_offset, bitmaps_bytes; /* the directory */
    uint32_t bitmap_count;
    Qcow2Bitmap *bitmaps;

    MetaCache l2, refcounts;
    CoMutex alloc_lock;  /* who looks for free clusters */
    CoMutex table_lock;  /* who makes L2 tables */
    CoMutex commit_lock; /* who writes metadata back; taken last */
    CoMutex begin_lock;  /* who begins to write */
    bool begun;          /* others' claims are withdrawn (8): requests may write */
    uint64_t free_hint;  /* no cluster below is free, for all we know */
    uint64_t packed_end; /* file offset behind the last compressed cluster, if it ended in a cluster
                            that has room left; else 0 */
    GArray *pending_free;
    GHashTable *metadata; /* cluster numbers that no guest data may be written to; NULL before the
                             first write */
    bool hollow;          /* new subclusters have room, but do not count yet: preallocation */
    bool corrupt;         /* found out while running: no more writes */
    bool warned;
} Qcow2;

/* An entry of an L2 table. */
typedef struct L2Entry {
    uint64_t word;
    uint64_t subs; /* with subclusters: 32 bits "allocated", above them 32 bits "zeros" */
} L2Entry;

static inline Qcow2 *qcow2(const BlkNode *node)
{
    return (Qcow2 *)(uintptr_t)node;
}
static inline uint64_t qcow2_cluster_bytes(const Qcow2 *q)
{
    return 1ULL << q->cluster_bits;
}

/* L1 entries that a disk of so many bytes takes. */
static inline uint64_t qcow2_l1_needed(const Qcow2 *q, uint64_t bytes)
{
    unsigned reach = q->cluster_bits + q->l2_bits;
    return (bytes >> reach) + ((bytes & ((1ULL << reach) - 1)) != 0);
}

/* ---- qcow2.c ---- */
/* Says once what is wrong with the image. Returns -EIO. */
int qcow2_bad(Qcow2 *q, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same for something that a write would make worse: marks the image corrupt and refuses further
 * writes. (co) */
int qcow2_corrupt(Qcow2 *q, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Where an image's data file is; g_free() it. */
char *qcow2_data_path(const char *image, const char *name);
/* Writes header fields that changed. (co) */
int qcow2_write_features(Qcow2 *q);
/* Guest data and metadata written so far survive a power cut when it returns 0. (co) */
int qcow2_sync(Qcow2 *q);
/* Reads `entries` big-endian words at offset; NULL with *ret set. (co) */
uint64_t *qcow2_read_table(Qcow2 *q, uint64_t offset, uint32_t entries, int *ret);
/* Reads the reference count table anew. (co) */
int qcow2_load_reftable(Qcow2 *q);

/* ---- qcow2-crypt.c ---- */
/* Opens what is between the guest's data and its file. (co) */
bool qcow2_open_crypt(Qcow2 *q, GError **error);
void qcow2_close_crypt(Qcow2 *q);

/* ---- qcow2-snapshot.c ---- */
bool qcow2_load_snapshots(Qcow2 *q, uint32_t count, GError **error);
void qcow2_free_snapshots(Qcow2 *q);
/* Its L1 table; NULL with *ret set, and said if it has none. (co) */
uint64_t *qcow2_snapshot_l1(Qcow2 *q, const Qcow2Snapshot *s, int *ret);
/* The snapshot table written anew, with whole entries. (co) */
bool qcow2_rewrite_snapshots(Qcow2 *q, GError **error);
/* The table as it goes to the file. */
GByteArray *qcow2_pack_snapshots(const Qcow2Snapshot *snapshots, unsigned count);
bool qcow2_snapshot_create(BlkNode *node, const NodeSnapshot *info, GError **error);
bool qcow2_snapshot_apply(BlkNode *node, unsigned n, GError **error);
bool qcow2_snapshot_delete(BlkNode *node, unsigned n, GError **error);
/* Where the VM state begins: the first guest offset behind the disk with an L2 table of its own. */
uint64_t qcow2_vmstate_offset(const Qcow2 *q);
int qcow2_vmstate_read(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
int qcow2_vmstate_write(BlkNode *node, uint64_t offset, IoBuf buf, uint64_t bytes);
bool qcow2_vmstate_drop(BlkNode *node, GError **error);

/* ---- qcow2-resize.c ---- */
/* Gives the host what lies behind the last cluster in use. (co) */
int qcow2_trim(Qcow2 *q);
bool qcow2_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error);

/* ---- qcow2-cluster.c ---- */
int qcow2_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent);
/* The same where data is stored, encrypted or not. */
int qcow2_map_raw(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *extent);
int qcow2_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc);
int qcow2_link(BlkNode *node, const Alloc *alloc, int ret);
int qcow2_write_compressed(BlkNode *node, uint64_t offset, const void *in, size_t in_bytes);
/* Where a compressed cluster's bytes lie. */
void qcow2_compressed_place(const Qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *bytes);
/* The page of the L2 table with the entry for a guest offset, pinned, and the entry's index in it.
 * The table must exist. flags as map()'s. (co) */
int qcow2_l2_page(Qcow2 *q, uint64_t offset, unsigned flags, MetaPage **page, unsigned *index);
/* The same for a table that may be changed: makes one where there is none, or where it is shared.
 */
int qcow2_l2_page_own(Qcow2 *q, uint64_t offset, MetaPage **page, unsigned *index);
unsigned qcow2_page_entries(const Qcow2 *q);
L2Entry qcow2_page_entry(const Qcow2 *q, const MetaPage *page, unsigned index);
/* Sets it and counts the page dirty. */
void qcow2_page_set(const Qcow2 *q, MetaPage *page, unsigned index, L2Entry entry);
/* Number `index` in a whole table as it lies in the file. */
L2Entry qcow2_table_entry(const Qcow2 *q, const void *table, unsigned index);
void qcow2_table_set(const Qcow2 *q, void *table, unsigned index, L2Entry entry);
/* Whether it refers to a cluster (not a compressed one), whose place is word & ENTRY_OFFSET. */
bool qcow2_has_host(const Qcow2 *q, uint64_t word);
/* What it says of subcluster number sub. */
ExtentKind qcow2_sub_kind(const Qcow2 *q, L2Entry entry, unsigned sub);
/* Whether it contradicts itself: the reason, or NULL. */
const char *qcow2_entry_fault(const Qcow2 *q, L2Entry entry);
/* The clusters that an L2 entry refers to are given up with the next commit. */
void qcow2_drop_entry(Qcow2 *q, uint64_t word);

/* ---- qcow2-zero.c ---- */
int qcow2_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);
int qcow2_discard(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags);

/* ---- qcow2-refcount.c ---- */
/* Reads or writes count number `index` in a block or a part of one. */
uint64_t qcow2_refcount_get(const Qcow2 *q, const uint8_t *block, uint64_t index);
void qcow2_refcount_set(const Qcow2 *q, uint8_t *block, uint64_t index, uint64_t value);
uint64_t qcow2_refcount_max(const Qcow2 *q);
/* Finds up to `clusters` free clusters in a row, counts each once. *fresh: they read as zeros. (co)
 */
int qcow2_alloc_clusters(Qcow2 *q, uint64_t clusters, uint64_t *offset, uint64_t *got, bool *fresh);
/* Room for a compressed cluster. (co) */
int qcow2_alloc_packed(Qcow2 *q, uint64_t bytes, uint64_t *offset);
/* Takes one reference from each cluster, at once: only for what no table in the file refers to.
 * (co) */
int qcow2_free_now(Qcow2 *q, uint64_t offset, uint64_t clusters);
/* The same with the next commit. */
void qcow2_free_later(Qcow2 *q, uint64_t offset, uint64_t clusters);
/* A cluster's count, and setting it; -ENOENT: the block that would hold it is missing. (co) */
int qcow2_count_get(Qcow2 *q, uint64_t cluster, uint64_t *count);
/* How many counts, from a cluster's on, are as found[0..n) says: some or all of those that do. (co)
 */
int qcow2_counts_match(Qcow2 *q, uint64_t cluster, const uint32_t *found, uint64_t n,
                       uint64_t *same);
int qcow2_count_set(Qcow2 *q, uint64_t cluster, uint64_t count);
/* A cluster that holds metadata, or does not any more. */
void qcow2_note_metadata(Qcow2 *q, uint64_t offset, uint64_t bytes, bool is);
bool qcow2_is_metadata(const Qcow2 *q, uint64_t offset, uint64_t bytes);
/* Collects anew where metadata lies. */
int qcow2_claim_metadata(Qcow2 *q);
/* Before the first write: collects where metadata lies; withdraws what others claim (8).  When it
 * fails, nothing has begun, and the next request tries again. (co) */
int qcow2_begin_writing(Qcow2 *q);

/* ---- qcow2-bitmap.c ---- */
bool qcow2_load_bitmaps(Qcow2 *q, GError **error);
void qcow2_free_bitmap(Qcow2Bitmap *b);
void qcow2_free_bitmaps(Qcow2 *q);
const NodeBitmap *qcow2_bitmap(const BlkNode *node, unsigned n);
bool qcow2_bitmap_add(BlkNode *node, const char *name, uint64_t granularity, bool enabled,
                      GError **error);
bool qcow2_bitmap_remove(BlkNode *node, unsigned n, GError **error);
bool qcow2_bitmap_enable(BlkNode *node, unsigned n, bool enabled, GError **error);
bool qcow2_bitmap_load(BlkNode *node, unsigned n, uint8_t **bits, GError **error);
bool qcow2_bitmap_store(BlkNode *node, unsigned n, const uint8_t *bits, GError **error);
/* Takes the enabled bitmaps into memory and marks them in use in the file, which counts only when
 * all is safe: until then the image does not record. (co) */
int qcow2_record_bitmaps(Qcow2 *q);
void qcow2_touched(BlkNode *node, uint64_t offset, uint64_t bytes);
/* Stores those that record; they are no more in use. (co) */
int qcow2_store_bitmaps(Qcow2 *q);

/* ---- qcow2-commit.c ---- */
/* Writes what has changed, in order; durable: what was written before survives a power cut. (co) */
int qcow2_commit(Qcow2 *q, bool durable);
int qcow2_flush(BlkNode *node);
int qcow2_finish(BlkNode *node);
/* Forgets all pages: something wrote tables past the caches. Nothing is dirty. */
void qcow2_drop_caches(Qcow2 *q);
int qcow2_balance(BlkNode *node);

/* ---- qcow2-check.c, qcow2-repair.c ---- */
int qcow2_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report,
                void *opaque);

/* ---- qcow2-amend.c ---- */
extern const CreateOption qcow2_amend_options[];
bool qcow2_change_backing(BlkNode *node, const char *name, const char *format, GError **error);
bool qcow2_amend(BlkNode *node, const Options *options, bool force, const NodeProgress *progress,
                 GError **error);
bool qcow2_measure(const CreateSpec *spec, BlkNode *source, Measure *result, GError **error);

/* ---- qcow2-compact.c ---- */
bool qcow2_compact(BlkNode *node, const NodeProgress *progress, GError **error);

/* ---- qcow2-create.c ---- */
/* What creation options say. */
typedef struct Qcow2Shape {
    unsigned version, cluster_bits, refcount_order, preallocation, compression;
    bool lazy, extended, raw_data;
    const char *data_file; /* the options' */
    bool luks;             /* what it is to be like: luks_spec_read() */
} Qcow2Shape;
bool qcow2_read_shape(const Options *options, Qcow2Shape *shape, GError **error);
extern const CreateOption qcow2_create_options[];
/* Gives each guest cluster from `offset` on its room, as said. (co) */
int qcow2_preallocate(BlkNode *node, uint64_t offset, Preallocation how);
bool qcow2_create(BlkFile *file, const CreateSpec *spec, GError **error);

#endif
