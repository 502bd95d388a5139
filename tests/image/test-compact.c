/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compacting of images with a table of blocks: power cuts and failing files.  qcow2's is among the
 * operations of test-operations.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memfile.h"
#include "util/bytes.h"

#define BLOCKS 8u

typedef struct Shape {
    const char *name, *format, *options;
    uint64_t block;
} Shape;

static const Shape shapes[] = {
    {"vdi", "vdi", NULL, 1u << 20},
    {"vpc", "vpc", "force_size=on", 2u << 20},
    {"vhdx", "vhdx", "block_size=1M", 1u << 20},
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
    g_autofree uint8_t *data = g_malloc(s->block);
    struct iovec iov = {data, s->block};
    memset(data, pattern, s->block / 2);
    memset(data + s->block / 2, 0, s->block / 2);
    g_assert_cmpint(node_write(node, block * s->block, (IoBuf){&iov, 1, 0}, s->block), ==, 0);
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
    g_autofree uint8_t *data = g_malloc(s->block);
    CheckResult r = {0};
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct iovec iov = {data, s->block};
        int wanted = i % 2 ? (int)i + 1 : 0;
        g_assert_cmpint(node_read(node, i * s->block, (IoBuf){&iov, 1, 0}, s->block), ==, 0);
        for (uint64_t at = 0; at < s->block; at++)
            if (data[at] != (at < s->block / 2 ? wanted : 0))
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
    g_assert_cmpuint(file->data->len, <, before->len - BLOCKS / 2 * s->block + 512);
    fill(s, node, 0, 77); /* new blocks come behind the others */
    fill(s, node, 0, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    verify(s, node, "written", 0);
    node_close(node);
    for (unsigned length = 0; length <= log->len; length++)
        for (unsigned variant = 0; variant < 3; variant++) {
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
    int result = g_test_run();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
