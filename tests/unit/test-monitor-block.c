/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's commands about drives and their jobs. */
#include <string.h>

#include "accel/test.h"
#include "block/job.h"
#include "monitor/monitor.h"
#include "test-drives.h"

static Machine *machine;

static char *say(const char *format, const char *file)
{
    g_autofree char *path = file ? path_of(file) : NULL;
    g_auto(GStrv) parts = g_strsplit(format, "@", 2);
    g_autofree char *line = parts[1] ? g_strconcat(parts[0], path, parts[1], NULL) : NULL;
    return monitor_run(machine, line ? line : format);
}

/* '@' in line stands for the path of file. */
static void check(const char *line, const char *file, const char *expected)
{
    g_autofree char *output = say(line, file);
    g_test_message("%s", line);
    g_assert_cmpstr(output, ==, expected);
}

static void check_has(const char *line, const char *file, const char *expected)
{
    g_autofree char *output = say(line, file);
    if (!strstr(output, expected))
        g_error("'%s' gave '%s', not '%s'", line, output, expected);
}

static void wait_for_jobs(void)
{
    for (;;) {
        g_autoptr(GString) text = g_string_new(NULL);
        blk_jobs_describe(text);
        if (!strcmp(text->str, "No active jobs\n"))
            return;
        loop_step(loop_main(), true);
    }
}

static void test_images(void)
{
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk,format=raw,id=d0");
    put(blk, 0, 1, 65536);
    check("block_resize d0 8", NULL, "");
    g_assert_cmpuint(blk_size(blk), ==, 8 << 20);
    check("block_resize d0 4M", NULL, "");
    check_has("block_resize d0 much", NULL, "'much' is no size");
    check_has("block_resize d9 4M", NULL, "no drive with id 'd9'");
    check_has("info block -v d0", NULL, "virtual size: 4 MiB (4194304 bytes)\n");
    check("snapshot_blkdev d0 @ qcow2", "over", "");
    check_has("info block d0", NULL, "(qcow2)\n");
    check_has("info block d0", NULL, "Backing file: ");
    check_has("snapshot_blkdev d0 @ qcow3", "other", "qcow3");
    put(blk, 0, 2, 65536);
    check("commit d0", NULL, "");
    g_assert_cmpint(byte_of_file("disk", 0), ==, 2);
    put(blk, 0, 3, 65536);
    check("commit all", NULL, "");
    g_assert_cmpint(byte_of_file("disk", 0), ==, 3);
    check_has("info blockstats", NULL, "d0: rd_bytes=0 wr_bytes=196608 rd_operations=0 wr_op");
    blk_close(blk);
}

static void test_limits(void)
{
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk,format=raw,id=d0");
    check("block_set_io_throttle d0 0 0 0 100 0 0", NULL, "");
    check_has("info block d0", NULL, " iops=100 ");
    check_has("block_set_io_throttle d0 1 1 0 0 0 0", NULL, "at once");
    check_has("info block d0", NULL, " iops=100 ");
    check("block_set_io_throttle d0 0 0 0 0 0 0", NULL, "");
    g_autofree char *text = say("info block d0", NULL);
    g_assert_null(strstr(text, "throttling"));
    blk_close(blk);
}

static void test_jobs(void)
{
    make("base", "raw", NULL);
    make("top", "qcow2", "base");
    Blk *blk = open_drive("@top,id=d0");
    put(blk, 0, 5, 1 << 20);
    check("info block-jobs", NULL, "No active jobs\n");
    check_has("block_job_cancel d0", NULL, "no job under way");
    check("drive_backup -f d0 @ raw", "copy", "");
    wait_for_jobs();
    g_assert_cmpint(byte_of_file("copy", 65536), ==, 5);
    check("drive_backup d0 @", "overlay", "");
    wait_for_jobs();
    Blk *overlay = open_drive("@overlay,id=o,readonly=on");
    expect_at(overlay, 0, 5, 1 << 20);
    blk_close(overlay);
    check("drive_mirror -f d0 @ raw", "mirror", "");
    check_has("info block-jobs", NULL, "Type mirror, device d0: Completed ");
    check_has("eject d0", NULL, "drive 'd0' is busy: drive_mirror is under way");
    check("block_job_pause d0", NULL, "");
    check_has("block_job_pause d0", NULL, "paused already");
    check("block_job_resume d0", NULL, "");
    check_has("block_job_set_speed d0 much", NULL, "'much' is no speed");
    check("block_job_set_speed d0 1500000k", NULL, "");
    check_has("info block-jobs", NULL, "speed limit 1536000000 bytes/s");
    check("block_job_set_speed d0 100", NULL, "");
    check_has("info block-jobs", NULL, "speed limit 104857600 bytes/s");
    for (bool done = false; !done; loop_step(loop_main(), true)) {
        g_autofree char *said = say("block_job_complete d0", NULL);
        done = !*said;
    }
    wait_for_jobs();
    check_has("info block d0", NULL, "/mirror (raw)\n");
    check_has("block_commit d0", NULL, "no backing file");
    check_has("block_stream d0", NULL, "no backing file");
    blk_close(blk);
    blk = open_drive("@top,id=d0");
    check_has("block_commit d0 -1", NULL, "'-1' is no speed");
    check("block_commit d0 1G", NULL, "");
    check_has("info block-jobs", NULL, "speed limit 1073741824 bytes/s");
    wait_for_jobs();
    g_assert_cmpint(byte_of_file("base", 65536), ==, 5);
    check_has("block_stream d0 10Q", NULL, "'10Q' is no speed");
    check("block_stream d0 64", NULL, "");
    check_has("info block-jobs", NULL, "speed limit 67108864 bytes/s");
    wait_for_jobs();
    check_has("block_stream d0", NULL, "no backing file");
    expect_at(blk, 0, 5, 1 << 20);
    blk_close(blk);
}

static void wait_until_ready(void)
{
    for (bool ready = false; !ready; loop_step(loop_main(), true)) {
        g_autofree char *jobs = say("info block-jobs", NULL);
        ready = strstr(jobs, ", ready");
    }
}

/* A mirror that is cancelled still gets what was written, with -f it does not. */
static void test_cancel(void)
{
    static const char *const commands[] = {"block_job_cancel d0", "block_job_cancel -f d0"};
    for (int i = 0; i < 2; i++) {
        make("disk", "raw", NULL);
        Blk *blk = open_drive("@disk,format=raw,id=d0");
        put(blk, 0, 5, DRIVE_SIZE);
        check("drive_mirror -f d0 @ raw", "mirror", "");
        wait_until_ready();
        check("block_job_pause d0", NULL, "");
        put(blk, 0, 6, 65536); /* which a mirror copies before it sees that it is to pause */
        put(blk, DRIVE_SIZE - 65536, 7, 65536);
        check(commands[i], NULL, "");
        wait_for_jobs();
        g_assert_cmpint(byte_of_file("mirror", DRIVE_SIZE - 65536), ==, i ? 5 : 7);
        g_assert_cmpint(byte_of_file("disk", DRIVE_SIZE - 65536), ==, 7);
        blk_close(blk);
    }
}

static void test_drives(void)
{
    make("disk", "raw", NULL);
    check_has("drive_add 0 file=@", "disk", "only if=none");
    check("drive_add 0 if=none,format=raw,id=d1,file=@", "disk", "OK\n");
    check_has("info block d1", NULL, "(raw)\n");
    check("drive_del d1", NULL, "");
    check_has("drive_del d1", NULL, "no drive with id 'd1'");
    check("info iothreads", NULL, "");
    iothread_new("io7", NULL);
    check_has("info iothreads", NULL, "io7:\n  thread_id=");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine = test_machine_new(1 << 20);
    loop_unlock(loop_main());
    drives_begin();
    g_test_add_func("/monitor-block/images", test_images);
    g_test_add_func("/monitor-block/limits", test_limits);
    g_test_add_func("/monitor-block/jobs", test_jobs);
    g_test_add_func("/monitor-block/cancel", test_cancel);
    g_test_add_func("/monitor-block/drives", test_drives);
    int result = g_test_run();
    loop_unlock(loop_main());
    loop_lock(loop_main());
    test_machine_free(machine);
    return drives_end(result);
}
