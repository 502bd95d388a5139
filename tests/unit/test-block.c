/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives: requests, cache modes, -snapshot, commit, media, locks. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "block/block.h"
#include "block/job.h"
#include "block/node.h"
#include "test-drives.h"
#include "util/error.h"

/* ---- Requests ---- */

static void test_requests(gconstpointer data)
{
    const char *format = data;
    g_autofree char *text = g_strdup_printf("@disk,format=%s,id=d", format);
    make("disk", format, NULL);
    Blk *blk = open_drive(text);
    char sector[512] = {1};
    g_assert_cmpuint(blk_size(blk), ==, DRIVE_SIZE);
    g_assert_cmpstr(blk_format_name(blk), ==, format);
    g_assert_true(blk_write_cache(blk));
    put(blk, 0, 7, 512);
    put(blk, 5000 * 512, 9, 100 * 512);
    expect_at(blk, 0, 7, 512);
    expect_at(blk, 512, 0, 65536);
    expect_at(blk, 5000 * 512, 9, 100 * 512);
    g_assert_cmpint(blk_pread(blk, DRIVE_SIZE, sector, 512), ==, -EINVAL);
    g_assert_cmpint(blk_pread(blk, DRIVE_SIZE - 512, sector, 1024), ==, -EINVAL);
    g_assert_cmpint(blk_pread(blk, UINT64_MAX - 511, sector, 512), ==, -EINVAL);
    g_assert_cmpint(blk_pread(blk, 100, sector, 512), ==, -EINVAL);
    g_assert_cmpint(blk_pwrite(blk, 0, sector, 100), ==, -EINVAL);
    g_assert_cmpint(blk_flush(blk), ==, 0);
    const BlkStats *stats = blk_stats(blk);
    g_assert_cmpuint(stats->write_ops, ==, 2);
    g_assert_cmpuint(stats->write_bytes, ==, 101 * 512);
    g_assert_cmpuint(stats->read_ops, ==, 3);
    g_assert_cmpuint(stats->flush_ops, ==, 1);
    g_assert_cmpuint(stats->failed_ops, ==, 5);
    blk_close(blk);
    blk = open_drive("@disk,id=d"); /* probed */
    g_assert_cmpstr(blk_format_name(blk), ==, format);
    expect_at(blk, 5000 * 512, 9, 100 * 512);
    blk_close(blk);
}

typedef struct Flight {
    BlkReq req;
    struct iovec iov;
    char data[8192];
    int *done;
    bool submitted, completed;
} Flight;

static void flight_done(BlkReq *req, int ret)
{
    Flight *f = req->opaque;
    g_assert_cmpint(ret, ==, 0);
    g_assert_true(f->submitted); /* never from inside blk_submit() */
    g_assert_false(f->completed);
    f->completed = true;
    (*f->done)++;
}

static void submit(Blk *blk, Flight *f, BlkOp op, uint64_t offset, int *done)
{
    f->iov = (struct iovec){f->data, sizeof(f->data)};
    f->req = (BlkReq){.op = op,
                      .offset = offset,
                      .bytes = sizeof(f->data),
                      .iov = &f->iov,
                      .iov_count = 1,
                      .done = flight_done,
                      .opaque = f};
    f->done = done;
    f->submitted = f->completed = false;
    int ret = blk_submit(blk, &f->req);
    f->submitted = true;
    if (ret == BLK_PENDING)
        return;
    g_assert_cmpint(ret, ==, 0);
    g_assert_false(f->completed);
    f->completed = true;
    (*done)++;
}

/* Many at once, in memory that another test run did not leave in the page cache; all come back
 * once. */
static void test_parallel(gconstpointer data)
{
    enum { COUNT = 200 };
    const char *text = data;
    make("disk", strstr(text, "qcow2") ? "qcow2" : "raw", NULL);
    Blk *blk = open_drive(text);
    Flight *flights = g_new0(Flight, COUNT);
    int done = 0;
    for (int i = 0; i < COUNT; i++) {
        memset(flights[i].data, i + 1, sizeof(flights[i].data));
        submit(blk, &flights[i], BLK_WRITE, (uint64_t)i * 8192, &done);
    }
    blk_drain(blk);
    g_assert_cmpint(done, ==, COUNT);
    done = 0;
    for (int i = 0; i < COUNT; i++) {
        memset(flights[i].data, 0, sizeof(flights[i].data));
        submit(blk, &flights[i], BLK_READ, (uint64_t)i * 8192, &done);
    }
    blk_drain(blk);
    g_assert_cmpint(done, ==, COUNT);
    for (int i = 0; i < COUNT; i++)
        g_assert_cmpint(flights[i].data[8191], ==, (char)(i + 1));
    g_free(flights);
    blk_close(blk);
}

static void test_zeroes(gconstpointer data)
{
    g_autofree char *text = g_strdup_printf("@disk,format=%s,discard=unmap", (const char *)data);
    make("disk", data, NULL);
    Blk *blk = open_drive(text);
    put(blk, 0, 3, 1 << 20);
    BlkReq req = {.op = BLK_WRITE_ZEROES, .offset = 4096, .bytes = 300000 / 512 * 512};
    int done = 0;
    Flight f = {.req = req};
    f.req.done = flight_done;
    f.req.opaque = &f;
    f.done = &done;
    for (int i = 0; i < 3; i++) {
        f.req.op = i == 2 ? BLK_DISCARD : BLK_WRITE_ZEROES;
        f.req.flags = i == 1 ? BLK_MAY_UNMAP : 0;
        f.req.offset = 4096 + (uint64_t)i * 300032;
        f.completed = false;
        f.submitted = true;
        int ret = blk_submit(blk, &f.req);
        g_assert_true(ret == 0 || ret == BLK_PENDING);
        blk_drain(blk);
        if (i < 2)
            expect_at(blk, f.req.offset, 0, f.req.bytes);
        expect_at(blk, 0, 3, 4096);
    }
    blk_close(blk);
}

/* ---- Options ---- */

static void test_options(void)
{
    make("disk", "raw", NULL);
    open_fails("@none", "No such file");
    open_fails("@disk,format=qcow2", "qcow2");
    open_fails("@disk,format=qcow3", "did you mean");
    open_fails("@disk,cahce=none", "did you mean 'cache'");
    open_fails("@disk,cache=maybe", "cache");
    open_fails("@disk,aio=native", "cache=none");
    open_fails("@disk,rerror=enospc", "rerror=enospc");
    open_fails("@disk,detect-zeroes=unmap", "discard=unmap");
    open_fails("id=x", "needs file=IMAGE");
    Blk *blk = open_drive("@disk,id=x,format=raw");
    open_fails("@disk,id=x", "there is a drive 'x' already");
    open_fails("@disk,id=y", "this process itself");
    GError *error = NULL;
    g_assert_null(blk_resolve("z", &error));
    g_assert_cmpstr(error->message, ==, "no drive with id 'z'; there are: x");
    g_clear_error(&error);
    g_assert_true(blk_resolve("x", NULL) == blk);
    g_assert_true(blk_attach_device(blk, NULL, NULL, "ide-hd", NULL));
    g_assert_false(blk_attach_device(blk, NULL, NULL, "other", &error));
    g_assert_nonnull(strstr(error->message, "ide-hd"));
    g_clear_error(&error);
    g_assert_false(blk_eject(blk, true, &error));
    g_assert_nonnull(strstr(error->message, "not removable"));
    g_clear_error(&error);
    blk_detach_device(blk);
    blk_close(blk);
}

static void test_errors(void)
{
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk,format=raw");
    g_assert_cmpint(blk_error_action(blk, true, ENOSPC), ==, BLK_ERROR_STOP);
    g_assert_cmpint(blk_error_action(blk, true, EIO), ==, BLK_ERROR_REPORT);
    g_assert_cmpint(blk_error_action(blk, false, EIO), ==, BLK_ERROR_REPORT);
    blk_close(blk);
    blk = open_drive("@disk,format=raw,werror=ignore,rerror=stop");
    g_assert_cmpint(blk_error_action(blk, true, ENOSPC), ==, BLK_ERROR_IGNORE);
    g_assert_cmpint(blk_error_action(blk, false, EIO), ==, BLK_ERROR_STOP);
    blk_close(blk);
}

static void test_readonly(void)
{
    char sector[512] = {0};
    make("disk", "qcow2", NULL);
    Blk *one = open_drive("@disk,readonly=on"), *two = open_drive("@disk,readonly=on");
    g_assert_true(blk_readonly(one));
    g_assert_cmpint(blk_pwrite(one, 0, sector, 512), ==, -EROFS);
    g_assert_cmpint(blk_pread(two, 0, sector, 512), ==, 0);
    open_fails("@disk", "so it cannot be opened for writing");
    blk_close(one);
    blk_close(two);
}

/* A machine that stops flushes what is under way, and closing waits for that. */
static void test_settle(gconstpointer more)
{
    g_autofree char *text = g_strconcat("blkdebug::@disk,format=qcow2", (const char *)more, NULL);
    make("disk", "qcow2", NULL);
    for (int i = 0; i < 2; i++) {
        Flight flight;
        int done = 0;
        Blk *blk = open_drive(text);
        memset(flight.data, 5 + i, sizeof(flight.data));
        submit(blk, &flight, BLK_WRITE, 0, &done);
        g_assert_cmpint(done, ==, 0);
        blk_settle_all();
        blk_settle_all();
        if (i)
            blk_drain(blk);
        blk_close(blk);
        g_assert_cmpint(done, ==, 1);
        blk = open_drive("@disk");
        expect_at(blk, 0, 5 + i, sizeof(flight.data));
        blk_close(blk);
    }
}

/* Two writers only if both agree; a reader without locks whoever writes. */
static void test_sharing(void)
{
    make("disk", "raw", NULL);
    Blk *one = open_drive("@disk,format=raw,share-rw=on");
    open_fails("@disk,format=raw", "is locked");
    open_fails("@disk,format=raw,readonly=on", "is locked");
    Blk *two = open_drive("@disk,format=raw,share-rw=on");
    put(one, 0, 1, 512);
    expect_at(two, 0, 1, 512);
    blk_close(one);
    blk_close(two);
    one = open_drive("@disk,format=raw");
    open_fails("@disk,format=raw,share-rw=on", "is locked");
    open_fails("@disk,format=raw,force-share=on", "force-share=on needs readonly=on");
    two = open_drive("@disk,format=raw,readonly=on,force-share=on");
    put(one, 0, 2, 512);
    expect_at(two, 0, 2, 512);
    blk_close(two);
    blk_close(one);
    make("disk", "qcow2", NULL);
    open_fails("@disk,share-rw=on", "share-rw=on is for raw images");
}

/* Who has it is told by process and command. */
static void test_holder(void)
{
    GError *error = NULL;
    make("disk", "raw", NULL);
    g_autofree char *path = path_of("disk");
    /* a lock as QEMU's writer holds it: bytes 100, 101, 103 and 201, 203 shared */
    g_autofree char *script = g_strdup_printf(
        "import fcntl, struct, sys\n"
        "f = open('%s', 'r+b')\n"
        "for byte in (100, 101, 103, 201, 203):\n"
        "    fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, byte, 1, 0))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n",
        path);
    char *argv[] = {(char *)"python3", (char *)"-c", script, NULL};
    GPid pid;
    int in, out;
    char said[4];
    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                             NULL, NULL, &pid, &in, &out, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(read(out, said, 4), ==, 4);
    g_autofree char *who = g_strdup_printf("process %d (", (int)pid);
    open_fails("@disk,format=raw", who);
    open_fails("@disk,format=raw", "-c import fcntl");
    close(in);
    close(out);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    blk_close(open_drive("@disk,format=raw"));
}

/* The flags of the descriptor that this process has of a file. */
static unsigned long open_flags(const char *path)
{
    for (int fd = 3; fd < 64; fd++) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        g_autofree char *info = g_strdup_printf("/proc/self/fdinfo/%d", fd);
        g_autofree char *target = g_file_read_link(link, NULL), *text = NULL;
        if (g_strcmp0(target, path) || !g_file_get_contents(info, &text, NULL, NULL))
            continue;
        return strtoul(strstr(text, "flags:") + 6, NULL, 8);
    }
    g_error("%s is not open", path);
}

static void test_cache_modes(void)
{
    static const struct {
        const char *mode;
        bool direct, write_cache;
    } modes[] = {{"writeback", false, true},
                 {"none", true, true},
                 {"writethrough", false, false},
                 {"directsync", true, false},
                 {"unsafe", false, true}};
    g_autofree char *path = path_of("disk");
    make("disk", "raw", NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autofree char *text = g_strdup_printf("@disk,format=raw,cache=%s", modes[i].mode);
        Blk *blk = open_drive(text);
        g_assert_cmpint(!!(open_flags(path) & O_DIRECT), ==, modes[i].direct);
        g_assert_cmpint(blk_write_cache(blk), ==, modes[i].write_cache);
        put(blk, 512, 1 + (int)i, 1536); /* none of O_DIRECT's own sizes */
        expect_at(blk, 512, 1 + (int)i, 1536);
        expect_at(blk, 2048, 0, 512);
        blk_close(blk);
    }
    open_fails("@disk,format=raw,cache=none,aio=io_uring", "vmrun does not have it");
}

/* Zeros that are written take their space away again. */
static void test_detect_zeroes(gconstpointer data)
{
    g_autofree char *path = path_of("disk");
    g_autofree char *text =
        g_strdup_printf("@disk,format=%s,discard=unmap,detect-zeroes=unmap", (const char *)data);
    struct stat full, empty;
    make("disk", data, NULL);
    Blk *blk = open_drive(text);
    put(blk, 0, 7, 2 << 20);
    blk_flush(blk);
    g_assert_cmpint(stat(path, &full), ==, 0);
    put(blk, 0, 0, 2 << 20);
    blk_flush(blk);
    g_assert_cmpint(stat(path, &empty), ==, 0);
    expect_at(blk, 0, 0, 2 << 20);
    blk_close(blk);
    if (full.st_blocks < (1 << 20) / 512)
        g_test_skip("the file system does not tell what files take");
    else
        g_assert_cmpint(empty.st_blocks, <, full.st_blocks / 2);
}

/* A raw image whose format was guessed stays raw. */
static void test_disguise(void)
{
    char sector[512] = "QFI\xfb\0\0\0\2";
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk");
    g_assert_cmpint(blk_pwrite(blk, 0, sector, 512), ==, -EPERM);
    g_assert_cmpint(blk_pwrite(blk, 512, sector, 512), ==, 0);
    put(blk, 0, 5, 512);
    blk_close(blk);
    blk = open_drive("@disk,format=raw");
    g_assert_cmpint(blk_pwrite(blk, 0, sector, 512), ==, 0);
    blk_close(blk);
}

/* ---- Overlays ---- */

static void test_snapshot(void)
{
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk,format=raw,snapshot=on,id=s");
    GError *error = NULL;
    g_autofree char *path = path_of("disk");
    put(blk, 8192, 6, 8192);
    expect_at(blk, 8192, 6, 8192);
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 0);
    g_assert_cmpstr(blk_format_name(blk), ==, "raw");
    g_assert_cmpstr(blk_file_name(blk), ==, path);
    g_assert_true(blk_commit(blk, &error));
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 6);
    put(blk, 8192, 1, 512);
    expect_at(blk, 8192 + 512, 6, 512);
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 6);
    blk_close(blk);
    g_assert_cmpint(byte_of_file("disk", 8192), ==, 6);
}

static void test_commit(gconstpointer data)
{
    const char *format = data;
    GError *error = NULL;
    make("base", strcmp(format, "vmdk") ? "qcow2" : format, NULL);
    Blk *blk = open_drive("@base");
    put(blk, 0, 1, 200 * 512);
    g_assert_false(blk_commit(blk, &error));
    g_assert_nonnull(strstr(error->message, "no backing file"));
    g_clear_error(&error);
    blk_close(blk);
    make("top", format, "base");
    blk = open_drive("@top");
    put(blk, 100 * 512, 2, 300 * 512);
    put(blk, 0, 0, 8 * 512);
    g_assert_true(blk_commit(blk, &error));
    expect_at(blk, 100 * 512, 2, 300 * 512);
    expect_at(blk, 8 * 512, 1, 92 * 512);
    put(blk, 0, 4, 512);
    blk_close(blk);
    blk = open_drive("@base");
    expect_at(blk, 0, 0, 8 * 512);
    expect_at(blk, 8 * 512, 1, 92 * 512);
    expect_at(blk, 100 * 512, 2, 300 * 512);
    blk_close(blk);
    blk = open_drive("@top");
    expect_at(blk, 0, 4, 512);
    expect_at(blk, 100 * 512, 2, 300 * 512);
    expect_at(blk, 600 * 512, 0, 512); /* of neither */
    blk_close(blk);
}

/* A base that somebody else reads must not change under him. */
static void test_commit_refused(void)
{
    GError *error = NULL;
    make("base", "qcow2", NULL);
    make("top", "qcow2", "base");
    Blk *reader = open_drive("@base,readonly=on"), *blk = open_drive("@top");
    put(blk, 0, 4, 512);
    g_assert_false(blk_commit(blk, &error));
    g_assert_nonnull(strstr(error->message, "is locked"));
    g_clear_error(&error);
    expect_at(blk, 0, 4, 512);
    expect_at(reader, 0, 0, 512);
    blk_close(reader);
    g_assert_true(blk_commit(blk, &error));
    blk_close(blk);
}

/* ---- Media ---- */

typedef struct Tray {
    bool locked, open;
    int changes, requests;
    bool present;
} Tray;

static void tray_changed(void *opaque, Blk *blk, bool present)
{
    Tray *tray = opaque;
    tray->changes++;
    tray->present = present;
    g_assert_true(blk_has_medium(blk) == present);
}

static void tray_request(void *opaque, Blk *blk, bool force)
{
    ((Tray *)opaque)->requests++;
}

static bool tray_is_open(void *opaque)
{
    return ((Tray *)opaque)->open;
}

static bool tray_is_locked(void *opaque)
{
    return ((Tray *)opaque)->locked;
}

static const BlkDevOps tray_ops = {.medium_changed = tray_changed,
                                   .eject_request = tray_request,
                                   .tray_open = tray_is_open,
                                   .medium_locked = tray_is_locked};

static void test_media(void)
{
    Tray tray = {0};
    GError *error = NULL;
    char sector[512];
    g_autofree char *disk = path_of("disk"), *none = path_of("none");
    make("disk", "raw", NULL);
    Blk *blk = open_drive("media=cdrom,id=cd");
    g_assert_false(blk_has_medium(blk));
    g_assert_cmpuint(blk_size(blk), ==, 0);
    g_assert_cmpint(blk_pread(blk, 0, sector, 512), ==, -ENOMEDIUM);
    blk_attach_device(blk, &tray_ops, &tray, "ide-cd", NULL);
    g_assert_true(blk_change(blk, disk, NULL, false, &error));
    g_assert_true(blk_readonly(blk));
    g_assert_true(tray.present);
    tray.locked = true;
    g_assert_false(blk_eject(blk, false, &error));
    g_assert_nonnull(strstr(error->message, "locked by the guest"));
    g_clear_error(&error);
    g_assert_cmpint(tray.requests, ==, 1);
    g_autoptr(GString) text = g_string_new(NULL);
    blk_describe(blk, false, text);
    g_assert_nonnull(strstr(text->str, "Removable device: locked, tray closed"));
    g_assert_nonnull(strstr(text->str, "(raw, read-only)"));
    g_assert_true(blk_eject(blk, true, &error));
    g_assert_false(tray.present);
    tray.locked = false;
    g_assert_false(blk_change(blk, none, NULL, false, &error));
    g_clear_error(&error);
    g_string_truncate(text, 0);
    blk_describe_all(text, false);
    g_assert_nonnull(strstr(text->str, "cd: [not inserted]\n"));
    g_string_truncate(text, 0);
    blk_describe_stats(text);
    g_assert_nonnull(strstr(text->str, "cd: rd_bytes=0 "));
    blk_close(blk);
    blk = open_drive("@disk,media=floppy,format=raw");
    g_assert_false(blk_readonly(blk));
    put(blk, 0, 8, 512);
    g_assert_true(blk_eject(blk, false, &error));
    g_assert_cmpint(byte_of_file("disk", 0), ==, 8);
    blk_close(blk);
}

/* ---- Another thread, as a vCPU ---- */

typedef struct Vcpu {
    Blk *blk;
    bool ended; /* main lock */
} Vcpu;

static gpointer vcpu_main(gpointer opaque)
{
    Vcpu *cpu = opaque;
    loop_lock(loop_main());
    for (int i = 0; i < 50; i++) {
        put(cpu->blk, (uint64_t)i * 65536, i, 512);
        expect_at(cpu->blk, (uint64_t)i * 65536, i, 512);
        g_assert_cmpint(blk_flush(cpu->blk), ==, 0);
    }
    cpu->ended = true;
    loop_wake(loop_main());
    loop_unlock(loop_main());
    return NULL;
}

static void test_thread(void)
{
    make("disk", "qcow2", NULL);
    Vcpu cpu = {open_drive("@disk"), false};
    GThread *thread = g_thread_new("cpu", vcpu_main, &cpu);
    while (!cpu.ended)
        loop_step(loop_main(), true);
    loop_unlock(loop_main());
    g_thread_join(thread);
    loop_lock(loop_main());
    blk_close(cpu.blk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    drives_begin();
    iothread_new("io0", NULL);
    g_test_add_data_func("/block/requests/raw", "raw", test_requests);
    g_test_add_data_func("/block/requests/qcow", "qcow", test_requests);
    g_test_add_data_func("/block/requests/qcow2", "qcow2", test_requests);
    g_test_add_data_func("/block/parallel/raw", "@disk,format=raw", test_parallel);
    g_test_add_data_func("/block/parallel/qcow2", "@disk,format=qcow2", test_parallel);
    g_test_add_data_func("/block/parallel/none", "@disk,format=qcow2,cache=none", test_parallel);
    g_test_add_data_func("/block/parallel/native", "@disk,format=raw,cache=none,aio=native",
                         test_parallel);
    g_test_add_data_func("/block/parallel/writethrough", "@disk,format=qcow2,cache=writethrough",
                         test_parallel);
    g_test_add_data_func("/block/parallel/unsafe", "@disk,format=qcow2,cache=unsafe",
                         test_parallel);
    g_test_add_data_func("/block/parallel/thread", "@disk,format=qcow2,iothread=io0",
                         test_parallel);
    g_test_add_data_func("/block/parallel/thread-none", "@disk,format=raw,cache=none,iothread=io0",
                         test_parallel);
    g_test_add_data_func("/block/parallel/detect", "@disk,format=qcow2,detect-zeroes=on",
                         test_parallel);
    g_test_add_data_func("/block/zeroes/raw", "raw", test_zeroes);
    g_test_add_data_func("/block/zeroes/qcow", "qcow", test_zeroes);
    g_test_add_data_func("/block/zeroes/qcow2", "qcow2", test_zeroes);
    g_test_add_func("/block/options", test_options);
    g_test_add_func("/block/errors", test_errors);
    g_test_add_func("/block/readonly", test_readonly);
    g_test_add_data_func("/block/settle", "", test_settle);
    g_test_add_data_func("/block/settle/thread", ",iothread=io0", test_settle);
    g_test_add_func("/block/sharing", test_sharing);
    g_test_add_func("/block/holder", test_holder);
    g_test_add_func("/block/cache-modes", test_cache_modes);
    g_test_add_data_func("/block/detect-zeroes/raw", "raw", test_detect_zeroes);
    g_test_add_data_func("/block/detect-zeroes/qcow2", "qcow2", test_detect_zeroes);
    g_test_add_func("/block/disguise", test_disguise);
    g_test_add_func("/block/snapshot", test_snapshot);
    g_test_add_data_func("/block/commit/qcow2", "qcow2", test_commit);
    g_test_add_data_func("/block/commit/qcow", "qcow", test_commit);
    g_test_add_data_func("/block/commit/vmdk", "vmdk", test_commit);
    g_test_add_func("/block/commit/refused", test_commit_refused);
    g_test_add_func("/block/media", test_media);
    g_test_add_func("/block/thread", test_thread);
    return drives_end(g_test_run());
}
