/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every read, write, flush and change of tables below a live disk fails in turn, while a guest
 * works on it by DMA: the guest sees an error and nothing worse, what was written well stays, the
 * image has no corruption.  With werror=stop the machine stops instead, and the guest sees nothing.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/blkdebug.h"
#include "block/node.h"
#include "test-ide-common.h"
#include "util/timer.h"

#define DISK_SECTORS 4096u
#define MAX_SECTORS  256u

typedef struct Fault {
    const char *event; /* that is counted: before its nth the rule is armed */
    const char *rule;  /* of the request that follows */
} Fault;

static const Fault faults[] = {
    {"pwritev", "iotype=write,errno=5"},
    {"pwritev", "iotype=write,errno=28"},
    {"l2_update", "iotype=write,errno=28"},
    {"refblock_update", "iotype=write,errno=5"},
    {"flush_to_disk", "iotype=flush,errno=5"},
    {"read_aio", "iotype=read,errno=5"},
    {"cluster_alloc", "errno=28"},
};

static IdeHost h;
static Blk *blk;
static char *top;
static uint8_t before[DISK_SECTORS],
    now[DISK_SECTORS]; /* a sector holds the stamp of one of them */
static unsigned errors, stops;

/* ---- The disk ---- */

static void fill_sector(uint8_t *data, unsigned sector, uint8_t stamp)
{
    if (!stamp) {
        for (unsigned i = 0; i < 512; i++)
            data[i] = pattern_byte(sector * 512ull + i);
        return;
    }
    memset(data, stamp, 512);
    st32_le(data, sector);
}

static bool holds(const uint8_t *data, unsigned sector, uint8_t stamp)
{
    uint8_t want[512];
    fill_sector(want, sector, stamp);
    return !memcmp(data, want, 512);
}

static void expect_sectors(const uint8_t *data, unsigned lba, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!holds(data + i * 512, lba + i, now[lba + i]) &&
            !holds(data + i * 512, lba + i, before[lba + i]))
            g_error("sector %u holds neither %u nor %u", lba + i, now[lba + i], before[lba + i]);
}

static void set_up(const char *options)
{
    GError *error = NULL;
    h.m = test_machine_new(64 << 20);
    const char *base = image_new("base", DISK_SECTORS * 512);
    CoSched *sched = co_sched_new(loop_main());
    CreateSpec spec = {.size = DISK_SECTORS * 512, .backing = base, .backing_format = "raw"};
    g_autoptr(Options) cluster = options_parse("-o", "cluster_size=4096", NULL, NULL, NULL);
    spec.options = cluster;
    g_free(top);
    top = g_strconcat(base, ".top", NULL);
    image_create(sched, top, "qcow2", &spec, true, false, &error);
    g_assert_no_error(error);
    co_sched_free(sched);
    g_autofree char *name = g_strconcat("blkdebug::", top, NULL);
    blk = drive_on("hda", name, options);
    ide_setup(&h, NULL);
    test_device(h.m, &ide_hd_class, "drive=hda");
    ide_select(&h, 0);
    memset(before, 0, sizeof(before));
    memset(now, 0, sizeof(now));
    errors = stops = 0;
}

/* The image has no corruption, and what it holds is what the guest may expect. */
static void tear_down(void)
{
    CheckResult result = {0};
    NodeMode mode = {0};
    GError *error = NULL;
    g_autofree uint8_t *all = g_malloc(DISK_SECTORS * 512);
    struct iovec iov = {all, DISK_SECTORS * 512};
    test_machine_free(h.m);
    loop_lock(loop_main());
    blk_close_all();
    CoSched *sched = co_sched_new(loop_main());
    BlkNode *node = node_open(sched, top, NULL, &mode, &error);
    g_assert_no_error(error);
    g_assert_cmpint(node->fmt->check(node, 0, &result, NULL, NULL), ==, 0);
    g_assert_cmpuint(result.corruptions, ==, 0);
    g_assert_cmpint(node_read(node, 0, (IoBuf){&iov, 1, 0}, iov.iov_len), ==, 0);
    expect_sectors(all, 0, DISK_SECTORS);
    node_close(node);
    co_sched_free(sched);
    loop_unlock(loop_main());
    unlink(top);
    images_free();
}

/* ---- The guest ---- */

static bool settled(void *opaque)
{
    return h.m->status == MACHINE_IO_ERROR || !(ide_alt(&h) & BSY);
}

/* Waits for the drive; lets the machine go on where an error stopped it.  True: no error. */
static bool command_ends(void)
{
    for (;;) {
        test_wait(h.m, settled, NULL);
        if (h.m->status != MACHINE_IO_ERROR)
            break;
        stops++;
        g_assert_true(machine_resume(h.m, NULL));
        vclock_step(1);
    }
    uint8_t status = ide_in(&h, 7);
    bm_out(&h, 0, 0);
    g_assert_cmphex(status & (BSY | DRQ | DF), ==, 0);
    errors += status & ERR;
    return !(status & ERR);
}

static uint8_t *ram(void)
{
    return region_ram_ptr(h.m->ram) + DATA_AT;
}

static bool dma(uint8_t command, unsigned lba, unsigned count, bool to_memory)
{
    const uint32_t pair[2] = {DATA_AT, ((count * 512) & 0xffff) | EOT};
    ide_prd(&h, pair, 1);
    bm_out(&h, 2, BM_ERROR | BM_INTR);
    ide_cmd28(&h, command, lba, (uint8_t)count);
    bm_out(&h, 0, to_memory ? 9 : 1);
    return command_ends();
}

static void guest_write(unsigned lba, unsigned count, uint8_t stamp)
{
    for (unsigned i = 0; i < count; i++)
        fill_sector(ram() + i * 512, lba + i, stamp);
    bool ok = dma(0xca, lba, count, false);
    for (unsigned i = lba; i < lba + count; i++) {
        before[i] = ok ? stamp : now[i]; /* one failure only: what was sure before is so still */
        now[i] = stamp;
    }
}

static void guest_read(unsigned lba, unsigned count)
{
    memset(ram(), 0xee, count * 512);
    if (dma(0xc8, lba, count, true))
        expect_sectors(ram(), lba, count);
}

static void guest_flush(void)
{
    ide_out(&h, 7, 0xe7);
    command_ends();
}

static void guest_works(void)
{
    guest_write(3, 2, 1);     /* a cluster of its own, with what the base holds around it */
    guest_write(60, 40, 2);   /* several, whole and in part */
    guest_write(3000, 16, 3); /* another table */
    guest_flush();
    guest_write(64, 8, 4); /* in place */
    guest_read(0, 120);
    guest_read(2990, 40);
    guest_flush();
    guest_write(1000, 1, 5);
    guest_read(1000, 8);
    guest_flush();
}

/* ---- Faults in turn ---- */

static void add_rule(const char *kind, const char *text)
{
    GError *error = NULL;
    g_autoptr(Options) rule = options_parse("rule", text, NULL, NULL, &error);
    blk_inject(blk, kind, rule, &error);
    g_assert_no_error(error);
}

/* Before the nth event the next request of the rule's kind is made to fail, once. */
static void arm(const Fault *fault, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        g_autofree char *step =
            g_strdup_printf("event=%s,state=%u,new_state=%u", fault->event, i, i + 1);
        add_rule("set-state", step);
    }
    g_autofree char *rule =
        g_strdup_printf("event=%s,state=%u,once=on,%s", fault->event, n, fault->rule);
    add_rule("inject-error", rule);
}

static void test_fault(gconstpointer data)
{
    const Fault *fault = data;
    unsigned hit = 0;
    for (unsigned n = 1, quiet = 0; n <= 40 && quiet < 5; n++) {
        set_up("werror=report,rerror=report");
        arm(fault, n);
        guest_works();
        hit += errors != 0;
        quiet = errors ? 0 : quiet + 1; /* the event does not come so often */
        blk_inject(blk, NULL, NULL, NULL);
        guest_flush(); /* what failed is made up for */
        tear_down();
    }
    g_test_message("%u faults reached the guest", hit);
    g_assert_cmpuint(hit, >, 0);
}

/* The same with a machine that stops: the guest never sees an error. */
static void test_stop(gconstpointer data)
{
    const Fault *fault = data;
    unsigned stopped = 0;
    for (unsigned n = 1; n <= 12; n++) {
        set_up("werror=stop,rerror=stop");
        arm(fault, n);
        guest_works();
        g_assert_cmpuint(errors, ==, 0);
        stopped += stops;
        blk_inject(blk, NULL, NULL, NULL);
        guest_flush();
        g_assert_cmpuint(errors, ==, 0);
        tear_down();
    }
    g_assert_cmpuint(stopped, >, 0);
}

/* The disk's I/O in a thread of its own: the guest does not notice, nor does it with faults. */
static void test_thread(void)
{
    loop_lock(loop_main());
    IoThread *thread = iothread_new("io0", NULL);
    loop_unlock(loop_main());
    set_up("iothread=io0");
    g_assert_true(blk_iothread(blk) == thread);
    guest_works();
    g_assert_cmpuint(errors, ==, 0);
    tear_down();
    for (unsigned n = 1; n <= 4; n++) {
        set_up("iothread=io0,werror=stop,rerror=report");
        arm(&faults[n % 2 ? 1 : 5], n);
        guest_works();
        g_assert_cmpuint(errors + stops, >, 0);
        blk_inject(blk, NULL, NULL, NULL);
        guest_flush();
        tear_down();
    }
    loop_lock(loop_main());
    iothread_free(thread);
    loop_unlock(loop_main());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autofree char *name =
            g_strdup_printf("/faults/%u-%s/%s", i, faults[i].event, faults[i].rule);
        g_test_add_data_func(name, &faults[i], test_fault);
    }
    g_test_add_data_func("/faults/stop/write", &faults[1], test_stop);
    g_test_add_data_func("/faults/stop/read", &faults[5], test_stop);
    g_test_add_data_func("/faults/stop/flush", &faults[4], test_stop);
    g_test_add_func("/faults/thread", test_thread);
    int result = g_test_run();
    g_free(top);
    return result;
}
