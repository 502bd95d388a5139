/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The formats, and what they share when they create an image. */
#ifndef VMRUN_BLOCK_FORMATS_H
#define VMRUN_BLOCK_FORMATS_H

#include <inttypes.h>

#include "block/node.h"

extern const BlkFormat raw_format, qcow_format, qcow2_format, luks_format, vdi_format, vhdx_format,
    vmdk_format, vpc_format;

/* Empties a file that is to become an image, once nothing can be wrong with the options any more. A
 * block device keeps its length. (co) */
bool create_begin(BlkFile *file, GError **error);
/* Sets a file's length, and the room from `from` to there aside as `how` says, which is not
 * METADATA. */
int preallocate_file(BlkFile *file, uint64_t from, uint64_t end, Preallocation how);
/* Reads a new image's option preallocation, which is not to be METADATA. */
bool read_file_preallocation(const CreateSpec *spec, Preallocation *how, GError **error);
/* encryption=off is no option at all; on is refused.  o: NULL or what create() gets. */
bool refuse_old_encryption(const Options *o, GError **error);
/* Every option must be one of those that can be amended; another of those at creation is refused
 * in other words. */
bool amend_check(const BlkNode *node, const Options *options, const CreateOption *known,
                 const CreateOption *at_creation, GError **error);
/* Makes a range read as zeros; the caller has all of the node to itself. (co) */
int node_zero_held(BlkNode *node, uint64_t offset, uint64_t bytes);
/* Makes a file that can be sparse at least `end` bytes long.  Calls with one lock do not overtake
 * one another, so that none cuts off what another one made room for. (co) */
int alloc_extend(BlkFile *file, CoMutex *lock, uint64_t end);
/* 16 random bytes, marked as a UUID of version 4 in the order that Windows writes. */
void create_uuid(uint8_t *uuid);
/* More errors than this are counted, but not told: a table that lies may have millions. */
#define CHECK_MAX_LINES 10000u

/* Lines of `info`, of which one is wanted: all are put, and that one stays in *out. */
typedef struct DetailLines {
    unsigned wanted, next;
    NodeDetail *out;
} DetailLines;
void detail_bracket(DetailLines *lines, const char *key, char bracket);
void detail_text(DetailLines *lines, const char *key, const char *value);
void detail_number(DetailLines *lines, const char *key, uint64_t value);
void detail_bool(DetailLines *lines, const char *key, bool value);
/* zlib's raw deflate in a window of 4 KiB, as qcow and qcow2 use it; results as BlkFormat's. */
int deflate_cluster(const void *in, size_t in_bytes, void *out, size_t capacity);
int inflate_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes);
int zstd_cluster(const void *in, size_t in_bytes, void *out, size_t capacity);
int unzstd_cluster(const void *in, size_t in_bytes, void *out, size_t out_bytes);

#endif
