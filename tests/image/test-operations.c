/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations on whole qcow2 images: snapshots, resize, compact, amend, bitmaps, other backing
 * files.  Each one is done on an image full of random work while the file records what reaches it.
 *
 * The power is cut after each entry of the record: the image must be as before or as after the
 * operation, nothing in between, and check must find no corruption.  And every read, write and
 * flush of it is made to fail in turn, with the same demands.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memfile.h"
#include "util/bytes.h"
#include "util/error.h"

typedef struct Shape {
    const char *name, *options;
    uint64_t size;
    bool backing;
} Shape;

static const Shape shapes[] = {
    {"v3-4k", "cluster_size=4k", 400u << 10, false},
    {"v3-512", "cluster_size=512", 90u << 10, false},
    {"v3-backing", "cluster_size=1k,refcount_bits=8", 100u << 10, true},
    {"v3-subclusters", "cluster_size=16k,extended_l2=on", 300u << 10, true},
    {"v2-2k", "cluster_size=2k,compat=0.10", 100u << 10, false},
};

static CoSched *sched;
static uint64_t seed;

/* ---- Images ---- */

static GByteArray *copy_of(const GByteArray *data)
{
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data->data, data->len);
    return copy;
}

static BlkNode *open_bytes(GByteArray *data, bool writable, const char *snapshot, MemFile **file)
{
    NodeMode mode = {.file = {.writable = writable},
                     .snapshot = snapshot,
                     .no_backing = true,
                     .l2_cache = 1024,
                     .refcount_cache = 1024};
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

static GByteArray *new_image(const Shape *s)
{
    GError *error = NULL;
    g_autoptr(Options) options = options_parse("-o", s->options, NULL, NULL, &error);
    CreateSpec spec = {.size = s->size,
                       .options = options,
                       .backing = s->backing ? "base" : NULL,
                       .backing_format = s->backing ? "raw" : NULL};
    MemFile *m = memfile_new(sched, NULL);
    if (!format_find("qcow2", NULL)->create(&m->base, &spec, &error))
        g_error("%s", error->message);
    GByteArray *data = copy_of(m->data);
    file_close(&m->base);
    return data;
}

/* Random requests; the outcome is what is read afterwards. */
static void work_on(BlkNode *node, uint64_t *random, unsigned count)
{
    static uint8_t buffer[24 << 10], packed[24 << 10];
    while (count--) {
        uint64_t offset = align_down(next_random(random) % node->size, 512);
        uint64_t bytes =
            MIN(512 + align_down(next_random(random) % 16384, 512), node->size - offset);
        uint64_t kind = next_random(random) % 8, cluster = align_down(offset, node->cluster);
        int ret;
        memset(buffer, (int)next_random(random) & 255, sizeof(buffer));
        buffer[next_random(random) % 512] ^= 1;
        struct iovec iov = {buffer, bytes};
        if (kind == 0)
            ret = node_write_zeroes(node, offset, bytes, ZERO_MAY_UNMAP);
        else if (kind == 1)
            ret = node_write_zeroes(node, offset, bytes, 0);
        else if (kind == 2 && cluster + node->cluster <= node->size &&
                 (ret = node_compress(node, buffer, packed)) > 0)
            ret = node_write_compressed(node, cluster, packed, (size_t)ret);
        else
            ret = node_write(node, offset, (IoBuf){&iov, 1, 0}, bytes);
        g_assert_cmpint(ret, ==, 0);
    }
    g_assert_cmpint(node_flush(node), ==, 0);
}

static void keep_line(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static bool is_sound(BlkNode *node)
{
    CheckResult r = {0};
    g_autoptr(GString) lines = g_string_new(NULL);
    int ret = node->fmt->check(node, 0, &r, keep_line, lines);
    bool sound = !ret && !r.corruptions && !r.check_errors;
    if (!sound)
        g_test_message("%s", lines->str);
    return sound;
}

static void sum_disk(BlkNode *node, GChecksum *sum)
{
    uint8_t *data = block_alloc(node->size);
    struct iovec iov = {data, node->size};
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, node->size), ==, 0);
    g_checksum_update(sum, (uint8_t *)&node->size, 8);
    g_checksum_update(sum, data, (gssize)node->size);
    free(data);
}

/* A text that stands for all that can be seen of an image, its snapshots and bitmaps too. */
static char *state_of(const GByteArray *data)
{
    const NodeSnapshot *s;
    const NodeBitmap *b;
    NodeDetail detail;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    BlkNode *node = open_bytes(copy_of(data), false, NULL, NULL);
    if (!is_sound(node))
        g_error("corrupt (seed %" G_GUINT64_FORMAT ")", seed);
    sum_disk(node, sum);
    g_autoptr(GString) text = g_string_new(node->backing_name);
    for (unsigned i = 0; (s = node->fmt->snapshot(node, i)); i++) {
        BlkNode *old = open_bytes(copy_of(data), false, s->name, NULL);
        sum_disk(old, sum);
        node_abandon(old);
        g_string_append_printf(text, " %s", s->name);
    }
    for (unsigned i = 0; (b = node->fmt->bitmap(node, i)); i++)
        g_string_append_printf(text, " %s", b->name);
    for (unsigned i = 0; node->fmt->detail(node, i, &detail); i++) {
        g_string_append_printf(text, " %s", detail.value);
        g_free(detail.value);
    }
    node_abandon(node);
    return g_strdup_printf("%s %s", text->str, g_checksum_get_string(sum));
}

/* ---- Operations ---- */

typedef bool Operation(BlkNode *node, GError **error);

static bool do_create(BlkNode *node, GError **error)
{
    NodeSnapshot info = {.name = (char *)(uintptr_t) "new", .icount = -1};
    return node_snapshot_create(node, &info, error);
}

static bool do_apply(BlkNode *node, GError **error)
{
    return node_snapshot_apply(node, "first", error);
}

static bool do_delete(BlkNode *node, GError **error)
{
    return node_snapshot_delete(node, "first", error);
}

static bool do_grow(BlkNode *node, GError **error)
{
    return node_resize(node, node->size + (70u << 10), PREALLOC_OFF, error);
}

static bool do_grow_metadata(BlkNode *node, GError **error)
{
    return node_resize(node, node->size + (40u << 10), PREALLOC_METADATA, error);
}

static bool do_shrink(BlkNode *node, GError **error)
{
    return node_resize(node, node->size / 2 + 512, PREALLOC_OFF, error);
}

static bool do_compact(BlkNode *node, GError **error)
{
    return node_compact(node, NULL, error);
}

static bool do_rebase(BlkNode *node, GError **error)
{
    return node_change_backing(node, "another", "qcow2", error);
}

static bool do_rebase_long(BlkNode *node, GError **error)
{
    char name[400];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = 0;
    return node_change_backing(node, node->cluster >= 2048 ? name : "n", "raw", error);
}

static bool do_amend(BlkNode *node, GError **error)
{
    g_autoptr(Options) options = options_parse(
        "-o", node->fmt->bitmap_add && node->cluster == 2048 ? "compat=1.1" : "refcount_bits=32",
        NULL, NULL, NULL);
    return node_amend(node, options, false, NULL, error);
}

static bool do_bitmap_add(BlkNode *node, GError **error)
{
    return node_bitmap_add(node, "more", 512, false, error);
}

static bool do_bitmap_remove(BlkNode *node, GError **error)
{
    return node_bitmap_remove(node, "bits", error);
}

static bool do_empty(BlkNode *node, GError **error)
{
    return node_make_empty(node, error);
}

typedef struct Op {
    const char *name;
    Operation *run;
    bool needs_v3; /* or an image of it without snapshots */
    bool gradual;  /* in several steps, each of which is sound: commit empties clusters in order */
} Op;

static const Op operations[] = {
    {"create", do_create, false, false},
    {"apply", do_apply, false, false},
    {"delete", do_delete, false, false},
    {"grow", do_grow, true, false},
    {"grow-metadata", do_grow_metadata, true, false},
    {"shrink", do_shrink, true, false},
    {"compact", do_compact, false, false},
    {"rebase", do_rebase, false, false},
    {"rebase-long", do_rebase_long, false, false},
    {"amend", do_amend, false, false},
    {"bitmap-add", do_bitmap_add, true, false},
    {"bitmap-remove", do_bitmap_remove, true, false},
    {"empty", do_empty, false, true},
};

/* What an overlay shows over a base that holds `content`. */
static void expect_over_base(const GByteArray *image, const uint8_t *content, uint64_t bytes)
{
    NodeMode mode = {0};
    BlkNode *node = open_bytes(copy_of(image), false, NULL, NULL);
    MemFile *base = memfile_new(sched, NULL);
    g_byte_array_append(base->data, content, (guint)bytes);
    base->base.size = bytes;
    base->base.readonly = true;
    node->backing = node_open_file(&base->base, "raw", &mode, NULL);
    uint8_t *data = block_alloc(bytes);
    struct iovec iov = {data, bytes};
    g_assert_cmpuint(node->size, ==, bytes);
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, bytes), ==, 0);
    if (memcmp(data, content, bytes))
        g_error("seed %" G_GUINT64_FORMAT ": the overlay lost something", seed);
    free(data);
    node_abandon(node);
}

/* ---- Tests ---- */

typedef struct Case {
    const Shape *shape;
    const Op *op;
} Case;

/* An image with work, snapshots, a bitmap, and more work, closed in order. */
static GByteArray *prepare(const Case *c)
{
    const Shape *s = c->shape;
    uint64_t random = seed;
    MemFile *file;
    NodeSnapshot first = {.name = (char *)(uintptr_t) "first", .icount = -1};
    bool v3 = !strstr(s->options, "0.10");
    BlkNode *node = open_bytes(new_image(s), true, NULL, &file);
    work_on(node, &random, 25);
    g_assert_true(node_snapshot_create(node, &first, NULL));
    g_assert_true(!v3 || node_bitmap_add(node, "bits", 1024, false, NULL));
    work_on(node, &random, 15);
    first.name = (char *)(uintptr_t) "second";
    g_assert_true(node_snapshot_create(node, &first, NULL));
    work_on(node, &random, 10);
    if (c->op->run == do_compact) /* something to compact */
        g_assert_true(node_snapshot_delete(node, "first", NULL));
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    GByteArray *data = copy_of(file->data);
    node_abandon(node);
    return data;
}

/* Emptying an overlay whose base has everything: at each moment the guest sees the same. */
static void test_empty(gconstpointer opaque)
{
    const Case c = {opaque, &operations[G_N_ELEMENTS(operations) - 1]};
    uint64_t random = seed;
    MemFile *file;
    g_autoptr(GByteArray) image = prepare(&c);
    BlkNode *node = open_bytes(copy_of(image), true, NULL, &file);
    uint64_t bytes = node->size;
    g_autofree uint8_t *content = g_malloc(bytes);
    struct iovec iov = {content, bytes};
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, bytes), ==, 0);
    memfile_record(file);
    file->random = seed;
    g_assert_true(do_empty(node, NULL));
    GArray *log = memfile_take_log(file);
    node_close(node);
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 4; variant++) {
            g_autoptr(GByteArray) left = memfile_replay(image, log, length, &random);
            expect_over_base(left, content, bytes);
        }
    memfile_log_free(log);
}

static void test_cut(gconstpointer opaque)
{
    const Case *c = opaque;
    uint64_t random = seed * 31 + 7;
    GError *error = NULL;
    MemFile *file;
    g_autoptr(GByteArray) image = prepare(c);
    g_autofree char *before = state_of(image);
    BlkNode *node = open_bytes(copy_of(image), true, NULL, &file);
    memfile_record(file);
    file->random = seed;
    if (!c->op->run(node, &error))
        g_error("%s", error->message);
    GArray *log = memfile_take_log(file);
    g_autofree char *after = state_of(file->data);
    g_assert_true(c->op->run != do_compact || file->data->len < image->len);
    g_assert_true(c->op->gradual || c->op->run == do_compact || strcmp(before, after));
    node_close(node);
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 4; variant++) {
            g_autoptr(GByteArray) left = memfile_replay(image, log, length, &random);
            g_autofree char *state = state_of(left);
            bool right = length == log->len ? !strcmp(state, after)
                                            : !strcmp(state, before) || !strcmp(state, after);
            if (!right && !c->op->gradual)
                g_error("%s, %s, seed %" G_GUINT64_FORMAT ": after entry %u of %u:\n%s\n%s\n%s",
                        c->shape->name, c->op->name, seed, length, log->len, before, state, after);
        }
    g_test_message("%u entries", log->len);
    memfile_log_free(log);
}

typedef struct Fault {
    const char *name;
    unsigned kinds, count;
    int error;
    bool half;
} Fault;

static const Fault faults[] = {
    {"read", FAIL_READ, 1, -EIO, false},
    {"half write", FAIL_WRITE, 1, -ENOSPC, true},
    {"full disk", FAIL_WRITE, 1000, -ENOSPC, false},
    {"flush", FAIL_FLUSH, 1, -EIO, false},
};

static bool run_fault(const Case *c, const GByteArray *image, const Fault *f, unsigned n,
                      const char *before, const char *after)
{
    MemFile *file;
    GError *error = NULL;
    BlkNode *node = open_bytes(copy_of(image), true, NULL, &file);
    file->fail_kinds = f->kinds;
    file->fail_at = n;
    file->fail_count = f->count;
    file->fail_error = f->error;
    file->fail_half = f->half;
    bool ok = c->op->run(node, &error);
    bool reached = file->calls > n;
    file->fail_kinds = 0;
    g_assert_true(ok == !error);
    g_clear_error(&error);
    g_autoptr(GByteArray) cut = copy_of(file->data);
    g_autofree char *now = state_of(cut);
    (void)!node_flush(node);
    (void)!node->fmt->finish(node);
    g_autoptr(GByteArray) left = copy_of(file->data);
    g_autofree char *later = state_of(left);
    g_autoptr(GChecksum) live = g_checksum_new(G_CHECKSUM_SHA1);
    g_autoptr(GChecksum) stored = g_checksum_new(G_CHECKSUM_SHA1);
    BlkNode *again = open_bytes(copy_of(left), false, NULL, NULL);
    sum_disk(node, live);
    sum_disk(again, stored);
    bool same = !strcmp(g_checksum_get_string(live), g_checksum_get_string(stored));
    bool right = ok ? !strcmp(later, after) : !strcmp(later, before) || !strcmp(later, after);
    if (!same || (!right && !c->op->gradual))
        g_error("%s, %s, %s %u (%s), seed %" G_GUINT64_FORMAT ":\n%s\n%s\n%s\n%s", c->shape->name,
                c->op->name, f->name, n, ok ? "done" : "failed", seed, before, now, later, after);
    node_abandon(again);
    node_abandon(node);
    return reached;
}

static void test_faults(gconstpointer opaque)
{
    const Case *c = opaque;
    MemFile *file;
    g_autoptr(GByteArray) image = prepare(c);
    g_autofree char *before = state_of(image);
    BlkNode *node = open_bytes(copy_of(image), true, NULL, &file);
    g_assert_true(c->op->run(node, NULL));
    (void)!node->fmt->finish(node);
    g_autofree char *after = state_of(file->data);
    node_abandon(node);
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
        unsigned n = 0;
        while (n < 300 && run_fault(c, image, &faults[i], n, before, after))
            n++;
        g_test_message("%s: %u places", faults[i].name, n);
        g_assert_cmpuint(n, >, 0);
    }
}

/* The VM state belongs to its snapshot, and comes back with it. */
static void test_state(gconstpointer opaque)
{
    const Shape *s = opaque;
    uint64_t random = seed;
    enum { BYTES = 200 << 10 };
    g_autofree uint8_t *state = g_malloc(BYTES), *read = g_malloc(BYTES);
    struct iovec out = {state, BYTES}, in = {read, BYTES};
    NodeSnapshot info = {.name = (char *)(uintptr_t) "vm", .icount = -1, .vm_state_bytes = BYTES};
    MemFile *file;
    BlkNode *node = open_bytes(new_image(s), true, NULL, &file);
    work_on(node, &random, 20);
    for (size_t i = 0; i < BYTES; i++)
        state[i] = (uint8_t)next_random(&random);
    for (uint64_t at = 0; at < BYTES; at += 2560) {
        uint64_t n = MIN(2560, BYTES - at);
        g_assert_cmpint(node_vmstate_write(node, at, (IoBuf){&out, 1, at}, n), ==, 0);
    }
    g_assert_true(node_snapshot_create(node, &info, NULL));
    g_assert_cmpint(node_vmstate_read(node, 0, (IoBuf){&in, 1, 0}, BYTES), ==, -EINVAL);
    work_on(node, &random, 20);
    g_assert_true(node_snapshot_apply(node, "vm", NULL));
    g_assert_cmpint(node_vmstate_read(node, 0, (IoBuf){&in, 1, 0}, BYTES), ==, 0);
    g_assert_cmpmem(state, BYTES, read, BYTES);
    /* Written anew, the snapshot keeps its own. */
    state[5] ^= 1;
    g_assert_cmpint(node_vmstate_write(node, 0, (IoBuf){&out, 1, 0}, 512), ==, 0);
    g_assert_cmpint(node_vmstate_read(node, 0, (IoBuf){&in, 1, 0}, BYTES), ==, 0);
    g_assert_cmpmem(state, BYTES, read, BYTES);
    g_assert_true(node_snapshot_apply(node, "vm", NULL));
    state[5] ^= 1;
    g_assert_cmpint(node_vmstate_read(node, 0, (IoBuf){&in, 1, 0}, BYTES), ==, 0);
    g_assert_cmpmem(state, BYTES, read, BYTES);
    g_assert_true(is_sound(node));
    g_assert_cmpint(node_close(node), ==, 0);
}

/* A bitmap that is enabled holds what was written since, over a close and an open. */
static void test_recording(void)
{
    static const Shape s = {"v3", "cluster_size=4k", 300u << 10, false};
    uint8_t sector[512] = {1}, *bits = NULL;
    struct iovec iov = {sector, sizeof(sector)};
    MemFile *file;
    BlkNode *node = open_bytes(new_image(&s), true, NULL, &file);
    g_assert_true(node_bitmap_add(node, "b", 4096, true, NULL));
    g_assert_cmpint(node_write(node, 8192, (IoBuf){&iov, 1, 0}, 512), ==, 0);
    /* A power cut leaves it inconsistent. */
    GByteArray *cut = copy_of(file->data);
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    GByteArray *data = copy_of(file->data);
    node_abandon(node);
    node = open_bytes(cut, false, NULL, NULL);
    g_assert_true(node->fmt->bitmap(node, 0)->inconsistent);
    node_abandon(node);
    node = open_bytes(data, true, NULL, &file);
    g_assert_false(node->fmt->bitmap(node, 0)->inconsistent);
    g_assert_cmpint(node_write_zeroes(node, 20480, 4096, 0), ==, 0);
    g_assert_true(node_resize(node, 600u << 10, PREALLOC_OFF, NULL));
    g_assert_true(node->fmt->bitmap_load(node, 0, &bits, NULL));
    g_assert_cmphex(bits[0], ==, 1 << 2 | 1 << 5);
    g_free(bits);
    g_assert_true(node_bitmap_add(node, "c", 65536, false, NULL));
    g_assert_true(node_bitmap_merge(node, "c", node, "b", NULL));
    g_assert_true(node_bitmap_enable(node, "b", false, NULL));
    g_assert_cmpint(node_write(node, 0, (IoBuf){&iov, 1, 0}, 512), ==, 0);
    g_assert_true(is_sound(node));
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    data = copy_of(file->data);
    node_abandon(node);
    node = open_bytes(data, false, NULL, NULL);
    g_assert_true(node->fmt->bitmap_load(node, 0, &bits, NULL));
    g_assert_cmphex(bits[0], ==, 1 << 2 | 1 << 5);
    g_free(bits);
    g_assert_true(node->fmt->bitmap_load(node, 1, &bits, NULL));
    g_assert_cmphex(bits[0], ==, 1);
    g_free(bits);
    node_abandon(node);
}

static bool makes_sense(const Shape *s, const Op *op)
{
    bool v3 = !strstr(s->options, "0.10");
    if (op->run == do_amend && s->size == 400u << 10)
        return false; /* one of its kind is enough */
    return (v3 || !op->needs_v3) && (s->backing || op->run != do_empty);
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
        for (size_t j = 0; j < G_N_ELEMENTS(operations); j++) {
            if (!makes_sense(&shapes[i], &operations[j]))
                continue;
            Case *c = g_new(Case, 1);
            *c = (Case){&shapes[i], &operations[j]};
            g_autofree char *cut =
                g_strdup_printf("/operations/cut/%s/%s", shapes[i].name, operations[j].name);
            g_autofree char *fault =
                g_strdup_printf("/operations/faults/%s/%s", shapes[i].name, operations[j].name);
            g_test_add_data_func_full(cut, c, (GTestDataFunc)test_cut, NULL);
            g_test_add_data_func_full(fault, c, (GTestDataFunc)test_faults, g_free);
        }
        if (shapes[i].backing) {
            g_autofree char *empty = g_strdup_printf("/operations/empty/%s", shapes[i].name);
            g_test_add_data_func(empty, &shapes[i], test_empty);
        }
        g_autofree char *path = g_strdup_printf("/operations/state/%s", shapes[i].name);
        g_test_add_data_func(path, &shapes[i], test_state);
    }
    g_test_add_func("/operations/recording", test_recording);
    int result = g_test_run();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
