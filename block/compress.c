/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed clusters: raw deflate in a window of 4 KiB (qcow, qcow2), and zstd (qcow2). */
#include <errno.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "formats.h"

#define WINDOW_BITS (-12)

int deflate_cluster(const void *in, size_t in_bytes, void *out, size_t capacity)
{
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return -ENOMEM;
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)in_bytes;
    z.next_out = out;
    z.avail_out = (uInt)capacity;
    int result = deflate(&z, Z_FINISH);
    size_t length = capacity - z.avail_out;
    deflateEnd(&z);
    return result == Z_STREAM_END ? (int)length : -ENOSPC;
}

int inflate_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes)
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
    /* What follows in the last sector is not the cluster's. */
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && full ? 0 : -EIO;
}

int zstd_cluster(const void *in, size_t in_bytes, void *out, size_t capacity)
{
    size_t length = ZSTD_compress(out, capacity, in, in_bytes, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(length) ? -ENOSPC : (int)length;
}

int unzstd_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer input = {in, in_bytes, 0};
    ZSTD_outBuffer output = {out, out_bytes, 0};
    size_t result = 1;
    if (!stream)
        return -ENOMEM;
    /* Several frames may follow one another; padding follows the last. */
    while (output.pos < out_bytes && input.pos < in_bytes) {
        size_t before = input.pos + output.pos;
        result = ZSTD_decompressStream(stream, &output, &input);
        if (ZSTD_isError(result) || input.pos + output.pos == before)
            break;
    }
    ZSTD_freeDStream(stream);
    return output.pos == out_bytes && !ZSTD_isError(result) ? 0 : -EIO;
}
