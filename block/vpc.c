/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHD, Virtual PC's and Hyper-V's disk images ("Virtual Hard Disk Image Format Specification"):
 *
 *   fixed          the disk, and a footer of one sector
 *   dynamic        a copy of the footer, a header, a table with each block's place, the blocks, the
 *                  footer.  A block begins with a bitmap: sectors that were written.
 *   differencing   the same over a parent, which is read where a bit is clear; for reading only.
 *
 * A new block takes the footer's place, and the footer moves behind it; until it is there again,
 * its copy at the begin serves.  Data and bitmap reach the file before the table's entry.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "block-map.h"
#include "formats.h"
#include "util/bytes.h"
#include "util/error.h"

#define FOOTER_BYTES 512u
#define HEADER_BYTES 1024u
#define ENTRY_FREE   0xffffffffu
#define MIN_BLOCK    (64u << 10)
#define MAX_BLOCK    (256u << 20)
#define NEW_BLOCK    (2u << 20)
#define MAX_CHS      (65535u * 16 * 255)
#define MAX_SECTORS  0xff000000u /* 2040 GiB */
#define EPOCH_2000   946684800

enum { TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4 };

typedef struct Vpc {
    BlkNode base;
    bool dynamic, differencing;
    uint8_t footer[FOOTER_BYTES];
    BlockMap map;
    MetaCache bitmaps; /* differencing */
    uint64_t header_at;
    uint32_t bitmap_bytes; /* before each block */
    uint64_t end;          /* the footer's place and the next block's */
    CoMutex room_lock;
} Vpc;

static Vpc *vpc(const BlkNode *node)
{
    return (Vpc *)(uintptr_t)node;
}

/* A fixed image's first bytes are the guest's: it must be asked for. */
static int vpc_probe(const uint8_t *head, size_t bytes)
{
    return bytes >= 8 && !memcmp(head, "conectix", 8) ? 100 : 0;
}

/* The sum of all bytes but the checksum's own, inverted. */
static uint32_t checksum(const uint8_t *data, size_t bytes, size_t at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        if (i < at || i >= at + 4)
            sum += data[i];
    return ~sum;
}

/* ---- Opening ---- */

static uint32_t footer_type(const uint8_t *footer)
{
    return ld32_be(footer + 60);
}

static bool footer_at(Vpc *v, uint64_t offset, uint8_t *footer, int *ret)
{
    if (!*ret)
        *ret = file_pread(v->base.file, offset, footer, FOOTER_BYTES);
    return !*ret && !memcmp(footer, "conectix", 8) &&
           ld32_be(footer + 64) == checksum(footer, FOOTER_BYTES, 64);
}

/*
 * The footer, or its copy at the begin of an image that was not closed in order.  Where a footer at
 * the end says that the disk is fixed, the first bytes are the guest's, whatever they look like;
 * else the end may be a guest's, for want of the footer that was to follow it.
 */
static bool find_footer(Vpc *v, GError **error)
{
    uint64_t size = v->base.file->size;
    uint8_t end[FOOTER_BYTES], *use = NULL;
    int ret = 0;
    bool at_end = size >= FOOTER_BYTES && footer_at(v, size - FOOTER_BYTES, end, &ret);
    if (!at_end && size >= FOOTER_BYTES - 1) /* as old versions wrote it */
        at_end = footer_at(v, size - (FOOTER_BYTES - 1), end, &ret);
    if (at_end && footer_type(end) == TYPE_FIXED)
        use = end;
    else if (footer_at(v, 0, v->footer, &ret) && footer_type(v->footer) != TYPE_FIXED)
        use = v->footer;
    else if (at_end)
        use = end;
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", v->base.name);
    if (!use)
        return fail(error, "'%s' is no VHD image, or its footer is damaged", v->base.name);
    if (use == end)
        memcpy(v->footer, end, FOOTER_BYTES);
    return true;
}

/* Some programs count in cylinders, heads and sectors, others in bytes. */
static uint64_t disk_sectors(const uint8_t *footer)
{
    static const char *const in_bytes[] = {"win ", "qem2", "d2v ", "tap", "CTXS"};
    uint64_t chs = (uint64_t)ld16_be(footer + 56) * footer[58] * footer[59];
    uint64_t sectors = ld64_be(footer + 48) / 512;
    for (size_t i = 0; i < G_N_ELEMENTS(in_bytes); i++)
        if (!strncmp((const char *)footer + 28, in_bytes[i], 4))
            return sectors;
    return chs == MAX_CHS ? sectors : chs;
}

static bool check_dynamic(Vpc *v, const uint8_t *h, GError **error)
{
    const char *name = v->base.name;
    uint32_t block = ld32_be(h + 32), entries = ld32_be(h + 28);
    v->map = (BlockMap){
        .offset = ld64_be(h + 16), .entries = entries, .entry_bytes = 4, .big_endian = true};
    if (memcmp(h, "cxsparse", 8))
        return fail(error, "'%s': the dynamic disk header is missing", name);
    if (ld32_be(h + 36) != checksum(h, HEADER_BYTES, 36))
        return fail(error, "'%s': the dynamic disk header's checksum is wrong", name);
    if (!is_pow2(block) || block < MIN_BLOCK || block > MAX_BLOCK)
        return fail(error,
                    "'%s': blocks of %u bytes; powers of two from 64 KiB to 256 MiB are right",
                    name, block);
    if (entries > MAX_SECTORS / (block / 512) + 1 || v->base.size > (uint64_t)entries * block)
        return fail(error, "'%s' claims to be %" PRIu64 " bytes large in %u blocks of %u bytes",
                    name, v->base.size, entries, block);
    if (v->map.offset & 511 || v->map.offset < FOOTER_BYTES || v->map.offset > INT64_MAX / 2 ||
        (v->map.offset < v->header_at + HEADER_BYTES &&
         v->header_at < v->map.offset + block_map_bytes(&v->map)))
        return fail(error, "'%s': the table of blocks is out of bounds", name);
    v->base.cluster = block;
    v->bitmap_bytes = (uint32_t)align_up(block / 512 / 8, 512);
    return true;
}

/* An image whose format was guessed must not reach into other folders. */
static bool check_parent(const Vpc *v, GError **error)
{
    const char *name = v->base.backing_name;
    while (g_str_has_prefix(name, "./"))
        name += 2;
    return !v->base.probed || !strchr(name, '/') ||
           fail(error,
                "'%s': its parent '%s' lies in another folder; if you trust the image, say format "
                "vpc to open it",
                v->base.name, v->base.backing_name);
}

/* The parent's name: a relative path if there is one, else an absolute one, in UTF-16. */
static bool read_parent(Vpc *v, const uint8_t *h, GError **error)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 8; i++) {
            const uint8_t *locator = h + 576 + i * 24;
            uint32_t bytes = ld32_be(locator + 8);
            uint8_t text[2048];
            if (memcmp(locator, pass ? "W2ku" : "W2ru", 4) || !bytes || bytes > sizeof(text))
                continue;
            if (file_pread(v->base.file, ld64_be(locator + 16), text, bytes))
                continue;
            gunichar2 units[sizeof(text) / 2];
            for (uint32_t n = 0; n < bytes / 2; n++)
                units[n] = ld16_le(text + n * 2);
            char *name = g_utf16_to_utf8(units, bytes / 2, NULL, NULL, NULL);
            if (!name)
                continue;
            g_strdelimit(name, "\\", '/');
            v->base.backing_name = name;
            v->base.backing_format = g_strdup("vpc");
            return check_parent(v, error);
        }
    }
    return fail(error, "'%s': the parent image's name is missing", v->base.name);
}

static bool open_dynamic(Vpc *v, GError **error)
{
    uint8_t h[HEADER_BYTES];
    BlkFile *file = v->base.file;
    v->header_at = ld64_be(v->footer + 16);
    if (v->header_at & 511 || v->header_at < FOOTER_BYTES || v->header_at > INT64_MAX / 2)
        return fail(error, "'%s': the dynamic disk header is out of bounds", v->base.name);
    int ret = file_pread(file, v->header_at, h, sizeof(h));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", v->base.name);
    if (!check_dynamic(v, h, error))
        return false;
    if (v->differencing && !v->base.readonly)
        return fail(error, "'%s' is a differencing VHD image, which can only be read",
                    v->base.name);
    if (v->differencing && !read_parent(v, h, error))
        return false;
    block_map_init(&v->map, file, &v->base.mode);
    if (v->differencing)
        meta_init(&v->bitmaps, file, 512, 1u << 20);
    return true;
}

static int find_end(uint64_t index, uint64_t entry, void *opaque)
{
    Vpc *v = opaque;
    uint64_t end = entry * 512 + v->bitmap_bytes + v->base.cluster;
    if (entry != ENTRY_FREE)
        v->end = MAX(v->end, end);
    return 0;
}

/* Blocks follow the tables and all other blocks; what lies behind them is the footer, or garbage.
 */
static bool prepare_writing(Vpc *v, GError **error)
{
    v->end = MAX(v->map.offset + block_map_bytes(&v->map), v->header_at + HEADER_BYTES);
    int ret = block_map_scan(&v->map, find_end, v);
    uint64_t size = v->base.file->size;
    uint8_t tail[8];
    if (!ret && size >= FOOTER_BYTES)
        ret = file_pread(v->base.file, size - FOOTER_BYTES, tail, sizeof(tail));
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot read the table of blocks", v->base.name);
    if (size >= FOOTER_BYTES && memcmp(tail, "conectix", 8))
        v->end = MAX(v->end, align_up(size, 512));
    return true;
}

static void vpc_close(BlkNode *node)
{
    Vpc *v = vpc(node);
    block_map_fini(&v->map);
    if (v->bitmaps.pages)
        meta_fini(&v->bitmaps);
}

static bool vpc_open(BlkNode *node, GError **error)
{
    Vpc *v = vpc(node);
    if (!find_footer(v, error))
        return false;
    uint32_t type = footer_type(v->footer);
    uint64_t sectors = disk_sectors(v->footer);
    if (type < TYPE_FIXED || type > TYPE_DIFFERENCING)
        return fail(error, "'%s': VHD images of type %u are not supported", node->name, type);
    if (!sectors || sectors > MAX_SECTORS)
        return fail(error, "'%s' claims to be %" PRIu64 " sectors large", node->name, sectors);
    node->size = sectors * 512;
    node->cluster = 512;
    v->dynamic = type != TYPE_FIXED;
    node->flat = !v->dynamic;
    v->differencing = type == TYPE_DIFFERENCING;
    if (!v->dynamic && node->file->size < node->size)
        return fail(error, "'%s' is shorter than its footer says", node->name);
    if (v->dynamic &&
        (!open_dynamic(v, error) || (!node->readonly && !prepare_writing(v, error)))) {
        vpc_close(node);
        return false;
    }
    return true;
}

/* ---- Where ---- */

/* Whether the blocks' place is outside of what describes the image. */
static bool place_ok(const Vpc *v, uint64_t at)
{
    uint64_t end = at + v->bitmap_bytes + v->base.cluster;
    return at >= FOOTER_BYTES && (at >= v->header_at + HEADER_BYTES || end <= v->header_at) &&
           (at >= v->map.offset + block_map_bytes(&v->map) || end <= v->map.offset);
}

/* The run of sectors in a block that are all here or all the parent's. */
static int map_bitmap(Vpc *v, uint64_t at, uint64_t within, unsigned flags, Extent *e)
{
    uint64_t first = within / 512, n = 0, wanted = (within % 512 + e->bytes + 511) / 512;
    bool here = false;
    while (n < wanted) {
        MetaPage *page;
        uint64_t bit = first + n, page_at = at + bit / 4096 * 512;
        int ret = flags & MAP_NOWAIT ? meta_get_nowait(&v->bitmaps, page_at, &page)
                                     : meta_get(&v->bitmaps, page_at, &page);
        if (ret)
            return ret;
        bool set = page->data[bit % 4096 / 8] & 0x80u >> bit % 8;
        meta_put(page);
        if (n && set != here)
            break;
        here = set;
        n++;
    }
    e->bytes = MIN(e->bytes, n * 512 - within % 512);
    e->kind = here ? EXTENT_DATA : EXTENT_UNALLOCATED;
    return 0;
}

static int map_block(Vpc *v, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    uint64_t block = v->base.cluster, within = offset % block, entry;
    int ret = block_map_get(&v->map, offset / block, flags, &entry);
    if (ret)
        return ret;
    *e = (Extent){.kind = v->differencing ? EXTENT_UNALLOCATED : EXTENT_ZERO,
                  .bytes = MIN(bytes, block - within)};
    if (entry == ENTRY_FREE)
        return 0;
    if (!place_ok(v, entry * 512))
        return -EIO;
    e->host = entry * 512 + v->bitmap_bytes + within;
    if (v->differencing)
        return map_bitmap(v, entry * 512, within, flags, e);
    e->kind = EXTENT_DATA;
    e->in_place = true;
    return 0;
}

static int vpc_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    Vpc *v = vpc(node);
    if (v->dynamic)
        return map_block(v, offset, bytes, flags, e);
    bool data = true;
    int ret = flags & MAP_HOLES ? file_extent(node->file, offset, &bytes, &data) : 0;
    *e = (Extent){
        .kind = data ? EXTENT_DATA : EXTENT_ZERO, .in_place = true, .bytes = bytes, .host = offset};
    return ret;
}

/* ---- Writing ---- */

/* The bitmap of a block at v->end and the footer behind it. */
static int write_frame(Vpc *v, uint64_t at, uint64_t end)
{
    g_autofree uint8_t *bitmap = g_malloc(v->bitmap_bytes);
    memset(bitmap, 0xff, v->bitmap_bytes);
    int ret = file_pwrite(v->base.file, at, bitmap, v->bitmap_bytes);
    return ret ? ret : file_pwrite(v->base.file, end, v->footer, FOOTER_BYTES);
}

static int vpc_alloc(BlkNode *node, uint64_t offset, uint64_t bytes, Alloc *alloc)
{
    Vpc *v = vpc(node);
    if (!v->dynamic)
        return -EIO;
    co_mutex_lock(&v->room_lock);
    uint64_t at = v->end, end = at + v->bitmap_bytes + node->cluster;
    alloc->start = align_down(offset, node->cluster);
    alloc->end = alloc->start + node->cluster;
    alloc->host = at + v->bitmap_bytes;
    /* Where the bitmap ends, nothing was but the footer, which is shorter. */
    alloc->fresh = node->file->sparse && alloc->host >= node->file->size;
    int ret = end / 512 >= ENTRY_FREE ? -ENOSPC : write_frame(v, at, end);
    if (!ret)
        v->end = end;
    co_mutex_unlock(&v->room_lock);
    return ret;
}

static int vpc_link(BlkNode *node, const Alloc *alloc, int ret)
{
    Vpc *v = vpc(node);
    uint64_t entry = (alloc->host - v->bitmap_bytes) / 512;
    return ret ? ret : block_map_set(&v->map, alloc->start / node->cluster, entry);
}

static int vpc_flush(BlkNode *node)
{
    Vpc *v = vpc(node);
    return v->dynamic ? block_map_commit(&v->map, NULL, NULL, true) : file_flush(node->file);
}

static int vpc_balance(BlkNode *node)
{
    Vpc *v = vpc(node);
    return v->dynamic && meta_crowded(&v->map.cache) ? block_map_commit(&v->map, NULL, NULL, false)
                                                     : 0;
}

/* ---- Compacting ---- */

static bool compact_place(void *opaque, uint64_t index, uint64_t entry, uint64_t *at)
{
    *at = entry * 512;
    return entry != ENTRY_FREE;
}

static uint64_t compact_entry(void *opaque, uint64_t at)
{
    return at / 512;
}

/* The footer stands at its new place before the old one is cut off. */
static bool vpc_compact(BlkNode *node, const NodeProgress *progress, GError **error)
{
    Vpc *v = vpc(node);
    Piece fixed[] = {{.at = v->header_at, .bytes = HEADER_BYTES},
                     {.at = v->map.offset, .bytes = block_map_bytes(&v->map)}};
    BlockMapCompact c = {.map = &v->map,
                         .file = node->file,
                         .start = FOOTER_BYTES,
                         .unit = (uint64_t)v->bitmap_bytes + node->cluster,
                         .head = v->bitmap_bytes,
                         .align = 512,
                         .zero_entry = ENTRY_FREE,
                         .place = compact_place,
                         .entry = compact_entry,
                         .fixed = fixed,
                         .fixed_count = G_N_ELEMENTS(fixed),
                         .opaque = v};
    uint64_t end;
    if (!v->dynamic || v->differencing)
        return fail(error, "'%s': only dynamic VHD images are compacted", node->name);
    if (!block_map_compact(&c, progress, &end, error))
        return false;
    int ret = file_pwrite(node->file, end, v->footer, FOOTER_BYTES);
    if (!ret)
        ret = file_flush(node->file);
    if (!ret)
        v->end = end;
    if (!ret && node->file->sparse && end + FOOTER_BYTES < node->file->size)
        ret = file_truncate(node->file, end + FOOTER_BYTES);
    return !ret || fail_errno(error, -ret, "'%s': cannot compact it", node->name);
}

static int vpc_zero(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags)
{
    if (vpc(node)->dynamic)
        return -ENOTSUP;
    return file_zero(node->file, offset, bytes, (flags & ZERO_MAY_UNMAP) && node->mode.discard);
}

/* ---- Creating ---- */

static const CreateOption vpc_create_options[] = {
    {"subformat", "dynamic (default) or fixed"},
    {"force_size", "on: exactly the size given, not rounded up to whole cylinders"},
    {NULL, NULL},
};

typedef struct Geometry {
    uint32_t cylinders, heads, sectors;
} Geometry;

/* The specification's way to a geometry; it may come out smaller than sectors. */
static Geometry geometry_of(uint64_t sectors)
{
    Geometry g = {.heads = 16};
    uint32_t tracks;
    sectors = MIN(sectors, MAX_CHS);
    if (sectors >= 65535u * 16 * 63) {
        g.sectors = 255;
        tracks = (uint32_t)sectors / 255;
    } else {
        g.sectors = 17;
        tracks = (uint32_t)sectors / 17;
        g.heads = MAX((tracks + 1023) / 1024, 4);
        if (tracks >= g.heads * 1024 || g.heads > 16) {
            g.sectors = 31;
            g.heads = 16;
            tracks = (uint32_t)sectors / 31;
        }
        if (tracks >= g.heads * 1024) {
            g.sectors = 63;
            g.heads = 16;
            tracks = (uint32_t)sectors / 63;
        }
    }
    g.cylinders = tracks / g.heads;
    return g;
}

static void fill_footer(uint8_t *f, uint64_t sectors, const Geometry *g, bool fixed, bool force)
{
    memcpy(f, "conectix", 8);
    st32_be(f + 8, 2);
    st32_be(f + 12, 0x00010000);
    st64_be(f + 16, fixed ? UINT64_MAX : FOOTER_BYTES);
    st32_be(f + 24, (uint32_t)(time(NULL) - EPOCH_2000));
    memcpy(f + 28, force ? "qem2" : "qemu", 4); /* who counts in bytes, and who in cylinders */
    st32_be(f + 32, 0x00050003);
    memcpy(f + 36, "Wi2k", 4);
    st64_be(f + 40, sectors * 512);
    st64_be(f + 48, sectors * 512);
    st16_be(f + 56, (uint16_t)g->cylinders);
    f[58] = (uint8_t)g->heads;
    f[59] = (uint8_t)g->sectors;
    st32_be(f + 60, fixed ? TYPE_FIXED : TYPE_DYNAMIC);
    create_uuid(f + 68);
    st32_be(f + 64, checksum(f, FOOTER_BYTES, 64));
}

static int write_fixed(BlkFile *file, const uint8_t *footer, uint64_t sectors)
{
    int ret = file_zero(file, 0, sectors * 512, true);
    return ret ? ret : file_pwrite(file, sectors * 512, footer, FOOTER_BYTES);
}

static int write_dynamic(BlkFile *file, const uint8_t *footer, uint64_t sectors)
{
    uint8_t h[HEADER_BYTES] = {0}, free_entries[512];
    uint32_t entries = (uint32_t)((sectors * 512 + NEW_BLOCK - 1) / NEW_BLOCK);
    uint64_t table = FOOTER_BYTES + HEADER_BYTES, end = table + align_up(entries * 4ULL, 512);
    int ret = 0;
    memcpy(h, "cxsparse", 8);
    st64_be(h + 8, UINT64_MAX);
    st64_be(h + 16, table);
    st32_be(h + 24, 0x00010000);
    st32_be(h + 28, entries);
    st32_be(h + 32, NEW_BLOCK);
    st32_be(h + 36, checksum(h, sizeof(h), 36));
    memset(free_entries, 0xff, sizeof(free_entries));
    for (uint64_t at = table; at < end && !ret; at += sizeof(free_entries))
        ret = file_pwrite(file, at, free_entries, sizeof(free_entries));
    if (!ret)
        ret = file_pwrite(file, FOOTER_BYTES, h, sizeof(h));
    if (!ret)
        ret = file_pwrite(file, end, footer, FOOTER_BYTES);
    if (!ret)
        ret = file_flush(file);
    return ret ? ret : file_pwrite(file, 0, footer, FOOTER_BYTES);
}

static bool read_create_options(const CreateSpec *spec, bool *fixed, bool *force, GError **error)
{
    static const char *const words[] = {"dynamic", "fixed", NULL};
    unsigned how = 0;
    if (spec->options && (!options_get_enum(spec->options, "subformat", words, &how, error) ||
                          !options_get_bool(spec->options, "force_size", force, error)))
        return false;
    *fixed = how == 1;
    return true;
}

static bool vpc_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    uint8_t footer[FOOTER_BYTES] = {0};
    uint64_t sectors = (spec->size + 511) / 512;
    bool fixed = false, force = false;
    Geometry g = {65535, 16, 255};
    if (!read_create_options(spec, &fixed, &force, error))
        return false;
    if (!sectors)
        return fail(error, "a VHD image cannot be empty");
    if (sectors > (force ? MAX_SECTORS : MAX_CHS))
        return fail(error, "%" PRIu64 " bytes are too many for a VHD image%s", spec->size,
                    force || sectors > MAX_SECTORS ? "" : "; with force_size=on they are not");
    for (uint64_t more = 0; !force; more++) {
        g = geometry_of(sectors + more);
        if ((uint64_t)g.cylinders * g.heads * g.sectors >= sectors)
            break;
    }
    if (!force)
        sectors = (uint64_t)g.cylinders * g.heads * g.sectors;
    if (!create_begin(file, error))
        return false;
    fill_footer(footer, sectors, &g, fixed, force);
    int ret = fixed ? write_fixed(file, footer, sectors) : write_dynamic(file, footer, sectors);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

const BlkFormat vpc_format = {
    .name = "vpc",
    .node_size = sizeof(Vpc),
    .create_options = vpc_create_options,
    .probe = vpc_probe,
    .open = vpc_open,
    .close = vpc_close,
    .map = vpc_map,
    .alloc = vpc_alloc,
    .link = vpc_link,
    .zero = vpc_zero,
    .flush = vpc_flush,
    .balance = vpc_balance,
    .create = vpc_create,
    .compact = vpc_compact,
};
