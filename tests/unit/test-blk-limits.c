/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on drives: the buckets, on a clock that the test moves; groups; options. */
#include <errno.h>
#include <string.h>

#include "../../block/throttle.h"
#include "test-drives.h"
#include "util/timer.h"

#define SECOND NS_PER_SEC

/* ---- Buckets ---- */

/* How many requests of bytes may begin within ns, one after the other. */
static unsigned count_requests(Throttle *t, bool write, uint64_t bytes, int64_t *now, int64_t ns)
{
    int64_t end = *now + ns;
    unsigned count = 0;
    while (*now < end) {
        int64_t wait = throttle_wait(t, write, *now);
        if (wait) {
            *now = MIN(*now + wait, end);
            continue;
        }
        throttle_take(t, write, bytes);
        count++;
    }
    return count;
}

static void test_rate(void)
{
    BlkLimits limits = {.avg[BLK_IOPS_READ] = 100, .avg[BLK_BPS_WRITE] = 1 << 20};
    Throttle t;
    int64_t now = 5 * SECOND;
    throttle_set(&t, &limits, now);
    unsigned reads = count_requests(&t, false, 4096, &now, 10 * SECOND);
    g_assert_cmpuint(reads, >=, 1000);
    g_assert_cmpuint(reads, <=, 1012); /* a tenth of a second in advance */
    unsigned writes = count_requests(&t, true, 4096, &now, 10 * SECOND);
    g_assert_cmpuint(writes, >=, 2560);
    g_assert_cmpuint(writes, <=, 2560 + 27);
}

static void test_burst(void)
{
    BlkLimits limits = {
        .avg[BLK_IOPS_TOTAL] = 10, .max[BLK_IOPS_TOTAL] = 100, .length[BLK_IOPS_TOTAL] = 5};
    Throttle t;
    int64_t now = 0;
    throttle_set(&t, &limits, now);
    /* 100 a second until five seconds' worth is used up, then 10. */
    unsigned first = count_requests(&t, false, 512, &now, 4 * SECOND);
    g_assert_cmpuint(first, >=, 390);
    g_assert_cmpuint(first, <=, 412);
    count_requests(&t, false, 512, &now, 2 * SECOND);
    unsigned later = count_requests(&t, true, 512, &now, 10 * SECOND);
    g_assert_cmpuint(later, >=, 99);
    g_assert_cmpuint(later, <=, 101);
    /* and after a pause again */
    now += 60 * SECOND;
    g_assert_cmpuint(count_requests(&t, false, 512, &now, SECOND), >=, 90);
}

static void test_size(void)
{
    BlkLimits limits = {.avg[BLK_IOPS_TOTAL] = 10, .iops_size = 4096};
    Throttle t;
    int64_t now = 0;
    throttle_set(&t, &limits, now);
    unsigned large = count_requests(&t, false, 40960, &now, 100 * SECOND);
    g_assert_cmpuint(large, >=, 100);
    g_assert_cmpuint(large, <=, 102);
}

static void bad(const BlkLimits *limits, const char *why)
{
    GError *error = NULL;
    g_assert_false(throttle_check(limits, &error));
    if (!strstr(error->message, why))
        g_error("no '%s' in: %s", why, error->message);
    g_error_free(error);
}

static void test_bad(void)
{
    bad(&(BlkLimits){.avg[BLK_BPS_TOTAL] = 1, .avg[BLK_BPS_READ] = 1}, "at once");
    bad(&(BlkLimits){.max[BLK_BPS_TOTAL] = 1}, "bps-total-max needs bps-total");
    bad(&(BlkLimits){.avg[BLK_IOPS_READ] = 5, .max[BLK_IOPS_READ] = 4}, "less than iops-read");
    bad(&(BlkLimits){.avg[BLK_IOPS_READ] = 5, .length[BLK_IOPS_READ] = 4}, "needs iops-read-max");
    bad(&(BlkLimits){.iops_size = 5}, "iops-size");
    bad(&(BlkLimits){.avg[BLK_BPS_READ] = BLK_LIMIT_MAX + 1}, "more than");
    make("disk", "raw", NULL);
    open_fails("@disk,bps=10,throttling.bps-total=10", "say the same");
    open_fails("@disk,throttling.bps-totl=10", "unknown key 'throttling.bps-totl'");
    open_fails("@disk,iops_max=10", "iops-total-max needs iops-total");
    open_fails("@disk,iops=-1", "iops");
}

/* ---- Drives ---- */

typedef struct Load {
    Blk *blk;
    BlkReq req[64];
    struct iovec iov;
    char data[512];
    unsigned done, pending;
} Load;

static void load_done(BlkReq *req, int ret)
{
    Load *load = req->opaque;
    g_assert_cmpint(ret, ==, 0);
    load->done++;
}

static void load_submit(Load *load, BlkOp op)
{
    load->iov = (struct iovec){load->data, sizeof(load->data)};
    for (unsigned i = 0; i < G_N_ELEMENTS(load->req); i++) {
        load->req[i] = (BlkReq){.op = op,
                                .offset = i * 512,
                                .bytes = 512,
                                .iov = &load->iov,
                                .iov_count = 1,
                                .done = load_done,
                                .opaque = load};
        int ret = blk_submit(load->blk, &load->req[i]);
        if (ret == BLK_PENDING)
            continue;
        g_assert_cmpint(ret, ==, 0);
        load->done++;
    }
}

/* Waits for that many, and sees that there are no more. */
static void expect_done(Load *load, unsigned count)
{
    while (load->done < count)
        loop_step(loop_main(), true);
    for (int i = 0; i < 20; i++)
        loop_step(loop_main(), false);
    g_assert_cmpuint(load->done, ==, count);
}

/* Ten a second: two at once (a bucket that is not over its size lets one in), then by the clock. */
static void test_drive(void)
{
    Load reads = {0}, writes = {0};
    make("disk", "raw", NULL);
    Blk *blk = open_drive("@disk,format=raw,throttling.iops-write=10");
    reads.blk = writes.blk = blk;
    load_submit(&writes, BLK_WRITE);
    expect_done(&writes, 2);
    load_submit(&reads, BLK_READ); /* not held up by writes */
    expect_done(&reads, 64);
    vclock_step(SECOND);
    expect_done(&writes, 12);
    vclock_step(2 * SECOND);
    expect_done(&writes, 32);
    BlkLimits none = {0};
    g_assert_true(blk_set_limits(blk, &none, NULL, NULL));
    expect_done(&writes, 64);
    blk_close(blk);
}

/* One that is given up comes back without its turn. */
static void cancelled(BlkReq *req, int ret)
{
    Load *load = req->opaque;
    g_assert_cmpint(ret, ==, -ECANCELED);
    load->done++;
}

static void test_cancel(void)
{
    Load load = {0};
    make("disk", "raw", NULL);
    load.blk = open_drive("@disk,format=raw,iops=10");
    load_submit(&load, BLK_READ);
    expect_done(&load, 2);
    load.req[40].done = cancelled;
    blk_cancel(&load.req[40]);
    expect_done(&load, 3);
    vclock_step(SECOND);
    expect_done(&load, 13);
    blk_drain(load.blk); /* does not wait for the clock */
    g_assert_cmpuint(load.done, ==, 64);
    blk_close(load.blk);
}

/* Two drives of a group share; each gets its half. */
static void test_group(void)
{
    Load a = {0}, b = {0};
    BlkLimits limits;
    make("disk", "raw", NULL);
    make("disk2", "raw", NULL);
    a.blk = open_drive("@disk,format=raw,id=a,throttling.iops-total=10,throttling.group=g");
    b.blk = open_drive("@disk2,format=raw,id=b,throttling.iops-total=10,throttling.group=g");
    load_submit(&a, BLK_READ);
    load_submit(&b, BLK_READ);
    vclock_step(4 * SECOND);
    for (int i = 0; i < 20; i++)
        loop_step(loop_main(), false);
    g_assert_cmpuint(a.done + b.done, >=, 40);
    g_assert_cmpuint(a.done + b.done, <=, 43);
    g_assert_cmpuint(b.done, >=, 18);
    g_autoptr(GString) text = g_string_new(NULL);
    blk_describe(a.blk, false, text);
    g_assert_nonnull(strstr(text->str, "I/O throttling:   bps=0 bps_rd=0 bps_wr=0 bps_max=0 "));
    g_assert_nonnull(strstr(text->str, " iops=10 iops_rd=0 "));
    g_assert_nonnull(strstr(text->str, " group=g\n"));
    blk_close(a.blk);
    g_assert_true(blk_get_limits(b.blk, &limits));
    g_assert_cmpuint(limits.avg[BLK_IOPS_TOTAL], ==, 10);
    limits = (BlkLimits){.avg[BLK_BPS_READ] = 1 << 20};
    g_assert_true(blk_set_limits(b.blk, &limits, NULL, NULL));
    blk_drain(b.blk);
    g_assert_cmpuint(b.done, ==, 64);
    blk_close(b.blk);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    drives_begin();
    vclock_set_manual(true);
    g_test_add_func("/limits/rate", test_rate);
    g_test_add_func("/limits/burst", test_burst);
    g_test_add_func("/limits/size", test_size);
    g_test_add_func("/limits/bad", test_bad);
    g_test_add_func("/limits/drive", test_drive);
    g_test_add_func("/limits/cancel", test_cancel);
    g_test_add_func("/limits/group", test_group);
    return drives_end(g_test_run());
}
