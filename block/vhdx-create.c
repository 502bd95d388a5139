/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creating VHDX images. */
#include <errno.h>
#include <string.h>

#include "crc32c.h"
#include "util/bytes.h"
#include "util/error.h"
#include "vhdx.h"

#define LOG_AT   (1ULL * VHDX_MIB)
#define MAX_SIZE (64ULL << 40)
#define MAX_LOG  (64ULL << 20)

const CreateOption vhdx_create_options[] = {
    {"subformat", "dynamic (default) or fixed"},
    {"block_size", "1M to 256M, a power of two; 0: by the disk's size"},
    {"log_size", "1M to 64M"},
    {"block_state_zero", "off: blocks that were never written are undefined, not zeros"},
    {NULL, NULL},
};

typedef struct VhdxSpec {
    uint64_t size, block, log;
    bool fixed, zero_state;
    uint64_t table_at, table_bytes, metadata_at, blocks, ratio, data_at;
} VhdxSpec;

/* Larger disks get larger blocks, so that the table stays small. */
static uint64_t default_block(uint64_t size)
{
    uint64_t mib = size > 32ULL << 40 ? 64 : size > 100ULL << 30 ? 32 : size > 1ULL << 30 ? 16 : 8;
    return mib * VHDX_MIB;
}

static bool read_options(VhdxSpec *s, const Options *options, GError **error)
{
    static const char *const words[] = {"dynamic", "fixed", NULL};
    unsigned how = 0;
    s->log = VHDX_MIB;
    s->zero_state = true;
    if (options && (!options_get_enum(options, "subformat", words, &how, error) ||
                    !options_get_size(options, "block_size", &s->block, error) ||
                    !options_get_size(options, "log_size", &s->log, error) ||
                    !options_get_bool(options, "block_state_zero", &s->zero_state, error)))
        return false;
    s->fixed = how == 1;
    if (!s->block)
        s->block = default_block(s->size);
    if (!is_pow2(s->block) || s->block < VHDX_MIB || s->block > 256 * VHDX_MIB)
        return fail(error, "block_size takes a power of two from 1M to 256M");
    if (s->log % VHDX_MIB || s->log < VHDX_MIB || s->log > MAX_LOG)
        return fail(error, "log_size takes a multiple of 1M up to 64M");
    return true;
}

static int write_headers(BlkFile *file, const VhdxSpec *s)
{
    uint8_t h[VHDX_HEADER_BYTES] = {0};
    int ret = 0;
    memcpy(h, "head", 4);
    create_uuid(h + 16);
    create_uuid(h + 32);
    st16_le(h + 66, 1);
    st32_le(h + 68, (uint32_t)s->log);
    st64_le(h + 72, LOG_AT);
    for (unsigned i = 0; i < 2 && !ret; i++) {
        st64_le(h + 8, i + 1);
        st32_le(h + 4, crc32c_without(h, sizeof(h), 4));
        ret = file_pwrite(file, VHDX_HEADER_AT * (i + 1), h, sizeof(h));
    }
    return ret;
}

static void put_region(uint8_t *e, const uint8_t *guid, uint64_t offset, uint64_t bytes)
{
    memcpy(e, guid, VHDX_GUID_BYTES);
    st64_le(e + 16, offset);
    st32_le(e + 24, (uint32_t)bytes);
    st32_le(e + 28, 1);
}

static int write_regions(BlkFile *file, const VhdxSpec *s)
{
    g_autofree uint8_t *t = g_malloc0(VHDX_REGION_BYTES);
    memcpy(t, "regi", 4);
    st32_le(t + 8, 2);
    put_region(t + 16, vhdx_guid_table, s->table_at, s->table_bytes);
    put_region(t + 48, vhdx_guid_metadata, s->metadata_at, VHDX_MIB);
    st32_le(t + 4, crc32c_without(t, VHDX_REGION_BYTES, 4));
    int ret = file_pwrite(file, VHDX_REGION_AT, t, VHDX_REGION_BYTES);
    return ret ? ret : file_pwrite(file, VHDX_REGION_AT + VHDX_REGION_BYTES, t, VHDX_REGION_BYTES);
}

/* Items stand behind the 64 KiB of the table of items; bits: of the disk (2), required (4). */
static int write_metadata(BlkFile *file, const VhdxSpec *s)
{
    const struct {
        const uint8_t *guid;
        uint32_t bytes, bits;
    } items[] = {{vhdx_guid_parameters, 8, 4},
                 {vhdx_guid_size, 8, 6},
                 {vhdx_guid_page83, 16, 6},
                 {vhdx_guid_sector, 4, 6},
                 {vhdx_guid_physical, 4, 6}};
    uint8_t table[512] = "metadata", data[64] = {0};
    uint32_t at = 0;
    st16_le(table + 10, G_N_ELEMENTS(items));
    for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
        uint8_t *e = table + 32 + i * 32;
        memcpy(e, items[i].guid, VHDX_GUID_BYTES);
        st32_le(e + 16, (64u << 10) + at);
        st32_le(e + 20, items[i].bytes);
        st32_le(e + 24, items[i].bits);
        at += items[i].bytes;
    }
    st32_le(data, (uint32_t)s->block);
    st32_le(data + 4, s->fixed ? VHDX_PARAM_FIXED : 0);
    st64_le(data + 8, s->size);
    create_uuid(data + 16);
    st32_le(data + 32, 512);
    st32_le(data + 36, 512);
    int ret = file_pwrite(file, s->metadata_at, table, sizeof(table));
    return ret ? ret : file_pwrite(file, s->metadata_at + (64u << 10), data, sizeof(data));
}

/* The entries of blocks; those of bitmaps, which only children use, stay 0. */
static int write_table(BlkFile *file, const VhdxSpec *s)
{
    uint64_t entries = s->blocks + (s->blocks - 1) / s->ratio, block = 0;
    uint8_t buffer[4096];
    int ret = 0;
    for (uint64_t first = 0; first < entries && !ret; first += sizeof(buffer) / 8) {
        uint64_t n = MIN(entries - first, sizeof(buffer) / 8);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t entry = s->zero_state ? VHDX_ZERO : VHDX_NOT_PRESENT;
            if ((first + i) % (s->ratio + 1) == s->ratio)
                entry = 0;
            else if (s->fixed)
                entry = (s->data_at + block++ * s->block) | VHDX_PRESENT;
            st64_le(buffer + i * 8, entry);
        }
        ret = file_pwrite(file, s->table_at + first * 8, buffer, n * 8);
    }
    return ret;
}

static int write_image(BlkFile *file, const VhdxSpec *s)
{
    uint8_t id[512] = "vhdxfile";
    static const char creator[] = "vmrun";
    uint64_t end = s->data_at + (s->fixed ? s->blocks * s->block : 0);
    for (unsigned i = 0; creator[i]; i++)
        id[8 + i * 2] = (uint8_t)creator[i];
    int ret = file_zero(file, 0, s->data_at, false);
    if (!ret && s->fixed)
        ret = file_zero(file, s->data_at, end - s->data_at, true);
    if (!ret)
        ret = write_table(file, s);
    if (!ret)
        ret = write_metadata(file, s);
    if (!ret)
        ret = write_regions(file, s);
    if (!ret)
        ret = write_headers(file, s);
    if (!ret)
        ret = file_flush(file);
    return ret ? ret : file_pwrite(file, 0, id, sizeof(id));
}

bool vhdx_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    VhdxSpec s = {.size = align_up(spec->size, 512)};
    if (!read_options(&s, spec->options, error))
        return false;
    if (!s.size)
        return fail(error, "a VHDX image cannot be empty");
    if (s.size > MAX_SIZE)
        return fail(error, "%" PRIu64 " bytes are too many for a VHDX image", s.size);
    s.blocks = (s.size + s.block - 1) / s.block;
    s.ratio = (512ULL << 23) / s.block;
    s.table_at = LOG_AT + s.log;
    s.table_bytes = align_up((s.blocks + (s.blocks - 1) / s.ratio) * 8, VHDX_MIB);
    s.metadata_at = s.table_at + s.table_bytes;
    s.data_at = s.metadata_at + VHDX_MIB;
    if (!create_begin(file, error))
        return false;
    int ret = write_image(file, &s);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}
