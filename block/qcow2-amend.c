/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: another backing file, other creation options, and what an image would take. */
#include <errno.h>
#include <string.h>

#include "formats.h"
#include "luks.h"
#include "qcow2-change.h"
#include "util/bytes.h"
#include "util/error.h"

/* ---- Backing file ---- */

bool qcow2_change_backing(BlkNode *node, const char *name, const char *format, GError **error)
{
    Qcow2 *q = qcow2(node);
    Qcow2Header n = qcow2_header_of(q);
    if (name && (q->autoclear & AUTOCLEAR_RAW_DATA))
        return fail(error, "'%s': an image with a raw data file cannot have a backing file",
                    node->name);
    if (name && *name && !format)
        return fail_backing_format(name, error);
    int ret = qcow2_balance(node);
    if (!ret)
        ret = qcow2_commit(q, true);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot be changed", node->name);
    n.backing_name = name && *name ? name : NULL;
    n.backing_format = n.backing_name ? format : NULL;
    g_autoptr(GByteArray) h = qcow2_build_header(q, &n, error);
    if (!h)
        return false;
    ret = qcow2_switch_header(q, h);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot change its backing file", node->name);
    q->backing_at = n.backing_at;
    char *new_name = g_strdup(n.backing_name), *new_format = g_strdup(n.backing_format);
    g_free(node->backing_name);
    g_free(node->backing_format);
    node->backing_name = new_name;
    node->backing_format = new_format;
    return true;
}

/* ---- Amend ---- */

const CreateOption qcow2_amend_options[] = {
    {"backing_file", "none but the one it has: see rebase"},
    {"backing_fmt", "the same"},
    {"compat", "1.1 (version 3) or 0.10 (version 2)"},
    {"data_file", "the data file's name"},
    {"data_file_raw", "off: the data file need not stay a raw image any more"},
    {"encrypt.state", "active: put a password into a key slot; inactive: erase slots"},
    {"encrypt.new-secret", "ID of the -object secret with the password to put in"},
    {"encrypt.old-secret", "erase the slots that this secret's password opens"},
    {"encrypt.keyslot", "0 to 7; without it a free slot is taken"},
    {"encrypt.iter-time", "milliseconds that a try of the new password takes (2000)"},
    {"lazy_refcounts", "on: other programs may keep refcounts in memory"},
    {"refcount_bits", "1 to 64, a power of two"},
    {"size", "the guest's disk"},
    {NULL, NULL},
};

/* Why the image cannot be of version 2; NULL: it can. */
static const char *why_not_v2(const Qcow2 *q, uint64_t bits, bool lazy)
{
    if (bits != 16)
        return "refcounts of other than 16 bits";
    if (lazy)
        return "lazy refcounts";
    if (q->incompatible & (INCOMPAT_COMPRESSION | INCOMPAT_EXTENDED_L2 | INCOMPAT_DATA_FILE))
        return q->compression ? "zstd compression" : q->subs > 1 ? "subclusters" : "a data file";
    if (q->bitmap_count)
        return "bitmaps";
    return q->snapshot_count ? "snapshots that may hold zero clusters" : NULL;
}

/* What reads as zeros, through what encrypts. */
static int write_zeros(const Qcow2 *q, uint64_t host)
{
    if (q->locked)
        return -EACCES;
    return file_zero(q->data ? q->data : q->base.file, host, qcow2_cluster_bytes(q), false);
}

/* Zero clusters of a table become none, or data where the backing file would show through. */
static int spell_zeros(Change *c, uint8_t *table, bool backing, bool *changed)
{
    const Qcow2 *q = c->q;
    int ret = 0;
    for (unsigned i = 0; i < 1u << q->l2_bits && !ret; i++) {
        L2Entry entry = qcow2_table_entry(q, table, i);
        uint64_t host = entry.word & ENTRY_OFFSET;
        if ((entry.word & ENTRY_COMPRESSED) || !(entry.word & ENTRY_ZERO))
            continue;
        *changed = true;
        if (host)
            ret = change_count(c, host, 1, -1);
        entry.word = 0;
        if (!ret && backing) {
            ret = change_alloc(c, 1, &host);
            if (!ret)
                ret = write_zeros(q, host);
            entry.word = host | ENTRY_COPIED;
        }
        qcow2_table_set(q, table, i, entry);
    }
    return ret;
}

static int spell_all_zeros(Change *c, const NodeProgress *progress)
{
    const Qcow2 *q = c->q;
    int ret = 0;
    g_autofree uint8_t *table = g_malloc(qcow2_cluster_bytes(q));
    for (uint32_t i = 0; i < c->header.l1_entries && !ret; i++) {
        bool changed = false;
        if (progress && !progress->tell(progress->opaque, i, c->header.l1_entries))
            return -ECANCELED;
        if (!(c->l1[i] & ENTRY_OFFSET))
            continue;
        ret = change_read_table(c, c->l1[i], table);
        if (!ret)
            ret = spell_zeros(c, table, q->base.backing_name, &changed);
        if (ret || !changed)
            continue;
        ret = change_count(c, c->l1[i] & ENTRY_OFFSET, 1, -1);
        if (!ret)
            ret = change_write_table(c, table, &c->l1[i]);
        c->new_l1 = true;
    }
    return ret;
}

static bool change_shape(Qcow2 *q, unsigned version, uint64_t bits, bool lazy,
                         const NodeProgress *progress, GError **error)
{
    Change c;
    int ret = 0;
    if (!change_begin(&c, q, error))
        return false;
    c.header.version = version;
    c.header.refcount_order = 63 - (unsigned)__builtin_clzll(bits);
    c.header.compatible =
        lazy ? c.header.compatible | COMPAT_LAZY : c.header.compatible & ~COMPAT_LAZY;
    if (version < 3) {
        c.header.compatible = c.header.incompatible = c.header.autoclear = 0;
        ret = spell_all_zeros(&c, progress);
    } else if (q->version < 3 && q->snapshot_count) { /* they must know their disk's size now */
        c.snapshots = g_memdup2(q->snapshots, q->snapshot_count * sizeof(*q->snapshots));
    }
    return change_end(&c, ret, "change its options", error);
}

static bool amend_shape(Qcow2 *q, const Options *o, const NodeProgress *progress, GError **error)
{
    static const char *const words[] = {"0.10", "v2", "1.1", "v3", NULL};
    unsigned compat = q->version < 3 ? 0 : 2;
    uint64_t bits = 1ULL << q->refcount_order, old_bits = bits;
    bool lazy = q->compatible & COMPAT_LAZY, was_lazy = lazy;
    if (!options_get_enum(o, "compat", words, &compat, error) ||
        !options_get_uint(o, "refcount_bits", 1, 64, &bits, error) ||
        !options_get_bool(o, "lazy_refcounts", &lazy, error))
        return false;
    unsigned version = compat < 2 ? 2 : 3;
    if (!is_pow2(bits))
        return fail(error, "refcount_bits must be a power of two from 1 to 64");
    if (version < 3 && why_not_v2(q, bits, lazy))
        return fail(error, "'%s': an image of version 2 cannot have %s", q->base.name,
                    why_not_v2(q, bits, lazy));
    if (version == q->version && bits == old_bits && lazy == was_lazy)
        return true;
    return change_shape(q, version, bits, lazy, progress, error);
}

/* Its name is another's business, rebase's; the same once more is no change. */
static bool keeps_backing(const BlkNode *node, const Options *o, GError **error)
{
    const char *name = options_get(o, "backing_file"), *format = options_get(o, "backing_fmt");
    const char *old = node->backing_name ? node->backing_name : "";
    const char *old_format = node->backing_format ? node->backing_format : "";
    return ((!name || !strcmp(name, old)) && (!format || !strcmp(format, old_format))) ||
           fail(error, "'%s': Cannot amend the backing file; 'rebase' changes it", node->name);
}

static bool amend_slots(Qcow2 *q, const Options *o, bool force, GError **error)
{
    const char *key, *value;
    bool asked = false;
    for (unsigned i = 0; options_nth(o, i, &key, &value); i++)
        asked |= g_str_has_prefix(key, "encrypt.");
    if (!asked)
        return true;
    if (!q->luks)
        return fail(error, "'%s' is not encrypted with LUKS: there are no key slots to change",
                    q->base.name);
    return luks_amend(q->luks, q->base.file, q->crypt_offset, q->crypt_bytes, o, "encrypt.", force,
                      error);
}

/* The data file's name, and whether it is to stay a raw image. */
static bool amend_data_file(Qcow2 *q, const Options *o, GError **error)
{
    bool was_raw = q->autoclear & AUTOCLEAR_RAW_DATA, raw = was_raw;
    const char *name = options_get(o, "data_file");
    Qcow2Header n = qcow2_header_of(q);
    if (!options_get_bool(o, "data_file_raw", &raw, error))
        return false;
    if (name && !q->data_name)
        return fail(error,
                    "'%s': data_file can only be set for images that use an external data file",
                    q->base.name);
    if (name && !*name)
        return fail(error, "'%s': data_file must name the file", q->base.name);
    if (raw && !was_raw)
        return fail(error, "'%s': data_file_raw cannot be set on existing images", q->base.name);
    if (raw == was_raw && (!name || !strcmp(name, q->data_name)))
        return true;
    n.data_name = name ? name : q->data_name;
    n.autoclear &= ~(raw ? 0ULL : AUTOCLEAR_RAW_DATA);
    g_autoptr(GByteArray) h = qcow2_build_header(q, &n, error);
    if (!h)
        return false;
    int ret = qcow2_switch_header(q, h);
    if (ret)
        return fail_errno(error, -ret, "'%s': cannot change its data file", q->base.name);
    q->backing_at = n.backing_at;
    q->autoclear = n.autoclear;
    char *kept = g_strdup(n.data_name);
    g_free(q->data_name);
    q->data_name = kept;
    return true;
}

bool qcow2_amend(BlkNode *node, const Options *options, bool force, const NodeProgress *progress,
                 GError **error)
{
    uint64_t size = node->size;
    Qcow2 *q = qcow2(node);
    if (!keeps_backing(node, options, error) ||
        !amend_check(node, options, qcow2_amend_options, qcow2_create_options, error) ||
        !options_get_size(options, "size", &size, error))
        return false;
    if (size < node->size && !force)
        return fail(error, "'%s': a smaller size loses data: it must be forced", node->name);
    if (!amend_slots(q, options, force, error) || !amend_data_file(q, options, error) ||
        !amend_shape(q, options, progress, error))
        return false;
    size = align_up(MIN(size, INT64_MAX - 511ULL), 512);
    return size == node->size || qcow2_resize(node, size, PREALLOC_OFF, error);
}

/* ---- Measure ---- */

static uint64_t round_up(uint64_t v, uint64_t unit)
{
    return (v + unit - 1) / unit * unit;
}

/* The size of a file in which every cluster of the disk is allocated. */
static uint64_t whole_size(uint64_t size, const Qcow2Shape *s)
{
    uint64_t cluster = 1ULL << s->cluster_bits, entry = s->extended ? 16 : 8;
    uint64_t entries = round_up(size >> s->cluster_bits, cluster / entry);
    uint64_t tables = entries * entry;
    uint64_t l1 = round_up(tables / cluster, cluster / 8) * 8;
    uint64_t clusters = (cluster + tables + l1 + size) >> s->cluster_bits;
    uint64_t per_block = cluster * 8 >> s->refcount_order, table = 0, blocks = 0, all = 0, last;
    do {
        last = all;
        blocks = (clusters + table + blocks + per_block - 1) / per_block;
        table = (blocks + cluster / 8 - 1) / (cluster / 8);
        all = clusters + blocks + table;
    } while (all != last);
    return all << s->cluster_bits;
}

/* Bytes of the disk's clusters that hold data. */
static int count_data(BlkNode *source, uint64_t cluster, uint64_t *bytes)
{
    *bytes = 0;
    for (uint64_t at = 0; at < source->size;) {
        Extent e;
        int ret = node_resolve(source, at, source->size - at, MAP_HOLES, &e);
        if (ret)
            return ret;
        uint64_t end = at + e.bytes;
        if (e.kind != EXTENT_ZERO) {
            end = align_up(end, cluster);
            *bytes += end - align_down(at, cluster);
        }
        at = end;
    }
    return 0;
}

static void measure_bitmaps(BlkNode *source, uint64_t size, uint64_t cluster, Measure *result)
{
    const NodeBitmap *b;
    uint64_t directory = 0;
    for (unsigned i = 0; source->fmt->bitmap && (b = source->fmt->bitmap(source, i)); i++) {
        if (b->inconsistent)
            continue;
        uint64_t bits = (size + b->granularity - 1) / b->granularity;
        uint64_t data = round_up((bits + 7) / 8, cluster);
        result->bitmaps += data + round_up(data / cluster * 8, cluster);
        directory += align_up(24 + strlen(b->name), 8);
    }
    result->bitmaps += round_up(directory, cluster);
    result->has_bitmaps = source->fmt == &qcow2_format && qcow2(source)->version >= 3;
}

bool qcow2_measure(const CreateSpec *spec, BlkNode *source, Measure *result, GError **error)
{
    Qcow2Shape shape;
    if (!qcow2_read_shape(spec->options, &shape, error))
        return false;
    uint64_t cluster = 1ULL << shape.cluster_bits, data = 0;
    uint64_t size = source ? source->size : spec->size;
    if (size > INT64_MAX - cluster)
        return fail(error, "%" PRIu64 " bytes are too many", size);
    size = align_up(size, cluster);
    if (((size >> (2 * shape.cluster_bits - (shape.extended ? 4 : 3))) + 1) * 8 > MAX_L1_BYTES)
        return fail(error, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " bytes", size,
                    cluster);
    int ret = source ? count_data(source, cluster, &data) : 0;
    if (ret)
        return fail_errno(error, -ret, "cannot look through '%s'", source->name);
    if (spec->backing || shape.preallocation >= PREALLOC_FALLOC)
        data = size;
    result->fully_allocated = whole_size(size, &shape);
    if (shape.luks) {
        LuksSpec luks;
        if (!luks_spec_read(&luks, spec->options, "encrypt.", error))
            return false;
        result->fully_allocated += round_up(luks_spec_payload(&luks), cluster);
    }
    result->required = result->fully_allocated - size + MIN(data, size);
    if (source && shape.version >= 3)
        measure_bitmaps(source, source->size, cluster, result);
    return true;
}
