/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHDX, Hyper-V's disk images ("VHDX Format Specification v1.00", [MS-VHDX]):
 *
 *   0        file identifier
 *   64 KiB   two headers, of which the newer valid one counts
 *   192 KiB  two copies of the region table: where the block table and the metadata lie
 *   1 MiB    log, block table, metadata, blocks
 *
 * A program that died may leave changes of the block table in the log: they are replayed when the
 * image is opened for writing.  vmrun itself needs no log, as it writes an entry, which lies in one
 * sector, after what it names.
 */
#ifndef VMRUN_BLOCK_VHDX_H
#define VMRUN_BLOCK_VHDX_H

#include "block-map.h"
#include "formats.h"

#define VHDX_MIB          (1u << 20)
#define VHDX_HEADER_AT    (64u << 10)
#define VHDX_HEADER_BYTES 4096u
#define VHDX_REGION_AT    (192u << 10)
#define VHDX_REGION_BYTES (64u << 10)
#define VHDX_GUID_BYTES   16

/* States of a block. */
enum {
    VHDX_NOT_PRESENT = 0,
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_PRESENT = 6,
    VHDX_PARTLY_PRESENT = 7,
};
#define VHDX_STATE_MASK 7u
#define VHDX_PLACE_MASK (~(uint64_t)(VHDX_MIB - 1))

enum { VHDX_PARAM_FIXED = 1, VHDX_PARAM_PARENT = 2 };

typedef struct VhdxRegion {
    uint64_t offset, bytes;
} VhdxRegion;

typedef struct Vhdx {
    BlkNode base;
    uint8_t header[VHDX_HEADER_BYTES]; /* the one that counts */
    unsigned header_number;            /* which of both that is */
    VhdxRegion log, table, metadata;
    BlockMap map;
    uint64_t chunk_ratio; /* blocks for each bitmap's entry in the table */
    uint64_t end;         /* where the next block may lie */
    bool marked;          /* as written by this program, with new GUIDs */
    CoMutex mark_lock, room_lock;
} Vhdx;

static inline Vhdx *vhdx(const BlkNode *node)
{
    return (Vhdx *)(uintptr_t)node;
}

/* GUIDs as they stand in the file. */
extern const uint8_t vhdx_guid_table[], vhdx_guid_metadata[], vhdx_guid_parameters[],
    vhdx_guid_size[], vhdx_guid_page83[], vhdx_guid_sector[], vhdx_guid_physical[];

/* Writes the header, with a higher sequence number, over the older one and then over the other.
 * (co)
 */
int vhdx_write_header(Vhdx *v);
/* Whether the log holds something. */
bool vhdx_log_is_dirty(const Vhdx *v);
/* vhdx-log.c: brings the log's changes into the file and empties it. (co) */
bool vhdx_log_replay(Vhdx *v, GError **error);

/* vhdx-create.c */
extern const CreateOption vhdx_create_options[];
bool vhdx_create(BlkFile *file, const CreateSpec *spec, GError **error);

#endif
