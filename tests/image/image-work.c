/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does random work on an image file, and the same on a raw copy of it:
 *
 *     image-work [-n] [-a] [-d] [-c] [-b] [-H] [-k FILE] IMAGE FORMAT RAW SEED OPERATIONS
 *
 * First the image must read as RAW does (-b: it has no RAW yet, take what it reads as); at the end
 * RAW is written anew.  -n O_DIRECT, -a libaio, -d discard, -c compressed writes, -H hold the image
 * open until standard input ends, -k the file with an encrypted image's password.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/node.h"
#include "block/secret.h"
#include "util/bytes.h"
#include "util/log.h"

typedef struct Job {
    BlkNode *node;
    uint8_t *right; /* what the image must hold */
    bool *busy;     /* a sector each */
    uint64_t random, sectors;
    unsigned left, running;
    bool compressed, discard;
} Job;

static uint64_t rnd(Job *job)
{
    job->random ^= job->random << 13;
    job->random ^= job->random >> 7;
    job->random ^= job->random << 17;
    return job->random;
}

static void G_GNUC_NORETURN die(const char *what, uint64_t sector, int ret)
{
    report_error("%s at sector %" G_GUINT64_FORMAT ": %s", what, sector,
                 ret ? g_strerror(-ret) : "wrong data");
    exit(1);
}

static uint64_t pick(Job *job, uint64_t *count, uint64_t align)
{
    uint64_t first = rnd(job) % job->sectors;
    uint64_t size = rnd(job) % 3 ? 16 : 300;
    *count = 1 + rnd(job) % size;
    if (align) {
        first = align_down(first, align);
        *count = align_up(*count, align);
    }
    *count = MIN(*count, job->sectors - first);
    for (uint64_t i = 0; i < *count; i++)
        if (job->busy[first + i])
            *count = i;
    return first;
}

static void do_read(Job *job, uint64_t first, uint64_t count)
{
    uint8_t *data = block_alloc(count * 512);
    struct iovec iov[2] = {{data, 512}, {data + 512, (count - 1) * 512}};
    int ret = node_read_nowait(job->node, first * 512, (IoBuf){iov, 2, 0}, count * 512);
    if (ret == -EAGAIN)
        ret = node_read(job->node, first * 512, (IoBuf){iov, 2, 0}, count * 512);
    if (ret || memcmp(data, job->right + first * 512, count * 512))
        die("read", first, ret);
    free(data);
}

static void do_write(Job *job, uint64_t first, uint64_t count)
{
    uint8_t *data = job->right + first * 512;
    uint64_t style = rnd(job) % 4, value = rnd(job);
    for (uint64_t i = 0; i < count * 512; i += 8)
        st64_le(data + i, style == 0 ? 0 : style == 1 ? value : rnd(job));
    struct iovec iov = {data, count * 512};
    int ret = node_write(job->node, first * 512, (IoBuf){&iov, 1, 0}, count * 512);
    if (ret)
        die("write", first, ret);
}

static void do_zero(Job *job, uint64_t first, uint64_t count)
{
    memset(job->right + first * 512, 0, count * 512);
    int ret =
        node_write_zeroes(job->node, first * 512, count * 512, rnd(job) % 2 ? ZERO_MAY_UNMAP : 0);
    if (ret)
        die("zero", first, ret);
}

/* What a discarded range reads as is read back. */
static void do_discard(Job *job, uint64_t first, uint64_t count)
{
    struct iovec iov = {job->right + first * 512, count * 512};
    int ret = node_discard(job->node, first * 512, count * 512, 0);
    if (!ret)
        ret = node_read(job->node, first * 512, (IoBuf){&iov, 1, 0}, count * 512);
    if (ret)
        die("discard", first, ret);
}

static void do_compressed(Job *job, uint64_t first)
{
    uint8_t *data = job->right + first * 512, *packed = g_malloc(job->node->cluster);
    memset(data, (int)(rnd(job) & 255), job->node->cluster);
    memset(data + rnd(job) % 256, (int)(rnd(job) & 255), 100);
    int length = node_compress(job->node, data, packed);
    int ret =
        length < 0 ? length : node_write_compressed(job->node, first * 512, packed, (size_t)length);
    if (ret)
        die("compressed write", first, ret);
    g_free(packed);
}

static void do_one(Job *job)
{
    uint64_t what = rnd(job) % 16, cluster = job->node->cluster / 512, count;
    bool compress = job->compressed && what >= 14;
    uint64_t first = pick(job, &count, compress || what % 2 ? cluster : 0);
    if (compress)
        count = count < cluster ? 0 : cluster;
    if (what == 0) {
        int ret = node_flush(job->node);
        if (ret)
            die("flush", 0, ret);
        return;
    }
    if (!count)
        return;
    memset(job->busy + first, true, count);
    if (compress)
        do_compressed(job, first);
    else if (what < 5)
        do_read(job, first, count);
    else if (what < 7)
        do_zero(job, first, count);
    else if (what < 8 && job->discard)
        do_discard(job, first, count);
    else
        do_write(job, first, count);
    memset(job->busy + first, false, count);
}

static void worker(void *opaque)
{
    Job *job = opaque;
    while (job->left) {
        job->left--;
        do_one(job);
    }
    job->running--;
}

static void read_all(Job *job, const char *raw, bool fresh)
{
    uint64_t bytes = job->node->size;
    uint8_t *data = block_alloc(bytes);
    struct iovec iov = {data, bytes};
    int ret = node_read(job->node, 0, (IoBuf){&iov, 1, 0}, bytes);
    if (ret)
        die("read", 0, ret);
    if (!fresh) {
        char *text;
        gsize length;
        if (!g_file_get_contents(raw, &text, &length, NULL) || length != bytes)
            die("raw copy", 0, -EINVAL);
        for (uint64_t i = 0; i < bytes; i += 512)
            if (memcmp(text + i, data + i, 512))
                die("first look", i / 512, 0);
        g_free(text);
    }
    job->right = data;
}

static void work(Job *job)
{
    job->running = 6;
    for (unsigned i = 0; i < 6; i++)
        co_start(job->node->sched, worker, NULL, job);
    while (job->running)
        loop_step(loop_main(), true);
    uint8_t *kept = job->right;
    read_all(job, NULL, true);
    for (uint64_t i = 0; i < job->sectors; i++)
        if (memcmp(kept + i * 512, job->right + i * 512, 512))
            die("last look", i, 0);
    free(kept);
}

static bool take_password(const char *file, NodeMode *mode)
{
    GError *error = NULL;
    g_autofree char *text = g_strconcat("secret,id=k,file=", file, NULL);
    mode->key_secret = "k";
    if (!secret_add("-k", text, &error))
        report_error("%s", error->message);
    return !error;
}

int main(int argc, char **argv)
{
    NodeMode mode = {.file = {.writable = true}, .l2_cache = 1, .refcount_cache = 1};
    Job job = {0};
    bool fresh = false, hold = false;
    GError *error = NULL;
    int c;
    report_set_program("image-work");
    while ((c = getopt(argc, argv, "nadcbHk:")) != -1) {
        if (c == 'k' && !take_password(optarg, &mode))
            return 1;
        mode.file.direct |= c == 'n';
        mode.file.native |= c == 'a';
        mode.discard |= c == 'd';
        job.compressed |= c == 'c';
        fresh |= c == 'b';
        hold |= c == 'H';
    }
    argv += optind;
    if (argc - optind != 5)
        return 2;
    loop_lock(loop_main());
    CoSched *sched = co_sched_new(loop_main());
    job.node = node_open(sched, argv[0], argv[1], &mode, &error);
    if (!job.node) {
        report_error("%s", error->message);
        return 1;
    }
    job.discard = mode.discard;
    job.sectors = job.node->size / 512;
    job.busy = g_new0(bool, job.sectors);
    job.random = strtoull(argv[3], NULL, 0) * 2654435761u + 1;
    job.left = (unsigned)atoi(argv[4]);
    read_all(&job, argv[2], fresh);
    work(&job);
    if (!g_file_set_contents(argv[2], (char *)job.right, (gssize)job.node->size, &error)) {
        report_error("%s", error->message);
        return 1;
    }
    if (hold) {
        printf("holding\n");
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    int ret = node_close(job.node);
    free(job.right);
    g_free(job.busy);
    co_sched_free(sched);
    loop_unlock(loop_main());
    return ret ? 1 : 0;
}
