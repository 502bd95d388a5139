/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow2: encrypted images.  With LUKS a byte store that encrypts lies between the extents and their
 * file: a sector's vector comes from its place there.  The old AES is only read (aes-view.h).
 */
#include <errno.h>

#include "aes-view.h"
#include "crypt-file.h"
#include "luks.h"
#include "qcow2.h"
#include "util/error.h"

#define MAX_LUKS_BYTES (64u << 20) /* eight key slots take two */

static bool open_luks(Qcow2 *q, GError **error)
{
    BlkNode *node = &q->base;
    if (q->crypt_bytes > MAX_LUKS_BYTES)
        return fail(error, "'%s': a LUKS header of %" PRIu64 " bytes is too large", node->name,
                    q->crypt_bytes);
    if (!q->crypt_bytes)
        return fail(error, "'%s' does not tell where its LUKS header is", node->name);
    if ((q->crypt_offset & q->cluster_mask) || q->crypt_offset > INT64_MAX - q->crypt_bytes ||
        q->crypt_offset + q->crypt_bytes > node->file->size + qcow2_cluster_bytes(q))
        return fail(error, "'%s': the LUKS header is out of bounds", node->name);
    node->encrypted = true;
    q->luks = luks_open(node->file, q->crypt_offset, node->mode.key_secret,
                        node->mode.may_be_locked || node->mode.repair, "encrypt.key-secret", error);
    if (!q->luks)
        return false;
    if (q->luks->cipher)
        q->data = crypt_file_new(q->data_file ? q->data_file : node->file, q->luks->cipher, 0);
    q->locked = !q->luks->cipher;
    return true;
}

bool qcow2_open_crypt(Qcow2 *q, GError **error)
{
    q->data = q->data_file;
    switch (q->crypt_method) {
    case CRYPT_NONE:
        return true;
    case CRYPT_AES:
        if (!aes_view_open(&q->base, qcow2_map_raw, &q->data, error))
            return false;
        q->locked = !q->data;
        return true;
    default:
        return open_luks(q, error);
    }
}

void qcow2_close_crypt(Qcow2 *q)
{
    if (q->data && q->data != q->data_file)
        file_close(q->data);
    luks_free(q->luks);
}
