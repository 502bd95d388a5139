/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making an image's file shorter.  repack.h has the idea. */
#include "repack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"

#define MAX_PIECES   (1u << 26)
#define COPY_BYTES   (1u << 20)
#define BATCH        4096u /* entries that wait in memory for a commit */
#define SIZE_CLASSES 64u

typedef struct Gap {
    uint64_t from, to;
} Gap;

typedef struct Work {
    const Repack *r;
    const NodeProgress *progress;
    Pieces pieces; /* by place at the begin of each round */
    Gap *gaps;
    unsigned gap_count;
    unsigned cursor[SIZE_CLASSES + 1]; /* no gap before it holds a piece of the class */
    unsigned waiting;                  /* pieces named since the last commit */
    uint64_t done, moved;
    uint8_t *buffer;
} Work;

/* ---- Pieces ---- */

bool pieces_add(Pieces *pieces, Piece piece, GError **error)
{
    if (piece.at > pieces->file->size)
        return fail(error, "'%s': a table names 0x%" PRIx64 ", past the end of the file",
                    pieces->file->name, piece.at);
    if (piece.kind != PIECE_FIXED && piece.at < pieces->start)
        return fail(error, "'%s': a table names 0x%" PRIx64 ", where the header's tables are",
                    pieces->file->name, piece.at);
    if (pieces->count == MAX_PIECES)
        return fail(error, "'%s': more than %u clusters are too many to compact",
                    pieces->file->name, MAX_PIECES);
    if (pieces->count == pieces->room) {
        unsigned room = MIN(MAX(pieces->room + pieces->room / 2, 1024), MAX_PIECES);
        Piece *list = block_try_realloc(pieces->list, room * sizeof(*list));
        if (!list)
            return fail_errno(error, ENOMEM, "'%s': cannot compact it", pieces->file->name);
        pieces->list = list;
        pieces->room = room;
    }
    pieces->list[pieces->count++] = piece;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const Piece *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void sort(Pieces *pieces)
{
    if (pieces->count)
        qsort(pieces->list, pieces->count, sizeof(*pieces->list), by_place);
}

/* Pieces that overlap are damage, which moving would spread. */
bool pieces_check(Pieces *pieces, GError **error)
{
    uint64_t end = 0;
    sort(pieces);
    for (unsigned i = 0; i < pieces->count; i++) {
        if (pieces->list[i].at < end)
            return fail(error, "'%s': two tables or clusters lie at 0x%" PRIx64, pieces->file->name,
                        pieces->list[i].at);
        end = pieces->list[i].at + pieces->list[i].bytes;
    }
    return true;
}

static bool tell(const Work *w)
{
    uint64_t all = MAX(2ULL * w->pieces.count, 1);
    const NodeProgress *p = w->progress;
    return !p || p->tell(p->opaque, MIN(w->done, all), all);
}

/* Many entries at once, so that flushes are few; not all, so that memory is bounded. */
static int commit(Work *w, bool last)
{
    if (!w->waiting || (!last && w->waiting < BATCH))
        return 0;
    int ret = w->r->commit(w->r->opaque);
    w->waiting = 0;
    return ret;
}

static int name_place(Work *w, const Piece *p, uint64_t at)
{
    int ret = w->r->name(w->r->opaque, p, at);
    w->waiting++;
    return ret ? ret : commit(w, false);
}

/* ---- Pieces of zeros ---- */

static int bytes_are_zero(Work *w, const Piece *p, bool *zero)
{
    BlkFile *file = w->r->file;
    *zero = false;
    for (uint64_t at = p->kind == PIECE_DATA ? w->r->head : 0; at < p->bytes;) {
        uint64_t bytes = MIN(p->bytes - at, COPY_BYTES);
        bool data = true;
        int ret = file_extent(file, p->at + at, &bytes, &data);
        bytes = MIN(MAX(bytes, 1), p->bytes - at);
        if (!ret && data)
            ret = file_pread(file, p->at + at, w->buffer, bytes);
        if (ret)
            return ret;
        if (data && !buffer_is_zero(w->buffer, bytes))
            return 0;
        at += bytes;
    }
    *zero = true;
    return 0;
}

static int reads_as_zeros(Work *w, const Piece *p, bool *zero)
{
    if (p->kind != PIECE_PACKED)
        return bytes_are_zero(w, p, zero);
    int ret = file_pread(w->r->file, p->at, w->buffer, p->bytes);
    *zero = !ret && w->r->packed_zeros(w->r->opaque, w->buffer, p->bytes);
    return ret;
}

static int drop_if_zero(Work *w, Piece *p)
{
    bool zero = false;
    int ret = tell(w) ? 0 : -ECANCELED;
    if (!ret && w->r->drop_zeros[p->kind])
        ret = reads_as_zeros(w, p, &zero);
    w->done++;
    if (ret || !zero)
        return ret;
    p->zero = 1;
    return name_place(w, p, 0);
}

static void forget_dropped(Pieces *pieces)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < pieces->count; i++)
        if (!pieces->list[i].zero)
            pieces->list[kept++] = pieces->list[i];
    pieces->count = kept;
}

/* The room of those that go is free once that is safe.  Tables come last: what went from them may
 * have left them empty. */
static int drop_zeros(Work *w)
{
    static const PieceKind order[] = {PIECE_DATA, PIECE_PACKED, PIECE_TABLE};
    int ret = 0;
    for (size_t k = 0; k < G_N_ELEMENTS(order) && !ret; k++) {
        for (unsigned i = 0; i < w->pieces.count && !ret; i++)
            if (w->pieces.list[i].kind == order[k])
                ret = drop_if_zero(w, &w->pieces.list[i]);
        if (!ret)
            ret = commit(w, true);
    }
    if (!ret)
        forget_dropped(&w->pieces);
    return ret;
}

/* ---- Gaps ---- */

static void find_gaps(Work *w)
{
    uint64_t end = w->r->start;
    sort(&w->pieces);
    w->gap_count = 0;
    for (unsigned i = 0; i < w->pieces.count; i++) {
        const Piece *p = &w->pieces.list[i];
        if (p->at > end)
            w->gaps[w->gap_count++] = (Gap){end, p->at};
        end = MAX(end, p->at + p->bytes);
    }
    memset(w->cursor, 0, sizeof(w->cursor));
}

/* Pieces of a round are all of one size, or packed: these share a cursor with those that are nearly
 * as large, and *bytes is what the largest of them takes. */
static unsigned *cursor_of(Work *w, const Piece *p, uint64_t *bytes)
{
    *bytes = p->bytes;
    if (p->kind != PIECE_PACKED)
        return &w->cursor[0];
    uint64_t step = MAX(w->r->align[PIECE_DATA] / SIZE_CLASSES, 1);
    unsigned class = (unsigned)MIN((p->bytes + step - 1) / step, SIZE_CLASSES);
    *bytes = MAX(class * step, p->bytes);
    return &w->cursor[class];
}

/* The first gap below a piece that holds it.  As the pieces of a round come from the end of the
 * file downwards, no gap has to be looked at twice. */
static bool take_gap(Work *w, const Piece *p, uint64_t *to)
{
    uint64_t bytes, align = w->r->align[p->kind];
    unsigned *cursor = cursor_of(w, p, &bytes);
    for (; *cursor < w->gap_count; ++*cursor) {
        Gap *gap = &w->gaps[*cursor];
        uint64_t at = align_up(gap->from, align);
        if (gap->to > p->at)
            return false;
        if (at + bytes > gap->to)
            continue;
        gap->from = at + p->bytes;
        *to = at;
        return true;
    }
    return false;
}

/* ---- Moving ---- */

static int copy_piece(Work *w, const Piece *p, uint64_t to)
{
    int ret = 0;
    for (uint64_t at = 0; at < p->bytes && !ret; at += COPY_BYTES) {
        uint64_t bytes = MIN(p->bytes - at, COPY_BYTES);
        ret = file_pread(w->r->file, p->at + at, w->buffer, bytes);
        if (!ret)
            ret = file_pwrite(w->r->file, to + at, w->buffer, bytes);
    }
    return ret;
}

/* One kind a round: a table that moves must not have entries that wait.  What a round leaves is for
 * the next one to fill. */
static int move_round(Work *w, PieceKind kind)
{
    int ret = 0;
    find_gaps(w);
    for (unsigned i = w->pieces.count; w->gap_count && i-- > 0 && !ret;) {
        Piece *p = &w->pieces.list[i];
        uint64_t to;
        if (p->kind != kind || !take_gap(w, p, &to))
            continue;
        ret = tell(w) ? copy_piece(w, p, to) : -ECANCELED;
        if (!ret)
            ret = name_place(w, p, to);
        p->at = to;
        w->moved++;
        w->done++;
    }
    return ret ? ret : commit(w, true);
}

static int move_all(Work *w)
{
    static const PieceKind order[] = {PIECE_DATA, PIECE_TABLE, PIECE_PACKED};
    w->gaps = block_try_malloc((w->pieces.count + 1ULL) * sizeof(*w->gaps));
    int ret = w->gaps ? 0 : -ENOMEM;
    for (uint64_t before = 1; before != w->moved && !ret;) {
        before = w->moved;
        for (size_t k = 0; k < G_N_ELEMENTS(order) && !ret; k++)
            ret = move_round(w, order[k]);
    }
    return ret;
}

/* ---- The whole ---- */

static bool list_pieces(Work *w, GError **error)
{
    return w->r->list(w->r->opaque, &w->pieces, error) && pieces_check(&w->pieces, error);
}

bool repack(const Repack *r, const NodeProgress *progress, uint64_t *end, GError **error)
{
    Work w = {.r = r, .progress = progress, .pieces = {.file = r->file, .start = r->start}};
    w.buffer = block_alloc(COPY_BYTES);
    int ret = w.buffer ? r->commit(r->opaque) : -ENOMEM;
    bool sound = ret || list_pieces(&w, error);
    if (sound && !ret)
        ret = drop_zeros(&w);
    if (sound && !ret)
        ret = move_all(&w);
    *end = r->start;
    for (unsigned i = 0; i < w.pieces.count; i++)
        *end = MAX(*end, w.pieces.list[i].at + w.pieces.list[i].bytes);
    g_free(w.pieces.list);
    g_free(w.gaps);
    free(w.buffer);
    return sound && (!ret || fail_errno(error, -ret, "'%s': cannot compact it", r->file->name));
}
