/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VHDX images: opening, where blocks lie, new blocks. */
#include "vhdx.h"

#include <errno.h>
#include <string.h>

#include "crc32c.h"
#include "util/bytes.h"
#include "util/error.h"

#define MAX_REGIONS   2047u
#define MAX_ITEMS     2047u
#define MAX_SIZE      (64ULL << 40)
#define MAX_BLOCK     (256u << 20)
#define MAX_CHECKED   (256ULL << 40) /* of the file: what check looks at */
#define METADATA_HEAD (64u << 10)

const uint8_t vhdx_guid_table[] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                   0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const uint8_t vhdx_guid_metadata[] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                      0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
const uint8_t vhdx_guid_parameters[] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                        0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
const uint8_t vhdx_guid_size[] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                  0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};
const uint8_t vhdx_guid_page83[] = {0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45,
                                    0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46};
const uint8_t vhdx_guid_sector[] = {0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                    0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f};
const uint8_t vhdx_guid_physical[] = {0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44,
                                      0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56};

static int vhdx_probe(const uint8_t *head, size_t bytes)
{
    return bytes >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0;
}

/* ---- Headers ---- */

static bool read_headers(Vhdx *v, GError **error)
{
    bool found = false;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t h[VHDX_HEADER_BYTES];
        int ret = file_pread(v->base.file, VHDX_HEADER_AT * (i + 1), h, sizeof(h));
        if (ret)
            return fail_errno(error, -ret, "cannot read '%s'", v->base.name);
        if (memcmp(h, "head", 4) || ld32_le(h + 4) != crc32c_without(h, sizeof(h), 4))
            continue;
        if (found && ld64_le(h + 8) <= ld64_le(v->header + 8))
            continue;
        memcpy(v->header, h, sizeof(h));
        v->header_number = i;
        found = true;
    }
    if (!found)
        return fail(error, "'%s': no header is valid", v->base.name);
    if (ld16_le(v->header + 66) != 1 || ld16_le(v->header + 64))
        return fail(error,
                    "'%s' is VHDX version %u with a log of version %u; 1 and 0 are supported",
                    v->base.name, ld16_le(v->header + 66), ld16_le(v->header + 64));
    v->log = (VhdxRegion){ld64_le(v->header + 72), ld32_le(v->header + 68)};
    return true;
}

int vhdx_write_header(Vhdx *v)
{
    int ret = 0;
    for (int i = 0; i < 2 && !ret; i++) {
        unsigned other = !v->header_number;
        st64_le(v->header + 8, ld64_le(v->header + 8) + 1);
        st32_le(v->header + 4, crc32c_without(v->header, sizeof(v->header), 4));
        ret = file_pwrite(v->base.file, VHDX_HEADER_AT * (other + 1), v->header, sizeof(v->header));
        if (!ret)
            ret = file_flush(v->base.file);
        if (!ret)
            v->header_number = other;
    }
    return ret;
}

static bool region_ok(const VhdxRegion *r)
{
    return !(r->offset % VHDX_MIB) && !(r->bytes % VHDX_MIB) && r->offset >= VHDX_MIB && r->bytes &&
           r->offset < INT64_MAX / 2 && r->bytes < INT64_MAX / 2;
}

static bool overlap(const VhdxRegion *a, const VhdxRegion *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static bool take_regions(Vhdx *v, const uint8_t *t, GError **error)
{
    uint32_t count = ld32_le(t + 8);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *e = t + 16 + (size_t)i * 32;
        VhdxRegion region = {ld64_le(e + 16), ld32_le(e + 24)};
        if (!memcmp(e, vhdx_guid_table, VHDX_GUID_BYTES))
            v->table = region;
        else if (!memcmp(e, vhdx_guid_metadata, VHDX_GUID_BYTES))
            v->metadata = region;
        else if (ld32_le(e + 28) & 1)
            return fail(error, "'%s' has a required region that is unknown here (%08x...)",
                        v->base.name, ld32_le(e));
    }
    if (!region_ok(&v->table) || !region_ok(&v->metadata) || overlap(&v->table, &v->metadata) ||
        (v->log.bytes &&
         (!region_ok(&v->log) || overlap(&v->log, &v->table) || overlap(&v->log, &v->metadata))))
        return fail(error, "'%s': the regions of table, metadata and log are out of bounds",
                    v->base.name);
    return true;
}

static bool read_regions(Vhdx *v, GError **error)
{
    g_autofree uint8_t *t = g_malloc(VHDX_REGION_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        int ret =
            file_pread(v->base.file, VHDX_REGION_AT + i * VHDX_REGION_BYTES, t, VHDX_REGION_BYTES);
        if (ret)
            return fail_errno(error, -ret, "cannot read '%s'", v->base.name);
        if (!memcmp(t, "regi", 4) && ld32_le(t + 8) <= MAX_REGIONS &&
            ld32_le(t + 4) == crc32c_without(t, VHDX_REGION_BYTES, 4))
            return take_regions(v, t, error);
    }
    return fail(error, "'%s': no region table is valid", v->base.name);
}

/* ---- Metadata ---- */

typedef struct Items {
    uint8_t parameters[8], size[8], sector[4];
    unsigned found; /* a bit each */
} Items;

static int take_item(const Vhdx *v, const uint8_t *e, Items *items)
{
    const struct {
        const uint8_t *guid;
        void *to;
        uint32_t bytes;
    } known[] = {{vhdx_guid_parameters, items->parameters, 8},
                 {vhdx_guid_size, items->size, 8},
                 {vhdx_guid_sector, items->sector, 4},
                 {vhdx_guid_page83, NULL, 16},
                 {vhdx_guid_physical, NULL, 4}};
    uint32_t offset = ld32_le(e + 16), bytes = ld32_le(e + 20);
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (memcmp(e, known[i].guid, VHDX_GUID_BYTES))
            continue;
        if (bytes < known[i].bytes || offset < METADATA_HEAD ||
            (uint64_t)offset + bytes > v->metadata.bytes)
            return -EINVAL;
        items->found |= 1u << i;
        return known[i].to ? file_pread(v->base.file, v->metadata.offset + offset, known[i].to,
                                        known[i].bytes)
                           : 0;
    }
    return ld32_le(e + 24) & 4 ? -ENOTSUP : 0;
}

static bool check_items(Vhdx *v, const Items *items, GError **error)
{
    const char *name = v->base.name;
    uint64_t size = ld64_le(items->size);
    uint32_t block = ld32_le(items->parameters), sector = ld32_le(items->sector);
    if ((items->found & 7) != 7)
        return fail(error, "'%s': the metadata is not complete", name);
    if (ld32_le(items->parameters + 4) & VHDX_PARAM_PARENT)
        return fail(error, "'%s' is a differencing VHDX image, which is not supported", name);
    if (!is_pow2(block) || block < VHDX_MIB || block > MAX_BLOCK)
        return fail(error, "'%s': blocks of %u bytes; powers of two from 1 to 256 MiB are right",
                    name, block);
    if (sector != 512 && sector != 4096)
        return fail(error, "'%s': sectors of %u bytes; 512 and 4096 are supported", name, sector);
    if (!size || size > MAX_SIZE || size % sector)
        return fail(error, "'%s' claims to be %" PRIu64 " bytes large", name, size);
    v->base.size = size;
    v->base.cluster = block;
    v->chunk_ratio = ((uint64_t)sector << 23) / block;
    uint64_t blocks = (size + block - 1) / block;
    v->map = (BlockMap){.offset = v->table.offset,
                        .entries = blocks + (blocks - 1) / v->chunk_ratio,
                        .entry_bytes = 8};
    return block_map_bytes(&v->map) <= v->table.bytes ||
           fail(error, "'%s': the table of blocks is too small", name);
}

static bool read_metadata(Vhdx *v, GError **error)
{
    g_autofree uint8_t *t = g_malloc(METADATA_HEAD);
    Items items = {.found = 0};
    int ret = file_pread(v->base.file, v->metadata.offset, t, METADATA_HEAD);
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", v->base.name);
    uint16_t count = ld16_le(t + 10);
    if (memcmp(t, "metadata", 8) || count > MAX_ITEMS)
        return fail(error, "'%s': the metadata table is damaged", v->base.name);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *e = t + 32 + (size_t)i * 32;
        ret = take_item(v, e, &items);
        if (ret == -ENOTSUP && ld32_le(items.parameters + 4) & VHDX_PARAM_PARENT)
            continue; /* the parent's name */
        if (ret == -ENOTSUP)
            return fail(error, "'%s' has required metadata that is unknown here (%08x...)",
                        v->base.name, ld32_le(e));
        if (ret)
            return fail(error, "'%s': an item of metadata is out of bounds", v->base.name);
    }
    return check_items(v, &items, error);
}

/* ---- Opening ---- */

static bool replay_or_refuse(Vhdx *v, GError **error)
{
    if (!vhdx_log_is_dirty(v))
        return true;
    if (v->base.readonly)
        return fail(error,
                    "'%s' was not closed properly: its log must be replayed before it can be read; "
                    "check -r all does that",
                    v->base.name);
    return vhdx_log_replay(v, error);
}

static bool vhdx_open(BlkNode *node, GError **error)
{
    Vhdx *v = vhdx(node);
    uint8_t magic[8] = {0};
    int ret = file_pread(node->file, 0, magic, sizeof(magic));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", node->name);
    if (memcmp(magic, "vhdxfile", 8) || node->file->size < VHDX_MIB)
        return fail(error, "'%s' is no VHDX image, or too short", node->name);
    if (!read_headers(v, error) || !read_regions(v, error) || !replay_or_refuse(v, error) ||
        !read_metadata(v, error))
        return false;
    block_map_init(&v->map, node->file, &node->mode);
    v->end = align_up(node->file->size, VHDX_MIB);
    v->end = MAX(v->end, v->table.offset + v->table.bytes);
    v->end = MAX(v->end, v->metadata.offset + v->metadata.bytes);
    v->end = MAX(v->end, v->log.offset + v->log.bytes);
    return true;
}

static void vhdx_close(BlkNode *node)
{
    block_map_fini(&vhdx(node)->map);
}

/* ---- Where ---- */

static uint64_t index_of(const Vhdx *v, uint64_t offset)
{
    uint64_t block = offset / v->base.cluster;
    return block + block / v->chunk_ratio;
}

static bool place_ok(const Vhdx *v, uint64_t at)
{
    VhdxRegion block = {at, v->base.cluster};
    return at >= VHDX_MIB && at < INT64_MAX / 2 && !overlap(&block, &v->table) &&
           !overlap(&block, &v->metadata) && !overlap(&block, &v->log);
}

static int vhdx_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    Vhdx *v = vhdx(node);
    uint64_t within = offset % node->cluster, entry;
    int ret = block_map_get(&v->map, index_of(v, offset), flags, &entry);
    if (ret)
        return ret;
    *e = (Extent){.kind = EXTENT_ZERO, .bytes = MIN(bytes, node->cluster - within)};
    switch (entry & VHDX_STATE_MASK) {
    case VHDX_PRESENT:
        e->kind = EXTENT_DATA;
        e->in_place = v->marked;
        e->host = (entry & VHDX_PLACE_MASK) + within;
        return place_ok(v, entry & VHDX_PLACE_MASK) ? 0 : -EIO;
    case VHDX_PARTLY_PRESENT: /* makes sense over a parent only */
        return -EIO;
    case VHDX_NOT_PRESENT:
        e->kind = EXTENT_UNALLOCATED;
    }
    return 0;
}

/* ---- Writing ---- */

static int vhdx_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Vhdx *v = vhdx(node);
    BlkFile *file = node->file;
    uint64_t end = v->end + node->cluster;
    if (end >= INT64_MAX / 2)
        return -EFBIG;
    alloc->start = align_down(offset, node->cluster);
    alloc->end = alloc->start + node->cluster;
    alloc->host = v->end;
    alloc->fresh = file->sparse && alloc->host >= file->size;
    v->end = end;
    /* An entry must not name what lies past the end of the file. */
    return alloc_extend(file, &v->room_lock, end);
}

static int vhdx_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Vhdx *v = vhdx(node);
    return ret ? ret
               : block_map_set(&v->map, index_of(v, alloc->start), alloc->host | VHDX_PRESENT);
}

/* New GUIDs tell other programs that what they remember of the image is not true any more. */
static int mark_written(Vhdx *v)
{
    int ret = 0;
    co_mutex_lock(&v->mark_lock);
    if (!v->marked) {
        create_uuid(v->header + 16);
        create_uuid(v->header + 32);
        ret = vhdx_write_header(v);
        v->marked = !ret;
    }
    co_mutex_unlock(&v->mark_lock);
    return ret;
}

static int vhdx_flush(BlkNode *node)
{
    return block_map_commit(&vhdx(node)->map, NULL, NULL, true);
}

static int vhdx_balance(BlkNode *node)
{
    Vhdx *v = vhdx(node);
    int ret = v->marked ? 0 : mark_written(v);
    return !ret && meta_crowded(&v->map.cache) ? block_map_commit(&v->map, NULL, NULL, false) : ret;
}

/* ---- Compacting ---- */

static bool compact_place(void *opaque, uint64_t index, uint64_t entry, uint64_t *at)
{
    const Vhdx *v = opaque;
    *at = entry & VHDX_PLACE_MASK;
    return index % (v->chunk_ratio + 1) != v->chunk_ratio &&
           (entry & VHDX_STATE_MASK) == VHDX_PRESENT;
}

static uint64_t compact_entry(void *opaque, uint64_t at)
{
    return at | VHDX_PRESENT;
}

static bool vhdx_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Vhdx *v = vhdx(node);
    Piece fixed[] = {{.at = v->table.offset, .bytes = v->table.bytes},
                     {.at = v->metadata.offset, .bytes = v->metadata.bytes},
                     {.at = v->log.offset, .bytes = v->log.bytes}};
    BlockMapCompact c = {.map = &v->map,
                         .file = node->file,
                         .start = 1u << 20,
                         .unit = node->cluster,
                         .align = 1u << 20,
                         .zero_entry = VHDX_ZERO,
                         .place = compact_place,
                         .entry = compact_entry,
                         .fixed = fixed,
                         .fixed_count = G_N_ELEMENTS(fixed),
                         .opaque = v};
    uint64_t end;
    int ret = mark_written(v);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot compact it", node->name);
    if (!block_map_compact(&c, progress, &end, error))
        return false;
    v->end = end;
    if (node->file->sparse && end < node->file->size)
        ret = file_truncate(node->file, end);
    return !ret || fail_errno(error, -ret, "'%s': cannot compact it", node->name);
}

/* ---- Checking ---- */

typedef struct VhdxCheck {
    Vhdx *v;
    uint8_t *seen; /* a bit for each MiB of the file */
    uint64_t size;
    CheckResult *result;
    CheckReport *report;
    void *opaque;
} VhdxCheck;

static void bad_block(VhdxCheck *c, uint64_t index, uint64_t place, const char *what)
{
    if (c->result->corruptions++ >= CHECK_MAX_LINES)
        return;
    g_autofree char *line = g_strdup_printf(
        "ERROR: entry %" PRIu64 " of the table names %" PRIu64 ", %s", index, place, what);
    c->report(c->opaque, line);
}

static int check_entry(uint64_t index, uint64_t entry, void *opaque)
{
    VhdxCheck *c = opaque;
    uint64_t place = entry & VHDX_PLACE_MASK, first = place / VHDX_MIB;
    if (index % (c->v->chunk_ratio + 1) == c->v->chunk_ratio ||
        (entry & VHDX_STATE_MASK) != VHDX_PRESENT)
        return 0;
    if (!place_ok(c->v, place)) {
        bad_block(c, index, place, "within the tables");
        return 0;
    }
    if (place + c->v->base.cluster > c->size) {
        bad_block(c, index, place, "past the end of the file");
        return 0;
    }
    for (uint64_t n = first; n < first + c->v->base.cluster / VHDX_MIB; n++) {
        if (c->seen[n / 8] & 1u << n % 8) {
            bad_block(c, index, place, "as another one does");
            return 0;
        }
        c->seen[n / 8] |= (uint8_t)(1u << n % 8);
    }
    return 0;
}

static int vhdx_check(BlkNode *node, unsigned fix, CheckResult *result, CheckReport *report,
                      void *opaque)
{
    Vhdx *v = vhdx(node);
    VhdxCheck c = {.v = v,
                   .size = MIN(node->file->size, MAX_CHECKED),
                   .result = result,
                   .report = report,
                   .opaque = opaque};
    c.seen = block_try_malloc0(c.size / VHDX_MIB / 8 + 1);
    int ret = c.seen ? 0 : -ENOMEM;
    if (!ret && !node->readonly)
        ret = vhdx_flush(node);
    if (!ret)
        ret = block_map_scan(&v->map, check_entry, &c);
    g_free(c.seen);
    return ret;
}

const BlkFormat vhdx_format = {
    .name = "vhdx",
    .node_size = sizeof(Vhdx),
    .create_options = vhdx_create_options,
    .probe = vhdx_probe,
    .open = vhdx_open,
    .close = vhdx_close,
    .map = vhdx_map,
    .alloc = vhdx_alloc,
    .link = vhdx_link,
    .flush = vhdx_flush,
    .balance = vhdx_balance,
    .create = vhdx_create,
    .compact = vhdx_compact,
    .check = vhdx_check,
};
