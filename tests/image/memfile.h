/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file in memory that records what is written to it, fails when told to, and lets other
 * coroutines run in between, in an order that its seed decides.
 */
#ifndef VMRUN_TESTS_IMAGE_MEMFILE_H
#define VMRUN_TESTS_IMAGE_MEMFILE_H

#include "block/node.h"

typedef enum { LOG_IO_WRITE, LOG_IO_ZERO, LOG_IO_TRUNCATE, LOG_IO_FLUSH } LogKind;

typedef struct LogIo {
    LogKind kind;
    uint64_t offset, bytes; /* TRUNCATE: bytes is the new length */
    uint8_t *data;          /* WRITE */
    unsigned covers;        /* FLUSH: entries before this one are safe */
    unsigned file;          /* whose it is, where several files share a log */
} LogIo;

typedef enum {
    FAIL_READ = 1,
    FAIL_WRITE = 2,
    FAIL_FLUSH = 4,
    FAIL_ANY = 7,
    FAIL_MEMORY = 8, /* the block layer's allocations, whatever they are for */
} FailKind;

typedef struct MemFile {
    BlkFile base;
    GByteArray *data;
    GArray *log;     /* of LogIo; NULL: not recorded */
    unsigned number; /* in a log that is shared */
    uint64_t random; /* decides how long each call takes; 0: no time */
    /* Fault: the calls of these kinds, counted from 0, from fail_at on (fail_count of them). */
    unsigned fail_kinds, calls, fail_at, fail_count;
    int fail_error;
    bool shared_log;
    bool fail_half; /* a failing write writes its first half */
} MemFile;

/* Takes over data, or starts empty if it is NULL. */
MemFile *memfile_new(CoSched *sched, GByteArray *data);
MemFile *memfile_of(BlkFile *file);
void memfile_record(MemFile *m);
/* The same into a log of several files, of which this one is `number`; the log is whoever's who
 * made it. */
void memfile_record_into(MemFile *m, GArray *log, unsigned number);
GArray *memfile_new_log(void);
GArray *memfile_take_log(MemFile *m);
void memfile_log_free(GArray *log);
/* What a power cut after the first `length` entries may leave of `before`: entries that no flush
 * covers are lost, kept or torn at random. */
GByteArray *memfile_replay(const GByteArray *before, const GArray *log, unsigned length,
                           uint64_t *random);
/* The same for one of several files. */
GByteArray *memfile_replay_one(const GByteArray *before, const GArray *log, unsigned length,
                               unsigned file, uint64_t *random);
/* Arms a fault of kind FAIL_MEMORY as fail_at and fail_count say; 0: disarms. */
void memory_fails(unsigned at, unsigned count);
/* Allocations since then. */
unsigned memory_calls(void);
uint64_t next_random(uint64_t *state);

#endif
