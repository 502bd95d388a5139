/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VDI, VirtualBox's disk images (version 1.1): a header, a table with the number of each block's
 * place, and the blocks in the order in which they were first written.
 *
 * Order: a block and the header that counts it reach the file before the table's entry for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block-map.h"
#include "formats.h"
#include "util/bytes.h"
#include "util/error.h"

#define VDI_SIGNATURE  0xbeda107fu
#define VDI_VERSION    0x00010001u
#define HEADER_BYTES   512u
#define BLOCK_BYTES    (1u << 20)
#define MAX_BLOCKS     (64u << 20) /* 64 TiB */
#define ENTRY_FREE     0xffffffffu
#define ENTRY_DISCARD  0xfffffffeu /* this and all above: no block */
#define AT_SIGNATURE   0x40
#define AT_VERSION     0x44
#define AT_HEADER_SIZE 0x48
#define AT_TYPE        0x4c
#define AT_MAP         0x154
#define AT_DATA        0x158
#define AT_SECTOR      0x168
#define AT_DISK        0x170
#define AT_BLOCK       0x178
#define AT_EXTRA       0x17c
#define AT_BLOCKS      0x180
#define AT_ALLOCATED   0x184
#define AT_UUID        0x188
#define AT_LINK        0x1a8
#define AT_PARENT      0x1b8

typedef struct Vdi {
    BlkNode base;
    BlockMap map;
    uint64_t data; /* where block 0 lies */
    uint8_t header[HEADER_BYTES];
    uint32_t next; /* place of the next new block */
    CoMutex room_lock;
} Vdi;

static Vdi *vdi(const BlkNode *node)
{
    return (Vdi *)(uintptr_t)node;
}

static int vdi_probe(const uint8_t *head, size_t bytes)
{
    return bytes >= AT_VERSION && ld32_le(head + AT_SIGNATURE) == VDI_SIGNATURE ? 100 : 0;
}

/* ---- Opening ---- */

static bool check_header(Vdi *v, GError **error)
{
    const uint8_t *h = v->header;
    const char *name = v->base.name;
    uint64_t bytes = ld64_le(h + AT_DISK), blocks = ld32_le(h + AT_BLOCKS);
    uint32_t type = ld32_le(h + AT_TYPE), block = ld32_le(h + AT_BLOCK);
    uint32_t map = ld32_le(h + AT_MAP), data = ld32_le(h + AT_DATA);
    if (ld32_le(h + AT_SIGNATURE) != VDI_SIGNATURE)
        return fail(error, "'%s' is no VDI image", name);
    if (ld32_le(h + AT_VERSION) != VDI_VERSION)
        return fail(error, "'%s' is a VDI image of version %u.%u; 1.1 is supported", name,
                    ld32_le(h + AT_VERSION) >> 16, ld32_le(h + AT_VERSION) & 0xffff);
    if (type != 1 && type != 2)
        return fail(error, "'%s': VDI images of type %u are not supported, only dynamic and static",
                    name, type);
    if (!buffer_is_zero(h + AT_LINK, 32))
        return fail(error, "'%s' is a differencing VDI image, which is not supported", name);
    if (ld32_le(h + AT_SECTOR) != 512 || block != BLOCK_BYTES || ld32_le(h + AT_EXTRA))
        return fail(error, "'%s': blocks of %u bytes (%u more each); 1 MiB is supported", name,
                    block, ld32_le(h + AT_EXTRA));
    if (!bytes || blocks > MAX_BLOCKS || bytes > blocks * BLOCK_BYTES)
        return fail(error, "'%s' claims to be %" PRIu64 " bytes large in %" PRIu64 " blocks", name,
                    bytes, blocks);
    if (map < HEADER_BYTES || (map | data) & 511 || data < map + align_up(blocks * 4, 512))
        return fail(error, "'%s': the table of blocks is out of bounds", name);
    return true;
}

static int find_last(uint64_t index, uint64_t entry, void *opaque)
{
    uint64_t *last = opaque;
    if (entry < ENTRY_DISCARD)
        *last = MAX(*last, entry + 1);
    return 0;
}

/* New blocks come behind all that are named; the header's count may lag after a crash. */
static bool find_end(Vdi *v, GError **error)
{
    uint64_t end = 0;
    if (v->base.readonly)
        return true;
    int ret = block_map_scan(&v->map, find_last, &end);
    if (!ret && end > MAX_BLOCKS)
        return fail(error, "'%s': the table names block %" PRIu64 ", which is too far",
                    v->base.name, end);
    v->next = (uint32_t)end;
    return !ret || fail_errno(error, -ret, "'%s': cannot read the table of blocks", v->base.name);
}

static bool vdi_open(BlkNode *node, GError **error)
{
    Vdi *v = vdi(node);
    if (node->file->size < HEADER_BYTES)
        return fail(error, "'%s' is too short for a VDI image", node->name);
    int ret = file_pread(node->file, 0, v->header, HEADER_BYTES);
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", node->name);
    if (!check_header(v, error))
        return false;
    node->size = align_up(ld64_le(v->header + AT_DISK), 512);
    node->cluster = BLOCK_BYTES;
    v->data = ld32_le(v->header + AT_DATA);
    v->map = (BlockMap){.offset = ld32_le(v->header + AT_MAP),
                        .entries = ld32_le(v->header + AT_BLOCKS),
                        .entry_bytes = 4};
    block_map_init(&v->map, node->file, &node->mode);
    if (find_end(v, error))
        return true;
    block_map_fini(&v->map);
    return false;
}

static void vdi_close(BlkNode *node)
{
    block_map_fini(&vdi(node)->map);
}

/* ---- Where ---- */

static int vdi_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    Vdi *v = vdi(node);
    uint64_t index = offset / BLOCK_BYTES, within = offset % BLOCK_BYTES, first, entry;
    int ret = block_map_get(&v->map, index, flags, &first);
    if (ret)
        return ret;
    bool data = first < ENTRY_DISCARD;
    uint64_t length = BLOCK_BYTES - within;
    for (uint64_t n = 1; length < bytes; n++, length += BLOCK_BYTES)
        if (block_map_get(&v->map, index + n, flags, &entry) ||
            (data ? entry != first + n || entry >= ENTRY_DISCARD : entry < ENTRY_DISCARD))
            break;
    *e = (Extent){.kind = data ? EXTENT_DATA : EXTENT_ZERO,
                  .in_place = data,
                  .bytes = MIN(length, bytes),
                  .host = data ? v->data + first * BLOCK_BYTES + within : 0};
    return 0;
}

/* ---- Writing ---- */

static int vdi_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Vdi *v = vdi(node);
    if (v->next >= MAX_BLOCKS)
        return -ENOSPC;
    alloc->start = align_down(offset, BLOCK_BYTES);
    alloc->end = alloc->start + BLOCK_BYTES;
    alloc->host = v->data + (uint64_t)v->next++ * BLOCK_BYTES;
    alloc->fresh = node->file->sparse && alloc->host >= node->file->size;
    /* A block whose end is never written must not reach past the end of the file. */
    return alloc_extend(node->file, &v->room_lock, alloc->host + BLOCK_BYTES);
}

static int vdi_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Vdi *v = vdi(node);
    uint32_t place = (uint32_t)((alloc->host - v->data) / BLOCK_BYTES);
    if (!ret)
        ret = block_map_set(&v->map, alloc->start / BLOCK_BYTES, place);
    if (ret && place + 1 == v->next)
        v->next = place;
    return ret;
}

/* ---- Order ---- */

static int write_header(void *opaque)
{
    Vdi *v = opaque;
    st32_le(v->header + AT_ALLOCATED, v->next);
    return file_pwrite(v->base.file, 0, v->header, HEADER_BYTES);
}

static int vdi_flush(BlkNode *node)
{
    Vdi *v = vdi(node);
    return block_map_commit(&v->map, write_header, v, true);
}

/* A block that was given back may still be counted. */
static int vdi_finish(BlkNode *node)
{
    Vdi *v = vdi(node);
    return ld32_le(v->header + AT_ALLOCATED) != v->next ? write_header(v) : 0;
}

static int vdi_balance(BlkNode *node)
{
    Vdi *v = vdi(node);
    return meta_crowded(&v->map.cache) ? block_map_commit(&v->map, write_header, v, false) : 0;
}

/* ---- Compacting ---- */

static bool compact_place(void *opaque, uint64_t index, uint64_t entry, uint64_t *at)
{
    const Vdi *v = opaque;
    *at = v->data + entry * BLOCK_BYTES;
    return entry < ENTRY_DISCARD;
}

static uint64_t compact_entry(void *opaque, uint64_t at)
{
    const Vdi *v = opaque;
    return (at - v->data) / BLOCK_BYTES;
}

/* The header's count goes down last: until then it tells of more blocks than there are. */
static bool vdi_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Vdi *v = vdi(node);
    BlockMapCompact c = {.map = &v->map,
                         .file = node->file,
                         .start = v->data,
                         .unit = BLOCK_BYTES,
                         .align = 512,
                         .zero_entry = ENTRY_DISCARD,
                         .place = compact_place,
                         .entry = compact_entry,
                         .before = write_header,
                         .opaque = v};
    uint64_t end;
    if (ld32_le(v->header + AT_TYPE) != 1)
        return fail(error, "'%s' is a static image: all its blocks have their place", node->name);
    if (!block_map_compact(&c, progress, &end, error))
        return false;
    v->next = (uint32_t)((end - v->data) / BLOCK_BYTES);
    int ret = write_header(v);
    if (!ret)
        ret = file_flush(node->file);
    if (!ret && node->file->sparse && end < node->file->size)
        ret = file_truncate(node->file, end);
    return !ret || fail_errno(error, -ret, "'%s': cannot compact it", node->name);
}

/* ---- Checking ---- */

typedef struct VdiCheck {
    Vdi *v;
    uint8_t *seen; /* a bit a place */
    uint64_t places;
    uint32_t used;
    CheckResult *result;
    CheckReport *report;
    void *opaque;
} VdiCheck;

static void check_line(const VdiCheck *c, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void check_line(const VdiCheck *c, const char *format, ...)
{
    va_list args;
    if (c->result->corruptions >= CHECK_MAX_LINES)
        return;
    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    c->report(c->opaque, line);
}

static int check_entry(uint64_t index, uint64_t entry, void *opaque)
{
    VdiCheck *c = opaque;
    if (entry >= ENTRY_DISCARD)
        return 0;
    c->used++;
    if (entry >= c->places) {
        check_line(c,
                   "ERROR: block %" PRIu64 " lies at place %" PRIu64 ", past the end of the file",
                   index, entry);
        c->result->corruptions++;
    } else if (c->seen[entry / 8] & 1u << entry % 8) {
        check_line(c, "ERROR: block %" PRIu64 " lies at place %" PRIu64 ", as another one does",
                   index, entry);
        c->result->corruptions++;
    } else {
        c->seen[entry / 8] |= (uint8_t)(1u << entry % 8);
    }
    return 0;
}

/* The header's count of blocks: more than there are is space lost. */
static int check_count(VdiCheck *c, unsigned fix)
{
    Vdi *v = c->v;
    uint32_t count = ld32_le(v->header + AT_ALLOCATED), used = c->used;
    unsigned how = count < used ? CHECK_FIX_ERRORS : CHECK_FIX_LEAKS;
    if (count == used)
        return 0;
    check_line(c, "%s: the header counts %u blocks, and %u are used",
               fix & how ? "Repairing" : "ERROR", count, used);
    if (fix & how) {
        st32_le(v->header + AT_ALLOCATED, used);
        int ret = file_pwrite(v->base.file, 0, v->header, HEADER_BYTES);
        *(count < used ? &c->result->corruptions_fixed : &c->result->leaks_fixed) +=
            count < used ? 1 : count - used;
        return ret;
    }
    if (count < used)
        c->result->corruptions++;
    else
        c->result->leaks += count - used;
    return 0;
}

static int vdi_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report,
                     void *opaque)
{
    Vdi *v = vdi(node);
    uint64_t size = node->file->size;
    VdiCheck c = {.v = v,
                  .places = size > v->data ? (size - v->data + BLOCK_BYTES - 1) / BLOCK_BYTES : 0,
                  .result = result,
                  .report = report,
                  .opaque = opaque};
    c.places = MIN(c.places, MAX_BLOCKS);
    c.seen = block_try_malloc0(c.places / 8 + 1);
    int ret = c.seen ? block_map_commit(&v->map, write_header, v, false) : -ENOMEM;
    if (!ret)
        ret = block_map_scan(&v->map, check_entry, &c);
    if (!ret)
        ret = check_count(&c, fix);
    g_free(c.seen);
    return ret;
}

/* ---- Creating ---- */

static const CreateOption vdi_create_options[] = {
    {"static", "on: all blocks have their place from the beginning"},
    {NULL, NULL},
};

static void fill_header(uint8_t *h, uint64_t size, uint32_t blocks, bool is_static)
{
    static const char text[] = "<<< vmrun VM Virtual Disk Image >>>\n";
    uint32_t map_bytes = (uint32_t)align_up(blocks * 4ULL, 512);
    memcpy(h, text, sizeof(text));
    st32_le(h + AT_SIGNATURE, VDI_SIGNATURE);
    st32_le(h + AT_VERSION, VDI_VERSION);
    st32_le(h + AT_HEADER_SIZE, 0x180);
    st32_le(h + AT_TYPE, is_static ? 2 : 1);
    st32_le(h + AT_MAP, HEADER_BYTES);
    st32_le(h + AT_DATA, (uint32_t)align_up(HEADER_BYTES + map_bytes, 4096));
    st32_le(h + AT_SECTOR, 512);
    st64_le(h + AT_DISK, size);
    st32_le(h + AT_BLOCK, BLOCK_BYTES);
    st32_le(h + AT_BLOCKS, blocks);
    st32_le(h + AT_ALLOCATED, is_static ? blocks : 0);
    create_uuid(h + AT_UUID);
    create_uuid(h + AT_UUID + 16);
}

static int write_map(BlkFile *file, uint32_t blocks, bool is_static)
{
    uint8_t buffer[4096];
    int ret = 0;
    for (uint32_t first = 0; first < blocks && !ret; first += sizeof(buffer) / 4) {
        uint32_t n = MIN(blocks - first, (uint32_t)sizeof(buffer) / 4);
        for (uint32_t i = 0; i < n; i++)
            st32_le(buffer + i * 4, is_static ? first + i : ENTRY_FREE);
        ret = file_pwrite(file, HEADER_BYTES + first * 4ULL, buffer, n * 4);
    }
    return ret;
}

static bool vdi_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    uint8_t h[HEADER_BYTES] = {0};
    bool is_static = false;
    uint64_t size = align_up(spec->size, 512), blocks = (size + BLOCK_BYTES - 1) / BLOCK_BYTES;
    if (spec->options && !options_get_bool(spec->options, "static", &is_static, error))
        return false;
    if (!size)
        return fail(error, "a VDI image cannot be empty");
    if (blocks > MAX_BLOCKS)
        return fail(error, "%" PRIu64 " bytes are too many for a VDI image", size);
    if (!create_begin(file, error))
        return false;
    fill_header(h, size, (uint32_t)blocks, is_static);
    uint64_t end = ld32_le(h + AT_DATA) + (is_static ? blocks * BLOCK_BYTES : 0);
    int ret = file_zero(file, 0, ld32_le(h + AT_DATA), false);
    if (!ret && is_static)
        ret = file_zero(file, ld32_le(h + AT_DATA), end - ld32_le(h + AT_DATA), false);
    if (!ret)
        ret = write_map(file, (uint32_t)blocks, is_static);
    if (!ret)
        ret = file_flush(file);
    if (!ret)
        ret = file_pwrite(file, 0, h, sizeof(h));
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

const BlkFormat vdi_format = {
    .name = "vdi",
    .node_size = sizeof(Vdi),
    .create_options = vdi_create_options,
    .probe = vdi_probe,
    .open = vdi_open,
    .close = vdi_close,
    .map = vdi_map,
    .alloc = vdi_alloc,
    .link = vdi_link,
    .flush = vdi_flush,
    .finish = vdi_finish,
    .balance = vdi_balance,
    .create = vdi_create,
    .check = vdi_check,
    .compact = vdi_compact,
};
