/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file in memory for tests. */
#include "memfile.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"

uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static unsigned allocations, fail_from, fail_for;

static bool has_memory(size_t bytes)
{
    unsigned call = allocations++;
    return call < fail_from || call - fail_from >= fail_for;
}

void memory_fails(unsigned at, unsigned count)
{
    fail_from = at;
    fail_for = count;
    if (count)
        allocations = 0;
    block_set_alloc_hook(count ? has_memory : NULL);
}

unsigned memory_calls(void)
{
    return allocations;
}

MemFile *memfile_of(BlkFile *file)
{
    return container_of(file, MemFile, base);
}

static void take_time(MemFile *m)
{
    Coroutine *self = co_self();
    if (!m->random || !self)
        return;
    for (uint64_t n = next_random(&m->random) % 4; n; n--) {
        co_wake(self);
        co_yield ();
    }
}

static bool fails(MemFile *m, FailKind kind)
{
    if (!(m->fail_kinds & kind))
        return false;
    unsigned call = m->calls++;
    return call >= m->fail_at && call - m->fail_at < m->fail_count;
}

static void set_length(GByteArray *data, uint64_t length)
{
    guint old = data->len;
    g_byte_array_set_size(data, (guint)length);
    if (length > old)
        memset(data->data + old, 0, length - old);
}

/* ---- What a call does to the bytes ---- */

static void apply(GByteArray *data, const LogIo *io)
{
    if (io->kind == LOG_IO_FLUSH)
        return;
    if (io->kind == LOG_IO_TRUNCATE) {
        set_length(data, io->bytes);
        return;
    }
    if (data->len < io->offset + io->bytes)
        set_length(data, io->offset + io->bytes);
    if (io->kind == LOG_IO_WRITE)
        memcpy(data->data + io->offset, io->data, io->bytes);
    else
        memset(data->data + io->offset, 0, io->bytes);
}

static void do_io(MemFile *m, LogIo io)
{
    apply(m->data, &io);
    io.file = m->number;
    if (m->log)
        g_array_append_val(m->log, io);
    else
        g_free(io.data);
}

static bool too_large(uint64_t offset, uint64_t bytes)
{
    return offset + bytes > 256u << 20;
}

/* ---- Calls ---- */

static int mem_read(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    MemFile *m = memfile_of(file);
    take_time(m);
    if (fails(m, FAIL_READ))
        return m->fail_error;
    uint64_t inside = offset < m->data->len ? MIN(bytes, m->data->len - offset) : 0;
    if (inside)
        iobuf_copy_out(buf, m->data->data + offset, inside);
    iobuf_zero(iobuf_skip(buf, inside), bytes - inside);
    return 0;
}

static int mem_write(BlkFile *file, uint64_t offset, IoBuf buf, uint64_t bytes)
{
    MemFile *m = memfile_of(file);
    take_time(m);
    bool failed = fails(m, FAIL_WRITE);
    if (too_large(offset, bytes))
        return -EFBIG;
    uint64_t part = !failed ? bytes : m->fail_half ? align_down(bytes / 2, 512) : 0;
    if (part) {
        LogIo io = {.kind = LOG_IO_WRITE, .offset = offset, .bytes = part, .data = g_malloc(part)};
        iobuf_copy_in(buf, io.data, part);
        do_io(m, io);
    }
    return failed ? m->fail_error : 0;
}

static int mem_flush(BlkFile *file)
{
    MemFile *m = memfile_of(file);
    unsigned covers = m->log ? m->log->len : 0;
    take_time(m);
    if (fails(m, FAIL_FLUSH))
        return m->fail_error;
    do_io(m, (LogIo){.kind = LOG_IO_FLUSH, .covers = covers});
    return 0;
}

static int mem_zero(BlkFile *file, uint64_t offset, uint64_t bytes, bool unmap)
{
    MemFile *m = memfile_of(file);
    take_time(m);
    if (fails(m, FAIL_WRITE))
        return m->fail_error;
    if (too_large(offset, bytes))
        return -EFBIG;
    do_io(m, (LogIo){.kind = LOG_IO_ZERO, .offset = offset, .bytes = bytes});
    return 0;
}

static int mem_truncate(BlkFile *file, uint64_t size)
{
    MemFile *m = memfile_of(file);
    take_time(m);
    if (fails(m, FAIL_WRITE))
        return m->fail_error;
    if (too_large(0, size))
        return -EFBIG;
    do_io(m, (LogIo){.kind = LOG_IO_TRUNCATE, .bytes = size});
    return 0;
}

static void mem_close(BlkFile *file)
{
    MemFile *m = memfile_of(file);
    g_byte_array_unref(m->data);
    if (!m->shared_log)
        memfile_log_free(m->log);
    g_free(file->name);
    g_free(m);
}

static const BlkFileOps mem_ops = {
    .name = "memory",
    .read = mem_read,
    .write = mem_write,
    .flush = mem_flush,
    .zero = mem_zero,
    .truncate = mem_truncate,
    .close = mem_close,
};

MemFile *memfile_new(CoSched *sched, GByteArray *data)
{
    MemFile *m = g_new0(MemFile, 1);
    m->data = data ? data : g_byte_array_new();
    m->base = (BlkFile){.ops = &mem_ops,
                        .sched = sched,
                        .name = g_strdup("memory"),
                        .size = m->data->len,
                        .sparse = true,
                        .align = 1};
    return m;
}

/* ---- The record ---- */

void memfile_record(MemFile *m)
{
    m->log = memfile_new_log();
}

void memfile_record_into(MemFile *m, GArray *log, unsigned number)
{
    m->log = log;
    m->number = number;
    m->shared_log = true;
}

GArray *memfile_new_log(void)
{
    return g_array_new(FALSE, FALSE, sizeof(LogIo));
}

GArray *memfile_take_log(MemFile *m)
{
    return g_steal_pointer(&m->log);
}

void memfile_log_free(GArray *log)
{
    for (unsigned i = 0; log && i < log->len; i++)
        g_free(g_array_index(log, LogIo, i).data);
    if (log)
        g_array_free(log, TRUE);
}

/* A write of which only some sectors arrived. */
static void apply_torn(GByteArray *data, const LogIo *io, uint64_t *random)
{
    for (uint64_t at = 0; at < io->bytes; at += 512 - (io->offset + at) % 512) {
        LogIo part = *io;
        part.offset += at;
        part.bytes = MIN(512 - part.offset % 512, io->bytes - at);
        part.data = io->data + at;
        if (next_random(random) % 2)
            apply(data, &part);
    }
}

GByteArray *memfile_replay(const GByteArray *before, const GArray *log, unsigned length,
                           uint64_t *random)
{
    return memfile_replay_one(before, log, length, 0, random);
}

GByteArray *memfile_replay_one(const GByteArray *before, const GArray *log, unsigned length,
                               unsigned file, uint64_t *random)
{
    GByteArray *data = g_byte_array_new();
    g_byte_array_append(data, before->data, before->len);
    unsigned safe = 0;
    for (unsigned i = 0; i < length; i++) {
        const LogIo *io = &g_array_index(log, LogIo, i);
        if (io->kind == LOG_IO_FLUSH && io->file == file)
            safe = MAX(safe, io->covers);
    }
    uint64_t style = next_random(random) % 4; /* all kept, all lost, or a mixture */
    for (unsigned i = 0; i < length; i++) {
        const LogIo *io = &g_array_index(log, LogIo, i);
        uint64_t fate = next_random(random) % 3;
        if (io->file != file)
            continue;
        if (i < safe || style == 0 || (style > 1 && fate == 0))
            apply(data, io);
        else if (style > 1 && fate == 1 && io->kind == LOG_IO_WRITE)
            apply_torn(data, io, random);
    }
    return data;
}
