/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disk images with arbitrary contents: opened, checked, read, written, repaired.
 *
 * With -Dfuzzers=true this is a libFuzzer target, whose input is an image behind one byte that
 * chooses format and manner.  Otherwise it is a program: given files it runs them, given none it
 * damages good images at random, with a fixed seed (SEED, RUNS in the environment).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../block/crc32c.h"
#include "../image/memfile.h"
#include "block/secret.h"
#include "util/bytes.h"
#include "util/log.h"

#define MAX_IMAGE (6u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static CoSched *sched;

static void ignore_line(void *opaque, const char *line)
{
}

/* ---- One image ---- */

static void read_at(BlkNode *node, uint64_t offset, uint64_t bytes)
{
    static uint8_t buffer[128 << 10];
    bytes = MIN(bytes, sizeof(buffer));
    if (offset >= node->size)
        return;
    bytes = MIN(bytes, node->size - offset);
    struct iovec iov = {buffer, bytes};
    IoBuf buf = {&iov, 1, 0};
    if (node_read_nowait(node, offset, buf, bytes) == -EAGAIN)
        (void)!node_read(node, offset, buf, bytes);
}

static uint64_t place(const BlkNode *node, uint64_t *random)
{
    uint64_t near = next_random(random) % (512 << 10), r = next_random(random);
    uint64_t offset = r % 4 == 0   ? node->size - MIN(node->size, near)
                      : r % 4 == 1 ? next_random(random) % MAX(node->size, 1)
                                   : near;
    return align_down(offset, 512);
}

static void write_at(BlkNode *node, uint64_t offset, uint64_t *random)
{
    static uint8_t buffer[96 << 10];
    uint64_t bytes = 512 + align_down(next_random(random) % (sizeof(buffer) - 512), 512);
    if (offset >= node->size)
        return;
    bytes = MIN(bytes, node->size - offset);
    memset(buffer, (int)(bytes >> 9), bytes);
    struct iovec iov = {buffer, bytes};
    IoBuf buf = {&iov, 1, 0};
    switch (next_random(random) % 8) {
    case 0:
        (void)!node_write_zeroes(node, offset, bytes, ZERO_MAY_UNMAP);
        break;
    case 1:
        (void)!node_write_zeroes(node, offset, bytes, 0);
        break;
    case 2:
        (void)!node_discard(node, offset, bytes, 0);
        break;
    case 3:
        (void)!node_flush(node);
        break;
    case 4:
        (void)!node_write_compressed(node, align_down(offset, node->cluster), buffer, 300);
        break;
    default:
        if (node_write_nowait(node, offset, buf, bytes) == -EAGAIN)
            (void)!node_write(node, offset, buf, bytes);
    }
}

static MemFile *data_file; /* of the image that is open, should it want one */

static void drop_data_file(void)
{
    file_close(&data_file->base);
    data_file = NULL;
}

/* Whether a try of a password takes no long time: the numbers of iterations in a LUKS header. */
static bool unlocks_soon(const uint8_t *data, size_t bytes)
{
    if (bytes < 592 || memcmp(data, "LUKS", 4) || ld32_be(data + 164) > 4096)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (ld32_be(data + 208 + i * 48 + 4) > 4096)
            return false;
    return true;
}

/* A backing file of its own: names of the host's files are none of an image's business here. */
static void add_backing(BlkNode *node)
{
    NodeMode mode = {0};
    GByteArray *data = g_byte_array_new();
    g_byte_array_set_size(data, 1 << 20);
    memset(data->data, 0x55, data->len);
    MemFile *m = memfile_new(sched, data);
    m->base.readonly = true;
    node->backing = node_open_file(&m->base, "raw", &mode, NULL);
}

static BlkNode *open_bytes(const uint8_t *data, size_t bytes, uint8_t manner)
{
    static const char *const formats[] = {NULL,  "qcow2", "qcow", "raw",
                                          "vdi", "vpc",   "vmdk", "vhdx"};
    unsigned format = (manner & 3) | (manner >> 5 & 1) << 2;
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, data, (guint)bytes);
    NodeMode mode = {.no_backing = true,
                     .repair = manner & 4,
                     .discard = manner & 8,
                     .file = {.writable = !(manner & 16)},
                     .l2_cache = 1,
                     .refcount_cache = 1,
                     .may_be_locked = true,
                     .key_secret = unlocks_soon(data, bytes) ? "fuzz" : NULL,
                     .snapshot = (manner & 0x50) == 0x50 ? "1" : NULL};
    MemFile *m = memfile_new(sched, copy);
    m->base.readonly = manner & 16;
    data_file = memfile_new(sched, NULL);
    data_file->base.readonly = manner & 16;
    mode.data_file = &data_file->base;
    BlkNode *node = node_open_file(&m->base, formats[format], &mode, NULL);
    if (!node)
        drop_data_file();
    else if (manner & 0x80 && node->fmt->backing)
        add_backing(node);
    return node;
}

/* ---- Operations on a whole image ---- */

static bool never_mind(void *opaque, uint64_t done, uint64_t total)
{
    return true;
}

static void amend(BlkNode *node, uint64_t r)
{
    static const char *const texts[] = {"refcount_bits=64", "refcount_bits=1", "compat=0.10",
                                        "compat=1.1", "size=2M"};
    g_autoptr(Options) options = options_parse("-o", texts[r % 5], NULL, NULL, NULL);
    node_amend(node, options, true, NULL, NULL);
}

static void snapshot_work(BlkNode *node, uint64_t r)
{
    NodeSnapshot info = {.name = (char *)(uintptr_t) "fuzz", .icount = -1};
    const NodeSnapshot *s = node->fmt->snapshot ? node->fmt->snapshot(node, r % 3) : NULL;
    g_autofree char *id = g_strdup(s ? s->id : "fuzz"), *name = g_strdup(s ? s->name : "fuzz");
    if (r % 8 < 3)
        node_snapshot_create(node, &info, NULL);
    else if (r % 8 < 6)
        node_snapshot_apply(node, id, NULL);
    else
        node_snapshot_delete(node, name, NULL);
}

static void bitmap_work(BlkNode *node, uint64_t r)
{
    const NodeBitmap *b = node->fmt->bitmap ? node->fmt->bitmap(node, r % 2) : NULL;
    g_autofree char *name = g_strdup(b ? b->name : "b");
    switch (r / 2 % 5) {
    case 0:
        node_bitmap_add(node, "new", 0, r & 32, NULL);
        break;
    case 1:
        node_bitmap_remove(node, name, NULL);
        break;
    case 2:
        node_bitmap_clear(node, name, NULL);
        break;
    case 3:
        node_bitmap_enable(node, name, r & 32, NULL);
        break;
    default:
        node_bitmap_merge(node, name, node, name, NULL);
    }
}

static void operate(BlkNode *node, uint64_t *random)
{
    static uint8_t state[8192];
    struct iovec iov = {state, sizeof(state)};
    NodeProgress progress = {never_mind, NULL};
    uint64_t r = next_random(random);
    switch (r % 8) {
    case 0:
        node_resize(node, (r >> 8) % (4u << 20), r >> 40 & 1, NULL);
        break;
    case 1:
        node_compact(node, &progress, NULL);
        break;
    case 2:
        node_change_backing(node, r & 64 ? NULL : "some name", r & 128 ? NULL : "raw", NULL);
        break;
    case 3:
        amend(node, r >> 8);
        break;
    case 4:
        bitmap_work(node, r >> 8);
        break;
    case 5:
        (void)!node_vmstate_write(node, r >> 8 & 0xfe00, (IoBuf){&iov, 1, 0}, sizeof(state));
        (void)!node_vmstate_read(node, r >> 8 & 0xfe00, (IoBuf){&iov, 1, 0}, sizeof(state));
        break;
    default:
        snapshot_work(node, r >> 8);
    }
}

static void work_on(BlkNode *node, uint64_t *random)
{
    CheckResult result = {0};
    NodeDetail detail;
    for (unsigned n = 0; node->fmt->detail && node->fmt->detail(node, n, &detail); n++)
        g_free(detail.value);
    read_at(node, 0, 128 << 10);
    for (int i = 0; i < 4; i++)
        read_at(node, place(node, random), 64 << 10);
    if (node->fmt->check && next_random(random) % 2)
        (void)!node->fmt->check(node, node->readonly ? 0 : next_random(random) % 4, &result,
                                ignore_line, NULL);
    for (int i = 0; i < 8; i++)
        write_at(node, place(node, random), random);
    for (int i = 0; i < 3 && next_random(random) % 2; i++) {
        operate(node, random);
        write_at(node, place(node, random), random);
    }
    read_at(node, 0, 128 << 10);
    (void)!node_close(node);
    drop_data_file();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t random = 88172645463325252ULL + bytes;
    if (!sched) {
        loop_lock(loop_main());
        sched = co_sched_new(loop_main());
        secret_add("fuzz", "secret,id=fuzz,data=geheim", NULL);
    }
    if (bytes < 1 || bytes > MAX_IMAGE)
        return 0;
    for (size_t i = 0; i < MIN(bytes, 64); i++)
        random = random * 31 + data[i];
    BlkNode *node = open_bytes(data + 1, bytes - 1, data[0]);
    if (node)
        work_on(node, &random);
    return 0;
}

#ifndef VMRUN_LIBFUZZER
/* ---- Damaging good images ---- */

/* An extent of an ESX server: a directory behind the header, one table, one grain. */
static GByteArray *cowd_image(void)
{
    GByteArray *image = g_byte_array_new();
    g_byte_array_set_size(image, 1 + (64 << 10));
    uint8_t *d = image->data + 1;
    memset(image->data, 0, image->len);
    memcpy(d, "COWD", 4);
    st32_le(d + 4, 1);
    st32_le(d + 8, 3);
    st32_le(d + 12, 4096); /* sectors of the disk */
    st32_le(d + 16, 1);    /* of a grain */
    st32_le(d + 20, 4);    /* the directory's */
    st32_le(d + 24, 1);    /* its entries */
    st32_le(d + 28, 128);
    st32_le(d + 4 * 512, 8);   /* a table */
    st32_le(d + 8 * 512, 100); /* a grain */
    memset(d + 100 * 512, 7, 512);
    return image;
}

/* A dynamic disk that says that it is one of two. */
static void make_differencing(uint8_t *d)
{
    static const char name[] = "p\0a\0r\0";
    d[63] = 4;
    memcpy(d + 512 + 576, "W2ru", 4);
    st32_be(d + 512 + 576 + 8, 6);
    st64_be(d + 512 + 576 + 16, 1400);
    memcpy(d + 1400, name, 6);
}

static GByteArray *good_image(const char *format, const char *text, uint64_t *random)
{
    g_autoptr(Options) options = text ? options_parse("-o", text, NULL, NULL, NULL) : NULL;
    CreateSpec spec = {.size = 3u << 20, .options = options};
    NodeMode mode = {.file = {.writable = true}, .borrow = true, .key_secret = "fuzz"};
    if (!strcmp(format, "cowd"))
        return cowd_image();
    MemFile *m = memfile_new(sched, NULL);
    format_find(format, NULL)->create(&m->base, &spec, NULL);
    BlkNode *node = node_open_file(&m->base, format, &mode, NULL);
    for (int i = 0; i < 12; i++) {
        write_at(node, next_random(random) % 2048 * 512, random);
        if (i == 5 && node->fmt->snapshot_create && next_random(random) % 2) {
            node_bitmap_add(node, "b", 4096, next_random(random) % 2, NULL);
            snapshot_work(node, 0);
        }
    }
    node_close(node);
    if (m->data->len > 3072 && !strcmp(format, "vpc") && !text && next_random(random) % 2)
        make_differencing(m->data->data);
    if (m->data->len > 80 && !strcmp(format, "qcow2") && next_random(random) % 16 == 0)
        m->data->data[79] |= 4; /* its data lies elsewhere */
    GByteArray *image = g_byte_array_new();
    g_byte_array_append(image, (const guint8 *)"\0", 1);
    g_byte_array_append(image, m->data->data, MIN(m->data->len, MAX_IMAGE - 1));
    file_close(&m->base);
    return image;
}

/* A number that a table or header field might choke on. */
static uint64_t nasty(uint64_t *random, size_t bytes)
{
    static const uint64_t numbers[] = {
        0,          1,          512,        0x7fffffff,         0xffffffff,
        1ULL << 62, 1ULL << 63, UINT64_MAX, 0x00fffffffffffe00, 0x80fffffffffffe01};
    uint64_t r = next_random(random);
    if (r % 3 == 0)
        return numbers[r / 3 % G_N_ELEMENTS(numbers)];
    uint64_t flags = (r >> 8 & 3) << 62 | (r >> 10 & 1);
    return flags | align_down(next_random(random) % (bytes * 2), r & 1 ? 4096 : 512);
}

/* Where tables lie that are worth damaging, besides the begin. */
static const uint32_t vhdx_places[] = {0x10000,  0x20000,  0x30000,  0x40000,
                                       0x100000, 0x200000, 0x300000, 0x310000};

static void seal_vhdx(uint8_t *d, size_t bytes)
{
    static const uint32_t lengths[] = {4096, 4096, 65536, 65536};
    for (int i = 0; i < 4; i++)
        if (vhdx_places[i] + lengths[i] <= bytes)
            st32_le(d + vhdx_places[i] + 4, crc32c_without(d + vhdx_places[i], lengths[i], 4));
}

static void seal_vpc(uint8_t *d, size_t bytes, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += i < at || i >= at + 4 ? d[i] : 0;
    st32_be(d + at, ~sum);
}

/* A checksum that is wrong would hide all other damage. */
static void seal(GByteArray *image)
{
    uint8_t *d = image->data + 1;
    if (image->len > 3072 && !memcmp(d, "conectix", 8)) {
        seal_vpc(d, 512, 64);
        seal_vpc(d + 512, 1024, 36);
    } else if (image->len > 8 && !memcmp(d, "vhdxfile", 8)) {
        seal_vhdx(d, image->len - 1);
    }
}

static uint64_t place_to_damage(const GByteArray *image, uint64_t r, uint64_t *random)
{
    uint64_t reach = r % 2 ? 120 : r & 32 ? 1536 : image->len - 9, start = 1;
    if (image->len > 1u << 20 && !memcmp(image->data + 1, "vhdxfile", 8)) {
        start += vhdx_places[next_random(random) % G_N_ELEMENTS(vhdx_places)];
        reach = 256;
    }
    uint64_t at = start + next_random(random) % MAX(MIN(reach, image->len - 9), 1);
    return MIN(at, image->len - 9);
}

static void damage(GByteArray *image, uint64_t *random)
{
    uint64_t count = 1 + next_random(random) % 6;
    image->data[0] = (uint8_t)next_random(random);
    if (next_random(random) % 2)
        image->data[0] &= ~0x23; /* what it looks like */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t r = next_random(random);
        uint64_t at = place_to_damage(image, r, random), value = nasty(random, image->len);
        if (r & 4)
            at = 1 + align_down(at - 1, 8);
        if ((r & 24) == 24)
            st64_le(image->data + at, value);
        else if (r & 8)
            st64_be(image->data + at, value);
        else if (r & 16)
            st32_be(image->data + at, (uint32_t)value);
        else
            image->data[at] ^= (uint8_t)(1u << (value & 7));
    }
    if (next_random(random) % 4)
        seal(image);
    if (next_random(random) % 8 == 0)
        g_byte_array_set_size(image, 16 + (guint)(next_random(random) % (image->len - 16)));
}

static int run_files(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *data;
        gsize bytes;
        if (!g_file_get_contents(argv[i], &data, &bytes, NULL)) {
            report_error("cannot read '%s'", argv[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, bytes);
        g_free(data);
    }
    return 0;
}

static void quiet_message(const gchar *domain, GLogLevelFlags level, const gchar *text,
                          gpointer data)
{
}

int main(int argc, char **argv)
{
    static const char *const shapes[][2] = {
        {"qcow2", NULL},
        {"qcow2", "cluster_size=512"},
        {"qcow2", "cluster_size=4k,refcount_bits=1"},
        {"qcow2", "cluster_size=2k,refcount_bits=64,compression_type=zstd"},
        {"qcow2", "compat=0.10,cluster_size=1k"},
        {"qcow2", "cluster_size=16k,extended_l2=on"},
        {"qcow", NULL},
        {"raw", NULL},
        {"vdi", NULL},
        {"vpc", NULL},
        {"vpc", "subformat=fixed"},
        {"vmdk", NULL},
        {"vmdk", "zeroed_grain=on"},
        {"vmdk", "subformat=streamOptimized"},
        {"vhdx", "block_size=1M"},
        {"cowd", NULL},
        {"luks", "key-secret=fuzz,iter-time=1"},
        {"qcow2", "encrypt.format=luks,encrypt.key-secret=fuzz,encrypt.iter-time=1"},
    };
    const char *seed = g_getenv("SEED"), *runs = g_getenv("RUNS");
    uint64_t random = seed ? strtoull(seed, NULL, 0) : 20080117,
             n = runs ? strtoull(runs, NULL, 0) : 4000;
    loop_lock(loop_main());
    sched = co_sched_new(loop_main());
    secret_add("fuzz", "secret,id=fuzz,data=geheim", NULL);
    if (argc > 1 && argv[1][0] != '-')
        return run_files(argc, argv);
    g_log_set_default_handler(quiet_message, NULL);
    printf("1..1\n# SEED=%" G_GUINT64_FORMAT "\n", random);
    fflush(stdout);
    for (uint64_t i = 0; i < n; i++) {
        const char *const *shape = shapes[i % G_N_ELEMENTS(shapes)];
        GByteArray *image = good_image(shape[0], shape[1], &random);
        damage(image, &random);
        LLVMFuzzerTestOneInput(image->data, image->len);
        g_byte_array_unref(image);
    }
    printf("ok 1 %" G_GUINT64_FORMAT " damaged images\n", n);
    return 0;
}
#endif
