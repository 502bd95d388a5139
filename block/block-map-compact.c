/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a file with a flat table of blocks shorter, in place: what block/repack.h asks for. */
#include <errno.h>

#include "block-map.h"
#include "util/error.h"

typedef struct Listing {
    const BlockMapCompact *c;
    Pieces *pieces;
    GError **error;
} Listing;

static int list_entry(uint64_t index, uint64_t entry, void *opaque)
{
    const Listing *l = opaque;
    Piece block = {.bytes = l->c->unit, .index = index, .kind = PIECE_DATA};
    if (!l->c->place(l->c->opaque, index, entry, &block.at))
        return 0;
    return pieces_add(l->pieces, block, l->error) ? 0 : -ECANCELED;
}

static bool list_blocks(void *opaque, Pieces *pieces, GError **error)
{
    const BlockMapCompact *c = opaque;
    GError *why = NULL;
    Listing l = {c, pieces, &why};
    for (unsigned i = 0; i < c->fixed_count; i++)
        if (!pieces_add(pieces, c->fixed[i], error))
            return false;
    int ret = block_map_scan(c->map, list_entry, &l);
    if (why) {
        g_propagate_error(error, why);
        return false;
    }
    return !ret || fail_errno(error, -ret, "'%s': cannot read its table", c->file->name);
}

static int name_block(void *opaque, const Piece *block, uint64_t at)
{
    const BlockMapCompact *c = opaque;
    return block_map_set(c->map, block->index, at ? c->entry(c->opaque, at) : c->zero_entry);
}

static int commit(void *opaque)
{
    const BlockMapCompact *c = opaque;
    return block_map_commit(c->map, c->before, c->opaque, true);
}

bool block_map_compact(const BlockMapCompact *c, const NodeProgress *progress, uint64_t *end,
                       GError **error)
{
    Repack r = {.file = c->file,
                .start = c->start,
                .align = {[PIECE_TABLE] = 1, [PIECE_DATA] = c->align, [PIECE_PACKED] = 1},
                .drop_zeros = {[PIECE_DATA] = true},
                .head = c->head,
                .list = list_blocks,
                .name = name_block,
                .commit = commit,
                .opaque = (void *)(uintptr_t)c};
    return repack(&r, progress, end, error);
}
