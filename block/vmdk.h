/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK, VMware's disk images ("Virtual Disk Format 5.0"): a descriptor, which is a text, and one or
 * more extents.  A flat extent is a part of a file; a sparse one has a header, a directory of
 * tables, tables with each grain's place, and grains.  The descriptor is a file of its own or
 * stands in the one extent there is.
 */
#ifndef VMRUN_BLOCK_VMDK_H
#define VMRUN_BLOCK_VMDK_H

#include "formats.h"
#include "meta-cache.h"

#define VMDK_MAGIC 0x564d444bu /* "KDMV" */
#define COWD_MAGIC 0x44574f43u /* "COWD": ESX's sparse extents */

enum {
    VMDK_FLAG_NEWLINES = 1,
    VMDK_FLAG_REDUNDANT = 2,
    VMDK_FLAG_ZERO_GRAINS = 4,
    VMDK_FLAG_COMPRESSED = 1 << 16,
    VMDK_FLAG_MARKERS = 1 << 17,
};
#define VMDK_NO_PARENT    0xffffffffu
#define VMDK_ENTRY_ZERO   1u   /* a grain of zeros, with VMDK_FLAG_ZERO_GRAINS */
#define VMDK_MARKER_BYTES 12u  /* before a compressed grain: its sector and length */
#define VMDK_TABLE_LENGTH 512u /* entries */
#define VMDK_GRAIN_BYTES  65536u
#define VMDK_SPLIT_BYTES  (2047ULL << 20)

typedef struct VmdkExtent {
    BlkFile *file; /* NULL: all zeros */
    bool owned;    /* is not node->file */
    bool flat;
    char *type;            /* as the descriptor says; "" if it says nothing */
    uint64_t start, bytes; /* of the disk */
    uint64_t offset;       /* flat: where it begins in the file */
    /* Sparse: */
    unsigned grain, table_entries, directory_entries;
    bool compressed, markers, zero_grains;
    uint32_t *directory, *redundant; /* sectors of tables; redundant may be NULL */
    uint64_t directory_at, redundant_at;
    uint64_t first_data, end; /* no grain lies before it; where the next one may lie */
    MetaCache tables;
} VmdkExtent;

typedef struct Vmdk {
    BlkNode base;
    VmdkExtent *extents;
    unsigned count;
    char *descriptor; /* NULL: none */
    uint64_t descriptor_at, descriptor_room;
    char *create_type;
    uint32_t cid, parent_cid;
    bool cid_changed; /* since it was opened: children see that this disk is not theirs any more */
    bool parent_checked, parent_told;
    CoMutex table_lock, commit_lock, cid_lock;
} Vmdk;

static inline Vmdk *vmdk(const BlkNode *node)
{
    return (Vmdk *)(uintptr_t)node;
}

/* vmdk.c */
/* Points a grain of a sparse extent, which has a table, to its place, in memory; offset counts from
 * the extent's begin. (co) */
int vmdk_put_entry(VmdkExtent *x, uint64_t offset, uint32_t entry);
/* Writes the tables that changed, after a flush; durable: and flushes. (co) */
int vmdk_commit(Vmdk *v, bool durable);

/* vmdk-compact.c */
bool vmdk_compact(BlkNode *node, const NodeProgress *progress, GError **error);

/* vmdk-open.c */
bool vmdk_open(BlkNode *node, GError **error);
void vmdk_close(BlkNode *node);
int vmdk_probe(const uint8_t *head, size_t bytes);
/* Gives the descriptor a new content ID, before the first change. (co) */
int vmdk_change_cid(Vmdk *v);
int vmdk_begin_commit(BlkNode *node, BlkNode *base);

/* vmdk-check.c */
int vmdk_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report, void *opaque);

/* vmdk-create.c */
extern const CreateOption vmdk_create_options[];
bool vmdk_create(BlkFile *file, const CreateSpec *spec, GError **error);

#endif
