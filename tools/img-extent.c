/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an image's data lies. */
#include "img-extent.h"

#include "util/bytes.h"

int img_extent(BlkNode *node, uint64_t offset, uint64_t bytes, Extent *e, unsigned *depth)
{
    *depth = 0;
    bytes = MIN(bytes, node->size - offset);
    for (;;) {
        int ret = node->fmt->map(node, offset, bytes, MAP_HOLES, e);
        if (ret)
            return ret;
        e->node = node;
        BlkNode *below = node->backing;
        if (e->kind != EXTENT_UNALLOCATED || !below || offset >= below->size)
            return 0;
        bytes = MIN(e->bytes, below->size - offset);
        node = below;
        ++*depth;
    }
}

bool img_extent_is_zero(const Extent *e)
{
    return e->kind == EXTENT_ZERO || e->kind == EXTENT_UNALLOCATED;
}

bool img_extent_is_data(const Extent *e)
{
    return e->kind == EXTENT_DATA || e->kind == EXTENT_COMPRESSED;
}

/* A zero cluster may have room of its own; the first cluster of an image is its header's. */
bool img_extent_has_host(const Extent *e)
{
    if (e->node->encrypted) /* the bytes there are not the guest's */
        return false;
    if (e->kind == EXTENT_ZERO)
        return !e->node->fmt->alloc || e->file || e->host >= e->node->cluster;
    return e->kind == EXTENT_DATA;
}

bool img_extent_cut_hole(Extent *e)
{
    bool data = true;
    uint64_t bytes = e->bytes;
    if (e->kind != EXTENT_DATA || file_extent(extent_file(e), e->host, &bytes, &data))
        return false;
    if (bytes == e->bytes)
        return !data;
    /* Where hole and data meet within a sector, the sector is data. */
    bytes = data ? align_up(bytes, 512) : align_down(bytes, 512);
    if (!bytes)
        return false;
    e->bytes = MIN(e->bytes, bytes);
    return !data;
}

/* Ends the extent between two sectors: one that holds data in part is data. */
static void cut_at_sector(Extent *e)
{
    if (img_extent_is_zero(e) && e->bytes >= 512) {
        e->bytes = align_down(e->bytes, 512);
        return;
    }
    if (img_extent_is_zero(e))
        e->kind = EXTENT_DATA;
    e->bytes = align_up(e->bytes, 512);
}

bool img_file_is_sparse(const BlkNode *node)
{
    int64_t stored = node_allocated(node);
    return stored >= 0 && node->file->size / 10 * 9 > MAX((uint64_t)stored, 2ULL * node->cluster);
}

int img_range(BlkNode *node, uint64_t offset, uint64_t *bytes, RangeScope scope, RangeKind *kind)
{
    Extent e;
    unsigned depth;
    int ret;
    if (scope == SCOPE_TOP) {
        ret = node->fmt->map(node, offset, MIN(*bytes, node->size - offset), MAP_HOLES, &e);
        e.node = node;
    } else {
        ret = img_extent(node, offset, *bytes, &e, &depth);
    }
    if (ret)
        return ret;
    cut_at_sector(&e);
    /* Whoever has a backing file, but a shorter one, hides what is below that. */
    bool hidden = e.kind == EXTENT_UNALLOCATED && scope == SCOPE_CHAIN && e.node->backing;
    if (e.kind == EXTENT_UNALLOCATED)
        *kind = scope == SCOPE_ALL || hidden ? RANGE_ZERO : RANGE_UNALLOCATED;
    else if (e.kind == EXTENT_ZERO || (e.node->fmt->alloc && img_extent_cut_hole(&e)))
        *kind = RANGE_ZERO;
    else
        *kind = RANGE_DATA;
    *bytes = e.bytes;
    return 0;
}
