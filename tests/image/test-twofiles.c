/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts over two files: commit writes an overlay's data into its backing file and empties the
 * overlay.  Writes and flushes of both go into one record; after a cut at any entry, with what no
 * flush of its own file covers kept, lost or torn, both images must be whole, and the guest must
 * see what it saw.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "memfile.h"

enum { BASE, TOP, FILES };

typedef struct Shape {
    const char *name, *base, *base_options, *top, *top_options;
    uint64_t size;
    bool grows; /* the base is shorter */
} Shape;

static const Shape shapes[] = {
    {"qcow2-on-raw", "raw", NULL, "qcow2", "cluster_size=4k", 400u << 10, false},
    {"qcow2-on-qcow2", "qcow2", "cluster_size=4k", "qcow2", "cluster_size=4k", 400u << 10, false},
    {"small-on-large", "qcow2", "cluster_size=64k", "qcow2", "cluster_size=512", 300u << 10, false},
    {"subclusters", "qcow2", "cluster_size=4k,refcount_bits=1", "qcow2",
     "cluster_size=16k,extended_l2=on", 400u << 10, false},
    {"version-2", "qcow2", "compat=0.10,cluster_size=1k", "qcow2", "compat=0.10,cluster_size=4k",
     300u << 10, false},
    {"growing", "qcow2", "cluster_size=4k", "qcow2", "cluster_size=4k", 400u << 10, true},
};

static const char *const names[FILES] = {"base.mem", "top.mem"};
static GByteArray *images[FILES];
static GArray *record; /* NULL: nothing is recorded */
static CoSched *sched;
static uint64_t seed;

static BlkFile *open_memory(CoSched *s, const char *name, HostFileMode mode)
{
    for (unsigned i = 0; i < FILES; i++)
        if (!strcmp(name, names[i])) {
            MemFile *m = memfile_new(s, g_byte_array_ref(images[i]));
            g_free(m->base.name);
            m->base.name = g_strdup(name);
            m->base.readonly = !mode.writable;
            if (record)
                memfile_record_into(m, record, i);
            return &m->base;
        }
    return NULL;
}

static GByteArray *copy_of(const GByteArray *data)
{
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data->data, data->len);
    return copy;
}

static void set_image(unsigned i, GByteArray *data)
{
    if (images[i])
        g_byte_array_unref(images[i]);
    images[i] = data;
}

static void make(unsigned i, const char *format, const char *text, CreateSpec spec)
{
    GError *error = NULL;
    g_autoptr(Options) options = text ? options_parse("-o", text, NULL, NULL, &error) : NULL;
    spec.options = options;
    MemFile *m = memfile_new(sched, NULL);
    if (!format_find(format, NULL)->create(&m->base, &spec, &error))
        g_error("%s", error->message);
    set_image(i, copy_of(m->data));
    file_close(&m->base);
}

static BlkNode *open_node(unsigned i, const char *format, bool writable)
{
    NodeMode mode = {.file = {.writable = writable}};
    GError *error = NULL;
    BlkNode *node = node_open(sched, names[i], format, &mode, &error);
    if (!node)
        g_test_message("%s", error->message);
    g_clear_error(&error);
    return node;
}

/* Writes, zeroes and discards here and there. */
static void work_on(unsigned i, const char *format, uint64_t *random)
{
    uint8_t data[40 * 512];
    BlkNode *node = open_node(i, format, true);
    for (int n = 0; n < 30; n++) {
        uint64_t sectors = 1 + next_random(random) % 40, kind = next_random(random) % 6;
        uint64_t offset = next_random(random) % (node->size / 512 - sectors) * 512;
        struct iovec iov = {data, sectors * 512};
        memset(data, (int)(next_random(random) % 255 + 1), sizeof(data));
        int ret = kind == 0   ? node_write_zeroes(node, offset, iov.iov_len, ZERO_MAY_UNMAP)
                  : kind == 1 ? node_discard(node, offset, iov.iov_len, 0)
                              : node_write(node, offset, (IoBuf){&iov, 1, 0}, iov.iov_len);
        g_assert_cmpint(ret, ==, 0);
    }
    g_assert_cmpint(node_close(node), ==, 0);
}

/* What the guest sees. */
static GByteArray *disk_of(BlkNode *node)
{
    GByteArray *disk = g_byte_array_new();
    g_byte_array_set_size(disk, (guint)node->size);
    struct iovec iov = {disk->data, node->size};
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, node->size), ==, 0);
    return disk;
}

static void no_line(void *opaque, const char *line)
{
}

static bool is_whole(BlkNode *node)
{
    CheckResult r = {0};
    int ret = node->fmt->check ? node->fmt->check(node, 0, &r, no_line, NULL) : 0;
    return !ret && !r.corruptions && !r.check_errors;
}

static void try_cut(const Shape *s, GByteArray *const *before, const GByteArray *disk,
                    const GArray *log, unsigned length, uint64_t *random)
{
    for (unsigned i = 0; i < FILES; i++)
        set_image(i, memfile_replay_one(before[i], log, length, i, random));
    BlkNode *node = open_node(TOP, s->top, false);
    if (!node || !is_whole(node) || !is_whole(node->backing))
        g_error("%s: seed %" G_GUINT64_FORMAT ": corrupt after entry %u", s->name, seed, length);
    g_autoptr(GByteArray) now = disk_of(node);
    if (now->len != disk->len || memcmp(now->data, disk->data, now->len))
        g_error("%s: seed %" G_GUINT64_FORMAT ": another disk after entry %u", s->name, seed,
                length);
    node_abandon(node);
}

static void commit(const Shape *s)
{
    GError *error = NULL;
    g_autofree char *text = g_strdup_printf("file=%s,format=%s", names[TOP], s->top);
    g_autoptr(Options) options = options_parse("-drive", text, NULL, NULL, &error);
    Blk *blk = blk_open(options, &error);
    g_assert_no_error(error);
    blk_commit(blk, &error);
    g_assert_no_error(error);
    blk_close(blk);
}

static void test_commit(gconstpointer data)
{
    const Shape *s = data;
    uint64_t random = seed, cut_random = seed * 31 + 7;
    GByteArray *before[FILES];
    make(BASE, s->base, s->base_options, (CreateSpec){.size = s->grows ? s->size / 2 : s->size});
    work_on(BASE, s->base, &random);
    make(TOP, s->top, s->top_options,
         (CreateSpec){.size = s->size, .backing = names[BASE], .backing_format = s->base});
    work_on(TOP, s->top, &random);
    for (unsigned i = 0; i < FILES; i++)
        before[i] = copy_of(images[i]);
    BlkNode *node = open_node(TOP, s->top, false);
    g_autoptr(GByteArray) disk = disk_of(node);
    node_abandon(node);
    record = memfile_new_log();
    commit(s);
    GArray *log = g_steal_pointer(&record);
    g_test_message("%u entries", log->len);
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 4; variant++)
            try_cut(s, before, disk, log, length, &cut_random);
    /* All is in the base. */
    node = open_node(BASE, s->base, false);
    g_autoptr(GByteArray) committed = disk_of(node);
    g_assert_cmpmem(committed->data, committed->len, disk->data, disk->len);
    node_abandon(node);
    memfile_log_free(log);
    for (unsigned i = 0; i < FILES; i++)
        g_byte_array_unref(before[i]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *given = g_getenv("SEED");
    seed = given ? strtoull(given, NULL, 0) : 20080117;
    g_test_message("SEED=%" G_GUINT64_FORMAT, seed);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    image_file_set_opener(open_memory);
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        g_autofree char *path = g_strdup_printf("/image/commit-cut/%s", shapes[i].name);
        g_test_add_data_func(path, &shapes[i], test_commit);
    }
    int result = g_test_run();
    for (unsigned i = 0; i < FILES; i++)
        set_image(i, NULL);
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
