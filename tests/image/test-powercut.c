/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts and failing files.
 *
 * Every write and flush that reaches the file is recorded while several coroutines work on an
 * image. Then the power is cut after each entry of the record, with what no flush covers kept, lost
 * or torn at random: the image must open, check must find no corruption (leaks are allowed), and
 * every sector must hold what was last flushed, or something newer.  (docs/qcow2-invariants.md)
 * Then more work is done on it, which must not spoil anything.
 *
 * And every call to the file is made to fail in turn: requests may fail, the image must not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "block/secret.h"
#include "memfile.h"
#include "model.h"
#include "util/log.h"

#define MAX_ROUNDS 60u /* of work after a cut, in a shape */
#define SESSIONS   3u  /* of such a round */
#define AFTER_CUT  8u  /* requests of each */

typedef struct Shape {
    const char *name, *format, *options;
    uint64_t size;
    uint64_t base;       /* bytes of a backing file; 0: none */
    unsigned compressed; /* eighths of the requests */
    unsigned operations;
    unsigned max_sectors; /* of a request; 0: 48 */
    bool discard;         /* discard=unmap */
    bool snapshot;        /* an internal one is taken half way, by qemu-img */
    bool data_file;       /* the guest's data lies in another file */
} Shape;

static const Shape shapes[] = {
    {"v3-4k", "qcow2", "cluster_size=4k", 1u << 20, 0, 0, 120, 48, true},
    {"v3-512", "qcow2", "cluster_size=512,refcount_bits=64", 300u << 10, 0, 1, 120},
    {"v3-64k", "qcow2", "cluster_size=64k", 8u << 20, 0, 0, 120, 48, true},
    {"v3-backing", "qcow2", "cluster_size=4k,refcount_bits=8", 1u << 20, 700u << 10, 1, 120},
    {"v3-1bit", "qcow2", "cluster_size=1k,refcount_bits=1", 512u << 10, 100u << 10, 1, 120},
    {"v2-4k", "qcow2", "cluster_size=4k,compat=0.10", 1u << 20, 0, 1, 120},
    {"v2-backing", "qcow2", "cluster_size=2k,compat=0.10", 512u << 10, 512u << 10, 0, 120, 48,
     true},
    {"v3-growth", "qcow2", "cluster_size=512,refcount_bits=64", 4u << 20, 0, 0, 60, 1024},
    {"v3-tables", "qcow2", "cluster_size=1k", 4u << 20, 0, 0, 250, 24},
    {"v3-packed", "qcow2", "cluster_size=4k", 48u << 10, 0, 2, 300, 8},
    {"v3-subclusters", "qcow2", "cluster_size=16k,extended_l2=on", 600u << 10, 0, 1, 120, 48, true},
    {"v3-sub-backing", "qcow2", "cluster_size=16k,extended_l2=on", 400u << 10, 300u << 10, 0, 100},
    {"v3-sub-snapshot", "qcow2", "cluster_size=16k,extended_l2=on", 200u << 10, 0, 0, 60, 48, true,
     true},
    {"v3-snapshot", "qcow2", "cluster_size=512", 200u << 10, 0, 1, 150, 16, true, true},
    {"v2-snapshot", "qcow2", "cluster_size=1k,compat=0.10", 400u << 10, 0, 1, 120, 48, false, true},
    {"v3-zstd", "qcow2", "cluster_size=4k,compression_type=zstd", 200u << 10, 0, 3, 90},
    {"v3-luks", "qcow2",
     "cluster_size=4k,encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=1", 200u << 10,
     0, 0, 45},
    {"v3-data-file", "qcow2", "cluster_size=4k", 600u << 10, 0, 0, 120, 48, true, false, true},
    {"v3-data-raw", "qcow2", "cluster_size=4k,data_file_raw=on", 600u << 10, 0, 0, 120, 48, false,
     false, true},
    {"v3-data-sub", "qcow2", "cluster_size=16k,extended_l2=on", 600u << 10, 0, 0, 120, 48, true,
     false, true},
    {"qcow", "qcow", NULL, 8u << 20, 0, 1, 120},
    {"qcow-backing", "qcow", NULL, 6u << 20, 200u << 10, 1, 60, 8},
    {"vdi", "vdi", NULL, 4u << 20, 0, 0, 100},
    {"vpc", "vpc", "force_size=on", 6u << 20, 0, 0, 100},
    {"vmdk", "vmdk", NULL, 3u << 20, 0, 0, 80},
    {"vmdk-zeroed", "vmdk", "zeroed_grain=on", 1u << 20, 0, 0, 80},
    {"vhdx", "vhdx", "block_size=1M", 3u << 20, 0, 0, 100},
};

static CoSched *sched;
static uint64_t seed;
static unsigned cuts_tried;
static GByteArray *data_bytes; /* of the external data file that the next open_image() takes */

/* ---- Images in memory ---- */

static GByteArray *copy_of(const GByteArray *data)
{
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data->data, data->len);
    return copy;
}

/* The name of a file that create() can make; what is opened later lies in memory. */
static char *scratch_name(void)
{
    char *name = NULL;
    int fd = g_file_open_tmp("powercut-XXXXXX", &name, NULL);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return name;
}

static GByteArray *new_image(const Shape *s, GArray **log)
{
    GError *error = NULL;
    g_autofree char *data_name = s->data_file ? scratch_name() : NULL;
    g_autoptr(Options) options =
        s->options ? options_parse("-o", s->options, NULL, NULL, &error) : NULL;
    if (data_name)
        options_set(options, "data_file", data_name);
    CreateSpec spec = {.size = s->size,
                       .options = options,
                       .backing = s->base ? "base" : NULL,
                       .backing_format = s->base ? "raw" : NULL};
    MemFile *m = memfile_new(sched, NULL);
    if (log)
        memfile_record(m);
    if (!format_find(s->format, NULL)->create(&m->base, &spec, &error))
        g_error("%s", error->message);
    if (log)
        *log = memfile_take_log(m);
    GByteArray *data = copy_of(m->data);
    file_close(&m->base);
    if (data_name)
        g_unlink(data_name);
    return data;
}

static MemFile *data_file_of(const BlkNode *node)
{
    return node->mode.data_file ? memfile_of(node->mode.data_file) : NULL;
}

static void drop_image(BlkNode *node)
{
    BlkFile *data_file = node->mode.data_file;
    node_abandon(node);
    if (data_file)
        file_close(data_file);
}

static GByteArray *contents_of(const Shape *s, BlkNode *node, const MemFile *file)
{
    if (s->data_file)
        data_bytes = copy_of(data_file_of(node)->data);
    return copy_of(file->data);
}

static void add_base(const Shape *s, BlkNode *node)
{
    NodeMode mode = {0};
    if (!s->base)
        return;
    MemFile *m = memfile_new(sched, NULL);
    model_fill_base(m->data, s->base / 512);
    m->base.size = m->data->len;
    m->base.readonly = true;
    node->backing = node_open_file(&m->base, "raw", &mode, NULL);
}

/* Takes data over.  Caches of two pages, so that they are written back all the time. */
static BlkNode *open_image(const Shape *s, GByteArray *data, MemFile **file)
{
    NodeMode mode = {.no_backing = true,
                     .discard = s->discard,
                     .file = {.writable = true},
                     .key_secret = "key",
                     .l2_cache = 1024,
                     .refcount_cache = 1024};
    GError *error = NULL;
    MemFile *m = memfile_new(sched, data);
    if (s->data_file)
        mode.data_file = &memfile_new(sched, g_steal_pointer(&data_bytes))->base;
    BlkNode *node = node_open_file(&m->base, s->format, &mode, &error);
    if (!node) {
        if (mode.data_file)
            file_close(mode.data_file);
        g_test_message("%s", error->message);
        g_clear_error(&error);
        return NULL;
    }
    add_base(s, node);
    if (file)
        *file = m;
    return node;
}

static void keep_line(void *opaque, const char *line)
{
    g_string_append_printf(opaque, "%s\n", line);
}

static bool check_is_clean(BlkNode *node, bool leaks_allowed)
{
    CheckResult r = {0};
    if (!node->fmt->check)
        return true;
    g_autoptr(GString) lines = g_string_new(NULL);
    int ret = node->fmt->check(node, 0, &r, keep_line, lines);
    bool clean = !ret && !r.corruptions && !r.check_errors && (leaks_allowed || !r.leaks);
    if (!clean)
        g_test_message("%s", lines->str);
    return clean;
}

static Work work_of(const Shape *s, bool may_fail)
{
    return (Work){.operations = s->operations,
                  .workers = 4,
                  .max_sectors = s->max_sectors ? s->max_sectors : 48,
                  .compressed = s->compressed,
                  .discard = true,
                  .zero = true,
                  .flush = true,
                  .may_fail = may_fail};
}

/* ---- Power cuts ---- */

/* What the cut left must not be in the way of who works on the image next, nor what he leaves in
 * that of the one after him. */
static BlkNode *work_on(const Shape *s, const Model *model, BlkNode *node, MemFile *file,
                        unsigned length)
{
    uint64_t random = seed + length, where = 0;
    Model *after = model_after_cut(model, node);
    Work work = work_of(s, false);
    work.operations = AFTER_CUT;
    work.max_sectors = MIN(work.max_sectors, 48);
    for (unsigned session = 0; session < SESSIONS; session++) {
        file->random = random;
        model_work(after, node, &work, &random, NULL);
        g_assert_cmpint(node_flush(node), ==, 0);
        GByteArray *left = contents_of(s, node, file);
        drop_image(node);
        node = open_image(s, left, &file);
        g_assert_nonnull(node);
    }
    if (!check_is_clean(node, true) || !model_verify(after, node, &where))
        g_error("%s: seed %" G_GUINT64_FORMAT
                ": work after entry %u spoiled sector %" G_GUINT64_FORMAT,
                s->name, seed, length, where);
    model_free(after);
    return node;
}

static void try_cut(const Shape *s, const Model *model, const GByteArray *before, const GArray *log,
                    unsigned length, bool go_on, uint64_t *random)
{
    uint64_t where = 0, kept = *random;
    MemFile *file;
    if (s->data_file) {
        g_autoptr(GByteArray) empty = g_byte_array_new();
        data_bytes = memfile_replay_one(empty, log, length, 1, random);
    }
    BlkNode *node = open_image(s, memfile_replay(before, log, length, random), &file);
    if (!node)
        g_error("%s: seed %" G_GUINT64_FORMAT ": does not open after entry %u (%" G_GUINT64_FORMAT
                ")",
                s->name, seed, length, kept);
    cuts_tried++;
    if (!check_is_clean(node, true))
        g_error("%s: seed %" G_GUINT64_FORMAT ": corrupt after entry %u", s->name, seed, length);
    if (!model_verify_cut(model, node, length, &where))
        g_error("%s: seed %" G_GUINT64_FORMAT ": sector %" G_GUINT64_FORMAT
                " lost what was flushed, after entry %u",
                s->name, seed, where, length);
    if (go_on)
        node = work_on(s, model, node, file, length);
    drop_image(node);
}

/* Closes the image, and lets qemu-img take a snapshot of it: all clusters are shared then, and so
 * are tables.  NULL: there is no qemu-img. */
static GByteArray *share_image(BlkNode *node, const MemFile *file)
{
    char *name = NULL, *data;
    gsize bytes;
    int status = -1;
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_cmpint(node->fmt->finish(node), ==, 0);
    int fd = g_file_open_tmp("powercut-XXXXXX", &name, NULL);
    g_assert_true(g_file_set_contents(name, (char *)file->data->data, file->data->len, NULL));
    close(fd);
    node_close(node);
    const char *argv[] = {"qemu-img", "snapshot", "-c", "s", name, NULL};
    g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                 &status, NULL);
    g_assert_true(g_file_get_contents(name, &data, &bytes, NULL));
    g_unlink(name);
    g_free(name);
    GByteArray *result = g_byte_array_new_take((guint8 *)data, bytes);
    if (status == 0)
        return result;
    g_byte_array_unref(result);
    return NULL;
}

static GByteArray *take_snapshot(const Shape *s, GByteArray *image, Model *model, uint64_t *random)
{
    MemFile *file;
    Work work = work_of(s, false);
    BlkNode *node = open_image(s, image, &file);
    model_work(model, node, &work, random, NULL);
    return share_image(node, file);
}

static void test_power_cut(gconstpointer data)
{
    const Shape *s = data;
    uint64_t random = seed, cut_random = seed * 31 + 7, where;
    MemFile *file;
    GByteArray *before = new_image(s, NULL);
    Model *model = model_new(s->size / 512, s->base / 512);
    Work work = work_of(s, false);
    if (s->snapshot)
        before = take_snapshot(s, before, model, &random);
    if (!before) {
        g_test_skip("no qemu-img");
        model_free(model);
        return;
    }
    model_settle(model);
    BlkNode *node = open_image(s, copy_of(before), &file);
    g_assert_nonnull(node);
    GArray *log = memfile_new_log();
    memfile_record_into(file, log, 0);
    if (s->data_file)
        memfile_record_into(data_file_of(node), log, 1);
    file->random = seed;
    model_work(model, node, &work, &random, file);
    g_assert_true(model_verify(model, node, &where));
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_true(check_is_clean(node, false));
    g_assert_true(model_verify(model, node, &where));
    file->log = NULL;
    drop_image(node);
    unsigned step = log->len / MAX_ROUNDS + 1;
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 3; variant++)
            try_cut(s, model, before, log, length, !variant && length % step == 0, &cut_random);
    memfile_log_free(log);
    model_free(model);
    g_byte_array_unref(before);
}

/* Creating: before the end there is no image, or a whole one. */
static void test_create_cut(gconstpointer data)
{
    const Shape *s = data;
    GArray *log;
    uint64_t random = seed;
    g_autoptr(GByteArray) empty = g_byte_array_new();
    GByteArray *whole = new_image(s, &log);
    for (unsigned length = 0; length <= log->len; length++)
        for (int variant = 0; variant < 4; variant++) {
            GByteArray *left = memfile_replay(empty, log, length, &random);
            bool looks_right = left->len >= 8 && format_probe(left->data, left->len)->probe;
            BlkNode *node = looks_right ? open_image(s, left, NULL) : NULL;
            if (!looks_right) {
                g_byte_array_unref(left);
                continue;
            }
            g_assert_nonnull(node);
            g_assert_true(check_is_clean(node, true));
            drop_image(node);
        }
    memfile_log_free(log);
    g_byte_array_unref(whole);
}

/* ---- Faults ---- */

typedef struct Fault {
    const char *name;
    unsigned kinds, count;
    int error;
    bool half;
} Fault;

static const Fault faults[] = {
    {"read", FAIL_READ, 1, -EIO, false},          {"write", FAIL_WRITE, 1, -EIO, false},
    {"half write", FAIL_WRITE, 1, -ENOSPC, true}, {"full disk", FAIL_WRITE, 20, -ENOSPC, false},
    {"flush", FAIL_FLUSH, 1, -EIO, false},        {"anything", FAIL_ANY, 5, -EIO, true},
    {"memory", FAIL_MEMORY, 1, 0, false},         {"no memory", FAIL_MEMORY, 20, 0, false},
};

static void arm(MemFile *file, const Fault *f, unsigned n)
{
    if (f->kinds == FAIL_MEMORY)
        memory_fails(n, f->count);
    file->fail_kinds = f->kinds;
    file->fail_at = n;
    file->fail_count = f->count;
    file->fail_error = f->error;
    file->fail_half = f->half;
}

/* One run with the fault at call number n of the image's file or of its data file; false when the
 * run ended before. */
static bool run_fault(const Shape *s, const GByteArray *image, const Fault *f, unsigned n,
                      bool in_data)
{
    uint64_t random = seed, where = 0;
    MemFile *file;
    BlkNode *node = open_image(s, copy_of(image), &file);
    Model *model = model_new(s->size / 512, (s->snapshot ? s->size : s->base) / 512);
    Work work = work_of(s, true);
    work.operations /= 3;
    file->random = seed;
    MemFile *failing = in_data ? data_file_of(node) : file;
    arm(failing, f, n);
    model_work(model, node, &work, &random, NULL);
    bool reached = (f->kinds == FAIL_MEMORY ? memory_calls() : failing->calls) > n;
    failing->fail_kinds = 0;
    memory_fails(0, 0);
    if (!model_verify(model, node, &where) || node_flush(node))
        g_error("%s, %s %u, seed %" G_GUINT64_FORMAT ": sector %" G_GUINT64_FORMAT " is lost",
                s->name, f->name, n, seed, where);
    GByteArray *left = contents_of(s, node, file);
    drop_image(node);
    node = open_image(s, left, NULL);
    g_assert_nonnull(node);
    if (!check_is_clean(node, true) || !model_verify(model, node, &where))
        g_error("%s, %s %u, seed %" G_GUINT64_FORMAT ": corrupt (sector %" G_GUINT64_FORMAT ")",
                s->name, f->name, n, seed, where);
    drop_image(node);
    model_free(model);
    return reached;
}

/* Full of data, all of which a snapshot shares. */
static GByteArray *shared_image(const Shape *s)
{
    MemFile *file;
    NodeSnapshot info = {.name = (char *)(uintptr_t) "s", .icount = -1};
    g_autoptr(GByteArray) disk = g_byte_array_new();
    model_fill_base(disk, s->size / 512);
    struct iovec iov = {disk->data, s->size};
    BlkNode *node = open_image(s, new_image(s, NULL), &file);
    g_assert_cmpint(node_write(node, 0, (IoBuf){&iov, 1, 0}, s->size), ==, 0);
    g_assert_true(node_snapshot_create(node, &info, NULL));
    GByteArray *image = copy_of(file->data);
    drop_image(node);
    return image;
}

static void test_faults(gconstpointer data)
{
    const Shape *s = data;
    GByteArray *image = s->snapshot ? shared_image(s) : new_image(s, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++)
        for (int in_data = 0; in_data <= (s->data_file && faults[i].kinds != FAIL_MEMORY);
             in_data++) {
            unsigned n = 0;
            while (run_fault(s, image, &faults[i], n, in_data))
                n++;
            g_test_message("%s%s: %u places", faults[i].name, in_data ? " in the data file" : "",
                           n);
            g_assert_true(n > 0 || faults[i].kinds & (FAIL_READ | FAIL_MEMORY));
        }
    g_byte_array_unref(image);
}

/* ---- A shared table that cannot be copied ---- */

enum { FAR = 600 << 20, PIECE = 64 << 10, PIECES = 12 }; /* another L2 table has what is far */

typedef struct Party {
    BlkNode *node;
    unsigned running;
} Party;

static void write_value(BlkNode *node, uint64_t offset, unsigned value, bool may_fail)
{
    g_autofree uint8_t *data = g_malloc(PIECE);
    struct iovec iov = {data, PIECE};
    memset(data, (int)value, PIECE);
    int ret = node_write(node, offset, (IoBuf){&iov, 1, 0}, PIECE);
    g_assert_true(may_fail || !ret);
}

static void copy_main(void *opaque)
{
    Party *p = opaque;
    write_value(p->node, 0, 99, true);
    p->running--;
}

static void flush_main(void *opaque)
{
    Party *p = opaque;
    for (int i = 0; i < 6; i++)
        g_assert_cmpint(node_flush(p->node), ==, 0);
    p->running--;
}

static void fill_main(void *opaque)
{
    Party *p = opaque;
    for (unsigned i = 0; i < PIECES; i++)
        write_value(p->node, FAR + (uint64_t)i * PIECE, i + 1, false);
    p->running--;
}

static void expect_value(BlkNode *node, uint64_t offset, unsigned bytes, unsigned value,
                         unsigned round)
{
    g_autofree uint8_t *data = g_malloc(bytes);
    struct iovec iov = {data, bytes};
    g_assert_cmpint(node_read(node, offset, (IoBuf){&iov, 1, 0}, bytes), ==, 0);
    for (unsigned i = 0; i < bytes; i++)
        if (data[i] != value)
            g_error("round %u: %u at %" G_GUINT64_FORMAT ", not %u", round, data[i], offset + i,
                    value);
}

static void run_party(const Shape *s, const GByteArray *image, unsigned round)
{
    static CoFn *const mains[] = {copy_main, flush_main, fill_main};
    static const Fault fault = {"read", FAIL_READ, 1, -EIO, false};
    MemFile *file;
    Party p = {open_image(s, copy_of(image), &file), G_N_ELEMENTS(mains)};
    write_value(p.node, FAR, 50, false); /* that table is ours now */
    file->random = seed + round;
    arm(file, &fault, round % 4);
    for (size_t i = 0; i < G_N_ELEMENTS(mains); i++)
        co_start(sched, mains[i], NULL, &p);
    while (p.running)
        loop_step(loop_main(), true);
    file->fail_kinds = 0;
    for (unsigned i = 0; i < PIECES; i++)
        expect_value(p.node, FAR + (uint64_t)i * PIECE, PIECE, i + 1, round);
    g_assert_cmpint(node_flush(p.node), ==, 0);
    g_assert_true(check_is_clean(p.node, true));
    drop_image(p.node);
}

/* Its new cluster must not be another's while a commit still writes there. */
static void test_copy_fails(void)
{
    static const Shape s = {"far", "qcow2", "cluster_size=64k", 1u << 30};
    MemFile *file;
    BlkNode *node = open_image(&s, new_image(&s, NULL), &file);
    write_value(node, 0, 98, false);
    write_value(node, FAR, 97, false);
    g_autoptr(GByteArray) image = share_image(node, file);
    if (!image)
        g_test_skip("no qemu-img");
    for (unsigned round = 0; image && round < 400; round++)
        run_party(&s, image, round);
}

/* ---- Space that is given back while its last cluster takes more compressed ones ---- */

enum { UNIT = 32 << 10, PER_PAGE = 2048, PACKS = 12 };

static const Shape packed_shape = {
    "pages",   "qcow2", "cluster_size=32k,refcount_bits=64,preallocation=metadata",
    65u << 20, 0,       0,
    0,         0,       true};

/* The guest's cluster at a place of the file. */
static uint64_t guest_of(BlkNode *node, uint64_t host)
{
    for (uint64_t at = 0; at < node->size; at += UNIT) {
        Extent e;
        g_assert_cmpint(node->fmt->map(node, at, UNIT, 0, &e), ==, 0);
        if (e.host == host)
            return at;
    }
    g_assert_not_reached();
}

static void pack(BlkNode *node, uint64_t offset, unsigned value)
{
    g_autofree uint8_t *data = g_malloc(UNIT), *packed = g_malloc(UNIT);
    memset(data, (int)value, UNIT);
    int length = node_compress(node, data, packed);
    g_assert_cmpint(length, >, 0);
    g_assert_cmpint(node_write_compressed(node, offset, packed, (size_t)length), ==, 0);
}

static void pack_main(void *opaque)
{
    Party *p = opaque;
    for (unsigned i = 0; i < PACKS; i++)
        pack(p->node, (uint64_t)i * UNIT, i + 1);
    p->running--;
}

static void flush_once_main(void *opaque)
{
    Party *p = opaque;
    g_assert_cmpint(node_flush(p->node), ==, 0);
    p->running--;
}

/* The two clusters whose counts are the last of a page and the first of the next are given up, with
 * the next page not in memory, while more is packed behind what the first one had. */
static void test_pack_while_freed(void)
{
    const Shape *s = &packed_shape;
    MemFile *file;
    BlkNode *node = open_image(s, new_image(s, NULL), &file);
    uint64_t last = guest_of(node, (uint64_t)(PER_PAGE - 1) * UNIT);
    g_assert_cmpuint(guest_of(node, (uint64_t)PER_PAGE * UNIT), ==, last + UNIT);
    g_assert_cmpint(node_discard(node, last, UNIT, 0), ==, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    g_assert_cmpint(node_flush(node), ==, 0);
    g_autoptr(GByteArray) image = copy_of(file->data);
    drop_image(node);
    for (unsigned round = 0; round < 30; round++) {
        Party p = {open_image(s, copy_of(image), &file), 2};
        pack(p.node, last, 77);
        g_assert_cmpint(node_discard(p.node, last, 2 * UNIT, 0), ==, 0);
        file->random = seed + round;
        co_start(sched, flush_once_main, NULL, &p);
        co_start(sched, pack_main, NULL, &p);
        while (p.running)
            loop_step(loop_main(), true);
        for (unsigned i = 0; i < PACKS; i++)
            expect_value(p.node, (uint64_t)i * UNIT, UNIT, i + 1, round);
        drop_image(p.node);
    }
}

static void add(const char *group, const Shape *s, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/image/%s/%s", group, s->name);
    g_test_add_data_func(path, s, fn);
}

/* The library for them may be missing. */
static bool has_ciphers(const Shape *s)
{
    g_autoptr(Options) options = options_parse("-o", s->options, NULL, NULL, NULL);
    CreateSpec spec = {.size = s->size, .options = options};
    MemFile *m = memfile_new(sched, NULL);
    bool made = format_find(s->format, NULL)->create(&m->base, &spec, NULL);
    file_close(&m->base);
    return made;
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *given = g_getenv("SEED");
    seed = given ? strtoull(given, NULL, 0) : 20080117;
    g_test_message("SEED=%" G_GUINT64_FORMAT, seed);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    g_assert_true(secret_add("-object", "secret,id=key,data=geheim", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        if (strstr(shapes[i].name, "luks") && !has_ciphers(&shapes[i]))
            continue;
        add("power-cut", &shapes[i], test_power_cut);
        add("create-cut", &shapes[i], test_create_cut);
        add("faults", &shapes[i], test_faults);
    }
    g_test_add_func("/image/copy-fails", test_copy_fails);
    g_test_add_func("/image/pack-while-freed", test_pack_while_freed);
    int result = g_test_run();
    g_test_message("%u cuts", cuts_tried);
    secret_remove_all();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
