/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creating VMDK images. */
#include <errno.h>
#include <string.h>

#include "util/bytes.h"
#include "util/error.h"
#include "vmdk.h"

#define GRAIN_SECTORS      (VMDK_GRAIN_BYTES / 512)
#define TABLE_SECTORS      (VMDK_TABLE_LENGTH * 4 / 512)
#define DESCRIPTOR_AT      1u
#define DESCRIPTOR_SECTORS 20u
#define MAX_SPARSE_BYTES   ((2ULL << 40) - (2ULL << 30)) /* places are 32-bit sectors */

const CreateOption vmdk_create_options[] = {
    {"subformat", "monolithicSparse (default), monolithicFlat, twoGbMaxExtentSparse, "
                  "twoGbMaxExtentFlat or streamOptimized"},
    {"adapter_type", "ide (default), lsilogic, buslogic or legacyESX"},
    {"hwversion", "version of the virtual hardware (4)"},
    {"compat6", "on: virtual hardware of version 6"},
    {"toolsversion", "version of VMware's tools in the guest (2147483647: not known)"},
    {"zeroed_grain", "on: zeros take no space even over a backing file"},
    {NULL, NULL},
};

static const char *const subformats[] = {"monolithicSparse",     "monolithicFlat",
                                         "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                         "streamOptimized",      NULL};
static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};

typedef struct VmdkSpec {
    const CreateSpec *spec;
    uint64_t size;
    unsigned subformat, adapter;
    bool flat, split, compressed, zero_grains;
    char *hardware;
    const char *tools;
    uint32_t parent_cid;
} VmdkSpec;

/* ---- Sparse extents ---- */

/* A directory at sector `at`, and behind it its tables, empty. */
static int write_directory(BlkFile *file, uint64_t at, uint32_t tables, uint64_t directory_sectors)
{
    g_autofree uint8_t *directory = g_malloc0(directory_sectors * 512);
    for (uint32_t i = 0; i < tables; i++)
        st32_le(directory + i * 4ULL, (uint32_t)(at + directory_sectors + i * TABLE_SECTORS));
    return file_pwrite(file, at * 512, directory, directory_sectors * 512);
}

/* descriptor: an embedded one, or NULL.  The header comes last: before it there is no image. */
static int write_sparse(BlkFile *file, const VmdkSpec *s, uint64_t bytes, const char *descriptor)
{
    uint8_t h[512] = {0};
    uint64_t sectors = bytes / 512, grains = (sectors + GRAIN_SECTORS - 1) / GRAIN_SECTORS;
    uint32_t tables = (uint32_t)((grains + VMDK_TABLE_LENGTH - 1) / VMDK_TABLE_LENGTH);
    uint64_t directory_sectors = (tables * 4ULL + 511) / 512;
    uint64_t redundant = DESCRIPTOR_AT + DESCRIPTOR_SECTORS;
    uint64_t directory = redundant + directory_sectors + (uint64_t)tables * TABLE_SECTORS;
    uint64_t overhead =
        align_up(directory + directory_sectors + (uint64_t)tables * TABLE_SECTORS, GRAIN_SECTORS);
    uint32_t flags = VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT;
    if (s->compressed)
        flags |= VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
    if (s->zero_grains)
        flags |= VMDK_FLAG_ZERO_GRAINS;
    st32_le(h, VMDK_MAGIC);
    st32_le(h + 4, s->compressed ? 3 : s->zero_grains ? 2 : 1);
    st32_le(h + 8, flags);
    st64_le(h + 12, sectors);
    st64_le(h + 20, GRAIN_SECTORS);
    st64_le(h + 28, descriptor ? DESCRIPTOR_AT : 0);
    st64_le(h + 36, descriptor ? DESCRIPTOR_SECTORS : 0);
    st32_le(h + 44, VMDK_TABLE_LENGTH);
    st64_le(h + 48, redundant);
    st64_le(h + 56, directory);
    st64_le(h + 64, overhead);
    memcpy(h + 73, "\n \r\n", 4); /* tells what a text mode transfer has done to the file */
    st16_le(h + 77, s->compressed);
    int ret = file_zero(file, 0, overhead * 512, false);
    if (!ret)
        ret = write_directory(file, redundant, tables, directory_sectors);
    if (!ret)
        ret = write_directory(file, directory, tables, directory_sectors);
    if (!ret && descriptor)
        ret = file_pwrite(file, DESCRIPTOR_AT * 512, descriptor, strlen(descriptor));
    if (!ret)
        ret = file_flush(file);
    return ret ? ret : file_pwrite(file, 0, h, sizeof(h));
}

/* ---- Descriptors ---- */

static void describe_head(GString *text, const VmdkSpec *s)
{
    g_string_append_printf(text, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\n",
                           g_random_int() & 0x7fffffff, s->parent_cid);
    g_string_append_printf(text, "createType=\"%s\"\n", subformats[s->subformat]);
    if (s->spec->backing)
        g_string_append_printf(text, "parentFileNameHint=\"%s\"\n", s->spec->backing);
    g_string_append(text, "\n# Extent description\n");
}

static void describe_tail(GString *text, const VmdkSpec *s)
{
    unsigned heads = s->adapter ? 255 : 16;
    g_string_append_printf(text,
                           "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"%s\"\n"
                           "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\n"
                           "ddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
                           s->hardware, s->size / (heads * 63 * 512), heads, adapters[s->adapter],
                           s->tools);
}

static void describe_extent(GString *text, const VmdkSpec *s, uint64_t bytes, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_string_append_printf(text, "RW %" PRIu64 " %s \"%s\"%s\n", bytes / 512,
                           s->flat ? "FLAT" : "SPARSE", name, s->flat ? " 0" : "");
}

/* ---- Images of several files ---- */

static char *extent_name(const VmdkSpec *s, const char *image, unsigned number)
{
    g_autofree char *stem =
        g_str_has_suffix(image, ".vmdk") ? g_strndup(image, strlen(image) - 5) : g_strdup(image);
    if (!s->split)
        return g_strdup_printf("%s-flat.vmdk", stem);
    return g_strdup_printf("%s-%c%03u.vmdk", stem, s->flat ? 'f' : 's', number);
}

static bool create_extent(CoSched *sched, const VmdkSpec *s, const char *path, uint64_t bytes,
                          GError **error)
{
    BlkFile *file = host_file_create(sched, path, error);
    if (!file)
        return false;
    bool ok = create_begin(file, error);
    int ret = 0;
    if (ok)
        ret = s->flat ? file_truncate(file, bytes) : write_sparse(file, s, bytes, NULL);
    if (!ret && ok)
        ret = file_flush(file);
    file_close(file);
    return ok && (!ret || fail_errno(error, -ret, "cannot write '%s'", path));
}

static bool create_files(BlkFile *file, const VmdkSpec *s, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    describe_head(text, s);
    uint64_t left = s->size;
    for (unsigned n = 1; left; n++) {
        uint64_t bytes = s->split ? MIN(left, VMDK_SPLIT_BYTES) : left;
        g_autofree char *path = extent_name(s, file->name, n);
        if (!create_extent(file->sched, s, path, bytes, error))
            return false;
        describe_extent(text, s, bytes, path);
        left -= bytes;
    }
    describe_tail(text, s);
    int ret = file_pwrite(file, 0, text->str, text->len);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

static bool create_one_file(BlkFile *file, const VmdkSpec *s, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    describe_head(text, s);
    describe_extent(text, s, s->size, file->name);
    describe_tail(text, s);
    if (text->len > DESCRIPTOR_SECTORS * 512)
        return fail(error, "'%s': the descriptor is too long", file->name);
    int ret = write_sparse(file, s, s->size, text->str);
    return !ret || fail_errno(error, -ret, "cannot write '%s'", file->name);
}

/* ---- Options ---- */

static bool read_options(VmdkSpec *s, const Options *options, GError **error)
{
    bool compat6 = false;
    if (options && (!options_get_enum(options, "subformat", subformats, &s->subformat, error) ||
                    !options_get_enum(options, "adapter_type", adapters, &s->adapter, error) ||
                    !options_get_bool(options, "compat6", &compat6, error) ||
                    !options_get_bool(options, "zeroed_grain", &s->zero_grains, error)))
        return false;
    const char *hardware = options ? options_get(options, "hwversion") : NULL;
    if (hardware && compat6)
        return fail(error, "compat6 and hwversion exclude each other");
    if (hardware && strspn(hardware, "0123456789") != strlen(hardware))
        return fail(error, "hwversion takes a number, not '%s'", hardware);
    const char *tools = options ? options_get(options, "toolsversion") : NULL;
    if (tools && strspn(tools, "0123456789") != strlen(tools))
        return fail(error, "toolsversion takes a number, not '%s'", tools);
    s->tools = tools ? tools : "2147483647";
    s->hardware = g_strdup(hardware ? hardware : compat6 ? "6" : "4");
    s->flat = s->subformat == 1 || s->subformat == 3;
    s->split = s->subformat == 2 || s->subformat == 3;
    s->compressed = s->subformat == 4;
    if (s->flat && s->zero_grains)
        return fail(error, "zeroed_grain is for sparse images");
    return true;
}

/* The content ID of the parent, by which a change of it shows. */
static bool read_parent(VmdkSpec *s, BlkFile *file, GError **error)
{
    NodeMode mode = {.file = {.share = true}, .no_backing = true};
    const CreateSpec *spec = s->spec;
    s->parent_cid = VMDK_NO_PARENT;
    if (!spec->backing)
        return true;
    if (s->flat)
        return fail(error, "flat images have no backing file");
    if (strpbrk(spec->backing, "\"\r\n"))
        return fail(error, "the backing file's name cannot stand in a VMDK descriptor");
    if (spec->backing_format && strcmp(spec->backing_format, "vmdk"))
        return fail(error, "the backing file of a VMDK image must be one, too, not %s",
                    spec->backing_format);
    g_autofree char *path = backing_path(file->name, spec->backing);
    BlkNode *node = node_open(file->sched, path, "vmdk", &mode, error);
    if (!node)
        return fail_prefix(error, "backing file of '%s'", file->name);
    s->parent_cid = vmdk(node)->cid;
    node_abandon(node);
    return true;
}

bool vmdk_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    VmdkSpec s = {.spec = spec, .size = align_up(spec->size, 512)};
    bool ok = read_options(&s, spec->options, error) && read_parent(&s, file, error);
    if (ok && !s.size)
        ok = fail(error, "a VMDK image cannot be empty");
    if (ok && !s.flat && !s.split && s.size > MAX_SPARSE_BYTES)
        ok = fail(error, "%" PRIu64 " bytes are too many for a sparse VMDK extent", s.size);
    if (ok && s.split && s.size / VMDK_SPLIT_BYTES >= 512)
        ok = fail(error, "%" PRIu64 " bytes are too many for extents of 2 GB", s.size);
    ok = ok && create_begin(file, error) &&
         (s.flat || s.split ? create_files(file, &s, error) : create_one_file(file, &s, error));
    g_free(s.hardware);
    return ok;
}
