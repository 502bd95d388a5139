/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are encrypted as a whole: a LUKS header and the disk. */
#include <errno.h>
#include <string.h>

#include "crypt-file.h"
#include "formats.h"
#include "luks.h"
#include "util/bytes.h"
#include "util/error.h"

typedef struct LuksNode {
    BlkNode base;
    Luks *luks;
    BlkFile *plain; /* NULL: locked */
} LuksNode;

static LuksNode *luks_node(const BlkNode *node)
{
    return (LuksNode *)(uintptr_t)node;
}

static int format_probe_luks(const uint8_t *head, size_t bytes)
{
    return luks_probe(head, bytes) ? 100 : 0;
}

static bool luks_node_open(BlkNode *node, GError **error)
{
    LuksNode *l = luks_node(node);
    l->luks = luks_open(node->file, 0, node->mode.key_secret, node->mode.may_be_locked,
                        "key-secret", error);
    if (!l->luks)
        return false;
    uint64_t payload = l->luks->payload;
    if (payload < LUKS_HEADER_BYTES || payload > node->file->size) {
        luks_free(l->luks);
        return fail(error, "'%s': the payload is out of bounds", node->name);
    }
    node->size = align_down(node->file->size - payload, 512);
    node->cluster = 512;
    node->flat = node->encrypted = node->garbage = true;
    node->readonly |= !l->luks->cipher;
    if (l->luks->cipher)
        l->plain = crypt_file_new(node->file, l->luks->cipher, payload);
    return true;
}

static void luks_node_close(BlkNode *node)
{
    LuksNode *l = luks_node(node);
    file_close(l->plain);
    luks_free(l->luks);
}

static int luks_map(BlkNode *node, uint64_t offset, uint64_t bytes, unsigned flags, Extent *e)
{
    LuksNode *l = luks_node(node);
    if (!l->plain)
        return -EACCES;
    *e = (Extent){.kind = EXTENT_DATA,
                  .in_place = true,
                  .bytes = bytes,
                  .file = l->plain,
                  .host = l->luks->payload + offset};
    return 0;
}

static bool luks_node_detail(const BlkNode *node, unsigned n, NodeDetail *d)
{
    return luks_detail(luks_node(node)->luks, n, d);
}

static const CreateOption luks_create_options[] = {
    {"key-secret", "ID of the -object secret with the password"},
    {"cipher-alg", "aes-128, aes-192 or aes-256 (default)"},
    {"cipher-mode", "cbc or xts (default)"},
    {"ivgen-alg", "plain, plain64 (default) or essiv"},
    {"ivgen-hash-alg", "hash of essiv (sha256)"},
    {"hash-alg", "sha1, sha224, sha256 (default), sha384, sha512 or ripemd160"},
    {"iter-time", "milliseconds that a try of a password takes (2000)"},
    {"preallocation", "off, falloc (reserve the space) or full (write it)"},
    {NULL, NULL},
};

static bool luks_image_create(BlkFile *file, const CreateSpec *spec, GError **error)
{
    LuksSpec luks;
    Preallocation how;
    if (!luks_spec_read(&luks, spec->options, "", error) ||
        !read_file_preallocation(spec, &how, error))
        return false;
    if (!create_begin(file, error) || !luks_create(file, 0, &luks, error))
        return false;
    uint64_t end = luks_spec_payload(&luks) + align_up(spec->size, 512);
    int ret = preallocate_file(file, luks_spec_payload(&luks), end, how);
    return !ret ||
           fail_errno(error, -ret, "cannot make '%s' %" PRIu64 " bytes long", file->name, end);
}

/* What is behind the old end reads as anything, as all of a new image does. */
static bool luks_resize(BlkNode *node, uint64_t size, Preallocation how, GError **error)
{
    uint64_t payload = luks_node(node)->luks->payload, old = node->file->size;
    if (how == PREALLOC_METADATA)
        return fail(error, "preallocation=metadata: a LUKS image has no metadata for it");
    if (!node->file->sparse)
        return fail(error, "'%s' is a device: its size is what it is", node->name);
    if (size > INT64_MAX - payload)
        return fail(error, "an image of %" PRIu64 " bytes is too large", size);
    int ret = preallocate_file(node->file, old, payload + size, how);
    if (!ret)
        ret = file_flush(node->file);
    if (!ret) {
        node->size = size;
        return true;
    }
    if (payload + size > old)
        file_truncate(node->file, old);
    return fail_errno(error, -ret, "cannot make '%s' %" PRIu64 " bytes long", node->name, size);
}

static bool luks_node_amend(BlkNode *node, const Options *options, bool force,
                            const NodeProgress *progress, GError **error)
{
    Luks *l = luks_node(node)->luks;
    return amend_check(node, options, luks_amend_options, luks_create_options, error) &&
           luks_amend(l, node->file, 0, l->payload, options, "", force, error);
}

/* All of it is stored: what encrypts to zeros is not known. */
static bool luks_measure(const CreateSpec *spec, BlkNode *source, Measure *result, GError **error)
{
    LuksSpec luks;
    uint64_t size = align_up(source ? source->size : spec->size, 512);
    if (!luks_spec_read(&luks, spec->options, "", error))
        return false;
    size += luks_spec_payload(&luks);
    *result = (Measure){.required = size, .fully_allocated = size};
    return true;
}

const BlkFormat luks_format = {
    .name = "luks",
    .node_size = sizeof(LuksNode),
    .create_options = luks_create_options,
    .probe = format_probe_luks,
    .open = luks_node_open,
    .close = luks_node_close,
    .map = luks_map,
    .create = luks_image_create,
    .measure = luks_measure,
    .resize = luks_resize,
    .amend_options = luks_amend_options,
    .amend = luks_node_amend,
    .detail = luks_node_detail,
};
