/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk must hold. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"

#define BASE_STAMP 1u
#define STEP       256u /* sectors that are read at once */

/* One write to a sector. */
typedef struct Version {
    uint32_t stamp; /* 0: zeros */
    bool maybe;     /* a discard: old contents are right, too */
    unsigned begun; /* length of the log then */
    uint64_t done;  /* time when it had succeeded; UINT64_MAX: never */
} Version;

typedef struct Flush {
    uint64_t begun;     /* time */
    unsigned completed; /* length of the log then */
} Flush;

struct Model {
    uint64_t sectors;
    GArray **history; /* of Version, a sector each */
    GArray *flushes;  /* of Flush */
    bool *busy;       /* sectors that a request is under way on */
    uint32_t next_stamp;
    uint64_t time;
};

Model *model_new(uint64_t sectors, uint64_t base_sectors)
{
    Model *model = g_new0(Model, 1);
    model->sectors = sectors;
    model->history = g_new(GArray *, sectors);
    model->flushes = g_array_new(FALSE, FALSE, sizeof(Flush));
    model->busy = g_new0(bool, sectors);
    model->next_stamp = BASE_STAMP + 1;
    for (uint64_t i = 0; i < sectors; i++) {
        Version first = {.stamp = i < base_sectors ? BASE_STAMP : 0};
        model->history[i] = g_array_new(FALSE, FALSE, sizeof(Version));
        g_array_append_val(model->history[i], first);
    }
    return model;
}

void model_free(Model *model)
{
    for (uint64_t i = 0; i < model->sectors; i++)
        g_array_free(model->history[i], TRUE);
    g_array_free(model->flushes, TRUE);
    g_free(model->history);
    g_free(model->busy);
    g_free(model);
}

/* ---- Stamps ---- */

static void stamp_sector(uint8_t *data, uint64_t sector, uint32_t stamp)
{
    memset(data, 0, 512);
    for (unsigned i = 0; stamp && i < 512; i += 16) {
        st64_le(data + i, sector);
        st32_le(data + i + 8, stamp);
        st32_le(data + i + 12, stamp * 2654435761u + i); /* so that it hardly compresses */
    }
}

void model_fill_base(GByteArray *data, uint64_t sectors)
{
    g_byte_array_set_size(data, (guint)(sectors * 512));
    for (uint64_t i = 0; i < sectors; i++)
        stamp_sector(data->data + i * 512, i, BASE_STAMP);
}

/* ---- Verifying ---- */

static bool matches(const uint8_t *data, uint64_t sector, uint32_t stamp)
{
    uint8_t right[512];
    stamp_sector(right, sector, stamp);
    return !memcmp(data, right, sizeof(right));
}

/* Whether the sector holds a version from the last certain one on. certain: done before this time.
 */
static bool sector_is_right(const Model *model, uint64_t sector, const uint8_t *data,
                            uint64_t certain, unsigned log_length)
{
    const GArray *history = model->history[sector];
    for (unsigned i = history->len; i-- > 0;) {
        const Version *v = &g_array_index(history, Version, i);
        if (v->begun <= log_length && matches(data, sector, v->stamp))
            return true;
        if (v->done < certain && !v->maybe)
            return false;
    }
    return false;
}

static bool verify(const Model *model, BlkNode *node, uint64_t certain, unsigned log_length,
                   uint64_t *where)
{
    uint8_t *data = aligned_alloc(4096, STEP * 512);
    bool right = true;
    for (uint64_t at = 0; at < model->sectors && right; at += STEP) {
        uint64_t n = MIN(STEP, model->sectors - at);
        struct iovec iov = {data, n * 512};
        *where = at;
        right = !node_read(node, at * 512, (IoBuf){&iov, 1, 0}, n * 512);
        for (uint64_t i = 0; i < n && right; i++) {
            *where = at + i;
            right = sector_is_right(model, at + i, data + i * 512, certain, log_length);
        }
    }
    free(data);
    return right;
}

bool model_verify(const Model *model, BlkNode *node, uint64_t *where)
{
    return verify(model, node, UINT64_MAX, UINT32_MAX, where);
}

bool model_verify_cut(const Model *model, BlkNode *node, unsigned length, uint64_t *where)
{
    uint64_t certain = 1; /* what was there at first is */
    for (unsigned i = 0; i < model->flushes->len; i++) {
        const Flush *f = &g_array_index(model->flushes, Flush, i);
        if (f->completed <= length)
            certain = MAX(certain, f->begun);
    }
    return verify(model, node, certain, length, where);
}

void model_settle(Model *model)
{
    Flush all = {.begun = ++model->time, .completed = 0};
    g_array_append_val(model->flushes, all);
    for (uint64_t i = 0; i < model->sectors; i++)
        for (unsigned j = 0; j < model->history[i]->len; j++)
            g_array_index(model->history[i], Version, j).begun = 0;
}

Model *model_after_cut(const Model *model, BlkNode *node)
{
    Model *after = model_new(model->sectors, 0);
    uint8_t *data = aligned_alloc(4096, STEP * 512);
    for (uint64_t at = 0; at < model->sectors; at += STEP) {
        uint64_t n = MIN(STEP, model->sectors - at);
        struct iovec iov = {data, n * 512};
        g_assert_cmpint(node_read(node, at * 512, (IoBuf){&iov, 1, 0}, n * 512), ==, 0);
        for (uint64_t i = 0; i < n; i++)
            g_array_index(after->history[at + i], Version, 0).stamp = ld32_le(data + i * 512 + 8);
    }
    after->next_stamp = model->next_stamp;
    free(data);
    return after;
}

/* ---- Work ---- */

typedef struct Pool {
    Model *model;
    BlkNode *node;
    const Work *work;
    uint64_t *random;
    const MemFile *recorded;
    unsigned left, running;
} Pool;

typedef enum { DO_WRITE, DO_READ, DO_ZERO, DO_DISCARD, DO_COMPRESSED, DO_FLUSH } Action;

typedef struct Task {
    Action action;
    uint64_t first, count; /* sectors */
    uint32_t stamp;
    unsigned flags;
} Task;

static unsigned log_length(const Pool *p)
{
    return p->recorded && p->recorded->log ? p->recorded->log->len : 0;
}

static Action pick_action(Pool *p)
{
    uint64_t r = next_random(p->random) % 16;
    if (r < 2 && p->work->flush)
        return DO_FLUSH;
    if (r < (p->work->mostly_zero ? 12 : 4) && p->work->zero)
        return DO_ZERO;
    if (r < 5 && p->work->discard)
        return DO_DISCARD;
    if (p->work->compressed && r < 5 + 2 * p->work->compressed)
        return DO_COMPRESSED;
    return r % 4 ? DO_WRITE : DO_READ;
}

/* A range that no other task is busy with; count 0 if none was found. */
static void pick_range(Pool *p, Task *t)
{
    Model *model = p->model;
    uint64_t cluster = p->node->cluster / 512;
    uint64_t max = MIN(p->work->max_sectors, model->sectors);
    t->first = next_random(p->random) % model->sectors;
    t->count = 1 + next_random(p->random) % max;
    if (t->action == DO_COMPRESSED) {
        t->first = align_down(t->first, cluster);
        t->count = cluster;
    } else if (next_random(p->random) % 4 == 0) { /* whole clusters take other ways */
        t->first = align_down(t->first, cluster);
        t->count = align_up(t->count, cluster);
    }
    t->count = MIN(t->count, model->sectors - t->first);
    for (uint64_t i = 0; i < t->count; i++)
        if (model->busy[t->first + i])
            t->count = i;
    if (t->action == DO_COMPRESSED && t->count < cluster)
        t->count = 0;
}

static void begin(Pool *p, Task *t)
{
    Model *model = p->model;
    bool zero = t->action == DO_ZERO || t->action == DO_DISCARD;
    t->stamp = zero ? 0 : model->next_stamp++;
    for (uint64_t i = t->first; i < t->first + t->count; i++) {
        Version v = {t->stamp, t->action == DO_DISCARD, log_length(p), UINT64_MAX};
        model->busy[i] = true;
        if (t->action != DO_READ)
            g_array_append_val(model->history[i], v);
    }
}

static void end(Pool *p, const Task *t, int ret)
{
    Model *model = p->model;
    model->time++;
    for (uint64_t i = t->first; i < t->first + t->count; i++) {
        GArray *history = model->history[i];
        model->busy[i] = false;
        if (t->action != DO_READ && !ret)
            g_array_index(history, Version, history->len - 1).done = model->time;
    }
}

static int write_compressed(Pool *p, const Task *t, const uint8_t *data)
{
    uint8_t *packed = g_malloc(p->node->cluster);
    int length = node_compress(p->node, data, packed);
    struct iovec iov = {(void *)(uintptr_t)data, t->count * 512};
    int ret = length > 0 ? node_write_compressed(p->node, t->first * 512, packed, (size_t)length)
              : length == -ENOSPC
                  ? node_write(p->node, t->first * 512, (IoBuf){&iov, 1, 0}, t->count * 512)
                  : length;
    g_free(packed);
    return ret;
}

static int transfer(Pool *p, const Task *t)
{
    uint8_t *data = aligned_alloc(4096, align_up(t->count * 512, 4096));
    struct iovec iov[2] = {{data, 512}, {data + 512, (t->count - 1) * 512}};
    IoBuf buf = {iov, 2, 0};
    int ret;
    for (uint64_t i = 0; i < t->count; i++)
        stamp_sector(data + i * 512, t->first + i, t->stamp);
    if (t->action == DO_COMPRESSED) {
        ret = write_compressed(p, t, data);
    } else if (t->action == DO_WRITE) {
        ret = node_write_nowait(p->node, t->first * 512, buf, t->count * 512);
        if (ret == -EAGAIN)
            ret = node_write(p->node, t->first * 512, buf, t->count * 512);
    } else {
        ret = node_read(p->node, t->first * 512, buf, t->count * 512);
        for (uint64_t i = 0; i < t->count && !ret; i++)
            if (!sector_is_right(p->model, t->first + i, data + i * 512, UINT64_MAX, UINT32_MAX))
                g_error("sector %" G_GUINT64_FORMAT " reads wrong", t->first + i);
    }
    free(data);
    return ret;
}

static void do_flush(Pool *p)
{
    Flush f = {.begun = ++p->model->time};
    int ret = node_flush(p->node);
    f.completed = log_length(p);
    if (!ret)
        g_array_append_val(p->model->flushes, f);
    else if (!p->work->may_fail)
        g_error("flush: %s", g_strerror(-ret));
}

static void do_task(Pool *p)
{
    Task t = {.action = pick_action(p)};
    int ret = 0;
    if (t.action == DO_FLUSH) {
        do_flush(p);
        return;
    }
    pick_range(p, &t);
    if (!t.count)
        return;
    begin(p, &t);
    if (t.action == DO_ZERO)
        ret = node_write_zeroes(p->node, t.first * 512, t.count * 512,
                                next_random(p->random) % 2 ? ZERO_MAY_UNMAP : 0);
    else if (t.action == DO_DISCARD)
        ret = node_discard(p->node, t.first * 512, t.count * 512, 0);
    else
        ret = transfer(p, &t);
    if (ret && !p->work->may_fail)
        g_error("request %d at sector %" G_GUINT64_FORMAT ": %s", t.action, t.first,
                g_strerror(-ret));
    end(p, &t, ret);
}

static void worker_main(void *opaque)
{
    Pool *p = opaque;
    while (p->left) {
        p->left--;
        do_task(p);
    }
    p->running--;
}

void model_work(Model *model, BlkNode *node, const Work *work, uint64_t *random,
                const MemFile *recorded)
{
    Pool p = {.model = model,
              .node = node,
              .work = work,
              .random = random,
              .recorded = recorded,
              .left = work->operations,
              .running = work->workers};
    for (unsigned i = 0; i < work->workers; i++)
        co_start(node->sched, worker_main, NULL, &p);
    while (p.running)
        loop_step(co_sched_loop(node->sched), true);
}
