/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: changes of a whole image in one step.
 *
 * A snapshot, a resize or a repack touches the counts of nearly all clusters.  All that it changes
 * is written to clusters that are free both before and after: tables, and all refcounts, too.  When
 * they are safe, one write of the header's first sector names them all (12).  So a power cut shows
 * the image before or after, without even a leak; and whatever fails before leaves it untouched.
 */
#ifndef VMRUN_BLOCK_QCOW2_CHANGE_H
#define VMRUN_BLOCK_QCOW2_CHANGE_H

#include "qcow2.h"

/* What the header says; texts are borrowed. */
typedef struct Qcow2Header {
    unsigned version, refcount_order;
    uint64_t size, l1_offset, rt_offset, snapshots_offset;
    uint32_t l1_entries, rt_clusters, snapshot_count;
    uint64_t incompatible, compatible, autoclear;
    bool has_bitmaps;
    uint32_t bitmap_count;
    uint64_t bitmaps_offset, bitmaps_bytes;
    const char *backing_name, *backing_format;
    const char *data_name;
    uint64_t backing_at; /* where the name lies: set by qcow2_build_header() */
} Qcow2Header;

Qcow2Header qcow2_header_of(const Qcow2 *q);
/* The header's bytes, at least a sector; NULL with an error if it does not fit. */
GByteArray *qcow2_build_header(const Qcow2 *q, Qcow2Header *n, GError **error);
/* Puts it in place of the one in the file, in one step. (co) */
int qcow2_switch_header(Qcow2 *q, const GByteArray *h);

typedef struct Change {
    Qcow2 *q;
    Qcow2Header header; /* as it is to be */
    uint32_t *counts;   /* as they are to be, a cluster of the file each */
    uint8_t *used;      /* a bit for each cluster that is in use before */
    uint64_t clusters;  /* of both */
    uint64_t hint;      /* no single free cluster lies below */
    uint64_t *l1;       /* the active one, as it is to be: header.l1_entries */
    bool new_l1;        /* it is to be written anew */
    bool keep_old_l1;   /* somebody else names the old one now: a snapshot */
    /* The snapshots as they are to be; NULL: as they are. */
    Qcow2Snapshot *snapshots; /* header.snapshot_count; texts are whose they were */
    uint64_t snapshots_bytes;
    /* The bitmaps as they are to be, header.bitmap_count; NULL: as they are. */
    Qcow2Bitmap *bitmaps;
    uint64_t *rt; /* the refcount table, made by change_finish() */
    uint32_t rt_entries;
    /* If not 0, the change is for a file that ends below this cluster; where it does not, it is
     * `pointless`, and not made.  But if next_tables is not 0, it is made, too, if the next change
     * can end below: which writes no more clusters of tables than that, and moves what lies behind
     * the number of clusters in use. */
    uint64_t must_end_below, next_tables;
    bool pointless;
} Change;

/* Writes back all that is dirty and loads the counts.  Nothing else uses the image until the end.
 * (co) */
bool change_begin(Change *c, Qcow2 *q, GError **error);
/* The cluster behind the last one that counts. */
uint64_t change_end_of(const Change *c);
/* A number of clusters in a row, free before and after; they count once. (co) */
int change_alloc(Change *c, uint64_t clusters, uint64_t *offset);
/* Adds delta to the counts of the clusters in a range: -EIO if one of them was not counted. */
int change_count(Change *c, uint64_t offset, uint64_t bytes, int delta);
/* The same for all that an L2 entry, or all entries of a table (qcow2_table_entry()), refer to. */
int change_count_entry(Change *c, uint64_t word, int delta);
int change_count_table(Change *c, const uint8_t *table, int delta);
/* Reads the L2 table that an L1 entry names into memory of a cluster. (co) */
int change_read_table(Change *c, uint64_t l1_entry, uint8_t *table);
/* Writes a table to a new place: *l1_entry names it, COPIED. (co) */
int change_write_table(Change *c, const uint8_t *table, uint64_t *l1_entry);
/* Gives up an L1 entry: the table, and all that it refers to. (co) */
int change_drop_l1_entry(Change *c, uint64_t l1_entry);
/* Writes big-endian words or bytes to new clusters in a row. (co) */
int change_write_words(Change *c, const uint64_t *words, uint32_t count, uint64_t *offset);
int change_write_bytes(Change *c, const void *data, uint64_t bytes, uint64_t *offset);
/* Gives c->l1 a new length; entries beyond it were dropped before. */
bool change_l1_size(Change *c, uint64_t entries, GError **error);
/* All bitmaps fit a disk of header.size. (co) */
int change_resize_bitmaps(Change *c);
/* Bitmaps of which something lies in or behind cluster `end` move. (co) */
int change_move_bitmaps(Change *c, uint64_t end);
/* Makes it so, or leaves the image as it was; frees either way.  ret: of what was done since
 * change_begin(); what: for the message. (co) */
bool change_end(Change *c, int ret, const char *what, GError **error);

#endif
