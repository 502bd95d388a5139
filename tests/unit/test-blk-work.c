/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work on drives beside the guest: change and eject at once, jobs under load, faults in them; all
 * of it in the main loop and in an I/O thread. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/job.h"
#include "block/node.h"
#include "test-drives.h"
#include "util/error.h"

#define THREAD ",iothread=io0"

static Blk *open_with(const char *text, const char *more)
{
    g_autofree char *whole = g_strconcat(text, more, NULL);
    return open_drive(whole);
}

typedef struct End {
    bool over;
    GError *error;
} End;

static void ended(void *opaque, GError *error)
{
    End *end = opaque;
    g_assert_false(end->over);
    end->over = true;
    end->error = error;
}

static void wait_for(End *end)
{
    while (!end->over)
        loop_step(loop_main(), true);
}

static void ends_well(End *end)
{
    wait_for(end);
    g_assert_no_error(end->error);
    *end = (End){0};
}

static void ends_with(End *end, const char *why)
{
    wait_for(end);
    g_assert_nonnull(end->error);
    if (!strstr(end->error->message, why))
        g_error("no '%s' in: %s", why, end->error->message);
    g_clear_error(&end->error);
    *end = (End){0};
}

/* ---- Media ---- */

typedef struct Flight {
    BlkReq req;
    struct iovec iov;
    char data[4096];
    bool done;
    int ret;
} Flight;

static void flight_done(BlkReq *req, int ret)
{
    Flight *f = req->opaque;
    f->ret = ret;
    f->done = true;
}

static void fly(Blk *blk, Flight *f, BlkOp op, uint64_t offset)
{
    f->iov = (struct iovec){f->data, sizeof(f->data)};
    f->req = (BlkReq){.op = op,
                      .offset = offset,
                      .bytes = sizeof(f->data),
                      .iov = &f->iov,
                      .iov_count = 1,
                      .done = flight_done,
                      .opaque = f};
    f->done = false;
    int ret = blk_submit(blk, &f->req);
    if (ret != BLK_PENDING)
        flight_done(&f->req, ret);
}

/* A change waits for a request; meanwhile nothing else may come in between, and requests wait. */
static void test_busy(gconstpointer more)
{
    Flight before, after;
    End change = {0}, other = {0};
    g_autofree char *second = path_of("disk2"), *first = path_of("disk");
    make("disk", "raw", NULL);
    make("disk2", "raw", NULL);
    Blk *blk = open_with("@disk2,media=floppy,format=raw", more);
    put(blk, 0, 2, 4096);
    g_assert_true(blk_eject(blk, false, NULL));
    blk_close(blk);
    blk = open_with("blkdebug::@disk,media=floppy,format=raw,id=f", more);
    put(blk, 0, 1, 4096);
    fly(blk, &before, BLK_READ, 0);
    g_assert_false(before.done);
    blk_change_start(blk, second, "raw", false, false, ended, &change);
    g_assert_false(change.over);
    g_assert_cmpstr(blk_busy(blk), ==, "change");
    blk_eject_start(blk, true, ended, &other);
    ends_with(&other, "drive 'f' is busy: change is under way");
    blk_change_start(blk, first, "raw", false, true, ended, &other);
    ends_with(&other, "busy");
    fly(blk, &after, BLK_READ, 0);
    g_assert_false(after.done);
    ends_well(&change);
    blk_drain(blk);
    g_assert_cmpint(before.ret, ==, 0);
    g_assert_cmpint(before.data[0], ==, 1);
    g_assert_cmpint(after.ret, ==, 0);
    /* with a thread the old medium may still be in while the new one is opened */
    g_assert_true(after.data[0] == 2 || (*(const char *)more && after.data[0] == 1));
    g_assert_null(blk_busy(blk));
    g_assert_cmpstr(blk_file_name(blk), ==, second);
    blk_close(blk);
}

/* Without a device a drive is gone at once; a device finds it empty. */
static void test_delete(gconstpointer more)
{
    End end = {0};
    Flight flight;
    make("disk", "raw", NULL);
    Blk *blk = open_with("@disk,format=raw,id=x", more);
    blk_delete_start(blk, ended, &end);
    ends_well(&end);
    g_assert_null(blk_find("x"));
    blk = open_with("@disk,format=raw,id=x", more);
    g_assert_true(blk_attach_device(blk, NULL, NULL, "ide-hd", NULL));
    blk_delete_start(blk, ended, &end);
    ends_well(&end);
    g_assert_null(blk_find("x"));
    fly(blk, &flight, BLK_READ, 0);
    g_assert_cmpint(flight.ret, ==, -ENOMEDIUM);
    blk_close(open_with("@disk,format=raw,id=x", more)); /* nobody locks it */
    blk_detach_device(blk);
}

static void test_resize(gconstpointer more)
{
    GError *error = NULL;
    make("disk", "raw", NULL);
    Blk *blk = open_with("@disk,format=raw", more);
    put(blk, DRIVE_SIZE - 4096, 3, 4096);
    g_assert_true(blk_resize(blk, 2 * DRIVE_SIZE, &error));
    g_assert_cmpuint(blk_size(blk), ==, 2 * DRIVE_SIZE);
    expect_at(blk, DRIVE_SIZE, 0, 4096);
    expect_at(blk, DRIVE_SIZE - 4096, 3, 4096);
    g_assert_true(blk_resize(blk, 1 << 20, &error));
    char sector[512];
    g_assert_cmpint(blk_pread(blk, 1 << 20, sector, 512), ==, -EINVAL);
    g_assert_false(blk_resize(blk, 1000, &error));
    g_assert_nonnull(strstr(error->message, "multiple of 512"));
    g_clear_error(&error);
    blk_close(blk);
}

static void test_snapshot(gconstpointer more)
{
    GError *error = NULL;
    g_autofree char *top = path_of("top"), *nowhere = path_of("no/where");
    unlink(top);
    make("disk", "raw", NULL);
    Blk *blk = open_with("@disk,format=raw", more);
    put(blk, 0, 1, 65536);
    g_assert_false(blk_snapshot(blk, nowhere, NULL, false, &error));
    g_clear_error(&error);
    put(blk, 4096, 2, 4096);
    g_assert_true(blk_snapshot(blk, top, NULL, false, &error));
    g_assert_cmpstr(blk_file_name(blk), ==, top);
    put(blk, 8192, 3, 4096);
    expect_at(blk, 0, 1, 4096);
    expect_at(blk, 4096, 2, 4096);
    expect_at(blk, 8192, 3, 4096);
    g_assert_cmpint(byte_of_file("disk", 4096), ==, 2);
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 1);
    Blk *reader = open_drive("@disk,readonly=on,format=raw"); /* it is shared now */
    blk_close(reader);
    g_assert_true(blk_commit(blk, &error));
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 3);
    blk_close(blk);
    blk = open_drive("@top");
    expect_at(blk, 8192, 3, 4096);
    blk_close(blk);
}

/* ---- Jobs ---- */

#define CHUNKS (DRIVE_SIZE >> 16)

/* A write to a random chunk, and in expected[] what it holds now. */
static void scribble(Blk *blk, GRand *random, uint8_t *expected)
{
    unsigned chunk = (unsigned)g_rand_int_range(random, 0, CHUNKS);
    uint8_t value = (uint8_t)g_rand_int_range(random, 1, 256);
    put(blk, (uint64_t)chunk << 16, value, 65536);
    expected[chunk] = value;
}

/* The same, and everything else has time to go on. */
static void scribble_slowly(Blk *blk, GRand *random, uint8_t *expected)
{
    scribble(blk, random, expected);
    for (int i = 0; i < 50; i++)
        loop_step(loop_main(), false);
}

static void expect_all(Blk *blk, const uint8_t *expected)
{
    for (unsigned i = 0; i < CHUNKS; i++)
        expect_at(blk, (uint64_t)i << 16, expected[i], 65536);
}

/* "top" over "base", both full of data; expected[]: what top shows. */
static Blk *open_chain(const char *format, const char *more, GRand *random, uint8_t *expected)
{
    make("base", "qcow2", NULL);
    Blk *blk = open_drive("@base");
    memset(expected, 0, CHUNKS);
    for (unsigned i = 0; i < CHUNKS / 2; i++)
        scribble(blk, random, expected);
    blk_close(blk);
    make("top", format, "base");
    blk = open_with("blkdebug::@top", more);
    for (unsigned i = 0; i < CHUNKS; i++)
        scribble(blk, random, expected);
    return blk;
}

static void test_commit(gconstpointer more)
{
    static const char *const formats[] = {"qcow2", "qcow"};
    g_autoptr(GRand) random = g_rand_new_with_seed(1);
    uint8_t expected[CHUNKS];
    for (unsigned i = 0; i < 2; i++) {
        End end = {0};
        unsigned during = 0;
        GError *error = NULL;
        Blk *blk = open_chain(formats[i], more, random, expected);
        g_assert_true(blk_job_commit(blk, 400u << 20, ended, &end, &error));
        g_assert_false(blk_job_commit(blk, 0, ended, &end, &error));
        g_assert_nonnull(strstr(error->message, "commit is under way"));
        g_clear_error(&error);
        while (!end.over) {
            scribble(blk, random, expected);
            during++;
        }
        g_assert_cmpuint(during, >, 1);
        ends_well(&end);
        expect_all(blk, expected);
        g_assert_true(blk_commit(blk, &error)); /* what came since */
        blk_close(blk);
        blk = open_drive("@base");
        expect_all(blk, expected);
        blk_close(blk);
    }
}

static void inject(Blk *blk, const char *text)
{
    g_autoptr(Options) rule = text ? options_parse("rule", text, NULL, NULL, NULL) : NULL;
    g_assert_true(blk_inject(blk, text ? "inject-error" : NULL, rule, NULL));
}

/* A commit that cannot read, is cancelled, or is interrupted by closing, loses nothing. */
static void test_commit_fails(gconstpointer more)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(2);
    uint8_t expected[CHUNKS];
    End end = {0};
    GError *error = NULL;
    Blk *blk = open_chain("qcow2", more, random, expected);
    inject(blk, "event=read_aio,iotype=read");
    g_assert_true(blk_job_commit(blk, 0, ended, &end, &error));
    ends_with(&end, "still has everything");
    inject(blk, NULL);
    expect_all(blk, expected);
    g_assert_true(blk_job_commit(blk, 65536, ended, &end, &error));
    scribble(blk, random, expected);
    g_assert_true(blk_job_pause(blk, true, &error));
    g_assert_false(blk_job_pause(blk, true, NULL));
    g_assert_false(blk_job_complete(blk, NULL));
    g_autoptr(GString) text = g_string_new(NULL);
    blk_jobs_describe(text);
    g_assert_true(g_str_has_prefix(text->str, "Type commit, device drive"));
    g_assert_nonnull(strstr(text->str, "speed limit 65536 bytes/s, paused\n"));
    g_assert_true(blk_job_pause(blk, false, &error));
    g_assert_true(blk_job_cancel(blk, false, &error));
    ends_with(&end, "was cancelled");
    expect_all(blk, expected);
    g_assert_false(blk_job_cancel(blk, false, &error));
    g_assert_nonnull(strstr(error->message, "no job under way"));
    g_clear_error(&error);
    g_assert_true(blk_job_commit(blk, 65536, ended, &end, &error));
    blk_close(blk);
    ends_with(&end, "was cancelled");
    blk = open_drive("@top");
    expect_all(blk, expected);
    blk_close(blk);
}

static void test_stream(gconstpointer more)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(3);
    uint8_t expected[CHUNKS];
    End end = {0};
    GError *error = NULL;
    Blk *blk = open_chain("qcow2", more, random, expected);
    if (!format_find("qcow2", NULL)->change_backing) {
        blk_close(blk);
        g_test_skip("qcow2 cannot change its backing file");
        return;
    }
    g_assert_false(blk_job_stream(blk, "nothing", 0, ended, &end, &error));
    g_assert_nonnull(strstr(error->message, "has no backing file 'nothing'"));
    g_clear_error(&error);
    g_assert_true(blk_job_stream(blk, NULL, 400u << 20, ended, &end, &error));
    while (!end.over)
        scribble(blk, random, expected);
    ends_well(&end);
    expect_all(blk, expected);
    blk_close(blk);
    make("base", "raw", NULL); /* nobody needs it */
    blk = open_drive("@top");
    expect_all(blk, expected);
    g_assert_false(blk_job_stream(blk, NULL, 0, NULL, NULL, &error));
    g_assert_nonnull(strstr(error->message, "no backing file"));
    g_clear_error(&error);
    blk_close(blk);
}

static bool is_ready(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    blk_jobs_describe(text);
    return strstr(text->str, ", ready");
}

static void test_mirror(gconstpointer more)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(4);
    uint8_t expected[CHUNKS];
    End end = {0};
    GError *error = NULL;
    g_autofree char *copy = path_of("copy");
    unlink(copy);
    Blk *blk = open_chain("qcow2", more, random, expected);
    BlkCopy what = {.file = copy, .format = "qcow2", .full = true, .speed = 400u << 20};
    g_assert_true(blk_job_mirror(blk, &what, ended, &end, &error));
    g_assert_false(blk_job_complete(blk, &error));
    g_assert_nonnull(strstr(error->message, "not ready"));
    g_clear_error(&error);
    for (int i = 0; !is_ready(); i++)
        if (i < 50)
            scribble_slowly(blk, random, expected);
        else
            loop_step(loop_main(), true);
    scribble(blk, random, expected);
    g_assert_true(blk_job_complete(blk, &error));
    ends_well(&end);
    g_assert_cmpstr(blk_file_name(blk), ==, copy);
    expect_all(blk, expected);
    scribble(blk, random, expected);
    /* A second one, ended without taking over: a copy of the moment. */
    unlink(copy);
    g_autofree char *other = path_of("copy2");
    unlink(other);
    what = (BlkCopy){.file = other, .format = "raw", .full = true};
    g_assert_true(blk_job_mirror(blk, &what, ended, &end, &error));
    while (!is_ready())
        loop_step(loop_main(), true);
    scribble(blk, random, expected);
    g_assert_true(blk_job_cancel(blk, false, &error));
    ends_well(&end);
    blk_close(blk);
    blk = open_drive("@copy2,format=raw");
    expect_all(blk, expected);
    blk_close(blk);
}

/* The copy is the disk as it was when the backup began. */
static void test_backup(gconstpointer more)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(5);
    uint8_t expected[CHUNKS], then[CHUNKS];
    End end = {0};
    GError *error = NULL;
    g_autofree char *copy = path_of("copy");
    unlink(copy);
    Blk *blk = open_chain("qcow2", more, random, expected);
    BlkCopy what = {.file = copy, .format = "qcow2", .full = true, .speed = 100u << 20};
    what.compress = true;
    memcpy(then, expected, sizeof(then));
    g_assert_true(blk_job_backup(blk, &what, ended, &end, &error));
    while (!end.over)
        scribble(blk, random, expected);
    ends_well(&end);
    expect_all(blk, expected);
    blk_close(blk);
    blk = open_drive("@copy");
    expect_all(blk, then);
    blk_close(blk);
    what.file = "/nonexistent/copy";
    blk = open_drive("@top");
    g_assert_true(blk_job_backup(blk, &what, ended, &end, &error));
    ends_with(&end, "Could not create");
    expect_all(blk, expected);
    blk_close(blk);
}

static uint64_t allocated_in(const char *name)
{
    g_autofree char *path = path_of(name);
    CoSched *sched = co_sched_new(loop_main());
    NodeMode mode = {.no_backing = true};
    BlkNode *node = node_open(sched, path, NULL, &mode, NULL);
    uint64_t bytes = 0;
    Extent e;
    for (uint64_t at = 0; at < node->size; at += e.bytes) {
        g_assert_cmpint(node->fmt->map(node, at, node->size - at, 0, &e), ==, 0);
        bytes += e.kind == EXTENT_UNALLOCATED ? 0 : e.bytes;
    }
    node_abandon(node);
    co_sched_free(sched);
    return bytes;
}

/* Only what the topmost image holds, on the same backing file.  It is slow enough for the guest to
 * overwrite all kinds of chunks. */
static void test_backup_top(gconstpointer more)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(6);
    uint8_t expected[CHUNKS], then[CHUNKS];
    End end = {0};
    GError *error = NULL;
    g_autofree char *copy = path_of("copy");
    unlink(copy);
    make("base", "qcow2", NULL);
    Blk *blk = open_drive("@base");
    memset(expected, 0, CHUNKS);
    for (unsigned i = 0; i < CHUNKS; i++)
        scribble(blk, random, expected);
    blk_close(blk);
    make("top", "qcow2", "base");
    blk = open_drive("@top");
    for (unsigned i = 0; i < 8; i++)
        scribble(blk, random, expected);
    blk_close(blk);
    uint64_t own = allocated_in("top");
    blk = open_with("@top", more);
    BlkCopy what = {.file = copy, .speed = 4u << 20};
    memcpy(then, expected, sizeof(then));
    g_assert_true(blk_job_backup(blk, &what, ended, &end, &error));
    for (unsigned i = 0; i < 5; i++)
        scribble_slowly(blk, random, expected);
    ends_well(&end);
    expect_all(blk, expected);
    blk_close(blk);
    blk = open_drive("@copy");
    expect_all(blk, then);
    blk_close(blk);
    g_assert_cmpuint(own, >, 0);
    g_assert_cmpuint(allocated_in("copy"), >=, own);
    g_assert_cmpuint(allocated_in("copy"), <=, own + (5 << 16));
}

static void add(const char *name, GTestDataFunc fn)
{
    g_autofree char *plain = g_strconcat("/work/", name, NULL);
    g_autofree char *threaded = g_strconcat("/work/", name, "/thread", NULL);
    g_test_add_data_func(plain, "", fn);
    g_test_add_data_func(threaded, THREAD, fn);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    drives_begin();
    iothread_new("io0", NULL);
    add("busy", test_busy);
    add("delete", test_delete);
    add("resize", test_resize);
    add("snapshot", test_snapshot);
    add("commit", test_commit);
    add("commit-fails", test_commit_fails);
    add("stream", test_stream);
    add("mirror", test_mirror);
    add("backup", test_backup);
    add("backup-top", test_backup_top);
    return drives_end(g_test_run());
}
