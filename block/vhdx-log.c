/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VHDX's log ([MS-VHDX] 2.3): a ring of entries, each with sectors of 4 KiB to be written or ranges
 * to be zeroed.  What counts is the sequence with the highest number whose last entry names one of
 * its own as the tail.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "util/bytes.h"
#include "util/error.h"
#include "util/log.h"
#include "vhdx.h"

#define SECTOR       4096u
#define ENTRY_HEAD   64u
#define DESCRIPTOR   32u
#define MAX_LOG      (64u << 20)
#define HASH_BUDGET  4 /* times the log's length: entries do not overlap in an honest log */
#define MAX_FILE_END (1ULL << 47) /* the largest disk has half of that */

typedef struct LogEntry {
    uint32_t length, tail; /* 0: no entry begins here */
    uint64_t sequence;
} LogEntry;

typedef struct Log {
    Vhdx *v;
    uint8_t *ring, *entry; /* entry: one entry, straight */
    uint32_t bytes;
    LogEntry *entries; /* one for each sector of the ring */
    uint64_t hashed;
} Log;

/* Copies a part of the ring, which may run over its end. */
static void unroll(Log *log, uint32_t at, uint32_t bytes)
{
    uint32_t first = MIN(bytes, log->bytes - at);
    memcpy(log->entry, log->ring + at, first);
    memcpy(log->entry + first, log->ring, bytes - first);
}

static uint32_t descriptor_sectors(uint32_t count)
{
    return (uint32_t)((ENTRY_HEAD + (uint64_t)count * DESCRIPTOR + SECTOR - 1) / SECTOR);
}

static void inspect(Log *log, uint32_t at)
{
    const uint8_t *h = log->ring + at;
    uint32_t length = ld32_le(h + 8), tail = ld32_le(h + 12), count = ld32_le(h + 24);
    if (memcmp(h, "loge", 4) || memcmp(h + 32, log->v->header + 48, VHDX_GUID_BYTES) || !length ||
        length > log->bytes || length % SECTOR || tail >= log->bytes || tail % SECTOR ||
        count > length / DESCRIPTOR || descriptor_sectors(count) * SECTOR > length)
        return;
    log->hashed += length;
    if (log->hashed > (uint64_t)log->bytes * HASH_BUDGET)
        return;
    unroll(log, at, length);
    if (crc32c_without(log->entry, length, 4) == ld32_le(h + 4))
        log->entries[at / SECTOR] = (LogEntry){length, tail, ld64_le(h + 16)};
}

static const LogEntry *entry_at(const Log *log, uint32_t at)
{
    return &log->entries[at / SECTOR];
}

static uint32_t behind(const Log *log, uint32_t at)
{
    return (uint32_t)(((uint64_t)at + entry_at(log, at)->length) % log->bytes);
}

/* Whether entries follow one another without a gap from the head's tail to the head. */
static bool is_sequence(const Log *log, uint32_t head)
{
    uint32_t at = entry_at(log, head)->tail;
    for (uint32_t n = 0; n <= log->bytes / SECTOR && entry_at(log, at)->length; n++) {
        uint32_t next = behind(log, at);
        if (at == head)
            return true;
        if (entry_at(log, next)->sequence != entry_at(log, at)->sequence + 1)
            return false;
        at = next;
    }
    return false;
}

static bool find_head(const Log *log, uint32_t *head)
{
    bool found = false;
    for (uint32_t at = 0; at < log->bytes; at += SECTOR)
        if (entry_at(log, at)->length &&
            (!found || entry_at(log, at)->sequence > entry_at(log, *head)->sequence) &&
            is_sequence(log, at)) {
            *head = at;
            found = true;
        }
    return found;
}

/* A log that lies must not fill the host's disk: zeros take no room, and what lies behind the
 * file's end reads as zeros when the entry has extended it. */
static int zero_range(BlkFile *file, uint64_t offset, uint64_t bytes)
{
    if (file->sparse)
        bytes = offset < file->size ? MIN(bytes, file->size - offset) : 0;
    return file_zero(file, offset, bytes, true);
}

/* One descriptor of log->entry, which has so many bytes and is to leave a file that ends at `end`;
 * *data is the next data sector. */
static int apply(Log *log, const uint8_t *d, uint64_t end, uint32_t *data, uint32_t length)
{
    BlkFile *file = log->v->base.file;
    uint64_t offset = ld64_le(d + 16), bytes = ld64_le(d + 8);
    uint64_t sequence = ld64_le(log->entry + 16);
    bool zeros = !memcmp(d, "zero", 4);
    if (ld64_le(d + 24) != sequence || offset % SECTOR || offset > end ||
        (zeros ? bytes : SECTOR) > end - offset)
        return -EINVAL;
    if (zeros)
        return bytes % SECTOR ? -EINVAL : zero_range(file, offset, bytes);
    if (memcmp(d, "desc", 4) || *data > length - SECTOR)
        return -EINVAL;
    uint8_t sector[SECTOR], *from = log->entry + *data;
    if (memcmp(from, "data", 4) || ld32_le(from + 4) != sequence >> 32 ||
        ld32_le(from + SECTOR - 4) != (uint32_t)sequence)
        return -EINVAL;
    memcpy(sector, d + 8, 8);
    memcpy(sector + 8, from + 8, SECTOR - 12);
    memcpy(sector + SECTOR - 4, d + 4, 4);
    *data += SECTOR;
    return file_pwrite(file, offset, sector, SECTOR);
}

static int replay_entry(Log *log, uint32_t at)
{
    const LogEntry *e = entry_at(log, at);
    unroll(log, at, e->length);
    BlkFile *file = log->v->base.file;
    uint32_t count = ld32_le(log->entry + 24), data = descriptor_sectors(count) * SECTOR;
    uint64_t flushed = ld64_le(log->entry + 48), end = ld64_le(log->entry + 56);
    if (flushed > file->size || end > MAX_FILE_END)
        return -EINVAL; /* the file was cut off since */
    int ret = 0;
    for (uint32_t i = 0; i < count && !ret; i++)
        ret = apply(log, log->entry + ENTRY_HEAD + (size_t)i * DESCRIPTOR, MAX(end, file->size),
                    &data, e->length);
    if (!ret && end > file->size && file->sparse)
        ret = file_truncate(file, end);
    return ret;
}

static int replay(Log *log)
{
    uint32_t head = 0;
    for (uint32_t at = 0; at < log->bytes; at += SECTOR)
        inspect(log, at);
    if (log->hashed > (uint64_t)log->bytes * HASH_BUDGET)
        return -EINVAL;
    int ret = 0;
    if (find_head(log, &head)) { /* else nothing was logged yet */
        for (uint32_t at = entry_at(log, head)->tail;; at = behind(log, at)) {
            ret = replay_entry(log, at);
            if (ret || at == head)
                break;
        }
    }
    if (!ret)
        ret = file_flush(log->v->base.file);
    if (ret)
        return ret;
    memset(log->v->header + 48, 0, VHDX_GUID_BYTES);
    return vhdx_write_header(log->v);
}

bool vhdx_log_is_dirty(const Vhdx *v)
{
    return !buffer_is_zero(v->header + 48, VHDX_GUID_BYTES);
}

bool vhdx_log_replay(Vhdx *v, GError **error)
{
    Log log = {.v = v, .bytes = (uint32_t)v->log.bytes};
    if (!v->log.bytes || v->log.bytes > MAX_LOG)
        return fail(error, "'%s': a log of %" PRIu64 " bytes; up to %u MiB are right", v->base.name,
                    v->log.bytes, MAX_LOG >> 20);
    log.ring = block_alloc(log.bytes);
    log.entry = block_alloc(log.bytes);
    log.entries = g_new0(LogEntry, log.bytes / SECTOR);
    int ret = log.ring && log.entry ? file_pread(v->base.file, v->log.offset, log.ring, log.bytes)
                                    : -ENOMEM;
    if (!ret)
        ret = replay(&log);
    free(log.ring);
    free(log.entry);
    g_free(log.entries);
    if (ret == -EINVAL)
        return fail(error, "'%s': the log is damaged", v->base.name);
    if (ret)
        return fail_errno(error, -ret, "'%s': the log cannot be replayed", v->base.name);
    report_warn("'%s' was not closed properly; its log was replayed", v->base.name);
    return true;
}
