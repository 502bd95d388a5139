/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption between a format and its file. */
#include "crypt-file.h"

#include <errno.h>
#include <stdlib.h>

#include "util/bytes.h"
#include "util/threadpool.h"

#define PIECE_BYTES  (1u << 20)
#define INLINE_BYTES (32u << 10) /* up to here encryption takes less time than another thread */

typedef struct CryptFile {
    BlkFile base;
    BlkFile *below;
    const Cipher *cipher;
    uint64_t first_byte;
} CryptFile;

static CryptFile *crypt_of(const BlkFile *file)
{
    return container_of(file, CryptFile, base);
}

typedef struct CryptJob {
    const CryptFile *file;
    bool encrypt;
    uint64_t offset;
    void *data;
    size_t bytes;
} CryptJob;

static int crypt_job_run(void *opaque)
{
    const CryptJob *job = opaque;
    uint64_t sector = (job->offset - job->file->first_byte) / CIPHER_SECTOR;
    cipher_run(job->file->cipher, job->encrypt, sector, job->data, job->bytes);
    return 0;
}

static int crypt_run(const CryptFile *c, bool encrypt, uint64_t offset, void *data, size_t bytes)
{
    CryptJob job = {c, encrypt, offset, data, bytes};
    return bytes <= INLINE_BYTES ? crypt_job_run(&job) : co_pool(crypt_job_run, &job);
}

static bool range_ok(const CryptFile *c, uint64_t offset, uint64_t bytes)
{
    return !((offset | bytes) & (CIPHER_SECTOR - 1)) && offset >= c->first_byte;
}

static int crypt_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    CryptFile *c = crypt_of(file);
    if (!range_ok(c, offset, bytes))
        return -EINVAL;
    uint8_t *data = block_alloc(MIN(bytes, PIECE_BYTES));
    int ret = data ? 0 : -ENOMEM;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, PIECE_BYTES);
        ret = file_pread(c->below, offset, data, n);
        if (!ret)
            ret = crypt_run(c, false, offset, data, n);
        if (!ret)
            iobuf_copy_out(buf, data, n);
        buf = iobuf_skip(buf, n);
        offset += n;
        bytes -= n;
    }
    free(data);
    return ret;
}

static int crypt_read_nowait(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    CryptFile *c = crypt_of(file);
    uint8_t data[INLINE_BYTES];
    struct iovec iov = {data, bytes};
    if (!range_ok(c, offset, bytes) || bytes > sizeof(data))
        return -EAGAIN;
    int ret = file_read_nowait(c->below, offset, (IoBuf){&iov, 1, 0}, bytes);
    if (ret)
        return ret;
    crypt_run(c, false, offset, data, bytes);
    iobuf_copy_out(buf, data, bytes);
    return 0;
}

static int crypt_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    CryptFile *c = crypt_of(file);
    if (!range_ok(c, offset, bytes))
        return -EINVAL;
    uint8_t *data = block_alloc(MIN(bytes, PIECE_BYTES));
    int ret = data ? 0 : -ENOMEM;
    while (bytes && !ret) {
        uint64_t n = MIN(bytes, PIECE_BYTES);
        iobuf_copy_in(buf, data, n);
        ret = crypt_run(c, true, offset, data, n);
        if (!ret)
            ret = file_pwrite(c->below, offset, data, n);
        buf = iobuf_skip(buf, n);
        offset += n;
        bytes -= n;
    }
    free(data);
    return ret;
}

static int crypt_flush(BlkFile *file)
{
    return file_flush(crypt_of(file)->below);
}

static int crypt_truncate(BlkFile *file, uint64_t size)
{
    return file_truncate(crypt_of(file)->below, size);
}

static void crypt_close(BlkFile *file)
{
    g_free(file->name);
    g_free(crypt_of(file));
}

static const BlkFileOps crypt_file_ops = {
    .name = "crypt",
    .read = crypt_read,
    .write = crypt_write,
    .read_nowait = crypt_read_nowait,
    .flush = crypt_flush,
    .truncate = crypt_truncate,
    .close = crypt_close,
};

BlkFile *crypt_file_new(BlkFile *below, const Cipher *cipher, uint64_t first_byte)
{
    CryptFile *c = g_new0(CryptFile, 1);
    c->base = (BlkFile){.ops = &crypt_file_ops,
                        .sched = below->sched,
                        .name = g_strdup(below->name),
                        .size = below->size,
                        .readonly = below->readonly,
                        .fixed = below->fixed,
                        .align = 1};
    c->below = below;
    c->cipher = cipher;
    c->first_byte = first_byte;
    return &c->base;
}
