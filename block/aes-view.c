/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading images that are encrypted in the old way. */
#include "aes-view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/secret.h"
#include "cipher.h"
#include "util/bytes.h"
#include "util/error.h"

#define PIECE_BYTES (256u << 10)

enum { KEY_BYTES = 16 };

typedef struct AesView {
    BlkFile base;
    BlkNode *node;
    AesMapFn *map;
    Cipher *cipher;
} AesView;

static AesView *view_of(BlkFile *file)
{
    return (AesView *)(void *)file; /* base is the first member */
}

static int view_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    AesView *v = view_of(file);
    if ((offset | bytes) & (CIPHER_SECTOR - 1))
        return -EINVAL;
    uint8_t *data = block_alloc(MIN(bytes, PIECE_BYTES));
    int ret = data ? 0 : -ENOMEM;
    while (bytes && !ret) {
        Extent e;
        ret = v->map(v->node, offset, MIN(bytes, PIECE_BYTES), 0, &e);
        if (!ret && e.kind != EXTENT_DATA)
            ret = -EIO; /* it was data a moment ago, and nobody writes */
        if (ret)
            break;
        ret = file_pread(e.file ? e.file : v->node->file, e.host, data, e.bytes);
        if (!ret) {
            cipher_run(v->cipher, false, offset / CIPHER_SECTOR, data, e.bytes);
            iobuf_copy_out(buf, data, e.bytes);
        }
        buf = iobuf_skip(buf, e.bytes);
        offset += e.bytes;
        bytes -= e.bytes;
    }
    free(data);
    return ret;
}

static void view_close(BlkFile *file)
{
    AesView *v = view_of(file);
    cipher_free(v->cipher);
    g_free(file->name);
    g_free(v);
}

static const BlkFileOps view_ops = {.name = "aes", .read = view_read, .close = view_close};

bool aes_view_open(BlkNode *node, AesMapFn *map, BlkFile **view, GError **error)
{
    size_t bytes;
    uint8_t key[KEY_BYTES] = {0};
    *view = NULL;
    node->encrypted = true;
    if (!node->readonly && !node->mode.repair)
        return fail(error,
                    "'%s' is encrypted in the old way (AES), which can only be read: open it "
                    "read-only and convert it",
                    node->name);
    if (!node->mode.key_secret)
        return node->mode.may_be_locked || node->mode.repair ||
               fail(error, "'%s' is encrypted: encrypt.key-secret, the ID of a secret, is missing",
                    node->name);
    const void *secret = secret_find(node->mode.key_secret, &bytes, error);
    if (!secret)
        return false;
    memcpy(key, secret, MIN(bytes, sizeof(key)));
    Cipher *cipher = cipher_new(CIPHER_CBC, CIPHER_IV_PLAIN64, NULL, key, sizeof(key), error);
    wipe(key, sizeof(key));
    if (!cipher)
        return false;
    AesView *v = g_new0(AesView, 1);
    v->base = (BlkFile){.ops = &view_ops,
                        .sched = node->sched,
                        .name = g_strdup(node->name),
                        .size = node->size,
                        .readonly = true,
                        .align = 1};
    v->node = node;
    v->map = map;
    v->cipher = cipher;
    *view = &v->base;
    return true;
}

int aes_view_extent(BlkFile *view, uint64_t offset, Extent *e)
{
    if (e->kind != EXTENT_DATA)
        return 0;
    e->in_place = false;
    e->file = view;
    e->host = offset;
    return view ? 0 : -EACCES;
}
