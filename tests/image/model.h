/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a disk must hold: every sector's history of writes, and random work on a node that keeps it.
 *
 * Each write stamps its sectors with their number and the write's own, so that a sector read tells
 * which write it comes from.  A sector may hold the last write that is certain, or any later one
 * that is not (it failed, was a discard, or was cut off).
 */
#ifndef VMRUN_TESTS_IMAGE_MODEL_H
#define VMRUN_TESTS_IMAGE_MODEL_H

#include "memfile.h"

typedef struct Model Model;

typedef struct Work {
    unsigned operations, workers;
    unsigned max_sectors; /* of one request */
    unsigned compressed;  /* eighths of the requests, up to 4 */
    bool discard, zero, flush;
    bool mostly_zero; /* most requests write zeros */
    bool may_fail;    /* requests may fail: a fault is armed */
} Work;

/* All sectors are zeros, or those below base_sectors hold the stamp of write 1. */
Model *model_new(uint64_t sectors, uint64_t base_sectors);
void model_free(Model *model);
/* Sectors of a base image as model_new() expects them. */
void model_fill_base(GByteArray *data, uint64_t sectors);

/* Of what the node holds now, which model_verify_cut() found to be right. */
Model *model_after_cut(const Model *model, BlkNode *node);

/* What is done now is certain, whatever happens: a new record begins. */
void model_settle(Model *model);
/* Does random work on the node with several coroutines, checking what is read; log may be NULL. */
void model_work(Model *model, BlkNode *node, const Work *work, uint64_t *random,
                const MemFile *recorded);
/* Reads everything and compares.  False with *where the bad sector. */
bool model_verify(const Model *model, BlkNode *node, uint64_t *where);
/* The same after a power cut that came when `length` entries were in the log. */
bool model_verify_cut(const Model *model, BlkNode *node, unsigned length, uint64_t *where);

#endif
