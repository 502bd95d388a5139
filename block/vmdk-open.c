/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening VMDK images: descriptors, and the headers of sparse extents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"
#include "vmdk.h"

#define HEADER_BYTES     512u
#define MAX_DESCRIPTOR   (256u << 10)
#define MAX_EXTENTS      512u
#define MAX_DIRECTORY    (1u << 20) /* entries */
#define MAX_GRAIN        (2u << 20)
#define CACHE_BYTES      (16u << 20)
#define DIRECTORY_AT_END UINT64_MAX

static const char text_magic[] = "# Disk DescriptorFile";

int vmdk_probe(const uint8_t *head, size_t bytes)
{
    if (bytes >= 4 && (ld32_le(head) == VMDK_MAGIC || ld32_le(head) == COWD_MAGIC))
        return 100;
    size_t length = sizeof(text_magic) - 1;
    return bytes > length && !g_ascii_strncasecmp((const char *)head, text_magic, length) ? 90 : 0;
}

/* ---- Descriptors ---- */

/* The value behind "key=" at a line's begin, without quotes; g_free() it. */
static char *descriptor_value(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += strspn(line, "\r\n \t");
        if (strncmp(line, key, length))
            continue;
        const char *value = line + length;
        value += strspn(value, " \t");
        if (*value != '=')
            continue;
        value++;
        value += strspn(value, " \t");
        if (*value == '"')
            return g_strndup(value + 1, strcspn(value + 1, "\"\r\n"));
        return g_strchomp(g_strndup(value, strcspn(value, "\r\n")));
    }
    return NULL;
}

static uint32_t descriptor_id(const char *text, const char *key, uint32_t none)
{
    g_autofree char *value = descriptor_value(text, key);
    return value ? (uint32_t)strtoul(value, NULL, 16) : none;
}

static bool read_descriptor(Vmdk *v, uint64_t at, uint64_t room, GError **error)
{
    const char *name = v->base.name;
    if (!room || room > MAX_DESCRIPTOR)
        return fail(error, "'%s': the descriptor is %" PRIu64 " bytes long, %u is the most", name,
                    room, MAX_DESCRIPTOR);
    v->descriptor = g_malloc0(room + 8 + 1); /* an ID may become longer */
    v->descriptor_at = at;
    v->descriptor_room = room;
    int ret = file_pread(v->base.file, at, v->descriptor, room);
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", name);
    v->cid = descriptor_id(v->descriptor, "CID", 0);
    v->parent_cid = descriptor_id(v->descriptor, "parentCID", VMDK_NO_PARENT);
    v->create_type = descriptor_value(v->descriptor, "createType");
    if (v->parent_cid != VMDK_NO_PARENT)
        v->base.backing_name = descriptor_value(v->descriptor, "parentFileNameHint");
    if (v->parent_cid != VMDK_NO_PARENT && !v->base.backing_name)
        return fail(error, "'%s': the parent image's name is missing", name);
    v->base.backing_format = g_strdup(v->base.backing_name ? "vmdk" : NULL);
    return true;
}

/* Writes another ID behind key, which begins a line, if there is one and it has the room; *now gets
 * it when it is in the file. */
static int put_id(Vmdk *v, const char *key, uint32_t id, uint32_t *now)
{
    char digits[9], *at = v->descriptor;
    while (at && strncmp(at, key, strlen(key)))
        at = (at = strchr(at, '\n')) ? at + 1 : NULL;
    if (!at)
        return 0;
    at += strlen(key);
    size_t old = strspn(at, "0123456789abcdefABCDEF"), used = strlen(v->descriptor);
    bool text = !v->descriptor_at;
    if (old > 8 || used + 8 - old > v->descriptor_room + (text ? 8 : 0))
        return 0;
    memmove(at + 8, at + old, used - (size_t)(at + old - v->descriptor) + 1);
    snprintf(digits, sizeof(digits), "%08x", id);
    memcpy(at, digits, 8);
    int ret = file_pwrite(v->base.file, v->descriptor_at, v->descriptor,
                          text ? strlen(v->descriptor) : v->descriptor_room);
    if (!ret)
        *now = id;
    return ret;
}

int vmdk_change_cid(Vmdk *v)
{
    int ret = 0;
    if (v->cid_changed)
        return 0;
    co_mutex_lock(&v->cid_lock);
    if (!v->cid_changed) {
        uint32_t cid = g_random_int() & 0x7fffffff;
        ret = put_id(v, "CID=", cid == v->cid ? cid ^ 1 : cid, &v->cid);
    }
    if (!ret)
        v->cid_changed = true;
    co_mutex_unlock(&v->cid_lock);
    return ret;
}

/* A child that is not of the parent as it was stays a stranger. */
int vmdk_begin_commit(BlkNode *node, BlkNode *base)
{
    Vmdk *v = vmdk(node), *parent = vmdk(base);
    if (base->fmt != &vmdk_format)
        return 0;
    bool ours = v->parent_cid == parent->cid;
    int ret = vmdk_change_cid(parent);
    if (!ret && ours)
        ret = put_id(v, "parentCID=", parent->cid, &v->parent_cid);
    if (!ret)
        ret = file_flush(base->file);
    return ret ? ret : file_flush(node->file);
}

/* ---- Sparse extents ---- */

typedef struct SparseHeader {
    uint32_t version, flags, table_entries;
    uint64_t sectors, grain, descriptor, descriptor_sectors, redundant, directory, overhead;
    uint16_t compression;
} SparseHeader;

static SparseHeader decode(const uint8_t *h)
{
    return (SparseHeader){.version = ld32_le(h + 4),
                          .flags = ld32_le(h + 8),
                          .sectors = ld64_le(h + 12),
                          .grain = ld64_le(h + 20),
                          .descriptor = ld64_le(h + 28),
                          .descriptor_sectors = ld64_le(h + 36),
                          .table_entries = ld32_le(h + 44),
                          .redundant = ld64_le(h + 48),
                          .directory = ld64_le(h + 56),
                          .overhead = ld64_le(h + 64),
                          .compression = ld16_le(h + 77)};
}

/* ESX's header, in the other one's terms. */
static SparseHeader decode_cowd(const uint8_t *h)
{
    return (SparseHeader){.version = 1,
                          .sectors = ld32_le(h + 12),
                          .grain = ld32_le(h + 16),
                          .directory = ld32_le(h + 20),
                          .table_entries = 4096,
                          .overhead = 1};
}

/* A stream's header does not know where its directory will be: the footer, the last sector but one,
 * does. */
static bool read_footer(BlkFile *file, uint8_t *h, GError **error)
{
    uint8_t footer[HEADER_BYTES];
    int ret = file->size < 3 * 512
                  ? -EINVAL
                  : file_pread(file, align_down(file->size, 512) - 1024, footer, sizeof(footer));
    if (ret || ld32_le(footer) != VMDK_MAGIC)
        return fail(error, "'%s': the footer is missing: the file was cut off", file->name);
    memcpy(h, footer, HEADER_BYTES);
    return true;
}

static bool check_sparse(const BlkFile *file, const SparseHeader *s, GError **error)
{
    const char *name = file->name;
    if (s->version < 1 || s->version > 3)
        return fail(error, "'%s' is a VMDK extent of version %u; 1 to 3 are supported", name,
                    s->version);
    if (!is_pow2(s->grain) || s->grain > MAX_GRAIN / 512)
        return fail(error, "'%s': grains of %" PRIu64 " sectors; powers of two up to %u are right",
                    name, s->grain, MAX_GRAIN / 512);
    if (!is_pow2(s->table_entries) || s->table_entries < 128 || s->table_entries > 4096)
        return fail(error, "'%s': grain tables of %u entries; 512 are right", name,
                    s->table_entries);
    if (s->flags & VMDK_FLAG_COMPRESSED && s->compression != 1)
        return fail(error, "'%s': compression method %u is unknown", name, s->compression);
    if (!s->sectors || s->sectors > INT64_MAX / 512 ||
        (s->sectors - 1) / (s->grain * s->table_entries) >= MAX_DIRECTORY)
        return fail(error, "'%s' claims to be %" PRIu64 " sectors large", name, s->sectors);
    uint64_t most = file->size / 512;
    if (!s->directory || s->directory >= most || s->redundant >= most || s->overhead > most)
        return fail(error, "'%s': the grain directory is out of bounds", name);
    return true;
}

static bool read_directory(VmdkExtent *e, uint64_t at, uint32_t **out, GError **error)
{
    uint32_t *directory = block_try_malloc(e->directory_entries * 4ULL);
    int ret = directory ? file_pread(e->file, at, directory, e->directory_entries * 4ULL) : -ENOMEM;
    *out = directory;
    for (unsigned i = 0; i < e->directory_entries && !ret; i++)
        directory[i] = ld32_le(&directory[i]);
    return !ret || fail_errno(error, -ret, "'%s': cannot read the grain directory", e->file->name);
}

/* e->file is open.  descriptor: gets the place of an embedded one, or NULL. */
static bool open_sparse(Vmdk *v, VmdkExtent *e, SparseHeader *s, GError **error)
{
    uint8_t h[HEADER_BYTES];
    BlkFile *file = e->file;
    int ret = file_pread(file, 0, h, sizeof(h));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", file->name);
    bool cowd = ld32_le(h) == COWD_MAGIC;
    if (file->size < HEADER_BYTES || (!cowd && ld32_le(h) != VMDK_MAGIC))
        return fail(error, "'%s' is no sparse VMDK extent", file->name);
    uint64_t descriptor = ld64_le(h + 28), descriptor_sectors = ld64_le(h + 36);
    if (!cowd && ld64_le(h + 56) == DIRECTORY_AT_END && !read_footer(file, h, error))
        return false;
    *s = cowd ? decode_cowd(h) : decode(h);
    if (!check_sparse(file, s, error))
        return false;
    s->descriptor = cowd ? 0 : descriptor; /* the footer does not repeat it */
    s->descriptor_sectors = descriptor_sectors;
    e->grain = (unsigned)s->grain * 512;
    e->table_entries = s->table_entries;
    e->bytes = e->bytes ? e->bytes : s->sectors * 512;
    if (e->bytes > s->sectors * 512)
        return fail(error, "'%s' is smaller than the descriptor says", file->name);
    uint64_t reach = (uint64_t)e->grain * e->table_entries;
    e->directory_entries = (unsigned)((s->sectors * 512 + reach - 1) / reach);
    e->compressed = s->flags & VMDK_FLAG_COMPRESSED;
    e->markers = s->flags & VMDK_FLAG_MARKERS;
    e->zero_grains = s->flags & VMDK_FLAG_ZERO_GRAINS;
    e->directory_at = s->directory * 512;
    e->redundant_at = s->redundant * 512;
    e->first_data = MAX(s->overhead, 1) * 512;
    e->end = align_up(file->size, e->compressed ? 512 : e->grain);
    if (!read_directory(e, e->directory_at, &e->directory, error))
        return false;
    if (s->flags & VMDK_FLAG_REDUNDANT && s->redundant &&
        !read_directory(e, e->redundant_at, &e->redundant, error))
        return false;
    meta_init(&e->tables, file, MIN(e->table_entries * 4, 2048),
              v->base.mode.l2_cache ? v->base.mode.l2_cache : CACHE_BYTES);
    return true;
}

/* ---- Extents of a descriptor ---- */

/* An image whose format was guessed must not reach into other folders. */
static char *extent_path(const Vmdk *v, const char *name, GError **error)
{
    if (v->base.probed && strchr(name, '/')) {
        fail(error,
             "'%s': the extent '%s' lies in another folder; if you trust the image, say format "
             "vmdk to open it",
             v->base.name, name);
        return NULL;
    }
    return backing_path(v->base.name, name);
}

static bool open_extent_file(Vmdk *v, VmdkExtent *e, const char *name, GError **error)
{
    uint64_t device, inode;
    if (!host_file_identity(v->base.file, &device, &inode))
        return fail(error, "'%s' is no file of this host, and cannot name one", v->base.name);
    g_autofree char *path = extent_path(v, name, error);
    if (!path)
        return false;
    HostFileMode mode = v->base.mode.file;
    mode.writable = !v->base.readonly;
    e->file = host_file_open(v->base.sched, path, mode, error);
    e->owned = true;
    return e->file || fail_prefix(error, "extent of '%s'", v->base.name);
}

static bool check_flat(const Vmdk *v, const VmdkExtent *e, GError **error)
{
    if (e->offset <= e->file->size && e->bytes <= e->file->size - e->offset)
        return true;
    return fail(error, "'%s': the extent '%s' is shorter than the descriptor says", v->base.name,
                e->file->name);
}

/* access sectors type "name" offset */
static bool add_extent(Vmdk *v, VmdkExtent *e, const char *line, GError **error)
{
    char access[12], type[16], name[512] = "";
    uint64_t sectors, offset = 0;
    SparseHeader header;
    int fields = sscanf(line, "%11s %" SCNu64 " %15s \"%511[^\"\r\n]\" %" SCNu64, access, &sectors,
                        type, name, &offset);
    if (fields < 3 || !sectors || sectors > INT64_MAX / 512 || offset > INT64_MAX / 512)
        return fail(error, "'%s': the descriptor has a line '%s'", v->base.name, line);
    e->type = g_strdup(type);
    e->bytes = sectors * 512;
    e->offset = offset * 512;
    if (!strcmp(access, "NOACCESS") || (!strcmp(access, "RDONLY") && !v->base.readonly))
        return fail(error, "'%s': an extent is %s", v->base.name, access);
    if (!strcmp(type, "ZERO"))
        return true;
    bool sparse = !strcmp(type, "SPARSE") || !strcmp(type, "VMFSSPARSE");
    e->flat = !strcmp(type, "FLAT") || !strcmp(type, "VMFS");
    if (!sparse && !e->flat)
        return fail(error, "'%s': extents of type '%s' are not supported", v->base.name, type);
    if (!*name)
        return fail(error, "'%s': an extent has no file name", v->base.name);
    if (!open_extent_file(v, e, name, error))
        return false;
    return e->flat ? check_flat(v, e, error) : open_sparse(v, e, &header, error);
}

static bool is_extent_line(const char *line)
{
    return g_str_has_prefix(line, "RW ") || g_str_has_prefix(line, "RDONLY ") ||
           g_str_has_prefix(line, "NOACCESS ");
}

static bool open_text(Vmdk *v, GError **error)
{
    if (!read_descriptor(v, 0, v->base.file->size, error))
        return false;
    g_auto(GStrv) lines = g_strsplit(v->descriptor, "\n", -1);
    for (unsigned i = 0; lines[i]; i++) {
        const char *line = g_strstrip(lines[i]);
        if (!is_extent_line(line))
            continue;
        if (v->count == MAX_EXTENTS)
            return fail(error, "'%s' has more than %u extents", v->base.name, MAX_EXTENTS);
        v->extents = g_renew(VmdkExtent, v->extents, v->count + 1);
        VmdkExtent *e = &v->extents[v->count++];
        *e = (VmdkExtent){0};
        if (!add_extent(v, e, line, error))
            return false;
    }
    return v->count || fail(error, "'%s': the descriptor names no extent", v->base.name);
}

static bool open_monolithic(Vmdk *v, GError **error)
{
    SparseHeader s;
    v->extents = g_new0(VmdkExtent, 1);
    v->count = 1;
    v->extents[0].file = v->base.file;
    v->extents[0].type = g_strdup("");
    if (!open_sparse(v, &v->extents[0], &s, error))
        return false;
    if (!s.descriptor)
        return true;
    if (s.descriptor >= v->base.file->size / 512 || s.descriptor_sectors > MAX_DESCRIPTOR / 512)
        return fail(error, "'%s': the descriptor is out of bounds", v->base.name);
    return read_descriptor(v, s.descriptor * 512, s.descriptor_sectors * 512, error);
}

/* ---- The image ---- */

/* One tracker orders the requests by the largest grain: smaller ones must not straddle it. */
static bool lay_out(Vmdk *v, GError **error)
{
    BlkNode *node = &v->base;
    node->cluster = 512;
    node->flat = true;
    for (unsigned i = 0; i < v->count; i++) {
        VmdkExtent *e = &v->extents[i];
        e->start = node->size;
        if (e->bytes > (uint64_t)INT64_MAX - 511 - node->size)
            return fail(error, "'%s' is too large", node->name);
        node->size += e->bytes;
        if (!e->directory)
            continue;
        node->flat = false;
        node->cluster = MAX(node->cluster, e->grain);
        node->compressed_only |= e->compressed;
        if (e->compressed)
            node->packed_max = VMDK_MARKER_BYTES + e->grain + e->grain / 8 + 64;
        if (!node->readonly && e->start % e->grain)
            return fail(error, "'%s': extents that are no whole grains can only be read",
                        node->name);
    }
    if (node->compressed_only && v->count > 1 && !node->readonly)
        return fail(error, "'%s': compressed extents among others can only be read", node->name);
    return true;
}

bool vmdk_open(BlkNode *node, GError **error)
{
    Vmdk *v = vmdk(node);
    uint8_t magic[4] = {0};
    v->parent_cid = VMDK_NO_PARENT;
    int ret = file_pread(node->file, 0, magic, MIN(node->file->size, sizeof(magic)));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", node->name);
    bool binary = ld32_le(magic) == VMDK_MAGIC || ld32_le(magic) == COWD_MAGIC;
    bool text = magic[0] == '#';
    if (!binary && !text)
        return fail(error, "'%s' is no VMDK image", node->name);
    if ((binary ? open_monolithic(v, error) : open_text(v, error)) && lay_out(v, error))
        return true;
    vmdk_close(node);
    return false;
}

void vmdk_close(BlkNode *node)
{
    Vmdk *v = vmdk(node);
    for (unsigned i = 0; i < v->count; i++) {
        VmdkExtent *e = &v->extents[i];
        if (e->tables.pages)
            meta_fini(&e->tables);
        g_free(e->directory);
        g_free(e->redundant);
        g_free(e->type);
        if (e->owned)
            file_close(e->file);
    }
    g_free(v->extents);
    g_free(v->descriptor);
    g_free(v->create_type);
}
