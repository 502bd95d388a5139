/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: header, opening and closing.  (QEMU docs/interop/qcow2.txt)
 *
 * A header may claim anything: every size is bounded before it is used, and nothing is allocated
 * that is larger than a few megabytes.
 */
#include "qcow2.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "luks.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"

/* ---- Complaints ---- */

static void complain(Qcow2 *q, const char *format, va_list args)
{
    g_autofree char *text = g_strdup_vprintf(format, args);
    if (!q->warned)
        report_error("'%s' is damaged: %s; see vmrun-img check", q->base.name, text);
    q->warned = true;
}

int qcow2_bad(Qcow2 *q, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(q, format, args);
    va_end(args);
    return -EIO;
}

int qcow2_corrupt(Qcow2 *q, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(q, format, args);
    va_end(args);
    if (!q->corrupt && !q->base.readonly && q->version >= 3) {
        q->incompatible |= INCOMPAT_CORRUPT;
        if (!qcow2_write_features(q))
            file_flush(q->base.file);
    }
    q->corrupt = true;
    return -EIO;
}

int qcow2_write_features(Qcow2 *q)
{
    uint8_t bits[24];
    if (q->version < 3)
        return 0;
    st64_be(bits, q->incompatible);
    st64_be(bits + 8, q->compatible);
    st64_be(bits + 16, q->autoclear);
    return file_pwrite(q->base.file, H_INCOMPATIBLE, bits, sizeof(bits));
}

/* ---- Features ---- */

typedef struct FeatureName {
    uint8_t type, bit;
    char name[46];
} FeatureName;

static const char *const known_incompatible[] = {"dirty", "corrupt", "external data file",
                                                 "compression type", "extended L2 entries"};

/* The names of the bits, from the table that the image brings, or else their numbers. */
static char *feature_names(uint64_t bits, const uint8_t *table, uint32_t bytes)
{
    GString *names = g_string_new(NULL);
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(bits & (1ULL << bit)))
            continue;
        g_string_append(names, names->len ? ", " : "");
        uint32_t i = 0;
        while (i + sizeof(FeatureName) <= bytes && (table[i] != 0 || table[i + 1] != bit))
            i += sizeof(FeatureName);
        bool found = i + sizeof(FeatureName) <= bytes;
        const char *text = found ? (const char *)table + i + 2 : "";
        if (text[0] && g_utf8_validate(text, (gssize)strnlen(text, 46), NULL))
            g_string_append_printf(names, "%.46s", text);
        else if (bit < G_N_ELEMENTS(known_incompatible))
            g_string_append(names, known_incompatible[bit]);
        else
            g_string_append_printf(names, "unknown feature %u", bit);
    }
    return g_string_free(names, FALSE);
}

static bool check_features(Qcow2 *q, const uint8_t *table, uint32_t bytes, GError **error)
{
    const char *name = q->base.name;
    uint64_t bad = q->incompatible & ~(INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_DATA_FILE |
                                       INCOMPAT_COMPRESSION | INCOMPAT_EXTENDED_L2);
    if (bad) {
        g_autofree char *names = feature_names(bad, table, bytes);
        return fail(error, "'%s' uses qcow2 features that are not supported here: %s", name, names);
    }
    if ((q->incompatible & INCOMPAT_CORRUPT) && !q->base.readonly && !q->base.mode.repair)
        return fail(error,
                    "'%s' is marked corrupt; it can be read (readonly=on) or repaired "
                    "(vmrun-img check -r all)",
                    name);
    if (q->compression > 1)
        return fail(error, "'%s' is compressed in an unknown way (type %u)", name, q->compression);
    if (!(q->incompatible & INCOMPAT_COMPRESSION) != !q->compression)
        return fail(error, "'%s': compression type %u contradicts the feature bits", name,
                    q->compression);
    return true;
}

/* ---- Header extensions ---- */

typedef struct Extensions {
    uint8_t *features; /* the feature name table */
    uint32_t feature_bytes;
} Extensions;

static bool read_extension(Qcow2 *q, Extensions *x, uint32_t type, const uint8_t *data,
                           uint32_t bytes, GError **error)
{
    switch (type) {
    case EXT_BACKING_FORMAT:
        g_free(q->base.backing_format);
        q->base.backing_format = g_strndup((const char *)data, bytes);
        return true;
    case EXT_FEATURE_NAMES:
        g_free(x->features);
        x->features = g_memdup2(data, bytes);
        x->feature_bytes = bytes;
        return true;
    case EXT_BITMAPS:
        if (bytes < 24)
            return fail(error, "'%s': the bitmaps extension is too short", q->base.name);
        q->has_bitmaps = q->autoclear & AUTOCLEAR_BITMAPS;
        q->bitmap_count = ld32_be(data);
        q->bitmaps_bytes = ld64_be(data + 8);
        q->bitmaps_offset = ld64_be(data + 16);
        return true;
    case EXT_DATA_FILE:
        g_free(q->data_name);
        q->data_name = g_strndup((const char *)data, bytes);
        return true;
    case EXT_CRYPTO:
        if (bytes < 16)
            return fail(error, "'%s': the encryption extension is too short", q->base.name);
        q->crypt_offset = ld64_be(data);
        q->crypt_bytes = ld64_be(data + 8);
        return true;
    default: /* to be kept */
        if (!q->unknown_extensions)
            q->unknown_extensions = g_byte_array_new();
        g_byte_array_append(q->unknown_extensions, data - 8, (guint)align_up(bytes + 8ULL, 8));
        return true;
    }
}

static bool read_extensions(Qcow2 *q, const uint8_t *header, uint64_t end, Extensions *x,
                            GError **error)
{
    uint64_t at = q->header_bytes;
    while (at + 8 <= end) {
        uint32_t type = ld32_be(header + at), bytes = ld32_be(header + at + 4);
        at += 8;
        if (type == EXT_END)
            return true;
        if (bytes > end - at || align_up(bytes, 8) > qcow2_cluster_bytes(q) - at)
            return fail(error, "'%s': a header extension is longer than the header", q->base.name);
        if (!read_extension(q, x, type, header + at, bytes, error))
            return false;
        at += align_up(bytes, 8);
    }
    return true;
}

/* ---- The header ---- */

static bool read_geometry(Qcow2 *q, const uint8_t *h, GError **error)
{
    const char *name = q->base.name;
    uint32_t crypt = ld32_be(h + H_CRYPT_METHOD);
    q->version = ld32_be(h + H_VERSION);
    q->cluster_bits = ld32_be(h + H_CLUSTER_BITS);
    q->refcount_order = 4;
    q->header_bytes = H_V2_BYTES;
    if (ld32_be(h + H_MAGIC) != QCOW_MAGIC)
        return fail(error, "'%s' is no qcow2 image", name);
    if (q->version < 2 || q->version > 3)
        return fail(error, "'%s' is of qcow version %u; 2 and 3 are supported%s", name, q->version,
                    q->version == 1 ? " (and 1 as format qcow)" : "");
    if (q->cluster_bits < MIN_CLUSTER_BITS || q->cluster_bits > MAX_CLUSTER_BITS)
        return fail(error, "'%s': clusters of 2^%u bytes; 2^%d to 2^%d are right", name,
                    q->cluster_bits, MIN_CLUSTER_BITS, MAX_CLUSTER_BITS);
    q->crypt_method = crypt;
    if (crypt > CRYPT_LUKS)
        return fail(error, "'%s' is encrypted in an unknown way (method %u)", name, crypt);
    if (q->version == 3) {
        q->incompatible = ld64_be(h + H_INCOMPATIBLE);
        q->compatible = ld64_be(h + H_COMPATIBLE);
        q->autoclear = ld64_be(h + H_AUTOCLEAR);
        q->refcount_order = ld32_be(h + H_REFCOUNT_ORDER);
        q->header_bytes = ld32_be(h + H_HEADER_LENGTH);
    }
    if (q->refcount_order > 6)
        return fail(error, "'%s': refcounts of 2^%u bits; 64 is the most", name, q->refcount_order);
    uint32_t least = q->version == 3 ? H_V3_BYTES : H_V2_BYTES;
    if (q->header_bytes < least || q->header_bytes > 1u << q->cluster_bits)
        return fail(error, "'%s': a header of %u bytes is impossible", name, q->header_bytes);
    q->cluster_mask = (1ULL << q->cluster_bits) - 1;
    bool extended = q->incompatible & INCOMPAT_EXTENDED_L2;
    if (extended && q->cluster_bits < MIN_EXTENDED_BITS)
        return fail(error, "'%s': subclusters in clusters of 2^%u bytes; 2^%d are the least", name,
                    q->cluster_bits, MIN_EXTENDED_BITS);
    q->entry_shift = extended ? 4 : 3;
    q->subs = extended ? SUBCLUSTERS : 1;
    q->sub_bits = q->cluster_bits - (extended ? 5 : 0);
    q->l2_bits = q->cluster_bits - q->entry_shift;
    q->refblock_bits = q->cluster_bits + 3 - q->refcount_order;
    q->base.cluster = 1u << q->cluster_bits;
    q->base.zero_unit = 1u << q->sub_bits;
    return true;
}

static bool read_backing_name(Qcow2 *q, const uint8_t *h, uint64_t *extensions_end, GError **error)
{
    uint64_t offset = ld64_be(h + H_BACKING_OFFSET);
    uint32_t bytes = ld32_be(h + H_BACKING_SIZE);
    *extensions_end = qcow2_cluster_bytes(q);
    if (!offset)
        return true;
    if (offset > q->cluster_mask || bytes > 1023 || bytes > q->cluster_mask + 1 - offset)
        return fail(error, "'%s': the backing file's name lies outside the header", q->base.name);
    *extensions_end = MAX(offset, q->header_bytes);
    q->backing_at = offset;
    if (bytes)
        q->base.backing_name = g_strndup((const char *)h + offset, bytes);
    return true;
}

/* Reading does without the refcount table, and repair makes a new one. */
static bool check_reftable_place(Qcow2 *q, GError **error)
{
    GError *why = NULL;
    if (!q->rt_clusters || q->rt_clusters > MAX_REFTABLE_BYTES >> q->cluster_bits)
        fail(&why, "'%s': a refcount table of %u clusters is impossible", q->base.name,
             q->rt_clusters);
    else if ((q->rt_offset & q->cluster_mask) || q->rt_offset > INT64_MAX - MAX_REFTABLE_BYTES)
        fail(&why, "'%s': the refcount table is out of bounds", q->base.name);
    else
        return true;
    if (!q->base.readonly && !q->base.mode.repair) {
        g_propagate_error(error, why);
        return false;
    }
    report_warn("%s", why->message);
    g_error_free(why);
    q->rt_clusters = 0;
    q->rt_offset = 0;
    return true;
}

static bool read_tables_place(Qcow2 *q, const uint8_t *h, GError **error)
{
    const char *name = q->base.name;
    q->base.size = ld64_be(h + H_SIZE);
    q->l1_offset = ld64_be(h + H_L1_OFFSET);
    q->l1_entries = ld32_be(h + H_L1_SIZE);
    q->rt_offset = ld64_be(h + H_REFTABLE_OFFSET);
    q->rt_clusters = ld32_be(h + H_REFTABLE_CLUSTERS);
    q->snapshots_offset = ld64_be(h + H_SNAPSHOTS_OFFSET);
    if (q->base.size > INT64_MAX - q->cluster_mask - 511)
        return fail(error, "'%s' claims to be %" PRIu64 " bytes large", name, q->base.size);
    q->base.size = align_up(q->base.size, 512);
    unsigned reach = q->cluster_bits + q->l2_bits;
    uint64_t needed = (q->base.size + (1ULL << reach) - 1) >> reach;
    if (q->l1_entries > MAX_L1_BYTES / 8)
        return fail(error, "'%s': an L1 table of %u entries is too large", name, q->l1_entries);
    if (q->l1_entries < needed)
        return fail(error, "'%s': the L1 table is too small for the image", name);
    if ((q->l1_offset & q->cluster_mask) || q->l1_offset > INT64_MAX - MAX_L1_BYTES)
        return fail(error, "'%s': the L1 table is out of bounds", name);
    return check_reftable_place(q, error);
}

/* The extension counts only with its feature bit; and the bit without it leaves the file to be
 * named. */
static void settle_data_name(Qcow2 *q)
{
    if (!(q->incompatible & INCOMPAT_DATA_FILE))
        g_clear_pointer(&q->data_name, g_free);
    else if (!q->data_name)
        q->data_name = g_strdup("");
    if (!q->data_name)
        q->autoclear &= ~AUTOCLEAR_RAW_DATA;
}

static bool read_header(Qcow2 *q, GError **error)
{
    BlkFile *file = q->base.file;
    Extensions x = {0};
    uint64_t extensions_end;
    uint8_t first[H_V3_BYTES + 1] = {0};
    if (file->size < H_V2_BYTES)
        return fail(error, "'%s' is too short for a qcow2 image", q->base.name);
    int ret = file_pread(file, 0, first, sizeof(first));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", q->base.name);
    if (!read_geometry(q, first, error))
        return false;
    g_autofree uint8_t *h = g_malloc(qcow2_cluster_bytes(q));
    ret = file_pread(file, 0, h, qcow2_cluster_bytes(q));
    if (ret)
        return fail_errno(error, -ret, "cannot read '%s'", q->base.name);
    q->compression = q->header_bytes > H_COMPRESSION ? h[H_COMPRESSION] : 0;
    if (q->header_bytes > H_V3_BYTES + 8)
        q->extra_header = g_memdup2(h + H_V3_BYTES + 8, q->header_bytes - H_V3_BYTES - 8);
    bool ok =
        read_backing_name(q, h, &extensions_end, error) &&
        read_extensions(q, h, extensions_end, &x, error) &&
        check_features(q, x.features, x.feature_bytes, error) && read_tables_place(q, h, error) &&
        qcow2_load_snapshots(q, ld32_be(h + H_SNAPSHOTS), error) && qcow2_load_bitmaps(q, error);
    if (ok)
        settle_data_name(q);
    g_free(x.features);
    return ok;
}

/* ---- Tables ---- */

uint64_t *qcow2_read_table(Qcow2 *q, uint64_t offset, uint32_t entries, int *ret)
{
    uint64_t *table = block_try_malloc(MAX(entries, 1) * 8ULL);
    *ret = table ? file_pread(q->base.file, offset, table, entries * 8ULL) : -ENOMEM;
    if (*ret) {
        g_free(table);
        return NULL;
    }
    for (uint32_t i = 0; i < entries; i++)
        table[i] = ld64_be(&table[i]);
    return table;
}

int qcow2_load_reftable(Qcow2 *q)
{
    int ret;
    q->rt_entries = (uint32_t)(((uint64_t)q->rt_clusters << q->cluster_bits) / 8);
    uint64_t *table = qcow2_read_table(q, q->rt_offset, q->rt_entries, &ret);
    if (table) {
        g_free(q->rt);
        q->rt = table;
    }
    return ret;
}

/* ---- The external data file ---- */

/* Other programs take the name as it stands, relative to where they run; what is not there is
 * looked for beside the image. */
char *qcow2_data_path(const char *image, const char *name)
{
    const char *path = host_file_path(name);
    return access(path, F_OK) ? backing_path(image, name) : g_strdup(path);
}

static bool open_data_file(Qcow2 *q, GError **error)
{
    BlkNode *node = &q->base;
    uint64_t device, inode, other_device, other_inode;
    if (!q->data_name)
        return true;
    if (node->mode.data_file) {
        q->data_file = node->mode.data_file;
        return true;
    }
    if (!host_file_identity(node->file, &device, &inode))
        return true; /* nothing to be relative to: what needs it fails */
    const char *other = node->mode.data_name;
    if (!*q->data_name && !other)
        return fail(error, "'%s' does not name its data file", node->name);
    g_autofree char *path = other ? g_strdup(other) : qcow2_data_path(node->name, q->data_name);
    HostFileMode look = {.share = true};
    BlkFile *file = host_file_open(node->sched, path, look, error);
    bool same = file && host_file_identity(file, &other_device, &other_inode) &&
                device == other_device && inode == other_inode;
    if (file)
        file_close(file);
    if (same)
        return fail(error, "'%s' is its own data file", node->name);
    if (file)
        q->data_file = host_file_open(node->sched, path, node->mode.file, error);
    return q->data_file || fail_prefix(error, "data file of '%s'", node->name);
}

static void qcow2_close(BlkNode *node)
{
    Qcow2 *q = qcow2(node);
    qcow2_close_crypt(q);
    if (q->data_file && !node->mode.data_file)
        file_close(q->data_file);
    g_free(q->data_name);
    g_free(q->extra_header);
    if (q->unknown_extensions)
        g_byte_array_unref(q->unknown_extensions);
    meta_fini(&q->l2);
    meta_fini(&q->refcounts);
    qcow2_free_snapshots(q);
    qcow2_free_bitmaps(q);
    g_clear_pointer(&q->metadata, g_hash_table_unref);
    if (q->pending_free)
        g_array_free(q->pending_free, TRUE);
    g_free(q->l1);
    g_free(q->rt);
}

static void report_repair(void *opaque, const char *line)
{
    report_warn("%s", line);
}

/* The last writer kept refcounts in memory and did not come to write them: they are counted anew.
 */
static bool repair_dirty(Qcow2 *q, GError **error)
{
    CheckResult result = {0};
    report_warn("'%s' was not closed properly; its reference counts are rebuilt", q->base.name);
    int ret = qcow2_check(&q->base, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &result, report_repair, q);
    if (ret)
        return fail_errno(error, -ret, "cannot repair '%s'", q->base.name);
    if (result.corruptions || result.check_errors)
        return fail(error,
                    "'%s' is damaged beyond what can be repaired at once; see vmrun-img check",
                    q->base.name);
    return true;
}

/* The active tables are those of a snapshot. */
static bool choose_snapshot(Qcow2 *q, GError **error)
{
    BlkNode *node = &q->base;
    unsigned n;
    if (!node->readonly)
        return fail(error, "'%s': a snapshot in it can only be read", node->name);
    if (!node_snapshot_find(node, node->mode.snapshot, &n))
        return fail(error, "'%s' has no snapshot '%s'", node->name, node->mode.snapshot);
    const Qcow2Snapshot *s = &q->snapshots[n];
    if (s->fault)
        return fail(error, "'%s': snapshot '%s': %s", node->name, s->info.name, s->fault);
    if (s->disk_size > INT64_MAX - q->cluster_mask - 511 ||
        qcow2_l1_needed(q, s->disk_size) > s->l1_entries)
        return fail(error, "'%s': snapshot '%s' is of an impossible size", node->name,
                    s->info.name);
    q->l1_offset = s->l1_offset;
    q->l1_entries = s->l1_entries;
    node->size = s->disk_size;
    return true;
}

static bool qcow2_open(BlkNode *node, GError **error)
{
    Qcow2 *q = qcow2(node);
    int ret = 0;
    bool ok = read_header(q, error);
    if (ok && node->mode.snapshot)
        ok = choose_snapshot(q, error);
    if (ok) {
        unsigned page = (unsigned)MIN(qcow2_cluster_bytes(q), META_PAGE_BYTES);
        meta_init(&q->l2, node->file, page,
                  node->mode.l2_cache ? node->mode.l2_cache : L2_CACHE_BYTES);
        meta_init(&q->refcounts, node->file, page,
                  node->mode.refcount_cache ? node->mode.refcount_cache : REFCOUNT_CACHE_BYTES);
        q->l2.load = EVENT_L2_LOAD;
        q->l2.update = EVENT_L2_UPDATE;
        q->refcounts.load = EVENT_REFBLOCK_LOAD;
        q->refcounts.update = EVENT_REFBLOCK_UPDATE;
        q->pending_free = g_array_new(FALSE, FALSE, sizeof(PendingFree));
        q->l1 = qcow2_read_table(q, q->l1_offset, q->l1_entries, &ret);
        if (!ret)
            ret = qcow2_load_reftable(q);
        ok = !ret || fail_errno(error, -ret, "'%s': cannot read its tables", node->name);
        ok = ok && open_data_file(q, error) && qcow2_open_crypt(q, error);
    }
    if (ok && (q->incompatible & INCOMPAT_DIRTY) && !node->readonly && !node->mode.repair)
        ok = repair_dirty(q, error);
    if (!ok)
        qcow2_close(node);
    return ok;
}

static int qcow2_probe(const uint8_t *head, size_t bytes)
{
    bool match = bytes >= 8 && ld32_be(head) == QCOW_MAGIC && ld32_be(head + 4) >= 2;
    return match ? 100 : 0;
}

/* ---- Compression and description ---- */

static int qcow2_decompress(const BlkNode *node, const void *in, size_t in_bytes, void *out)
{
    return (qcow2(node)->compression ? unzstd_cluster : inflate_cluster)(in, in_bytes, out,
                                                                         node->cluster);
}

static int qcow2_compress(const BlkNode *node, const void *in, void *out)
{
    return (qcow2(node)->compression ? zstd_cluster : deflate_cluster)(in, node->cluster, out,
                                                                       node->cluster - 1);
}

static void detail_bitmaps(const Qcow2 *q, DetailLines *lines)
{
    if (!q->bitmap_count)
        return;
    detail_bracket(lines, "bitmaps", '[');
    for (unsigned i = 0; i < q->bitmap_count; i++) {
        const NodeBitmap *b = &q->bitmaps[i].info;
        detail_bracket(lines, NULL, '{');
        detail_bracket(lines, "flags", '[');
        if (b->inconsistent)
            detail_text(lines, NULL, "in-use");
        if (b->enabled)
            detail_text(lines, NULL, "auto");
        detail_bracket(lines, NULL, ']');
        detail_text(lines, "name", b->name);
        detail_number(lines, "granularity", b->granularity);
        detail_bracket(lines, NULL, '}');
    }
    detail_bracket(lines, NULL, ']');
}

/* LUKS's own lines, and among them what qcow2 calls it. */
static void detail_crypt(const Qcow2 *q, DetailLines *lines)
{
    NodeDetail d;
    if (!q->crypt_method)
        return;
    detail_bracket(lines, "encrypt", '{');
    for (unsigned n = 0; q->luks && luks_detail(q->luks, n, &d); n++) {
        if (d.key && !strcmp(d.key, "cipher-mode"))
            detail_text(lines, "format", "luks");
        if (lines->next++ == lines->wanted)
            *lines->out = d;
        else
            g_free(d.value);
    }
    if (!q->luks)
        detail_text(lines, "format", "aes");
    detail_bracket(lines, NULL, '}');
}

static bool qcow2_detail(const BlkNode *node, unsigned n, NodeDetail *d)
{
    const Qcow2 *q = qcow2(node);
    DetailLines lines = {.wanted = n, .out = d};
    bool v3 = q->version >= 3;
    detail_text(&lines, "compat", v3 ? "1.1" : "0.10");
    detail_text(&lines, "compression-type", q->compression ? "zstd" : "zlib");
    if (v3)
        detail_bool(&lines, "lazy-refcounts", q->compatible & COMPAT_LAZY);
    detail_bitmaps(q, &lines);
    detail_number(&lines, "refcount-bits", 1u << q->refcount_order);
    detail_crypt(q, &lines);
    if (q->data_name) {
        detail_text(&lines, "data-file", q->data_name);
        detail_bool(&lines, "data-file-raw", q->autoclear & AUTOCLEAR_RAW_DATA);
    }
    if (v3) {
        detail_bool(&lines, "corrupt", q->incompatible & INCOMPAT_CORRUPT);
        detail_bool(&lines, "extended-l2", q->subs > 1);
    }
    return n < lines.next;
}

static const NodeSnapshot *qcow2_snapshot(const BlkNode *node, unsigned n)
{
    const Qcow2 *q = qcow2(node);
    return n < q->snapshot_count ? &q->snapshots[n].info : NULL;
}

static bool qcow2_is_dirty(const BlkNode *node)
{
    return qcow2(node)->incompatible & INCOMPAT_DIRTY;
}

static BlkFile *qcow2_other_file(const BlkNode *node, unsigned n)
{
    return n ? NULL : qcow2(node)->data_file;
}

const BlkFormat qcow2_format = {
    .name = "qcow2",
    .node_size = sizeof(Qcow2),
    .create_options = qcow2_create_options,
    .backing = true,
    .backing_format = true,
    .probe = qcow2_probe,
    .open = qcow2_open,
    .finish = qcow2_finish,
    .close = qcow2_close,
    .map = qcow2_map,
    .alloc = qcow2_alloc,
    .link = qcow2_link,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .balance = qcow2_balance,
    .decompress = qcow2_decompress,
    .write_compressed = qcow2_write_compressed,
    .compress = qcow2_compress,
    .create = qcow2_create,
    .check = qcow2_check,
    .detail = qcow2_detail,
    .snapshot = qcow2_snapshot,
    .is_dirty = qcow2_is_dirty,
    .resize = qcow2_resize,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .vmstate_read = qcow2_vmstate_read,
    .vmstate_write = qcow2_vmstate_write,
    .vmstate_drop = qcow2_vmstate_drop,
    .change_backing = qcow2_change_backing,
    .amend_options = qcow2_amend_options,
    .amend = qcow2_amend,
    .compact = qcow2_compact,
    .measure = qcow2_measure,
    .bitmap = qcow2_bitmap,
    .bitmap_add = qcow2_bitmap_add,
    .bitmap_remove = qcow2_bitmap_remove,
    .bitmap_enable = qcow2_bitmap_enable,
    .bitmap_load = qcow2_bitmap_load,
    .bitmap_store = qcow2_bitmap_store,
    .touched = qcow2_touched,
    .other_file = qcow2_other_file,
};
