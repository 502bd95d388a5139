/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flushes of host files, on a host whose disk is slow and fails when told to. */
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "block/file.h"

static CoSched *sched;
static atomic_uint syncs;   /* calls */
static atomic_bool held;    /* none returns meanwhile */
static unsigned failing_at; /* the call that fails, as the kernel tells of lost data once */

/* In place of libc's. */
int fdatasync(int fd)
{
    unsigned call = ++syncs;
    while (held)
        g_usleep(1000);
    if (call != failing_at)
        return 0;
    errno = EIO;
    return -1;
}

typedef struct Flush {
    BlkFile *file;
    bool done;
    int ret;
} Flush;

static void flush_main(void *opaque)
{
    Flush *f = opaque;
    f->ret = file_flush(f->file);
    f->done = true;
}

static void begin(Flush *f, BlkFile *file)
{
    *f = (Flush){.file = file};
    co_start(sched, flush_main, NULL, f);
}

static void end(const Flush *f)
{
    held = false;
    while (!f->done)
        loop_step(loop_main(), true);
}

static void write_one(BlkFile *file)
{
    g_assert_cmpint(file_pwrite(file, 0, "x", 1), ==, 0);
}

static BlkFile *open_one(unsigned fails)
{
    BlkFile *file = host_file_temporary(sched, NULL);
    g_assert_nonnull(file);
    syncs = 0;
    held = true;
    failing_at = fails;
    write_one(file);
    return file;
}

/* Data of both is lost, and the host says so once. */
static void test_error(void)
{
    Flush one, other;
    BlkFile *file = open_one(1);
    begin(&one, file);
    write_one(file);
    begin(&other, file);
    end(&one);
    end(&other);
    g_assert_cmpint(one.ret, ==, -EIO);
    g_assert_cmpint(other.ret, ==, -EIO);
    g_assert_cmpint(file_flush(file), ==, -EIO);
    file_close(file);
}

/* What was written after the first began needs a second one, which serves all that wait. */
static void test_merge(void)
{
    Flush first, waiting[3];
    BlkFile *file = open_one(0);
    begin(&first, file);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        write_one(file);
        begin(&waiting[i], file);
    }
    end(&first);
    for (size_t i = 0; i < G_N_ELEMENTS(waiting); i++) {
        end(&waiting[i]);
        g_assert_cmpint(waiting[i].ret, ==, 0);
    }
    g_assert_cmpuint(syncs, ==, 2);
    g_assert_cmpint(file_flush(file), ==, 0);
    g_assert_cmpuint(syncs, ==, 2);
    file_close(file);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    g_test_add_func("/host-file/flush-error", test_error);
    g_test_add_func("/host-file/flush-merge", test_merge);
    int result = g_test_run();
    co_sched_free(sched);
    loop_unlock(loop_main());
    return result;
}
