/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copying images.  Each worker is a coroutine that takes the next piece, reads it, looks for zeros,
 * compresses it if asked, waits until it is its turn, and writes it.  Turns are taken when a write
 * begins, so that room is given out in order while the writes themselves overlap.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "img-copy.h"
#include "img-extent.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

#define PIECE_BYTES (2u << 20) /* the most that is copied at once, unless -S asks for more */

typedef enum { PIECE_SKIP, PIECE_ZERO, PIECE_DATA } PieceKind;

typedef struct Piece {
    uint64_t offset, bytes;
    PieceKind kind;
} Piece;

typedef struct Worker {
    Copy *copy;
    uint8_t *data;
    uint8_t *packed; /* compressed; one cluster */
} Worker;

/* ---- Speed limit ---- */

static void wake(void *opaque)
{
    co_wake(opaque);
}

/* Waits until what was moved so far fits the rate; what takes no space does not count. */
static void keep_rate(Copy *copy)
{
    Timer timer;
    double seconds = (double)copy->moved / (double)copy->rate;
    int64_t due = copy->started + (int64_t)(seconds * (double)NS_PER_SEC);
    if (due <= clock_now(VM_CLOCK_HOST))
        return;
    timer_init(&timer, loop_main(), VM_CLOCK_HOST, wake, co_self());
    timer_arm(&timer, due);
    co_yield ();
    timer_cancel(&timer);
}

/* ---- Reading ---- */

static BlkNode *source_at(const Copy *copy, uint64_t offset, uint64_t *within)
{
    offset += copy->start;
    for (unsigned i = 0; i < copy->sources->len; i++) {
        BlkNode *node = g_ptr_array_index(copy->sources, i);
        if (offset < node->size) {
            *within = offset;
            return node;
        }
        offset -= node->size;
    }
    return NULL;
}

/* What lies at an offset, as far as one piece may go. */
static int look(Copy *copy, Piece *p)
{
    static const PieceKind kinds[] = {
        [RANGE_UNALLOCATED] = PIECE_SKIP, [RANGE_ZERO] = PIECE_ZERO, [RANGE_DATA] = PIECE_DATA};
    uint64_t within;
    RangeKind kind = RANGE_DATA;
    BlkNode *node = source_at(copy, p->offset, &within);
    p->bytes = MIN(p->bytes, node->size - within);
    int ret = img_range(node, within, &p->bytes, copy->scope, &kind);
    if (ret && copy->salvage) { /* reading will tell which part is lost */
        p->bytes = MIN(p->bytes, PIECE_BYTES);
        ret = 0;
    }
    p->kind = kinds[kind];
    return ret;
}

/* Where the piece that begins at offset ends at the latest: pieces hold whole units of -S. */
static uint64_t piece_end(const Copy *copy, uint64_t offset)
{
    uint64_t piece = copy->piece;
    return offset - offset % piece + piece;
}

/* Without -c: one extent.  What reads as zeros need not be small, nothing is read of it. */
static int next_extent(Copy *copy, Piece *p)
{
    *p = (Piece){.offset = copy->next, .bytes = copy->size - copy->next};
    int ret = look(copy, p);
    if (!ret && p->kind == PIECE_DATA)
        p->bytes = MIN(p->bytes, piece_end(copy, p->offset) - p->offset);
    if (!copy->sparse && p->kind == PIECE_ZERO) { /* -S 0: everything is to take its space */
        p->kind = PIECE_DATA;
        p->bytes = MIN(p->bytes, copy->piece);
    }
    return ret;
}

/* With -c: one cluster of the target, data if any part of it is. */
static int next_cluster(Copy *copy, Piece *p)
{
    uint64_t cluster = copy->target->cluster;
    uint64_t end = MIN(copy->next + cluster, copy->size), at = copy->next;
    PieceKind kind = PIECE_SKIP;
    while (at < end) {
        Piece part = {.offset = at, .bytes = copy->size - at};
        int ret = look(copy, &part);
        if (ret)
            return ret;
        if (at == copy->next && part.kind != PIECE_DATA && part.bytes > cluster) {
            uint64_t whole =
                at + part.bytes == copy->size ? part.bytes : align_down(part.bytes, cluster);
            *p = (Piece){at, whole, part.kind};
            return 0;
        }
        /* A cluster that the top holds in part only comes whole from below, if it is a mixture. */
        kind = at == copy->next ? part.kind : part.kind == kind ? kind : PIECE_DATA;
        at += part.bytes;
    }
    *p = (Piece){copy->next, end - copy->next, kind};
    return 0;
}

/* Takes the next piece; one of no bytes at the end. */
static int next_piece(Copy *copy, Piece *p)
{
    int ret = 0;
    co_mutex_lock(&copy->picking);
    *p = (Piece){.offset = copy->next};
    if (copy->next < copy->size)
        ret = copy->compress ? next_cluster(copy, p) : next_extent(copy, p);
    if (!ret)
        copy->next = p->offset + p->bytes;
    co_mutex_unlock(&copy->picking);
    return ret;
}

static int read_sources(Copy *copy, uint64_t offset, uint8_t *data, uint64_t bytes)
{
    int ret = 0;
    for (uint64_t done = 0; done < bytes && !ret;) {
        uint64_t within;
        BlkNode *node = source_at(copy, offset + done, &within);
        uint64_t n = MIN(bytes - done, node->size - within);
        struct iovec iov = {data + done, n};
        ret = node_read(node, within, (IoBuf){&iov, 1, 0}, n);
        done += n;
    }
    return ret;
}

/* Sector by sector, as much as can be read. */
static void salvage_piece(Copy *copy, const Piece *p, uint8_t *data)
{
    for (uint64_t at = 0; at < p->bytes; at += 512) {
        int ret = read_sources(copy, p->offset + at, data + at, 512);
        if (!ret)
            continue;
        memset(data + at, 0, 512);
        if (!copy->quiet)
            report_warn("error while reading offset %" PRIu64 ": %s", p->offset + at,
                        g_strerror(-ret));
    }
}

static int read_piece(Copy *copy, const Piece *p, uint8_t *data)
{
    int ret = read_sources(copy, p->offset, data, p->bytes);
    if (!ret || !copy->salvage)
        return ret;
    salvage_piece(copy, p, data);
    return 0;
}

/* ---- Writing ---- */

static int write_zero(Copy *copy, uint64_t offset, uint64_t bytes)
{
    if (copy->target_is_zero && !copy->target_has_backing)
        return 0;
    return node_write_zeroes(copy->target, offset, bytes, copy->sparse ? ZERO_MAY_UNMAP : 0);
}

static int write_data(Copy *copy, uint64_t offset, const uint8_t *data, uint64_t bytes)
{
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
    return node_write(copy->target, offset, (IoBuf){&iov, 1, 0}, bytes);
}

/* The length of the run of zeros, or of anything else, that data begins with, in units of the
 * shortest run that counts (or what is left to the next multiple of it in the image). */
static uint64_t run_length(const Copy *copy, uint64_t offset, const uint8_t *data, uint64_t bytes,
                           bool *zero)
{
    uint64_t n = 0;
    while (n < bytes) {
        uint64_t unit = copy->sparse - (offset + n) % copy->sparse;
        unit = MIN(unit, bytes - n);
        bool is_zero = buffer_is_zero(data + n, unit);
        if (n && is_zero != *zero)
            break;
        *zero = is_zero;
        n += unit;
    }
    return n;
}

static int write_sparse(Copy *copy, const Piece *p, const uint8_t *data)
{
    int ret = 0;
    for (uint64_t done = 0; done < p->bytes && !ret;) {
        bool zero = false;
        uint64_t n = p->bytes - done;
        if (copy->sparse)
            n = run_length(copy, p->offset + done, data + done, n, &zero);
        ret = zero ? write_zero(copy, p->offset + done, n)
                   : write_data(copy, p->offset + done, data + done, n);
        done += n;
    }
    return ret;
}

/* Takes off the piece's front what the host copies by itself.  A host that cannot is not asked
 * again. */
static void offload_piece(Copy *copy, Piece *p)
{
    uint64_t done = 1, within, all = 0;
    while (p->bytes && done) {
        BlkNode *node = source_at(copy, p->offset, &within);
        uint64_t bytes = MIN(p->bytes, node->size - within);
        done = node_copy_from(copy->target, p->offset, node, within, bytes);
        p->offset += done;
        p->bytes -= done;
        all += done;
    }
    copy->offload = copy->offload && all;
}

static int write_piece(Worker *w, const Piece *p, int packed)
{
    Copy *copy = w->copy;
    if (p->kind == PIECE_SKIP)
        return 0;
    if (p->kind == PIECE_ZERO)
        return write_zero(copy, p->offset, p->bytes);
    if (packed > 0)
        return node_write_compressed(copy->target, p->offset, w->packed, (size_t)packed);
    return write_sparse(copy, p, w->data);
}

/* ---- Workers ---- */

static void fail_at(Copy *copy, int ret, uint64_t offset, bool writing)
{
    if (!copy->ret) {
        copy->ret = ret;
        copy->failed_at = offset;
        copy->failed_writing = writing;
    }
    co_queue_wake_all(&copy->turn);
}

/* Waits until all pieces before this one are being written. */
static void wait_turn(Copy *copy, const Piece *p)
{
    while (!copy->out_of_order && copy->written != p->offset && !copy->ret)
        co_queue_wait(&copy->turn);
    copy->written = p->offset + p->bytes;
    co_queue_wake_all(&copy->turn);
}

/* What is left of the piece after the host had its turn. */
static int offload_and_write(Worker *w, Piece p)
{
    Copy *copy = w->copy;
    offload_piece(copy, &p);
    int ret = p.bytes ? read_piece(copy, &p, w->data) : 0;
    return ret || !p.bytes ? ret : write_sparse(copy, &p, w->data);
}

/* The piece's data, and its compressed form: the length of that, or 0. */
static int load_piece(Worker *w, Piece *p, int *packed)
{
    Copy *copy = w->copy;
    *packed = 0;
    if (p->kind != PIECE_DATA)
        return 0;
    int ret = read_piece(copy, p, w->data);
    if (ret || !copy->compress)
        return ret;
    if (buffer_is_zero(w->data, p->bytes)) {
        p->kind = PIECE_ZERO;
        return 0;
    }
    memset(w->data + p->bytes, 0, copy->target->cluster - p->bytes);
    *packed = node_compress(copy->target, w->data, w->packed);
    if (*packed < 0 && *packed != -ENOSPC)
        return *packed;
    *packed = MAX(*packed, 0);
    return 0;
}

static void copy_pieces(Worker *w)
{
    Copy *copy = w->copy;
    while (!copy->ret) {
        Piece p;
        int packed;
        int ret = next_piece(copy, &p);
        if (!ret && !p.bytes)
            return;
        bool offload = copy->offload && !ret && p.kind == PIECE_DATA;
        if (!ret && !offload)
            ret = load_piece(w, &p, &packed);
        if (ret) {
            fail_at(copy, ret, p.offset, false);
            return;
        }
        wait_turn(copy, &p);
        if (copy->ret)
            return;
        ret = offload ? offload_and_write(w, p) : write_piece(w, &p, packed);
        if (!ret && copy->writethrough)
            ret = node_flush(copy->target);
        if (ret)
            fail_at(copy, ret, p.offset, true);
        copy->done += p.bytes;
        copy->moved += p.kind == PIECE_DATA ? p.bytes : 0;
        progress_show(copy->done, copy->size);
        if (copy->rate && !copy->ret)
            keep_rate(copy);
    }
}

static void worker_main(void *opaque)
{
    Copy *copy = opaque;
    uint64_t cluster = copy->target->cluster;
    Worker w = {.copy = copy, .data = block_alloc(MAX(copy->piece, cluster))};
    w.packed = copy->compress ? node_alloc_packed(copy->target) : NULL;
    if (w.data && (w.packed || !copy->compress))
        copy_pieces(&w);
    else
        fail_at(copy, -ENOMEM, copy->next, false);
    free(w.data);
    free(w.packed);
}

static bool report_failure(const Copy *copy, GError **error)
{
    return fail(error, "error while %s byte %" PRIu64 ": %s",
                copy->failed_writing ? "writing at" : "reading at", copy->failed_at,
                g_strerror(-copy->ret));
}

bool copy_run(Copy *copy, GError **error)
{
    copy->started = clock_now(VM_CLOCK_HOST);
    copy->piece = PIECE_BYTES;
    if (copy->sparse)
        copy->piece = MAX(PIECE_BYTES / copy->sparse * copy->sparse, copy->sparse);
    progress_begin(copy->progress, copy->quiet);
    img_parallel(copy->workers, worker_main, copy);
    progress_end(!copy->ret);
    return !copy->ret || report_failure(copy, error);
}
