/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making the file of a sparse VMDK image shorter.
 *
 * Grains move; directories and tables, which whoever creates an image puts before all grains, stay.
 * An entry changes in both tables that have it, and the old grain is whole until both are safe.
 */
#include <errno.h>
#include <string.h>

#include "repack.h"
#include "util/bytes.h"
#include "util/error.h"
#include "vmdk.h"

typedef struct Compact {
    Vmdk *v;
    VmdkExtent *x;
    Repack repack;
} Compact;

/* ---- What there is ---- */

static bool list_fixed(Pieces *pieces, uint64_t at, uint64_t bytes, GError **error)
{
    return pieces_add(pieces, (Piece){.at = at, .bytes = bytes}, error);
}

/* A directory and its tables. */
static bool list_directory(const VmdkExtent *x, uint64_t at, const uint32_t *directory,
                           Pieces *pieces, GError **error)
{
    bool ok = list_fixed(pieces, at, x->directory_entries * 4ULL, error);
    for (unsigned i = 0; i < x->directory_entries && ok; i++)
        ok = !directory[i] ||
             list_fixed(pieces, directory[i] * 512ULL, x->table_entries * 4ULL, error);
    return ok;
}

static bool list_table(Compact *c, Pieces *pieces, unsigned i, GError **error)
{
    VmdkExtent *x = c->x;
    uint32_t table[VMDK_TABLE_LENGTH];
    int ret = file_pread(x->file, x->directory[i] * 512ULL, table, x->table_entries * 4ULL);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read a grain table", c->v->base.name);
    for (unsigned n = 0; n < x->table_entries; n++) {
        uint32_t entry = ld32_le(&table[n]);
        if (!entry || (entry == VMDK_ENTRY_ZERO && x->zero_grains))
            continue;
        Piece grain = {.at = entry * 512ULL,
                       .bytes = x->grain,
                       .index = (uint64_t)i * x->table_entries + n,
                       .kind = PIECE_DATA};
        /* Where some are not aligned, there would be gaps that no aligned one fits into. */
        if (grain.at % x->grain)
            c->repack.align[PIECE_DATA] = 512;
        if (!pieces_add(pieces, grain, error))
            return false;
    }
    return true;
}

/* Tables are read when none overlaps another: so there are no more entries than the file holds. */
static bool compact_list(void *opaque, Pieces *pieces, GError **error)
{
    Compact *c = opaque;
    const VmdkExtent *x = c->x;
    bool ok = list_fixed(pieces, 0, 512, error);
    if (c->v->descriptor)
        ok = ok && list_fixed(pieces, c->v->descriptor_at, c->v->descriptor_room, error);
    ok = ok && list_directory(x, x->directory_at, x->directory, pieces, error);
    if (x->redundant)
        ok = ok && list_directory(x, x->redundant_at, x->redundant, pieces, error);
    ok = ok && pieces_check(pieces, error);
    for (unsigned i = 0; i < x->directory_entries && ok; i++)
        ok = !x->directory[i] || list_table(c, pieces, i, error);
    return ok;
}

/* ---- Changing it ---- */

static int compact_name(void *opaque, const Piece *piece, uint64_t at)
{
    Compact *c = opaque;
    uint32_t none = c->x->zero_grains ? VMDK_ENTRY_ZERO : 0;
    return vmdk_put_entry(c->x, piece->index * c->x->grain, at ? (uint32_t)(at / 512) : none);
}

static int compact_commit(void *opaque)
{
    Compact *c = opaque;
    return vmdk_commit(c->v, true);
}

/* A redundant table that was not what it should be may name places that are about to go. */
static int copy_tables(VmdkExtent *x)
{
    uint32_t table[VMDK_TABLE_LENGTH], other[VMDK_TABLE_LENGTH];
    uint64_t bytes = x->table_entries * 4ULL;
    int ret = 0;
    bool changed = false;
    for (unsigned i = 0; x->redundant && i < x->directory_entries && !ret; i++) {
        if (!x->directory[i] || !x->redundant[i])
            continue;
        ret = file_pread(x->file, x->directory[i] * 512ULL, table, bytes);
        if (!ret)
            ret = file_pread(x->file, x->redundant[i] * 512ULL, other, bytes);
        if (ret || !memcmp(table, other, bytes))
            continue;
        meta_drop_all(&x->tables); /* all clean */
        changed = true;
        ret = file_pwrite(x->file, x->redundant[i] * 512ULL, table, bytes);
    }
    return ret || !changed ? ret : file_flush(x->file);
}

static bool check_kind(const Vmdk *v, GError **error)
{
    const VmdkExtent *x = &v->extents[0];
    if (v->base.compressed_only)
        return fail(error,
                    "'%s' is a stream (streamOptimized), which is written once: convert it "
                    "to make it smaller",
                    v->base.name);
    if (v->count == 1 && !x->owned && x->directory && x->table_entries <= VMDK_TABLE_LENGTH)
        return true;
    return fail(error, "'%s': of VMDK images, only monolithicSparse ones are compacted",
                v->base.name);
}

bool vmdk_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Vmdk *v = vmdk(node);
    if (!check_kind(v, error))
        return false;
    VmdkExtent *x = &v->extents[0];
    bool alone = !node->backing && !node->backing_name;
    Compact c = {
        .v = v,
        .x = x,
        .repack = {.file = x->file,
                   .start = x->first_data,
                   .align = {[PIECE_TABLE] = 512, [PIECE_DATA] = x->grain, [PIECE_PACKED] = 512},
                   .drop_zeros = {[PIECE_DATA] = alone || x->zero_grains},
                   .list = compact_list,
                   .name = compact_name,
                   .commit = compact_commit,
                   .opaque = &c}};
    uint64_t end;
    if (!repack(&c.repack, progress, &end, error))
        return false;
    int ret = copy_tables(x);
    if (!ret && x->file->sparse && end < x->file->size)
        ret = file_truncate(x->file, end);
    if (!ret)
        x->end = align_up(end, x->grain);
    return !ret || fail_errno(error, -ret, "'%s': cannot compact it", node->name);
}
