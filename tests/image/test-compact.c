/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compacting: power cuts and failing files, on images with blocks in a known order, and on images
 * of random work.  qcow2's is among the operations of test-operations.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memfile.h"
#include "model.h"
#include "util/bytes.h"

#define BLOCKS 8u

typedef struct Shape {
    const char *name, *format, *options;
    uint64_t block, stored; /* a block begins with so many bytes that are written */
} Shape;

static const Shape shapes[] = {
    {"vdi", "vdi", NULL, 1u << 20, 1u << 20},
    {"vpc", "vpc", "force_size=on", 2u << 20, 2u << 20},
    {"vhdx", "vhdx", "block_size=1M", 1u << 20, 1u << 20},
    {"qcow", "qcow", NULL, 2u << 20, 32u << 10}, /* a table for each block */
    {"vmdk", "vmdk", NULL, 64u << 10, 64u << 10},
};

static CoSched *sched;
static uint64_t seed;

static BlkNode *open_image(const Shape *s, GByteArray *data, MemFile **file)
{
    NodeMode mode = {.discard = true, .file = {.writable = true}};
    GError *error = NULL;
    MemFile *m = memfile_new(sched, data);
    BlkNode *node = node_open_file(&m->base, s->format, &mode, &error);
    if (!node)
        g_error("%s: %s", s->name, error->message);
    *file = m;
    return node;
}

static void fill(const Shape *s, BlkNode *node, unsigned block, int pattern)
{
    g_autofree uint8_t *data = g_malloc(s->stored);
    struct iovec iov = {data, s->stored};
    memset(data, pattern, s->stored / 2);
    memset(data + s->stored / 2, 0, s->stored / 2);
    g_assert_cmpint(node_write(node, block * s->block, (IoBuf){&iov, 1, 0}, s->stored), ==, 0);
}

/* All blocks are stored, in another order; every second one holds nothing but zeros. */
static GByteArray *scattered(const Shape *s)
{
    GError *error = NULL;
    MemFile *file, *m = memfile_new(sched, NULL);
    g_autoptr(Options) options =
        s->options ? options_parse("-o", s->options, NULL, NULL, &error) : NULL;
    CreateSpec spec = {.size = BLOCKS * s->block, .options = options};
    g_assert_true(format_find(s->format, NULL)->create(&m->base, &spec, &error));
    GByteArray *data = g_byte_array_new();
    g_byte_array_append(data, m->data->data, m->data->len);
    file_close(&m->base);
    BlkNode *node = open_image(s, data, &file);
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(s, node, i * 5 % BLOCKS, (int)(i * 5 % BLOCKS) + 1);
    for (unsigned i = 0; i < BLOCKS; i += 2)
        fill(s, node, i, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    data = g_byte_array_new();
    g_byte_array_append(data, file->data->data, file->data->len);
    node_close(node);
    return data;
}

static GByteArray *copy_of(const GByteArray *data)
{
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data->data, data->len);
    return copy;
}

static void no_line(void *opaque, const char *line)
{
    g_test_message("%s", line);
}

/* The guest sees what it saw, and the tables are right. */
static void verify(const Shape *s, BlkNode *node, const char *when, unsigned n)
{
    g_autofree uint8_t *data = g_malloc(s->stored);
    CheckResult r = {0};
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct iovec iov = {data, s->stored};
        int wanted = i % 2 ? (int)i + 1 : 0;
        g_assert_cmpint(node_read(node, i * s->block, (IoBuf){&iov, 1, 0}, s->stored), ==, 0);
        for (uint64_t at = 0; at < s->stored; at++)
            if (data[at] != (at < s->stored / 2 ? wanted : 0))
                g_error("%s: %s %u: block %u is lost at %" G_GUINT64_FORMAT, s->name, when, n, i,
                        at);
    }
    if (node->fmt->check && (node->fmt->check(node, 0, &r, no_line, NULL) || r.corruptions))
        g_error("%s: %s %u: corrupt", s->name, when, n);
}

/* At whatever write the power fails, nothing is lost. */
static void test_cut(gconstpointer opaque)
{
    const Shape *s = opaque;
    MemFile *file;
    uint64_t random = seed;
    g_autoptr(GByteArray) before = scattered(s);
    BlkNode *node = open_image(s, copy_of(before), &file);
    GError *error = NULL;
    memfile_record(file);
    if (!node_compact(node, NULL, &error))
        g_error("%s: %s", s->name, error->message);
    GArray *log = memfile_take_log(file);
    verify(s, node, "done", 0);
    g_assert_cmpuint(file->data->len, <, before->len - BLOCKS / 2 * s->stored + 512);
    fill(s, node, 0, 77); /* new blocks come behind the others */
    fill(s, node, 0, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    verify(s, node, "written", 0);
    node_close(node);
    for (unsigned length = 0; length <= log->len; length++)
        for (unsigned variant = 0; variant < (s->stored > 1u << 16 ? 3 : 24); variant++) {
            node = open_image(s, memfile_replay(before, log, length, &random), &file);
            verify(s, node, "cut after", length);
            node_abandon(node);
        }
    memfile_log_free(log);
}

/* One call fails: the image is whole, in memory and in the file, and can be compacted again. */
static bool fail_at(const Shape *s, const GByteArray *before, unsigned kinds, unsigned n)
{
    MemFile *file;
    GError *error = NULL;
    BlkNode *node = open_image(s, copy_of(before), &file);
    file->calls = 0;
    file->fail_kinds = kinds;
    file->fail_at = n;
    file->fail_count = 1;
    file->fail_error = -EIO;
    file->fail_half = true;
    bool ok = node_compact(node, NULL, &error);
    bool reached = file->calls > n;
    g_assert_true(ok || reached);
    g_assert_true(ok == !error);
    g_clear_error(&error);
    file->fail_kinds = 0;
    verify(s, node, "failed", n);
    GByteArray *left = copy_of(file->data);
    node_abandon(node);
    node = open_image(s, left, &file);
    verify(s, node, "failed and opened", n);
    g_assert_true(node_compact(node, NULL, &error));
    verify(s, node, "once more", n);
    g_assert_cmpint(node_close(node), ==, 0);
    return reached;
}

static void test_faults(gconstpointer opaque)
{
    const Shape *s = opaque;
    g_autoptr(GByteArray) before = scattered(s);
    static const unsigned kinds[] = {FAIL_READ, FAIL_WRITE, FAIL_FLUSH};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        unsigned n = 0;
        while (fail_at(s, before, kinds[i], n))
            n++;
        g_test_message("%s: %u places", s->name, n);
        g_assert_cmpuint(n, >, 2);
    }
}

/* ---- Random work ---- */

typedef struct Mixture {
    const char *name, *format, *options;
    uint64_t size, base; /* base: bytes of a backing file; 0: none */
    unsigned compressed, operations, max_sectors;
    bool shrinks; /* for sure: the work leaves gaps */
} Mixture;

static const Mixture mixtures[] = {
    {"qcow", "qcow", NULL, 1u << 20, 0, 0, 120, 100, true},
    {"qcow-packed", "qcow", NULL, 160u << 10, 0, 4, 120, 8, true},
    {"qcow-tables", "qcow", NULL, 24u << 20, 0, 2, 100, 16, false},
    {"qcow-backing", "qcow", NULL, 7u << 20, 3u << 20, 0, 60, 60, false},
    {"qcow-backing-packed", "qcow", NULL, 100u << 10, 50u << 10, 4, 120, 8, true},
    {"vmdk", "vmdk", NULL, 3u << 20, 0, 0, 90, 200, true},
    {"vmdk-zeroed", "vmdk", "zeroed_grain=on", 3u << 20, 0, 0, 90, 200, true},
    {"vmdk-backing", "vmdk", NULL, 1u << 20, 700u << 10, 0, 20, 48, false},
    {"vmdk-backing-zeroed", "vmdk", "zeroed_grain=on", 1u << 20, 700u << 10, 0, 40, 200, true},
    {"vdi", "vdi", NULL, 5u << 20, 0, 0, 40, 2048, false},
    {"vpc", "vpc", "force_size=on", 6u << 20, 0, 0, 40, 4096, false},
    {"vhdx", "vhdx", "block_size=1M", 5u << 20, 0, 0, 40, 2048, false},
};

static BlkNode *open_mixture(const Mixture *x, GByteArray *data, MemFile **file)
{
    /* Caches of a few pages, so that they are written back and read all the time. */
    NodeMode mode = {.no_backing = true, .file = {.writable = true}, .l2_cache = 1024};
    GError *error = NULL;
    MemFile *m = memfile_new(sched, data);
    BlkNode *node = node_open_file(&m->base, x->format, &mode, &error);
    if (!node)
        g_error("%s: %s", x->name, error->message);
    if (x->base) {
        MemFile *base = memfile_new(sched, NULL);
        model_fill_base(base->data, x->base / 512);
        base->base.size = base->data->len;
        base->base.readonly = true;
        node->backing = node_open_file(&base->base, "raw", &(NodeMode){0}, NULL);
    }
    if (file)
        *file = m;
    return node;
}

static BlkNode *new_mixture(const Mixture *x, MemFile **file)
{
    GError *error = NULL;
    MemFile *m = memfile_new(sched, NULL);
    g_autoptr(Options) options =
        x->options ? options_parse("-o", x->options, NULL, NULL, &error) : NULL;
    CreateSpec spec = {.size = x->size, .options = options};
    if (x->base && !strcmp(x->format, "qcow")) { /* its clusters are smaller then */
        spec.backing = "base";
        spec.backing_format = "raw";
    }
    if (!format_find(x->format, NULL)->create(&m->base, &spec, &error))
        g_error("%s", error->message);
    GByteArray *data = copy_of(m->data);
    file_close(&m->base);
    return open_mixture(x, data, file);
}

/* Writes, compressed clusters written over, then zeros over a part: all that leaves gaps. */
static void mix(const Mixture *x, Model *model, BlkNode *node, uint64_t *random, MemFile *recorded)
{
    Work work = {.operations = x->operations,
                 .workers = 4,
                 .max_sectors = x->max_sectors,
                 .compressed = x->compressed,
                 .zero = true,
                 .flush = true};
    model_work(model, node, &work, random, recorded);
    work.mostly_zero = true;
    work.operations /= 3;
    work.max_sectors *= 2;
    model_work(model, node, &work, random, recorded);
}

static void expect_sound(const Mixture *x, BlkNode *node, const Model *model, const char *when,
                         unsigned n)
{
    CheckResult r = {0};
    uint64_t where = 0;
    if (!model_verify(model, node, &where))
        g_error("%s: seed %" G_GUINT64_FORMAT ", %s %u: sector %" G_GUINT64_FORMAT " is lost",
                x->name, seed, when, n, where);
    if (node->fmt->check && (node->fmt->check(node, 0, &r, no_line, NULL) || r.corruptions))
        g_error("%s: seed %" G_GUINT64_FORMAT ", %s %u: corrupt", x->name, seed, when, n);
}

/* Once more: not a byte is written. */
static void expect_compact(const Mixture *x, BlkNode *node, MemFile *file)
{
    g_autoptr(GByteArray) before = copy_of(file->data);
    GError *error = NULL;
    if (!node_compact(node, NULL, &error))
        g_error("%s: once more: %s", x->name, error->message);
    if (before->len != file->data->len || memcmp(before->data, file->data->data, before->len))
        g_error("%s: seed %" G_GUINT64_FORMAT ": compacting once more changed it", x->name, seed);
}

static void cut_mixture(const Mixture *x, const Model *model, const GByteArray *before,
                        const GArray *log, unsigned length, uint64_t *random)
{
    uint64_t where = 0;
    CheckResult r = {0};
    BlkNode *node = open_mixture(x, memfile_replay(before, log, length, random), NULL);
    if (!model_verify_cut(model, node, length, &where))
        g_error("%s: seed %" G_GUINT64_FORMAT ": sector %" G_GUINT64_FORMAT
                " lost what was flushed, after entry %u of %u",
                x->name, seed, where, length, log->len);
    if (node->fmt->check && (node->fmt->check(node, 0, &r, no_line, NULL) || r.corruptions))
        g_error("%s: seed %" G_GUINT64_FORMAT ": corrupt after entry %u", x->name, seed, length);
    node_abandon(node);
}

/* Work, compacting and work again, and a cut anywhere from the middle of the first on. */
static void test_mixture_cut(gconstpointer opaque)
{
    const Mixture *x = opaque;
    uint64_t random = seed, cuts = seed * 31 + 7;
    MemFile *file;
    GError *error = NULL;
    Model *model = model_new(x->size / 512, x->base / 512);
    BlkNode *node = new_mixture(x, &file);
    g_autoptr(GByteArray) before = copy_of(file->data);
    memfile_record(file);
    file->random = seed;
    mix(x, model, node, &random, file);
    unsigned from = file->log->len, long_before = file->data->len;
    if (!node_compact(node, NULL, &error))
        g_error("%s: %s", x->name, error->message);
    expect_sound(x, node, model, "compacted", 0);
    g_test_message("%u, then %u bytes, %u entries", long_before, file->data->len,
                   file->log->len - from);
    g_assert_cmpuint(file->data->len, <=, x->shrinks ? long_before - 512 : long_before);
    expect_compact(x, node, file);
    mix(x, model, node, &random, file);
    g_assert_cmpint(node_flush(node), ==, 0);
    expect_sound(x, node, model, "worked on", 0);
    GArray *log = memfile_take_log(file);
    node_abandon(node);
    for (unsigned length = from / 2; length <= log->len; length++)
        for (int variant = 0; variant < 2; variant++)
            cut_mixture(x, model, before, log, length, &cuts);
    memfile_log_free(log);
    model_free(model);
}

static void arm(MemFile *file, unsigned kinds, unsigned n)
{
    if (kinds == FAIL_MEMORY)
        memory_fails(n, 1);
    file->calls = 0;
    file->fail_kinds = kinds;
    file->fail_at = n;
    file->fail_count = 1;
    file->fail_error = -EIO;
    file->fail_half = true;
}

/* One call of compacting fails; what follows goes on with the same node, then with the file. */
static bool fail_mixture(const Mixture *x, unsigned kinds, unsigned n)
{
    uint64_t random = seed;
    MemFile *file;
    GError *error = NULL;
    Model *model = model_new(x->size / 512, x->base / 512);
    BlkNode *node = new_mixture(x, &file);
    mix(x, model, node, &random, NULL);
    arm(file, kinds, n);
    bool ok = node_compact(node, NULL, &error);
    bool reached = (kinds == FAIL_MEMORY ? memory_calls() : file->calls) > n;
    memory_fails(0, 0);
    file->fail_kinds = 0;
    g_assert_true(ok == !error);
    g_assert_true(ok || reached);
    g_clear_error(&error);
    expect_sound(x, node, model, "failed", n);
    mix(x, model, node, &random, NULL);
    expect_sound(x, node, model, "worked on", n);
    g_assert_cmpint(node_flush(node), ==, 0);
    GByteArray *left = copy_of(file->data);
    node_abandon(node);
    node = open_mixture(x, left, &file);
    expect_sound(x, node, model, "opened", n);
    g_assert_true(node_compact(node, NULL, &error));
    expect_sound(x, node, model, "compacted", n);
    g_assert_cmpint(node_close(node), ==, 0);
    model_free(model);
    return reached;
}

static void test_mixture_faults(gconstpointer opaque)
{
    const Mixture *x = opaque;
    static const unsigned kinds[] = {FAIL_READ, FAIL_WRITE, FAIL_FLUSH, FAIL_MEMORY};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        unsigned n = 0;
        /* All of the first calls, where the order is decided, and then one in some. */
        while (fail_mixture(x, kinds[i], n))
            n += n < 40 ? 1 : 1 + n / 10;
        g_test_message("%s: up to place %u", x->name, n);
    }
}

static void add(const char *group, const Shape *s, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/compact/%s/%s", group, s->name);
    g_test_add_data_func(path, s, fn);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *given = g_getenv("SEED");
    seed = given ? strtoull(given, NULL, 0) : 20080117;
    g_test_message("SEED=%" G_GUINT64_FORMAT, seed);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        add("power-cut", &shapes[i], test_cut);
        add("faults", &shapes[i], test_faults);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(mixtures); i++) {
        g_autofree char *cut = g_strdup_printf("/compact/mixture-cut/%s", mixtures[i].name);
        g_autofree char *faults = g_strdup_printf("/compact/mixture-faults/%s", mixtures[i].name);
        g_test_add_data_func(cut, &mixtures[i], test_mixture_cut);
        g_test_add_data_func(faults, &mixtures[i], test_mixture_faults);
    }
    int result = g_test_run();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
