/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters: raw deflate in a window of 4 KiB (qcow, qcow2), and zstd (qcow2).
 *
 * Setting up a codec costs as much as a small cluster, so each thread keeps its own.
 */
#include <errno.h>
#include <libdeflate.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "formats.h"

#define WINDOW_BITS (-12)

typedef struct Codecs {
    struct libdeflate_decompressor *inflate;
    z_stream deflate;
    bool deflate_ready;
    ZSTD_DCtx *unzstd;
    ZSTD_CCtx *zstd;
} Codecs;

static void codecs_free(void *opaque)
{
    Codecs *c = opaque;
    libdeflate_free_decompressor(c->inflate);
    if (c->deflate_ready)
        deflateEnd(&c->deflate);
    ZSTD_freeDCtx(c->unzstd);
    ZSTD_freeCCtx(c->zstd);
    g_free(c);
}

/* The calling thread's. */
static Codecs *codecs(void)
{
    static GPrivate mine = G_PRIVATE_INIT(codecs_free);
    Codecs *c = g_private_get(&mine);
    if (!c) {
        c = g_new0(Codecs, 1);
        g_private_set(&mine, c);
    }
    return c;
}

int deflate_cluster(const void *in, size_t in_bytes, void *out, size_t capacity)
{
    Codecs *c = codecs();
    z_stream *z = &c->deflate;
    if (!c->deflate_ready && deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 9,
                                          Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    c->deflate_ready = true;
    if (deflateReset(z) != Z_OK)
        return -EIO;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_bytes;
    z->next_out = out;
    z->avail_out = (uInt)capacity;
    int result = deflate(z, Z_FINISH);
    return result == Z_STREAM_END ? (int)(capacity - z->avail_out) : -ENOSPC;
}

/* Streams that are cut off behind their last byte of data: zlib takes what there is. */
static int inflate_patiently(const void *in, size_t in_bytes, void *out, size_t out_bytes)
{
    z_stream z = {0};
    if (inflateInit2(&z, WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)in_bytes;
    z.next_out = out;
    z.avail_out = (uInt)out_bytes;
    int result = inflate(&z, Z_FINISH);
    bool full = !z.avail_out;
    inflateEnd(&z);
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && full ? 0 : -EIO;
}

int inflate_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes)
{
    Codecs *c = codecs();
    size_t used, made;
    if (!c->inflate)
        c->inflate = libdeflate_alloc_decompressor();
    if (!c->inflate)
        return -ENOMEM;
    /* What follows in the last sector is not the cluster's. */
    enum libdeflate_result result =
        libdeflate_deflate_decompress_ex(c->inflate, in, in_bytes, out, out_bytes, &used, &made);
    if (result == LIBDEFLATE_SUCCESS && made == out_bytes)
        return 0;
    return inflate_patiently(in, in_bytes, out, out_bytes);
}

int zstd_cluster(const void *in, size_t in_bytes, void *out, size_t capacity)
{
    Codecs *c = codecs();
    if (!c->zstd)
        c->zstd = ZSTD_createCCtx();
    if (!c->zstd)
        return -ENOMEM;
    size_t length = ZSTD_compressCCtx(c->zstd, out, capacity, in, in_bytes, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(length) ? -ENOSPC : (int)length;
}

/* Frame by frame: several may follow one another, and padding follows the last. */
int unzstd_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes)
{
    Codecs *c = codecs();
    size_t at = 0, done = 0;
    if (!c->unzstd)
        c->unzstd = ZSTD_createDCtx();
    if (!c->unzstd)
        return -ENOMEM;
    while (done < out_bytes && at < in_bytes) {
        const uint8_t *frame = (const uint8_t *)in + at;
        size_t length = ZSTD_findFrameCompressedSize(frame, in_bytes - at);
        if (ZSTD_isError(length) || !length)
            return -EIO;
        size_t n =
            ZSTD_decompressDCtx(c->unzstd, (uint8_t *)out + done, out_bytes - done, frame, length);
        if (ZSTD_isError(n))
            return -EIO;
        at += length;
        done += n;
    }
    return done == out_bytes ? 0 : -EIO;
}
