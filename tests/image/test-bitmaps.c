/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What others claim of a qcow2 image: bitmaps that record writes, and autoclear bits that we do not
 * know.  Whatever happens (a power cut at any entry of the record, any call to the file that
 * fails), a bitmap that is believed has a bit wherever the disk is not what it was, and an unknown
 * bit stands only while nothing has changed (invariant 8 of docs/qcow2-invariants.md).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memfile.h"
#include "util/bytes.h"

enum { SIZE = 96 << 10, GRAIN = 4096, WRITERS = 4, AUTOCLEAR_AT = 88 };

static CoSched *sched;
static uint64_t seed;

static GByteArray *copy_of(const GByteArray *data)
{
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data->data, data->len);
    return copy;
}

static BlkNode *open_bytes(GByteArray *data, bool writable, MemFile **file)
{
    NodeMode mode = {.file = {.writable = writable}};
    GError *error = NULL;
    MemFile *m = memfile_new(sched, data);
    m->base.readonly = !writable;
    BlkNode *node = node_open_file(&m->base, "qcow2", &mode, &error);
    if (!node)
        g_error("%s", error->message);
    if (file)
        *file = m;
    return node;
}

static GByteArray *read_disk(BlkNode *node)
{
    GByteArray *disk = g_byte_array_new();
    g_byte_array_set_size(disk, SIZE);
    struct iovec iov = {disk->data, SIZE};
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, SIZE), ==, 0);
    return disk;
}

/* Half of the disk is written, so that requests find clusters to write in place, and others. */
static GByteArray *new_image(void)
{
    static uint8_t data[SIZE / 2];
    struct iovec iov = {data, sizeof(data)};
    MemFile *file;
    g_autoptr(Options) options = options_parse("-o", "cluster_size=4k", NULL, NULL, NULL);
    CreateSpec spec = {.size = SIZE, .options = options};
    MemFile *m = memfile_new(sched, NULL);
    g_assert_true(format_find("qcow2", NULL)->create(&m->base, &spec, NULL));
    memset(data, 77, sizeof(data));
    BlkNode *node = open_bytes(copy_of(m->data), true, &file);
    file_close(&m->base);
    g_assert_cmpint(node_write(node, 0, (IoBuf){&iov, 1, 0}, sizeof(data)), ==, 0);
    g_assert_true(node_bitmap_add(node, "a", GRAIN, true, NULL));
    g_assert_true(node_bitmap_add(node, "b", GRAIN, true, NULL));
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    GByteArray *image = copy_of(file->data);
    image->data[AUTOCLEAR_AT] |= 0x80;
    node_abandon(node);
    return image;
}

/* ---- What must hold ---- */

static bool has_bit(const uint8_t *bits, uint64_t n)
{
    return bits[n / 8] >> n % 8 & 1;
}

/* The number of bitmaps that are believed. */
static unsigned expect_honest(const GByteArray *image, const GByteArray *before, const char *when,
                              unsigned where)
{
    const NodeBitmap *b;
    unsigned believed = 0;
    BlkNode *node = open_bytes(copy_of(image), false, NULL);
    g_autoptr(GByteArray) now = read_disk(node);
    for (unsigned i = 0; (b = node->fmt->bitmap(node, i)); i++) {
        g_autofree uint8_t *bits = NULL;
        if (b->inconsistent)
            continue;
        believed++;
        g_assert_true(node->fmt->bitmap_load(node, i, &bits, NULL));
        for (uint64_t n = 0; n < SIZE / GRAIN; n++)
            if (memcmp(now->data + n * GRAIN, before->data + n * GRAIN, GRAIN) && !has_bit(bits, n))
                g_error("%s %u, seed %" G_GUINT64_FORMAT ": bitmap '%s' misses a change at %u",
                        when, where, seed, b->name, (unsigned)(n * GRAIN));
    }
    if (image->data[AUTOCLEAR_AT] & 0x80 && memcmp(now->data, before->data, SIZE))
        g_error("%s %u, seed %" G_GUINT64_FORMAT ": an unknown claim stands", when, where, seed);
    node_abandon(node);
    return believed;
}

static void expect_honest_cuts(const GByteArray *image, const GByteArray *before, const GArray *log,
                               const char *when)
{
    uint64_t random = seed * 31 + 7;
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 3; variant++) {
            g_autoptr(GByteArray) left = memfile_replay(image, log, length, &random);
            expect_honest(left, before, when, length);
        }
}

/* ---- Requests ---- */

typedef struct Writer {
    BlkNode *node;
    uint64_t offset;
    uint8_t value;
    int ret;
    unsigned *running;
} Writer;

static void writer_main(void *opaque)
{
    Writer *w = opaque;
    uint8_t data[512];
    struct iovec iov = {data, sizeof(data)};
    memset(data, w->value, sizeof(data));
    w->ret = node_write_nowait(w->node, w->offset, (IoBuf){&iov, 1, 0}, sizeof(data));
    if (w->ret == -EAGAIN)
        w->ret = node_write(w->node, w->offset, (IoBuf){&iov, 1, 0}, sizeof(data));
    if (!w->ret)
        w->ret = node_flush(w->node);
    --*w->running;
}

/* Several at once, each on clusters of its own; how many failed. */
static unsigned write_at_once(BlkNode *node, unsigned round)
{
    Writer writers[WRITERS];
    unsigned running = WRITERS, failed = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (Writer){.node = node,
                              .offset = (round + i * (SIZE / GRAIN / WRITERS)) * GRAIN,
                              .value = (uint8_t)(1 + round),
                              .running = &running};
        co_start(sched, writer_main, NULL, &writers[i]);
    }
    while (running)
        loop_step(co_sched_loop(sched), true);
    for (unsigned i = 0; i < WRITERS; i++)
        failed += writers[i].ret != 0;
    return failed;
}

/* ---- Tests ---- */

static void test_cut(void)
{
    g_autoptr(GByteArray) image = new_image();
    for (unsigned round = 0; round < 5; round++) {
        MemFile *file;
        BlkNode *node = open_bytes(copy_of(image), true, &file);
        g_autoptr(GByteArray) before = read_disk(node);
        memfile_record(file);
        file->random = seed + round;
        g_assert_cmpuint(write_at_once(node, 0), ==, 0);
        g_assert_cmpuint(write_at_once(node, 1), ==, 0);
        g_assert_cmpint(node->fmt->finish(node), ==, 0);
        g_assert_cmpuint(expect_honest(file->data, before, "finished", 0), ==, 2);
        GArray *log = memfile_take_log(file);
        expect_honest_cuts(image, before, log, "cut after entry");
        memfile_log_free(log);
        node_abandon(node);
    }
}

typedef struct Fault {
    const char *name;
    unsigned kinds, count;
    int error;
    bool half;
} Fault;

static const Fault faults[] = {
    {"read", FAIL_READ, 1, -EIO, false},    {"write", FAIL_WRITE, 1, -EIO, false},
    {"full", FAIL_WRITE, 2, -ENOSPC, true}, {"flush", FAIL_FLUSH, 1, -EIO, false},
    {"memory", FAIL_MEMORY, 1, 0, false},
};

static void arm(MemFile *file, const Fault *f, unsigned n)
{
    if (f->kinds == FAIL_MEMORY)
        memory_fails(n, f->count);
    file->fail_kinds = f->kinds;
    file->calls = 0;
    file->fail_at = n;
    file->fail_count = f->count;
    file->fail_error = f->error;
    file->fail_half = f->half;
}

/* Whether the fault was met. */
static bool disarm(MemFile *file, unsigned n)
{
    bool met = (file->fail_kinds == FAIL_MEMORY ? memory_calls() : file->calls) > n;
    file->fail_kinds = 0;
    memory_fails(0, 0);
    return met;
}

/* The first writes meet a fault; those that follow do not. */
static bool fail_begin(const GByteArray *image, const Fault *f, unsigned n)
{
    MemFile *file;
    BlkNode *node = open_bytes(copy_of(image), true, &file);
    g_autoptr(GByteArray) before = read_disk(node);
    node_abandon(node);
    node = open_bytes(copy_of(image), true, &file); /* with nothing cached */
    memfile_record(file);
    file->random = seed + n;
    arm(file, f, n);
    write_at_once(node, 0);
    bool met = disarm(file, n);
    expect_honest(file->data, before, f->name, n);
    g_assert_cmpuint(write_at_once(node, 1), ==, 0);
    expect_honest(file->data, before, f->name, n);
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    GArray *log = memfile_take_log(file);
    expect_honest_cuts(image, before, log, f->name);
    /* What could not be read once stays in use. */
    unsigned believed = expect_honest(file->data, before, f->name, n);
    g_assert_true(believed == 2 || f->kinds & FAIL_READ);
    memfile_log_free(log);
    node_abandon(node);
    return met;
}

typedef bool FaultRun(const GByteArray *image, const Fault *f, unsigned n);

static void each_fault(FaultRun *run)
{
    g_autoptr(GByteArray) image = new_image();
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        unsigned n = 0;
        while (run(image, &faults[i], n))
            n++;
        g_test_message("%s: %u places", faults[i].name, n);
        g_assert_true(n > 0 || faults[i].kinds & (FAIL_READ | FAIL_MEMORY));
    }
}

/* What stores the bitmaps meets a fault; then the disk is written to all the same. */
static bool fail_finish(const GByteArray *image, const Fault *f, unsigned n, bool changed)
{
    MemFile *file;
    BlkNode *node = open_bytes(copy_of(image), true, &file);
    g_autoptr(GByteArray) before = read_disk(node);
    memfile_record(file);
    if (changed)
        g_assert_cmpuint(write_at_once(node, 0), ==, 0);
    else
        g_assert_cmpint(node_balance(node), ==, 0);
    arm(file, f, n);
    int ret = node->fmt->finish(node);
    bool met = disarm(file, n);
    if (ret && f->kinds != FAIL_MEMORY)
        g_assert_cmpint(ret, ==, f->error);
    expect_honest(file->data, before, f->name, n);
    unsigned failed = write_at_once(node, 1);
    g_assert_true(!failed ||
                  f->count > 1); /* neither the header could be written, nor the old one */
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    unsigned believed = expect_honest(file->data, before, f->name, n);
    g_assert_true(believed == 2 || failed || f->kinds & FAIL_READ);
    GArray *log = memfile_take_log(file);
    expect_honest_cuts(image, before, log, f->name);
    memfile_log_free(log);
    node_abandon(node);
    return met;
}

static bool fail_store(const GByteArray *image, const Fault *f, unsigned n)
{
    return fail_finish(image, f, n, true);
}

static bool fail_unmark(const GByteArray *image, const Fault *f, unsigned n)
{
    return fail_finish(image, f, n, false);
}

static void test_fail_finish(void)
{
    each_fault(fail_store);
    each_fault(fail_unmark);
}

static void test_fail_begin(void)
{
    each_fault(fail_begin);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *given = g_getenv("SEED");
    seed = given ? strtoull(given, NULL, 0) : 20080117;
    g_test_message("SEED=%" G_GUINT64_FORMAT, seed);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    g_test_add_func("/bitmaps/cut", test_cut);
    g_test_add_func("/bitmaps/fail-begin", test_fail_begin);
    g_test_add_func("/bitmaps/fail-finish", test_fail_finish);
    int result = g_test_run();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
