/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making a file with a flat table of blocks shorter, in place.
 *
 * The last blocks are copied into the first gaps between others, which were free before and stay so
 * until the table names them: only when all copies are safe are their entries written, and only
 * when these are safe may what lies behind be cut off.  So a power cut shows each block at its old
 * or its new place, and both hold it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block-map.h"
#include "util/bytes.h"
#include "util/error.h"

#define COPY_BYTES (1u << 20)

typedef struct Place {
    uint64_t at, index;
    bool zero; /* nothing but zeros */
} Place;

typedef struct Work {
    const BlockMapCompact *c;
    GArray *places; /* of Place, by `at` */
    uint8_t *buffer;
    uint64_t done;
} Work;

static Place *place_at(const Work *w, uint64_t i)
{
    return &g_array_index(w->places, Place, i);
}

static int by_place(const void *a, const void *b)
{
    const Place *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int note_place(uint64_t index, uint64_t entry, void *opaque)
{
    Work *w = opaque;
    Place place = {.index = index};
    if (w->c->place(w->c->opaque, index, entry, &place.at))
        g_array_append_val(w->places, place);
    return 0;
}

/* Blocks that overlap are damage, which moving would spread. */
static int check_places(const Work *w)
{
    uint64_t end = w->c->start;
    for (unsigned i = 0; i < w->places->len; i++) {
        uint64_t at = place_at(w, i)->at;
        if (at < end || at > w->c->file->size)
            return -EIO;
        end = at + w->c->unit;
    }
    return 0;
}

static bool tell(const Work *w, const NodeProgress *progress)
{
    uint64_t all = MAX(2ULL * w->places->len, 1);
    return !progress || progress->tell(progress->opaque, MIN(w->done, all), all);
}

/* ---- Blocks of zeros ---- */

static int look_for_zeros(Work *w, Place *place)
{
    const BlockMapCompact *c = w->c;
    for (uint64_t at = c->head; at < c->unit;) {
        uint64_t bytes = MIN(c->unit - at, COPY_BYTES);
        bool data = true;
        int ret = file_extent(c->file, place->at + at, &bytes, &data);
        bytes = MIN(MAX(bytes, 1), c->unit - at);
        if (!ret && data)
            ret = file_pread(c->file, place->at + at, w->buffer, bytes);
        if (ret)
            return ret;
        if (data && !buffer_is_zero(w->buffer, bytes))
            return 0;
        at += bytes;
    }
    place->zero = true;
    return 0;
}

/* Forgets the entries of blocks of zeros; whole once they are safe. */
static int drop_zeros(Work *w, const NodeProgress *progress)
{
    const BlockMapCompact *c = w->c;
    int ret = 0;
    unsigned kept = 0;
    for (unsigned i = 0; i < w->places->len && !ret; i++, w->done++) {
        Place *place = place_at(w, i);
        ret = tell(w, progress) ? look_for_zeros(w, place) : -ECANCELED;
        if (!ret && place->zero)
            ret = block_map_set(c->map, place->index, c->zero_entry);
    }
    if (!ret)
        ret = block_map_commit(c->map, c->before, c->opaque, true);
    for (unsigned i = 0; i < w->places->len && !ret; i++)
        if (!place_at(w, i)->zero)
            *place_at(w, kept++) = *place_at(w, i);
    if (!ret)
        g_array_set_size(w->places, kept);
    return ret;
}

/* ---- Moving ---- */

static int copy_block(Work *w, uint64_t from, uint64_t to)
{
    const BlockMapCompact *c = w->c;
    int ret = 0;
    for (uint64_t at = 0; at < c->unit && !ret; at += COPY_BYTES) {
        uint64_t bytes = MIN(c->unit - at, COPY_BYTES);
        ret = file_pread(c->file, from + at, w->buffer, bytes);
        if (!ret)
            ret = file_pwrite(c->file, to + at, w->buffer, bytes);
    }
    return ret;
}

/* The next gap from *at on that holds a block: *at; `next` is the block behind it.  A gap lies
 * below the blocks that are left. */
static bool find_gap(const Work *w, unsigned left, unsigned *next, uint64_t *at)
{
    const BlockMapCompact *c = w->c;
    for (; *next < left; ++*next) {
        uint64_t begin = place_at(w, *next)->at;
        *at = align_up(*at, c->align);
        while (*at + c->unit <= begin) {
            uint64_t end = c->blocked ? c->blocked(c->opaque, *at, *at + c->unit) : 0;
            if (!end)
                return true;
            *at = align_up(end, c->align);
        }
        *at = MAX(*at, begin + c->unit);
    }
    return false;
}

static int move_blocks(Work *w, const NodeProgress *progress)
{
    const BlockMapCompact *c = w->c;
    unsigned left = w->places->len, next = 0;
    uint64_t at = c->start;
    int ret = 0;
    while (!ret && find_gap(w, left, &next, &at)) {
        Place *last = place_at(w, --left);
        ret = tell(w, progress) ? copy_block(w, last->at, at) : -ECANCELED;
        if (!ret)
            ret = block_map_set(c->map, last->index, c->entry(c->opaque, at));
        last->at = at;
        at += c->unit;
        w->done++;
    }
    return ret ? ret : block_map_commit(c->map, c->before, c->opaque, true);
}

int block_map_compact(const BlockMapCompact *c, const NodeProgress *progress, uint64_t *end)
{
    Work w = {.c = c,
              .places = g_array_new(FALSE, FALSE, sizeof(Place)),
              .buffer = block_alloc(COPY_BYTES)};
    int ret = w.buffer ? block_map_commit(c->map, c->before, c->opaque, true) : -ENOMEM;
    if (!ret)
        ret = block_map_scan(c->map, note_place, &w);
    g_array_sort(w.places, by_place);
    if (!ret)
        ret = check_places(&w);
    if (!ret)
        ret = drop_zeros(&w, progress);
    if (!ret)
        ret = move_blocks(&w, progress);
    *end = c->start;
    for (unsigned i = 0; i < w.places->len; i++)
        *end = MAX(*end, place_at(&w, i)->at + c->unit);
    g_array_free(w.places, TRUE);
    free(w.buffer);
    return ret;
}
